"""`wb submit`, `wb submissions` and `wb sync`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from workbench.api import library
from workbench.cli.app import competition_option, echo_json, note, shared_options
from workbench.cli.commands import Command, experiment_option
from workbench.cli.interrupt import wake_reads
from workbench.cli.terminal import confirm, echo, short_path, styled
from workbench.core.errors import PlatformError, SubmissionError, UnsupportedError
from workbench.core.memory import format_bytes
from workbench.core.text_table import text_table
from workbench.core.wording import counted

if TYPE_CHECKING:
    from workbench.api.values import (
        PreparedSubmission,
        RunRecord,
        SubmissionFinding,
        SubmissionLimits,
        SubmissionRecord,
    )


@dataclass(frozen=True)
class SendingOptions:
    """The options of commands that send a submission.

    Attributes
    ----------
    message : str
        Empty for the default one.
    yes : bool
        Whether to send without asking, despite warnings.
    again : bool
        Whether to send even if an earlier attempt may have arrived.
    dry_run : bool
        Whether to show the checks only.
    wait : bool
        Whether to wait for the score.
    """

    message: str
    yes: bool
    again: bool
    dry_run: bool
    wait: bool


def sending_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `SendingOptions` to a command."""
    for option in (
        click.option("--wait", is_flag=True, help="Wait for the score, for up to an hour."),
        click.option("--dry-run", is_flag=True, help="Show the checks and send nothing."),
        click.option("--again", is_flag=True, help="Send even if an earlier attempt may have arrived."),
        click.option("--yes", "-y", is_flag=True, help="Send without asking, despite warnings (but see --again)."),
        click.option("--message", "-m", default="", help="The message. [default: number, title and CV]"),
    ):
        command = option(command)
    return command


@click.command("submit", cls=Command, examples=("wb submit 12", "wb submit 12 --dry-run", "wb submit 12 --yes --wait"))
@experiment_option()
@click.option(
    "--run",
    "run_id",
    default="",
    metavar="ID",
    help="A particular run of it. [default: the one that `wb table` shows]",
)
@sending_options
@competition_option
@shared_options
def submit_command(number: int, run_id: str, slug: str | None, as_json: bool, **sending: Any) -> int:
    """Check a run's submission, show what will be sent, send it once, and log it.

    Errors prevent sending. In a terminal the command asks for confirmation, unless --yes is given; elsewhere, and with
    --json, only warnings need --yes. If an earlier attempt may have arrived, only --again sends another.
    """
    competition = library.competition(slug)
    prepared = competition.submissions.prepare(number, run_id=run_id)
    return send_prepared(competition, prepared, SendingOptions(**sending), as_json=as_json)


def send_prepared(
    competition: library.OpenCompetition,
    prepared: PreparedSubmission,
    options: SendingOptions,
    *,
    as_json: bool,
) -> int:
    """Show a submission with its errors and warnings, ask for confirmation, send it, and show the result."""
    number = prepared.record.exp
    if not as_json:
        _print_prepared(competition, prepared)
    if prepared.errors:
        raise SubmissionError(
            f"experiment {number} is not sent: " + "; ".join(f.message for f in prepared.errors), hint=prepared.hint
        )
    if options.dry_run:
        if as_json:
            echo_json(_prepared_json(competition, prepared))
        return 0
    may_ask = not options.yes and _may_ask(as_json=as_json)
    if not _is_confirmed(prepared, options, may_ask=may_ask):
        note("nothing was sent")
        return 1
    again = options.again or (may_ask and bool(prepared.doubts))  # the user has just confirmed it
    record = competition.submissions.send(
        prepared, message=options.message, again=again, agree=_agree if may_ask else None, report=note
    )
    if options.wait:
        record = competition.submissions.wait_for_score(record, report=note)
    limits = _limits(competition)
    if as_json:
        echo_json(_json(record, limits.remaining_today if limits else None))
    else:
        _print_sent(competition, record, limits)
    return 0 if record.status != "error" else 1


def _limits(competition: library.OpenCompetition) -> SubmissionLimits | None:
    try:
        limits: SubmissionLimits = competition.submissions.limits()
    except PlatformError:
        return None  # the submission itself was sent
    return limits


def _may_ask(*, as_json: bool) -> bool:
    return not as_json and sys.stdin.isatty() and sys.stderr.isatty()


