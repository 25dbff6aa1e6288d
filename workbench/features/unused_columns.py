"""Which columns of the tables a run does not use, and why: none is left out without a word."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import polars as pl

from workbench.data.competition import ROW, Competition
from workbench.features.narrow import count_values

__all__ = ["IS_ID", "left_out_by_auto", "never_shared", "shown_left_out"]

SHOWN = 8
"""Names of columns in a line."""

IS_ID = "the id, which only tells rows apart"


def left_out_by_auto(
    rows: pl.LazyFrame, auto_columns: Collection[str], *, ids: Collection[str], n_train: int
) -> dict[str, str]:
    """Return the columns of the rows of which ``auto`` made nothing, each with the reason.

    Parameters
    ----------
    rows : LazyFrame
        As `Competition.rows` gives it.
    auto_columns : collection of str
        The columns of ``auto``.
    ids : collection of str
        Columns that only tell rows apart.
    n_train : int
        The rows before it are the train rows.
    """
    schema = rows.collect_schema()
    columns = dict.fromkeys(c for c in schema if c != ROW)
    ids = frozenset(ids)
    used = {_source(name, columns) for name in auto_columns}
    unused = [c for c in columns if c not in used]
    reasons = {c: IS_ID for c in unused if c in ids}
    not_ids = [c for c in unused if c not in ids]
    odd = {c: None for c in not_ids if schema[c].is_nested() or schema[c] in (pl.Binary, pl.Object)}
    reasons |= {c: f"{schema[c].base_type()}, neither a number nor a text" for c in odd}
    plain = [c for c in not_ids if c not in odd]
    return reasons | (_reasons_of(rows, plain, n_train) if plain else {})


def _source(name: str, columns: Collection[str]) -> str | None:
    """Return the column that one of auto's is made of: "date_month" is of "date"."""
    source: str | None = name
    while source is not None and source not in columns:
        source = source[: source.rindex("_")] if "_" in source else None
    return source


def _reasons_of(rows: pl.LazyFrame, columns: Sequence[str], n_train: int) -> dict[str, str]:
    in_train = pl.col(ROW) < n_train
    expressions: list[pl.Expr] = []
    for i, name in enumerate(columns):
        values = pl.col(name)
        expressions += [
            values.filter(in_train).count().alias(f"{i}train"),
            values.filter(~in_train).count().alias(f"{i}test"),
        ]
    statistics = rows.select(expressions).collect(engine="streaming").row(0, named=True)
    values_of = count_values(rows, columns)
    return {c: _reason(statistics[f"{i}train"], statistics[f"{i}test"], values_of[c]) for i, c in enumerate(columns)}


def _reason(in_train: int, in_test: int, values: int) -> str:
    if not in_train or not in_test:
        return "empty in " + " and ".join(["train"] * (not in_train) + ["test"] * (not in_test))
    if values == 1:
        return "one value throughout"
    return "texts that hardly repeat and have no form in common"


def never_shared(competition: Competition) -> dict[str, str]:
    """Return the columns that only train or only test has, targets and the like apart, each with the reason."""
    d = competition.definition
    tables = competition.manifest.tables
    train, test = tables[d.tables.train].dtypes, tables[d.tables.test].dtypes
    template = competition.ids.template
    roles = {*d.targets, *d.id_columns, *competition.weights.columns, d.query, *(template.columns if template else ())}
    unlike = {c: why for c, why in competition.rows.unlike_columns.items() if c not in roles}
    return (
        unlike
        | {c: f"{d.tables.test} lacks it" for c in train if c not in test and c not in roles}
        | {c: f"{d.tables.train} lacks it" for c in test if c not in train and c not in roles}
    )


def shown_left_out(reasons: Mapping[str, str]) -> list[str]:
    """Return a line for each reason, with the columns that are left out for it.

    Examples
    --------
    >>> shown_left_out({"a": "one value throughout", "b": "test lacks it", "c": "one value throughout"})
    ['left out: a, c (one value throughout)', 'left out: b (test lacks it)']
    """
    by_reason: dict[str, list[str]] = {}
    for column, reason in reasons.items():
        by_reason.setdefault(reason, []).append(column)
    return [f"left out: {_names(columns)} ({reason})" for reason, columns in by_reason.items()]


def _names(columns: Iterable[str]) -> str:
    names = list(columns)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
