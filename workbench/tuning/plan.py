"""Pure functions that plan a search: the fidelity of trials, the learning rate of full CV, the trials that get one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    "low_fidelity_within",
    "low_fidelity_without_time",
    "min_row_share",
    "not_clearly_worse",
    "repeated_cv_folds",
    "target_full_cvs",
    "with_fixed_rounds",
]

MIN_RATE, LOW_RATE, LOW_FIDELITY_RATE, MAX_RATE = 0.03, 0.06, 0.1, 0.3
"""The learning rates of low-fidelity scores; the lower ones where the time allows. At high rates small trees score
better than they do at the low rate of full CV."""

TYPICAL_ROUNDS_TIMES_RATE = 30
"""A fold takes about 30 / rate rounds; measured on a few tables."""

MAX_ROUNDS_TIMES_RATE = 100
"""The limit of rounds is 100 / rate, and lower above `LOW_FIDELITY_RATE`, which is used where the time is short."""

TARGET_TRIALS, ACCEPTABLE_TRIALS = 80, 40
"""The number of low-fidelity trials that should fit into their time; fidelity is reduced to reach the second one."""

MIN_TRIALS, MIN_ROUNDS = 5, 10
"""In a very short time rounds are reduced until this many trials fit, but never below this many rounds."""

ENOUGH_VALID_ROWS = 20_000
"""This many validated rows rank parameters as well as those of all folds do."""

MIN_ROWS = 20_000
"""A share of the rows has at least this many train rows of a fold."""

ROWS_WITHOUT_TIME_LIMIT = 150_000
"""The train rows of a fold that trials use where only their number is limited."""

PRUNED_SHARE = 0.3
"""The share of the folds' rounds that pruning saves."""

FULL_CV_RATES = (0.02, 0.03, 0.05, 0.07, 0.1)
"""The learning rates that full CV may use; it takes the lowest one that the time allows."""

TARGET_FULL_CVS, TARGET_FULL_CVS_OF_LARGE_FOLDS = 2.5, 1.3
"""The number of parameter sets that should fit into the time of full CV; fewer where one fold ranks them well."""


@dataclass(frozen=True)
class LowFidelity:
    """The fidelity of a study's trials: a high learning rate, and some of the folds or rows.

    Attributes
    ----------
    learning_rate : float, or None
        The learning rate; None where it is searched.
    rounds, patience, evaluation_interval : int
        See `Fidelity`.
    row_share : float
        The share of each fold's train rows.
    folds : tuple of int
        The folds that are scored.
    """

    learning_rate: float | None
    rounds: int
    patience: int
    evaluation_interval: int
    row_share: float
    folds: tuple[int, ...]

    @property
    def fidelity(self) -> Fidelity:
        """The fidelity of a single fold."""
        return Fidelity(self.learning_rate, self.rounds, self.patience, self.evaluation_interval, self.row_share)

    def content(self) -> dict[str, Any]:
        """Return its fields as JSON values; the keys are those of all studies."""
        return {
            "rate": self.learning_rate,
            "rounds": self.rounds,
            "patience": self.patience,
            "every": self.evaluation_interval,
            "share": self.row_share,
            "folds": list(self.folds),
        }

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> LowFidelity:
        """Return the fidelity whose `content` this is."""
        return cls(
            learning_rate=content["rate"],
            rounds=content["rounds"],
            patience=content["patience"],
            evaluation_interval=content["every"],
            row_share=content["share"],
            folds=tuple(content["folds"]),
        )

    def reduction(self, n_folds: int) -> str:
        """Return ", of 2 of 5 folds, of 50% of the rows"; empty where all of them are used."""
        folds = "" if len(self.folds) == n_folds else f", of {len(self.folds)} of {n_folds} folds"
        return folds + ("" if self.row_share == 1.0 else f", of {self.row_share:.0%} of the rows")


def low_fidelity_without_time(train_rows: Sequence[int], *, searches_rate: bool) -> LowFidelity:
    """Return the fidelity of trials where only their number is limited.

    Parameters
    ----------
    train_rows : sequence of int
        The number of train rows of each fold.
    searches_rate : bool
        Whether the learning rate is searched.
    """
    n_rows = float(np.mean(train_rows))
    folds = tuple(range(len(train_rows)))
    return _low_fidelity(
        LOW_FIDELITY_RATE, ROWS_WITHOUT_TIME_LIMIT / n_rows, folds, n_rows, searches_rate=searches_rate
    )


