"""What all recipes share: arguments checked against the rows, names of the new columns, keys and order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

import polars as pl

from workbench.core.errors import FeatureError, near
from workbench.core.integers import is_integer
from workbench.data.competition import ROW

__all__ = [
    "GROUP",
    "TIMES",
    "Call",
    "Columns",
    "Naming",
    "Ordered",
    "attached",
    "duration_units",
    "how_to_type",
    "narrow",
    "plain",
    "widened",
]

Columns = str | Sequence[str]
"""One name, or several."""

Schema = dict[str, pl.DataType]

GROUP = "__group__"
"""The number of the group, from 1 up."""

TIMES = (pl.Date, pl.Datetime)
SMALL = (pl.Float32, pl.Int8, pl.Int16, pl.UInt8, pl.UInt16, pl.Boolean)


class Naming(TypedDict, total=False):
    """How the new columns are called: `prefix` before their names, `suffix` in the place of ``_by_…``."""

    prefix: str
    suffix: str


def narrow(dtype: pl.DataType) -> pl.DataType:
    """Return the float type that means of a column get: 32 bits where its own values have no more."""
    return pl.Float32() if dtype in SMALL else pl.Float64()


def plain(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column with NaN as missing, and Booleans and decimals as numbers."""
    value = pl.col(column)
    if dtype.is_float():
        return value.fill_nan(None)
    if dtype.is_decimal():
        return value.cast(pl.Float64)
    return value.cast(pl.UInt8) if dtype == pl.Boolean else value


