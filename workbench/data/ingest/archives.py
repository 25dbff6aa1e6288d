"""Unpacking archives, safely: nothing outside the folder, regular files only, no bombs, every checksum looked at.

Every file is whole before it has its name. What came of an archive is noted beside it, with the archive's digest, once
all of it is on the disk: what a killed process left half done is not taken for whole, nor what came of another archive.
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
from workbench.data.ingest.tars import HEADER_BYTES, PIECE_BYTES, tar_members

__all__ = ["EncryptedError", "came_of", "check_members", "is_encrypted", "unpack", "unpack_tar"]

UNTRUSTED = "do not trust this archive; `wb fetch SLUG --force` downloads it again"
MOST_CONTENTS_BYTES = 512 << 20
"""A table of contents of more than this is that of ten million files, or made to fill the memory."""
MOST_END_BYTES = (1 << 16) + 22
"""The record at the end of an archive, with the longest comment behind it."""
KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}
LOCAL_HEADER_BYTES = 30
BATCH_BYTES = 256 << 20
"""The files of a zip archive, whose names and sizes are known before, go to their place whenever so much is whole."""
MANY_FILES = 1000
"""Of more than so many it is quicker to have the system write all that waits than each by itself."""

IGNORED = ("Icon\r",)
"""What a Mac leaves in folders."""


class EncryptedError(DataError):
    """An archive, or a file in one, needs a password."""


def is_encrypted(member: zipfile.ZipInfo) -> bool:
    """Whether a member of a zip archive needs a password."""
    return bool(member.flag_bits & 1)


# --------------------------------------------------------------------------------------------------------------- zips


def check_members(archive: Path, folder: Path) -> list[zipfile.ZipInfo]:
    """Return the files of a zip archive after looking at all their names and sizes; nothing is unpacked.

    Of two of the same name the last counts, as it does where a member is asked for by its name.

    Raises
    ------
    DataError
        When a member would be written outside `folder` or has a name that is not taken, is no regular file, lies where
        another does, or they inflate without bound.
    DamagedError
        When the archive is not whole.
    """
    with damage_errors(str(archive)):
        _check_contents(archive)
        with zipfile.ZipFile(archive) as opened:
            members = [
                m for m in opened.infolist() if not m.filename.endswith("/") and Path(m.filename).name not in IGNORED
            ]
    for member in members:
        _check_name(archive, member.filename, folder)
        kind = KINDS.get(stat.S_IFMT(member.external_attr >> 16), "")
        if kind:
            raise _no_file(archive, member.filename, kind)
        if member.file_size > MIN_DOWNLOAD_LIMIT_BYTES and member.file_size > MAX_RATIO * max(member.compress_size, 1):
            raise too_large_error(f"{archive}: member {member.filename!r}", member.compress_size, member.file_size)
    _check_places(archive, members)
    packed, size = archive.stat().st_size, sum(m.file_size for m in members)
    if size > max_unpacked_bytes(packed):
        raise too_large_error(f"{archive}: its {len(members):,} members", packed, size)
    members = list({plain_name(m.filename): m for m in members}.values())
    _check_clashes(archive, [m.filename for m in members], folder)
    return members


def _check_contents(archive: Path) -> None:
    """Refuse a table of contents that would fill the memory; `zipfile` reads it whole."""
    with archive.open("rb") as file:
        file.seek(max(0, archive.stat().st_size - MOST_END_BYTES))
        tail = file.read()
    _, mark, record = tail.rpartition(b"PK\x05\x06")
    size = int.from_bytes(record[8:12], "little") if mark else 0
    if size == 0xFFFFFFFF:
        _, mark, record = tail.rpartition(b"PK\x06\x06")
        size = int.from_bytes(record[36:44], "little") if mark else 0
    if size > MOST_CONTENTS_BYTES:
        raise DataError(
            f"{archive} has a table of contents of {size:,} bytes; it is not unpacked",
            hint="if you trust it, unpack it by hand into data/raw, remove the archive, and fetch again",
        )


def _check_places(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse members that share bytes: so a small archive inflates to any size."""
    end, before = 0, ""
    for member in sorted(members, key=lambda m: m.header_offset):
        if member.header_offset < 0:
            raise DamagedError(
                f"{archive} is not a complete zip archive: {member.filename!r} would lie before its beginning",
                hint="fetch it again: `wb fetch SLUG --force`",
            )
        if member.header_offset < end:
            raise DataError(
                f"{archive}: members {before!r} and {member.filename!r} overlap; nothing is unpacked", hint=UNTRUSTED
            )
        # The name there may be another than in the contents, which is reported when it is read.
        end, before = member.header_offset + LOCAL_HEADER_BYTES + member.compress_size, member.filename


