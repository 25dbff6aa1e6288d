"""Metrics of rows that are ranked within queries: a score per row, the order within each query is what counts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import DataError

__all__ = [
    "Queries",
    "hit_rate_of_queries",
    "map_of_queries",
    "micro_recall_of_queries",
    "mrr_of_queries",
    "ndcg_of_queries",
    "recall_of_queries",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Queries:
    """The relevance of rows, and the query that each belongs to.

    Attributes
    ----------
    values : float array (n,)
        From 0 up.
    query : int array (n,)
        Any numbers; rows of one query need not lie together.
    """

    values: Floats
    query: Ints

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.values)

    @cached_property
    def by_query(self) -> tuple[Ints, Ints]:
        """The number of each row's query from 0 up, (n,), and where each query begins among rows sorted by it."""
        codes = np.unique(self.query, return_inverse=True)[1].astype(np.int64)
        counts = np.bincount(codes)
        return codes, np.concatenate([[0], np.cumsum(counts)])

    @cached_property
    def best(self) -> Ints:
        """The rows by query, the most relevant first."""
        return np.lexsort((-self.values, self.by_query[0]))

    def ranked(self, scores: Floats) -> tuple[Ints, Ints]:
        """Return the rows by query, the highest score first, and the place of each within its query from 0 up."""
        codes, starts = self.by_query
        # By score first, then stably by query, whose codes are small whole numbers: faster than both at once.
        order = np.argsort(-scores, kind="stable")
        small = codes.astype(np.uint16) if len(starts) <= 2**16 else codes.astype(np.uint32)
        order = order[np.argsort(small[order], kind="stable")]
        return order, np.arange(len(order)) - starts[codes[order]]


def ndcg_of_queries(truth: Queries, scores: Any, k: int, weight: Floats | None) -> float:
    """nDCG@k, the mean over the queries, as scikit-learn's ``ndcg_score`` has it for each.

    The gain of a row is its relevance itself; rows of equal score share the discounts of their places. A query without
    a relevant row counts as 0.
    """
    values = np.asarray(truth.values, np.float64)
    if values.min() < 0:
        raise DataError(f"ndcg@{k}: the lowest relevance is {values.min():g}; expected 0 or more")
    order, place = truth.ranked(np.asarray(scores, np.float64))
    codes, starts = truth.by_query
    discount = np.where(place < k, 1 / np.log2(place + 2.0), 0.0)
    gained = _sum(values[order] * _shared(discount, np.asarray(scores)[order], codes[order]), codes[order], starts)
    # Places are those of the sorted rows: the same for any order within the queries.
    ideal = _sum(values[truth.best] * discount, codes[order], starts)
    ndcg = np.divide(gained, ideal, out=np.zeros(len(ideal)), where=ideal > 0)
    return _mean(ndcg, truth, weight)


def _shared(discount: Floats, scores: Floats, codes: Ints) -> Floats:
    """Give rows of one query and one score the mean of their discounts; rows are sorted by both."""
    new = np.ones(len(scores), np.bool_)
    new[1:] = (scores[1:] != scores[:-1]) | (codes[1:] != codes[:-1])
    if new.all():
        return discount
    first = np.flatnonzero(new)
    sizes = np.diff(first, append=len(scores))
    return np.repeat(np.add.reduceat(discount, first) / sizes, sizes)


def map_of_queries(truth: Queries, scores: Any, k: int, weight: Floats | None) -> float:
    """MAP@k, the mean over the queries of the sum of precision at each relevant row over ``min(k, relevant)``.

    Relevant is what has a relevance above 0. Rows of equal score keep their order. A query without a relevant row
    counts as 0, as in Kaggle's ``ml_metrics``.
    """
    order, place = truth.ranked(np.asarray(scores, np.float64))
    codes, starts = truth.by_query
    hits = (np.asarray(truth.values)[order] > 0).astype(np.float64)
    running = np.cumsum(hits)
    before = (running - hits)[starts[:-1]]
    precision = (running - before[codes[order]]) / (place + 1)
    found = _sum(np.where(place < k, precision * hits, 0.0), codes[order], starts)
    relevant = np.minimum(_sum(hits, codes[order], starts), k)
    return _mean(found / np.maximum(relevant, 1), truth, weight)


def recall_of_queries(truth: Queries, scores: Any, k: int, weight: Floats | None) -> float:
    """Recall@k, the mean over the queries of the relevant rows among the first k over ``min(k, relevant)``."""
    found, relevant = _found(truth, scores, k)
    return _mean(found / np.maximum(relevant, 1), truth, weight)


def micro_recall_of_queries(truth: Queries, scores: Any, k: int, weight: Floats | None) -> float:
    """Micro recall@k: the relevant rows among the first k of all queries over the sum of ``min(k, relevant)``."""
    found, relevant = _found(truth, scores, k)
    own = np.ones(len(found)) if weight is None else _weights(truth, weight)
    possible = float(np.dot(relevant, own))
    return float(np.dot(found, own)) / possible if possible else 0.0


def hit_rate_of_queries(truth: Queries, scores: Any, k: int, weight: Floats | None) -> float:
    """Hit rate@k: the share of the queries that have a relevant row among the first k."""
    return _mean((_found(truth, scores, k)[0] > 0).astype(np.float64), truth, weight)


def mrr_of_queries(truth: Queries, scores: Any, k: int, weight: Floats | None) -> float:
    """MRR@k, the mean over the queries of one over the place of the first relevant row; 0 where it is beyond k."""
    order, place = truth.ranked(np.asarray(scores, np.float64))
    codes, starts = truth.by_query
    is_hit = (np.asarray(truth.values)[order] > 0) & (place < k)
    best = np.zeros(len(starts) - 1)
    np.maximum.at(best, codes[order][is_hit], 1.0 / (place[is_hit] + 1))
    return _mean(best, truth, weight)


def _found(truth: Queries, scores: Any, k: int) -> tuple[Floats, Floats]:
    """Return for each query the relevant rows among the first k, and how many there could be."""
    order, place = truth.ranked(np.asarray(scores, np.float64))
    codes, starts = truth.by_query
    hits = (np.asarray(truth.values)[order] > 0).astype(np.float64)
    found = _sum(np.where(place < k, hits, 0.0), codes[order], starts)
    return found, np.minimum(_sum(hits, codes[order], starts), k)


def _sum(values: Floats, codes: Ints, starts: Ints) -> Floats:
    return np.bincount(codes, weights=values, minlength=len(starts) - 1).astype(np.float64)


def _mean(of_queries: Floats, truth: Queries, weight: Floats | None) -> float:
    """Return the mean; a query weighs as much as its rows do on average."""
    if weight is None:
        return float(of_queries.mean())
    own = _weights(truth, weight)
    return float(np.dot(of_queries, own) / own.sum())


def _weights(truth: Queries, weight: Floats) -> Floats:
    codes, starts = truth.by_query
    return _sum(weight, codes, starts) / np.diff(starts)
