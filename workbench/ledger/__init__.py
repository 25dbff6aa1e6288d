"""The ledger: the database of runs and submissions. It knows no training code."""

from workbench.ledger.rebuild import Found, rebuild
from workbench.ledger.records import RunRecord, SubmissionEvent, SubmissionRecord, check_version, leads_elsewhere
from workbench.ledger.store import Ledger

__all__ = [
    "Found",
    "Ledger",
    "RunRecord",
    "SubmissionEvent",
    "SubmissionRecord",
    "check_version",
    "leads_elsewhere",
    "rebuild",
]
