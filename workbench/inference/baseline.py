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


def find_baseline(n_train: int) -> Baseline:
    """Return settings for so many train rows: the fewer rows, the smaller and slower the trees, and more seeds."""
    return Baseline(
        (1,),
        {"learning_rate": 0.05, "num_leaves": 31, "num_iterations": 2000, "early_stopping_round": 100},
        f", for {n_train:,} rows",
    )
