"""`wb.competition(…).submissions`: what was sent, how it is checked and sent, and what the platform says."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.api.access import CompetitionAccess, Report, call_context

if TYPE_CHECKING:
    from workbench.ledger import SubmissionRecord
    from workbench.platforms.protocol import Leaderboard, SubmissionLimits
    from workbench.submissions import Agree, PreparedSubmission

__all__ = ["Submissions"]


@dataclass(frozen=True)
class Submissions:
    """All submissions that the log has, oldest first; `sync` brings news and what was sent elsewhere."""

    access: CompetitionAccess

    def __iter__(self) -> Iterator[SubmissionRecord]:
        return iter(self.records())

    def __len__(self) -> int:
        return len(self.records())

    def __call__(self) -> list[SubmissionRecord]:
        """Return `records`: what was a call is a part of the handle now."""
        text = "competition.submissions() is now competition.submissions.records()"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return self.records()

    def records(self) -> list[SubmissionRecord]:
        """Return all submissions that the log has, oldest first."""
        from workbench.ledger import Ledger

        with Ledger.open(self.access.workspace.ledger) as ledger:
            return ledger.submissions(self.access.slug)

    def prepare(self, number: int, *, run_id: str = "") -> PreparedSubmission:
        """Return what would be sent of an experiment, and all blocking issues and warnings; nothing is changed."""
        from workbench.submissions import prepare

        with self.access.submission_channel() as channel:
            return prepare(channel, number, run_id=run_id)

    def send(
        self,
        prepared: PreparedSubmission,
        *,
        message: str = "",
        again: bool = False,
        agree: Agree | None = None,
        report: Report = lambda _: None,
    ) -> SubmissionRecord:
        """Send what `prepare` returned, once; its warnings count as answered, but for an earlier sending in doubt.

        Parameters
        ----------
        again : bool
            Send it though an earlier sending of it may have arrived.
        agree : callable, optional
            Asked about warnings that came up since; by default they stop it.

        Raises
        ------
        SubmissionError
            When there are errors among the findings, or warnings that came up since and that nobody has agreed to.
        PlatformError
            When the platform refuses.
        """
        from workbench.submissions import send

        context = call_context(report=report)
        with self.access.submission_channel() as channel:
            return send(channel, prepared, message=message, again=again, agree=agree, context=context)

    def wait_for_score(
        self, record: SubmissionRecord, *, limit_s: float = 3600.0, report: Report = lambda _: None
    ) -> SubmissionRecord:
        """Ask for the score of what `send` returned until it comes, or the time is over."""
        from workbench.submissions import wait_for_score

        with self.access.submission_channel() as channel:
            return wait_for_score(channel, record, limit_s=limit_s, context=call_context(report=report))

    def sync(self) -> list[SubmissionRecord]:
        """Ask the platform for scores that came later and for what was sent elsewhere; return what changed."""
        from workbench.submissions import sync

        with self.access.submission_channel() as channel:
            return sync(channel)

    def limits(self) -> SubmissionLimits:
        """Return how many submissions are left today."""
        return self.access.platform.limits(self.access.slug)

    def leaderboard(self) -> Leaderboard:
        """Return the platform's leaderboard and the standing on it."""
        return self.access.platform.leaderboard(self.access.slug)
