"""The Parquet tables of a competition and the manifest that describes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from workbench.core.cache import content_key, file_sha256, read_json, write_json
from workbench.core.errors import DamagedError, DataError, NotFoundError, did_you_mean
from workbench.core.frames import scan_parquet

__all__ = [
    "ExcludedFile",
    "Manifest",
    "TableInfo",
    "check_columns",
    "check_key_spelling",
    "check_table",
    "has_manifest",
    "read_manifest",
    "scan",
    "write_manifest",
]

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class TableInfo:
    """The manifest's entry of one table: its source, its columns, and the hashes that verify its file.

    Attributes
    ----------
    source, source_sha256, source_bytes
        The downloaded file (several are joined by ", "), the hash of its content, and its size.
    dtypes : dict
        polars' type names by column; with `source_sha256` they are the key of the table's content.
    sha256, size_bytes, mtime_ns
        Of the Parquet file.
    stamp : str
        Changes when the source does, and is computed without reading it.
    options : str
        The settings of competition.toml that the table was converted with.
    read : list of str
        The guessed encoding, separator and so on of the text, as lines of TOML.
    spelled : dict
        By column, how the source writes dates (a format, or several with "|" between them) and booleans ("False/True").
    keys : list of str, or None
        The columns whose values are exactly as the source writes them; None for a table of a version without keys.
    codes : list of str
        The columns that are text although they look like numbers.
    beyond_64_bits : list of str
        The columns of floats that were integers too large for 64 bits.
    types : dict
        The types that were guessed from spellings, by column, as ``[types]`` names them.
    choices : dict
        The types that other columns or tables decided, by column: with the same source and type, values may differ.
    notes : dict
        By column with several possible types, why this one was chosen, or why it stays text.
    """

    name: str
    source: str
    source_sha256: str
    source_bytes: int
    rows: int
    dtypes: dict[str, str]
    sha256: str
    size_bytes: int
    mtime_ns: int
    stamp: str = ""
    options: str = ""
    read: list[str] = field(default_factory=list)
    spelled: dict[str, str] = field(default_factory=dict)
    keys: list[str] | None = None
    codes: list[str] = field(default_factory=list)
    beyond_64_bits: list[str] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def lists_of_records(self) -> list[str]:
        """The columns of lists of structs (sessions with their events) whose fields can become columns of the table.

        A column of lists with a field that has the name of another column is left out.
        """
        nested = [c for c, dtype in self.dtypes.items() if dtype.startswith("List(Struct(")]
        return [c for c in nested if not any(f"{other!r}: " in self.dtypes[c] for other in self.dtypes if other != c)]

    def may_have_lost_spelling(self, column: str) -> bool:
        """Tell whether the source may spell the values of a column differently than the table.

        True for floats and booleans from text that were not converted as a key. Integers are assumed to be unchanged,
        so that tables of earlier versions stay valid; the check of a submission compares with the file itself.
        """
        is_from_text = not self.source.lower().endswith(".parquet")
        is_key = self.keys is not None and column in self.keys
        return is_from_text and not is_key and self.dtypes.get(column, "").startswith(("Float", "Boolean"))

    @property
    def content(self) -> str:
        """The key of the table's content: equal for equal source and types, on every machine."""
        choices = [sorted(self.choices.items())] if self.choices else []
        return content_key("table", self.source_sha256, list(self.dtypes.items()), *choices)


@dataclass(frozen=True)
class ExcludedFile:
    """A file that can't be read as a table.

    Attributes
    ----------
    file : str
        Its path below ``data/raw``.
    reason : str
        What is wrong with it.
    stamp, options : str
        See `TableInfo`; while both are unchanged, conversion is not tried again.
    """

    file: str
    reason: str
    stamp: str = ""
    options: str = ""


@dataclass(frozen=True)
class Manifest:
    """All tables of a competition by name, and the excluded files by the name that the table would have."""

    tables: dict[str, TableInfo]
    excluded: dict[str, ExcludedFile] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """The key of the content of all tables: the root of every cache key."""
        return content_key("tables", {name: info.content for name, info in self.tables.items()})

    def table(self, name: str, *, slug: str) -> TableInfo:
        """Return one table's entry.

        Raises
        ------
        NotFoundError
            For an unknown name; the message has similar names, or the reason why its file is excluded.
        """
        if name in self.excluded:
            raise NotFoundError(
                f"competition {slug!r} has no table {name!r}: {self.excluded[name].file} was left out, "
                f"{self.excluded[name].reason}",
                hint=f"put a fixed copy of it into competitions/{slug}/data/fixed, then `wb fetch {slug}`",
            )
        if name not in self.tables:
            raise NotFoundError(
                f"competition {slug!r} has no table {name!r}", hint=did_you_mean(name, self.tables, kind="table")
            )
        return self.tables[name]


