"""Recursive feature elimination: drop the least important columns step by step, while the score does not get worse."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from workbench.analysis.selection.groups import Group, with_columns
from workbench.analysis.selection.importance import (
    GroupImportance,
    Models,
    SelectionScore,
    by_group,
    counting_models,
    difference,
    models_of,
    scored,
)
from workbench.analysis.selection.options import SelectionOptions
from workbench.core.cache import read_json, write_json
from workbench.core.context import SILENT, RunContext
from workbench.core.errors import ConfigError, DamagedError, MemoryLimitError
from workbench.experiments.ready import ReadyExperiment

__all__ = [
    "EliminationResult",
    "EliminationStep",
    "StepsFile",
    "TimeLimit",
    "TimeLimitError",
    "eliminate",
    "next_groups",
    "smallest_good",
]

DEFAULT_TRIALS = 20
"""The number of smaller lists to score without a limit of time or trials."""

MAX_STANDARD_ERRORS = 2.0
"""The search continues from a list that is worse than the best by no more than this many standard errors."""


class TimeLimitError(Exception):
    """The time limit is reached; raised between two boosting rounds."""


@dataclass(frozen=True)
class TimeLimit:
    """The time at which to stop.

    Attributes
    ----------
    ends_at : float, or None
        By `time.perf_counter`; None for no limit.
    """

    ends_at: float | None = None

    def remaining_s(self) -> float:
        """Return the remaining seconds; infinity without a limit."""
        return float("inf") if self.ends_at is None else self.ends_at - time.perf_counter()

    def check(self) -> None:
        """Raise `TimeLimitError` if the time limit is reached."""
        if self.remaining_s() <= 0:
            raise TimeLimitError

    def earlier(self, seconds: float) -> TimeLimit:
        """Return a limit that is this much earlier."""
        return self if self.ends_at is None else TimeLimit(self.ends_at - seconds)


@dataclass(frozen=True)
class EliminationStep:
    """A list of groups that was scored.

    Attributes
    ----------
    groups : tuple of str
        The names of the groups.
    folds : tuple of float
        The score of each fold.
    gains : dict
        Group -> mean gain.
    spreads : dict
        Group -> the standard deviation of the gain over the models.
    seconds : float
        The training time.
    rounds : tuple of int
        The mean number of rounds of each target's models.
    """

    groups: tuple[str, ...]
    folds: tuple[float, ...]
    gains: dict[str, float]
    spreads: dict[str, float]
    seconds: float = 0.0
    rounds: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        """The mean score."""
        return float(np.mean(self.folds))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "groups": list(self.groups),
            "folds": list(self.folds),
            "gains": self.gains,
            "spreads": self.spreads,
            "seconds": self.seconds,
            "rounds": list(self.rounds),
        }


@dataclass(frozen=True)
class EliminationResult:
    """The result of an elimination.

    Attributes
    ----------
    steps : tuple of EliminationStep
        In their order; the first has all columns.
    chosen, best : EliminationStep
        The smallest list within one standard error of the best, and the best.
    stop_reason : str
        "done", "time", "trials" or "memory".
    n_resumed : int
        The number of steps that an earlier, interrupted search had finished.
    importances : tuple of GroupImportance
        Each group's importance in the smallest list that has it.
    """

    steps: tuple[EliminationStep, ...]
    chosen: EliminationStep
    best: EliminationStep
    stop_reason: str
    n_resumed: int
    importances: tuple[GroupImportance, ...] = field(default=())


@dataclass(frozen=True)
class StepsFile:
    """The JSON file of the finished steps of an elimination, from which an interrupted one resumes.

    Attributes
    ----------
    path : Path
    key : str
        Of everything that the steps depend on: steps with another key are discarded.
    """

    path: Path
    key: str

    def read(self) -> list[EliminationStep]:
        """Return the finished steps; none if the file is missing, damaged or has another key."""
        try:
            data = read_json(self.path)
            if data["key"] != self.key:
                return []
            return [
                EliminationStep(
                    tuple(s["groups"]), tuple(s["folds"]), s["gains"], s["spreads"], s["seconds"], tuple(s["rounds"])
                )
                for s in data["steps"]
            ]
        except (FileNotFoundError, DamagedError, KeyError, TypeError):
            return []

    def write(self, steps: Sequence[EliminationStep]) -> None:
        """Write the finished steps."""
        write_json(self.path, {"key": self.key, "steps": [step.as_dict() for step in steps]})


def eliminate(
    experiment: ReadyExperiment,
    groups: Sequence[Group],
    options: SelectionOptions,
    file: StepsFile,
    *,
    context: RunContext = SILENT,
) -> EliminationResult:
    """Search for the smallest list that scores as well as the best.

    Each step drops the share `options.step` with the least gain, and groups without any; the list is then scored by CV
    over the same folds. If it is worse than the best beyond noise, half as many groups are dropped from the
    previous list, down to a single group.

    Parameters
    ----------
    file : StepsFile
        The steps are read from it at the start, and written to it after each of them.
    context : RunContext
        When its `check_stop` raises a `TimeLimitError`, the search stops, and the step in progress is discarded.

    Raises
    ------
    ConfigError
        When the time was too short to score all columns.
    """
    greater_is_better = experiment.problem.metric.greater_is_better
    size_ratio = experiment.problem.folds.size_ratio
    steps = file.read()
    n_resumed = len(steps)
    no_limit = sys.maxsize - 1
    max_trials = options.trials or (DEFAULT_TRIALS if options.minutes is None else no_limit)
    stop_reason = "done"
    try:
        if not steps:
            steps.append(_all_columns_step(experiment, groups, context))
            file.write(steps)
        while (
            names := next_groups(steps, options.step, greater_is_better=greater_is_better, size_ratio=size_ratio)
        ) is not None:
            if len(steps) > max_trials:
                stop_reason = "trials"
                break
            steps.append(_smaller_step(experiment, groups, names, context))
            file.write(steps)
    except TimeLimitError:
        stop_reason = "time"
    except MemoryLimitError:
        if not steps:
            raise
        stop_reason = "memory"  # the finished steps still count
    if not steps:
        raise ConfigError(
            f"--minutes {options.minutes:g} ended before all columns were scored once",
            hint=f"`wb run {experiment.spec.number}` first, whose models are then used; or allow more minutes",
        )
    chosen, best = smallest_good(steps[: max_trials + 1], greater_is_better=greater_is_better, size_ratio=size_ratio)
    return EliminationResult(tuple(steps), chosen, best, stop_reason, n_resumed, _importances(groups, steps, chosen))


def _importances(
    groups: Sequence[Group], steps: Sequence[EliminationStep], chosen: EliminationStep
) -> tuple[GroupImportance, ...]:
    """Return each group's importance in the chosen list, or in the last one that has the group."""
    importances = []
    for group in groups:
        step = next(s for s in (chosen, *reversed(steps)) if group.name in s.groups)
        importances.append(
            GroupImportance(group, step.gains[group.name], step.spreads[group.name], group.name in chosen.groups)
        )
    return tuple(importances)


