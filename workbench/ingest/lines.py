"""JSON lines -> tables."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from workbench.cache import atomic
from workbench.competition import TableInfo
from workbench.errors import DataError, WorkbenchError
from workbench.ingest.documents import json_fault
from workbench.ingest.parts import plain_file
from workbench.ingest.sources import Options, Table
from workbench.ingest.text import sha256_of
from workbench.ingest.writing import COMPRESSION, ROWS_PER_GROUP, info_of

__all__ = ["lines_table"]


def lines_table(table: Table, tables: Path, options: Options) -> TableInfo:
    """Convert a file of one JSON object a line."""
    path = tables / f"{table.name}.parquet"
    (source,) = table.parts
    unpacked = None
    try:
        unpacked = plain_file(source, tables)
        frame = pl.scan_ndjson(unpacked or source.path, infer_schema_length=None)
        with atomic(path) as temporary:
            frame.sink_parquet(temporary, row_group_size=ROWS_PER_GROUP, compression=COMPRESSION)
    except WorkbenchError:
        raise
    except (pl.exceptions.PolarsError, ValueError) as exc:
        first = (str(exc).strip().splitlines() or ["unreadable"])[0]
        raise DataError(
            f"{table.where} can't be converted to a table: {json_fault(source) or first}",
            hint="if the file is cut, fetch it again",
        ) from exc
    finally:
        if unpacked is not None:
            unpacked.unlink(missing_ok=True)
    return info_of(table, path, sha256_of(source), options, None, {})
