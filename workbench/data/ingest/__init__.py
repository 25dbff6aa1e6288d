"""`wb fetch`: from a platform's files to typed Parquet, a definition and a first experiment."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.core.cache import file_sha256, lock, read_json, sweep, write_json, write_text
from workbench.core.errors import (
    ConfigError,
    DamagedError,
    DataError,
    NotFoundError,
    UnavailableError,
    near,
    storage_errors,
)
from workbench.core.memory import shown_bytes
from workbench.core.printable import one_line
from workbench.data.competition import (
    FileOptions,
    Manifest,
    create_experiment,
    load_competition,
    read_file_options,
    read_keys,
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
from workbench.data.ingest.archives import unpack
from workbench.data.ingest.archives_below import unpack_below
from workbench.data.ingest.convert import NO_OPTIONS, Options, convert
from workbench.data.ingest.downloaded import read_as_downloaded, read_parquet_as_text, read_text_file
from workbench.data.ingest.evaluation import LISTING, evaluation_server_in, evaluation_server_of
from workbench.data.ingest.file_names import clashing_names, refused_name
from workbench.data.ingest.grouping import tables_in
from workbench.data.ingest.keys import NO_KEYS
from workbench.data.ingest.sources import block_bytes, sources_in, table_name
from workbench.data.ingest.space import Approval, Download, check_space
from workbench.data.ingest.unpacked import names_at_top, unpacked_files
from workbench.data.workspace import Workspace
from workbench.platforms.protocol import CompetitionFacts, Listing, Platform, RemoteFile

__all__ = [
    "Approval",
    "Fetched",
    "convert",
    "evaluation_server_of",
    "fetch",
    "names_at_top",
    "read_as_downloaded",
    "read_parquet_as_text",
    "read_text_file",
    "reading_options",
    "sources_in",
    "table_name",
    "tables_in",
    "unpack",
    "unpacked_files",
]

Report = Callable[[str], None]
Progress = Callable[[int], None]
Total = Callable[[int | None], None]

NOTED_SHARE = 20
"""Of the time that downloading takes, one part in so many goes into noting what has arrived."""
USUAL_APPROVAL = Approval()
ONE_BY_ONE = 20
"""So many missing files are fetched singly when others are there already; more come in the archive of all."""


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


def fetch(  # noqa: PLR0913 what the command may be asked
    workspace: Workspace,
    slug: str,
    platform: Platform,
    *,
    only: Sequence[str] = (),
    force: bool = False,
    approval: Approval = USUAL_APPROVAL,
    report: Report = lambda _: None,
    progress: Progress = lambda _: None,
    total: Total = lambda _: None,
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
    report : callable
        Called with a line of text for each step.
    progress : callable
        Called with the number of bytes that arrived.
    total : callable
        Called with the number of bytes that will arrive, None where the platform does not say, before the first does.

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
    folder = workspace.competitions / slug
    facts = platform.facts(slug)
    listing = _listing(platform, slug, only, folder / "data" / "raw")
    files = list(listing.files)
    wanted = _wanted(listing, only, slug)
    _check_names(wanted, platform, slug, folder / "data" / "raw")
    options = _with_keys_of(facts, reading_options(folder, workspace.memory_limit))
    data = folder / "data"
    with storage_errors(folder), lock(data / ".fetch.lock", f"the data of {slug!r}"):
        _finish_swap(data)
        changed = _changes(data / "raw", listing)
        place = data / "incoming" if changed else data
        if changed:
            report(f"the data of {slug!r} changed on {platform.name}: {_named(changed)}; fetching it beside the old")
        if changed and only:
            wanted = _with_what_was_there(wanted, files, data / "raw")
        raw, tables = place / "raw", place / "tables"
        if changed and _changes(raw, listing):
            # It changed again since an earlier try to take the change in.
            shutil.rmtree(raw)
        _sweep_below(folder)
        fetcher = _Fetcher(platform, slug, raw, approval, report=report, progress=progress, total=total)
        for attempt in (1, 2):
            downloaded = fetcher.bring(wanted, listing, force=force or attempt == 2)
            try:
                # What arrived just now may arrive whole another time; what was kept is as it is on the platform.
                arrived = downloaded if attempt == 1 else ()
                main = platform.archive(slug)
                unreadable = unpack_below(
                    raw,
                    report,
                    arrived=arrived,
                    downloaded={raw / name for name in _state(raw)["arrived"]},
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
                # it is: once more, then it is told.
                if attempt == 2:
                    raise
                report("what arrived is damaged; downloading it again")
                fetcher.approval = replace(approval, given=True)
        earlier = _swap(data) if changed else None
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
                written += [competition.features_path] * write_starter(competition)
    return Fetched(facts.slug, facts, manifest, tuple(downloaded), tuple(written), earlier, data / "fixed")


def reading_options(folder: Path, memory_limit: int | None) -> Options:
    """Return what a competition's definition says of how its files are read, within a limit of memory."""
    path = folder / "competition.toml"
    options = NO_OPTIONS
    if path.exists():
        said = read_file_options(path)
        named = tuple(name for name in said.tables.values() if name)
        usual: dict[str, str | bool] = {}
        if not said.is_draft:
            usual = {role: role for role in ("train", "test", "sample_submission")}
        keys = NO_KEYS.naming(read_keys(path))
        options = Options(said.read, said.types, keys=keys, named=named, roles={**usual, **said.tables})
    options = replace(options, fixed=folder / "data" / "fixed")
    return options if memory_limit is None else replace(options, block_bytes=block_bytes(memory_limit))


