"""An experiment with everything that its run would train on, for callers that train differently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.context import SILENT, RunContext
from workbench.core.errors import ConfigError, MemoryLimitError
from workbench.core.read_once import reading_once
from workbench.data.competition import Competition, load_competition
from workbench.data.workspace import Workspace
from workbench.experiments.plan import Plan, make_plan, matrix_of, model_of, problem_of, sampled_rows
from workbench.experiments.run_folder import FinishedRun, check_files, find_run
from workbench.experiments.spec import ExperimentSpec, read_spec
from workbench.features import Blocks, load_features
from workbench.models.learner import ModelSpec
from workbench.models.lightgbm.learner import LightGBMSpec
from workbench.models.memory_estimate import MemoryPlan, plan_memory
from workbench.models.records import Problem

__all__ = ["ReadyExperiment", "find_finished", "lightgbm_of", "ready"]


@dataclass(frozen=True)
class ReadyExperiment:
    """The matrix, target, folds and model that a run of an experiment would train on.

    Attributes
    ----------
    sampled_rows : int array, or None
        The train rows of a subsample run; None for all of them.
    key : str
        The run's key: equal for the same code, data, parameters and seeds.
    finished : FinishedRun, or None
        The newest finished run with this key.
    matrix_key : str
        The key of the features, the rows, and the dropped and categorical columns.
    target_key : str
        The key of the target, the task, the weights, the queries and the metric with its code.
    untuned_key : str
        The key of everything that a parameter search starts from.
    """

    competition: Competition
    spec: ExperimentSpec
    blocks: Blocks
    model: ModelSpec
    problem: Problem
    sampled_rows: npt.NDArray[np.int64] | None
    key: str
    finished: FinishedRun | None
    matrix_key: str
    target_key: str
    untuned_key: str

    def plan_memory(
        self,
        problem: Problem | None = None,
        model: ModelSpec | None = None,
        *,
        seeds: Sequence[int] | None = None,
        limit: int | None = None,
    ) -> MemoryPlan:
        """Compare the estimated memory of training with the limit.

        Parameters
        ----------
        problem : Problem, optional
            By default the experiment's.
        model : ModelSpec, optional
        seeds : sequence of int, optional
        limit : int, optional
            The memory limit in bytes; by default that of the experiment's blocks.

        Raises
        ------
        MemoryLimitError
            Where training would exceed the limit; the hint lists changes that would fit.
        """
        problem, derived = self.problem if problem is None else problem, self.problem.derived
        model = self.model if model is None else model
        estimate = model.memory_estimate(problem, self.spec.seeds if seeds is None else seeds)
        limit = self.blocks.limit_bytes if limit is None else limit
        try:
            return plan_memory(estimate, limit)
        except MemoryLimitError:
            if problem.derived is derived or not derived.is_in_memory:
                raise
            derived.release()
            return plan_memory(estimate, limit)


def lightgbm_of(experiment: ReadyExperiment, *, because: str, hint: str) -> LightGBMSpec:
    """Return the LightGBM model of an experiment.

    Parameters
    ----------
    experiment : ReadyExperiment
    because : str
        The reason why the model must be LightGBM's, for the error message.
    hint : str
        The hint of the error.

    Raises
    ------
    ConfigError
        When the model is of another library.
    """
    if not isinstance(experiment.model, LightGBMSpec):
        raise ConfigError(
            f"{experiment.spec.path}: {because}, and this is a [{experiment.spec.kind}] experiment", hint=hint
        )
    return experiment.model


def ready(
    workspace: Workspace,
    competition: Competition,
    number: int,
    *,
    sample: float | None = None,
    model: dict[str, Any] | None = None,
    context: RunContext = SILENT,
) -> ReadyExperiment:
    """Read and build the matrix, target, folds, metric and model that a run of an experiment would train on.

    Nothing is written except feature blocks and folds. For parameters and errors see `run`.
    """
    with reading_once():
        competition = load_competition(workspace, competition.slug)  # again: definition and code may have changed
        spec = read_spec(competition, number)
        blocks = Blocks(competition, load_features(competition), context, workspace.memory_limit)
        plan = make_plan(competition, spec, blocks, sample=sample, threads=context.threads, model=model)
        return _ready_experiment(plan, sample)


def _ready_experiment(plan: Plan, sample: float | None) -> ReadyExperiment:
    return ReadyExperiment(
        competition=plan.competition,
        spec=plan.spec,
        blocks=plan.blocks,
        model=model_of(plan),
        finished=_find_finished_run(plan),
        sampled_rows=None if sample is None else sampled_rows(plan),
        problem=problem_of(plan, matrix_of(plan)),
        key=plan.key,
        matrix_key=plan.matrix_key,
        target_key=plan.target_key,
        untuned_key=plan.untuned_key,
    )


def find_finished(
    workspace: Workspace, competition: Competition, number: int, *, model: dict[str, Any] | None = None
) -> FinishedRun | None:
    """Return the finished run of the current experiment, optionally with another model table; None without one."""
    blocks = Blocks(competition, load_features(competition), memory_limit=workspace.memory_limit)
    return _find_finished_run(make_plan(competition, read_spec(competition, number), blocks, model=model))


def _find_finished_run(plan: Plan) -> FinishedRun | None:
    c = plan.competition
    run = find_run(c.paths.runs, plan.spec.number, plan.key, greater_is_better=c.metric.greater_is_better)
    return check_files(*run) if run and run[1].status == "finished" else None
