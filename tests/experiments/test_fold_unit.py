"""A fold and seed as a unit of work: another process gives the same bits, and a run goes on from them."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

from workbench.core.context import RunContext
from workbench.core.errors import DataError
from workbench.core.events import Event, ModelTrained
from workbench.experiments.fold_unit import FoldUnit, keep_result, units_of, work_on
from workbench.experiments.ready import ready
from workbench.models.records import FoldResult, TrainingState
from workbench.models.train import train

COLUMNS = 'features = ["rows.x", "rows.z", "te_town"]\nseeds = [3, 4]\n'
KINDS = {
    "shared rounds": COLUMNS + "[model]\nnum_leaves = 7\nnum_iterations = 60\nearly_stopping_round = 5\n",
    "all rounds": COLUMNS
    + "[model]\nnum_leaves = 7\nnum_iterations = 10\nearly_stopping_round = 0\nbagging_fraction = 0.8\nbagging_freq = 1\n",
    "rounds per fold": COLUMNS
    + 'rounds = "per fold"\n[model]\nnum_leaves = 7\nnum_iterations = 60\nearly_stopping_round = 5\n',
    "sklearn": COLUMNS + '[sklearn]\nestimator = "sklearn.ensemble.ExtraTreesClassifier"\nn_estimators = 5\n',
}


class InMemory:
    """Parts of a run, in memory."""

    def __init__(self) -> None:
        self.results: dict[tuple[int, int, int], FoldResult] = {}
        self.states: dict[tuple[int, int, int, int], TrainingState] = {}

    def load(self, target: int, fold: int, seed: int) -> FoldResult | None:
        return self.results.get((target, fold, seed))

    def save(self, result: FoldResult) -> None:
        self.results[result.target, result.fold, result.seed] = result

    def load_training(self, target: int, fold: int, seed: int, stage: int) -> TrainingState | None:
        return self.states.get((target, fold, seed, stage))

    def save_training(self, target: int, fold: int, seed: int, stage: int, state: TrainingState) -> None:
        self.states[target, fold, seed, stage] = state


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_pool_of_one_process_gives_the_same_bits(small: Any, kind: str) -> None:
    made = small()
    made.experiment(1, KINDS[kind])
    context, competition = RunContext(threads=1), made.open.access.competition
    units = [
        FoldUnit(**json.loads(json.dumps(asdict(u)))) for u in units_of(made.workspace, competition, 1, context=context)
    ]
    assert len({(u.fold, u.seed) for u in units}) == len(units) == 10
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(work_on, units))
    parts, trained = InMemory(), list[Event]()
    for unit, result in zip(units, results, strict=True):
        keep_result(parts, unit, result)
    experiment = ready(made.workspace, competition, 1, context=context)
    train_all = lambda **more: train(experiment.problem, experiment.model, experiment.spec.seeds, **more)  # noqa: E731
    expected = train_all()
    found = train_all(parts=parts, context=RunContext((trained.append,)))
    for name in ("oof", "test", "seed_oof"):
        assert np.array_equal(getattr(found, name), getattr(expected, name), equal_nan=True), name
    assert [p.model for p in found.parts] == [p.model for p in expected.parts]
    assert [(p.rounds, p.curve) for p in found.parts] == [(p.rounds, p.curve) for p in expected.parts]
    shares_rounds = kind == "shared rounds"
    assert [isinstance(r, TrainingState) for r in results] == [shares_rounds] * 10
    # What a worker has finished is not trained again.
    assert sum(isinstance(e, ModelTrained) for e in trained) == (10 if shares_rounds else 0)


def test_a_unit_of_other_data_or_code_is_refused(small: Any) -> None:
    made = small()
    made.experiment(1, KINDS["all rounds"])
    unit = units_of(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))[0]
    made.experiment(1, KINDS["all rounds"].replace("num_leaves = 7", "num_leaves = 9"))
    with pytest.raises(DataError, match="experiment 1 of 'small' in .* is not the one that this work is of"):
        work_on(unit)
