"""Where the submissions of a competition go, and where they are logged."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.data.competition import Competition
from workbench.data.workspace import Workspace
from workbench.ledger import Ledger, SubmissionRecord
from workbench.platforms.protocol import Platform
from workbench.submissions.log import SubmissionLog

__all__ = ["SubmissionChannel"]


@dataclass(frozen=True)
class SubmissionChannel:
    """A competition, the platform that receives its submissions, and the workspace and ledger that log them."""

    workspace: Workspace
    competition: Competition
    platform: Platform
    ledger: Ledger

    @property
    def log(self) -> SubmissionLog:
        """The log of submissions in the workspace and the ledger."""
        return SubmissionLog(self.workspace, self.ledger)

    def logged(self) -> list[SubmissionRecord]:
        """Return the competition's logged submissions, oldest first."""
        return self.ledger.submissions(self.competition.slug)
