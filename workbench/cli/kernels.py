"""`wb kernel`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workbench.api import library
from workbench.cli.app import competition_option, echo_json, memory_option, note, shared_options
from workbench.cli.commands import CommandGroup, experiment_option
from workbench.cli.progress import progress_bar
from workbench.cli.submissions import SendingOptions, send_prepared, sending_options
from workbench.cli.terminal import echo, short_path
from workbench.core.errors import NotebookError
from workbench.core.printable import printable
from workbench.core.wording import counted

if TYPE_CHECKING:
    from workbench.api.values import BuiltKernel

ACCELERATORS = ("NvidiaTeslaT4", "NvidiaTeslaP100")
LOG_TAIL = 3000
"""The number of characters of a failed kernel's log that are shown."""


@click.group("kernel", cls=CommandGroup, examples=("wb kernel rehearse 12", "wb kernel push 12", "wb kernel submit 12"))
def kernel_command() -> None:
    """Build a kernel from a run for a code competition, test it locally, push and submit it."""


PYTHON = click.option("--python", metavar="X.Y", help="Python version of the kernel. [default: that of Kaggle's image]")


@kernel_command.command("build", examples=("wb kernel build 12",))
@experiment_option()
@PYTHON
@click.option(
    "--wheels", type=click.Path(path_type=Path, file_okay=False), help="Use the wheels of this folder; download none."
)
@competition_option
@shared_options
def build_command(number: int, python: str | None, wheels: Path | None, slug: str | None, as_json: bool) -> None:
    """Build a kernel from the newest finished run of experiment N: models, code, packages and a notebook."""
    competition = library.competition(slug)
    with progress_bar("kernel") as listen:
        built = competition.kernels.build(number, python=python, wheels=wheels, listen=listen)
    if as_json:
        echo_json(
            {
                "exp": number,
                "bundle": str(built.bundle),
                "notebook": str(built.notebook),
                "bytes": built.size,
                "fixed": list(built.fixed),
                "files": list(built.files),
            }
        )
        return
    echo(f"{built.bundle}  {built.size / 2**20:.1f} MB")
    echo(built.notebook)
    _note_packed(built)
    for name in built.fixed:
        note(f"{name} is in the bundle: the kernel reads it instead of Kaggle's file")
    note(f"next: wb kernel rehearse {number}")


@kernel_command.command("rehearse", examples=("wb kernel rehearse 12 --memory-limit 13GB --minutes 540",))
@experiment_option()
@PYTHON
@click.option(
    "--wheels", type=click.Path(path_type=Path, file_okay=False), help="Use the wheels of this folder; download none."
)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), metavar="M", help="Time limit of a run.")
@click.option(
    "--image",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder with the packages of Kaggle's image, by `pip install --target`, if their versions differ.",
)
@memory_option
@competition_option
@shared_options
def rehearse_command(
    number: int,
    python: str | None,
    wheels: Path | None,
    minutes: float | None,
    image: Path | None,
    memory_limit: int | None,
    slug: str | None,
    as_json: bool,
) -> None:
    """Run the kernel of experiment N locally without network, on the test set and a hidden one, and compare."""
    competition = library.competition(slug, memory_limit=memory_limit)
    with progress_bar("rehearsal") as listen:
        built = competition.kernels.build(number, python=python, wheels=wheels, listen=listen)
        rehearsal = competition.kernels.rehearse(number, built, minutes=minutes, image=image, listen=listen)
    if as_json:
        echo_json(
            {
                "exp": number,
                "public": str(rehearsal.public_submission),
                "hidden": None if rehearsal.hidden_submission is None else str(rehearsal.hidden_submission),
                "differing": rehearsal.n_differing,
                "largest": rehearsal.max_difference,
                "rows": list(rehearsal.n_rows),
                "seconds": [round(s, 1) for s in rehearsal.seconds],
                "peak_mb": round(rehearsal.peak_mb, 1),
                "notes": list(rehearsal.notes),
            }
        )
    else:
        comparison = (
            "equal to the run's" if not rehearsal.n_differing else f"{rehearsal.n_differing:,} differ from the run's"
        )
        echo(f"public test set: {rehearsal.n_rows[0]:,} predictions, {comparison}; {rehearsal.seconds[0]:.0f} s")
        if rehearsal.hidden_submission is not None:
            echo(f"hidden test set: {rehearsal.n_rows[1]:,} predictions; {rehearsal.seconds[1]:.0f} s")
        echo(f"peak memory: {rehearsal.peak_mb:,.0f} MB")
        for line in rehearsal.notes:
            note(line)


