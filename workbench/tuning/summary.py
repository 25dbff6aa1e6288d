"""The summary of a search: the best trials of its study, and notes for the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.tuning.context import SearchContext
from workbench.tuning.results import SearchResult, TrialScores, best_of, trial_value
from workbench.tuning.trials import Trials

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["summarize"]

MAX_LISTED_FAILURES = 5
"""Further failures are only counted."""


def summarize(context: SearchContext) -> SearchResult:
    """Return the best trials of the study so far, with the notes of this search."""
    trials, notes = context.trials, list(context.notes)
    ranked, initial = trials.scored(), trials.initial_scored()
    if not ranked:
        ranked, initial = _by_low_fidelity(context, notes)
    best = best_of(ranked, greater_is_better=trials.greater_is_better)
    low_fidelity_initial = _initial_without_full_cv(context, best, notes)
    if (
        low_fidelity_initial is not None
        and best is not None
        and _is_at_least_as_good(low_fidelity_initial, best, trials)
    ):
        best = initial = low_fidelity_initial
    n_unlisted = len(context.failures) - MAX_LISTED_FAILURES
    notes += context.failures[:MAX_LISTED_FAILURES] + ([f"and {n_unlisted} more failures"] if n_unlisted > 0 else [])
    return SearchResult(
        best,
        initial,
        tuple(ranked),
        **trials.counts(),
        n_new_trials=context.n_new_trials,
        seconds=context.budget.spent_s(),
        notes=tuple(notes),
    )


def _by_low_fidelity(context: SearchContext, notes: list[str]) -> tuple[list[TrialScores], TrialScores | None]:
    """Return the best low-fidelity trial and that of the experiment's own parameters, where no trial has full CV.

    Both are empty where the experiment's own parameters are in the space but not scored: then nothing shows that the
    best trial is better than they are.
    """
    complete, initial = context.trials.complete(), context.trials.initial_complete()
    low_fidelity = context.session.state.low_fidelity
    if not complete or low_fidelity is None or (initial is None and context.trials.initial_point is not None):
        return [], None
    initial_scores = None if initial is None else _low_fidelity_scores(initial)
    basis = low_fidelity.reduction(context.n_folds)
    notes.append(f"the time was too short for full CV: the best is chosen by low-fidelity scores{basis}")
    best = _low_fidelity_scores(complete[0])
    if initial_scores is not None and initial_scores.low_fidelity == best.low_fidelity:
        best = initial_scores
    return [best], initial_scores


def _initial_without_full_cv(context: SearchContext, best: TrialScores | None, notes: list[str]) -> TrialScores | None:
    """Return low-fidelity scores of the experiment's own parameters if only the best trial has full CV."""
    initial = context.trials.initial_complete()
    if best is None or initial is None or best.number == initial.number or context.trials.initial_scored() is not None:
        return None
    values = f"{initial.value:.5f} at low fidelity, against {best.low_fidelity:.5f} of trial {best.number}"
    notes.append(f"the time was too short for full CV of the experiment's own parameters: {values}")
    return _low_fidelity_scores(initial)


def _is_at_least_as_good(one: TrialScores, other: TrialScores, trials: Trials) -> bool:
    return trials.best_of(one.low_fidelity, other.low_fidelity) == one.low_fidelity


def _low_fidelity_scores(trial: FrozenTrial) -> TrialScores:
    """Return the scores of a trial without full CV; to rank it, its low-fidelity fold scores take that place."""
    scores = tuple(trial.intermediate_values[k] for k in sorted(trial.intermediate_values))
    return TrialScores(trial.number, dict(trial.params), trial_value(trial), scores)
