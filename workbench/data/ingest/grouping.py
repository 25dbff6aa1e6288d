"""Which files are one table: numbered parts, a folder of parts, Hive folders with the columns that their names give."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import polars as pl

from workbench.core.errors import DamagedError, DataError, WorkbenchError
from workbench.core.frames import parquet_schema
from workbench.data.ingest.excluded import needed_tables
from workbench.data.ingest.keys import NO_KEYS, Keys
from workbench.data.ingest.named_parts import join_named, natural, stated_tables
from workbench.data.ingest.sources import (
    NO_OPTIONS,
    ReadOptions,
    TableSource,
    kind_of,
    place_of,
    sources_in,
    table_name,
    without_endings,
)
from workbench.data.ingest.text import SourceFile, form_of, head_of, header_of

__all__ = ["HIVE_NULL", "key_columns", "tables_in", "with_keys"]

KEY = re.compile(r"([^=]+)=(.*)")
OF_SO_MANY = re.compile(r"[-_.]?\d+-of-\d+$")
SPARK = re.compile(r"part-\d+-(tid-\d+|[0-9a-f]{8}-)[\w.-]*")
NUMBERED = re.compile(r"[_\W]*(part)?[_\W]*\d+$", re.IGNORECASE)
GENERAL = ("data", "chunk", "shard", "file")
"""What parts are called in a folder that has the table's name."""
RANDOM = re.compile(r"[_\W]*([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8,})$", re.IGNORECASE)
"""What writers call files that need no name: a UUID, or digits of one."""
VERSION = re.compile(r"(^|[_\W])(v|ver|version|rev|revision)[_\W]*$", re.IGNORECASE)
"""What numbers of versions follow: train_v1 and train_v2 are not parts of one table."""
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class _Part:
    """A file as a part of a table `base`; `is_marked` where its name says that it is one, not only a number."""

    source: SourceFile
    own_name: str
    base: str
    is_marked: bool


def tables_in(
    raw: Path, options: ReadOptions = NO_OPTIONS, unreadable: dict[str, WorkbenchError] | None = None
) -> list[TableSource]:
    """Return the tables that the files below `raw` become, by name; parts of one in natural order, 2 before 10.

    Parameters
    ----------
    raw : Path
    options : ReadOptions
        What competition.toml says: which files are one table, and which tables it names.
    unreadable : dict, optional
        Gets the files that can't be distinguished or read, and that nothing needs, with the reason; else they raise.

    Raises
    ------
    DataError
        When two files would become the same table, or what competition.toml says of parts can't be.
    """
    sources = sources_in(raw, options.fixed, unreadable)
    # One folder that holds everything is packaging, not a name.
    tops = {PurePosixPath(s.name).parts[0] for s in sources if len(PurePosixPath(s.name).parts) > 1}
    shared = f"{tops.pop()}/" if len(tops) == 1 and all("/" in s.name for s in sources) else ""
    names = [source.name.removeprefix(shared) for source in sources]
    several = _leaves_of_several(names)
    parts = [
        _part(source, name, shared, keeps_stem=_below(name) in several)
        for source, name in zip(sources, names, strict=True)
    ]
    # Hive folders of one table may differ only in signs that names do not have: offset=-1, offset=+1.
    if unreadable is not None:
        parts = _without_same(parts, options, unreadable)
    _refuse_same([((p.own_name, p.source.keys), p.source) for p in parts], options.fixed)
    groups: dict[tuple[str, str], list[_Part]] = {}
    for part in parts:
        groups.setdefault((part.base, kind_of(part.source.name)), []).append(part)
    bases = [base for base, _ in groups]
    tables: list[TableSource] = []
    for (base, kind), group in groups.items():
        other_names = {p.own_name for p in parts if p.base != base or kind_of(p.source.name) != kind}
        is_free = base not in other_names and base not in {p.own_name for p in group} and bases.count(base) == 1
        apart = _stated_apart(group, options) or VERSION.search(base) is not None
        if is_free and not apart and _are_one(group, kind):
            ordered = sorted(group, key=lambda p: natural(p.source.name))
            tables.append(TableSource(base, tuple(p.source for p in ordered), kind))
        else:
            tables += [TableSource(p.own_name, (p.source,), kind) for p in group]
    _refuse_same([((t.name, ()), p) for t in tables for p in t.parts[:1]], options.fixed)
    stated = stated_tables(sorted(tables, key=lambda t: t.name), options.read)
    named = {
        *options.named,
        *(name for name, options_of_table in options.read.items() if options_of_table.get("parts")),
    }
    return join_named(stated, shared, named)


