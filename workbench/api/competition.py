"""The handle of a competition: `wb.competition("titanic")`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

from workbench.api import deprecated
from workbench.api.access import CompetitionAccess
from workbench.api.data import Data
from workbench.api.experiments import Experiments
from workbench.api.features import Features
from workbench.api.kernels import Kernels
from workbench.api.runs import RunOptions, Runs
from workbench.api.studies import Studies
from workbench.api.submissions import Submissions
from workbench.core.errors import WorkbenchError
from workbench.core.html_page import as_table
from workbench.data.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from workbench.experiments.run_folder import FinishedRun
    from workbench.models.folds import Folds
    from workbench.review.table import RunTable

__all__ = ["OpenCompetition"]


class OpenCompetition:
    """The handle of a competition, returned by `workbench.competition`; files are read when they are needed.

    Attributes
    ----------
    workspace : Workspace
    slug : str
    data : Data
        Definition, tables, rows, folds; checks.
    features : Features
        The features of `features.py`: names, frames, build times, cache; selection.
    experiments : Experiments
        The experiments' files by number; new experiments.
    runs : Runs
        Finished runs; running experiments.
    studies : Studies
        Tuning.
    submissions : Submissions
        Submissions; sending them.
    kernels : Kernels
        Runs packaged for code competitions.
    """

    def __init__(self, workspace: Workspace, slug: str) -> None:
        self.access = access = CompetitionAccess(workspace, slug)
        self.workspace, self.slug = workspace, slug
        self.data, self.features, self.experiments = Data(access), Features(access), Experiments(access)
        self.runs, self.studies = Runs(access), Studies(access)
        self.submissions, self.kernels = Submissions(access), Kernels(access)

    def __repr__(self) -> str:
        return f"competition({self.slug!r})"

    def _repr_html_(self) -> str:
        try:
            return self.data.summary_html()
        except WorkbenchError as exc:  # not fetched yet, or invalid: displaying it must not fail
            return as_table((), [("competition", self.slug), ("problem", exc.message)])

    if not TYPE_CHECKING:  # type checkers report names of earlier versions as errors

        def __getattr__(self, name: str) -> Any:
            return deprecated.attribute(self, name)

    # Shortcuts for the most frequent calls.

    @property
    def tables(self) -> dict[str, pl.LazyFrame]:
        """The tables by name, as lazy frames."""
        return self.data.tables

    @property
    def rows(self) -> pl.LazyFrame:
        """Train and test stacked, with the row key, without the target."""
        return self.data.rows

    @property
    def folds(self) -> Folds:
        """The fixed split of the train rows."""
        return self.data.folds

    def feature(self, name: str) -> pl.LazyFrame:
        """Return the row key and a feature's columns; see `Features.scan`."""
        return self.features.scan(name)

    def run(self, number: int, **options: Unpack[RunOptions]) -> FinishedRun:
        """Run an experiment, as ``wb run`` does, and return the finished run; for the options see `RunOptions`."""
        return self.runs.execute(number, **options).run

    def table(self, *, filters: Sequence[str] = (), sort: str = "exp") -> RunTable:
        """Return all runs with their change against their base and their submissions; see `Runs.table`."""
        return self.runs.table(filters=filters, sort=sort)
