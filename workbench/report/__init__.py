"""A run and a competition to be looked at: what the notebooks `report` and `eda` show."""

from pathlib import Path

from workbench.report import figures
from workbench.report.overview import Overview
from workbench.report.view import RunView

__all__ = ["Overview", "RunView", "figures", "own_notebook"]


def own_notebook(name: str) -> Path:
    """Return the package's own notebook, "report" or "eda"; one of that name in a workspace takes its place."""
    return Path(__file__).with_name(f"{name}.ipynb")
