"""Statistics that need the values themselves: quantiles, and functions of the user's."""

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
    """Return the quantile of each set and group, (n_sets, n_groups); NaN where there is no value.

    The rows are sorted by group and value once; each set takes those of its units, which stay sorted.

    Parameters
    ----------
    counts : int array (n_units, n_groups)
        How many values each cell has.
    """
    order = np.lexsort((values, groups))
    ordered, unit = values[order], units.unit[order]
    table = np.empty((sets.n_sets, counts.shape[1]))
    for number in range(sets.n_sets):
        in_set, sizes = _members_of_set(number, unit, counts, sets)
        starts = np.cumsum(sizes) - sizes
        table[number] = _interpolated(quantile, sizes, lambda i, k=ordered[in_set], s=starts: k[s[i[0]] + i[1]])
    return table


def table_of_calls(
    statistic: Statistic, order: Ints, values: Floats, units: Units, counts: npt.NDArray[Any], sets: LearningSets
) -> npt.NDArray[np.float32]:
    """Return the user's function of each set and group, (n_sets, n_groups); NaN where there is no value.

    Parameters
    ----------
    order : int array (n_train,)
        The train rows sorted by group; within one, in the order in which the function gets their values.
    """
    ordered, unit = values[order], units.unit[order]
    table = np.full((sets.n_sets, counts.shape[1]), np.nan, np.float32)
    for number in range(sets.n_sets):
        in_set, sizes = _members_of_set(number, unit, counts, sets)
        inside, ends = ordered[in_set], np.cumsum(sizes)
        for group in np.flatnonzero(sizes):
            table[number, group] = _call(statistic, inside[ends[group] - sizes[group] : ends[group]])
    return table


def _members_of_set(
    number: int, unit: npt.NDArray[np.int32], counts: npt.NDArray[Any], sets: LearningSets
) -> tuple[npt.NDArray[np.bool_], Ints]:
    members = np.zeros(len(counts), np.bool_)
    members[sets.members(number)] = True
    return members[unit], counts[members].sum(axis=0, dtype=np.int64)


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
    """Return the user's function of the past of each row, in the order of time, (n,); NaN where there is none."""
    ordered = values[past.order]
    stretches, which = np.unique(np.column_stack([past.start, past.end]), axis=0, return_inverse=True)
    results = [_call(statistic, ordered[start:end]) if end > start else np.nan for start, end in stretches.tolist()]
    result: Floats = np.array(results)[which.ravel()]
    return result


def past_quantiles(quantile: float, values: Floats, past: Past) -> Floats:
    """Return the quantile of the past of each row, (n,); NaN where there is none."""
    distinct, ranks = np.unique(values[past.order], return_inverse=True)

    def nth(which: tuple[Ints, Ints]) -> Floats:
        rows, number = which
        return distinct[_nth_rank(ranks, past.start[rows], past.end[rows], number)]

    return _interpolated(quantile, past.counts, nth)


def _interpolated(quantile: float, sizes: Ints, nth: Any) -> Floats:
    """Return the quantile of sets of so many values, as numpy's "linear"; `nth` gives the n-th of some of them."""
    result = np.full(len(sizes), np.nan)
    filled = np.flatnonzero(sizes)
    place = quantile * (sizes[filled] - 1)
    low = np.floor(place).astype(np.int64)
    below = nth((filled, low))
    above = nth((filled, np.minimum(low + 1, sizes[filled] - 1)))
    result[filled] = below + (place - low) * (above - below)
    return result


def _nth_rank(ranks: Ints, start: Ints, end: Ints, number: Ints) -> Ints:
    """Return the `number`-th smallest of ``ranks[start:end]``, counted from 0, for many stretches at once.

    A wavelet matrix (Claude, Navarro and Ordóñez 2015): bit by bit from the highest, the ranks are parted stably into
    those without and with the bit, and the stretches follow the part that holds the answer.
    """
    smallest = np.zeros(len(number), np.int64)
    for bit in range(int(ranks.max(initial=0)).bit_length() - 1, -1, -1):
        has = (ranks >> bit & 1).astype(np.bool_)
        without = np.concatenate([[0], np.cumsum(~has)])
        low, high = without[start], without[end]
        up = number >= high - low
        smallest |= up.astype(np.int64) << bit
        number = np.where(up, number - (high - low), number)
        start = np.where(up, without[-1] + start - low, low)
        end = np.where(up, without[-1] + end - high, high)
        ranks = np.concatenate([ranks[~has], ranks[has]])
    return smallest
