"""JSON lines -> tables: read once as a rule, in blocks of whole lines, with lists and structs kept.

As with delimited text, the types come from the first four megabytes, and every block is held against them. Where one
does not fit (a field that comes late, a fraction among whole numbers), its lines are looked at one by one, the rest is
read through to find what else does not fit, and the table is converted once more with the types of all of it.
"""

from __future__ import annotations

import codecs
import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl

from workbench.core.errors import DataError
from workbench.data.competition import TableInfo
from workbench.data.ingest.ahead import ahead
from workbench.data.ingest.depth import too_wide
from workbench.data.ingest.grouping import key_columns, with_keys
from workbench.data.ingest.missing import without_tokens
from workbench.data.ingest.nested import exploded_schema, say_without
from workbench.data.ingest.shaped import MisfitError, ShapedReader
from workbench.data.ingest.shapes import FaultError, Place, Shape, look_at_lines, schema_of
from workbench.data.ingest.sources import ReadOptions, TableSource, joined_sha, place_of
from workbench.data.ingest.text import HEAD_BYTES, LONGEST_RECORD_BYTES, SourceFile
from workbench.data.ingest.types import ColumnType, from_name, present_texts
from workbench.data.ingest.writing import info_of, rows_per_group, say_beyond_64_bits, write_frames

__all__ = ["lines_table"]

Report = Callable[[str], None]

PASSES = 4
"""The second has the types of all lines; more are for rows that get longer further down."""

LEAST_HEAD_BYTES = 64 * 1024
"""Of each part, where they are many: they share what is looked at line by line."""

WORKERS = 2
"""More gain nothing: polars uses all cores by itself, the rest holds Python's lock."""

_Taken = tuple[pl.DataFrame, int]


class _AgainError(Exception):
    """What was guessed did not hold; the guess was corrected, and the text says what it was."""


def lines_table(table: TableSource, tables: Path, options: ReadOptions, report: Report) -> TableInfo:
    """Convert files of one JSON object a line; keys stay as they are written.

    Raises
    ------
    DataError
        When a line is not a JSON object, a column has values of no one type, or ``explode`` names no list.
    DamagedError
        When a file is cut or changed.
    """
    lines = _LinesConversion(table, options)
    for remaining in reversed(range(PASSES)):
        try:
            return lines.written(tables, report, is_last=not remaining)
        except _AgainError as exc:
            report(f"converting {table.name} again: {exc}")
    raise DataError(f"{table.where} can't be converted to a table: its values fit none of the types that were chosen")


