"""`wb fetch`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from workbench.api import library
from workbench.cli.app import echo_json, memory_option, shared_options
from workbench.cli.commands import Command
from workbench.cli.completion import complete_competition
from workbench.cli.interrupt import wake_reads
from workbench.cli.progress import byte_bar
from workbench.cli.terminal import confirm, echo, short_path
from workbench.core.text_table import text_table

if TYPE_CHECKING:
    from workbench.api.values import CompetitionFacts


def _ask_above(ctx: click.Context, parameter: click.Parameter, value: str) -> int:
    from workbench.core.memory import parse_bytes

    source = ctx.get_parameter_source(str(parameter.name))
    return parse_bytes(value, where="WB_ASK_ABOVE" if source is ParameterSource.ENVIRONMENT else "--ask-above")


def _ask(question: str) -> bool:
    wake_reads()
    return confirm(f"{question}. Download it?", abort=True)


@click.command(
    "fetch", cls=Command, examples=("wb fetch titanic && wb run 1 -c titanic", "wb fetch titanic --only train.csv")
)
@click.argument("slug", shell_complete=complete_competition)
@click.option(
    "--platform",
    help="kaggle or rehearsal. [default: that of the definition, else a rehearsal of this name, else kaggle]",
)
@click.option("--only", multiple=True, metavar="FILE", help="Fetch only this file; may be repeated.")
@click.option("--force", is_flag=True, help="Download and convert everything again.")
@click.option("--yes", "-y", is_flag=True, help="Download without asking, whatever the size.")
@click.option(
    "--ask-above",
    "ask_above",
    metavar="SIZE",
    default="10GB",
    show_default=True,
    envvar="WB_ASK_ABOVE",
    callback=_ask_above,
    help="Ask before downloading more than this.",
)
@memory_option
@shared_options
def fetch_command(
    slug: str,
    platform: str | None,
    only: tuple[str, ...],
    force: bool,
    yes: bool,
    ask_above: int,
    memory_limit: int | None,
    as_json: bool,
) -> None:
    """Download a competition's data, verify and unpack it, and convert it to typed Parquet.

    If they do not exist, write competition.toml (inferred, with the reasons in comments) and a baseline experiment.
    """
    from workbench.api.values import Approval

    with byte_bar() as (listen, paused):

        def confirmed(question: str) -> bool:
            with paused():
                return sys.stdin.isatty() and not as_json and _ask(question)

        fetched = library.fetch(
            slug,
            platform=platform,
            only=only,
            force=force,
            approval=Approval(ask_above, yes, confirmed),
            memory_limit=memory_limit,
            listen=listen,
        )
    tables = [_table_line(info) for info in fetched.manifest.tables.values()]
    if as_json:
        written = [str(p) for p in fetched.written]
        earlier = str(fetched.earlier) if fetched.earlier else None
        files = {"downloaded": list(fetched.downloaded), "written": written, "earlier": earlier}
        excluded_tables = [
            {"table": n, "file": e.file, "reason": e.reason} for n, e in fetched.manifest.excluded.items()
        ]
        echo_json({"slug": fetched.slug, "tables": tables, "excluded": excluded_tables} | files)
        return
    echo(_facts_line(fetched.facts))
    rows = [
        (t["name"], f"{t['rows']:,}", str(t["columns"]), _size(t["source_bytes"]), _size(t["parquet_bytes"]))
        for t in tables
    ]
    for line in text_table([("table", "rows", "columns", "source", "Parquet"), *rows], right=range(1, 5)):
        echo(line)
    for excluded in fetched.manifest.excluded.values():
        echo(f"skipped: {excluded.file}: {excluded.reason}")
    if fetched.manifest.excluded:
        echo(f"to use such a file, put a fixed copy into {short_path(fetched.fixed)}")
    if fetched.earlier:
        echo(f"the previous data is in {short_path(fetched.earlier)}")
    for path in fetched.written:
        echo(f"wrote {short_path(path)}")
    baseline = next((int(p.stem) for p in fetched.written if p.parent.name == "experiments"), 1)
    echo(f"next: wb run {baseline} -c {fetched.slug}")


def _facts_line(facts: CompetitionFacts) -> str:
    """Return a line of what the platform says about the competition."""
    parts = [facts.title, *([facts.metric] if facts.metric else [])]
    if facts.deadline is not None:
        verb = "ended" if facts.deadline < datetime.now(UTC) else "ends"
        parts.append(f"{verb} {facts.deadline:%Y-%m-%d %H:%M} UTC")
    if facts.daily_limit is not None:
        parts.append(f"{facts.daily_limit} submissions a day")
    if facts.kind == "notebook":
        parts.append("accepts notebooks only, no files")
    elif not facts.accepts_submissions:
        parts.append("accepts no submissions")
    return " · ".join(parts)


def _table_line(info: Any) -> dict[str, Any]:
    return {
        "name": info.name,
        "rows": info.rows,
        "columns": len(info.dtypes),
        "source_bytes": info.source_bytes,
        "parquet_bytes": info.size_bytes,
    }


def _size(n_bytes: int) -> str:
    for unit, size in (("GB", 2**30), ("MB", 2**20), ("KB", 2**10)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes} B"
