"""Candidates: what the sources find for users, brought together; and how much of what came is among it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.recommender.extra import compiled
from workbench.recommender.sources import Find, Found
from workbench.recommender.windows import Truth, Window

__all__ = ["BATCH_USERS", "Candidates", "Generator", "SourceRecall", "batches", "in_batches", "source_recall"]

BATCH_USERS = 4096
LOOK = 2
"""A source is asked for so many times its `top`: what lies behind it makes no candidate, but says something of one that
another source has found."""

LOOK_BEYOND = 4
"""The same where what the user had is no candidate: that is what sources find first."""


@dataclass(frozen=True)
class Candidates:
    """The candidates of a batch of users.

    Attributes
    ----------
    rows : slice
        Which users of the window.
    offsets : array of shape (n_users + 1,), int64
    items : array of shape (n,), int32
    told : array of shape (n, 2 * n_sources), float32
        The score and the rank, from 1, by each source; NaN where it does not have the item.
    found : tuple of Found
        What each source found.
    """

    rows: slice
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    told: npt.NDArray[np.float32]
    found: tuple[Found, ...]

    @property
    def user_rows(self) -> npt.NDArray[np.int64]:
        """For each candidate the row of its user in the batch."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


@dataclass(frozen=True)
class Generator:
    """Sources that are ready, and how many candidates a user gets at most.

    The sources take turns, best first, each until it has given its own `top`. Without `allow_repeats` what a user had
    before is no candidate; `reaching` are sources that are then asked for as much more as the user had, since that is
    what they give everybody first.
    """

    finds: Mapping[str, Find]
    tops: Mapping[str, int]
    limit: int
    allow_repeats: bool = True
    reaching: frozenset[str] = frozenset()

    @property
    def names(self) -> list[str]:
        """What the columns of `Candidates.told` are."""
        return [f"{name}_{what}" for name in self.finds for what in ("score", "rank")]

    def make(self, window: Window, rows: slice) -> Candidates:
        """Return the candidates of some of a window's users."""
        users, now = window.users[rows], window.now[rows]
        found = tuple(find(users, now, self._look(name, users, window)) for name, find in self.finds.items())
        before = np.concatenate([[0], np.cumsum([len(f.items) for f in found])])
        starts = np.stack([f.offsets[:-1] + b for f, b in zip(found, before, strict=False)])
        ends = np.stack([f.offsets[1:] + b for f, b in zip(found, before, strict=False)])
        of_items, of_scores = np.concatenate([f.items for f in found]), np.concatenate([f.scores for f in found])
        most = np.array([self.tops[name] for name in self.finds], np.int64)
        limit = min(self.limit, int(most.sum()))
        offsets = np.zeros(len(users) + 1, np.int64)
        items = np.empty(len(users) * limit, np.int32)
        told = np.full((len(items), 2 * len(found)), np.nan, np.float32)
        merge = compiled("compiled_candidates").merge
        log = window.history
        had = (log.starts, log.items, users if not self.allow_repeats else np.empty(0, np.int32))
        merge((starts, ends, of_items, of_scores), had, most, limit, offsets, items, told)
        return Candidates(rows, offsets, items[: offsets[-1]], told[: offsets[-1]], found)

    def _look(self, name: str, users: npt.NDArray[np.int32], window: Window) -> Any:
        """Return for how much a source is asked: a number, or one for each user."""
        look, top = LOOK if self.allow_repeats else LOOK_BEYOND, self.tops[name]
        if self.allow_repeats or name not in self.reaching:
            return look * top
        starts = window.history.starts
        own = np.where(users >= 0, starts[users + 1] - starts[users], 0)
        return np.maximum(look * top, top + own)


def batches(window: Window, size: int = BATCH_USERS) -> list[slice]:
    """Return the rows of a window in batches."""
    return [slice(low, min(low + size, len(window))) for low in range(0, len(window), size)]


def in_batches(window: Window, work: Any, *, threads: int, size: int | None = None) -> Iterator[Any]:
    """Do something for every batch of users, on several threads, and give what comes of it in the users' order.

    No more batches are begun than there are threads and one: what they hold in memory is bounded. A batch is of `size`
    users, by default of `BATCH_USERS`.
    """
    slices = batches(window, size or BATCH_USERS)
    with ThreadPoolExecutor(threads) as pool:
        ahead: list[Any] = []
        for rows in slices:
            ahead.append(pool.submit(work, rows))
            if len(ahead) > threads:
                yield ahead.pop(0).result()
        while ahead:
            yield ahead.pop(0).result()


