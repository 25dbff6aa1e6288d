"""The holdout stage: scores on rows that the search has not used, and so are not optimistic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from workbench.core.errors import MemoryLimitError, TrainingError
from workbench.models.lightgbm.fold_scorer import FoldScorer
from workbench.tuning.context import SearchContext, failure_reason
from workbench.tuning.deadline import TimedScorer
from workbench.tuning.results import best_of

__all__ = ["HoldoutStage"]


class HoldoutStage:
    """Scores the best parameters, and the experiment's own, on the held-out rows.

    Parameters
    ----------
    context : SearchContext
    make_scorer : callable
        See `Scorers.holdout`.
    """

    def __init__(self, context: SearchContext, make_scorer: Callable[[], FoldScorer | None]) -> None:
        self._context, self._make_scorer = context, make_scorer

    def run(self) -> None:
        """Score those of the two that have no holdout score yet."""
        context = self._context
        best = best_of(context.trials.scored(), greater_is_better=context.trials.greater_is_better)
        candidates = (best, context.trials.initial_scored())
        unscored = {s.number: s for s in candidates if s is not None and s.holdout is None}
        scorer = self._scorer() if unscored else None
        if scorer is None:
            return
        for trial_scores in unscored.values():
            parameters = context.space.parameters(trial_scores.parameters)
            fidelity = replace(
                context.full_fidelity.of_finished(trial_scores),
                exact_rounds=context.full_fidelity.chosen_rounds(trial_scores),
            )
            try:
                score = scorer.score(parameters, scorer.folds.n_folds - 1, fidelity)
            except (TrainingError, MemoryError) as exc:
                context.failures.append(f"trial {trial_scores.number}, holdout: {failure_reason(exc)}")
                continue
            if score is None:
                return
            context.cv_scores.set_holdout(trial_scores.number, score.score)

    def _scorer(self) -> TimedScorer | None:
        try:
            scorer = self._make_scorer()
        except MemoryLimitError as exc:
            self._context.notes.append(f"the holdout is not scored: {exc.message}")
            return None
        return None if scorer is None else TimedScorer(scorer, self._context.deadline)
