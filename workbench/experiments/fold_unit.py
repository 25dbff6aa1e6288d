"""The unit of work of a run: one fold and seed, as a value that any process with the same workspace can work on.

Whoever distributes units keeps their results in a run's parts (`FoldParts`), from which the run goes on: it trains
nothing again, and its predictions are those of a run without units, bit for bit.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from workbench.core.context import SILENT, RunContext
from workbench.core.errors import DataError
from workbench.data.competition import Competition, load_competition
from workbench.data.workspace import Workspace
from workbench.experiments.ready import ReadyExperiment, ready
from workbench.experiments.runner import USUAL, RunRequest
from workbench.models.records import FoldResult, Parts, TrainingState
from workbench.models.units import train_unit

__all__ = ["FoldUnit", "keep_result", "units_of", "work_on"]

FIRST_STAGE = 1
"""Of a fold's training, as `train_together` keeps it; a second one learns from what the first predicts."""


@dataclass(frozen=True)
class FoldUnit:
    """A model of one target, fold and seed to be trained. It has nothing but texts and numbers: JSON can carry it.

    Attributes
    ----------
    workspace, competition, exp
        The workspace's folder, the competition's slug and the experiment.
    key : str
        Of the run: what is read must give the same.
    sample, model
        As in `RunRequest`; `model` as JSON has it.
    threads
        As in `RunContext`.
    memory_limit
        As in `Workspace`.
    """

    workspace: str
    competition: str
    exp: int
    key: str
    target: int
    fold: int
    seed: int
    sample: float | None = None
    model: dict[str, Any] | None = None
    threads: int | None = None
    memory_limit: int | None = None


def units_of(
    workspace: Workspace,
    competition: Competition,
    number: int,
    request: RunRequest = USUAL,
    context: RunContext = SILENT,
) -> list[FoldUnit]:
    """Return the units of a run of an experiment, in the order in which the run trains them.

    Raises
    ------
    WorkbenchError
        What `ready` raises.
    """
    experiment = ready(workspace, competition, number, sample=request.sample, model=request.model, context=context)
    unit = FoldUnit(
        str(workspace.root),
        competition.slug,
        number,
        experiment.key,
        *(0, 0, 0),
        sample=request.sample,
        model=request.model,
        threads=context.threads,
        memory_limit=workspace.memory_limit,
    )
    targets, folds = range(len(experiment.problem.target.columns)), range(experiment.problem.folds.n_folds)
    return [
        replace(unit, target=target, fold=fold, seed=seed)
        for target in targets
        for seed in experiment.spec.seeds
        for fold in folds
    ]


def work_on(unit: FoldUnit) -> FoldResult | TrainingState:
    """Train what a unit says; see `train_unit`. The same unit gives the same result, bit for bit, in any process.

    Raises
    ------
    DataError
        When the workspace's data, code or experiment are not those that the unit was made for.
    MemoryLimitError
        Before it begins, where it would take more than it may.
    """
    experiment = _experiment_of(json.dumps(asdict(replace(unit, target=0, fold=0, seed=0)), sort_keys=True))
    if experiment.key != unit.key:
        raise DataError(
            f"experiment {unit.exp} of {unit.competition!r} in {unit.workspace} is not the one that this work is of: "
            "its data, code or parameters differ",
            hint="make the units again from what is there now",
        )
    return train_unit(experiment.model.learner(experiment.problem, unit.target), unit.fold, unit.seed)


@lru_cache(maxsize=1)  # a worker is given many units of one run, and its columns take the most time and memory
def _experiment_of(text: str) -> ReadyExperiment:
    unit = FoldUnit(**json.loads(text))
    workspace = Workspace(Path(unit.workspace), memory_limit=unit.memory_limit)
    experiment = ready(
        workspace,
        load_competition(workspace, unit.competition),
        unit.exp,
        sample=unit.sample,
        model=unit.model,
        context=RunContext(threads=unit.threads),
    )
    experiment.ask_memory(seeds=(1,))
    return experiment


def keep_result(parts: Parts, unit: FoldUnit, result: FoldResult | TrainingState) -> None:
    """Keep the result of a unit where a run goes on from it."""
    if isinstance(result, FoldResult):
        parts.save(result)
    else:
        parts.save_training(unit.target, unit.fold, unit.seed, FIRST_STAGE, result)