def _check_name(archive: Path, name: str, folder: Path) -> None:
    why = refused_name(name, folder)
    if why:
        shown = repr(name if len(name) <= 100 else f"{name[:100]}…")
        raise DataError(f"{archive}: member {shown} {why}; nothing is unpacked", hint=UNTRUSTED)


def _no_file(archive: Path, name: str, kind: str) -> DataError:
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
    """Unpack the members of a zip archive that are wanted, each whole or not at all, and return their files.

    A file that is there, came of this very archive and has its size stays.

    Parameters
    ----------
    archive, folder : Path
    wanted : callable
        Whether a member is unpacked, by its name.
    progress : callable
        Called with the size of each file.
    budget : UnpackBudget, optional
        What it takes from; one of its own where there is none.
    is_protected : callable
        Whether a file is one that no archive replaces, such as one that was downloaded by itself.

    Raises
    ------
    DataError, DamagedError
        As `check_members`; and where a checksum is wrong.
    StorageError
        When the disk has not enough room; nothing is unpacked then.
    """
    budget = UnpackBudget(archive.stat().st_size, folder) if budget is None else budget
    every = check_members(archive, folder)
    budget.spend(sum(m.file_size for m in every), str(archive))
    members = [m for m in every if wanted(m.filename) and not _must_stay(folder, m.filename, archive, is_protected)]
    names = {plain_name(m.filename): m.file_size for m in members}
    note = _Note.of(archive)
    missing = [m for m in members if not _is_there(folder, m, note)]
    locked = [m.filename for m in missing if is_encrypted(m)]
    if locked:
        raise EncryptedError(
            f"{archive}: {locked[0]} needs a password; nothing is unpacked",
            hint="if you have it, unpack the archive by hand into data/fixed",
        )
    folder.mkdir(parents=True, exist_ok=True)
    budget.require_space(sum(m.file_size for m in missing), str(archive))
    if missing or note.files != names:
        _into_place(archive, folder, names, _zip_files(archive, missing, progress), BATCH_BYTES)
    return [folder / n for n in names]


def _must_stay(folder: Path, name: str, archive: Path, is_protected: Callable[[Path], bool]) -> bool:
    target = folder / plain_name(name)
    return target == archive or is_protected(target)


def _is_there(folder: Path, member: zipfile.ZipInfo, note: _Note) -> bool:
    """Whether a file is what a member becomes: by the note, else (it was interrupted, say) by its checksum."""
    name = plain_name(member.filename)
    path = folder / name
    if note.files is not None:
        return note.has(folder, name, member.file_size)
    if not path.is_file() or path.stat().st_size != member.file_size:
        return False
    checksum = 0
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            checksum = zlib.crc32(piece, checksum)
    return checksum == member.CRC


def _zip_files(
    archive: Path, members: list[zipfile.ZipInfo], progress: Callable[[int], None]
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield files with their bytes; the system's own errors are those of the disk."""
    with zipfile.ZipFile(archive) as opened:
        for member in members:
            yield plain_name(member.filename), _zip_pieces(opened, member, archive)
            progress(member.file_size)


def _zip_pieces(opened: zipfile.ZipFile, member: zipfile.ZipInfo, archive: Path) -> Iterator[bytes]:
    remaining_bytes = member.file_size
    where = f"{archive}: {member.filename}"
    with damage_errors(where, "complete"), opened.open(member) as source:
        while piece := source.read(PIECE_BYTES):
            remaining_bytes -= len(piece)
            yield piece
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
    begins: Callable[[], object] = lambda: None,
) -> None:
    """Unpack a tar archive, compressed or not, whole or not at all.

    What came of this very archive and is there, with its sizes, stays.

    Parameters
    ----------
    archive, folder : Path
    budget : UnpackBudget, optional
    is_protected : callable
        As of `unpack`.
    begins : callable
        Called before, where there is something to do.

    Raises
    ------
    DataError
        When a member would be written outside the folder or has a name that is not taken, is no regular file, or it
        inflates without bound.
    DamagedError
        When the archive is not whole.
    StorageError
        When the disk has not enough room.
    """
    budget = UnpackBudget(archive.stat().st_size, folder) if budget is None else budget
    note = _Note.of(archive)
    if note.files is not None and all(note.has(folder, n, size) for n, size in note.files.items()):
        budget.spend(sum(note.files.values()), str(archive))
        return
    begins()
    names: dict[str, int] = {}
    files = _tar_files(archive, folder, budget, names, is_protected)
    _into_place(archive, folder, names, files)


