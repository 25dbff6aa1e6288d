"""Convert JSON lines to tables with lists and structs, mostly in one pass over blocks of complete lines.

The types are guessed from the first four megabytes, and every block is checked against them. If a block does not fit
(it has a new field, or a float among integers), its lines are parsed one by one, the other blocks are checked as well,
and the table is converted again with the types of all blocks.
"""

from __future__ import annotations

import codecs
import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import polars as pl

from workbench.core.errors import DataError
from workbench.data.competition import TableInfo
from workbench.data.ingest.ahead import ahead
from workbench.data.ingest.conversion_job import ConversionJob
from workbench.data.ingest.depth import width_fault
from workbench.data.ingest.folder_columns import folder_columns, with_folder_columns
from workbench.data.ingest.missing import without_tokens
from workbench.data.ingest.nested import exploded_schema, report_empty_lists
from workbench.data.ingest.shaped import MisfitError, ShapedReader
from workbench.data.ingest.shapes import FaultError, Place, Shape, add_lines, schema_of
from workbench.data.ingest.sources import TableSource, joined_sha, place_of
from workbench.data.ingest.text import HEAD_BYTES, MAX_RECORD_BYTES, SourceFile
from workbench.data.ingest.types import ColumnType, from_name, present_texts
from workbench.data.ingest.writing import info_of, report_beyond_64_bits, rows_per_group, write_frames

__all__ = ["lines_table"]

MAX_PASSES = 4
"""The second pass has the types of all lines; further ones may be needed for rows that get longer."""

MIN_HEAD_BYTES = 64 * 1024
"""The bytes of each part, at least, whose lines are parsed one by one: many parts share `HEAD_BYTES`."""

N_WORKERS = 2
"""More do not help: polars uses all cores itself, and the other code holds Python's global lock."""

_BlockRows = tuple[pl.DataFrame, int]
"""The rows of a block, and the number of its lines with an empty list to explode."""


class _WrongGuessError(Exception):
    """A guess was wrong and is corrected now: the table has to be converted again. The message has the reason."""


def lines_table(table: TableSource, job: ConversionJob) -> TableInfo:
    """Convert files with one JSON object per line; keys keep their spelling.

    Raises
    ------
    DataError
        When a line is not a JSON object, a column has no type that holds all values, or ``explode`` names no list.
    DamagedError
        When a file is truncated or damaged.
    """
    conversion = _LinesConversion(table, job)
    for remaining in reversed(range(MAX_PASSES)):
        try:
            return conversion.run(is_last=not remaining)
        except _WrongGuessError as exc:
            job.context.say(f"converting {table.name} again: {exc}")
    raise DataError(f"{table.where} can't be converted to a table: its values fit none of the types that were chosen")


