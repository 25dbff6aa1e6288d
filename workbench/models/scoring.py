"""Score arrays of predictions by the competition's metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import DataError, TrainingError
from workbench.metrics import BY_DISTANCE, Queries, grades_of
from workbench.models.target import Target, TargetColumn

if TYPE_CHECKING:
    from workbench.metrics import Metric
    from workbench.models.folds import Folds

__all__ = [
    "fold_scores",
    "ground_truth",
    "metric_input",
    "oof_score",
    "rare_class_hint",
    "score",
    "score_column",
    "scored_labels",
    "top_k",
]

Floats = npt.NDArray[np.float64]
DEFAULT_K = 5


def metric_input(predictions: Floats, column: TargetColumn, metric: Metric) -> npt.NDArray[Any]:
    """Convert one target's predictions (n, width) to values, probabilities, labels or top classes for the metric."""
    if column.task == "ranking":
        return predictions[:, 0]
    if metric.prediction_type == "ranked":
        return top_k(predictions, metric)
    if metric.prediction_type == "label":
        return _as_labels(predictions, column, metric)
    return predictions if column.width > 1 else predictions[:, 0]


def _as_labels(predictions: Floats, column: TargetColumn, metric: Metric) -> npt.NDArray[np.int64]:
    if column.task == "regression":
        # Numbers as labels, such as grades for quadratic kappa: round to the nearest within the range of train.
        return np.clip(np.rint(predictions[:, 0]), column.values.min(), column.values.max()).astype(np.int64)
    if column.width == 1:
        return (predictions[:, 0] >= 0.5).astype(np.int64)
    if metric.name in BY_DISTANCE:
        return _as_grades(predictions, column, metric)
    return np.asarray(predictions.argmax(axis=1).astype(np.int64))


def _as_grades(predictions: Floats, column: TargetColumn, metric: Metric) -> npt.NDArray[np.int64]:
    """Return the class of the lowest expected cost, which grows with the distance of the grades."""
    grades = grades_of(metric, column.classes or ())
    order = np.arange(column.width) if grades is None else np.argsort(grades)
    if metric.name == "linear_kappa":
        # The expected distance is lowest for the median grade.
        medians = (predictions[:, order].cumsum(axis=1) < 0.5).sum(axis=1)
        return np.asarray(order[np.minimum(medians, column.width - 1)].astype(np.int64))
    # The expected squared distance is lowest for the grade nearest to the mean.
    if grades is None:
        return np.rint(predictions @ np.arange(column.width)).astype(np.int64)
    sorted_grades = grades[order]
    nearest = np.searchsorted((sorted_grades[1:] + sorted_grades[:-1]) / 2, predictions @ grades)
    return np.asarray(order[nearest].astype(np.int64))


def scored_labels(codes: Any, column: TargetColumn, metric: Metric) -> Any:
    """Return class codes as the metric scores them: the grades, if it depends on their distance, else the codes."""
    grades = None if column.task != "multiclass" else grades_of(metric, column.classes or ())
    return codes if grades is None else grades[codes]


