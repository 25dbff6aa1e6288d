"""A competition hosted in a local folder: hidden solution, grading, public and private part, leaderboard rank.

``competitions/<slug>/rehearsal/`` holds::

    host.toml            what the competition is
    files/               what is served: train, test, sample_submission, further tables
    solution.parquet     hidden: ids, targets, usage
    submissions/         what was received, each with its scores
    leaderboard.csv      where one was given

Of a log of interactions (`LogSpec`) the end is hidden: see `workbench.rehearsal.log`.
"""

from workbench.rehearsal.create import create
from workbench.rehearsal.platform import Rehearsal
from workbench.rehearsal.spec import LogSpec, RehearsalSpec

__all__ = ["LogSpec", "Rehearsal", "RehearsalSpec", "create"]
