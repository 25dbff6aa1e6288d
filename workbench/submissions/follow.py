"""Status and scores of submissions from the platform, and submissions that were made elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from workbench.core.cache import lock, sweep
from workbench.core.errors import BusyError, LoginError, PlatformError, StorageError
from workbench.data.competition import Competition
from workbench.data.workspace import Workspace
from workbench.ledger import Ledger, SubmissionRecord
from workbench.platforms.protocol import MARK, Platform, PlatformSubmission, has_token
from workbench.submissions.log import Log
from workbench.submissions.message import cv_of

__all__ = ["followed_up", "send_lock", "settle", "sync", "wait_for_score"]

FIRST_POLL_S = 2.0
LONGEST_PAUSE_S = 60.0
WAIT_S = 3600.0

Report = Callable[[str], None]


NOT_LISTED = "it was sent, but the platform does not list it: it may have arrived nevertheless"
NEVER_SENT = "it was not sent: it was interrupted before the platform was asked to create it"


def send_lock(workspace: Workspace, slug: str) -> AbstractContextManager[None]:
    """Return the lock that a process holds while it submits to a competition, as a context manager."""
    return lock(workspace.submissions / slug / ".send.lock", f"submitting to {slug!r}")


def sync(workspace: Workspace, competition: Competition, platform: Platform, ledger: Ledger) -> list[SubmissionRecord]:
    """Fetch status and scores from the platform; log and return what changed.

    A submission that was interrupted while it was sent is found by the token in its message. One that is not listed
    after the platform's listing delay becomes "unlisted": the platform may have it all the same, and every later call
    looks for it again. A submission that another process is sending at this moment is not touched. Submissions that
    were made elsewhere are logged as such.

    Raises
    ------
    PlatformError
        When it can't be reached.
    """
    with _nobody_sends(workspace, competition.slug) as is_idle:
        before = {s.submission_id: s for s in ledger.submissions(competition.slug)}
        news(workspace, competition, platform, ledger, is_idle=is_idle)
        now = ledger.submissions(competition.slug)
        for record in now if is_idle else []:
            # By the wall clock; the sending process itself watches the list for this long by the monotonic clock.
            if record.status == "sending" and _is_own(workspace, record) and _age_s(record) >= platform.listing_delay_s:
                unlisted(record, Log(workspace, ledger))
    return [s for s in ledger.submissions(competition.slug) if s != before.get(s.submission_id)]


@contextmanager
def _nobody_sends(workspace: Workspace, slug: str) -> Iterator[bool]:
    """Hold the send lock for the length of the block and yield True; yield False where another process holds it."""
    is_idle = True
    with ExitStack() as stack:
        try:
            stack.enter_context(send_lock(workspace, slug))
        except (BusyError, StorageError):  # a read-only workspace can't settle anything either
            is_idle = False
        yield is_idle


def news(workspace: Workspace, competition: Competition, platform: Platform, ledger: Ledger, *, is_idle: bool) -> None:
    """Log the platform's list; where no other process sends, also log interrupted submissions as never sent."""
    slug, log = competition.slug, Log(workspace, ledger)
    listed = platform.submissions(slug)
    if is_idle:
        sweep(workspace.submissions / slug)
        log.catch_up(slug)
    logged = ledger.submissions(slug)
    updated = []
    for record in logged:
        is_open = record.status in ("prepared", "sending")
        if is_open and not is_idle:
            updated.append(record)
        elif record.status == "prepared" and _is_own(workspace, record):
            updated.append(replace(record, status="error", error=NEVER_SENT))
            log.put(updated[-1], NEVER_SENT)
        else:
            updated.append(followed_up(record, listed, log))
    refs, tokens = {s.ref for s in updated}, [f"{MARK}{s.submission_id}" for s in logged]
    elsewhere = [t for t in listed if t.ref not in refs and not any(has_token(t.message, token) for token in tokens)]
    for foreign in reversed(elsewhere):
        record = _from_elsewhere(foreign, competition)
        log.put(record, "sent from elsewhere")


