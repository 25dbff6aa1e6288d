"""Whole numbers that a person wrote."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.core.errors import ConfigError
from workbench.core.integers import integer_from


@pytest.mark.parametrize("value", [0, 5, -3])
def test_any(value: int) -> None:
    assert integer_from(value, "[model] num_threads") == value


@pytest.mark.parametrize("value", [True, 1.0, "1", None, [1]])
def test_what_is_none(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"\[model\] num_threads = .*: expected a whole number$"):
        integer_from(value, "[model] num_threads")


def test_from_a_minimum_up() -> None:
    assert integer_from(1, "rounds", 1) == 1
    with pytest.raises(ConfigError, match=r"^rounds = 0: expected a whole number of at least 1$"):
        integer_from(0, "rounds", 1)
