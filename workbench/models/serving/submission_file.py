"""Submission files: predictions in the form of the sample submission."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench import metrics
from workbench.core.cache import atomic
from workbench.core.errors import ConfigError, DataError
from workbench.core.frames import read_parquet, write_csv
from workbench.data.competition import (
    Competition,
    as_written,
    class_labels,
    match_classes,
    match_targets,
    positive_class,
    sample_column,
)
from workbench.data.ingest import read_text_file
from workbench.models.scoring import metric_input
from workbench.models.target import Target, TargetColumn

__all__ = [
    "SubmissionForm",
    "class_texts",
    "compare_submissions",
    "foreign_labels",
    "positive_labels",
    "read_submission",
    "respelled",
    "submission_form",
    "write_as_parquet",
    "write_submission",
]


MAX_TEXTS = 10_000
"""Columns of the sample with more distinct values are not taken for labels."""

INTEGER, INTEGER_AS_FLOAT = re.compile(r"-?\d+"), re.compile(r"-?\d+\.0")

MAX_EXACT_INTEGER = 2**53 - 1
"""Up to this, a 64-bit float represents every integer exactly."""

TOLERANCE = 1e-6
"""Differences of predictions up to this are rounding: sums are taken in another order."""


@dataclass(frozen=True)
class SubmissionForm:
    """The columns of a submission file.

    Attributes
    ----------
    ids : tuple of str
    columns : tuple of str
        All columns in the file's order.
    index_by_column : dict
        For each column other than the ids, the index of its target, or of its class if `has_column_per_class`.
    has_column_per_class : bool
        Whether the file has a column of probabilities for each class; otherwise it has a column for each target.
    labels_by_column : dict
        For each column of labels, the label of each class, as the sample spells it.
    """

    ids: tuple[str, ...]
    columns: tuple[str, ...]
    index_by_column: dict[str, int]
    has_column_per_class: bool
    labels_by_column: dict[str, list[str]] = field(default_factory=dict)


def submission_form(competition: Competition, target: Target) -> SubmissionForm:
    """Derive the form from the sample submission, or from the definition if there is no sample.

    Raises
    ------
    DataError
        When the sample's columns are neither the targets nor their classes.
    """
    definition = competition.definition
    names = [c.name for c in target.columns]
    sample = definition.tables.sample_submission
    file_columns = [*definition.id_columns, *names]
    if sample is not None:
        file_columns = list(competition.manifest.table(sample, slug=definition.slug).dtypes)
    value_columns = [c for c in file_columns if c not in definition.id_columns]
    # A column per class, as probabilities need it; only possible with a single target.
    classes = _classes_of_columns(competition, value_columns, target) if len(names) == 1 else None
    matched = match_targets(value_columns, names)
    if (matched is None and classes is None) or not set(definition.id_columns) <= set(file_columns):
        raise DataError(
            f"table {sample!r} has the columns {file_columns}; expected the id {list(definition.id_columns)} and the "
            f"target {names}, or one column per class",
            hint=f"check id and target in {competition.folder / 'competition.toml'}",
        )
    if matched is None:
        form = SubmissionForm(
            definition.id_columns,
            tuple(file_columns),
            dict(zip(value_columns, classes or (), strict=True)),
            has_column_per_class=True,
        )
    else:
        index_by_column = {c: names.index(t) for c, t in matched.items()}
        labels_by_column = {}
        for column_name, index in index_by_column.items():
            if _holds_labels(competition, target.columns[index]):
                labels_by_column[column_name] = class_texts(competition, column_name, target.columns[index])
        form = SubmissionForm(
            definition.id_columns,
            tuple(file_columns),
            index_by_column,
            has_column_per_class=False,
            labels_by_column=labels_by_column,
        )
    for column in target.columns:
        _check_positive(competition, column, form)
    return form


def _classes_of_columns(competition: Competition, value_columns: list[str], target: Target) -> tuple[int, ...] | None:
    column = target.columns[0]
    if column.classes is None:
        return None
    return match_classes(value_columns, class_labels(competition, column.name, column.classes))


def _holds_labels(competition: Competition, column: TargetColumn) -> bool:
    """Return whether a submission has labels of this target, not numbers or probabilities."""
    is_labels = competition.metric.prediction_type in ("label", "ranked")
    return column.classes is not None and column.task != "ranking" and (is_labels or column.width > 1)


def _check_positive(competition: Competition, column: TargetColumn, form: SubmissionForm) -> None:
    """Raise an error if the positive one of two classes is unknown, and the file or the score depends on it.

    Raises
    ------
    ConfigError
        With the two possible settings.
    """
    if column.task != "binary" or column.classes is None:
        return
    positive = positive_class(competition, column.name, column.classes)
    labels = class_labels(competition, column.name, column.classes)
    file_column, metric = sample_column(competition, column.name), competition.metric
    if metric.prediction_type == "proba" and form.has_column_per_class:
        return
    question = f"whether {file_column!r} is the probability of the one or of the other"
    if metric.prediction_type in ("label", "ranked"):
        question = f"which of the two is the positive class of {metric.name}"
        file_labels = form.labels_by_column.get(file_column, labels)
        if [metrics.match_label(label, labels) for label in file_labels] != [0, 1]:
            question = f"which of the two stands for {file_labels[1]!r} in {file_column!r}"
        elif not metrics.depends_on_positive(metric):
            return
    if positive.index is not None:
        return
    key = f"positive.{json.dumps(column.name)}" if len(competition.definition.targets) > 1 else "positive"
    choice = " or ".join(f"{key} = {json.dumps(label, ensure_ascii=False)}" for label in labels)
    raise ConfigError(
        f"target {column.name!r} is {labels[0]!r} or {labels[1]!r}, and it is undecided {question}: {positive.why}",
        hint=f"the competition's page says it; write {choice} into {competition.folder / 'competition.toml'}, above "
        "[tables]",
    )


def positive_labels(competition: Competition, target: Target) -> dict[str, str]:
    """Return, by binary target, the class whose probability is predicted, as spelled in train."""
    binary = [c for c in target.columns if c.task == "binary" and c.classes is not None]
    return {c.name: class_labels(competition, c.name, c.classes or ())[-1] for c in binary}


def write_submission(
    competition: Competition, form: SubmissionForm, target: Target, test_predictions: Any, path: Path
) -> None:
    """Write a submission file, with the rows in the sample's order if it has the same ids, else in that of test.

    Ids are written as in the sample, whatever their type in test.

    Parameters
    ----------
    test_predictions : float array (n_test, width)
    path : Path
        With the suffix of CSV or Parquet.
    """
    values = [
        _submission_column(competition, form, target, test_predictions, name).alias(name)
        for name in form.index_by_column
    ]
    frame = _in_sample_order(competition, form, competition.ids.test_frame().hstack(values))
    # The ids are texts already; this formats the predictions.
    frame = as_written(frame, {}).select(form.columns)
    if path.suffix == ".parquet":
        _write_parquet(competition, frame, path)
    else:
        with atomic(path) as temporary:
            write_csv(frame, temporary)


def write_as_parquet(competition: Competition, submission: Path, path: Path) -> Path:
    """Convert a CSV submission to Parquet, with the sample's types, and return its path."""
    frame = read_submission(submission, competition.definition.id_columns)
    _write_parquet(competition, frame, path)
    return path


