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

__all__ = ["CELL", "CELL_OF_ONE", "Cells", "Index", "Rule", "count_lists", "index_items", "pack", "strongest"]


class Index(NamedTuple):
    """The events as words, in the order of their lists, and of every item where it occurs."""

    words: Any
    starts: Any
    places: Any


class Rule(NamedTuple):
    """What counts, as in `workbench.recommender.covisit.Covisit`; `units` is the weight of each kind.

    What a sum weighs is it times `each` by `unit`. `lists` is in how many lists each item is, where that is divided by
    it; of no length where it is not.
    """

    last: int
    window: int
    backward: bool
    forward: bool
    units: Any
    decay: float
    each: int
    unit: int
    lists: Any


class Cells(NamedTuple):
    """What one thread works with: tables of cells, and which of them are in use."""

    small: Any
    dense: Any
    touched: Any


CELL = np.dtype([("sum", np.int64), ("item", np.int32), ("list", np.int32), ("most", np.int64)])
"""The sum of a pair so far; the last list that it was seen in, and the most of it there."""

CELL_OF_ONE = np.dtype([("sum", np.int32), ("item", np.int32), ("list", np.int32)])
"""The same where all pairs weigh the same: the sum is a number of lists."""

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
    cursor = starts[:-1].copy()
    for i in range(len(words)):
        a = np.int64(words[i] & ITEM)
        places[cursor[a]] = i
        cursor[a] += 1


@numba.njit(nogil=True, cache=True)
def count_lists(words, last, lists):
    """Count in how many lists each item is; `last` has room for an item's last list, and is -1."""
    where = np.int64(-1)
    for i in range(len(words)):
        if words[i] & FIRST:
            where = i
        a = np.int64(words[i] & ITEM)
        if last[a] != where:
            last[a] = where
            lists[a] += 1


@numba.njit(nogil=True, cache=True, inline="always")
def _slot(cells, b, mask):
    at = np.int64((np.uint32(b) * np.uint32(2654435769)) >> np.uint32(7)) & mask
    while cells[at].item not in (b, -1):
        at = (at + 1) & mask
    return at


@numba.njit(nogil=True, cache=True, inline="always")
def _same_list(words, before, p, last):
    """Say whether two events, one before the other, are of the same list, which has `last` events at most."""
    if p - before >= last:
        return False
    for i in range(before + 1, p + 1):  # noqa: SIM110 numba compiles no generators
        if words[i] & FIRST:
            return False
    return True


def _add(cell: Any, item: Any, where: Any, weight: Any) -> Any:
    """Count an event beside one of the list `where`; return whether the item is new there."""
    raise NotImplementedError


@overload(_add)
def _add_to(cell, item, where, weight):  # noqa: ARG001
    if "most" not in cell.fields:

        def add_one(cell, item, where, weight):  # noqa: ARG001
            is_new = cell.item < 0
            cell.item = item
            cell.sum += cell.list != where
            cell.list = where
            return is_new

        return add_one

    def add_weight(cell, item, where, weight):
        if cell.item < 0:
            cell.item = item
            cell.sum = cell.most = weight
            cell.list = where
            return True
        if cell.list != where:
            cell.sum += weight
            cell.most = weight
            cell.list = where
        elif weight > cell.most:
            cell.sum += weight - cell.most
            cell.most = weight
        return False

    return add_weight


@numba.njit(nogil=True, cache=True, inline="always")
def _first_within(words, p, rule):
    """Return the first of the events before p, in its list, that are near enough.

    This also asks memory for what is counted next.
    """
    time, low = np.int64(words[p] >> TIME_AT), p
    while not words[low] & FIRST:
        gap = time - np.int64(words[low - 1] >> TIME_AT)
        if gap > rule.window or (gap > 0 and not rule.backward):
            break
        low -= 1
    return low


@numba.njit(nogil=True, cache=True, inline="always")
def _weight(other, gap, rule):
    weight = rule.units[np.int64(other >> KIND_AT) & 15]
    if rule.decay > 0:
        weight = np.int64(np.floor(weight / (1.0 + abs(gap) / rule.decay) + 0.5))
    return weight


@numba.njit(nogil=True, cache=True, inline="always")
def _empty(cell):
    cell.item = -1
    cell.sum = 0
    cell.list = -1


@numba.njit(nogil=True, cache=True)
def _spill(cells, n):
    """Move what the small table has to the large one."""
    for i in range(n):
        cell = cells.small[cells.touched[i]]
        cells.dense[cell.item] = cell
        cells.touched[i] = cell.item
        _empty(cell)


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


@numba.njit(nogil=True, cache=True)
def _write(cells, n, is_small, rule, a, items, strengths):
    """Write the strongest of what was counted for an item, and leave the cells empty."""
    found = 0
    for i in range(n):
        at = cells.touched[i]
        cell = cells.small[at] if is_small else cells.dense[at]
        strength = cell.sum * rule.each / rule.unit
        if len(rule.lists):
            strength /= np.sqrt(np.float64(rule.lists[a] * rule.lists[cell.item]))
        found = _keep(items, strengths, found, cell.item, strength)
        _empty(cell)


@numba.njit(nogil=True, cache=True)
def strongest(index, rule, cells, first, last, to_items, to_strengths):  # noqa: C901, PLR0912, PLR0915 a call costs half
    """Write, for the items from `first` to before `last`, those that come with each most.

    The cells of `small` and `dense` are empty, and are left so. Most items come with few others: for these a small
    table that the processor keeps at hand is enough. An event has fewer neighbours than `rule.last`: where these might
    fill three quarters of the small table, the large one goes on.
    """
    words, starts, places = index
    for a in range(first, last):
        n, size = 0, 16
        while 3 * size < 4 * (rule.last + 18 * (starts[a + 1] - starts[a])) and size <= len(cells.small):
            size *= 2
        if size > len(cells.small):
            size = 0
        where = np.int64(-1)
        for k in range(starts[a], starts[a + 1]):
            if size and 4 * (n + rule.last) > 3 * size:
                _spill(cells, n)
                size = 0
            if k + AHEAD < starts[a + 1]:
                ahead = np.int64(places[k + AHEAD])
                _prefetch(words, ahead)
                _prefetch(words, min(ahead + 8, len(words) - 1))
                _prefetch(words, max(ahead - 8, 0))
            p = np.int64(places[k])
            table = cells.small if size else cells.dense
            if k == starts[a] or not _same_list(words, np.int64(places[k - 1]), p, rule.last):
                where = p  # a list is known by the first of its events that has the item
            time, q = np.int64(words[p] >> TIME_AT), p
            while not words[q] & FIRST:
                q -= 1
                other = words[q]
                gap = np.int64(other >> TIME_AT) - time
                if -gap > rule.window or (gap < 0 and not rule.backward):
                    break
                b = np.int64(other & ITEM)
                weight = _weight(other, gap, rule)
                if b == a or weight <= 0:
                    continue
                at = _slot(table, b, size - 1) if size else b
                if _add(table[at], b, where, weight):
                    cells.touched[n] = at
                    n += 1
            q = p + 1
            while q < len(words) and not words[q] & FIRST:
                other = words[q]
                gap = np.int64(other >> TIME_AT) - time
                if gap > rule.window or (gap > 0 and not rule.forward):
                    break
                q += 1
                b = np.int64(other & ITEM)
                weight = _weight(other, gap, rule)
                if b == a or weight <= 0:
                    continue
                at = _slot(table, b, size - 1) if size else b
                if _add(table[at], b, where, weight):
                    cells.touched[n] = at
                    n += 1
        _write(cells, n, size > 0, rule, a, to_items[a], to_strengths[a])
