"""A submission: findings, sent once, logged before and after, followed up.

In comes a run's file; out comes at most one request to the platform, with a record of it on disk before and after.
`findings` and `lists` say what speaks against sending, `send` sends, `log` writes the records, `follow` asks the
platform what became of it. A new finding is a function in `findings`.
"""

from workbench.submissions.finding import Finding
from workbench.submissions.follow import sync, wait_for_score
from workbench.submissions.log import load_sidecars
from workbench.submissions.message import text_of
from workbench.submissions.send import Agree, Prepared, Written, prepare, send

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
