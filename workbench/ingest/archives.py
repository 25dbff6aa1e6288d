"""Unpacking archives, safely: nothing outside the folder, no links, no bombs, every checksum looked at."""

from __future__ import annotations

import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from workbench.cache import atomic
from workbench.errors import DamagedError, DataError, StorageError, storage_errors

__all__ = ["EncryptedError", "check_members", "is_encrypted", "leads_outside", "unpack", "unpack_tar"]

BOMB_RATIO = 400
"""More than this is not data: deflate reaches 1,032 on zeros, and a table of mostly zeros stays below 200."""
HARMLESS_BYTES = 64 << 20
UNTRUSTED = "do not trust this archive; `wb fetch SLUG --force` downloads it again"


class EncryptedError(DataError):
    """An archive, or a file in one, needs a password."""


def is_encrypted(member: zipfile.ZipInfo) -> bool:
    """Whether a member of a zip archive needs a password."""
    return bool(member.flag_bits & 1)


def check_members(archive: Path, folder: Path) -> list[zipfile.ZipInfo]:
    """Return the files of a zip archive after looking at all their names and sizes; nothing is unpacked.

    Raises
    ------
    DataError
        When a member would be written outside `folder`, is a link, or inflates beyond measure.
    DamagedError
        When the archive is not whole.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [m for m in opened.infolist() if not m.is_dir()]
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError) as exc:
        raise DamagedError(f"{archive} is not a whole zip archive: {exc}", hint="remove it and fetch again") from exc
    for member in members:
        _check_name(archive, member.filename, folder)
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(f"{archive}: member {member.filename!r} is a link; nothing is unpacked", hint=UNTRUSTED)
        if member.file_size > HARMLESS_BYTES and member.file_size > BOMB_RATIO * max(member.compress_size, 1):
            raise DataError(
                f"{archive}: member {member.filename!r} would inflate from {member.compress_size:,} to "
                f"{member.file_size:,} bytes; nothing is unpacked",
                hint="if you trust it, unpack it by hand into data/raw, remove the archive, and fetch again",
            )
    return members


def leads_outside(name: str, folder: Path) -> bool:
    """Whether a name, of an archive's member or a file that is offered, is that of no file below a folder.

    Examples
    --------
    >>> [leads_outside(name, Path("raw")) for name in ("a/b.csv", "../b.csv", "/b.csv", "C:b.csv", "")]
    [False, True, True, True, True]
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"^[A-Za-z]:", name) or "\0" in name or not path.name:
        return True
    return not (folder / path).resolve().is_relative_to(folder.resolve())


def _check_name(archive: Path, name: str, folder: Path) -> None:
    if leads_outside(name, folder):
        raise DataError(
            f"{archive}: member {name!r} would be written outside {folder}; nothing is unpacked",
            hint=UNTRUSTED,
        )


def unpack(
    archive: Path,
    folder: Path,
    *,
    wanted: Callable[[str], bool] = lambda _: True,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Path]:
    """Unpack the members of a zip archive that are wanted, each whole or not at all, and return their files.

    A file that is there with the right size and time stays.

    Raises
    ------
    DataError, DamagedError
        As `check_members`; and where a checksum is wrong.
    StorageError
        When the disk has not enough room; nothing is unpacked then.
    """
    members = [m for m in check_members(archive, folder) if wanted(m.filename)]
    missing = [m for m in members if not _is_there(_target(folder, m.filename), m, archive)]
    locked = [m.filename for m in missing if is_encrypted(m)]
    if locked:
        raise EncryptedError(
            f"{archive}: {locked[0]} needs a password; nothing is unpacked",
            hint="where you have it, unpack the archive by hand into data/fixed",
        )
    need = sum(m.file_size for m in missing)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if need > free:
        raise StorageError(
            f"unpacking {archive} needs {need / 2**30:,.1f} GB, the disk has {free / 2**30:,.1f} GB free",
            hint="free some space, then run it again",
        )
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in missing:
                target = _target(folder, member.filename)
                with opened.open(member) as source, atomic(target) as temporary, temporary.open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
                progress(member.file_size)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error) as exc:
        raise DamagedError(f"{archive} is not a whole zip archive: {exc}", hint="remove it and fetch again") from exc
    return [_target(folder, m.filename) for m in members]


def _target(folder: Path, name: str) -> Path:
    return folder / PurePosixPath(name.replace("\\", "/"))


def _is_there(target: Path, member: zipfile.ZipInfo, archive: Path) -> bool:
    if not target.is_file():
        return False
    found = target.stat()
    return found.st_size == member.file_size and found.st_mtime_ns >= archive.stat().st_mtime_ns


def unpack_tar(archive: Path, folder: Path) -> None:
    """Unpack a tar archive, compressed or not; Python's "data" filter refuses what would leave the folder.

    It is unpacked beside and then moved to its place: where that fails half-way, no half file is left.

    Raises
    ------
    DataError
        When a member would be written outside the folder or is a link to there.
    DamagedError
        When the archive is not whole.
    """
    beside = folder / f".{archive.name}.unpacking"
    try:
        with storage_errors(folder), tarfile.open(archive) as opened:
            shutil.rmtree(beside, ignore_errors=True)
            opened.extractall(beside, filter="data")
            for path in sorted(beside.rglob("*")):
                target = folder / path.relative_to(beside)
                if path.is_dir() and not path.is_symlink():
                    target.mkdir(parents=True, exist_ok=True)
                else:
                    path.replace(target)
    except tarfile.FilterError as exc:
        raise DataError(f"{archive}: {exc}; not unpacked", hint=UNTRUSTED) from exc
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as exc:
        if isinstance(exc, OSError) and exc.errno is not None:
            raise
        first = (str(exc).splitlines() or [""])[0].rstrip(":")
        raise DamagedError(f"{archive} is not a whole tar archive: {first}", hint="remove it and fetch again") from exc
    finally:
        shutil.rmtree(beside, ignore_errors=True)
