"""How deep lists and objects lie within each other in JSON: readers crash, or never end, where there is no bound."""

from __future__ import annotations

import re

import numpy as np

from workbench.core.packed import max_unpacked_bytes

__all__ = ["MOST_DEPTH", "TOO_DEEP", "depth_of", "too_wide"]

MOST_DEPTH = 100
"""polars reads some hundreds in a time that doubles with each, and ends the process where they are written."""
CELL_BYTES = 8
TOO_DEEP = "lists or objects are nested too deeply to be read"
PIECE_BYTES = 1 << 20

_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_STEPS = np.zeros(256, np.int64)
_STEPS[[ord("["), ord("{")]], _STEPS[[ord("]"), ord("}")]] = 1, -1


def depth_of(document: bytes) -> int:
    r"""Return how deep lists and objects lie within each other; what stands in quotes is none.

    Examples
    --------
    >>> depth_of(b'[{"a": [1]}]'), depth_of(b'["[[[[\\"[["]')
    (3, 1)
    """
    deepest = depth = 0
    is_open = False
    at = 0
    while at < len(document):
        end = min(at + PIECE_BYTES, len(document))
        # Not between a backslash and what it escapes.
        while end < len(document) and document[end - 1] == ord("\\"):
            end += 1
        piece = document[at:end]
        letters = np.frombuffer(_ESCAPED.sub(b"", piece) if b"\\" in piece else piece, np.uint8)
        at = end
        if not len(letters):
            continue
        inside = np.logical_xor.accumulate(letters == ord('"')) ^ is_open
        depths = depth + np.cumsum(np.where(inside, 0, _STEPS[letters]))
        deepest, depth, is_open = max(deepest, int(depths.max())), int(depths[-1]), bool(inside[-1])
    return deepest


def too_wide(rows: int, columns: int, size_bytes: int) -> str:
    """Say that a table would take far more than the text that it is made of; "" where it doesn't.

    Each object may have names that no other has, and a table has a cell for each of them in every row: 60 KB of JSON
    were 2 GB so, ten times as much a hundred times that.

    Examples
    --------
    >>> too_wide(1000, 1000, 50_000), too_wide(3000, 3000, 58_000)
    ('', 'its 3,000 objects have 3,000 names between them, too many for the columns of a table')
    """
    if rows * columns * CELL_BYTES <= max_unpacked_bytes(size_bytes):
        return ""
    return f"its {rows:,} objects have {columns:,} names between them, too many for the columns of a table"
