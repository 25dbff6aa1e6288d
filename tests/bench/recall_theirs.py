"""What our recommenders are measured against: popularity, and implicit's ALS, BPR and item neighbours, as it ships them.

Each gets the same log and gives the codes of its best k items for each user asked for, once with the items that the
user has had before and once without them ("new"). ALS, BPR and the neighbours choose their parameters on the last
stretch of the log that they get, for the two separately, and are fitted again on all of it.
"""

from __future__ import annotations

import itertools
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from workbench.recommender import Interactions

__all__ = ["NEW", "Peers", "cut", "had", "lists_of_peers", "recall"]

Codes = npt.NDArray[np.int32]
NEW = " new"
"""Ends the names of lists without what the user has had before."""

DAY_S = 24 * 3600
MOST_USERS = 3_000
"""So many users, drawn at random, are enough to choose parameters."""


def had(log: Interactions) -> csr_matrix:
    """How often each user had each item."""
    ones = np.ones(len(log), np.float32)
    counts = csr_matrix((ones, log.items.copy(), log.starts), shape=(len(log.users), log.n_items))
    counts.sum_duplicates()
    return counts


def cut(log: Interactions, at_s: int, until_s: int | None = None) -> tuple[Interactions, csr_matrix]:
    """What was before a second, with the same codes, and what each user had from then (to before `until_s`)."""

    def where(kept: npt.NDArray[np.bool_]) -> Interactions:
        starts = np.concatenate(([0], np.cumsum(kept)))[log.starts]
        weights = log.weights[kept] if len(log.weights) else log.weights
        arrays = {"items": log.items[kept], "times": log.times[kept], "kinds": log.kinds[kept], "weights": weights}
        return replace(log, starts=starts, **arrays)

    is_after = log.times >= at_s
    if until_s is not None:
        is_after &= log.times < until_s
    return where(log.times < at_s), had(where(is_after))


def recall(lists: Codes, users: Codes, truth: csr_matrix) -> float:
    """The share of what each user had that is in its list, of as many as fit into one; the mean over the users."""
    k, of = lists.shape[1], truth[users]
    rows = np.repeat(np.arange(len(users), dtype=np.int64), k)
    there = lists.ravel() >= 0
    hits = np.zeros(len(rows))
    hits[there] = np.asarray(of[rows[there], lists.ravel()[there]]).ravel() > 0
    wanted = np.minimum(np.diff(of.indptr), k)
    return float((hits.reshape(-1, k).sum(axis=1)[wanted > 0] / wanted[wanted > 0]).mean())


def popularity(log: Interactions, users: Codes, k: int, *, days: int | None = None, new: bool = False) -> Codes:
    """The items with the most events, of all time or of the log's last days; the same for all but for what is left out."""
    recent = log.items if days is None else log.items[log.times > int(log.times.max()) - days * DAY_S]
    counts = np.bincount(recent, minlength=log.n_items)
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].astype(np.int32)
    lists = np.full((len(users), k), -1, np.int32)
    for row, user in enumerate(users):
        own = order
        if new:
            seen = np.unique(log.items[log.starts[user] : log.starts[user + 1]])
            own = order[: k + len(seen)]
            own = own[~np.isin(own, seen)]
        lists[row, : len(own[:k])] = own[:k]
    return lists


@dataclass(frozen=True)
class Peer:
    """One of implicit's: how it is made, and in which stages its parameters are chosen, each from the best so far."""

    make: Callable[..., Any]
    stages: tuple[dict[str, tuple[Any, ...]], ...]


def _als(threads: int, seed: int, **parameters: Any) -> Any:
    from implicit.cpu.als import AlternatingLeastSquares

    return AlternatingLeastSquares(num_threads=threads, random_state=seed, **parameters)


def _bpr(threads: int, seed: int, **parameters: Any) -> Any:
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    return BayesianPersonalizedRanking(num_threads=threads, random_state=seed, **parameters)


def _cosine(threads: int, seed: int, **parameters: Any) -> Any:
    from implicit.nearest_neighbours import CosineRecommender

    return CosineRecommender(num_threads=threads, **parameters)


def _bm25(threads: int, seed: int, **parameters: Any) -> Any:
    from implicit.nearest_neighbours import BM25Recommender

    return BM25Recommender(num_threads=threads, **parameters)


WEIGHTING = ("counts", "ones", "bm25")
"""What a user has of an item: how often, whether, or as in implicit's tutorial."""

PEERS = {
    "implicit ALS": Peer(
        _als,
        (
            {"factors": (64, 128), "alpha": (0.1, 0.3, 1.0, 10.0)},
            {"regularization": (0.01, 1.0, 10.0, 100.0)},
            {"weighting": WEIGHTING},
        ),
    ),
    "implicit BPR": Peer(
        _bpr, ({"factors": (64, 128), "learning_rate": (0.003, 0.01, 0.05)}, {"regularization": (0.001, 0.01, 0.1)})
    ),
    "implicit cosine": Peer(_cosine, ({"K": (20, 100, 300), "weighting": WEIGHTING[:2]},)),
    "implicit BM25": Peer(
        _bm25, ({"K": (20, 100, 300), "weighting": WEIGHTING[:2]}, {"K1": (1.2, 100.0)}, {"B": (0.2, 0.75)})
    ),
}


