"""Join files that are parts of one table and named by words: train_north.csv, train/paris.csv, A_train.csv.

Files are joined if one of their words is train or test, they have the same columns, and the other words only name the
part. Otherwise they are separate tables, and inferring a definition may ask the user which of them is train or test.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import polars as pl

from workbench.core.errors import DataError, WorkbenchError
from workbench.data.ingest.formats import FORMATS
from workbench.data.ingest.sources import TableSource, place_of, table_name, without_endings
from workbench.data.ingest.text import SourceFile

__all__ = ["columns_of", "head_rows", "join_named", "natural", "stated_tables", "words_of"]

TRAIN, TEST, SAMPLE = ("train", "training"), ("test", "testing"), ("submission", "submissions")
ROLES = (TRAIN, TEST, SAMPLE)
SAMPLE_ROLE = ROLES.index(SAMPLE)

_OTHER_TABLE_WORDS = """
    label labels meta metadata target targets truth solution answer answers x y features extra extras additional
    external supplement supplementary supplemental auxiliary aux side info description
    v ver version rev revision old new orig original originals raw clean cleaned noisy curated fixed corrected
    updated update latest final backup copy filtered processed preprocessed normalized normalised scaled balanced
    full all complete entire whole sample samples small subset mini tiny large big lite short debug head toy
    augmented aug augmentation synthetic generated pseudo fake simulated
    valid validation val dev eval evaluation holdout test testing train training oof fold folds
    unlabeled unlabelled labeled labelled public private hidden submission submissions
