"""Recipes for time series: lags, differences, rolling and expanding statistics, and the time since an event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack

import polars as pl

from workbench.core.integers import is_integer
from workbench.features.recipes.arguments import (
    TIME_TYPES,
    Call,
    Columns,
    Naming,
    OrderedRows,
    duration_units,
    float_type,
    normalized,
    subtractable,
)

__all__ = ["differences", "expanding", "lags", "rolling", "since_last", "until_next"]

ROLLING = ("count", "sum", "mean", "std", "min", "max", "median")
EXPANDING = ("count", "sum", "mean", "min", "max")

Closed = Literal["left", "right", "both"]


def lags(
    rows: pl.LazyFrame,
    by: Columns | None,
    *,
    columns: Columns,
    order_by: Columns,
    n: int | Sequence[int] = 1,
    **naming: Unpack[Naming],
) -> pl.LazyFrame:
    """Return values of earlier or later rows of the group: ``price_lag1_by_store``.

    Parameters
    ----------
    rows : LazyFrame
    by : str, list of str, or None
        The keys of the group; a null key is a group like any other. None: all rows are one group.
    columns : str or list of str
        Of any type, which is preserved.
    order_by : str or list of str
        The time: times, dates or numbers, but not texts. Rows of equal time are ordered by their row key.
    n : int or list of int
        The number of rows back; -1 for the next row (``price_lead1_by_store``), which looks ahead.
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row; null if there is no such row or its value is null. Rows without a time get null and are
        skipped. Memory can be limited by ``@feature(partition_by=…)`` with a key of `by`.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, lags
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "store": ["a", "b", "a"], "day": [2, 1, 1], "price": [9, 8, 7]})
    >>> lags(rows, "store", columns="price", order_by="day", n=[1, -1]).sort(ROW).collect().rows()
    [(0, 7, None), (1, None, None), (2, None, 9)]
    """
    call = Call.of("lags", rows, naming)
    names, groups = call.columns(columns), _group_columns(call, by)
    ordered = call.ordered(by, order_by, *[pl.col(c).alias(f"__value_{c}__") for c in names])
    expressions = []
    for column in names:
        for step in _steps(call, n):
            word = f"lag{step}" if step > 0 else f"lead{-step}"
            expressions.append(
                ordered.shift(pl.col(f"__value_{column}__"), step).alias(call.name(column, word, by=groups))
            )
    return ordered.result(expressions)


def differences(
    rows: pl.LazyFrame,
    by: Columns | None,
    *,
    columns: Columns,
    order_by: Columns,
    n: int | Sequence[int] = 1,
    **naming: Unpack[Naming],
) -> pl.LazyFrame:
    """Return the difference to the value n rows earlier in the group: ``price_diff1_by_store``.

    Parameters
    ----------
    rows, by, columns, order_by, n
        As for `lags`. The columns are numbers, or times and dates, whose difference is in seconds. With n = -1 it is
        the difference to the next row, which looks ahead.
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row; null if there is no such row or one of the values is missing (null or NaN). Differences of
        integers are Int64, floats keep their type.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, differences
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "store": ["a", "b", "a"], "day": [2, 1, 1], "price": [9, 8, 7]})
    >>> differences(rows, "store", columns="price", order_by="day").sort(ROW).collect().rows()
    [(0, 2), (1, None), (2, None)]
    """
    call = Call.of("differences", rows, naming)
    names, groups = call.columns(columns), _group_columns(call, by)
    for column in names:
        if not isinstance(call.schema[column], TIME_TYPES):
            call.check_number(column, "a difference")
    ordered = call.ordered(by, order_by, *[subtractable(c, call.schema[c]).alias(f"__value_{c}__") for c in names])
    expressions = []
    for column in names:
        for step in _steps(call, n):
            value = pl.col(f"__value_{column}__")
            word = f"diff{step}" if step > 0 else f"diff_next{-step}"
            difference = _difference(value, ordered.shift(value, step), call.schema[column])
            expressions.append(difference.alias(call.name(column, word, by=groups)))
    return ordered.result(expressions)


def rolling(  # noqa: PLR0913 - public: features.py names each
    rows: pl.LazyFrame,
    by: Columns | None,
    *,
    columns: Columns,
    order_by: str,
    windows: int | str | Sequence[int | str],
    stats: Columns = "mean",
    closed: Closed = "left",
    **naming: Unpack[Naming],
) -> pl.LazyFrame:
    """Return statistics over a window that ends before the row: ``price_mean_7d_by_store``, ``price_mean_5_by_store``.

    Parameters
    ----------
    rows : LazyFrame
    by : str, list of str, or None
        The keys of the group; a null key is a group like any other. None: all rows are one group.
    columns : str or list of str
        Numbers.
    order_by : str
        The time: a time, a date or a number.
    windows : int, str, or list of them
        A number of rows (5), or a duration in polars' syntax ("7d", "1h30m"); if `order_by` is an integer, "7i" is
        seven units of it.
    stats : str or list of str
        Any of "count", "sum", "mean", "std", "min", "max", "median".
    closed : str
        "left": [t - window, t), without the row itself and others of the same time; or the n rows before, with rows of
        equal time ordered by their row key. "right": (t - window, t], or the row and the n - 1 before. "both":
        [t - window, t], or the row and the n before.
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row. Null and NaN are missing and ignored. In a window without values "count" and "sum" are 0, and
        other statistics are null; "std" (ddof 1) needs two values. All are null for a row without a time. Counts have
        32 bits, means those of the column, but at least 32. Memory can be limited by ``@feature(partition_by=…)`` with
        a key of `by`.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, rolling
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "day": [1, 2, 4], "price": [10.0, 20.0, 60.0]})
    >>> rolling(rows, None, columns="price", order_by="day", windows=[2, "2i"]).sort(ROW).collect().rows()
    [(0, None, None), (1, 10.0, 10.0), (2, 15.0, 20.0)]
    """
    call = Call.of("rolling", rows, naming)
    names, groups = call.numbers(columns), _group_columns(call, by)
    stat_names = call.chosen(stats, ROLLING, name="stats")
    call.chosen(closed, ("left", "right", "both"), name="closed")
    sizes = [_check_window(call, w, order_by) for w in ([windows] if isinstance(windows, int | str) else windows)]
    if not sizes:
        raise call.error("windows is empty", 'give at least one: windows="7d", or a number of rows')
    ordered = call.ordered(
        by, call.time(order_by), *[normalized(c, call.schema[c]).alias(f"__value_{c}__") for c in names]
    )
    ordered = _with_index(ordered, call.schema[order_by])
    expressions = []
    for column in names:
        for size in dict.fromkeys(sizes):
            for stat in stat_names:
                value = _rolling_statistic(
                    ordered, pl.col(f"__value_{column}__"), call.schema[column], stat, size, closed
                )
                expressions.append(value.alias(call.name(column, stat, str(size), by=groups)))
    return ordered.result(expressions)


def expanding(
    rows: pl.LazyFrame,
    by: Columns | None,
    *,
    columns: Columns,
    order_by: Columns,
    stats: Columns = ("count", "mean"),
    **naming: Unpack[Naming],
) -> pl.LazyFrame:
    """Return statistics over all earlier rows of the group, the row itself excluded: ``price_mean_before_by_store``.

    Parameters
    ----------
    rows : LazyFrame
    by : str, list of str, or None
        The keys of the group; a null key is a group like any other. None: all rows are one group.
    columns : str or list of str
        Numbers.
    order_by : str or list of str
        The time. Of rows of equal time those with the smaller row key are earlier.
    stats : str or list of str
        Any of "count", "sum", "mean", "min", "max".
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row. Null and NaN are missing and ignored. Before the first value "count" and "sum" are 0, and
        other statistics are null. All are null for a row without a time. Counts have 32 bits, means those of the
        column, but at least 32.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, expanding
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "store": ["a", "a", "a"], "day": [1, 3, 2], "price": [10.0, 20.0, 60.0]})
    >>> expanding(rows, "store", columns="price", order_by="day", stats=["count", "mean"]).sort(ROW).collect().rows()
    [(0, 0, None), (1, 2, 35.0), (2, 1, 10.0)]
    """
    call = Call.of("expanding", rows, naming)
    names, groups = call.numbers(columns), _group_columns(call, by)
    stat_names = call.chosen(stats, EXPANDING, name="stats")
    ordered = call.ordered(by, order_by, *[normalized(c, call.schema[c]).alias(f"__value_{c}__") for c in names])
    expressions = [
        _expanding_statistic(ordered, pl.col(f"__value_{c}__"), call.schema[c], stat).alias(
            call.name(c, stat, "before", by=groups)
        )
        for c in names
        for stat in stat_names
    ]
    return ordered.result(expressions)


def since_last(
    rows: pl.LazyFrame,
    by: Columns | None,
    *,
    order_by: str,
    where: pl.Expr | None = None,
    **naming: Unpack[Naming],
) -> pl.LazyFrame:
    """Return the time since the last earlier row of the group: ``since_last_by_user``.

    Parameters
    ----------
    rows : LazyFrame
    by : str, list of str, or None
        The keys of the group; a null key is a group like any other. None: all rows are one group.
    order_by : str
        The time. For a time or date the result is in seconds, for a number in its unit. Of rows of equal time those
        with the smaller row key are earlier, so 0 is possible.
    where : Expr, optional
        Which rows are events, as in ``pl.col("type") == "order"``; null counts as false. By default all rows.
    **naming
        `prefix`, `suffix`: set one with a condition, as in ``prefix="order_"``.

    Returns
    -------
    LazyFrame
        One line per row; null if there was no event. Rows without a time get null and are not events.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, since_last
    >>> events = {"user": [7, 7, 7], "ts": [10, 15, 40], "type": ["order", "click", "click"]}
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], **events})
    >>> since_last(rows, "user", order_by="ts").sort(ROW).collect().rows()
    [(0, None), (1, 5), (2, 25)]
    >>> bought = pl.col("type") == "order"
    >>> since_last(rows, "user", order_by="ts", where=bought, suffix="_order").sort(ROW).collect().rows()
    [(0, None), (1, 5), (2, 30)]
    """
    return _event_distance(Call.of("since_last", rows, naming), by, order_by, where, step=1)


def until_next(
    rows: pl.LazyFrame,
    by: Columns | None,
    *,
    order_by: str,
    where: pl.Expr | None = None,
    **naming: Unpack[Naming],
) -> pl.LazyFrame:
    """Return the time until the next row of the group, which looks ahead: ``until_next_by_user``.

    Parameters
    ----------
    rows, by, order_by, where, **naming
        As for `since_last`; of rows of equal time those with the greater row key are later. Null if there is no later
        event.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, until_next
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "user": [7, 7, 7], "ts": [10, 15, 40]})
    >>> until_next(rows, "user", order_by="ts").sort(ROW).collect().rows()
    [(0, 5), (1, 25), (2, None)]
    """
    return _event_distance(Call.of("until_next", rows, naming), by, order_by, where, step=-1)


# ----------------------------------------------------------------------------------------------------------- helpers


def _group_columns(call: Call, by: Columns | None) -> list[str]:
    return [] if by is None else call.columns(by, name="by")


def _steps(call: Call, n: int | Sequence[int]) -> list[int]:
    steps = [n] if isinstance(n, int) else list(n)
    invalid = [s for s in steps if not is_integer(s) or s == 0]
    if invalid or not steps:
        raise call.error(f"n={n!r}: expected whole numbers other than 0", "write n=1, or n=[1, 2, 3]; -1 is the next")
    return list(dict.fromkeys(steps))


def _difference(later: pl.Expr, earlier: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return the difference of two values; for times, in seconds."""
    return (later - earlier).dt.total_microseconds() / 1e6 if isinstance(dtype, TIME_TYPES) else later - earlier


