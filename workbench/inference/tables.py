"""The tables of a competition as inference looks at them, and which of them plays which part."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from workbench.competition import Manifest, TableInfo
from workbench.errors import DataError
from workbench.frames import scan_parquet

__all__ = [
    "NotPlainError",
    "Roles",
    "Table",
    "best_sample",
    "find_roles",
    "name_sounds_like",
    "normal",
    "sample_score",
    "sounds_like",
]


class NotPlainError(DataError):
    """The files do not say what the definition should be; the message says what is missing."""


@dataclass(frozen=True)
class Table:
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
        return {c: int(counts[c][0]) for c in counts.columns}

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
    """Which table is which; there may be no sample."""

    train: Table
    test: Table
    sample: Table | None


def normal(name: str) -> str:
    """Return a column's name without what spellings differ in.

    Examples
    --------
    >>> normal("Sale_Price "), normal("SalePrice")
    ('saleprice', 'saleprice')
    """
    return re.sub(r"[\W_]+", "", name).casefold()


def find_roles(manifest: Manifest, folder: Path) -> Roles:
    """Find train, test and sample among the tables, by their names and by the columns that they share.

    Raises
    ------
    NotPlainError
        When there is no train or no test table.
    """
    tables = {name: Table(info, folder) for name, info in manifest.tables.items() if info.rows}
    sample = best_sample(tables.values())
    rest = [t for t in tables.values() if t is not sample]
    pairs = [
        (sounds_like(a, "train") + sounds_like(b, "test") + _overlap(a, b), a, b)
        for a in rest
        for b in rest
        if a is not b and sounds_like(a, "train") > 0 and sounds_like(b, "test") > 0
    ]
    if not pairs:
        missing = [r for r in ("train", "test") if not any(sounds_like(t, r) > 0 for t in rest)] or ["train and test"]
        have = ", ".join(manifest.tables) or "none"
        raise NotPlainError(f"no table is called {' or '.join(missing)}; the tables are {have}")
    _, train, test = max(pairs, key=lambda p: (p[0], p[1].rows))
    return Roles(train, test, sample)


_TRAIN, _TEST = r"train(ing)?", r"(test(ing|set)?|holdout|eval(uation)?)"


def sounds_like(table: Table, role: str) -> float:
    """Say how much a table's name sounds like a role, as `name_sounds_like` does."""
    return name_sounds_like(table.name, role)


def name_sounds_like(table: str, role: str) -> float:
    """Say how much a name sounds like a role: 2 for the word itself, 1 where it is one of the words, 0 for none."""
    name, pattern = table.lower(), _TRAIN if role == "train" else _TEST
    if re.fullmatch(pattern, name):
        return 2.0
    words = re.split(r"[\W_\d]+", name)
    if any(re.fullmatch(pattern, word) for word in words):
        # train_labels and test_meta stand beside the table itself.
        beside = {"label", "labels", "meta", "metadata", "target", "targets", "extra", "supplement", "supplementary"}
        return 0.5 if beside & set(words) else 1.0
    return 0.25 if re.search(pattern, name) else 0.0


def _overlap(a: Table, b: Table) -> float:
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


def best_sample(tables: Iterable[Table]) -> Table | None:
    """Return the table whose name sounds most like a sample submission; None where none does."""
    scored = [(sample_score(t.name), -len(t.columns), t.rows, -len(t.name), t) for t in tables]
    found = max(scored, key=lambda s: s[:4], default=None)
    return found[4] if found and found[0] > 0 else None
