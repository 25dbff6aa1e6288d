"""`wb tune`."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from workbench.api import library
from workbench.api.studies import TuneOptions
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
from workbench.cli.terminal import echo, echo_lines, short_path, styled
from workbench.core.text_table import text_table
from workbench.core.wording import counted

if TYPE_CHECKING:
    from workbench.api.values import TrialScores, TuneOutcome

SHOWN = 10


@click.command(
    "tune",
    cls=Command,
    examples=("wb tune 12 --minutes 30", "wb tune 12 --show", "wb new --from 12 --tuned"),
)
@experiment_option(needed=False)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), metavar="M", help="Time limit in minutes.")
@click.option("--trials", type=click.IntRange(min=1), metavar="K", help="Maximum number of trials.")
@click.option("--keep", metavar="WHAT", help='Keep OOF predictions of trials: "top20", "all". [default: none]')
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="The seed of the search. [default: 0]")
@click.option(
    "--holdout/--no-holdout",
    default=None,
    help="Search without the rows of the last fold, and score on them. [default: holdout]",
)
@storage_option("Database for the study, postgresql+psycopg://…  [default: a journal file]")
@click.option(
    "--show",
    "shown",
    type=int,
    is_flag=False,
    flag_value=0,
    metavar="[N]",
    help="Show the study of experiment N as plots and a page.",
    shell_complete=complete_experiment,
)
@click.option(
    "--dashboard",
    type=int,
    is_flag=False,
    flag_value=0,
    metavar="[N]",
    help="Open optuna-dashboard on the study of experiment N.",
    shell_complete=complete_experiment,
)
@click.option(
    "--port", type=click.IntRange(1, 65_535), default=8080, show_default=True, help="The port of the dashboard."
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Number of threads. [default: all available cores]",
    envvar="WB_THREADS",
)
@memory_option
@competition_option
@shared_options
def tune_command(
    number: int | None,
    shown: int | None,
    dashboard: int | None,
    keep: str | None,
    storage: str | None,
    port: int,
    memory_limit: int | None,
    slug: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Search for better parameters of an experiment.

    The study is stored: the same command continues it, and several processes can share it.
    """
    started_at = time.perf_counter()
    number = _one_number(number, shown, dashboard)
    competition = library.competition(slug, memory_limit=memory_limit)
    if shown is not None:
        _show(competition, number, storage, as_json=as_json)
        return
    if dashboard is not None:
        _dashboard(competition, number, storage, port)
        return
    from workbench.api.values import parse_keep

    keep_rule = None if keep is None else parse_keep(keep, where="--keep")
    with progress_bar(f"tune {number}") as listen:
        outcome = competition.studies.tune(
            number, TuneOptions(storage=storage, keep=keep_rule, started_at=started_at, **options), listen=listen
        )
    if as_json:
        echo_json(_document(outcome, number, competition))
    else:
        _print(outcome, number, competition)


def _one_number(number: int | None, shown: int | None, dashboard: int | None) -> int:
    """Return the experiment's number, which several options may repeat; 0 is an option without a number."""
    numbers = {n for n in (number, shown, dashboard) if n}
    if len(numbers) != 1 or (shown is not None and dashboard is not None):
        raise click.UsageError("expected one of --exp, --show and --dashboard, with the number of one experiment")
    return numbers.pop()


def _document(outcome: TuneOutcome, number: int, competition: library.OpenCompetition) -> dict[str, Any]:
    tuned, metric = outcome.tuned, competition.data.metric
    return {
        "exp": number,
        "metric": metric.name,
        "greater_is_better": metric.greater_is_better,
        "best": None if tuned.best is None else _trial_entry(tuned.best) | {"parameters": outcome.parameters},
        "start": None if tuned.initial is None else _trial_entry(tuned.initial),
        "ranked": [_trial_entry(s) for s in tuned.ranked[:SHOWN]],
        "before": None if outcome.before is None else outcome.before.cv_mean,
        "complete": tuned.complete,
        "pruned": tuned.pruned,
        "failed": tuned.failed,
        "trials": tuned.n_new_trials,
        "seconds": round(tuned.seconds, 2),
        "optimistic": outcome.optimistic,
        "folder": str(outcome.folder),
        "notes": list(outcome.notes),
    }


def _trial_entry(trial: TrialScores) -> dict[str, Any]:
    """Return the entry of a trial in the JSON document."""
    return {
        "trial": trial.number,
        "score": trial.value,
        "second": None if trial.repeated_cv is None else sum(trial.repeated_cv) / len(trial.repeated_cv),
        "held_out": trial.holdout,
        "fold_scores": list(trial.full_cv or ()),
        "second_scores": None if trial.repeated_cv is None else list(trial.repeated_cv),
        "quick": trial.low_fidelity,
        "rounds": list(trial.rounds),
        "parameters": trial.parameters,
    }


