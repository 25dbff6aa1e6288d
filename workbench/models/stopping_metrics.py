"""The metric that early stopping uses: the competition's, or a smooth proxy where that one is a step function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workbench import metrics
from workbench.models.weights import uses_hard_labels

if TYPE_CHECKING:
    from workbench.metrics import Metric

__all__ = ["native_metric", "proxy_for_key", "proxy_metric", "stopping_metric"]


def proxy_metric(metric: Metric, task: str) -> Metric | None:
    """Return the metric to stop by instead of one of labels or ranked classes; None for other metrics.

    Such metrics are step functions: at a learning rate of 0.005 the rounded predictions of grades stay the same for
    more rounds than the patience, so that the first round would be the best. The proxy of classes is the log loss, that
    of numbers which are rounded to labels the RMSE, which is also their loss.
    """
    if task == "ranking" or not uses_hard_labels(metric):
        return None
    return metrics.get({"multiclass": "mlogloss", "regression": "rmse"}.get(task, "logloss"))


def stopping_metric(metric: Metric, task: str) -> Metric:
    """Return the metric that early stopping uses: the competition's metric or its proxy.

    The log loss has a name for each task; the one of this task is returned, whichever the competition names.
    """
    if metric.name in ("logloss", "mlogloss") and task in ("binary", "multiclass"):
        return metrics.get("mlogloss" if task == "multiclass" else "logloss")
    return proxy_metric(metric, task) or metric


def native_metric(names: Mapping[str, str], metric: Metric, task: str, transform: str) -> str | None:
    """Return a library's name of the metric to stop by; None where ours has to be called after each round.

    The library's metric is used where it gives the same number. It is computed on the transformed target, on which the
    RMSLE is the RMSE and no other metric has an equivalent.

    Parameters
    ----------
    names : mapping
        Our name -> the library's, where both compute the same number.
    """
    if transform != "none":
        return names.get("rmse") if transform == "log1p" and metric.name == "rmsle" else None
    metric_name = stopping_metric(metric, task).name
    # For multiclass targets only the log loss is computed from the probabilities as they are.
    if task == "ranking" or (task == "multiclass" and metric_name != "mlogloss"):
        return None
    return names.get(metric_name)


def proxy_for_key(metric: Metric, task: str, patience: int) -> str:
    """Return the name of the proxy metric if it belongs into a run's key, else "".

    Earlier versions stopped regressions by the labels: their keys have no proxy, so it is named for regressions alone.
    """
    proxy = proxy_metric(metric, task) if patience and task == "regression" else None
    return "" if proxy is None else proxy.name
