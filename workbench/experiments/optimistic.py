"""Why a run's CV is likely to be better than its score on new rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.core.cache import read_json
from workbench.core.errors import ConfigError, DamagedError, WorkbenchError
from workbench.experiments.feature_list import read_list
from workbench.models.parameters import primary_name

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
    given = _by_primary_names(spec.model)
    return any(_come_from(found, changed, given) for found, changed in _found_by_searches(competition))


def _found_by_searches(competition: Competition) -> list[tuple[dict[str, Any], list[str]]]:
    """Return what each search has found, and the names of what the experiment that was tuned had otherwise."""
    found = []
    for path in sorted(competition.study_folder(0).parent.glob("*/best.json")):
        try:
            kept = read_json(path)
            found.append((_by_primary_names(dict(kept.get("searched", {}))), [*kept.get("changed", ())]))
        except (OSError, DamagedError, TypeError, ValueError, AttributeError):
            continue
    return found


def _come_from(found: Mapping[str, Any], changed: Sequence[str], given: Mapping[str, Any]) -> bool:
    """Say whether parameters are those that a search has found, or these with some of them edited.

    That is where most of what it changed is as it found it, or a number has digits that nobody would write.
    """
    equal = [name for name, value in found.items() if name in given and given[name] == value]
    if found and len(equal) == len(found):
        return True
    kept = [name for name in equal if name in changed]
    return any(_is_odd(found[name]) for name in kept) or (len(kept) > 1 and 2 * len(kept) > len(changed))


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
