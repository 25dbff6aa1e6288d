"""The feature ``auto``: what can be made of any table without a thought.

Decided once per competition from all rows, train and test, and never from the target:

- numbers stay; whole numbers that repeat also get how often they occur;
- dates and times are taken apart: year, month, day, weekday, day of the year, hour, minute, and the days since 1970;
- texts with few values are categories, with more they are numbered in the order of the alphabet; what is rare in train
  is grouped; also how often each occurs;
- texts made of parts ("B/12/P", "N512MQ") are taken apart; long ones give their length and number of words;
- how many values of a row are missing.

Columns that say nothing are left out: the id, constants, what is empty throughout train or test, texts that hardly
repeat and have no form in common. `workbench.features.unused_columns` names them.

All of that is a plan, which is kept with a run's models and applied where they are served: a test set that came later
changes none of it. How often a value occurs is then what it was in the training's rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from workbench.data.competition import ROW
from workbench.features.auto_plan import LETTERS_NUMBER, RARE, AutoPlan, AutoStep
from workbench.features.narrow import count_values, narrow_frames

__all__ = ["RARE", "auto_features", "auto_plan"]

MANY = 10
"""With up to so many values, how often one occurs says no more than the value itself."""

MANY_NUMBERS = 50
"""The same for whole numbers, whose order already tells the frequent from the rare where they are few."""

MAX_CATEGORIES = 12
"""With more values, LightGBM's splits by sets of categories fit the noise of the small ones: numbers, whose splits keep
neighbours together, did better by 0.02 of AUC on 30,000 flights with 16 carriers, 100 places and 4,000 planes."""

SEPARATORS = ("/", "-", "_", "|", ":", ".", " ")
NUMBER = r"^\s*[+-]?\d+\s*$"
LONG_NUMBER = r"^\s*[+-]?[1-9]\d{15,}\s*$"
SAMPLE_ROWS = 20_000
"""Forms of texts are looked for in so many rows; nothing breaks where a later one differs."""


def auto_features(rows: pl.LazyFrame, *, leave_out: Sequence[str], n_train: int) -> pl.LazyFrame:
    """Return the columns of ``auto`` for all rows, with the row key; see `auto_plan`."""
    return auto_plan(rows, leave_out=leave_out, n_train=n_train).apply(rows)


def auto_plan(rows: pl.LazyFrame, *, leave_out: Sequence[str], n_train: int) -> AutoPlan:
    """Decide what ``auto`` makes of the rows.

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
    not_meant = {ROW, *leave_out}
    columns = _informative(rows, [c for c in schema if c not in not_meant], n_train)
    steps: list[AutoStep] = []
    integer_columns = [c for c in columns if schema[c].is_integer()]
    n_values, n_rows = count_values(rows, integer_columns), rows.select(pl.len()).collect(engine="streaming").item()
    counted = {c for c in integer_columns if MANY_NUMBERS < n_values[c] <= n_rows / 2}
    for names, some in narrow_frames(rows, columns):
        for column in names:
            _add(steps, some, column, schema[column], n_train)
            if column in counted:
                _add_number_counts(steps, some, column)
    holes = _with_holes(rows, columns)
    counts = [s for s in steps if s.take == "count"]
    steps = [s for s in steps if s.take != "count"]
    if len(holes) > 1:
        steps.append(AutoStep("missing_values", take="missing", columns=tuple(holes)))
    taken: set[str] = set()
    named = tuple(_fresh(s, taken) for s in (*steps, *counts))
    read = {c for s in named for c in (s.column, *s.columns) if c}
    return AutoPlan({c: str(schema[c]) for c in columns if c in read}, named)


def _fresh(step: AutoStep, taken: set[str]) -> AutoStep:
    """Give a column another name where its own is taken: a table may have date and date_year."""
    name = step.name
    while name in taken:
        name += "_"
    taken.add(name)
    return replace(step, name=name)