def _with_keys_of(facts: CompetitionFacts, options: Options) -> Options:
    """Return the options with the ids, users, items and kinds that the platform names."""
    log = facts.interactions
    of_log = () if log is None else (log.user, log.item, *([log.kind] if log.kind else []))
    return replace(options, keys=options.keys.naming((*facts.id_columns, *of_log)))


def _say_how_to_explode(manifest: Manifest, slug: str, report: Report) -> None:
    for name, info in manifest.tables.items():
        for column in info.lists_of_records:
            report(
                f"{name}: a row has a list of records in {column!r}; for a row each, put [read.{name}] "
                f'explode = "{column}" into competition.toml and `wb fetch {slug}` again'
            )


def _say_what_was_chosen(manifest: Manifest, slug: str, report: Report) -> None:
    """Report the columns whose values could be read otherwise, or are left as text for that."""
    said: dict[tuple[str, str], list[str]] = {}
    for name, info in manifest.tables.items():
        for column, note in info.notes.items():
            said.setdefault((column, note), []).append(name)
    for (column, note), names in said.items():
        report(f"{', '.join(names)}: {column!r} is {note}")
    if said:
        report(f"to have such a column read otherwise, name its type under [types] and `wb fetch {slug}` again")


def _say_unknown_names(options: Options, manifest: Manifest, report: Report) -> None:
    """Report what ``[types]`` and ``[read]`` name and no table has: it had no effect."""
    by_table = {f"{name}.{column}" for name, info in manifest.tables.items() for column in info.dtypes}
    columns = {column for info in manifest.tables.values() for column in info.dtypes}
    for name in options.types:
        if name not in by_table | columns:
            known = by_table if name.partition(".")[0] in manifest.tables and "." in name else columns
            report(f"competition.toml: [types] {name!r}: no table has this column; {near(name, known, what='column')}")
    for name in options.read:
        if name not in manifest.tables:
            hint = near(name, manifest.tables, what="table")
            report(f"competition.toml: [read.{name}]: there is no table {name!r}; {hint}")


def _sweep_below(folder: Path) -> None:
    """Remove what killed writers left of the definition and of the data, but for the data of earlier."""
    data = folder / "data"
    parts = (p / part for p in (data, data / "incoming") for part in ("raw", "tables"))
    below = {p.parent for part in parts for p in part.rglob(".*.tmp")}
    for swept in (folder, folder / "experiments", data, data / "incoming", *below):
        sweep(swept)


def _listing(platform: Platform, slug: str, only: Sequence[str], raw: Path) -> Listing:
    """Return the platform's files: all, or enough to tell of those that are wanted and those that are here."""
    arrived = set(_state(raw)["arrived"])
    if not only:
        return Listing(tuple(platform.files(slug)))
    found = platform.find(slug, {*only, *arrived})
    if arrived - found.by_name.keys():  # the archive of all came, or a file that is no longer offered
        return found if found.complete else Listing(tuple(platform.files(slug)))
    return found


def _wanted(listing: Listing, only: Sequence[str], slug: str) -> list[RemoteFile]:
    if not only:
        return list(listing.files)
    listing.check(slug, only)
    known = listing.by_name
    return [known[name] for name in dict.fromkeys(only)]


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
            f"{platform.name} lists files {pair[0]!r} and {pair[1]!r} of {slug!r}, which can't both be had here; "
            "nothing of it is downloaded",
            hint="fetch one of them with --only FILE",
        )


def _with_what_was_there(wanted: list[RemoteFile], files: list[RemoteFile], raw: Path) -> list[RemoteFile]:
    """Return the files that are wanted and those that were fetched before: the new data hold no less than the old."""
    arrived = set(_state(raw)["arrived"])
    if arrived - {f.name for f in files}:  # the archive of all came, or a file that is no longer offered
        return files
    return [f for f in files if f in wanted or f.name in arrived]


# ---------------------------------------------------------------------------------------------------- what is there


