"""The results of a search: parameter sets with their scores, read from the study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.tuning.state import CVScores

__all__ = ["SearchResult", "TrialScores", "best_of", "scored_trials", "trial_value"]


@dataclass(frozen=True)
class TrialScores:
    """The scores of one trial's parameter set.

    Attributes
    ----------
    number : int
        Of the trial.
    parameters : dict
        The searched parameters, by LightGBM's names.
    low_fidelity : float
        The mean score over the low-fidelity folds.
    full_cv, repeated_cv : tuple of float, or None
        Fold scores at the low learning rate, on the competition's folds and on other folds.
    rounds : tuple of int
        The mean rounds of full CV, one number per target.
    learning_rate : float, or None
        The learning rate of full CV; None where the study did not choose it.
    rounds_at_time_limit : int, or None
        The fewest rounds after which the time limit ended a fold of full CV; None where it ended none.
    holdout : float, or None
        The score on the held-out rows, of a model with these rounds.
    """

    number: int
    parameters: dict[str, Any]
    low_fidelity: float
    full_cv: tuple[float, ...] | None = None
    repeated_cv: tuple[float, ...] | None = None
    rounds: tuple[int, ...] = ()
    learning_rate: float | None = None
    rounds_at_time_limit: int | None = None
    holdout: float | None = None

    @property
    def value(self) -> float:
        """The mean of full CV; NaN without one."""
        return float(np.mean(self.full_cv)) if self.full_cv else math.nan

    @property
    def selection_score(self) -> float:
        """The score that the best set is chosen by: the mean over the folds of full CV and any repeated CV."""
        return float(np.mean([*(self.full_cv or ()), *self.repeated_cv])) if self.repeated_cv else self.value


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes
    ----------
    best : TrialScores, or None
        None where no trial finished within the time.
    initial : TrialScores, or None
        Of the experiment's own parameters.
    ranked : tuple of TrialScores
        The trials with full CV, the best first.
    complete, pruned, failed : int
        The study's trials in each state.
    n_new_trials : int
        The trials of this search.
    seconds : float
    notes : tuple of str
        Messages for the user.
    """

    best: TrialScores | None
    initial: TrialScores | None
    ranked: tuple[TrialScores, ...]
    complete: int
    pruned: int
    failed: int
    n_new_trials: int
    seconds: float
    notes: tuple[str, ...] = ()


def best_of(ranked: Sequence[TrialScores], *, greater_is_better: bool) -> TrialScores | None:
    """Return the best by `selection_score`; None of an empty sequence.

    Where some have repeated CV, the best of those: the mean of fewer folds is noisier, and its best more optimistic.
    """
    repeated = [s for s in ranked if s.repeated_cv is not None]
    sign = 1.0 if greater_is_better else -1.0
    return max(repeated or ranked, key=lambda s: sign * s.selection_score, default=None)


def trial_value(trial: Any) -> float:
    """Return the score of a complete trial."""
    return float(trial.value)


def scored_trials(study: Any, *, greater_is_better: bool) -> list[TrialScores]:
    """Return the trials of a study whose full CV is finished, the best first."""
    trials = study.get_trials(deepcopy=False)
    scored = [
        TrialScores(
            number,
            dict(trials[number].params),
            trial_value(trials[number]),
            full.scores,
            repeated,
            full.rounds,
            full.learning_rate,
            full.rounds_at_time_limit,
            holdout,
        )
        for number, full, repeated, holdout in CVScores(study).finished()
    ]
    return sorted(scored, key=lambda s: -s.value if greater_is_better else s.value)
