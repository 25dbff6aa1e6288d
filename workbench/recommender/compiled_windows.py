"""Compiled functions that cut lists; see `workbench.recommender.windows`."""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["count_lists_with", "first_from", "ground_truth", "take_heads"]


@numba.njit(nogil=True, cache=True)
def first_from(starts, times, second):
    """Return the position of each list's first event at or after a second; the list's end if it has none."""
    positions = np.empty(len(starts) - 1, np.int64)
    for k in range(len(starts) - 1):
        low, high = starts[k], starts[k + 1]
        while low < high:
            middle = (low + high) // 2
            if times[middle] < second:
                low = middle + 1
            else:
                high = middle
        positions[k] = low
    return positions


@numba.njit(nogil=True, cache=True)
def take_heads(bounds, events, to):
    """Copy the first events of each list; `bounds` are the lists' starts, the ends, and the starts of the new lists."""
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
    """Return the users' rows and the items of their events from `ends` on, of one kind or of all (-1).

    With `only_first`, just the first such event of each user.
    """
    starts, items, kinds = events
    n_events = 0
    for row in range(len(users)):
        n_events += starts[users[row] + 1] - ends[users[row]]
    true_rows, true_items, n = np.empty(n_events, np.int64), np.empty(n_events, np.int32), 0
    for row in range(len(users)):
        for i in range(ends[users[row]], starts[users[row] + 1]):
            if kind < 0 or kinds[i] == kind:
                true_rows[n] = row
                true_items[n] = items[i]
                n += 1
                if only_first:
                    break
    return true_rows[:n], true_items[:n]


@numba.njit(nogil=True, cache=True)
def count_lists_with(begins, ends, kinds, kind):
    """Count the lists that have an event of a kind, or of any (-1), from `begins` to before `ends`."""
    n_lists = 0
    for k in range(len(ends)):
        for i in range(begins[k], ends[k]):
            if kind < 0 or kinds[i] == kind:
                n_lists += 1
                break
    return n_lists
