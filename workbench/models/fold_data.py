"""The data of one target's models for any library: columns, labels, weights, and predictions on the target's scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import DataError, TrainingError
from workbench.models.losses import relative_weights
from workbench.models.records import FULL_DATA, Problem
from workbench.models.scoring import ground_truth, metric_input, scored_labels
from workbench.models.stopping_metrics import stopping_metric
from workbench.models.target import TargetColumn
from workbench.models.training_columns import Rows, TrainingColumns
from workbench.models.transforms import Transform, fitted_transform
from workbench.models.weights import BALANCED, class_weights, priors_for, uses_hard_labels, without_weights

if TYPE_CHECKING:
    from workbench.metrics import Metric

__all__ = ["FoldData", "FoldTarget", "probabilities"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TOLERANCE = 1e-3
"""How far the sum of probabilities may be from one: rounding to 32 bits changes it by less."""


class FoldTarget:
    """A target as models of each fold fit it: labels, weights, and the conversion of predictions to the target's scale.

    Everything fitted on the target (transforms, class weights, priors) uses the fold's train rows alone.

    Parameters
    ----------
    problem : Problem
    target_index : int
        Of the target.
    transform : str
        One of `transforms.TRANSFORMS`.
    power : int
        The weights of the rows in training are multiplied by ``1 / |y| ** power``.
    class_weight : str, dict or None
        The experiment's weights of the classes, from `check_class_weight`.
    library_weights_classes : bool
        Whether the library weights the classes itself: then no priors are removed from its probabilities.
    """

    def __init__(
        self,
        problem: Problem,
        target_index: int,
        transform: str,
        *,
        power: int = 0,
        class_weight: str | dict[str, float] | None = None,
        library_weights_classes: bool = False,
    ) -> None:
        self.problem = problem
        self.target_index = target_index
        self.column: TargetColumn = problem.target.columns[target_index]
        self.transform = transform
        self.power = power
        self.class_weight = class_weight
        self.library_weights_classes = library_weights_classes
        self.stopping_metric: Metric = stopping_metric(problem.metric, self.column.task)
        self._transforms: dict[int, Transform] = {}
        self._class_weights: dict[int, Floats | None] = {}
        self._priors: dict[int, Floats | None] = {}

    def train_rows(self, fold: int) -> Ints:
        """Return the ascending train rows of a fold; of `FULL_DATA` all rows."""
        folds = self.problem.folds
        return np.arange(folds.n_rows) if fold == FULL_DATA else folds.train_rows(fold)

    def valid_rows(self, fold: int) -> Ints:
        """Return the ascending validation rows of a fold; of `FULL_DATA` none."""
        return np.empty(0, np.int64) if fold == FULL_DATA else self.problem.folds.valid_rows(fold)

    # ----------------------------------------------------------------------------------------------------- training

    def transform_of(self, fold: int) -> Transform:
        """Return the target's transform, fitted on the fold's train rows."""
        if fold not in self._transforms:
            self._transforms[fold] = fitted_transform(self.transform, self.column.values[self.train_rows(fold)])
        return self._transforms[fold]

    def notes(self, fold: int) -> dict[str, Any]:
        """Return the fold's notes for the run's record: the parameters of the fitted transform."""
        parameters = self.transform_of(fold).parameters
        return {"transform": parameters} if parameters else {}

    def labels(self, fold: int, rows: Ints) -> Floats:
        """Return the labels to fit, the transformed target of these rows, as a copy."""
        return self.transform_of(fold).forward(self.column.values[rows])

    def class_weights(self, fold: int) -> Floats | None:
        """Return the experiment's weight of each class, (n_classes,), or None."""
        if fold not in self._class_weights:
            self._class_weights[fold] = class_weights(self.class_weight, self.column, self.train_rows(fold))
        return self._class_weights[fold]

    def training_weights(self, fold: int, rows: Ints) -> Floats | None:
        """Return the weights of some train rows: the product of row, loss and class weights; None where all are 1."""
        weight = self.problem.target.weight
        loss_weights = relative_weights(self.column.values[rows], self.power)
        return _product(None if weight is None else weight[rows], loss_weights, self._class_weights_of(fold, rows))

    def validation_weights(self, fold: int, rows: Ints) -> Floats | None:
        """Return the weights of some train rows in the metric to stop by; None where all are 1.

        Class weights count only where the log loss is the proxy of a metric of hard labels.
        """
        weight = self.problem.target.scoring_weight
        class_weights = self._class_weights_of(fold, rows) if uses_hard_labels(self.problem.metric) else None
        return _product(None if weight is None else weight[rows], class_weights)

    def _class_weights_of(self, fold: int, rows: Ints) -> Floats | None:
        weights = self.class_weights(fold)
        return None if weights is None else weights[self.column.values[rows].astype(np.int64)]

    # -------------------------------------------------------------------------------------------------- predictions

    def to_target_scale(self, output: Floats, fold: int) -> Floats:
        """Convert a model's output (n, width) to the target's scale: invert the transform, undo class weights."""
        values = self.transform_of(fold).inverse(output)
        weights, priors = self.class_weights(fold), self._priors_of(fold)
        if priors is not None and self.class_weight == BALANCED and self.problem.target.weight is None:
            return values  # trained on balanced classes, which the metric assumes
        if weights is not None and not uses_hard_labels(self.problem.metric):
            values = without_weights(values, weights)
        return values if priors is None else without_weights(values, priors)

    def _priors_of(self, fold: int) -> Floats | None:
        if self.library_weights_classes:
            return None
        if fold not in self._priors:
            metric, weight = self.problem.metric, self.problem.target.weight
            self._priors[fold] = priors_for(metric, self.column, self.train_rows(fold), weight)
        return self._priors[fold]

    def stopping_score(self, fold: int, rows: Ints, where: str) -> Callable[[Floats], float]:
        """Return a function from a model's output for these train rows, (n, width), to the metric to stop by.

        The function raises a TrainingError if the metric can't be computed; `where` is the start of its message.
        """
        metric, column = self.stopping_metric, self.column
        truth = scored_labels(ground_truth(self.problem.target, column, rows, metric), column, metric)
        weight = self.validation_weights(fold, rows)

        def score(output: Floats) -> float:
            predictions = metric_input(self.to_target_scale(output, fold), column, metric)
            try:
                return metric(truth, scored_labels(predictions, column, metric), weight)
            except DataError as exc:
                raise TrainingError(f"{where}: {exc.message}", hint=exc.hint) from exc

        return score


