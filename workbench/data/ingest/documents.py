"""Convert JSON documents to tables: a list of records, or an object of columns."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from workbench.core.cache import atomic, file_sha256
from workbench.core.context import SILENT, RunContext
from workbench.core.errors import DataError, WorkbenchError
from workbench.data.competition import TableInfo
from workbench.data.ingest.conversion_job import ConversionJob
from workbench.data.ingest.depth import MAX_DEPTH, TOO_DEEP, depth_of, width_fault
from workbench.data.ingest.excluded import NoTableError
from workbench.data.ingest.json_format import first_byte
from workbench.data.ingest.keys import Keys, is_numeric
from workbench.data.ingest.large import narrowed_types
from workbench.data.ingest.missing import without_tokens
from workbench.data.ingest.nested import exploded, exploded_schema, report_empty_lists
from workbench.data.ingest.sources import ReadOptions, TableSource, place_of
from workbench.data.ingest.text import SourceFile, sha256_of
from workbench.data.ingest.writing import COMPRESSION, ROWS_PER_GROUP, WrittenTable, info_of, report_beyond_64_bits

__all__ = ["document_table", "shared_orient"]

MAX_BYTES = 4 << 30
"""A document is read at once, and takes several times its size in memory."""

NAME = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"\s*:', re.DOTALL)
CHUNK_BYTES = 1 << 20

INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")
"""An integer whose spelling Int64 keeps."""


def shared_orient(tables: Sequence[TableSource], options: ReadOptions) -> str | None:
    """Return the orientation of the objects of objects among several documents; None where there are none.

    It is the stated one, else that of the document with the most objects or keys, where it is clearest.

    Returns
    -------
    str, optional
        "index" or "columns", as in `pandas.DataFrame.to_json`.
    """
    sized_orients: list[tuple[int, str]] = []
    for table in tables:
        stated = options.read.get(table.name, {}).get("orient")
        if stated is not None:
            return str(stated)
        try:
            data = json.loads(_content(table.parts[0]))
        except ValueError:  # includes DataError
            continue
        if isinstance(data, dict) and data and all(isinstance(v, dict) for v in data.values()):
            keys = list(dict.fromkeys(k for values in data.values() for k in values))
            sized_orients.append((max(len(data), len(keys)), _orient(data, keys)))
    return max(sized_orients)[1] if sized_orients else None


def document_table(table: TableSource, job: ConversionJob, orient: str | None = None) -> TableInfo:
    """Convert one JSON document, which is read at once.

    Parameters
    ----------
    orient : str, optional
        The orientation of an object of objects where competition.toml states none, see `shared_orient`.

    Raises
    ------
    NoTableError
        When the document is neither records nor columns.
    DataError
        When the file is not JSON.
    """
    path, keys, read_options = job.parquet_path(table), job.options.keys, job.read_options(table)
    (source,) = table.parts
    try:
        reader = _DocumentReader(table.name, source, read_options.get("orient"), orient)
        frame = reader.read(job.context)
        if not frame.columns:
            raise NoTableError
        text_columns = [
            c for c, t in frame.schema.items() if is_numeric(t) and t != pl.Boolean and _is_text(c, t, keys)
        ]
        if text_columns:
            # polars would change the spelling of numbers.
            spelled = reader.read(SILENT, as_text=text_columns)
            frame = frame.with_columns(spelled[c].cast(pl.String) for c in text_columns)
        explode = read_options.get("explode")
        if explode is not None:
            exploded_schema(frame.schema, explode, table.name)
            frame, n_empty = exploded(frame, explode)
            report_empty_lists(job.context, table.name, explode, n_empty)
        frame, columns_beyond_64_bits = _narrow(frame, table, keys, job.context)
        frame = without_tokens(frame, read_options.get("missing") or ())
        with atomic(path) as temporary:
            frame.lazy().sink_parquet(temporary, row_group_size=ROWS_PER_GROUP, compression=COMPRESSION)
    except WorkbenchError:
        raise
    except (pl.exceptions.PolarsError, ValueError) as exc:
        fault = _fault(source) or (str(exc).strip().splitlines() or ["unreadable"])[0]
        raise DataError(
            f"{table.where} can't be converted to a table: {fault}", hint="if the file is truncated, fetch it again"
        ) from exc
    written = WrittenTable(path, file_sha256(path))
    return info_of(table, written, sha256_of(source), job.options, beyond_64_bits=columns_beyond_64_bits)


def _narrow(frame: pl.DataFrame, table: TableSource, keys: Keys, context: RunContext) -> tuple[pl.DataFrame, list[str]]:
    """Return the frame without types wider than 64 bits, and the columns that became floats for that."""
    types = narrowed_types([(frame.schema, frame.lazy())], lambda c: keys.kind(c) != "", ())
    columns_beyond_64_bits = [c for c, t in types.items() if t.beyond_64_bits]
    report_beyond_64_bits(context, [table.name], columns_beyond_64_bits)
    return frame.with_columns(pl.col(c).cast(t.dtype) for c, t in types.items()), columns_beyond_64_bits


def _is_text(column: str, dtype: pl.DataType, keys: Keys) -> bool:
    return keys.is_text(column) or (keys.kind(column) == "key" and dtype.is_float())


class _NumberText(str):
    """A number of a JSON document, as the file writes it."""

    __slots__ = ()


def _fault(source: SourceFile) -> str | None:
    """Return where and why a file is not valid JSON; None where it is."""
    document = _content(source)
    try:
        json.loads(document, parse_constant=_refuse_constant)
    except UnicodeDecodeError as exc:
        return f"line {1 + document[: exc.start].count(10):,} is not written in UTF-8"
    except json.JSONDecodeError as exc:
        return f"line {exc.lineno:,}, column {exc.colno:,}: {exc.msg}"
    except ValueError as exc:
        return str(exc)
    return None


def _content(source: SourceFile) -> bytes:
    """Read a document.

    Raises
    ------
    DataError
        When it is too large or too deeply nested.
    """
    with source.opened() as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DataError(
            f"{place_of(source)} is a JSON document of more than {MAX_BYTES >> 30} GB, too large for one",
            hint="write it as one object a line, and call it .jsonl",
        )
    if depth_of(content) > MAX_DEPTH:
        raise DataError(
            f"{place_of(source)} can't be converted to a table: {TOO_DEEP}", hint="check whether the file is a table"
        )
    return content.removeprefix(codecs.BOM_UTF8)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON; a missing value is null")


@dataclass(frozen=True)
class _DocumentReader:
    """Reads one JSON document.

    Attributes
    ----------
    table : str
        The name of the table, for messages.
    source : SourceFile
    stated_orient : str, optional
        The orientation that competition.toml states.
    default_orient : str, optional
        The orientation where the document does not show it.
    """

    table: str
    source: SourceFile
    stated_orient: str | None
    default_orient: str | None

    def read(self, context: RunContext, as_text: Collection[str] = ()) -> pl.DataFrame:
        """Return the rows; with `as_text` only these columns, as text in the file's spelling."""
        number_parsers: dict[str, Any] = {"parse_float": _NumberText, "parse_int": _NumberText} if as_text else {}
        content = _content(self.source)
        if first_byte(self.source) == b"[":
            _check_names(content)
            if as_text:
                return _text_frame(json.loads(content, **number_parsers), as_text)
            try:
                return pl.read_json(io.BytesIO(content), infer_schema_length=None)
            except pl.exceptions.PolarsError as exc:
                records = json.loads(content)
                if records and all(isinstance(r, dict) for r in records):
                    raise
                raise NoTableError from exc
        data = json.loads(content, **number_parsers)
        records = _records_in(data)
        if records is not None:
            _check_names(content)
        elif all(isinstance(v, dict) for v in data.values()):
            # The names of the outer object may be those of rows, and count as one column.
            _check_width(len(data), len({name for values in data.values() for name in values}), len(content))
        if records is None:
            columns = self._columns_in(data, context)
            if not columns:
                raise NoTableError
            # As records, so that a table gets the same types however it is laid out.
            records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
            if not records:
                return pl.DataFrame(schema=dict.fromkeys(columns, pl.String()))
        if as_text:
            return _text_frame(records, as_text)
        return pl.read_json(io.BytesIO(json.dumps(records).encode()), infer_schema_length=None)

    def _columns_in(self, data: dict[str, Any], context: RunContext) -> dict[str, list[Any]] | None:
        """Return the columns of an object in one of pandas' layouts, or keyed by id; None where it is none."""
        if {"columns", "data"} <= set(data) and all(isinstance(data[k], list) for k in ("columns", "data")):
            index = [str(k) for k in data.get("index") or range(len(data["data"]))]
            columns = {str(name): [row[i] for row in data["data"]] for i, name in enumerate(data["columns"])}
            return _with_index(columns, index)
        if data and all(isinstance(v, dict) for v in data.values()):
            keys = list(dict.fromkeys(k for values in data.values() for k in values))
            orient = self.stated_orient or _orient(data, keys, self.default_orient)
            if self.stated_orient is None and keys != [str(i) for i in range(len(keys))]:
                other = "columns" if orient == "index" else "index"
                meaning = "a row" if orient == "index" else "a column"
                hint = f'[read.{self.table}] orient = "{other}" in competition.toml'
                context.say(f"{self.table}: each of its objects is taken for {meaning}; if not: {hint}")
            if orient == "index":
                return _with_index({k: [v.get(k) for v in data.values()] for k in keys}, list(data))
            # By key, because the columns need not have their rows in the same order.
            return _with_index({name: [values.get(k) for k in keys] for name, values in data.items()}, keys)
        if data and all(isinstance(v, list) for v in data.values()) and len({len(v) for v in data.values()}) == 1:
            return data
        return None


