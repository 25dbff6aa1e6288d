"""Which of two classes each column of predictions means, and the question where nothing says it."""

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
    """The positive class of a target of two, as text, and why; None where it has to be asked for."""

    target: str
    column: str
    labels: tuple[str, str]
    label: str | None
    why: str
    score_of: str = ""
    """The metric, where the file holds labels, and only its score depends on the positive class."""


def find_positives(roles: Roles, answer: Answer, task: Task, facts: CompetitionFacts) -> tuple[PositiveGuess, ...]:
    """Find the positive classes that have to be said: not of 0 and 1, and not where score and file are indifferent."""
    if task.task != "binary":
        return ()
    if ".py:" not in task.metric and not metrics.depends_on_positive(metrics.get(task.metric)):
        return ()
    matched = match_targets(answer.sample_columns, answer.targets) or {}
    columns = {target: column for column, target in matched.items()}
    labels = dict(zip(facts.target_columns, facts.positive_classes, strict=False))
    guesses = [_guess(roles, t, columns.get(t, t), labels.get(t), facts.description or "") for t in answer.targets]
    of_labels = ".py:" not in task.metric and metrics.get(task.metric).needs in ("label", "ranked")
    score_of = task.metric if of_labels else ""
    return tuple(replace(guess, score_of=score_of) for guess in guesses if guess is not None)


def _guess(
    roles: Roles, target: str, column: str, platform_label: str | None, description: str
) -> PositiveGuess | None:
    train = roles.train
    values = train.scan.select(pl.col(target).drop_nulls().unique()).collect(engine="streaming").sort(target)
    texts = as_written(values, train.info.spelled)[target].cast(pl.String).to_list()
    if len(texts) != 2:
        return None  # said when the target is read
    labels = (texts[0], texts[1])
    positive = metrics.find_positive(labels, (column, target), description)
    by_platform = None if platform_label is None else metrics.match_label(platform_label, labels)
    if by_platform is not None and by_platform != positive.index:
        return PositiveGuess(target, column, labels, labels[by_platform], "said by the platform")
    if values[target].dtype == pl.Boolean and positive.index is None:
        return None
    if positive.index == 1 and metrics.is_pair(labels) == 1:
        return None
    label = None if positive.index is None else labels[positive.index]
    return PositiveGuess(target, column, labels, label, positive.why)
