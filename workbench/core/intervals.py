"""How sure a mean over folds is: corrected intervals, and what holds of many comparisons together.

Fold scores and their differences are few and not independent, as the folds' train sets overlap. The variance of their
mean is therefore taken as ``s^2 (1/k + r)`` instead of ``s^2 / k``, where r is the number of validated rows over the
number of train rows, the mean over the folds (Nadeau and Bengio 2003, the corrected resampled t test). With k folds
dealt from all rows r is 1/(k - 1); folds in time train on fewer rows, most of all the first ones.

Plain floats and nothing heavy: the experiment table starts in a moment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = [
    "LEAST_WINDOWS",
    "digamma",
    "family_p",
    "half_width",
    "holm",
    "over_windows",
    "standard_error",
    "t_975",
    "trigamma",
    "trigamma_inverse",
    "two_sided_p",
]

# Student's t, 97.5 % quantile for 1 to 30 degrees of freedom, then its limit with the first term of its expansion.
_T975: tuple[float, ...] = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def t_975(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t."""
    return _T975[degrees - 1] if degrees <= len(_T975) else 1.95996 + 2.3723 / degrees


def standard_error(values: Sequence[float], ratio: float | None = None) -> float:
    """Return the corrected standard error of the mean over folds; NaN for fewer than two.

    Parameters
    ----------
    values : sequence of float
        A score, or a difference of scores, of each fold.
    ratio : float, optional
        Validated rows over train rows, the mean over the folds; None for 1/(k - 1), that of folds dealt from all rows.

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
    return math.sqrt(variance * (1 / k + (1 / (k - 1) if ratio is None else ratio)))


def half_width(values: Sequence[float], ratio: float | None = None) -> float:
    """Return half of the corrected 95 % interval of the mean over folds; see `standard_error`."""
    return t_975(len(values) - 1) * standard_error(values, ratio)


LEAST_WINDOWS = 3
"""The fewest windows that show how windows differ; with fewer an interval is that of the users alone."""


def over_windows(cells: Sequence[float], windows: int) -> list[float]:
    """Return independent values with the mean of cells, and as sure of it as users and windows together allow.

    The cells are those of windows in time by groups of users, the same users in every window. The mean's variance is
    that of two crossed random effects, ``(MS of users + MS of windows - MS of the rest) / cells``, and never below that
    of the users alone, the windows alone or the rest alone. Of three windows or more as many values come, whose
    standard error (`standard_error` with the ratio 0: the model of a window has seen nothing of it) is its root, with
    as many degrees of freedom as windows less one. Of one or two windows a value for each group of users comes: what
    differs between windows is no part of what they say, but for what two of them show.

    Parameters
    ----------
    cells : sequence of float
        Window by window the groups' scores, or their differences.
    """
    n, groups = len(cells), len(cells) // windows
    if n != groups * windows or not groups:
        # Runs of earlier versions left out the cells without a score: which window is whose is not known any more.
        return list(cells)
    mean = math.fsum(cells) / n
    of_window = [math.fsum(cells[w * groups : (w + 1) * groups]) / groups for w in range(windows)]
    of_group = [math.fsum(cells[g::groups]) / windows for g in range(groups)]
    residuals = [c - of_window[i // groups] - of_group[i % groups] + mean for i, c in enumerate(cells)]

    def mean_square(deviations: Sequence[float], times: int, degrees: int) -> float:
        return times * math.fsum([d * d for d in deviations]) / degrees if degrees else 0.0

    by_window = mean_square([v - mean for v in of_window], groups, windows - 1)
    by_group = mean_square([v - mean for v in of_group], windows, groups - 1)
    noise = mean_square(residuals, 1, (windows - 1) * (groups - 1))
    variance = max(by_window, by_group, noise, by_window + by_group - noise) / n
    values = of_window if windows >= LEAST_WINDOWS or groups < 2 else of_group
    own_error = standard_error(values, 0.0)
    if math.isnan(own_error) or own_error**2 == variance:
        return values
    # Where the values themselves do not differ but by rounding, any that do by as much as is wanted.
    alike = own_error <= ROUNDED_OFF * math.sqrt(variance)
    away = [1.0, *([0.0] * (len(values) - 2)), -1.0] if alike else [v - mean for v in values]
    factor = math.sqrt(variance) / (standard_error(away, 0.0) if alike else own_error)
    return [mean + factor * d for d in away]


def two_sided_p(t: float, degrees: float) -> float:
    """Return the probability that Student's t is further from 0 than `t`.

    Examples
    --------
    >>> round(two_sided_p(2.776, 4), 4), round(two_sided_p(-12.706, 1), 4), two_sided_p(math.inf, 4)
    (0.05, 0.05, 0.0)
    """
    t = abs(t)
    if not t:
        return 1.0
    return 0.0 if math.isinf(t) else _incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


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


def family_p(differences: Sequence[Sequence[float]], ratio: float | None = None) -> list[float]:
    """Return the p-value of each of several changes on the same folds, adjusted for how many they are.

    Of all that are 0 in truth, none is at or below 0.05 in at least 95 of 100 families: Holm's step-down procedure
    (1979) over corrected t tests, whatever the dependence between them. A handful of folds gives each test 4 degrees of
    freedom or so, which is next to no power where dozens are compared; the variances are therefore moderated, each
    drawn towards what is usual in the family as far as the family's own variances agree (Smyth 2004). That is held
    back, as a few changes of another kind among many small ones would be judged by the small ones' variance: 2 degrees
    of freedom less than estimated, and 6, or half of what is compared less one, at most.

    A difference that is the same in all folds has no variance to judge it by: its p-value is that of a test of signs,
    2^(1 - k).

    Parameters
    ----------
    differences : sequence of sequences of float
        Of each comparison the folds' differences, all of k >= 2 folds.
    ratio : float, optional
        As for `standard_error`.
    """
    if not differences:
        return []
    k = len(differences[0])
    factor = 1 / k + (1 / (k - 1) if ratio is None else ratio)
    means = [math.fsum(d) / k for d in differences]
    variances = [math.fsum([(v - mean) ** 2 for v in d]) / (k - 1) for d, mean in zip(differences, means, strict=True)]
    prior, usual = _prior(variances, k - 1)
    degrees = k - 1 + prior
    p_values = []
    for mean, variance in zip(means, variances, strict=True):
        moderated = (prior * usual + (k - 1) * variance) / degrees
        if moderated > (ROUNDED_OFF * mean) ** 2:
            p_values.append(two_sided_p(mean / math.sqrt(moderated * factor), degrees))
        else:
            # The same in every fold, as happens where scores are shares of few rows: no more than a test of signs says.
            p_values.append(2.0 ** (1 - k) if mean else 1.0)
    return holm(p_values)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's procedure.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, least = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        least = max(least, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = least
    return adjusted


ROUNDED_OFF = 1e-9
"""Of a difference: what its folds vary by less is how scores were rounded."""

MOST_PRIOR, HELD_BACK = 6.0, 2.0
"""Degrees of freedom that a family's other variances may lend to one, and how many fewer than estimated they do.

