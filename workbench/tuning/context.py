"""What the stages of a search share."""

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
from workbench.tuning.results import TrialScores, value_of
from workbench.tuning.space import Space
from workbench.tuning.state import CVScores
from workbench.tuning.study import OpenStudy
from workbench.tuning.trials import Trials

__all__ = ["FullFidelity", "Scorers", "SearchContext", "SearchOptions", "failure_reason"]

Candidate = TypeVar("Candidate")

MANY_ROWS = 100_000
"""Where a fold trains on so many rows, full CV is evaluated every fifth round."""


def _none() -> None:
    """Return None: there is no such scorer."""


@dataclass(frozen=True)
class Scorers:
    """What scores parameter sets.

    Attributes
    ----------
    main : FoldScorer
        On the competition's folds.
    other_folds : callable
        Makes the scorer on other folds; gives None where the scheme has no others, and then another seed stands in.
    holdout : callable
        Makes the scorer of the rows that are held out, whose last fold validates them; gives None where there are none.
    """

    main: FoldScorer
    other_folds: Callable[[], FoldScorer | None] = _none
    holdout: Callable[[], FoldScorer | None] = _none


@dataclass(frozen=True)
class SearchOptions:
    """How a search is to go.

    Attributes
    ----------
    budget : Budget
    keep : int
        How many trials' OOF are kept; the low-fidelity ones then are of all folds.
    all_folds : bool
        Whether one fold is too unlike the others to be scored alone.
    """

    budget: Budget
    keep: int = 0
    all_folds: bool = False

    @property
    def scores_all_folds(self) -> bool:
        """Whether low-fidelity trials have to be scored on every fold."""
        return self.all_folds or self.keep > 0


@dataclass(frozen=True)
class FullFidelity:
    """How full CV trains: on all rows, with the rounds and the patience of the experiment.

    Attributes
    ----------
    spec : LightGBMSpec
        The experiment's model.
    n_rows : int
        Train rows of the last fold: folds in time grow.
    """

    spec: LightGBMSpec
    n_rows: int

    @property
    def shares_rounds(self) -> bool:
        """Whether all folds have one number of rounds."""
        return bool(self.spec.patience) and not self.spec.per_fold

    def at(self, rate: float | None) -> Fidelity:
        """Return it at a learning rate; None for the parameter set's own."""
        spec = self.spec
        if not spec.patience:
            return Fidelity(rate, spec.rounds, 0, every=spec.rounds)
        rounds, patience = spec.rounds, spec.patience
        if rate is not None and "learning_rate" not in spec.parameters:
            rounds, patience = enough_rounds(rate, rounds, patience)
        return Fidelity(rate, rounds, patience, every=5 if self.n_rows >= MANY_ROWS else 1)

    def of(self, scored: TrialScores) -> Fidelity:
        """Return that of a full CV which is finished."""
        fidelity = self.at(scored.rate)
        return fidelity if scored.cut is None else replace(fidelity, rounds=scored.cut)

    def fixed_rounds(self, scored: TrialScores) -> tuple[int, ...] | None:
        """Return the rounds that full CV has chosen, for scores that are not to choose them anew."""
        return scored.rounds if self.spec.patience else None


@dataclass
class SearchContext:
    """What the stages of a search work with.

    Attributes
    ----------
    scorer : TimedScorer
        On the competition's folds.
    trials_now : int
        The low-fidelity trials of this search.
    notes, failures : list of str
        What the user is to be told.
    """

    opened: OpenStudy
    scorer: TimedScorer
    space: Space
    options: SearchOptions
    deadline: Deadline
    trials: Trials
    full: FullFidelity
    oof: OOFFiles
    trials_now: int = 0
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def cv(self) -> CVScores:
        """The scores that the study stores of its best trials."""
        return CVScores(self.opened.study)

    @property
    def budget(self) -> Budget:
        """When the search ends."""
        return self.options.budget

    @property
    def folds(self) -> Folds:
        """The competition's folds."""
        return self.scorer.folds

    @cached_property
    def n_folds(self) -> int:
        """How many folds the competition has."""
        return self.folds.n_folds

    @cached_property
    def train_rows(self) -> list[int]:
        """The number of train rows of each fold."""
        return [len(self.folds.train_rows(k)) for k in range(self.n_folds)]

    @cached_property
    def valid_rows(self) -> list[int]:
        """The number of validated rows of each fold."""
        return [len(self.folds.valid_rows(k)) for k in range(self.n_folds)]

    def share_of(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return this process's part of them; when it is done with that, the others' next ones may be its own."""
        place, n = self.opened.place()
        # Who ends by trials has to have a full CV, and can't know how far the others are.
        return list(candidates[place::n] if self.budget.ends_at is not None else candidates)

    def saving_oof(
        self, number: int, value: float, scores: Mapping[int, FoldScore], *, is_full: bool
    ) -> AbstractContextManager[None]:
        """Save a trial's OOF where it is among the best; its value is stored in the block."""
        new = {number: value}

        def full_cv() -> dict[int, float]:
            return {s.number: s.value for s in self.trials.scored()} | (new if is_full else {})

        def low_fidelity() -> dict[int, float]:
            return {t.number: value_of(t) for t in self.trials.complete()} | ({} if is_full else new)

        return self.oof.saving(number, scores, full_cv, low_fidelity)


def failure_reason(exc: Exception) -> str:
    """Return why a training failed."""
    return exc.message if isinstance(exc, WorkbenchError) else f"no memory left: {exc}"
