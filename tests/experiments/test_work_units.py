"""Units of work: another process gives the same bits, and a run continues from them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from workbench.core.context import RunContext
from workbench.core.errors import DataError, MemoryLimitError
from workbench.core.events import Event, ModelTrained
from workbench.experiments.ready import lightgbm_of, ready
from workbench.experiments.work_units import (
    FeatureUnit,
    FoldUnit,
    TrialUnit,
    feature_units,
    fold_units,
    run_units,
    save_result,
)
from workbench.models.lightgbm.fold_scorer import Fidelity, FoldScorer
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
        FoldUnit(**json.loads(json.dumps(asdict(u))))
        for u in fold_units(made.workspace, competition, 1, context=context)
    ]
    assert len({(u.fold, u.seed) for u in units}) == len(units) == 10
    results = list(run_units(units))
    parts, trained = InMemory(), list[Event]()
    for unit, result in zip(units, results, strict=True):
        save_result(parts, unit, result)
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
    unit = fold_units(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))[0]
    made.experiment(1, KINDS["all rounds"].replace("num_leaves = 7", "num_leaves = 9"))
    with pytest.raises(DataError, match="experiment 1 of 'small' in .* is not the one that this work was made from"):
        unit.run()


def test_a_process_goes_on_with_units_that_are_made_after_a_change(small: Any) -> None:
    made = small()
    competition, rounds = made.open.access.competition, []
    for n_rounds in (10, 12):
        made.experiment(1, KINDS["all rounds"].replace("num_iterations = 10", f"num_iterations = {n_rounds}"))
        result = fold_units(made.workspace, competition, 1, context=RunContext(threads=1))[0].run()
        assert isinstance(result, FoldResult)
        rounds.append(result.rounds)
    assert rounds == [10, 12]


def test_a_trial_that_would_take_more_memory_than_it_may_is_refused(small: Any) -> None:
    made = small()
    made.experiment(1, KINDS["all rounds"])
    common = asdict(fold_units(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))[0])
    del common["target"], common["fold"], common["seed"]
    common["memory_limit"] = 8 * 2**30
    small_model, large_model = {"num_leaves": 7}, {"num_leaves": 131_072, "max_bin": 60_000}
    assert np.isfinite(TrialUnit(**common, parameters=small_model, folds=[0], rounds=2).run().score)
    with pytest.raises(MemoryLimitError, match="training would need about"):
        TrialUnit(**common, parameters=large_model, folds=[0], rounds=2).run()


@pytest.mark.slow
def test_a_trial_in_a_pool_of_one_process_has_the_same_scores(small: Any) -> None:
    made = small()
    made.experiment(1, KINDS["all rounds"])
    context, competition = RunContext(threads=1), made.open.access.competition
    common = asdict(fold_units(made.workspace, competition, 1, context=context)[0])
    del common["target"], common["fold"], common["seed"]
    points = [{"num_leaves": 4, "lambda_l2": 1.0}, {"num_leaves": 15, "lambda_l2": 0.0}]
    units = [
        TrialUnit(**common, parameters=point, folds=[0, 3], learning_rate=0.1, rounds=12, patience=4, row_share=0.8)
        for point in points
    ]
    results = list(run_units([TrialUnit(**json.loads(json.dumps(asdict(u)))) for u in units]))
    experiment = ready(made.workspace, competition, 1, context=context)
    # The search itself keeps datasets between trials.
    scorer = FoldScorer(experiment.problem, lightgbm_of(experiment, because="", hint=""), max_bytes=10**9)
    for unit, result in zip(units, results, strict=True):
        fidelity = Fidelity(0.1, 12, 4, 1, 0.8)
        for fold, score in zip(unit.folds, result.folds, strict=True):
            expected = scorer.score(unit.parameters, fold, 1, fidelity, keep_oof=True)
            assert (score.score, score.rounds, score.curves) == (expected.score, expected.rounds, expected.curves)
            assert np.array_equal(score.oof, expected.oof)
        assert result.score == np.mean([score.score for score in result.folds])
    assert len({r.score for r in results}) > 1


@pytest.mark.slow
def test_a_feature_in_a_pool_of_one_process_has_the_same_block(small: Any) -> None:
    made, other = small(), small(slug="other")
    units = feature_units(made.workspace, made.open.access.competition, ["ratio", "doubled"])
    results = list(run_units([FeatureUnit(**json.loads(json.dumps(asdict(u)))) for u in units]))
    here = [u.run() for u in feature_units(other.workspace, other.open.access.competition, ["ratio", "doubled"])]
    assert [r.sha256 for r in results] == [r.sha256 for r in here]
    assert [r.key for r in results] == [u.key for u in units]


def test_a_feature_of_other_code_is_refused(small: Any) -> None:
    made = small()
    (unit,) = feature_units(made.workspace, made.open.access.competition, ["ratio"])
    with pytest.raises(DataError, match="feature 'ratio' of 'small' in .* is not the one that this work was made from"):
        FeatureUnit(**asdict(unit) | {"key": "0" * 32}).run()
