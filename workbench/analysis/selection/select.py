"""Select the columns of an experiment: compute their importance, score the selected list, write it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.analysis.selection.elimination import Deadline, EliminationResult, TimeIsUpError, eliminate
from workbench.analysis.selection.groups import Group, groups_of, list_of, only, origins
from workbench.analysis.selection.importance import (
    FixedRounds,
    GroupImportance,
    SelectionScore,
    counting_models,
    judging_model,
    models_of,
    scored,
)
from workbench.analysis.selection.methods import (
    by_chance,
    judge_by_gain,
    judge_by_permutation,
    judge_by_shuffled_target,
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

RESERVED = 0.1
"""The share of a search's time that is set aside for the scores on rows that are held out."""


@dataclass(frozen=True)
class ListRequest:
    """The list's name, and the rows and threads to use.

    Attributes
    ----------
    name : str, or None
        The list's; None for "012-null".
    force : bool
        Replace a list of that name that was made from something else, or edited.
    sample : float, or None
        A share of the train rows, for a subsample run.
    threads : int, or None
        None for all available cores.
    """

    name: str | None = None
    force: bool = False
    sample: float | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Selection:
    """A selected list of features, as it was written.

    Attributes
    ----------
    judged : tuple of GroupImportance
        Every group of columns, the most important first.
    before, after : SelectionScore
        All columns and the list, on the folds that the list was selected on: `after` is optimistic.
    held_out : tuple of two SelectionScore, or None
        All columns and the list on the rows of the competition's last fold, which the selection did not use.
    optimistic : str, or None
        Why `after` is better than the score on new rows; None where every column is kept.
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
        """The list, as an experiment's file has it."""
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
        The method and its parameters, as `options_of` gives them.
    request : ListRequest, optional
        The list's name, and a share of the rows.
    context : RunContext
        Told of each step, and of how much of it is done.

    Raises
    ------
    ConfigError
        Where the experiment has fewer than two columns, or another list has the name.
    FeatureError
        When no column is selected.
    BusyError
        When another process creates the list of that name.
    """
    started = time.perf_counter()
    request = request or ListRequest()
    name = check_list_name(request.name or f"{number:03d}-{options.method}")
    with _quiet(), lock(competition.paths.runs / f".select-{name}.lock", f"the feature list {name!r}"):
        context = replace(context, threads=request.threads or context.threads)
        experiment = ready(workspace, competition, number, sample=request.sample, context=context)
        judging_model(experiment)
        key = content_key("select-v2", experiment.key, options.method, options.identity())
        _check_name(competition, name, key, force=request.force)
        groups = groups_of(experiment, options.by)
        _check_groups(experiment, groups)
        clock = Deadline(None if options.minutes is None else started + _until_written(60 * options.minutes))
        visible, no_holdout = _without_holdout(experiment, options)
        work = _SelectionRun(visible, groups, options, context, clock)
        outcome = work.eliminated(competition.paths.selection(name)) if options.method == "rfe" else work.judged()
        held_out, problems = (None, []) if no_holdout else work.held_out(outcome, experiment.problem)
        optimistic = None if all(j.keep for j in outcome.judged) else SELECTED
        caveats = [f"{SELECTED}: the list's score is optimistic; {w}" for w in (no_holdout, *problems) if w]
        notes = (*outcome.notes, *(caveats if optimistic else []))
        seconds = time.perf_counter() - started
        feature_list = _listed(experiment, options, outcome, held_out, key)
        path = competition.paths.selection(name)
        write_list(path, feature_list)
    judged = tuple(sorted(outcome.judged, key=lambda j: -j.importance))
    metric = experiment.problem.metric
    run_id = None if experiment.finished is None else experiment.finished.record.run_id
    return Selection(
        name, path, number, run_id, options.method, metric.name, metric.greater_is_better,
        feature_list, judged, outcome.before, outcome.after, held_out, optimistic, round(seconds, 2), notes,
    )  # fmt: skip


def _without_holdout(experiment: ReadyExperiment, options: SelectionOptions) -> tuple[ReadyExperiment, str]:
    """Return the experiment without the held-out rows, or as it is, with the reason."""
    if not options.holdout:
        return experiment, "--holdout holds out rows to score the list on"
    problem = without_last_fold(experiment.problem)
    if problem is None:
        return experiment, "there are too few folds or rows to hold some out"
    return replace(experiment, problem=problem, finished=None), ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence LightGBM's messages: there is no run folder with a log for them."""
    logger = logging.getLogger("workbench")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _until_written(seconds: float) -> float:
    """Return the time available until the result has to be written."""
    return seconds - min(1.0, 0.1 * seconds)


