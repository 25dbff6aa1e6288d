"""`wb.competition(…).submissions`: submissions, their checks and scores, and the leaderboard."""

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
    """A competition's submissions, oldest first; `sync` updates them from the platform."""

    access: CompetitionAccess

    def __iter__(self) -> Iterator[SubmissionRecord]:
        return iter(self.records())

    def __len__(self) -> int:
        return len(self.records())

    def __call__(self) -> list[SubmissionRecord]:
        """Return `records`; earlier versions had this method in place of the attribute."""
        text = "competition.submissions() is now competition.submissions.records()"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return self.records()

    def records(self) -> list[SubmissionRecord]:
        """Return all recorded submissions, oldest first."""
        from workbench.ledger import Ledger

        with Ledger.open(self.access.workspace.ledger) as ledger:
            return ledger.submissions(self.access.slug)

    def prepare(self, number: int, *, run_id: str = "") -> PreparedSubmission:
        """Return the submission of an experiment, with all blocking issues and warnings; nothing is sent."""
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
        """Send a prepared submission; its warnings count as confirmed, except that an earlier attempt may have arrived.

        Parameters
        ----------
        prepared : PreparedSubmission
        message : str
        again : bool
            Send it even if an earlier attempt may have arrived.
        agree : callable, optional
            Decides about new warnings; by default they prevent the submission.
        report : callable, optional
            Called with the text of each step.

        Raises
        ------
        SubmissionError
            For blocking issues, or new warnings that are not accepted.
        PlatformError
            When the platform rejects it.
        """
        from workbench.submissions import send

        context = call_context(report=report)
        with self.access.submission_channel() as channel:
            return send(channel, prepared, message=message, again=again, agree=agree, context=context)

    def wait_for_score(
        self, record: SubmissionRecord, *, limit_s: float = 3600.0, report: Report = lambda _: None
    ) -> SubmissionRecord:
        """Poll the platform for the score of a sent submission until it is scored or `limit_s` seconds have passed."""
        from workbench.submissions import wait_for_score

        with self.access.submission_channel() as channel:
            return wait_for_score(channel, record, limit_s=limit_s, context=call_context(report=report))

    def sync(self) -> list[SubmissionRecord]:
        """Update scores, and add submissions that were sent elsewhere; return the changed records."""
        from workbench.submissions import sync

        with self.access.submission_channel() as channel:
            return sync(channel)

    def limits(self) -> SubmissionLimits:
        """Return the daily limit of submissions and how many remain today."""
        return self.access.platform.limits(self.access.slug)

    def leaderboard(self) -> Leaderboard:
        """Return the platform's leaderboard and your rank."""
        return self.access.platform.leaderboard(self.access.slug)
