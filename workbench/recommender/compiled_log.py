"""Compiled functions that sort events into lists by user and time; see `workbench.recommender.interactions`."""

from __future__ import annotations

import numba

__all__ = ["place", "sort_lists"]


@numba.njit(nogil=True, cache=True, inline="always")
def _code(value, table, low):
    return table[value - low] if len(table) else value


@numba.njit(nogil=True, cache=True)
def place(events, tables, lows, cursor, to):
    """Append each event to its list; `cursor` has the next free places, and is advanced.

    Users, items and kinds are codes where their table is empty; else the table has the code of a value at its offset
    from the lowest one. Times are relative to the lowest. Weights may be empty.
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
    """Sort each list by time; equal times stay in the order of the table."""
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
