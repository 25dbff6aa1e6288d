"""Download a competition's files, and record in their folder which files were listed and which arrived."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from workbench.core.cache import file_sha256, read_json, write_json
from workbench.core.context import RunContext
from workbench.core.errors import DamagedError, UnavailableError
from workbench.core.events import BytesReceived, DownloadStarted
from workbench.core.memory import format_bytes
from workbench.data.ingest.evaluation import LISTING
from workbench.data.ingest.space import Approval, Download, check_space
from workbench.platforms.protocol import Listing, Platform, RemoteFile

RECORD_SHARE = 20
"""Writing the record takes at most a twentieth of the time of downloading."""
MAX_SINGLE_FILES = 20
"""Up to this number, missing files are downloaded one by one; more come in the archive of all files."""


def _listing_entry(file: RemoteFile) -> dict[str, Any]:
    """Return a file of the platform's listing as it is stored in the record."""
    modified_at = file.modified_at.isoformat() if file.modified_at else None
    entry = {"name": file.name, "size_bytes": file.size_bytes, "modified_at": modified_at}
    return entry | {"sha256": file.sha256, "md5": file.md5}


def read_state(raw: Path) -> dict[str, Any]:
    """Read the record of the files in `raw`.

    Returns
    -------
    dict
        "listed": the platform's entries by file; "complete": whether these are all files of the competition;
        "arrived": size, time and hash by downloaded file.
    """
    try:
        state = read_json(raw / LISTING)
        complete = bool(state.get("complete", True))
        return {"listed": dict(state["listed"]), "complete": complete, "arrived": dict(state["arrived"])}
    except (DamagedError, OSError, KeyError, TypeError, ValueError):
        return {"listed": {}, "complete": False, "arrived": {}}


def changed_files(raw: Path, listing: Listing) -> list[str]:
    """Return the names of the files that changed on the platform since they were fetched, appeared or disappeared."""
    state = read_state(raw)
    listed_before = state["listed"]
    if not listed_before:
        return []
    listed_now = {f.name: _listing_entry(f) for f in listing.files}
    names = listed_before.keys() & listed_now.keys()
    if listing.is_complete:
        names |= listed_before.keys() if state["complete"] else state["arrived"].keys() & listed_before.keys()
    if state["complete"] and listing.is_complete:
        names |= listed_now.keys()
    return sorted(n for n in names if not _is_same(listed_before.get(n), listed_now.get(n)))


def _is_same(before: dict[str, Any] | None, now: dict[str, Any] | None) -> bool:
    """Tell whether two listing entries are of the same version of a file; None stands for a file that is not listed."""
    if before is None or now is None:
        return False
    # A hash decides where there is one: the time of an unchanged file may be newer.
    digests = [f["sha256"] or f["md5"] for f in (before, now)]
    if any(digests):
        return bool(digests[0] == digests[1])
    # Only values that both entries have are compared.
    keys = [k for k in ("size_bytes", "modified_at") if before[k] is not None and now[k] is not None]
    return all(before[k] == now[k] for k in keys)


def read_listing(platform: Platform, slug: str, only: Sequence[str], raw: Path) -> Listing:
    """Return the platform's list of files: all of them, or at least those in `only` and those that are in `raw`."""
    arrived = set(read_state(raw)["arrived"])
    if not only:
        return Listing(tuple(platform.files(slug)))
    listing = platform.find(slug, {*only, *arrived})
    if arrived - listing.by_name.keys():  # the archive of all files arrived, or a file that is no longer offered
        return listing if listing.is_complete else Listing(tuple(platform.files(slug)))
    return listing


def wanted_files(listing: Listing, only: Sequence[str], slug: str) -> list[RemoteFile]:
    """Return the files that `only` names, by default all; an unknown name raises."""
    if not only:
        return list(listing.files)
    listing.check(slug, only)
    by_name = listing.by_name
    return [by_name[name] for name in dict.fromkeys(only)]


def with_downloaded(wanted: list[RemoteFile], files: list[RemoteFile], raw: Path) -> list[RemoteFile]:
    """Add the files that were fetched before to the wanted ones, so that the new version has them, too."""
    arrived = set(read_state(raw)["arrived"])
    if arrived - {f.name for f in files}:  # the archive of all files arrived, or a file that is no longer offered
        return files
    return [f for f in files if f in wanted or f.name in arrived]


