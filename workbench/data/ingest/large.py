"""Integers beyond 64 bits: they become floats where they are amounts, and text where they are keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import polars as pl

from workbench.data.ingest.types import ColumnType

__all__ = ["MAX_INT64", "MIN_INT64", "narrowed_types"]

MIN_INT64, MAX_INT64 = -(2**63), 2**63 - 1

Schema = Mapping[str, pl.DataType]


def _is_wide(dtype: pl.DataType) -> bool:
    return dtype in (pl.Int128, pl.UInt128) or (isinstance(dtype, pl.Decimal) and dtype.scale == 0)


def narrowed_types(
    frames: Iterable[tuple[Schema, pl.LazyFrame]], is_key: Callable[[str], bool], exclude: Iterable[str]
) -> dict[str, ColumnType]:
    """Return the new types of the integer columns whose common type is wider than 64 bits.

    This includes columns that are unsigned in one frame and signed in another. A column becomes Int64 if all values
    fit, otherwise String if it is a key and Float64 if not.

    Parameters
    ----------
    frames : iterable of (schema, LazyFrame)
        The frames that share their types.
    is_key : callable
        Called with a column; returns whether it is compared and written but never computed with.
    exclude : iterable of str
        Columns that stay unchanged.
    """
    schemas_and_frames = list(frames)
    types_by_column: dict[str, list[pl.DataType]] = {}
    for schema, _ in schemas_and_frames:
        for column, dtype in schema.items():
            types_by_column.setdefault(column, []).append(dtype)
    excluded = set(exclude)
    wide_columns = [
        column
        for column, types in types_by_column.items()
        if column not in excluded and _is_wide_together(types) and all(_is_integer(t) for t in types)
    ]
    columns_beyond_64_bits = {
        c
        for schema, frame in schemas_and_frames
        for c in _beyond_64_bits(frame, [c for c in wide_columns if c in schema])
    }
    return {c: _narrowed_type(c in columns_beyond_64_bits, is_key(c)) for c in wide_columns}


def _is_wide_together(types: list[pl.DataType]) -> bool:
    """Tell whether one of the types is wider than 64 bits, or no type of 64 bits holds the values of all."""
    return any(map(_is_wide, types)) or (pl.UInt64 in types and any(t.is_signed_integer() for t in types))


def _is_integer(dtype: pl.DataType) -> bool:
    return dtype.is_integer() or _is_wide(dtype) or dtype == pl.Null


def _narrowed_type(is_large: bool, is_key: bool) -> ColumnType:
    if not is_large:
        return ColumnType(pl.Int64())
    return ColumnType(pl.String()) if is_key else ColumnType(pl.Float64(), beyond_64_bits=True)


def _beyond_64_bits(frame: pl.LazyFrame, columns: list[str]) -> list[str]:
    """Return the columns that have a value beyond 64 bits; polars mostly answers from the statistics of the file."""
    if not columns:
        return []
    expressions = [pl.col(c).min().alias(f"{i}min") for i, c in enumerate(columns)]
    expressions += [pl.col(c).max().alias(f"{i}max") for i, c in enumerate(columns)]
    row: dict[str, Any] = frame.select(expressions).collect(engine="streaming").row(0, named=True)
    return [
        c
        for i, c in enumerate(columns)
        if row[f"{i}min"] is not None and (row[f"{i}min"] < MIN_INT64 or row[f"{i}max"] > MAX_INT64)
    ]
