"""Data files -> typed Parquet tables with bounded row groups, and the manifest."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from workbench.core.errors import DamagedError, DataError, NotFoundError, WorkbenchError
from workbench.core.temporary import temporary_file
from workbench.data.competition import Manifest, TableInfo, check_table, read_manifest, write_manifest
from workbench.data.ingest.agreement import agreed
from workbench.data.ingest.delimited import Converted, Witnesses, text_tables
from workbench.data.ingest.documents import NoTableError, document_table, shared_orient
from workbench.data.ingest.excluded import (
    UNREADABLE,
    Exclusions,
    lacking_roles,
    needed_tables,
    with_fixed_hint,
)
from workbench.data.ingest.grouping import tables_in
from workbench.data.ingest.key_evidence import find_keys
from workbench.data.ingest.keys import Keys, is_numeric, name_of
from workbench.data.ingest.lines import lines_table
from workbench.data.ingest.parts import parquet_tables
from workbench.data.ingest.sources import (
    FORMATS,
    NO_OPTIONS,
    ReadOptions,
    TableSource,
    first_byte,
    is_lines,
    is_table,
    options_key,
    same_source,
    table_name,
)

__all__ = ["FORMATS", "NO_OPTIONS", "ReadOptions", "convert", "is_table", "table_name"]

Report = Callable[[str], None]
T = TypeVar("T")
NO_FILES: Mapping[str, WorkbenchError] = MappingProxyType({})


def convert(
    raw: Path,
    tables: Path,
    slug: str,
    *,
    force: bool = False,
    options: ReadOptions = NO_OPTIONS,
    report: Report = lambda _: None,
    arrived: Collection[str] = (),
    unreadable: Mapping[str, WorkbenchError] = NO_FILES,
) -> Manifest:
    """Convert every data file under `raw` to a Parquet table; what is already converted and whole stays.

    Train, test and the sample must be readable. Any other file that is no table is left out; the manifest has it, with
    the reason.

    Parameters
    ----------
    raw, tables : Path
        ``data/raw`` and ``data/tables`` of the competition.
    slug : str
    force : bool
        Convert everything again.
    options : ReadOptions
        What competition.toml says; it takes precedence over what the files suggest.
    report : callable
        Called with the name of each table before it is converted.
    arrived : collection of str
        Files that were downloaded just now: one that is damaged raises, also where nothing needs it.
    unreadable : mapping
        Files that are known to be unreadable, by their names below `raw`, with the reason.

    Returns
    -------
    Manifest
        Also written, last, beside the tables.

    Raises
    ------
    DataError
        When train, test or the sample can't be read as a table, or two files would become the same one of them.
    """
    excluded = Exclusions(raw, options, arrived)
    planned = _planned_tables(raw, options, excluded, unreadable, arrived)
    needed = needed_tables([t.name for t in planned], options)
    planned = planned if force else _without_excluded(planned, tables, slug, needed, excluded)
    _say_what_is_joined(planned, report)
    _say_what_is_fixed(planned, options, report)
    options = replace(options, keys=find_keys(planned, options))
    work = _Conversion(tables, options, report, needed, excluded, slug)
    infos = {} if force else _still_good(tables, slug, planned, options)
    documents = [t for t in planned if _is_shared(t) and _is_document(t)]
    is_open = len(documents) > 1 and any(t.name not in infos and first_byte(t.parts[0]) == b"{" for t in documents)
    orient = shared_orient(documents, options) if is_open else None
    while True:
        work = replace(work, options=options)
        planned = [t for t in planned if t.name not in excluded.files]
        groups = _sharing(planned)
        wanted = [group for group in groups if not all(t.name in infos for t in group)]
        infos |= _text_tables([g for g in groups if g[0].kind == "text"], wanted, work)
        for group in wanted:
            if group[0].kind != "text":
                infos |= work.converted(group, partial(_converted, work=work, orient=orient)) or {}
        planned = [t for t in planned if t.name not in excluded.files]
        split = _spelled_two_ways(infos, options.keys)
        if not split:
            break
        report(f"{', '.join(sorted(split))}: not a number everywhere, so that it is text in all tables")
        options = replace(options, keys=options.keys.with_text(split))
        infos = {n: i for n, i in infos.items() if not any(c in split and is_numeric(t) for c, t in i.dtypes.items())}
    _refuse_without_train(infos, work, raw)
    infos |= agreed([t for t in planned if _is_shared(t)], infos, tables, options, report)
    manifest = Manifest({t.name: infos[t.name] for t in planned if t.name in infos}, excluded.files)
    write_manifest(tables, manifest)
    for stale in tables.glob("*.parquet"):
        if stale.stem not in manifest.tables:
            stale.unlink()
    return manifest


def _say_what_is_fixed(tables: list[TableSource], options: ReadOptions, report: Report) -> None:
    for table in tables:
        for part in table.parts:
            if options.fixed is not None and part.path.is_relative_to(options.fixed):
                report(f"{table.name} from your fixed copy {part.path}")


def _refuse_without_train(infos: Mapping[str, TableInfo], work: _Conversion, raw: Path) -> None:
    """Refuse a conversion that has left out every table that may be train, or simply all.

    Where no table is called train, any of those that are neither test nor sample may be it.
    """
    excluded = work.excluded
    lacks_train = "train" not in work.options.roles and "train" in lacking_roles(infos, work.options)
    if not excluded.failed or not (not infos or (lacks_train and infos.keys() <= work.needed)):
        return
    if len(excluded.failed) == 1 and not any(isinstance(exc, NoTableError) for exc, _ in excluded.failed.values()):
        ((exc, table),) = excluded.failed.values()
        raise work.explained(exc, [table]) from exc
    reasons = "; ".join(f"{e.file}: {e.reason}" for e in excluded.files.values())
    fixed = work.options.fixed
    raise DataError(
        f"{raw} has no file that can become {'the train' if infos else 'a'} table: {reasons}",
        hint=""
        if fixed is None
        else f"a fixed copy in {fixed} replaces such a file; then `wb fetch {work.slug}` again",
    )


def _say_what_is_joined(tables: list[TableSource], report: Report) -> None:
    for table in tables:
        # Those of Hive folders are in the files' own names.
        columns = dict.fromkeys(k for p in table.parts for k, _ in p.keys if f"{k}=" not in p.name)
        if table.by_words or columns:
            which = f"; column {', '.join(columns)!r} says which" if columns else ""
            files = ", ".join(p.name for p in table.parts[:20]) + " and more" * (len(table.parts) > 20)
            report(f"{table.name} is {len(table.parts)} files, one after the other: {files}{which}")


def _planned_tables(
    raw: Path,
    options: ReadOptions,
    excluded: Exclusions,
    unreadable: Mapping[str, WorkbenchError],
    arrived: Collection[str],
) -> list[TableSource]:
    """Return the tables that the files become; archives and files that can't be read, and nothing needs, are left out.

    Raises
    ------
    DataError
        When nothing is left, or no table is called train or test while an archive can't be read.
    """
    problems = dict(unreadable)
    tables = tables_in(raw, options, problems)
    lacks = lacking_roles([t.name for t in tables], options)
    for name, exc in problems.items():
        if (
            (isinstance(exc, DamagedError) and name in arrived)
            or not tables
            or (lacks and name.lower().endswith(".zip"))
        ):
            raise exc
        excluded.add(name, exc)
    if not tables:
        raise DataError(f"{raw} has no file that can become a table (expected {', '.join(FORMATS)})")
    return tables


def _without_excluded(
    planned: list[TableSource], tables: Path, slug: str, needed: set[str], excluded: Exclusions
) -> list[TableSource]:
    """Return the tables without those that an earlier conversion left out, as long as their files are the same."""
    try:
        before = read_manifest(tables, slug=slug).excluded
    except (NotFoundError, DamagedError):
        return planned
    still_excluded = {t.name for t in planned if t.name in before and t.name not in needed}
    return [t for t in planned if t.name not in still_excluded or not excluded.keep(t.name, before[t.name], t)]


@dataclass(frozen=True)
class _Conversion:
    """What converting a group of tables takes, and what may be left out of it."""

    tables: Path
    options: ReadOptions
    report: Report
    needed: set[str]
    excluded: Exclusions
    slug: str

    def converted(self, group: list[TableSource], convert_group: Callable[[list[TableSource]], T]) -> T | None:
        """Convert a group; tables that are none, and nothing needs, are left out. None where none remains.

        Raises
        ------
        DataError
            When a table that is needed can't be read.
        """
        while group:
            try:
                return convert_group(group)
            except UNREADABLE as exc:
                spare = [t for t in group if t.name not in self.needed]
                faults = {} if self.excluded.refuses(exc, group) else self._faults(group, spare, exc)
                if not faults:
                    raise self.explained(exc, group) from exc
                for table in spare:
                    if table.name in faults:
                        self.excluded.add(table.name, faults[table.name], table)
                group = [t for t in group if t.name not in faults]
        return None

    def _faults(self, group: list[TableSource], spare: list[TableSource], exc: Exception) -> dict[str, Exception]:
        """Return what is wrong with each table that may be left out: of several, by converting each alone."""
        if len(group) == 1:
            return {t.name: exc for t in spare}
        faults: dict[str, Exception] = {}
        for table in spare:
            with temporary_file(self.tables / "alone") as folder:
                folder.mkdir()
                alone = replace(self, tables=folder, report=lambda _: None)
                try:
                    if table.kind == "text":
                        text_tables([table], alone.tables, self.options, alone.report)
                    else:
                        _converted([table], alone, None)
                except UNREADABLE as fault:
                    faults[table.name] = fault
        return faults

    def explained(self, exc: BaseException, group: list[TableSource]) -> BaseException:
        """Return a failure of tables as it is raised: an error of ours, with a way out."""
        if not isinstance(exc, DataError):
            return exc if isinstance(exc, WorkbenchError) else DataError(f"{group[0].where} can't be read: {exc}")
        return with_fixed_hint(exc, [t for t in group if t.name in self.needed] or group, self.options, self.slug)


def _converted(group: list[TableSource], work: _Conversion, orient: str | None) -> dict[str, TableInfo]:
    """Convert tables that share their types, of any kind but delimited text."""
    if group[0].kind == "parquet":
        return parquet_tables(group, work.tables, work.options, work.report)
    infos = {}
    for table in group:
        work.report(f"converting {table.name}")
        shared = orient if _is_shared(table) else None
        try:
            infos[table.name] = _other_table(table, work.tables, work.options, work.report, shared)
        except NoTableError:
            # A map of labels, annotations of images: as little reason to stop as an image is.
            work.report(f"not converting {table.name}: {table.where} is JSON, but neither records nor columns")
            work.excluded.add(table.name, NoTableError("it is JSON, but neither records nor columns"), table)
    return infos


def _spelled_two_ways(infos: dict[str, TableInfo], keys: Keys) -> set[str]:
    """Return the columns of keys and codes that are numbers in a table, and text in one: a value there is no number."""
    types: dict[str, set[str]] = {}
    for info in infos.values():
        for column, dtype in info.dtypes.items():
            types.setdefault(name_of(column), set()).add("number" if is_numeric(dtype) else dtype)
    two_kinds = {name for name, of in types.items() if {"number", "String"} <= of}
    numbers = {(c, t) for i in infos.values() for c, t in i.dtypes.items() if is_numeric(t) and name_of(c) in two_kinds}
    # A code that is a whole number everywhere in a table has lost nothing there.
    lost = {c for c, t in numbers if keys.kind(c) == "key" or (keys.kind(c) == "code" and t.startswith("Float"))}
    return {c for c in lost if not keys.is_text(c)}


def _text_tables(
    groups: list[list[TableSource]], open_groups: list[list[TableSource]], work: _Conversion
) -> dict[str, TableInfo]:
    """Convert delimited tables; how dates and numbers are written is decided by what all of them show."""
    options = work.options
    witnesses = Witnesses(options)
    wanted = [group for group in groups if group in open_groups]
    for group in groups if wanted else []:
        witnesses.look(group)

    def read(group: list[TableSource]) -> Converted:
        return text_tables(group, work.tables, options, work.report, witnesses)

    conversions = [work.converted(group, read) for group in wanted]
    for index, group in enumerate(wanted):
        conversion = conversions[index]
        # A table that was read later may have shown how an earlier one is meant.
        if conversion is not None and not conversion.holds(options, witnesses.evidence):
            affected = [t for t in group if t.name in conversion.infos]
            work.report(
                f"converting {' and '.join(t.name for t in affected)} again: another table shows what the values mean"
            )
            conversions[index] = work.converted(affected, read)
    return {n: i for one in conversions if one is not None for n, i in one.noted(options, witnesses.evidence).items()}


def _sharing(tables: list[TableSource]) -> list[list[TableSource]]:
    """Return the tables in groups that share their types: those of train and test together, each other one alone."""
    sharing = [t for t in tables if _is_shared(t)]
    groups = [[t for t in sharing if t.kind == kind] for kind in ("text", "parquet")]
    together = [group for group in groups if group]
    return together + [[t] for t in tables if not any(t in group for group in together)]


def _is_shared(table: TableSource) -> bool:
    return re.search(r"(^|_)(train|test)(_|$|ing)", table.name.lower()) is not None


def _still_good(tables: Path, slug: str, planned: list[TableSource], options: ReadOptions) -> dict[str, TableInfo]:
    try:
        manifest = read_manifest(tables, slug=slug)
    except (NotFoundError, DamagedError):
        return {}
    good = {}
    for table in planned:
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


def _has_lost_spelling(info: TableInfo, options: ReadOptions) -> bool:
    """Whether a key of a table was converted as if it were none, or as a number that is text in another file."""
    keys = options.keys
    columns = [c for c in info.dtypes if keys.kind(c) and not options.stated_type(info.name, c)]
    return any(
        (keys.kind(c) == "key" and info.may_have_lost(c)) or (keys.is_text(c) and is_numeric(info.dtypes[c]))
        for c in columns
    )


def _is_document(table: TableSource) -> bool:
    source = table.parts[0]
    return table.kind == "json" and first_byte(source) in (b"[", b"{") and not is_lines(source)


def _other_table(
    table: TableSource, tables: Path, options: ReadOptions, report: Report, orient: str | None
) -> TableInfo:
    if _is_document(table):
        return document_table(table, tables, options, report, orient)
    return lines_table(table, tables, options, report)
