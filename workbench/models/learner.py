"""The contract between the training and the libraries that make models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from workbench.models.memory_estimate import MemoryNeeds
from workbench.models.records import FoldResult, Problem

__all__ = ["Learner", "ModelSpec"]


class Learner(Protocol):
    """Trains the models of one target, one per fold and seed.

    The same fold and seed give the same model, bit for bit, whatever was trained before. The OOF covers the rows that
    the fold validates, and no more is learned from than the rows that it trains on; rows of neither side (a gap in
    time) are not seen. Predictions are on the competition's own scale: a transformed target is transformed back, and
    classes are probabilities that sum to one.

    Attributes
    ----------
    each_round : callable
        Called after each boosting round, where the library has rounds; what it raises ends the training.
    """

    each_round: Callable[[], None]

    def fit(self, fold: int, seed: int) -> FoldResult:
        """Train on the fold's train rows and predict its validated rows and the test rows.

        Raises
        ------
        TrainingError
            When the library refuses the parameters or the data.
        """
        ...


class ModelSpec(Protocol):
    """What an experiment says of its model, checked and complete.

    Attributes
    ----------
    transform : str
        What the target goes through before training.
    power : int
        In training rows weigh ``1 / |y| ** power`` beside their own weights; 0 where they do not.
    """

    @property
    def power(self) -> int:
        """The power of the rows' weights by their target."""
        ...

    @property
    def transform(self) -> str:
        """What the target goes through."""
        ...

    def content(self) -> dict[str, Any]:
        """Return what decides the result, as JSON has it: parameters and the versions of the libraries."""
        ...

    def needs(self, problem: Problem, seeds: Sequence[int]) -> MemoryNeeds:
        """Foresee what the training takes at its peak."""
        ...

    def learner(self, problem: Problem, index: int) -> Learner:
        """Return what trains the models of target number `index`."""
        ...
