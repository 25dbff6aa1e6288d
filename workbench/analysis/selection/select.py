"""The use case: judge an experiment's columns, score the list that is left, write it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.analysis.selection.elimination import Clock, Eliminated, TimeIsUpError, eliminate
from workbench.analysis.selection.groups import Group, groups_of, list_of, only, origins
from workbench.analysis.selection.judged import (
    FixedRounds,
    Judged,
    Scored,
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
from workbench.analysis.selection.options import Options
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

__all__ = ["Request", "Selection", "select"]

RESERVED = 0.1
"""The share of a search's time that is set aside for the scores on rows that are held out."""


@dataclass(frozen=True)
class Request:
    """Where the list goes, and from how many rows it is made.

    Attributes
    ----------
    name : str, or None
        The list's; None for "012-null".
    force : bool
        Replace a list of that name that was made from something else, or edited.
    sample : float, or None
        A share of the train rows, for a subsample run.
    threads : int, or None
        None for as many as the process may use.
    """

    name: str | None = None
    force: bool = False
    sample: float | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Selection:
    """A list of features that was found and written.

    Attributes
    ----------
    judged : tuple of Judged
        Every group of columns, the most important first.
    before, after : Scored
        All columns and the list, on the folds that the list was chosen by: `after` is optimistic.
    held_out : tuple of two Scored, or None
        All columns and the list on the rows of the competition's last fold, which the list was chosen without.
    optimistic : str, or None
        Why `after` is better than the score on new rows; None where every column is kept.
    notes : tuple of str
        What there is to say about the result.
    """

    name: str
    path: Path
    exp: int
    run_id: str | None
    method: str
    metric: str
    greater_is_better: bool
    listed: FeatureList
    judged: tuple[Judged, ...]
    before: Scored
    after: Scored
    held_out: tuple[Scored, Scored] | None
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
    options: Options,
    *,
    request: Request | None = None,
    context: RunContext = SILENT,
) -> Selection:
    """Find the columns of an experiment that are worth keeping, and write them as a list that experiments can name.

    Nothing of the experiment changes, and no run is recorded. The matrix, folds, target, metric and parameters are the
    experiment's own.

    Parameters
    ----------
    workspace, competition
    number : int
        The experiment.
    options : Options
        The method and its parameters, as `options_of` gives them.
    request : Request, optional
        The list's name, and a share of the rows.
    context : RunContext
        Told of each step, and of how much of it is done.

    Raises
    ------
    ConfigError
        Where the experiment has fewer than two columns, or another list has the name.
    FeatureError
        When no column is left.
    BusyError
        When another process makes the list of that name.
    """
    started = time.perf_counter()
    request = request or Request()
    name = check_list_name(request.name or f"{number:03d}-{options.method}")
    with _quiet(), lock(competition.runs_folder / f".select-{name}.lock", f"the feature list {name!r}"):
        context = replace(context, threads=request.threads or context.threads)
        experiment = ready(workspace, competition, number, sample=request.sample, context=context)
        judging_model(experiment)
        key = content_key("select-v2", experiment.key, options.method, options.identity())
        _check_name(competition, name, key, force=request.force)
        groups = groups_of(experiment, options.by)
        _check_groups(experiment, groups)
        clock = Clock(None if options.minutes is None else started + _until_written(60 * options.minutes))
        seen, why = _seen(experiment, options)
        work = _Work(seen, groups, options, context, clock)
        found = work.eliminated(competition.selection_path(name)) if options.method == "rfe" else work.judged()
        held_out, late = (None, []) if why else work.held_out(found, experiment.problem)
        optimistic = None if all(j.keep for j in found.judged) else SELECTED
        said = [f"{SELECTED}: the list's score is optimistic; {w}" for w in (why, *late) if w]
        notes = (*found.notes, *(said if optimistic else []))
        seconds = time.perf_counter() - started
        listed = _listed(experiment, options, found, held_out, key)
        path = competition.selection_path(name)
        write_list(path, listed)
    judged = tuple(sorted(found.judged, key=lambda j: -j.importance))
    metric = experiment.problem.metric
    run_id = None if experiment.finished is None else experiment.finished.record.run_id
    return Selection(
        name, path, number, run_id, options.method, metric.name, metric.greater_is_better,
        listed, judged, found.before, found.after, held_out, optimistic, round(seconds, 2), notes,
    )  # fmt: skip


