"""Confidence intervals of a mean over folds, and p-values of many comparisons at once.

Scores of folds are not independent, as the train sets of the folds overlap. The variance of their mean is therefore
estimated by ``s^2 (1/k + r)`` instead of ``s^2 / k``, where r is the ratio of validation rows to train rows, averaged
over the folds (Nadeau and Bengio 2003, the corrected resampled t test). With k folds that partition the rows r is
1/(k - 1); it is greater for folds in time, which train on fewer rows.

Without numpy, so that `wb table` starts quickly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = [
    "MIN_WINDOWS",
    "digamma",
    "family_p",
    "half_width",
    "holm",
    "standard_error",
    "t_975",
    "trigamma",
    "trigamma_inverse",
    "two_sided_p",
    "window_values",
]

# Student's t, 97.5 % quantile for 1 to 30 degrees of freedom; beyond, the first terms of its expansion in 1/dof.
_T_975: tuple[float, ...] = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def t_975(dof: int) -> float:
    """Return the 97.5 % quantile of Student's t."""
    return _T_975[dof - 1] if dof <= len(_T_975) else 1.95996 + 2.3723 / dof


def standard_error(values: Sequence[float], size_ratio: float | None = None) -> float:
    """Return the corrected standard error of the mean over folds; NaN for fewer than two.

    Parameters
    ----------
    values : sequence of float
        The score, or the difference of two scores, of each fold.
    size_ratio : float, optional
        Validation rows over train rows, averaged over the folds; None for 1/(k - 1), the ratio of folds that partition
        the rows.

    Examples
    --------
    >>> round(standard_error([0.01, 0.02, 0.01, 0.0, 0.02]), 5)
    0.00561
    """
    k = len(values)
    if k < 2:
        return math.nan
    mean = math.fsum(values) / k
    variance = math.fsum([(v - mean) ** 2 for v in values]) / (k - 1)
    return math.sqrt(variance * (1 / k + (1 / (k - 1) if size_ratio is None else size_ratio)))


def half_width(values: Sequence[float], size_ratio: float | None = None) -> float:
    """Return half the width of the corrected 95 % interval of the mean over folds; see `standard_error`."""
    return t_975(len(values) - 1) * standard_error(values, size_ratio)


MIN_WINDOWS = 3
"""The fewest windows to estimate the variance between windows from; with fewer it is that between users alone."""


def window_values(cells: Sequence[float], windows: int) -> list[float]:
    """Return independent values whose mean is that of the cells, and whose standard error covers users and windows.

    A cell is the score of a group of users in a time window; the groups are the same in every window. The variance of
    the mean is that of two crossed random effects, ``(MS of groups + MS of windows - MS of residuals) / cells``, but at
    least that of the groups, the windows or the residuals alone. The values are scaled so that their `standard_error`
    with ratio 0 (no model is trained on its own window) is the root of this variance.

    Parameters
    ----------
    cells : sequence of float
        The scores, or differences of scores, of all groups in the first window, then in the second, and so on.
    windows : int
        The number of windows.

    Returns
    -------
    list of float
        One value per window, or per group of users if there are fewer than `MIN_WINDOWS` windows. The cells themselves
        if their number is no multiple of `windows`.
    """
    n_cells, groups = len(cells), len(cells) // windows
    if n_cells != groups * windows or not groups:
        # Runs of earlier versions omit cells without a score, so that cells can't be assigned to windows.
        return list(cells)
    mean = math.fsum(cells) / n_cells
    of_window = [math.fsum(cells[w * groups : (w + 1) * groups]) / groups for w in range(windows)]
    of_group = [math.fsum(cells[g::groups]) / windows for g in range(groups)]
    residuals = [c - of_window[i // groups] - of_group[i % groups] + mean for i, c in enumerate(cells)]

    def mean_square(deviations: Sequence[float], times: int, dof: int) -> float:
        return times * math.fsum([d * d for d in deviations]) / dof if dof else 0.0

    by_window = mean_square([v - mean for v in of_window], groups, windows - 1)
    by_group = mean_square([v - mean for v in of_group], windows, groups - 1)
    noise = mean_square(residuals, 1, (windows - 1) * (groups - 1))
    variance = max(by_window, by_group, noise, by_window + by_group - noise) / n_cells
    values = of_window if windows >= MIN_WINDOWS or groups < 2 else of_group
    values_error = standard_error(values, 0.0)
    if math.isnan(values_error) or values_error**2 == variance:
        return values
    # Values that differ only by rounding can't be scaled: two arbitrary deviations replace theirs.
    are_equal = values_error <= ROUNDING_ERROR * math.sqrt(variance)
    deviations = [1.0, *([0.0] * (len(values) - 2)), -1.0] if are_equal else [v - mean for v in values]
    factor = math.sqrt(variance) / (standard_error(deviations, 0.0) if are_equal else values_error)
    return [mean + factor * d for d in deviations]


def two_sided_p(t: float, dof: float) -> float:
    """Return the two-sided p-value of Student's t statistic.

    Examples
    --------
    >>> round(two_sided_p(2.776, 4), 4), round(two_sided_p(-12.706, 1), 4), two_sided_p(math.inf, 4)
    (0.05, 0.05, 0.0)
    """
    t = abs(t)
    if not t:
        return 1.0
    return 0.0 if math.isinf(t) else _incomplete_beta(dof / 2, 0.5, dof / (dof + t * t))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function for 0 < x <= 1, by its continued fraction (Lentz's method)."""
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x) - math.log(a)
    )
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 200):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / (1 + term * d)
            c = 1 + term / c
            value *= c * d
        if abs(c * d - 1) < 1e-13:
            break
    return front * value