class FoldData:
    """The data of one target's models in each fold: the only source of a library's columns, labels and weights.

    Parameters
    ----------
    target : FoldTarget

    Attributes
    ----------
    columns : TrainingColumns
    keeps_datasets : bool
        Whether a library may keep its datasets of all folds, for the next seed.
    """

    def __init__(self, target: FoldTarget) -> None:
        self.problem = target.problem
        self.target = target
        self.columns = TrainingColumns(target.problem, target.target_index)
        self.keeps_datasets = False

    def keep_folds(self, max_folds: int, n_seeds: int) -> None:
        """Keep what is computed per fold, of up to `max_folds` folds, for the next of `n_seeds` seeds."""
        self.columns.by_fold.max_folds = max(1, max_folds)
        self.keeps_datasets = n_seeds > 1 and max_folds >= self.problem.folds.n_folds

    @property
    def test_rows(self) -> range:
        """The test rows."""
        return range(self.problem.matrix.n_train, self.problem.matrix.n_rows)

    def split(self, fold: int) -> tuple[Ints, Ints]:
        """Return the train rows and the validation rows of a fold."""
        return self.target.train_rows(fold), self.target.valid_rows(fold)

    def raw_predictions(self, fold: int, rows: Rows, predict: Callable[[pl.DataFrame], npt.NDArray[Any]]) -> Floats:
        """Predict some rows chunk by chunk, (n_rows, width), on the scale of the fitted labels, unchecked.

        Parameters
        ----------
        predict : callable
            Frame (n, columns) -> numbers or probabilities, (n,) or (n, width).

        Raises
        ------
        TrainingError
            When the predictions have another shape.
        """
        raw = np.empty((len(rows), self.target.column.width))
        for row_slice, frame in self.columns.chunks(fold, rows):
            raw[row_slice] = self.shaped(np.asarray(predict(frame), np.float64), len(frame), f"fold {fold}")
        return raw

    def predictions(self, fold: int, rows: Rows, predict: Callable[[pl.DataFrame], npt.NDArray[Any]]) -> Floats:
        """Predict some rows chunk by chunk, (n_rows, width), on the target's scale, and check the predictions.

        Raises
        ------
        TrainingError
            When the predictions have another shape, are not finite or are not probabilities.
        """
        return self.checked(self.raw_predictions(fold, rows, predict), fold, f"fold {fold}")

    def shaped(self, values: npt.NDArray[Any], n_rows: int, where: str) -> Floats:
        """Return predictions as (n_rows, width).

        Raises
        ------
        TrainingError
            When they have another shape.
        """
        column = self.target.column
        if values.shape not in ((n_rows, column.width), *([(n_rows,)] if column.width == 1 else [])):
            raise TrainingError(
                f"{where}: expected predictions of the shape ({n_rows:,}, {column.width}) for target {column.name!r}, "
                f"got {values.shape}",
                hint="a probability for each class" if column.width > 1 else "",
            )
        return values.reshape(n_rows, column.width)

    def checked(self, raw: Floats, fold: int, where: str) -> Floats:
        """Check a model's output (n, width) and convert it to the target's scale; probabilities sum to one.

        Raises
        ------
        TrainingError
            When values are not finite or not probabilities.
        """
        column = self.target.column
        if column.task != "regression":
            _check_finite(raw, raw, column, where)
            return self.target.to_target_scale(probabilities(raw, column.name, where), fold)
        values = self.target.to_target_scale(raw, fold)
        _check_finite(raw, values, column, where)
        return values


