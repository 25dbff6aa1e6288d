"""Embeddings: vectors of items, which are similar for items that occur near each other in the lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import ConfigError, DataError
from workbench.recommender.covisit import Neighbours
from workbench.recommender.extra import compiled
from workbench.recommender.interactions import Interactions, count_items
from workbench.recommender.products import CHUNK, best_products

__all__ = ["SkipGram", "alias_table", "nearest_items", "train_embeddings"]

PARTS = 64
"""The number of steps in which the progress of an epoch is reported."""

LAST_RATE = 1e-4
"""The learning rate falls linearly to this share of its initial value, as in word2vec."""


@dataclass(frozen=True)
class SkipGram:
    """The parameters of skip-gram with negative sampling.

    Lists are treated as sentences and items as words (Barkan & Koenigstein 2016, "Item2vec", arXiv:1603.04259): a
    model learns to tell an item's context from items drawn by their frequency to the power of 0.75 (Mikolov et al.
    2013, "Distributed representations of words and phrases", arXiv:1310.4546, equation 4). All pairs of an event share
    the drawn items, which saves memory accesses (Ji et al. 2016, arXiv:1604.04661). Only the order of events matters,
    not their times; two events of the same item are not a pair.

    Attributes
    ----------
    size : int
        The length of a vector.
    window : int
        The largest distance of a pair; the actual one is drawn for every event, from 1.
    negatives : int
        The number of items drawn for an event.
    epochs : int
    learning_rate : float
        The initial value. The default is twice word2vec's, which did not learn enough in five epochs over a million
        events.
    last : int
        The number of a list's last events that count.
    most_items : int
        The maximum number of items with a vector: the most frequent ones.
    min_count : int
        Items with fewer events get no vector.
    sample : float
        Events of items whose share of all events is above this are dropped at random, more of them the higher the
        share; 0 to drop none (Mikolov et al. 2013, section 2.3, in the form of their program).
    seed : int
    top : int
        The number of neighbours of an item.
    """

    size: int = 32
    window: int = 5
    negatives: int = 5
    epochs: int = 5
    learning_rate: float = 0.05
    last: int = 100
    most_items: int = 200_000
    min_count: int = 2
    sample: float = 1e-3
    seed: int = 1
    top: int = 20

    def __post_init__(self) -> None:
        for name in ("size", "window", "negatives", "epochs", "most_items", "min_count", "top"):
            if getattr(self, name) < 1:
                raise ConfigError(f"embeddings: {name} = {getattr(self, name)!r}: expected 1 or more")
        if self.last < 2:
            raise ConfigError(f"embeddings: last = {self.last!r}: expected 2 or more, as training needs pairs")
        if not 0 < self.learning_rate <= 1:
            raise ConfigError(f"embeddings: learning_rate = {self.learning_rate!r}: expected more than 0, at most 1")
        if not 0 <= self.sample <= 1:
            raise ConfigError(f"embeddings: sample = {self.sample!r}: expected a number from 0 to 1")
        if not 0 <= self.seed < 1 << 63:
            raise ConfigError(f"embeddings: seed = {self.seed!r}: expected a whole number of 0 or more")


def train_embeddings(
    log: Interactions, spec: SkipGram, *, progress: Callable[[float], None] = lambda _: None
) -> npt.NDArray[np.float32]:
    """Train item vectors on one thread: the same seed gives the same vectors on the same kind of processor.

    Parameters
    ----------
    log : Interactions
    spec : SkipGram
    progress : callable
        Called with the share that is completed.

    Returns
    -------
    array of shape (n, spec.size), float32
        Row i is the vector of the item with code i; zeros for an item that is too rare or was never in a pair.

    Raises
    ------
    DataError
        When no list has two items that get a vector.
    ConfigError
        When the learning rate is so high that the vectors overflow.
    """
    kernels = compiled("compiled_embeddings")
    counts = count_items(log).astype(np.int64)
    # Codes are by descending frequency, or nearly so in a log whose end was cut off.
    is_rare = counts < spec.min_count
    n_vectors = min(spec.most_items, int(np.flatnonzero(~is_rare).max(initial=-1)) + 1)
    starts, items = _training_lists(kernels, log, spec, n_vectors)
    training_counts = np.bincount(items, minlength=n_vectors)
    if not _has_pair(starts, items):
        raise DataError(
            f"no list has two different items of {spec.min_count} or more events each: there is nothing to learn from"
        )
    rng = np.random.default_rng(spec.seed)
    # As in word2vec: small random contexts, and targets of zeros.
    contexts = ((rng.random((n_vectors, spec.size), np.float32) - 0.5) / spec.size).astype(np.float32)
    vectors = kernels.Vectors(contexts, np.zeros_like(contexts), np.zeros(n_vectors, np.uint8))
    parameters = _parameters(kernels, spec, training_counts)
    longest = int(np.diff(starts).max())
    buffers = (
        np.empty(longest, np.int32),
        np.empty(2 * spec.window + 1, np.int32),
        np.empty((2 * spec.window + 1, spec.size), np.float32),
    )
    state, n_trained = rng.integers(0, 1 << 63, 1, np.uint64), 0
    bounds = np.searchsorted(starts, np.linspace(0, len(items), PARTS + 1))
    for epoch in range(spec.epochs):
        for part in range(PARTS):
            first, end = bounds[part], bounds[part + 1]
            n_trained = kernels.train((starts, items), first, end, n_trained, parameters, vectors, state, buffers)
            progress((epoch * PARTS + part + 1) / (PARTS * spec.epochs))
    if not np.isfinite(contexts).all():
        raise ConfigError(
            f"embeddings: learning_rate = {spec.learning_rate!r}: the training diverged",
            hint="try a tenth of it",
        )
    contexts[(vectors.had_pair == 0) | is_rare[:n_vectors]] = 0
    return contexts


def nearest_items(
    vectors: npt.NDArray[np.float32], n_items: int, top: int, *, chunk: int = CHUNK, threads: int | None = None
) -> Neighbours:
    """Return the items whose vectors have the largest cosines with each item's own.

    The search is exact; its memory is bounded by some thousand times `chunk` numbers.

    Parameters
    ----------
    vectors : array of shape (n, size)
        The vectors of the first `n` items; all zeros for an item without one.
    n_items : int
        The number of items of the log; those without a vector neither have nor are neighbours.
    top : int
        The number of neighbours, ties by the more frequent item.
    chunk, threads : int
        They do not change the result.

    Returns
    -------
    Neighbours
        The weights are cosines.
    """
    if top < 1:
        raise ConfigError(f"embeddings: top = {top!r}: expected 1 or more")
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))[:, None]
    unit = (vectors / np.where(norms > 0, norms, 1.0)).astype(np.float32)
    n = len(unit)
    itself = (np.arange(n + 1), np.arange(n, dtype=np.int32))
    codes, cosines = best_products(unit, unit, top, excluded=itself, chunk=chunk, threads=threads)
    items, weights = np.full((n_items, top), -1, np.int32), np.zeros((n_items, top))
    items[:n], weights[:n] = codes, cosines
    return Neighbours(items, weights)


def _training_lists(
    kernels: Any, log: Interactions, spec: SkipGram, n_vectors: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return where each list to train on begins, and the items of all of them."""
    arguments = (log.starts, log.items, spec.last, n_vectors)
    n_lists, n_events = kernels.pack_lists(*arguments, np.empty(0, np.int64), np.empty(0, np.int32))
    starts, items = np.zeros(n_lists + 1, np.int64), np.empty(n_events, np.int32)
    kernels.pack_lists(*arguments, starts, items)
    return starts, items


