"""Tuning: the space, what is given up, studies that outlive their processes, and the search itself."""

from __future__ import annotations

import errno
import gc
import json
import math
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.commands import forked_wb
from tests.needs import postgresql_url
from tests.tuning.fake_scorer import search_context
from workbench.cli.app import wb
from workbench.cli.tuning import shown_trials
from workbench.core.context import RunContext, text_listener
from workbench.core.errors import (
    BusyError,
    ConfigError,
    DataError,
    NotFoundError,
    StorageError,
    TrainingError,
)
from workbench.core.events import SearchProgress
from workbench.core.locks import lock
from workbench.experiments.held_out import without_last_fold
from workbench.experiments.ready import ready
from workbench.experiments.run import run
from workbench.experiments.runner import RunRequest
from workbench.experiments.spec import read_spec
from workbench.experiments.tune import TuneRequest, find_study, run_tuned, tune
from workbench.models.lightgbm.fold_scorer import Fidelity, FoldScorer
from workbench.tuning import StudyKey, default_space, open_study, parse_space, read_study
from workbench.tuning import dead_trials as dead_trials_module
from workbench.tuning import deadline as deadline_module
from workbench.tuning import full_cv as full_cv_module
from workbench.tuning import low_fidelity as low_fidelity_module
from workbench.tuning import race as race_module
from workbench.tuning import repeated_cv as repeated_cv_module
from workbench.tuning import search as search_module
from workbench.tuning import study as study_module
from workbench.tuning.plan import (
    ENOUGH_VALID_ROWS,
    FULL_CV_RATES,
    MIN_ROUNDS,
    MIN_ROWS,
    MIN_TRIALS,
    LowFidelity,
    affordable_rate,
    affordable_trials,
    is_much_lower,
    low_fidelity_within,
    low_fidelity_without_time,
    not_clearly_worse,
    repeated_cv_folds,
    with_fixed_rounds,
)
from workbench.tuning.pruning import TOP_TRIALS, Curve, Curves, is_prunable
from workbench.tuning.results import TrialScores, scored_trials
from workbench.tuning.space import initial_point, proven_points

MODEL = "[model]\nlearning_rate = 0.2\nnum_leaves = 8\nnum_iterations = 30\nearly_stopping_round = 5\nlambda_l2 = 1.0\n"
SPACE = "[tune.space]\nnum_leaves = { low = 4, high = 16, log = true }\nlambda_l2 = { low = 0.1, high = 10.0, log = true }\n"
EXPERIMENT = f'features = ["ratio", "rows.x", "rows.z"]\n{MODEL}[tune]\ntrials = 6\n{SPACE}'


@pytest.fixture
def made(small, monkeypatch) -> Any:
    monkeypatch.setenv("WB_THREADS", "1")
    found = small()
    found.experiment(1, EXPERIMENT)
    return found


START = {"learning_rate": 0.2, "num_leaves": 8, "num_iterations": 30, "early_stopping_round": 5, "lambda_l2": 1.0}


FULL_RATE = 0.2
"""The experiment's own learning rate, that of full scores; quick ones are at 0.1."""


def nothing(_: Any) -> None:
    """Do nothing with what is told."""


def tuned(
    made: Any,
    report: Callable[[str], None] = nothing,
    progress: Callable[[SearchProgress], None] = nothing,
    **options: Any,
) -> Any:
    context = search_context(progress, options.pop("threads", 1)).with_listeners(text_listener(report))
    request = TuneRequest(**({"trials": 6, "holdout": False} | options))
    return tune(made.workspace, made.open.access.competition, 1, request, context)


def killed_at(stage: str) -> Callable[[SearchProgress], None]:
    """Return what ends a search, as Ctrl-C does, when a stage begins."""

    def progress(now: SearchProgress) -> None:
        if now.stage == stage:
            raise KeyboardInterrupt

    return progress


def begun(made: Any, **settled: Any) -> None:
    """Leave a study that no trial was made of, whose quick scores are as an earlier search settled them."""
    with pytest.raises(KeyboardInterrupt):
        tuned(made, progress=killed_at("low-fidelity"))
    study = journal(made)
    study.set_user_attr("quick", study.user_attrs["quick"] | settled)


@dataclass
class Clock:
    """A clock that runs, and can be put on."""

    ahead_s: float = 0.0

    def over_at(self, stage: str) -> Callable[[SearchProgress], None]:
        """Return what lets all time be over when a stage begins."""

        def progress(now: SearchProgress) -> None:
            if now.stage == stage:
                self.ahead_s = 1e6

        return progress


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made, real = Clock(), time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: real() + made.ahead_s)
    return made


def on_folds(monkeypatch, wrapped: Callable[..., Any]) -> None:
    """Have `wrapped` called, with what scores a fold as its first argument, for each fold that the search scores."""
    whole = FoldScorer.score

    def score(self: FoldScorer, *arguments: Any, **more: Any) -> Any:
        return wrapped(lambda *a, **m: whole(self, *a, **m), *arguments, **more)

    monkeypatch.setattr(FoldScorer, "score", score)


def is_full(fidelity: Fidelity, more: Mapping[str, Any]) -> bool:
    """Say whether a fold is scored for a full score: those on other folds are of rounds that are chosen already."""
    return fidelity.learning_rate == FULL_RATE and more.get("rounds") is None


def journal(made: Any) -> Any:
    return find_study(made.open.access.competition, 1)[0]


# -------------------------------------------------------------------------------------------------------------- space


class TestSpace:
    @pytest.mark.parametrize(
        ("text", "message", "hint"),
        [
            ({"num_leavse": {"low": 1, "high": 2}}, "unknown key 'num_leavse'", "num_leaves"),
            ({"num_leaves": {"low": 9, "high": 2}}, "low = 9 is not below high = 2", "num_leaves = 9"),
            ({"lambda_l2": {"low": 0, "high": 2.0, "log": True}}, "log = true needs low above 0", None),
            ({"num_leaves": {"low": 4, "hihg": 9}}, "unknown key 'hihg'", "high"),
            ({"num_leaves": {"low": 4}}, "lacks high", "low = 15"),
            ({"num_leaves": {"low": 1.5, "high": 9.0}}, "is a whole number", None),
            ({"num_leaves": {"low": 1, "high": 9}}, "LightGBM takes num_leaves from 2", None),
            ({"feature_fraction": {"low": 0.5, "high": 1.5}}, "takes feature_fraction from 1e-06 to 1, got 1.5", None),
            ({"lambda_l2": {"low": 0.1, "high": 1, "choices": [1]}}, "choices and a range", None),
            ({"lambda_l2": []}, "at least one value", None),
            ({"lambda_l2": [1.0, 1.0]}, "has a value twice", None),
            ({"lambda_l2": [-1.0, 1.0]}, "takes lambda_l2 of at least 0, got -1", None),
            ({"lambda_l2": 3}, "expected a range", "{ low = 15"),
            ({"lambda_l2": {"low": "a", "high": 2}}, "low = 'a': expected a number", None),
            ({"lambda_l2": {"low": 0.1, "high": 2, "step": 5}}, "step = 5 must be above 0 and at most 1.9", None),
            ({"lambda_l2": {"low": 0.1, "high": 2, "step": 0.1, "log": True}}, "can't be used with log = true", None),
            ({"lambda_l2": {"low": 0.1, "high": 2}, "reg_lambda": [1, 2]}, "has 'lambda_l2' twice", "keep one"),
            ({"num_iterations": {"low": 10, "high": 20}}, "is not searched: early stopping", None),
            ({"metric": ["auc"]}, "can't set 'metric'", None),
            ({}, "is empty", "default space"),
        ],
    )
    def test_a_space_that_contradicts_itself_is_explained(self, text, message: str, hint: str | None) -> None:
        with pytest.raises(ConfigError, match="^exp.toml: \\[tune.space\\]") as caught:
            parse_space(text, where="exp.toml")
        assert message in caught.value.message
        assert hint is None or hint in str(caught.value.hint)

    def test_aliases_become_the_primary_name(self) -> None:
        space = parse_space({"reg_lambda": {"low": 0, "high": 3}, "num_leaf": {"low": 4, "high": 8}}, where="")
        assert space.content() == {"lambda_l2": {"low": 0, "high": 3}, "num_leaves": {"low": 4, "high": 8}}

    @given(
        rows=st.integers(10, 10**8),
        columns=st.integers(1, 5000),
        task=st.sampled_from(["binary", "multiclass", "regression"]),
        categories=st.booleans(),
    )
    @settings(max_examples=60)
    def test_the_default_space_holds_for_every_size(self, rows: int, columns: int, task: str, categories: bool) -> None:
        space = default_space(task, rows, columns, has_categories=categories)
        # Read as if a user had written it, it passes the same checks.
        assert parse_space(space.content(), where="").names == space.names
        space.distributions()
        points = proven_points(space)
        assert len(points) == 5
        assert all(d.contains(p[d.name]) for p in points for d in space.dimensions)
        assert ("cat_l2" in space.names) == categories

    def test_own_parameters_that_lie_outside_are_no_point(self) -> None:
        space = parse_space({"num_leaves": {"low": 4, "high": 16}}, where="")
        assert space.point_of({"num_leaves": 8}) == {"num_leaves": 8}
        assert space.point_of({"num_leaves": 99}) is None

    def test_what_is_not_given_is_lightgbms_own(self) -> None:
        """Of any parameter: none is taken for the lower end of its range."""
        space = parse_space(
            {
                "max_bin": {"low": 63, "high": 255},
                "max_delta_step": {"low": 0.0, "high": 1.0},
                "extra_trees": [True, False],
            },
            where="",
        )
        assert space.point_of({}) == {"max_bin": 255, "max_delta_step": 0.0, "extra_trees": False}
        assert parse_space({"skip_drop": {"low": 0.0, "high": 0.4}}, where="").point_of({}) is None  # it is 0.5

    @pytest.mark.parametrize(
        ("own", "fraction"),
        [({}, 1.0), ({"bagging_fraction": 0.6}, 1.0), ({"bagging_fraction": 0.6, "bagging_freq": 3}, 0.6)],
    )
    def test_a_fraction_without_a_frequency_is_all_rows(self, own: dict[str, Any], fraction: float) -> None:
        space = parse_space({"bagging_fraction": {"low": 0.5, "high": 1.0}}, where="")
        assert initial_point(space, own) == {"bagging_fraction": fraction}

    @given(
        rows=st.integers(10, 10**6),
        leaves=st.integers(2, 5_000),
        fraction=st.floats(0.01, 1),
        l2=st.floats(0, 1_000),
    )
    @settings(max_examples=40)
    def test_the_default_space_holds_the_own_parameters(
        self, rows: int, leaves: int, fraction: float, l2: float
    ) -> None:
        own = {"num_leaves": leaves, "feature_fraction": fraction, "lambda_l2": l2}
        space = default_space("binary", rows, 30, has_categories=True)
        for given_ in ({}, own):
            assert initial_point(space.widened(given_), given_) is not None


