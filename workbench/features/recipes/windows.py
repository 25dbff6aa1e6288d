"""What came before a row: earlier values, windows of time or of rows, and the time since something happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack

import polars as pl

from workbench.core.integers import is_integer
from workbench.features.recipes.arguments import (
    TIMES,
    Call,
    Columns,
    Naming,
    Ordered,
    duration_units,
    narrow,
    plain,
    widened,
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
    """Return the values of the rows before, or after, in the same group: ``price_lag1_by_store``.

    Parameters
    ----------
    rows : LazyFrame
    by : str, list of str, or None
        The keys of the group; a null key is a group like any other. None: all rows are one group.
    columns : str or list of str
        Of any type, which stays.
    order_by : str or list of str
        The time: times, dates or numbers; a text is refused. Rows of equal time are ordered by their row key.
    n : int or list of int
        How many rows back; -1 is the next row (``price_lead1_by_store``), which looks ahead.
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row: null where there is no such row, where its value is null, and for a row without a time, which
        is also no other row's neighbour. Under ``@feature(partition_by=…)`` with a key of `by`, memory holds a part.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, lags
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "store": ["a", "b", "a"], "day": [2, 1, 1], "price": [9, 8, 7]})
    >>> lags(rows, "store", columns="price", order_by="day", n=[1, -1]).sort(ROW).collect().rows()
    [(0, 7, None), (1, None, None), (2, None, 9)]
    """
    call = Call.of("lags", rows, naming)
    named, groups = call.columns(columns), _groups(call, by)
    ordered = call.ordered(by, order_by, *[pl.col(c).alias(f"__value_{c}__") for c in named])
    expressions = []
    for column in named:
        for step in _steps(call, n):
            word = f"lag{step}" if step > 0 else f"lead{-step}"
            expressions.append(
                ordered.shifted(pl.col(f"__value_{column}__"), step).alias(call.name(column, word, by=groups))
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
    """Return how far a value is from the one n rows before in its group: ``price_diff1_by_store``.

    Parameters
    ----------
    rows, by, columns, order_by, n
        As for `lags`; the columns are numbers, or times and dates, whose difference is in seconds. With n = -1 it is
        the difference to the next row, which looks ahead.
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row: null where there is no such row or one of the two values is missing (null or NaN). Whole
        numbers stay whole (64 bits), floats keep their type.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, differences
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "store": ["a", "b", "a"], "day": [2, 1, 1], "price": [9, 8, 7]})
    >>> differences(rows, "store", columns="price", order_by="day").sort(ROW).collect().rows()
    [(0, 2), (1, None), (2, None)]
    """
    call = Call.of("differences", rows, naming)
    named, groups = call.columns(columns), _groups(call, by)
    for column in named:
        if not isinstance(call.schema[column], TIMES):
            call.check_number(column, "a difference")
    ordered = call.ordered(by, order_by, *[widened(c, call.schema[c]).alias(f"__value_{c}__") for c in named])
    expressions = []
    for column in named:
        for step in _steps(call, n):
            value = pl.col(f"__value_{column}__")
            word = f"diff{step}" if step > 0 else f"diff_next{-step}"
            apart = _apart(value, ordered.shifted(value, step), call.schema[column])
            expressions.append(apart.alias(call.name(column, word, by=groups)))
    return ordered.result(expressions)


def rolling(
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
        A number of rows (5), or a length of time as polars writes it ("7d", "1h30m"); over an `order_by` of whole
        numbers "7i" is seven of its units.
    stats : str or list of str
        Of "count", "sum", "mean", "std", "min", "max", "median".
    closed : str
        "left": [t - window, t), so neither the row itself nor others of the same time are in it; or the n rows before,
        rows of equal time by their row key. "right": (t - window, t], or the row and the n - 1 before. "both": both
        ends, or the row and the n before.
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row. Null and NaN are missing and take no part. Of a window without a value "count" and "sum" are
        0 and the rest null; "std" (n - 1 in the denominator) needs two. For a row without a time all are null. Counts
        have 32 bits, means those of the column, at least 32. Under ``@feature(partition_by=…)`` with a key of `by`,
        memory holds a part.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, rolling
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "day": [1, 2, 4], "price": [10.0, 20.0, 60.0]})
    >>> rolling(rows, None, columns="price", order_by="day", windows=[2, "2i"]).sort(ROW).collect().rows()
    [(0, None, None), (1, 10.0, 10.0), (2, 15.0, 20.0)]
    """
    call = Call.of("rolling", rows, naming)
    named, groups, wanted = call.numbers(columns), _groups(call, by), call.chosen(stats, ROLLING, name="stats")
    call.chosen(closed, ("left", "right", "both"), name="closed")
    sizes = [_window(call, w, order_by) for w in ([windows] if isinstance(windows, int | str) else windows)]
    if not sizes:
        raise call.error("windows is empty", 'give at least one: windows="7d", or a number of rows')
    ordered = call.ordered(by, call.time(order_by), *[plain(c, call.schema[c]).alias(f"__value_{c}__") for c in named])
    ordered = _as_index(ordered, call.schema[order_by])
    expressions = []
    for column in named:
        for size in dict.fromkeys(sizes):
            for stat in wanted:
                value = _rolled(ordered, pl.col(f"__value_{column}__"), call.schema[column], stat, size, closed)
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
    """Return statistics over all earlier rows of the group, without the row itself: ``price_mean_before_by_store``.

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
        Of "count", "sum", "mean", "min", "max".
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row. Null and NaN are missing and take no part. Before the first value "count" and "sum" are 0 and
        the rest null; for a row without a time all are null. Counts have 32 bits, means those of the
        column, at least 32.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, expanding
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "store": ["a", "a", "a"], "day": [1, 3, 2], "price": [10.0, 20.0, 60.0]})
    >>> expanding(rows, "store", columns="price", order_by="day", stats=["count", "mean"]).sort(ROW).collect().rows()
    [(0, 0, None), (1, 2, 35.0), (2, 1, 10.0)]
    """
    call = Call.of("expanding", rows, naming)
    named, groups, wanted = call.numbers(columns), _groups(call, by), call.chosen(stats, EXPANDING, name="stats")
    ordered = call.ordered(by, order_by, *[plain(c, call.schema[c]).alias(f"__value_{c}__") for c in named])
    expressions = [
        _expanded(ordered, pl.col(f"__value_{c}__"), call.schema[c], stat).alias(
            call.name(c, stat, "before", by=groups)
        )
        for c in named
        for stat in wanted
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
        The time: a time or a date, then the result is in seconds; or a number, then in its unit. Of rows of equal time
        those with the smaller row key are earlier, so 0 is possible.
    where : Expr, optional
        Which rows count as events, as in ``pl.col("type") == "order"``; null counts as no. All by default.
    **naming
        `prefix`, `suffix`: name it where there is a condition, as in ``prefix="order_"``.

    Returns
    -------
    LazyFrame
        One line per row: null where there was no such event, and for a row without a time, which is no event either.

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
    return _event(Call.of("since_last", rows, naming), by, order_by, where, step=1)


def until_next(
    rows: pl.LazyFrame,
    by: Columns | None,
    *,
    order_by: str,
    where: pl.Expr | None = None,
    **naming: Unpack[Naming],
) -> pl.LazyFrame:
    """Return the time until the next later row of the group, which looks ahead: ``until_next_by_user``.

    Parameters
    ----------
    rows, by, order_by, where, **naming
        As for `since_last`; of rows of equal time those with the greater row key are later. Null where no such row
        comes.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, until_next
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "user": [7, 7, 7], "ts": [10, 15, 40]})
    >>> until_next(rows, "user", order_by="ts").sort(ROW).collect().rows()
    [(0, 5), (1, 25), (2, None)]
    """
    return _event(Call.of("until_next", rows, naming), by, order_by, where, step=-1)


# ------------------------------------------------------------------------------------------------------------- parts


def _groups(call: Call, by: Columns | None) -> list[str]:
    return [] if by is None else call.columns(by, name="by")


def _steps(call: Call, n: int | Sequence[int]) -> list[int]:
    steps = [n] if isinstance(n, int) else list(n)
    wrong = [s for s in steps if not is_integer(s) or s == 0]
    if wrong or not steps:
        raise call.error(f"n={n!r}: expected whole numbers other than 0", "write n=1, or n=[1, 2, 3]; -1 is the next")
    return list(dict.fromkeys(steps))


def _apart(later: pl.Expr, earlier: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return later - earlier, of times in seconds."""
    return (later - earlier).dt.total_microseconds() / 1e6 if isinstance(dtype, TIMES) else later - earlier


def _event(call: Call, by: Columns | None, order_by: str, where: pl.Expr | None, *, step: int) -> pl.LazyFrame:
    time, groups = call.time(order_by), _groups(call, by)
    dtype = call.schema[time]
    if where is not None and not isinstance(where, pl.Expr):
        raise call.error(f"where={where!r} must be an expression", 'write where=pl.col("type") == "order"')
    is_event = pl.lit(value=True) if where is None else where.fill_null(value=False)
    ordered = call.ordered(by, time, widened(time, dtype).alias("__time__"), is_event.alias("__event__"))
    if ordered.frame.collect_schema()["__event__"] != pl.Boolean:
        raise call.error("where must be true or false for every row", 'write where=pl.col("type") == "order"')
    event_time = ordered.filled(ordered.shifted(pl.when("__event__").then("__time__"), step), forward=step > 0)
    row_time = pl.col("__time__")
    if step > 0:
        elapsed, word = _apart(row_time, event_time, dtype), "since_last"
    else:
        elapsed, word = _apart(event_time, row_time, dtype), "until_next"
    return ordered.result([elapsed.alias(call.name(word, by=groups))])


def _window(call: Call, window: int | str, order_by: str) -> int | str:
    """Return a window that goes with the type of `order_by`."""
    if isinstance(window, int) and not isinstance(window, bool):
        return call.at_least(window, 1, name="windows")
    units = duration_units(window) if isinstance(window, str) else []
    if not units or not sum(number for number, _ in units):
        raise call.error(f"windows={window!r} is no window", 'write a length of time, "7d", or a number of rows, 5')
    dtype = call.schema[call.time(order_by)]
    counted = {unit for _, unit in units} == {"i"}
    if counted and not dtype.is_integer():
        raise call.error(
            f"windows={window!r} counts whole numbers, but {order_by!r} is a {dtype}", 'write a length of time: "7d"'
        )
    if not counted and not isinstance(dtype, TIMES):
        raise call.error(
            f"windows={window!r} is a length of time, but {order_by!r} is a {dtype}",
            f'write windows="7i" for seven of its units or 7 for seven rows, or make {order_by!r} a time',
        )
    return window


def _as_index(ordered: Ordered, dtype: pl.DataType) -> Ordered:
    # Windows are taken over Int64 and Datetime; a Date has no hours for "6h".
    index = pl.col(ordered.order[0])
    if dtype.is_integer():
        index = index.cast(pl.Int64)
    elif dtype == pl.Date:
        index = index.cast(pl.Datetime("us"))
    return Ordered(ordered.frame.with_columns(index), ordered.unordered, ordered.order)


def _rolled(
    ordered: Ordered, value: pl.Expr, dtype: pl.DataType, stat: str, size: int | str, closed: Closed
) -> pl.Expr:
    taken, method = _prepared(value, dtype, stat)
    least = 2 if stat == "std" else 1
    if isinstance(size, str):
        rolled = getattr(taken, f"rolling_{method}_by")(ordered.order[0], size, min_samples=least, closed=closed)
    else:
        before = taken.shift(1) if closed == "left" else taken
        rolled = getattr(before, f"rolling_{method}")(size + (closed == "both"), min_samples=least)
    result = ordered.over(rolled)
    return _finished(result, dtype, stat)


def _prepared(value: pl.Expr, dtype: pl.DataType, stat: str) -> tuple[pl.Expr, str]:
    """Return what is added up, and by which method, so that sums of whole numbers stay exact."""
    if stat == "count":
        return value.is_not_null().cast(pl.Int64), "sum"
    if stat == "sum":
        return value.cast(pl.Int64 if dtype.is_integer() or dtype == pl.Boolean else pl.Float64), "sum"
    if stat in ("min", "max"):
        return value, stat
    return value.cast(pl.Float64), stat


def _finished(result: pl.Expr, dtype: pl.DataType, stat: str) -> pl.Expr:
    if stat == "count":
        return result.fill_null(0).cast(pl.UInt32)
    if stat == "sum":
        total = result.fill_null(0)
        return total if dtype.is_integer() or dtype == pl.Boolean else total.cast(narrow(dtype))
    return result if stat in ("min", "max") else result.cast(narrow(dtype))


def _expanded(ordered: Ordered, value: pl.Expr, dtype: pl.DataType, stat: str) -> pl.Expr:
    if stat in ("min", "max"):
        running = value.cum_max() if stat == "max" else value.cum_min()
        return ordered.over(running.forward_fill().shift(1))
    has_value = value.is_not_null().cast(pl.Int64)
    number = ordered.running(has_value) - has_value
    if stat == "count":
        return number.cast(pl.UInt32)
    added = _prepared(value, dtype, "sum")[0].fill_null(0)
    if dtype.is_integer() or dtype == pl.Boolean:
        total = ordered.running(added) - added
    else:
        # Not by running sums over all groups: a float would keep traces of the others.
        total = ordered.over(added.cum_sum().shift(1, fill_value=0))
    if stat == "sum":
        return _finished(total, dtype, "sum")
    return pl.when(number > 0).then(total / number).cast(narrow(dtype))
