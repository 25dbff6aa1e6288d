"""Compiled functions for candidates; see `workbench.recommender.candidates`.

A user's items are looked up in a small hash table with open addressing, `keys`, which is left empty (-1).
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["best_of", "mark", "merge", "own_items", "place_of", "table_size", "votes"]


@numba.njit(nogil=True, cache=True, inline="always")
def place_of(keys, item):
    """Return the slot of the item in the table, or the free slot for it."""
    mask = len(keys) - 1
    at = np.int64((np.uint32(item) * np.uint32(2654435769)) >> np.uint32(7)) & mask
    while keys[at] >= 0 and keys[at] != item:
        at = (at + 1) & mask
    return at


@numba.njit(nogil=True, cache=True)
def table_size(n):
    """Return the size of a table for n items."""
    size = 16
    while size < 2 * n:
        size *= 2
    return size


@numba.njit(nogil=True, cache=True, inline="always")
def _recency(age, place, decay_s, decay_events):
    weight = 1.0
    if decay_s > 0:
        weight /= 1.0 + age / decay_s
    if decay_events > 0:
        weight /= 1.0 + place / decay_events
    return weight


@numba.njit(nogil=True, cache=True, inline="always")
def _write_best(table, n, top, row, to):
    """Write the items with the largest sums, ties by the smaller code, and leave the table empty."""
    keys, sums, touched = table
    offsets, items, scores = to
    order = np.empty(n, np.uint64)
    for j in range(n):
        at = touched[j]
        # Non-negative float32 values are ordered as their bits.
        bits = np.uint64(np.float32(sums[at]).view(np.uint32))
        order[j] = (np.uint64(0xFFFFFFFF) - bits) << np.uint64(32) | np.uint64(keys[at])
    order.sort()
    start = offsets[row]
    n_best = min(n, top)
    for j in range(n_best):
        item = np.int32(order[j] & np.uint64(0xFFFFFFFF))
        items[start + j] = item
        scores[start + j] = sums[place_of(keys, item)]
    for j in range(n):
        keys[touched[j]] = -1
    offsets[row + 1] = start + n_best


@numba.njit(nogil=True, cache=True)
def own_items(events, users, now, rule, top, to):
    """Write every user's own items, ranked by the weights of their last events."""
    starts, of_items, times, kinds, of_weights = events
    weights, last, decay_s, decay_events = rule
    longest = 0
    for row in range(len(users)):
        if users[row] >= 0:
            longest = max(longest, min(last, starts[users[row] + 1] - starts[users[row]]))
    keys = np.full(table_size(longest), -1, np.int32)
    sums = np.empty(len(keys), np.float64)
    touched = np.empty(longest, np.int64)
    for row in range(len(users)):
        n = 0
        if users[row] >= 0:
            low, high = starts[users[row]], starts[users[row] + 1]
            for i in range(high - 1, max(low, high - last) - 1, -1):
                weight = weights[kinds[i]] * (of_weights[i] if len(of_weights) else 1.0)
                if weight <= 0:
                    continue
                at = place_of(keys, of_items[i])
                if keys[at] == -1:
                    keys[at] = of_items[i]
                    sums[at] = 0.0
                    touched[n] = at
                    n += 1
                sums[at] += weight * _recency(now[row] - times[i], high - 1 - i, decay_s, decay_events)
        _write_best((keys, sums, touched), n, top, row, to)


@numba.njit(nogil=True, cache=True)
def votes(events, users, now, rule, neighbours, top, to):
    """Write the neighbours of every user's last items, ranked by the sum of neighbour weight times event weight.

    `neighbours` are rows of items with their weights, padded with -1; `row_of` has an item's row.
    """
    starts, of_items, times, kinds, of_weights = events
    weights, last, decay_s, decay_events = rule
    near, shares, row_of = neighbours
    longest = 0
    for row in range(len(users)):
        if users[row] >= 0:
            longest = max(longest, min(last, starts[users[row] + 1] - starts[users[row]]))
    keys = np.full(table_size(longest * near.shape[1]), -1, np.int32)
    sums = np.empty(len(keys), np.float64)
    touched = np.empty(max(1, longest * near.shape[1]), np.int64)
    for row in range(len(users)):
        n = 0
        if users[row] >= 0:
            low, high = starts[users[row]], starts[users[row] + 1]
            for i in range(high - 1, max(low, high - last) - 1, -1):
                weight = weights[kinds[i]] * _recency(now[row] - times[i], high - 1 - i, decay_s, decay_events)
                if len(of_weights):
                    weight *= of_weights[i]
                neighbour_row = row_of[of_items[i]]
                if weight <= 0 or neighbour_row < 0:
                    continue
                for j in range(near.shape[1]):
                    b = near[neighbour_row, j]
                    if b < 0:
                        break
                    at = place_of(keys, b)
                    if keys[at] == -1:
                        keys[at] = b
                        sums[at] = 0.0
                        touched[n] = at
                        n += 1
                    sums[at] += weight * shares[neighbour_row, j]
        _write_best((keys, sums, touched), n, top, row, to)


