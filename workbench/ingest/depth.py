"""How deep lists and objects lie within each other in JSON: readers crash, or never end, where there is no bound."""

from __future__ import annotations

import re

import numpy as np

__all__ = ["MOST_DEPTH", "TOO_DEEP", "depth_of"]

MOST_DEPTH = 100
"""polars reads some hundreds in a time that doubles with each, and ends the process where they are written."""
TOO_DEEP = "lists or objects lie too deep within each other to be read"
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