def _informative(rows: pl.LazyFrame, columns: list[str], n_train: int) -> list[str]:
    """Return the columns that vary and that are filled somewhere in train and somewhere in test."""
    schema = rows.collect_schema()
    columns = [c for c in columns if not (schema[c] in (pl.Binary, pl.Object, pl.Null) or schema[c] == pl.Struct)]
    sides = pl.when(pl.col(ROW) < n_train).then(pl.lit("train")).otherwise(pl.lit("test"))
    filled = (
        rows.group_by(sides.alias(ROW)).agg(pl.col(columns).is_not_null().any()).drop(ROW).collect(engine="streaming")
    )
    is_filled = filled.select(pl.all().all()).row(0) if columns else ()
    informative = [c for c, is_there in zip(columns, is_filled, strict=True) if is_there]
    nested = {c for c in informative if schema[c].is_nested()}
    plain = [pl.col(c).cast(pl.String) if schema[c] in (pl.Categorical, pl.Enum) else pl.col(c) for c in informative]
    plain = [e for e in plain if e.meta.output_name() not in nested]
    # Least and greatest tell a constant in little memory, which counting the values would not.
    varies = rows.select((e.min() != e.max()).alias(e.meta.output_name()) for e in plain)
    varied = varies.collect(engine="streaming").row(0, named=True) if plain else {}
    some_missing = set(_with_holes(rows, list(varied)))
    return [c for c in informative if c in nested or varied[c] or c in some_missing]


def _with_holes(rows: pl.LazyFrame, columns: list[str]) -> list[str]:
    if not columns:
        return []
    nulls = rows.select(pl.col(columns).null_count()).collect(engine="streaming").row(0, named=True)
    return [c for c in columns if nulls[c]]


def _add(steps: list[AutoStep], rows: pl.LazyFrame, column: str, dtype: pl.DataType, n_train: int) -> None:
    if dtype in (pl.Date, pl.Datetime):
        steps += _time_parts(rows, column, dtype)
    elif dtype in (pl.Duration, pl.Time):
        steps.append(AutoStep(column, column, "seconds"))
    elif dtype in (pl.String, pl.Categorical, pl.Enum):
        _add_text(steps, rows.with_columns(pl.col(column).cast(pl.String)), column, n_train)
    elif dtype in (pl.List, pl.Array):
        steps.append(AutoStep(f"{column}_length", column, "items"))
    else:
        steps.append(AutoStep(column, column))


def _add_number_counts(steps: list[AutoStep], rows: pl.LazyFrame, column: str) -> None:
    counts = rows.group_by(pl.col(column).alias("value")).agg(pl.len().alias("all")).collect(engine="streaming")
    steps.append(_counts(column, counts["value"], counts["all"]))


def _counts(column: str, values: pl.Series, counts: pl.Series) -> AutoStep:
    table = pl.DataFrame({"value": values, "count": counts.cast(pl.UInt32)}).sort("value")
    return AutoStep(f"{column}_count", column, "count", counts=table)


# ------------------------------------------------------------------------------------------------------------- times


def _time_parts(rows: pl.LazyFrame, column: str, dtype: pl.DataType) -> list[AutoStep]:
    parts = ["year", "month", "day", "weekday", "day_of_year"]
    if dtype == pl.Datetime:
        parts += ["hour", "minute", "minute_of_day"]
    steps = [AutoStep(f"{column}_{part}", column, part) for part in parts]
    values = [s.expression(dtype).alias(s.name).drop_nulls().n_unique() for s in steps]
    varied = rows.select(values).collect(engine="streaming").row(0, named=True)
    varying_steps = [s for s in steps if varied[s.name] > 1]
    minutes = f"{column}_minute"
    if varied.get(minutes, 2) <= 1:
        # Without minutes, the minute of the day is the hour again.
        varying_steps = [s for s in varying_steps if s.name != f"{minutes}_of_day"]
    return [*varying_steps, AutoStep(f"{column}_days", column, "days")]


# ------------------------------------------------------------------------------------------------------------- texts


def _add_text(steps: list[AutoStep], rows: pl.LazyFrame, column: str, n_train: int) -> None:
    counts = (
        rows.group_by(pl.col(column).alias("text"))
        .agg(pl.len().alias("all"), (pl.col(ROW) < n_train).sum().alias("train"))
        .filter(pl.col("text").is_not_null())
        .collect(engine="streaming")
    )
    composed, counts = _composed(counts)
    n_values, n_filled = counts["value"].n_unique(), int(counts["all"].sum())
    counted = counts.select(pl.col("all", "train").sum().over("value"), "value")
    repeats = n_values <= 0.5 * n_filled
    if repeats or n_values <= MANY:
        distinct = counted.unique("value").select("value", "all", "train")
        steps += _grouped(AutoStep(column, column, composed=composed), distinct, n_train)
    if repeats and n_values > MANY:
        distinct = counted.unique("value").sort("value")
        steps.append(replace(_counts(column, distinct["value"], distinct["all"]), composed=composed))
    if n_values > MANY:
        _add_forms(steps, rows, column, n_train)


