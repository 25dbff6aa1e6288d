"""How many threads a training takes, and how they wait for each other, so that other processes can compute, too."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["available_cores", "container_quota", "cpu_quota", "let_others_compute", "threads_for"]

VALUES_PER_THREAD = 250_000
"""Values of the table (rows times columns) for each thread."""

SPINS = "1000"
"""So often a thread of OpenMP looks for work before it sleeps; libgomp's own number for more threads than cores."""


USUAL_PERIOD = "100000"
"""The microseconds in which a quota holds where no period is said, as the kernel has it."""


def threads_for(rows: int, columns: int, *, cores: int | None = None) -> int:
    """Return how many threads a training on a table takes where nobody says how many.

    The threads of a training wait for each other many times a round. On a small table the work between is shorter than
    the wait, and beside other processes each wait may be for a thread that has no core at all. What two threads took
    for sixty rounds of LightGBM, as a multiple of what one took, on two cores that others used, too:

    ============  ======  ======  ======  =======  =======  =======
    rows          500     624     1,500   2,000    4,000    5,000
    columns       10      12      40      50       50       100
    values        5,000   7,488   60,000  100,000  200,000  500,000
    two threads   5.0     5.0     2.1     2.3      1.1      1.3
    ============  ======  ======  ======  =======  =======  =======

    Parameters
    ----------
    rows, columns : int
        Of the table that is trained on.
    cores : int, optional
        That the process may use; looked up where it is not said.

    Examples
    --------
    >>> threads_for(624, 12, cores=16), threads_for(8_000, 100, cores=16), threads_for(400_000, 80, cores=16)
    (1, 3, 16)
    """
    available = available_cores() if cores is None else cores
    return max(1, min(available, rows * columns // VALUES_PER_THREAD))


def available_cores() -> int:
    """Return how many cores the process can keep busy: those that it may use, and no more than its quota of time.

    A container that is given two of 64 cores mostly sees all of them: its control group stops it for the rest of each
    period once the quota is used up, and 64 threads wait for each other meanwhile.
    """
    quota = container_quota()
    cores = len(os.sched_getaffinity(0))
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def container_quota(root: Path = Path("/sys/fs/cgroup"), group: str | None = None) -> float | None:
    """Return how many cores' time the control groups of this process give, the least of all; None without a bound.

    Parameters
    ----------
    root : Path
        Where the control groups' files are.
    group : str, optional
        Which groups the process is in, as ``/proc/self/cgroup`` says it; read there by default.
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
    """Return the folders of the process's control groups and of those that they lie in, for either version."""
    # In a container the path may be the host's: then the root is the container's own group.
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
    """Return how many cores' time a control group gives; None where it sets no bound.

    Parameters
    ----------
    texts : mapping
        What its files say: "cpu.max" of version 2, "cpu.cfs_quota_us" and "cpu.cfs_period_us" of version 1.

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
    period = period or USUAL_PERIOD
    if not quota.isdigit() or not period.isdigit():
        return None
    return int(quota) / int(period) if int(quota) and int(period) else None


def let_others_compute() -> None:
    """Have OpenMP's threads wait asleep, unless the environment says how; to be called before anything loads it.

    As it comes, a thread that waits for others keeps its core for some milliseconds. Beside other processes those that
    it waits for then have no core to go on: trainings take ten times as long, and more. Processes that are started
    from here, as notebooks are, have it from the environment.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