def _all_columns_step(experiment: ReadyExperiment, groups: Sequence[Group], context: RunContext) -> EliminationStep:
    started_at = time.perf_counter()
    models = models_of(experiment, counting_models(context, "all columns"))
    return _step(groups, models, models.score, time.perf_counter() - started_at)


def _smaller_step(
    experiment: ReadyExperiment, groups: Sequence[Group], names: Sequence[str], context: RunContext
) -> EliminationStep:
    """Train on the groups with these names only, and return the finished step."""
    started_at = time.perf_counter()
    context.check_stop()
    remaining_groups = [group for group in groups if group.name in names]
    problem = with_columns(experiment.problem, [c for group in remaining_groups for c in group.columns])
    result, score = scored(
        experiment,
        problem,
        experiment.model,
        context=counting_models(context, f"{len(remaining_groups)} of {len(groups)}"),
    )
    importance: dict[tuple[int, int], dict[str, tuple[float, float]]] = {}
    for part in result.parts:
        totals = importance.setdefault((part.fold, part.seed), {})
        for name, (gain, splits) in part.importance.items():
            total_gain, total_splits = totals.get(name, (0.0, 0.0))
            totals[name] = (total_gain + gain, total_splits + splits)
    return _step(remaining_groups, Models({}, {}, importance, score), score, time.perf_counter() - started_at)


