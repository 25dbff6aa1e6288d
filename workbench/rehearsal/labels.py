"""Targets: the task, the classes, and labels, which are recognised in any spelling."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import ConfigError, DataError
from workbench.metrics import Metric, find_positive

__all__ = ["classes_of", "codes", "infer_task", "list_length", "numbers", "sample_values", "with_positive_last"]

MAX_CLASSES = 20
"""A numeric target with more values is a regression, for a metric that allows both."""


def numbers(series: pl.Series) -> pl.Series:
    """Return a column as floats, null for other values."""
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        return series.cast(pl.Float64)
    return series.cast(pl.String).cast(pl.Float64, strict=False)


def list_length(metric: Metric) -> int:
    """Return the k of a "ranked" metric: 3 for map@3."""
    return int(metric.number or 0)


# --------------------------------------------------------------------------------------------------------------- task


def infer_task(targets: list[pl.Series], metric: Metric, requested: str | None) -> str:
    """Return the requested task, or infer it from the targets and the metric; either is checked against the targets.

    Raises
    ------
    DataError
        When the targets do not fit the task.
    ConfigError
        When the metric can't score the task.
    """
    task = requested or _guess(targets, metric)
    for column in targets:
        _check_target(column, task)
    if task == "multiclass" and metric.prediction_type == "value":
        raise ConfigError(
            f"the metric {metric.name!r} compares numbers, and the task multiclass has labels",
            hint="--task regression, or a metric for labels such as accuracy",
        )
    if task == "multiclass" and metric.prediction_type == "proba" and len(targets) > 1:
        raise ConfigError(
            f"the metric {metric.name!r} needs a column per class, which several targets of many classes don't allow",
            hint="one target, or a metric for labels such as macro_f1",
        )
    return task


def _guess(targets: list[pl.Series], metric: Metric) -> str:
    if metric.prediction_type == "value" or any(_has_fractions(c) for c in targets):
        return "regression"
    n_classes = max(c.n_unique() for c in targets)
    are_numbers = not any(numbers(c).null_count() for c in targets)
    if metric.prediction_type == "proba" and n_classes > MAX_CLASSES and are_numbers:
        return "regression"
    # mlogloss needs a column per class, also for two classes.
    return "binary" if n_classes == 2 and metric.name != "mlogloss" else "multiclass"


def _has_fractions(column: pl.Series) -> bool:
    values = numbers(column)
    return not values.null_count() and bool((values != values.floor()).any())


def _check_target(column: pl.Series, task: str) -> None:
    if task == "regression":
        invalid = column.filter(~numbers(column).is_finite().fill_null(value=False))
        if len(invalid):
            raise DataError(
                f"target {column.name!r} is not a number everywhere, which regression needs: "
                f"{len(invalid):,} values, for example {invalid[0]!r}"
            )
    elif task == "binary" and column.n_unique() != 2:
        raise DataError(f"task binary needs targets of 2 values; {column.name!r} has {column.n_unique()}")


# ------------------------------------------------------------------------------------------------------------ classes


def classes_of(column: pl.Series) -> list[str]:
    """Return the distinct values of a target as texts: sorted by value if all are numbers, else alphabetically.

    Examples
    --------
    >>> classes_of(pl.Series(["10", "9", "9"])), classes_of(pl.Series([1.0, 0.0]))
    (['9', '10'], ['0.0', '1.0'])
    """
    values = column.cast(pl.String).unique()
    order = pl.DataFrame({"text": values, "number": numbers(values)})
    if order["number"].null_count():
        return order["text"].sort().to_list()
    return order.sort("number", "text")["text"].to_list()


def with_positive_last(classes: list[str], target: str) -> list[str]:
    """Order two classes so that the one that the target is named after is the last: its probability is scored.

    Examples
    --------
    >>> with_positive_last(["approved", "denied"], "approved")
    ['denied', 'approved']
    """
    return classes[::-1] if find_positive(classes, (target,)).index == 0 else classes


def codes(series: pl.Series, classes: list[str]) -> npt.NDArray[np.int64]:
    """Return the index of each label in `classes`, -1 for an unknown label.

    Spellings are ignored: 1, 1.0 and 01 are the same label, and so are true and True, unless two classes differ only in
    their spelling.

    Examples
    --------
    >>> codes(pl.Series(["1.0", "0", "7"]), ["0", "1"]).tolist()
    [1, 0, -1]
    >>> codes(pl.Series(["1", "01"]), ["01", "1"]).tolist()
    [1, 0]
    """
    class_texts, texts = pl.Series(classes, dtype=pl.String), series.cast(pl.String)
    normalised_classes = _normalised(class_texts)
    if normalised_classes.n_unique() == len(classes):
        class_texts, texts = normalised_classes, _normalised(texts)
    indices = list(range(len(classes)))
    codes = texts.replace_strict(class_texts.to_list(), indices, default=-1, return_dtype=pl.Int64)
    return codes.fill_null(-1).to_numpy()


def _normalised(texts: pl.Series) -> pl.Series:
    """Remove leading zeros and zero decimals of whole numbers, and write true and false in small letters."""
    without_zeros = texts.str.replace(r"^(-?)0*(\d+)(?:\.0*)?$", "${1}${2}")
    lower = pl.col("t").str.to_lowercase()
    is_boolean = lower.is_in(["true", "false"])
    return without_zeros.to_frame("t").select(pl.when(is_boolean).then(lower).otherwise(pl.col("t")).alias("t"))["t"]


# ------------------------------------------------------------------------------------------------------------- sample


def sample_values(
    train: pl.DataFrame, targets: tuple[str, ...], metric: Metric, task: str, classes: list[list[str]]
) -> dict[str, Any]:
    """Return the constant in each column of the sample submission: the best prediction without a model.

    Parameters
    ----------
    train : DataFrame
        Has the columns of the targets.
    classes : list of list of str
        For each target its classes; empty for regression.
    """
    if task == "multiclass" and metric.prediction_type == "proba":
        return _shares(train[targets[0]], classes[0])
    if task == "regression":
        return {t: _median(train[t], metric) for t in targets}
    return {t: _constant(train[t], metric, names) for t, names in zip(targets, classes, strict=True)}


def _shares(column: pl.Series, classes: list[str]) -> dict[str, float]:
    """Return the share of each class among the values of a column."""
    counts = np.bincount(codes(column, classes), minlength=len(classes))
    return {c: float(n / len(column)) for c, n in zip(classes, counts, strict=True)}


def _median(column: pl.Series, metric: Metric) -> float:
    """Return the median, rounded for a metric of whole numbers."""
    median = float(np.median(numbers(column).to_numpy()))
    return float(round(median)) if metric.prediction_type == "label" else median


def _constant(column: pl.Series, metric: Metric, classes: list[str]) -> Any:
    """Return the positive class's share, the most frequent class, or the k most frequent ones, as the metric needs."""
    shares = _shares(column, classes)
    if metric.prediction_type in ("value", "proba"):  # a binary target, whose last class is the positive one
        return shares[classes[-1]]
    most_frequent = sorted(classes, key=lambda name: -shares[name])  # stable: equal shares keep the order of classes
    return most_frequent[0] if metric.prediction_type == "label" else " ".join(most_frequent[: list_length(metric)])