def shown_trials(
    ranked: Sequence[TrialScores], best: TrialScores | None, initial: TrialScores | None
) -> list[TrialScores]:
    """Return the first of the ranking, the best and the initial trial: only the last two have a holdout score."""
    shown = list(ranked[:SHOWN])
    # The best is chosen by repeated CV, too, so it may be further down in the ranking.
    for trial in (best, initial):
        shown += [trial] if trial is not None and trial not in shown else []
    return shown


def _print(outcome: TuneOutcome, number: int, competition: library.OpenCompetition) -> None:
    from workbench.api.values import as_toml_lines

    tuned, metric = outcome.tuned, competition.data.metric
    counts = f"{tuned.n_new_trials} new trials; in total {tuned.complete} complete, {tuned.pruned} pruned"
    counts += f", {tuned.failed} failed" if tuned.failed else ""
    echo(f"{counts}; {tuned.seconds:.0f} s")
    lines: list[tuple[str, ...]] = [("trial", metric.name, "fold SD", "repeated CV", "holdout", "low-fidelity", "")]
    best = tuned.best
    for trial in shown_trials(tuned.ranked, best, tuned.initial):
        remarks = [*(["best"] if trial == best else []), *(["initial"] if trial == tuned.initial else [])]
        lines.append((str(trial.number), *_cells(trial), ", ".join(remarks)))
    if len(lines) > 1:
        for at, line in enumerate(text_table(lines, right=range(len(lines[0]) - 1))):
            echo(styled(line, bold=at == 0))
        echo("")
    if outcome.optimistic:
        exception = ", except those held out from the search" if best is not None and best.holdout is not None else ""
        echo(f"optimistic: {outcome.optimistic}: the parameters were chosen by the scores of these rows{exception}")
        echo("")
    if best is not None:
        echo_lines(as_toml_lines(outcome.parameters), nl=False)
    for line in outcome.notes:
        note(line)
    if best is not None and best != tuned.initial:
        echo(f"next: wb new --from {number} --tuned -c {competition.slug}")


def _cells(trial: TrialScores) -> tuple[str, ...]:
    import statistics

    fold_scores = trial.full_cv or ()
    repeated = "" if trial.repeated_cv is None else f"{sum(trial.repeated_cv) / len(trial.repeated_cv):.5f}"
    held_out = "" if trial.holdout is None else f"{trial.holdout:.5f}"
    return (
        f"{trial.value:.5f}",
        f"{statistics.pstdev(fold_scores):.5f}",
        repeated,
        held_out,
        f"{trial.low_fidelity:.5f}",
    )


def _show(competition: library.OpenCompetition, number: int, storage: str | None, *, as_json: bool) -> None:
    from workbench.api.values import TrialState

    study, shares, paths = competition.studies.plots(number, storage=storage)
    if as_json:
        echo_json({"exp": number, "files": [str(p) for p in paths], "importances": shares})
        return
    trials = study.get_trials(deepcopy=False)
    # Trials that were stopped by the time limit have not failed.
    states = ["stopped" if TrialState(t).is_stopped else t.state.name.lower() for t in trials]
    counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
    echo(f"{study.study_name}: {counted(len(trials), 'trial')}: {counts}")
    if shares:
        echo(styled("importance of the parameters", bold=True))
        bars = [(name, f"{share:.1%}", "█" * round(30 * share)) for name, share in shares.items()]
        for line in text_table(bars, right=[1], indent="  "):
            echo(line)
    for path in paths:
        echo(f"wrote {short_path(path)}")


def _dashboard(competition: library.OpenCompetition, number: int, storage: str | None, port: int) -> None:
    from workbench.core.distribution import install_hint
    from workbench.core.errors import ConfigError

    study = competition.studies.study(number, storage=storage)
    try:
        from optuna_dashboard import run_server
    except ImportError as exc:
        raise ConfigError("optuna-dashboard is not installed", hint=install_hint("tune")) from exc
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as exc:
        raise ConfigError(
            f"optuna-dashboard can't listen on port {port}: {exc}", hint="choose another with --port"
        ) from exc
    note(
        f"optuna-dashboard is running on http://127.0.0.1:{port}/ (Ctrl-C to stop); it has no login: every user of "
        "this machine can change the study"
    )
    run_server(study._storage, host="127.0.0.1", port=port)
