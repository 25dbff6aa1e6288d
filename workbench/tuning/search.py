"""The search itself: many trials at low fidelity, full CV of the best, repeated CV of the best of those.

1. Low fidelity. The experiment's own parameters come first, then points that do well on many tables, then Optuna's. A
   trial trains fold by fold at a high learning rate, on fewer folds or a share of the rows where there are many, and is
   pruned where it is behind.
2. Full CV. The best trials race at the low learning rate on all rows, fold by fold: what is worse drops out, and what
   there is no time for.
3. Repeated CV. The best of those are scored on other folds of the same rows. What is best by both is the result.
4. Holdout. The result, and the experiment's own parameters, are scored on rows that the search has not seen: every
   other score is of the rows that it was chosen by, and optimistic.

What remains of the time goes into more low-fidelity trials, which the next search of the study begins with.
"""

from __future__ import annotations

from collections.abc import Callable

from workbench.core.context import SILENT, RunContext
from workbench.core.events import SearchProgress
from workbench.tuning.calibration import Calibration
from workbench.tuning.context import FullFidelity, Scorers, SearchContext, SearchOptions
from workbench.tuning.deadline import Deadline, TimedScorer
from workbench.tuning.full_cv import FullCVStage
from workbench.tuning.holdout import HoldoutStage
from workbench.tuning.low_fidelity import LowFidelityStage
from workbench.tuning.missing_oof import MissingOOF
from workbench.tuning.oof_files import OOFFiles
from workbench.tuning.plan import LowFidelity
from workbench.tuning.repeated_cv import RepeatedCVStage
from workbench.tuning.results import SearchResult
from workbench.tuning.space import Space, initial_point
from workbench.tuning.study import OpenStudy
from workbench.tuning.summary import summarize
from workbench.tuning.trials import Trials

__all__ = ["SCORES_VERSION", "Search"]

SCORES_VERSION = "4"
"""How scores are stored in a study. One that stores them otherwise can't be continued."""

LOW_FIDELITY, FULL_CV = "low-fidelity", "full CV"
"""The stages that alternate, as events name them."""

LOW_FIDELITY_UNTIL, FULL_CV_UNTIL, REPEATED_CV_UNTIL, HOLDOUT_UNTIL = 0.45, 0.82, 0.94, 0.98
"""Of the time: when each stage ends."""

MORE_TRIALS, WORTH_WHILE = 0.6, 0.05
"""Where the race is over early, so much of what remains goes into more trials, if it is worth while."""

LAST_WRITES_S = 0.3
"""The last stage ends so long before the time is over: its last writes take a moment, too."""


class Search:
    """One search of a study.

    Parameters
    ----------
    opened : OpenStudy
    scorers : Scorers
    space : Space
    options : SearchOptions
    run_context : RunContext
        Its listeners get the start of each stage, and the search's progress twice a second.
    """

    def __init__(
        self,
        opened: OpenStudy,
        scorers: Scorers,
        space: Space,
        options: SearchOptions,
        run_context: RunContext = SILENT,
    ) -> None:
        self._scorers, self._run_context = scorers, run_context
        self._announced_stage = ""
        deadline = Deadline(self._report, self._note_spent)
        scorer = TimedScorer(scorers.main, deadline)
        greater = scorer.problem.metric.greater_is_better
        self._context = SearchContext(
            opened,
            scorer,
            space,
            options,
            deadline,
            Trials(opened.study, initial_point(space, scorer.spec.parameters), greater_is_better=greater),
            FullFidelity(scorer.spec, len(scorer.folds.train_rows(scorer.folds.n_folds - 1))),
            OOFFiles(opened, scorers.main, options.keep, greater_is_better=greater),
        )

    def run(self) -> SearchResult:
        """Search until the budget is spent."""
        budget, deadline = self._context.budget, self._context.deadline
        deadline.begin(LOW_FIDELITY, budget.at(REPEATED_CV_UNTIL))
        low = Calibration(self._context, budget.at(LOW_FIDELITY_UNTIL)).run()
        if low is not None:
            self._run_stages(low)
        self._note_spent()
        return self.result()

    def result(self) -> SearchResult:
        """Return the best of the study so far."""
        return summarize(self._context)

    def _run_stages(self, low: LowFidelity) -> None:
        context = self._context
        trials, full_cv = LowFidelityStage(context, low), FullCVStage(context, low)
        self._stage(LOW_FIDELITY, LOW_FIDELITY_UNTIL, trials.run)
        # Half of the race's time at most.
        self._stage("OOF", (LOW_FIDELITY_UNTIL + FULL_CV_UNTIL) / 2, MissingOOF(context).run)
        self._stage(FULL_CV, FULL_CV_UNTIL, full_cv.run)
        while not trials.is_exhausted and (until := self._more_trials_until()) is not None:
            self._stage(LOW_FIDELITY, until, trials.run)
            self._stage(FULL_CV, FULL_CV_UNTIL, full_cv.run)
        self._stage("repeated CV", REPEATED_CV_UNTIL, RepeatedCVStage(context, self._scorers.other_folds).run)
        self._stage("holdout", HOLDOUT_UNTIL, HoldoutStage(context, self._scorers.holdout).run)
        if context.budget.ends_at is not None and context.budget.trials is None:
            self._stage(LOW_FIDELITY, 1.0, trials.run)

    def _stage(self, name: str, until: float, run: Callable[[], None]) -> None:
        """Run a stage until a share of the time is over; for one without time not even the data is made ready."""
        ends_at = self._context.budget.at(until)
        if ends_at is not None and until == 1.0:
            ends_at -= LAST_WRITES_S
        self._context.deadline.begin(name, ends_at)
        if not self._context.deadline.is_over():
            run()

    def _more_trials_until(self) -> float | None:
        """Return until when more trials are made; None where the race took all of its time."""
        budget = self._context.budget
        if budget.ends_at is None or budget.trials is not None:
            return None
        spent = budget.spent_s() / (budget.ends_at - budget.started_at)
        return None if spent > FULL_CV_UNTIL - WORTH_WHILE else spent + MORE_TRIALS * (FULL_CV_UNTIL - spent)

    def _note_spent(self) -> None:
        context = self._context
        context.opened.state.set_spent(context.opened.worker, context.budget.spent_s())

    def _report(self, stage: str) -> None:
        if stage != self._announced_stage:
            self._announced_stage = stage
            self._run_context.stage(f"tuning: {stage}")
        trials = self._context.trials
        best, remaining_s = trials.best_value(), self._context.budget.remaining_s()
        self._run_context.emit(SearchProgress(stage, **trials.counts(), best=best, remaining_s=remaining_s))
