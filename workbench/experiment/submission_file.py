"""The submission file: predictions in the form that the sample shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.cache import atomic
from workbench.competition import Competition
from workbench.errors import DataError
from workbench.training import Target, TargetColumn, as_metric_input

__all__ = ["SubmissionForm", "submission_form", "write_submission"]


@dataclass(frozen=True)
class SubmissionForm:
    """How predictions become columns: `columns` in the file's order, `sources` the prediction column of each.

    `by_class` is True where the file has one probability column per class; otherwise there is one column per target.
    """

    ids: tuple[str, ...]
    columns: tuple[str, ...]
    by_class: bool
    sources: tuple[int, ...]


def submission_form(competition: Competition, target: Target) -> SubmissionForm:
    """Work out the form from the sample, or from the definition where there is no sample.

    Raises
    ------
    DataError
        When the sample's columns are neither the targets nor their classes.
    """
    d = competition.definition
    names = [c.name for c in target.columns]
    sample = d.tables.sample_submission
    if sample is None:
        return SubmissionForm(d.id_columns, (*d.id_columns, *names), False, tuple(range(len(names))))
    have = list(competition.manifest.table(sample, slug=d.slug).dtypes)
    asked = [c for c in have if c not in d.id_columns]
    if sorted(asked) == sorted(names):
        return SubmissionForm(d.id_columns, tuple(have), False, tuple(names.index(c) for c in asked))
    by_class = _match_classes(asked, target)
    if by_class is None or not set(d.id_columns) <= set(have):
        raise DataError(
            f"table {sample!r} has the columns {have}; expected the id {list(d.id_columns)} and the target {names}, or "
            f"one column per class",
            hint=f"check id and target in {competition.folder / 'competition.toml'}",
        )
    return SubmissionForm(d.id_columns, tuple(have), True, by_class)


def _match_classes(asked: list[str], target: Target) -> tuple[int, ...] | None:
    """Match the sample's columns to classes: by equal names, else by the one class that each name ends in."""
    if len(target.columns) != 1 or len(asked) != target.columns[0].width:
        return None
    labels = target.columns[0].labels
    if sorted(labels) == sorted(asked):
        return tuple(labels.index(c) for c in asked)
    found = [[i for i, label in enumerate(labels) if c.endswith(label)] for c in asked]
    best = [max(f, key=lambda i: len(labels[i]), default=-1) for f in found]
    return tuple(best) if -1 not in best and len(set(best)) == len(best) else None


def write_submission(competition: Competition, form: SubmissionForm, target: Target, test: Any, path: Path) -> None:
    """Write the submission file; rows in the sample's order where it has the same ids, else in the test file's.

    Parameters
    ----------
    test : float array (n_test, width)
    """
    values = _values(competition, form, target, test)
    frame = competition.test_ids().hstack([pl.Series(c, v) for c, v in values.items()])
    frame = _in_sample_order(competition, form, frame)
    with atomic(path) as temporary:
        frame.select(
            form.columns if form.by_class or competition.definition.tables.sample_submission else pl.all()
        ).write_csv(temporary)


def _values(
    competition: Competition, form: SubmissionForm, target: Target, test: npt.NDArray[np.float64]
) -> dict[str, Any]:
    if form.by_class:
        asked = [c for c in form.columns if c not in form.ids]
        return {name: test[:, source] for name, source in zip(asked, form.sources, strict=True)}
    columns = zip(target.columns, target.slices, strict=True)
    return {c.name: _one_column(test[:, where], c, competition) for c, where in columns}


def _one_column(predictions: npt.NDArray[np.float64], column: TargetColumn, competition: Competition) -> pl.Series:
    metric = competition.metric
    predicted = as_metric_input(predictions, column, metric)
    if metric.needs == "ranked":
        classes = np.array([str(c) for c in column.classes or ()], dtype=object)
        return pl.Series([" ".join(row) for row in classes[predicted]])
    if column.classes is not None and (metric.needs == "label" or column.width > 1):
        codes = predicted if metric.needs == "label" else predictions.argmax(axis=1)
        return pl.Series(column.classes).gather(codes)
    return pl.Series(predicted)


def _in_sample_order(competition: Competition, form: SubmissionForm, frame: pl.DataFrame) -> pl.DataFrame:
    sample = competition.definition.tables.sample_submission
    if sample is None:
        return frame
    order = competition.table(sample).select(form.ids).collect()
    keys = [pl.col(c).cast(pl.String).alias(f"__key_{c}__") for c in form.ids]
    names = [f"__key_{c}__" for c in form.ids]
    ordered = (
        order.select(keys)
        .with_row_index("__order__")
        .join(frame.with_columns(keys), on=names, how="inner")
        .sort("__order__")
    )
    # A sample with other ids (a few lines only, to show the form) does not say the order.
    return ordered.drop(["__order__", *names]) if ordered.height == frame.height else frame
