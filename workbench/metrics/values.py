"""Metrics of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import DataError

__all__ = ["gini", "mae", "mape", "medae", "pinball", "r2", "rmse", "rmsle", "rmspe", "smape", "wmae"]

Floats = npt.NDArray[np.float64]


def _mean(values: Floats, weight: Floats | None) -> float:
    if weight is None:
        return float(values.mean())
    return float(np.dot(values, weight) / weight.sum())


def _difference(y_true: Any, y_pred: Any) -> Floats:
    difference: Floats = np.subtract(y_true, y_pred, dtype=np.float64)
    return difference


def rmse(y_true: Floats, y_pred: Floats, weight: Floats | None = None) -> float:
    """Root mean squared error."""
    difference = _difference(y_true, y_pred)
    if weight is None:
        return float(np.sqrt(np.dot(difference, difference) / len(difference)))
    return float(np.sqrt(_mean(difference * difference, weight)))


def mae(y_true: Floats, y_pred: Floats, weight: Floats | None = None) -> float:
    """Mean absolute error."""
    difference = _difference(y_true, y_pred)
    return _mean(np.abs(difference, out=difference), weight)


def wmae(y_true: Floats, y_pred: Floats, weight: Floats | None = None) -> float:
    """Mean absolute error with the competition's weights, which are required."""
    if weight is None:
        raise DataError(
            "wmae needs weights",
            hint='add weight = "COLUMN" to competition.toml, or an expression: weight = "IsHoliday * 4 + 1"',
        )
    return mae(y_true, y_pred, weight)


def rmsle(y_true: Floats, y_pred: Floats, weight: Floats | None = None) -> float:
    """Root mean squared error of ``log(1 + y)``."""
    for name, values in (("y_true", np.asarray(y_true)), ("y_pred", np.asarray(y_pred))):
        if values.min() <= -1:
            count = int((values <= -1).sum())
            raise DataError(
                f"rmsle: {count:,} of {len(values):,} values of {name} are -1 or less, where the logarithm is undefined"
            )
    return rmse(np.log1p(y_true), np.log1p(y_pred), weight)


def mape(y_true: Floats, y_pred: Floats, weight: Floats | None = None) -> float:
    """Mean of ``|t - p| / max(|t|, eps)`` with the machine's epsilon, as in scikit-learn; not in percent."""
    scale = np.abs(np.asarray(y_true, np.float64))
    np.maximum(scale, np.finfo(np.float64).eps, out=scale)
    error = _difference(y_true, y_pred)
    np.divide(np.abs(error, out=error), scale, out=error)
    return _mean(error, weight)


def smape(y_true: Floats, y_pred: Floats, weight: Floats | None = None) -> float:
    """Mean of ``200 |t - p| / (|t| + |p|)`` with 0/0 = 0, from 0 to 200: Kaggle's definition."""
    scale = np.abs(y_true) + np.abs(y_pred)
    error = np.abs(_difference(y_true, y_pred))
    return 200.0 * _mean(np.divide(error, scale, out=np.zeros_like(error), where=scale > 0), weight)


def medae(y_true: Floats, y_pred: Floats, weight: Floats | None = None) -> float:
    """Median absolute error; with weights, the averaged weighted median of scikit-learn."""
    error = np.abs(_difference(y_true, y_pred))
    if weight is not None:
        return _weighted_median(error, weight)
    middle = len(error) // 2
    if len(error) % 2:
        return float(np.partition(error, middle)[middle])
    partitioned = np.partition(error, middle)
    # The lower of the two middle values is the largest before the upper one, which is cheaper than a second pivot.
    return float((partitioned[:middle].max() + partitioned[middle]) / 2)


def _weighted_median(values: Floats, weight: Floats) -> float:
    order = np.argsort(values, kind="stable")
    order = order[weight[order] > 0]
    cumulative_weight = np.cumsum(weight[order])
    half = cumulative_weight[-1] / 2
    middle = int(np.searchsorted(cumulative_weight, half, side="left"))
    # The tolerance is relative only, as all weights may be tiny.
    if np.isclose(cumulative_weight[middle], half, rtol=1e-12, atol=0):
        return float((values[order[middle]] + values[order[middle + 1]]) / 2)
    return float(values[order[middle]])


