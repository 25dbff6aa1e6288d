"""Row weights: an expression over train's columns for training, and one for the metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from workbench.core.row_expressions import RowExpression, read_expression
from workbench.data.competition.definition import Definition

__all__ = ["RowWeights", "read_weights"]


@dataclass(frozen=True)
class RowWeights:
    """The weights of the train rows in training and in the metric; None where all rows weigh the same."""

    train: RowExpression | None = None
    metric: RowExpression | None = None

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of train that the expressions read."""
        columns = [c for e in (self.train, self.metric) if e is not None for c in e.columns]
        return tuple(dict.fromkeys(columns))

    @property
    def is_shared(self) -> bool:
        """Whether training and the metric have the same weights, or none."""
        return self.key is None or isinstance(self.key, str)

    @property
    def key(self) -> str | dict[str, Any] | None:
        """The weights' part of a run's key: the expression where both are the same, else both by name."""
        train, metric = (None if e is None else e.canonical for e in (self.train, self.metric))
        return train if train == metric else {"train": train, "metric": metric}


def read_weights(definition: Definition, types: Mapping[str, str], *, where: str) -> RowWeights:
    """Parse the weight expressions of a definition.

    Parameters
    ----------
    definition : Definition
    types : mapping
        The names of types by column of train.
    where : str
        The file, for messages.

    Raises
    ------
    ConfigError
        When an expression can't be read, or names a column that train does not have.
    """
    d = definition

    def parse(text: str | None, key: str) -> RowExpression | None:
        return None if text is None else read_expression(text, types, where=f"{where}: {key}")

    is_shared = d.weight == d.metric_weight
    train = parse(d.weight, "weight" if is_shared else "weight.train")
    return RowWeights(train, train if is_shared else parse(d.metric_weight, "weight.metric"))
