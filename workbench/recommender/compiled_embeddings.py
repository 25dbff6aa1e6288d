"""Compiled: skip-gram over lists. What it learns is told in `workbench.recommender.embeddings`.

Random numbers are of a small generator whose state is passed along, so that a seed gives the same vectors whenever the
training runs, in one piece or in many.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

__all__ = ["CURVE", "CURVE_END", "Steps", "Vectors", "pack_lists", "train"]

CURVE_END = np.float32(6.0)
CURVE = 2048


class Vectors(NamedTuple):
    """What is learned: of every item the vector that is kept, the one it is predicted by, and whether it had a pair."""

    inner: Any
    outer: Any
    met: Any


class Steps(NamedTuple):
    """How it is learned.

    `chances` are the chances to be kept, in 2**32nds; `aliases` has of every item its own chance in the alias table in
    the upper half and the other item in the lower; `curve` is the sigmoid from -6 to 6.
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
    """Write the last events of every list, of the items that get a vector; return how many lists and events they are.

    A list of which fewer than two events are left is left out. Without `to_items` (of no length) they are only counted.
    """
    n_lists = n = 0
    for k in range(len(starts) - 1):
        low = max(starts[k], starts[k + 1] - last)
        there = 0
        for i in range(low, starts[k + 1]):
            there += items[i] < n_vectors
        if there < 2:
            continue
        if len(to_items):
            for i in range(low, starts[k + 1]):
                if items[i] < n_vectors:
                    to_items[n] = items[i]
                    n += 1
            to_starts[n_lists + 1] = n
        else:
            n += there
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
    # Written so that what is no number any more stays within the table.
    if not x > -CURVE_END:
        return curve[0]
    if not x < CURVE_END:
        return curve[CURVE - 1]
    return curve[np.int64((x + CURVE_END) * np.float32((CURVE - 1) / 12.0))]


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _learn(vectors, contexts, n, target, label, rate, curve, errors):
    """Take one step for a target and each of its contexts; `errors` gathers what is to be added to the contexts."""
    inner, outer, _ = vectors
    size = inner.shape[1]
    out = outer[target]
    for i in range(n):
        own, error = inner[contexts[i]], errors[i]
        x = np.float32(0.0)
        for d in range(size):
            x += own[d] * out[d]
        step = (label - _sigmoid(x, curve)) * rate
        for d in range(size):
            was = out[d]
            out[d] = was + step * own[d]
            error[d] += step * was


@numba.njit(nogil=True, cache=True)
def train(lists, first, end, done, steps, vectors, state, room):
    """Learn from the lists from `first` to before `end`, after `done` events of `steps.total`; return what is done.

    `room` is for the events of a list that are kept, for the contexts of one of them, and for their errors.
    """
    starts, items = lists
    kept, contexts, errors = room
    size = vectors.inner.shape[1]
    for k in range(first, end):
        share = done / steps.total
        rate = np.float32(steps.first_rate + (steps.last_rate - steps.first_rate) * share)
        n = 0
        for i in range(starts[k], starts[k + 1]):
            if (_draw(state) >> np.uint64(32)) <= steps.chances[items[i]]:
                kept[n] = items[i]
                n += 1
        done += starts[k + 1] - starts[k]
        for p in range(n):
            reach = 1 + np.int64(_draw(state) % np.uint64(steps.window))
            m = 0
            for q in range(max(0, p - reach), min(n, p + reach + 1)):
                if kept[q] != kept[p]:
                    contexts[m] = kept[q]
                    vectors.met[kept[q]] = 1
                    m += 1
            if m == 0:
                continue
            errors[:m] = 0
            _learn(vectors, contexts, m, kept[p], np.float32(1.0), rate, steps.curve, errors)
            for _ in range(steps.negatives):
                other = _draw_item(state, steps.aliases)
                if other != kept[p]:
                    _learn(vectors, contexts, m, other, np.float32(0.0), rate, steps.curve, errors)
            for i in range(m):
                own = vectors.inner[contexts[i]]
                for d in range(size):
                    own[d] += errors[i, d]
    return done
