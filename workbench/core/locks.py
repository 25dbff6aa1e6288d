"""Locks between processes: who holds one, whether it is held, and what the drive makes of it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.core.errors import BusyError, StorageError, storage_errors

__all__ = ["is_locked", "lock", "unshared_drive"]

_MISSING = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
"""What a drive without locks answers: flock(2), and the drivers of network drives."""

_SHARING_FUSE = ("fuse.glusterfs", "fuse.ceph", "fuse.juicefs", "fuse.mfs", "fuseblk")
_OF_ONE_MACHINE = ("9p", "virtiofs", "vboxsf", "prl_fs", "drvfs")
_LOCAL_OPTIONS = {"nolock", "local_lock=all", "local_lock=flock", "localflock", "nobrl"}
"""Of drives of several machines: NFS (nfs(5)), Lustre (mount.lustre(8)), SMB (mount.cifs(8))."""


@contextmanager
def lock(path: Path, resource: str, *, wait: bool = False) -> Iterator[None]:
    """Hold an exclusive lock on the file `path` for the length of the block.

    The system lets the lock go when the process ends, however it ends: there is no stale lock to remove. The file is
    never removed either: of two processes one could then hold the lock of the file that is gone, and the other that of
    the new one.

    On a drive whose locks other machines do not see, the file says which machine's process has it: one that a process
    of another machine has not let go counts as held.

    Parameters
    ----------
    path : Path
        The lock's file; it stays behind, empty.
    resource : str
        What is locked, for the message: "experiment 12".
    wait : bool
        Wait for the other process instead of raising.

    Raises
    ------
    BusyError
        When another process holds it; the message says which and since when.
    StorageError
        When the drive has no locks, or its file can't be written.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise BusyError(
                f"{resource} is in use by {_holder(path)}", hint="wait for it, or stop that process"
            ) from None
        except OSError as exc:
            raise _without_locks(path, exc) from exc
        _refuse_other_machine(path, resource)
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat("T", "seconds"),
        }
        with storage_errors(path):
            os.ftruncate(descriptor, os.pwrite(descriptor, json.dumps(holder).encode(), 0))
        try:
            yield
        finally:
            # What was done under the lock is done, whatever becomes of its file.
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _without_locks(path: Path, exc: OSError) -> OSError:
    if exc.errno not in _MISSING:
        return exc
    return StorageError(
        f"{path} can't be locked: its drive has no locks between processes ({exc.strerror})",
        hint="move the workspace to a drive that has: a local disk, NFS with its lock service, Lustre with -o flock",
    )


def _refuse_other_machine(path: Path, resource: str) -> None:
    """Raise where another machine's process has not let the lock go, and this machine would not see its lock."""
    holder = _record(path)
    drive = unshared_drive(path) if holder.get("host", socket.gethostname()) != socket.gethostname() else None
    if drive is not None:
        raise BusyError(
            f"{resource} may be in use by {_holder(path)}: whether it still runs can't be seen from here, as locks on "
            f"this drive ({drive}) are not shared between machines",
            hint=f"check there; if that process is gone, empty the file {path}",
        )


def _record(path: Path) -> dict[str, Any]:
    try:
        holder = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _holder(path: Path) -> str:
    try:
        holder = _record(path)
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except KeyError:
        return "another process"


def is_locked(path: Path) -> bool:
    """Say whether another process (or another part of this one) holds the lock on `path`.

    Where that can't be found out, as the file can't be opened or the drive has no locks, it counts as held.
    """
    try:
        descriptor = _opened(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    this_host = socket.gethostname()
    return _record(path).get("host", this_host) != this_host and unshared_drive(path) is not None


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR)
    except OSError as exc:
        # A file of another user's, or on a drive that can only be read, can be locked all the same.
        if exc.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return os.open(path, os.O_RDONLY)


def unshared_drive(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the kind of drive that `path` is on, where other machines may use it and do not see this one's locks.

    None where locks are shared, where the drive is of this machine alone, or nothing is known.

    Parameters
    ----------
    mounts : Path
        As proc(5) describes ``/proc/[pid]/mountinfo``.
    """
    try:
        resolved, lines = str(path.resolve()), mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    kind, longest = None, 0
    for line in lines:
        mount, drive = (part.split(" ") for part in line.partition(" - ")[::2])
        if len(mount) < 6 or len(drive) < 3:
            continue
        point = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), mount[4]).rstrip("/")
        if f"{resolved}/".startswith(f"{point}/") and len(point) >= longest:
            kind, longest = _unshared(drive[0], {*drive[2].split(","), *mount[5].split(",")}), len(point)
    return kind


def _unshared(kind: str, options: set[str]) -> str | None:
    if kind in _OF_ONE_MACHINE or (kind.startswith("fuse") and kind not in _SHARING_FUSE):
        return kind
    without = sorted(options & _LOCAL_OPTIONS) if kind.startswith(("nfs", "lustre", "cifs", "smb")) else []
    return f"{kind} with {', '.join(without)}" if without else None
