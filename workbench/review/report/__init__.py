"""A run and a competition to be looked at: what the notebooks `report` and `eda` show."""

import re
from pathlib import Path

from workbench.core.printable import one_line
from workbench.review.report import figures
from workbench.review.report.overview import Overview
from workbench.review.report.view import RunView

__all__ = ["Overview", "RunView", "figures", "literal", "own_notebook"]


def own_notebook(name: str) -> Path:
    """Return the package's own notebook, "report" or "eda"; one of that name in a workspace takes its place."""
    return Path(__file__).with_name(f"{name}.ipynb")


def literal(text: object) -> str:
    r"""Return a text as Markdown that shows it: a name with markup in it is a name.

    Examples
    --------
    >>> literal("a_b <script>")
    'a\\_b \\<script\\>'
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", one_line(str(text)))
