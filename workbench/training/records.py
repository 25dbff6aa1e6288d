"""What goes into training and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from workbench.training.target import Target

if TYPE_CHECKING:
    from workbench.features import FeatureMatrix, Split
    from workbench.folds import Folds
    from workbench.metrics import Metric

__all__ = ["FoldResult", "Parts", "Problem", "TrainResult"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """What is to be learned: columns, target, folds, metric; all of the same train rows."""

    matrix: FeatureMatrix
    target: Target
    folds: Folds
    split: Split
    metric: Metric


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


class Parts(Protocol):
    """Where finished folds are kept, so that a killed run goes on from them."""

    def load(self, target: int, fold: int, seed: int) -> FoldResult | None:
        """Return a finished fold, or None."""
        ...

    def save(self, result: FoldResult) -> None:
        """Keep a finished fold; whole or not at all."""
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
    """

    oof: Floats
    test: Floats
    seed_oof: Floats
    parts: tuple[FoldResult, ...]

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
