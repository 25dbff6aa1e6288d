"""What a selection decides from numbers alone: options, gains, p-values, the way of an elimination."""

from __future__ import annotations

import itertools
import json
import logging
import math
import time
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest
import scipy.stats

from tests.small import Small, make_small
from workbench.analysis.selection import (
    EliminationStep,
    ListRequest,
    SelectionOptions,
    column_groups,
    features_with_columns,
    importance_by_gain,
    importance_by_permutation,
    select,
    with_columns,
)
from workbench.analysis.selection.elimination import (
    StepsFile,
    TimeLimit,
    TimeLimitError,
    eliminate,
    next_groups,
    smallest_good,
)
from workbench.analysis.selection.groups import Group, feature_by_column
from workbench.analysis.selection.importance import (
    FixedRounds,
    Models,
    SelectionScore,
    by_group,
    difference,
    mean_rounds,
    models_of,
    scored,
)
from workbench.analysis.selection.methods import importance_by_shuffled_target, max_passing_by_chance, p_above_zero
from workbench.analysis.selection.options import METHODS, options_of
from workbench.analysis.selection.orders import ColumnOrders, ShuffleUnits, shuffle_units, shuffled_order
from workbench.api.features import SelectOptions
from workbench.core.context import SILENT, RunContext, text_listener
from workbench.core.errors import ConfigError, FeatureError, MemoryLimitError
from workbench.core.events import Event, Progress
from workbench.experiments.feature_list import read_list
from workbench.experiments.held_out import only_fold
from workbench.experiments.ready import ready
from workbench.metrics.dependence import moved_blocks
from workbench.models.lightgbm.shuffling import shuffled_gains


def counted(told: list[tuple[float, float | None, str]]) -> RunContext:
    """Return a context that keeps what is told of progress."""

    def listen(event: Event) -> None:
        if isinstance(event, Progress):
            told.append((event.done, event.total, event.text))

    return RunContext((listen,))


class TestOptions:
    @pytest.mark.parametrize(
        ("name", "methods", "taken", "refused"),
        [
            ("share", "gain", [1e-9, 0.5, 1, 1.0], [0, 0.0, -0.1, 1.0001, True, "1"]),
            ("repeats", "permutation", [2, 99, np.int64(3)], [1, 0, 2.0, True, "2"]),
            ("alpha", "permutation", [1e-9, 0.999], [0, 0.0, 1, 1.0, False]),
            ("shuffles", "null", [1, 99], [0, -1, 1.5, True]),
            ("percentile", "null", [0, 0.0, 50, 100, 100.0], [-0.1, 100.1, True]),
            ("top", "gain permutation null", [1, 99], [0, -1, 1.5, True]),
            ("minutes", "rfe", [1e-9, 1, 10.5], [0, -1.0, True, "1"]),
            ("trials", "rfe", [1, 99], [0, 1.5, True]),
            ("step", "rfe", [1e-9, 0.999], [0, 0.0, 1, 1.0, True]),
            ("by", "gain permutation null", ["column", "feature", "correlated"], ["all", 1, True]),
            ("seed", "gain permutation null rfe", [0, 1, 99], [-1, 0.5, True]),
            ("holdout", "gain permutation null rfe", [True, False], [0, 1, "no"]),
        ],
    )
    def test_each_has_its_methods_and_its_range(
        self, name: str, methods: str, taken: list[Any], refused: list[Any]
    ) -> None:
        for method in METHODS:
            if method not in methods.split():
                with pytest.raises(
                    ConfigError, match=f"--{name} goes with --method {' or '.join(methods.split())}, got"
                ):
                    options_of(method, {name: taken[-1]})
                continue
            for value in taken:
                made = getattr(options_of(method, {name: value}), name)
                assert made == value
                assert type(made) in (int, float, bool, str)
            for value in refused:
                with pytest.raises(ConfigError, match=f"--{name} .*(expected|is unknown)"):
                    options_of(method, {name: value})
            assert options_of(method, {name: None}) == SelectionOptions(method)

    def test_what_is_given_of_numbers_stays_what_it_is(self) -> None:
        made = options_of("null", {"percentile": np.float32(50.0), "shuffles": np.int64(7), "top": 3})
        assert [type(v) for v in (made.percentile, made.shuffles, made.top)] == [float, int, int]
        assert type(options_of("null", {"percentile": 50}).percentile) is int

    def test_the_defaults(self) -> None:
        assert SelectionOptions() == SelectionOptions(
            "permutation", 0.99, 5, 0.01, "column", 20, 75.0, None, None, None, 0.2, 0, holdout=True
        )

    @pytest.mark.parametrize(
        ("options", "parameters", "identity"),
        [
            (SelectionOptions("gain"), {"seed": 0, "share": 0.99, "by": "column"}, {"holdout": True}),
            (SelectionOptions("gain", top=3, holdout=False), {"seed": 0, "share": 0.99, "by": "column", "top": 3}, {}),
            (SelectionOptions("permutation", seed=4), {"seed": 4, "repeats": 5, "alpha": 0.01, "by": "column"}, {"holdout": True}),
            (
                SelectionOptions("rfe", minutes=2.0, trials=3, holdout=False),
                {"seed": 0, "minutes": 2.0, "trials": 3, "step": 0.2},
                {"minutes": None, "trials": None},
            ),
        ],
    )  # fmt: skip
    def test_what_decides_the_list(
        self, options: SelectionOptions, parameters: dict[str, Any], identity: dict[str, Any]
    ) -> None:
        """How long a search may take does not: more of it goes on."""
        assert options.parameters() == parameters
        assert options.identity() == {k: v for k, v in (parameters | identity).items() if v is not None}


# -------------------------------------------------------------------------------------------------------------- scores


def test_a_score_is_the_mean_of_its_folds() -> None:
    made = SelectionScore((0.5, 0.7), 2.0, (9,))
    assert (made.mean, made.std) == pytest.approx((0.6, 0.1))
    assert made.as_dict() == {"mean": made.mean, "std": made.std, "folds": [0.5, 0.7]}
    assert (SelectionScore((0.5,)).seconds, SelectionScore((0.5,)).rounds) == (0.0, ())


def test_rounds_are_the_mean_of_each_targets_models() -> None:
    assert mean_rounds([(1, 10), (0, 3), (1, 13), (0, 4)]) == (4, 12)
    assert mean_rounds([(0, 0)]) == (1,)
    assert mean_rounds([]) == ()


