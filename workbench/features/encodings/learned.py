"""What was learned of one grouping of the rows: cells summed once, and the columns of any fold from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workbench.features.encodings.ordered import (
    past_calls,
    past_quantiles,
    table_of_calls,
    table_of_quantiles,
)
from workbench.features.encodings.past import Past, past_of
from workbench.features.encodings.split import LearningSets, Split, Units
from workbench.features.encodings.statistics import Statistic, shrunk
from workbench.features.encodings.summaries import Summary, leave_one_out, summarise

__all__ = ["Learned", "Source", "TargetLike"]

Floats = npt.NDArray[np.float64]
Columns = npt.NDArray[np.float32]
Codes = npt.NDArray[np.integer[Any]]

SLAB = 1 << 17
"""Groups at a time: bounds what is held besides the cells and the table, and stays within the processor's cache."""

MAX_CACHED_CELLS = 1 << 23
"""Up to this many cells of a grouping are held, or two per row: 64 MB for a mean of zeros and ones."""

ROWS_AT_A_TIME = 1 << 18


class TargetLike(Protocol):
    """A target column, as `workbench.models.target.TargetColumn` has it."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def values(self) -> Floats:
        """The number, 0 or 1, or the index of the class, (n_train,)."""
        ...

    @property
    def width(self) -> int:
        """The number of classes of a multiclass target, else 1."""
        ...

    @property
    def labels(self) -> list[str]:
        """The names of the classes of a multiclass target, else its own."""
        ...


@dataclass(frozen=True)
class Source:
    """The numbers that a column is a statistic of: a target column, or "is it of this class" of one.

    Attributes
    ----------
    target : TargetLike
    of_class : int, or None
    """

    target: TargetLike
    of_class: int | None = None

    def values(self) -> Floats:
        """Return the numbers, (n_train,)."""
        if self.of_class is None:
            return self.target.values
        values: Floats = (self.target.values == self.of_class).astype(np.float64)
        return values


@dataclass
class Learned:
    """The encodings of one grouping of the rows, for every fold.

    The first fold that is computed sums the cells, an element per unit of rows (see `Split`) and group; all folds'
    values are computed from these. Where there are too many cells to cache (see `MAX_CACHED_CELLS`), they are summed
    for each fold.

    Parameters
    ----------
    groups : int array (n_rows,)
        The group of each row, train first, from 0 up.
    sources : sequence of (Source, statistics of it)
        The columns, in their order.
    split : Split
    smoothing : float
    """

    groups: Codes
    sources: Sequence[tuple[Source, Sequence[Statistic]]]
    split: Split
    smoothing: float
    _cells: dict[int, tuple[Units, Summary, Summary]] = field(default_factory=dict)
    _past: dict[int, list[Columns]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.n_train = len(self.split.valid)
        self.n_groups = int(self.groups.max(initial=-1)) + 1

    def columns(self, fold: int) -> list[Columns]:
        """Return the columns that the model of one fold is trained and validated with, each (n_rows,).

        Validated, unseen and test rows: from all rows that the fold trains on. Rows that it trains on: from those of
        them in other parts of the split (nested), or, where time matters, from the earlier ones.
        """
        units = self.split.units(fold)
        sets = units.sets(self.split, fold)
        columns: list[Columns] = []
        for number, (source, statistics) in enumerate(self.sources):
            values = source.values()
            cells, totals = self._summaries(number, units, values)
            tables = self._tables(cells, totals, sets, statistics)
            for i, s in enumerate(statistics):
                if s.value is None:
                    tables[i] = self._ordered_table(s, values, (units, cells, totals), sets)
            columns += [self._spread(table, units, sets) for table in tables]
        if self.split.time is not None:
            learned_from = self.split.in_training(fold)
            for column, past in zip(columns, self._pasts(fold), strict=True):
                np.copyto(column[: self.n_train], past, where=learned_from)
        return columns

    # -------------------------------------------------------------------------------------------------------- cells

    def _summaries(self, number: int, units: Units, values: Floats) -> tuple[Summary, Summary]:
        """Return the summaries of the cells (n_units, n_groups), and of the units (n_units, 1)."""
        cached = self._cells.get(number)
        if cached is not None and cached[0] is units:
            return cached[1], cached[2]
        statistics = self.sources[number][1]
        needs = frozenset[str]().union(*(s.needs for s in statistics))
        n_units, n_groups = len(units.part), self.n_groups
        cell = units.unit.astype(np.int64)
        totals = {k: v[:, None] for k, v in summarise(cell, values, n_units, needs).items()}
        cell *= n_groups
        cell += self.groups[: self.n_train]
        cells = summarise(cell, values, n_units * n_groups, needs)
        cells = {name: array.reshape(n_units, n_groups) for name, array in cells.items()}
        if n_units * n_groups <= max(2 * len(self.groups), MAX_CACHED_CELLS):
            self._cells[number] = (units, cells, totals)
        return cells, totals

    def _tables(
        self, cells: Summary, totals: Summary, sets: LearningSets, statistics: Sequence[Statistic]
    ) -> list[Columns]:
        """Return for each statistic its values by set and group, (n_sets, n_groups)."""
        totals_of_sets = _of_sets(totals, sets, slice(None))
        shape = (sets.n_sets, self.n_groups)
        tables = [np.empty(shape if s.value else 0, np.float32) for s in statistics]
        if not any(s.value for s in statistics):
            return tables
        for start in range(0, self.n_groups, SLAB):
            slab = slice(start, start + SLAB)
            for number, cells_of_set in enumerate(_of_sets(cells, sets, slab)):
                for s, table in zip(statistics, tables, strict=True):
                    if s.value:
                        table[number, slab] = s.value(cells_of_set, totals_of_sets[number], self.smoothing)
        return tables

    def _ordered_table(
        self, s: Statistic, values: Floats, summed: tuple[Units, Summary, Summary], sets: LearningSets
    ) -> Columns:
        units, cells, totals = summed
        groups = self.groups[: self.n_train]
        if s.quantile is None:
            within = () if self.split.time is None else (self.split.ranks[0],)
            return table_of_calls(s, np.lexsort((*within, groups)), values, units, cells["n"], sets)
        of_groups = table_of_quantiles(s.quantile, groups, values, units, cells["n"], sets)
        of_all = table_of_quantiles(s.quantile, np.zeros_like(groups), values, units, totals["n"], sets)
        counts = np.stack([cells["n"][sets.members(i)].sum(axis=0) for i in range(sets.n_sets)])
        return shrunk(of_groups, counts, of_all, self.smoothing).astype(np.float32)

    def _spread(self, table: Columns, units: Units, sets: LearningSets) -> Columns:
        """Look up the value of each row."""
        cell_values, n_groups = table.ravel(), self.n_groups
        set_start = sets.set_of_unit * n_groups
        result = np.empty(len(self.groups), np.float32)
        for start, stop in _chunks(0, self.n_train):
            cell = set_start[units.unit[start:stop]]
            cell += self.groups[start:stop]
            np.take(cell_values, cell, out=result[start:stop], mode="clip")
        for start, stop in _chunks(self.n_train, len(result)):
            np.take(cell_values, self.groups[start:stop] + set_start[-1], out=result[start:stop], mode="clip")
        return result

    # --------------------------------------------------------------------------------------------------------- past

    def _pasts(self, fold: int) -> list[Columns]:
        """Return each column's values for the rows that the fold trains on, from earlier rows only, (n_train,)."""
        shared = self.split.is_prefix(fold)
        if shared and -1 in self._past:
            return self._past[-1]
        rows = np.arange(self.n_train) if shared else np.flatnonzero(self.split.in_training(fold))
        rank, before = (r[rows] for r in self.split.ranks)
        of_groups = past_of(self.groups[rows], rank, before)
        of_all = past_of(np.zeros(len(rows), np.int32), rank, before)
        columns = []
        for source, statistics in self.sources:
            values = source.values()[rows]
            needs = frozenset[str]().union(*(s.needs for s in statistics))
            group, overall = of_groups.summary(values, needs), of_all.summary(values, needs)
            for s in statistics:
                column = np.full(self.n_train, np.nan, np.float32)
                if s.value is not None:
                    column[rows] = s.value(group, overall, self.smoothing)
                else:
                    column[rows] = self._ordered_past(s, values, of_groups, of_all)
                columns.append(column)
        if shared:
            self._past[-1] = columns
        return columns

    def _ordered_past(self, s: Statistic, values: Floats, of_groups: Past, of_all: Past) -> Floats:
        if s.quantile is None:
            return past_calls(s, values, of_groups)
        of_group, prior = (past_quantiles(s.quantile, values, past) for past in (of_groups, of_all))
        return shrunk(of_group, of_groups.counts, prior, self.smoothing)


def _of_sets(cells: Summary, sets: LearningSets, slab: slice) -> list[Summary]:
    """Return the summary of each set of units, for some of the groups."""
    like = {name: array[0, slab] for name, array in cells.items()}
    parts = []
    for units in sets.parts:
        total = leave_one_out([{name: array[u, slab] for name, array in cells.items()} for u in units], like)[0]
        parts.append(total)
    return leave_one_out(parts, like)[: sets.n_sets]


def _chunks(start: int, stop: int) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, ROWS_AT_A_TIME):
        yield first, min(first + ROWS_AT_A_TIME, stop)
