"""Classes as grades, for kappas that weigh the distance of two classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.metrics.metric import Metric

__all__ = ["BY_DISTANCE", "are_grades", "grades_of"]

BY_DISTANCE = ("qwk", "linear_kappa")
"""The metrics that weigh the distance."""

MIN_CLASSES = 3
"""With two classes the distance makes no difference."""


def grades_of(metric: Metric, classes: Sequence[Any]) -> npt.NDArray[np.int64] | None:
    """Return the integers that the classes stand for, (n_classes,), if the metric depends on their distances.

    None for other metrics, for classes that are not integers, and for consecutive integers, whose positions suffice.

    Examples
    --------
    >>> from workbench.metrics import get
    >>> grades_of(get("qwk"), (1, 2, 9)).tolist(), grades_of(get("qwk"), (1, 2, 3)), grades_of(get("f1"), (1, 2, 9))
    ([1, 2, 9], None, None)
    """
    if metric.name not in BY_DISTANCE or len(classes) < MIN_CLASSES or not are_grades(classes):
        return None
    values = np.array([int(float(c)) for c in classes], np.int64)
    return None if (np.diff(values) == 1).all() else values


def are_grades(classes: Sequence[Any]) -> bool:
    """Return whether classes are whole numbers or texts of such."""
    return all(not isinstance(c, bool) and re.fullmatch(r"\s*[-+]?\d{1,15}(\.0*)?\s*", str(c)) for c in classes)
