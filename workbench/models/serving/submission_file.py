"""The submission file: predictions in the form that the sample shows."""

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
    "compared",
    "foreign_labels",
    "positive_labels",
    "read_submission",
    "respelled",
    "submission_form",
    "write_as_parquet",
    "write_submission",
]


MANY_TEXTS = 10_000
INTEGER, INTEGER_AS_FLOAT = re.compile(r"-?\d+"), re.compile(r"-?\d+\.0")

LARGEST_EXACT = 2**53 - 1
"""Up to here a float of 64 bits is the whole number that it stands for, and no other."""

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
    texts : dict
        For each column that holds labels what stands for each class, as the sample spells it.
    """

    ids: tuple[str, ...]
    columns: tuple[str, ...]
    sources: dict[str, int]
    by_class: bool
    texts: dict[str, list[str]] = field(default_factory=dict)


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
    file_columns = [*d.id_columns, *names]
    if sample is not None:
        file_columns = list(competition.manifest.table(sample, slug=d.slug).dtypes)
    value_columns = [c for c in file_columns if c not in d.id_columns]
    # Columns named for the classes come first: two of them would also match two targets in no other way.
    classes = _classes_of_columns(competition, value_columns, target) if len(names) == 1 else None
    matched = match_targets(value_columns, names)
    if (matched is None and classes is None) or not set(d.id_columns) <= set(file_columns):
        raise DataError(
            f"table {sample!r} has the columns {file_columns}; expected the id {list(d.id_columns)} and the target "
            f"{names}, or one column per class",
            hint=f"check id and target in {competition.folder / 'competition.toml'}",
        )
    if matched is None:
        form = SubmissionForm(
            d.id_columns, tuple(file_columns), dict(zip(value_columns, classes or (), strict=True)), True
        )
    else:
        sources = {c: names.index(t) for c, t in matched.items()}
        columns = {c: target.columns[i] for c, i in sources.items()}
        texts = {c: class_texts(competition, c, of) for c, of in columns.items() if _holds_labels(competition, of)}
        form = SubmissionForm(d.id_columns, tuple(file_columns), sources, False, texts)
    for column in target.columns:
        _check_positive(competition, column, form)
    return form


def _classes_of_columns(competition: Competition, value_columns: list[str], target: Target) -> tuple[int, ...] | None:
    column = target.columns[0]
    if column.classes is None:
        return None
    return match_classes(value_columns, class_labels(competition, column.name, column.classes))


def _holds_labels(competition: Competition, column: TargetColumn) -> bool:
    needs = competition.metric.needs
    return (
        column.classes is not None and column.task != "ranking" and (needs in ("label", "ranked") or column.width > 1)
    )


def _check_positive(competition: Competition, column: TargetColumn, form: SubmissionForm) -> None:
    """Stop where it is undecided which of two classes is the positive one, and the file or the score depends on it.

    Raises
    ------
    ConfigError
        With the two ways to say it.
    """
    if column.task != "binary" or column.classes is None:
        return
    positive = positive_class(competition, column.name, column.classes)
    labels = class_labels(competition, column.name, column.classes)
    file_column, metric = sample_column(competition, column.name), competition.metric
    if metric.needs == "proba" and form.by_class:
        return
    question = f"whether {file_column!r} is the probability of the one or of the other"
    if metric.needs in ("label", "ranked"):
        question = f"which of the two {metric.name} is of"
        texts = form.texts.get(file_column, labels)
        if [metrics.match_label(text, labels) for text in texts] != [0, 1]:
            question = f"which of the two stands for {texts[1]!r} in {file_column!r}"
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
    """Return by target the class whose probability is predicted, as train writes it, where there are two."""
    two = [c for c in target.columns if c.task == "binary" and c.classes is not None]
    return {c.name: class_labels(competition, c.name, c.classes or ())[-1] for c in two}


def write_submission(competition: Competition, form: SubmissionForm, target: Target, test: Any, path: Path) -> None:
    """Write the submission file; rows in the sample's order where it has the same ids, else in the test file's.

    Ids are written as the sample writes them, whatever type test has them in.

    Parameters
    ----------
    test : float array (n_test, width)
    path : Path
        Its ending says whether it is CSV or Parquet.
    """
    values = [_column(competition, form, target, test, name).alias(name) for name in form.sources]
    frame = _as_the_sample(competition, form, competition.ids.test_frame().hstack(values))
    # Only the ids are texts by now; a truth value among the predictions is written as ever.
    frame = as_written(frame, {}).select(form.columns)
    if path.suffix == ".parquet":
        _write_parquet(competition, frame, path)
    else:
        with atomic(path) as temporary:
            write_csv(frame, temporary)


def write_as_parquet(competition: Competition, submission: Path, path: Path) -> Path:
    """Write a submission that is there as CSV as Parquet, in the sample's types, and return its path."""
    frame = read_submission(submission, competition.definition.id_columns)
    _write_parquet(competition, frame, path)
    return path


