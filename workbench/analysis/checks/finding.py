"""Findings of the checks, and the data of their page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "SEVERITIES",
    "Adversarial",
    "CheckReport",
    "ColumnDrift",
    "DataFinding",
    "Nulls",
    "OrderPlot",
    "Periods",
    "worst_first",
]

SEVERITIES = ("serious", "notable", "minor")


@dataclass(frozen=True)
class DataFinding:
    """A finding of a check.

    Attributes
    ----------
    severity : str
        "serious" (a leak, or costs places on the leaderboard), "notable" or "minor".
    check : str
        "drift", "adversarial", "columns", "leak", "order", "repeats", "target", "time" or "nulls".
    column : str
        The column that it is about; empty for the data as a whole.
    text : str
        The finding, with figures.
    todo : str
        The recommended action.
    size : float
        The size of the effect, from 0 to 1: findings of the same severity are ranked by it.
    figures : dict
        The figures of `text`, by name.
    """

    severity: str
    check: str
    column: str
    text: str
    todo: str
    size: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)


def worst_first(findings: Sequence[DataFinding]) -> tuple[DataFinding, ...]:
    """Sort findings by severity, then by the size of the effect."""
    return tuple(sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), -f.size, f.check, f.column)))


@dataclass(frozen=True)
class ColumnDrift:
    """How a column differs between train and test.

    Attributes
    ----------
    column : str
    kind : str
        "number", "time" or "category".
    effect : float
        The Kolmogorov-Smirnov statistic of numbers and times, the total variation of categories beyond chance: from 0
        to 1.
    psi : float
        The population stability index over tenths of train, or over categories.
    unseen : float or None
        The share of test rows whose category train does not have.
    nulls_train, nulls_test : float
        Shares.
    bars : tuple of (label, share in train, share in test)
        A histogram, or the most frequent categories.
    """

    column: str
    kind: str
    effect: float
    psi: float
    unseen: float | None
    nulls_train: float
    nulls_test: float
    bars: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class Adversarial:
    """A model that tells train from test: its out-of-fold AUC and ROC curve, the columns by their share of the gain.

    `grouped_by` is the column whose groups were validated together, "" for none; `noise` is how far above 0.5 the AUC
    may be by chance.
    """

    auc: float
    roc: tuple[tuple[float, float], ...]
    gains: tuple[tuple[str, float], ...]
    left_out: tuple[str, ...]
    n_rows: int
    grouped_by: str = ""
    noise: float = 0.0


@dataclass(frozen=True)
class Periods:
    """The target by time: for each period its name, its train rows, and the target's median or a class's share."""

    column: str
    target: str
    what: str
    every: str
    lines: tuple[tuple[str, int, float], ...]


@dataclass(frozen=True)
class Nulls:
    """Nulls by column (share in train, in test), and the most frequent patterns of a row (columns, share of rows)."""

    shares: dict[str, tuple[float, float]]
    groups: tuple[tuple[str, ...], ...]
    patterns: tuple[tuple[tuple[str, ...], float], ...]


@dataclass(frozen=True)
class OrderPlot:
    """The mean of the target by row number or id, in `len(means)` equal groups of rows, and the score of that alone."""

    column: str
    means: tuple[float, ...]
    score: float
    measure: str


@dataclass(frozen=True)
class CheckReport:
    """The result of `wb check` for a competition.

    `sampled` has the numbers of train and test rows that distributions and models were computed on, out of `n_train`
    and `n_test`; counts of nulls, unseen values and duplicate rows are of all rows unless `facts` says otherwise.
    """

    slug: str
    title: str
    columns: tuple[str, ...]
    n_train: int
    n_test: int
    sampled: tuple[int, int]
    findings: tuple[DataFinding, ...]
    facts: tuple[tuple[str, str], ...]
    not_checked: tuple[str, ...]
    drift: tuple[ColumnDrift, ...]
    adversarial: Adversarial | None
    power: tuple[tuple[str, float, str], ...]
    order: tuple[OrderPlot, ...]
    target: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    periods: Periods | None
    nulls: Nulls
    seconds: float = 0.0

    def counts(self) -> dict[str, int]:
        """Count the findings of each severity."""
        return {s: sum(f.severity == s for f in self.findings) for s in SEVERITIES}
