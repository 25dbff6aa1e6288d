"""Notes on boosted models without a single split, whose predictions are constant."""

from __future__ import annotations

from collections.abc import Iterable

from workbench.models.learner import ModelSpec
from workbench.models.lightgbm.learner import LightGBMSpec
from workbench.models.records import FoldResult, Problem

__all__ = ["no_split_reason", "unsplit_notes"]

DEFAULT_MIN_DATA_IN_LEAF = 20
"""LightGBM's default."""


def unsplit_notes(problem: Problem, spec: ModelSpec, results: Iterable[FoldResult]) -> list[str]:
    """Return a note if some models have no split, with the number of them and a reason."""
    # Models without rounds or importance, such as linear ones, have no trees.
    tree_models = [r for r in results if r.rounds and r.importance]
    n_split = sum(any(splits for _, splits in r.importance.values()) for r in tree_models)
    if n_split == len(tree_models):
        return []
    which = "no model" if not n_split else f"not every model ({n_split} of {len(tree_models)})"
    return [f"{which} has a split; without one all rows have the same prediction: {no_split_reason(problem, spec)}"]


def no_split_reason(problem: Problem, spec: ModelSpec) -> str:
    """Return a likely reason why models have no split, and what to do."""
    if isinstance(spec, LightGBMSpec):
        min_rows = spec.parameters.get("min_data_in_leaf", DEFAULT_MIN_DATA_IN_LEAF)
        smallest_fold = min(len(problem.folds.train_rows(k)) for k in range(problem.folds.n_folds))
        if smallest_fold < 2 * min_rows:
            return (
                f"each leaf needs min_data_in_leaf = {min_rows} rows, and a fold trains on {smallest_fold:,}; "
                "set it lower"
            )
    return "the columns tell nothing of the target, or the parameters allow none"
