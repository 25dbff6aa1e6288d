"""Compiled functions for co-visitation; see `workbench.recommender.covisit`.

An event is one 64-bit word: its second (32), whether it is the first of its list (1), its kind (4), its item (27). So
an event and its neighbours in the list cost a single memory access, which is the bottleneck.
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
    """The events as words, in the order of their lists, and the places where every item occurs.

    A place is stored as `~place` where the item occurs earlier in the same list.
    """

    words: Any
    starts: Any
    places: Any


class Rule(NamedTuple):
    """What counts: of an event, those of its list at most `back_s` seconds before it and `ahead_s` seconds after it.

    `units` is the weight of each kind, `decay` as in `workbench.recommender.covisit.Covisit`. What a sum weighs is it
    times `each` by `unit`. `lists` is in how many lists each item is, where that is divided by it; of no length where
    it is not.
    """

    back_s: int
    ahead_s: int
    units: Any
    decay: float
    each: int
    unit: int
    lists: Any


class Cells(NamedTuple):
    """The buffers of a thread: a cell for each item, all 0, and the numbers of the cells in use, with one to spare.

    The lists of an item are numbered in turns, from 1. A cell holds the turn of the last list with its item, so that
    the item counts once per list, and is 0 only while it is unused. Where all pairs have the same weight, a cell is one
    number: the turn (from bit 32) and the number of lists. Else `cells` has two columns: the sum so far, and the turn
    (from bit 31) with the largest weight of the pair in that list, which may be up to 2 ** 30.
    """

    cells: Any
    touched: Any


ITEM = np.uint64((1 << 27) - 1)
FIRST = np.uint64(1 << 31)
KIND_AT, TIME_AT = np.uint64(27), np.uint64(32)
AHEAD = 12
"""How many events in advance an event is prefetched."""


@intrinsic
def _prefetch(context: Any, array: Any, index: Any) -> Any:  # noqa: ARG001
    """Prefetch an element into the cache."""

    def build_call(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_type = signature.args[0]
        array_struct = context.make_array(array_type)(context, builder, value=arguments[0])
        pointer = get_item_pointer(context, builder, array_type, array_struct, [arguments[1]], wraparound=False)
        pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(function, [pointer, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.none(array, types.int64), build_call


@numba.njit(nogil=True, cache=True)
def pack(events, counts, last, words):
    """Write the last events of every list, of the kinds that count, as words; return their number."""
    starts, items, times, kinds = events
    n = 0
    for k in range(len(starts) - 1):
        remaining = last
        low = starts[k + 1]
        while low > starts[k] and remaining > 0:
            low -= 1
            remaining -= counts[kinds[low]]
        first = True
        for i in range(low, starts[k + 1]):
            if counts[kinds[i]]:
                word = np.uint64(times[i]) << TIME_AT | np.uint64(kinds[i]) << KIND_AT | np.uint64(items[i])
                words[n] = word | FIRST if first else word
                first = False
                n += 1
    return n


@numba.njit(nogil=True, cache=True)
def index_items(words, starts, places):
    """Write the places where every item occurs, in order: from `starts[item]` to before `starts[item + 1]`."""
    for i in range(len(words)):
        starts[np.int64(words[i] & ITEM) + 1] += 1
    for a in range(len(starts) - 1):
        starts[a + 1] += starts[a]
    # By item: where its next event is written, and its last event.
    at = np.empty((len(starts) - 1, 2), np.int64)
    at[:, 0] = starts[:-1]
    at[:, 1] = -1
    begin = 0
    for i in range(len(words)):
        if words[i] & FIRST:
            begin = i
        a = np.int64(words[i] & ITEM)
        places[at[a, 0]] = ~i if at[a, 1] >= begin else i
        at[a, 0] += 1
        at[a, 1] = i


@numba.njit(nogil=True, cache=True)
def count_lists(index, lists):
    """Count the lists that each item is in."""
    for a in range(len(lists)):
        for k in range(index.starts[a], index.starts[a + 1]):
            lists[a] += index.places[k] >= 0


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _weight(word, gap, units, decay):
    weight = units[np.int64(word >> KIND_AT) & 15]
    if decay > 0:
        weight = np.int64(np.floor(weight / (1.0 + gap / decay) + 0.5))
    return weight


def _add(cells: Any, touched: Any, n: Any, b: Any, turn: Any, weight: Any) -> Any:
    """Count an item as a neighbour in the list of this turn; return the number of cells in use."""
    raise NotImplementedError


@overload(_add)
def _add_to(cells, touched, n, b, turn, weight):  # noqa: ARG001
    # Branchless: whether an item was counted before is unpredictable, and a misprediction costs more than all of this.
    if cells.ndim == 1:

        def add_one(cells, touched, n, b, turn, weight):  # noqa: ARG001
            cell = cells[b]
            cells[b] = turn << 32 | (cell & 0xFFFFFFFF) + (cell >> 32 != turn)
            touched[n] = b
            return n + (cell == 0)

        return add_one

    def add_weight(cells, touched, n, b, turn, weight):
        mark = cells[b, 1]
        before = max(mark, turn << 31)
        now = max(before, (turn << 31) + weight)
        cells[b, 0] += now - before
        cells[b, 1] = now
        touched[n] = b
        return n + (mark == 0)

    return add_weight


def _take(cells: Any, item: Any) -> Any:
    """Return the sum in an item's cell, and clear it."""
    raise NotImplementedError


