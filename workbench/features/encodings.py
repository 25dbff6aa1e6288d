"""Fold-safe encodings: statistics of the target that no row learns from its own label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workbench.cache import content_key
from workbench.errors import FeatureError
from workbench.features.definition import FoldFeature

__all__ = ["Split", "TargetMean", "target_mean"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """What an encoding needs to know of the folds.

    Attributes
    ----------
    valid : int array (n_train,)
        The fold that validates the row, -1 for none.
    train : bool array (k, n_train), or None
        Whether fold k trains on the row; None: on all that it does not validate.
    time : array (n_train,), or None
        The time of each row where the folds go forward in time: then a row may learn only from earlier rows.
    """

    valid: npt.NDArray[np.int16]
    train: npt.NDArray[np.bool_] | None = None
    time: npt.NDArray[np.float64] | npt.NDArray[np.int64] | None = None

    def seen(self, fold: int) -> npt.NDArray[np.bool_]:
        """Return which train rows the model of `fold` may learn from, (n_train,)."""
        seen: npt.NDArray[np.bool_] = self.valid != fold if self.train is None else self.train[fold]
        return seen


class TargetMean(FoldFeature):
    """The smoothed mean of the target over the rows of the same group; made by `target_mean`."""

    def __init__(self, columns: tuple[str, ...], smoothing: float) -> None:
        self.columns = columns
        self.smoothing = smoothing

    @property
    def key(self) -> str:
        """The content key of the definition."""
        return content_key("target_mean", list(self.columns), float(self.smoothing))

    def encode(self, groups: Ints, target: Floats, split: Split, fold: int) -> npt.NDArray[np.float32]:
        """Compute the columns that the model of one fold is trained and validated with.

        Parameters
        ----------
        groups : int array (n_rows,)
            The group of each row, train first, from 0 up.
        target : float array (n_train, width)
            One column for a number or a binary target, one per class for a multiclass one.
        split : Split
        fold : int

        Returns
        -------
        float32 array (n_rows, width)
            Validated, unseen and test rows: from all rows that the fold trains on. Rows that it trains on: from those
            of them in other folds (nested), or, where time matters, from those strictly earlier.
        """
        n_train = len(target)
        seen = np.flatnonzero(split.seen(fold))
        n_groups = int(groups.max()) + 1
        sums = _group_sums(groups[seen], target[seen], n_groups)
        result = self._mean(sums[groups], sums.sum(axis=0))
        inner = self._past if split.time is not None else self._nested
        result[seen] = inner(groups[:n_train], target, split, seen)
        return result.astype(np.float32)

    def _mean(self, sums: Floats, totals: Floats) -> Floats:
        # The last column of `sums` and `totals` is the count. The prior is the mean over the same rows: a prior from
        # all rows would carry a trace of the row's own label.
        count, total = sums[..., -1:], np.maximum(totals[..., -1:], 1.0)
        prior = totals[..., :-1] / total
        return (sums[..., :-1] + self.smoothing * prior) / np.maximum(count + self.smoothing, 1e-12)

    def _nested(self, groups: Ints, target: Floats, split: Split, seen: Ints) -> Floats:
        parts = _inner_parts(split)[seen]
        n_parts, n_groups = int(parts.max()) + 1, int(groups.max()) + 1
        cells = _group_sums(parts * n_groups + groups[seen], target[seen], n_parts * n_groups)
        cells = cells.reshape(n_parts, n_groups, -1)
        others = cells.sum(axis=0, keepdims=True) - cells
        return self._mean(others[parts, groups[seen]], others.sum(axis=1)[parts])

    def _past(self, groups: Ints, target: Floats, split: Split, seen: Ints) -> Floats:
        time = np.asarray(split.time)[seen]
        weighted = np.column_stack([target[seen], np.ones(len(seen))])
        of_group = _sums_before(groups[seen], time, weighted)
        of_all = _sums_before(np.zeros(len(seen), np.int64), time, weighted)
        return self._mean(of_group, of_all)


def _group_sums(groups: Ints, target: Floats, n_groups: int) -> Floats:
    """Return (n_groups, width + 1): the sums of the target's columns and, last, the count."""
    columns = [np.bincount(groups, weights=column, minlength=n_groups) for column in target.T]
    return np.column_stack([*columns, np.bincount(groups, minlength=n_groups)])


def _inner_parts(split: Split) -> Ints:
    # Rows of one fold share a part, so a group or a time block that the folds keep together stays together here.
    # Where the rows that are trained on are not other folds' rows, a fixed split in five takes their place.
    rows = np.arange(len(split.valid))
    if split.train is None:
        return np.where(split.valid < 0, split.valid.max() + 1 + rows % 2, split.valid).astype(np.int64)
    return np.random.default_rng(0).integers(0, 5, len(rows))


def _sums_before(groups: Ints, time: npt.NDArray[np.float64] | npt.NDArray[np.int64], values: Floats) -> Floats:
    """Return, for each row, the sums of `values` over the rows of its group that are strictly earlier."""
    order = np.lexsort((time, groups))
    g, t, v = groups[order], time[order], values[order]
    running = np.cumsum(v, axis=0) - v
    new_group = np.concatenate([[True], g[1:] != g[:-1]])
    new_time = new_group | np.concatenate([[True], t[1:] != t[:-1]])
    first_of_group = np.maximum.accumulate(np.where(new_group, np.arange(len(g)), 0))
    first_of_time = np.maximum.accumulate(np.where(new_time, np.arange(len(g)), 0))
    result = np.empty_like(running)
    result[order] = running[first_of_time] - running[first_of_group]
    return result


def target_mean(*columns: str, smoothing: float = 20.0) -> TargetMean:
    """Encode a group by the smoothed mean of the target over its rows, without a row ever seeing its own label.

    The value is ``(sum + smoothing * prior) / (count + smoothing)`` (Micci-Barreca 2001), with the prior and the sums
    taken over the rows that the fold trains on; for a row that is itself trained on, over those in other folds, or, in
    a "time" scheme, over the strictly earlier ones. For a multiclass target there is one column per class.

    Parameters
    ----------
    *columns : str
        The group: columns of ``rows``, or ``"feature.column"`` of another feature. Null is a group like any other.
    smoothing : float
        How many rows the prior weighs; 0 for the plain mean.

    Examples
    --------
    In ``features.py``, where the name on the left becomes the feature's and the column's name::

        te_route = target_mean("origin", "dest", smoothing=50)
    """
    if not columns or smoothing < 0:
        raise FeatureError(f"target_mean needs at least one column and smoothing >= 0, got {columns}, {smoothing}")
    return TargetMean(columns, smoothing)
