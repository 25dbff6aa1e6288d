"""Class weights in training, and how their effect on predicted probabilities is undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from workbench.metrics import Metric
    from workbench.models.target import Target, TargetColumn

__all__ = ["BALANCED", "check_class_weight", "class_weights", "priors_for", "uses_hard_labels", "without_weights"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BALANCED = "balanced"


def check_class_weight(class_weight: Any, target: Target, *, where: str) -> str | dict[str, float] | None:
    """Return the experiment's ``class_weight``, checked.

    Raises
    ------
    ConfigError
        For a numeric target, an unknown class, or a weight that is not a number above 0.
    """
    if class_weight is None or class_weight == BALANCED:
        if class_weight is not None:
            _require_classes(target, where)
        return class_weight  # type: ignore[no-any-return]
    _require_classes(target, where)
    if not isinstance(class_weight, dict) or not class_weight:
        raise ConfigError(
            f'{where}: class_weight = {class_weight!r}: expected "balanced" or a weight by class',
            hint=f"class_weight = {{ {_class_names(target.columns[0])[-1]} = 5 }}",
        )
    class_names = [name for column in target.columns for name in _class_names(column)]
    for name, weight in class_weight.items():
        if name not in class_names:
            raise ConfigError(
                f"{where}: class_weight: {name!r} is not a class of {target.columns[0].name!r}",
                hint=did_you_mean(name, class_names, kind="class"),
            )
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < np.inf:
            raise ConfigError(f"{where}: class_weight: {name} = {weight!r}; expected a number above 0")
    return {name: float(weight) for name, weight in class_weight.items()}


def _require_classes(target: Target, where: str) -> None:
    if any(c.classes is None for c in target.columns):
        raise ConfigError(
            f"{where}: class_weight is for classes; the task is {target.columns[0].task!r}",
            hint='rows are weighted with weight = "COLUMN" in competition.toml',
        )


def _class_names(column: TargetColumn) -> list[str]:
    """Return the classes as an experiment's file names them: TOML has true and false in lower case."""
    return [str(c).lower() if isinstance(c, bool) else str(c) for c in column.classes or ()]


def class_weights(class_weight: str | dict[str, float] | None, column: TargetColumn, rows: Ints) -> Floats | None:
    """Return the weight of each class, (n_classes,), for a model trained on `rows`; None where all are 1.

    "balanced" is as in scikit-learn: n_rows / (n_classes * rows of the class).
    """
    if class_weight is None or column.classes is None:
        return None
    if class_weight != BALANCED:
        return np.array([class_weight.get(name, 1.0) for name in _class_names(column)])  # type: ignore[union-attr]
    counts = np.bincount(column.values[rows].astype(np.int64), minlength=len(column.classes))
    return np.asarray(len(rows) / (len(counts) * np.maximum(counts, 1)))


def uses_hard_labels(metric: Metric) -> bool:
    """Return whether a metric scores hard labels or ranked classes, which class weights are meant to shift.

    Other metrics score the probabilities themselves, so the effect of class weights is undone for them.
    """
    return metric.prediction_type in ("label", "ranked")


def priors_for(metric: Metric, column: TargetColumn, rows: Ints, weight: Floats | None = None) -> Floats | None:
    """Return the prior of each class in the train rows, (n_classes,), if the metric assumes equal priors; else None.

    A metric in which all classes count the same, whatever their size, is optimised by the probabilities under equal
    priors: the model's probabilities divided by these.

    Parameters
    ----------
    weight : float array (n_train,), optional
        The weights of the rows in training; the priors are weighted by them.
    """
    if metric.name != "balanced_logloss" or column.classes is None:
        return None
    row_weights = None if weight is None else weight[rows]
    sizes = np.bincount(column.values[rows].astype(np.int64), weights=row_weights, minlength=len(column.classes))
    return np.asarray(np.where(sizes > 0, sizes, 1) / (len(rows) if row_weights is None else row_weights.sum()))


def without_weights(probabilities: Floats, weights: Floats) -> Floats:
    """Return the probabilities that a model trained with these class weights would predict without them.

    With weights w a model fits ``w_c p_c / sum(w p)``, so p is proportional to the prediction divided by the weight
    (Elkan 2001, theorem 2).

    Parameters
    ----------
    probabilities : float array (n, 1) or (n, n_classes)
        A single column has the probabilities of the second of two classes.

    Examples
    --------
    >>> without_weights(np.array([[0.5]]), np.array([1.0, 3.0])).round(3).tolist()
    [[0.25]]
    """
    if probabilities.shape[1] == 1:
        second = probabilities / weights[1]
        return np.asarray(second / (second + (1 - probabilities) / weights[0]))
    scaled = probabilities / weights
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))
