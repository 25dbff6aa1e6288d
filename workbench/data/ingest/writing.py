"""Write tables as Parquet, frame by frame with bounded row groups, and make their manifest entries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from workbench.core.cache import atomic
from workbench.core.context import RunContext
from workbench.core.errors import DataError, storage_errors
from workbench.core.frames import scan_parquet
from workbench.data.competition import TableInfo
from workbench.data.ingest.followed_file import followed
from workbench.data.ingest.reserved import renamed_notes, safe_names
from workbench.data.ingest.sources import ReadOptions, TableSource, options_key, stamp_of
from workbench.data.ingest.text import TextForm
from workbench.data.ingest.types import ColumnType

__all__ = [
    "COMPRESSION",
    "ROWS_PER_GROUP",
    "TextReading",
    "WrittenTable",
    "guesses_of",
    "info_of",
    "report_beyond_64_bits",
    "rows_per_group",
    "write_frames",
]

ROWS_PER_GROUP = 128 * 1024
BLOCKS_PER_GROUP = 4
"""The size of a row group in blocks of `ReadOptions.block_bytes`, by default 64 MB: long rows make smaller groups."""

COMPRESSION: Any = "lz4"
"""zstd makes files a fifth smaller but takes a third longer to write."""


@dataclass(frozen=True)
class TextReading:
    """How a delimited text was read: its format, and the types by column."""

    form: TextForm
    types: Mapping[str, ColumnType]


@dataclass(frozen=True)
class WrittenTable:
    """The Parquet file of a table, and the SHA-256 of its bytes."""

    path: Path
    sha256: str


def guesses_of(plan: Mapping[str, ColumnType]) -> dict[str, dict[str, str]]:
    """Return `types`, `choices` and `notes` of a manifest entry."""
    return {
        "types": {c: t.named for c, t in plan.items() if t.is_guess and not t.is_stated},
        "choices": {c: t.named for c, t in plan.items() if " " in t.named and t.named != _plainest(t)},
        "notes": {c: t.note for c, t in plan.items() if t.note},
    }


def _plainest(planned: ColumnType) -> str:
    # Types without alternatives, such as booleans, have no plainest name.
    return planned.plainest if planned.is_stated or planned.plainest else planned.named


def rows_per_group(row_bytes: float, options: ReadOptions) -> int:
    """Return the number of rows of a row group whose rows take `row_bytes` on average."""
    return max(1, min(ROWS_PER_GROUP, int(BLOCKS_PER_GROUP * options.block_bytes / max(1.0, row_bytes))))


def write_frames(
    table: TableSource,
    path: Path,
    frames: Iterable[pl.DataFrame],
    schema: Mapping[str, pl.DataType],
    group_rows: int | None = None,
) -> WrittenTable:
    """Write an iterable of frames with the same schema to a Parquet file, in order, which is hashed as it grows.

    Parameters
    ----------
    table : TableSource
        For messages and for names of columns that must not change.
    path : Path
    frames : iterable of DataFrame
    schema : mapping
        The types by column; reserved names are replaced in the file.
    group_rows : int, optional
        The number of rows of a row group.

    Raises
    ------
    DataError
        When polars can't write the frames.
    StorageError
        When the disk is full.
    """
    failures: list[BaseException] = []

    def source(
        with_columns: list[str] | None, predicate: Any, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        del with_columns, predicate, n_rows, batch_size
        try:
            yield from frames
        except BaseException as exc:
            failures.append(exc)
            raise

    try:
        with atomic(path) as temporary, followed(temporary) as file:
            scan = register_io_source(source, schema=dict(schema))
            new_names = safe_names(table.name, schema)
            scan = scan.rename(new_names) if new_names else scan
            scan.sink_parquet(temporary, row_group_size=group_rows or ROWS_PER_GROUP, compression=COMPRESSION)
    except Exception as exc:
        if failures:
            # polars wraps the exceptions of the source.
            with storage_errors(path):
                raise failures[0] from None
        if isinstance(exc, pl.exceptions.PolarsError):
            raise DataError(f"{table.where} can't be converted to a table: {exc}") from exc
        raise
    with storage_errors(path):
        return WrittenTable(path, file.sha256)


def report_beyond_64_bits(context: RunContext, tables: Sequence[str], columns: Sequence[str]) -> None:
    """Report the columns whose integers are too large for 64 bits, and how to keep all digits."""
    for column in columns:
        context.say(
            f"{' and '.join(tables)}: column {column!r} has whole numbers beyond 64 bits; taken as Float64, which "
            f'keeps their first 15 digits ([types] "{column}" = "String" keeps all of them)'
        )


def info_of(
    table: TableSource,
    written: WrittenTable,
    sha256: str,
    options: ReadOptions,
    reading: TextReading | None = None,
    *,
    beyond_64_bits: Iterable[str] = (),
) -> TableInfo:
    """Return the manifest entry of a converted table.

    Parameters
    ----------
    table : TableSource
    written : WrittenTable
    sha256 : str
        The hash of its source.
    options : ReadOptions
    reading : TextReading, optional
        How a delimited text was read.
    beyond_64_bits : iterable of str
        The columns of floats that were integers too large for 64 bits, if there is no `reading`.
    """
    scan = scan_parquet(written.path)
    stat, dtypes = written.path.stat(), scan.collect_schema()
    types = {} if reading is None else reading.types
    new_names = safe_names(table.name, types)
    types = {new_names.get(c, c): t for c, t in types.items()}
    guesses = guesses_of(types)
    return TableInfo(
        name=table.name,
        source=", ".join(p.name for p in table.parts),
        source_sha256=sha256,
        source_bytes=sum(p.size_bytes for p in table.parts),
        rows=int(scan.select(pl.len()).collect().item()),
        dtypes={c: str(t) for c, t in dtypes.items()},
        sha256=written.sha256,
        size_bytes=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        stamp=stamp_of(table),
        options=options_key(table, options),
        read=[] if reading is None else list(reading.form.guessed),
        spelled={c: t.spelled for c, t in types.items() if t.spelled},
        codes=[c for c, t in types.items() if t.looks_numeric and options.keys.kind(c) == "code"],
        keys=[c for c in dtypes if options.keys.kind(c) == "key"],
        beyond_64_bits=[*beyond_64_bits, *(c for c, t in types.items() if t.beyond_64_bits)],
        types=guesses["types"],
        choices=guesses["choices"],
        notes=guesses["notes"] | renamed_notes(dtypes),
    )
