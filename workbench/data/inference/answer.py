"""Find ids and targets by comparing the columns and values of train, test and the sample submission."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from workbench.data.competition import as_written, match_classes, match_targets
from workbench.data.inference.tables import DataTable, Roles, UndeterminedError, normalized

__all__ = ["Answer", "find_answer"]

SEPARATORS = ("_", "-", ":", "|", "/", "+", ",", ";", "#", "@", " ", ".")
"""The characters that may join columns of test into an id, the most usual first."""
TARGET_NAMES = ("target", "label", "labels", "class", "y", "response", "outcome", "prediction", "score", "value")
MAX_CLASSES = 1000
MAX_TEMPLATES = 64
"""The largest number of combinations of columns that are tried for one separator."""


@dataclass(frozen=True)
class Answer:
    """The ids and targets, each with the reason.

    Attributes
    ----------
    ids, targets : tuple of str
        Columns of the sample submission and of train.
    id_in_test : str, optional
        See `Definition.id_in_test`.
    sample_columns : tuple of str
        The sample's columns without the ids.
    has_column_per_class : bool
        Whether the sample has one column for each class of a single target.
    why_id, why_target : str
        The reasons, which become comments in competition.toml.
    """

    ids: tuple[str, ...]
    id_in_test: str | None
    targets: tuple[str, ...]
    sample_columns: tuple[str, ...]
    has_column_per_class: bool
    why_id: str
    why_target: str


def find_answer(roles: Roles, ids: tuple[str, ...] = (), targets: tuple[str, ...] = ()) -> Answer:
    """Find ids and targets.

    Parameters
    ----------
    roles : Roles
    ids, targets : tuple of str
        The columns that the platform names; where it does, they are not inferred.

    Raises
    ------
    UndeterminedError
        When no id or no target can be determined.
    """
    if ids:
        id_in_test, why_id = None, "stated by the platform"
    elif roles.sample is None:
        ids, id_in_test, why_id = _ids_without_sample(roles)
    else:
        ids, id_in_test, why_id = _ids(roles.sample, roles.test)
    sample_columns = tuple(c for c in roles.sample.columns if c not in ids) if roles.sample else ()
    if targets:
        has_column_per_class = len(targets) == 1 and len(sample_columns) > 1
        return Answer(ids, id_in_test, targets, sample_columns, has_column_per_class, why_id, "stated by the platform")
    targets, has_column_per_class, why_target = _targets(roles, ids, id_in_test, sample_columns)
    return Answer(ids, id_in_test, targets, sample_columns, has_column_per_class, why_id, why_target)


# --------------------------------------------------------------------------------------------------------------- ids


def _ids(sample: DataTable, test: DataTable) -> tuple[tuple[str, ...], str | None, str]:
    """Find the sample's ids in test; return the ids, `id_in_test` and the reason.

    Tried in this order: equal names, similar names, equal values, row numbers, values joined from several columns.
    """
    shared = tuple(c for c in sample.columns if test.has(c) and not test.is_empty(c))
    if shared and len(shared) < len(sample.columns):
        return shared, None, f"in both {sample.name} and {test.name}"
    id_column = sample.columns[0]
    similar = [c for c in test.columns if normalized(c) == normalized(id_column) and not test.is_empty(c)]
    if len(similar) == 1:
        return (id_column,), similar[0], f"{test.name} spells it {similar[0]!r}"
    if len(sample.columns) == 1:
        raise UndeterminedError(f"{sample.name} has only one column, {id_column!r}")
    ids = as_written(sample.select([id_column]), sample.info.spelled)[id_column].cast(pl.String)
    texts_by_column = _texts_by_column(test)
    candidates = {c: t for c, t in texts_by_column.items() if ids[0] in t} if ids.null_count() == 0 else {}
    for column, texts in candidates.items():
        if texts.len() == ids.len() and texts.n_unique() == texts.len() and set(texts) == set(ids):
            why = f"{column!r} of {test.name} has the same values as {id_column!r} of {sample.name}"
            return (id_column,), column, why
    row_template = _row_number_template(ids, test.n_rows)
    if row_template is not None:
        return (id_column,), row_template, f"{id_column!r} of {sample.name} numbers the rows of {test.name}"
    column_template = _column_template(ids, texts_by_column)
    if column_template is not None:
        return (id_column,), column_template, f"{id_column!r} of {sample.name} is joined from columns of {test.name}"
    raise UndeterminedError(
        f"no id found: {sample.name} has the columns {', '.join(sample.columns[:8])}, {test.name} has "
        f"{', '.join(test.columns[:8])}; they have no values in common"
    )


def _texts_by_column(test: DataTable) -> dict[str, pl.Series]:
    """Return the columns of test that can be part of an id, with their values as the file writes them."""
    columns = [
        c
        for c in test.columns
        if test.dtype(c).startswith(("Int", "UInt", "String", "Date")) and test.null_counts[c] == 0
    ]
    frame = as_written(test.select(columns), test.info.spelled) if columns else pl.DataFrame()
    return {c: frame[c].cast(pl.String) for c in frame.columns}


def _row_number_template(ids: pl.Series, n_rows: int) -> str | None:
    """Return ``{row}`` or ``{row+N}`` where the ids number the rows, else None."""
    numbers = ids.cast(pl.Int64, strict=False)
    if ids.len() != n_rows or numbers.null_count():
        return None
    first_number = int(numbers[0])
    row_numbers = pl.Series(range(first_number, first_number + n_rows), dtype=pl.Int64)
    if first_number < 0 or not numbers.equals(row_numbers):
        return None
    return f"{{row+{first_number}}}" if first_number else "{row}"


def _column_template(ids: pl.Series, texts_by_column: dict[str, pl.Series]) -> str | None:
    """Return the template by which columns are joined into the ids, or None.

    For ids such as "1_1_2012-11-02" it is "{Store}_{Dept}_{Date}". Parts that are the same in all ids may be literals.
    """
    distinct_ids = set(ids)
    for separator in SEPARATORS:
        id_parts = ids.str.split(separator)
        part_counts = id_parts.list.len()
        n_parts = int(part_counts[0])
        if not 2 <= n_parts <= 6 or part_counts.n_unique() != 1:
            continue
        # For each part the columns that have all of its values, as "{column}", else its only value as a literal.
        options_by_part: list[list[str]] = []
        for i in range(n_parts):
            values = set(id_parts.list.get(i))
            matching = [f"{{{c}}}" for c, texts in texts_by_column.items() if values <= set(texts)]
            options_by_part.append(matching or ([next(iter(values))] if len(values) == 1 else []))
        combinations = itertools.product(*options_by_part)
        for combination in itertools.islice(combinations, MAX_TEMPLATES):
            columns = [option[1:-1] for option in combination if option.startswith("{")]
            if not columns or len(set(columns)) < len(columns):
                continue
            expressions = [pl.col(o[1:-1]) if o.startswith("{") else pl.lit(o) for o in combination]
            frame = pl.DataFrame({c: texts_by_column[c] for c in columns})
            if set(frame.select(pl.concat_str(expressions, separator=separator)).to_series()) == distinct_ids:
                return separator.join(combination)
    return None


def _ids_without_sample(roles: Roles) -> tuple[tuple[str, ...], str | None, str]:
    """Return the ids, `id_in_test` and the reason.

    The id is a unique column of test that has the name of an id or is the first, else the number of the row.
    """
    test = roles.test
    candidates = [c for c in test.columns if _sounds_like_id(c)]
    candidates += [c for c in test.columns[:1] if not _sounds_like_id(c)]
    for column in candidates:
        if not test.dtype(column).startswith("Float") and test.is_key(column):
            return (column,), None, f"no sample submission; every row of {test.name} has a different {column!r}"
    return ("id",), "{row}", f"no sample submission, and no id in {test.name}: the number of the row is the id"


def _sounds_like_id(name: str) -> bool:
    return bool(re.search(r"(^|_|\b)(id|index|key|uuid|guid)($|_|\b)|Id$|ID$", name)) or name.strip() == ""


# ----------------------------------------------------------------------------------------------------------- targets


def _targets(
    roles: Roles, ids: tuple[str, ...], id_in_test: str | None, sample_columns: tuple[str, ...]
) -> tuple[tuple[str, ...], bool, str]:
    """Return the target columns, whether the submission has a column per class of the target, and the reason."""
    train, test, sample = roles.train, roles.test, roles.sample
    sample_names = {normalized(c) for c in sample_columns}
    target_by_column = match_targets(sample_columns, [c for c in train.columns if normalized(c) in sample_names])
    if sample_columns and target_by_column:
        targets = tuple(target_by_column[c] for c in sample_columns)
        return targets, False, f"as in the columns of {sample.name if sample else ''}"
    train_only_columns = [
        c for c in train.columns if (not test.has(c) or test.is_empty(c)) and c not in (*ids, id_in_test)
    ]
    # Train may have an id of a different name: train_id where test has test_id.
    candidates = [c for c in train_only_columns if not (_sounds_like_id(c) and train.is_key(c))]
    if sample is not None and len(sample_columns) > 1:
        for column in candidates:
            if match_classes(sample_columns, _labels(train, column, len(sample_columns))) is not None:
                return (column,), True, f"{sample.name} has a column for each of its values"
        raise UndeterminedError(
            f"no target found: {sample.name} has predictions of {', '.join(sample_columns[:8])}, and the columns that "
            f"only {train.name} has are {', '.join(train_only_columns[:8]) or 'none'}"
        )
    target, reason = _one_target(candidates, sample_columns)
    if target is None:
        raise UndeterminedError(
            f"no target found: the columns that only {train.name} has are "
            f"{', '.join(train_only_columns[:8]) or 'none'}, and none of them is called "
            f"{' or '.join(sample_columns) or 'target'}"
        )
    return (target,), False, f"{reason} {train.name} has and {test.name} lacks"


def _labels(train: DataTable, column: str, n_classes: int) -> list[str]:
    """Return the distinct values of a column as text where there are `n_classes` of them, else an empty list."""
    if n_classes > MAX_CLASSES or train.n_unique(column) != n_classes:
        return []
    values = train.select([column]).drop_nulls().unique().sort(column)
    if values[column].dtype.is_float() and not (values[column] == values[column].floor()).all():
        return []
    return [str(v) for v in as_written(values, train.info.spelled)[column]]


def _one_target(candidates: Sequence[str], sample_columns: Sequence[str]) -> tuple[str | None, str]:
    """Return the only likely target, or None, and the beginning of the reason, such as "the column that"."""
    if len(candidates) == 1:
        return candidates[0], "the column that"
    similar = [
        c
        for c in candidates
        for s in sample_columns
        if normalized(s) and (normalized(s) in normalized(c) or normalized(c) in normalized(s))
    ]
    if len(similar) == 1:
        return similar[0], "by its name, among the columns that"
    conventional = [c for c in candidates if normalized(c) in TARGET_NAMES]
    if len(conventional) == 1:
        return conventional[0], "by its name, among the columns that"
    return None, ""
