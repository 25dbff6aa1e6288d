"""Imports of the optional packages for notebooks."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from workbench.core.distribution import install_hint
from workbench.core.errors import ConfigError

__all__ = ["library", "need"]


def need(*names: str) -> None:
    """Check that packages which another process will import are installed.

    Raises
    ------
    ConfigError
        When one is not installed.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"notebooks need {name}, which is not installed", hint=install_hint("notebooks"))


def library(name: str) -> Any:
    """Import and return one of the packages for notebooks.

    Raises
    ------
    ConfigError
        When it is not installed.
    """
    need(name)
    return importlib.import_module(name)
