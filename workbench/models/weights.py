"""Weights of classes: what training multiplies the rows' weights by, and how their effect is taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import ConfigError, near

if TYPE_CHECKING:
    from workbench.metrics import Metric
    from workbench.models.target import Target, TargetColumn

__all__ = ["BALANCED", "check_class_weight", "class_weights", "is_decision", "priors_for", "without_weights"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BALANCED = "balanced"


def check_class_weight(class_weight: Any, target: Target, *, where: str) -> str | dict[str, float] | None:
    """Return the experiment's ``class_weight``, checked.

    Raises
    ------
    ConfigError
        For a target that is a number, an unknown class, or a weight that is no number above 0.
    """
    if class_weight is None or class_weight == BALANCED:
        if class_weight is not None:
            _need_classes(target, where)
        return class_weight  # type: ignore[no-any-return]
    _need_classes(target, where)
    if not isinstance(class_weight, dict) or not class_weight:
        raise ConfigError(
            f'{where}: class_weight = {class_weight!r}: expected "balanced" or a weight by class',
            hint=f"class_weight = {{ {_spelled(target.columns[0])[-1]} = 5 }}",
        )
    class_names = [name for column in target.columns for name in _spelled(column)]
    for name, weight in class_weight.items():
        if name not in class_names:
            raise ConfigError(
                f"{where}: class_weight: {name!r} is no class of {target.columns[0].name!r}",
                hint=near(name, class_names, kind="class"),
            )
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < np.inf:
            raise ConfigError(f"{where}: class_weight: {name} = {weight!r}; expected a number above 0")
    return {name: float(weight) for name, weight in class_weight.items()}


def _need_classes(target: Target, where: str) -> None:
    if any(c.classes is None for c in target.columns):
        raise ConfigError(
            f"{where}: class_weight is for classes; the task is {target.columns[0].task!r}",
            hint='rows are weighted with weight = "COLUMN" in competition.toml',
        )


def _spelled(column: TargetColumn) -> list[str]:
    # TOML writes true and false in small letters.
    return [str(c).lower() if isinstance(c, bool) else str(c) for c in column.classes or ()]


def class_weights(class_weight: str | dict[str, float] | None, column: TargetColumn, rows: Ints) -> Floats | None:
    """Return the weight of each class, (n_classes,), where a model is trained on `rows`; None where all are 1.

    "balanced" is scikit-learn's: rows over classes times the rows of the class.
    """
    if class_weight is None or column.classes is None:
        return None
    if class_weight != BALANCED:
        return np.array([class_weight.get(name, 1.0) for name in _spelled(column)])  # type: ignore[union-attr]
    counts = np.bincount(column.values[rows].astype(np.int64), minlength=len(column.classes))
    return np.asarray(len(rows) / (len(counts) * np.maximum(counts, 1)))


def is_decision(metric: Metric) -> bool:
    """Say whether a metric scores what was decided for, which classes' weights are meant to change.

    Anything else takes the probability itself, which is to be one: there their effect is taken back.
    """
    return metric.needs in ("label", "ranked")


def priors_for(metric: Metric, column: TargetColumn, rows: Ints, weight: Floats | None = None) -> Floats | None:
    """Return the share of each class among the rows that are trained on, (n_classes,), where a metric wants it undone.

    A metric in which all classes count alike whatever their size is best served by the probabilities of a world in
    which they are of one size: those of the model over these shares. None for other metrics.

    Parameters
    ----------
    weight : float array (n_train,), optional
        What the rows weigh in training: so much of a share is theirs.
    """
    if metric.name != "balanced_logloss" or column.classes is None:
        return None
    of_rows = None if weight is None else weight[rows]
    sizes = np.bincount(column.values[rows].astype(np.int64), weights=of_rows, minlength=len(column.classes))
    return np.asarray(np.where(sizes > 0, sizes, 1) / (len(rows) if of_rows is None else of_rows.sum()))


def without_weights(probabilities: Floats, weights: Floats) -> Floats:
    """Return what a model that was trained with these weights of the classes would predict without them.

    With weights w a model fits ``w_c p_c / sum(w p)``; so p is proportional to the prediction over the weight
    (Elkan 2001, theorem 2).

    Parameters
    ----------
    probabilities : float array (n, 1) or (n, n_classes)
        One column: of the second of two classes.

    Examples
    --------
    >>> without_weights(np.array([[0.5]]), np.array([1.0, 3.0])).round(3).tolist()
    [[0.25]]
    """
    if probabilities.shape[1] == 1:
        one = probabilities / weights[1]
        return np.asarray(one / (one + (1 - probabilities) / weights[0]))
    scaled = probabilities / weights
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))
