"""The time limits of a search: its budget, and the deadline of the stage that is running."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.models.lightgbm.fold_scorer import Fidelity, FoldScore, FoldScorer

__all__ = ["Budget", "Deadline", "TimedScorer"]

PROGRESS_INTERVAL_S = 0.5

SPENT_INTERVAL_S = 10.0
"""Seconds between two writes of the time spent to the study; a killed search loses at most this much."""


@dataclass(frozen=True)
class Budget:
    """The limits of a search; it ends at whichever is reached first.

    Attributes
    ----------
    started_at : float
        When the time began to count, on time.perf_counter.
    ends_at : float, or None
    trials : int, or None
        The number of low-fidelity trials.
    """

    started_at: float
    ends_at: float | None = None
    trials: int | None = None

    def time_at(self, share: float) -> float | None:
        """Return when a share of the time is over, on time.perf_counter; None without a time limit."""
        return None if self.ends_at is None else self.started_at + share * (self.ends_at - self.started_at)

    def spent_s(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self.started_at

    def remaining_s(self) -> float | None:
        """Return the seconds until the end, at least 0; None without a time limit."""
        return None if self.ends_at is None else max(0.0, self.ends_at - time.perf_counter())


class Deadline:
    """The end of the running stage; whoever works checks it between two steps.

    Parameters
    ----------
    on_progress : callable
        Called with the stage's name twice a second, while there is time.
    save_spent : callable
        Called every ten seconds.
    """

    def __init__(self, on_progress: Callable[[str], None], save_spent: Callable[[], None]) -> None:
        self.stage, self.ends_at = "", math.inf
        self._on_progress, self._save_spent = on_progress, save_spent
        self._progress_at, self._saved_at = -math.inf, 0.0

    def begin(self, stage: str, ends_at: float | None) -> None:
        """Begin a stage; None for one without a time limit."""
        self.stage, self.ends_at = stage, math.inf if ends_at is None else ends_at
        self._progress_at = -math.inf

    def remaining_s(self) -> float:
        """Return the seconds that the stage has left; negative once they are over."""
        return self.ends_at - time.perf_counter()

    def is_over(self) -> bool:
        """Return whether the stage's time is over; until then, report progress when it is due."""
        now = time.perf_counter()
        if now > self.ends_at:
            return True
        if now > self._progress_at + PROGRESS_INTERVAL_S:
            self._progress_at = now
            self._on_progress(self.stage)
        if now > self._saved_at + SPENT_INTERVAL_S:
            self._saved_at = now
            self._save_spent()
        return False


class _TrainingEndedError(Exception):
    """The deadline passed during a training; `TimedScorer` catches it."""


class TimedScorer:
    """A scorer whose trainings end at the deadline.

    Parameters
    ----------
    scorer : FoldScorer
    deadline : Deadline
    """

    def __init__(self, scorer: FoldScorer, deadline: Deadline) -> None:
        self.problem, self.spec, self.stopping_metric = scorer.problem, scorer.spec, scorer.stopping_metric
        self.folds = scorer.problem.folds
        self._scorer, self._deadline = scorer, deadline
        scorer.each_round = self._end_training

    def score(
        self, parameters: Mapping[str, Any], fold: int, fidelity: Fidelity, *, seed: int = 1, **options: Any
    ) -> FoldScore | None:
        """Return the score of a fold, see `FoldScorer.score`; None where the deadline ended the training."""
        try:
            return self._scorer.score(parameters, fold, seed, fidelity, **options)
        except _TrainingEndedError:
            return None

    def _end_training(self) -> None:
        if self._deadline.is_over():
            raise _TrainingEndedError
