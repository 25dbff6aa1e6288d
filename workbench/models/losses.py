"""The loss that models of a regression metric are trained with: its kind, the scale of the target, and row weights.

A metric of relative errors is a weighted metric of errors: ``((y - p) / y) ** 2`` is the squared error with the weight
``1 / y**2``, ``|y - p| / |y|`` the absolute error with ``1 / |y|``. Without these weights a model of the logarithm
predicts the geometric mean, which for log-normal noise of sigma 0.5 has an RMSPE of 0.62, where 0.47 is the optimum
(``sqrt(1 - exp(-sigma**2))``); with them it has 0.48.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from workbench.metrics import Metric
    from workbench.models.target import Target

__all__ = ["Loss", "loss_for", "power_for", "relative_weights", "training_weights"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Loss:
    """A loss.

    Attributes
    ----------
    kind : str
        "squared", "absolute" or "quantile".
    transform : str
        The transform of the target, if its values allow it.
    power : int
        The weights of the rows are multiplied by ``1 / |y| ** power``.
    level : float
        The level of the quantile.
    """

    kind: Literal["squared", "absolute", "quantile"] = "squared"
    transform: str = "none"
    power: int = 0
    level: float = 0.5

    def allows(self, lowest: float) -> bool:
        """Return whether a target with this lowest value can be transformed.

        For relative errors the target must not be below 0: with values of both signs the logarithm does not help.
        """
        return lowest > -1 if self.transform == "log1p" and not self._is_relative else lowest >= 0

    @property
    def _is_relative(self) -> bool:
        return self.power > 0 or self.kind == "absolute"


# The median is the same on every scale; on the log scale relative errors are alike for all rows, so that trees find
# better splits. LightGBM has no loss for SMAPE, and its MAPE, like CatBoost's, divides by at least 1.
_LOSSES = {
    "mae": Loss("absolute"),
    "medae": Loss("absolute"),
    "wmae": Loss("absolute"),
    "smape": Loss("absolute", "log1p"),
    "mape": Loss("absolute", "log1p", power=1),
    "rmsle": Loss("squared", "log1p"),
    "rmspe": Loss("squared", "log1p", power=2),
}


def loss_for(metric: Metric) -> Loss:
    """Return the regression loss whose mean is the metric, or that comes closest to it.

    Examples
    --------
    >>> from workbench import metrics
    >>> loss_for(metrics.get("mape"))
    Loss(kind='absolute', transform='log1p', power=1, level=0.5)
    >>> loss_for(metrics.get("pinball@0.9")).level
    0.9
    """
    if metric.family == "pinball" and metric.number is not None:
        return Loss("quantile", level=metric.number)
    return _LOSSES.get(metric.family, Loss())


def power_for(target: Target, metric: Metric) -> int:
    """Return the power of the row weights in a metric's loss; 0 for tasks other than regression."""
    return loss_for(metric).power if all(c.task == "regression" for c in target.columns) else 0


def relative_weights(values: Floats, power: int) -> Floats | None:
    """Return ``1 / |y| ** power`` for each row, (n,), scaled to a mean of 1; None where all are the same.

    Rows with y = 0 have no relative error, and get the weight 0.

    Examples
    --------
    >>> relative_weights(np.array([1.0, 2.0, 0.0]), 2).tolist()
    [2.4, 0.6, 0.0]
    """
    if not power or not values.any():
        return None
    size = np.abs(values)
    # Relative to the smallest, so that no power overflows.
    smallest = size[size > 0].min()
    weights = np.divide(smallest, size, out=np.zeros_like(size), where=size > 0) ** power
    return np.asarray(weights / weights.mean())


def training_weights(weight: Floats | None, values: Floats, rows: Ints, power: int) -> Floats | None:
    """Return the weights of some rows in training: row weights times those of the loss; None where all are 1.

    Parameters
    ----------
    weight, values : float array (n_train,)
        The row weights, or None, and the target, of all train rows.
    """
    row_weights = None if weight is None else weight[rows]
    loss_weights = relative_weights(values[rows], power)
    if row_weights is None or loss_weights is None:
        return loss_weights if row_weights is None else row_weights
    return row_weights * loss_weights
