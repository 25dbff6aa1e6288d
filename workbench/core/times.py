"""Moments as numbers, however a column holds them: dates, stamps with and without a zone, counts since 1970, texts."""

from __future__ import annotations

import re

import polars as pl

__all__ = [
    "PER_SECOND",
    "epoch_unit",
    "has_clock",
    "has_own_unit",
    "is_iso_text",
    "iso_texts",
    "moments",
    "offset_minutes",
]

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""How many of a unit make a second."""

FIRST_S, LAST_S = 631_152_000, 3_155_760_000
"""1990 and 2070: numbers in between, in one of the units, are taken for moments since 1970."""

FEW = 200
ISO = r"^\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?$"


def epoch_unit(low: float, high: float) -> str | None:
    """Return the unit in which numbers from `low` to `high` are times since 1970, or None where they are none.

    Examples
    --------
    >>> epoch_unit(1_700_000_000, 1_710_000_000), epoch_unit(1.7e12, 1.71e12), epoch_unit(3, 1_700_000_000)
    ('s', 'ms', None)
    """
    for unit, per_second in PER_SECOND.items():
        if FIRST_S * per_second <= low <= high <= LAST_S * per_second:
            return unit
    return None


def has_own_unit(dtype: pl.DataType) -> bool:
    """Whether a column of this type says itself what its moments are counted in: all but numbers."""
    return not dtype.is_numeric()


def moments(column: str, dtype: pl.DataType) -> pl.Expr | None:
    """Return a column's moments as numbers that can be compared; None where its type tells no time.

    Dates, stamps, spans and texts in ISO 8601 become microseconds, stamps with a zone in UTC; numbers stay what they
    are. What is no moment (NaN, infinity, another text) is null.

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
    return _of_iso_text(column) if dtype == pl.String else None


def iso_texts(frame: pl.DataFrame, columns: list[str]) -> list[str]:
    """Return the columns of which every text is a date or a time in ISO 8601, and there is one."""
    likely = columns
    for look in (frame.head(FEW), frame):
        if likely:
            text = pl.col(likely).drop_nulls().str.strip_chars()
            is_iso = look.select(text.str.contains(ISO).all() & (text.len() > 0)).row(0)
            likely = [c for c, yes in zip(likely, is_iso, strict=True) if yes]
    return likely


def is_iso_text(frame: pl.LazyFrame, column: str) -> bool:
    """Whether every text of a column is a date or a time in ISO 8601, and there is one."""
    text = pl.col(column).drop_nulls().str.strip_chars()
    for look in (frame.head(FEW), frame):
        n, n_iso = look.select(text.len(), text.str.contains(ISO).sum().alias("iso")).collect(engine="streaming").row(0)
        if not n or n_iso < n:
            return False
    return True


def _of_iso_text(column: str) -> pl.Expr:
    text = pl.col(column).str.strip_chars().str.replace(" ", "T", literal=True).str.replace("Z$", "+00:00")
    zoned = [text.str.strptime(pl.Datetime("us", "UTC"), f"%Y-%m-%dT%H:%M{s}%z", strict=False) for s in (":%S%.f", "")]
    plain = [text.str.strptime(pl.Datetime("us"), f"%Y-%m-%dT%H:%M{s}", strict=False) for s in (":%S%.f", "")]
    days = text.str.strptime(pl.Date(), "%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    return pl.coalesce([t.to_physical() for t in (*zoned, *plain, days)]).alias(column)


def has_clock(form: str) -> bool:
    """Whether a format of times has a time of the day, and not the day alone.

    Examples
    --------
    >>> has_clock("%d.%m.%Y %-H:%M"), has_clock("%Y-%m-%d %T"), has_clock("%-d %B %Y"), has_clock("%F")
    (True, True, False, False)
    """
    return re.search(r"%(?![-_0]?[YCymbBhdeaAwuUWGgVjDxFvnt%])", form) is not None


def offset_minutes(form: str) -> int:
    """Return how far east of UTC the offset is that a format of times ends in, in minutes; 0 where it has none.

    Examples
    --------
    >>> offset_minutes("%Y-%m-%d %H:%M+09:00"), offset_minutes("%H:%M -0330"), offset_minutes("%Y-%m-%dT%H:%MZ")
    (540, -210, 0)
    """
    match = re.search(r"%\.?[MSpf] ?([+-])(\d{2}):?(\d{2})?$", form)
    if match is None:
        return 0
    return (1 if match[1] == "+" else -1) * (60 * int(match[2]) + int(match[3] or 0))
