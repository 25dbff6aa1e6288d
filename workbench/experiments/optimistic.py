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
from workbench.models.registry import has_capability

__all__ = ["PER_FOLD", "SELECTED", "TUNED", "why_optimistic"]

PER_FOLD = "rounds per fold"
SELECTED = "selected on these folds"
TUNED = "tuned on these folds"


def why_optimistic(plan: Plan) -> str | None:
    """Return the reasons why the CV of a run is likely to be optimistic, as short text; None without any.

    Other folds of the same rows do not help: choices that were made on these rows look good on all folds of them.
    """
    spec, patience = plan.spec, getattr(plan.model, "patience", 0)
    is_true_by_reason = {
        PER_FOLD: (bool(patience) and getattr(plan.model, "rounds_per_fold", False) and plan.folds.n_folds > 1),
        SELECTED: _has_selected_features(plan.competition, spec),
        TUNED: has_capability(spec.kind, "tune") and _has_tuned_parameters(plan.competition, spec),
    }
    return "; ".join(reason for reason, is_true in is_true_by_reason.items() if is_true) or None


def _has_selected_features(competition: Competition, spec: ExperimentSpec) -> bool:
    """Return whether the features are a list that was selected by scores."""
    if spec.feature_list is None:
        return False
    try:
        listed = read_list(competition, spec.feature_list, where=str(spec.path))
    except WorkbenchError:
        return False
    # A list that dropped no columns is not the result of a selection.
    return bool(listed.made.get("method")) and bool(listed.dropped)


def _has_tuned_parameters(competition: Competition, spec: ExperimentSpec) -> bool:
    """Return whether the parameters come from a hyperparameter search in this competition, even if edited later."""
    if spec.tune is not None:
        return True
    model = _by_primary_names(spec.model)
    return any(
        _comes_from_search(_by_primary_names(parameters), changed, model)
        for parameters, changed in searched_parameters(competition)
    )


def _comes_from_search(searched: Mapping[str, Any], changed: Sequence[str], model: Mapping[str, Any]) -> bool:
    """Return whether a model has the parameters of a search, possibly with some of them edited.

    True if most of the changed parameters are equal, or one of the equal ones has more digits than a person would type.
    """
    equal = [name for name, value in searched.items() if name in model and model[name] == value]
    if searched and len(equal) == len(searched):
        return True
    unedited = [name for name in equal if name in changed]
    return any(_has_many_digits(searched[name]) for name in unedited) or (
        len(unedited) > 1 and 2 * len(unedited) > len(changed)
    )


def _has_many_digits(value: Any) -> bool:
    """Return whether a number has more than three significant digits, such as 0.0372918."""
    return isinstance(value, int | float) and not isinstance(value, bool) and float(f"{value:.3g}") != value


def _by_primary_names(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with LightGBM's aliases replaced by primary names; unknown names are kept."""
    value_by_name = {}
    for key, value in parameters.items():
        try:
            value_by_name[primary_name(key, where="")] = value
        except ConfigError:
            value_by_name[key] = value
    return value_by_name
