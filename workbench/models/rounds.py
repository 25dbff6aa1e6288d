"""Early stopping with one number of rounds for all folds: the best round of the mean of their curves.

Choosing each fold's best round on the rows that it is then scored on is optimistic: on pure noise with 180 validation
rows, this bias alone gives an AUC of 0.54. The best round of the mean curve is chosen on all validation rows at once,
as in `lgb.cv`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np

from workbench.core.wording import counted
from workbench.models.records import FoldResult, Parts, TrainingState

if TYPE_CHECKING:
    from workbench.models.fold_data import FoldData

__all__ = [
    "DEFAULT_PATIENCE",
    "DEFAULT_ROUNDS",
    "EarlyStoppingLearner",
    "FoldTraining",
    "RoundCounter",
    "SharedRoundsLearner",
    "StoppingRule",
    "Training",
    "default_max_rounds",
    "find_shared_rounds",
    "fit_fold",
    "limit_notes",
    "train_with_shared_rounds",
]


DEFAULT_ROUNDS = 1000
"""The default limit at a learning rate of 0.1, and the number of rounds without early stopping."""

DEFAULT_PATIENCE = 50

MAX_DEFAULT_ROUNDS = 100_000


def default_max_rounds(learning_rate: Any) -> int:
    """Return the default limit of rounds with early stopping: the lower the learning rate, the more.

    Examples
    --------
    >>> default_max_rounds(0.1), default_max_rounds(0.02)
    (1000, 5000)
    """
    if isinstance(learning_rate, bool) or not isinstance(learning_rate, int | float) or not learning_rate > 0:
        return DEFAULT_ROUNDS  # the library rejects an invalid rate
    return min(MAX_DEFAULT_ROUNDS, max(DEFAULT_ROUNDS, math.ceil(round(100 / learning_rate, 6))))


@dataclass(frozen=True)
class StoppingRule:
    """When to stop a training.

    Attributes
    ----------
    max_rounds : int
    patience : int
        Rounds without an improvement after which it stops.
    greater_is_better : bool
    min_gain : float
        Only a change by more than this is an improvement.
    """

    max_rounds: int
    patience: int
    greater_is_better: bool
    min_gain: float = 0.0

    def apply(self, curve: Iterable[float]) -> RoundCounter:
        """Count the rounds of a curve until it stops or ends."""
        counter = RoundCounter(self)
        for value in curve:
            if counter.add(value):
                break
        return counter


class RoundCounter:
    """Counts rounds and finds the best of them, as LightGBM's early stopping does."""

    def __init__(self, rule: StoppingRule) -> None:
        self.rule = rule
        self.n_rounds, self.best_round, self.best_value = 0, 0, float("nan")

    def add(self, value: float) -> bool:
        """Add the metric of the next round; return whether to stop."""
        self.n_rounds += 1
        gain = value - self.best_value if self.rule.greater_is_better else self.best_value - value
        if not self.best_round or gain > self.rule.min_gain:
            self.best_value, self.best_round = value, self.n_rounds
        return self.should_stop

    @property
    def should_stop(self) -> bool:
        """Whether the patience or the limit is reached."""
        return self.n_rounds >= self.min_rounds

    @property
    def min_rounds(self) -> int:
        """The number of rounds at which it stops if no later round is better."""
        return min(self.rule.max_rounds, max(1, self.best_round + self.rule.patience))


class Training(Protocol):
    """A training that can be continued.

    Attributes
    ----------
    curves : dict
        "valid" -> the stopping metric after each round; also "train" where it is computed.
    """

    curves: dict[str, list[float]]

    @property
    def can_continue(self) -> bool:
        """Whether it continues from its last round; else it starts again, with the same result.

        Also true before the first round, if the library can pause between rounds.
        """
        ...

    def train_to(self, rounds: int, should_stop: Callable[[float], bool]) -> None:
        """Train up to this many rounds, or until `should_stop` returns True for the metric of a new round."""
        ...

    def release(self) -> None:
        """Free the data, and keep the model."""
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
        """Return the state to save, so that an interrupted run need not train it again."""
        ...

    def second_stage(self, rounds: int, state: TrainingState | None = None) -> FoldTraining:
        """Return the training of the fold's second model, which learns from the first model's predictions.

        Returns itself where there is no second model.

        Parameters
        ----------
        rounds : int
            The rounds of the first model.
        state : TrainingState, optional
            The saved state of the second model.
        """
        ...

    def result(self, rounds: int) -> FoldResult:
        """Return the model of this many rounds, with its predictions."""
        ...


@runtime_checkable
class SharedRoundsLearner(Protocol):
    """A learner whose folds can share their number of rounds.

    Attributes
    ----------
    target_index : int
        Of the target.
    """

    target_index: int

    @property
    def shared_stopping(self) -> StoppingRule | None:
        """When the mean curve of the folds stops; None without early stopping, or where each fold stops by itself."""
        ...

    def training(self, fold: int, seed: int, state: TrainingState | None = None) -> FoldTraining:
        """Return a fold's training, new or from a saved state."""
        ...


