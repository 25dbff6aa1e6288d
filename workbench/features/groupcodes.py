"""Encode groups of rows as integer codes."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["group_codes"]

Codes = npt.NDArray[np.int32]

EXTRA_TABLE_SIZE = 1 << 16
"""A lookup table over the range of values is used if its size is at most twice the number of rows plus this."""


def group_codes(frame: pl.DataFrame) -> Codes:
    """Return a code from 0 for each distinct line of `frame`, (n_rows,); null equals null, and NaN equals NaN.

    Examples
    --------
    >>> group_codes(pl.DataFrame({"a": [7, None, 7, 9], "b": ["x", "x", "x", None]})).tolist()
    [1, 0, 1, 2]
    """
    codes = np.zeros(frame.height, np.int32)
    n_codes = min(1, frame.height)
    for column in frame.get_columns():
        column_codes = _column_codes(column)
        if n_codes <= 1:
            codes = column_codes
        else:
            n_column_codes = int(column_codes.max(initial=0)) + 1
            pairs = codes.astype(np.int64)
            pairs *= n_column_codes
            pairs += column_codes
            codes = _dense_codes(pairs, n_codes * n_column_codes)
        n_codes = int(codes.max(initial=-1)) + 1
    return codes


def _column_codes(column: pl.Series) -> Codes:
    dtype = column.dtype
    if dtype == pl.Boolean:
        column = column.cast(pl.UInt8)
    elif dtype.is_temporal() or dtype in (pl.Categorical, pl.Enum):
        column = column.to_physical()
    if column.dtype.is_integer():
        return _integer_codes(column)
    return _hashed_codes(column)


def _integer_codes(column: pl.Series) -> Codes:
    """Return codes in the order of the integers, null first."""
    lowest, highest = cast("tuple[int | None, int | None]", (column.min(), column.max()))
    if lowest is None or highest is None:
        return np.zeros(len(column), np.int32)
    size = highest - lowest + 2
    if size > 2 * len(column) + EXTRA_TABLE_SIZE:
        ranks = column.rank("dense").fill_null(0).to_numpy().astype(np.int32)
        return ranks if column.null_count() else ranks - np.int32(1)
    if column.dtype not in (pl.Int64, pl.UInt64, pl.Int128, pl.UInt128):
        column = column.cast(pl.Int64)
    shifted = (column - lowest).cast(pl.UInt32) + 1
    return _dense_codes(shifted.fill_null(0).to_numpy(), size)


def _dense_codes(values: npt.NDArray[np.int64] | npt.NDArray[np.uint32], size: int) -> Codes:
    """Return codes in the order of the values, which are in [0, size)."""
    if size > 2 * len(values) + EXTRA_TABLE_SIZE:
        return (pl.Series(values).rank("dense").to_numpy() - 1).astype(np.int32)
    occurs = np.zeros(size, np.bool_)
    occurs[values] = True
    code_of_value = np.cumsum(occurs, dtype=np.int32)
    code_of_value -= 1
    return code_of_value[values]


def _hashed_codes(column: pl.Series) -> Codes:
    """Return codes in the order of first appearance, for texts and other types that can't index a table."""
    rows = column.to_frame("value").with_row_index("row").group_by("value").agg("row")["row"]
    sizes = rows.list.len().to_numpy()
    members = rows.explode(empty_as_null=False).to_numpy()
    codes = np.empty(len(column), np.int32)
    codes[members] = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    # The codes so far depend on the scheduling of threads. Assigning from the last row to the first leaves the first
    # row of each group.
    first_row = np.empty(len(sizes), np.int32)
    first_row[codes[::-1]] = np.arange(len(codes) - 1, -1, -1, dtype=np.int32)
    rank = np.empty(len(sizes), np.int32)
    rank[np.argsort(first_row)] = np.arange(len(sizes), dtype=np.int32)
    return rank[codes]