# ------------------------------------------------------------------------------------------------- many comparisons


def family_p(differences: Sequence[Sequence[float]], size_ratio: float | None = None) -> list[float]:
    """Return the p-values of several comparisons on the same folds, adjusted for their number.

    The family-wise error rate at 0.05 is at most 5 %: Holm's step-down procedure (1979) over corrected t tests,
    whatever the dependence between them. With k folds a test has k - 1 degrees of freedom, too few for any power among
    dozens of comparisons. The variances are therefore moderated: each is shrunk towards the common variance of the
    family, as far as the variances of the family agree (Smyth 2004). The shrinkage is limited, as otherwise a few
    large, variable differences among many small ones would be tested with the variance of the small ones: the prior has
    `WITHHELD_DEGREES` fewer degrees of freedom than estimated, and at most `MAX_PRIOR_DEGREES` or (n - 2) / 2 of n
    comparisons.

    A difference that is equal in all folds has no variance: its p-value is that of a sign test, 2^(1 - k).

    Parameters
    ----------
    differences : sequence of sequences of float
        The differences per fold of each comparison, all on the same k >= 2 folds.
    size_ratio : float, optional
        As for `standard_error`.
    """
    if not differences:
        return []
    k = len(differences[0])
    factor = 1 / k + (1 / (k - 1) if size_ratio is None else size_ratio)
    means = [math.fsum(d) / k for d in differences]
    variances = [math.fsum([(v - mean) ** 2 for v in d]) / (k - 1) for d, mean in zip(differences, means, strict=True)]
    prior_degrees, prior_variance = _prior(variances, k - 1)
    dof = k - 1 + prior_degrees
    p_values = []
    for mean, variance in zip(means, variances, strict=True):
        moderated = (prior_degrees * prior_variance + (k - 1) * variance) / dof
        if moderated > (ROUNDING_ERROR * mean) ** 2:
            p_values.append(two_sided_p(mean / math.sqrt(moderated * factor), dof))
        else:
            # Equal in every fold, as happens with scores that are fractions of few rows: a sign test.
            p_values.append(2.0 ** (1 - k) if mean else 1.0)
    return holm(p_values)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's step-down procedure.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, running_max = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        running_max = max(running_max, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = running_max
    return adjusted


ROUNDING_ERROR = 1e-9
"""Relative to the mean: folds that differ by less are taken to be equal."""

MAX_PRIOR_DEGREES, WITHHELD_DEGREES = 6.0, 2.0
"""Limits of the shrinkage in `family_p`: the most prior degrees of freedom, and how many are taken off the estimate.

Simulated with 20 and 80 comparisons without effect, half or a tenth of them 3 to 10 times as variable as the
others: 2 to 6 % of the families have a false positive, as with Holm's procedure over plain t tests; without these
limits it is up to 10 %.
"""


def _prior(variances: Sequence[float], dof: int) -> tuple[float, float]:
    """Return the degrees of freedom and the variance of the prior of a family's variances.

    Estimated from mean and variance of the logarithms of the positive variances (Smyth 2004, section 6.2).
    """
    logs = [math.log(v) for v in variances if v > 0]
    n = len(logs)
    max_degrees = min(MAX_PRIOR_DEGREES, (n - 2) / 2)
    if max_degrees <= 0:
        return 0.0, 0.0
    log_variance = math.fsum(logs) / n - digamma(dof / 2) + math.log(dof / 2)
    mean = math.fsum(logs) / n
    excess = math.fsum([(v - mean) ** 2 for v in logs]) / (n - 1) - trigamma(dof / 2)
    if excess <= 0:
        return max_degrees, math.exp(log_variance)
    estimated = 2 * trigamma_inverse(excess)
    prior_degrees = max(0.0, min(max_degrees, estimated - WITHHELD_DEGREES))
    return prior_degrees, math.exp(log_variance + digamma(estimated / 2) - math.log(estimated / 2))


def digamma(x: float) -> float:
    """Return the first derivative of the logarithm of the gamma function, for `x` above 0 (DLMF 5.11.2)."""
    value = 0.0
    while x < 8:
        value -= 1 / x
        x += 1
    square = 1 / (x * x)
    return value + math.log(x) - 0.5 / x - square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square / 240)))


def trigamma(x: float) -> float:
    """Return the second derivative of the logarithm of the gamma function, for `x` above 0 (DLMF 5.15.8)."""
    value = 0.0
    while x < 8:
        value += 1 / (x * x)
        x += 1
    square = 1 / (x * x)
    series = 1 / 6 - square * (1 / 30 - square * (1 / 42 - square / 30))
    return value + 1 / x + square / 2 + square / x * series


def trigamma_inverse(y: float) -> float:
    """Return the x whose trigamma is y, by bisection, as trigamma falls from infinity to 0."""
    low, high = 1e-8, 1e8
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if trigamma(middle) > y else (low, middle)
    return math.sqrt(low * high)
