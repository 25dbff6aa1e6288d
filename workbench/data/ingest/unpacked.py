"""A competition's files by their names, whatever they were packed in: links, and what had to be unpacked.

``data/raw`` holds what was downloaded, where tables stay in their archives. Who reads the files themselves, as a
notebook that was written for Kaggle does, gets this folder. It is kept: what is there and still the same is neither
linked nor unpacked again.
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
from workbench.data.ingest.sources import PACKED, is_table, members_of
from workbench.data.ingest.text import SourceFile

__all__ = ["UNASKED_BYTES", "names_at_top", "unpacked_files"]

UNASKED_BYTES = 2 << 30
"""So much of the archive of all files is unpacked whoever reads it: then the folder is whole, as on Kaggle."""

GUESSED_RATIO = 10
"""So many times larger a compressed file is taken to become, which doesn't say it."""


@dataclass(frozen=True)
class _Packed:
    """A file that can be unpacked: its name, where it is, and whether it is compressed there beside being packed."""

    name: str
    source: SourceFile
    is_compressed: bool

    @property
    def size(self) -> int:
        return self.source.size_bytes * (GUESSED_RATIO if self.is_compressed else 1)


def unpacked_files(
    raw: Path,
    folder: Path,
    archive: str,
    *,
    is_read: Callable[[str], bool] = lambda _: True,
    report: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Bring the files of a competition to `folder`, by their names; return the files of its archive that stay packed.

    Parameters
    ----------
    raw : Path
        The files as they were downloaded.
    archive : str
        The name of the archive of all files, which is made for the download and is no file of the competition.
    is_read : callable
        Whether a file is read, by its name. Tables of other archives, and those that are compressed by themselves, are
        unpacked only then; those of the archive of all also where they have no more than `UNASKED_BYTES`.

    Raises
    ------
    NotFoundError
        When nothing was downloaded.
    StorageError
        When the disk has not enough room for what is read.
    DamagedError
        When a file that is read is not whole in its archive.
    """
    if not raw.is_dir():
        raise NotFoundError(f"no files of the competition in {raw}", hint="`wb fetch SLUG` brings them")
    note = folder.with_name(f".{folder.name}.json")
    digests = _Digests(raw)
    with lock(folder.with_name(f".{folder.name}.lock"), str(folder), wait=True), storage_errors(folder):
        packed = {p.name: p for p in _packed(raw)}
        stamps = _stamps(note, digests)
        stamps = {
            n: s
            for n, s in stamps.items()
            if n in packed and (folder / n).is_file() and _stamp(packed[n], folder, digests) == s
        }
        folder.mkdir(parents=True, exist_ok=True)
        _link(raw, folder, "", archive, _with_parents(stamps))
        of_all = [p for p in packed.values() if p.source.path == raw / archive and not p.is_compressed]
        missing = [p for p in packed.values() if p.name not in stamps]
        needed = [p for p in missing if is_read(p.name)]
        if sum(p.size for p in of_all) <= min(UNASKED_BYTES, shutil.disk_usage(folder).free // 2):
            needed += [p for p in of_all if p not in needed and p.name not in stamps]
        _check_room(folder, needed)
        try:
            for item in _unpacked(needed, folder, is_read, report):
                stamps[item.name] = _stamp(item, folder, digests)
        finally:
            write_json(note, {"files": stamps, "archives": digests.by_name})
    return sorted(p.name for p in of_all if p.name not in stamps)


def names_at_top(raw: Path, archive: str) -> set[str]:
    """Return the files and folders that `unpacked_files` can have at the top of its folder."""
    on_disk = {p.name for p in raw.glob("*") if not p.name.startswith(".") and p.name != archive}
    return on_disk | {PurePosixPath(p.name).parts[0] for p in _packed(raw)}


def _packed(raw: Path) -> Iterator[_Packed]:
    """Give the tables that are in an archive, or compressed by themselves, and not there as files, too."""
    for place, folders, names in os.walk(raw):
        folders[:] = [f for f in folders if not (f.startswith(".") and f.endswith(".tmp"))]
        for name in sorted(n for n in names if not n.startswith(".")):
            path = Path(place, name)
            if path.suffix.lower() == ".zip":
                sources = [s for s in _members(path, raw) if not (raw / s.name).exists()]
                yield from (_Packed(s.name, s, is_compressed=False) for s in sources)
            elif path.suffix.lower() in PACKED and is_table(name):
                sources = [SourceFile(path.relative_to(raw).as_posix(), path, size_bytes=path.stat().st_size)]
            else:
                continue
            for source in sources:
                plain = PurePosixPath(source.name)
                if plain.suffix.lower() in PACKED and not (raw / plain.with_suffix("")).exists():
                    yield _Packed(str(plain.with_suffix("")), source, is_compressed=True)


def _members(archive: Path, raw: Path) -> list[SourceFile]:
    try:
        return members_of(archive, raw)
    except (DamagedError, DataError):
        # It is a file like any then: who reads it learns what is wrong with it.
        return []


class _Digests:
    """The SHA-256 of archives; of one that is as it was when it arrived, or was looked at, the one that was noted."""

    def __init__(self, raw: Path) -> None:
        self.raw = raw
        self.by_name: dict[str, dict[str, Any]] = {}
        with suppress(DamagedError, OSError, KeyError, TypeError, ValueError):
            self.by_name = dict(read_json(raw / LISTING)["arrived"])

    def of(self, path: Path) -> str:
        """Return the digest of an archive."""
        name, stat = path.relative_to(self.raw).as_posix(), path.stat()
        stamp = {"size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        digest = self.by_name.get(name)
        if not isinstance(digest, dict) or {k: digest.get(k) for k in stamp} != stamp or "sha256" not in digest:
            self.by_name[name] = stamp | {"sha256": file_sha256(path)}
        return str(self.by_name[name]["sha256"])


def _stamp(item: _Packed, folder: Path, digests: _Digests) -> str:
    """Return what an unpacked file came of, and its size as it lies there."""
    return f"{(folder / item.name).stat().st_size} of {digests.of(item.source.path)}"


def _stamps(note: Path, digests: _Digests) -> dict[str, str]:
    try:
        content = read_json(note)
        digests.by_name |= {str(k): dict(v) for k, v in content["archives"].items()}
        return {str(k): str(v) for k, v in content["files"].items()}
    except (DamagedError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def _with_parents(names: Iterable[str]) -> set[str]:
    return {str(p) for name in names for p in (PurePosixPath(name), *PurePosixPath(name).parents)}


def _link(source: Path, target: Path, below: str, archive: str, unpacked: set[str]) -> None:
    """Let a folder have what another has, and what was unpacked; what belongs to neither goes.

    One folder at a time, by what the directory says of each file: there may be millions.
    """
    with os.scandir(target) as entries:
        old_entries = {e.name: e for e in entries}
    with os.scandir(source) as entries:
        for entry in entries:
            name = f"{below}{entry.name}"
            if entry.name.startswith(".") or name == archive:
                continue
            old = old_entries.pop(entry.name, None)
            if entry.is_dir():
                if old is None or not old.is_dir(follow_symlinks=False):
                    _remove(old)
                    (target / entry.name).mkdir()
                _link(Path(entry.path), target / entry.name, f"{name}/", archive, unpacked)
            elif old is None or not _is_same(old, entry):
                _remove(old)
                _link_file(entry, target / entry.name)
    for name, entry in old_entries.items():
        if f"{below}{name}" not in unpacked:
            _remove(entry)
        elif entry.is_dir(follow_symlinks=False):
            _prune(target / name, f"{below}{name}/", unpacked)


def _prune(folder: Path, below: str, unpacked: set[str]) -> None:
    """Remove what was not unpacked from a folder that is in an archive only."""
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


def _check_room(folder: Path, needed: list[_Packed]) -> None:
    need, free = sum(p.size for p in needed), shutil.disk_usage(folder).free
    if need > free:
        raise StorageError(
            f"unpacking {len(needed)} files to {folder} needs {need / 2**30:,.1f} GB, the disk has "
            f"{free / 2**30:,.1f} GB free",
            hint="free some space, then run it again",
        )


def _unpacked(
    needed: list[_Packed], folder: Path, is_read: Callable[[str], bool], report: Callable[[str], None]
) -> Iterator[_Packed]:
    """Unpack files, each whole or not at all, and give those that are there; one archive is opened once."""
    for path, items in groupby(sorted(needed, key=lambda p: str(p.source.path)), key=lambda p: p.source.path):
        with _opener(path) as opened:
            for item in items:
                report(f"unpacking {item.name} of {path.name}")
                try:
                    with opened(item) as file, atomic(folder / item.name) as temporary, temporary.open("wb") as out:
                        shutil.copyfileobj(file, out, 1 << 20)
                except DamagedError as exc:
                    if is_read(item.name):
                        raise
                    report(f"{item.name} stays packed: {exc.message}")
                    continue
                yield item


@contextmanager
def _opener(path: Path) -> Iterator[Callable[[_Packed], AbstractContextManager[IO[bytes]]]]:
    """Give the function that opens the files of an archive, or the one compressed file that `path` is."""
    archive = zipfile.ZipFile(path) if zipfile.is_zipfile(path) else None

    @contextmanager
    def opened(item: _Packed) -> Iterator[IO[bytes]]:
        member, where = item.source.member, f"{path}: {item.name}"
        with ExitStack() as stack:
            file: IO[bytes]
            packed_bytes = path.stat().st_size
            if archive is None or member is None:
                file = stack.enter_context(path.open("rb"))
            else:
                packed_bytes = archive.getinfo(member).compress_size
                with damage_errors(where, "complete"):
                    file = checked_stream(stack.enter_context(archive.open(member)), where, "complete")
            if item.is_compressed:
                with damage_errors(where, "complete"):
                    plain = decompressed(file, PurePosixPath(item.source.name).suffix.lower(), where)
                file = checked_stream(stack.enter_context(plain), where, "complete", packed_bytes=packed_bytes)
            yield file

    try:
        yield opened
    finally:
        if archive is not None:
            archive.close()
