"""Score a submitted file against the hidden solution."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import DamagedError, WorkbenchError
from workbench.core.frames import read_parquet
from workbench.core.wording import counted
from workbench.metrics import Metric, grades_of
from workbench.rehearsal.host import CREATE_AGAIN_HINT, HostedCompetition
from workbench.rehearsal.labels import codes, list_length, numbers
from workbench.rehearsal.list_grading import grade_lists
from workbench.rehearsal.spec import EVENT_TYPE, USAGE
from workbench.rehearsal.submitted_file import RejectedError, Scores, align_to_solution, read_submitted

__all__ = ["RejectedError", "Scores", "grade", "read_solution"]


def read_solution(folder: Path, hosted: HostedCompetition) -> pl.DataFrame:
    """Read the hidden solution: columns of texts, with `usage` "public" or "private".

    Raises
    ------
    DamagedError
        When it is missing, not a Parquet file, or does not fit `hosted`.
    """
    path = folder / "solution.parquet"
    try:
        solution = read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as exc:
        raise DamagedError(f"{path} is missing or damaged", hint=CREATE_AGAIN_HINT) from exc
    expected = [*hosted.id_columns, *hosted.target_columns, *([hosted.weight] if hosted.weight else []), USAGE]
    expected += [EVENT_TYPE] * (hosted.interactions is not None and hosted.interactions.predicts_each_type)
    missing = [c for c in expected if c not in solution.columns]
    if missing:
        raise DamagedError(f"{path} lacks the columns {missing} of host.toml", hint=CREATE_AGAIN_HINT)
    if hosted.rows_test and solution.height != hosted.rows_test:
        raise DamagedError(
            f"{path} has {solution.height:,} rows; host.toml says {hosted.rows_test:,}",
            hint=CREATE_AGAIN_HINT,
        )
    return solution


def grade(file: Path, solution: pl.DataFrame, hosted: HostedCompetition, metric: Metric) -> Scores:
    """Score a file on the public and on the private rows.

    Raises
    ------
    RejectedError
        When its columns, ids or values do not fit the sample, or the metric is not defined for them.
    """
    if hosted.interactions is not None:
        return grade_lists(file, solution, hosted, metric)
    columns = _prediction_columns(hosted, metric)
    submitted = align_to_solution(read_submitted(file, [*hosted.id_columns, *columns]), solution, hosted.id_columns)
    scores = []
    for usage in ("public", "private"):
        mask = solution[USAGE] == usage
        scores.append(_finite_score(submitted.filter(mask), solution.filter(mask), columns, hosted, metric))
    return Scores(*scores)


def _finite_score(
    submitted: pl.DataFrame, solution: pl.DataFrame, columns: list[str], hosted: HostedCompetition, metric: Metric
) -> float:
    try:
        score = _score(submitted, solution, columns, hosted, metric)
    except WorkbenchError as exc:
        raise RejectedError(exc.message) from exc
    if not math.isfinite(score):
        raise RejectedError(f"{metric.name} gives {score} for these predictions, expected a finite number")
    return score


def _has_column_per_class(hosted: HostedCompetition, metric: Metric) -> bool:
    return hosted.task == "multiclass" and metric.prediction_type == "proba"


def _prediction_columns(hosted: HostedCompetition, metric: Metric) -> list[str]:
    return hosted.classes[0] if _has_column_per_class(hosted, metric) else hosted.target_columns


def _score(
    submitted: pl.DataFrame, solution: pl.DataFrame, columns: list[str], hosted: HostedCompetition, metric: Metric
) -> float:
    """Return the metric of rows in the same order; for several targets of labels, the mean over the targets."""
    row_weights = solution[hosted.weight].cast(pl.Float64).to_numpy() if hosted.weight else None
    if _has_column_per_class(hosted, metric):
        probabilities = np.column_stack([_submitted_numbers(submitted[c]) for c in columns])
        return metric(codes(solution[hosted.target_columns[0]], columns), probabilities, row_weights)
    if metric.prediction_type in ("label", "ranked") and hosted.classes:
        scores = []
        for target, classes in zip(hosted.target_columns, hosted.classes, strict=True):
            true_codes = codes(solution[target], classes)
            predicted_codes = _label_codes(submitted[target], classes, metric)
            scores.append(metric(*_grades_or_codes(true_codes, predicted_codes, classes, metric), row_weights))
        return float(np.mean(scores))
    return metric(*_true_and_predicted(submitted, solution, hosted, metric), row_weights)


def _grades_or_codes(true_codes: Any, predicted_codes: Any, classes: list[str], metric: Metric) -> tuple[Any, Any]:
    """Return true and predicted grades if the metric depends on the distance between classes (qwk), else the codes."""
    grade_of_class = grades_of(metric, classes)
    if grade_of_class is None:
        return true_codes, predicted_codes
    return grade_of_class[true_codes], grade_of_class[predicted_codes]


def _label_codes(submitted: pl.Series, classes: list[str], metric: Metric) -> npt.NDArray[np.int64]:
    """Return the codes of submitted labels: shape (n,), or (n, k) for a ranked metric."""
    one_per_row = metric.prediction_type == "label"
    return (
        _single_labels(submitted, classes) if one_per_row else _ranked_labels(submitted, classes, list_length(metric))
    )


def _true_and_predicted(
    submitted: pl.DataFrame, solution: pl.DataFrame, hosted: HostedCompetition, metric: Metric
) -> tuple[Any, Any]:
    """Return the true and the predicted values as numbers: shape (n,) for one target, (n, n_targets) for several."""
    predicted = np.column_stack([_submitted_numbers(submitted[t]) for t in hosted.target_columns])
    if hosted.classes:
        targets_with_classes = zip(hosted.target_columns, hosted.classes, strict=True)
        true = np.column_stack([codes(solution[target], classes) for target, classes in targets_with_classes])
    else:
        true = np.column_stack([numbers(solution[t]).to_numpy() for t in hosted.target_columns])
    if metric.prediction_type == "label":  # a regression with a metric of whole numbers, such as qwk
        predicted = np.rint(predicted).astype(np.int64)
    return (true[:, 0], predicted[:, 0]) if len(hosted.target_columns) == 1 else (true, predicted)


def _single_labels(series: pl.Series, classes: list[str]) -> npt.NDArray[np.int64]:
    """Return the code of each submitted label; reject the file if one is unknown."""
    label_codes = codes(series, classes)
    unknown = series.filter(label_codes < 0)
    if len(unknown):
        raise RejectedError(
            f"{counted(len(unknown), 'value')} of {series.name} "
            f"{'is not a label' if len(unknown) == 1 else 'are not labels'}, for example {unknown[0]!r}"
        )
    return label_codes


def _submitted_numbers(series: pl.Series) -> npt.NDArray[np.float64]:
    """Return submitted values as numbers; reject the file if one is not a finite number."""
    values = numbers(series)
    invalid = series.filter(~values.is_finite().fill_null(value=False))
    if len(invalid):
        example = f"for example {invalid[0]!r}"
        raise RejectedError(f"{len(invalid):,} values of {series.name} are not finite numbers, {example}")
    return values.to_numpy()


def _ranked_labels(series: pl.Series, classes: list[str], k: int) -> npt.NDArray[np.int64]:
    """Return the codes of the first k labels of each row, which are separated by spaces: shape (n, k), -1 for none.

    An unknown label is a wrong prediction and no reason to reject the file, as in Kaggle's map@k. A repeated label
    keeps its position; the metric counts it once.
    """
    labels = series.str.split(" ").list.eval(pl.element().filter(pl.element() != "")).list.head(k)
    n_labels = labels.list.len().cast(pl.Int64).to_numpy()
    rows = np.repeat(np.arange(len(series)), n_labels)
    positions = np.arange(len(rows)) - np.repeat(np.cumsum(n_labels) - n_labels, n_labels)
    ranked_codes = np.full((len(series), k), -1, np.int64)
    ranked_codes[rows, positions] = codes(labels.explode(keep_nulls=False, empty_as_null=False), classes)
    return ranked_codes
