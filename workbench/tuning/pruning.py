"""Pruning of trials: within a fold by its learning curve, after a fold by its scores."""

from __future__ import annotations

import bisect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Curve", "Curves", "is_prunable"]

P_VALUE = 0.2
"""The one-sided test of three folds that are all worse gives 1/8, the least that three folds can give."""

MIN_FOLDS = 3

TOP_TRIALS = 5
"""A trial is compared with the last of this many best ones: one that is only worse than the very best is not pruned."""

MIN_CURVE_SHARE = 0.3
"""Curves are compared from this share of the top trials' median length on; earlier they are too noisy. Arbitrary."""

MAX_SLOWDOWN = 3
"""A trial may need this many times the leaves of the top trials. Trees of few columns, or with strong penalties, learn
slowly, and are often the best in the end."""


def is_prunable(scores: Mapping[int, float], other: Mapping[int, float], *, greater_is_better: bool) -> bool:
    """Return whether a trial is worse than another one on their common folds, by Wilcoxon's one-sided signed-rank test.

    The test uses differences fold by fold, so an easy fold is no advantage (Wilcoxon 1945; Optuna's WilcoxonPruner uses
    the same test against the best trial).

    Parameters
    ----------
    scores, other : mapping
        Fold -> score.
    greater_is_better : bool
    """
    from scipy.stats import wilcoxon

    folds = sorted(scores.keys() & other.keys())
    if len(folds) < MIN_FOLDS:
        return False
    gains = np.array([scores[k] - other[k] for k in folds]) * (1.0 if greater_is_better else -1.0)
    if gains.mean() >= 0:
        return False
    with warnings.catch_warnings():
        # It warns that there are too few folds for the normal approximation; it does not use that here.
        warnings.simplefilter("ignore")
        return bool(wilcoxon(gains, alternative="less", zero_method="zsplit").pvalue < P_VALUE)


@dataclass
class Curve:
    """The learning curve of one fold: the best value so far by the number of leaves grown.

    By leaves, not by rounds, small and large trees can be compared.
    """

    leaves: list[int] = field(default_factory=list)
    best: list[float] = field(default_factory=list)

    def add(self, leaves: int, best: float) -> None:
        """Append the best value after a number of leaves."""
        self.leaves.append(leaves)
        self.best.append(best)

    def best_at(self, leaves: int) -> float | None:
        """Return the best value after a number of leaves; after the curve's end its last one, before its start None."""
        n_points = bisect.bisect_right(self.leaves, leaves)
        return self.best[n_points - 1] if n_points else None

    def thinned(self, points: int = 40) -> tuple[list[int], list[float]]:
        """Return about `points` evenly spaced points as (leaves, values); the last point is among them."""
        step = -(-len(self.leaves) // points) or 1
        last = len(self.leaves) - 1
        indices = [i for i in range(len(self.leaves)) if (last - i) % step == 0]
        return [self.leaves[i] for i in indices], [self.best[i] for i in indices]


@dataclass
class Curves:
    """The learning curves of finished folds.

    Attributes
    ----------
    by_fold : dict
        Fold -> trial -> curve.
    """

    greater_is_better: bool
    by_fold: dict[int, dict[int, Curve]] = field(default_factory=dict)

    def add(self, fold: int, trial: int, curve: Curve) -> None:
        """Add the curve of a finished fold."""
        if curve.leaves:
            self.by_fold.setdefault(fold, {})[trial] = curve

    def of_trial(self, trial: int) -> dict[str, tuple[list[int], list[float]]]:
        """Return a trial's curves by fold, thinned, to be stored as JSON for the study's other processes."""
        return {str(fold): curves[trial].thinned() for fold, curves in self.by_fold.items() if trial in curves}

    def load(self, fold: int, stored: Mapping[int, Mapping[str, Sequence[Sequence[float]]]]) -> None:
        """Add the curves of a fold that other processes stored, by trial."""
        for trial, curves in stored.items():
            if str(fold) in curves and trial not in self.by_fold.get(fold, {}):
                leaves, best = curves[str(fold)]
                self.add(fold, trial, Curve([int(n) for n in leaves], list(best)))

    def is_behind(self, fold: int, top_trials: Sequence[int], leaves: int, best: float) -> bool:
        """Return whether a value is worse than what all top trials had after a third of the leaves; False early on."""
        curves = [c for n in top_trials[:TOP_TRIALS] if (c := self.by_fold.get(fold, {}).get(n)) is not None]
        if len(curves) < TOP_TRIALS or leaves < MIN_CURVE_SHARE * float(np.median([c.leaves[-1] for c in curves])):
            return False
        sign = 1.0 if self.greater_is_better else -1.0
        values = [c.best_at(leaves // MAX_SLOWDOWN) for c in curves]
        return all(v is not None and sign * v > sign * best for v in values)
