"""Compiled functions for co-visitation; see `workbench.recommender.covisit`.

An event is packed into a 64-bit word: its second (32 bits), whether it is the first of its list (1), its kind (4), its
item (27). An event and its neighbours in the list then cost a single memory access, which is the bottleneck.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.cgutils import get_item_pointer
from numba.extending import intrinsic, overload

__all__ = ["Cells", "Index", "Rule", "count_lists", "index_items", "pack", "strongest"]


class Index(NamedTuple):
    """The events as words, in the order of their lists, and the positions of each item's events among them.

    The positions of item a are ``positions[starts[a]:starts[a + 1]]``. A position p is stored as ``~p`` if the item
    occurs earlier in the same list.
    """

    words: Any
    starts: Any
    positions: Any


class Rule(NamedTuple):
    """Which pairs of events count, and how much.

    Attributes
    ----------
    back_s, ahead_s : int
        The longest time from the earlier and to the later event of a pair, in seconds.
    kind_units : int array
        The weight of each kind, in units.
    decay_s : float
        The gap at which a pair has half its weight; 0 for no decay.
    units_per_pair : int
        The weight of every pair where all are equal and only their number is counted; else 1.
    unit : int
        The number of units in a weight of 1.
    n_lists : int array
        The number of lists with each item, for the cosine; empty where weights are not normalised.
    """

    back_s: int
    ahead_s: int
    kind_units: Any
    decay_s: float
    units_per_pair: int
    unit: int
    n_lists: Any


class Cells(NamedTuple):
    """The buffers of a thread: a cell for each item, all 0, and the items whose cells are in use, with one to spare.

    The lists with an item are numbered from 1 (`list_number`). A neighbour's cell holds the number of the last list
    that it was counted in, so that it counts once per list, and is 0 only while it is unused. If all pairs have the
    same weight, a cell is one integer: the list number (from bit 32) and the count of lists. Otherwise `cells` has two
    columns: the sum of weights so far, and the list number (from bit 31) with the largest weight of the pair in that
    list, which may be up to 2 ** 30.
    """

    cells: Any
    used_items: Any


ITEM_MASK = np.uint64((1 << 27) - 1)
FIRST_BIT = np.uint64(1 << 31)
KIND_SHIFT, TIME_SHIFT = np.uint64(27), np.uint64(32)
PREFETCH_DISTANCE = 12
"""An event is prefetched this many events in advance."""


@intrinsic
def _prefetch(context: Any, array: Any, index: Any) -> Any:  # noqa: ARG001
    """Prefetch an element into the cache."""

    def build_call(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_type = signature.args[0]
        array_struct = context.make_array(array_type)(context, builder, value=arguments[0])
        pointer = get_item_pointer(context, builder, array_type, array_struct, [arguments[1]], wraparound=False)
        pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
        int32 = ir.IntType(32)
        function_type = ir.FunctionType(ir.VoidType(), [pointer.type, int32, int32, int32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], function_type)
        # To read (0), to be kept in all caches (3), data (1): https://llvm.org/docs/LangRef.html#llvm-prefetch-intrinsic
        builder.call(function, [pointer, int32(0), int32(3), int32(1)])
        return context.get_dummy_value()

    return types.none(array, types.int64), build_call


@numba.njit(nogil=True, cache=True)
def pack(events, kind_counts, last, words):
    """Write the last events of every list as words, of the kinds with a `kind_counts` of 1; return their number."""
    starts, items, times, kinds = events
    n_words = 0
    for list_index in range(len(starts) - 1):
        remaining = last
        low = starts[list_index + 1]
        while low > starts[list_index] and remaining > 0:
            low -= 1
            remaining -= kind_counts[kinds[low]]
        is_first = True
        for i in range(low, starts[list_index + 1]):
            if kind_counts[kinds[i]]:
                word = np.uint64(times[i]) << TIME_SHIFT | np.uint64(kinds[i]) << KIND_SHIFT | np.uint64(items[i])
                words[n_words] = word | FIRST_BIT if is_first else word
                is_first = False
                n_words += 1
    return n_words


@numba.njit(nogil=True, cache=True)
def index_items(words, starts, positions):
    """Fill `starts` and `positions` of an `Index` of the words."""
    for i in range(len(words)):
        starts[np.int64(words[i] & ITEM_MASK) + 1] += 1
    for item in range(len(starts) - 1):
        starts[item + 1] += starts[item]
    # By item: where the position of its next event is written, and the position of its previous one.
    cursors = np.empty((len(starts) - 1, 2), np.int64)
    cursors[:, 0] = starts[:-1]
    cursors[:, 1] = -1
    list_start = 0
    for i in range(len(words)):
        if words[i] & FIRST_BIT:
            list_start = i
        item = np.int64(words[i] & ITEM_MASK)
        positions[cursors[item, 0]] = ~i if cursors[item, 1] >= list_start else i
        cursors[item, 0] += 1
        cursors[item, 1] = i


@numba.njit(nogil=True, cache=True)
def count_lists(index, n_lists):
    """Count the lists that each item is in."""
    for item in range(len(n_lists)):
        for k in range(index.starts[item], index.starts[item + 1]):
            n_lists[item] += index.positions[k] >= 0


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _weight(word, gap_s, kind_units, decay_s):
    """Return the weight of a pair in units, by the kind of its neighbour and the gap."""
    weight = kind_units[np.int64(word >> KIND_SHIFT) & 15]
    if decay_s > 0:
        weight = np.int64(np.floor(weight / (1.0 + gap_s / decay_s) + 0.5))
    return weight


def _add(cells: Any, used_items: Any, n_used: Any, item: Any, list_number: Any, weight: Any) -> Any:
    """Count an item as a neighbour in a list; return the number of cells in use."""
    raise NotImplementedError


@overload(_add)
def _add_overload(cells, used_items, n_used, item, list_number, weight):  # noqa: ARG001
    # Without branches: whether an item was counted before is unpredictable, and a misprediction costs more than this.
    if cells.ndim == 1:

        def add_one(cells, used_items, n_used, item, list_number, weight):  # noqa: ARG001
            cell = cells[item]
            cells[item] = list_number << 32 | (cell & 0xFFFFFFFF) + (cell >> 32 != list_number)
            used_items[n_used] = item
            return n_used + (cell == 0)

        return add_one

    def add_weight(cells, used_items, n_used, item, list_number, weight):
        stored = cells[item, 1]
        previous = max(stored, list_number << 31)
        current = max(previous, (list_number << 31) + weight)
        cells[item, 0] += current - previous
        cells[item, 1] = current
        used_items[n_used] = item
        return n_used + (stored == 0)

    return add_weight


def _take(cells: Any, item: Any) -> Any:
    """Return the sum in an item's cell, and clear it."""
    raise NotImplementedError