def widened(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column whose values can be subtracted: NaN as missing, whole numbers in 64 bits with a sign."""
    if dtype.is_integer() or dtype == pl.Boolean:
        return pl.col(column).cast(pl.Int64)
    return plain(column, dtype)


@dataclass(frozen=True)
class Ordered:
    """Rows group by group and in the order of time, the row key deciding between equals.

    One sort serves all columns. What can be said by shifting, filling and running sums over the whole frame is, since
    window expressions cost several times as much.

    Attributes
    ----------
    frame : LazyFrame
        The rows whose order is known, in it: the row key, the order, what was asked for and the group's number.
    unordered : LazyFrame
        The row keys of the others.
    order : list of str
        What the columns of the order are called.
    """

    frame: pl.LazyFrame
    unordered: pl.LazyFrame
    order: list[str]

    @staticmethod
    def over(value: pl.Expr) -> pl.Expr:
        """Evaluate any expression within each group."""
        return value.over(GROUP)

    @staticmethod
    def shifted(value: pl.Expr, n: int) -> pl.Expr:
        """Return the value n rows before within the group, after where n is negative; null where there is none."""
        return pl.when(pl.col(GROUP) == pl.col(GROUP).shift(n)).then(value.shift(n))

    @staticmethod
    def filled(value: pl.Expr, *, forward: bool = True) -> pl.Expr:
        """Return the nearest value up to the row within the group, or from it on."""
        value_group = pl.when(value.is_not_null()).then(pl.col(GROUP))
        nearest_group, nearest_value = (
            e.forward_fill() if forward else e.backward_fill() for e in (value_group, value)
        )
        return pl.when(nearest_group == pl.col(GROUP)).then(nearest_value)

    @staticmethod
    def first(value: pl.Expr) -> pl.Expr:
        """Return the value of the group's first row, which must not be null."""
        return pl.when(pl.col(GROUP) != pl.col(GROUP).shift(1, fill_value=0)).then(value).forward_fill()

    @staticmethod
    def last(value: pl.Expr) -> pl.Expr:
        """Return the value of the group's last row, which must not be null."""
        return pl.when(pl.col(GROUP) != pl.col(GROUP).shift(-1, fill_value=0)).then(value).backward_fill()

    @classmethod
    def running(cls, number: pl.Expr) -> pl.Expr:
        """Return the sum of whole numbers, none of them null, up to and with the row."""
        integers = number.cast(pl.Int64)
        total = integers.cum_sum()
        return total - cls.first(total - integers)

    def result(self, columns: Iterable[pl.Expr]) -> pl.LazyFrame:
        """Return the row key and the columns for all rows; null for those without an order."""
        return pl.concat([self.frame.select(ROW, *columns), self.unordered], how="diagonal")


@dataclass(frozen=True)
class Call:
    """A call of a recipe, whose arguments are checked one by one.

    Attributes
    ----------
    recipe : str
        Its name, for messages.
    rows : LazyFrame
    schema : dict
        The columns of `rows` and their types.
    prefix : str
    suffix : str, or None
        None for the recipe's own.
    """

    recipe: str
    rows: pl.LazyFrame
    schema: Schema
    prefix: str = ""
    suffix: str | None = None

    @classmethod
    def of(cls, recipe: str, rows: pl.LazyFrame, naming: Naming | None = None) -> Call:
        """Begin a call: `rows` must be a LazyFrame with the row key.

        Raises
        ------
        FeatureError
        """
        if not isinstance(rows, pl.LazyFrame):
            got = type(rows).__name__
            raise FeatureError(f"{recipe}: rows must be a LazyFrame, got a {got}", hint="for a DataFrame: frame.lazy()")
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
        """Return an error that says in which recipe it is."""
        return FeatureError(f"{self.recipe}: {message}", hint=hint)

    # --------------------------------------------------------------------------------------------------- arguments

    def columns(self, argument: Columns, *, name: str = "columns") -> list[str]:
        """Return the columns that an argument names.

        Raises
        ------
        FeatureError
            Where it names none, one twice, or one that the rows do not have.
        """
        listed = [argument] if isinstance(argument, str) else argument
        if not isinstance(listed, Sequence) or not all(isinstance(c, str) for c in listed):
            raise self.error(f"{name}={argument!r} must be a column's name or a list of them", f'write {name}="…"')
        if not listed:
            raise self.error(f"{name} is empty", f'name at least one column: {name}="…"')
        for i, column in enumerate(listed):
            if column not in self.schema:
                candidates = [c for c in self.schema if c != ROW]
                raise self.error(f"{name}: rows have no column {column!r}", near(column, candidates, kind="column"))
            if column in listed[:i]:
                raise self.error(f"{name} names {column!r} twice", "name it once")
        return list(listed)

    def numbers(self, argument: Columns, *, name: str = "columns", needed_by: str = "") -> list[str]:
        """Return the columns that an argument names, all of them numbers or Booleans."""
        columns = self.columns(argument, name=name)
        for column in columns:
            self.check_number(column, needed_by or self.recipe)
        return columns

    def check_number(self, column: str, needed_by: str) -> None:
        """Refuse a column that is no number."""
        dtype = self.schema[column]
        if not dtype.is_numeric() and dtype != pl.Boolean:
            raise self.error(
                f"{needed_by} needs numbers, but {column!r} is a {dtype}",
                "leave it out, or make numbers of it: .cast(pl.Float64), .dt.epoch(), ordinal_codes",
            )

    def texts(self, argument: Columns) -> list[str]:
        """Return the columns that an argument names, all of them texts."""
        columns = self.columns(argument)
        for column in columns:
            if self.schema[column] not in (pl.String, pl.Categorical, pl.Enum):
                raise self.error(
                    f"it needs texts, but {column!r} is a {self.schema[column]}", "cast it first: .cast(pl.String)"
                )
        return columns

    def chosen(self, argument: Columns, choices: Sequence[str], *, name: str) -> list[str]:
        """Return the words that an argument lists, all of them among the known ones."""
        listed = [argument] if isinstance(argument, str) else list(argument)
        if not listed:
            raise self.error(f"{name} is empty", f"choose of {', '.join(choices)}")
        for word in listed:
            if word not in choices:
                raise self.error(f"{name}: {word!r} is not known", near(str(word), choices, kind=name.rstrip("s")))
        return list(dict.fromkeys(listed))

    def at_least(self, number: int, least: int, *, name: str) -> int:
        """Return a whole number that must not be below another."""
        if not is_integer(number, least):
            raise self.error(f"{name}={number!r}: expected a whole number from {least} up", f"write {name}={least}")
        return number

    def order(self, argument: Columns) -> list[str]:
        """Return the columns that rows are ordered by, none of them a text: "10" would come before "9".

        An Enum has an order of its own, a Boolean the one of no and yes.

        Raises
        ------
        FeatureError
            Names the column, and says how it becomes a time or a number.
        """
        columns = self.columns(argument, name="order_by")
        for column in columns:
            dtype = self.schema[column]
            if not (dtype.is_numeric() or dtype.is_temporal() or dtype in (pl.Boolean, pl.Enum)):
                raise self.error(f"order_by={column!r} is a {dtype}, which has no order of time", how_to_type(column))
        return columns

    def time(self, column: str) -> str:
        """Return the one column that rows are ordered by and that can be subtracted: a time, a date or a number."""
        if not isinstance(column, str):
            raise self.error(f"order_by={column!r} must be one column's name", 'write order_by="…"')
        self.columns(column, name="order_by")
        dtype = self.schema[column]
        if not isinstance(dtype, TIMES) and not (dtype.is_numeric() and not dtype.is_decimal()):
            raise self.error(
                f"order_by must be a time, a date or a number, but {column!r} is a {dtype}",
                how_to_type(column),
            )
        return column

    # ------------------------------------------------------------------------------------------------------- names

    def name(self, *words: str, by: Sequence[str] = ()) -> str:
        """Return a new column's name, as in "price_mean_by_store"."""
        suffix = self.suffix if self.suffix is not None else f"_by_{'_'.join(by)}" if by else ""
        return f"{self.prefix}{'_'.join(words)}{suffix}"

    # ------------------------------------------------------------------------------------------------------ frames

    def keyed(self, by: Sequence[str], *values: pl.Expr) -> tuple[pl.LazyFrame, list[str]]:
        """Return the row key, the group's keys under names that no column has, and the values; and those names."""
        keys = [f"__key{i}__" for i in range(len(by))]
        named = [pl.col(b).alias(k) for b, k in zip(by, keys, strict=True)]
        return self.rows.select(ROW, *named, *values), keys

    def ordered(self, by: Columns | None, order_by: Columns, *values: pl.Expr) -> Ordered:
        """Return the rows with their group, their order and the values; a missing or NaN order is none."""
        groups = [] if by is None else self.columns(by, name="by")
        order_columns = self.order(order_by)
        order = [f"__order{i}__" for i in range(len(order_columns))]
        placed = [
            plain(c, self.schema[c]).alias(o) if self.schema[c].is_float() else pl.col(c).alias(o)
            for c, o in zip(order_columns, order, strict=True)
        ]
        frame, keys = self.keyed(groups, *placed, *values)
        has_order = pl.all_horizontal(pl.col(o).is_not_null() for o in order)
        new = pl.any_horizontal(pl.int_range(pl.len()) == 0, *[pl.col(k).ne_missing(pl.col(k).shift(1)) for k in keys])
        sorted_frame = frame.filter(has_order).sort(*keys, *order, ROW)
        numbered = sorted_frame.with_columns(new.cast(pl.UInt32).cum_sum().alias(GROUP)).drop(keys)
        return Ordered(numbered, frame.filter(~has_order).select(ROW), order)


def how_to_type(column: str) -> str:
    """Say how a text becomes what rows can be ordered by."""
    return (
        f'make it a time or a number: "{column}" = "Date %d.%m.%Y" (or "Datetime …", "Int64") under [types] in '
        f"competition.toml and `wb fetch` again, or here pl.col({column!r}).str.to_date(…), .cast(pl.Int64)"
    )


def attached(frame: pl.LazyFrame, keys: list[str], table: pl.LazyFrame) -> pl.LazyFrame:
    """Return the row key with the columns of `table`, which has one line per key; null is a key like any other."""
    joined = frame.select(ROW, *keys).join(table, on=keys, how="left", nulls_equal=True)
    return joined.drop(keys)


_DURATION = re.compile(r"(\d+)(ns|us|ms|mo|[smhdwqyi])")


def duration_units(text: str) -> list[tuple[int, str]]:
    """Return the numbers and units of a duration as polars writes it; empty where it is none.

    Examples
    --------
    >>> duration_units("1h30m"), duration_units("soon")
    ([(1, 'h'), (30, 'm')], [])
    """
    parts = [(int(number), unit) for number, unit in _DURATION.findall(text)]
    return parts if "".join(f"{n}{u}" for n, u in parts) == text else []
