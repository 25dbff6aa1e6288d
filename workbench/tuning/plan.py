"""How a search divides its time: the fidelity of its trials, the learning rate of full CV, and which trials get one.

Everything here is decided from numbers; nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from workbench.models.lightgbm.fold_scorer import Fidelity

__all__ = [
    "FULL_CV_RATES",
    "LOW_FIDELITY_RATE",
    "LowFidelity",
    "affordable_rate",
    "affordable_trials",
    "enough_rounds",
    "is_much_lower",
    "least_share",
    "low_fidelity_within",
    "low_fidelity_without_time",
    "not_clearly_worse",
    "repeated_cv_folds",
    "wanted_full_cvs",
    "with_fixed_rounds",
]

LOWEST_RATE, LOW_RATE, LOW_FIDELITY_RATE, HIGHEST_RATE = 0.03, 0.06, 0.1, 0.3
"""The learning rates of low-fidelity scores: the lower where the time allows. At a high one small trees do too well."""

USUAL = 30
"""The rounds that a fold takes are about this by the learning rate."""

MOST = 100
"""And at most this by the rate; less where the rate is a high one, since there the time is short."""

WANTED_TRIALS, FEWEST_TRIALS = 80, 40
"""So many low-fidelity trials should fit into their time. Below the fewer, scores get less reliable instead."""

LEAST_TRIALS, LEAST_ROUNDS = 5, 10
"""However short the time is, so many trials are to fit, but none is of fewer rounds than this."""

ENOUGH_VALID = 20_000
"""So many validated rows tell parameters apart as well as those of all folds do."""

LEAST_ROWS = 20_000
"""A share of the rows is never fewer train rows of a fold than this."""

WITHOUT_TIME_ROWS = 150_000
"""And so many are enough where no time is given."""

PRUNED_SHARE = 0.3
"""Of the folds' rounds are saved, since trials are pruned."""

FULL_CV_RATES = (0.02, 0.03, 0.05, 0.07, 0.1)
"""The learning rates that full CV may use; the lowest that the time allows."""

WANTED_FULL_CVS, FEWEST_FULL_CVS = 2.5, 1.3
"""So many parameter sets should fit into the time of full CV; fewer where one fold tells enough."""


@dataclass(frozen=True)
class LowFidelity:
    """How a trial is scored when many have to be: at a high learning rate, on fewer folds or fewer rows.

    Attributes
    ----------
    rate : float, or None
        The learning rate; None where it is searched.
    rounds, patience, every : int
        As `Fidelity` has them.
    share : float
        Of each fold's train rows.
    folds : tuple of int
        The folds that are scored.
    """

    rate: float | None
    rounds: int
    patience: int
    every: int
    share: float
    folds: tuple[int, ...]

    @property
    def fidelity(self) -> Fidelity:
        """How one of the folds is scored."""
        return Fidelity(self.rate, self.rounds, self.patience, self.every, self.share)

    def content(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self) | {"folds": list(self.folds)}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> LowFidelity:
        """Return what `content` gave."""
        return cls(**{**content, "folds": tuple(content["folds"])})

    def left_out(self, n_folds: int) -> str:
        """Say which folds and rows are not scored; nothing where all of them are."""
        folds = "" if len(self.folds) == n_folds else f", of {len(self.folds)} of {n_folds} folds"
        return folds + ("" if self.share == 1.0 else f", of {self.share:.0%} of the rows")


def low_fidelity_without_time(train_rows: Sequence[int], *, searches_rate: bool) -> LowFidelity:
    """Return the fidelity of trials where only their number is limited.

    Parameters
    ----------
    train_rows : sequence of int
        The train rows of each fold.
    searches_rate : bool
    """
    n_rows = float(np.mean(train_rows))
    folds = tuple(range(len(train_rows)))
    return _low_fidelity(LOW_FIDELITY_RATE, WITHOUT_TIME_ROWS / n_rows, folds, n_rows, searches_rate=searches_rate)


