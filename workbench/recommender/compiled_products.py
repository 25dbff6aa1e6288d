"""Compiled functions for the largest of many products; see `workbench.recommender.products`."""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["keep_best"]

STEP = 16
"""Products that are compared at once: nearly all are too small."""


@numba.njit(nogil=True, cache=True, inline="always")
def _product(a, b):
    total = 0.0
    for d in range(len(a)):
        total += np.float64(a[d]) * np.float64(b[d])
    return np.float32(total)


@numba.njit(nogil=True, cache=True, inline="always")
def _any_reaches(products, low, limit):
    reaches = False
    for j in range(low, low + STEP):
        reaches |= products[j] >= limit
    return reaches


@numba.njit(nogil=True, cache=True, inline="always")
def _put(best, scores, code, score):
    """Insert an item into the best, which are sorted, before smaller ones; the last one is dropped."""
    at = len(best) - 1
    while at > 0 and (best[at - 1] < 0 or scores[at - 1] < score):
        best[at], scores[at] = best[at - 1], scores[at - 1]
        at -= 1
    best[at], scores[at] = code, score


@numba.njit(nogil=True, cache=True)
def keep_best(block, of, products, rows, barred, to_items, to_scores):
    """Merge the best of a block of products into the best so far.

    Parameters
    ----------
    block : tuple
        The first of the block's items, and the vectors of all items.
    of : tuple
        The vectors of the queries, and the error bound of each one's products.
    products : array
        Rows are queries, columns the block's items; rounded, in whatever order they were summed.
    rows : tuple
        The first row, and the row after the last.
    barred : tuple
        Starts and items: the items that a row must not have.
    to_items, to_scores : arrays
        The best so far, in order.
    """
    first_item, items = block
    queries, margins = of
    starts, out = barred
    top, width = to_items.shape[1], products.shape[1]
    for r in range(rows[0], rows[1]):
        best, scores, row = to_items[r], to_scores[r], products[r]
        limit = scores[top - 1] - margins[r] if best[top - 1] >= 0 else np.float32(-np.inf)
        j = -1
        while j + 1 < width:
            j += 1
            if j % STEP == 0 and j + STEP <= width and not _any_reaches(row, j, limit):
                j += STEP - 1
                continue
            code = first_item + j
            if row[j] < limit or not items[code].any():
                continue
            score = _product(queries[r], items[code])
            if best[top - 1] >= 0 and score <= scores[top - 1]:
                continue
            is_barred = False
            for i in range(starts[r], starts[r + 1]):
                is_barred |= out[i] == code
            if not is_barred:
                _put(best, scores, code, score)
                if best[top - 1] >= 0:
                    limit = scores[top - 1] - margins[r]