def _write_parquet(competition: Competition, frame: pl.DataFrame, path: Path) -> None:
    definition = competition.definition
    sample = definition.tables.sample_submission
    schema = competition.ids.test_frame().schema if sample is None else competition.table(sample).collect_schema()
    columns = [_in_type(frame[name], schema.get(name)) for name in frame.columns]
    with atomic(path) as temporary:
        pl.DataFrame(columns).write_parquet(temporary)


def _in_type(values: pl.Series, dtype: pl.DataType | None) -> pl.Series:
    """Cast values to the sample's type if no value is lost; fractions stay if the sample has whole numbers."""
    is_fraction = values.dtype.is_float() and dtype is not None and not dtype.is_float() and dtype != pl.String
    if dtype is None or values.dtype == dtype or is_fraction:
        return values
    try:
        cast = values.cast(dtype, strict=False)
    except pl.exceptions.PolarsError:
        return values
    return cast if cast.null_count() == values.null_count() else values


def _submission_column(
    competition: Competition,
    form: SubmissionForm,
    target: Target,
    test_predictions: npt.NDArray[np.float64],
    column: str,
) -> pl.Series:
    """Return the values of one column of the submission, not an id: labels, numbers or probabilities."""
    if form.has_column_per_class:
        class_index = form.index_by_column[column]
        if target.width == 1:  # the probability of the second of two classes
            return pl.Series(test_predictions[:, 0] if class_index == 1 else 1.0 - test_predictions[:, 0])
        return pl.Series(test_predictions[:, class_index])
    target_column = target.columns[form.index_by_column[column]]
    predictions = test_predictions[:, target.slices[form.index_by_column[column]]]
    metric = competition.metric
    metric_values = metric_input(predictions, target_column, metric)
    labels = form.labels_by_column.get(column)
    if labels is not None:
        if metric.prediction_type == "ranked":
            return pl.Series([" ".join(row) for row in np.array(labels, dtype=object)[metric_values]])
        codes = metric_values if metric.prediction_type == "label" else predictions.argmax(axis=1)
        return pl.Series(labels).gather(codes)
    values = pl.Series(metric_values)
    if values.dtype.is_integer() and _is_written_as_float(competition, column):
        return values.cast(pl.Float64)
    return values


