"""The ledger: the database of runs and submissions. It knows no training code."""

from workbench.ledger.records import RunRecord, SubmissionEvent, SubmissionRecord
from workbench.ledger.store import Ledger, rebuild

__all__ = ["Ledger", "RunRecord", "SubmissionEvent", "SubmissionRecord", "rebuild"]
