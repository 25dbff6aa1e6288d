"""The parts that all methods share: the models of the whole experiment, importances, scores, standard errors."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
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
from workbench.models.memory_estimate import MemoryNeeds
from workbench.models.records import Problem, TrainResult
from workbench.models.scoring import fold_scores
from workbench.models.train import train
from workbench.models.unsplit_models import why_no_split

__all__ = [
    "FixedRounds",
    "GroupImportance",
    "Models",
    "SelectionScore",
    "by_group",
    "counting_models",
    "difference",
    "judging_model",
    "models_of",
    "scored",
]


@dataclass(frozen=True)
class SelectionScore:
    """The CV of some columns.

    Attributes
    ----------
    folds : tuple of float
        The score of each fold.
    seconds : float
        The training time; 0 where a finished run was used.
    rounds : tuple of int
        The mean number of rounds of each target's models.
    """

    folds: tuple[float, ...]
    seconds: float = 0.0
    rounds: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        """The mean over the folds."""
        return float(np.mean(self.folds))

    @property
    def std(self) -> float:
        """The spread over the folds."""
        return float(np.std(self.folds))

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON and TOML."""
        return {"mean": self.mean, "std": self.std, "folds": list(self.folds)}


@dataclass(frozen=True)
class GroupImportance:
    """A group of columns, its importance by a method, and whether to keep it.

    Attributes
    ----------
    importance, spread : float
        In the method's unit, and its standard deviation over folds (and repeats).
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
    """The models of the whole experiment and their score: of its finished run, or trained now.

    Attributes
    ----------
    texts : dict
        (target, fold, seed) -> LightGBM's text.
    rounds : dict
        (target, fold) -> the number of rounds, the mean over the seeds.
    importance : dict
        (fold, seed) -> column -> (gain, splits), summed over the targets.
    """

    texts: dict[tuple[int, int, int], str]
    rounds: dict[tuple[int, int], int]
    importance: dict[tuple[int, int], dict[str, tuple[float, float]]]
    scored: SelectionScore


def models_of(
    experiment: ReadyExperiment, context: RunContext = SILENT, *, each_round: Callable[[], None] = lambda: None
) -> Models:
    """Return the experiment's models: of its finished run if nothing changed since, else trained now."""
    if experiment.finished is not None:
        names = {re.sub(r"[tfs]", "", name): text for name, text in experiment.finished.models.items()}
        texts = {_numbers(name): text for name, text in names.items()}
        return _read(experiment, texts, SelectionScore(tuple(experiment.finished.record.fold_scores)))
    result, score = scored(experiment, experiment.problem, experiment.model, context=context, each_round=each_round)
    return _read(experiment, {(p.target, p.fold, p.seed): p.model for p in result.parts}, score)


def judging_model(experiment: ReadyExperiment) -> LightGBMSpec:
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


def _numbers(name: str) -> tuple[int, int, int]:
    target, fold, seed = name.split("-", 2)
    return int(target), int(fold), int(seed)


def _read(experiment: ReadyExperiment, texts: dict[tuple[int, int, int], str], score: SelectionScore) -> Models:
    import lightgbm as lgb

    problem = experiment.problem
    rounds: dict[tuple[int, int], list[int]] = {}
    importance: dict[tuple[int, int], dict[str, tuple[float, float]]] = {}
    for (target, fold, seed), text in texts.items():
        # Always read from the text, which has fewer digits of the gains: both sources must agree.
        booster = lgb.Booster(model_str=text)
        matrix = problem.matrix
        fold_names = (n for c in matrix.fold_columns for n in c.names(problem.target.columns, target))
        names = [*matrix.columns, *fold_names]
        gains, splits = booster.feature_importance("gain"), booster.feature_importance("split")
        model_importance = importance.setdefault((fold, seed), {})
        for name, gain, n in zip(names, gains, splits, strict=True):
            before = model_importance.get(name, (0.0, 0.0))
            model_importance[name] = (before[0] + float(gain), before[1] + float(n))
        rounds.setdefault((target, fold), []).append(booster.current_iteration())
    if not any(n for model_importance in importance.values() for _, n in model_importance.values()):
        raise FeatureError(
            f"no model of {experiment.spec.path} has a split, so its columns have no importance",
            hint=why_no_split(problem, experiment.model),
        )
    means = {key: max(1, round(sum(n) / len(n))) for key, n in rounds.items()}
    of_targets = mean_rounds((target, n) for (target, _), n in means.items())
    return Models(texts, means, importance, replace(score, rounds=of_targets))


