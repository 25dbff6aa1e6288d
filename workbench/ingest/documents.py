"""JSON documents -> tables: a list of records, or an object of columns."""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import polars as pl

from workbench.cache import atomic
from workbench.competition import TableInfo
from workbench.errors import DataError, WorkbenchError
from workbench.ingest.keys import Keys, is_numeric
from workbench.ingest.large import narrowed
from workbench.ingest.missing import without_tokens
from workbench.ingest.nested import exploded, exploded_schema, say_without
from workbench.ingest.sources import Options, Table, first_byte
from workbench.ingest.text import Source, sha256_of, text_of
from workbench.ingest.writing import COMPRESSION, ROWS_PER_GROUP, info_of, say_beyond_64_bits

__all__ = ["NoTableError", "document_table"]

Report = Callable[[str], None]


class NoTableError(Exception):
    """A file holds something else than a table, and nothing is wrong with it."""


def document_table(table: Table, tables: Path, options: Options, report: Report) -> TableInfo:
    """Convert one JSON document; it is read as a whole.

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
        frame = _json_frame(source)
        if not frame.columns:
            raise NoTableError
        texts = [
            c for c, t in frame.schema.items() if is_numeric(t) and t != pl.Boolean and _is_text(c, t, options.keys)
        ]
        if texts:
            # By the digits that stand there: polars would write a number anew.
            written = _json_frame(source, as_text=texts)
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
            f"{table.where} can't be converted to a table: {fault}", hint="if the file is cut, fetch it again"
        ) from exc
    return info_of(table, path, sha256_of(source), options, beyond_64_bits=large)


def _narrowed(frame: pl.DataFrame, table: Table, keys: Keys, report: Report) -> tuple[pl.DataFrame, list[str]]:
    """Return the frame without types wider than 64 bits, and the columns that are fractions for that."""
    types = narrowed([(frame.schema, frame.lazy())], lambda c: keys.kind(c) != "", ())
    large = [c for c, t in types.items() if t.beyond_64_bits]
    say_beyond_64_bits(report, [table.name], large)
    return frame.with_columns(pl.col(c).cast(t.dtype) for c, t in types.items()), large


def _is_text(column: str, dtype: pl.DataType, keys: Keys) -> bool:
    return keys.is_text(column) or (keys.kind(column) == "key" and dtype.is_float())


class _Written(str):
    """A number of a JSON document, as it is written there."""

    __slots__ = ()


def _fault(source: Source) -> str | None:
    """Say where a file is no JSON."""
    content = text_of(source).getvalue().removeprefix(codecs.BOM_UTF8)
    try:
        json.loads(content, parse_constant=_refuse_constant)
    except UnicodeDecodeError as exc:
        return f"line {1 + content[: exc.start].count(10):,} is not written in UTF-8"
    except json.JSONDecodeError as exc:
        return f"line {exc.lineno:,}, column {exc.colno:,}: {exc.msg}"
    except ValueError as exc:
        return str(exc)
    return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON; a missing value is null")


def _json_frame(source: Source, as_text: Collection[str] = ()) -> pl.DataFrame:
    """Return a document's rows; only the columns in `as_text`, as texts, where there are any."""
    how: dict[str, Any] = {"parse_float": _Written, "parse_int": _Written} if as_text else {}
    if first_byte(source) == b"[":
        if as_text:
            records = json.loads(text_of(source).read().removeprefix(codecs.BOM_UTF8), **how)
            return pl.DataFrame({c: [_text(r.get(c)) for r in records] for c in as_text})
        try:
            return pl.read_json(text_of(source), infer_schema_length=None)
        except pl.exceptions.PolarsError as exc:
            records = json.loads(text_of(source).read().removeprefix(codecs.BOM_UTF8))
            if records and all(isinstance(r, dict) for r in records):
                raise
            raise NoTableError from exc
    # One object of columns, each an object of rows by index, as pandas writes by default; or one of lists.
    data = json.loads(text_of(source).read().removeprefix(codecs.BOM_UTF8), **how)
    if set(data) == {"columns", "index", "data"}:
        data = {name: [row[i] for row in data["data"]] for i, name in enumerate(data["columns"])}
    elif data and all(isinstance(v, dict) for v in data.values()):
        # By index: the columns need not have their rows in the same order.
        rows = dict.fromkeys(k for values in data.values() for k in values)
        data = {name: [values.get(k) for k in rows] for name, values in data.items()}
    if not data or not all(isinstance(v, list) for v in data.values()) or len({len(v) for v in data.values()}) > 1:
        raise NoTableError
    if as_text:
        return pl.DataFrame({c: [_text(v) for v in data[c]] for c in as_text})
    # As records, so that both spellings of one table get the same types.
    records = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
    if not records:
        return pl.DataFrame(schema=dict.fromkeys(data, pl.String()))
    return pl.read_json(io.BytesIO(json.dumps(records).encode()), infer_schema_length=None)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
