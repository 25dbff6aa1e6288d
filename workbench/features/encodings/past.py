"""What a row may know where time matters: the rows of its group that are earlier, and nothing of the later ones.

The rows lie sorted by group and time, so that the past of a row is a stretch of them. Running sums start anew in each
group: a difference of sums over all groups would carry the rounding of labels that are later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.features.encodings.summaries import Summary

__all__ = ["Past", "past_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Past:
    """The past of each row.

    Attributes
    ----------
    order : int array (n,)
        The rows sorted by group, then time.
    group : int array (n,)
        The group of each, in that order.
    start, end : int array (n,)
        For each row, in the order of the rows: where in `order` its past starts and ends.
    """

    order: Ints
    group: npt.NDArray[np.integer[Any]]
    start: Ints
    end: Ints

    @property
    def counts(self) -> Ints:
        """How many rows are in the past of each row."""
        return self.end - self.start

    def summary(self, values: Floats, needs: frozenset[str]) -> Summary:
        """Return the summary of the values in the past of each row, (n,)."""
        ordered = values[self.order]
        summary: Summary = {"n": self.counts}
        if "sum" in needs:
            summary["sum"] = self._running(ordered, "cum_sum")
        if "min" in needs:
            summary["min"] = self._running(ordered, "cum_min", np.inf)
        if "max" in needs:
            summary["max"] = self._running(ordered, "cum_max", -np.inf)
        if "mean" in needs:
            summary |= self._moments(ordered, third="m3" in needs)
        return summary

    def _moments(self, ordered: Floats, *, third: bool) -> Summary:
        # Powers of the distance from the group's earliest value: near enough to the mean that little cancels, and
        # known to every row that has a past.
        n = np.maximum(self.counts, 1)
        origin = np.where(self.counts > 0, ordered[np.minimum(self.start, len(ordered) - 1)], 0.0)
        first = np.concatenate([[True], self.group[1:] != self.group[:-1]])[: len(ordered)]
        away = ordered - ordered[np.maximum.accumulate(np.where(first, np.arange(len(ordered)), 0))]
        s1, s2 = (self._running(away**power, "cum_sum") for power in (1, 2))
        shift = s1 / n
        moments: Summary = {"mean": origin + shift, "m2": s2 - s1 * shift}
        # What is left of equal values by rounding, on either side of 0, is no spread.
        moments["m2"][moments["m2"] <= 1e-13 * s2] = 0.0
        if third:
            s3 = self._running(away**3, "cum_sum")
            moments["m3"] = s3 - 3 * shift * s2 + 2 * n * shift**3
        return moments

    def _running(self, ordered: Floats, method: str, of_nothing: float = 0.0) -> Floats:
        frame = pl.DataFrame({"group": self.group, "value": ordered})
        running = frame.select(getattr(pl.col("value"), method)().over("group"))["value"].to_numpy()
        result = np.full(len(ordered), of_nothing)
        has_past = self.counts > 0
        result[has_past] = running[self.end[has_past] - 1]
        return result


def past_of(groups: npt.NDArray[np.integer[Any]], rank: Ints, before: Ints) -> Past:
    """Return the past of each row: the rows of its group whose time has a rank lower than its `before`.

    Parameters
    ----------
    groups : int array (n,)
    rank : int array (n,)
        The rank of the row's time.
    before : int array (n,)
        The lowest rank that the row may not know of.
    """
    n_ranks = int(rank.max(initial=0)) + 1
    base = groups.astype(np.int64) * n_ranks
    key = base + rank
    order = np.argsort(key, kind="stable")
    placed, sorted_base = key[order], base[order]
    start, end = np.empty_like(key), np.empty_like(key)
    start[order] = np.searchsorted(placed, sorted_base)
    end[order] = np.searchsorted(placed, sorted_base + before[order])
    return Past(order, groups[order], start, end)
