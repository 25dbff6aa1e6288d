"""Findings of the checks, and the data for their page."""

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
        The affected column; empty for the data as a whole.
    text : str
        The finding, with figures.
    todo : str
        The recommended action.
    size : float
        The size of the effect, from 0 to 1, by which findings of the same severity are ranked.
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
    """The difference of a column between train and test.

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
        The share of test rows with a category that train does not have; None for other columns.
    nulls_train, nulls_test : float
        The shares of nulls.
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
    """The result of adversarial validation.

    Attributes
    ----------
    auc : float
        Out of fold.
    roc : tuple of (float, float)
        Points of the ROC curve.
    gains : tuple of (column, share of the gain)
        The largest first.
    left_out : tuple of str
        The excluded columns.
    n_rows : int
        Rows of train and test.
    grouped_by : str
        The column whose groups were validated together, "" for none.
    noise : float
        How far above 0.5 the AUC may be by chance.
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
    """The target by period.

    Attributes
    ----------
    column, target : str
        The time column and the target.
    what : str
        The statistic: the target's median, or the share of a class.
    every : str
        The length of a period, such as "day".
    lines : tuple of (period, number of train rows, statistic)
    """

    column: str
    target: str
    what: str
    every: str
    lines: tuple[tuple[str, int, float], ...]


@dataclass(frozen=True)
class Nulls:
    """Null values.

    Attributes
    ----------
    shares : dict
        Column -> (share in train, share in test).
    groups : tuple of tuple of str
        Columns that are null in the same rows.
    patterns : tuple of (columns, share of rows)
        The most frequent combinations of columns that are null in a row.
    """

    shares: dict[str, tuple[float, float]]
    groups: tuple[tuple[str, ...], ...]
    patterns: tuple[tuple[tuple[str, ...], float], ...]


@dataclass(frozen=True)
class OrderPlot:
    """The target by row number or id.

    Attributes
    ----------
    column : str
    means : tuple of float
        The mean of the target in equal groups of rows, in this order.
    score : float
        How well the order alone predicts the target.
    measure : str
        "AUC" or "R2".
    """

    column: str
    means: tuple[float, ...]
    score: float
    measure: str


@dataclass(frozen=True)
class CheckReport:
    """The result of `wb check` for a competition.

    Attributes
    ----------
    sampled : tuple of (int, int)
        The numbers of train and test rows on which distributions and models were computed; counts of nulls, unseen
        values and duplicate rows are over all rows unless `facts` has a note.
    facts : tuple of (title, text)
    power : tuple of (column, score, measure)
        How well each column alone predicts the first target, the best first.
    target : tuple of (target, bars)
        The distribution of each target: bars of (value, count).
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
