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
    """A competition, opened. Made by `workbench.competition`; nothing is read before it is needed.

    Attributes
    ----------
    workspace : Workspace
    slug : str
    data : Data
        The definition, tables, rows, folds; checks.
    features : Features
        The features of `features.py`: their names, frames, cost and cache; selection.
    experiments : Experiments
        The experiments' files by number; the next one.
    runs : Runs
        What was run, and what is run.
    studies : Studies
        Tuning.
    submissions : Submissions
        What was sent, and what is sent.
    kernels : Kernels
        Runs packed for code competitions.
    """

    def __init__(self, place: Workspace, slug: str) -> None:
        self.access = access = CompetitionAccess(place, slug)
        self.workspace, self.slug = place, slug
        self.data, self.features, self.experiments = Data(access), Features(access), Experiments(access)
        self.runs, self.studies = Runs(access), Studies(access)
        self.submissions, self.kernels = Submissions(access), Kernels(access)

    def __repr__(self) -> str:
        return f"competition({self.slug!r})"

    def _repr_html_(self) -> str:
        try:
            return self.data.summary_html()
        except WorkbenchError as exc:  # without data yet, or wrong: to show it is no failure
            return as_table((), [("competition", self.slug), ("problem", exc.message)])

    if not TYPE_CHECKING:  # a type checker refuses the names of earlier versions

        def __getattr__(self, name: str) -> Any:
            return deprecated.attribute(self, name)

    # ------------------------------------------------------------------------------- what is used most, in a word less

    @property
    def tables(self) -> dict[str, pl.LazyFrame]:
        """The tables by name, lazily."""
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
        """Return a feature's frame, as `Features.scan` does: the row key and its columns."""
        return self.features.scan(name)

    def run(self, number: int, **options: Unpack[RunOptions]) -> FinishedRun:
        """Run an experiment as ``wb run`` does, and return the finished run; the options are those of `RunOptions`."""
        return self.runs.execute(number, **options).run

    def table(self, *, filters: Sequence[str] = (), sort: str = "exp") -> RunTable:
        """Return every run with its change against its base and its submissions, as `Runs.table` does."""
        return self.runs.table(filters=filters, sort=sort)