def has_manifest(folder: Path) -> bool:
    """Tell whether the tables of a competition were fetched into a folder."""
    return (folder / MANIFEST).exists()


def read_manifest(folder: Path, *, slug: str) -> Manifest:
    """Read the manifest of ``data/tables``.

    Raises
    ------
    NotFoundError
        When nothing was fetched yet.
    DamagedError
        When the file is not a manifest.
    """
    path = folder / MANIFEST
    hint = f"`wb fetch {slug} --force` converts the data again"
    if not path.exists():
        raise NotFoundError(
            f"competition {slug!r} has no data yet: {path} is missing", hint=f"`wb fetch {slug}` downloads it"
        )
    try:
        content: dict[str, Any] = read_json(path)
        excluded = {name: ExcludedFile(**entry) for name, entry in content.get("excluded", {}).items()}
        return Manifest({name: TableInfo(**entry) for name, entry in content["tables"].items()}, excluded)
    except (DamagedError, KeyError, TypeError, AttributeError) as exc:
        raise DamagedError(f"{path} is damaged: {exc}", hint=hint) from exc


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest beside the tables."""
    tables = {name: asdict(info) for name, info in manifest.tables.items()}
    excluded = {name: asdict(file) for name, file in manifest.excluded.items()}
    write_json(folder / MANIFEST, {"tables": tables} | ({"excluded": excluded} if excluded else {}))


def check_table(folder: Path, info: TableInfo, *, slug: str, full: bool = False) -> Path:
    """Return the path of a table's Parquet file after checking it against the manifest.

    The file is hashed where its modification time differs from the manifest's, or always with `full`.

    Raises
    ------
    DamagedError
        When the file is missing, or its size or hash differs.
    """
    path = folder / f"{info.name}.parquet"
    hint = f"`wb fetch {slug} --force` converts the data again"
    if not path.exists():
        raise DamagedError(f"table {info.name!r}: {path} is missing", hint=hint)
    stat = path.stat()
    if stat.st_size != info.size_bytes:
        raise DamagedError(
            f"table {info.name!r} is damaged: {path} has {stat.st_size:,} bytes, expected {info.size_bytes:,}",
            hint=hint,
        )
    if (full or stat.st_mtime_ns != info.mtime_ns) and file_sha256(path) != info.sha256:
        raise DamagedError(f"table {info.name!r} is damaged: {path} is not the file that was written", hint=hint)
    return path


def scan(path: Path, row_index: str | None = None, offset: int = 0) -> pl.LazyFrame:
    """Scan a Parquet table lazily, with a column `row_index` that numbers the rows from `offset`, if it is named."""
    return scan_parquet(path, row_index_name=row_index, row_index_offset=offset)


def check_columns(named_columns: Iterable[str], table_columns: Iterable[str], table: str, *, key: str) -> None:
    """Check that a table has the columns that competition.toml names.

    Parameters
    ----------
    named_columns : iterable of str
        The columns that competition.toml names.
    table_columns : iterable of str
        The columns that the table has.
    table : str
        The table's name.
    key : str
        The file and the key that names the columns, for the message.

    Raises
    ------
    DataError
        For the first column that the table lacks.
    """
    existing_columns = list(table_columns)
    for column in named_columns:
        if column not in existing_columns:
            raise DataError(
                f"{key} = {column!r}, but table {table!r} has no such column",
                hint=did_you_mean(column, existing_columns, kind="column"),
            )


def check_key_spelling(manifest: Manifest, columns_by_table: Mapping[str, Iterable[str]], *, slug: str) -> None:
    """Refuse tables converted by an earlier version in which keys may be spelled differently than in the files.

    Parameters
    ----------
    manifest : Manifest
    columns_by_table : mapping
        The key columns by table; tables that the manifest does not have are ignored.
    slug : str

    Raises
    ------
    DataError
        For the first such column; the message names it and its table.
    """
    for name, columns in columns_by_table.items():
        info = manifest.tables.get(name)
        if info is None or info.keys is not None:
            continue
        for column in columns:
            if info.may_have_lost_spelling(column):
                raise DataError(
                    f"table {name!r} was converted by an earlier version: its key column {column!r} became "
                    f"{info.dtypes[column]}, which may spell the keys differently than the file",
                    hint=f"`wb fetch {slug} --force` converts the files again, and keeps the spelling of keys",
                )
