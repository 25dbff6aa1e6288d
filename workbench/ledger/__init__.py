"""The ledger: the database of runs and submissions. It knows no training code.

In come records (`records`); out come the same, from SQLite or PostgreSQL (`store`). Files beside the runs are what is
true: `rebuild` makes the database from them. A new column is a version in `migrations`.
"""

from workbench.ledger.rebuild import WorkspaceRecords, rebuild
from workbench.ledger.records import (
    RunRecord,
    SubmissionEvent,
    SubmissionRecord,
    check_version,
    leads_elsewhere,
)
from workbench.ledger.store import Ledger

__all__ = [
    "Ledger",
    "RunRecord",
    "SubmissionEvent",
    "SubmissionRecord",
    "WorkspaceRecords",
    "check_version",
    "leads_elsewhere",
    "rebuild",
]