def _seen(experiment: ReadyExperiment, options: Options) -> tuple[ReadyExperiment, str]:
    """Return the experiment without the rows that are held out, and why that is all of it, where it is."""
    if not options.holdout:
        return experiment, "--holdout keeps rows from the method to score the list on"
    problem = without_last_fold(experiment.problem)
    if problem is None:
        return experiment, "there are too few folds or rows to hold some out"
    return replace(experiment, problem=problem, finished=None), ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep LightGBM's remarks to itself: there is no run folder whose log could hold them."""
    logger = logging.getLogger("workbench")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _until_written(seconds: float) -> float:
    """Return how much of the time that was given may pass before what was found is written."""
    return seconds - min(1.0, 0.1 * seconds)


def _check_name(competition: Competition, name: str, key: str, *, force: bool) -> None:
    """Refuse to replace a list that this very call would not make again; before the work, not after it."""
    path = competition.selection_path(name)
    if force or not path.exists():
        return
    standing = read_list(competition, name)
    if standing.made.get("key") == key and standing.as_made:
        return
    how = "was made from something else" if standing.as_made else "was written or edited by hand"
    raise ConfigError(f"{path} is there already, and {how}", hint="--name gives another name, --force replaces it")


def _check_groups(experiment: ReadyExperiment, groups: Sequence[Group]) -> None:
    if len(groups) < 2:
        only_one = groups[0].name if groups else "none"
        raise ConfigError(
            f"{experiment.spec.path} has {len(groups)} column to choose from ({only_one}); expected two or more",
            hint="give the experiment more features, or choose by single columns: --by column",
        )


@dataclass(frozen=True)
class _Found:
    judged: tuple[Judged, ...]
    before: Scored
    after: Scored
    notes: tuple[str, ...] = ()
    eliminated: Eliminated | None = None

    def columns(self) -> list[str]:
        return [c for j in self.judged if j.keep for c in j.group.columns]


@dataclass(frozen=True)
class _Work:
    """One selection at work."""

    experiment: ReadyExperiment
    groups: tuple[Group, ...]
    options: Options
    context: RunContext
    clock: Clock

    def judged(self) -> _Found:
        """Judge by one of the methods that train no list, then score what is left."""
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
            first = sorted(judged, key=lambda j: -j.importance)[: options.top]
            judged = tuple(replace(j, keep=j in first) for j in judged)
        found = _Found(judged, models.scored, models.scored, notes)
        if not found.columns():
            raise FeatureError(
                f"no column of {experiment.spec.path} is left: by {options.method}, all {len(judged)} look like noise",
                hint="--top N keeps the N most important all the same; or try another --method",
            )
        if all(j.keep for j in judged):
            return replace(found, notes=(*notes, "nothing is dropped: the list has every column"))
        self.context.stage("scoring the list")
        return replace(found, after=self._scored(experiment.problem, found.columns(), "the list"))

    def eliminated(self, path: Path) -> _Found:
        """Search by recursive elimination."""
        experiment, options = self.experiment, self.options
        key = content_key("rfe-v3", experiment.key, experiment.problem.folds.content, options.step, options.by)
        steps = path.with_name(f"{path.stem}.steps.json")
        self._say_models()
        reserve = RESERVED * 60 * (options.minutes or 0) if options.holdout else 0.0
        made = eliminate(
            experiment, self.groups, options, steps, key=key, clock=self.clock.earlier(reserve), context=self.context
        )
        notes = []
        if made.resumed:
            notes.append(f"went on from {made.resumed} finished steps in {steps.name}")
        if made.ended != "done":
            over = {"time": "the time is over", "memory": "the memory limit is reached"}
            said = over.get(made.ended, "the number of trials is reached")
            notes.append(f"{said} after {len(made.steps) - 1} smaller lists: more of it may find a smaller one")
        if made.best.groups != made.chosen.groups:
            notes.append(f"the best list, {made.best.mean:.6g}, has {len(made.best.groups)}: [best] in the file has it")
        first, chosen = made.steps[0], made.chosen
        before, after = (Scored(step.folds, step.seconds, step.rounds) for step in (first, chosen))
        return _Found(made.judged, before, after, tuple(notes), made)

    def held_out(self, found: _Found, problem: Problem) -> tuple[tuple[Scored, Scored] | None, list[str]]:
        """Score all columns and the list on the rows of the last fold, which the method has not seen.

        The models are trained as that fold's are, for as many rounds as the others have: none are chosen on these rows.
        """
        if all(j.keep for j in found.judged):
            return None, []
        self.context.stage("rows held out")
        only_last = only_fold(problem, last_fold(problem))
        everything = [c for g in self.groups for c in g.columns]
        try:
            both = (
                self._scored(only_last, everything, "rows held out, all columns", found.before.rounds),
                self._scored(only_last, found.columns(), "rows held out, the list", found.after.rounds),
            )
        except TimeIsUpError:
            return None, ["there was no time left for the rows held out"]
        except MemoryLimitError as exc:
            return None, [f"the rows held out are not scored: {exc.message}"]
        return both, []

    def _scored(self, problem: Problem, columns: Sequence[str], what: str, rounds: tuple[int, ...] = ()) -> Scored:
        experiment = self.experiment
        model: ModelSpec = judging_model(experiment)
        if rounds and judging_model(experiment).patience:
            model = FixedRounds(judging_model(experiment), rounds)
        _, score = scored(
            experiment,
            only(problem, columns),
            model,
            context=counting_models(self.context, what),
            each_round=self.clock.check,
        )
        return score

    def _say_models(self) -> None:
        finished = self.experiment.finished
        self.context.stage(
            "training on all columns" if finished is None else f"the models of run {finished.record.run_id}"
        )


