"""Memory of the machine: available memory, limits, and peak usage."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.core.errors import ConfigError
from workbench.core.operating_system import machine_memory_bytes, page_bytes, peak_memory_mb

__all__ = [
    "PeakMemory",
    "available_bytes",
    "default_limit",
    "format_bytes",
    "group_limits",
    "is_in_memory",
    "limit_polars_memory",
    "machine_bytes",
    "measured_peak",
    "parse_bytes",
    "used_bytes",
]

DEFAULT_SHARE = 0.6
"""The default limit as a fraction of the machine's memory; the rest is for the system and its file cache."""

RESERVED_SHARE = 0.05
"""The fraction of the machine's memory that is left free for other processes."""

POLARS_BUDGET = "POLARS_OOC_MEMORY_BUDGET_MB"

_UNITS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_bytes(text: str, *, where: str) -> int:
    """Parse "8 GB", "500M" or "60%" (of the machine's memory) to a number of bytes; units are powers of 1,024.

    Raises
    ------
    ConfigError
        For anything else; the message begins with `where`.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT]?)i?B?|(%))\s*", text, re.IGNORECASE)
    value = _to_bytes(*match.groups(default="")) if match else 0
    if value < 1:
        raise ConfigError(f"{where}: {text!r} is not an amount of memory", hint='write it as "8GB", "500MB" or "60%"')
    return int(value)


def _to_bytes(number: str, unit: str, percent: str) -> float:
    return float(number) * (machine_bytes() / 100 if percent else _UNITS[unit.upper()])


def format_bytes(size_bytes: float) -> str:
    """Format a size for people: "3.2 GB".

    Examples
    --------
    >>> format_bytes(3_435_973_837), format_bytes(52_428_800), format_bytes(900)
    ('3.2 GB', '50.0 MB', '900 B')
    """
    for unit in ("B", "KB", "MB", "GB"):
        if size_bytes < 1024 or unit == "GB":
            break
        size_bytes /= 1024
    return f"{size_bytes:,.0f} B" if unit == "B" else f"{size_bytes:,.1f} {unit}"


def machine_bytes() -> int:
    """Return the memory of the machine, or the limit of this process's control group if that is less."""
    limits = [machine_memory_bytes()]
    for path in group_limits(_read_cgroup()):
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return min(limits)


def _read_cgroup() -> str:
    try:
        return Path("/proc/self/cgroup").read_text()
    except OSError:
        return ""


def group_limits(text: str) -> list[Path]:
    """Return the files that may hold the memory limit of a control group or of its parents, for cgroup v1 and v2.

    Parameters
    ----------
    text : str
        The content of ``/proc/self/cgroup``.

    Examples
    --------
    >>> [str(p) for p in group_limits("4:memory:/a/b")][2:]  # after the two of a container's own root
    ['/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes', '/sys/fs/cgroup/memory/a/memory.limit_in_bytes']
    """
    root = Path("/sys/fs/cgroup")
    # In a container the path may be that of the host; the container's own group is then the root.
    paths = [root / "memory.max", root / "memory/memory.limit_in_bytes"]
    for line in text.splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        is_v1 = "memory" in controllers.split(",")
        if is_v1 or not controllers:
            top, name = (root / "memory", "memory.limit_in_bytes") if is_v1 else (root, "memory.max")
            group_folder = top / path.lstrip("/")
            paths += [p / name for p in (group_folder, *group_folder.parents) if p != top and p.is_relative_to(top)]
    return paths


def available_bytes() -> int:
    """Return the memory that the machine and the control group of this process have left.

    The system's file cache counts as available. If the system does not tell, it is all memory.
    """
    free = [machine_bytes()]
    try:
        meminfo = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        meminfo = None
    if meminfo:
        free.append(int(meminfo[1]) * 1024)
    for path in group_limits(_read_cgroup()):
        usage_path = path.with_name("memory.current" if path.name == "memory.max" else "memory.usage_in_bytes")
        try:
            limit, usage, stat = path.read_text(), usage_path.read_text(), path.with_name("memory.stat").read_text()
        except OSError:
            continue
        if limit.strip().isdigit():
            file_cache = re.findall(r"^(?:total_)?inactive_file (\d+)", stat, re.MULTILINE)
            free.append(int(limit) - int(usage) + max(map(int, file_cache), default=0))
    return max(0, min(free))


def is_in_memory(folder: Path) -> bool:
    """Tell whether a folder is on a file system in memory: /dev/shm, and on many machines /tmp."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return False
    resolved = folder.resolve()
    # Spaces are written as \\040. The later of two mounts in one place hides the earlier.
    mount_points = [(m[1].replace("\\040", " "), m[2]) for m in mounts if len(m) > 2]
    parents = [(path, kind) for path, kind in mount_points if resolved.is_relative_to(path)]
    return bool(parents) and max(reversed(parents), key=lambda m: len(m[0]))[1] in ("tmpfs", "ramfs")


def default_limit() -> int:
    """Return the default memory limit of this process: 60% of `machine_bytes`, or what is available if less.

    Memory that this process uses already counts as available to it; 5% of the machine's memory stays free. This way
    trainings that run at the same time do not plan with the same memory.
    """
    total = machine_bytes()
    return max(1, min(int(DEFAULT_SHARE * total), used_bytes() + available_bytes() - int(RESERVED_SHARE * total)))


def used_bytes(pid: int | None = None) -> int:
    """Return the current resident memory of this or another process; 0 if the system does not tell."""
    try:
        pages = int(Path(f"/proc/{'self' if pid is None else pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * page_bytes()


def limit_polars_memory(limit_bytes: int) -> None:
    """Make polars spill to disk beyond half of the limit; to be called before polars is first imported.

    polars reads the environment variable once, at its start. A value that it already has is kept.
    """
    os.environ.setdefault(POLARS_BUDGET, str(max(64, limit_bytes // 2**21)))


# -------------------------------------------------------------------------------------------------------- peak usage


class PeakMemory:
    """The peak resident memory of this process during a `measured_peak` block, up to now if it is running."""

    def __init__(self) -> None:
        self._highest_mb = 0.0
        self._is_open = True

    @property
    def mb(self) -> float:
        """The peak in MB (2**20 bytes)."""
        if self._is_open:
            self._update()
        return self._highest_mb

    def _update(self) -> None:
        self._highest_mb = max(self._highest_mb, _peak_mb())

    def _close(self) -> None:
        self._update()
        self._is_open = False


_open_meters: list[PeakMemory] = []


@contextmanager
def measured_peak() -> Iterator[PeakMemory]:
    """Measure the peak resident memory of a block; blocks may be nested.

    The system keeps one peak per process. It is reset at the start of a block (Linux only), after the outer blocks have
    read it.
    """
    for outer in _open_meters:
        outer._update()
    _reset_peak()
    meter = PeakMemory()
    _open_meters.append(meter)
    try:
        yield meter
    finally:
        meter._close()
        _open_meters.remove(meter)


def _reset_peak() -> None:
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
        return round(peak_memory_mb(), 1)
