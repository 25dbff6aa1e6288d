"""Transforms of a regression target before training, and their inverses.

log1p
    ``log(1 + y)``.
boxcox
    ``(y^λ - 1) / λ``, or the logarithm for λ = 0 (Box and Cox 1964), for targets above 0; λ maximises the likelihood
    (`scipy.stats.boxcox`).
yeojohnson
    The same for targets of either sign (Yeo and Johnson 2000; `scipy.stats.yeojohnson`, as in scikit-learn's
    `PowerTransformer`).
quantile
    The normal quantile of the value's rank, as in scikit-learn's ``QuantileTransformer(output_distribution="normal")``,
    except that ties of the lowest or highest value get their mean rank, too.

All but log1p are fitted on the fold's train rows, and their inverses are clipped to the range of those rows: beyond it
the inverse of a power diverges or does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import ConfigError, did_you_mean
from workbench.models.losses import loss_for

if TYPE_CHECKING:
    from workbench.metrics import Metric
    from workbench.models.target import Target

__all__ = ["LOWEST", "TRANSFORMS", "Transform", "fitted_transform", "transform_for"]

Floats = npt.NDArray[np.float64]

LOWEST = {"none": -np.inf, "log1p": -1.0, "boxcox": 0.0, "yeojohnson": -np.inf, "quantile": -np.inf}
"""Transform -> the value that all targets must exceed."""

TRANSFORMS = tuple(LOWEST)
N_QUANTILES = 1000
MIN_RANK = 1e-7
"""Ranks are clipped to this and one minus this: the normal quantiles of 0 and 1 are infinite."""


@dataclass(frozen=True)
class Transform:
    """A fitted transform.

    Attributes
    ----------
    name : str
    parameters : dict
        "lowest" and "highest" of the train rows; "lambda" of a power, the ascending "values" of the quantiles. Empty
        for "none" and "log1p".
    """

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)

    def forward(self, values: Floats) -> Floats:
        """Transform targets, (n,)."""
        if self.name == "log1p":
            return np.log1p(values)
        if self.name == "quantile":
            return self._to_normal(values)
        return _power(self.name, values, self.parameters["lambda"]) if self.parameters else values

    def inverse(self, transformed: Floats) -> Floats:
        """Invert the transform of predictions of any shape."""
        if self.name == "log1p":
            return np.expm1(transformed)
        if not self.parameters:
            return transformed
        from scipy import special

        low, high = (float(v) for v in self.forward(np.array([self.parameters["lowest"], self.parameters["highest"]])))
        clipped = np.clip(transformed, low, high)
        if self.name == "quantile":
            values, ranks = self._quantiles()
            return np.asarray(np.interp(special.ndtr(clipped), np.clip(ranks, MIN_RANK, 1 - MIN_RANK), values))
        inverted = _inverse_power(self.name, clipped, self.parameters["lambda"])
        return np.clip(inverted, self.parameters["lowest"], self.parameters["highest"])

    def _quantiles(self) -> tuple[Floats, Floats]:
        """Return the quantiles of the train rows and their ranks from 0 to 1."""
        values = np.asarray(self.parameters["values"])
        return values, np.linspace(0, 1, len(values))

    def _to_normal(self, values: Floats) -> Floats:
        from scipy import special

        quantiles, ranks = self._quantiles()
        # Ties get their mean rank: the mean of interpolating from below and from above.
        below = np.interp(values, quantiles, ranks)
        above = -np.interp(-values, -quantiles[::-1], -ranks[::-1])
        return np.asarray(special.ndtri(np.clip((below + above) / 2, MIN_RANK, 1 - MIN_RANK)))


def fitted_transform(name: str, values: Floats) -> Transform:
    """Return a transform fitted on target values (n,)."""
    if name in ("none", "log1p"):
        return Transform(name)
    bounds = {"lowest": float(values.min()), "highest": float(values.max())}
    if name == "quantile":
        quantiles = np.quantile(values, np.linspace(0, 1, min(N_QUANTILES, len(values))))
        return Transform(name, bounds | {"values": np.maximum.accumulate(quantiles).tolist()})
    return Transform(name, bounds | {"lambda": _fitted_lambda(name, values)})


def _fitted_lambda(name: str, values: Floats) -> float:
    """Return the λ of greatest likelihood; 1 for a constant target."""
    if values.min() == values.max():
        return 1.0
    import warnings

    from scipy import stats

    with warnings.catch_warnings():  # the search may overflow at some λ
        warnings.simplefilter("ignore")
        find_lambda = stats.boxcox_normmax if name == "boxcox" else stats.yeojohnson_normmax
        options = {"method": "mle"} if name == "boxcox" else {}
        return float(np.asarray(find_lambda(values, **options)).ravel()[0])


def _power(name: str, values: Floats, power: float) -> Floats:
    from scipy import special

    if name == "boxcox":
        return np.asarray(special.boxcox(values, power))
    powers = np.where(np.signbit(values), 2 - power, power)
    return np.asarray(np.copysign(special.boxcox1p(np.abs(values), powers), values))


def _inverse_power(name: str, transformed: Floats, power: float) -> Floats:
    from scipy import special

    if name == "boxcox":
        return np.asarray(special.inv_boxcox(transformed, power))
    powers = np.where(np.signbit(transformed), 2 - power, power)
    return np.asarray(np.copysign(special.inv_boxcox1p(np.abs(transformed), powers), transformed))


def transform_for(
    transform: str | None, target: Target, metric: Metric, *, where: str, log_objective: str | None = None
) -> str:
    """Check the experiment's transform of the target, or choose the default for the metric and the target's values.

    Parameters
    ----------
    transform : str or None
        The experiment's; None for the default.
    log_objective : str, optional
        The model's objective if it takes the logarithm itself; the default transform is then "none".

    Raises
    ------
    ConfigError
        For an unknown transform, one that the target's values do not allow, or a logarithm that would be taken twice.
    """
    is_regression = all(c.task == "regression" for c in target.columns)
    lowest = min(float(c.values.min()) for c in target.columns)
    if transform == "log1p" and log_objective is not None:
        raise ConfigError(
            f"{where}: target_transform = 'log1p' and the objective {log_objective!r} take the logarithm twice",
            hint='target_transform = "none", which is the default with this objective',
        )
    if transform is None and log_objective is not None:
        return "none"
    if transform is None:
        loss = loss_for(metric)
        return loss.transform if is_regression and loss.allows(lowest) else "none"
    if transform not in TRANSFORMS:
        raise ConfigError(
            f"{where}: target_transform = {transform!r} is unknown",
            hint=did_you_mean(transform, TRANSFORMS, kind="transform"),
        )
    if transform == "none":
        return transform
    if not is_regression:
        raise ConfigError(
            f"{where}: target_transform = {transform!r} is for numbers, but the task is {target.columns[0].task!r}",
            hint='remove it, or set target_transform = "none"',
        )
    bound = LOWEST[transform]
    if not lowest > bound:
        raise ConfigError(
            f"{where}: target_transform = {transform!r} needs a target above {bound:g}, but its lowest value is "
            f"{lowest:g}",
            hint=f"these fit: {', '.join(t for t in TRANSFORMS if lowest > LOWEST[t])}",
        )
    return transform
