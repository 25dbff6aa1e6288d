"""Unpack archives safely: regular files only, none outside the folder, no decompression bombs, all checksums checked.

A file gets its name only when it is complete. Once all files of an archive are on disk, a record next to the archive
lists them with the archive's digest, so that files of an interrupted process, or of another archive, are not mistaken
for its own.
"""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.cache import file_sha256, read_json, write_json
from workbench.core.errors import DamagedError, DataError, storage_errors
from workbench.core.operating_system import flush_all_disks, flush_folder
from workbench.core.packed import (
    MAX_RATIO,
    MIN_DOWNLOAD_LIMIT_BYTES,
    UnpackBudget,
    damage_errors,
    max_unpacked_bytes,
    too_large_error,
)
from workbench.core.temporary import hidden_path, temporary_file
from workbench.data.ingest.file_names import clashing_names, plain_name, refused_name
from workbench.data.ingest.tars import CHUNK_BYTES, HEADER_BYTES, tar_members

__all__ = ["EncryptedError", "check_members", "files_unpacked_from", "is_encrypted", "unpack", "unpack_tar"]

UNTRUSTED = "do not trust this archive; `wb fetch SLUG --force` downloads it again"
MAX_DIRECTORY_BYTES = 512 << 20
"""A larger central directory has ten million files, or was made to exhaust the memory."""
MAX_END_RECORD_BYTES = (1 << 16) + 22
"""The end of central directory record with the longest comment (PKWARE's APPNOTE.TXT, 4.3.16)."""
NOT_REGULAR = {
    stat.S_IFLNK: "a link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}
LOCAL_HEADER_BYTES = 30
BATCH_BYTES = 256 << 20
"""The bytes of complete files of a zip archive that are moved into place together."""
MANY_FILES = 1000
"""From this number on, one sync of all file systems is faster than a sync of each file."""

IGNORED_NAMES = ("Icon\r",)
"""Files that macOS leaves in folders."""


class EncryptedError(DataError):
    """An archive, or a file in one, needs a password."""


def is_encrypted(member: zipfile.ZipInfo) -> bool:
    """Tell whether a member of a zip archive needs a password."""
    return bool(member.flag_bits & 1)


# --------------------------------------------------------------------------------------------------------------- zips


def check_members(archive: Path, folder: Path) -> list[zipfile.ZipInfo]:
    """Check the names and sizes of a zip archive's files and return them; nothing is unpacked.

    Of two members of the same name the last counts, as for `zipfile`.

    Raises
    ------
    DataError
        When a member would be written outside `folder`, has a refused name, is no regular file or overlaps another
        one, or when the members are too large for the size of the archive.
    DamagedError
        When the archive is incomplete.
    """
    with damage_errors(str(archive)):
        _check_directory_size(archive)
        with zipfile.ZipFile(archive) as opened:
            members = [
                m
                for m in opened.infolist()
                if not m.filename.endswith("/") and Path(m.filename).name not in IGNORED_NAMES
            ]
    for member in members:
        _check_name(archive, member.filename, folder)
        kind = NOT_REGULAR.get(stat.S_IFMT(member.external_attr >> 16), "")
        if kind:
            raise _not_a_file_error(archive, member.filename, kind)
        if member.file_size > MIN_DOWNLOAD_LIMIT_BYTES and member.file_size > MAX_RATIO * max(member.compress_size, 1):
            raise too_large_error(f"{archive}: member {member.filename!r}", member.compress_size, member.file_size)
    _check_overlaps(archive, members)
    packed_bytes, unpacked_bytes = archive.stat().st_size, sum(m.file_size for m in members)
    if unpacked_bytes > max_unpacked_bytes(packed_bytes):
        raise too_large_error(f"{archive}: its {len(members):,} members", packed_bytes, unpacked_bytes)
    members = list({plain_name(m.filename): m for m in members}.values())
    _check_clashes(archive, [m.filename for m in members], folder)
    return members


def _check_directory_size(archive: Path) -> None:
    """Refuse a central directory that would exhaust the memory: `zipfile` reads it at once."""
    with archive.open("rb") as file:
        file.seek(max(0, archive.stat().st_size - MAX_END_RECORD_BYTES))
        tail = file.read()
    # The size in the end of central directory record, or in that of Zip64 where the former has no room for it.
    _, signature, record = tail.rpartition(b"PK\x05\x06")
    size = int.from_bytes(record[8:12], "little") if signature else 0
    if size == 0xFFFFFFFF:
        _, signature, record = tail.rpartition(b"PK\x06\x06")
        size = int.from_bytes(record[36:44], "little") if signature else 0
    if size > MAX_DIRECTORY_BYTES:
        raise DataError(
            f"{archive} has a table of contents of {size:,} bytes; it is not unpacked",
            hint="if you trust it, unpack it by hand into data/raw, remove the archive, and fetch again",
        )


def _check_overlaps(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse members that share bytes, as in a zip bomb (https://www.bamsoftware.com/hacks/zipbomb/)."""
    end, previous_name = 0, ""
    for member in sorted(members, key=lambda m: m.header_offset):
        if member.header_offset < 0:
            raise DamagedError(
                f"{archive} is not a complete zip archive: {member.filename!r} would begin before the archive does",
                hint="fetch it again: `wb fetch SLUG --force`",
            )
        if member.header_offset < end:
            raise DataError(
                f"{archive}: members {previous_name!r} and {member.filename!r} overlap; nothing is unpacked",
                hint=UNTRUSTED,
            )
        # Without the name in the local header, whose length is not known; `zipfile` reports a name that differs.
        end, previous_name = member.header_offset + LOCAL_HEADER_BYTES + member.compress_size, member.filename


def _check_name(archive: Path, name: str, folder: Path) -> None:
    reason = refused_name(name, folder)
    if reason:
        short_name = repr(name if len(name) <= 100 else f"{name[:100]}…")
        raise DataError(f"{archive}: member {short_name} {reason}; nothing is unpacked", hint=UNTRUSTED)


def _not_a_file_error(archive: Path, name: str, kind: str) -> DataError:
    return DataError(f"{archive}: member {name!r} is {kind}; nothing is unpacked", hint=UNTRUSTED)


def _check_clashes(archive: Path, names: list[str], folder: Path) -> None:
    pair = clashing_names(names, folder)
    if pair is not None:
        raise DataError(
            f"{archive}: members {pair[0]!r} and {pair[1]!r} can't both be stored here; nothing is unpacked",
            hint=UNTRUSTED,
        )


def unpack(
    archive: Path,
    folder: Path,
    *,
    wanted: Callable[[str], bool] = lambda _: True,
    progress: Callable[[int], None] = lambda _: None,
    budget: UnpackBudget | None = None,
    is_protected: Callable[[Path], bool] = lambda _: False,
) -> list[Path]:
    """Unpack members of a zip archive, each completely or not at all, and return the paths of their files.

    Files that were unpacked from this archive before, and still have their size, stay.

    Parameters
    ----------
    archive, folder : Path
    wanted : callable
        Called with the name of a member; returns whether to unpack it.
    progress : callable
        Called with the size of each file.
    budget : UnpackBudget, optional
        The bytes that may be unpacked; by default computed from the size of the archive.
    is_protected : callable
        Called with a path; returns whether no archive may replace the file, such as one that was downloaded itself.

    Raises
    ------
    DataError, DamagedError
        See `check_members`; also when a checksum is wrong.
    StorageError
        When the disk has not enough room; then nothing is unpacked.
    """
    budget = UnpackBudget(archive.stat().st_size, folder) if budget is None else budget
    all_members = check_members(archive, folder)
    budget.spend(sum(m.file_size for m in all_members), str(archive))
    members = [
        m for m in all_members if wanted(m.filename) and not _must_stay(folder, m.filename, archive, is_protected)
    ]
    size_by_name = {plain_name(m.filename): m.file_size for m in members}
    record = _UnpackRecord.read(archive)
    missing = [m for m in members if not _is_unpacked(folder, m, record)]
    encrypted = [m.filename for m in missing if is_encrypted(m)]
    if encrypted:
        raise EncryptedError(
            f"{archive}: {encrypted[0]} needs a password; nothing is unpacked",
            hint="if you have it, unpack the archive by hand into data/fixed",
        )
    folder.mkdir(parents=True, exist_ok=True)
    budget.require_space(sum(m.file_size for m in missing), str(archive))
    if missing or record.size_by_name != size_by_name:
        _write_files(archive, folder, size_by_name, _zip_files(archive, missing, progress), BATCH_BYTES)
    return [folder / name for name in size_by_name]


def _must_stay(folder: Path, name: str, archive: Path, is_protected: Callable[[Path], bool]) -> bool:
    target = folder / plain_name(name)
    return target == archive or is_protected(target)


def _is_unpacked(folder: Path, member: zipfile.ZipInfo, record: _UnpackRecord) -> bool:
    """Tell whether a member is unpacked already: by the record, or without one by size and checksum."""
    name = plain_name(member.filename)
    path = folder / name
    if record.size_by_name is not None:
        return record.has(folder, name, member.file_size)
    if not path.is_file() or path.stat().st_size != member.file_size:
        return False
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return checksum == member.CRC


def _zip_files(
    archive: Path, members: list[zipfile.ZipInfo], progress: Callable[[int], None]
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield the name and the chunks of bytes of each member."""
    with zipfile.ZipFile(archive) as opened:
        for member in members:
            yield plain_name(member.filename), _zip_chunks(opened, member, archive)
            progress(member.file_size)


def _zip_chunks(opened: zipfile.ZipFile, member: zipfile.ZipInfo, archive: Path) -> Iterator[bytes]:
    """Yield the unpacked bytes of a member in chunks; raise if it has fewer or more bytes than the archive states."""
    remaining_bytes = member.file_size
    where = f"{archive}: {member.filename}"
    with damage_errors(where, "complete"), opened.open(member) as source:
        while chunk := source.read(CHUNK_BYTES):
            remaining_bytes -= len(chunk)
            yield chunk
    if remaining_bytes:
        raise DamagedError(
            f"{where} is not complete: its size differs from the one stated",
            hint="fetch it again: `wb fetch SLUG --force`",
        )


# --------------------------------------------------------------------------------------------------------------- tars


def unpack_tar(
    archive: Path,
    folder: Path,
    *,
    budget: UnpackBudget | None = None,
    is_protected: Callable[[Path], bool] = lambda _: False,
    on_start: Callable[[], object] = lambda: None,
) -> None:
    """Unpack a tar archive, compressed or not, completely or not at all.

    Nothing is done where all files that were unpacked from this archive before still have their sizes.

    Parameters
    ----------
    archive, folder : Path
    budget : UnpackBudget, optional
    is_protected : callable
        See `unpack`.
    on_start : callable
        Called before unpacking, if there is something to do.

    Raises
    ------
    DataError
        When a member would be written outside the folder, has a refused name or is no regular file, or when the
        members are too large for the size of the archive.
    DamagedError
        When the archive is incomplete.
    StorageError
        When the disk has not enough room.
    """
    budget = UnpackBudget(archive.stat().st_size, folder) if budget is None else budget
    record = _UnpackRecord.read(archive)
    if record.size_by_name is not None and all(record.has(folder, n, size) for n, size in record.size_by_name.items()):
        budget.spend(sum(record.size_by_name.values()), str(archive))
        return
    on_start()
    size_by_name: dict[str, int] = {}
    files = _tar_files(archive, folder, budget, size_by_name, is_protected)
    _write_files(archive, folder, size_by_name, files)


def _tar_files(
    archive: Path,
    folder: Path,
    budget: UnpackBudget,
    size_by_name: dict[str, int],
    is_protected: Callable[[Path], bool],
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield the name and the chunks of bytes of each file, and add it to `size_by_name`.

    Of two members of the same name the last one remains.
    """
    archive_bytes = archive.stat().st_size
    for member in tar_members(archive):
        if Path(member.name).name in IGNORED_NAMES:
            continue
        _check_name(archive, member.name, folder)
        if member.kind:
            raise _not_a_file_error(archive, member.name, member.kind)
        # With the header: millions of empty files take space, too.
        budget.spend(member.size + HEADER_BYTES, f"{archive}: member {member.name!r}", archive_bytes=archive_bytes)
        budget.check_free_space(str(archive))
        name = plain_name(member.name)
        if _must_stay(folder, name, archive, is_protected):
            continue
        is_new = name not in size_by_name
        size_by_name[name] = member.size
        if is_new and len(size_by_name) % MANY_FILES == 0:
            _check_clashes(archive, list(size_by_name), folder)
        yield name, member.chunks
    _check_clashes(archive, list(size_by_name), folder)


# ------------------------------------------------------------------------------------------------------ writing files


@dataclass(frozen=True)
class _UnpackRecord:
    """The files that were unpacked from an archive, by name with their sizes.

    None where the archive was not unpacked completely, or is not the one that was.
    """

    size_by_name: dict[str, int] | None

    @classmethod
    def read(cls, archive: Path) -> _UnpackRecord:
        """Read the record of an archive."""
        try:
            content = read_json(_record_path(archive))
            stat = archive.stat()
            size_by_name = {str(n): int(size) for n, size in content["files"].items()}
            is_same = content["size_bytes"] == stat.st_size and (
                content["mtime_ns"] == stat.st_mtime_ns or content["sha256"] == file_sha256(archive)
            )
        except (DamagedError, OSError, KeyError, TypeError, ValueError, AttributeError):
            return cls(None)
        return cls(size_by_name if is_same else None)

    def has(self, folder: Path, name: str, size: int) -> bool:
        """Tell whether a file was unpacked from the archive and still has its size."""
        if self.size_by_name is None or self.size_by_name.get(name) != size:
            return False
        path = folder / name
        return path.is_file() and path.stat().st_size == size


def files_unpacked_from(archive: Path) -> set[Path]:
    """Return the files that were unpacked from an archive; empty where it was not unpacked completely."""
    return {archive.parent / name for name in _UnpackRecord.read(archive).size_by_name or ()}


def _record_path(archive: Path) -> Path:
    return hidden_path(archive, ".unpacked")


def _write_files(
    archive: Path,
    folder: Path,
    size_by_name: dict[str, int],
    files: Iterator[tuple[str, Iterator[bytes]]],
    batch_bytes: int = 0,
) -> None:
    """Write files to a temporary folder, move them into place when they are on disk, and write the record.

    Parameters
    ----------
    size_by_name : dict
        All files of the archive; `files` may add to it.
    files : iterator
        The name and the chunks of bytes of each file to write.
    batch_bytes : int
        Move the files whenever there are this many bytes of them; 0 to move all at the end, or none.
    """
    _record_path(archive).unlink(missing_ok=True)
    with storage_errors(folder), temporary_file(folder / archive.name) as temporary_folder:
        # A dict, because two members may have the same name.
        pending: dict[str, None] = {}
        pending_bytes = 0
        for name, chunks in files:
            _write(temporary_folder / name, chunks, archive)
            pending[name] = None
            pending_bytes += size_by_name[name]
            if batch_bytes and pending_bytes >= batch_bytes:
                _move(temporary_folder, folder, pending)
                pending, pending_bytes = {}, 0
        _move(temporary_folder, folder, pending)
    write_json(_record_path(archive), _record_content(archive, size_by_name))


def _move(temporary_folder: Path, folder: Path, names: Iterable[str]) -> None:
    """Flush files to the disk, then move them from the temporary folder into `folder`, keeping their names."""
    _flush([temporary_folder / name for name in names])
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (temporary_folder / name).replace(target)
    _flush_folders({parent for name in names for parent in (folder / name).parents if parent.is_relative_to(folder)})


def _record_content(archive: Path, size_by_name: dict[str, int]) -> dict[str, Any]:
    """Return the record as JSON: hash, size and time of the archive, and the sizes of its files by name."""
    stat = archive.stat()
    stamp = {"sha256": file_sha256(archive), "size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    return stamp | {"files": size_by_name}


def _write(target: Path, chunks: Iterator[bytes], archive: Path) -> None:
    """Write chunks to `target`; raise if the archive uses one name for a file and a folder."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise DataError(
            f"{archive}: the parent of {target.name!r} is both a file and a folder; nothing is unpacked",
            hint=UNTRUSTED,
        ) from None
    if target.is_dir():
        raise DataError(
            f"{archive}: {target.name!r} is the name of both a file and a folder; nothing is unpacked", hint=UNTRUSTED
        )
    with target.open("wb") as out:
        for chunk in chunks:
            out.write(chunk)


def _flush(paths: list[Path]) -> None:
    """Write files from the system's cache to the disk."""
    if len(paths) > MANY_FILES and flush_all_disks():
        return
    for path in paths:
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _flush_folders(folders: set[Path]) -> None:
    for folder in folders:
        flush_folder(folder)
