"""Columns of lists, and how one becomes a row for each of its items."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from workbench.core.errors import DataError, near

__all__ = ["exploded", "exploded_schema", "say_without"]


def exploded(frame: pl.DataFrame, column: str) -> tuple[pl.DataFrame, int]:
    """Return a frame with a row for each item of a column of lists, and how many rows had none.

    The fields of items that are structs become columns in the list's place. A row without items (an empty list, or
    null) stays as one row with nulls there: no line is lost, and none comes from nowhere.
    """
    items = frame[column]
    without = int((items.is_null() | (items.list.len() == 0)).sum())
    long = frame.explode(column, empty_as_null=True, keep_nulls=True)
    return (long.unnest(column) if isinstance(long.schema[column], pl.Struct) else long), without


def say_without(report: Callable[[str], None], table: str, column: str, without: int) -> None:
    """Report how many rows had no items, where some had none."""
    if without:
        report(f"{table}: {without:,} rows have nothing in {column!r}; each stays, as one row with nulls there")


def exploded_schema(schema: Mapping[str, pl.DataType], column: str, table: str) -> dict[str, pl.DataType]:
    """Return the types of the columns that `exploded` gives.

    Raises
    ------
    DataError
        When the column is not there, or holds no lists, or a field of its items has the name of another column.
    """
    where = f"[read.{table}] explode = {column!r} in competition.toml"
    if column not in schema:
        raise DataError(f"{where}: table {table!r} has no column {column!r}", hint=near(column, schema, kind="column"))
    lists = schema[column]
    if not isinstance(lists, pl.List):
        list_columns = [n for n, t in schema.items() if isinstance(t, pl.List)]
        raise DataError(
            f"{where}: column {column!r} of table {table!r} holds {lists}, no lists",
            hint=f"columns with lists: {', '.join(list_columns)}"
            if list_columns
            else "take it out: no column holds lists",
        )
    out: dict[str, pl.DataType] = {}
    for name, dtype in schema.items():
        inner = {name: dtype} if name != column else _items(lists, name)
        for new, kind in inner.items():
            if new in out or (name == column and new in schema and new != column):
                raise DataError(
                    f"{where}: two columns of table {table!r} would be called {new!r}: the column {new!r} of the lines "
                    f"and the field {new!r} of {column!r}",
                    hint="take explode out, and rename one of them in features.py",
                )
            out[new] = kind
    return out


def _items(lists: pl.List, name: str) -> dict[str, pl.DataType]:
    if isinstance(lists.inner, pl.Struct):
        return dict(pl.Schema(lists.inner.to_schema()))
    return dict(pl.Schema({name: lists.inner}))
