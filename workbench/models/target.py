"""The target as numbers, and how its predictions are laid out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import DataError
from workbench.data.competition import positive_class
from workbench.models.row_weights import weights_of

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
        The values of a binary or multiclass target, as the table has them: sorted, but of two the positive one is the
        second, whose probability is predicted; None for a number.
    values : float array (n_train,)
        The number, or the index of the class.
    task : str
        "regression", "binary", "multiclass" or "ranking" (a number: the relevance).
    """

    name: str
    task: str
    values: npt.NDArray[np.float64]
    classes: tuple[Any, ...] | None = None

    @property
    def width(self) -> int:
        """How many prediction columns it has: one, or one per class for multiclass."""
        return len(self.classes) if self.task == "multiclass" and self.classes else 1

    @property
    def labels(self) -> list[str]:
        """The names of its prediction columns."""
        if self.width == 1:
            return [self.name]
        return [str(c) for c in self.classes or ()]

    @property
    def is_turned(self) -> bool:
        """Whether the positive class, the second, is the lesser of the two values."""
        return self.task == "binary" and self.classes is not None and self.classes[0] > self.classes[1]

    def one_hot(self) -> npt.NDArray[np.float64]:
        """Return (n_train, width): the values, or for multiclass a column per class."""
        if self.width == 1:
            return self.values[:, None]
        hot: npt.NDArray[np.float64] = (self.values[:, None] == np.arange(self.width)).astype(np.float64)
        return hot


@dataclass(frozen=True)
class Target:
    """All target columns of a competition; predictions are (n, width) with their columns side by side.

    Attributes
    ----------
    columns : tuple of TargetColumn
    weight : float array (n_train,), or None
        What each row weighs in training; None where all weigh the same.
    metric_weight : float array (n_train,), "same" or None
        In the metric; "same" as in training.
    query : int array (n_train,), or None
        The query of each row where rows are ranked within queries.
    """

    columns: tuple[TargetColumn, ...]
    weight: npt.NDArray[np.float64] | None = None
    query: npt.NDArray[np.int64] | None = None
    metric_weight: npt.NDArray[np.float64] | Literal["same"] | None = "same"

    @property
    def scoring_weight(self) -> npt.NDArray[np.float64] | None:
        """What each row weighs in the metric, (n_train,); None where all weigh the same."""
        return self.weight if isinstance(self.metric_weight, str) else self.metric_weight

    @cached_property
    def order(self) -> npt.NDArray[np.int64] | None:
        """The rows in an order in which those of each query lie together; None where they do, or there are none."""
        if self.query is None or not len(self.query):
            return None
        runs = 1 + int(np.count_nonzero(np.diff(self.query)))
        return np.argsort(self.query, kind="stable") if runs > len(np.unique(self.query)) else None

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Where each target's columns are in a prediction array."""
        ends = np.cumsum([c.width for c in self.columns]).tolist()
        return tuple(slice(end - c.width, end) for end, c in zip(ends, self.columns, strict=True))

    @property
    def width(self) -> int:
        """The number of prediction columns in all."""
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
    d = competition.definition
    columns = [*d.targets, *([d.query] if d.query else [])]
    frame = competition.train_columns(*d.targets)
    if d.query:
        frame = frame.hstack(competition.train_columns(d.query, key="query"))
    for name in columns:
        _refuse_nulls(frame[name], d.tables.train)
    if d.task not in TASKS:
        raise DataError(
            f"{competition.folder / 'competition.toml'}: experiments know the tasks {', '.join(TASKS)}; got "
            f"task = {d.task!r}"
        )
    target_columns = tuple(
        _positive_last(target_column(frame[name], d.task, d.tables.train), competition) for name in d.targets
    )
    _refuse_odd_metric(target_columns, competition)
    query = (frame[d.query].rank("dense") - 1).cast(pl.Int64).to_numpy() if d.query else None
    weights = competition.weights
    weight = weights_of(competition, weights.train)
    scoring = None if weights.is_shared else weights_of(competition, weights.metric)
    return Target(target_columns, weight, query, "same" if weights.is_shared else scoring)


