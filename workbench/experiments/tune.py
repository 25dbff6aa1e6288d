"""Tuning an experiment: its problem, its study beside the runs, and what the search found."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.core.cache import content_key
from workbench.core.context import SILENT, RunContext, text_listener
from workbench.core.errors import ConfigError, MemoryLimitError, NotFoundError
from workbench.core.memory import default_limit
from workbench.core.user_code import dropping
from workbench.data.competition import Competition
from workbench.data.workspace import Workspace
from workbench.experiments.best_parameters import BestParameters, SearchedParameters
from workbench.experiments.held_out import last_fold, on_folds, without_last_fold, without_rows
from workbench.experiments.optimistic import TUNED
from workbench.experiments.other_folds import on_other_folds
from workbench.experiments.plan import untuned_key
from workbench.experiments.ready import ReadyExperiment, find_finished, lightgbm_of, ready
from workbench.experiments.run import RunOutcome, log_file, run
from workbench.experiments.runner import USUAL, RunRequest
from workbench.experiments.spec import TuneSpec, read_spec
from workbench.experiments.tune_space import search_space
from workbench.experiments.tuned_parameters import tuned_parameters
from workbench.ledger import RunRecord
from workbench.models.lightgbm.fold_scorer import FoldScorer
from workbench.models.lightgbm.learner import LightGBMSpec
from workbench.models.lightgbm.parameters import lightgbm_defaults, primary_name
from workbench.models.records import Problem
from workbench.tuning import (
    SCORES_VERSION,
    Budget,
    OpenStudy,
    Progress,
    Scorers,
    Search,
    SearchOptions,
    SearchResult,
    Space,
    StudyKey,
    StudyState,
    initial_point,
    open_study,
    read_study,
)

__all__ = [
    "TuneOutcome",
    "TuneRequest",
    "as_text",
    "find_study",
    "run_tuned",
    "tune",
]

Report = Callable[[str], None]
ROOM_SHARE = 4
"""The folds' datasets that are kept between trials may take a quarter of the memory limit, of what is left of it."""


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
    holdout: bool | None = None
    started_at: float | None = None
    only_rest: bool = False


@dataclass(frozen=True)
class TuneOutcome:
    """What tuning found.

    Attributes
    ----------
    tuned : SearchResult
    parameters : dict
        The best ones for ``[model]``; the experiment's own where no trial finished.
    space : Space
    before : RunRecord, or None
        The experiment's finished run.
    folder : Path
        The study's.
    notes : tuple of str
    optimistic : str, or None
        Why the scores of what was found are better than on new rows, but for that of rows held out; None where nothing
        new was found.
    """

    tuned: SearchResult
    parameters: dict[str, Any]
    space: Space
    before: RunRecord | None
    folder: Path
    notes: tuple[str, ...]
    optimistic: str | None = None


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
    report, say, progress = dropping(report), dropping(say or report), dropping(progress)
    context = RunContext((text_listener(report),), threads=request.threads)
    experiment = ready(workspace, competition, number, context=context)
    tuning = _tune_spec(experiment, request)
    spec = lightgbm_of(
        experiment, because="LightGBM's parameters are tuned", hint="tune an experiment that has [model]"
    )
    space = search_space(experiment, spec, tuning)
    folder = competition.paths.study(number)
    rows = _rows_of_search(experiment, tuning)
    scorer = FoldScorer(rows.problem, spec, room=0)

    def fitting(problem: Problem) -> FoldScorer:
        try:
            room = memory.room_for(problem)
        except MemoryLimitError:
            scorer.release()  # its kept folds are in the way, and can be made again
            room = memory.room_for(problem)
        return FoldScorer(problem, spec, room=room)

    def other_folds() -> FoldScorer | None:
        problem = rows.on_other_folds()
        return None if problem is None else fitting(problem)

    def holdout() -> FoldScorer | None:
        return fitting(experiment.problem) if rows.holds_out else None

    key = _key(experiment, rows.problem, spec, space)
    metric = experiment.problem.metric
    with (
        open_study(
            folder, key, greater_is_better=metric.greater_is_better, url=request.storage, seed=tuning.seed
        ) as opened,
        log_file(folder),
    ):
        for line in opened.notes:
            say(line)
        budget = _budget(tuning, started, opened.study if request.only_rest else None)
        if budget is None:
            budget = _for_edited(opened.study, initial_point(space, spec.parameters), started)
        memory = _Memory(experiment, replace(spec, parameters=spec.parameters | space.largest), opened)
        if budget is not None:
            scorer.room = memory.room_for(experiment.problem)
        options = SearchOptions(budget or Budget(started), tuning.keep, competition.definition.cv.scheme not in ALIKE)
        search = Search(opened, Scorers(scorer, other_folds, holdout), space, options, progress)
        tuned = search.run() if budget is not None else search.result()
    parameters = tuned_parameters(tuned, spec, space, experiment.spec.model)
    before = None if experiment.finished is None else experiment.finished.record
    outcome = TuneOutcome(
        tuned,
        parameters,
        space,
        before,
        folder,
        (*_notes(tuned, experiment, initial_point(space, spec.parameters), before), *rows.notes, *tuned.notes),
        None if tuned.best is None or tuned.best == tuned.initial else TUNED,
    )
    if tuned.best is not None:
        _write_best(experiment, spec, space, outcome)
    return outcome