@overload(_take)
def _take_from(cells, item):  # noqa: ARG001
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
def _keep(items, sums, n_best, item, total):
    """Put an item among the `n_best` strongest, which are in order, and return how many there are now."""
    top = len(items)
    if n_best == top and (total < sums[top - 1] or (total == sums[top - 1] and item > items[top - 1])):
        return n_best
    j = min(n_best, top - 1)
    while j > 0 and (sums[j - 1] < total or (sums[j - 1] == total and items[j - 1] > item)):
        sums[j] = sums[j - 1]
        items[j] = items[j - 1]
        j -= 1
    sums[j] = total
    items[j] = item
    return min(n_best + 1, top)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def strongest(index, rule, cells, first, last, to_items, to_strengths):
    """Write the strongest neighbours of the items from `first` to before `last`.

    An item's own cell is counted, too, and skipped at the end: cheaper than a check each time.
    """
    words, starts, places = index
    table, touched = cells
    for a in range(first, last):
        n = 0
        turn = np.int64(0)
        for k in range(starts[a], starts[a + 1]):
            if k + AHEAD < len(places):
                ahead = np.int64(places[k + AHEAD])
                ahead = max(ahead, ~ahead)
                _prefetch(words, ahead)
                _prefetch(words, min(ahead + 8, len(words) - 1))
                _prefetch(words, max(ahead - 8, 0))
            p = np.int64(places[k])
            turn += p >= 0
            p = max(p, ~p)
            word = words[p]
            time, q = np.int64(word >> TIME_AT), p
            while not word & FIRST:
                q -= 1
                word = words[q]
                gap = time - np.int64(word >> TIME_AT)
                if gap > rule.back_s:
                    break
                weight = _weight(word, gap, rule.units, rule.decay)
                n = _add(table, touched, n, np.int64(word & ITEM), turn, weight)
            for q in range(p + 1, len(words)):
                word = words[q]
                gap = np.int64(word >> TIME_AT) - time
                if word & FIRST or gap > rule.ahead_s:
                    break
                weight = _weight(word, gap, rule.units, rule.decay)
                n = _add(table, touched, n, np.int64(word & ITEM), turn, weight)
        n_best = 0
        for i in range(n):
            b = touched[i]
            total = _take(table, b)
            if total > 0 and b != a:
                strength = total * rule.each / rule.unit
                if len(rule.lists):
                    strength /= np.sqrt(np.float64(rule.lists[a] * rule.lists[b]))
                n_best = _keep(to_items[a], to_strengths[a], n_best, b, strength)