def _has_pair(starts: npt.NDArray[np.int64], items: npt.NDArray[np.int32]) -> bool:
    """Return whether a list has two different items, that is, two adjacent ones that differ."""
    if not len(items):
        return False
    differs = items[1:] != items[:-1]
    differs[starts[1:-1] - 1] = False
    return bool(differs.any())


def _parameters(kernels: Any, spec: SkipGram, counts: npt.NDArray[np.int64]) -> Any:
    frequency_ratio = spec.sample * counts.sum() / np.maximum(counts, 1)
    keep_share = np.minimum(np.sqrt(frequency_ratio) + frequency_ratio, 1.0) if spec.sample else np.ones(len(counts))
    sigmoid_inputs = np.linspace(-kernels.SIGMOID_LIMIT, kernels.SIGMOID_LIMIT, kernels.SIGMOID_SIZE)
    return kernels.Parameters(
        window=spec.window,
        negatives=spec.negatives,
        first_rate=spec.learning_rate,
        last_rate=spec.learning_rate * LAST_RATE,
        n_events=int(counts.sum()) * spec.epochs,
        keep_chances=(keep_share * 0xFFFFFFFF).astype(np.uint64),
        aliases=alias_table(counts.astype(np.float64) ** 0.75),
        sigmoid_table=(1 / (1 + np.exp(-sigmoid_inputs))).astype(np.float32),
    )


def alias_table(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """Return an alias table for weighted sampling in constant time (Walker 1977; Vose 1991, IEEE TSE 17(9)).

    The upper half of each row is the probability of the row's own item times 2**32, the lower half the other item.

    Parameters
    ----------
    weights : float array (n_items,)
        At least 0, and not all 0.

    Returns
    -------
    uint64 array (n_items,)
    """
    n = len(weights)
    chances = (weights * (n / weights.sum())).tolist()
    alias = list(range(n))
    small = [i for i in range(n) if chances[i] < 1]
    large = [i for i in range(n) if chances[i] >= 1]
    while small and large:
        below, above = small.pop(), large[-1]
        alias[below] = above
        chances[above] -= 1 - chances[below]
        if chances[above] < 1:
            small.append(large.pop())
    for i in (*small, *large):
        chances[i] = 1.0
    chance_bits = (np.array(chances) * 0xFFFFFFFF).astype(np.uint64)
    return chance_bits << np.uint64(32) | np.array(alias, np.uint64)
