"""A race: trials are scored by full CV fold by fold; those that are worse, or have no time left, drop out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from workbench.core.errors import TrainingError
from workbench.models.lightgbm.fold_scorer import Fidelity, FoldScore, shared_score
from workbench.tuning.context import SearchContext, failure_reason
from workbench.tuning.plan import LowFidelity, affordable_trials, not_clearly_worse, target_full_cvs
from workbench.tuning.state import FullCV, TrialState
from workbench.tuning.trials import trial_seconds

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["LONGER_FOLD", "Race", "first_fold_limit"]

FIRST_FOLD_SHARE = 0.4
"""The share of the time of full CV that the first fold of all racing trials may take."""

LONGER_FOLD = 2.0
"""A score of a training that the time limit ended is repeated if a fold may now train this many times as long."""


def first_fold_limit(context: SearchContext, began_at: float) -> float:
    """Return how many seconds a trial's first fold may train, so that enough other trials get their time, too."""
    n_parameter_sets = target_full_cvs(context.valid_rows, all_folds=context.options.scores_all_folds)
    return (context.deadline.ends_at - began_at) / (context.n_folds * n_parameter_sets)


class Race:
    """One race; each trial finishes, is dropped, or waits for another race if the time was too short.

    Parameters
    ----------
    context : SearchContext
    low_fidelity : LowFidelity
    learning_rate : float, or None
        The learning rate; None for each trial's own.
    trials : sequence of FrozenTrial
    """

    def __init__(
        self,
        context: SearchContext,
        low_fidelity: LowFidelity,
        learning_rate: float | None,
        trials: Sequence[FrozenTrial],
    ) -> None:
        self._context, self._low_fidelity, self._rate = context, low_fidelity, learning_rate
        self._trials = {t.number: t for t in trials}
        self._initial = next((t.number for t in trials if context.trials.is_initial(t)), None)
        self._scores_by_fold: dict[int, dict[int, FoldScore]] = {number: {} for number in self._trials}
        # The folds of low fidelity come first: their scores count as full CV if they are as thorough.
        low_folds = low_fidelity.folds
        self._folds = [*low_folds, *(k for k in range(context.n_folds) if k not in low_folds)]
        self._began_at = time.perf_counter()

    def run(self) -> bool:
        """Return False where the stage's time ended the race."""
        racing = list(self._trials)
        for position, fold in enumerate(self._folds):
            limit_s = self._limit_s(position, len(racing))
            for number in racing:
                if position == 0 and self._first_fold_is_over():
                    break
                if self._context.deadline.is_over():
                    return False
                try:
                    score = self._score_fold(number, fold, limit_s)
                except (TrainingError, MemoryError) as exc:
                    self._fail(number, exc)
                    continue
                if score is None:
                    return False
                self._scores_by_fold[number][fold] = score
                if position + 1 == len(self._folds):
                    self._finish(number)
            scored = [n for n in racing if self._scores_by_fold[n]]
            racing = self._survivors(scored, self._folds[: position + 1])
        return True

    def _limit_s(self, position: int, n_racing: int) -> float:
        """Return how long a fold may train; the last racing trial shares the time among its remaining folds."""
        if position == 0:
            return first_fold_limit(self._context, self._began_at)
        if n_racing > 1:
            return math.inf
        return 0.95 * self._context.deadline.remaining_s() / (len(self._folds) - position)

    def _first_fold_is_over(self) -> bool:
        """Return whether the first fold of all trials has taken its share of the time."""
        ends_at = self._began_at + FIRST_FOLD_SHARE * (self._context.deadline.ends_at - self._began_at)
        # A race needs at least two trials.
        return sum(map(bool, self._scores_by_fold.values())) > 1 and time.perf_counter() > ends_at

    def _score_fold(self, number: int, fold: int, limit_s: float) -> FoldScore | None:
        """Return a trial's score on a fold, stored or computed; None where the deadline ended the training."""
        context, trial = self._context, self._trials[number]
        fidelity = context.full_fidelity.at_rate(self._rate)
        stored = self._stored_score(trial, fold, fidelity, limit_s)
        if stored is not None:
            return stored
        # If the time limit ended an earlier fold, the others get as many rounds: their scores are averaged.
        rounds_at_limit = _fewest_rounds_at_time_limit(self._scores_by_fold[number].values())
        if rounds_at_limit is not None:
            fidelity = replace(fidelity, rounds=rounds_at_limit)
        keep_oof = context.options.n_oof_trials > 0 and not context.full_fidelity.shares_rounds
        parameters = context.space.parameters(trial.params)
        score = context.scorer.score(parameters, fold, replace(fidelity, seconds=limit_s), keep_oof=keep_oof)
        if score is None:
            return None
        if rounds_at_limit is not None and score.rounds_at_time_limit is None:
            score = replace(score, rounds_at_time_limit=rounds_at_limit)
        context.cv_scores.add_fold(number, self._rate, fold, score)
        return score

    def _stored_score(self, trial: FrozenTrial, fold: int, fidelity: Fidelity, limit_s: float) -> FoldScore | None:
        """Return the score of an earlier race, or a low-fidelity one that is as thorough; None without one."""
        stored = self._context.cv_scores.fold_scores(trial.number, self._rate).get(fold)
        if stored is not None and (stored.rounds_at_time_limit is None or limit_s < LONGER_FOLD * stored.seconds):
            return stored
        low_fidelity = self._low_fidelity
        # Early stopping at one round for all folds needs curves, which low-fidelity scores do not have.
        if fold not in low_fidelity.folds or low_fidelity.fidelity != fidelity or fidelity.patience:
            return None
        rounds = TrialState(trial).rounds[low_fidelity.folds.index(fold)]
        return FoldScore(trial.intermediate_values[fold], (rounds,), trial_seconds(trial) / len(low_fidelity.folds))

    def _fail(self, number: int, exc: Exception) -> None:
        n_failures = self._context.cv_scores.count_failure(number)
        outcome = "failed twice" if n_failures > 1 else "tried once more"
        self._context.failures.append(f"trial {number}, full CV ({outcome}): {failure_reason(exc)}")
        self._scores_by_fold[number].clear()

    def _survivors(self, racing: list[int], folds: Sequence[int]) -> list[int]:
        """Return the trials that are scored on the next fold, the best first; those that are worse are marked."""
        context = self._context
        n_remaining = len(self._folds) - len(folds)
        if not n_remaining or not racing:
            return []
        scores = {n: [self._scores_by_fold[n][k].score for k in folds] for n in racing}
        survivors = not_clearly_worse(
            self._best_finished(folds) | scores, self._initial, greater_is_better=context.trials.greater_is_better
        )
        for number in set(racing) - set(survivors):
            context.cv_scores.drop(number, len(folds))
        fold_s = float(np.mean([s.seconds for n in racing for s in self._scores_by_fold[n].values()]))
        n_affordable = context.deadline.remaining_s() / max(1e-9, n_remaining * fold_s)
        return affordable_trials([n for n in survivors if n in scores], n_affordable, self._initial)

    def _best_finished(self, folds: Sequence[int]) -> dict[int, list[float]]:
        """Return the scores of these folds of the best trial whose full CV is finished, by its number."""
        best = next(iter(self._context.trials.scored()), None)
        return {best.number: [best.full_cv[k] for k in folds]} if best and best.full_cv else {}

    def _finish(self, number: int) -> None:
        context, score_by_fold = self._context, self._scores_by_fold[number]
        scores = [score_by_fold[k] for k in range(context.n_folds)]
        if context.full_fidelity.shares_rounds:
            scores = shared_score(scores, greater_is_better=context.trials.greater_is_better)
            # These OOF are of each fold's own rounds; `MissingOOF` trains those of the shared rounds.
            score_by_fold = {k: replace(s, oof=None) for k, s in score_by_fold.items()}
        full = _full_cv(scores, self._rate)
        with context.saving_oof(number, float(np.mean(full.scores or ())), score_by_fold, is_full_cv=True):
            context.cv_scores.finish(number, full)
        context.cv_scores.forget_later_scores(number)


def _full_cv(scores: Sequence[FoldScore], learning_rate: float | None) -> FullCV:
    """Return the finished full CV of a trial from the scores of all folds."""
    rounds_by_target = zip(*(s.rounds for s in scores), strict=True)
    return FullCV(
        scores=tuple(s.score for s in scores),
        rounds=tuple(max(1, round(float(np.mean(fold_rounds)))) for fold_rounds in rounds_by_target),
        learning_rate=learning_rate,
        rounds_at_time_limit=_fewest_rounds_at_time_limit(scores),
        seconds=round(sum(s.seconds for s in scores), 3),
    )


def _fewest_rounds_at_time_limit(scores: Iterable[FoldScore]) -> int | None:
    return min((s.rounds_at_time_limit for s in scores if s.rounds_at_time_limit is not None), default=None)
