"""`wb fetch`: from a platform's files to typed Parquet, a definition and a first experiment."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from workbench.cache import file_sha256, lock, read_json, sweep, write_json, write_text
from workbench.competition import (
    FileOptions,
    Manifest,
    create_experiment,
    load_competition,
    read_file_options,
    read_keys,
    read_manifest,
)
from workbench.errors import (
    ConfigError,
    DamagedError,
    DataError,
    NotFoundError,
    WorkbenchError,
    near,
    storage_errors,
)
from workbench.inference import Inferred, baseline_text, definition_text, infer, question, write_starter
from workbench.ingest.archives import EncryptedError, unpack, unpack_tar
from workbench.ingest.convert import NO_OPTIONS, Options, convert, is_table
from workbench.ingest.downloaded import read_as_downloaded, read_text_file
from workbench.ingest.keys import NO_KEYS
from workbench.ingest.sources import block_bytes, sources_in, table_name
from workbench.ingest.unpacked import names_at_top, unpacked_files
from workbench.platforms import CompetitionFacts, Platform, RemoteFile
from workbench.workspace import Workspace

__all__ = [
    "Fetched",
    "convert",
    "fetch",
    "names_at_top",
    "read_as_downloaded",
    "read_text_file",
    "reading_options",
    "sources_in",
    "table_name",
    "unpack",
    "unpacked_files",
]

Report = Callable[[str], None]
Progress = Callable[[int], None]

LISTING = ".listing.json"
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


def fetch(
    workspace: Workspace,
    slug: str,
    platform: Platform,
    *,
    only: Sequence[str] = (),
    force: bool = False,
    report: Report = lambda _: None,
    progress: Progress = lambda _: None,
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
    report : callable
        Called with a line of text for each step.
    progress : callable
        Called with the number of bytes that arrived.

    Raises
    ------
    PlatformError, NotFoundError
        From the platform.
    DataError
        When a file can't become a table, or the definition can't be inferred (the tables are there then).
    BusyError
        When another process fetches the same competition.
    """
    folder = workspace.competitions / slug
    facts = platform.facts(slug)
    files = platform.files(slug)
    wanted = _wanted(files, only, slug)
    options = _with_keys_of(facts, reading_options(folder, workspace.memory_limit))
    data = folder / "data"
    with storage_errors(folder), lock(data / ".fetch.lock", f"the data of {slug!r}"):
        _finish_swap(data)
        changed = _changes(data / "raw", files)
        place = data / "incoming" if changed else data
        if changed:
            report(f"the data of {slug!r} changed on {platform.name}: {_named(changed)}; fetching it beside the old")
        if changed and only:
            wanted = _with_what_was_there(wanted, files, data / "raw")
        raw, tables = place / "raw", place / "tables"
        if changed and _changes(raw, files):
            # It changed again since an earlier try to take the change in.
            shutil.rmtree(raw)
        _sweep_below(folder)
        fetcher = _Fetcher(platform, slug, raw, report, progress)
        for attempt in (1, 2):
            downloaded = fetcher.bring(wanted, files, everything=len(wanted) == len(files), force=force or attempt == 2)
            try:
                # What arrived just now may arrive whole another time; what was kept is as it is on the platform.
                arrived = downloaded if attempt == 1 else ()
                unreadable = _unpack_all(raw, report, arrived=arrived, main=platform.archive(slug))
                manifest = convert(
                    raw,
                    tables,
                    slug,
                    force=force,
                    options=options,
                    report=lambda name: report(f"converting {name}"),
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
        earlier = _swap(data) if changed else None
        manifest = read_manifest(data / "tables", slug=slug)
        _say_how_to_explode(manifest, slug, report)
        _say_what_was_chosen(manifest, slug, report)
        written = []
        if not only:
            _say_unknown_names(options, manifest, report)
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
    for swept in (folder, folder / "experiments", data / "incoming", *below):
        sweep(swept)


def _wanted(files: list[RemoteFile], only: Sequence[str], slug: str) -> list[RemoteFile]:
    if not only:
        return files
    known = {f.name: f for f in files}
    for name in only:
        if name not in known:
            raise NotFoundError(f"{slug!r} has no file {name!r}", hint=near(name, known, what="file"))
    return [known[name] for name in only]


def _with_what_was_there(wanted: list[RemoteFile], files: list[RemoteFile], raw: Path) -> list[RemoteFile]:
    """Return the files that are wanted and those that were fetched before: the new data hold no less than the old."""
    arrived = set(_state(raw)["arrived"])
    if arrived - {f.name for f in files}:  # the archive of all came, or a file that is no longer offered
        return files
    return [f for f in files if f in wanted or f.name in arrived]


# ---------------------------------------------------------------------------------------------------- what is there


def _listed(file: RemoteFile) -> dict[str, Any]:
    return asdict(file) | {"modified_at": file.modified_at.isoformat() if file.modified_at else None}


def _state(raw: Path) -> dict[str, Any]:
    """Return what was listed when the files of `raw` were fetched, and what arrived: {"listed", "arrived"}."""
    try:
        found = read_json(raw / LISTING)
        return {"listed": dict(found["listed"]), "arrived": dict(found["arrived"])}
    except (DamagedError, OSError, KeyError, TypeError, ValueError):
        return {"listed": {}, "arrived": {}}


def _changes(raw: Path, files: list[RemoteFile]) -> list[str]:
    """Return the names of files that are other than when they were fetched, new ones and those that are gone too."""
    before = _state(raw)["listed"]
    if not before:
        return []
    now = {f.name: _listed(f) for f in files}
    return sorted(n for n in before.keys() | now.keys() if _content(before.get(n)) != _content(now.get(n)))


def _content(listed: dict[str, Any] | None) -> Any:
    # Where there is a digest, it decides: a file that was only touched is the same.
    if listed is None:
        return None
    digest = listed["sha256"] or listed["md5"]
    return digest or (listed["size_bytes"], listed["modified_at"])


def _named(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# ------------------------------------------------------------------------------------------------------ downloading


class _Fetcher:
    """Brings files to a folder, and remembers there what came."""

    def __init__(self, platform: Platform, slug: str, raw: Path, report: Report, progress: Progress) -> None:
        self.platform, self.slug, self.raw, self.report, self.progress = platform, slug, raw, report, progress

    def bring(self, wanted: list[RemoteFile], files: list[RemoteFile], *, everything: bool, force: bool) -> list[str]:
        """Download what is missing and return the names."""
        state = _state(self.raw)
        archive = self.platform.archive(self.slug) if everything else None
        if archive is not None and not force and self._is_whole(archive.name, state):
            missing: list[RemoteFile] = []
        else:
            missing = [f for f in wanted if force or not self._is_there(f, state)]
            several = len(missing) == len(wanted) or len(missing) > ONE_BY_ONE
            if archive is not None and missing and several:
                missing = [archive]
        listed = {f.name: _listed(f) for f in files}
        # Noted with the first that arrives: when the rest does not, and it changes meanwhile, the next fetch sees it.
        state["listed"] = state["listed"] or listed
        for file in missing:
            self._download(file, state)
        if missing or state["listed"] != listed:
            write_json(self.raw / LISTING, state | {"listed": listed})
        return [f.name for f in missing]

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
        size = "" if file.size_bytes is None else f" ({file.size_bytes / 2**20:,.1f} MB)"
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
        write_json(self.raw / LISTING, state)


def _unpack_all(
    raw: Path, report: Report, *, arrived: Collection[str], main: RemoteFile | None
) -> dict[str, WorkbenchError]:
    """Unpack what does not become a table; a table stays packed, its Parquet file is what is used.

    Return the archives that can't be read, by their names below `raw`: those beside the data may be damaged, or need a
    password. The archive of all files, and one that can't be trusted, is refused.
    """
    unreadable: dict[str, WorkbenchError] = {}

    def tried(archive: Path, unpack_it: Callable[[], object]) -> bool:
        name = archive.relative_to(raw).as_posix()
        try:
            unpack_it()
        except (DamagedError, EncryptedError) as exc:
            is_main = main is not None and name == main.name
            if is_main or (name in arrived and isinstance(exc, DamagedError)):
                raise
            unreadable[name] = exc
            return False
        return True

    # Twice: an archive inside the archive is there only after the first time.
    for _ in range(2):
        for archive in sorted(p for p in raw.rglob("*.zip") if not p.name.startswith(".")):
            # "train.csv.zip" is a packed table, whatever the file in it is called.
            if not is_table(archive.stem):
                tried(archive, partial(unpack, archive, archive.parent, wanted=lambda name: not is_table(name)))
    for pattern in ("*.tar", "*.tar.gz", "*.tgz", "*.tar.xz", "*.tar.bz2"):
        for archive in sorted(raw.rglob(pattern)):
            done = archive.with_name(f".{archive.name}.unpacked")
            if not done.exists():
                report(f"unpacking {archive.name}")
                if tried(archive, partial(unpack_tar, archive, archive.parent)):
                    done.touch()
    return unreadable


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
    lines = [" ".join(f"#   {e.file}: {e.reason}".split(" ")) for e in manifest.excluded.values()]
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
        raise type(exc)(f"{exc.message}. Left out, for they can't be read: {files}", hint=exc.hint) from exc
    written = []
    if said.is_draft:
        write_text(definition, definition_text(inferred, said) + _excluded_text(manifest))
        written.append(definition)
        for guess in inferred.positives if isinstance(inferred, Inferred) else ():
            if guess.label is None:
                report(f"to be decided in {definition}: {question(guess)} It is asked again by `wb run`")
    if not experiments:
        # Mostly 001; where experiments were run and their files are gone, a number of its own.
        written.append(create_experiment(workspace, folder.name, baseline_text(inferred))[1])
    return written
