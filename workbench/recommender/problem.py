"""What is to be recommended, and how: the log, the sources, the ranker, and what a run goes on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workbench.metrics import Metric
from workbench.recommender.interactions import Interactions
from workbench.recommender.ranker import ListModel, RankerSpec
from workbench.recommender.sources import SourceSpec, Tables
from workbench.recommender.validation import ValidationSpec
from workbench.recommender.windows import Asked

__all__ = ["Kept", "NothingKept", "Problem", "RecommenderSpec", "Settings"]


@dataclass(frozen=True)
class RecommenderSpec:
    """What a recommender is made of.

    Attributes
    ----------
    sources : dict
        By name, in the order in which they take turns.
    candidates : int
        So many of a user at most.
    ranker : RankerSpec, or None
        None: the sources' own order counts.
    validation_users : int, optional
        So many users of a window, at most, are scored and learned from; None for all.
    allow_repeats : bool
        Whether what a user had before may be recommended.
    """

    sources: Mapping[str, SourceSpec]
    candidates: int = 100
    ranker: RankerSpec | None = None
    validation_users: int | None = None
    allow_repeats: bool = True


@dataclass(frozen=True)
class Problem:
    """What is to be recommended, to whom, and how it is scored.

    Attributes
    ----------
    log : Interactions
        All that is known.
    tested : int32 array
        The users that the competition asks for.
    weights : tuple of float
        Of the lists in the score.
    validation : ValidationSpec
        How it is scored.
    """

    log: Interactions
    tested: npt.NDArray[np.int32]
    asked: Asked
    metric: Metric
    weights: tuple[float, ...]
    tables: Tables = field(default_factory=Tables)
    folds: int = 5
    folds_seed: int = 42
    validation: ValidationSpec = field(default_factory=ValidationSpec)


class Kept(Protocol):
    """Where models are kept until the run is whole, so that one that was killed goes on."""

    def load(self, name: str) -> ListModel | None:
        """Return what was kept, if it is there and whole."""
        ...

    def save(self, name: str, model: ListModel) -> None:
        """Keep a model."""
        ...


class NothingKept:
    """Keeps nothing."""

    def load(self, name: str) -> ListModel | None:  # noqa: ARG002
        """Return None."""
        return None

    def save(self, name: str, model: ListModel) -> None:
        """Do nothing."""


def _no_own(reference: str) -> Any:
    raise ValueError(f"{reference}: there is no competition's folder to look for it")


@dataclass(frozen=True)
class Settings:
    """How it is done.

    Attributes
    ----------
    seed : int
    threads : int, optional
        None for as many as the process may use. They do not change the result.
    where : str
        The file that the parameters come from, for messages.
    kept : Kept
        Where models are kept in case the process ends.
    load : callable
        Loads a function of one's own.
    sample : float, optional
        A share of the validation users, for a subsample run that does nothing for the test window.
    """

    seed: int = 1
    threads: int | None = None
    where: str = "the recommender"
    kept: Kept = field(default_factory=NothingKept)
    load: Callable[[str], Any] = _no_own
    sample: float | None = None
