"""`wb kernel`."""

from __future__ import annotations

from pathlib import Path

import click

from workbench import library
from workbench.cli.app import competition_option, echo_json, memory_option, note, shared_options
from workbench.cli.progress import step_bar


@click.group("kernel")
def kernel_command() -> None:
    """Pack a run for a code competition, and rehearse it as Kaggle would run it."""


PYTHON = click.option("--python", metavar="X.Y", help="The kernel's Python. [default: that of Kaggle's image]")


@kernel_command.command("build")
@click.argument("number", type=int, metavar="N")
@PYTHON
@click.option("--wheels", type=click.Path(path_type=Path, file_okay=False), help="Take these wheels; download none.")
@competition_option
@shared_options
def build_command(number: int, python: str | None, wheels: Path | None, slug: str | None, as_json: bool) -> None:
    """Pack the newest finished run of experiment N: models, code, packages, and the notebook that predicts.

    \b
    wb kernel build 12
    """
    competition = library.competition(slug)
    with step_bar("kernel") as (report, _):
        built = competition.build_kernel(number, python=python, wheels=wheels, report=report)
    if as_json:
        echo_json({"exp": number, "bundle": str(built.bundle), "notebook": str(built.notebook), "bytes": built.size})
        return
    click.echo(f"{built.bundle}  {built.size / 2**20:.1f} MB\n{built.notebook}")
    note(f"next: wb kernel rehearse {number}")


@kernel_command.command("rehearse")
@click.argument("number", type=int, metavar="N")
@PYTHON
@click.option("--wheels", type=click.Path(path_type=Path, file_okay=False), help="As for build.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), metavar="M", help="End it after so much time.")
@memory_option
@competition_option
@shared_options
def rehearse_command(
    number: int,
    python: str | None,
    wheels: Path | None,
    minutes: float | None,
    memory_limit: int | None,
    slug: str | None,
    as_json: bool,
) -> None:
    """Run the kernel of experiment N without network, on the test set and on a hidden one, and compare.

    \b
    wb kernel rehearse 12 --memory-limit 13GB --minutes 540
    """
    competition = library.competition(slug, memory_limit=memory_limit)
    with step_bar("rehearsal") as (report, _):
        built = competition.build_kernel(number, python=python, wheels=wheels, report=report)
        found = competition.rehearse_kernel(number, built, minutes=minutes, report=report)
    if as_json:
        echo_json(
            {
                "exp": number,
                "public": str(found.public),
                "hidden": None if found.hidden is None else str(found.hidden),
                "differing": found.differing,
                "largest": found.largest,
                "rows": list(found.rows),
                "seconds": [round(s, 1) for s in found.seconds],
                "peak_mb": round(found.peak_mb, 1),
                "notes": list(found.notes),
            }
        )
    else:
        same = "the same as the run's" if not found.differing else f"{found.differing:,} differ from the run's"
        click.echo(f"public test set: {found.rows[0]:,} predictions, {same}; {found.seconds[0]:.0f} s")
        if found.hidden is not None:
            click.echo(f"hidden test set: {found.rows[1]:,} predictions; {found.seconds[1]:.0f} s")
        click.echo(f"{found.peak_mb:,.0f} MB at the peak")
        for line in found.notes:
            note(line)
