"""Whole numbers that a person wrote: checked, as true and 3.0 are none."""

from __future__ import annotations

from typing import Any

from workbench.core.errors import ConfigError

__all__ = ["integer_from", "is_integer"]


def is_integer(value: Any, minimum: int | None = None) -> bool:
    """Say whether a value is a whole number, and none below the minimum.

    Examples
    --------
    >>> is_integer(3, 1), is_integer(0, 1), is_integer(True), is_integer(3.0)
    (True, False, False, False)
    """
    return not isinstance(value, bool) and isinstance(value, int) and (minimum is None or value >= minimum)


def integer_from(value: Any, name: str, minimum: int | None = None) -> int:
    """Return a value that must be a whole number.

    Parameters
    ----------
    name : str
        Where it stands, for the message: "012.toml: [model] num_leaves".

    Raises
    ------
    ConfigError
        For anything else.
    """
    if not is_integer(value, minimum):
        limit = "" if minimum is None else f" from {minimum} up"
        raise ConfigError(f"{name} = {value!r}: expected a whole number{limit}")
    return int(value)
