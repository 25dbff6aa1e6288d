"""Candidate sources: their parameters, and how each is prepared for a window."""

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
    "CandidateFinder",
    "CosineSource",
    "CovisitSource",
    "CustomSource",
    "EmbeddingsSource",
    "EventWeighting",
    "FactorsSource",
    "HistorySource",
    "PopularSource",
    "SourceCandidates",
    "SourceContext",
    "SourceSpec",
    "Tables",
]

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class SourceCandidates:
    """A source's candidates for n users: ``items[offsets[i]:offsets[i + 1]]``, the best first, with their scores."""

    offsets: npt.NDArray[np.int64]
    items: Ints
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tables:
    """The tables of items and users: a row for each code, null where the table lacks it; None without a table."""

    items: pl.DataFrame | None = None
    users: pl.DataFrame | None = None


class CandidateFinder(Protocol):
    """A prepared source: returns the best candidates of users, by code, at their present time, at most `most` each."""

    def __call__(self, users: Ints, now: Ints, most: int, /) -> SourceCandidates:
        """Return the candidates; those of a user do not depend on the other users."""
        ...


@dataclass(frozen=True)
class SourceContext:
    """The inputs for preparing a source."""

    window: Window
    tables: Tables
    threads: int
    load: Callable[[str], Any]
    progress: Callable[[float], None] = lambda _: None


@dataclass(frozen=True)
class EventWeighting:
    """The weights of a user's own events.

    Attributes
    ----------
    last : int
        The number of a user's last events that count.
    weights : dict
        By kind; 1 for a kind that is not named.
    decay_s : float, optional
        The age at which an event has half its weight.
    decay_events : float, optional
        The number of later events at which an event has half its weight.
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
        """Return the weighting as the compiled functions take it."""
        weights = _kind_weights(log, self.weights, "weighting")
        return weights, min(self.last, 1 << 30), float(self.decay_s or 0), float(self.decay_events or 0)


class SourceSpec(Protocol):
    """The parameters of a source. `top` is the most candidates of it for a user."""

    @property
    def top(self) -> int:
        """The most candidates of it for a user."""
        ...

    def prepare(self, ready: SourceContext) -> CandidateFinder:
        """Prepare the source for a window."""
        ...


def _at_least_one(source: str, spec: Any, *names: str) -> None:
    for name in names:
        if getattr(spec, name) < 1:
            raise ConfigError(f"{source}: {name} = {getattr(spec, name)!r}: expected 1 or more")


def _kind_weights(log: Interactions, weights: Mapping[str, float], source: str) -> npt.NDArray[np.float64]:
    """Return the weight of each kind by code; refuse negative ones."""
    by_kind = kind_weights(log, weights, f"{source}: ")
    for kind, weight in weights.items():
        if not 0 <= weight < 1e9:
            raise ConfigError(f"{source}: weights.{kind} = {weight!r}: expected 0 or more")
    return by_kind


# ------------------------------------------------------------------------------------------------------- own history


@dataclass(frozen=True)
class HistorySource:
    """Items that the user had before, by the sum of their events' weights."""

    top: int = 50
    weighting: EventWeighting = field(default_factory=lambda: EventWeighting(last=500, decay_s=7 * 86_400.0))

    def __post_init__(self) -> None:
        _at_least_one("history", self, "top")

    def prepare(self, ready: SourceContext) -> CandidateFinder:
        """Return the source."""
        log = ready.window.history
        events, rule = _events(log), self.weighting.rule(log)
        run = compiled("compiled_candidates")

        def find(users: Ints, now: Ints, most: int, /) -> SourceCandidates:
            return _filled(run.own_items, users, most, (events, users, now, rule))

        return find


def _events(log: Interactions) -> tuple[Any, ...]:
    return log.starts, *log.arrays


def _filled(function: Any, users: Ints, most: int, before: tuple[Any, ...]) -> SourceCandidates:
    offsets = np.zeros(len(users) + 1, np.int64)
    items, scores = np.empty(len(users) * most, np.int32), np.empty(len(users) * most, np.float32)
    function(*before, most, (offsets, items, scores))
    return SourceCandidates(offsets, items[: offsets[-1]], scores[: offsets[-1]])


# ---------------------------------------------------------------------------------------- neighbours of what they had


def _voted(
    log: Interactions, weighting: EventWeighting, near_items: Ints, shares: Any, row_of: Ints | None = None
) -> CandidateFinder:
    """Return a source that sums the weights of the neighbours of a user's last items."""
    run, rule = compiled("compiled_candidates"), weighting.rule(log)
    rows = np.arange(log.n_items, dtype=np.int32) if row_of is None else row_of
    neighbours = (near_items, np.ascontiguousarray(shares, np.float32), rows)

    def find(users: Ints, now: Ints, most: int, /) -> SourceCandidates:
        return _filled(run.votes, users, most, (_events(log), users, now, rule, neighbours))

    return find