def followed_up(record: SubmissionRecord, listed: list[PlatformSubmission], log: Log) -> SubmissionRecord:
    """Return a submission with its status and scores on the platform, and log them if they are new."""
    token = f"{MARK}{record.submission_id}"
    matches = [t for t in listed if t.ref == record.ref or has_token(t.message, token)]
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
        log.put(updated, match.error or "the platform's word")
    return updated


def unlisted(record: SubmissionRecord, log: Log) -> None:
    """Log that a submission was sent but is not on the platform's list after the listing delay."""
    log.put(replace(record, status="unlisted", error=NOT_LISTED), NOT_LISTED)


def _is_own(workspace: Workspace, record: SubmissionRecord) -> bool:
    """Tell whether a submission is of this workspace: no other one knows whether it is being sent."""
    return record.workspace in ("", workspace.id)


def _age_s(record: SubmissionRecord) -> float:
    sent_at = record.sent_at or record.created_at
    return (datetime.now(UTC) - sent_at).total_seconds()


def _from_elsewhere(listed: PlatformSubmission, competition: Competition) -> SubmissionRecord:
    by = f" (by {listed.submitted_by})" if listed.submitted_by else ""
    text = f": {listed.message}" if listed.message and listed.message != listed.file_name else ""
    return SubmissionRecord(
        submission_id=f"{competition.definition.platform}-{listed.ref}",
        competition=competition.slug,
        exp=0,
        run_id="",
        platform=competition.definition.platform,
        file="",
        sha256="",
        message=f"{listed.file_name}{text}{by}",
        cv_mean=cv_of(listed.message),  # a teammate's workbench writes it into the message, too
        created_at=listed.submitted_at,
        sent_at=listed.submitted_at,
        ref=listed.ref,
        status=listed.status,
        public_score=listed.public_score,
        private_score=listed.private_score,
        error=listed.error,
    )


def settle(
    workspace: Workspace,
    competition: Competition,
    platform: Platform,
    ledger: Ledger,
    is_wanted: Callable[[SubmissionRecord], bool],
    report: Report = lambda _: None,
) -> None:
    """Find out whether interrupted submissions arrived; the caller holds the send lock.

    The list is polled for the platform's listing delay, counted from now: the time of sending was taken from a wall
    clock, which may have been set since. A submission that does not appear becomes "unlisted".

    Parameters
    ----------
    is_wanted : callable
        Selects the submissions.
    """
    started = time.monotonic()
    while True:
        listed_at = time.monotonic()
        news(workspace, competition, platform, ledger, is_idle=True)
        earlier = ledger.submissions(competition.slug)
        unsettled = [s for s in earlier if s.status == "sending" and _is_own(workspace, s) and is_wanted(s)]
        remaining_s = platform.listing_delay_s - (listed_at - started)
        if not unsettled:
            return
        if remaining_s <= 0:
            for record in unsettled:
                unlisted(record, Log(workspace, ledger))
            return
        report(
            "an earlier attempt to send this was interrupted: looking for it in the platform's list, "
            f"for {remaining_s:.0f} s more"
        )
        time.sleep(min(5.0, remaining_s) + 0.01)


def wait_for_score(
    workspace: Workspace,
    competition: Competition,
    record: SubmissionRecord,
    platform: Platform,
    ledger: Ledger,
    *,
    limit_s: float = WAIT_S,
    report: Report = lambda _: None,
) -> SubmissionRecord:
    """Poll for a submission's score at growing intervals; a failed request is tried again.

    Returns
    -------
    SubmissionRecord
        Still "pending" where `limit_s` seconds were not enough, or the login has ended.
    """
    started, pause = time.monotonic(), FIRST_POLL_S
    while record.status == "pending" and time.monotonic() - started < limit_s:
        time.sleep(min(pause, max(0.0, limit_s - (time.monotonic() - started))))
        pause = min(LONGEST_PAUSE_S, pause * 1.5)
        try:
            listed = platform.submissions(competition.slug)
        except LoginError as exc:
            report(f"stopped waiting for the score: {exc.message}. {exc.hint}")
            return record
        except PlatformError as exc:
            report(f"could not fetch the score, trying again: {exc.message}")
            continue
        record = followed_up(record, listed, Log(workspace, ledger))
        if record.status == "pending":
            report(f"not scored after {time.monotonic() - started:.0f} s")
    return record