def _event_distance(call: Call, by: Columns | None, order_by: str, where: pl.Expr | None, *, step: int) -> pl.LazyFrame:
    time, groups = call.time(order_by), _group_columns(call, by)
    dtype = call.schema[time]
    if where is not None and not isinstance(where, pl.Expr):
        raise call.error(f"where={where!r} must be an expression", 'write where=pl.col("type") == "order"')
    is_event = pl.lit(value=True) if where is None else where.fill_null(value=False)
    ordered = call.ordered(by, time, subtractable(time, dtype).alias("__time__"), is_event.alias("__event__"))
    if ordered.frame.collect_schema()["__event__"] != pl.Boolean:
        raise call.error("where must be true or false for every row", 'write where=pl.col("type") == "order"')
    event_time = ordered.fill_nearest(ordered.shift(pl.when("__event__").then("__time__"), step), forward=step > 0)
    row_time = pl.col("__time__")
    if step > 0:
        elapsed, word = _difference(row_time, event_time, dtype), "since_last"
    else:
        elapsed, word = _difference(event_time, row_time, dtype), "until_next"
    return ordered.result([elapsed.alias(call.name(word, by=groups))])


def _check_window(call: Call, window: int | str, order_by: str) -> int | str:
    """Return a window after checking that it fits the type of `order_by`."""
    if isinstance(window, int) and not isinstance(window, bool):
        return call.at_least(window, 1, name="windows")
    units = duration_units(window) if isinstance(window, str) else []
    if not units or not sum(number for number, _ in units):
        raise call.error(f"windows={window!r} is not a window", 'write a duration, "7d", or a number of rows, 5')
    dtype = call.schema[call.time(order_by)]
    is_integer_window = {unit for _, unit in units} == {"i"}
    if is_integer_window and not dtype.is_integer():
        raise call.error(
            f"windows={window!r} counts whole numbers, but {order_by!r} is a {dtype}", 'write a duration: "7d"'
        )
    if not is_integer_window and not isinstance(dtype, TIME_TYPES):
        raise call.error(
            f"windows={window!r} is a duration, but {order_by!r} is a {dtype}",
            f'write windows="7i" for seven of its units or 7 for seven rows, or make {order_by!r} a time',
        )
    return window


