"""Divide the rows into parts that keep rows with equal keys together, and that can be read separately."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from workbench.core.cache import Store
from workbench.data.competition import ROW
from workbench.features.ordering import ROWS_PER_BUCKET, Buckets

__all__ = [
    "PART",
    "HashParts",
    "Parts",
    "RangeParts",
    "RowPart",
    "bytes_per_line",
    "have_same_kind",
    "key_hash",
    "plan_parts",
    "range_parts",
    "write_clustered",
]

PART = "__part__"
"""The column with the part of each line, in the copy that `write_clustered` writes."""

MEMORY_FACTOR = 40
"""The lines of a part take at most 1/40 of the memory limit: a window function needs memory for its input, its groups
and its result, for several columns at a time, and polars reads ahead."""

MAX_PARTS = 512
PART_ROWS = 1_000_000
"""The rows of a part where memory is no reason for parts: windows over ten parts of a million rows, one after another,
take no longer than windows over all rows at once, and a tenth of the memory. Rows that do not lie by the key are
divided only for memory, as that needs a copy of them."""

MAX_READ_FACTOR = 3.0
"""If all parts together would read more than this many times the file, they are read from a copy sorted by part."""

SAMPLE_ROWS = 200_000


@dataclass(frozen=True)
class RowPart:
    """One part of the rows.

    Attributes
    ----------
    index : int
    lines : Expr
        Which lines of a frame with the key belong to the part.
    first_row, last_row : int
        A range that contains all rows of the part; None for the last row.
    """

    index: int
    lines: pl.Expr
    first_row: int = 0
    last_row: int | None = None


@dataclass(frozen=True)
class RangeParts:
    """Parts by ranges of the key, for rows that are roughly ordered by it: reading a part skips other row groups.

    Part i has the keys in ``(cuts[i - 1], cuts[i]]``, the first part also null. ``rows`` has the range of rows of each
    part.
    """

    column: str
    cuts: tuple[Any, ...]
    rows: tuple[tuple[int, int], ...]

    def __iter__(self) -> Iterator[RowPart]:
        key = pl.col(self.column)
        for i, (first, last) in enumerate(self.rows):
            is_above = key > self.cuts[i - 1] if i else pl.lit(value=True)
            is_below = key <= self.cuts[i] if i < len(self.cuts) else pl.lit(value=True)
            yield RowPart(i, (is_above & is_below) if i else (is_below | key.is_null()), first, last)


TEXTS = (pl.String, pl.Categorical, pl.Enum)


def key_hash(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return a hash of a key that is the same in all tables, whatever the type of the key there.

    polars hashes the text "a" and the category "a", or 1 and 1.0, to different numbers.

    Parameters
    ----------
    column : str
    dtype : DataType
        The type of the key in the rows. Values of other tables that it can't represent match no row.
    """
    canonical = pl.String() if isinstance(dtype, TEXTS) else dtype
    return pl.col(column).cast(canonical, strict=False).hash(seed=20131)


def have_same_kind(dtype: pl.DataType, other: pl.DataType) -> bool:
    """Tell whether keys of two types can be compared: both texts, both numbers, or the same kind of time."""
    if isinstance(dtype, TEXTS) or isinstance(other, TEXTS):
        return isinstance(dtype, TEXTS) and isinstance(other, TEXTS)
    return (dtype.is_numeric() and other.is_numeric()) or dtype.base_type() is other.base_type()


@dataclass(frozen=True)
class HashParts:
    """Parts by the hash of the key, for rows in any order; they are read from the copy of `write_clustered`."""

    column: str
    n_parts: int
    dtype: pl.DataType

    @property
    def line_part(self) -> pl.Expr:
        """An expression for the part of each line."""
        return (key_hash(self.column, self.dtype) % self.n_parts).cast(pl.UInt16)

    def __iter__(self) -> Iterator[RowPart]:
        for i in range(self.n_parts):
            yield RowPart(i, pl.col(PART) == i)


Parts = RangeParts | HashParts


