"""The items whose vectors have the largest products with a vector: exact, in bounded memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from workbench.core.threads import available_cores
from workbench.recommender.extra import compiled

__all__ = ["CHUNK", "best_products"]

CHUNK = 256
"""So many vectors are asked for at once: with a block of items this takes 4 MB, which are at hand again at once."""

BLOCK = 4096

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]


def best_products(
    queries: Floats,
    items: Floats,
    top: int,
    *,
    barred: tuple[npt.NDArray[np.int64], Codes] | None = None,
    chunk: int = CHUNK,
    threads: int | None = None,
) -> tuple[Codes, Floats]:
    """Return for every query the codes of the items with the largest products, and the products, the largest first.

    BLAS says which items may be among them, and these products are taken again, in double precision and always in the
    same order. So the result depends neither on the size of the chunks nor on the number of threads, and of equal
    products the smaller code is first.

    Parameters
    ----------
    queries, items : arrays of shape (n, size) and (n_items, size)
        Finite numbers. One that is all zeros is none: such a query gets no item, such an item goes to no query.
    top : int
    barred : tuple of arrays, optional
        Starts (n + 1) and codes: the items that a query must not have.
    chunk : int
        So many queries at once.
    threads : int, optional
        Of the search; how many BLAS has is its own affair. By default as many as there are processors.

    Returns
    -------
    codes : array of shape (n, top), int32
        -1 where there are no more.
    products : array of shape (n, top), float32
        0 where there are no more.
    """
    run = compiled("compiled_products")
    queries, items = np.ascontiguousarray(queries), np.ascontiguousarray(items)
    codes, products = np.full((len(queries), top), -1, np.int32), np.zeros((len(queries), top), np.float32)
    starts, out = barred or (np.zeros(len(queries) + 1, np.int64), np.empty(0, np.int32))
    asked = np.flatnonzero(queries.any(axis=1))
    longest = float(np.sqrt(np.einsum("ij,ij->i", items, items, dtype=np.float64).max(initial=0.0)))
    n_threads = threads or available_cores()
    with ThreadPoolExecutor(n_threads) as pool:
        for low in range(0, len(asked), chunk):
            rows = asked[low : low + chunk]
            own, bounds = queries[rows], np.linspace(0, len(rows), n_threads + 1).astype(np.int64)
            found, scores = np.full((len(rows), top), -1, np.int32), np.zeros((len(rows), top), np.float32)
            of, left_out = (own, _margins(own, longest)), _rows_of(starts, out, rows)
            for first in range(0, len(items), BLOCK):
                block = own @ items[first : first + BLOCK].T
                jobs = [
                    pool.submit(run.keep_best, (first, items), of, block, part, left_out, found, scores)
                    for part in pairwise(bounds)
                ]
                for job in jobs:
                    job.result()
            codes[rows], products[rows] = found, scores
    return codes, products


def _margins(queries: Floats, longest: float) -> Floats:
    """Return by how much a product in single precision may be off, twice over for safety.

    A sum of n products, in whatever order, is off by no more than about n u |a| |b|, where u is half an epsilon
    (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).
    """
    norms: npt.NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", queries, queries, dtype=np.float64))
    margins: Floats = (norms * ((queries.shape[1] + 2) * float(np.finfo(np.float32).eps) * longest)).astype(np.float32)
    return margins


def _rows_of(
    starts: npt.NDArray[np.int64], codes: Codes, rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], Codes]:
    """Return the lists of some rows, one behind the other."""
    lengths = starts[rows + 1] - starts[rows]
    ends = np.cumsum(lengths)
    at = np.arange(ends[-1]) + np.repeat(starts[rows] - (ends - lengths), lengths)
    return np.concatenate(([0], ends)), codes[at]
