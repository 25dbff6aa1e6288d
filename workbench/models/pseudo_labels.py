"""Pseudo-labels: test rows that a fold's first model predicts with confidence, for its second model to train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from workbench.models.target import Target, TargetColumn

__all__ = ["PseudoLabelRule", "pseudo_label_rule"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PseudoLabelRule:
    """Which test rows get a pseudo-label, and their weight.

    Attributes
    ----------
    threshold : float
        The probability that a row's most probable class must reach.
    weight : float
        The weight of a pseudo-labelled row, relative to a train row.
    """

    threshold: float
    weight: float

    def candidates(self, probabilities: Floats) -> tuple[Ints, Ints]:
        """Return the test rows to label, and their classes.

        Parameters
        ----------
        probabilities : float array (n_test, width)
            A single column has the probabilities of the second of two classes.
        """
        class_probabilities = (
            probabilities if probabilities.shape[1] > 1 else np.hstack([1 - probabilities, probabilities])
        )
        rows = np.flatnonzero(class_probabilities.max(axis=1, initial=0.0) >= self.threshold)
        return rows, class_probabilities[rows].argmax(axis=1)

    def note(self, classes: Ints, column: TargetColumn) -> dict[str, Any]:
        """Return the number of labelled rows by class, for the run's record."""
        counts = np.bincount(classes, minlength=len(column.classes or ()))
        return {str(c): int(n) for c, n in zip(column.classes or (), counts, strict=True)}


def pseudo_label_rule(table: dict[str, Any] | None, target: Target, *, where: str) -> PseudoLabelRule | None:
    """Return the experiment's ``[pseudo]`` table, checked.

    Raises
    ------
    ConfigError
        For an unknown key, a value that is out of range, or a numeric target, whose predictions have no confidence.
    """
    if table is None:
        return None
    if any(c.classes is None for c in target.columns):
        raise ConfigError(
            f"{where}: [pseudo] needs classes with probabilities; the task is {target.columns[0].task!r}",
            hint="remove the table",
        )
    settings = {"threshold": 0.95, "weight": 1.0}
    for key, value in table.items():
        if key not in settings:
            raise ConfigError(
                f"{where}: [pseudo] has an unknown key {key!r}", hint=did_you_mean(key, settings, kind="key")
            )
        highest = 1.0 if key == "threshold" else 1000.0
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= highest:
            raise ConfigError(
                f"{where}: [pseudo] {key} = {value!r}: expected a number above 0 and up to {highest:g}",
                hint=f"{key} = {settings[key]}",
            )
        settings[key] = float(value)
    return PseudoLabelRule(**settings)
