"""List processes: from /proc, or from ``ps`` on systems without it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from workbench.core.operating_system import page_bytes

__all__ = ["descendants", "inner_pid", "processes_with_variable"]

PROC = Path("/proc")


def descendants(pid: int) -> dict[int, tuple[int, int]]:
    """Return the descendants of a process: process id -> parent id and resident bytes."""
    processes = dict(_from_proc() if (PROC / "self" / "stat").exists() else _from_ps())
    children: dict[int, list[int]] = {}
    for child, (parent, _) in processes.items():
        children.setdefault(parent, []).append(child)
    descendant_processes: dict[int, tuple[int, int]] = {}
    pending = [pid]
    while pending:
        for child in children.get(pending.pop(), []):
            descendant_processes[child] = processes[child]
            pending.append(child)
    return descendant_processes


def inner_pid(pid: int) -> int | None:
    """Return the id of a process in its own process namespace; None if it has ended.

    None, too, unless that namespace is a direct child of the one of this process.
    """
    try:
        text = (PROC / str(pid) / "status").read_text()
    except OSError:
        return None
    pids = next((line.split()[1:] for line in text.splitlines() if line.startswith("NSpid:")), [])
    return int(pids[-1]) if len(pids) == 2 else None


def processes_with_variable(name: str, value: str) -> set[int]:
    """Return the ids of this user's processes that were started with an environment variable of this value."""
    entry, pids = f"{name}={value}".encode(), set()
    for folder in PROC.glob("[0-9]*"):
        try:
            if entry in (folder / "environ").read_bytes().split(b"\0"):
                pids.add(int(folder.name))
        except OSError:
            continue
    return pids


def _from_proc() -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield the process id, and the parent's id with the memory in bytes, of each process in /proc."""
    page_size = page_bytes()
    for stat in PROC.glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            yield int(stat.parent.name), (int(fields[1]), int(fields[21]) * page_size)


def _from_ps() -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield the process id, and the parent's id with the memory in bytes, of each process that `ps` lists."""
    try:
        text = subprocess.run(
            ["ps", "-axo", "pid=,ppid=,rss="], capture_output=True, text=True, check=False, timeout=10
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return
    for line in text.splitlines():
        pid, parent_pid, kilobytes = map(int, line.split())
        yield pid, (parent_pid, kilobytes * 1024)
