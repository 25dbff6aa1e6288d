"""Statistics of the earlier rows of each row's group, for folds in time.

Rows are sorted by group and time, so that the past of a row is a contiguous range. Running sums start at 0 in each
group: differences of sums over all groups would contain rounding errors of later labels, and so leak them.
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
        The group of each row in `order`.
    start, end : int array (n,)
        The range of each row's past in `order`; these arrays are in the original order of the rows.
    """

    order: Ints
    group: npt.NDArray[np.integer[Any]]
    start: Ints
    end: Ints

    @property
    def counts(self) -> Ints:
        """The number of rows in the past of each row."""
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
        # Powers of the distance from the first value of the group, which every past contains. It is close enough to the
        # mean to avoid cancellation.
        n = np.maximum(self.counts, 1)
        origin = np.where(self.counts > 0, ordered[np.minimum(self.start, len(ordered) - 1)], 0.0)
        is_first = np.concatenate([[True], self.group[1:] != self.group[:-1]])[: len(ordered)]
        distance = ordered - ordered[np.maximum.accumulate(np.where(is_first, np.arange(len(ordered)), 0))]
        s1, s2 = (self._running(distance**power, "cum_sum") for power in (1, 2))
        shift = s1 / n
        moments: Summary = {"mean": origin + shift, "m2": s2 - s1 * shift}
        # Rounding errors of equal values are no variance.
        moments["m2"][moments["m2"] <= 1e-13 * s2] = 0.0
        if third:
            s3 = self._running(distance**3, "cum_sum")
            moments["m3"] = s3 - 3 * shift * s2 + 2 * n * shift**3
        return moments

    def _running(self, ordered: Floats, method: str, empty_value: float = 0.0) -> Floats:
        frame = pl.DataFrame({"group": self.group, "value": ordered})
        running = frame.select(getattr(pl.col("value"), method)().over("group"))["value"].to_numpy()
        result = np.full(len(ordered), empty_value)
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
        The lowest rank that is not in the past of the row.
    """
    n_ranks = int(rank.max(initial=0)) + 1
    base = groups.astype(np.int64) * n_ranks
    key = base + rank
    order = np.argsort(key, kind="stable")
    sorted_key, sorted_base = key[order], base[order]
    start, end = np.empty_like(key), np.empty_like(key)
    start[order] = np.searchsorted(sorted_key, sorted_base)
    end[order] = np.searchsorted(sorted_key, sorted_base + before[order])
    return Past(order, groups[order], start, end)
