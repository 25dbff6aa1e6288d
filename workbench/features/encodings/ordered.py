"""Statistics that can't be combined from summaries: quantiles, and functions of the user."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import FeatureError
from workbench.core.user_code import user_code
from workbench.features.encodings.past import Past
from workbench.features.encodings.split import LearningSets, Units
from workbench.features.encodings.statistics import Statistic

__all__ = ["past_calls", "past_quantiles", "table_of_calls", "table_of_quantiles"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.integer[Any]]

# -------------------------------------------------------------------------------------------------- nested in folds


def table_of_quantiles(
    quantile: float, groups: Codes, values: Floats, units: Units, counts: npt.NDArray[Any], sets: LearningSets
) -> Floats:
    """Return the quantile by learning set and group, (n_sets, n_groups); NaN without values.

    The rows are sorted by group and value once; the rows of each set are a sorted subset.

    Parameters
    ----------
    groups, values : array (n_train,)
        The group and the target value of each train row.
    counts : int array (n_units, n_groups)
        The number of values in each cell.
    """
    order = np.lexsort((values, groups))
    sorted_values, row_units = values[order], units.unit[order]
    table = np.empty((sets.n_sets, counts.shape[1]))
    for number in range(sets.n_sets):
        in_set, sizes = _members_of_set(number, row_units, counts, sets)
        starts, set_values = np.cumsum(sizes) - sizes, sorted_values[in_set]
        table[number] = _interpolated(quantile, sizes, lambda at, v=set_values, s=starts: v[s[at[0]] + at[1]])
    return table


def table_of_calls(
    statistic: Statistic, order: Ints, values: Floats, units: Units, counts: npt.NDArray[Any], sets: LearningSets
) -> npt.NDArray[np.float32]:
    """Return the user's function by learning set and group, (n_sets, n_groups); NaN without values.

    Parameters
    ----------
    order : int array (n_train,)
        The train rows sorted by group and, within a group, in the order of the values that the function takes.
    """
    sorted_values, row_units = values[order], units.unit[order]
    table = np.full((sets.n_sets, counts.shape[1]), np.nan, np.float32)
    for number in range(sets.n_sets):
        in_set, sizes = _members_of_set(number, row_units, counts, sets)
        set_values, ends = sorted_values[in_set], np.cumsum(sizes)
        for group in np.flatnonzero(sizes):
            table[number, group] = _call(statistic, set_values[ends[group] - sizes[group] : ends[group]])
    return table


def _members_of_set(
    number: int, row_units: npt.NDArray[np.int32], counts: npt.NDArray[Any], sets: LearningSets
) -> tuple[npt.NDArray[np.bool_], Ints]:
    """Return which train rows are in a learning set, and the number of its values by group."""
    is_member = np.zeros(len(counts), np.bool_)
    is_member[sets.members(number)] = True
    return is_member[row_units], counts[is_member].sum(axis=0, dtype=np.int64)


def _call(statistic: Statistic, values: Floats) -> float:
    function = statistic.function
    if function is None:
        return np.nan
    hint = "it takes an array of the target's values in a group, one or more, and returns a number"
    failure = f"the statistic {statistic.name!r} failed on {len(values):,} values"
    with user_code(failure, FeatureError, hint=hint, pass_through=()):
        return float(function(values.copy()))


# ---------------------------------------------------------------------------------------------------------- in time


def past_calls(statistic: Statistic, values: Floats, past: Past) -> Floats:
    """Return the user's function of the past values of each row, in the order of time, (n,); NaN without a past."""
    sorted_values = values[past.order]
    ranges, range_index = np.unique(np.column_stack([past.start, past.end]), axis=0, return_inverse=True)
    range_values = [
        _call(statistic, sorted_values[start:end]) if end > start else np.nan for start, end in ranges.tolist()
    ]
    result: Floats = np.array(range_values)[range_index.ravel()]
    return result


def past_quantiles(quantile: float, values: Floats, past: Past) -> Floats:
    """Return the quantile of the past values of each row, (n,); NaN without a past."""
    distinct, ranks = np.unique(values[past.order], return_inverse=True)

    def nth(at: tuple[Ints, Ints]) -> Floats:
        rows, number = at
        return distinct[_nth_rank(ranks, past.start[rows], past.end[rows], number)]

    return _interpolated(quantile, past.counts, nth)


def _interpolated(quantile: float, sizes: Ints, nth: Any) -> Floats:
    """Return the quantile of sets of values by linear interpolation.

    Parameters
    ----------
    sizes : int array (n,)
        The number of values in each set.
    nth : callable
        Takes indices of sets and, for each, a rank from 0; returns the values of these ranks.
    """
    result = np.full(len(sizes), np.nan)
    nonempty = np.flatnonzero(sizes)
    position = quantile * (sizes[nonempty] - 1)
    rank = np.floor(position).astype(np.int64)
    below = nth((nonempty, rank))
    above = nth((nonempty, np.minimum(rank + 1, sizes[nonempty] - 1)))
    result[nonempty] = below + (position - rank) * (above - below)
    return result


def _nth_rank(ranks: Ints, start: Ints, end: Ints, number: Ints) -> Ints:
    """Return the `number`-th smallest of ``ranks[start:end]``, counted from 0, for many ranges at once.

    Uses a wavelet matrix (Claude, Navarro and Ordóñez 2015): for each bit from the highest, the ranks are partitioned
    stably into those without and with the bit, and each range moves to the partition that contains its result.
    """
    smallest = np.zeros(len(number), np.int64)
    for bit in range(int(ranks.max(initial=0)).bit_length() - 1, -1, -1):
        has_bit = (ranks >> bit & 1).astype(np.bool_)
        n_without = np.concatenate([[0], np.cumsum(~has_bit)])
        low, high = n_without[start], n_without[end]
        takes_bit = number >= high - low
        smallest |= takes_bit.astype(np.int64) << bit
        number = np.where(takes_bit, number - (high - low), number)
        start = np.where(takes_bit, n_without[-1] + start - low, low)
        end = np.where(takes_bit, n_without[-1] + end - high, high)
        ranks = np.concatenate([ranks[~has_bit], ranks[has_bit]])
    return smallest