def _refuse_odd_metric(columns: tuple[TargetColumn, ...], competition: Competition) -> None:
    """Refuse amounts that are to be scored as classes: of what is above 0 such a metric would make the second class.

    gini is of amounts, too; auc of amounts takes those above 0 as hits, where there are others.
    """
    metric = competition.metric
    if metric.needs in ("label", "ranked"):
        for column in (c for c in columns if c.task == "regression"):
            _refuse_amounts_as_labels(column, metric.name, competition.definition.tables.train)
    for column in columns:
        if column.task != "regression" or metric.needs != "proba" or ".py:" in competition.definition.metric:
            continue
        has_both = 0 < np.count_nonzero(column.values > 0) < len(column.values)
        if metric.name == "gini" or (metric.name == "auc" and has_both):
            continue
        if not np.isin(column.values, (0.0, 1.0)).all():
            raise DataError(
                f"metric = {metric.name!r} scores the probability of a class, and the task is regression: target "
                f"{column.name!r} has {np.unique(column.values).size:,} values",
                hint='write a metric of amounts into competition.toml ("rmse"), or another task ("binary")',
            )


def _refuse_amounts_as_labels(column: TargetColumn, metric: str, table: str) -> None:
    odd = np.flatnonzero(column.values != np.rint(column.values))
    if len(odd):
        row = int(odd[0])
        raise DataError(
            f"metric = {metric!r} scores labels, whole numbers: target {column.name!r} of table {table!r} has "
            f"{len(odd):,} others among {len(column.values):,} rows ({column.values[row]:g} in row {row:,})",
            hint='write a metric of amounts into competition.toml ("rmse"), or another task',
        )


def _positive_last(column: TargetColumn, competition: Competition) -> TargetColumn:
    """Put the positive one of two classes last; where nothing says which one it is, they stay sorted."""
    if (
        column.task != "binary"
        or column.classes is None
        or positive_class(competition, column.name, column.classes).index != 0
    ):
        return column
    return replace(column, values=1 - column.values, classes=column.classes[::-1])


def _refuse_nulls(series: pl.Series, table: str) -> None:
    missing = series.null_count() + (int(series.is_nan().sum()) if series.dtype.is_float() else 0)
    if missing:
        null = series.is_null() | series.is_nan().fill_null(True) if series.dtype.is_float() else series.is_null()
        raise DataError(
            f"{series.name!r} of table {table!r} has {missing:,} nulls among {len(series):,} rows, expected none (the "
            f"first in row {null.arg_max():,})",
            hint="take those rows out of the train file and fetch again",
        )


def _from_text(series: pl.Series, task: str, where: str) -> pl.Series:
    """Return the numbers that are written as texts, as a file of a type without such large ones has them."""
    numbers = series.str.strip_chars().cast(pl.Float64, strict=False)
    if numbers.null_count():
        row = int(numbers.is_null().arg_max() or 0)
        raise DataError(
            f"{where} is a {series.dtype}; task {task} needs a number, and {series[row]!r} in row {row:,} is none",
            hint="mend the value, name what stands for a missing one under [read.TABLE] missing, or write another task "
            "into competition.toml",
        )
    return numbers


def target_column(series: pl.Series, task: str, table: str) -> TargetColumn:
    """Return a target as models learn it: numbers, or codes of its classes.

    Parameters
    ----------
    series : Series (n_train,)
    task : str
    table : str
        Named where something is wrong.

    Raises
    ------
    DataError
        When the task can't have these values: no numbers, infinite ones, too few or too many classes.
    """
    where = f"target {series.name!r} of table {table!r}"
    if task in ("regression", "ranking"):
        series = _from_text(series, task, where) if series.dtype == pl.String else series
        if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
            raise DataError(f"{where} is a {series.dtype}; task {task} needs a number")
        values = series.cast(pl.Float64).to_numpy()
        odd = np.flatnonzero(~np.isfinite(values))
        if len(odd):
            shown = ", ".join(f"{values[i]} in row {i:,}" for i in odd[:3])
            raise DataError(
                f"{where} has {len(odd):,} infinite values among {len(values):,} ({shown}{', …' * (len(odd) > 3)})",
                hint="take those rows out of the train file and fetch again",
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
