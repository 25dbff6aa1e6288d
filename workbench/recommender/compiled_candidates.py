"""Compiled functions for candidates; see `workbench.recommender.candidates`.

A user's items are looked up in a small hash table with open addressing, `keys`, which is left empty (-1).
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["find_slot", "merge", "neighbour_votes", "own_items", "raise_labels", "table_size", "write_best"]


@numba.njit(nogil=True, cache=True, inline="always")
def find_slot(keys, item):
    """Return the slot of the item in the hash table `keys`, or the free slot where it belongs.

    The hash is multiplicative: the multiplier is 2**32 divided by the golden ratio (Knuth, The Art of Computer
    Programming 3, section 6.4).
    """
    mask = len(keys) - 1
    slot = np.int64((np.uint32(item) * np.uint32(2654435769)) >> np.uint32(7)) & mask
    while keys[slot] >= 0 and keys[slot] != item:
        slot = (slot + 1) & mask
    return slot


@numba.njit(nogil=True, cache=True)
def table_size(n):
    """Return the size of a hash table for n items: a power of two, at most half full."""
    size = 16
    while size < 2 * n:
        size *= 2
    return size


@numba.njit(nogil=True, cache=True, inline="always")
def _recency(age_s, n_later, decay_s, decay_events):
    """Return the weight of an event by its age and the number of later events; a decay of 0 has no effect."""
    weight = 1.0
    if decay_s > 0:
        weight /= 1.0 + age_s / decay_s
    if decay_events > 0:
        weight /= 1.0 + n_later / decay_events
    return weight


@numba.njit(nogil=True, cache=True, inline="always")
def _write_largest(table, n, top, row, output):
    """Write the items with the largest sums, ties by the smaller code, and empty the table.

    `table` has the items, their sums and the `n` slots in use; `output` the offsets, items and scores of the result.
    """
    keys, sums, used_slots = table
    offsets, items, scores = output
    order = np.empty(n, np.uint64)
    for j in range(n):
        slot = used_slots[j]
        # Non-negative float32 values are ordered as their bits.
        bits = np.uint64(np.float32(sums[slot]).view(np.uint32))
        order[j] = (np.uint64(0xFFFFFFFF) - bits) << np.uint64(32) | np.uint64(keys[slot])
    order.sort()
    start = offsets[row]
    n_best = min(n, top)
    for j in range(n_best):
        item = np.int32(order[j] & np.uint64(0xFFFFFFFF))
        items[start + j] = item
        scores[start + j] = sums[find_slot(keys, item)]
    for j in range(n):
        keys[used_slots[j]] = -1
    offsets[row + 1] = start + n_best


@numba.njit(nogil=True, cache=True)
def own_items(events, users, now, weighting, top, output):
    """Write up to `top` of every user's own items, ranked by the summed weights of the user's last events.

    `users` are codes of users, -1 for one without events, and `now` the time of each one's recommendation, in seconds.
    `events` are the events in order of user and time, with the offsets of the users; `output` the offsets, items and
    scores of the result.
    """
    starts, items, times, kinds, event_weights = events
    kind_weights, n_last, decay_s, decay_events = weighting
    longest = 0
    for row in range(len(users)):
        if users[row] >= 0:
            longest = max(longest, min(n_last, starts[users[row] + 1] - starts[users[row]]))
    keys = np.full(table_size(longest), -1, np.int32)
    sums = np.empty(len(keys), np.float64)
    used_slots = np.empty(longest, np.int64)
    for row in range(len(users)):
        n = 0
        if users[row] >= 0:
            first, end = starts[users[row]], starts[users[row] + 1]
            for i in range(end - 1, max(first, end - n_last) - 1, -1):
                weight = kind_weights[kinds[i]] * (event_weights[i] if len(event_weights) else 1.0)
                if weight <= 0:
                    continue
                slot = find_slot(keys, items[i])
                if keys[slot] == -1:
                    keys[slot] = items[i]
                    sums[slot] = 0.0
                    used_slots[n] = slot
                    n += 1
                sums[slot] += weight * _recency(now[row] - times[i], end - 1 - i, decay_s, decay_events)
        _write_largest((keys, sums, used_slots), n, top, row, output)


@numba.njit(nogil=True, cache=True)
def neighbour_votes(events, users, now, weighting, neighbours, top, output):
    """Write the neighbours of every user's last items, ranked by the sum of neighbour weight times event weight.

    The arguments are as for `own_items`; `neighbours` are rows of items, padded with -1, their weights, and the row of
    each item (-1 for none).
    """
    starts, items, times, kinds, event_weights = events
    kind_weights, n_last, decay_s, decay_events = weighting
    neighbour_items, neighbour_weights, row_by_item = neighbours
    longest = 0
    for row in range(len(users)):
        if users[row] >= 0:
            longest = max(longest, min(n_last, starts[users[row] + 1] - starts[users[row]]))
    keys = np.full(table_size(longest * neighbour_items.shape[1]), -1, np.int32)
    sums = np.empty(len(keys), np.float64)
    used_slots = np.empty(max(1, longest * neighbour_items.shape[1]), np.int64)
    for row in range(len(users)):
        n = 0
        if users[row] >= 0:
            first, end = starts[users[row]], starts[users[row] + 1]
            for i in range(end - 1, max(first, end - n_last) - 1, -1):
                weight = kind_weights[kinds[i]] * _recency(now[row] - times[i], end - 1 - i, decay_s, decay_events)
                if len(event_weights):
                    weight *= event_weights[i]
                neighbour_row = row_by_item[items[i]]
                if weight <= 0 or neighbour_row < 0:
                    continue
                for j in range(neighbour_items.shape[1]):
                    neighbour = neighbour_items[neighbour_row, j]
                    if neighbour < 0:
                        break
                    slot = find_slot(keys, neighbour)
                    if keys[slot] == -1:
                        keys[slot] = neighbour
                        sums[slot] = 0.0
                        used_slots[n] = slot
                        n += 1
                    sums[slot] += weight * neighbour_weights[neighbour_row, j]
        _write_largest((keys, sums, used_slots), n, top, row, output)


@numba.njit(nogil=True, cache=True)
def _insert_items(starts, items, user, keys, used_slots):
    """Put the items of a user's list into an empty hash table; return their number."""
    n = 0
    if user < 0:
        return n
    for i in range(starts[user], starts[user + 1]):
        slot = find_slot(keys, items[i])
        if keys[slot] == -1:
            keys[slot] = items[i]
            used_slots[n] = slot
            n += 1
    return n


