"""What became of submissions: the platform's word on one's own, and those that were sent from elsewhere."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from workbench.competition import Competition
from workbench.errors import LoginError, PlatformError
from workbench.ledger import Ledger, SubmissionRecord
from workbench.platforms import Platform, PlatformSubmission
from workbench.submission.log import Log
from workbench.workspace import Workspace

__all__ = ["followed_up", "settle", "sync", "wait_for_score"]

FIRST_LOOK_S = 2.0
LONGEST_PAUSE_S = 60.0
WAIT_S = 3600.0

Report = Callable[[str], None]


def sync(workspace: Workspace, competition: Competition, platform: Platform, ledger: Ledger) -> list[SubmissionRecord]:
    """Ask the platform for news; log and return what changed.

    Scores and errors that came later are taken over. A submission whose sending was cut off is found by the token in
    its message; one that is not listed once the platform has had its time to do so did not arrive. Submissions that
    were sent from elsewhere are taken into the log as what they are.

    Raises
    ------
    PlatformError
        When it can't be reached.
    """
    slug = competition.slug
    theirs = platform.submissions(slug)
    known = ledger.submissions(slug)
    log = Log(workspace, ledger)
    updated = [followed_up(record, theirs, log, listing_delay_s=platform.listing_delay_s) for record in known]
    changed = [new for old, new in zip(known, updated, strict=True) if new != old]
    refs, tokens = {s.ref for s in updated}, {f"wb:{s.submission_id}" for s in known}
    elsewhere = [t for t in theirs if t.ref not in refs and not any(token in t.message for token in tokens)]
    for found in reversed(elsewhere):
        record = _from_elsewhere(found, competition)
        log.put(record, "sent from elsewhere")
        changed.append(record)
    return changed


def followed_up(
    record: SubmissionRecord, theirs: list[PlatformSubmission], log: Log, *, listing_delay_s: float = 0.0
) -> SubmissionRecord:
    """Return a submission with what the platform says of it, logged if that is new."""
    mine = [t for t in theirs if t.ref == record.ref or f"wb:{record.submission_id}" in t.message]
    if not mine:
        return _not_listed(record, log, listing_delay_s)
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


def _not_listed(record: SubmissionRecord, log: Log, listing_delay_s: float) -> SubmissionRecord:
    if record.status != "sending" or _age_s(record) < listing_delay_s:
        return record
    why = "it did not arrive: its sending was cut off, and the platform does not list it"
    updated = replace(record, status="error", error=why)
    log.put(updated, why)
    return updated


def _age_s(record: SubmissionRecord) -> float:
    sent_at = record.sent_at or record.created_at
    return (datetime.now(UTC) - sent_at).total_seconds()


def _from_elsewhere(found: PlatformSubmission, competition: Competition) -> SubmissionRecord:
    by = f" (by {found.submitted_by})" if found.submitted_by else ""
    # A team mate's workbench writes its CV into the message, as ours does.
    cv = re.search(r"\| CV (\S+) \| wb:", found.message)
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
        cv_mean=_number(cv[1]) if cv else None,
        created_at=found.submitted_at,
        sent_at=found.submitted_at,
        ref=found.ref,
        status=found.status,
        public_score=found.public_score,
        private_score=found.private_score,
        error=found.error,
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def settle(
    workspace: Workspace,
    competition: Competition,
    platform: Platform,
    ledger: Ledger,
    run_id: str,
    report: Report = lambda _: None,
) -> None:
    """Find out what became of the earlier submissions of a run, waiting as long as the platform needs to list them."""
    while True:
        sync(workspace, competition, platform, ledger)
        earlier = ledger.submissions(competition.slug)
        unsettled = [s for s in earlier if s.run_id == run_id and s.status == "sending"]
        if not unsettled:
            return
        left = max(0.0, platform.listing_delay_s - min(_age_s(s) for s in unsettled))
        report(f"an earlier sending of this run was cut off; it is listed within {left:.0f} s if it arrived")
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
