"""Reading a named file with polars: the name is taken as it is written. And writing CSV, with its header.

polars takes a path for a pattern: of ``ws[1]/train.parquet`` it looks for ``ws1/train.parquet``, and reads that where
it is there. Whatever reads a file by its path does so through these functions; a test holds it.
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

LONGEST_HEADER_BYTES = 64 << 20


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
    """Scan a CSV file in UTF-8 with a header; the options are those of `polars.scan_csv`."""
    header, separator = _header(path, options.get("separator", ",")), options.get("separator", ",")
    names = header_names(header.removeprefix("\ufeff").strip("\r\n"), separator)
    if header.count('"') % 2 and header.endswith("\n"):
        # To polars a lone quote in a name opens a text that goes on behind the header.
        options |= {"has_header": False, "skip_lines": header.count("\n"), "new_columns": names}
        return pl.scan_csv(path, glob=False, **options, raise_if_empty=False)
    scan = pl.scan_csv(path, glob=False, **options)
    shown = scan.collect_schema().names()
    renamed = {a: b for a, b in zip(shown, names, strict=False) if a != b}
    return scan.rename(renamed) if renamed and len(shown) == len(names) else scan


def _header(path: Path, separator: str) -> str:
    data, size = b"", 1 << 20
    with path.open("rb") as file:
        # Twice as much each time: what has no end is looked at twice over at most.
        while len(data) < LONGEST_HEADER_BYTES and (piece := file.read(size)):
            data, size = data + piece, len(data) + len(piece)
            if end := end_of_header(data, separator):
                return data[:end].decode("utf-8", "replace")
    return data.decode("utf-8", "replace")


def read_csv(path: Path, **options: Any) -> pl.DataFrame:
    """Read a CSV file in UTF-8 with a header; the options are those of `polars.scan_csv`."""
    return scan_csv(path, **options).collect()


def write_csv(frame: pl.DataFrame, file: Path | IO[bytes], *, include_header: bool = True) -> None:
    """Write a frame as CSV, in place of the file that is there or where an open one stands."""
    if isinstance(file, Path):
        with file.open("wb") as opened:
            write_csv(frame, opened, include_header=include_header)
        return
    if include_header:
        file.write(header_line(frame.columns).encode())
    frame.write_csv(file, include_header=False)


def sink_csv(frame: pl.LazyFrame, path: Path, **options: Any) -> None:
    """Write a frame as CSV, streaming; the options are those of `polars.LazyFrame.sink_csv`."""
    with path.open("wb") as file:
        file.write(header_line(frame.collect_schema().names()).encode())
        frame.sink_csv(file, include_header=False, **options)


def scan_ipc(path: Path, **options: Any) -> pl.LazyFrame:
    """Scan an Arrow IPC file; the options are those of `polars.scan_ipc`."""
    return pl.scan_ipc(path, glob=False, **options)
