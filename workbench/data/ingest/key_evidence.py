"""Find the key columns of a competition from the beginnings of its files, before any file is converted.

Keys are the sample's ids and the columns of test that hold them, the users and items of a log, and the columns that
name the rows of a side table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from workbench.core.errors import WorkbenchError
from workbench.data.inference.log import EVENT_TYPE_NAMES, ITEM_NAMES, USER_NAMES
from workbench.data.inference.tables import name_sounds_like, sample_score
from workbench.data.ingest.formats import FORMATS
from workbench.data.ingest.keys import CANONICAL, Keys, name_of
from workbench.data.ingest.sources import ReadOptions, TableSource
from workbench.data.ingest.types import MISSING, ColumnType, respelled

__all__ = ["find_keys"]

HEAD_ROWS = 1000
SEPARATORS = r"[_\-:|/+,;#@ .]"
"""The characters that join columns of test into an id."""

AMOUNT_NAME = re.compile(
    r"(^|[\W_])(price|cost|amount|amt|fare|fee|sales|revenue|salary|income|wage|tax|discount|weight|height|length|width|"
    r"depth|size|area|distance|temp|temperature|speed|score|rating|rate|ratio|percent|pct|lat|lon|lng|latitude|longitude)"
    r"s?($|[\W_\d])|(Price|Cost|Amount|Fare|Fee|Weight|Height|Rating|Score|Rate)s?$",
    re.IGNORECASE,
)
"""Names of measurements and prices, in which 10.5 and 10.50 are the same."""

NUMBERED_PARTS = r"^\d+\.(0|[1-9]\d{0,2})$"
"""Two numbers joined by a point, as in versions, where 10.10 follows 10.9: no sign, no leading zero after the point."""

CODE_WITH_E = r"^\d{2,}[eE]\d+$"
"""303e2: programs write floats with one digit before the point and a sign after the E."""

LIKE_A_DATE = r"^\d{1,4}[-/.]\w{1,9}[-/.]\d{1,4}\b"


@dataclass(frozen=True)
class _Head:
    """The beginning of a table: its columns and, for delimited text, its first rows as text."""

    name: str
    columns: tuple[str, ...]
    rows: pl.DataFrame = field(default_factory=pl.DataFrame)

    @cached_property
    def is_test(self) -> bool:
        return name_sounds_like(self.name, "test") > 0

    @cached_property
    def is_train(self) -> bool:
        return name_sounds_like(self.name, "train") > 0


def find_keys(tables: Iterable[TableSource], options: ReadOptions) -> Keys:
    """Find the keys of tables before they are converted.

    Parameters
    ----------
    tables : iterable of TableSource
    options : ReadOptions
        Its `keys` are included in the result.
    """
    heads = [h for t in tables if (h := _head(t, options))]
    sample = max(
        (h for h in heads if sample_score(h.name)), key=lambda h: (sample_score(h.name), -len(h.columns)), default=None
    )
    key_names = {
        name_of(c) for c in (_id_columns_without_sample(heads) if sample is None else _id_columns(sample, heads))
    }
    if sample is not None and _has_lists(sample):
        key_names |= {*USER_NAMES, *ITEM_NAMES, *EVENT_TYPE_NAMES} & {name_of(c) for h in heads for c in h.columns}
    test_columns = {c for h in heads if h.is_test for c in h.columns}
    codes = frozenset(c for h in heads for c in (*_code_columns(h, test_columns), *_row_name_columns(h, heads)))
    keys = Keys(options.keys.names | key_names, options.keys.codes | codes, options.keys.as_text)
    return keys.with_text(_respelled_columns(keys, heads))


def _head(table: TableSource, options: ReadOptions) -> _Head | None:
    """Return a table's head; None where only converting the table would tell."""
    try:
        head = FORMATS[table.kind].key_head(table, options.read.get(table.name, {}))
    except (WorkbenchError, ValueError, OSError, RecursionError, pl.exceptions.PolarsError):
        return None  # the conversion reports it
    if head is None:
        return None
    columns, rows = head
    return _Head(table.name, (*columns, *(name for name, _ in table.parts[0].keys)), rows)


# ---------------------------------------------------------------------------------------------------------------- ids