def r2(y_true: Floats, y_pred: Floats, weight: Floats | None = None) -> float:
    """Coefficient of determination; for a constant truth 1 if all predictions are exact, else 0, as in scikit-learn."""
    truth = np.asarray(y_true, np.float64)
    difference = _difference(truth, y_pred)
    residual = float(np.dot(difference if weight is None else difference * weight, difference))
    centred = np.subtract(truth, _mean(truth, weight), out=difference)
    total = float(np.dot(centred if weight is None else centred * weight, centred))
    if total == 0:
        return 1.0 if residual == 0 else 0.0
    return 1.0 - residual / total


def rmspe(y_true: Floats, y_pred: Floats, weight: Floats | None = None) -> float:
    """Root mean squared relative error; rows with a truth of 0 do not count, as in Kaggle's Rossmann competition."""
    truth = np.asarray(y_true, np.float64)
    has_truth = truth != 0
    if not has_truth.any():
        raise DataError(f"rmspe: all {len(truth):,} values of y_true are 0")
    relative = _difference(truth, y_pred)[has_truth] / truth[has_truth]
    row_weight = None if weight is None else weight[has_truth]
    if row_weight is not None and not row_weight.any():
        raise DataError("rmspe: all rows with a y_true other than 0 have a weight of 0")
    return float(np.sqrt(_mean(relative * relative, row_weight)))


def gini(y_true: Floats, y_pred: Floats, weight: Floats | None = None) -> float:
    """Normalised Gini: the Gini coefficient in the order of the predictions over that in the order of the truth.

    Kaggle's definition (Allstate, Porto Seguro), with rows sorted by descending prediction. With ties it is the mean
    over all orders of the tied rows; Kaggle uses the order of the file. For a binary truth it is ``2 auc - 1``. With
    weights it is the metric of Kaggle's Liberty Mutual Fire Peril competition: a row of weight 2 counts as two adjacent
    rows.
    """
    truth = np.asarray(y_true, np.float64)
    if weight is not None:
        return _weighted_gini(truth, np.asarray(y_pred), weight)
    if truth.min() == truth.max():
        raise DataError(f"gini: all {len(truth):,} values of y_true are {truth[0]:g}")
    return _gini(truth, np.asarray(y_pred)) / _gini(truth, truth)


def _gini(truth: Floats, order_by: Floats) -> float:
    order = np.argsort(-order_by, kind="stable")
    lorenz = np.cumsum(_mean_within_ties(truth[order], order_by[order]))
    return float((lorenz.sum() / lorenz[-1] - (len(truth) + 1) / 2) / len(truth))


def _weighted_gini(truth: Floats, predicted: Floats, weight: Floats) -> float:
    weighted = truth[weight > 0]
    if weighted.min() == weighted.max():
        raise DataError(f"gini: all {len(weighted):,} values of y_true with a weight above 0 are {weighted[0]:g}")

    def area(order_by: Floats) -> float:
        order = np.argsort(-order_by, kind="stable")
        # Ties are one step of the curve, which equals the mean over their orders.
        ends = np.flatnonzero(np.diff(order_by[order], append=np.nan) != 0)
        weight_share = np.cumsum(weight[order])[ends] / weight.sum()
        lorenz = np.cumsum(truth[order] * weight[order])[ends]
        lorenz /= lorenz[-1]
        return float(np.dot(lorenz[1:], weight_share[:-1]) - np.dot(lorenz[:-1], weight_share[1:]))

    return area(predicted) / area(truth)


def _mean_within_ties(values: Floats, sorted_keys: Floats) -> Floats:
    """Replace the values of rows with equal keys by their mean."""
    tie_starts = np.flatnonzero(np.diff(sorted_keys, prepend=np.nan) != 0)
    if len(tie_starts) == len(values):
        return values
    sizes = np.diff(tie_starts, append=len(values))
    return np.repeat(np.add.reduceat(values, tie_starts) / sizes, sizes)


def pinball(level: float) -> Callable[..., float]:
    """Return the pinball loss of a quantile from 0 to 1 (Koenker and Bassett 1978)."""

    def compute(y_true: Floats, y_pred: Floats, weight: Floats | None = None) -> float:
        difference = _difference(y_true, y_pred)
        return _mean(np.maximum(level * difference, (level - 1) * difference), weight)

    return compute
