"""Convert times to numbers, whether they are dates, timestamps with or without time zone, epoch numbers or texts."""

from __future__ import annotations

import re

import polars as pl

__all__ = [
    "UNITS_PER_SECOND",
    "epoch_unit",
    "has_time_of_day",
    "has_time_unit",
    "is_iso_text",
    "iso_texts",
    "moments",
    "offset_minutes",
]

UNITS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Time unit -> number per second."""

MIN_EPOCH_S, MAX_EPOCH_S = 631_152_000, 3_155_760_000
"""1990 and 2070: numbers between them, in one of the units, are taken for epoch times."""

SAMPLE_ROWS = 200
"""A column is checked on this many rows first, as most columns fail early."""

ISO_8601 = r"^\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?$"


def epoch_unit(low: float, high: float) -> str | None:
    """Return the unit in which the range `low` to `high` is plausible as times since 1970; None if in none.

    Examples
    --------
    >>> epoch_unit(1_700_000_000, 1_710_000_000), epoch_unit(1.7e12, 1.71e12), epoch_unit(3, 1_700_000_000)
    ('s', 'ms', None)
    """
    for unit, per_second in UNITS_PER_SECOND.items():
        if MIN_EPOCH_S * per_second <= low <= high <= MAX_EPOCH_S * per_second:
            return unit
    return None


def has_time_unit(dtype: pl.DataType) -> bool:
    """Tell whether the type determines the time unit, as all types but numbers do."""
    return not dtype.is_numeric()


def moments(column: str, dtype: pl.DataType) -> pl.Expr | None:
    """Return an expression for the times of a column as comparable numbers; None if its type can't hold times.

    Dates, timestamps, durations and ISO 8601 texts become microseconds, in UTC if they have a time zone; numbers are
    unchanged. Values that are not times (NaN, infinity, other texts) become null.

    Examples
    --------
    >>> frame = pl.DataFrame({"t": [1.5, float("nan")], "day": ["2024-01-01", "2024-01-02T00:00:01+01:00"]})
    >>> frame.select(moments("t", pl.Float64()), moments("day", pl.String())).rows()
    [(1.5, 1704067200000000), (None, 1704150001000000)]
    """
    value = pl.col(column)
    if dtype == pl.Date:
        return value.cast(pl.Datetime("us")).to_physical()
    if isinstance(dtype, pl.Datetime):
        return value.dt.cast_time_unit("us").to_physical()
    if isinstance(dtype, pl.Duration):
        return value.dt.total_microseconds()
    if dtype.is_float() or dtype.is_decimal():
        number = value.cast(pl.Float64)
        return pl.when(number.is_finite()).then(number).alias(column)
    if dtype.is_integer():
        return value
    return _parse_iso(column) if dtype == pl.String else None


def iso_texts(frame: pl.DataFrame, columns: list[str]) -> list[str]:
    """Return the text columns with at least one value in which all values are ISO 8601 dates or times."""
    candidates = columns
    for part in (frame.head(SAMPLE_ROWS), frame):
        if candidates:
            text = pl.col(candidates).drop_nulls().str.strip_chars()
            is_iso = part.select(text.str.contains(ISO_8601).all() & (text.len() > 0)).row(0)
            candidates = [c for c, yes in zip(candidates, is_iso, strict=True) if yes]
    return candidates


def is_iso_text(frame: pl.LazyFrame, column: str) -> bool:
    """Tell whether a text column has at least one value and all values are ISO 8601 dates or times."""
    text = pl.col(column).drop_nulls().str.strip_chars()
    for part in (frame.head(SAMPLE_ROWS), frame):
        n, n_iso = (
            part.select(text.len(), text.str.contains(ISO_8601).sum().alias("iso")).collect(engine="streaming").row(0)
        )
        if not n or n_iso < n:
            return False
    return True


def _parse_iso(column: str) -> pl.Expr:
    text = pl.col(column).str.strip_chars().str.replace(" ", "T", literal=True).str.replace("Z$", "+00:00")
    with_zone = [
        text.str.strptime(pl.Datetime("us", "UTC"), f"%Y-%m-%dT%H:%M{s}%z", strict=False) for s in (":%S%.f", "")
    ]
    without_zone = [text.str.strptime(pl.Datetime("us"), f"%Y-%m-%dT%H:%M{s}", strict=False) for s in (":%S%.f", "")]
    days = text.str.strptime(pl.Date(), "%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    return pl.coalesce([t.to_physical() for t in (*with_zone, *without_zone, days)]).alias(column)


def has_time_of_day(time_format: str) -> bool:
    """Tell whether a strftime format has a time of day.

    Examples
    --------
    >>> [has_time_of_day(f) for f in ("%d.%m.%Y %-H:%M", "%Y-%m-%d %T", "%-d %B %Y", "%F")]
    [True, True, False, False]
    """
    return re.search(r"%(?![-_0]?[YCymbBhdeaAwuUWGgVjDxFvnt%])", time_format) is not None


def offset_minutes(time_format: str) -> int:
    """Return the literal UTC offset at the end of a strftime format, in minutes east; 0 if it has none.

    Examples
    --------
    >>> offset_minutes("%Y-%m-%d %H:%M+09:00"), offset_minutes("%H:%M -0330"), offset_minutes("%Y-%m-%dT%H:%MZ")
    (540, -210, 0)
    """
    match = re.search(r"%\.?[MSpf] ?([+-])(\d{2}):?(\d{2})?$", time_format)
    if match is None:
        return 0
    return (1 if match[1] == "+" else -1) * (60 * int(match[2]) + int(match[3] or 0))