"""
OTHER_TABLE_WORDS = frozenset(_OTHER_TABLE_WORDS.split())
"""Words of files that accompany a table or are another version of it, and so are no parts."""
WORDS_IN_NAMES = {
    *("new", "old", "all", "big", "large", "short", "head", "side", "final", "whole", "complete", "copy", "info"),
    *("x", "y", "v", "val", "public", "private"),
}
"""Some of them are also used in names, together with other words: new_york, head_office."""
UNREADABLE_HEADS = (
    *(WorkbenchError, ValueError, TypeError, OSError, RecursionError),
    *(csv.Error, pl.exceptions.PolarsError),
)
HEAD_ROWS = 200
MAX_WORDS = 4
MAX_PARTS = 1000


@dataclass(frozen=True)
class _NamedTable:
    """A table with exactly one word of a role in its name.

    Attributes
    ----------
    table : TableSource
    words : tuple of str
        All words of the name.
    role : int
        The index in `ROLES`.
    position : str
        The position of the role's word: only tables with the same position are joined.
    """

    table: TableSource
    words: tuple[str, ...]
    role: int
    position: str


def words_of(name: str) -> tuple[str, ...]:
    """Split a file's path into words, at capitals only if splitting at other characters yields no role, as "train".

    Examples
    --------
    >>> words_of("train_storeA.csv"), words_of("trainNorth.csv"), words_of("train/new york.csv.gz")
    (('train', 'storeA'), ('train', 'North'), ('train', 'new', 'york'))
    """
    stems = [without_endings(part) for part in PurePosixPath(name).parts]
    words = [w for stem in stems for w in re.split(r"[\W_]+", stem) if w]
    if not any(_role(w) is not None for w in words):
        words = [w for word in words for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[^A-Z\d]+|\d+", word)]
    return tuple(words)


def _role(word: str) -> int | None:
    return next((i for i, names in enumerate(ROLES) if word.lower() in names), None)


def join_named(tables: Sequence[TableSource], root: str, exclude: Iterable[str]) -> list[TableSource]:
    """Join the tables that are parts of one, and give parts a column with their words where test has such a column.

    Parameters
    ----------
    tables : sequence of TableSource
        Numbered parts are already joined.
    root : str
        The folder around all files, which is not a part of their names.
    exclude : iterable of str
        The tables that competition.toml names, which are not joined.
    """
    excluded = set(exclude)
    groups: dict[tuple[Any, ...], list[_NamedTable]] = {}
    for table in tables:
        named = _named_table(table, root)
        if named is not None:
            groups.setdefault((named.role, table.kind, named.position), []).append(named)
    joined: dict[str, list[_NamedTable]] = {}
    for group in groups.values():
        for members in _groups_of_equal_columns(group):
            if any(m.table.name in excluded for m in members):
                continue
            base = _joined_name(members)
            used_names = {t.name for t in tables} - {m.table.name for m in members}
            if base is not None and base not in used_names and base not in joined:
                joined[base] = members
    joined_names = {n.table.name for group in joined.values() for n in group}
    other_tables = [t for t in tables if t.name not in joined_names]
    new_tables = [_join(base, group) for base, group in joined.items()]
    numbered = [(t, w) for t in other_tables if _has_role(t.name, TRAIN) and (w := _words_of_parts(t, root))]
    tables_with_part_column = {t.name: t for t in _with_part_columns([*new_tables, *numbered], other_tables)}
    return sorted(
        [*(t for t in other_tables if t.name not in tables_with_part_column), *tables_with_part_column.values()],
        key=lambda t: t.name,
    )


def _named_table(table: TableSource, root: str) -> _NamedTable | None:
    """Return a table with the words of its name; None unless exactly one is a role and there are 1 to 4 others."""
    if any(p.keys for p in table.parts):
        return None
    first = table.parts[0]
    name = first.name.removeprefix(root)
    # The name of a table of numbered parts has no numbers.
    words = words_of(name) if len(table.parts) == 1 else words_of(table.name)
    if first.member is not None and not any(_role(w) is not None for w in words):
        words = (*words_of(PurePosixPath(first.path.name).stem), *words)
    roles = [i for i, w in enumerate(words) if _role(w) is not None]
    if len(roles) != 1 or not 1 <= len(words) - 1 <= MAX_WORDS:
        return None
    position = roles[0]
    role = _role(words[position])
    position_label = "first" if position == 0 else "last" if position == len(words) - 1 else f"{position}"
    if role == SAMPLE_ROLE:
        position_label = f"{position_label} {position}"
    return None if role is None else _NamedTable(table, words, role, position_label)


def _groups_of_equal_columns(group: list[_NamedTable]) -> list[list[_NamedTable]]:
    if len(group) < 2:
        return []
    tables_by_columns: dict[frozenset[str], list[_NamedTable]] = {}
    for named in group:
        columns = columns_of(named.table)
        if columns is not None:
            tables_by_columns.setdefault(columns, []).append(named)
    return [g for g in tables_by_columns.values() if len(g) > 1]


def columns_of(table: TableSource) -> frozenset[str] | None:
    """Return the columns of a table's first file; None if it can't be read, or only converting it would tell."""
    try:
        return FORMATS[table.kind].columns(table.parts[0])
    except UNREADABLE_HEADS:
        return None


def _joined_name(group: list[_NamedTable]) -> str | None:
    """Return the name of the joined table; None if the differing words do not look like names of parts."""
    words_by_table = [n.words for n in group]
    start, end = _common_ends(words_by_table)
    differing_words = [w[start : len(w) - end] for w in words_by_table]
    if not all(differing_words) or len(set(differing_words)) < len(differing_words):
        return None
    if any(_name_another_table(words) for words in differing_words):
        return None
    tables = [n.table for n in group]
    if _share_ids(tables) if group[0].role == SAMPLE_ROLE else _have_same_rows(tables):
        return None
    first = words_by_table[0]
    return table_name("_".join([*first[:start], *first[len(first) - end :]]))


def _name_another_table(words: tuple[str, ...]) -> bool:
    """Tell whether words suggest another kind of table rather than a part."""
    parts = [p.lower() for w in words for p in (re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", w) or [w])]
    lower_words = {w.lower() for w in words} | set(parts)
    return bool(lower_words & OTHER_TABLE_WORDS - WORDS_IN_NAMES) or all(p in OTHER_TABLE_WORDS for p in parts)


def _common_ends(words_by_table: Sequence[tuple[str, ...]]) -> tuple[int, int]:
    """Return the number of words that are the same in all tables, at the beginning and at the end."""
    start = _common_length(words_by_table)
    return start, _common_length([tuple(reversed(words[start:])) for words in words_by_table])


def _common_length(sequences: Sequence[tuple[str, ...]]) -> int:
    shortest = min(len(words) for words in sequences)
    return next((i for i in range(shortest) if len({words[i] for words in sequences}) > 1), shortest)


def _have_same_rows(tables: Sequence[TableSource]) -> bool:
    """Tell whether two files seem to have the same content: copies of rows, or other columns for the same ids.

    Each file is read once, because there may be thousands.
    """
    columns: list[str] = []
    files_by_row: dict[int, list[int]] = {}
    heights: list[int] = []
    views: dict[Any, list[set[tuple[str, int]]]] = {}
    for table in tables:
        head = head_rows(table.parts[0], table.kind)
        if head is None or not head.height or (columns and set(head.columns) != set(columns)):
            continue
        columns = columns or head.columns
        head = head.select(columns)
        heights.append(head.height)
        if _has_copies(head, files_by_row, heights):
            return True
        if head.height > 1 and _is_another_view(head, views):
            return True
    return False


def _has_copies(head: pl.DataFrame, files_by_row: dict[int, list[int]], heights: list[int]) -> bool:
    """Tell whether more than half of the rows of a file are those of an earlier one, and record its rows.

    Parameters
    ----------
    head : DataFrame
    files_by_row : dict
        By the hash of a row, the numbers of the files that have it; changed in place.
    heights : list of int
        The numbers of rows of all files so far, this one included.
    """
    n_copies_by_file: Counter[int] = Counter()
    number = len(heights) - 1
    for row, n in Counter(head.hash_rows().to_list()).items():
        earlier_files = files_by_row.setdefault(row, [])
        for other in earlier_files:
            n_copies_by_file[other] += n
        earlier_files.append(number)
    return head.width > 1 and any(2 * n > min(head.height, heights[file]) for file, n in n_copies_by_file.items())


def _is_another_view(head: pl.DataFrame, views: dict[Any, list[set[tuple[str, int]]]]) -> bool:
    """Tell whether an earlier file has the same ids and another column with the same values, and record the file.

    Then the files are two views of the same rows rather than parts. Columns are compared by hashes, kept in `views`.
    """
    n_unique = {c: n for c in head.columns if (n := head[c].n_unique()) > 1}
    key_column = next((c for c, n in n_unique.items() if n == head.height), None)
    if key_column is None:
        return False
    row = pl.int_range(pl.len())
    hash_by_column = head.select(pl.struct(c, row.alias("")).hash().sum().alias(c) for c in n_unique if c).row(
        0, named=True
    )
    column_hashes = set(hash_by_column.items())
    earlier_views = views.setdefault((head.height, key_column, hash_by_column[key_column]), [])
    is_another_view = any(len(column_hashes & earlier) > 1 for earlier in earlier_views)
    earlier_views.append(column_hashes)
    return is_another_view


def _share_ids(tables: Sequence[TableSource]) -> bool:
    """Tell whether two sample submissions have ids in common, so that they are not parts of one."""
    heads = [head_rows(t.parts[0], t.kind) for t in tables]
    id_column = next((h.columns[0] for h in heads if h is not None and h.width), None)
    earlier_ids: set[Any] = set()
    for head in heads:
        if head is None or id_column is None or id_column not in head.columns:
            return True
        ids = set(head[id_column].to_list())
        if ids & earlier_ids:
            return True
        earlier_ids |= ids
    return False


# --------------------------------------------------------------------------------------------------------- first rows


def head_rows(source: SourceFile, kind: str) -> pl.DataFrame | None:
    """Return the first rows of a file as text; None if it can't be read or its format has no rows."""
    try:
        return FORMATS[kind].first_rows(source, HEAD_ROWS)
    except UNREADABLE_HEADS:
        return None


