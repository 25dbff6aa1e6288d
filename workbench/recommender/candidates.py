"""Candidates: the items that the sources propose for users, merged; and their recall of the ground truth."""

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
LOOK = 2
"""A source returns this multiple of its `top`: items beyond `top` are no candidates, but their scores are features of
candidates of other sources."""

LOOK_BEYOND = 4
"""The multiple where repeats are excluded: sources return items that the user already had first."""


@dataclass(frozen=True)
class Candidates:
    """The candidates of a batch of users.

    Attributes
    ----------
    rows : slice
        The users' rows in the window.
    offsets : array of shape (n_users + 1,), int64
    items : array of shape (n,), int32
    source_scores : array of shape (n, 2 * n_sources), float32
        The score and the rank (from 1) by each source; NaN where it does not have the item.
    by_source : tuple of SourceCandidates
        What each source returned.
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
    """Prepared sources, and the most candidates for a user.

    The sources are merged round-robin, best first, each up to its own `top`. Without `allow_repeats`, items that a user
    had before are no candidates; sources in `reaching` then return as many more items as the user had, since they
    return the same items to everybody.
    """

    finds: Mapping[str, CandidateFinder]
    tops: Mapping[str, int]
    limit: int
    allow_repeats: bool = True
    reaching: frozenset[str] = frozenset()

    @property
    def names(self) -> list[str]:
        """The names of the columns of `Candidates.source_scores`."""
        return [f"{name}_{part}" for name in self.finds for part in ("score", "rank")]

    def make(self, window: Window, rows: slice) -> Candidates:
        """Return the candidates of some of a window's users."""
        users, now = window.users[rows], window.now[rows]
        by_source = tuple(find(users, now, self._look(name, users, window)) for name, find in self.finds.items())
        lengths_before = np.concatenate([[0], np.cumsum([len(f.items) for f in by_source])])
        starts = np.stack([f.offsets[:-1] + b for f, b in zip(by_source, lengths_before, strict=False)])
        ends = np.stack([f.offsets[1:] + b for f, b in zip(by_source, lengths_before, strict=False)])
        of_items, of_scores = (
            np.concatenate([f.items for f in by_source]),
            np.concatenate([f.scores for f in by_source]),
        )
        most = np.array([self.tops[name] for name in self.finds], np.int64)
        limit = min(self.limit, int(most.sum()))
        offsets = np.zeros(len(users) + 1, np.int64)
        items = np.empty(len(users) * limit, np.int32)
        source_scores = np.full((len(items), 2 * len(by_source)), np.nan, np.float32)
        merge = compiled("compiled_candidates").merge
        log = window.history
        had = (log.starts, log.items, users if not self.allow_repeats else np.empty(0, np.int32))
        merge((starts, ends, of_items, of_scores), had, most, limit, offsets, items, source_scores)
        return Candidates(rows, offsets, items[: offsets[-1]], source_scores[: offsets[-1]], by_source)

    def _look(self, name: str, users: npt.NDArray[np.int32], window: Window) -> Any:
        """Return the number of items to request of a source: one number, or one for each user."""
        factor, top = LOOK if self.allow_repeats else LOOK_BEYOND, self.tops[name]
        if self.allow_repeats or name not in self.reaching:
            return factor * top
        starts = window.history.starts
        history_length = np.where(users >= 0, starts[users + 1] - starts[users], 0)
        return np.maximum(factor * top, top + history_length)


def batches(window: Window, size: int = BATCH_USERS) -> list[slice]:
    """Return the rows of a window in batches."""
    return [slice(low, min(low + size, len(window))) for low in range(0, len(window), size)]