# ------------------------------------------------------------------------------------------------------------ pruning


@given(
    rival=st.lists(st.floats(-1, 1), min_size=5, max_size=5),
    gains=st.lists(st.floats(-1, 1), min_size=5, max_size=5),
    folds=st.integers(0, 5),
    greater=st.booleans(),
)
def test_only_what_is_worse_is_given_up(rival, gains, folds: int, greater: bool) -> None:
    sign = 1 if greater else -1
    scores = {k: rival[k] + sign * gains[k] for k in range(folds)}
    given_up = is_prunable(scores, dict(enumerate(rival)), greater_is_better=greater)
    worse = [sign * (scores[k] - rival[k]) for k in scores]
    if given_up:
        assert folds >= 3
        assert np.mean(worse) < 0
    elif folds >= 3 and len({round(abs(w), 9) for w in worse}) == folds:
        # Every fold worse, by amounts that can be ranked: 1/8 at most.
        assert not all(w < 0 for w in worse)


def test_a_fold_is_behind_only_where_all_top_trials_were_ahead_with_a_third_of_the_leaves() -> None:
    curves = Curves(greater_is_better=True)
    for number in range(TOP_TRIALS):
        curve = Curve()
        for step in range(1, 11):
            curve.add(100 * step, 0.5 + 0.01 * step + 0.001 * number)
        curves.add(0, number, curve)
    top_trials = list(range(TOP_TRIALS))
    assert not curves.is_behind(0, top_trials, 200, 0.0)  # too early
    assert curves.is_behind(0, top_trials, 500, 0.509)
    assert not curves.is_behind(0, top_trials, 500, 0.5105)  # ahead of one
    assert curves.is_behind(0, top_trials, 9_000, 0.59)  # their last value counts
    assert not curves.is_behind(1, top_trials, 500, 0.0)  # another fold
    assert not curves.is_behind(0, top_trials[:-1], 500, 0.0)  # too few


# --------------------------------------------------------------------------------------------------------------- plan


folds_of_rows = st.lists(st.integers(100, 10**7), min_size=2, max_size=8)


class TestPlan:
    @given(
        seconds=st.floats(1, 10_000),
        per_round=st.floats(1e-5, 1.0),
        train_rows=folds_of_rows,
        all_folds=st.booleans(),
    )
    def test_what_tells_least_is_given_up_first(
        self, seconds: float, per_round: float, train_rows: list[int], all_folds: bool
    ) -> None:
        valid_rows = [max(1, n // 4) for n in train_rows]
        n_folds = len(train_rows)
        quick = low_fidelity_within(
            seconds, per_round, train_rows, valid_rows, all_folds=all_folds, searches_rate=False
        )
        enough = -(-ENOUGH_VALID_ROWS * n_folds // sum(valid_rows))
        least = n_folds if all_folds else min(n_folds, enough)
        # Where not even a few trials of a few rounds would fit, there are fewer folds.
        fitting = seconds / MIN_TRIALS / MIN_ROUNDS / (per_round * quick.row_share)
        if not all_folds and fitting < 1.3 * least:
            least = len(quick.folds)
            assert least == 1 or least <= 1.3 * fitting
        assert set(quick.folds) <= set(range(n_folds))
        assert least <= len(quick.folds) <= n_folds
        # Those with the most rows.
        assert min(train_rows[k] for k in quick.folds) >= max(
            (train_rows[k] for k in range(n_folds) if k not in quick.folds), default=0
        )
        if quick.row_share < 1:
            assert len(quick.folds) == least
            assert quick.learning_rate >= 0.1
            assert quick.row_share * np.mean(train_rows) >= 0.99 * MIN_ROWS
        assert 0.03 <= quick.learning_rate <= 0.3
        if quick.learning_rate > 0.061:
            assert len(quick.folds) == least
        if quick.learning_rate > 0.13:
            assert quick.row_share * np.mean(train_rows) <= 1.3 * MIN_ROWS
        assert LowFidelity.of(json.loads(json.dumps(quick.content()))) == quick

    @pytest.mark.parametrize(
        ("quick_rate", "own_rate", "expected"),
        [(0.1, 0.02, (0.1, 200)), (0.1, 0.1, (0.1, 1000)), (0.06, 0.3, (0.3, 1000))],
    )
    def test_rounds_that_are_fixed_are_fewer_at_a_higher_rate(
        self, quick_rate: float, own_rate: float, expected: tuple[float, int]
    ) -> None:
        quick = replace(low_fidelity_without_time([1_000] * 5, searches_rate=False), learning_rate=quick_rate)
        fixed = with_fixed_rounds(quick, 1000, own_rate)
        assert ((fixed.learning_rate, fixed.rounds), fixed.patience) == (expected, 0)

    def test_enough_trials_fit_at_the_cost_of_a_large_table(self) -> None:
        """209,000 train rows a fold at 20 ms a round, in two minutes: one fold, and 40 trials as long as they get."""
        quick = low_fidelity_within(120, 0.02, [209_000] * 5, [52_000] * 5, all_folds=False, searches_rate=False)
        assert (quick.folds, quick.learning_rate) == ((4,), 0.1)
        assert 0.7 * 30 / quick.learning_rate * 0.02 * quick.row_share * 40 == pytest.approx(120, rel=0.02)
        grouped = low_fidelity_within(120, 0.02, [209_000] * 5, [52_000] * 5, all_folds=True, searches_rate=False)
        assert grouped.folds == (0, 1, 2, 3, 4)
        assert grouped.row_share == pytest.approx(quick.row_share / 5, abs=0.01)

    def test_time_to_spare_goes_into_a_lower_rate(self) -> None:
        """26,000 rows at 2 ms a round, in three minutes and in ten."""
        short, long = (
            low_fidelity_within(s, 0.002, [20_800] * 5, [5_200] * 5, all_folds=False, searches_rate=False)
            for s in (180, 600)
        )
        assert len(short.folds) == 4
        assert short.learning_rate == 0.06
        assert (long.folds, long.learning_rate, long.row_share) == ((0, 1, 2, 3, 4), 0.03, 1.0)

    @pytest.mark.parametrize(
        ("rate", "known", "expected"), [(0.03, 0.1, True), (0.05, 0.07, False), (0.1, 0.03, False), (0.02, 0.13, False)]
    )
    def test_a_rate_of_another_step_but_one_is_much_lower(self, rate: float, known: float, expected: bool) -> None:
        assert is_much_lower(rate, known) == expected

    @given(seconds=st.floats(1, 10_000), fold=st.floats(0.01, 100), wanted=st.sampled_from([1.3, 2.5]))
    def test_the_rate_is_the_lowest_that_fits(self, seconds: float, fold: float, wanted: float) -> None:
        quick = low_fidelity_without_time([1_000] * 5, searches_rate=False)
        rate = affordable_rate(seconds, [fold], quick, 5, wanted)
        assert rate in FULL_CV_RATES
        takes = {r: wanted * 5 * 1.2 * fold * 0.1 / r for r in FULL_CV_RATES}
        assert takes[rate] <= seconds or rate == FULL_CV_RATES[-1]
        assert all(takes[r] > seconds for r in FULL_CV_RATES if r < rate)

    @given(
        scores=st.dictionaries(
            st.integers(0, 30), st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=12
        ),
        room=st.floats(0, 20),
        greater=st.booleans(),
    )
    def test_the_best_stays_in_the_race(self, scores: dict[int, list[float]], room: float, greater: bool) -> None:
        own = min(scores)
        hopeful = not_clearly_worse(scores, own, greater_is_better=greater)
        means = {n: np.mean(s) if greater else -np.mean(s) for n, s in scores.items()}
        assert means[hopeful[0]] == max(means.values())
        assert own in hopeful
        assert [means[n] for n in hopeful] == sorted((means[n] for n in hopeful), reverse=True)
        fitting = affordable_trials(hopeful, room, own)
        assert len(fitting) == max(1, min(int(room), len(hopeful)))
        assert fitting[0] == hopeful[0]
        assert own in fitting or len(fitting) < 3

    def test_who_is_worse_on_each_fold_is_dropped(self) -> None:
        scores = {3: [0.8, 0.9], 4: [0.79, 0.89], 5: [0.81, 0.88], 6: [0.7, 0.8]}
        assert not_clearly_worse(scores, 6, greater_is_better=True) == [3, 5, 6]
        assert not_clearly_worse(scores, None, greater_is_better=False) == [6]
        assert not_clearly_worse({3: [0.8], 4: [0.1]}, None, greater_is_better=True) == [3, 4]  # one fold says nothing

    @given(
        seconds=st.floats(0.1, 1_000), each=st.lists(st.floats(0.01, 100), min_size=1, max_size=4), n=st.integers(2, 9)
    )
    def test_second_scores_fit_into_their_time(self, seconds: float, each: list[float], n: int) -> None:
        n_scored, n_sets = repeated_cv_folds(seconds, each, n)
        assert 1 <= n_scored <= n
        assert 1 <= n_sets <= len(each)
        assert n_scored * sum(each[:n_sets]) <= seconds or (n_scored, n_sets) == (1, 1)


# ------------------------------------------------------------------------------------------------------------ scoring


class TestFoldScorer:
    @pytest.mark.parametrize(
        ("task", "metric"),
        [
            ("binary", "auc"),
            ("binary", "f1"),
            ("regression", "rmse"),
            ("regression", "rmsle"),
            ("multiclass", "mlogloss"),
            ("multiclass", "accuracy"),
            ("two", "rmse"),
        ],
    )
    def test_a_full_score_is_what_the_run_gives(self, small, task: str, metric: str) -> None:
        """The same folds, parameters, rounds and seed: the same numbers, without predicting a row."""
        made = small(task=task, metric=metric)
        made.experiment(1, f'features = ["rows", "te_town"]\nrounds = "per fold"\n{MODEL}')
        done = run(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1)).run
        experiment = ready(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))
        scorer = FoldScorer(experiment.problem, experiment.model, max_bytes=10**9)
        fidelity = Fidelity(None, 30, 5)
        scores = [scorer.score({}, k, 1, fidelity, keep_oof=True) for k in range(5)]
        assert [s.score for s in scores] == pytest.approx(done.record.fold_scores, rel=1e-9)
        oof = done.oof_array
        for k, scored in enumerate(scores):
            assert scored.oof == pytest.approx(oof[experiment.problem.folds.valid_rows(k)], rel=1e-6)

    def test_datasets_are_made_once_and_only_where_there_is_room(self, made, monkeypatch) -> None:
        experiment = ready(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))
        asked: list[int] = []
        from workbench.models.lightgbm.fold_datasets import FoldDatasets

        whole = FoldDatasets.split
        monkeypatch.setattr(
            FoldDatasets, "split", lambda self, fold, *rest: (asked.append(fold), whole(self, fold, *rest))[1]
        )
        for room, times in ((10**9, 1), (0, 3)):
            asked.clear()
            scorer = FoldScorer(experiment.problem, experiment.model, max_bytes=room)
            scores = [scorer.score({"num_leaves": n}, 0, 1, Fidelity(0.1, 10, 0)).score for n in (4, 8, 4)]
            assert scores[0] == scores[2] != scores[1]
            assert len(asked) == times

    def test_other_bins_get_datasets_of_their_own(self, made) -> None:
        experiment = ready(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))
        scorer = FoldScorer(experiment.problem, experiment.model, max_bytes=10**9)
        few, many = (scorer.score({"max_bin": b}, 0, 1, Fidelity(0.1, 10, 0)).score for b in (4, 255))
        assert few != many

    @pytest.mark.slow
    def test_bins_that_were_searched_make_room_for_others(self, made, monkeypatch) -> None:
        experiment = ready(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))
        n = experiment.problem.target.n_rows
        from workbench.models.lightgbm.fold_datasets import FoldDatasets

        whole, asked, alive = FoldDatasets.split, [], weakref.WeakSet()
        monkeypatch.setattr(
            FoldDatasets,
            "split",
            lambda self, *rest: (asked.append(1), alive.add(self), whole(self, *rest))[2],
        )

        def made_anew(scorer: FoldScorer, *bins: int) -> int:
            asked.clear()
            for n_bins in bins:
                scorer.score({"max_bin": n_bins}, 0, 1, Fidelity(0.1, 5, 0))
            return len(asked)

        # Room for one set of bins beside the experiment's own datasets.
        tight = FoldScorer(experiment.problem, experiment.model, max_bytes=4 * n * 20)
        assert made_anew(tight, 4, 8, 16, 32) == 4
        gc.collect()
        assert 1 <= len(alive) < 4
        assert made_anew(tight, 32, 4) == 1
        del tight
        gc.collect()
        assert not alive
        plenty = FoldScorer(experiment.problem, experiment.model, max_bytes=10**9)
        assert made_anew(plenty, 4, 8, 16, 32) == 4
        gc.collect()
        assert len(alive) == 4
        assert made_anew(plenty, 4, 8, 16, 32) == 0

    def test_without_patience_the_last_round_is_scored(self, made) -> None:
        """A model that is not stopped early has all of its rounds, however good it was before."""
        made.experiment(1, EXPERIMENT.replace("early_stopping_round = 5", "early_stopping_round = 0"))
        experiment = ready(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))
        scorer = FoldScorer(experiment.problem, experiment.model, max_bytes=10**9)
        odd = {"num_leaves": 60, "min_data_in_leaf": 1, "learning_rate": 1.0}
        last = scorer.score(odd, 0, 1, Fidelity(None, 30, 0), keep_oof=True)
        best = scorer.score(odd, 0, 1, Fidelity(None, 30, 30))
        assert last.rounds == (30,)
        assert best.rounds[0] < 30
        assert best.score > last.score
        only = scorer.score(odd, 0, 1, Fidelity(None, 30, 0, evaluation_interval=30), keep_oof=True)
        assert only.score == last.score
        assert only.oof == pytest.approx(last.oof)

    def test_labels_that_a_metric_can_not_score_are_a_failure_of_the_trial(self, small) -> None:
        made = small(metric="f1")
        made.experiment(1, EXPERIMENT)
        experiment = ready(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))
        metric = replace(experiment.problem.metric, name="mine", compute=lambda *_: math.nan)
        scorer = FoldScorer(replace(experiment.problem, metric=metric), experiment.model, max_bytes=0)
        with pytest.raises(TrainingError, match="fold 0"):
            scorer.score({}, 0, 1, Fidelity(0.1, 10, 0))

    def test_a_fold_whose_time_is_over_has_what_is_best_by_then(self, made) -> None:
        experiment = ready(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))
        scorer = FoldScorer(experiment.problem, experiment.model, max_bytes=10**9)
        cut = scorer.score({}, 0, 1, Fidelity(0.1, 30, 0, evaluation_interval=7, seconds=0.0), keep_oof=True)
        one = scorer.score({}, 0, 1, Fidelity(0.1, 1, 0), keep_oof=True)
        assert (cut.rounds_at_time_limit, one.rounds_at_time_limit) == (1, None)
        assert cut.score == one.score
        assert cut.oof == pytest.approx(one.oof)

    def test_a_metric_without_a_number_is_named(self, made, monkeypatch) -> None:
        experiment = ready(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))
        metric = replace(experiment.problem.metric, name="mine", compute=lambda *_: math.nan)
        scorer = FoldScorer(replace(experiment.problem, metric=metric), experiment.model, max_bytes=0)
        with pytest.raises(TrainingError, match="metric 'mine' gives nan"):
            scorer.score({}, 0, 1, Fidelity(0.1, 10, 0))


