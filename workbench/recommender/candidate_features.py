"""Features of candidates from the sources, the user's history and the item's attributes, computed in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.recommender.candidates import Candidates, Generator
from workbench.recommender.extra import compiled
from workbench.recommender.interactions import Interactions
from workbench.recommender.sources import Tables
from workbench.recommender.windows import Window

__all__ = ["FeatureMaker", "PreparedWindow", "prepare_features"]

LAST_ITEMS = 30
"""The number of a user's last items whose attributes are compared with a candidate's."""

MAX_CATEGORIES = 10_000
"""A column of the item table with more distinct values gets no "same value" feature."""


@dataclass(frozen=True)
class FeatureMaker:
    """Computes features of candidates; those of the window's items and users are computed once, in advance.

    Attributes
    ----------
    history : Interactions
    feature_names : tuple of str
        In the order of the columns.
    item_features : float32 array (n_items, a)
    user_features : float32 array (n_users, b)
        The columns of the user table.
    item_codes : int32 array (n_items, c)
        The categorical columns of the item table as codes; -1 for null.
    item_numbers : float32 array (n_items, d)
        The numeric columns of the item table.
    decay_s : float
        The age at which an event of the user has half its weight.
    """

    history: Interactions
    feature_names: tuple[str, ...]
    item_features: npt.NDArray[np.float32]
    user_features: npt.NDArray[np.float32]
    item_codes: npt.NDArray[np.int32]
    item_numbers: npt.NDArray[np.float32]
    decay_s: float

    def compute(self, candidates: Candidates, window: Window) -> npt.NDArray[np.float32]:
        """Return the features of a batch of candidates of a window with this history, (n, n_features)."""
        log, kernels = self.history, compiled("compiled_features")
        events = (log.starts, log.items, log.times, log.kinds)
        users, now, n_kinds = window.users[candidates.rows], window.now[candidates.rows], len(log.kind_ids)
        features = np.empty((len(candidates.items), len(self.feature_names)), np.float32)
        column = candidates.source_scores.shape[1]
        features[:, :column] = candidates.source_scores
        _write_source_summary(features, column)
        column += 2
        kernels.user_features(events, users, now, n_kinds, candidates.offsets, features, column)
        column += 5 + n_kinds
        items_by_user = (candidates.offsets, candidates.items)
        kernels.pair_features(events, users, now, (n_kinds, self.decay_s), items_by_user, features, column)
        column += 7 + n_kinds
        features[:, column : column + self.item_features.shape[1]] = self.item_features[candidates.items]
        column += self.item_features.shape[1]
        recency, attributes = (LAST_ITEMS, self.decay_s), (self.item_codes, self.item_numbers)
        kernels.attribute_features(events, users, now, recency, items_by_user, attributes, features, column)
        column += self.item_codes.shape[1] + 2 * self.item_numbers.shape[1]
        user_codes = users[candidates.user_rows]
        features[:, column:] = np.where(user_codes[:, None] >= 0, self.user_features[user_codes], np.float32(np.nan))
        return features


@dataclass(frozen=True)
class PreparedWindow:
    """A window with its prepared sources and features.

    Attributes
    ----------
    features : FeatureMaker, or None
        None without a ranker.
    name : str
        "validation", "test" or "N before", for messages.
    """

    window: Window
    generator: Generator
    features: FeatureMaker | None
    name: str = "validation"


def _write_source_summary(features: npt.NDArray[np.float32], n_source_columns: int) -> None:
    """Write the number of sources that propose each candidate, and the best rank among them."""
    ranks = features[:, 1:n_source_columns:2]
    features[:, n_source_columns] = (~np.isnan(ranks)).sum(axis=1)
    features[:, n_source_columns + 1] = np.nanmin(ranks, axis=1, initial=np.inf)


def prepare_features(log: Interactions, sources: list[str], tables: Tables, horizon_s: int) -> FeatureMaker:
    """Compute the features of items and users of a window with this history, and name those of its candidates.

    Parameters
    ----------
    sources : list of str
        The names of the sources' features: `Generator.names`.
    horizon_s : int
        The time scale of "recent".
    """
    item_names, item_features = _item_statistics(log, horizon_s)
    code_names, item_codes = _category_codes(tables.items, log.n_items)
    number_names, item_numbers = _numeric_columns(tables.items, log.n_items)
    user_names, user_features = _user_columns(tables.users, len(log.users))
    kinds = [str(kind) for kind in log.kind_ids.values]
    feature_names = (
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
    return FeatureMaker(
        history=log,
        feature_names=_unique(feature_names),
        item_features=item_features,
        user_features=user_features,
        item_codes=item_codes,
        item_numbers=item_numbers,
        decay_s=float(horizon_s),
    )


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """Append numbers to repeated names, as a kind of event may have the name of another feature.

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


