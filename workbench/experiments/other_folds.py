"""An experiment's problem on other folds, for scores of choices that were made on its own folds."""

from __future__ import annotations

from dataclasses import replace

from workbench.experiments.held_out import on_folds
from workbench.experiments.ready import ReadyExperiment
from workbench.models.folds import Folds, make_folds
from workbench.models.records import Problem
from workbench.models.row_weights import check_fold_weights

__all__ = ["on_other_folds"]

SEEDED_SCHEMES = ("kfold", "stratified", "group", "stratified_group")
"""Schemes that assign rows to folds by a seed."""


WINDOW_SHIFT = 0.5
"""Other windows of time lie half their length earlier."""


def on_other_folds(experiment: ReadyExperiment, seed: int | None = None) -> Problem | None:
    """Return the problem on folds of another seed, or with other boundaries for folds in time; None if none exist.

    Custom folds have no others, nor do so few groups that all seeds give the same folds.

    Parameters
    ----------
    experiment : ReadyExperiment
    seed : int, optional
        The other seed; by default the one after the competition's.
    """
    competition, problem = experiment.competition, experiment.problem
    cv = competition.definition.cv
    if cv.scheme == "custom":
        return None
    if cv.scheme in SEEDED_SCHEMES:
        changed_cv = replace(cv, seed=cv.seed + 1 if seed is None else seed)
    elif cv.horizon is not None:
        changed_cv = cv
    else:
        # An additional fold moves all boundaries.
        changed_cv = replace(cv, folds=cv.folds + 1)
    changed = replace(competition, definition=replace(competition.definition, cv=changed_cv))
    folds = make_folds(changed, shift=0 if cv.horizon is None else WINDOW_SHIFT)
    if experiment.sampled_rows is not None:
        folds = folds.take(experiment.sampled_rows)
    if _validated_row_sets(folds) == _validated_row_sets(problem.folds):
        return None
    check_fold_weights(problem.target, folds)
    return on_folds(problem, folds)


def _validated_row_sets(folds: Folds) -> set[bytes]:
    """Return the set of the folds' validated rows, which does not depend on the order of the folds."""
    return {folds.valid_rows(k).tobytes() for k in range(folds.n_folds)}
