"""`wb run` and `wb new`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from workbench.api import library
from workbench.cli.app import (
    competition_option,
    echo_json,
    memory_option,
    note,
    shared_options,
    storage_option,
)
from workbench.cli.commands import Command, experiment_option
from workbench.cli.completion import complete_experiment
from workbench.cli.progress import progress_bar
from workbench.cli.terminal import echo, masked, note_lines, short_path
from workbench.core.errors import WorkbenchError
from workbench.core.wording import counted

if TYPE_CHECKING:
    from workbench.api.values import RunOutcome


@click.command("run", cls=Command, examples=("wb run 3", "wb run 3,5-7", "wb run --exp 3 --sample 0.05"))
@experiment_option("numbers", text="The experiments: 3, or 3,5-7.", several=True)
@click.option(
    "--sample", type=float, metavar="SHARE", help="A subsample run on a share of the train rows; never submitted."
)
@click.option("--force", is_flag=True, help="Run even if nothing changed.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Number of threads. [default: all available cores]",
    envvar="WB_THREADS",
)
@storage_option("Database for the studies of [tune]. [default: a journal file]")
@memory_option
@competition_option
@shared_options
def run_command(
    numbers: str,
    sample: float | None,
    force: bool,
    threads: int | None,
    storage: str | None,
    memory_limit: int | None,
    slug: str | None,
    as_json: bool,
) -> int:
    """Run experiments: build features, train models by fold, predict, score, and record the run.

    Experiments that have not changed since their last run are shown, not run again. Interrupted runs resume from their
    finished folds.
    """
    from workbench.api.values import parse_numbers

    selected = parse_numbers(numbers)
    competition = library.competition(slug, memory_limit=memory_limit)
    results: list[dict[str, Any]] = []
    failed: WorkbenchError | None = None
    for number in selected:
        with progress_bar(f"exp {number}") as listen:
            try:
                outcomes = competition.runs.execute_all(
                    number, sample=sample, force=force, threads=threads, storage=storage, listen=listen
                )
            except WorkbenchError as exc:
                if len(selected) == 1:
                    raise
                # The other experiments still run.
                failed = exc
                results.append({"exp": number, "error": _error(exc)})
                continue
        results += [_result(outcome) for outcome in outcomes]
        if not as_json:
            for outcome in outcomes:
                _print(outcome)
    if as_json:
        echo_json(results[0] if len(results) == 1 else results)
    elif failed is not None:
        for result in results:
            if "error" in result:
                note_lines(f"error: experiment {result['exp']}: {result['error']['message']}")
                note_lines(f"hint: {result['error']['hint']}") if result["error"]["hint"] else None
    return 1 if failed is not None else 0


def _error(exc: WorkbenchError) -> dict[str, str]:
    return {"type": type(exc).__name__, "message": masked(exc.message), "hint": masked(exc.hint)}


def _result(outcome: RunOutcome) -> dict[str, Any]:
    record, folder = outcome.run.record, outcome.run.folder
    test, submission = folder / "test.parquet", outcome.run.submission
    return {
        "exp": record.exp,
        "run_id": record.run_id,
        "status": record.status,
        "metric": record.metric,
        "cv_mean": record.cv_mean,
        "cv_std": record.cv_std,
        "cv_folds": record.cv_folds,
        "oof": str(folder / "oof.parquet"),
        "test": str(test) if test.exists() else None,
        "submission": str(submission) if submission else None,
        "seconds": record.seconds,
        "fold_scores": list(record.fold_scores),
        "sample": record.sample,
        "how": outcome.how,
        "notes": list(outcome.notes),
    }


def _print(outcome: RunOutcome) -> None:
    record = outcome.run.record
    sampled = (
        "" if record.sample is None else f" [subsample run on {record.sample:.3g} of the rows, not for submission]"
    )
    for line in outcome.notes:
        note(line)
    if outcome.how == "unchanged":
        note(f"experiment {record.exp} has not changed since its last run; use --force to run it again")
    if outcome.how == "resumed":
        note(f"experiment {record.exp} resumed from its finished folds")
    if record.cv_mean is None:
        scored = f"{record.metric}: no CV"
    elif record.cv_std is None:
        scored = f"{record.metric} {record.cv_mean:.5f}, reported by the notebook"
    else:
        folds = " ".join(f"{s:.5f}" for s in record.fold_scores)
        scored = f"{record.metric} {record.cv_mean:.5f}, fold SD {record.cv_std:.5f}  ({folds})"
    features = "" if record.n_features is None else f"{counted(record.n_features, 'feature')}  "
    echo(f"exp {record.exp}  {scored}  {features}{record.seconds:.1f} s  {record.peak_rss_mb:.0f} MB{sampled}")
    echo(f"       {short_path(outcome.run.folder)}")


@click.command("new", cls=Command, examples=('wb new --from 12 --title "more leaves"', "wb new --from 12 --tuned"))
@click.option(
    "--from",
    "source",
    type=int,
    metavar="N",
    help="The experiment to build on. [default: the newest]",
    shell_complete=complete_experiment,
)
@click.option("--title", default="", help="The title of the new experiment.")
@click.option("--tuned", is_flag=True, help="Use the best parameters that `wb tune` found for it.")
@competition_option
@shared_options
def new_command(source: int | None, title: str, tuned: bool, slug: str | None, as_json: bool) -> None:
    """Create the next experiment's file, based on another experiment."""
    competition = library.competition(slug)
    features_path = competition.features.path
    had_features = features_path.exists()
    path = competition.experiments.new(source=source, title=title, tuned=tuned, report=note)
    if as_json:
        echo_json({"exp": int(path.stem), "path": str(path)})
        return
    if not had_features and features_path.exists():
        echo(f"wrote {short_path(features_path)}, with two examples to uncomment")
    echo(f"wrote {short_path(path)}")
    echo(f"next: edit it, then wb run {int(path.stem)}")
