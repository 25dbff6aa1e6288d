"""Which rows come together: those of a group or of a stretch of time that lie on one side, in train or in test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.metrics.dependence import effective_units, time_blocks

__all__ = ["Together", "apart", "by_group", "by_time"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

BLOCKS = 30
"""Into so many blocks the times of train are cut, and those of test."""

FEWEST = 10
"""So many groups there are on each side at least, where nobody says that a column is one of groups."""


@dataclass(frozen=True)
class Together:
    """The units that train and test are made of.

    Attributes
    ----------
    column : str
        The column that tells them.
    kind : str
        "groups" or "times".
    train, test : int arrays
        The unit of each sampled row, in one numbering.
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
        """Return how many independent rows those of train and of test are worth, by what they have as codes."""
        return effective_units(train, self.train), effective_units(test, self.test)


def _numbered(column: str, kind: str, train: pl.Series, test: pl.Series, *, declared: bool) -> Together:
    ranks = pl.concat([train, test]).rank("dense").fill_null(0).to_numpy().astype(np.int64)
    return Together(column, kind, ranks[: len(train)], ranks[len(train) :], declared)


def by_group(column: str, train: pl.Series, test: pl.Series) -> Together:
    """Return the groups that the folds keep together; a row without one shares a unit with others without."""
    return _numbered(column, "groups", train, test, declared=True)


def by_time(column: str, train: Floats, test: Floats) -> Together:
    """Return blocks of time, where test lies after train."""
    first = time_blocks(train, BLOCKS)
    return Together(column, "times", first, time_blocks(test, BLOCKS) + int(first.max(initial=0)) + 1)


def apart(train: pl.DataFrame, test: pl.DataFrame, columns: Sequence[str]) -> Together | None:
    """Return the groups that train and test have none of in common; None where no column looks like that.

    A column of groups is text or whole numbers, and its values repeat. Of several the one with the fewest is taken: the
    others, as a household's members, are within them.
    """
    found: list[tuple[int, str]] = []
    for name in columns:
        one, other = train[name], test[name]
        if not (one.dtype in (pl.String, pl.Categorical, pl.Enum) or one.dtype.is_integer()):
            continue
        sizes = one.n_unique(), other.n_unique()
        if min(sizes) < FEWEST or sizes[0] > len(one) / 2 or sizes[1] > len(other) / 2:
            continue
        if not _in_common(one, other):
            found.append((sum(sizes), name))
    if not found:
        return None
    name = min(found)[1]
    text = [f[name].cast(pl.String) for f in (train, test)]
    return _numbered(name, "groups", *text, declared=False)


def _in_common(one: pl.Series, other: pl.Series) -> bool:
    values = one.cast(pl.String).unique().drop_nulls()
    return bool(other.cast(pl.String).drop_nulls().is_in(values.implode()).any())
