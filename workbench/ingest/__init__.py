"""`wb fetch`: from a platform's files to typed Parquet, a definition and a first experiment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workbench.cache import file_sha256, lock, sweep, write_text
from workbench.competition import Manifest
from workbench.errors import DamagedError, storage_errors
from workbench.ingest.convert import convert, unpack
from workbench.ingest.inference import baseline_text, definition_text, infer
from workbench.platforms import Platform, RemoteFile
from workbench.workspace import Workspace

__all__ = ["Fetched", "fetch"]

Report = Callable[[str], None]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Fetched:
    """What `fetch` brought: the tables, and the files that it wrote because they were not there."""

    slug: str
    manifest: Manifest
    downloaded: tuple[str, ...]
    written: tuple[Path, ...]


def fetch(
    workspace: Workspace,
    slug: str,
    platform: Platform,
    *,
    force: bool = False,
    report: Report = lambda _: None,
    progress: Progress = lambda _: None,
) -> Fetched:
    """Bring a competition's data: download, verify, unpack, convert, and write what is not there yet.

    A definition and experiments that are there stay as they are. What was downloaded and converted before, and is
    whole, is not done again.

    Parameters
    ----------
    workspace : Workspace
    slug : str
    platform : Platform
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
    raw, tables = folder / "data" / "raw", folder / "data" / "tables"
    with storage_errors(folder), lock(folder / "data" / ".fetch.lock", f"the data of {slug!r}"):
        sweep(raw)
        sweep(tables)
        downloaded = [
            f.name for f in platform.files(slug) if _download(platform, slug, f, raw, force, report, progress)
        ]
        manifest = convert(raw, tables, slug, force=force, report=lambda name: report(f"converting {name}"))
        written = _write_missing(folder, manifest, tables, platform, slug)
    return Fetched(facts.slug, manifest, tuple(downloaded), tuple(written))


def _download(
    platform: Platform, slug: str, file: RemoteFile, raw: Path, force: bool, report: Report, progress: Progress
) -> bool:
    target = raw / file.name
    if not force and _is_there(target, file):
        return False
    report(f"downloading {file.name} ({file.size_bytes / 2**20:,.1f} MB)")
    platform.download(slug, file.name, target, progress=progress)
    if not _is_there(target, file):
        raise DamagedError(
            f"{target} has another size or hash than the {file.size_bytes:,} bytes that were announced",
            hint=f"`wb fetch {slug} --force` downloads it again",
        )
    if target.suffix == ".zip":
        report(f"unpacking {file.name}")
        unpack(target, raw)
    return True


def _is_there(target: Path, file: RemoteFile) -> bool:
    if not target.is_file() or target.stat().st_size != file.size_bytes:
        return False
    return file.sha256 is None or file_sha256(target) == file.sha256


def _write_missing(folder: Path, manifest: Manifest, tables: Path, platform: Platform, slug: str) -> list[Path]:
    definition, first = folder / "competition.toml", folder / "experiments" / "001.toml"
    experiments = list((folder / "experiments").glob("[0-9]*.toml"))
    if definition.exists() and experiments:
        return []
    inferred = infer(manifest, tables, platform.facts(slug), platform.name)
    written = []
    if not definition.exists():
        write_text(definition, definition_text(inferred))
        written.append(definition)
    if not experiments:
        write_text(first, baseline_text(inferred))
        written.append(first)
    return written
