"""The trials of a study, ranked by their scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from workbench.tuning.optuna_package import optuna
from workbench.tuning.results import TrialScores, scored_trials, trial_value
from workbench.tuning.state import TrialState

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

__all__ = ["Trials", "trial_seconds"]


class Trials:
    """The trials of a study.

    Parameters
    ----------
    study : optuna.Study
    initial_point : mapping, or None
        The experiment's own parameters as a point of the space; None where they are outside.
    greater_is_better : bool
    """

    def __init__(self, study: Study, initial_point: Mapping[str, Any] | None, *, greater_is_better: bool) -> None:
        self.initial_point, self.greater_is_better = initial_point, greater_is_better
        self._study = study
        self._state = optuna().trial.TrialState

    def all(self, *states: Any) -> list[FrozenTrial]:
        """Return the trials in the given states, by default all; they are not copies, and must not be changed."""
        return list(self._study.get_trials(deepcopy=False, states=states or None))

    def finished(self) -> list[FrozenTrial]:
        """Return the complete and the pruned trials, in their order."""
        return self.all(self._state.COMPLETE, self._state.PRUNED)

    def complete(self) -> list[FrozenTrial]:
        """Return the complete trials, the best first, without those that copy the scores of another."""
        trials = [t for t in self.all(self._state.COMPLETE) if not TrialState(t).is_duplicate]
        return sorted(trials, key=trial_value, reverse=self.greater_is_better)

    def scored(self) -> list[TrialScores]:
        """Return the trials whose full CV is finished, the best first."""
        return scored_trials(self._study, greater_is_better=self.greater_is_better)

    def initial_scored(self) -> TrialScores | None:
        """Return the full CV of the experiment's own parameters; None without one."""
        return next((s for s in self.scored() if s.parameters == self.initial_point), None)

    def initial_complete(self) -> FrozenTrial | None:
        """Return the trial of the experiment's own parameters; None where it is not complete."""
        return next((t for t in self.complete() if self.is_initial(t)), None)

    def is_initial(self, trial: FrozenTrial | Trial) -> bool:
        """Return whether a trial is of the experiment's own parameters."""
        return bool(trial.params == self.initial_point)

    def best_of(self, *values: float) -> float:
        """Return the best of some scores."""
        return max(values) if self.greater_is_better else min(values)

    def best_value(self) -> float | None:
        """Return the best full CV score, or low-fidelity score where there is none; None without any."""
        for trial_scores in self.scored():
            return trial_scores.value
        return next((t.value for t in self.complete()), None)

    def counts(self) -> dict[str, int]:
        """Return the numbers of "complete", "pruned" and "failed" trials, without those that were stopped."""
        states = [t.state for t in self.all() if not TrialState(t).is_stopped]
        names = {"complete": self._state.COMPLETE, "pruned": self._state.PRUNED, "failed": self._state.FAIL}
        return {name: states.count(state) for name, state in names.items()}


def trial_seconds(trial: FrozenTrial) -> float:
    """Return the duration of a trial; 0 while it runs."""
    return 0.0 if trial.duration is None else trial.duration.total_seconds()
