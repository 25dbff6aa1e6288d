"""Collect the kinds of values in JSON records, and derive the polars types that hold them.

Records are parsed in Python only where they may have something new. `Shape` keeps the first line and value of each
kind, so that an error about a column without a common type can quote two lines.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from workbench.core.errors import DataError
from workbench.data.ingest.depth import MAX_DEPTH, TOO_DEEP

__all__ = ["FaultError", "Shape", "add_lines", "records_of", "schema_of"]

Place = tuple[int, int]
"""The number of a part, from 0, and of a line in it, from 1."""

MAX_SHOWN = 60
"""The characters of a value in a message."""


class FaultError(Exception):
    """A line is not a JSON object; the message has its number and the reason."""


@dataclass
class Shape:
    """The kinds of values at one path of the records.

    Attributes
    ----------
    examples : dict
        By kind, the line and the value of its first occurrence. Kinds are "whole" (64-bit integers), "large" (other
        integers), "number" (floats), "flag" (booleans), "text", "list" and "object".
    element : Shape, optional
        The shape of the items of lists.
    fields : dict
        The shapes of the fields of objects, in the order of their first occurrence.
    """

    examples: dict[str, tuple[Place, Any]] = field(default_factory=dict)
    element: Shape | None = None
    fields: dict[str, Shape] = field(default_factory=dict)

    def add(self, value: Any, place: Place, depth: int = 1) -> None:
        """Add a value."""
        if value is None:
            return
        if depth > MAX_DEPTH:
            raise FaultError(f"line {place[1]:,}: {TOO_DEEP}")
        kind = _kind(value)
        if kind not in self.examples:
            self.examples[kind] = (place, value)
        if kind == "list":
            if self.element is None:
                self.element = Shape()
            for item in value:
                self.element.add(item, place, depth + 1)
        elif kind == "object":
            for name, item in value.items():
                if name not in self.fields:
                    self.fields[name] = Shape()
                self.fields[name].add(item, place, depth + 1)

    @property
    def kinds(self) -> set[str]:
        """The kinds of values so far."""
        return set(self.examples)

    @property
    def summary(self) -> Any:
        """The shape without its examples, to compare two shapes."""
        inner = self.element.summary if self.element else None
        return frozenset(self.examples), inner, tuple((n, s.summary) for n, s in self.fields.items())

    @property
    def is_text(self) -> bool:
        """Whether the values are read as text: some are, or there are no values, or only objects without fields."""
        return not self.kinds or "text" in self.kinds or self.is_hollow

    @property
    def is_hollow(self) -> bool:
        """Whether all values are objects without fields, for which polars has no type."""
        return self.kinds == {"object"} and not self.fields

    def dtype(self, path: str, as_text: Collection[str] = ()) -> pl.DataType:
        """Return the type that holds all values without loss.

        It is Float64 for integers with floats, String for integers with texts, and String if there are no values or the
        objects have no fields.

        Parameters
        ----------
        path : str
            The path of the values, such as ``events[].type``.
        as_text : collection of str
            Paths whose values are String in any case.

        Raises
        ------
        _MixedError
            For other mixtures: a float or a boolean has no unique spelling as a text.
        """
        kinds = self.kinds
        if path in as_text:
            return pl.String()
        if kinds == {"list"} and self.element is not None:
            return pl.List(self.element.dtype(f"{path}[]", as_text))
        if kinds == {"object"} and self.fields:
            return pl.Struct({n: s.dtype(f"{path}.{n}", as_text) for n, s in self.fields.items()})
        if kinds in ({"flag"}, {"whole"}):
            return pl.Boolean() if kinds == {"flag"} else pl.Int64()
        if kinds & {"large", "number"} and kinds <= {"whole", "large", "number"}:
            return pl.Float64()
        if self.is_hollow or kinds <= {"whole", "large", "text"}:
            return pl.String()
        raise _MixedError(path, self._two_kinds())

    def _two_kinds(self) -> list[tuple[Place, Any]]:
        """Return two examples without a common type: the first one of all, and the first that does not fit it."""
        examples = list(self.examples.items())
        first = examples[0]
        for other in examples[1:]:
            kind_pair = {first[0], other[0]}
            if not kind_pair <= {"whole", "large", "text"} and not kind_pair <= {"whole", "large", "number"}:
                return [first[1], other[1]]
        return [examples[1][1], examples[2][1]]


class _MixedError(Exception):
    """The values at a path have no common type."""

    def __init__(self, path: str, examples: list[tuple[Place, Any]]) -> None:
        super().__init__(path)
        self.path, self.examples = path, examples

    def explained(self, table: str, parts: Sequence[str]) -> DataError:
        (one, a), (two, b) = ((f"line {line:,} of {parts[part]}", value) for (part, line), value in self.examples)
        column = self.path.partition(".")[0].partition("[")[0]
        inside = "" if column == self.path else f" (at {self.path})"
        return DataError(
            f"table {table!r}: column {column!r}{inside} holds values of different types: {one} has {_shown(a)}, "
            f"{two} has {_shown(b)}",
            hint=f'fix the lines, or have all values of it as text: [types] "{table}.{column}" = "String"',
        )


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int):
        return "whole" if -(2**63) <= value < 2**63 else "large"
    return {float: "number", str: "text", list: "list", dict: "object"}[type(value)]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def schema_of(shape: Shape, as_text: Collection[str], table: str, parts: Sequence[str]) -> dict[str, pl.DataType]:
    """Return the types by column.

    Parameters
    ----------
    shape : Shape
        The shape of the records.
    as_text : collection of str
        Paths whose values are read as text.
    table : str
    parts : sequence of str
        The names of the table's files, for messages.

    Raises
    ------
    DataError
        When a column has no type that holds all of its values.
    """
    _check_names(shape, table)
    try:
        return {n: s.dtype(n, as_text) for n, s in shape.fields.items()}
    except _MixedError as exc:
        raise exc.explained(table, parts) from None


def _check_names(shape: Shape, table: str) -> None:
    for name, inner in shape.fields.items():
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"table {table!r} has a field called {name!r}, which contains half of a character (a lone surrogate)",
                hint="rename it: it can't be written in UTF-8",
            ) from None
        _check_names(inner, table)
    if shape.element is not None:
        _check_names(shape.element, table)


# ----------------------------------------------------------------------------------------------------------- parsing


def add_lines(shape: Shape, block: bytes, place: Place) -> None:
    """Add every record of a block of complete lines to a shape; `place` is the part and the number of the first line.

    Raises
    ------
    FaultError
        When a line is not a JSON object.
    """
    for number, record in records_of(block, place[1]):
        for name, value in record.items():
            if name not in shape.fields:
                shape.fields[name] = Shape()
            shape.fields[name].add(value, (place[0], number))


def records_of(block: bytes, first_line: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the records of a block with the numbers of their lines, without blank lines.

    Raises
    ------
    FaultError
        When a line is not a JSON object, or has a number that is too large.
    """
    for number, line in enumerate(block.split(b"\n"), first_line):
        if line and not line.isspace():
            yield number, _record(line, number)