@dataclass(frozen=True)
class CovisitSource:
    """Items that are co-visited with the user's last items, as a share of the items' events."""

    top: int = 50
    counts: Covisit = field(default_factory=Covisit)
    weighting: EventWeighting = field(default_factory=lambda: EventWeighting(decay_events=5.0))

    def __post_init__(self) -> None:
        _at_least_one("covisit", self, "top")

    def prepare(self, ready: SourceContext) -> CandidateFinder:
        """Return the source."""
        log = ready.window.history
        neighbours = count_covisits(log, self.counts, threads=ready.threads, progress=ready.progress)
        shares = neighbours.weights.astype(np.float32)
        if self.counts.normalise == "none":
            shares /= np.maximum(count_items(log), 1)[:, None].astype(np.float32)
        return _voted(log, self.weighting, neighbours.items, shares)


@dataclass(frozen=True)
class CosineSource:
    """Items nearest to the user's items, by the cosine of the columns of the user-item matrix."""

    top: int = 50
    neighbours: int = 50
    last: int = 300
    kinds: tuple[str, ...] | None = None
    weighting: EventWeighting = field(default_factory=lambda: EventWeighting(last=100))

    def __post_init__(self) -> None:
        _at_least_one("cosine", self, "top", "neighbours", "last")

    def prepare(self, ready: SourceContext) -> CandidateFinder:
        """Return the source."""
        counts = Covisit(last=self.last, window_s=None, kinds=self.kinds, top=self.neighbours, normalise="cosine")
        log = ready.window.history
        neighbours = count_covisits(log, counts, threads=ready.threads, progress=ready.progress)
        return _voted(log, self.weighting, neighbours.items, neighbours.weights)


@dataclass(frozen=True)
class EmbeddingsSource:
    """Items nearest to the user's last items, by skip-gram embeddings trained on the lists."""

    top: int = 50
    model: SkipGram = field(default_factory=SkipGram)
    weighting: EventWeighting = field(default_factory=lambda: EventWeighting(last=20, decay_events=5.0))

    def __post_init__(self) -> None:
        _at_least_one("embeddings", self, "top")

    def prepare(self, ready: SourceContext) -> CandidateFinder:
        """Return the source."""
        log = ready.window.history
        neighbours = nearest_items(
            train_embeddings(log, self.model, progress=ready.progress), log.n_items, self.model.top
        )
        return _voted(log, self.weighting, neighbours.items, np.maximum(neighbours.weights, 0.0))


@dataclass(frozen=True)
class AttributeSource:
    """The most popular items with the same value in a column of the item table as the user's last items.

    Attributes
    ----------
    column : str
    each : int
        The number of items of each value.
    window_s : int, optional
        The seconds before the end of the log that count for popularity; None for all.
    """

    column: str
    top: int = 50
    each: int = 20
    window_s: int | None = None
    weighting: EventWeighting = field(default_factory=lambda: EventWeighting(decay_events=5.0))

    def __post_init__(self) -> None:
        _at_least_one("attribute", self, "top", "each")

    def prepare(self, ready: SourceContext) -> CandidateFinder:
        """Return the source."""
        log, codes = ready.window.history, _codes(ready.tables.items, self.column, "items")
        popular = _popularity(log, self.window_s, {})
        order = np.lexsort((-popular, codes))
        order = order[codes[order] >= 0]
        _, starts = np.unique(codes[order], return_index=True)
        place = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
        is_top = place < self.each
        items = np.full((int(codes.max(initial=-1)) + 1, self.each), -1, np.int32)
        shares = np.zeros(items.shape, np.float32)
        items[codes[order[is_top]], place[is_top]] = order[is_top]
        of_value = np.bincount(codes[codes >= 0], popular[codes >= 0], minlength=len(items))
        shares[codes[order[is_top]], place[is_top]] = popular[order[is_top]] / np.maximum(
            of_value[codes[order[is_top]]], 1e-9
        )
        return _voted(log, self.weighting, items, shares, codes)


def _codes(table: pl.DataFrame | None, column: str, kind: str) -> Ints:
    """Return a column as codes, -1 for null."""
    if table is None:
        raise ConfigError(f"{column!r} should be a column of the table of {kind}, and there is none")
    if column not in table.columns:
        raise ConfigError(
            f"the table of {kind} has no column {column!r}", hint=near(column, table.columns, kind="column")
        )
    ranks = table[column].rank("dense")
    return (ranks.cast(pl.Int32) - 1).fill_null(-1).to_numpy()


# -------------------------------------------------------------------------------------------------------- popularity


@dataclass(frozen=True)
class PopularSource:
    """Popular items, the same for all users or for all of a segment.

    Attributes
    ----------
    window_s : int, optional
        The seconds before the end of the log that count; None for all.
    weights : dict
        By kind.
    by : str, optional
        A column of the user table that defines segments.
    """

    top: int = 20
    window_s: int | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    by: str | None = None

    def __post_init__(self) -> None:
        _at_least_one("popular", self, "top")

    def prepare(self, ready: SourceContext) -> CandidateFinder:
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
        segment_of, items = np.divmod(keys, max(log.n_items, 1))
        order = np.lexsort((items, -weights, segment_of))
        items, segment_of, weights = items[order].astype(np.int32), segment_of[order], weights[order]
        total = np.bincount(segment_of, weights, minlength=n_segments)
        shares = (weights / total[segment_of]).astype(np.float32)
        starts = np.searchsorted(segment_of, np.arange(n_segments + 1))

        def find(users: Ints, now: Ints, most: Any, /) -> SourceCandidates:  # noqa: ARG001
            # A user without events is treated as one that the table does not have.
            user_segments = np.where(users >= 0, segment[users], 0)
            lengths = np.minimum(np.diff(starts)[user_segments], most)
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            at = np.arange(offsets[-1]) + np.repeat(starts[user_segments] - offsets[:-1], lengths)
            return SourceCandidates(offsets, items[at], shares[at])

        return find


