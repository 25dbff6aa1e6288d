"""Temporary files beside what they become, and the sweeping of those that a killed process left.

Their names say whose they are: the host, its boot with the namespace of process numbers, and the process. A folder may
be on a drive that several machines share, and a process number says something only where it was given. So what another
machine, or an earlier version, has written stays where it is.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

__all__ = ["hidden_path", "is_left_behind", "machine", "sweep", "temporary_file", "temporary_path"]

MOST_NAME_BYTES = 255
"""What a file's name may have on the file systems in use."""

SETTLED_S = 86_400
"""Untouched for so long, a file of an earlier boot is nobody's; another machine may bear the same name."""

_in_use: set[Path] = set()
"""The temporary files that this process has open, for `sweep`."""


@lru_cache(maxsize=1)
def machine() -> tuple[str, str]:
    """Return short digests of the host's name, and of its boot and the namespace of its process numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        numbers = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        boot, numbers = "", ""
    return _digest(socket.gethostname()), _digest(f"{boot} {numbers}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def temporary_path(path: Path) -> Path:
    """Return a name beside `path` that no other process takes; it is cut where it would be too long for a name."""
    host, boot = machine()
    return _beside(path, f".{host}-{boot}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")


def hidden_path(path: Path, end: str) -> Path:
    """Return the name beside `path` of a file that goes with it, a dot in front and `end` behind.

    One that would be too long for a name is cut, and tells by a digest whose it is.

    Examples
    --------
    >>> hidden_path(Path("raw/train.csv"), ".partial").as_posix()
    'raw/.train.csv.partial'
    >>> len(hidden_path(Path("x" * 255), ".partial").name)
    255
    """
    if len(os.fsencode(path.name)) + len(end) + 1 > MOST_NAME_BYTES:
        end = f".{_digest(path.name)}{end}"
    return _beside(path, end)


def _beside(path: Path, end: str) -> Path:
    name, room = os.fsencode(path.name), MOST_NAME_BYTES - len(end) - 1
    if len(name) > room:
        # Between two characters, as some file systems take nothing but UTF-8.
        name = name[:room].decode("utf-8", "ignore").encode()
    return path.with_name(f".{os.fsdecode(name)}{end}")


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` for the length of the block; what a killed process leaves, `sweep` removes.

    The folder is made where it is missing. What the block makes there may be a file or a folder.
    """
    temporary = temporary_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _in_use.add(temporary)
    try:
        yield temporary
    finally:
        _in_use.discard(temporary)
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files in `folder` that killed processes of this machine have left."""
    for path in folder.glob(".*.tmp"):
        if is_left_behind(path):
            _remove(path)


def is_left_behind(path: Path) -> bool:
    """Tell whether a temporary file is of this machine, and its process is gone."""
    if path in _in_use:
        return False
    parts = path.name.removesuffix(".tmp").rpartition(".")[2].split("-")
    host, boot = machine()
    if len(parts) != 4 or parts[0] != host or not parts[2].isdecimal():
        return False
    if parts[1] != boot:
        return _is_untouched(path)
    # A file of this process's number that it does not use is that of another, which was killed.
    return int(parts[2]) == os.getpid() or not _is_running(int(parts[2]))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _is_untouched(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > SETTLED_S
    except OSError:
        return False
