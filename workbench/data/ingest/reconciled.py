"""Find types that hold the values of several Parquet files, and cast frames to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import polars as pl

__all__ = ["MAX_EXACT", "IrreconcilableError", "common_schema", "common_type", "fitted", "is_lossless", "zone_note"]

INTEGERS: tuple[type[pl.DataType], ...] = (pl.Int8, pl.Int16, pl.Int32, pl.Int64)
UNSIGNED: tuple[type[pl.DataType], ...] = (pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
MAX_EXACT = 2**53
"""The largest integer up to which a 64-bit float holds all integers exactly."""


class IrreconcilableError(Exception):
    """No type holds a column of two files, which `first` and `second` number."""

    def __init__(self, column: str, first: int, second: int) -> None:
        super().__init__(column)
        self.column, self.first, self.second = column, first, second


def common_schema(schemas: Sequence[Mapping[str, pl.DataType]]) -> dict[str, pl.DataType]:
    """Return the columns of all schemas, in the order of their first occurrence, with types that hold all values.

    Raises
    ------
    IrreconcilableError
        When a column has types in two schemas that have no common type.
    """
    common: dict[str, pl.DataType] = {}
    first_index: dict[str, int] = {}
    for index, schema in enumerate(schemas):
        for column, dtype in schema.items():
            if column not in common:
                common[column], first_index[column] = dtype, index
                continue
            shared = common_type(common[column], dtype)
            if shared is None:
                raise IrreconcilableError(column, first_index[column], index)
            common[column] = shared
    return common


def common_type(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:  # noqa: PLR0911 one per family
    """Return the narrowest type that holds the values of both, or None.

    - Null and any other type: the other type.
    - Integers: the wider one; integers and floats: Float64.
    - Enums or Categoricals that differ: String, because the order of categories has no meaning across files.
    - Times: the finer unit. Dates become midnight, times without a zone are taken as UTC, and times of different
      zones become UTC.
    - Lists and structs: by their items and fields; a struct has the fields of both.
    - Numbers, booleans, texts and times have no common type.

    Examples
    --------
    >>> common_type(pl.Int32(), pl.Int64()), common_type(pl.Int64(), pl.Float32()), common_type(pl.Int8(), pl.String())
    (Int64, Float64, None)
    """
    if other in (one, pl.Null):
        return one
    if one == pl.Null:
        return other
    texts = (pl.String, pl.Categorical, pl.Enum)
    if isinstance(one, texts) and isinstance(other, texts):
        return pl.String()
    if one.is_numeric() and other.is_numeric():
        return _common_number(one, other)
    if isinstance(one, pl.List) and isinstance(other, pl.List):
        inner = common_type(inner_type(one), inner_type(other))
        return None if inner is None else pl.List(inner)
    if isinstance(one, pl.Struct) and isinstance(other, pl.Struct):
        return _common_struct(one, other)
    return _common_time(one, other)


def zone_note(types: Collection[pl.DataType]) -> str:
    """Return a note on times without a zone among times with one, "" where there are none.

    Examples
    --------
    >>> zone_note([pl.Datetime("us", "UTC"), pl.Datetime("us")])
    ', times without a zone for UTC'
    """
    zones = {t.time_zone for t in types if isinstance(t, pl.Datetime)}
    return ", times without a zone for UTC" if len(zones) > 1 and None in zones else ""


def is_lossless(one: pl.DataType, shared: pl.DataType) -> bool:
    """Tell whether no value of a type can lose digits in a common type, in lists and structs too.

    Examples
    --------
    >>> is_lossless(pl.List(pl.Int64()), pl.List(pl.Float64())), is_lossless(pl.Float32(), pl.Float64())
    (False, True)
    """
    if isinstance(one, pl.List) and isinstance(shared, pl.List):
        return is_lossless(inner_type(one), inner_type(shared))
    if isinstance(one, pl.Struct) and isinstance(shared, pl.Struct):
        fields = pl.Schema(shared.to_schema())
        return all(is_lossless(dtype, fields[name]) for name, dtype in pl.Schema(one.to_schema()).items())
    return not shared.is_float() or one.is_float() or one == pl.Null


def inner_type(lists: pl.List) -> pl.DataType:
    """Return the type of the items of lists."""
    (inner,) = pl.Schema({"": lists.inner}).values()
    return inner


def _common_struct(one: pl.Struct, other: pl.Struct) -> pl.DataType | None:
    try:
        return pl.Struct(common_schema([pl.Schema(one.to_schema()), pl.Schema(other.to_schema())]))
    except IrreconcilableError:
        return None


def _common_number(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    if isinstance(one, pl.Decimal) or isinstance(other, pl.Decimal):
        return pl.Float64() if one.is_float() or other.is_float() else _common_decimal(one, other)
    if one.is_float() or other.is_float():
        return pl.Float64()
    for family in (INTEGERS, UNSIGNED):
        if isinstance(one, family) and isinstance(other, family):
            return max(one, other, key=lambda t: family.index(type(t)))
    # Values of an unsigned type may be beyond Int64; they are checked when they are cast.
    return pl.Int64()


def _common_decimal(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    if not isinstance(one, pl.Decimal) or not isinstance(other, pl.Decimal):
        return None
    return pl.Decimal(38, max(one.scale, other.scale))


def _common_time(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    """Return the type that holds the dates, times or durations of both types; None if there is none."""
    dates = [t for t in (one, other) if t == pl.Date]
    times = [t for t in (one, other) if isinstance(t, pl.Datetime)]
    durations = [t for t in (one, other) if isinstance(t, pl.Duration)]
    units = ("ms", "us", "ns")
    if len(dates) + len(times) == 2 and times:
        finest = max(times, key=lambda t: units.index(t.time_unit))
        zones = {t.time_zone for t in times}
        # polars keeps the instant when it casts between time zones.
        return finest if len(zones) == 1 else pl.Datetime(finest.time_unit, None if None in zones else "UTC")
    return max(durations, key=lambda t: units.index(t.time_unit)) if len(durations) == 2 else None


def fitted(frame: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Cast a frame to `schema`; columns that it lacks become null.

    Raises
    ------
    polars.exceptions.PolarsError
        When a value does not fit: an integer beyond 64 bits, or one beyond 2**53 that would become a float.
    """
    series_by_name = {s.name: s for s in frame.get_columns()}
    changed_columns = [
        _fitted(series_by_name[name], dtype).alias(name)
        for name, dtype in schema.items()
        if name in series_by_name and series_by_name[name].dtype != dtype
    ]
    missing_columns = [
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in schema.items() if name not in series_by_name
    ]
    result = frame.with_columns(*changed_columns, *missing_columns) if changed_columns or missing_columns else frame
    names = list(schema)
    return result if result.columns == names else result.select(names)


