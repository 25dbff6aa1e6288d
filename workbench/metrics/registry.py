"""The built-in metrics by name."""

from __future__ import annotations

import math
from collections.abc import Callable

from workbench.core.errors import NotFoundError, did_you_mean
from workbench.metrics import labels, probabilities, ranked, values
from workbench.metrics.aliases import suggest
from workbench.metrics.metric import Metric

__all__ = ["get", "names"]

_METRICS = {
    metric.name: metric
    for metric in (
        Metric("rmse", False, "value", values.rmse),
        Metric("rmsle", False, "value", values.rmsle),
        Metric("mae", False, "value", values.mae),
        Metric("wmae", False, "value", values.wmae),
        Metric("mape", False, "value", values.mape),
        Metric("smape", False, "value", values.smape),
        Metric("medae", False, "value", values.medae),
        Metric("r2", True, "value", values.r2),
        Metric("rmspe", False, "value", values.rmspe),
        Metric("gini", True, "proba", values.gini),
        Metric("logloss", False, "proba", probabilities.logloss),
        Metric("mlogloss", False, "proba", probabilities.mlogloss),
        Metric("auc", True, "proba", probabilities.auc),
        Metric("average_precision", True, "proba", probabilities.average_precision),
        Metric("balanced_logloss", False, "proba", probabilities.balanced_logloss),
        Metric("pf1", True, "proba", probabilities.probabilistic_f1),
        Metric("accuracy", True, "label", labels.accuracy),
        Metric("balanced_accuracy", True, "label", labels.balanced_accuracy),
        Metric("f1", True, "label", labels.f1),
        Metric("macro_f1", True, "label", labels.macro_f1),
        Metric("micro_f1", True, "label", labels.micro_f1),
        Metric("weighted_f1", True, "label", labels.weighted_f1),
        Metric("mcc", True, "label", labels.mcc),
        Metric("kappa", True, "label", labels.kappa),
        Metric("linear_kappa", True, "label", labels.linear_kappa),
        Metric("qwk", True, "label", labels.qwk),
    )
}

_METRICS_AT_K: dict[str, Callable[[int], Callable[..., float]]] = {
    "map": ranked.map_at,
    "recall": ranked.recall_at,
    "micro_recall": ranked.micro_recall_at,
    "hit_rate": ranked.hit_rate_at,
    "mrr": ranked.mrr_at,
    "ndcg": ranked.ndcg_at,
}


def names() -> list[str]:
    """Return the names that `get` accepts; "map@K" is for "map@3" and the like."""
    return [*_METRICS, "pinball@Q", "pauc@R", *(f"{name}@K" for name in _METRICS_AT_K)]


def get(name: str) -> Metric:
    """Return a built-in metric by name, in upper or lower case.

    Raises
    ------
    NotFoundError
        When no metric has the name; the hint suggests similar names, and numbers for "map@K" and the like.

    Examples
    --------
    >>> get("MAP@3").name, get("auc").greater_is_better
    ('map@3', True)
    """
    key = name.strip().lower()
    if key in _METRICS:
        return _METRICS[key]
    family, at_sign, number = key.partition("@")
    if family == "pinball":
        return _pinball(number if at_sign else "0.5", name)
    if family == "pauc":
        return _partial_auc(number, name)
    if family in _METRICS_AT_K:
        if not number.isdigit() or int(number) < 1:
            raise NotFoundError(
                f"metric {name!r} needs the length of the lists", hint=f"write {family}@K, for example {family}@10"
            )
        return Metric(f"{family}@{int(number)}", True, "ranked", _METRICS_AT_K[family](int(number)))
    raise NotFoundError(
        f"no metric is called {name!r}", hint=suggest(name) or did_you_mean(key, names(), kind="metric")
    )


def _partial_auc(text: str, name: str) -> Metric:
    min_tpr = _level(text)
    if not 0 <= min_tpr < 1:
        raise NotFoundError(f"metric {name!r} needs the minimum true positive rate", hint="for example pauc@0.8")
    return Metric(f"pauc@{min_tpr:g}", True, "proba", probabilities.partial_auc(min_tpr))


def _level(text: str) -> float:
    """Return a number; NaN for other texts."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _pinball(text: str, name: str) -> Metric:
    level = _level(text)
    if not 0 < level < 1:
        raise NotFoundError(f"metric {name!r} needs a quantile between 0 and 1", hint="for example pinball@0.9")
    return Metric(f"pinball@{level:g}", False, "value", values.pinball(level))
