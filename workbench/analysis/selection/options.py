"""The options of `wb select`, and the methods that each applies to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any

from workbench.analysis.selection.groups import GROUPINGS
from workbench.core.errors import ConfigError, did_you_mean

__all__ = ["METHODS", "SelectionOptions", "options_of"]

METHODS = ("gain", "permutation", "null", "rfe")

_METHODS_OF_OPTION = {
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

_REPEATS = "a whole number of at least 2: the repeats show the variation due to shuffling"
_VALID_VALUES: dict[str, tuple[Any, Callable[[Any], bool], str]] = {
    "share": (Real, lambda v: 0 < v <= 1, "a share above 0, at most 1"),
    "repeats": (Integral, lambda v: v >= 2, _REPEATS),
    "alpha": (Real, lambda v: 0 < v < 1, "a number between 0 and 1"),
    "shuffles": (Integral, lambda v: v >= 1, "a whole number of at least 1"),
    "percentile": (Real, lambda v: 0 <= v <= 100, "a number from 0 to 100"),
    "top": (Integral, lambda v: v >= 1, "a whole number of at least 1"),
    "minutes": (Real, lambda v: v > 0, "a number above 0"),
    "trials": (Integral, lambda v: v >= 1, "a whole number of at least 1"),
    "step": (Real, lambda v: 0 < v < 1, "a share between 0 and 1"),
    "seed": (Integral, lambda v: v >= 0, "a whole number of at least 0"),
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
        permutation: how often each column is shuffled in each fold, at least twice.
    alpha : float
        permutation: the significance level.
    by : str
        How columns are grouped: "column", "feature" or "correlated".
    shuffles : int
        null: how often the target is shuffled.
    percentile : float
        null: the percentile of the gains with shuffled targets that a column's gain has to exceed.
    top : int, or None
        Keep this many of the most important groups instead of the method's choice.
    minutes, trials : float, int, or None
        rfe: stop after this time, or this many smaller lists; by default after 20.
    step : float
        rfe: the share of the columns to drop at once.
    seed : int
        Of all shuffles.
    holdout : bool
        Whether to hold out the rows of the last fold, to score the list on them.
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
        used_options = {
            name: getattr(self, name) for name, methods in _METHODS_OF_OPTION.items() if self.method in methods
        }
        return {"seed": self.seed, **{name: value for name, value in used_options.items() if value is not None}}

    def identity(self) -> dict[str, Any]:
        """Return the parameters in the list's key; without the limits of a search, so that it can be resumed."""
        parameters = {name: value for name, value in self.parameters().items() if name not in ("minutes", "trials")}
        return parameters | ({"holdout": True} if self.holdout else {})


def options_of(method: str, values: dict[str, Any]) -> SelectionOptions:
    """Check options and return them.

    Parameters
    ----------
    values : dict
        Field of `SelectionOptions` -> value; None for the default.

    Raises
    ------
    ConfigError
        For an unknown method or option, an option of another method, or an invalid value.

    Examples
    --------
    >>> options_of("null", {"shuffles": 40, "top": None}).parameters()
    {'seed': 0, 'by': 'column', 'shuffles': 40, 'percentile': 75.0}
    """
    if method not in METHODS:
        raise ConfigError(f"--method {method!r} is unknown", hint=did_you_mean(str(method), METHODS, kind="method"))
    values = {name: value for name, value in values.items() if value is not None}
    names = [f.name for f in fields(SelectionOptions)]
    for name in values:
        if name not in names:
            raise ConfigError(f"unknown option {name!r}", hint=did_you_mean(name, names, kind="option"))
        if name in _METHODS_OF_OPTION and method not in _METHODS_OF_OPTION[name]:
            raise ConfigError(
                f"--{name} goes with --method {' or '.join(_METHODS_OF_OPTION[name])}, got --method {method}"
            )
    return replace(SelectionOptions(method), **{name: _checked(name, value) for name, value in values.items()})


def _checked(name: str, value: Any) -> Any:
    """Check an option's value and return it, with NumPy numbers converted to Python numbers."""
    if name == "by" and value not in GROUPINGS:
        raise ConfigError(f"--by {value!r} is unknown", hint=did_you_mean(str(value), GROUPINGS, kind="way"))
    if name == "holdout" and not isinstance(value, bool):
        raise ConfigError(f"--holdout {value!r}: expected True or False")
    if name not in _VALID_VALUES:
        return value
    number_type, is_valid, expected = _VALID_VALUES[name]
    if not isinstance(value, number_type) or isinstance(value, bool) or not is_valid(value):
        raise ConfigError(f"--{name.replace('_', '-')} {value}: expected {expected}")
    return int(value) if number_type is Integral else value if isinstance(value, int) else float(value)