def _composed(counts: pl.DataFrame) -> tuple[bool, pl.DataFrame]:
    """Return whether texts are to be composed, and their counts with what each is composed: "é" is one letter or two.

    Texts with other letters than ASCII's are, although these rows may spell all of them alike: later ones may not. Keys
    and ids keep the spelling of their file; here it only tells what is counted as one category.
    """
    texts = counts["text"].cast(pl.String)
    is_ascii = bool((texts.str.len_bytes() == texts.str.len_chars()).all())
    values = texts if is_ascii else texts.str.normalize("NFC")
    return not is_ascii, counts.with_columns(values.alias("value"))


def _grouped(step: AutoStep, counts: pl.DataFrame, n_train: int) -> list[AutoStep]:
    """Return the values that train has often enough, the rest as one: as categories, or numbered where there are many.

    Empty where nothing would be left to tell apart.
    """
    enough = max(3, min(20, n_train // 1000))
    frequent = counts.filter(pl.col("train") >= enough)["value"].sort()
    if len(frequent) + (len(frequent) < counts.height) < 2:
        return []
    if len(frequent) > MAX_CATEGORIES:
        return [replace(step, form="numbered", values=frequent)]
    if len(frequent) == counts.height:
        return [step]
    return [replace(step, form="grouped", values=frequent)]


def _add_forms(steps: list[AutoStep], rows: pl.LazyFrame, column: str, n_train: int) -> None:
    sample = rows.select(pl.col(column).drop_nulls()).head(SAMPLE_ROWS).collect().to_series()
    if sample.str.contains(LONG_NUMBER).any() and sample.str.contains(NUMBER).all():
        # Whole numbers beyond 64 bits, which some files can only hold as texts.
        steps.append(AutoStep(f"{column}_number", column, form="float"))
        return
    words = sample.str.count_matches(r"\S+")
    if _share(words >= 2) > 0.5 or sample.str.len_chars().n_unique() > MANY:
        steps.append(AutoStep(f"{column}_length", column, "length"))
        if words.n_unique() > 1:
            steps.append(AutoStep(f"{column}_words", column, "words"))
    for name, piece in _parts(sample).items():
        _add_part(steps, rows, AutoStep(f"{column}_{name}", column, piece=piece), n_train)


def _share(true: pl.Series) -> float:
    return int(true.sum()) / max(1, len(true))


def _parts(sample: pl.Series) -> dict[str, tuple[str, int]]:
    """Return the pieces of a text that is written the same way everywhere; empty where it is not."""
    for separator in SEPARATORS:
        counts = sample.str.count_matches(re.escape(separator))
        number = int(counts[0]) if len(counts) else 0
        if 1 <= number <= 5 and _share(counts == number) >= 0.99:
            return {f"part{i + 1}": (separator, i) for i in range(number + 1)}
    if _share(sample.str.contains(LETTERS_NUMBER)) >= 0.95:
        return {name: ("letters_number", i + 1) for i, name in enumerate(("letters", "number", "suffix"))}
    return {}


def _add_part(steps: list[AutoStep], rows: pl.LazyFrame, step: AutoStep, n_train: int) -> None:
    counts = (
        rows.select(ROW, step.expression(pl.String()).alias("value"))
        .group_by("value")
        .agg(pl.len().alias("all"), (pl.col(ROW) < n_train).sum().alias("train"))
        .filter(pl.col("value").is_not_null())
        .collect(engine="streaming")
    )
    numbers = counts["value"].str.contains(r"^\d{1,15}$")
    if counts.height > 1 and numbers.all():
        steps.append(replace(step, form="integer"))
    elif 1 < counts.height <= 0.5 * int(counts["all"].sum()):
        steps += _grouped(step, counts, n_train)