def low_fidelity_within(
    seconds: float,
    per_round: float,
    train_rows: Sequence[int],
    valid_rows: Sequence[int],
    *,
    all_folds: bool,
    searches_rate: bool,
) -> LowFidelity:
    """Return the fidelity at which enough trials fit into their time.

    Cuts are made in order of least information lost: folds beyond those that validate enough rows, then half of the
    trials, then the low learning rate, then rows. Fewer rows and a higher rate both make small trees look better than
    they are, the highest rates most of all, so those are the last resort.

    Parameters
    ----------
    seconds : float
        For all low-fidelity trials.
    per_round : float
        Seconds that a round of one fold takes on all of its rows.
    train_rows, valid_rows : sequence of int
        Of each fold.
    all_folds : bool
        Whether every fold has to be scored.
    """
    n_folds, n_rows = len(train_rows), float(np.mean(train_rows))
    # The last of equals: folds in time grow, and the last one is nearest to what is to be predicted.
    order = sorted(range(n_folds), key=lambda k: (train_rows[k], k), reverse=True)
    fold = max(1e-9, (1 - PRUNED_SHARE) * per_round * USUAL)
    min_folds = n_folds if all_folds else min(n_folds, math.ceil(ENOUGH_VALID / max(1.0, float(np.mean(valid_rows)))))
    affordable_folds = seconds / WANTED_TRIALS / (fold / LOW_RATE)
    n_scored = int(min(n_folds, max(min_folds, affordable_folds)))
    # The rate at which the wanted trials fit; if it is above LOW_RATE, the rate at which FEWEST_TRIALS fit.
    rate = WANTED_TRIALS * n_scored * fold / seconds
    if rate > LOW_RATE:
        rate = max(LOW_RATE, FEWEST_TRIALS * n_scored * fold / seconds)
    share = min(1.0, max(LOW_FIDELITY_RATE / rate, least_share(train_rows)))
    rate = min(HIGHEST_RATE, max(LOWEST_RATE, min(rate, LOW_FIDELITY_RATE), rate * share))
    # Where the time is too short for all of that, at least a few are scored: on fewer folds, with fewer rounds.
    rounds = int(seconds / LEAST_TRIALS / (per_round * share))
    if not all_folds:
        n_scored = max(1, min(n_scored, rounds // LEAST_ROUNDS))
    fidelity = _low_fidelity(rate, share, tuple(sorted(order[:n_scored])), n_rows, searches_rate=searches_rate)
    return replace(fidelity, rounds=min(fidelity.rounds, max(LEAST_ROUNDS, rounds // n_scored)))


def least_share(train_rows: Sequence[int]) -> float:
    """Return the smallest share of a fold's rows that a low-fidelity score may use."""
    return min(1.0, LEAST_ROWS / float(np.mean(train_rows)))


def _low_fidelity(
    rate: float, share: float, folds: tuple[int, ...], n_rows: float, *, searches_rate: bool
) -> LowFidelity:
    return LowFidelity(
        None if searches_rate else float(f"{rate:.2g}"),
        int((MOST if rate <= LOW_FIDELITY_RATE else 1.5 * USUAL) / rate),
        max(10, round(3 / rate)),
        1 if n_rows < LEAST_ROWS else 5,
        1.0 if share > 0.8 else float(f"{share:.3g}"),
        folds,
    )


def with_fixed_rounds(low: LowFidelity, rounds: int, rate: float) -> LowFidelity:
    """Return the fidelity for models without early stopping: a higher rate takes proportionally fewer rounds.

    Parameters
    ----------
    rounds : int
    rate : float
        Of full CV.
    """
    if low.rate is None:
        return replace(low, rounds=rounds, patience=0)
    higher = max(low.rate, rate)
    return replace(low, rate=higher, rounds=max(1, round(rounds * rate / higher)), patience=0)


def wanted_full_cvs(valid_rows: Sequence[int], *, all_folds: bool) -> float:
    """Return how many parameter sets should fit into the time of full CV."""
    return FEWEST_FULL_CVS if not all_folds and float(np.mean(valid_rows)) >= ENOUGH_VALID else WANTED_FULL_CVS


def affordable_rate(
    seconds: float, fold_seconds: Sequence[float], low: LowFidelity, n_folds: int, wanted: float
) -> float:
    """Return the lowest learning rate at which enough parameter sets can be scored on all folds.

    Parameters
    ----------
    seconds : float
        For all of full CV.
    fold_seconds : sequence of float
        What a fold of the best low-fidelity trials took.
    wanted : float
        How many sets should fit.
    """
    for rate in FULL_CV_RATES:
        # Its patience is longer, too.
        slower = 1.2 * (low.rate or LOW_FIDELITY_RATE) / rate / low.share
        if seconds >= wanted * n_folds * slower * float(np.median(fold_seconds)):
            return rate
    return FULL_CV_RATES[-1]


def is_much_lower(rate: float, previous: float) -> bool:
    """Say whether a rate is so much lower than the previous one that full CV is worth repeating."""
    rates = FULL_CV_RATES
    return previous in rates and rate in rates and rates.index(previous) - rates.index(rate) > 1


def enough_rounds(rate: float, rounds: int, patience: int) -> tuple[int, int]:
    """Return the most rounds and the patience that a learning rate needs, at least those given.

    At a low rate a score stands still for longer: with a patience of 50 rounds, trees of three columns each were
    stopped at the ninth round of 700.
    """
    return max(rounds, int(300 / rate)), max(patience, round(3 / rate))


def not_clearly_worse(
    scores: Mapping[int, Sequence[float]], initial: int | None, *, greater_is_better: bool
) -> list[int]:
    """Return the trials that are not clearly worse than the best of them, the best first.

    Parameters
    ----------
    scores : mapping
        Trial -> its scores of the same folds.
    initial : int, or None
        The trial of the experiment's own parameters, which is always among them: it is what is to be beaten.
    """
    sign = 1.0 if greater_is_better else -1.0
    ranked = sorted(scores, key=lambda n: -sign * float(np.mean(scores[n])))
    best = scores[ranked[0]]
    gains = {n: [sign * (a - b) for a, b in zip(scores[n], best, strict=True)] for n in ranked}
    return [n for n in ranked if n == initial or not _is_worse(gains[n])]


def _is_worse(gains: Sequence[float]) -> bool:
    """Say whether two or more folds leave little hope: each is worse, and by more than they differ."""
    differences = np.array(gains)
    return len(differences) > 1 and bool((differences < 0).all() and differences.mean() + differences.std() < 0)


def affordable_trials(ranked: Sequence[int], room: float, initial: int | None) -> list[int]:
    """Return the first of the trials, as many as there is room for, and one in any case.

    The `initial` trial stays where there is room for two better ones.
    """
    n = int(max(1.0, min(room, len(ranked))))
    fitting = list(ranked[:n])
    if initial is not None and initial in ranked and initial not in fitting and n > 2:
        return [*fitting[:-1], initial]
    return fitting


def repeated_cv_folds(seconds: float, fold_seconds: Sequence[float], n_folds: int) -> tuple[int, int]:
    """Return how many other folds there is time for, and for how many parameter sets.

    Parameters
    ----------
    seconds : float
        For all of them.
    fold_seconds : sequence of float
        What a fold of each parameter set takes; the best one comes first.
    """
    for n_sets in range(len(fold_seconds), 1, -1):
        fitting = 0.9 * seconds / max(1e-9, sum(fold_seconds[:n_sets]))
        if fitting >= 1:
            return int(min(n_folds, fitting)), n_sets
    return int(max(1.0, min(n_folds, 0.9 * seconds / max(1e-9, sum(fold_seconds[:1]))))), 1
