"""A race of trials for full CV: all of them are scored fold by fold, and what is worse, or has no time, drops out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from workbench.core.errors import TrainingError
from workbench.models.lightgbm.fold_scorer import Fidelity, FoldScore, shared_score
from workbench.tuning.context import SearchContext, failure_reason
from workbench.tuning.plan import LowFidelity, affordable_trials, not_clearly_worse, wanted_full_cvs
from workbench.tuning.state import FullCV, TrialState
from workbench.tuning.trials import trial_seconds

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["MUCH_LONGER", "Race", "first_fold_limit"]

FIRST_FOLD = 0.4
"""Of the time of full CV may go into the first fold of those that race."""

MUCH_LONGER = 2.0
"""A score that the time ended is made again where a fold may now take so many times as long."""


def first_fold_limit(context: SearchContext, begun: float) -> float:
    """Return how long a trial's first fold may train: nobody may use up the time that the others need."""
    wanted = wanted_full_cvs(context.valid_rows, all_folds=context.options.scores_all_folds)
    return (context.deadline.ends_at - begun) / (context.n_folds * wanted)


class Race:
    """One race; each trial is dropped or finished at its end, or there was no time for it.

    Parameters
    ----------
    context : SearchContext
    low : LowFidelity
    rate : float, or None
        The learning rate; None for each trial's own.
    trials : sequence of FrozenTrial
    """

    def __init__(
        self, context: SearchContext, low: LowFidelity, rate: float | None, trials: Sequence[FrozenTrial]
    ) -> None:
        self._context, self._low, self._rate = context, low, rate
        self._trials = {t.number: t for t in trials}
        self._initial = next((t.number for t in trials if context.trials.is_initial(t)), None)
        self._scores: dict[int, dict[int, FoldScore]] = {number: {} for number in self._trials}
        # A low-fidelity score that is as thorough need not be made again.
        self._folds = [*low.folds, *(k for k in range(context.n_folds) if k not in low.folds)]
        self._begun = time.perf_counter()

    def run(self) -> bool:
        """Return False where the stage's time ended it."""
        racing = list(self._trials)
        for place, fold in enumerate(self._folds):
            limit = self._limit(place, len(racing))
            for number in racing:
                if place == 0 and self._first_fold_is_over():
                    break
                if self._context.deadline.is_over():
                    return False
                try:
                    score = self._score_fold(number, fold, limit)
                except (TrainingError, MemoryError) as exc:
                    self._fail(number, exc)
                    continue
                if score is None:
                    return False
                self._scores[number][fold] = score
                if place + 1 == len(self._folds):
                    self._finish(number)
            racing = self._survivors([n for n in racing if self._scores[n]], self._folds[: place + 1])
        return True

    def _limit(self, place: int, n_racing: int) -> float:
        """Return how long a fold may train: the last in the race has to get through all of the folds that remain."""
        if place == 0:
            return first_fold_limit(self._context, self._begun)
        if n_racing > 1:
            return math.inf
        return 0.95 * self._context.deadline.remaining_s() / (len(self._folds) - place)

    def _first_fold_is_over(self) -> bool:
        ends_at = self._begun + FIRST_FOLD * (self._context.deadline.ends_at - self._begun)
        # Two of them are a race.
        return sum(map(bool, self._scores.values())) > 1 and time.perf_counter() > ends_at

    def _score_fold(self, number: int, fold: int, limit: float) -> FoldScore | None:
        context, trial = self._context, self._trials[number]
        fidelity = context.full.at(self._rate)
        stored = self._stored_score(trial, fold, fidelity, limit)
        if stored is not None:
            return stored
        cut = min((s.cut for s in self._scores[number].values() if s.cut is not None), default=None)
        if cut is not None:
            fidelity = replace(fidelity, rounds=cut)
        keep_oof = context.options.keep > 0 and not context.full.shares_rounds
        parameters = context.space.parameters(trial.params)
        score = context.scorer.score(parameters, fold, replace(fidelity, seconds=limit), keep_oof=keep_oof)
        if score is None:
            return None
        if cut is not None and score.cut is None:
            score = replace(score, cut=cut)
        context.cv.add_fold(number, self._rate, fold, score)
        return score

    def _stored_score(self, trial: FrozenTrial, fold: int, fidelity: Fidelity, limit: float) -> FoldScore | None:
        """Return the score that an earlier race left, or a low-fidelity one that is as thorough."""
        stored = self._context.cv.fold_scores(trial.number, self._rate).get(fold)
        if stored is not None and (stored.cut is None or limit < MUCH_LONGER * stored.seconds):
            return stored
        low = self._low
        # Of a low-fidelity score there is no curve to find one number of rounds by.
        if fold not in low.folds or low.fidelity != fidelity or fidelity.patience:
            return None
        rounds = TrialState(trial).rounds[low.folds.index(fold)]
        return FoldScore(trial.intermediate_values[fold], (rounds,), trial_seconds(trial) / len(low.folds))

    def _fail(self, number: int, exc: Exception) -> None:
        n_failures = self._context.cv.count_failure(number)
        outcome = "failed twice" if n_failures > 1 else "tried once more"
        self._context.failures.append(f"trial {number}, full CV ({outcome}): {failure_reason(exc)}")
        self._scores[number].clear()

    def _survivors(self, racing: list[int], folds: Sequence[int]) -> list[int]:
        """Return who is scored on the next fold, the best first; who is dropped for being worse is marked."""
        context = self._context
        n_remaining = len(self._folds) - len(folds)
        if not n_remaining or not racing:
            return []
        scores = {n: [self._scores[n][k].score for k in folds] for n in racing}
        survivors = not_clearly_worse(
            self._best_before(folds) | scores, self._initial, greater_is_better=context.trials.greater_is_better
        )
        for number in set(racing) - set(survivors):
            context.cv.drop(number, len(folds))
        fold_s = float(np.mean([s.seconds for n in racing for s in self._scores[n].values()]))
        room = context.deadline.remaining_s() / max(1e-9, n_remaining * fold_s)
        return affordable_trials([n for n in survivors if n in scores], room, self._initial)

    def _best_before(self, folds: Sequence[int]) -> dict[int, list[float]]:
        """Return the scores of the best trial whose full CV is finished."""
        best = next(iter(self._context.trials.scored()), None)
        return {best.number: [best.full_cv[k] for k in folds]} if best and best.full_cv else {}

    def _finish(self, number: int) -> None:
        context, scores = self._context, self._scores[number]
        of_folds = [scores[k] for k in range(context.n_folds)]
        if context.full.shares_rounds:
            of_folds = shared_score(of_folds, greater_is_better=context.trials.greater_is_better)
            # Of other rounds than those; `MissingOOF` makes what is to be kept.
            scores = {k: replace(s, oof=None) for k, s in scores.items()}
        full = _full_cv(of_folds, self._rate)
        with context.saving_oof(number, float(np.mean(full.scores or ())), scores, is_full=True):
            context.cv.finish(number, full)
        context.cv.forget_later_scores(number)


def _full_cv(scores: Sequence[FoldScore], rate: float | None) -> FullCV:
    of_target = zip(*(s.rounds for s in scores), strict=True)
    return FullCV(
        tuple(s.score for s in scores),
        tuple(max(1, round(float(np.mean(rounds)))) for rounds in of_target),
        rate,
        min((s.cut for s in scores if s.cut is not None), default=None),
        round(sum(s.seconds for s in scores), 3),
    )
