"""Units of work: values that any process with the same workspace can run, each to the same result, bit for bit.

A unit is made of texts and numbers, so that JSON can carry it. Its result depends on nothing else than the unit and the
workspace's data and code, whose keys it has: a process whose workspace differs refuses it.

The results of a run's `FoldUnit` are saved in the run's parts (`FoldParts`); the run then continues from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from workbench.core.cache import file_sha256
from workbench.core.context import SILENT, RunContext
from workbench.core.errors import DataError
from workbench.data.competition import Competition, load_competition
from workbench.data.workspace import Workspace
from workbench.experiments.ready import ReadyExperiment, lightgbm_of, ready
from workbench.experiments.runner import DEFAULT_REQUEST, RunRequest
from workbench.features import Blocks, load_features
from workbench.models.lightgbm.fold_scorer import Fidelity, FoldScore, FoldScorer
from workbench.models.records import FoldResult, Parts, TrainingState
from workbench.models.units import train_unit

__all__ = [
    "BuiltFeature",
    "FeatureUnit",
    "FoldUnit",
    "TrialResult",
    "TrialUnit",
    "feature_units",
    "fold_units",
    "run_units",
    "save_result",
]

FIRST_STAGE = 1
"""The stage of a fold's training in `FoldParts`; a second stage learns from the predictions of the first."""

Result_co = TypeVar("Result_co", covariant=True)
Result = TypeVar("Result")


class WorkUnit(Protocol[Result_co]):
    """A unit of work."""

    def run(self) -> Result_co:
        """Do the work and return its result."""
        ...


@dataclass(frozen=True, kw_only=True)
class ExperimentUnit:
    """The fields of units that train on an experiment's columns.

    Attributes
    ----------
    workspace : str
        The workspace's folder.
    competition : str
        Its slug.
    exp : int
    key : str
        The run's key.
    sample, model
        See `RunRequest`.
    threads : int, or None
        See `RunContext`.
    memory_limit : int, or None
        In bytes, see `Workspace`.
    """

    workspace: str
    competition: str
    exp: int
    key: str
    sample: float | None = None
    model: dict[str, Any] | None = None
    threads: int | None = None
    memory_limit: int | None = None

    def experiment(self) -> ReadyExperiment:
        """Return the experiment, which is read once for consecutive units.

        Raises
        ------
        DataError
            When the workspace's data, code or experiment differ from those that the unit was made from.
        MemoryLimitError
            When the training would take more memory than it may.
        """
        # With the key: a process reads the experiment again for units that are made after a change.
        fields = ("workspace", "competition", "exp", "key", "sample", "model", "threads", "memory_limit")
        experiment = _read_experiment(json.dumps({name: getattr(self, name) for name in fields}))
        if experiment.key != self.key:
            raise DataError(
                f"experiment {self.exp} of {self.competition!r} in {self.workspace} is not the one that this work was "
                "made from: its data, code or parameters differ",
                hint="make the units again from the present workspace",
            )
        return experiment


@dataclass(frozen=True, kw_only=True)
class FoldUnit(ExperimentUnit):
    """The training of the model of one target, fold and seed."""

    target: int
    fold: int
    seed: int

    def run(self) -> FoldResult | TrainingState:
        """Train the model, as far as no other fold is needed; see `train_unit`."""
        experiment = self.experiment()
        return train_unit(experiment.model.learner(experiment.problem, self.target), self.fold, self.seed)


class TrialResult(NamedTuple):
    """The mean score of a trial over its folds, and the folds' own in the order of the unit's `folds`."""

    score: float
    folds: tuple[FoldScore, ...]


@dataclass(frozen=True, kw_only=True)
class TrialUnit(ExperimentUnit):
    """A trial: the score of a parameter set, as a search computes it without pruning or a time limit.

    Attributes
    ----------
    parameters : dict
        LightGBM's, by their primary names; the experiment has all others.
    folds : list of int
    seed : int
    learning_rate, rounds, patience, evaluation_interval, row_share
        See `Fidelity`.
    """

    parameters: dict[str, Any]
    folds: list[int]
    seed: int = 1
    learning_rate: float | None = None
    rounds: int
    patience: int = 0
    evaluation_interval: int = 1
    row_share: float = 1.0

    def run(self) -> TrialResult:
        """Train on each fold and return the scores, with OOF.

        Raises
        ------
        TrainingError
            When LightGBM rejects the parameters, or the metric can't be computed.
        MemoryLimitError
            When the training with these parameters would exceed the memory limit.
        """
        fidelity = Fidelity(self.learning_rate, self.rounds, self.patience, self.evaluation_interval, self.row_share)
        experiment = self.experiment()
        model = lightgbm_of(experiment, because="trials are of LightGBM", hint="choose an experiment with [model]")
        experiment.plan_memory(model=replace(model, parameters=model.parameters | self.parameters), seeds=(1,))
        # Datasets are not kept: the score of a trial must not depend on earlier trials.
        scorer = FoldScorer(experiment.problem, model, max_bytes=0)
        folds = [scorer.score(self.parameters, fold, self.seed, fidelity, keep_oof=True) for fold in self.folds]
        return TrialResult(float(np.mean([fold.score for fold in folds])), tuple(folds))


