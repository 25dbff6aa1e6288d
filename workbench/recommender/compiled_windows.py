"""Compiled functions that cut lists; see `workbench.recommender.windows`."""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["count_lists_with", "first_from", "ground_truth", "take_heads"]


@numba.njit(nogil=True, cache=True)
def first_from(starts, times, moment):
    """Return the place of each list's first event at or after the moment; its end where there is none."""
    places = np.empty(len(starts) - 1, np.int64)
    for k in range(len(starts) - 1):
        low, high = starts[k], starts[k + 1]
        while low < high:
            middle = (low + high) // 2
            if times[middle] < moment:
                low = middle + 1
            else:
                high = middle
        places[k] = low
    return places


@numba.njit(nogil=True, cache=True)
def take_heads(bounds, events, to):
    """Copy the head of each list, from its start to before its end, to where the new list starts."""
    starts, ends, to_starts = bounds
    items, times, kinds, weights = events
    to_items, to_times, to_kinds, to_weights = to
    for k in range(len(ends)):
        at = to_starts[k]
        for i in range(starts[k], ends[k]):
            to_items[at] = items[i]
            to_times[at] = times[i]
            to_kinds[at] = kinds[i]
            if len(weights):
                to_weights[at] = weights[i]
            at += 1


@numba.njit(nogil=True, cache=True)
def ground_truth(events, users, ends, kind, only_first):
    """Return the items of the users' events from `ends` on, with the users' rows; of one kind, unless it is -1."""
    starts, items, kinds = events
    n = 0
    for row in range(len(users)):
        n += starts[users[row] + 1] - ends[users[row]]
    rows, items_from_end, n = np.empty(n, np.int64), np.empty(n, np.int32), 0
    for row in range(len(users)):
        for i in range(ends[users[row]], starts[users[row] + 1]):
            if kind < 0 or kinds[i] == kind:
                rows[n] = row
                items_from_end[n] = items[i]
                n += 1
                if only_first:
                    break
    return rows[:n], items_from_end[:n]


@numba.njit(nogil=True, cache=True)
def count_lists_with(begins, ends, kinds, kind):
    """Count the lists that have an event of a kind between two places; of any kind where it is -1."""
    n = 0
    for k in range(len(ends)):
        for i in range(begins[k], ends[k]):
            if kind < 0 or kinds[i] == kind:
                n += 1
                break
    return n
