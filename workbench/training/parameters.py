"""LightGBM's parameters: checked names, defaults by task and metric, and what makes a run repeatable."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.errors import ConfigError, near
from workbench.training.needs import MemoryNeeds, lightgbm_needs

if TYPE_CHECKING:
    from workbench.metrics import Metric
    from workbench.training.lightgbm_folds import LightGBMLearner
    from workbench.training.records import Problem
    from workbench.training.target import Target

__all__ = ["LightGBMSpec", "is_stand_in", "lightgbm_metric", "lightgbm_spec", "primary_name", "transform_for"]

DEFAULT_ROUNDS = 1000
DEFAULT_PATIENCE = 50

# What the training itself decides; a value of the user's would contradict the competition or the folds.
RESERVED = {
    "metric": "the competition's metric is used",
    "num_class": "the number of classes comes from the target",
    "seed": "put the seeds into the experiment: seeds = [1, 2, 3]",
    "data": "the data comes from features",
    "valid": "the folds come from [cv] in competition.toml",
    "label_column": "the target comes from competition.toml",
    "categorical_feature": 'put the columns into the experiment: categorical = ["…"]',
    "input_model": "every run starts afresh",
    "output_model": "models go into the run folder",
    "task": "the task comes from competition.toml",
}

# Our metric's name -> LightGBM's, where both compute the same number; the rest is computed by ours at every round.
SAME_METRIC = {
    "auc": "auc",
    "rmse": "rmse",
    "mae": "l1",
    "mape": "mape",
    "logloss": "binary_logloss",
    "mlogloss": "multi_logloss",
    "average_precision": "average_precision",
}

TRANSFORMS = ("none", "log1p")
# A model of the logarithm fits what these metrics measure: ratios.
TRANSFORM_OF = {"rmsle": "log1p", "rmspe": "log1p"}

OBJECTIVE_OF = {"mae": "regression_l1", "medae": "regression_l1", "wmae": "regression_l1", "mape": "mape"}


@dataclass(frozen=True)
class LightGBMSpec:
    """A LightGBM model to train: all of its parameters, by their primary names.

    `parameters` holds neither seeds nor the number of rounds. `patience` is the early stopping, 0 for none.
    `transform` is what the target goes through before training; predictions come back through its inverse.
    """

    parameters: dict[str, Any]
    rounds: int
    patience: int
    transform: str = "none"

    def content(self) -> dict[str, Any]:
        """Return what decides the result: the number of threads does not."""
        return {
            "lightgbm": importlib.metadata.version("lightgbm"),
            "parameters": {k: v for k, v in self.parameters.items() if k != "num_threads"},
            "rounds": self.rounds,
            "patience": self.patience,
            "transform": self.transform,
        }

    def needs(self, problem: Problem, seeds: Sequence[int]) -> MemoryNeeds:
        """Foresee what the training takes at its peak."""
        return lightgbm_needs(problem, self.parameters, seeds)

    def learner(self, problem: Problem, index: int) -> LightGBMLearner:
        """Return what trains the models of target number `index`."""
        from workbench.training.lightgbm_folds import LightGBMLearner

        return LightGBMLearner(problem, self, index)


def lightgbm_spec(
    given: dict[str, Any], *, where: str, threads: int | None = None, transform: str = "none"
) -> LightGBMSpec:
    """Check the ``[model]`` table of an experiment and complete it.

    Parameters
    ----------
    given : dict
        LightGBM's parameters under any of the names that LightGBM has for them.
    where : str
        The file that they come from, for messages.
    threads : int, optional
        None for as many as the process may use.
    transform : str
        As `transform_for` gives it.

    Raises
    ------
    ConfigError
        For a name that LightGBM does not know (it would ignore it), one given twice, or one that is not the user's.
    """
    named = _primary_names(given, where)
    rounds = _positive(named.pop("num_iterations", DEFAULT_ROUNDS), "num_iterations", where, minimum=1)
    patience = _positive(named.pop("early_stopping_round", DEFAULT_PATIENCE), "early_stopping_round", where, minimum=0)
    cores = threads or len(os.sched_getaffinity(0))
    # `deterministic` is only kept when LightGBM does not choose between rows and columns by timing them.
    fixed: dict[str, Any] = {"verbosity": -1, "deterministic": True, "num_threads": cores}
    if not named.get("force_row_wise"):
        fixed["force_col_wise"] = True
    return LightGBMSpec(fixed | named, rounds, patience, transform)


def primary_name(key: str, *, where: str) -> str:
    """Return the primary name of one of LightGBM's parameters.

    Raises
    ------
    ConfigError
        For a name that LightGBM does not know, or one that is not the user's to set.
    """
    from lightgbm.basic import _ConfigAliases

    aliases: dict[str, list[str]] = _ConfigAliases._get_all_param_aliases()
    primary = {alias: name for name, others in aliases.items() for alias in (name, *others)}
    if key not in primary:
        raise ConfigError(f"{where} has an unknown key {key!r}", hint=near(key, primary, what="key"))
    name = primary[key]
    if name in RESERVED:
        raise ConfigError(f"{where} can't set {key!r}: {RESERVED[name]}")
    return name


def _primary_names(given: dict[str, Any], where: str) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for key, value in given.items():
        name = primary_name(key, where=f"{where}: [model]")
        if name in named:
            raise ConfigError(f"{where}: [model] sets {name!r} twice, also as {key!r}", hint="keep one of them")
        named[name] = value
    return named


def _positive(value: Any, key: str, where: str, *, minimum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ConfigError(f"{where}: [model] {key} = {value!r}: expected a whole number from {minimum} up")
    return value


def objective_for(task: str, metric: Metric) -> dict[str, Any]:
    """Return the default objective of a task: the one that the metric rewards, where LightGBM has it."""
    if task in ("binary", "multiclass"):
        return {"objective": task}
    name, _, level = metric.name.partition("@")
    if name == "pinball":
        return {"objective": "quantile", "alpha": float(level or 0.5)}
    return {"objective": OBJECTIVE_OF.get(name, "regression")}


def transform_for(asked: str | None, target: Target, metric: Metric, *, where: str) -> str:
    """Return the target's transform: the one asked for, else the one that the metric rewards and the values allow.

    Raises
    ------
    ConfigError
        For an unknown one, or one that the target's values do not allow.
    """
    regression = all(c.task == "regression" for c in target.columns)
    lowest = min(float(c.values.min()) for c in target.columns)
    if asked is None:
        usual = TRANSFORM_OF.get(metric.name, "none")
        return usual if regression and lowest > -1 else "none"
    if asked not in TRANSFORMS:
        raise ConfigError(
            f"{where}: target_transform = {asked!r} is unknown", hint=near(asked, TRANSFORMS, what="transform")
        )
    if asked == "log1p" and not (regression and lowest > -1):
        what = f"its lowest value is {lowest:g}" if regression else "it is a class"
        raise ConfigError(f"{where}: target_transform = 'log1p' needs a target above -1, but {what}")
    return asked


def is_stand_in(metric: Metric, task: str) -> bool:
    """Say whether what is watched while training is not the competition's metric."""
    return metric.needs in ("label", "ranked") and task != "regression"


def lightgbm_metric(metric: Metric, task: str, transform: str = "none") -> str | None:
    """Return LightGBM's name of the metric to stop by, or None where ours is to be called.

    Labels and rankings are steps, useless to stop by; there the log loss stands in.
    """
    if transform == "log1p":
        return "rmse" if metric.name == "rmsle" else None
    if is_stand_in(metric, task):
        return "multi_logloss" if task == "multiclass" else "binary_logloss"
    if task == "multiclass" and metric.name in ("logloss", "mlogloss"):
        return "multi_logloss"
    if task == "multiclass":
        return None
    return SAME_METRIC.get(metric.name)
