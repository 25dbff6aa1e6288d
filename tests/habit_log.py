"""A log of users who buy the same items periodically, and small settings with which a recommender learns that."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl

from workbench.recommender import (
    Columns,
    Covisit,
    CovisitSource,
    HistorySource,
    Interactions,
    PopularSource,
    read_interactions,
)

DAY = 86_400
KINDS = ("carts", "clicks", "orders")
SOURCES = {
    "history": HistorySource(top=20),
    "near": CovisitSource(top=20, counts=Covisit(window_s=5 * DAY, top=10)),
    "popular": PopularSource(top=10),
}
SMALL_RANKER = {"num_iterations": 20, "num_leaves": 7, "min_data_in_leaf": 20}


def make_habit_log(n_users: int = 300, n_items: int = 120, weeks: int = 8, seed: int = 5) -> Interactions:
    """Return a log in which each user buys six items, each at its own interval, and other items at random."""
    events = _make_events(n_users, n_items, weeks, seed)
    return read_interactions(events.lazy(), Columns("user", "item", "time", "kind"))


@cache
def _make_events(n_users: int, n_items: int, weeks: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        for item in rng.choice(n_items, 6, replace=False):
            interval_days = rng.integers(2, 20)
            days = np.arange(rng.integers(0, interval_days), weeks * 7, interval_days) + rng.random() * 0.5
            rows += [(user, int(item), int(d * DAY), str(rng.choice(KINDS, p=[0.3, 0.5, 0.2]))) for d in days]
        for _ in range(15):
            item = int(n_items * rng.random() ** 2)
            rows.append((user, item, int(rng.random() * weeks * 7 * DAY), "clicks"))
    return pl.DataFrame(rows, schema=["user", "item", "time", "kind"], orient="row")