def in_batches(window: Window, work: Any, *, threads: int, size: int | None = None) -> Iterator[Any]:
    """Apply a function to every batch of users on several threads, and yield the results in the users' order.

    At most one batch more than there are threads is in progress, so that memory is bounded. A batch has `size` users,
    by default `BATCH_USERS`.
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
    """The recall of a source: the share of the ground truth that it finds.

    Attributes
    ----------
    name : str
        The source; "together" for all of them.
    alone_at_k : float
        Recall of its best k.
    alone : float
        Recall of all its candidates.
    adds : float
        The share that no other source finds.
    per_user : float
        The mean number of candidates.
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
    best: npt.NDArray[np.int32] | None = None,
) -> dict[str, list[SourceRecall]]:
    """Return for each list the recall of each source alone, what it adds, and the recall of all together.

    "together" is the merged candidates, within the limit; its `alone_at_k` is of the first k.

    Parameters
    ----------
    best : int32 array (n_users, n_lists, k), optional
        Filled with the lists of a perfect ranker: the candidates that are in the ground truth, then -1.
    """
    n = len(generator.finds)
    truth = window.truth or ()

    def look(rows: slice) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        candidates = generator.make(window, rows)
        if best is not None:
            for number, list_truth in enumerate(truth):
                _put_hits(candidates, list_truth.take(np.arange(rows.start, rows.stop)), best[rows, number])
        return _counts(candidates, truth, generator, k), _lengths(candidates, generator)

    counts, lengths = np.zeros((len(truth), n + 1, 3), np.int64), np.zeros(n + 1, np.int64)
    for hits, lengths_of_batch in in_batches(window, look, threads=threads):
        counts += hits
        lengths += lengths_of_batch
    names = [*generator.finds, "together"]
    report = {}
    for number, list_name in enumerate(lists):
        total = max(1, len(truth[number].items))
        report[list_name] = [
            SourceRecall(
                name=name,
                alone_at_k=float(counts[number, s, 0]) / total,
                alone=float(counts[number, s, 1]) / total,
                adds=float(counts[number, s, 2]) / total,
                per_user=float(lengths[s]) / max(1, len(window)),
            )
            for s, name in enumerate(names)
        ]
    return report


def _put_hits(candidates: Candidates, truth: Truth, lists: npt.NDArray[np.int32]) -> None:
    """Write the candidates that are in the ground truth into the users' lists, as many as fit."""
    is_hit = np.isin(_keys(candidates.user_rows, candidates.items), _keys(_rows_of(truth.offsets), truth.items))
    rows, items = candidates.user_rows[is_hit], candidates.items[is_hit]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    fits = place < lists.shape[1]
    lists[:] = -1
    lists[rows[fits], place[fits]] = items[fits]


def _rows_of(offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _lengths(candidates: Candidates, generator: Generator) -> npt.NDArray[np.int64]:
    tops = generator.tops.values()
    per_source = [np.minimum(np.diff(f.offsets), top).sum() for f, top in zip(candidates.by_source, tops, strict=True)]
    return np.array([*per_source, len(candidates.items)], np.int64)


def _counts(candidates: Candidates, truth: Sequence[Truth], generator: Generator, k: int) -> npt.NDArray[np.int64]:
    """Count by list and source the ground truth in its best k, in all of its items, and in no other source."""
    tops = list(generator.tops.values())
    counts = np.zeros((len(truth), len(tops) + 1, 3), np.int64)
    rows = np.arange(candidates.rows.start, candidates.rows.stop)
    for number, list_truth in enumerate(truth):
        batch_truth = list_truth.take(rows)
        keys = _keys(np.repeat(np.arange(len(rows)), np.diff(batch_truth.offsets)), batch_truth.items)
        places = [_place(keys, f.offsets, f.items) for f in candidates.by_source]
        has_item = np.stack([p < top for p, top in zip(places, tops, strict=True)])
        only_here = has_item & (has_item.sum(axis=0) == 1)
        for s, place in enumerate(places):
            counts[number, s] = (place < min(k, tops[s])).sum(), has_item[s].sum(), only_here[s].sum()
        place = _place(keys, candidates.offsets, candidates.items)
        counts[number, -1] = (place < k).sum(), (place < np.iinfo(np.int64).max).sum(), 0
    return counts


def _keys(rows: Any, items: Any) -> npt.NDArray[np.int64]:
    keys: npt.NDArray[np.int64] = rows.astype(np.int64) << 32 | items.astype(np.int64)
    return keys


def _place(keys: Any, offsets: Any, items: Any) -> npt.NDArray[np.int64]:
    """Return the position of each wanted item in its user's list; the largest integer where it is missing."""
    lengths = np.diff(offsets)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    candidate_keys = _keys(rows, items)
    places = np.arange(len(items)) - np.repeat(offsets[:-1], lengths)
    order = np.argsort(candidate_keys, kind="stable")
    position = np.minimum(np.searchsorted(candidate_keys[order], keys), max(len(candidate_keys) - 1, 0))
    missing = np.full(len(keys), np.iinfo(np.int64).max)
    if not len(candidate_keys):
        return missing
    return np.where(candidate_keys[order[position]] == keys, places[order[position]], missing)
