"""Metrics: a name, a direction, the type of its arrays, and a function from arrays to a float.

The arrays of a metric, by its `prediction_type`:

"value"
    `y_true` and `y_pred` are floats, (n,); with several targets (n, t), and the score is the mean over the targets,
    as in Kaggle's mean column-wise metrics.
"proba"
    Binary: `y_true` is 0 or 1, (n,), and `y_pred` the probability (or any score) of 1, (n,). Several binary targets:
    both (n, t); the score is the mean over the targets. Multiclass: `y_true` is the class from 0, (n,), and `y_pred`
    has a column per class.
"label"
    `y_true` and `y_pred` are labels, (n,): integers or anything that `numpy.unique` accepts.
"ranked"
    `y_true` is the relevant item of each list, (n,), or a `Relevant`; `y_pred` are items, best first, (n, k), -1 for
    none. An item that is repeated in a list counts once, at its first position. Or `y_true` is a `Queries`, and
    `y_pred` a score for each of its rows, (n,).

Metrics that scikit-learn has, too, give the same values; the others name their source.

Names are loaded when they are first used, so that `wb table` need not load numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.metrics.grades import BY_DISTANCE, are_grades, grades_of
    from workbench.metrics.metric import Metric, from_function
    from workbench.metrics.positive import (
        Positive,
        depends_on_positive,
        find_positive,
        is_pair,
        match_label,
        name_words,
    )
    from workbench.metrics.queries import Queries
    from workbench.metrics.ranked import Relevant
    from workbench.metrics.registry import get, names
    from workbench.metrics.words import find

__all__ = [
    "BY_DISTANCE",
    "Metric",
    "Positive",
    "Queries",
    "Relevant",
    "are_grades",
    "depends_on_positive",
    "find",
    "find_positive",
    "from_function",
    "get",
    "grades_of",
    "is_pair",
    "match_label",
    "name_words",
    "names",
]

_MODULES = {
    "grades": ("BY_DISTANCE", "are_grades", "grades_of"),
    "metric": ("Metric", "from_function"),
    "positive": ("Positive", "depends_on_positive", "find_positive", "is_pair", "match_label", "name_words"),
    "queries": ("Queries",),
    "ranked": ("Relevant",),
    "registry": ("get", "names"),
    "words": ("find",),
}
_MODULE_BY_NAME = {name: module for module, module_names in _MODULES.items() for name in module_names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_BY_NAME[name]}"), name)
