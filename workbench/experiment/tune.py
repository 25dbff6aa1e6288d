"""Tuning an experiment: its problem, its study beside the runs, and what the search found."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.cache import content_key, read_json, write_json
from workbench.competition import Competition
from workbench.errors import ConfigError, DamagedError, NotFoundError
from workbench.experiment.other_folds import on_other_folds
from workbench.experiment.run import (
    FoldDone,
    ReadyExperiment,
    RunOutcome,
    find_finished,
    lightgbm_of,
    log_file,
    ready,
    run,
)
from workbench.experiment.spec import TuneSpec, read_spec
from workbench.ledger import RunRecord
from workbench.training import FoldScorer, LightGBMSpec
from workbench.tuning import (
    KEPT_AS,
    Budget,
    Progress,
    Search,
    Space,
    StudyKey,
    Tuned,
    default_space,
    enough_rounds,
    open_study,
    parse_space,
    read_study,
)
from workbench.workspace import Workspace

__all__ = [
    "TuneOutcome",
    "TuneRequest",
    "as_text",
    "as_toml_lines",
    "best_parameters",
    "find_study",
    "run_tuned",
    "tune",
    "tuned_parameters",
]

Report = Callable[[str], None]
ROOM_SHARE = 4
"""The folds' datasets may take a quarter of the memory limit."""


@dataclass(frozen=True)
class TuneRequest:
    """How much to search: what the command says; None for what ``[tune]`` says.

    Attributes
    ----------
    started_at : float, or None
        Since when the time counts, of time.perf_counter; None for now.
    only_rest : bool
        Take off what the study has had already.
    """

    minutes: float | None = None
    trials: int | None = None
    storage: str | None = None
    keep: int | None = None
    seed: int | None = None
    threads: int | None = None
    started_at: float | None = None
    only_rest: bool = False


@dataclass(frozen=True)
class TuneOutcome:
    """What tuning found.

    Attributes
    ----------
    tuned : Tuned
    parameters : dict
        The best ones for ``[model]``; the experiment's own where no trial finished.
    space : Space
    before : RunRecord, or None
        The experiment's finished run.
    folder : Path
        The study's.
    notes : tuple of str
    """

    tuned: Tuned
    parameters: dict[str, Any]
    space: Space
    before: RunRecord | None
    folder: Path
    notes: tuple[str, ...]


