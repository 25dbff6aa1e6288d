"""Grading: a received file against the hidden solution."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from workbench.errors import DamagedError, WorkbenchError
from workbench.metrics import Metric
from workbench.rehearsal.host import Host

__all__ = ["Refused", "Scores", "grade", "read_solution"]


class Refused(Exception):  # noqa: N818 it is an answer, not a failure
    """A file that can't be scored; the text says why."""


@dataclass(frozen=True)
class Scores:
    """The scores of the two parts."""

    public: float
    private: float


def read_solution(folder: Path) -> pl.DataFrame:
    """Read the hidden solution.

    Raises
    ------
    DamagedError
    """
    path = folder / "solution.parquet"
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as exc:
        raise DamagedError(f"{path} is missing or damaged", hint="`wb rehearse SLUG --force …` makes it again") from exc


def grade(file: Path, solution: pl.DataFrame, host: Host, metric: Metric) -> Scores:
    """Score a file on the public and on the private rows.

    Raises
    ------
    Refused
        When its columns, ids or values are not as the sample has them.
    """
    columns = _prediction_columns(host, metric)
    sent = _read(file, [*host.id, *columns])
    aligned = _aligned(sent, solution, host.id)
    scores = []
    for usage in ("public", "private"):
        mask = solution["usage"] == usage
        try:
            scores.append(_score(aligned.filter(mask), solution.filter(mask), columns, host, metric))
        except WorkbenchError as exc:
            raise Refused(exc.message) from exc
    return Scores(*scores)


def _prediction_columns(host: Host, metric: Metric) -> list[str]:
    by_class = host.task == "multiclass" and metric.needs == "proba" and len(host.target) == 1
    return host.classes if by_class else host.target


def _read(file: Path, wanted: list[str]) -> pl.DataFrame:
    try:
        sent = pl.read_csv(file, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as exc:
        raise Refused(f"not a CSV file: {(str(exc).splitlines() or [''])[0]}") from exc
    missing, extra = [c for c in wanted if c not in sent.columns], [c for c in sent.columns if c not in wanted]
    if missing or extra:
        raise Refused(f"expected the columns {', '.join(wanted)}; missing {missing}, unknown {extra}")
    for column in sent.columns:
        if sent[column].null_count():
            raise Refused(f"column {column} has {sent[column].null_count():,} empty values")
    return sent


def _aligned(sent: pl.DataFrame, solution: pl.DataFrame, ids: list[str]) -> pl.DataFrame:
    """Return the sent lines in the solution's order."""
    repeated = sent.select(ids).filter(sent.select(ids).is_duplicated())
    if repeated.height:
        raise Refused(f"{repeated.height:,} lines repeat an id, for example {_some(repeated)}")
    missing = solution.select(ids).join(sent, on=ids, how="anti")
    if missing.height:
        raise Refused(f"{missing.height:,} ids are missing, for example {_some(missing)}")
    extra = sent.select(ids).join(solution, on=ids, how="anti")
    if extra.height:
        raise Refused(f"{extra.height:,} ids are unknown, for example {_some(extra)}")
    return solution.select(ids).join(sent, on=ids, how="left", maintain_order="left")


def _some(frame: pl.DataFrame) -> str:
    return ", ".join("/".join(map(str, row)) for row in frame.unique(maintain_order=True).head(3).rows())


def _score(sent: pl.DataFrame, truth: pl.DataFrame, columns: list[str], host: Host, metric: Metric) -> float:
    weight = truth[host.weight].cast(pl.Float64).to_numpy() if host.weight else None
    if columns == host.classes and host.classes and columns != host.target:
        codes = _codes(truth[host.target[0]], host.classes)
        return metric(codes, np.column_stack([_numbers(sent[c]) for c in columns]), weight)
    scores = [_score_one(sent[t], truth[t], host, metric, weight) for t in host.target]
    return float(np.mean(scores))


def _score_one(sent: pl.Series, truth: pl.Series, host: Host, metric: Metric, weight: Any) -> float:
    if metric.needs == "ranked":
        width = int(metric.name.partition("@")[2])
        return metric(_codes(truth, host.classes), _ranked(sent, host.classes, width), weight)
    if host.task == "regression":
        wanted, given = truth.cast(pl.Float64).to_numpy(), _numbers(sent)
        if metric.needs == "label":
            return metric(wanted.astype(np.int64), np.rint(given).astype(np.int64), weight)
        return metric(wanted, given, weight)
    if metric.needs == "label":
        classes = host.classes or sorted(set(truth.unique()) | set(sent.unique()))
        return metric(_codes(truth, classes), _codes(sent, classes), weight)
    classes = host.classes if len(host.target) == 1 else sorted(truth.unique().to_list(), key=_as_number)
    return metric(_codes(truth, classes), _numbers(sent), weight)


def _as_number(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text


def _codes(series: pl.Series, classes: list[str]) -> Any:
    # "1.0" for "1": a label that went through floats is still that label.
    plain = series.str.replace(r"^(-?\d+)\.0+$", "$1")
    codes = plain.replace_strict(classes, list(range(len(classes))), default=-1, return_dtype=pl.Int64)
    unknown = series.filter(codes < 0)
    if len(unknown):
        raise Refused(f"{len(unknown):,} values of {series.name} are no label, for example {unknown[0]!r}")
    return codes.to_numpy()


def _numbers(series: pl.Series) -> Any:
    numbers = series.cast(pl.Float64, strict=False)
    wrong = series.filter(~numbers.is_finite().fill_null(value=False))
    if len(wrong):
        raise Refused(f"{len(wrong):,} values of {series.name} are not finite numbers, for example {wrong[0]!r}")
    return numbers.to_numpy()


def _ranked(series: pl.Series, classes: list[str], width: int) -> Any:
    places = {c: i for i, c in enumerate(classes)}
    result = np.full((len(series), width), -1, np.int64)
    for i, text in enumerate(series.to_list()):
        # An unknown word is a wrong answer, not a broken file: Kaggle's map@k takes it too.
        found = [places.get(word, -1) for word in text.split()[:width]]
        result[i, : len(found)] = found
    return result