def _notes(judged: Sequence[Judged], options: Options) -> tuple[str, ...]:
    """Say where no more columns pass than would if all were noise."""
    share = {"permutation": options.alpha, "null": 1 - options.percentile / 100}.get(options.method)
    kept = sum(j.keep for j in judged)
    if share is None or not 0 < share < 1 or not 0 < kept <= by_chance(len(judged), share):
        return ()
    return (f"{kept} of {len(judged)} pass, as many as may by chance where all are noise: do not trust this list",)


# ------------------------------------------------------------------------------------------------------ the list


def _listed(
    experiment: ReadyExperiment,
    options: Options,
    found: _Found,
    held_out: tuple[Scored, Scored] | None,
    key: str,
) -> FeatureList:
    features = list_of(experiment, found.columns())
    kept = sum(j.keep for j in found.judged)
    scores: dict[str, Any] = {"metric": experiment.problem.metric.name}
    scores |= {"before": found.before.as_dict(), "after": found.after.as_dict()}
    if not all(j.keep for j in found.judged):
        scores["optimistic"] = SELECTED
    if held_out is not None:
        scores |= {"held_out_before": held_out[0].as_dict(), "held_out_after": held_out[1].as_dict()}
    ordered, of = sorted(found.judged, key=lambda j: -j.importance), origins(experiment)
    return FeatureList(
        features,
        title=f"{experiment.spec.number:03d} by {options.method}: {kept} of {len(found.judged)}",
        made=_made(experiment, options, key),
        scores=scores,
        kept=_table((j for j in ordered if j.keep), of),
        dropped=_table((j for j in ordered if not j.keep), of),
        best=_best(experiment, found, ordered),
    )


def _made(experiment: ReadyExperiment, options: Options, key: str) -> dict[str, Any]:
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


def _table(judged: Iterable[Judged], of: dict[str, str]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for j in judged:
        said = {"importance": j.importance, "spread": j.spread, **j.more}
        short: dict[str, Any] = {name: float(f"{value:.6g}") for name, value in said.items()}
        if len(j.group.columns) > 1:
            short["with"] = j.group.name
        table |= {c: short | {"of": of[c]} for c in j.group.columns}
    return table


def _best(experiment: ReadyExperiment, found: _Found, ordered: Sequence[Judged]) -> dict[str, Any]:
    made = found.eliminated
    if made is None or made.best.groups == made.chosen.groups:
        return {}
    columns = [c for j in ordered if j.group.name in made.best.groups for c in j.group.columns]
    return {"features": list(list_of(experiment, columns)), "mean": made.best.mean, "folds": list(made.best.folds)}
