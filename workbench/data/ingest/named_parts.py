"""Parts of one table whose files are named with words: train_north.csv, train/paris.csv, A_train.csv.

Files are joined where three things agree: one of the words is train or test, the columns are the same, and the words
that differ say nothing else than which part it is. Anything less is left as tables of their own: which of them is meant
is asked for where a definition is inferred.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

import polars as pl

from workbench.core.errors import DataError, WorkbenchError
from workbench.core.frames import scan_parquet
from workbench.data.ingest.sources import TableSource, place_of, table_name, without_endings
from workbench.data.ingest.text import SourceFile, form_of, head_of, head_records, header_of

__all__ = ["columns_of", "head_rows", "join_named", "natural", "stated_tables", "words_of"]

TRAIN, TEST, SAMPLE = ("train", "training"), ("test", "testing"), ("submission", "submissions")
ROLES = (TRAIN, TEST, SAMPLE)
SAMPLES = ROLES.index(SAMPLE)

_BESIDE = """
    label labels meta metadata target targets truth solution answer answers x y features extra extras additional
    external supplement supplementary supplemental auxiliary aux side info description
    v ver version rev revision old new orig original originals raw clean cleaned noisy curated fixed corrected
    updated update latest final backup copy filtered processed preprocessed normalized normalised scaled balanced
    full all complete entire whole sample samples small subset mini tiny large big lite short debug head toy
    augmented aug augmentation synthetic generated pseudo fake simulated
    valid validation val dev eval evaluation holdout test testing train training oof fold folds
    unlabeled unlabelled labeled labelled public private hidden submission submissions
"""
BESIDE = frozenset(_BESIDE.split())
"""Words of a file that accompanies the table, or is another version of it; no names of parts."""
IN_NAMES = {
    *("new", "old", "all", "big", "large", "short", "head", "side", "final", "whole", "complete", "copy", "info"),
    *("x", "y", "v", "val", "public", "private"),
}
"""Of these, those that stand in names of places and the like, beside other words: new_york, head_office."""
UNREADABLE_HEADS = (
    *(WorkbenchError, ValueError, TypeError, OSError, RecursionError),
    *(csv.Error, pl.exceptions.PolarsError),
)
HEAD_ROWS = 200
MAX_WORDS = 4
MOST_PARTS = 1000


@dataclass(frozen=True)
class _Named:
    """A table of its own whose name has a role: the words around the role, and what it holds."""

    table: TableSource
    words: tuple[str, ...]
    role: int
    place: str


def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a file's path; capitals separate words only where signs leave no role among them.

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


def join_named(tables: Sequence[TableSource], shared: str, alone: Iterable[str]) -> list[TableSource]:
    """Return the tables, those that are parts of one joined, each part with a column of its word where test tells it.

    Parameters
    ----------
    tables : sequence of TableSource
        With numbered parts joined already.
    shared : str
        The folder that holds every file, which is no part of a name.
    alone : iterable of str
        Tables that the definition names: they stay what they are.
    """
    fixed = set(alone)
    groups: dict[tuple[Any, ...], list[_Named]] = {}
    for table in tables:
        named = _named(table, shared)
        if named is not None:
            groups.setdefault((named.role, table.kind, named.place), []).append(named)
    joined: dict[str, list[_Named]] = {}
    for group in groups.values():
        for alike in _of_equal_columns(group):
            if any(n.table.name in fixed for n in alike):
                continue
            base = _base(alike)
            taken = {t.name for t in tables} - {n.table.name for n in alike}
            if base is not None and base not in taken and base not in joined:
                joined[base] = alike
    members = {n.table.name for group in joined.values() for n in group}
    other_tables = [t for t in tables if t.name not in members]
    new = [_ordered(base, group) for base, group in joined.items()]
    numbered = [(t, w) for t in other_tables if _sounds(t.name, TRAIN) and (w := _words_of_parts(t, shared))]
    keyed = {t.name: t for t in _with_part_columns([*new, *numbered], other_tables)}
    return sorted([*(t for t in other_tables if t.name not in keyed), *keyed.values()], key=lambda t: t.name)


def _named(table: TableSource, shared: str) -> _Named | None:
    if any(p.keys for p in table.parts):
        return None
    first = table.parts[0]
    name = first.name.removeprefix(shared)
    # Numbered parts that are one table already: the table's name has no numbers.
    words = words_of(name) if len(table.parts) == 1 else words_of(table.name)
    if first.member is not None and not any(_role(w) is not None for w in words):
        words = (*words_of(PurePosixPath(first.path.name).stem), *words)
    roles = [i for i, w in enumerate(words) if _role(w) is not None]
    if len(roles) != 1 or not 1 <= len(words) - 1 <= MAX_WORDS:
        return None
    at = roles[0]
    role = _role(words[at])
    place = "first" if at == 0 else "last" if at == len(words) - 1 else f"{at}"
    if role == SAMPLES:
        place = f"{place} {at}"
    return None if role is None else _Named(table, words, role, place)


def _of_equal_columns(group: list[_Named]) -> list[list[_Named]]:
    if len(group) < 2:
        return []
    alike: dict[frozenset[str], list[_Named]] = {}
    for named in group:
        columns = columns_of(named.table)
        if columns is not None:
            alike.setdefault(columns, []).append(named)
    return [g for g in alike.values() if len(g) > 1]


def columns_of(table: TableSource) -> frozenset[str] | None:
    """Return the columns of a table's first file, in no order; None where only reading it would tell."""
    source = table.parts[0]
    try:
        if table.kind == "text":
            return frozenset(header_of(source, form_of(source, {})))
        if table.kind == "lines":
            return frozenset(k for record in _json_records(source) for k in record)
        if table.kind == "parquet":
            return frozenset(_parquet_head(source).columns)
    except UNREADABLE_HEADS:
        return None
    return None


