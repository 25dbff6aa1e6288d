"""Reading a named file with polars: the name is taken as it is written.

polars takes a path for a pattern: of ``ws[1]/train.parquet`` it looks for ``ws1/train.parquet``, and reads that where
it is there. Whatever reads a file by its path does so through these functions; a test holds it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

__all__ = ["parquet_schema", "read_csv", "read_parquet", "scan_csv", "scan_ipc", "scan_parquet"]


def scan_parquet(path: Path, **options: Any) -> pl.LazyFrame:
    """Scan a Parquet file; the options are those of `polars.scan_parquet`."""
    return pl.scan_parquet(path, glob=False, **options)


def read_parquet(path: Path, **options: Any) -> pl.DataFrame:
    """Read a Parquet file; the options are those of `polars.read_parquet`."""
    return pl.read_parquet(path, glob=False, **options)


def parquet_schema(path: Path) -> pl.Schema:
    """Return the columns of a Parquet file with their types."""
    return pl.scan_parquet(path, glob=False, hive_partitioning=False).collect_schema()


def scan_csv(path: Path, **options: Any) -> pl.LazyFrame:
    """Scan a CSV file; the options are those of `polars.scan_csv`."""
    return pl.scan_csv(path, glob=False, **options)


def read_csv(path: Path, **options: Any) -> pl.DataFrame:
    """Read a CSV file; the options are those of `polars.read_csv`."""
    return pl.read_csv(path, glob=False, **options)


def scan_ipc(path: Path, **options: Any) -> pl.LazyFrame:
    """Scan an Arrow IPC file; the options are those of `polars.scan_ipc`."""
    return pl.scan_ipc(path, glob=False, **options)
