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
    asked: str
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
    matched = match_targets(answer.asked, answer.targets) or {}
    columns = {target: asked for asked, target in matched.items()}
    said = dict(zip(facts.target_columns, facts.positive_classes, strict=False))
    found = [_guess(roles, t, columns.get(t, t), said.get(t), facts.description or "") for t in answer.targets]
    of_labels = ".py:" not in task.metric and metrics.get(task.metric).needs in ("label", "ranked")
    score_of = task.metric if of_labels else ""
    return tuple(replace(guess, score_of=score_of) for guess in found if guess is not None)


def _guess(roles: Roles, target: str, asked: str, said: str | None, description: str) -> PositiveGuess | None:
    train = roles.train
    values = train.scan.select(pl.col(target).drop_nulls().unique()).collect(engine="streaming").sort(target)
    texts = as_written(values, train.info.spelled)[target].cast(pl.String).to_list()
    if len(texts) != 2:
        return None  # said when the target is read
    labels = (texts[0], texts[1])
    found = metrics.find_positive(labels, (asked, target), description)
    by_platform = None if said is None else metrics.match_label(said, labels)
    if by_platform is not None and by_platform != found.index:
        return PositiveGuess(target, asked, labels, labels[by_platform], "said by the platform")
    if values[target].dtype == pl.Boolean and found.index is None:
        return None
    if found.index == 1 and metrics.is_pair(labels) == 1:
        return None
    label = None if found.index is None else labels[found.index]
    return PositiveGuess(target, asked, labels, label, found.why)
