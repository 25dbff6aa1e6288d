"""What a search has found: the best of its study, and what the user is to know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.tuning.context import SearchContext
from workbench.tuning.results import SearchResult, TrialScores, best_of, value_of
from workbench.tuning.trials import Trials

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["summarize"]

MOST_FAILURES = 5
"""So many failures are listed one by one."""


def summarize(context: SearchContext) -> SearchResult:
    """Return the best of a study so far, with the notes of the search."""
    trials, notes = context.trials, list(context.notes)
    ranked, initial = trials.scored(), trials.initial_scored()
    if not ranked:
        ranked, initial = _by_low_fidelity(context, notes)
    best = best_of(ranked, greater_is_better=trials.greater_is_better)
    compared = _initial_without_full_cv(context, best, notes)
    if compared is not None and best is not None and _is_no_worse(compared, best, trials):
        best = initial = compared
    more = len(context.failures) - MOST_FAILURES
    notes += context.failures[:MOST_FAILURES] + ([f"and {more} more failures"] if more > 0 else [])
    return SearchResult(
        best,
        initial,
        tuple(ranked),
        **trials.counts(),
        trials_now=context.trials_now,
        seconds=context.budget.spent_s(),
        notes=tuple(notes),
    )


def _by_low_fidelity(context: SearchContext, notes: list[str]) -> tuple[list[TrialScores], TrialScores | None]:
    """Return the best by low fidelity, where no time was left for full CV, and the experiment's own point.

    What was not compared with the experiment's own parameters says nothing; nor does one score by itself.
    """
    complete, initial = context.trials.complete(), context.trials.initial_complete()
    low = context.opened.state.low_fidelity
    if not complete or low is None or (initial is None and context.trials.initial_point is not None):
        return [], None
    start = None if initial is None else _low_fidelity_scores(initial)
    of = low.left_out(context.n_folds)
    notes.append(f"the time was too short for full CV: the best is chosen by low-fidelity scores{of}")
    best = _low_fidelity_scores(complete[0])
    return ([start] if start is not None and start.low_fidelity == best.low_fidelity else [best]), start


def _initial_without_full_cv(context: SearchContext, best: TrialScores | None, notes: list[str]) -> TrialScores | None:
    """Return the experiment's own parameters where they have no full CV, for a comparison with the best."""
    initial = context.trials.initial_complete()
    if best is None or initial is None or best.number == initial.number or context.trials.initial_scored() is not None:
        return None
    values = f"{initial.value:.5f} at low fidelity, against {best.low_fidelity:.5f} of trial {best.number}"
    notes.append(f"the time was too short for full CV of the experiment's own parameters: {values}")
    return _low_fidelity_scores(initial)


def _is_no_worse(one: TrialScores, other: TrialScores, trials: Trials) -> bool:
    return trials.better(one.low_fidelity, other.low_fidelity) == one.low_fidelity


def _low_fidelity_scores(trial: FrozenTrial) -> TrialScores:
    """Return a trial as far as it is scored; the learning rate is left to the experiment."""
    scores = tuple(trial.intermediate_values[k] for k in sorted(trial.intermediate_values))
    return TrialScores(trial.number, dict(trial.params), value_of(trial), scores)
