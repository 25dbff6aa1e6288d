"""From a column of any type to numbers: float32 where that loses nothing, codes with their categories, or a refusal.

What a column becomes is decided once, from its type and, where that is not enough, from one streamed look at its
values; then it is an expression, so that a stretch of rows can be read and encoded without the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from workbench.core.errors import FeatureError
from workbench.data.competition import ROW
from workbench.features.narrow import narrow_frames

__all__ = [
    "EncodedColumn",
    "as_number",
    "as_seconds",
    "encode_columns",
    "has_sparse_codes",
    "is_no_number",
    "merged_in_float32",
]

MAX_EXACT_FLOAT32 = 2**24
"""Whole numbers up to here are exact in 32 bits."""

STRETCH = 10_000
ENOUGH_VALUES = 8192
"""A model that sorts values into 255 bins misses nothing of a column that has so many left in 32 bits: of degrees with
six digits, say. 64 bits for one column are 64 for all."""

MERGED_SHARE = 0.01
"""Of 30,000 values of any spread, 32 bits make one of two for less than a hundred."""

TEXTS = (pl.String, pl.Categorical, pl.Enum)
MANY_LEVELS = 10_000
"""With more categories, codes are looked up once for all rows: the look-up table costs more than a stretch of rows."""

MAX_INT32 = 2**31 - 1
"""LightGBM holds a code in 32 bits, and takes what is beyond, or negative, as missing."""

MAX_INT64 = 2.0**63

SMALL_CODE = 1000
SPARSE = 4
"""Integer codes are renumbered where one is at least `SMALL_CODE` and `SPARSE` times as large as there are codes.

LightGBM's trees and XGBoost's histograms have a place for every code up to the largest, used or not.
"""


@dataclass(frozen=True)
class EncodedColumn:
    """A column as LightGBM takes it.

    Attributes
    ----------
    name : str
    expression : Expr
        Gives the column, under its name, from its source.
    dtype : DataType
        Float32 or Float64, an integer, or Int32 for codes.
    exact_in_float32 : bool
        Whether 32 bits hold every value as well as `dtype` does, or tell values apart as well.
    center : float, or None
        Where that is not so, a value in the middle: values less their center are small, and 32 bits tell them apart.
    levels : tuple of str, or None
        The categories that train has, sorted: a code is a place in them. Null and what train lacks have no code, which
        LightGBM takes as "none of the categories". None for numbers, and for integers that are their own codes.
    unseen_values, unseen_rows : int
        How many categories only test has, and how many test rows have one.
    lowest : float, or None
        The least value, where it was looked at.
    codes : Series (n_rows,), or None
        The codes of all rows in their order, where they were looked up in advance; the expression is not used then.
    """

    name: str
    expression: pl.Expr
    dtype: pl.DataType
    exact_in_float32: bool = True
    center: float | None = None
    levels: tuple[str, ...] | None = None
    unseen_values: int = 0
    unseen_rows: int = 0
    lowest: float | None = None
    codes: pl.Series | None = None

    @property
    def row_bytes(self) -> int:
        """The bytes of one value."""
        return int(pl.Series([0], dtype=self.dtype).estimated_size())


def is_no_number(dtype: pl.DataType) -> bool:
    """Say whether a column of the tables can't become a number by itself."""
    return dtype.is_nested() or dtype in (pl.Binary, pl.Object, pl.Null)


def as_number(name: str, dtype: pl.DataType) -> pl.Expr:
    """Give a column of the tables themselves a first shape: times as seconds, decimals as floats."""
    column = pl.col(name)
    if dtype in (pl.Date, pl.Datetime):
        return column.dt.epoch("s")
    if dtype in (pl.Duration, pl.Time):
        return as_seconds(pl.col(name), dtype)
    return column.cast(pl.Float64) if dtype.is_decimal() else column


