"""The submission file: predictions in the form that the sample shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.cache import atomic
from workbench.competition import Competition, as_written, match_classes, match_targets
from workbench.errors import DataError
from workbench.frames import read_csv
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

    Ids are written as the sample writes them, whatever type test has them in.

    Parameters
    ----------
    test : float array (n_test, width)
    """
    values = [_column(competition, form, target, test, name).alias(name) for name in form.sources]
    frame = _as_the_sample(competition, form, competition.test_ids().hstack(values))
    with atomic(path) as temporary:
        # Only the ids are texts by now; a truth value among the predictions is written as ever.
        as_written(frame, {}).select(form.columns).write_csv(temporary)


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


def _as_the_sample(competition: Competition, form: SubmissionForm, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with their ids as the sample has them, in its order; of another sample's, as test has them."""
    tables = competition.definition.tables
    spelled = competition.manifest.table(tables.sample_submission or tables.test, slug=competition.slug).spelled
    written = frame.with_columns(_as_texts(frame.select(form.ids), spelled))
    if tables.sample_submission is None:
        return written
    sample = competition.table(tables.sample_submission).select(form.ids).collect()
    texts = _as_texts(sample, spelled)
    found = _ordered(texts, [texts[c] for c in form.ids], written, [written[c] for c in form.ids])
    if found is None:
        pairs = [_comparable(sample[c], frame[c]) for c in form.ids]
        found = _ordered(texts, [a for a, _ in pairs], written, [b for _, b in pairs])
    # A sample with other ids (a few lines only, to show the form) does not say the order.
    return written if found is None else found


def _as_texts(ids: pl.DataFrame, spelled: Mapping[str, str]) -> pl.DataFrame:
    return as_written(ids, {c: how for c, how in spelled.items() if c in ids.columns}).select(pl.all().cast(pl.String))


def _comparable(one: pl.Series, other: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return the ids of two tables so that they can be compared by value: 7 and "7.0", a date and its midnight."""
    if one.dtype.is_temporal() and other.dtype.is_temporal():
        return one.cast(pl.Datetime("us"), strict=False), other.cast(pl.Datetime("us"), strict=False)
    numbers = [s.cast(pl.Float64, strict=False) for s in (one, other) if not s.dtype.is_temporal()]
    if len(numbers) == 2 and not any(n.null_count() or (n.abs() >= 2**53).any() for n in numbers):
        return numbers[0], numbers[1]
    return one.cast(pl.String), other.cast(pl.String)


def _ordered(
    texts: pl.DataFrame, of_sample: list[pl.Series], frame: pl.DataFrame, of_test: list[pl.Series]
) -> pl.DataFrame | None:
    """Return the rows of test in the sample's order with its texts, found by keys; None where they are not the same."""
    names = [f"__key_{i}__" for i in range(len(of_sample))]
    keys = [pl.DataFrame(dict(zip(names, of, strict=True))) for of in (of_sample, of_test)]
    if any(k.is_duplicated().any() for k in keys):
        return None
    ids = texts.hstack(keys[0]).with_row_index("__order__")
    rows = frame.drop(texts.columns).hstack(keys[1])
    ordered = ids.join(rows, on=names, how="inner").sort("__order__")
    return ordered.drop("__order__", *names) if ordered.height == frame.height else None


def compared(path: Path, own: pl.DataFrame, ids: Sequence[str]) -> tuple[float, int]:
    """Compare a kernel's submission with the run's own: ids byte by byte.

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
    as_ids = dict.fromkeys(ids, pl.String())
    found = read_csv(path, schema_overrides=as_ids, null_values=[""])
    own = own.with_columns(pl.col(ids).cast(pl.String))
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
