"""Candidate sources: what each is asked to be, and how it is made ready for a window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import ConfigError, DataError, near
from workbench.recommender.covisit import Covisit, count_covisits
from workbench.recommender.embeddings import SkipGram, nearest_items, train_embeddings
from workbench.recommender.extra import compiled
from workbench.recommender.factors import Factorisation, best_items, fit_factors
from workbench.recommender.interactions import COUNTED, Interactions, count_items, kind_weights
from workbench.recommender.windows import Window, history_frame

__all__ = [
    "SOURCES",
    "AttributeSource",
    "CosineSource",
    "CovisitSource",
    "EmbeddingsSource",
    "EventWeighting",
    "FactorsSource",
    "Find",
    "Found",
    "HistorySource",
    "OwnSource",
    "PopularSource",
    "Ready",
    "SourceSpec",
    "Tables",
]

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Found:
    """What a source finds for n users: ``items[offsets[i]:offsets[i + 1]]``, the best first, with their scores."""

    offsets: npt.NDArray[np.int64]
    items: Ints
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tables:
    """What is known of items and users: a line for each code, null where nothing is known; None without a table."""

    items: pl.DataFrame | None = None
    users: pl.DataFrame | None = None


class Find(Protocol):
    """A source that is ready: for users, by code, and their present, the best candidates, `most` at most for each."""

    def __call__(self, users: Ints, now: Ints, most: int, /) -> Found:
        """Return what is found; the same for a user whoever is asked for beside them."""
        ...


@dataclass(frozen=True)
class Ready:
    """What sources are made ready from."""

    window: Window
    tables: Tables
    threads: int
    load: Callable[[str], Any]
    progress: Callable[[float], None] = lambda _: None


@dataclass(frozen=True)
class EventWeighting:
    """What a user's own events weigh.

    Attributes
    ----------
    last : int
        So many of a user's last events count.
    weights : dict
        By kind; a kind that is not named has 1.
    decay_s : float, optional
        After so many seconds an event weighs half.
    decay_events : float, optional
        With so many events behind it an event weighs half.
    """

    last: int = 30
    weights: Mapping[str, float] = field(default_factory=dict)
    decay_s: float | None = None
    decay_events: float | None = None

    def __post_init__(self) -> None:
        _at_least_one("weighting", self, "last")
        for name in ("decay_s", "decay_events"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"weighting: {name} = {value!r}: expected more than 0")

    def rule(self, log: Interactions) -> tuple[npt.NDArray[np.float64], int, float, float]:
        """Return it as the compiled functions take it."""
        weights = _kind_weights(log, self.weights, "weighting")
        return weights, min(self.last, 1 << 30), float(self.decay_s or 0), float(self.decay_events or 0)


class SourceSpec(Protocol):
    """What a source is asked to be. `top` is how many candidates of it, at most, a user gets."""

    @property
    def top(self) -> int:
        """How many candidates, at most, a user gets of it."""
        ...

    def prepare(self, ready: Ready) -> Find:
        """Make it ready for a window."""
        ...


def _at_least_one(what: str, spec: Any, *names: str) -> None:
    for name in names:
        if getattr(spec, name) < 1:
            raise ConfigError(f"{what}: {name} = {getattr(spec, name)!r}: expected 1 or more")


def _kind_weights(log: Interactions, weights: Mapping[str, float], what: str) -> npt.NDArray[np.float64]:
    """Return the weight of each kind by code; refuse negative ones."""
    found = kind_weights(log, weights, f"{what}: ")
    for kind, weight in weights.items():
        if not 0 <= weight < 1e9:
            raise ConfigError(f"{what}: weights.{kind} = {weight!r}: expected 0 or more")
    return found


# ------------------------------------------------------------------------------------------------------- own history


@dataclass(frozen=True)
class HistorySource:
    """What the user had before: by the sum of what the events weigh."""

    top: int = 50
    weighting: EventWeighting = field(default_factory=lambda: EventWeighting(last=500, decay_s=7 * 86_400.0))

    def __post_init__(self) -> None:
        _at_least_one("history", self, "top")

    def prepare(self, ready: Ready) -> Find:
        """Return the source."""
        log = ready.window.history
        events, rule = _events(log), self.weighting.rule(log)
        run = compiled("compiled_candidates")

        def find(users: Ints, now: Ints, most: int, /) -> Found:
            return _filled(run.own_items, users, most, (events, users, now, rule))

        return find


def _events(log: Interactions) -> tuple[Any, ...]:
    return log.starts, *log.arrays


def _filled(function: Any, users: Ints, most: int, before: tuple[Any, ...]) -> Found:
    offsets = np.zeros(len(users) + 1, np.int64)
    items, scores = np.empty(len(users) * most, np.int32), np.empty(len(users) * most, np.float32)
    function(*before, most, (offsets, items, scores))
    return Found(offsets, items[: offsets[-1]], scores[: offsets[-1]])


# ---------------------------------------------------------------------------------------- neighbours of what they had


def _voted(
    log: Interactions, weighting: EventWeighting, near_items: Ints, shares: Any, row_of: Ints | None = None
) -> Find:
    """Return the source in which the neighbours of a user's last items are added up."""
    run, rule = compiled("compiled_candidates"), weighting.rule(log)
    rows = np.arange(log.n_items, dtype=np.int32) if row_of is None else row_of
    neighbours = (near_items, np.ascontiguousarray(shares, np.float32), rows)

    def find(users: Ints, now: Ints, most: int, /) -> Found:
        return _filled(run.votes, users, most, (_events(log), users, now, rule, neighbours))

    return find


