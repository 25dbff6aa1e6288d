"""On pure noise the shown numbers raise no more alarms than they promise.

Seeds are fixed, so a test gives the same every time; the bound is what a rate as promised stays within in 999 of 1000 such
series, had the trials been independent. ``python -m tests.bench nulls`` measures the rates with more repeats.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from tests.nulls import NULLS
from workbench.analysis.checks.target import MAX_TREND_P, MIN_TREND_CORRELATION, trend_p, weighted_correlation
from workbench.metrics.dependence import (
    correlation_length,
    effective_units,
    moved_blocks,
    moved_units,
    time_blocks,
)

FAST = (
    "star: best of 80",
    "star: best of 80, folds in time",
    "interval of one change",
    "permutation: groups",
    "permutation: drifting",
    "null importance: groups",
    "adversarial: groups",
    "adversarial: times",
    "drift: groups",
    "drift: times",
    "leak: groups",
    "leak: times",
)
"""In the usual suite; the rest is marked as slow."""


def hold(name: str, repeats: int) -> None:
    null = NULLS[name]
    alarms, trials = null.measure(repeats)
    most = scipy.stats.binom.ppf(0.999, trials, null.promised)
    assert alarms <= most, f"{name}: {alarms} alarms in {trials} trials, {null.promised:.0%} were promised"


@pytest.mark.parametrize("name", FAST)
def test_noise_raises_no_more_alarms_than_promised(name: str) -> None:
    hold(name, NULLS[name].fast)


@pytest.mark.slow
@pytest.mark.parametrize("name", NULLS)
def test_noise_raises_no_more_alarms_than_promised_in_many_trials(name: str) -> None:
    hold(name, max(NULLS[name].fast + 1, NULLS[name].many // 3))


def test_a_few_periods_with_levels_of_their_own_are_no_trend() -> None:
    """A period is a single witness, however many rows it has: by their number, any two periods differ."""
    rng, weights, steep, trends = np.random.default_rng(6), np.full(6, 500.0), 0, 0
    for _ in range(1000):
        means = rng.normal(size=6)
        r = weighted_correlation(np.arange(6.0), means, weights)
        steep += abs(r) >= MIN_TREND_CORRELATION
        trends += abs(r) >= MIN_TREND_CORRELATION and trend_p(means, weights, r) <= MAX_TREND_P
    assert steep > 80
    assert trends <= 14  # 5 are promised
    rising = np.arange(6.0) + 0.3 * rng.normal(size=6)
    assert trend_p(rising, weights, weighted_correlation(np.arange(6.0), rising, weights)) <= MAX_TREND_P


class TestUnits:
    def test_a_column_that_is_constant_in_groups_stays_so(self) -> None:
        rng = np.random.default_rng(0)
        units = rng.permutation(np.repeat(np.arange(30), rng.integers(1, 20, 30)))
        order = moved_units(units, rng)
        assert all(len(np.unique(units[order[units == u]])) == 1 for u in range(30))
        givers = [int(units[order[units == u]][0]) for u in range(30)]
        assert sorted(givers) == list(range(30))
        assert (units[order] != units).mean() > 0.8

    def test_blocks_of_time_keep_their_order(self) -> None:
        times = np.repeat(np.arange(40), 3)
        order = moved_blocks(times, 8, np.random.default_rng(1))
        source = times[order].reshape(40, 3)
        assert (source == source[:, :1]).all()
        assert sorted(source[:, 0]) == list(range(40))
        follows = (np.diff(source[:, 0]) % 40) == 1
        assert follows.sum() >= 40 - 1 - 6

    def test_single_rows_are_single_units(self) -> None:
        order = moved_units(np.arange(50), np.random.default_rng(2))
        assert sorted(order) == list(range(50))
        assert sorted(moved_blocks(np.arange(50), 1, np.random.default_rng(2))) == list(range(50))

    def test_how_long_times_go_together(self) -> None:
        rng = np.random.default_rng(3)
        assert correlation_length(rng.normal(size=2000), np.repeat(np.arange(200), 10)) <= 3
        walk = np.cumsum(rng.normal(size=200))
        assert correlation_length(walk[np.repeat(np.arange(200), 10)], np.repeat(np.arange(200), 10)) > 20
        assert correlation_length(np.full(100, 3.7), np.arange(100)) == 1
        assert correlation_length(np.full(100, np.nan), np.arange(100)) == 1

    @pytest.mark.parametrize("n", [4, 5, 6, 7, 40, 201])
    @pytest.mark.parametrize("persistence", [0.0, 0.5, 0.95])
    def test_the_correlation_length_is_the_sum_of_autocorrelations(self, n: int, persistence: float) -> None:
        rng = np.random.default_rng(n)
        means = [0.0]
        for shock in rng.normal(size=n - 1):
            means.append(persistence * means[-1] + shock)
        deviations = np.array(means) - np.mean(means)
        lags = range(max(2, n // 2))
        correlation = [float(deviations[lag:] @ deviations[: n - lag]) / float(deviations @ deviations) for lag in lags]
        before_chance = list(itertools.takewhile(lambda r: r >= 2 / np.sqrt(n), correlation))[1:]
        expected = int(np.ceil(2 * (1 + 2 * sum(before_chance)))) if sum(before_chance) > 0 else 1
        assert correlation_length(np.array(means), np.arange(n)) == expected

    def test_how_many_rows_a_column_is_worth(self) -> None:
        rng = np.random.default_rng(4)
        units = np.repeat(np.arange(50), 20)
        assert effective_units(rng.permutation(50)[units], units) == pytest.approx(50)
        assert effective_units(rng.integers(0, 3, 50)[units], units) == pytest.approx(50)
        assert effective_units(rng.integers(0, 500, 1000), units) > 600
        assert effective_units(rng.integers(0, 2, 1000), np.arange(1000)) == 1000
        half = (rng.normal(size=50)[units] + rng.normal(size=1000)).argsort().argsort()
        assert 60 < effective_units(half, units) < 160
        assert effective_units(np.full(10, -1), np.arange(10)) == 0

    def test_blocks_are_of_equally_many_rows(self) -> None:
        blocks = time_blocks(np.random.default_rng(5).permutation(1000).astype(float), 10)
        assert np.bincount(blocks).tolist() == pytest.approx([100] * 10, abs=1)
        assert len(np.unique(time_blocks(np.repeat([1.0, 2.0], 50), 10))) <= 2
