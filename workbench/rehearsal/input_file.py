"""The file that a local competition is made from, read as `wb fetch` reads files: compressed, encoded or converted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from workbench.core.context import SILENT, RunContext
from workbench.core.errors import DataError, WorkbenchError
from workbench.core.frames import scan_csv, scan_parquet
from workbench.core.temporary import temporary_file
from workbench.data.ingest import convert
from workbench.data.ingest.delimited import as_text
from workbench.data.ingest.formats import PACKED, kind_of
from workbench.data.ingest.layouts import Layout, layout_of, reencoded_layouts, report_encodings
from workbench.data.ingest.sources import TableSource, members_of, table_name
from workbench.data.ingest.text import SourceFile, TextForm, blocks, first_fault

__all__ = ["InputFile", "open_input"]


@dataclass(frozen=True)
class InputFile:
    """An open file with train data.

    Attributes
    ----------
    frame : LazyFrame
        Its columns. Those of delimited text are texts, so that they are written unchanged.
    suffix : str
        Of the data files that are written from it: ".csv" or ".parquet".
    form : TextForm, or None
        The format of delimited text; None for other files.
    """

    frame: pl.LazyFrame
    suffix: str
    form: TextForm | None = None


@contextmanager
def open_input(
    path: Path, conversion_folder: Path, *, encoding: str = "", context: RunContext = SILENT
) -> Iterator[InputFile]:
    """Open a file for as long as its frame is used; an error in reading it names the file, and the line.

    Parameters
    ----------
    path : Path
    conversion_folder : Path
        The parent of the temporary folder to which JSON and compressed Parquet are converted.
    encoding : str
        Of delimited text; "" to guess it.
    context : RunContext
        Receives a message about a guessed encoding.

    Raises
    ------
    DataError, DamagedError
        When it can't be read; also raised while the frame is collected.
    """
    failures: list[BaseException] = []
    if not path.stat().st_size:
        raise DataError(f"{path} can't be read: it is empty")
    source = _source_file(path)
    layout: Layout | None = None
    try:
        if kind_of(source.name) == "text":
            layout = _layout(source, encoding, context)
            yield InputFile(_text_frame(source, layout, failures), ".csv", layout.form)
        elif source.member is None and not source.name.lower().endswith(PACKED) and kind_of(source.name) == "parquet":
            yield InputFile(scan_parquet(path), ".parquet")
        else:
            with temporary_file(conversion_folder / "rehearsal") as folder:
                folder.mkdir()
                yield InputFile(scan_parquet(_converted(path, folder)), ".parquet")
    except DataError as exc:
        if "[read.TABLE] encoding" not in exc.hint:
            raise
        raise DataError(exc.message, hint="name its encoding: --encoding cp949") from exc
    except pl.exceptions.PolarsError as exc:
        if failures and isinstance(failures[0], UnicodeDecodeError | WorkbenchError):
            # polars wraps an exception that is raised while reading.
            raise failures[0] from None
        if "No space left" in str(exc):
            raise
        if layout is not None and "invalid utf-8" in str(exc):
            raise DataError(
                f"{path} can't be read: not all of it is written in {layout.forms[0].encoding}",
                hint="name its encoding: --encoding cp949",
            ) from exc
        fault = None if layout is None else first_fault(source, layout.forms[0], len(layout.header))
        first_line = (str(exc).splitlines() or [""])[0]
        raise DataError(f"{path} can't be read: {fault or first_line}", hint="fix that line" if fault else "") from exc


def _source_file(path: Path) -> SourceFile:
    """Return the file, or the one table in a zip archive."""
    if path.suffix.lower() != ".zip":
        return SourceFile(path.name, path, size_bytes=path.stat().st_size)
    members = members_of(path, path.parent)
    if len(members) != 1:
        names = ", ".join(m.name for m in members[:10]) or "none"
        raise DataError(
            f"{path} has {len(members)} files that are tables, expected one: {names}",
            hint="unpack it, and name one of the files",
        )
    return members[0]


def _layout(source: SourceFile, encoding: str, context: RunContext) -> Layout:
    """Return the layout of delimited text; if its beginning is UTF-8, all of it is examined."""
    table = TableSource(source.path.name, (source,), "text")
    layout = layout_of(table, {"encoding": encoding} if encoding else {})
    layout = reencoded_layouts([table], {table.name: layout}, {table.name} if encoding else set())[table.name]
    report_encodings(table, layout, context)
    return layout


def _text_frame(source: SourceFile, layout: Layout, failures: list[BaseException]) -> pl.LazyFrame:
    """Return delimited text as a lazy frame of texts; an exception while it is read is appended to `failures`."""
    form, header = layout.forms[0], layout.headers[0]
    is_packed = source.member is not None or source.name.lower().endswith(PACKED) or source.misnamed
    is_plain = form.encoding in ("utf-8", "utf-8-sig", "ascii") and not form.broken_line and form.line_end == "\n"
    if is_plain and not is_packed:
        return scan_csv(source.path, infer_schema=False, separator=form.separator)

    def frames(
        with_columns: list[str] | None, predicate: Any, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        del batch_size
        try:
            for block in blocks(source, form):
                frame = as_text(block, form, header)
                frame = frame if with_columns is None else frame.select(with_columns)
                frame = frame if predicate is None else frame.filter(predicate)
                yield frame if n_rows is None else frame.head(n_rows)
                n_rows = None if n_rows is None else max(0, n_rows - frame.height)
                if n_rows == 0:
                    return
        except Exception as exc:
            failures.append(exc)
            raise

    return register_io_source(frames, schema=dict.fromkeys(header, pl.String()))


def _converted(path: Path, folder: Path) -> Path:
    """Convert a file as `wb fetch` does, and return the path of the table."""
    raw, tables = folder / "raw", folder / "tables"
    raw.mkdir()
    (raw / path.name).symlink_to(path.resolve())
    (name,) = convert(raw, tables, table_name(path.name)).tables
    return tables / f"{name}.parquet"
