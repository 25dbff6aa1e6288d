"""`wb fetch` and `wb rehearse`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workbench import library
from workbench.cli.app import echo_json, memory_option, note, shared_options
from workbench.cli.progress import byte_bar
from workbench.errors import ConfigError

if TYPE_CHECKING:
    from workbench.platforms import CompetitionFacts


@click.command("fetch")
@click.argument("slug")
@click.option("--platform", help="kaggle or rehearsal; by default the definition's, else what there is.")
@click.option("--only", multiple=True, metavar="FILE", help="Only this file; may be repeated.")
@click.option("--force", is_flag=True, help="Download and convert everything again.")
@memory_option
@shared_options
def fetch_command(
    slug: str, platform: str | None, only: tuple[str, ...], force: bool, memory_limit: int | None, as_json: bool
) -> None:
    """Bring a competition's data: download, verify, unpack, convert to typed Parquet.

    Where there are none, write competition.toml (inferred, with the reasons in comments) and a baseline.

    \b
    wb fetch flights && wb run --exp 1
    """
    with byte_bar() as progress:
        fetched = library.fetch(
            slug,
            platform=platform,
            only=only,
            force=force,
            memory_limit=memory_limit,
            report=note,
            progress=progress,
        )
    tables = [_table_line(info) for info in fetched.manifest.tables.values()]
    if as_json:
        written = [str(p) for p in fetched.written]
        earlier = str(fetched.earlier) if fetched.earlier else None
        brought = {"downloaded": list(fetched.downloaded), "written": written, "earlier": earlier}
        echo_json({"slug": slug, "tables": tables} | brought)
        return
    click.echo(_facts_line(fetched.facts))
    click.echo(f"{'table':<24}{'rows':>14}{'columns':>9}{'source':>11}{'Parquet':>11}")
    for t in tables:
        sizes = f"{_size(t['source_bytes']):>11}{_size(t['parquet_bytes']):>11}"
        click.echo(f"{t['name']:<24}{t['rows']:>14,}{t['columns']:>9}{sizes}")
    if fetched.earlier:
        click.echo(f"the data before is in {_short(fetched.earlier)}")
    for path in fetched.written:
        click.echo(f"wrote {_short(path)}")
    click.echo(f"next: wb run --exp 1 -c {slug}")


def _facts_line(facts: CompetitionFacts) -> str:
    """Return the platform's word on the competition in a line."""
    said = [facts.title, *([facts.metric] if facts.metric else [])]
    if facts.deadline is not None:
        over = "was over" if facts.deadline < datetime.now(UTC) else "ends"
        said.append(f"{over} {facts.deadline:%Y-%m-%d %H:%M} UTC")
    if facts.daily_limit is not None:
        said.append(f"{facts.daily_limit} submissions a day")
    if facts.kind == "notebook":
        said.append("takes notebooks only, no files")
    elif not facts.accepts_submissions:
        said.append("takes no submissions")
    return " · ".join(said)


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


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


@click.command("rehearse")
@click.argument("slug")
@click.option("--train", required=True, type=click.Path(path_type=Path), help="CSV or Parquet file with the target.")
@click.option("--target", "targets", required=True, multiple=True, help="The target's column; may be repeated.")
@click.option("--metric", required=True, help="A built-in metric, or FILE.py:FUNCTION.")
@click.option("--holdout", type=float, help="The share of the rows that becomes the test side, at random.")
@click.option("--after", metavar="COL=VALUE", help="Instead: rows with COL >= VALUE become the test side.")
@click.option("--id", "ids", multiple=True, help="The id column; may be repeated. Default: id, row_id, or a new one.")
@click.option("--drop", multiple=True, help="A column known only afterwards; may be repeated.")
@click.option(
    "--table", "tables", multiple=True, type=click.Path(path_type=Path), help="A further file; may be repeated."
)
@click.option("--task", type=click.Choice(["binary", "multiclass", "regression"]), help="Default: from the target.")
@click.option("--public", default=0.3, show_default=True, help="The share of the test side for the public score.")
@click.option("--daily-limit", default=5, show_default=True, help="Submissions a day (UTC).")
@click.option("--deadline", metavar="DATE", help="Until then the private score is hidden: 2026-12-31.")
@click.option("--leaderboard", type=click.Path(path_type=Path), help="CSV with team and score: gives rank and medal.")
@click.option("--greater-is-better/--less-is-better", default=None, help="The direction of a metric of your own.")
@click.option("--weight", help="The column of weights, for a weighted metric.")
@click.option("--title", default="", help="The competition's title.")
@click.option("--seed", default=42, show_default=True)
@click.option("--force", is_flag=True, help="Replace a rehearsal that is there.")
@shared_options
def rehearse_command(slug: str, as_json: bool, force: bool, **options: Any) -> None:
    """Host a competition of your own: hidden solution, public and private score, daily limit, leaderboard.

    \b
    wb rehearse houses --train houses.csv --target price --metric rmsle --holdout 0.2
    wb fetch houses
    """
    from workbench.rehearsal import RehearsalSpec

    after = options.pop("after")
    if after is not None and "=" not in after:
        raise click.UsageError(f"--after {after!r}: expected COL=VALUE, for example --after date=2013-11-01")
    deadline = options.pop("deadline")
    spec = RehearsalSpec(
        after=tuple(after.split("=", 1)) if after else None,
        deadline=_date(deadline) if deadline else None,
        **options,
    )
    folder = library.rehearse(slug, spec, force=force)
    if as_json:
        echo_json({"slug": slug, "folder": str(folder)})
        return
    click.echo(f"rehearsal {slug} in {_short(folder)}: the solution stays there, hidden from the data")
    click.echo(f"next: wb fetch {slug}")


def _date(text: str) -> datetime:
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--deadline {text!r}: expected a date such as 2026-12-31 or 2026-12-31T23:59") from None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
