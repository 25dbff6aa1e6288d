"""An experiment that runs within a second on a small competition (`tests.small`)."""

from __future__ import annotations

from typing import Any

QUICK = "[model]\nlearning_rate = 0.3\nnum_leaves = 7\nnum_iterations = 20\nmin_data_in_leaf = 5\nearly_stopping_round = 5\n"
ALL = 'features = ["rows", "ratio", "doubled", "town_size", "te_town"]\n'


def quick(made: Any, number: int = 1, head: str = 'title = "quick"\n' + ALL) -> Any:
    made.experiment(number, head + QUICK)
    return made.open.run(number)
