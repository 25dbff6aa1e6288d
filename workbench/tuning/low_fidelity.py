"""Many trials at low fidelity: at a high learning rate, on fewer folds or rows, and pruned where they lie behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING

import numpy as np

from workbench.core.errors import TrainingError
from workbench.models.lightgbm.fold_scorer import FoldScore, NoUseError
from workbench.tuning.context import SearchContext, failure_reason
from workbench.tuning.optuna_package import optuna
from workbench.tuning.plan import LowFidelity
from workbench.tuning.pruning import TOP_TRIALS, Curve, Curves, is_prunable
from workbench.tuning.results import value_of
from workbench.tuning.state import TrialState, TrialWriter, requeue_failed

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

__all__ = ["LowFidelityStage"]

REPEATED = 50
"""A space of which so many points in a row were scored before has no others."""

ALL_FAILED = 10
"""So many failed trials before the first that finishes say that something is wrong with all of them."""


class _End(Enum):
    COMPLETE = auto()
    PRUNED = auto()
    FAILED = auto()
    OUT_OF_TIME = auto()


class LowFidelityStage:
    """Scores one trial after the other, fold by fold.

    A fold is given up when its curve lies behind those of the five best trials, a trial when its folds are worse than
    the fifth's (Wilcoxon).

    Parameters
    ----------
    context : SearchContext
    low : LowFidelity

    Attributes
    ----------
    is_exhausted : bool
        Whether the space has no point left that was not scored.
    """

    def __init__(self, context: SearchContext, low: LowFidelity) -> None:
        self.is_exhausted = False
        self._context, self._low = context, low
        self._study = context.opened.study
        self._states = optuna().trial.TrialState
        self._curves = Curves(context.scorer.watched.greater_is_better)
        self._n_repeated = 0

    def run(self) -> None:
        """Score trials until the stage's time, their number, or the space is over."""
        context = self._context
        n_trials = context.budget.trials
        while not self.is_exhausted and (n_trials is None or context.trials_now < n_trials):
            if context.deadline.is_over():
                return
            trial = context.opened.ask(context.space.distributions())
            if self._copy_scores(trial):
                continue
            if not self._run_trial(trial):
                return

    def _copy_scores(self, trial: Trial) -> bool:
        """Give a point that was scored before its scores again; Optuna proposes some twice in small spaces."""
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
        self._context.trials_now += 1
        self._n_repeated += 1
        if self._n_repeated == REPEATED:
            self.is_exhausted = True
            self._context.notes.append("the space is exhausted: no point is left that was not scored")
        return True

    def _run_trial(self, trial: Trial) -> bool:
        """Score a new point; return False where the stage's time ended it."""
        trials = self._context.trials
        # The experiment's own parameters are scored to the end: the best is compared with them.
        top_trials = [] if trials.is_initial(trial) else trials.complete()[:TOP_TRIALS]
        scores: dict[int, FoldScore] = {}
        try:
            end = self._score_folds(trial, top_trials, scores)
        except (TrainingError, MemoryError) as exc:
            self._fail(trial, failure_reason(exc))
            end = _End.FAILED
        except BaseException:
            self._stop(trial)
            raise
        if end is _End.OUT_OF_TIME:
            self._stop(trial)
            return False
        if end is _End.PRUNED:
            self._study.tell(trial, state=self._states.PRUNED)
        elif end is _End.COMPLETE:
            self._complete(trial, top_trials, scores)
        self._context.trials_now += 1
        return True

    def _score_folds(self, trial: Trial, top_trials: Sequence[FrozenTrial], scores: dict[int, FoldScore]) -> _End:
        """Score the folds, in an order of the trial's own, into `scores`."""
        folds = [int(k) for k in np.random.default_rng(trial.number).permutation(self._low.folds)]
        for fold in folds:
            try:
                score = self._score_fold(trial, fold, top_trials)
            except NoUseError:
                return _End.PRUNED
            if score is None:
                return _End.OUT_OF_TIME
            scores[fold] = score
            trial.report(score.score, fold)
            is_comparable = len(scores) < len(folds) and len(top_trials) == TOP_TRIALS
            if is_comparable and self._is_prunable(scores, top_trials[-1]):
                return _End.PRUNED
        return _End.COMPLETE

    def _is_prunable(self, scores: Mapping[int, FoldScore], last_of_top: FrozenTrial) -> bool:
        values = {k: s.score for k, s in scores.items()}
        greater = self._context.trials.greater_is_better
        return is_prunable(values, last_of_top.intermediate_values, greater_is_better=greater)

    def _score_fold(self, trial: Trial, fold: int, top_trials: Sequence[FrozenTrial]) -> FoldScore | None:
        context = self._context
        self._curves.learn(fold, {t.number: TrialState(t).curves for t in top_trials})
        numbers = [t.number for t in top_trials]
        leaves = int(trial.params.get("num_leaves", context.scorer.spec.parameters.get("num_leaves", 31)))
        curve = Curve()

        def watch(done: int, best: float) -> bool:
            curve.add(done * leaves, best)
            return self._curves.is_behind(fold, numbers, done * leaves, best)

        parameters, keep_oof = context.space.parameters(trial.params), context.options.keep > 0
        score = context.scorer.score(parameters, fold, self._low.fidelity, watch=watch, keep_oof=keep_oof)
        if score is not None:
            self._curves.keep(fold, trial.number, curve)
        return score

    def _complete(self, trial: Trial, top_trials: Sequence[FrozenTrial], scores: Mapping[int, FoldScore]) -> None:
        context, writer = self._context, self._writer(trial)
        value = float(np.mean([s.score for s in scores.values()]))
        writer.set_rounds([int(np.mean(scores[k].rounds)) for k in self._low.folds])
        if len(top_trials) < TOP_TRIALS or value == context.trials.better(value, value_of(top_trials[-1])):
            writer.set_curves(self._curves.of_trial(trial.number))
        with context.saving_oof(trial.number, value, scores, is_full=False):
            self._study.tell(trial, value)

    def _stop(self, trial: Trial) -> None:
        """Note that the end of the time, or the user, ended a trial: the next search begins with it."""
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
        if len(context.failures) == ALL_FAILED and not context.trials.complete():
            raise TrainingError(
                f"all of the first {ALL_FAILED} trials failed, the last one for: {reason}",
                hint="does the experiment run by itself? `wb run` says more",
            )

    def _writer(self, trial: Trial) -> TrialWriter:
        return TrialWriter(self._study, trial)
