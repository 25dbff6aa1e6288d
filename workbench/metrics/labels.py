"""Metrics of labels, most of them computed from a confusion matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import DataError

__all__ = [
    "accuracy",
    "balanced_accuracy",
    "f1",
    "kappa",
    "linear_kappa",
    "macro_f1",
    "mcc",
    "micro_f1",
    "qwk",
    "weighted_f1",
]

Floats = npt.NDArray[np.float64]
MAX_DIRECT_SPAN = 4096
"""Integer labels in a range up to this size index the confusion matrix themselves, without being sorted."""


def _confusion(y_true: Any, y_pred: Any, weight: Floats | None) -> Floats:
    """Return the (weighted) counts by true label (rows) and predicted label (columns) of all labels, sorted."""
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    if true.dtype.kind in "biu" and predicted.dtype.kind in "biu":
        low = min(int(true.min()), int(predicted.min()))
        span = max(int(true.max()), int(predicted.max())) - low + 1
        if span <= MAX_DIRECT_SPAN:
            cells = np.multiply(true, span, dtype=np.int64)
            cells += predicted
            cells -= low * (span + 1)
            matrix = np.bincount(cells, weights=weight, minlength=span * span).reshape(span, span)
            occurrences = (
                np.bincount(cells, minlength=span * span).reshape(span, span) if weight is not None else matrix
            )
            occurs = (occurrences.sum(axis=0) + occurrences.sum(axis=1)) > 0
            counts: Floats = matrix[np.ix_(occurs, occurs)].astype(np.float64)
            return counts
    labels, codes = np.unique(np.concatenate([true, predicted]), return_inverse=True)
    n = len(labels)
    cells = codes[: len(true)] * n + codes[len(true) :]
    label_counts: Floats = np.bincount(cells, weights=weight, minlength=n * n).reshape(n, n).astype(np.float64)
    return label_counts


def accuracy(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Share of correct labels."""
    is_correct = np.asarray(y_true) == np.asarray(y_pred)
    if weight is None:
        return float(np.count_nonzero(is_correct) / len(is_correct))
    return float(np.dot(is_correct, weight) / weight.sum())


def balanced_accuracy(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Mean recall over the classes that occur in the truth."""
    matrix = _confusion(y_true, y_pred, weight)
    total = matrix.sum(axis=1)
    return float((np.diag(matrix)[total > 0] / total[total > 0]).mean())


def _f1_by_class(matrix: Floats) -> Floats:
    hits, true_and_predicted = np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1)
    scores: Floats = np.divide(2 * hits, true_and_predicted, out=np.zeros(len(hits)), where=true_and_predicted > 0)
    return scores


def f1(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """F1 of class 1; 0 if it neither occurs nor is predicted."""
    true, predicted = np.asarray(y_true) == 1, np.asarray(y_pred) == 1
    if weight is None:
        true_and_predicted = float(np.count_nonzero(true) + np.count_nonzero(predicted))
        return 2.0 * float(np.count_nonzero(true & predicted)) / true_and_predicted if true_and_predicted else 0.0
    true_and_predicted = float(weight[true].sum() + weight[predicted].sum())
    return 2.0 * float(weight[true & predicted].sum()) / true_and_predicted if true_and_predicted else 0.0


def macro_f1(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Mean of the classes' F1."""
    return float(_f1_by_class(_confusion(y_true, y_pred, weight)).mean())


def micro_f1(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """F1 of the counts of all classes together; with one label per row it equals the accuracy."""
    return accuracy(y_true, y_pred, weight)


def weighted_f1(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Mean of the classes' F1, weighted by their frequency in the truth."""
    matrix = _confusion(y_true, y_pred, weight)
    support = matrix.sum(axis=1)
    return float(np.dot(_f1_by_class(matrix), support) / support.sum())


def mcc(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Matthews' correlation, for any number of classes (Gorodkin 2004); 0 if truth or predictions are constant."""
    matrix = _confusion(y_true, y_pred, weight)
    true, predicted, total = matrix.sum(axis=1), matrix.sum(axis=0), matrix.sum()
    covariance = np.trace(matrix) * total - np.dot(true, predicted)
    scale = (total**2 - np.dot(predicted, predicted)) * (total**2 - np.dot(true, true))
    return float(covariance / np.sqrt(scale)) if scale > 0 else 0.0


def kappa(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Cohen's kappa: agreement beyond chance, with equal weights for all disagreements (Cohen 1960)."""
    matrix = _confusion(y_true, y_pred, weight)
    total = matrix.sum()
    if np.count_nonzero(matrix.sum(axis=0) + matrix.sum(axis=1)) == 1:
        raise DataError("kappa is not defined: truth and predictions are all the same label")
    expected = float(np.dot(matrix.sum(axis=0), matrix.sum(axis=1))) / total**2
    return float((np.trace(matrix) / total - expected) / (1 - expected))


def linear_kappa(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Cohen's kappa with linear weights; the distance of two labels is the difference of their values, as in `qwk`."""
    true, predicted, w = _grades("linear_kappa", y_true, y_pred, weight)
    observed = np.dot(w, np.abs(true - predicted)) / w.sum()
    return float(1 - observed / _mean_distance(true, predicted, w))


def _mean_distance(a: Floats, b: Floats, w: Floats) -> float:
    """Return the weighted mean distance between all values of `a` and all values of `b`; both have weights `w`."""
    # The integral over all levels of the probability that one value is below the level and the other above it.
    levels = np.unique(np.concatenate([a, b]))
    below = [np.bincount(np.searchsorted(levels, x), weights=w, minlength=len(levels)).cumsum() for x in (a, b)]
    a_below, b_below = (x[:-1] / w.sum() for x in below)
    return float(np.dot(np.diff(levels), a_below * (1 - b_below) + b_below * (1 - a_below)))


def _grades(name: str, y_true: Any, y_pred: Any, weight: Floats | None) -> tuple[Floats, Floats, Floats]:
    """Return truth, predictions and weights as floats; `name` is the metric's, for messages."""
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    if true.dtype.kind not in "biu" or predicted.dtype.kind not in "biu":
        raise DataError(f"{name} needs integer labels, got {true.dtype} and {predicted.dtype}")
    w = np.ones(len(true)) if weight is None else weight
    # Compares the labels, as the expected distance, which would be 0, may have rounding errors.
    weighted = [true, predicted] if weight is None else [true[w > 0], predicted[w > 0]]
    if min(labels.min() for labels in weighted) == max(labels.max() for labels in weighted):
        raise DataError(f"{name} is not defined: truth and predictions are all the same label")
    return true.astype(np.float64), predicted.astype(np.float64), w


def qwk(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Cohen's kappa with quadratic weights; the distance of two labels is the difference of their values.

    Labels must be integers; every integer between the lowest and the highest counts as a grade.
    """
    # With squared distances the weighted sums are moments of the two variables, so no matrix is needed.
    a, b, w = _grades("qwk", y_true, y_pred, weight)
    total = w.sum()
    observed = np.dot(w, (a - b) ** 2) / total
    mean_a, mean_b = np.dot(w, a) / total, np.dot(w, b) / total
    expected = np.dot(w, a * a) / total + np.dot(w, b * b) / total - 2 * mean_a * mean_b
    return float(1 - observed / expected)