def bytes_per_line(frame: pl.LazyFrame) -> float:
    """Return the estimated memory per line, from the first lines."""
    head = frame.head(10_000).collect()
    return head.estimated_size() / max(1, head.height)


def plan_parts(rows: pl.LazyFrame, column: str, n_rows: int, limit_bytes: int) -> Parts | None:
    """Return the parts of the rows; None to take them as a whole.

    Parameters
    ----------
    rows : LazyFrame
        With the row key, in row order.
    column : str
        The key.
    n_rows : int
    limit_bytes : int
        The memory limit.
    """
    n_needed = int(np.ceil(n_rows * bytes_per_line(rows) * MEMORY_FACTOR / limit_bytes))
    dtype = rows.collect_schema()[column]
    may_be_sorted = dtype.is_integer() or dtype in (pl.Date, pl.Datetime)
    n_ranges = min(MAX_PARTS, max(n_needed, n_rows // PART_ROWS))
    parts = range_parts(rows, column, n_rows, n_ranges) if may_be_sorted and n_ranges > 1 else None
    if parts is None and n_needed > 1:
        return HashParts(column, min(MAX_PARTS, n_needed), dtype)
    return parts


def range_parts(rows: pl.LazyFrame, column: str, n_rows: int, n_parts: int) -> RangeParts | None:
    """Return parts by ranges of a key; None if all keys are null or the rows are not roughly ordered by it."""
    step = max(1, n_rows // SAMPLE_ROWS)
    sample = rows.filter(pl.col(ROW) % step == 0).select(pl.col(column).drop_nulls()).collect().to_series().sort()
    if not len(sample):
        return None
    cut_indices = np.linspace(0, len(sample) - 1, n_parts + 1)[1:-1].astype(np.int64)
    cuts = tuple(sample[cut_indices].unique().sort())
    chunk = (pl.col(ROW) // ROWS_PER_BUCKET).alias("chunk")
    key = pl.col(column)
    ranges = rows.group_by(chunk).agg(key.min().alias("low"), key.max().alias("high"), key.has_nulls().alias("nulls"))
    chunks = ranges.sort("chunk").collect()
    row_ranges = []
    n_read_chunks = 0
    for i in range(len(cuts) + 1):
        overlaps = pl.lit(value=True)
        overlaps = overlaps & (pl.col("high") > cuts[i - 1]) if i else overlaps
        overlaps = overlaps & (pl.col("low") <= cuts[i]) if i < len(cuts) else overlaps
        overlapping = chunks.filter((overlaps.fill_null(value=False)) | (pl.col("nulls") & pl.lit(i == 0)))["chunk"]
        n_read_chunks += len(overlapping)
        first, last = (int(overlapping[0]), int(overlapping[-1])) if len(overlapping) else (0, -1)
        row_ranges.append((first * ROWS_PER_BUCKET, (last + 1) * ROWS_PER_BUCKET - 1))
    if n_read_chunks > MAX_READ_FACTOR * chunks.height + len(cuts):
        return None
    return RangeParts(column, cuts, tuple(row_ranges))


def write_clustered(
    store: Store, key: str, name: str, frame: pl.LazyFrame, parts: HashParts, budget_bytes: int
) -> None:
    """Write a copy of a frame to the cache, sorted by part and otherwise in order, with the part as column `PART`."""
    buckets = Buckets(store.folder, budget_bytes)
    with_part = frame.with_columns(parts.line_part.alias(PART))

    def batches(
        with_columns: list[str] | None, predicate: Any, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        del with_columns, predicate, n_rows, batch_size
        for batch in with_part.collect_batches(chunk_size=ROWS_PER_BUCKET):
            buckets.add(batch, batch[PART].to_numpy().astype(np.int64))
        for part in range(parts.n_parts):
            lines = buckets.pop(part)
            if lines is not None:
                yield lines

    try:
        with store.writing(key, {"parts_of": name, "by": parts.column}) as path:
            register_io_source(batches, schema=with_part.collect_schema()).sink_parquet(
                path, row_group_size=ROWS_PER_BUCKET, compression="lz4"
            )
    finally:
        buckets.close()