class EarlyStoppingSpec(Protocol):
    """The settings of early stopping."""

    @property
    def rounds(self) -> int:
        """The most rounds."""
        ...

    @property
    def patience(self) -> int:
        """Rounds without an improvement after which training stops; 0 to train all rounds."""
        ...

    @property
    def rounds_per_fold(self) -> bool:
        """Whether each fold stops at its own best round."""
        ...


S = TypeVar("S", bound=EarlyStoppingSpec)


class EarlyStoppingLearner(ABC, Generic[S]):
    """The part that all libraries with early stopping share.

    Attributes
    ----------
    spec : EarlyStoppingSpec
    data : FoldData
    min_gain : float
        Only a change of the metric by more than this is an improvement.
    """

    spec: S
    data: FoldData
    min_gain = 0.0

    @abstractmethod
    def training(self, fold: int, seed: int, state: TrainingState | None = None) -> FoldTraining:
        """Return a fold's training, new or from a saved state."""

    @property
    def stopping(self) -> StoppingRule | None:
        """When a training stops; None to train all rounds."""
        if not self.spec.patience:
            return None
        greater_is_better = self.data.target.stopping_metric.greater_is_better
        return StoppingRule(self.spec.rounds, self.spec.patience, greater_is_better, self.min_gain)

    @property
    def shared_stopping(self) -> StoppingRule | None:
        """When the mean curve of the folds stops; None where each fold stops by itself."""
        return None if self.spec.rounds_per_fold else self.stopping

    def fit(self, fold: int, seed: int) -> FoldResult:
        """Train and predict one fold with one seed, at its own best number of rounds."""
        return fit_fold(self.training(fold, seed), self.stopping, self.spec.rounds)


def fit_fold(training: FoldTraining, stopping: StoppingRule | None, max_rounds: int) -> FoldResult:
    """Train a fold by itself, to its own best round; for `max_rounds` without a stopping rule."""
    rounds = _train_alone(training, stopping, max_rounds)
    second = training.second_stage(rounds)
    return second.result(rounds if second is training else _train_alone(second, stopping, max_rounds))


def _train_alone(training: FoldTraining, stopping: StoppingRule | None, max_rounds: int) -> int:
    """Train a fold by itself and return its best number of rounds."""
    if stopping is None:
        training.train_to(max_rounds, lambda _: False)
        return max_rounds
    counter = RoundCounter(stopping)
    training.train_to(stopping.max_rounds, counter.add)
    return counter.best_round


def train_with_shared_rounds(
    learner: SharedRoundsLearner,
    folds: range,
    seed: int,
    *,
    parts: Parts | None = None,
    max_in_memory: int | None = None,
    on_result: Callable[[FoldResult, bool], None] = lambda _result, _is_new: None,
) -> list[FoldResult]:
    """Train all folds with one seed, with the best number of rounds of their mean curve.

    The curves are averaged over the folds, each with the same weight, as in the CV score. Folds are trained one after
    the other, each until its own curve stops; folds that stopped before the mean curve did are then trained further.

    Parameters
    ----------
    learner : SharedRoundsLearner
        With a `shared_stopping`.
    parts : Parts, optional
        Checkpoints: finished folds and interrupted trainings are loaded from there and saved there.
    max_in_memory : int, optional
        The number of folds that may be in memory at once; None for all. It affects the run time only.
    on_result : callable, optional
        Called with each result, and whether it is new.
    """
    stopping = learner.shared_stopping
    if stopping is None:
        raise ValueError("the learner's folds do not share their number of rounds")
    finished = {k: stored for k in folds if parts and (stored := parts.load(learner.target_index, k, seed)) is not None}
    if len(finished) == len(folds):
        for result in finished.values():
            on_result(result, False)
        return list(finished.values())

    def load_state(fold: int, stage: int) -> TrainingState | None:
        return parts.load_training(learner.target_index, fold, seed, stage) if parts else None

    def save_state(training: FoldTraining, stage: int) -> None:
        if parts:
            parts.save_training(learner.target_index, training.fold, seed, stage, training.state())

    def train_stage(trainings: list[FoldTraining], stage: int) -> tuple[int, int]:
        return find_shared_rounds(
            trainings, stopping, max_in_memory=max_in_memory, on_trained=lambda t: save_state(t, stage)
        )

    trainings = [learner.training(k, seed, load_state(k, 1)) for k in folds]
    rounds, n_curve_rounds = train_stage(trainings, 1)
    first_stage, trainings = trainings, [t.second_stage(rounds, load_state(t.fold, 2)) for t in trainings]
    if any(t is not first for t, first in zip(trainings, first_stage, strict=True)):
        rounds, n_curve_rounds = train_stage(trainings, 2)
    results = []
    for training in trainings:
        stored_result = finished.get(training.fold)
        if stored_result is None:
            # How far a fold was trained past the end of the mean curve depends on memory; the result must not.
            training.curves = {name: values[:n_curve_rounds] for name, values in training.curves.items()}
            result = training.result(rounds)
            if parts:
                parts.save(result)
        else:
            result = stored_result
        training.release()
        on_result(result, stored_result is None)
        results.append(result)
    return results