def _base(group: list[_Named]) -> str | None:
    """Return the table's name where the words that differ name parts; None where they may mean something else."""
    lists = [n.words for n in group]
    start = _in_common(lists)
    end = _in_common([tuple(reversed(w[start:])) for w in lists])
    differing = [w[start : len(w) - end] for w in lists]
    if not all(differing) or len(set(differing)) < len(differing):
        return None
    if any(_stands_beside(words) for words in differing):
        return None
    tables = [n.table for n in group]
    if _share_ids(tables) if group[0].role == SAMPLES else _hold_the_same_rows(tables):
        return None
    common = [*lists[0][:start], *lists[0][len(lists[0]) - end :]]
    return table_name("_".join(common))


def _stands_beside(words: tuple[str, ...]) -> bool:
    pieces = [p.lower() for w in words for p in (re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", w) or [w])]
    lower_words = {w.lower() for w in words} | set(pieces)
    return bool(lower_words & BESIDE - IN_NAMES) or all(p in BESIDE for p in pieces)


def _in_common(lists: Sequence[tuple[str, ...]]) -> int:
    shortest = min(len(words) for words in lists)
    return next((i for i in range(shortest) if len({words[i] for words in lists}) > 1), shortest)


def _hold_the_same_rows(tables: Sequence[TableSource]) -> bool:
    """Whether two of the files seem to hold the same things: copies of rows, or another view of the same ids.

    Each file is read once: there may be thousands.
    """
    columns: list[str] = []
    having: dict[int, list[int]] = {}
    heights: list[int] = []
    views: dict[Any, list[set[tuple[str, int]]]] = {}
    for table in tables:
        head = head_rows(table.parts[0], table.kind)
        if head is None or not head.height or (columns and set(head.columns) != set(columns)):
            continue
        columns = columns or head.columns
        head = head.select(columns)
        heights.append(head.height)
        if _has_copies(head, having, heights):
            return True
        if head.height > 1 and _is_another_view(head, views):
            return True
    return False


def _has_copies(head: pl.DataFrame, having: dict[int, list[int]], heights: list[int]) -> bool:
    """Whether more than half of the rows are those of an earlier file; `having` says which files have a row."""
    copied: Counter[int] = Counter()
    number = len(heights) - 1
    for row, n in Counter(head.hash_rows().to_list()).items():
        before = having.setdefault(row, [])
        for other in before:
            copied[other] += n
        before.append(number)
    return head.width > 1 and any(2 * n > min(head.height, heights[other]) for other, n in copied.items())


def _is_another_view(head: pl.DataFrame, views: dict[Any, list[set[tuple[str, int]]]]) -> bool:
    """Whether an earlier file has the same ids and the same answers, row for row: two views of one table, no parts."""
    several = {c: n for c in head.columns if (n := head[c].n_unique()) > 1}
    key = next((c for c, n in several.items() if n == head.height), None)
    if key is None:
        return False
    row = pl.int_range(pl.len())
    sums = head.select(pl.struct(c, row.alias("")).hash().sum().alias(c) for c in several if c).row(0, named=True)
    values = set(sums.items())
    before = views.setdefault((head.height, key, sums[key]), [])
    is_one = any(len(values & earlier) > 1 for earlier in before)
    before.append(values)
    return is_one


def _share_ids(tables: Sequence[TableSource]) -> bool:
    """Whether two samples ask for the same rows: other answers then, not other parts."""
    heads = [head_rows(t.parts[0], t.kind) for t in tables]
    key = next((h.columns[0] for h in heads if h is not None and h.width), None)
    earlier_ids: set[Any] = set()
    for head in heads:
        if head is None or key is None or key not in head.columns:
            return True
        ids = set(head[key].to_list())
        if ids & earlier_ids:
            return True
        earlier_ids |= ids
    return False


# --------------------------------------------------------------------------------------------------------- first rows


def head_rows(source: SourceFile, kind: str) -> pl.DataFrame | None:
    """Return the first rows of a file as text; None where they can't be read so."""
    try:
        if kind == "text":
            form = form_of(source, {})
            header = header_of(source, form)
            rows = list(islice(head_records(source, form), 1, HEAD_ROWS + 1))
            rows = [r for r in rows if len(r) == len(header)]
            return pl.DataFrame(rows, schema=dict.fromkeys(header, pl.String()), orient="row")
        if kind == "lines":
            records = _json_records(source)
            names = list(dict.fromkeys(k for r in records for k in r))
            texts = [[None if r.get(n) is None else json.dumps(r[n]).strip('"') for n in names] for r in records]
            return pl.DataFrame(texts, schema=dict.fromkeys(names, pl.String()), orient="row")
        if kind == "parquet":
            frame = _parquet_head(source)
            plain = [c for c, t in frame.schema.items() if not t.is_nested() and t != pl.Binary]
            return frame.select(pl.col(plain).cast(pl.String, strict=False))
    except UNREADABLE_HEADS:
        return None
    return None


def _json_records(source: SourceFile) -> list[dict[str, Any]]:
    lines = head_of(source, 1 << 20).lstrip(b"\xef\xbb\xbf").split(b"\n")[:HEAD_ROWS]
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def _parquet_head(source: SourceFile) -> pl.DataFrame:
    if source.member is None and source.name.lower().endswith(".parquet"):
        return scan_parquet(source.path).head(HEAD_ROWS).collect()
    with source.opened() as file:
        return pl.read_parquet(io.BytesIO(file.read()), n_rows=HEAD_ROWS, hive_partitioning=False)


# --------------------------------------------------------------------------------------------------------- the column


def _ordered(base: str, group: list[_Named]) -> tuple[TableSource, list[tuple[str, ...]]]:
    """Return the joined table, and for each of its files the words that tell which part it is."""
    lists = [n.words for n in group]
    start = _in_common(lists)
    end = _in_common([tuple(reversed(w[start:])) for w in lists])
    parts: list[SourceFile] = []
    words: list[tuple[str, ...]] = []
    for named in sorted(group, key=lambda n: natural(n.table.parts[0].name)):
        parts += named.table.parts
        words += [named.words[start : len(named.words) - end]] * len(named.table.parts)
    return TableSource(base, tuple(parts), group[0].table.kind, by_words=True), words


def _words_of_parts(table: TableSource, shared: str) -> list[tuple[str, ...]] | None:
    """Return the words that tell numbered parts from each other; None where they are no such parts."""
    if not 1 < len(table.parts) <= MOST_PARTS or any(p.keys for p in table.parts):
        return None
    lists = [words_of(p.name.removeprefix(shared)) for p in table.parts]
    start = _in_common(lists)
    end = _in_common([tuple(reversed(w[start:])) for w in lists])
    words = [w[start : len(w) - end] for w in lists]
    return words if all(words) and len(set(words)) == len(words) else None


def natural(name: str) -> list[Any]:
    """Return a key that sorts names with numbers by them, 2 before 10."""
    return [(1, int(piece), "") if piece.isdigit() else (0, 0, piece) for piece in re.split(r"(\d+)", name)]


def _with_part_columns(
    joined: list[tuple[TableSource, list[tuple[str, ...]]]], other_tables: Sequence[TableSource]
) -> list[TableSource]:
    """Give the parts of train a column of their words where test has that column, or the same parts."""
    tests = [t for t in other_tables if _sounds(t.name, TEST)]
    tests_in_parts = [(t, w) for t, w in joined if _sounds(t.name, TEST)]
    done: dict[str, TableSource] = {t.name: t for t, _ in joined}
    for train, words in joined:
        if not _sounds(train.name, TRAIN):
            continue
        for test in [*tests, *(t for t, _ in tests_in_parts)]:
            keyed = _as_test_has_it(train, words, test)
            done[train.name] = keyed or done[train.name]
        for test, its_words in tests_in_parts:
            if done[train.name].parts[0].keys or not _folded(words) & _folded(its_words):
                continue
            name = _column_name(words, columns_of(train) or frozenset())
            if name is not None and not _has_part_column(train, words):
                done[train.name] = _keyed(train, name, [_tail(w, words) for w in words])
                done[test.name] = _keyed(test, name, [_tail(w, words) for w in its_words])
    for table, words in joined:
        if table.by_words and not done[table.name].parts[0].keys:
            role = TRAIN if _sounds(table.name, TRAIN) else TEST
            beside = [t for t in other_tables if _sounds(t.name, role) or _sounds(t.name, SAMPLE)]
            named = (_as_ids_have_it(table, words, other) for other in beside)
            done[table.name] = next((t for t in named if t is not None), done[table.name])
    return list(done.values())


def _as_ids_have_it(table: TableSource, words: list[tuple[str, ...]], other: TableSource) -> TableSource | None:
    """Return a table with the column of ids that the sample, or a file of labels, has, if each part is named by one."""
    keyed = _as_test_has_it(table, words, other)
    rows = head_rows(other.parts[0], other.kind) if keyed is not None else None
    if keyed is None or rows is None:
        return None
    ids = rows[keyed.parts[0].keys[0][0]]
    return keyed if ids.n_unique() == ids.len() == min(len(set(words)), HEAD_ROWS) > 1 else None


def _sounds(name: str, role: tuple[str, ...]) -> bool:
    return any(w.lower() in role for w in words_of(name))


def _folded(words: Iterable[tuple[str, ...]]) -> set[str]:
    return {"_".join(w).casefold() for w in words}


def _as_test_has_it(train: TableSource, words: list[tuple[str, ...]], test: TableSource) -> TableSource | None:
    """Return train with the column that it lacks and test has, if the values there are the parts' words."""
    ours, theirs = columns_of(train), columns_of(test)
    rows = head_rows(test.parts[0], test.kind) if ours and theirs and theirs - ours else None
    if rows is None or not rows.height:
        return None
    for column in rows.columns:
        if column in (ours or ()) or rows[column].null_count():
            continue
        spelled = {v.casefold(): v for v in rows[column].unique().to_list()}
        forms: tuple[Callable[[tuple[str, ...]], str], ...] = (
            "_".join,
            " ".join,
            "".join,
            lambda w: _tail(w, words),
            lambda w: _tail(w, words).lstrip("0") or "0",
        )
        for form in forms:
            values = [form(w) for w in words]
            if set(spelled) <= {v.casefold() for v in values}:
                return _keyed(train, column, [spelled.get(v.casefold(), v) for v in values])
    return None


def _prefix(words: Sequence[tuple[str, ...]]) -> str:
    """Return what the parts' names begin with in common, up to a capital: "store" of storeA and storeB."""
    texts = sorted({"_".join(w) for w in words})
    n = next((i for i, (a, b) in enumerate(zip(texts[0], texts[-1], strict=False)) if a != b), len(texts[0]))
    prefix = re.match(r"[A-Z]?[a-z]{2,}(?=[A-Z\d_]|$)_?", texts[0][:n])
    word = prefix[0] if prefix else ""
    return word if all(len(t) > len(word) and not t[len(word)].islower() for t in texts) else ""


def _tail(word: tuple[str, ...], words: Sequence[tuple[str, ...]]) -> str:
    text = "_".join(word)
    return text.removeprefix(_prefix(words)) or text


def _column_name(words: Sequence[tuple[str, ...]], columns: frozenset[str]) -> str | None:
    name = _prefix(words).rstrip("_").lower() or "part"
    return next((n for n in (name, "part", "part_of_file") if n not in columns), None)


def _has_part_column(train: TableSource, words: list[tuple[str, ...]]) -> bool:
    """Whether a column of each part says which part it is: the same value in all rows, another one in each part."""
    firsts = [train.parts[words.index(w)] for w in dict.fromkeys(words)]
    heads = [head_rows(p, train.kind) for p in firsts]
    if any(h is None or not h.height for h in heads):
        return True
    frames = [h for h in heads if h is not None]
    for column in frames[0].columns:
        values = [f[column].unique() for f in frames if column in f.columns]
        if all(v.len() == 1 for v in values) and len({v[0] for v in values}) == len(frames) > 1:
            return True
    return False


def _keyed(table: TableSource, column: str, values: Sequence[str]) -> TableSource:
    parts = tuple(replace(p, keys=((column, v),)) for p, v in zip(table.parts, values, strict=True))
    return replace(table, parts=parts)


# -------------------------------------------------------------------------------------------------------- what is said


def stated_tables(tables: list[TableSource], read: Mapping[str, Mapping[str, Any]]) -> list[TableSource]:
    """Return the tables with those whose files competition.toml names: ``[read.TABLE] parts = ["a.csv", "b.csv"]``.

    Raises
    ------
    DataError
        When it names no file, or files that are read in different ways.
    """
    for name, table_options in read.items():
        wanted = list(table_options.get("parts") or ())
        if not wanted:
            continue
        by_name = {p.name: t for t in tables if len(t.parts) == 1 for p in t.parts} | {t.name: t for t in tables}
        unknown = [w for w in wanted if w not in by_name]
        if unknown:
            files = ", ".join(sorted(p.name for t in tables for p in t.parts)[:20])
            raise DataError(
                f"[read.{name}] parts in competition.toml: there is no file {unknown[0]!r}; the files are {files}",
                hint="name the files as they lie in data/raw",
            )
        members = [by_name[w] for w in dict.fromkeys(wanted)]
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
