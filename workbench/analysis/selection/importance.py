"""Parts that all selection methods share: models on all columns, importances, scores and standard errors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from workbench.analysis.selection.groups import Group
from workbench.core.context import SILENT, RunContext
from workbench.core.errors import FeatureError
from workbench.core.events import Event, ModelTrained
from workbench.core.intervals import standard_error
from workbench.experiments.ready import ReadyExperiment, lightgbm_of
from workbench.models.learner import Learner, ModelSpec
from workbench.models.lightgbm.learner import LightGBMSpec
from workbench.models.memory_estimate import MemoryEstimate
from workbench.models.records import Problem, TrainResult
from workbench.models.scoring import fold_scores
from workbench.models.train import train
from workbench.models.unsplit_models import no_split_reason

__all__ = [
    "FixedRounds",
    "GroupImportance",
    "Models",
    "SelectionScore",
    "by_group",
    "counting_models",
    "difference",
    "models_of",
    "scored",
    "selection_model",
]


@dataclass(frozen=True)
class SelectionScore:
    """The CV score of some columns.

    Attributes
    ----------
    folds : tuple of float
        The score of each fold.
    seconds : float
        The training time; 0 for the models of a finished run.
    rounds : tuple of int
        The mean number of rounds of each target's models.
    """

    folds: tuple[float, ...]
    seconds: float = 0.0
    rounds: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        """The mean score."""
        return float(np.mean(self.folds))

    @property
    def std(self) -> float:
        """The standard deviation over the folds."""
        return float(np.std(self.folds))

    def as_dict(self) -> dict[str, Any]:
        """Return the scores for JSON and TOML."""
        return {"mean": self.mean, "std": self.std, "folds": list(self.folds)}


@dataclass(frozen=True)
class GroupImportance:
    """A group of columns with its importance, and whether to keep it.

    Attributes
    ----------
    importance, spread : float
        The importance in the method's unit, and its standard deviation over folds and repeats.
    keep : bool
    more : dict
        Further figures of the method: "splits", "p", "shuffled".
    """

    group: Group
    importance: float
    spread: float
    keep: bool
    more: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Models:
    """The models on all columns and their score: those of a finished run, or trained now.

    Attributes
    ----------
    texts : dict
        (target, fold, seed) -> LightGBM's text.
    rounds : dict
        (target, fold) -> the mean number of rounds over the seeds.
    importance : dict
        (fold, seed) -> column -> (gain, splits), summed over the targets.
    score : SelectionScore
    """

    texts: dict[tuple[int, int, int], str]
    rounds: dict[tuple[int, int], int]
    importance: dict[tuple[int, int], dict[str, tuple[float, float]]]
    score: SelectionScore


def models_of(experiment: ReadyExperiment, context: RunContext = SILENT) -> Models:
    """Return the experiment's models: those of its finished run if nothing changed since, else trained now."""
    if experiment.finished is not None:
        names = {re.sub(r"[tfs]", "", name): text for name, text in experiment.finished.models.items()}
        texts = {_target_fold_seed(name): text for name, text in names.items()}
        return _models(experiment, texts, SelectionScore(tuple(experiment.finished.record.fold_scores)))
    result, score = scored(experiment, experiment.problem, experiment.model, context=context)
    return _models(experiment, {(p.target, p.fold, p.seed): p.model for p in result.parts}, score)


def selection_model(experiment: ReadyExperiment) -> LightGBMSpec:
    """Return an experiment's LightGBM model.

    Raises
    ------
    ConfigError
        When it has another kind of model.
    """
    return lightgbm_of(
        experiment,
        because="columns are judged by LightGBM's trees",
        hint="select with an experiment that has [model], and name its list in this one",
    )


def _target_fold_seed(name: str) -> tuple[int, int, int]:
    """Parse a model's name such as "0-3-1"."""
    target, fold, seed = name.split("-", 2)
    return int(target), int(fold), int(seed)


