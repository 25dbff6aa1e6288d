"""The holdout of a search: the validated rows of the last fold, which are the newest rows for folds in time.

Scores on rows that a search used are optimistic. Therefore, a search uses the other folds, and does not train on the
held-out rows either. Its result is then trained like the last fold's models, and scored on the held-out rows.
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
    """Return the number of the fold whose validated rows are held out."""
    return problem.folds.n_folds - 1


def without_last_fold(problem: Problem) -> Problem | None:
    """Return the problem without the validated rows of its last fold; None if too few folds or classes remain."""
    folds = without_rows(problem.folds, problem.folds.valid_rows(last_fold(problem)))
    return None if folds is None or not _has_classes(problem, folds) else on_folds(problem, folds)


def only_fold(problem: Problem, fold: int) -> Problem:
    """Return the problem with only one of its folds."""
    folds = problem.folds
    train = np.zeros((1, folds.n_rows), np.bool_)
    train[0, folds.train_rows(fold)] = True
    valid = np.where(folds.valid == fold, 0, -1).astype(np.int16)
    return on_folds(problem, Folds(valid, train, folds.scheme))


def without_rows(folds: Folds, rows: npt.NDArray[np.int64]) -> Folds | None:
    """Return the folds without some rows, neither for training nor for validation; empty folds are removed.

    None if no fold remains, or one has no train rows.
    """
    remaining = [k for k in range(folds.n_folds) if len(np.setdiff1d(folds.valid_rows(k), rows))]
    valid = np.full(folds.n_rows, -1, np.int16)
    train = np.zeros((len(remaining), folds.n_rows), np.bool_)
    for index, fold in enumerate(remaining):
        valid[folds.valid_rows(fold)] = index
        train[index, folds.train_rows(fold)] = True
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
    """Return whether the train rows and the validated rows of each fold have at least two classes."""
    classes = [c.values for c in problem.target.columns if c.classes is not None and c.task != "ranking"]
    row_sets = (rows_of(k) for k in range(folds.n_folds) for rows_of in (folds.train_rows, folds.valid_rows))
    return all(len(np.unique(values[rows])) > 1 for rows in row_sets for values in classes)
