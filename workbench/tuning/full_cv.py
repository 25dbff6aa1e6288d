"""The full CV stage: the best trials race at the low learning rate on all rows and folds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from workbench.tuning.context import SearchContext
from workbench.tuning.missing_oof import MissingOOF
from workbench.tuning.plan import FULL_CV_RATES, LowFidelity, affordable_rate, is_much_lower, target_full_cvs
from workbench.tuning.pruning import TOP_TRIALS
from workbench.tuning.race import LONGER_FOLD, Race, first_fold_limit
from workbench.tuning.repeated_cv import MIN_REPEATED_TRIALS
from workbench.tuning.trials import trial_seconds

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["FullCVStage"]

MAX_RACING = 12
"""This many trials race at a time; the next ones follow if there is time."""


class FullCVStage:
    """Scores the best trials by full CV, race after race, as long as there is time for one more trial.

    Parameters
    ----------
    context : SearchContext
    low_fidelity : LowFidelity
    """

    def __init__(self, context: SearchContext, low_fidelity: LowFidelity) -> None:
        self._context, self._low_fidelity = context, low_fidelity

    def run(self) -> None:
        """Run races; then train the models whose OOF are missing."""
        if self._run_races():
            MissingOOF(self._context).run()

    def _run_races(self) -> bool:
        """Return False where the stage's time ended a race."""
        context, learning_rate = self._context, self._learning_rate()
        while candidates := context.assigned_to_process(self._candidates(learning_rate)):
            full_cv_seconds = [cv.full.seconds for cv in context.cv_scores.finished()]
            # Time that is too short for another trial is left to repeated CV.
            if full_cv_seconds and context.deadline.remaining_s() < 1.2 * float(np.median(full_cv_seconds)):
                break
            if not Race(context, self._low_fidelity, learning_rate, candidates[:MAX_RACING]).run():
                return False
            if context.budget.ends_at is None:  # the number of trials is all that limits the work: one race
                break
        return True

    def _candidates(self, learning_rate: float | None) -> list[FrozenTrial]:
        """Return the trials that need full CV, the best first; the experiment's own parameters come third."""
        context = self._context
        ranked = context.trials.complete()
        initial = [t for t in ranked if context.trials.is_initial(t)]
        candidates = [*ranked[:2], *initial, *ranked[2:]]
        if context.budget.trials is not None and context.budget.ends_at is None:
            candidates = candidates[: 1 + max(MIN_REPEATED_TRIALS, len(ranked) // 10)]
        return list({t.number: t for t in candidates if self._needs_full_cv(t, learning_rate)}.values())

    def _needs_full_cv(self, trial: FrozenTrial, learning_rate: float | None) -> bool:
        """Return whether a trial has no full CV, one at a higher rate, or one that the time limit ended too early."""
        context = self._context
        full = context.cv_scores.full_cv(trial.number)
        if full is None:
            return True
        if full.dropped_after is not None or full.n_failures > 1:
            return False
        if full.scores is None:
            return True
        if learning_rate is not None and full.learning_rate is not None and learning_rate < full.learning_rate:
            return True
        if full.rounds_at_time_limit is None:
            return False
        # By the slowest fold, as in `Race._stored_score`, which else returns the stored scores: an endless loop.
        folds = context.cv_scores.fold_scores(trial.number, full.learning_rate).values()
        longest_s = max((s.seconds for s in folds), default=full.seconds / context.n_folds)
        return first_fold_limit(context, time.perf_counter()) > LONGER_FOLD * longest_s

    def _learning_rate(self) -> float | None:
        """Return the learning rate of full CV; None where the rate is searched.

        It is the experiment's, or the lowest rate at which enough trials fit into the time. A study keeps its rate
        unless there is now time for a much lower one.
        """
        context = self._context
        if "learning_rate" in context.space.names:
            return None
        spec = context.scorer.spec
        if spec.parameters.get("learning_rate") is not None:
            return float(spec.parameters["learning_rate"])
        if not spec.patience:  # the number of rounds is fixed, and suits one rate only
            return None
        with context.session.locked():
            state = context.session.state
            stored_rate, learning_rate = state.full_cv_rate, self._affordable_rate()
            if stored_rate is not None and not is_much_lower(learning_rate, stored_rate):
                return stored_rate
            state.full_cv_rate = learning_rate
        return learning_rate

    def _affordable_rate(self) -> float:
        context, low_fidelity = self._context, self._low_fidelity
        # The best trials take more rounds than most.
        fold_seconds = [trial_seconds(t) / len(low_fidelity.folds) for t in context.trials.complete()[:TOP_TRIALS]]
        if context.budget.ends_at is None or not fold_seconds:
            return FULL_CV_RATES[1]
        n_parameter_sets = target_full_cvs(context.valid_rows, all_folds=context.options.scores_all_folds)
        return affordable_rate(
            context.deadline.remaining_s(), fold_seconds, low_fidelity, context.n_folds, n_parameter_sets
        )
