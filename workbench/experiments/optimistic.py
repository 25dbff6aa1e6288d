"""Why a run's CV is likely to be better than its score on new rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.core.errors import ConfigError, WorkbenchError
from workbench.experiments.best_parameters import searched_parameters
from workbench.experiments.feature_list import read_list
from workbench.models.lightgbm.parameters import primary_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.data.competition import Competition
    from workbench.experiments.plan import Plan
    from workbench.experiments.spec import ExperimentSpec
from workbench.models.registry import can

__all__ = ["PER_FOLD", "SELECTED", "TUNED", "why_optimistic"]

PER_FOLD = "rounds per fold"
SELECTED = "selected on these folds"
TUNED = "tuned on these folds"


def why_optimistic(plan: Plan) -> str | None:
    """Return why the CV of a run is likely to be optimistic, in a few words; None where nothing is known to say so.

    Other folds of the same rows are no way out: what was chosen by the rows looks good on them, however they are dealt.
    """
    spec, stops = plan.spec, getattr(plan.model, "patience", 0)
    reasons = [
        (PER_FOLD, bool(stops) and getattr(plan.model, "per_fold", False) and plan.folds.n_folds > 1),
        (SELECTED, _was_selected(plan.competition, spec)),
        (TUNED, can(spec.kind, "tune") and _was_tuned(plan.competition, spec)),
    ]
    return "; ".join(reason for reason, holds in reasons if holds) or None


def _was_selected(competition: Competition, spec: ExperimentSpec) -> bool:
    """Say whether the features are a list that was chosen by scores."""
    if spec.selection is None:
        return False
    try:
        listed = read_list(competition, spec.selection, where=str(spec.path))
    except WorkbenchError:
        return False
    # Of a list without columns that it left out nothing was chosen.
    return bool(listed.made.get("method")) and bool(listed.dropped)


def _was_tuned(competition: Competition, spec: ExperimentSpec) -> bool:
    """Say whether the parameters come from a search of the competition, whoever wrote them down or changed some."""
    if spec.tune is not None:
        return True
    model = _by_primary_names(spec.model)
    return any(
        _come_from(_by_primary_names(parameters), changed, model)
        for parameters, changed in searched_parameters(competition)
    )


def _come_from(searched: Mapping[str, Any], changed: Sequence[str], model: Mapping[str, Any]) -> bool:
    """Say whether parameters are those that a search has chosen, or these with some of them edited.

    That is where most of what it changed is as it chose it, or a number has digits that nobody would write.
    """
    equal = [name for name, value in searched.items() if name in model and model[name] == value]
    if searched and len(equal) == len(searched):
        return True
    unedited = [name for name in equal if name in changed]
    return any(_is_odd(searched[name]) for name in unedited) or (len(unedited) > 1 and 2 * len(unedited) > len(changed))


def _is_odd(value: Any) -> bool:
    """Say whether a number has more than three digits that count, as 0.0372918 has."""
    return isinstance(value, int | float) and not isinstance(value, bool) and float(f"{value:.3g}") != value


def _by_primary_names(parameters: Mapping[str, Any]) -> dict[str, Any]:
    named = {}
    for key, value in parameters.items():
        try:
            named[primary_name(key, where="")] = value
        except ConfigError:
            named[key] = value
    return named
