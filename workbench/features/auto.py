"""The feature ``auto``: what can be made of any table without a thought.

Decided once per competition from all rows, train and test, and never from the target:

- numbers stay; whole numbers that repeat also get how often they occur;
- dates and times are taken apart: year, month, day, weekday, day of the year, hour, minute, and the days since 1970;
- texts with few values are categories, with more they are numbered in the order of the alphabet; what is rare in train
  is grouped; also how often each occurs;
- texts made of parts ("B/12/P", "N512MQ") are taken apart; long ones give their length and number of words;
- how many values of a row are missing.

Columns that say nothing are left out: the id, constants, and what is empty throughout train or test.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from workbench.competition import ROW

__all__ = ["auto_features"]

MANY = 10
"""With up to so many values, how often one occurs says no more than the value itself."""

MANY_NUMBERS = 50
"""The same for whole numbers, whose order already tells the frequent from the rare where they are few."""

MAX_CATEGORIES = 12
"""With more values, LightGBM's splits by sets of categories fit the noise of the small ones: numbers, whose splits keep
neighbours together, did better by 0.02 of AUC on 30,000 flights with 16 carriers, 100 places and 4,000 planes."""

RARE = "(rare)"
SEPARATORS = ("/", "-", "_", "|", ":", ".", " ")
LETTERS_NUMBER = r"^([A-Za-z]*)[ ._-]?(\d{1,15})([A-Za-z]*)$"
SEEN_ROWS = 20_000
"""Forms of texts are looked for in so many rows; nothing breaks where a later one differs."""


@dataclass
class _Plan:
    """What is made of the columns: expressions over the rows, and counts that are joined to them."""

    expressions: list[pl.Expr] = field(default_factory=list)
    counts: dict[str, pl.LazyFrame] = field(default_factory=dict)


def auto_features(rows: pl.LazyFrame, *, leave_out: Sequence[str], n_train: int) -> pl.LazyFrame:
    """Return the columns of ``auto`` for all rows, with the row key.

    Parameters
    ----------
    rows : LazyFrame
        As `Competition.rows` gives it.
    leave_out : sequence of str
        Columns that only tell rows apart.
    n_train : int
        The rows before it are the train rows.
    """
    schema = rows.collect_schema()
    columns = _informative(rows, [c for c in schema if c not in (ROW, *leave_out)], n_train)
    plan = _Plan()
    for column in columns:
        _add(plan, rows, column, schema[column], n_train)
    holes = _with_holes(rows, columns)
    if len(holes) > 1:
        missing = pl.sum_horizontal(pl.col(holes).is_null().cast(pl.Int16)).alias("missing_values")
        plan.expressions.append(missing)
    made = rows
    for name, counts in plan.counts.items():
        made = made.join(counts, on=name, how="left", nulls_equal=True)
    taken: set[str] = set()
    counted = [pl.col(_counted(c)).alias(f"{c}_count") for c in plan.counts]
    return made.select(ROW, *(_fresh(e, taken) for e in (*plan.expressions, *counted)))


def _fresh(expression: pl.Expr, taken: set[str]) -> pl.Expr:
    """Give an expression another name where its own is taken: a table may have date and date_year."""
    name = expression.meta.output_name()
    while name in taken:
        name += "_"
    taken.add(name)
    return expression.alias(name)


def _counted(column: str) -> str:
    # Beside the tables' own columns for a while, of which one may be called "x_count".
    return f"__count_of_{column}__"


def _informative(rows: pl.LazyFrame, columns: list[str], n_train: int) -> list[str]:
    """Return the columns that vary and that are filled somewhere in train and somewhere in test."""
    schema = rows.collect_schema()
    columns = [c for c in columns if not (schema[c] in (pl.Binary, pl.Object, pl.Null) or schema[c] == pl.Struct)]
    sides = pl.when(pl.col(ROW) < n_train).then(pl.lit("train")).otherwise(pl.lit("test"))
    filled = (
        rows.group_by(sides.alias("side"))
        .agg(pl.col(columns).is_not_null().any())
        .drop("side")
        .collect(engine="streaming")
    )
    there = [c for c in columns if filled[c].all()]
    nested = [c for c in there if schema[c].is_nested()]
    plain = [pl.col(c).cast(pl.String) if schema[c] in (pl.Categorical, pl.Enum) else pl.col(c) for c in there]
    plain = [e for e in plain if e.meta.output_name() not in nested]
    # Least and greatest tell a constant in little memory, which counting the values would not.
    varies = rows.select((e.min() != e.max()).alias(e.meta.output_name()) for e in plain)
    varied = varies.collect(engine="streaming").row(0, named=True) if plain else {}
    some_missing = set(_with_holes(rows, list(varied)))
    return [c for c in there if c in nested or varied[c] or c in some_missing]


def _with_holes(rows: pl.LazyFrame, columns: list[str]) -> list[str]:
    if not columns:
        return []
    nulls = rows.select(pl.col(columns).null_count()).collect(engine="streaming").row(0, named=True)
    return [c for c in columns if nulls[c]]


def _add(plan: _Plan, rows: pl.LazyFrame, column: str, dtype: pl.DataType, n_train: int) -> None:
    if dtype in (pl.Date, pl.Datetime):
        plan.expressions += _time_parts(rows, column, dtype)
    elif dtype == pl.Duration:
        plan.expressions.append(pl.col(column).dt.total_seconds())
    elif dtype == pl.Time:
        plan.expressions.append(pl.col(column).cast(pl.Duration("us")).dt.total_seconds())
    elif dtype in (pl.String, pl.Categorical, pl.Enum):
        _add_text(plan, rows.with_columns(pl.col(column).cast(pl.String)), column, n_train)
    elif dtype in (pl.List, pl.Array):
        plan.expressions.append(pl.col(column).list.len().alias(f"{column}_length"))
    else:
        plan.expressions.append(pl.col(column).cast(pl.Float64) if dtype.is_decimal() else pl.col(column))
        if dtype.is_integer():
            _add_number_counts(plan, rows, column)


def _add_number_counts(plan: _Plan, rows: pl.LazyFrame, column: str) -> None:
    n_rows, n_values = rows.select(pl.len(), pl.col(column).n_unique().alias("n")).collect(engine="streaming").row(0)
    if MANY_NUMBERS < n_values <= n_rows / 2:
        plan.counts[column] = _counts(rows, column)


def _counts(rows: pl.LazyFrame, column: str) -> pl.LazyFrame:
    counted = rows.group_by(column).agg(pl.len().cast(pl.UInt32).alias(_counted(column)))
    return counted.collect(engine="streaming").lazy()


# ------------------------------------------------------------------------------------------------------------- times


def _time_parts(rows: pl.LazyFrame, column: str, dtype: pl.DataType) -> list[pl.Expr]:
    at = pl.col(column).dt
    parts = {
        "year": at.year(),
        "month": at.month(),
        "day": at.day(),
        "weekday": at.weekday(),
        "day_of_year": at.ordinal_day(),
    }
    if dtype == pl.Datetime:
        parts |= {
            "hour": at.hour(),
            "minute": at.minute(),
            "minute_of_day": at.hour().cast(pl.Int16) * 60 + at.minute(),
        }
    named = [e.alias(f"{column}_{name}") for name, e in parts.items()]
    varied = rows.select(e.drop_nulls().n_unique() for e in named).collect(engine="streaming").row(0, named=True)
    kept = [e for e in named if varied[e.meta.output_name()] > 1]
    minutes = f"{column}_minute"
    if varied.get(minutes, 2) <= 1:
        # Without minutes, the minute of the day is the hour again.
        kept = [e for e in kept if e.meta.output_name() != f"{minutes}_of_day"]
    days = (at.epoch("s") / 86400).floor().cast(pl.Int32)
    return [*kept, days.alias(f"{column}_days")]


# ------------------------------------------------------------------------------------------------------------- texts


def _add_text(plan: _Plan, rows: pl.LazyFrame, column: str, n_train: int) -> None:
    counts = (
        rows.group_by(column)
        .agg(pl.len().alias("all"), (pl.col(ROW) < n_train).sum().alias("train"))
        .filter(pl.col(column).is_not_null())
        .collect(engine="streaming")
    )
    n_values, n_filled = counts.height, int(counts["all"].sum())
    repeats = n_values <= 0.5 * n_filled
    if repeats or n_values <= MANY:
        category = _grouped(pl.col(column), counts.rename({column: "value"}), n_train)
        if category is not None:
            plan.expressions.append(category.alias(column))
    if repeats and n_values > MANY:
        plan.counts[column] = counts.lazy().select(column, pl.col("all").cast(pl.UInt32).alias(_counted(column)))
    if n_values > MANY:
        _add_forms(plan, rows, column, n_train)


def _grouped(value: pl.Expr, counts: pl.DataFrame, n_train: int) -> pl.Expr | None:
    """Return the values that train has often enough, the rest as one: as categories, or numbered where there are many.

    None where nothing would be left to tell apart.
    """
    enough = max(3, min(20, n_train // 1000))
    kept = counts.filter(pl.col("train") >= enough)["value"].sort()
    if len(kept) + (len(kept) < counts.height) < 2:
        return None
    if len(kept) > MAX_CATEGORIES:
        numbers = pl.int_range(len(kept), dtype=pl.Int32, eager=True)
        return pl.when(value.is_not_null()).then(value.replace_strict(kept, numbers, default=-1))
    if len(kept) == counts.height:
        return value
    return pl.when(value.is_in(kept.implode())).then(value).when(value.is_not_null()).then(pl.lit(RARE))


def _add_forms(plan: _Plan, rows: pl.LazyFrame, column: str, n_train: int) -> None:
    seen = rows.select(pl.col(column).drop_nulls()).head(SEEN_ROWS).collect().to_series()
    text = pl.col(column)
    words = seen.str.count_matches(r"\S+")
    if _share(words >= 2) > 0.5 or seen.str.len_chars().n_unique() > MANY:
        plan.expressions.append(text.str.len_chars().alias(f"{column}_length"))
        if words.n_unique() > 1:
            plan.expressions.append(text.str.count_matches(r"\S+").alias(f"{column}_words"))
    for name, part in _parts(seen, text).items():
        _add_part(plan, rows, part.alias(f"{column}_{name}"), n_train)


def _share(true: pl.Series) -> float:
    return int(true.sum()) / max(1, len(true))


def _parts(seen: pl.Series, text: pl.Expr) -> dict[str, pl.Expr]:
    """Return the pieces of a text that is written the same way everywhere; empty where it is not."""
    for separator in SEPARATORS:
        counts = seen.str.count_matches(re.escape(separator))
        number = int(counts[0]) if len(counts) else 0
        if 1 <= number <= 5 and _share(counts == number) >= 0.99:
            pieces = text.str.split(separator)
            return {f"part{i + 1}": pieces.list.get(i, null_on_oob=True) for i in range(number + 1)}
    if _share(seen.str.contains(LETTERS_NUMBER)) >= 0.95:
        names = ("letters", "number", "suffix")
        return {name: text.str.extract(LETTERS_NUMBER, i + 1) for i, name in enumerate(names)}
    return {}


def _add_part(plan: _Plan, rows: pl.LazyFrame, part: pl.Expr, n_train: int) -> None:
    name = part.meta.output_name()
    counts = (
        rows.select(ROW, part.alias("value"))
        .group_by("value")
        .agg(pl.len().alias("all"), (pl.col(ROW) < n_train).sum().alias("train"))
        .filter(pl.col("value").is_not_null())
        .collect(engine="streaming")
    )
    numbers = counts["value"].str.contains(r"^\d{1,15}$")
    if counts.height > 1 and numbers.all():
        plan.expressions.append(part.cast(pl.Int64, strict=False).alias(name))
    elif 1 < counts.height <= 0.5 * int(counts["all"].sum()):
        category = _grouped(part, counts, n_train)
        if category is not None:
            plan.expressions.append(category.alias(name))
