"""Find the columns that only number the rows of train: a leak where train is sorted by its target."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import numpy as np
import polars as pl

from workbench.metrics import name_words

__all__ = ["find_row_numbers", "is_unnamed", "sounds_like_id"]

UNNAMED = r"|unnamed: ?\d+(_level_\d+)?(\.\d+)*|_duplicated_\d+|__index_level_\d+__"
"""Names that pandas, polars and pyarrow give the unnamed column of a frame's index; the empty name counts as well."""

PERHAPS_UNNAMED = r"column_[01]|level_0|v1"
"""Names of an index that a person may also have chosen: it is an index only if its values rise from row to row."""

MEANINGFUL_COUNTS = frozenset(
    """year month week day hour minute second date time timestamp datetime step t period quarter epoch rank ranking
    position place order age years months weeks days hours minutes seconds steps periods quarters epochs timestep
    elapsed since dt ds ts trend cycle season era""".split()  # noqa: SIM905 a list in three lines
)
"""Words in the names of columns that may count from 1 to the number of rows and still carry information."""

FEW_ROWS = 50
"""In fewer rows, a column of any name may count up by chance."""

SAMPLE_ROWS = 10_000
"""The rows at the beginning and at the end of train that rule out most columns."""

MAX_EXACT_ROWS = 5_000_000
"""With more rows, distinct values are estimated rather than counted."""

ID_NAME = (
    r"(?i:(^|[\W_])(id|uuid|guid|rowid|idx)($|[\W_])|^(row|record|line|obs|serial|case|seq|sequence)[\W_]*(index|number|num|no|nr|key)$|"
    r"^(row|nr|seq|row[\W_]?names?)$|^(old|orig|original|source|sample|data|df|level)[\W_]*index$|^s(r|l)?[\W_]*no\.?$|"
    r"^(index|key)$)|(?<=[a-z])Id$|(?<![A-Z])ID$"
)
PREFIX_AND_NUMBER = r"^(\D*)(\d{1,15})$"


def is_unnamed(name: str) -> bool:
    """Tell whether a column's name is one that programs give to columns without a name.

    Examples
    --------
    >>> is_unnamed(""), is_unnamed("Unnamed: 0"), is_unnamed("column_1"), is_unnamed("town")
    (True, True, False, False)
    """
    return re.fullmatch(UNNAMED, name.strip().casefold()) is not None


def sounds_like_id(name: str) -> bool:
    """Tell whether a column's name is that of an id.

    Examples
    --------
    >>> sounds_like_id("row_id"), sounds_like_id("PassengerId"), sounds_like_id("paid"), sounds_like_id("heat_index")
    (True, True, False, False)
    """
    return is_unnamed(name) or re.search(ID_NAME, name.strip()) is not None


def find_row_numbers(
    train: pl.LazyFrame, n_rows: int, dtypes: Mapping[str, str], id_columns: Collection[str] = ()
) -> dict[str, str]:
    """Find the columns that only tell the rows of a table apart.

    Only train is examined, so that the columns are the same for any test set.

    Parameters
    ----------
    train : LazyFrame
    n_rows : int
        The number of its rows.
    dtypes : mapping
        The names of types by column, for the columns that may be features.
    id_columns : collection of str
        The columns that are part of the id.

    Returns
    -------
    dict
        The reason, by column.
    """
    # pandas turns an integer index into floats when rows without one are appended.
    numeric_columns = [
        c for c, t in dtypes.items() if t.startswith(("Int", "UInt")) or (t.startswith("Float") and sounds_like_id(c))
    ]
    text_columns = [c for c, t in dtypes.items() if t == "String"]
    candidates = _unique_at_both_ends(train, [*numeric_columns, *text_columns], n_rows)
    reasons: dict[str, str] = {}
    for column in dtypes:
        if column in candidates:
            find_reason = _reason_for_numeric if column in numeric_columns else _reason_for_text
            reason = find_reason(train, column, n_rows, column in id_columns)
            reasons |= {column: reason} if reason else {}
    return reasons