# -------------------------------------------------------------------------------------------------- columns of parts


def _join(base: str, group: list[_NamedTable]) -> tuple[TableSource, list[tuple[str, ...]]]:
    """Return the joined table, and for each of its files the words that name the part."""
    start, end = _common_ends([n.words for n in group])
    parts: list[SourceFile] = []
    words: list[tuple[str, ...]] = []
    for named in sorted(group, key=lambda n: natural(n.table.parts[0].name)):
        parts += named.table.parts
        words += [named.words[start : len(named.words) - end]] * len(named.table.parts)
    return TableSource(base, tuple(parts), group[0].table.kind, by_words=True), words


def _words_of_parts(table: TableSource, root: str) -> list[tuple[str, ...]] | None:
    """Return the words by which numbered parts differ; None if they do not all differ."""
    if not 1 < len(table.parts) <= MAX_PARTS or any(p.keys for p in table.parts):
        return None
    words_by_part = [words_of(p.name.removeprefix(root)) for p in table.parts]
    start, end = _common_ends(words_by_part)
    words = [w[start : len(w) - end] for w in words_by_part]
    return words if all(words) and len(set(words)) == len(words) else None


def natural(name: str) -> list[Any]:
    """Return a key that sorts names in natural order, 2 before 10."""
    return [(1, int(piece), "") if piece.isdigit() else (0, 0, piece) for piece in re.split(r"(\d+)", name)]


