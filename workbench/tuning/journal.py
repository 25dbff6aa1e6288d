"""The journal of a study: its lock, and its repair after a process was killed while it wrote."""

from __future__ import annotations

import json
import os
from pathlib import Path

from workbench.core.cache import atomic
from workbench.core.errors import DamagedError
from workbench.core.operating_system import close_locked, lock_descriptor

__all__ = ["JournalLock", "repair_journal"]


class JournalLock:
    """A lock that the system releases when its process ends, in whatever way.

    Optuna's own locks are files; a killed process leaves them behind, and other processes then wait for them.
    """

    def __init__(self, journal: Path) -> None:
        self._path = journal.with_name(f".{journal.name}.lock")
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        lock_descriptor(descriptor, wait=True)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Release the lock."""
        # Cleared before it is closed: another thread that waits for the lock then sets its own descriptor at once.
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            close_locked(descriptor)


def repair_journal(path: Path) -> None:
    """Remove what makes a journal unreadable without information: blank lines, and an unfinished entry at the end.

    Raises
    ------
    DamagedError
        When a damaged entry is followed by others: without it they would refer to other trials.
    """
    if not path.exists():
        return
    journal_lock = JournalLock(path)
    journal_lock.acquire()
    try:
        data = path.read_bytes()
        lines = data.split(b"\n")
        # Without a newline at its end the last line is unfinished, even if it parses.
        entries = {n: line for n, line in enumerate(lines[:-1], 1) if line.strip()}
        last = max((n for n, line in entries.items() if _is_entry(line)), default=0)
        for number, line in entries.items():
            if number < last and not _is_entry(line):
                raise DamagedError(
                    f"{path}: line {number:,} of {last:,} is damaged, and the trials after it depend on it",
                    hint=f"restore the file from a copy; or rename it, and the study starts over: "
                    f"mv {path} {path}.damaged",
                )
        repaired = b"".join(line + b"\n" for number, line in entries.items() if number <= last)
        if data.startswith(repaired):
            if len(repaired) < len(data):
                with path.open("r+b") as file:
                    file.truncate(len(repaired))
        else:
            with atomic(path) as temporary:
                temporary.write_bytes(repaired)
    finally:
        journal_lock.release()


def _is_entry(line: bytes) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and {"op_code", "worker_id"} <= entry.keys()
