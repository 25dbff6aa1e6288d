"""From prediction arrays to the competition's metric."""

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
    "as_metric_input",
    "fold_scores",
    "oof_score",
    "rare_class_hint",
    "score",
    "score_column",
    "scored_labels",
    "top_k",
    "truth_of",
]

Floats = npt.NDArray[np.float64]
DEFAULT_K = 5


def as_metric_input(predictions: Floats, column: TargetColumn, metric: Metric) -> npt.NDArray[Any]:
    """Turn one target's predictions (n, width) into what the metric needs: values, probabilities, labels or ranks."""
    if column.task == "ranking":
        return predictions[:, 0]
    if metric.needs == "ranked":
        return top_k(predictions, metric)
    if metric.needs == "label":
        return _as_labels(predictions, column, metric)
    return predictions if column.width > 1 else predictions[:, 0]


def _as_labels(predictions: Floats, column: TargetColumn, metric: Metric) -> npt.NDArray[np.int64]:
    if column.task == "regression":
        # Labels that are numbers (quadratic kappa on grades): the nearest one that occurs.
        return np.clip(np.rint(predictions[:, 0]), column.values.min(), column.values.max()).astype(np.int64)
    if column.width == 1:
        return (predictions[:, 0] >= 0.5).astype(np.int64)
    if metric.name in BY_DISTANCE:
        return _as_grades(predictions, column, metric)
    return np.asarray(predictions.argmax(axis=1).astype(np.int64))


def _as_grades(predictions: Floats, column: TargetColumn, metric: Metric) -> npt.NDArray[np.int64]:
    """Return the class whose distance from the others, by their probabilities, costs least."""
    grades = grades_of(metric, column.classes or ())
    order = np.arange(column.width) if grades is None else np.argsort(grades)
    if metric.name == "linear_kappa":
        # The distance itself is least from the median grade.
        places = (predictions[:, order].cumsum(axis=1) < 0.5).sum(axis=1)
        return np.asarray(order[np.minimum(places, column.width - 1)].astype(np.int64))
    # The cost is the squared distance of the grades, which the mean grade makes least, not the likeliest.
    if grades is None:
        return np.rint(predictions @ np.arange(column.width)).astype(np.int64)
    ordered = grades[order]
    nearest = np.searchsorted((ordered[1:] + ordered[:-1]) / 2, predictions @ grades)
    return np.asarray(order[nearest].astype(np.int64))


def scored_labels(codes: Any, column: TargetColumn, metric: Metric) -> Any:
    """Return truth or predictions as the metric scores them: the classes' numbers where it goes by their distance."""
    grades = None if column.task != "multiclass" else grades_of(metric, column.classes or ())
    return codes if grades is None else grades[codes]


def top_k(predictions: Floats, metric: Metric) -> npt.NDArray[np.int64]:
    """Return the k best classes of each row, best first, (n, k); ties go to the first class."""
    k = int(metric.number or DEFAULT_K)
    k = min(k, predictions.shape[1])
    part = np.argpartition(-predictions, k - 1, axis=1)[:, :k] if k < predictions.shape[1] else None
    if part is None:
        return np.argsort(-predictions, axis=1, kind="stable").astype(np.int64)
    part.sort(axis=1)
    order = np.argsort(-np.take_along_axis(predictions, part, axis=1), axis=1, kind="stable")
    return np.take_along_axis(part, order, axis=1).astype(np.int64)


def truth_of(target: Target, column: TargetColumn, rows: npt.NDArray[np.int64], metric: Metric) -> Any:
    """Return the truth of some train rows as the metric takes it."""
    values = column.values[rows]
    if column.task == "ranking":
        return Queries(values, target.query[rows]) if metric.needs == "ranked" and target.query is not None else values
    is_code = column.task != "regression" or metric.needs in ("label", "ranked")
    return values.astype(np.int64) if is_code else values


def score(target: Target, rows: npt.NDArray[np.int64], predictions: Floats, metric: Metric) -> float:
    """Score the predictions of some train rows; the mean over the targets where there are several.

    Parameters
    ----------
    rows : int array (n,)
    predictions : float array (n, width)
    """
    pairs = zip(target.columns, target.slices, strict=True)
    return float(np.mean([score_column(target, column, rows, predictions[:, at], metric) for column, at in pairs]))


def score_column(
    target: Target, column: TargetColumn, rows: npt.NDArray[np.int64], predictions: Floats, metric: Metric
) -> float:
    """Score one target's predictions (n, width) of some train rows."""
    weight = None if target.scoring_weight is None else target.scoring_weight[rows]
    truth = scored_labels(truth_of(target, column, rows, metric), column, metric)
    return metric(truth, scored_labels(as_metric_input(predictions, column, metric), column, metric), weight)


def fold_scores(target: Target, folds: Folds, oof: Floats, metric: Metric) -> tuple[float, ...]:
    """Return the score of each fold, from OOF predictions (n_train, width).

    Raises
    ------
    TrainingError
        Names the fold that can't be scored: one class only, for example.
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
    """Return what to do about folds that lack a class; "" where there are no classes.

    The rarest class decides: no scheme spreads three rows over five folds.
    """
    column = next((c for c in target.columns if c.classes is not None and c.task != "ranking"), None)
    if column is None or column.classes is None:
        return ""
    codes = column.values.astype(np.int64)
    counts = np.bincount(codes, minlength=len(column.classes))
    rarest = int(np.argmin(np.where(counts > 0, counts, counts.max() + 1)))
    n, where = int(counts[rarest]), "under [cv] in competition.toml"
    label = f"{column.name} = {column.classes[rarest]!r}"
    if n < 2:
        return f"only {n} row of train has {label}: no split has it on both sides, so take it out, or merge it"
    if n < folds.n_folds:
        spread = ', and scheme = "stratified",' if folds.scheme in ("", "kfold") else ""
        return f"only {n} rows of train have {label}: at most folds = {n}{spread} {where}"
    with_it = len(np.unique(folds.valid[(codes == rarest) & (folds.valid >= 0)]))
    near_by = f"the {n:,} rows with {label} lie close together: fewer folds {where}, each of which is longer"
    # What is stratified already is not to be stratified; rows of a time or a group are not to be spread.
    by_scheme = {
        "stratified": f"fewer folds {where}: train has {n:,} rows with {label}",
        "stratified_group": f"the {n:,} rows with {label} are in few groups: folds = {max(2, with_it)} {where}",
        "group": f'fewer folds, or scheme = "stratified_group" {where}',
        "time": near_by,
        "custom": near_by,
    }
    return by_scheme.get(folds.scheme, f'fewer folds, or scheme = "stratified" {where}')


def oof_score(target: Target, folds: Folds, oof: Floats, metric: Metric) -> float:
    """Return the score of all OOF predictions taken together."""
    rows = np.flatnonzero(folds.covered)
    return score(target, rows, oof[rows], metric)