@dataclass(frozen=True)
class CovisitSource:
    """What comes together with the user's last items, as a share of the item's events."""

    top: int = 50
    counts: Covisit = field(default_factory=Covisit)
    weighting: EventWeighting = field(default_factory=lambda: EventWeighting(decay_events=5.0))

    def __post_init__(self) -> None:
        _at_least_one("covisit", self, "top")

    def prepare(self, ready: Ready) -> Find:
        """Return the source."""
        log = ready.window.history
        found = count_covisits(log, self.counts, threads=ready.threads, progress=ready.progress)
        shares = found.weights.astype(np.float32)
        if self.counts.normalise == "none":
            shares /= np.maximum(count_items(log), 1)[:, None].astype(np.float32)
        return _voted(log, self.weighting, found.items, shares)


@dataclass(frozen=True)
class CosineSource:
    """What is nearest to the user's items by the cosine of the columns of the matrix of users and items."""

    top: int = 50
    neighbours: int = 50
    last: int = 300
    kinds: tuple[str, ...] | None = None
    weighting: EventWeighting = field(default_factory=lambda: EventWeighting(last=100))

    def __post_init__(self) -> None:
        _at_least_one("cosine", self, "top", "neighbours", "last")

    def prepare(self, ready: Ready) -> Find:
        """Return the source."""
        counts = Covisit(last=self.last, window_s=None, kinds=self.kinds, top=self.neighbours, normalise="cosine")
        log = ready.window.history
        found = count_covisits(log, counts, threads=ready.threads, progress=ready.progress)
        return _voted(log, self.weighting, found.items, found.weights)


@dataclass(frozen=True)
class EmbeddingsSource:
    """What is nearest to the user's last items by embeddings, learned from the lists by skip-gram."""

    top: int = 50
    model: SkipGram = field(default_factory=SkipGram)
    weighting: EventWeighting = field(default_factory=lambda: EventWeighting(last=20, decay_events=5.0))

    def __post_init__(self) -> None:
        _at_least_one("embeddings", self, "top")

    def prepare(self, ready: Ready) -> Find:
        """Return the source."""
        log = ready.window.history
        found = nearest_items(train_embeddings(log, self.model, progress=ready.progress), log.n_items, self.model.top)
        return _voted(log, self.weighting, found.items, np.maximum(found.weights, 0.0))


