"""Local competitions: hosted in a folder, with a hidden solution, public and private scores, and a leaderboard.

Input is a file with the targets (`RehearsalSpec`) or a log of interactions (`LogSpec`); output is the folder
``competitions/<slug>/rehearsal/`` (`create`), which `LocalPlatform` serves like any other platform::

    host.toml            the description of the competition
    files/               the data files: train, test, sample_submission, further tables
    solution.parquet     hidden: ids, targets, usage
    submissions/         the submitted files, each with its scores
    leaderboard.csv      optional: the scores of other teams
"""

from workbench.rehearsal.create import create
from workbench.rehearsal.platform import LocalPlatform
from workbench.rehearsal.spec import LogSpec, RehearsalSpec

__all__ = ["LocalPlatform", "LogSpec", "RehearsalSpec", "create"]
