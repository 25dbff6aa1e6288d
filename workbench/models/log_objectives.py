"""Objectives of any library that take the logarithm of the target themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["OBJECTIVE_KEYS", "log_objective"]

OBJECTIVE_KEYS = ("objective", "app", "loss", "application", "objective_type", "loss_function")
"""The names of the objective in LightGBM, XGBoost and CatBoost."""

# Objectives with a logarithmic link, and losses of the logarithms of target and prediction.
_LOG_OBJECTIVES = {
    *("poisson", "gamma", "tweedie"),
    *("reg:squaredlogerror", "reg:gamma", "reg:tweedie", "count:poisson", "survival:cox", "survival:aft"),
    *("poisson", "tweedie", "loglinquantile", "msle", "cox", "survivalaft"),
}


def log_objective(table: Mapping[str, Any]) -> str | None:
    """Return the objective in a model's table if it takes the logarithm of the target itself, else None.

    Parameters
    ----------
    table : mapping
        The experiment's, for any library. For scikit-learn, the class name of an estimator with a logarithmic link is
        returned.
    """
    estimator = str(table.get("estimator", "")).rpartition(".")[2]
    if estimator in ("PoissonRegressor", "GammaRegressor"):
        return estimator
    if estimator == "TweedieRegressor":
        link = table.get("link", "auto")
        return estimator if link == "log" or (link == "auto" and table.get("power", 0) > 0) else None
    objectives = (table[key] for key in OBJECTIVE_KEYS if isinstance(table.get(key), str))
    return next((name for name in objectives if _loss_name(name) in _LOG_OBJECTIVES), None)


def _loss_name(objective: str) -> str:
    """Return a loss in lower case without its parameters, as in CatBoost's "Tweedie:variance_power=1.5"."""
    lowered = objective.lower()
    return lowered.partition(":")[0] if "=" in lowered else lowered
