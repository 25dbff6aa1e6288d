"""Metrics of ranked lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import DataError
from workbench.metrics.queries import (
    Queries,
    hit_rate_of_queries,
    map_of_queries,
    micro_recall_of_queries,
    mrr_of_queries,
    ndcg_of_queries,
    recall_of_queries,
)

__all__ = ["Relevant", "hit_rate_at", "map_at", "micro_recall_at", "mrr_at", "ndcg_at", "recall_at"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Relevant:
    """The relevant items of n lists, concatenated.

    Attributes
    ----------
    values : int array (m,)
        Those of list i are ``values[offsets[i]:offsets[i + 1]]``; repeated items count once.
    offsets : int array (n + 1,)
    """

    values: Ints
    offsets: Ints

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> Relevant:
        """Make it from lists of items.

        Examples
        --------
        >>> Relevant.of([[3, 4], [], [5]]).offsets.tolist()
        [0, 2, 2, 3]
        """
        lengths = [len(items) for items in lists]
        values = np.array([i for items in lists for i in items], np.int64)
        return cls(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def __len__(self) -> int:
        """Return the number of lists."""
        return len(self.offsets) - 1


def _hits(y_true: Any, y_pred: Any, k: int) -> tuple[npt.NDArray[np.bool_], Ints]:
    """Return which of the first k items are relevant, (n, k), and the number of relevant items of each list."""
    predicted = np.asarray(y_pred)
    if predicted.ndim != 2 or predicted.dtype.kind not in "iu":
        raise DataError(f"expected ranked items as an integer array (n, k), got {predicted.dtype} {predicted.shape}")
    predicted = predicted[:, :k]
    if not isinstance(y_true, Relevant):
        is_hit = predicted == np.asarray(y_true)[:, None]
        first = is_hit & (np.cumsum(is_hit, axis=1) == 1)
        return first, np.ones(len(predicted), np.int64)
    rows = np.repeat(np.arange(len(y_true)), np.diff(y_true.offsets))
    n_items = 1 + max(int(y_true.values.max(initial=0)), int(predicted.max(initial=0)))
    true_keys = np.unique(rows * n_items + y_true.values)
    keys = np.arange(len(predicted))[:, None] * n_items + predicted
    positions = np.minimum(np.searchsorted(true_keys, keys), len(true_keys) - 1)
    is_hit = np.zeros(predicted.shape, np.bool_)
    if len(true_keys):
        is_hit = (true_keys[positions] == keys) & (predicted >= 0)
    return is_hit & ~_is_repeat(predicted), np.bincount(true_keys // n_items, minlength=len(y_true))


def _is_repeat(predicted: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which items occur earlier in their list."""
    order = np.argsort(predicted, axis=1, kind="stable")
    ordered = np.take_along_axis(predicted, order, axis=1)
    is_repeat_in_order = np.zeros(predicted.shape, np.bool_)
    is_repeat_in_order[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    is_repeat = np.zeros_like(is_repeat_in_order)
    np.put_along_axis(is_repeat, order, is_repeat_in_order, axis=1)
    return is_repeat


def _mean_over_lists(scores: Floats, counts: Ints, weight: Floats | None) -> float:
    # Lists without a relevant item can't be scored; Kaggle excludes them.
    has_relevant = counts > 0
    _require_relevant(counts, weight)
    return float(np.average(scores[has_relevant], weights=None if weight is None else weight[has_relevant]))


def _require_relevant(counts: Ints, weight: Floats | None) -> None:
    if not counts.any():
        raise DataError(f"none of the {len(counts):,} lists has a relevant item")
    if weight is not None and not weight[counts > 0].any():
        raise DataError("none of the lists with a weight above 0 has a relevant item")


def map_at(k: int) -> Callable[..., float]:
    """Return MAP@k: the mean over lists of the sum of precision at each hit over ``min(k, relevant)`` (Kaggle)."""

    def compute(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
        if isinstance(y_true, Queries):
            return map_of_queries(y_true, y_pred, k, weight)
        hits, counts = _hits(y_true, y_pred, k)
        precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
        scores = (precision * hits).sum(axis=1) / np.maximum(np.minimum(counts, k), 1)
        return _mean_over_lists(scores, counts, weight)

    return compute


def recall_at(k: int) -> Callable[..., float]:
    """Return recall@k: the mean over lists of hits over ``min(k, relevant)``."""

    def compute(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
        if isinstance(y_true, Queries):
            return recall_of_queries(y_true, y_pred, k, weight)
        hits, counts = _hits(y_true, y_pred, k)
        return _mean_over_lists(hits.sum(axis=1) / np.maximum(np.minimum(counts, k), 1), counts, weight)

    return compute


def micro_recall_at(k: int) -> Callable[..., float]:
    """Return micro recall@k: the hits of all lists over the sum of ``min(k, relevant)``.

    Kaggle's OTTO competition scores each type by it, with k = 20. A list with more relevant items counts for more.
    """

    def compute(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
        if isinstance(y_true, Queries):
            return micro_recall_of_queries(y_true, y_pred, k, weight)
        hits, counts = _hits(y_true, y_pred, k)
        _require_relevant(counts, weight)
        weights = np.ones(len(counts)) if weight is None else weight
        return float(np.dot(hits.sum(axis=1), weights) / np.dot(np.minimum(counts, k), weights))

    return compute


def hit_rate_at(k: int) -> Callable[..., float]:
    """Return hit rate@k: the share of the lists that have a relevant item among their first k."""

    def compute(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
        if isinstance(y_true, Queries):
            return hit_rate_of_queries(y_true, y_pred, k, weight)
        hits, counts = _hits(y_true, y_pred, k)
        scores: Floats = np.where(hits.any(axis=1), 1.0, 0.0)
        return _mean_over_lists(scores, counts, weight)

    return compute


def mrr_at(k: int) -> Callable[..., float]:
    """Return MRR@k: the mean over lists of 1 / position of the first relevant item; 0 if it is beyond k."""

    def compute(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
        if isinstance(y_true, Queries):
            return mrr_of_queries(y_true, y_pred, k, weight)
        hits, counts = _hits(y_true, y_pred, k)
        scores: Floats = np.where(hits.any(axis=1), 1 / (1.0 + hits.argmax(axis=1)), 0.0)
        return _mean_over_lists(scores, counts, weight)

    return compute


def ndcg_at(k: int) -> Callable[..., float]:
    """Return nDCG@k with relevance 0 or 1, discounted by ``log2(position + 1)`` (Järvelin and Kekäläinen 2002)."""
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)

    def compute(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
        if isinstance(y_true, Queries):
            return ndcg_of_queries(y_true, y_pred, k, weight)
        hits, counts = _hits(y_true, y_pred, k)
        dcg = hits @ discount[: hits.shape[1]]
        return _mean_over_lists(dcg / ideal[np.maximum(np.minimum(counts, k), 1) - 1], counts, weight)

    return compute