def counting_models(context: RunContext, text: str) -> RunContext:
    """Return a context that is told of models in training, and tells `context` how many of them are trained."""
    done = 0

    def listen(event: Event) -> None:
        nonlocal done
        if isinstance(event, ModelTrained):
            done += 1
            context.progress(done, done + event.remaining, text)

    return replace(context, listeners=(listen,))


def scored(
    experiment: ReadyExperiment,
    problem: Problem,
    model: ModelSpec,
    *,
    context: RunContext = SILENT,
    each_round: Callable[[], None] = lambda: None,
) -> tuple[TrainResult, SelectionScore]:
    """Train over the folds of a problem, the experiment's or one derived from it, and score as a run does.

    Raises
    ------
    MemoryLimitError
        Before training, where that would exceed the experiment's memory limit.
    """
    granted = experiment.ask_memory(problem, model)
    result = train(problem, model, experiment.spec.seeds, held=granted.held, context=context, each_round=each_round)
    folds = fold_scores(problem.target, problem.folds, result.oof, problem.metric)
    rounds = mean_rounds((p.target, p.rounds) for p in result.parts)
    return result, SelectionScore(folds, sum(p.seconds for p in result.parts), rounds)


def mean_rounds(models: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    """Return the mean rounds of each target's models, at least one; `models` has each model's target and rounds."""
    of_target: dict[int, list[int]] = {}
    for target, rounds in models:
        of_target.setdefault(target, []).append(rounds)
    return tuple(max(1, round(float(np.mean(of_target[target])))) for target in sorted(of_target))


@dataclass(frozen=True)
class FixedRounds:
    """A model with a fixed number of rounds for each target."""

    model: LightGBMSpec
    rounds: tuple[int, ...]

    @property
    def power(self) -> int:
        """The power of the rows' weights by their target."""
        return self.model.power

    @property
    def transform(self) -> str:
        """The transform of the target."""
        return self.model.transform

    def content(self) -> dict[str, Any]:
        """Return what decides the result."""
        return self.model.content() | {"rounds": list(self.rounds), "patience": 0}

    def needs(self, problem: Problem, seeds: Sequence[int]) -> MemoryNeeds:
        """Foresee what the training takes at its peak."""
        return self.model.needs(problem, seeds)

    def learner(self, problem: Problem, index: int) -> Learner:
        """Return what trains the models of target number `index`."""
        return replace(self.model, rounds=self.rounds[index], patience=0).learner(problem, index)


def by_group(groups: Iterable[Group], of_columns: dict[str, float]) -> dict[str, float]:
    """Return the sum over each group's columns."""
    return {g.name: math.fsum(of_columns[c] for c in g.columns if c in of_columns) for g in groups}


def difference(a: Sequence[float], b: Sequence[float], ratio: float | None = None) -> tuple[float, float]:
    """Return the mean of ``a - b``, paired by fold, and its standard error as `workbench.core.intervals` has it.

    With one fold the standard error is 0.

    Parameters
    ----------
    ratio : float, optional
        Validated rows over train rows, the mean over the folds; None for folds dealt from all rows.

    Examples
    --------
    >>> difference([0.8, 0.7, 0.9], [0.7, 0.6, 0.8])
    (0.1, 0.0)
    """
    d = [x - y for x, y in zip(a, b, strict=True)]
    error = standard_error(d, ratio) if len(d) > 1 else 0.0
    return round(math.fsum(d) / len(d), 15), round(error, 15)
