"""Metrics of probabilities and scores of classes."""

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
    """Mean negative log-likelihood; predictions are clipped by their type's epsilon, as scikit-learn does.

    With a column per class it is `mlogloss`.
    """
    if np.ndim(y_pred) == 2:
        return mlogloss(y_true, y_pred, weight)
    chosen = np.where(np.asarray(y_true) > 0, y_pred, 1 - y_pred)
    return _mean_log(chosen, y_pred, weight)


def mlogloss(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Multiclass log loss, y_pred (n, classes); rows that do not add up to 1 are divided by their sum (Kaggle)."""
    codes = np.asarray(y_true).astype(np.int64, copy=False)
    if np.ndim(y_pred) != 2 or codes.min() < 0 or codes.max() >= y_pred.shape[1]:
        raise DataError(f"mlogloss: classes up to {codes.max()} need a column each; predictions are {np.shape(y_pred)}")
    eps = np.finfo(y_pred.dtype).eps if y_pred.dtype.kind == "f" else np.finfo(np.float64).eps
    total = y_pred.sum(axis=1)
    chosen = y_pred[np.arange(len(codes)), codes]
    if np.abs(total - 1).max() > np.sqrt(eps):
        if (total <= 0).any():
            raise DataError(f"mlogloss: {int((total <= 0).sum()):,} rows of predictions add up to 0 or less")
        chosen = chosen / total
    return _mean_log(chosen, y_pred, weight)


def balanced_logloss(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Mean over the classes of each class's log loss, so that all count alike: that of Kaggle's ICR competition.

    Predictions are a probability of 1, (n,), or a column per class.
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
    """F1 of probabilities as counts: a row of the class 1 is a hit as far as it is predicted (Yacouby and Axman 2020).

    That of Kaggle's RSNA breast cancer competition. 0 where there is no hit.
    """
    positive = np.asarray(y_true) > 0
    predicted = np.clip(np.asarray(y_pred, np.float64), 0, 1)
    w = np.ones(len(positive)) if weight is None else weight
    hits = float(np.dot(w[positive], predicted[positive]))
    true_and_predicted = float(w[positive].sum() + np.dot(w, predicted))
    return 2 * hits / true_and_predicted if true_and_predicted else 0.0


def partial_auc(lowest: float) -> Callable[..., float]:
    """Return the area under the ROC curve above a true positive rate, from 0 to ``1 - lowest``.

    That of Kaggle's ISIC 2024 competition, where `lowest` is 0.8. Ties count half, as in `auc`.
    """

    def compute(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
        positive = np.asarray(y_true) > 0
        w = np.ones(len(positive)) if weight is None else weight
        _need_both("pauc", positive[w > 0])
        predicted = np.asarray(y_pred)
        order = np.argsort(-predicted, kind="stable")
        ends = _tie_ends(predicted[order])
        hits = np.concatenate([[0.0], np.cumsum(np.where(positive, w, 0.0)[order])[ends]])
        misses = np.concatenate([[0.0], np.cumsum(np.where(positive, 0.0, w)[order])[ends]])
        height, width = hits / hits[-1], misses / misses[-1]
        # What lies above the level and below the curve, piece by piece; the piece that crosses it begins there.
        crossing = np.interp(lowest, height, width)
        above = height > lowest
        x, y = np.concatenate([[crossing], width[above]]), np.concatenate([[lowest], height[above]])
        return float(np.dot(np.diff(x), (y[1:] + y[:-1]) / 2 - lowest))

    return compute


def _mean_log(chosen: Any, y_pred: Any, weight: Floats | None) -> float:
    eps = np.finfo(y_pred.dtype).eps if y_pred.dtype.kind == "f" else np.finfo(np.float64).eps
    losses = np.log(np.clip(chosen, eps, 1 - eps)).astype(np.float64, copy=False)
    if weight is None:
        return float(-losses.mean())
    return float(-np.dot(losses, weight) / weight.sum())


def auc(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Area under the ROC curve, ties counted half; with a column per class, the mean of one class against the rest."""
    predicted = np.asarray(y_pred)
    if predicted.ndim == 2:
        codes = np.asarray(y_true)
        return float(np.mean([auc(codes == k, predicted[:, k], weight) for k in range(predicted.shape[1])]))
    positive = np.asarray(y_true) > 0
    _need_both("auc", positive)
    if weight is None:
        return _auc_by_ranks(positive, predicted)
    order = np.argsort(predicted, kind="stable")
    ends = _tie_ends(predicted[order])
    w, hit = weight[order], positive[order]
    below = np.concatenate([[0.0], np.cumsum(np.where(hit, 0.0, w))[ends]])
    hits = np.diff(np.concatenate([[0.0], np.cumsum(np.where(hit, w, 0.0))[ends]]))
    if not hits.any() or not below[-1]:
        raise DataError(f"auc needs both classes: all rows with a weight above 0 are {int(hits.any())}", hint=HINT)
    area = float(np.dot(hits, (below[:-1] + below[1:]) / 2))
    return area / (float(hits.sum()) * float(below[-1]))


def _auc_by_ranks(positive: npt.NDArray[np.bool_], predicted: npt.NDArray[Any]) -> float:
    # Mann and Whitney's U. The smaller class is looked up in the sorted larger one: sorting both apart is cheaper than
    # an argsort of all, which moves an index beside every value.
    few, many = predicted[positive], np.sort(predicted[~positive])
    few = np.sort(few)
    below = np.searchsorted(many, few, side="left")
    upto = np.searchsorted(many, few, side="right")
    return float((below.sum(dtype=np.float64) + upto.sum(dtype=np.float64)) / 2 / (float(len(few)) * float(len(many))))


def average_precision(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Sum over thresholds of precision times the gain in recall, without interpolation."""
    positive = np.asarray(y_true) > 0
    if not positive.any():
        raise DataError(f"average_precision needs positives: all {len(positive):,} rows of y_true are 0", hint=HINT)
    predicted = np.asarray(y_pred)
    order = np.argsort(-predicted, kind="stable")
    ends = _tie_ends(predicted[order])
    hit = positive[order]
    if weight is None:
        hits, rows_above = np.cumsum(hit)[ends].astype(np.float64), (ends + 1).astype(np.float64)
    else:
        w = weight[order]
        hits, rows_above = np.cumsum(np.where(hit, w, 0.0))[ends], np.cumsum(w)[ends]
    if not hits[-1]:
        raise DataError("average_precision needs positives: all rows with a weight above 0 are 0", hint=HINT)
    gain = np.diff(np.concatenate([[0.0], hits])) / hits[-1]
    precision = np.divide(hits, rows_above, out=np.zeros_like(hits), where=rows_above > 0)
    return float(np.dot(gain, precision))


def _tie_ends(ordered: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.flatnonzero(np.diff(ordered)), [len(ordered) - 1]])


def _need_both(name: str, positive: npt.NDArray[np.bool_]) -> None:
    count = int(np.count_nonzero(positive))
    if count in (0, len(positive)):
        raise DataError(
            f"{name} needs both classes: all {len(positive):,} rows of y_true are {int(count > 0)}", hint=HINT
        )
