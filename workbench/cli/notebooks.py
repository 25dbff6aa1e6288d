"""`wb notebook` and `wb report`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from workbench.api import library
from workbench.cli.app import competition_option, echo_json, note, shared_options
from workbench.cli.commands import Command, CommandGroup, experiment_option
from workbench.cli.progress import progress_bar
from workbench.cli.terminal import echo
from workbench.core.printable import one_line
from workbench.core.text_table import text_table


@click.group("notebook", cls=CommandGroup, examples=("wb notebook new 12 && wb run 13",))
def notebook_command() -> None:
    """Write an experiment out as a notebook, make one of Kaggle's an experiment, look at its parameters."""


@notebook_command.command("params", examples=("wb notebook params notebooks/model.ipynb",))
@click.argument("path", type=click.Path(path_type=Path))
@shared_options
def params_command(path: Path, as_json: bool) -> None:
    """List the parameters of a notebook: kind, default, and the comment behind each."""
    from workbench.api.values import read_notebook

    notebook = read_notebook(path)
    parameters = list((notebook.parameters or {}).values())
    if as_json:
        echo_json([asdict(p) for p in parameters])
        return
    if notebook.parameters is None:
        note(f'{path} has no cell that is tagged "parameters": it takes none')
    lines = [tuple(map(one_line, (p.name, p.kind or "any", p.default, p.help))) for p in parameters]
    for line in text_table(lines):
        echo(line)


@notebook_command.command("new", examples=("wb notebook new 12",))
@experiment_option("source", "--from", text="The experiment to write out.")
@click.option("--title", default="", help="Of the new experiment.")
@competition_option
@shared_options
def new_command(source: int, title: str, slug: str | None, as_json: bool) -> None:
    """Write an experiment out as a notebook to play with, and the next experiment, which runs it."""
    notebook, experiment = library.competition(slug).experiments.new_notebook(source, title=title)
    if as_json:
        echo_json({"exp": int(experiment.stem), "notebook": str(notebook), "path": str(experiment)})
        return
    echo(notebook)
    echo(experiment)
    note(f"next: wb run {int(experiment.stem)}, or open it: jupyter lab {notebook}")


@notebook_command.command("adopt", examples=("wb notebook adopt ~/Downloads/best-public-notebook.ipynb",))
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--title", default="", help="Of the new experiment; by default the file's name.")
@click.option("--submission", default="submission.csv", show_default=True, help="The file that it leaves.")
@click.option("--network", is_flag=True, help="Let it reach the network; by default it can't.")
@competition_option
@shared_options
def adopt_command(path: Path, title: str, submission: str, network: bool, slug: str | None, as_json: bool) -> None:
    """Make a notebook that was written for Kaggle the next experiment.

    Its paths lead to the data here, and its submission is checked. It sees its data and no more of this machine: no
    logins, an empty home, and the network only with --network.
    """
    from workbench.api.values import not_closed

    competition = library.competition(slug)
    notebook, experiment, inputs = competition.experiments.adopt(
        path, title=title, submission=submission, network=network
    )
    if as_json:
        document = {"exp": int(experiment.stem), "notebook": str(notebook), "path": str(experiment), "inputs": inputs}
        echo_json(document)
        return
    echo(notebook)
    echo(experiment)
    for name in inputs:
        kind, _, other = name.partition("/")
        brings = f"put its files into {competition.experiments.input_folder / name}"
        if kind == "competitions":
            brings = f"`wb fetch {other}` brings it"
        note(f"it reads /kaggle/input/{name}, which is not here: {brings}")
    reach = "with the network" if network else "without the network (network = true under [notebook] gives it)"
    warning = not_closed(network=network, is_over=False)
    note(warning or f"it runs {reach}, without your logins, and with an empty home")
    note(f"next: wb run {int(experiment.stem)}")


@click.command("report", cls=Command, examples=("wb report 12", "wb report"))
@experiment_option(text="The experiment; by default it is the page of a fresh competition.", needed=False)
@click.option(
    "--notebook",
    "source",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Another notebook than report.ipynb, or eda.ipynb.",
)
@competition_option
@shared_options
def report_command(number: int | None, source: Path | None, slug: str | None, as_json: bool) -> None:
    """Execute the report's notebook on the run of experiment N, or without N that for a fresh competition.

    The executed notebook and its page are kept in the run's folder, or in the competition's.
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
        echo(str(page))
