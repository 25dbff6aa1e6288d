"""An experiment's problem on other folds: choices that were made on its own folds look too good there."""

from __future__ import annotations

from dataclasses import replace

from workbench.experiments.held_out import on_folds
from workbench.experiments.ready import ReadyExperiment
from workbench.models.folds import Folds, make_folds
from workbench.models.records import Problem
from workbench.models.row_weights import check_fold_weights

__all__ = ["on_other_folds"]

SEEDED = ("kfold", "stratified", "group", "stratified_group")
"""Schemes that assign rows to folds by a seed."""


def on_other_folds(experiment: ReadyExperiment, seed: int | None = None) -> Problem | None:
    """Return the problem on folds of another seed, or, for folds in time, with other cuts; None where there are none.

    There are none for custom folds, nor for so few groups that all seeds give the same folds.

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
    if cv.scheme in SEEDED:
        changed = replace(cv, seed=cv.seed + 1 if seed is None else seed)
    else:
        # One fold more moves every cut.
        changed = replace(cv, folds=cv.folds + 1)
    folds = make_folds(replace(competition, definition=replace(competition.definition, cv=changed)))
    if experiment.rows is not None:
        folds = folds.take(experiment.rows)
    if _parts(folds) == _parts(problem.folds):
        return None
    check_fold_weights(problem.target, folds)
    return on_folds(problem, folds)


def _parts(folds: Folds) -> set[bytes]:
    """Return the validated rows of each fold as a set, to compare folds regardless of their order."""
    return {folds.valid_rows(k).tobytes() for k in range(folds.n_folds)}
