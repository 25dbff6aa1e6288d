"""The statistics of a group's target values, from their summaries or from the values in order."""

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
from workbench.core.errors import FeatureError, NotFoundError, near
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
        What its summary has to hold.
    value : callable, or None
        Takes the summaries of the groups and of all rows, and the smoothing.
    quantile : float, or None
        Where it is one: it needs the values in order.
    function : callable, or None
        Where it is a function of the user's: it takes the values of one group.
    of_labels : bool
        False for what depends on the rows only: it is the same for every target and class.
    """

    name: str
    needs: frozenset[str] = frozenset()
    value: Callable[[Summary, Summary, float], Floats] | None = None
    quantile: float | None = None
    function: Values | None = None
    of_labels: bool = True

    @property
    def key(self) -> str:
        """The content key of what it computes."""
        if self.function is None:
            return content_key("statistic", self.name)
        return content_key("function", self.name, _function_key(self.function))


def shrunk(value: Floats, n: npt.NDArray[Any], prior: Floats, smoothing: float) -> Floats:
    """Draw values towards the prior: ``(n * value + smoothing * prior) / (n + smoothing)``; a NaN is the prior."""
    weight = np.where(np.isnan(value), 0.0, n)
    blended = weight * np.nan_to_num(value) + smoothing * prior
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight > 0, blended / (weight + smoothing), prior)


def _per(total: npt.NDArray[Any], n: npt.NDArray[Any], least: int = 1) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n >= least, total / n, np.nan)


def _mean(group: Summary, overall: Summary, smoothing: float) -> Floats:
    prior = _per(overall["sum"], overall["n"])
    weight = group["n"] + smoothing
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(group["n"] > 0, (group["sum"] + smoothing * prior) / weight, prior)


def _deviation(s: Summary) -> Floats:
    return np.sqrt(_per(s["m2"], s["n"] - 1.0))


def _skewness(s: Summary) -> Floats:
    spread = _per(s["m2"], s["n"], 3)
    # Equal values whose mean is not one of them, by rounding, have no skewness either.
    spread = np.where(spread > (1e-13 * s["mean"]) ** 2, spread, np.nan)
    return _per(s["m3"], s["n"], 3) / spread**1.5


def _smoothed(of: Callable[[Summary], Floats]) -> Callable[[Summary, Summary, float], Floats]:
    return lambda group, overall, smoothing: shrunk(of(group), group["n"], of(overall), smoothing)


def _extreme(name: str) -> Callable[[Summary, Summary, float], Floats]:
    return lambda group, _every, _smoothing: np.where(group["n"] > 0, group[name], np.nan)


def weight_of_evidence_of(group: Summary, overall: Summary, smoothing: float) -> Floats:
    """Return ``ln((p + s P / n) / (q + s Q / n)) - ln(P / Q)``, 0 where there is one class only.

    p and q are the group's positives and negatives, P and Q all of them, n = P + Q, s the smoothing.
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
        Statistic("std", frozenset({"n", "mean", "m2"}), _smoothed(_deviation)),
        Statistic("skew", frozenset({"n", "mean", "m2", "m3"}), _smoothed(_skewness)),
        Statistic("min", frozenset({"n", "min"}), _extreme("min")),
        Statistic("max", frozenset({"n", "max"}), _extreme("max")),
        Statistic("median", frozenset({"n"}), quantile=0.5),
    )
}


def statistic(stat: str | Values) -> Statistic:
    """Return a statistic by its name, "q05" for a quantile, or made of a function of a group's values.

    Raises
    ------
    NotFoundError
        With the near names.
    FeatureError
        For a function without a name of its own, which no key could tell from another.
    """
    if callable(stat):
        name = getattr(stat, "__name__", "")
        if not name.isidentifier():
            raise FeatureError(
                f"stats: {stat!r} has no name", hint="def it at the top of features.py, so that changes are noticed"
            )
        custom = Statistic(name, frozenset({"n"}), function=stat)
        _ = custom.key
        return custom
    if stat in STATISTICS:
        return STATISTICS[stat]
    match = re.fullmatch(r"q(\d{1,2}(?:\.\d+)?)", str(stat))
    if not match:
        raise NotFoundError(
            f"no statistic is called {stat!r}",
            hint=near(str(stat), [*STATISTICS, "q25", "q90"], kind="statistic") + "; or give a function",
        )
    return Statistic(stat, frozenset({"n"}), quantile=float(match[1]) / 100)


def _function_key(function: Values) -> str:
    """Return a key of a function's code: with what it uses of its file, or with the version of its package."""
    code = getattr(function, "__code__", None)
    if code is None:  # a compiled one, of numpy or the like
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
