"""Tuning an experiment: the search, its study in the competition's folder, and the parameters that result."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.core.cache import content_key
from workbench.core.context import SILENT, RunContext
from workbench.core.errors import ConfigError, MemoryLimitError, NotFoundError
from workbench.core.memory import default_limit
from workbench.data.competition import Competition
from workbench.data.workspace import Workspace
from workbench.experiments.best_parameters import BestParameters, SearchedParameters
from workbench.experiments.held_out import last_fold, on_folds, without_last_fold, without_rows
from workbench.experiments.optimistic import TUNED
from workbench.experiments.other_folds import on_other_folds
from workbench.experiments.plan import untuned_key
from workbench.experiments.ready import ReadyExperiment, find_finished, lightgbm_of, ready
from workbench.experiments.run import RunOutcome, log_file, run
from workbench.experiments.runner import DEFAULT_REQUEST, RunRequest
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
    Scorers,
    Search,
    SearchOptions,
    SearchResult,
    Space,
    StudyKey,
    StudySession,
    StudyState,
    initial_point,
    open_study,
    read_study,
)

if TYPE_CHECKING:
    from optuna import Study

__all__ = ["TuneOutcome", "TuneRequest", "find_study", "run_tuned", "tune"]

DATASETS_PER_LIMIT = 4
"""Datasets that are kept between trials may take 1 / 4 of the memory limit, where that much is free. Arbitrary."""

SCHEMES_OF_SIMILAR_FOLDS = ("kfold", "stratified", "time")
"""In these schemes one large fold ranks parameters as the others do; a fold of groups may differ from the others."""


@dataclass(frozen=True)
class TuneRequest:
    """How long and how to search; None takes the value of ``[tune]``.

    Attributes
    ----------
    started_at : float, or None
        When the time began to count, on time.perf_counter; None for now.
    only_rest : bool
        Whether the time and the trials of earlier searches of the study are subtracted.
    """

    minutes: float | None = None
    trials: int | None = None
    storage: str | None = None
    keep: int | None = None
    seed: int | None = None
    holdout: bool | None = None
    started_at: float | None = None
    only_rest: bool = False


@dataclass(frozen=True)
class TuneOutcome:
    """The result of tuning an experiment.

    Attributes
    ----------
    tuned : SearchResult
    parameters : dict
        The best ``[model]``; the experiment's own where no trial finished.
    space : Space
    before : RunRecord, or None
        The experiment's finished run.
    folder : Path
        The study's.
    notes : tuple of str
    optimistic : str, or None
        Why all scores of the best parameters but the holdout score are optimistic; None where the experiment's own
        parameters are the best.
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
    context: RunContext = SILENT,
) -> TuneOutcome:
    """Search for better parameters of an experiment; a study of an earlier search is continued.

    Raises
    ------
    ConfigError
        When neither a time nor a number of trials is given, the space is invalid, or the experiment has no ``[model]``.
    """
    started_at = time.perf_counter() if request.started_at is None else request.started_at
    experiment = ready(workspace, competition, number, context=context)
    tune_spec = _tune_spec(experiment, request)
    model = lightgbm_of(
        experiment, because="LightGBM's parameters are tuned", hint="tune an experiment that has [model]"
    )
    space = search_space(experiment, model, tune_spec)
    folder = competition.paths.study(number)
    rows = _search_rows(experiment, tune_spec)
    key = _study_key(experiment, rows.problem, model, space)
    greater_is_better = experiment.problem.metric.greater_is_better
    with (
        open_study(
            folder, key, greater_is_better=greater_is_better, url=request.storage, seed=tune_spec.seed
        ) as session,
        log_file(folder),
    ):
        for note in session.notes:
            context.say(note)
        initial = initial_point(space, model.parameters)
        budget = _budget(tune_spec, started_at, session.study if request.only_rest else None)
        if budget is None:
            budget = _budget_for_edited(session.study, initial, started_at)
        largest_model = replace(model, parameters=model.parameters | space.largest)
        factory = _ScorerFactory(rows, model, _SearchMemory(experiment, largest_model, session))
        if budget is not None:
            factory.grant_memory()
        options = SearchOptions(
            budget or Budget(started_at),
            tune_spec.keep,
            all_folds=competition.definition.cv.scheme not in SCHEMES_OF_SIMILAR_FOLDS,
        )
        search = Search(session, factory.scorers(), space, options, context)
        tuned = search.run() if budget is not None else search.result()
    before = None if experiment.finished is None else experiment.finished.record
    outcome = TuneOutcome(
        tuned,
        tuned_parameters(tuned, model, space, experiment.spec.model),
        space,
        before,
        folder,
        (*_notes(tuned, experiment, initial, before), *rows.notes, *tuned.notes),
        None if tuned.best is None or tuned.best == tuned.initial else TUNED,
    )
    if tuned.best is not None:
        _write_best(experiment, model, outcome)
    return outcome


