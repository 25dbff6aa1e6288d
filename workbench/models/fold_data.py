"""One target's data, fold by fold, whatever the library: columns, labels, weights, and predictions on its own scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import DataError, TrainingError
from workbench.models.losses import relative_weights
from workbench.models.records import ALL_ROWS, Problem
from workbench.models.scoring import as_metric_input, scored_labels, truth_of
from workbench.models.stopping_metrics import stopping_metric
from workbench.models.target import TargetColumn
from workbench.models.training_columns import Rows, TrainingColumns
from workbench.models.transforms import Transform, fitted_transform
from workbench.models.weights import BALANCED, class_weights, is_decision, priors_for, without_weights

if TYPE_CHECKING:
    from workbench.metrics import Metric

__all__ = ["FoldData", "FoldTarget", "probabilities"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TOLERANCE = 1e-3
"""How far from one the sum of probabilities may be: in 32 bits it is off by less."""


class FoldTarget:
    """A target as the models of each fold are trained on it: labels, weights, and the way back from predictions.

    What is learned of the target is learned from the rows that the fold trains on, and from no others.

    Parameters
    ----------
    problem : Problem
    index : int
        Of the target.
    transform : str
        What the target goes through.
    power : int
        In training rows weigh ``1 / |y| ** power`` beside their own weights.
    class_weight : str, dict or None
        The experiment's weights of the classes, as `check_class_weight` gives them.
    library_weighs_classes : bool
        Whether the library weighs the classes by itself: then their probabilities stay as they are.
    """

    def __init__(
        self,
        problem: Problem,
        index: int,
        transform: str,
        *,
        power: int = 0,
        class_weight: str | dict[str, float] | None = None,
        library_weighs_classes: bool = False,
    ) -> None:
        self.problem = problem
        self.index = index
        self.column: TargetColumn = problem.target.columns[index]
        self.transform = transform
        self.power = power
        self.class_weight = class_weight
        self.library_weighs_classes = library_weighs_classes
        self.stopping_metric: Metric = stopping_metric(problem.metric, self.column.task)
        self._transforms: dict[int, Transform] = {}
        self._class_weights: dict[int, Floats | None] = {}
        self._priors: dict[int, Floats | None] = {}

    def train_rows(self, fold: int) -> Ints:
        """Return the ascending rows that a fold trains on; `ALL_ROWS` is a fold, too."""
        folds = self.problem.folds
        return np.arange(folds.n_rows) if fold == ALL_ROWS else folds.train_rows(fold)

    def valid_rows(self, fold: int) -> Ints:
        """Return the ascending rows that a fold validates."""
        return np.empty(0, np.int64) if fold == ALL_ROWS else self.problem.folds.valid_rows(fold)

    # ----------------------------------------------------------------------------------------------------- training

    def transform_of(self, fold: int) -> Transform:
        """Return the target's transform with what it learned from the fold's train rows."""
        if fold not in self._transforms:
            self._transforms[fold] = fitted_transform(self.transform, self.column.values[self.train_rows(fold)])
        return self._transforms[fold]

    def notes(self, fold: int) -> dict[str, Any]:
        """Return what the record is to say of the fold: what the transform learned."""
        learned = self.transform_of(fold).learned
        return {"transform": learned} if learned else {}

    def labels(self, fold: int, rows: Ints) -> Floats:
        """Return what is fitted of some train rows, a copy: the target, transformed."""
        return self.transform_of(fold).forward(self.column.values[rows])

    def class_weights(self, fold: int) -> Floats | None:
        """Return the experiment's weight of each class, (n_classes,), or None."""
        if fold not in self._class_weights:
            self._class_weights[fold] = class_weights(self.class_weight, self.column, self.train_rows(fold))
        return self._class_weights[fold]

    def training_weights(self, fold: int, rows: Ints) -> Floats | None:
        """Return what some train rows weigh in training: their own weight, their loss's and their class's; or None."""
        weight = self.problem.target.weight
        of_loss = relative_weights(self.column.values[rows], self.power)
        return _product(None if weight is None else weight[rows], of_loss, self._weights_by_class(fold, rows))

    def validation_weights(self, fold: int, rows: Ints) -> Floats | None:
        """Return what some train rows weigh in the metric to stop by, or None.

        The metric knows nothing of classes' weights; the log loss that stands in for a decision does.
        """
        weight = self.problem.target.scoring_weight
        of_class = self._weights_by_class(fold, rows) if is_decision(self.problem.metric) else None
        return _product(None if weight is None else weight[rows], of_class)

    def _weights_by_class(self, fold: int, rows: Ints) -> Floats | None:
        weights = self.class_weights(fold)
        return None if weights is None else weights[self.column.values[rows].astype(np.int64)]

    # -------------------------------------------------------------------------------------------------- predictions

    def to_target_scale(self, fitted: Floats, fold: int) -> Floats:
        """Return what was fitted, (n, width), on the target's own scale: the transform and weights undone."""
        values = self.transform_of(fold).inverse(fitted)
        weights, priors = self.class_weights(fold), self._priors_of(fold)
        if priors is not None and self.class_weight == BALANCED and self.problem.target.weight is None:
            return values  # trained on classes of one size, which is what the metric wants
        if weights is not None and not is_decision(self.problem.metric):
            values = without_weights(values, weights)
        return values if priors is None else without_weights(values, priors)

    def _priors_of(self, fold: int) -> Floats | None:
        if self.library_weighs_classes:
            return None
        if fold not in self._priors:
            metric, weight = self.problem.metric, self.problem.target.weight
            self._priors[fold] = priors_for(metric, self.column, self.train_rows(fold), weight)
        return self._priors[fold]

    def stopping_score(self, fold: int, rows: Ints, where: str) -> Callable[[Floats], float]:
        """Return what gives the metric to stop by for what was fitted of some train rows, (n, width).

        It raises a TrainingError where the metric gives no number; `where` begins its message.
        """
        metric, column = self.stopping_metric, self.column
        truth = scored_labels(truth_of(self.problem.target, column, rows, metric), column, metric)
        weight = self.validation_weights(fold, rows)

        def score(fitted: Floats) -> float:
            predictions = as_metric_input(self.to_target_scale(fitted, fold), column, metric)
            try:
                return metric(truth, scored_labels(predictions, column, metric), weight)
            except DataError as exc:
                raise TrainingError(f"{where}: {exc.message}", hint=exc.hint) from exc

        return score