def _with_part_columns(
    joined: list[tuple[TableSource, list[tuple[str, ...]]]], other_tables: Sequence[TableSource]
) -> list[TableSource]:
    """Add a column with the words of the parts to the joined tables where another table shows what it is.

    That is a column of test, or parts of test with the same words, or a column of ids in the sample or in labels.
    """
    tests = [t for t in other_tables if _has_role(t.name, TEST)]
    tests_in_parts = [(t, w) for t, w in joined if _has_role(t.name, TEST)]
    table_by_name: dict[str, TableSource] = {t.name: t for t, _ in joined}
    for train, words in joined:
        if not _has_role(train.name, TRAIN):
            continue
        for test in [*tests, *(t for t, _ in tests_in_parts)]:
            with_column = _with_column_of(train, words, test)
            table_by_name[train.name] = with_column or table_by_name[train.name]
        for test, test_words in tests_in_parts:
            if table_by_name[train.name].parts[0].keys or not _casefolded_values(words) & _casefolded_values(
                test_words
            ):
                continue
            name = _column_name(words, columns_of(train) or frozenset())
            if name is not None and not _has_part_column(train, words):
                table_by_name[train.name] = _with_values(train, name, [_value_of(w, words) for w in words])
                table_by_name[test.name] = _with_values(test, name, [_value_of(w, words) for w in test_words])
    for table, words in joined:
        if table.by_words and not table_by_name[table.name].parts[0].keys:
            role = TRAIN if _has_role(table.name, TRAIN) else TEST
            related = [t for t in other_tables if _has_role(t.name, role) or _has_role(t.name, SAMPLE)]
            candidates = (_with_ids_of(table, words, other) for other in related)
            table_by_name[table.name] = next((t for t in candidates if t is not None), table_by_name[table.name])
    return list(table_by_name.values())


def _with_ids_of(table: TableSource, words: list[tuple[str, ...]], other: TableSource) -> TableSource | None:
    """Return a table with the ids of another one (a sample, or labels) as a column, if each part is named by an id."""
    table_with_ids = _with_column_of(table, words, other)
    rows = head_rows(other.parts[0], other.kind) if table_with_ids is not None else None
    if table_with_ids is None or rows is None:
        return None
    ids = rows[table_with_ids.parts[0].keys[0][0]]
    return table_with_ids if ids.n_unique() == ids.len() == min(len(set(words)), HEAD_ROWS) > 1 else None


def _has_role(name: str, role: tuple[str, ...]) -> bool:
    return any(w.lower() in role for w in words_of(name))


def _casefolded_values(words: Iterable[tuple[str, ...]]) -> set[str]:
    return {"_".join(w).casefold() for w in words}


def _with_column_of(train: TableSource, words: list[tuple[str, ...]], test: TableSource) -> TableSource | None:
    """Return train with a column that only test has, if its values there are the words of train's parts; else None."""
    train_columns, test_columns = columns_of(train), columns_of(test)
    has_more = train_columns and test_columns and test_columns - train_columns
    rows = head_rows(test.parts[0], test.kind) if has_more else None
    if rows is None or not rows.height:
        return None
    for column in rows.columns:
        if column in (train_columns or ()) or rows[column].null_count():
            continue
        spelling_by_folded = {v.casefold(): v for v in rows[column].unique().to_list()}
        conversions: tuple[Callable[[tuple[str, ...]], str], ...] = (
            "_".join,
            " ".join,
            "".join,
            lambda w: _value_of(w, words),
            lambda w: _value_of(w, words).lstrip("0") or "0",
        )
        for convert in conversions:
            values = [convert(w) for w in words]
            if set(spelling_by_folded) <= {v.casefold() for v in values}:
                return _with_values(train, column, [spelling_by_folded.get(v.casefold(), v) for v in values])
    return None