def as_seconds(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return a column of durations, or of times of day, in seconds with their fractions."""
    unit = dtype.time_unit if isinstance(dtype, pl.Duration) else "ns"
    return column.to_physical() / {"ms": 1e3, "us": 1e6, "ns": 1e9}[unit or "us"]


def encode_columns(
    frame: pl.LazyFrame, columns: Sequence[str], n_train: int, *, origin: str, categorical: Collection[str] = ()
) -> list[EncodedColumn]:
    """Decide what the columns of a frame become.

    Parameters
    ----------
    frame : LazyFrame
        With the row key; the lines in any order.
    columns : sequence of str
    n_train : int
        The rows before it are the train rows.
    origin : str
        The feature that the columns come from, for messages.
    categorical : collection of str
        Columns of numbers that are codes of categories; text is always treated so.

    Raises
    ------
    FeatureError
        For a type that LightGBM can't take: it would end the process; for codes that are not whole.
    """
    schema, categorical = frame.collect_schema(), set(categorical)
    for name in columns:
        _refuse(name, schema[name], origin)
    looked_at = [c for c in columns if _needs_a_look(schema[c])]
    ranges = _value_ranges(frame, looked_at, schema)
    merged = merged_in_float32(frame, [c for c in looked_at if _may_merge(schema[c], ranges[c])], n_train)
    texts = [c for c in columns if schema[c] in TEXTS]
    encoded = {name: _text(some, name, n_train) for names, some in narrow_frames(frame, texts) for name in names}
    for name in columns:
        if name in encoded:
            continue
        dtype = schema[name]
        number = _number(name, dtype, ranges.get(name, (None, None, True)), merged.get(name))
        is_code = name in categorical and dtype != pl.Boolean
        if is_code and dtype.is_float():
            _refuse_fractions(frame, name, dtype, origin)
        encoded[name] = _code(frame, number, dtype, n_train) if is_code else number
    return [encoded[name] for name in columns]


def _refuse(name: str, dtype: pl.DataType, origin: str) -> None:
    if dtype in TEXTS or dtype == pl.Boolean or dtype.is_float() or dtype.is_integer():
        return
    fix = {"Date": ".dt.epoch()", "Datetime": '.dt.epoch("s")', "Duration": ".dt.total_microseconds() / 1e6"}
    conversion = fix.get(str(dtype.base_type()), "")
    raise FeatureError(
        f"feature {origin!r}: column {name!r} is a {dtype}, which LightGBM can't take",
        hint=f"make it a number: pl.col({name!r}){conversion}" if conversion else "make it a number or a text",
    )


def _needs_a_look(dtype: pl.DataType) -> bool:
    return dtype == pl.Float64 or dtype.is_integer()


def _may_merge(dtype: pl.DataType, value_range: ValueRange) -> bool:
    greatest = max(abs(value_range[0] or 0), abs(value_range[1] or 0))
    return greatest > MAX_EXACT_FLOAT32 or (dtype.is_float() and not value_range[2])


def merged_in_float32(frame: pl.LazyFrame, columns: Sequence[str], n_train: int) -> dict[str, float]:
    """Find the columns of which 32 bits make one value of several, each with its median, by some stretches of train.

    Seconds since 1970 are 64 or 128 apart in 32 bits. Neighbours in a table are the likeliest to be close in value, and
    only train is looked at: what a column becomes must not depend on the test set.

    Parameters
    ----------
    frame : LazyFrame
        With the train rows first.
    columns : sequence of str
        Integers and floats.
    """
    if not columns:
        return {}
    starts = dict.fromkeys((0, max(0, n_train // 2 - STRETCH // 2), max(0, n_train - STRETCH)))
    parts = [frame.select(columns).slice(at, min(STRETCH, n_train - at)).collect() for at in starts]
    merged = {}
    for name in columns:
        values = pl.concat([part[name] for part in parts]).drop_nulls()
        values = values.filter(values.is_finite()) if values.dtype.is_float() else values
        before, after = values.n_unique(), values.cast(pl.Float32).n_unique()
        if before - after > MERGED_SHARE * before and after < ENOUGH_VALUES:
            merged[name] = float(values.sort()[len(values) // 2])
    return merged


ValueRange = tuple[float | None, float | None, bool]  # least, greatest, whether all are whole numbers


def _value_ranges(frame: pl.LazyFrame, columns: Sequence[str], schema: pl.Schema) -> dict[str, ValueRange]:
    """Look at the values once, streamed."""
    if not columns:
        return {}
    expressions: list[pl.Expr] = []
    for i, name in enumerate(columns):
        values = pl.col(name).fill_nan(None) if schema[name].is_float() else pl.col(name)
        all_integral = (values == values.floor()).all() if schema[name].is_float() else pl.lit(value=True)
        expressions += [values.min().alias(f"{i}<"), values.max().alias(f"{i}>"), all_integral.alias(f"{i}=")]
    extremes = frame.select(expressions).collect(engine="streaming").row(0, named=True)
    return {name: (extremes[f"{i}<"], extremes[f"{i}>"], bool(extremes[f"{i}="])) for i, name in enumerate(columns)}


def _number(name: str, dtype: pl.DataType, value_range: ValueRange, center: float | None = None) -> EncodedColumn:
    lowest, highest, all_integral = value_range
    column = pl.col(name)
    greatest = max(abs(lowest or 0), abs(highest or 0))
    low = None if lowest is None else float(lowest)
    if dtype == pl.Boolean:
        return EncodedColumn(name, column.cast(pl.Int8), pl.Int8())
    if dtype == pl.Float64:
        if (all_integral and greatest >= MAX_EXACT_FLOAT32) or center is not None:
            return EncodedColumn(name, column, pl.Float64(), exact_in_float32=False, center=center, lowest=low)
        return EncodedColumn(name, column.cast(pl.Float32), pl.Float32(), lowest=low)
    if dtype.is_float():
        return EncodedColumn(name, column.cast(pl.Float32), pl.Float32(), lowest=low)
    stored_dtype: pl.DataType = dtype
    if dtype in (pl.Int128, pl.UInt128):
        stored_dtype = pl.Int64() if greatest < 2**63 else pl.Float64()
    exact = greatest <= MAX_EXACT_FLOAT32
    return EncodedColumn(
        name, column.cast(stored_dtype), stored_dtype, exact_in_float32=exact, center=center, lowest=low
    )


def _text(frame: pl.LazyFrame, name: str, n_train: int) -> EncodedColumn:
    text = pl.col(name).cast(pl.String)
    counts = _counts(frame, text, n_train)
    # Codes follow the sorted categories, so that they do not depend on the order of the rows.
    return _with_levels(frame, name, text, counts.filter(pl.col("train") > 0)["value"].sort(), counts)


def _refuse_fractions(frame: pl.LazyFrame, name: str, dtype: pl.DataType, origin: str) -> None:
    value = pl.col(name).fill_nan(None).drop_nulls()
    example = (
        frame.select(value.filter((value != value.floor()) | (value.abs() >= MAX_INT64)).first())
        .collect(engine="streaming")
        .item()
    )
    if example is not None:
        raise FeatureError(
            f"feature {origin!r}: categorical: column {name!r} is a {dtype} with values such as {example!r}; expected "
            "integers from 0 up, or others to renumber",
            hint="text columns are categorical by themselves",
        )


def _code(frame: pl.LazyFrame, number: EncodedColumn, dtype: pl.DataType, n_train: int) -> EncodedColumn:
    """Return a column of numbers that are codes: as they are where they are dense, else renumbered in their order."""
    name, value = number.name, _as_code(number.name, dtype)
    counts = _counts(frame, value, n_train)
    in_train = counts.filter(pl.col("train") > 0)["value"].sort()
    if _is_sparse(dtype, in_train.min(), in_train.max(), len(in_train)):
        return _with_levels(frame, name, value.cast(pl.String), in_train.cast(pl.String), counts)
    unseen = counts.filter(pl.col("train") == 0)
    # What only test has may be anything; a library could take a negative code for the one that stands for null.
    expression = pl.when(pl.col(name).is_between(0, MAX_INT32)).then(pl.col(name)).cast(number.dtype).alias(name)
    outside = unseen.select((~pl.col("value").is_between(0, MAX_INT32)).any()).item()
    return replace(
        number,
        expression=expression if outside else number.expression,
        unseen_values=unseen.height,
        unseen_rows=int(unseen["all"].sum()),
    )


def has_sparse_codes(frame: pl.LazyFrame, name: str, n_train: int) -> bool:
    """Say whether a column of numbers that are codes gets others: those of the train rows decide.

    Parameters
    ----------
    frame : LazyFrame
        With the row key and the column; the lines in any order.
    """
    dtype = frame.collect_schema()[name]
    if not dtype.is_integer():
        return dtype.is_float()
    train = frame.filter(pl.col(ROW) < n_train)
    lowest, highest = train.select(pl.col(name).min().alias("<"), pl.col(name).max().alias(">")).collect().row(0)
    if not _is_sparse(dtype, lowest, highest, 1):
        return False
    n_codes = train.select(pl.col(name).drop_nulls().n_unique()).collect(engine="streaming").item()
    return _is_sparse(dtype, lowest, highest, n_codes)


def _is_sparse(dtype: pl.DataType, lowest: Any, highest: Any, n_codes: int) -> bool:
    if lowest is None or not dtype.is_integer():
        return lowest is not None
    return bool(lowest < 0 or (highest >= SMALL_CODE and highest >= SPARSE * n_codes))


def _as_code(name: str, dtype: pl.DataType) -> pl.Expr:
    return pl.col(name).cast(pl.Int64, strict=False) if dtype.is_float() else pl.col(name)


def _counts(frame: pl.LazyFrame, value: pl.Expr, n_train: int) -> pl.DataFrame:
    """Return each value of a column with the numbers of all rows and of the train rows that have it."""
    return (
        frame.select(ROW, value.alias("value"))
        .drop_nulls("value")
        .group_by("value")
        .agg(pl.len().alias("all"), (pl.col(ROW) < n_train).sum().alias("train"))
        .collect(engine="streaming")
    )


def _with_levels(
    frame: pl.LazyFrame, name: str, spelled: pl.Expr, levels: pl.Series, counts: pl.DataFrame
) -> EncodedColumn:
    """Return a column of codes: places in `levels`, its values in train as text."""
    unseen = counts.filter(pl.col("train") == 0)
    codes = spelled.cast(pl.Enum(levels if len(levels) <= MANY_LEVELS else []), strict=False)
    return EncodedColumn(
        name,
        codes.to_physical().cast(pl.Int32).alias(name),
        pl.Int32(),
        exact_in_float32=len(levels) <= MAX_EXACT_FLOAT32,
        levels=tuple(levels.to_list()),
        unseen_values=unseen.height,
        unseen_rows=int(unseen["all"].sum()),
        codes=_looked_up(frame, name, spelled, levels) if len(levels) > MANY_LEVELS else None,
    )


def _looked_up(frame: pl.LazyFrame, name: str, spelled: pl.Expr, levels: pl.Series) -> pl.Series:
    table = pl.LazyFrame({"value": levels, "code": pl.arange(len(levels), dtype=pl.Int32, eager=True)})
    lines = frame.select(ROW, spelled.alias("value")).join(table, on="value", how="left")
    return lines.select(ROW, "code").collect(engine="streaming").sort(ROW)["code"].alias(name)
