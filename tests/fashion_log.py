"""A log with unpredictable fashions, by a seed: each week has newly drawn fashionable items.

Users buy a few items of their own, and the week's fashionable ones. A ranker with features that identify items learns the
fashions of the week of its labels, which help for other users of that week, but not for the next week.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from workbench.recommender import Columns, Interactions, Tables, read_interactions

__all__ = ["DAY_S", "WEEK_S", "make_fashions"]

DAY_S = 24 * 3600
WEEK_S = 7 * DAY_S


def make_fashions(
    users: int = 400, items: int = 100, *, weeks: int = 12, fashions: int = 4, seed: int = 1
) -> tuple[Interactions, Tables]:
    """Return the log, and a table of items with two random numbers that identify each item."""
    rng = np.random.default_rng(seed)
    own = np.stack([rng.choice(items, 5, replace=False) for _ in range(users)])
    parts = []
    for week in range(weeks):
        in_fashion = rng.choice(items, fashions, replace=False)
        for chosen, share in ((own, 0.35), (np.stack([rng.choice(in_fashion, 3, replace=False) for _ in own]), 0.9)):
            who, which = np.nonzero(rng.random(chosen.shape) < share)
            at = week * WEEK_S + rng.integers(0, WEEK_S, len(who))
            parts.append(pl.DataFrame({"user": who, "item": chosen[who, which], "time": at}))
    frame = pl.concat(parts).sort("time", "user", "item")
    log = read_interactions(frame.lazy(), Columns("user", "item", "time"))
    numbers = pl.DataFrame({"item": range(items), "shade": rng.random(items), "size": rng.random(items)})
    table = pl.DataFrame({"item": log.item_ids.values}).join(numbers, on="item", how="left", maintain_order="left")
    return log, Tables(items=table.drop("item"))
