"""Candidates: items that the sources propose for users, merged; and the recall of the ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.recommender.extra import compiled
from workbench.recommender.sources import CandidateFinder, SourceCandidates
from workbench.recommender.windows import Truth, Window

__all__ = ["BATCH_USERS", "Candidates", "Generator", "SourceRecall", "batches", "in_batches", "source_recall"]

BATCH_USERS = 4096
REQUEST_FACTOR = 2
"""A source is asked for this multiple of its `top`: items beyond `top` do not become candidates, but their scores are
features of the candidates of other sources."""

REQUEST_FACTOR_WITHOUT_REPEATS = 4
"""The multiple where repeats are excluded, as many of a source's best items are those that the user already had."""


@dataclass(frozen=True)
class Candidates:
    """The candidates of a batch of users.

    Attributes
    ----------
    rows : slice
        The users' rows in the window.
    offsets : array of shape (n_users + 1,), int64
        The candidates of user i of the batch are those from ``offsets[i]`` to before ``offsets[i + 1]``.
    items : array of shape (n,), int32
    source_scores : array of shape (n, 2 * n_sources), float32
        Each source's score and rank (from 1); NaN where it did not return the item.
    by_source : tuple of SourceCandidates
        Each source's own list.
    """

    rows: slice
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    source_scores: npt.NDArray[np.float32]
    by_source: tuple[SourceCandidates, ...]

    @property
    def user_rows(self) -> npt.NDArray[np.int64]:
        """The row of each candidate's user in the batch."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


@dataclass(frozen=True)
class Generator:
    """Prepared sources, merged round-robin, best first.

    Attributes
    ----------
    finders : dict
        The sources by name, in their order.
    tops : dict
        By source, the maximum number of its candidates per user.
    limit : int
        The maximum number of candidates per user.
    allow_repeats : bool
        Whether items that a user had before may be candidates.
    same_for_all : frozenset of str
        Sources that return the same items to all users. Without repeats they are asked for as many more items as the
        user had.
    """

    finders: Mapping[str, CandidateFinder]
    tops: Mapping[str, int]
    limit: int
    allow_repeats: bool = True
    same_for_all: frozenset[str] = frozenset()

    @property
    def names(self) -> list[str]:
        """The names of the columns of `Candidates.source_scores`."""
        return [f"{name}_{part}" for name in self.finders for part in ("score", "rank")]

    def make(self, window: Window, rows: slice) -> Candidates:
        """Return the candidates of some of a window's users."""
        users, now = window.users[rows], window.now[rows]
        by_source = tuple(
            find(users, now, self._request_size(name, users, window)) for name, find in self.finders.items()
        )
        list_starts = np.concatenate([[0], np.cumsum([len(source.items) for source in by_source])])
        starts = np.stack([source.offsets[:-1] + n for source, n in zip(by_source, list_starts, strict=False)])
        ends = np.stack([source.offsets[1:] + n for source, n in zip(by_source, list_starts, strict=False)])
        all_items = np.concatenate([source.items for source in by_source])
        all_scores = np.concatenate([source.scores for source in by_source])
        tops = np.array([self.tops[name] for name in self.finders], np.int64)
        limit = min(self.limit, int(tops.sum()))
        offsets = np.zeros(len(users) + 1, np.int64)
        items = np.empty(len(users) * limit, np.int32)
        source_scores = np.full((len(items), 2 * len(by_source)), np.nan, np.float32)
        log = window.history
        excluded = (log.starts, log.items, users if not self.allow_repeats else np.empty(0, np.int32))
        compiled("compiled_candidates").merge(
            (starts, ends, all_items, all_scores), excluded, tops, limit, offsets, items, source_scores
        )
        return Candidates(rows, offsets, items[: offsets[-1]], source_scores[: offsets[-1]], by_source)

    def _request_size(self, name: str, users: npt.NDArray[np.int32], window: Window) -> Any:
        """Return the number of items to request from a source: one number, or one per user."""
        top = self.tops[name]
        if self.allow_repeats:
            return REQUEST_FACTOR * top
        if name not in self.same_for_all:
            return REQUEST_FACTOR_WITHOUT_REPEATS * top
        starts = window.history.starts
        history_length = np.where(users >= 0, starts[users + 1] - starts[users], 0)
        return np.maximum(REQUEST_FACTOR_WITHOUT_REPEATS * top, top + history_length)


def batches(window: Window, size: int = BATCH_USERS) -> list[slice]:
    """Return the rows of a window in batches."""
    return [slice(low, min(low + size, len(window))) for low in range(0, len(window), size)]


def in_batches(window: Window, work: Any, *, threads: int, size: int | None = None) -> Iterator[Any]:
    """Apply a function to every batch of users on several threads, and yield the results in the users' order.

    At most `threads` + 1 batches are in progress, which bounds the memory. A batch has `size` users, by default
    `BATCH_USERS`.
    """
    slices = batches(window, size or BATCH_USERS)
    with ThreadPoolExecutor(threads) as pool:
        pending: list[Any] = []
        for rows in slices:
            pending.append(pool.submit(work, rows))
            if len(pending) > threads:
                yield pending.pop(0).result()
        while pending:
            yield pending.pop(0).result()


@dataclass(frozen=True)
class SourceRecall:
    """The recall of a source: the share of the ground truth among its candidates.

    Attributes
    ----------
    name : str
        The source; "together" for the merged candidates.
    alone_at_k : float
        Recall of its k best candidates.
    alone : float
        Recall of all its candidates.
    adds : float
        The share of the ground truth that no other source has.
    per_user : float
        The mean number of candidates per user.
    """

    name: str
    alone_at_k: float
    alone: float
    adds: float
    per_user: float


