"""Fetch the status and scores of submissions from the platform, and log submissions that were made elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from workbench.core.cache import lock, remove_leftover_files
from workbench.core.context import SILENT, RunContext
from workbench.core.errors import BusyError, LoginError, PlatformError, StorageError
from workbench.data.competition import Competition
from workbench.data.workspace import Workspace
from workbench.ledger import SubmissionRecord
from workbench.platforms.protocol import MESSAGE_MARK, PlatformSubmission, has_token
from workbench.submissions.channel import SubmissionChannel
from workbench.submissions.log import SubmissionLog
from workbench.submissions.message import cv_of

__all__ = ["send_lock", "settle", "sync", "updated_from_list", "wait_for_score"]

FIRST_PAUSE_S = 2.0
"""Before the first request for a score."""

PAUSE_GROWTH = 1.5
"""Ratio of each pause between requests for a score to the one before."""

MAX_PAUSE_S = 60.0
DEFAULT_WAIT_S = 3600.0

LIST_PAUSE_S = 5.0
"""Between two looks at the platform's list for an interrupted submission."""

NOT_LISTED = "it was sent, but the platform does not list it: it may have arrived nevertheless"
NEVER_SENT = "it was not sent: the process was interrupted before the request to create it"


def send_lock(workspace: Workspace, slug: str) -> AbstractContextManager[None]:
    """Return the lock that a process holds while it submits to a competition, as a context manager."""
    return lock(workspace.submissions / slug / ".send.lock", f"submitting to {slug!r}")


def sync(channel: SubmissionChannel) -> list[SubmissionRecord]:
    """Fetch status and scores from the platform; log and return what changed.

    An interrupted submission is recognised by the token in its message. One that is not listed after the platform's
    listing delay becomes "unlisted": the platform may have received it nevertheless, so every later call looks for it
    again. A submission that another process is sending is left unchanged. Submissions that were made elsewhere are
    logged as such.

    Raises
    ------
    PlatformError
        When it can't be reached.
    """
    workspace, delay_s = channel.workspace, channel.platform.listing_delay_s
    with _idle_lock(workspace, channel.competition.slug) as is_idle:
        earlier_by_id = {s.submission_id: s for s in channel.logged()}
        log_platform_submissions(channel, is_idle=is_idle)
        for record in channel.logged() if is_idle else []:
            # By the wall clock; the sending process itself watches the list for this long by the monotonic clock.
            if record.status == "sending" and _is_of_this_workspace(workspace, record) and _age_s(record) >= delay_s:
                log_unlisted(record, channel.log)
    return [s for s in channel.logged() if s != earlier_by_id.get(s.submission_id)]


@contextmanager
def _idle_lock(workspace: Workspace, slug: str) -> Iterator[bool]:
    """Hold the send lock within the block and yield True; yield False if another process holds it."""
    is_idle = True
    with ExitStack() as stack:
        try:
            stack.enter_context(send_lock(workspace, slug))
        except (BusyError, StorageError):  # in a read-only workspace nothing can be settled either
            is_idle = False
        yield is_idle


def log_platform_submissions(channel: SubmissionChannel, *, is_idle: bool) -> None:
    """Update the log from the platform's list of submissions.

    Parameters
    ----------
    is_idle : bool
        Whether no other process is sending, so that submissions that are still only prepared were never sent.
    """
    workspace, slug, log = channel.workspace, channel.competition.slug, channel.log
    platform_submissions = channel.platform.submissions(slug)
    if is_idle:
        remove_leftover_files(workspace.submissions / slug)
        log.catch_up(slug)
    logged = channel.logged()
    updated_records = []
    for record in logged:
        is_unsettled = record.status in ("prepared", "sending")
        if is_unsettled and not is_idle:
            updated_records.append(record)
        elif record.status == "prepared" and _is_of_this_workspace(workspace, record):
            updated_records.append(replace(record, status="error", error=NEVER_SENT))
            log.put(updated_records[-1], NEVER_SENT)
        else:
            updated_records.append(updated_from_list(record, platform_submissions, log))
    refs, tokens = {s.ref for s in updated_records}, [f"{MESSAGE_MARK}{s.submission_id}" for s in logged]
    unlogged_submissions = [
        s
        for s in platform_submissions
        if s.ref not in refs and not any(has_token(s.message, token) for token in tokens)
    ]
    for submission in reversed(unlogged_submissions):
        log.put(_from_elsewhere(submission, channel.competition), "sent from elsewhere")


