"""Metrics of rows that are ranked within queries, by a score per row."""

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
        At least 0.
    query : int array (n,)
        Any numbers; the rows of a query need not be adjacent.
    """

    values: Floats
    query: Ints

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.values)

    @cached_property
    def by_query(self) -> tuple[Ints, Ints]:
        """The code of each row's query, from 0, (n,), and where each query begins among the rows sorted by query."""
        codes = np.unique(self.query, return_inverse=True)[1].astype(np.int64)
        counts = np.bincount(codes)
        return codes, np.concatenate([[0], np.cumsum(counts)])

    @cached_property
    def best(self) -> Ints:
        """The rows sorted by query and descending relevance."""
        return np.lexsort((-self.values, self.by_query[0]))

    def ranked(self, scores: Floats) -> tuple[Ints, Ints]:
        """Return the rows sorted by query and descending score, and the rank of each within its query, from 0."""
        codes, starts = self.by_query
        # By score first, then stably by query, whose codes are small integers, which is faster than by both at once.
        order = np.argsort(-scores, kind="stable")
        small_codes = codes.astype(np.uint16) if len(starts) <= 2**16 else codes.astype(np.uint32)
        order = order[np.argsort(small_codes[order], kind="stable")]
        return order, np.arange(len(order)) - starts[codes[order]]


def ndcg_of_queries(truth: Queries, scores: Any, k: int, weight: Floats | None) -> float:
    """nDCG@k, the mean over the queries of scikit-learn's ``ndcg_score``.

    The gain of a row is its relevance; rows of equal score share the discounts of their ranks. A query without a
    relevant row counts as 0.
    """
    values = np.asarray(truth.values, np.float64)
    if values.min() < 0:
        raise DataError(f"ndcg@{k}: the lowest relevance is {values.min():g}; expected 0 or more")
    order, rank = truth.ranked(np.asarray(scores, np.float64))
    codes, starts = truth.by_query
    discount = np.where(rank < k, 1 / np.log2(rank + 2.0), 0.0)
    shared_discount = _share_among_ties(discount, np.asarray(scores)[order], codes[order])
    dcg = _sum_by_query(values[order] * shared_discount, codes[order], starts)
    # The sorted rows have the same queries and ranks, whatever the order within the queries.
    ideal = _sum_by_query(values[truth.best] * discount, codes[order], starts)
    ndcg = np.divide(dcg, ideal, out=np.zeros(len(ideal)), where=ideal > 0)
    return _mean(ndcg, truth, weight)


def _share_among_ties(discount: Floats, scores: Floats, codes: Ints) -> Floats:
    """Replace the discounts of rows with equal query and score by their mean; rows are sorted by both."""
    starts_tie = np.ones(len(scores), np.bool_)
    starts_tie[1:] = (scores[1:] != scores[:-1]) | (codes[1:] != codes[:-1])
    if starts_tie.all():
        return discount
    tie_starts = np.flatnonzero(starts_tie)
    sizes = np.diff(tie_starts, append=len(scores))
    return np.repeat(np.add.reduceat(discount, tie_starts) / sizes, sizes)


def map_of_queries(truth: Queries, scores: Any, k: int, weight: Floats | None) -> float:
    """MAP@k, the mean over the queries of the sum of precision at each relevant row over ``min(k, relevant)``.

    Rows with a relevance above 0 are relevant. With ties it is the mean over all orders of the tied rows. A query
    without a relevant row counts as 0, as in Kaggle's ``ml_metrics``.
    """
    ties = _ties(truth, scores)
    # A row in a tie of n rows, r of them relevant, is relevant with probability r / n; given that, each other row of
    # the tie is with probability (r - 1) / (n - 1): McSherry and Najork 2008, https://doi.org/10.1007/978-3-540-78646-7_38,
    # equation 6.
    relevant_share = np.divide(ties.relevant - 1, ties.size - 1, out=np.zeros(len(ties.size)), where=ties.size > 1)
    hits = ties.relevant_before + ties.index * relevant_share + 1
    precision = np.where(ties.rank < k, ties.chance * hits / (ties.rank + 1), 0.0)
    precision_sum = _sum_by_query(precision, ties.codes, ties.starts)
    return _mean(precision_sum / np.maximum(np.minimum(ties.relevant_in_query, k), 1), truth, weight)


def recall_of_queries(truth: Queries, scores: Any, k: int, weight: Floats | None) -> float:
    """Recall@k, the mean over the queries of the relevant rows among the first k over ``min(k, relevant)``."""
    hits, relevant = _hits_of_queries(truth, scores, k)
    return _mean(hits / np.maximum(relevant, 1), truth, weight)


def micro_recall_of_queries(truth: Queries, scores: Any, k: int, weight: Floats | None) -> float:
    """Micro recall@k: the relevant rows among the first k of all queries over the sum of ``min(k, relevant)``."""
    hits, relevant = _hits_of_queries(truth, scores, k)
    weights = np.ones(len(hits)) if weight is None else _query_weights(truth, weight)
    max_hits = float(np.dot(relevant, weights))
    return float(np.dot(hits, weights)) / max_hits if max_hits else 0.0