@kernel_command.command("push", examples=("wb kernel push 12 --minutes 30",))
@experiment_option()
@PYTHON
@click.option(
    "--wheels", type=click.Path(path_type=Path, file_okay=False), help="Use the wheels of this folder; download none."
)
@click.option("--accelerator", type=click.Choice(ACCELERATORS), help="The accelerator. [default: CPU only]")
@click.option(
    "--docker-pin",
    type=click.Choice(["original", "latest"]),
    default="original",
    show_default=True,
    help="Kaggle's image: the one of the kernel's first version, or the newest.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    metavar="M",
    help="Time limit on Kaggle. [default: Kaggle's own limit]",
)
@competition_option
@shared_options
def push_command(
    number: int,
    python: str | None,
    wheels: Path | None,
    accelerator: str | None,
    docker_pin: str,
    minutes: float | None,
    slug: str | None,
    as_json: bool,
) -> int:
    """Upload the changed files of the kernel of experiment N, run it on the platform, and fetch its output."""
    from workbench.api.values import Machine

    competition = library.competition(slug)
    machine = Machine(accelerator or "", docker_pin, minutes)
    with progress_bar("kernel") as listen:
        built = competition.kernels.build(number, python=python, wheels=wheels, listen=listen)
        if not as_json:
            _note_packed(built)
        pushed = competition.kernels.push(built, machine, listen=listen)
    for line in pushed.notes:
        note(line)
    if as_json:
        document = {
            "exp": number,
            "kernel": pushed.version.name,
            "version": pushed.version.number,
            "status": pushed.status,
        }
        document |= {
            "packed": list(built.files),
            "failure": pushed.failure,
            "uploaded": list(pushed.uploaded),
            "bytes": pushed.size,
        }
        echo_json(document | {"folder": str(pushed.folder), "log": str(pushed.log)})
    else:
        version = f"{pushed.version.owner}/{pushed.version.name}, version {pushed.version.number}"
        echo(f"{version}: {pushed.status}; {pushed.size / 2**20:.2f} MB uploaded")
        echo(short_path(pushed.folder))
    if pushed.status == "complete":
        note(f"next: wb kernel submit {number}")
        return 0
    if as_json:
        return 1
    log = pushed.log.read_text(encoding="utf-8")
    raise NotebookError(
        f"the kernel ended with status {pushed.status}: {pushed.failure or 'no reason given'}\n{_tail(log)}",
        hint=f"see its log {pushed.log}; `wb kernel rehearse {number}` runs it locally",
    )


def _note_packed(built: BuiltKernel) -> None:
    """Print what is uploaded: the competition's files by name, and the numbers of models and packages."""
    competition_files = [name.removeprefix("competition/") for name in built.files if name.startswith("competition/")]
    models, wheels = (sum(name.startswith(f"{kind}/") for name in built.files) for kind in ("models", "wheels"))
    note(f"packed: {', '.join(competition_files)}; {counted(models, 'model file')}, {counted(wheels, 'package')}")


def _tail(log: str) -> str:
    """Return the end of a log, indented, so that its lines can't be mistaken for ours."""
    return textwrap.indent(printable(log)[-LOG_TAIL:].strip(), "    ", lambda _: True)


@kernel_command.command("submit", examples=("wb kernel submit 12 --wait",))
@experiment_option()
@sending_options
@competition_option
@shared_options
def submit_command(number: int, slug: str | None, as_json: bool, **sending: Any) -> int:
    """Submit the newest completed version of the kernel of experiment N, as `wb submit` does with a file."""
    competition = library.competition(slug)
    prepared = competition.kernels.prepare(number)
    return send_prepared(competition, prepared, SendingOptions(**sending), as_json=as_json)
