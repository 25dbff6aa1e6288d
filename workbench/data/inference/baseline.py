"""The first model's settings, by the size of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Baseline", "find_baseline"]


@dataclass(frozen=True)
class Baseline:
    """The seeds and LightGBM's parameters of the first experiment, and a word on why."""

    seeds: tuple[int, ...]
    model: dict[str, Any]
    why: str


SMALL, MIDDLE, LARGE = 5_000, 20_000, 1_000_000


def find_baseline(n_train: int) -> Baseline:
    """Return settings for so many train rows.

    The fewer rows, the smaller the trees, the slower the rate and the more seeds; a part of the columns per tree helps
    at every size. Found by trying, on held-out rows of a dozen tables of 300 to 200,000 rows.
    """
    model: dict[str, Any]
    if n_train < SMALL:
        model = {
            "learning_rate": 0.03,
            "num_leaves": 12,
            "min_data_in_leaf": 20,
            "feature_fraction": 0.6,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
        }
        rounds = {"num_iterations": 3000, "early_stopping_round": 150}
        return Baseline((1, 2, 3), model | rounds, f", for {n_train:,} rows: small trees, several seeds")
    if n_train < LARGE:
        model = {"learning_rate": 0.05, "num_leaves": 31 if n_train < MIDDLE else 63, "feature_fraction": 0.8}
        rounds = {"num_iterations": 2000, "early_stopping_round": 100}
        return Baseline((1,), model | rounds, f", for {n_train:,} rows")
    model = {"learning_rate": 0.1, "num_leaves": 127, "feature_fraction": 0.8}
    return Baseline((1,), model | {"num_iterations": 1500, "early_stopping_round": 50}, f", for {n_train:,} rows")