def _is_written_as_float(competition: Competition, column: str) -> bool:
    """Return whether the sample has whole numbers written as 3.0."""
    texts = _sample_texts(competition, column)
    return bool(texts) and all(INTEGER_AS_FLOAT.fullmatch(text) for text in texts)


def class_texts(competition: Competition, column: str, target: TargetColumn) -> list[str]:
    """Return the text of each class of a target in a submission, spelled as in the sample's column of that name.

    The sample may use another case, 1 or 1.0, or other words for no and yes; classes that it does not have are spelled
    in the same way. Without a sample the labels are spelled as in train.
    """
    classes = target.classes or ()
    labels = class_labels(competition, target.name, classes)
    sample_texts = _sample_texts(competition, column)
    return respelled(labels, sample_texts) if sample_texts else labels


def foreign_labels(competition: Competition, column: str, labels: Sequence[str]) -> list[str]:
    """Return the values of a column of the sample if none of them is one of a submission's labels, else an empty list.

    Columns with a single value and lists of labels are ignored, as samples often have placeholders there.
    """
    sample_texts = [] if competition.metric.prediction_type == "ranked" else _sample_texts(competition, column)
    return sample_texts if len(sample_texts) > 1 and not set(sample_texts) & set(labels) else []


def respelled(labels: Sequence[str], sample_texts: Sequence[str]) -> list[str]:
    """Return labels spelled like the sample's values; unchanged if these have another meaning.

    Parameters
    ----------
    labels : sequence of str
        Of two labels the second is the positive one.
    sample_texts : sequence of str
        The distinct values of a column of the sample, which need not have all labels.

    Examples
    --------
    >>> respelled(["1.0", "2.0"], ["1"]), respelled(["no", "yes"], ["False"]), respelled(["0", "1"], ["0.5"])
    (['1', '2'], ['False', 'True'], ['0', '1'])
    """
    if set(sample_texts) <= set(labels):
        return list(labels)
    for respell in (_in_number_format, _in_case, _in_words):
        spelled = respell(labels, sample_texts)
        if spelled is not None and len(set(spelled)) == len(spelled):
            return spelled
    return list(labels)


def _in_number_format(labels: Sequence[str], sample_texts: Sequence[str]) -> list[str] | None:
    """Return labels that are whole numbers in the sample's format: 1 or 1.0."""
    if (
        len(labels) == 2
        and len(sample_texts) == 2
        and any(metrics.match_label(text, labels) is None for text in sample_texts)
    ):
        return None  # other numbers for the same two classes, such as 0 and 1 instead of 1 and 2
    for pattern, template in ((INTEGER, "{}"), (INTEGER_AS_FLOAT, "{}.0")):
        if all(map(pattern.fullmatch, sample_texts)):
            matches = [re.fullmatch(r"\s*([-+]?\d+)(?:\.0*)?\s*", label) for label in labels]
            if all(matches):
                return [template.format(int(match[1])) for match in matches if match]
    return None