def _is_confirmed(prepared: PreparedSubmission, options: SendingOptions, *, may_ask: bool) -> bool:
    """Return whether to send: as answered at the terminal, or without one, if options cover all warnings.

    Raises
    ------
    SubmissionError
        When options do not cover all warnings, and there is no terminal to ask at.
    """
    if may_ask:
        wake_reads()
        return confirm("send it anyway?" if prepared.warnings else "send it?", default=False)
    doubts = () if options.again else prepared.doubts
    warnings = () if options.yes else tuple(f for f in prepared.warnings if f not in prepared.doubts)
    if doubts or warnings:
        flags = " ".join(["--yes"] * bool(warnings) + ["--again"] * bool(doubts))
        text = "; ".join(f.message for f in (*warnings, *doubts))
        check = "; `wb sync` checks whether it has arrived" if doubts else ""
        raise SubmissionError(f"there are warnings: {text}", hint=f"{flags} sends it anyway{check}")
    return True


def _agree(findings: tuple[SubmissionFinding, ...]) -> bool:
    """Ask about warnings that are new since the first question."""
    for finding in findings:
        note(styled("warning: ", fg="yellow") + finding.message)
    wake_reads()
    return confirm("new warnings: send it anyway?", default=False)


def _print_prepared(competition: library.OpenCompetition, prepared: PreparedSubmission) -> None:
    """Print a submission and its findings."""
    echo(styled(f"about to send to {competition.slug}:", bold=True))
    for name, value in _submission_lines(competition, prepared):
        echo(f"  {name:<13} {value}")
    for finding in prepared.findings:
        colour = "red" if finding.level == "error" else "yellow"
        echo(styled(f"  {finding.level}: ", fg=colour) + finding.message)
    if not prepared.findings:
        echo(styled("  no issues found", fg="green"))


def _submission_lines(competition: library.OpenCompetition, prepared: PreparedSubmission) -> Iterator[tuple[str, str]]:
    """Yield the label and the text of each line about a prepared submission."""
    record, kernel = prepared.record, prepared.kernel
    yield "experiment", f"{record.exp}  {record.title}".rstrip()
    yield "run", record.run_id
    yield "CV", _cv_text(competition, record)
    if kernel is not None:
        yield "kernel", f"{kernel.owner}/{kernel.name}, version {kernel.number}"
    path = prepared.file
    rows = "" if prepared.rows is None else f"{prepared.rows:,} rows, {format_bytes(path.stat().st_size)}: "
    yield "file", f"{rows}{short_path(path)}"
    if prepared.remaining_today is not None:
        if prepared.limited_by_total:
            number = counted(prepared.remaining_today, "submission")
            yield "left in total", f"{number} of your team, for the whole competition"
        else:
            total = "" if prepared.per_day is None else f" of {prepared.per_day}"
            doubt = f", {prepared.in_doubt} of them may be used up" if prepared.in_doubt else ""
            yield "left today", f"{prepared.remaining_today}{total} submissions{doubt} (days are UTC days)"
    yield "compared with", _comparison(prepared)


def _interval(competition: library.OpenCompetition, record: RunRecord) -> tuple[float, float] | None:
    from workbench.api.values import cv_interval

    return cv_interval(record, competition.runs.fold_size_ratios().get(record.folds_hash))


def _cv_text(competition: library.OpenCompetition, record: RunRecord) -> str:
    if record.cv_mean is None:
        return "none"
    if record.cv_std is None:
        return f"{record.metric} {record.cv_mean:.5f}, reported by the notebook"
    interval = _interval(competition, record)
    between = "" if interval is None else f", 95 % interval {interval[0]:.5f} to {interval[1]:.5f}"
    return f"{record.metric} {record.cv_mean:.5f}, fold SD {record.cv_std:.5f}{between}"


def _comparison(prepared: PreparedSubmission) -> str:
    """Describe the best earlier submission, and how its CV compares."""
    best, record = prepared.compared_with, prepared.record
    if best is None:
        return "nothing, as this is the first submission"
    no_score = "no public score is shown" if best.status == "complete" else "no public score yet"
    scores = [no_score if best.public_score is None else f"public {best.public_score:.5f}"]
    change = ""
    if best.cv_mean is not None:
        scores.append(f"CV {best.cv_mean:.5f}")
        if record.cv_mean is not None and best.run_id != record.run_id:
            difference = record.cv_mean - best.cv_mean
            better = (difference > 0) == record.greater_is_better
            change = f"; this CV is {'better' if better else 'worse'} by {abs(difference):.5f}" if difference else ""
    source = f"experiment {best.exp}" if best.run_id else f"[elsewhere] {best.message}"
    return f"{source}: {', '.join(scores)}{change}"


