"""A log in MovieLens' shape, from a seed: each film once a user, tastes of few dimensions, a long tail, fashions.

MovieLens 1M (its README): 1,000,209 ratings of 3,706 films by 6,040 users, 20 at least and 96 in the median.
"""

from __future__ import annotations

import numpy as np
import polars as pl

__all__ = ["make_films"]

DAY_S = 24 * 3600
TASTES = 12
GENRES = 18


def make_films(users: int = 6_040, films: int = 3_700, *, days: int = 1_000, seed: int = 1) -> pl.DataFrame:
    """Return user, item, time (seconds) and the film's genre, in the order of time."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(GENRES, TASTES))
    genre = rng.integers(0, GENRES, films)
    film_tastes = centres[genre] + 0.7 * rng.normal(size=(films, TASTES))
    fame = 1.1 * rng.normal(size=films)
    released = np.where(rng.random(films) < 0.8, 0.0, rng.random(films) * days)
    parts = []
    for user in range(users):
        n = int(np.clip(np.exp(4.55 + 0.95 * rng.standard_normal()), 20, films // 3))
        taste = rng.normal(size=TASTES) * 0.55
        begin = rng.random() * days * 0.95
        span = min(days - begin, np.exp(rng.normal(3.0, 1.5)))
        out = released <= begin + span
        wish = film_tastes @ taste + fame + rng.gumbel(size=films) - 1e9 * ~out
        seen = np.argpartition(-wish, n)[:n]
        # What is alike is seen one after the other, more or less.
        mood = film_tastes[seen] @ rng.normal(size=TASTES) + 1.5 * rng.normal(size=n)
        at = np.sort(rng.random(n) ** 1.5 * span + begin)
        order = seen[np.argsort(mood)]
        parts.append(pl.DataFrame({"user": np.full(n, user), "item": order, "time": (at * DAY_S).astype(np.int64)}))
    log = pl.concat(parts).with_columns(genre=pl.Series(genre).gather(pl.concat(parts)["item"]))
    return log.sort("time", "user", "item")
