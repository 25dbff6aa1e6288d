"""Submissions: checked, sent once, logged before and after, and followed up.

Input is a run's file; output is at most one request to the platform, with a record on disk before and after it.
`findings` and `list_findings` report blocking issues and warnings, `send` sends, `log` writes the records, and
`follow` fetches status and scores from the platform. A new check is a function in `findings`.
"""

from workbench.submissions.channel import SubmissionChannel
from workbench.submissions.finding import SubmissionFinding
from workbench.submissions.follow import sync, wait_for_score
from workbench.submissions.log import load_sidecars
from workbench.submissions.message import text_of
from workbench.submissions.send import Agree, KernelOutput, PreparedSubmission, prepare, send

__all__ = [
    "Agree",
    "KernelOutput",
    "PreparedSubmission",
    "SubmissionChannel",
    "SubmissionFinding",
    "load_sidecars",
    "prepare",
    "send",
    "sync",
    "text_of",
    "wait_for_score",
]