def _popularity(log: Interactions, window_s: int | None, weights: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Return the summed weight of each item's recent events."""
    return count_items(log, event_weigher(log, window_s, weights))


def event_weigher(
    log: Interactions, window_s: int | None, weights: Mapping[str, float]
) -> Callable[[slice], npt.NDArray[np.float64]]:
    """Return a function from a slice of events to their weights: 0 for events before the window."""
    by_kind = _kind_weights(log, weights, "popular")
    after = -1 if window_s is None else int(log.times.max(initial=0)) - window_s

    def weigh(part: slice) -> npt.NDArray[np.float64]:
        weights_of_events: npt.NDArray[np.float64] = by_kind[log.kinds[part]] * (log.times[part] > after)
        if len(log.weights):
            weights_of_events *= log.weights[part]
        return weights_of_events

    return weigh


def _popularity_by(
    log: Interactions, window_s: int | None, weights: Mapping[str, float], segment: Ints
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the summed weight of each item's events by segment of users, where it is above 0.

    In one pass over the log, however many segments there are: the keys are ``segment * n_items + item``.
    """
    weigh = event_weigher(log, window_s, weights)
    keys, sums = np.empty(0, np.int64), np.empty(0, np.float64)
    for low in range(0, len(log), COUNTED):
        part = slice(low, min(low + COUNTED, len(log)))
        event_weights = weigh(part)
        counts = np.flatnonzero(event_weights > 0)
        users = np.searchsorted(log.starts, low + counts, side="right") - 1
        event_keys = segment[users].astype(np.int64) * log.n_items + log.items[part][counts]
        keys, place = np.unique(np.concatenate([keys, event_keys]), return_inverse=True)
        sums = np.bincount(place, np.concatenate([sums, event_weights[counts]]), minlength=len(keys)).astype(np.float64)
    return keys, sums


# ------------------------------------------------------------------------------------------------ factors, one's own


@dataclass(frozen=True)
class FactorsSource:
    """The best items for the user by matrix factorisation."""

    top: int = 50
    model: Factorisation = field(default_factory=Factorisation)

    def __post_init__(self) -> None:
        _at_least_one("factors", self, "top")

    def prepare(self, ready: SourceContext) -> CandidateFinder:
        """Return the source."""
        fitted = fit_factors(ready.window.history, self.model, threads=ready.threads)

        def find(users: Ints, now: Ints, most: int, /) -> SourceCandidates:  # noqa: ARG001
            items, scores = best_items(fitted, users, most)
            is_item = items >= 0
            offsets = np.concatenate([[0], np.cumsum(is_item.sum(axis=1))]).astype(np.int64)
            return SourceCandidates(offsets, items[is_item].astype(np.int32), scores[is_item].astype(np.float32))

        return find


@dataclass(frozen=True)
class CustomSource:
    """A custom function, ``file.py:name`` in the competition's folder.

    It is called once per window, ``name(history, users, now)``: `history` is a frame of all known events (user, item,
    time as seconds since 1970, kind), `users` a series of the ids to recommend to, `now` their present in seconds since
    1970. It returns a frame of user, item and score.
    """

    function: str
    top: int = 50

    def __post_init__(self) -> None:
        _at_least_one("custom", self, "top")

    def prepare(self, ready: SourceContext) -> CandidateFinder:
        """Return the source."""
        window = ready.window
        log = window.history
        has_code = window.users >= 0
        ids = log.users.values.gather(window.users[has_code])
        now = pl.Series("now", window.now[has_code].astype(np.int64) + log.origin)
        frame = ready.load(self.function)(history_frame(log), ids, now)
        coded = self._checked(frame, log)
        starts = np.searchsorted(coded["user"].to_numpy(), np.arange(len(log.users) + 1))
        items, scores = coded["item"].to_numpy(), coded["score"].to_numpy()

        def find(users: Ints, now: Ints, most: int, /) -> SourceCandidates:  # noqa: ARG001
            lengths = np.where(users >= 0, np.minimum(starts[users + 1] - starts[users], most), 0)
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            at = np.arange(offsets[-1]) + np.repeat(starts[users] - offsets[:-1], lengths)
            return SourceCandidates(offsets, items[at], scores[at])

        return find

    def _checked(self, output: Any, log: Interactions) -> pl.DataFrame:
        frame = output.collect() if isinstance(output, pl.LazyFrame) else output
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
        # Unknown users and items can't be ranked: they have no features.
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
    "custom": CustomSource,
}
"""The sources by the name of their table."""
