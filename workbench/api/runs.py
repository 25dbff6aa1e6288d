"""`wb.competition(…).runs`: running experiments, and their runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from workbench.api.access import CompetitionAccess, Report, call_context
from workbench.api.pages import notebook_page
from workbench.data.workspace import experiment_numbers, list_run_folders

if TYPE_CHECKING:
    import polars as pl

    from workbench.core.events import Listener, ModelTrained
    from workbench.experiments.run import RunOutcome
    from workbench.experiments.run_folder import FinishedRun
    from workbench.ledger import Ledger, RunRecord
    from workbench.review.table import Row, RunTable

__all__ = ["RunOptions", "Runs"]


class RunOptions(TypedDict, total=False):
    """The options of a run.

    Attributes
    ----------
    sample : float, optional
        A share of the train rows, for a subsample run that predicts no test rows and can't be submitted.
    force : bool
        Run again even if nothing changed.
    threads : int, optional
        None for all available cores.
    storage : str, optional
        The URL of a database for the study of ``[tune]``; by default it is a journal in the competition's folder.
    listen : callable
        Called with each event; see `workbench.core.events`.
    report, done : callable
        Called with the text of each step; with each trained model and the number of models still to be trained.
    """

    sample: float | None
    force: bool
    threads: int | None
    storage: str | None
    listen: Listener
    report: Report
    done: Callable[[ModelTrained, int], None]


@dataclass(frozen=True)
class Runs:
    """The runs of a competition's experiments; ``runs[12]`` is the current finished run of experiment 12."""

    access: CompetitionAccess

    def execute(self, number: int, **options: Unpack[RunOptions]) -> RunOutcome:
        """Run an experiment, as ``wb run`` does; of a grid, return the outcome with the best CV.

        Parameters
        ----------
        number : int
        **options
            See `RunOptions`.

        Raises
        ------
        WorkbenchError
            See `workbench.experiments.run`.
        """
        outcomes = self.execute_all(number, **options)
        pick_best = max if self.access.competition.metric.greater_is_better else min
        return pick_best(outcomes, key=lambda o: o.run.record.cv_mean or 0.0)

    def execute_all(self, number: int, **options: Unpack[RunOptions]) -> list[RunOutcome]:
        """Run an experiment; return its outcome, or one for each combination of a notebook's grid."""
        from workbench.experiments.runner import RunRequest
        from workbench.experiments.sweep import run_all

        request = RunRequest(options.get("sample"), force=options.get("force", False), storage=options.get("storage"))
        context = call_context(
            options.get("listen"),
            threads=options.get("threads"),
            report=options.get("report"),
            done=options.get("done"),
        )
        return run_all(self.access.workspace, self.access.competition, number, request, context)

    def __getitem__(self, number: int) -> FinishedRun:
        return self.finished(number)

    __iter__ = None  # without it, iteration would index 0, 1, 2, …, and experiments may have gaps

    def finished(self, number: int) -> FinishedRun:
        """Return the current finished run of an experiment, after checking its files; nothing is run.

        See `workbench.experiments.current_runs`.

        Raises
        ------
        NotFoundError
            When the experiment has no finished run.
        DamagedError
            When a file is missing or has changed.
        """
        from workbench.experiments.current_runs import current_run
        from workbench.experiments.run_folder import check_files, read_run
        from workbench.ledger import Ledger

        workspace, slug = self.access.workspace, self.access.slug
        with Ledger.open(workspace.ledger) as ledger:
            record = current_run(workspace, slug, number, self._records(ledger)).record
        folder = workspace.root / record.folder
        return check_files(folder, *read_run(folder))

    def _records(self, ledger: Ledger) -> list[RunRecord]:
        """Return the competition's runs, after adding runs that are only in the run folders to the ledger."""
        workspace, slug = self.access.workspace, self.access.slug
        runs = ledger.runs(slug)
        ledger_ids, folders = {r.run_id for r in runs}, list_run_folders(workspace.competitions / slug / "runs")
        if all(r.status != "running" for r in runs) and ledger_ids.issuperset(f.name for f in folders):
            return runs
        from workbench.experiments.reconcile import reconcile

        reconcile(workspace, ledger, slug)
        return ledger.runs(slug)

    def table(self, *, filters: Sequence[str] = (), sort: str = "exp") -> RunTable:
        """Return all runs with their change against their base and their submissions; see `workbench.review.table`."""
        from workbench.experiments.current_runs import current_runs, with_marks
        from workbench.ledger import Ledger
        from workbench.review.table import from_elsewhere, select, summarise

        workspace, slug = self.access.workspace, self.access.slug
        with Ledger.open(workspace.ledger) as ledger:
            runs = self._records(ledger)
            submissions = ledger.submissions(slug)
        current = current_runs(workspace, slug, runs)
        rows = summarise(with_marks(workspace, runs), submissions, current, self.fold_size_ratios())
        # Only if there are any, since the metric is in the definition, which most calls need not read.
        submissions_without_run = [s for s in submissions if not s.run_id]
        if submissions_without_run:
            metric = self.access.competition.metric
            greater_is_better = metric.greater_is_better
            rows += [
                from_elsewhere(s, metric.name, greater_is_better=greater_is_better) for s in submissions_without_run
            ]
        return select(rows, filters=filters, sort=sort)

    def row(self, number: int) -> Row:
        """Return the row of an experiment's current run in the table.

        Raises
        ------
        NotFoundError
            When it was never run.
        """
        from workbench.experiments.current_runs import never_run

        rows = self.table()
        row = next((r for r in rows if r.run.exp == number and r.latest and r.run.folder), None)
        if row is None:
            raise never_run(self.access.workspace, self.access.slug, number, (r.run.exp for r in rows))
        return row

    def frame(self) -> pl.DataFrame:
        """Return a polars frame with a row for each run and the keys of ``wb table --json`` as columns."""
        return self.table().frame()

    def fold_size_ratios(self) -> dict[str, float]:
        """Return the mean over the folds of validated rows / train rows, by the key of each saved split."""
        from workbench.models.fold_sizes import read_size_ratios

        folder = self.access.folder / "data" / "folds"
        ratios, splits_without_ratio = read_size_ratios(folder)
        if not splits_without_ratio:
            return ratios
        from workbench.models.folds import size_ratios

        return size_ratios(folder)

    def waiting(self, rows: Sequence[Row]) -> list[int]:
        """Return the experiments that have a file but no run among the rows of a `table`."""
        numbers_with_runs = {row.run.exp for row in rows}
        return [n for n in experiment_numbers(self.access.folder) if n not in numbers_with_runs]

    def report(
        self,
        number: int,
        *,
        source: Path | None = None,
        listen: Listener | None = None,
        report: Report | None = None,
    ) -> Path:
        """Execute the report notebook on the current finished run of an experiment, and return the path of its page.

        Parameters
        ----------
        number : int
        source : Path, optional
            The notebook; by default ``notebooks/report.ipynb`` of the workspace, or the package's own.

        Raises
        ------
        NotFoundError
            When the experiment has no finished run.
        NotebookError
            When a cell of the notebook fails.
        """
        from workbench.experiments.capabilities import check_can

        run = self[number]
        record = run.record
        check_can("report", record.kind, f"run {record.run_id} is of [{record.kind}]", exp=number)
        return notebook_page(
            self.access, "report", run.folder, source, {"exp": number}, call_context(listen, report=report)
        )
