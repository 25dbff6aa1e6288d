"""Scores of windows: of the recommended lists, and of a perfect ranker of the candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from workbench.metrics import Metric, Relevant
from workbench.recommender.candidates import SourceRecall
from workbench.recommender.ranker import Lists
from workbench.recommender.windows import Truth, Window

__all__ = ["ScoredWindow", "mean_recall", "mean_score", "score_lists", "score_of"]


@dataclass(frozen=True)
class ScoredWindow:
    """A scored window.

    Attributes
    ----------
    users : int32 array (n,)
        Their codes.
    truth : tuple of Truth
        The ground truth, by list.
    lists : Lists
        By models that were trained without these users, or without the window.
    best : int32 array (n, n_lists, k)
        The lists of a perfect ranker of the candidates.
    recall : dict
        The recall of the sources, by list.

    Items have the codes of the whole log.
    """

    users: npt.NDArray[np.int32]
    truth: tuple[Truth, ...]
    lists: Lists
    best: npt.NDArray[np.int32]
    recall: dict[str, list[SourceRecall]]


def score_lists(
    items: npt.NDArray[np.int32], window: Window, metric: Metric, weights: tuple[float, ...]
) -> tuple[float, list[float]]:
    """Return the score of lists (n_users, n_lists, k), which is the weighted sum, and that of each list.

    A list without ground truth in the whole window has no score; its weight goes to the others.
    """
    return score_of(items, window.truth or (), metric, weights)


def score_of(
    items: npt.NDArray[np.int32], truths: Sequence[Truth], metric: Metric, weights: Sequence[float]
) -> tuple[float, list[float]]:
    """Return the same for the ground truth of each list."""
    scores = []
    for number, truth in enumerate(truths):
        relevant = Relevant(truth.items.astype(np.int64), truth.offsets)
        scores.append(float(metric.compute(relevant, items[:, number])) if len(truth.items) else float("nan"))
    counted = np.array([w for w, s in zip(weights, scores, strict=True) if not np.isnan(s)])
    values = np.array([s for s in scores if not np.isnan(s)])
    if not counted.sum():
        return float("nan"), scores
    return float(sum(weights) * (counted @ values) / counted.sum()), scores


def mean_score(parts: Sequence[tuple[float, list[float]]]) -> tuple[float, list[float]]:
    """Return the mean over windows of their scores, and of each list's; windows without one are skipped."""

    def mean(values: Sequence[float]) -> float:
        defined = [v for v in values if not np.isnan(v)]
        return float(np.mean(defined)) if defined else float("nan")

    return mean([score for score, _ in parts]), [mean(of) for of in zip(*(each for _, each in parts), strict=True)]


def mean_recall(parts: Sequence[dict[str, list[SourceRecall]]]) -> dict[str, list[SourceRecall]]:
    """Return the mean over windows of each source's recall."""
    names = [f.name for f in fields(SourceRecall) if f.name != "name"]
    return {
        of: [
            SourceRecall(same[0].name, **{n: float(np.mean([getattr(r, n) for r in same])) for n in names})
            for same in zip(*(part[of] for part in parts), strict=True)
        ]
        for of in parts[0]
    }
