"""What early stopping watches where the metric's own value is too coarse for that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workbench import metrics
from workbench.models.weights import is_decision

if TYPE_CHECKING:
    from workbench.metrics import Metric

__all__ = ["native_metric", "stand_in", "stopping_metric", "stops_by"]


def stand_in(metric: Metric, task: str) -> Metric | None:
    """Return what is watched in place of a metric of labels or of ranked classes; None for others.

    These are steps: at a learning rate of 0.005 the rounded predictions of a model of grades are all the same for more
    rounds than the patience has, so that the first round would be the best. For classes it is the log loss, for numbers
    that are rounded to labels the RMSE, which they are trained by.
    """
    if task == "ranking" or not is_decision(metric):
        return None
    return metrics.get({"multiclass": "mlogloss", "regression": "rmse"}.get(task, "logloss"))


def stopping_metric(metric: Metric, task: str) -> Metric:
    """Return the metric that early stopping watches: what stands in for the competition's, or that one itself.

    The log loss is called by the name that it has for the task, whichever of the two the competition has it under.
    """
    if metric.name in ("logloss", "mlogloss") and task in ("binary", "multiclass"):
        return metrics.get("mlogloss" if task == "multiclass" else "logloss")
    return stand_in(metric, task) or metric


def native_metric(names: Mapping[str, str], metric: Metric, task: str, transform: str) -> str | None:
    """Return a library's name of the metric to stop by; None where ours has to be called after each round.

    The library's is taken where it gives the same number for the same model. It sees the target as it is fitted: of a
    transformed one only the root of squared logarithms is the same, as the root of squares.

    Parameters
    ----------
    names : mapping
        Our name -> the library's, where both compute the same number.
    """
    if transform != "none":
        return names.get("rmse") if transform == "log1p" and metric.name == "rmsle" else None
    watched = stopping_metric(metric, task)
    # Of several classes the libraries have probabilities, which only the log loss takes as they are.
    if task == "ranking" or (task == "multiclass" and watched.name != "mlogloss"):
        return None
    return names.get(watched.name)


def stops_by(metric: Metric, task: str, patience: int) -> str:
    """Return what a run's key has to say of that: "" where it goes without saying.

    Earlier versions stopped models of numbers by the labels.
    """
    watched = stand_in(metric, task) if patience and task == "regression" else None
    return "" if watched is None else watched.name