def _text_frame(records: list[dict[str, Any]], columns: Collection[str]) -> pl.DataFrame:
    """Return these columns of the records as text."""
    return pl.DataFrame({c: [None if (v := record.get(c)) is None else str(v) for record in records] for c in columns})


def _check_names(content: bytes) -> None:
    """Refuse a list of objects with so many distinct names that their table would exhaust the memory.

    Names at any depth count, because those of nested objects become columns, too.
    """
    n_objects, names = content.count(b"{"), set[bytes]()
    if not width_fault(n_objects, content.count(b":"), len(content)):
        return
    start = 0
    while start < len(content):
        # In chunks, mostly up to the end of an object: a list of all names would take more memory than the document.
        end = content.find(b"}", start + CHUNK_BYTES) + 1 or len(content)
        names.update(NAME.findall(content, start, end))
        _check_width(n_objects, len(names), len(content))
        start = end


def _check_width(rows: int, columns: int, size_bytes: int) -> None:
    if fault := width_fault(rows, columns, size_bytes):
        raise ValueError(fault)


def _records_in(data: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return the only list of records in an object, as in ``{"data": [{…}, …]}``; None where there is none."""
    lists = [v for v in data.values() if isinstance(v, list)]
    if len(lists) != 1 or not lists[0] or not all(isinstance(r, dict) for r in lists[0]):
        return None
    return list(lists[0])


def _orient(data: dict[str, dict[str, Any]], keys: list[str], default: str | None = None) -> str:
    """Return the orientation of an object of objects: "index" if each inner object is a row, "columns" if a column.

    Inner keys that number rows indicate columns. Where each object has values of one kind, but each key of several, the
    objects are columns, and the other way round rows. Otherwise `default` decides, and without it the larger number,
    because tables mostly have more rows than columns.

    Parameters
    ----------
    data : dict
    keys : list of str
        The keys of all inner objects.
    default : str, optional
    """
    if keys == [str(i) for i in range(len(keys))] or not keys:
        return "columns"
    outer_are_digits, inner_are_digits = (all(k.isdigit() for k in names) for names in (data, keys))
    if outer_are_digits != inner_are_digits:
        return "index" if outer_are_digits else "columns"
    if any(len(values) < len(keys) for values in data.values()):
        return "index"  # programs write columns completely, with null, but may omit fields of rows
    kinds_by_object = [_type_names(values.values()) for values in data.values()]
    kinds_by_key = [_type_names(values[k] for values in data.values() if k in values) for k in keys]
    n_mixed_objects, n_mixed_keys = (
        sum(len(kinds) > 1 for kinds in kind_sets) for kind_sets in (kinds_by_object, kinds_by_key)
    )
    if (n_mixed_objects == 0) != (n_mixed_keys == 0):
        return "columns" if n_mixed_objects == 0 else "index"
    return default or ("index" if len(data) > len(keys) else "columns")


def _type_names(values: Iterable[Any]) -> set[str]:
    """Return the names of the values' types, "number" for all numbers; null does not count."""
    json_types = {int: "number", float: "number", _NumberText: "number"}
    return {json_types.get(type(v), type(v).__name__) for v in values if v is not None}


def _with_index(columns: dict[str, list[Any]], index: list[str]) -> dict[str, list[Any]]:
    """Add the names of rows as the first column, unless they only number the rows or are a column already."""
    if index == [str(i) for i in range(len(index))]:
        return columns
    if any([None if v is None else str(v) for v in values] == index for values in columns.values()):
        return columns
    name = next(n for n in ("id", "index", "key", "row_id") if n not in columns)
    are_integers = all(INTEGER.fullmatch(k) for k in index)
    return {name: [int(k) for k in index] if are_integers else list(index)} | columns
