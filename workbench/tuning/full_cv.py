"""Full CV: the best trials race at the low learning rate on all rows and folds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from workbench.tuning.context import SearchContext
from workbench.tuning.missing_oof import MissingOOF
from workbench.tuning.plan import FULL_CV_RATES, LowFidelity, affordable_rate, is_much_lower, wanted_full_cvs
from workbench.tuning.pruning import TOP_TRIALS
from workbench.tuning.race import MUCH_LONGER, Race, first_fold_limit
from workbench.tuning.repeated_cv import LEAST_REPEATED
from workbench.tuning.trials import trial_seconds

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["FullCVStage"]

PROMOTED = 12
"""So many race at a time; where time is left, the next ones follow."""


class FullCVStage:
    """Has the best trials race for full CV, as long as there is time for one more.

    Parameters
    ----------
    context : SearchContext
    low : LowFidelity
    """

    def __init__(self, context: SearchContext, low: LowFidelity) -> None:
        self._context, self._low = context, low

    def run(self) -> None:
        """Race; then make the OOF that the races leave out."""
        if self._race():
            MissingOOF(self._context).run()

    def _race(self) -> bool:
        """Return False where the stage's time ended a race."""
        context, rate = self._context, self._rate()
        while promoted := context.share_of(self._candidates(rate)):
            seconds = [cv.full.seconds for cv in context.cv.finished()]
            # Without time for one more, what there is left goes to the scores on other folds.
            if seconds and context.deadline.remaining_s() < 1.2 * float(np.median(seconds)):
                break
            if not Race(context, self._low, rate, promoted[:PROMOTED]).run():
                return False
            if context.budget.ends_at is None:
                break
        return True

    def _candidates(self, rate: float | None) -> list[FrozenTrial]:
        """Return the trials that want full CV: the experiment's own parameters and the best, the best first."""
        context = self._context
        ranked = context.trials.complete()
        initial = [t for t in ranked if context.trials.is_initial(t)]
        candidates = [*ranked[:2], *initial, *ranked[2:]]
        if context.budget.trials is not None and context.budget.ends_at is None:
            candidates = candidates[: 1 + max(LEAST_REPEATED, len(ranked) // 10)]
        return list({t.number: t for t in candidates if self._wants_full_cv(t, rate)}.values())

    def _wants_full_cv(self, trial: FrozenTrial, rate: float | None) -> bool:
        """Say whether a trial has none, or one at a higher rate, or one that the time cut short and now need not."""
        context = self._context
        full = context.cv.full_cv(trial.number)
        if full is None:
            return True
        if full.dropped_after is not None or full.n_failures > 1:
            return False
        if full.scores is None:
            return True
        if rate is not None and full.rate is not None and rate < full.rate:
            return True
        if full.cut is None:
            return False
        # By the fold that took longest, as a race has it: else the same score would be made for ever.
        folds = context.cv.fold_scores(trial.number, full.rate).values()
        longest = max((s.seconds for s in folds), default=full.seconds / context.n_folds)
        return first_fold_limit(context, time.perf_counter()) > MUCH_LONGER * longest

    def _rate(self) -> float | None:
        """Return the experiment's learning rate, else the lowest that lets some fit; None where it is searched.

        A search of a study that is there takes its rate, or a much lower one where it has the time.
        """
        context = self._context
        if "learning_rate" in context.space.names:
            return None
        spec = context.scorer.spec
        if spec.parameters.get("learning_rate") is not None:
            return float(spec.parameters["learning_rate"])
        if not spec.patience:  # so many rounds at another rate are another model
            return None
        with context.opened.locked():
            state = context.opened.state
            earlier, rate = state.full_cv_rate, self._affordable_rate()
            if earlier is not None and not is_much_lower(rate, earlier):
                return earlier
            state.full_cv_rate = rate
        return rate

    def _affordable_rate(self) -> float:
        context, low = self._context, self._low
        # The best ones take more rounds than most.
        seconds = [trial_seconds(t) / len(low.folds) for t in context.trials.complete()[:TOP_TRIALS]]
        if context.budget.ends_at is None or not seconds:
            return FULL_CV_RATES[1]
        wanted = wanted_full_cvs(context.valid_rows, all_folds=context.options.scores_all_folds)
        return affordable_rate(context.deadline.remaining_s(), seconds, low, context.n_folds, wanted)
