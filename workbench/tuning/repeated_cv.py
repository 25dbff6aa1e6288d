"""The repeated CV stage: the best of full CV on other folds of the same rows, to choose among them with less noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from workbench.core.errors import TrainingError, WorkbenchError
from workbench.models.lightgbm.fold_scorer import FoldScorer
from workbench.tuning.context import SearchContext, failure_reason
from workbench.tuning.deadline import TimedScorer
from workbench.tuning.plan import repeated_cv_folds
from workbench.tuning.results import TrialScores

__all__ = ["MIN_REPEATED_TRIALS", "RepeatedCVStage"]

MIN_REPEATED_TRIALS, MAX_REPEATED_TRIALS = 3, 12
"""The number of trials that are scored; more are scored in a longer time. Arbitrary."""

MODEL_SEED, OTHER_MODEL_SEED = 1, 2
"""Full CV uses the first one; the other one replaces other folds where the scheme has none."""


class RepeatedCVStage:
    """Scores the best trials, and the experiment's own parameters, on other folds.

    Parameters
    ----------
    context : SearchContext
    make_scorer : callable
        See `Scorers.other_folds`.
    """

    def __init__(self, context: SearchContext, make_scorer: Callable[[], FoldScorer | None]) -> None:
        self._context, self._make_scorer = context, make_scorer

    def run(self) -> None:
        """Score as many trials as there is time for, all of them on the same folds."""
        context = self._context
        ranked, initial = context.trials.scored(), context.trials.initial_scored()
        selected = ranked[: self._n_selected()]
        selected += [initial] if initial is not None and initial not in selected else []
        scorer, seed = self._scorer()
        n_folds = scorer.folds.n_folds
        incomplete = [s for s in selected if len(context.cv_scores.repeated_cv(s.number)) < n_folds]
        if not incomplete:
            return
        n_scored_folds, n_parameter_sets = self._affordable(incomplete, n_folds)
        incomplete = [s for s in incomplete if len(context.cv_scores.repeated_cv(s.number)) < n_scored_folds]
        # The last fold first: it trains on the most rows where folds go forward in time.
        folds = list(reversed(range(n_folds - n_scored_folds, n_folds)))
        for trial_scores in context.assigned_to_process(incomplete)[:n_parameter_sets]:
            try:
                if not self._score(scorer, trial_scores, folds, seed):
                    return
            except (TrainingError, MemoryError) as exc:
                context.failures.append(f"trial {trial_scores.number}, repeated CV: {failure_reason(exc)}")

    def _n_selected(self) -> int:
        """Return how many of the best trials are scored, apart from the experiment's own parameters."""
        context = self._context
        seconds = [cv.full.seconds for cv in context.cv_scores.finished()]
        if context.budget.ends_at is None or not seconds:
            return MIN_REPEATED_TRIALS
        n_affordable = 0.9 * context.deadline.remaining_s() / float(np.median(seconds))
        return int(max(MIN_REPEATED_TRIALS, min(MAX_REPEATED_TRIALS, n_affordable - 1)))

    def _scorer(self) -> tuple[TimedScorer, int]:
        """Return the scorer and the model's seed; without other folds, the main scorer and another seed."""
        context = self._context
        try:
            scorer = self._make_scorer()
            reason = "there are no other folds"
        except WorkbenchError as exc:
            scorer, reason = None, f"other folds can't be made ({exc.message})"
        if scorer is None:
            context.notes.append(f"{reason}: repeated CV uses the same folds with another seed of the model")
            return context.scorer, OTHER_MODEL_SEED
        return TimedScorer(scorer, context.deadline), MODEL_SEED

    def _affordable(self, incomplete: list[TrialScores], n_folds: int) -> tuple[int, int]:
        """Return how many folds, and how many of the trials, there is time to score.

        The number of folds is stored, the same for all processes of the study.
        """
        context = self._context
        fold_seconds_by_number = {cv.number: cv.full.seconds / context.n_folds for cv in context.cv_scores.finished()}
        fold_seconds = [fold_seconds_by_number[s.number] for s in incomplete]
        n_scored_folds, n_parameter_sets = repeated_cv_folds(context.deadline.remaining_s(), fold_seconds, n_folds)
        with context.session.locked():
            # Scores of fewer folds than before could not be compared with the stored ones.
            n_scored_folds = max(n_scored_folds, context.session.state.n_repeated_folds)
            context.session.state.n_repeated_folds = n_scored_folds
        if n_scored_folds < n_folds:
            context.notes.append(
                f"the time was too short for all folds of repeated CV: {n_scored_folds} of {n_folds} are scored"
            )
        return n_scored_folds, n_parameter_sets

    def _score(self, scorer: TimedScorer, trial_scores: TrialScores, folds: list[int], seed: int) -> bool:
        """Score the folds of a trial that have no score yet; return False where the stage's time ended it."""
        context = self._context
        parameters = context.space.parameters(trial_scores.parameters)
        fidelity = replace(
            context.full_fidelity.of_finished(trial_scores),
            exact_rounds=context.full_fidelity.chosen_rounds(trial_scores),
        )
        for fold in folds:
            if fold in context.cv_scores.repeated_cv(trial_scores.number):
                continue
            score = scorer.score(parameters, fold, fidelity, seed=seed)
            if score is None:
                return False
            context.cv_scores.add_repeated_fold(trial_scores.number, fold, score.score)
        return True
