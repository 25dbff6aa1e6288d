"""`wb features` and `wb cache`."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from workbench.api import library
from workbench.cli.app import competition_option, echo_json, memory_option, note, shared_options
from workbench.cli.commands import Command, experiment_option
from workbench.cli.completion import complete_experiment
from workbench.cli.terminal import echo, echo_lines, styled
from workbench.core.memory import format_bytes, parse_bytes
from workbench.core.printable import one_line
from workbench.core.text_table import text_table
from workbench.core.wording import counted

if TYPE_CHECKING:
    from workbench.api.values import CachedBlock, FeatureSummary

SHOWN_COLUMNS = 4


@click.command(
    "features",
    cls=Command,
    examples=("wb features", "wb features 12", "wb features weather_before --build", "wb features --graph"),
)
@click.argument("names", nargs=-1, metavar="[N] [NAME]...", shell_complete=complete_experiment)
@experiment_option("exp", text="List only the features of this experiment.", needed=False, shared_argument="names")
@click.option("--build", is_flag=True, help="Build features that are not cached.")
@click.option("--graph", is_flag=True, help="Print the dependency graph as Mermaid, and draw it to features.svg.")
@memory_option
@competition_option
@shared_options
def features_command(
    names: tuple[str, ...],
    exp: int | None,
    build: bool,
    graph: bool,
    memory_limit: int | None,
    slug: str | None,
    as_json: bool,
) -> None:
    """List the features with their inputs, columns, size, build time and memory, and whether they are cached."""
    competition = library.competition(slug, memory_limit=memory_limit)
    summaries = competition.features.summaries(names, exp=exp, build=build, report=note)
    if graph:
        mermaid, svg = competition.features.graph()
        note(f"wrote {svg}")
    if as_json:
        listed = [asdict(s) for s in summaries]
        echo_json({"features": listed, "mermaid": mermaid, "svg": str(svg)} if graph else listed)
    elif graph:
        echo_lines(mermaid)
    else:
        _print_table(("feature", "reads", "columns", "size", "seconds", "peak", ""), [_line(s) for s in summaries])
        from workbench.api.values import excluded_column_lines

        for summary in summaries:
            for line in excluded_column_lines(summary.left_out or {}):
                echo(f"{summary.name}: {line}")


def _line(s: FeatureSummary) -> tuple[str, ...]:
    reads = ", ".join(s.reads) + (f"  by {s.partition_by}" if s.partition_by else "")
    if s.kind == "fold":
        return s.name, reads, "", "", "", "", "per fold"
    if not s.cached:
        return s.name, reads, "", "", "", "", "not built"
    return (
        s.name,
        reads,
        _columns(s.columns or {}),
        format_bytes(s.size_bytes or 0),
        "" if s.seconds is None else f"{s.seconds:.1f}",
        "" if s.peak_rss_mb is None else format_bytes(s.peak_rss_mb * 2**20),
        "cached",
    )


def _columns(columns: dict[str, str]) -> str:
    n_more = len(columns) - SHOWN_COLUMNS
    return ", ".join([*list(columns)[:SHOWN_COLUMNS], *([f"and {n_more} more"] if n_more > 0 else [])])


@click.command("cache", cls=Command, examples=("wb cache", "wb cache --prune --limit 5GB"))
@click.option("--prune", is_flag=True, help="Remove blocks that no current feature uses.")
@click.option(
    "--limit", metavar="SIZE", help='With --prune: also remove the least recently used down to this size: "5GB".'
)
@competition_option
@shared_options
def cache_command(prune: bool, limit: str | None, slug: str | None, as_json: bool) -> None:
    """Show the cached feature blocks, or remove unused ones.

    The cache stays below WB_CACHE_LIMIT (50 GB) by removing the least recently used blocks.
    """
    if limit is not None and not prune:
        raise click.UsageError("--limit requires --prune; the permanent limit is WB_CACHE_LIMIT")
    competition = library.competition(slug)
    removed = None
    if prune:
        removed = competition.features.prune_cache(None if limit is None else parse_bytes(limit, where="--limit"))
    blocks = competition.features.cached()
    total_bytes = sum(b.size_bytes for b in blocks)
    if as_json:
        removed_entry: dict[str, Any] = {} if removed is None else {"removed": [asdict(b) for b in removed]}
        echo_json(
            {
                "blocks": [asdict(b) for b in blocks],
                "size_bytes": total_bytes,
                "limit_bytes": competition.features.cache_limit,
                **removed_entry,
            }
        )
        return
    if removed is not None:
        note(f"removed {counted(len(removed), 'block')}, {format_bytes(sum(b.size_bytes for b in removed))}")
    _print_table(("block", "columns", "size", "seconds", "last used", ""), [_block_line(b) for b in blocks])
    echo(
        f"{counted(len(blocks), 'block')}, {format_bytes(total_bytes)} "
        f"of at most {format_bytes(competition.features.cache_limit)}"
    )


def _block_line(b: CachedBlock) -> tuple[str, ...]:
    seconds = "" if b.seconds is None else f"{b.seconds:.1f}"
    columns = str(b.columns or "")
    return b.what, columns, format_bytes(b.size_bytes), seconds, _ago(b.used_at), "" if b.current else "of older code"


def _ago(timestamp: float) -> str:
    minutes = max(0, int(time.time() - timestamp)) // 60
    for size, unit in ((60 * 24, "days"), (60, "hours"), (1, "minutes")):
        if minutes >= size:
            return f"{minutes // size} {unit} ago"
    return "just now"


def _print_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print rows in columns, numbers right-aligned."""
    numeric = {i for i, title in enumerate(head) if title in ("size", "seconds", "peak")}
    for at, line in enumerate(text_table([head, *(tuple(map(one_line, row)) for row in rows)], right=numeric)):
        echo(styled(line, bold=at == 0))