def test_a_group_has_the_sum_of_its_columns() -> None:
    groups = [Group("a", ("x", "y")), Group("b", ("z", "unknown"))]
    assert by_group(groups, {"x": 1.0, "y": 2.5, "z": 3.0, "other": 9.0}) == {"a": 3.5, "b": 3.0}


def test_a_difference_is_paired_by_fold() -> None:
    assert difference([0.9], [0.7]) == (pytest.approx(0.2), 0.0)
    d = np.array([0.1, 0.3])
    for ratio, share in ((None, 1.0), (0.25, 0.25), (0.0, 0.0)):
        error = d.std(ddof=1) * math.sqrt(1 / 2 + share)
        assert difference([0.8, 0.9], [0.7, 0.6], ratio) == (pytest.approx(0.2), pytest.approx(error))


# --------------------------------------------------------------------------------------------------------------- gains


def models(*of_models: tuple[tuple[int, int], dict[str, tuple[float, float]]]) -> Models:
    return Models({}, {}, dict(of_models), SelectionScore((0.5,)))


class TestGain:
    groups = tuple(Group(name, (name,)) for name in "abcd")

    def test_it_is_the_mean_over_seeds_and_then_over_folds(self) -> None:
        found = models(
            ((0, 1), {"a": (10.0, 4.0), "b": (2.0, 1.0), "c": (0.0, 0.0)}),
            ((0, 2), {"a": (20.0, 8.0), "b": (4.0, 1.0), "c": (0.0, 0.0)}),
            ((1, 1), {"a": (5.0, 3.0), "b": (1.0, 2.0), "c": (0.0, 0.0)}),
        )
        judged = importance_by_gain(found, self.groups[:3], SelectionOptions("gain", share=1.0))
        assert [j.importance for j in judged] == [10.0, 2.0, 0.0]
        assert [j.spread for j in judged] == [5.0, 1.0, 0.0]
        assert [j.more for j in judged] == [{"splits": 4.5}, {"splits": 1.5}, {"splits": 0.0}]
        assert [j.keep for j in judged] == [True, True, False]
        assert [j.group.name for j in judged] == ["a", "b", "c"]

    @pytest.mark.parametrize(
        ("share", "kept"),
        [
            (0.01, "c"),
            (0.5, "c"),
            (0.5001, "ac"),
            (0.75, "ac"),
            (0.76, "abc"),
            (0.875, "abc"),
            (0.88, "abcd"),
            (1.0, "abcd"),
        ],
    )
    def test_kept_is_what_together_has_the_share(self, share: float, kept: str) -> None:
        gains = {"a": 2.0, "b": 1.0, "c": 4.0, "d": 1.0}
        found = models(((0, 1), {name: (gain, 1.0) for name, gain in gains.items()}))
        judged = importance_by_gain(found, self.groups, SelectionOptions("gain", share=share))
        assert "".join(j.group.name for j in judged if j.keep) == kept
        assert all(type(j.keep) is bool or j.keep in (True, False) for j in judged)


# ------------------------------------------------------------------------------------------------------------ p-values


def share_of_ways(losses: np.ndarray) -> float:
    """Return in how many of all ways to take one of the orders in each fold nothing is lost."""
    ways = itertools.product(*[[0.0, *fold] for fold in losses.tolist()])
    sums = [sum(way) for way in ways]
    return sum(s <= 1e-9 for s in sums) / len(sums)


def by_t(losses: np.ndarray) -> float:
    k, r = losses.shape
    variances = losses.var(axis=1, ddof=1)
    t = losses.mean() / math.sqrt(2 * variances.mean() * (1 + 1 / r) / k)
    return float(scipy.stats.t.sf(t, (r - 1) * variances.sum() ** 2 / (variances**2).sum()))


class TestPValue:
    @pytest.mark.parametrize(("k", "r"), [(1, 2), (2, 3), (3, 5), (5, 3)])
    @pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
    def test_it_is_the_larger_of_the_share_and_the_t_test(self, k: int, r: int, shift: float) -> None:
        for seed in range(5):
            losses = np.random.default_rng([k, r, seed]).normal(shift, 1.0, (k, r))
            share, t = share_of_ways(losses), by_t(losses)
            expected = t if share == (r + 1.0) ** -k else max(share, t)
            assert p_above_zero(losses) == pytest.approx(expected, rel=1e-9)

    def test_of_many_ways_some_are_counted(self) -> None:
        """Six folds of six orders are 7^6 = 117,649 ways: 50,000 of them, the own one among them."""
        losses = np.random.default_rng(3).normal(0.2, 1.0, (6, 6))
        share, t = share_of_ways(losses), by_t(losses)
        found = p_above_zero(losses)
        assert found >= t
        assert max(share, t) == pytest.approx(found, abs=0.01)
        picked = np.random.default_rng(0).integers(0, 7, (49_999, 6))
        own_first = np.hstack([np.zeros((6, 1)), losses])
        counted = (own_first[np.arange(6), picked].sum(axis=1) <= 1e-9).sum()
        assert found == pytest.approx(max(t, (1 + counted) / 50_000), rel=1e-12)

    def test_where_no_way_is_better_the_t_test_decides(self) -> None:
        losses = np.random.default_rng(4).normal(9.0, 1.0, (7, 6))  # of 823,543 ways
        assert p_above_zero(losses) == pytest.approx(by_t(losses), rel=1e-9)
        few = np.random.default_rng(4).normal(9.0, 1.0, (2, 2))
        assert by_t(few) < 3.0**-2
        assert p_above_zero(few) == pytest.approx(by_t(few), rel=1e-9)

    def test_shuffles_that_all_do_the_same_are_counted(self) -> None:
        assert p_above_zero(np.full((2, 3), 0.1)) == pytest.approx(4.0**-2)
        assert p_above_zero(np.full((2, 3), -0.1)) == 1.0
        assert p_above_zero(np.zeros((2, 3))) == 1.0
        # Rounding is no loss.
        assert p_above_zero(np.array([[1e-17, 1e-17], [1.0, 1.0]])) == pytest.approx(3 / 9)

    def test_as_many_as_this_pass_max_passing_by_chance(self) -> None:
        for n, share in ((1, 0.01), (20, 0.05), (100, 0.25), (7, 0.9)):
            expected = next(k for k in range(n + 1) if scipy.stats.binom.cdf(k, n, share) >= 0.95)
            assert max_passing_by_chance(n, share) == expected
        assert max_passing_by_chance(0, 0.5) == 0


# --------------------------------------------------------------------------------------------------------- elimination