def _id_columns(sample: _Head, heads: list[_Head]) -> set[str]:
    """Return the ids of the sample, and the columns of test that have their values or parts of these."""
    tests = [h for h in heads if h.is_test and h is not sample]
    shared_columns = {c for c in sample.columns if any(c in t.columns for t in tests)}
    ids = shared_columns if shared_columns and len(shared_columns) < len(sample.columns) else set(sample.columns[:1])
    if shared_columns or not sample.rows.width:
        return ids
    values = sample.rows.to_series(0).drop_nulls()
    id_parts = {*values, *(part for value in values.head(HEAD_ROWS // 10) for part in re.split(SEPARATORS, value))}
    for test in tests:
        for column in test.rows.get_columns():
            # Most rather than all values, because both heads are only a part of their files. Unique values are ids;
            # repeated ones may be parts of ids, and matter only if a number would change their spelling.
            if column.null_count() < column.len() and not column.is_duplicated().any():
                is_id = _share_in(column, values) > 0.5
            else:
                is_id = _share_in(column.head(100), id_parts) > 0.5 and _is_respelled(column)
            ids = ids | {column.name} if is_id else ids
    return ids


def _share_in(values: pl.Series, other_values: Iterable[str]) -> float:
    """Return the share of the first values that are among `other_values`."""
    return float(values.drop_nulls().head(HEAD_ROWS).is_in(list(other_values)).mean() or 0.0)  # type: ignore[arg-type]


def _id_columns_without_sample(heads: list[_Head]) -> set[str]:
    id_names = ("id", "rowid", "key", "index", "uuid", "guid", "testid")
    return {c for h in heads if h.is_test for c in h.columns if name_of(c) in id_names}


def _has_lists(sample: _Head) -> bool:
    """Tell whether the sample's second column has lists of words."""
    if len(sample.columns) != 2 or sample.rows.width != 2:
        return False
    cells = sample.rows.to_series(1).drop_nulls().head(HEAD_ROWS)
    return bool(cells.len()) and float(cells.str.contains(" ").mean() or 0) > 0.5  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------------------- codes


def _is_respelled(values: pl.Series) -> bool:
    """Tell whether a column of numbers has a value whose spelling Float64 would change, other than an integer."""
    text = values.drop_nulls()
    text = text.filter(~text.str.strip_chars().is_in(MISSING))
    if text.str.contains(CANONICAL).all() and not text.cast(pl.Int64, strict=False).has_nulls():
        return False  # Int64 keeps them
    numbers = text.str.strip_chars().cast(pl.Float64, strict=False)
    return bool(text.len()) and not numbers.null_count() and bool(respelled(text, numbers, _CODE).len())


_CODE = ColumnType(pl.Float64(), key="code")


def _code_columns(head: _Head, test_columns: set[str]) -> list[str]:
    """Return the columns whose numbers are codes: 10.1 and 10.10 in one column, or 303e2 among integers.

    The former does not count for columns of train that test lacks: a target may be an amount that people typed.
    """
    if not head.rows.width:
        return []
    text = pl.all().str
    column_ends_in_zero = head.rows.select(text.contains(r"\.\d*[1-9]0+$").any()).row(0)
    column_has_e = head.rows.select(text.contains(CODE_WITH_E).any()).row(0)
    codes = []
    for column, ends_in_zero, has_e in zip(head.rows.columns, column_ends_in_zero, column_has_e, strict=True):
        is_only_in_train = head.is_train and column not in test_columns
        may_be_numbered_parts = ends_in_zero and not is_only_in_train and not AMOUNT_NAME.search(column)
        if not (may_be_numbered_parts or has_e):
            continue
        values = head.rows[column].drop_nulls()
        values = values.filter(~values.str.strip_chars().is_in(MISSING))
        is_code_with_e = has_e and values.str.contains(rf"{CODE_WITH_E}|^\d+$").all()
        if is_code_with_e or (may_be_numbered_parts and _are_numbered_parts(values)):
            codes.append(column)
    return codes


def _are_numbered_parts(values: pl.Series) -> bool:
    """Tell whether values are like versions, and two of them would be the same as floats (10.1 and 10.10)."""
    texts = values.unique()
    if 2 * texts.len() > values.len():
        return False  # categories repeat more often
    with_point = texts.filter(texts.str.contains(".", literal=True))
    if not with_point.str.contains(NUMBERED_PARTS).all() or not texts.str.contains(r"^[\d.]+$").all():
        return False
    return with_point.cast(pl.Float64, strict=False).n_unique() < with_point.len()


def _row_name_columns(head: _Head, heads: list[_Head]) -> list[str]:
    """Return the first column of a side table if it is unique and train or test has it, too."""
    if head.is_train or head.is_test or sample_score(head.name) or not head.rows.height:
        return []
    first = head.rows.to_series(0)
    is_shared = any(first.name in h.columns for h in heads if h.is_train or h.is_test)
    is_key = is_shared and not first.null_count() and not first.is_duplicated().any()
    return [first.name] if is_key and head.rows.width > 1 else []


def _respelled_columns(keys: Keys, heads: list[_Head]) -> set[str]:
    """Return the keys and codes with a value in the heads whose spelling a number would change."""
    columns = set()
    for head in heads:
        for column in head.rows.get_columns():
            kind = keys.kind(column.name)
            if not kind or column.name in columns:
                continue
            text = column.drop_nulls()
            if (kind == "key" and text.len() and not _keeps_spelling(text)) or (
                kind == "code" and _is_respelled(column)
            ):
                columns.add(column.name)
    return columns


def _keeps_spelling(text: pl.Series) -> bool:
    """Tell whether Int64 or Float64 keeps the spelling of all values, or all are dates."""
    if text.head(HEAD_ROWS).str.contains(LIKE_A_DATE).all():
        return True
    for dtype in (pl.Int64(), pl.Float64()):
        if not respelled(text, text.cast(dtype, strict=False), ColumnType(dtype, key="key")).len():
            return True
    return False
