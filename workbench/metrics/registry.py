"""The built-in metrics by name."""

from __future__ import annotations

import math
from collections.abc import Callable

from workbench.core.errors import NotFoundError, near
from workbench.metrics import labels, probabilities, ranked, values
from workbench.metrics.aliases import suggest
from workbench.metrics.metric import Metric

__all__ = ["get", "names"]

_PLAIN = {
    m.name: m
    for m in (
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

_AT: dict[str, Callable[[int], Callable[..., float]]] = {
    "map": ranked.map_at,
    "recall": ranked.recall_at,
    "micro_recall": ranked.micro_recall_at,
    "hit_rate": ranked.hit_rate_at,
    "mrr": ranked.mrr_at,
    "ndcg": ranked.ndcg_at,
}


def names() -> list[str]:
    """Return the names that `get` takes; "map@K" stands for "map@3" and the like."""
    return [*_PLAIN, "pinball@Q", "pauc@R", *(f"{name}@K" for name in _AT)]


def get(name: str) -> Metric:
    """Return a built-in metric by name, upper or lower case.

    Raises
    ------
    NotFoundError
        With the near names; for a metric that needs a number ("map@3", "pinball@0.9"), what to write.

    Examples
    --------
    >>> get("MAP@3").name, get("auc").greater_is_better
    ('map@3', True)
    """
    key = name.strip().lower()
    if key in _PLAIN:
        return _PLAIN[key]
    kind, at, number = key.partition("@")
    if kind == "pinball":
        return _pinball(number if at else "0.5", name)
    if kind == "pauc":
        return _partial_auc(number, name)
    if kind in _AT:
        if not number.isdigit() or int(number) < 1:
            raise NotFoundError(
                f"metric {name!r} needs the length of the lists", hint=f"write {kind}@K, for example {kind}@10"
            )
        return Metric(f"{kind}@{int(number)}", True, "ranked", _AT[kind](int(number)))
    raise NotFoundError(f"no metric is called {name!r}", hint=suggest(name) or near(key, names(), kind="metric"))


def _partial_auc(text: str, name: str) -> Metric:
    lowest = _level(text)
    if not 0 <= lowest < 1:
        raise NotFoundError(
            f"metric {name!r} needs the true positive rate above which the area counts", hint="for example pauc@0.8"
        )
    return Metric(f"pauc@{lowest:g}", True, "proba", probabilities.partial_auc(lowest))


def _level(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _pinball(text: str, name: str) -> Metric:
    level = _level(text)
    if not 0 < level < 1:
        raise NotFoundError(f"metric {name!r} needs a quantile between 0 and 1", hint="for example pinball@0.9")
    return Metric(f"pinball@{level:g}", False, "value", values.pinball(level))
