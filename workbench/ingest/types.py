"""The types of text columns, decided over the whole file and the same for train and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import polars as pl

from workbench.errors import DataError

__all__ = ["ColumnStats", "ColumnType", "column_stats", "decide", "scan_text"]

MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")
"""What a number's or a date's place holds when there is none. In a text column only the empty text is missing."""

TIME_FORMATS = (
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%SZ",
)


@dataclass(frozen=True)
class ColumnStats:
    """How many of a column's values could be read as what; sums over several files are taken with ``+``."""

    present: int
    integers: int
    digits: int
    floats: int
    booleans: int
    padded: int
    times: tuple[int, ...]

    def __add__(self, other: ColumnStats) -> ColumnStats:
        """Add the counts."""
        counts = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name != "times"}
        return ColumnStats(**counts, times=tuple(a + b for a, b in zip(self.times, other.times, strict=True)))


@dataclass(frozen=True)
class ColumnType:
    """A decided type: a polars type, and the format where it is a date or time."""

    dtype: pl.DataType
    time_format: str | None = None

    def read(self, name: str) -> pl.Expr:
        """Return the expression that turns the text column `name` into this type."""
        text = pl.col(name)
        if self.dtype == pl.String:
            return text
        present = pl.when(~text.is_in(MISSING)).then(text)
        if self.dtype == pl.Boolean:
            return (present.str.to_lowercase() == "true").alias(name)
        if self.time_format:
            dtype = pl.Date() if self.dtype == pl.Date else pl.Datetime("us")
            return present.str.strptime(dtype, self.time_format).alias(name)
        return present.cast(self.dtype).alias(name)


def scan_text(path: Path, separator: str) -> pl.LazyFrame:
    """Scan a delimited file with every column as text."""
    return pl.scan_csv(path, separator=separator, infer_schema=False)


def column_stats(frame: pl.LazyFrame, path: Path) -> dict[str, ColumnStats]:
    """Count, in one pass over the file, what each column's values could be read as.

    Raises
    ------
    DataError
        When the file can't be read as a table.
    """
    try:
        columns = frame.collect_schema().names()
        counts = frame.select(e for i, c in enumerate(columns) for e in _counts(c, str(i))).collect().row(0, named=True)
    except pl.exceptions.PolarsError as exc:
        first = (str(exc).strip().splitlines() or ["unreadable"])[0]
        raise DataError(f"{path} can't be read as a table: {first}", hint="look at the line that it names") from exc
    names = [f.name for f in fields(ColumnStats) if f.name != "times"]
    return {
        column: ColumnStats(
            **{name: counts[f"{i}:{name}"] for name in names},
            times=tuple(counts[f"{i}:t{j}"] for j in range(len(TIME_FORMATS))),
        )
        for i, column in enumerate(columns)
    }


def _counts(column: str, prefix: str) -> list[pl.Expr]:
    text = pl.col(column)
    text = pl.when(~text.is_in(MISSING)).then(text)
    found = {
        "present": text.is_not_null(),
        "integers": text.cast(pl.Int64, strict=False).is_not_null(),
        "digits": text.str.contains(r"^[+-]?\d+$"),
        "floats": text.cast(pl.Float64, strict=False).is_not_null(),
        "booleans": text.str.to_lowercase().is_in(["true", "false"]),
        # A leading zero is part of a code ("007"): as a number it would be lost.
        "padded": text.str.contains(r"^[+-]?0\d"),
    }
    # Only what begins like a date is parsed as one: parsing every text by nine formats would cost more than the rest.
    dated = pl.when(text.str.contains(r"^\d{4}[-/]\d\d?[-/]\d\d?")).then(text)
    found |= {
        f"t{i}": dated.str.strptime(pl.Datetime("us"), f, strict=False).is_not_null()
        for i, f in enumerate(TIME_FORMATS)
    }
    return [e.sum().alias(f"{prefix}:{name}") for name, e in found.items()]


def decide(stats: Sequence[ColumnStats]) -> ColumnType:
    """Decide a column's type from its counts in all the files that share it.

    Examples
    --------
    >>> numbers = ColumnStats(3, 3, 3, 3, 0, 0, (0,) * 9)
    >>> decide([numbers]).dtype
    Int64
    >>> decide([numbers, ColumnStats(1, 0, 0, 0, 0, 0, (0,) * 9)]).dtype
    String
    """
    total = stats[0]
    for more in stats[1:]:
        total = total + more
    if not total.present or total.padded:
        return ColumnType(pl.String())
    if total.integers == total.present:
        return ColumnType(pl.Int64())
    # Whole numbers too large for 64 bits are ids: as floats they would no longer be unique.
    if total.floats == total.present and total.digits < total.present:
        return ColumnType(pl.Float64())
    if total.booleans == total.present:
        return ColumnType(pl.Boolean())
    for count, time_format in zip(total.times, TIME_FORMATS, strict=True):
        if count == total.present:
            return ColumnType(pl.Datetime("us") if "%H" in time_format else pl.Date(), time_format)
    return ColumnType(pl.String())
