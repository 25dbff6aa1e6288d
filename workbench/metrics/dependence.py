"""Clustered rows, such as those of one user or one day: permutations that keep clusters, and effective sample sizes.

Folds that separate groups or times measure a model on new ones. The rows of a unit (a group or a time) are then not
independent observations: a column that is constant within units is drawn once per unit, and shuffling its rows would
compare it with a null distribution of too many effective rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["correlation_length", "effective_units", "moved_blocks", "moved_units", "time_blocks"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def moved_units(units: npt.ArrayLike, rng: np.random.Generator, source: Ints | None = None) -> Ints:
    """Return the row that each row takes its value from, (n,), in a permutation of whole units.

    All rows of a unit get values of one other unit, in random order, which repeat if that unit has fewer rows. Columns
    that are constant within units stay so.

    Parameters
    ----------
    units : array (n,)
        The unit of each row.
    source : int array (n_units,), optional
        The rank of the unit that each unit takes its values from; by default a random permutation.

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
    target_rows, source_rows = (np.lexsort((rng.random(len(codes)), codes)) for _ in range(2))
    target_units = codes[target_rows]
    source_units = source[target_units]
    position = np.arange(len(codes)) - starts[target_units]
    order = np.empty(len(codes), np.int64)
    order[target_rows] = source_rows[starts[source_units] + position % sizes[source_units]]
    return order


def moved_blocks(times: npt.ArrayLike, length: int, rng: np.random.Generator) -> Ints:
    """Return the row that each row takes its value from, (n,), in a permutation of blocks of successive times.

    Rows of equal time stay together as in `moved_units`; within a block the times keep their order. The first block
    begins at a random time, and the earliest time follows the latest.

    Parameters
    ----------
    times : array (n,)
    length : int
        The number of distinct times in a block.
    """
    codes = np.unique(np.asarray(times), return_inverse=True)[1]
    n_times = int(codes.max()) + 1
    rotated = np.roll(np.arange(n_times), int(rng.integers(n_times)))
    blocks = np.array_split(rotated, max(1, n_times // max(1, length)))
    source = np.empty(n_times, np.int64)
    source[rotated] = np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])
    return moved_units(codes, rng, source)


def correlation_length(values: Floats, times: npt.ArrayLike) -> int:
    """Return the number of successive times to keep together: twice the autocorrelation time of the means by time.

    The autocorrelation time is 1 + 2 times the sum of the autocorrelations before the first that is within chance
    (Sokal 1997). The result is 1 if there is no autocorrelation. Missing values are ignored.

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
    within_chance = np.flatnonzero(correlation < 2 / np.sqrt(n))
    total = float(correlation[1 : within_chance[0] if len(within_chance) else None].sum())
    return 1 if total <= 0 else int(np.ceil(2 * (1 + 2 * total)))


def time_blocks(times: Floats, blocks: int) -> Ints:
    """Assign rows to blocks of successive times with about equally many rows, (n,); rows without a time get their own.

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
    """Return the effective sample size of a column: the number of independent rows that are worth as much.

    It is n / (1 + (m - 1) r), by Kish's design effect: m is the mean size of the unit that a row is in, and r the
    intraclass correlation. That is n if rows of a unit agree no more than any two rows, and the number of units if
    they are of equal size and each has one value.

    Parameters
    ----------
    codes : int array (n,)
        The ranks of the column's values, from 0, -1 for missing.
    units : int array (n,)
    """
    is_present = codes >= 0
    values, unit_codes = codes[is_present], np.unique(units[is_present], return_inverse=True)[1]
    n = len(values)
    if n < 2:
        return float(n)
    sizes = np.bincount(unit_codes).astype(float)
    mean_size = float((sizes**2).sum() / n)
    if mean_size <= 1:
        return float(n)
    # The larger of two: the codes of a category have no meaningful ranks, and numbers seldom repeat.
    agreement = max(_agreement_icc(values, unit_codes, sizes), _rank_icc(values, unit_codes, sizes))
    return float(n / (1 + (mean_size - 1) * min(1.0, max(0.0, agreement))))


def _agreement_icc(values: Ints, unit_codes: Ints, sizes: Floats) -> float:
    """Return how much more often two rows of a unit are equal than any two rows, as a share of the most possible."""
    n, pairs = len(values), float((sizes * (sizes - 1)).sum())
    counts = np.bincount(values).astype(float)
    overall = float((counts * (counts - 1)).sum()) / (n * (n - 1))
    within = np.unique(unit_codes * (int(values.max()) + 1) + values, return_counts=True)[1].astype(float)
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
