"""Which columns are keys, told from all the files of a competition before any is converted.

Nothing may be known yet but the files: the sample's ids and the columns of test that they are, the users and items of
a log, the columns that name the rows of a side table. Looks at the beginnings of the files only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from workbench.core.errors import WorkbenchError
from workbench.core.frames import parquet_schema
from workbench.data.inference.log import ITEMS, KINDS, USERS
from workbench.data.inference.tables import name_sounds_like, sample_score
from workbench.data.ingest.delimited import as_text
from workbench.data.ingest.keys import CANONICAL, Keys, name_of
from workbench.data.ingest.sources import ReadOptions, TableSource
from workbench.data.ingest.text import TextForm, blocks, form_of, head_of, header_of
from workbench.data.ingest.types import MISSING, ColumnType, respelled

__all__ = ["find_keys"]

LOOKED_AT_BYTES = 256 * 1024
FEW_ROWS = 1000
PIECES = r"[_\-:|/+,;#@ .]"
"""What ids are glued with, of columns of test."""

AMOUNT = re.compile(
    r"(^|[\W_])(price|cost|amount|amt|fare|fee|sales|revenue|salary|income|wage|tax|discount|weight|height|length|width|"
    r"depth|size|area|distance|temp|temperature|speed|score|rating|rate|ratio|percent|pct|lat|lon|lng|latitude|longitude)"
    r"s?($|[\W_\d])|(Price|Cost|Amount|Fare|Fee|Weight|Height|Rating|Score|Rate)s?$",
    re.IGNORECASE,
)
"""Names of what is measured or paid: somebody wrote 10.5 beside 10.50, and meant the same."""

COUNTED = r"^\d+\.(0|[1-9]\d{0,2})$"
"""A number, a point and a number that counts on, as 10.10 follows 10.9: no fraction with a leading zero, no sign."""

ODD_EXPONENT = r"^\d{2,}[eE]\d+$"
"""Digits around an E as no program writes a number, with one digit in front and a sign behind: 303e2."""

LIKE_A_DATE = r"^\d{1,4}[-/.]\w{1,9}[-/.]\d{1,4}\b"


@dataclass(frozen=True)
class _Head:
    """The beginning of a table: its columns, and of delimited text its first rows as texts."""

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
    """Return the keys of the tables that are to be.

    Parameters
    ----------
    tables : iterable of TableSource
    options : ReadOptions
        Its `keys` are such whatever the files suggest.
    """
    heads = [h for t in tables if (h := _head(t, options))]
    sample = max(
        (h for h in heads if sample_score(h.name)), key=lambda h: (sample_score(h.name), -len(h.columns)), default=None
    )
    names = {name_of(c) for c in (_ids_without_sample(heads) if sample is None else _ids(sample, heads))}
    if sample is not None and _has_lists(sample):
        names |= {*USERS, *ITEMS, *KINDS} & {name_of(c) for h in heads for c in h.columns}
    of_test = {c for h in heads if h.is_test for c in h.columns}
    codes = frozenset(c for h in heads for c in (*_codes(h, of_test), *_naming(h, heads)))
    keys = Keys(options.keys.names | names, options.keys.codes | codes, options.keys.as_text)
    return keys.with_text(_not_numbers(keys, heads))


def _head(table: TableSource, options: ReadOptions) -> _Head | None:
    """Return a table's head; None where only reading all of it would tell."""
    part = table.parts[0]
    of_folders = tuple(name for name, _ in part.keys)
    try:
        if table.kind == "text":
            form = form_of(part, options.read.get(table.name, {}))
            header = header_of(part, form)
            return _Head(table.name, (*header, *of_folders), _first_rows(table, form, header))
        if table.kind == "parquet" and part.member is None:
            return _Head(table.name, (*parquet_schema(part.path), *of_folders))
        if table.kind == "lines":
            record = json.loads(head_of(part).lstrip(b"\xef\xbb\xbf\r\n\t ").partition(b"\n")[0])
            return _Head(table.name, (*_fields(record), *of_folders)) if isinstance(record, dict) else None
    except (WorkbenchError, ValueError, OSError, RecursionError, pl.exceptions.PolarsError):
        return None  # the conversion says what is wrong with it
    return None


def _first_rows(table: TableSource, form: TextForm, header: list[str]) -> pl.DataFrame:
    for part in table.parts:
        for block in blocks(part, form, size=LOOKED_AT_BYTES):
            return as_text(block, form, header)
    return pl.DataFrame(schema=dict.fromkeys(header, pl.String()))


def _fields(record: Mapping[str, object]) -> Iterator[str]:
    """Yield the names of a record's fields, and of those of the records in its lists."""
    for name, value in record.items():
        yield name
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield from value[0]


# ---------------------------------------------------------------------------------------------------------------- ids


