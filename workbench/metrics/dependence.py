"""Clustered rows, as those of one user or one day: which columns vary with them, and the effective number of rows.

Folds that keep groups or times apart ask how a model does on new ones. Rows of a unit (a group; a time) are then not
independent observations: a column that is constant within units is drawn once per unit, and shuffling it row by row
would compare it with a null that has too many effective rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["correlation_length", "effective_units", "moved_blocks", "moved_units", "time_blocks"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def moved_units(units: npt.ArrayLike, rng: np.random.Generator, source: Ints | None = None) -> Ints:
    """Return from which row each row gets its value, (n,), when whole units change places.

    All rows of a unit get values of one other unit, in random order; where that has fewer rows they are dealt again.
    What is constant within units stays so.

    Parameters
    ----------
    units : array (n,)
        The unit of each row.
    source : int array (n_units,), optional
        Which unit each gets its values from, by their ranks; by default a random permutation.

    Examples
    --------
    >>> units = np.array([7, 7, 7, 9, 9])
    >>> units[moved_units(units, np.random.default_rng(0), source=np.array([1, 0]))].tolist()
    [9, 9, 9, 7, 7]
    """
    codes = np.unique(np.asarray(units), return_inverse=True)[1]
    sizes = np.bincount(codes)
    starts = np.cumsum(sizes) - sizes
    source = rng.permutation(len(sizes)) if source is None else source
    takers, givers = (np.lexsort((rng.random(len(codes)), codes)) for _ in range(2))
    of = codes[takers]
    place = np.arange(len(codes)) - starts[of]
    order = np.empty(len(codes), np.int64)
    order[takers] = givers[starts[source[of]] + place % sizes[source[of]]]
    return order


def moved_blocks(times: npt.ArrayLike, length: int, rng: np.random.Generator) -> Ints:
    """Return from which row each row gets its value, (n,), when blocks of successive times change places.

    Rows of equal time stay together as in `moved_units`; within a block the times keep their order. Where the first
    block begins is random, and the last is followed by the first.

    Parameters
    ----------
    times : array (n,)
    length : int
        Distinct times in a block.
    """
    codes = np.unique(np.asarray(times), return_inverse=True)[1]
    n_times = int(codes.max()) + 1
    turned = np.roll(np.arange(n_times), int(rng.integers(n_times)))
    blocks = np.array_split(turned, max(1, n_times // max(1, length)))
    source = np.empty(n_times, np.int64)
    source[turned] = np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])
    return moved_units(codes, rng, source)


def correlation_length(values: Floats, times: npt.ArrayLike) -> int:
    """Return how many successive times go together: twice the time over which the means by time are autocorrelated.

    That is 1 + 2 times the sum of the autocorrelations before the first that is no more than chance (Sokal 1997);
    1 where there is no autocorrelation. Missing values are left out.

    Examples
    --------
    >>> white, times = np.random.default_rng(0).normal(size=500), np.arange(500)
    >>> correlation_length(white, times), correlation_length(np.repeat(white[:25], 20), times) > 20
    (1, True)
    """
    is_finite = np.isfinite(values)
    if is_finite.sum() < 4:
        return 1
    codes = np.unique(np.asarray(times)[is_finite], return_inverse=True)[1]
    counts = np.bincount(codes)
    means = np.bincount(codes, weights=values[is_finite]) / counts
    n = len(means)
    deviations = means - means.mean()
    power = np.abs(np.fft.rfft(deviations, 2 * n)) ** 2
    covariance = np.fft.irfft(power)[: max(2, n // 2)]
    if n < 4 or covariance[0] <= 1e-12 * max(1.0, float(np.abs(means).max()) ** 2):
        return 1
    correlation = covariance / covariance[0]
    chance = np.flatnonzero(correlation < 2 / np.sqrt(n))
    total = float(correlation[1 : chance[0] if len(chance) else None].sum())
    return 1 if total <= 0 else int(np.ceil(2 * (1 + 2 * total)))


def time_blocks(times: Floats, blocks: int) -> Ints:
    """Return which of some blocks of about equally many rows each row's time is in, (n,); one more has no time.

    Examples
    --------
    >>> time_blocks(np.array([3.0, 1.0, 1.0, 2.0, np.nan]), 2).tolist()
    [1, 0, 0, 1, 2]
    """
    is_finite = np.isfinite(times)
    if not is_finite.any():
        return np.zeros(len(times), np.int64)
    cuts = np.unique(np.quantile(times[is_finite], np.arange(1, blocks) / blocks, method="lower"))
    codes = np.searchsorted(cuts, np.where(is_finite, times, 0.0), side="left")
    codes = np.unique(np.where(is_finite, codes, blocks + 1), return_inverse=True)[1]
    return codes.astype(np.int64)


def effective_units(codes: Ints, units: Ints) -> float:
    """Return how many independent rows the rows of a column are worth.

    That is n / (1 + (m - 1) r), Kish's design effect: m is the mean size of the unit that a row is in, r how much more
    two rows of a unit agree than any two rows do (the intraclass correlation). All rows where they agree no more, as
    many as there are units of equal size where a unit has one value.

    Parameters
    ----------
    codes : int array (n,)
        The column: distinct values as numbers from 0 up, their order that of the values; -1 is missing.
    units : int array (n,)
    """
    is_present = codes >= 0
    values, unit_codes = codes[is_present], np.unique(units[is_present], return_inverse=True)[1]
    n = len(values)
    if n < 2:
        return float(n)
    sizes = np.bincount(unit_codes).astype(float)
    size = float((sizes**2).sum() / n)
    if size <= 1:
        return float(n)
    # The larger of what values and their ranks say: a category's numbers have no order, and a number seldom repeats.
    agreement = max(_agreement_icc(values, unit_codes, sizes), _rank_icc(values, unit_codes, sizes))
    return float(n / (1 + (size - 1) * min(1.0, max(0.0, agreement))))


def _agreement_icc(values: Ints, of: Ints, sizes: Floats) -> float:
    """Return how much more often two rows of a unit are equal than any two rows, of how often they could be."""
    n, pairs = len(values), float((sizes * (sizes - 1)).sum())
    counts = np.bincount(values).astype(float)
    overall = float((counts * (counts - 1)).sum()) / (n * (n - 1))
    within = np.unique(of * (int(values.max()) + 1) + values, return_counts=True)[1].astype(float)
    equal = float((within * (within - 1)).sum()) / pairs
    return (equal - overall) / (1 - overall) if overall < 1 else 0.0


def _rank_icc(values: Ints, unit_codes: Ints, sizes: Floats) -> float:
    """Return the intraclass correlation of the ranks, from an analysis of variance."""
    n, k = len(values), len(sizes)
    counts = np.bincount(values)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[values]
    means = np.bincount(unit_codes, weights=ranks) / sizes
    if n <= k or k < 2:
        return 0.0
    mean_square_within = float(((ranks - means[unit_codes]) ** 2).sum()) / (n - k)
    mean_square_between = float((sizes * (means - ranks.mean()) ** 2).sum()) / (k - 1)
    mean_size = (n - float((sizes**2).sum()) / n) / (k - 1)
    denominator = mean_square_between + (mean_size - 1) * mean_square_within
    return (mean_square_between - mean_square_within) / denominator if denominator > 0 else 0.0
