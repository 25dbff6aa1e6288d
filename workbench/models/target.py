"""The target as numbers, and the layout of its predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import DataError
from workbench.data.competition import positive_class
from workbench.models.row_weights import train_weights

if TYPE_CHECKING:
    from workbench.data.competition import Competition

__all__ = ["Target", "TargetColumn", "read_target", "target_column"]

MAX_CLASSES = 10_000
TASKS = ("binary", "multiclass", "regression", "ranking")


@dataclass(frozen=True)
class TargetColumn:
    """One target column.

    Attributes
    ----------
    name : str
    classes : tuple, or None
        The distinct values of a binary or multiclass target as in the table, sorted; of two classes the positive one,
        whose probability is predicted, is last. None for a numeric target.
    values : float array (n_train,)
        The number, or the index in `classes`.
    task : str
        "regression", "binary", "multiclass" or "ranking" (a number: the relevance).
    """

    name: str
    task: str
    values: npt.NDArray[np.float64]
    classes: tuple[Any, ...] | None = None

    @property
    def width(self) -> int:
        """The number of prediction columns: one per class for multiclass, else one."""
        return len(self.classes) if self.task == "multiclass" and self.classes else 1

    @property
    def labels(self) -> list[str]:
        """The names of the prediction columns."""
        if self.width == 1:
            return [self.name]
        return [str(c) for c in self.classes or ()]

    @property
    def is_turned(self) -> bool:
        """Whether the positive class, which is second, has the lower of the two values."""
        return self.task == "binary" and self.classes is not None and self.classes[0] > self.classes[1]

    def one_hot(self) -> npt.NDArray[np.float64]:
        """Return the values as a column, or for multiclass one-hot encoded, (n_train, width)."""
        if self.width == 1:
            return self.values[:, None]
        encoded: npt.NDArray[np.float64] = (self.values[:, None] == np.arange(self.width)).astype(np.float64)
        return encoded


@dataclass(frozen=True)
class Target:
    """All target columns of a competition; predictions (n, width) have the columns of all of them side by side.

    Attributes
    ----------
    columns : tuple of TargetColumn
    weight : float array (n_train,), or None
        The weights of the rows in training; None where all are 1.
    metric_weight : float array (n_train,), "same" or None
        The weights of the rows in the metric; "same" as in training.
    query : int array (n_train,), or None
        The query of each row, if rows are ranked within queries.
    """

    columns: tuple[TargetColumn, ...]
    weight: npt.NDArray[np.float64] | None = None
    query: npt.NDArray[np.int64] | None = None
    metric_weight: npt.NDArray[np.float64] | Literal["same"] | None = "same"

    @property
    def scoring_weight(self) -> npt.NDArray[np.float64] | None:
        """The weights of the rows in the metric, (n_train,); None where all are 1."""
        return self.weight if isinstance(self.metric_weight, str) else self.metric_weight

    @cached_property
    def order(self) -> npt.NDArray[np.int64] | None:
        """The row numbers, sorted by query; None where the rows of each query are adjacent, or without queries."""
        if self.query is None or not len(self.query):
            return None
        n_runs = 1 + int(np.count_nonzero(np.diff(self.query)))
        return np.argsort(self.query, kind="stable") if n_runs > len(np.unique(self.query)) else None

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The columns of each target in a prediction array."""
        ends = np.cumsum([c.width for c in self.columns]).tolist()
        return tuple(slice(end - c.width, end) for end, c in zip(ends, self.columns, strict=True))

    @property
    def width(self) -> int:
        """The total number of prediction columns."""
        return sum(c.width for c in self.columns)

    @property
    def n_rows(self) -> int:
        """The number of train rows."""
        return len(self.columns[0].values)

    @property
    def labels(self) -> list[str]:
        """The names of all prediction columns, unique."""
        if len(self.columns) == 1:
            return self.columns[0].labels
        return [name if c.width == 1 else f"{c.name}_{name}" for c in self.columns for name in c.labels]

    def take(self, rows: npt.NDArray[np.int64]) -> Target:
        """Return the target of a subset of the rows."""
        columns = tuple(TargetColumn(c.name, c.task, c.values[rows], c.classes) for c in self.columns)
        weight = None if self.weight is None else self.weight[rows]
        scoring = self.metric_weight[rows] if isinstance(self.metric_weight, np.ndarray) else self.metric_weight
        return Target(columns, weight, None if self.query is None else self.query[rows], scoring)


def read_target(competition: Competition) -> Target:
    """Return the target of the train rows.

    Raises
    ------
    DataError
        When it is missing, has nulls, or does not fit the task.
    """
    definition = competition.definition
    columns = [*definition.targets, *([definition.query] if definition.query else [])]
    frame = competition.train_columns(*definition.targets)
    if definition.query:
        frame = frame.hstack(competition.train_columns(definition.query, key="query"))
    for name in columns:
        _require_no_nulls(frame[name], definition.tables.train)
    if definition.task not in TASKS:
        raise DataError(
            f"{competition.folder / 'competition.toml'}: experiments support the tasks {', '.join(TASKS)}; got "
            f"task = {definition.task!r}"
        )
    target_columns = tuple(
        _positive_last(target_column(frame[name], definition.task, definition.tables.train), competition)
        for name in definition.targets
    )
    _check_metric(target_columns, competition)
    query = (frame[definition.query].rank("dense") - 1).cast(pl.Int64).to_numpy() if definition.query else None
    weights = competition.weights
    weight = train_weights(competition, weights.train)
    metric_weight = None if weights.is_shared else train_weights(competition, weights.metric)
    return Target(target_columns, weight, query, "same" if weights.is_shared else metric_weight)


