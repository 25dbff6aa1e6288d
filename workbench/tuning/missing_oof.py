"""The OOF of full CV that was scored without."""

from __future__ import annotations

from workbench.tuning.context import SearchContext

__all__ = ["MissingOOF"]


class MissingOOF:
    """Makes the OOF of the best full CV that has none: by a search that kept none, or one that was killed.

    Parameters
    ----------
    context : SearchContext
    """

    def __init__(self, context: SearchContext) -> None:
        self._context = context

    def run(self) -> None:
        """Make what is missing, the best first, as long as there is time."""
        context = self._context
        for scored in context.trials.scored()[: context.options.keep]:
            if context.oof.has(scored.number, scored.value):
                continue
            parameters, fidelity = context.space.parameters(scored.parameters), context.full.of(scored)
            rounds = context.full.fixed_rounds(scored) if context.full.shares_rounds else None
            scores = {}
            for fold in range(context.n_folds):
                score = context.scorer.score(parameters, fold, fidelity, rounds=rounds, keep_oof=True)
                if score is None:
                    return
                scores[fold] = score
            with context.saving_oof(scored.number, scored.value, scores, is_full=True):
                pass
