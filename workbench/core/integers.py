"""Validation of integers that a user wrote; bools and floats such as 3.0 are refused."""

from __future__ import annotations

from typing import Any

from workbench.core.errors import ConfigError

__all__ = ["integer_from", "is_integer"]


def is_integer(value: Any, minimum: int | None = None) -> bool:
    """Tell whether a value is an int (not a bool) of at least `minimum`.

    Examples
    --------
    >>> is_integer(3, 1), is_integer(0, 1), is_integer(True), is_integer(3.0)
    (True, False, False, False)
    """
    return not isinstance(value, bool) and isinstance(value, int) and (minimum is None or value >= minimum)


def integer_from(value: Any, name: str, minimum: int | None = None) -> int:
    """Return a value after checking that it is an integer.

    Parameters
    ----------
    name : str
        The name of the setting, for the message: "012.toml: [model] num_leaves".
    minimum : int, optional
        The smallest valid value.

    Raises
    ------
    ConfigError
        If it is not an integer, or is below the minimum.
    """
    if not is_integer(value, minimum):
        limit = "" if minimum is None else f" of at least {minimum}"
        raise ConfigError(f"{name} = {value!r}: expected a whole number{limit}")
    return int(value)
