"""Encode columns of any type as numbers: float32 if that is exact, else float64 or integers; codes for categories.

The encoding is derived from the type of a column and, if necessary, one streamed pass over its values. It is a polars
expression, so that any range of rows can be read and encoded separately.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import polars as pl

from workbench.core.errors import FeatureError
from workbench.data.competition import ROW
from workbench.features.column_batches import column_batches
from workbench.features.value_ranges import NO_VALUES, ValueRange, needs_range, value_ranges

__all__ = [
    "EncodedColumn",
    "as_number",
    "as_seconds",
    "encode_columns",
    "has_sparse_codes",
    "is_unsupported",
    "merged_in_float32",
]

MAX_EXACT_FLOAT32 = 2**24
"""Integers up to this are exact in 32-bit floats."""

SAMPLE_ROWS = 10_000
"""The rows per sample in `merged_in_float32`."""

MAX_NEEDED_VALUES = 8192
"""A column with this many distinct values in 32 bits, such as degrees with six digits, stays in 32 bits: models sort
values into 255 bins, and 64 bits for one column would mean 64 bits for all."""

MAX_MERGED_SHARE = 0.01
"""The share of values that 32 bits may merge. Of 30,000 values of any spread it is less than a third of this."""

TEXTS = (pl.String, pl.Categorical, pl.Enum)
MAX_ENUM_LEVELS = 10_000
"""With more categories the codes of all rows are computed once: building the lookup table takes longer than a chunk."""

MAX_INT32 = 2**31 - 1
"""LightGBM stores codes in 32 bits, and treats greater or negative ones as missing."""

MAX_INT64 = 2.0**63

MIN_SPARSE_CODE = 1000
SPARSE_FACTOR = 4
"""Integer codes are renumbered if the largest is at least `MIN_SPARSE_CODE` and `SPARSE_FACTOR` times their number.

LightGBM's trees and XGBoost's histograms allocate memory for every code up to the largest, used or not.
"""


@dataclass(frozen=True)
class EncodedColumn:
    """A column encoded as numbers.

    Attributes
    ----------
    name : str
    expression : Expr
        The encoded column, under its name, from the source column.
    dtype : DataType
        Float32 or Float64, an integer, or Int32 for codes.
    exact_in_float32 : bool
        Whether float32 represents the values exactly, or at least keeps different values different.
    center : float, or None
        If not, the median: after subtracting it, float32 keeps different values different.
    levels : tuple of str, or None
        The sorted categories of the train rows: a code is an index in them. Null and other categories have no code and
        count as missing. None for numbers, and for integers that are used as codes unchanged.
    unseen_values, unseen_rows : int
        The number of categories that only test has, and the number of test rows with one of them.
    lowest : float, or None
        The minimum, if it was computed.
    codes : Series (n_rows,), or None
        The codes of all rows, if they were computed in advance; `expression` is then unused.
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


def is_unsupported(dtype: pl.DataType) -> bool:
    """Tell whether a column of this type can't be encoded: nested, binary, object or null."""
    return dtype.is_nested() or dtype in (pl.Binary, pl.Object, pl.Null)