@dataclass(frozen=True)
class AttributeSource:
    """The most popular of the items that have the same value in a column of the table of items as the user's last ones.

    Attributes
    ----------
    column : str
    each : int
        So many items of each value.
    window_s : int, optional
        So many seconds before the end of the log count for what is popular; None for all.
    """

    column: str
    top: int = 50
    each: int = 20
    window_s: int | None = None
    weighting: EventWeighting = field(default_factory=lambda: EventWeighting(decay_events=5.0))

    def __post_init__(self) -> None:
        _at_least_one("attribute", self, "top", "each")

    def prepare(self, ready: Ready) -> Find:
        """Return the source."""
        log, codes = ready.window.history, _codes(ready.tables.items, self.column, "items")
        popular = _popularity(log, self.window_s, {})
        order = np.lexsort((-popular, codes))
        order = order[codes[order] >= 0]
        _, starts = np.unique(codes[order], return_index=True)
        place = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
        kept = place < self.each
        items = np.full((int(codes.max(initial=-1)) + 1, self.each), -1, np.int32)
        shares = np.zeros(items.shape, np.float32)
        items[codes[order[kept]], place[kept]] = order[kept]
        of_value = np.bincount(codes[codes >= 0], popular[codes >= 0], minlength=len(items))
        shares[codes[order[kept]], place[kept]] = popular[order[kept]] / np.maximum(of_value[codes[order[kept]]], 1e-9)
        return _voted(log, self.weighting, items, shares, codes)


def _codes(table: pl.DataFrame | None, column: str, which: str) -> Ints:
    """Return a column as codes, -1 for null."""
    if table is None:
        raise ConfigError(f"{column!r} is to be a column of the table of {which}, and there is none")
    if column not in table.columns:
        raise ConfigError(
            f"the table of {which} has no column {column!r}", hint=near(column, table.columns, kind="column")
        )
    ranks = table[column].rank("dense")
    return (ranks.cast(pl.Int32) - 1).fill_null(-1).to_numpy()


# -------------------------------------------------------------------------------------------------------- popularity


@dataclass(frozen=True)
class PopularSource:
    """What is popular, the same for all, or for all of a segment.

    Attributes
    ----------
    window_s : int, optional
        So many seconds before the end of the log count; None for all.
    weights : dict
        By kind.
    by : str, optional
        A column of the table of users: what is popular among those that have the same value.
    """

    top: int = 20
    window_s: int | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    by: str | None = None

    def __post_init__(self) -> None:
        _at_least_one("popular", self, "top")

    def prepare(self, ready: Ready) -> Find:
        """Return the source."""
        log = ready.window.history
        segment = np.zeros(len(log.users), np.int32)
        if self.by is not None:
            segment = _codes(ready.tables.users, self.by, "users") + 1
        n_segments = int(segment.max(initial=0)) + 1
        if n_segments == 1:
            of_items = _popularity(log, self.window_s, self.weights)
            keys = np.flatnonzero(of_items > 0)
            weights = of_items[keys]
        else:
            keys, weights = _popularity_by(log, self.window_s, self.weights, segment)
        of, items = np.divmod(keys, max(log.n_items, 1))
        order = np.lexsort((items, -weights, of))
        items, of, weights = items[order].astype(np.int32), of[order], weights[order]
        total = np.bincount(of, weights, minlength=n_segments)
        shares = (weights / total[of]).astype(np.float32)
        starts = np.searchsorted(of, np.arange(n_segments + 1))

        def find(users: Ints, now: Ints, most: Any, /) -> Found:  # noqa: ARG001
            # Of a user that the log does not know nothing is known, as of one that the table does not have.
            chosen = np.where(users >= 0, segment[users], 0)
            lengths = np.minimum(np.diff(starts)[chosen], most)
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            at = np.arange(offsets[-1]) + np.repeat(starts[chosen] - offsets[:-1], lengths)
            return Found(offsets, items[at], shares[at])

        return find


