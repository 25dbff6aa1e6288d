"""Compiled functions for the largest inner products; see `workbench.recommender.products`."""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["keep_best"]

STEP = 16
"""The number of products that are compared with the limit at once, as nearly all are too small."""


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
def _insert(best, scores, code, score):
    """Insert an item into the best, which are sorted, before smaller ones; the last one drops out."""
    at = len(best) - 1
    while at > 0 and (best[at - 1] < 0 or scores[at - 1] < score):
        best[at], scores[at] = best[at - 1], scores[at - 1]
        at -= 1
    best[at], scores[at] = code, score


@numba.njit(nogil=True, cache=True)
def keep_best(block, query_bounds, products, rows, excluded, to_items, to_scores):
    """Merge the best of a block of products into the best so far.

    Parameters
    ----------
    block : tuple
        The number of the block's first item, and the vectors of all items.
    query_bounds : tuple
        The vectors of the queries, and the error bound of the products of each.
    products : array
        Of queries (rows) and the block's items (columns), in single precision.
    rows : tuple
        The first row, and the row after the last.
    excluded : tuple
        The items that are excluded for each row: the starts of the rows, and the items of all of them.
    to_items, to_scores : arrays
        The best so far, in order.
    """
    first_item, items = block
    queries, margins = query_bounds
    excluded_starts, excluded_items = excluded
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
            is_excluded = False
            for i in range(excluded_starts[r], excluded_starts[r + 1]):
                is_excluded |= excluded_items[i] == code
            if not is_excluded:
                _insert(best, scores, code, score)
                if best[top - 1] >= 0:
                    limit = scores[top - 1] - margins[r]
