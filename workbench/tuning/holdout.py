"""The score of rows that the search has not seen: every other one is of rows that the best was chosen by."""

from __future__ import annotations

from collections.abc import Callable

from workbench.core.errors import MemoryLimitError, TrainingError
from workbench.models.lightgbm.fold_scorer import FoldScorer
from workbench.tuning.context import SearchContext, failure_reason
from workbench.tuning.deadline import TimedScorer
from workbench.tuning.results import best_of

__all__ = ["HoldoutStage"]


class HoldoutStage:
    """Scores the best, and the experiment's own parameters, on the rows that are held out.

    Parameters
    ----------
    context : SearchContext
    holdout : callable
        As `Scorers` has it.
    """

    def __init__(self, context: SearchContext, holdout: Callable[[], FoldScorer | None]) -> None:
        self._context, self._holdout = context, holdout

    def run(self) -> None:
        """Score those of the two that have no such score."""
        context = self._context
        best = best_of(context.trials.scored(), greater_is_better=context.trials.greater_is_better)
        wanted = (best, context.trials.initial_scored())
        waiting = {s.number: s for s in wanted if s is not None and s.holdout is None}
        scorer = self._scorer() if waiting else None
        if scorer is None:
            return
        for scored in waiting.values():
            parameters, fidelity = context.space.parameters(scored.parameters), context.full.of(scored)
            rounds = context.full.fixed_rounds(scored)
            try:
                score = scorer.score(parameters, scorer.folds.n_folds - 1, fidelity, rounds=rounds)
            except (TrainingError, MemoryError) as exc:
                context.failures.append(f"trial {scored.number}, holdout: {failure_reason(exc)}")
                continue
            if score is None:
                return
            context.cv.set_holdout(scored.number, score.score)

    def _scorer(self) -> TimedScorer | None:
        try:
            scorer = self._holdout()
        except MemoryLimitError as exc:
            self._context.notes.append(f"the holdout is not scored: {exc.message}")
            return None
        return None if scorer is None else TimedScorer(scorer, self._context.deadline)
