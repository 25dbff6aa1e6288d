"""The result of a recommender: lists, scores, models, and details of the run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.recommender.candidates import SourceRecall
from workbench.recommender.ranker import ListModel, Lists
from workbench.recommender.stages import Stage
from workbench.recommender.validation import Validation

__all__ = ["RecommenderResult"]


@dataclass(frozen=True)
class RecommenderResult:
    """The result of a recommender.

    Attributes
    ----------
    lists : Lists, or None
        The lists of the test users; None for a subsample run.
    valid : Lists
        The lists of the users of the scored windows, one window after the other, each by a model that was trained
        without these users or without their window.
    valid_users : int32 array (n,)
        Codes.
    valid_fold : int32 array (n,)
        The fold of each user; with several windows ``window * n_groups + group``.
    valid_window : int32 array (n,)
        The number of horizons from the user's window to the last one.
    fold_scores : tuple of float
        The folds that have a score, in the order of `valid_fold`.
    score : float
        With several windows the mean of their scores.
    list_scores : dict
        By list.
    recall : dict
        The recall of the sources, by list; with several windows the mean.
    models : dict
        By name: "LIST-FOLD" or "LIST-wN" (which scores window N), "LIST-all" (for test), "LIST-rounds" (which finds the
        number of rounds).
    features : tuple of str
        The names of the ranker's features.
    validation : Validation
        The chosen validation, and the reason.
    window_scores : tuple of float
        The last window's first.
    ceiling : float
        The score of a perfect ranker of the candidates.
    list_ceilings : dict
        By list.
    stopping : dict
        The rows that early stopping used; empty without it.
    """

    lists: Lists | None
    valid: Lists
    valid_users: npt.NDArray[np.int32]
    valid_fold: npt.NDArray[np.int32]
    valid_window: npt.NDArray[np.int32]
    fold_scores: tuple[float, ...]
    score: float
    list_scores: dict[str, float]
    recall: dict[str, list[SourceRecall]]
    models: dict[str, ListModel]
    features: tuple[str, ...]
    stages: tuple[Stage, ...]
    validation: Validation
    window_scores: tuple[float, ...]
    ceiling: float
    list_ceilings: dict[str, float]
    stopping: dict[str, Any]

    @property
    def is_optimistic(self) -> bool:
        """Whether users were scored by a ranker that was trained on other users of the same window."""
        return self.validation.scheme == "users" and bool(self.models)

    @property
    def cv_windows(self) -> int | None:
        """The number of windows of the fold scores; None if users of the last window were held out."""
        if self.validation.scheme == "users":
            return None
        return sum(not np.isnan(score) for score in self.window_scores) or None

    def details(self) -> dict[str, Any]:
        """Return the details that are stored in `run.json`."""
        return {
            "recall": {list_name: [asdict(r) for r in recalls] for list_name, recalls in self.recall.items()},
            "list_scores": {list_name: _or_none(score) for list_name, score in self.list_scores.items()},
            "ceiling": _or_none(self.ceiling),
            "list_ceilings": {list_name: _or_none(score) for list_name, score in self.list_ceilings.items()},
            "validation": asdict(self.validation),
            "window_scores": [_or_none(score) for score in self.window_scores],
            "stopping": self.stopping,
            "stages": [asdict(stage) for stage in self.stages],
            "rounds": {name: model.rounds for name, model in self.models.items()},
        }


def _or_none(score: float) -> float | None:
    """Return None for NaN, which JSON does not have."""
    return None if np.isnan(score) else score
