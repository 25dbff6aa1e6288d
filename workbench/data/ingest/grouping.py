"""Group files into tables: numbered parts, folders of parts, and Hive folders."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from workbench.core.errors import DataError, WorkbenchError
from workbench.data.ingest.excluded import needed_tables
from workbench.data.ingest.formats import FORMATS, kind_of
from workbench.data.ingest.named_parts import join_named, natural, stated_tables
from workbench.data.ingest.sources import (
    NO_OPTIONS,
    ReadOptions,
    TableSource,
    place_of,
    sources_in,
    table_name,
    without_endings,
)
from workbench.data.ingest.text import SourceFile

__all__ = ["tables_in"]

HIVE_FOLDER = re.compile(r"([^=]+)=(.*)")
PART_OF_TOTAL = re.compile(r"[-_.]?\d+-of-\d+$")
SPARK_PART = re.compile(r"part-\d+-(tid-\d+|[0-9a-f]{8}-)[\w.-]*")
NUMBERED = re.compile(r"[_\W]*(part)?[_\W]*\d+$", re.IGNORECASE)
GENERAL_NAMES = ("data", "chunk", "shard", "file")
"""Names of parts in a folder that has the name of the table."""
RANDOM_NAME = re.compile(r"[_\W]*([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8,})$", re.IGNORECASE)
"""A UUID, or hex digits of one, which some programs use as names of parts."""
VERSION = re.compile(r"(^|[_\W])(v|ver|version|rev|revision)[_\W]*$", re.IGNORECASE)
"""Words before the number of a version: train_v1 and train_v2 are not parts of one table."""


@dataclass(frozen=True)
class _Part:
    """A file as a possible part of a table.

    Attributes
    ----------
    source : SourceFile
    single_name : str
        The name of the table if the file is one by itself.
    base : str
        The name of the table if the file is a part.
    is_marked : bool
        Whether the name says that the file is a part, rather than only ending in a number.
    """

    source: SourceFile
    single_name: str
    base: str
    is_marked: bool


def tables_in(
    raw: Path, options: ReadOptions = NO_OPTIONS, unreadable: dict[str, WorkbenchError] | None = None
) -> list[TableSource]:
    """Return the tables that the files below `raw` become, by name; parts are in natural order, 2 before 10.

    Parameters
    ----------
    raw : Path
    options : ReadOptions
        May name tables, and the parts of one.
    unreadable : dict, optional
        Gets the errors of unneeded files that can't be read or have the same name as others; by default these raise.

    Raises
    ------
    DataError
        When two files would become the same table, or the parts that competition.toml names are not valid.
    """
    sources = sources_in(raw, options.fixed, unreadable)
    # A single folder around all files is not a part of their names.
    top_folders = {PurePosixPath(s.name).parts[0] for s in sources if len(PurePosixPath(s.name).parts) > 1}
    root = f"{top_folders.pop()}/" if len(top_folders) == 1 and all("/" in s.name for s in sources) else ""
    names = [source.name.removeprefix(root) for source in sources]
    mixed_folders = _mixed_hive_folders(names)
    parts = [
        _part(source, name, root, keeps_stem=_folders_and_kind(name) in mixed_folders)
        for source, name in zip(sources, names, strict=True)
    ]
    if unreadable is not None:
        parts = _without_duplicates(parts, options, unreadable)
    # With the keys: Hive folders may differ only in characters that names of tables do not have: offset=-1, offset=+1.
    _check_unique([((p.single_name, p.source.keys), p.source) for p in parts], options.fixed)
    groups: dict[tuple[str, str], list[_Part]] = {}
    for part in parts:
        groups.setdefault((part.base, kind_of(part.source.name)), []).append(part)
    bases = [base for base, _ in groups]
    tables: list[TableSource] = []
    for (base, kind), group in groups.items():
        other_names = {p.single_name for p in parts if p.base != base or kind_of(p.source.name) != kind}
        is_unused = base not in other_names and base not in {p.single_name for p in group} and bases.count(base) == 1
        is_separate = _is_named_separately(group, options) or VERSION.search(base) is not None
        if is_unused and not is_separate and _are_one(group, kind):
            ordered = sorted(group, key=lambda p: natural(p.source.name))
            tables.append(TableSource(base, tuple(p.source for p in ordered), kind))
        else:
            tables += [TableSource(p.single_name, (p.source,), kind) for p in group]
    _check_unique([((t.name, ()), p) for t in tables for p in t.parts[:1]], options.fixed)
    tables_with_stated = stated_tables(sorted(tables, key=lambda t: t.name), options.read)
    with_stated_parts = (name for name, read_options in options.read.items() if read_options.get("parts"))
    return join_named(tables_with_stated, root, {*options.named, *with_stated_parts})


def _is_named_separately(group: list[_Part], options: ReadOptions) -> bool:
    """Tell whether competition.toml names one of several files, as a table or as a part of one."""
    parts = {name for read_options in options.read.values() for name in read_options.get("parts") or ()}
    names = {*options.named, *parts}
    return len(group) > 1 and any(p.single_name in names or p.source.name in parts for p in group)


def _folders_and_kind(name: str) -> tuple[str, ...]:
    """Return the folders of a file that are no Hive folders, and its format: equal for the files of one Hive table."""
    path = PurePosixPath(name)
    return (*(f for f in path.parent.parts if not HIVE_FOLDER.fullmatch(f)), kind_of(name))


def _mixed_hive_folders(names: Collection[str]) -> set[tuple[str, ...]]:
    """Return, by `_folders_and_kind`, the Hive folders with files of several tables, such as train and test.

    The names of such files differ in more than numbers.
    """
    stems_by_folder: dict[tuple[str, str], set[str]] = {}
    for name in names:
        path = PurePosixPath(name)
        if any(HIVE_FOLDER.fullmatch(f) for f in path.parent.parts):
            stems = stems_by_folder.setdefault((str(path.parent), kind_of(name)), set())
            stems.add(_stem_without_part(without_endings(path.name)))
    mixed_folders = {folder for folder, stems in stems_by_folder.items() if len(stems) > 1}
    return {_folders_and_kind(n) for n in names if (str(PurePosixPath(n).parent), kind_of(n)) in mixed_folders}


def _stem_without_part(stem: str) -> str:
    """Return a stem without numbers, UUIDs and words such as "part"."""
    stem = "" if SPARK_PART.fullmatch(stem) else PART_OF_TOTAL.sub("", stem)
    previous = None
    while stem != previous:
        previous, stem = stem, RANDOM_NAME.sub("", stem)
        stem = NUMBERED.sub("", stem) if stem == previous else stem
    return "" if stem.lower() in (*GENERAL_NAMES, "part") else stem


def _part(source: SourceFile, name: str, root: str, *, keeps_stem: bool) -> _Part:
    """Return a file as a possible part.

    Parameters
    ----------
    name : str
        The path of the file without `root`.
    root : str
        The folder around all files, with a slash; "" for none.
    keeps_stem : bool
        Whether the stem tells apart several tables in one Hive folder.
    """
    path = PurePosixPath(name)
    keys = tuple((m[1], unquote(m[2])) for folder in path.parent.parts if (m := HIVE_FOLDER.fullmatch(folder)))
    folders = [without_endings(f) for f in path.parent.parts if not HIVE_FOLDER.fullmatch(f)]
    stem = without_endings(path.name)
    is_marked = bool(keys)
    if SPARK_PART.fullmatch(stem) or PART_OF_TOTAL.search(stem):
        stem, is_marked = ("" if SPARK_PART.fullmatch(stem) else PART_OF_TOTAL.sub("", stem)), True
    elif numbered := NUMBERED.search(stem):
        stem, is_marked = stem[: numbered.start()], is_marked or bool(numbered[1])
    if keeps_stem:
        stem = _stem_without_part(without_endings(path.name))
    elif (keys and (folders or root)) or (folders and stem.lower() in (*GENERAL_NAMES, folders[-1].lower())):
        stem = ""  # train/date=2024-01-01/any.parquet, train/data_1.parquet, train/train_1.csv
    base = table_name("/".join([*folders, stem] if stem else folders))
    if not base:
        # For part-1.parquet, the archive or the folder has the name of the table.
        container = PurePosixPath(source.path.stem if source.member else root)
        base = table_name(container.name) if is_marked and container.name else table_name(name)
    return _Part(replace(source, keys=keys), table_name(name), base, is_marked)


def _without_duplicates(parts: list[_Part], options: ReadOptions, unreadable: dict[str, WorkbenchError]) -> list[_Part]:
    """Move unneeded files that would become the same table to `unreadable`, and return the others."""
    needed = needed_tables([p.single_name for p in parts], options)
    parts_by_name: dict[tuple[str, Any], list[_Part]] = {}
    for part in parts:
        parts_by_name.setdefault((part.single_name, part.source.keys), []).append(part)
    for (name, _), duplicates in parts_by_name.items():
        if len(duplicates) > 1 and name not in needed:
            names = ", ".join(p.source.name for p in duplicates)
            reason = DataError(f"these files would all become table {name!r}: {names}")
            unreadable |= {p.source.name: reason for p in duplicates}
    return [p for p in parts if p.source.name not in unreadable]


def _check_unique(keyed_sources: list[tuple[tuple[str, Any], SourceFile]], fixed: Path | None) -> None:
    """Refuse files with the same key, whose first element is the name of the table."""
    sources_by_key: dict[tuple[str, Any], list[SourceFile]] = {}
    for key, source in keyed_sources:
        sources_by_key.setdefault(key, []).append(source)
    for (name, _), sources in sources_by_key.items():
        if len(sources) > 1:
            places = ", ".join(place_of(s) for s in sources)
            raise DataError(
                f"these files would all become table {name!r}: {places}", hint=_hint_to_choose(sources, fixed)
            )


def _hint_to_choose(sources: list[SourceFile], fixed: Path | None) -> str:
    """Return how to choose one of several files: if only their endings differ, by a copy in the folder `fixed`."""
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
    return FORMATS[kind].are_parts([p.source for p in group], is_marked=all(p.is_marked for p in group))
