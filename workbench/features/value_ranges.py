"""Ranges of the columns of a block: collected while it is written, and stored in its note.

The encoding of a column depends on its range. Finding it means reading the whole block, which every run would repeat.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

__all__ = ["NO_VALUES", "RangeCollector", "ValueRange", "needs_range", "ranges_of_note", "value_ranges"]

ValueRange = tuple[float | None, float | None, bool]
"""Minimum, maximum, and whether all values are integral; without null and NaN."""

NO_VALUES: ValueRange = (None, None, True)


def needs_range(dtype: pl.DataType) -> bool:
    """Tell whether the encoding of a column of this type depends on its range."""
    return dtype == pl.Float64 or dtype.is_integer()


def value_ranges(frame: pl.LazyFrame, columns: Iterable[str], schema: pl.Schema) -> dict[str, ValueRange]:
    """Return the range of each column, computed in one streamed pass."""
    columns = list(columns)
    if not columns:
        return {}
    return _by_column(columns, frame.select(_expressions(columns, schema)).collect(engine="streaming"))


def _expressions(columns: Iterable[str], schema: pl.Schema) -> list[pl.Expr]:
    expressions: list[pl.Expr] = []
    for i, name in enumerate(columns):
        values = pl.col(name).fill_nan(None) if schema[name].is_float() else pl.col(name)
        all_integral = (values == values.floor()).all() if schema[name].is_float() else pl.lit(value=True)
        expressions += [values.min().alias(f"{i}<"), values.max().alias(f"{i}>"), all_integral.alias(f"{i}=")]
    return expressions


def _by_column(columns: Iterable[str], extremes: pl.DataFrame) -> dict[str, ValueRange]:
    row = extremes.row(0, named=True)
    return {name: (row[f"{i}<"], row[f"{i}>"], bool(row[f"{i}="])) for i, name in enumerate(columns)}


@dataclass
class RangeCollector:
    """The ranges of the columns of a frame that passes in batches.

    Attributes
    ----------
    schema : Schema
        Columns whose encoding does not depend on their range are ignored.
    """

    schema: pl.Schema
    _ranges: dict[str, ValueRange] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ranges = {name: NO_VALUES for name, dtype in self.schema.items() if needs_range(dtype)}
        self._expressions = _expressions(self._ranges, self.schema)

    def add(self, batch: pl.DataFrame) -> None:
        """Add the values of a batch."""
        if not self._ranges:
            return
        added = _by_column(self._ranges, batch.select(self._expressions))
        self._ranges = {name: _union(value_range, added[name]) for name, value_range in self._ranges.items()}

    def note(self, columns: Iterable[str]) -> dict[str, Any]:
        """Return the ranges of some columns as JSON, which has no infinity."""
        ranges = {name: self._ranges[name] for name in columns if name in self._ranges}
        return {name: [_as_json(low), _as_json(high), integral] for name, (low, high, integral) in ranges.items()}


def _union(one: ValueRange, other: ValueRange) -> ValueRange:
    lows = [low for low in (one[0], other[0]) if low is not None]
    highs = [high for high in (one[1], other[1]) if high is not None]
    return min(lows, default=None), max(highs, default=None), one[2] and other[2]


def _as_json(value: float | None) -> float | str | None:
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def ranges_of_note(note: Mapping[str, Any]) -> dict[str, ValueRange]:
    """Return the ranges that the note of a block has; none for a block of an earlier version."""
    stored: dict[str, Any] = note.get("ranges", {})
    return {name: (_from_json(low), _from_json(high), bool(integral)) for name, (low, high, integral) in stored.items()}


def _from_json(value: float | str | None) -> float | None:
    return float(value) if isinstance(value, str) else value
