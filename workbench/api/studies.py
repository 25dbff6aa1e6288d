"""`wb.competition(…).studies`: the search for better parameters, and its studies."""

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
    """How long and how to search; None takes the value of the experiment's ``[tune]``.

    Attributes
    ----------
    minutes : float, optional
        The time limit.
    trials : int, optional
        The number of trials, after which the best are scored by full CV.
    storage : str, optional
        The URL of a database for the study; by default it is a journal in the competition's folder.
    keep : int, optional
        The number of best trials whose OOF are kept.
    seed : int, optional
        Of the sampler.
    threads : int, optional
        None for all available cores.
    holdout : bool, optional
        Whether the rows of the last fold are excluded from the search, for a score that is not optimistic.
    started_at : float, optional
        When the time began to count, on time.perf_counter; None for now.
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
    """An Optuna study, each parameter's share of the variance of the scores, and the files of the plots."""

    study: Study
    importances: dict[str, float]
    files: list[Path]


@dataclass(frozen=True)
class Studies:
    """The Optuna studies of a competition's experiments; ``studies[12]`` is that of experiment 12."""

    access: CompetitionAccess

    def __getitem__(self, number: int) -> Study:
        return self.study(number)

    __iter__ = None  # without it, iteration would index 0, 1, 2, …, and experiments may have gaps

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
        """Plot the study of an experiment; the files are written into the study's folder.

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
