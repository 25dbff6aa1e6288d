"""The task from the target and the metric, and the metric from the platform's words."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import polars as pl

from workbench import metrics
from workbench.core.errors import NotFoundError
from workbench.data.inference.answer import Answer
from workbench.data.inference.tables import DataTable, Roles
from workbench.platforms.protocol import CompetitionFacts

__all__ = ["Task", "find_task"]

USUAL_METRIC = {"binary": "auc", "multiclass": "mlogloss", "regression": "rmse"}
OF_CLASS_PROBABILITIES = ("mlogloss", "balanced_logloss", "pf1")
"""Metrics of probabilities that score classes alone; a log loss, an AUC and a Gini take amounts from 0 to 1, too."""

FEW_VALUES = 20
SPACED = 1.5
"""Classes are counted, from 0 or 1 or any number; one in three may be missing."""


@dataclass(frozen=True)
class Task:
    """The task and the metric, each with the reason; `stands_for` is the metric of the platform that it replaces."""

    task: str
    metric: str
    stands_for: str | None
    why_task: str
    why_metric: str


def find_task(roles: Roles, answer: Answer, facts: CompetitionFacts) -> Task:
    """Find the task and the metric."""
    words = facts.metric or ""
    if ".py:" in words and facts.task:
        return Task(facts.task, words, None, "said by the platform", "said by the platform")
    if facts.task:
        task, why_task = facts.task, "said by the platform"
    else:
        task, why_task = _task(roles, answer, metrics.find(words) if words else None, words)
    metric, stands_for, why_metric = _metric(roles, answer, facts, task)
    return Task(task, metric, stands_for, why_task, why_metric)


def _task(roles: Roles, answer: Answer, metric: str | None, words: str) -> tuple[str, str]:  # noqa: PLR0911
    train, name = roles.train, answer.targets[0]
    if answer.by_class:
        return (
            "multiclass",
            f"{answer.sample_columns[0]}, {answer.sample_columns[1]} and so on are the values of {name}",
        )
    n, dtype = train.unique(name), train.dtype(name)
    is_number = dtype.startswith(("Int", "UInt", "Float"))
    prediction_type = _prediction_type(metric)
    if prediction_type == "value":
        return "regression", f"{words} scores amounts"
    of_classes = prediction_type == "label" or metric in OF_CLASS_PROBABILITIES
    shown = _amounts_of(roles.sample, answer) if is_number and not of_classes and metric != "logloss" else None
    if n == 2 and shown is not None and not 0 <= shown <= 1:
        return "regression", f"{name} is a number, and the sample has {shown:g}: an amount"
    if n == 2:
        return "binary", f"{name} has two values"
    if not is_number:
        return "multiclass", f"{name} is text with {n:,} values"
    scores_classes = of_classes or (metric or "").endswith("@")
    if scores_classes and n <= FEW_VALUES * 50 and _holds_integers(train, name):
        return "multiclass", f"{name} has {n:,} values and {words} scores classes"
    if shown is not None:
        return "regression", f"{name} is a number, and the sample has {shown:g}: an amount"
    if not dtype.startswith("Float") and n <= FEW_VALUES and _is_spaced(train, name, n):
        return (
            "regression",
            f"{name} is a whole number with {n} values far apart; if they are classes, write multiclass",
        )
    if not dtype.startswith("Float") and n <= FEW_VALUES:
        return "multiclass", f"{name} is a whole number with {n} values; if they are an amount, write regression"
    return "regression", f"{name} is a number with {n:,} values"


def _amounts_of(sample: DataTable | None, answer: Answer) -> float | None:
    """Return a value with a fraction from the sample's column: no label of a whole number has one."""
    if sample is None or not answer.sample_columns or not sample.dtype(answer.sample_columns[0]).startswith("Float"):
        return None
    value = pl.col(answer.sample_columns[0])
    odd = sample.scan.select(value.filter(value.is_finite() & (value != value.floor())).first())
    fraction = odd.collect(engine="streaming").item()
    return None if fraction is None else float(fraction)


def _is_spaced(train: DataTable, name: str, n: int) -> bool:
    """Say whether whole numbers lie so far apart that they count no classes."""
    low, high = (
        train.scan.select(pl.col(name).min(), pl.col(name).max().alias("high")).collect(engine="streaming").row(0)
    )
    return int(high) - int(low) + 1 > SPACED * n


def _holds_integers(train: DataTable, name: str) -> bool:
    column = train.select([name])[name].drop_nulls()
    return bool((column == column.floor()).all())


def _metric(roles: Roles, answer: Answer, facts: CompetitionFacts, task: str) -> tuple[str, str | None, str]:
    words = facts.metric
    if words and ".py:" in words:
        return words, None, "said by the platform"
    usual, of = USUAL_METRIC[task], "the task"
    if task == "binary" and _shows_labels(roles.sample, answer):
        usual, of = "accuracy", "labels, which the sample has"
    if not words:
        return usual, None, f"the platform does not say which: the usual one for {of}"
    metric = metrics.find(words, task=task) or _by_name(words)
    source = f"{words!r} on the platform"
    if metric and metric.endswith("@"):
        length = _list_length(roles.sample, answer)
        return f"{metric}{length}", None, f"{source}; {length} is what the sample has in a cell"
    if metric == "wmae" and not facts.weight_column:
        why = (
            f"{source}, whose weights are in no column: without weights it is mae; with them wmae, and "
            'weight = "COLUMN", or an expression such as "IsHoliday * 4 + 1"'
        )
        return "mae", words, why
    if metric and _fits(metric, task):
        return metric, None, source
    why = f"{source}, which is not built in" if metric is None else f"{source}, which does not fit the task"
    return usual, words, f"{why}: the usual one for {of} stands in"


def _shows_labels(sample: DataTable | None, answer: Answer) -> bool:
    """Say whether the sample holds texts where a probability would be a number."""
    if sample is None or len(answer.sample_columns) != 1:
        return False
    return sample.dtype(answer.sample_columns[0]).startswith(("String", "Boolean"))


def _by_name(words: str) -> str | None:
    try:
        return metrics.get(words).name
    except NotFoundError:
        return None


def _prediction_type(metric: str | None) -> str:
    """Return what a metric takes, as `Metric.needs` has it; "" for none that is known. "map@" lacks its number."""
    for name in () if metric is None else (metric.removesuffix("@"), f"{metric}1"):
        with suppress(NotFoundError):
            return metrics.get(name).needs
    return ""


def _fits(metric: str, task: str) -> bool:
    if task == "regression":
        return metrics.get(metric).needs == "value" or metric in ("gini", "auc")
    return _prediction_type(metric) != "value"


def _list_length(sample: DataTable | None, answer: Answer) -> int:
    """Return how many labels a cell of the sample holds."""
    if sample is None or not sample.dtype(answer.sample_columns[0]).startswith("String"):
        return 1
    cells = sample.scan.select(
        pl.col(answer.sample_columns[0]).str.strip_chars().str.split(" ").list.len().max()
    ).collect()
    return int(cells.item() or 1)
