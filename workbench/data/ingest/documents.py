"""JSON documents -> tables: a list of records, or an object of columns."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from workbench.core.cache import atomic
from workbench.core.errors import DataError, WorkbenchError
from workbench.data.competition import TableInfo
from workbench.data.ingest.depth import MOST_DEPTH, TOO_DEEP, depth_of, too_wide
from workbench.data.ingest.keys import Keys, is_numeric
from workbench.data.ingest.large import narrowed
from workbench.data.ingest.missing import without_tokens
from workbench.data.ingest.nested import exploded, exploded_schema, say_without
from workbench.data.ingest.sources import ReadOptions, TableSource, first_byte, place_of
from workbench.data.ingest.text import SourceFile, sha256_of
from workbench.data.ingest.writing import COMPRESSION, ROWS_PER_GROUP, info_of, say_beyond_64_bits

__all__ = ["NoTableError", "document_table", "shared_orient"]

Report = Callable[[str], None]


LARGEST_BYTES = 4 << 30
"""It is read as a whole, and takes several times that then."""

NAME = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"\s*:', re.DOTALL)
PIECE_BYTES = 1 << 20

INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")
"""A whole number that is written as it would be written again."""


class NoTableError(Exception):
    """A file holds something else than a table, and nothing is wrong with it."""


def shared_orient(tables: Sequence[TableSource], options: ReadOptions) -> str | None:
    """Return how the objects of objects in train and test are meant, which are written alike; None where none is one.

    The one with the most objects and keys decides: two rows of three numbers say nothing by themselves.
    """
    sized: list[tuple[int, str]] = []
    for table in tables:
        stated = options.read.get(table.name, {}).get("orient")
        if stated is not None:
            return str(stated)
        try:
            data = json.loads(_content(table.parts[0]))
        except ValueError:  # DataError is one, too
            continue
        if isinstance(data, dict) and data and all(isinstance(v, dict) for v in data.values()):
            keys = list(dict.fromkeys(k for values in data.values() for k in values))
            sized.append((max(len(data), len(keys)), _orient(data, keys)))
    return max(sized)[1] if sized else None


def document_table(
    table: TableSource, tables: Path, options: ReadOptions, report: Report, orient: str | None = None
) -> TableInfo:
    """Convert one JSON document; it is read as a whole. `orient` is how those of other files are meant.

    Raises
    ------
    NoTableError
        When it is neither records nor columns.
    DataError
        When it is no JSON.
    """
    path = tables / f"{table.name}.parquet"
    (source,) = table.parts
    try:
        stated = options.read.get(table.name, {}).get("orient")
        say = lambda message: report(f"{table.name}: {message.format(table.name)}")  # noqa: E731
        frame = _json_frame(source, stated, orient, say)
        if not frame.columns:
            raise NoTableError
        texts = [
            c for c, t in frame.schema.items() if is_numeric(t) and t != pl.Boolean and _is_text(c, t, options.keys)
        ]
        if texts:
            # By the digits as written: polars would rewrite a number.
            written = _json_frame(source, stated, orient, lambda _: None, texts)
            frame = frame.with_columns(written[c].cast(pl.String) for c in texts)
        explode = options.read.get(table.name, {}).get("explode")
        if explode is not None:
            exploded_schema(frame.schema, explode, table.name)
            frame, without = exploded(frame, explode)
            say_without(report, table.name, explode, without)
        frame, large = _narrowed(frame, table, options.keys, report)
        frame = without_tokens(frame, options.read.get(table.name, {}).get("missing") or ())
        with atomic(path) as temporary:
            frame.lazy().sink_parquet(temporary, row_group_size=ROWS_PER_GROUP, compression=COMPRESSION)
    except WorkbenchError:
        raise
    except (pl.exceptions.PolarsError, ValueError) as exc:
        fault = _fault(source) or (str(exc).strip().splitlines() or ["unreadable"])[0]
        raise DataError(
            f"{table.where} can't be converted to a table: {fault}", hint="if the file is truncated, fetch it again"
        ) from exc
    return info_of(table, path, sha256_of(source), options, beyond_64_bits=large)


def _narrowed(frame: pl.DataFrame, table: TableSource, keys: Keys, report: Report) -> tuple[pl.DataFrame, list[str]]:
    """Return the frame without types wider than 64 bits, and the columns that are fractions for that."""
    types = narrowed([(frame.schema, frame.lazy())], lambda c: keys.kind(c) != "", ())
    large = [c for c, t in types.items() if t.beyond_64_bits]
    say_beyond_64_bits(report, [table.name], large)
    return frame.with_columns(pl.col(c).cast(t.dtype) for c, t in types.items()), large


def _is_text(column: str, dtype: pl.DataType, keys: Keys) -> bool:
    return keys.is_text(column) or (keys.kind(column) == "key" and dtype.is_float())


class _NumberText(str):
    """A number of a JSON document, as it is written there."""

    __slots__ = ()


def _fault(source: SourceFile) -> str | None:
    """Say where a file is no JSON."""
    content = _content(source)
    try:
        json.loads(content, parse_constant=_refuse_constant)
    except UnicodeDecodeError as exc:
        return f"line {1 + content[: exc.start].count(10):,} is not written in UTF-8"
    except json.JSONDecodeError as exc:
        return f"line {exc.lineno:,}, column {exc.colno:,}: {exc.msg}"
    except ValueError as exc:
        return str(exc)
    return None


def _content(source: SourceFile) -> bytes:
    """Return all of a document.

    Raises
    ------
    DataError
        When it is larger than can be read as a whole, or lists and objects lie too deep within each other.
    """
    with source.opened() as file:
        content = file.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise DataError(
            f"{place_of(source)} is a JSON document of more than {LARGEST_BYTES >> 30} GB, too large for one",
            hint="write it as one object a line, and call it .jsonl",
        )
    if depth_of(content) > MOST_DEPTH:
        raise DataError(f"{place_of(source)} can't be converted to a table: {TOO_DEEP}", hint="is it a table?")
    return content.removeprefix(codecs.BOM_UTF8)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON; a missing value is null")


def _json_frame(
    source: SourceFile, stated: str | None, shared: str | None, say: Report, as_text: Collection[str] = ()
) -> pl.DataFrame:
    """Return a document's rows; only the columns in `as_text`, as texts, where there are any."""
    parsers: dict[str, Any] = {"parse_float": _NumberText, "parse_int": _NumberText} if as_text else {}
    if first_byte(source) == b"[":
        _check_names(_content(source))
        if as_text:
            records = json.loads(_content(source), **parsers)
            return pl.DataFrame({c: [_text(r.get(c)) for r in records] for c in as_text})
        try:
            return pl.read_json(io.BytesIO(_content(source)), infer_schema_length=None)
        except pl.exceptions.PolarsError as exc:
            records = json.loads(_content(source))
            if records and all(isinstance(r, dict) for r in records):
                raise
            raise NoTableError from exc
    content = _content(source)
    data = json.loads(content, **parsers)
    records = _records_in(data)
    if records is not None:
        _check_names(content)
    elif all(isinstance(v, dict) for v in data.values()):
        # Its own names may be those of rows, and count for one column.
        _check_width(len(data), len({name for values in data.values() for name in values}), len(content))
    if records is None:
        columns = _columns_in(data, stated, shared, say)
        if not columns:
            raise NoTableError
        # As records, so that all spellings of one table get the same types.
        records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        if not records:
            return pl.DataFrame(schema=dict.fromkeys(columns, pl.String()))
    if as_text:
        return pl.DataFrame({c: [_text(r.get(c)) for r in records] for c in as_text})
    return pl.read_json(io.BytesIO(json.dumps(records).encode()), infer_schema_length=None)


