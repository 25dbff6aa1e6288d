"""Select columns of an experiment: compute their importance, score the selected list, and write it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.analysis.selection.elimination import (
    EliminationResult,
    StepsFile,
    TimeLimit,
    TimeLimitError,
    eliminate,
)
from workbench.analysis.selection.groups import (
    Group,
    column_groups,
    feature_by_column,
    features_with_columns,
    with_columns,
)
from workbench.analysis.selection.importance import (
    FixedRounds,
    GroupImportance,
    SelectionScore,
    counting_models,
    models_of,
    scored,
    selection_model,
)
from workbench.analysis.selection.methods import (
    importance_by_gain,
    importance_by_permutation,
    importance_by_shuffled_target,
    max_passing_by_chance,
)
from workbench.analysis.selection.options import SelectionOptions
from workbench.core.cache import content_key, lock
from workbench.core.context import SILENT, RunContext
from workbench.core.errors import ConfigError, FeatureError, MemoryLimitError
from workbench.data.competition import Competition
from workbench.data.workspace import Workspace
from workbench.experiments.feature_list import FeatureList, check_list_name, read_list, write_list
from workbench.experiments.held_out import last_fold, only_fold, without_last_fold
from workbench.experiments.optimistic import SELECTED
from workbench.experiments.ready import ReadyExperiment, ready
from workbench.models.learner import ModelSpec
from workbench.models.records import Problem

__all__ = ["ListRequest", "Selection", "select"]

HOLDOUT_TIME_SHARE = 0.1
"""The share of a search's time that is reserved for the scores on held-out rows."""


@dataclass(frozen=True)
class ListRequest:
    """The name of the list to write, and the rows to use.

    Attributes
    ----------
    name : str, or None
        None for the experiment and the method, such as "012-null".
    force : bool
        Replace an existing list of that name, even if it was made otherwise or edited.
    sample : float, or None
        The share of the train rows for a subsample run.
    """

    name: str | None = None
    force: bool = False
    sample: float | None = None


