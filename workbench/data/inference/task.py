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
"""Whole numbers with at most this many distinct values may be classes."""

MAX_SPACING = 1.5
"""Classes are numbered consecutively, from 0 or any number; one of three numbers may be missing."""


@dataclass(frozen=True)
class Task:
    """The task and the metric, each with the reason.

    `metric_of_platform` is the platform's name for its metric, where `metric` only approximates it.
    """

    task: str
    metric: str
    metric_of_platform: str | None
    why_task: str
    why_metric: str


def find_task(roles: Roles, answer: Answer, facts: CompetitionFacts) -> Task:
    """Find the task and the metric; those that the platform names take precedence."""
    platform_metric = facts.metric or ""
    if ".py:" in platform_metric and facts.task:
        return Task(facts.task, platform_metric, None, "stated by the platform", "stated by the platform")
    if facts.task:
        task, why_task = facts.task, "stated by the platform"
    else:
        metric = metrics.find(platform_metric) if platform_metric else None
        task, why_task = _task(roles, answer, metric, platform_metric)
    metric, metric_of_platform, why_metric = _metric(roles, answer, facts, task)
    return Task(task, metric, metric_of_platform, why_task, why_metric)


def _task(  # noqa: PLR0911
    roles: Roles, answer: Answer, metric: str | None, platform_metric: str
) -> tuple[str, str]:
    """Return the task and the reason; `metric` is the built-in name of the platform's metric, if it has one."""
    train, target = roles.train, answer.targets[0]
    if answer.has_column_per_class:
        return (
            "multiclass",
            f"{answer.sample_columns[0]}, {answer.sample_columns[1]} and so on are the values of {target}",
        )
    n_values, dtype = train.n_unique(target), train.dtype(target)
    is_number = dtype.startswith(("Int", "UInt", "Float"))
    prediction_type = _prediction_type(metric)
    if prediction_type == "value":
        return "regression", f"{platform_metric} scores amounts"
    is_for_classes = prediction_type == "label" or metric in ONLY_FOR_CLASSES
    fraction = (
        _fraction_in_sample(roles.sample, answer) if is_number and not is_for_classes and metric != "logloss" else None
    )
    if n_values == 2 and fraction is not None and not 0 <= fraction <= 1:
        return "regression", f"{target} is a number, and the sample predicts {fraction:g}: an amount"
    if n_values == 2:
        return "binary", f"{target} has two values"
    if not is_number:
        return "multiclass", f"{target} is text with {n_values:,} values"
    scores_classes = is_for_classes or (metric or "").endswith("@")
    if scores_classes and n_values <= FEW_VALUES * 50 and _holds_integers(train, target):
        return "multiclass", f"{target} has {n_values:,} values and {platform_metric} scores classes"
    if fraction is not None:
        return "regression", f"{target} is a number, and the sample predicts {fraction:g}: an amount"
    if not dtype.startswith("Float") and n_values <= FEW_VALUES and _is_spaced(train, target, n_values):
        return (
            "regression",
            f"{target} is a whole number with {n_values} values far apart; if they are classes, write multiclass",
        )
    if not dtype.startswith("Float") and n_values <= FEW_VALUES:
        why = f"{target} is a whole number with {n_values} values; if they are an amount, write regression"
        return "multiclass", why
    return "regression", f"{target} is a number with {n_values:,} values"


def _fraction_in_sample(sample: DataTable | None, answer: Answer) -> float | None:
    """Return the first fraction in the sample's predictions, which can't be a label; None if there is none."""
    if sample is None or not answer.sample_columns or not sample.dtype(answer.sample_columns[0]).startswith("Float"):
        return None
    value = pl.col(answer.sample_columns[0])
    first_fraction = value.filter(value.is_finite() & (value != value.floor())).first()
    fraction = sample.scan.select(first_fraction).collect(engine="streaming").item()
    return None if fraction is None else float(fraction)


def _is_spaced(train: DataTable, column: str, n_values: int) -> bool:
    """Tell whether a column's integers, `n_values` distinct ones, are too far apart to be the numbers of classes."""
    value = pl.col(column)
    low, high = train.scan.select(low=value.min(), high=value.max()).collect(engine="streaming").row(0)
    return int(high) - int(low) + 1 > MAX_SPACING * n_values


def _holds_integers(train: DataTable, column: str) -> bool:
    values = train.select([column])[column].drop_nulls()
    return bool((values == values.floor()).all())


def _metric(roles: Roles, answer: Answer, facts: CompetitionFacts, task: str) -> tuple[str, str | None, str]:
    """Return the metric, the platform's metric where the first one only approximates it, and the reason."""
    platform_metric = facts.metric
    if platform_metric and ".py:" in platform_metric:
        return platform_metric, None, "stated by the platform"
    default, basis = DEFAULT_METRICS[task], "the task"
    if task == "binary" and _shows_labels(roles.sample, answer):
        default, basis = "accuracy", "predicted labels, as in the sample"
    if not platform_metric:
        return default, None, f"the platform does not name its metric: the usual one for {basis}"
    metric = metrics.find(platform_metric, task=task) or _name_of_metric(platform_metric)
    source = f"{platform_metric!r} on the platform"
    if metric and metric.endswith("@"):
        length = _list_length(roles.sample, answer)
        return f"{metric}{length}", None, f"{source}; the sample has lists of {length}"
    if metric == "wmae" and not facts.weight_column:
        why = (
            f"{source}, whose weights are in no column: without weights it is mae; with them wmae, and "
            'weight = "COLUMN", or an expression such as "IsHoliday * 4 + 1"'
        )
        return "mae", platform_metric, why
    if metric and _fits(metric, task):
        return metric, None, source
    why = f"{source}, which is not built in" if metric is None else f"{source}, which does not fit the task"
    return default, platform_metric, f"{why}: the usual one for {basis} is used instead"


def _shows_labels(sample: DataTable | None, answer: Answer) -> bool:
    """Tell whether the sample's only prediction column holds labels rather than numbers."""
    if sample is None or len(answer.sample_columns) != 1:
        return False
    return sample.dtype(answer.sample_columns[0]).startswith(("String", "Boolean"))


def _name_of_metric(text: str) -> str | None:
    """Return the name of the built-in metric that a text names; None if it names none."""
    try:
        return metrics.get(text).name
    except NotFoundError:
        return None


def _prediction_type(metric: str | None) -> str:
    """Return the kind of predictions that a metric takes (`Metric.prediction_type`), "" for an unknown metric."""
    # "map@" lacks its K: any number will do.
    for name in () if metric is None else (metric.removesuffix("@"), f"{metric}1"):
        with suppress(NotFoundError):
            return metrics.get(name).prediction_type
    return ""


def _fits(metric: str, task: str) -> bool:
    """Tell whether a built-in metric scores the predictions of a task."""
    if task == "regression":
        return metrics.get(metric).prediction_type == "value" or metric in ("gini", "auc")
    return _prediction_type(metric) != "value"


def _list_length(sample: DataTable | None, answer: Answer) -> int:
    """Return the largest number of labels in a cell of the sample."""
    if sample is None or not sample.dtype(answer.sample_columns[0]).startswith("String"):
        return 1
    max_length = pl.col(answer.sample_columns[0]).str.strip_chars().str.split(" ").list.len().max()
    return int(sample.scan.select(max_length).collect().item() or 1)
