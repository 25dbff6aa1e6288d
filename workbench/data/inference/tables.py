"""The tables of a competition as inference reads them, and how much their names sound like a role."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars as pl

from workbench.core.errors import DataError
from workbench.core.frames import scan_parquet
from workbench.data.competition import TableInfo

__all__ = [
    "DataTable",
    "Roles",
    "UnclearTablesError",
    "UndeterminedError",
    "best_sample",
    "best_samples",
    "name_sounds_like",
    "normalized",
    "overlap",
    "sample_score",
    "sounds_like",
]


class UndeterminedError(DataError):
    """The files do not determine the definition; the message says what is missing."""


class UnclearTablesError(UndeterminedError):
    """Several files may be train, test or the sample; the hint has the settings that decide."""


@dataclass(frozen=True)
class DataTable:
    """One table, read lazily, column by column."""

    info: TableInfo
    folder: Path

    @property
    def name(self) -> str:
        """The table's name."""
        return self.info.name

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return self.info.rows

    @property
    def columns(self) -> list[str]:
        """The columns, in file order."""
        return list(self.info.dtypes)

    def has(self, column: str | None) -> bool:
        """Tell whether the table has a column."""
        return column in self.info.dtypes

    def dtype(self, column: str) -> str:
        """Return the name of a column's type."""
        return self.info.dtypes[column]

    def is_time(self, column: str) -> bool:
        """Tell whether a column holds dates or times."""
        return self.dtype(column).startswith(("Date", "Datetime"))

    @property
    def scan(self) -> pl.LazyFrame:
        """The table, lazily."""
        return scan_parquet(self.folder / f"{self.name}.parquet")

    def select(self, columns: Iterable[str]) -> pl.DataFrame:
        """Read columns, in file order."""
        return self.scan.select(list(columns)).collect()

    @cached_property
    def null_counts(self) -> dict[str, int]:
        """The number of missing values, by column."""
        counts = self.scan.select(pl.all().null_count()).collect(engine="streaming")
        return dict(zip(counts.columns, map(int, counts.row(0)), strict=True)) if counts.width else {}

    def is_empty(self, column: str) -> bool:
        """Tell whether a column has no value."""
        return self.null_counts[column] == self.n_rows

    def n_unique(self, column: str) -> int:
        """Return the number of distinct values of a column, without null."""
        return int(self.scan.select(pl.col(column).drop_nulls().n_unique()).collect(engine="streaming").item())

    def is_key(self, column: str) -> bool:
        """Tell whether a column has a different value in every row."""
        return self.null_counts[column] == 0 and self.n_unique(column) == self.n_rows


@dataclass(frozen=True)
class Roles:
    """The tables by role; `why` has the reason, by role, where other tables qualified as well."""

    train: DataTable
    test: DataTable
    sample: DataTable | None
    why: dict[str, str] = field(default_factory=dict)


def normalized(name: str) -> str:
    """Return a name in lower case, without anything but letters and digits.

    Examples
    --------
    >>> normalized("Sale_Price "), normalized("SalePrice")
    ('saleprice', 'saleprice')
    """
    return re.sub(r"[\W_]+", "", name).casefold()


ACCOMPANYING_WORDS = frozenset(
    {"label", "labels", "meta", "metadata", "target", "targets", "extra", "supplement", "supplementary"}
)
"""Words in the name of a table that adds columns to train or test."""

_TRAIN, _TEST = r"train(ing)?", r"(test(ing|set)?|holdout|eval(uation)?)"


def sounds_like(table: DataTable, role: str) -> float:
    """Return how much a table's name sounds like a role, see `name_sounds_like`."""
    return name_sounds_like(table.name, role)


def name_sounds_like(table_name: str, role: str) -> float:
    """Return how much a name sounds like the role "train" or "test".

    2 if the name is the role, or a synonym; 1 if the role is one of its words; 0.5 if another word, such as "labels",
    marks a table that only accompanies the role's table; 0.25 if the role is part of a word; else 0.
    """
    name = table_name.lower()
    pattern = _TRAIN if role == "train" else _TEST
    if re.fullmatch(pattern, name):
        return 2.0
    words = re.split(r"[\W_\d]+", name)
    if any(re.fullmatch(pattern, word) for word in words):
        return 0.5 if ACCOMPANYING_WORDS & set(words) else 1.0
    return 0.25 if re.search(pattern, name) else 0.0


def overlap(a: DataTable, b: DataTable) -> float:
    """Return how well `a` as train fits `b` as test: twice the share of b's columns in a, plus 1 if a has more."""
    return 2 * len(set(a.columns) & set(b.columns)) / len(b.columns) + (len(a.columns) > len(b.columns))


def sample_score(table_name: str) -> float:
    """Return how much a table's name sounds like a sample submission, from 0 to 4."""
    name = normalized(table_name)
    if name in ("samplesubmission", "sampleentry", "samplesub"):
        return 4
    if "sample" in name and ("sub" in name or "entry" in name):
        return 3
    if "submission" in name or "sampleentry" in name:
        return 2
    if re.search(r"^(sample|submit|entry|benchmark|example)|(benchmark|example|entry)$", name):
        return 1
    return 0


def best_sample(tables: Iterable[DataTable]) -> DataTable | None:
    """Return the table whose name sounds most like a sample submission; None where none does."""
    return next(iter(best_samples(tables)), None)


def best_samples(tables: Iterable[DataTable]) -> list[DataTable]:
    """Return the tables with the highest `sample_score`, those with fewer columns first; empty where it is 0."""

    def rank(table: DataTable) -> tuple[float, int, int, int]:
        return sample_score(table.name), -len(table.columns), table.n_rows, -len(table.name)

    likely = sorted((t for t in tables if sample_score(t.name) > 0), key=rank, reverse=True)
    return [t for t in likely if sample_score(t.name) == sample_score(likely[0].name)]