@overload(_take)
def _take_overload(cells, item):  # noqa: ARG001
    if cells.ndim == 1:

        def take_one(cells, item):
            total = cells[item] & 0xFFFFFFFF
            cells[item] = 0
            return total

        return take_one

    def take_weight(cells, item):
        total = cells[item, 0]
        cells[item, 0] = 0
        cells[item, 1] = 0
        return total

    return take_weight


@numba.njit(nogil=True, cache=True, inline="always")
def _insert(items, strengths, n_best, item, strength):
    """Insert an item into the `n_best` strongest, which are sorted, if it belongs there; return their new number."""
    top = len(items)
    if n_best == top and (strength < strengths[top - 1] or (strength == strengths[top - 1] and item > items[top - 1])):
        return n_best
    j = min(n_best, top - 1)
    while j > 0 and (strengths[j - 1] < strength or (strengths[j - 1] == strength and items[j - 1] > item)):
        strengths[j] = strengths[j - 1]
        items[j] = items[j - 1]
        j -= 1
    strengths[j] = strength
    items[j] = item
    return min(n_best + 1, top)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def strongest(index, rule, cells, first, last, to_items, to_strengths):
    """Write the strongest neighbours of the items from `first` to before `last`.

    An item is counted as its own neighbour, too, and skipped at the end, which is cheaper than a check for each pair.
    """
    words, starts, positions = index
    table, used_items = cells
    for item in range(first, last):
        n_used = 0
        list_number = np.int64(0)
        for k in range(starts[item], starts[item + 1]):
            if k + PREFETCH_DISTANCE < len(positions):
                next_position = np.int64(positions[k + PREFETCH_DISTANCE])
                next_position = max(next_position, ~next_position)
                _prefetch(words, next_position)
                _prefetch(words, min(next_position + 8, len(words) - 1))
                _prefetch(words, max(next_position - 8, 0))
            position = np.int64(positions[k])
            list_number += position >= 0
            position = max(position, ~position)
            word = words[position]
            time, other_position = np.int64(word >> TIME_SHIFT), position
            while not word & FIRST_BIT:
                other_position -= 1
                word = words[other_position]
                gap_s = time - np.int64(word >> TIME_SHIFT)
                if gap_s > rule.back_s:
                    break
                weight = _weight(word, gap_s, rule.kind_units, rule.decay_s)
                n_used = _add(table, used_items, n_used, np.int64(word & ITEM_MASK), list_number, weight)
            for other_position in range(position + 1, len(words)):
                word = words[other_position]
                gap_s = np.int64(word >> TIME_SHIFT) - time
                if word & FIRST_BIT or gap_s > rule.ahead_s:
                    break
                weight = _weight(word, gap_s, rule.kind_units, rule.decay_s)
                n_used = _add(table, used_items, n_used, np.int64(word & ITEM_MASK), list_number, weight)
        n_best = 0
        for i in range(n_used):
            neighbour = used_items[i]
            total = _take(table, neighbour)
            if total > 0 and neighbour != item:
                strength = total * rule.units_per_pair / rule.unit
                if len(rule.n_lists):
                    strength /= np.sqrt(np.float64(rule.n_lists[item] * rule.n_lists[neighbour]))
                n_best = _insert(to_items[item], to_strengths[item], n_best, neighbour, strength)
