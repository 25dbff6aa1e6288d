"""Exact search for the items with the largest inner products, in bounded memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from workbench.core.threads import available_cores
from workbench.recommender.extra import compiled

__all__ = ["CHUNK", "best_products"]

CHUNK = 256
"""The number of queries at a time: their products with a block of items take 4 MB, which fit in the cache."""

BLOCK = 4096
"""The number of items at a time."""

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]


def best_products(
    queries: Floats,
    items: Floats,
    top: int,
    *,
    excluded: tuple[npt.NDArray[np.int64], Codes] | None = None,
    chunk: int = CHUNK,
    threads: int | None = None,
) -> tuple[Codes, Floats]:
    """Return the codes of the items with the largest inner products with each query, and their products.

    BLAS selects the items that may be among them; their products are computed again in double precision, always in the
    same order. The result therefore depends neither on the size of the chunks nor on the number of threads, and of
    equal products the smaller code is first.

    Parameters
    ----------
    queries, items : arrays of shape (n, size) and (n_items, size)
        Finite numbers. A vector of zeros counts as missing: such a query gets no items, such an item is not returned.
    top : int
        The number of items for a query.
    excluded : tuple of arrays, optional
        The items to exclude: those of query i are ``codes[starts[i]:starts[i + 1]]`` of (starts, codes).
    chunk : int
        The number of queries at a time.
    threads : int, optional
        For the search, not for BLAS. Default: all available cores.

    Returns
    -------
    codes : array of shape (n, top), int32
        -1 where there are no more.
    products : array of shape (n, top), float32
        0 where there are no more.
    """
    keep_best = compiled("compiled_products").keep_best
    queries, items = np.ascontiguousarray(queries), np.ascontiguousarray(items)
    codes, products = np.full((len(queries), top), -1, np.int32), np.zeros((len(queries), top), np.float32)
    excluded_starts, excluded_codes = excluded or (np.zeros(len(queries) + 1, np.int64), np.empty(0, np.int32))
    nonzero = np.flatnonzero(queries.any(axis=1))
    max_norm = float(np.sqrt(np.einsum("ij,ij->i", items, items, dtype=np.float64).max(initial=0.0)))
    n_threads = threads or available_cores()
    with ThreadPoolExecutor(n_threads) as pool:
        for low in range(0, len(nonzero), chunk):
            rows = nonzero[low : low + chunk]
            chunk_queries, bounds = queries[rows], np.linspace(0, len(rows), n_threads + 1).astype(np.int64)
            best, scores = np.full((len(rows), top), -1, np.int32), np.zeros((len(rows), top), np.float32)
            query_bounds = (chunk_queries, _error_bounds(chunk_queries, max_norm))
            chunk_excluded = _select_lists(excluded_starts, excluded_codes, rows)
            for first in range(0, len(items), BLOCK):
                block = chunk_queries @ items[first : first + BLOCK].T
                jobs = [
                    pool.submit(keep_best, (first, items), query_bounds, block, part, chunk_excluded, best, scores)
                    for part in pairwise(bounds)
                ]
                for job in jobs:
                    job.result()
            codes[rows], products[rows] = best, scores
    return codes, products


def _error_bounds(queries: Floats, max_norm: float) -> Floats:
    """Return a bound on the error of each query's products in single precision, doubled for safety.

    The error of a sum of n products, in whatever order, is at most about n u |a| |b|, where u is half an epsilon
    (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).
    """
    norms: npt.NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", queries, queries, dtype=np.float64))
    epsilon = float(np.finfo(np.float32).eps)
    bounds: Floats = (norms * ((queries.shape[1] + 2) * epsilon * max_norm)).astype(np.float32)
    return bounds


def _select_lists(
    starts: npt.NDArray[np.int64], codes: Codes, rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], Codes]:
    """Return the starts and codes of the lists of some rows."""
    lengths = starts[rows + 1] - starts[rows]
    ends = np.cumsum(lengths)
    positions = np.arange(ends[-1]) + np.repeat(starts[rows] - (ends - lengths), lengths)
    return np.concatenate(([0], ends)), codes[positions]
