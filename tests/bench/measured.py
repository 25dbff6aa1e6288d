"""Measuring: medians, and whole processes with their peak memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["median_seconds", "process", "row", "seen_peak"]


def median_seconds(function: Callable[[], Any], repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def process(command: Sequence[str], cwd: Path, env: dict[str, str] | None = None) -> tuple[float, float]:
    """Run a process and return its seconds and its peak resident memory in MB.

    The peak is what the system counts, or the most that was seen every few milliseconds: a process can set the former back.
    """
    started = time.perf_counter()
    child = subprocess.Popen(
        list(command), cwd=cwd, env=os.environ | (env or {}), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with seen_peak(child.pid) as seen:
        _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    errors = child.stderr.read().decode() if child.stderr else ""
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{errors}")
    return seconds, max(usage.ru_maxrss / 1024, seen[0])


@contextmanager
def seen_peak(pid: int) -> Iterator[list[float]]:
    """Look at the resident memory of a process again and again; the one item of the list is its peak so far, in MB."""
    seen, done = [0.0], threading.Event()
    page, statm = os.sysconf("SC_PAGE_SIZE"), Path(f"/proc/{pid}/statm")

    def look() -> None:
        while not done.wait(0.005):
            try:
                seen[0] = max(seen[0], int(statm.read_text().split()[1]) * page / 2**20)
            except (OSError, IndexError):
                return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def row(case: str, measure: str, unit: str, ours: float, theirs: dict[str, float]) -> dict[str, Any]:
    """A row of a cost: the ratio is theirs over ours."""
    ratio = {name: value / ours for name, value in theirs.items()}
    return {"case": case, "measure": measure, "unit": unit, "ours": ours, "theirs": theirs, "ratio": ratio}
