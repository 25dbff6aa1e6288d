"""The best parameters of a search as an experiment's ``[model]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.core.errors import NotFoundError
from workbench.data.competition import Competition, in_toml
from workbench.data.workspace import Workspace
from workbench.experiments.best_parameters import BestParameters
from workbench.experiments.plan import untuned_key
from workbench.experiments.spec import read_spec
from workbench.models.lightgbm.learner import LightGBMSpec
from workbench.models.lightgbm.parameter_rules import reset_unused
from workbench.models.lightgbm.parameters import lightgbm_defaults, primary_name, with_bagging
from workbench.models.registry import has_capability
from workbench.tuning import SearchResult, Space, enough_rounds

__all__ = ["as_toml_lines", "best_parameters", "tuned_parameters", "with_parameters", "with_patience"]


def best_parameters(workspace: Workspace, competition: Competition, number: int) -> dict[str, Any]:
    """Return the best ``[model]`` of the searches on an experiment.

    Raises
    ------
    NotFoundError
        When it was not tuned, no trial finished, or its features, folds or model changed since.
    """
    best = BestParameters.read(competition.paths.study(number))
    if best is None:
        kind = read_spec(competition, number).kind
        if not has_capability(kind, "tune"):
            raise NotFoundError(
                f"experiment {number} of {competition.slug!r} is of [{kind}], and `wb tune` tunes [model]",
                hint=f"without --tuned: `wb new --from {number}`",
            )
        was_tuned = any(competition.paths.study(number).glob("*"))
        raise NotFoundError(
            f"experiment {number} of {competition.slug!r} has no tuned parameters"
            + (": no trial finished in the time that `wb tune` had" if was_tuned else ""),
            hint=f"`wb tune {number} --minutes {30 if was_tuned else 10}` {'goes on' if was_tuned else 'finds some'}",
        )
    if best.untuned_key != untuned_key(workspace, competition, number):
        raise NotFoundError(
            f"experiment {number} of {competition.slug!r} has changed since it was tuned",
            hint=f"`wb tune {number} --minutes 10` tunes it as it is now",
        )
    return best.model


def as_toml_lines(parameters: Mapping[str, Any], *, without: Mapping[str, Any] | None = None) -> str:
    """Return parameters as lines of ``[model]``, except those that are equal in `without`.

    Examples
    --------
    >>> best = {"num_leaves": 63, "extra_trees": True, "monotone_constraints": {"age": 1}}
    >>> print(as_toml_lines(best, without={"num_leaves": 63}), end="")
    extra_trees = true
    monotone_constraints = { "age" = 1 }
    """
    excluded = without or {}
    return "".join(
        f"{name} = {in_toml(value)}\n"
        for name, value in parameters.items()
        if name not in excluded or excluded[name] != value
    )


def tuned_parameters(
    search_result: SearchResult, spec: LightGBMSpec, space: Space, model: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the experiment's ``[model]`` with the best values of the searched parameters.

    Parameters
    ----------
    search_result : SearchResult
    spec : LightGBMSpec
        The experiment's model.
    space : Space
    model : mapping
        The experiment's ``[model]``; its aliases of parameters are kept.
    """
    best = search_result.best
    if best is None:
        return dict(model)
    changes: dict[str, Any] = {}
    if search_result.initial is None or best.parameters != search_result.initial.parameters:
        point = {name: _rounded(value) for name, value in space.parameters(best.parameters).items()}
        changes = with_bagging(point, spec.parameters)
        changes |= reset_unused(with_patience(spec) | changes, lightgbm_defaults())
    if best.learning_rate is not None and "learning_rate" not in spec.parameters:
        changes["learning_rate"] = best.learning_rate
        changes["num_iterations"], changes["early_stopping_round"] = enough_rounds(
            best.learning_rate, spec.rounds, spec.patience
        )
    return with_parameters(model, changes)


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def with_parameters(model: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a ``[model]`` with parameters, given by primary names, in place of those it has by any alias."""
    key_by_name = {primary_name(key, where="[model]"): key for key in model}
    return {**model, **{key_by_name.get(name, name): value for name, value in parameters.items()}}


def with_patience(spec: LightGBMSpec) -> dict[str, Any]:
    """Return the parameters of a model, including its early stopping."""
    return spec.parameters | {"early_stopping_round": spec.patience}
