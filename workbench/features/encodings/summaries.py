"""Summaries of the target values in cells, which can be combined.

They are never subtracted: the rounding error of a difference would leak labels that a row must not use. Learning sets
are summed from cells instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Summary", "combine", "empty_summary", "leave_one_out", "summarise"]

Floats = npt.NDArray[np.float64]
Summary = dict[str, npt.NDArray[Any]]
"""Name -> array with an element per cell. Names are "n", "sum", "mean", "min", "max", and "m2" and "m3", the sums of
the second and third powers of the distance from the mean; only those that are needed."""


def summarise(cells: npt.NDArray[np.int64], values: Floats, n_cells: int, needs: frozenset[str]) -> Summary:
    """Summarise the values of each cell.

    Parameters
    ----------
    cells : int array (n,)
        The cell of each value.
    values : float array (n,)
    n_cells : int
    needs : set of str
        The entries to compute, besides "n".

    Returns
    -------
    dict of arrays (n_cells,)
    """
    counts = np.bincount(cells, minlength=n_cells)
    summary: Summary = {"n": counts.astype(np.int32)}
    if needs & {"sum", "mean"}:
        sums = _sums(cells, values, n_cells)
        if "sum" in needs:
            summary["sum"] = sums
        if "mean" in needs:
            summary["mean"] = sums / np.maximum(counts, 1)
            deviation = values - summary["mean"][cells]
            summary["m2"] = np.bincount(cells, deviation * deviation, n_cells)
            if "m3" in needs:
                summary["m3"] = np.bincount(cells, deviation * deviation * deviation, n_cells)
    for name, ufunc, start in (("min", np.minimum, np.inf), ("max", np.maximum, -np.inf)):
        if name in needs:
            summary[name] = np.full(n_cells, start)
            ufunc.at(summary[name], cells, values)
    return summary


def _sums(cells: npt.NDArray[np.int64], values: Floats, n_cells: int) -> npt.NDArray[Any]:
    is_one = values == 1
    if np.count_nonzero(is_one) + np.count_nonzero(values == 0) == len(values):
        return np.bincount(cells[is_one], minlength=n_cells).astype(np.int32)
    return np.bincount(cells, values, n_cells)


def empty_summary(template: Summary) -> Summary:
    """Return the summary of no values, with the entries and shapes of another."""
    initial = {"min": np.inf, "max": -np.inf}
    return {name: np.full_like(array, initial.get(name, 0)) for name, array in template.items()}


def combine(a: Summary, b: Summary) -> Summary:
    """Return the summary of the values of both summaries.

    Means and moments are combined by the pairwise formulas of Chan, Golub and LeVeque (1979) and, for the third, Pébay
    (2008).
    """
    summary: Summary = {name: a[name] + b[name] for name in ("n", "sum") if name in a}
    if "min" in a:
        summary["min"] = np.minimum(a["min"], b["min"])
    if "max" in a:
        summary["max"] = np.maximum(a["max"], b["max"])
    if "mean" in a:
        n_a, n_b = a["n"].astype(np.float64), b["n"].astype(np.float64)
        n = np.maximum(n_a + n_b, 1.0)
        delta = np.where((n_a > 0) & (n_b > 0), b["mean"] - a["mean"], 0.0)
        summary["mean"] = np.where(n_a > 0, a["mean"] + delta * n_b / n, b["mean"])
        summary["m2"] = a["m2"] + b["m2"] + delta**2 * n_a * n_b / n
        if "m3" in a:
            summary["m3"] = (
                a["m3"]
                + b["m3"]
                + delta**3 * n_a * n_b * (n_a - n_b) / n**2
                + 3 * delta * (n_a * b["m2"] - n_b * a["m2"]) / n
            )
    return summary


def leave_one_out(parts: Sequence[Summary], template: Summary) -> list[Summary]:
    """Return the summary of all parts, then those of all but the first, all but the second, and so on.

    Each is combined from a running summary of the parts before and one of the parts after.

    Parameters
    ----------
    template : Summary
        A summary with the same entries and shapes, used if there are no parts.
    """
    before, after = [empty_summary(template)], [empty_summary(template)]
    for part in parts:
        before.append(combine(before[-1], part))
    for part in reversed(parts):
        after.append(combine(part, after[-1]))
    after.reverse()
    return [before[-1], *(combine(before[i], after[i + 1]) for i in range(len(parts)))]