T = TypeVar("T", bound=Training)


def find_shared_rounds(
    trainings: Sequence[T],
    stopping: StoppingRule,
    *,
    max_in_memory: int | None = None,
    on_trained: Callable[[T], None] = lambda _: None,
) -> tuple[int, int]:
    """Train until early stopping ends the mean of the validation curves.

    Parameters
    ----------
    max_in_memory : int, optional
        The number of trainings that may be in memory at once; None for all.
    on_trained : callable
        Called with each training after it was trained further.

    Returns
    -------
    best_round : int
        The best round of the mean curve.
    n_rounds : int
        The length of the mean curve, at which it stopped.
    """
    group = _TrainingGroup(
        trainings, stopping, len(trainings) if max_in_memory is None else max(1, max_in_memory), on_trained
    )
    for position, training in enumerate(trainings):
        # The last one is trained only as far as the mean needs, if it can be continued.
        if position + 1 < len(trainings) or not group.all_fit_in_memory or not training.can_continue:
            group.train_until_stopped(training)
    while not (mean := group.mean_counter()).should_stop:
        longest = min(stopping.max_rounds, max(map(_n_rounds, trainings)))
        for training in trainings:
            if _n_rounds(training) < mean.min_rounds:
                # A training that starts again goes at least as far as the longest, to start only once.
                rounds = mean.min_rounds if training.can_continue else max(mean.min_rounds, longest)
                group.train_to(training, rounds, lambda _: False)
    return mean.best_round, mean.n_rounds


@dataclass(frozen=True)
class _TrainingGroup(Generic[T]):
    """Trainings that share their number of rounds; `max_in_memory` of them may be in memory at once."""

    trainings: Sequence[T]
    stopping: StoppingRule
    max_in_memory: int
    on_trained: Callable[[T], None]

    @property
    def all_fit_in_memory(self) -> bool:
        """Whether all of them may be in memory at once."""
        return self.max_in_memory >= len(self.trainings)

    def mean_counter(self) -> RoundCounter:
        """Count the rounds of the mean curve, up to the shortest of the curves."""
        shortest = min(map(_n_rounds, self.trainings))
        if not shortest:
            return RoundCounter(self.stopping)
        return self.stopping.apply(np.mean([t.curves["valid"][:shortest] for t in self.trainings], axis=0))

    def train_until_stopped(self, training: T) -> None:
        """Train until the training's own curve stops."""
        counter = RoundCounter(self.stopping)
        for value in training.curves["valid"]:
            counter.add(value)
        # If continuing means starting again, train right away for as many rounds as the longest training so far.
        min_rounds = 0 if self.all_fit_in_memory and training.can_continue else max(map(_n_rounds, self.trainings))
        if counter.should_stop and counter.n_rounds >= min_rounds:
            return
        if not training.can_continue:
            counter = RoundCounter(self.stopping)
        self.train_to(
            training,
            self.stopping.max_rounds,
            lambda value: counter.add(value) and counter.n_rounds >= min_rounds,
        )

    def train_to(self, training: T, rounds: int, should_stop: Callable[[float], bool]) -> None:
        """Train up to this many rounds, or until `should_stop`; others are released where memory does not suffice."""
        in_memory = [t for t in self.trainings if t is not training and t.can_continue and _n_rounds(t)]
        # The longest are released first: the mean curve is unlikely to become longer than they are.
        for other in sorted(in_memory, key=_n_rounds)[self.max_in_memory - 1 :]:
            other.release()
        training.train_to(rounds, should_stop)
        self.on_trained(training)


def _n_rounds(training: Training) -> int:
    return len(training.curves["valid"])


def limit_notes(results: Iterable[FoldResult], max_rounds: int, patience: int) -> list[str]:
    """Return a note for each target and seed whose models reached the limit before they could stop."""
    if not patience:
        return []
    limited = [r for r in results if len(r.curve.get("valid", ())) >= max_rounds and r.rounds > max_rounds - patience]
    has_several = len({(r.target, r.seed) for r in limited}) > 1
    notes = []
    for (target, seed), group in groupby(limited, key=lambda r: (r.target, r.seed)):
        limited_folds = list(group)
        prefix = f"target {target}, seed {seed}: " if has_several else ""
        best_rounds = sorted({r.rounds for r in limited_folds})
        best = f"{best_rounds[0]:,}" if len(best_rounds) == 1 else f"{best_rounds[0]:,} to {best_rounds[-1]:,}"
        notes.append(
            f"{prefix}early stopping reached the limit of {counted(max_rounds, 'round')} "
            f"in {counted(len(limited_folds), 'fold')}, and the "
            f"best is round {best}: more rounds, or a higher learning rate, may score better"
        )
    return notes
