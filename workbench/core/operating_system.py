"""What differs between Linux, macOS and Windows, in one place.

Linux is tested. macOS has all of this except the affinity mask of a process. Windows has neither file locks of this
kind nor several signals, and does not allow a file that is open to be replaced or removed. What depends on that is
refused there by `require_posix`; what remains are reading runs and writing experiment files.

Other modules do not use names that one of the systems lacks: ``make check`` checks the types for each of the three.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from workbench.core.errors import UnsupportedError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl
    import resource
    import select

__all__ = [
    "INTERRUPT_SIGNALS",
    "KILL_SIGNAL",
    "PIPE_BYTES",
    "append_line",
    "busy_core_seconds",
    "close_locked",
    "flush_all_disks",
    "flush_folder",
    "is_blocking",
    "is_ready_for_writing",
    "is_running",
    "let_signals_interrupt_reads",
    "lock_descriptor",
    "machine_memory_bytes",
    "output_encoding",
    "page_bytes",
    "peak_memory_mb",
    "require_posix",
    "unsupported",
    "usable_cores",
    "user_id",
    "user_name",
    "write_at_start",
]

WINDOWS_LOCK_OFFSET = 2**30
"""The byte of a file that is locked on Windows: beyond its content, which other processes could not read otherwise."""

RETRY_S = 0.05
"""How often to try again to lock a file on Windows, which has no lock without a time limit."""

if sys.platform == "win32":
    INTERRUPT_SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
    KILL_SIGNAL = signal.SIGTERM  # os.kill ends the process at once with any signal but those of Ctrl-C
    PIPE_BYTES = 512
else:
    INTERRUPT_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    KILL_SIGNAL = signal.SIGKILL
    PIPE_BYTES = select.PIPE_BUF


def unsupported(operation: str) -> UnsupportedError:
    """Return the error for an operation that Windows does not support, such as "wb run"."""
    return UnsupportedError(
        f"{operation} is not available on Windows: caches, runs and submissions rely on replacing files that are open, "
        "which Windows does not allow",
        hint="use the workbench in WSL (`wsl --install`, then install it there), or on Linux; on Windows itself "
        "runs can be listed and experiments written",
    )


def require_posix(operation: str) -> None:
    """Raise `unsupported` on Windows."""
    if sys.platform == "win32":
        raise unsupported(operation)


# --------------------------------------------------------------------------------------------- processors and memory


def usable_cores() -> int:
    """Return the number of cores in the process's affinity mask, or of the machine where there are no such masks."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def busy_core_seconds() -> float | None:
    """Return how long the cores in the process's affinity mask were busy, summed over them, since the system started.

    None where the system does not tell. See https://docs.kernel.org/filesystems/proc.html, "/proc/stat".
    """
    if sys.platform != "linux":
        return None
    cores, n_ticks = {f"cpu{core}" for core in os.sched_getaffinity(0)}, 0
    try:
        for line in Path("/proc/stat").read_text().splitlines():
            name, *times = line.split()
            if name in cores:
                user, nice, system, _idle, _iowait, irq, softirq = map(int, times[:7])
                n_ticks += user + nice + system + irq + softirq
    except (OSError, ValueError):
        return None
    return n_ticks / os.sysconf("SC_CLK_TCK")


def _unknown_memory() -> UnsupportedError:
    return UnsupportedError(
        "the size of this machine's memory is not known on Windows",
        hint='write an amount of memory as "8GB" or "500MB"',
    )


def page_bytes() -> int:
    """Return the size of a page of memory."""
    if sys.platform == "win32":
        raise _unknown_memory()
    return os.sysconf("SC_PAGE_SIZE")


def machine_memory_bytes() -> int:
    """Return the memory of the machine, whatever the limits of this process."""
    if sys.platform == "win32":
        raise _unknown_memory()
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak_memory_mb() -> float:
    """Return the peak resident memory of this process since its start, in MB."""
    if sys.platform != "win32":
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    raise _unknown_memory()


# ------------------------------------------------------------------------------------------------------------- files


