"""When a trial is pruned: within a fold by its curve, between folds by its scores."""

from __future__ import annotations

import bisect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Curve", "Curves", "is_prunable"]

P_VALUE = 0.2
"""Of three folds that are all worse, the test says 1/8."""

FEWEST_FOLDS = 3

TOP_TRIALS = 5
"""A trial is held against the so many best: being worse than the very best is no reason to give up."""

EARLY = 0.3
"""Of the length of the top trials' curves; before that a curve says little."""

SLOWER = 3
"""A trial may need so many times the leaves. Trees of few columns each, or held back by penalties, learn slowly; they
are often the best in the end."""


def is_prunable(scores: Mapping[int, float], other: Mapping[int, float], *, greater_is_better: bool) -> bool:
    """Say whether the folds so far are worse than another trial's, by Wilcoxon's signed-rank test, one-sided.

    The differences are taken fold by fold, so that an easy fold is no advantage (Wilcoxon 1945; the same test as
    Optuna's WilcoxonPruner, which holds a trial against the best one).

    Parameters
    ----------
    scores, other : mapping
        Fold -> score.
    """
    from scipy.stats import wilcoxon

    folds = sorted(scores.keys() & other.keys())
    if len(folds) < FEWEST_FOLDS:
        return False
    gains = np.array([scores[k] - other[k] for k in folds]) * (1.0 if greater_is_better else -1.0)
    if gains.mean() >= 0:
        return False
    with warnings.catch_warnings():
        # With so few folds it says that its p-value is no normal approximation's.
        warnings.simplefilter("ignore")
        return bool(wilcoxon(gains, alternative="less", zero_method="zsplit").pvalue < P_VALUE)


@dataclass
class Curve:
    """The best value so far of one fold, by the leaves that were grown: trees of few leaves are many for the same."""

    leaves: list[int] = field(default_factory=list)
    best: list[float] = field(default_factory=list)

    def add(self, leaves: int, best: float) -> None:
        """Add the value after so many leaves."""
        self.leaves.append(leaves)
        self.best.append(best)

    def at(self, leaves: int) -> float | None:
        """Return the value after so many leaves; the last one where it ended before, None where it began after."""
        place = bisect.bisect_right(self.leaves, leaves)
        return self.best[place - 1] if place else None

    def thinned(self, points: int = 40) -> tuple[list[int], list[float]]:
        """Return at most about so many of its points, the last one among them."""
        every = -(-len(self.leaves) // points) or 1
        last = len(self.leaves) - 1
        chosen = [i for i in range(len(self.leaves)) if (last - i) % every == 0]
        return [self.leaves[i] for i in chosen], [self.best[i] for i in chosen]


@dataclass
class Curves:
    """The curves of finished folds, by fold and trial."""

    greater_is_better: bool
    of_fold: dict[int, dict[int, Curve]] = field(default_factory=dict)

    def keep(self, fold: int, trial: int, curve: Curve) -> None:
        """Keep a finished curve."""
        if curve.leaves:
            self.of_fold.setdefault(fold, {})[trial] = curve

    def of_trial(self, trial: int) -> dict[str, tuple[list[int], list[float]]]:
        """Return a trial's curves by fold, thinned, as JSON has them: for processes that did not train it."""
        return {str(fold): curves[trial].thinned() for fold, curves in self.of_fold.items() if trial in curves}

    def learn(self, fold: int, stored: Mapping[int, Mapping[str, Sequence[Sequence[float]]]]) -> None:
        """Take over curves of a fold that other processes left, by trial."""
        for trial, curves in stored.items():
            if str(fold) in curves and trial not in self.of_fold.get(fold, {}):
                leaves, best = curves[str(fold)]
                self.keep(fold, trial, Curve([int(n) for n in leaves], list(best)))

    def is_behind(self, fold: int, top_trials: Sequence[int], leaves: int, best: float) -> bool:
        """Say whether a fold is behind what all of the top trials had after a third of the leaves; never early on."""
        curves = [c for n in top_trials[:TOP_TRIALS] if (c := self.of_fold.get(fold, {}).get(n)) is not None]
        if len(curves) < TOP_TRIALS or leaves < EARLY * float(np.median([c.leaves[-1] for c in curves])):
            return False
        sign = 1.0 if self.greater_is_better else -1.0
        values = [c.at(leaves // SLOWER) for c in curves]
        return all(v is not None and sign * v > sign * best for v in values)
