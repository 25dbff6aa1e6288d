"""Reasons why a run's CV is likely to be better than its score on new rows."""

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
    """Return why the CV of a run is likely to be optimistic, in a few words; None where no reason is known.

    Other folds of the same rows do not help: choices that were made on these rows look good on all of their folds.
    """
    spec, stops = plan.spec, getattr(plan.model, "patience", 0)
    reasons = [
        (PER_FOLD, bool(stops) and getattr(plan.model, "per_fold", False) and plan.folds.n_folds > 1),
        (SELECTED, _was_selected(plan.competition, spec)),
        (TUNED, can(spec.kind, "tune") and _was_tuned(plan.competition, spec)),
    ]
    return "; ".join(reason for reason, holds in reasons if holds) or None


def _was_selected(competition: Competition, spec: ExperimentSpec) -> bool:
    """Return whether the features are a list that was selected by scores."""
    if spec.selection is None:
        return False
    try:
        listed = read_list(competition, spec.selection, where=str(spec.path))
    except WorkbenchError:
        return False
    # A list that dropped no columns is not the result of a selection.
    return bool(listed.made.get("method")) and bool(listed.dropped)


def _was_tuned(competition: Competition, spec: ExperimentSpec) -> bool:
    """Return whether the parameters come from a search of this competition, even if some were edited later."""
    if spec.tune is not None:
        return True
    model = _by_primary_names(spec.model)
    return any(
        _come_from(_by_primary_names(parameters), changed, model)
        for parameters, changed in searched_parameters(competition)
    )


def _come_from(searched: Mapping[str, Any], changed: Sequence[str], model: Mapping[str, Any]) -> bool:
    """Return whether a model has the parameters of a search, perhaps with some of them edited.

    This is so if most of the changed parameters are equal, or one of them has more digits than a person would type.
    """
    equal = [name for name, value in searched.items() if name in model and model[name] == value]
    if searched and len(equal) == len(searched):
        return True
    unedited = [name for name in equal if name in changed]
    return any(_is_odd(searched[name]) for name in unedited) or (len(unedited) > 1 and 2 * len(unedited) > len(changed))


def _is_odd(value: Any) -> bool:
    """Return whether a number has more than three significant digits, such as 0.0372918."""
    return isinstance(value, int | float) and not isinstance(value, bool) and float(f"{value:.3g}") != value


def _by_primary_names(parameters: Mapping[str, Any]) -> dict[str, Any]:
    value_by_name = {}
    for key, value in parameters.items():
        try:
            value_by_name[primary_name(key, where="")] = value
        except ConfigError:
            value_by_name[key] = value
    return value_by_name
