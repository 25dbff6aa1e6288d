"""A fold's training without the other folds: a unit of work that any process can do."""

from __future__ import annotations

from workbench.models.learner import Learner
from workbench.models.records import FoldResult, TrainingState
from workbench.models.rounds import RoundCounter, SharedRoundsLearner

__all__ = ["train_unit"]


def train_unit(learner: Learner, fold: int, seed: int) -> FoldResult | TrainingState:
    """Train a fold as far as possible without the other folds.

    Returns
    -------
    FoldResult
        The finished model, where folds do not share their number of rounds.
    TrainingState
        Else the state of the training after its own curve stopped; `train_with_shared_rounds` continues from it.
    """
    stopping = learner.shared_stopping if isinstance(learner, SharedRoundsLearner) else None
    if stopping is None or not isinstance(learner, SharedRoundsLearner):
        return learner.fit(fold, seed)
    training, counter = learner.training(fold, seed), RoundCounter(stopping)
    training.train_to(stopping.max_rounds, counter.add)
    state = training.state()
    training.release()
    return state