def _write_parquet(competition: Competition, frame: pl.DataFrame, path: Path) -> None:
    d = competition.definition
    sample = d.tables.sample_submission
    schema = competition.ids.test_frame().schema if sample is None else competition.table(sample).collect_schema()
    columns = [_in_type(frame[name], schema.get(name)) for name in frame.columns]
    with atomic(path) as temporary:
        pl.DataFrame(columns).write_parquet(temporary)


def _in_type(values: pl.Series, dtype: pl.DataType | None) -> pl.Series:
    """Return values in the sample's type where that loses nothing: ids, labels, but no fractions for whole zeros."""
    is_fraction = values.dtype.is_float() and dtype is not None and not dtype.is_float() and dtype != pl.String
    if dtype is None or values.dtype == dtype or is_fraction:
        return values
    try:
        cast = values.cast(dtype, strict=False)
    except pl.exceptions.PolarsError:
        return values
    return cast if cast.null_count() == values.null_count() else values


def _column(
    competition: Competition, form: SubmissionForm, target: Target, test: npt.NDArray[np.float64], name: str
) -> pl.Series:
    if form.by_class:
        of_class = form.sources[name]
        if target.width == 1:  # of two classes the second is predicted
            return pl.Series(test[:, 0] if of_class == 1 else 1.0 - test[:, 0])
        return pl.Series(test[:, of_class])
    column = target.columns[form.sources[name]]
    predictions = test[:, target.slices[form.sources[name]]]
    metric = competition.metric
    predicted = metric_input(predictions, column, metric)
    if name in form.texts:
        if metric.needs == "ranked":
            classes = np.array(form.texts[name], dtype=object)
            return pl.Series([" ".join(row) for row in classes[predicted]])
        codes = predicted if metric.needs == "label" else predictions.argmax(axis=1)
        return pl.Series(form.texts[name]).gather(codes)
    values = pl.Series(predicted)
    if values.dtype.is_integer() and _is_written_as_float(competition, name):
        return values.cast(pl.Float64)
    return values


def _is_written_as_float(competition: Competition, column: str) -> bool:
    """Say whether the sample writes whole numbers as 3.0."""
    texts = _sample_texts(competition, column)
    return bool(texts) and all(INTEGER_AS_FLOAT.fullmatch(text) for text in texts)


def class_texts(competition: Competition, column: str, target: TargetColumn) -> list[str]:
    """Return what a submission writes for each class of a target, in the sample's column of that name.

    Labels are spelled as the sample spells them: in another case, as 1 or as 1.0, in other words for no and yes. What
    the sample does not show is written in the same manner, and without a sample as train does.
    """
    classes = target.classes or ()
    labels = class_labels(competition, target.name, classes)
    shown = _sample_texts(competition, column)
    return respelled(labels, shown) if shown else labels


def foreign_labels(competition: Competition, column: str, labels: Sequence[str]) -> list[str]:
    """Return what a column of the sample holds where none of it is one of the labels that a submission writes.

    An empty list, too, where it is the same everywhere, or lists of labels: samples often show made-up ones.
    """
    shown = [] if competition.metric.needs == "ranked" else _sample_texts(competition, column)
    return shown if len(shown) > 1 and not set(shown) & set(labels) else []


def respelled(labels: Sequence[str], shown: Sequence[str]) -> list[str]:
    """Return labels as others are spelled that mean the same; unchanged where these mean something else.

    Parameters
    ----------
    labels : sequence of str
        Of two, the second is the positive one.
    shown : sequence of str
        What a column of the sample holds; it need not have all labels.

    Examples
    --------
    >>> respelled(["1.0", "2.0"], ["1"]), respelled(["no", "yes"], ["False"]), respelled(["0", "1"], ["0.5"])
    (['1', '2'], ['False', 'True'], ['0', '1'])
    """
    if set(shown) <= set(labels):
        return list(labels)
    for respell in (_as_number, _in_case, _in_words):
        spelled = respell(labels, shown)
        if spelled is not None and len(set(spelled)) == len(spelled):
            return spelled
    return list(labels)


def _as_number(labels: Sequence[str], shown: Sequence[str]) -> list[str] | None:
    if len(labels) == 2 and len(shown) == 2 and any(metrics.match_label(text, labels) is None for text in shown):
        return None  # 0 and 1 where train has 1 and 2: other numbers for the same two
    for form, write in ((INTEGER, "{}"), (INTEGER_AS_FLOAT, "{}.0")):
        if all(map(form.fullmatch, shown)):
            matches = [re.fullmatch(r"\s*([-+]?\d+)(?:\.0*)?\s*", label) for label in labels]
            if all(matches):
                return [write.format(int(match[1])) for match in matches if match]
    return None


def _in_case(labels: Sequence[str], shown: Sequence[str]) -> list[str] | None:
    """Return the labels in the sample's case, exactly as it has them where it has them."""
    folded = [label.casefold() for label in labels]
    shown_by_folded = {text.casefold(): text for text in shown}
    if len(set(folded)) < len(folded) or not set(shown_by_folded) <= set(folded):
        return None
    cased = [text for text in shown if text.upper() != text.lower()]
    cases = [c for c in (str.upper, str.lower, str.title, str.capitalize) if cased and all(c(t) == t for t in cased)]
    return [
        shown_by_folded.get(f, cases[0](label) if cases else label) for f, label in zip(folded, labels, strict=True)
    ]


