"""The definition of a recommender: the task, the sources, the ranker, and the settings of a run."""

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
from workbench.recommender.windows import TaskSpec

__all__ = ["ModelStore", "NoModelStore", "RecommenderProblem", "RecommenderSpec", "Settings"]


@dataclass(frozen=True)
class RecommenderSpec:
    """The sources and the ranker of a recommender.

    Attributes
    ----------
    sources : dict
        By name, in their round-robin order.
    candidates : int
        The maximum number of candidates of a user.
    ranker : RankerSpec, or None
        None to recommend in the sources' own order.
    validation_users : int, optional
        The maximum number of users of a window that are scored and trained on; None for all.
    allow_repeats : bool
        Whether items that a user had before may be recommended.
    """

    sources: Mapping[str, SourceSpec]
    candidates: int = 100
    ranker: RankerSpec | None = None
    validation_users: int | None = None
    allow_repeats: bool = True


@dataclass(frozen=True)
class RecommenderProblem:
    """The task of a recommender: the data, the users to recommend to, and the scoring.

    Attributes
    ----------
    log : Interactions
        All interactions, of train and test.
    test_users : int32 array
        The users of the submission.
    weights : tuple of float
        The weights of the lists in the score.
    validation : ValidationSpec
        The configured validation.
    """

    log: Interactions
    test_users: npt.NDArray[np.int32]
    task: TaskSpec
    metric: Metric
    weights: tuple[float, ...]
    tables: Tables = field(default_factory=Tables)
    folds: int = 5
    folds_seed: int = 42
    validation: ValidationSpec = field(default_factory=ValidationSpec)


class ModelStore(Protocol):
    """Storage for the finished models of a run, so that an interrupted run can resume."""

    def load(self, name: str) -> ListModel | None:
        """Return a stored model; None if there is none or it is damaged."""
        ...

    def save(self, name: str, model: ListModel) -> None:
        """Store a model."""
        ...


class NoModelStore:
    """A model store that stores nothing."""

    def load(self, name: str) -> ListModel | None:  # noqa: ARG002
        """Return None."""
        return None

    def save(self, name: str, model: ListModel) -> None:
        """Do nothing."""


def _refuse_custom(reference: str) -> Any:
    raise ValueError(f"{reference}: custom functions need a competition's folder")


@dataclass(frozen=True)
class Settings:
    """The settings of a run.

    Attributes
    ----------
    seed : int
    threads : int, optional
        None for all available cores. They do not change the result.
    where : str
        The file with the parameters, for messages.
    model_store : ModelStore
        The storage for finished models, in case the run is interrupted.
    load : callable
        Loads a custom function by its reference.
    sample : float, optional
        The share of the validation users in a subsample run, which makes no test predictions.
    """

    seed: int = 1
    threads: int | None = None
    where: str = "the recommender"
    model_store: ModelStore = field(default_factory=NoModelStore)
    load: Callable[[str], Any] = _refuse_custom
    sample: float | None = None