def _ids(sample: _Head, heads: list[_Head]) -> set[str]:
    """Return the ids of the sample, and the columns of test that they are, or are made of."""
    tests = [h for h in heads if h.is_test and h is not sample]
    shared = {c for c in sample.columns if any(c in t.columns for t in tests)}
    ids = shared if shared and len(shared) < len(sample.columns) else set(sample.columns[:1])
    if shared or not sample.rows.width:
        return ids
    values = sample.rows.to_series(0).drop_nulls()
    wanted = {*values, *(piece for value in values.head(FEW_ROWS // 10) for piece in re.split(PIECES, value))}
    for test in tests:
        for column in test.rows.get_columns():
            # A share, because both heads may be cut. What is unique is an id; what repeats may be a piece of one, and
            # matters only if a number would be written otherwise.
            if column.null_count() < column.len() and not column.is_duplicated().any():
                is_id = _share(column, values) > 0.5
            else:
                is_id = _share(column.head(100), wanted) > 0.5 and _is_respelled(column)
            ids = ids | {column.name} if is_id else ids
    return ids


def _share(values: pl.Series, other_values: Iterable[str]) -> float:
    return float(values.drop_nulls().head(FEW_ROWS).is_in(list(other_values)).mean() or 0.0)  # type: ignore[arg-type]


def _ids_without_sample(heads: list[_Head]) -> set[str]:
    of_test = [c for h in heads if h.is_test for c in h.columns]
    return {
        c for c in of_test if name_of(c) in ("id", "rowid", "key", "index", "uuid", "guid") or name_of(c) == "testid"
    }


def _has_lists(sample: _Head) -> bool:
    """Whether the sample's second column holds several words, as lists of items do."""
    if len(sample.columns) != 2 or sample.rows.width != 2:
        return False
    cells = sample.rows.to_series(1).drop_nulls().head(FEW_ROWS)
    return bool(cells.len()) and float(cells.str.contains(" ").mean() or 0) > 0.5  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------------------- codes


def _is_respelled(values: pl.Series) -> bool:
    """Whether a column of numbers has one that would be written otherwise, whole numbers among fractions apart."""
    text = values.drop_nulls()
    text = text.filter(~text.str.strip_chars().is_in(MISSING))
    if text.str.contains(CANONICAL).all() and not text.cast(pl.Int64, strict=False).has_nulls():
        return False  # of whole numbers alone, all 64 bits are kept
    numbers = text.str.strip_chars().cast(pl.Float64, strict=False)
    return bool(text.len()) and not numbers.null_count() and bool(respelled(text, numbers, _CODE).len())


_CODE = ColumnType(pl.Float64(), key="code")


def _codes(head: _Head, of_test: set[str]) -> list[str]:
    """Return the columns whose numbers are codes: 10.1 beside 10.10, or 303e2 among whole numbers.

    Of train's columns that test lacks, as a target is one, the first says too little: an amount may be written by hand.
    """
    if not head.rows.width:
        return []
    text = pl.all().str
    ends_in_zero = head.rows.select(text.contains(r"\.\d*[1-9]0+$").any())
    has_exponent = head.rows.select(text.contains(ODD_EXPONENT).any())
    codes = []
    for column, zero, exponent in zip(head.rows.columns, ends_in_zero.row(0), has_exponent.row(0), strict=True):
        may_be_counted = zero and not (head.is_train and column not in of_test) and not AMOUNT.search(column)
        if not (may_be_counted or exponent):
            continue
        values = head.rows[column].drop_nulls()
        values = values.filter(~values.str.strip_chars().is_in(MISSING))
        is_exponent = exponent and values.str.contains(rf"{ODD_EXPONENT}|^\d+$").all()
        if is_exponent or (may_be_counted and _are_counted(values)):
            codes.append(column)
    return codes


def _are_counted(values: pl.Series) -> bool:
    texts = values.unique()
    if 2 * texts.len() > values.len():
        return False  # categories occur again and again
    with_point = texts.filter(texts.str.contains(".", literal=True))
    if not with_point.str.contains(COUNTED).all() or not texts.str.contains(r"^[\d.]+$").all():
        return False
    return with_point.cast(pl.Float64, strict=False).n_unique() < with_point.len()


def _naming(head: _Head, heads: list[_Head]) -> list[str]:
    """Return the first column of a side table where it names its rows and train or test has it too."""
    if head.is_train or head.is_test or sample_score(head.name) or not head.rows.height:
        return []
    first = head.rows.to_series(0)
    is_shared = any(first.name in h.columns for h in heads if h.is_train or h.is_test)
    is_key = is_shared and not first.null_count() and not first.is_duplicated().any()
    return [first.name] if is_key and head.rows.width > 1 else []


def _not_numbers(keys: Keys, heads: list[_Head]) -> set[str]:
    """Return the keys and codes of which some value, as far as was looked, would be written otherwise as a number."""
    respelled = set()
    for head in heads:
        for column in head.rows.get_columns():
            kind = keys.kind(column.name)
            if not kind or column.name in respelled:
                continue
            text = column.drop_nulls()
            if (kind == "key" and text.len() and not _is_any_number(text)) or (
                kind == "code" and _is_respelled(column)
            ):
                respelled.add(column.name)
    return respelled


def _is_any_number(text: pl.Series) -> bool:
    """Whether all values are whole numbers, or all fractions, each as every program writes it; or dates."""
    if text.head(FEW_ROWS).str.contains(LIKE_A_DATE).all():
        return True
    for dtype in (pl.Int64(), pl.Float64()):
        if not respelled(text, text.cast(dtype, strict=False), ColumnType(dtype, key="key")).len():
            return True
    return False
