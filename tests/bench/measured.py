"""Measuring: medians, and whole processes with their peak memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["median_seconds", "process", "row"]


def median_seconds(function: Callable[[], Any], repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def process(command: Sequence[str], cwd: Path, env: dict[str, str] | None = None) -> tuple[float, float]:
    """Run a process and return its seconds and its peak resident memory in MB, both as the system counts them."""
    started = time.perf_counter()
    child = subprocess.Popen(
        list(command), cwd=cwd, env=os.environ | (env or {}), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    errors = child.stderr.read().decode() if child.stderr else ""
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{errors}")
    return seconds, usage.ru_maxrss / 1024


def row(case: str, measure: str, unit: str, ours: float, theirs: dict[str, float]) -> dict[str, Any]:
    """A row of a cost: the ratio is theirs over ours."""
    ratio = {name: value / ours for name, value in theirs.items()}
    return {"case": case, "measure": measure, "unit": unit, "ours": ours, "theirs": theirs, "ratio": ratio}
