"""Figures and frames of a run and of a competition, for the notebooks `report` and `eda`."""

import re
from pathlib import Path

from workbench.core.printable import one_line
from workbench.review.report import figures
from workbench.review.report.overview import Overview
from workbench.review.report.view import RunView

__all__ = ["Overview", "RunView", "figures", "literal", "own_notebook"]


def own_notebook(name: str) -> Path:
    """Return the path of the package's notebook "report" or "eda"; a workspace's own takes precedence."""
    return Path(__file__).with_name(f"{name}.ipynb")


def literal(text: object) -> str:
    r"""Escape a text for Markdown, so that markup in it is shown literally.

    Examples
    --------
    >>> literal("a_b <script>")
    'a\\_b \\<script\\>'
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", one_line(str(text)))