def _step(groups: Sequence[Group], models: Models, score: SelectionScore, seconds: float) -> EliminationStep:
    """Return a finished step, with the mean and standard deviation of each group's gain over the models."""
    gains_by_model = [
        by_group(groups, {column: gain for column, (gain, _) in importance.items()})
        for importance in models.importance.values()
    ]
    gains = {g.name: float(np.mean([model_gains[g.name] for model_gains in gains_by_model])) for g in groups}
    spreads = {g.name: float(np.std([model_gains[g.name] for model_gains in gains_by_model])) for g in groups}
    return EliminationStep(tuple(g.name for g in groups), score.folds, gains, spreads, round(seconds, 2), score.rounds)


def next_groups(
    steps: Sequence[EliminationStep], share: float, *, greater_is_better: bool, size_ratio: float | None = None
) -> tuple[str, ...] | None:
    """Return the groups of the next list to score, or None if the search is over; depends on the steps alone.

    Parameters
    ----------
    share : float
        The share of the groups to drop.
    greater_is_better : bool
        Of the score.
    size_ratio : float, optional
        Validation rows over train rows, for the standard errors; see `difference`.
    """
    start_step, n_dropped = steps[0], 0  # the list to drop groups from; how many the latest, worse list dropped from it
    share_factor = 1.0
    for i, step in enumerate(steps[1:], 1):
        best = _best(steps[:i], greater_is_better)
        n_dropped = len(start_step.groups) - len(step.groups)
        if _is_worse(best, step, greater_is_better, MAX_STANDARD_ERRORS, size_ratio):
            if n_dropped == 1:
                return None
            share_factor /= 2
        else:
            start_step, n_dropped = step, 0
    if len(start_step.groups) == 1:
        return None
    n_to_drop = max(1, int(share * share_factor * len(start_step.groups)))
    # After a worse list drop at most half as many; else also all groups without any gain.
    n_without_gain = sum(start_step.gains[group] <= 0 for group in start_step.groups)
    n_to_drop = min(n_to_drop, n_dropped // 2) if n_dropped else max(n_to_drop, n_without_gain)
    n_to_drop = min(n_to_drop, len(start_step.groups) - 1)
    ascending, scored_lists = sorted(start_step.groups, key=lambda g: start_step.gains[g]), {s.groups for s in steps}
    while n_to_drop:
        names = tuple(group for group in start_step.groups if group not in ascending[:n_to_drop])
        if names not in scored_lists:
            return names
        n_to_drop //= 2  # this list was scored before, from another start, and was worse
    return None


def _best(steps: Sequence[EliminationStep], greater_is_better: bool) -> EliminationStep:
    return max(steps, key=lambda s: s.mean if greater_is_better else -s.mean)


def _is_worse(
    best: EliminationStep, step: EliminationStep, greater_is_better: bool, n_errors: float, size_ratio: float | None
) -> bool:
    """Return whether a list is worse than the best by more than this many standard errors."""
    mean, error = difference(best.folds, step.folds, size_ratio)
    return (mean if greater_is_better else -mean) > n_errors * error


def smallest_good(
    steps: Sequence[EliminationStep], *, greater_is_better: bool, size_ratio: float | None = None
) -> tuple[EliminationStep, EliminationStep]:
    """Return the smallest list within one standard error of the best, and the best.

    The standard error is that of the difference, paired by fold. Of lists of the same size the better is returned.
    """
    best = _best(steps, greater_is_better)
    good_steps = [s for s in steps if not _is_worse(best, s, greater_is_better, 1.0, size_ratio)]
    return min(good_steps, key=lambda s: (len(s.groups), -s.mean if greater_is_better else s.mean)), best