def _models(
    experiment: ReadyExperiment, text_by_model: dict[tuple[int, int, int], str], score: SelectionScore
) -> Models:
    """Read rounds and importances from the models' texts."""
    import lightgbm as lgb

    problem = experiment.problem
    rounds: dict[tuple[int, int], list[int]] = {}
    importance_by_model: dict[tuple[int, int], dict[str, tuple[float, float]]] = {}
    for (target, fold, seed), text in text_by_model.items():
        # Gains have fewer digits in the text: it is also read for models trained now, so that both give the same.
        booster = lgb.Booster(model_str=text)
        matrix = problem.matrix
        fold_names = (n for c in matrix.fold_columns for n in c.names(problem.target.columns, target))
        names = [*matrix.columns, *fold_names]
        gains, splits = booster.feature_importance("gain"), booster.feature_importance("split")
        model_importance = importance_by_model.setdefault((fold, seed), {})
        for name, gain, n_splits in zip(names, gains, splits, strict=True):
            total_gain, total_splits = model_importance.get(name, (0.0, 0.0))
            model_importance[name] = (total_gain + float(gain), total_splits + float(n_splits))
        rounds.setdefault((target, fold), []).append(booster.current_iteration())
    if not any(n_splits for columns in importance_by_model.values() for _, n_splits in columns.values()):
        raise FeatureError(
            f"no model of {experiment.spec.path} has a split, so its columns have no importance",
            hint=no_split_reason(problem, experiment.model),
        )
    fold_rounds = {key: max(1, round(sum(n) / len(n))) for key, n in rounds.items()}
    target_rounds = mean_rounds((target, n) for (target, _), n in fold_rounds.items())
    return Models(text_by_model, fold_rounds, importance_by_model, replace(score, rounds=target_rounds))


def counting_models(context: RunContext, text: str) -> RunContext:
    """Return a context that reports the number of trained models as progress of `context`, instead of each model."""
    n_trained = 0

    def listen(event: Event) -> None:
        nonlocal n_trained
        if isinstance(event, ModelTrained):
            n_trained += 1
            context.progress(n_trained, n_trained + event.remaining, text)

    return replace(context, listeners=(listen,))


def scored(
    experiment: ReadyExperiment,
    problem: Problem,
    model: ModelSpec,
    *,
    context: RunContext = SILENT,
) -> tuple[TrainResult, SelectionScore]:
    """Train over the folds of a problem, the experiment's or one derived from it, and score like a run.

    Raises
    ------
    MemoryLimitError
        Before training, if it would exceed the experiment's memory limit.
    """
    max_folds = experiment.plan_memory(problem, model).max_folds
    result = train(problem, model, experiment.spec.seeds, max_in_memory=max_folds, context=context)
    folds = fold_scores(problem.target, problem.folds, result.oof, problem.metric)
    rounds = mean_rounds((p.target, p.rounds) for p in result.parts)
    return result, SelectionScore(folds, sum(p.seconds for p in result.parts), rounds)


def mean_rounds(targets_and_rounds: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    """Return the mean rounds of each target's models, at least 1; the argument yields both for each model."""
    rounds_by_target: dict[int, list[int]] = {}
    for target, rounds in targets_and_rounds:
        rounds_by_target.setdefault(target, []).append(rounds)
    return tuple(max(1, round(float(np.mean(rounds)))) for _, rounds in sorted(rounds_by_target.items()))


@dataclass(frozen=True)
class FixedRounds:
    """A model with a fixed number of rounds for each target."""

    model: LightGBMSpec
    rounds: tuple[int, ...]

    @property
    def power(self) -> int:
        """As in the model."""
        return self.model.power

    @property
    def transform(self) -> str:
        """As in the model."""
        return self.model.transform

    def content(self) -> dict[str, Any]:
        """Return everything that determines the result."""
        return self.model.content() | {"rounds": list(self.rounds), "patience": 0}

    def memory_estimate(self, problem: Problem, seeds: Sequence[int]) -> MemoryEstimate:
        """Estimate the memory of the training at its peak."""
        return self.model.memory_estimate(problem, seeds)

    def learner(self, problem: Problem, index: int) -> Learner:
        """Return the learner of target number `index`."""
        return replace(self.model, rounds=self.rounds[index], patience=0).learner(problem, index)


def by_group(groups: Iterable[Group], value_by_column: dict[str, float]) -> dict[str, float]:
    """Return the sum over the columns of each group, by the group's name."""
    return {g.name: math.fsum(value_by_column[c] for c in g.columns if c in value_by_column) for g in groups}


def difference(a: Sequence[float], b: Sequence[float], size_ratio: float | None = None) -> tuple[float, float]:
    """Return the mean of ``a - b``, paired by fold, and its standard error from `workbench.core.intervals`.

    With one fold the standard error is 0.

    Parameters
    ----------
    size_ratio : float, optional
        Validation rows over train rows, the mean over the folds; None for k-fold CV.

    Examples
    --------
    >>> difference([0.8, 0.7, 0.9], [0.7, 0.6, 0.8])
    (0.1, 0.0)
    """
    differences = [x - y for x, y in zip(a, b, strict=True)]
    error = standard_error(differences, size_ratio) if len(differences) > 1 else 0.0
    return round(math.fsum(differences) / len(differences), 15), round(error, 15)