def _write_best(experiment: ReadyExperiment, model: LightGBMSpec, outcome: TuneOutcome) -> None:
    """Write ``best.json``: the best ``[model]``, what it is valid for, and the parameters that the search changed."""
    best_model, tuned = outcome.parameters, outcome.tuned
    key_by_name = {primary_name(key, where="[model]"): key for key in best_model}
    is_new = tuned.best != tuned.initial
    searched = {n: best_model[key_by_name[n]] for n in outcome.space.names if is_new and n in key_by_name}
    before = lightgbm_defaults() | model.parameters
    changed = [name for name, value in searched.items() if before.get(name) != value]
    tune_content = None if experiment.spec.tune is None else experiment.spec.tune.content()
    best = BestParameters(best_model, tune_content, experiment.untuned_key, SearchedParameters(searched, changed))
    best.write(outcome.folder)


@dataclass(frozen=True)
class _SearchMemory:
    """The memory of a search, which other processes on this machine may share.

    Attributes
    ----------
    largest_model : LightGBMSpec
        The model of the space that takes the most memory.
    """

    experiment: ReadyExperiment
    largest_model: LightGBMSpec
    session: StudySession

    def room_for(self, problem: Problem) -> int:
        """Reserve the memory of trials on a problem; return the bytes that kept datasets may take in addition.

        Raises
        ------
        MemoryLimitError
            When a trial alone takes more than the limit.
        """
        experiment = self.experiment
        with self.session.locked():
            # Other processes of the study may have taken memory that was free when this one started, or announced it.
            limit_bytes = experiment.blocks.limit_bytes
            if experiment.blocks.memory_limit is None:
                limit_bytes = max(1, min(limit_bytes, default_limit() - self.session.memory_announced_by_others()))
            memory_plan = experiment.plan_memory(problem, self.largest_model, seeds=(1,), limit=limit_bytes)
            room = max(0, min(memory_plan.spare_bytes, limit_bytes // DATASETS_PER_LIMIT))
            self.session.announce_memory(memory_plan.peak_bytes + room)
        return room


class _ScorerFactory:
    """Makes the scorers of a search when a stage first needs them, each within the memory that is left.

    Attributes
    ----------
    main : FoldScorer
        On the experiment's folds; keeps no datasets before `grant_memory`.
    """

    def __init__(self, rows: _SearchRows, model: LightGBMSpec, memory: _SearchMemory) -> None:
        self._rows, self._model, self._memory = rows, model, memory
        self.main = FoldScorer(rows.problem, model, max_bytes=0)

    def grant_memory(self) -> None:
        """Let the main scorer keep datasets."""
        self.main.max_bytes = self._memory.room_for(self._rows.experiment.problem)

    def scorers(self) -> Scorers:
        """Return the scorers as a search takes them."""
        return Scorers(self.main, self._other_folds, self._holdout)

    def _other_folds(self) -> FoldScorer | None:
        problem = self._rows.on_other_folds()
        return None if problem is None else self._scorer(problem)

    def _holdout(self) -> FoldScorer | None:
        return self._scorer(self._rows.experiment.problem) if self._rows.has_holdout else None

    def _scorer(self, problem: Problem) -> FoldScorer:
        try:
            room = self._memory.room_for(problem)
        except MemoryLimitError:
            self.main.release()  # its datasets can be made again
            room = self._memory.room_for(problem)
        return FoldScorer(problem, self._model, max_bytes=room)


@dataclass(frozen=True)
class _SearchRows:
    """The rows of an experiment that a search trains and validates on.

    Attributes
    ----------
    problem : Problem
    has_holdout : bool
        Whether the validated rows of the experiment's last fold are excluded from `problem`.
    """

    experiment: ReadyExperiment
    problem: Problem
    has_holdout: bool
    notes: tuple[str, ...]

    def on_other_folds(self) -> Problem | None:
        """Return the problem on other folds of these rows; None where there are none."""
        other_problem, full_problem = on_other_folds(self.experiment), self.experiment.problem
        if other_problem is None or not self.has_holdout:
            return other_problem
        folds = without_rows(other_problem.folds, full_problem.folds.valid_rows(last_fold(full_problem)))
        return None if folds is None else on_folds(other_problem, folds)


def _search_rows(experiment: ReadyExperiment, tune_spec: TuneSpec) -> _SearchRows:
    problem = without_last_fold(experiment.problem) if tune_spec.holdout else None
    if problem is not None:
        return _SearchRows(experiment, problem, has_holdout=True, notes=())
    reason = "there are too few folds or rows for a holdout" if tune_spec.holdout else "there is no holdout"
    note = f"{TUNED}: {reason}, so every score is of rows that the search used"
    return _SearchRows(experiment, experiment.problem, has_holdout=False, notes=(note,))


def _budget(tune_spec: TuneSpec, started_at: float, continued: Study | None) -> Budget | None:
    """Return the budget of a search, less what the `continued` study has spent; None where nothing is left."""
    seconds = None if tune_spec.minutes is None else 60 * tune_spec.minutes
    n_trials = tune_spec.trials
    if continued is not None:
        spent_s = StudyState(continued).spent_s()
        if seconds is not None:
            seconds = max(0.0, seconds - spent_s) if spent_s < 0.95 * seconds else 0.0
        if n_trials is not None:
            n_trials = max(0, n_trials - sum(t.state.is_finished() for t in continued.get_trials(deepcopy=False)))
        if seconds == 0.0 or n_trials == 0:
            return None
    return Budget(started_at, None if seconds is None else started_at + seconds, n_trials)


def _budget_for_edited(study: Study, initial: Mapping[str, Any] | None, started_at: float) -> Budget | None:
    """Return a budget that scores the experiment's own parameters where the study has no trial of them.

    They were edited after the study had spent its time.
    """
    trials = study.get_trials(deepcopy=False)
    if initial is None or any(t.params == initial and t.state.is_finished() for t in trials):
        return None
    n_queued = sum(not t.state.is_finished() for t in trials)
    return Budget(started_at, None, n_queued + 1)


def run_tuned(
    workspace: Workspace,
    competition: Competition,
    number: int,
    request: RunRequest = DEFAULT_REQUEST,
    context: RunContext = SILENT,
) -> RunOutcome:
    """Run an experiment as `run` does; one with ``[tune]`` is tuned first, within its remaining time.

    A subsample run is not tuned.
    """
    spec = read_spec(competition, number)
    if spec.tune is None or request.sample is not None:
        return run(workspace, competition, number, request, context)
    best = BestParameters.read(competition.paths.study(number))
    # The best for another [tune] or [model], other features or folds does not apply.
    if best is not None and best.tune != spec.tune.content():
        best = None
    if best is not None and best.untuned_key != untuned_key(workspace, competition, number):
        best = None
    model = None if best is None else best.model
    if model is None or find_finished(workspace, competition, number, model=model) is None:
        tune_request = TuneRequest(storage=request.storage, only_rest=True)
        outcome = tune(workspace, competition, number, tune_request, context)
        for note in outcome.notes:
            context.say(note)
        model = outcome.parameters
    return run(workspace, competition, number, replace(request, model=model), context)


def _tune_spec(experiment: ReadyExperiment, request: TuneRequest) -> TuneSpec:
    """Return ``[tune]`` with the values of the request in place of its own.

    Raises
    ------
    ConfigError
        When neither gives a time or a number of trials.
    """
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
            f"{experiment.spec.path}: neither minutes nor trials of tuning are given",
            hint="--minutes 30 or --trials 100, or minutes = 30 under [tune]",
        )
    return spec


def _study_key(experiment: ReadyExperiment, problem: Problem, model: LightGBMSpec, space: Space) -> StudyKey:
    model_content = model.content()
    searched = set(space.names)
    not_searched = {name: value for name, value in model_content["parameters"].items() if name not in searched}
    # Trials that stopped by different rules have no comparable scores.
    stops_by_min_delta = bool(model.patience and model.parameters.get("early_stopping_min_delta"))
    stopping = {"least": model.parameters["early_stopping_min_delta"]} if stops_by_min_delta else {}
    parts = {
        "features": experiment.matrix_key,
        "folds": problem.folds.content,
        "target": experiment.target_key,
        "space": content_key("space", space.content()),
        "model": content_key("model", {**model_content, "parameters": not_searched}),
        "search": content_key(SCORES_VERSION, stopping) if stopping else SCORES_VERSION,
    }
    return StudyKey(f"{experiment.competition.slug}-{experiment.spec.number:03d}", parts)


def _notes(
    tuned: SearchResult, experiment: ReadyExperiment, initial: Mapping[str, Any] | None, before: RunRecord | None
) -> list[str]:
    notes = []
    if tuned.best is None:
        score = f", with their score {before.cv_mean:.5f}" if before is not None and before.cv_mean is not None else ""
        notes.append(f"no trial finished within the time: the experiment's own parameters are kept{score}")
    if tuned.best is not None and tuned.best == tuned.initial:
        notes.append("no trial is better than the experiment's own parameters")
    if initial is None:
        notes.append("the experiment's own parameters are outside the search space, so they were not scored")
    for scored, name in ((tuned.best, "the best parameters"), (tuned.initial, "the experiment's own parameters")):
        if scored is not None and scored.rounds_at_time_limit is not None:
            notes.append(
                f"the time was too short to finish training {name}: "
                f"the score is of {scored.rounds_at_time_limit} rounds"
            )
    cv = experiment.competition.definition.cv
    if tuned.best is not None and cv.scheme == "time":
        notes.append(
            "repeated CV has one fold more, with folds that are cut at other times"
            if cv.horizon is None
            else "repeated CV is of windows that lie half their length earlier"
        )
    if experiment.spec.pseudo is not None:
        notes.append("[pseudo] is not used while tuning: all scores are without it")
    return notes


def find_study(competition: Competition, number: int, *, storage: str | None = None) -> tuple[Study, Path]:
    """Return the study of an experiment, for reading, and its folder.

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
