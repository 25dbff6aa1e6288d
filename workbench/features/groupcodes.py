"""The groups of rows as small whole numbers."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["group_codes"]

Codes = npt.NDArray[np.int32]

SPARE_CODES = 1 << 16
"""A table of all values from the least to the largest is used up to twice the rows and this much."""


def group_codes(frame: pl.DataFrame) -> Codes:
    """Return one number per distinct line of `frame`, from 0 up, (n_rows,); null equals null, and NaN equals NaN.

    Examples
    --------
    >>> group_codes(pl.DataFrame({"a": [7, None, 7, 9], "b": ["x", "x", "x", None]})).tolist()
    [1, 0, 1, 2]
    """
    codes = np.zeros(frame.height, np.int32)
    n_codes = min(1, frame.height)
    for column in frame.get_columns():
        more = _column_codes(column)
        if n_codes <= 1:
            codes = more
        else:
            n_more = int(more.max(initial=0)) + 1
            pairs = codes.astype(np.int64)
            pairs *= n_more
            pairs += more
            codes = _dense(pairs, n_codes * n_more)
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
    """Give integers numbers in rising order, null first."""
    least, largest = cast("tuple[int | None, int | None]", (column.min(), column.max()))
    if least is None or largest is None:
        return np.zeros(len(column), np.int32)
    size = largest - least + 2
    if size > 2 * len(column) + SPARE_CODES:
        ranks = column.rank("dense").fill_null(0).to_numpy().astype(np.int32)
        return ranks if column.null_count() else ranks - np.int32(1)
    if column.dtype not in (pl.Int64, pl.UInt64, pl.Int128, pl.UInt128):
        column = column.cast(pl.Int64)
    shifted = (column - least).cast(pl.UInt32) + 1
    return _dense(shifted.fill_null(0).to_numpy(), size)


def _dense(values: npt.NDArray[np.int64] | npt.NDArray[np.uint32], size: int) -> Codes:
    """Give the values of [0, size) that occur numbers in rising order."""
    if size > 2 * len(values) + SPARE_CODES:
        return (pl.Series(values).rank("dense").to_numpy() - 1).astype(np.int32)
    present = np.zeros(size, np.bool_)
    present[values] = True
    number = np.cumsum(present, dtype=np.int32)
    number -= 1
    return number[values]


def _hashed_codes(column: pl.Series) -> Codes:
    """Give what can't be counted through, texts above all, numbers in the order of first appearance."""
    rows = column.to_frame("value").with_row_index("row").group_by("value").agg("row")["row"]
    sizes = rows.list.len().to_numpy()
    members = rows.explode(empty_as_null=False).to_numpy()
    codes = np.empty(len(column), np.int32)
    codes[members] = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    # The numbers so far follow the hashing's threads. Of several writes to one place the last stays, which, row by row
    # from the end, is that of the group's first row.
    first_row = np.empty(len(sizes), np.int32)
    first_row[codes[::-1]] = np.arange(len(codes) - 1, -1, -1, dtype=np.int32)
    rank = np.empty(len(sizes), np.int32)
    rank[np.argsort(first_row)] = np.arange(len(sizes), dtype=np.int32)
    return rank[codes]