def _in_case(labels: Sequence[str], sample_texts: Sequence[str]) -> list[str] | None:
    """Return the labels in the sample's upper or lower case."""
    folded_labels = [label.casefold() for label in labels]
    sample_text_by_folded = {text.casefold(): text for text in sample_texts}
    if len(set(folded_labels)) < len(folded_labels) or not set(sample_text_by_folded) <= set(folded_labels):
        return None
    with_letters = [text for text in sample_texts if text.upper() != text.lower()]
    cases = (str.upper, str.lower, str.title, str.capitalize)
    sample_case = next((case for case in cases if with_letters and all(case(t) == t for t in with_letters)), str)
    return [
        sample_text_by_folded.get(folded, sample_case(label))
        for folded, label in zip(folded_labels, labels, strict=True)
    ]


def _in_words(labels: Sequence[str], sample_texts: Sequence[str]) -> list[str] | None:
    """Return the sample's words for no and yes, such as 0 and 1, or False and TRUE."""
    if len(labels) != 2:
        return None
    are_floats = all(INTEGER_AS_FLOAT.fullmatch(text) for text in sample_texts)
    plain = [text[:-2] if are_floats else text for text in sample_texts]
    for pair in (("0", "1"), ("-1", "1"), ("False", "True"), ("No", "Yes"), ("N", "Y"), ("F", "T")):
        for case in (str, str.upper, str.lower):
            words = [case(word) for word in pair]
            if set(plain) <= set(words):
                return [f"{word}.0" if are_floats else word for word in words]
    return None


def _sample_texts(competition: Competition, column: str) -> list[str]:
    """Return the distinct values of a column of the sample as in its file; none if there are more than `MAX_TEXTS`."""
    definition = competition.definition
    if definition.tables.sample_submission is None:
        return []
    info = competition.manifest.table(definition.tables.sample_submission, slug=definition.slug)
    if column not in info.dtypes:
        return []
    values = competition.table(definition.tables.sample_submission).select(pl.col(column).drop_nulls().unique())
    frame = as_written(values.head(MAX_TEXTS + 1).collect(), info.spelled)
    texts = frame[column].cast(pl.String)
    if competition.metric.prediction_type == "ranked":
        texts = texts.str.split(" ").explode().drop_nulls().unique()
    return [] if len(texts) > MAX_TEXTS else sorted(text for text in texts if text)