@dataclass(frozen=True)
class Peers:
    """The lists of all peers, and what was chosen.

    Attributes
    ----------
    lists : dict
        By name the codes, (n_users, k), -1 where there are no more; names that end in `NEW` are of the second kind.
    chosen : dict
        By name the parameters.
    """

    lists: dict[str, Codes]
    chosen: dict[str, dict[str, Any]]


def lists_of_peers(
    log: Interactions,
    users: Codes,
    k: int,
    *,
    validate_s: int = 7 * DAY_S,
    names: tuple[str, ...] = tuple(PEERS),
    threads: int = 2,
    seed: int = 1,
) -> Peers:
    """Let every peer choose its parameters on the log's last `validate_s` seconds, and give its lists after the log."""
    lists, chosen = {}, {}
    for days in (None, 28, 7):
        name = "popularity" if days is None else f"popularity of {days} days"
        for new in (False, True):
            lists[name + NEW * new] = popularity(log, users, k, days=days, new=new)
    for name in names:
        best = choose(name, log, k, validate_s=validate_s, threads=threads, seed=seed)
        fitted: dict[str, Any] = {}
        for new, parameters in best.items():
            key = repr(sorted(parameters.items()))
            if key not in fitted:
                fitted[key] = fit(name, log, parameters, threads, seed)
            chosen[name + NEW * new] = parameters
            lists[name + NEW * new] = best_of(*fitted[key], users, k, new=new)
    return Peers(lists, chosen)


def choose(
    name: str, log: Interactions, k: int, *, validate_s: int, threads: int, seed: int
) -> dict[bool, dict[str, Any]]:
    """The parameters with the highest recall on the log's last stretch: with what was had before, and (True) without."""
    before, after = cut(log, int(log.times.max()) + 1 - validate_s)
    both = {False: after, True: _without(after, had(before))}
    # Whoever has no list before can't be told apart from others, by anyone.
    asked = {new: np.flatnonzero((np.diff(before.starts) > 0) & (np.diff(t.indptr) > 0)) for new, t in both.items()}
    rng = np.random.default_rng(zlib.crc32(name.encode()) + seed)
    users = {new: np.sort(rng.permutation(of)[:MOST_USERS]).astype(np.int32) for new, of in asked.items()}
    best: dict[bool, tuple[float, dict[str, Any]]] = {False: (-1.0, {}), True: (-1.0, {})}
    tried: set[str] = set()
    for stage in PEERS[name].stages:
        for parameters in list(_around([told for _, told in best.values()], stage)):
            key = repr(sorted(parameters.items()))
            if key in tried:
                continue
            tried.add(key)
            fitted = fit(name, before, parameters, threads, seed)
            for new, truth in both.items():
                if len(users[new]) == 0:
                    continue
                score = recall(best_of(*fitted, users[new], k, new=new), users[new], truth)
                if score > best[new][0]:
                    best[new] = (score, parameters)
    return {new: parameters for new, (_, parameters) in best.items()}


def _around(centres: list[dict[str, Any]], stage: dict[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    for centre in centres:
        for values in itertools.product(*stage.values()):
            yield centre | dict(zip(stage, values, strict=True))


def _without(truth: csr_matrix, known: csr_matrix) -> csr_matrix:
    left = truth - truth.multiply(known > 0)
    left = csr_matrix(left)
    left.eliminate_zeros()
    return left


def fit(
    name: str, log: Interactions, parameters: dict[str, Any], threads: int, seed: int
) -> tuple[Any, csr_matrix, csr_matrix]:
    """Fit a peer; return it, the matrix it was fitted on, and what each user had."""
    from implicit.nearest_neighbours import bm25_weight
    from implicit.utils import ParameterWarning

    told = dict(parameters)
    counts = had(log)
    weighting = told.pop("weighting", "counts")
    matrix = counts.copy()
    if weighting == "ones":
        matrix.data[:] = 1
    elif weighting == "bm25":
        matrix = csr_matrix(bm25_weight(counts.T, K1=100, B=0.8).T, dtype=np.float32)
    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ParameterWarning)  # its neighbours convert their own matrix
        model = PEERS[name].make(threads, seed, **told)
        model.fit(matrix, show_progress=False)
    return model, matrix, counts


def best_of(model: Any, matrix: csr_matrix, counts: csr_matrix, users: Codes, k: int, *, new: bool) -> Codes:
    """What a fitted peer recommends, by its own `recommend`.

    It fills lists that would be too short: with what was had before, at the least score (neighbours: at none).
    """
    with threadpool_limits(1, "blas"):
        items, scores = model.recommend(users, matrix[users], N=min(k, counts.shape[1]), filter_already_liked_items=new)
    is_known = np.asarray(counts[users[:, None], items].todense()) > 0 if new else np.zeros(items.shape, bool)
    lists = np.full((len(users), k), -1, np.int32)
    lists[:, : items.shape[1]] = np.where((scores > np.finfo(np.float32).min / 2) & ~is_known, items, -1)
    return lists
