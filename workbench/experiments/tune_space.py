"""The search space of an experiment: its ``[tune.space]``, or the default without parameters that it can't use."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workbench.core.errors import ConfigError
from workbench.experiments.kinds import model_spec
from workbench.experiments.ready import ReadyExperiment
from workbench.experiments.spec import TuneSpec
from workbench.experiments.tuned_parameters import with_parameters, with_patience
from workbench.models.lightgbm.learner import LightGBMSpec
from workbench.models.lightgbm.objectives import objective_for
from workbench.models.lightgbm.parameter_rules import first_training, reset_unused
from workbench.models.lightgbm.parameters import lightgbm_defaults, with_bagging
from workbench.tuning import Dimension, Space, default_space, parse_space

__all__ = ["search_space"]


def search_space(experiment: ReadyExperiment, spec: LightGBMSpec, tuning: TuneSpec) -> Space:
    """Return the search space of an experiment.

    Raises
    ------
    ConfigError
        When ``[tune.space]`` has values that the experiment's model can't have.
    """
    if tuning.space:
        space = parse_space(tuning.space, where=str(experiment.spec.path))
        for d in space.dimensions:
            if (refusal := _refusal(experiment, spec, d, space)) is not None:
                value, exc = refusal
                where = f"{experiment.spec.path}: [tune.space] {d.name} = {value!r}"
                raise ConfigError(f"{where} contradicts the experiment: {exc.message}", hint=exc.hint)
        _check_pairs(experiment, spec, space)
        return space
    problem = experiment.problem
    n_rows = len(problem.folds.train_rows(0))
    matrix = problem.matrix
    n_columns = matrix.width + len(matrix.fold_columns)
    task = problem.target.columns[0].task
    space = default_space(task, n_rows, n_columns, has_categories=bool(matrix.categories)).widened(spec.parameters)
    return space.without([d.name for d in space.dimensions if _refusal(experiment, spec, d, space) is not None])


def _refusal(
    experiment: ReadyExperiment, spec: LightGBMSpec, d: Dimension, space: Space
) -> tuple[Any, ConfigError] | None:
    """Return a value of the dimension that the experiment's model can't have, and why; None where it can have all.

    A value that is refused alone may be valid together with values of other dimensions.
    """
    other_choices = [o for o in space.dimensions if o.name != d.name and o.choices is not None]
    for value in d.choices if d.choices is not None else (d.low, d.high):
        refused = _refused_values(experiment, spec, {d.name: value})
        if refused is None:
            continue
        choices = [{o.name: choice} for o in other_choices for choice in o.choices or ()]
        typical = {o.name: _inner(o)[0] for o in space.dimensions if o.name != d.name}
        if any(
            _refused_values(experiment, spec, {**other_values, d.name: value}) is None
            for other_values in [*choices, typical]
        ):
            continue
        return value, refused
    return None


def _refused_values(experiment: ReadyExperiment, spec: LightGBMSpec, values: Mapping[str, Any]) -> ConfigError | None:
    """Return why the experiment's model can't have these values together; None where it can."""
    bagged = with_bagging(values, spec.parameters)
    unused = reset_unused(with_patience(spec) | bagged, lightgbm_defaults(), but=values)
    model = with_parameters(experiment.spec.model, bagged | unused)
    try:
        changed = model_spec(replace(experiment.spec, model=model), experiment.competition, experiment.problem.target)
    except ConfigError as exc:
        return exc
    if isinstance(changed, LightGBMSpec) and changed.patience != spec.patience:
        return ConfigError("it has no early stopping", hint="tune it in an experiment of its own")
    return None


def _inner(d: Dimension) -> tuple[Any, ...]:
    """Return the choices of a dimension, or two values near the ends of its range."""
    if d.choices is not None:
        return d.choices
    if d.is_integer:
        return (int(d.low), int(d.high))
    margin = (d.high - d.low) / 100
    return (d.low + margin, d.high - margin)


def _check_pairs(experiment: ReadyExperiment, spec: LightGBMSpec, space: Space) -> None:
    """Raise for two dimensions with values that LightGBM does not allow together."""
    fixed = {k: v for k, v in spec.parameters.items() if k != "objective"}
    column, metric = experiment.problem.target.columns[0], experiment.problem.metric
    objective = str(spec.parameters.get("objective") or objective_for(column.task, metric)["objective"])
    checked_objective = "regression" if spec.custom_objective is not None else objective
    for one, other in itertools.combinations(space.dimensions, 2):
        for values in itertools.product(_inner(one), _inner(other)):
            pair = dict(zip((one.name, other.name), values, strict=True))
            problem, _ = first_training(fixed | with_bagging(pair, spec.parameters), checked_objective)
            if not problem or _refused_alone(pair, fixed, checked_objective, spec):
                continue
            shown = " and ".join(f"{name} = {value!r}" for name, value in pair.items())
            raise ConfigError(
                f"{experiment.spec.path}: [tune.space] contradicts itself: {shown}: {problem}",
                hint="remove one of the two, or tune them in separate experiments",
            )


def _refused_alone(pair: Mapping[str, Any], fixed: Mapping[str, Any], objective: str, spec: LightGBMSpec) -> bool:
    """Return whether one of two values is refused even without the other; then the pair is not the reason."""
    alone = ({name: value} for name, value in pair.items())
    return any(first_training({**fixed, **with_bagging(one, spec.parameters)}, objective)[0] for one in alone)
