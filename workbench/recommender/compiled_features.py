"""Compiled functions for features of candidates; see `workbench.recommender.candidate_features`."""

from __future__ import annotations

import numba
import numpy as np

from workbench.recommender.compiled_candidates import find_slot, table_size

__all__ = ["attribute_features", "item_statistics", "pair_features", "user_features"]


@numba.njit(nogil=True, cache=True)
def item_statistics(events, recent_from, counts, recent, n_users, first_and_last_s):
    """Count the events of each item by kind and since each of `recent_from`, and its users; find its age."""
    starts, items, times, kinds = events
    last_list = np.full(len(n_users), -1, np.int64)
    for k in range(len(starts) - 1):
        for i in range(starts[k], starts[k + 1]):
            a = items[i]
            counts[a, kinds[i]] += 1
            for m in range(len(recent_from)):
                recent[a, m] += times[i] >= recent_from[m]
            if last_list[a] != k:
                last_list[a] = k
                n_users[a] += 1
            first_and_last_s[a, 0] = min(first_and_last_s[a, 0], times[i])
            first_and_last_s[a, 1] = max(first_and_last_s[a, 1], times[i])


@numba.njit(nogil=True, cache=True)
def user_features(events, users, now, n_kinds, offsets, features, column):
    """Write the user's features from `column` on: events, visits, ages of the first and last, events by kind."""
    starts, _, times, kinds = events
    counts = np.zeros(n_kinds, np.float32)
    for row in range(len(users)):
        counts[:] = 0
        n_events, visits, gap, first_age, last_age = 0, 0, np.nan, np.nan, np.nan
        if users[row] >= 0 and starts[users[row]] < starts[users[row] + 1]:
            low, high = starts[users[row]], starts[users[row] + 1]
            n_events = high - low
            for i in range(low, high):
                counts[kinds[i]] += 1
                visits += i == low or times[i] != times[i - 1]
            first_age, last_age = now[row] - times[low], now[row] - times[high - 1]
            if visits > 1:
                gap = (times[high - 1] - times[low]) / (visits - 1)
        for c in range(offsets[row], offsets[row + 1]):
            features[c, column] = n_events
            features[c, column + 1] = visits
            features[c, column + 2] = first_age
            features[c, column + 3] = last_age
            features[c, column + 4] = gap
            for kind in range(n_kinds):
                features[c, column + 5 + kind] = counts[kind]


@numba.njit(nogil=True, cache=True)
def pair_features(events, users, now, decay, candidates, features, column):
    """Write the features of the user's own events of a candidate, from `column` on.

    These are: events, visits, events weighted by recency, ages of the first and the last, the number of events since
    the last, the age of the last in mean gaps between visits, and events by kind.
    """
    starts, event_items, times, kinds = events
    n_kinds, decay_s = decay
    offsets, items = candidates
    longest = 0
    for row in range(len(users)):
        longest = max(longest, offsets[row + 1] - offsets[row])
    keys = np.full(table_size(longest), -1, np.int32)
    candidate_by_slot = np.empty(len(keys), np.int64)
    used_slots = np.empty(longest, np.int64)
    for row in range(len(users)):
        first = offsets[row]
        n_candidates = offsets[row + 1] - first
        for c in range(first, first + n_candidates):
            slot = find_slot(keys, items[c])
            keys[slot] = items[c]
            candidate_by_slot[slot] = c
            used_slots[c - first] = slot
            for j in range(7 + n_kinds):
                features[c, column + j] = 0.0
            for j in range(4):
                features[c, column + 3 + j] = np.nan
        if users[row] >= 0:
            low, high = starts[users[row]], starts[users[row] + 1]
            for i in range(low, high):
                slot = find_slot(keys, event_items[i])
                if keys[slot] == -1:
                    continue
                c, age = candidate_by_slot[slot], np.float32(now[row] - times[i])
                features[c, column] += 1
                features[c, column + 1] += features[c, column + 4] != age
                features[c, column + 2] += np.float32(1.0 / (1.0 + age / decay_s))
                if np.isnan(features[c, column + 3]):
                    features[c, column + 3] = age
                features[c, column + 4] = age
                features[c, column + 5] = high - i
                features[c, column + 7 + kinds[i]] += 1
        for j in range(n_candidates):
            c = first + j
            if features[c, column + 1] > 1:
                gap = (features[c, column + 3] - features[c, column + 4]) / (features[c, column + 1] - 1)
                features[c, column + 6] = features[c, column + 4] / gap
            keys[used_slots[j]] = -1


@numba.njit(nogil=True, cache=True)
def attribute_features(events, users, now, recency, candidates, attributes, features, column):
    """Write the similarity of a candidate to the user's last items, from `column` on.

    For each column of the items' codes, the share of the last items with the same code, weighted by recency; for each
    column of their numbers, the candidate's number, and its difference from the last items' weighted mean.
    """
    starts, event_items, times, _ = events
    last, decay_s = recency
    offsets, items = candidates
    codes, numbers = attributes
    n_codes, n_numbers = codes.shape[1], numbers.shape[1]
    weights = np.empty(last, np.float64)
    means = np.empty(n_numbers, np.float64)
    for row in range(len(users)):
        low = high = np.int64(0)
        if users[row] >= 0:
            high = starts[users[row] + 1]
            low = max(starts[users[row]], high - last)
        for i in range(low, high):
            weights[i - low] = 1.0 / (1.0 + (now[row] - times[i]) / decay_s)
        for k in range(n_numbers):
            total = weight = 0.0
            for i in range(low, high):
                number = numbers[event_items[i], k]
                if not np.isnan(number):
                    total += weights[i - low] * number
                    weight += weights[i - low]
            means[k] = total / weight if weight > 0 else np.nan
        for c in range(offsets[row], offsets[row + 1]):
            for k in range(n_codes):
                same = weight = 0.0
                for i in range(low, high):
                    code = codes[event_items[i], k]
                    if code >= 0:
                        weight += weights[i - low]
                        same += weights[i - low] * (code == codes[items[c], k])
                features[c, column + k] = same / weight if weight > 0 else np.nan
            for k in range(n_numbers):
                number = numbers[items[c], k]
                features[c, column + n_codes + 2 * k] = number
                features[c, column + n_codes + 2 * k + 1] = number - means[k]