def step(groups: str, *folds: float, gains: dict[str, float] | None = None) -> EliminationStep:
    """Return a list with gains that rise by the alphabet."""
    made = {g: float("abcdefghijklmnopqrstuvwxyz".index(g) + 1) for g in groups} | (gains or {})
    return EliminationStep(
        tuple(groups), folds or (0.7, 0.8, 0.9), {g: made[g] for g in groups}, dict.fromkeys(groups, 0.0)
    )


class TestElimination:
    @pytest.mark.parametrize(
        ("share", "gains", "expected"),
        [
            (0.2, {}, "cdefghij"),
            (0.29, {}, "cdefghij"),
            (0.3, {}, "defghij"),
            (0.01, {}, "bcdefghij"),
            (0.99, {}, "j"),
            # What has no gain goes in any case.
            (0.2, {"b": 0.0, "f": 0.0, "h": -1.0}, "acdegij"),
            (0.2, dict.fromkeys("abcdefghij", 0.0), "j"),
            (0.2, {"a": 99.0}, "adefghij"),
        ],
    )
    def test_the_least_share_is_dropped(self, share: float, gains: dict[str, float], expected: str) -> None:
        assert next_groups([step("abcdefghij", gains=gains)], share, greater_is_better=True) == tuple(expected)

    def test_of_two_one_is_dropped_and_of_one_none(self) -> None:
        assert next_groups([step("ab")], 0.2, greater_is_better=True) == ("b",)
        assert next_groups([step("ab"), step("b")], 0.2, greater_is_better=True) is None

    @pytest.mark.parametrize("better", [True, False])
    def test_a_list_as_good_is_gone_on_from(self, better: bool) -> None:
        steps = [step("abcdefgh"), step("cdefgh")]
        assert next_groups(steps, 0.34, greater_is_better=better) == tuple("efgh")

    @pytest.mark.parametrize("better", [True, False])
    def test_after_a_worse_one_half_as_many_are_dropped(self, better: bool) -> None:
        worse = (0.5, 0.6, 0.7) if better else (0.9, 1.0, 1.1)
        steps = [step("abcdefgh"), step("efgh", *worse)]
        assert next_groups(steps, 0.5, greater_is_better=better) == tuple("cdefgh")
        steps.append(step("cdefgh", *worse))
        assert next_groups(steps, 0.5, greater_is_better=better) == tuple("bcdefgh")
        steps.append(step("bcdefgh", *worse))
        # A single one less was too many.
        assert next_groups(steps, 0.5, greater_is_better=better) is None

    def test_halved_steps_stay_halved(self) -> None:
        steps = [step("abcdefgh"), step("efgh", 0.5, 0.6, 0.7), step("cdefgh")]
        # A quarter of six, not a half.
        assert next_groups(steps, 0.5, greater_is_better=True) == tuple("defgh")

    def test_what_was_tried_from_elsewhere_is_not_tried_again(self) -> None:
        worse = (0.5, 0.6, 0.7)
        steps = [step("abcdefgh"), step("efgh", *worse), step("cdefgh"), step("defgh", *worse)]
        assert next_groups(steps, 0.5, greater_is_better=True) is None
        steps = [step("abcdefgh"), step("efgh", *worse), step("cdefgh"), step("defgh")]
        # Of five, a quarter is one: that list is known.
        assert next_groups(steps, 0.5, greater_is_better=True) is None
        assert next_groups([*steps[:3], step("defgh", 0.9, 0.9, 0.9)], 0.99, greater_is_better=True) == tuple("fgh")

    def test_a_known_list_gives_way_to_one_of_half_as_many_less(self) -> None:
        steps = [step("abcdefghijkl"), step("ghijkl", 0.5, 0.6, 0.7), step("cdefghijkl")]
        # Four of ten are those that were worse; two it is.
        assert next_groups(steps, 0.8, greater_is_better=True) == tuple("efghijkl")

    @pytest.mark.parametrize(("folds", "is_worse"), [((0.69, 0.78, 0.87), False), ((0.69, 0.79, 0.89), True)])
    def test_noise_is_two_standard_errors(self, folds: tuple[float, ...], is_worse: bool) -> None:
        """Worse by 0.01, 0.02 and 0.03 is 0.02 give or take 0.0091; by 0.01 each time it is beyond doubt."""
        steps = [step("abcdefgh"), step("efgh", *folds)]
        expected = "cdefgh" if is_worse or difference((0.7, 0.8, 0.9), folds)[0] > 2 * 0.0091288 else "gh"
        assert next_groups(steps, 0.5, greater_is_better=True) == tuple(expected)
        # Where few rows are validated the error is smaller.
        assert (next_groups(steps, 0.5, greater_is_better=True, size_ratio=5.0) == tuple("gh")) == (not is_worse)

    def test_worse_is_worse_than_the_best_so_far(self) -> None:
        steps = [step("abcdefgh"), step("efgh", 0.9, 1.0, 1.1), step("gh", 0.7, 0.8, 0.9)]
        assert next_groups(steps, 0.5, greater_is_better=True) == tuple("fgh")

    @pytest.mark.parametrize("better", [True, False])
    def test_the_smallest_within_one_error_of_the_best(self, better: bool) -> None:
        sign = 1 if better else -1

        def of(groups: str, *gains: float) -> EliminationStep:
            return step(groups, *(0.7 + sign * g for g in gains))

        best = of("abcd", 0.03, 0.03, 0.03)
        near, far = of("abc", 0.03, 0.02, 0.03), of("a", 0.02, 0.02, 0.02)
        alike, worse = of("ab", 0.029, 0.03, 0.0305), of("cd", 0.029, 0.03, 0.03)
        chosen, found = smallest_good([best, near, far], greater_is_better=better)
        assert (chosen, found) == (near, best)
        # Among lists of one size the better one.
        chosen, _ = smallest_good([best, worse, alike, far], greater_is_better=better)
        assert chosen == alike
        chosen, _ = smallest_good([best, alike, worse, far], greater_is_better=better)
        assert chosen == alike
        assert smallest_good([far], greater_is_better=better) == (far, far)

    def test_the_error_is_that_of_the_folds_sizes(self) -> None:
        best, other = step("ab"), step("b", 0.69, 0.78, 0.9)
        # Worse by 0.01, 0.02 and 0.0: 0.01, with a deviation of 0.01.
        assert smallest_good([best, other], greater_is_better=True, size_ratio=1.0)[0] == other
        assert smallest_good([best, other], greater_is_better=True, size_ratio=0.0)[0] == best

    def test_a_step_as_it_is_kept(self) -> None:
        made = replace(step("ab", 0.5, 0.7), seconds=1.5, rounds=(7,))
        assert made.mean == pytest.approx(0.6)
        assert json.loads(json.dumps(made.as_dict())) == {
            "groups": ["a", "b"],
            "folds": [0.5, 0.7],
            "gains": {"a": 1.0, "b": 2.0},
            "spreads": {"a": 0.0, "b": 0.0},
            "seconds": 1.5,
            "rounds": [7],
        }

    def test_a_clock_ends_when_its_time_is_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 10.0
        monkeypatch.setattr(time, "perf_counter", lambda: now)
        clock = TimeLimit(12.0)
        assert clock.remaining_s() == 2.0
        assert clock.earlier(1.5).remaining_s() == 0.5
        clock.check()
        now = 11.999
        clock.check()
        for now in (12.0, 13.0):  # noqa: B007 the clock is read by what is checked
            with pytest.raises(TimeLimitError):
                clock.check()
        assert TimeLimit().remaining_s() == math.inf
        assert TimeLimit().earlier(5.0) == TimeLimit()
        TimeLimit().check()


