"""`wb.competition(…).studies`: the search for better parameters, and what it has found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from workbench.api.access import CompetitionAccess, Report, call_context

if TYPE_CHECKING:
    from optuna import Study

    from workbench.core.events import Event, Listener, SearchProgress
    from workbench.experiments.tune import TuneOutcome

__all__ = ["Studies", "StudyPlots", "TuneOptions"]


@dataclass(frozen=True)
class TuneOptions:
    """How long and how to search; None for what ``[tune]`` of the experiment says.

    Attributes
    ----------
    minutes : float, optional
        It ends when they are over.
    trials : int, optional
        It ends after so many trials and full scores of the best.
    storage : str, optional
        The address of a database for the study; by default it is a journal beside the runs.
    keep : int, optional
        So many of the best trials keep their OOF.
    seed : int, optional
        Of the search.
    threads : int, optional
        None for as many as the process may use.
    holdout : bool, optional
        Whether the rows of the last fold are kept from the search, to score on them.
    started_at : float, optional
        Since when the time counts, of time.perf_counter; None for now.
    """

    minutes: float | None = None
    trials: int | None = None
    storage: str | None = None
    keep: int | None = None
    seed: int | None = None
    threads: int | None = None
    holdout: bool | None = None
    started_at: float | None = None


class StudyPlots(NamedTuple):
    """An Optuna study, how much of the scores' spread each parameter explains, and the files that show it."""

    study: Study
    importances: dict[str, float]
    files: list[Path]


@dataclass(frozen=True)
class Studies:
    """The Optuna studies of a competition's experiments; ``studies[12]`` is that of experiment 12."""

    access: CompetitionAccess

    def __getitem__(self, number: int) -> Study:
        return self.study(number)

    __iter__ = None  # experiments have gaps

    def study(self, number: int, *, storage: str | None = None) -> Study:
        """Return the Optuna study of an experiment.

        Raises
        ------
        NotFoundError
            When there is none.
        """
        from workbench.experiments.tune import find_study

        study: Study = find_study(self.access.competition, number, storage=storage)[0]
        return study

    def plots(self, number: int, *, storage: str | None = None) -> StudyPlots:
        """Draw the study of an experiment, beside it on the disk.

        Raises
        ------
        NotFoundError
            When there is none, or fewer than three trials are complete.
        ConfigError
            When matplotlib or plotly is not installed.
        """
        from workbench.experiments.tune import find_study
        from workbench.tuning.plots import draw, importances

        study, folder = find_study(self.access.competition, number, storage=storage)
        shares = importances(study)
        return StudyPlots(study, shares, draw(study, folder, with_importances=bool(shares)))

    def tune(
        self,
        number: int,
        options: TuneOptions = TuneOptions(),
        *,
        listen: Listener | None = None,
        report: Report | None = None,
        progress: Callable[[SearchProgress], None] | None = None,
    ) -> TuneOutcome:
        """Search for better parameters of an experiment, as ``wb tune`` does; a study that exists is continued.

        Parameters
        ----------
        number : int
        options : TuneOptions
        listen : callable, optional
            Called with each event.
        report : callable, optional
            Called with the text of stages and messages.
        progress : callable, optional
            Called twice a second with how far the search has come.

        Raises
        ------
        ConfigError
            When neither a time nor a number of trials is given, or the space contradicts itself.
        """
        from workbench.core.events import SearchProgress
        from workbench.experiments.tune import TuneRequest, tune

        def pass_on(event: Event) -> None:
            if progress is not None and isinstance(event, SearchProgress):
                progress(event)

        request_values = asdict(options)
        context = call_context(listen, threads=request_values.pop("threads"), report=report).with_listeners(pass_on)
        access = self.access
        return tune(access.workspace, access.competition, number, TuneRequest(**request_values), context)
