"""Submissions to a competition on Kaggle: each created at most once, and found in the list if the response is lost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.core.errors import NotFoundError, PlatformError, UnansweredError
from workbench.core.printable import one_line
from workbench.platforms.kaggle.competitions import CompetitionCalls
from workbench.platforms.kaggle.connection import Connection
from workbench.platforms.kaggle.failures import quoted
from workbench.platforms.kaggle.responses import score_of, utc
from workbench.platforms.kaggle.upload import upload
from workbench.platforms.protocol import (
    MESSAGE_MARK,
    BeforeCreate,
    KernelVersion,
    PlatformSubmission,
    has_token,
    next_day_hint,
)

__all__ = ["KaggleSubmissions"]

LIST_PAUSE_S = 5.0
"""The pause before the list is read again for a submission whose response was lost; at most a quarter of the delay."""


class KaggleSubmissions:
    """Creates and lists submissions.

    Parameters
    ----------
    listing_delay_s : float
        How long Kaggle may take to list a submission.
    """

    def __init__(self, connection: Connection, calls: CompetitionCalls, listing_delay_s: float) -> None:
        self._connection = connection
        self._calls = calls
        self._listing_delay_s = listing_delay_s

    def submit(self, slug: str, file: Path, message: str, before_create: BeforeCreate) -> str:
        """Upload a file, create the submission, and return its reference."""
        if not file.is_file():
            raise NotFoundError(f"there is no file {file} to submit")
        self._calls.competition(slug)
        upload_token = self._upload(slug, file)
        fields = {"competition_name": slug, "blob_file_tokens": upload_token, "submission_description": message}
        before_create()
        return self._create(slug, message, f"submitting to {slug!r}", "create_submission", fields)

    def submit_kernel(
        self, slug: str, version: KernelVersion, file: str, message: str, before_create: BeforeCreate
    ) -> str:
        """Create a submission of a file that a kernel version wrote, and return its reference."""
        fields = {
            "competition_name": slug,
            "kernel_owner": version.owner,
            "kernel_slug": version.name,
            "kernel_version": version.number,
            "file_name": file,
            "submission_description": message,
        }
        action = f"submitting version {version.number} of the kernel {version.name!r} to {slug!r}"
        self._calls.competition(slug)
        before_create()
        return self._create(slug, message, action, "create_code_submission", fields)

    def list_all(self, slug: str) -> list[PlatformSubmission]:
        """Return all submissions of the user's team, newest first; every page of the list is read."""
        pages = self._calls.pages(slug, "listing the submissions", "list_submissions")
        submissions = [_as_submission(s) for page in pages for s in page.submissions]
        # A stable sort: submissions of the same time stay in the order of the list.
        return sorted(submissions, key=lambda s: s.submitted_at, reverse=True)

    def _create(self, slug: str, message: str, action: str, method: str, fields: Mapping[str, Any]) -> str:
        """Create a submission, once, and return its reference; if the response is lost, look for it in the list."""
        try:
            response = self._connection.call_once(action, method, fields, slug=slug)
        except UnansweredError as exc:
            return self._find_created(slug, message, exc)
        except PlatformError as exc:
            # "Your team has used its daily Submission allowance": a teammate or another machine was faster.
            if "daily submission allowance" in exc.message.lower():
                exc.hint = next_day_hint(datetime.now(UTC))
            raise
        if not response.ref:
            # The client reports that nothing was submitted by a response without a number.
            return self._find_created(
                slug, message, UnansweredError(f"Kaggle gave no number: {quoted(response.message or '')}")
            )
        return str(response.ref)

    def _upload(self, slug: str, file: Path) -> str:
        """Upload a submission's file and return its token."""
        stat = file.stat()

        def start_upload() -> Any:
            return self._calls.call(
                slug,
                "starting the upload",
                "start_submission_upload",
                content_length=stat.st_size,
                last_modified_epoch_seconds=int(stat.st_mtime),
                file_name=file.name,
            )

        return upload(self._connection, file, start_upload, consequence="nothing was submitted", command="wb submit")

    def _find_created(self, slug: str, message: str, error: UnansweredError) -> str:
        """Return the reference of a submission once it is listed; `error` is the failure that lost the response.

        Raises
        ------
        UnansweredError
            When it is not listed within the listing delay, or the list can't be read.
        """
        deadline, message_token = time.monotonic() + self._listing_delay_s, message.partition(" ")[0]
        while True:
            requested_at = time.monotonic()
            try:
                # The message's token suffices: Kaggle may store a long message truncated or changed.
                matching = [
                    s
                    for s in self.list_all(slug)
                    if s.message == message or _has_token_of_workbench(s.message, message_token)
                ]
            except PlatformError as exc:
                raise UnansweredError(
                    f"{error.message}; the list of submissions can't be read either: {exc.message}",
                    hint="`wb sync` finds out whether it arrived; it is not sent again automatically",
                ) from exc
            if matching:
                return matching[0].ref
            if requested_at >= deadline:
                raise UnansweredError(
                    f"{error.message}; it is not in the list of submissions",
                    hint="`wb sync` looks again; it may have arrived, and is not sent again automatically",
                )
            time.sleep(min(LIST_PAUSE_S, self._listing_delay_s / 4))


def _has_token_of_workbench(message: str, token: str) -> bool:
    return token.startswith(MESSAGE_MARK) and has_token(message, token)


def _as_submission(listed_submission: Any) -> PlatformSubmission:
    """Return a submission of the client's list, an `ApiSubmission`, as a `PlatformSubmission`."""
    submission = PlatformSubmission(
        ref=str(listed_submission.ref),
        file_name=listed_submission.file_name or "",
        message=listed_submission.description or "",
        submitted_at=utc(listed_submission.date) or datetime.fromtimestamp(0, UTC),
        status=listed_submission.status.name.lower(),
        submitted_by=listed_submission.submitted_by or listed_submission.team_name or None,
    )
    if submission.status == "error":
        return replace(
            submission, error=one_line(listed_submission.error_description or "") or "Kaggle gives no reason"
        )
    return replace(
        submission,
        public_score=score_of(listed_submission.public_score),
        private_score=score_of(listed_submission.private_score),
    )
