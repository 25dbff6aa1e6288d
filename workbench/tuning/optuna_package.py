"""The optional package Optuna; `wb table` and inference work without it."""

from __future__ import annotations

from typing import Any

from workbench.core.distribution import install_hint
from workbench.core.errors import ConfigError

__all__ = ["optuna"]


def optuna() -> Any:
    """Return the package; its log records go to Python's `logging` only.

    Raises
    ------
    ConfigError
        When it is not installed.
    """
    try:
        import optuna as package
    except ImportError as exc:
        raise ConfigError("tuning needs Optuna, which is not installed", hint=install_hint("tune")) from exc
    package.logging.disable_default_handler()
    package.logging.set_verbosity(package.logging.ERROR)
    return package
