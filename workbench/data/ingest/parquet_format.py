"""Parquet: .parquet."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from workbench.core.frames import parquet_schema, scan_parquet
from workbench.data.ingest.text import SourceFile

if TYPE_CHECKING:
    from workbench.data.competition import TableInfo
    from workbench.data.ingest.conversion_job import GroupConverter
    from workbench.data.ingest.sources import TableSource

__all__ = ["ParquetFormat"]

HEAD_ROWS = 200


class ParquetFormat:
    """Parquet files; see `workbench.data.ingest.formats.FileFormat`."""

    name = "parquet"
    endings: tuple[str, ...] = (".parquet",)
    shares_types = True

    def are_parts(self, sources: Sequence[SourceFile], *, is_marked: bool) -> bool:
        """Tell whether the files have the same columns, as far as they can be read without unpacking."""
        if is_marked:
            return True
        columns = [c for source in sources if (c := _schema_columns(source)) is not None]
        return all(c == columns[0] for c in columns)

    def columns(self, source: SourceFile) -> frozenset[str]:
        """Return the columns of the schema."""
        return frozenset(_head(source, HEAD_ROWS).columns)

    def first_rows(self, source: SourceFile, n_rows: int) -> pl.DataFrame:
        """Return the first rows of the columns that have neither nested nor binary values."""
        frame = _head(source, n_rows)
        plain = [c for c, t in frame.schema.items() if not t.is_nested() and t != pl.Binary]
        return frame.select(pl.col(plain).cast(pl.String, strict=False))

    def key_head(self, table: TableSource, read_options: dict[str, Any]) -> tuple[list[str], pl.DataFrame] | None:
        """Return the columns of a file that is not in an archive; its values have types, and no spelling."""
        del read_options
        part = table.parts[0]
        return (list(parquet_schema(part.path)), pl.DataFrame()) if part.member is None else None

    def convert(
        self, groups: list[list[TableSource]], stale: list[list[TableSource]], converter: GroupConverter
    ) -> dict[str, TableInfo]:
        """Convert each group, with the same types in train and test."""
        del groups
        from workbench.data.ingest.parts import parquet_tables

        infos: dict[str, TableInfo] = {}
        for group in stale:
            infos |= converter.convert(group, parquet_tables) or {}
        return infos


def _schema_columns(source: SourceFile) -> set[str] | None:
    if source.member is not None or not source.name.lower().endswith(".parquet"):
        return None
    try:
        return set(parquet_schema(source.path))
    except (ValueError, TypeError, pl.exceptions.PolarsError):
        return None


def _head(source: SourceFile, n_rows: int) -> pl.DataFrame:
    if source.member is None and source.name.lower().endswith(".parquet"):
        return scan_parquet(source.path).head(n_rows).collect()
    with source.opened() as file:
        return pl.read_parquet(io.BytesIO(file.read()), n_rows=n_rows, hive_partitioning=False)