@dataclass(frozen=True)
class Selection:
    """A selected list of features, as it was written.

    Attributes
    ----------
    judged : tuple of GroupImportance
        The importance of every group of columns, the most important first.
    before, after : SelectionScore
        The scores of all columns and of the list, on the folds used for the selection: `after` is optimistic.
    held_out : tuple of two SelectionScore, or None
        The scores of all columns and of the list on the last fold, which the selection did not use.
    optimistic : str, or None
        Why `after` is better than the score on new rows; None if every column is kept.
    notes : tuple of str
        Remarks on the result.
    """

    name: str
    path: Path
    exp: int
    run_id: str | None
    method: str
    metric: str
    greater_is_better: bool
    listed: FeatureList
    judged: tuple[GroupImportance, ...]
    before: SelectionScore
    after: SelectionScore
    held_out: tuple[SelectionScore, SelectionScore] | None
    optimistic: str | None
    seconds: float
    notes: tuple[str, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """The list, as for the experiment's file."""
        return self.listed.features


def select(
    workspace: Workspace,
    competition: Competition,
    number: int,
    options: SelectionOptions,
    *,
    request: ListRequest | None = None,
    context: RunContext = SILENT,
) -> Selection:
    """Select the columns of an experiment to keep, and write them as a list that experiments can name.

    The experiment is not changed, and no run is recorded. The matrix, folds, target, metric and parameters are the
    experiment's own.

    Parameters
    ----------
    workspace, competition
    number : int
        The experiment.
    options : SelectionOptions
        The method and its parameters, from `options_of`.
    request : ListRequest, optional
        The list's name, and the rows to use.
    context : RunContext
        Receives the stages and their progress.

    Raises
    ------
    ConfigError
        When the experiment has fewer than two columns, or another list has the name.
    FeatureError
        When no column is selected.
    BusyError
        While another process creates a list of that name.
    """
    started_at = time.perf_counter()
    request = request or ListRequest()
    name = check_list_name(request.name or f"{number:03d}-{options.method}")
    with _quiet(), lock(competition.paths.runs / f".select-{name}.lock", f"the feature list {name!r}"):
        experiment = ready(workspace, competition, number, sample=request.sample, context=context)
        selection_model(experiment)
        key = content_key("select-v2", experiment.key, options.method, options.identity())
        _check_name(competition, name, key, force=request.force)
        groups = column_groups(experiment, options.by)
        _check_groups(experiment, groups)
        time_limit = TimeLimit(None if options.minutes is None else started_at + _work_seconds(60 * options.minutes))
        training_experiment, no_holdout_reason = _without_holdout(experiment, options)
        selection_run = _SelectionRun(training_experiment, groups, options, context, time_limit)
        path = competition.paths.selection(name)
        outcome = selection_run.eliminate(path) if options.method == "rfe" else selection_run.score_importance()
        held_out, problems = (
            (None, []) if no_holdout_reason else selection_run.score_held_out(outcome, experiment.problem)
        )
        optimistic = None if outcome.keeps_all else SELECTED
        caveats = [f"{SELECTED}: the list's score is optimistic; {p}" for p in (no_holdout_reason, *problems) if p]
        notes = (*outcome.notes, *(caveats if optimistic else []))
        seconds = time.perf_counter() - started_at
        feature_list = _feature_list(experiment, options, outcome, held_out, key)
        write_list(path, feature_list)
    importances = tuple(sorted(outcome.importances, key=lambda i: -i.importance))
    metric = experiment.problem.metric
    run_id = None if experiment.finished is None else experiment.finished.record.run_id
    return Selection(
        name, path, number, run_id, options.method, metric.name, metric.greater_is_better,
        feature_list, importances, outcome.before, outcome.after, held_out, optimistic, round(seconds, 2), notes,
    )  # fmt: skip


def _without_holdout(experiment: ReadyExperiment, options: SelectionOptions) -> tuple[ReadyExperiment, str]:
    """Return the experiment without the held-out rows; or the experiment itself and the reason."""
    if not options.holdout:
        return experiment, "--holdout holds out rows to score the list on"
    problem = without_last_fold(experiment.problem)
    if problem is None:
        return experiment, "there are too few folds or rows to hold some out"
    return replace(experiment, problem=problem, finished=None), ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence LightGBM's messages, as there is no run folder with a log."""
    logger = logging.getLogger("workbench")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _work_seconds(seconds: float) -> float:
    """Return the time for the work, without that for writing the result."""
    return seconds - min(1.0, 0.1 * seconds)


def _check_name(competition: Competition, name: str, key: str, *, force: bool) -> None:
    """Reject the name of an existing list that this call would not reproduce."""
    path = competition.paths.selection(name)
    if force or not path.exists():
        return
    existing = read_list(competition, name)
    if existing.made.get("key") == key and existing.is_unedited:
        return
    reason = "was made from something else" if existing.is_unedited else "was written or edited by hand"
    raise ConfigError(f"{path} already exists, and {reason}", hint="--name chooses another name, --force replaces it")


def _check_groups(experiment: ReadyExperiment, groups: Sequence[Group]) -> None:
    if len(groups) < 2:
        group_name = groups[0].name if groups else "none"
        raise ConfigError(
            f"{experiment.spec.path} has {len(groups)} column to choose from ({group_name}); expected two or more",
            hint="give the experiment more features, or choose by single columns: --by column",
        )


@dataclass(frozen=True)
class _Outcome:
    """Importances, the scores of all columns and of the list, and the elimination if there was one."""

    importances: tuple[GroupImportance, ...]
    before: SelectionScore
    after: SelectionScore
    notes: tuple[str, ...] = ()
    elimination: EliminationResult | None = None

    @property
    def keeps_all(self) -> bool:
        return all(i.keep for i in self.importances)

    def columns(self) -> list[str]:
        """Return the columns to keep."""
        return [column for i in self.importances if i.keep for column in i.group.columns]


@dataclass(frozen=True)
class _SelectionRun:
    """A selection in progress."""

    experiment: ReadyExperiment
    groups: tuple[Group, ...]
    options: SelectionOptions
    context: RunContext
    time_limit: TimeLimit

    def score_importance(self) -> _Outcome:
        """Select by one of the methods without a search, then score the list."""
        experiment, options, context = self.experiment, self.options, self.context
        self._emit_models_stage()
        models = models_of(experiment, counting_models(context, "all columns"))
        self.context.stage(options.method)
        is_certain = True
        if options.method == "gain":
            importances = importance_by_gain(models, self.groups, options)
        elif options.method == "permutation":
            importances, is_certain = importance_by_permutation(experiment, models, self.groups, options, context)
        else:
            importances, is_certain = importance_by_shuffled_target(experiment, models, self.groups, options, context)
        notes = () if is_certain else _chance_notes(importances, options)
        if options.top is not None:
            top_importances = sorted(importances, key=lambda i: -i.importance)[: options.top]
            importances = tuple(replace(i, keep=i in top_importances) for i in importances)
        outcome = _Outcome(importances, models.score, models.score, notes)
        if not outcome.columns():
            raise FeatureError(
                f"no column of {experiment.spec.path} is selected: by {options.method}, all {len(importances)} look "
                "like noise",
                hint="--top N keeps the N most important anyway; or try another --method",
            )
        if outcome.keeps_all:
            return replace(outcome, notes=(*notes, "nothing is dropped: the list has every column"))
        self.context.stage("scoring the list")
        return replace(outcome, after=self._score(experiment.problem, outcome.columns(), "the list"))

    def eliminate(self, list_path: Path) -> _Outcome:
        """Search by recursive elimination."""
        experiment, options = self.experiment, self.options
        key = content_key("rfe-v3", experiment.key, experiment.problem.folds.content, options.step, options.by)
        file = StepsFile(list_path.with_name(f"{list_path.stem}.steps.json"), key)
        self._emit_models_stage()
        reserved_seconds = HOLDOUT_TIME_SHARE * 60 * (options.minutes or 0) if options.holdout else 0.0
        context = replace(self.context, check_stop=self.time_limit.earlier(reserved_seconds).check)
        elimination = eliminate(experiment, self.groups, options, file, context=context)
        notes = []
        if elimination.n_resumed:
            notes.append(f"resumed from {elimination.n_resumed} finished steps in {file.path.name}")
        if elimination.stop_reason != "done":
            reasons = {"time": "the time is over", "memory": "the memory limit is reached"}
            reason = reasons.get(elimination.stop_reason, "the number of trials is reached")
            notes.append(
                f"{reason} after {len(elimination.steps) - 1} smaller lists: with more, a smaller one may be found"
            )
        if elimination.best.groups != elimination.chosen.groups:
            n_best = len(elimination.best.groups)
            notes.append(
                f"the best list, {elimination.best.mean:.6g}, has {n_best} groups: it is under [best] in the file"
            )
        first_step, chosen_step = elimination.steps[0], elimination.chosen
        before, after = (SelectionScore(step.folds, step.seconds, step.rounds) for step in (first_step, chosen_step))
        return _Outcome(elimination.importances, before, after, tuple(notes), elimination)

    def score_held_out(
        self, outcome: _Outcome, problem: Problem
    ) -> tuple[tuple[SelectionScore, SelectionScore] | None, list[str]]:
        """Score all columns and the list on the held-out rows of the last fold.

        The models have the mean number of rounds of the other folds' models, so that these rows do not affect them.

        Returns
        -------
        scores : tuple of two SelectionScore, or None
        problems : list of str
            Why there are no scores.
        """
        if outcome.keeps_all:
            return None, []
        self.context.stage("rows held out")
        last_fold_problem = only_fold(problem, last_fold(problem))
        all_columns = [column for group in self.groups for column in group.columns]
        try:
            scores = (
                self._score(last_fold_problem, all_columns, "rows held out, all columns", outcome.before.rounds),
                self._score(last_fold_problem, outcome.columns(), "rows held out, the list", outcome.after.rounds),
            )
        except TimeLimitError:
            return None, ["there was no time left for the rows held out"]
        except MemoryLimitError as exc:
            return None, [f"the rows held out are not scored: {exc.message}"]
        return scores, []

    def _score(
        self, problem: Problem, columns: Sequence[str], label: str, rounds: tuple[int, ...] = ()
    ) -> SelectionScore:
        """Score columns by CV; with `rounds`, models that would stop early have this many rounds for each target."""
        experiment, lightgbm = self.experiment, selection_model(self.experiment)
        model: ModelSpec = FixedRounds(lightgbm, rounds) if rounds and lightgbm.patience else lightgbm
        _, score = scored(
            experiment,
            with_columns(problem, columns),
            model,
            context=counting_models(replace(self.context, check_stop=self.time_limit.check), label),
        )
        return score

    def _emit_models_stage(self) -> None:
        finished = self.experiment.finished
        self.context.stage(
            "training on all columns" if finished is None else f"the models of run {finished.record.run_id}"
        )


def _chance_notes(importances: Sequence[GroupImportance], options: SelectionOptions) -> tuple[str, ...]:
    """Return a note if no more columns pass than could by chance if all were noise."""
    share = {"permutation": options.alpha, "null": 1 - options.percentile / 100}.get(options.method)
    n_selected = sum(i.keep for i in importances)
    if share is None or not 0 < share < 1 or not 0 < n_selected <= max_passing_by_chance(len(importances), share):
        return ()
    return (
        f"{n_selected} of {len(importances)} pass, as many as may by chance where all are noise: do not trust this "
        "list",
    )


# ------------------------------------------------------------------------------------------------------ the list


def _feature_list(
    experiment: ReadyExperiment,
    options: SelectionOptions,
    outcome: _Outcome,
    held_out: tuple[SelectionScore, SelectionScore] | None,
    key: str,
) -> FeatureList:
    """Return the list as it is written: the features, their provenance, scores and importances."""
    features = features_with_columns(experiment, outcome.columns())
    n_selected = sum(i.keep for i in outcome.importances)
    scores: dict[str, Any] = {"metric": experiment.problem.metric.name}
    scores |= {"before": outcome.before.as_dict(), "after": outcome.after.as_dict()}
    if not outcome.keeps_all:
        scores["optimistic"] = SELECTED
    if held_out is not None:
        scores |= {"held_out_before": held_out[0].as_dict(), "held_out_after": held_out[1].as_dict()}
    ordered_importances = sorted(outcome.importances, key=lambda i: -i.importance)
    feature_of_column = feature_by_column(experiment)
    return FeatureList(
        features,
        title=f"{experiment.spec.number:03d} by {options.method}: {n_selected} of {len(outcome.importances)}",
        made=_provenance(experiment, options, key),
        scores=scores,
        kept=_table((i for i in ordered_importances if i.keep), feature_of_column),
        dropped=_table((i for i in ordered_importances if not i.keep), feature_of_column),
        best=_best(experiment, outcome, ordered_importances),
    )


def _provenance(experiment: ReadyExperiment, options: SelectionOptions, key: str) -> dict[str, Any]:
    """Return what the list was made from, for the list's file."""
    finished, problem = experiment.finished, experiment.problem
    return {
        "experiment": experiment.spec.number,
        **({"run": finished.record.run_id} if finished else {}),
        "method": options.method,
        "parameters": options.parameters(),
        "at": datetime.now(UTC).replace(microsecond=0),
        "rows": problem.target.n_rows,
        "data": experiment.competition.manifest.content,
        "key": key,
        "drop": list(experiment.spec.drop),
    }


def _table(importances: Iterable[GroupImportance], feature_of_column: dict[str, str]) -> dict[str, Any]:
    """Return the figures of each column for the list's file, rounded."""
    table: dict[str, Any] = {}
    for i in importances:
        figures = {"importance": i.importance, "spread": i.spread, **i.more}
        rounded_figures: dict[str, Any] = {name: float(f"{value:.6g}") for name, value in figures.items()}
        if len(i.group.columns) > 1:
            rounded_figures["with"] = i.group.name
        table |= {column: rounded_figures | {"of": feature_of_column[column]} for column in i.group.columns}
    return table


def _best(
    experiment: ReadyExperiment, outcome: _Outcome, ordered_importances: Sequence[GroupImportance]
) -> dict[str, Any]:
    """Return the best list for the list's file, if it is not the chosen one."""
    elimination = outcome.elimination
    if elimination is None or elimination.best.groups == elimination.chosen.groups:
        return {}
    best_step = elimination.best
    columns = [column for i in ordered_importances if i.group.name in best_step.groups for column in i.group.columns]
    return {
        "features": list(features_with_columns(experiment, columns)),
        "mean": best_step.mean,
        "folds": list(best_step.folds),
    }