def _fitted(values: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Cast values to a type, also within lists and structs; raise if an integer would lose digits as a float."""
    if values.dtype == dtype:
        return values
    if values.dtype.is_integer() and dtype.is_float() and values.len():
        low, high = values.min(), values.max()
        inexact_integer = next((v for v in (low, high) if isinstance(v, int) and abs(v) > MAX_EXACT), None)
        if inexact_integer is not None:
            raise pl.exceptions.InvalidOperationError(f"{inexact_integer} does not fit Float64 without loss")
    if isinstance(dtype, pl.Struct) and isinstance(values.dtype, pl.Struct):
        structs = fitted(values.struct.unnest(), pl.Schema(dtype.to_schema())).to_struct(values.name)
        return pl.select(pl.when(values.is_not_null()).then(structs)).to_series()
    if isinstance(dtype, pl.List) and isinstance(values.dtype, pl.List):
        # In lists, polars matches the fields of structs by position, and casts integers to floats with loss.
        return _fitted_lists(values, dtype)
    return values.cast(dtype)


def _fitted_lists(values: pl.Series, dtype: pl.List) -> pl.Series:
    """Cast the items of lists by `_fitted`; empty lists stay empty, and nulls null."""
    numbered_lists = pl.DataFrame({"row": range(values.len()), "items": values})
    item_rows = numbered_lists.filter(pl.col("items").list.len() > 0).explode("items")
    items = _fitted(item_rows["items"], inner_type(dtype))
    grouped = (
        item_rows.select("row").with_columns(items.alias("items")).group_by("row", maintain_order=True).agg("items")
    )
    joined = numbered_lists.join(grouped, on="row", how="left", maintain_order="left", suffix="_new")
    empty_list = pl.lit(pl.Series([[]], dtype=dtype)).first()
    is_empty = pl.col("items").is_not_null() & pl.col("items_new").is_null()
    return joined.select(pl.when(is_empty).then(empty_list).otherwise(pl.col("items_new"))).to_series()
