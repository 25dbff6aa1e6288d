"""Scores of validation windows: of the recommended lists, and of a perfect ranker of the candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.metrics import Metric, Relevant
from workbench.recommender.candidates import SourceRecall
from workbench.recommender.problem import RecommenderProblem
from workbench.recommender.ranker import ListModel, Lists
from workbench.recommender.validation import user_groups
from workbench.recommender.windows import Truth, Window

__all__ = [
    "FoldScores",
    "ScoredWindow",
    "WindowEvaluation",
    "has_each_list",
    "mean_recall",
    "mean_score",
    "score_folds",
    "score_groups",
    "score_lists",
    "score_of",
]


@dataclass(frozen=True)
class ScoredWindow:
    """A validation window with its recommended lists; items have their codes in the whole log.

    Attributes
    ----------
    users : int32 array (n,)
        Codes.
    truth : tuple of Truth
        The ground truth, by list.
    lists : Lists
        By models that were trained without these users, or without the window.
    perfect_lists : int32 array (n, n_lists, k)
        The lists of a perfect ranker of the candidates.
    recall : dict
        The recall of the sources, by list.
    """

    users: npt.NDArray[np.int32]
    truth: tuple[Truth, ...]
    lists: Lists
    perfect_lists: npt.NDArray[np.int32]
    recall: dict[str, list[SourceRecall]]


@dataclass(frozen=True)
class WindowEvaluation:
    """The scored windows and the models.

    Attributes
    ----------
    windows : list of ScoredWindow
        The last one first.
    models : dict
        By name, as in `RecommenderResult.models`.
    feature_names : tuple of str
        Empty without a ranker.
    folds : list of int array
        The fold of each window's users; empty for rolling windows.
    """

    windows: list[ScoredWindow]
    models: dict[str, ListModel]
    feature_names: tuple[str, ...]
    folds: list[npt.NDArray[Any]] = field(default_factory=list)

    @property
    def stopping(self) -> dict[str, Any]:
        """The rows that early stopping used, also in an interrupted run that was resumed."""
        return next((model.stopping for model in self.models.values() if model.stopping), {})


@dataclass(frozen=True)
class FoldScores:
    """The folds of each window's users, and the score of each fold."""

    fold_by_user: list[npt.NDArray[Any]]
    scores: list[float]


def score_lists(
    items: npt.NDArray[np.int32], window: Window, metric: Metric, weights: tuple[float, ...]
) -> tuple[float, list[float]]:
    """Score lists (n_users, n_lists, k) by a window's ground truth; see `score_of`."""
    return score_of(items, window.truth or (), metric, weights)


def score_of(
    items: npt.NDArray[np.int32], truths: Sequence[Truth], metric: Metric, weights: Sequence[float]
) -> tuple[float, list[float]]:
    """Return the weighted sum of the lists' scores, and the score of each list.

    A list without any ground truth has the score NaN; its weight is distributed over the others.

    Parameters
    ----------
    items : int32 array (n_users, n_lists, k)
    truths : sequence of Truth
        The ground truth of each list.
    weights : sequence of float
        The weight of each list.
    """
    scores = []
    for number, truth in enumerate(truths):
        relevant = Relevant(truth.items.astype(np.int64), truth.offsets)
        scores.append(float(metric.compute(relevant, items[:, number])) if len(truth.items) else float("nan"))
    scored_weights = np.array([w for w, s in zip(weights, scores, strict=True) if not np.isnan(s)])
    defined_scores = np.array([s for s in scores if not np.isnan(s)])
    if not scored_weights.sum():
        return float("nan"), scores
    return float(sum(weights) * (scored_weights @ defined_scores) / scored_weights.sum()), scores


def mean_score(window_scores: Sequence[tuple[float, list[float]]]) -> tuple[float, list[float]]:
    """Return the mean over windows of their scores, and of each list's; NaN is skipped."""

    def mean(values: Sequence[float]) -> float:
        defined = [v for v in values if not np.isnan(v)]
        return float(np.mean(defined)) if defined else float("nan")

    scores_by_list = zip(*(list_scores for _, list_scores in window_scores), strict=True)
    return mean([score for score, _ in window_scores]), [mean(scores) for scores in scores_by_list]


def mean_recall(window_recalls: Sequence[dict[str, list[SourceRecall]]]) -> dict[str, list[SourceRecall]]:
    """Return the mean over windows of each source's recall, by list."""
    measures = [f.name for f in fields(SourceRecall) if f.name != "name"]

    def mean(recalls: Sequence[SourceRecall]) -> SourceRecall:
        means = {measure: float(np.mean([getattr(r, measure) for r in recalls])) for measure in measures}
        return SourceRecall(recalls[0].name, **means)

    return {
        list_name: [mean(recalls) for recalls in zip(*(recall[list_name] for recall in window_recalls), strict=True)]
        for list_name in window_recalls[0]
    }


def score_folds(
    problem: RecommenderProblem, windows: Sequence[ScoredWindow], folds: Sequence[npt.NDArray[Any]]
) -> FoldScores:
    """Score each fold of each window's users."""
    scores = []
    for window, fold_by_user in zip(windows, folds, strict=True):
        for fold in np.unique(fold_by_user):
            rows = np.flatnonzero(fold_by_user == fold)
            truths = tuple(truth.take(rows) for truth in window.truth)
            scores.append(score_of(window.lists.items[rows], truths, problem.metric, problem.weights)[0])
    return FoldScores(list(folds), scores)


def score_groups(problem: RecommenderProblem, windows: Sequence[ScoredWindow]) -> FoldScores:
    """Split the users of rolling windows into groups, which are the folds, and score each group of each window.

    There are as many groups, up to `problem.folds`, as all have ground truth of each list of their window.
    """
    for n_groups in range(problem.folds, 0, -1):
        groups = user_groups([w.users for w in windows], n_groups, problem.folds_seed)
        if all(has_each_list(w.truth, group) for w, group in zip(windows, groups, strict=True)):
            break
    n_groups_per_window = 1 + max(int(group.max()) for group in groups)
    with_truth = [number for number, w in enumerate(windows) if any(len(truth.items) for truth in w.truth)]
    scores = score_folds(problem, [windows[i] for i in with_truth], [groups[i] for i in with_truth]).scores
    return FoldScores([number * n_groups_per_window + group for number, group in enumerate(groups)], scores)


def has_each_list(truths: Sequence[Truth], fold_by_user: npt.NDArray[Any]) -> bool:
    """Return whether each fold has ground truth of each list that has any.

    A fold without it would be scored by the other lists alone, with its weight on them.
    """
    n_folds = len(np.unique(fold_by_user))
    return all(
        len(np.unique(fold_by_user[np.diff(truth.offsets) > 0])) == n_folds for truth in truths if len(truth.items)
    )