def _check_name(competition: Competition, name: str, key: str, *, force: bool) -> None:
    """Refuse to replace a list that this call would not reproduce; checked before the work."""
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
        only_one = groups[0].name if groups else "none"
        raise ConfigError(
            f"{experiment.spec.path} has {len(groups)} column to choose from ({only_one}); expected two or more",
            hint="give the experiment more features, or choose by single columns: --by column",
        )


@dataclass(frozen=True)
class _Outcome:
    judged: tuple[GroupImportance, ...]
    before: SelectionScore
    after: SelectionScore
    notes: tuple[str, ...] = ()
    eliminated: EliminationResult | None = None

    def columns(self) -> list[str]:
        return [c for j in self.judged if j.keep for c in j.group.columns]


@dataclass(frozen=True)
class _SelectionRun:
    """A selection in progress."""

    experiment: ReadyExperiment
    groups: tuple[Group, ...]
    options: SelectionOptions
    context: RunContext
    clock: Deadline

    def judged(self) -> _Outcome:
        """Judge by one of the methods that train no list, then score label is left."""
        experiment, options, context = self.experiment, self.options, self.context
        self._say_models()
        models = models_of(experiment, counting_models(context, "all columns"))
        self.context.stage(options.method)
        certain = True
        if options.method == "gain":
            judged = judge_by_gain(models, self.groups, options)
        elif options.method == "permutation":
            judged, certain = judge_by_permutation(experiment, models, self.groups, options, context)
        else:
            judged, certain = judge_by_shuffled_target(experiment, models, self.groups, options, context)
        notes = () if certain else _notes(judged, options)
        if options.top is not None:
            top = sorted(judged, key=lambda j: -j.importance)[: options.top]
            judged = tuple(replace(j, keep=j in top) for j in judged)
        outcome = _Outcome(judged, models.scored, models.scored, notes)
        if not outcome.columns():
            raise FeatureError(
                f"no column of {experiment.spec.path} is selected: by {options.method}, all {len(judged)} look like "
                "noise",
                hint="--top N keeps the N most important anyway; or try another --method",
            )
        if all(j.keep for j in judged):
            return replace(outcome, notes=(*notes, "nothing is dropped: the list has every column"))
        self.context.stage("scoring the list")
        return replace(outcome, after=self._scored(experiment.problem, outcome.columns(), "the list"))

    def eliminated(self, path: Path) -> _Outcome:
        """Search by recursive elimination."""
        experiment, options = self.experiment, self.options
        key = content_key("rfe-v3", experiment.key, experiment.problem.folds.content, options.step, options.by)
        steps = path.with_name(f"{path.stem}.steps.json")
        self._say_models()
        reserve = RESERVED * 60 * (options.minutes or 0) if options.holdout else 0.0
        search = eliminate(
            experiment, self.groups, options, steps, key=key, clock=self.clock.earlier(reserve), context=self.context
        )
        notes = []
        if search.resumed:
            notes.append(f"resumed from {search.resumed} finished steps in {steps.name}")
        if search.ended != "done":
            reasons = {"time": "the time is over", "memory": "the memory limit is reached"}
            reason = reasons.get(search.ended, "the number of trials is reached")
            notes.append(f"{reason} after {len(search.steps) - 1} smaller lists: more of it may find a smaller one")
        if search.best.groups != search.chosen.groups:
            notes.append(
                f"the best list, {search.best.mean:.6g}, has {len(search.best.groups)}: [best] in the file has it"
            )
        first, chosen = search.steps[0], search.chosen
        before, after = (SelectionScore(step.folds, step.seconds, step.rounds) for step in (first, chosen))
        return _Outcome(search.judged, before, after, tuple(notes), search)

    def held_out(
        self, outcome: _Outcome, problem: Problem
    ) -> tuple[tuple[SelectionScore, SelectionScore] | None, list[str]]:
        """Score all columns and the list on the held-out rows of the last fold.

        The models are trained as that fold's are, for the rounds of the other folds' models: these rows decide nothing.
        """
        if all(j.keep for j in outcome.judged):
            return None, []
        self.context.stage("rows held out")
        only_last = only_fold(problem, last_fold(problem))
        all_columns = [c for g in self.groups for c in g.columns]
        try:
            scores = (
                self._scored(only_last, all_columns, "rows held out, all columns", outcome.before.rounds),
                self._scored(only_last, outcome.columns(), "rows held out, the list", outcome.after.rounds),
            )
        except TimeIsUpError:
            return None, ["there was no time left for the rows held out"]
        except MemoryLimitError as exc:
            return None, [f"the rows held out are not scored: {exc.message}"]
        return scores, []

    def _scored(
        self, problem: Problem, columns: Sequence[str], label: str, rounds: tuple[int, ...] = ()
    ) -> SelectionScore:
        experiment = self.experiment
        model: ModelSpec = judging_model(experiment)
        if rounds and judging_model(experiment).patience:
            model = FixedRounds(judging_model(experiment), rounds)
        _, score = scored(
            experiment,
            only(problem, columns),
            model,
            context=counting_models(self.context, label),
            each_round=self.clock.check,
        )
        return score

    def _say_models(self) -> None:
        finished = self.experiment.finished
        self.context.stage(
            "training on all columns" if finished is None else f"the models of run {finished.record.run_id}"
        )


