"""The task from the target and the metric, and the metric from the platform's words."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from workbench import metrics
from workbench.errors import NotFoundError
from workbench.inference.answer import Answer
from workbench.inference.tables import Roles, Table
from workbench.platforms import CompetitionFacts

__all__ = ["Task", "find_task"]

USUAL_METRIC = {"binary": "auc", "multiclass": "mlogloss", "regression": "rmse"}
OF_AMOUNTS = ("rmse", "rmsle", "rmspe", "mae", "wmae", "mape", "smape", "medae", "r2")
OF_CLASSES = ("accuracy", "balanced_accuracy", "f1", "macro_f1", "micro_f1", "weighted_f1", "mcc", "qwk", "mlogloss")
FEW_VALUES = 20


@dataclass(frozen=True)
class Task:
    """The task and the metric, each with the reason; `stands_for` is the platform's metric where ours stands in."""

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
        task, why_task = _task(roles.train, answer, metrics.find(words) if words else None, words)
    metric, stands_for, why_metric = _metric(roles, answer, facts, task)
    return Task(task, metric, stands_for, why_task, why_metric)


def _task(train: Table, answer: Answer, metric: str | None, words: str) -> tuple[str, str]:  # noqa: PLR0911
    name = answer.targets[0]
    if answer.by_class:
        return "multiclass", f"{answer.asked[0]}, {answer.asked[1]} and so on are the values of {name}"
    n, dtype = train.unique(name), train.dtype(name)
    is_number = dtype.startswith(("Int", "UInt", "Float"))
    if metric in OF_AMOUNTS:
        return "regression", f"{words} scores amounts"
    if n == 2:
        return "binary", f"{name} has two values"
    if not is_number:
        return "multiclass", f"{name} is text with {n:,} values"
    scores_classes = metric in OF_CLASSES or (metric or "").endswith("@")
    if scores_classes and n <= FEW_VALUES * 50 and _is_whole(train, name):
        return "multiclass", f"{name} has {n:,} values and {words} scores classes"
    if not dtype.startswith("Float") and n <= FEW_VALUES:
        return "multiclass", f"{name} is a whole number with {n} values; if they are an amount, write regression"
    return "regression", f"{name} is a number with {n:,} values"


def _is_whole(train: Table, name: str) -> bool:
    column = train.select([name])[name].drop_nulls()
    return bool((column == column.floor()).all())


def _metric(roles: Roles, answer: Answer, facts: CompetitionFacts, task: str) -> tuple[str, str | None, str]:
    words = facts.metric
    if words and ".py:" in words:
        return words, None, "said by the platform"
    usual = USUAL_METRIC[task]
    if not words:
        return usual, None, "the platform does not say which: the usual one for the task"
    found = metrics.find(words, task=task) or _by_name(words)
    said = f"{words!r} on the platform"
    if found and found.endswith("@"):
        length = _list_length(roles.sample, answer)
        return f"{found}{length}", None, f"{said}; {length} is what the sample has in a cell"
    if found == "wmae" and not facts.weight_column:
        why = f"{said}, whose weights are in no column: without weights it is mae; with them, weight = and wmae"
        return "mae", words, why
    if found and _fits(found, task):
        return found, None, said
    why = f"{said}, which is not built in" if found is None else f"{said}, which does not fit the task"
    return usual, words, f"{why}: the usual one for the task stands in"


def _by_name(words: str) -> str | None:
    try:
        return metrics.get(words).name
    except NotFoundError:
        return None


def _fits(metric: str, task: str) -> bool:
    if task == "regression":
        return metrics.get(metric).needs == "value" or metric in ("gini", "auc")
    return metric not in OF_AMOUNTS


def _list_length(sample: Table | None, answer: Answer) -> int:
    """Return how many labels a cell of the sample holds."""
    if sample is None or not sample.dtype(answer.asked[0]).startswith("String"):
        return 1
    cells = sample.scan.select(pl.col(answer.asked[0]).str.strip_chars().str.split(" ").list.len().max()).collect()
    return int(cells.item() or 1)
