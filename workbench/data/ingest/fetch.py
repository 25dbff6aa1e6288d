"""`wb fetch`: from a platform's files to typed Parquet, a definition and a first experiment."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.core.cache import lock, sweep, write_text
from workbench.core.context import SILENT, RunContext
from workbench.core.errors import (
    ConfigError,
    DamagedError,
    DataError,
    near,
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
    baseline_text,
    definition_text,
    infer,
    question,
    submission_text,
    write_starter,
)
from workbench.data.ingest.archives_below import unpack_below
from workbench.data.ingest.convert import convert
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
from workbench.platforms.protocol import CompetitionFacts, Platform, RemoteFile

USUAL_APPROVAL = Approval()


Report = Callable[[str], None]


@dataclass(frozen=True)
class Fetched:
    """What `fetch` brought: the tables, and the files that it wrote because they were not there.

    `facts` is what the platform says of the competition; `earlier` is the folder where the data that it replaced went,
    None where nothing was replaced; `fixed` is the folder of files that are taken in place of those that were fetched.
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
    only: Sequence[str] = (),
    force: bool = False,
    approval: Approval = USUAL_APPROVAL,
    context: RunContext = SILENT,
) -> Fetched:
    """Bring a competition's data: download, verify, unpack, convert, and write what is not there yet.

    A definition and experiments that are there stay as they are. What was downloaded and converted before, and is
    whole, is not done again. Data that changed on the platform is fetched beside the old, which goes to
    ``data/earlier/`` once the new is ready.

    Parameters
    ----------
    workspace : Workspace
        Its memory limit, where it has one, makes less of a file be read at a time.
    slug : str
    platform : Platform
    only : sequence of str
        Only these files, by the platform's names; no definition is written.
    force : bool
        Download and convert everything again.
    approval : Approval
        What may be downloaded without asking, and who is asked for more.
    context : RunContext
        Told of each step, of how many bytes will arrive, and of those that do.

    Raises
    ------
    PlatformError, NotFoundError
        From the platform.
    DataError
        When a file can't become a table, or the definition can't be inferred (the tables are there then).
    StorageError, ConfigError
        When the disk has no room for what is to be downloaded, or nobody has agreed to that much.
    BusyError
        When another process fetches the same competition.
    """
    folder, report = workspace.competitions / slug, context.say
    facts = platform.facts(slug)
    listing = read_listing(platform, slug, only, folder / "data" / "raw")
    files = list(listing.files)
    wanted = wanted_files(listing, only, slug)
    _check_names(wanted, platform, slug, folder / "data" / "raw")
    options = _with_keys_of(facts, reading_options(folder, workspace.memory_limit))
    data = folder / "data"
    with storage_errors(folder), lock(data / ".fetch.lock", f"the data of {slug!r}"):
        finish_swap(data)
        changed = changed_files(data / "raw", listing)
        place = data / "incoming" if changed else data
        if changed:
            report(f"the data of {slug!r} changed on {platform.name}: {_named(changed)}; fetching the new version")
        if changed and only:
            wanted = with_downloaded(wanted, files, data / "raw")
        raw, tables = place / "raw", place / "tables"
        if changed and changed_files(raw, listing):
            # It changed again since an earlier try to take the change in.
            shutil.rmtree(raw)
        _sweep_below(folder)
        downloader = Downloader(platform, slug, raw, approval, context)
        for attempt in (1, 2):
            downloaded = downloader.download_missing(wanted, listing, force=force or attempt == 2)
            try:
                # What arrived just now may arrive whole another time; what was kept is as it is on the platform.
                arrived = downloaded if attempt == 1 else ()
                main = platform.archive(slug)
                unreadable = unpack_below(
                    raw,
                    report,
                    arrived=arrived,
                    downloaded={raw / name for name in read_state(raw)["arrived"]},
                    main=None if main is None else main.name,
                )
                manifest = convert(
                    raw,
                    tables,
                    slug,
                    force=force,
                    options=options,
                    report=report,
                    arrived=arrived,
                    unreadable=unreadable,
                )
                break
            except DamagedError:
                # A download without a digest shows only now that it is damaged, or an earlier one was kept although
                # it is: once more, then it is reported.
                if attempt == 2:
                    raise
                report("the download is damaged; downloading it again")
                downloader.approval = replace(approval, given=True)
        earlier = swap(data) if changed else None
        manifest = read_manifest(data / "tables", slug=slug)
        _say_how_to_explode(manifest, slug, report)
        _say_what_was_chosen(manifest, slug, report)
        written = []
        if not only:
            _say_unknown_names(options, manifest, report)
            server = evaluation_server_in(data / "raw", [f.name for f in files])
            if server is not None:
                report(f"{slug!r} has an evaluation server ({server}): `wb kernel` writes no notebook for one")
            facts = replace(facts, evaluation_server=server)
            written = _write_missing(workspace, folder, manifest, data / "tables", facts, platform.name, report)
            with suppress(ConfigError):  # written by hand, and wrong: `wb run` says so
                competition = load_competition(workspace, slug)
                written += [competition.paths.features] * write_starter(competition)
    return Fetched(facts.slug, facts, manifest, tuple(downloaded), tuple(written), earlier, data / "fixed")


