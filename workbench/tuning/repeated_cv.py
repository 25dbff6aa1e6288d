"""Repeated CV: the best of full CV on other folds of the same rows, to choose among them with less noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from workbench.core.errors import TrainingError, WorkbenchError
from workbench.models.lightgbm.fold_scorer import FoldScorer
from workbench.tuning.context import SearchContext, failure_reason
from workbench.tuning.deadline import TimedScorer
from workbench.tuning.plan import repeated_cv_folds
from workbench.tuning.results import TrialScores

__all__ = ["LEAST_REPEATED", "RepeatedCVStage"]

LEAST_REPEATED, MOST_REPEATED = 3, 12
"""So many are scored on other folds; at most so many where the time allows."""

SEED, OTHER_SEED = 1, 2
"""Of the models; the other one stands in for other folds where there are none."""


class RepeatedCVStage:
    """Scores the best, and the experiment's own parameters, on other folds.

    Parameters
    ----------
    context : SearchContext
    other_folds : callable
        As `Scorers` has it.
    """

    def __init__(self, context: SearchContext, other_folds: Callable[[], FoldScorer | None]) -> None:
        self._context, self._other_folds = context, other_folds

    def run(self) -> None:
        """Score as many as there is time for, on the folds that all of them have."""
        context = self._context
        ranked, initial = context.trials.scored(), context.trials.initial_scored()
        chosen = ranked[: self._n_chosen()]
        chosen += [initial] if initial is not None and initial not in chosen else []
        scorer, seed = self._scorer()
        n_folds = scorer.folds.n_folds
        waiting = [s for s in chosen if len(context.cv.repeated_cv(s.number)) < n_folds]
        if not waiting:
            return
        n_scored, n_chosen = self._affordable(waiting, n_folds)
        waiting = [s for s in waiting if len(context.cv.repeated_cv(s.number)) < n_scored]
        # The last ones first: folds in time grow.
        folds = list(reversed(range(n_folds - n_scored, n_folds)))
        for scored in context.share_of(waiting)[:n_chosen]:
            try:
                if not self._score(scorer, scored, folds, seed):
                    return
            except (TrainingError, MemoryError) as exc:
                context.failures.append(f"trial {scored.number}, repeated CV: {failure_reason(exc)}")

    def _n_chosen(self) -> int:
        context = self._context
        seconds = [cv.full.seconds for cv in context.cv.finished()]
        if context.budget.ends_at is None or not seconds:
            return LEAST_REPEATED
        affordable = 0.9 * context.deadline.remaining_s() / float(np.median(seconds))
        return int(max(LEAST_REPEATED, min(MOST_REPEATED, affordable - 1)))

    def _scorer(self) -> tuple[TimedScorer, int]:
        """Return the scorer on other folds and the model's seed; another seed where there are no other folds."""
        context = self._context
        try:
            scorer = self._other_folds()
            reason = "there are no other folds"
        except WorkbenchError as exc:
            scorer, reason = None, f"other folds can't be made ({exc.message})"
        if scorer is None:
            context.notes.append(f"{reason}: repeated CV uses the same folds with another seed of the model")
            return context.scorer, OTHER_SEED
        return TimedScorer(scorer, context.deadline), SEED

    def _affordable(self, waiting: list[TrialScores], n_folds: int) -> tuple[int, int]:
        """Return on how many folds there is time to score how many of those that wait; once for all processes."""
        context = self._context
        seconds = {cv.number: cv.full.seconds / context.n_folds for cv in context.cv.finished()}
        fold_seconds = [seconds[s.number] for s in waiting]
        n_scored, n_chosen = repeated_cv_folds(context.deadline.remaining_s(), fold_seconds, n_folds)
        with context.opened.locked():
            # Of fewer folds than before, they could not be held against those.
            n_scored = max(n_scored, context.opened.state.n_repeated_folds)
            context.opened.state.n_repeated_folds = n_scored
        if n_scored < n_folds:
            context.notes.append(
                f"the time was too short for all folds of repeated CV: {n_scored} of {n_folds} are scored"
            )
        return n_scored, n_chosen

    def _score(self, scorer: TimedScorer, scored: TrialScores, folds: list[int], seed: int) -> bool:
        """Score the folds that a trial lacks; return False where the stage's time ended it."""
        context = self._context
        parameters, fidelity = context.space.parameters(scored.parameters), context.full.of(scored)
        rounds = context.full.fixed_rounds(scored)
        for fold in folds:
            if fold in context.cv.repeated_cv(scored.number):
                continue
            score = scorer.score(parameters, fold, fidelity, seed=seed, rounds=rounds)
            if score is None:
                return False
            context.cv.add_repeated_fold(scored.number, fold, score.score)
        return True
