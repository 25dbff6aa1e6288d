"""Process the columns of a wide table in batches, as each scan takes time proportional to the number of columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from workbench.data.competition import ROW

__all__ = ["column_batches", "count_values"]

MAX_BATCH_VALUES = 8_000_000
"""The number of values to load at once."""

MIN_BATCH_COLUMNS = 8
"""Smaller batches than this are not worth loading."""


def column_batches(rows: pl.LazyFrame, columns: Sequence[str]) -> Iterator[tuple[Sequence[str], pl.LazyFrame]]:
    """Yield the columns with a frame that contains them and the row key.

    Columns of a short table are loaded in batches; for a long table the frame is `rows` itself.

    Yields
    ------
    names : sequence of str
        Some of the columns, in order.
    frame : LazyFrame
    """
    batch_size = _batch_columns(rows, columns)
    if batch_size < MIN_BATCH_COLUMNS:
        yield columns, rows
        return
    for start in range(0, len(columns), batch_size):
        names = columns[start : start + batch_size]
        key, *values = rows.select(ROW, *names).collect(engine="streaming").get_columns()
        # One at a time: queries of a frame with a single column are as fast as those of a narrow table.
        for name, column in zip(names, values, strict=True):
            yield [name], pl.DataFrame([key, column]).lazy()


def count_values(rows: pl.LazyFrame, columns: Sequence[str]) -> dict[str, int]:
    """Return column -> number of distinct values, null included."""
    batch_size = max(1, _batch_columns(rows, columns))
    count_by_column: dict[str, int] = {}
    for start in range(0, len(columns), batch_size):
        batch = rows.select(columns[start : start + batch_size])
        # Loaded, as the streaming engine takes minutes to count the values of thousands of columns at once.
        batch = batch.collect(engine="streaming").lazy() if batch_size > 1 else batch
        counts = batch.select(pl.all().n_unique()).collect(engine="in-memory" if batch_size > 1 else "streaming")
        count_by_column |= dict(zip(counts.columns, counts.row(0), strict=True))
    return count_by_column


def _batch_columns(rows: pl.LazyFrame, columns: Sequence[str]) -> int:
    """Return the number of columns per batch; 0 if there are too few columns for batches."""
    n_rows = rows.select(pl.len()).collect(engine="streaming").item() if len(columns) >= MIN_BATCH_COLUMNS else 0
    return MAX_BATCH_VALUES // n_rows if n_rows else 0
