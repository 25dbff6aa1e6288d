"""The class of a metric, and the checks that all metrics share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import DataError, WorkbenchError
from workbench.core.user_code import user_code
from workbench.metrics.queries import Queries

__all__ = ["Metric", "from_function"]

PREDICTION_TYPES = ("value", "proba", "label", "ranked")


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes
    ----------
    name : str
        "auc", "map@3", "pinball@0.9".
    greater_is_better : bool
    prediction_type : str
        "value", "proba", "label" or "ranked"; see the package.
    compute : callable
        ``compute(y_true, y_pred, weight=None) -> float``, without checks.
    """

    name: str
    greater_is_better: bool
    prediction_type: str
    compute: Callable[..., float]

    @property
    def family(self) -> str:
        """The name without its number: "map" of "map@3"."""
        return self.name.partition("@")[0]

    @property
    def number(self) -> float | None:
        """The number of the name, such as the length of the lists or the level of a quantile; None without one.

        Examples
        --------
        >>> from workbench import metrics
        >>> [metrics.get(name).number for name in ("map@3", "pinball@0.9", "auc")]
        [3.0, 0.9, None]
        """
        text = self.name.partition("@")[2]
        return float(text) if text else None

    def __call__(self, y_true: Any, y_pred: Any, weight: Any = None) -> float:
        """Check the arrays and compute the score.

        Raises
        ------
        DataError
            For arrays of different lengths, predictions that are not finite, or data that the metric is undefined for.

        Examples
        --------
        >>> from workbench import metrics
        >>> metrics.get("rmse")([0.0, 2.0], [0.0, 0.0])
        1.4142135623730951
        """
        truth = y_true if isinstance(y_true, Queries) or hasattr(y_true, "offsets") else np.asarray(y_true)
        predicted = np.asarray(y_pred)
        if self.prediction_type == "label":
            truth, predicted = self._as_labels(truth, "y_true"), self._as_labels(predicted, "y_pred")
        weights = None if weight is None else np.asarray(weight, np.float64)
        self._check(truth, predicted, weights)
        if getattr(truth, "ndim", 1) == 2:
            pairs = zip(truth.T, predicted.T, strict=True)
            scores = [self.compute(np.ascontiguousarray(t), np.ascontiguousarray(p), weights) for t, p in pairs]
            value = float(np.mean(scores))
        else:
            value = float(self.compute(truth, predicted, weights))
        if not np.isfinite(value):
            raise DataError(f"metric {self.name!r} gives {value} for these {len(predicted):,} rows")
        return value

    def _check(self, truth: Any, predicted: npt.NDArray[Any], weight: npt.NDArray[np.float64] | None) -> None:
        if len(truth) != len(predicted) or (weight is not None and len(weight) != len(predicted)):
            sizes = [len(truth), len(predicted)] + ([] if weight is None else [len(weight)])
            raise DataError(f"{self.name}: truth, predictions and weights differ in length: {sizes}")
        if not len(predicted):
            raise DataError(f"{self.name}: there are no rows to score")
        if weight is not None:
            self._check_weight(weight)
        if getattr(truth, "ndim", 1) == 2 and truth.shape != predicted.shape:
            raise DataError(f"{self.name}: truth is {truth.shape}, predictions are {predicted.shape}")
        if predicted.dtype.kind == "f" and not _all_finite(predicted):
            n_invalid = int((~np.isfinite(predicted)).sum())
            raise DataError(f"{self.name}: {n_invalid:,} of {predicted.size:,} predictions are infinite or NaN")

    def _as_labels(self, values: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
        """Return float labels as integers.

        Raises
        ------
        DataError
            For a number that is not whole.
        """
        if values.dtype.kind != "f" or not np.isfinite(values).all():  # reported by `_check`
            return values
        fractional = np.flatnonzero(values.ravel() != np.rint(values.ravel()))
        if len(fractional):
            first = values.ravel()[fractional[0]]
            raise DataError(
                f"{self.name} needs labels, which are whole numbers: {len(fractional):,} of {values.size:,} values of "
                f"{name} are not, the first is {first:g} in row {int(fractional[0]) // (values.size // len(values)):,}",
                hint='choose a metric of amounts, such as "rmse", or use labels'
                if name == "y_true"
                else "round them, or choose a metric of probabilities or amounts",
            )
        return values.astype(np.int64)

    def _check_weight(self, weight: npt.NDArray[np.float64]) -> None:
        if not _all_finite(weight) or weight.min() < 0:
            n_invalid = int((~np.isfinite(weight) | (weight < 0)).sum())
            raise DataError(
                f"{self.name}: {n_invalid:,} of {len(weight):,} weights are below 0, infinite or NaN",
                hint="weights must be 0 or greater",
            )
        if not weight.any():
            raise DataError(
                f"{self.name}: all {len(weight):,} rows have a weight of 0",
                hint="rows that count need a weight above 0",
            )


def _all_finite(values: npt.NDArray[Any]) -> bool:
    # The sum takes one pass without a temporary array. It is finite only if every term is; it may overflow, though.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum(dtype=np.float64))) or bool(np.isfinite(values).all())


def from_function(
    function: Callable[..., float], name: str, *, greater_is_better: bool, prediction_type: str = "value"
) -> Metric:
    """Return a metric that calls ``function(y_true, y_pred)``, with weights ``function(y_true, y_pred, weight)``.

    Raises
    ------
    DataError
        From the metric, when the function raises, does not return a finite number, or does not accept weights that the
        competition has.

    Examples
    --------
    >>> half = from_function(lambda t, p: 0.5, "half", greater_is_better=True)
    >>> half([1.0], [1.0])
    0.5
    """
    if prediction_type not in PREDICTION_TYPES:
        raise DataError(
            f"metric {name!r}: prediction_type = {prediction_type!r}, expected one of {', '.join(PREDICTION_TYPES)}"
        )

    def compute(y_true: Any, y_pred: Any, weight: Any = None) -> float:
        if weight is not None and not _takes_weight(function):
            raise DataError(
                f"metric {name!r} does not accept weights, but competition.toml has weight = …",
                hint="add a third argument: (y_true, y_pred, weight=None); or weight rows in training only: "
                'weight = { train = "…" }',
            )
        with user_code(f"metric {name!r} failed", DataError, hint="check its function", pass_through=(WorkbenchError,)):
            value = function(y_true, y_pred) if weight is None else function(y_true, y_pred, weight)
            result = float(value)
        if not np.isfinite(result):
            raise DataError(f"metric {name!r} returned {result}, expected a finite number")
        return result

    return Metric(name, greater_is_better, prediction_type, compute)


def _takes_weight(function: Callable[..., float]) -> bool:
    try:
        inspect.signature(function).bind(None, None, None)
    except TypeError:
        return False
    except ValueError:  # compiled code has no signature
        return True
    return True
