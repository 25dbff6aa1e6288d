"""Metrics of labels, all from one confusion matrix."""

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


def _confusion(y_true: Any, y_pred: Any, weight: Floats | None) -> Floats:
    """Return the (weighted) counts, truth down and predictions across, over all labels that occur, sorted."""
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    if true.dtype.kind in "biu" and predicted.dtype.kind in "biu":
        low = min(int(true.min()), int(predicted.min()))
        span = max(int(true.max()), int(predicted.max())) - low + 1
        if span <= MAX_DIRECT_SPAN:
            # Small integers index the matrix themselves: no sorting of the labels.
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
    counted: Floats = np.bincount(cells, weights=weight, minlength=n * n).reshape(n, n).astype(np.float64)
    return counted


def accuracy(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Share of right labels."""
    right = np.asarray(y_true) == np.asarray(y_pred)
    if weight is None:
        return float(np.count_nonzero(right) / len(right))
    return float(np.dot(right, weight) / weight.sum())


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
    """F1 of the class 1; 0 where it neither occurs nor is predicted."""
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
    """F1 over all classes together; for one label per row the accuracy."""
    return accuracy(y_true, y_pred, weight)


def weighted_f1(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Mean of the classes' F1, weighted by how often they occur in the truth."""
    matrix = _confusion(y_true, y_pred, weight)
    support = matrix.sum(axis=1)
    return float(np.dot(_f1_by_class(matrix), support) / support.sum())


def mcc(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Matthews' correlation, for any number of classes (Gorodkin 2004); 0 where one side is constant."""
    matrix = _confusion(y_true, y_pred, weight)
    true, predicted, total = matrix.sum(axis=1), matrix.sum(axis=0), matrix.sum()
    covariance = np.trace(matrix) * total - np.dot(true, predicted)
    scale = (total**2 - np.dot(predicted, predicted)) * (total**2 - np.dot(true, true))
    return float(covariance / np.sqrt(scale)) if scale > 0 else 0.0


def kappa(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Cohen's kappa: agreement beyond chance, every disagreement alike (Cohen 1960)."""
    matrix = _confusion(y_true, y_pred, weight)
    total = matrix.sum()
    if np.count_nonzero(matrix.sum(axis=0) + matrix.sum(axis=1)) == 1:
        raise DataError("kappa is not defined: truth and predictions are all the same label")
    expected = float(np.dot(matrix.sum(axis=0), matrix.sum(axis=1))) / total**2
    return float((np.trace(matrix) / total - expected) / (1 - expected))


def linear_kappa(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Cohen's kappa with linear weights; the distance of two labels is that of their values, as in `qwk`."""
    true, predicted, w = _grades("linear_kappa", y_true, y_pred, weight)
    observed = np.dot(w, np.abs(true - predicted)) / w.sum()
    return float(1 - observed / _mean_distance(true, predicted, w))


def _mean_distance(a: Floats, b: Floats, w: Floats) -> float:
    """Return the mean distance of every value of `a` from every value of `b`, both with the same weights."""
    # The distance of two distributions' values is the area where one of them is below a level and the other above.
    levels = np.unique(np.concatenate([a, b]))
    below = [np.bincount(np.searchsorted(levels, x), weights=w, minlength=len(levels)).cumsum() for x in (a, b)]
    of_a, of_b = (x[:-1] / w.sum() for x in below)
    return float(np.dot(np.diff(levels), of_a * (1 - of_b) + of_b * (1 - of_a)))


def _grades(name: str, y_true: Any, y_pred: Any, weight: Floats | None) -> tuple[Floats, Floats, Floats]:
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    if true.dtype.kind not in "biu" or predicted.dtype.kind not in "biu":
        raise DataError(f"{name} needs integer labels, got {true.dtype} and {predicted.dtype}")
    w = np.ones(len(true)) if weight is None else weight
    # Told by the labels: the distance that is expected by chance is 0 then, but for rounding.
    counted = [true, predicted] if weight is None else [true[w > 0], predicted[w > 0]]
    if min(c.min() for c in counted) == max(c.max() for c in counted):
        raise DataError(f"{name} is not defined: truth and predictions are all the same label")
    return true.astype(np.float64), predicted.astype(np.float64), w


def qwk(y_true: Any, y_pred: Any, weight: Floats | None = None) -> float:
    """Cohen's kappa with quadratic weights; the distance of two labels is that of their values.

    Labels must be integers; every integer between the lowest and the highest counts as a grade.
    """
    # With the squared distance the weighted sums are moments of the two variables: no matrix is needed.
    a, b, w = _grades("qwk", y_true, y_pred, weight)
    total = w.sum()
    observed = np.dot(w, (a - b) ** 2) / total
    mean_a, mean_b = np.dot(w, a) / total, np.dot(w, b) / total
    expected = np.dot(w, a * a) / total + np.dot(w, b * b) / total - 2 * mean_a * mean_b
    return float(1 - observed / expected)
