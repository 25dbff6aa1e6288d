"""What a search finds: parameter sets with their scores, as the study holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Progress", "SearchResult", "TrialScores", "scored_trials", "value_of"]


@dataclass(frozen=True)
class Progress:
    """Where a search is; `left` is in seconds, None without a promise of time."""

    stage: str
    complete: int
    pruned: int
    failed: int
    best: float | None
    left: float | None


@dataclass(frozen=True)
class TrialScores:
    """A parameter set with its scores.

    Attributes
    ----------
    number : int
        The trial.
    parameters : dict
        What the study searched, by LightGBM's names.
    quick : float
    full, second : tuple of float, or None
        Fold scores at the low learning rate, on the competition's folds and on others.
    rounds : tuple of int
        The rounds of each target's models of the full score, the same in each fold.
    rate : float, or None
        The learning rate of the full score, where the study chose it.
    cut : int, or None
        The rounds after which a fold of the full score was ended by the time; None where none was.
    held_out : float, or None
        The score of rows that the search has not seen, of a model with these rounds.
    """

    number: int
    parameters: dict[str, Any]
    quick: float
    full: tuple[float, ...] | None = None
    second: tuple[float, ...] | None = None
    rounds: tuple[int, ...] = ()
    rate: float | None = None
    cut: int | None = None
    held_out: float | None = None

    @property
    def value(self) -> float:
        """The mean of the full score; NaN without one."""
        return float(np.mean(self.full)) if self.full else math.nan

    @property
    def judged(self) -> float:
        """What the best is chosen by: the mean over the folds of both scores, or of the one that there is."""
        return float(np.mean([*(self.full or ()), *self.second])) if self.second else self.value


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes
    ----------
    best : TrialScores, or None
        None where no trial finished within the time.
    start : TrialScores, or None
        The experiment's own parameters.
    ranked : tuple of TrialScores
        Those with a full score, the best first.
    """

    best: TrialScores | None
    start: TrialScores | None
    ranked: tuple[TrialScores, ...]
    complete: int
    pruned: int
    failed: int
    trials_now: int
    seconds: float
    notes: tuple[str, ...] = ()


def value_of(trial: Any) -> float:
    """Return the value of a trial that is complete: such a one always has it."""
    return float(trial.value)


def scored_trials(study: Any, *, greater_is_better: bool) -> list[TrialScores]:
    """Return the trials of a study that have a full score, the best first."""
    attributes, trials = study.user_attrs, study.get_trials(deepcopy=False)
    seconds = _second_scores(attributes)
    found = []
    for name, full in attributes.items():
        if name.startswith("full:") and "scores" in full:
            number = int(name.removeprefix("full:"))
            trial = trials[number]
            found.append(
                TrialScores(
                    number,
                    dict(trial.params),
                    value_of(trial),
                    tuple(full["scores"]),
                    seconds.get(number),
                    tuple(full["rounds"]),
                    full["rate"],
                    full["cut"],
                    attributes.get(f"held_out:{number}"),
                )
            )
    return sorted(found, key=lambda s: -s.value if greater_is_better else s.value)


def _second_scores(attributes: Mapping[str, Any]) -> dict[int, tuple[float, ...]]:
    """Return the scores on other folds by trial, all of the same folds: of as many as two of the trials have."""
    of_trial = {
        int(name.removeprefix("second:")): {int(k): float(v) for k, v in scores.items()}
        for name, scores in attributes.items()
        if name.startswith("second:") and scores
    }
    n_folds = sorted(map(len, of_trial.values()), reverse=True)[:2]
    return {
        number: tuple(scores[k] for k in sorted(scores)[-n_folds[-1] :])
        for number, scores in of_trial.items()
        if len(scores) >= n_folds[-1]
    }
