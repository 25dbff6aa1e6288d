"""`wb check`."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from workbench.api import library
from workbench.cli.app import competition_option, echo_json, memory_option, note, shared_options
from workbench.cli.commands import Command, experiment_option
from workbench.cli.completion import complete_experiment
from workbench.cli.terminal import console, echo, masked, styled
from workbench.core.printable import one_line

if TYPE_CHECKING:
    from workbench.api.values import CheckReport, TimeCheck

COLOURS = {"serious": "red", "notable": "yellow", "minor": ""}
VERDICTS = {"passes": "green", "reads the future": "red", "allowed": "yellow", "not checked": "yellow"}
TERMINAL_LINES = 60


@click.command(
    "check",
    cls=Command,
    examples=("wb check", "wb check 12", "wb check calendar weather_before", "wb check --time --allow congestion"),
)
@click.argument("names", nargs=-1, metavar="[N] [FEATURE]...", shell_complete=complete_experiment)
@experiment_option("exp", text="The features of an experiment.", needed=False, beside="names")
@click.option("--time", "by_time", is_flag=True, help="Find features that read the future; exit 1 where one does.")
@click.option(
    "--time-column",
    "columns",
    multiple=True,
    metavar="COLUMN",
    help="The column of rows that tells the time; TABLE.COLUMN for a table that calls it otherwise.",
)
@click.option(
    "--allow", multiple=True, metavar="FEATURE", help="With --time: what is known in advance; may be repeated."
)
@click.option("--sample", type=click.IntRange(min=1000), metavar="ROWS", help="Of train and of test. [default: 100000]")
@memory_option
@competition_option
@shared_options
def check_command(  # noqa: PLR0913, PLR0917 one parameter per option
    names: tuple[str, ...],
    exp: int | None,
    by_time: bool,
    columns: tuple[str, ...],
    allow: tuple[str, ...],
    sample: int | None,
    memory_limit: int | None,
    slug: str | None,
    as_json: bool,
) -> int:
    """Look for what costs weeks when it is found late: drift, leaks, repeats, order; features that read the future."""
    if allow and not by_time:
        raise click.UsageError("--allow goes with --time")
    competition = library.competition(slug, memory_limit=memory_limit)
    steps = _Steps()
    if by_time:
        checks = competition.data.check_time(names, exp=exp, columns=columns, allow=allow, report=steps)
        return _end_time(checks, as_json=as_json)
    time_column = competition.data.time_column(columns) if columns else None
    report = competition.data.check(names, exp=exp, sample=sample, time=time_column, report=steps)
    page = competition.data.check_page(report)
    if as_json:
        echo_json({**asdict(report), "page": str(page)})
        return 0
    _print(report)
    echo(f"page: {page}")
    return 0


class _Steps:
    """Notes the steps once two seconds have passed: a small competition is done before."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def __call__(self, text: str) -> None:
        if time.monotonic() - self._started > 2:
            note(f"{text} …")


def _print(report: CheckReport) -> None:
    counts = ", ".join(f"{n} {severity}" for severity, n in report.counts().items())
    echo(styled(f"{report.slug}: {counts} findings in {len(report.columns)} columns", bold=True))
    if report.findings:
        lines = [(f.severity, f.check, f.column, f.text, f.todo) for f in report.findings[:TERMINAL_LINES]]
        _print_table(("", "check", "column", "found", "what to do"), lines)
    more = len(report.findings) - TERMINAL_LINES
    if more > 0:
        echo(f"{more} more findings: in the page, or --json")
    for topic, text in report.facts:
        echo(one_line(f"{topic}: {text}"))
    for unchecked in report.not_checked:
        echo(one_line(f"not looked at: {unchecked}"))
    taken, tested = report.sampled
    if taken < report.n_train or tested < report.n_test:
        echo(
            f"sample: {taken:,} of {report.n_train:,} train rows and {tested:,} of {report.n_test:,} test rows for "
            "distributions and models; counts are of all rows"
        )


def _print_table(head: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    width = shutil.get_terminal_size((160, 24)).columns if sys.stdout.isatty() else 200
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title, ratio in zip(head, (0, 0, 0, 3, 2), strict=False):
        table.add_column(title, ratio=ratio or None, overflow="fold")
    for line in lines:
        table.add_row(
            *(
                Text(one_line(c), style=({**COLOURS, **VERDICTS}.get(c, "") if i < 2 else ""))
                for i, c in enumerate(line)
            )
        )
    console(width=width).print(table)


def _end_time(checks: list[TimeCheck], *, as_json: bool) -> int:
    from workbench.api.values import leak_error

    error = leak_error(checks)
    if as_json:
        listed = {"features": [asdict(c) for c in checks]}
        why = {} if error is None else {"message": masked(error.message), "hint": masked(error.hint)}
        error_entry = {"error": {"type": type(error).__name__, **why}} if error else {}
        echo_json({**error_entry, **listed})
        return 1 if error else 0
    lines = [(c.feature, c.verdict, ", ".join(d.column for d in c.differences), c.note) for c in checks]
    if lines:
        _print_table(("feature", "", "columns", "how"), lines)
    unsplit_tables = sorted({t for c in checks for t in c.whole})
    if unsplit_tables:
        note(f"not cut, for want of a time column: {', '.join(unsplit_tables)} (--time-column TABLE.COLUMN)")
    if error:
        raise error
    return 0
