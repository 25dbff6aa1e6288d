"""Provide a competition's files under their own names, by links and by unpacking.

In ``data/raw``, tables stay in the archives that were downloaded. Code that reads the files themselves, such as a
notebook that was written for Kaggle, gets a second folder, where unchanged files are neither linked nor unpacked again.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import IO, Any

from workbench.core.cache import atomic, file_sha256, lock, read_json, write_json
from workbench.core.errors import DamagedError, DataError, NotFoundError, StorageError, storage_errors
from workbench.core.packed import checked_stream, damage_errors, decompressed
from workbench.data.ingest.evaluation import LISTING
from workbench.data.ingest.formats import PACKED
from workbench.data.ingest.sources import is_table, members_of
from workbench.data.ingest.text import SourceFile

__all__ = ["UNPACK_ALL_BYTES", "names_at_top", "unpacked_files"]

UNPACK_ALL_BYTES = 2 << 30
"""Up to this size, the archive of all files is unpacked completely, so that the folder is the same as on Kaggle."""

ASSUMED_RATIO = 10
"""The ratio that is assumed for compressed files, which do not record their unpacked size."""


@dataclass(frozen=True)
class _PackedFile:
    """A file that can be unpacked.

    Attributes
    ----------
    name : str
        Its path once it is unpacked.
    source : SourceFile
    is_compressed : bool
        Whether the source is compressed by itself (gzip and the like), in an archive or not.
    """

    name: str
    source: SourceFile
    is_compressed: bool

    @property
    def unpacked_bytes(self) -> int:
        return self.source.size_bytes * (ASSUMED_RATIO if self.is_compressed else 1)


def unpacked_files(
    raw: Path,
    folder: Path,
    archive: str,
    *,
    is_read: Callable[[str], bool] = lambda _: True,
    report: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Provide the files of a competition in `folder` under their own names.

    Parameters
    ----------
    raw : Path
        The folder of the downloaded files.
    folder : Path
    archive : str
        The name of the archive of all files, which is made for the download and is not a file of the competition.
    is_read : callable
        Called with the name of a file; returns whether it will be read. Other tables stay in their archives, or
        compressed, unless they are in the archive of all files and this has no more than `UNPACK_ALL_BYTES`.
    report : callable
        Called with a line of text for each file that is unpacked.

    Returns
    -------
    list of str
        The files of the archive of all files that stay packed, sorted.

    Raises
    ------
    NotFoundError
        When nothing was downloaded.
    StorageError
        When the disk has not enough room for the files that are read.
    DamagedError
        When a file that is read is damaged in its archive.
    """
    if not raw.is_dir():
        raise NotFoundError(f"no files of the competition in {raw}", hint="`wb fetch SLUG` downloads them")
    record = folder.with_name(f".{folder.name}.json")
    digests = _ArchiveDigests(raw)
    with lock(folder.with_name(f".{folder.name}.lock"), str(folder), wait=True), storage_errors(folder):
        packed_by_name = {p.name: p for p in _packed_files(raw)}
        stamp_by_name = {
            name: stamp
            for name, stamp in _read_stamps(record, digests).items()
            if name in packed_by_name
            and (folder / name).is_file()
            and _stamp(packed_by_name[name], folder, digests) == stamp
        }
        folder.mkdir(parents=True, exist_ok=True)
        _link(raw, folder, "", archive, _with_parents(stamp_by_name))
        in_full_archive = [p for p in packed_by_name.values() if p.source.path == raw / archive and not p.is_compressed]
        missing = [p for p in packed_by_name.values() if p.name not in stamp_by_name]
        needed = [p for p in missing if is_read(p.name)]
        if sum(p.unpacked_bytes for p in in_full_archive) <= min(UNPACK_ALL_BYTES, shutil.disk_usage(folder).free // 2):
            needed += [p for p in in_full_archive if p not in needed and p.name not in stamp_by_name]
        _check_space(folder, needed)
        try:
            for file in _unpack_files(needed, folder, is_read, report):
                stamp_by_name[file.name] = _stamp(file, folder, digests)
        finally:
            write_json(record, {"files": stamp_by_name, "archives": digests.by_name})
    return sorted(p.name for p in in_full_archive if p.name not in stamp_by_name)


def names_at_top(raw: Path, archive: str) -> set[str]:
    """Return the files and folders that `unpacked_files` may create at the top level of its folder."""
    names_on_disk = {p.name for p in raw.glob("*") if not p.name.startswith(".") and p.name != archive}
    return names_on_disk | {PurePosixPath(p.name).parts[0] for p in _packed_files(raw)}


def _packed_files(raw: Path) -> Iterator[_PackedFile]:
    """Yield the tables that are in an archive, or compressed by themselves, and do not also exist unpacked."""
    for parent, subfolders, names in os.walk(raw):
        subfolders[:] = [f for f in subfolders if not (f.startswith(".") and f.endswith(".tmp"))]
        for name in sorted(n for n in names if not n.startswith(".")):
            path = Path(parent, name)
            if path.suffix.lower() == ".zip":
                sources = [s for s in _members(path, raw) if not (raw / s.name).exists()]
                yield from (_PackedFile(s.name, s, is_compressed=False) for s in sources)
            elif path.suffix.lower() in PACKED and is_table(name):
                sources = [SourceFile(path.relative_to(raw).as_posix(), path, size_bytes=path.stat().st_size)]
            else:
                continue
            for source in sources:
                packed_path = PurePosixPath(source.name)
                if packed_path.suffix.lower() in PACKED and not (raw / packed_path.with_suffix("")).exists():
                    yield _PackedFile(str(packed_path.with_suffix("")), source, is_compressed=True)


def _members(archive: Path, raw: Path) -> list[SourceFile]:
    try:
        return members_of(archive, raw)
    except (DamagedError, DataError):
        # Then it is linked like any other file, and code that reads it gets the error.
        return []


class _ArchiveDigests:
    """The SHA-256 of archives, computed only for those that changed since they were downloaded or last hashed."""

    def __init__(self, raw: Path) -> None:
        self.raw = raw
        self.by_name: dict[str, dict[str, Any]] = {}
        with suppress(DamagedError, OSError, KeyError, TypeError, ValueError):
            self.by_name = dict(read_json(raw / LISTING)["arrived"])

    def digest(self, path: Path) -> str:
        """Return the digest of an archive, as 64 hex digits."""
        name, stat = path.relative_to(self.raw).as_posix(), path.stat()
        stamp = {"size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        entry = self.by_name.get(name)
        if not isinstance(entry, dict) or {k: entry.get(k) for k in stamp} != stamp or "sha256" not in entry:
            self.by_name[name] = stamp | {"sha256": file_sha256(path)}
        return str(self.by_name[name]["sha256"])


def _stamp(file: _PackedFile, folder: Path, digests: _ArchiveDigests) -> str:
    """Return the size of an unpacked file and the digest of its archive."""
    return f"{(folder / file.name).stat().st_size} of {digests.digest(file.source.path)}"


def _read_stamps(record: Path, digests: _ArchiveDigests) -> dict[str, str]:
    """Return the recorded stamps by file, and add the recorded digests to `digests`; empty without a valid record."""
    try:
        content = read_json(record)
        digests.by_name |= {str(k): dict(v) for k, v in content["archives"].items()}
        return {str(k): str(v) for k, v in content["files"].items()}
    except (DamagedError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def _with_parents(names: Iterable[str]) -> set[str]:
    return {str(p) for name in names for p in (PurePosixPath(name), *PurePosixPath(name).parents)}


def _link(source: Path, target: Path, below: str, archive: str, unpacked: set[str]) -> None:
    """Link the files of `source` into `target`, keep the `unpacked` ones there, and remove all others.

    Uses the entries of `os.scandir`, because there may be millions of files.
    """
    with os.scandir(target) as entries:
        old_entries = {e.name: e for e in entries}
    with os.scandir(source) as entries:
        for entry in entries:
            name = f"{below}{entry.name}"
            if entry.name.startswith(".") or name == archive:
                continue
            old_entry = old_entries.pop(entry.name, None)
            if entry.is_dir():
                if old_entry is None or not old_entry.is_dir(follow_symlinks=False):
                    _remove(old_entry)
                    (target / entry.name).mkdir()
                _link(Path(entry.path), target / entry.name, f"{name}/", archive, unpacked)
            elif old_entry is None or not _is_same(old_entry, entry):
                _remove(old_entry)
                _link_file(entry, target / entry.name)
    for name, entry in old_entries.items():
        if f"{below}{name}" not in unpacked:
            _remove(entry)
        elif entry.is_dir(follow_symlinks=False):
            _prune(target / name, f"{below}{name}/", unpacked)


def _prune(folder: Path, below: str, unpacked: set[str]) -> None:
    """Remove everything that was not unpacked from a folder that only exists in an archive."""
    with os.scandir(folder) as entries:
        for entry in list(entries):
            if f"{below}{entry.name}" not in unpacked:
                _remove(entry)
            elif entry.is_dir(follow_symlinks=False):
                _prune(folder / entry.name, f"{below}{entry.name}/", unpacked)


def _is_same(link: os.DirEntry[str], file: os.DirEntry[str]) -> bool:
    if link.is_symlink():
        return os.path.realpath(link.path) == os.path.realpath(file.path)
    return link.inode() == (file.stat().st_ino if file.is_symlink() else file.inode())


def _remove(entry: os.DirEntry[str] | None) -> None:
    if entry is None:
        return
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path)
    else:
        Path(entry.path).unlink()


def _link_file(file: os.DirEntry[str], target: Path) -> None:
    path = os.path.realpath(file.path) if file.is_symlink() else file.path
    try:
        os.link(path, target)
    except OSError:  # another disk, or a file system without such links
        target.symlink_to(os.path.realpath(path))


def _check_space(folder: Path, needed: list[_PackedFile]) -> None:
    needed_bytes, free_bytes = sum(p.unpacked_bytes for p in needed), shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        raise StorageError(
            f"unpacking {len(needed)} files to {folder} needs {needed_bytes / 2**30:,.1f} GB, the disk has "
            f"{free_bytes / 2**30:,.1f} GB free",
            hint="free some space, then run it again",
        )


def _unpack_files(
    needed: list[_PackedFile], folder: Path, is_read: Callable[[str], bool], report: Callable[[str], None]
) -> Iterator[_PackedFile]:
    """Unpack files, each completely or not at all, and yield those that were unpacked; each archive is opened once."""
    for path, files in groupby(sorted(needed, key=lambda p: str(p.source.path)), key=lambda p: p.source.path):
        with _opener(path) as open_file:
            for file in files:
                report(f"unpacking {file.name} of {path.name}")
                try:
                    path_of_file = folder / file.name
                    with open_file(file) as source, atomic(path_of_file) as temporary, temporary.open("wb") as out:
                        shutil.copyfileobj(source, out, 1 << 20)
                except DamagedError as exc:
                    if is_read(file.name):
                        raise
                    report(f"{file.name} stays packed: {exc.message}")
                    continue
                yield file


@contextmanager
def _opener(path: Path) -> Iterator[Callable[[_PackedFile], AbstractContextManager[IO[bytes]]]]:
    """Yield a function that opens the files of the archive at `path`, or the compressed file at `path` itself."""
    archive = zipfile.ZipFile(path) if zipfile.is_zipfile(path) else None

    @contextmanager
    def open_file(packed: _PackedFile) -> Iterator[IO[bytes]]:
        member, where = packed.source.member, f"{path}: {packed.name}"
        with ExitStack() as stack:
            file: IO[bytes]
            packed_bytes = path.stat().st_size
            if archive is None or member is None:
                file = stack.enter_context(path.open("rb"))
            else:
                packed_bytes = archive.getinfo(member).compress_size
                with damage_errors(where, "complete"):
                    file = checked_stream(stack.enter_context(archive.open(member)), where, "complete")
            if packed.is_compressed:
                with damage_errors(where, "complete"):
                    unpacked_file = decompressed(file, PurePosixPath(packed.source.name).suffix.lower(), where)
                file = checked_stream(stack.enter_context(unpacked_file), where, "complete", packed_bytes=packed_bytes)
            yield file

    try:
        yield open_file
    finally:
        if archive is not None:
            archive.close()
