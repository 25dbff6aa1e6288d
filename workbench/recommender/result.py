"""The result of a recommender: lists, their scores, and the details of the run."""

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
        Of the users of the test window; None for a subsample run.
    valid : Lists
        Of the users of the scored windows, each by a model that was trained without them, or without their window.
    valid_users : int32 array (n,)
        Their codes.
    valid_fold : int32 array (n,)
        Of several windows window by window: ``window * groups + group``.
    valid_window : int32 array (n,)
        The number of horizons from the window to the last one.
    fold_scores : tuple of float
        Of several windows window by window, of those that have a score.
    score : float
        Over all of them; of several windows the mean.
    list_scores : dict
        By list, over all.
    recall : dict
        The recall of the sources, by list; of several windows the mean.
    models : dict
        By name: "LIST-fold", or "LIST-wN" of the window N; "LIST-all"; "LIST-rounds", for the number of rounds.
    validation : Validation
        How it was validated, and why.
    window_scores : tuple of float
        The last window's first.
    ceiling : float
        The score of a perfect ranker of these candidates, in the same metric.
    list_ceilings : dict
        By list.
    stopping : dict
        The ranker's early stopping; empty without one.
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
        """The number of windows of the fold scores; None where users were held out of the last one."""
        if self.validation.scheme == "users":
            return None
        return sum(not np.isnan(score) for score in self.window_scores) or None

    def details(self) -> dict[str, Any]:
        """Return the part that is stored in `run.json`."""
        return {
            "recall": {of: [asdict(r) for r in rows] for of, rows in self.recall.items()},
            "list_scores": {of: _or_none(score) for of, score in self.list_scores.items()},
            "ceiling": _or_none(self.ceiling),
            "list_ceilings": {of: _or_none(score) for of, score in self.list_ceilings.items()},
            "validation": asdict(self.validation),
            "window_scores": [_or_none(score) for score in self.window_scores],
            "stopping": self.stopping,
            "stages": [asdict(stage) for stage in self.stages],
            "rounds": {name: model.rounds for name, model in self.models.items()},
        }


def _or_none(score: float) -> float | None:
    return None if np.isnan(score) else score
