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

from workbench.core.errors import ConfigError, near
from workbench.core.threads import available_cores
from workbench.recommender.extra import compiled
from workbench.recommender.interactions import MOST_KINDS, Interactions, kind_codes, kind_weights

__all__ = ["UNIT", "Covisit", "Neighbours", "count_covisits"]

UNIT = 1024
"""A weight of 1 in units. Weights are integers in this unit, so that sums are exact in any order."""

PARTS = 64
DIRECTIONS = ("both", "after", "before")
NORMALISE = ("none", "cosine")
ANY_TIME = 1 << 40


@dataclass(frozen=True)
class Covisit:
    """The definition of a co-visit.

    A pair of events of a list, of two items a and b, counts for b as a neighbour of a: the weight of the kind of b's
    event, divided by 1 + gap / `decay_s`, rounded to 1/1024. Of several pairs of the same items in a list the largest
    weight counts. The weight of two items is the sum over the lists; with `normalise` = "cosine" divided by the square
    root of the product of the numbers of lists with each of them. With weights of 1 that is the cosine of the columns
    of the list-item matrix.

    Attributes
    ----------
    last : int
        The number of a list's last events that count.
    window_s : int, optional
        The longest gap between the two events in seconds; None for any.
    direction : str
        ``"both"``; ``"after"`` where b must not be earlier than a; ``"before"`` where it must not be later. Events of
        the same second are neither.
    weights : dict
        By kind; 1 for a kind that is not named.
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
                    hint=near(value, valid, kind=name),
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
        is_item = self.items >= 0
        item, rank = np.nonzero(is_item)
        ids = log.item_ids.values
        return pl.DataFrame(
            {
                "item": ids.gather(item),
                "neighbour": ids.gather(self.items[is_item]),
                "weight": self.weights[is_item],
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
        Called with the share done.

    Raises
    ------
    ConfigError
        When the log has no such kind.
    """
    run = compiled("compiled_covisit")
    units, counts = _units(log, covisit)
    counted = units[: len(log.kind_ids)][counts[: len(log.kind_ids)] > 0]
    weight_of_all = int(counted[0]) if len(counted) else 0
    is_same = covisit.decay_s is None and weight_of_all > 0 and bool((counted == weight_of_all).all())
    index = _index(run, log, counts, covisit.last)
    window = min(covisit.window_s or ANY_TIME, ANY_TIME)
    rule = run.Rule(
        0 if covisit.direction == "after" else window,
        0 if covisit.direction == "before" else window,
        units,
        float(covisit.decay_s or 0.0),
        weight_of_all if is_same else 1,
        UNIT,
        _lists(run, index, log.n_items) if covisit.normalise == "cosine" else np.empty(0, np.int64),
    )
    items = np.full((log.n_items, covisit.top), -1, np.int32)
    strengths = np.zeros((log.n_items, covisit.top))
    # Parts with equal numbers of events: those of the most frequent items have few items.
    bounds = np.searchsorted(index.starts, np.linspace(0, len(index.words), PARTS + 1))
    bounds[0], bounds[-1] = 0, log.n_items
    thread_state = threading.local()
    done = []

    def count(part: int) -> None:
        if not hasattr(thread_state, "cells"):
            cells = np.zeros(log.n_items if is_same else (log.n_items, 2), np.int64)
            thread_state.cells = run.Cells(cells, np.empty(log.n_items + 1, np.int32))
        run.strongest(index, rule, thread_state.cells, int(bounds[part]), int(bounds[part + 1]), items, strengths)
        done.append(part)
        progress(len(done) / PARTS)

    with ThreadPoolExecutor(threads or available_cores()) as pool:
        list(pool.map(count, range(PARTS)))
    return Neighbours(items, strengths)


def _index(run: Any, log: Interactions, counts: npt.NDArray[np.uint8], last: int) -> Any:
    events = (log.starts, log.items, log.times, log.kinds)
    # Pages that are never written take no memory.
    words = np.empty(len(log), np.uint64)
    n = run.pack(events, counts, min(last, len(log)), words)
    words = words[:n]
    starts, places = np.zeros(log.n_items + 1, np.int64), np.empty(n, np.int32 if n < 1 << 31 else np.int64)
    run.index_items(words, starts, places)
    return run.Index(words, starts, places)


def _lists(run: Any, index: Any, n_items: int) -> npt.NDArray[np.int64]:
    lists = np.zeros(n_items, np.int64)
    run.count_lists(index, lists)
    return lists


def _units(log: Interactions, covisit: Covisit) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Return the weight of each kind in units, and which kinds count."""
    weights = kind_weights(log, covisit.weights, "covisit: ")
    chosen = None if covisit.kinds is None else kind_codes(log, covisit.kinds, "covisit: ")
    units, counts = np.zeros(MOST_KINDS + 1, np.int64), np.zeros(MOST_KINDS + 1, np.uint8)
    units[: len(weights)] = np.floor(weights * UNIT + 0.5)
    counts[np.arange(len(weights)) if chosen is None else chosen] = 1
    return units, counts
