"""JSON documents: .json. A .json file with one object per line is read as JSON lines."""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from workbench.data.ingest.text import SourceFile, head_of

if TYPE_CHECKING:
    import polars as pl

    from workbench.data.competition import TableInfo
    from workbench.data.ingest.conversion_job import ConversionJob, GroupConverter
    from workbench.data.ingest.sources import TableSource

__all__ = ["JsonFormat", "first_byte"]


class JsonFormat:
    """A JSON document of records or columns; see `workbench.data.ingest.formats.FileFormat`."""

    name = "json"
    endings: tuple[str, ...] = (".json",)
    shares_types = False

    def are_parts(self, sources: Sequence[SourceFile], *, is_marked: bool) -> bool:
        """Return False: a document is a table of its own."""
        del sources, is_marked
        return False

    def columns(self, source: SourceFile) -> None:
        """Return None: only parsing the document would tell."""
        del source

    def first_rows(self, source: SourceFile, n_rows: int) -> None:
        """Return None: only parsing the document would tell."""
        del source, n_rows

    def key_head(self, table: TableSource, read_options: dict[str, Any]) -> tuple[list[str], pl.DataFrame] | None:
        """Return None: only parsing the document would tell."""
        del table, read_options
        return None

    def convert(
        self, groups: list[list[TableSource]], stale: list[list[TableSource]], converter: GroupConverter
    ) -> dict[str, TableInfo]:
        """Convert each table by itself; train and test read objects of objects in the same orientation."""
        from workbench.data.ingest.documents import shared_orient

        documents = [t for group in groups for t in group if t.is_train_or_test and _is_document(t)]
        stale_names = {t.name for group in stale for t in group}
        has_open_orient = any(t.name in stale_names and first_byte(t.parts[0]) == b"{" for t in documents)
        orient = None
        if len(documents) > 1 and has_open_orient:
            orient = shared_orient(documents, converter.job.options)
        infos: dict[str, TableInfo] = {}
        for group in stale:
            infos |= converter.convert(group, partial(_convert_one, orient=orient)) or {}
        return infos


def _convert_one(group: list[TableSource], job: ConversionJob, orient: str | None) -> dict[str, TableInfo]:
    from workbench.data.ingest.documents import document_table
    from workbench.data.ingest.lines import lines_table

    (table,) = group
    job.context.say(f"converting {table.name}")
    if _is_document(table):
        return {table.name: document_table(table, job, orient if table.is_train_or_test else None)}
    return {table.name: lines_table(table, job)}


def first_byte(source: SourceFile) -> bytes:
    """Return the first byte of a text that is no white space."""
    return head_of(source, 4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]


def _is_document(table: TableSource) -> bool:
    source = table.parts[0]
    return first_byte(source) in (b"[", b"{") and not _is_lines(source)


def _is_lines(source: SourceFile) -> bool:
    """Tell whether a file has one JSON object per line."""
    first, _, further_lines = head_of(source).removeprefix(codecs.BOM_UTF8).strip().partition(b"\n")
    try:
        return isinstance(json.loads(first), dict) and further_lines.lstrip()[:1] == b"{"
    except (ValueError, RecursionError):
        return False
