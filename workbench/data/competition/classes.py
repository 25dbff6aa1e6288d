"""Classes of a target: how the train file writes them, and which of two is the positive one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench import metrics
from workbench.core.errors import ConfigError
from workbench.data.competition.answer import match_targets

if TYPE_CHECKING:
    from workbench.data.competition.folder import Competition

__all__ = ["class_labels", "positive_class", "sample_column"]


def class_labels(competition: Competition, target: str, classes: Sequence[Any]) -> list[str]:
    """Return the labels of a target's classes: its values in the Parquet table as the train file writes them."""
    info = competition.train_info
    if info.dtypes[target] != "Boolean":
        return [str(c) for c in classes]
    false_and_true = (info.spelled.get(target) or "False/True").split("/")
    return [false_and_true[int(c)] for c in classes]


def sample_column(competition: Competition, target: str) -> str:
    """Return the sample submission's column of a target's predictions; the target's name where no column matches it."""
    d = competition.definition
    if d.tables.sample_submission is None:
        return target
    columns = competition.manifest.table(d.tables.sample_submission, slug=d.slug).dtypes
    target_by_column = match_targets([c for c in columns if c not in d.id_columns], d.targets) or {}
    return next((column for column, its_target in target_by_column.items() if its_target == target), target)


def positive_class(competition: Competition, target: str, classes: Sequence[Any]) -> metrics.Positive:
    """Find which of two classes of a target is the positive one, whose probability is predicted.

    `positive` in competition.toml decides, then the name of the sample's column or of the target, then the convention
    for such a pair of classes.

    Parameters
    ----------
    classes : sequence
        The target's two values in the Parquet table.

    Raises
    ------
    ConfigError
        When competition.toml names a class that the target does not have.
    """
    labels = class_labels(competition, target, classes)
    stated_label = competition.definition.positive.get(target)
    if stated_label is not None:
        index = metrics.match_label(stated_label, labels)
        if index is None:
            raise ConfigError(
                f"{competition.paths.definition}: positive = {stated_label!r}, but the classes of target {target!r} "
                f"are {labels[0]!r} and {labels[1]!r}",
                hint="write one of these two",
            )
        return metrics.Positive(index, "competition.toml")
    positive = metrics.find_positive(labels, (sample_column(competition, target), target))
    # Booleans have an order, whatever words the file writes for them.
    is_boolean = all(isinstance(c, bool) for c in classes)
    return metrics.Positive(1, "it is true") if positive.index is None and is_boolean else positive
