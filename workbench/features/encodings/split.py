"""The rows that each row may learn from: folds divided into units whose rows are treated alike."""

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
"""The number of parts that train rows are divided into if the folds do not divide them."""

MAX_UNITS = 64
"""Up to this many units are shared by all folds; irregular `train` masks give more."""


@dataclass(frozen=True)
class Split:
    """The folds, as far as encodings depend on them.

    Attributes
    ----------
    valid : int array (n_train,)
        The fold that validates the row, -1 for none.
    train : bool array (k, n_train), or None
        Whether fold k trains on the row; None if it trains on all rows that it does not validate.
    time : array (n_train,), or None
        The time of each row if the folds are in time: a row then learns from earlier rows only. NaN counts as the
        latest, so that no row learns from it.
    horizon : float
        The sum of gap and purge of the folds, in the unit of `time`: a row at time t learns from rows with
        ``time + horizon <= t``, like a validation row; if 0, from rows with ``time < t``.
    groups : int array (n_train,), or None
        Rows of the same group are in one fold, and never learn from each other.
    """

    valid: npt.NDArray[np.int16]
    train: Bools | None = None
    time: npt.NDArray[np.float64] | npt.NDArray[np.int64] | None = None
    horizon: float = 0.0
    groups: npt.NDArray[np.integer[Any]] | None = None

    def in_training(self, fold: int) -> Bools:
        """Return the mask of the rows that `fold` trains on, (n_train,)."""
        in_training: Bools = self.valid != fold if self.train is None else self.train[fold]
        return in_training

    def take(self, rows: Ints) -> Split:
        """Return the split of some rows, in their order."""
        train = None if self.train is None else self.train[:, rows]
        time = None if self.time is None else self.time[rows]
        groups = None if self.groups is None else self.groups[rows]
        return Split(self.valid[rows], train, time, self.horizon, groups)

    def with_full_fold(self) -> Split:
        """Return the split with an additional last fold that trains on all rows."""
        folds = [self.in_training(fold) for fold in range(int(self.valid.max(initial=-1)) + 1)]
        return replace(self, train=np.stack([*folds, np.ones(len(self.valid), np.bool_)]))

    def units(self, fold: int) -> Units:
        """Return the units of the train rows: shared by all folds if they are few, else those of `fold`."""
        parts, units = self._parts_and_units
        if len(units.part) <= max(MAX_UNITS, int(units.part.max(initial=0)) + 1):
            return units
        return _units_of(parts, [] if self.train is None else [self.train[fold]])

    @cached_property
    def _parts_and_units(self) -> tuple[Ints, Units]:
        """The part of each row, and the units that all folds share.

        A train row learns from rows of other parts. A part is the validation rows of a fold, so that groups and time
        blocks stay together. Rows that no fold validates are divided into parts at random. If a fold would train on a
        single part, as each of two folds does, all parts are divided further.
        """
        masks = [] if self.train is None else list(self.train)
        n_folds = int(self.valid.max(initial=-1)) + 1
        parts = self.valid.astype(np.int64)
        is_loose = parts < 0
        parts[is_loose] = n_folds
        if self.time is None and is_loose.any():
            parts[is_loose] += self._random_parts()[is_loose]
        units = _units_of(parts, masks)
        if self.time is None and any(len(units.sets(self, k).parts) < 2 for k in range(n_folds)):
            parts[is_loose] = n_folds
            parts = parts * INNER_PARTS + self._random_parts()
            units = _units_of(parts, masks)
        return parts, units

    def _random_parts(self) -> Ints:
        rng = np.random.default_rng(0)
        if self.groups is None:
            return rng.permutation(len(self.valid)) % INNER_PARTS
        names, codes = np.unique(self.groups, return_inverse=True)
        random_parts: Ints = (rng.permutation(len(names)) % INNER_PARTS)[codes]
        return random_parts

    # --------------------------------------------------------------------------------------------------------- time

    @cached_property
    def ranks(self) -> tuple[Ints, Ints]:
        """The rank of each row's time, and the lowest rank that the row must not learn from; arrays (n_train,)."""
        values, rank = np.unique(np.asarray(self.time), return_inverse=True)
        if not self.horizon:
            return rank, rank
        # The same comparison as in the folds, for equal rounding.
        first_unseen = np.searchsorted(values + self.horizon, values, side="right")
        return rank, np.minimum(first_unseen, np.arange(len(values)))[rank]

    def is_prefix(self, fold: int) -> bool:
        """Tell whether `fold` trains on all rows up to a time; the past of a row is then the same in all such folds."""
        in_training, (rank, _) = self.in_training(fold), self.ranks
        return bool((in_training == (rank <= rank[in_training].max(initial=-1))).all())


@dataclass(frozen=True)
class LearningSets:
    """The sets of units that the rows of one fold learn from.

    Attributes
    ----------
    parts : tuple of int arrays
        The units that the fold trains on, by part.
    set_of_unit : int array (n_units + 1,)
        The set that each unit learns from: 0 is all units in `parts`, i is all but those of part i - 1. The last
        element is the set of the test rows.
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
    """Units of train rows: the rows of a unit are in the same part, and the same folds train on them.

    Attributes
    ----------
    unit : int array (n_train,)
        The unit of each row.
    part : int array (n_units,)
        The part of each unit.
    first_row : int array (n_units,)
        The first row of each unit.
    """

    unit: npt.NDArray[np.int32]
    part: Ints
    first_row: Ints

    def sets(self, split: Split, fold: int) -> LearningSets:
        """Return the learning sets of a fold."""
        in_training = split.in_training(fold)[self.first_row]
        parts = [np.flatnonzero(in_training & (self.part == p)) for p in np.unique(self.part[in_training])]
        set_of_unit = np.zeros(len(in_training) + 1, np.int64)
        if split.time is not None:  # train rows learn from their own past instead
            return LearningSets(tuple(parts), set_of_unit, 1)
        for number, units in enumerate(parts):
            set_of_unit[units] = number + 1
        return LearningSets(tuple(parts), set_of_unit, len(parts) + 1)


def _units_of(parts: Ints, masks: list[Bools]) -> Units:
    codes = _dense_codes(parts)
    for mask in masks:
        codes = _dense_codes(codes * 2 + mask)
    first_row = np.empty(int(codes.max(initial=-1)) + 1, np.int64)
    first_row[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return Units(codes.astype(np.int32), parts[first_row], first_row)


def _dense_codes(codes: Ints) -> Ints:
    present = np.bincount(codes) > 0
    dense: Ints = (np.cumsum(present) - 1)[codes]
    return dense