def _stated_apart(group: list[_Part], options: ReadOptions) -> bool:
    """Whether competition.toml names one of these files, as a table of its own or as a part."""
    parts = {name for options_of_table in options.read.values() for name in options_of_table.get("parts") or ()}
    several = len(group) > 1
    return several and any(p.own_name in options.named or p.own_name in parts or p.source.name in parts for p in group)


def _below(name: str) -> tuple[str, ...]:
    """Return the plain folders of a file and its kind: what files of one table in Hive folders have in common."""
    path = PurePosixPath(name)
    return (*(f for f in path.parent.parts if not KEY.fullmatch(f)), kind_of(name))


def _leaves_of_several(names: Collection[str]) -> set[tuple[str, ...]]:
    """Return where one Hive folder holds files of two names that are no numbers: two tables, such as train and test."""
    stems: dict[tuple[str, str], set[str]] = {}
    for name in names:
        path = PurePosixPath(name)
        if any(KEY.fullmatch(f) for f in path.parent.parts):
            stems.setdefault((str(path.parent), kind_of(name)), set()).add(_bare(without_endings(path.name)))
    several = {leaf for leaf, bare_names in stems.items() if len(bare_names) > 1}
    return {_below(n) for n in names if (str(PurePosixPath(n).parent), kind_of(n)) in several}


def _bare(stem: str) -> str:
    """Return a file's name without numbers, UUIDs and the words that only say that it is a part."""
    stem = "" if SPARK.fullmatch(stem) else OF_SO_MANY.sub("", stem)
    before = None
    while stem != before:
        before, stem = stem, RANDOM.sub("", stem)
        stem = NUMBERED.sub("", stem) if stem == before else stem
    return "" if stem.lower() in (*GENERAL, "part") else stem


def _part(source: SourceFile, name: str, shared: str, *, keeps_stem: bool) -> _Part:
    path = PurePosixPath(name)
    keys = tuple((m[1], unquote(m[2])) for folder in path.parent.parts if (m := KEY.fullmatch(folder)))
    folders = [without_endings(f) for f in path.parent.parts if not KEY.fullmatch(f)]
    stem = without_endings(path.name)
    is_marked = bool(keys)
    if SPARK.fullmatch(stem) or OF_SO_MANY.search(stem):
        stem, is_marked = ("" if SPARK.fullmatch(stem) else OF_SO_MANY.sub("", stem)), True
    elif numbered := NUMBERED.search(stem):
        stem, is_marked = stem[: numbered.start()], is_marked or bool(numbered[1])
    if keeps_stem:
        stem = _bare(without_endings(path.name))
    elif (keys and (folders or shared)) or (folders and stem.lower() in (*GENERAL, folders[-1].lower())):
        stem = ""  # train/date=2024-01-01/any.parquet, train/data_1.parquet, train/train_1.csv
    base = table_name("/".join([*folders, stem] if stem else folders))
    if not base:
        # part-1.parquet alone in its folder, or in an archive: those have the name.
        holder = PurePosixPath(source.path.stem if source.member else shared)
        base = table_name(holder.name) if is_marked and holder.name else table_name(name)
    return _Part(replace(source, keys=keys), table_name(name), base, is_marked)


def _without_same(parts: list[_Part], options: ReadOptions, unreadable: dict[str, WorkbenchError]) -> list[_Part]:
    """Return the files without those that would become one table and that nothing needs."""
    needed = needed_tables([p.own_name for p in parts], options)
    places: dict[tuple[str, Any], list[_Part]] = {}
    for part in parts:
        places.setdefault((part.own_name, part.source.keys), []).append(part)
    for (name, _), same in places.items():
        if len(same) > 1 and name not in needed:
            names = ", ".join(p.source.name for p in same)
            reason = DataError(f"these files would all become table {name!r}: {names}")
            unreadable |= {p.source.name: reason for p in same}
    return [p for p in parts if p.source.name not in unreadable]