# -------------------------------------------------------------------------------------------------------------- study


KEY = StudyKey("small-001", {"features": "a", "folds": "b", "space": "c"})


def points(folder: Path, key: StudyKey = KEY, **options: Any) -> tuple[list[Any], list[str]]:
    with open_study(folder, key, greater_is_better=True, **options) as opened:
        return opened.study.get_trials(), opened.notes


class TestStudy:
    @pytest.mark.parametrize("part", ["features", "folds", "space"])
    def test_it_begins_anew_where_a_part_changes_and_keeps_the_old_one(self, tmp_path: Path, part: str) -> None:
        with open_study(tmp_path, KEY, greater_is_better=True) as opened:
            opened.study.tell(opened.study.ask(), 1.0)
        assert points(tmp_path)[1] == ["the study continues after 1 trial"]
        trials, notes = points(tmp_path, replace(KEY, parts=KEY.parts | {part: "z"}))
        assert trials == []
        assert notes[0].startswith(
            f"the study starts over because {part} changed; the old one, with 1 trial, is kept: "
        )
        assert len(list(tmp_path.glob("journal-*.log"))) == 1

    def test_what_others_are_at_work_on_is_not_begun_anew(self, tmp_path: Path) -> None:
        with open_study(tmp_path, KEY, greater_is_better=True) as opened:
            opened.study.tell(opened.study.ask(), 1.0)
            with pytest.raises(BusyError, match="another process searches 'small-001' as it was before folds changed"):
                points(tmp_path, replace(KEY, parts=KEY.parts | {"folds": "z"}))
        assert [t.value for t in points(tmp_path)[0]] == [1.0]

    def test_the_kept_oof_go_aside_with_the_journal(self, tmp_path: Path) -> None:
        points(tmp_path)
        (tmp_path / "oof").mkdir()
        (tmp_path / "oof" / "00000.npz").touch()
        points(tmp_path, replace(KEY, parts=KEY.parts | {"folds": "z"}))
        assert not (tmp_path / "oof").exists()
        assert len(list(tmp_path.glob("oof-*/00000.npz"))) == 1

    def test_a_line_that_was_torn_by_a_kill_is_cut_off(self, tmp_path: Path) -> None:
        with open_study(tmp_path, KEY, greater_is_better=True) as opened:
            opened.study.tell(opened.study.ask(), 1.0)
        path = tmp_path / "journal.log"
        path.write_bytes(path.read_bytes() + b'{"op_code": 4, "worker')
        with open_study(tmp_path, KEY, greater_is_better=True) as opened:
            opened.study.tell(opened.study.ask(), 2.0)
        assert [t.value for t in points(tmp_path)[0]] == [1.0, 2.0]

    def test_a_trial_whose_process_died_is_tried_once_more_and_then_marked(self, tmp_path: Path) -> None:
        from optuna.distributions import FloatDistribution

        space = {"x": FloatDistribution(0, 1)}
        for expected in ("queued again", "marked as failed"):
            with open_study(tmp_path, KEY, greater_is_better=True) as opened:
                trial = opened.ask(space)
                x = trial.params["x"]
            _, notes = points(tmp_path)
            assert any(expected in n for n in notes), notes
        with open_study(tmp_path, KEY, greater_is_better=True) as opened:
            states = [t.state.name for t in opened.study.get_trials()]
            assert states == ["FAIL", "FAIL"]
            assert opened.study.trials[1].params["x"] == opened.study.trials[0].params["x"] == x

    def test_a_trial_that_was_killed_before_it_had_a_name_is_settled(self, tmp_path: Path) -> None:
        with open_study(tmp_path, KEY, greater_is_better=True) as opened:
            opened.study.ask()
        trials, _ = points(tmp_path)
        assert [t.state.name for t in trials] == ["FAIL"]

    def test_a_trial_of_a_living_process_is_left_alone(self, tmp_path: Path) -> None:
        with open_study(tmp_path, KEY, greater_is_better=True) as opened:
            opened.ask({})
            trials, notes = points(tmp_path)
            assert [t.state.name for t in trials] == ["RUNNING"]
            assert not any("middle" in n for n in notes)

    @pytest.mark.parametrize("zone", ["UTC-9", "UTC+11"])
    def test_a_trial_of_another_machine_lives_as_long_as_it_says_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str
    ) -> None:
        """However long it takes, and whatever time of day it is there."""
        monkeypatch.setattr(study_module, "HEARTBEAT_INTERVAL_S", 0.05)
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            with open_study(tmp_path, KEY, greater_is_better=True) as opened:
                opened.worker = "00000000-00000000-elsewhere"
                trial = opened.ask({})
                monkeypatch.setenv("TZ", "UTC+3")
                time.tzset()
                trial.set_user_attr("seen_at", long_ago := "2020-01-01T00:00:00+00:00")
                until = time.monotonic() + 60
                while opened.study.trials[0].user_attrs["seen_at"] == long_ago and time.monotonic() < until:
                    time.sleep(0.02)
                assert [t.state.name for t in points(tmp_path)[0]] == ["RUNNING"]
            # It says so no more, and for as long as it may be silent it is taken to live.
            (last,), _ = points(tmp_path)
            time.sleep(0.5)
            (later,), _ = points(tmp_path)
            assert later.user_attrs["seen_at"] == last.user_attrs["seen_at"]
            assert later.state.name == "RUNNING"
            monkeypatch.setattr(dead_trials_module, "DEAD_AFTER_S", 0.4)
            assert [t.state.name for t in points(tmp_path)[0]] == ["FAIL"]
        finally:
            monkeypatch.delenv("TZ")
            time.tzset()

    def test_an_earlier_versions_trial_of_another_machine_is_not_taken_for_dead_by_its_clock(
        self, tmp_path: Path
    ) -> None:
        from datetime import datetime, timedelta

        import optuna

        states = {}
        for hours in (20, 50):
            folder = tmp_path / str(hours)
            trial = optuna.trial.create_trial(
                state=optuna.trial.TrialState.RUNNING, user_attrs={"worker": "another-0123456789ab"}
            )
            trial.datetime_start = datetime.now() - timedelta(hours=hours)  # noqa: DTZ005 as optuna has it
            with open_study(folder, KEY, greater_is_better=True) as opened:
                opened.study.add_trial(trial)
            (states[hours],) = [t.state.name for t in points(folder)[0]]
        assert states == {20: "RUNNING", 50: "FAIL"}

    def test_two_that_open_at_the_same_moment_draw_other_points(self, tmp_path: Path, monkeypatch) -> None:
        """Each holds its own lock before either gets that of the study."""
        from optuna.distributions import FloatDistribution

        monkeypatch.setattr(dead_trials_module, "is_locked", lambda _: True)
        drawn = []
        for _ in range(3):
            with open_study(tmp_path, KEY, greater_is_better=True, seed=5) as opened:
                drawn.append(opened.ask({"x": FloatDistribution(0, 1)}).params["x"])
        assert len(set(drawn)) == 3

    def test_processes_know_their_place(self, tmp_path: Path) -> None:
        with open_study(tmp_path, KEY, greater_is_better=True) as first:
            (tmp_path / "workers" / "0-of-one-that-died").touch()
            with open_study(tmp_path, KEY, greater_is_better=True) as second:
                assert sorted([first.position(), second.position()]) == [(0, 2), (1, 2)]
            assert first.position() == (0, 1)

    def test_a_database_that_is_not_there_is_named_without_its_password(self, tmp_path: Path) -> None:
        url = "postgresql+psycopg://me:secret@127.0.0.1:1/studies"
        with pytest.raises((StorageError, ConfigError)) as caught:
            points(tmp_path, url=url)
        assert "secret" not in str(caught.value)

    def test_a_full_disk_is_said_and_what_was_written_is_kept(self, made, monkeypatch) -> None:
        from optuna.storages.journal import JournalFileBackend

        whole, written = JournalFileBackend.append_logs, []

        def filling(self, logs) -> None:
            written.append(logs)
            if len(written) > 40:
                raise OSError(errno.ENOSPC, "No space left on device")
            whole(self, logs)

        with monkeypatch.context() as patch:
            patch.setattr(JournalFileBackend, "append_logs", filling)
            with pytest.raises(StorageError, match="no space left"):
                tuned(made)
        kept = [t.values for t in journal(made).trials if t.state.is_finished()]
        assert len(kept) > 1
        outcome = tuned(made)
        finished = [t.values for t in journal(made).trials if t.state.is_finished()]
        assert finished[: len(kept)] == kept
        assert len(finished) >= len(kept) + 6
        assert outcome.tuned.best is not None


