"""How every table is written: frame by frame, in bounded row groups, whole or not at all; and its manifest entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from workbench.core.cache import atomic, file_sha256
from workbench.core.errors import DataError, storage_errors
from workbench.core.frames import scan_parquet
from workbench.data.competition import TableInfo
from workbench.data.ingest.reserved import renamed_notes, safe_names
from workbench.data.ingest.sources import ReadOptions, TableSource, options_key, stamp_of
from workbench.data.ingest.text import TextForm
from workbench.data.ingest.types import ColumnType

__all__ = [
    "COMPRESSION",
    "ROWS_PER_GROUP",
    "guesses_of",
    "info_of",
    "rows_per_group",
    "say_beyond_64_bits",
    "write_frames",
]

ROWS_PER_GROUP = 128 * 1024
GROUP_BLOCKS = 4
"""Rows that are long, as sessions are with all their events, make smaller groups: of so many blocks, 64 MB."""

COMPRESSION: Any = "lz4"
"""zstd is a fifth smaller and takes a third longer to write; reading is what happens again and again."""


def guesses_of(plan: Mapping[str, ColumnType]) -> dict[str, dict[str, str]]:
    """Return what the manifest says of guesses: the types, those that are choices, and why."""
    return {
        "types": {c: t.named for c, t in plan.items() if t.is_guess and not t.is_stated},
        "choices": {c: t.named for c, t in plan.items() if " " in t.named and t.named != _plainest(t)},
        "notes": {c: t.note for c, t in plan.items() if t.note},
    }


def _plainest(planned: ColumnType) -> str:
    # Words for yes and no have one reading, unless competition.toml names it.
    return planned.plainest if planned.is_stated or planned.plainest else planned.named


def rows_per_group(row_bytes: float, options: ReadOptions) -> int:
    """Return how many rows of so many bytes make a row group."""
    return max(1, min(ROWS_PER_GROUP, int(GROUP_BLOCKS * options.block_bytes / max(1.0, row_bytes))))


def write_frames(
    table: TableSource,
    path: Path,
    frames: Iterable[pl.DataFrame],
    schema: Mapping[str, pl.DataType],
    group_rows: int | None = None,
) -> None:
    """Write frames of one schema to a table's file, in order, while they come.

    Raises
    ------
    DataError
        When polars can't write them.
    StorageError
        When the disk is full.
    """
    failure: list[BaseException] = []

    def source(
        with_columns: list[str] | None, predicate: Any, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        del with_columns, predicate, n_rows, batch_size
        try:
            yield from frames
        except BaseException as exc:
            failure.append(exc)
            raise

    try:
        with atomic(path) as temporary:
            scanned = register_io_source(source, schema=dict(schema))
            names = safe_names(table.name, schema)
            scanned = scanned.rename(names) if names else scanned
            scanned.sink_parquet(temporary, row_group_size=group_rows or ROWS_PER_GROUP, compression=COMPRESSION)
    except Exception as exc:
        if failure:
            # What was raised while reading comes back wrapped by polars.
            with storage_errors(path):
                raise failure[0] from None
        if isinstance(exc, pl.exceptions.PolarsError):
            raise DataError(f"{table.where} can't be converted to a table: {exc}") from exc
        raise


def say_beyond_64_bits(report: Callable[[str], None], tables: Sequence[str], columns: Sequence[str]) -> None:
    """Say of which columns the whole numbers are too large for 64 bits, and how their digits are kept."""
    for column in columns:
        report(
            f"{' and '.join(tables)}: column {column!r} has whole numbers beyond 64 bits; taken as Float64, which "
            f'keeps their first 15 digits ([types] "{column}" = "String" keeps all of them)'
        )


def info_of(
    table: TableSource,
    path: Path,
    sha256: str,
    options: ReadOptions,
    form: TextForm | None = None,
    plan: Mapping[str, ColumnType] | None = None,
    *,
    beyond_64_bits: Iterable[str] = (),
) -> TableInfo:
    """Return the manifest's entry of a table that was written to `path`."""
    written = scan_parquet(path)
    stat, dtypes = path.stat(), written.collect_schema()
    names = safe_names(table.name, plan or {})
    plan = {names.get(c, c): t for c, t in (plan or {}).items()}
    guesses = guesses_of(plan)
    return TableInfo(
        name=table.name,
        source=", ".join(p.name for p in table.parts),
        source_sha256=sha256,
        source_bytes=sum(p.size_bytes for p in table.parts),
        rows=int(written.select(pl.len()).collect().item()),
        dtypes={c: str(t) for c, t in dtypes.items()},
        sha256=file_sha256(path),
        size_bytes=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        stamp=stamp_of(table),
        options=options_key(table, options),
        read=list(form.guessed) if form else [],
        spelled={c: t.spelled for c, t in plan.items() if t.spelled},
        codes=[c for c, t in plan.items() if t.looks_numeric and options.keys.kind(c) == "code"],
        keys=[c for c in dtypes if options.keys.kind(c) == "key"],
        beyond_64_bits=[*beyond_64_bits, *(c for c, t in plan.items() if t.beyond_64_bits)],
        types=guesses["types"],
        choices=guesses["choices"],
        notes=guesses["notes"] | renamed_notes(dtypes),
    )
