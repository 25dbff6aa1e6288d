"""Units of rows: groups or time blocks whose rows are not independent, each entirely in train or in test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.metrics.dependence import effective_units, time_blocks

__all__ = ["RowUnits", "by_group", "by_time", "disjoint_groups"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

N_BLOCKS = 30
"""The number of time blocks of train, and of test."""

MIN_GROUPS = 10
"""The fewest groups in train and in test for a column to count as a group column without being declared as one."""


@dataclass(frozen=True)
class RowUnits:
    """The units of dependent rows in train and test.

    Attributes
    ----------
    column : str
        The column that defines them.
    kind : str
        "groups" or "times".
    train, test : int arrays
        The unit of each sampled row, with the same codes in both.
    declared : bool
        Whether the competition's folds also keep them together.
    """

    column: str
    kind: str
    train: Ints
    test: Ints
    declared: bool = True

    @property
    def is_by_group(self) -> bool:
        """Whether the units are groups that the folds keep together."""
        return self.kind == "groups" and self.declared

    def effective(self, train: Ints, test: Ints) -> tuple[float, float]:
        """Return the effective numbers of independent rows of train and of test, for the codes of a column."""
        return effective_units(train, self.train), effective_units(test, self.test)


def _with_common_codes(column: str, kind: str, train: pl.Series, test: pl.Series, *, declared: bool) -> RowUnits:
    """Return units by the values of a column; equal values have the same code in train and test."""
    ranks = pl.concat([train, test]).rank("dense").fill_null(0).to_numpy().astype(np.int64)
    return RowUnits(column, kind, ranks[: len(train)], ranks[len(train) :], declared)


def by_group(column: str, train: pl.Series, test: pl.Series) -> RowUnits:
    """Return the groups that the folds keep together; rows without a group are one unit."""
    return _with_common_codes(column, "groups", train, test, declared=True)


def by_time(column: str, train: Floats, test: Floats) -> RowUnits:
    """Return time blocks of train and test, for a test set that is later than train."""
    train_blocks = time_blocks(train, N_BLOCKS)
    n_train_blocks = int(train_blocks.max(initial=0)) + 1
    return RowUnits(column, "times", train_blocks, time_blocks(test, N_BLOCKS) + n_train_blocks)


def disjoint_groups(train: pl.DataFrame, test: pl.DataFrame, columns: Sequence[str]) -> RowUnits | None:
    """Return groups that are disjoint between train and test; None if no column has such groups.

    A group column has texts or integers, and its values repeat. Of several columns the one with the fewest groups is
    used, as the others, such as members of households, are nested in it.
    """
    candidates: list[tuple[int, str]] = []
    for name in columns:
        train_column, test_column = train[name], test[name]
        if not (train_column.dtype in (pl.String, pl.Categorical, pl.Enum) or train_column.dtype.is_integer()):
            continue
        group_counts = train_column.n_unique(), test_column.n_unique()
        if (
            min(group_counts) < MIN_GROUPS
            or group_counts[0] > len(train_column) / 2
            or group_counts[1] > len(test_column) / 2
        ):
            continue
        if not _overlap(train_column, test_column):
            candidates.append((sum(group_counts), name))
    if not candidates:
        return None
    name = min(candidates)[1]
    text_columns = [f[name].cast(pl.String) for f in (train, test)]
    return _with_common_codes(name, "groups", *text_columns, declared=False)


def _overlap(one: pl.Series, other: pl.Series) -> bool:
    """Return whether two columns have a value in common."""
    values = one.cast(pl.String).unique().drop_nulls()
    return bool(other.cast(pl.String).drop_nulls().is_in(values.implode()).any())
