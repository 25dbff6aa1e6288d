"""Find ids and targets by comparing the columns and values of train, test and the sample submission."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from workbench.data.competition import as_written, match_classes, match_targets
from workbench.data.inference.tables import DataTable, NotPlainError, Roles, normal

__all__ = ["Answer", "find_answer"]

SEPARATORS = ("_", "-", ":", "|", "/", "+", ",", ";", "#", "@", " ", ".")
"""The characters that may join columns of test into an id, the most usual first."""
TARGET_NAMES = ("target", "label", "labels", "class", "y", "response", "outcome", "prediction", "score", "value")
MAX_CLASSES = 1000
MAX_TEMPLATES = 64
"""The combinations of columns that are tried for one separator."""


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
    by_class : bool
        Whether the sample's columns are the classes of one target.
    why_id, why_target : str
    """

    ids: tuple[str, ...]
    id_in_test: str | None
    targets: tuple[str, ...]
    sample_columns: tuple[str, ...]
    by_class: bool
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
    NotPlainError
        When no id or no target can be determined.
    """
    if ids:
        in_test, why_id = None, "said by the platform"
    elif roles.sample is None:
        ids, in_test, why_id = _ids_without_sample(roles)
    else:
        ids, in_test, why_id = _ids(roles.sample, roles.test)
    sample_columns = tuple(c for c in roles.sample.columns if c not in ids) if roles.sample else ()
    if targets:
        by_class = len(targets) == 1 and len(sample_columns) > 1
        return Answer(ids, in_test, targets, sample_columns, by_class, why_id, "said by the platform")
    target_columns, by_class, why = _targets(roles, ids, in_test, sample_columns)
    return Answer(ids, in_test, target_columns, sample_columns, by_class, why_id, why)


# --------------------------------------------------------------------------------------------------------------- ids


def _ids(sample: DataTable, test: DataTable) -> tuple[tuple[str, ...], str | None, str]:
    """Find the sample's ids in test; return the ids, `id_in_test` and the reason.

    Tried in this order: equal names, similar names, equal values, row numbers, values joined from several columns.
    """
    shared = tuple(c for c in sample.columns if test.has(c) and not test.is_empty(c))
    if shared and len(shared) < len(sample.columns):
        return shared, None, f"the columns of {sample.name} that {test.name} has"
    first = sample.columns[0]
    similar = [c for c in test.columns if normal(c) == normal(first) and not test.is_empty(c)]
    if len(similar) == 1:
        return (first,), similar[0], f"{test.name} spells it {similar[0]!r}"
    if len(sample.columns) == 1:
        raise NotPlainError(f"{sample.name} has one column only, {first!r}")
    ids = as_written(sample.select([first]), sample.info.spelled)[first].cast(pl.String)
    candidates = {c: t for c, t in _texts(test).items() if ids[0] in t} if ids.null_count() == 0 else {}
    for column, texts in candidates.items():
        if texts.len() == ids.len() and texts.n_unique() == texts.len() and set(texts) == set(ids):
            return (first,), column, f"{column!r} of {test.name} has the values that {first!r} of {sample.name} has"
    row = _row_number_template(ids, test.rows)
    if row is not None:
        return (first,), row, f"{first!r} of {sample.name} counts the rows of {test.name}"
    template = _column_template(ids, _texts(test))
    if template is not None:
        return (first,), template, f"{first!r} of {sample.name} is made of columns of {test.name}"
    raise NotPlainError(
        f"no id found: {sample.name} has the columns {', '.join(sample.columns[:8])}, {test.name} has "
        f"{', '.join(test.columns[:8])}, and no values in common"
    )


def _texts(test: DataTable) -> dict[str, pl.Series]:
    """Return the columns of test that can be part of an id, as their file writes them."""
    names = [
        c for c in test.columns if test.dtype(c).startswith(("Int", "UInt", "String", "Date")) and test.nulls[c] == 0
    ]
    frame = as_written(test.select(names), test.info.spelled) if names else pl.DataFrame()
    return {c: frame[c].cast(pl.String) for c in frame.columns}


def _row_number_template(ids: pl.Series, n_rows: int) -> str | None:
    """Return ``{row}`` or ``{row+N}`` where the ids number the rows, else None."""
    numbers = ids.cast(pl.Int64, strict=False)
    if ids.len() != n_rows or numbers.null_count():
        return None
    first = int(numbers[0])
    if first < 0 or not numbers.equals(pl.Series(range(first, first + n_rows), dtype=pl.Int64)):
        return None
    return f"{{row+{first}}}" if first else "{row}"


def _column_template(ids: pl.Series, texts_by_column: dict[str, pl.Series]) -> str | None:
    """Find the columns that are joined into the ids: "1_1_2012-11-02" is "{Store}_{Dept}_{Date}"."""
    distinct_ids = set(ids)
    for separator in SEPARATORS:
        pieces = ids.str.split(separator)
        lengths = pieces.list.len()
        n_pieces = int(lengths[0])
        if not 2 <= n_pieces <= 6 or lengths.n_unique() != 1:
            continue
        # For each piece the columns that have all of its values, as "{column}", else its only value as a literal.
        options_by_piece: list[list[str]] = []
        for i in range(n_pieces):
            values = set(pieces.list.get(i))
            matching = [f"{{{c}}}" for c, texts in texts_by_column.items() if values <= set(texts)]
            options_by_piece.append(matching or ([next(iter(values))] if len(values) == 1 else []))
        combinations = itertools.product(*options_by_piece)
        for combination in itertools.islice(combinations, MAX_TEMPLATES):
            columns = [option[1:-1] for option in combination if option.startswith("{")]
            if not columns or len(set(columns)) < len(columns):
                continue
            parts = [pl.col(o[1:-1]) if o.startswith("{") else pl.lit(o) for o in combination]
            frame = pl.DataFrame({c: texts_by_column[c] for c in columns})
            if set(frame.select(pl.concat_str(parts, separator=separator)).to_series()) == distinct_ids:
                return separator.join(combination)
    return None


def _ids_without_sample(roles: Roles) -> tuple[tuple[str, ...], str | None, str]:
    test = roles.test
    likely = [c for c in test.columns if _sounds_like_id(c)] + [c for c in test.columns[:1] if not _sounds_like_id(c)]
    for column in likely:
        if not test.dtype(column).startswith("Float") and test.is_key(column):
            return (column,), None, f"there is no sample submission; every row of {test.name} has its own {column!r}"
    return ("id",), "{row}", f"there is no sample submission and no id in {test.name}: its rows are counted"


def _sounds_like_id(name: str) -> bool:
    return bool(re.search(r"(^|_|\b)(id|index|key|uuid|guid)($|_|\b)|Id$|ID$", name)) or name.strip() == ""


# ----------------------------------------------------------------------------------------------------------- targets


def _targets(
    roles: Roles, ids: tuple[str, ...], id_in_test: str | None, sample_columns: tuple[str, ...]
) -> tuple[tuple[str, ...], bool, str]:
    """Return the target columns, whether the submission has a column per class of the target, and the reason."""
    train, test, sample = roles.train, roles.test, roles.sample
    names = {normal(c) for c in sample_columns}
    target_by_column = match_targets(sample_columns, [c for c in train.columns if normal(c) in names])
    if sample_columns and target_by_column:
        targets = tuple(target_by_column[c] for c in sample_columns)
        return targets, False, f"what {sample.name if sample else ''} asks for"
    only_train = [c for c in train.columns if (not test.has(c) or test.is_empty(c)) and c not in (*ids, id_in_test)]
    # Train may have ids of its own: train_id where test has test_id.
    candidates = [c for c in only_train if not (_sounds_like_id(c) and train.is_key(c))]
    if sample is not None and len(sample_columns) > 1:
        for column in candidates:
            if match_classes(sample_columns, _labels(train, column, len(sample_columns))) is not None:
                return (column,), True, f"the columns of {sample.name} are its values"
        raise NotPlainError(
            f"no target found: {sample.name} asks for {', '.join(sample_columns[:8])}, and only {train.name} has "
            f"{', '.join(only_train[:8]) or 'no further column'}"
        )
    target, reason = _one_target(candidates, sample_columns)
    if target is None:
        raise NotPlainError(
            f"no target found: only {train.name} has {', '.join(only_train[:8]) or 'no further column'}, and none of "
            f"them is called {' or '.join(sample_columns) or 'target'}"
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
    """Return the only likely target and the beginning of the reason, or None and an empty string."""
    if len(candidates) == 1:
        return candidates[0], "the column that"
    similar = [
        c
        for c in candidates
        for s in sample_columns
        if normal(s) and (normal(s) in normal(c) or normal(c) in normal(s))
    ]
    if len(similar) == 1:
        return similar[0], "by its name, of the columns that"
    conventional = [c for c in candidates if normal(c) in TARGET_NAMES]
    if len(conventional) == 1:
        return conventional[0], "by its name, of the columns that"
    return None, ""