class Downloader:
    """Downloads files to a folder and records there which ones have arrived."""

    def __init__(self, platform: Platform, slug: str, raw: Path, approval: Approval, context: RunContext) -> None:
        self.platform, self.slug, self.raw, self.approval = platform, slug, raw, approval
        self.context = context
        self._next_write, self._is_recorded = 0.0, True

    def download_missing(self, wanted: list[RemoteFile], listing: Listing, *, force: bool) -> list[str]:
        """Download the wanted files that are missing, with `force` all; return the names of the downloaded files."""
        state = read_state(self.raw)
        wants_all = listing.is_complete and len(wanted) == len(listing.files)
        archive = self.platform.archive(self.slug) if wants_all else None
        if archive is not None and not force and self._is_complete(archive.name, state):
            missing: list[RemoteFile] = []
        else:
            missing = [f for f in wanted if force or not self._has_arrived(f, state)]
        if archive is not None and len(missing) < len(wanted) and len(missing) <= MAX_SINGLE_FILES:
            archive = None
        listed = {f.name: _listing_entry(f) for f in listing.files}
        if not listing.is_complete:
            listed = state["listed"] | listed
        complete = listing.is_complete or state["complete"]
        # Recorded with the first file: if this download is interrupted, the next one can tell which files changed.
        if not state["listed"]:
            state |= {"listed": listed, "complete": complete}
        downloaded = self._download_all(missing, archive, state) if missing else []
        if missing or (state["listed"], state["complete"]) != (listed, complete):
            write_json(self.raw / LISTING, state | {"listed": listed, "complete": complete})
        return downloaded

    def _download_all(self, missing: list[RemoteFile], archive: RemoteFile | None, state: dict[str, Any]) -> list[str]:
        """Download files, in the archive of all files if it is available, and return the names."""
        size = Download.estimate(missing, self.raw, archive=archive)
        check_space(size, self.raw, self.slug, approval=self.approval, is_local=self.platform.is_local)
        try:
            if archive is not None:
                try:
                    self.context.emit(DownloadStarted(archive.size_bytes))
                    self._download(archive, state)
                    # A file on disk takes precedence over the same file in the archive, so old ones must go.
                    self._remove([f.name for f in missing], state)
                    return [archive.name]
                except UnavailableError as exc:
                    self.context.say(f"{exc.message}; fetching its {len(missing):,} files one by one")
            sizes = [f.size_bytes for f in missing]
            total = None if None in sizes else sum(size or 0 for size in sizes)
            self.context.emit(DownloadStarted(total))
            for file in missing:
                self._download(file, state)
            if archive is not None:
                self._remove([archive.name], state)
        finally:
            if not self._is_recorded:
                write_json(self.raw / LISTING, state)
        return [f.name for f in missing]

    def _remove(self, file_names: Iterable[str], state: dict[str, Any]) -> None:
        """Remove files of an earlier download that are replaced by others."""
        for name in file_names:
            if state["arrived"].pop(name, None) is not None:
                (self.raw / name).unlink(missing_ok=True)

    def _is_complete(self, name: str, state: dict[str, Any]) -> bool:
        """Tell whether a downloaded file is on disk as it arrived, by size and time, else by hash."""
        path, arrived = self.raw / name, state["arrived"].get(name)
        if arrived is None or not path.is_file() or path.stat().st_size != arrived["size_bytes"]:
            return False
        return bool(path.stat().st_mtime_ns == arrived["mtime_ns"]) or file_sha256(path) == arrived["sha256"]

    def _has_arrived(self, file: RemoteFile, state: dict[str, Any]) -> bool:
        """Tell whether a file is on disk as the platform lists it; without a listed hash, as it arrived."""
        if file.sha256 is None:
            return self._is_complete(file.name, state)
        path = self.raw / file.name
        return path.is_file() and path.stat().st_size == file.size_bytes and file_sha256(path) == file.sha256

    def _received(self, size_bytes: int) -> None:
        self.context.emit(BytesReceived(size_bytes))

    def _download(self, file: RemoteFile, state: dict[str, Any]) -> None:
        size = "" if file.size_bytes is None else f" ({format_bytes(file.size_bytes)})"
        self.context.stage(f"downloading {file.name}{size}")
        target = self.raw / file.name
        self.platform.download(self.slug, file.name, target, progress=self._received)
        if file.sha256 is not None and not self._has_arrived(file, state):
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
        self._record(state)

    def _record(self, state: dict[str, Any]) -> None:
        """Write the record, but not after each of 100,000 files, which would take longer than downloading them."""
        started_at = time.monotonic()
        self._is_recorded = started_at >= self._next_write
        if self._is_recorded:
            write_json(self.raw / LISTING, state)
            finished_at = time.monotonic()
            self._next_write = finished_at + RECORD_SHARE * (finished_at - started_at)