@numba.njit(nogil=True, cache=True)
def _take_in(starts, items, user, keys, touched):
    """Put a user's items into a table; return how many there are."""
    n = 0
    if user < 0:
        return n
    for i in range(starts[user], starts[user + 1]):
        at = place_of(keys, items[i])
        if keys[at] == -1:
            keys[at] = items[i]
            touched[n] = at
            n += 1
    return n


@numba.njit(nogil=True, cache=True)
def _forget(keys, touched, n):
    for j in range(n):
        keys[touched[j]] = -1


@numba.njit(nogil=True, cache=True)
def merge(by_source, history, most, limit, offsets, items, features):
    """Write the candidates of each user, with their score and rank by every source.

    The sources take turns, each with its next best and at most ``most[s]`` items, until there are `limit` candidates.
    `by_source` has the sources' lists: that of source s for user `row` is ``[starts[s, row], ends[s, row])``. Items in
    the user's list of `history` are excluded. `offsets`, `items` and `features` are written to.
    """
    starts, ends, of_items, of_scores = by_source
    had_starts, had_items, had_users = history
    longest = 0
    for user in had_users:
        if user >= 0:
            longest = max(longest, had_starts[user + 1] - had_starts[user])
    user_items = np.full(table_size(longest), -1, np.int32)
    user_touched = np.empty(longest, np.int64)
    keys = np.full(table_size(limit), -1, np.int32)
    places = np.empty(len(keys), np.int64)
    touched = np.empty(limit, np.int64)
    n_sources = len(most)
    cursor = np.empty(n_sources, np.int64)
    for row in range(starts.shape[1]):
        first = offsets[row]
        n = first
        n_user_items = _take_in(had_starts, had_items, had_users[row], user_items, user_touched) if longest > 0 else 0
        cursor[:] = starts[:, row]
        rank, is_more = 0, True
        while is_more and n - first < limit:
            is_more = False
            for s in range(n_sources):
                while (
                    n_user_items
                    and cursor[s] < ends[s, row]
                    and user_items[place_of(user_items, of_items[cursor[s]])] != -1
                ):
                    cursor[s] += 1
                if rank >= most[s] or cursor[s] >= ends[s, row] or n - first >= limit:
                    continue
                is_more = True
                item = of_items[cursor[s]]
                cursor[s] += 1
                at = place_of(keys, item)
                if keys[at] == -1:
                    keys[at] = item
                    places[at] = n
                    touched[n - first] = at
                    items[n] = item
                    n += 1
            rank += 1
        offsets[row + 1] = n
        for s in range(n_sources):
            for i in range(starts[s, row], ends[s, row]):
                at = place_of(keys, of_items[i])
                if keys[at] != -1:
                    features[places[at], 2 * s] = of_scores[i]
                    features[places[at], 2 * s + 1] = i - starts[s, row] + 1
        _forget(keys, touched, n - first)
        _forget(user_items, user_touched, n_user_items)


@numba.njit(nogil=True, cache=True)
def best_of(offsets, items, scores, to_items, to_scores):
    """Write each user's best candidates, ties by position; padded with -1 and NaN."""
    for row in range(len(offsets) - 1):
        low, high = offsets[row], offsets[row + 1]
        order = np.argsort(-scores[low:high], kind="mergesort")
        for j in range(to_items.shape[1]):
            exists = j < high - low
            to_items[row, j] = items[low + order[j]] if exists else -1
            to_scores[row, j] = scores[low + order[j]] if exists else np.nan


@numba.njit(nogil=True, cache=True)
def mark(offsets, items, wanted_offsets, wanted, level, labels):
    """Raise the label of candidates in their user's ground truth to a level; return how many there are."""
    marked = 0
    for row in range(len(offsets) - 1):
        low, high = wanted_offsets[row], wanted_offsets[row + 1]
        if low == high:
            continue
        for c in range(offsets[row], offsets[row + 1]):
            # The ground truth is sorted.
            at = low + np.searchsorted(wanted[low:high], items[c])
            if at < high and wanted[at] == items[c]:
                labels[c] = max(labels[c], level)
                marked += 1
    return marked
