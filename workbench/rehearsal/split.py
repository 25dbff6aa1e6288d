"""The split of rows into train and test, the order of the test rows, and their public part."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import ConfigError, DataError, NotFoundError, did_you_mean
from workbench.rehearsal.labels import numbers
from workbench.rehearsal.spec import LogSpec, RehearsalSpec

__all__ = ["public_mask", "rows_after", "test_mask", "test_order"]

Mask = npt.NDArray[np.bool_]

ISO_TIME = r"^\d{4}[-/]\d{2}[-/]\d{2}(?:[ T]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?(?:Z|\+00:?00)?$"
"""A date with or without a time, which may be marked as UTC."""

ANY_DATE = r"^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:\D|$)"


def test_mask(frame: pl.DataFrame, spec: RehearsalSpec) -> Mask:
    """Return a mask of the rows that become test.

    Parameters
    ----------
    frame : DataFrame
        Has a row for each row of the file, and the column of ``spec.after``.

    Raises
    ------
    DataError
        When train or test would have fewer than two rows.
    """
    if spec.after is None:
        n_test = max(1, round(frame.height * (spec.holdout or 0.0)))
        is_test = np.zeros(frame.height, np.bool_)
        is_test[np.random.default_rng(spec.seed).permutation(frame.height)[:n_test]] = True
    else:
        is_test = _after(frame, *spec.after)
    n_test = int(is_test.sum())
    if n_test < 2 or n_test > frame.height - 2:
        raise DataError(
            f"{n_test:,} of {frame.height:,} rows of {spec.train} fall on the test side; both sides need at least 2",
            hint="choose another --holdout or --after",
        )
    return is_test


def test_order(n_test: int, spec: RehearsalSpec) -> npt.NDArray[np.int64] | None:
    """Return the order of the test rows; None for the file's order, which after --holdout could reveal targets."""
    return None if spec.after else np.random.default_rng(spec.seed + 2).permutation(n_test)


def public_mask(n_test: int, spec: RehearsalSpec | LogSpec) -> Mask:
    """Return a mask of the test rows, in the served order, of the public score: at least one row, never all."""
    n_public = min(max(1, round(n_test * spec.public)), n_test - 1)
    is_public = np.zeros(n_test, np.bool_)
    is_public[np.random.default_rng(spec.seed + 1).permutation(n_test)[:n_public]] = True
    return is_public


def _after(frame: pl.DataFrame, column: str, value: str) -> Mask:
    """Return where a column of `frame` is at or after a value."""
    if column not in frame.columns:
        raise NotFoundError(f"--after: no column {column!r}", hint=did_you_mean(column, frame.columns, kind="column"))
    series = frame[column]
    n_empty = series.fill_nan(None).null_count() if series.dtype.is_float() else series.null_count()
    if n_empty:
        raise DataError(
            f"--after: {column!r} has {n_empty:,} empty values", hint="remove those rows from the file first"
        )
    return rows_after(series, value)


def rows_after(series: pl.Series, value: str) -> Mask:
    """Return a mask of where a column is at or after a value, which is parsed as the column's type.

    Parameters
    ----------
    series : Series
        Numbers, dates, times, or texts of one of these, without nulls.
    value : str
        A number, an ISO date or time, or a text.

    Raises
    ------
    ConfigError
        When the value is not of the column's type, or the column has texts of dates that are not in ISO form.

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
    time = datetime.fromisoformat(value)
    zone = getattr(series.dtype, "time_zone", None)
    if zone:
        time = time if time.tzinfo else time.replace(tzinfo=ZoneInfo(zone))
        threshold = pl.lit(time.astimezone(UTC).replace(tzinfo=None))
        utc = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    else:
        threshold, utc = pl.lit(time), series.cast(pl.Datetime("us"))
    return _mask(utc.to_frame("t").select(pl.col("t") >= threshold)["t"])


def _texts_after(series: pl.Series, value: str) -> Mask:
    """Compare texts with a value: as numbers or times if all of them are, else alphabetically."""
    as_numbers = numbers(series)
    if not as_numbers.null_count():
        integers = series.cast(pl.Int64, strict=False)
        return _mask((as_numbers if integers.null_count() else integers) >= _number(value))
    if series.str.contains(ISO_TIME).all():
        threshold = pl.Series([value])
        if not threshold.str.contains(ISO_TIME).all():
            raise ConfigError("the column has dates")
        return _mask(_to_seconds(series) >= _to_seconds(threshold)[0])
    if series.str.contains(ANY_DATE).any():
        raise ConfigError("the column has dates that are not all in ISO form; convert them, or use Parquet")
    if as_numbers.null_count() < len(as_numbers) and _is_number(value):
        raise ConfigError(f"the column has numbers, but also {as_numbers.null_count():,} other values")
    return _mask(series >= value)


def _mask(series: pl.Series) -> Mask:
    return np.asarray(series, dtype=np.bool_)


def _is_number(value: str) -> bool:
    try:
        _number(value)
    except ValueError:
        return False
    return True


def _to_seconds(texts: pl.Series) -> pl.Series:
    """Return ISO dates and times in one form with seconds, in which alphabetical order is the order of time."""
    plain = texts.str.replace(r"(?:Z|\+00:?00)$", "").str.replace_all("/", "-").str.replace("T", " ", literal=True)
    length = pl.col("t").str.len_bytes()
    missing_time = (
        pl.when(length == 10).then(pl.lit(" 00:00:00")).when(length == 16).then(pl.lit(":00")).otherwise(pl.lit(""))
    )
    return plain.to_frame("t").select(pl.col("t") + missing_time)["t"]
