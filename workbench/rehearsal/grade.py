"""Grading: a received file against the hidden solution."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import DamagedError, WorkbenchError
from workbench.core.frames import read_parquet
from workbench.metrics import Metric, grades_of
from workbench.rehearsal.host import REMAKE, Host
from workbench.rehearsal.labels import codes, list_length, numbers
from workbench.rehearsal.lists import grade_lists
from workbench.rehearsal.received import RejectedError, Scores, aligned, read_sent
from workbench.rehearsal.spec import KIND, USAGE

__all__ = ["RejectedError", "Scores", "grade", "read_solution"]


def read_solution(folder: Path, host: Host) -> pl.DataFrame:
    """Read the hidden solution: texts, with `usage` "public" or "private".

    Raises
    ------
    DamagedError
        When it is missing, no Parquet file, or not the one that `host` describes.
    """
    path = folder / "solution.parquet"
    try:
        solution = read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as exc:
        raise DamagedError(f"{path} is missing or damaged", hint=REMAKE) from exc
    expected = [*host.id, *host.target, *([host.weight] if host.weight else []), USAGE]
    expected += [KIND] * (host.interactions is not None and host.interactions.by_kind)
    missing = [c for c in expected if c not in solution.columns]
    if missing:
        raise DamagedError(f"{path} lacks the columns {missing}, which host.toml names", hint=REMAKE)
    if host.rows_test and solution.height != host.rows_test:
        raise DamagedError(
            f"{path} has {solution.height:,} rows; host.toml says {host.rows_test:,}",
            hint=REMAKE,
        )
    return solution


def grade(file: Path, solution: pl.DataFrame, host: Host, metric: Metric) -> Scores:
    """Score a file on the public and on the private rows.

    Raises
    ------
    RejectedError
        When its columns, ids or values are not as the sample has them, or the metric is not defined for them.
    """
    if host.interactions is not None:
        return grade_lists(file, solution, host, metric)
    columns = _prediction_columns(host, metric)
    lines = aligned(read_sent(file, [*host.id, *columns]), solution, host.id)
    parts = []
    for usage in ("public", "private"):
        mask = solution[USAGE] == usage
        parts.append(_part(lines.filter(mask), solution.filter(mask), columns, host, metric))
    return Scores(*parts)


def _part(sent: pl.DataFrame, truth: pl.DataFrame, columns: list[str], host: Host, metric: Metric) -> float:
    try:
        score = _score(sent, truth, columns, host, metric)
    except WorkbenchError as exc:
        raise RejectedError(exc.message) from exc
    if not math.isfinite(score):
        raise RejectedError(f"{metric.name} gives {score} for these predictions, expected a finite number")
    return score


def _by_class(host: Host, metric: Metric) -> bool:
    return host.task == "multiclass" and metric.needs == "proba"


def _prediction_columns(host: Host, metric: Metric) -> list[str]:
    return host.classes[0] if _by_class(host, metric) else host.target


def _score(sent: pl.DataFrame, truth: pl.DataFrame, columns: list[str], host: Host, metric: Metric) -> float:
    weight = truth[host.weight].cast(pl.Float64).to_numpy() if host.weight else None
    if _by_class(host, metric):
        odds = np.column_stack([_numbers(sent[c]) for c in columns])
        return metric(codes(truth[host.target[0]], columns), odds, weight)
    if metric.needs in ("label", "ranked") and host.classes:
        pairs = zip(host.target, host.classes, strict=True)
        scores = [
            metric(*_graded(codes(truth[t], of), _answers(sent[t], of, metric), of, metric), weight) for t, of in pairs
        ]
        return float(np.mean(scores))
    return metric(*_values(sent, truth, host, metric), weight)


def _graded(wanted: Any, predicted: Any, classes: list[str], metric: Metric) -> tuple[Any, Any]:
    """Return the classes' numbers in place of their codes where the metric goes by the distance of these."""
    grades = grades_of(metric, classes)
    return (wanted, predicted) if grades is None else (grades[wanted], grades[predicted])


def _answers(sent: pl.Series, classes: list[str], metric: Metric) -> npt.NDArray[np.int64]:
    return _labels(sent, classes) if metric.needs == "label" else _ranked(sent, classes, list_length(metric))


def _values(sent: pl.DataFrame, truth: pl.DataFrame, host: Host, metric: Metric) -> tuple[Any, Any]:
    """Return truth and predictions as numbers: (n,) for one target, (n, t) for several."""
    predicted = np.column_stack([_numbers(sent[t]) for t in host.target])
    if host.classes:
        wanted = np.column_stack([codes(truth[t], of) for t, of in zip(host.target, host.classes, strict=True)])
    else:
        wanted = np.column_stack([numbers(truth[t]).to_numpy() for t in host.target])
    if metric.needs == "label":  # regression scored on whole numbers, as qwk often is; a truth that is none is refused
        predicted = np.rint(predicted).astype(np.int64)
    return (wanted[:, 0], predicted[:, 0]) if len(host.target) == 1 else (wanted, predicted)


def _labels(series: pl.Series, classes: list[str]) -> npt.NDArray[np.int64]:
    label_codes = codes(series, classes)
    unknown = series.filter(label_codes < 0)
    if len(unknown):
        raise RejectedError(f"{len(unknown):,} values of {series.name} are not labels, for example {unknown[0]!r}")
    return label_codes


def _numbers(series: pl.Series) -> npt.NDArray[np.float64]:
    values = numbers(series)
    wrong = series.filter(~values.is_finite().fill_null(value=False))
    if len(wrong):
        raise RejectedError(f"{len(wrong):,} values of {series.name} are not finite numbers, for example {wrong[0]!r}")
    return values.to_numpy()


def _ranked(series: pl.Series, classes: list[str], length: int) -> npt.NDArray[np.int64]:
    # An unknown word is a wrong answer, not a broken file: Kaggle's map@k takes it too. One that is sent again
    # keeps its place and counts once; the metric sees to that.
    words = series.str.split(" ").list.eval(pl.element().filter(pl.element() != "")).list.head(length)
    sizes = words.list.len().cast(pl.Int64).to_numpy()
    rows = np.repeat(np.arange(len(series)), sizes)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    result = np.full((len(series), length), -1, np.int64)
    labels = words.explode(keep_nulls=False, empty_as_null=False)
    result[rows, places] = codes(labels, classes)
    return result
