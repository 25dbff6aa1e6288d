from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from workbench import intervals


@given(st.floats(0.001, 50), st.floats(1, 60))
def test_two_sided_p_is_students(t: float, degrees: float) -> None:
    assert intervals.two_sided_p(-t, degrees) == pytest.approx(2 * scipy.stats.t.sf(t, degrees), rel=1e-7)


@given(st.floats(0.01, 100))
def test_gamma_s_derivatives(x: float) -> None:
    assert intervals.digamma(x) == pytest.approx(scipy.special.digamma(x), rel=1e-8, abs=1e-8)
    assert intervals.trigamma(x) == pytest.approx(scipy.special.polygamma(1, x), rel=1e-8)
    assert intervals.trigamma_inverse(intervals.trigamma(x)) == pytest.approx(x, rel=1e-6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_is_scipy_s_bonferroni_at_the_least_and_never_below_p(p: list[float]) -> None:
    adjusted = intervals.holm(p)
    assert min(adjusted) == pytest.approx(min(1.0, len(p) * min(p)))
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))


def test_a_family_of_one_or_two_is_judged_by_its_own_variance() -> None:
    one = [0.01, 0.02, 0.01, 0.0, 0.02]
    t = np.mean(one) / intervals.standard_error(one)
    assert intervals.family_p([one]) == [pytest.approx(2 * scipy.stats.t.sf(t, 4))]
    assert intervals.family_p([one, [0.0] * 5])[0] == pytest.approx(4 * scipy.stats.t.sf(t, 4))
    assert intervals.family_p([]) == []


def test_no_change_at_all_and_one_without_variance() -> None:
    assert intervals.family_p([[0.0] * 5]) == [1.0]
    # As where scores are shares of few rows: a test of signs, whatever rounding adds.
    assert intervals.family_p([[0.01] * 5]) == [2**-4]
    rounded = [0.3 - 0.2, 0.4 - 0.3]
    assert rounded[0] != rounded[1]
    assert intervals.family_p([rounded]) == [0.5]
    assert math.isnan(intervals.standard_error([0.1]))


@pytest.mark.parametrize("k", [2, 3, 5])
def test_shares_of_few_rows_hold_the_error_too(k: int) -> None:
    """One row more or less in a fold, by chance: folds with one difference are no rarity."""
    rng, repeats = np.random.default_rng(k), 2000
    drawn = rng.choice([-0.01, 0.0, 0.01], p=[0.25, 0.5, 0.25], size=(repeats, 1, k))
    wrong = sum(intervals.family_p(values)[0] <= 0.05 for values in drawn.tolist())
    assert wrong <= scipy.stats.binom.ppf(0.999, repeats, 0.05)


@pytest.mark.parametrize("spread", [0.0, 1.0])
@pytest.mark.parametrize("shared", [0.0, 0.5])
@pytest.mark.parametrize("n", [4, 12, 60])
def test_a_family_holds_its_error_where_the_correction_is_exact(n: int, shared: float, spread: float) -> None:
    """No slack of the correction hides an error here: the means vary just as it says."""
    rng, k, repeats, wrong = np.random.default_rng([n, int(10 * shared), int(spread)]), 5, 250, 0
    for _ in range(repeats):
        within = math.sqrt(1 - shared) * rng.normal(size=(n, k)) + math.sqrt(shared) * rng.normal(size=(1, k))
        means = math.sqrt(1 - shared) * rng.normal(size=(n, 1)) + math.sqrt(shared) * rng.normal()
        values = within - within.mean(axis=1, keepdims=True) + means * math.sqrt(1 / k + 1 / (k - 1))
        values *= np.exp(spread * rng.normal(size=(n, 1)))
        wrong += min(intervals.family_p(values.tolist())) <= 0.05
    # 5 % are allowed: 99.9 of 100 times no more than this.
    assert wrong <= scipy.stats.binom.ppf(0.999, repeats, 0.055)
