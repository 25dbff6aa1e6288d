"""Which rows go to the test side, in which order, and which of them the public score sees."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import ConfigError, DataError, NotFoundError, near
from workbench.rehearsal.labels import numbers
from workbench.rehearsal.spec import LogSpec, RehearsalSpec

__all__ = ["public_part", "rows_after", "served_order", "test_side"]

Mask = npt.NDArray[np.bool_]

# A date, perhaps a time, perhaps UTC: in this form, filled up to the second, text order is time order.
ISO = r"^\d{4}[-/]\d{2}[-/]\d{2}(?:[ T]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?(?:Z|\+00:?00)?$"
SOME_DATE = r"^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:\D|$)"


def test_side(keys: pl.DataFrame, spec: RehearsalSpec) -> Mask:
    """Return which rows go to the test side.

    Raises
    ------
    DataError
        When a side would have fewer than two rows.
    """
    if spec.after is None:
        size = max(1, round(keys.height * (spec.holdout or 0.0)))
        is_test = np.zeros(keys.height, np.bool_)
        is_test[np.random.default_rng(spec.seed).permutation(keys.height)[:size]] = True
    else:
        is_test = _after(keys, *spec.after)
    share = int(is_test.sum())
    if share < 2 or share > keys.height - 2:
        raise DataError(
            f"{share:,} of {keys.height:,} rows of {spec.train} fall on the test side; both sides need at least 2",
            hint="choose another --holdout or --after",
        )
    return is_test


def served_order(n_test: int, spec: RehearsalSpec) -> npt.NDArray[np.int64] | None:
    """Return the order of the test rows; None for the file's: with --holdout that order could give a hint."""
    return None if spec.after else np.random.default_rng(spec.seed + 2).permutation(n_test)


def public_part(n_test: int, spec: RehearsalSpec | LogSpec) -> Mask:
    """Return which test rows, in the served order, the public score is computed on; at least one, never all."""
    size = min(max(1, round(n_test * spec.public)), n_test - 1)
    is_public = np.zeros(n_test, np.bool_)
    is_public[np.random.default_rng(spec.seed + 1).permutation(n_test)[:size]] = True
    return is_public


def _after(keys: pl.DataFrame, column: str, value: str) -> Mask:
    if column not in keys.columns:
        raise NotFoundError(f"--after: no column {column!r}", hint=near(column, keys.columns, kind="column"))
    series = keys[column]
    empty = series.fill_nan(None).null_count() if series.dtype.is_float() else series.null_count()
    if empty:
        raise DataError(f"--after: {column!r} has {empty:,} empty values", hint="remove those rows from the file first")
    return rows_after(series, value)


def rows_after(series: pl.Series, value: str) -> Mask:
    """Return where a column is at or after a value, which is read as what the column holds.

    Parameters
    ----------
    series : numbers, dates, times, or texts that hold one of these, without nulls
    value : str
        A number, an ISO date or time, or a text.

    Raises
    ------
    ConfigError
        When the value is of another kind than the column, or the column holds dates in an order of day, month and
        year that can't be read.

    Examples
    --------
    >>> rows_after(pl.Series(["9", "10"]), "10").tolist()
    [False, True]
    >>> rows_after(pl.Series(["2024-01-31", "2024-02-01"]), "2024-02-01T00:00").tolist()
    [False, True]
    """
    try:
        if series.dtype.is_temporal():
            return _times_after(series, value)
        if series.dtype.is_numeric():
            return _mask(series >= _number(value))
        return _texts_after(series.cast(pl.String), value)
    except (ValueError, TypeError, pl.exceptions.PolarsError) as exc:
        reason = f": {exc}" if isinstance(exc, ConfigError) else ""
        raise ConfigError(
            f"--after {series.name}={value}: {value!r} can't be compared with {str(series[0])!r}{reason}",
            hint="give a number for numbers and an ISO date (2013-11-01) for dates",
        ) from None


def _number(value: str) -> int | float:
    return int(value) if value.lstrip("-").isdigit() else float(value)


def _times_after(series: pl.Series, value: str) -> Mask:
    moment = datetime.fromisoformat(value)
    zone = getattr(series.dtype, "time_zone", None)
    if zone:
        moment = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))
        wanted = pl.lit(moment.astimezone(UTC).replace(tzinfo=None))
        utc = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    else:
        wanted, utc = pl.lit(moment), series.cast(pl.Datetime("us"))
    return _mask(utc.to_frame("t").select(pl.col("t") >= wanted)["t"])


def _texts_after(series: pl.Series, value: str) -> Mask:
    parsed = numbers(series)
    if not parsed.null_count():
        integers = series.cast(pl.Int64, strict=False)
        return _mask((parsed if integers.null_count() else integers) >= _number(value))
    if series.str.contains(ISO).all():
        moment = pl.Series([value])
        if not moment.str.contains(ISO).all():
            raise ConfigError("the column holds dates")
        return _mask(_full(series) >= _full(moment)[0])
    if series.str.contains(SOME_DATE).any():
        raise ConfigError("the column holds dates that are not all in ISO form; write them so, or give Parquet")
    if parsed.null_count() < len(parsed) and _is_number(value):
        raise ConfigError(f"the column holds numbers, but also {parsed.null_count():,} other values")
    return _mask(series >= value)


def _mask(series: pl.Series) -> Mask:
    return np.asarray(series, dtype=np.bool_)


def _is_number(value: str) -> bool:
    try:
        _number(value)
    except ValueError:
        return False
    return True


def _full(texts: pl.Series) -> pl.Series:
    """Return ISO dates and times written alike, up to the second, so that text order is time order."""
    plain = texts.str.replace(r"(?:Z|\+00:?00)$", "").str.replace_all("/", "-").str.replace("T", " ", literal=True)
    size = pl.col("t").str.len_bytes()
    missing_time = (
        pl.when(size == 10).then(pl.lit(" 00:00:00")).when(size == 16).then(pl.lit(":00")).otherwise(pl.lit(""))
    )
    return plain.to_frame("t").select(pl.col("t") + missing_time)["t"]
