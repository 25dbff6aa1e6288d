"""Metrics of rows that are ranked within queries: a score per row, the order within each query is what counts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import DataError

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

    Relevant is what has a relevance above 0. Of rows of equal score it is the mean over all their orders. A query
    without a relevant row counts as 0, as in Kaggle's ``ml_metrics``.
    """
    ties = _ties(truth, scores)
    # That a row at place i of a group of ties is relevant has the chance r / n; given that, so many of the i - 1 places
    # before it in the group are: https://doi.org/10.1007/978-3-540-78646-7_38 (McSherry and Najork 2008), equation 6.
    relevant_share = np.divide(ties.relevant - 1, ties.size - 1, out=np.zeros(len(ties.size)), where=ties.size > 1)
    hits = ties.relevant_before + ties.nth * relevant_share + 1
    precision = np.where(ties.place < k, ties.chance * hits / (ties.place + 1), 0.0)
    precision_sum = _sum(precision, ties.codes, ties.starts)
    return _mean(precision_sum / np.maximum(np.minimum(ties.in_query, k), 1), truth, weight)


def recall_of_queries(truth: Queries, scores: Any, k: int, weight: Floats | None) -> float:
    """Recall@k, the mean over the queries of the relevant rows among the first k over ``min(k, relevant)``."""
    hits, relevant = _hits_of_queries(truth, scores, k)
    return _mean(hits / np.maximum(relevant, 1), truth, weight)


def micro_recall_of_queries(truth: Queries, scores: Any, k: int, weight: Floats | None) -> float:
    """Micro recall@k: the relevant rows among the first k of all queries over the sum of ``min(k, relevant)``."""
    hits, relevant = _hits_of_queries(truth, scores, k)
    weights = np.ones(len(hits)) if weight is None else _weights(truth, weight)
    possible = float(np.dot(relevant, weights))
    return float(np.dot(hits, weights)) / possible if possible else 0.0


def hit_rate_of_queries(truth: Queries, scores: Any, k: int, weight: Floats | None) -> float:
    """Hit rate@k: the share of the queries that have a relevant row among the first k."""
    ties = _ties(truth, scores)
    return _mean(_sum(np.where(ties.place < k, ties.first, 0.0), ties.codes, ties.starts), truth, weight)


def mrr_of_queries(truth: Queries, scores: Any, k: int, weight: Floats | None) -> float:
    """MRR@k, the mean over the queries of one over the place of the first relevant row; 0 where it is beyond k."""
    ties = _ties(truth, scores)
    place = np.where(ties.place < k, ties.first / (ties.place + 1), 0.0)
    return _mean(_sum(place, ties.codes, ties.starts), truth, weight)


def _hits_of_queries(truth: Queries, scores: Any, k: int) -> tuple[Floats, Floats]:
    """Return for each query the relevant rows among the first k, and how many there could be."""
    ties = _ties(truth, scores)
    hits = _sum(np.where(ties.place < k, ties.chance, 0.0), ties.codes, ties.starts)
    return hits, np.minimum(ties.in_query, k)


@dataclass(frozen=True)
class _Ties:
    """The places of all queries, sorted, with what is expected at each where rows of equal score come in any order.

    So that no score depends on the order of the file: constant ones would have MAP 1 where the relevant rows come
    first. All arrays are (n,), but `starts` and `in_query`, which are of queries.
    """

    codes: Ints
    starts: Ints
    place: Ints
    nth: Ints
    size: Floats
    relevant: Floats
    relevant_before: Floats
    in_query: Floats

    @property
    def chance(self) -> Floats:
        """The chance that the row at a place is relevant."""
        return self.relevant / self.size

    @cached_property
    def first(self) -> Floats:
        """The chance that the first relevant row of the query is at a place."""
        # Of n rows, r of them relevant in any order, place i is the first: C(n - i, r - 1) / C(n, r), step by step.
        n, r = self.size, self.relevant
        rows_from_place = n - self.nth  # rows of the group from here on
        chance = np.where(self.relevant_before == 0, r / rows_from_place, 0.0)
        # None of the places before it in the group was: a running product of what is left over.
        over = np.log1p(-np.where(chance < 1, chance, 0.0))
        running = np.cumsum(over) - over
        begins = np.repeat(running[self.nth == 0], np.diff(np.flatnonzero(self.nth == 0), append=len(n)))
        is_possible = rows_from_place >= r
        return np.where(is_possible, chance * np.exp(running - begins), 0.0)


def _ties(truth: Queries, scores: Any) -> _Ties:
    values = np.asarray(scores, np.float64)
    order, place = truth.ranked(values)
    codes, starts = truth.by_query
    codes = codes[order]
    hits = (np.asarray(truth.values)[order] > 0).astype(np.float64)
    ranked = values[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (ranked[1:] != ranked[:-1]) | (codes[1:] != codes[:-1])
    first = np.flatnonzero(new)
    sizes = np.diff(first, append=len(order))
    running = np.concatenate([[0.0], np.cumsum(hits)])
    before = running[first] - running[starts[codes[first]]]
    return _Ties(
        codes=codes,
        starts=starts,
        place=place,
        nth=np.arange(len(order)) - np.repeat(first, sizes),
        size=np.repeat(sizes, sizes).astype(np.float64),
        relevant=np.repeat(np.add.reduceat(hits, first), sizes),
        relevant_before=np.repeat(before, sizes),
        in_query=_sum(hits, codes, starts),
    )


def _sum(values: Floats, codes: Ints, starts: Ints) -> Floats:
    return np.bincount(codes, weights=values, minlength=len(starts) - 1).astype(np.float64)


def _mean(of_queries: Floats, truth: Queries, weight: Floats | None) -> float:
    """Return the mean; a query weighs as much as its rows do on average."""
    if weight is None:
        return float(of_queries.mean())
    weights = _weights(truth, weight)
    return float(np.dot(of_queries, weights) / weights.sum())


def _weights(truth: Queries, weight: Floats) -> Floats:
    codes, starts = truth.by_query
    return _sum(weight, codes, starts) / np.diff(starts)
