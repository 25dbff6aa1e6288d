"""What a search finds: parameter sets with their scores, as the study holds them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.tuning.state import CVScores

__all__ = ["SearchResult", "TrialScores", "best_of", "scored_trials", "value_of"]


@dataclass(frozen=True)
class TrialScores:
    """A parameter set with its scores.

    Attributes
    ----------
    number : int
        The trial.
    parameters : dict
        What the study searched, by LightGBM's names.
    low_fidelity : float
    full_cv, repeated_cv : tuple of float, or None
        Fold scores at the low learning rate, on the competition's folds and on others.
    rounds : tuple of int
        The rounds of each target's models of full CV, the same in each fold.
    rate : float, or None
        The learning rate of full CV, where the study chose it.
    cut : int, or None
        The rounds after which a fold of full CV was ended by the time; None where none was.
    holdout : float, or None
        The score of rows that the search has not seen, of a model with these rounds.
    """

    number: int
    parameters: dict[str, Any]
    low_fidelity: float
    full_cv: tuple[float, ...] | None = None
    repeated_cv: tuple[float, ...] | None = None
    rounds: tuple[int, ...] = ()
    rate: float | None = None
    cut: int | None = None
    holdout: float | None = None

    @property
    def value(self) -> float:
        """The mean of full CV; NaN without one."""
        return float(np.mean(self.full_cv)) if self.full_cv else math.nan

    @property
    def selection_score(self) -> float:
        """What the best is chosen by: the mean over the folds of full and repeated CV, or of the one that there is."""
        return float(np.mean([*(self.full_cv or ()), *self.repeated_cv])) if self.repeated_cv else self.value


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes
    ----------
    best : TrialScores, or None
        None where no trial finished within the time.
    initial : TrialScores, or None
        The experiment's own parameters.
    ranked : tuple of TrialScores
        Those with full CV, the best first.
    """

    best: TrialScores | None
    initial: TrialScores | None
    ranked: tuple[TrialScores, ...]
    complete: int
    pruned: int
    failed: int
    trials_now: int
    seconds: float
    notes: tuple[str, ...] = ()


def best_of(ranked: Sequence[TrialScores], *, greater_is_better: bool) -> TrialScores | None:
    """Return the best by full and repeated CV, of those with both where there are some; None of none."""
    # Only what was scored twice can be trusted as much as the others that were.
    repeated = [s for s in ranked if s.repeated_cv is not None]
    sign = 1.0 if greater_is_better else -1.0
    return max(repeated or ranked, key=lambda s: sign * s.selection_score, default=None)


def value_of(trial: Any) -> float:
    """Return the value of a trial that is complete: such a one always has it."""
    return float(trial.value)


def scored_trials(study: Any, *, greater_is_better: bool) -> list[TrialScores]:
    """Return the trials of a study whose full CV is finished, the best first."""
    trials = study.get_trials(deepcopy=False)
    scored = [
        TrialScores(
            number,
            dict(trials[number].params),
            value_of(trials[number]),
            full.scores,
            repeated,
            full.rounds,
            full.rate,
            full.cut,
            holdout,
        )
        for number, full, repeated, holdout in CVScores(study).finished()
    ]
    return sorted(scored, key=lambda s: -s.value if greater_is_better else s.value)
