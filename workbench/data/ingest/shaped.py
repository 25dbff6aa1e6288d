"""Blocks of JSON lines -> frames of the shape that is expected, or the word that a block does not fit.

polars leaves out fields that a schema does not name and writes numbers as text where it names text. What could have
been lost so is counted in the bytes: keys, and values without quotes where there should be text. The counts may say
too often that a block does not fit, never that it does where it does not.
"""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from workbench.data.ingest.nested import exploded
from workbench.data.ingest.shapes import Shape

__all__ = ["MisfitError", "ShapedReader"]

UNLIKE_TEXT = r"^(?:-?[0-9][0-9.eE+-]*$|true$|false$|\[|\{)"
"""How polars writes what was no text."""
NULL = rb"\s*:\s*null"
FILLERS = ((pl.String, b'""'), (pl.Boolean, b"false"), (pl.List, b"[]"), (pl.Struct, b"{}"))
PLAIN = re.compile(r"[A-Za-z0-9_ .:/-]+")
"""A name that JSON writes in one way only."""


class MisfitError(Exception):
    """A block may hold something that the shape does not."""


def _width(dtype: Any) -> int:
    """Return how many plain columns a column of a type is made of."""
    if isinstance(dtype, pl.List):
        return _width(dtype.inner)
    if isinstance(dtype, pl.Struct):
        return sum(map(_width, dtype.to_schema().values()))
    return 1


@dataclass(frozen=True)
class _Spot:
    """The values at one place of the records; `name` is None for items of a list, `holders` are the objects there."""

    name: str | None
    path: str
    shape: Shape
    values: pl.Series
    holders: int

    @property
    def present(self) -> int:
        return self.values.len() - self.values.null_count()


