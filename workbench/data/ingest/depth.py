"""Limits on the nesting and the width of JSON, without which readers crash or do not finish."""

from __future__ import annotations

import re

import numpy as np

from workbench.core.packed import max_unpacked_bytes

__all__ = ["MAX_DEPTH", "TOO_DEEP", "depth_of", "width_fault"]

MAX_DEPTH = 100
"""Beyond some hundred levels, the time that polars takes doubles with each level, and writing aborts the process."""
CELL_BYTES = 8
TOO_DEEP = "lists or objects are nested too deeply to be read"
CHUNK_BYTES = 1 << 20

_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_STEPS = np.zeros(256, np.int64)
_STEPS[[ord("["), ord("{")]], _STEPS[[ord("]"), ord("}")]] = 1, -1


def depth_of(document: bytes) -> int:
    r"""Return how deeply lists and objects are nested; brackets within quotes do not count.

    Examples
    --------
    >>> depth_of(b'[{"a": [1]}]'), depth_of(b'["[[[[\\"[["]')
    (3, 1)
    """
    deepest = depth = 0
    is_quoted = False
    start = 0
    while start < len(document):
        end = min(start + CHUNK_BYTES, len(document))
        # Do not split an escape sequence.
        while end < len(document) and document[end - 1] == ord("\\"):
            end += 1
        chunk = document[start:end]
        codes = np.frombuffer(_ESCAPED.sub(b"", chunk) if b"\\" in chunk else chunk, np.uint8)
        start = end
        if not len(codes):
            continue
        in_quotes = np.logical_xor.accumulate(codes == ord('"')) ^ is_quoted
        depths = depth + np.cumsum(np.where(in_quotes, 0, _STEPS[codes]))
        deepest, depth, is_quoted = max(deepest, int(depths.max())), int(depths[-1]), bool(in_quotes[-1])
    return deepest


def width_fault(rows: int, columns: int, size_bytes: int) -> str:
    """Return why the table of JSON objects would be far larger than its text; "" where it would not.

    A table has a cell for each name in every row. If no two objects share a name, 60 KB of JSON become 2 GB, and ten
    times as much JSON a hundred times that.

    Examples
    --------
    >>> width_fault(1000, 1000, 50_000), width_fault(3000, 3000, 58_000)
    ('', 'its 3,000 objects have 3,000 names between them, too many for the columns of a table')
    """
    if rows * columns * CELL_BYTES <= max_unpacked_bytes(size_bytes):
        return ""
    return f"its {rows:,} objects have {columns:,} names between them, too many for the columns of a table"
