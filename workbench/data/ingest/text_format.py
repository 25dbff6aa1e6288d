"""Delimited text: .csv, .tsv, .psv, and other text files that look like a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import polars as pl

from workbench.core.errors import DamagedError, DataError
from workbench.data.ingest.text import SourceFile, first_block, form_of, head_records, header_of

if TYPE_CHECKING:
    from workbench.data.competition import TableInfo
    from workbench.data.ingest.conversion_job import GroupConverter
    from workbench.data.ingest.sources import TableSource

__all__ = ["TextFormat"]

KEY_HEAD_BYTES = 256 * 1024


class TextFormat:
    """Delimited text; see `workbench.data.ingest.formats.FileFormat`."""

    name = "text"
    endings: tuple[str, ...] = (".csv", ".tsv", ".psv")
    shares_types = True

    def are_parts(self, sources: Sequence[SourceFile], *, is_marked: bool) -> bool:  # noqa: ARG002 the header decides
        """Tell whether all files have the same columns."""
        try:
            return len({self.columns(source) for source in sources}) == 1
        except (DataError, DamagedError):
            return False  # the conversion reports the file that can't be read

    def columns(self, source: SourceFile) -> frozenset[str]:
        """Return the names in the header."""
        return frozenset(header_of(source, form_of(source, {})))

    def first_rows(self, source: SourceFile, n_rows: int) -> pl.DataFrame:
        """Return the first records with as many fields as the header."""
        form = form_of(source, {})
        header = header_of(source, form)
        records = [r for r in islice(head_records(source, form), 1, n_rows + 1) if len(r) == len(header)]
        return pl.DataFrame(records, schema=dict.fromkeys(header, pl.String()), orient="row")

    def key_head(self, table: TableSource, read_options: dict[str, Any]) -> tuple[list[str], pl.DataFrame]:
        """Return the header and the rows of the first part that has some."""
        from workbench.data.ingest.delimited import as_text

        form = form_of(table.parts[0], read_options)
        header = header_of(table.parts[0], form)
        for part in table.parts:
            if block := first_block(part, form, KEY_HEAD_BYTES):
                return header, as_text(block, form, header)
        return header, pl.DataFrame(schema=dict.fromkeys(header, pl.String()))

    def convert(
        self, groups: list[list[TableSource]], stale: list[list[TableSource]], converter: GroupConverter
    ) -> dict[str, TableInfo]:
        """Convert tables; the values of all of them decide how dates and numbers are read."""
        from workbench.data.ingest.delimited import convert_text_groups

        return convert_text_groups(groups, stale, converter)
