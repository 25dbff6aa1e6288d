"""Split JSON lines at the brackets of their lists, so that lists of flat records can be read apart from the lines."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ListsApart", "lists_apart"]


@dataclass(frozen=True)
class ListsApart:
    """A block of JSON lines, split at its brackets.

    Attributes
    ----------
    lines : bytes
        The lines, with a running number in the place of each list.
    items : bytes
        The records of the lists, one a line.
    counts : ndarray
        The number of records of each list.
    """

    lines: bytes
    items: bytes
    counts: npt.NDArray[np.int64]


def lists_apart(block: bytes) -> ListsApart | None:
    r"""Split the lists out of a block of JSON lines; None if brackets are nested, or a list contains a newline.

    Brackets, braces and commas inside strings are counted, too; the caller notices by running numbers, or numbers of
    records, that do not match.

    Examples
    --------
    >>> apart = lists_apart(b'{"s":7,"e":[{"a":1},{"a":2}]}\n{"s":8,"e":[]}\n')
    >>> apart.lines, apart.items, apart.counts.tolist()
    (b'{"s":7,"e":0}\n{"s":8,"e":1}\n', b'{"a":1}\n{"a":2}\n', [2, 0])
    """
    codes = np.frombuffer(block, np.uint8)
    brackets = np.flatnonzero((codes == ord("[")) | (codes == ord("]")))
    opening, closing = brackets[::2], brackets[1::2]
    if len(brackets) % 2 or not ((codes[opening] == ord("[")).all() and (codes[closing] == ord("]")).all()):
        return None
    starts, ends = opening.tolist(), closing.tolist()
    running_numbers = (b"%d" % i for i in range(len(starts)))
    texts_outside_lists = [
        block[start:end] for start, end in zip([0, *(e + 1 for e in ends)], [*starts, len(block)], strict=True)
    ]
    lines = (
        b"".join(chain.from_iterable(zip(texts_outside_lists, running_numbers, strict=False))) + texts_outside_lists[-1]
    )
    if lines.count(b"\n") != block.count(b"\n"):
        return None
    braces = np.flatnonzero(codes == ord("{"))
    counts = np.searchsorted(braces, closing) - np.searchsorted(braces, opening)
    text = _with_records_on_lines(codes, braces).data
    items = b"\n".join([text[start + 1 : end] for start, end in zip(starts, ends, strict=True)])
    return ListsApart(lines, items, counts)


def _with_records_on_lines(codes: npt.NDArray[np.uint8], braces: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return a copy in which line ends replace the commas of "},{" and "}, {"."""
    changed = codes.copy()
    braces = braces[braces > 2]  # one before can't follow another record, and a place before it may not exist
    commas = np.where(codes[braces - 1] == ord(" "), braces - 2, braces - 1)
    is_between = (codes[commas] == ord(",")) & (codes[commas - 1] == ord("}"))
    changed[commas[is_between]] = ord("\n")
    return changed
