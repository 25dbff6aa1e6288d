"""The search space: LightGBM's parameters with their ranges, from ``[tune.space]`` or by default."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.core.errors import ConfigError, did_you_mean
from workbench.models.lightgbm.parameter_rules import parameter_type
from workbench.models.lightgbm.parameters import lightgbm_defaults, primary_name

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["Dimension", "Space", "default_space", "initial_point", "parse_space", "proven_points"]

KEYS = ("low", "high", "log", "step", "choices")

LIMITS: dict[str, tuple[float, float]] = {
    "learning_rate": (1e-6, 10.0),
    "num_leaves": (2, 131_072),
    "min_data_in_leaf": (0, 2**31 - 1),
    "feature_fraction": (1e-6, 1.0),
    "feature_fraction_bynode": (1e-6, 1.0),
    "bagging_fraction": (1e-6, 1.0),
    "pos_bagging_fraction": (1e-6, 1.0),
    "neg_bagging_fraction": (1e-6, 1.0),
    "lambda_l1": (0.0, math.inf),
    "lambda_l2": (0.0, math.inf),
    "min_gain_to_split": (0.0, math.inf),
    "min_sum_hessian_in_leaf": (0.0, math.inf),
    "path_smooth": (0.0, math.inf),
    "cat_smooth": (0.0, math.inf),
    "cat_l2": (0.0, math.inf),
    "max_bin": (2, 65_535),
    "drop_rate": (0.0, 1.0),
    "top_rate": (0.0, 1.0),
    "other_rate": (0.0, 1.0),
}
"""The values that LightGBM allows; https://lightgbm.readthedocs.io/en/stable/Parameters.html"""

NOT_SEARCHED = {
    "num_iterations": "early stopping finds the number of rounds",
    "early_stopping_round": "it decides the number of rounds",
    "num_threads": "it does not change the model",
    "verbosity": "it does not change the model",
    "objective": "models with different objectives may predict different things; compare them by experiments",
}


MEMORY_PARAMETERS = ("linear_tree", "max_bin", "num_leaves")
"""The parameters that a model's memory grows with."""


