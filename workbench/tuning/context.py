"""What the stages of a search share: scorers, options, and the study that they read and write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

from workbench.core.errors import WorkbenchError
from workbench.models.folds import Folds
from workbench.models.lightgbm.fold_scorer import Fidelity, FoldScore, FoldScorer
from workbench.models.lightgbm.learner import LightGBMSpec
from workbench.tuning.deadline import Budget, Deadline, TimedScorer
from workbench.tuning.oof_files import OOFFiles
from workbench.tuning.plan import enough_rounds
from workbench.tuning.results import TrialScores, trial_value
from workbench.tuning.space import Space
from workbench.tuning.state import CVScores
from workbench.tuning.study import StudySession
from workbench.tuning.trials import Trials

__all__ = ["FullFidelity", "Scorers", "SearchContext", "SearchOptions", "failure_reason"]

Candidate = TypeVar("Candidate")

MANY_TRAIN_ROWS = 100_000
"""With this many train rows in a fold or more, full CV evaluates every fifth round: evaluations take long
there. The number is arbitrary."""


def _no_scorer() -> None:
    """Return None: there is no such scorer."""


@dataclass(frozen=True)
class Scorers:
    """The scorers of parameter sets.

    Attributes
    ----------
    main : FoldScorer
        On the competition's folds.
    other_folds : callable
        Returns a scorer on other folds of the same rows; None where the scheme has no others: then repeated CV uses
        another seed.
    holdout : callable
        Returns a scorer whose last fold validates the held-out rows; None without a holdout.
    """

    main: FoldScorer
    other_folds: Callable[[], FoldScorer | None] = _no_scorer
    holdout: Callable[[], FoldScorer | None] = _no_scorer


@dataclass(frozen=True)
class SearchOptions:
    """Options of a search.

    Attributes
    ----------
    budget : Budget
    n_oof_trials : int
        The number of trials whose OOF are saved; above 0, low-fidelity trials are scored on all folds.
    all_folds : bool
        Whether folds differ too much for a trial to be scored on only some of them.
    """

    budget: Budget
    n_oof_trials: int = 0
    all_folds: bool = False

    @property
    def scores_all_folds(self) -> bool:
        """Whether low-fidelity trials have to be scored on every fold."""
        return self.all_folds or self.n_oof_trials > 0


@dataclass(frozen=True)
class FullFidelity:
    """The fidelity of full CV: all rows, with the experiment's rounds and patience.

    Attributes
    ----------
    spec : LightGBMSpec
        The experiment's model.
    n_rows : int
        Train rows of the last fold, the largest where folds go forward in time.
    """

    spec: LightGBMSpec
    n_rows: int

    @property
    def shares_rounds(self) -> bool:
        """Whether all folds have the same number of rounds."""
        return bool(self.spec.patience) and not self.spec.rounds_per_fold

    def at_rate(self, learning_rate: float | None) -> Fidelity:
        """Return the fidelity at a learning rate; None for the parameter set's own."""
        spec = self.spec
        if not spec.patience:
            return Fidelity(learning_rate, spec.rounds, 0, evaluation_interval=spec.rounds)
        rounds, patience = spec.rounds, spec.patience
        if learning_rate is not None and "learning_rate" not in spec.parameters:
            rounds, patience = enough_rounds(learning_rate, rounds, patience)
        return Fidelity(learning_rate, rounds, patience, evaluation_interval=5 if self.n_rows >= MANY_TRAIN_ROWS else 1)

    def of_finished(self, trial_scores: TrialScores) -> Fidelity:
        """Return the fidelity that a finished full CV was scored at."""
        fidelity = self.at_rate(trial_scores.learning_rate)
        return (
            fidelity
            if trial_scores.rounds_at_time_limit is None
            else replace(fidelity, rounds=trial_scores.rounds_at_time_limit)
        )

    def chosen_rounds(self, trial_scores: TrialScores) -> tuple[int, ...] | None:
        """Return the rounds that early stopping chose in full CV; None without early stopping."""
        return trial_scores.rounds if self.spec.patience else None


@dataclass
class SearchContext:
    """The state that the stages of a search share.

    Attributes
    ----------
    scorer : TimedScorer
        On the competition's folds.
    full_fidelity : FullFidelity
    n_new_trials : int
        The number of low-fidelity trials of this search.
    notes, failures : list of str
        Messages for the user.
    """

    session: StudySession
    scorer: TimedScorer
    space: Space
    options: SearchOptions
    deadline: Deadline
    trials: Trials
    full_fidelity: FullFidelity
    oof: OOFFiles
    n_new_trials: int = 0
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def cv_scores(self) -> CVScores:
        """The stored full CV, repeated CV and holdout scores."""
        return CVScores(self.session.study)

    @property
    def budget(self) -> Budget:
        """The limits of the search."""
        return self.options.budget

    @property
    def folds(self) -> Folds:
        """The competition's folds."""
        return self.scorer.folds

    @cached_property
    def n_folds(self) -> int:
        """The number of the competition's folds."""
        return self.folds.n_folds

    @cached_property
    def train_rows(self) -> list[int]:
        """The number of train rows of each fold."""
        return [len(self.folds.train_rows(k)) for k in range(self.n_folds)]

    @cached_property
    def valid_rows(self) -> list[int]:
        """The number of validated rows of each fold."""
        return [len(self.folds.valid_rows(k)) for k in range(self.n_folds)]

    def assigned_to_process(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates that this process has to score; the study's other processes score the rest."""
        index, n_processes = self.session.position()
        # Without a time limit each process scores all of them: another one may end before it gets here.
        return list(candidates[index::n_processes] if self.budget.ends_at is not None else candidates)

    def saving_oof(
        self, number: int, value: float, fold_scores: Mapping[int, FoldScore], *, is_full_cv: bool
    ) -> AbstractContextManager[None]:
        """Save a trial's OOF if it is among the best; the caller stores its value within the `with` block.

        Parameters
        ----------
        number : int
            The trial.
        value : float
            The mean of its fold scores, by which the best trials are chosen.
        fold_scores : mapping
            Fold -> score.
        is_full_cv : bool
            Whether the scores come from full CV; else they come from low fidelity.
        """
        new_value = {number: value}

        def full_cv_values() -> dict[int, float]:
            return {s.number: s.value for s in self.trials.scored()} | (new_value if is_full_cv else {})

        def low_fidelity_values() -> dict[int, float]:
            return {t.number: trial_value(t) for t in self.trials.complete()} | ({} if is_full_cv else new_value)

        return self.oof.saving(number, fold_scores, full_cv_values, low_fidelity_values)


def failure_reason(exc: Exception) -> str:
    """Return why a training failed, for a note."""
    return exc.message if isinstance(exc, WorkbenchError) else f"no memory left: {exc}"
