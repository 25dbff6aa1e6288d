"""Prepare a submission, send it once, and log it before and after."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path

from workbench.core.cache import atomic, file_sha256
from workbench.core.context import SILENT, RunContext
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
from workbench.experiments.current_runs import CurrentRun, current_run, with_marks
from workbench.experiments.reconcile import reconcile
from workbench.experiments.run_folder import check_files, list_run_folders, read_run
from workbench.ledger import RunRecord, SubmissionRecord
from workbench.models.serving import write_as_parquet
from workbench.platforms.protocol import KernelVersion, SubmissionLimits
from workbench.submissions.channel import SubmissionChannel
from workbench.submissions.findings import (
    POSSIBLY_SENT,
    SubmissionFinding,
    count_rows,
    file_findings,
    history_findings,
    kernel_findings,
    newer_run_findings,
    optimistic_findings,
    outdated_findings,
    platform_findings,
    positive_class_findings,
    possibly_sent_findings,
    run_findings,
    unchecked_finding,
    unfinished_run_findings,
)
from workbench.submissions.follow import send_lock, settle, updated_from_list
from workbench.submissions.log import DOUBTFUL_STATUSES, SENT_STATUSES
from workbench.submissions.message import message as message_of

__all__ = ["Agree", "KernelOutput", "PreparedSubmission", "prepare", "send"]

Agree = Callable[[tuple[SubmissionFinding, ...]], bool]
"""Asks the user to confirm warnings; returns whether they are confirmed."""


@dataclass(frozen=True)
class KernelOutput:
    """A kernel version and the file that it wrote: the version is submitted, and the file is logged.

    `newer_version` describes the state of a version that was pushed later; "" if there is none.
    """

    version: KernelVersion
    file: Path
    newer_version: str = ""


@dataclass(frozen=True)
class PreparedSubmission:
    """A run that may be submitted, and all its blocking issues and warnings.

    Attributes
    ----------
    rows : int, optional
        The file's rows below the header; None if it can't be read.
    remaining_today, per_day : int, optional
        None if no limit is known.
    limited_by_total : bool
        See `SubmissionLimits`.
    in_doubt : int
        The number of submissions that the platform may have received without listing them: up to this many of the
        remaining ones may be used up.
    compared_with : SubmissionRecord, optional
        The submission that its score will be compared with: the best of those with a public score, else the one with
        the best CV; None if nothing was sent.
    named : bool
        Whether the user chose this particular run.
    """

    record: RunRecord
    file: Path
    sha256: str
    findings: tuple[SubmissionFinding, ...]
    remaining_today: int | None
    kernel: KernelVersion | None = None
    rows: int | None = None
    per_day: int | None = None
    compared_with: SubmissionRecord | None = None
    limited_by_total: bool = False
    in_doubt: int = 0
    named: bool = False

    @property
    def errors(self) -> tuple[SubmissionFinding, ...]:
        """The findings that block it."""
        return tuple(f for f in self.findings if f.level == "error")

    @property
    def warnings(self) -> tuple[SubmissionFinding, ...]:
        """The findings that need confirmation."""
        return tuple(f for f in self.findings if f.level == "warning")

    @property
    def doubts(self) -> tuple[SubmissionFinding, ...]:
        """The warnings that only `again` confirms: an earlier submission of it may have arrived."""
        return tuple(f for f in self.findings if f.code == POSSIBLY_SENT)

    @property
    def hint(self) -> str:
        """How to fix the findings that block it."""
        hints = dict.fromkeys(f.hint for f in self.errors if f.hint)
        if all(f.hint for f in self.errors):
            return "; ".join(hints)
        return "; ".join(["fix that, run the experiment again, then submit", *hints])


def prepare(
    channel: SubmissionChannel, exp: int, *, run_id: str = "", kernel: KernelOutput | None = None
) -> PreparedSubmission:
    """Check a run before it is submitted; nothing is changed.

    Parameters
    ----------
    exp : int
        The number of the experiment whose current run is submitted; see `workbench.experiments.current_runs`.
    run_id : str
        A particular run instead.
    kernel : KernelOutput, optional
        A kernel's output with that run's models, which is checked in place of the run's own file.

    Raises
    ------
    NotFoundError
        When there is no such run.
    DamagedError
        When the run's files have changed since they were written.
    """
    workspace, competition, ledger = channel.workspace, channel.competition, channel.ledger
    record = ledger.run(run_id) if run_id else None
    if run_id and record is None:
        raise NotFoundError(f"no run {run_id!r}", hint="`wb table --all` lists them")
    # A run may be finished on disk only, or its process may be gone: the newest run follows from the run folders.
    reconcile(workspace, ledger, competition.slug)
    current = current_run(workspace, competition.slug, exp, ledger.runs(competition.slug))
    record = record or current.record
    findings = run_findings(record)
    run_folder = workspace.root / record.folder
    file, sha256 = run_folder / "submission.csv", ""
    if not findings:
        record_on_disk, details = read_run(run_folder)
        check_files(run_folder, record_on_disk, details)
        if kernel is not None:
            findings += kernel_findings(competition, kernel.file, file, kernel.newer_version)
            file = kernel.file
        elif competition.definition.submission.is_parquet:
            # The run's own file stays as it is; a Parquet copy of it is sent.
            file = write_as_parquet(
                competition, file, workspace.submissions / competition.slug / f".{record.run_id}.parquet"
            )
        sha256 = file_sha256(file)
        findings += file_findings(competition, file)
        findings += positive_class_findings(competition, details)
        findings += optimistic_findings(*with_marks(workspace, [record]))
    version = None if kernel is None else kernel.version
    prepared = PreparedSubmission(
        record,
        file,
        sha256,
        tuple(findings),
        remaining_today=None,
        kernel=version,
        rows=count_rows(file),
        compared_with=_best_submission(channel.logged(), record, competition),
        named=bool(run_id) and kernel is None,
    )
    return _with_changing_findings(channel, prepared, current)


def _with_changing_findings(
    channel: SubmissionChannel, prepared: PreparedSubmission, current: CurrentRun
) -> PreparedSubmission:
    """Add the findings that may change at any time: of other runs, other submissions, the platform."""
    competition, platform = channel.competition, channel.platform
    record, kernel, findings = prepared.record, prepared.kernel, list(prepared.findings)
    file = _copy_path(channel, prepared)
    # No warning about an interrupted call's submission of this file: `send` settles it and never sends it twice.
    submissions = [s for s in channel.logged() if (s.file, s.status) != (file, "sending")]
    if prepared.sha256:
        # Doubtful submissions of this very file have a finding of their own, `possibly_sent_findings`.
        settled_submissions = [
            s for s in submissions if s.status not in DOUBTFUL_STATUSES or (s.file, s.sha256) != (file, prepared.sha256)
        ]
        findings += possibly_sent_findings(file, prepared.sha256, submissions)
        findings += history_findings(record, prepared.sha256, settled_submissions)
        if not prepared.named:
            findings += newer_run_findings(record, current.record)
        if record.run_id == current.record.run_id:
            findings += outdated_findings(current)
        if not prepared.named:
            folders = [f.name for f in list_run_folders(competition.paths.runs, record.exp)]
            findings += unfinished_run_findings(record, channel.ledger.runs(competition.slug), folders)
    limits, in_doubt = SubmissionLimits(None, None), _count_in_doubt(submissions)
    try:
        limits = platform.limits(competition.slug)
        facts = platform.facts(competition.slug)
        server_file = evaluation_server_of(competition) if facts.kind == "notebook" else None
        findings += platform_findings(
            facts, limits, is_kernel=kernel is not None, server_file=server_file, in_doubt=in_doubt
        )
    except (PlatformError, NotFoundError) as exc:
        findings.append(unchecked_finding(exc))
    return replace(
        prepared,
        findings=tuple(findings),
        remaining_today=limits.remaining_today,
        per_day=limits.per_day,
        limited_by_total=limits.limited_by_total,
        in_doubt=in_doubt,
    )


def _count_in_doubt(submissions: Sequence[SubmissionRecord]) -> int:
    """Count doubtful submissions of today (UTC), and of later days, in case the local clock was set back since."""
    today = datetime.now(UTC).date()
    return sum(s.status in DOUBTFUL_STATUSES and (s.sent_at or s.created_at).date() >= today for s in submissions)


def _best_submission(
    earlier: list[SubmissionRecord], record: RunRecord, competition: Competition
) -> SubmissionRecord | None:
    """Return the submission that a new one is compared with."""
    pick_best = max if record.greater_is_better else min
    sent = [s for s in earlier if s.status in SENT_STATUSES]
    scored = [s for s in sent if s.public_score is not None]
    if scored and competition.definition.metric_of_platform is not None:
        # The local metric only approximates the platform's, whose direction is unknown: no score is the better one.
        return scored[-1]
    if scored:
        return pick_best(scored, key=attrgetter("public_score"))
    submissions_with_cv = [s for s in sent if s.cv_mean is not None]
    return pick_best(submissions_with_cv, key=attrgetter("cv_mean"), default=None)


def send(
    channel: SubmissionChannel,
    prepared: PreparedSubmission,
    *,
    message: str = "",
    again: bool = False,
    agree: Agree | None = None,
    context: RunContext = SILENT,
) -> SubmissionRecord:
    """Send a prepared submission, once, and log it before and after.

    The file is first copied to ``submissions/<slug>/``. The copy is sent; for a kernel it records what the submitted
    version wrote. The log has the status "sending" from just before the request to create the submission. If the
    process dies then, or the answer is lost, the next call (or `sync`) finds out from the platform whether the
    submission arrived; if so, the next call returns it and sends nothing. If the platform does not list it within its
    listing delay, it may have received it nevertheless: it is sent again only with `again` or a confirmation.

    Findings that may have changed since it was prepared (other submissions, runs, limits) are checked again under the
    lock.

    Parameters
    ----------
    again : bool
        Send it even though an earlier submission of it may have arrived.
    agree : callable, optional
        Confirms warnings that `prepared` does not have, and the warning that an earlier submission may have arrived.
        By default these block the submission.

    Raises
    ------
    SubmissionError
        When a finding is an error, or a warning is not confirmed.
    BusyError
        When another process is sending to the competition.
    UnansweredError
        When it is not known whether it arrived.
    PlatformError
        When the platform rejects it; that is logged too.
    """
    _refuse_errors(prepared)
    workspace, platform, slug = channel.workspace, channel.platform, channel.competition.slug
    with send_lock(workspace, slug):
        log, file = channel.log, _copy_path(channel, prepared)
        log.catch_up(slug)
        earlier_by_id = {s.submission_id: s for s in channel.logged()}

        def is_same(earlier: SubmissionRecord) -> bool:
            return earlier.file == file or earlier.sha256 == prepared.sha256

        settle(channel, is_same, context)
        arrived_submission = _find_arrived(earlier_by_id, channel.logged(), file)
        if arrived_submission is not None:
            return arrived_submission
        _check_again(channel, prepared, again=again, agree=agree)
        record = _prepared_record(channel, prepared, message)
        copy_path = workspace.root / record.file
        if not copy_path.exists() or file_sha256(copy_path) != prepared.sha256:
            with atomic(copy_path) as temporary:
                shutil.copyfile(prepared.file, temporary)
        if file_sha256(copy_path) != prepared.sha256:
            raise DamagedError(f"{prepared.file} changed while it was being copied", hint="run `wb submit` again")
        log.put(record, "about to send")
        record = _send_and_log(channel, copy_path, prepared, record)
        try:
            return updated_from_list(record, platform.submissions(slug), log)
        except PlatformError:
            return record  # it was accepted: `sync` fetches its score later


def _refuse_errors(prepared: PreparedSubmission) -> None:
    if prepared.errors:
        raise SubmissionError(
            f"experiment {prepared.record.exp} can't be sent: " + "; ".join(f.message for f in prepared.errors),
            hint=prepared.hint,
        )


def _check_again(channel: SubmissionChannel, prepared: PreparedSubmission, *, again: bool, agree: Agree | None) -> None:
    """Raise if there are new blocking issues or unconfirmed warnings by now; the caller holds the lock."""
    workspace, ledger, slug = channel.workspace, channel.ledger, channel.competition.slug
    reconcile(workspace, ledger, slug)
    current = current_run(workspace, slug, prepared.record.exp, ledger.runs(slug))
    rechecked = _with_changing_findings(channel, replace(prepared, findings=()), current)
    _refuse_errors(rechecked)
    unconfirmed = tuple(
        f for f in rechecked.warnings if (not again if f.code == POSSIBLY_SENT else f not in prepared.findings)
    )
    if not unconfirmed or (agree is not None and agree(unconfirmed)):
        return
    text = "; ".join(f.message for f in unconfirmed)
    if any(f.code == POSSIBLY_SENT for f in unconfirmed):
        hint = "`wb sync` looks for it; --again sends another one anyway"
    else:
        hint = f"this has changed since the check: `wb submit {prepared.record.exp}` checks it again"
    raise SubmissionError(f"experiment {prepared.record.exp} is not sent: {text}", hint=hint)


def _send_and_log(
    channel: SubmissionChannel, copy_path: Path, prepared: PreparedSubmission, record: SubmissionRecord
) -> SubmissionRecord:
    """Send a submission; log it as "sending" just before the request to create it, then log the outcome."""
    log, logged_record = channel.log, record

    def before_create() -> None:
        nonlocal logged_record
        logged_record = replace(record, status="sending", sent_at=datetime.now(UTC))
        log.put(logged_record, "sending")

    try:
        ref = _submit(channel, copy_path, prepared, record.message, before_create)
    except UnansweredError as exc:
        log.put(logged_record, exc.message)  # still "sending": only the platform's list shows whether it arrived
        raise
    except WorkbenchError as exc:
        log.put(replace(logged_record, status="error", error=exc.message), exc.message)
        raise
    accepted = replace(logged_record, status="pending", ref=ref)
    log.put(accepted, "accepted")
    return accepted


def _submit(
    channel: SubmissionChannel,
    copy_path: Path,
    prepared: PreparedSubmission,
    message: str,
    before_create: Callable[[], None],
) -> str:
    """Submit a file, or the kernel version that wrote it; return the platform's reference."""
    platform, slug, kernel = channel.platform, channel.competition.slug, prepared.kernel
    if kernel is None:
        return platform.submit(slug, copy_path, message, before_create=before_create)
    if platform.code is None:
        raise PlatformError(f"the platform {platform.name!r} has no kernels")
    return platform.code.submit_kernel(slug, kernel, prepared.file.name, message, before_create=before_create)


