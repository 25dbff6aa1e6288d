"""`wb submit`, `wb submissions` and `wb sync`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from workbench import library
from workbench.cli.app import competition_option, echo_json, note, shared_options
from workbench.cli.commands import Command, experiment_option
from workbench.cli.table import print_rows
from workbench.errors import PlatformError, SubmissionError

if TYPE_CHECKING:
    from workbench.ledger import SubmissionRecord
    from workbench.platforms import SubmissionLimits
    from workbench.submission import Prepared


def sending_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of `send_prepared`."""
    for option in (
        click.option("--wait", is_flag=True, help="Wait for the score, for an hour at most."),
        click.option("--dry-run", is_flag=True, help="Show the findings and send nothing."),
        click.option("--yes", "-y", is_flag=True, help="Answer the warnings with yes."),
        click.option("--message", "-m", default="", help="By default number, title and CV."),
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
    help="A particular run of it; by default the one that `wb table` shows.",
)
@sending_options
@competition_option
@shared_options
def submit_command(
    number: int, run_id: str, message: str, yes: bool, dry_run: bool, wait: bool, slug: str | None, as_json: bool
) -> int:
    """Show a run and all that speaks against sending it; then send it once, and log it before and after.

    Errors stop it, warnings ask (--yes answers).
    """
    competition = library.competition(slug)
    prepared = competition.prepare(number, run_id=run_id)
    return send_prepared(competition, prepared, message=message, yes=yes, dry_run=dry_run, wait=wait, as_json=as_json)


def send_prepared(
    competition: library.OpenCompetition,
    prepared: Prepared,
    *,
    message: str,
    yes: bool,
    dry_run: bool,
    wait: bool,
    as_json: bool,
) -> int:
    """Show what speaks against sending, ask where there are warnings, send, and show what came of it."""
    number = prepared.record.exp
    if not as_json:
        _print_findings(competition, prepared)
    if prepared.errors:
        raise SubmissionError(
            f"experiment {number} is not sent: " + "; ".join(f.message for f in prepared.errors),
            hint="mend that, run the experiment again, then submit",
        )
    if dry_run:
        if as_json:
            echo_json(_findings_json(prepared))
        return 0
    _ask(prepared, yes=yes, as_json=as_json)
    record = competition.send(prepared, message=message, report=note)
    if wait:
        record = competition.wait_for_score(record, report=note)
    limits = _limits(competition)
    if as_json:
        echo_json(_json(record, limits.remaining_today if limits else None))
    else:
        _print_sent(competition, record, limits)
    return 0 if record.status != "error" else 1


def _limits(competition: library.OpenCompetition) -> SubmissionLimits | None:
    try:
        limits: SubmissionLimits = competition.limits()
    except PlatformError:
        return None  # it is sent: that the limits can't be read now is no failure of that
    return limits


def _ask(prepared: Prepared, *, yes: bool, as_json: bool) -> None:
    if not prepared.warnings or yes:
        return
    warnings = "; ".join(f.message for f in prepared.warnings)
    if as_json or not sys.stdin.isatty():
        raise SubmissionError(f"there are warnings: {warnings}", hint="--yes sends it all the same")
    click.confirm("send it all the same?", abort=True, err=True)


def _print_findings(competition: library.OpenCompetition, prepared: Prepared) -> None:
    print_rows([row for row in competition.table() if row.run.run_id == prepared.record.run_id])
    for finding in prepared.findings:
        colour = "red" if finding.level == "error" else "yellow"
        click.echo(click.style(f"  {finding.level}: ", fg=colour) + finding.message)
    if not prepared.findings:
        click.echo(click.style("  nothing speaks against it", fg="green"))


def _findings_json(prepared: Prepared) -> dict[str, Any]:
    found = [{"level": f.level, "code": f.code, "message": f.message} for f in prepared.findings]
    return {"exp": prepared.record.exp, "run_id": prepared.record.run_id, "sent": False, "findings": found}


