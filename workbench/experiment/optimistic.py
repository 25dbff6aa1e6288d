"""Why a run's CV is likely to be better than its score on new rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.cache import read_json
from workbench.errors import ConfigError, DamagedError, WorkbenchError
from workbench.experiment.feature_list import read_list
from workbench.training import primary_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.competition import Competition
    from workbench.experiment.plan import Plan
    from workbench.experiment.spec import ExperimentSpec

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
        (TUNED, spec.kind == "model" and _was_tuned(plan.competition, spec)),
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
    """Say whether the parameters are those that a search of the competition has found, whoever wrote them down."""
    if spec.tune is not None:
        return True
    given = _by_primary_names(spec.model)
    return any(_holds(found, given) for found in _found_by_searches(competition))


def _found_by_searches(competition: Competition) -> list[dict[str, Any]]:
    found = []
    for path in sorted(competition.study_folder(0).parent.glob("*/best.json")):
        try:
            found.append(dict(read_json(path).get("searched", {})))
        except (OSError, DamagedError, TypeError, ValueError, AttributeError):
            continue
    return found


def _holds(found: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    named = _by_primary_names(found)
    return bool(named) and all(name in given and given[name] == value for name, value in named.items())


def _by_primary_names(parameters: Mapping[str, Any]) -> dict[str, Any]:
    named = {}
    for key, value in parameters.items():
        try:
            named[primary_name(key, where="")] = value
        except ConfigError:
            named[key] = value
    return named
