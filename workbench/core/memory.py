"""How much memory there is, how much may be used, and how much was."""

from __future__ import annotations

import os
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.core.errors import ConfigError

__all__ = [
    "PeakMemory",
    "available_bytes",
    "bound_polars",
    "default_limit",
    "group_limits",
    "is_in_memory",
    "machine_bytes",
    "measured_peak",
    "parse_bytes",
    "shown_bytes",
    "used_bytes",
]

SHARE = 0.6
"""Of the machine's memory: the rest is for the system, its cache of files, and what else runs."""

SPARE = 0.05
"""Of the machine's memory: so much of what is free is left to others."""

POLARS_BUDGET = "POLARS_OOC_MEMORY_BUDGET_MB"

_UNITS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_bytes(text: str, *, where: str) -> int:
    """Return the bytes that "8 GB", "500M" or "60%" (of the machine's memory) mean; units are powers of 1,024.

    Raises
    ------
    ConfigError
        For anything else; `where` names the place it was written.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT]?)i?B?|(%))\s*", text, re.IGNORECASE)
    value = _bytes_of(*match.groups(default="")) if match else 0
    if value < 1:
        raise ConfigError(f"{where}: {text!r} is not an amount of memory", hint='write it as "8GB", "500MB" or "60%"')
    return int(value)


def _bytes_of(number: str, unit: str, percent: str) -> float:
    return float(number) * (machine_bytes() / 100 if percent else _UNITS[unit.upper()])


def shown_bytes(size_bytes: float) -> str:
    """Return a size for people: "3.2 GB".

    Examples
    --------
    >>> shown_bytes(3_435_973_837), shown_bytes(52_428_800), shown_bytes(900)
    ('3.2 GB', '50.0 MB', '900 B')
    """
    for unit in ("B", "KB", "MB", "GB"):
        if size_bytes < 1024 or unit == "GB":
            break
        size_bytes /= 1024
    return f"{size_bytes:,.0f} B" if unit == "B" else f"{size_bytes:,.1f} {unit}"


def machine_bytes() -> int:
    """Return the memory that this process can have: the machine's, or its control group's limit where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [total]
    for path in group_limits(_group_text()):
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return min(limits)


def _group_text() -> str:
    try:
        return Path("/proc/self/cgroup").read_text()
    except OSError:
        return ""


def group_limits(text: str) -> list[Path]:
    """Return the files that may hold a limit of a control group, or of one that it lies in; for either version.

    Parameters
    ----------
    text : str
        What ``/proc/self/cgroup`` says.

    Examples
    --------
    >>> [str(p) for p in group_limits("4:memory:/a/b")][2:]  # after the two of a container's own root
    ['/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes', '/sys/fs/cgroup/memory/a/memory.limit_in_bytes']
    """
    root = Path("/sys/fs/cgroup")
    # In a container the path may be the host's: then the root is the container's own group.
    paths = [root / "memory.max", root / "memory/memory.limit_in_bytes"]
    for line in text.splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        of_memory = "memory" in controllers.split(",")
        if of_memory or not controllers:
            top, name = (root / "memory", "memory.limit_in_bytes") if of_memory else (root, "memory.max")
            group_folder = top / path.lstrip("/")
            paths += [p / name for p in (group_folder, *group_folder.parents) if p != top and p.is_relative_to(top)]
    return paths


def available_bytes() -> int:
    """Return the memory that this process could still take: what the machine, and its control group, have left.

    What the system holds of files, and would give up, is left, too. Where the system does not say: all of it.
    """
    free = [machine_bytes()]
    try:
        meminfo = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        meminfo = None
    if meminfo:
        free.append(int(meminfo[1]) * 1024)
    for path in group_limits(_group_text()):
        used = path.with_name("memory.current" if path.name == "memory.max" else "memory.usage_in_bytes")
        try:
            limit, taken, stat = path.read_text(), used.read_text(), path.with_name("memory.stat").read_text()
        except OSError:
            continue
        if limit.strip().isdigit():
            of_files = re.findall(r"^(?:total_)?inactive_file (\d+)", stat, re.MULTILINE)
            free.append(int(limit) - int(taken) + max(map(int, of_files), default=0))
    return max(0, min(free))


def is_in_memory(folder: Path) -> bool:
    """Say whether a folder's files lie in memory, as those of /dev/shm do, and on many machines those of /tmp."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return False
    place = folder.resolve()
    # Spaces in names are written as \\040. Of two that are mounted in one place the later one is seen.
    of_place = [(m[1].replace("\\040", " "), m[2]) for m in mounts if len(m) > 2]
    around = [(path, kind) for path, kind in of_place if place.is_relative_to(path)]
    return bool(around) and max(reversed(around), key=lambda m: len(m[0]))[1] in ("tmpfs", "ramfs")


def default_limit() -> int:
    """Return the memory to stay within where nothing else is said: 60% of `machine_bytes`, or what is free if less.

    What this process has taken already is its own; 5% of the machine's memory stays free for others. So several
    trainings at a time do not each count on the same memory.
    """
    total = machine_bytes()
    return max(1, min(int(SHARE * total), used_bytes() + available_bytes() - int(SPARE * total)))


def used_bytes(pid: int | None = None) -> int:
    """Return the resident memory of this process, or another, now; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{'self' if pid is None else pid}/statm").read_text().split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
    except (OSError, ValueError, IndexError):
        return 0


def bound_polars(limit_bytes: int) -> None:
    """Let polars' own operators write to disk what goes beyond half of the limit; before polars is first imported.

    A budget that the environment already has stays. polars reads it once, when it starts.
    """
    os.environ.setdefault(POLARS_BUDGET, str(max(64, limit_bytes // 2**21)))


# ---------------------------------------------------------------------------------------------------- what was used


class PeakMemory:
    """The peak resident memory of this process since a `measured_peak` block began, to its end or to now."""

    def __init__(self) -> None:
        self._highest_mb = 0.0
        self._open = True

    @property
    def mb(self) -> float:
        """The peak in MB (2**20 bytes)."""
        if self._open:
            self._look()
        return self._highest_mb

    def _look(self) -> None:
        self._highest_mb = max(self._highest_mb, _peak_mb())

    def _close(self) -> None:
        self._look()
        self._open = False


_open: list[PeakMemory] = []


@contextmanager
def measured_peak() -> Iterator[PeakMemory]:
    """Measure the peak resident memory of a block; blocks may lie within each other.

    The system keeps one peak per process, which on Linux can be set back: the blocks that are open look at it first.
    """
    for outer in _open:
        outer._look()
    _set_back()
    meter = PeakMemory()
    _open.append(meter)
    try:
        yield meter
    finally:
        meter._close()
        _open.remove(meter)


def _set_back() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_mb() -> float:
    try:
        status = Path("/proc/self/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 1024, 1)
    except (OSError, StopIteration):
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