def _notes(judged: Sequence[GroupImportance], options: SelectionOptions) -> tuple[str, ...]:
    """Return a note where no more columns pass than would if all were noise."""
    share = {"permutation": options.alpha, "null": 1 - options.percentile / 100}.get(options.method)
    n_selected = sum(j.keep for j in judged)
    if share is None or not 0 < share < 1 or not 0 < n_selected <= by_chance(len(judged), share):
        return ()
    return (
        f"{n_selected} of {len(judged)} pass, as many as may by chance where all are noise: do not trust this list",
    )


# ------------------------------------------------------------------------------------------------------ the list


def _listed(
    experiment: ReadyExperiment,
    options: SelectionOptions,
    outcome: _Outcome,
    held_out: tuple[SelectionScore, SelectionScore] | None,
    key: str,
) -> FeatureList:
    features = list_of(experiment, outcome.columns())
    n_selected = sum(j.keep for j in outcome.judged)
    scores: dict[str, Any] = {"metric": experiment.problem.metric.name}
    scores |= {"before": outcome.before.as_dict(), "after": outcome.after.as_dict()}
    if not all(j.keep for j in outcome.judged):
        scores["optimistic"] = SELECTED
    if held_out is not None:
        scores |= {"held_out_before": held_out[0].as_dict(), "held_out_after": held_out[1].as_dict()}
    ordered, feature_of = sorted(outcome.judged, key=lambda j: -j.importance), origins(experiment)
    return FeatureList(
        features,
        title=f"{experiment.spec.number:03d} by {options.method}: {n_selected} of {len(outcome.judged)}",
        made=_provenance(experiment, options, key),
        scores=scores,
        kept=_table((j for j in ordered if j.keep), feature_of),
        dropped=_table((j for j in ordered if not j.keep), feature_of),
        best=_best(experiment, outcome, ordered),
    )


def _provenance(experiment: ReadyExperiment, options: SelectionOptions, key: str) -> dict[str, Any]:
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


def _table(judged: Iterable[GroupImportance], feature_of: dict[str, str]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for j in judged:
        numbers = {"importance": j.importance, "spread": j.spread, **j.more}
        short: dict[str, Any] = {name: float(f"{value:.6g}") for name, value in numbers.items()}
        if len(j.group.columns) > 1:
            short["with"] = j.group.name
        table |= {c: short | {"of": feature_of[c]} for c in j.group.columns}
    return table


def _best(experiment: ReadyExperiment, outcome: _Outcome, ordered: Sequence[GroupImportance]) -> dict[str, Any]:
    search = outcome.eliminated
    if search is None or search.best.groups == search.chosen.groups:
        return {}
    columns = [c for j in ordered if j.group.name in search.best.groups for c in j.group.columns]
    return {"features": list(list_of(experiment, columns)), "mean": search.best.mean, "folds": list(search.best.folds)}