def _with_keys_of(facts: CompetitionFacts, options: ReadOptions) -> ReadOptions:
    """Return the options with the ids, users, items and kinds that the platform names."""
    log = facts.interactions
    of_log = () if log is None else (log.user, log.item, *([log.kind] if log.kind else []))
    return replace(options, keys=options.keys.naming((*facts.id_columns, *of_log)))


def _say_how_to_explode(manifest: Manifest, slug: str, report: Report) -> None:
    for name, info in manifest.tables.items():
        for column in info.lists_of_records:
            report(
                f"{name}: a row has a list of records in {column!r}; for one row each, put [read.{name}] "
                f'explode = "{column}" into competition.toml and `wb fetch {slug}` again'
            )


def _say_what_was_chosen(manifest: Manifest, slug: str, report: Report) -> None:
    """Report the columns whose values could be read otherwise, or are left as text for that."""
    tables_of: dict[tuple[str, str], list[str]] = {}
    for name, info in manifest.tables.items():
        for column, note in info.notes.items():
            tables_of.setdefault((column, note), []).append(name)
    for (column, note), names in tables_of.items():
        report(f"{', '.join(names)}: {column!r} is {note}")
    if tables_of:
        report(f"to read such a column differently, set its type under [types] and `wb fetch {slug}` again")


def _say_unknown_names(options: ReadOptions, manifest: Manifest, report: Report) -> None:
    """Report what ``[types]`` and ``[read]`` name and no table has: it had no effect."""
    by_table = {f"{name}.{column}" for name, info in manifest.tables.items() for column in info.dtypes}
    columns = {column for info in manifest.tables.values() for column in info.dtypes}
    for name in options.types:
        if name not in by_table | columns:
            valid_names = by_table if name.partition(".")[0] in manifest.tables and "." in name else columns
            hint = near(name, valid_names, kind="column")
            report(f"competition.toml: [types] {name!r}: no table has this column; {hint}")
    for name in options.read:
        if name not in manifest.tables:
            hint = near(name, manifest.tables, kind="table")
            report(f"competition.toml: [read.{name}]: there is no table {name!r}; {hint}")


def _sweep_below(folder: Path) -> None:
    """Remove what killed writers left of the definition and of the data, but for the data of earlier."""
    data = folder / "data"
    parts = (p / part for p in (data, data / "incoming") for part in ("raw", "tables"))
    below = {p.parent for part in parts for p in part.rglob(".*.tmp")}
    for swept in (folder, folder / "experiments", data, data / "incoming", *below):
        sweep(swept)


def _check_names(files: list[RemoteFile], platform: Platform, slug: str, raw: Path) -> None:
    """Refuse names that lead out of the folder, or to what is written there about the files."""
    for file in files:
        why = refused_name(file.name, raw)
        if why:
            shown = repr(file.name if len(file.name) <= 100 else f"{file.name[:100]}…")
            raise DataError(
                f"{platform.name} lists a file {shown} of {slug!r}, which {why}; nothing of it is downloaded",
                hint="fetch the others with --only FILE",
            )
    pair = clashing_names([f.name for f in files], raw)
    if pair is not None:
        raise DataError(
            f"{platform.name} lists files {pair[0]!r} and {pair[1]!r} of {slug!r}, which can't both be stored here; "
            "nothing of it is downloaded",
            hint="fetch one of them with --only FILE",
        )


def _excluded_text(manifest: Manifest) -> str:
    """Return comments for the definition on the files that are no tables."""
    if not manifest.excluded:
        return ""
    lines = [f"#   {one_line(f'{e.file}: {e.reason}')}" for e in manifest.excluded.values()]
    first = "# Skipped because they can't be read as tables; a fixed copy in data/fixed replaces such a file:"
    return "\n".join(["", first, *lines, ""])


def _write_missing(
    workspace: Workspace,
    folder: Path,
    manifest: Manifest,
    tables: Path,
    facts: CompetitionFacts,
    platform: str,
    report: Report,
) -> list[Path]:
    definition = folder / "competition.toml"
    experiments = list((folder / "experiments").glob("[0-9]*.toml"))
    stated = read_file_options(definition) if definition.exists() else FileOptions(is_draft=True)
    if not stated.is_draft and experiments:
        return []
    try:
        inferred = infer(manifest, tables, facts, platform, stated=stated)
    except DataError as exc:
        if not manifest.excluded:
            raise
        files = "; ".join(f"{e.file}: {e.reason}" for e in manifest.excluded.values())
        raise type(exc)(
            f"{exc.message}. Skipped because they can't be read: {files}",
            hint=f"{exc.hint}; if a skipped file is needed, put a fixed copy into {folder / 'data' / 'fixed'}",
        ) from exc
    written = []
    if stated.is_draft:
        text = definition_text(inferred, stated) + submission_text(facts, inferred, manifest, stated)
        write_text(definition, text + _excluded_text(manifest))
        written.append(definition)
        for guess in inferred.positives if isinstance(inferred, Inferred) else ():
            if guess.label is None:
                report(f"to be decided in {definition}: {question(guess)} It is asked again by `wb run`")
    if not experiments:
        # Mostly 001; where experiments were run and their files are gone, a number of its own.
        written.append(create_experiment(workspace, folder.name, baseline_text(inferred))[1])
    return written


def _named(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