def tune(
    workspace: Workspace,
    competition: Competition,
    number: int,
    request: TuneRequest,
    *,
    report: Report = lambda _: None,
    say: Report | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> TuneOutcome:
    """Search for better parameters of an experiment, going on where the study was left.

    Parameters
    ----------
    report : callable
        Told what is being done.
    say : callable, optional
        Told what the user has to know, as that a study begins anew; `report` by default.
    progress : callable

    Raises
    ------
    ConfigError
        When neither a time nor a number of trials is given, the space is wrong, or the experiment has no ``[model]``.
    """
    started = time.perf_counter() if request.started_at is None else request.started_at
    experiment = ready(workspace, competition, number, threads=request.threads, report=report)
    asked = _asked(experiment, request)
    spec = lightgbm_of(
        experiment, because="LightGBM's parameters are tuned", hint="tune an experiment that has [model]"
    )
    space = _space(experiment, asked)
    folder = competition.study_folder(number)
    limit = experiment.blocks.limit_bytes // ROOM_SHARE
    scorer = FoldScorer(experiment.problem, spec, room=limit)

    def other() -> FoldScorer | None:
        problem = on_other_folds(experiment)
        return None if problem is None else FoldScorer(problem, spec, room=limit)

    key = _key(experiment, spec, space)
    metric = experiment.problem.metric
    with (
        open_study(
            folder, key, greater_is_better=metric.greater_is_better, url=request.storage, seed=asked.seed
        ) as opened,
        log_file(folder),
    ):
        for line in opened.notes:
            (say or report)(line)
        budget = _budget(asked, started, opened.study if request.only_rest else None)
        search = Search(
            opened,
            scorer,
            other,
            space,
            budget=budget or Budget(started),
            keep=asked.keep,
            all_folds=competition.definition.cv.scheme not in ALIKE,
            progress=progress,
        )
        tuned = search.run() if budget is not None else search.result()
        spent = float(opened.study.user_attrs.get("spent_s", 0.0)) + time.perf_counter() - started
        opened.study.set_user_attr("spent_s", round(spent, 1))
    parameters = tuned_parameters(tuned, spec, space)
    before = None if experiment.finished is None else experiment.finished.record
    outcome = TuneOutcome(
        tuned, parameters, space, before, folder, (*_notes(tuned, experiment, search.own, before), *tuned.notes)
    )
    if tuned.best is not None:
        asked_for = None if experiment.spec.tune is None else experiment.spec.tune.content()
        write_json(folder / "best.json", {"model": parameters, "asked": asked_for})
    return outcome


def _budget(asked: TuneSpec, started: float, before: Any) -> Budget | None:
    """Return what may be spent; less what was spent `before`, and None where that was enough."""
    seconds = None if asked.minutes is None else 60 * asked.minutes
    trials = asked.trials
    if before is not None:
        spent = float(before.user_attrs.get("spent_s", 0.0))
        if seconds is not None:
            seconds = max(0.0, seconds - spent) if spent < 0.95 * seconds else 0.0
        if trials is not None:
            trials = max(0, trials - sum(t.state.is_finished() for t in before.get_trials(deepcopy=False)))
        if seconds == 0.0 or trials == 0:
            return None
    return Budget(started, None if seconds is None else started + seconds, trials)


def run_tuned(
    workspace: Workspace,
    competition: Competition,
    number: int,
    *,
    sample: float | None = None,
    force: bool = False,
    threads: int | None = None,
    report: Report = lambda _: None,
    done: FoldDone = lambda _result, _left: None,
) -> RunOutcome:
    """Run an experiment like `run`; where it has ``[tune]``, search first for what is left of its time.

    A quick try on a sample is not tuned.
    """
    spec = read_spec(competition, number)
    if spec.tune is None or sample is not None:
        return run(
            workspace, competition, number, sample=sample, force=force, threads=threads, report=report, done=done
        )
    kept = _kept(competition, number)
    model = kept["model"] if kept is not None and kept["asked"] == spec.tune.content() else None
    if model is None or find_finished(workspace, competition, number, model=model) is None:
        request = TuneRequest(threads=threads, only_rest=True)
        outcome = tune(workspace, competition, number, request, report=report, progress=_Lines(report))
        for line in outcome.notes:
            report(line)
        model = outcome.parameters
    return run(workspace, competition, number, force=force, threads=threads, model=model, report=report, done=done)


def _kept(competition: Competition, number: int) -> dict[str, Any] | None:
    try:
        kept = read_json(competition.study_folder(number) / "best.json")
        return {"model": dict(kept["model"]), "asked": kept["asked"]}
    except (OSError, DamagedError, KeyError, TypeError, ValueError):
        return None


def best_parameters(competition: Competition, number: int) -> dict[str, Any]:
    """Return the parameters that tuning an experiment has found.

    Raises
    ------
    NotFoundError
        When it was not tuned, or no trial finished.
    """
    kept = _kept(competition, number)
    if kept is None:
        raise NotFoundError(
            f"experiment {number} of {competition.slug!r} has no tuned parameters",
            hint=f"`wb tune --exp {number} --minutes 10` finds some",
        )
    parameters: dict[str, Any] = kept["model"]
    return parameters


def as_toml_lines(parameters: Mapping[str, Any], *, without: Mapping[str, Any] | None = None) -> str:
    """Return parameters as lines of ``[model]``, leaving out those that are as in `without`.

    Examples
    --------
    >>> print(as_toml_lines({"num_leaves": 63, "extra_trees": True}, without={"num_leaves": 63}), end="")
    extra_trees = true
    """
    same = without or {}
    lines = []
    for name, value in parameters.items():
        if name in same and same[name] == value:
            continue
        text = str(value).lower() if isinstance(value, bool) else json.dumps(value, ensure_ascii=False)
        lines.append(f"{name} = {text}\n")
    return "".join(lines)


class _Lines:
    """Progress as a line of text every few seconds."""

    EVERY_S = 10.0

    def __init__(self, report: Report) -> None:
        self._report, self._last = report, 0.0

    def __call__(self, at: Progress) -> None:
        now = time.monotonic()
        if now - self._last >= self.EVERY_S:
            self._last = now
            self._report(as_text(at))


def as_text(at: Progress) -> str:
    """Say in one line where a search is."""
    best = "" if at.best is None else f", best {at.best:.5f}"
    left = "" if at.left is None else f", {at.left / 60:.1f} min left"
    failed = f", {at.failed} failed" if at.failed else ""
    return f"{at.stage}: {at.complete} trials, {at.pruned} pruned{failed}{best}{left}"


def _asked(experiment: ReadyExperiment, request: TuneRequest) -> TuneSpec:
    """Return what is asked for: the command before the file."""
    spec = experiment.spec.tune or TuneSpec()
    if request.minutes is not None or request.trials is not None:
        spec = replace(spec, minutes=request.minutes, trials=request.trials)
    if request.keep is not None:
        spec = replace(spec, keep=request.keep)
    if request.seed is not None:
        spec = replace(spec, seed=request.seed)
    if spec.minutes is None and spec.trials is None:
        raise ConfigError(
            f"{experiment.spec.path}: how long to tune is not said",
            hint="--minutes 30 or --trials 100, or minutes = 30 under [tune]",
        )
    return spec


def _space(experiment: ReadyExperiment, asked: TuneSpec) -> Space:
    if asked.space:
        return parse_space(asked.space, where=str(experiment.spec.path))
    problem = experiment.problem
    n_rows = len(problem.folds.train_rows(0))
    matrix = problem.matrix
    n_columns = matrix.width + len(matrix.fold_columns)
    task = problem.target.columns[0].task
    return default_space(task, n_rows, n_columns, has_categories=bool(matrix.categories))


def _key(experiment: ReadyExperiment, spec: LightGBMSpec, space: Space) -> StudyKey:
    content = spec.content()
    searched = set(space.names)
    fixed = {k: v for k, v in content.items() if k != "parameters"} | {
        "parameters": {k: v for k, v in content["parameters"].items() if k not in searched}
    }
    c = experiment.competition
    d = c.definition
    parts = {
        "features": experiment.matrix_key,
        "folds": experiment.problem.folds.content,
        "target": content_key("target", list(d.targets), d.task, d.metric, d.weight),
        "space": content_key("space", space.content()),
        "model": content_key("model", fixed),
        "search": KEPT_AS,
    }
    return StudyKey(f"{c.slug}-{experiment.spec.number:03d}", parts)


def tuned_parameters(tuned: Tuned, spec: LightGBMSpec, space: Space) -> dict[str, Any]:
    """Return the best parameters as ``[model]`` takes them; what the experiment has, where no trial finished."""
    best = tuned.best
    given = {k: v for k, v in spec.parameters.items() if k not in FIXED}
    if best is None:
        return given
    is_own = tuned.start is not None and best.parameters == tuned.start.parameters
    more: dict[str, Any] = {} if is_own else {k: _rounded(v) for k, v in space.parameters(best.parameters).items()}
    if best.rate is not None and "learning_rate" not in spec.parameters:
        more["learning_rate"] = best.rate
        more["num_iterations"], patience = enough_rounds(best.rate, spec.rounds, spec.patience)
        if spec.patience:
            more["early_stopping_round"] = patience
    if float(more.get("bagging_fraction", 1.0)) < 1 and not given.get("bagging_freq"):
        more["bagging_freq"] = 1
    return given | more


FIXED = ("verbosity", "deterministic", "num_threads", "force_col_wise", "feature_pre_filter")


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _notes(tuned: Tuned, experiment: ReadyExperiment, own: Mapping[str, Any] | None, before: Any) -> list[str]:
    notes = []
    if tuned.best is None:
        kept = f"; its score stays: {before.cv_mean:.5f}" if before is not None and before.cv_mean is not None else ""
        notes.append(f"no trial finished within the time: the experiment's own parameters are kept{kept}")
    if tuned.best is not None and tuned.best == tuned.start:
        notes.append("nothing found is better than the experiment's own parameters")
    if own is None:
        notes.append("the experiment's own parameters lie outside of the space, so they were not tried")
    for one, name in ((tuned.best, "the best"), (tuned.start, "the experiment's own")):
        if one is not None and one.cut is not None:
            notes.append(f"the time was too short to train {name} to the end: its score is of {one.cut} rounds")
    scheme = experiment.competition.definition.cv.scheme
    if tuned.best is not None and scheme in OTHERWISE:
        notes.append(f"scheme = {scheme!r} has no folds of another seed: the second score is {OTHERWISE[scheme]}")
    return notes


ALIKE = ("kfold", "stratified", "time")
"""Schemes whose folds tell the same about parameters, where they are large; a group may be unlike the others."""

OTHERWISE = {
    "time": "of folds that are cut at other times, one more of them",
    "custom": "of another seed of the model on the same folds",
}
"""What stands in for folds of another seed."""


def find_study(competition: Competition, number: int, *, storage: str | None = None) -> tuple[Any, Path]:
    """Return the study of an experiment, to look at, and its folder.

    Raises
    ------
    NotFoundError
        When there is none.
    """
    folder = competition.study_folder(number)
    study = read_study(folder, f"{competition.slug}-{number:03d}", url=storage)
    if study is None:
        raise NotFoundError(
            f"experiment {number} of {competition.slug!r} has no study in {folder}",
            hint=f"`wb tune --exp {number} --minutes 10` begins one",
        )
    return study, folder
