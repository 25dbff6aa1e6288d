"""Compiled: which items come together in the lists of a log. What it counts is told in `workbench.recommender.covisit`.

An event is one word of 64 bits: its second (32), whether it is the first of its list (1), its kind (4), its item (27).
So a look at an event and its neighbours in the list costs one access to memory, which is what this is bound by.
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
    """The events as words, in the order of their lists, and of every item where it occurs.

    A place is written as `~place` where the item already was before it in the same list.
    """

    words: Any
    starts: Any
    places: Any


class Rule(NamedTuple):
    """What counts: of an event, those of its list at most `back` seconds before it and `ahead` seconds after it.

    `units` is the weight of each kind, `decay` as in `workbench.recommender.covisit.Covisit`. What a sum weighs is it
    times `each` by `unit`. `lists` is in how many lists each item is, where that is divided by it; of no length where
    it is not.
    """

    back: int
    ahead: int
    units: Any
    decay: float
    each: int
    unit: int
    lists: Any


class Cells(NamedTuple):
    """What one thread works with: a cell for each item, all 0, and room for the numbers of those in use, and one.

    While the lists of an item are gone through they have turns, from 1. A cell tells the turn of the last list that had
    its item, so that the item counts once a list, and is 0 only while it is not in use. Where all pairs weigh the same
    a cell is one number: the turn (from bit 32) and the number of lists. Else, where `cells` has two columns, it is the
    sum so far, and the turn (from bit 31) with the most that the pair weighs in that list, of which 2 ** 30 is allowed.
    """

    cells: Any
    touched: Any


ITEM = np.uint64((1 << 27) - 1)
FIRST = np.uint64(1 << 31)
KIND_AT, TIME_AT = np.uint64(27), np.uint64(32)
AHEAD = 12
"""So many events before its turn an event is asked of memory."""


@intrinsic
def _prefetch(context: Any, array: Any, index: Any) -> Any:  # noqa: ARG001
    """Ask memory for an element without waiting for it."""

    def made(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        of = signature.args[0]
        place = context.make_array(of)(context, builder, value=arguments[0])
        pointer = get_item_pointer(context, builder, of, place, [arguments[1]], wraparound=False)
        pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(function, [pointer, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.none(array, types.int64), made


@numba.njit(nogil=True, cache=True)
def pack(events, counts, last, words):
    """Write the last events of every list, of the kinds that count, as words; return how many they are."""
    starts, items, times, kinds = events
    n = 0
    for k in range(len(starts) - 1):
        left = last
        low = starts[k + 1]
        while low > starts[k] and left > 0:
            low -= 1
            left -= counts[kinds[low]]
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
    """Write for every item where it occurs, in order: from `starts[item]` to before `starts[item + 1]`."""
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
    """Count in how many lists each item is."""
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
    """Count an item beside one of the list whose turn it is; return how many cells are in use."""
    raise NotImplementedError


@overload(_add)
def _add_to(cells, touched, n, b, turn, weight):  # noqa: ARG001
    # Without branches: whether an item was there before can't be foreseen, and a wrong guess costs more than all this.
    if cells.ndim == 1:

        def add_one(cells, touched, n, b, turn, weight):  # noqa: ARG001
            cell = cells[b]
            cells[b] = turn << 32 | (cell & 0xFFFFFFFF) + (cell >> 32 != turn)
            touched[n] = b
            return n + (cell == 0)

        return add_one

    def add_weight(cells, touched, n, b, turn, weight):
        seen = cells[b, 1]
        before = max(seen, turn << 31)
        now = max(before, (turn << 31) + weight)
        cells[b, 0] += now - before
        cells[b, 1] = now
        touched[n] = b
        return n + (seen == 0)

    return add_weight


def _take(cells: Any, item: Any) -> Any:
    """Return what the cell of an item sums, and leave it empty."""
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
def _keep(items, sums, found, item, total):
    """Put an item among the `found` strongest, which are in order, and return how many there are now."""
    top = len(items)
    if found == top and (total < sums[top - 1] or (total == sums[top - 1] and item > items[top - 1])):
        return found
    j = min(found, top - 1)
    while j > 0 and (sums[j - 1] < total or (sums[j - 1] == total and items[j - 1] > item)):
        sums[j] = sums[j - 1]
        items[j] = items[j - 1]
        j -= 1
    sums[j] = total
    items[j] = item
    return min(found + 1, top)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def strongest(index, rule, cells, first, last, to_items, to_strengths):
    """Write, for the items from `first` to before `last`, those that come with each most.

    An item's own cell counts the item beside itself, and is left out at the end: that is less than to ask each time.
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
                if gap > rule.back:
                    break
                weight = _weight(word, gap, rule.units, rule.decay)
                n = _add(table, touched, n, np.int64(word & ITEM), turn, weight)
            for q in range(p + 1, len(words)):
                word = words[q]
                gap = np.int64(word >> TIME_AT) - time
                if word & FIRST or gap > rule.ahead:
                    break
                weight = _weight(word, gap, rule.units, rule.decay)
                n = _add(table, touched, n, np.int64(word & ITEM), turn, weight)
        found = 0
        for i in range(n):
            b = touched[i]
            total = _take(table, b)
            if total > 0 and b != a:
                strength = total * rule.each / rule.unit
                if len(rule.lists):
                    strength /= np.sqrt(np.float64(rule.lists[a] * rule.lists[b]))
                found = _keep(to_items[a], to_strengths[a], found, b, strength)
