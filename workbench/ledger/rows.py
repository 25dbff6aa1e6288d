"""Conversion of records to database rows, and back, column by column: tables of 10,000 runs are read at once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, TypeVar

from workbench.ledger.records import FILE_FIELDS, RunRecord, SubmissionEvent, SubmissionRecord, is_outside

__all__ = ["Record", "records_from", "row_from"]

Record = RunRecord | SubmissionRecord | SubmissionEvent
R = TypeVar("R", RunRecord, SubmissionRecord, SubmissionEvent)
Column = Sequence[Any]


def row_from(record: Record) -> dict[str, Any]:
    """Return the cells of a record, by column: times as ISO text in UTC, tuples as JSON text, no infinities."""
    return {f.name: _cell(getattr(record, f.name)) for f in fields(record)}


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat("T", "microseconds")
    if isinstance(value, tuple):
        return json.dumps(_finite(value))
    return value


def _storable(text: str) -> str:
    # File names that are not UTF-8 have lone surrogates in Python; PostgreSQL's text can't contain NUL.
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _finite(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def records_from(cls: type[R], rows: Iterable[Sequence[Any]]) -> list[R]:
    """Return the records of rows whose cells are in the order of the record's fields.

    Raises
    ------
    ValueError, TypeError
        When a cell has a value that `row_from` never writes.
    """
    columns: list[Column] = list(zip(*rows, strict=True))
    if not columns:
        return []
    for index, field in enumerate(fields(cls)):
        read = _READERS.get(str(field.type))
        if read is not None:
            columns[index] = read(columns[index])
        if field.name in FILE_FIELDS and any(is_outside(field.name, cell) for cell in set(columns[index])):
            raise ValueError(f"{field.name} is outside the workspace")
    return list(map(cls, *columns))


def _lists(column: Column) -> list[Any]:
    # All rows are parsed as one document: a parser call for each cell would take most of the time.
    lists: list[Any] = json.loads(f"[{','.join(column)}]")
    if len(lists) != len(column):
        raise ValueError("a list of values is incomplete")
    return lists


def _tuples(column: Column) -> Column:
    return list(map(tuple, _lists(column)))


def _floats(column: Column) -> Column:
    return _numbers(_lists(column))


def _nested_floats(column: Column) -> Column:
    return list(map(tuple, map(_numbers, _lists(column))))


def _numbers(cells: list[list[float | None]]) -> list[tuple[float, ...]]:
    # NaN is stored as null.
    return [tuple([math.nan if v is None else v for v in c]) if None in c else tuple(c) for c in cells]  # type: ignore[arg-type]


def _times(column: Column) -> Column:
    return list(map(datetime.fromisoformat, column))


def _optional_times(column: Column) -> Column:
    return [None if cell is None else datetime.fromisoformat(cell) for cell in column]


_READERS: dict[str, Callable[[Column], Column]] = {
    "datetime": _times,
    "datetime | None": _optional_times,
    "tuple[float, ...]": _floats,
    "tuple[tuple[float, ...], ...]": _nested_floats,
    "tuple[int, ...]": _tuples,
    "tuple[str, ...]": _tuples,
}
