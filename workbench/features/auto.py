"""The built-in feature ``auto``: default columns for any table.

They are derived from all rows, train and test, but never from the target:

- numbers, unchanged, and the frequency of integers that repeat;
- parts of dates and times: year, month, day, weekday, day of the year, hour, minute, and the days since 1970;
- texts: categories, or codes in alphabetical order if there are many values; values that are rare in train are
  grouped; also the frequency of each value;
- parts of structured texts ("B/12/P", "N512MQ"); length and number of words of long texts;
- the number of missing values in a row.

Columns without information are left out: the id, constants, columns without values in train or test, and texts that
hardly repeat and have no common format. `workbench.features.unused_columns` reports them.

The derivation is stored as a plan with the models of a run. It is applied unchanged to later test sets, with the
frequencies of the rows at training time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from workbench.data.competition import ROW
from workbench.features.auto_plan import LETTERS_NUMBER, RARE, AutoPlan, AutoStep
from workbench.features.column_batches import column_batches, count_values

__all__ = ["RARE", "auto_features", "auto_plan"]

MAX_UNCOUNTED = 10
"""Columns with at most this many values get no frequency: it would add nothing to the value itself."""

MAX_UNCOUNTED_NUMBERS = 50
"""The same for integers, whose order already separates a few values."""

MAX_CATEGORIES = 12
"""Texts with more values become numbers. LightGBM's splits by sets of categories overfit small categories: on 30,000
flights with 16 carriers, 100 airports and 4,000 planes, numbers had an AUC that was higher by 0.02."""

SEPARATORS = ("/", "-", "_", "|", ":", ".", " ")
NUMBER = r"^\s*[+-]?\d+\s*$"
LONG_NUMBER = r"^\s*[+-]?[1-9]\d{15,}\s*$"
SAMPLE_ROWS = 20_000
"""The format of texts is derived from the first rows; parts of texts that deviate become null."""


def auto_features(rows: pl.LazyFrame, *, leave_out: Sequence[str], n_train: int) -> pl.LazyFrame:
    """Return the columns of ``auto`` for all rows, with the row key; see `auto_plan`."""
    return auto_plan(rows, leave_out=leave_out, n_train=n_train).apply(rows)


def auto_plan(rows: pl.LazyFrame, *, leave_out: Sequence[str], n_train: int) -> AutoPlan:
    """Derive the columns of ``auto`` from the rows.

    Parameters
    ----------
    rows : LazyFrame
        As returned by `Competition.rows`.
    leave_out : sequence of str
        Key columns.
    n_train : int
        The number of train rows, which come first.
    """
    schema = rows.collect_schema()
    excluded = {ROW, *leave_out}
    columns = _informative(rows, [c for c in schema if c not in excluded], n_train)
    steps: list[AutoStep] = []
    integer_columns = [c for c in columns if schema[c].is_integer()]
    n_values, n_rows = count_values(rows, integer_columns), rows.select(pl.len()).collect(engine="streaming").item()
    counted = {c for c in integer_columns if MAX_UNCOUNTED_NUMBERS < n_values[c] <= n_rows / 2}
    for names, batch in column_batches(rows, columns):
        for column in names:
            _add_steps(steps, batch, column, schema[column], n_train)
            if column in counted:
                _add_number_counts(steps, batch, column)
    null_columns = _with_nulls(rows, columns)
    counts = [s for s in steps if s.take == "count"]
    steps = [s for s in steps if s.take != "count"]
    if len(null_columns) > 1:
        steps.append(AutoStep("missing_values", take="missing", columns=tuple(null_columns)))
    used_names: set[str] = set()
    all_steps = tuple(_with_unique_name(s, used_names) for s in (*steps, *counts))
    source_columns = {c for s in all_steps for c in (s.column, *s.columns) if c}
    return AutoPlan({c: str(schema[c]) for c in columns if c in source_columns}, all_steps)


def _with_unique_name(step: AutoStep, used_names: set[str]) -> AutoStep:
    """Return the step with a new name if its own is used: a table may have both date and date_year."""
    name = step.name
    while name in used_names:
        name += "_"
    used_names.add(name)
    return replace(step, name=name)


def _informative(rows: pl.LazyFrame, columns: list[str], n_train: int) -> list[str]:
    """Return the columns that vary and have values in both train and test."""
    schema = rows.collect_schema()
    columns = [c for c in columns if not (schema[c] in (pl.Binary, pl.Object, pl.Null) or schema[c] == pl.Struct)]
    dataset = pl.when(pl.col(ROW) < n_train).then(pl.lit("train")).otherwise(pl.lit("test"))
    has_values = (
        rows.group_by(dataset.alias(ROW)).agg(pl.col(columns).is_not_null().any()).drop(ROW).collect(engine="streaming")
    )
    in_both = has_values.select(pl.all().all()).row(0) if columns else ()
    informative = [c for c, is_in_both in zip(columns, in_both, strict=True) if is_in_both]
    nested = {c for c in informative if schema[c].is_nested()}
    comparable = [
        pl.col(c).cast(pl.String) if schema[c] in (pl.Categorical, pl.Enum) else pl.col(c) for c in informative
    ]
    comparable = [e for e in comparable if e.meta.output_name() not in nested]
    # Comparing minimum and maximum takes less memory than counting the distinct values.
    varies = rows.select((e.min() != e.max()).alias(e.meta.output_name()) for e in comparable)
    is_varied = varies.collect(engine="streaming").row(0, named=True) if comparable else {}
    some_missing = set(_with_nulls(rows, list(is_varied)))
    return [c for c in informative if c in nested or is_varied[c] or c in some_missing]


def _with_nulls(rows: pl.LazyFrame, columns: list[str]) -> list[str]:
    if not columns:
        return []
    nulls = rows.select(pl.col(columns).null_count()).collect(engine="streaming").row(0, named=True)
    return [c for c in columns if nulls[c]]


def _add_steps(steps: list[AutoStep], rows: pl.LazyFrame, column: str, dtype: pl.DataType, n_train: int) -> None:
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
    steps.append(_count_step(column, counts["value"], counts["all"]))


def _count_step(column: str, values: pl.Series, counts: pl.Series) -> AutoStep:
    table = pl.DataFrame({"value": values, "count": counts.cast(pl.UInt32)}).sort("value")
    return AutoStep(f"{column}_count", column, "count", counts=table)


# ------------------------------------------------------------------------------------------------------------- times


def _time_parts(rows: pl.LazyFrame, column: str, dtype: pl.DataType) -> list[AutoStep]:
    parts = ["year", "month", "day", "weekday", "day_of_year"]
    if dtype == pl.Datetime:
        parts += ["hour", "minute", "minute_of_day"]
    steps = [AutoStep(f"{column}_{part}", column, part) for part in parts]
    values = [s.expression(dtype).alias(s.name).drop_nulls().n_unique() for s in steps]
    n_values = rows.select(values).collect(engine="streaming").row(0, named=True)
    varying_steps = [s for s in steps if n_values[s.name] > 1]
    minute = f"{column}_minute"
    if n_values.get(minute, 2) <= 1:
        # If the minute is constant, the minute of the day only repeats the hour.
        varying_steps = [s for s in varying_steps if s.name != f"{minute}_of_day"]
    return [*varying_steps, AutoStep(f"{column}_days", column, "days")]


# ------------------------------------------------------------------------------------------------------------- texts


def _add_text(steps: list[AutoStep], rows: pl.LazyFrame, column: str, n_train: int) -> None:
    """Append the steps of a text column: its category, the frequency of its values, and its length and words."""
    counts = (
        rows.group_by(pl.col(column).alias("text"))
        .agg(pl.len().alias("all"), (pl.col(ROW) < n_train).sum().alias("train"))
        .filter(pl.col("text").is_not_null())
        .collect(engine="streaming")
    )
    needs_nfc, counts = _normalized_counts(counts)
    n_values, n_filled = counts["value"].n_unique(), int(counts["all"].sum())
    value_counts = counts.select(pl.col("all", "train").sum().over("value"), "value")
    has_repeated_values = n_values <= 0.5 * n_filled
    if has_repeated_values or n_values <= MAX_UNCOUNTED:
        distinct = value_counts.unique("value").select("value", "all", "train")
        steps += _category_steps(AutoStep(column, column, composed=needs_nfc), distinct, n_train)
    if has_repeated_values and n_values > MAX_UNCOUNTED:
        distinct = value_counts.unique("value").sort("value")
        steps.append(replace(_count_step(column, distinct["value"], distinct["all"]), composed=needs_nfc))
    if n_values > MAX_UNCOUNTED:
        _add_text_steps(steps, rows, column, n_train)


def _normalized_counts(counts: pl.DataFrame) -> tuple[bool, pl.DataFrame]:
    """Return whether texts need Unicode normalisation (NFC), and their counts with the normalised texts as "value".

    "é" may be one character or two. All columns with non-ASCII texts are normalised, as later rows may be encoded
    differently. This affects only which texts count as the same category; keys and ids are not normalised.
    """
    texts = counts["text"].cast(pl.String)
    is_ascii = bool((texts.str.len_bytes() == texts.str.len_chars()).all())
    values = texts if is_ascii else texts.str.normalize("NFC")
    return not is_ascii, counts.with_columns(values.alias("value"))


def _category_steps(step: AutoStep, counts: pl.DataFrame, n_train: int) -> list[AutoStep]:
    """Return the step for the values that are frequent in train, with all others grouped as rare.

    They are categories, or codes if there are more than `MAX_CATEGORIES`. Empty if only one category would remain.
    """
    min_count = max(3, min(20, n_train // 1000))
    frequent = counts.filter(pl.col("train") >= min_count)["value"].sort()
    if len(frequent) + (len(frequent) < counts.height) < 2:
        return []
    if len(frequent) > MAX_CATEGORIES:
        return [replace(step, form="numbered", values=frequent)]
    if len(frequent) == counts.height:
        return [step]
    return [replace(step, form="grouped", values=frequent)]


def _add_text_steps(steps: list[AutoStep], rows: pl.LazyFrame, column: str, n_train: int) -> None:
    sample = rows.select(pl.col(column).drop_nulls()).head(SAMPLE_ROWS).collect().to_series()
    if sample.str.contains(LONG_NUMBER).any() and sample.str.contains(NUMBER).all():
        # Integers beyond 64 bits are read as texts.
        steps.append(AutoStep(f"{column}_number", column, form="float"))
        return
    words = sample.str.count_matches(r"\S+")
    if _true_share(words >= 2) > 0.5 or sample.str.len_chars().n_unique() > MAX_UNCOUNTED:
        steps.append(AutoStep(f"{column}_length", column, "length"))
        if words.n_unique() > 1:
            steps.append(AutoStep(f"{column}_words", column, "words"))
    for name, piece in _text_parts(sample).items():
        _add_part_step(steps, rows, AutoStep(f"{column}_{name}", column, piece=piece), n_train)


def _true_share(values: pl.Series) -> float:
    return int(values.sum()) / max(1, len(values))


def _text_parts(sample: pl.Series) -> dict[str, tuple[str, int]]:
    """Return name of a part -> its definition (`AutoStep.piece`); empty if the texts have no common format."""
    for separator in SEPARATORS:
        counts = sample.str.count_matches(re.escape(separator))
        n_separators = int(counts[0]) if len(counts) else 0
        if 1 <= n_separators <= 5 and _true_share(counts == n_separators) >= 0.99:
            return {f"part{i + 1}": (separator, i) for i in range(n_separators + 1)}
    if _true_share(sample.str.contains(LETTERS_NUMBER)) >= 0.95:
        return {name: ("letters_number", i + 1) for i, name in enumerate(("letters", "number", "suffix"))}
    return {}


def _add_part_step(steps: list[AutoStep], rows: pl.LazyFrame, step: AutoStep, n_train: int) -> None:
    counts = (
        rows.select(ROW, step.expression(pl.String()).alias("value"))
        .group_by("value")
        .agg(pl.len().alias("all"), (pl.col(ROW) < n_train).sum().alias("train"))
        .filter(pl.col("value").is_not_null())
        .collect(engine="streaming")
    )
    is_number = counts["value"].str.contains(r"^\d{1,15}$")
    if counts.height > 1 and is_number.all():
        steps.append(replace(step, form="integer"))
    elif 1 < counts.height <= 0.5 * int(counts["all"].sum()):
        steps += _category_steps(step, counts, n_train)
