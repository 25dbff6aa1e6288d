"""Create temporary files next to their target, and remove those that killed processes left behind.

The name of a temporary file identifies its process: the host, the boot and process namespace, and the process id. As
several machines may share a drive, files of other machines and of earlier versions are never removed.
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

from workbench.core.operating_system import is_running

__all__ = ["hidden_path", "is_left_behind", "machine", "remove_leftover_files", "temporary_file", "temporary_path"]

MAX_NAME_BYTES = 255
"""The longest file name on common file systems."""

ABANDONED_S = 86_400
"""Files of an earlier boot are removed at this age: another machine with the same name may still use them."""

_open_paths: set[Path] = set()
"""The temporary files that this process is using, for `remove_leftover_files`."""


@lru_cache(maxsize=1)
def machine() -> tuple[str, str]:
    """Return short digests of the host name, and of its boot id with the process namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        pid_namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        boot, pid_namespace = "", ""
    return _digest(socket.gethostname()), _digest(f"{boot} {pid_namespace}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def temporary_path(path: Path) -> Path:
    """Return a unique path next to `path`, with a name that is truncated if it would be too long."""
    host, boot = machine()
    return _sibling(path, f".{host}-{boot}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")


def hidden_path(path: Path, suffix: str) -> Path:
    """Return the path of a hidden companion of `path`: a dot, the name of `path`, and `suffix`.

    A name that would be too long is truncated, with a digest of the full name.

    Examples
    --------
    >>> hidden_path(Path("raw/train.csv"), ".partial").as_posix()
    'raw/.train.csv.partial'
    >>> len(hidden_path(Path("x" * 255), ".partial").name)
    255
    """
    if len(os.fsencode(path.name)) + len(suffix) + 1 > MAX_NAME_BYTES:
        suffix = f".{_digest(path.name)}{suffix}"
    return _sibling(path, suffix)


def _sibling(path: Path, suffix: str) -> Path:
    name, max_bytes = os.fsencode(path.name), MAX_NAME_BYTES - len(suffix) - 1
    if len(name) > max_bytes:
        # Cut between two characters, as some file systems refuse invalid UTF-8.
        name = name[:max_bytes].decode("utf-8", "ignore").encode()
    return path.with_name(f".{os.fsdecode(name)}{suffix}")


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, and remove what the block creates there, a file or a folder.

    A missing parent folder is created. `remove_leftover_files` removes what a killed process left behind.
    """
    temporary = temporary_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _open_paths.add(temporary)
    try:
        yield temporary
    finally:
        _open_paths.discard(temporary)
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_leftover_files(folder: Path) -> None:
    """Remove the temporary files in `folder` of killed processes of this machine."""
    for path in folder.glob(".*.tmp"):
        if is_left_behind(path):
            _remove(path)


def is_left_behind(path: Path) -> bool:
    """Tell whether a temporary file belongs to a process of this machine that is gone."""
    if path in _open_paths:
        return False
    parts = path.name.removesuffix(".tmp").rpartition(".")[2].split("-")
    host, boot = machine()
    if len(parts) != 4 or parts[0] != host or not parts[2].isdecimal():
        return False
    if parts[1] != boot:
        return _is_abandoned(path)
    # With this process's id, but not in use: it belongs to an earlier process with the same id.
    return int(parts[2]) == os.getpid() or not is_running(int(parts[2]))


def _is_abandoned(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_S
    except OSError:
        return False
