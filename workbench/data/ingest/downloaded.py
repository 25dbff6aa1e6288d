"""Files as they lie on disk: every value as its bytes have it, or as CSV would, for what must be compared so."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import polars as pl

from workbench.core.errors import DataError
from workbench.core.frames import read_parquet
from workbench.data.competition import TableInfo, as_written
from workbench.data.ingest.delimited import as_text
from workbench.data.ingest.sources import ReadOptions, members_of, sources_in
from workbench.data.ingest.text import SourceFile, TextForm, blocks, form_of, header_of

__all__ = ["read_as_downloaded", "read_parquet_as_text", "read_text_file"]

PLAIN = TextForm(encoding="utf-8", separator=",", lines="\n")


def read_text_file(path: Path, *, encoding: str | None = "utf-8") -> pl.DataFrame:
    """Return a CSV file, header and values as they stand there; an empty value is null.

    Parameters
    ----------
    path : Path
    encoding : str, or None
        None where encoding, separator and line ends are told from the file.

    Raises
    ------
    DataError
        When it has no header, or is not written in the encoding.
    polars.exceptions.PolarsError
        When a record has more or fewer fields than the header.
    """
    source = SourceFile(path.name, path)
    return _read(source, form_of(source, {}) if encoding is None else replace(PLAIN, encoding=encoding))


def read_parquet_as_text(path: Path) -> pl.DataFrame:
    """Return a Parquet file with its values as CSV would have them, to be compared like `read_text_file`'s."""
    return as_written(read_parquet(path), {}).select(pl.all().cast(pl.String))


def read_as_downloaded(raw: Path, info: TableInfo, options: ReadOptions) -> pl.DataFrame | None:
    """Return the delimited text that became a table, as `read_text_file` does.

    Parameters
    ----------
    raw : Path
        ``data/raw`` of the competition.
    info : TableInfo
    options : ReadOptions
        What competition.toml says of the reading.

    Returns
    -------
    DataFrame, or None
        None where the table was no delimited text, or several files, or the file is gone.
    """
    source = _source(raw, info.source, options.fixed)
    if source is None:
        return None
    return _read(source, form_of(source, options.read.get(info.name, {})))


def _source(raw: Path, name: str, fixed: Path | None) -> SourceFile | None:
    if name.lower().endswith((".parquet", ".json", ".jsonl", ".ndjson")) or ", " in name:
        return None
    if fixed is None or not fixed.is_dir():
        if (raw / name).is_file():
            return SourceFile(name, raw / name)
        for archive in sorted({*raw.glob("*.zip"), *(raw / name).parent.glob("*.zip")}):
            with suppress(DataError):  # another archive, which can't be read, holds other files
                member = next((s for s in members_of(archive, raw, {}) if s.name == name), None)
                if member is not None:
                    return member
        return None
    return next((s for s in sources_in(raw, fixed, {}) if s.name == name), None)


def _read(source: SourceFile, form: TextForm) -> pl.DataFrame:
    header = header_of(source, form)
    frames = [as_text(block, form, header) for block in blocks(source, form)]
    return pl.concat(frames) if frames else pl.DataFrame(schema=dict.fromkeys(header, pl.String()))
