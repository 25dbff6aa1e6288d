"""A submission: findings, sent once, logged before and after, followed up."""

from workbench.submission.finding import Finding
from workbench.submission.follow import sync, wait_for_score
from workbench.submission.log import load_sidecars
from workbench.submission.message import text_of
from workbench.submission.send import Agree, Prepared, Written, prepare, send

__all__ = [
    "Agree",
    "Finding",
    "Prepared",
    "Written",
    "load_sidecars",
    "prepare",
    "send",
    "sync",
    "text_of",
    "wait_for_score",
]
