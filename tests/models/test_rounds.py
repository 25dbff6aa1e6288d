"""One number of rounds for all folds: the best of their mean curve, by whatever way it is found."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.api.features import SelectOptions
from workbench.core.context import RunContext
from workbench.core.errors import ConfigError, FeatureError
from workbench.data.competition import ROW
from workbench.experiments.ready import ready
from workbench.experiments.run import run as run_experiment
from workbench.experiments.run_folder import FoldParts
from workbench.models.records import FoldResult
from workbench.models.rounds import (
    RoundCounter,
    StoppingRule,
    default_max_rounds,
    find_shared_rounds,
    fit_fold,
    limit_notes,
    train_with_shared_rounds,
)
from workbench.models.train import train

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
        stopping = StoppingRule(max_rounds=100, patience=3, greater_is_better=True, min_gain=0.01)
        at = stopping.apply([0.5, 0.6, 0.605, 0.6, 0.6, 0.9])
        assert (at.best_round, at.n_rounds, at.should_stop) == (2, 5, True)
        at = stopping.apply([0.5, 0.6])
        assert (at.should_stop, at.min_rounds) == (False, 5)

    def test_the_limit_ends_it(self) -> None:
        at = StoppingRule(4, 10, greater_is_better=False).apply([4.0, 3.0, 2.0, 1.0])
        assert (at.best_round, at.should_stop) == (4, True)

    @pytest.mark.parametrize("greater", [True, False])
    def test_better_by_no_more_than_the_least_is_not_better(self, greater: bool) -> None:
        sign = 1 if greater else -1
        for least, curve, best in (
            (0.5, [1.0, 1.5, 1.5], 1),
            (0.5, [1.0, 1.5, 1.75], 3),
            (0.0, [1.0, 1.0, 1.0], 1),
            (0.0, [-1.0, -0.5, -0.75], 2),
        ):
            at = StoppingRule(9, 9, greater_is_better=greater, min_gain=least).apply([sign * v for v in curve])
            assert (at.best_round, at.n_rounds, at.should_stop) == (best, 3, False)
        assert StoppingRule(9, 9, greater_is_better=True).min_gain == 0

    def test_how_many_rounds_are_needed(self) -> None:
        fresh = RoundCounter(StoppingRule(20, 3, greater_is_better=True))
        assert (fresh.n_rounds, fresh.best_round, fresh.should_stop, fresh.min_rounds) == (0, 0, False, 3)
        assert [fresh.add(v) for v in (1.0, 2.0, 0.0, 0.0, 0.0)] == [False, False, False, False, True]
        assert (fresh.best_round, fresh.min_rounds) == (2, 5)
        without_patience = RoundCounter(StoppingRule(20, 0, greater_is_better=True))
        assert (without_patience.min_rounds, without_patience.should_stop) == (1, False)
        assert without_patience.add(1.0)
        assert RoundCounter(StoppingRule(2, 9, greater_is_better=True)).min_rounds == 2

    @pytest.mark.parametrize(
        ("rate", "rounds"),
        [
            *((0.1, 1000), (0.5, 1000), (1, 1000), (0.0999, 1002), (0.03, 3334), (0.01, 10_000), (0.001, 100_000)),
            *((1e-9, 100_000), (0, 1000), (-0.01, 1000), (math.inf, 1000), (math.nan, 1000), (True, 1000)),
            *(("0.01", 1000), (None, 1000), (100 / 1234, 1234), (100 / 4321, 4321)),
        ],
    )
    def test_the_limit_by_the_rate(self, rate: Any, rounds: int) -> None:
        assert default_max_rounds(rate) == rounds


class Curve:
    """A training whose values are known; it counts the rounds that it trains, and how often it begins."""

    def __init__(self, fold: int, values: list[float], *, known: int = 0, steps: bool = True) -> None:
        self.fold, self.seed, self.target_index = fold, 1, 0
        self.values, self.curves = values, {"valid": values[:known], "train": values[:known]}
        self.steps, self.has_model = steps, False
        self.n_trained, self.n_begun = 0, 0
        self.following: Curve | None = None
        self.released = 0

    @property
    def can_continue(self) -> bool:
        return self.has_model or (self.steps and not self.curves["valid"])

    def train_to(self, rounds: int, should_stop: Callable[[float], bool]) -> None:
        if not self.has_model:
            self.n_begun += 1
            self.curves = {"valid": [], "train": []}
        self.has_model = self.steps
        while len(self.curves["valid"]) < rounds:
            value = self.values[len(self.curves["valid"])]
            self.n_trained += 1
            for curve in self.curves.values():
                curve.append(value)
            if should_stop(value):
                break

    def release(self) -> None:
        self.released += 1
        self.has_model = False

    def state(self) -> Any:
        return ("state", self.fold, len(self.curves["valid"]))

    def second_stage(self, rounds: int, state: Any = None) -> Curve:
        self.asked_after = rounds
        return self if self.following is None else self.following

    def result(self, rounds: int) -> FoldResult:
        empty = np.empty((0, 1))
        return FoldResult(0, self.fold, self.seed, empty, empty, "", rounds, 0.0, {}, self.curves)


def values_of(rng: np.random.Generator, n: int = 40) -> list[float]:
    """A curve that rises, falls, and shakes."""
    return (-((np.arange(n) - rng.integers(0, 30)) ** 2) / 300 + rng.normal(size=n) / 5).round(2).tolist()


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 5),
    held=st.none() | st.integers(0, 6),
    steps=st.booleans(),
    known=st.booleans(),
    patience=st.integers(0, 6),
)
def test_the_best_round_of_the_mean_however_it_is_found(
    seed: int, n: int, held: int | None, steps: bool, known: bool, patience: int
) -> None:
    rng = np.random.default_rng(seed)
    curves = [values_of(rng) for _ in range(n)]
    stopping = StoppingRule(30, patience, greater_is_better=True)
    trainings = [Curve(k, c, known=int(rng.integers(0, 31)) * known, steps=steps) for k, c in enumerate(curves)]
    most, kept = [0], []

    def keep(training: Curve) -> None:
        kept.append(training.fold)
        most[0] = max(most[0], sum(t.has_model for t in trainings))

    found = find_shared_rounds(trainings, stopping, max_in_memory=held, on_trained=keep)
    mean = stopping.apply(np.mean([c[:30] for c in curves], axis=0))
    assert found == (mean.best_round, mean.n_rounds)
    assert most[0] <= (n if held is None else max(1, held))
    assert all(len(t.curves["valid"]) >= mean.n_rounds for t in trainings)
    assert {t.fold for t in trainings if t.n_trained} == set(kept)
    if steps and not known and (held is None or held >= n):
        # No round twice, and none that neither the fold's own curve nor the mean asks for.
        assert all(t.n_begun <= 1 for t in trainings)
        ends = [stopping.apply(c[:30]).n_rounds for c in curves]
        assert [len(t.curves["valid"]) for t in trainings[:-1]] == [max(e, mean.n_rounds) for e in ends[:-1]]
        assert len(trainings[-1].curves["valid"]) == mean.n_rounds


@pytest.mark.parametrize("steps", [False, True])
def test_trainings_that_were_kept_at_their_end_are_not_continued(steps: bool) -> None:
    rng = np.random.default_rng(1)
    stopping = StoppingRule(30, 3, greater_is_better=True)
    trainings = [Curve(k, values_of(rng), known=30, steps=steps) for k in range(3)]
    mean = stopping.apply(np.mean([t.values[:30] for t in trainings], axis=0))
    assert find_shared_rounds(trainings, stopping) == (mean.best_round, mean.n_rounds)
    assert [t.n_begun for t in trainings] == [0, 0, 0]
    # Those that were kept before their own end go on from it where the library can, else begin again.
    late = [Curve(k, [float(i) for i in range(40)], known=4, steps=steps) for k in range(2)]
    assert find_shared_rounds(late, stopping) == (30, 30)
    assert [(t.n_begun, t.n_trained) for t in late] == [(1, 30), (1, 30)]


def test_what_has_to_begin_again_goes_as_far_as_the_longest_at_once() -> None:
    up = [float(i) for i in range(40)]
    short = [1.0, *[0.0] * 39]
    # The first stops after four rounds; the mean goes up to the limit, as the second does.
    for steps, held, begun in ((False, None, [2, 1, 1]), (True, 1, [2, 1, 1]), (True, None, [1, 1, 1])):
        trainings = [Curve(k, values, steps=steps) for k, values in enumerate((short, up, short))]
        assert find_shared_rounds(trainings, StoppingRule(20, 3, greater_is_better=True), max_in_memory=held) == (
            20,
            20,
        )
        assert [t.n_begun for t in trainings] == begun
        assert [len(t.curves["valid"]) for t in trainings] == [20, 20, 20]


def test_the_longest_are_let_go_of_first() -> None:
    released: list[int] = []

    class Noted(Curve):
        def release(self) -> None:
            released.append(self.fold)
            super().release()

    trainings = [Noted(k, [float(-abs(i - peak)) for i in range(40)]) for k, peak in enumerate((3, 6, 9, 5))]
    find_shared_rounds(trainings, StoppingRule(30, 2, greater_is_better=True), max_in_memory=3)
    assert released[0] == 2


class Kept:
    """Finished folds, and trainings, kept in memory."""

    def __init__(self, done: dict[int, FoldResult]) -> None:
        self.done, self.saved, self.states, self.asked = done, [], [], []

    def load(self, target: int, fold: int, seed: int) -> FoldResult | None:
        assert (target, seed) == (7, 5)
        return self.done.get(fold)

    def save(self, result: FoldResult) -> None:
        self.saved.append(result.fold)

    def load_training(self, target: int, fold: int, seed: int, stage: int) -> Any:
        self.asked.append((fold, stage))
        return None

    def save_training(self, target: int, fold: int, seed: int, stage: int, state: Any) -> None:
        assert (target, seed, state[1]) == (7, 5, fold)
        self.states.append((fold, stage))


class Learner:
    def __init__(self, second: bool = False) -> None:
        rng = np.random.default_rng(3)
        self.target_index, self.made = 7, []
        self.curves = [[values_of(rng) for _ in range(3)] for _ in range(2)]
        self.has_second = second

    @property
    def shared_stopping(self) -> StoppingRule:
        return StoppingRule(30, 3, greater_is_better=True)

    def training(self, fold: int, seed: int, state: Any = None) -> Curve:
        assert seed == 5
        made = Curve(fold, self.curves[0][fold])
        made.following = Curve(fold, self.curves[1][fold]) if self.has_second else None
        self.made.append(made)
        return made

    def best(self, stage: int) -> RoundCounter:
        return self.shared_stopping.apply(np.mean([c[:30] for c in self.curves[stage]], axis=0))


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("with_parts", [False, True])
def test_folds_that_are_trained_together(second: bool, with_parts: bool) -> None:
    learner, told = Learner(second), []
    best, stage = learner.best(int(second)), 1 + second
    one = Curve(1, learner.curves[int(second)][1], known=30).result(best.best_round)
    parts = Kept({1: one}) if with_parts else None
    results = train_with_shared_rounds(
        learner, range(3), 5, parts=parts, on_result=lambda r, new: told.append((r.fold, new))
    )
    assert [r.fold for r in results] == [0, 1, 2]
    assert [r.rounds for r in results] == [best.best_round] * 3
    assert told == [(0, True), (1, not with_parts), (2, True)]
    # What a fold trained beyond the mean's end is no part of its curve.
    for result in results if parts is None else (results[0], results[2]):
        expected = learner.curves[int(second)][result.fold][: best.n_rounds]
        assert result.curve == {"valid": expected, "train": expected}
    last = [t.following if second else t for t in learner.made]
    assert all(t.released == 1 and not t.has_model for t in last)
    assert {t.asked_after for t in learner.made} == {learner.best(0).best_round}
    if parts is not None:
        assert results[1] is one
        assert parts.saved == [0, 2]
        assert {s for _, s in parts.states} == set(range(1, stage + 1))
        assert {f for f, s in parts.states if s == stage} == {0, 1, 2}
        assert parts.asked == [(k, 1) for k in range(3)] + [(k, 2) for k in range(3)]


def test_folds_that_are_all_finished_are_not_trained() -> None:
    learner, told = Learner(), []
    done = {k: Curve(k, [1.0], known=1).result(1) for k in range(3)}
    parts = Kept(done)
    results = train_with_shared_rounds(
        learner, range(3), 5, parts=parts, on_result=lambda r, new: told.append((r.fold, new))
    )
    assert results == list(done.values())
    assert told == [(0, False), (1, False), (2, False)]
    assert (learner.made, parts.saved, parts.states) == ([], [], [])


@pytest.mark.parametrize("second", [False, True])
def test_a_fold_by_itself(second: bool) -> None:
    stopping = StoppingRule(30, 3, greater_is_better=True)
    rng = np.random.default_rng(2)
    first, following = Curve(0, values_of(rng)), Curve(0, values_of(rng))
    first.following = following if second else None
    best = stopping.apply((following if second else first).values[:30])
    result = fit_fold(first, stopping, 12)
    assert result.rounds == best.best_round
    assert len(result.curve["valid"]) == best.n_rounds
    assert first.asked_after == stopping.apply(first.values[:30]).best_round
    first, following = Curve(0, values_of(rng)), Curve(0, values_of(rng))
    first.following = following if second else None
    result = fit_fold(first, None, 12)
    assert (result.rounds, len(result.curve["valid"]), first.asked_after) == (12, 12, 12)


def finished(fold: int, rounds: int, length: int, *, target: int = 0, seed: int = 1) -> FoldResult:
    curve = {"valid": [0.0] * length} if length else {}
    empty = np.empty((0, 1))
    return FoldResult(target, fold, seed, empty, empty, "", rounds, 0.0, {}, curve)


class TestLimitNotes:
    SAID = "early stopping reached the limit of 1,000 rounds in {}, and the best is round {}: more rounds, or a "

    def test_where_the_best_is_near_the_limit(self) -> None:
        for rounds, length, is_said in ((951, 1000, True), (950, 1000, False), (951, 999, False), (951, 0, False)):
            notes = limit_notes([finished(k, rounds, length) for k in range(2)], 1000, 50)
            assert notes == (
                [self.SAID.format("2 folds", 951) + "higher learning rate, may score better"] if is_said else []
            )
        assert limit_notes([finished(0, 1000, 1000)], 1000, 0) == []

    def test_rounds_that_differ_and_models_of_several_seeds(self) -> None:
        apart = [finished(0, 960, 1000), finished(1, 1000, 1000), finished(2, 10, 100)]
        (note,) = limit_notes(apart, 1000, 50)
        assert note.startswith(self.SAID.format("2 folds", "960 to 1,000"))
        notes = limit_notes([*apart, finished(0, 970, 1000, seed=2), finished(0, 999, 1000, target=1)], 1000, 50)
        assert [n.partition(": ")[0] for n in notes] == [
            "target 0, seed 1", "target 0, seed 2", "target 1, seed 1",
        ]  # fmt: skip
        assert len(limit_notes([*apart, finished(0, 970, 1000, seed=2)], 1000, 50)) == 2
        two = limit_notes([apart[0], finished(0, 970, 1000, seed=2)], 1000, 50)
        assert [n.partition(": ")[0] for n in two] == ["target 0, seed 1", "target 0, seed 2"]
        assert notes[1].partition(": ")[2].startswith(self.SAID.format("1 fold", 970))


class TestLightGBM:
    def test_is_that_of_lgb_cv(self, small) -> None:
        made = small()
        ours = notes(made)
        problem = ready(made.workspace, made.open.access.competition, 1).problem
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
        found = ready(made.workspace, made.open.access.competition, 1)
        most, few = (train(found.problem, found.model, (1,), max_in_memory=n) for n in (None, held))
        assert np.array_equal(most.oof, few.oof, equal_nan=True)
        assert np.array_equal(most.test, few.test)
        for a, b in zip(most.parts, few.parts, strict=True):
            assert (a.model, a.curve, a.importance, a.notes) == (b.model, b.curve, b.importance, b.notes)

    @pytest.mark.parametrize("pseudo", [False, True])
    def test_a_killed_run_ends_with_the_same(self, small, tmp_path, pseudo: bool) -> None:
        made = small()
        made.experiment(1, HEAD + "[pseudo]\nthreshold = 0.8\n" * pseudo + MODEL + STOPPING)
        found = ready(made.workspace, made.open.access.competition, 1)
        whole = train(found.problem, found.model, (1,))
        rounds = Rounds()
        train(found.problem, found.model, (1,), context=RunContext(check_stop=rounds))
        n_rounds = rounds.n
        for at in (*range(1, n_rounds, 71), n_rounds - 3):
            parts, killed, again = FoldParts(tmp_path / str(at)), Rounds(at), Rounds()
            with pytest.raises(KeyboardInterrupt):
                train(found.problem, found.model, (1,), parts=parts, context=RunContext(check_stop=killed))
            resumed = train(found.problem, found.model, (1,), parts=parts, context=RunContext(check_stop=again))
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
            notes = " ".join(run_experiment(made.workspace, made.open.access.competition, number).notes)
            assert ("early stopping reached the limit of 9 rounds in 5 folds" in notes) == (number == 1)

    def test_models_without_a_split_are_said(self, small) -> None:
        made = small()
        leaf = "num_iterations = 3\nearly_stopping_round = 0\nmin_data_in_leaf = {}\n"
        for number, least in ((1, 5), (2, 200)):
            made.experiment(number, HEAD + "[model]\n" + leaf.format(least))
        made.experiment(3, HEAD + '[sklearn]\nestimator = "sklearn.linear_model.LogisticRegression"\n')
        made.experiment(4, HEAD + "[model]\n" + leaf.format(5) + "min_gain_to_split = 1e6\n")
        notes = {
            n: " ".join(run_experiment(made.workspace, made.open.access.competition, n).notes) for n in (1, 2, 3, 4)
        }
        assert ["no model has a split" in notes[n] for n in (1, 2, 3, 4)] == [False, True, False, True]
        assert "each leaf needs min_data_in_leaf = 200 rows, and a fold trains on 320; set it lower" in notes[2]
        assert "or the parameters allow none" in notes[4]
        with pytest.raises(FeatureError, match="no model of .*002.toml has a split") as caught:
            made.open.features.select(2, SelectOptions("gain"))
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
        assert ready(made.workspace, made.open.access.competition, 1).model.rounds == rounds

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
    found = ready(made.workspace, made.open.access.competition, 1)
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
        found = ready(made.workspace, made.open.access.competition, 1)
        rounds = Rounds()
        whole = train(found.problem, found.model, (1,), context=RunContext(check_stop=rounds))
        few = train(found.problem, found.model, (1,), max_in_memory=1)
        parts, killed = FoldParts(tmp_path), Rounds(int(0.8 * rounds.n))
        with pytest.raises(KeyboardInterrupt):
            train(found.problem, found.model, (1,), parts=parts, context=RunContext(check_stop=killed))
        resumed = train(found.problem, found.model, (1,), parts=parts)
        for other in (few, resumed):
            assert np.array_equal(whole.oof, other.oof, equal_nan=True)
            assert np.array_equal(whole.test, other.test)
            assert [(p.model, p.curve) for p in whole.parts] == [(p.model, p.curve) for p in other.parts]
