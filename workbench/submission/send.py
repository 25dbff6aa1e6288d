"""Prepare, send once, log before and after."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from workbench.cache import atomic, file_sha256, lock
from workbench.competition import Competition
from workbench.current_runs import current_run
from workbench.errors import (
    DamagedError,
    NotFoundError,
    PlatformError,
    SubmissionError,
    UnansweredError,
    WorkbenchError,
)
from workbench.experiment import check_files, read_run
from workbench.ingest import evaluation_server_of
from workbench.ledger import Ledger, RunRecord, SubmissionRecord
from workbench.platforms import KernelVersion, Platform, SubmissionLimits
from workbench.serving import write_as_parquet
from workbench.submission.findings import (
    SENT,
    Finding,
    count_rows,
    describe,
    file_findings,
    history_findings,
    kernel_findings,
    newer_findings,
    outdated_findings,
    platform_findings,
    positive_findings,
    run_findings,
)
from workbench.submission.follow import Report, followed_up, settle
from workbench.submission.log import Log
from workbench.workspace import Workspace

__all__ = ["Prepared", "Written", "prepare", "send"]


@dataclass(frozen=True)
class Written:
    """What a version of a kernel wrote: the version is submitted, and the file is logged.

    `newer` says what became of a version that was pushed after it; "" where there is none.
    """

    version: KernelVersion
    file: Path
    newer: str = ""


@dataclass(frozen=True)
class Prepared:
    """A run that may be sent, and all that speaks against it.

    `rows` counts the file's lines below the header, None where it can't be read; `remaining_today` and `per_day` are
    None where no limit is known; `limited_by_total` as in `SubmissionLimits`. `compared_with` is the submission that
    its score will stand beside: the best of those that have a public score, else the one with the best CV, None where
    nothing was sent.
    """

    record: RunRecord
    file: Path
    sha256: str
    findings: tuple[Finding, ...]
    remaining_today: int | None
    kernel: KernelVersion | None = None
    rows: int | None = None
    per_day: int | None = None
    compared_with: SubmissionRecord | None = None
    limited_by_total: bool = False

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop it."""
        return tuple(f for f in self.findings if f.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that ask."""
        return tuple(f for f in self.findings if f.level == "warning")

    @property
    def hint(self) -> str:
        """What to do about the findings that stop it."""
        hints = dict.fromkeys(f.hint for f in self.errors if f.hint)
        if all(f.hint for f in self.errors):
            return "; ".join(hints)
        return "; ".join(["fix that, run the experiment again, then submit", *hints])


def prepare(
    workspace: Workspace,
    competition: Competition,
    exp: int,
    platform: Platform,
    ledger: Ledger,
    *,
    run_id: str = "",
    kernel: Written | None = None,
) -> Prepared:
    """Look at a run with a view to sending it; nothing is changed.

    Parameters
    ----------
    exp : int
        The experiment; the run that stands for it is taken, see `workbench.current_runs`.
    run_id : str
        A particular run instead.
    kernel : Written, optional
        What a kernel wrote with that run's models: it is looked at in place of the run's own file.

    Raises
    ------
    NotFoundError
        When there is no such run.
    DamagedError
        When the run's files are not those that were written.
    """
    record = ledger.run(run_id) if run_id else None
    if run_id and record is None:
        raise NotFoundError(f"no run {run_id!r}", hint="`wb table --all` lists them")
    current = current_run(workspace, competition.slug, exp, ledger.runs(competition.slug))
    record = record or current.record
    findings = run_findings(record)
    file, sha256 = workspace.root / record.folder / "submission.csv", ""
    if not findings:
        on_disk, details = read_run(workspace.root / record.folder)
        check_files(workspace.root / record.folder, on_disk, details)
        if kernel is not None:
            findings += kernel_findings(competition, kernel.file, file, kernel.newer)
            findings += newer_findings(record, current.record)
            file = kernel.file
        elif competition.definition.submission.is_parquet:
            # The run's own file stays as it is: what is sent is made of it.
            file = write_as_parquet(
                competition, file, workspace.submissions / competition.slug / f".{record.run_id}.parquet"
            )
        sha256 = file_sha256(file)
        findings += file_findings(competition, file)
        findings += positive_findings(competition, details)
        # What an earlier call left open is settled by `send`, which does not send it twice: no reason to ask.
        earlier = [
            s for s in ledger.submissions(competition.slug) if (s.run_id, s.status) != (record.run_id, "sending")
        ]
        findings += history_findings(record, sha256, earlier)
        if record.run_id == current.record.run_id:
            findings += outdated_findings(current)
    limits = SubmissionLimits(None, None)
    try:
        limits = platform.limits(competition.slug)
        facts = platform.facts(competition.slug)
        server = evaluation_server_of(competition) if facts.kind == "notebook" else None
        findings += platform_findings(facts, limits, kernel=kernel is not None, server=server)
    except (PlatformError, NotFoundError) as exc:
        findings.append(describe(exc))
    version = None if kernel is None else kernel.version
    return Prepared(
        record,
        file,
        sha256,
        tuple(findings),
        limits.remaining_today,
        version,
        rows=count_rows(file),
        per_day=limits.per_day,
        compared_with=_best(ledger.submissions(competition.slug), record, competition),
        limited_by_total=limits.limited_by_total,
    )


def _best(earlier: list[SubmissionRecord], record: RunRecord, competition: Competition) -> SubmissionRecord | None:
    """Return the submission that a new one is measured by."""
    sign = 1 if record.greater_is_better else -1
    sent = [s for s in earlier if s.status in SENT]
    scored = [s for s in sent if s.public_score is not None]
    if scored and competition.definition.metric_of_platform is not None:
        return scored[-1]  # which of the platform's scores is better, the metric that stands in for its own can't tell
    if scored:
        return max(scored, key=lambda s: sign * float(s.public_score or 0))
    with_cv = [s for s in sent if s.cv_mean is not None]
    return max(with_cv, key=lambda s: sign * float(s.cv_mean or 0), default=None)


def send(
    workspace: Workspace,
    competition: Competition,
    prepared: Prepared,
    platform: Platform,
    ledger: Ledger,
    *,
    message: str = "",
    report: Report = lambda _: None,
) -> SubmissionRecord:
    """Send a prepared submission, once, and log it before and after.

    The file is copied to ``submissions/<slug>/`` first: the copy is what is sent, or what the kernel that is submitted
    wrote. If the process dies while sending,
    or the answer is lost, the log has the state "sending"; the next call, or `sync`, finds out from the platform
    whether it arrived. Where it did, the next call returns that and sends nothing.

    Raises
    ------
    SubmissionError
        When there are errors among the findings.
    BusyError
        When another process is sending to the competition.
    UnansweredError
        When it is not known whether it arrived.
    PlatformError
        When the platform refuses; that is logged too.
    """
    if prepared.errors:
        raise SubmissionError(
            f"experiment {prepared.record.exp} can't be sent: " + "; ".join(f.message for f in prepared.errors),
            hint=prepared.hint,
        )
    slug = competition.slug
    with lock(workspace.submissions / slug / ".send.lock", f"submitting to {slug!r}"):
        before = _sent(ledger, prepared)
        settle(workspace, competition, platform, ledger, prepared.record.run_id, report)
        record = _prepared_record(workspace, competition, prepared, message)
        arrived = _arrived(before, _sent(ledger, prepared), record.file)
        if arrived is not None:
            return arrived
        copy = workspace.root / record.file
        if not copy.exists() or file_sha256(copy) != prepared.sha256:
            with atomic(copy) as temporary:
                shutil.copyfile(prepared.file, temporary)
        if file_sha256(copy) != prepared.sha256:
            raise DamagedError(f"{prepared.file} changed while it was being copied", hint="run `wb submit` again")
        log = Log(workspace, ledger)
        log.put(record, "about to send")
        record = replace(record, status="sending", sent_at=datetime.now(UTC))
        log.put(record, "sending")
        try:
            ref = _submit(platform, slug, copy, prepared, record.message)
        except UnansweredError as exc:
            log.put(record, exc.message)  # still "sending": only the platform's list can tell
            raise
        except WorkbenchError as exc:
            log.put(replace(record, status="error", error=exc.message), exc.message)
            raise
        record = replace(record, status="pending", ref=ref)
        log.put(record, "accepted")
        try:
            return followed_up(record, platform.submissions(slug), log)
        except PlatformError:
            return record  # it was taken; its score can come later


def _submit(platform: Platform, slug: str, copy: Path, prepared: Prepared, message: str) -> str:
    kernel = prepared.kernel
    if kernel is None:
        return platform.submit(slug, copy, message)
    if platform.code is None:
        raise PlatformError(f"the platform {platform.name!r} has no kernels")
    return platform.code.submit_kernel(slug, kernel, prepared.file.name, message)


def _sent(ledger: Ledger, prepared: Prepared) -> dict[str, SubmissionRecord]:
    earlier = ledger.submissions(prepared.record.competition)
    return {s.submission_id: s for s in earlier if s.run_id == prepared.record.run_id}


def _arrived(
    before: dict[str, SubmissionRecord], now: dict[str, SubmissionRecord], file: str
) -> SubmissionRecord | None:
    """Return the submission of a call that was cut off, where it turns out to have arrived.

    A run whose kernel was pushed twice has two files: one that arrived is not the other.
    """
    for key, record in now.items():
        if (
            record.file == file
            and key in before
            and before[key].status == "sending"
            and record.status in ("pending", "complete")
        ):
            return record
    return None


def _prepared_record(
    workspace: Workspace, competition: Competition, prepared: Prepared, message: str
) -> SubmissionRecord:
    run = prepared.record
    token = uuid.uuid4().hex[:10]
    cv = "" if run.cv_mean is None else f" | CV {run.cv_mean:.6g}"
    # Of a kernel that was deleted and made anew there are two versions of one number.
    version = "" if prepared.kernel is None else f"-v{prepared.kernel.number}-{prepared.sha256[:8]}"
    file = workspace.submissions / competition.slug / f"{run.run_id}{version}{prepared.file.suffix}"
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
        workspace=workspace.id,
    )
