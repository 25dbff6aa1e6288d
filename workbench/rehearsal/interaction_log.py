"""A log of interactions: read, checked, and split in time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from workbench.core.errors import ConfigError, DataError, NotFoundError, did_you_mean
from workbench.core.wording import counted
from workbench.platforms.interactions import UNITS, InteractionsSpec, duration_text
from workbench.rehearsal.split import ISO_TIME

__all__ = ["EVENT_NUMBER", "InteractionLog", "read_log"]

EVENT_NUMBER = "__event__"
"""The column with the number of an event in the file, from 0."""

TIME_US = "__moment__"
"""A temporary column: the time of an event in microseconds since 1970."""

MAX_TIME_S = 7_258_118_400
"""The beginning of the year 2200: later times are taken as numbers of another unit."""

INTEGER = r"^-?\d+$"
TIME_FORMATS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")


@dataclass(frozen=True)
class InteractionLog:
    """A checked log of interactions.

    Attributes
    ----------
    frame : LazyFrame
        The file's columns, unchanged.
    spec : InteractionsSpec
    time_us : Expr
        The time of an event in microseconds since 1970.
    n_events : int
    split_us : int
        The last time, in microseconds since 1970, before the last horizon.
    """

    frame: pl.LazyFrame
    spec: InteractionsSpec
    time_us: pl.Expr
    n_events: int
    split_us: int

    @property
    def earlier(self) -> pl.LazyFrame:
        """The events before the last horizon, with the file's columns."""
        return self.frame.filter(self.time_us <= self.split_us)

    def last_horizon(self) -> pl.DataFrame:
        """Return the events of the last horizon: `EVENT_NUMBER`, and user, item and type as strings, ordered by time.

        Simultaneous events keep the file's order.
        """
        spec = self.spec
        column_by_name = {"user": spec.user, "item": spec.item} | ({"kind": spec.kind} if spec.kind else {})
        columns = [pl.col(column).cast(pl.String).alias(name) for name, column in column_by_name.items()]
        events = self.frame.with_row_index(EVENT_NUMBER).filter(self.time_us > self.split_us)
        selected = events.select(EVENT_NUMBER, self.time_us.alias(TIME_US), *columns)
        return selected.collect().sort(TIME_US, EVENT_NUMBER).drop(TIME_US)


def read_log(path: Path, frame: pl.LazyFrame, spec: InteractionsSpec) -> InteractionLog:
    """Check a log: its columns exist, ids and times are complete, and it is longer than the horizon.

    Raises
    ------
    NotFoundError
        For a column that does not exist, or a weight of a type of event that never occurs.
    DataError
        For ids or times that are missing or can't be read.
    ConfigError
        For a horizon as long as the log.
    """
    schema = frame.collect_schema()
    for column in spec.columns:
        if column not in schema:
            raise NotFoundError(
                f"{path} has no column {column!r}", hint=did_you_mean(column, schema.names(), kind="column")
            )
    n_events = _check_ids(frame, spec, path)
    time_us = _time_us(frame, spec, schema[spec.time], path)
    limits = frame.select(time_us.min().alias("first"), time_us.max().alias("last")).collect(engine="streaming")
    first_us, last_us = limits.row(0)
    split_us = last_us - spec.horizon_s * 1_000_000
    if first_us > split_us:
        raise ConfigError(
            f"--horizon {duration_text(spec.horizon_s)} hides the whole log of {path}: it goes from "
            f"{_time_text(first_us)} to {_time_text(last_us)}",
            hint="choose a shorter horizon; if times are whole numbers, check --unit",
        )
    _check_event_types(frame, spec, path)
    return InteractionLog(frame, spec, time_us, n_events, split_us)


def _time_text(time_us: int) -> str:
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us):%Y-%m-%d %H:%M:%S}"


def _check_ids(frame: pl.LazyFrame, spec: InteractionsSpec, path: Path) -> int:
    """Refuse empty ids, and items with a space, which separates the items of a list; return the number of events."""
    schema = frame.collect_schema()
    ids = [c for c in spec.columns if c != spec.time]
    for column in ids:
        if schema[column].is_float() or schema[column].is_nested():
            raise DataError(f"{column!r} of {path} is {schema[column]}; ids are whole numbers or texts")
    text_by_id = {c: pl.col(c).cast(pl.String) for c in ids}
    n_empty = {f"empty {c}": (text.is_null() | (text == "")).sum() for c, text in text_by_id.items()}
    n_spaced = text_by_id[spec.item].str.contains(r"\s").sum().alias("spaced")
    counts = frame.select(pl.len().alias("rows"), n_spaced, **n_empty).collect(engine="streaming").row(0, named=True)
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
            f"{spec.item!r} of {path} has {counts['spaced']:,} values with a space in them, which "
            "separates the items of a list",
            hint="write the items without spaces first",
        )
    return int(counts["rows"])


