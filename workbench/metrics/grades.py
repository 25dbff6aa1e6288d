"""Classes as grades: for kappas that weigh how far apart two of them are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.metrics.metric import Metric

__all__ = ["BY_DISTANCE", "are_grades", "grades_of"]

BY_DISTANCE = ("qwk", "linear_kappa")
FEWEST = 3
"""Of two classes the distance makes no difference."""


def grades_of(metric: Metric, classes: Sequence[Any]) -> npt.NDArray[np.int64] | None:
    """Return the numbers that classes are, (n_classes,), where a metric goes by their distance.

    None for other metrics, for classes that are no whole numbers, and for those that follow one another: there the
    places of the classes will do.

    Examples
    --------
    >>> from workbench.metrics import get
    >>> grades_of(get("qwk"), (1, 2, 9)).tolist(), grades_of(get("qwk"), (1, 2, 3)), grades_of(get("f1"), (1, 2, 9))
    ([1, 2, 9], None, None)
    """
    if metric.name not in BY_DISTANCE or len(classes) < FEWEST or not are_grades(classes):
        return None
    values = np.array([int(float(c)) for c in classes], np.int64)
    return None if (np.diff(values) == 1).all() else values


def are_grades(classes: Sequence[Any]) -> bool:
    """Say whether classes are whole numbers, written as texts or not."""
    return all(not isinstance(c, bool) and re.fullmatch(r"\s*[-+]?\d{1,15}(\.0*)?\s*", str(c)) for c in classes)
