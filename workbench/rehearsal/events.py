"""The events of a log: read, checked, and cut in time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from workbench.core.errors import ConfigError, DataError, NotFoundError, near
from workbench.platforms.interactions import UNITS, InteractionsSpec, duration_text
from workbench.rehearsal.split import ISO

__all__ = ["EVENT", "Events", "read_events"]

EVENT = "__event__"
"""The number of an event in the file."""

MOMENT = "__moment__"
LATEST_S = 7_258_118_400
"""The year 2200: numbers beyond are in another unit."""

INTEGER = r"^-?\d+$"
FORMS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")


@dataclass(frozen=True)
class Events:
    """A log that was looked through.

    Attributes
    ----------
    frame : the file's columns as they are, lazily
    log : InteractionsSpec
    moment : the time of an event in microseconds since 1970
    rows : how many events there are
    edge : the moment, in microseconds, up to which the log is known; what is later is in the last horizon
    """

    frame: pl.LazyFrame
    log: InteractionsSpec
    moment: pl.Expr
    rows: int
    edge: int

    @property
    def earlier(self) -> pl.LazyFrame:
        """The events before the last horizon, as the file has them."""
        return self.frame.filter(self.moment <= self.edge)

    def late(self) -> pl.DataFrame:
        """Return the events of the last horizon: `EVENT`, and user, item and type as texts, in the order of time.

        Events of the same time are in the file's order.
        """
        log = self.log
        texts = {"user": log.user, "item": log.item} | ({"kind": log.kind} if log.kind else {})
        columns = [pl.col(c).cast(pl.String).alias(name) for name, c in texts.items()]
        last_horizon = self.frame.with_row_index(EVENT).filter(self.moment > self.edge)
        return (
            last_horizon.select(EVENT, self.moment.alias(MOMENT), *columns).collect().sort(MOMENT, EVENT).drop(MOMENT)
        )


def read_events(path: Path, frame: pl.LazyFrame, log: InteractionsSpec) -> Events:
    """Look through a log: whether its columns are there, ids and times whole, and all of it longer than the horizon.

    Raises
    ------
    NotFoundError
        For a column or a type that is not there.
    DataError
        For ids or times that are missing or can't be read.
    ConfigError
        For a horizon as long as the log.
    """
    schema = frame.collect_schema()
    for column in log.columns:
        if column not in schema:
            raise NotFoundError(f"{path} has no column {column!r}", hint=near(column, schema.names(), kind="column"))
    rows = _check_ids(frame, log, path)
    moment = _moment(frame, log, schema[log.time], path)
    low, high = frame.select(moment.min().alias("low"), moment.max().alias("high")).collect(engine="streaming").row(0)
    edge = high - log.horizon_s * 1_000_000
    if low > edge:
        raise ConfigError(
            f"--horizon {duration_text(log.horizon_s)} hides the whole log of {path}: it goes from {_shown(low)} to "
            f"{_shown(high)}",
            hint="choose a shorter horizon; if times are whole numbers, check --unit",
        )
    _check_kinds(frame, log, path)
    return Events(frame, log, moment, rows, edge)


def _shown(moment: int) -> str:
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment):%Y-%m-%d %H:%M:%S}"


def _check_ids(frame: pl.LazyFrame, log: InteractionsSpec, path: Path) -> int:
    """Refuse empty ids, and items that can't stand in a list; return the number of events."""
    schema = frame.collect_schema()
    ids = [c for c in log.columns if c != log.time]
    for column in ids:
        if schema[column].is_float() or schema[column].is_nested():
            raise DataError(f"{column!r} of {path} is {schema[column]}; ids are whole numbers or texts")
    text = {c: pl.col(c).cast(pl.String) for c in ids}
    empty = {f"empty {c}": (t.is_null() | (t == "")).sum() for c, t in text.items()}
    spaced = text[log.item].str.contains(r"\s").sum().alias("spaced")
    counts = frame.select(pl.len().alias("rows"), spaced, **empty).collect(engine="streaming").row(0, named=True)
    if not counts["rows"]:
        raise DataError(f"{path} has no rows")
    for column in ids:
        if counts[f"empty {column}"]:
            raise DataError(
                f"{column!r} of {path} is empty in {counts[f'empty {column}']:,} of {counts['rows']:,} rows",
                hint="remove those rows from the file first",
            )
    if counts["spaced"]:
        raise DataError(
            f"{log.item!r} of {path} has {counts['spaced']:,} values with a space in them, which lists of items are "
            "separated by",
            hint="write the items without spaces first",
        )
    return int(counts["rows"])


