"""How long a search may take: its budget, and the deadline of the stage that is running."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.models.lightgbm.fold_scorer import Fidelity, FoldScore, FoldScorer

__all__ = ["Budget", "Deadline", "TimedScorer"]

REPORT_S = 0.5
"""Seconds between two reports of progress."""

MARK_S = 10.0
"""Seconds between two notes of the time spent, which a killed search leaves behind."""


@dataclass(frozen=True)
class Budget:
    """When to stop: at `ends_at` (of time.perf_counter) or after `trials` low-fidelity trials, whatever comes first.

    `started_at` is when the clock of the promise began to run.
    """

    started_at: float
    ends_at: float | None = None
    trials: int | None = None

    def at(self, share: float) -> float | None:
        """Return when a share of the time is over."""
        return None if self.ends_at is None else self.started_at + share * (self.ends_at - self.started_at)

    def spent_s(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self.started_at

    def remaining_s(self) -> float | None:
        """Return the seconds until the end, at least 0; None without a time limit."""
        return None if self.ends_at is None else max(0.0, self.ends_at - time.perf_counter())


class Deadline:
    """The end of the running stage's time; whoever works asks it between two pieces of work.

    Parameters
    ----------
    report : callable
        Told the stage twice a second, as long as there is time.
    mark : callable
        Called every ten seconds.
    """

    def __init__(self, report: Callable[[str], None], mark: Callable[[], None]) -> None:
        self.stage, self.ends_at = "", math.inf
        self._report, self._mark = report, mark
        self._reported_at, self._marked_at = -math.inf, 0.0

    def begin(self, stage: str, ends_at: float | None) -> None:
        """Begin a stage, which is reported at once; None for one without a time limit."""
        self.stage, self.ends_at = stage, math.inf if ends_at is None else ends_at
        self._reported_at = -math.inf

    def remaining_s(self) -> float:
        """Return the seconds that the stage has left; negative once they are over."""
        return self.ends_at - time.perf_counter()

    def is_over(self) -> bool:
        """Say whether the stage's time is over; until then, report progress where it is due."""
        now = time.perf_counter()
        if now > self.ends_at:
            return True
        if now > self._reported_at + REPORT_S:
            self._reported_at = now
            self._report(self.stage)
        if now > self._marked_at + MARK_S:
            self._marked_at = now
            self._mark()
        return False


class _TrainingEndedError(Exception):
    """The deadline passed in the middle of a training; it goes no further than `TimedScorer`."""


class TimedScorer:
    """A scorer that gives no score of a fold whose training the deadline ended.

    Parameters
    ----------
    scorer : FoldScorer
    deadline : Deadline
    """

    def __init__(self, scorer: FoldScorer, deadline: Deadline) -> None:
        self.problem, self.spec, self.watched = scorer.problem, scorer.spec, scorer.watched
        self.folds = scorer.problem.folds
        self._scorer, self._deadline = scorer, deadline
        scorer.each_round = self._end_training

    def score(
        self, parameters: Mapping[str, Any], fold: int, fidelity: Fidelity, *, seed: int = 1, **options: Any
    ) -> FoldScore | None:
        """Return a fold's score, as `FoldScorer.score` does; None where the time was over before."""
        try:
            return self._scorer.score(parameters, fold, seed, fidelity, **options)
        except _TrainingEndedError:
            return None

    def _end_training(self) -> None:
        if self._deadline.is_over():
            raise _TrainingEndedError
