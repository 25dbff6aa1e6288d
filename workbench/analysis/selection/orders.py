"""Orders for shuffling values: by single rows, or by the units that the folds keep together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.experiments.ready import ReadyExperiment
from workbench.metrics.dependence import correlation_length, moved_blocks, moved_units
from workbench.models.folds import group_column, time_column

__all__ = ["ColumnOrders", "Units", "shuffled_order", "units_of"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LEAST_BLOCKS = 4
"""The fewest time blocks of a fold, however long the autocorrelation."""


@dataclass(frozen=True)
class Units:
    """The units that the folds keep together.

    Attributes
    ----------
    kind : str
        "rows" where they split single rows, "groups", or "times".
    codes : array (n_train,)
        Each train row's group or time.
    """

    kind: str
    codes: npt.NDArray[np.generic]


def units_of(experiment: ReadyExperiment) -> Units:
    """Return the units that the folds of an experiment keep together."""
    competition = experiment.competition
    kind = "rows"
    codes: npt.NDArray[np.generic] = np.arange(competition.n_train)
    if (groups := group_column(competition)) is not None:
        kind, codes = "groups", groups
    elif competition.definition.cv.scheme == "time":
        kind, codes = "times", np.unique(time_column(competition)[0], return_inverse=True)[1]
    return Units(kind, codes if experiment.rows is None else codes[experiment.rows])


class ColumnOrders:
    """Orders that shuffle a column among the validated rows of a fold and preserve its own structure.

    Where folds keep groups together, whole groups are moved. Where they go forward in time, blocks of times are, as
    long as the shorter autocorrelation of the column and the target: without any, no blocks are needed.

    Parameters
    ----------
    experiment : ReadyExperiment
    units : Units
    fold, seed : int
    """

    def __init__(self, experiment: ReadyExperiment, units: Units, fold: int, seed: int) -> None:
        problem = experiment.problem
        self.kind, self.fold, self.seed = units.kind, fold, seed
        rows = problem.folds.valid_rows(fold)
        self.codes = units.codes[rows]
        self._longest = 1
        if self.kind == "times":
            values = (np.asarray(c.values, float)[rows] for c in problem.target.columns)
            self._longest = _limited(max(correlation_length(v, self.codes) for v in values), self.codes)
        self._orders: dict[tuple[int, int], Ints] = {}

    def order(self, columns: Sequence[pl.Series], repeat: int) -> Ints:
        """Return the row from which each row gets its values, for columns that are shuffled together."""
        length = 1
        if self._longest > 1:
            length = min(self._longest, max(correlation_length(_numbers(c), self.codes) for c in columns))
        if (repeat, length) not in self._orders:
            rng = np.random.default_rng([self.seed, self.fold, repeat])
            self._orders[repeat, length] = self._drawn(length, rng)
        return self._orders[repeat, length]

    def _drawn(self, length: int, rng: np.random.Generator) -> Ints:
        if self.kind == "rows":
            return rng.permutation(len(self.codes))
        return moved_units(self.codes, rng) if self.kind == "groups" else moved_blocks(self.codes, length, rng)


def _limited(length: int, times: npt.NDArray[np.generic]) -> int:
    return min(length, max(1, len(np.unique(times)) // LEAST_BLOCKS))


def _numbers(column: pl.Series) -> Floats:
    """Return a column as numbers; for a category its codes, as they are only compared with themselves."""
    physical = column.to_physical() if column.dtype in (pl.Categorical, pl.Enum) else column
    return physical.cast(pl.Float64, strict=False).to_numpy().astype(float)


def shuffled_order(experiment: ReadyExperiment, seed: int) -> Callable[[int], Ints]:
    """Return a function from a shuffle's number to the row whose target each train row gets.

    Targets are shuffled within folds, so that every fold keeps its own and, in time, its level. Where folds keep groups
    together, each group gets the targets of another, so that targets that are alike within a group stay alike; where
    folds go forward in time, blocks as long as the target's autocorrelation do.
    """
    problem, units = experiment.problem, units_of(experiment)
    valid = problem.folds.valid
    rows_of_folds = [np.flatnonzero(valid == fold) for fold in np.unique(valid)]
    lengths = [1] * len(rows_of_folds)
    if units.kind == "times":
        for i, rows in enumerate(rows_of_folds):
            values = (np.asarray(c.values, float)[rows] for c in problem.target.columns)
            longest = max(correlation_length(v, units.codes[rows]) for v in values)
            lengths[i] = _limited(longest, units.codes[rows])

    def order_of(shuffle: int) -> Ints:
        rng = np.random.default_rng([seed, shuffle])
        order = np.arange(len(valid))
        for rows, length in zip(rows_of_folds, lengths, strict=True):
            if units.kind == "rows":
                order[rows] = rng.permutation(rows)
            elif units.kind == "groups":
                order[rows] = rows[moved_units(units.codes[rows], rng)]
            else:
                order[rows] = rows[moved_blocks(units.codes[rows], length, rng)]
        return order

    return order_of
