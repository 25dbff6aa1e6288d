"""Recipes for groups of rows: statistics, frequencies, the position of a row in its group, pivots."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import polars as pl

from workbench.data.competition import ROW
from workbench.features.recipes.arguments import Call, Columns, Naming, float_type, join_to_rows, normalized

__all__ = ["STATISTICS", "counts", "frequencies", "group_position", "group_stats", "top_pivot"]

STATISTICS = ("count", "nulls", "nunique", "sum", "mean", "std", "skew", "min", "max", "median", "first", "last")
"""The statistics of `group_stats`, besides quantiles: "q25" is the lower quartile, "q2.5" the 2.5th percentile."""

QUANTILE = re.compile(r"q(\d{1,2}(?:\.\d+)?|100)")
ANY_TYPE_STATISTICS = ("count", "nulls", "nunique", "first", "last")
ORDERED_STATISTICS = ("min", "max")
POSITIONS = ("difference", "ratio", "zscore", "share", "rank", "percentile")
PIVOTS = ("count", "share", "mean")


def group_stats(
    rows: pl.LazyFrame,
    by: Columns,
    *,
    columns: Columns,
    stats: Columns = ("mean", "std", "min", "max"),
    order_by: Columns | None = None,
    **naming: Unpack[Naming],
) -> pl.LazyFrame:
    """Return statistics of columns over the rows of the same group: ``price_mean_by_store``.

    The groups are aggregated and joined by key, which streams: memory is needed for the groups, not the rows.

    Parameters
    ----------
    rows : LazyFrame
    by : str or list of str
        The keys of the group. A null key is a group like any other.
    columns : str or list of str
    stats : str or list of str
        Any of `STATISTICS`, or quantiles such as "q25" (linear interpolation).
    order_by : str or list of str, optional
        The time, required for "first" and "last": the first and last value that is not missing, in the order of time
        and row key. Rows without a time are ignored.
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row. Null and NaN are missing and ignored; "count" is the number of other values, "nulls" that of
        missing ones. In a group without values "sum" is 0, and other statistics are null. "std" (ddof 1) of one value
        is null, as is "skew" of one value or of equal ones. Counts have 32 bits, other statistics those of the column,
        but at least 32. Sums of floats may differ in the last digit with the order of the rows.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, group_stats
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "store": ["a", "b", "a"], "price": [1, 5, 3]})
    >>> group_stats(rows, "store", columns="price", stats=["mean", "count"]).sort(ROW).collect().rows()
    [(0, 2.0, 2), (1, 5.0, 1), (2, 2.0, 2)]
    >>> group_stats(rows, "store", columns="price", suffix="_in_store").collect_schema().names()[1:3]
    ['price_mean_in_store', 'price_std_in_store']
    """
    call = Call.of("group_stats", rows, naming)
    keys, names = call.columns(by, name="by"), call.columns(columns)
    quantiles = [s for s in ([stats] if isinstance(stats, str) else stats) if QUANTILE.fullmatch(s)]
    stat_names = call.chosen(stats, [*STATISTICS, *quantiles], name="stats")
    order = [] if order_by is None else call.order(order_by)
    if {"first", "last"} & set(stat_names) and not order:
        raise call.error('"first" and "last" need an order', 'say which: order_by="…"')
    for stat in stat_names:
        for column in names:
            _check_type(call, stat, column)
    times = [normalized(c, call.schema[c]).alias(f"__order{i}__") for i, c in enumerate(order)]
    values = [normalized(c, call.schema[c]).alias(f"__value_{c}__") for c in names]
    frame, group = call.keyed(keys, *values, *times)
    statistics = [
        _statistic(stat, f"__value_{c}__", call.schema[c], len(order)).alias(call.name(c, stat, by=keys))
        for c in names
        for stat in stat_names
    ]
    return join_to_rows(frame, group, frame.group_by(group).agg(statistics))


def _check_type(call: Call, stat: str, column: str) -> None:
    dtype = call.schema[column]
    if stat in ORDERED_STATISTICS and (dtype.is_temporal() or dtype == pl.String):
        return
    if stat not in ANY_TYPE_STATISTICS:
        call.check_number(column, f'"{stat}"')


def _statistic(stat: str, name: str, dtype: pl.DataType, n_order: int) -> pl.Expr:
    value = pl.col(name)
    quantile = QUANTILE.fullmatch(stat)
    if quantile:
        return value.quantile(float(quantile[1]) / 100, "linear").cast(float_type(dtype))
    if stat in ("first", "last"):
        order = [f"__order{i}__" for i in range(n_order)]
        has_value = value.is_not_null() & pl.all_horizontal(pl.col(o).is_not_null() for o in order)
        ordered = value.filter(has_value).sort_by(
            *[pl.col(o).filter(has_value) for o in order], pl.col(ROW).filter(has_value)
        )
        return ordered.first() if stat == "first" else ordered.last()
    expressions: dict[str, Callable[[], pl.Expr]] = {
        "count": lambda: value.count().cast(pl.UInt32),
        "nulls": lambda: value.null_count().cast(pl.UInt32),
        "nunique": lambda: value.drop_nulls().n_unique().cast(pl.UInt32),
        "sum": lambda: _sum(value, dtype),
        "mean": lambda: value.cast(pl.Float64).mean().cast(float_type(dtype)),
        "std": lambda: value.cast(pl.Float64).std().cast(float_type(dtype)),
        "skew": lambda: value.cast(pl.Float64).skew().fill_nan(None).cast(pl.Float32),
        "min": value.min,
        "max": value.max,
        "median": lambda: value.median().cast(float_type(dtype)),
    }
    return expressions[stat]()


def _sum(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    # polars sums Int32 in 32 bits, which overflows silently.
    if dtype.is_integer() or dtype == pl.Boolean:
        return value.cast(pl.Int64).sum() if dtype not in (pl.UInt64, pl.Int128) else value.sum()
    return value.cast(pl.Float64).sum().cast(float_type(dtype))


def counts(rows: pl.LazyFrame, by: Columns, *, kinds: Columns = "count", **naming: Unpack[Naming]) -> pl.LazyFrame:
    """Return the size of a group, and its share of all rows: ``count_by_store``, ``share_by_store``.

    Parameters
    ----------
    rows : LazyFrame
    by : str or list of str
        The keys of the group. A null key is a group like any other.
    kinds : str or list of str
        "count" (32 bits), "share" (of `rows`, or of its part if the feature is partitioned).
    **naming
        `prefix`, `suffix`.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, counts
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2, 3], "store": ["a", "b", "a", None]})
    >>> counts(rows, "store", kinds=["count", "share"]).sort(ROW).collect().rows()
    [(0, 2, 0.5), (1, 1, 0.25), (2, 2, 0.5), (3, 1, 0.25)]
    """
    call = Call.of("counts", rows, naming)
    keys = call.columns(by, name="by")
    kind_names = call.chosen(kinds, ("count", "share"), name="kinds")
    frame, group = call.keyed(keys)
    expressions = {"count": pl.col("n").cast(pl.UInt32), "share": (pl.col("n") / pl.col("n").sum()).cast(pl.Float32)}
    sizes = frame.group_by(group).agg(n=pl.len())
    table = sizes.select(*group, *[expressions[kind].alias(call.name(kind, by=keys)) for kind in kind_names])
    return join_to_rows(frame, group, table)


def frequencies(
    rows: pl.LazyFrame, columns: Columns, *, kinds: Columns = "count", **naming: Unpack[Naming]
) -> pl.LazyFrame:
    """Return the frequency of each column's value (frequency encoding): ``town_count``, ``town_share``.

    Parameters
    ----------
    rows : LazyFrame
    columns : str or list of str
    kinds : str or list of str
        "count" (32 bits), "share" (of `rows`).
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row; null counts as a value.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, frequencies
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "town": ["x", "y", "x"], "kind": [1, 1, 1]})
    >>> frequencies(rows, ["town", "kind"]).sort(ROW).collect().rows()
    [(0, 2, 3), (1, 1, 3), (2, 2, 3)]
    """
    call = Call.of("frequencies", rows, naming)
    kind_names = call.chosen(kinds, ("count", "share"), name="kinds")
    names = call.columns(columns)
    frame, keys = call.keyed(names)
    for column, key in zip(names, keys, strict=True):
        sizes = frame.group_by(key).agg(n=pl.len())
        expressions = {
            "count": pl.col("n").cast(pl.UInt32),
            "share": (pl.col("n") / pl.col("n").sum()).cast(pl.Float32),
        }
        table = sizes.select(key, *[expressions[kind].alias(call.name(column, kind)) for kind in kind_names])
        frame = frame.join(table, on=key, how="left", nulls_equal=True)
    return frame.drop(keys)


# ------------------------------------------------------------------------------------------- a row within its group


def group_position(
    rows: pl.LazyFrame,
    by: Columns,
    *,
    columns: Columns,
    kinds: Columns = ("difference", "ratio"),
    **naming: Unpack[Naming],
) -> pl.LazyFrame:
    """Return a row's value relative to those of its group: ``price_difference_by_store``.

    Parameters
    ----------
    rows : LazyFrame
    by : str or list of str
        The keys of the group. A null key is a group like any other.
    columns : str or list of str
        Numbers.
    kinds : str or list of str
        "difference" (value - mean), "ratio" (value / mean), "zscore" ((value - mean) / std), "share" (value / sum),
        "rank" (1 for the smallest; equal values share the lowest rank), "percentile" ((rank - 0.5) / number of values,
        with the mean rank of equal values; 0.5 for a single value).
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row, in 32 bits; differences in the type of the column's mean. Null and NaN are missing: they are
        ignored and their result is null, as are divisions by zero. polars can't stream ranks within groups: for many
        rows use ``@feature(partition_by=…)``.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, group_position
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "store": ["a", "b", "a"], "price": [1.0, 5.0, 3.0]})
    >>> group_position(rows, "store", columns="price", kinds=["difference", "share", "rank"]).sort(ROW).collect().rows()
    [(0, -1.0, 0.25, 1), (1, 0.0, 1.0, 1), (2, 1.0, 0.75, 2)]
    """
    call = Call.of("group_position", rows, naming)
    keys, names = call.columns(by, name="by"), call.numbers(columns)
    kind_names = call.chosen(kinds, POSITIONS, name="kinds")
    frame, group = call.keyed(keys, *[normalized(c, call.schema[c]).alias(f"__value_{c}__") for c in names])
    if set(kind_names) - {"rank", "percentile"}:
        table = frame.group_by(group).agg(e for c in names for e in _moments(c))
        frame = frame.join(table, on=group, how="left", nulls_equal=True)
    positions = [
        _position(kind, c, call.schema[c], group).alias(call.name(c, kind, by=keys))
        for c in names
        for kind in kind_names
    ]
    return frame.select(ROW, *positions)


def _moments(column: str) -> list[pl.Expr]:
    value = pl.col(f"__value_{column}__").cast(pl.Float64)
    moments = {"mean": value.mean(), "std": value.std(), "sum": value.sum()}
    return [e.alias(f"__{name}_{column}__") for name, e in moments.items()]


def _position(kind: str, column: str, dtype: pl.DataType, group: list[str]) -> pl.Expr:
    value = pl.col(f"__value_{column}__")
    if kind == "rank":
        return value.rank("min").over(group).cast(pl.UInt32)
    if kind == "percentile":
        return ((value.rank("average") - 0.5) / value.count()).over(group).cast(pl.Float32)
    number = value.cast(pl.Float64)
    mean, std, total = (pl.col(f"__{name}_{column}__") for name in ("mean", "std", "sum"))
    if kind == "difference":
        return (number - mean).cast(float_type(dtype))
    numerator, denominator = {
        "ratio": (number, mean),
        "zscore": (number - mean, std),
        "share": (number, total),
    }[kind]
    return pl.when(denominator != 0).then(numerator / denominator).cast(pl.Float32)


# ------------------------------------------------------------------------------------------------------------ pivots


def top_pivot(
    rows: pl.LazyFrame,
    by: Columns,
    *,
    column: str,
    values: int | Sequence[Any] = 5,
    kind: str = "count",
    of: str | None = None,
    **naming: Unpack[Naming],
) -> pl.LazyFrame:
    """Return a column for each of the most frequent values of another: ``type_click_count_by_session``.

    Parameters
    ----------
    rows : LazyFrame
    by : str or list of str
        The keys of the group. A null key is a group like any other.
    column : str
        The column whose values become columns.
    values : int or list
        The number of most frequent values in `rows` (of equally frequent ones the smaller; null is ignored), or a list
        of values. With ``@feature(partition_by=…)`` give a list, as the parts would choose different values.
    kind : str
        "count" of the group's rows with the value (32 bits), their "share" of the group's rows, or the "mean" of the
        column `of` over them (null if there are none).
    of : str, optional
        The numeric column for "mean"; null and NaN are ignored.
    **naming
        `prefix`, `suffix`.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, top_pivot
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "session": [7, 7, 8], "type": ["click", "buy", "click"]})
    >>> top_pivot(rows, "session", column="type", values=2).sort(ROW).collect().to_dicts()[2]
    {'__row__': 2, 'type_click_count_by_session': 1, 'type_buy_count_by_session': 0}
    """
    call = Call.of("top_pivot", rows, naming)
    keys, name = call.columns(by, name="by"), call.columns(column, name="column")[0]
    call.chosen(kind, PIVOTS, name="kind")
    if (kind == "mean") != (of is not None):
        raise call.error(f"kind={kind!r} with of={of!r}", 'write kind="mean", of="COLUMN", or leave out `of`')
    mean_values = (
        [normalized(c, call.schema[c]).alias("__of__") for c in call.numbers(of or [], name="of")] if of else []
    )
    frame, group = call.keyed(keys, normalized(name, call.schema[name]).alias("__value__"), *mean_values)
    pivot_values = _most_frequent(call, frame, values) if isinstance(values, int) else list(values)
    if not pivot_values or None in pivot_values:
        raise call.error(f"values={values!r}: there is no value to make a column of", "list values that occur")
    mean_type = float_type(call.schema[of]) if of else pl.Float32()
    pivoted = {call.name(name, str(value), kind, by=keys): _pivoted(kind, value, mean_type) for value in pivot_values}
    if len(pivoted) < len(pivot_values):
        raise call.error(f"two of the values {pivot_values} would give the same name", "list each value once")
    table = frame.group_by(group).agg(e.alias(n) for n, e in pivoted.items())
    return join_to_rows(frame, group, table)


def _most_frequent(call: Call, frame: pl.LazyFrame, n: int) -> list[Any]:
    call.at_least(n, 1, name="values")
    sizes = frame.drop_nulls("__value__").group_by("__value__").agg(n=pl.len())
    return sizes.sort(["n", "__value__"], descending=[True, False]).head(n).collect()["__value__"].to_list()


def _pivoted(kind: str, value: Any, mean_type: pl.DataType) -> pl.Expr:
    has_value = (pl.col("__value__") == pl.lit(value)).fill_null(value=False)
    if kind == "count":
        return has_value.sum().cast(pl.UInt32)
    if kind == "share":
        return has_value.mean().cast(pl.Float32)
    return pl.col("__of__").filter(has_value).cast(pl.Float64).mean().cast(mean_type)
