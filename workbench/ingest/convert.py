"""Data files -> typed Parquet tables with bounded row groups, and the manifest."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from workbench.competition import Manifest, TableInfo, check_table, read_manifest, write_manifest
from workbench.errors import DamagedError, DataError, NotFoundError
from workbench.ingest.agreement import agreed
from workbench.ingest.delimited import Witnesses, text_tables
from workbench.ingest.documents import NoTableError, document_table, shared_orient
from workbench.ingest.grouping import tables_in
from workbench.ingest.key_evidence import find_keys
from workbench.ingest.keys import Keys, is_numeric, name_of
from workbench.ingest.lines import lines_table
from workbench.ingest.parts import parquet_tables
from workbench.ingest.sources import (
    FORMATS,
    NO_OPTIONS,
    Options,
    Table,
    first_byte,
    is_lines,
    is_table,
    options_key,
    same_source,
    table_name,
)

__all__ = ["FORMATS", "NO_OPTIONS", "Options", "convert", "is_table", "table_name"]

Report = Callable[[str], None]


def convert(
    raw: Path,
    tables: Path,
    slug: str,
    *,
    force: bool = False,
    options: Options = NO_OPTIONS,
    report: Report = lambda _: None,
) -> Manifest:
    """Convert every data file under `raw` to a Parquet table; what is already converted and whole stays.

    Parameters
    ----------
    raw, tables : Path
        ``data/raw`` and ``data/tables`` of the competition.
    slug : str
    force : bool
        Convert everything again.
    options : Options
        What competition.toml says; it goes before what the files suggest.
    report : callable
        Called with the name of each table before it is converted.

    Returns
    -------
    Manifest
        Also written, last, beside the tables.

    Raises
    ------
    DataError
        When a file can't be read as a table, or two files would become the same table.
    """
    found = tables_in(raw, options)
    if not found:
        raise DataError(f"{raw} has no file that can become a table (expected {', '.join(FORMATS)})")
    _say_what_is_joined(found, report)
    options = replace(options, keys=find_keys(found, options))
    infos = {} if force else _still_good(tables, slug, found, options)
    documents = [t for t in found if _is_shared(t) and _is_document(t)]
    is_open = len(documents) > 1 and any(t.name not in infos and first_byte(t.parts[0]) == b"{" for t in documents)
    orient = shared_orient(documents, options) if is_open else None
    while True:
        groups = _sharing(found)
        wanted = [group for group in groups if not all(t.name in infos for t in group)]
        infos |= _text_tables([g for g in groups if g[0].kind == "text"], wanted, tables, options, report)
        for group in wanted:
            if group[0].kind != "text":
                infos |= _converted(group, tables, options, report, orient)
        split = _spelled_two_ways(infos, options.keys)
        if not split:
            break
        report(f"{', '.join(sorted(split))}: not a number everywhere, so that it is text in all tables")
        options = replace(options, keys=options.keys.with_text(split))
        infos = {n: i for n, i in infos.items() if not any(c in split and is_numeric(t) for c, t in i.dtypes.items())}
    if not infos:
        said = ", ".join(t.where for t in found)
        raise DataError(
            f"{raw} has no file that can become a table: {said} is JSON, but neither records nor columns",
            hint="write it as a list of objects, one for each row",
        )
    infos |= agreed([t for t in found if _is_shared(t)], infos, tables, options, report)
    manifest = Manifest({t.name: infos[t.name] for t in found if t.name in infos})
    write_manifest(tables, manifest)
    for stale in tables.glob("*.parquet"):
        if stale.stem not in manifest.tables:
            stale.unlink()
    return manifest


def _say_what_is_joined(found: list[Table], report: Report) -> None:
    for table in found:
        # Those of Hive folders stand in the files' own names.
        columns = dict.fromkeys(k for p in table.parts for k, _ in p.keys if f"{k}=" not in p.name)
        if table.by_words or columns:
            which = f"; column {', '.join(columns)!r} says which" if columns else ""
            files = ", ".join(p.name for p in table.parts[:20]) + " and more" * (len(table.parts) > 20)
            report(f"{table.name} is {len(table.parts)} files, one after the other: {files}{which}")


def _converted(
    group: list[Table], tables: Path, options: Options, report: Report, orient: str | None
) -> dict[str, TableInfo]:
    """Convert tables that share their types, of any kind but delimited text."""
    if group[0].kind == "parquet":
        return parquet_tables(group, tables, options, report)
    infos = {}
    for table in group:
        report(table.name)
        try:
            infos[table.name] = _other_table(table, tables, options, report, orient if _is_shared(table) else None)
        except NoTableError:
            # A map of labels, annotations of images: as little reason to stop as an image is.
            report(f"{table.name} no further: {table.where} is JSON, but neither records nor columns")
    return infos


def _spelled_two_ways(infos: dict[str, TableInfo], keys: Keys) -> set[str]:
    """Return the columns of keys and codes that are numbers in a table, and text in one: a value there is no number."""
    types: dict[str, set[str]] = {}
    for info in infos.values():
        for column, dtype in info.dtypes.items():
            types.setdefault(name_of(column), set()).add("number" if is_numeric(dtype) else dtype)
    both = {name for name, of in types.items() if {"number", "String"} <= of}
    numbers = {(c, t) for i in infos.values() for c, t in i.dtypes.items() if is_numeric(t) and name_of(c) in both}
    # A code that is a whole number everywhere in a table has lost nothing there.
    lost = {c for c, t in numbers if keys.kind(c) == "key" or (keys.kind(c) == "code" and t.startswith("Float"))}
    return {c for c in lost if not keys.is_text(c)}


def _text_tables(
    groups: list[list[Table]], open_groups: list[list[Table]], tables: Path, options: Options, report: Report
) -> dict[str, TableInfo]:
    """Convert delimited tables; how dates and numbers are written is decided by what all of them show."""
    witnesses = Witnesses(options)
    wanted = [group for group in groups if group in open_groups]
    for group in groups if wanted else []:
        witnesses.look(group)
    done = [text_tables(group, tables, options, report, witnesses) for group in wanted]
    for place, group in enumerate(wanted):
        # A table that was read later may have shown how an earlier one is meant.
        if not done[place].holds(options, witnesses.evidence):
            report(f"{' and '.join(t.name for t in group)} again: another table shows how its values are meant")
            done[place] = text_tables(group, tables, options, report, witnesses)
    return {n: info for converted in done for n, info in converted.noted(options, witnesses.evidence).items()}


def _sharing(found: list[Table]) -> list[list[Table]]:
    """Return the tables in groups that share their types: those of train and test together, each other one alone."""
    sharing = [t for t in found if _is_shared(t)]
    groups = [[t for t in sharing if t.kind == kind] for kind in ("text", "parquet")]
    together = [group for group in groups if group]
    return together + [[t] for t in found if not any(t in group for group in together)]


def _is_shared(table: Table) -> bool:
    return re.search(r"(^|_)(train|test)(_|$|ing)", table.name.lower()) is not None


def _still_good(tables: Path, slug: str, found: list[Table], options: Options) -> dict[str, TableInfo]:
    try:
        manifest = read_manifest(tables, slug=slug)
    except (NotFoundError, DamagedError):
        return {}
    good = {}
    for table in found:
        info = manifest.tables.get(table.name)
        if info is None or info.options != options_key(table, options) or not same_source(table, info):
            continue
        try:
            check_table(tables, info, slug=slug)
        except DamagedError:
            continue
        if not _has_lost_spelling(info, options):
            good[table.name] = info
    return good


def _has_lost_spelling(info: TableInfo, options: Options) -> bool:
    """Whether a key of a table was converted as if it were none, or as a number that is text in another file."""
    keys = options.keys
    columns = [c for c in info.dtypes if keys.kind(c) and not options.asked(info.name, c)]
    return any(
        (keys.kind(c) == "key" and info.may_have_lost(c)) or (keys.is_text(c) and is_numeric(info.dtypes[c]))
        for c in columns
    )


def _is_document(table: Table) -> bool:
    source = table.parts[0]
    return table.kind == "json" and first_byte(source) in (b"[", b"{") and not is_lines(source)


def _other_table(table: Table, tables: Path, options: Options, report: Report, orient: str | None) -> TableInfo:
    if _is_document(table):
        return document_table(table, tables, options, report, orient)
    return lines_table(table, tables, options, report)