# ------------------------------------------------------------------------------------------------------------- search


class TestSearch:
    def test_the_own_parameters_come_first_then_points_known_to_be_good(self, made) -> None:
        outcome = tuned(made)
        trials = journal(made).get_trials()
        assert trials[0].params == {"num_leaves": 8, "lambda_l2": 1.0}
        assert [t.params for t in trials[1:6]] == proven_points(outcome.space)
        assert outcome.tuned.n_new_trials == 6
        assert outcome.tuned.initial is not None
        assert outcome.tuned.initial.number == 0

    @pytest.mark.parametrize("rate", [0.1, 0.2])
    def test_the_full_score_of_the_own_parameters_is_that_of_their_run(self, made, rate: float) -> None:
        """At the rate of the quick scores, too: they have other rounds and patience."""
        text = EXPERIMENT.replace("learning_rate = 0.2", f"learning_rate = {rate}")
        made.experiment(1, 'rounds = "per fold"\n' + text.partition("[tune]")[0])
        before = run(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1)).run.record
        outcome = tuned(made)
        assert outcome.before.run_id == before.run_id
        assert outcome.tuned.initial.full_cv == pytest.approx(before.fold_scores, rel=1e-9)

    def test_the_best_is_scored_on_folds_that_the_search_has_not_seen(self, made) -> None:
        outcome = tuned(made)
        second = [s for s in outcome.tuned.ranked if s.repeated_cv is not None]
        assert len(second) >= 2
        assert all(s.repeated_cv != s.full_cv for s in second)
        assert outcome.tuned.best.selection_score == max(s.selection_score for s in second)

    def test_full_scores_are_of_one_number_of_rounds(self, made) -> None:
        outcome = tuned(made)
        assert all(len(s.rounds) == 1 for s in outcome.tuned.ranked)
        # A fold that stops before the mean is not trained further here: the run may go on, and score a little better.
        run_score = run(
            made.workspace, made.open.access.competition, 1, RunRequest(model=dict(START)), RunContext(threads=1)
        ).run.score
        assert outcome.tuned.initial.value == pytest.approx(run_score, abs=0.01)

    def test_rows_are_held_out_from_the_search(self, made) -> None:
        outcome = tuned(made, holdout=True)
        best, experiment = (
            outcome.tuned.best,
            ready(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1)),
        )
        assert (len(best.full_cv), len(best.repeated_cv)) == (4, 5)
        last = experiment.problem.folds.valid_rows(4)
        seen = without_last_fold(experiment.problem).folds
        assert not any(np.isin(last, side(k)).any() for k in range(4) for side in (seen.train_rows, seen.valid_rows))
        # As that fold's model would be, for as many rounds as the other folds have.
        scorer = FoldScorer(experiment.problem, experiment.model, max_bytes=10**9)
        for one in (best, outcome.tuned.initial):
            parameters = outcome.space.parameters(one.parameters)
            again = scorer.score(parameters, 4, 1, Fidelity(one.learning_rate, 1, 0, exact_rounds=one.rounds))
            assert one.holdout == again.score
        assert outcome.optimistic == ("tuned on these folds" if best != outcome.tuned.initial else None)

    def test_folds_in_time_are_cut_at_other_times_instead(self, made) -> None:
        made.definition('scheme = "stratified"', 'scheme = "time"\ncolumn = "day"')
        outcome = tuned(made)
        assert "repeated CV has one fold more, with folds that are cut at other times" in outcome.notes
        assert (len(outcome.tuned.best.full_cv), len(outcome.tuned.best.repeated_cv)) == (5, 6)

    def test_the_same_seed_gives_the_same_trials(self, made) -> None:
        tuned(made, trials=12)
        first = [(t.params, t.value) for t in journal(made).get_trials()]
        (made.open.access.competition.paths.study(1) / "journal.log").unlink()
        tuned(made, trials=12)
        assert [(t.params, t.value) for t in journal(made).get_trials()] == first

    def test_it_goes_on_where_it_was_left(self, made) -> None:
        tuned(made, trials=3)
        outcome = tuned(made, trials=4)
        assert len(journal(made).trials) == 7
        assert outcome.tuned.n_new_trials == 4

    def test_a_study_of_an_earlier_search_is_begun_anew(self, made) -> None:
        tuned(made, trials=3)
        study = journal(made)
        study.set_user_attr("parts", {k: v for k, v in study.user_attrs["parts"].items() if k != "search"})
        study.set_user_attr("quick", {"rate": 0.1, "rounds": 300, "patience": 30, "every": 1, "share": 1.0})
        said: list[str] = []
        outcome = tuned(made, trials=3, report=said.append)
        assert any("the study starts over because search changed" in s for s in said)
        assert outcome.tuned.best is not None

    def test_no_time_for_one_trial_keeps_the_own_parameters_and_says_so(self, made) -> None:
        done = run(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1)).run.record
        outcome = tuned(made, trials=None, minutes=1e-6)
        assert outcome.tuned.best is None
        assert outcome.parameters["num_leaves"] == 8
        kept = f"no trial finished within the time: the experiment's own parameters are kept, with their score {done.cv_mean:.5f}"
        assert kept in outcome.notes
        with pytest.raises(NotFoundError, match="has no tuned parameters"):
            made.open.experiments.new(source=1, tuned=True)

    def test_time_that_is_over_in_the_middle_of_a_trial_loses_nothing(self, made, monkeypatch, clock) -> None:
        """The trial that was stopped is in the next search."""
        calls: list[int] = []

        def slow(score, *args, **kwargs):
            calls.append(1)
            if len(calls) == 14:
                clock.ahead_s = 1e6
            return score(*args, **kwargs)

        with monkeypatch.context() as patch:
            on_folds(patch, slow)
            tuned(made, trials=None, minutes=10)
        trials = journal(made).get_trials()
        (stopped,) = [t for t in trials if "stopped" in t.user_attrs]
        outcome = tuned(made, trials=6)
        assert outcome.tuned.failed == 0
        assert [t.params for t in journal(made).trials].count(stopped.params) == 2

    def test_a_trial_that_fails_is_tried_once_more_and_marked(self, made, monkeypatch) -> None:
        whole = FoldScorer.score

        def failing(self, parameters, *args, **kwargs):
            if parameters.get("lambda_l2") == 1.0 and parameters.get("num_leaves") == 8:
                raise TrainingError("LightGBM refused: too odd")
            return whole(self, parameters, *args, **kwargs)

        monkeypatch.setattr(FoldScorer, "score", failing)
        outcome = tuned(made, trials=8)
        assert outcome.tuned.failed == 2
        assert [n for n in outcome.notes if "too odd" in n] == [
            "trial 0 (tried once more): LightGBM refused: too odd",
            "trial 6 (failed twice): LightGBM refused: too odd",
        ]
        assert outcome.tuned.best is not None

    def test_the_oof_of_the_best_trials_are_kept(self, made) -> None:
        outcome = tuned(made, trials=10, keep=3)
        folder = outcome.folder / "oof"

        def kept() -> set[int]:
            return {int(p.stem) for p in folder.glob("*.npz")}

        assert len(kept()) == 3
        assert {s.number for s in outcome.tuned.ranked[:3]} <= kept()
        # The quick scores of a search that goes on do not drive out the full ones.
        outcome = tuned(made, trials=4, keep=3)
        assert len(kept()) == 3
        assert {s.number for s in outcome.tuned.ranked[:3]} <= kept()
        experiment = ready(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))
        problem = experiment.problem
        best = outcome.tuned.best.number
        with np.load(folder / f"{best:05d}.npz") as file:
            oof, value = file["oof"].astype(np.float64), float(file["value"])
        scores = [
            problem.metric(problem.target.columns[0].values[r], oof[r, 0])
            for r in map(problem.folds.valid_rows, range(5))
        ]
        assert np.mean(scores) == pytest.approx(value, abs=1e-6)
        assert value == pytest.approx(outcome.tuned.best.value, abs=1e-9)

    @pytest.mark.parametrize(("metric", "greater"), [("auc", True), ("f1", False)])
    def test_curves_have_the_direction_of_what_is_watched(self, small, monkeypatch, metric: str, greater: bool) -> None:
        """Of labels the log loss is watched, which is better where it is lower."""
        monkeypatch.setenv("WB_THREADS", "1")
        found = small(metric=metric)
        found.experiment(1, EXPERIMENT)
        asked: list[bool] = []
        monkeypatch.setattr(low_fidelity_module, "Curves", lambda greater: asked.append(greater) or Curves(greater))
        tuned(found, trials=2)
        assert asked == [greater]

    def test_a_search_that_keeps_makes_what_one_before_left_out(self, made) -> None:
        first = tuned(made)
        outcome = tuned(made, trials=1, keep=4)
        paths = sorted((outcome.folder / "oof").glob("*.npz"))
        assert {s.number for s in outcome.tuned.ranked[:4]} <= {int(p.stem) for p in paths}
        assert {int(p.stem) for p in paths} & {s.number for s in first.tuned.ranked}
        values = {t.number: t.value for t in journal(made).trials} | {s.number: s.value for s in outcome.tuned.ranked}
        for path in paths:
            with np.load(path) as file:
                assert np.isfinite(file["oof"]).all()
                assert float(file["value"]) == pytest.approx(values[int(path.stem)], abs=1e-9)

    def test_what_was_left_out_is_made_before_the_race_takes_the_time(self, made) -> None:
        first = tuned(made)
        with pytest.raises(KeyboardInterrupt):
            tuned(made, progress=killed_at("full CV"), trials=1, keep=2)
        kept = {int(p.stem) for p in (first.folder / "oof").glob("*.npz")}
        assert kept == {s.number for s in first.tuned.ranked[:2]}

    def test_folds_of_a_killed_search_that_kept_none_are_made_again_for_the_oof(self, made, monkeypatch) -> None:
        calls: list[int] = []

        def dying(score, parameters, fold, seed, fidelity, **more):
            calls.extend([fold] * is_full(fidelity, more))
            if len(calls) == 9:
                raise KeyboardInterrupt
            return score(parameters, fold, seed, fidelity, **more)

        with monkeypatch.context() as patch:
            on_folds(patch, dying)
            with pytest.raises(KeyboardInterrupt):
                tuned(made)
        outcome = tuned(made, trials=1, keep=100)
        kept = {int(p.stem) for p in (outcome.folder / "oof").glob("*.npz")}
        assert {s.number for s in outcome.tuned.ranked} <= kept

    def test_a_kill_between_the_file_and_the_score_loses_nothing(self, made, monkeypatch) -> None:
        """The file is there before the score is, never the other way round."""
        import optuna

        whole, there = optuna.Study.tell, []
        folder = made.open.access.competition.paths.study(1) / "oof"

        def telling(self, trial, values=None, **more):
            number = trial if isinstance(trial, int) else trial.number
            there.append(values is None or (folder / f"{number:05d}.npz").exists())
            return whole(self, trial, values, **more)

        monkeypatch.setattr(optuna.Study, "tell", telling)
        tuned(made, trials=4, keep=100)
        assert there
        assert all(there)

    def test_an_oof_that_is_kept_is_whole(self, made) -> None:
        """A study whose quick scores are of some folds is gone on with, and OOF are asked for."""
        begun(made, folds=[3, 4])
        tuned(made)
        outcome = tuned(made, trials=3, keep=20)
        said = "OOF are kept of full CV only: the study's low-fidelity scores are of 2 of 5 folds"
        assert said in outcome.notes
        paths = list((outcome.folder / "oof").glob("*.npz"))
        assert {int(p.stem) for p in paths} <= {s.number for s in outcome.tuned.ranked}
        for path in paths:
            with np.load(path) as file:
                assert np.isfinite(file["oof"]).all()

    @pytest.mark.slow
    def test_more_time_lowers_the_rate_of_full_scores(self, made, monkeypatch) -> None:
        made.experiment(1, EXPERIMENT.replace("learning_rate = 0.2\n", ""))
        begun(made)  # how quick a quick score is does not depend on the time

        def with_rate(rate: float) -> dict[int, float]:
            monkeypatch.setattr(full_cv_module, "affordable_rate", lambda *_: rate)
            with pytest.raises(KeyboardInterrupt):
                tuned(made, progress=killed_at("repeated CV"), trials=2, minutes=60)
            return {s.number: s.learning_rate for s in scored_trials(journal(made), greater_is_better=True)}

        first = with_rate(0.1)
        assert set(first.values()) == {0.1}
        again = with_rate(0.07)
        assert set(again.values()) == {0.1}
        lower = with_rate(0.03)
        assert set(lower) >= set(again)  # a score that is not made again stays
        assert lower[0] == 0.03  # the experiment's own stay in the race
        newest = with_rate(0.1)
        assert {newest[n] for n in newest if n not in lower} <= {0.03}
        assert journal(made).user_attrs["full_rate"] == 0.03

    @pytest.mark.parametrize("minutes", [60, None])
    def test_processes_share_out_the_race(self, made, minutes: float | None) -> None:
        """Of those that wait each takes its own, and leaves one in any case; who ends by trials takes all."""
        begun(made)
        workers = made.open.access.competition.paths.study(1) / "workers"
        with lock(workers / "!the-first-of-two", "another worker"):
            tuned(made, trials=6, minutes=minutes)
        study = journal(made)
        quick = {
            t.number: t.value for t in study.trials if t.state.name == "COMPLETE" and "same_as" not in t.user_attrs
        }
        raced = {int(name.partition(":")[2]) for name in study.user_attrs if name.startswith("full:")}
        best = max(quick, key=lambda n: quick[n])
        assert raced <= set(quick)
        if minutes is None:
            assert best in raced
        else:
            assert raced == set(quick) - {best}

    @pytest.mark.parametrize("share", [1.0, 0.5])
    def test_without_time_for_full_scores_the_best_quick_one_is_taken(self, made, clock, share: float) -> None:
        begun(made, share=share)
        outcome = tuned(made, progress=clock.over_at("full CV"), minutes=60)
        complete = [t for t in journal(made).get_trials() if t.state.name == "COMPLETE"]
        assert outcome.tuned.ranked == (outcome.tuned.best,)
        assert not any(name.startswith("full:") for name in journal(made).user_attrs)
        assert outcome.tuned.best.number == max(complete, key=lambda t: t.value).number
        said = "" if share == 1.0 else ", of 50% of the rows"
        assert f"the time was too short for full CV: the best is chosen by low-fidelity scores{said}" in outcome.notes

    def test_folds_scored_before_a_kill_are_not_scored_again(self, made, monkeypatch) -> None:
        whole, asked = FoldScorer.score, []

        def dying(self, parameters, fold, seed, fidelity, **more):
            if fidelity.learning_rate != 0.1:
                asked.append((parameters["lambda_l2"], parameters["num_leaves"], fold, id(self.problem)))
                if len(asked) == dies_at:
                    raise KeyboardInterrupt
            return whole(self, parameters, fold, seed, fidelity, **more)

        monkeypatch.setattr(FoldScorer, "score", dying)
        dies_at = 9
        with pytest.raises(KeyboardInterrupt):
            tuned(made, trials=8)
        first = [call[:3] for call in asked[:-1]]
        assert len(set(first)) == 8
        asked.clear()
        dies_at = -1
        outcome = tuned(made, trials=1)
        competition_folds = asked[0][3]
        assert not {call[:3] for call in asked if call[3] == competition_folds} & set(first)
        assert outcome.tuned.best.repeated_cv is not None

    def test_a_score_that_the_time_ended_is_said_and_made_again_where_there_is_time(self, made, monkeypatch) -> None:
        limits: list[float] = []
        first: set[str] = set()
        rounds_after: set[int] = set()

        def hurried(score, parameters, fold, seed, fidelity, **more):
            """Leave no time for each one's first fold."""
            if is_full(fidelity, more):
                limits.append(fidelity.seconds)
                if repr(parameters) in first:
                    rounds_after.add(fidelity.rounds)
                else:
                    fidelity = replace(fidelity, seconds=0.0)
                first.add(repr(parameters))
            return score(parameters, fold, seed, fidelity, **more)

        with monkeypatch.context() as patch:
            on_folds(patch, hurried)
            short = tuned(made)
        assert set(limits) == {math.inf}
        assert rounds_after == {1}  # what one fold had no time for, the next ones need not be trained for
        assert short.tuned.best.rounds_at_time_limit == 1
        assert set(short.tuned.best.rounds) == {1}
        assert any(n.startswith("the time was too short to finish training the best parameters") for n in short.notes)
        longer = tuned(made, trials=1)
        assert longer.tuned.best.rounds_at_time_limit is None
        assert longer.tuned.best.repeated_cv is not None
        assert longer.tuned.initial.rounds_at_time_limit is None
        assert longer.tuned.initial.value > short.tuned.initial.value

    def test_the_first_fold_of_the_race_uses_up_no_time_that_the_others_need(self, made, monkeypatch) -> None:
        """Two and a half parameter sets of five folds are to fit into 37 % of the hour."""
        begun(made)
        limits: list[float] = []

        def watched(score, parameters, fold, seed, fidelity, **more):
            limits.extend([fidelity.seconds] * is_full(fidelity, more))
            return score(parameters, fold, seed, fidelity, **more)

        on_folds(monkeypatch, watched)
        tuned(made, minutes=60)
        race_s = search_module.FULL_CV_UNTIL * 3600
        assert race_s / 2 / 12.5 < limits[0] <= race_s / 12.5

    def test_own_parameters_without_time_for_a_full_score_are_compared_by_the_quick_one(
        self, made, monkeypatch
    ) -> None:
        monkeypatch.setattr(
            race_module, "affordable_trials", lambda ranked, _room, own: [n for n in ranked if n != own][:1]
        )
        outcome = tuned(made, trials=8)
        assert outcome.tuned.initial is None
        quick = {t.number: t.value for t in journal(made).trials}
        best = outcome.tuned.best.number
        said = f"full CV of the experiment's own parameters: {quick[0]:.5f} at low fidelity, against {quick[best]:.5f}"
        assert any(said in n for n in outcome.notes)

    def test_what_lightgbm_says_goes_into_a_file(self, made, capfd) -> None:
        made.experiment(1, EXPERIMENT.replace('"ratio", ', '"ratio", "te_town", '))
        outcome = tuned(made)
        assert "Warning" not in capfd.readouterr().err
        assert "raw data" in (outcome.folder / "log.txt").read_text()

    @pytest.mark.parametrize("times", [1, 2])
    def test_a_full_score_that_fails_is_tried_once_more_and_ends_nothing(self, made, monkeypatch, times: int) -> None:
        failed: list[int] = []

        def failing(score, parameters, fold, seed, fidelity, **more):
            own = {n: START[n] for n in ("num_leaves", "lambda_l2")}
            if parameters == own and fold == 2 and is_full(fidelity, more) and len(failed) < times:
                failed.append(fold)
                raise TrainingError("too odd")
            return score(parameters, fold, seed, fidelity, **more)

        on_folds(monkeypatch, failing)
        # By trials, the race is run once: the next search of the study tries again.
        first, again = tuned(made), tuned(made, trials=1)
        assert [n for n in first.notes if "odd" in n] == ["trial 0, full CV (tried once more): too odd"]
        assert first.tuned.best is not None
        assert 0 not in {s.number for s in first.tuned.ranked}
        assert (again.tuned.initial is not None) == (times == 1)
        twice = ["trial 0, full CV (failed twice): too odd"] if times == 2 else []
        assert [n for n in again.notes if "odd" in n] == twice
        assert len(failed) == times
        third = tuned(made, trials=1)
        assert (third.tuned.initial is not None) == (times == 1)

    def test_other_folds_that_can_not_be_made_or_scored_end_nothing(self, made, monkeypatch) -> None:
        def impossible(_experiment):
            raise DataError("6 folds need 7 times")

        with monkeypatch.context() as patch:
            patch.setattr(sys.modules["workbench.experiments.tune"], "on_other_folds", impossible)
            outcome = tuned(made)
        said = "other folds can't be made (6 folds need 7 times): repeated CV uses the same folds with another seed of the model"
        assert any(n.startswith(said) for n in outcome.notes)
        assert outcome.tuned.best.repeated_cv is not None

    def test_groups_that_every_seed_deals_alike_get_another_seed_of_the_model(self, made) -> None:
        made.definition('scheme = "stratified"', 'scheme = "group"\ngroup = "town"')
        made.definition("folds = 5", "folds = 12")
        outcome = tuned(made)
        assert any(
            n.startswith("there are no other folds: repeated CV uses the same folds with another seed")
            for n in outcome.notes
        )
        # Nothing of the model depends on the seed, so that the same score shows what was done.
        assert sorted(outcome.tuned.best.repeated_cv) == pytest.approx(sorted(outcome.tuned.best.full_cv))

    def test_an_experiment_that_fails_by_itself_does_not_fail_for_ever(self, made, monkeypatch) -> None:
        def failing(*_: Any, **__: Any) -> Any:
            raise TrainingError("metric 'mine' gives nan")

        monkeypatch.setattr(FoldScorer, "score", failing)
        with pytest.raises(TrainingError, match="all of the first 10 trials failed, the last one with: metric 'mine'"):
            tuned(made, trials=1000)

    def test_many_failures_are_not_said_one_by_one(self, made, monkeypatch) -> None:
        whole = FoldScorer.score

        def failing(self, parameters, *args, **kwargs):
            if parameters["num_leaves"] != 8:
                raise TrainingError("too odd")
            return whole(self, parameters, *args, **kwargs)

        monkeypatch.setattr(FoldScorer, "score", failing)
        outcome = tuned(made, trials=14)
        assert len([n for n in outcome.notes if "too odd" in n]) == 5
        assert any(n.startswith("and ") and n.endswith(" more failures") for n in outcome.notes)

    def test_more_time_scores_more_of_the_other_folds(self, made, monkeypatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(repeated_cv_module, "repeated_cv_folds", lambda *_: (2, 3))
            outcome = tuned(made)
        before = {s.number: s.repeated_cv for s in outcome.tuned.ranked if s.repeated_cv is not None}
        assert {len(s) for s in before.values()} == {2}
        assert "the time was too short for all folds of repeated CV: 2 of 5 are scored" in outcome.notes
        outcome = tuned(made, trials=1)
        after = {s.number: s.repeated_cv for s in outcome.tuned.ranked if s.repeated_cv is not None}
        assert {len(s) for s in after.values()} == {5}
        # What was scored before stays.
        assert all(after[n][-2:] == before[n] for n in before if n in after)

    def test_less_time_scores_no_fewer_of_the_other_folds_than_before(self, made, monkeypatch) -> None:
        tuned(made, trials=3)
        monkeypatch.setattr(repeated_cv_module, "repeated_cv_folds", lambda *_: (1, 9))
        monkeypatch.setattr(repeated_cv_module, "MIN_REPEATED_TRIALS", 9)
        outcome = tuned(made, trials=6)
        scored = [s for s in outcome.tuned.ranked if s.repeated_cv is not None]
        assert {len(s.repeated_cv) for s in scored} == {5}
        assert {s.number for s in scored} - {0, 1, 2}

    def test_a_kill_between_other_folds_leaves_the_last_of_them(self, made, monkeypatch) -> None:
        """What others have fewer of can be held against it."""
        other: list[int] = []

        def third(score, parameters, fold, seed, fidelity, **more):
            other.extend([fold] * (fidelity.exact_rounds is not None))
            if len(other) == 3:
                raise KeyboardInterrupt
            return score(parameters, fold, seed, fidelity, **more)

        with monkeypatch.context() as patch:
            on_folds(patch, third)
            with pytest.raises(KeyboardInterrupt):
                tuned(made)
        (known,) = [v for k, v in journal(made).user_attrs.items() if k.startswith("second:")]
        assert set(known) == {"4", "3"}

    def test_scores_on_other_folds_are_compared_on_the_same_ones(self) -> None:
        import optuna

        def second_scores(*of_trial: dict[str, float]) -> list[tuple[float, ...] | None]:
            study = optuna.create_study(direction="maximize")
            for number, scores in enumerate(of_trial):
                study.add_trial(optuna.trial.create_trial(value=1.0 - number))
                study.set_user_attr(
                    f"full:{number}", {"scores": [1.0 - number], "rounds": [7], "rate": None, "cut": None}
                )
                study.set_user_attr(f"second:{number}", scores)
            return [s.repeated_cv for s in scored_trials(study, greater_is_better=True)]

        three, two, one = {"4": 0.4, "3": 0.3, "2": 0.2}, {"4": 0.4, "3": 0.5}, {"4": 0.9}
        assert second_scores(three, two, one, {}) == [(0.3, 0.4), (0.5, 0.4), None, None]
        assert second_scores({"1": 0.5}) == [(0.5,)]
        assert second_scores({}) == [None]

    def test_a_space_that_is_exhausted_ends_the_search(self, made) -> None:
        """Four points, and ten minutes."""
        space = "[tune.space]\nnum_leaves = [4, 8]\nextra_trees = [true, false]\n"
        made.experiment(1, EXPERIMENT.partition("[tune.space]")[0] + space)
        outcome = tuned(made, trials=None, minutes=10)
        assert outcome.tuned.seconds < 60
        assert "the search space is exhausted: all of its points were scored" in outcome.notes
        assert len({json.dumps(t.params) for t in journal(made).trials}) == 4
        assert outcome.tuned.best.repeated_cv is not None

    def test_curves_of_another_process_are_top_trials_too(self, made, monkeypatch) -> None:
        tuned(made, trials=8)
        learned: list[dict[int, dict[int, Curve]]] = []
        whole = Curves.is_behind
        monkeypatch.setattr(Curves, "is_behind", lambda self, *rest: learned.append(self.by_fold) or whole(self, *rest))
        tuned(made, trials=1)
        of_fold = learned[0]
        assert all(len(curves) >= TOP_TRIALS for curves in of_fold.values())
        kept = journal(made).trials[0].user_attrs["curves"]["0"]
        assert kept[0] == sorted(kept[0])
        assert len(kept[0]) == len(kept[1]) <= 41

    def test_a_curve_is_thinned_to_its_last_point(self) -> None:
        curve = Curve(list(range(1, 1001)), [float(n) for n in range(1, 1001)])
        leaves, best = curve.thinned(40)
        assert len(leaves) == 40
        assert (leaves[-1], best[-1]) == (1000, 1000.0)
        assert Curve([5], [0.5]).thinned() == ([5], [0.5])

    def test_fixed_rounds_are_scored_as_the_run_trains_them(self, made) -> None:
        """Without early stopping each round counts: the search neither picks the best one nor adds any."""
        text = EXPERIMENT.replace("early_stopping_round = 5", "early_stopping_round = 0").replace(
            "learning_rate = 0.2\n", ""
        )
        made.experiment(1, text.partition("[tune]")[0])
        before = run(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1)).run.record
        made.experiment(1, text)
        outcome = tuned(made, trials=8)
        assert outcome.tuned.initial.full_cv == pytest.approx(before.fold_scores, rel=1e-9)
        assert set(outcome.tuned.best.rounds) == {30}
        found = {k: v for k, v in outcome.parameters.items() if k not in ("num_leaves", "lambda_l2")}
        assert found == {"num_iterations": 30, "early_stopping_round": 0}

    def test_dart_is_not_searched_beside_models_that_stop_early(self, made) -> None:
        made.experiment(1, EXPERIMENT + 'boosting = ["gbdt", "dart"]\n')
        with pytest.raises(ConfigError, match=r"\[tune.space\] boosting = 'dart' contradicts .* no early stopping"):
            tuned(made)

    def test_a_space_that_contradicts_the_model_is_explained(self, made) -> None:
        space = "[tune.space]\nbagging_fraction = { low = 0.5, high = 1.0 }\n"
        made.experiment(1, f'features = ["rows"]\n[model]\ndata_sample_strategy = "goss"\n[tune]\ntrials = 1\n{space}')
        with pytest.raises(ConfigError, match=r"bagging_fraction = 0.5 contradicts the experiment: .*goss samples by"):
            tuned(made)
        made.experiment(1, 'features = ["rows"]\n[model]\ndata_sample_strategy = "goss"\n[tune]\ntrials = 3\n')
        outcome = tuned(made, trials=3)
        assert "bagging_fraction" not in outcome.space.names
        assert outcome.tuned.best is not None

    def test_labelled_test_rows_have_no_part_and_that_is_said(self, made) -> None:
        made.experiment(1, EXPERIMENT + "[pseudo]\nthreshold = 0.9\n")
        assert "[pseudo] is not used while tuning: all scores are without it" in tuned(made, trials=2).notes

    @pytest.mark.parametrize("minutes", [math.inf, math.nan, -1.0])
    def test_minutes_are_a_number(self, made, minutes: float) -> None:
        with pytest.raises(ConfigError, match="minutes = .*: expected a number above 0"):
            tuned(made, trials=None, minutes=minutes)

    @pytest.mark.slow
    def test_a_changed_metric_begins_the_study_anew(self, made) -> None:
        code = "from sklearn.metrics import roc_auc_score\n\n\ndef score(truth, predicted):\n    return roc_auc_score(truth, predicted)\n"
        (made.folder / "metric.py").write_text(code)
        made.definition('metric = "auc"', 'metric = "metric.py:score"\ngreater_is_better = true')
        tuned(made, trials=2)
        (made.folder / "metric.py").write_text(code.replace("return ", "return 1.0 * "))
        said: list[str] = []
        tuned(made, trials=2, report=said.append)
        assert any("the study starts over because target changed" in s for s in said)

    def test_how_long_has_to_be_said(self, made) -> None:
        made.experiment(1, EXPERIMENT.partition("[tune]")[0])
        with pytest.raises(ConfigError, match="neither minutes nor trials of tuning are given") as caught:
            tuned(made, trials=None)
        assert "--minutes 30" in str(caught.value.hint)