def _item_statistics(log: Interactions, horizon_s: int) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Return the names and values of each item's features: its events in all, by kind and recently, its users, its age.

    Recent is the last horizon, latest its last quarter.
    """
    n_items, kinds = log.n_items, [str(kind) for kind in log.kind_ids.values]
    end_s = int(log.times.max(initial=0)) + 1
    recent_from = np.array([end_s - horizon_s, end_s - max(1, horizon_s // 4)], np.int64)
    counts, recent = np.zeros((n_items, len(kinds)), np.float32), np.zeros((n_items, 2), np.float32)
    n_users = np.zeros(n_items, np.float32)
    first_and_last_s = np.tile(np.array([2**31 - 1, -1], np.int32), (n_items, 1))
    events = (log.starts, log.items, log.times, log.kinds)
    compiled("compiled_features").item_statistics(events, recent_from, counts, recent, n_users, first_and_last_s)
    total = counts.sum(axis=1)
    has_events = total > 0
    columns = {
        "item_events": total,
        "item_recent": recent[:, 0],
        "item_latest": recent[:, 1],
        "item_trend": recent[:, 0] / np.maximum(total, 1) * (end_s / horizon_s),
        # Plus 1, so that items with few events are near 1.
        "item_turn": (recent[:, 1] + 1) / (recent[:, 0] / 4 + 1),
        "item_users": n_users,
        "item_again": total / np.maximum(n_users, 1),
        "item_first_age": np.where(has_events, end_s - first_and_last_s[:, 0], np.nan),
        "item_last_age": np.where(has_events, end_s - first_and_last_s[:, 1], np.nan),
        **{f"item_share_{kind}": counts[:, i] / np.maximum(total, 1) for i, kind in enumerate(kinds) if len(kinds) > 1},
    }
    return list(columns), np.stack([c.astype(np.float32) for c in columns.values()], axis=1)


def _category_codes(table: pl.DataFrame | None, n_rows: int) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Return the names of the text, Boolean and categorical columns, and their codes; -1 for null."""
    codes_by_column: dict[str, Any] = {}
    for series in table.get_columns() if table is not None else ():
        is_category = series.dtype in (pl.String, pl.Boolean, pl.Categorical) or isinstance(series.dtype, pl.Enum)
        if is_category and series.n_unique() <= MAX_CATEGORIES:
            ranks = series.cast(pl.String).rank("dense")
            codes_by_column[series.name] = (ranks.cast(pl.Int32) - 1).fill_null(-1).to_numpy()
    if not codes_by_column:
        return [], np.empty((n_rows, 0), np.int32)
    return list(codes_by_column), np.stack(list(codes_by_column.values()), axis=1)


def _numeric_columns(table: pl.DataFrame | None, n_rows: int) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Return the names and values of the numeric columns; NaN for null."""
    columns = [] if table is None else [s for s in table.get_columns() if s.dtype.is_numeric()]
    if not columns:
        return [], np.empty((n_rows, 0), np.float32)
    values = [s.cast(pl.Float32).fill_null(float("nan")).to_numpy() for s in columns]
    return [s.name for s in columns], np.stack(values, axis=1)


def _user_columns(table: pl.DataFrame | None, n_users: int) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Return the names and values of the user table's columns: numbers, then the others as codes; NaN for null."""
    number_names, numbers = _numeric_columns(table, n_users)
    code_names, codes = _category_codes(table, n_users)
    code_values = np.where(codes < 0, np.float32(np.nan), codes.astype(np.float32))
    return [*number_names, *code_names], np.concatenate([numbers, code_values], axis=1)