class BuiltFeature(NamedTuple):
    """A feature's block in the workspace's cache."""

    key: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class FeatureUnit:
    """The values of one feature that does not depend on the fold.

    Attributes
    ----------
    workspace, competition, memory_limit
        See `ExperimentUnit`.
    name : str
        Of the feature.
    key : str
        Of its block: its code and all that it reads.
    """

    workspace: str
    competition: str
    name: str
    key: str
    memory_limit: int | None = None

    def run(self) -> BuiltFeature:
        """Build the feature's block if the cache does not have it.

        Raises
        ------
        DataError
            When the feature's code or inputs differ from those that the unit was made from.
        FeatureError
            When the feature fails.
        """
        workspace = Workspace(Path(self.workspace), memory_limit=self.memory_limit)
        blocks = _blocks(workspace, load_competition(workspace, self.competition), SILENT)
        if blocks.key(self.name) != self.key:
            raise DataError(
                f"feature {self.name!r} of {self.competition!r} in {self.workspace} is not the one that this work was "
                "made from: its code or inputs differ",
                hint="make the units again from the present workspace",
            )
        return BuiltFeature(self.key, file_sha256(blocks.block(self.name).path))


def fold_units(
    workspace: Workspace,
    competition: Competition,
    number: int,
    request: RunRequest = DEFAULT_REQUEST,
    context: RunContext = SILENT,
) -> list[FoldUnit]:
    """Return the units of a run of an experiment, in the order in which the run trains them.

    Raises
    ------
    WorkbenchError
        See `ready`.
    """
    experiment = ready(workspace, competition, number, sample=request.sample, model=request.model, context=context)
    targets, folds = range(len(experiment.problem.target.columns)), range(experiment.problem.folds.n_folds)
    return [
        FoldUnit(
            workspace=str(workspace.root),
            competition=competition.slug,
            exp=number,
            key=experiment.key,
            sample=request.sample,
            model=request.model,
            threads=context.threads,
            memory_limit=workspace.memory_limit,
            target=target,
            fold=fold,
            seed=seed,
        )
        for target in targets
        for seed in experiment.spec.seeds
        for fold in folds
    ]


def feature_units(workspace: Workspace, competition: Competition, names: Sequence[str]) -> list[FeatureUnit]:
    """Return the units that build features.

    Raises
    ------
    NotFoundError, FeatureError
        For an unknown feature, or one whose inputs are missing.
    """
    blocks = _blocks(workspace, competition, SILENT)
    return [
        FeatureUnit(
            workspace=str(workspace.root),
            competition=competition.slug,
            name=name,
            key=blocks.key(name),
            memory_limit=workspace.memory_limit,
        )
        for name in names
    ]


def run_units(units: Sequence[WorkUnit[Result]], n_processes: int = 1) -> Iterator[Result]:
    """Run units in a pool of new processes; yield their results in the order of the units.

    Raises
    ------
    WorkbenchError
        That of the first unit that fails.
    """
    # A forked process would inherit the locks of polars' threads, which may be held at that moment.
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_run_unit, units)


def save_result(parts: Parts, unit: FoldUnit, result: FoldResult | TrainingState) -> None:
    """Save the result of a unit in the parts of its run, which continues from them."""
    if isinstance(result, FoldResult):
        parts.save(result)
    else:
        parts.save_training(unit.target, unit.fold, unit.seed, FIRST_STAGE, result)


def _run_unit(unit: WorkUnit[Result]) -> Result:
    return unit.run()


def _blocks(workspace: Workspace, competition: Competition, context: RunContext) -> Blocks:
    return Blocks(competition, load_features(competition), context, workspace.memory_limit)


@lru_cache(maxsize=1)  # a process gets many units of one run, whose columns take the most time and memory
def _read_experiment(fields_json: str) -> ReadyExperiment:
    fields = json.loads(fields_json)
    workspace = Workspace(Path(fields["workspace"]), memory_limit=fields["memory_limit"])
    experiment = ready(
        workspace,
        load_competition(workspace, fields["competition"]),
        fields["exp"],
        sample=fields["sample"],
        model=fields["model"],
        context=RunContext(threads=fields["threads"]),
    )
    experiment.plan_memory(seeds=(1,))
    return experiment
