"""One number of rounds for all folds: the best of the mean of their curves.

Each fold's own best round is chosen on the rows that are then scored by it: on pure noise with 180 validation rows,
this bias alone gives an AUC of 0.54. The best round of the mean curve is chosen on all validation rows at once, as
`lgb.cv` does.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np

from workbench.models.records import FoldResult, Parts, TrainingState

if TYPE_CHECKING:
    from workbench.models.fold_data import FoldData

__all__ = [
    "DEFAULT_PATIENCE",
    "DEFAULT_ROUNDS",
    "FoldTraining",
    "Stepwise",
    "Stopper",
    "Stopping",
    "StoppingLearner",
    "Training",
    "limit_notes",
    "own_fit",
    "rounds_limit",
    "shared_rounds",
    "train_together",
]


DEFAULT_ROUNDS = 1000
"""The usual limit at a learning rate of 0.1; also where every round is used."""

DEFAULT_PATIENCE = 50


def rounds_limit(rate: Any) -> int:
    """Return the most rounds where nobody says how many: a low learning rate needs more of them.

    Examples
    --------
    >>> rounds_limit(0.1), rounds_limit(0.02)
    (1000, 5000)
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not rate > 0:
        return DEFAULT_ROUNDS  # what it is, or that it is none, the library says
    return min(MOST_ROUNDS, max(DEFAULT_ROUNDS, math.ceil(round(100 / rate, 6))))


MOST_ROUNDS = 100_000


@dataclass(frozen=True)
class Stopping:
    """When a training has had enough rounds.

    Attributes
    ----------
    limit : int
        The most rounds.
    patience : int
        Rounds without a better value until it stops.
    greater_is_better : bool
    least : float
        What is better by no more than this is not better.
    """

    limit: int
    patience: int
    greater_is_better: bool
    least: float = 0.0

    def of(self, curve: Iterable[float]) -> Stopper:
        """Return where a curve is, as far as it is needed."""
        stopper = Stopper(self)
        for value in curve:
            if stopper.add(value):
                break
        return stopper


class Stopper:
    """The best round of a curve so far, counted as LightGBM's early stopping counts."""

    def __init__(self, stopping: Stopping) -> None:
        self.stopping = stopping
        self.n_rounds, self.best_round, self.best = 0, 0, float("nan")

    def add(self, value: float) -> bool:
        """Take the value of the next round; return whether that is enough."""
        s = self.stopping
        self.n_rounds += 1
        gain = value - self.best if s.greater_is_better else self.best - value
        if not self.best_round or gain > s.least:
            self.best, self.best_round = value, self.n_rounds
        return self.is_over

    @property
    def is_over(self) -> bool:
        """Whether there were enough rounds."""
        return self.n_rounds >= self.needed

    @property
    def needed(self) -> int:
        """The fewest rounds after which it can be over."""
        return min(self.stopping.limit, max(1, self.best_round + self.stopping.patience))


class Training(Protocol):
    """A training that can be continued.

    Attributes
    ----------
    curves : dict
        "valid", and "train" where it is watched: the stopping metric after each round.
    held : bool
        Whether it goes on from the round it is at; else it begins again, and takes the same way. What has not begun
        goes on, too, where the library can stop in between.
    """

    curves: dict[str, list[float]]

    @property
    def held(self) -> bool:
        """Whether it goes on from the round it is at."""
        ...

    def go_on(self, rounds: int, enough: Callable[[float], bool]) -> None:
        """Train until there are so many rounds, or until `enough`, called with each new value, says so."""
        ...

    def release(self) -> None:
        """Let go of the rows, and keep the model."""
        ...


class FoldTraining(Training, Protocol):
    """The training of one fold's model.

    Attributes
    ----------
    fold, seed : int
    """

    fold: int
    seed: int

    def state(self) -> TrainingState:
        """Return what is kept of it, so that a killed run need not train it again."""
        ...

    def second(self, rounds: int, state: TrainingState | None = None) -> FoldTraining:
        """Return the training of the fold's second model, which learns from what the first says after `rounds`.

        It is taken up where it was kept; there may be none, and then it is the first one itself.
        """
        ...

    def result(self, rounds: int) -> FoldResult:
        """Return the model of so many rounds, with its predictions."""
        ...


@runtime_checkable
class Stepwise(Protocol):
    """A learner whose folds can share their number of rounds.

    Attributes
    ----------
    shared_stopping : Stopping, or None
        None where all rounds are used in any case, or each fold stops by itself.
    index : int
        The target.
    """

    index: int

    @property
    def shared_stopping(self) -> Stopping | None:
        """When the folds together have had enough rounds."""
        ...

    def training(self, fold: int, seed: int, state: TrainingState | None = None) -> FoldTraining:
        """Begin a fold's training, or take one up that was kept."""
        ...