def _with_index(ordered: OrderedRows, dtype: pl.DataType) -> OrderedRows:
    # polars rolls over Int64 and Datetime; windows such as "6h" need a Datetime.
    index = pl.col(ordered.order[0])
    if dtype.is_integer():
        index = index.cast(pl.Int64)
    elif dtype == pl.Date:
        index = index.cast(pl.Datetime("us"))
    return OrderedRows(ordered.frame.with_columns(index), ordered.unordered, ordered.order)


def _rolling_statistic(
    ordered: OrderedRows, value: pl.Expr, dtype: pl.DataType, stat: str, size: int | str, closed: Closed
) -> pl.Expr:
    summand, method = _summand(value, dtype, stat)
    min_samples = 2 if stat == "std" else 1
    if isinstance(size, str):
        rolled = getattr(summand, f"rolling_{method}_by")(
            ordered.order[0], size, min_samples=min_samples, closed=closed
        )
    else:
        shifted = summand.shift(1) if closed == "left" else summand
        rolled = getattr(shifted, f"rolling_{method}")(size + (closed == "both"), min_samples=min_samples)
    return _result(ordered.over(rolled), dtype, stat)


def _summand(value: pl.Expr, dtype: pl.DataType, stat: str) -> tuple[pl.Expr, str]:
    """Return the values to aggregate and the method; sums of integers are exact."""
    if stat == "count":
        return value.is_not_null().cast(pl.Int64), "sum"
    if stat == "sum":
        return value.cast(pl.Int64 if dtype.is_integer() or dtype == pl.Boolean else pl.Float64), "sum"
    if stat in ("min", "max"):
        return value, stat
    return value.cast(pl.Float64), stat


