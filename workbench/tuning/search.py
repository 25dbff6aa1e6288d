"""A search: many low-fidelity trials, full CV of the best, repeated CV of the best of those, a holdout score.

1. Low fidelity. The experiment's own parameters come first, then points that do well on many tables, then Optuna's
   proposals. A trial trains fold by fold at a high learning rate, on fewer folds, or on a share of the rows of large
   tables, and is pruned when it falls behind.
2. Full CV. The best trials race at the low learning rate on all rows, fold by fold: worse ones drop out, and those that
   there is no time for.
3. Repeated CV. The best of those are scored on other folds of the same rows. The best by both is the result.
4. Holdout. The result, and the experiment's own parameters, are scored on rows that the search has not used: all other
   scores are of the rows that the parameters were chosen by, and optimistic.

The remaining time goes into more low-fidelity trials, which the next search of the study starts from.
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
from workbench.tuning.study import StudySession
from workbench.tuning.summary import summarize
from workbench.tuning.trials import Trials

__all__ = ["SCORES_VERSION", "Search"]

SCORES_VERSION = "4"
"""A study whose scores have another version can't be continued."""

LOW_FIDELITY, FULL_CV = "low-fidelity", "full CV"
"""The stages that alternate, as events name them."""

LOW_FIDELITY_UNTIL, FULL_CV_UNTIL, REPEATED_CV_UNTIL, HOLDOUT_UNTIL = 0.45, 0.82, 0.94, 0.98
"""Each stage ends at this share of the time. Chosen by hand."""

MORE_TRIALS_SHARE, MIN_REMAINING_SHARE = 0.6, 0.05
"""Where the races end early, this share of their remaining time goes into more trials, unless too little remains."""

LAST_WRITES_S = 0.3
"""The last stage ends this many seconds early, for its last writes."""


class Search:
    """One search of a study.

    Parameters
    ----------
    session : StudySession
    scorers : Scorers
    space : Space
    options : SearchOptions
    run_context : RunContext
        Its listeners get the start of each stage, and the search's progress twice a second.
    """

    def __init__(
        self,
        session: StudySession,
        scorers: Scorers,
        space: Space,
        options: SearchOptions,
        run_context: RunContext = SILENT,
    ) -> None:
        self._scorers, self._run_context = scorers, run_context
        self._announced_stage = ""
        deadline = Deadline(self._report, self._save_spent)
        scorer = TimedScorer(scorers.main, deadline)
        greater_is_better = scorer.problem.metric.greater_is_better
        self._context = SearchContext(
            session,
            scorer,
            space,
            options,
            deadline,
            Trials(session.study, initial_point(space, scorer.spec.parameters), greater_is_better=greater_is_better),
            FullFidelity(scorer.spec, len(scorer.folds.train_rows(scorer.folds.n_folds - 1))),
            OOFFiles(session, scorers.main, options.n_oof_trials, greater_is_better=greater_is_better),
        )

    def run(self) -> SearchResult:
        """Search until the budget is spent."""
        budget, deadline = self._context.budget, self._context.deadline
        deadline.begin(LOW_FIDELITY, budget.time_at(REPEATED_CV_UNTIL))
        low_fidelity = Calibration(self._context, budget.time_at(LOW_FIDELITY_UNTIL)).run()
        if low_fidelity is not None:
            self._run_stages(low_fidelity)
        self._save_spent()
        return self.result()

    def result(self) -> SearchResult:
        """Return the best of the study so far."""
        return summarize(self._context)

    def _run_stages(self, low_fidelity: LowFidelity) -> None:
        context = self._context
        trials, full_cv = LowFidelityStage(context, low_fidelity), FullCVStage(context, low_fidelity)
        self._stage(LOW_FIDELITY, LOW_FIDELITY_UNTIL, trials.run)
        # At most half of the time for full CV.
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
        """Run a stage until a share of the time is over; skip it where that is over already."""
        ends_at = self._context.budget.time_at(until)
        if ends_at is not None and until == 1.0:
            ends_at -= LAST_WRITES_S
        self._context.deadline.begin(name, ends_at)
        if not self._context.deadline.is_over():
            run()

    def _more_trials_until(self) -> float | None:
        """Return when further low-fidelity trials end; None where the races took all of their time."""
        budget = self._context.budget
        if budget.ends_at is None or budget.trials is not None:
            return None
        spent_share = budget.spent_s() / (budget.ends_at - budget.started_at)
        if spent_share > FULL_CV_UNTIL - MIN_REMAINING_SHARE:
            return None
        return spent_share + MORE_TRIALS_SHARE * (FULL_CV_UNTIL - spent_share)

    def _save_spent(self) -> None:
        context = self._context
        context.session.state.set_spent(context.session.worker, context.budget.spent_s())

    def _report(self, stage: str) -> None:
        if stage != self._announced_stage:
            self._announced_stage = stage
            self._run_context.stage(f"tuning: {stage}")
        trials = self._context.trials
        best, remaining_s = trials.best_value(), self._context.budget.remaining_s()
        self._run_context.emit(SearchProgress(stage, **trials.counts(), best=best, remaining_s=remaining_s))
