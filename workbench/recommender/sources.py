"""Candidate sources: their parameters, and their preparation for a window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import ConfigError, DataError, did_you_mean
from workbench.recommender.covisit import Covisit, count_covisits
from workbench.recommender.embeddings import SkipGram, nearest_items, train_embeddings
from workbench.recommender.extra import compiled
from workbench.recommender.factors import Factorisation, best_items, fit_factors
from workbench.recommender.interactions import COUNT_CHUNK, Interactions, count_items, kind_weights
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
    """A source's candidates for n users, best first: those of user i are ``items[offsets[i]:offsets[i + 1]]``."""

    offsets: npt.NDArray[np.int64]
    items: Ints
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tables:
    """The tables of items and users: a row for each code, with nulls if the table lacks it; None without a table."""

    items: pl.DataFrame | None = None
    users: pl.DataFrame | None = None


class CandidateFinder(Protocol):
    """A prepared source."""

    def __call__(self, users: Ints, now: Ints, limit: int, /) -> SourceCandidates:
        """Return the best candidates of users; those of a user do not depend on the other users.

        Parameters
        ----------
        users : int32 array (n,)
            Codes; -1 for a user without events.
        now : int32 array (n,)
            The present of each user, in seconds since the log's origin.
        limit : int
            The maximum number of candidates of a user.
        """
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
        The weight by kind; 1 for a kind that is not named.
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

    def arguments(self, log: Interactions) -> tuple[npt.NDArray[np.float64], int, float, float]:
        """Return the weighting in the form that compiled functions expect."""
        weights = _kind_weights(log, self.weights, "weighting")
        return weights, min(self.last, 1 << 30), float(self.decay_s or 0), float(self.decay_events or 0)


class SourceSpec(Protocol):
    """The parameters of a source."""

    @property
    def top(self) -> int:
        """The maximum number of its candidates for a user."""
        ...

    def prepare(self, context: SourceContext) -> CandidateFinder:
        """Prepare the source for a window."""
        ...


def _at_least_one(source: str, spec: Any, *names: str) -> None:
    for name in names:
        if getattr(spec, name) < 1:
            raise ConfigError(f"{source}: {name} = {getattr(spec, name)!r}: expected 1 or more")


def _kind_weights(log: Interactions, weights: Mapping[str, float], source: str) -> npt.NDArray[np.float64]:
    """Return the weight of each kind by code; negative weights are refused."""
    weight_by_kind = kind_weights(log, weights, f"{source}: ")
    for kind, weight in weights.items():
        if not 0 <= weight < 1e9:
            raise ConfigError(f"{source}: weights.{kind} = {weight!r}: expected 0 or more")
    return weight_by_kind


# ------------------------------------------------------------------------------------------------------- own history


@dataclass(frozen=True)
class HistorySource:
    """Items that the user had before, by the summed weight of their events."""

    top: int = 50
    weighting: EventWeighting = field(default_factory=lambda: EventWeighting(last=500, decay_s=7 * 86_400.0))

    def __post_init__(self) -> None:
        _at_least_one("history", self, "top")

    def prepare(self, context: SourceContext) -> CandidateFinder:
        """Return the prepared source."""
        log = context.window.history
        events, weighting = _events(log), self.weighting.arguments(log)
        kernels = compiled("compiled_candidates")

        def find(users: Ints, now: Ints, limit: int, /) -> SourceCandidates:
            return _call_kernel(kernels.own_items, users, limit, (events, users, now, weighting))

        return find


def _events(log: Interactions) -> tuple[Any, ...]:
    return log.starts, *log.arrays


def _call_kernel(kernel: Any, users: Ints, limit: int, arguments: tuple[Any, ...]) -> SourceCandidates:
    """Call a compiled function that writes candidates."""
    offsets = np.zeros(len(users) + 1, np.int64)
    items, scores = np.empty(len(users) * limit, np.int32), np.empty(len(users) * limit, np.float32)
    kernel(*arguments, limit, (offsets, items, scores))
    return SourceCandidates(offsets, items[: offsets[-1]], scores[: offsets[-1]])


# ------------------------------------------------------------------------------------ neighbours of the user's items


