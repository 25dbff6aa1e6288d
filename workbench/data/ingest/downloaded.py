"""Read files as text, each value exactly as the file writes it, to compare submissions with downloaded files."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import polars as pl

from workbench.core.errors import DataError
from workbench.core.frames import read_parquet
from workbench.data.competition import TableInfo, as_written
from workbench.data.ingest.delimited import as_text
from workbench.data.ingest.formats import kind_of
from workbench.data.ingest.sources import ReadOptions, members_of, sources_in
from workbench.data.ingest.text import SourceFile, TextForm, blocks, form_of, header_of

__all__ = ["read_as_downloaded", "read_parquet_as_text", "read_text_file"]

PLAIN = TextForm(encoding="utf-8", separator=",", line_end="\n")


def read_text_file(path: Path, *, encoding: str | None = "utf-8") -> pl.DataFrame:
    """Read a CSV file with all values as text; an empty value is null.

    Parameters
    ----------
    path : Path
    encoding : str, or None
        None to detect encoding, separator and line ends.

    Raises
    ------
    DataError
        When the file has no header, or is not in the encoding.
    polars.exceptions.PolarsError
        When a record has more or fewer fields than the header.
    """
    source = SourceFile(path.name, path)
    return _read(source, form_of(source, {}) if encoding is None else replace(PLAIN, encoding=encoding))


def read_parquet_as_text(path: Path) -> pl.DataFrame:
    """Read a Parquet file with all values as text, as a CSV file would write them."""
    return as_written(read_parquet(path), {}).select(pl.all().cast(pl.String))


def read_as_downloaded(raw: Path, info: TableInfo, options: ReadOptions) -> pl.DataFrame | None:
    """Read the delimited text that a table was converted from, with all values as text.

    Parameters
    ----------
    raw : Path
        ``data/raw`` of the competition.
    info : TableInfo
    options : ReadOptions
        The settings of competition.toml.

    Returns
    -------
    DataFrame, or None
        None where the table was not one file of delimited text, or the file no longer exists.
    """
    source = _source(raw, info.source, options.fixed)
    if source is None:
        return None
    return _read(source, form_of(source, options.read.get(info.name, {})))


def _source(raw: Path, name: str, fixed: Path | None) -> SourceFile | None:
    if kind_of(name) != "text" or ", " in name:
        return None
    if fixed is None or not fixed.is_dir():
        if (raw / name).is_file():
            return SourceFile(name, raw / name)
        for archive in sorted({*raw.glob("*.zip"), *(raw / name).parent.glob("*.zip")}):
            with suppress(DataError):  # an archive that can't be read
                member = next((s for s in members_of(archive, raw, {}) if s.name == name), None)
                if member is not None:
                    return member
        return None
    return next((s for s in sources_in(raw, fixed, {}) if s.name == name), None)


def _read(source: SourceFile, form: TextForm) -> pl.DataFrame:
    header = header_of(source, form)
    frames = [as_text(block, form, header) for block in blocks(source, form)]
    return pl.concat(frames) if frames else pl.DataFrame(schema=dict.fromkeys(header, pl.String()))
