"""Metrics: a name, a direction, what it needs, and a function from arrays to a float.

What a metric takes, by its `needs`:

"value"
    `y_true` and `y_pred` are floats, (n,); with several targets (n, t), and the score is the mean over the targets,
    as in Kaggle's mean column-wise metrics.
"proba"
    Binary: `y_true` is 0 or 1, (n,), `y_pred` the probability (or any score) of 1, (n,). Several binary targets: both
    (n, t), mean over the targets. Multiclass: `y_true` is the class from 0 up, (n,), `y_pred` has a column per class.
"label"
    `y_true` and `y_pred` are labels, (n,): integers or anything that `numpy.unique` takes.
"ranked"
    `y_true` is the one relevant item of each list, (n,), or a `Relevant`; `y_pred` are items, best first, (n, k), -1
    for none. An item that is repeated in a list counts once, at its first place. Or `y_true` is a `Queries`, and
    `y_pred` a score for each of its rows, (n,).

Equal to scikit-learn's function of the same meaning where there is one; the others name their source.
"""

from __future__ import annotations

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
