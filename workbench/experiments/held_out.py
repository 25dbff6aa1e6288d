"""Rows that a search does not see: what it chooses looks too good on the rows that it chose by, on whatever folds.

The rows of the last fold are held out, the newest where folds are of time. The search has the other folds, whose models
do not learn from these rows either; what it finds is then trained as that fold's models are, and scored on them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from workbench.core.errors import DataError
from workbench.models.folds import Folds
from workbench.models.records import Problem

__all__ = ["last_fold", "on_folds", "only_fold", "without_last_fold", "without_rows"]


def last_fold(problem: Problem) -> int:
    """Return the fold that is held out."""
    return problem.folds.n_folds - 1


def without_last_fold(problem: Problem) -> Problem | None:
    """Return the problem without the rows of its last fold; None where too little is left to search by."""
    folds = without_rows(problem.folds, problem.folds.valid_rows(last_fold(problem)))
    return None if folds is None or not _has_classes(problem, folds) else on_folds(problem, folds)


def only_fold(problem: Problem, fold: int) -> Problem:
    """Return the problem with one of its folds alone."""
    folds = problem.folds
    train = np.zeros((1, folds.n_rows), np.bool_)
    train[0, folds.train_rows(fold)] = True
    valid = np.where(folds.valid == fold, 0, -1).astype(np.int16)
    return on_folds(problem, Folds(valid, train, folds.scheme))


def without_rows(folds: Folds, rows: npt.NDArray[np.int64]) -> Folds | None:
    """Return the folds without some rows, on either side; those that validate nothing else are gone.

    None where no fold is left, or one has nothing to train on.
    """
    remaining = [k for k in range(folds.n_folds) if len(np.setdiff1d(folds.valid_rows(k), rows))]
    valid = np.full(folds.n_rows, -1, np.int16)
    train = np.zeros((len(remaining), folds.n_rows), np.bool_)
    for at, fold in enumerate(remaining):
        valid[folds.valid_rows(fold)] = at
        train[at, folds.train_rows(fold)] = True
    valid[rows], train[:, rows] = -1, False
    if not remaining:
        return None
    reduced = Folds(valid, train, folds.scheme)
    try:
        reduced.check()
    except DataError:
        return None
    return reduced


def on_folds(problem: Problem, folds: Folds) -> Problem:
    """Return the problem on other folds."""
    return replace(problem, folds=folds, split=replace(problem.split, valid=folds.valid, train=folds.train))


def _has_classes(problem: Problem, folds: Folds) -> bool:
    """Say whether each fold has two classes to train on and to validate."""
    classes = [c.values for c in problem.target.columns if c.classes is not None and c.task != "ranking"]
    sides = (side(k) for k in range(folds.n_folds) for side in (folds.train_rows, folds.valid_rows))
    return all(len(np.unique(values[rows])) > 1 for rows in sides for values in classes)