def _refuse_same(keyed_sources: list[tuple[tuple[str, Any], SourceFile]], fixed: Path | None) -> None:
    named: dict[tuple[str, Any], list[SourceFile]] = {}
    for key, source in keyed_sources:
        named.setdefault(key, []).append(source)
    for (name, _), sources in named.items():
        if len(sources) > 1:
            same = ", ".join(place_of(s) for s in sources)
            raise DataError(
                f"these files would all become table {name!r}: {same}", hint=_hint_to_choose(sources, fixed)
            )


def _hint_to_choose(sources: list[SourceFile], fixed: Path | None) -> str:
    """Say how one of several files is chosen: those that only differ in how they are written, by a copy of one."""
    if fixed is None or len({without_endings(s.name) for s in sources}) > 1:
        return "remove all but one of them"
    first = PurePosixPath(sources[0].name)
    return (
        f"copy the one that is right, or the table as you want it, into {fixed / first.parent}, as {first.name} say: "
        f"it is taken in place of all of them, whatever is downloaded again"
    )


def _are_one(group: list[_Part], kind: str) -> bool:
    if len(group) == 1:
        return bool(group[0].source.keys)
    is_marked = all(p.is_marked for p in group)
    if kind == "text":
        return _have_one_header(group)
    if kind == "json":
        return False
    columns = [_columns(p.source, kind) for p in group]
    readable = [c for c in columns if c is not None]
    if kind == "lines":
        # A record may lack a field, but most of them are in both.
        return is_marked or all(c == readable[0] or 2 * len(c & readable[0]) > len(c | readable[0]) for c in readable)
    return is_marked or all(c == readable[0] for c in readable)


def _have_one_header(group: list[_Part]) -> bool:
    try:
        return len({frozenset(header_of(p.source, form_of(p.source, {}))) for p in group}) == 1
    except (DataError, DamagedError):
        # Which of them can't be read, and why, is said where it is converted.
        return False


def _columns(source: SourceFile, kind: str) -> set[str] | None:
    """Return the columns of a part; None where only reading it would tell."""
    try:
        if kind == "lines":
            return set(json.loads(head_of(source).lstrip(b"\xef\xbb\xbf\r\n\t ").partition(b"\n")[0]))
        if source.member is None and source.name.lower().endswith(".parquet"):
            return set(parquet_schema(source.path))
    except (ValueError, TypeError, RecursionError, pl.exceptions.PolarsError):
        return None
    return None


# --------------------------------------------------------------------------------------------------------------- keys


def key_columns(table: TableSource, present: Collection[str], keys: Keys = NO_KEYS) -> pl.DataFrame:
    """Return the columns that Hive folders give, one row for each part; without those that are in the files too.

    Whole numbers and dates (``date=2022-08-01``) are read as such where all values are; all else is text, and so is a
    key that is text in another file.
    """
    names = dict.fromkeys(name for part in table.parts for name, _ in part.keys if name not in present)
    columns = []
    for name in names:
        texts = [dict(part.keys).get(name) for part in table.parts]
        column = _key_column(name, [None if t in (HIVE_NULL, "") else t for t in texts])
        columns.append(column.cast(pl.String) if keys.is_text(name) and column.dtype == pl.Int64 else column)
    return pl.DataFrame(columns)


def _key_column(name: str, texts: list[str | None]) -> pl.Series:
    present = [t for t in texts if t is not None]
    if present and all(re.fullmatch(r"0|-?[1-9]\d{0,17}", t) for t in present):
        return pl.Series(name, [None if t is None else int(t) for t in texts], dtype=pl.Int64)
    try:
        days = [None if t is None else date.fromisoformat(t) for t in texts]
    except ValueError:
        days = []
    if present and days and all(len(t) == 10 for t in present):
        return pl.Series(name, days, dtype=pl.Date)
    return pl.Series(name, texts, dtype=pl.String)


def with_keys(frame: pl.DataFrame, keys: pl.DataFrame, part: int) -> pl.DataFrame:
    """Return the rows of a part with the columns that its folders give."""
    if not keys.width:
        return frame
    return frame.with_columns(pl.lit(k[part], dtype=k.dtype).alias(k.name) for k in keys)
