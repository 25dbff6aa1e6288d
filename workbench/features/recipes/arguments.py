"""Shared parts of the recipes: validation of arguments, names of new columns, groups and order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

import polars as pl

from workbench.core.errors import FeatureError, did_you_mean
from workbench.core.integers import is_integer
from workbench.data.competition import ROW

__all__ = [
    "GROUP",
    "TIME_TYPES",
    "Call",
    "Columns",
    "Naming",
    "OrderedRows",
    "duration_units",
    "float_type",
    "join_to_rows",
    "normalized",
    "subtractable",
    "type_hint",
]

Columns = str | Sequence[str]
"""One column name, or several."""

Schema = dict[str, pl.DataType]

GROUP = "__group__"
"""The column with the number of the group, from 1."""

TIME_TYPES = (pl.Date, pl.Datetime)
FLOAT32_TYPES = (pl.Float32, pl.Int8, pl.Int16, pl.UInt8, pl.UInt16, pl.Boolean)


class Naming(TypedDict, total=False):
    """Names of new columns: `prefix` is added before them, `suffix` replaces ``_by_…``."""

    prefix: str
    suffix: str


def float_type(dtype: pl.DataType) -> pl.DataType:
    """Return the float type for means of a column: 32 bits if its values need no more."""
    return pl.Float32() if dtype in FLOAT32_TYPES else pl.Float64()


def normalized(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column with NaN replaced by null, and booleans and decimals converted to numbers."""
    value = pl.col(column)
    if dtype.is_float():
        return value.fill_nan(None)
    if dtype.is_decimal():
        return value.cast(pl.Float64)
    return value.cast(pl.UInt8) if dtype == pl.Boolean else value