def updated_from_list(
    record: SubmissionRecord, platform_submissions: list[PlatformSubmission], log: SubmissionLog
) -> SubmissionRecord:
    """Return a submission with its status and scores on the platform, and log them if they are new.

    A submission that is not among `platform_submissions` is returned unchanged.
    """
    token = f"{MESSAGE_MARK}{record.submission_id}"
    matches = [s for s in platform_submissions if s.ref == record.ref or has_token(s.message, token)]
    if not matches:
        return record
    match = matches[0]
    updated = replace(
        record,
        ref=match.ref,
        status=match.status,
        public_score=match.public_score,
        private_score=match.private_score,
        error=match.error,
    )
    if updated != record:
        log.put(updated, match.error or "the platform's status")
    return updated


def log_unlisted(record: SubmissionRecord, log: SubmissionLog) -> None:
    """Log that a submission was sent but is not on the platform's list after the listing delay."""
    log.put(replace(record, status="unlisted", error=NOT_LISTED), NOT_LISTED)


def _is_of_this_workspace(workspace: Workspace, record: SubmissionRecord) -> bool:
    """Tell whether a submission was made in this workspace: only its own workspace knows whether it is being sent."""
    return record.workspace in ("", workspace.id)


def _age_s(record: SubmissionRecord) -> float:
    sent_at = record.sent_at or record.created_at
    return (datetime.now(UTC) - sent_at).total_seconds()


def _from_elsewhere(submission: PlatformSubmission, competition: Competition) -> SubmissionRecord:
    """Return the record of a submission that was not made in a workspace of this ledger."""
    author = f" (by {submission.submitted_by})" if submission.submitted_by else ""
    message_text = (
        f": {submission.message}" if submission.message and submission.message != submission.file_name else ""
    )
    return SubmissionRecord(
        submission_id=f"{competition.definition.platform}-{submission.ref}",
        competition=competition.slug,
        exp=0,
        run_id="",
        platform=competition.definition.platform,
        file="",
        sha256="",
        message=f"{submission.file_name}{message_text}{author}",
        cv_mean=cv_of(submission.message),  # a teammate's workbench writes it into the message, too
        created_at=submission.submitted_at,
        sent_at=submission.submitted_at,
        ref=submission.ref,
        status=submission.status,
        public_score=submission.public_score,
        private_score=submission.private_score,
        error=submission.error,
    )


def settle(
    channel: SubmissionChannel, is_selected: Callable[[SubmissionRecord], bool], context: RunContext = SILENT
) -> None:
    """Find out whether interrupted submissions arrived; the caller holds the send lock.

    The list is polled for the platform's listing delay, counted from this call: the recorded time of sending is of the
    wall clock, which may have been set since. A submission that does not appear becomes "unlisted".

    Parameters
    ----------
    is_selected : callable
        Selects the submissions to look for.
    """
    started_at = time.monotonic()
    while True:
        listed_at = time.monotonic()
        log_platform_submissions(channel, is_idle=True)
        sending = [s for s in channel.logged() if s.status == "sending"]
        unsettled = [s for s in sending if _is_of_this_workspace(channel.workspace, s) and is_selected(s)]
        remaining_s = channel.platform.listing_delay_s - (listed_at - started_at)
        if not unsettled:
            return
        if remaining_s <= 0:
            for record in unsettled:
                log_unlisted(record, channel.log)
            return
        context.say(
            "an earlier attempt to send this was interrupted: looking for it in the platform's list, "
            f"for {remaining_s:.0f} s more"
        )
        # A little longer, so that the last look is not just before the end of the delay.
        time.sleep(min(LIST_PAUSE_S, remaining_s) + 0.01)


def wait_for_score(
    channel: SubmissionChannel,
    record: SubmissionRecord,
    *,
    limit_s: float = DEFAULT_WAIT_S,
    context: RunContext = SILENT,
) -> SubmissionRecord:
    """Poll for a submission's score at growing intervals; a failed request is repeated.

    Returns
    -------
    SubmissionRecord
        Still "pending" if it was not scored within `limit_s` seconds or the login has expired.
    """
    started_at, pause_s = time.monotonic(), FIRST_PAUSE_S
    while record.status == "pending" and time.monotonic() - started_at < limit_s:
        time.sleep(min(pause_s, max(0.0, limit_s - (time.monotonic() - started_at))))
        pause_s = min(MAX_PAUSE_S, pause_s * PAUSE_GROWTH)
        try:
            platform_submissions = channel.platform.submissions(channel.competition.slug)
        except LoginError as exc:
            context.say(f"stopped waiting for the score: {exc.message}. {exc.hint}")
            return record
        except PlatformError as exc:
            context.say(f"could not fetch the score, trying again: {exc.message}")
            continue
        record = updated_from_list(record, platform_submissions, channel.log)
        if record.status == "pending":
            context.say(f"not scored after {time.monotonic() - started_at:.0f} s")
    return record
