"""The statistics of a group's target values."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.cache import content_key
from workbench.core.errors import FeatureError, NotFoundError, did_you_mean
from workbench.features.code_keys import code_key
from workbench.features.encodings.summaries import Summary

__all__ = ["STATISTICS", "Statistic", "shrunk", "statistic", "weight_of_evidence_of"]

Floats = npt.NDArray[np.float64]
Values = Callable[[Floats], float]


@dataclass(frozen=True)
class Statistic:
    """One statistic of the target values of a group.

    Attributes
    ----------
    name : str
    needs : set of str
        The entries of the summary that it is computed from.
    value : callable, or None
        Computes it from the summaries of the groups and of all rows, and the smoothing.
    quantile : float, or None
        The level of a quantile, which is computed from sorted values instead.
    function : callable, or None
        A function of the user, which takes the values of one group.
    of_labels : bool
        False if it does not depend on the target, and so is the same for all targets and classes.
    """

    name: str
    needs: frozenset[str] = frozenset()
    value: Callable[[Summary, Summary, float], Floats] | None = None
    quantile: float | None = None
    function: Values | None = None
    of_labels: bool = True

    @property
    def key(self) -> str:
        """The content key of the statistic."""
        if self.function is None:
            return content_key("statistic", self.name)
        return content_key("function", self.name, _function_code_key(self.function))


def shrunk(value: Floats, n: npt.NDArray[Any], prior: Floats, smoothing: float) -> Floats:
    """Shrink values towards the prior: ``(n * value + smoothing * prior) / (n + smoothing)``; NaN becomes the prior."""
    weight = np.where(np.isnan(value), 0.0, n)
    blended = weight * np.nan_to_num(value) + smoothing * prior
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight > 0, blended / (weight + smoothing), prior)


def _divide(total: npt.NDArray[Any], n: npt.NDArray[Any], min_n: int = 1) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n >= min_n, total / n, np.nan)


def _mean(group: Summary, overall: Summary, smoothing: float) -> Floats:
    prior = _divide(overall["sum"], overall["n"])
    weight = group["n"] + smoothing
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(group["n"] > 0, (group["sum"] + smoothing * prior) / weight, prior)


def _deviation(summary: Summary) -> Floats:
    return np.sqrt(_divide(summary["m2"], summary["n"] - 1.0))


def _skewness(summary: Summary) -> Floats:
    spread = _divide(summary["m2"], summary["n"], 3)
    # The variance of equal values is only rounding error of their mean.
    spread = np.where(spread > (1e-13 * summary["mean"]) ** 2, spread, np.nan)
    return _divide(summary["m3"], summary["n"], 3) / spread**1.5


def _smooth_statistic(compute: Callable[[Summary], Floats]) -> Callable[[Summary, Summary, float], Floats]:
    return lambda group, overall, smoothing: shrunk(compute(group), group["n"], compute(overall), smoothing)


def _extreme(name: str) -> Callable[[Summary, Summary, float], Floats]:
    return lambda group, _every, _smoothing: np.where(group["n"] > 0, group[name], np.nan)


def weight_of_evidence_of(group: Summary, overall: Summary, smoothing: float) -> Floats:
    """Return ``ln((p + s P / n) / (q + s Q / n)) - ln(P / Q)``; 0 if there is only one class.

    p and q are the positives and negatives of the group, P and Q those of all rows, n = P + Q, s the smoothing.
    """
    positive, n = overall["sum"].astype(np.float64), overall["n"].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        odds = (group["sum"] + smoothing * positive / n) / (group["n"] - group["sum"] + smoothing * (1 - positive / n))
        evidence = np.log(odds) - np.log(positive / (n - positive))
    return np.where((positive > 0) & (positive < n), evidence, 0.0)


STATISTICS = {
    s.name: s
    for s in (
        Statistic("mean", frozenset({"n", "sum"}), _mean),
        Statistic("sum", frozenset({"n", "sum"}), lambda group, _every, _s: group["sum"].astype(np.float64)),
        Statistic("count", frozenset({"n"}), lambda group, _every, _s: group["n"].astype(np.float64), of_labels=False),
        Statistic("std", frozenset({"n", "mean", "m2"}), _smooth_statistic(_deviation)),
        Statistic("skew", frozenset({"n", "mean", "m2", "m3"}), _smooth_statistic(_skewness)),
        Statistic("min", frozenset({"n", "min"}), _extreme("min")),
        Statistic("max", frozenset({"n", "max"}), _extreme("max")),
        Statistic("median", frozenset({"n"}), quantile=0.5),
    )
}


def statistic(stat: str | Values) -> Statistic:
    """Return the statistic for a name, a quantile such as "q05", or a function of a group's values.

    Raises
    ------
    NotFoundError
        For an unknown name; the hint has similar names.
    FeatureError
        For a function without a name, such as a lambda, whose code can't be hashed.
    """
    if callable(stat):
        name = getattr(stat, "__name__", "")
        if not name.isidentifier():
            raise FeatureError(
                f"stats: {stat!r} has no name", hint="def it at the top of features.py, so that changes are noticed"
            )
        custom = Statistic(name, frozenset({"n"}), function=stat)
        _ = custom.key  # raises if the code can't be hashed
        return custom
    if stat in STATISTICS:
        return STATISTICS[stat]
    match = re.fullmatch(r"q(\d{1,2}(?:\.\d+)?)", str(stat))
    if not match:
        raise NotFoundError(
            f"no statistic is called {stat!r}",
            hint=did_you_mean(str(stat), [*STATISTICS, "q25", "q90"], kind="statistic") + "; or give a function",
        )
    return Statistic(stat, frozenset({"n"}), quantile=float(match[1]) / 100)


def _function_code_key(function: Values) -> str:
    """Return a key of a function: its code with all that it uses, or the version of its package if it is compiled."""
    code = getattr(function, "__code__", None)
    if code is None:  # compiled, as numpy's functions are
        module = str(getattr(function, "__module__", "") or type(function).__module__)
        package = __import__(module.partition(".")[0])
        return content_key(module, function.__name__, str(getattr(package, "__version__", "")))
    if "<locals>" in function.__qualname__ or not Path(code.co_filename).is_file():
        raise FeatureError(
            f"stats: the function {function.__name__!r} is defined within another or in no file",
            hint="def it at the top of features.py, so that changes are noticed",
        )
    unwrapped = inspect.unwrap(function)
    return code_key(Path(unwrapped.__code__.co_filename), unwrapped.__name__)
