"""Inputs and outputs of a training, as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from workbench.core.events import ModelTrained
from workbench.models.target import Target

if TYPE_CHECKING:
    from workbench.core.cache import Store
    from workbench.features import FeatureMatrix, Split
    from workbench.metrics import Metric
    from workbench.models.folds import Folds

__all__ = ["FULL_DATA", "DerivedData", "FoldResult", "MatrixCache", "Parts", "Problem", "TrainResult", "TrainingState"]

Floats = npt.NDArray[np.float64]

FULL_DATA = -1
"""The number of the fold that trains on all train rows and validates none."""


@dataclass(frozen=True)
class MatrixCache:
    """The cache on disk for data that a library derives from a matrix.

    Attributes
    ----------
    store : Store
    content : str
        The content key of the matrix, a part of the keys of the cached data.
    """

    store: Store
    content: str


class Releasable(Protocol):
    """Data that a library derives from a matrix and can derive again, such as bins."""

    @property
    def is_in_memory(self) -> bool:
        """Whether the data is in memory."""
        ...

    def release(self) -> None:
        """Free the memory."""
        ...


R = TypeVar("R", bound=Releasable)


class DerivedData:
    """Data that libraries derive from a matrix, shared by all trainings on it, whatever the target, folds and seeds.

    Parameters
    ----------
    matrix : FeatureMatrix
    cache : MatrixCache, optional
        None to cache nothing on disk.
    """

    def __init__(self, matrix: FeatureMatrix, cache: MatrixCache | None = None) -> None:
        self.matrix = matrix
        self.cache = cache
        self._by_key: dict[str, Releasable] = {}

    def shared(self, key: str, make: Callable[[], R]) -> R:
        """Return the data with this key, made by the first call."""
        if key not in self._by_key:
            self._by_key[key] = make()
        return self._by_key[key]  # type: ignore[return-value]

    @property
    def is_in_memory(self) -> bool:
        """Whether any of the data is in memory."""
        return any(data.is_in_memory for data in self._by_key.values())

    def release(self) -> None:
        """Free the memory; the data is made again, or read from the cache, when it is used next."""
        for data in self._by_key.values():
            data.release()


@dataclass(frozen=True)
class Problem:
    """A learning problem: columns, target, folds and metric of the same train rows.

    Attributes
    ----------
    matrix : FeatureMatrix
    target : Target
    folds : Folds
    split : Split
        The folds, as encodings of the target need them.
    metric : Metric
    derived : DerivedData
        Data that libraries derived from the matrix; empty by default, and replaced if it is of another matrix.
    """

    matrix: FeatureMatrix
    target: Target
    folds: Folds
    split: Split
    metric: Metric
    derived: DerivedData = field(default=None, compare=False, repr=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.derived is None or self.derived.matrix is not self.matrix:
            object.__setattr__(self, "derived", DerivedData(self.matrix))


@dataclass(frozen=True)
class FoldResult:
    """One trained model, with its predictions.

    Attributes
    ----------
    target, fold, seed : int
    oof : float array (n_valid, width)
        Predictions of the validation rows, in their order.
    test : float array (n_test, width)
        Predictions of the test rows.
    model : str
        The model in the library's text format; empty if it has none.
    rounds : int
        The number of boosting rounds; 0 for other models.
    seconds : float
        Training and prediction time.
    importance : dict
        Column -> (gain, splits).
    curve : dict
        "valid", and where it was computed "train" -> the stopping metric after each round.
    suffix : str
        The suffix of the model's file.
    notes : dict
        For the run's record: "transform", the parameters of the target's transform; "labelled", the number of test rows
        of each class that the model was trained on.
    """

    target: int
    fold: int
    seed: int
    oof: Floats
    test: Floats
    model: str
    rounds: int
    seconds: float
    importance: dict[str, tuple[float, float]]
    curve: dict[str, list[float]] = field(default_factory=dict)
    suffix: str = "txt"
    notes: dict[str, Any] = field(default_factory=dict)

    def as_event(self, remaining: int, stopping_metric: Metric) -> ModelTrained:
        """Return the event to emit after training, with this many models still to be trained."""
        curve = self.curve.get("valid", [])
        score = curve[self.rounds - 1] if len(curve) >= self.rounds > 0 else None
        metric = "" if score is None else stopping_metric.name
        return ModelTrained(self.target, self.fold, self.seed, score, self.rounds, self.seconds, remaining, metric)


@dataclass(frozen=True)
class TrainingState:
    """The state of a fold's training: all rounds so far, before the number of rounds is chosen.

    Attributes
    ----------
    model : str
        In the library's text format.
    curves : dict
        As `FoldResult.curve`.
    seconds : float
        The training time so far.
    """

    model: str
    curves: dict[str, list[float]]
    seconds: float


class Parts(Protocol):
    """Checkpoints of a run, from which an interrupted run resumes: finished folds and trainings in progress."""

    def load(self, target: int, fold: int, seed: int) -> FoldResult | None:
        """Return the result of a finished fold, or None."""
        ...

    def save(self, result: FoldResult) -> None:
        """Save the result of a fold atomically."""
        ...

    def load_training(self, target: int, fold: int, seed: int, stage: int) -> TrainingState | None:
        """Return the state of a fold's training, or None; `stage` is 1 for a fold's first model, 2 for its second."""
        ...

    def save_training(self, target: int, fold: int, seed: int, stage: int, state: TrainingState) -> None:
        """Save the state of a fold's training atomically."""
        ...


@dataclass(frozen=True)
class TrainResult:
    """The predictions of a training.

    Attributes
    ----------
    oof : float array (n_train, width)
        Mean over seeds; NaN where no fold validates the row.
    test : float array (n_test, width)
        Mean over folds and seeds.
    seed_oof : float array (n_seeds, n_train, width)
        The same for each seed.
    parts : tuple of FoldResult
        The folds' models.
    full_fits : tuple of FoldResult
        Models trained on all train rows, if the test predictions are theirs.
    """

    oof: Floats
    test: Floats
    seed_oof: Floats
    parts: tuple[FoldResult, ...]
    full_fits: tuple[FoldResult, ...] = ()

    def importance(self) -> dict[str, tuple[float, float]]:
        """Return column -> (mean gain, mean splits) over all models, by falling gain."""
        pairs_by_column: dict[str, list[tuple[float, float]]] = {}
        for part in self.parts:
            for name, pair in part.importance.items():
                pairs_by_column.setdefault(name, []).append(pair)
        n_models = len(self.parts)
        means = {
            name: (sum(gain for gain, _ in pairs) / n_models, sum(splits for _, splits in pairs) / n_models)
            for name, pairs in pairs_by_column.items()
        }
        return dict(sorted(means.items(), key=lambda item: -item[1][0]))


Progress = Callable[[str, dict[str, Any]], None]