def _json(record: SubmissionRecord, remaining: int | None) -> dict[str, Any]:
    keys = ("submission_id", "exp", "run_id", "cv_mean", "file", "sha256", "ref", "status")
    values = record.to_dict()
    scores = {"public_score": record.public_score, "private_score": record.private_score}
    return {k: values[k] for k in keys} | scores | {"remaining_today": remaining, "error": record.error}


def _left(limits: SubmissionLimits | None) -> str:
    if limits is None or limits.remaining_today is None:
        return ""
    return f"; {limits.remaining_today} left {'in all' if limits.limited_by_total else 'today'}"


def _print_sent(
    competition: library.OpenCompetition, record: SubmissionRecord, limits: SubmissionLimits | None
) -> None:
    from workbench.review import scores_text

    left = _left(limits)
    if record.status == "error":
        note(click.style("error: ", fg="red", bold=True) + f"the platform could not score it: {record.error}")
        return
    if record.status != "complete":
        click.echo(f"sent as {record.ref}, not scored yet: `wb sync` brings the score{left}")
        return
    cv = "" if record.cv_mean is None else f" (CV {record.cv_mean:.5f})"
    scored = "" if record.public_score is not None or record.private_score is not None else "scored, and "
    click.echo(f"sent as {record.ref}: {scored}{scores_text(record)}{cv}{left}")
    try:
        board = competition.leaderboard()
    except PlatformError as exc:
        note(f"the leaderboard can't be read: {exc.message}")
        return
    for name, standing in (("public", board.public), ("private", board.private)):
        if standing is not None:
            medal = f", {standing.medal} medal" if standing.medal else ""
            click.echo(f"{name} rank {standing.rank} of {standing.teams} (top {standing.percentile:.1f} %){medal}")


@click.command("submissions", cls=Command, examples=("wb submissions", "wb submissions --offline"))
@click.option("--offline", is_flag=True, help="What the log has, without asking the platform.")
@competition_option
@shared_options
def submissions_command(offline: bool, slug: str | None, as_json: bool) -> None:
    """List all submissions, oldest first: CV beside public and private score; those sent elsewhere too."""
    competition = library.competition(slug)
    if not offline:
        try:
            competition.sync()
        except PlatformError as exc:
            note(f"not asked for news: {exc.message}")
    found = competition.submissions()
    if as_json:
        echo_json([_json(s, None) | {"sent_at": _when(s), "message": s.message} for s in found])
        return
    if not found:
        click.echo(f"no submission to {competition.slug!r} yet: wb submit N")
        return
    click.echo(f"{'sent (UTC)':<18}{'exp':>4}  {'status':<10}{'CV':>11}{'public':>11}{'private':>11}  what")
    for s in found:
        scores = "".join(f"{'' if v is None else f'{v:.5f}':>11}" for v in (s.cv_mean, s.public_score, s.private_score))
        what = s.message.partition(" | CV ")[0].partition(" | wb:")[0] if s.run_id else f"[elsewhere] {s.message}"
        error = f"  {s.error}" if s.error else ""
        when, exp = _when(s)[:16].replace("T", " "), s.exp if s.run_id else ""
        click.echo(f"{when:<18}{exp:>4}  {s.status:<10}{scores}  {what}{error}")


def _when(s: SubmissionRecord) -> str:
    return (s.sent_at or s.created_at).isoformat()


@click.command("sync", cls=Command, examples=("wb sync",))
@competition_option
@shared_options
def sync_command(slug: str | None, as_json: bool) -> None:
    """Ask the platform for scores that came later, and for what was sent elsewhere; log them."""
    from workbench.review import scores_text

    changed = library.competition(slug).sync()
    if as_json:
        echo_json([_json(s, None) for s in changed])
        return
    for s in changed:
        what = f"exp {s.exp}" if s.run_id else f"[elsewhere] {s.message}"
        click.echo("  ".join(part for part in (what, s.status, scores_text(s), s.error or "") if part))
    if not changed:
        click.echo("nothing new")