def _common_prefix(words: Sequence[tuple[str, ...]]) -> str:
    """Return the common beginning of the parts' names, up to a capital or a digit: "store" of storeA and storeB."""
    texts = sorted({"_".join(w) for w in words})
    length = next((i for i, (a, b) in enumerate(zip(texts[0], texts[-1], strict=False)) if a != b), len(texts[0]))
    match = re.match(r"[A-Z]?[a-z]{2,}(?=[A-Z\d_]|$)_?", texts[0][:length])
    prefix = match[0] if match else ""
    return prefix if all(len(t) > len(prefix) and not t[len(prefix)].islower() for t in texts) else ""


def _value_of(part_words: tuple[str, ...], words: Sequence[tuple[str, ...]]) -> str:
    """Return the words of a part without the prefix that all parts have in common."""
    text = "_".join(part_words)
    return text.removeprefix(_common_prefix(words)) or text


def _column_name(words: Sequence[tuple[str, ...]], columns: frozenset[str]) -> str | None:
    name = _common_prefix(words).rstrip("_").lower() or "part"
    return next((n for n in (name, "part", "part_of_file") if n not in columns), None)


def _has_part_column(train: TableSource, words: list[tuple[str, ...]]) -> bool:
    """Tell whether a column already identifies the parts: constant within each part, and different between them."""
    first_files = [train.parts[words.index(w)] for w in dict.fromkeys(words)]
    heads = [head_rows(p, train.kind) for p in first_files]
    if any(h is None or not h.height for h in heads):
        return True
    frames = [h for h in heads if h is not None]
    for column in frames[0].columns:
        values = [f[column].unique() for f in frames if column in f.columns]
        if all(v.len() == 1 for v in values) and len({v[0] for v in values}) == len(frames) > 1:
            return True
    return False


def _with_values(table: TableSource, column: str, values: Sequence[str]) -> TableSource:
    """Return a table with a column that has one value for each part."""
    parts = tuple(replace(p, keys=((column, v),)) for p, v in zip(table.parts, values, strict=True))
    return replace(table, parts=parts)


# ------------------------------------------------------------------------------------------------------- stated parts


def stated_tables(tables: list[TableSource], read: Mapping[str, Mapping[str, Any]]) -> list[TableSource]:
    """Join the files that competition.toml names: ``[read.TABLE] parts = ["a.csv", "b.csv"]``.

    Raises
    ------
    DataError
        When a name is that of no file, the files have several formats, or the table is also that of another file.
    """
    for name, table_options in read.items():
        stated_parts = list(table_options.get("parts") or ())
        if not stated_parts:
            continue
        table_by_name = {p.name: t for t in tables if len(t.parts) == 1 for p in t.parts} | {t.name: t for t in tables}
        unknown_parts = [w for w in stated_parts if w not in table_by_name]
        if unknown_parts:
            files = ", ".join(sorted(p.name for t in tables for p in t.parts)[:20])
            raise DataError(
                f"[read.{name}] parts in competition.toml: there is no file {unknown_parts[0]!r}; "
                f"the files are {files}",
                hint="name the files as they lie in data/raw",
            )
        members = [table_by_name[w] for w in dict.fromkeys(stated_parts)]
        if len({t.kind for t in members}) > 1:
            places = ", ".join(place_of(p) for t in members for p in t.parts[:1])
            raise DataError(
                f"[read.{name}] parts in competition.toml: {places} are not of one format", hint="join them"
            )
        parts = tuple(p for t in members for p in t.parts)
        other_tables = [t for t in tables if t not in members]
        if name in {t.name for t in other_tables}:
            raise DataError(
                f"[read.{name}] parts in competition.toml: {name!r} is the table of another file",
                hint="name that file among the parts, or give the table another name",
            )
        tables = sorted([*other_tables, TableSource(name, parts, members[0].kind, by_words=True)], key=lambda t: t.name)
    return tables