def _tar_files(
    archive: Path, folder: Path, budget: UnpackBudget, names: dict[str, int], is_protected: Callable[[Path], bool]
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield the files with their bytes, noting names and sizes; of two of the same name the last remains."""
    packed = archive.stat().st_size
    for member in tar_members(archive):
        if Path(member.name).name in IGNORED:
            continue
        _check_name(archive, member.name, folder)
        if member.kind:
            raise _no_file(archive, member.name, member.kind)
        # Its header counts: millions of empty files are more than they seem.
        budget.spend(member.size + HEADER_BYTES, f"{archive}: member {member.name!r}", archive_bytes=packed)
        budget.check_free_space(str(archive))
        name = plain_name(member.name)
        if _must_stay(folder, name, archive, is_protected):
            continue
        is_new = name not in names
        names[name] = member.size
        if is_new and len(names) % MANY_FILES == 0:
            _check_clashes(archive, list(names), folder)
        yield name, member.pieces
    _check_clashes(archive, list(names), folder)


# ----------------------------------------------------------------------------------------------------- into its place


@dataclass(frozen=True)
class _Note:
    """What was noted of an archive when all of it was unpacked: names and sizes; None: it was not, or is another."""

    files: dict[str, int] | None

    @classmethod
    def of(cls, archive: Path) -> _Note:
        try:
            note = read_json(_note_of(archive))
            stat = archive.stat()
            files = {str(n): int(size) for n, size in note["files"].items()}
            is_same = note["size_bytes"] == stat.st_size and (
                note["mtime_ns"] == stat.st_mtime_ns or note["sha256"] == file_sha256(archive)
            )
        except (DamagedError, OSError, KeyError, TypeError, ValueError, AttributeError):
            return cls(None)
        return cls(files if is_same else None)

    def has(self, folder: Path, name: str, size: int) -> bool:
        """Whether a file came of the archive and is there."""
        if self.files is None or self.files.get(name) != size:
            return False
        path = folder / name
        return path.is_file() and path.stat().st_size == size


def came_of(archive: Path) -> set[Path]:
    """Return the files that were unpacked from an archive when all of it was; none where it was not."""
    return {archive.parent / name for name in _Note.of(archive).files or ()}


def _note_of(archive: Path) -> Path:
    return hidden_path(archive, ".unpacked")


def _into_place(
    archive: Path, folder: Path, names: dict[str, int], files: Iterator[tuple[str, Iterator[bytes]]], batch: int = 0
) -> None:
    """Write files beside their place, and when they are whole and on the disk, move them there; then all are noted.

    Parameters
    ----------
    names : dict
        The names and sizes of all; may be filled meanwhile.
    batch : int
        They are moved when there are so many bytes of them; 0: all at once, or none.
    """
    _note_of(archive).unlink(missing_ok=True)
    with storage_errors(folder), temporary_file(folder / archive.name) as beside:
        waiting: dict[str, None] = {}
        size = 0
        for name, pieces in files:
            _write(beside / name, pieces, archive)
            waiting[name] = None
            size += names[name]
            if batch and size >= batch:
                _move(beside, folder, waiting)
                waiting, size = {}, 0
        _move(beside, folder, waiting)
    write_json(_note_of(archive), _noted(archive, names))


def _move(beside: Path, folder: Path, names: Iterable[str]) -> None:
    _flush([beside / name for name in names])
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (beside / name).replace(target)
    _flush_folders({parent for name in names for parent in (folder / name).parents if parent.is_relative_to(folder)})


def _noted(archive: Path, names: dict[str, int]) -> dict[str, Any]:
    stat = archive.stat()
    stamp = {"sha256": file_sha256(archive), "size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    return stamp | {"files": names}


def _write(target: Path, pieces: Iterator[bytes], archive: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise DataError(
            f"{archive}: {target.name!r} lies in what is both a file and a folder; nothing is unpacked", hint=UNTRUSTED
        ) from None
    if target.is_dir():
        raise DataError(
            f"{archive}: {target.name!r} is the name of both a file and a folder; nothing is unpacked", hint=UNTRUSTED
        )
    with target.open("wb") as out:
        for piece in pieces:
            out.write(piece)


def _flush(paths: list[Path]) -> None:
    """Have files on the disk, not only in memory."""
    if len(paths) > MANY_FILES:
        os.sync()
        return
    for path in paths:
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _flush_folders(folders: set[Path]) -> None:
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