def _check_metric(columns: tuple[TargetColumn, ...], competition: Competition) -> None:
    """Reject metrics of classes for numeric targets: they would take every value above 0 as the second class.

    Exceptions: gini is defined for amounts, and auc of amounts takes those above 0 as positives.
    """
    metric = competition.metric
    if metric.prediction_type in ("label", "ranked"):
        for column in (c for c in columns if c.task == "regression"):
            _require_integers(column, metric.name, competition.definition.tables.train)
    for column in columns:
        if column.task != "regression" or metric.prediction_type != "proba" or ".py:" in competition.definition.metric:
            continue
        has_both_classes = 0 < np.count_nonzero(column.values > 0) < len(column.values)
        if metric.name == "gini" or (metric.name == "auc" and has_both_classes):
            continue
        if not np.isin(column.values, (0.0, 1.0)).all():
            raise DataError(
                f"metric = {metric.name!r} scores the probability of a class, and the task is regression: target "
                f"{column.name!r} has {np.unique(column.values).size:,} values",
                hint='write a metric of amounts into competition.toml ("rmse"), or another task ("binary")',
            )


def _require_integers(column: TargetColumn, metric: str, table: str) -> None:
    fractions = np.flatnonzero(column.values != np.rint(column.values))
    if len(fractions):
        row = int(fractions[0])
        raise DataError(
            f"metric = {metric!r} scores labels, whole numbers: target {column.name!r} of table {table!r} has "
            f"{len(fractions):,} others among {len(column.values):,} rows ({column.values[row]:g} in row {row:,})",
            hint='write a metric of amounts into competition.toml ("rmse"), or another task',
        )


def _positive_last(column: TargetColumn, competition: Competition) -> TargetColumn:
    """Put the positive one of two classes last; if it is unknown, keep them sorted."""
    if (
        column.task != "binary"
        or column.classes is None
        or positive_class(competition, column.name, column.classes).index != 0
    ):
        return column
    return replace(column, values=1 - column.values, classes=column.classes[::-1])


def _require_no_nulls(series: pl.Series, table: str) -> None:
    missing = series.null_count() + (int(series.is_nan().sum()) if series.dtype.is_float() else 0)
    if missing:
        is_null = series.is_null() | series.is_nan().fill_null(True) if series.dtype.is_float() else series.is_null()
        raise DataError(
            f"{series.name!r} of table {table!r} has {missing:,} nulls among {len(series):,} rows, expected none (the "
            f"first in row {is_null.arg_max():,})",
            hint="remove those rows from the train file and fetch again",
        )


def _from_text(series: pl.Series, task: str, where: str) -> pl.Series:
    """Parse a target of text as numbers: integers too large for the integer types are read as text."""
    numbers = series.str.strip_chars().cast(pl.Float64, strict=False)
    if numbers.null_count():
        row = int(numbers.is_null().arg_max() or 0)
        raise DataError(
            f"{where} is a {series.dtype}; task {task} needs a number, and {series[row]!r} in row {row:,} is not one",
            hint="fix the value, add the marker of missing values under [read.TABLE] missing, or write another task "
            "into competition.toml",
        )
    return numbers


def target_column(series: pl.Series, task: str, table: str) -> TargetColumn:
    """Return a target as numbers: its values, or the indices of its classes.

    Parameters
    ----------
    series : Series (n_train,)
    task : str
    table : str
        The table's name, for messages.

    Raises
    ------
    DataError
        When the values do not fit the task: not numbers, infinite, too few or too many classes.
    """
    where = f"target {series.name!r} of table {table!r}"
    if task in ("regression", "ranking"):
        series = _from_text(series, task, where) if series.dtype == pl.String else series
        if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
            raise DataError(f"{where} is a {series.dtype}; task {task} needs a number")
        values = series.cast(pl.Float64).to_numpy()
        infinite = np.flatnonzero(~np.isfinite(values))
        if len(infinite):
            shown, more = ", ".join(f"{values[i]} in row {i:,}" for i in infinite[:3]), ", …" * (len(infinite) > 3)
            raise DataError(
                f"{where} has {len(infinite):,} infinite values among {len(values):,} ({shown}{more})",
                hint="remove those rows from the train file and fetch again",
            )
        return TargetColumn(series.name, task, values)
    levels = series.unique().sort()
    if task == "binary" and len(levels) != 2:
        shown = ", ".join(map(repr, levels.head(5).to_list()))
        raise DataError(
            f"{where} has {len(levels)} values ({shown}{', …' if len(levels) > 5 else ''}); task binary needs 2",
            hint='write another task into competition.toml: "multiclass" for more classes, "regression" for amounts'
            if len(levels) > 2
            else "",
        )
    if not 2 <= len(levels) <= MAX_CLASSES:
        raise DataError(f"{where} has {len(levels):,} values; task multiclass needs 2 to {MAX_CLASSES:,} classes")
    codes = (series.rank("dense") - 1).cast(pl.Float64).to_numpy()
    return TargetColumn(series.name, task, codes, tuple(levels.to_list()))
