"""Compute the target encodings of one grouping for all folds, from statistics that are summed once."""

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

GROUPS_AT_ONCE = 1 << 17
"""Groups processed at once: bounds the memory of intermediate arrays, and fits into the processor's cache."""

MAX_CACHED_CELLS = 1 << 23
"""Cells of a grouping are cached up to this number, or two per row: 64 MB for the mean of a binary target."""

ROWS_AT_ONCE = 1 << 18


class TargetLike(Protocol):
    """The interface of a target column, which `workbench.models.target.TargetColumn` implements."""

    @property
    def name(self) -> str:
        """The name of the column."""
        ...

    @property
    def values(self) -> Floats:
        """Numbers, 0 and 1, or class indices, (n_train,)."""
        ...

    @property
    def width(self) -> int:
        """The number of classes of a multiclass target, else 1."""
        ...

    @property
    def labels(self) -> list[str]:
        """The names of the classes of a multiclass target, else the name of the column."""
        ...


@dataclass(frozen=True)
class Source:
    """The numbers whose statistic a column is: a target column, or the indicator of one of its classes.

    Attributes
    ----------
    target : TargetLike
    class_index : int, or None
        None for the target itself.
    """

    target: TargetLike
    class_index: int | None = None

    def values(self) -> Floats:
        """Return the numbers as an array (n_train,)."""
        if self.class_index is None:
            return self.target.values
        values: Floats = (self.target.values == self.class_index).astype(np.float64)
        return values


@dataclass
class Learned:
    """The encodings of one grouping of the rows, for every fold.

    The statistics of each cell, a unit of rows (see `Units`) by a group, are computed once and combined for every fold.
    If there are too many cells to cache (see `MAX_CACHED_CELLS`), they are computed again for each fold.

    Parameters
    ----------
    groups : int array (n_rows,)
        The group of each row as a code from 0; train rows first.
    sources : sequence of (Source, sequence of Statistic)
        The columns, in order.
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
        """Return the columns for the model of one fold, each (n_rows,).

        Values of rows that the fold does not train on, test rows too, are computed from all its train rows. Values of
        a train row are computed from the train rows in other parts of the split (nested), or from earlier ones if the
        folds are in time.
        """
        units = self.split.units(fold)
        sets = units.sets(self.split, fold)
        columns: list[Columns] = []
        for number, (source, statistics) in enumerate(self.sources):
            values = source.values()
            cells, totals = self._summaries(number, units, values)
            tables = self._tables(cells, totals, sets, statistics)
            for i, statistic in enumerate(statistics):
                if statistic.value is None:
                    tables[i] = self._ordered_table(statistic, values, (units, cells, totals), sets)
            columns += [self._look_up(table, units, sets) for table in tables]
        if self.split.time is not None:
            in_training = self.split.in_training(fold)
            for column, past in zip(columns, self._past_columns(fold), strict=True):
                np.copyto(column[: self.n_train], past, where=in_training)
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
        """Return the values of each statistic by learning set and group, (n_sets, n_groups)."""
        set_totals = _set_summaries(totals, sets, slice(None))
        shape = (sets.n_sets, self.n_groups)
        tables = [np.empty(shape if statistic.value else 0, np.float32) for statistic in statistics]
        if not any(statistic.value for statistic in statistics):
            return tables
        for start in range(0, self.n_groups, GROUPS_AT_ONCE):
            group_slice = slice(start, start + GROUPS_AT_ONCE)
            for number, set_cells in enumerate(_set_summaries(cells, sets, group_slice)):
                for statistic, table in zip(statistics, tables, strict=True):
                    if statistic.value:
                        table[number, group_slice] = statistic.value(set_cells, set_totals[number], self.smoothing)
        return tables

    def _ordered_table(
        self, statistic: Statistic, values: Floats, summaries: tuple[Units, Summary, Summary], sets: LearningSets
    ) -> Columns:
        """Return the values of a quantile or a user's function by learning set and group, (n_sets, n_groups)."""
        units, cells, totals = summaries
        groups = self.groups[: self.n_train]
        if statistic.quantile is None:
            sort_keys = () if self.split.time is None else (self.split.ranks[0],)
            return table_of_calls(statistic, np.lexsort((*sort_keys, groups)), values, units, cells["n"], sets)
        group_quantiles = table_of_quantiles(statistic.quantile, groups, values, units, cells["n"], sets)
        overall = table_of_quantiles(statistic.quantile, np.zeros_like(groups), values, units, totals["n"], sets)
        counts = np.stack([cells["n"][sets.members(i)].sum(axis=0) for i in range(sets.n_sets)])
        return shrunk(group_quantiles, counts, overall, self.smoothing).astype(np.float32)

    def _look_up(self, table: Columns, units: Units, sets: LearningSets) -> Columns:
        """Return the value of each row from a table by learning set and group."""
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

    def _past_columns(self, fold: int) -> list[Columns]:
        """Return the columns for the train rows of the fold, computed from earlier rows, each (n_train,)."""
        is_prefix = self.split.is_prefix(fold)
        if is_prefix and -1 in self._past:
            return self._past[-1]
        rows = np.arange(self.n_train) if is_prefix else np.flatnonzero(self.split.in_training(fold))
        rank, before = (r[rows] for r in self.split.ranks)
        group_past = past_of(self.groups[rows], rank, before)
        overall_past = past_of(np.zeros(len(rows), np.int32), rank, before)
        columns = []
        for source, statistics in self.sources:
            values = source.values()[rows]
            needs = frozenset[str]().union(*(statistic.needs for statistic in statistics))
            group, overall = group_past.summary(values, needs), overall_past.summary(values, needs)
            for statistic in statistics:
                column = np.full(self.n_train, np.nan, np.float32)
                if statistic.value is not None:
                    column[rows] = statistic.value(group, overall, self.smoothing)
                else:
                    column[rows] = self._ordered_past(statistic, values, group_past, overall_past)
                columns.append(column)
        if is_prefix:
            self._past[-1] = columns
        return columns

    def _ordered_past(self, s: Statistic, values: Floats, group_past: Past, overall_past: Past) -> Floats:
        if s.quantile is None:
            return past_calls(s, values, group_past)
        quantiles, prior = (past_quantiles(s.quantile, values, past) for past in (group_past, overall_past))
        return shrunk(quantiles, group_past.counts, prior, self.smoothing)


def _set_summaries(cells: Summary, sets: LearningSets, group_slice: slice) -> list[Summary]:
    """Return the summary of each learning set, for some of the groups."""
    template = {name: array[0, group_slice] for name, array in cells.items()}
    parts = []
    for units in sets.parts:
        unit_cells = [{name: array[unit, group_slice] for name, array in cells.items()} for unit in units]
        parts.append(leave_one_out(unit_cells, template)[0])
    return leave_one_out(parts, template)[: sets.n_sets]


def _chunks(start: int, stop: int) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, ROWS_AT_ONCE):
        yield first, min(first + ROWS_AT_ONCE, stop)
