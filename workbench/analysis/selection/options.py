"""The options of `wb select`, and which methods they apply to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any

from workbench.analysis.selection.groups import BY
from workbench.core.errors import ConfigError, near

__all__ = ["METHODS", "SelectionOptions", "options_of"]

METHODS = ("gain", "permutation", "null", "rfe")

_BELONGS = {
    "share": ("gain",),
    "repeats": ("permutation",),
    "alpha": ("permutation",),
    "by": ("gain", "permutation", "null"),
    "shuffles": ("null",),
    "percentile": ("null",),
    "top": ("gain", "permutation", "null"),
    "minutes": ("rfe",),
    "trials": ("rfe",),
    "step": ("rfe",),
}

_SHUFFLED = "a whole number from 2 up: what shuffling alone does shows in the repeats"
_RANGES: dict[str, tuple[Any, Callable[[Any], bool], str]] = {
    "share": (Real, lambda v: 0 < v <= 1, "a share above 0, at most 1"),
    "repeats": (Integral, lambda v: v >= 2, _SHUFFLED),
    "alpha": (Real, lambda v: 0 < v < 1, "a number between 0 and 1"),
    "shuffles": (Integral, lambda v: v >= 1, "a whole number from 1 up"),
    "percentile": (Real, lambda v: 0 <= v <= 100, "a number from 0 to 100"),
    "top": (Integral, lambda v: v >= 1, "a whole number from 1 up"),
    "minutes": (Real, lambda v: v > 0, "a number above 0"),
    "trials": (Integral, lambda v: v >= 1, "a whole number from 1 up"),
    "step": (Real, lambda v: 0 < v < 1, "a share between 0 and 1"),
    "seed": (Integral, lambda v: v >= 0, "a whole number from 0 up"),
}


@dataclass(frozen=True)
class SelectionOptions:
    """The options of a selection.

    Attributes
    ----------
    method : str
        "gain", "permutation", "null" or "rfe".
    share : float
        gain: the share of the total gain that is kept.
    repeats : int
        permutation: how often each column is shuffled in each fold; two or more.
    alpha : float
        permutation: the significance level.
    by : str
        How columns are grouped: "column", "feature" or "correlated".
    shuffles : int
        null: how often the target is shuffled.
    percentile : float
        null: the percentile of the shuffled gains that the column's own gain has to exceed.
    top : int, or None
        Keep this many of the most important groups, whatever the method decides.
    minutes, trials : float, int, or None
        rfe: stop after this time, or this many smaller lists. Without either, 20 trials.
    step : float
        rfe: the share of the columns to drop at once.
    seed : int
        Of all shuffles.
    holdout : bool
        Whether the rows of the last fold are held out from the method, to score the list on them.
    """

    method: str = "permutation"
    share: float = 0.99
    repeats: int = 5
    alpha: float = 0.01
    by: str = "column"
    shuffles: int = 20
    percentile: float = 75.0
    top: int | None = None
    minutes: float | None = None
    trials: int | None = None
    step: float = 0.2
    seed: int = 0
    holdout: bool = True

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that determine the result of the method."""
        used = {name: getattr(self, name) for name, methods in _BELONGS.items() if self.method in methods}
        return {"seed": self.seed, **{name: value for name, value in used.items() if value is not None}}

    def identity(self) -> dict[str, Any]:
        """Return the parameters of the list's identity: without a search's limits, so that it can be continued."""
        parameters = {name: value for name, value in self.parameters().items() if name not in ("minutes", "trials")}
        return parameters | ({"holdout": True} if self.holdout else {})


def options_of(method: str, values: dict[str, Any]) -> SelectionOptions:
    """Check options and return them.

    Parameters
    ----------
    values : dict
        By the names of `SelectionOptions`; None is the default.

    Raises
    ------
    ConfigError
        For an unknown method or option, an option of another method, or a value of another type or out of its range.

    Examples
    --------
    >>> options_of("null", {"shuffles": 40, "top": None}).parameters()
    {'seed': 0, 'by': 'column', 'shuffles': 40, 'percentile': 75.0}
    """
    if method not in METHODS:
        raise ConfigError(f"--method {method!r} is unknown", hint=near(str(method), METHODS, kind="method"))
    values = {name: value for name, value in values.items() if value is not None}
    names = [f.name for f in fields(SelectionOptions)]
    for name in values:
        if name not in names:
            raise ConfigError(f"unknown option {name!r}", hint=near(name, names, kind="option"))
        if name in _BELONGS and method not in _BELONGS[name]:
            raise ConfigError(f"--{name} goes with --method {' or '.join(_BELONGS[name])}, got --method {method}")
    return replace(SelectionOptions(method), **{name: _checked(name, value) for name, value in values.items()})


def _checked(name: str, value: Any) -> Any:
    """Check an option's value and return it, numbers as Python's own."""
    if name == "by" and value not in BY:
        raise ConfigError(f"--by {value!r} is unknown", hint=near(str(value), BY, kind="way"))
    if name == "holdout" and not isinstance(value, bool):
        raise ConfigError(f"--holdout {value!r}: expected True or False")
    if name not in _RANGES:
        return value
    kind, holds, expected = _RANGES[name]
    if not isinstance(value, kind) or isinstance(value, bool) or not holds(value):
        raise ConfigError(f"--{name.replace('_', '-')} {value}: expected {expected}")
    return int(value) if kind is Integral else value if isinstance(value, int) else float(value)
