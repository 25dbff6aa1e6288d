"""Find the positive one of two classes for each column of predictions, or leave it for the user to decide."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from workbench import metrics
from workbench.data.competition import as_written, match_targets
from workbench.data.inference.answer import Answer
from workbench.data.inference.tables import Roles
from workbench.data.inference.task import Task
from workbench.platforms.protocol import CompetitionFacts

__all__ = ["PositiveGuess", "find_positives"]


@dataclass(frozen=True)
class PositiveGuess:
    """The positive class of a binary target.

    Attributes
    ----------
    target : str
    column : str
        The sample's column with the predictions of the target.
    labels : tuple of str
        Both classes, as train writes them.
    label : str, optional
        The label of the positive class; None where the user has to decide.
    why : str
    label_metric : str
        The metric, where the submission holds labels and only the score depends on the positive class; else "".
    """

    target: str
    column: str
    labels: tuple[str, str]
    label: str | None
    why: str
    label_metric: str = ""


def find_positives(roles: Roles, answer: Answer, task: Task, facts: CompetitionFacts) -> tuple[PositiveGuess, ...]:
    """Find the positive classes that the definition should state.

    Targets of 0 and 1 need no statement. If neither the score nor the file depends on the positive class, none does.
    """
    if task.task != "binary":
        return ()
    if ".py:" not in task.metric and not metrics.depends_on_positive(metrics.get(task.metric)):
        return ()
    target_by_column = match_targets(answer.sample_columns, answer.targets) or {}
    column_by_target = {target: column for column, target in target_by_column.items()}
    label_by_target = dict(zip(facts.target_columns, facts.positive_classes, strict=False))
    guesses = [
        _guess_positive(roles, t, column_by_target.get(t, t), label_by_target.get(t), facts.description or "")
        for t in answer.targets
    ]
    takes_labels = ".py:" not in task.metric and metrics.get(task.metric).prediction_type in ("label", "ranked")
    label_metric = task.metric if takes_labels else ""
    return tuple(replace(guess, label_metric=label_metric) for guess in guesses if guess is not None)


def _guess_positive(
    roles: Roles, target: str, column: str, platform_label: str | None, description: str
) -> PositiveGuess | None:
    """Return the guess for a target of two classes; None where the definition need not state the positive class.

    Parameters
    ----------
    column : str
        The sample's column with the predictions of the target.
    platform_label : str or None
        The positive class that the platform states.
    description : str
        The platform's text about the competition.
    """
    train = roles.train
    values = train.scan.select(pl.col(target).drop_nulls().unique()).collect(engine="streaming").sort(target)
    value_texts = as_written(values, train.info.spelled)[target].cast(pl.String).to_list()
    if len(value_texts) != 2:
        return None  # reading the target reports it
    labels = (value_texts[0], value_texts[1])
    positive = metrics.find_positive(labels, (column, target), description)
    platform_index = None if platform_label is None else metrics.match_label(platform_label, labels)
    if platform_index is not None and platform_index != positive.index:
        return PositiveGuess(target, column, labels, labels[platform_index], "stated by the platform")
    if values[target].dtype == pl.Boolean and positive.index is None:
        return None
    if positive.index == 1 and metrics.is_pair(labels) == 1:
        return None
    label = None if positive.index is None else labels[positive.index]
    return PositiveGuess(target, column, labels, label, positive.why)
