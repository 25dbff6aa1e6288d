"""The submission file: predictions in the form that the sample shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.cache import atomic
from workbench.competition import Competition, as_written, match_classes, match_targets
from workbench.errors import DataError
from workbench.training import Target, as_metric_input

__all__ = ["SubmissionForm", "class_texts", "compared", "submission_form", "write_submission"]


CLOSE = 1e-6
"""Predictions that differ by no more are the same: sums are taken in another order."""


@dataclass(frozen=True)
class SubmissionForm:
    """How predictions become columns.

    Attributes
    ----------
    ids : tuple of str
    columns : tuple of str
        All columns in the file's order.
    sources : dict
        For each column beside the ids the number of the target, or with `by_class` of the class.
    by_class : bool
        True where the file has one probability column per class; otherwise there is one column per target.
    """

    ids: tuple[str, ...]
    columns: tuple[str, ...]
    sources: dict[str, int]
    by_class: bool


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
        return SubmissionForm(d.id_columns, (*d.id_columns, *names), {n: i for i, n in enumerate(names)}, False)
    have = list(competition.manifest.table(sample, slug=d.slug).dtypes)
    asked = [c for c in have if c not in d.id_columns]
    # Columns named for the classes come first: two of them would also match two targets in no other way.
    classes = match_classes(asked, target.columns[0].labels) if len(names) == 1 < len(asked) else None
    matched = match_targets(asked, names)
    if (matched is None and classes is None) or not set(d.id_columns) <= set(have):
        raise DataError(
            f"table {sample!r} has the columns {have}; expected the id {list(d.id_columns)} and the target {names}, or "
            f"one column per class",
            hint=f"check id and target in {competition.folder / 'competition.toml'}",
        )
    if matched is None:
        return SubmissionForm(d.id_columns, tuple(have), dict(zip(asked, classes or (), strict=True)), True)
    return SubmissionForm(d.id_columns, tuple(have), {c: names.index(t) for c, t in matched.items()}, False)


def write_submission(competition: Competition, form: SubmissionForm, target: Target, test: Any, path: Path) -> None:
    """Write the submission file; rows in the sample's order where it has the same ids, else in the test file's.

    Dates in the id and words for yes and no are written as the sample writes them.

    Parameters
    ----------
    test : float array (n_test, width)
    """
    values = [_column(competition, form, target, test, name).alias(name) for name in form.sources]
    frame = _in_sample_order(competition, form, competition.test_ids().hstack(values))
    with atomic(path) as temporary:
        as_written(frame, _id_spelling(competition, form)).select(form.columns).write_csv(temporary)


def _id_spelling(competition: Competition, form: SubmissionForm) -> dict[str, str]:
    tables = competition.definition.tables
    info = competition.manifest.table(tables.sample_submission or tables.test, slug=competition.slug)
    return {c: how for c, how in info.spelled.items() if c in form.ids}


def _column(
    competition: Competition, form: SubmissionForm, target: Target, test: npt.NDArray[np.float64], name: str
) -> pl.Series:
    if form.by_class:
        return pl.Series(test[:, form.sources[name]])
    column = target.columns[form.sources[name]]
    predictions = test[:, target.slices[form.sources[name]]]
    metric = competition.metric
    predicted = as_metric_input(predictions, column, metric)
    if metric.needs == "ranked" and column.task != "ranking":
        classes = np.array(class_texts(competition, name, column.name, column.classes or ()), dtype=object)
        return pl.Series([" ".join(row) for row in classes[predicted]])
    if column.classes is not None and (metric.needs == "label" or column.width > 1):
        codes = predicted if metric.needs == "label" else predictions.argmax(axis=1)
        return pl.Series(class_texts(competition, name, column.name, column.classes)).gather(codes)
    return pl.Series(predicted)


def class_texts(competition: Competition, column: str, target: str, classes: Sequence[Any]) -> list[str]:
    """Return what a submission writes for each class of a target, in the column of that name.

    A yes or no is written as the sample does: in its words, or as 0 and 1; without a sample as train does.
    """
    d, manifest = competition.definition, competition.manifest
    train = manifest.table(d.tables.train, slug=d.slug)
    sample = manifest.table(d.tables.sample_submission, slug=d.slug) if d.tables.sample_submission else None
    asked = "" if sample is None else sample.dtypes.get(column, "")
    if train.dtypes[target] != "Boolean":
        return [str(c) for c in classes]
    if asked.startswith(("Int", "Float")):
        return [str(int(c)) for c in classes]
    words = (sample.spelled.get(column) if sample and asked == "Boolean" else "") or train.spelled.get(target)
    return [(words or "False/True").split("/")[int(c)] for c in classes]


def _in_sample_order(competition: Competition, form: SubmissionForm, frame: pl.DataFrame) -> pl.DataFrame:
    sample = competition.definition.tables.sample_submission
    if sample is None:
        return frame
    order = competition.table(sample).select(form.ids).collect()
    names = [f"__key_{c}__" for c in form.ids]
    keys = [_key(order.schema[c], frame.schema[c], c).alias(n) for c, n in zip(form.ids, names, strict=True)]
    ordered = (
        order.select(keys)
        .with_row_index("__order__")
        .join(frame.with_columns(keys), on=names, how="inner")
        .sort("__order__")
    )
    # A sample with other ids (a few lines only, to show the form) does not say the order.
    return ordered.drop(["__order__", *names]) if ordered.height == frame.height else frame


def _key(a: pl.DataType, b: pl.DataType, column: str) -> pl.Expr:
    """Return an expression that makes ids of two tables comparable, whatever types they were read as."""
    if a.is_temporal() or b.is_temporal():
        return pl.col(column).cast(pl.Datetime("us"), strict=False)
    return pl.col(column).cast(pl.String)


def compared(path: Path, own: pl.DataFrame, ids: Sequence[str]) -> tuple[float, int]:
    """Compare a kernel's submission with the run's own.

    Returns
    -------
    float
        The largest difference of a prediction, by the spread of its column.
    int
        How many rows differ by more than rounding.

    Raises
    ------
    DataError
        When the two are of other rows or columns.
    """
    found = pl.read_csv(path)
    if found.columns != own.columns or found.height != own.height:
        raise DataError(
            f"the kernel's submission has {found.height:,} rows and the columns {found.columns}; the run's own has "
            f"{own.height:,} and {own.columns}"
        )
    both = own.join(found, on=list(ids), how="inner", suffix="\0kernel")
    if both.height != own.height:
        n = own.height - both.height
        raise DataError(f"the kernel's submission has other ids than the run's own: {n:,} of {own.height:,}")
    largest, differs = 0.0, np.zeros(both.height, np.bool_)
    for name in own.columns:
        if name in ids:
            continue
        a, b = both[name], both[f"{name}\0kernel"]
        if not a.dtype.is_numeric():
            differs |= (a != b).fill_null(value=True).to_numpy()
            continue
        gap = np.abs(a.to_numpy() - b.to_numpy()) / (float(a.std() or 0.0) or 1.0)  # type: ignore[arg-type]
        # What is missing on one side alone is as far off as can be.
        gap = np.where(np.isnan(gap), np.where(a.is_null() & b.is_null(), 0.0, np.inf), gap)
        largest = max(largest, float(gap.max(initial=0.0)))
        differs |= gap > CLOSE
    return largest, int(differs.sum())