def _neighbour_finder(
    log: Interactions,
    weighting: EventWeighting,
    neighbour_items: Ints,
    neighbour_weights: Any,
    row_by_item: Ints | None = None,
) -> CandidateFinder:
    """Return a source that sums the weights of the neighbours of a user's last items.

    Parameters
    ----------
    neighbour_items : int32 array (n_rows, n_neighbours)
        Padded with -1.
    neighbour_weights : array (n_rows, n_neighbours)
    row_by_item : int32 array (n_items,), optional
        The row with each item's neighbours, -1 for none; by default a row for each item.
    """
    kernels, event_weights = compiled("compiled_candidates"), weighting.arguments(log)
    rows = np.arange(log.n_items, dtype=np.int32) if row_by_item is None else row_by_item
    neighbours = (neighbour_items, np.ascontiguousarray(neighbour_weights, np.float32), rows)

    def find(users: Ints, now: Ints, limit: int, /) -> SourceCandidates:
        return _call_kernel(
            kernels.neighbour_votes, users, limit, (_events(log), users, now, event_weights, neighbours)
        )

    return find


@dataclass(frozen=True)
class CovisitSource:
    """Items that are co-visited with the user's last items, as a share of the items' events."""

    top: int = 50
    counts: Covisit = field(default_factory=Covisit)
    weighting: EventWeighting = field(default_factory=lambda: EventWeighting(decay_events=5.0))

    def __post_init__(self) -> None:
        _at_least_one("covisit", self, "top")

    def prepare(self, context: SourceContext) -> CandidateFinder:
        """Return the prepared source."""
        log = context.window.history
        neighbours = count_covisits(log, self.counts, threads=context.threads, progress=context.progress)
        shares = neighbours.weights.astype(np.float32)
        if self.counts.normalise == "none":
            shares /= np.maximum(count_items(log), 1)[:, None].astype(np.float32)
        return _neighbour_finder(log, self.weighting, neighbours.items, shares)


@dataclass(frozen=True)
class CosineSource:
    """Items nearest to the user's last items, by the cosine of the columns of the user-item matrix."""

    top: int = 50
    neighbours: int = 50
    last: int = 300
    kinds: tuple[str, ...] | None = None
    weighting: EventWeighting = field(default_factory=lambda: EventWeighting(last=100))

    def __post_init__(self) -> None:
        _at_least_one("cosine", self, "top", "neighbours", "last")

    def prepare(self, context: SourceContext) -> CandidateFinder:
        """Return the prepared source."""
        counts = Covisit(last=self.last, window_s=None, kinds=self.kinds, top=self.neighbours, normalise="cosine")
        log = context.window.history
        neighbours = count_covisits(log, counts, threads=context.threads, progress=context.progress)
        return _neighbour_finder(log, self.weighting, neighbours.items, neighbours.weights)


@dataclass(frozen=True)
class EmbeddingsSource:
    """Items nearest to the user's last items, by skip-gram embeddings trained on the lists."""

    top: int = 50
    model: SkipGram = field(default_factory=SkipGram)
    weighting: EventWeighting = field(default_factory=lambda: EventWeighting(last=20, decay_events=5.0))

    def __post_init__(self) -> None:
        _at_least_one("embeddings", self, "top")

    def prepare(self, context: SourceContext) -> CandidateFinder:
        """Return the prepared source."""
        log = context.window.history
        neighbours = nearest_items(
            train_embeddings(log, self.model, progress=context.progress), log.n_items, self.model.top
        )
        return _neighbour_finder(log, self.weighting, neighbours.items, np.maximum(neighbours.weights, 0.0))


@dataclass(frozen=True)
class AttributeSource:
    """The most popular items that have the same value in a column of the item table as the user's last items.

    Attributes
    ----------
    column : str
    each : int
        The number of items of each value.
    window_s : int, optional
        The length of the period at the end of the log that counts for popularity, in seconds; None for all of it.
    """

    column: str
    top: int = 50
    each: int = 20
    window_s: int | None = None
    weighting: EventWeighting = field(default_factory=lambda: EventWeighting(decay_events=5.0))

    def __post_init__(self) -> None:
        _at_least_one("attribute", self, "top", "each")

    def prepare(self, context: SourceContext) -> CandidateFinder:
        """Return the prepared source."""
        log, codes = context.window.history, _codes(context.tables.items, self.column, "items")
        popularity = _popularity(log, self.window_s, {})
        order = np.lexsort((-popularity, codes))
        order = order[codes[order] >= 0]
        _, starts = np.unique(codes[order], return_index=True)
        rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
        is_top = rank < self.each
        top_items, top_ranks = order[is_top], rank[is_top]
        top_codes = codes[top_items]
        items = np.full((int(codes.max(initial=-1)) + 1, self.each), -1, np.int32)
        shares = np.zeros(items.shape, np.float32)
        items[top_codes, top_ranks] = top_items
        popularity_by_code = np.bincount(codes[codes >= 0], popularity[codes >= 0], minlength=len(items))
        shares[top_codes, top_ranks] = popularity[top_items] / np.maximum(popularity_by_code[top_codes], 1e-9)
        return _neighbour_finder(log, self.weighting, items, shares, codes)


