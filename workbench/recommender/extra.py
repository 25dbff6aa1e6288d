"""The optional dependency numba, which only recommenders need."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from workbench.core.distribution import install_hint
from workbench.core.errors import ConfigError

__all__ = ["compiled", "need_compiler"]


def need_compiler() -> None:
    """Check that numba is installed.

    Raises
    ------
    ConfigError
        When it is not installed.
    """
    if importlib.util.find_spec("numba") is None:
        raise ConfigError("recommenders need numba, which is not installed", hint=install_hint("recommend"))


def compiled(name: str) -> ModuleType:
    """Import one of this package's modules of compiled functions.

    Raises
    ------
    ConfigError
        When numba is not installed.
    """
    need_compiler()
    return importlib.import_module(f"workbench.recommender.{name}")
