"""Recursive elimination: drop the least important columns step by step, as long as the score is not worse."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from workbench.analysis.selection.groups import Group, only
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
    "Deadline",
    "EliminationResult",
    "EliminationStep",
    "TimeIsUpError",
    "eliminate",
    "next_groups",
    "smallest_good",
]

TRIALS = 20
"""The number of smaller lists to try where neither a time nor a number is set."""

NOISE = 2.0
"""How many standard errors worse than the best a list may be for the search to continue from it."""


class TimeIsUpError(Exception):
    """The deadline has passed; raised between two boosting rounds."""


@dataclass(frozen=True)
class Deadline:
    """When to stop, in seconds of `time.perf_counter`; None for never."""

    ends: float | None = None

    def remaining_s(self) -> float:
        """Return the remaining seconds; infinity without an end."""
        return float("inf") if self.ends is None else self.ends - time.perf_counter()

    def check(self) -> None:
        """Raise `TimeIsUpError` when the time is up."""
        if self.remaining_s() <= 0:
            raise TimeIsUpError

    def earlier(self, seconds: float) -> Deadline:
        """Return a deadline that is this much earlier."""
        return self if self.ends is None else Deadline(self.ends - seconds)


@dataclass(frozen=True)
class EliminationStep:
    """A scored list of groups.

    Attributes
    ----------
    groups : tuple of str
        The names of its groups.
    folds : tuple of float
        Its score in each fold.
    gains : dict
        Group -> mean gain.
    spreads : dict
        Group -> the spread of the gain over the folds.
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
        """Return it for JSON."""
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
    """The result of the search.

    Attributes
    ----------
    steps : tuple of EliminationStep
        In the order in which they were tried; the first has all columns.
    chosen, best : EliminationStep
        The smallest list within one standard error of the best, and the best.
    ended : str
        "done", "time", "trials" or "memory".
    resumed : int
        The number of steps that an earlier, interrupted search had finished.
    """

    steps: tuple[EliminationStep, ...]
    chosen: EliminationStep
    best: EliminationStep
    ended: str
    resumed: int
    judged: tuple[GroupImportance, ...] = field(default=())


def eliminate(
    experiment: ReadyExperiment,
    groups: Sequence[Group],
    options: SelectionOptions,
    path: Path,
    *,
    key: str,
    clock: Deadline,
    context: RunContext = SILENT,
) -> EliminationResult:
    """Search for the smallest list that scores as well as the best.

    Each step drops the share `options.step` with the least gain, and groups without any; the list is then scored by CV
    over the same folds. A list that is worse than the best beyond noise is discarded, and half as many are dropped from
    the one before it, down to a single group.

    Parameters
    ----------
    path : Path
        The JSON file of the finished steps.
    key : str
        What the steps depend on: stored steps of another key are discarded.
    clock : Deadline
        The search stops then, and discards the step in progress.

    Raises
    ------
    ConfigError
        Where the time was too short for the first score.
    """
    better, ratio = experiment.problem.metric.greater_is_better, experiment.problem.folds.size_ratio
    steps = _load(path, key)
    resumed, limit = len(steps), options.trials or (TRIALS if options.minutes is None else 10**9)
    ended = "done"
    try:
        if not steps:
            steps.append(_first(experiment, groups, clock, context))
            _save(path, key, steps)
        while (names := next_groups(steps, options.step, better=better, ratio=ratio)) is not None:
            if len(steps) > limit:
                ended = "trials"
                break
            steps.append(_tried(experiment, groups, names, clock, context))
            _save(path, key, steps)
    except TimeIsUpError:
        ended = "time"
    except MemoryLimitError:
        if not steps:
            raise
        ended = "memory"  # the finished steps still count
    if not steps:
        raise ConfigError(
            f"--minutes {options.minutes:g} is over before all columns were scored once",
            hint=f"`wb run {experiment.spec.number}` first, whose models are then used; or allow more minutes",
        )
    chosen, best = smallest_good(steps[: limit + 1], better=better, ratio=ratio)
    return EliminationResult(tuple(steps), chosen, best, ended, resumed, _judged(groups, steps, chosen))


def _judged(
    groups: Sequence[Group], steps: Sequence[EliminationStep], chosen: EliminationStep
) -> tuple[GroupImportance, ...]:
    """Return each group's importance in the last list that it was in."""
    judged = []
    for group in groups:
        last = next(s for s in (chosen, *reversed(steps)) if group.name in s.groups)
        judged.append(
            GroupImportance(group, last.gains[group.name], last.spreads[group.name], group.name in chosen.groups)
        )
    return tuple(judged)


def _first(
    experiment: ReadyExperiment, groups: Sequence[Group], clock: Deadline, context: RunContext
) -> EliminationStep:
    started = time.perf_counter()
    models = models_of(experiment, counting_models(context, "all columns"), each_round=clock.check)
    return _step(groups, models, models.scored, time.perf_counter() - started)