def _check_names(content: bytes) -> None:
    """Refuse a list of objects with so many names between them that their table would fill the memory.

    Names at any depth count: those of objects within objects become columns, too.
    """
    objects, names = content.count(b"{"), set[bytes]()
    if not too_wide(objects, content.count(b":"), len(content)):
        return
    at = 0
    while at < len(content):
        # Piece by piece: a list of all would take more than the document. Between two objects, as a rule.
        end = content.find(b"}", at + PIECE_BYTES) + 1 or len(content)
        names.update(NAME.findall(content, at, end))
        _check_width(objects, len(names), len(content))
        at = end


def _check_width(rows: int, columns: int, size_bytes: int) -> None:
    if problem := too_wide(rows, columns, size_bytes):
        raise ValueError(problem)


def _records_in(data: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return the records of ``{"data": [{…}, …]}``, whatever else is next to the list; None where there is none."""
    lists = [v for v in data.values() if isinstance(v, list)]
    if len(lists) != 1 or not lists[0] or not all(isinstance(r, dict) for r in lists[0]):
        return None
    return list(lists[0])


def _columns_in(
    data: dict[str, Any], stated: str | None, shared: str | None, say: Report
) -> dict[str, list[Any]] | None:
    """Return the columns of an object, as pandas writes it in one of its ways, or keyed by id."""
    if {"columns", "data"} <= set(data) and all(isinstance(data[k], list) for k in ("columns", "data")):
        index = [str(k) for k in data.get("index") or range(len(data["data"]))]
        columns = {str(name): [row[i] for row in data["data"]] for i, name in enumerate(data["columns"])}
        return _with_index(columns, index)
    if data and all(isinstance(v, dict) for v in data.values()):
        keys = list(dict.fromkeys(k for values in data.values() for k in values))
        meant = stated or _orient(data, keys, shared)
        if stated is None and keys != [str(i) for i in range(len(keys))]:
            other = "columns" if meant == "index" else "index"
            meaning = "a row" if meant == "index" else "a column"
            hint = f'[read.{{}}] orient = "{other}" in competition.toml'
            say(f"each of its objects is taken for {meaning}; if not: {hint}")
        if meant == "index":
            return _with_index({k: [v.get(k) for v in data.values()] for k in keys}, list(data))
        # By index: the columns need not have their rows in the same order.
        return _with_index({name: [values.get(k) for k in keys] for name, values in data.items()}, keys)
    if data and all(isinstance(v, list) for v in data.values()) and len({len(v) for v in data.values()}) == 1:
        return data
    return None


def _orient(data: dict[str, dict[str, Any]], keys: list[str], otherwise: str | None = None) -> str:
    """Return how an object of objects is meant, in pandas' words: "columns" by row, or "index", an object for each row.

    Row numbers within say columns. Where the values of one object are of several kinds and those under one key are of
    one, it is a row; the other way round, a column. Else it is as `otherwise` says, and without that there are more
    rows than columns, as a rule.
    """
    if keys == [str(i) for i in range(len(keys))] or not keys:
        return "columns"
    digits_out, digits_in = (all(k.isdigit() for k in names) for names in (data, keys))
    if digits_out != digits_in:
        return "index" if digits_out else "columns"
    if any(len(values) < len(keys) for values in data.values()):
        return "index"  # a column has all rows, with null where it has no value; a row may lack a field
    objects = [_kinds(values.values()) for values in data.values()]
    across = [_kinds(values[k] for values in data.values() if k in values) for k in keys]
    mixed_objects, mixed_keys = (sum(len(kinds) > 1 for kinds in kind_sets) for kind_sets in (objects, across))
    if (mixed_objects == 0) != (mixed_keys == 0):
        return "columns" if mixed_objects == 0 else "index"
    return otherwise or ("index" if len(data) > len(keys) else "columns")


def _kinds(values: Iterable[Any]) -> set[str]:
    names = {int: "number", float: "number", _NumberText: "number"}
    return {names.get(type(v), type(v).__name__) for v in values if v is not None}


def _with_index(columns: dict[str, list[Any]], index: list[str]) -> dict[str, list[Any]]:
    """Return columns with the rows' names in front, but where those only number the rows or are a column already."""
    if index == [str(i) for i in range(len(index))]:
        return columns
    if any([None if v is None else str(v) for v in values] == index for values in columns.values()):
        return columns
    name = next(n for n in ("id", "index", "key", "row_id") if n not in columns)
    are_integers = all(INTEGER.fullmatch(k) for k in index)
    return {name: [int(k) for k in index] if are_integers else list(index)} | columns


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
