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
    """Return a field's value as it is stored in the database."""
    if isinstance(value, str):
        return _storable_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat("T", "microseconds")
    if isinstance(value, tuple):
        return json.dumps(_json_value(value))
    return value


def _storable_text(text: str) -> str:
    # File names that are not UTF-8 have lone surrogates in Python; PostgreSQL's text can't contain NUL.
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _json_value(value: Any) -> Any:
    """Return tuples as lists, and infinite and undefined numbers as None."""
    if isinstance(value, tuple):
        return [_json_value(v) for v in value]
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
        parse_column = _COLUMN_PARSERS.get(str(field.type))
        if parse_column is not None:
            columns[index] = parse_column(columns[index])
        if field.name in FILE_FIELDS and any(is_outside(field.name, cell) for cell in set(columns[index])):
            raise ValueError(f"{field.name} is outside the workspace")
    return list(map(cls, *columns))


def _parse_lists(column: Column) -> list[Any]:
    """Return the lists of a column of JSON texts."""
    # All rows are parsed as one document: a parser call for each cell would take most of the time.
    lists: list[Any] = json.loads(f"[{','.join(column)}]")
    if len(lists) != len(column):
        raise ValueError("a list of values is incomplete")
    return lists


def _parse_tuples(column: Column) -> Column:
    return list(map(tuple, _parse_lists(column)))


def _parse_floats(column: Column) -> Column:
    return _float_tuples(_parse_lists(column))


def _parse_nested_floats(column: Column) -> Column:
    return list(map(tuple, map(_float_tuples, _parse_lists(column))))


def _float_tuples(lists: list[list[float | None]]) -> list[tuple[float, ...]]:
    """Return lists as tuples, with NaN for null: JSON has no NaN."""
    return [tuple([math.nan if v is None else v for v in c]) if None in c else tuple(c) for c in lists]  # type: ignore[arg-type]


def _parse_times(column: Column) -> Column:
    return list(map(datetime.fromisoformat, column))


def _parse_optional_times(column: Column) -> Column:
    return [None if cell is None else datetime.fromisoformat(cell) for cell in column]


_COLUMN_PARSERS: dict[str, Callable[[Column], Column]] = {
    "datetime": _parse_times,
    "datetime | None": _parse_optional_times,
    "tuple[float, ...]": _parse_floats,
    "tuple[tuple[float, ...], ...]": _parse_nested_floats,
    "tuple[int, ...]": _parse_tuples,
    "tuple[str, ...]": _parse_tuples,
}
"""Converts a column of cells to values, by the field's annotation; other cells are the values themselves."""