class ShapedReader:
    """Reads blocks of lines of one shape.

    Parameters
    ----------
    shape : Shape
        Of the records.
    schema : mapping
        The types of their columns.
    as_text : collection of str
        Places that are read as text, whatever they hold.
    explode : str, optional
        The column of lists of which each item becomes a row.
    unquoted : collection of str
        Names of fields whose numbers are read as text: digit by digit, as they are written.
    """

    def __init__(
        self,
        shape: Shape,
        schema: Mapping[str, pl.DataType],
        as_text: Collection[str],
        explode: str | None,
        *,
        unquoted: Collection[str] = (),
    ) -> None:
        names = b"|".join(re.escape(json.dumps(n).encode()) for n in sorted(unquoted))
        # polars would rewrite them: 10.10 as 10.1. Inside a text, the quote of a name has a backslash before it.
        self.numbers = re.compile(rb"(?<!\\)((?:%b)\s*:\s*)(-?\d[-+.\deE]*)" % names) if unquoted else None
        # A copy: while one thread reads, another may find what the shape lacks.
        self.fields = copy.deepcopy(shape.fields)
        self.schema, self.as_text, self.explode = dict(schema), as_text, explode
        self.flat = self._flat_list()
        self.width = sum(map(_width, self.schema.values()))

    def frame(self, block: bytes, *, is_checked: bool = False) -> tuple[pl.DataFrame, int]:
        """Return a block's rows, and how many of its lines had nothing to explode; threads may call it side by side.

        `is_checked` says that its lines were looked at one by one.

        Raises
        ------
        MisfitError
            Where a line may hold what the shape does not.
        polars.exceptions.PolarsError
            Where polars can't read what is sure to fit.
        """
        if self.numbers is not None:
            block = self.numbers.sub(rb'\1"\2"', block)
        taken = None if self.flat is None else self._taken_apart(block, self.flat, is_checked)
        return self._read_at_once(block, is_checked) if taken is None else taken

    def _read_at_once(self, block: bytes, is_checked: bool) -> tuple[pl.DataFrame, int]:
        try:
            frame = _read(block, self.schema)
        except pl.exceptions.PolarsError:
            if is_checked:
                raise
            raise MisfitError from None
        if not is_checked and not self._fits(self.fields, frame, block):
            raise MisfitError
        return (frame, 0) if self.explode is None else exploded(frame, self.explode)

    # ------------------------------------------------------------------------------------------------- taken apart

    def _flat_list(self) -> str | None:
        """Return the one column of lists of plain records, where all else is plain: a session and its events."""
        nested = [n for n, t in self.schema.items() if t.is_nested()]
        if len(nested) != 1:
            return None
        lists = self.schema[nested[0]]
        if not isinstance(lists, pl.List) or not isinstance(lists.inner, pl.Struct):
            return None
        return None if any(f.dtype.is_nested() for f in lists.inner.fields) else nested[0]

    def _taken_apart(self, block: bytes, column: str, is_checked: bool) -> tuple[pl.DataFrame, int] | None:
        """Read the lists apart from their lines, five times as fast as polars reads nested records; None: it can't be.

        The text is cut at its brackets. In the lines, the number of the line stands in the list's place, so that it
        shows where brackets are something else than that list.
        """
        before, *opened = block.split(b"[")
        if b"]" in before or any(piece.count(b"]") != 1 for piece in opened):
            return None
        cut = [piece.partition(b"]") for piece in opened]
        lists = [inside for inside, _, _ in cut]
        lines_text = before + b"".join(b"%d%b" % (i, after) for i, (_, _, after) in enumerate(cut))
        items_text = b"\n".join(lists)
        if items_text.count(b"\n") > max(0, len(lists) - 1):
            return None  # a line that is broken inside a list
        items_text = items_text.replace(b"},{", b"}\n{").replace(b"}, {", b"}\n{")
        counts = np.array([piece.count(b"{") for piece in lists], np.int64)
        struct: Any = self.schema[column].inner  # type: ignore[attr-defined]
        try:
            lines = _read(lines_text, self.schema | {column: pl.Int64()})
            items = _read(items_text, {f.name: f.dtype for f in struct.fields})
        except pl.exceptions.PolarsError:
            return None
        numbers = lines[column]
        if lines.height != len(lists) or numbers.null_count() or items.height != counts.sum():
            return None
        if not (numbers.to_numpy() == np.arange(len(lists))).all():
            return None
        if not is_checked and not self._both_fit(column, lines, lines_text, items, items_text):
            raise MisfitError
        return self._joined(column, lines, items, counts)

    def _both_fit(
        self, column: str, lines: pl.DataFrame, lines_text: bytes, items: pl.DataFrame, items_text: bytes
    ) -> bool:
        element = self.fields[column].element or Shape()
        of_lines = self.fields | {column: Shape({"whole": ((0, 0), 0)})}
        return self._fits(of_lines, lines, lines_text) and self._fits(element.fields, items, items_text, f"{column}[].")

    def _joined(
        self, column: str, lines: pl.DataFrame, items: pl.DataFrame, counts: np.ndarray[Any, Any]
    ) -> tuple[pl.DataFrame, int]:
        without = int((counts == 0).sum())
        of_item = np.repeat(np.arange(len(counts)), counts)
        if self.explode is not None and not without:
            repeated = lines[of_item]
            columns = [s for c in lines.columns for s in (items if c == column else [repeated[c]])]
            return pl.DataFrame(columns), 0
        grouped = (
            items.select(pl.struct(pl.all()).alias(column))
            .with_columns(pl.Series(".line", of_item))
            .group_by(".line", maintain_order=True)
            .agg(column)
        )
        filled = np.full(len(counts), -1, np.int64)
        filled[counts > 0] = np.arange(grouped.height)
        places = pl.Series(filled, dtype=pl.Int64)
        nothing = pl.Series(column, [[]], dtype=self.schema[column])
        # Behind the lists stands the empty one, for the lines that have none.
        every = pl.concat([grouped[column], nothing])
        rows = lines.with_columns(every.gather(places.replace(-1, grouped.height)).alias(column))
        return exploded(rows, self.explode) if self.explode is not None else (rows, 0)

    # ---------------------------------------------------------------------------------------------------- does it fit

    def _fits(self, fields: Mapping[str, Shape], frame: pl.DataFrame, text: bytes, prefix: str = "") -> bool:
        spots = list(self._spots(fields, frame, prefix))
        if not all(self._is_text(s, text) for s in spots if s.shape.is_text):
            return False
        nulls = self._nulls(spots, text)
        if nulls is None:
            return False
        if not nulls or not any(t.is_nested() for t in frame.schema.values()):
            return True
        # A null is not counted among the values, so it may stand where no field of its name is known. As something
        # else it is counted.
        filled = _filled(text, nulls)
        values = list(self._spots(fields, _read(filled, frame.schema), prefix))
        return self._nulls(values, filled) == []

    def _spots(self, fields: Mapping[str, Shape], frame: pl.DataFrame, prefix: str) -> Iterator[_Spot]:
        for name, shape in fields.items():
            path = f"{prefix}{name}"
            yield _Spot(name, path, shape, frame[name], frame.height)
            if path not in self.as_text:
                yield from self._below(shape, frame[name], path)

    def _below(self, shape: Shape, values: pl.Series, path: str) -> Iterator[_Spot]:
        present = values.drop_nulls()
        if isinstance(values.dtype, pl.Struct):
            yield from self._spots(shape.fields, present.struct.unnest(), f"{path}.")
        elif isinstance(values.dtype, pl.List) and shape.element is not None:
            items = present.list.explode(empty_as_null=False, keep_nulls=False)
            if not isinstance(items.dtype, pl.Struct | pl.List):
                yield _Spot(None, f"{path}[]", shape.element, items, 0)
            yield from self._below(shape.element, items, f"{path}[]")

    def _is_text(self, spot: _Spot, text: bytes) -> bool:
        """Whether what is read as text is text, or a whole number, which stays as it is written."""
        if spot.path in self.as_text or not spot.present:
            return True
        if not spot.shape.kinds:
            return False
        if spot.shape.is_hollow:
            return bool((spot.values.drop_nulls() == "{}").all())
        if not spot.values.str.contains(UNLIKE_TEXT).any():
            return True
        if spot.name is None or not PLAIN.fullmatch(spot.name):
            return False
        key = re.escape(f'"{spot.name}"'.encode())
        return re.search(key + rb'\s*:\s*(?!"|null|-?\d+\s*[,}\r\n])\S', text) is None

    def _nulls(self, spots: list[_Spot], text: bytes) -> list[_Spot] | None:
        """Return the fields that are null somewhere; None where a key of the text may be no field at these places."""
        named = [s for s in spots if s.name is not None]
        is_full = all(s.present == s.holders for s in named)
        # Where every field has a value, one more key would be one more colon.
        if is_full and text.count(b":") == sum(s.holders for s in named):
            return []
        # MongoDB's export writes a space in front of the colon.
        is_spaced = re.search(rb'"\s+:', text) is not None

        def count(key: bytes) -> int:
            return len(re.findall(re.escape(key) + rb"\s*:", text)) if is_spaced else text.count(key + b":")

        total = count(b'"')
        if is_full and total == sum(s.holders for s in named):
            return []
        names = [s.name or "" for s in named]
        if len(set(names)) < len(names) or not all(PLAIN.fullmatch(n) for n in names):
            return None
        nulls = []
        for spot in named:
            key = f'"{spot.name}"'.encode()
            occurrences = count(key)
            total -= occurrences
            if occurrences != spot.present:
                if occurrences - len(re.findall(re.escape(key) + NULL, text)) != spot.present:
                    return None
                nulls.append(spot)
        return nulls if total == 0 else None


def _filled(text: bytes, spots: list[_Spot]) -> bytes:
    """Return the text with something in place of the nulls of these fields."""
    for spot in spots:
        key, dtype = f'"{spot.name}"'.encode(), spot.values.dtype
        filler = next((f for types, f in FILLERS if isinstance(dtype, types)), b"0")
        text = re.sub(re.escape(key) + NULL, key + b":" + filler, text)
    return text


def _read(text: bytes, schema: Mapping[str, Any]) -> pl.DataFrame:
    """Read lines of records; fields that are not in the schema are left out, and those that a line lacks are null."""
    if not text or text.isspace():
        return pl.DataFrame(schema=dict(schema))
    return pl.read_ndjson(io.BytesIO(text), schema=dict(schema))