def as_number(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column of a table with times converted to seconds and decimals to floats."""
    column = pl.col(name)
    if dtype in (pl.Date, pl.Datetime):
        return column.dt.epoch("s")
    if dtype in (pl.Duration, pl.Time):
        return as_seconds(pl.col(name), dtype)
    return column.cast(pl.Float64) if dtype.is_decimal() else column


def as_seconds(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return durations or times of day as fractional seconds."""
    unit = dtype.time_unit if isinstance(dtype, pl.Duration) else "ns"
    return column.to_physical() / {"ms": 1e3, "us": 1e6, "ns": 1e9}[unit or "us"]


def encode_columns(
    frame: pl.LazyFrame,
    columns: Sequence[str],
    n_train: int,
    *,
    origin: str,
    categorical: Collection[str] = (),
    ranges: Mapping[str, ValueRange] = MappingProxyType({}),
) -> list[EncodedColumn]:
    """Return the encodings of a frame's columns.

    Parameters
    ----------
    frame : LazyFrame
        With the row key, in any order.
    columns : sequence of str
    n_train : int
        The number of train rows, which come first.
    origin : str
        The feature that the columns come from, for messages.
    categorical : collection of str
        Numeric columns that are codes of categories; texts are always categories.
    ranges : dict, optional
        The ranges that are known of some of the columns; the others are read for theirs.

    Raises
    ------
    FeatureError
        For a type that can't be encoded, which would crash LightGBM, or codes that are not integers.
    """
    schema, categorical = frame.collect_schema(), set(categorical)
    for name in columns:
        _check_type(name, schema[name], origin)
    ranged = [c for c in columns if needs_range(schema[c])]
    ranges = dict(ranges) | value_ranges(frame, [c for c in ranged if c not in ranges], schema)
    medians = merged_in_float32(frame, [c for c in ranged if _may_merge(schema[c], ranges[c])], n_train)
    texts = [c for c in columns if schema[c] in TEXTS]
    encoded = {
        name: _encode_text(batch, name, n_train) for names, batch in column_batches(frame, texts) for name in names
    }
    for name in columns:
        if name in encoded:
            continue
        dtype = schema[name]
        number = _encode_number(name, dtype, ranges.get(name, NO_VALUES), medians.get(name))
        is_code = name in categorical and dtype != pl.Boolean
        if is_code and dtype.is_float():
            _check_integral(frame, name, dtype, origin)
        encoded[name] = _encode_code(frame, number, dtype, n_train) if is_code else number
    return [encoded[name] for name in columns]


def _check_type(name: str, dtype: pl.DataType, origin: str) -> None:
    if dtype in TEXTS or dtype == pl.Boolean or dtype.is_float() or dtype.is_integer():
        return
    fix = {"Date": ".dt.epoch()", "Datetime": '.dt.epoch("s")', "Duration": ".dt.total_microseconds() / 1e6"}
    conversion = fix.get(str(dtype.base_type()), "")
    raise FeatureError(
        f"feature {origin!r}: column {name!r} is a {dtype}, which LightGBM can't take",
        hint=f"make it a number: pl.col({name!r}){conversion}" if conversion else "make it a number or a text",
    )


def _may_merge(dtype: pl.DataType, value_range: ValueRange) -> bool:
    max_abs = max(abs(value_range[0] or 0), abs(value_range[1] or 0))
    return max_abs > MAX_EXACT_FLOAT32 or (dtype.is_float() and not value_range[2])


def merged_in_float32(frame: pl.LazyFrame, columns: Sequence[str], n_train: int) -> dict[str, float]:
    """Return the columns in which float32 merges different values, with their medians.

    Seconds since 1970, for example, are 64 or 128 apart in float32. Three ranges of train rows are sampled, as
    neighbouring rows are the most likely to have close values. The test rows must not affect the encoding.

    Parameters
    ----------
    frame : LazyFrame
        With the train rows first.
    columns : sequence of str
        Integers and floats.
    """
    if not columns:
        return {}
    starts = dict.fromkeys((0, max(0, n_train // 2 - SAMPLE_ROWS // 2), max(0, n_train - SAMPLE_ROWS)))
    samples: list[pl.DataFrame] = []
    few_valued = list(columns)
    for start in starts:
        samples.append(frame.select(few_valued).slice(start, min(SAMPLE_ROWS, n_train - start)).collect())
        # One sample with enough values decides: most columns of fractions need no other.
        few_valued = [c for c in few_valued if _n_float32(_finite(samples[-1][c])) < MAX_NEEDED_VALUES]
        if not few_valued:
            return {}
    medians = {}
    for name in few_valued:
        values = _finite(pl.concat([sample[name] for sample in samples]))
        n_exact, n_float32 = values.n_unique(), _n_float32(values)
        if n_exact - n_float32 > MAX_MERGED_SHARE * n_exact and n_float32 < MAX_NEEDED_VALUES:
            medians[name] = float(values.sort()[len(values) // 2])
    return medians


def _finite(values: pl.Series) -> pl.Series:
    values = values.drop_nulls()
    return values.filter(values.is_finite()) if values.dtype.is_float() else values


def _n_float32(values: pl.Series) -> int:
    """Return the number of distinct values in 32 bits."""
    return values.cast(pl.Float32).n_unique()


def _encode_number(
    name: str, dtype: pl.DataType, value_range: ValueRange, center: float | None = None
) -> EncodedColumn:
    lowest, highest, all_integral = value_range
    column = pl.col(name)
    max_abs = max(abs(lowest or 0), abs(highest or 0))
    low = None if lowest is None else float(lowest)
    if dtype == pl.Boolean:
        return EncodedColumn(name, column.cast(pl.Int8), pl.Int8())
    if dtype == pl.Float64:
        if (all_integral and max_abs >= MAX_EXACT_FLOAT32) or center is not None:
            return EncodedColumn(name, column, pl.Float64(), exact_in_float32=False, center=center, lowest=low)
        return EncodedColumn(name, column.cast(pl.Float32), pl.Float32(), lowest=low)
    if dtype.is_float():
        return EncodedColumn(name, column.cast(pl.Float32), pl.Float32(), lowest=low)
    stored_dtype: pl.DataType = dtype
    if dtype in (pl.Int128, pl.UInt128):
        stored_dtype = pl.Int64() if max_abs < 2**63 else pl.Float64()
    is_exact = max_abs <= MAX_EXACT_FLOAT32
    return EncodedColumn(
        name, column.cast(stored_dtype), stored_dtype, exact_in_float32=is_exact, center=center, lowest=low
    )


def _encode_text(frame: pl.LazyFrame, name: str, n_train: int) -> EncodedColumn:
    text = pl.col(name).cast(pl.String)
    counts = _value_counts(frame, text, n_train)
    # Sorted, so that the codes do not depend on the order of the rows.
    return _with_levels(frame, name, text, counts.filter(pl.col("train") > 0)["value"].sort(), counts)


def _check_integral(frame: pl.LazyFrame, name: str, dtype: pl.DataType, origin: str) -> None:
    value = pl.col(name).fill_nan(None).drop_nulls()
    example = (
        frame.select(value.filter((value != value.floor()) | (value.abs() >= MAX_INT64)).first())
        .collect(engine="streaming")
        .item()
    )
    if example is not None:
        raise FeatureError(
            f"feature {origin!r}: categorical: column {name!r} is a {dtype} with values such as {example!r}; expected "
            "integers, which are renumbered if they can't serve as codes",
            hint="text columns are categorical by themselves",
        )


def _encode_code(frame: pl.LazyFrame, number: EncodedColumn, dtype: pl.DataType, n_train: int) -> EncodedColumn:
    """Return the encoding of a numeric column of codes: unchanged if they are dense, else renumbered in order."""
    name, value = number.name, _as_code(number.name, dtype)
    counts = _value_counts(frame, value, n_train)
    in_train = counts.filter(pl.col("train") > 0)["value"].sort()
    if _is_sparse(dtype, in_train.min(), in_train.max(), len(in_train)):
        return _with_levels(frame, name, value.cast(pl.String), in_train.cast(pl.String), counts)
    unseen = counts.filter(pl.col("train") == 0)
    # Codes that only test has may be negative, which some libraries would mistake for their code for null.
    expression = pl.when(pl.col(name).is_between(0, MAX_INT32)).then(pl.col(name)).cast(number.dtype).alias(name)
    is_outside = unseen.select((~pl.col("value").is_between(0, MAX_INT32)).any()).item()
    return replace(
        number,
        expression=expression if is_outside else number.expression,
        unseen_values=unseen.height,
        unseen_rows=int(unseen["all"].sum()),
    )


def has_sparse_codes(frame: pl.LazyFrame, name: str, n_train: int) -> bool:
    """Tell whether the codes of a numeric column are renumbered, which depends on the train rows alone.

    Parameters
    ----------
    frame : LazyFrame
        With the row key and the column, in any order.
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
    return bool(lowest < 0 or (highest >= MIN_SPARSE_CODE and highest >= SPARSE_FACTOR * n_codes))


def _as_code(name: str, dtype: pl.DataType) -> pl.Expr:
    return pl.col(name).cast(pl.Int64, strict=False) if dtype.is_float() else pl.col(name)


def _value_counts(frame: pl.LazyFrame, value: pl.Expr, n_train: int) -> pl.DataFrame:
    """Return the distinct values of a column with their counts in all rows and in the train rows."""
    return (
        frame.select(ROW, value.alias("value"))
        .drop_nulls("value")
        .group_by("value")
        .agg(pl.len().alias("all"), (pl.col(ROW) < n_train).sum().alias("train"))
        .collect(engine="streaming")
    )


def _with_levels(
    frame: pl.LazyFrame, name: str, text: pl.Expr, levels: pl.Series, counts: pl.DataFrame
) -> EncodedColumn:
    """Return a column of codes, the indices of its texts in `levels`."""
    unseen = counts.filter(pl.col("train") == 0)
    codes = text.cast(pl.Enum(levels if len(levels) <= MAX_ENUM_LEVELS else []), strict=False)
    return EncodedColumn(
        name,
        codes.to_physical().cast(pl.Int32).alias(name),
        pl.Int32(),
        exact_in_float32=len(levels) <= MAX_EXACT_FLOAT32,
        levels=tuple(levels.to_list()),
        unseen_values=unseen.height,
        unseen_rows=int(unseen["all"].sum()),
        codes=_lookup_codes(frame, name, text, levels) if len(levels) > MAX_ENUM_LEVELS else None,
    )


def _lookup_codes(frame: pl.LazyFrame, name: str, text: pl.Expr, levels: pl.Series) -> pl.Series:
    table = pl.LazyFrame({"value": levels, "code": pl.arange(len(levels), dtype=pl.Int32, eager=True)})
    lines = frame.select(ROW, text.alias("value")).join(table, on="value", how="left")
    return lines.select(ROW, "code").collect(engine="streaming").sort(ROW)["code"].alias(name)