def subtractable(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column whose values can be subtracted: NaN replaced by null, integers as Int64."""
    if dtype.is_integer() or dtype == pl.Boolean:
        return pl.col(column).cast(pl.Int64)
    return normalized(column, dtype)


@dataclass(frozen=True)
class OrderedRows:
    """Rows sorted by group, then time, then row key.

    One sort serves all columns. Shifts, fills and running sums are computed over the whole frame where possible, as
    window expressions take several times as long.

    Attributes
    ----------
    frame : LazyFrame
        The sorted rows that have a time, with the row key, the columns of the order, the requested values and `GROUP`.
    unordered : LazyFrame
        The row keys of the rows without a time.
    order : list of str
        The names of the columns of the order.
    """

    frame: pl.LazyFrame
    unordered: pl.LazyFrame
    order: list[str]

    @staticmethod
    def over(value: pl.Expr) -> pl.Expr:
        """Return an expression that is evaluated within each group."""
        return value.over(GROUP)

    @staticmethod
    def shift(value: pl.Expr, n: int) -> pl.Expr:
        """Return the value n rows earlier in the group (later if n is negative); null if there is no such row."""
        return pl.when(pl.col(GROUP) == pl.col(GROUP).shift(n)).then(value.shift(n))

    @staticmethod
    def fill_nearest(value: pl.Expr, *, forward: bool = True) -> pl.Expr:
        """Return the last value that is not null up to the row in its group, or the next one if not `forward`."""
        value_group = pl.when(value.is_not_null()).then(pl.col(GROUP))
        nearest_group, nearest_value = (
            e.forward_fill() if forward else e.backward_fill() for e in (value_group, value)
        )
        return pl.when(nearest_group == pl.col(GROUP)).then(nearest_value)

    @staticmethod
    def first(value: pl.Expr) -> pl.Expr:
        """Return the value of the first row of the group, which must not be null."""
        return pl.when(pl.col(GROUP) != pl.col(GROUP).shift(1, fill_value=0)).then(value).forward_fill()

    @staticmethod
    def last(value: pl.Expr) -> pl.Expr:
        """Return the value of the last row of the group, which must not be null."""
        return pl.when(pl.col(GROUP) != pl.col(GROUP).shift(-1, fill_value=0)).then(value).backward_fill()

    @classmethod
    def running_sum(cls, number: pl.Expr) -> pl.Expr:
        """Return the running sum within the group, the row included; of integers without nulls."""
        integers = number.cast(pl.Int64)
        total = integers.cum_sum()
        return total - cls.first(total - integers)

    def result(self, columns: Iterable[pl.Expr]) -> pl.LazyFrame:
        """Return the row key and the columns for all rows; null for rows without a time."""
        return pl.concat([self.frame.select(ROW, *columns), self.unordered], how="diagonal")


@dataclass(frozen=True)
class Call:
    """The call of a recipe: its rows, and methods to validate its arguments.

    Attributes
    ----------
    recipe : str
        The name of the recipe, for messages.
    rows : LazyFrame
    schema : dict
        Column of `rows` -> type.
    prefix : str
    suffix : str, or None
        None for the default of the recipe.
    """

    recipe: str
    rows: pl.LazyFrame
    schema: Schema
    prefix: str = ""
    suffix: str | None = None

    @classmethod
    def of(cls, recipe: str, rows: pl.LazyFrame, naming: Naming | None = None) -> Call:
        """Return the call of a recipe after checking that `rows` is a LazyFrame with the row key.

        Raises
        ------
        FeatureError
            If it is not, or for unknown or invalid `naming`.
        """
        if not isinstance(rows, pl.LazyFrame):
            actual = type(rows).__name__
            raise FeatureError(
                f"{recipe}: rows must be a LazyFrame, got a {actual}", hint="for a DataFrame: frame.lazy()"
            )
        schema = dict(rows.collect_schema())
        if ROW not in schema:
            raise FeatureError(
                f"{recipe}: rows has no row key {ROW!r}; it has {', '.join(list(schema)[:10])}",
                hint="give the feature's rows, or a frame made of them that has kept ROW",
            )
        affixes = dict(naming or {})
        unknown = sorted(set(affixes) - {"prefix", "suffix"})
        if unknown:
            raise FeatureError(f"{recipe} has no argument {unknown[0]!r}", hint="names are set by prefix= and suffix=")
        for key, text in affixes.items():
            if not isinstance(text, str):
                raise FeatureError(f"{recipe}: {key}={text!r} must be a text", hint=f'write {key}="…"')
        suffix = affixes.get("suffix")
        return cls(recipe, rows, schema, str(affixes.get("prefix", "")), None if suffix is None else str(suffix))

    def error(self, message: str, hint: str) -> FeatureError:
        """Return an error whose message begins with the name of the recipe."""
        return FeatureError(f"{self.recipe}: {message}", hint=hint)

    # --------------------------------------------------------------------------------------------------- arguments

    def columns(self, argument: Columns, *, name: str = "columns") -> list[str]:
        """Return the columns that an argument names.

        Raises
        ------
        FeatureError
            If it names no column, a column twice, or a column that the rows do not have.
        """
        listed = [argument] if isinstance(argument, str) else argument
        if not isinstance(listed, Sequence) or not all(isinstance(c, str) for c in listed):
            raise self.error(f"{name}={argument!r} must be a column's name or a list of them", f'write {name}="…"')
        if not listed:
            raise self.error(f"{name} is empty", f'name at least one column: {name}="…"')
        for i, column in enumerate(listed):
            if column not in self.schema:
                candidates = [c for c in self.schema if c != ROW]
                raise self.error(
                    f"{name}: rows have no column {column!r}", did_you_mean(column, candidates, kind="column")
                )
            if column in listed[:i]:
                raise self.error(f"{name} names {column!r} twice", "name it once")
        return list(listed)

    def numbers(self, argument: Columns, *, name: str = "columns", needed_by: str = "") -> list[str]:
        """Return the columns that an argument names, which must be numbers or booleans."""
        columns = self.columns(argument, name=name)
        for column in columns:
            self.check_number(column, needed_by or self.recipe)
        return columns

    def check_number(self, column: str, needed_by: str) -> None:
        """Raise FeatureError unless a column is numeric or boolean."""
        dtype = self.schema[column]
        if not dtype.is_numeric() and dtype != pl.Boolean:
            raise self.error(
                f"{needed_by} needs numbers, but {column!r} is a {dtype}",
                "leave it out, or make numbers of it: .cast(pl.Float64), .dt.epoch(), ordinal_codes",
            )

    def texts(self, argument: Columns) -> list[str]:
        """Return the columns that an argument names, which must be texts."""
        columns = self.columns(argument)
        for column in columns:
            if self.schema[column] not in (pl.String, pl.Categorical, pl.Enum):
                raise self.error(
                    f"it needs texts, but {column!r} is a {self.schema[column]}", "cast it first: .cast(pl.String)"
                )
        return columns

    def chosen(self, argument: Columns, choices: Sequence[str], *, name: str) -> list[str]:
        """Return the words of an argument, which must be valid choices, without repetitions."""
        words = [argument] if isinstance(argument, str) else list(argument)
        if not words:
            raise self.error(f"{name} is empty", f"choose of {', '.join(choices)}")
        for word in words:
            if word not in choices:
                raise self.error(
                    f"{name}: {word!r} is not known", did_you_mean(str(word), choices, kind=name.rstrip("s"))
                )
        return list(dict.fromkeys(words))

    def at_least(self, number: int, minimum: int, *, name: str) -> int:
        """Return an argument, which must be an integer of at least `minimum`."""
        if not is_integer(number, minimum):
            raise self.error(
                f"{name}={number!r}: expected a whole number of at least {minimum}", f"write {name}={minimum}"
            )
        return number

    def order(self, argument: Columns) -> list[str]:
        """Return the columns of `order_by`, which must not be texts, as "10" would precede "9".

        Enums have their own order, booleans false before true.

        Raises
        ------
        FeatureError
            For a text; the hint explains how to convert it.
        """
        columns = self.columns(argument, name="order_by")
        for column in columns:
            dtype = self.schema[column]
            if not (dtype.is_numeric() or dtype.is_temporal() or dtype in (pl.Boolean, pl.Enum)):
                raise self.error(f"order_by={column!r} is a {dtype}, which has no order of time", type_hint(column))
        return columns

    def time(self, column: str) -> str:
        """Return the column of `order_by`, which must be a single time, date or number."""
        if not isinstance(column, str):
            raise self.error(f"order_by={column!r} must be one column's name", 'write order_by="…"')
        self.columns(column, name="order_by")
        dtype = self.schema[column]
        if not isinstance(dtype, TIME_TYPES) and not (dtype.is_numeric() and not dtype.is_decimal()):
            raise self.error(
                f"order_by must be a time, a date or a number, but {column!r} is a {dtype}",
                type_hint(column),
            )
        return column

    # ------------------------------------------------------------------------------------------------------- names

    def name(self, *words: str, by: Sequence[str] = ()) -> str:
        """Return the name of a new column, as in "price_mean_by_store"."""
        suffix = self.suffix if self.suffix is not None else f"_by_{'_'.join(by)}" if by else ""
        return f"{self.prefix}{'_'.join(words)}{suffix}"

    # ------------------------------------------------------------------------------------------------------ frames

    def keyed(self, by: Sequence[str], *values: pl.Expr) -> tuple[pl.LazyFrame, list[str]]:
        """Return a frame with the row key, the keys under temporary names and the values, and these names."""
        keys = [f"__key{i}__" for i in range(len(by))]
        key_columns = [pl.col(b).alias(k) for b, k in zip(by, keys, strict=True)]
        return self.rows.select(ROW, *key_columns, *values), keys

    def ordered(self, by: Columns | None, order_by: Columns, *values: pl.Expr) -> OrderedRows:
        """Return the rows with the values, sorted by group and time; a null or NaN time counts as missing."""
        groups = [] if by is None else self.columns(by, name="by")
        order_columns = self.order(order_by)
        order = [f"__order{i}__" for i in range(len(order_columns))]
        times = [
            normalized(c, self.schema[c]).alias(o) if self.schema[c].is_float() else pl.col(c).alias(o)
            for c, o in zip(order_columns, order, strict=True)
        ]
        frame, keys = self.keyed(groups, *times, *values)
        has_order = pl.all_horizontal(pl.col(o).is_not_null() for o in order)
        starts_group = pl.any_horizontal(
            pl.int_range(pl.len()) == 0, *[pl.col(k).ne_missing(pl.col(k).shift(1)) for k in keys]
        )
        sorted_frame = frame.filter(has_order).sort(*keys, *order, ROW)
        numbered = sorted_frame.with_columns(starts_group.cast(pl.UInt32).cum_sum().alias(GROUP)).drop(keys)
        return OrderedRows(numbered, frame.filter(~has_order).select(ROW), order)


def type_hint(column: str) -> str:
    """Return a hint how to convert a text column to a time or a number."""
    return (
        f'make it a time or a number: "{column}" = "Date %d.%m.%Y" (or "Datetime …", "Int64") under [types] in '
        f"competition.toml and `wb fetch` again, or here pl.col({column!r}).str.to_date(…), .cast(pl.Int64)"
    )


def join_to_rows(frame: pl.LazyFrame, keys: list[str], table: pl.LazyFrame) -> pl.LazyFrame:
    """Return the row key with the columns of `table`, joined by key; `table` has one line per key, null included."""
    joined = frame.select(ROW, *keys).join(table, on=keys, how="left", nulls_equal=True)
    return joined.drop(keys)


_DURATION = re.compile(r"(\d+)(ns|us|ms|mo|[smhdwqyi])")


def duration_units(text: str) -> list[tuple[int, str]]:
    """Return the numbers and units of a duration in polars' syntax; empty if it is invalid.

    Examples
    --------
    >>> duration_units("1h30m"), duration_units("soon")
    ([(1, 'h'), (30, 'm')], [])
    """
    parts = [(int(number), unit) for number, unit in _DURATION.findall(text)]
    return parts if "".join(f"{n}{u}" for n, u in parts) == text else []
