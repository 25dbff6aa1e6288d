"""Prepare, send once, log before and after."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path

from workbench.core.cache import atomic, file_sha256
from workbench.core.errors import (
    DamagedError,
    NotFoundError,
    PlatformError,
    SubmissionError,
    UnansweredError,
    WorkbenchError,
)
from workbench.data.competition import Competition
from workbench.data.ingest import evaluation_server_of
from workbench.data.workspace import Workspace
from workbench.experiments.current_runs import CurrentRun, current_run, with_marks
from workbench.experiments.reconcile import reconcile
from workbench.experiments.run_folder import check_files, list_run_folders, read_run
from workbench.ledger import Ledger, RunRecord, SubmissionRecord
from workbench.models.serving import write_as_parquet
from workbench.platforms.protocol import KernelVersion, Platform, SubmissionLimits
from workbench.submissions.findings import (
    POSSIBLY_SENT,
    Finding,
    count_rows,
    describe,
    doubt_findings,
    file_findings,
    history_findings,
    kernel_findings,
    newer_findings,
    optimistic_findings,
    outdated_findings,
    passed_over_findings,
    platform_findings,
    positive_findings,
    run_findings,
)
from workbench.submissions.follow import Report, followed_up, send_lock, settle
from workbench.submissions.log import DOUBTFUL, SENT, Log
from workbench.submissions.message import message as message_of

__all__ = ["Agree", "Prepared", "Written", "prepare", "send"]

Agree = Callable[[tuple[Finding, ...]], bool]
"""Asks somebody whether it is sent in spite of warnings that nobody has answered yet."""


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
    None where no limit is known; `limited_by_total` as in `SubmissionLimits`. `in_doubt` counts submissions that the
    platform may have, though it does not list them: of what is left, so many may be used up. `compared_with` is the
    submission that its score will stand beside: the best of those that have a public score, else the one with the best
    CV, None where nothing was sent. `named` says that this run was asked for, whatever other runs there are.
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
    in_doubt: int = 0
    named: bool = False

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop it."""
        return tuple(f for f in self.findings if f.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that ask."""
        return tuple(f for f in self.findings if f.level == "warning")

    @property
    def doubts(self) -> tuple[Finding, ...]:
        """The warnings that only `again` answers: an earlier sending may have arrived."""
        return tuple(f for f in self.findings if f.code == POSSIBLY_SENT)

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
        The experiment; the run that stands for it is taken, see `workbench.experiments.current_runs`.
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
    # A run that is finished on the disk only, or that nobody runs any more: the newest is told by what is there.
    reconcile(workspace, ledger, competition.slug)
    current = current_run(workspace, competition.slug, exp, ledger.runs(competition.slug))
    record = record or current.record
    findings = run_findings(record)
    file, sha256 = workspace.root / record.folder / "submission.csv", ""
    if not findings:
        on_disk, details = read_run(workspace.root / record.folder)
        check_files(workspace.root / record.folder, on_disk, details)
        if kernel is not None:
            findings += kernel_findings(competition, kernel.file, file, kernel.newer)
            file = kernel.file
        elif competition.definition.submission.is_parquet:
            # The run's own file stays as it is: what is sent is made of it.
            file = write_as_parquet(
                competition, file, workspace.submissions / competition.slug / f".{record.run_id}.parquet"
            )
        sha256 = file_sha256(file)
        findings += file_findings(competition, file)
        findings += positive_findings(competition, details)
        findings += optimistic_findings(*with_marks(workspace, [record]))
    version = None if kernel is None else kernel.version
    bare = Prepared(
        record,
        file,
        sha256,
        tuple(findings),
        None,
        version,
        rows=count_rows(file),
        compared_with=_best(ledger.submissions(competition.slug), record, competition),
        named=bool(run_id) and kernel is None,
    )
    return _with_surroundings(workspace, competition, bare, platform, ledger, current)


def _with_surroundings(
    workspace: Workspace,
    competition: Competition,
    prepared: Prepared,
    platform: Platform,
    ledger: Ledger,
    current: CurrentRun,
) -> Prepared:
    """Add the findings that are not of the file: other runs and submissions, the platform; they may change any time."""
    record, kernel, findings = prepared.record, prepared.kernel, list(prepared.findings)
    file = _sent_as(workspace, competition, prepared)
    # What an earlier call left open is settled by `send`, which does not send it twice: no reason to ask.
    submissions = [s for s in ledger.submissions(competition.slug) if (s.file, s.status) != (file, "sending")]
    if prepared.sha256:
        earlier = [s for s in submissions if s.status not in DOUBTFUL or (s.file, s.sha256) != (file, prepared.sha256)]
        findings += doubt_findings(file, prepared.sha256, submissions)
        findings += history_findings(record, prepared.sha256, earlier)
        if not prepared.named:
            findings += newer_findings(record, current.record)
        if record.run_id == current.record.run_id:
            findings += outdated_findings(current)
        if not prepared.named:
            folders = [f.name for f in list_run_folders(competition.runs_folder, record.exp)]
            findings += passed_over_findings(record, ledger.runs(competition.slug), folders)
    limits, in_doubt = SubmissionLimits(None, None), _in_doubt(submissions)
    try:
        limits = platform.limits(competition.slug)
        facts = platform.facts(competition.slug)
        server = evaluation_server_of(competition) if facts.kind == "notebook" else None
        findings += platform_findings(facts, limits, kernel=kernel is not None, server=server, in_doubt=in_doubt)
    except (PlatformError, NotFoundError) as exc:
        findings.append(describe(exc))
    return replace(
        prepared,
        findings=tuple(findings),
        remaining_today=limits.remaining_today,
        per_day=limits.per_day,
        limited_by_total=limits.limited_by_total,
        in_doubt=in_doubt,
    )


def _in_doubt(submissions: Sequence[SubmissionRecord]) -> int:
    """Count what may have been sent today, by the day of the clock then; a clock set back leaves tomorrow's in."""
    today = datetime.now(UTC).date()
    return sum(s.status in DOUBTFUL and (s.sent_at or s.created_at).date() >= today for s in submissions)


def _best(earlier: list[SubmissionRecord], record: RunRecord, competition: Competition) -> SubmissionRecord | None:
    """Return the submission that a new one is measured by."""
    best = max if record.greater_is_better else min
    sent = [s for s in earlier if s.status in SENT]
    scored = [s for s in sent if s.public_score is not None]
    if scored and competition.definition.metric_of_platform is not None:
        return scored[-1]  # which of the platform's scores is better, the metric that stands in for its own can't tell
    if scored:
        return best(scored, key=attrgetter("public_score"))
    with_cv = [s for s in sent if s.cv_mean is not None]
    return best(with_cv, key=attrgetter("cv_mean"), default=None)


def send(  # noqa: PLR0913 what may be said of it
    workspace: Workspace,
    competition: Competition,
    prepared: Prepared,
    platform: Platform,
    ledger: Ledger,
    *,
    message: str = "",
    again: bool = False,
    agree: Agree | None = None,
    report: Report = lambda _: None,
) -> SubmissionRecord:
    """Send a prepared submission, once, and log it before and after.

    The file is copied to ``submissions/<slug>/`` first: the copy is what is sent, or what the kernel that is submitted
    wrote. If the process dies while sending, or the answer is lost, the log has the state "sending" from the moment
    the platform is asked to make a submission; the next call, or `sync`, finds out from the platform whether it
    arrived. Where it did, the next call returns that and sends nothing. Where the platform does not list it in the
    time that it takes, it may still have it: it is sent another time only by somebody's word.

    Whatever may have changed since it was prepared (other submissions, runs, limits) is looked at again while nobody
    else can send.

    Parameters
    ----------
    again : bool
        Send it though an earlier sending of it may have arrived.
    agree : callable, optional
        Asked about warnings that `prepared` does not have, and about an earlier sending that may have arrived. By
        default nobody is asked, and they stop it.

    Raises
    ------
    SubmissionError
        When there are errors among the findings, or warnings that nobody has agreed to.
    BusyError
        When another process is sending to the competition.
    UnansweredError
        When it is not known whether it arrived.
    PlatformError
        When the platform refuses; that is logged too.
    """
    _refuse(prepared)
    slug = competition.slug
    with send_lock(workspace, slug):
        log, file = Log(workspace, ledger), _sent_as(workspace, competition, prepared)
        log.catch_up(slug)
        before = {s.submission_id: s for s in ledger.submissions(slug)}

        def is_same(earlier: SubmissionRecord) -> bool:
            return earlier.file == file or earlier.sha256 == prepared.sha256

        settle(workspace, competition, platform, ledger, is_same, report)
        arrived = _arrived(before, ledger.submissions(slug), file)
        if arrived is not None:
            return arrived
        _look_again(workspace, competition, prepared, platform, ledger, again=again, agree=agree)
        record = _prepared_record(workspace, competition, prepared, message)
        copy = workspace.root / record.file
        if not copy.exists() or file_sha256(copy) != prepared.sha256:
            with atomic(copy) as temporary:
                shutil.copyfile(prepared.file, temporary)
        if file_sha256(copy) != prepared.sha256:
            raise DamagedError(f"{prepared.file} changed while it was being copied", hint="run `wb submit` again")
        log.put(record, "about to send")
        record = _submitted(platform, competition, copy, prepared, record, log)
        try:
            return followed_up(record, platform.submissions(slug), log)
        except PlatformError:
            return record  # it was taken; its score can come later


def _refuse(prepared: Prepared) -> None:
    if prepared.errors:
        raise SubmissionError(
            f"experiment {prepared.record.exp} can't be sent: " + "; ".join(f.message for f in prepared.errors),
            hint=prepared.hint,
        )


def _look_again(
    workspace: Workspace,
    competition: Competition,
    prepared: Prepared,
    platform: Platform,
    ledger: Ledger,
    *,
    again: bool,
    agree: Agree | None,
) -> None:
    """Raise where something speaks against sending by now that nobody has agreed to; the caller holds the lock."""
    reconcile(workspace, ledger, competition.slug)
    current = current_run(workspace, competition.slug, prepared.record.exp, ledger.runs(competition.slug))
    of_file = replace(prepared, findings=())
    now = _with_surroundings(workspace, competition, of_file, platform, ledger, current)
    _refuse(now)
    unanswered = tuple(
        f for f in now.warnings if (not again if f.code == POSSIBLY_SENT else f not in prepared.findings)
    )
    if not unanswered or (agree is not None and agree(unanswered)):
        return
    text = "; ".join(f.message for f in unanswered)
    if any(f.code == POSSIBLY_SENT for f in unanswered):
        hint = "`wb sync` looks for it; --again sends another one all the same"
    else:
        hint = f"that is new since it was looked at: `wb submit {prepared.record.exp}` looks again"
    raise SubmissionError(f"experiment {prepared.record.exp} is not sent: {text}", hint=hint)


def _submitted(
    platform: Platform, competition: Competition, copy: Path, prepared: Prepared, record: SubmissionRecord, log: Log
) -> SubmissionRecord:
    """Send it; log that the platform is being asked to make a submission of it, and what came of that."""
    sending = record

    def creating() -> None:
        nonlocal sending
        sending = replace(record, status="sending", sent_at=datetime.now(UTC))
        log.put(sending, "sending")

    try:
        ref = _submit(platform, competition.slug, copy, prepared, record.message, creating)
    except UnansweredError as exc:
        log.put(sending, exc.message)  # still "sending": only the platform's list can tell
        raise
    except WorkbenchError as exc:
        log.put(replace(sending, status="error", error=exc.message), exc.message)
        raise
    accepted = replace(sending, status="pending", ref=ref)
    log.put(accepted, "accepted")
    return accepted


def _submit(
    platform: Platform, slug: str, copy: Path, prepared: Prepared, message: str, creating: Callable[[], None]
) -> str:
    kernel = prepared.kernel
    if kernel is None:
        return platform.submit(slug, copy, message, creating=creating)
    if platform.code is None:
        raise PlatformError(f"the platform {platform.name!r} has no kernels")
    return platform.code.submit_kernel(slug, kernel, prepared.file.name, message, creating=creating)


def _arrived(before: dict[str, SubmissionRecord], now: list[SubmissionRecord], file: str) -> SubmissionRecord | None:
    """Return the submission of a call that was cut off, where it turns out to have arrived.

    A run whose kernel was pushed twice has two files: one that arrived is not the other.
    """
    for record in now:
        earlier = before.get(record.submission_id)
        if record.file == file and record.ref and earlier is not None and earlier.status in DOUBTFUL:
            return record
    return None


def _sent_as(workspace: Workspace, competition: Competition, prepared: Prepared) -> str:
    """Return the path, in the workspace, of the copy that is sent."""
    # Of a kernel that was deleted and made anew there are two versions of one number.
    version = "" if prepared.kernel is None else f"-v{prepared.kernel.number}-{prepared.sha256[:8]}"
    name = f"{prepared.record.run_id}{version}{prepared.file.suffix}"
    return (workspace.submissions / competition.slug / name).relative_to(workspace.root).as_posix()


def _prepared_record(
    workspace: Workspace, competition: Competition, prepared: Prepared, message: str
) -> SubmissionRecord:
    run = prepared.record
    token = uuid.uuid4().hex[:10]
    return SubmissionRecord(
        submission_id=token,
        competition=competition.slug,
        exp=run.exp,
        run_id=run.run_id,
        platform=competition.definition.platform,
        file=_sent_as(workspace, competition, prepared),
        sha256=prepared.sha256,
        # The token finds this submission on the platform when the answer to sending it was lost.
        message=message_of(token, message or f"{run.exp:03d} {run.title}", run.cv_mean),
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
