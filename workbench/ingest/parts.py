"""Parquet files -> tables."""

from __future__ import annotations

import codecs
from pathlib import Path, PurePosixPath

import polars as pl

from workbench.cache import atomic
from workbench.competition import TableInfo
from workbench.errors import DataError, WorkbenchError, storage_errors
from workbench.ingest.sources import PACKED, Options, Table, table_name
from workbench.ingest.text import Source, head_of, sha256_of
from workbench.ingest.writing import COMPRESSION, ROWS_PER_GROUP, info_of

__all__ = ["parquet_table", "plain_file"]


def parquet_table(table: Table, tables: Path, options: Options) -> TableInfo:
    """Convert a Parquet file."""
    path = tables / f"{table.name}.parquet"
    (source,) = table.parts
    unpacked = None
    try:
        unpacked = plain_file(source, tables)
        frame = pl.scan_parquet(unpacked or source.path)
        with atomic(path) as temporary:
            frame.sink_parquet(temporary, row_group_size=ROWS_PER_GROUP, compression=COMPRESSION)
    except WorkbenchError:
        raise
    except (pl.exceptions.PolarsError, ValueError) as exc:
        first = (str(exc).strip().splitlines() or ["unreadable"])[0]
        raise DataError(
            f"{table.where} can't be converted to a table: {first}", hint="if the file is cut, fetch it again"
        ) from exc
    finally:
        if unpacked is not None:
            unpacked.unlink(missing_ok=True)
    return info_of(table, path, sha256_of(source), options)


def plain_file(source: Source, folder: Path) -> Path | None:
    """Write the content of a packed source to a file, since polars reads only those in bounded memory."""
    has_mark = head_of(source, 3) == codecs.BOM_UTF8
    if source.member is None and PurePosixPath(source.name).suffix.lower() not in PACKED and not has_mark:
        return None
    import shutil

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f".{table_name(source.name)}.unpacked.tmp"
    with storage_errors(target), source.opened() as file, target.open("wb") as out:
        if has_mark:
            file.read(3)
        shutil.copyfileobj(file, out, 1 << 20)
    return target
