"""Kernels built for the Python version of the tests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def built(made: Any, wheels: Path, number: int = 1) -> Any:
    return made.open.kernels.build(number, python=HERE, wheels=wheels)
