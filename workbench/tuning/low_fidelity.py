"""The low-fidelity stage: many trials at a high learning rate, on fewer folds or rows, most of them pruned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING

import numpy as np

from workbench.core.errors import TrainingError
from workbench.models.lightgbm.fold_scorer import FoldScore, TrialPrunedError
from workbench.tuning.context import SearchContext, failure_reason
from workbench.tuning.optuna_package import optuna
from workbench.tuning.plan import LowFidelity
from workbench.tuning.pruning import TOP_TRIALS, Curve, Curves, is_prunable
from workbench.tuning.results import trial_value
from workbench.tuning.state import TrialState, TrialWriter, requeue_failed

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

__all__ = ["LowFidelityStage"]

MAX_REPEATED_POINTS = 50
"""After this many proposals in a row that were all scored before, the space is taken to be exhausted. Arbitrary."""

MAX_FIRST_FAILURES = 10
"""If this many trials fail before the first one completes, the search ends: all others would fail, too. Arbitrary."""


class _TrialEnd(Enum):
    COMPLETE = auto()
    PRUNED = auto()
    FAILED = auto()
    OUT_OF_TIME = auto()


class LowFidelityStage:
    """Scores one trial after the other, fold by fold.

    A fold is pruned when its learning curve falls behind those of the five best trials, a trial when its folds are
    worse than those of the fifth (Wilcoxon's test).

    Parameters
    ----------
    context : SearchContext
    low_fidelity : LowFidelity

    Attributes
    ----------
    is_exhausted : bool
        Whether all points of the space were scored.
    """

    def __init__(self, context: SearchContext, low_fidelity: LowFidelity) -> None:
        self.is_exhausted = False
        self._context, self._low_fidelity = context, low_fidelity
        self._study = context.session.study
        self._states = optuna().trial.TrialState
        self._curves = Curves(context.scorer.stopping_metric.greater_is_better)
        self._n_repeated = 0

    def run(self) -> None:
        """Score trials until the stage's time is over, or their number or the space is exhausted."""
        context = self._context
        max_trials = context.budget.trials
        while not self.is_exhausted and (max_trials is None or context.n_new_trials < max_trials):
            if context.deadline.is_over():
                return
            trial = context.session.ask(context.space.distributions())
            if self._copy_scores(trial):
                continue
            if not self._run_trial(trial):
                return

    def _copy_scores(self, trial: Trial) -> bool:
        """Copy the scores of an earlier trial of the same point; Optuna proposes points repeatedly in small spaces."""
        earlier = next((t for t in self._context.trials.finished() if t.params == trial.params), None)
        if earlier is None:
            self._n_repeated = 0
            return False
        for step, value in earlier.intermediate_values.items():
            trial.report(value, step)
        self._writer(trial).set_duplicate_of(earlier.number)
        if earlier.state == self._states.PRUNED:
            self._study.tell(trial, state=earlier.state)
        else:
            self._study.tell(trial, earlier.value)
        self._context.n_new_trials += 1
        self._n_repeated += 1
        if self._n_repeated == MAX_REPEATED_POINTS:
            self.is_exhausted = True
            self._context.notes.append("the search space is exhausted: all of its points were scored")
        return True

    def _run_trial(self, trial: Trial) -> bool:
        """Score a new point; return False where the stage's time ended it."""
        trials = self._context.trials
        # The experiment's own parameters are never pruned: the best trial is compared with them.
        top_trials = [] if trials.is_initial(trial) else trials.complete()[:TOP_TRIALS]
        fold_scores: dict[int, FoldScore] = {}
        try:
            end = self._score_folds(trial, top_trials, fold_scores)
        except (TrainingError, MemoryError) as exc:
            self._fail(trial, failure_reason(exc))
            end = _TrialEnd.FAILED
        except BaseException:
            self._stop(trial)
            raise
        if end is _TrialEnd.OUT_OF_TIME:
            self._stop(trial)
            return False
        if end is _TrialEnd.PRUNED:
            self._study.tell(trial, state=self._states.PRUNED)
        elif end is _TrialEnd.COMPLETE:
            self._complete(trial, top_trials, fold_scores)
        self._context.n_new_trials += 1
        return True

    def _score_folds(
        self, trial: Trial, top_trials: Sequence[FrozenTrial], fold_scores: dict[int, FoldScore]
    ) -> _TrialEnd:
        """Score the folds, in an order that differs between trials, and add them to `fold_scores`."""
        folds = [int(k) for k in np.random.default_rng(trial.number).permutation(self._low_fidelity.folds)]
        for fold in folds:
            try:
                score = self._score_fold(trial, fold, top_trials)
            except TrialPrunedError:
                return _TrialEnd.PRUNED
            if score is None:
                return _TrialEnd.OUT_OF_TIME
            fold_scores[fold] = score
            trial.report(score.score, fold)
            is_comparable = len(fold_scores) < len(folds) and len(top_trials) == TOP_TRIALS
            if is_comparable and self._is_prunable(fold_scores, top_trials[-1]):
                return _TrialEnd.PRUNED
        return _TrialEnd.COMPLETE

    def _is_prunable(self, fold_scores: Mapping[int, FoldScore], last_top_trial: FrozenTrial) -> bool:
        values = {k: s.score for k, s in fold_scores.items()}
        greater_is_better = self._context.trials.greater_is_better
        return is_prunable(values, last_top_trial.intermediate_values, greater_is_better=greater_is_better)

    def _score_fold(self, trial: Trial, fold: int, top_trials: Sequence[FrozenTrial]) -> FoldScore | None:
        context = self._context
        self._curves.load(fold, {t.number: TrialState(t).curves for t in top_trials})
        top_numbers = [t.number for t in top_trials]
        n_leaves = int(trial.params.get("num_leaves", context.scorer.spec.parameters.get("num_leaves", 31)))
        curve = Curve()

        def is_behind(n_rounds: int, best_value: float) -> bool:
            curve.add(n_rounds * n_leaves, best_value)
            return self._curves.is_behind(fold, top_numbers, n_rounds * n_leaves, best_value)

        parameters, keep_oof = context.space.parameters(trial.params), context.options.n_oof_trials > 0
        fidelity = self._low_fidelity.fidelity
        score = context.scorer.score(parameters, fold, fidelity, watch=is_behind, keep_oof=keep_oof)
        if score is not None:
            self._curves.add(fold, trial.number, curve)
        return score

    def _complete(self, trial: Trial, top_trials: Sequence[FrozenTrial], fold_scores: Mapping[int, FoldScore]) -> None:
        context, writer = self._context, self._writer(trial)
        value = float(np.mean([s.score for s in fold_scores.values()]))
        writer.set_rounds([int(np.mean(fold_scores[k].rounds)) for k in self._low_fidelity.folds])
        if len(top_trials) < TOP_TRIALS or value == context.trials.best_of(value, trial_value(top_trials[-1])):
            writer.set_curves(self._curves.of_trial(trial.number))
        with context.saving_oof(trial.number, value, fold_scores, is_full_cv=False):
            self._study.tell(trial, value)

    def _stop(self, trial: Trial) -> None:
        """Mark a trial as stopped by the end of the time or the user, and queue it: the next search begins with it."""
        self._writer(trial).set_stopped()
        self._study.tell(trial, state=self._states.FAIL)
        self._study.enqueue_trial(trial.params)

    def _fail(self, trial: Trial, reason: str) -> None:
        context = self._context
        self._writer(trial).set_failure(reason)
        self._study.tell(trial, state=self._states.FAIL)
        is_queued = requeue_failed(self._study, context.trials.all()[trial.number])
        context.failures.append(
            f"trial {trial.number} ({'tried once more' if is_queued else 'failed twice'}): {reason}"
        )
        if len(context.failures) == MAX_FIRST_FAILURES and not context.trials.complete():
            raise TrainingError(
                f"all of the first {MAX_FIRST_FAILURES} trials failed, the last one with: {reason}",
                hint="does the experiment run without tuning? `wb run` shows more",
            )

    def _writer(self, trial: Trial) -> TrialWriter:
        return TrialWriter(self._study, trial)
