"""Where this package lies; apart from `distribution`, as every command needs it and few need what that loads."""

from pathlib import Path

__all__ = ["PACKAGE"]

PACKAGE = Path(__file__).parents[1]
"""The folder of the package `workbench`."""
