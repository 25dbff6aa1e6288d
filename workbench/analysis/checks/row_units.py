"""Units of rows: groups or time blocks whose rows are not independent, and lie in train or in test as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.metrics.dependence import effective_units, time_blocks

__all__ = ["RowUnits", "apart", "by_group", "by_time"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

BLOCKS = 30
"""The number of time blocks of train, and of test."""

FEWEST = 10
"""The fewest groups in train and in test for a column to be taken as groups without being declared."""


@dataclass(frozen=True)
class RowUnits:
    """The units that train and test are made of.

    Attributes
    ----------
    column : str
        The column that defines them.
    kind : str
        "groups" or "times".
    train, test : int arrays
        The unit of each sampled row, numbered alike in both.
    declared : bool
        Whether the competition's folds keep them together, too.
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


def _numbered(column: str, kind: str, train: pl.Series, test: pl.Series, *, declared: bool) -> RowUnits:
    ranks = pl.concat([train, test]).rank("dense").fill_null(0).to_numpy().astype(np.int64)
    return RowUnits(column, kind, ranks[: len(train)], ranks[len(train) :], declared)


def by_group(column: str, train: pl.Series, test: pl.Series) -> RowUnits:
    """Return the groups that the folds keep together; a row without one shares a unit with others without."""
    return _numbered(column, "groups", train, test, declared=True)


def by_time(column: str, train: Floats, test: Floats) -> RowUnits:
    """Return time blocks, where test is later than train."""
    first = time_blocks(train, BLOCKS)
    return RowUnits(column, "times", first, time_blocks(test, BLOCKS) + int(first.max(initial=0)) + 1)


def apart(train: pl.DataFrame, test: pl.DataFrame, columns: Sequence[str]) -> RowUnits | None:
    """Return groups that are disjoint between train and test; None where no column has such groups.

    A group column is text or integer, and its values repeat. Of several columns the one with the fewest groups is
    taken: the others, such as a household's members, are nested in them.
    """
    candidates: list[tuple[int, str]] = []
    for name in columns:
        one, other = train[name], test[name]
        if not (one.dtype in (pl.String, pl.Categorical, pl.Enum) or one.dtype.is_integer()):
            continue
        sizes = one.n_unique(), other.n_unique()
        if min(sizes) < FEWEST or sizes[0] > len(one) / 2 or sizes[1] > len(other) / 2:
            continue
        if not _in_common(one, other):
            candidates.append((sum(sizes), name))
    if not candidates:
        return None
    name = min(candidates)[1]
    text = [f[name].cast(pl.String) for f in (train, test)]
    return _numbered(name, "groups", *text, declared=False)


def _in_common(one: pl.Series, other: pl.Series) -> bool:
    values = one.cast(pl.String).unique().drop_nulls()
    return bool(other.cast(pl.String).drop_nulls().is_in(values.implode()).any())