class StoppingSpec(Protocol):
    """What the spec of such a learner says of its rounds.

    Attributes
    ----------
    rounds : int
        The most.
    patience : int
        Rounds without a better value until it stops; 0 for never.
    per_fold : bool
        Whether each fold stops at its own best round.
    """

    @property
    def rounds(self) -> int:
        """The most rounds."""
        ...

    @property
    def patience(self) -> int:
        """Rounds without a better value until it stops."""
        ...

    @property
    def per_fold(self) -> bool:
        """Whether each fold stops at its own best round."""
        ...


S = TypeVar("S", bound=StoppingSpec)


class StoppingLearner(ABC, Generic[S]):
    """What is the same for all libraries that boost rounds until the metric gets no better.

    Attributes
    ----------
    spec : StoppingSpec
    data : FoldData
    least_gain : float
        What is better by no more than this is not better.
    """

    spec: S
    data: FoldData
    least_gain = 0.0

    @abstractmethod
    def training(self, fold: int, seed: int, state: TrainingState | None = None) -> FoldTraining:
        """Begin a fold's training, or take one up from its state."""

    @property
    def stopping(self) -> Stopping | None:
        """When a training has had enough rounds; None where all of them are used."""
        if not self.spec.patience:
            return None
        greater = self.data.target.stopping_metric.greater_is_better
        return Stopping(self.spec.rounds, self.spec.patience, greater, self.least_gain)

    @property
    def shared_stopping(self) -> Stopping | None:
        """When the folds together have had enough rounds; None where each stops by itself."""
        return None if self.spec.per_fold else self.stopping

    def fit(self, fold: int, seed: int) -> FoldResult:
        """Train and predict one fold with one seed, at its own best number of rounds."""
        return own_fit(self.training(fold, seed), self.stopping, self.spec.rounds)


def own_fit(training: FoldTraining, stopping: Stopping | None, most: int) -> FoldResult:
    """Train a fold by itself: to its own best round, or for the `most` rounds where nothing stops it."""
    rounds = _own_rounds(training, stopping, most)
    second = training.second(rounds)
    return second.result(rounds if second is training else _own_rounds(second, stopping, most))


def _own_rounds(training: FoldTraining, stopping: Stopping | None, most: int) -> int:
    if stopping is None:
        training.go_on(most, lambda _: False)
        return most
    stopper = Stopper(stopping)
    training.go_on(stopping.limit, stopper.add)
    return stopper.best_round


def train_together(
    learner: Stepwise,
    stopping: Stopping,
    folds: range,
    seed: int,
    *,
    parts: Parts | None = None,
    held: int | None = None,
    done: Callable[[FoldResult, bool], None] = lambda _result, _is_new: None,
) -> list[FoldResult]:
    """Train all folds with one seed and give them the best number of rounds of their mean curve.

    The curves are averaged over the folds, each counting the same, as the CV is. The folds are trained one after the
    other, each until its own curve stops; folds that stopped before the mean curve did are then trained further.

    Parameters
    ----------
    parts : Parts, optional
        Checkpoints: finished folds and interrupted trainings are read from there and stored there.
    held : int, optional
        The number of folds that may be in memory at a time; None for all. It affects the run time only.
    done : callable, optional
        Called with each result, and whether it is new.
    """
    finished = {
        k: stored_result for k in folds if parts and (stored_result := parts.load(learner.index, k, seed)) is not None
    }
    if len(finished) == len(folds):
        for result in finished.values():
            done(result, False)
        return list(finished.values())

    def load_state(fold: int, stage: int) -> TrainingState | None:
        return parts.load_training(learner.index, fold, seed, stage) if parts else None

    def save_state(training: FoldTraining, stage: int) -> None:
        if parts:
            parts.save_training(learner.index, training.fold, seed, stage, training.state())

    trainings = [learner.training(k, seed, load_state(k, 1)) for k in folds]
    rounds, n_curve_rounds = shared_rounds(trainings, stopping, held=held, keep=lambda t: save_state(t, 1))
    firsts, trainings = trainings, [t.second(rounds, load_state(t.fold, 2)) for t in trainings]
    if any(t is not first for t, first in zip(trainings, firsts, strict=True)):
        rounds, n_curve_rounds = shared_rounds(trainings, stopping, held=held, keep=lambda t: save_state(t, 2))
    results = []
    for training in trainings:
        finished_result = finished.get(training.fold)
        if finished_result is None:
            # How far a fold was trained past the end of the mean curve depends on memory; the result must not.
            training.curves = {name: values[:n_curve_rounds] for name, values in training.curves.items()}
            result = training.result(rounds)
            if parts:
                parts.save(result)
        else:
            result = finished_result
        training.release()
        done(result, finished_result is None)
        results.append(result)
    return results