def _result(result: pl.Expr, dtype: pl.DataType, stat: str) -> pl.Expr:
    if stat == "count":
        return result.fill_null(0).cast(pl.UInt32)
    if stat == "sum":
        total = result.fill_null(0)
        return total if dtype.is_integer() or dtype == pl.Boolean else total.cast(float_type(dtype))
    return result if stat in ("min", "max") else result.cast(float_type(dtype))


def _expanding_statistic(ordered: OrderedRows, value: pl.Expr, dtype: pl.DataType, stat: str) -> pl.Expr:
    if stat in ("min", "max"):
        running = value.cum_max() if stat == "max" else value.cum_min()
        return ordered.over(running.forward_fill().shift(1))
    has_value = value.is_not_null().cast(pl.Int64)
    number = ordered.running_sum(has_value) - has_value
    if stat == "count":
        return number.cast(pl.UInt32)
    summand = _summand(value, dtype, "sum")[0].fill_null(0)
    if dtype.is_integer() or dtype == pl.Boolean:
        total = ordered.running_sum(summand) - summand
    else:
        # A running sum over all groups would add rounding errors from other groups.
        total = ordered.over(summand.cum_sum().shift(1, fill_value=0))
    if stat == "sum":
        return _result(total, dtype, "sum")
    return pl.when(number > 0).then(total / number).cast(float_type(dtype))
