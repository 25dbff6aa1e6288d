"""`wb run` and `wb new`."""

from __future__ import annotations

from pathlib import Path
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
from workbench.cli.terminal import echo, masked, note_lines
from workbench.core.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.api.values import RunOutcome


@click.command("run", cls=Command, examples=("wb run 3", "wb run 3,5-7", "wb run --exp 3 --sample 0.05"))
@experiment_option("numbers", text="Experiments: 3, or 3,5-7.", several=True)
@click.option(
    "--sample", type=float, metavar="SHARE", help="A subsample run on a share of the train rows; never submitted."
)
@click.option("--force", is_flag=True, help="Run again though nothing changed.")
@click.option(
    "--threads", type=click.IntRange(min=1), help="Default: all that the process may use.", envvar="WB_THREADS"
)
@storage_option("A database for the studies of [tune]. [default: a journal]")
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
    """Run experiments: features, folds, models, OOF and test predictions, CV, submission file, record.

    An experiment that is done and unchanged is shown, not run. One that was killed goes on from its finished folds.
    """
    from workbench.api.values import parse_numbers

    chosen = parse_numbers(numbers)
    competition = library.competition(slug, memory_limit=memory_limit)
    results: list[dict[str, Any]] = []
    failed: WorkbenchError | None = None
    for number in chosen:
        with progress_bar(f"exp {number}") as listen:
            try:
                outcomes = competition.runs.execute_all(
                    number, sample=sample, force=force, threads=threads, storage=storage, listen=listen
                )
            except WorkbenchError as exc:
                if len(chosen) == 1:
                    raise
                # The other experiments of a batch are still worth their time.
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
        "" if record.sample is None else f" [subsample run on {record.sample:.3g} of the rows: not for submission]"
    )
    for line in outcome.notes:
        note(line)
    if outcome.how == "unchanged":
        note(f"experiment {record.exp} is unchanged since it ran; --force runs it again")
    if outcome.how == "resumed":
        note(f"experiment {record.exp} went on from the folds that were finished")
    if record.cv_mean is None:
        scored = f"{record.metric}: no CV"
    elif record.cv_std is None:
        scored = f"{record.metric} {record.cv_mean:.5f} as it says itself"
    else:
        folds = " ".join(f"{s:.5f}" for s in record.fold_scores)
        scored = f"{record.metric} {record.cv_mean:.5f}, fold SD {record.cv_std:.5f}  ({folds})"
    features = "" if record.n_features is None else f"{record.n_features} features  "
    echo(f"exp {record.exp}  {scored}  {features}{record.seconds:.1f} s  {record.peak_rss_mb:.0f} MB{sampled}")
    folder = outcome.run.folder
    current = Path.cwd()
    echo(f"       {folder.relative_to(current) if folder.is_relative_to(current) else folder}")


@click.command("new", cls=Command, examples=('wb new --from 12 --title "more leaves"', "wb new --from 12 --tuned"))
@click.option(
    "--from",
    "source",
    type=int,
    metavar="N",
    help="The experiment to build on; by default the newest.",
    shell_complete=complete_experiment,
)
@click.option("--title", default="", help="What is new in it.")
@click.option("--tuned", is_flag=True, help="With the parameters that `wb tune` has found for that one.")
@competition_option
@shared_options
def new_command(source: int | None, title: str, tuned: bool, slug: str | None, as_json: bool) -> None:
    """Write the next experiment's file, built on another."""
    competition = library.competition(slug)
    features = competition.features.path
    had_features = features.exists()
    path = competition.experiments.new(source=source, title=title, tuned=tuned, report=note)
    if as_json:
        echo_json({"exp": int(path.stem), "path": str(path)})
        return
    if not had_features and features.exists():
        echo(f"wrote {features}: two examples to uncomment")
    echo(f"wrote {path}")
    echo(f"next: edit it, then wb run {int(path.stem)}")
