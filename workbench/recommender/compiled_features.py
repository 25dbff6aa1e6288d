"""Compiled functions for features of candidates; see `workbench.recommender.candidate_features`."""

from __future__ import annotations

import numba
import numpy as np

from workbench.recommender.compiled_candidates import place_of, table_size

__all__ = ["attribute_features", "item_facts", "pair_features", "user_features"]


@numba.njit(nogil=True, cache=True)
def item_facts(events, moments, counts, recent, users, span):
    """Count per item: events by kind, events since each of the moments, users, and the first and the last second."""
    starts, items, times, kinds = events
    last_list = np.full(len(users), -1, np.int64)
    for k in range(len(starts) - 1):
        for i in range(starts[k], starts[k + 1]):
            a = items[i]
            counts[a, kinds[i]] += 1
            for m in range(len(moments)):
                recent[a, m] += times[i] >= moments[m]
            if last_list[a] != k:
                last_list[a] = k
                users[a] += 1
            span[a, 0] = min(span[a, 0], times[i])
            span[a, 1] = max(span[a, 1], times[i])


@numba.njit(nogil=True, cache=True)
def user_features(events, users, now, n_kinds, offsets, features, at):
    """Write the user's features: events by kind, visits, ages of the first and last event."""
    starts, _, times, kinds = events
    counts = np.zeros(n_kinds, np.float32)
    for row in range(len(users)):
        counts[:] = 0
        visits, gap, first_age, last_age, n = 0, np.nan, np.nan, np.nan, 0
        if users[row] >= 0 and starts[users[row]] < starts[users[row] + 1]:
            low, high = starts[users[row]], starts[users[row] + 1]
            n = high - low
            for i in range(low, high):
                counts[kinds[i]] += 1
                visits += i == low or times[i] != times[i - 1]
            first_age, last_age = now[row] - times[low], now[row] - times[high - 1]
            if visits > 1:
                gap = (times[high - 1] - times[low]) / (visits - 1)
        for c in range(offsets[row], offsets[row + 1]):
            features[c, at] = n
            features[c, at + 1] = visits
            features[c, at + 2] = first_age
            features[c, at + 3] = last_age
            features[c, at + 4] = gap
            for kind in range(n_kinds):
                features[c, at + 5 + kind] = counts[kind]


@numba.njit(nogil=True, cache=True)
def pair_features(events, users, now, rule, candidates, features, at):
    """Write the features of user and candidate: events by kind, ages, frequency and regularity, events since."""
    starts, of_items, times, kinds = events
    n_kinds, decay_s = rule
    offsets, items = candidates
    longest = 0
    for row in range(len(users)):
        longest = max(longest, offsets[row + 1] - offsets[row])
    keys = np.full(table_size(longest), -1, np.int32)
    places = np.empty(len(keys), np.int64)
    touched = np.empty(longest, np.int64)
    for row in range(len(users)):
        first = offsets[row]
        n = offsets[row + 1] - first
        for c in range(first, first + n):
            slot = place_of(keys, items[c])
            keys[slot] = items[c]
            places[slot] = c
            touched[c - first] = slot
            for j in range(7 + n_kinds):
                features[c, at + j] = 0.0
            for j in range(4):
                features[c, at + 3 + j] = np.nan
        if users[row] >= 0:
            low, high = starts[users[row]], starts[users[row] + 1]
            for i in range(low, high):
                slot = place_of(keys, of_items[i])
                if keys[slot] == -1:
                    continue
                c, age = places[slot], np.float32(now[row] - times[i])
                features[c, at] += 1
                features[c, at + 1] += features[c, at + 4] != age
                features[c, at + 2] += np.float32(1.0 / (1.0 + age / decay_s))
                if np.isnan(features[c, at + 3]):
                    features[c, at + 3] = age
                features[c, at + 4] = age
                features[c, at + 5] = high - i
                features[c, at + 7 + kinds[i]] += 1
        for j in range(n):
            c = first + j
            if features[c, at + 1] > 1:
                gap = (features[c, at + 3] - features[c, at + 4]) / (features[c, at + 1] - 1)
                features[c, at + 6] = features[c, at + 4] / gap
            keys[touched[j]] = -1


@numba.njit(nogil=True, cache=True)
def attribute_features(events, users, now, rule, candidates, attributes, features, at):
    """Write the similarity of a candidate to the user's last items.

    For each column of `codes` the share of them, weighted by recency, with the same code; for each column of `numbers`
    the number, and its difference from their weighted mean.
    """
    starts, of_items, times, _ = events
    last, decay_s = rule
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
                number = numbers[of_items[i], k]
                if not np.isnan(number):
                    total += weights[i - low] * number
                    weight += weights[i - low]
            means[k] = total / weight if weight > 0 else np.nan
        for c in range(offsets[row], offsets[row + 1]):
            for k in range(n_codes):
                same = weight = 0.0
                for i in range(low, high):
                    code = codes[of_items[i], k]
                    if code >= 0:
                        weight += weights[i - low]
                        same += weights[i - low] * (code == codes[items[c], k])
                features[c, at + k] = same / weight if weight > 0 else np.nan
            for k in range(n_numbers):
                number = numbers[items[c], k]
                features[c, at + n_codes + 2 * k] = number
                features[c, at + n_codes + 2 * k + 1] = number - means[k]
