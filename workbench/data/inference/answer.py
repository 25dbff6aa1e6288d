"""The ids and the targets, from what train, test and the sample have of each other."""

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
TARGET_NAMES = ("target", "label", "labels", "class", "y", "response", "outcome", "prediction", "score", "value")
MAX_CLASSES = 1000
MAX_TEMPLATES = 64


@dataclass(frozen=True)
class Answer:
    """The ids and targets, each with the reason.

    `sample_columns` are the sample's columns beside the ids; `by_class` whether they are the values of one target.
    """

    ids: tuple[str, ...]
    id_in_test: str | None
    targets: tuple[str, ...]
    sample_columns: tuple[str, ...]
    by_class: bool
    why_id: str
    why_target: str


def find_answer(roles: Roles, ids: tuple[str, ...] = (), targets: tuple[str, ...] = ()) -> Answer:
    """Find ids and targets; what the platform says of them comes first.

    Raises
    ------
    NotPlainError
        When one of them is not to be found.
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
    """Find the sample's ids in test: by name, by another spelling, by value, in pieces, or as the number of the row."""
    same = tuple(c for c in sample.columns if test.has(c) and not test.is_empty(c))
    if same and len(same) < len(sample.columns):
        return same, None, f"the columns of {sample.name} that {test.name} has"
    first = sample.columns[0]
    alike = [c for c in test.columns if normal(c) == normal(first) and not test.is_empty(c)]
    if len(alike) == 1:
        return (first,), alike[0], f"{test.name} spells it {alike[0]!r}"
    if len(sample.columns) == 1:
        raise NotPlainError(f"{sample.name} has one column only, {first!r}")
    wanted = as_written(sample.select([first]), sample.info.spelled)[first].cast(pl.String)
    have = {c: t for c, t in _texts(test).items() if wanted[0] in t} if wanted.null_count() == 0 else {}
    for column, texts in have.items():
        if texts.len() == wanted.len() and texts.n_unique() == texts.len() and set(texts) == set(wanted):
            return (first,), column, f"{column!r} of {test.name} has the values that {first!r} of {sample.name} has"
    row = _row_number(wanted, test.rows)
    if row is not None:
        return (first,), row, f"{first!r} of {sample.name} counts the rows of {test.name}"
    template = _template(wanted, _texts(test))
    if template is not None:
        return (first,), template, f"{first!r} of {sample.name} is made of columns of {test.name}"
    raise NotPlainError(
        f"no id found: {sample.name} has the columns {', '.join(sample.columns[:8])}, {test.name} has "
        f"{', '.join(test.columns[:8])}, and no values in common"
    )


def _texts(test: DataTable) -> dict[str, pl.Series]:
    """Return the columns that can be part of an id, as their file writes them."""
    plain = [
        c for c in test.columns if test.dtype(c).startswith(("Int", "UInt", "String", "Date")) and test.nulls[c] == 0
    ]
    frame = as_written(test.select(plain), test.info.spelled) if plain else pl.DataFrame()
    return {c: frame[c].cast(pl.String) for c in frame.columns}


def _row_number(wanted: pl.Series, rows: int) -> str | None:
    numbers = wanted.cast(pl.Int64, strict=False)
    if wanted.len() != rows or numbers.null_count():
        return None
    first = int(numbers[0])
    if first < 0 or not numbers.equals(pl.Series(range(first, first + rows), dtype=pl.Int64)):
        return None
    return f"{{row+{first}}}" if first else "{row}"


def _template(wanted: pl.Series, columns: dict[str, pl.Series]) -> str | None:
    """Find the columns that the ids are glued from: "1_1_2012-11-02" is "{Store}_{Dept}_{Date}"."""
    all_wanted = set(wanted)
    for separator in SEPARATORS:
        pieces = wanted.str.split(separator)
        lengths = pieces.list.len()
        n = int(lengths[0])
        if not 2 <= n <= 6 or lengths.n_unique() != 1:
            continue
        fitting: list[list[str]] = []
        for i in range(n):
            values = set(pieces.list.get(i))
            fits = [f"{{{c}}}" for c, texts in columns.items() if values <= set(texts)]
            fitting.append(fits or ([next(iter(values))] if len(values) == 1 else []))
        choices = itertools.product(*fitting)
        for choice in itertools.islice(choices, MAX_TEMPLATES):
            named = [c[1:-1] for c in choice if c.startswith("{")]
            if not named or len(set(named)) < len(named):
                continue
            glued = pl.DataFrame({c: columns[c] for c in named}).select(
                pl.concat_str(
                    [pl.col(c[1:-1]) if c.startswith("{") else pl.lit(c) for c in choice], separator=separator
                )
            )
            if set(glued.to_series()) == all_wanted:
                return separator.join(choice)
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
    train, test, sample = roles.train, roles.test, roles.sample
    names = {normal(a) for a in sample_columns}
    matched = match_targets(sample_columns, [c for c in train.columns if normal(c) in names])
    if sample_columns and matched:
        return tuple(matched[a] for a in sample_columns), False, f"what {sample.name if sample else ''} asks for"
    only_train = [c for c in train.columns if (not test.has(c) or test.is_empty(c)) and c not in (*ids, id_in_test)]
    # Train may count its rows too: train_id beside test_id.
    candidates = [c for c in only_train if not (_sounds_like_id(c) and train.is_key(c))]
    if sample is not None and len(sample_columns) > 1:
        for column in candidates:
            if match_classes(sample_columns, _labels(train, column, len(sample_columns))) is not None:
                return (column,), True, f"the columns of {sample.name} are its values"
        raise NotPlainError(
            f"no target found: {sample.name} asks for {', '.join(sample_columns[:8])}, and only {train.name} has "
            f"{', '.join(only_train[:8]) or 'no further column'}"
        )
    chosen, why = _one_target(candidates, sample_columns)
    if chosen is None:
        raise NotPlainError(
            f"no target found: only {train.name} has {', '.join(only_train[:8]) or 'no further column'}, and none of "
            f"them is called {' or '.join(sample_columns) or 'target'}"
        )
    return (chosen,), False, f"{why} {train.name} has and {test.name} lacks"


def _labels(train: DataTable, column: str, n: int) -> list[str]:
    """Return the values of a column as text where there are exactly n of them, else none."""
    if n > MAX_CLASSES or train.unique(column) != n:
        return []
    values = train.select([column]).drop_nulls().unique().sort(column)
    if values[column].dtype.is_float() and not (values[column] == values[column].floor()).all():
        return []
    return [str(v) for v in as_written(values, train.info.spelled)[column]]


def _one_target(candidates: Sequence[str], sample_columns: Sequence[str]) -> tuple[str | None, str]:
    if len(candidates) == 1:
        return candidates[0], "the column that"
    alike = [
        c
        for c in candidates
        for a in sample_columns
        if normal(a) and (normal(a) in normal(c) or normal(c) in normal(a))
    ]
    if len(alike) == 1:
        return alike[0], "by its name, of the columns that"
    usual = [c for c in candidates if normal(c) in TARGET_NAMES]
    if len(usual) == 1:
        return usual[0], "by its name, of the columns that"
    return None, ""
