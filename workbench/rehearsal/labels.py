"""Targets: the task, the classes, and one reading of a label however it was written."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import ConfigError, DataError
from workbench.metrics import Metric, find_positive

__all__ = ["classes_of", "codes", "infer_task", "list_length", "numbers", "positive_last", "sample_values"]

MAX_CLASSES = 20


def numbers(series: pl.Series) -> pl.Series:
    """Return a column as floats, null where it holds no number."""
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        return series.cast(pl.Float64)
    return series.cast(pl.String).cast(pl.Float64, strict=False)


def list_length(metric: Metric) -> int:
    """Return the k of a "ranked" metric: 3 for map@3."""
    return int(metric.number or 0)


# --------------------------------------------------------------------------------------------------------------- task


def infer_task(targets: list[pl.Series], metric: Metric, wanted: str | None) -> str:
    """Return the task: what was asked for, checked against the targets, or what they and the metric tell.

    Raises
    ------
    DataError
        When the targets are not what the task needs.
    ConfigError
        When the metric can't score the task.
    """
    task = wanted or _guess(targets, metric)
    for column in targets:
        _check_target(column, task)
    if task == "multiclass" and metric.needs == "value":
        raise ConfigError(
            f"the metric {metric.name!r} compares numbers, and the task multiclass has labels",
            hint="--task regression, or a metric for labels such as accuracy",
        )
    if task == "multiclass" and metric.needs == "proba" and len(targets) > 1:
        raise ConfigError(
            f"the metric {metric.name!r} needs a column per class, which several targets of many classes don't allow",
            hint="one target, or a metric for labels such as macro_f1",
        )
    return task


def _guess(targets: list[pl.Series], metric: Metric) -> str:
    if metric.needs == "value" or any(_has_fractions(c) for c in targets):
        return "regression"
    widest = max(c.n_unique() for c in targets)
    are_numbers = not any(numbers(c).null_count() for c in targets)
    if metric.needs == "proba" and widest > MAX_CLASSES and are_numbers:
        return "regression"
    # mlogloss takes a column per class, also where there are two.
    return "binary" if widest == 2 and metric.name != "mlogloss" else "multiclass"


def _has_fractions(column: pl.Series) -> bool:
    values = numbers(column)
    return not values.null_count() and bool((values != values.floor()).any())


def _check_target(column: pl.Series, task: str) -> None:
    if task == "regression":
        wrong = column.filter(~numbers(column).is_finite().fill_null(value=False))
        if len(wrong):
            raise DataError(
                f"target {column.name!r} is not a number everywhere, which regression needs: "
                f"{len(wrong):,} values, for example {wrong[0]!r}"
            )
    elif task == "binary" and column.n_unique() != 2:
        raise DataError(f"task binary needs targets of 2 values; {column.name!r} has {column.n_unique()}")


# ------------------------------------------------------------------------------------------------------------ classes


def classes_of(column: pl.Series) -> list[str]:
    """Return the values of a target as texts, as they are written: numbers by value, other texts by the alphabet.

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


def positive_last(classes: list[str], target: str) -> list[str]:
    """Put the class that the target is named for last of two: its probability is what is scored.

    Examples
    --------
    >>> positive_last(["approved", "denied"], "approved")
    ['denied', 'approved']
    """
    return classes[::-1] if find_positive(classes, (target,)).index == 0 else classes


def codes(series: pl.Series, classes: list[str]) -> npt.NDArray[np.int64]:
    """Return the place of each label in `classes`, -1 for what is no class.

    A label counts however a program rewrote it: 1, 1.0 and 01 are one label, and so are true and True, unless two
    classes differ only in that.

    Examples
    --------
    >>> codes(pl.Series(["1.0", "0", "7"]), ["0", "1"]).tolist()
    [1, 0, -1]
    >>> codes(pl.Series(["1", "01"]), ["01", "1"]).tolist()
    [1, 0]
    """
    labels, sent = pl.Series(classes, dtype=pl.String), series.cast(pl.String)
    plain = _plain(labels)
    if plain.n_unique() == len(classes):
        labels, sent = plain, _plain(sent)
    places = list(range(len(classes)))
    codes = sent.replace_strict(labels.to_list(), places, default=-1, return_dtype=pl.Int64)
    return codes.fill_null(-1).to_numpy()


def _plain(texts: pl.Series) -> pl.Series:
    without_zeros = texts.str.replace(r"^(-?)0*(\d+)(?:\.0*)?$", "${1}${2}")
    lower = pl.col("t").str.to_lowercase()
    is_truth = lower.is_in(["true", "false"])
    return without_zeros.to_frame("t").select(pl.when(is_truth).then(lower).otherwise(pl.col("t")).alias("t"))["t"]


# ------------------------------------------------------------------------------------------------------------- sample


def sample_values(
    train: pl.DataFrame, targets: tuple[str, ...], metric: Metric, task: str, classes: list[list[str]]
) -> dict[str, Any]:
    """Return the constant that the sample holds in each column: the best that can be said without a model.

    Parameters
    ----------
    train : frame with the targets' columns
    classes : for each target its classes; empty for regression
    """
    if task == "multiclass" and metric.needs == "proba":
        return _shares(train[targets[0]], classes[0])
    if task == "regression":
        return {t: _middle(train[t], metric) for t in targets}
    return {t: _constant(train[t], metric, of) for t, of in zip(targets, classes, strict=True)}


def _shares(column: pl.Series, classes: list[str]) -> dict[str, float]:
    counts = np.bincount(codes(column, classes), minlength=len(classes))
    return {c: float(n / len(column)) for c, n in zip(classes, counts, strict=True)}


def _middle(column: pl.Series, metric: Metric) -> float:
    middle = float(np.median(numbers(column).to_numpy()))
    return float(round(middle)) if metric.needs == "label" else middle


def _constant(column: pl.Series, metric: Metric, classes: list[str]) -> Any:
    shares = _shares(column, classes)
    if metric.needs in ("value", "proba"):  # binary: the share of the second class
        return shares[classes[-1]]
    common = sorted(classes, key=lambda c: -shares[c])  # stable: equal shares stay in the classes' order
    return common[0] if metric.needs == "label" else " ".join(common[: list_length(metric)])
