"""A study's journal: its lock, and what a killed process leaves at its end."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from workbench.core.cache import atomic
from workbench.core.errors import DamagedError

__all__ = ["JournalLock", "repair_journal"]


class JournalLock:
    """The journal's lock: let go by the system when its process ends, however it ends.

    Optuna's own locks are files that a killed process leaves behind, and the others wait for them.
    """

    def __init__(self, journal: Path) -> None:
        self._path = journal.with_name(f".{journal.name}.lock")
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let the lock go."""
        # Forgotten before it is closed: whoever waits for it, in another thread, sets its own at once.
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def repair_journal(path: Path) -> None:
    """Take out what makes a journal unreadable and says nothing: blank lines, and what was being written at its end.

    Raises
    ------
    DamagedError
        When an entry is damaged that others follow: without it these would be of other trials.
    """
    if not path.exists():
        return
    journal_lock = JournalLock(path)
    journal_lock.acquire()
    try:
        data = path.read_bytes()
        lines = data.split(b"\n")
        # The end of a file without its last line end is half a line, though it may read like a whole one.
        entries = {n: line for n, line in enumerate(lines[:-1], 1) if line.strip()}
        last = max((n for n, line in entries.items() if _is_entry(line)), default=0)
        for number, line in entries.items():
            if number < last and not _is_entry(line):
                raise DamagedError(
                    f"{path}: line {number:,} of {last:,} is damaged, and the trials after it depend on it",
                    hint=f"put the file back from a copy; or rename it, and the study begins anew: "
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
