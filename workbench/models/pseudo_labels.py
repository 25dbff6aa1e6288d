"""Labels of test rows that a fold's first model is sure of, for its second to train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import ConfigError, near

if TYPE_CHECKING:
    from workbench.models.target import Target, TargetColumn

__all__ = ["Pseudo", "check_pseudo"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pseudo:
    """Which test rows get a label, and what they weigh.

    Attributes
    ----------
    threshold : float
        The least probability of a row's likeliest class.
    weight : float
        Of such a row, where a train row has 1.
    """

    threshold: float
    weight: float

    def candidates(self, probabilities: Floats) -> tuple[Ints, Ints]:
        """Return the test rows that are labelled, and their classes.

        Parameters
        ----------
        probabilities : float array (n_test, width)
            One column: of the second of two classes.
        """
        class_probabilities = (
            probabilities if probabilities.shape[1] > 1 else np.hstack([1 - probabilities, probabilities])
        )
        rows = np.flatnonzero(class_probabilities.max(axis=1, initial=0.0) >= self.threshold)
        return rows, class_probabilities[rows].argmax(axis=1)

    def note(self, classes: Ints, column: TargetColumn) -> dict[str, Any]:
        """Return what is kept of it in the record: how many rows of each class."""
        counts = np.bincount(classes, minlength=len(column.classes or ()))
        return {str(c): int(n) for c, n in zip(column.classes or (), counts, strict=True)}


def check_pseudo(table: dict[str, Any] | None, target: Target, *, where: str) -> Pseudo | None:
    """Return the experiment's ``[pseudo]`` table, checked.

    Raises
    ------
    ConfigError
        For an unknown key, a value that is out of range, or a target that is a number: a model does not say how sure
        it is of those.
    """
    if table is None:
        return None
    if any(c.classes is None for c in target.columns):
        raise ConfigError(
            f"{where}: [pseudo] needs classes with probabilities; the task is {target.columns[0].task!r}",
            hint="take the table out",
        )
    values = {"threshold": 0.95, "weight": 1.0}
    for key, value in table.items():
        if key not in values:
            raise ConfigError(f"{where}: [pseudo] has an unknown key {key!r}", hint=near(key, values, kind="key"))
        high = 1.0 if key == "threshold" else 1000.0
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= high:
            raise ConfigError(
                f"{where}: [pseudo] {key} = {value!r}: expected a number above 0 and up to {high:g}",
                hint=f"{key} = {values[key]}",
            )
        values[key] = float(value)
    return Pseudo(**values)
