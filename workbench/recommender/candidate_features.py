"""Features of candidates: from the sources, the user's history and the item's attributes; float32, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.recommender.candidates import Candidates
from workbench.recommender.extra import compiled
from workbench.recommender.interactions import Interactions
from workbench.recommender.sources import Tables
from workbench.recommender.windows import Window

__all__ = ["FeatureMaker", "make_features"]

LAST = 30
"""How many of a user's last items are compared with a candidate's attributes."""

CODE_VALUES = 10_000
"""A column of the item table with more distinct values is not used for "same value" features."""


@dataclass(frozen=True)
class FeatureMaker:
    """Features of the items and users of a window, computed once for all candidates.

    Attributes
    ----------
    names : tuple of str
        The columns.
    of_items, of_users : float32 arrays
        A row for each code.
    codes : int32 array (n_items, n)
    numbers : float32 array (n_items, m)
    decay_s : float
        The age at which an event of the user has half its weight.
    """

    history: Interactions
    names: tuple[str, ...]
    of_items: npt.NDArray[np.float32]
    of_users: npt.NDArray[np.float32]
    codes: npt.NDArray[np.int32]
    numbers: npt.NDArray[np.float32]
    decay_s: float

    def make_for(self, candidates: Candidates, window: Window) -> npt.NDArray[np.float32]:
        """Return the features of a batch of candidates of a window with this history, (n, len(names))."""
        log, run = self.history, compiled("compiled_features")
        events = (log.starts, log.items, log.times, log.kinds)
        users, now, n_kinds = window.users[candidates.rows], window.now[candidates.rows], len(log.kind_ids)
        features = np.empty((len(candidates.items), len(self.names)), np.float32)
        column = candidates.source_scores.shape[1]
        features[:, :column] = candidates.source_scores
        _across(features, column)
        column += 2
        run.user_features(events, users, now, n_kinds, candidates.offsets, features, column)
        column += 5 + n_kinds
        pair = (candidates.offsets, candidates.items)
        run.pair_features(events, users, now, (n_kinds, self.decay_s), pair, features, column)
        column += 7 + n_kinds
        features[:, column : column + self.of_items.shape[1]] = self.of_items[candidates.items]
        column += self.of_items.shape[1]
        recency = (LAST, self.decay_s)
        run.attribute_features(events, users, now, recency, pair, (self.codes, self.numbers), features, column)
        column += self.codes.shape[1] + 2 * self.numbers.shape[1]
        user_codes = users[candidates.user_rows]
        features[:, column:] = np.where(user_codes[:, None] >= 0, self.of_users[user_codes], np.float32(np.nan))
        return features


def _across(features: npt.NDArray[np.float32], n_source_columns: int) -> None:
    """Write the number of sources that have the candidate, and its best rank."""
    ranks = features[:, 1:n_source_columns:2]
    features[:, n_source_columns] = (~np.isnan(ranks)).sum(axis=1)
    features[:, n_source_columns + 1] = np.nanmin(ranks, axis=1, initial=np.inf)


def make_features(log: Interactions, sources: list[str], tables: Tables, horizon_s: int) -> FeatureMaker:
    """Prepare the features of candidates of a window with this history.

    Parameters
    ----------
    sources : list of str
        The names of the sources' features: `Generator.names`.
    horizon_s : int
        The time scale of "recent".
    """
    item_names, of_items = _item_facts(log, horizon_s)
    code_names, codes = _item_codes(tables.items, log.n_items)
    number_names, numbers = _numbers(tables.items, log.n_items)
    user_names, of_users = _user_columns(tables.users, len(log.users))
    kinds = [str(kind) for kind in log.kind_ids.values]
    names = (
        *sources,
        *("n_sources", "best_rank"),
        *("user_events", "user_visits", "user_first_age", "user_last_age", "user_gap"),
        *(f"user_{kind}" for kind in kinds),
        *("own_events", "own_visits", "own_recent", "own_first_age", "own_last_age", "own_ago", "own_due"),
        *(f"own_{kind}" for kind in kinds),
        *item_names,
        *(f"same_{name}" for name in code_names),
        *(name for number in number_names for name in (f"items_{number}", f"more_{number}")),
        *(f"users_{name}" for name in user_names),
    )
    return FeatureMaker(log, _unique(names), of_items, of_users, codes, numbers, float(horizon_s))


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """Return unique names: a type of event may have the name of another feature.

    Examples
    --------
    >>> _unique(["user_events", "user_clicks", "user_events"])
    ('user_events', 'user_clicks', 'user_events_2')
    """
    unique: dict[str, None] = {}
    for name in names:
        number, candidate_name = 1, name
        while candidate_name in unique:
            number += 1
            candidate_name = f"{name}_{number}"
        unique[candidate_name] = None
    return tuple(unique)


def _item_facts(log: Interactions, horizon_s: int) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Count each item's events (in all, by kind, recent), its users and repeats, and compare recent with all."""
    n, kinds = log.n_items, [str(kind) for kind in log.kind_ids.values]
    end = int(log.times.max(initial=0)) + 1
    moments = np.array([end - horizon_s, end - max(1, horizon_s // 4)], np.int64)
    counts, recent = np.zeros((n, len(kinds)), np.float32), np.zeros((n, 2), np.float32)
    users, span = np.zeros(n, np.float32), np.tile(np.array([2**31 - 1, -1], np.int32), (n, 1))
    events = (log.starts, log.items, log.times, log.kinds)
    compiled("compiled_features").item_facts(events, moments, counts, recent, users, span)
    total = counts.sum(axis=1)
    has_events = total > 0
    pace = recent[:, 0] / np.maximum(total, 1) * (end / horizon_s)
    columns = {
        "item_events": total,
        "item_recent": recent[:, 0],
        "item_latest": recent[:, 1],
        "item_trend": pace,
        "item_turn": (recent[:, 1] + 1) / (recent[:, 0] / 4 + 1),
        "item_users": users,
        "item_again": total / np.maximum(users, 1),
        "item_first_age": np.where(has_events, end - span[:, 0], np.nan),
        "item_last_age": np.where(has_events, end - span[:, 1], np.nan),
        **{f"item_share_{kind}": counts[:, i] / np.maximum(total, 1) for i, kind in enumerate(kinds) if len(kinds) > 1},
    }
    return list(columns), np.stack([c.astype(np.float32) for c in columns.values()], axis=1)


def _item_codes(table: pl.DataFrame | None, n_items: int) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Return text, Boolean and categorical columns as codes; -1 for null."""
    codes: dict[str, Any] = {}
    for series in table.get_columns() if table is not None else ():
        is_code = series.dtype in (pl.String, pl.Boolean, pl.Categorical) or isinstance(series.dtype, pl.Enum)
        if is_code and series.n_unique() <= CODE_VALUES:
            ranks = series.cast(pl.String).rank("dense")
            codes[series.name] = (ranks.cast(pl.Int32) - 1).fill_null(-1).to_numpy()
    return list(codes), np.stack(list(codes.values()), axis=1) if codes else np.empty((n_items, 0), np.int32)


def _numbers(table: pl.DataFrame | None, n: int) -> tuple[list[str], npt.NDArray[np.float32]]:
    columns = [] if table is None else [s for s in table.get_columns() if s.dtype.is_numeric()]
    numbers_of_columns = {s.name: s.cast(pl.Float32).fill_null(float("nan")).to_numpy() for s in columns}
    return list(numbers_of_columns), np.stack(
        list(numbers_of_columns.values()), axis=1
    ) if numbers_of_columns else np.empty((n, 0), np.float32)


def _user_columns(table: pl.DataFrame | None, n_users: int) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Return the columns of the user table: numbers as they are, others as codes."""
    number_names, numbers = _numbers(table, n_users)
    code_names, codes = _item_codes(table, n_users)
    values = np.where(codes < 0, np.float32(np.nan), codes.astype(np.float32))
    return [*number_names, *code_names], np.concatenate([numbers, values], axis=1)
