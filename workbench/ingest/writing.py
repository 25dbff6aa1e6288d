"""How every table is written: row groups, compression, and what the manifest says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from workbench.cache import file_sha256
from workbench.competition import TableInfo
from workbench.ingest.sources import Options, Table, options_key, stamp_of
from workbench.ingest.text import TextForm
from workbench.ingest.types import ColumnType

__all__ = ["COMPRESSION", "ROWS_PER_GROUP", "info_of"]

ROWS_PER_GROUP = 128 * 1024
COMPRESSION: Any = "lz4"
"""zstd is a fifth smaller and takes a third longer to write; reading is what happens again and again."""


def info_of(
    table: Table, path: Path, sha256: str, options: Options, form: TextForm | None, plan: dict[str, ColumnType]
) -> TableInfo:
    """Return the manifest's entry of a table that was written to `path`."""
    written = pl.scan_parquet(path)
    stat = path.stat()
    spelled = {c: t.spelled for c, t in plan.items() if t.spelled}
    return TableInfo(
        name=table.name,
        source=", ".join(p.name for p in table.parts),
        source_sha256=sha256,
        source_bytes=sum(p.size_bytes for p in table.parts),
        rows=int(written.select(pl.len()).collect().item()),
        dtypes={c: str(t) for c, t in written.collect_schema().items()},
        sha256=file_sha256(path),
        size_bytes=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        stamp=stamp_of(table),
        options=options_key(table, options),
        read=list(form.guessed) if form else [],
        spelled=spelled,
    )
