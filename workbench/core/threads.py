"""The number of threads for training, and how they wait, so that other processes get their share of the cores."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from workbench.core.operating_system import busy_core_seconds, usable_cores

__all__ = [
    "CoreLoad",
    "IdleCores",
    "available_cores",
    "boosting_threads",
    "container_quota",
    "cpu_quota",
    "set_openmp_spin_count",
    "threads_for",
]

VALUES_PER_THREAD = 250_000
"""Values of the table (rows times columns) per thread; see the measurements in `threads_for`."""

MIN_VALUES_OF_TWO_THREADS = 20_000
"""From this many values of the table on, two threads are faster than one on two idle cores; see `boosting_threads`."""

MIN_LOAD_S = 0.05
"""The least time over which the load of the cores is measured: five of the ticks in which Linux counts it."""

MAX_LOAD_S = 3.0
"""The load of an earlier time says nothing about the present."""

MAX_NOISE_CORES = 0.3
"""A core that other processes use for a smaller share of the time counts as idle."""

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


def boosting_threads(rows: int, columns: int, *, cores: int | None = None, n_idle: int | None = None) -> int:
    """Return the default number of threads for training LightGBM, whose models do not depend on it.

    It is that of `threads_for`, or two where that is one, two cores are idle, and the table is not tiny. Time of two
    threads for sixty rounds relative to one thread, on two cores that are otherwise idle, or with one of them busy:

    ============  ======  ======  ======  =======  =======  =======
    rows          500     1,000   1,500   2,000    4,000    4,000
    columns       10      20      40      50       50       80
    values        5,000   20,000  60,000  100,000  200,000  320,000
    both idle     1.21    0.83    0.75    0.68     0.70     0.63
    one busy      9.3     3.4     2.4     2.0      2.0      1.6
    ============  ======  ======  ======  =======  =======  =======

    More than two were not measured on such tables, and have more to wait for.

    Parameters
    ----------
    rows, columns : int
        The size of the train table.
    cores : int, optional
        The number of available cores, by default `available_cores`.
    n_idle : int, optional
        The number of idle ones among them; by default they are counted.

    Examples
    --------
    >>> boosting_threads(4_000, 80, cores=8, n_idle=8), boosting_threads(4_000, 80, cores=8, n_idle=1)
    (2, 1)
    """
    n_threads = threads_for(rows, columns, cores=cores)
    max_threads = available_cores() if cores is None else cores
    if n_threads > 1 or max_threads == 1 or rows * columns < MIN_VALUES_OF_TWO_THREADS:
        return n_threads
    return 2 if (IDLE_CORES.count() if n_idle is None else n_idle) >= 2 else 1


class CoreLoad(NamedTuple):
    """The time that was spent until a moment, in seconds.

    Attributes
    ----------
    at_s : float
        The moment, by `time.monotonic`.
    busy_s, own_s : float
        The time that the cores of the process's affinity mask were busy, and the CPU time of this process.
    """

    at_s: float
    busy_s: float
    own_s: float

    @classmethod
    def now(cls) -> CoreLoad | None:
        """Return the present load; None where the system does not tell."""
        busy_s = busy_core_seconds()
        return None if busy_s is None else cls(time.monotonic(), busy_s, time.process_time())

    def n_used_by_others(self, earlier: CoreLoad) -> float:
        """Return how many cores other processes used on average since an earlier moment."""
        own_s = self.own_s - earlier.own_s
        return max(0.0, self.busy_s - earlier.busy_s - own_s) / max(self.at_s - earlier.at_s, 1e-9)


class IdleCores:
    """Measures how many of the available cores other processes leave idle.

    The load is that since the last measurement, or since it was created, if that is long enough ago and not too long;
    otherwise it waits for `MIN_LOAD_S` seconds.
    """

    def __init__(self) -> None:
        self._load = CoreLoad.now()
        self._n_idle: int | None = None

    def count(self) -> int:
        """Return the number of idle cores; 0 where the system does not tell."""
        now, earlier = CoreLoad.now(), self._load
        if now is None or earlier is None:
            return 0
        if self._n_idle is None or now.at_s - earlier.at_s > MAX_LOAD_S:
            if not MIN_LOAD_S <= now.at_s - earlier.at_s <= MAX_LOAD_S:
                time.sleep(MIN_LOAD_S)
                now, earlier = CoreLoad.now() or now, now
            n_used = now.n_used_by_others(earlier)
            self._load, self._n_idle = now, max(0, available_cores() - math.ceil(n_used - MAX_NOISE_CORES))
        return self._n_idle


IDLE_CORES = IdleCores()
"""Created when the module is imported, so that a command has measured the load when it begins to train."""


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