def _check_finite(raw: Floats, values: Floats, column: TargetColumn, where: str) -> None:
    # Both are checked: the inverse of some transforms clips an infinite raw value to the range of the labels.
    n_not_finite = int((~np.isfinite(raw) | ~np.isfinite(values)).sum())
    if n_not_finite:
        raise TrainingError(
            f"{where}: {n_not_finite:,} of {values.size:,} predictions of {column.name!r} are infinite or NaN"
        )


def _product(*weights: Floats | None) -> Floats | None:
    """Return the product of those that are not None; None if all are."""
    factors = [w for w in weights if w is not None]
    if not factors:
        return None
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return product


def probabilities(values: Floats, target: str, where: str) -> Floats:
    """Check that values (n, width) are probabilities, and scale those of several classes to sum to one.

    Parameters
    ----------
    target : str
        The target column, for the error message.
    where : str
        The start of the error message, such as "fold 2".

    Raises
    ------
    TrainingError
        When one is below 0 or above 1, or a row's sum is not 1.
    """
    outside = (values < -TOLERANCE) | (values > 1 + TOLERANCE)
    sums = values.sum(axis=1) if values.shape[1] > 1 else np.ones(len(values))
    if outside.any() or (abs(sums - 1) > TOLERANCE).any():
        problem = (
            f"{float(values[outside][0]):g} is outside 0 to 1"
            if outside.any()
            else f"those of a row sum to {float(sums[abs(sums - 1) > TOLERANCE][0]):g}"
        )
        raise TrainingError(
            f"{where}: the predictions of {target!r} must be probabilities, but {problem}",
            hint="choose an objective that gives probabilities",
        )
    clipped = np.clip(values, 0, 1)
    return clipped / clipped.sum(axis=1, keepdims=True) if values.shape[1] > 1 else clipped
