"""How many threads a training takes, and how they wait for each other, so that other processes can compute, too."""

from __future__ import annotations

import os

__all__ = ["let_others_compute", "threads_for"]

VALUES_PER_THREAD = 250_000
"""So many values of the table (rows times columns) for each thread."""

SPINS = "1000"
"""So often a thread of OpenMP looks for work before it sleeps; libgomp's own number for more threads than cores."""


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
    available = len(os.sched_getaffinity(0)) if cores is None else cores
    return max(1, min(available, rows * columns // VALUES_PER_THREAD))


def let_others_compute() -> None:
    """Have OpenMP's threads wait asleep, unless the environment says how; to be called before anything loads it.

    As it comes, a thread that waits for others keeps its core for some milliseconds. Beside other processes those that
    it waits for then have no core to go on: trainings take ten times as long, and more. Processes that are started
    from here, as notebooks are, have it from the environment.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
