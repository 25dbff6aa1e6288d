"""Co-visitation: which items occur together in the lists of users or sessions, and how strongly."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import ConfigError, did_you_mean
from workbench.core.threads import available_cores
from workbench.recommender.extra import compiled
from workbench.recommender.interactions import MAX_KINDS, Interactions, kind_codes, kind_weights

__all__ = ["UNIT", "Covisit", "Neighbours", "count_covisits"]

UNIT = 1024
"""The number of units in a weight of 1. Weights are whole numbers of units, so that sums are exact in any order."""

PARTS = 64
"""The number of parts that the threads take their work from."""

DIRECTIONS = ("both", "after", "before")
NORMALISE = ("none", "cosine")
UNLIMITED_S = 1 << 40
"""More than any difference of two times, which have 32 bits."""


@dataclass(frozen=True)
class Covisit:
    """The parameters of co-visitation.

    A pair of events in a list, of items a and b, makes b a neighbour of a with the weight of the kind of b's event,
    divided by 1 + gap / `decay_s` and rounded to 1/1024. Of several pairs of the same two items in a list the largest
    weight counts. The weight of two items is the sum over the lists; with `normalise` = "cosine" it is divided by the
    square root of the product of the numbers of lists with each of them. With weights of 1 that is the cosine of the
    columns of the list-item matrix.

    Attributes
    ----------
    last : int
        The number of a list's last events that count.
    window_s : int, optional
        The longest gap between the two events in seconds; None for any.
    direction : str
        ``"both"``; ``"after"``: b must not be earlier than a; ``"before"``: b must not be later. Events of the same
        second are neither earlier nor later.
    weights : dict
        The weight by kind; 1 for a kind that is not named.
    kinds : tuple of str, optional
        Only events of these kinds count, for a and for b; None for all.
    decay_s : float, optional
        The gap at which a pair has half its weight.
    top : int
        The number of neighbours, ties by the more frequent item.
    normalise : str
        ``"none"`` or ``"cosine"``.
    """

    last: int = 30
    window_s: int | None = 24 * 3600
    direction: str = "both"
    weights: Mapping[str, float] = field(default_factory=dict)
    kinds: tuple[str, ...] | None = None
    decay_s: float | None = None
    top: int = 20
    normalise: str = "none"

    def __post_init__(self) -> None:
        for name in ("last", "window_s", "top"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"covisit: {name} = {value!r}: expected 1 or more")
        for name, valid in (("direction", DIRECTIONS), ("normalise", NORMALISE)):
            value = getattr(self, name)
            if value not in valid:
                raise ConfigError(
                    f"covisit: {name} = {value!r}: expected one of {', '.join(valid)}",
                    hint=did_you_mean(value, valid, kind=name),
                )
        for kind, weight in self.weights.items():
            if not 0 <= weight <= 1_000_000:
                raise ConfigError(f"covisit: weights.{kind} = {weight!r}: expected a number from 0 to a million")
        if self.decay_s is not None and not self.decay_s > 0:
            raise ConfigError(f"covisit: decay_s = {self.decay_s!r}: expected more than 0")


@dataclass(frozen=True)
class Neighbours:
    """The strongest neighbours of every item, in descending order.

    Attributes
    ----------
    items : array of shape (n_items, top), int32
        Codes; -1 where there are no more.
    weights : array of shape (n_items, top), float64
    """

    items: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float64]

    def frame(self, log: Interactions) -> pl.DataFrame:
        """Return the neighbours as a frame of ids: item, neighbour, weight, rank from 1."""
        is_neighbour = self.items >= 0
        item, rank = np.nonzero(is_neighbour)
        ids = log.item_ids.values
        return pl.DataFrame(
            {
                "item": ids.gather(item),
                "neighbour": ids.gather(self.items[is_neighbour]),
                "weight": self.weights[is_neighbour],
                "rank": rank + 1,
            }
        )


def count_covisits(
    log: Interactions,
    covisit: Covisit,
    *,
    threads: int | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Neighbours:
    """Count co-visits and return each item's neighbours.

    The result is the same, to the last digit, whatever the number of threads.

    Parameters
    ----------
    log : Interactions
    covisit : Covisit
    threads : int, optional
        Default: all available cores.
    progress : callable
        Called with the completed share.

    Raises
    ------
    ConfigError
        When the log has no kind of that name.
    """
    kernels = compiled("compiled_covisit")
    kind_units, kind_counts = _kind_units(log, covisit)
    counted_units = kind_units[: len(log.kind_ids)][kind_counts[: len(log.kind_ids)] > 0]
    shared_units = int(counted_units[0]) if len(counted_units) else 0
    has_equal_weights = covisit.decay_s is None and shared_units > 0 and bool((counted_units == shared_units).all())
    index = _index(kernels, log, kind_counts, covisit.last)
    window_s = min(covisit.window_s or UNLIMITED_S, UNLIMITED_S)
    rule = kernels.Rule(
        back_s=0 if covisit.direction == "after" else window_s,
        ahead_s=0 if covisit.direction == "before" else window_s,
        kind_units=kind_units,
        decay_s=float(covisit.decay_s or 0.0),
        units_per_pair=shared_units if has_equal_weights else 1,
        unit=UNIT,
        n_lists=_lists_per_item(kernels, index, log.n_items)
        if covisit.normalise == "cosine"
        else np.empty(0, np.int64),
    )
    items = np.full((log.n_items, covisit.top), -1, np.int32)
    strengths = np.zeros((log.n_items, covisit.top))
    # Parts of about equally many events; those with the most frequent items have few items.
    bounds = np.searchsorted(index.starts, np.linspace(0, len(index.words), PARTS + 1))
    bounds[0], bounds[-1] = 0, log.n_items
    thread_state = threading.local()
    finished_parts = []

    def count_part(part: int) -> None:
        if not hasattr(thread_state, "cells"):
            cells = np.zeros(log.n_items if has_equal_weights else (log.n_items, 2), np.int64)
            thread_state.cells = kernels.Cells(cells, np.empty(log.n_items + 1, np.int32))
        first, end = int(bounds[part]), int(bounds[part + 1])
        kernels.strongest(index, rule, thread_state.cells, first, end, items, strengths)
        finished_parts.append(part)
        progress(len(finished_parts) / PARTS)

    with ThreadPoolExecutor(threads or available_cores()) as pool:
        list(pool.map(count_part, range(PARTS)))
    return Neighbours(items, strengths)


def _index(kernels: Any, log: Interactions, kind_counts: npt.NDArray[np.uint8], last: int) -> Any:
    """Return the `Index` of the last events of every list."""
    events = (log.starts, log.items, log.times, log.kinds)
    # Pages that are never written take no memory.
    words = np.empty(len(log), np.uint64)
    n_events = kernels.pack(events, kind_counts, min(last, len(log)), words)
    words = words[:n_events]
    starts = np.zeros(log.n_items + 1, np.int64)
    positions = np.empty(n_events, np.int32 if n_events < 1 << 31 else np.int64)
    kernels.index_items(words, starts, positions)
    return kernels.Index(words, starts, positions)


def _lists_per_item(kernels: Any, index: Any, n_items: int) -> npt.NDArray[np.int64]:
    n_lists = np.zeros(n_items, np.int64)
    kernels.count_lists(index, n_lists)
    return n_lists


def _kind_units(log: Interactions, covisit: Covisit) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Return the weight of each kind in units, and 1 for each kind that counts."""
    weights = kind_weights(log, covisit.weights, "covisit: ")
    codes = range(len(weights)) if covisit.kinds is None else kind_codes(log, covisit.kinds, "covisit: ")
    kind_units, kind_counts = np.zeros(MAX_KINDS + 1, np.int64), np.zeros(MAX_KINDS + 1, np.uint8)
    kind_units[: len(weights)] = np.floor(weights * UNIT + 0.5)
    kind_counts[list(codes)] = 1
    return kind_units, kind_counts