def _popularity(log: Interactions, window_s: int | None, weights: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Return what the events of each item weigh, those that are late enough."""
    return count_items(log, event_weigher(log, window_s, weights))


def event_weigher(
    log: Interactions, window_s: int | None, weights: Mapping[str, float]
) -> Callable[[slice], npt.NDArray[np.float64]]:
    """Return what says of some events what each weighs: nothing where it is too early."""
    by_kind = _kind_weights(log, weights, "popular")
    after = -1 if window_s is None else int(log.times.max(initial=0)) - window_s

    def weigh(part: slice) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = by_kind[log.kinds[part]] * (log.times[part] > after)
        if len(log.weights):
            found *= log.weights[part]
        return found

    return weigh


def _popularity_by(
    log: Interactions, window_s: int | None, weights: Mapping[str, float], segment: Ints
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return what the events of each item weigh in each segment of users, where it is more than nothing.

    By one pass over the log, however many segments there are: the keys are ``segment * n_items + item``.
    """
    weigh = event_weigher(log, window_s, weights)
    keys, sums = np.empty(0, np.int64), np.empty(0, np.float64)
    for low in range(0, len(log), COUNTED):
        part = slice(low, min(low + COUNTED, len(log)))
        own = weigh(part)
        counts = np.flatnonzero(own > 0)
        users = np.searchsorted(log.starts, low + counts, side="right") - 1
        these = segment[users].astype(np.int64) * log.n_items + log.items[part][counts]
        keys, place = np.unique(np.concatenate([keys, these]), return_inverse=True)
        sums = np.bincount(place, np.concatenate([sums, own[counts]]), minlength=len(keys)).astype(np.float64)
    return keys, sums


# ------------------------------------------------------------------------------------------------ factors, one's own


@dataclass(frozen=True)
class FactorsSource:
    """What matrix factorisation thinks best for the user."""

    top: int = 50
    model: Factorisation = field(default_factory=Factorisation)

    def __post_init__(self) -> None:
        _at_least_one("factors", self, "top")

    def prepare(self, ready: Ready) -> Find:
        """Return the source."""
        fitted = fit_factors(ready.window.history, self.model, threads=ready.threads)

        def find(users: Ints, now: Ints, most: int, /) -> Found:  # noqa: ARG001
            items, scores = best_items(fitted, users, most)
            there = items >= 0
            offsets = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int64)
            return Found(offsets, items[there].astype(np.int32), scores[there].astype(np.float32))

        return find


@dataclass(frozen=True)
class OwnSource:
    """A function of one's own, ``file.py:name`` in the competition's folder.

    It is called once for a window, ``name(history, users, now)``: `history` is a frame of all that is known (user,
    item, time as seconds since 1970, kind), `users` a series of the ids that are asked for, `now` their present in
    seconds since 1970. It returns a frame of user, item and score.
    """

    function: str
    top: int = 50

    def __post_init__(self) -> None:
        _at_least_one("custom", self, "top")

    def prepare(self, ready: Ready) -> Find:
        """Return the source."""
        window = ready.window
        log = window.history
        is_known = window.users >= 0
        ids = log.users.values.gather(window.users[is_known])
        now = pl.Series("now", window.now[is_known].astype(np.int64) + log.origin)
        given = ready.load(self.function)(history_frame(log), ids, now)
        found = self._checked(given, log)
        starts = np.searchsorted(found["user"].to_numpy(), np.arange(len(log.users) + 1))
        items, scores = found["item"].to_numpy(), found["score"].to_numpy()

        def find(users: Ints, now: Ints, most: int, /) -> Found:  # noqa: ARG001
            lengths = np.where(users >= 0, np.minimum(starts[users + 1] - starts[users], most), 0)
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            at = np.arange(offsets[-1]) + np.repeat(starts[users] - offsets[:-1], lengths)
            return Found(offsets, items[at], scores[at])

        return find

    def _checked(self, given: Any, log: Interactions) -> pl.DataFrame:
        frame = given.collect() if isinstance(given, pl.LazyFrame) else given
        if not isinstance(frame, pl.DataFrame) or set(frame.columns) != {"user", "item", "score"}:
            got = f"the columns {frame.columns}" if isinstance(frame, pl.DataFrame) else type(frame).__name__
            raise DataError(f"{self.function} returned {got}; expected a frame of user, item and score")
        if not frame["score"].dtype.is_numeric():
            raise DataError(f"{self.function} returned a score that is {frame['score'].dtype}; expected numbers")
        coded = pl.DataFrame(
            {
                "user": log.users.codes(frame["user"]),
                "item": log.item_ids.codes(frame["item"]),
                "score": frame["score"].cast(pl.Float32),
            }
        )
        # What the log does not know can't be ranked: it has no features.
        coded = coded.filter((pl.col("user") >= 0) & (pl.col("item") >= 0) & pl.col("score").is_finite())
        return coded.sort(["user", "score", "item"], descending=[False, True, False]).unique(
            ["user", "item"], keep="first", maintain_order=True
        )


SOURCES: dict[str, type[Any]] = {
    "history": HistorySource,
    "covisit": CovisitSource,
    "popular": PopularSource,
    "cosine": CosineSource,
    "factors": FactorsSource,
    "embeddings": EmbeddingsSource,
    "attribute": AttributeSource,
    "custom": OwnSource,
}
"""The sources by the name of their table."""