Simulated with 20 and 80 changes without effect, half of them or one in ten varying 3 to 10 times as much as the rest: 2
to 6 % of the families have one that passes, as with Holm's procedure over plain t tests; up to 10 % without this limit.
"""


def _prior(variances: Sequence[float], degrees: int) -> tuple[float, float]:
    """Return what the variances have in common: the degrees of freedom that it is worth, and the usual variance.

    From mean and variance of their logarithms, Smyth 2004, section 6.2; a variance of 0 says nothing.
    """
    logs = [math.log(v) for v in variances if v > 0]
    n = len(logs)
    most = min(MOST_PRIOR, (n - 2) / 2)
    if most <= 0:
        return 0.0, 0.0
    shifted = math.fsum(logs) / n - digamma(degrees / 2) + math.log(degrees / 2)
    mean = math.fsum(logs) / n
    excess = math.fsum([(v - mean) ** 2 for v in logs]) / (n - 1) - trigamma(degrees / 2)
    if excess <= 0:
        return most, math.exp(shifted)
    worth = 2 * trigamma_inverse(excess)
    return max(0.0, min(most, worth - HELD_BACK)), math.exp(shifted + digamma(worth / 2) - math.log(worth / 2))


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
    """Return the x whose trigamma is y, by bisection: it falls from infinity to 0."""
    low, high = 1e-8, 1e8
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if trigamma(middle) > y else (low, middle)
    return math.sqrt(low * high)
