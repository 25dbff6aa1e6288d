"""The contract between the training over folds and the model libraries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from workbench.models.fold_data import FoldData
from workbench.models.memory_estimate import MemoryEstimate
from workbench.models.records import FoldResult, Problem

__all__ = ["Learner", "ModelSpec"]


class Learner(Protocol):
    """Trains the models of one target, one per fold and seed.

    The same fold and seed give the same model, bit for bit, whatever was trained before. A model learns from the fold's
    train rows alone, and its OOF covers the fold's validation rows; rows on neither side, such as a gap in time, are
    not used. Predictions are on the scale of the competition's target: transforms are inverted, and the probabilities
    of classes sum to one.

    Attributes
    ----------
    each_round : callable
        Called after each boosting round, if the library has rounds; an exception that it raises ends the training.
    """

    each_round: Callable[[], None]

    @property
    def data(self) -> FoldData:
        """The data of the target's models."""
        ...

    def fit(self, fold: int, seed: int) -> FoldResult:
        """Train on the fold's train rows and predict its validated rows and the test rows.

        Raises
        ------
        TrainingError
            When the library rejects the parameters or the data.
        """
        ...


class ModelSpec(Protocol):
    """The settings of an experiment's model, checked and complete."""

    @property
    def power(self) -> int:
        """The weights of the rows in training are multiplied by ``1 / |y| ** power``; 0 for no such factor."""
        ...

    @property
    def transform(self) -> str:
        """The transform of the target before training, one of `transforms.TRANSFORMS`."""
        ...

    def content(self) -> dict[str, Any]:
        """Return everything that determines the result, for the run's key: parameters and library versions."""
        ...

    def memory_estimate(self, problem: Problem, seeds: Sequence[int]) -> MemoryEstimate:
        """Estimate the memory of the training at its peak."""
        ...

    def learner(self, problem: Problem, target_index: int) -> Learner:
        """Return the learner of target number `target_index`."""
        ...