def _prepared_json(competition: library.OpenCompetition, prepared: PreparedSubmission) -> dict[str, Any]:
    record, best = prepared.record, prepared.compared_with
    interval = _interval(competition, record)
    findings = [{"level": f.level, "code": f.code, "message": f.message} for f in prepared.findings]
    file, root = prepared.file, competition.workspace.root
    return {
        "exp": record.exp,
        "title": record.title,
        "run_id": record.run_id,
        "sent": False,
        "findings": findings,
        "cv_mean": record.cv_mean,
        "cv_interval": None if interval is None else list(interval),
        "file": file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file),
        "rows": prepared.rows,
        "remaining_today": prepared.remaining_today,
        "in_doubt": prepared.in_doubt,
        "compared_with": None if best is None else _json(best, None),
    }


def _json(record: SubmissionRecord, remaining: int | None) -> dict[str, Any]:
    keys = ("submission_id", "exp", "run_id", "cv_mean", "file", "sha256", "ref", "status")
    values = record.to_dict()
    scores = {"public_score": record.public_score, "private_score": record.private_score}
    return {k: values[k] for k in keys} | scores | {"remaining_today": remaining, "error": record.error}


def _remaining_text(limits: SubmissionLimits | None) -> str:
    if limits is None or limits.remaining_today is None:
        return ""
    return f"; {limits.remaining_today} left {'in total' if limits.limited_by_total else 'today'}"


def _print_sent(
    competition: library.OpenCompetition, record: SubmissionRecord, limits: SubmissionLimits | None
) -> None:
    from workbench.api.values import scores_text

    remaining = _remaining_text(limits)
    if record.status == "error":
        note(styled("error: ", fg="red", bold=True) + f"the platform could not score it: {record.error}")
        return
    if record.status != "complete":
        echo(f"sent as {record.ref}, not scored yet: `wb sync` fetches the score{remaining}")
        return
    cv = "" if record.cv_mean is None else f" (CV {record.cv_mean:.5f})"
    scored = "" if record.public_score is not None or record.private_score is not None else "scored, and "
    echo(f"sent as {record.ref}: {scored}{scores_text(record)}{cv}{remaining}")
    try:
        board = competition.submissions.leaderboard()
    except PlatformError as exc:
        note(f"the leaderboard can't be read: {exc.message}")
        return
    for name, standing in (("public", board.public), ("private", board.private)):
        if standing is not None:
            medal = f", {standing.medal} medal" if standing.medal else ""
            echo(f"{name} rank {standing.rank} of {standing.teams} (top {standing.percentile:.1f} %){medal}")


@click.command("submissions", cls=Command, examples=("wb submissions", "wb submissions --offline"))
@click.option("--offline", is_flag=True, help="Show the log without contacting the platform.")
@competition_option
@shared_options
def submissions_command(offline: bool, slug: str | None, as_json: bool) -> None:
    """List all submissions with CV, public and private scores, oldest first, including those sent elsewhere."""
    from workbench.api.values import text_of

    competition = library.competition(slug)
    if not offline:
        try:
            competition.submissions.sync()
        except (PlatformError, UnsupportedError) as exc:
            note(f"the platform was not contacted: {exc.message}")
    records = competition.submissions.records()
    if as_json:
        echo_json([_json(s, None) | {"sent_at": _sent_at(s), "message": s.message} for s in records])
        return
    if not records:
        echo(f"no submissions to {competition.slug!r} yet: wb submit N")
        return
    rows: list[tuple[str, ...]] = [("sent (UTC)", "exp", "status", "CV", "public", "private", "what")]
    for record in records:
        values = (record.cv_mean, record.public_score, record.private_score)
        scores = ("" if value is None else f"{value:.5f}" for value in values)
        text = text_of(record.message) if record.run_id else f"[elsewhere] {record.message}"
        sent_at, exp = _sent_at(record)[:16].replace("T", " "), str(record.exp) if record.run_id else ""
        rows.append((sent_at, exp, record.status, *scores, f"{text}  {record.error}" if record.error else text))
    for line in text_table(rows, right=(1, 3, 4, 5)):
        echo(line)


def _sent_at(record: SubmissionRecord) -> str:
    return (record.sent_at or record.created_at).isoformat()


@click.command("sync", cls=Command, examples=("wb sync",))
@competition_option
@shared_options
def sync_command(slug: str | None, as_json: bool) -> None:
    """Fetch new scores and submissions sent elsewhere from the platform, and log them."""
    from workbench.api.values import scores_text

    updated = library.competition(slug).submissions.sync()
    if as_json:
        echo_json([_json(record, None) for record in updated])
        return
    for record in updated:
        source = f"exp {record.exp}" if record.run_id else f"[elsewhere] {record.message}"
        echo("  ".join(part for part in (source, record.status, scores_text(record), record.error or "") if part))
    if not updated:
        echo("nothing new")
