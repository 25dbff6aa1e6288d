"""One model per seed on all rows, in place of the folds' models, for the test predictions."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from workbench.core.context import SILENT, RunContext
from workbench.core.errors import ConfigError
from workbench.models.learner import ModelSpec
from workbench.models.records import ALL_ROWS, FoldResult, Parts, Problem, TrainResult

__all__ = ["ROWS_POWER", "FitsAll", "refit", "rounds_for_all"]

ROWS_POWER = 0.5
"""Of the ratio of all rows to those of a fold: how many rounds more they bear.

Hidden rows of 16 tables, 7 draws each (`python -m tests.bench rounds`), the loss against the folds' rounds as they
are: of five folds, a ratio of 1.25, -0.3 % with the power 0.5 (standard error 0.3), -0.4 % with 0.75 (0.4), -0.3 % with
1 (0.5); of two folds, a ratio of 2, as folds in time have, -0.8 % (0.8), -0.6 % (1.1) and +0.6 % (1.5).
"""


@runtime_checkable
class FitsAll(Protocol):
    """A learner that can train on all rows.

    Attributes
    ----------
    fixed_rounds : int, or None
        How many rounds every model has, whatever its rows; None where each stops at its best.
    """

    @property
    def fixed_rounds(self) -> int | None:
        """How many rounds every model has."""
        ...

    def fit_all(self, seed: int, rounds: int) -> FoldResult:
        """Train on all rows for so many rounds and predict the test rows.

        Returns
        -------
        FoldResult
            Its fold is `ALL_ROWS` and its OOF has no rows.
        """
        ...


def refit(
    problem: Problem,
    spec: ModelSpec,
    seeds: tuple[int, ...],
    result: TrainResult,
    *,
    parts: Parts | None = None,
    context: RunContext = SILENT,
) -> TrainResult:
    """Train on all rows, for each target and seed, and put these models' predictions of the test rows in place.

    Parameters
    ----------
    result : TrainResult
        Of the folds; its OOF stays as it is.
    parts, context
        As in `train`.

    Raises
    ------
    ConfigError
        When the kind of model has no such training.
    """
    test = np.zeros_like(result.test)
    full_fits: list[FoldResult] = []
    total = len(problem.target.columns) * len(seeds)
    for index, where in enumerate(problem.target.slices):
        learner = spec.learner(problem, index)
        if not isinstance(learner, FitsAll):
            raise ConfigError("refit = true: this kind of model can't be trained on all rows", hint="take it out")
        rounds = learner.fixed_rounds or rounds_for_all(problem, [p for p in result.parts if p.target == index])
        for seed in seeds:
            full_fit = parts.load(index, ALL_ROWS, seed) if parts else None
            if full_fit is None:
                full_fit = learner.fit_all(seed, rounds)
                if parts:
                    parts.save(full_fit)
                context.emit(full_fit.as_event(total - len(full_fits) - 1))
            full_fits.append(full_fit)
            test[:, where] += full_fit.test / len(seeds)
    return replace(result, test=test, full_fits=tuple(full_fits))


def rounds_for_all(problem: Problem, folds: list[FoldResult]) -> int:
    """Return the rounds for all rows: the mean of the folds' best, times the square root of the ratio of the rows.

    More rows bear more rounds before they are learned by heart, but not in proportion to them; see `ROWS_POWER`.
    """
    rows = np.mean([len(problem.folds.train_rows(p.fold)) for p in folds])
    ratio = problem.folds.n_rows / rows
    return max(1, round(float(np.mean([p.rounds for p in folds]) * ratio**ROWS_POWER)))
