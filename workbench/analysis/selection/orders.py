"""Orders for shuffling values: of single rows, or of the units that the folds keep together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.experiments.ready import ReadyExperiment
from workbench.metrics.dependence import correlation_length, moved_blocks, moved_units
from workbench.models.folds import group_column, time_column

__all__ = ["ColumnOrders", "ShuffleUnits", "shuffle_units", "shuffled_order"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MIN_BLOCKS = 4
"""The fewest time blocks of a fold, however long the autocorrelation."""


@dataclass(frozen=True)
class ShuffleUnits:
    """The units that the folds keep together.

    Attributes
    ----------
    kind : str
        "rows" if the folds split single rows, "groups" or "times".
    codes : array (n_train,)
        The group or time of each train row, as a number.
    """

    kind: str
    codes: npt.NDArray[np.generic]


def shuffle_units(experiment: ReadyExperiment) -> ShuffleUnits:
    """Return the units that the folds of an experiment keep together."""
    competition = experiment.competition
    kind = "rows"
    codes: npt.NDArray[np.generic] = np.arange(competition.n_train)
    if (groups := group_column(competition)) is not None:
        kind, codes = "groups", groups
    elif competition.definition.cv.scheme == "time":
        kind, codes = "times", np.unique(time_column(competition)[0], return_inverse=True)[1]
    return ShuffleUnits(kind, codes if experiment.sampled_rows is None else codes[experiment.sampled_rows])


class ColumnOrders:
    """Orders that shuffle a column among the validation rows of a fold and preserve its dependence structure.

    If the folds keep groups together, whole groups are moved. If they go forward in time, blocks of times are moved,
    as long as the shorter of the autocorrelations of the column and the target.

    Parameters
    ----------
    experiment : ReadyExperiment
    units : ShuffleUnits
    fold, seed : int
    """

    def __init__(self, experiment: ReadyExperiment, units: ShuffleUnits, fold: int, seed: int) -> None:
        problem = experiment.problem
        self.kind, self.fold, self.seed = units.kind, fold, seed
        rows = problem.folds.valid_rows(fold)
        self.codes = units.codes[rows]
        self._target_length = 1
        if self.kind == "times":
            values = (np.asarray(c.values, float)[rows] for c in problem.target.columns)
            self._target_length = _block_length(max(correlation_length(v, self.codes) for v in values), self.codes)
        self._orders: dict[tuple[int, int], Ints] = {}

    def order(self, columns: Sequence[pl.Series], repeat: int) -> Ints:
        """Return the row from which each row gets its values, for columns that are shuffled together."""
        length = 1
        if self._target_length > 1:
            length = min(self._target_length, max(correlation_length(_as_numbers(c), self.codes) for c in columns))
        if (repeat, length) not in self._orders:
            rng = np.random.default_rng([self.seed, self.fold, repeat])
            self._orders[repeat, length] = self._draw(length, rng)
        return self._orders[repeat, length]

    def _draw(self, length: int, rng: np.random.Generator) -> Ints:
        """Draw an order; `length` is that of the blocks of times, if there are any."""
        if self.kind == "rows":
            return rng.permutation(len(self.codes))
        return moved_units(self.codes, rng) if self.kind == "groups" else moved_blocks(self.codes, length, rng)


def _block_length(length: int, times: npt.NDArray[np.generic]) -> int:
    """Limit the length of blocks so that there are at least `MIN_BLOCKS` of them."""
    return min(length, max(1, len(np.unique(times)) // MIN_BLOCKS))


def _as_numbers(column: pl.Series) -> Floats:
    """Return a column as numbers; of a category its codes."""
    physical = column.to_physical() if column.dtype in (pl.Categorical, pl.Enum) else column
    return physical.cast(pl.Float64, strict=False).to_numpy().astype(float)


def shuffled_order(experiment: ReadyExperiment, seed: int) -> Callable[[int], Ints]:
    """Return a function from a shuffle's number to the row whose target each train row gets.

    Targets are shuffled within folds, so that every fold keeps its targets, and their level over time. If the folds
    keep groups together, whole groups exchange their targets, which keeps the similarity within groups; if they go
    forward in time, blocks as long as the target's autocorrelation do.
    """
    problem, units = experiment.problem, shuffle_units(experiment)
    fold_of_row = problem.folds.valid
    rows_by_fold = [np.flatnonzero(fold_of_row == fold) for fold in np.unique(fold_of_row)]
    block_lengths = [1] * len(rows_by_fold)
    if units.kind == "times":
        for i, rows in enumerate(rows_by_fold):
            values = (np.asarray(c.values, float)[rows] for c in problem.target.columns)
            longest_correlation = max(correlation_length(v, units.codes[rows]) for v in values)
            block_lengths[i] = _block_length(longest_correlation, units.codes[rows])

    def order_of_shuffle(shuffle: int) -> Ints:
        """Return the row whose target each train row gets in shuffle number `shuffle`."""
        rng = np.random.default_rng([seed, shuffle])
        order = np.arange(len(fold_of_row))
        for rows, length in zip(rows_by_fold, block_lengths, strict=True):
            if units.kind == "rows":
                order[rows] = rng.permutation(rows)
            elif units.kind == "groups":
                order[rows] = rows[moved_units(units.codes[rows], rng)]
            else:
                order[rows] = rows[moved_blocks(units.codes[rows], length, rng)]
        return order

    return order_of_shuffle