def _check_event_types(frame: pl.LazyFrame, spec: InteractionsSpec, path: Path) -> None:
    """Refuse a weight of a type of event that never occurs."""
    if spec.kind is None or not spec.predicts_each_type:
        return
    event_types = (
        frame.select(pl.col(spec.kind).cast(pl.String).unique()).collect(engine="streaming").to_series().sort()
    )
    for event_type in spec.weights:
        if event_type not in event_types:
            raise NotFoundError(
                f"--weights: {spec.kind!r} of {path} is never {event_type!r}",
                hint=did_you_mean(event_type, event_types, kind="type"),
            )


# --------------------------------------------------------------------------------------------------------------- time


def _time_us(frame: pl.LazyFrame, spec: InteractionsSpec, dtype: pl.DataType, path: Path) -> pl.Expr:
    """Return the time in microseconds since 1970, from a column of dates, times or integers, or of strings of these."""
    time = pl.col(spec.time)
    if dtype == pl.String:
        is_integer = (time.str.contains(INTEGER).fill_null(value=False)).all()
        is_number = bool(frame.select(is_integer).collect(engine="streaming").item())
        number = time.cast(pl.Int64, strict=False)
        time_us = _number_as_us(number, spec.unit) if is_number else _text_as_us(time)
    elif isinstance(dtype, pl.Date | pl.Datetime):
        is_number, time_us = False, time.dt.epoch("us")
    elif dtype.is_integer():
        is_number, time_us = True, _number_as_us(time.cast(pl.Int64), spec.unit)
    else:
        raise DataError(f"{spec.time!r} of {path} is {dtype}; expected dates, times or whole numbers")
    _check_times(frame, spec, time_us, is_number=is_number, path=path)
    return time_us


def _number_as_us(number: pl.Expr, unit: str) -> pl.Expr:
    return number // 1000 if unit == "ns" else number * int(UNITS[unit])


def _text_as_us(text: pl.Expr) -> pl.Expr:
    """Return ISO dates and times as microseconds since 1970; null for other texts."""
    plain = text.str.replace(r"(?:Z|\+00:?00)$", "").str.replace_all("/", "-", literal=True)
    plain = pl.when(text.str.contains(ISO_TIME)).then(plain.str.replace("T", " ", literal=True))
    return pl.coalesce([plain.str.to_datetime(form, time_unit="us", strict=False) for form in TIME_FORMATS]).dt.epoch(
        "us"
    )


def _check_times(frame: pl.LazyFrame, spec: InteractionsSpec, time_us: pl.Expr, *, is_number: bool, path: Path) -> None:
    """Refuse times that are empty, unreadable, negative, or later than `MAX_TIME_S`."""
    time = pl.col(spec.time)
    # The numbers before their conversion, as their microseconds might overflow.
    number = time.cast(pl.Int64, strict=False)
    checks = frame.select(
        empty=(time.is_null() | (time.cast(pl.String) == "")).sum(),
        unreadable=time_us.is_null().sum(),
        negative=(number < 0).sum() if is_number else 0,
        too_late=(number > MAX_TIME_S * 1_000_000 / UNITS[spec.unit]).sum() if is_number else 0,
        example=time.filter(time_us.is_null() & time.is_not_null()).first(),
    )
    counts = checks.collect(engine="streaming").row(0, named=True)
    if counts["empty"]:
        raise DataError(
            f"{spec.time!r} of {path} is empty in {counted(counts['empty'], 'row')}",
            hint="remove those rows from the file first",
        )
    if counts["unreadable"]:
        raise DataError(
            f"{spec.time!r} of {path} has {counts['unreadable']:,} values that are not times, "
            f"for example {counts['example']!r}",
            hint="write whole numbers, ISO dates (2013-11-01) or times (2013-11-01 09:30:00) everywhere",
        )
    if counts["negative"]:
        raise DataError(
            f"{spec.time!r} of {path} has {counts['negative']:,} negative values; expected {spec.unit} since 1970",
            hint="remove those rows from the file first",
        )
    if counts["too_late"]:
        raise DataError(
            f"{spec.time!r} of {path} has {counts['too_late']:,} values beyond the year 2200: "
            f"--unit {spec.unit} is wrong",
            hint=f"one of {', '.join(UNITS)}",
        )