def top_k(predictions: Floats, metric: Metric) -> npt.NDArray[np.int64]:
    """Return the k most probable classes of each row, best first, (n, k); ties go to the first class."""
    k = int(metric.number or DEFAULT_K)
    if k >= predictions.shape[1]:
        return np.argsort(-predictions, axis=1, kind="stable").astype(np.int64)
    best = np.argpartition(-predictions, k - 1, axis=1)[:, :k]
    best.sort(axis=1)
    order = np.argsort(-np.take_along_axis(predictions, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1).astype(np.int64)


def ground_truth(target: Target, column: TargetColumn, rows: npt.NDArray[np.int64], metric: Metric) -> Any:
    """Return the true values of some train rows in the form that the metric takes."""
    values = column.values[rows]
    if column.task == "ranking":
        return (
            Queries(values, target.query[rows])
            if metric.prediction_type == "ranked" and target.query is not None
            else values
        )
    is_code = column.task != "regression" or metric.prediction_type in ("label", "ranked")
    return values.astype(np.int64) if is_code else values


def score(target: Target, rows: npt.NDArray[np.int64], predictions: Floats, metric: Metric) -> float:
    """Score the predictions of some train rows; with several targets the mean over them.

    Parameters
    ----------
    rows : int array (n,)
    predictions : float array (n, width)
    """
    scores = [
        score_column(target, column, rows, predictions[:, target_slice], metric)
        for column, target_slice in zip(target.columns, target.slices, strict=True)
    ]
    return float(np.mean(scores))


def score_column(
    target: Target, column: TargetColumn, rows: npt.NDArray[np.int64], predictions: Floats, metric: Metric
) -> float:
    """Score one target's predictions (n, width) of some train rows."""
    weight = None if target.scoring_weight is None else target.scoring_weight[rows]
    truth = scored_labels(ground_truth(target, column, rows, metric), column, metric)
    return metric(truth, scored_labels(metric_input(predictions, column, metric), column, metric), weight)


def fold_scores(target: Target, folds: Folds, oof: Floats, metric: Metric) -> tuple[float, ...]:
    """Return the score of each fold, from OOF predictions (n_train, width).

    Raises
    ------
    TrainingError
        For a fold that can't be scored, for example with one class only.
    """
    scores = []
    for fold in range(folds.n_folds):
        rows = folds.valid_rows(fold)
        try:
            scores.append(score(target, rows, oof[rows], metric))
        except DataError as exc:
            hint = rare_class_hint(target, folds) or exc.hint or "fewer folds under [cv] in competition.toml"
            raise TrainingError(f"fold {fold} ({len(rows):,} rows) can't be scored: {exc.message}", hint=hint) from exc
    return tuple(scores)


def rare_class_hint(target: Target, folds: Folds) -> str:
    """Return a hint about folds that lack a class, by the rarest class; "" for targets without classes."""
    column = next((c for c in target.columns if c.classes is not None and c.task != "ranking"), None)
    if column is None or column.classes is None:
        return ""
    codes = column.values.astype(np.int64)
    counts = np.bincount(codes, minlength=len(column.classes))
    rarest = int(np.argmin(np.where(counts > 0, counts, counts.max() + 1)))
    n_rarest, where = int(counts[rarest]), "under [cv] in competition.toml"
    label = f"{column.name} = {column.classes[rarest]!r}"
    if n_rarest < 2:
        return (
            f"only {n_rarest} row of train has {label}: no split has it on both sides, so remove it, or merge the class"
        )
    if n_rarest < folds.n_folds:
        spread = ', and scheme = "stratified",' if folds.scheme in ("", "kfold") else ""
        return f"only {n_rarest} rows of train have {label}: at most folds = {n_rarest}{spread} {where}"
    n_folds_with_class = len(np.unique(folds.valid[(codes == rarest) & (folds.valid >= 0)]))
    clustered = f"the {n_rarest:,} rows with {label} are close together: fewer and longer folds {where}"
    # Advice to stratify is of no use where folds are stratified already, or follow times or groups.
    n_grouped = max(2, n_folds_with_class)
    hint_by_scheme = {
        "stratified": f"fewer folds {where}: train has {n_rarest:,} rows with {label}",
        "stratified_group": f"the {n_rarest:,} rows with {label} are in few groups: folds = {n_grouped} {where}",
        "group": f'fewer folds, or scheme = "stratified_group" {where}',
        "time": clustered,
        "custom": clustered,
    }
    return hint_by_scheme.get(folds.scheme, f'fewer folds, or scheme = "stratified" {where}')


def oof_score(target: Target, folds: Folds, oof: Floats, metric: Metric) -> float:
    """Return the score of the OOF predictions of all folds together."""
    rows = np.flatnonzero(folds.covered)
    return score(target, rows, oof[rows], metric)