def hit_rate_of_queries(truth: Queries, scores: Any, k: int, weight: Floats | None) -> float:
    """Hit rate@k: the share of the queries that have a relevant row among the first k."""
    ties = _ties(truth, scores)
    chance = np.where(ties.rank < k, ties.first_chance, 0.0)
    return _mean(_sum_by_query(chance, ties.codes, ties.starts), truth, weight)


def mrr_of_queries(truth: Queries, scores: Any, k: int, weight: Floats | None) -> float:
    """MRR@k, the mean over the queries of one over the rank of the first relevant row; 0 if it is beyond k."""
    ties = _ties(truth, scores)
    reciprocal = np.where(ties.rank < k, ties.first_chance / (ties.rank + 1), 0.0)
    return _mean(_sum_by_query(reciprocal, ties.codes, ties.starts), truth, weight)


def _hits_of_queries(truth: Queries, scores: Any, k: int) -> tuple[Floats, Floats]:
    """Return the number of relevant rows among the first k of each query, and its maximum."""
    ties = _ties(truth, scores)
    hits = _sum_by_query(np.where(ties.rank < k, ties.chance, 0.0), ties.codes, ties.starts)
    return hits, np.minimum(ties.relevant_in_query, k)


@dataclass(frozen=True)
class _Ties:
    """The ranks of all queries, with the ties that they belong to.

    Metrics are the mean over all orders of tied rows, so that they do not depend on the order of the file: with
    constant scores MAP would be 1 if the relevant rows came first.

    Attributes
    ----------
    codes : int array (n,)
        The query of each rank.
    starts : int array (n_queries + 1,)
        Where each query begins.
    rank : int array (n,)
        Within the query, from 0.
    index : int array (n,)
        Within the tie, from 0.
    size : float array (n,)
        The number of rows of the tie.
    relevant : float array (n,)
        The number of relevant rows of the tie.
    relevant_before : float array (n,)
        The number of relevant rows of the query before the tie.
    relevant_in_query : float array (n_queries,)
    """

    codes: Ints
    starts: Ints
    rank: Ints
    index: Ints
    size: Floats
    relevant: Floats
    relevant_before: Floats
    relevant_in_query: Floats

    @property
    def chance(self) -> Floats:
        """The probability that the row at each rank is relevant."""
        return self.relevant / self.size

    @cached_property
    def first_chance(self) -> Floats:
        """The probability that the first relevant row of the query is at each rank."""
        # C(n - i, r - 1) / C(n, r) for the i-th of n tied rows, r of them relevant, as a product over the rows before.
        n_rows, n_relevant = self.size, self.relevant
        rows_from_here = n_rows - self.index
        chance = np.where(self.relevant_before == 0, n_relevant / rows_from_here, 0.0)
        # The logarithm of the probability that no row before it in the tie is relevant.
        log_miss = np.log1p(-np.where(chance < 1, chance, 0.0))
        running = np.cumsum(log_miss) - log_miss
        tie_starts = np.flatnonzero(self.index == 0)
        at_tie_start = np.repeat(running[tie_starts], np.diff(tie_starts, append=len(n_rows)))
        is_possible = rows_from_here >= n_relevant
        return np.where(is_possible, chance * np.exp(running - at_tie_start), 0.0)


def _ties(truth: Queries, scores: Any) -> _Ties:
    """Rank the rows of each query by their scores, with ties."""
    values = np.asarray(scores, np.float64)
    order, rank = truth.ranked(values)
    codes, starts = truth.by_query
    codes = codes[order]
    is_relevant = (np.asarray(truth.values)[order] > 0).astype(np.float64)
    sorted_scores = values[order]
    starts_tie = np.ones(len(order), np.bool_)
    starts_tie[1:] = (sorted_scores[1:] != sorted_scores[:-1]) | (codes[1:] != codes[:-1])
    tie_starts = np.flatnonzero(starts_tie)
    sizes = np.diff(tie_starts, append=len(order))
    n_relevant = np.concatenate([[0.0], np.cumsum(is_relevant)])
    relevant_before = n_relevant[tie_starts] - n_relevant[starts[codes[tie_starts]]]
    return _Ties(
        codes=codes,
        starts=starts,
        rank=rank,
        index=np.arange(len(order)) - np.repeat(tie_starts, sizes),
        size=np.repeat(sizes, sizes).astype(np.float64),
        relevant=np.repeat(np.add.reduceat(is_relevant, tie_starts), sizes),
        relevant_before=np.repeat(relevant_before, sizes),
        relevant_in_query=_sum_by_query(is_relevant, codes, starts),
    )


def _sum_by_query(values: Floats, codes: Ints, starts: Ints) -> Floats:
    return np.bincount(codes, weights=values, minlength=len(starts) - 1).astype(np.float64)


def _mean(query_scores: Floats, truth: Queries, weight: Floats | None) -> float:
    if weight is None:
        return float(query_scores.mean())
    weights = _query_weights(truth, weight)
    return float(np.dot(query_scores, weights) / weights.sum())


def _query_weights(truth: Queries, weight: Floats) -> Floats:
    """Return the weight of each query: the mean weight of its rows."""
    codes, starts = truth.by_query
    return _sum_by_query(weight, codes, starts) / np.diff(starts)
