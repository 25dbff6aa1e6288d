"""OOF predictions of full CV that was scored without keeping them."""

from __future__ import annotations

from dataclasses import replace

from workbench.tuning.context import SearchContext

__all__ = ["MissingOOF"]


class MissingOOF:
    """Trains the best parameter sets again whose OOF are missing: an earlier search kept none, or was killed.

    Parameters
    ----------
    context : SearchContext
    """

    def __init__(self, context: SearchContext) -> None:
        self._context = context

    def run(self) -> None:
        """Save missing OOF, those of the best trial first, until the stage's time is over."""
        context = self._context
        for trial_scores in context.trials.scored()[: context.options.n_oof_trials]:
            if context.oof.has(trial_scores.number, trial_scores.value):
                continue
            parameters = context.space.parameters(trial_scores.parameters)
            fidelity = context.full_fidelity.of_finished(trial_scores)
            if context.full_fidelity.shares_rounds:
                fidelity = replace(fidelity, exact_rounds=context.full_fidelity.chosen_rounds(trial_scores))
            fold_scores = {}
            for fold in range(context.n_folds):
                score = context.scorer.score(parameters, fold, fidelity, keep_oof=True)
                if score is None:
                    return
                fold_scores[fold] = score
            with context.saving_oof(trial_scores.number, trial_scores.value, fold_scores, is_full_cv=True):
                pass
