"""The file formats that become tables. A new one is a module with a class and an entry in `FORMATS`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from workbench.data.ingest.json_format import JsonFormat
from workbench.data.ingest.lines_format import LinesFormat
from workbench.data.ingest.parquet_format import ParquetFormat
from workbench.data.ingest.text_format import TextFormat

if TYPE_CHECKING:
    import polars as pl

    from workbench.data.competition import TableInfo
    from workbench.data.ingest.conversion_job import GroupConverter
    from workbench.data.ingest.sources import TableSource
    from workbench.data.ingest.text import SourceFile

__all__ = ["ENDINGS", "FORMATS", "PACKED", "FileFormat", "ending_of", "kind_of"]

PACKED = (".gz", ".xz", ".bz2", ".zst")
"""Compressed files; what is compressed decides about the format."""


class FileFormat(Protocol):
    """A file format: its endings, how to read the beginning of a file, and how files become tables.

    Modules of formats import converters inside of `convert`: these import `sources`, which imports the formats.

    Attributes
    ----------
    name : str
        The kind of a `TableSource`.
    endings : tuple of str
        In lower case, with the dot.
    shares_types : bool
        Whether train and test are converted as one group, so that their columns get the same types.
    """

    name: str
    endings: tuple[str, ...]
    shares_types: bool

    def are_parts(self, sources: Sequence[SourceFile], *, is_marked: bool) -> bool:
        """Tell whether several files with numbered names are parts of one table.

        `is_marked` tells that all names say so ("part-0", "data-1-of-3"), rather than only ending in a number.
        """
        ...

    def columns(self, source: SourceFile) -> frozenset[str] | None:
        """Return the columns of a file; None where only converting it would tell. May raise for unreadable files."""
        ...

    def first_rows(self, source: SourceFile, n_rows: int) -> pl.DataFrame | None:
        """Return the first rows of a file as text, None where it has none. May raise for unreadable files."""
        ...

    def key_head(self, table: TableSource, read_options: dict[str, Any]) -> tuple[list[str], pl.DataFrame] | None:
        """Return the columns of a table, and its first rows as text if their spelling matters, to recognize keys.

        None where only converting it would tell. May raise for unreadable files.
        """
        ...

    def convert(
        self, groups: list[list[TableSource]], stale: list[list[TableSource]], converter: GroupConverter
    ) -> dict[str, TableInfo]:
        """Convert tables to Parquet and return their manifest entries by name.

        Parameters
        ----------
        groups : list of lists of TableSource
            All tables of the format, in groups that share their types.
        stale : list of lists of TableSource
            The groups to convert.
        converter : GroupConverter
            Its `convert` handles tables that can't be read.
        """
        ...


FORMATS: dict[str, FileFormat] = {f.name: f for f in (TextFormat(), LinesFormat(), JsonFormat(), ParquetFormat())}
"""By name, in the order in which tables are converted."""

ENDINGS = tuple(ending for file_format in FORMATS.values() for ending in file_format.endings)


def ending_of(name: str) -> str:
    """Return the last ending of a file's name, without that of a compression; "" for none."""
    suffixes = [s.lower() for s in PurePosixPath(name).suffixes]
    while suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def kind_of(name: str) -> str:
    """Return the name of a file's format; files with other endings are delimited text.

    Examples
    --------
    >>> kind_of("train.csv.gz"), kind_of("train.jsonl"), kind_of("notes.txt")
    ('text', 'lines', 'text')
    """
    ending = ending_of(name)
    return next((f.name for f in FORMATS.values() if ending in f.endings), "text")
