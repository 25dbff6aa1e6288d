"""Rows in parts that keep all rows of a key together: how many parts, and how to read one without reading them all."""

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
    "Part",
    "Parts",
    "RangeParts",
    "bytes_per_line",
    "is_like",
    "key_hash",
    "plan_parts",
    "range_parts",
    "write_clustered",
]

PART = "__part__"
HOLDS = 40
"""A part's lines take at most this share (1/40) of the memory limit: a window function holds its input, its groups and
its result, several columns at a time, beside what polars reads ahead."""

MAX_PARTS = 512
MAX_TOUCHED = 3.0
"""Where the parts together would read more than this many times the file, it is first written anew, part by part."""

SAMPLED_ROWS = 200_000


@dataclass(frozen=True)
class Part:
    """One part: which lines of any frame that has the key belong to it, and between which rows all of them lie."""

    index: int
    lines: pl.Expr
    first_row: int = 0
    last_row: int | None = None


@dataclass(frozen=True)
class RangeParts:
    """Parts by ranges of the key, for rows that lie by and large in its order: a part is read by skipping row groups.

    Part i has the keys above ``cuts[i - 1]`` up to ``cuts[i]``; the first has the nulls.
    """

    column: str
    cuts: tuple[Any, ...]
    rows: tuple[tuple[int, int], ...]

    def __iter__(self) -> Iterator[Part]:
        key = pl.col(self.column)
        for i, (first, last) in enumerate(self.rows):
            low = key > self.cuts[i - 1] if i else pl.lit(value=True)
            high = key <= self.cuts[i] if i < len(self.cuts) else pl.lit(value=True)
            yield Part(i, (low & high) if i else (high | key.is_null()), first, last)


TEXTS = (pl.String, pl.Categorical, pl.Enum)


def key_hash(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return the hash of a key that is equal in every table, whatever type each has it in.

    polars hashes "a" as text and "a" as a category, 1 and 1.0, to different numbers.

    Parameters
    ----------
    column : str
    dtype : DataType
        Of the key in the rows. What another table has that this type can't hold is no row's key.
    """
    canonical = pl.String() if isinstance(dtype, TEXTS) else dtype
    return pl.col(column).cast(canonical, strict=False).hash(seed=20131)


def is_like(dtype: pl.DataType, other: pl.DataType) -> bool:
    """Say whether keys of two types are of one kind: texts, numbers, or the same kind of time."""
    if isinstance(dtype, TEXTS) or isinstance(other, TEXTS):
        return isinstance(dtype, TEXTS) and isinstance(other, TEXTS)
    return (dtype.is_numeric() and other.is_numeric()) or dtype.base_type() is other.base_type()


@dataclass(frozen=True)
class HashParts:
    """Parts by the key's hash, for rows in any order; big frames are read from a copy that `clustered` writes."""

    column: str
    n_parts: int
    dtype: pl.DataType

    @property
    def of_line(self) -> pl.Expr:
        """The part of each line."""
        return (key_hash(self.column, self.dtype) % self.n_parts).cast(pl.UInt16)

    def __iter__(self) -> Iterator[Part]:
        for i in range(self.n_parts):
            yield Part(i, pl.col(PART) == i)


Parts = RangeParts | HashParts


def bytes_per_line(frame: pl.LazyFrame) -> float:
    """Estimate what a line takes in memory, from the first ones."""
    head = frame.head(10_000).collect()
    return head.estimated_size() / max(1, head.height)


def plan_parts(rows: pl.LazyFrame, column: str, n_rows: int, limit_bytes: int) -> Parts | None:
    """Decide how to part the rows; None where they are few enough to be taken as a whole.

    Parameters
    ----------
    rows : LazyFrame
        With the row key, in row order.
    column : str
        What parts keep together.
    n_rows : int
    limit_bytes : int
        The memory limit.
    """
    n_parts = int(min(MAX_PARTS, np.ceil(n_rows * bytes_per_line(rows) * HOLDS / limit_bytes)))
    if n_parts <= 1:
        return None
    dtype = rows.collect_schema()[column]
    ordered = dtype.is_integer() or dtype in (pl.Date, pl.Datetime)
    return (range_parts(rows, column, n_rows, n_parts) if ordered else None) or HashParts(column, n_parts, dtype)


def range_parts(rows: pl.LazyFrame, column: str, n_rows: int, n_parts: int) -> RangeParts | None:
    """Return parts by ranges of a key; None where the rows have no value of it, or are not in its order."""
    step = max(1, n_rows // SAMPLED_ROWS)
    sample = rows.filter(pl.col(ROW) % step == 0).select(pl.col(column).drop_nulls()).collect().to_series().sort()
    if not len(sample):
        return None
    cut_places = np.linspace(0, len(sample) - 1, n_parts + 1)[1:-1].astype(np.int64)
    cuts = tuple(sample[cut_places].unique().sort())
    chunk = (pl.col(ROW) // ROWS_PER_BUCKET).alias("chunk")
    key = pl.col(column)
    spans = rows.group_by(chunk).agg(key.min().alias("low"), key.max().alias("high"), key.has_nulls().alias("nulls"))
    chunks = spans.sort("chunk").collect()
    spans_of_parts = []
    n_read_chunks = 0
    for i in range(len(cuts) + 1):
        overlaps = pl.lit(value=True)
        overlaps = overlaps & (pl.col("high") > cuts[i - 1]) if i else overlaps
        overlaps = overlaps & (pl.col("low") <= cuts[i]) if i < len(cuts) else overlaps
        overlapping = chunks.filter((overlaps.fill_null(value=False)) | (pl.col("nulls") & pl.lit(i == 0)))["chunk"]
        n_read_chunks += len(overlapping)
        first, last = (int(overlapping[0]), int(overlapping[-1])) if len(overlapping) else (0, -1)
        spans_of_parts.append((first * ROWS_PER_BUCKET, (last + 1) * ROWS_PER_BUCKET - 1))
    if n_read_chunks > MAX_TOUCHED * chunks.height + len(cuts):
        return None
    return RangeParts(column, cuts, tuple(spans_of_parts))


def write_clustered(
    store: Store, key: str, name: str, frame: pl.LazyFrame, parts: HashParts, budget_bytes: int
) -> None:
    """Write the lines of a frame part by part, in their order within each, with the part's number as `PART`."""
    buckets = Buckets(store.folder, budget_bytes)
    marked = frame.with_columns(parts.of_line.alias(PART))

    def batches(
        with_columns: list[str] | None, predicate: Any, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        del with_columns, predicate, n_rows, batch_size
        for batch in marked.collect_batches(chunk_size=ROWS_PER_BUCKET):
            buckets.add(batch, batch[PART].to_numpy().astype(np.int64))
        for part in range(parts.n_parts):
            lines = buckets.take(part)
            if lines is not None:
                yield lines

    try:
        with store.writing(key, {"parts_of": name, "by": parts.column}) as path:
            register_io_source(batches, schema=marked.collect_schema()).sink_parquet(
                path, row_group_size=ROWS_PER_BUCKET, compression="lz4"
            )
    finally:
        buckets.close()
