"""What a notebook sees: every command of `wb` as a function, with the same words.

Heavy modules are imported by the function that needs them: listing runs must not load LightGBM.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.core.errors import ConfigError, NotFoundError
from workbench.core.memory import parse_bytes
from workbench.data.workspace import (
    Workspace,
    create_workspace,
    experiment_numbers,
    find_workspace,
    list_run_folders,
)

if TYPE_CHECKING:
    import polars as pl
    from optuna import Study

    from workbench.analysis.checks import Report as CheckReport
    from workbench.analysis.checks import TimeCheck
    from workbench.analysis.selection import Selection
    from workbench.data.competition import Competition
    from workbench.data.ingest import Approval, Fetched
    from workbench.experiments.run import RunOutcome
    from workbench.experiments.run_folder import FinishedRun
    from workbench.experiments.spec import ExperimentSpec
    from workbench.experiments.tune import TuneOutcome
    from workbench.features import Blocks, CachedBlock, FeatureSummary
    from workbench.kernels import BuiltKernel, Machine, Pushed, Rehearsed
    from workbench.ledger import Ledger, RunRecord, SubmissionRecord
    from workbench.models.folds import Folds
    from workbench.rehearsal import LogSpec, RehearsalSpec
    from workbench.review.table import Row
    from workbench.submissions import Agree, Prepared
    from workbench.tuning import Progress

__all__ = [
    "OpenCompetition",
    "choose_slug",
    "competition",
    "doctor",
    "fetch",
    "init",
    "rebuild_ledger",
    "rehearse",
    "workspace",
]

Report = Callable[[str], None]


def workspace(start: str | Path | None = None) -> Workspace:
    """Return the workspace that a folder is in; WB_WORKSPACE, WB_LEDGER_URL and WB_CACHE_LIMIT are read here.

    Parameters
    ----------
    start : path, optional
        By default the one that WB_WORKSPACE names, else the folder that one stands in.

    Raises
    ------
    ConfigError
        Where there is none, or the one that one stands in is another user's.
    """
    environment = os.environ
    cache = environment.get("WB_CACHE_LIMIT")
    return find_workspace(
        Path("." if start is None else start),
        named=environment.get("WB_WORKSPACE") if start is None else None,
        is_trusted=start is not None,
        ledger_url=environment.get("WB_LEDGER_URL") or None,
        cache_limit=parse_bytes(cache, where="WB_CACHE_LIMIT") if cache else None,
    )


def init(folder: str | Path) -> Workspace:
    """Make an empty workspace; what is already there stays. The same as ``wb init``."""
    return create_workspace(Path(folder))


def rehearse(
    slug: str,
    spec: RehearsalSpec | LogSpec,
    *,
    force: bool = False,
    where: Workspace | None = None,
    report: Report = lambda _: None,
) -> Path:
    """Host a competition in the workspace, from data of one's own. The same as ``wb rehearse``.

    Parameters
    ----------
    slug : str
    spec : RehearsalSpec or LogSpec
    force : bool
        Replace a rehearsal that is there.
    where : Workspace, optional
    report : callable
        Called with what was guessed of how the file is written.

    Returns
    -------
    Path
        The rehearsal's folder.
    """
    from workbench.platforms.protocol import competition_slug
    from workbench.rehearsal import create

    if "/" in slug:
        slug = competition_slug(slug)
    return create((where or workspace()).root, slug, spec, force=force, report=report)


def fetch(  # noqa: PLR0913 what the command may be asked
    slug: str,
    *,
    platform: str | None = None,
    only: Sequence[str] = (),
    force: bool = False,
    approval: Approval | None = None,
    memory_limit: int | None = None,
    where: Workspace | None = None,
    report: Report = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
    total: Callable[[int | None], None] = lambda _: None,
) -> Fetched:
    """Bring a competition's data, and a definition and a baseline where there are none. The same as ``wb fetch``.

    Parameters
    ----------
    platform : str, optional
        The platform's name; None for the one in the definition, else the rehearsal of that name, else Kaggle.
    only : sequence of str
        Only these files.
    approval : Approval, optional
        What may be downloaded without asking, and who is asked for more; by default 10 GB, and nobody:
        ``Approval(given=True)`` of `workbench.data.ingest` downloads whatever there is.
    memory_limit : int, optional
        The bytes of memory that converting may take: with less than 1 GB, less of a file is read at a time.
    """
    from workbench.data.ingest import Approval
    from workbench.data.ingest import fetch as bring
    from workbench.platforms.protocol import competition_slug, connect

    place, slug = where or workspace(), competition_slug(slug)
    return bring(
        replace(place, memory_limit=memory_limit) if memory_limit else place,
        slug,
        connect(platform or _platform_of(place, slug), place.root),
        only=only,
        force=force,
        approval=approval or Approval(),
        report=report,
        progress=progress,
        total=total,
    )


def _platform_of(place: Workspace, slug: str) -> str:
    from workbench.data.competition import load_competition

    if (place.competitions / slug / "competition.toml").exists():
        return load_competition(place, slug).definition.platform
    return "rehearsal" if (place.competitions / slug / "rehearsal").exists() else "kaggle"


def competition(
    slug: str | None = None, *, where: Workspace | None = None, memory_limit: int | None = None
) -> OpenCompetition:
    """Open a competition of the workspace.

    Parameters
    ----------
    slug : str, optional
        Its name, or how that begins where no other's begins so. None for ``WB_COMPETITION``, the one whose folder one
        stands in, or the only one there is.
    memory_limit : int, optional
        The bytes of memory that building features may use; 60% of the machine's by default.

    Raises
    ------
    NotFoundError, ConfigError
        Where there is none of that name, or its definition is wrong.
    """
    place = where or workspace()
    bounded = replace(place, memory_limit=memory_limit) if memory_limit else place
    return OpenCompetition(bounded, choose_slug(place, slug))


def choose_slug(place: Workspace, slug: str | None = None) -> str:
    """Return the whole name of the competition that `competition` opens.

    Raises
    ------
    NotFoundError, ConfigError
        Where none is named, none is called so, or several begin so.
    """
    inside = Path.cwd().resolve()
    name = slug or (None if _stands_in(place, inside) else os.environ.get("WB_COMPETITION"))
    return place.choose(name, inside=inside)


def _stands_in(place: Workspace, folder: Path) -> bool:
    return folder != place.competitions and folder.is_relative_to(place.competitions)


class OpenCompetition:
    """A competition, opened: its tables, rows, folds, features, experiments and runs.

    Made by `competition`. Nothing is read before it is asked for.
    """

    def __init__(self, place: Workspace, slug: str) -> None:
        place.competition_folder(slug)
        self.workspace = place
        self.slug = slug
        self._competition: Competition | None = None

    def __repr__(self) -> str:
        return f"competition({self.slug!r})"

    @property
    def definition(self) -> Competition:
        """The frozen definition with its folder and paths."""
        from workbench.data.competition import load_competition

        if self._competition is None:
            self._competition = load_competition(self.workspace, self.slug)
        return self._competition

    # ------------------------------------------------------------------------------------------------------- data

    @property
    def tables(self) -> dict[str, pl.LazyFrame]:
        """The tables by name, lazily."""
        return {name: self.definition.table(name) for name in self.definition.manifest.tables}

    @property
    def rows(self) -> pl.LazyFrame:
        """Train and test stacked, with the row key, without the target."""
        return self.definition.rows()

    @property
    def folds(self) -> Folds:
        """The fixed split of the train rows."""
        from workbench.models.folds import load_folds

        return load_folds(self.definition)

    @property
    def features(self) -> list[str]:
        """The names of the features in the competition's `features.py`."""
        from workbench.features import load_features

        return list(load_features(self.definition))

    def _need_rows(self, what: str) -> None:
        """Refuse what looks at rows where the competition has a log.

        Raises
        ------
        ConfigError
            When its task is recommend.
        """
        if self.definition.definition.interactions is not None:
            raise ConfigError(
                f"{what} looks at rows of train and test, and competition {self.slug!r} has a log",
                hint="its experiments are [recommend]; `wb show N` has what each source finds",
            )

    def feature(self, name: str) -> pl.LazyFrame:
        """Return a feature's block, built if it is not in the cache: the row key and its columns.

        Raises
        ------
        NotFoundError, FeatureError
            For an unknown feature, or one that breaks its contract.
        """
        self._need_rows("a feature")
        return self._blocks().lines(name)

    def feature_list(
        self,
        names: Sequence[str] = (),
        *,
        exp: int | None = None,
        build: bool = False,
        report: Report = lambda _: None,
    ) -> list[FeatureSummary]:
        """Return what each feature reads and gives, what it cost, whether it is cached; with `build`, build it first.

        Parameters
        ----------
        names : sequence of str
            Only these; all by default. What is built in is built only where it is named.
        exp : int, optional
            Also those of an experiment.

        Raises
        ------
        NotFoundError, FeatureError
            For an unknown name or input, features that read each other in a circle, one that breaks its contract.
        """
        from workbench.features import summarise_features

        self._need_rows("wb features")
        if exp is not None:
            # Of "weather.rain" the feature is listed; the columns of rows are no feature.
            named = [name.partition(".")[0] for name in self._of_experiment(names, exp)]
            names = [name for name in dict.fromkeys(named) if name != "rows"]
            if not names:
                return []
        blocks = self._blocks(report)
        summaries = summarise_features(blocks, names)
        if build:
            blocks.build(s.name for s in summaries if s.kind == "feature" and (names or s.where))
            summaries = summarise_features(blocks, names)
        return summaries

    def feature_graph(self) -> tuple[str, Path]:
        """Return what reads what as mermaid's text, and draw it in ``features.svg`` of the competition's folder."""
        from workbench.core.cache import write_text
        from workbench.features import as_mermaid, as_svg

        own = [s for s in self.feature_list() if s.where]
        path = self.definition.folder / "features.svg"
        write_text(path, as_svg(own))
        return as_mermaid(own), path

    def cache(self) -> list[CachedBlock]:
        """Return the feature blocks on disk, the most recently used first."""
        from workbench.features import cached_blocks

        return cached_blocks(self._blocks())

    @property
    def cache_limit(self) -> int:
        """The bytes that the cache may hold."""
        return self._blocks().store.max_bytes

    def prune_cache(self, limit: int | None = None) -> list[CachedBlock]:
        """Remove blocks that no feature uses as it now stands, then the least recently used until `limit` holds.

        A block that a training is reading stays.

        Returns
        -------
        list of CachedBlock
            What was removed.
        """
        from workbench.features import cached_blocks

        blocks = self._blocks()
        removed, total = [], 0
        for block in cached_blocks(blocks):
            total += block.size_bytes
            unwanted = not block.current or (limit is not None and total > limit)
            if unwanted and blocks.store.remove(block.key):
                total -= block.size_bytes
                removed.append(block)
        return removed

    # ------------------------------------------------------------------------------------------------------- checks

    def check(
        self,
        names: Sequence[str] = (),
        *,
        exp: int | None = None,
        sample: int | None = None,
        time: str | None = None,
        report: Report = lambda _: None,
    ) -> CheckReport:
        """Look at the data for what costs weeks when it is found late. The same as ``wb check``.

        Parameters
        ----------
        names : sequence of str
            Features whose columns are looked at; by default the columns that train and test share.
        exp : int, optional
            Also those of an experiment.
        sample : int, optional
            Distributions and models are of at most so many rows of train and of test.
        time : str, optional
            The column that tells the time; by default that of a "time" scheme, else the first date.
        """
        from workbench.analysis.checks import check_data

        self._need_rows("wb check")
        return check_data(
            self._blocks(report), self._of_experiment(names, exp), sample=sample, time=time, report=report
        )

    def check_page(self, report: CheckReport) -> Path:
        """Write the page of what `check` found, ``check.html`` in the competition's folder, and return its path."""
        from workbench.analysis.checks.page import as_page
        from workbench.core.cache import write_text

        path = self.definition.folder / "check.html"
        write_text(path, as_page(report))
        return path

    def check_time(
        self,
        names: Sequence[str] = (),
        *,
        exp: int | None = None,
        columns: Sequence[str] = (),
        allow: Sequence[str] = (),
        report: Report = lambda _: None,
    ) -> list[TimeCheck]:
        """Find features that read the future, as ``wb check --time`` does; see `workbench.analysis.checks.check_time`.

        Parameters
        ----------
        names : sequence of str
            Features; by default all of `features.py`.
        exp : int, optional
            Also those of an experiment.
        columns : sequence of str
            The time column of rows, and "table.column" of tables that call it otherwise.
        allow : sequence of str
            What may read the future, as it is known in advance: features, or "feature.column".
        """
        from workbench.analysis.checks import check_time

        self._need_rows("wb check --time")
        return check_time(self._blocks(report), self._of_experiment(names, exp), columns=columns, allow=allow)

    def _of_experiment(self, names: Sequence[str], exp: int | None) -> list[str]:
        from workbench.experiments.spec import read_spec

        return [*names, *(read_spec(self.definition, exp).features if exp is not None else ())]

    def _blocks(self, report: Report = lambda _: None) -> Blocks:
        from workbench.features import Blocks, load_features

        return Blocks(self.definition, load_features(self.definition), report, self.workspace.memory_limit)

    # -------------------------------------------------------------------------------------------------------- runs

    @property
    def experiments(self) -> dict[int, ExperimentSpec]:
        """The experiments that have a file, by number."""
        from workbench.experiments.spec import read_spec

        return {n: read_spec(self.definition, n) for n in self.definition.experiment_numbers()}

    def run(self, number: int, **options: Any) -> FinishedRun:
        """Run an experiment as ``wb run`` does, and return the finished run.

        Parameters
        ----------
        number : int
        **options
            `sample`, `force`, `threads`, `storage`, `report`, `done`: see `workbench.experiments.run`.
        """
        return self.run_outcome(number, **options).run

    def run_outcome(self, number: int, **options: Any) -> RunOutcome:
        """Run an experiment, and say also whether it was done already or went on from a killed run.

        Of a grid it is the best one.
        """
        outcomes = self.run_outcomes(number, **options)
        better = max if self.definition.metric.greater_is_better else min
        return better(outcomes, key=lambda o: o.run.record.cv_mean or 0.0)

    def run_outcomes(self, number: int, **options: Any) -> list[RunOutcome]:
        """Run an experiment; a notebook with a grid once for each combination."""
        from workbench.experiments.sweep import run_all

        return run_all(self.workspace, self.definition, number, **options)

    def report(self, number: int, *, source: Path | None = None, report: Report = lambda _: None) -> Path:
        """Execute the report's notebook on the newest finished run of an experiment, and return its page.

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
        result = self.result(number)
        if result.record.kind == "recommend":
            raise ConfigError(
                f"run {result.record.run_id} is of [recommend]: it has lists, and the report is of predictions",
                hint=f"`wb show {number}` has its scores, what each source finds, and what the stages took",
            )
        folder = result.folder
        return self._shown("report", folder, source, {"exp": number}, report)

    def explore(self, *, source: Path | None = None, report: Report = lambda _: None) -> Path:
        """Execute the notebook for a fresh competition, ``notebooks/eda.ipynb``, and return its page."""
        self._need_rows("wb report")
        return self._shown("eda", self.definition.folder, source, {}, report)

    def _shown(self, name: str, folder: Path, source: Path | None, parameters: dict[str, Any], report: Report) -> Path:
        from workbench.core.cache import lock
        from workbench.experiments.notebooks import Told, execute, read_notebook, tell
        from workbench.review.report import own_notebook

        usual = self.workspace.root / "notebooks" / f"{name}.ipynb"
        path = source or (usual if usual.exists() else own_notebook(name))
        with (
            lock(folder / f".{name}.lock", f"making {folder / name}.html"),
            tell(Told.of(self.workspace, self.slug)) as environment,
        ):
            done = execute(
                read_notebook(path),
                parameters,
                copy=folder / f"{name}.ipynb",
                folder=self.definition.folder,
                environment=environment,
                with_code=False,
                report=report,
            )
        return done.copy.with_suffix(".html")

    def tune(
        self,
        number: int,
        *,
        minutes: float | None = None,
        trials: int | None = None,
        report: Report = lambda _: None,
        say: Report | None = None,
        progress: Callable[[Progress], None] = lambda _: None,
        **options: Any,
    ) -> TuneOutcome:
        """Search for better parameters of an experiment, as ``wb tune`` does, going on where it was left.

        Parameters
        ----------
        number : int
        minutes : float, optional
            It ends when they are over.
        trials : int, optional
            It ends after so many trials and full scores of the best.
        **options
            `storage`, `keep`, `seed`, `threads`, `started_at`: see `workbench.experiments.tune.TuneRequest`.

        Raises
        ------
        ConfigError
            When neither a time nor a number is given, or the space contradicts itself.
        """
        from workbench.experiments.tune import TuneRequest, tune

        request = TuneRequest(minutes, trials, **options)
        return tune(self.workspace, self.definition, number, request, report=report, say=say, progress=progress)

    def study(self, number: int, *, storage: str | None = None) -> Study:
        """Return the Optuna study of an experiment.

        Raises
        ------
        NotFoundError
            When there is none.
        """
        from workbench.experiments.tune import find_study

        study: Study = find_study(self.definition, number, storage=storage)[0]
        return study

    def select(
        self,
        number: int,
        method: str = "permutation",
        *,
        report: Report = lambda _: None,
        progress: Callable[[int, int, str], None] = lambda _done, _total, _text: None,
        **options: Any,
    ) -> Selection:
        """Find the columns of an experiment that are worth keeping, as ``wb select`` does, and write their list.

        Parameters
        ----------
        number : int
        method : str
            "gain", "permutation", "null" or "rfe".
        **options
            `name`, `force`, `sample`, `threads`: see `workbench.analysis.selection.Request`; the method's own: see
            `workbench.analysis.selection.Options`.

        Raises
        ------
        ConfigError, FeatureError
            For an unknown method or option, another list of that name, or where no column is left.
        """
        from workbench.analysis.selection import Request, options_of, select

        names = ("name", "force", "sample", "threads")
        request = Request(**{n: options.pop(n) for n in names if n in options})
        chosen = options_of(method, options)
        return select(
            self.workspace, self.definition, number, chosen, request=request, report=report, progress=progress
        )

    def result(self, number: int) -> FinishedRun:
        """Return the finished run that stands for an experiment, checked, without running anything.

        It is the one that belongs to the experiment's present definition; see `workbench.experiments.current_runs`.

        Raises
        ------
        NotFoundError
            When it was never run, or not to the end.
        DamagedError
            When its files are not those that were written.
        """
        from workbench.experiments.current_runs import current_run
        from workbench.experiments.run_folder import check_files, read_run
        from workbench.ledger import Ledger

        with Ledger.open(self.workspace.ledger) as ledger:
            record = current_run(self.workspace, self.slug, number, self._runs(ledger)).record
        folder = self.workspace.root / record.folder
        return check_files(folder, *read_run(folder))

    def _runs(self, ledger: Ledger) -> list[RunRecord]:
        """Return the competition's runs as their folders have them: the ledger catches up where it has missed some."""
        runs = ledger.runs(self.slug)
        known, folders = {r.run_id for r in runs}, list_run_folders(self.workspace.competitions / self.slug / "runs")
        if all(r.status != "running" for r in runs) and known.issuperset(f.name for f in folders):
            return runs
        from workbench.experiments.reconcile import reconcile

        reconcile(self.workspace, ledger, self.slug)
        return ledger.runs(self.slug)

    def table(self, *, filters: Sequence[str] = (), sort: str = "exp") -> list[Row]:
        """Return every run with its change against its base and its submissions; see `workbench.review.table`."""
        from workbench.experiments.current_runs import current_runs, with_marks
        from workbench.ledger import Ledger
        from workbench.review.table import from_elsewhere, select, summarise

        with Ledger.open(self.workspace.ledger) as ledger:
            runs = self._runs(ledger)
            submissions = ledger.submissions(self.slug)
        current = current_runs(self.workspace, self.slug, runs)
        rows = summarise(with_marks(self.workspace, runs), submissions, current, self.fold_size_ratios())
        # Only where there are any: the metric's direction needs the definition, which most calls don't read.
        elsewhere = [s for s in submissions if not s.run_id]
        if elsewhere:
            metric = self.definition.metric
            better = metric.greater_is_better
            rows += [from_elsewhere(s, metric.name, greater_is_better=better) for s in elsewhere]
        return select(rows, filters=filters, sort=sort)

    def fold_size_ratios(self) -> dict[str, float]:
        """Return validated rows over train rows, the mean over the folds, by the key of each split that was used."""
        from workbench.models.fold_sizes import read_size_ratios

        folder = self.workspace.competition_folder(self.slug) / "data" / "folds"
        ratios, missing = read_size_ratios(folder)
        if not missing:
            return ratios
        from workbench.models.folds import size_ratios

        return size_ratios(folder)

    def not_run(self, rows: Sequence[Row]) -> list[int]:
        """Return the experiments that have a file and none of the runs in `rows`, which `table` gave."""
        numbers = experiment_numbers(self.workspace.competition_folder(self.slug))
        have = {row.run.exp for row in rows}
        return [n for n in numbers if n not in have]

    def new(
        self,
        *,
        source: int | None = None,
        title: str = "",
        tuned: bool = False,
        report: Report = lambda _: None,
    ) -> Path:
        """Write the next experiment's file, based on `source` (None: the newest), and return its path.

        Where the competition has no `features.py`, one with two examples is written, too. The number is one more than
        the largest that was ever used: see `workbench.data.competition.next_number`.

        Parameters
        ----------
        tuned : bool
            With the parameters that tuning `source` has found.
        report : callable
            Told where it found nothing better.

        Raises
        ------
        NotFoundError
            When it has not been tuned.
        LedgerError
            When the ledger can't be read: without it the number is not known.
        """
        from workbench.data.competition import create_experiment, in_toml
        from workbench.data.inference import write_starter
        from workbench.experiments.spec import read_spec
        from workbench.experiments.tune import as_toml_lines, best_parameters

        numbers = self.definition.experiment_numbers()
        base = source if source is not None else (numbers[-1] if numbers else None)
        quoted = in_toml(title)
        if base is None and tuned:
            raise NotFoundError(
                f"{self.slug!r} has no experiment whose tuned parameters could be taken",
                hint="`wb new` writes the first one, `wb tune N` searches its parameters",
            )
        if base is None:
            text = f'title = {quoted}\nfeatures = ["auto"]\n\n[model]\nlearning_rate = 0.05\n'
            if self.definition.definition.interactions is not None:
                text = f"title = {quoted}\n\n[recommend]\n[recommend.history]\n"
        else:
            spec = read_spec(self.definition, base)
            listed = "[" + ", ".join(f'"{f}"' for f in spec.features) + "]"
            features = f'"{spec.selection}"' if spec.selection else listed
            text = f"title = {quoted}\nbase = {base}\n"
            text += "" if spec.kind == "recommend" else f"features = {features}\n"
            found = best_parameters(self.workspace, self.definition, base) if tuned else {}
            if tuned and not as_toml_lines(found, without=spec.model):
                said = f"tuning found nothing better than experiment {base}'s own parameters: this has the same"
                text += f"# {said}\n"
                report(f"{said}; `wb tune {base} --minutes 30` searches on")
            # What was found needs no search again.
            text += "tune = false\n" if tuned and spec.tune is not None else ""
            text += f"\n[{spec.kind}]\n{as_toml_lines(found, without=spec.model)}"
        path = create_experiment(self.workspace, self.slug, text)[1]
        write_starter(self.definition)
        return path

    def new_notebook(self, source: int, *, title: str = "") -> tuple[Path, Path]:
        """Write an experiment out as a notebook, and the next experiment's file, which runs it; return both paths.

        Raises
        ------
        ConfigError
            When it is a notebook already, or has several targets.
        """
        from workbench.experiments.compose import compose
        from workbench.experiments.notebooks import as_text

        definition = self.definition

        def text(number: int) -> str:
            return as_text(compose(definition, source, number))

        return self._with_notebook(text, ".ipynb", title or f"{source} as a notebook", f"base = {source}\n")

    def _with_notebook(
        self, text: Callable[[int], str], suffix: str, title: str, head: str = "", more: str = ""
    ) -> tuple[Path, Path]:
        """Write a notebook, and the next experiment's file, which runs it: `head` above its table, `more` in it.

        `text` gives the notebook's for its number.
        """
        from workbench.data.competition import create_notebook, in_toml
        from workbench.data.inference import write_starter

        quoted = in_toml(title)
        paths = create_notebook(
            self.workspace,
            self.slug,
            text,
            suffix,
            lambda path: f"title = {quoted}\n{head}\n[notebook]\nfile = {in_toml(path.name)}\n{more}",
        )
        write_starter(self.definition)
        return paths

    @property
    def input_folder(self) -> Path:
        """The folder that is ``/kaggle/input`` to adopted notebooks; data beside the competition's are put there."""
        from workbench.experiments.kaggle_inputs import INPUT

        return self.workspace.competition_folder(self.slug).joinpath(*INPUT)

    def adopt(
        self, path: Path, *, title: str = "", submission: str = "submission.csv", network: bool = False
    ) -> tuple[Path, Path, list[str]]:
        """Take a notebook that was written for Kaggle, and make it the next experiment.

        It will see its data and no more of this machine: no logins, an empty home, no network.

        Parameters
        ----------
        path : Path
            As it was downloaded; it is copied to the workspace's notebooks.
        submission : str
            The file that it leaves.
        network : bool
            Whether it has the network all the same.

        Returns
        -------
        notebook, experiment : Path
        inputs : list of str
            Other data of Kaggle's that it reads, and that are not here: "datasets/OWNER/SLUG". In the competition's
            ``data/input``, under that name, it finds them.
        """
        from workbench.data.competition import in_toml
        from workbench.experiments.kaggle_inputs import not_here
        from workbench.experiments.notebooks import read_notebook

        found = read_notebook(path)
        text, more = path.read_text(encoding="utf-8"), f"submission = {in_toml(submission)}\n"
        more += "network = true\n" if network else ""
        notebook, experiment = self._with_notebook(lambda _: text, path.suffix, title or path.stem, more=more)
        return notebook, experiment, not_here(self.workspace.competition_folder(self.slug), found)

    # ------------------------------------------------------------------------------------------------------ kernels

    def build_kernel(
        self,
        number: int,
        *,
        python: str | None = None,
        wheels: Path | None = None,
        report: Report = lambda _: None,
    ) -> BuiltKernel:
        """Pack the newest finished run of an experiment for a kernel without network.

        Parameters
        ----------
        python : str, optional
            The kernel's, as "3.12"; None for Kaggle's.
        wheels : Path, optional
            A folder of wheels to take instead of downloading them.
        """
        from workbench.kernels import KERNEL_PYTHON, build, check_no_server

        check_no_server(self.definition)
        run = self.result(number)
        return build(self.definition, run, python=python or KERNEL_PYTHON, wheels=wheels, report=report)

    def rehearse_kernel(
        self,
        number: int,
        built: BuiltKernel,
        *,
        minutes: float | None = None,
        image: Path | None = None,
        report: Report = lambda _: None,
    ) -> Rehearsed:
        """Run a built kernel as Kaggle would, and compare what it writes with the run's own submission.

        Parameters
        ----------
        minutes : float, optional
            How long it may take.
        image : Path, optional
            A folder with packages in the versions of Kaggle's image, which the session has imported when it begins.
        """
        from workbench.kernels import rehearse

        return rehearse(
            self.definition,
            self.result(number),
            built,
            memory=self.workspace.memory_limit,
            seconds=None if minutes is None else 60 * minutes,
            image=image,
            report=report,
        )

    def push_kernel(
        self, built: BuiltKernel, machine: Machine | None = None, *, report: Report = lambda _: None
    ) -> Pushed:
        """Upload what changed of a built kernel, run it on the platform, and fetch what it wrote."""
        from workbench.kernels import push

        return push(self.definition, built, self._platform(), machine, report=report)

    def prepare_kernel(self, number: int) -> Prepared:
        """Return what `send` would submit of an experiment's pushed kernel, and everything that speaks against it.

        Raises
        ------
        NotFoundError
            When no version of it was pushed and came to its end.
        ConfigError
            When the competition has an evaluation server, or the platform has no kernels.
        """
        from workbench.kernels import check_no_server, pushed
        from workbench.ledger import Ledger
        from workbench.submissions import Written, prepare

        check_no_server(self.definition)
        platform = self._platform()
        if platform.code is None:
            raise ConfigError(f"the platform {platform.name!r} has no kernels", hint=f"`wb submit {number}`")
        found, newer = pushed(self.definition.folder / "kernels" / f"{number:03d}", platform.code.owner)
        with Ledger.open(self.workspace.ledger) as ledger:
            return prepare(
                self.workspace,
                self.definition,
                number,
                platform,
                ledger,
                run_id=found.run_id,
                kernel=Written(found.version, found.submission, newer),
            )

    # -------------------------------------------------------------------------------------------------- submissions

    def prepare(self, number: int, *, run_id: str = "") -> Prepared:
        """Return what would be sent, and everything that speaks against it; nothing is changed."""
        from workbench.ledger import Ledger
        from workbench.submissions import prepare

        with Ledger.open(self.workspace.ledger) as ledger:
            return prepare(self.workspace, self.definition, number, self._platform(), ledger, run_id=run_id)

    def send(
        self,
        prepared: Prepared,
        *,
        message: str = "",
        again: bool = False,
        agree: Agree | None = None,
        report: Callable[[str], None] = lambda _: None,
    ) -> SubmissionRecord:
        """Send what `prepare` returned, once; its warnings count as answered, but for an earlier sending in doubt.

        Parameters
        ----------
        again : bool
            Send it though an earlier sending of it may have arrived.
        agree : callable, optional
            Asked about warnings that came up since; by default they stop it.

        Raises
        ------
        SubmissionError
            When there are errors among the findings, or warnings that came up since and that nobody has agreed to.
        PlatformError
            When the platform refuses.
        """
        from workbench.ledger import Ledger
        from workbench.submissions import send

        with Ledger.open(self.workspace.ledger) as ledger:
            return send(
                self.workspace,
                self.definition,
                prepared,
                self._platform(),
                ledger,
                message=message,
                again=again,
                agree=agree,
                report=report,
            )

    def wait_for_score(
        self, record: SubmissionRecord, *, limit_s: float = 3600.0, report: Callable[[str], None] = lambda _: None
    ) -> SubmissionRecord:
        """Ask for the score of what `send` returned until it comes, or the time is over."""
        from workbench.ledger import Ledger
        from workbench.submissions import wait_for_score

        with Ledger.open(self.workspace.ledger) as ledger:
            return wait_for_score(
                self.workspace, self.definition, record, self._platform(), ledger, limit_s=limit_s, report=report
            )

    def submissions(self) -> list[SubmissionRecord]:
        """Return all submissions that the log has, oldest first; `sync` brings news and what was sent elsewhere."""
        from workbench.ledger import Ledger

        with Ledger.open(self.workspace.ledger) as ledger:
            return ledger.submissions(self.slug)

    def sync(self) -> list[SubmissionRecord]:
        """Ask the platform for scores that came later and for what was sent elsewhere; return what changed."""
        from workbench.ledger import Ledger
        from workbench.submissions import sync

        with Ledger.open(self.workspace.ledger) as ledger:
            return sync(self.workspace, self.definition, self._platform(), ledger)

    def limits(self) -> Any:
        """Return how many submissions are left today."""
        return self._platform().limits(self.slug)

    def leaderboard(self) -> Any:
        """Return the platform's leaderboard and the standing on it."""
        return self._platform().leaderboard(self.slug)

    def _platform(self) -> Any:
        from workbench.platforms.protocol import connect

        return connect(self.definition.definition.platform, self.workspace.root)


