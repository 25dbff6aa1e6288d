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
from workbench.cli.terminal import console, echo, masked, short_path, styled
from workbench.core.printable import one_line
from workbench.core.wording import counted

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
@experiment_option("exp", text="Check the features of this experiment.", needed=False, shared_argument="names")
@click.option(
    "--time", "by_time", is_flag=True, help="Find features that read the future; exit with 1 if there are any."
)
@click.option(
    "--time-column",
    "columns",
    multiple=True,
    metavar="COLUMN",
    help="The time column of the rows; TABLE.COLUMN for a table with another name for it.",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="FEATURE",
    help="With --time: a feature that is known in advance; may be repeated.",
)
@click.option(
    "--sample",
    type=click.IntRange(min=1000),
    metavar="ROWS",
    help="Sample size of train and of test. [default: 100000]",
)
@memory_option
@competition_option
@shared_options
def check_command(
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
    """Check the data for drift, leaks, duplicates and order, and features for reading the future."""
    if allow and not by_time:
        raise click.UsageError("--allow requires --time")
    competition = library.competition(slug, memory_limit=memory_limit)
    steps = _Steps()
    if by_time:
        checks = competition.data.check_time(names, exp=exp, columns=columns, allow=allow, report=steps)
        return _finish_time_check(checks, as_json=as_json)
    time_column = competition.data.time_column(columns) if columns else None
    report = competition.data.check(names, exp=exp, sample=sample, time=time_column, report=steps)
    page = competition.data.check_page(report)
    if as_json:
        echo_json({**asdict(report), "page": str(page)})
        return 0
    _print(report)
    echo(f"page: {short_path(page)}")
    return 0


class _Steps:
    """Prints the steps of a check that takes more than two seconds."""

    def __init__(self) -> None:
        self._started_at = time.monotonic()

    def __call__(self, text: str) -> None:
        if time.monotonic() - self._started_at > 2:
            note(f"{text} …")


def _print(report: CheckReport) -> None:
    counts = ", ".join(f"{n} {severity}" for severity, n in report.counts().items())
    echo(styled(f"{report.slug}: {counts} findings in {counted(len(report.columns), 'column')}", bold=True))
    if report.findings:
        lines = [(f.severity, f.check, f.column, f.text, f.todo) for f in report.findings[:TERMINAL_LINES]]
        _print_table(("", "check", "column", "found", "what to do"), lines)
    n_more = len(report.findings) - TERMINAL_LINES
    if n_more > 0:
        echo(f"{counted(n_more, 'more finding')}: see the page or --json")
    for topic, text in report.facts:
        echo(one_line(f"{topic}: {text}"))
    for unchecked in report.not_checked:
        echo(one_line(f"not checked: {unchecked}"))
    n_train, n_test = report.sampled
    if n_train < report.n_train or n_test < report.n_test:
        echo(
            f"sample: {n_train:,} of {report.n_train:,} train rows and {n_test:,} of {report.n_test:,} test rows for "
            "distributions and models; counts use all rows"
        )


def _print_table(head: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> None:
    """Print lines as a table, with severities and verdicts in colour."""
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


def _finish_time_check(checks: list[TimeCheck], *, as_json: bool) -> int:
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
        note(f"not split, as they have no time column: {', '.join(unsplit_tables)} (--time-column TABLE.COLUMN)")
    if error:
        raise error
    return 0
