"""Recipes for categories: grouping rare ones, crossing columns, ordinal codes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Unpack

import polars as pl

from workbench.data.competition import ROW
from workbench.features.recipes.arguments import Call, Columns, Naming
from workbench.features.recipes.hashing import hashed_buckets

__all__ = ["crosses", "ordinal_codes", "rare_grouped"]

ORDERS = ("value", "frequency")


def rare_grouped(
    rows: pl.LazyFrame,
    columns: Columns,
    *,
    min_count: int = 1,
    top: int | None = None,
    counted_in: pl.LazyFrame | None = None,
    **naming: Unpack[Naming],
) -> pl.LazyFrame:
    """Return categories with rare ones replaced by "(rare)": ``town_grouped``.

    Parameters
    ----------
    rows : LazyFrame
    columns : str or list of str
    min_count : int
        Values that occur less often are rare.
    top : int, optional
        Values that are not among this many most frequent ones are rare (of equally frequent ones the smaller value
        counts as more frequent).
    counted_in : LazyFrame, optional
        The frame in which values are counted. By default `rows`, which is train and test; give the table `train` to
        count in train only. With ``@feature(partition_by=…)`` give a table, as each part would count separately.
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row, texts; null stays null.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, rare_grouped
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2, 3], "town": ["x", "y", "x", None]})
    >>> rare_grouped(rows, "town", min_count=2).sort(ROW).collect()["town_grouped"].to_list()
    ['x', '(rare)', 'x', None]
    """
    call = Call.of("rare_grouped", rows, naming)
    call.at_least(min_count, 1, name="min_count")
    if top is not None:
        call.at_least(top, 1, name="top")
    if min_count == 1 and top is None and counted_in is None:
        raise call.error("nothing would be rare", "give min_count=, top= or counted_in=")
    names = call.columns(columns)
    frame, keys = call.keyed(names)
    for column, key in zip(names, keys, strict=True):
        source = rows if counted_in is None else counted_in
        if column not in source.collect_schema():
            raise call.error(f"counted_in has no column {column!r}", "give a table that has it, as `train`")
        frequent = (
            source.select(pl.col(column).cast(call.schema[column]).alias(key))
            .drop_nulls()
            .group_by(key)
            .agg(n=pl.len())
        )
        frequent = frequent.filter(pl.col("n") >= min_count)
        if top is not None:
            frequent = frequent.sort(["n", key], descending=[True, False]).head(top)
        frame = frame.join(frequent.rename({"n": f"__n_{key}"}), on=key, how="left")
    expressions = [
        pl.when(pl.col(f"__n_{key}").is_not_null())
        .then(pl.col(key).cast(pl.String))
        .when(pl.col(key).is_not_null())
        .then(pl.lit("(rare)"))
        .alias(call.name(column, "grouped"))
        for column, key in zip(names, keys, strict=True)
    ]
    return frame.select(ROW, *expressions)


def crosses(
    rows: pl.LazyFrame,
    columns: Sequence[str],
    *,
    pairs: Sequence[tuple[str, ...]] | None = None,
    buckets: int | None = None,
    **naming: Unpack[Naming],
) -> list[pl.Expr]:
    r"""Return crossed categories as expressions over the rows: ``town_x_kind``.

    Parameters
    ----------
    rows : LazyFrame
    columns : list of str
        At least two, of which all pairs are crossed.
    pairs : list of tuples of str, optional
        The combinations to cross instead, of two or more columns each.
    buckets : int, optional
        None for texts such as "x|y", which are unique ("|" and "\" within a value are escaped, null is "\0"). A number
        for the hash of the text, from 0 to buckets - 1, which may collide. The hash is the same in every version of
        polars.
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    list of Expr
        Texts, or UInt32; null is a category like any other.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, crosses
    >>> rows = pl.LazyFrame({ROW: [0, 1], "town": ["x", None], "kind": [1, 2]})
    >>> rows.select(crosses(rows, ["town", "kind"])).collect()["town_x_kind"].to_list()
    ['x|1', '\\0|2']
    >>> rows.select(crosses(rows, ["town", "kind"], buckets=1000)).collect()["town_x_kind"].to_list()
    [79, 203]
    """
    call = Call.of("crosses", rows, naming)
    names = call.columns(columns)
    combinations_to_cross = list(combinations(names, 2)) if pairs is None else [tuple(p) for p in pairs]
    if buckets is not None:
        call.at_least(buckets, 2, name="buckets")
    expressions = []
    for pair in combinations_to_cross or [tuple(names)]:
        if len(call.columns(pair, name="pairs")) < 2:
            raise call.error(f"{pair} is not a pair", "give at least two columns")
        text = pl.concat_str([_escaped(c) for c in pair], separator="|")
        name = call.name("_x_".join(pair))
        expressions.append((text if buckets is None else hashed_buckets(text, buckets)).alias(name))
    return expressions


def _escaped(column: str) -> pl.Expr:
    text = pl.col(column).cast(pl.String)
    escaped = text.str.replace_all("\\", "\\\\", literal=True).str.replace_all("|", "\\|", literal=True)
    return escaped.fill_null("\\0")


def ordinal_codes(
    rows: pl.LazyFrame, columns: Columns, *, order: str = "value", **naming: Unpack[Naming]
) -> pl.LazyFrame:
    """Return categories as integers from 0: ``town_code``.

    Parameters
    ----------
    rows : LazyFrame
    columns : str or list of str
    order : str
        "value" for the order of the values; "frequency" for the most frequent first, of equally frequent ones the
        smaller value. With ``@feature(partition_by=…)`` each part would be numbered separately.
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row, Int32; null and NaN stay null.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, ordinal_codes
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2, 3], "town": ["y", "x", "y", None]})
    >>> ordinal_codes(rows, "town").sort(ROW).collect()["town_code"].to_list()
    [1, 0, 1, None]
    >>> ordinal_codes(rows, "town", order="frequency").sort(ROW).collect()["town_code"].to_list()
    [0, 1, 0, None]
    """
    call = Call.of("ordinal_codes", rows, naming)
    call.chosen(order, ORDERS, name="order")
    names = call.columns(columns)
    frame, keys = call.keyed(names)
    for column, key in zip(names, keys, strict=True):
        if call.schema[column].is_float():
            frame = frame.with_columns(pl.col(key).fill_nan(None))
        value = pl.col(key).cast(pl.String) if call.schema[column] in (pl.Categorical, pl.Enum) else pl.col(key)
        sizes = frame.drop_nulls(key).group_by(key).agg(n=pl.len())
        ordered = sizes.sort(value) if order == "value" else sizes.sort(-pl.col("n").cast(pl.Int64), value)
        code = pl.int_range(pl.len(), dtype=pl.Int32).alias(call.name(column, "code"))
        frame = frame.join(ordered.select(key, code), on=key, how="left")
    return frame.drop(keys)