@dataclass(frozen=True)
class SourceRecall:
    """How much of what came a source finds, as a share of all of it.

    Attributes
    ----------
    name : str
        The source; "together" for all of them.
    alone_at_k : float
        Among its best k.
    alone : float
        Among all that it may give.
    adds : float
        What no other source finds.
    per_user : float
        Candidates in the mean.
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
    """Return for each list what its sources find alone, together, and what each adds.

    Of the sources "together" is what the candidates hold, within the limit; its `alone_at_k` is of the first k.

    Parameters
    ----------
    best : int32 array (n_users, n_lists, k), optional
        Is given the lists of a perfect ranker: of the candidates those that came, -1 behind them.
    """
    n = len(generator.finds)
    truth = window.truth or ()

    def look(rows: slice) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        made = generator.make(window, rows)
        if best is not None:
            for which, whole in enumerate(truth):
                _put_hits(made, whole.take(np.arange(rows.start, rows.stop)), best[rows, which])
        return _counts(made, truth, generator, k), _lengths(made, generator)

    counts, lengths = np.zeros((len(truth), n + 1, 3), np.int64), np.zeros(n + 1, np.int64)
    for some, long in in_batches(window, look, threads=threads):
        counts += some
        lengths += long
    names = [*generator.finds, "together"]
    report = {}
    for which, of in enumerate(lists):
        total = max(1, len(truth[which].items))
        report[of] = [
            SourceRecall(
                name=name,
                alone_at_k=float(counts[which, s, 0]) / total,
                alone=float(counts[which, s, 1]) / total,
                adds=float(counts[which, s, 2]) / total,
                per_user=float(lengths[s]) / max(1, len(window)),
            )
            for s, name in enumerate(names)
        ]
    return report


def _put_hits(made: Candidates, wanted: Truth, lists: npt.NDArray[np.int32]) -> None:
    """Write the candidates that came to the users' lists, as many as there is room for."""
    is_hit = np.isin(_keys(made.user_rows, made.items), _keys(_rows_of(wanted.offsets), wanted.items))
    rows, items = made.user_rows[is_hit], made.items[is_hit]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    fits = place < lists.shape[1]
    lists[:] = -1
    lists[rows[fits], place[fits]] = items[fits]


def _rows_of(offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _lengths(made: Candidates, generator: Generator) -> npt.NDArray[np.int64]:
    tops = generator.tops.values()
    each = [np.minimum(np.diff(f.offsets), top).sum() for f, top in zip(made.found, tops, strict=True)]
    return np.array([*each, len(made.items)], np.int64)


def _counts(made: Candidates, truth: Sequence[Truth], generator: Generator, k: int) -> npt.NDArray[np.int64]:
    """Return by list and source how much of what came is in its best k, in all of its own, and in no other's."""
    tops = list(generator.tops.values())
    result = np.zeros((len(truth), len(tops) + 1, 3), np.int64)
    part = np.arange(made.rows.start, made.rows.stop)
    for which, whole in enumerate(truth):
        wanted = whole.take(part)
        keys = _keys(np.repeat(np.arange(len(part)), np.diff(wanted.offsets)), wanted.items)
        places = [_place(keys, f.offsets, f.items) for f in made.found]
        has = np.stack([p < top for p, top in zip(places, tops, strict=True)])
        only = has & (has.sum(axis=0) == 1)
        for s, place in enumerate(places):
            result[which, s] = (place < min(k, tops[s])).sum(), has[s].sum(), only[s].sum()
        place = _place(keys, made.offsets, made.items)
        result[which, -1] = (place < k).sum(), (place < np.iinfo(np.int64).max).sum(), 0
    return result


def _keys(rows: Any, items: Any) -> npt.NDArray[np.int64]:
    keys: npt.NDArray[np.int64] = rows.astype(np.int64) << 32 | items.astype(np.int64)
    return keys


def _place(keys: Any, offsets: Any, items: Any) -> npt.NDArray[np.int64]:
    """Return at which place of its user's list each wanted item is; the largest number where it is not there."""
    lengths = np.diff(offsets)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    have = _keys(rows, items)
    places = np.arange(len(items)) - np.repeat(offsets[:-1], lengths)
    order = np.argsort(have, kind="stable")
    at = np.minimum(np.searchsorted(have[order], keys), max(len(have) - 1, 0))
    missing = np.full(len(keys), np.iinfo(np.int64).max)
    if not len(have):
        return missing
    return np.where(have[order[at]] == keys, places[order[at]], missing)
