"""The rows of each fold as a library takes them: columns, target, weights; and the way back from its predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench import metrics
from workbench.core.errors import DataError, TrainingError
from workbench.features import CHUNK_ROWS
from workbench.models.losses import training_weights
from workbench.models.own_columns import OwnColumns
from workbench.models.records import Problem
from workbench.models.scoring import score_column
from workbench.models.stand_ins import stand_in
from workbench.models.target import TargetColumn
from workbench.models.transforms import Transform, fitted_transform
from workbench.models.weights import is_decision, priors_for, without_weights

if TYPE_CHECKING:
    from workbench.metrics import Metric

__all__ = ["FoldRows", "probabilities", "stopping_metric"]

Floats = npt.NDArray[np.float64]
Rows = range | npt.NDArray[np.int64]

NOT_ONE = 1e-3
"""Probabilities in 32 bits are off by less; what is further from one is none."""


class FoldRows:
    """What one target's models see of each fold.

    Parameters
    ----------
    problem : Problem
    index : int
        Of the target.
    transform : str
        What the target goes through.
    power : int
        In training rows weigh ``1 / |y| ** power`` beside their own weights.
    has_own_weights : bool
        Whether the model weighs classes by itself: then its probabilities stay as they are.
    """

    def __init__(
        self, problem: Problem, index: int, transform: str, *, power: int = 0, has_own_weights: bool = False
    ) -> None:
        self.problem = problem
        self.index = index
        self.column: TargetColumn = problem.target.columns[index]
        self.transform = transform
        self.power = power
        self.has_own_weights = has_own_weights
        self.stop_by = stopping_metric(problem.metric, self.column.task)
        self._columns = OwnColumns(problem, index)
        self._fitted: dict[int, Transform] = {}

    # ---------------------------------------------------------------------------------------------------- columns

    @cached_property
    def names(self) -> list[str]:
        """The columns: those that all folds share, then the fold's own; no name twice."""
        matrix, targets = self.problem.matrix, self.problem.target.columns
        own = (name for c in matrix.fold_columns for name in c.names(targets, self.index))
        found: dict[str, None] = dict.fromkeys(matrix.columns)
        for name in own:
            found[name if name not in found else f"{name}_{len(found)}"] = None
        return list(found)

    @cached_property
    def categorical(self) -> list[str]:
        """The columns that are codes: whole numbers from 0 up, null for what train lacks."""
        return [name for name in self.problem.matrix.columns if name in self.problem.matrix.categories]

    def singles(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return columns in 32 bits, for libraries that have no others; less their center where they would merge."""
        apart = []
        for name, center in self.problem.matrix.centers.items():
            if name in frame.columns:
                is_long = frame.schema[name].is_integer() and frame.schema[name] != pl.UInt64
                value = pl.col(name).cast(pl.Int64 if is_long else pl.Float64)
                apart.append(value - (int(center) if is_long else center))
        return frame.with_columns(apart).cast(pl.Float32)

    def own_columns(self, fold: int) -> pl.DataFrame:
        """Return the columns that depend on the fold, for all rows; kept until another fold is asked for."""
        frame = self._columns.frame(fold)
        frame.columns = self.names[self.problem.matrix.width :]
        return frame

    def pieces(self, fold: int, rows: Rows, size: int | None = None) -> Iterator[tuple[slice, pl.DataFrame]]:
        """Give all columns of some rows (ascending) piece by piece, each of `size` rows but the last.

        By default that is `CHUNK_ROWS`. The pieces are the same whether the matrix is held in memory or read from its
        blocks: a library may make something of where they end.
        """
        own, at = self.own_columns(fold), 0
        for frame in _recut(self._shared(rows), size or CHUNK_ROWS):
            where = slice(at, at + len(frame))
            at = where.stop
            yield where, frame.hstack(_taken(own, rows[where])) if own.width else frame

    def _shared(self, rows: Rows) -> Iterator[pl.DataFrame]:
        if self.problem.matrix.width:
            yield from (frame for _, frame in self.problem.matrix.chunks(rows))
        else:
            yield pl.DataFrame(height=len(rows))

    def frame(self, fold: int, rows: Rows) -> pl.DataFrame:
        """Return all columns of some rows (ascending), in memory."""
        frames = [frame for _, frame in self.pieces(fold, rows)]
        return pl.concat(frames) if frames else self.frame(fold, range(1)).clear()

    # ----------------------------------------------------------------------------------------------------- target

    def fitted(self, fold: int) -> Transform:
        """Return the transform as the rows that the fold trains on make it."""
        if fold not in self._fitted:
            values = self.column.values[self.problem.folds.train_rows(fold)]
            self._fitted[fold] = fitted_transform(self.transform, values)
        return self._fitted[fold]

    def label(self, fold: int, rows: npt.NDArray[np.int64]) -> Floats:
        """Return what is fitted of some train rows, a copy: the target, transformed."""
        return self.fitted(fold).forward(self.column.values[rows])

    def notes(self, fold: int) -> dict[str, Any]:
        """Return what the record is to say of the fold: what the transform learned."""
        learned = self.fitted(fold).learned
        return {"transform": learned} if learned else {}

    def weight(self, rows: npt.NDArray[np.int64]) -> Floats | None:
        """Return the weights of some train rows in training, or None."""
        return training_weights(self.problem.target.weight, self.column.values, rows, self.power)

    def scoring_weight(self, rows: npt.NDArray[np.int64]) -> Floats | None:
        """Return the weights of some train rows in the metric, or None."""
        weight = self.problem.target.scoring_weight
        return None if weight is None else weight[rows]

    def sides(self, fold: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the rows that a fold trains on and those that it validates."""
        return self.problem.folds.train_rows(fold), self.problem.folds.valid_rows(fold)

    @property
    def test_rows(self) -> range:
        """The test rows."""
        return range(self.problem.matrix.n_train, self.problem.matrix.n_rows)

    # ------------------------------------------------------------------------------------------------ predictions

    def predicted(self, fold: int, rows: Rows, predict: Callable[[pl.DataFrame], npt.NDArray[Any]]) -> Floats:
        """Predict some rows piece by piece.

        Parameters
        ----------
        predict : callable
            Frame (n, columns) -> what was fitted, (n,) or (n, width): numbers, or probabilities.

        Returns
        -------
        float array (n_rows, width)
            On the target's own scale.

        Raises
        ------
        TrainingError
            When the predictions are not finite, not of that shape, or no probabilities.
        """
        made = np.empty((len(rows), self.column.width))
        for where, frame in self.pieces(fold, rows):
            values = np.asarray(predict(frame), np.float64)
            made[where] = self.shaped(values, len(frame), f"fold {fold}")
        return self.checked(made, fold, f"fold {fold}")

    def shaped(self, values: npt.NDArray[Any], n_rows: int, where: str) -> Floats:
        """Return predictions as (n_rows, width).

        Raises
        ------
        TrainingError
            When they are not so many.
        """
        width = self.column.width
        if values.shape not in ((n_rows, width), *([(n_rows,)] if width == 1 else [])):
            raise TrainingError(
                f"{where}: expected predictions of the shape ({n_rows:,}, {width}) for target {self.column.name!r}, "
                f"got {values.shape}",
                hint="a probability for each class" if width > 1 else "",
            )
        return values.reshape(n_rows, width)

    def checked(self, fitted: Floats, fold: int, where: str) -> Floats:
        """Return predictions (n, width) on the target's own scale; probabilities sum to one.

        Raises
        ------
        TrainingError
            When they are not finite, or no probabilities.
        """
        values = self.fitted(fold).inverse(fitted)
        # The inverse of what has learned its ends would hide an infinite one.
        odd = int((~np.isfinite(fitted) | ~np.isfinite(values)).sum())
        if odd:
            raise TrainingError(
                f"{where}: {odd:,} of {values.size:,} predictions of {self.column.name!r} are infinite or NaN"
            )
        if self.column.task == "regression":
            return values
        return self._of_equal_classes(probabilities(values, self.column.name, where), fold)

    def _of_equal_classes(self, values: Floats, fold: int) -> Floats:
        if self.has_own_weights:
            return values
        weight, rows = self.problem.target.weight, self.problem.folds.train_rows(fold)
        priors = priors_for(self.problem.metric, self.column, rows, weight)
        return values if priors is None else without_weights(values, priors)

    def stopping_value(self, fitted: Floats, fold: int, rows: npt.NDArray[np.int64]) -> float:
        """Return the metric to stop by of what was fitted for some train rows, (n, width).

        Raises
        ------
        TrainingError
            When the metric gives no number.
        """
        values = self._of_equal_classes(self.fitted(fold).inverse(fitted), fold)
        try:
            return score_column(self.problem.target, self.column, rows, values, self.stop_by)
        except DataError as exc:
            raise TrainingError(f"fold {fold}: {exc.message}", hint=exc.hint) from exc


def probabilities(values: Floats, name: str, where: str) -> Floats:
    """Check that these are probabilities, (n, width), and make those of several classes sum to one.

    Raises
    ------
    TrainingError
        When one is below 0 or above 1, or a row's sum is not 1.
    """
    outside = (values < -NOT_ONE) | (values > 1 + NOT_ONE)
    sums = values.sum(axis=1) if values.shape[1] > 1 else np.ones(len(values))
    if outside.any() or (abs(sums - 1) > NOT_ONE).any():
        what = (
            f"{float(values[outside][0]):g} is outside of 0 to 1"
            if outside.any()
            else f"those of a row sum to {float(sums[abs(sums - 1) > NOT_ONE][0]):g}"
        )
        raise TrainingError(
            f"{where}: the predictions of {name!r} must be probabilities, but {what}",
            hint="choose an objective that gives probabilities",
        )
    clipped = np.clip(values, 0, 1)
    return clipped / clipped.sum(axis=1, keepdims=True) if values.shape[1] > 1 else clipped


def stopping_metric(metric: Metric, task: str) -> Metric:
    """Return the metric to stop by; for labels and rankings `stand_in` has it, as they are steps."""
    usual = "mlogloss" if task == "multiclass" else "logloss"
    if task == "regression":
        return stand_in(metric, task) or metric
    if is_decision(metric) or metric.name in ("logloss", "mlogloss"):
        return metrics.get(usual)
    return metric


def _taken(own: pl.DataFrame, rows: Rows) -> pl.DataFrame:
    return own.slice(rows.start, len(rows)) if isinstance(rows, range) else own[rows]


def _recut(frames: Iterable[pl.DataFrame], size: int) -> Iterator[pl.DataFrame]:
    """Give the same rows in frames of `size` rows, the last with what is left."""
    held: list[pl.DataFrame] = []
    n_held = 0
    for frame in frames:
        held.append(frame)
        n_held += len(frame)
        while n_held >= size:
            whole = pl.concat(held)
            yield whole.head(size)
            held, n_held = [whole.slice(size)], n_held - size
    if n_held:
        yield pl.concat(held)