def _unique_at_both_ends(train: pl.LazyFrame, columns: list[str], n_rows: int) -> list[str]:
    """Return the columns without a missing or repeated value in the first and in the last `SAMPLE_ROWS` rows."""
    for offset in dict.fromkeys((0, max(0, n_rows - SAMPLE_ROWS))):
        if not columns:
            return []
        sample = train.select(columns).slice(offset, SAMPLE_ROWS).collect()
        columns = [c for c in columns if sample[c].null_count() == 0 and sample[c].n_unique() == sample.height > 1]
    return columns


def _reason_for_numeric(train: pl.LazyFrame, column: str, n_rows: int, is_id: bool) -> str:
    """Return why a numeric column only tells rows apart, "" where it does not; `is_id` if it is part of the id."""
    value = pl.col(column)
    are_integers = (value % 1 == 0).all()
    low, high, n_nulls, has_only_integers = (
        train.select(low=value.min(), high=value.max(), nulls=value.null_count(), are_integers=are_integers)
        .collect(engine="streaming")
        .row(0)
    )
    if n_nulls or not has_only_integers:
        return ""
    span = int(high) - int(low) + 1
    is_id = is_id or sounds_like_id(column)
    may_be_counter = n_rows >= FEW_ROWS and not MEANINGFUL_COUNTS & set(name_words(column))
    if (is_id or may_be_counter) and span == n_rows and _is_dense(train, column, int(low), n_rows):
        return f"numbers the rows, from {int(low):,}"
    if is_id and _is_unique(train, column, n_rows):
        return "an index without a name" if is_unnamed(column) else "every row has its own"
    if re.fullmatch(PERHAPS_UNNAMED, column.strip().casefold()) and low >= 0 and span <= 100 * n_rows:
        is_rising = train.select((value.diff().drop_nulls() > 0).all()).collect().item()
        return "an index without a name" if is_rising else ""
    return ""


def _reason_for_text(train: pl.LazyFrame, column: str, n_rows: int, is_id: bool) -> str:
    """Return why a text column only tells rows apart, "" where it does not; `is_id` if it is part of the id."""
    first_texts = train.select(column).head(SAMPLE_ROWS).collect()[column]
    if first_texts.str.contains(r"\s").any():
        return ""
    if (is_id or sounds_like_id(column)) and _is_unique(train, column, n_rows):
        return "every row has its own"
    first_parts = pl.DataFrame({"text": first_texts}).select(
        pl.col("text").str.extract(PREFIX_AND_NUMBER, 1).alias("prefix"),
        pl.col("text").str.extract(PREFIX_AND_NUMBER, 2).cast(pl.Int64).alias("number"),
    )
    if n_rows < FEW_ROWS or first_parts["number"].null_count() or first_parts["prefix"].n_unique() > 1:
        return ""
    number = pl.col(column).str.extract(PREFIX_AND_NUMBER, 2).cast(pl.Int64)
    low, high = train.select(low=number.min(), high=number.max()).collect(engine="streaming").row(0)
    is_counter = high - low + 1 == n_rows and _is_unique(train, column, n_rows)
    return "numbers the rows" if is_counter else ""


def _is_dense(train: pl.LazyFrame, column: str, low: int, n_rows: int) -> bool:
    """Tell whether the values are `low` to ``low + n_rows - 1``, each once; takes one byte of memory per row."""
    occurs = np.zeros(n_rows, np.bool_)
    for batch in train.select((pl.col(column).cast(pl.Int128) - low).cast(pl.Int64)).collect_batches():
        occurs[batch.to_series().to_numpy()] = True
    return bool(occurs.all())


def _is_unique(train: pl.LazyFrame, column: str, n_rows: int) -> bool:
    """Tell whether every row has a value of its own; in a large table, whether nearly every row has."""
    value = pl.col(column)
    is_exact = n_rows <= MAX_EXACT_ROWS
    distinct_count = value.n_unique() if is_exact else value.approx_n_unique()
    n_unique = int(train.select(distinct_count).collect(engine="streaming").item())
    # The estimate may be a few percent off.
    return n_unique == n_rows if is_exact else n_unique > 0.95 * n_rows
