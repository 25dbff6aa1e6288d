"""How a search divides its time, number by number; the properties of the same are in `test_tuning.py`."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.models.lightgbm.fold_scorer import Fidelity
from workbench.tuning.deadline import Budget
from workbench.tuning.plan import (
    LowFidelity,
    affordable_rate,
    affordable_trials,
    enough_rounds,
    is_much_lower,
    low_fidelity_within,
    low_fidelity_without_time,
    min_row_share,
    not_clearly_worse,
    repeated_cv_folds,
    target_full_cvs,
    with_fixed_rounds,
)

QUICK = LowFidelity(0.1, 1000, 30, 5, 0.5, (1, 3))


def test_a_share_of_the_time_is_counted_from_when_the_clock_began_to_run() -> None:
    budget = Budget(100.0, 300.0)
    assert [budget.time_at(share) for share in (0.0, 0.25, 1.0)] == [100.0, 150.0, 300.0]
    assert Budget(100.0).time_at(0.5) is None
    assert (budget.trials, Budget(100.0, trials=3).ends_at) == (None, None)


def test_quick_scores_are_scored_and_kept_as_they_were_settled() -> None:
    assert QUICK.fidelity == Fidelity(0.1, 1000, 30, evaluation_interval=5, row_share=0.5)
    plain = {"rate": 0.1, "rounds": 1000, "patience": 30, "every": 5, "share": 0.5}
    assert QUICK.content() == {**plain, "folds": [1, 3]}
    assert LowFidelity.of(QUICK.content()) == QUICK


@pytest.mark.parametrize(
    ("share", "n_folds", "expected"),
    [
        (1.0, 2, ""),
        (1.0, 5, ", of 2 of 5 folds"),
        (0.5, 2, ", of 50% of the rows"),
        (0.25, 5, ", of 2 of 5 folds, of 25% of the rows"),
    ],
)
def test_what_quick_scores_leave_out_is_said(share: float, n_folds: int, expected: str) -> None:
    assert LowFidelity(0.1, 1000, 30, 5, share, (1, 3)).reduction(n_folds) == expected


@pytest.mark.parametrize(
    ("n_rows", "every", "share"),
    [
        (19_999, 1, 1.0),
        (20_000, 5, 1.0),
        (150_000, 5, 1.0),
        (187_400, 5, 1.0),  # nearly all are as quick as all
        (187_500, 5, 0.8),
        (600_000, 5, 0.25),
    ],
)
def test_without_a_time_so_many_rows_are_enough(n_rows: int, every: int, share: float) -> None:
    # The mean over the folds counts.
    rows = [n_rows - 100, n_rows + 100]
    assert low_fidelity_without_time(rows, searches_rate=False) == LowFidelity(0.1, 1000, 30, every, share, (0, 1))
    assert low_fidelity_without_time(rows, searches_rate=True) == LowFidelity(None, 1000, 30, every, share, (0, 1))


ROWS = ([20_800] * 5, [5_200] * 5)
MANY = ([209_000] * 5, [52_000] * 5)


@pytest.mark.parametrize(
    ("seconds", "per_round", "rows", "more", "expected"),
    [
        # With time to spare, all folds at the lowest rate.
        (600, 0.002, ROWS, {}, LowFidelity(0.03, 3333, 100, 5, 1.0, (0, 1, 2, 3, 4))),
        (600, 0.002, ROWS, {"searches_rate": True}, LowFidelity(None, 3333, 100, 5, 1.0, (0, 1, 2, 3, 4))),
        # Folds beyond those that validate enough rows go first, then half of the trials: the rate stays.
        (180, 0.002, ROWS, {}, LowFidelity(0.06, 1666, 50, 5, 1.0, (1, 2, 3, 4))),
        # Then the rate rises, to the highest; there are fewer rounds by it where it is a high one.
        (100, 0.002, ROWS, {}, LowFidelity(0.067, 1488, 45, 5, 1.0, (1, 2, 3, 4))),
        (60, 0.002, ROWS, {}, LowFidelity(0.11, 417, 28, 5, 1.0, (1, 2, 3, 4))),
        (10, 0.002, ROWS, {}, LowFidelity(0.3, 150, 10, 5, 1.0, (1, 2, 3, 4))),
        # Then models of fewer rounds; at last fewer folds, one in any case, of ten rounds in any case.
        (1, 0.002, ROWS, {}, LowFidelity(0.3, 26, 10, 5, 1.0, (1, 2, 3, 4))),
        (1, 0.002, ROWS, {"all_folds": True}, LowFidelity(0.3, 20, 10, 5, 1.0, (0, 1, 2, 3, 4))),
        (0.25, 0.002, ROWS, {}, LowFidelity(0.3, 13, 10, 5, 1.0, (3, 4))),
        (0.1, 0.002, ROWS, {}, LowFidelity(0.3, 10, 10, 5, 1.0, (4,))),
        (0.001, 0.002, ROWS, {}, LowFidelity(0.3, 10, 10, 5, 1.0, (4,))),
        # Of a large table rows are given up before the rate goes above 0.1.
        (120, 0.02, MANY, {}, LowFidelity(0.1, 1000, 30, 5, 0.714, (4,))),
        (120, 0.02, MANY, {"all_folds": True}, LowFidelity(0.1, 1000, 30, 5, 0.143, (0, 1, 2, 3, 4))),
        (3000, 0.02, MANY, {}, LowFidelity(0.056, 1785, 54, 5, 1.0, (0, 1, 2, 3, 4))),
        # As many folds as validate 20,000 rows, of those with the most train rows, the last of equals.
        (600, 0.02, ([20_000] * 5, [20_000] * 5), {}, LowFidelity(0.056, 1785, 54, 5, 1.0, (4,))),
        (600, 0.02, ([19_999] * 5, [19_999] * 5), {}, LowFidelity(0.06, 1666, 50, 1, 1.0, (3, 4))),
        (600, 0.02, ([25_000, 5_000, 25_000, 5_000], [20_000] * 4), {}, LowFidelity(0.056, 1785, 54, 1, 1.0, (2,))),
        # A table with next to nothing to validate, and a round that takes no time.
        (1, 0.02, ([800] * 5, [0] * 5), {}, LowFidelity(0.3, 10, 10, 1, 1.0, (4,))),
        (600, 1e-12, ([800] * 5, [200] * 5), {}, LowFidelity(0.03, 3333, 100, 1, 1.0, (0, 1, 2, 3, 4))),
    ],
)
def test_what_tells_least_goes_first(
    seconds: float, per_round: float, rows: tuple[list[int], list[int]], more: dict[str, Any], expected: LowFidelity
) -> None:
    options = {"all_folds": False, "searches_rate": False} | more
    assert low_fidelity_within(seconds, per_round, *rows, **options) == expected


def test_a_share_is_of_20_000_rows_at_the_least() -> None:
    assert [min_row_share([n, n]) for n in (10_000, 20_000, 80_000)] == [1.0, 1.0, 0.25]


@pytest.mark.parametrize(
    ("quick_rate", "rounds", "rate", "expected"),
    [
        (None, 500, 0.02, (None, 500)),
        (0.1, 500, 0.02, (0.1, 100)),
        (0.1, 500, 0.1, (0.1, 500)),
        (0.1, 500, 0.3, (0.3, 500)),
        (0.1, 1, 0.02, (0.1, 1)),
    ],
)
def test_fixed_rounds_are_so_many_by_the_rate(
    quick_rate: float | None, rounds: int, rate: float, expected: tuple[float | None, int]
) -> None:
    fixed = with_fixed_rounds(LowFidelity(quick_rate, 1000, 30, 5, 0.5, (1, 3)), rounds, rate)
    assert fixed == LowFidelity(expected[0], expected[1], 0, 5, 0.5, (1, 3))


@pytest.mark.parametrize(
    ("valid_rows", "all_folds", "expected"),
    [([20_000] * 2, False, 1.3), ([19_999] * 2, False, 2.5), ([20_000] * 2, True, 2.5), ([1] * 2, True, 2.5)],
)
def test_where_one_fold_tells_enough_fewer_have_to_fit(valid_rows: list[int], all_folds: bool, expected: float) -> None:
    assert target_full_cvs(valid_rows, all_folds=all_folds) == expected


@pytest.mark.parametrize(
    ("seconds", "quick", "expected"),
    [
        # Five folds of 2 s each, three sets of them: 36 s at the quick scores' rate, in proportion at a lower one.
        (36.001, LowFidelity(0.1, 9, 9, 1, 1.0, (0,)), 0.1),
        (51.5, LowFidelity(0.1, 9, 9, 1, 1.0, (0,)), 0.07),
        (51.3, LowFidelity(0.1, 9, 9, 1, 1.0, (0,)), 0.1),
        (180.0, LowFidelity(0.1, 9, 9, 1, 1.0, (0,)), 0.02),
        (180.1, LowFidelity(None, 9, 9, 1, 1.0, (0,)), 0.02),  # a rate that is searched is about that
        (180.1, LowFidelity(0.2, 9, 9, 1, 1.0, (0,)), 0.05),
        (180.1, LowFidelity(0.1, 9, 9, 1, 0.25, (0,)), 0.1),
        (720.1, LowFidelity(0.1, 9, 9, 1, 0.25, (0,)), 0.02),
        (0.0, LowFidelity(0.1, 9, 9, 1, 1.0, (0,)), 0.1),  # the highest, though nothing fits
    ],
)
def test_the_lowest_rate_at_which_enough_fit(seconds: float, quick: LowFidelity, expected: float) -> None:
    assert affordable_rate(seconds, [1.0, 2.0, 9.0], quick, 5, 3.0) == expected


@pytest.mark.parametrize(
    ("rate", "known", "expected"),
    [
        (0.02, 0.05, True),
        (0.02, 0.03, False),
        (0.03, 0.1, True),
        (0.05, 0.05, False),
        (0.1, 0.02, False),
        (0.04, 0.1, False),
        (0.02, 0.09, False),
    ],
)
def test_a_rate_is_much_lower_by_two_steps(rate: float, known: float, expected: bool) -> None:
    assert is_much_lower(rate, known) == expected


def test_a_low_rate_needs_more_rounds_and_more_patience_at_the_least() -> None:
    assert enough_rounds(0.02, 100, 10) == (15_000, 150)
    assert enough_rounds(0.1, 3_000, 30) == (3_000, 30)
    assert enough_rounds(0.1, 5_000, 70) == (5_000, 70)


@pytest.mark.parametrize(
    ("gains", "stays"),
    [
        ([-0.1], True),  # one fold says nothing
        ([-0.1, -0.1], False),
        ([-0.1, 0.0], True),
        ([-0.1, 0.1], True),
        ([-0.4, -0.1, -0.1], False),  # worse by 0.2, give or take 0.14
        ([-0.9, -0.01, -0.01], True),  # by 0.31, give or take 0.42
        ([-0.5, -0.5, 1e-9], True),
    ],
)
@pytest.mark.parametrize("greater", [True, False])
def test_hope_is_lost_where_each_fold_is_worse_by_more_than_they_differ(
    gains: list[float], stays: bool, greater: bool
) -> None:
    sign = 1 if greater else -1
    # The best one is far ahead on average, by a fold of its own.
    scores = {7: [0.5] * len(gains), 2: [0.5 + sign * g for g in gains]}
    assert not_clearly_worse(scores, None, greater_is_better=greater) == [7, 2][: 1 + stays]
    assert not_clearly_worse(scores, 2, greater_is_better=greater) == [
        7,
        2,
    ]  # the experiment's own is what is to be beaten


@pytest.mark.parametrize(
    ("room", "own", "expected"),
    [
        (-1.0, None, [5]),
        (0.9, 7, [5]),
        (2.9, None, [5, 6]),
        (2.9, 7, [5, 6]),  # two better ones first
        (3.0, 8, [5, 6, 8]),
        (3.0, 6, [5, 6, 7]),
        (3.0, 99, [5, 6, 7]),
        (3.0, None, [5, 6, 7]),
        (9.0, 8, [5, 6, 7, 8]),
    ],
)
def test_as_many_race_as_there_is_room_for(room: float, own: int | None, expected: list[int]) -> None:
    assert affordable_trials([5, 6, 7, 8], room, own) == expected


@pytest.mark.parametrize(
    ("seconds", "fold_seconds", "expected"),
    [
        # A tenth of the time is left; what takes 1, 2 and 3 s a fold:
        (0.5, [1, 2, 3], (1, 1)),
        (3.0, [1, 2, 3], (2, 1)),
        (3.4, [1, 2, 3], (1, 2)),
        (6.6, [1, 2, 3], (1, 2)),
        (6.7, [1, 2, 3], (1, 3)),
        (13.4, [1, 2, 3], (2, 3)),
        (99.0, [1, 2, 3], (5, 3)),
        (99.0, [1], (5, 1)),
        (3.5, [1], (3, 1)),
        (1.0, [0, 0], (5, 2)),
        (1.0, [0], (5, 1)),
    ],
)
def test_more_sets_before_more_of_the_other_folds(
    seconds: float, fold_seconds: list[float], expected: tuple[int, int]
) -> None:
    assert repeated_cv_folds(seconds, fold_seconds, 5) == expected
