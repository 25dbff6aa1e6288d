"""Convert data files to typed Parquet tables and write the manifest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from workbench.core.context import SILENT, RunContext
from workbench.core.errors import DamagedError, DataError, NotFoundError, WorkbenchError
from workbench.data.competition import Manifest, TableInfo, check_table, read_manifest, write_manifest
from workbench.data.ingest.agreement import agree_on_types
from workbench.data.ingest.conversion_job import ConversionJob, GroupConverter
from workbench.data.ingest.excluded import Exclusions, NoTableError, lacking_roles, needed_tables
from workbench.data.ingest.formats import ENDINGS, FORMATS
from workbench.data.ingest.grouping import tables_in
from workbench.data.ingest.key_evidence import find_keys
from workbench.data.ingest.keys import Keys, is_numeric, name_of
from workbench.data.ingest.sources import NO_OPTIONS, ReadOptions, TableSource, options_key, same_source

__all__ = ["Conversion", "convert"]


def convert(
    raw: Path,
    tables: Path,
    slug: str,
    *,
    force: bool = False,
    options: ReadOptions = NO_OPTIONS,
    context: RunContext = SILENT,
) -> Manifest:
    """Convert every data file below `raw` to a Parquet table in `tables`; see `Conversion`."""
    return Conversion(raw, tables, slug, options, context).run(force=force)


@dataclass(frozen=True)
class Conversion:
    """The conversion of a competition's files to tables.

    Attributes
    ----------
    raw, tables : Path
        ``data/raw`` and ``data/tables`` of the competition.
    slug : str
    options : ReadOptions
        The settings of competition.toml, which take precedence over guesses.
    context : RunContext
        Gets a message before each table, and notes on how values are read.
    arrived : collection of str
        The files that were downloaded just now: damage of these raises, even if they are not needed.
    unreadable : mapping
        The errors of archives that can't be unpacked, by their names below `raw`.
    """

    raw: Path
    tables: Path
    slug: str
    options: ReadOptions = NO_OPTIONS
    context: RunContext = SILENT
    arrived: Collection[str] = ()
    unreadable: Mapping[str, WorkbenchError] = field(default_factory=dict)

    def run(self, *, force: bool = False) -> Manifest:
        """Convert the files; unchanged tables stay, unless `force` is set.

        Train, test and the sample must be readable. Other files that can't be read as tables are excluded, and listed
        in the manifest with the reasons.

        Returns
        -------
        Manifest
            Also written next to the tables, after all of them.

        Raises
        ------
        DataError
            When train, test or the sample can't be read, or two files would become the same one of them.
        """
        excluded = Exclusions(self.raw, self.options, self.arrived)
        planned = self._planned_tables(excluded)
        with ExitStack() as archives:
            for archive in {part.archive for table in planned for part in table.parts if part.archive is not None}:
                archives.callback(archive.close)
            return self._convert(planned, excluded, force=force)

    def _convert(self, planned: list[TableSource], excluded: Exclusions, *, force: bool) -> Manifest:
        needed = needed_tables([t.name for t in planned], self.options)
        if not force:
            planned = self._without_excluded(planned, needed, excluded)
        _report_joined(planned, self.context)
        _report_fixed(planned, self.options, self.context)
        options = replace(self.options, keys=find_keys(planned, self.options))
        infos = {} if force else self._unchanged_tables(planned, options)
        while True:
            job = ConversionJob(self.tables, options, self.context)
            converter = GroupConverter(job, needed, excluded, self.slug)
            infos |= _convert_stale(planned, infos, converter)
            planned = [t for t in planned if t.name not in excluded.files]
            mixed_columns = _columns_of_mixed_types(infos, options.keys)
            if not mixed_columns:
                break
            self.context.say(
                f"{', '.join(sorted(mixed_columns))}: not a number in every table; read as text in all of them"
            )
            options = replace(options, keys=options.keys.with_text(mixed_columns))
            infos = {
                name: info
                for name, info in infos.items()
                if not any(column in mixed_columns and is_numeric(dtype) for column, dtype in info.dtypes.items())
            }
        self._check_train(infos, converter)
        infos |= agree_on_types([t for t in planned if t.is_train_or_test], infos, job)
        manifest = Manifest({t.name: infos[t.name] for t in planned if t.name in infos}, excluded.files)
        write_manifest(self.tables, manifest)
        for path in self.tables.glob("*.parquet"):
            if path.stem not in manifest.tables:
                path.unlink()
        return manifest

    # ------------------------------------------------------------------------------------------------------- planning

    def _planned_tables(self, excluded: Exclusions) -> list[TableSource]:
        """Return the tables that the files become; unneeded files that can't be read are excluded.

        Raises
        ------
        DataError
            When there are none, or no table is called train or test while an archive can't be read.
        """
        errors = dict(self.unreadable)
        tables = tables_in(self.raw, self.options, errors)
        lacks_role = bool(lacking_roles([t.name for t in tables], self.options))
        for name, exc in errors.items():
            is_damaged_download = isinstance(exc, DamagedError) and name in self.arrived
            if is_damaged_download or not tables or (lacks_role and name.lower().endswith(".zip")):
                raise exc
            excluded.add(name, exc)
        if not tables:
            raise DataError(f"{self.raw} has no file that can become a table (expected {', '.join(ENDINGS)})")
        return tables

    def _without_excluded(
        self, planned: list[TableSource], needed: set[str], excluded: Exclusions
    ) -> list[TableSource]:
        """Exclude the tables again that an earlier conversion excluded, if their files are unchanged."""
        try:
            earlier = read_manifest(self.tables, slug=self.slug).excluded
        except (NotFoundError, DamagedError):
            return planned
        candidates = {t.name for t in planned if t.name in earlier and t.name not in needed}
        return [t for t in planned if t.name not in candidates or not excluded.keep(t.name, earlier[t.name], t)]

    def _unchanged_tables(self, planned: list[TableSource], options: ReadOptions) -> dict[str, TableInfo]:
        """Return the entries of the tables that need no conversion: with the same files and settings, and undamaged."""
        try:
            manifest = read_manifest(self.tables, slug=self.slug)
        except (NotFoundError, DamagedError):
            return {}
        unchanged = {}
        for table in planned:
            info = manifest.tables.get(table.name)
            if info is None or info.options != options_key(table, options) or not same_source(table, info):
                continue
            try:
                check_table(self.tables, info, slug=self.slug)
            except DamagedError:
                continue
            if not _has_lost_spelling(info, options):
                unchanged[table.name] = info
        return unchanged

    def _check_train(self, infos: Mapping[str, TableInfo], converter: GroupConverter) -> None:
        """Refuse a conversion that excluded every table that may be train, or all tables.

        If no table is called train, any table other than test and the sample may be train.
        """
        excluded = converter.excluded
        lacks_train = "train" not in self.options.roles and "train" in lacking_roles(infos, self.options)
        has_no_train = not infos or (lacks_train and infos.keys() <= converter.needed)
        if not excluded.failed or not has_no_train:
            return
        if len(excluded.failed) == 1 and not any(isinstance(exc, NoTableError) for exc, _ in excluded.failed.values()):
            ((exc, table),) = excluded.failed.values()
            raise converter.explained(exc, [table]) from exc
        reasons = "; ".join(f"{e.file}: {e.reason}" for e in excluded.files.values())
        fixed = self.options.fixed
        hint = (
            "" if fixed is None else f"a fixed copy in {fixed} replaces such a file; then `wb fetch {self.slug}` again"
        )
        kind = "the train" if infos else "a"
        raise DataError(f"{self.raw} has no file that can become {kind} table: {reasons}", hint=hint)


def _convert_stale(
    planned: list[TableSource], infos: Mapping[str, TableInfo], converter: GroupConverter
) -> dict[str, TableInfo]:
    """Convert the groups in which a table has no entry yet, format by format."""
    groups = _groups(planned)
    converted: dict[str, TableInfo] = {}
    for format_name, file_format in FORMATS.items():
        format_groups = [group for group in groups if group[0].kind == format_name]
        stale = [group for group in format_groups if not all(t.name in infos for t in group)]
        converted |= file_format.convert(format_groups, stale, converter)
    return converted


def _groups(tables: list[TableSource]) -> list[list[TableSource]]:
    """Group the tables that share their types: those of train and test in some formats; others are alone."""
    type_sharing_formats = [name for name, file_format in FORMATS.items() if file_format.shares_types]
    shared_groups = [[t for t in tables if t.is_train_or_test and t.kind == name] for name in type_sharing_formats]
    nonempty_groups = [group for group in shared_groups if group]
    return nonempty_groups + [[t] for t in tables if not any(t in group for group in nonempty_groups)]


def _columns_of_mixed_types(infos: dict[str, TableInfo], keys: Keys) -> set[str]:
    """Return the key and code columns that are text in one table and numbers, which lost their spelling, in another."""
    types_by_name: dict[str, set[str]] = {}
    for info in infos.values():
        for column, dtype in info.dtypes.items():
            types_by_name.setdefault(name_of(column), set()).add("number" if is_numeric(dtype) else dtype)
    mixed_names = {name for name, types in types_by_name.items() if {"number", "String"} <= types}
    numeric_columns = {
        (column, dtype)
        for info in infos.values()
        for column, dtype in info.dtypes.items()
        if is_numeric(dtype) and name_of(column) in mixed_names
    }
    # Codes that are integers throughout a table keep their spelling there.
    columns_losing_spelling = {
        c for c, t in numeric_columns if keys.kind(c) == "key" or (keys.kind(c) == "code" and t.startswith("Float"))
    }
    return {c for c in columns_losing_spelling if not keys.is_text(c)}


def _has_lost_spelling(info: TableInfo, options: ReadOptions) -> bool:
    """Tell whether a key of a table was converted without keeping its spelling, or as a number that must be text."""
    keys = options.keys
    columns = [c for c in info.dtypes if keys.kind(c) and not options.stated_type(info.name, c)]
    return any(
        (keys.kind(c) == "key" and info.may_have_lost_spelling(c)) or (keys.is_text(c) and is_numeric(info.dtypes[c]))
        for c in columns
    )


def _report_joined(tables: list[TableSource], context: RunContext) -> None:
    """Report the tables whose parts are named by words, or get a column that identifies the part."""
    for table in tables:
        # The values of Hive folders are in the files' names.
        part_columns = dict.fromkeys(k for p in table.parts for k, _ in p.keys if f"{k}=" not in p.name)
        if table.by_words or part_columns:
            column_note = f"; column {', '.join(part_columns)!r} says which" if part_columns else ""
            files = ", ".join(p.name for p in table.parts[:20]) + " and more" * (len(table.parts) > 20)
            context.say(f"{table.name} is {len(table.parts)} files, one after the other: {files}{column_note}")


def _report_fixed(tables: list[TableSource], options: ReadOptions, context: RunContext) -> None:
    """Report the files that the user's corrected copies replace."""
    for table in tables:
        for part in table.parts:
            if options.fixed is not None and part.path.is_relative_to(options.fixed):
                context.say(f"{table.name} from your fixed copy {part.path}")