@numba.njit(nogil=True, cache=True)
def _clear(keys, used_slots, n):
    """Empty the `n` slots in use."""
    for j in range(n):
        keys[used_slots[j]] = -1


@numba.njit(nogil=True, cache=True)
def merge(by_source, excluded, tops, limit, offsets, items, features):
    """Merge the sources' lists of each user round-robin, with the score and rank of each candidate by every source.

    Each source contributes at most ``tops[s]`` items, until there are `limit` candidates. `by_source` has the sources'
    lists: that of source s for user `row` is ``[starts[s, row], ends[s, row])``. `excluded` has lists of items by user
    code, and the users' codes; without codes nothing is excluded. The results are written to `offsets`, `items` and
    `features`.
    """
    starts, ends, source_items, source_scores = by_source
    excluded_starts, excluded_items, users = excluded
    longest = 0
    for user in users:
        if user >= 0:
            longest = max(longest, excluded_starts[user + 1] - excluded_starts[user])
    excluded_keys = np.full(table_size(longest), -1, np.int32)
    excluded_slots = np.empty(longest, np.int64)
    keys = np.full(table_size(limit), -1, np.int32)
    rows_by_slot = np.empty(len(keys), np.int64)
    used_slots = np.empty(limit, np.int64)
    n_sources = len(tops)
    cursors = np.empty(n_sources, np.int64)
    for row in range(starts.shape[1]):
        first = offsets[row]
        n = first
        n_excluded = (
            _insert_items(excluded_starts, excluded_items, users[row], excluded_keys, excluded_slots)
            if longest > 0
            else 0
        )
        cursors[:] = starts[:, row]
        rank, has_more = 0, True
        while has_more and n - first < limit:
            has_more = False
            for s in range(n_sources):
                while (
                    n_excluded
                    and cursors[s] < ends[s, row]
                    and excluded_keys[find_slot(excluded_keys, source_items[cursors[s]])] != -1
                ):
                    cursors[s] += 1
                if rank >= tops[s] or cursors[s] >= ends[s, row] or n - first >= limit:
                    continue
                has_more = True
                item = source_items[cursors[s]]
                cursors[s] += 1
                slot = find_slot(keys, item)
                if keys[slot] == -1:
                    keys[slot] = item
                    rows_by_slot[slot] = n
                    used_slots[n - first] = slot
                    items[n] = item
                    n += 1
            rank += 1
        offsets[row + 1] = n
        for s in range(n_sources):
            for i in range(starts[s, row], ends[s, row]):
                slot = find_slot(keys, source_items[i])
                if keys[slot] != -1:
                    features[rows_by_slot[slot], 2 * s] = source_scores[i]
                    features[rows_by_slot[slot], 2 * s + 1] = i - starts[s, row] + 1
        _clear(keys, used_slots, n - first)
        _clear(excluded_keys, excluded_slots, n_excluded)


@numba.njit(nogil=True, cache=True)
def write_best(offsets, items, scores, to_items, to_scores):
    """Write each user's best candidates, ties by position, padded with -1 and NaN."""
    for row in range(len(offsets) - 1):
        low, high = offsets[row], offsets[row + 1]
        order = np.argsort(-scores[low:high], kind="mergesort")
        for j in range(to_items.shape[1]):
            exists = j < high - low
            to_items[row, j] = items[low + order[j]] if exists else -1
            to_scores[row, j] = scores[low + order[j]] if exists else np.nan


@numba.njit(nogil=True, cache=True)
def raise_labels(offsets, items, true_offsets, true_items, level, labels):
    """Raise the labels of candidates in their user's ground truth to at least `level`."""
    for row in range(len(offsets) - 1):
        low, high = true_offsets[row], true_offsets[row + 1]
        if low == high:
            continue
        for c in range(offsets[row], offsets[row + 1]):
            # The ground truth is sorted.
            position = low + np.searchsorted(true_items[low:high], items[c])
            if position < high and true_items[position] == items[c]:
                labels[c] = max(labels[c], level)