def _listed(file: RemoteFile) -> dict[str, Any]:
    modified_at = file.modified_at.isoformat() if file.modified_at else None
    size = {"name": file.name, "size_bytes": file.size_bytes, "modified_at": modified_at}
    return size | {"sha256": file.sha256, "md5": file.md5}


def _state(raw: Path) -> dict[str, Any]:
    """Return what was listed when the files of `raw` were fetched, and what arrived.

    As {"listed", "complete", "arrived"}; `complete` says that "listed" are all the files there were.
    """
    try:
        found = read_json(raw / LISTING)
        complete = bool(found.get("complete", True))
        return {"listed": dict(found["listed"]), "complete": complete, "arrived": dict(found["arrived"])}
    except (DamagedError, OSError, KeyError, TypeError, ValueError):
        return {"listed": {}, "complete": False, "arrived": {}}


def _changes(raw: Path, listing: Listing) -> list[str]:
    """Return the names of files that are other than when they were fetched, new ones and those that are gone too."""
    state = _state(raw)
    before = state["listed"]
    if not before:
        return []
    now = {f.name: _listed(f) for f in listing.files}
    names = before.keys() & now.keys()
    if listing.complete:
        names |= before.keys() if state["complete"] else state["arrived"].keys() & before.keys()
    if state["complete"] and listing.complete:
        names |= now.keys()
    return sorted(n for n in names if not _is_same(before.get(n), now.get(n)))


def _is_same(before: dict[str, Any] | None, now: dict[str, Any] | None) -> bool:
    if before is None or now is None:
        return False
    # Where there is a digest, it decides: a file that was only touched is the same.
    digests = [f["sha256"] or f["md5"] for f in (before, now)]
    if any(digests):
        return bool(digests[0] == digests[1])
    # What one of the two does not say can't differ.
    keys = [k for k in ("size_bytes", "modified_at") if before[k] is not None and now[k] is not None]
    return all(before[k] == now[k] for k in keys)


