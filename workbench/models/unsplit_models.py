"""What to say of boosted models without a single split: their scores look like those of columns that tell nothing."""

from __future__ import annotations

from collections.abc import Iterable

from workbench.models.learner import ModelSpec
from workbench.models.lightgbm.learner import LightGBMSpec
from workbench.models.records import FoldResult, Problem

__all__ = ["split_notes", "why_no_split"]

LEAST_IN_LEAF = 20
"""LightGBM's own min_data_in_leaf."""


def split_notes(problem: Problem, spec: ModelSpec, results: Iterable[FoldResult]) -> list[str]:
    """Say how many models have no split, and why."""
    # What has no rounds or no importance, as linear models, has no trees.
    trees = [r for r in results if r.rounds and r.importance]
    bare = [r for r in trees if not any(n for _, n in r.importance.values())]
    if not bare:
        return []
    which = "no model" if len(bare) == len(trees) else f"not every model ({len(trees) - len(bare)} of {len(trees)})"
    return [f"{which} has a split; without one all rows have the same prediction: {why_no_split(problem, spec)}"]


def why_no_split(problem: Problem, spec: ModelSpec) -> str:
    """Return why there may be none, and what to do."""
    if isinstance(spec, LightGBMSpec):
        least = spec.parameters.get("min_data_in_leaf", LEAST_IN_LEAF)
        fewest = min(len(problem.folds.train_rows(k)) for k in range(problem.folds.n_folds))
        if fewest < 2 * least:
            return f"each leaf needs min_data_in_leaf = {least} rows, and a fold trains on {fewest:,}; set it lower"
    return "the columns tell nothing of the target, or the parameters allow none"
