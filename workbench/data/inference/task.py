"""Find the task from the target and the metric, and the metric from the platform's words."""

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

DEFAULT_METRICS = {"binary": "auc", "multiclass": "mlogloss", "regression": "rmse"}
ONLY_FOR_CLASSES = ("mlogloss", "balanced_logloss", "pf1")
"""Metrics of probabilities that only score classes; log loss, AUC and Gini are also used for amounts from 0 to 1."""

FEW_VALUES = 20
MAX_SPACING = 1.5
"""Classes are numbered consecutively, from 0 or any number; one of three numbers may be missing."""


@dataclass(frozen=True)
class Task:
    """The task and the metric, each with the reason; `stands_for` is the platform's metric if `metric` replaces it."""

    task: str
    metric: str
    stands_for: str | None
    why_task: str
    why_metric: str


def find_task(roles: Roles, answer: Answer, facts: CompetitionFacts) -> Task:
    """Find the task and the metric; those that the platform names take precedence."""
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
    """Return the task and the reason; `metric` is the built-in one for the platform's `words`, if any."""
    train, name = roles.train, answer.targets[0]
    if answer.by_class:
        return (
            "multiclass",
            f"{answer.sample_columns[0]}, {answer.sample_columns[1]} and so on are the values of {name}",
        )
    n_values, dtype = train.n_unique(name), train.dtype(name)
    is_number = dtype.startswith(("Int", "UInt", "Float"))
    prediction_type = _prediction_type(metric)
    if prediction_type == "value":
        return "regression", f"{words} scores amounts"
    is_for_classes = prediction_type == "label" or metric in ONLY_FOR_CLASSES
    fraction = (
        _fraction_in_sample(roles.sample, answer) if is_number and not is_for_classes and metric != "logloss" else None
    )
    if n_values == 2 and fraction is not None and not 0 <= fraction <= 1:
        return "regression", f"{name} is a number, and the sample has {fraction:g}: an amount"
    if n_values == 2:
        return "binary", f"{name} has two values"
    if not is_number:
        return "multiclass", f"{name} is text with {n_values:,} values"
    scores_classes = is_for_classes or (metric or "").endswith("@")
    if scores_classes and n_values <= FEW_VALUES * 50 and _holds_integers(train, name):
        return "multiclass", f"{name} has {n_values:,} values and {words} scores classes"
    if fraction is not None:
        return "regression", f"{name} is a number, and the sample has {fraction:g}: an amount"
    if not dtype.startswith("Float") and n_values <= FEW_VALUES and _is_spaced(train, name, n_values):
        return (
            "regression",
            f"{name} is a whole number with {n_values} values far apart; if they are classes, write multiclass",
        )
    if not dtype.startswith("Float") and n_values <= FEW_VALUES:
        return "multiclass", f"{name} is a whole number with {n_values} values; if they are an amount, write regression"
    return "regression", f"{name} is a number with {n_values:,} values"


def _fraction_in_sample(sample: DataTable | None, answer: Answer) -> float | None:
    """Return a value of the sample's prediction column that is no whole number, and so no label; None if all are."""
    if sample is None or not answer.sample_columns or not sample.dtype(answer.sample_columns[0]).startswith("Float"):
        return None
    value = pl.col(answer.sample_columns[0])
    first = sample.scan.select(value.filter(value.is_finite() & (value != value.floor())).first())
    fraction = first.collect(engine="streaming").item()
    return None if fraction is None else float(fraction)


def _is_spaced(train: DataTable, name: str, n_values: int) -> bool:
    """Tell whether integers are too far apart to be the numbers of classes."""
    low, high = (
        train.scan.select(pl.col(name).min(), pl.col(name).max().alias("high")).collect(engine="streaming").row(0)
    )
    return int(high) - int(low) + 1 > MAX_SPACING * n_values


def _holds_integers(train: DataTable, name: str) -> bool:
    column = train.select([name])[name].drop_nulls()
    return bool((column == column.floor()).all())


def _metric(roles: Roles, answer: Answer, facts: CompetitionFacts, task: str) -> tuple[str, str | None, str]:
    """Return the metric, the platform's metric where the first one replaces it, and the reason."""
    words = facts.metric
    if words and ".py:" in words:
        return words, None, "said by the platform"
    default, basis = DEFAULT_METRICS[task], "the task"
    if task == "binary" and _shows_labels(roles.sample, answer):
        default, basis = "accuracy", "labels, which the sample has"
    if not words:
        return default, None, f"the platform does not say which: the usual one for {basis}"
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
    return default, words, f"{why}: the usual one for {basis} stands in"


def _shows_labels(sample: DataTable | None, answer: Answer) -> bool:
    """Tell whether the sample's only prediction column holds labels rather than numbers."""
    if sample is None or len(answer.sample_columns) != 1:
        return False
    return sample.dtype(answer.sample_columns[0]).startswith(("String", "Boolean"))


def _by_name(words: str) -> str | None:
    try:
        return metrics.get(words).name
    except NotFoundError:
        return None


def _prediction_type(metric: str | None) -> str:
    """Return the kind of predictions that a metric takes (`Metric.prediction_type`), "" for an unknown metric."""
    # "map@" is a name without its K, for which any number does.
    for name in () if metric is None else (metric.removesuffix("@"), f"{metric}1"):
        with suppress(NotFoundError):
            return metrics.get(name).prediction_type
    return ""


def _fits(metric: str, task: str) -> bool:
    if task == "regression":
        return metrics.get(metric).prediction_type == "value" or metric in ("gini", "auc")
    return _prediction_type(metric) != "value"


def _list_length(sample: DataTable | None, answer: Answer) -> int:
    """Return the largest number of labels in a cell of the sample."""
    if sample is None or not sample.dtype(answer.sample_columns[0]).startswith("String"):
        return 1
    cells = sample.scan.select(
        pl.col(answer.sample_columns[0]).str.strip_chars().str.split(" ").list.len().max()
    ).collect()
    return int(cells.item() or 1)
