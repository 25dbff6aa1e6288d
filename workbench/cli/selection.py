"""`wb select`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from workbench.api import library
from workbench.api.features import SelectOptions
from workbench.cli.app import competition_option, echo_json, memory_option, note, shared_options
from workbench.cli.commands import Command, experiment_option
from workbench.cli.progress import progress_bar
from workbench.cli.terminal import echo, short_path, styled
from workbench.core.printable import one_line
from workbench.core.text_table import text_table

if TYPE_CHECKING:
    from workbench.api.values import GroupImportance, Selection, SelectionScore

TITLES = {"gain": "gain", "permutation": "loss", "null": "gain", "rfe": "gain"}


@click.command(
    "select",
    cls=Command,
    examples=("wb select 12", "wb select 12 --method null --shuffles 40", "wb select 12 --method rfe --minutes 20"),
)
@experiment_option()
@click.option(
    "--method",
    default="permutation",
    show_default=True,
    metavar="NAME",
    help="The method: gain, permutation, null or rfe.",
)
@click.option("--name", metavar="NAME", help="The name of the list. [default: number and method, as 012-null]")
@click.option("--force", is_flag=True, help="Replace a list of that name.")
@click.option("--top", type=int, metavar="N", help="Keep the N most important columns.")
@click.option(
    "--by", metavar="WHAT", help="Judge columns separately, or together by feature or correlated. [default: column]"
)
@click.option("--share", type=float, help="gain: keep the columns with this share of the total gain. [default: 0.99]")
@click.option(
    "--repeats", type=int, metavar="N", help="permutation: number of shuffles of a column per fold. [default: 5]"
)
@click.option("--alpha", type=float, help="permutation: the significance level. [default: 0.01]")
@click.option("--shuffles", type=int, metavar="N", help="null: number of shuffles of the target. [default: 20]")
@click.option("--percentile", type=float, help="null: the percentile of the shuffled gains to exceed. [default: 75]")
@click.option("--minutes", type=float, metavar="M", help="rfe: time limit in minutes.")
@click.option(
    "--trials", type=int, metavar="K", help="rfe: number of smaller lists to try. [default: 20, or by --minutes]"
)
@click.option("--step", type=float, help="rfe: the share of the columns to drop in a step. [default: 0.2]")
@click.option("--seed", type=int, metavar="N", help="The seed of the shuffles. [default: 0]")
@click.option(
    "--holdout/--no-holdout", default=True, help="Select without the rows of the last fold, and score on them."
)
@click.option("--sample", type=float, metavar="SHARE", help="Use a share of the train rows.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Number of threads. [default: all available cores]",
    envvar="WB_THREADS",
)
@memory_option
@competition_option
@shared_options
def select_command(
    number: int, method: str, memory_limit: int | None, slug: str | None, as_json: bool, **options: Any
) -> None:
    """Select the columns of an experiment that are worth keeping, and write them as a list for experiments."""
    competition = library.competition(slug, memory_limit=memory_limit)
    with progress_bar(f"select {number}") as listen:
        selection = competition.features.select(number, SelectOptions(method, **options), listen=listen)
    if as_json:
        echo_json(_document(selection))
    else:
        _print(selection)


def _document(selection: Selection) -> dict[str, Any]:
    held_out = selection.held_out
    return {
        "name": selection.name,
        "path": str(selection.path),
        "exp": selection.exp,
        "run_id": selection.run_id,
        "method": selection.method,
        "metric": selection.metric,
        "greater_is_better": selection.greater_is_better,
        "features": list(selection.features),
        "before": selection.before.as_dict(),
        "after": selection.after.as_dict(),
        "held_out": None if held_out is None else {"before": held_out[0].as_dict(), "after": held_out[1].as_dict()},
        "optimistic": selection.optimistic,
        "columns": [
            {
                "name": j.group.name,
                "columns": list(j.group.columns),
                "importance": j.importance,
                "spread": j.spread,
                "keep": j.keep,
                **j.more,
            }
            for j in selection.judged
        ],
        "seconds": selection.seconds,
        "notes": list(selection.notes),
    }


def _print(selection: Selection) -> None:
    extra_names = list(selection.judged[0].more)
    head = ("column", TITLES[selection.method], "spread", *extra_names, "")
    lines = [head, *(_line(j, extra_names) for j in selection.judged)]
    for at, text in enumerate(text_table(lines, right=range(1, len(head) - 1))):
        echo(styled(text, bold=at == 0, dim=at > 0 and not selection.judged[at - 1].keep))
    echo("")
    n_selected = sum(j.keep for j in selection.judged)
    echo(f"{selection.metric} of all {len(selection.judged)}      {_score(selection.before)}")
    mark = f"  optimistic: {selection.optimistic}" if selection.optimistic else ""
    echo(f"{selection.metric} of the {n_selected} kept  {_score(selection.after)}{mark}")
    if selection.held_out is not None:
        before, after = (f"{score.mean:.5f}" for score in selection.held_out)
        echo(f"on rows held out from the selection: all {before}, kept {after}")
    for line in selection.notes:
        note(line)
    echo(f"wrote {short_path(selection.path)}")
    echo(f'next: features = "{selection.name}" in an experiment\'s file')


def _line(j: GroupImportance, extra_names: list[str]) -> tuple[str, ...]:
    extra = [f"{j.more[name]:.4g}" for name in extra_names]
    return one_line(j.group.name), f"{j.importance:.5g}", f"{j.spread:.3g}", *extra, "keep" if j.keep else "drop"


def _score(score: SelectionScore) -> str:
    return f"{score.mean:.5f} (fold SD {score.std:.5f})"
