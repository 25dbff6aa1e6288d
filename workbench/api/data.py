"""`wb.competition(…).data`: the definition, the tables, the rows and their folds, and the checks of `wb check`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.api.access import CompetitionAccess, Report, call_context
from workbench.api.pages import notebook_page
from workbench.core.context import RunContext, text_listener
from workbench.core.html_page import as_table

if TYPE_CHECKING:
    import polars as pl

    from workbench.analysis.checks import CheckReport, TimeCheck
    from workbench.core.events import Listener
    from workbench.data.competition.definition import Definition
    from workbench.metrics import Metric
    from workbench.models.folds import Folds

__all__ = ["Data"]


@dataclass(frozen=True)
class Data:
    """A competition's data, read when it is accessed."""

    access: CompetitionAccess

    @property
    def definition(self) -> Definition:
        """The content of `competition.toml`."""
        return self.access.competition.definition

    @property
    def metric(self) -> Metric:
        """The competition's metric."""
        return self.access.competition.metric

    @property
    def n_train(self) -> int:
        """The number of train rows."""
        return self.access.competition.n_train

    @property
    def n_test(self) -> int:
        """The number of test rows."""
        return self.access.competition.n_test

    @property
    def test_ids(self) -> pl.DataFrame:
        """The ids of the test rows, in the order of the table."""
        return self.access.competition.ids.test_frame()

    @property
    def tables(self) -> dict[str, pl.LazyFrame]:
        """The tables by name, as lazy frames."""
        competition = self.access.competition
        return {name: competition.table(name) for name in competition.manifest.tables}

    @property
    def rows(self) -> pl.LazyFrame:
        """Train and test stacked, with the row key, without the target."""
        return self.access.competition.rows.scan()

    @property
    def folds(self) -> Folds:
        """The fixed split of the train rows."""
        from workbench.models.folds import load_folds

        return load_folds(self.access.competition)

    def summary_html(self) -> str:
        """Return the definition and the tables in a few lines of HTML."""
        competition, definition = self.access.competition, self.definition
        facts = [
            ("task", definition.task),
            ("target", ", ".join(definition.targets)),
            ("metric", self.metric.name),
            ("folds", f"{definition.cv.folds}, {definition.cv.scheme}"),
            ("experiments", len(competition.paths.experiment_numbers())),
        ]
        tables = [(t.name, t.rows, len(t.dtypes)) for t in competition.manifest.tables.values()]
        return as_table((), facts, caption=competition.slug) + as_table(("table", "rows", "columns"), tables)

    def check(
        self,
        names: Sequence[str] = (),
        *,
        exp: int | None = None,
        sample: int | None = None,
        time: str | None = None,
        report: Report = lambda _: None,
    ) -> CheckReport:
        """Check the data for leaks, drift, duplicates and other problems, as ``wb check`` does.

        Parameters
        ----------
        names : sequence of str
            Features whose columns are checked; by default the columns that train and test share.
        exp : int, optional
            Checks the features of this experiment, too.
        sample : int, optional
            The maximal number of rows of train and of test that distributions and models use.
        time : str, optional
            The time column; by default that of a "time" scheme, else the first column of dates.
        report : callable, optional
            Called with the text of each step.
        """
        from workbench.analysis.checks import check_data

        self.access.require_rows("wb check")
        names = self.access.feature_names(names, exp)
        context = RunContext((text_listener(report),))
        return check_data(self.access.blocks(report), names, sample=sample, time=time, context=context)

    def check_page(self, report: CheckReport) -> Path:
        """Write the report that `check` returned as ``check.html`` in the competition's folder; return its path."""
        from workbench.analysis.checks.page import as_page
        from workbench.core.cache import write_text

        path = self.access.competition.folder / "check.html"
        write_text(path, as_page(report))
        return path

    def time_column(self, columns: Sequence[str]) -> str | None:
        """Return the column of the rows among the `columns` of `check_time`; None where all are of other tables.

        Raises
        ------
        ConfigError, NotFoundError
            For two columns of the rows or of one table, and for an unknown table.
        """
        from workbench.analysis.checks import time_columns

        return time_columns(self.access.competition, columns)[0]

    def check_time(
        self,
        names: Sequence[str] = (),
        *,
        exp: int | None = None,
        columns: Sequence[str] = (),
        allow: Sequence[str] = (),
        report: Report = lambda _: None,
    ) -> list[TimeCheck]:
        """Find features that use later rows, as ``wb check --time`` does; see `workbench.analysis.checks.check_time`.

        Parameters
        ----------
        names : sequence of str
            Features; by default all of `features.py`.
        exp : int, optional
            Checks the features of this experiment, too.
        columns : sequence of str
            The time column of the rows, and "table.column" for tables with another name for it.
        allow : sequence of str
            Features, or "feature.column", that may use later rows because their values are known in advance.
        report : callable, optional
            Called with the text of each step.
        """
        from workbench.analysis.checks import check_time

        self.access.require_rows("wb check --time")
        names = self.access.feature_names(names, exp)
        return check_time(self.access.blocks(report), names, columns=columns, allow=allow)

    def explore(
        self, *, source: Path | None = None, listen: Listener | None = None, report: Report | None = None
    ) -> Path:
        """Execute the notebook for exploring a competition, ``notebooks/eda.ipynb``, and return the page."""
        self.access.require_rows("wb report")
        return notebook_page(
            self.access, "eda", self.access.competition.folder, source, {}, call_context(listen, report=report)
        )
