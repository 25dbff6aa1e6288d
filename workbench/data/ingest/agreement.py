"""Train and test share the types of their columns, however their files are written; what is changed for it is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from workbench.core.cache import atomic
from workbench.core.frames import parquet_schema, scan_parquet
from workbench.data.competition import TableInfo
from workbench.data.ingest.large import GREATEST, LEAST
from workbench.data.ingest.reconciled import EXACT, common_type, is_lossless
from workbench.data.ingest.sources import ReadOptions, TableSource
from workbench.data.ingest.writing import COMPRESSION, ROWS_PER_GROUP, info_of

__all__ = ["agreed"]

Report = Callable[[str], None]
Types = dict[str, pl.DataType]


@dataclass(frozen=True)
class _WrittenTable:
    """A table that is converted: its file and the types of its columns."""

    table: TableSource
    path: Path
    types: Types

    def is_empty(self, column: str) -> bool:
        """Whether a column has no value at all."""
        values = scan_parquet(self.path).select(pl.col(column).is_not_null().any())
        return not values.collect(engine="streaming").item()


def agreed(
    group: list[TableSource], infos: Mapping[str, TableInfo], tables: Path, options: ReadOptions, report: Report
) -> dict[str, TableInfo]:
    """Return the entries of the tables that were rewritten, so that columns of the same name have the same type.

    A column without any value has no type of its own and takes that of the other tables; types that only differ in
    width, or in how they keep a text, become the wider one. What differs otherwise is left, and said. Tables of text,
    and those of Parquet, have agreed among themselves while they were read.
    """
    written = []
    for table in group:
        path = tables / f"{table.name}.parquet"
        if table.name in infos:
            written.append(_WrittenTable(table, path, dict(parquet_schema(path))))
    changes: dict[str, Types] = {w.table.name: {} for w in written}
    for column in dict.fromkeys(c for w in written for c in w.types):
        having = [w for w in written if column in w.types and not options.stated_type(w.table.name, column)]
        kinds = {w.table.kind for w in having}
        if len({str(w.types[column]) for w in having}) > 1 and kinds not in ({"text"}, {"parquet"}):
            for name, dtype in _shared(column, having, report).items():
                changes[name][column] = dtype
    return {
        w.table.name: _rewritten(w, changes[w.table.name], infos[w.table.name], options)
        for w in written
        if changes[w.table.name]
    }


def _shared(column: str, having: list[_WrittenTable], report: Report) -> Types:
    """Return the type of a column in the tables where it changes."""
    filled = [w for w in having if not w.is_empty(column)]
    types_by_table = ", ".join(f"{w.types[column] if w in filled else 'empty'} in {w.table.name}" for w in having)
    names = " and ".join(w.table.name for w in having)
    types = [w.types[column] for w in filled]
    shared = types[0] if types else None
    for other in types[1:]:
        shared = None if shared is None else common_type(shared, other)
    if types and (shared is None or not all(_holds(shared, w, column) for w in filled)):
        report(f"{names}: column {column!r} is {types_by_table}; left as they are")
        # What is empty agrees with any of them: with the first, which is mostly train.
        shared = types[0] if len(set(types)) == 1 else None
    elif types:
        report(f"{names}: column {column!r} is {types_by_table}; taken as {shared} in all")
    if shared is None:
        return {}
    return {w.table.name: shared for w in having if w.types[column] != shared}


def _holds(shared: pl.DataType, written: _WrittenTable, column: str) -> bool:
    """Whether a type holds all values of a column: whole numbers among fractions up to 2**53."""
    dtype = written.types[column]
    if dtype == pl.UInt64 and shared.is_signed_integer():
        least, greatest = LEAST, GREATEST
    elif is_lossless(dtype, shared):
        return True
    elif not dtype.is_integer() or not shared.is_float():
        return False
    else:
        least, greatest = -EXACT, EXACT
    values = pl.col(column).cast(pl.Int128)
    scan = scan_parquet(written.path)
    low, high = scan.select(values.min().alias("low"), values.max().alias("high")).collect(engine="streaming").row(0)
    return bool(low >= least and high <= greatest)


def _rewritten(written: _WrittenTable, types: Types, info: TableInfo, options: ReadOptions) -> TableInfo:
    scan = scan_parquet(written.path)
    # An empty column may be of a type that is no cast of text: a list, a struct.
    empty = {c for c in types if written.is_empty(c)}
    columns = [pl.lit(None, dtype=t).alias(c) if c in empty else pl.col(c).cast(t) for c, t in types.items()]
    with atomic(written.path) as temporary:
        scan.with_columns(columns).sink_parquet(temporary, row_group_size=ROWS_PER_GROUP, compression=COMPRESSION)
    new = info_of(written.table, written.path, info.source_sha256, options)
    # What was guessed of the files' writing holds for the columns as they were read.
    return replace(new, read=info.read, spelled={c: s for c, s in info.spelled.items() if c not in types})
