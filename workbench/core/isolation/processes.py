"""Which processes there are, from /proc; elsewhere, from ``ps``."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

__all__ = ["descendants", "inner_number", "with_variable"]

PROC = Path("/proc")


def descendants(pid: int) -> dict[int, tuple[int, int]]:
    """Return the processes that a process has started, at any remove: number -> its parent and its resident bytes."""
    every = dict(_from_proc() if (PROC / "self" / "stat").exists() else _from_ps())
    children: dict[int, list[int]] = {}
    for child, (parent, _) in every.items():
        children.setdefault(parent, []).append(child)
    below: dict[int, tuple[int, int]] = {}
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            below[child] = every[child]
            waiting.append(child)
    return below


def inner_number(pid: int) -> int | None:
    """Return the number of a process in a namespace right below ours; None where it is gone, or in none such."""
    try:
        text = (PROC / str(pid) / "status").read_text()
    except OSError:
        return None
    numbers = next((line.split()[1:] for line in text.splitlines() if line.startswith("NSpid:")), [])
    return int(numbers[-1]) if len(numbers) == 2 else None


def with_variable(name: str, value: str) -> set[int]:
    """Return the processes that were started with a variable of this value; only one's own can be looked at."""
    entry, pids = f"{name}={value}".encode(), set()
    for folder in PROC.glob("[0-9]*"):
        try:
            if entry in (folder / "environ").read_bytes().split(b"\0"):
                pids.add(int(folder.name))
        except OSError:
            continue
    return pids


def _from_proc() -> Iterator[tuple[int, tuple[int, int]]]:
    page = os.sysconf("SC_PAGE_SIZE")
    for stat in PROC.glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            yield int(stat.parent.name), (int(fields[1]), int(fields[21]) * page)


def _from_ps() -> Iterator[tuple[int, tuple[int, int]]]:
    try:
        text = subprocess.run(
            ["ps", "-axo", "pid=,ppid=,rss="], capture_output=True, text=True, check=False, timeout=10
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return
    for line in text.splitlines():
        pid, parent, kilobytes = map(int, line.split())
        yield pid, (parent, kilobytes * 1024)
