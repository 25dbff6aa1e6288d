"""Test predictions of models trained on all train rows, one per target and seed, instead of the folds' models."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from workbench.core.context import SILENT, RunContext
from workbench.core.errors import ConfigError
from workbench.models.learner import ModelSpec
from workbench.models.records import FULL_DATA, FoldResult, Parts, Problem, TrainResult
from workbench.models.stopping_metrics import stopping_metric

__all__ = ["FULL_FIT_POWER", "FullFitLearner", "full_fit", "full_fit_rounds"]

FULL_FIT_POWER = 0.5
"""The rounds of a full fit are the folds' rounds times (all rows / rows of a fold) to this power.

Measured on hidden rows of 16 tables, 7 draws each (`python -m tests.bench rounds`), as the change of the loss against a
power of 0. With five folds, a ratio of 1.25: -0.3 % with the power 0.5 (standard error 0.3), -0.4 % with 0.75 (0.4),
-0.3 % with 1 (0.5). With two folds, a ratio of 2, as in folds by time: -0.8 % (0.8), -0.6 % (1.1) and +0.6 % (1.5).
"""


@runtime_checkable
class FullFitLearner(Protocol):
    """A learner that can train on all train rows."""

    @property
    def fixed_rounds(self) -> int | None:
        """The number of rounds of every model; None with early stopping."""
        ...

    def fit_full_data(self, seed: int, rounds: int) -> FoldResult:
        """Train on all train rows for this many rounds and predict the test rows.

        Returns
        -------
        FoldResult
            With fold `FULL_DATA` and an OOF without rows.
        """
        ...


def full_fit(
    problem: Problem,
    spec: ModelSpec,
    seeds: tuple[int, ...],
    result: TrainResult,
    *,
    parts: Parts | None = None,
    context: RunContext = SILENT,
) -> TrainResult:
    """Train on all train rows, for each target and seed, and return the result with these models' test predictions.

    Parameters
    ----------
    result : TrainResult
        The folds' result; its OOF is kept.
    parts, context
        As in `train`.

    Raises
    ------
    ConfigError
        When the kind of model can't be trained on all rows.
    """
    test = np.zeros_like(result.test)
    full_fits: list[FoldResult] = []
    n_models = len(problem.target.columns) * len(seeds)
    for index, target_slice in enumerate(problem.target.slices):
        learner = spec.learner(problem, index)
        if not isinstance(learner, FullFitLearner):
            raise ConfigError("refit = true: this kind of model can't be trained on all rows", hint="remove it")
        rounds = learner.fixed_rounds or full_fit_rounds(problem, [p for p in result.parts if p.target == index])
        for seed in seeds:
            model_result = parts.load(index, FULL_DATA, seed) if parts else None
            if model_result is None:
                model_result = learner.fit_full_data(seed, rounds)
                if parts:
                    parts.save(model_result)
                metric = stopping_metric(problem.metric, problem.target.columns[index].task)
                context.emit(model_result.as_event(n_models - len(full_fits) - 1, metric))
            full_fits.append(model_result)
            test[:, target_slice] += model_result.test / len(seeds)
    return replace(result, test=test, full_fits=tuple(full_fits))


def full_fit_rounds(problem: Problem, fold_results: list[FoldResult]) -> int:
    """Return the number of rounds for all rows: the folds' mean, more in the ratio of the rows; see `FULL_FIT_POWER`.

    With more rows a model overfits later, but not in proportion to the rows.
    """
    mean_train_rows = np.mean([len(problem.folds.train_rows(r.fold)) for r in fold_results])
    ratio = problem.folds.n_rows / mean_train_rows
    return max(1, round(float(np.mean([r.rounds for r in fold_results]) * ratio**FULL_FIT_POWER)))