def _codes(table: pl.DataFrame | None, column: str, kind: str) -> Ints:
    """Return the codes of a column, -1 for null; `kind` of table is for messages."""
    if table is None:
        raise ConfigError(f"{column!r} should be a column of the table of {kind}, but there is no such table")
    if column not in table.columns:
        raise ConfigError(
            f"the table of {kind} has no column {column!r}", hint=did_you_mean(column, table.columns, kind="column")
        )
    ranks = table[column].rank("dense")
    return (ranks.cast(pl.Int32) - 1).fill_null(-1).to_numpy()


# -------------------------------------------------------------------------------------------------------- popularity


@dataclass(frozen=True)
class PopularSource:
    """Popular items, the same for all users or for all users of a segment.

    Attributes
    ----------
    window_s : int, optional
        The length of the period at the end of the log that counts, in seconds; None for all of it.
    weights : dict
        The weight by kind; 1 for a kind that is not named.
    by : str, optional
        A column of the user table that defines segments.
    """

    top: int = 20
    window_s: int | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    by: str | None = None

    def __post_init__(self) -> None:
        _at_least_one("popular", self, "top")

    def prepare(self, context: SourceContext) -> CandidateFinder:
        """Return the prepared source."""
        log = context.window.history
        segment = np.zeros(len(log.users), np.int32)
        if self.by is not None:
            segment = _codes(context.tables.users, self.by, "users") + 1
        n_segments = int(segment.max(initial=0)) + 1
        if n_segments == 1:
            popularity = _popularity(log, self.window_s, self.weights)
            keys = np.flatnonzero(popularity > 0)
            weights = popularity[keys]
        else:
            keys, weights = _popularity_by(log, self.window_s, self.weights, segment)
        segments, items = np.divmod(keys, max(log.n_items, 1))
        order = np.lexsort((items, -weights, segments))
        items, segments, weights = items[order].astype(np.int32), segments[order], weights[order]
        total_by_segment = np.bincount(segments, weights, minlength=n_segments)
        shares = (weights / total_by_segment[segments]).astype(np.float32)
        starts = np.searchsorted(segments, np.arange(n_segments + 1))

        def find(users: Ints, now: Ints, limit: Any, /) -> SourceCandidates:  # noqa: ARG001
            # Segment 0 is of users that the table lacks, and serves users without events, too.
            user_segments = np.where(users >= 0, segment[users], 0)
            lengths = np.minimum(np.diff(starts)[user_segments], limit)
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            positions = np.arange(offsets[-1]) + np.repeat(starts[user_segments] - offsets[:-1], lengths)
            return SourceCandidates(offsets, items[positions], shares[positions])

        return find


