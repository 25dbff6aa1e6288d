"""`wb.competition(…).studies`: the search for better parameters, and what it has found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from workbench.api.access import CompetitionAccess, Report

if TYPE_CHECKING:
    from optuna import Study

    from workbench.experiments.tune import TuneOutcome
    from workbench.tuning import Progress

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
        report: Report = lambda _: None,
        say: Report | None = None,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> TuneOutcome:
        """Search for better parameters of an experiment, as ``wb tune`` does, going on where it was left.

        Raises
        ------
        ConfigError
            When neither a time nor a number of trials is said, or the space contradicts itself.
        """
        from workbench.experiments.tune import TuneRequest, tune

        request = TuneRequest(**asdict(options))
        place, competition = self.access.workspace, self.access.competition
        return tune(place, competition, number, request, report=report, say=say, progress=progress)
