"""JSON lines: .jsonl, .ndjson."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from workbench.data.ingest.text import SourceFile, head_of

if TYPE_CHECKING:
    from workbench.data.competition import TableInfo
    from workbench.data.ingest.conversion_job import ConversionJob, GroupConverter
    from workbench.data.ingest.sources import TableSource

__all__ = ["LinesFormat"]

RECORD_LIMIT = 200
HEAD_BYTES = 1 << 20


class LinesFormat:
    """One JSON object per line; see `workbench.data.ingest.formats.FileFormat`."""

    name = "lines"
    endings: tuple[str, ...] = (".jsonl", ".ndjson")
    shares_types = False

    def are_parts(self, sources: Sequence[SourceFile], *, is_marked: bool) -> bool:
        """Tell whether the first records share most of their fields; any record may lack some."""
        if is_marked:
            return True
        fields = [f for source in sources if (f := _fields_of_first(source)) is not None]
        return all(f == fields[0] or 2 * len(f & fields[0]) > len(f | fields[0]) for f in fields)

    def columns(self, source: SourceFile) -> frozenset[str]:
        """Return the fields of the first records."""
        return frozenset(name for record in _first_records(source) for name in record)

    def first_rows(self, source: SourceFile, n_rows: int) -> pl.DataFrame:
        """Return the first records; values that are not strings are JSON."""
        records = _first_records(source)[:n_rows]
        names = list(dict.fromkeys(name for record in records for name in record))
        rows = [[None if r.get(n) is None else json.dumps(r[n]).strip('"') for n in names] for r in records]
        return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String()), orient="row")

    def key_head(self, table: TableSource, read_options: dict[str, Any]) -> tuple[list[str], pl.DataFrame] | None:
        """Return the fields of the first record, and of the records in its lists."""
        del read_options
        record = json.loads(_first_line(table.parts[0]))
        return (list(_fields(record)), pl.DataFrame()) if isinstance(record, dict) else None

    def convert(
        self, groups: list[list[TableSource]], stale: list[list[TableSource]], converter: GroupConverter
    ) -> dict[str, TableInfo]:
        """Convert each table by itself."""
        del groups
        from workbench.data.ingest.lines import lines_table

        def convert_one(group: list[TableSource], job: ConversionJob) -> dict[str, TableInfo]:
            (table,) = group
            job.context.say(f"converting {table.name}")
            return {table.name: lines_table(table, job)}

        infos: dict[str, TableInfo] = {}
        for group in stale:
            infos |= converter.convert(group, convert_one) or {}
        return infos


def _first_line(source: SourceFile) -> bytes:
    return head_of(source).lstrip(b"\xef\xbb\xbf\r\n\t ").partition(b"\n")[0]


def _fields_of_first(source: SourceFile) -> set[str] | None:
    try:
        return set(json.loads(_first_line(source)))
    except (ValueError, TypeError, RecursionError):
        return None


def _first_records(source: SourceFile) -> list[dict[str, Any]]:
    records = []
    for line in head_of(source, HEAD_BYTES).lstrip(b"\xef\xbb\xbf").split(b"\n")[:RECORD_LIMIT]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def _fields(record: Mapping[str, object]) -> Iterator[str]:
    """Yield the names of a record's fields, and of the fields of the records in its lists."""
    for name, value in record.items():
        yield name
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield from value[0]
