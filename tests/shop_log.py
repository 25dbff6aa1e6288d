"""A random log of a shop, and the specifications of its columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from workbench.platforms.interactions import InteractionsSpec

DAY = 86_400
START = 1_700_000_000
LOG = InteractionsSpec("user", "item", "ts", 7 * DAY)
LOG_OF_KINDS = replace(LOG, kind="type", id="{user}_{kind}", weights={"clicks": 0.1, "carts": 0.3, "orders": 0.6})


def make_log(n: int = 1500, users: int = 60, seed: int = 3) -> pl.DataFrame:
    """Return events of 40 days in any order; users come late and leave early, and some times are equal."""
    rng = np.random.default_rng(seed)
    user = rng.integers(0, users, n)
    # Every third user begins in the last days.
    begin = np.where(user % 3 == 0, 33 * DAY, 0)
    ts = START + begin + rng.integers(0, 40 * DAY - begin, n) // 1800 * 1800
    kind = rng.choice(["clicks", "carts", "orders"], n, p=[0.7, 0.2, 0.1])
    return pl.DataFrame({"user": user + 100, "item": rng.integers(0, 50, n) + 7000, "ts": ts, "type": kind})
