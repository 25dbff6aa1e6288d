"""Read blocks of JSON lines with an expected schema, and detect blocks that do not fit it.

polars ignores fields that are not in the schema, and turns numbers into text where the schema has text. To detect such
losses, keys and unquoted values are counted in the bytes. The check may reject a block that fits, but never accepts one
that does not.
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

from workbench.data.ingest.lists_apart import lists_apart
from workbench.data.ingest.nested import exploded
from workbench.data.ingest.shapes import Shape

__all__ = ["MisfitError", "ShapedReader"]

UNLIKE_TEXT = r"^(?:-?[0-9][0-9.eE+-]*$|true$|false$|\[|\{)"
"""The texts that polars makes of values that were no text."""
NULL = rb"\s*:\s*null"
FILLERS = ((pl.String, b'""'), (pl.Boolean, b"false"), (pl.List, b"[]"), (pl.Struct, b"{}"))
PLAIN_NAME = re.compile(r"[A-Za-z0-9_ .:/-]+")
"""A name without characters that JSON may write in several ways."""


class MisfitError(Exception):
    """A block may have values that the schema would lose."""


def _width(dtype: Any) -> int:
    """Return the number of plain columns that a type consists of."""
    if isinstance(dtype, pl.List):
        return _width(dtype.inner)
    if isinstance(dtype, pl.Struct):
        return sum(map(_width, dtype.to_schema().values()))
    return 1


@dataclass(frozen=True)
class _PathValues:
    """The values at one path of the records.

    Attributes
    ----------
    name : str, optional
        The name of the field; None for the items of a list.
    path : str
    shape : Shape
    values : Series
    n_objects : int
        The number of objects that may have the field.
    """

    name: str | None
    path: str
    shape: Shape
    values: pl.Series
    n_objects: int

    @property
    def n_present(self) -> int:
        return self.values.len() - self.values.null_count()


class ShapedReader:
    """Reads blocks of JSON lines of one shape.

    Parameters
    ----------
    shape : Shape
        The shape of the records.
    schema : mapping
        The types by column.
    as_text : collection of str
        Paths whose values are read as text.
    explode : str, optional
        The column of lists of which each item becomes a row.
    unquoted : collection of str
        Names of fields whose numbers are read as text, exactly as the file writes them.
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
        # polars would write 10.10 as 10.1. A quote inside a string follows a backslash, so it ends no name.
        self.unquoted_pattern = re.compile(rb"(?<!\\)((?:%b)\s*:\s*)(-?\d[-+.\deE]*)" % names) if unquoted else None
        # A copy, because other threads add to the shape.
        self.fields = copy.deepcopy(shape.fields)
        self.schema, self.as_text, self.explode = dict(schema), as_text, explode
        self.flat_list = self._find_flat_list()
        self.width = sum(map(_width, self.schema.values()))

    def frame(self, block: bytes, *, is_checked: bool = False) -> tuple[pl.DataFrame, int]:
        """Return a block's rows, and the number of its lines with an empty list to explode. Thread-safe.

        Parameters
        ----------
        is_checked : bool
            Whether all lines of the block were added to the shape, so that it fits.

        Raises
        ------
        MisfitError
            When the block may not fit the schema.
        polars.exceptions.PolarsError
            When polars can't read a block that fits.
        """
        if self.unquoted_pattern is not None:
            block = self.unquoted_pattern.sub(rb'\1"\2"', block)
        rows_and_n_empty = None if self.flat_list is None else self._read_lists_apart(block, self.flat_list, is_checked)
        return self._read_at_once(block, is_checked) if rows_and_n_empty is None else rows_and_n_empty

    def _read_at_once(self, block: bytes, is_checked: bool) -> tuple[pl.DataFrame, int]:
        """Return the rows of a block, and the number of rows whose list to explode is empty."""
        try:
            frame = _read(block, self.schema)
        except pl.exceptions.PolarsError:
            if is_checked:
                raise
            raise MisfitError from None
        if not is_checked and not self._fits(self.fields, frame, block):
            raise MisfitError
        return (frame, 0) if self.explode is None else exploded(frame, self.explode)

    # ------------------------------------------------------------------------------------------------- lists apart

    def _find_flat_list(self) -> str | None:
        """Return the only nested column if it is a list of flat records, as of sessions and their events; else None."""
        nested = [n for n, t in self.schema.items() if t.is_nested()]
        if len(nested) != 1:
            return None
        lists = self.schema[nested[0]]
        if not isinstance(lists, pl.List) or not isinstance(lists.inner, pl.Struct):
            return None
        return None if any(f.dtype.is_nested() for f in lists.inner.fields) else nested[0]

    def _read_lists_apart(self, block: bytes, column: str, is_checked: bool) -> tuple[pl.DataFrame, int] | None:
        """Read the lists apart from their lines, which is five times as fast as nested records; None where impossible.

        The text is split at its brackets. In the lines, each list is replaced by a running number, which shows later
        whether all brackets belonged to these lists.
        """
        apart = lists_apart(block)
        if apart is None:
            return None
        counts = apart.counts
        struct: Any = self.schema[column].inner  # type: ignore[attr-defined]
        try:
            lines = _read(apart.lines, self.schema | {column: pl.Int64()})
            items = _read(apart.items, {f.name: f.dtype for f in struct.fields})
        except pl.exceptions.PolarsError:
            return None
        numbers = lines[column]
        if lines.height != len(counts) or numbers.null_count() or items.height != counts.sum():
            return None
        if not (numbers.to_numpy() == np.arange(len(counts))).all():
            return None
        if not is_checked and not self._both_fit(column, lines, apart.lines, items, apart.items):
            raise MisfitError
        return self._joined(column, lines, items, counts)

    def _both_fit(
        self, column: str, lines: pl.DataFrame, lines_text: bytes, items: pl.DataFrame, items_text: bytes
    ) -> bool:
        element = self.fields[column].element or Shape()
        line_fields = self.fields | {column: Shape({"whole": ((0, 0), 0)})}
        if not self._fits(line_fields, lines, lines_text):
            return False
        return self._fits(element.fields, items, items_text, f"{column}[].")

    def _joined(
        self, column: str, lines: pl.DataFrame, items: pl.DataFrame, counts: np.ndarray[Any, Any]
    ) -> tuple[pl.DataFrame, int]:
        """Return the lines with their lists, exploded if asked for; `counts` are the numbers of items by line."""
        n_empty = int((counts == 0).sum())
        line_of_item = np.repeat(np.arange(len(counts)), counts)
        if self.explode is not None and not n_empty:
            repeated_lines = lines[line_of_item]
            columns = [s for c in lines.columns for s in (items if c == column else [repeated_lines[c]])]
            return pl.DataFrame(columns), 0
        grouped = (
            items.select(pl.struct(pl.all()).alias(column))
            .with_columns(pl.Series(".line", line_of_item).set_sorted())
            .group_by(".line", maintain_order=True)
            .agg(column)
        )
        if not n_empty:
            return lines.with_columns(grouped[column]), 0
        row_of_line = np.full(len(counts), -1, np.int64)
        row_of_line[counts > 0] = np.arange(grouped.height)
        list_indices = pl.Series(row_of_line, dtype=pl.Int64)
        # The last one is the empty list, for the lines without items.
        lists = pl.concat([grouped[column], pl.Series(column, [[]], dtype=self.schema[column])])
        frame = lines.with_columns(lists.gather(list_indices.replace(-1, grouped.height)).alias(column))
        return exploded(frame, self.explode) if self.explode is not None else (frame, 0)

    # ----------------------------------------------------------------------------------------------------- checking

    def _fits(self, fields: Mapping[str, Shape], frame: pl.DataFrame, text: bytes, prefix: str = "") -> bool:
        """Tell whether `frame` certainly has all values of `text`; `prefix` is the path of its columns."""
        paths = list(self._walk(fields, frame, prefix))
        if not all(self._was_text(p, text) for p in paths if p.shape.is_text):
            return False
        paths_with_nulls = self._paths_with_nulls(paths, text)
        if paths_with_nulls is None:
            return False
        if not paths_with_nulls or not any(t.is_nested() for t in frame.schema.values()):
            return True
        # A null may belong to an unknown field of the same name elsewhere. If nulls are replaced by values, it is
        # counted.
        filled_text = _fill_nulls(text, paths_with_nulls)
        filled_paths = list(self._walk(fields, _read(filled_text, frame.schema), prefix))
        return self._paths_with_nulls(filled_paths, filled_text) == []

    def _walk(self, fields: Mapping[str, Shape], frame: pl.DataFrame, prefix: str) -> Iterator[_PathValues]:
        for name, shape in fields.items():
            path = f"{prefix}{name}"
            yield _PathValues(name, path, shape, frame[name], frame.height)
            if path not in self.as_text:
                yield from self._walk_nested(shape, frame[name], path)

    def _walk_nested(self, shape: Shape, values: pl.Series, path: str) -> Iterator[_PathValues]:
        """Yield the values at every path within the objects and lists at a path."""
        present = values.drop_nulls()
        if isinstance(values.dtype, pl.Struct):
            yield from self._walk(shape.fields, present.struct.unnest(), f"{path}.")
        elif isinstance(values.dtype, pl.List) and shape.element is not None:
            items = present.list.explode(empty_as_null=False, keep_nulls=False)
            if not isinstance(items.dtype, pl.Struct | pl.List):
                yield _PathValues(name=None, path=f"{path}[]", shape=shape.element, values=items, n_objects=0)
            yield from self._walk_nested(shape.element, items, f"{path}[]")

    def _was_text(self, path: _PathValues, text: bytes) -> bool:
        """Tell whether values that were read as text were text, or integers, which keep their spelling."""
        if path.path in self.as_text or not path.n_present:
            return True
        if not path.shape.kinds:
            return False
        if path.shape.is_hollow:
            return bool((path.values.drop_nulls() == "{}").all())
        if not path.values.str.contains(UNLIKE_TEXT).any():
            return True
        if path.name is None or not PLAIN_NAME.fullmatch(path.name):
            return False
        key = re.escape(f'"{path.name}"'.encode())
        return re.search(key + rb'\s*:\s*(?!"|null|-?\d+\s*[,}\r\n])\S', text) is None

    def _paths_with_nulls(self, paths: list[_PathValues], text: bytes) -> list[_PathValues] | None:
        """Return the fields with nulls; None if the text may have keys that are none of these fields."""
        fields = [p for p in paths if p.name is not None]
        is_full = all(p.n_present == p.n_objects for p in fields)
        # If every field has a value, each further key adds a colon.
        if is_full and text.count(b":") == sum(p.n_objects for p in fields):
            return []
        # MongoDB's export writes a space before the colon.
        has_spaces = re.search(rb'"\s+:', text) is not None

        def count(key: bytes) -> int:
            return len(re.findall(re.escape(key) + rb"\s*:", text)) if has_spaces else text.count(key + b":")

        n_unexplained = count(b'"')
        if is_full and n_unexplained == sum(p.n_objects for p in fields):
            return []
        names = [p.name or "" for p in fields]
        if len(set(names)) < len(names) or not all(PLAIN_NAME.fullmatch(n) for n in names):
            return None
        with_nulls = []
        for field in fields:
            key = f'"{field.name}"'.encode()
            n_keys = count(key)
            n_unexplained -= n_keys
            if n_keys != field.n_present:
                if n_keys - len(re.findall(re.escape(key) + NULL, text)) != field.n_present:
                    return None
                with_nulls.append(field)
        return with_nulls if n_unexplained == 0 else None


def _fill_nulls(text: bytes, fields: list[_PathValues]) -> bytes:
    """Replace the nulls of these fields by other values of their types."""
    for field in fields:
        key, dtype = f'"{field.name}"'.encode(), field.values.dtype
        filler = next((f for types, f in FILLERS if isinstance(dtype, types)), b"0")
        text = re.sub(re.escape(key) + NULL, key + b":" + filler, text)
    return text


def _read(text: bytes, schema: Mapping[str, Any]) -> pl.DataFrame:
    """Read JSON lines; fields that are not in the schema are ignored, missing ones are null."""
    if not text or text.isspace():
        return pl.DataFrame(schema=dict(schema))
    return pl.read_ndjson(io.BytesIO(text), schema=dict(schema))
