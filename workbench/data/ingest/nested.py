"""Explode a column of lists into a row for each of its items."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from workbench.core.context import RunContext
from workbench.core.errors import DataError, did_you_mean
from workbench.core.wording import counted

__all__ = ["exploded", "exploded_schema", "report_empty_lists"]


def exploded(frame: pl.DataFrame, column: str) -> tuple[pl.DataFrame, int]:
    """Return a frame with a row for each item of a column of lists, and the number of rows without items.

    The fields of structs become columns in the place of the list. A row with an empty list or null stays as one row
    with nulls, so that no row is lost.
    """
    lists = frame[column]
    n_empty = int((lists.is_null() | (lists.list.len() == 0)).sum())
    exploded_frame = frame.explode(column, empty_as_null=True, keep_nulls=True)
    return (
        exploded_frame.unnest(column) if isinstance(exploded_frame.schema[column], pl.Struct) else exploded_frame
    ), n_empty


def report_empty_lists(context: RunContext, table: str, column: str, n_empty: int) -> None:
    """Report the number of rows without items, if there are any."""
    if n_empty:
        context.say(
            f"{table}: {counted(n_empty, 'row has', 'rows have')} nothing in {column!r}; each stays, "
            "as one row with nulls there"
        )


def exploded_schema(schema: Mapping[str, pl.DataType], column: str, table: str) -> dict[str, pl.DataType]:
    """Return the schema of the frame that `exploded` returns.

    Raises
    ------
    DataError
        When the column does not exist or holds no lists, or a field of its items has the name of another column.
    """
    where = f"[read.{table}] explode = {column!r} in competition.toml"
    if column not in schema:
        raise DataError(
            f"{where}: table {table!r} has no column {column!r}", hint=did_you_mean(column, schema, kind="column")
        )
    lists = schema[column]
    if not isinstance(lists, pl.List):
        list_columns = [n for n, t in schema.items() if isinstance(t, pl.List)]
        raise DataError(
            f"{where}: column {column!r} of table {table!r} holds {lists}, no lists",
            hint=f"columns with lists: {', '.join(list_columns)}"
            if list_columns
            else "remove it: no column holds lists",
        )
    new_schema: dict[str, pl.DataType] = {}
    for name, dtype in schema.items():
        new_columns = {name: dtype} if name != column else _item_schema(lists, name)
        for new_name, new_type in new_columns.items():
            if new_name in new_schema or (name == column and new_name in schema and new_name != column):
                raise DataError(
                    f"{where}: two columns of table {table!r} would be called {new_name!r}: the column {new_name!r} "
                    f"of the lines and the field {new_name!r} of {column!r}",
                    hint="remove explode, and rename one of them in features.py",
                )
            new_schema[new_name] = new_type
    return new_schema


def _item_schema(lists: pl.List, name: str) -> dict[str, pl.DataType]:
    if isinstance(lists.inner, pl.Struct):
        return dict(pl.Schema(lists.inner.to_schema()))
    return dict(pl.Schema({name: lists.inner}))