def _record(line: bytes, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line.decode(), parse_constant=_refuse_constant, parse_float=_float, parse_int=_integer)
    except UnicodeDecodeError:
        raise FaultError(f"line {number:,} is not written in UTF-8") from None
    except json.JSONDecodeError as exc:
        raise FaultError(f"line {number:,}, column {exc.colno:,}: {exc.msg}{_around(exc)}") from None
    except ValueError as exc:
        raise FaultError(f"line {number:,}: {exc}") from None
    except RecursionError:
        raise FaultError(f"line {number:,}: {TOO_DEEP}") from None
    if not isinstance(record, dict):
        raise FaultError(f"line {number:,} is not a JSON object: {_shown(record)}")
    return record


def _around(exc: json.JSONDecodeError) -> str:
    """Return the text at the fault, up to the end of the line."""
    excerpt = exc.doc[exc.pos : exc.pos + 20].rstrip("\r\n")
    return f" at {excerpt!r}" if excerpt else " at the end of the line"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON; a missing value is null")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large for a number; write it as text")
    return value


def _integer(text: str) -> int:
    # The most digits that polars reads, as Int128.
    if len(text.lstrip("-")) > 38:
        raise ValueError(f"{text[:MAX_SHOWN]} is too large for a number; write it as text")
    return int(text)