class FoldData:
    """What one target's models see of each fold: the only source of a library's columns, labels and weights.

    Parameters
    ----------
    target : FoldTarget

    Attributes
    ----------
    columns : TrainingColumns
    """

    def __init__(self, target: FoldTarget) -> None:
        self.problem = target.problem
        self.target = target
        self.columns = TrainingColumns(target.problem, target.index)

    @property
    def test_rows(self) -> range:
        """The test rows."""
        return range(self.problem.matrix.n_train, self.problem.matrix.n_rows)

    def split(self, fold: int) -> tuple[Ints, Ints]:
        """Return the rows that a fold trains on and those that it validates."""
        return self.target.train_rows(fold), self.target.valid_rows(fold)

    def fitted(self, fold: int, rows: Rows, predict: Callable[[pl.DataFrame], npt.NDArray[Any]]) -> Floats:
        """Predict some rows chunk by chunk, (n_rows, width): what was fitted, which is not checked.

        Parameters
        ----------
        predict : callable
            Frame (n, columns) -> what was fitted, (n,) or (n, width): numbers, or probabilities.

        Raises
        ------
        TrainingError
            When the predictions are not of that shape.
        """
        fitted = np.empty((len(rows), self.target.column.width))
        for row_slice, frame in self.columns.chunks(fold, rows):
            fitted[row_slice] = self.shaped(np.asarray(predict(frame), np.float64), len(frame), f"fold {fold}")
        return fitted

    def predictions(self, fold: int, rows: Rows, predict: Callable[[pl.DataFrame], npt.NDArray[Any]]) -> Floats:
        """Predict some rows chunk by chunk, (n_rows, width), on the target's own scale; as `fitted`, and checked.

        Raises
        ------
        TrainingError
            When the predictions are not finite, not of that shape, or no probabilities.
        """
        return self.checked(self.fitted(fold, rows, predict), fold, f"fold {fold}")

    def shaped(self, values: npt.NDArray[Any], n_rows: int, where: str) -> Floats:
        """Return predictions as (n_rows, width).

        Raises
        ------
        TrainingError
            When they are not so many.
        """
        column = self.target.column
        if values.shape not in ((n_rows, column.width), *([(n_rows,)] if column.width == 1 else [])):
            raise TrainingError(
                f"{where}: expected predictions of the shape ({n_rows:,}, {column.width}) for target {column.name!r}, "
                f"got {values.shape}",
                hint="a probability for each class" if column.width > 1 else "",
            )
        return values.reshape(n_rows, column.width)

    def checked(self, fitted: Floats, fold: int, where: str) -> Floats:
        """Return what was fitted, (n, width), on the target's own scale; probabilities sum to one.

        Raises
        ------
        TrainingError
            When they are not finite, or no probabilities.
        """
        column = self.target.column
        if column.task != "regression":
            _check_finite(fitted, fitted, column, where)
            return self.target.to_target_scale(probabilities(fitted, column.name, where), fold)
        values = self.target.to_target_scale(fitted, fold)
        _check_finite(fitted, values, column, where)
        return values


def _check_finite(fitted: Floats, values: Floats, column: TargetColumn, where: str) -> None:
    # The inverse of what has learned its ends would hide an infinite one.
    n_odd = int((~np.isfinite(fitted) | ~np.isfinite(values)).sum())
    if n_odd:
        raise TrainingError(f"{where}: {n_odd:,} of {values.size:,} predictions of {column.name!r} are infinite or NaN")


def _product(*weights: Floats | None) -> Floats | None:
    factors = [w for w in weights if w is not None]
    if not factors:
        return None
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return product


def probabilities(values: Floats, name: str, where: str) -> Floats:
    """Check that these are probabilities, (n, width), and make those of several classes sum to one.

    Raises
    ------
    TrainingError
        When one is below 0 or above 1, or a row's sum is not 1.
    """
    outside = (values < -TOLERANCE) | (values > 1 + TOLERANCE)
    sums = values.sum(axis=1) if values.shape[1] > 1 else np.ones(len(values))
    if outside.any() or (abs(sums - 1) > TOLERANCE).any():
        problem = (
            f"{float(values[outside][0]):g} is outside of 0 to 1"
            if outside.any()
            else f"those of a row sum to {float(sums[abs(sums - 1) > TOLERANCE][0]):g}"
        )
        raise TrainingError(
            f"{where}: the predictions of {name!r} must be probabilities, but {problem}",
            hint="choose an objective that gives probabilities",
        )
    clipped = np.clip(values, 0, 1)
    return clipped / clipped.sum(axis=1, keepdims=True) if values.shape[1] > 1 else clipped