def rebuild_ledger(where: Workspace | None = None) -> dict[str, Any]:
    """Build the ledger again from the run folders and from what lies beside the sent files.

    Returns
    -------
    dict
        "runs" and "submissions": how many were found; "kept": how many the ledger has of other workspaces, which stay;
        "problems": a line for each that could not be read.
    """
    from workbench.experiments.reconcile import recover
    from workbench.ledger import Found, rebuild
    from workbench.submissions import load_sidecars

    place = where or workspace()
    problems: list[str] = []

    def read() -> Found:
        runs, unread = recover(place)
        submissions, events, more = load_sidecars(place)
        problems[:] = [*unread.values(), *more.values()]
        return Found(runs, submissions, events, [*unread, *more])

    found, kept = rebuild(place.ledger, read, workspace=place.id)
    return {"runs": len(found.runs), "submissions": len(found.submissions), "kept": kept, "problems": problems}


def doctor(where: Workspace | None = None) -> dict[str, Any]:
    """Look at versions, disk, memory, ledger and data; nothing is changed.

    Returns
    -------
    dict
        "checks": a list of {"name", "level", "ok", "detail"}; the level is "ok", "note" or "bad", and "ok" is False for
        the last alone.
    """
    from workbench.api.health import look

    try:
        return {"checks": look(where or workspace())}
    except ConfigError as exc:
        # To be outside of a workspace is no fault; one that can't be used is.
        return {"checks": look(None, None if isinstance(exc, NotFoundError) else exc)}