def low_fidelity_within(
    seconds: float,
    round_seconds: float,
    train_rows: Sequence[int],
    valid_rows: Sequence[int],
    *,
    all_folds: bool,
    searches_rate: bool,
) -> LowFidelity:
    """Return the fidelity at which enough trials fit into their time.

    What loses the least information is reduced first: folds beyond those that validate enough rows, then half of the
    trials, then the low learning rate, then rows. With fewer rows and higher rates small trees score too well, most
    of all at the highest rates.

    Parameters
    ----------
    seconds : float
        For all low-fidelity trials.
    round_seconds : float
        The seconds of a boosting round on all rows of a fold.
    train_rows, valid_rows : sequence of int
        Numbers of rows of each fold.
    all_folds : bool
        Whether every fold has to be scored.
    searches_rate : bool
        Whether the learning rate is searched.
    """
    n_folds, n_rows = len(train_rows), float(np.mean(train_rows))
    # The largest folds first; of equal ones the last, which in time is nearest to the test rows.
    folds_by_size = sorted(range(n_folds), key=lambda k: (train_rows[k], k), reverse=True)
    # A fold takes fold_s_times_rate / learning_rate seconds.
    fold_s_times_rate = max(1e-9, (1 - PRUNED_SHARE) * round_seconds * TYPICAL_ROUNDS_TIMES_RATE)
    min_folds = (
        n_folds if all_folds else min(n_folds, math.ceil(ENOUGH_VALID_ROWS / max(1.0, float(np.mean(valid_rows)))))
    )
    affordable_folds = seconds / TARGET_TRIALS / (fold_s_times_rate / LOW_RATE)
    n_scored = int(min(n_folds, max(min_folds, affordable_folds)))
    learning_rate = TARGET_TRIALS * n_scored * fold_s_times_rate / seconds
    if learning_rate > LOW_RATE:
        learning_rate = max(LOW_RATE, ACCEPTABLE_TRIALS * n_scored * fold_s_times_rate / seconds)
    row_share = min(1.0, max(LOW_FIDELITY_RATE / learning_rate, min_row_share(train_rows)))
    learning_rate = min(MAX_RATE, max(MIN_RATE, min(learning_rate, LOW_FIDELITY_RATE), learning_rate * row_share))
    # If even this is too slow, a few trials are scored on fewer folds and with fewer rounds.
    affordable_rounds = int(seconds / MIN_TRIALS / (round_seconds * row_share))
    if not all_folds:
        n_scored = max(1, min(n_scored, affordable_rounds // MIN_ROUNDS))
    fidelity = _low_fidelity(
        learning_rate, row_share, tuple(sorted(folds_by_size[:n_scored])), n_rows, searches_rate=searches_rate
    )
    return replace(fidelity, rounds=min(fidelity.rounds, max(MIN_ROUNDS, affordable_rounds // n_scored)))


def min_row_share(train_rows: Sequence[int]) -> float:
    """Return the smallest share of a fold's train rows that a low-fidelity score may use."""
    return min(1.0, MIN_ROWS / float(np.mean(train_rows)))


def _low_fidelity(
    learning_rate: float, row_share: float, folds: tuple[int, ...], n_rows: float, *, searches_rate: bool
) -> LowFidelity:
    return LowFidelity(
        None if searches_rate else float(f"{learning_rate:.2g}"),
        int(
            (MAX_ROUNDS_TIMES_RATE if learning_rate <= LOW_FIDELITY_RATE else 1.5 * TYPICAL_ROUNDS_TIMES_RATE)
            / learning_rate
        ),
        max(10, round(3 / learning_rate)),
        1 if n_rows < MIN_ROWS else 5,
        1.0 if row_share > 0.8 else float(f"{row_share:.3g}"),
        folds,
    )


def with_fixed_rounds(low_fidelity: LowFidelity, rounds: int, learning_rate: float) -> LowFidelity:
    """Return the fidelity for models without early stopping: a higher rate takes proportionally fewer rounds.

    Parameters
    ----------
    low_fidelity : LowFidelity
    rounds : int
    learning_rate : float
        The learning rate of full CV.
    """
    if low_fidelity.learning_rate is None:
        return replace(low_fidelity, rounds=rounds, patience=0)
    higher_rate = max(low_fidelity.learning_rate, learning_rate)
    fewer_rounds = max(1, round(rounds * learning_rate / higher_rate))
    return replace(low_fidelity, learning_rate=higher_rate, rounds=fewer_rounds, patience=0)


def target_full_cvs(valid_rows: Sequence[int], *, all_folds: bool) -> float:
    """Return how many parameter sets should fit into the time of full CV."""
    return (
        TARGET_FULL_CVS_OF_LARGE_FOLDS
        if not all_folds and float(np.mean(valid_rows)) >= ENOUGH_VALID_ROWS
        else TARGET_FULL_CVS
    )


def affordable_rate(
    seconds: float, fold_seconds: Sequence[float], low_fidelity: LowFidelity, n_folds: int, n_parameter_sets: float
) -> float:
    """Return the lowest learning rate at which enough parameter sets can be scored on all folds.

    Parameters
    ----------
    seconds : float
        For all of full CV.
    fold_seconds : sequence of float
        The seconds of a low-fidelity fold of each of the best trials.
    low_fidelity : LowFidelity
    n_folds : int
    n_parameter_sets : float
        The number of parameter sets that should fit.
    """
    for learning_rate in FULL_CV_RATES:
        # A fifth more, as the patience is longer, too.
        slowdown = 1.2 * (low_fidelity.learning_rate or LOW_FIDELITY_RATE) / learning_rate / low_fidelity.row_share
        if seconds >= n_parameter_sets * n_folds * slowdown * float(np.median(fold_seconds)):
            return learning_rate
    return FULL_CV_RATES[-1]


def is_much_lower(learning_rate: float, previous: float) -> bool:
    """Return whether a rate is two or more steps below the previous one: then full CV is worth repeating."""
    rates = FULL_CV_RATES
    return previous in rates and learning_rate in rates and rates.index(previous) - rates.index(learning_rate) > 1


def enough_rounds(learning_rate: float, rounds: int, patience: int) -> tuple[int, int]:
    """Return the limit of rounds and the patience that a learning rate needs, at least the given ones.

    At a low rate the score stagnates for longer: with a patience of 50 rounds, a model with three columns per tree
    stopped at round 9 instead of 700.
    """
    return max(rounds, int(300 / learning_rate)), max(patience, round(3 / learning_rate))


def not_clearly_worse(
    scores: Mapping[int, Sequence[float]], initial: int | None, *, greater_is_better: bool
) -> list[int]:
    """Return the trials that are not clearly worse than the best of them, the best first.

    Parameters
    ----------
    scores : mapping
        Trial -> its scores, of the same folds.
    initial : int, or None
        The trial of the experiment's own parameters, which is never excluded: the others are compared with it.
    greater_is_better : bool
    """
    sign = 1.0 if greater_is_better else -1.0
    ranked = sorted(scores, key=lambda n: -sign * float(np.mean(scores[n])))
    best = scores[ranked[0]]
    gains = {n: [sign * (a - b) for a, b in zip(scores[n], best, strict=True)] for n in ranked}
    return [n for n in ranked if n == initial or not _is_clearly_worse(gains[n])]


def _is_clearly_worse(gains: Sequence[float]) -> bool:
    """Return whether all of two or more folds are worse, on average by more than their standard deviation."""
    differences = np.array(gains)
    return len(differences) > 1 and bool((differences < 0).all() and differences.mean() + differences.std() < 0)


def affordable_trials(ranked: Sequence[int], n_affordable: float, initial: int | None) -> list[int]:
    """Return the first `n_affordable` of the trials, at least one.

    The `initial` trial replaces the last of three or more.
    """
    n_trials = int(max(1.0, min(n_affordable, len(ranked))))
    affordable = list(ranked[:n_trials])
    if initial is not None and initial in ranked and initial not in affordable and n_trials > 2:
        return [*affordable[:-1], initial]
    return affordable


def repeated_cv_folds(seconds: float, fold_seconds: Sequence[float], n_folds: int) -> tuple[int, int]:
    """Return the numbers of folds and of parameter sets that there is time for: fewer folds, before fewer sets.

    Parameters
    ----------
    seconds : float
        For all of repeated CV.
    fold_seconds : sequence of float
        The seconds of a fold of each parameter set, the best set first.
    n_folds : int
        The number of other folds.
    """
    for n_parameter_sets in range(len(fold_seconds), 1, -1):
        affordable_folds = 0.9 * seconds / max(1e-9, sum(fold_seconds[:n_parameter_sets]))
        if affordable_folds >= 1:
            return int(min(n_folds, affordable_folds)), n_parameter_sets
    return int(max(1.0, min(n_folds, 0.9 * seconds / max(1e-9, sum(fold_seconds[:1]))))), 1
