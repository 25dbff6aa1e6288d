from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from workbench.core import intervals


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


# ------------------------------------------------------------------------------------------- held against other code


def test_students_quantile_is_that_of_the_table_and_close_beyond_it() -> None:
    assert [intervals.t_975(n) for n in range(1, 31)] == [round(scipy.stats.t.ppf(0.975, n), 3) for n in range(1, 31)]
    for n in (31, 60, 1000):
        assert intervals.t_975(n) == pytest.approx(scipy.stats.t.ppf(0.975, n), rel=2e-3)
    assert intervals.t_975(10**6) == pytest.approx(1.95996, abs=1e-5)


@pytest.mark.parametrize("values", [[0.1, 0.4], [0.1, 0.4, 0.2], [0.3, 0.1, 0.2, 0.25, 0.5]])
@pytest.mark.parametrize("ratio", [None, 0.0, 0.25, 2.0])
def test_the_standard_error_allows_for_folds_that_share_rows(values: list[float], ratio: float | None) -> None:
    k = len(values)
    expected = np.std(values, ddof=1) * np.sqrt(1 / k + (1 / (k - 1) if ratio is None else ratio))
    assert intervals.standard_error(values, ratio) == pytest.approx(expected, rel=1e-12)
    t = round(scipy.stats.t.ppf(0.975, k - 1), 3)
    assert intervals.half_width(values, ratio) == pytest.approx(t * expected, rel=1e-12)


def test_of_no_or_one_value_there_is_no_standard_error() -> None:
    assert math.isnan(intervals.standard_error([]))
    assert math.isnan(intervals.standard_error([0.1], 0.5))


@pytest.mark.parametrize(
    ("t", "degrees", "expected"), [(0.0, 3, 1.0), (-0.0, 3, 1.0), (math.inf, 3, 0.0), (1e-200, 3, 1.0)]
)
def test_the_ends_of_students_t(t: float, degrees: float, expected: float) -> None:
    assert intervals.two_sided_p(t, degrees) == expected
    assert intervals.two_sided_p(-t, degrees) == expected


def test_students_t_is_as_scipy_has_it_to_the_last_digits() -> None:
    for degrees in (1, 1.5, 2, 4, 10, 400):
        for t in (1e-3, 0.1, 0.7, 1.0, 1.5, 3.0, 30.0):
            expected = 2 * scipy.stats.t.sf(t, degrees)
            assert intervals.two_sided_p(t, degrees) == pytest.approx(expected, rel=1e-11), (t, degrees)


def test_the_series_err_by_the_first_term_that_they_leave_out() -> None:
    """Of the asymptotic series at 8, where they begin: Bernoulli's 10th number."""
    for x in (8.0, 8.5, 9.0):
        assert intervals.digamma(x) - scipy.special.digamma(x) == pytest.approx(5 / 660 / x**10, abs=6e-13)
        assert scipy.special.polygamma(1, x) - intervals.trigamma(x) == pytest.approx(5 / 66 / x**11, abs=1e-12)
    # Below it is the error of the value that they are traced back to.
    assert intervals.digamma(0.5) - scipy.special.digamma(0.5) == pytest.approx(5 / 660 / 8.5**10, abs=6e-13)
    assert scipy.special.polygamma(1, 0.5) - intervals.trigamma(0.5) == pytest.approx(5 / 66 / 8.5**11, abs=1e-12)


@pytest.mark.parametrize("x", [1e-6, 0.3, 4.0, 1e3, 1e6])
def test_the_inverse_of_trigamma_is_found_far_out(x: float) -> None:
    assert intervals.trigamma_inverse(float(scipy.special.polygamma(1, x))) == pytest.approx(x, rel=1e-8)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([], []),
        ([0.2], [0.2]),
        ([0.01, 0.01, 0.01], [0.03, 0.03, 0.03]),
        ([0.04, 0.03, 0.001], [0.06, 0.06, 0.003]),
        ([0.9, 0.6], [1.0, 1.0]),
        ([0.5, 0.001, 0.012], [0.5, 0.003, 0.024]),
    ],
)
def test_holm_step_by_step(p: list[float], expected: list[float]) -> None:
    assert intervals.holm(p) == pytest.approx(expected)


def family_by_scipy(differences: np.ndarray, ratio: float | None) -> list[float]:
    """Return the adjusted p-values with scipy's functions, after Smyth 2004 and the text of `family_p`."""
    k = differences.shape[1]
    variances = differences.var(axis=1, ddof=1)
    logs = np.log(variances[variances > 0])
    half, most = (k - 1) / 2, min(6.0, (np.count_nonzero(variances) - 2) / 2)
    prior = usual = 0.0
    if most > 0:
        shifted = logs.mean() - scipy.special.digamma(half) + math.log(half)
        excess = logs.var(ddof=1) - scipy.special.polygamma(1, half)
        prior, usual = most, math.exp(shifted)
        if excess > 0:
            lent = scipy.optimize.brentq(lambda d: scipy.special.polygamma(1, d / 2) - excess, 1e-6, 1e6)
            prior = max(0.0, min(most, lent - 2))
            usual = math.exp(shifted + scipy.special.digamma(lent / 2) - math.log(lent / 2))
    degrees = k - 1 + prior
    moderated = (prior * usual + (k - 1) * variances) / degrees
    means = differences.mean(axis=1)
    error = np.sqrt(moderated * (1 / k + (1 / (k - 1) if ratio is None else ratio)))
    p = np.where(
        moderated > 0, 2 * scipy.stats.t.sf(abs(means) / np.where(error > 0, error, 1), degrees), 2.0 ** (1 - k)
    )
    p = np.where((moderated == 0) & (means == 0), 1.0, p)
    order, adjusted, least = np.argsort(p, kind="stable"), np.empty(len(p)), 0.0
    for rank, i in enumerate(order):
        adjusted[i] = least = max(least, min(1.0, (len(p) - rank) * p[i]))
    return list(adjusted)


