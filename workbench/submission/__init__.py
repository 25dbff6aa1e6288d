"""A submission: findings, sent once, logged before and after, followed up."""

from workbench.submission.findings import Finding
from workbench.submission.follow import sync, wait_for_score
from workbench.submission.log import load_sidecars
from workbench.submission.send import Prepared, Written, prepare, send

__all__ = ["Finding", "Prepared", "Written", "load_sidecars", "prepare", "send", "sync", "wait_for_score"]
