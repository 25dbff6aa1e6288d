"""The number of threads for training, and how they wait, so that other processes get their share of the cores."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

from workbench.core.operating_system import usable_cores

__all__ = ["available_cores", "container_quota", "cpu_quota", "set_openmp_spin_count", "threads_for"]

VALUES_PER_THREAD = 250_000
"""Values of the table (rows times columns) per thread; see the measurements in `threads_for`."""

SPIN_COUNT = "1000"
"""How often an OpenMP thread polls for work before it sleeps; libgomp's default for more threads than cores."""

DEFAULT_PERIOD_US = "100000"
"""The period of a CPU quota in microseconds if none is given, the default of the kernel."""


def threads_for(rows: int, columns: int, *, cores: int | None = None) -> int:
    """Return the default number of threads for training on a table.

    The threads synchronise many times per boosting round. On a small table the work between is shorter than the wait,
    and with other processes running each wait may be for a thread that has no core. Time of two threads for sixty
    rounds of LightGBM relative to one thread, on two cores shared with other processes:

    ============  ======  ======  ======  =======  =======  =======
    rows          500     624     1,500   2,000    4,000    5,000
    columns       10      12      40      50       50       100
    values        5,000   7,488   60,000  100,000  200,000  500,000
    two threads   5.0     5.0     2.1     2.3      1.1      1.3
    ============  ======  ======  ======  =======  =======  =======

    Parameters
    ----------
    rows, columns : int
        The size of the train table.
    cores : int, optional
        The number of available cores, by default `available_cores`.

    Examples
    --------
    >>> threads_for(624, 12, cores=16), threads_for(8_000, 100, cores=16), threads_for(400_000, 80, cores=16)
    (1, 3, 16)
    """
    max_threads = available_cores() if cores is None else cores
    return max(1, min(max_threads, rows * columns // VALUES_PER_THREAD))


def available_cores() -> int:
    """Return the number of cores in the process's affinity mask, or in its CPU quota if that is less.

    A container with a quota of two of 64 cores usually sees all of them, but its control group suspends it for the rest
    of each period when the quota is used up.
    """
    quota = container_quota()
    cores = usable_cores()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def container_quota(root: Path = Path("/sys/fs/cgroup"), group: str | None = None) -> float | None:
    """Return the smallest CPU quota, in cores, of this process's control groups; None without a limit.

    Parameters
    ----------
    root : Path
        The mount point of the control groups.
    group : str, optional
        The groups of the process in the format of ``/proc/self/cgroup``, which is read by default.
    """
    if group is None:
        try:
            group = Path("/proc/self/cgroup").read_text()
        except OSError:
            group = ""
    quotas = []
    for folder in _group_folders(root, group):
        texts = {}
        for name in ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"):
            try:
                texts[name] = (folder / name).read_text()
            except OSError:
                continue
        quotas.append(cpu_quota(texts))
    return min((q for q in quotas if q is not None), default=None)


def _group_folders(root: Path, group: str) -> list[Path]:
    """Return the folders of the process's control groups and their parents, for cgroup v1 and v2."""
    # In a container the path may be that of the host; the container's own group is then the root.
    folders = [root, root / "cpu", root / "cpu,cpuacct"]
    for line in group.splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / controllers if controllers else root
        inner = top / path.lstrip("/")
        folders += [p for p in (inner, *inner.parents) if p != top and p.is_relative_to(top)]
    return folders


def cpu_quota(texts: Mapping[str, str]) -> float | None:
    """Return the CPU quota of a control group in cores; None without a limit.

    Parameters
    ----------
    texts : mapping
        File name -> content: "cpu.max" of cgroup v2, "cpu.cfs_quota_us" and "cpu.cfs_period_us" of v1.

    Examples
    --------
    >>> cpu_quota({"cpu.max": "150000 100000"}), cpu_quota({"cpu.max": "max 100000"})
    (1.5, None)
    >>> cpu_quota({"cpu.cfs_quota_us": "200000", "cpu.cfs_period_us": "100000"}), cpu_quota({"cpu.cfs_quota_us": "-1"})
    (2.0, None)
    """
    quota_and_period = texts.get("cpu.max", "").split() or [
        texts.get("cpu.cfs_quota_us", "").strip(),
        texts.get("cpu.cfs_period_us", "").strip(),
    ]
    quota, period = (*quota_and_period, "", "")[:2]
    period = period or DEFAULT_PERIOD_US
    if not quota.isdigit() or not period.isdigit():
        return None
    return int(quota) / int(period) if int(quota) and int(period) else None


def set_openmp_spin_count() -> None:
    """Make waiting OpenMP threads sleep sooner, unless OMP_WAIT_POLICY is set; call this before OpenMP is loaded.

    By default a waiting thread spins for some milliseconds. If other processes use the cores as well, it keeps one from
    the thread that it waits for, and training takes ten times as long or more. Child processes, such as notebooks,
    inherit the setting through the environment.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
