"""The command `wb`: parse, call one function, print."""

from workbench.cli.app import main

__all__ = ["main"]
