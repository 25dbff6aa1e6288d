"""Locks between processes, on drives that several machines share as well."""

from __future__ import annotations

import errno
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
from workbench.core.operating_system import close_locked, lock_descriptor, write_at_start

__all__ = ["is_locked", "lock", "unshared_drive"]

_UNSUPPORTED_ERRNOS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
"""Errors of a drive without locks: flock(2), and the drivers of network drives."""

# FUSE file systems whose locks all machines see.
_SHARED_FUSE = ("fuse.glusterfs", "fuse.ceph", "fuse.juicefs", "fuse.mfs", "fuseblk")
# Drives that a virtual machine shares with its host.
_HOST_DRIVES = ("9p", "virtiofs", "vboxsf", "prl_fs", "drvfs")
_LOCAL_OPTIONS = {"nolock", "local_lock=all", "local_lock=flock", "localflock", "nobrl"}
"""Mount options that make locks local: of NFS (nfs(5)), Lustre (mount.lustre(8)) and SMB (mount.cifs(8))."""


@contextmanager
def lock(path: Path, resource: str, *, wait: bool = False) -> Iterator[None]:
    """Hold an exclusive lock on the file `path` for the length of the block.

    The system releases the lock when the process ends in any way, so there are no stale locks. The file is never
    removed: otherwise one process could hold the lock of the removed file, and another that of a new one.

    The file names the process that holds the lock. On a drive whose locks other machines do not see, the lock counts
    as held while the file names a process of another machine.

    Parameters
    ----------
    path : Path
        The lock file; it is empty after the lock is released.
    resource : str
        What is locked, for the message, such as "experiment 12".
    wait : bool
        Wait for the other process instead of raising BusyError.

    Raises
    ------
    BusyError
        When another process holds the lock; the message names it and the time.
    StorageError
        When the drive has no locks, or the file can't be written.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            lock_descriptor(descriptor, wait=wait)
        except BlockingIOError:
            raise BusyError(
                f"{resource} is in use by {_holder_text(path)}", hint="wait for it, or stop that process"
            ) from None
        except OSError as exc:
            raise _as_unsupported(path, exc) from exc
        _refuse_other_machine(path, resource)
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat("T", "seconds"),
        }
        with storage_errors(path):
            os.ftruncate(descriptor, write_at_start(descriptor, json.dumps(holder).encode()))
        try:
            yield
        finally:
            # The work under the lock succeeded: a failure to empty the file must not hide that.
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
    finally:
        close_locked(descriptor)


def _as_unsupported(path: Path, exc: OSError) -> OSError:
    if exc.errno not in _UNSUPPORTED_ERRNOS:
        return exc
    return StorageError(
        f"{path} can't be locked: its drive has no locks between processes ({exc.strerror})",
        hint="move the workspace to a drive that has: a local disk, NFS with its lock service, Lustre with -o flock",
    )


def _refuse_other_machine(path: Path, resource: str) -> None:
    """Raise BusyError if the file names a process of another machine and the drive does not share locks."""
    holder = _read_holder(path)
    drive = unshared_drive(path) if holder.get("host", socket.gethostname()) != socket.gethostname() else None
    if drive is not None:
        raise BusyError(
            f"{resource} may be in use by {_holder_text(path)}: whether it still runs can't be seen from here, as "
            f"locks on this drive ({drive}) are not shared between machines",
            hint=f"check there; if that process is gone, empty the file {path}",
        )


def _read_holder(path: Path) -> dict[str, Any]:
    try:
        holder = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _holder_text(path: Path) -> str:
    try:
        holder = _read_holder(path)
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except KeyError:
        return "another process"


def is_locked(path: Path) -> bool:
    """Tell whether another process (or another part of this one) holds the lock on `path`.

    If the file can't be opened or the drive has no locks, the lock counts as held.
    """
    try:
        descriptor = _open_lock_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    try:
        lock_descriptor(descriptor)
    except OSError:
        return True
    finally:
        close_locked(descriptor)
    this_host = socket.gethostname()
    return _read_holder(path).get("host", this_host) != this_host and unshared_drive(path) is not None


def _open_lock_file(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR)
    except OSError as exc:
        # A read-only file, such as another user's, can be locked as well.
        if exc.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return os.open(path, os.O_RDONLY)


def unshared_drive(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the file system of `path` if other machines may use it without seeing the locks of this one.

    None if locks are shared, if the drive is local, or if it is not known.

    Parameters
    ----------
    mounts : Path
        A file in the format of ``/proc/[pid]/mountinfo``, see proc(5).
    """
    try:
        resolved, lines = str(path.resolve()), mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    unshared_kind, longest = None, 0
    for line in lines:
        mount, drive = (part.split(" ") for part in line.partition(" - ")[::2])
        if len(mount) < 6 or len(drive) < 3:
            continue
        mount_point = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), mount[4]).rstrip("/")
        if f"{resolved}/".startswith(f"{mount_point}/") and len(mount_point) >= longest:
            options = {*drive[2].split(","), *mount[5].split(",")}
            unshared_kind, longest = _unshared_kind(drive[0], options), len(mount_point)
    return unshared_kind


def _unshared_kind(kind: str, options: set[str]) -> str | None:
    if kind in _HOST_DRIVES or (kind.startswith("fuse") and kind not in _SHARED_FUSE):
        return kind
    local_options = sorted(options & _LOCAL_OPTIONS) if kind.startswith(("nfs", "lustre", "cifs", "smb")) else []
    return f"{kind} with {', '.join(local_options)}" if local_options else None