def lock_descriptor(descriptor: int, *, shared: bool = False, wait: bool = False) -> None:
    """Lock an open file until it is closed by `close_locked`, or the process ends.

    Parameters
    ----------
    descriptor : int
    shared : bool
        Whether others may hold a shared lock as well. On Windows every lock is exclusive.
    wait : bool
        Wait for other processes instead of raising BlockingIOError.

    Raises
    ------
    BlockingIOError
        When another process holds the lock.
    OSError
        When the drive has no locks.
    """
    if sys.platform == "win32":
        _lock_on_windows(descriptor, wait=wait)
    else:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))


def _lock_on_windows(descriptor: int, *, wait: bool) -> None:
    if sys.platform == "win32":
        while not _try_lock_on_windows(descriptor):
            if not wait:
                raise BlockingIOError(errno.EWOULDBLOCK, "another process has locked the file")
            time.sleep(RETRY_S)


def _try_lock_on_windows(descriptor: int) -> bool:
    if sys.platform == "win32":
        os.lseek(descriptor, WINDOWS_LOCK_OFFSET, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:  # EACCES: https://learn.microsoft.com/cpp/c-runtime-library/reference/locking
            return False
    return True


def close_locked(descriptor: int) -> None:
    """Close a file that may be locked; this releases the lock."""
    if sys.platform == "win32":
        # Closing releases the lock, too, but at any time later.
        with suppress(OSError):
            os.lseek(descriptor, WINDOWS_LOCK_OFFSET, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    os.close(descriptor)


def write_at_start(descriptor: int, data: bytes) -> int:
    """Write bytes at the start of an open file, and return their number."""
    if sys.platform == "win32":
        os.lseek(descriptor, 0, os.SEEK_SET)
        return os.write(descriptor, data)
    return os.pwrite(descriptor, data, 0)


def append_line(path: Path, line: bytes) -> None:
    """Append a line to a file, on a line of its own even if a killed process left an incomplete one.

    The file is created if it is missing. A link is not followed.
    """
    if sys.platform == "win32":
        raise unsupported("the log of a run")
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        ends_incomplete = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, b"\n" * ends_incomplete + line)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Write a folder's list of files to the disk: otherwise a power cut can undo a rename. Windows has no such call."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_all_disks() -> bool:
    """Write everything that the system has cached to the disks; return False if the system has no such call."""
    if sys.platform == "win32":
        return False
    os.sync()
    return True


# --------------------------------------------------------------------------------------------- processes, signals


def is_running(pid: int) -> bool:
    """Tell whether there is a process with this id; on Windows it always counts as running."""
    if sys.platform == "win32":
        return True  # os.kill would send Ctrl-C to it
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def let_signals_interrupt_reads() -> None:
    """Let Ctrl-C interrupt a system call that is waiting, as on Windows it always does."""
    if sys.platform != "win32":
        signal.siginterrupt(signal.SIGINT, True)


def is_ready_for_writing(descriptor: int, wait_ms: int | None) -> bool:
    """Tell whether a pipe or terminal accepts `PIPE_BYTES`, after at most this time; None waits for it.

    A pipe without a reader is ready: the write then fails. On Windows everything is.
    """
    if sys.platform != "win32":
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        return bool(poll.poll(wait_ms))
    return True


def output_encoding(default: str) -> str:
    """Return the encoding of output to a file or pipe: on Windows UTF-8, as the usual one lacks most letters.

    Parameters
    ----------
    default : str
        Python's choice, which is kept elsewhere, and where PYTHONIOENCODING is set.
    """
    return "utf-8" if sys.platform == "win32" and not os.environ.get("PYTHONIOENCODING") else default


def is_blocking(descriptor: int) -> bool:
    """Tell whether a write to a full pipe waits for its reader."""
    return sys.platform == "win32" or os.get_blocking(descriptor)


# ------------------------------------------------------------------------------------------------------------- users


def user_id() -> int | None:
    """Return the id of the user whose rights this process has; None on Windows, whose files have no such owners."""
    if sys.platform == "win32":
        return None
    return os.geteuid()


def user_name(number: int) -> str:
    """Return the name and id of a user."""
    if sys.platform == "win32":
        return f"user {number}"
    import pwd

    try:
        return f"{pwd.getpwuid(number).pw_name} ({number})"
    except KeyError:
        return f"user {number}"
