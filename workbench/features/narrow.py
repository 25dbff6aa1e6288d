"""Per-column passes over a wide table, in batches: each scan takes time proportional to the number of columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from workbench.data.competition import ROW

__all__ = ["count_values", "narrow_frames"]

VALUES = 8_000_000
"""So many values are held at a time."""

FEWEST = 8
"""For fewer columns at a time than this, holding them gains nothing."""


def narrow_frames(rows: pl.LazyFrame, columns: Sequence[str]) -> Iterator[tuple[Sequence[str], pl.LazyFrame]]:
    """Give the columns in turn, each with a frame that has it and the row key.

    Of a short table, many columns at a time are held in memory; of a long one the frame is the one that came, which is
    read anew at each look.

    Yields
    ------
    names : sequence of str
        Some of the columns, in order.
    frame : LazyFrame
    """
    at_a_time = _at_a_time(rows, columns)
    if at_a_time < FEWEST:
        yield columns, rows
        return
    for start in range(0, len(columns), at_a_time):
        names = columns[start : start + at_a_time]
        key, *values = rows.select(ROW, *names).collect(engine="streaming").get_columns()
        # One column alone is looked at as fast as a narrow table is.
        for name, column in zip(names, values, strict=True):
            yield [name], pl.DataFrame([key, column]).lazy()


def count_values(rows: pl.LazyFrame, columns: Sequence[str]) -> dict[str, int]:
    """Return the number of distinct values of each column, counting null."""
    batch_size = max(1, _at_a_time(rows, columns))
    counts_of: dict[str, int] = {}
    for start in range(0, len(columns), batch_size):
        batch = rows.select(columns[start : start + batch_size])
        # Held in memory: the streaming engine takes minutes to count the values of thousands of columns at once.
        batch = batch.collect(engine="streaming").lazy() if batch_size > 1 else batch
        counts = batch.select(pl.all().n_unique()).collect(engine="in-memory" if batch_size > 1 else "streaming")
        counts_of |= dict(zip(counts.columns, counts.row(0), strict=True))
    return counts_of


def _at_a_time(rows: pl.LazyFrame, columns: Sequence[str]) -> int:
    """Return how many columns a batch has; 0 where there are too few columns to need batches."""
    n_rows = rows.select(pl.len()).collect(engine="streaming").item() if len(columns) >= FEWEST else 0
    return VALUES // n_rows if n_rows else 0
