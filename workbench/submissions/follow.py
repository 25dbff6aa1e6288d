"""What became of submissions: the platform's word on one's own, and those that were sent from elsewhere."""

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

FIRST_LOOK_S = 2.0
LONGEST_PAUSE_S = 60.0
WAIT_S = 3600.0

Report = Callable[[str], None]


NOT_LISTED = "the platform was asked to take it, and does not list it: it may have arrived all the same"
NOT_ASKED = "it was not sent: it was cut off before the platform was asked to take it"


def send_lock(workspace: Workspace, slug: str) -> AbstractContextManager[None]:
    """Return the lock that whoever sends to a competition holds, as a context manager."""
    return lock(workspace.submissions / slug / ".send.lock", f"submitting to {slug!r}")


def sync(workspace: Workspace, competition: Competition, platform: Platform, ledger: Ledger) -> list[SubmissionRecord]:
    """Ask the platform for news; log and return what changed.

    Scores and errors that came later are taken over. A submission whose sending was cut off is found by the token in
    its message. One that is not listed once the platform has had its time to do so becomes "unlisted": the platform
    may have it all the same, and it is looked for every time. What another process is sending at this moment is left
    alone. Submissions that were sent from elsewhere are taken into the log as what they are.

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
            # By the clock that people set: who sends watches the list for so long, by one that nobody does.
            if record.status == "sending" and _is_own(workspace, record) and _age_s(record) >= platform.listing_delay_s:
                unlisted(record, Log(workspace, ledger))
    return [s for s in ledger.submissions(competition.slug) if s != before.get(s.submission_id)]


@contextmanager
def _nobody_sends(workspace: Workspace, slug: str) -> Iterator[bool]:
    """Keep others from sending for the length of the block, and give True; give False where somebody sends."""
    is_idle = True
    with ExitStack() as stack:
        try:
            stack.enter_context(send_lock(workspace, slug))
        except (BusyError, StorageError):  # a workspace that can only be read settles nothing either
            is_idle = False
        yield is_idle


def news(workspace: Workspace, competition: Competition, platform: Platform, ledger: Ledger, *, is_idle: bool) -> None:
    """Log what the platform says; and, where nobody else sends, of what was never sent that it was not."""
    slug, log = competition.slug, Log(workspace, ledger)
    theirs = platform.submissions(slug)
    if is_idle:
        sweep(workspace.submissions / slug)
        log.catch_up(slug)
    known = ledger.submissions(slug)
    updated = []
    for record in known:
        is_open = record.status in ("prepared", "sending")
        if is_open and not is_idle:
            updated.append(record)
        elif record.status == "prepared" and _is_own(workspace, record):
            updated.append(replace(record, status="error", error=NOT_ASKED))
            log.put(updated[-1], NOT_ASKED)
        else:
            updated.append(followed_up(record, theirs, log))
    refs, tokens = {s.ref for s in updated}, [f"{MARK}{s.submission_id}" for s in known]
    elsewhere = [t for t in theirs if t.ref not in refs and not any(has_token(t.message, token) for token in tokens)]
    for found in reversed(elsewhere):
        record = _from_elsewhere(found, competition)
        log.put(record, "sent from elsewhere")


def followed_up(record: SubmissionRecord, theirs: list[PlatformSubmission], log: Log) -> SubmissionRecord:
    """Return a submission with what the platform says of it, logged if that is new."""
    token = f"{MARK}{record.submission_id}"
    mine = [t for t in theirs if t.ref == record.ref or has_token(t.message, token)]
    if not mine:
        return record
    found = mine[0]
    updated = replace(
        record,
        ref=found.ref,
        status=found.status,
        public_score=found.public_score,
        private_score=found.private_score,
        error=found.error,
    )
    if updated != record:
        log.put(updated, found.error or "the platform's word")
    return updated


def unlisted(record: SubmissionRecord, log: Log) -> None:
    """Log that the platform, which was asked to take a submission, does not list it when it should."""
    log.put(replace(record, status="unlisted", error=NOT_LISTED), NOT_LISTED)


def _is_own(workspace: Workspace, record: SubmissionRecord) -> bool:
    """Say whether a submission is of this workspace, which alone knows whether it is being sent."""
    return record.workspace in ("", workspace.id)


def _age_s(record: SubmissionRecord) -> float:
    sent_at = record.sent_at or record.created_at
    return (datetime.now(UTC) - sent_at).total_seconds()


def _from_elsewhere(found: PlatformSubmission, competition: Competition) -> SubmissionRecord:
    by = f" (by {found.submitted_by})" if found.submitted_by else ""
    said = f": {found.message}" if found.message and found.message != found.file_name else ""
    return SubmissionRecord(
        submission_id=f"{competition.definition.platform}-{found.ref}",
        competition=competition.slug,
        exp=0,
        run_id="",
        platform=competition.definition.platform,
        file="",
        sha256="",
        message=f"{found.file_name}{said}{by}",
        cv_mean=cv_of(found.message),  # a team mate's workbench writes it, as ours does
        created_at=found.submitted_at,
        sent_at=found.submitted_at,
        ref=found.ref,
        status=found.status,
        public_score=found.public_score,
        private_score=found.private_score,
        error=found.error,
    )


def settle(
    workspace: Workspace,
    competition: Competition,
    platform: Platform,
    ledger: Ledger,
    of: Callable[[SubmissionRecord], bool],
    report: Report = lambda _: None,
) -> None:
    """Find out what became of earlier submissions; the caller holds the lock of sending.

    The list is watched for as long as the platform takes to list one, from now on: when it was sent is known only by a
    clock that may have been set since. One that does not come becomes "unlisted".

    Parameters
    ----------
    of : callable
        Says of which submissions.
    """
    started = time.monotonic()
    while True:
        asked_at = time.monotonic()
        news(workspace, competition, platform, ledger, is_idle=True)
        earlier = ledger.submissions(competition.slug)
        unsettled = [s for s in earlier if s.status == "sending" and _is_own(workspace, s) and of(s)]
        left = platform.listing_delay_s - (asked_at - started)
        if not unsettled:
            return
        if left <= 0:
            for record in unsettled:
                unlisted(record, Log(workspace, ledger))
            return
        report(f"an earlier sending of this was cut off: looking for it in the platform's list, for {left:.0f} s more")
        time.sleep(min(5.0, left) + 0.01)


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
    """Ask for a submission's score until it comes, ever more seldom; an answer that fails is only one that is late.

    Returns
    -------
    SubmissionRecord
        Still "pending" where `limit_s` seconds were not enough, or the login has ended.
    """
    started, pause = time.monotonic(), FIRST_LOOK_S
    while record.status == "pending" and time.monotonic() - started < limit_s:
        time.sleep(min(pause, max(0.0, limit_s - (time.monotonic() - started))))
        pause = min(LONGEST_PAUSE_S, pause * 1.5)
        try:
            theirs = platform.submissions(competition.slug)
        except LoginError as exc:
            report(f"not waited for the score any longer: {exc.message}. {exc.hint}")
            return record
        except PlatformError as exc:
            report(f"no answer on the score, asking again: {exc.message}")
            continue
        record = followed_up(record, theirs, Log(workspace, ledger))
        if record.status == "pending":
            report(f"not scored after {time.monotonic() - started:.0f} s")
    return record
