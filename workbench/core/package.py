"""The folder of this package; not in `distribution`, whose imports few commands need."""

from pathlib import Path

__all__ = ["PACKAGE"]

PACKAGE = Path(__file__).parents[1]
"""The folder of the package `workbench`."""
