"""The columns of one target's models that depend on the fold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from workbench.models.records import ALL_ROWS, Problem

if TYPE_CHECKING:
    from workbench.features import FoldFrames

__all__ = ["OwnColumns"]


class OwnColumns:
    """Makes them, and keeps those of the fold that was asked for last, for its next seed.

    Parameters
    ----------
    problem : Problem
    index : int
        Of the target.
    """

    def __init__(self, problem: Problem, index: int) -> None:
        self.problem = problem
        self.index = index
        self._learned: FoldFrames | None = None
        self._kept: dict[int, pl.DataFrame] = {}

    def frame(self, fold: int) -> pl.DataFrame:
        """Return them for all train and test rows; `ALL_ROWS` is a fold, too."""
        if fold not in self._kept:
            self._kept.clear()  # the fold before goes first: two of them may not fit
            number = self.problem.folds.n_folds if fold == ALL_ROWS else fold
            self._kept[fold] = self._frames(fold).frame(number)
        return self._kept[fold]

    def _frames(self, fold: int) -> FoldFrames:
        matrix, targets, split = self.problem.matrix, self.problem.target.columns, self.problem.split
        if fold == ALL_ROWS:
            return matrix.learned(targets, self.index, split.with_all())
        if self._learned is None:
            self._learned = matrix.learned(targets, self.index, split)
        return self._learned