def _popularity(log: Interactions, window_s: int | None, weights: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Return the summed weight of each item's recent events."""
    return count_items(log, event_weigher(log, window_s, weights))


def event_weigher(
    log: Interactions, window_s: int | None, weights: Mapping[str, float]
) -> Callable[[slice], npt.NDArray[np.float64]]:
    """Return a function that returns the weights of a slice of events: 0 for events before the window."""
    weight_by_kind = _kind_weights(log, weights, "popular")
    after_s = -1 if window_s is None else int(log.times.max(initial=0)) - window_s

    def weigh(events: slice) -> npt.NDArray[np.float64]:
        event_weights: npt.NDArray[np.float64] = weight_by_kind[log.kinds[events]] * (log.times[events] > after_s)
        if len(log.weights):
            event_weights *= log.weights[events]
        return event_weights

    return weigh


def _popularity_by(
    log: Interactions, window_s: int | None, weights: Mapping[str, float], segment: Ints
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the summed weight of each item's events by segment of users, if it is above 0.

    It takes one pass over the log, however many segments there are.

    Returns
    -------
    keys : int64 array
        ``segment * n_items + item``.
    sums : float64 array
    """
    weigh = event_weigher(log, window_s, weights)
    keys, sums = np.empty(0, np.int64), np.empty(0, np.float64)
    for low in range(0, len(log), COUNT_CHUNK):
        chunk = slice(low, min(low + COUNT_CHUNK, len(log)))
        event_weights = weigh(chunk)
        counted = np.flatnonzero(event_weights > 0)
        users = np.searchsorted(log.starts, low + counted, side="right") - 1
        event_keys = segment[users].astype(np.int64) * log.n_items + log.items[chunk][counted]
        keys, key_index = np.unique(np.concatenate([keys, event_keys]), return_inverse=True)
        all_weights = np.concatenate([sums, event_weights[counted]])
        sums = np.bincount(key_index, all_weights, minlength=len(keys)).astype(np.float64)
    return keys, sums


# -------------------------------------------------------------------------------------------------- factors, custom


@dataclass(frozen=True)
class FactorsSource:
    """The best items for the user by matrix factorisation."""

    top: int = 50
    model: Factorisation = field(default_factory=Factorisation)

    def __post_init__(self) -> None:
        _at_least_one("factors", self, "top")

    def prepare(self, context: SourceContext) -> CandidateFinder:
        """Return the prepared source."""
        factors = fit_factors(context.window.history, self.model, threads=context.threads)

        def find(users: Ints, now: Ints, limit: int, /) -> SourceCandidates:  # noqa: ARG001
            items, scores = best_items(factors, users, limit)
            exists = items >= 0
            offsets = np.concatenate([[0], np.cumsum(exists.sum(axis=1))]).astype(np.int64)
            return SourceCandidates(offsets, items[exists].astype(np.int32), scores[exists].astype(np.float32))

        return find


@dataclass(frozen=True)
class CustomSource:
    """A custom function, ``file.py:name`` in the competition's folder.

    It is called once per window as ``name(history, users, now)``: `history` is a frame of all known events (user, item,
    time as seconds since 1970, kind), `users` a series of the ids to recommend to, and `now` their present in seconds
    since 1970. It returns a frame with the columns user, item and score.
    """

    function: str
    top: int = 50

    def __post_init__(self) -> None:
        _at_least_one("custom", self, "top")

    def prepare(self, context: SourceContext) -> CandidateFinder:
        """Return the prepared source."""
        window = context.window
        log = window.history
        has_code = window.users >= 0
        ids = log.users.values.gather(window.users[has_code])
        now = pl.Series("now", window.now[has_code].astype(np.int64) + log.origin)
        function = context.load(self.function)
        frame = function(history_frame(log), ids, now)
        coded = self._to_codes(frame, log)
        starts = np.searchsorted(coded["user"].to_numpy(), np.arange(len(log.users) + 1))
        items, scores = coded["item"].to_numpy(), coded["score"].to_numpy()

        def find(users: Ints, now: Ints, limit: int, /) -> SourceCandidates:  # noqa: ARG001
            lengths = np.where(users >= 0, np.minimum(starts[users + 1] - starts[users], limit), 0)
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            positions = np.arange(offsets[-1]) + np.repeat(starts[users] - offsets[:-1], lengths)
            return SourceCandidates(offsets, items[positions], scores[positions])

        return find

    def _to_codes(self, output: Any, log: Interactions) -> pl.DataFrame:
        """Check the function's output and return it with codes, sorted by user and descending score."""
        frame = output.collect() if isinstance(output, pl.LazyFrame) else output
        if not isinstance(frame, pl.DataFrame) or set(frame.columns) != {"user", "item", "score"}:
            got = f"the columns {frame.columns}" if isinstance(frame, pl.DataFrame) else type(frame).__name__
            raise DataError(f"{self.function} returned {got}; expected a frame of user, item and score")
        if not frame["score"].dtype.is_numeric():
            raise DataError(f"{self.function} returned scores of the type {frame['score'].dtype}; expected numbers")
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
"""The sources by the name of their table in an experiment's file."""
