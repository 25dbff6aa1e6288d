"""The weights of rows: an expression of train's columns for training, and one for the metric."""

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
    """What a row weighs: in training, and in the metric; None where all rows weigh the same."""

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
        """What of the weights decides a run's numbers; a column's name where that is all."""
        train, metric = (None if e is None else e.canonical for e in (self.train, self.metric))
        return train if train == metric else {"train": train, "metric": metric}


def read_weights(definition: Definition, types: Mapping[str, str], *, where: str) -> RowWeights:
    """Read the weights of a definition against the columns of train.

    Parameters
    ----------
    types : mapping
        Train's columns and the names of their types.
    where : str
        The file, for messages.

    Raises
    ------
    ConfigError
        When an expression can't be read, or names a column that train does not have.
    """
    d = definition

    def read(text: str | None, key: str) -> RowExpression | None:
        return None if text is None else read_expression(text, types, where=f"{where}: {key}")

    train = read(d.weight, "weight" if d.weight == d.metric_weight else "weight.train")
    same = d.weight == d.metric_weight
    return RowWeights(train, train if same else read(d.metric_weight, "weight.metric"))