def _tried(
    experiment: ReadyExperiment, groups: Sequence[Group], names: Sequence[str], clock: Deadline, context: RunContext
) -> EliminationStep:
    started = time.perf_counter()
    clock.check()
    chosen = [g for g in groups if g.name in names]
    problem = only(experiment.problem, [c for g in chosen for c in g.columns])
    result, score = scored(
        experiment,
        problem,
        experiment.model,
        context=counting_models(context, f"{len(chosen)} of {len(groups)}"),
        each_round=clock.check,
    )
    importance: dict[tuple[int, int], dict[str, tuple[float, float]]] = {}
    for part in result.parts:
        of_model = importance.setdefault((part.fold, part.seed), {})
        for name, (gain, splits) in part.importance.items():
            before = of_model.get(name, (0.0, 0.0))
            of_model[name] = (before[0] + gain, before[1] + splits)
    return _step(chosen, Models({}, {}, importance, score), score, time.perf_counter() - started)


def _step(groups: Sequence[Group], models: Models, score: SelectionScore, seconds: float) -> EliminationStep:
    of_models = [
        by_group(groups, {c: gain for c, (gain, _) in gains_of_columns.items()})
        for gains_of_columns in models.importance.values()
    ]
    gains = {g.name: float(np.mean([gains_of_columns[g.name] for gains_of_columns in of_models])) for g in groups}
    spreads = {g.name: float(np.std([gains_of_columns[g.name] for gains_of_columns in of_models])) for g in groups}
    return EliminationStep(tuple(g.name for g in groups), score.folds, gains, spreads, round(seconds, 2), score.rounds)


def next_groups(
    steps: Sequence[EliminationStep], share: float, *, better: bool, ratio: float | None = None
) -> tuple[str, ...] | None:
    """Return the groups to try next, or None where the search is over; depends on the steps alone.

    Parameters
    ----------
    share : float
        The share of the groups to drop.
    better : bool
        Whether a greater score is better.
    ratio : float, optional
        Validated rows over train rows, for the standard errors; see `difference`.
    """
    from_, dropped = steps[0], 0
    halved = 1.0
    for i, step in enumerate(steps[1:], 1):
        best = _best(steps[:i], better)
        dropped = len(from_.groups) - len(step.groups)
        if _is_worse(best, step, better, NOISE, ratio):
            if dropped == 1:
                return None
            halved /= 2
        else:
            from_, dropped = step, 0
    if len(from_.groups) == 1:
        return None
    n = max(1, int(share * halved * len(from_.groups)))
    # After a list that was worse, drop fewer than it did; else also all groups without any gain.
    n = min(n, dropped // 2) if dropped else max(n, sum(from_.gains[g] <= 0 for g in from_.groups))
    n = min(n, len(from_.groups) - 1)
    least, tried = sorted(from_.groups, key=lambda g: from_.gains[g]), {s.groups for s in steps}
    while n:
        names = tuple(g for g in from_.groups if g not in least[:n])
        if names not in tried:
            return names
        n //= 2  # it was tried from another list, and was worse
    return None


def _best(steps: Sequence[EliminationStep], better: bool) -> EliminationStep:
    return max(steps, key=lambda s: s.mean if better else -s.mean)


def _is_worse(best: EliminationStep, step: EliminationStep, better: bool, errors: float, ratio: float | None) -> bool:
    mean, error = difference(best.folds, step.folds, ratio)
    return (mean if better else -mean) > errors * error


def smallest_good(
    steps: Sequence[EliminationStep], *, better: bool, ratio: float | None = None
) -> tuple[EliminationStep, EliminationStep]:
    """Return the smallest list that is not worse than the best by more than one standard error, and the best.

    The standard error is that of the difference, paired by fold. Among lists of one size the better is taken.
    """
    best = _best(steps, better)
    good = [s for s in steps if not _is_worse(best, s, better, 1.0, ratio)]
    return min(good, key=lambda s: (len(s.groups), -s.mean if better else s.mean)), best


# ------------------------------------------------------------------------------------------------- what is on disk


def _load(path: Path, key: str) -> list[EliminationStep]:
    try:
        data = read_json(path)
        if data["key"] != key:
            return []
        return [
            EliminationStep(
                tuple(s["groups"]), tuple(s["folds"]), s["gains"], s["spreads"], s["seconds"], tuple(s["rounds"])
            )
            for s in data["steps"]
        ]
    except (FileNotFoundError, DamagedError, KeyError, TypeError):
        return []  # the search starts again


def _save(path: Path, key: str, steps: Sequence[EliminationStep]) -> None:
    write_json(path, {"key": key, "steps": [s.as_dict() for s in steps]})
