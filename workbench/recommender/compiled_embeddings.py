"""Compiled functions for skip-gram over lists; see `workbench.recommender.embeddings`.

Random numbers come from a small generator whose state is passed along, so that a seed gives the same vectors, in
however many calls the training runs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

__all__ = ["CURVE", "CURVE_END", "Steps", "Vectors", "pack_lists", "train"]

CURVE_END = np.float32(6.0)
CURVE = 2048


class Vectors(NamedTuple):
    """The vectors of every item as context (the result) and as target, and whether it had a pair."""

    inner: Any
    outer: Any
    met: Any


class Steps(NamedTuple):
    """The parameters of the training.

    `chances` are the probabilities to be sampled, in 2**32nds; `aliases` is the alias table, with an item's own
    probability in the upper half and the other item in the lower; `curve` is the sigmoid from -6 to 6.
    """

    window: int
    negatives: int
    first_rate: float
    last_rate: float
    total: int
    chances: Any
    aliases: Any
    curve: Any


@numba.njit(nogil=True, cache=True)
def pack_lists(starts, items, last, n_vectors, to_starts, to_items):
    """Write the last events of every list, of the items that get a vector; return the numbers of lists and events.

    A list with fewer than two such events is skipped. With an empty `to_items` they are only counted.
    """
    n_lists = n = 0
    for k in range(len(starts) - 1):
        low = max(starts[k], starts[k + 1] - last)
        n_usable = 0
        for i in range(low, starts[k + 1]):
            n_usable += items[i] < n_vectors
        if n_usable < 2:
            continue
        if len(to_items):
            for i in range(low, starts[k + 1]):
                if items[i] < n_vectors:
                    to_items[n] = items[i]
                    n += 1
            to_starts[n_lists + 1] = n
        else:
            n += n_usable
        n_lists += 1
    return n_lists, n


@numba.njit(nogil=True, cache=True, inline="always")
def _draw(state):
    """Return the next number of 64 random bits: splitmix64 (Steele, Lea & Flood 2014, OOPSLA)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(nogil=True, cache=True, inline="always")
def _draw_item(state, aliases):
    bits = _draw(state)
    i = np.int64(((bits >> np.uint64(32)) * np.uint64(len(aliases))) >> np.uint64(32))
    row = aliases[i]
    return i if (bits & np.uint64(0xFFFFFFFF)) <= (row >> np.uint64(32)) else np.int64(row & np.uint64(0xFFFFFFFF))


@numba.njit(nogil=True, cache=True, inline="always")
def _sigmoid(x, curve):
    # In this form NaN stays within the table, too.
    if not x > -CURVE_END:
        return curve[0]
    if not x < CURVE_END:
        return curve[CURVE - 1]
    return curve[np.int64((x + CURVE_END) * np.float32((CURVE - 1) / 12.0))]


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _learn(vectors, contexts, n, target, label, rate, curve, errors):
    """Take a step for a target and each of its contexts; `errors` accumulates the updates of the contexts."""
    inner, outer, _ = vectors
    size = inner.shape[1]
    target_vector = outer[target]
    for i in range(n):
        context_vector, error = inner[contexts[i]], errors[i]
        x = np.float32(0.0)
        for d in range(size):
            x += context_vector[d] * target_vector[d]
        step = (label - _sigmoid(x, curve)) * rate
        for d in range(size):
            previous = target_vector[d]
            target_vector[d] = previous + step * context_vector[d]
            error[d] += step * previous


@numba.njit(nogil=True, cache=True)
def train(lists, first, end, done, steps, vectors, state, room):
    """Train on the lists from `first` to before `end`, after `done` events of `steps.total`; return the new number.

    `room` has buffers for the sampled events of a list, for the contexts of one of them, and for their errors.
    """
    starts, items = lists
    sampled, contexts, errors = room
    size = vectors.inner.shape[1]
    for k in range(first, end):
        share = done / steps.total
        rate = np.float32(steps.first_rate + (steps.last_rate - steps.first_rate) * share)
        n = 0
        for i in range(starts[k], starts[k + 1]):
            if (_draw(state) >> np.uint64(32)) <= steps.chances[items[i]]:
                sampled[n] = items[i]
                n += 1
        done += starts[k + 1] - starts[k]
        for p in range(n):
            reach = 1 + np.int64(_draw(state) % np.uint64(steps.window))
            m = 0
            for q in range(max(0, p - reach), min(n, p + reach + 1)):
                if sampled[q] != sampled[p]:
                    contexts[m] = sampled[q]
                    vectors.met[sampled[q]] = 1
                    m += 1
            if m == 0:
                continue
            errors[:m] = 0
            _learn(vectors, contexts, m, sampled[p], np.float32(1.0), rate, steps.curve, errors)
            for _ in range(steps.negatives):
                other = _draw_item(state, steps.aliases)
                if other != sampled[p]:
                    _learn(vectors, contexts, m, other, np.float32(0.0), rate, steps.curve, errors)
            for i in range(m):
                context_vector = vectors.inner[contexts[i]]
                for d in range(size):
                    context_vector[d] += errors[i, d]
    return done
