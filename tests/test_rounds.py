"""One number of rounds for all folds: the best of their mean curve, by whatever way it is found."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest

from workbench.competition import ROW
from workbench.errors import ConfigError, FeatureError
from workbench.experiment import ready
from workbench.experiment import run as run_experiment
from workbench.experiment.run_folder import FoldParts
from workbench.training import train
from workbench.training.rounds import Stopping

HEAD = 'features = ["rows.x", "rows.z"]\n'
MODEL = "[model]\nlearning_rate = 0.1\nnum_leaves = 7\nmin_data_in_leaf = 5\n"
STOPPING = "num_iterations = 200\nearly_stopping_round = 8\n"
PER_FOLD = 'rounds = "per fold"\n'


def notes(
    made: Any, head: str = "", model: str = STOPPING, table: str = MODEL, number: int = 1
) -> list[dict[str, Any]]:
    made.experiment(number, HEAD + head + table + model)
    run = made.open.run(number)
    return json.loads((run.folder / "run.json").read_text())["models"]


class Rounds:
    """Counts rounds, and is the kill after the last of them."""

    def __init__(self, last: int = 0) -> None:
        self.n, self.last = 0, last

    def __call__(self) -> None:
        self.n += 1
        if self.n == self.last:
            raise KeyboardInterrupt


class TestStopping:
    def test_as_lightgbm_counts(self) -> None:
        stopping = Stopping(limit=100, patience=3, greater_is_better=True, least=0.01)
        at = stopping.of([0.5, 0.6, 0.605, 0.6, 0.6, 0.9])
        assert (at.best_round, at.n_rounds, at.is_over) == (2, 5, True)
        at = stopping.of([0.5, 0.6])
        assert (at.is_over, at.needed) == (False, 5)

    def test_the_limit_ends_it(self) -> None:
        at = Stopping(4, 10, greater_is_better=False).of([4.0, 3.0, 2.0, 1.0])
        assert (at.best_round, at.is_over) == (4, True)


class TestLightGBM:
    def test_is_that_of_lgb_cv(self, small) -> None:
        made = small()
        ours = notes(made)
        problem = ready(made.workspace, made.open.definition, 1).problem
        rows = made.open.rows.collect().sort(ROW).select("x", "z").cast(pl.Float32).to_numpy()[:400]
        parameters = {"learning_rate": 0.1, "num_leaves": 7, "min_data_in_leaf": 5, "objective": "binary", "seed": 1}
        parameters |= {"metric": "auc", "verbosity": -1, "deterministic": True, "force_col_wise": True}
        parameters |= {"feature_pre_filter": False}
        data = lgb.Dataset(rows, problem.target.columns[0].values, params=parameters, free_raw_data=False)
        folds = [(problem.folds.train_rows(k), problem.folds.valid_rows(k)) for k in range(5)]
        theirs = lgb.cv(parameters, data, 200, folds=folds, callbacks=[lgb.early_stopping(8, verbose=False)])
        curve = theirs["valid auc-mean"]
        assert {m["rounds"] for m in ours} == {len(curve)}
        mean = np.mean([m["curve"] for m in ours], axis=0)
        assert mean[: len(curve)] == pytest.approx(curve, abs=1e-6)
        assert len(mean) == len(curve) + 8

    def test_the_score_is_that_of_the_round(self, small) -> None:
        made = small()
        ours = notes(made)
        scores = made.open.run(1).record.fold_scores
        assert scores == pytest.approx([m["curve"][m["rounds"] - 1] for m in ours], abs=1e-6)
        best = np.mean([m["curve"] for m in ours], axis=0).argmax() + 1
        assert {m["rounds"] for m in ours} == {best}

    def test_per_fold_is_the_way_of_before(self, small) -> None:
        made = small()
        ours = notes(made, PER_FOLD)
        assert len({m["rounds"] for m in ours}) > 1
        assert all(m["rounds"] == np.argmax(m["curve"]) + 1 for m in ours)
        # Runs of before have no word for it in their model, and are found by the same key.
        model = json.loads((made.open.run(1).folder / "run.json").read_text())["model"]
        assert "rounds_by" not in model

    def test_each_seed_has_its_own(self, small) -> None:
        made = small()
        bags = STOPPING + "bagging_fraction = 0.5\nbagging_freq = 1\n"
        both = notes(made, "seeds = [1, 2]\n", bags)
        alone = notes(made, "seeds = [2]\n", bags, number=2)
        assert [m["rounds"] for m in both if m["seed"] == 2] == [m["rounds"] for m in alone]
        assert len({m["rounds"] for m in both}) == 2

    def test_all_rounds_are_used_without_early_stopping(self, small) -> None:
        assert {m["rounds"] for m in notes(small(), "", "num_iterations = 12\nearly_stopping_round = 0\n")} == {12}

    @pytest.mark.parametrize("held", [1, 2, 4])
    @pytest.mark.parametrize("pseudo", [False, True])
    def test_the_same_with_few_folds_in_memory(self, small, held: int, pseudo: bool) -> None:
        made = small()
        made.experiment(1, HEAD + "[pseudo]\nthreshold = 0.8\n" * pseudo + MODEL + STOPPING)
        found = ready(made.workspace, made.open.definition, 1)
        most, few = (train(found.problem, found.model, (1,), held=n) for n in (None, held))
        assert np.array_equal(most.oof, few.oof, equal_nan=True)
        assert np.array_equal(most.test, few.test)
        for a, b in zip(most.parts, few.parts, strict=True):
            assert (a.model, a.curve, a.importance, a.notes) == (b.model, b.curve, b.importance, b.notes)

    @pytest.mark.parametrize("pseudo", [False, True])
    def test_a_killed_run_ends_with_the_same(self, small, tmp_path, pseudo: bool) -> None:
        made = small()
        made.experiment(1, HEAD + "[pseudo]\nthreshold = 0.8\n" * pseudo + MODEL + STOPPING)
        found = ready(made.workspace, made.open.definition, 1)
        whole = train(found.problem, found.model, (1,))
        rounds = Rounds()
        train(found.problem, found.model, (1,), each_round=rounds)
        n_rounds = rounds.n
        for at in (*range(1, n_rounds, 71), n_rounds - 3):
            parts, killed, again = FoldParts(tmp_path / str(at)), Rounds(at), Rounds()
            with pytest.raises(KeyboardInterrupt):
                train(found.problem, found.model, (1,), parts=parts, each_round=killed)
            resumed = train(found.problem, found.model, (1,), parts=parts, each_round=again)
            assert np.array_equal(whole.oof, resumed.oof, equal_nan=True)
            assert [(p.model, p.curve) for p in whole.parts] == [(p.model, p.curve) for p in resumed.parts]
            if at == n_rounds - 3:
                # Finished folds were not trained again, neither for the first of two models nor for the second.
                assert again.n < (0.5 if pseudo else 0.9) * n_rounds, again.n

    def test_folds_in_time(self, small) -> None:
        made = small(after=("day", "2024-06-01"), holdout=None)
        assert len({m["rounds"] for m in notes(made)}) == 1

    def test_a_transformed_target_is_scored_as_it_is(self, small) -> None:
        made = small(task="regression", metric="rmse")
        ours = notes(made, 'target_transform = "yeojohnson"\n')
        assert len({m["rounds"] for m in ours}) == 1
        scores = made.open.run(1).record.fold_scores
        assert scores == pytest.approx([m["curve"][m["rounds"] - 1] for m in ours], abs=1e-5)

    def test_a_run_that_reaches_the_limit_says_so(self, small) -> None:
        made = small()
        for number, rounds in ((1, 9), (2, 200)):
            made.experiment(number, HEAD + MODEL + f"num_iterations = {rounds}\nearly_stopping_round = 8\n")
            notes = " ".join(run_experiment(made.workspace, made.open.definition, number).notes)
            assert ("early stopping reached the limit of 9 rounds in 5 folds" in notes) == (number == 1)

    def test_models_without_a_split_are_said(self, small) -> None:
        made = small()
        leaf = "num_iterations = 3\nearly_stopping_round = 0\nmin_data_in_leaf = {}\n"
        for number, least in ((1, 5), (2, 200)):
            made.experiment(number, HEAD + "[model]\n" + leaf.format(least))
        made.experiment(3, HEAD + '[sklearn]\nestimator = "sklearn.linear_model.LogisticRegression"\n')
        made.experiment(4, HEAD + "[model]\n" + leaf.format(5) + "min_gain_to_split = 1e6\n")
        notes = {n: " ".join(run_experiment(made.workspace, made.open.definition, n).notes) for n in (1, 2, 3, 4)}
        assert ["no model has a split" in notes[n] for n in (1, 2, 3, 4)] == [False, True, False, True]
        assert "each leaf needs min_data_in_leaf = 200 rows, and a fold trains on 320; set it lower" in notes[2]
        assert "or the parameters allow none" in notes[4]
        with pytest.raises(FeatureError, match="no model of .*002.toml has a split") as caught:
            made.open.select(2, "gain")
        assert "min_data_in_leaf = 200" in caught.value.hint

    @pytest.mark.parametrize(
        ("table", "rounds"),
        [
            ("[model]\n", 1000),
            ("[model]\neta = 0.02\n", 5000),
            ("[model]\neta = 0.02\nearly_stopping_round = 0\n", 1000),
            ('[model]\neta = 0.02\nboosting = "dart"\n', 1000),
            ("[model]\neta = 0.5\n", 1000),
            ("[xgboost]\nlearning_rate = 0.03\n", 3334),
            ("[catboost]\neta = 0.05\n", 2000),
            ("[catboost]\n", 1000),
        ],
    )
    def test_the_limit_follows_the_learning_rate(self, small, table: str, rounds: int) -> None:
        made = small()
        made.experiment(1, HEAD + table)
        assert ready(made.workspace, made.open.definition, 1).model.rounds == rounds

    def test_an_unknown_way_is_refused(self, small) -> None:
        made = small()
        made.experiment(1, HEAD + 'rounds = "each"\n' + MODEL)
        with pytest.raises(ConfigError, match="rounds"):
            made.open.run(1)


XGBOOST = "[xgboost]\neta = 0.1\nmax_depth = 3\nnum_boost_round = 150\nearly_stopping_rounds = 8\nsubsample = 0.7\ncolsample_bynode = 0.6\ncolsample_bytree = 0.7\n"
CATBOOST = "[catboost]\ndepth = 3\niterations = 150\nearly_stopping_rounds = 6\n"
OTHERS = pytest.mark.parametrize("table", [XGBOOST, CATBOOST], ids=["xgboost", "catboost"])


def test_small_numbers_have_all_their_places(small) -> None:
    made = small(task="regression", metric="pinball@0.5")
    made.experiment(1, HEAD + XGBOOST)
    found = ready(made.workspace, made.open.definition, 1)
    (column,) = found.problem.target.columns
    target = replace(found.problem.target, columns=(replace(column, values=1e-7 * column.values),))
    curve = found.model.learner(replace(found.problem, target=target), 0).fit(0, 1).curve["valid"]
    assert len(set(curve)) > len(curve) / 2


@OTHERS
class TestOthers:
    @pytest.mark.parametrize("metric", ["auc", "accuracy", "gini"])
    def test_one_number_for_all_folds(self, small, table: str, metric: str) -> None:
        made = small(metric=metric)
        ours = notes(made, "", "", table)
        mean = np.mean([m["curve"] for m in ours], axis=0)
        best = (mean.argmin() if metric == "accuracy" else mean.argmax()) + 1  # which the log loss stands in for
        assert {m["rounds"] for m in ours} == {best}
        assert len(mean) == min(150, best + (8 if table == XGBOOST else 6))
        if metric != "accuracy":
            scores = made.open.run(1).record.fold_scores
            assert scores == pytest.approx([m["curve"][best - 1] for m in ours], abs=1e-5)

    def test_per_fold_is_the_way_of_before(self, small, table: str) -> None:
        ours = notes(small(), PER_FOLD, "", table)
        assert len({m["rounds"] for m in ours}) > 1
        assert all(m["rounds"] == np.argmax(m["curve"]) + 1 for m in ours)

    def test_our_own_metric_is_of_probabilities(self, small, table: str) -> None:
        made = small(metric="balanced_logloss")
        ours = notes(made, "", "", table)
        mean = np.mean([m["curve"] for m in ours], axis=0)
        assert {m["rounds"] for m in ours} == {mean.argmin() + 1}
        scores = made.open.run(1).record.fold_scores
        assert scores == pytest.approx([m["curve"][m["rounds"] - 1] for m in ours], abs=1e-6)

    def test_the_same_with_few_in_memory_and_after_a_kill(self, small, tmp_path, table: str) -> None:
        made = small()
        made.experiment(1, 'features = ["rows"]\n' + table)
        found = ready(made.workspace, made.open.definition, 1)
        rounds = Rounds()
        whole = train(found.problem, found.model, (1,), each_round=rounds)
        few = train(found.problem, found.model, (1,), held=1)
        parts, killed = FoldParts(tmp_path), Rounds(int(0.8 * rounds.n))
        with pytest.raises(KeyboardInterrupt):
            train(found.problem, found.model, (1,), parts=parts, each_round=killed)
        resumed = train(found.problem, found.model, (1,), parts=parts)
        for other in (few, resumed):
            assert np.array_equal(whole.oof, other.oof, equal_nan=True)
            assert np.array_equal(whole.test, other.test)
            assert [(p.model, p.curve) for p in whole.parts] == [(p.model, p.curve) for p in other.parts]
