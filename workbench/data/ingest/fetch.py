"""`wb fetch`: download a competition's files, convert them, and write a definition and a first experiment."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.core.cache import lock, remove_leftover_files, write_text
from workbench.core.context import SILENT, RunContext
from workbench.core.errors import (
    ConfigError,
    DamagedError,
    DataError,
    did_you_mean,
    storage_errors,
)
from workbench.core.printable import one_line
from workbench.data.competition import (
    FileOptions,
    Manifest,
    create_experiment,
    load_competition,
    read_file_options,
    read_manifest,
)
from workbench.data.inference import (
    Inferred,
    InferredLog,
    baseline_text,
    definition_text,
    infer,
    question,
    submission_text,
    write_starter,
)
from workbench.data.ingest.archives_below import unpack_below
from workbench.data.ingest.convert import Conversion
from workbench.data.ingest.download import (
    Downloader,
    changed_files,
    read_listing,
    read_state,
    wanted_files,
    with_downloaded,
)
from workbench.data.ingest.evaluation import evaluation_server_in
from workbench.data.ingest.file_names import clashing_names, refused_name
from workbench.data.ingest.sources import ReadOptions, reading_options
from workbench.data.ingest.space import Approval
from workbench.data.ingest.swap import finish_swap, swap
from workbench.data.workspace import Workspace
from workbench.platforms.protocol import CompetitionFacts, Listing, Platform, RemoteFile

DEFAULT_APPROVAL = Approval()


@dataclass(frozen=True)
class FetchOptions:
    """What to fetch.

    Attributes
    ----------
    only : sequence of str
        The names of the files to download; by default all. With it, no definition is written.
    force : bool
        Download and convert everything again.
    approval : Approval
        The size up to which downloads need no approval, and how to ask for it.
    """

    only: Sequence[str] = ()
    force: bool = False
    approval: Approval = DEFAULT_APPROVAL


DEFAULT_OPTIONS = FetchOptions()


@dataclass(frozen=True)
class Fetched:
    """The result of `fetch`.

    Attributes
    ----------
    slug : str
    facts : CompetitionFacts
        The platform's facts.
    manifest : Manifest
    downloaded : tuple of str
        The names of the downloaded files.
    written : tuple of Path
        The definition, experiment and features that were written because they did not exist.
    earlier : Path, optional
        The folder of the previous version of the data; None if it was not replaced.
    fixed : Path
        The folder of the user's corrected files.
    """

    slug: str
    facts: CompetitionFacts
    manifest: Manifest
    downloaded: tuple[str, ...]
    written: tuple[Path, ...]
    earlier: Path | None = None
    fixed: Path = Path("data/fixed")


def fetch(
    workspace: Workspace,
    slug: str,
    platform: Platform,
    *,
    options: FetchOptions = DEFAULT_OPTIONS,
    context: RunContext = SILENT,
) -> Fetched:
    """Fetch a competition: download, verify, unpack, convert, and write a definition and an experiment if missing.

    Existing definitions and experiments stay. Files that were downloaded and converted before, and are complete, are
    not processed again. If the data changed on the platform, the new version is fetched next to the old one, which
    goes to ``data/earlier/`` once the new one is complete.

    Parameters
    ----------
    workspace : Workspace
        With a memory limit, less of a file is read at a time.
    slug : str
    platform : Platform
    options : FetchOptions
    context : RunContext
        Gets the steps, the size of the download, and the bytes that arrive.

    Raises
    ------
    PlatformError, NotFoundError
        From the platform.
    DataError
        When a needed file can't become a table, or the definition can't be inferred; then the tables exist.
    StorageError, ConfigError
        When the disk has no room for the download, or nobody approved it.
    BusyError
        When another process fetches the same competition.
    """
    return _Fetch(workspace, slug, platform, options, context).run()


@dataclass(frozen=True)
class _Fetch:
    """One call of `fetch`."""

    workspace: Workspace
    slug: str
    platform: Platform
    options: FetchOptions
    context: RunContext

    @property
    def folder(self) -> Path:
        return self.workspace.competitions / self.slug

    def run(self) -> Fetched:
        data, only = self.folder / "data", self.options.only
        facts = self.platform.facts(self.slug)
        listing = read_listing(self.platform, self.slug, only, data / "raw")
        wanted = wanted_files(listing, only, self.slug)
        self._check_names(wanted)
        read_options = _with_keys_of(facts, reading_options(self.folder, self.workspace.memory_limit))
        with storage_errors(self.folder), lock(data / ".fetch.lock", f"the data of {self.slug!r}"):
            finish_swap(data)
            changed = changed_files(data / "raw", listing)
            target = data / "incoming" if changed else data
            if changed:
                names = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
                self.context.say(
                    f"the data of {self.slug!r} changed on {self.platform.name}: {names}; fetching the new version"
                )
            if changed and only:
                wanted = with_downloaded(wanted, list(listing.files), data / "raw")
            if changed and changed_files(target / "raw", listing):
                # It changed again since an interrupted fetch of the new version.
                shutil.rmtree(target / "raw")
            _sweep_below(self.folder)
            downloaded = self._download_and_convert(target, wanted, listing, read_options)
            earlier = swap(data) if changed else None
            manifest = read_manifest(data / "tables", slug=self.slug)
            self._report_lists(manifest)
            self._report_choices(manifest)
            written: list[Path] = []
            if not only:
                self._report_unknown_names(read_options, manifest)
                facts = replace(facts, evaluation_server=self._evaluation_server(listing))
                written = self._write_missing(manifest, facts)
        return Fetched(facts.slug, facts, manifest, tuple(downloaded), tuple(written), earlier, data / "fixed")

    def _download_and_convert(
        self, target: Path, wanted: list[RemoteFile], listing: Listing, read_options: ReadOptions
    ) -> list[str]:
        """Download missing files to ``target/raw`` and convert them to ``target/tables``; return the downloaded names.

        If a file is damaged, everything is downloaded a second time.
        """
        raw, force = target / "raw", self.options.force
        full_archive = self.platform.archive(self.slug)
        downloader = Downloader(self.platform, self.slug, raw, self.options.approval, self.context)
        for is_retry in (False, True):
            downloaded = downloader.download_missing(wanted, listing, force=force or is_retry)
            # A file that is damaged after the second download is damaged on the platform.
            arrived = () if is_retry else downloaded
            try:
                unreadable = unpack_below(
                    raw,
                    self.context,
                    arrived=arrived,
                    downloaded={raw / name for name in read_state(raw)["arrived"]},
                    main=None if full_archive is None else full_archive.name,
                )
                tables = target / "tables"
                conversion = Conversion(raw, tables, self.slug, read_options, self.context, arrived, unreadable)
                conversion.run(force=force)
                break
            except DamagedError:
                # Without a hash from the platform, damage is noticed only now.
                if is_retry:
                    raise
                self.context.say("the download is damaged; downloading it again")
                downloader.approval = replace(self.options.approval, given=True)
        return downloaded

    def _check_names(self, files: list[RemoteFile]) -> None:
        """Refuse names of files that lead out of ``data/raw``, or that the workbench itself uses there."""
        raw, platform = self.folder / "data" / "raw", self.platform.name
        for file in files:
            reason = refused_name(file.name, raw)
            if reason:
                short_name = repr(file.name if len(file.name) <= 100 else f"{file.name[:100]}…")
                raise DataError(
                    f"{platform} lists a file {short_name} of {self.slug!r}, which {reason}; "
                    "nothing of it is downloaded",
                    hint="fetch the others with --only FILE",
                )
        pair = clashing_names([f.name for f in files], raw)
        if pair is not None:
            raise DataError(
                f"{platform} lists files {pair[0]!r} and {pair[1]!r} of {self.slug!r}, which can't both be stored "
                "here; nothing of it is downloaded",
                hint="fetch one of them with --only FILE",
            )

    def _evaluation_server(self, listing: Listing) -> str | None:
        server = evaluation_server_in(self.folder / "data" / "raw", [f.name for f in listing.files])
        if server is not None:
            self.context.say(
                f"{self.slug!r} has an evaluation server ({server}): `wb kernel` writes no notebook for one"
            )
        return server

    # ------------------------------------------------------------------------------------------------------ reporting

    def _report_lists(self, manifest: Manifest) -> None:
        """Report the columns of lists of records, and how to convert them with a row for each record."""
        for name, info in manifest.tables.items():
            for column in info.lists_of_records:
                self.context.say(
                    f"{name}: a row has a list of records in {column!r}; for one row each, put [read.{name}] "
                    f'explode = "{column}" into competition.toml and `wb fetch {self.slug}` again'
                )

    def _report_choices(self, manifest: Manifest) -> None:
        """Report the columns whose values could be read in another way."""
        tables_by_note: dict[tuple[str, str], list[str]] = {}
        for name, info in manifest.tables.items():
            for column, note in info.notes.items():
                tables_by_note.setdefault((column, note), []).append(name)
        for (column, note), names in tables_by_note.items():
            self.context.say(f"{', '.join(names)}: {column!r} is {note}")
        if tables_by_note:
            self.context.say(
                f"to read such a column differently, set its type under [types] and `wb fetch {self.slug}` again"
            )

    def _report_unknown_names(self, options: ReadOptions, manifest: Manifest) -> None:
        """Report the columns and tables of ``[types]`` and ``[read]`` that do not exist."""
        qualified_columns = {f"{name}.{column}" for name, info in manifest.tables.items() for column in info.dtypes}
        columns = {column for info in manifest.tables.values() for column in info.dtypes}
        for name in options.types:
            if name not in qualified_columns | columns:
                is_qualified = "." in name and name.partition(".")[0] in manifest.tables
                valid_names = qualified_columns if is_qualified else columns
                hint = did_you_mean(name, valid_names, kind="column")
                self.context.say(f"competition.toml: [types] {name!r}: no table has this column; {hint}")
        for name in options.read:
            if name not in manifest.tables:
                hint = did_you_mean(name, manifest.tables, kind="table")
                self.context.say(f"competition.toml: [read.{name}]: there is no table {name!r}; {hint}")

    # -------------------------------------------------------------------------------------------------------- writing

    def _write_missing(self, manifest: Manifest, facts: CompetitionFacts) -> list[Path]:
        """Write the definition, the first experiment and the first features, as far as they do not exist."""
        written = self._write_definition_and_experiment(manifest, facts)
        with suppress(ConfigError):  # `wb run` reports errors in the user's definition
            competition = load_competition(self.workspace, self.slug)
            written += [competition.paths.features] * write_starter(competition)
        return written

    def _write_definition_and_experiment(self, manifest: Manifest, facts: CompetitionFacts) -> list[Path]:
        definition = self.folder / "competition.toml"
        experiments = list((self.folder / "experiments").glob("[0-9]*.toml"))
        stated = read_file_options(definition) if definition.exists() else FileOptions(is_draft=True)
        if not stated.is_draft and experiments:
            return []
        inferred = self._infer(manifest, facts, stated)
        written = []
        if stated.is_draft:
            text = definition_text(inferred, stated) + submission_text(facts, inferred, manifest, stated)
            write_text(definition, text + _excluded_text(manifest))
            written.append(definition)
            for positive_label in inferred.positives if isinstance(inferred, Inferred) else ():
                if positive_label.label is None:
                    self.context.say(
                        f"to be decided in {definition}: {question(positive_label)} It is asked again by `wb run`"
                    )
        if not experiments:
            # Usually 001, but a higher number where experiments were run whose files no longer exist.
            written.append(create_experiment(self.workspace, self.slug, baseline_text(inferred))[1])
        return written

    def _infer(self, manifest: Manifest, facts: CompetitionFacts, stated: FileOptions) -> Inferred | InferredLog:
        """Infer the definition; an error mentions the excluded files, which may be the ones that are missing."""
        try:
            return infer(manifest, self.folder / "data" / "tables", facts, self.platform.name, stated=stated)
        except DataError as exc:
            if not manifest.excluded:
                raise
            files = "; ".join(f"{e.file}: {e.reason}" for e in manifest.excluded.values())
            fixed = self.folder / "data" / "fixed"
            raise type(exc)(
                f"{exc.message}. Skipped because they can't be read: {files}",
                hint=f"{exc.hint}; if a skipped file is needed, put a fixed copy into {fixed}",
            ) from exc


def _with_keys_of(facts: CompetitionFacts, options: ReadOptions) -> ReadOptions:
    """Add the ids, users, items and event types that the platform names to the keys."""
    log = facts.interactions
    log_columns = () if log is None else (log.user, log.item, *([log.kind] if log.kind else []))
    return replace(options, keys=options.keys.naming((*facts.id_columns, *log_columns)))


def _sweep_below(folder: Path) -> None:
    """Remove the temporary files of interrupted processes, but not in earlier versions of the data."""
    data = folder / "data"
    roots = (p / part for p in (data, data / "incoming") for part in ("raw", "tables"))
    parents = {path.parent for root in roots for path in root.rglob(".*.tmp")}
    for swept_folder in (folder, folder / "experiments", data, data / "incoming", *parents):
        remove_leftover_files(swept_folder)


def _excluded_text(manifest: Manifest) -> str:
    """Return comments on the excluded files for the definition."""
    if not manifest.excluded:
        return ""
    lines = [f"#   {one_line(f'{e.file}: {e.reason}')}" for e in manifest.excluded.values()]
    first = "# Skipped because they can't be read as tables; a fixed copy in data/fixed replaces such a file:"
    return "\n".join(["", first, *lines, ""])