def source_recall(
    window: Window,
    generator: Generator,
    k: int,
    lists: Sequence[str],
    *,
    threads: int,
    perfect_lists: npt.NDArray[np.int32] | None = None,
) -> dict[str, list[SourceRecall]]:
    """Measure the recall of each source and of the merged candidates, by list.

    The last entry of each list, "together", is of the merged candidates; its `alone_at_k` is of the first k.

    Parameters
    ----------
    perfect_lists : int32 array (n_users, n_lists, k), optional
        Filled with the lists of a perfect ranker: the candidates that are in the ground truth, then -1.
    """
    n_sources = len(generator.finders)
    truth = window.truth or ()

    def count_batch(rows: slice) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        candidates = generator.make(window, rows)
        if perfect_lists is not None:
            for number, list_truth in enumerate(truth):
                batch_truth = list_truth.take(np.arange(rows.start, rows.stop))
                _write_hits(candidates, batch_truth, perfect_lists[rows, number])
        return _hit_counts(candidates, truth, generator, k), _candidate_counts(candidates, generator)

    hit_counts = np.zeros((len(truth), n_sources + 1, 3), np.int64)
    candidate_counts = np.zeros(n_sources + 1, np.int64)
    for batch_hits, batch_candidates in in_batches(window, count_batch, threads=threads):
        hit_counts += batch_hits
        candidate_counts += batch_candidates
    names = [*generator.finders, "together"]
    recall_by_list = {}
    for number, list_name in enumerate(lists):
        total = max(1, len(truth[number].items))
        recall_by_list[list_name] = [
            SourceRecall(
                name=name,
                alone_at_k=float(hit_counts[number, s, 0]) / total,
                alone=float(hit_counts[number, s, 1]) / total,
                adds=float(hit_counts[number, s, 2]) / total,
                per_user=float(candidate_counts[s]) / max(1, len(window)),
            )
            for s, name in enumerate(names)
        ]
    return recall_by_list


def _write_hits(candidates: Candidates, truth: Truth, lists: npt.NDArray[np.int32]) -> None:
    """Fill each user's list with the candidates that are in the ground truth, as many as fit, then -1."""
    is_hit = np.isin(_keys(candidates.user_rows, candidates.items), _keys(_row_of_item(truth.offsets), truth.items))
    rows, items = candidates.user_rows[is_hit], candidates.items[is_hit]
    position = np.arange(len(rows)) - np.searchsorted(rows, rows)
    fits = position < lists.shape[1]
    lists[:] = -1
    lists[rows[fits], position[fits]] = items[fits]


def _row_of_item(offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the row of each item of concatenated lists."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _candidate_counts(candidates: Candidates, generator: Generator) -> npt.NDArray[np.int64]:
    """Count the candidates of each source, and last the merged ones."""
    tops = generator.tops.values()
    by_source = [
        np.minimum(np.diff(source.offsets), top).sum() for source, top in zip(candidates.by_source, tops, strict=True)
    ]
    return np.array([*by_source, len(candidates.items)], np.int64)


def _hit_counts(candidates: Candidates, truth: Sequence[Truth], generator: Generator, k: int) -> npt.NDArray[np.int64]:
    """Count the items of the ground truth by list and source, and last in the merged candidates.

    The last axis has the number in the source's k best candidates, in all of its candidates, and in no other source.
    """
    tops = list(generator.tops.values())
    counts = np.zeros((len(truth), len(tops) + 1, 3), np.int64)
    rows = np.arange(candidates.rows.start, candidates.rows.stop)
    for number, list_truth in enumerate(truth):
        batch_truth = list_truth.take(rows)
        keys = _keys(_row_of_item(batch_truth.offsets), batch_truth.items)
        positions = [_positions(keys, source.offsets, source.items) for source in candidates.by_source]
        has_item = np.stack([p < top for p, top in zip(positions, tops, strict=True)])
        is_only_here = has_item & (has_item.sum(axis=0) == 1)
        for s, position in enumerate(positions):
            counts[number, s] = (position < min(k, tops[s])).sum(), has_item[s].sum(), is_only_here[s].sum()
        position = _positions(keys, candidates.offsets, candidates.items)
        counts[number, -1] = (position < k).sum(), (position < MISSING).sum(), 0
    return counts


MISSING = np.iinfo(np.int64).max
"""The position of an item that is not in a list."""


def _keys(rows: Any, items: Any) -> npt.NDArray[np.int64]:
    """Combine row and item in one integer."""
    keys: npt.NDArray[np.int64] = rows.astype(np.int64) << 32 | items.astype(np.int64)
    return keys


def _positions(keys: Any, offsets: Any, items: Any) -> npt.NDArray[np.int64]:
    """Return the position of each item in its user's list; `MISSING` where the list lacks it.

    Parameters
    ----------
    keys : int64 array
        Rows and items to look up.
    offsets, items : arrays
        The lists.
    """
    list_keys = _keys(_row_of_item(offsets), items)
    if not len(list_keys):
        return np.full(len(keys), MISSING)
    positions = np.arange(len(items)) - np.repeat(offsets[:-1], np.diff(offsets))
    order = np.argsort(list_keys, kind="stable")
    at = np.minimum(np.searchsorted(list_keys[order], keys), len(list_keys) - 1)
    return np.where(list_keys[order[at]] == keys, positions[order[at]], MISSING)