def _named(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# ------------------------------------------------------------------------------------------------------ downloading


class _Fetcher:
    """Brings files to a folder, and remembers there what came."""

    def __init__(
        self,
        platform: Platform,
        slug: str,
        raw: Path,
        approval: Approval,
        report: Report,
        progress: Progress,
        total: Total,
    ) -> None:
        self.platform, self.slug, self.raw, self.approval = platform, slug, raw, approval
        self.report, self.progress, self.total = report, progress, total
        self.next_note, self.is_noted = 0.0, True

    def bring(self, wanted: list[RemoteFile], listing: Listing, *, force: bool) -> list[str]:
        """Download what is missing and return the names."""
        state = _state(self.raw)
        everything = listing.complete and len(wanted) == len(listing.files)
        archive = self.platform.archive(self.slug) if everything else None
        if archive is not None and not force and self._is_whole(archive.name, state):
            missing: list[RemoteFile] = []
        else:
            missing = [f for f in wanted if force or not self._is_there(f, state)]
        if archive is not None and len(missing) < len(wanted) and len(missing) <= ONE_BY_ONE:
            archive = None
        listed = {f.name: _listed(f) for f in listing.files}
        if not listing.complete:
            listed = state["listed"] | listed
        complete = listing.complete or state["complete"]
        # Noted with the first that arrives: when the rest does not, and it changes meanwhile, the next fetch sees it.
        if not state["listed"]:
            state |= {"listed": listed, "complete": complete}
        downloaded = self._download_all(missing, archive, state) if missing else []
        if missing or (state["listed"], state["complete"]) != (listed, complete):
            write_json(self.raw / LISTING, state | {"listed": listed, "complete": complete})
        return downloaded

    def _download_all(self, missing: list[RemoteFile], archive: RemoteFile | None, state: dict[str, Any]) -> list[str]:
        """Download files, in the archive of all where there is one that can be had, and return the names."""
        size = Download.of(missing, self.raw, archive=archive)
        check_space(size, self.raw, self.slug, approval=self.approval, is_local=self.platform.is_local)
        try:
            if archive is not None:
                try:
                    self.total(archive.size_bytes)
                    self._download(archive, state)
                    # A file on disk goes before the one in the archive: the old ones must not.
                    self._remove([f.name for f in missing], state)
                    return [archive.name]
                except UnavailableError as exc:
                    self.report(f"{exc.message}; fetching its {len(missing):,} files one by one")
            sizes = [f.size_bytes for f in missing]
            self.total(None if None in sizes else sum(size or 0 for size in sizes))
            for file in missing:
                self._download(file, state)
            if archive is not None:
                self._remove([archive.name], state)
        finally:
            if not self.is_noted:
                write_json(self.raw / LISTING, state)
        return [f.name for f in missing]

    def _remove(self, names: Iterable[str], state: dict[str, Any]) -> None:
        """Remove files that arrived earlier, and in whose place others have come."""
        for name in names:
            if state["arrived"].pop(name, None) is not None:
                (self.raw / name).unlink(missing_ok=True)

    def _is_whole(self, name: str, state: dict[str, Any]) -> bool:
        path, arrived = self.raw / name, state["arrived"].get(name)
        if arrived is None or not path.is_file() or path.stat().st_size != arrived["size_bytes"]:
            return False
        return bool(path.stat().st_mtime_ns == arrived["mtime_ns"]) or file_sha256(path) == arrived["sha256"]

    def _is_there(self, file: RemoteFile, state: dict[str, Any]) -> bool:
        if file.sha256 is None:
            return self._is_whole(file.name, state)
        path = self.raw / file.name
        return path.is_file() and path.stat().st_size == file.size_bytes and file_sha256(path) == file.sha256

    def _download(self, file: RemoteFile, state: dict[str, Any]) -> None:
        size = "" if file.size_bytes is None else f" ({shown_bytes(file.size_bytes)})"
        self.report(f"downloading {file.name}{size}")
        target = self.raw / file.name
        self.platform.download(self.slug, file.name, target, progress=self.progress)
        if file.sha256 is not None and not self._is_there(file, state):
            raise DamagedError(
                f"{target} has another size or hash than the {file.size_bytes or 0:,} bytes that were announced",
                hint=f"`wb fetch {self.slug} --force` downloads it again",
            )
        stat = target.stat()
        state["arrived"][file.name] = {
            "size_bytes": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
            "sha256": file_sha256(target),
        }
        self._note(state)

    def _note(self, state: dict[str, Any]) -> None:
        """Write what has arrived, unless that would take more than a small part of the time: of 100,000 files, say."""
        started = time.monotonic()
        self.is_noted = started >= self.next_note
        if self.is_noted:
            write_json(self.raw / LISTING, state)
            ended = time.monotonic()
            self.next_note = ended + NOTED_SHARE * (ended - started)


# ------------------------------------------------------------------------------------------ beside the old, and swap


def _swap(data: Path) -> Path:
    """Put the finished new data in the place of the old, which is kept; the plan is written first."""
    try:
        old = read_manifest(data / "tables", slug=data.parent.name).content[:12]
    except (NotFoundError, DamagedError):
        # What is there was never converted to the end.
        old = "unused"
    write_json(data / "incoming" / "swap.json", {"earlier": old})
    return _finish_swap(data) or data / "earlier" / old


def _finish_swap(data: Path) -> Path | None:
    """Carry out a swap that is planned; does nothing where there is none, and goes on where it was cut off."""
    plan = data / "incoming" / "swap.json"
    if not plan.exists():
        return None
    earlier = data / "earlier" / str(read_json(plan)["earlier"])
    earlier.mkdir(parents=True, exist_ok=True)
    for part in ("raw", "tables"):
        if (data / "incoming" / part).exists():
            if (data / part).exists():
                if (earlier / part).exists():
                    shutil.rmtree(earlier / part)
                (data / part).rename(earlier / part)
            (data / "incoming" / part).rename(data / part)
    plan.unlink()
    return earlier


def _excluded_text(manifest: Manifest) -> str:
    """Return comments for the definition on the files that are no tables."""
    if not manifest.excluded:
        return ""
    lines = [f"#   {one_line(f'{e.file}: {e.reason}')}" for e in manifest.excluded.values()]
    first = "# Left out, for they can't be read as tables; a fixed copy in data/fixed is taken in place of such a file:"
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
    said = read_file_options(definition) if definition.exists() else FileOptions(is_draft=True)
    if not said.is_draft and experiments:
        return []
    try:
        inferred = infer(manifest, tables, facts, platform, said=said)
    except DataError as exc:
        if not manifest.excluded:
            raise
        files = "; ".join(f"{e.file}: {e.reason}" for e in manifest.excluded.values())
        raise type(exc)(
            f"{exc.message}. Left out, for they can't be read: {files}",
            hint=f"{exc.hint}; where one of those left out is needed, a fixed copy in {folder / 'data' / 'fixed'} is "
            "taken in its place",
        ) from exc
    written = []
    if said.is_draft:
        text = definition_text(inferred, said) + submission_text(facts, inferred, manifest, said)
        write_text(definition, text + _excluded_text(manifest))
        written.append(definition)
        for guess in inferred.positives if isinstance(inferred, Inferred) else ():
            if guess.label is None:
                report(f"to be decided in {definition}: {question(guess)} It is asked again by `wb run`")
    if not experiments:
        # Mostly 001; where experiments were run and their files are gone, a number of its own.
        written.append(create_experiment(workspace, folder.name, baseline_text(inferred))[1])
    return written