def _in_words(labels: Sequence[str], shown: Sequence[str]) -> list[str] | None:
    """Return other words for no and yes: 0 and 1, False and TRUE."""
    if len(labels) != 2:
        return None
    floats = all(INTEGER_AS_FLOAT.fullmatch(text) for text in shown)
    plain = [text[:-2] if floats else text for text in shown]
    for pair in (("0", "1"), ("-1", "1"), ("False", "True"), ("No", "Yes"), ("N", "Y"), ("F", "T")):
        for case in (str, str.upper, str.lower):
            words = [case(word) for word in pair]
            if set(plain) <= set(words):
                return [f"{word}.0" if floats else word for word in words]
    return None


def _sample_texts(competition: Competition, column: str) -> list[str]:
    """Return the values of a column of the sample as its file writes them; none where there are very many."""
    d = competition.definition
    if d.tables.sample_submission is None:
        return []
    info = competition.manifest.table(d.tables.sample_submission, slug=d.slug)
    if column not in info.dtypes:
        return []
    values = competition.table(d.tables.sample_submission).select(pl.col(column).drop_nulls().unique())
    frame = as_written(values.head(MANY_TEXTS + 1).collect(), info.spelled)
    texts = frame[column].cast(pl.String)
    if competition.metric.needs == "ranked":
        texts = texts.str.split(" ").explode().drop_nulls().unique()
    return [] if len(texts) > MANY_TEXTS else sorted(text for text in texts if text)


def _as_the_sample(competition: Competition, form: SubmissionForm, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with their ids as the sample has them, in its order; of another sample's, as test has them."""
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
    # A sample with other ids (a few lines only, to show the form) does not say the order.
    return written if ordered is None else ordered


def _as_texts(ids: pl.DataFrame, spelled: Mapping[str, str]) -> pl.DataFrame:
    return as_written(ids, {c: spelling for c, spelling in spelled.items() if c in ids.columns}).select(
        pl.all().cast(pl.String)
    )


def _comparable(one: pl.Series, other: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return the ids of two tables so that they can be compared by value: 7 and "7.0", a date and its midnight."""
    if one.dtype.is_temporal() and other.dtype.is_temporal():
        return one.cast(pl.Datetime("us"), strict=False), other.cast(pl.Datetime("us"), strict=False)
    numbers = [s.cast(pl.Float64, strict=False) for s in (one, other) if not s.dtype.is_temporal()]
    if len(numbers) == 2 and not any(n.null_count() or (n.abs() > LARGEST_EXACT).any() for n in numbers):
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


def read_submission(path: Path, ids: Sequence[str]) -> pl.DataFrame:
    """Return a submission: ids as texts, the other columns by all of their values, for labels may begin as numbers."""
    if path.suffix == ".parquet":
        frame = read_parquet(path)
        return frame.with_columns(pl.col(c).cast(pl.String) for c in ids if c in frame.columns)
    frame = read_text_file(path)
    for dtype in (pl.Int64, pl.Float64):
        texts = frame.select(c for c, of in frame.schema.items() if of == pl.String and c not in ids)
        numbers = texts.select(pl.all().cast(dtype, strict=False))
        frame = frame.with_columns(c for c in numbers if c.null_count() == texts[c.name].null_count())
    return frame


def compared(path: Path, run_frame: pl.DataFrame, ids: Sequence[str]) -> tuple[float, int]:
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
    kernel_frame = read_submission(path, ids)
    run_frame = run_frame.with_columns(pl.col(ids).cast(pl.String))
    if kernel_frame.columns != run_frame.columns or kernel_frame.height != run_frame.height:
        raise DataError(
            f"the kernel's submission has {kernel_frame.height:,} rows and the columns {kernel_frame.columns}; the "
            f"run's own has {run_frame.height:,} and {run_frame.columns}"
        )
    joined = run_frame.join(kernel_frame, on=list(ids), how="inner", suffix="\0kernel")
    if joined.height != run_frame.height:
        n = run_frame.height - joined.height
        raise DataError(f"the kernel's submission has other ids than the run's own: {n:,} of {run_frame.height:,}")
    largest, differs = 0.0, np.zeros(joined.height, np.bool_)
    for name in run_frame.columns:
        if name in ids:
            continue
        a, b = joined[name], joined[f"{name}\0kernel"]
        if not (a.dtype.is_numeric() and b.dtype.is_numeric()):
            differs |= a.cast(pl.String).ne_missing(b.cast(pl.String)).to_numpy()
            continue
        gap = np.abs(a.to_numpy() - b.to_numpy()) / (float(a.std() or 0.0) or 1.0)  # type: ignore[arg-type]
        # What is missing on one side alone is as far off as can be.
        gap = np.where(np.isnan(gap), np.where(a.is_null() & b.is_null(), 0.0, np.inf), gap)
        largest = max(largest, float(gap.max(initial=0.0)))
        differs |= gap > CLOSE
    return largest, int(differs.sum())