class _LinesConversion:
    """One table on its way: what is known of its lines so far."""

    def __init__(self, table: TableSource, options: ReadOptions) -> None:
        self.table, self.options = table, options
        read_options = options.read.get(table.name, {})
        self.explode: str | None = read_options.get("explode")
        self.missing = tuple(read_options.get("missing") or ())
        self.places = [place_of(p) for p in table.parts]
        self.shape = Shape()
        self.group_rows: int | None = None
        for number, part in enumerate(table.parts):
            size = max(HEAD_BYTES // len(table.parts), LEAST_HEAD_BYTES)
            self._look(next(_blocks(part, size, None), b""), (number, 1))
        if not self.shape.fields:
            self._look_for_a_field()

    def written(self, tables: Path, report: Report, *, is_last: bool) -> TableInfo:
        """Convert all of it.

        Raises
        ------
        _AgainError
            When a guess did not hold.
        """
        reader = self._reader()
        self.without = 0
        digests: list[Any] = []
        frames = self._frames(reader, digests)
        first = next(frames, None)
        row_bytes = 1.0 if first is None else first.estimated_size() / max(1, first.height)
        group_rows = self.group_rows or rows_per_group(row_bytes, self.options)
        bounded = self._bounded(first, frames, group_rows, is_last=is_last)
        path = tables / f"{self.table.name}.parquet"
        write_frames(self.table, path, bounded, self._out, group_rows)
        say_without(report, self.table.name, self.explode or "", self.without)
        say_beyond_64_bits(report, [self.table.name], self._beyond_64_bits())
        sha256 = joined_sha([d.hexdigest() for d in digests])
        return info_of(self.table, path, sha256, self.options, beyond_64_bits=self._beyond_64_bits())

    def _look_for_a_field(self) -> None:
        """Look further than the heads, for the first line that has a field."""
        is_empty = True
        for number, part in enumerate(self.table.parts):
            line = 1
            for block in _blocks(part, self.options.block_bytes, None):
                if self._look(block, (number, line)):
                    return
                is_empty = is_empty and block.isspace()
                line += block.count(b"\n")
        raise self._fault("it is empty" if is_empty else "its lines have no fields")

    # ---------------------------------------------------------------------------------------------------------- types

    def _reader(self) -> ShapedReader:
        """Return a reader for the lines as they are known; sets what the table's columns will be."""
        paths = self._paths()
        stated = {c: a for c in paths if (a := self.options.stated_type(self.table.name, c))}
        self.stated: dict[str, ColumnType] = {c: from_name(a, c) for c, a in stated.items()}
        unquoted = set(self._keys_as_text("", self.shape))
        as_text = {paths[c] for c in stated} | unquoted
        schema = schema_of(self.shape, as_text, self.table.name, self.places)
        out = dict(schema) if self.explode is None else exploded_schema(schema, self.explode, self.table.name)
        self.keys = key_columns(self.table, out, self.options.keys)
        self._out = out | {c: t.dtype for c, t in self.stated.items()} | dict(self.keys.schema)
        names = {path.rpartition(".")[2] for path in unquoted}
        return ShapedReader(self.shape, schema, as_text, self.explode, unquoted=names)

    def _keys_as_text(self, prefix: str, shape: Shape) -> Iterator[str]:
        """Yield the places of keys that are written as numbers and read as text.

        Some of them have a fraction, or are beyond 64 bits, or another file has them in a spelling that is no number's.
        """
        for name, inside in shape.fields.items():
            path, numbers = f"{prefix}{name}", inside.kinds & {"whole", "large", "number"}
            kind = self.options.keys.kind(name)
            is_key = (kind == "key" and "number" in numbers) or (kind != "" and "large" in numbers)
            if numbers and inside.kinds <= {*numbers, "text"} and (is_key or self.options.keys.is_text(name)):
                yield path
            yield from self._keys_as_text(f"{path}.", inside)
            if inside.element is not None:
                yield from self._keys_as_text(f"{path}[].", inside.element)

    def _beyond_64_bits(self) -> list[str]:
        """Return the columns of fractions that hold whole numbers beyond 64 bits."""
        shapes = dict(self.shape.fields)
        lists = shapes.get(self.explode or "")
        shapes |= lists.element.fields if lists is not None and lists.element is not None else {}
        return [c for c, s in shapes.items() if "large" in s.kinds and self._out.get(c) == pl.Float64]

    def _paths(self) -> dict[str, str]:
        """Return where the values of each column are in the records."""
        paths = {name: name for name in self.shape.fields}
        lists = self.shape.fields.get(self.explode or "")
        if lists is not None and lists.element is not None and lists.element.fields:
            del paths[self.explode or ""]
            paths |= {name: f"{self.explode}[].{name}" for name in lists.element.fields if name not in paths}
        return paths

    def _typed(self, frame: pl.DataFrame) -> pl.DataFrame:
        typed = frame.with_columns(t.read(c, self.missing).alias(c) for c, t in self.stated.items())
        for column, stated in self.stated.items():
            lost = frame[column].filter(typed[column].is_null() & frame[column].is_not_null())
            bad = present_texts(lost, self.missing, stated.decimal)
            if bad.len():
                raise DataError(
                    f"{self.table.where}: column {column!r} has {bad[0]!r}, "
                    f"which is not of type {stated.dtype.base_type()}",
                    hint=f"[types] of competition.toml sets that type; fix {column!r} there",
                )
        return without_tokens(typed, self.missing)

    # --------------------------------------------------------------------------------------------------------- frames

    def _frames(self, reader: ShapedReader, digests: list[Any]) -> Iterator[pl.DataFrame]:
        """Yield the lines block by block; from the first that does not fit, read on for what else does not."""
        latest = reader
        for place, block, tried in self._tried(reader, digests):
            taken = tried if latest is reader else _try(latest, block)
            if taken is None:
                if self._look(block, place):
                    latest = self._reader()
                taken = self._surely(latest, block, place[0])
            if latest is reader:
                frame, without = taken
                self.without += without
                yield with_keys(self._typed(frame), self.keys, place[0])
        if latest is not reader:
            raise _AgainError("lines further down have other types, or fields of their own")

    def _tried(self, reader: ShapedReader, digests: list[Any]) -> Iterator[tuple[Place, bytes, _Taken | None]]:
        """Yield the blocks of all parts in order, with what the reader made of them, two at a time."""
        waiting: deque[tuple[Place, bytes, Future[_Taken | None]]] = deque()

        def next_one() -> tuple[Place, bytes, _Taken | None]:
            place, block, future = waiting.popleft()
            return place, block, future.result()

        with ThreadPoolExecutor(WORKERS) as pool:
            for number, part in enumerate(self.table.parts):
                digests.append(hashlib.sha256())
                line = 1
                for block in _blocks(part, self.options.block_bytes, digests[-1]):
                    self._check_width(reader, block, number)
                    waiting.append(((number, line), block, pool.submit(_try, reader, block)))
                    line += block.count(b"\n")
                    if len(waiting) > WORKERS:
                        yield next_one()
            while waiting:
                yield next_one()

    def _look(self, block: bytes, place: Place) -> bool:
        """Look at the lines of a block one by one; return whether something is new."""
        before = self.shape.summary
        try:
            look_at_lines(self.shape, block, place)
        except FaultError as exc:
            raise self._fault(str(exc), place[0]) from None
        return bool(self.shape.summary != before)

    def _surely(self, reader: ShapedReader, block: bytes, part: int) -> _Taken:
        self._check_width(reader, block, part)
        try:
            return reader.frame(block, is_checked=True)
        except pl.exceptions.PolarsError as exc:
            first = (str(exc).strip().splitlines() or ["unreadable"])[0]
            raise self._fault(first, part) from exc

    def _check_width(self, reader: ShapedReader, block: bytes, part: int) -> None:
        if problem := too_wide(block.count(b"{"), reader.width, len(block)):
            raise self._fault(problem, part)

    def _fault(self, fault: str, part: int = 0) -> DataError:
        return DataError(
            f"{self.places[part]} can't be converted to a table: {fault}",
            hint="if the file is truncated, fetch it again",
        )

    def _bounded(
        self, first: pl.DataFrame | None, frames: Iterator[pl.DataFrame], group_rows: int, *, is_last: bool
    ) -> Iterator[pl.DataFrame]:
        """Yield the frames as long as a row group of them is not far larger than it should be."""
        if first is not None:
            yield first
        for frame in frames:
            row_bytes = frame.estimated_size() / max(1, frame.height)
            if group_rows > 4 * rows_per_group(row_bytes, self.options) and not is_last:
                self.group_rows = rows_per_group(row_bytes, self.options)
                raise _AgainError("its lines get longer further down, and the row groups with them")
            yield frame


def _try(reader: ShapedReader, block: bytes) -> _Taken | None:
    try:
        return reader.frame(block)
    except MisfitError:
        return None


def _blocks(source: SourceFile, size: int, digest: Any) -> Iterator[bytes]:
    """Yield blocks of whole lines of about `size` bytes; reading and unpacking go on in a thread meanwhile."""
    with ahead(_complete_lines(source, size, digest)) as ready:
        yield from ready


def _complete_lines(source: SourceFile, size: int, digest: Any) -> Iterator[bytes]:
    incomplete, is_first = b"", True
    with source.opened() as file:
        while raw := file.read(size):
            if digest is not None:
                digest.update(raw)
            data = incomplete + raw
            if is_first:
                data, is_first = data.removeprefix(codecs.BOM_UTF8), False
            cut = data.rfind(b"\n") + 1
            incomplete = data[cut:]
            if cut:
                yield data[:cut]
            elif len(data) > LONGEST_RECORD_BYTES:
                raise DataError(
                    f"{place_of(source)} has a line of more than {LONGEST_RECORD_BYTES >> 20} MB",
                    hint="is it one JSON document? call it .json, or write one object a line",
                )
    if incomplete:
        yield incomplete + b"\n"
