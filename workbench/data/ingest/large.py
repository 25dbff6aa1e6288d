"""Whole numbers that no type of 64 bits holds: fractions where they are amounts, texts where they are keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import polars as pl

from workbench.data.ingest.types import ColumnType

__all__ = ["GREATEST", "LEAST", "narrowed"]

LEAST, GREATEST = -(2**63), 2**63 - 1

Schema = Mapping[str, pl.DataType]


def _is_wide(dtype: pl.DataType) -> bool:
    return dtype in (pl.Int128, pl.UInt128) or (isinstance(dtype, pl.Decimal) and dtype.scale == 0)


def narrowed(
    frames: Iterable[tuple[Schema, pl.LazyFrame]], is_key: Callable[[str], bool], but: Iterable[str]
) -> dict[str, ColumnType]:
    """Return what the columns become that some of the frames have in a wider type than 64 bits.

    Those that are unsigned in a frame and signed in another are such columns too. What fits 64 bits everywhere is a
    whole number; beyond them an amount is a fraction, a key a text.

    Parameters
    ----------
    frames : iterable of (schema, LazyFrame)
        Those that share their types.
    is_key : callable
        Whether a column is compared and written, and never computed with.
    but : iterable of str
        Columns that are left as they are.
    """
    pairs = list(frames)
    types: dict[str, list[pl.DataType]] = {}
    for schema, _ in pairs:
        for column, dtype in schema.items():
            types.setdefault(column, []).append(dtype)
    wide = [c for c, of in types.items() if _is_wide_together(of) and all(_is_integer(t) for t in of)]
    left_as_they_are = set(but)
    wide = [c for c in wide if c not in left_as_they_are]
    large = {c for schema, frame in pairs for c in _beyond_64_bits(frame, [c for c in wide if c in schema])}
    return {c: _narrow(c in large, is_key(c)) for c in wide}


def _is_wide_together(types: Iterable[pl.DataType]) -> bool:
    """Whether some of the types, or two of them together, go beyond signed and unsigned numbers of 64 bits."""
    every = list(types)
    return any(map(_is_wide, every)) or (pl.UInt64 in every and any(t.is_signed_integer() for t in every))


def _is_integer(dtype: pl.DataType) -> bool:
    return dtype.is_integer() or _is_wide(dtype) or dtype == pl.Null


def _narrow(is_large: bool, is_key: bool) -> ColumnType:
    if not is_large:
        return ColumnType(pl.Int64())
    return ColumnType(pl.String()) if is_key else ColumnType(pl.Float64(), beyond_64_bits=True)


def _beyond_64_bits(frame: pl.LazyFrame, columns: list[str]) -> list[str]:
    """Return the columns that have a value beyond 64 bits; a file's own statistics mostly tell."""
    if not columns:
        return []
    ends = [pl.col(c).min().alias(f"{i}<") for i, c in enumerate(columns)]
    ends += [pl.col(c).max().alias(f"{i}>") for i, c in enumerate(columns)]
    extremes: dict[str, Any] = frame.select(ends).collect(engine="streaming").row(0, named=True)
    return [
        c
        for i, c in enumerate(columns)
        if extremes[f"{i}<"] is not None and (extremes[f"{i}<"] < LEAST or extremes[f"{i}>"] > GREATEST)
    ]
