"""Who may learn from whom: the folds, cut into units whose rows are all treated alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LearningSets", "Split", "Units"]

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

INNER_PARTS = 5
"""Into how many parts rows are cut where the folds themselves cut them into one only."""

MAX_UNITS = 64
"""Up to this many units the sums of one pass serve all folds; `train` masks without a pattern give more."""


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
        The time of each row where the folds go forward in time: then a row may learn only from earlier rows. One that
        is unknown (NaN) counts as the latest: nothing learns from that row.
    horizon : float
        In the unit of `time`, the gap and the purge of the folds together: a row at time t learns from rows with
        ``time + horizon <= t``, as a validation row does; 0: from rows with ``time < t``.
    groups : int array (n_train,), or None
        Rows of one group are in one fold, and never learn from each other.
    """

    valid: npt.NDArray[np.int16]
    train: Bools | None = None
    time: npt.NDArray[np.float64] | npt.NDArray[np.int64] | None = None
    horizon: float = 0.0
    groups: npt.NDArray[np.integer[Any]] | None = None

    def in_training(self, fold: int) -> Bools:
        """Return which train rows the model of `fold` may learn from, (n_train,)."""
        in_training: Bools = self.valid != fold if self.train is None else self.train[fold]
        return in_training

    def take(self, rows: Ints) -> Split:
        """Return the split of a subset of the rows, in the given order."""
        train = None if self.train is None else self.train[:, rows]
        time = None if self.time is None else self.time[rows]
        groups = None if self.groups is None else self.groups[rows]
        return Split(self.valid[rows], train, time, self.horizon, groups)

    def with_all(self) -> Split:
        """Return the split with one more fold, the last, that trains on all rows."""
        folds = [self.in_training(fold) for fold in range(int(self.valid.max(initial=-1)) + 1)]
        return replace(self, train=np.stack([*folds, np.ones(len(self.valid), np.bool_)]))

    def units(self, fold: int) -> Units:
        """Return the units of the train rows: the same for all folds where they are few, else those of `fold`."""
        parts, units = self._cut
        if len(units.part) <= max(MAX_UNITS, int(units.part.max(initial=0)) + 1):
            return units
        return _units_of(parts, [] if self.train is None else [self.train[fold]])

    @cached_property
    def _cut(self) -> tuple[Ints, Units]:
        """The part of each row, and the units that are the same for all folds.

        What is trained on learns from rows of other parts. A part is what one fold validates, so that a group or a
        time block that the folds keep together stays together here. Rows that no fold validates are dealt into parts
        of their own; and where a fold would train on a single part, as one of two folds does, all parts are cut
        further.
        """
        masks = [] if self.train is None else list(self.train)
        n_folds = int(self.valid.max(initial=-1)) + 1
        parts = self.valid.astype(np.int64)
        loose = parts < 0
        parts[loose] = n_folds
        if self.time is None and loose.any():
            parts[loose] += self._dealt()[loose]
        units = _units_of(parts, masks)
        if self.time is None and any(len(units.sets(self, k).parts) < 2 for k in range(n_folds)):
            parts[loose] = n_folds
            parts = parts * INNER_PARTS + self._dealt()
            units = _units_of(parts, masks)
        return parts, units

    def _dealt(self) -> Ints:
        rng = np.random.default_rng(0)
        if self.groups is None:
            return rng.permutation(len(self.valid)) % INNER_PARTS
        names, codes = np.unique(self.groups, return_inverse=True)
        dealt: Ints = (rng.permutation(len(names)) % INNER_PARTS)[codes]
        return dealt

    # --------------------------------------------------------------------------------------------------------- time

    @cached_property
    def ranks(self) -> tuple[Ints, Ints]:
        """For each row, the rank of its time, and the lowest rank that it may not learn from: two arrays (n_train,)."""
        values, rank = np.unique(np.asarray(self.time), return_inverse=True)
        if not self.horizon:
            return rank, rank
        # The same comparison as that of the folds, so that both round alike.
        first_unseen = np.searchsorted(values + self.horizon, values, side="right")
        return rank, np.minimum(first_unseen, np.arange(len(values)))[rank]

    def is_prefix(self, fold: int) -> bool:
        """Say whether `fold` trains on all rows up to some time: then the past of a row is the same in every fold."""
        in_training, (rank, _) = self.in_training(fold), self.ranks
        return bool((in_training == (rank <= rank[in_training].max(initial=-1))).all())


@dataclass(frozen=True)
class LearningSets:
    """The sets of units that the rows of one fold learn from.

    Attributes
    ----------
    parts : tuple of int arrays
        The units that the fold trains on, part by part.
    set_of_unit : int array (n_units + 1,)
        0: from all these units; i: from all but those of the part i - 1. The last is that of the test rows.
    n_sets : int
    """

    parts: tuple[Ints, ...]
    set_of_unit: Ints
    n_sets: int

    def members(self, number: int) -> Ints:
        """Return the units of a set."""
        other_parts = [units for i, units in enumerate(self.parts) if i + 1 != number]
        return np.concatenate(other_parts) if other_parts else np.empty(0, np.int64)


@dataclass(frozen=True)
class Units:
    """The train rows in units: rows of the same part, that the same folds train on.

    Attributes
    ----------
    unit : int array (n_train,)
    part : int array (n_units,)
    first_row : int array (n_units,)
        A row of each unit.
    """

    unit: npt.NDArray[np.int32]
    part: Ints
    first_row: Ints

    def sets(self, split: Split, fold: int) -> LearningSets:
        """Return what the rows of each unit learn from in a fold."""
        in_training = split.in_training(fold)[self.first_row]
        parts = [np.flatnonzero(in_training & (self.part == p)) for p in np.unique(self.part[in_training])]
        set_of_unit = np.zeros(len(in_training) + 1, np.int64)
        if split.time is not None:  # what is trained on learns from its own past, row by row
            return LearningSets(tuple(parts), set_of_unit, 1)
        for number, units in enumerate(parts):
            set_of_unit[units] = number + 1
        return LearningSets(tuple(parts), set_of_unit, len(parts) + 1)


def _units_of(parts: Ints, masks: list[Bools]) -> Units:
    codes = _numbered(parts)
    for mask in masks:
        codes = _numbered(codes * 2 + mask)
    first_row = np.empty(int(codes.max(initial=-1)) + 1, np.int64)
    first_row[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return Units(codes.astype(np.int32), parts[first_row], first_row)


def _numbered(codes: Ints) -> Ints:
    present = np.bincount(codes) > 0
    numbered: Ints = (np.cumsum(present) - 1)[codes]
    return numbered