# -------------------------------------------------------------------------------------------------------------- orders


def experiment(values: np.ndarray, valid: np.ndarray) -> Any:
    folds = SimpleNamespace(valid=valid, valid_rows=lambda k: np.flatnonzero(valid == k))
    target = SimpleNamespace(columns=[SimpleNamespace(values=values)])
    return SimpleNamespace(problem=SimpleNamespace(folds=folds, target=target))


class TestOrders:
    n = 240
    times = np.arange(240) // 2
    slow = np.sin(np.arange(240) / 40.0)
    fast = np.random.default_rng(1).normal(size=240)
    valid = np.repeat([0, 1], 120)

    def blocks(self, order: np.ndarray, times: np.ndarray) -> float:
        """Return how often a row's neighbour in time is its neighbour after the shuffle, too."""
        follows = np.diff(times[order]) - np.diff(times)
        return float((follows == 0).mean())

    def test_single_rows_move_by_seed_fold_and_repeat(self) -> None:
        units = ShuffleUnits("rows", np.arange(self.n))
        orders = {
            key: ColumnOrders(experiment(self.slow, self.valid), units, fold, seed).order(
                [pl.Series(self.slow[:120])], r
            )
            for key in itertools.product((0, 1), (0, 7), (0, 1))
            for fold, seed, r in [key]
        }
        for (fold, seed, r), order in orders.items():
            assert order.tolist() == np.random.default_rng([seed, fold, r]).permutation(120).tolist()

    def test_groups_move_whole(self) -> None:
        units = ShuffleUnits("groups", np.arange(self.n) // 4)
        order = ColumnOrders(experiment(self.fast, self.valid), units, 1, 0).order([pl.Series(self.fast[120:])], 0)
        givers = units.codes[120:][order].reshape(-1, 4)
        assert (givers == givers[:, :1]).all()
        assert len(set(givers[:, 0])) == 30

    @pytest.mark.parametrize(
        ("column", "target", "in_blocks"), [("slow", "slow", True), ("fast", "slow", False), ("slow", "fast", False)]
    )
    def test_times_move_in_blocks_as_long_as_both_need(self, column: str, target: str, in_blocks: bool) -> None:
        made = experiment(getattr(self, target), self.valid)
        orders = ColumnOrders(made, ShuffleUnits("times", self.times), 0, 0)
        of_column = pl.Series(getattr(self, column)[:120])
        order = orders.order([of_column], 0)
        assert sorted(order) == list(range(120))
        assert (self.blocks(order, self.times[:120]) > 0.8) == in_blocks
        # The same for the same, another for another repeat.
        assert orders.order([of_column], 0) is order
        assert orders.order([of_column], 1).tolist() != order.tolist()

    def test_columns_that_move_together_have_the_longest_block_of_them(self) -> None:
        orders = ColumnOrders(experiment(self.slow, self.valid), ShuffleUnits("times", self.times), 0, 0)
        fast, slow = pl.Series(self.fast[:120]), pl.Series(self.slow[:120])
        together = orders.order([fast, slow], 0)
        assert together.tolist() == orders.order([slow], 0).tolist()
        assert together.tolist() != orders.order([fast], 0).tolist()

    def test_categories_and_times_are_numbers_of_their_own(self) -> None:
        orders = ColumnOrders(experiment(self.slow, self.valid), ShuffleUnits("times", self.times), 0, 0)
        codes = np.round(10 * self.slow[:120]).astype(int)
        texts = pl.Series([f"{c + 50}" for c in codes])
        expected = orders.order([pl.Series(codes)], 0).tolist()
        named = texts.cast(pl.Enum(sorted(texts.unique().to_list())))
        assert orders.order([named], 0).tolist() == expected
        assert orders.order([pl.Series(codes).cast(pl.Float32)], 0).tolist() == expected


def competition(scheme: str, codes: np.ndarray, rows: np.ndarray | None = None, values: Any = None) -> Any:
    """Return what stands in for an experiment whose folds keep these codes together."""
    cv = SimpleNamespace(scheme=scheme, group="code", column="code")
    frame = pl.DataFrame({"code": codes})
    of = SimpleNamespace(
        n_train=len(codes), definition=SimpleNamespace(cv=cv), train_columns=lambda name, **_: frame.select(name)
    )
    made = experiment(np.zeros(len(codes)) if values is None else values, np.repeat([0, 1], len(codes) // 2))
    return SimpleNamespace(competition=of, sampled_rows=rows, problem=made.problem)


@pytest.mark.parametrize(
    ("scheme", "kind", "expected"),
    [
        ("kfold", "rows", [0, 1, 2, 3]),
        ("stratified", "rows", [0, 1, 2, 3]),
        ("group", "groups", [2, 1, 2, 3]),
        ("stratified_group", "groups", [2, 1, 2, 3]),
        ("time", "times", [1, 0, 1, 2]),
    ],
)
def test_folds_keep_together_what_their_scheme_says(scheme: str, kind: str, expected: list[int]) -> None:
    units = shuffle_units(competition(scheme, np.array([20, 10, 20, 30])))
    assert (units.kind, units.codes.tolist()) == (kind, expected)
    some = shuffle_units(competition(scheme, np.array([20, 10, 20, 30]), np.array([0, 3])))
    assert some.codes.tolist() == [expected[0], expected[3]]


class TestTargets:
    """The order into which targets are shuffled."""

    valid = np.repeat([0, 1], 120)

    def test_each_fold_keeps_its_targets(self) -> None:
        order = shuffled_order(competition("kfold", np.arange(240)), 3)(2)
        rng = np.random.default_rng([3, 2])
        assert order.tolist() == [*rng.permutation(120), *rng.permutation(np.arange(120, 240))]

    def test_groups_get_those_of_another(self) -> None:
        codes = np.arange(240) // 4
        order = shuffled_order(competition("group", codes), 0)(0)
        givers = codes[order].reshape(-1, 4)
        assert (givers == givers[:, :1]).all()
        assert (self.valid[order] == self.valid).all()

    @pytest.mark.parametrize(("values", "in_blocks"), [(TestOrders.slow, True), (TestOrders.fast, False)])
    def test_times_move_in_blocks_as_long_as_the_target_is_alike(self, values: np.ndarray, in_blocks: bool) -> None:
        order = shuffled_order(competition("time", TestOrders.times, values=values), 0)(0)
        assert (self.valid[order] == self.valid).all()
        assert sorted(order) == list(range(240))
        assert (TestOrders().blocks(order, TestOrders.times) > 0.8) == in_blocks

    def test_a_fold_is_cut_into_four_blocks_at_least(self) -> None:
        """However far the target is alike: sixty times of a fold move in blocks of fifteen."""
        line = np.arange(240.0)
        order = shuffled_order(competition("time", TestOrders.times, values=line), 0)(0)
        breaks = np.flatnonzero(np.abs(np.diff(TestOrders.times[order][:120])) > 1)
        assert len(breaks) >= 2
        one = ColumnOrders(experiment(line, self.valid), ShuffleUnits("times", TestOrders.times), 0, 0)
        drawn = one.order([pl.Series(line[:120])], 0)
        assert drawn.tolist() == moved_blocks(TestOrders.times[:120], 15, np.random.default_rng([0, 0, 0])).tolist()
        # Of three times there is one to a block.
        short = ColumnOrders(experiment(line[:6], np.zeros(6)), ShuffleUnits("times", np.arange(6) // 2), 0, 0)
        assert sorted(short.order([pl.Series(line[:6])], 0)) == list(range(6))


# ---------------------------------------------------------------------------------------------- of a small competition


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Columns of tables, of features and of folds; some run together."""
    made = make_small(tmp_path_factory.mktemp("groups"), n_rows=300)
    path = made.folder / "features.py"
    path.write_text(path.read_text() + FEATURES)
    features = '["rows.x", "ratio", "rows.z", "chain", "same", "te_town", "rows.household"]'
    made.experiment(1, f"features = {features}\n[model]\nnum_iterations = 3\nnum_leaves = 4\nnum_threads = 1\n")
    return made


@pytest.fixture(scope="module")
def whole(made: Small) -> Any:
    return ready(made.workspace, made.open.access.competition, 1)


FEATURES = """

@feature
def chain(rows):
    x = pl.col("x")
    return rows.select(ROW, up=x * 2, still=pl.lit(1.0), down=-x, odd=pl.col("household") % 7)


@feature
def same(rows):
    return rows.select(ROW, x3=pl.col("z") * 3, same=pl.col("household") % 5)
"""


class TestGroups:
    @pytest.mark.parametrize(
        ("by", "expected"),
        [
            ("column", "x:x ratio:ratio z:z up:up still:still down:down odd:odd x3:x3 same:same household:household"),
            ("feature", "x:x ratio:ratio z:z chain:up,still,down,odd same:x3,same household:household"),
            ("correlated", "x + 3:x,ratio,up,down z + 1:z,x3 still:still odd:odd same:same household:household"),
        ],
    )
    def test_every_column_is_in_one_in_the_matrixs_order(self, whole: Any, by: str, expected: str) -> None:
        wanted = [tuple(text.replace(" +", "+").split(":")) for text in expected.replace(" + ", "_+_").split(" ")]
        groups = column_groups(whole, by)
        assert [(g.name.replace(" ", "_"), ",".join(g.columns)) for g in groups[:-1]] == wanted
        assert groups[-1] == Group("te_town", ("te_town",))

    def test_where_a_column_comes_from(self, whole: Any) -> None:
        assert feature_by_column(whole) == {
            **dict.fromkeys(("x", "z", "household"), "rows"),
            "ratio": "ratio",
            **dict.fromkeys(("up", "still", "down", "odd"), "chain"),
            **dict.fromkeys(("x3", "same"), "same"),
            "te_town": "te_town",
        }

    @pytest.mark.parametrize(
        ("columns", "features"),
        [
            ([], []),
            (["x", "ratio"], ["rows.x", "ratio"]),
            (["up", "still", "down", "odd"], ["chain"]),
            (["up", "odd", "te_town", "household"], ["chain.up", "chain.odd", "te_town", "rows.household"]),
            (["same"], ["same.same"]),
        ],
    )
    def test_a_list_names_whole_features_and_parts(self, whole: Any, columns: list[str], features: list[str]) -> None:
        assert features_with_columns(whole, reversed(columns)) == tuple(features)

    @pytest.mark.parametrize(("columns", "folds"), [(["z", "x"], []), (["x", "te_town"], ["te_town"])])
    def test_a_problem_of_some_columns(self, whole: Any, columns: list[str], folds: list[str]) -> None:
        problem = with_columns(whole.problem, columns)
        assert list(problem.matrix.columns) == [c for c in ("x", "z") if c in columns]
        assert [c.feature_name for c in problem.matrix.fold_columns] == folds
        assert problem.matrix.n_train == whole.problem.matrix.n_train
        # The test rows stay where what depends on the fold is computed from them.
        assert problem.matrix.frame.height == (whole.problem.matrix.frame.height if folds else problem.matrix.n_train)
        assert problem.target is whole.problem.target


class TestModels:
    def test_what_was_trained_is_told_and_read(self, whole: Any) -> None:
        told: list[tuple[int, int]] = []
        rounds: list[None] = []
        made = models_of(
            whole, RunContext((lambda e: told.append((e.fold, e.remaining)),), check_stop=lambda: rounds.append(None))
        )
        assert [left for _, left in told] == [4, 3, 2, 1, 0]
        assert len(rounds) >= 15
        assert set(made.texts) == {(0, fold, seed) for fold in range(5) for seed in whole.spec.seeds}
        assert set(made.rounds.values()) == {3}
        assert made.score.rounds == (3,)
        assert made.score.seconds > 0
        assert set(made.importance) == {(fold, seed) for _, fold, seed in made.texts}
        names = {c for g in column_groups(whole) for c in g.columns}
        assert all(set(of_model) == names for of_model in made.importance.values())
        for (_, fold, seed), text in made.texts.items():
            gains = lgb.Booster(model_str=text).feature_importance("gain")
            splits = lgb.Booster(model_str=text).feature_importance("split")
            assert [pair[0] for pair in made.importance[fold, seed].values()] == gains.tolist()
            assert [pair[1] for pair in made.importance[fold, seed].values()] == splits.tolist()

    def test_models_without_a_split_say_nothing(self, whole: Any) -> None:
        still = replace(
            whole, model=replace(whole.model, parameters={**whole.model.parameters, "min_data_in_leaf": 200})
        )
        with pytest.raises(FeatureError, match="has a split, so its columns have no importance") as caught:
            models_of(still)
        assert "min_data_in_leaf" in str(caught.value.hint)

    def test_fixed_rounds_are_those_of_each_target(self, whole: Any) -> None:
        fixed = FixedRounds(whole.model, (2, 5))
        assert fixed.content() == whole.model.content() | {"rounds": [2, 5], "patience": 0}
        assert (fixed.power, fixed.transform) == (whole.model.power, whole.model.transform)
        result, score = scored(whole, with_columns(whole.problem, ["x", "z"]), FixedRounds(whole.model, (2,)))
        assert score.rounds == (2,)
        assert {p.rounds for p in result.parts} == {2}
        assert len(score.folds) == 5


class TestEliminate:
    def eliminated(self, whole: Any, path: Path, **more: Any) -> Any:
        options = SelectionOptions("rfe", **({"trials": 3, "step": 0.4} | more.pop("options", {})))
        return eliminate(whole, column_groups(whole), options, StepsFile(path, "k"), **more)

    def test_steps_are_kept_and_gone_on_from(self, whole: Any, tmp_path: Path) -> None:
        path, told = tmp_path / "steps.json", []
        found = self.eliminated(whole, path, context=counted(told))
        assert (found.n_resumed, found.stop_reason) == (0, "trials")
        assert len(found.steps) == 4
        assert [len(s.groups) for s in found.steps][:2] == [11, 5]
        assert told[:5] == [(n, 5, "all columns") for n in range(1, 6)]
        assert told[5:10] == [(n, 5, "5 of 11") for n in range(1, 6)]
        kept = json.loads(path.read_text())
        assert kept == {"key": "k", "steps": [s.as_dict() for s in found.steps]}
        assert all(s.seconds == round(s.seconds, 2) and 1 <= s.rounds[0] <= 3 for s in found.steps)
        # Each group by the last list that it was in.
        for one in found.importances:
            last = next(s for s in (found.chosen, *reversed(found.steps)) if one.group.name in s.groups)
            assert (one.importance, one.spread) == (last.gains[one.group.name], last.spreads[one.group.name])
            assert one.keep == (one.group.name in found.chosen.groups)
        again = self.eliminated(whole, path, options={"trials": 4})
        assert (again.n_resumed, again.steps[:4]) == (4, found.steps)
        fewer = self.eliminated(whole, path, options={"trials": 1})
        assert {fewer.chosen.groups, fewer.best.groups} <= {s.groups for s in found.steps[:2]}

    def test_each_model_counts_as_progress(self, whole: Any, tmp_path: Path) -> None:
        two, told = replace(whole, spec=replace(whole.spec, seeds=(1, 2))), []
        self.eliminated(two, tmp_path / "steps.json", options={"trials": 1}, context=counted(told))
        assert [now[:2] for now in told] == 2 * [(n, 10) for n in range(1, 11)]

    @pytest.mark.parametrize(
        "text", [None, "{", "[]", '{"key": "k"}', '{"key": "other", "steps": []}', '{"key": "k", "steps": [{}]}']
    )
    def test_steps_that_are_not_its_own_are_not_gone_on_from(
        self, whole: Any, tmp_path: Path, text: str | None
    ) -> None:
        path = tmp_path / "steps.json"
        if text is not None:
            path.write_text(text)
        assert self.eliminated(whole, path, options={"trials": 1}).n_resumed == 0

    def test_gains_are_the_mean_over_the_models(self, whole: Any, tmp_path: Path) -> None:
        found = self.eliminated(whole, tmp_path / "steps.json", options={"trials": 1})
        models = models_of(whole)
        gains = {g.name: [by_group([g], {c: v[0] for c, v in m.items()})[g.name] for m in models.importance.values()] for g in column_groups(whole)}  # fmt: skip
        assert found.steps[0].gains == pytest.approx({name: np.mean(of) for name, of in gains.items()})
        assert found.steps[0].spreads == pytest.approx({name: np.std(of) for name, of in gains.items()})
        chosen = [c for g in column_groups(whole) if g.name in found.steps[1].groups for c in g.columns]
        result, score = scored(whole, with_columns(whole.problem, chosen), whole.model)
        assert found.steps[1].folds == score.folds
        expected = np.mean([p.importance["x"][0] for p in result.parts])
        assert found.steps[1].gains["x"] == pytest.approx(expected)

    def test_time_that_is_over_ends_it_and_without_a_score_it_is_said(self, whole: Any, tmp_path: Path) -> None:
        path = tmp_path / "steps.json"
        with pytest.raises(ConfigError, match="--minutes 2 ended before all columns were scored once") as caught:
            self.eliminated(
                whole,
                path,
                context=RunContext(check_stop=TimeLimit(time.perf_counter()).check),
                options={"minutes": 2.0, "trials": None},
            )
        assert "`wb run 1` first" in str(caught.value.hint)
        self.eliminated(whole, path, options={"trials": 1})
        found = self.eliminated(
            whole,
            path,
            context=RunContext(check_stop=TimeLimit(time.perf_counter()).check),
            options={"minutes": 2.0, "trials": None},
        )
        assert (found.stop_reason, found.n_resumed, len(found.steps)) == ("time", 2, 2)

    def test_without_an_end_it_is_searched_to_the_end_or_twenty_lists(self, whole: Any, tmp_path: Path) -> None:
        found = self.eliminated(whole, tmp_path / "steps.json", options={"trials": None, "step": 0.6})
        assert found.stop_reason == ("done" if len(found.steps) <= 20 else "trials")
        assert len(found.steps) <= 21

    @pytest.mark.parametrize(("minutes", "ended"), [(None, "trials"), (5.0, "time")])
    def test_twenty_smaller_lists_are_enough_where_no_time_is_given(
        self, whole: Any, tmp_path: Path, minutes: float | None, ended: str
    ) -> None:
        names = [g.name for g in column_groups(whole)]
        one = EliminationStep(tuple(names), (0.7,) * 5, dict.fromkeys(names, 1.0), dict.fromkeys(names, 0.0), 0.1, (3,))
        path = tmp_path / "steps.json"
        path.write_text(json.dumps({"key": "k", "steps": [one.as_dict()] * 21}))
        options = {"trials": None, "minutes": minutes}
        found = self.eliminated(
            whole, path, context=RunContext(check_stop=TimeLimit(time.perf_counter()).check), options=options
        )
        assert (found.stop_reason, found.n_resumed, len(found.steps)) == (ended, 21, 21)

    def test_memory_that_is_not_there_ends_it_after_the_first_score(self, whole: Any, tmp_path: Path) -> None:
        path, asked = tmp_path / "steps.json", []

        def refusing(*_: Any, **__: Any) -> Any:
            asked.append(1)
            if len(asked) > allowed:
                raise MemoryLimitError("9 GB are needed")
            return SimpleNamespace(max_folds=0)

        class Refusing(type(whole)):  # type: ignore[misc]
            plan_memory = staticmethod(refusing)

        made = Refusing(**{f.name: getattr(whole, f.name) for f in fields(whole)})
        allowed = 0
        with pytest.raises(MemoryLimitError, match="9 GB"):
            self.eliminated(made, path)
        allowed, asked = 2, []
        found = self.eliminated(made, path)
        assert (found.stop_reason, len(found.steps)) == ("memory", 2)


class TestJudged:
    """Models that are there are looked into by shuffles."""

    @pytest.mark.parametrize("greater", [True, False])
    def test_columns_that_are_shuffled_cost_their_part(self, whole: Any, greater: bool) -> None:
        metric = whole.problem.metric
        if not greater:
            metric = replace(
                metric, greater_is_better=False, compute=lambda *given: -whole.problem.metric.compute(*given)
            )
        one = replace(whole, problem=replace(whole.problem, metric=metric))
        groups, told = column_groups(one), []
        options = SelectionOptions("permutation", repeats=2, alpha=0.2)
        judged, certain = importance_by_permutation(one, models_of(one), groups, options, counted(told))
        assert [done for done, _, _ in told] == list(range(1, 5 * len(groups) + 1))
        assert {total for _, total, _ in told} == {5 * len(groups)}
        assert told[0][2] == "fold 0, x"
        assert told[-1][2] == "fold 4, te_town"
        of = {j.group.name: j for j in judged}
        assert [j.group for j in judged] == list(groups)
        # What is the same in every row no model splits on: nothing is lost, in no shuffle.
        assert (of["still"].importance, of["still"].spread, of["still"].more["p"], of["still"].keep) == (
            0.0,
            0.0,
            1.0,
            False,
        )
        assert max(judged, key=lambda j: j.importance).importance > 0.01
        assert [j.keep for j in judged] == [j.more["p"] <= 0.2 for j in judged]
        assert certain == (min(j.more["p"] for j in judged) * len(judged) <= 0.05)

    def test_a_single_loss_that_is_certain_is_enough(self, whole: Any) -> None:
        by_name = {g.name: g for g in column_groups(whole)}
        options = SelectionOptions("permutation", repeats=5)
        models = models_of(whole)
        together = Group("all", tuple(c for g in by_name.values() for c in g.columns))
        judged, certain = importance_by_permutation(whole, models, [together], options, SILENT)
        assert (judged[0].more["p"] <= 0.05, certain) == (True, True)
        _, certain = importance_by_permutation(whole, models, [by_name["still"]], options, SILENT)
        assert not certain

    @pytest.mark.parametrize("shuffles", [3, 12])
    def test_gains_are_held_against_those_of_shuffled_targets(self, whole: Any, shuffles: int) -> None:
        one = replace(whole, spec=replace(whole.spec, seeds=(1, 2)))
        groups, told, models = column_groups(one), [], models_of(one)
        options = SelectionOptions("null", shuffles=shuffles, percentile=50.0, seed=4)
        judged, certain = importance_by_shuffled_target(one, models, groups, options, counted(told))
        assert told == [(n, shuffles, "target shuffled") for n in range(1, shuffles + 1)]
        # The folds in turn, and then with the next seed.
        jobs = [(i, i % 5, (1, 2)[i // 5 % 2]) for i in range(shuffles)]
        rounds = lambda target, fold: models.rounds[target, fold]  # noqa: E731
        gains = shuffled_gains(one.problem, one.model, jobs, shuffled_order(one, 4), rounds=rounds)
        of_models = [
            [
                np.mean([by_group([g], {c: v[0] for c, v in models.importance[k, s].items()})[g.name] for s in (1, 2)])
                for g in groups
            ]
            for k in range(5)
        ]
        actual = np.array(of_models)
        whole_gain = actual.sum(axis=1)
        shares = np.array([[by_group([g], gain)[g.name] / whole_gain[k] for g in groups] for gain, (_, k, _) in zip(gains, jobs, strict=True)])  # fmt: skip
        own = (actual / whole_gain[:, None]).mean(axis=0)
        limit = np.sort(shares, axis=0)[math.ceil((shuffles - 1) / 2)]
        assert [j.importance for j in judged] == pytest.approx(own * whole_gain.mean())
        assert [j.spread for j in judged] == pytest.approx(actual.std(axis=0))
        assert [j.more["shuffled"] for j in judged] == pytest.approx(limit * whole_gain.mean())
        assert [j.more["p"] for j in judged] == pytest.approx((1 + (shares >= own).sum(axis=0)) / (1 + shuffles))
        assert [j.keep for j in judged] == (own > limit).tolist()
        usual = np.median(shares, axis=0) + 1e-12
        assert certain == bool((own / usual).max() > (shares / usual).max())


class TestSelect:
    def test_a_list_has_the_columns_that_are_kept_the_most_important_first(self, made: Small, whole: Any) -> None:
        said, told = [], []
        found = select(
            made.workspace,
            made.open.access.competition,
            1,
            SelectionOptions("gain", top=3, holdout=False),
            request=ListRequest(name="three"),
            context=RunContext((text_listener(said.append), *counted(told).listeners)),
        )
        importances = [j.importance for j in found.judged]
        assert importances == sorted(importances, reverse=True)
        assert [j.keep for j in found.judged] == [True] * 3 + [False] * 8
        assert (found.name, found.exp, found.run_id, found.method, found.metric) == ("three", 1, None, "gain", "auc")
        assert "training on all columns" in said
        assert said[-2:] == ["gain", "scoring the list"]
        assert [n for n in told if n[2] == "all columns"] == [(n, 5, "all columns") for n in range(1, 6)]
        assert [n for n in told if n[2] == "the list"] == [(n, 5, "the list") for n in range(1, 6)]
        assert found.held_out is None
        assert found.optimistic == "selected on these folds"
        assert found.notes == (
            "selected on these folds: the list's score is optimistic; --holdout holds out rows to score the list on",
        )
        listed = read_list(made.open.access.competition, "three")
        assert listed.features == found.features
        assert listed.title == "001 by gain: 3 of 11"
        assert list(listed.kept) == [c for j in found.judged[:3] for c in j.group.columns]
        assert list(listed.dropped) == [c for j in found.judged[3:] for c in j.group.columns]
        assert listed.best == {}
        assert listed.scores["before"]["folds"] == list(found.before.folds)
        assert listed.scores["after"]["folds"] == list(found.after.folds)
        assert listed.scores["optimistic"] == "selected on these folds"
        assert "held_out_before" not in listed.scores
        first = found.judged[0]
        table = listed.kept[first.group.columns[0]]
        assert table["importance"] == float(f"{first.importance:.6g}")
        assert table["of"] == feature_by_column(whole)[first.group.columns[0]]
        assert "with" not in table
        assert listed.made["rows"] == whole.problem.target.n_rows
        assert listed.made["parameters"] == {"seed": 0, "share": 0.99, "by": "column", "top": 3}
        assert "run" not in listed.made
        assert listed.made["at"].microsecond == 0
        assert 0 < found.seconds < 600
        columns = [c for j in found.judged[:3] for c in j.group.columns]
        assert found.after.folds == scored(whole, with_columns(whole.problem, columns), whole.model)[1].folds

    def test_columns_that_were_judged_as_one_say_so(self, made: Small) -> None:
        found = made.open.features.select(
            1, SelectOptions("gain", by="feature", top=2, holdout=False, name="features", threads=1)
        )
        listed = read_list(made.open.access.competition, "features")
        tables = listed.kept | listed.dropped
        assert {c: t.get("with") for c, t in tables.items() if c in ("up", "x", "same")} == {
            "up": "chain",
            "x": None,
            "same": "same",
        }
        assert len(found.judged) == 7

    def test_nothing_that_is_dropped_is_nothing_that_flatters(self, made: Small) -> None:
        found = made.open.features.select(1, SelectOptions("gain", top=99, name="all", threads=1))
        assert found.notes == ("nothing is dropped: the list has every column",)
        assert (found.optimistic, found.held_out, found.after) == (None, None, found.before)
        assert "optimistic" not in read_list(made.open.access.competition, "all").scores

    def test_a_search_says_how_it_ended(self, made: Small) -> None:
        found = made.open.features.select(1, SelectOptions("rfe", trials=1, step=0.4, name="search", threads=1))
        steps = json.loads((made.folder / "selections" / "search.steps.json").read_text())["steps"]
        assert (
            "the number of trials is reached after 1 smaller lists: with more, a smaller one may be found"
            in found.notes
        )
        assert not any(n.startswith("went on from") for n in found.notes)
        assert [len(s["groups"]) for s in steps] == [11, len(steps[1]["groups"])]
        assert len(steps[1]["groups"]) < 8
        assert found.before.folds == tuple(steps[0]["folds"])
        best = max(steps, key=lambda s: np.mean(s["folds"]))
        chosen = {j.group.name for j in found.judged if j.keep}
        listed = read_list(made.open.access.competition, "search")
        if set(best["groups"]) == chosen:
            assert listed.best == {}
        else:
            assert listed.best["mean"] == pytest.approx(np.mean(best["folds"]))
        assert (found.held_out is None) == (len(chosen) == 11)
        again = made.open.features.select(1, SelectOptions("rfe", trials=1, step=0.4, name="search", threads=1))
        assert "resumed from 2 finished steps in search.steps.json" in again.notes

    def test_a_list_that_looks_like_chance_is_not_to_be_trusted(self, made: Small) -> None:
        made.experiment(2, 'features = ["rows.household", "chain.odd", "same.same", "chain.still"]\n'
                           "[model]\nnum_iterations = 3\nnum_leaves = 4\nnum_threads = 1\n")  # fmt: skip
        options = {"repeats": 2, "holdout": False, "threads": 1}
        with pytest.raises(FeatureError, match="by permutation, all 4 look like noise") as caught:
            made.open.features.select(2, SelectOptions("permutation", alpha=1e-9, name="none", **options))
        assert "--top N" in str(caught.value.hint)
        found = made.open.features.select(2, SelectOptions("permutation", alpha=0.9, name="noise", **options))
        n = sum(j.keep for j in found.judged)
        said = f"{n} of 4 pass, as many as may by chance where all are noise: do not trust this list"
        assert said in found.notes

    def test_lightgbms_remarks_are_kept_to_itself_while_it_works(self, made: Small) -> None:
        logger, levels = logging.getLogger("workbench"), set[int]()
        before = logger.level
        try:
            logger.setLevel(logging.INFO)
            select(
                made.workspace,
                made.open.access.competition,
                1,
                SelectionOptions("gain", top=2, holdout=False),
                request=ListRequest(name="loud"),
                context=RunContext((lambda _: levels.add(logger.level),)),
            )
            assert levels == {logging.ERROR}
            with pytest.raises(ConfigError, match="made from something else"):
                select(
                    made.workspace,
                    made.open.access.competition,
                    1,
                    SelectionOptions("gain", top=4),
                    request=ListRequest(name="loud"),
                )
            assert logger.level == logging.INFO
        finally:
            logger.setLevel(before)

    def test_rows_held_out_are_scored_by_the_rounds_of_the_others(self, made: Small, whole: Any) -> None:
        said: list[str] = []
        found = select(
            made.workspace,
            made.open.access.competition,
            1,
            SelectionOptions("gain", top=2),
            request=ListRequest(name="held"),
            context=RunContext((text_listener(said.append),)),
        )
        assert said[-1] == "rows held out"
        assert found.held_out is not None
        assert len(found.before.folds) == 4
        everything = [c for g in column_groups(whole) for c in g.columns]
        columns = [c for j in found.judged if j.keep for c in j.group.columns]
        for score, of in zip(found.held_out, (everything, columns), strict=True):
            problem = with_columns(only_fold(whole.problem, 4), of)
            rounds = found.before.rounds if of is everything else found.after.rounds
            assert score.folds == scored(whole, problem, FixedRounds(whole.model, rounds))[1].folds
        kept = read_list(made.open.access.competition, "held").scores
        assert kept["held_out_before"]["folds"] == list(found.held_out[0].folds)
        assert kept["held_out_after"]["folds"] == list(found.held_out[1].folds)
        assert found.notes == ()
