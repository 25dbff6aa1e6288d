"""What goes into training and what comes out of it."""

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

__all__ = ["ALL_ROWS", "DerivedData", "FoldResult", "MatrixCache", "Parts", "Problem", "TrainResult", "TrainingState"]

Floats = npt.NDArray[np.float64]

ALL_ROWS = -1
"""The number of the fold that trains on all rows and validates none."""


@dataclass(frozen=True)
class MatrixCache:
    """Where what a library makes of a matrix is cached on disk.

    Attributes
    ----------
    store : Store
    content : str
        The content key of the matrix.
    """

    store: Store
    content: str


class Releasable(Protocol):
    """What a library makes of a matrix once, and can make again."""

    @property
    def held(self) -> bool:
        """Whether it is in memory."""
        ...

    def release(self) -> None:
        """Let go of it."""
        ...


R = TypeVar("R", bound=Releasable)


class DerivedData:
    """What libraries make of a matrix, shared by all that is trained on it, whatever the target, folds and seeds.

    Parameters
    ----------
    matrix : FeatureMatrix
    cache : MatrixCache, optional
        None where nothing is cached on disk.
    """

    def __init__(self, matrix: FeatureMatrix, cache: MatrixCache | None = None) -> None:
        self.matrix = matrix
        self.cache = cache
        self._by_key: dict[str, Releasable] = {}

    def shared(self, key: str, make: Callable[[], R]) -> R:
        """Return what a library has under its key, which it makes once."""
        if key not in self._by_key:
            self._by_key[key] = make()
        return self._by_key[key]  # type: ignore[return-value]

    @property
    def held(self) -> bool:
        """Whether anything of it is in memory."""
        return any(data.held for data in self._by_key.values())

    def release(self) -> None:
        """Let go of what is in memory; it is made again, or read from the cache, where it is needed again."""
        for data in self._by_key.values():
            data.release()


@dataclass(frozen=True)
class Problem:
    """What is to be learned: columns, target, folds, metric; all of the same train rows.

    `derived` is what libraries have made of the columns; without one, or with that of another matrix, it is empty.
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
    """One model: of one target, one fold, one seed.

    Attributes
    ----------
    oof : float array (n_valid, width)
        Predictions of the rows that the fold validates, in their order.
    test : float array (n_test, width)
        Predictions of the test rows.
    model : str
        The model as text, in the library's own format; empty where the library has none.
    rounds : int
        How many rounds the predictions use; 0 where the library has none.
    importance : dict
        Column -> (gain, splits).
    curve : dict
        "train" and "valid": the stopping metric at every round; empty lists where it was not watched.
    suffix : str
        Of the file that the model is kept in.
    notes : dict
        What else was learned, as JSON has it: "transform", what the target's transform learned; "labelled", how many
        test rows of each class the model was trained on.
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

    def as_event(self, remaining: int) -> ModelTrained:
        """Return what is told of it when it is trained and so many models are still to be."""
        curve = self.curve.get("valid", [])
        score = curve[self.rounds - 1] if len(curve) >= self.rounds > 0 else None
        return ModelTrained(self.target, self.fold, self.seed, score, self.rounds, self.seconds, remaining)


@dataclass(frozen=True)
class TrainingState:
    """How far a fold's training is: all of its rounds, before it is known how many of them count.

    Attributes
    ----------
    model : str
        As text, in the library's own format.
    curves : dict
        As `FoldResult.curve`.
    seconds : float
        What it has taken.
    """

    model: str
    curves: dict[str, list[float]]
    seconds: float


class Parts(Protocol):
    """Where finished folds are kept, so that a killed run goes on from them."""

    def load(self, target: int, fold: int, seed: int) -> FoldResult | None:
        """Return a finished fold, or None."""
        ...

    def save(self, result: FoldResult) -> None:
        """Keep a finished fold; whole or not at all."""
        ...

    def load_training(self, target: int, fold: int, seed: int, stage: int) -> TrainingState | None:
        """Return how far a fold's training was, or None; `stage` tells a fold's first model from its second."""
        ...

    def save_training(self, target: int, fold: int, seed: int, stage: int, state: TrainingState) -> None:
        """Keep how far a fold's training is; whole or not at all."""
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
        Models that were trained on all rows, where the test predictions come from them.
    """

    oof: Floats
    test: Floats
    seed_oof: Floats
    parts: tuple[FoldResult, ...]
    full_fits: tuple[FoldResult, ...] = ()

    def importance(self) -> dict[str, tuple[float, float]]:
        """Return column -> (mean gain, mean splits) over all models, falling."""
        totals: dict[str, list[tuple[float, float]]] = {}
        for part in self.parts:
            for name, pair in part.importance.items():
                totals.setdefault(name, []).append(pair)
        n = len(self.parts)
        means = {name: (sum(g for g, _ in v) / n, sum(s for _, s in v) / n) for name, v in totals.items()}
        return dict(sorted(means.items(), key=lambda item: -item[1][0]))


Progress = Callable[[str, dict[str, Any]], None]
