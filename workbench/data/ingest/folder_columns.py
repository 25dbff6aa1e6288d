"""Columns whose values are in the names of Hive folders (``date=2022-08-01``), or given for each part of a table."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import date

import polars as pl

from workbench.data.ingest.keys import NO_KEYS, Keys
from workbench.data.ingest.sources import TableSource

__all__ = ["HIVE_NULL", "folder_columns", "with_folder_columns"]

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""The name of the folder of rows without a value (https://hive.apache.org, hive.exec.default.partition.name)."""


def folder_columns(table: TableSource, present: Collection[str], keys: Keys = NO_KEYS) -> pl.DataFrame:
    """Return the columns that the folders of a table's parts give, with one row for each part.

    Columns that consist of integers or of dates like 2022-08-01 have these types; others are text, as are keys that
    are text in another file.

    Parameters
    ----------
    table : TableSource
    present : collection of str
        The columns of the files, which take precedence.
    keys : Keys
    """
    names = dict.fromkeys(name for part in table.parts for name, _ in part.keys if name not in present)
    columns = []
    for name in names:
        texts = [dict(part.keys).get(name) for part in table.parts]
        column = _typed_column(name, [None if t in (HIVE_NULL, "") else t for t in texts])
        columns.append(column.cast(pl.String) if keys.is_text(name) and column.dtype == pl.Int64 else column)
    return pl.DataFrame(columns)


def _typed_column(name: str, texts: list[str | None]) -> pl.Series:
    present_texts = [t for t in texts if t is not None]
    if present_texts and all(re.fullmatch(r"0|-?[1-9]\d{0,17}", t) for t in present_texts):
        return pl.Series(name, [None if t is None else int(t) for t in texts], dtype=pl.Int64)
    try:
        days = [None if t is None else date.fromisoformat(t) for t in texts]
    except ValueError:
        days = []
    if present_texts and days and all(len(t) == 10 for t in present_texts):
        return pl.Series(name, days, dtype=pl.Date)
    return pl.Series(name, texts, dtype=pl.String)


def with_folder_columns(frame: pl.DataFrame, columns: pl.DataFrame, part: int) -> pl.DataFrame:
    """Add the columns of `folder_columns` to the rows of one part."""
    if not columns.width:
        return frame
    return frame.with_columns(pl.lit(c[part], dtype=c.dtype).alias(c.name) for c in columns)