def _write_best(experiment: ReadyExperiment, spec: LightGBMSpec, space: Space, outcome: TuneOutcome) -> None:
    """Write ``best.json``: the parameters, what they are of, and which of them the search changed."""
    parameters, tuned = outcome.parameters, outcome.tuned
    names = {primary_name(key, where="[model]"): key for key in parameters}
    is_new = tuned.best != tuned.initial
    searched = {n: parameters[names[n]] for n in space.names if is_new and n in names}
    before = lightgbm_defaults() | spec.parameters
    changed = [n for n, value in searched.items() if before.get(n) != value]
    tune_content = None if experiment.spec.tune is None else experiment.spec.tune.content()
    best = BestParameters(parameters, tune_content, experiment.untuned, SearchedParameters(searched, changed))
    best.write(outcome.folder)


@dataclass(frozen=True)
class _Memory:
    """What a search may take, beside others that work on the study on this machine.

    Attributes
    ----------
    model : LightGBMSpec
        The largest that is searched.
    """

    experiment: ReadyExperiment
    model: LightGBMSpec
    opened: OpenStudy

    def room_for(self, problem: Problem) -> int:
        """Ask for the memory that trials on a problem take; return what datasets that are kept may take beside it.

        Raises
        ------
        MemoryLimitError
        """
        experiment, seeds = self.experiment, (1,)
        with self.opened.locked():
            # What was free when this process began, others may have taken since, or be about to take.
            limit = experiment.blocks.limit_bytes
            if experiment.blocks.memory_limit is None:
                limit = max(1, min(limit, default_limit() - self.opened.promised_to_others()))
            granted = experiment.ask_memory(problem, self.model, seeds=seeds, limit=limit)
            room = max(0, min(granted.spare_bytes, limit // ROOM_SHARE))
            self.opened.promise(granted.foreseen_bytes + room)
        return room


@dataclass(frozen=True)
class _Rows:
    """What a search sees of an experiment's rows.

    Attributes
    ----------
    problem : Problem
    holds_out : bool
        Whether the rows of the experiment's last fold are not among them.
    """

    experiment: ReadyExperiment
    problem: Problem
    holds_out: bool
    notes: tuple[str, ...]

    def on_other_folds(self) -> Problem | None:
        """Return the problem on other folds of these rows; None where there are none."""
        problem, all_rows = on_other_folds(self.experiment), self.experiment.problem
        if problem is None or not self.holds_out:
            return problem
        folds = without_rows(problem.folds, all_rows.folds.valid_rows(last_fold(all_rows)))
        return None if folds is None else on_folds(problem, folds)


def _rows_of_search(experiment: ReadyExperiment, tuning: TuneSpec) -> _Rows:
    problem = without_last_fold(experiment.problem) if tuning.holdout else None
    notes = []
    if problem is None:
        why = "there are too few folds or rows to hold some out" if tuning.holdout else "no rows were held out"
        notes.append(f"{TUNED}: {why}, so that every score is of rows that the search has seen")
    return _Rows(experiment, experiment.problem if problem is None else problem, problem is not None, tuple(notes))


def _budget(tuning: TuneSpec, started: float, before: Any) -> Budget | None:
    """Return what may be spent; less what was spent `before`, and None where that was enough."""
    seconds = None if tuning.minutes is None else 60 * tuning.minutes
    trials = tuning.trials
    if before is not None:
        spent = StudyState(before).spent_s()
        if seconds is not None:
            seconds = max(0.0, seconds - spent) if spent < 0.95 * seconds else 0.0
        if trials is not None:
            trials = max(0, trials - sum(t.state.is_finished() for t in before.get_trials(deepcopy=False)))
        if seconds == 0.0 or trials == 0:
            return None
    return Budget(started, None if seconds is None else started + seconds, trials)


def _for_edited(study: Any, initial: Mapping[str, Any] | None, started: float) -> Budget | None:
    """Return what scores the experiment's own parameters where they were edited since all of the time was spent."""
    trials = study.get_trials(deepcopy=False)
    if initial is None or any(t.params == initial and t.state.is_finished() for t in trials):
        return None
    waiting = sum(not t.state.is_finished() for t in trials)
    return Budget(started, None, waiting + 1)


def run_tuned(
    workspace: Workspace,
    competition: Competition,
    number: int,
    request: RunRequest = USUAL,
    context: RunContext = SILENT,
) -> RunOutcome:
    """Run an experiment like `run`; where it has ``[tune]``, search first for what is left of its time.

    A subsample run is not tuned.
    """
    spec = read_spec(competition, number)
    if spec.tune is None or request.sample is not None:
        return run(workspace, competition, number, request, context)
    best = BestParameters.read(competition.paths.study(number))
    # The best for another [tune] or [model], other features or folds is none of this experiment's.
    if best is not None and best.tune != spec.tune.content():
        best = None
    if best is not None and best.untuned_key != untuned_key(workspace, competition, number):
        best = None
    model = None if best is None else best.model
    if model is None or find_finished(workspace, competition, number, model=model) is None:
        of_study = TuneRequest(storage=request.storage, threads=context.threads, only_rest=True)
        outcome = tune(workspace, competition, number, of_study, report=context.stage, progress=_Lines(context.stage))
        for line in outcome.notes:
            context.say(line)
        model = outcome.parameters
    return run(workspace, competition, number, replace(request, model=model), context)


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
    remaining = "" if at.remaining_s is None else f", {at.remaining_s / 60:.1f} min left"
    failed = f", {at.failed} failed" if at.failed else ""
    return f"{at.stage}: {at.complete} trials, {at.pruned} pruned{failed}{best}{remaining}"


def _tune_spec(experiment: ReadyExperiment, request: TuneRequest) -> TuneSpec:
    """Return what is asked for: the command before the file."""
    spec = experiment.spec.tune or TuneSpec()
    if request.minutes is not None and not 0 < request.minutes < math.inf:
        raise ConfigError(f"minutes = {request.minutes}: expected a number above 0", hint="--minutes 30")
    if request.minutes is not None or request.trials is not None:
        spec = replace(spec, minutes=request.minutes, trials=request.trials)
    if request.keep is not None:
        spec = replace(spec, keep=request.keep)
    if request.seed is not None:
        spec = replace(spec, seed=request.seed)
    if request.holdout is not None:
        spec = replace(spec, holdout=request.holdout)
    if spec.minutes is None and spec.trials is None:
        raise ConfigError(
            f"{experiment.spec.path}: how long to tune is not said",
            hint="--minutes 30 or --trials 100, or minutes = 30 under [tune]",
        )
    return spec


def _key(experiment: ReadyExperiment, problem: Problem, spec: LightGBMSpec, space: Space) -> StudyKey:
    content = spec.content()
    searched = set(space.names)
    fixed = {k: v for k, v in content.items() if k != "parameters"} | {
        "parameters": {k: v for k, v in content["parameters"].items() if k not in searched}
    }
    # Scores of trials that stopped by another rule can't be compared.
    least = {"least": spec.parameters["early_stopping_min_delta"]} if _stops_by_least(spec) else {}
    parts = {
        "features": experiment.matrix_key,
        "folds": problem.folds.content,
        "target": experiment.target_key,
        "space": content_key("space", space.content()),
        "model": content_key("model", fixed),
        "search": content_key(SCORES_VERSION, least) if least else SCORES_VERSION,
    }
    return StudyKey(f"{experiment.competition.slug}-{experiment.spec.number:03d}", parts)


def _stops_by_least(spec: LightGBMSpec) -> bool:
    return bool(spec.patience and spec.parameters.get("early_stopping_min_delta"))


def _notes(
    tuned: SearchResult, experiment: ReadyExperiment, initial: Mapping[str, Any] | None, before: Any
) -> list[str]:
    notes = []
    if tuned.best is None:
        score = f"; its score stays: {before.cv_mean:.5f}" if before is not None and before.cv_mean is not None else ""
        notes.append(f"no trial finished within the time: the experiment's own parameters are kept{score}")
    if tuned.best is not None and tuned.best == tuned.initial:
        notes.append("nothing found is better than the experiment's own parameters")
    if initial is None:
        notes.append("the experiment's own parameters lie outside of the space, so they were not tried")
    for one, name in ((tuned.best, "the best"), (tuned.initial, "the experiment's own")):
        if one is not None and one.cut is not None:
            notes.append(f"the time was too short to train {name} to the end: its score is of {one.cut} rounds")
    if tuned.best is not None and experiment.competition.definition.cv.scheme == "time":
        notes.append("the second score is of folds that are cut at other times, one more of them")
    if experiment.spec.pseudo is not None:
        notes.append("[pseudo] has no part in the search: every score is without it")
    return notes


ALIKE = ("kfold", "stratified", "time")
"""Schemes whose folds tell the same about parameters, where they are large; a group may be unlike the others."""


def find_study(competition: Competition, number: int, *, storage: str | None = None) -> tuple[Any, Path]:
    """Return the study of an experiment, to look at, and its folder.

    Raises
    ------
    NotFoundError
        When there is none.
    """
    folder = competition.paths.study(number)
    study = read_study(folder, f"{competition.slug}-{number:03d}", url=storage)
    if study is None:
        raise NotFoundError(
            f"experiment {number} of {competition.slug!r} has no study in {folder}",
            hint=f"`wb tune {number} --minutes 10` begins one",
        )
    return study, folder