T = TypeVar("T", bound=Training)


def shared_rounds(
    trainings: Sequence[T], stopping: Stopping, *, held: int | None = None, keep: Callable[[T], None] = lambda _: None
) -> tuple[int, int]:
    """Train until the mean of the curves has had enough rounds.

    Parameters
    ----------
    held : int, optional
        So many may be in memory at a time; None for all.
    keep : callable
        Called with each training that has gone on.

    Returns
    -------
    best : int
        The best round of the mean.
    needed : int
        The rounds after which it is known.
    """
    work = _Together(trainings, stopping, len(trainings) if held is None else max(1, held), keep)
    for at, training in enumerate(trainings):
        # The last one goes only as far as the mean needs, where it can go on from there.
        if at + 1 < len(trainings) or work.scarce or not training.held:
            work.until_it_stops(training)
    while not (mean := work.mean()).is_over:
        longest = min(stopping.limit, max(map(_length, trainings)))
        for training in trainings:
            if _length(training) < mean.needed:
                # What has to begin again had better not do so twice.
                work.go_on(training, mean.needed if training.held else max(mean.needed, longest), lambda _: False)
    return mean.best_round, mean.n_rounds


@dataclass(frozen=True)
class _Together(Generic[T]):
    """Trainings of one number of rounds, of which so many can be held in memory."""

    trainings: Sequence[T]
    stopping: Stopping
    held: int
    keep: Callable[[T], None]

    @property
    def scarce(self) -> bool:
        """Whether not all of them can be held."""
        return self.held < len(self.trainings)

    def mean(self) -> Stopper:
        """Return where the mean curve is, as far as all of them are trained."""
        shortest = min(map(_length, self.trainings))
        if not shortest:
            return Stopper(self.stopping)
        return self.stopping.of(np.mean([t.curves["valid"][:shortest] for t in self.trainings], axis=0))

    def until_it_stops(self, training: T) -> None:
        """Train one until its own curve has had enough rounds."""
        stopper = Stopper(self.stopping)
        for value in training.curves["valid"]:
            stopper.add(value)
        # Where going on costs all that went before, the later ones go as far as the longest at once.
        can_go_on = not self.scarce and training.held
        least = 0 if can_go_on else max(map(_length, self.trainings))
        if stopper.is_over and stopper.n_rounds >= least:
            return
        if not training.held:
            stopper = Stopper(self.stopping)
        self.go_on(training, self.stopping.limit, lambda value: stopper.add(value) and stopper.n_rounds >= least)

    def go_on(self, training: T, rounds: int, enough: Callable[[float], bool]) -> None:
        """Train one for so many rounds, or until it has had enough."""
        # The longest are let go of first: the mean will hardly outlast them.
        held_trainings = sorted((t for t in self.trainings if t is not training and t.held and _length(t)), key=_length)
        for other in held_trainings[self.held - 1 :]:
            other.release()
        training.go_on(rounds, enough)
        self.keep(training)


def _length(training: Training) -> int:
    return len(training.curves["valid"])


def limit_notes(results: Iterable[FoldResult], limit: int, patience: int) -> list[str]:
    """Say which models had no time to stop: their best round is so near to the limit that better ones may follow.

    Parameters
    ----------
    results : iterable of FoldResult
        Of folds.
    """
    if not patience:
        return []
    limited = [r for r in results if len(r.curve.get("valid", ())) >= limit and r.rounds > limit - patience]
    notes = []
    for (target, seed), group in groupby(limited, key=lambda r: (r.target, r.seed)):
        seed_results = list(group)
        of = f"target {target}, seed {seed}: " if len({(r.target, r.seed) for r in limited}) > 1 else ""
        rounds = sorted({r.rounds for r in seed_results})
        best = f"{rounds[0]:,}" if len(rounds) == 1 else f"{rounds[0]:,} to {rounds[-1]:,}"
        notes.append(
            f"{of}early stopping reached the limit of {limit:,} rounds in {len(seed_results)} folds, and the best is "
            f"round {best}: more rounds, or a higher learning rate, may score better"
        )
    return notes