class _LinesConversion:
    """The conversion of one table; `shape` holds the fields and kinds of values of all lines parsed so far."""

    def __init__(self, table: TableSource, job: ConversionJob) -> None:
        self.table, self.job, self.options = table, job, job.options
        read_options = job.read_options(table)
        self.explode: str | None = read_options.get("explode")
        self.missing = tuple(read_options.get("missing") or ())
        self.places = [place_of(p) for p in table.parts]
        self.shape = Shape()
        self.group_rows: int | None = None
        for number, part in enumerate(table.parts):
            size = max(HEAD_BYTES // len(table.parts), MIN_HEAD_BYTES)
            self._add_lines(next(_blocks(part, size, None), b""), (number, 1))
        if not self.shape.fields:
            self._find_first_field()

    def run(self, *, is_last: bool) -> TableInfo:
        """Convert all lines with the types that are known; `is_last` accepts row groups that are too large.

        Raises
        ------
        _WrongGuessError
            When the table has to be converted again.
        """
        reader = self._reader()
        self.n_empty = 0
        digests: list[Any] = []
        frames = self._frames(reader, digests)
        first = next(frames, None)
        row_bytes = 1.0 if first is None else first.estimated_size() / max(1, first.height)
        group_rows = self.group_rows or rows_per_group(row_bytes, self.options)
        bounded_frames = self._bounded(first, frames, group_rows, is_last=is_last)
        path = self.job.parquet_path(self.table)
        written = write_frames(self.table, path, bounded_frames, self.schema, group_rows)
        report_empty_lists(self.job.context, self.table.name, self.explode or "", self.n_empty)
        report_beyond_64_bits(self.job.context, [self.table.name], self._beyond_64_bits())
        sha256 = joined_sha([d.hexdigest() for d in digests])
        return info_of(self.table, written, sha256, self.options, beyond_64_bits=self._beyond_64_bits())

    def _find_first_field(self) -> None:
        """Search all lines for the first one that has a field, where the heads have none."""
        is_empty = True
        for number, part in enumerate(self.table.parts):
            line = 1
            for block in _blocks(part, self.options.block_bytes, None):
                if self._add_lines(block, (number, line)):
                    return
                is_empty = is_empty and block.isspace()
                line += block.count(b"\n")
        raise self._fault("it is empty" if is_empty else "its lines have no fields")

    # ---------------------------------------------------------------------------------------------------------- types

    def _reader(self) -> ShapedReader:
        """Return a reader for the types that are known; sets `stated`, `folder_columns` and `schema` of the table."""
        paths = self._paths()
        stated_names = {c: name for c in paths if (name := self.options.stated_type(self.table.name, c))}
        self.stated: dict[str, ColumnType] = {c: from_name(name, c) for c, name in stated_names.items()}
        unquoted = set(self._keys_as_text("", self.shape))
        as_text = {paths[c] for c in stated_names} | unquoted
        record_schema = schema_of(self.shape, as_text, self.table.name, self.places)
        schema = dict(record_schema)
        if self.explode is not None:
            schema = exploded_schema(record_schema, self.explode, self.table.name)
        self.folder_columns = folder_columns(self.table, schema, self.options.keys)
        self.schema = schema | {c: t.dtype for c, t in self.stated.items()} | dict(self.folder_columns.schema)
        names = {path.rpartition(".")[2] for path in unquoted}
        return ShapedReader(self.shape, record_schema, as_text, self.explode, unquoted=names)

    def _keys_as_text(self, prefix: str, shape: Shape) -> Iterator[str]:
        """Yield the paths of keys that are numbers in the file and become text.

        Some values are floats or beyond 64 bits, or another file has a text that is not a number.
        """
        for name, field in shape.fields.items():
            path, numbers = f"{prefix}{name}", field.kinds & {"whole", "large", "number"}
            kind = self.options.keys.kind(name)
            is_key = (kind == "key" and "number" in numbers) or (kind != "" and "large" in numbers)
            if numbers and field.kinds <= {*numbers, "text"} and (is_key or self.options.keys.is_text(name)):
                yield path
            yield from self._keys_as_text(f"{path}.", field)
            if field.element is not None:
                yield from self._keys_as_text(f"{path}[].", field.element)

    def _beyond_64_bits(self) -> list[str]:
        """Return the columns of floats that have integers beyond 64 bits."""
        shapes = dict(self.shape.fields)
        list_shape = shapes.get(self.explode or "")
        shapes |= list_shape.element.fields if list_shape is not None and list_shape.element is not None else {}
        return [c for c, s in shapes.items() if "large" in s.kinds and self.schema.get(c) == pl.Float64]

    def _paths(self) -> dict[str, str]:
        """Return the paths of the columns in the records."""
        paths = {name: name for name in self.shape.fields}
        list_shape = self.shape.fields.get(self.explode or "")
        if list_shape is not None and list_shape.element is not None and list_shape.element.fields:
            del paths[self.explode or ""]
            paths |= {name: f"{self.explode}[].{name}" for name in list_shape.element.fields if name not in paths}
        return paths

    def _typed(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Parse the columns with stated types, and replace missing values by null."""
        typed = frame.with_columns(t.read(c, self.missing).alias(c) for c, t in self.stated.items())
        for column, stated_type in self.stated.items():
            lost_texts = frame[column].filter(typed[column].is_null() & frame[column].is_not_null())
            invalid_texts = present_texts(lost_texts, self.missing, stated_type.decimal)
            if invalid_texts.len():
                raise DataError(
                    f"{self.table.where}: column {column!r} has {invalid_texts[0]!r}, "
                    f"which is not of type {stated_type.dtype.base_type()}",
                    hint=f"[types] of competition.toml sets that type; fix {column!r} there",
                )
        return without_tokens(typed, self.missing)

    # --------------------------------------------------------------------------------------------------------- frames

    def _frames(self, reader: ShapedReader, digests: list[Any]) -> Iterator[pl.DataFrame]:
        """Yield the rows block by block; after a block that does not fit, only check the following ones."""
        latest_reader = reader
        for place, block, rows in self._read_blocks(reader, digests):
            block_rows = rows if latest_reader is reader else _try_read(latest_reader, block)
            if block_rows is None:
                if self._add_lines(block, place):
                    latest_reader = self._reader()
                block_rows = self._read_checked(latest_reader, block, place[0])
            if latest_reader is reader:
                frame, n_empty = block_rows
                self.n_empty += n_empty
                yield with_folder_columns(self._typed(frame), self.folder_columns, place[0])
        if latest_reader is not reader:
            raise _WrongGuessError("lines further down have other types, or fields of their own")

    def _read_blocks(
        self, reader: ShapedReader, digests: list[Any]
    ) -> Iterator[tuple[Place, bytes, _BlockRows | None]]:
        """Yield the blocks of all parts in order with their rows, or None where a block may not fit; two at once."""
        pending: deque[tuple[Place, bytes, Future[_BlockRows | None]]] = deque()

        def pop_result() -> tuple[Place, bytes, _BlockRows | None]:
            place, block, future = pending.popleft()
            return place, block, future.result()

        with ThreadPoolExecutor(N_WORKERS) as pool:
            for number, part in enumerate(self.table.parts):
                digests.append(hashlib.sha256())
                line = 1
                for block in _blocks(part, self.options.block_bytes, digests[-1]):
                    self._check_width(reader, block, number)
                    pending.append(((number, line), block, pool.submit(_try_read, reader, block)))
                    line += block.count(b"\n")
                    if len(pending) > N_WORKERS:
                        yield pop_result()
            while pending:
                yield pop_result()

    def _add_lines(self, block: bytes, place: Place) -> bool:
        """Add the lines of a block to the shape; return whether it changed."""
        summary_before = self.shape.summary
        try:
            add_lines(self.shape, block, place)
        except FaultError as exc:
            raise self._fault(str(exc), place[0]) from None
        return bool(self.shape.summary != summary_before)

    def _read_checked(self, reader: ShapedReader, block: bytes, part: int) -> _BlockRows:
        """Return the rows of a block whose lines were added to the shape."""
        self._check_width(reader, block, part)
        try:
            return reader.frame(block, is_checked=True)
        except pl.exceptions.PolarsError as exc:
            first = (str(exc).strip().splitlines() or ["unreadable"])[0]
            raise self._fault(first, part) from exc

    def _check_width(self, reader: ShapedReader, block: bytes, part: int) -> None:
        if fault := width_fault(block.count(b"{"), reader.width, len(block)):
            raise self._fault(fault, part)

    def _fault(self, fault: str, part: int = 0) -> DataError:
        return DataError(
            f"{self.places[part]} can't be converted to a table: {fault}",
            hint="if the file is truncated, fetch it again",
        )

    def _bounded(
        self, first: pl.DataFrame | None, frames: Iterator[pl.DataFrame], group_rows: int, *, is_last: bool
    ) -> Iterator[pl.DataFrame]:
        """Yield the frames; raise when rows get so long that a row group would be far too large."""
        if first is not None:
            yield first
        for frame in frames:
            row_bytes = frame.estimated_size() / max(1, frame.height)
            if group_rows > 4 * rows_per_group(row_bytes, self.options) and not is_last:
                self.group_rows = rows_per_group(row_bytes, self.options)
                raise _WrongGuessError("its lines get longer further down, and the row groups with them")
            yield frame


def _try_read(reader: ShapedReader, block: bytes) -> _BlockRows | None:
    try:
        return reader.frame(block)
    except MisfitError:
        return None


def _blocks(source: SourceFile, size: int, digest: Any) -> Iterator[bytes]:
    """Yield blocks of complete lines, of about `size` bytes, which a background thread reads and decompresses."""
    with ahead(_complete_lines(source, size, digest)) as ready:
        yield from ready


def _complete_lines(source: SourceFile, size: int, digest: Any) -> Iterator[bytes]:
    """Yield blocks of complete lines, without a byte order mark; `digest`, if not None, is updated with all bytes."""
    incomplete, is_first = b"", True
    with source.opened() as file:
        while received := file.read(size):
            if digest is not None:
                digest.update(received)
            data = incomplete + received
            if is_first:
                data, is_first = data.removeprefix(codecs.BOM_UTF8), False
            end = data.rfind(b"\n") + 1
            incomplete = data[end:]
            if end:
                yield data[:end]
            elif len(data) > MAX_RECORD_BYTES:
                raise DataError(
                    f"{place_of(source)} has a line of more than {MAX_RECORD_BYTES >> 20} MB",
                    hint="is it one JSON document? call it .json, or write one object a line",
                )
    if incomplete:
        yield incomplete + b"\n"