# --------------------------------------------------------------------------------------------------------- PostgreSQL


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of a database; the studies that a test makes are deleted."""
    import optuna
    from sqlalchemy import NullPool

    url = postgresql_url()
    yield url
    storage = optuna.storages.RDBStorage(url, engine_kwargs={"poolclass": NullPool})
    for name in optuna.get_all_study_names(storage):
        if name.startswith("small-001"):
            optuna.delete_study(study_name=name, storage=storage)


class TestPostgreSQL:
    def test_a_study_goes_on_and_begins_anew(self, database: str, tmp_path: Path) -> None:
        with open_study(tmp_path, KEY, greater_is_better=True, url=database) as opened:
            opened.study.tell(opened.study.ask(), 1.0)
        trials, notes = points(tmp_path, url=database)
        assert [t.value for t in trials] == [1.0]
        assert notes == ["the study continues after 1 trial"]
        other = replace(KEY, parts=KEY.parts | {"folds": "d"})
        trials, notes = points(tmp_path, other, url=database)
        assert trials == []
        assert "starts over because folds changed; the old one is kept: study 'small-001-" in notes[0]
        trials, notes = points(tmp_path, url=database)
        assert [t.value for t in trials] == [1.0]
        assert notes[0].startswith("an earlier study is continued because folds changed")
        assert read_study(tmp_path, "small-001", url=database).study_name.startswith("small-001-")

    def test_several_processes_share_one(self, made, database: str) -> None:
        both = [start(made, "--trials", "4", "--storage", database) for _ in range(2)]
        said = [json.loads(p.communicate(timeout=120)[0]) for p in both]
        assert [s["trials"] for s in said] == [4, 4]
        study = find_study(made.open.access.competition, 1, storage=database)[0]
        assert sum(t.state.is_finished() for t in study.trials) == 8
        assert len({json.dumps(t.params, sort_keys=True) for t in study.trials}) >= 7
        assert not (made.open.access.competition.paths.study(1) / "journal.log").exists()

    def test_a_connection_that_is_cut_is_said(self, made, database: str, monkeypatch) -> None:
        import sqlalchemy as sa

        whole, calls = FoldScorer.score, []

        def cut(self, *args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            if len(calls) == 12:
                with sa.create_engine(database, poolclass=sa.NullPool).begin() as connection:
                    connection.exec_driver_sql(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                        " AND datname = current_database()"
                    )
            return whole(self, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(FoldScorer, "score", cut)
            with pytest.raises(StorageError, match="can't be used any more") as caught:
                tuned(made, storage=database)
        assert "the same command continues" in str(caught.value.hint)
        assert tuned(made, storage=database).tuned.best is not None


# ------------------------------------------------------------------------------------------------- several processes


def start(made: Any, *options: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "workbench",
        "tune",
        "--exp",
        "1",
        "--threads",
        "1",
        "--no-holdout",
        "--json",
        *options,
    ]
    return subprocess.Popen(command, cwd=made.folder, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
class TestProcesses:
    def test_a_killed_search_goes_on_by_the_same_command(self, made) -> None:
        process = start(made, "--trials", "500")
        path = made.open.access.competition.paths.study(1) / "journal.log"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (not path.exists() or path.read_bytes().count(b"\n") < 60):
            time.sleep(0.05)
        process.kill()
        process.communicate()
        before = [(t.number, t.value) for t in journal(made).get_trials() if t.state.name == "COMPLETE"]
        assert before
        outcome = tuned(made, trials=3)
        after = journal(made).get_trials()
        assert [
            (t.number, t.value) for t in after if t.number <= before[-1][0] and t.state.name == "COMPLETE"
        ] == before
        assert not [t for t in after if t.state.name == "RUNNING"]
        assert outcome.tuned.best is not None

    def test_several_share_one_study(self, made) -> None:
        processes = [start(made, "--trials", "6") for _ in range(2)]
        documents = [json.loads(p.communicate(timeout=120)[0]) for p in processes]
        trials = journal(made).get_trials()
        assert [d["trials"] for d in documents] == [6, 6]
        assert len(trials) == 12
        assert len({json.dumps(t.params, sort_keys=True) for t in trials}) == 12
        assert all(t.state.is_finished() for t in trials)


# --------------------------------------------------------------------------------------------------------- experiment


class TestRun:
    def test_an_experiment_with_a_search_is_tuned_and_then_trained(self, made) -> None:
        said: list[str] = []
        first = run_tuned(
            made.workspace,
            made.open.access.competition,
            1,
            context=RunContext((text_listener(said.append),), threads=1),
        )
        study = journal(made)
        assert len(study.trials) == 6
        best = json.loads((made.open.access.competition.paths.study(1) / "best.json").read_text())["model"]
        details = json.loads((first.run.folder / "run.json").read_text())
        assert details["model"]["parameters"]["num_leaves"] == best["num_leaves"]
        again = run_tuned(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))
        assert again.how == "unchanged"
        assert again.run.record.run_id == first.run.record.run_id
        assert len(journal(made).trials) == 6

    def test_all_that_the_model_says_is_kept(self, made) -> None:
        """Under the names that it was said by: rounds, patience, what is recorded."""
        own = "[model]\nn_estimators = 40\nearly_stopping_rounds = 7\nis_provide_training_metric = true\nnum_leaf = 8\n"
        made.experiment(1, EXPERIMENT.replace(MODEL, own + "learning_rate = 0.2\n"))
        done = run_tuned(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1)).run
        model = json.loads((done.folder / "run.json").read_text())["model"]
        assert (model["rounds"], model["patience"], model["train_curve"]) == (40, 7, True)
        best = json.loads((made.open.access.competition.paths.study(1) / "best.json").read_text())["model"]
        assert set(best) <= {"n_estimators", "early_stopping_rounds", "is_provide_training_metric", "num_leaf"} | {
            "learning_rate",
            "lambda_l2",
        }

    def test_no_trial_in_time_runs_the_experiment_as_it_is(self, made) -> None:
        made.experiment(1, EXPERIMENT.replace("trials = 6", "minutes = 0.00001"))
        done = run_tuned(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1)).run
        model = json.loads((done.folder / "run.json").read_text())["model"]
        assert (model["rounds"], model["patience"], model["parameters"]["num_leaves"]) == (30, 5, 8)

    def test_time_that_a_killed_search_had_is_not_given_again(self, made, monkeypatch) -> None:
        """What it spent is noted while it runs."""
        whole, calls = FoldScorer.score, []

        def dying(self, *args, **kwargs):
            calls.append(1)
            if len(calls) == 12:
                raise KeyboardInterrupt
            return whole(self, *args, **kwargs)

        made.experiment(1, EXPERIMENT.replace("trials = 6", "minutes = 60"))
        with monkeypatch.context() as patch:
            patch.setattr(FoldScorer, "score", dying)
            patch.setattr(deadline_module, "SPENT_INTERVAL_S", 0.0)
            with pytest.raises(KeyboardInterrupt):
                run_tuned(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))
        (spent,) = [v for k, v in journal(made).user_attrs.items() if k.startswith("spent_s:")]
        assert spent > 0
        journal(made).set_user_attr("spent_s:another", 2400.0)
        left: list[float] = []

        def progress(now: SearchProgress) -> None:
            left.append(now.remaining_s)
            raise KeyboardInterrupt

        for only_rest in (True, False):
            with pytest.raises(KeyboardInterrupt):
                tuned(made, progress=progress, trials=None, holdout=None, only_rest=only_rest)
        assert 900 < left[0] <= 1200 - spent
        assert left[1] > 3000

    @pytest.mark.slow
    def test_a_database_by_its_address_is_that_of_the_search(self, made, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 'studies.db'}"
        run_tuned(made.workspace, made.open.access.competition, 1, RunRequest(storage=url), RunContext(threads=1))
        assert not (made.open.access.competition.paths.study(1) / "journal.log").exists()
        assert len(find_study(made.open.access.competition, 1, storage=url)[0].trials) == 6

    def test_another_space_is_another_search(self, made) -> None:
        run_tuned(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))
        made.experiment(1, EXPERIMENT.replace("high = 16", "high = 12"))
        said: list[str] = []
        run_tuned(
            made.workspace,
            made.open.access.competition,
            1,
            context=RunContext((text_listener(said.append),), threads=1),
        )
        assert any("the study starts over because space changed" in s for s in said)

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ("[tune]\nseed = 1\n", r"\[tune\] has neither minutes nor trials"),
            ("[tune]\nminutes = 0\n", "minutes"),
            ('[tune]\ntrials = 3\nkeep = "most"\n', "keep = 'most' is unknown"),
            ("[tune]\ntrials = 3\nspcae = {}\n", "spcae"),
        ],
    )
    def test_what_is_wrong_with_the_table_is_said(self, made, table: str, message: str) -> None:
        made.experiment(1, EXPERIMENT.partition("[tune]")[0] + table)
        with pytest.raises(ConfigError, match=message):
            run_tuned(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))


class TestCommand:
    def test_minutes_are_minutes_of_the_clock(self, made, monkeypatch, capsys) -> None:
        """A search without an end of its own: each look at the clock takes 10 ms, and nothing else any time."""
        monkeypatch.chdir(made.folder)
        now = [100.0]

        def looked() -> float:
            now[0] += 0.01
            assert now[0] < 300, "the search does not end"
            return now[0]

        monkeypatch.setattr(time, "perf_counter", looked)
        seconds, trials = [], []
        for minutes in (0.2, 0.6):
            began = now[0]
            wb.main(
                ["tune", "--exp", "1", "--minutes", str(minutes), "--threads", "1", "--json"], standalone_mode=False
            )
            document = json.loads(capsys.readouterr().out)
            seconds.append(now[0] - began)
            trials.append(document["trials"])
            assert document["seconds"] == pytest.approx(60 * minutes, rel=0.1)
        assert seconds == pytest.approx([12, 36], rel=0.1)
        assert 0 < 2 * trials[0] < trials[1]

    @pytest.mark.slow
    def test_a_search_ends_about_when_its_minutes_are_over(self, made) -> None:
        """By the wall clock, however many trials it was to make."""
        arguments = ("tune", "--exp", "1", "--minutes", "0.1", "--threads", "1", "--json")
        began = time.monotonic()
        done = forked_wb(*arguments, cwd=made.folder)
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        assert 5 < document["seconds"] < 60
        assert time.monotonic() - began > 5
        assert document["trials"] < 10_000

    def test_the_best_and_the_initial_trial_are_always_shown(self) -> None:
        ranked = [TrialScores(number, {}, 0.5, full_cv=(1 - number / 100,)) for number in range(20)]
        assert shown_trials(ranked, ranked[14], ranked[19]) == [*ranked[:10], ranked[14], ranked[19]]
        assert shown_trials(ranked, ranked[3], ranked[3]) == ranked[:10]
        assert shown_trials(ranked[12:], ranked[19], ranked[19]) == ranked[12:]
        assert shown_trials([], None, None) == []

    @pytest.mark.slow
    def test_tune_show_and_the_next_experiment(self, made, monkeypatch, capsys) -> None:
        monkeypatch.chdir(made.folder)
        wb.main(["tune", "--exp", "1", "--trials", "8", "--json"], standalone_mode=False)
        document = json.loads(capsys.readouterr().out)
        assert document["best"]["parameters"]["num_leaves"] >= 4
        assert document["complete"] + document["pruned"] == 8
        wb.main(["tune", "--show", "1"], standalone_mode=False)
        shown = capsys.readouterr().out
        assert "importance of the parameters" in shown
        folder = made.open.access.competition.paths.study(1)
        for name in ("history.png", "slices.png", "importances.png"):
            assert (folder / name).read_bytes()[:4] == b"\x89PNG"
        page = (folder / "study.html").read_text()
        assert "Optimization History" in page
        assert 'src="http' not in page
        wb.main(["new", "--from", "1", "--tuned"], standalone_mode=False)
        made.open.run(2, threads=1)
        text = (made.folder / "experiments" / "002.toml").read_text()
        assert "base = 1" in text

    @pytest.mark.slow
    def test_what_was_found_is_written_over_what_the_base_says(self, made, capsys) -> None:
        """Aliases, tables and the search of the base: the next experiment runs, and does not search again."""
        own = '[model]\nn_estimators = 40\nnum_leaf = 8\nmonotone_constraints = { "rows.x" = 1 }\n'
        made.experiment(1, EXPERIMENT.replace(MODEL, own).replace("rows.x", "x").replace('"x"', '"rows.x"', 1))
        outcome = tuned(made)
        path = made.open.experiments.new(source=1, title='more "leaves"', tuned=True)
        text = path.read_text()
        assert "\ntune = false\n" in text
        spec = read_spec(made.open.access.competition, 2)
        assert (spec.tune, spec.title) == (None, 'more "leaves"')
        assert spec.model == outcome.parameters
        assert {"n_estimators", "num_leaf"} <= set(spec.model)
        assert made.open.run(2, threads=1).record.status == "finished"

    def test_what_was_found_for_another_model_is_not_written(self, made) -> None:
        tuned(made)
        made.experiment(1, EXPERIMENT.replace('"ratio", ', ""))
        with pytest.raises(NotFoundError, match="experiment 1 of 'small' has changed since it was tuned") as caught:
            made.open.experiments.new(source=1, tuned=True)
        assert "wb tune 1" in str(caught.value.hint)

    def test_the_dashboard_says_that_its_port_is_taken(self, made, monkeypatch) -> None:
        monkeypatch.chdir(made.folder)
        tuned(made, trials=1)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ConfigError, match=f"can't listen on port {port}") as caught:
                wb.main(["tune", "--dashboard", "1", "--port", str(port)], standalone_mode=False)
        assert "--port" in str(caught.value.hint)

    def test_what_the_time_stopped_is_not_shown_as_failed(self, made, monkeypatch, capsys) -> None:
        import optuna

        monkeypatch.chdir(made.folder)
        tuned(made, trials=6)
        study = journal(made)
        trial = study.ask()
        trial.set_user_attr("stopped", value=True)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        wb.main(["tune", "--show", "1"], standalone_mode=False)
        shown = capsys.readouterr().out
        assert "1 stopped" in shown
        assert "fail" not in shown

    def test_no_study_is_said(self, made, monkeypatch) -> None:
        monkeypatch.chdir(made.folder)
        with pytest.raises(NotFoundError, match="experiment 1 of 'small' has no study"):
            wb.main(["tune", "--show", "1"], standalone_mode=False)
