"""What a fold's training comes to by itself, without the other folds: a unit of work for any process."""

from __future__ import annotations

from workbench.models.learner import Learner
from workbench.models.records import FoldResult, TrainingState
from workbench.models.rounds import Stepwise, Stopper

__all__ = ["train_unit"]


def train_unit(learner: Learner, fold: int, seed: int) -> FoldResult | TrainingState:
    """Train a fold as far as no other fold is needed.

    Returns
    -------
    FoldResult
        The finished model, where folds have nothing to do with each other.
    TrainingState
        Where the folds share their number of rounds: the training until its own curve has had enough of them.
        `train_together` goes on from it.
    """
    stopping = learner.shared_stopping if isinstance(learner, Stepwise) else None
    if stopping is None or not isinstance(learner, Stepwise):
        return learner.fit(fold, seed)
    training, stopper = learner.training(fold, seed), Stopper(stopping)
    training.go_on(stopping.limit, stopper.add)
    state = training.state()
    training.release()
    return state
