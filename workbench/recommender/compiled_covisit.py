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
from numba.extending import intrinsic

__all__ = ["CELL", "Cells", "Index", "Rule", "count_lists", "index_items", "pack", "strongest"]


class Index(NamedTuple):
    """The events as words, in the order of their lists, and of every item where it occurs."""

    words: Any
    starts: Any
    places: Any


class Rule(NamedTuple):
    """What counts, as in `workbench.recommender.covisit.Covisit`; `units` is the weight of each kind.

    `lists` is in how many lists each item is, where sums are divided by that; of no length where they are not.
    """

    last: int
    window: int
    backward: bool
    forward: bool
    units: Any
    decay: float
    unit: int
    lists: Any


class Cells(NamedTuple):
    """What one thread works with: tables of cells, and which of them are in use."""

    small: Any
    dense: Any
    touched: Any


CELL = np.dtype([("sum", np.int64), ("item", np.int32), ("list", np.int32), ("most", np.int64)])
"""The sum of a pair so far; the last list that it was seen in, and the most of it there."""

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
    """Write the last events of every list, of the kinds that count, as words; return how many they are.

    Without `words` (of no length) they are only counted.
    """
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
                if len(words):
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
def _end_of(words, p):
    end = p + 1
    while end < len(words) and not words[end] & FIRST:
        end += 1
    return end


@numba.njit(nogil=True, cache=True, inline="always")
def _add(cell, item, where, weight):
    """Count a pair of the list `where`, of which the one that weighs most counts; True where the item is new."""
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


@numba.njit(nogil=True, cache=True)
def _spill(cells, n):
    """Move what the small table has to the large one."""
    for i in range(n):
        cell = cells.small[cells.touched[i]]
        moved = cells.dense[cell.item]
        moved.item = cell.item
        moved.sum = cell.sum
        moved.most = cell.most
        moved.list = cell.list
        cells.touched[i] = cell.item
        cell.item = -1


@numba.njit(nogil=True, cache=True, inline="always")
def _first_within(words, p, rule):
    """Return the first of the events before p, in its list, that are near enough."""
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
        strength = cell.sum / rule.unit
        if len(rule.lists):
            strength /= np.sqrt(np.float64(rule.lists[a] * rule.lists[cell.item]))
        found = _keep(items, strengths, found, cell.item, strength)
        cell.item = -1


@numba.njit(nogil=True, cache=True)
def strongest(index, rule, cells, first, last, to_items, to_strengths):
    """Write, for the items from `first` to before `last`, those that come with each most.

    The cells of `small` and `dense` have no item (-1), and are left so. Most items come with few others: for these a
    small table that the processor keeps at hand is enough. An event has fewer neighbours than `rule.last`: where these
    might fill three quarters of the small table, the large one goes on.
    """
    words, starts, places = index
    for a in range(first, last):
        n_touched, size = 0, 16
        while 3 * size < 4 * (rule.last + 18 * (starts[a + 1] - starts[a])) and size <= len(cells.small):
            size *= 2
        is_small = size <= len(cells.small)
        where, end = np.int64(-1), np.int64(0)
        for k in range(starts[a], starts[a + 1]):
            if is_small and 4 * (n_touched + rule.last) > 3 * size:
                _spill(cells, n_touched)
                is_small = False
            if k + AHEAD < starts[a + 1]:
                _prefetch(words, np.int64(places[k + AHEAD]))
            p = np.int64(places[k])
            if p >= end:
                where = p  # the list is known by the first of its events that has the item
            time, q = np.int64(words[p] >> TIME_AT), _first_within(words, p, rule)
            end = p + 1
            while q < len(words):
                other = words[q]
                if q > p and other & FIRST:
                    break
                gap = np.int64(other >> TIME_AT) - time
                if gap > rule.window or (gap > 0 and not rule.forward):
                    break
                q += 1
                b = np.int64(other & ITEM)
                weight = _weight(other, gap, rule)
                if b == a or weight <= 0:
                    continue
                at = _slot(cells.small, b, size - 1) if is_small else b
                if _add(cells.small[at] if is_small else cells.dense[at], b, where, weight):
                    cells.touched[n_touched] = at
                    n_touched += 1
            end = max(end, _end_of(words, p))
        _write(cells, n_touched, is_small, rule, a, to_items[a], to_strengths[a])
