"""Compiled functions for skip-gram over lists; see `workbench.recommender.embeddings`.

The state of the random number generator is passed from call to call, so that a seed gives the same vectors however many
calls the training is split into.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

__all__ = ["SIGMOID_LIMIT", "SIGMOID_SIZE", "Parameters", "Vectors", "pack_lists", "train"]

SIGMOID_LIMIT = np.float32(6.0)
SIGMOID_SIZE = 2048
"""The sigmoid is looked up in a table from minus the limit to the limit, as in word2vec; beyond it is constant."""


class Vectors(NamedTuple):
    """The vectors of every item as context (the result) and as target, and 1 for each item that was in a pair."""

    context: Any
    target: Any
    had_pair: Any


class Parameters(NamedTuple):
    """The parameters of the training.

    Attributes
    ----------
    window, negatives : int
        As in `workbench.recommender.embeddings.SkipGram`.
    first_rate, last_rate : float
        The learning rate at the start and at the end.
    n_events : int
        The number of events in all epochs.
    keep_chances : uint64 array
        The probability that an event of each item is used, times 2**32.
    aliases : uint64 array
        See `workbench.recommender.embeddings.alias_table`.
    sigmoid_table : float32 array
        The sigmoid at `SIGMOID_SIZE` points.
    """

    window: int
    negatives: int
    first_rate: float
    last_rate: float
    n_events: int
    keep_chances: Any
    aliases: Any
    sigmoid_table: Any


@numba.njit(nogil=True, cache=True)
def pack_lists(starts, items, last, n_vectors, to_starts, to_items):
    """Write the last events of every list, of items with a vector; return the numbers of lists and events.

    Lists with fewer than two such events are skipped. If `to_items` is empty, nothing is written.
    """
    n_lists = n_events = 0
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
                    to_items[n_events] = items[i]
                    n_events += 1
            to_starts[n_lists + 1] = n_events
        else:
            n_events += n_usable
        n_lists += 1
    return n_lists, n_events


@numba.njit(nogil=True, cache=True, inline="always")
def _draw(state):
    """Return 64 random bits: splitmix64 (Steele, Lea & Flood 2014, OOPSLA)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(nogil=True, cache=True, inline="always")
def _draw_item(state, aliases):
    """Return a random item by its weight in the alias table."""
    bits = _draw(state)
    i = np.int64(((bits >> np.uint64(32)) * np.uint64(len(aliases))) >> np.uint64(32))
    row = aliases[i]
    return i if (bits & np.uint64(0xFFFFFFFF)) <= (row >> np.uint64(32)) else np.int64(row & np.uint64(0xFFFFFFFF))


@numba.njit(nogil=True, cache=True, inline="always")
def _sigmoid(x, table):
    # Written with "not", so that NaN gives an index within the table, too.
    if not x > -SIGMOID_LIMIT:
        return table[0]
    if not x < SIGMOID_LIMIT:
        return table[SIGMOID_SIZE - 1]
    return table[np.int64((x + SIGMOID_LIMIT) * np.float32((SIGMOID_SIZE - 1) / 12.0))]


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _update(vectors, contexts, n_contexts, target, label, learning_rate, sigmoid_table, updates):
    """Take a gradient step for a target and each of its contexts; `updates` accumulates the steps of the contexts."""
    size = vectors.context.shape[1]
    target_vector = vectors.target[target]
    for i in range(n_contexts):
        context_vector, update = vectors.context[contexts[i]], updates[i]
        score = np.float32(0.0)
        for d in range(size):
            score += context_vector[d] * target_vector[d]
        step = (label - _sigmoid(score, sigmoid_table)) * learning_rate
        for d in range(size):
            previous = target_vector[d]
            target_vector[d] = previous + step * context_vector[d]
            update[d] += step * previous


@numba.njit(nogil=True, cache=True)
def train(lists, first, end, n_trained, parameters, vectors, state, buffers):
    """Train on the lists from `first` to before `end`; `n_trained` events were trained on before. Return their number.

    `buffers` are for the sampled items of a list, for the contexts of one of them, and for the contexts' updates.
    """
    starts, items = lists
    sampled, contexts, updates = buffers
    sigmoid_table = parameters.sigmoid_table
    size = vectors.context.shape[1]
    for k in range(first, end):
        share = n_trained / parameters.n_events
        rate = np.float32(parameters.first_rate + (parameters.last_rate - parameters.first_rate) * share)
        n_sampled = 0
        for i in range(starts[k], starts[k + 1]):
            if (_draw(state) >> np.uint64(32)) <= parameters.keep_chances[items[i]]:
                sampled[n_sampled] = items[i]
                n_sampled += 1
        n_trained += starts[k + 1] - starts[k]
        for p in range(n_sampled):
            reach = 1 + np.int64(_draw(state) % np.uint64(parameters.window))
            n_contexts = 0
            for q in range(max(0, p - reach), min(n_sampled, p + reach + 1)):
                if sampled[q] != sampled[p]:
                    contexts[n_contexts] = sampled[q]
                    vectors.had_pair[sampled[q]] = 1
                    n_contexts += 1
            if n_contexts == 0:
                continue
            updates[:n_contexts] = 0
            _update(vectors, contexts, n_contexts, sampled[p], np.float32(1.0), rate, sigmoid_table, updates)
            for _ in range(parameters.negatives):
                negative = _draw_item(state, parameters.aliases)
                if negative != sampled[p]:
                    _update(
                        vectors,
                        contexts,
                        n_contexts,
                        negative,
                        np.float32(0.0),
                        rate,
                        sigmoid_table,
                        updates,
                    )
            for i in range(n_contexts):
                context_vector = vectors.context[contexts[i]]
                for d in range(size):
                    context_vector[d] += updates[i, d]
    return n_trained
