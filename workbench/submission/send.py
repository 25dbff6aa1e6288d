"""Prepare, send once, log before and after, follow up."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.cache import atomic, file_sha256, lock, read_json, write_json
from workbench.competition import Competition
from workbench.errors import DamagedError, NotFoundError, PlatformError, SubmissionError, WorkbenchError
from workbench.experiment import check_files, read_run
from workbench.ledger import Ledger, RunRecord, SubmissionEvent, SubmissionRecord
from workbench.platforms import Platform, PlatformSubmission
from workbench.submission.findings import (
    Finding,
    describe,
    file_findings,
    history_findings,
    platform_findings,
    run_findings,
)
from workbench.workspace import Workspace

__all__ = ["Prepared", "latest_run", "load_sidecars", "prepare", "send", "sync"]

OPEN = ("sending", "pending", "unknown")
"""The states in which the platform may have news."""


@dataclass(frozen=True)
class Prepared:
    """A run that may be sent, and all that speaks against it."""

    record: RunRecord
    file: Path
    sha256: str
    findings: tuple[Finding, ...]
    remaining_today: int | None

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop it."""
        return tuple(f for f in self.findings if f.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that ask."""
        return tuple(f for f in self.findings if f.level == "warning")


def latest_run(ledger: Ledger, slug: str, exp: int) -> RunRecord:
    """Return the run of an experiment that stands for it: the newest finished one on all rows, else the newest.

    Raises
    ------
    NotFoundError
        When it was never run.
    """
    runs = ledger.runs(slug, exp)
    if not runs:
        raise NotFoundError(f"experiment {exp} of {slug!r} was never run", hint=f"`wb run --exp {exp}` runs it")
    whole = [r for r in runs if r.status == "finished" and r.sample is None]
    return (whole or runs)[-1]


def prepare(
    workspace: Workspace, competition: Competition, exp: int, platform: Platform, ledger: Ledger, *, run_id: str = ""
) -> Prepared:
    """Look at a run with a view to sending it; nothing is changed.

    Parameters
    ----------
    exp : int
        The experiment; its newest finished run on all rows is taken.
    run_id : str
        A particular run instead.

    Raises
    ------
    NotFoundError
        When there is no such run.
    DamagedError
        When the run's files are not those that were written.
    """
    record = ledger.run(run_id) if run_id else latest_run(ledger, competition.slug, exp)
    if record is None:
        raise NotFoundError(f"no run {run_id!r}", hint="`wb table --all` lists them")
    findings = run_findings(record)
    file, sha256 = workspace.root / record.folder / "submission.csv", ""
    if not findings:
        on_disk, details = read_run(workspace.root / record.folder)
        check_files(workspace.root / record.folder, on_disk, details)
        sha256 = file_sha256(file)
        findings += file_findings(competition, file)
        findings += history_findings(record, sha256, ledger.submissions(competition.slug))
    remaining = None
    try:
        limits = platform.limits(competition.slug)
        remaining = limits.remaining_today
        findings += platform_findings(platform.facts(competition.slug), limits)
    except (PlatformError, NotFoundError) as exc:
        findings.append(describe(exc))
    return Prepared(record, file, sha256, tuple(findings), remaining)


def send(
    workspace: Workspace,
    competition: Competition,
    prepared: Prepared,
    platform: Platform,
    ledger: Ledger,
    *,
    message: str = "",
) -> SubmissionRecord:
    """Send a prepared submission, once, and log it before and after.

    The file is copied to ``submissions/<slug>/`` first: the copy is what is sent. If the process dies while sending,
    the log has the state "sending"; `sync` finds out from the platform whether it arrived.

    Raises
    ------
    SubmissionError
        When there are errors among the findings, or an earlier submission of the run may still be under way.
    PlatformError
        When the platform refuses; that is logged too.
    """
    if prepared.errors:
        raise SubmissionError(
            f"experiment {prepared.record.exp} can't be sent: " + "; ".join(f.message for f in prepared.errors)
        )
    slug = competition.slug
    with lock(workspace.submissions / slug / ".send.lock", f"submitting to {slug!r}"):
        sync(workspace, competition, platform, ledger)
        _refuse_unsettled(prepared, ledger.submissions(slug))
        record = _prepared_record(workspace, competition, prepared, message)
        copy = workspace.root / record.file
        if not copy.exists() or file_sha256(copy) != prepared.sha256:
            with atomic(copy) as temporary:
                shutil.copyfile(prepared.file, temporary)
        if file_sha256(copy) != prepared.sha256:
            raise DamagedError(f"{prepared.file} changed while it was being copied", hint="run `wb submit` again")
        log = _Log(workspace, ledger)
        log.put(record, "about to send")
        record = replace(record, status="sending", sent_at=datetime.now(UTC))
        log.put(record, "sending")
        try:
            ref = platform.submit(slug, copy, record.message)
        except WorkbenchError as exc:
            log.put(replace(record, status="error", error=exc.message), exc.message)
            raise
        record = replace(record, status="pending", ref=ref)
        log.put(record, "accepted")
        return _followed_up(record, platform.submissions(slug), log)


def _refuse_unsettled(prepared: Prepared, earlier: list[SubmissionRecord]) -> None:
    unsettled = [s for s in earlier if s.run_id == prepared.record.run_id and s.status == "sending"]
    if unsettled:
        raise SubmissionError(
            f"an earlier submission of run {prepared.record.run_id} may have arrived, though it is not listed yet",
            hint="`wb sync` asks again",
        )


def _prepared_record(
    workspace: Workspace, competition: Competition, prepared: Prepared, message: str
) -> SubmissionRecord:
    run = prepared.record
    token = uuid.uuid4().hex[:10]
    cv = "" if run.cv_mean is None else f" | CV {run.cv_mean:.6g}"
    file = workspace.submissions / competition.slug / f"{run.run_id}.csv"
    return SubmissionRecord(
        submission_id=token,
        competition=competition.slug,
        exp=run.exp,
        run_id=run.run_id,
        platform=competition.definition.platform,
        file=file.relative_to(workspace.root).as_posix(),
        sha256=prepared.sha256,
        # The token finds this submission on the platform when the answer to sending it was lost.
        message=f"{message or f'{run.exp:03d} {run.title}'}{cv} | wb:{token}",
        cv_mean=run.cv_mean,
        created_at=datetime.now(UTC),
        sent_at=None,
        ref=None,
        status="prepared",
        public_score=None,
        private_score=None,
        error=None,
    )


def sync(workspace: Workspace, competition: Competition, platform: Platform, ledger: Ledger) -> list[SubmissionRecord]:
    """Ask the platform for news of all submissions that it may have some of; log and return what changed.

    Raises
    ------
    PlatformError
        When it can't be reached.
    """
    slug = competition.slug
    known = ledger.submissions(slug)
    waiting = [s for s in known if s.status in OPEN or (s.status == "complete" and s.private_score is None)]
    if not waiting:
        return []
    theirs = platform.submissions(slug)
    log = _Log(workspace, ledger)
    updated = [_followed_up(record, theirs, log) for record in waiting]
    return [new for old, new in zip(waiting, updated, strict=True) if new != old]


def _followed_up(record: SubmissionRecord, theirs: list[PlatformSubmission], log: _Log) -> SubmissionRecord:
    mine = [t for t in theirs if t.ref == record.ref or f"wb:{record.submission_id}" in t.message]
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


class _Log:
    """Writes a submission to the file beside what was sent, then to the ledger: either can be rebuilt or read alone."""

    def __init__(self, workspace: Workspace, ledger: Ledger) -> None:
        self.workspace = workspace
        self.ledger = ledger

    def put(self, record: SubmissionRecord, detail: str) -> None:
        path = _sidecar(self.workspace, record)
        events = read_json(path)["events"] if path.exists() else []
        event = SubmissionEvent(
            submission_id=record.submission_id,
            at=datetime.now(UTC),
            status=record.status,
            public_score=record.public_score,
            private_score=record.private_score,
            detail=detail,
        )
        write_json(path, {"record": record.to_dict(), "events": [*events, event.to_dict()]})
        self.ledger.put_submission(record, detail)


def _sidecar(workspace: Workspace, record: SubmissionRecord) -> Path:
    return (workspace.root / record.file).with_suffix(f".{record.submission_id}.json")


def load_sidecars(workspace: Workspace) -> tuple[list[SubmissionRecord], list[SubmissionEvent], list[str]]:
    """Read the records of all submissions from the files beside what was sent, for `wb ledger rebuild`.

    Returns
    -------
    records, events, problems
        `problems` has a line per file that could not be read.
    """
    records: list[SubmissionRecord] = []
    events: list[SubmissionEvent] = []
    problems: list[str] = []
    for path in sorted(workspace.submissions.glob("*/*.json")):
        try:
            data: dict[str, Any] = read_json(path)
            records.append(SubmissionRecord.from_dict(data["record"]))
            events += [SubmissionEvent.from_dict(e) for e in data["events"]]
        except (DamagedError, KeyError, TypeError) as exc:
            problems.append(f"{path}: {exc}")
    return records, events, problems
