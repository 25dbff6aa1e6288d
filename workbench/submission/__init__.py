"""A submission: findings, sent once, logged before and after, followed up."""

from workbench.submission.findings import Finding
from workbench.submission.send import Prepared, latest_run, load_sidecars, prepare, send, sync

__all__ = ["Finding", "Prepared", "latest_run", "load_sidecars", "prepare", "send", "sync"]
