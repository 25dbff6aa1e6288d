"""Metrics of class probabilities and scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import DataError

__all__ = ["auc", "average_precision", "balanced_logloss", "logloss", "mlogloss", "partial_auc", "probabilistic_f1"]

Floats = npt.NDArray[np.float64]
HINT = 'fewer folds, or scheme = "stratified" under [cv] in competition.toml'


def logloss(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Mean negative log-likelihood; predictions are clipped by their type's epsilon, as in scikit-learn.

    With a column per class it is `mlogloss`.
    """
    if np.ndim(y_pred) == 2:
        return mlogloss(y_true, y_pred, weight)
    true_probability = np.where(np.asarray(y_true) > 0, y_pred, 1 - y_pred)
    return _mean_log_loss(true_probability, y_pred.dtype, weight)


def mlogloss(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Multiclass log loss, y_pred (n, classes); rows that do not add up to 1 are divided by their sum (Kaggle)."""
    codes = np.asarray(y_true).astype(np.int64, copy=False)
    if np.ndim(y_pred) != 2 or codes.min() < 0 or codes.max() >= y_pred.shape[1]:
        raise DataError(f"mlogloss: classes up to {codes.max()} need a column each; predictions are {np.shape(y_pred)}")
    eps = np.finfo(y_pred.dtype).eps if y_pred.dtype.kind == "f" else np.finfo(np.float64).eps
    total = y_pred.sum(axis=1)
    true_probability = y_pred[np.arange(len(codes)), codes]
    if np.abs(total - 1).max() > np.sqrt(eps):
        if (total <= 0).any():
            raise DataError(f"mlogloss: {int((total <= 0).sum()):,} rows of predictions add up to 0 or less")
        true_probability = true_probability / total
    return _mean_log_loss(true_probability, y_pred.dtype, weight)


def balanced_logloss(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Mean of the classes' log losses, so that all classes count alike, as in Kaggle's ICR competition.

    Predictions are the probability of 1, (n,), or a column per class.
    """
    codes = np.asarray(y_true).astype(np.int64, copy=False)
    predicted = np.asarray(y_pred)
    by_class = np.column_stack([1 - predicted, predicted]) if predicted.ndim == 1 else predicted
    row_weights = np.ones(len(codes)) if weight is None else weight
    counts = np.bincount(codes, weights=row_weights, minlength=by_class.shape[1])
    if (counts == 0).any():
        missing = ", ".join(str(c) for c in np.flatnonzero(counts == 0)[:5])
        raise DataError(f"balanced_logloss needs rows of every class: there are none of {missing}", hint=HINT)
    return mlogloss(codes, by_class, row_weights / counts[codes])


def probabilistic_f1(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """F1 with probabilities as counts: a row of class 1 is a hit by its probability (Yacouby and Axman 2020).

    The metric of Kaggle's RSNA breast cancer competition. 0 without any hit.
    """
    positive = np.asarray(y_true) > 0
    predicted = np.clip(np.asarray(y_pred, np.float64), 0, 1)
    w = np.ones(len(positive)) if weight is None else weight
    hits = float(np.dot(w[positive], predicted[positive]))
    true_and_predicted = float(w[positive].sum() + np.dot(w, predicted))
    return 2 * hits / true_and_predicted if true_and_predicted else 0.0


def partial_auc(min_tpr: float) -> Callable[..., float]:
    """Return a metric: the area under the ROC curve above a true positive rate, from 0 to ``1 - min_tpr``.

    The metric of Kaggle's ISIC 2024 competition, with `min_tpr` = 0.8. Ties count half, as in `auc`.
    """

    def compute(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
        positive = np.asarray(y_true) > 0
        w = np.ones(len(positive)) if weight is None else weight
        _require_both_classes("pauc", positive[w > 0])
        predicted = np.asarray(y_pred)
        order = np.argsort(-predicted, kind="stable")
        ends = _tie_ends(predicted[order])
        hits = np.concatenate([[0.0], np.cumsum(np.where(positive, w, 0.0)[order])[ends]])
        misses = np.concatenate([[0.0], np.cumsum(np.where(positive, 0.0, w)[order])[ends]])
        tpr, fpr = hits / hits[-1], misses / misses[-1]
        # The trapezoids between the level and the curve, from the point where the curve crosses the level.
        crossing = np.interp(min_tpr, tpr, fpr)
        is_above = tpr > min_tpr
        x, y = np.concatenate([[crossing], fpr[is_above]]), np.concatenate([[min_tpr], tpr[is_above]])
        return float(np.dot(np.diff(x), (y[1:] + y[:-1]) / 2 - min_tpr))

    return compute


def _mean_log_loss(true_probability: Any, dtype: np.dtype[Any], weight: Floats | None) -> float:
    """Return the mean log loss by the probability of each row's true class; `dtype` is that of the predictions."""
    eps = np.finfo(dtype).eps if dtype.kind == "f" else np.finfo(np.float64).eps
    log_likelihood = np.log(np.clip(true_probability, eps, 1 - eps)).astype(np.float64, copy=False)
    if weight is None:
        return float(-log_likelihood.mean())
    return float(-np.dot(log_likelihood, weight) / weight.sum())


def auc(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Area under the ROC curve, ties count half; with a column per class, the mean of one class against the rest."""
    predicted = np.asarray(y_pred)
    if predicted.ndim == 2:
        codes = np.asarray(y_true)
        return float(np.mean([auc(codes == k, predicted[:, k], weight) for k in range(predicted.shape[1])]))
    positive = np.asarray(y_true) > 0
    _require_both_classes("auc", positive)
    if weight is None:
        return _auc_by_ranks(positive, predicted)
    order = np.argsort(predicted, kind="stable")
    ends = _tie_ends(predicted[order])
    w, is_positive = weight[order], positive[order]
    # The weight of the negatives up to the end of each tie, and that of the positives in it.
    negatives = np.concatenate([[0.0], np.cumsum(np.where(is_positive, 0.0, w))[ends]])
    positives = np.diff(np.concatenate([[0.0], np.cumsum(np.where(is_positive, w, 0.0))[ends]]))
    if not positives.any() or not negatives[-1]:
        raise DataError(f"auc needs both classes: all rows with a weight above 0 are {int(positives.any())}", hint=HINT)
    area = float(np.dot(positives, (negatives[:-1] + negatives[1:]) / 2))
    return area / (float(positives.sum()) * float(negatives[-1]))


def _auc_by_ranks(positive: npt.NDArray[np.bool_], predicted: npt.NDArray[Any]) -> float:
    # Mann and Whitney's U. Sorting the classes separately is cheaper than an argsort of all rows.
    positives, negatives = np.sort(predicted[positive]), np.sort(predicted[~positive])
    n_below = np.searchsorted(negatives, positives, side="left").sum(dtype=np.float64)
    n_up_to = np.searchsorted(negatives, positives, side="right").sum(dtype=np.float64)
    return float((n_below + n_up_to) / 2 / (float(len(positives)) * float(len(negatives))))


def average_precision(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Sum over the thresholds of precision times the increase in recall, without interpolation."""
    positive = np.asarray(y_true) > 0
    if not positive.any():
        raise DataError(f"average_precision needs positives: all {len(positive):,} rows of y_true are 0", hint=HINT)
    predicted = np.asarray(y_pred)
    order = np.argsort(-predicted, kind="stable")
    ends = _tie_ends(predicted[order])
    is_hit = positive[order]
    if weight is None:
        hits, n_predicted = np.cumsum(is_hit)[ends].astype(np.float64), (ends + 1).astype(np.float64)
    else:
        w = weight[order]
        hits, n_predicted = np.cumsum(np.where(is_hit, w, 0.0))[ends], np.cumsum(w)[ends]
    if not hits[-1]:
        raise DataError("average_precision needs positives: all rows with a weight above 0 are 0", hint=HINT)
    recall_increase = np.diff(np.concatenate([[0.0], hits])) / hits[-1]
    precision = np.divide(hits, n_predicted, out=np.zeros_like(hits), where=n_predicted > 0)
    return float(np.dot(recall_increase, precision))


def _tie_ends(ordered: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the last index of each group of equal values of a sorted array."""
    return np.concatenate([np.flatnonzero(np.diff(ordered)), [len(ordered) - 1]])


def _require_both_classes(name: str, positive: npt.NDArray[np.bool_]) -> None:
    count = int(np.count_nonzero(positive))
    if count in (0, len(positive)):
        raise DataError(
            f"{name} needs both classes: all {len(positive):,} rows of y_true are {int(count > 0)}", hint=HINT
        )
