"""The ledger: the database of runs and submissions, without any training code.

Records (`records`) are stored in SQLite or PostgreSQL (`store`). The files of runs and submissions are authoritative:
`rebuild` makes the database from them. A new column is a new version in `migrations`.
"""

from workbench.ledger.rebuild import WorkspaceRecords, rebuild
from workbench.ledger.records import (
    RunRecord,
    SubmissionEvent,
    SubmissionRecord,
    check_version,
    is_outside,
)
from workbench.ledger.store import Ledger

__all__ = [
    "Ledger",
    "RunRecord",
    "SubmissionEvent",
    "SubmissionRecord",
    "WorkspaceRecords",
    "check_version",
    "is_outside",
    "rebuild",
]
