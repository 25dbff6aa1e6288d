"""Make the columns of train and test agree on types after conversion, where their files have several formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from workbench.core.cache import atomic, file_sha256
from workbench.core.context import RunContext
from workbench.core.frames import parquet_schema, scan_parquet
from workbench.data.competition import TableInfo
from workbench.data.ingest.conversion_job import ConversionJob
from workbench.data.ingest.formats import FORMATS
from workbench.data.ingest.large import MAX_INT64, MIN_INT64
from workbench.data.ingest.reconciled import MAX_EXACT, common_type, is_lossless
from workbench.data.ingest.sources import ReadOptions, TableSource
from workbench.data.ingest.writing import COMPRESSION, ROWS_PER_GROUP, WrittenTable, info_of

__all__ = ["agree_on_types"]

Types = dict[str, pl.DataType]


@dataclass(frozen=True)
class _ConvertedTable:
    """A converted table: its Parquet file and the types of its columns."""

    table: TableSource
    path: Path
    types: Types

    def is_empty(self, column: str) -> bool:
        """Tell whether a column has no value."""
        values = scan_parquet(self.path).select(pl.col(column).is_not_null().any())
        return not values.collect(engine="streaming").item()


def agree_on_types(
    group: list[TableSource], infos: Mapping[str, TableInfo], job: ConversionJob
) -> dict[str, TableInfo]:
    """Rewrite tables so that columns of the same name have the same type; return the entries of rewritten tables.

    Empty columns take the type of the other tables; types that differ in width, or in the representation of text,
    become the wider one. Other differences are reported and stay. Tables of a format that shares types already agree
    among themselves.
    """
    converted = []
    for table in group:
        path = job.parquet_path(table)
        if table.name in infos:
            converted.append(_ConvertedTable(table, path, dict(parquet_schema(path))))
    changes: dict[str, Types] = {c.table.name: {} for c in converted}
    for column in dict.fromkeys(name for c in converted for name in c.types):
        tables = [c for c in converted if column in c.types and not job.options.stated_type(c.table.name, column)]
        kinds = {c.table.kind for c in tables}
        have_agreed = len(kinds) == 1 and FORMATS[min(kinds)].shares_types
        if len({str(c.types[column]) for c in tables}) > 1 and not have_agreed:
            for name, dtype in _changed_types(column, tables, job.context).items():
                changes[name][column] = dtype
    return {
        c.table.name: _rewrite(c, changes[c.table.name], infos[c.table.name], job.options)
        for c in converted
        if changes[c.table.name]
    }


def _changed_types(column: str, tables: list[_ConvertedTable], context: RunContext) -> Types:
    """Return the new type of a column by table, for the tables where it changes."""
    filled = [t for t in tables if not t.is_empty(column)]
    types_by_table = ", ".join(f"{t.types[column] if t in filled else 'empty'} in {t.table.name}" for t in tables)
    names = " and ".join(t.table.name for t in tables)
    types = [t.types[column] for t in filled]
    shared = types[0] if types else None
    for other in types[1:]:
        shared = None if shared is None else common_type(shared, other)
    if types and (shared is None or not all(_can_hold(shared, t, column) for t in filled)):
        context.say(f"{names}: column {column!r} is {types_by_table}; left as they are")
        # Empty columns can still take the type of the others, if these have the same.
        shared = types[0] if len(set(types)) == 1 else None
    elif types:
        context.say(f"{names}: column {column!r} is {types_by_table}; taken as {shared} in all")
    if shared is None:
        return {}
    return {t.table.name: shared for t in tables if t.types[column] != shared}


def _can_hold(shared: pl.DataType, converted: _ConvertedTable, column: str) -> bool:
    """Tell whether a type holds all values of a column: floats hold integers up to 2**53."""
    dtype = converted.types[column]
    if dtype == pl.UInt64 and shared.is_signed_integer():
        lowest, highest = MIN_INT64, MAX_INT64
    elif is_lossless(dtype, shared):
        return True
    elif not dtype.is_integer() or not shared.is_float():
        return False
    else:
        lowest, highest = -MAX_EXACT, MAX_EXACT
    values = pl.col(column).cast(pl.Int128)
    scan = scan_parquet(converted.path)
    low, high = scan.select(values.min().alias("low"), values.max().alias("high")).collect(engine="streaming").row(0)
    return bool(low >= lowest and high <= highest)


def _rewrite(converted: _ConvertedTable, types: Types, info: TableInfo, options: ReadOptions) -> TableInfo:
    """Write a table again with other types, and return its new entry of the manifest."""
    scan = scan_parquet(converted.path)
    # An empty column of text can't be cast to a list or a struct.
    empty = {c for c in types if converted.is_empty(c)}
    columns = [pl.lit(None, dtype=t).alias(c) if c in empty else pl.col(c).cast(t) for c, t in types.items()]
    with atomic(converted.path) as temporary:
        scan.with_columns(columns).sink_parquet(temporary, row_group_size=ROWS_PER_GROUP, compression=COMPRESSION)
    written = WrittenTable(converted.path, file_sha256(converted.path))
    rewritten_info = info_of(converted.table, written, info.source_sha256, options)
    # The guesses about the files stay, except the spelling of columns whose type has changed.
    return replace(rewritten_info, read=info.read, spelled={c: s for c, s in info.spelled.items() if c not in types})
