"""`wb notebook` and `wb report`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from workbench.api import library
from workbench.cli.app import competition_option, echo_json, note, shared_options
from workbench.cli.commands import Command, CommandGroup, experiment_option
from workbench.cli.progress import progress_bar
from workbench.cli.terminal import echo, short_path
from workbench.core.printable import one_line
from workbench.core.text_table import text_table


@click.group("notebook", cls=CommandGroup, examples=("wb notebook new 12 && wb run 13",))
def notebook_command() -> None:
    """Export an experiment as a notebook, adopt a notebook from Kaggle, or list a notebook's parameters."""


@notebook_command.command("params", examples=("wb notebook params notebooks/model.ipynb",))
@click.argument("path", type=click.Path(path_type=Path))
@shared_options
def params_command(path: Path, as_json: bool) -> None:
    """List a notebook's parameters with type, default and comment."""
    from workbench.api.values import read_notebook

    notebook = read_notebook(path)
    parameters = list((notebook.parameters or {}).values())
    if as_json:
        echo_json([asdict(p) for p in parameters])
        return
    if notebook.parameters is None:
        note(f'{path} has no parameters: no cell has the tag "parameters"')
    lines = [tuple(map(one_line, (p.name, p.kind or "any", p.default, p.help))) for p in parameters]
    for line in text_table(lines):
        echo(line)


@notebook_command.command("new", examples=("wb notebook new 12",))
@experiment_option("source", "--from", text="The experiment to export.")
@click.option("--title", default="", help="The title of the new experiment.")
@competition_option
@shared_options
def new_command(source: int, title: str, slug: str | None, as_json: bool) -> None:
    """Export an experiment as a notebook, and create the next experiment, which runs it."""
    notebook, experiment = library.competition(slug).experiments.new_notebook(source, title=title)
    if as_json:
        echo_json({"exp": int(experiment.stem), "notebook": str(notebook), "path": str(experiment)})
        return
    echo(short_path(notebook))
    echo(short_path(experiment))
    note(f"next: wb run {int(experiment.stem)}, or jupyter lab {short_path(notebook)}")


@notebook_command.command("adopt", examples=("wb notebook adopt ~/Downloads/best-public-notebook.ipynb",))
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--title", default="", help="The title of the new experiment. [default: the file's name]")
@click.option("--submission", default="submission.csv", show_default=True, help="The submission file that it writes.")
@click.option("--network", is_flag=True, help="Allow it to use the network.")
@competition_option
@shared_options
def adopt_command(path: Path, title: str, submission: str, network: bool, slug: str | None, as_json: bool) -> None:
    """Create the next experiment from a notebook that was written for Kaggle.

    Its paths lead to the local data, and its submission is checked. It has no access to anything else on this machine:
    no credentials, an empty home folder, and the network only with --network.
    """
    from workbench.api.values import isolation_warning

    competition = library.competition(slug)
    notebook, experiment, inputs = competition.experiments.adopt(
        path, title=title, submission=submission, network=network
    )
    if as_json:
        document = {"exp": int(experiment.stem), "notebook": str(notebook), "path": str(experiment), "inputs": inputs}
        echo_json(document)
        return
    echo(short_path(notebook))
    echo(short_path(experiment))
    for name in inputs:
        kind, _, other = name.partition("/")
        remedy = f"put its files into {competition.experiments.input_folder / name}"
        if kind == "competitions":
            remedy = f"run `wb fetch {other}`"
        note(f"it reads /kaggle/input/{name}, which does not exist locally: {remedy}")
    access = "with network" if network else "without network (to allow it: network = true under [notebook])"
    warning = isolation_warning(network=network, is_over=False)
    note(warning or f"it runs {access}, without your credentials, and with an empty home folder")
    note(f"next: wb run {int(experiment.stem)}")


@click.command("report", cls=Command, examples=("wb report 12", "wb report"))
@experiment_option(text="The experiment. [default: a report of the competition's data]", needed=False)
@click.option(
    "--notebook",
    "source",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The notebook to execute. [default: report.ipynb or eda.ipynb]",
)
@competition_option
@shared_options
def report_command(number: int | None, source: Path | None, slug: str | None, as_json: bool) -> None:
    """Write a report of the run of experiment N, or without N of the competition's data.

    A notebook is executed; it and its page are stored in the run's folder or the competition's folder.
    """
    competition = library.competition(slug)
    with progress_bar("report") as listen:
        if number is None:
            page = competition.data.explore(source=source, listen=listen)
        else:
            page = competition.runs.report(number, source=source, listen=listen)
    if as_json:
        echo_json({"exp": number, "page": str(page)})
    else:
        echo(short_path(page))
