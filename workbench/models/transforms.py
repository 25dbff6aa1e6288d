"""What a target goes through before training, and its inverse.

log1p
    ``log(1 + y)``.
boxcox
    ``(y^λ - 1) / λ``, or the logarithm for λ = 0 (Box and Cox 1964), for targets above 0; λ is the likeliest
    (`scipy.stats.boxcox`).
yeojohnson
    The same for targets of either sign (Yeo and Johnson 2000; `scipy.stats.yeojohnson`, as in scikit-learn's
    `PowerTransformer`).
quantile
    The normal quantile of the share of values below, as in scikit-learn's
    ``QuantileTransformer(output_distribution="normal")``, but that many rows of the lowest or highest value share the
    middle of their shares, too.

All but log1p learn from the rows that a fold trains on, and take predictions back no further than those rows' values:
beyond them the inverse of a power runs away, or does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LOWEST", "TRANSFORMS", "Transform", "fitted_transform"]

Floats = npt.NDArray[np.float64]

LOWEST = {"none": -np.inf, "log1p": -1.0, "boxcox": 0.0, "yeojohnson": -np.inf, "quantile": -np.inf}
"""The value that every target must be above."""

TRANSFORMS = tuple(LOWEST)
N_QUANTILES = 1000
ALMOST = 1e-7
"""The share of values below the lowest: its normal quantile would be infinite."""


@dataclass(frozen=True)
class Transform:
    """A transform with what it learned.

    Attributes
    ----------
    name : str
    learned : dict
        As JSON has it: "lambda", "lowest", "highest"; for quantile "values", ascending.
    """

    name: str
    learned: dict[str, Any] = field(default_factory=dict)

    def forward(self, values: Floats) -> Floats:
        """Transform targets, (n,)."""
        if self.name == "log1p":
            return np.log1p(values)
        if self.name == "quantile":
            return self._to_normal(values)
        return _power(self.name, values, self.learned["lambda"]) if self.learned else values

    def inverse(self, fitted: Floats) -> Floats:
        """Take predictions of any shape back."""
        if self.name == "log1p":
            return np.expm1(fitted)
        if not self.learned:
            return fitted
        from scipy import special

        low, high = (float(v) for v in self.forward(np.array([self.learned["lowest"], self.learned["highest"]])))
        inside = np.clip(fitted, low, high)
        if self.name == "quantile":
            values, shares = self._quantiles()
            return np.asarray(np.interp(special.ndtr(inside), np.clip(shares, ALMOST, 1 - ALMOST), values))
        undone = _unpower(self.name, inside, self.learned["lambda"])
        return np.clip(undone, self.learned["lowest"], self.learned["highest"])

    def _quantiles(self) -> tuple[Floats, Floats]:
        values = np.asarray(self.learned["values"])
        return values, np.linspace(0, 1, len(values))

    def _to_normal(self, values: Floats) -> Floats:
        from scipy import special

        quantiles, shares = self._quantiles()
        # Values that repeat get the middle of their shares: the mean of counting from below and from above.
        below = np.interp(values, quantiles, shares)
        above = -np.interp(-values, -quantiles[::-1], -shares[::-1])
        return np.asarray(special.ndtri(np.clip((below + above) / 2, ALMOST, 1 - ALMOST)))


def fitted_transform(name: str, values: Floats) -> Transform:
    """Return a transform that has learned from some target values, (n,)."""
    if name in ("none", "log1p"):
        return Transform(name)
    bounds = {"lowest": float(values.min()), "highest": float(values.max())}
    if name == "quantile":
        quantiles = np.quantile(values, np.linspace(0, 1, min(N_QUANTILES, len(values))))
        return Transform(name, bounds | {"values": np.maximum.accumulate(quantiles).tolist()})
    return Transform(name, bounds | {"lambda": _likeliest(name, values)})


def _likeliest(name: str, values: Floats) -> float:
    if values.min() == values.max():
        return 1.0
    import warnings

    from scipy import stats

    with warnings.catch_warnings():  # of overflow, on the way to the likeliest
        warnings.simplefilter("ignore")
        search = stats.boxcox_normmax if name == "boxcox" else stats.yeojohnson_normmax
        more = {"method": "mle"} if name == "boxcox" else {}
        return float(np.asarray(search(values, **more)).ravel()[0])


def _power(name: str, values: Floats, power: float) -> Floats:
    from scipy import special

    if name == "boxcox":
        return np.asarray(special.boxcox(values, power))
    powers = np.where(np.signbit(values), 2 - power, power)
    return np.asarray(np.copysign(special.boxcox1p(np.abs(values), powers), values))


def _unpower(name: str, fitted: Floats, power: float) -> Floats:
    from scipy import special

    if name == "boxcox":
        return np.asarray(special.inv_boxcox(fitted, power))
    powers = np.where(np.signbit(fitted), 2 - power, power)
    return np.asarray(np.copysign(special.inv_boxcox1p(np.abs(fitted), powers), fitted))