def _check_kinds(frame: pl.LazyFrame, log: InteractionsSpec, path: Path) -> None:
    if log.kind is None or not log.by_kind:
        return
    kinds = frame.select(pl.col(log.kind).cast(pl.String).unique()).collect(engine="streaming").to_series().sort()
    for kind in log.weights:
        if kind not in kinds:
            raise NotFoundError(
                f"--weights: {log.kind!r} of {path} is never {kind!r}", hint=near(kind, kinds, kind="type")
            )


# --------------------------------------------------------------------------------------------------------------- time


def _moment(frame: pl.LazyFrame, log: InteractionsSpec, dtype: pl.DataType, path: Path) -> pl.Expr:
    """Return the time as microseconds since 1970, whichever way the column has it."""
    time = pl.col(log.time)
    if dtype == pl.String:
        is_integer = (time.str.contains(INTEGER).fill_null(value=False)).all()
        is_number = bool(frame.select(is_integer).collect(engine="streaming").item())
        moment = _of_number(time.cast(pl.Int64, strict=False), log.unit) if is_number else _of_text(time)
    elif isinstance(dtype, pl.Date | pl.Datetime):
        is_number, moment = False, time.dt.epoch("us")
    elif dtype.is_integer():
        is_number, moment = True, _of_number(time.cast(pl.Int64), log.unit)
    else:
        raise DataError(f"{log.time!r} of {path} is {dtype}; expected dates, times or whole numbers")
    _check_moments(frame, log, moment, is_number=is_number, path=path)
    return moment


def _of_number(number: pl.Expr, unit: str) -> pl.Expr:
    return number // 1000 if unit == "ns" else number * int(UNITS[unit])


def _of_text(text: pl.Expr) -> pl.Expr:
    plain = text.str.replace(r"(?:Z|\+00:?00)$", "").str.replace_all("/", "-", literal=True)
    plain = pl.when(text.str.contains(ISO)).then(plain.str.replace("T", " ", literal=True))
    return pl.coalesce([plain.str.to_datetime(form, time_unit="us", strict=False) for form in FORMS]).dt.epoch("us")


def _check_moments(frame: pl.LazyFrame, log: InteractionsSpec, moment: pl.Expr, *, is_number: bool, path: Path) -> None:
    time = pl.col(log.time)
    # Of the numbers as they are: in microseconds they might not fit.
    number = time.cast(pl.Int64, strict=False)
    checks = frame.select(
        empty=(time.is_null() | (time.cast(pl.String) == "")).sum(),
        unread=moment.is_null().sum(),
        negative=(number < 0).sum() if is_number else 0,
        far=(number > LATEST_S * 1_000_000 / UNITS[log.unit]).sum() if is_number else 0,
        example=time.filter(moment.is_null() & time.is_not_null()).first(),
    )
    counts = checks.collect(engine="streaming").row(0, named=True)
    if counts["empty"]:
        raise DataError(
            f"{log.time!r} of {path} is empty in {counts['empty']:,} rows", hint="remove those rows from the file first"
        )
    if counts["unread"]:
        raise DataError(
            f"{log.time!r} of {path} has {counts['unread']:,} values that are not times, "
            f"for example {counts['example']!r}",
            hint="write whole numbers, ISO dates (2013-11-01) or times (2013-11-01 09:30:00) everywhere",
        )
    if counts["negative"]:
        raise DataError(
            f"{log.time!r} of {path} has {counts['negative']:,} negative values; expected {log.unit} since 1970",
            hint="remove those rows from the file first",
        )
    if counts["far"]:
        raise DataError(
            f"{log.time!r} of {path} has {counts['far']:,} values beyond the year 2200: --unit {log.unit} is wrong",
            hint=f"one of {', '.join(UNITS)}",
        )