def _find_arrived(
    earlier_by_id: dict[str, SubmissionRecord], logged: list[SubmissionRecord], file: str
) -> SubmissionRecord | None:
    """Return an interrupted call's submission of this file if the platform has received it.

    A run whose kernel was pushed twice has two files, which are two submissions.
    """
    for record in logged:
        earlier = earlier_by_id.get(record.submission_id)
        if record.file == file and record.ref and earlier is not None and earlier.status in DOUBTFUL_STATUSES:
            return record
    return None


def _copy_path(channel: SubmissionChannel, prepared: PreparedSubmission) -> str:
    """Return the path of the copy that is sent, relative to the workspace."""
    workspace = channel.workspace
    # A kernel that was deleted and created again has two versions of the same number.
    version = "" if prepared.kernel is None else f"-v{prepared.kernel.number}-{prepared.sha256[:8]}"
    name = f"{prepared.record.run_id}{version}{prepared.file.suffix}"
    return (workspace.submissions / channel.competition.slug / name).relative_to(workspace.root).as_posix()


def _prepared_record(channel: SubmissionChannel, prepared: PreparedSubmission, message: str) -> SubmissionRecord:
    """Return the record of a new submission, with a token of its own."""
    competition, run = channel.competition, prepared.record
    token = uuid.uuid4().hex[:10]
    return SubmissionRecord(
        submission_id=token,
        competition=competition.slug,
        exp=run.exp,
        run_id=run.run_id,
        platform=competition.definition.platform,
        file=_copy_path(channel, prepared),
        sha256=prepared.sha256,
        # By the token this submission is recognised on the platform if the answer to sending it is lost.
        message=message_of(token, message or f"{run.exp:03d} {run.title}", run.cv_mean),
        cv_mean=run.cv_mean,
        created_at=datetime.now(UTC),
        sent_at=None,
        ref=None,
        status="prepared",
        public_score=None,
        private_score=None,
        error=None,
        workspace=channel.workspace.id,
    )
