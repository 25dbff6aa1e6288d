"""Compiled functions that sort events into lists by user and time; see `workbench.recommender.interactions`."""

from __future__ import annotations

import numba

__all__ = ["append_events", "sort_lists"]


@numba.njit(nogil=True, cache=True, inline="always")
def _code(value, table, low):
    return table[value - low] if len(table) else value


@numba.njit(nogil=True, cache=True)
def append_events(events, tables, lows, cursors, to):
    """Append each event to its user's list; `cursors` are the next free positions of the lists, and are advanced.

    Users, items and kinds are looked up by their offset from the lowest id; where their table is empty they are codes
    already. Times become seconds since the lowest. Weights may be empty.
    """
    users, items, times, kinds, weights = events
    user_codes, item_codes, kind_codes = tables
    low_user, low_item, low_time, low_kind = lows
    to_items, to_times, to_kinds, to_weights = to
    for i in range(len(users)):
        user = _code(users[i], user_codes, low_user)
        at = cursors[user]
        cursors[user] = at + 1
        to_items[at] = _code(items[i], item_codes, low_item)
        to_times[at] = times[i] - low_time
        to_kinds[at] = _code(kinds[i], kind_codes, low_kind)
        if len(weights):
            to_weights[at] = weights[i]


@numba.njit(nogil=True, cache=True)
def sort_lists(starts, events):
    """Sort each list by time; events of equal time keep their order."""
    items, times, kinds, weights = events
    for k in range(len(starts) - 1):
        low, high = starts[k], starts[k + 1]
        n_unsorted = 0
        for i in range(low + 1, high):
            n_unsorted += times[i] < times[i - 1]
        if n_unsorted == 0:
            continue
        order = low + times[low:high].argsort(kind="mergesort")
        items[low:high] = items[order]
        kinds[low:high] = kinds[order]
        times[low:high] = times[order]
        if len(weights):
            weights[low:high] = weights[order]