@pytest.mark.parametrize("spread", [0.0, 0.2, 0.7, 2.0])
@pytest.mark.parametrize(("n", "k"), [(1, 5), (2, 5), (3, 5), (4, 3), (8, 5), (14, 5), (40, 2), (60, 10)])
@pytest.mark.parametrize("ratio", [None, 0.4])
def test_a_family_is_as_scipy_has_it(n: int, k: int, spread: float, ratio: float | None) -> None:
    rng = np.random.default_rng([n, k, int(10 * spread)])
    drawn = rng.normal(0.02, 0.01, (n, k)) * np.exp(spread * rng.normal(size=(n, 1)))
    if spread == 0.2:
        drawn[0] = 0.25  # no variance of its own: it says nothing of the others', and borrows theirs
    if spread == 0.0 and n > 2:
        # All vary by the same: nothing speaks against what they have in common.
        drawn = 0.02 * np.arange(n)[:, None] + rng.permuted(np.tile(np.linspace(-0.02, 0.02, k), (n, 1)), axis=1)
    assert intervals.family_p(drawn.tolist(), ratio) == pytest.approx(family_by_scipy(drawn, ratio), rel=1e-6)


@pytest.mark.parametrize(("windows", "groups"), [(1, 4), (2, 1), (2, 2), (2, 5), (3, 1), (3, 2), (3, 4), (6, 3)])
@pytest.mark.parametrize("by", ["windows", "groups", "both", "neither"])
def test_windows_and_users_are_crossed(windows: int, groups: int, by: str) -> None:
    """The analysis of variance of two crossed factors, whatever differs more."""
    rng = np.random.default_rng([windows, groups, len(by)])
    cells = rng.normal(0.5, 0.01, (windows, groups))
    cells += rng.normal(0, 0.1, (windows, 1)) if by in ("windows", "both") else 0
    cells += rng.normal(0, 0.1, (1, groups)) if by in ("groups", "both") else 0
    mean = cells.mean()
    rows, columns = cells.mean(axis=1, keepdims=True), cells.mean(axis=0, keepdims=True)
    squares = [
        (groups * np.sum((rows - mean) ** 2), windows - 1),
        (windows * np.sum((columns - mean) ** 2), groups - 1),
        (np.sum((cells - rows - columns + mean) ** 2), (windows - 1) * (groups - 1)),
    ]
    of_rows, of_columns, rest = (total / degrees if degrees else 0.0 for total, degrees in squares)
    variance = max(of_rows, of_columns, rest, of_rows + of_columns - rest) / cells.size
    values = intervals.window_values(cells.ravel().tolist(), windows)
    assert np.mean(values) == pytest.approx(mean)
    # How windows differ is told from three at least.
    assert len(values) == (windows if windows >= 3 or groups == 1 else groups)
    assert intervals.standard_error(values, 0.0) == pytest.approx(math.sqrt(variance))
    # They keep their order, and their distances but for a factor.
    own = (
        cells.mean(axis=1) if len(values) == windows and (windows >= 3 or groups == 1) else cells.mean(axis=0)
    ) - mean
    assert np.corrcoef(values, own)[0, 1] == pytest.approx(1.0)


def test_cells_that_differ_where_their_means_do_not_are_no_more_sure() -> None:
    cells = [0.1, 0.3, 0.2, 0.3, 0.1, 0.2, 0.2, 0.2, 0.2]  # each window has the mean 0.2, and so has each group
    values = intervals.window_values(cells, 3)
    assert np.mean(values) == pytest.approx(0.2)
    assert sorted(values) == values[::-1]
    assert len(values) == 3
    rest = math.fsum((c - 0.2) ** 2 for c in cells) / 4
    assert intervals.standard_error(values, 0.0) == pytest.approx(math.sqrt(rest / 9))


@pytest.mark.parametrize(("cells", "windows"), [([0.1, 0.2, 0.3], 2), ([0.1], 2), ([], 2)])
def test_cells_that_are_not_all_there_stay_as_they_are(cells: list[float], windows: int) -> None:
    assert intervals.window_values(cells, windows) == cells


def test_equal_cells_have_no_error_at_all() -> None:
    assert intervals.window_values([0.25] * 6, 3) == [0.25] * 3
    assert intervals.window_values([0.25], 1) == [0.25]


def test_what_varies_by_rounding_alone_is_a_test_of_signs() -> None:
    barely, more = [0.1 + 1e-11, 0.1, 0.1 - 1e-11], [0.1 + 1e-9, 0.1, 0.1 - 1e-9]
    assert intervals.family_p([barely]) == [0.25]
    assert intervals.family_p([[-v for v in barely]]) == [0.25]
    assert intervals.family_p([more])[0] < 1e-6
