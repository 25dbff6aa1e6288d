"""A log that a recommender can learn from: users with habits, and small settings that find them."""

from __future__ import annotations

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


def habits(n_users: int = 300, n_items: int = 120, weeks: int = 8, seed: int = 5) -> Interactions:
    """Users who buy the same few things each at its own pace, and others by chance: what is due tells what comes."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        for item in rng.choice(n_items, 6, replace=False):
            pace = rng.integers(2, 20)
            days = np.arange(rng.integers(0, pace), weeks * 7, pace) + rng.random() * 0.5
            rows += [(user, int(item), int(d * DAY), str(rng.choice(KINDS, p=[0.3, 0.5, 0.2]))) for d in days]
        for _ in range(15):
            item = int(n_items * rng.random() ** 2)
            rows.append((user, item, int(rng.random() * weeks * 7 * DAY), "clicks"))
    frame = pl.DataFrame(rows, schema=["user", "item", "time", "kind"], orient="row")
    return read_interactions(frame.lazy(), Columns("user", "item", "time", "kind"))
