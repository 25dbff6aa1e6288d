"""The columns of the tables that a run does not use, with the reasons, so that none is left out silently."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import polars as pl

from workbench.data.competition import ROW, Competition
from workbench.features.column_batches import count_values

__all__ = ["IS_ID", "excluded_column_lines", "unshared_columns", "unused_by_auto"]

MAX_SHOWN = 8
"""The number of columns to list per line."""

IS_ID = "the id, which only tells rows apart"


def unused_by_auto(
    rows: pl.LazyFrame, auto_columns: Collection[str], *, ids: Collection[str], n_train: int
) -> dict[str, str]:
    """Return column -> reason for the columns of the rows that ``auto`` does not use.

    Parameters
    ----------
    rows : LazyFrame
        As returned by `Competition.rows`.
    auto_columns : collection of str
        The columns of ``auto``.
    ids : collection of str
        Key columns.
    n_train : int
        The number of train rows, which come first.
    """
    schema = rows.collect_schema()
    columns = dict.fromkeys(c for c in schema if c != ROW)
    ids = frozenset(ids)
    used = {_source_column(name, columns) for name in auto_columns}
    unused = [c for c in columns if c not in used]
    reasons = {c: IS_ID for c in unused if c in ids}
    not_ids = [c for c in unused if c not in ids]
    unsupported = {c: None for c in not_ids if schema[c].is_nested() or schema[c] in (pl.Binary, pl.Object)}
    reasons |= {c: f"{schema[c].base_type()}, neither a number nor a text" for c in unsupported}
    other_columns = [c for c in not_ids if c not in unsupported]
    return reasons | (_plain_reasons(rows, other_columns, n_train) if other_columns else {})


def _source_column(name: str, columns: Collection[str]) -> str | None:
    """Return the source column of a column of auto: "date" for "date_month"."""
    source: str | None = name
    while source is not None and source not in columns:
        source = source[: source.rindex("_")] if "_" in source else None
    return source


def _plain_reasons(rows: pl.LazyFrame, columns: Sequence[str], n_train: int) -> dict[str, str]:
    in_train = pl.col(ROW) < n_train
    expressions: list[pl.Expr] = []
    for i, name in enumerate(columns):
        values = pl.col(name)
        expressions += [
            values.filter(in_train).count().alias(f"{i}train"),
            values.filter(~in_train).count().alias(f"{i}test"),
        ]
    statistics = rows.select(expressions).collect(engine="streaming").row(0, named=True)
    n_values = count_values(rows, columns)
    return {c: _reason(statistics[f"{i}train"], statistics[f"{i}test"], n_values[c]) for i, c in enumerate(columns)}


def _reason(n_train_values: int, n_test_values: int, n_distinct: int) -> str:
    if not n_train_values or not n_test_values:
        return "empty in " + " and ".join(["train"] * (not n_train_values) + ["test"] * (not n_test_values))
    if n_distinct == 1:
        return "one value throughout"
    return "texts that hardly repeat and have no form in common"


def unshared_columns(competition: Competition) -> dict[str, str]:
    """Return column -> reason for columns of only train or only test, except targets, ids and the like."""
    definition = competition.definition
    tables = competition.manifest.tables
    train, test = tables[definition.tables.train].dtypes, tables[definition.tables.test].dtypes
    template = competition.ids.template
    roles = {
        *definition.targets,
        *definition.id_columns,
        *competition.weights.columns,
        definition.query,
        *(template.columns if template else ()),
    }
    unlike = {c: why for c, why in competition.rows.unlike_columns.items() if c not in roles}
    return (
        unlike
        | {c: f"{definition.tables.test} lacks it" for c in train if c not in test and c not in roles}
        | {c: f"{definition.tables.train} lacks it" for c in test if c not in train and c not in roles}
    )


def excluded_column_lines(reasons: Mapping[str, str]) -> list[str]:
    """Return a line of text for each reason, with the columns that are left out for it.

    Examples
    --------
    >>> excluded_column_lines({"a": "one value throughout", "b": "test lacks it", "c": "one value throughout"})
    ['left out: a, c (one value throughout)', 'left out: b (test lacks it)']
    """
    columns_by_reason: dict[str, list[str]] = {}
    for column, reason in reasons.items():
        columns_by_reason.setdefault(reason, []).append(column)
    return [f"left out: {_names(columns)} ({reason})" for reason, columns in columns_by_reason.items()]


def _names(columns: Iterable[str]) -> str:
    names = list(columns)
    suffix = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return ", ".join(names[:MAX_SHOWN]) + suffix