def _in_sample_order(competition: Competition, form: SubmissionForm, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with the sample's ids in the sample's order; if the sample has other ids, those of test."""
    tables = competition.definition.tables
    spelled = competition.manifest.table(tables.sample_submission or tables.test, slug=competition.slug).spelled
    written = frame.with_columns(_as_texts(frame.select(form.ids), spelled))
    if tables.sample_submission is None:
        return written
    sample = competition.table(tables.sample_submission).select(form.ids).collect()
    texts = _as_texts(sample, spelled)
    ordered = _ordered(texts, [texts[c] for c in form.ids], written, [written[c] for c in form.ids])
    if ordered is None:
        pairs = [_comparable(sample[c], frame[c]) for c in form.ids]
        ordered = _ordered(texts, [a for a, _ in pairs], written, [b for _, b in pairs])
    # A sample with other ids, such as a few example rows, has no order for the test rows.
    return written if ordered is None else ordered


def _as_texts(ids: pl.DataFrame, spelled: Mapping[str, str]) -> pl.DataFrame:
    return as_written(ids, {c: spelling for c, spelling in spelled.items() if c in ids.columns}).select(
        pl.all().cast(pl.String)
    )


def _comparable(one: pl.Series, other: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Convert the ids of two tables so that equal ones compare equal: 7 and "7.0", a date and its midnight."""
    if one.dtype.is_temporal() and other.dtype.is_temporal():
        return one.cast(pl.Datetime("us"), strict=False), other.cast(pl.Datetime("us"), strict=False)
    numbers = [s.cast(pl.Float64, strict=False) for s in (one, other) if not s.dtype.is_temporal()]
    if len(numbers) == 2 and not any(n.null_count() or (n.abs() > MAX_EXACT_INTEGER).any() for n in numbers):
        return numbers[0], numbers[1]
    return one.cast(pl.String), other.cast(pl.String)


def _ordered(
    texts: pl.DataFrame, sample_keys: list[pl.Series], frame: pl.DataFrame, test_keys: list[pl.Series]
) -> pl.DataFrame | None:
    """Return the test rows in the sample's order, with the ids in `texts`; None if their keys are not the same."""
    names = [f"__key_{i}__" for i in range(len(sample_keys))]
    keys = [pl.DataFrame(dict(zip(names, columns, strict=True))) for columns in (sample_keys, test_keys)]
    if any(k.is_duplicated().any() for k in keys):
        return None
    ids = texts.hstack(keys[0]).with_row_index("__order__")
    rows = frame.drop(texts.columns).hstack(keys[1])
    ordered = ids.join(rows, on=names, how="inner").sort("__order__")
    return ordered.drop("__order__", *names) if ordered.height == frame.height else None


def read_submission(path: Path, ids: Sequence[str]) -> pl.DataFrame:
    """Read a submission: ids as texts, other columns as numbers if all of their values are, else as texts."""
    if path.suffix == ".parquet":
        frame = read_parquet(path)
        return frame.with_columns(pl.col(c).cast(pl.String) for c in ids if c in frame.columns)
    frame = read_text_file(path)
    for dtype in (pl.Int64, pl.Float64):
        texts = frame.select(c for c, column_type in frame.schema.items() if column_type == pl.String and c not in ids)
        numbers = texts.select(pl.all().cast(dtype, strict=False))
        frame = frame.with_columns(c for c in numbers if c.null_count() == texts[c.name].null_count())
    return frame


def compare_submissions(path: Path, run_frame: pl.DataFrame, ids: Sequence[str]) -> tuple[float, int]:
    """Compare a kernel's submission with the run's, row by row.

    Returns
    -------
    float
        The largest difference of a prediction, in standard deviations of its column.
    int
        The number of rows that differ by more than rounding.

    Raises
    ------
    DataError
        When they have different rows or columns.
    """
    kernel_frame = read_submission(path, ids)
    run_frame = run_frame.with_columns(pl.col(ids).cast(pl.String))
    if kernel_frame.columns != run_frame.columns or kernel_frame.height != run_frame.height:
        raise DataError(
            f"the kernel's submission has {kernel_frame.height:,} rows and the columns {kernel_frame.columns}; the "
            f"run's own has {run_frame.height:,} and {run_frame.columns}"
        )
    joined = run_frame.join(kernel_frame, on=list(ids), how="inner", suffix="\0kernel")
    if joined.height != run_frame.height:
        n_other = run_frame.height - joined.height
        raise DataError(
            f"the kernel's submission has other ids than the run's own: {n_other:,} of {run_frame.height:,}"
        )
    largest, is_different = 0.0, np.zeros(joined.height, np.bool_)
    for name in run_frame.columns:
        if name in ids:
            continue
        run_values, kernel_values = joined[name], joined[f"{name}\0kernel"]
        if not (run_values.dtype.is_numeric() and kernel_values.dtype.is_numeric()):
            is_different |= run_values.cast(pl.String).ne_missing(kernel_values.cast(pl.String)).to_numpy()
            continue
        gap = np.abs(run_values.to_numpy() - kernel_values.to_numpy()) / (float(run_values.std() or 0.0) or 1.0)  # type: ignore[arg-type]
        # A value that is missing on one side alone is infinitely far off.
        gap = np.where(np.isnan(gap), np.where(run_values.is_null() & kernel_values.is_null(), 0.0, np.inf), gap)
        largest = max(largest, float(gap.max(initial=0.0)))
        is_different |= gap > TOLERANCE
    return largest, int(is_different.sum())