@dataclass(frozen=True)
class Dimension:
    """One parameter and its range: numbers from `low` to `high`, or one of `choices`."""

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    is_integer: bool = False
    choices: tuple[Any, ...] | None = None

    def distribution(self) -> BaseDistribution:
        """Return the range as a distribution of Optuna."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices is not None:
            return CategoricalDistribution(self.choices)
        if self.is_integer:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def contains(self, value: Any) -> bool:
        """Return whether a value is in the range."""
        if self.choices is not None:
            return value in self.choices
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high

    def content(self) -> dict[str, Any]:
        """Return the range as ``[tune.space]`` has it."""
        if self.choices is not None:
            return {"choices": list(self.choices)}
        bounds = (int(self.low), int(self.high)) if self.is_integer else (self.low, self.high)
        options = ({"log": True} if self.log else {}) | ({"step": self.step} if self.step else {})
        return {"low": bounds[0], "high": bounds[1], **options}


@dataclass(frozen=True)
class Space:
    """The searched parameters, by LightGBM's primary names; all others keep the experiment's values."""

    dimensions: tuple[Dimension, ...]

    @property
    def names(self) -> list[str]:
        """The parameters' names."""
        return [d.name for d in self.dimensions]

    @property
    def largest(self) -> dict[str, Any]:
        """The values that take the most memory, of the parameters that memory depends on."""
        dimensions = [d for d in self.dimensions if d.name in MEMORY_PARAMETERS]
        return {d.name: int(d.high) if d.choices is None else max(d.choices) for d in dimensions}

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return the ranges as distributions of Optuna."""
        return {d.name: d.distribution() for d in self.dimensions}

    def content(self) -> dict[str, Any]:
        """Return the ranges as ``[tune.space]`` has them; the study's key is made of them."""
        return {d.name: d.content() for d in self.dimensions}

    def parameters(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return a point as LightGBM's parameters: the lower end of a penalty's logarithmic range becomes 0."""
        low_by_penalty = {d.name: d.low for d in self.dimensions if d.log and d.name in ZERO_IS_LEAST}
        return {name: 0.0 if low_by_penalty.get(name) == value else value for name, value in point.items()}

    def point_of(self, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return parameters, by default LightGBM's own, as a point of the space; None if one is outside."""
        all_parameters = lightgbm_defaults() | dict(parameters)
        point = {}
        for d in self.dimensions:
            value = all_parameters.get(d.name)
            if d.choices is None and not d.is_integer and isinstance(value, int):
                value = float(value)
            if d.name in ZERO_IS_LEAST and value == 0 and d.low > 0:
                value = d.low
            if not d.contains(value):
                return None
            # The choice itself: in Python 0 == False and 1 == True.
            point[d.name] = value if d.choices is None else next(c for c in d.choices if c == value)
        return point

    def widened(self, parameters: Mapping[str, Any]) -> Space:
        """Return the space with its ranges extended to the given values, or LightGBM's defaults, where possible."""
        all_parameters = lightgbm_defaults() | dict(parameters)
        return Space(tuple(_extended(d, all_parameters.get(d.name)) for d in self.dimensions))

    def without(self, names: Collection[str]) -> Space:
        """Return the space without some of its dimensions."""
        return Space(tuple(d for d in self.dimensions if d.name not in names))


ZERO_IS_LEAST = {"lambda_l1", "lambda_l2", "min_gain_to_split", "path_smooth"}
"""Penalties, whose logarithmic ranges can't contain 0; the lower end means 0."""


def _extended(d: Dimension, value: Any) -> Dimension:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if d.choices is not None or not is_number or (d.log and value <= 0):
        return d
    return replace(d, low=min(d.low, value), high=max(d.high, value))


def initial_point(space: Space, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return an experiment's own parameters as a point of the space; None if they are outside.

    `bagging_fraction` has no effect without `bagging_freq`, which trials set and the experiment may not: it then trains
    on all rows, a fraction of 1.
    """
    if "bagging_freq" not in space.names and not parameters.get("bagging_freq"):
        parameters = {**parameters, "bagging_fraction": 1.0}
    return space.point_of(parameters)


def default_space(task: str, n_rows: int, n_columns: int, *, has_categories: bool) -> Space:
    """Return ranges for a table of this size.

    Small tables get small trees and strong regularisation, large ones large trees. The learning rate is not searched:
    low-fidelity trials use a high one, full CV a low one.

    Parameters
    ----------
    task : str
    n_rows : int
        The train rows of a fold.
    n_columns : int
    has_categories : bool
        Whether there are categorical columns.
    """
    leaves = min(512, max(8, n_rows // 40))
    rows = min(2_000, max(20, n_rows // 50))
    # Three columns per tree do well in tables with few columns, too.
    fraction = round(min(0.5, max(0.1, 3 / max(1, n_columns))), 2)
    dimensions = [
        Dimension("num_leaves", 4, leaves, log=True, is_integer=True),
        Dimension("min_data_in_leaf", 2 if n_rows < 20_000 else 5, rows, log=True, is_integer=True),
        Dimension("feature_fraction", fraction, 1.0),
        Dimension("bagging_fraction", 0.4, 1.0),
        Dimension("lambda_l1", 1e-3, 10.0, log=True),
        Dimension("lambda_l2", 1e-3, 100.0, log=True),
        Dimension("extra_trees", choices=(False, True)),
        Dimension("path_smooth", 1e-2, 100.0, log=True),
    ]
    if task == "regression":
        dimensions.append(Dimension("min_gain_to_split", 1e-6, 1.0, log=True))
    if has_categories:
        dimensions.append(Dimension("cat_smooth", 1.0, 200.0, log=True))
        dimensions.append(Dimension("cat_l2", 0.1, 100.0, log=True))
    return Space(tuple(dimensions))


PROVEN_POINTS: tuple[dict[str, Any], ...] = (
    {"num_leaves": 31, "min_data_in_leaf": 20, "feature_fraction": 0.7, "bagging_fraction": 0.8, "lambda_l2": 1.0},
    {"num_leaves": 8, "min_data_in_leaf": 20, "feature_fraction": 0.5, "bagging_fraction": 0.8, "lambda_l2": 10.0},
    {"num_leaves": 15, "min_data_in_leaf": 10, "feature_fraction": 0.25, "bagging_fraction": 1.0, "lambda_l2": 0.2},
    {"num_leaves": 127, "min_data_in_leaf": 100, "feature_fraction": 0.5, "bagging_fraction": 0.9, "lambda_l2": 10.0},
    {"num_leaves": 63, "min_data_in_leaf": 50, "feature_fraction": 0.4, "bagging_fraction": 0.7, "extra_trees": True},
)
"""Parameters that did well on many tables: few leaves, few columns per tree, many large leaves, and mixtures."""


def proven_points(space: Space) -> list[dict[str, Any]]:
    """Return the points of `PROVEN_POINTS` that can be moved into the space."""
    return [point for parameters in PROVEN_POINTS if (point := space.point_of(_clipped(space, parameters))) is not None]


def _clipped(space: Space, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the space's dimensions, LightGBM's defaults where missing, clipped to their ranges."""
    clipped = {}
    for d in space.dimensions:
        value = parameters.get(d.name, lightgbm_defaults().get(d.name))
        if d.choices is None and isinstance(value, int | float):
            value = min(max(value, d.low), d.high)
            value = round(value) if d.is_integer else float(value)
        clipped[d.name] = value
    return clipped


def parse_space(content: Mapping[str, Any], *, where: str) -> Space:
    """Read ``[tune.space]``.

    Parameters
    ----------
    content : mapping
        Parameter -> ``{ low = 15, high = 511, log = true }``, ``{ low = 0.2, high = 1.0, step = 0.1 }``, a list of
        choices, or ``{ choices = […] }``.
    where : str
        The file, for messages.

    Raises
    ------
    ConfigError
        For an unknown parameter, one that is not searched, one given twice, and an invalid range.

    Examples
    --------
    >>> leaves = {"low": 15, "high": 255, "log": True}
    >>> parse_space({"num_leaves": leaves, "extra_trees": [True, False]}, where="").names
    ['num_leaves', 'extra_trees']
    """
    dimensions: dict[str, Dimension] = {}
    for key, value in content.items():
        name = primary_name(key, where=f"{where}: [tune.space]")
        if name in dimensions:
            raise ConfigError(f"{where}: [tune.space] has {name!r} twice, also as {key!r}", hint="keep one of them")
        if name in NOT_SEARCHED:
            raise ConfigError(f"{where}: [tune.space] {key!r} is not searched: {NOT_SEARCHED[name]}")
        dimensions[name] = _dimension(name, value, f"{where}: [tune.space] {key}")
    if not dimensions:
        raise ConfigError(f"{where}: [tune.space] is empty", hint="leave it out for the default space")
    return Space(tuple(dimensions.values()))


def _dimension(name: str, value: Any, where: str) -> Dimension:
    if isinstance(value, list):
        value = {"choices": value}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} = {value!r}: expected a range", hint="{ low = 15, high = 255, log = true } or […]")
    for key in value:
        if key not in KEYS:
            raise ConfigError(f"{where} has an unknown key {key!r}", hint=did_you_mean(key, KEYS, kind="key"))
    if "choices" in value:
        return _choices(name, value, where)
    missing = [k for k in ("low", "high") if k not in value]
    if missing:
        raise ConfigError(f"{where} lacks {' and '.join(missing)}", hint="{ low = 15, high = 255, log = true }")
    return _range(name, value, where)


def _choices(name: str, value: Mapping[str, Any], where: str) -> Dimension:
    choices = value["choices"]
    if set(value) != {"choices"}:
        raise ConfigError(f"{where} has choices and a range", hint="keep one of them")
    if not isinstance(choices, list) or not choices:
        raise ConfigError(f"{where}: choices = {choices!r}: expected a list of at least one value")
    if any(isinstance(c, list | dict) for c in choices):
        raise ConfigError(f"{where}: choices = {choices!r}: expected numbers, texts, true or false")
    if len({repr(c) for c in choices}) < len(choices):
        raise ConfigError(f"{where}: choices = {choices!r} has a value twice", hint="once is enough")
    for choice in choices:
        if isinstance(choice, int | float) and not isinstance(choice, bool):
            _check_limits(name, choice, where)
    return Dimension(name, choices=tuple(choices))


def _range(name: str, value: Mapping[str, Any], where: str) -> Dimension:
    low, high = (_number(value[k], k, where) for k in ("low", "high"))
    log, step = value.get("log", False), value.get("step")
    step = None if step is None else _number(step, "step", where)
    if not isinstance(log, bool):
        raise ConfigError(f"{where}: log = {log!r}: expected true or false")
    kind = parameter_type(name)
    if kind not in ("int", "float"):
        expected = "true or false" if kind == "bool" else "not a number"
        raise ConfigError(f"{where}: {name} is {expected}, got a range", hint="give its values: […]")
    is_integer = kind == "int"
    if is_integer and (low % 1 or high % 1 or (step or 0) % 1):
        raise ConfigError(f"{where}: {name} is a whole number, got a range from {low:g} to {high:g}")
    if low >= high:
        raise ConfigError(
            f"{where}: low = {low:g} is not below high = {high:g}",
            hint=f"a fixed value goes into [model]: {name} = {low:g}",
        )
    if log and low <= 0:
        raise ConfigError(f"{where}: log = true needs low above 0, got {low:g}")
    if step is not None and (log or step <= 0 or step > high - low):
        reason = "can't be used with log = true" if log else f"must be above 0 and at most {high - low:g}"
        raise ConfigError(f"{where}: step = {step!r} {reason}")
    for bound in (low, high):
        _check_limits(name, bound, where)
    if not is_integer and name not in LIMITS and isinstance(low, int) and isinstance(high, int):
        # Earlier versions searched whole numbers here; with floats the key differs, so their studies are not continued.
        low, high = float(low), float(high)
    return Dimension(name, low, high, log, step, is_integer)


def _number(value: Any, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{where}: {key} = {value!r}: expected a number")
    return value


def _check_limits(name: str, value: float, where: str) -> None:
    low, high = LIMITS.get(name, (-math.inf, math.inf))
    if not low <= value <= high:
        bounds = f"from {low:g} to {high:g}" if math.isfinite(high) else f"of at least {low:g}"
        raise ConfigError(f"{where}: LightGBM takes {name} {bounds}, got {value:g}")
