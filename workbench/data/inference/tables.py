"""The tables of a competition as inference looks at them, and which of them plays which part."""

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
    "NotPlainError",
    "Roles",
    "UnclearTablesError",
    "best_sample",
    "best_samples",
    "name_sounds_like",
    "normal",
    "overlap",
    "sample_score",
    "sounds_like",
]


class NotPlainError(DataError):
    """The files do not say what the definition should be; the message says what is missing."""


class UnclearTablesError(NotPlainError):
    """Several files may be one of train, test and sample; the hint has the lines that say which."""


@dataclass(frozen=True)
class DataTable:
    """One table, looked at lazily: only the columns that a question needs are read."""

    info: TableInfo
    folder: Path

    @property
    def name(self) -> str:
        """The table's name."""
        return self.info.name

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.info.rows

    @property
    def columns(self) -> list[str]:
        """The columns, in file order."""
        return list(self.info.dtypes)

    def has(self, column: str | None) -> bool:
        """Whether the table has a column of this name."""
        return column in self.info.dtypes

    def dtype(self, column: str) -> str:
        """Return the name of a column's type."""
        return self.info.dtypes[column]

    def is_time(self, column: str) -> bool:
        """Whether a column holds dates or times."""
        return self.dtype(column).startswith(("Date", "Datetime"))

    @property
    def scan(self) -> pl.LazyFrame:
        """The table, lazily."""
        return scan_parquet(self.folder / f"{self.name}.parquet")

    def select(self, columns: Iterable[str]) -> pl.DataFrame:
        """Read columns, in file order."""
        return self.scan.select(list(columns)).collect()

    @cached_property
    def nulls(self) -> dict[str, int]:
        """The number of missing values, by column."""
        counts = self.scan.select(pl.all().null_count()).collect(engine="streaming")
        return dict(zip(counts.columns, map(int, counts.row(0)), strict=True)) if counts.width else {}

    def is_empty(self, column: str) -> bool:
        """Whether a column has no value at all."""
        return self.nulls[column] == self.rows

    def unique(self, column: str) -> int:
        """Count the different values of a column, without the missing one."""
        return int(self.scan.select(pl.col(column).drop_nulls().n_unique()).collect(engine="streaming").item())

    def is_key(self, column: str) -> bool:
        """Whether every row has a value of its own in a column."""
        return self.nulls[column] == 0 and self.unique(column) == self.rows


@dataclass(frozen=True)
class Roles:
    """Which table is which, by role with the reason where others came near; there may be no sample."""

    train: DataTable
    test: DataTable
    sample: DataTable | None
    why: dict[str, str] = field(default_factory=dict)


def normal(name: str) -> str:
    """Return a column's name without what spellings differ in.

    Examples
    --------
    >>> normal("Sale_Price "), normal("SalePrice")
    ('saleprice', 'saleprice')
    """
    return re.sub(r"[\W_]+", "", name).casefold()


_TRAIN, _TEST = r"train(ing)?", r"(test(ing|set)?|holdout|eval(uation)?)"


def sounds_like(table: DataTable, role: str) -> float:
    """Say how much a table's name sounds like a role, as `name_sounds_like` does."""
    return name_sounds_like(table.name, role)


def name_sounds_like(table: str, role: str) -> float:
    """Say how much a name sounds like a role: 2 for the word itself, 1 where it is one of the words, 0 for none."""
    name, pattern = table.lower(), _TRAIN if role == "train" else _TEST
    if re.fullmatch(pattern, name):
        return 2.0
    words = re.split(r"[\W_\d]+", name)
    if any(re.fullmatch(pattern, word) for word in words):
        # train_labels and test_meta lie next to the table itself.
        beside = {"label", "labels", "meta", "metadata", "target", "targets", "extra", "supplement", "supplementary"}
        return 0.5 if beside & set(words) else 1.0
    return 0.25 if re.search(pattern, name) else 0.0


def overlap(a: DataTable, b: DataTable) -> float:
    """Return the share of b's columns that a has too; a train table has what its test table has."""
    return 2 * len(set(a.columns) & set(b.columns)) / len(b.columns) + (len(a.columns) > len(b.columns))


def sample_score(table: str) -> float:
    """Say how much a table's name sounds like a sample submission: from 4 down to 0."""
    name = normal(table)
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
    """Return the tables whose names sound most and equally like a sample submission, the likeliest first."""
    scored = [(sample_score(t.name), -len(t.columns), t.rows, -len(t.name), t) for t in tables]
    likely = sorted((s for s in scored if s[0] > 0), key=lambda s: s[:4], reverse=True)
    return [s[4] for s in likely if s[0] == likely[0][0]]
