"""Read files with polars by their literal path, and write CSV files.

polars treats a path as a glob pattern: for ``ws[1]/train.parquet`` it reads ``ws1/train.parquet``. All code that reads
a file by its path must use these functions instead, which a test enforces.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import polars as pl

from workbench.core.headers import end_of_header, header_line, header_names

__all__ = [
    "parquet_schema",
    "read_csv",
    "read_parquet",
    "scan_csv",
    "scan_ipc",
    "scan_parquet",
    "sink_csv",
    "write_csv",
]

MAX_HEADER_BYTES = 64 << 20
"""A file without a line end in its first 64 MB is treated as one header."""


def scan_parquet(path: Path, **options: Any) -> pl.LazyFrame:
    """Scan a Parquet file; the options are those of `polars.scan_parquet`."""
    return pl.scan_parquet(path, glob=False, **options)


def read_parquet(path: Path, **options: Any) -> pl.DataFrame:
    """Read a Parquet file; the options are those of `polars.read_parquet`."""
    return pl.read_parquet(path, glob=False, **options)


def parquet_schema(path: Path) -> pl.Schema:
    """Return the names and types of a Parquet file's columns."""
    return pl.scan_parquet(path, glob=False, hive_partitioning=False).collect_schema()


def scan_csv(path: Path, **options: Any) -> pl.LazyFrame:
    """Scan a CSV file in UTF-8 with a header; the options are those of `polars.scan_csv`."""
    separator = options.get("separator", ",")
    header = _read_header(path, separator)
    names = header_names(header.removeprefix("\ufeff").strip("\r\n"), separator)
    if header.count('"') % 2 and header.endswith("\n"):
        # For polars an unpaired quote in a name opens a quoted field that continues after the header.
        options |= {"has_header": False, "skip_lines": header.count("\n"), "new_columns": names}
        return pl.scan_csv(path, glob=False, **options, raise_if_empty=False)
    scan = pl.scan_csv(path, glob=False, **options)
    polars_names = scan.collect_schema().names()
    renamed = {old: new for old, new in zip(polars_names, names, strict=False) if old != new}
    return scan.rename(renamed) if renamed and len(polars_names) == len(names) else scan


def _read_header(path: Path, separator: str) -> str:
    data, size = b"", 1 << 20
    with path.open("rb") as file:
        # Doubling the size keeps the total time of scanning a long header linear.
        while len(data) < MAX_HEADER_BYTES and (chunk := file.read(size)):
            data, size = data + chunk, len(data) + len(chunk)
            if end := end_of_header(data, separator):
                return data[:end].decode("utf-8", "replace")
    return data.decode("utf-8", "replace")


def read_csv(path: Path, **options: Any) -> pl.DataFrame:
    """Read a CSV file in UTF-8 with a header; the options are those of `polars.scan_csv`."""
    return scan_csv(path, **options).collect()


def write_csv(frame: pl.DataFrame, file: Path | IO[bytes], *, include_header: bool = True) -> None:
    """Write a frame as CSV: replace the file at a path, or write to an open file at its position."""
    if isinstance(file, Path):
        with file.open("wb") as open_file:
            write_csv(frame, open_file, include_header=include_header)
        return
    if include_header:
        file.write(header_line(frame.columns).encode())
    frame.write_csv(file, include_header=False)


def sink_csv(frame: pl.LazyFrame, path: Path, **options: Any) -> None:
    """Write a lazy frame as CSV with the streaming engine; the options are those of `polars.LazyFrame.sink_csv`."""
    with path.open("wb") as file:
        file.write(header_line(frame.collect_schema().names()).encode())
        frame.sink_csv(file, include_header=False, **options)


def scan_ipc(path: Path, **options: Any) -> pl.LazyFrame:
    """Scan an Arrow IPC file; the options are those of `polars.scan_ipc`."""
    return pl.scan_ipc(path, glob=False, **options)
