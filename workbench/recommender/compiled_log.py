"""Compiled: events into their lists, each list in the order of time. What they do is told where they are called."""

from __future__ import annotations

import numba

__all__ = ["place", "sort_lists"]


@numba.njit(nogil=True, cache=True)
def place(lists, events, cursor, to):
    """Write each event behind the last of its list; `cursor` says where that is, and goes on."""
    items, times, kinds = events
    to_items, to_times, to_kinds = to
    for i in range(len(lists)):
        at = cursor[lists[i]]
        cursor[lists[i]] = at + 1
        to_items[at] = items[i]
        to_times[at] = times[i]
        to_kinds[at] = kinds[i]


@numba.njit(nogil=True, cache=True)
def sort_lists(starts, events):
    """Bring each list into the order of time; of equal times the earlier line is first."""
    items, times, kinds = events
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
