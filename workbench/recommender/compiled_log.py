"""Compiled: events into their lists, each list in the order of time. What they do is told where they are called."""

from __future__ import annotations

import numba

__all__ = ["place", "sort_lists"]


@numba.njit(nogil=True, cache=True, inline="always")
def _code(value, table, low):
    return table[value - low] if len(table) else value


@numba.njit(nogil=True, cache=True)
def place(events, tables, lows, cursor, to):
    """Write each event behind the last of its list; `cursor` says where that is, and goes on.

    Users, items and kinds are codes where their table has no length; else the table has the code of a value at its
    distance from the low one. Times are taken from theirs. Weights may be of no length.
    """
    users, items, times, kinds, weights = events
    of_users, of_items, of_kinds = tables
    low_user, low_item, low_time, low_kind = lows
    to_items, to_times, to_kinds, to_weights = to
    for i in range(len(users)):
        user = _code(users[i], of_users, low_user)
        at = cursor[user]
        cursor[user] = at + 1
        to_items[at] = _code(items[i], of_items, low_item)
        to_times[at] = times[i] - low_time
        to_kinds[at] = _code(kinds[i], of_kinds, low_kind)
        if len(weights):
            to_weights[at] = weights[i]


@numba.njit(nogil=True, cache=True)
def sort_lists(starts, events):
    """Bring each list into the order of time; of equal times the earlier line is first."""
    items, times, kinds, weights = events
    for k in range(len(starts) - 1):
        low, high = starts[k], starts[k + 1]
        worst = 0
        for i in range(low + 1, high):
            worst += times[i] < times[i - 1]
        if worst == 0:
            continue
        order = low + times[low:high].argsort(kind="mergesort")
        items[low:high] = items[order]
        kinds[low:high] = kinds[order]
        times[low:high] = times[order]
        if len(weights):
            weights[low:high] = weights[order]
