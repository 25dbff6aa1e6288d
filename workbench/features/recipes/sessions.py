"""Recipes for sessions: runs of events without a long pause, and the position of an event in its session."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Unpack

import polars as pl

from workbench.data.competition import ROW
from workbench.features.recipes.arguments import (
    GROUP,
    TIME_TYPES,
    Call,
    Columns,
    Naming,
    OrderedRows,
    duration_units,
    subtractable,
)

__all__ = ["distinct_so_far", "session_position", "sessions"]

POSITIONS = ("position", "from_end", "length", "duration", "since_start", "is_first", "is_last")
"""The kinds of `session_position`; "from_end", "length", "duration" and "is_last" use later rows."""

SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}

Gap = str | int | float | dt.timedelta


def sessions(
    rows: pl.LazyFrame, by: Columns | None, *, order_by: str, gap: Gap = "30m", **naming: Unpack[Naming]
) -> pl.LazyFrame:
    """Return the number of each row's session within its group, from 0: ``session_by_user``.

    A session ends when the next row of the group is more than `gap` later.

    Parameters
    ----------
    rows : LazyFrame
    by : str, list of str, or None
        The keys of the group, such as the user; a null key is a group like any other. None: all rows are one group.
    order_by : str
        The time: a time, a date or a number. Rows of equal time are ordered by their row key.
    gap : str, timedelta or number
        The longest pause within a session: a duration ("30m", "1h30m") or, if `order_by` is a number, a number.
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row, 32 bits; null for a row without a time (null or NaN). The number identifies the session
        together with `by`.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, sessions
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2, 3], "user": ["a", "a", "b", "a"], "ts": [0, 20, 25, 90]})
    >>> sessions(rows, "user", order_by="ts", gap=30).sort(ROW).collect().rows()
    [(0, 0), (1, 0), (2, 0), (3, 1)]
    """
    call = Call.of("sessions", rows, naming)
    groups = [] if by is None else call.columns(by, name="by")
    time = call.time(order_by)
    starts_session = _starts_session(call, time, gap)
    ordered = call.ordered(by, time, subtractable(time, call.schema[time]).alias("__time__"))
    return ordered.result([ordered.running_sum(starts_session).cast(pl.UInt32).alias(call.name("session", by=groups))])


def _starts_session(call: Call, order_by: str, gap: Gap) -> pl.Expr:
    """Return whether a row is more than `gap` later than the previous row of its group."""
    time = pl.col("__time__")
    return ((time - OrderedRows.shift(time, 1)) > _gap_literal(call, gap, order_by)).fill_null(value=False)


def _gap_literal(call: Call, gap: Gap, order_by: str) -> pl.Expr:
    dtype = call.schema[order_by]
    if isinstance(dtype, TIME_TYPES):
        seconds = gap.total_seconds() if isinstance(gap, dt.timedelta) else _gap_seconds(gap)
        if seconds is None or seconds <= 0:
            raise call.error(f"gap={gap!r} is not a duration", f'{order_by!r} is a {dtype}: write gap="30m"')
        return pl.lit(dt.timedelta(seconds=seconds))
    if isinstance(gap, bool) or not isinstance(gap, int | float) or gap <= 0:
        raise call.error(
            f"gap={gap!r}, but {order_by!r} is a {dtype}", f"give a number in the unit of {order_by!r}: gap=1800"
        )
    return pl.lit(gap)


def _gap_seconds(gap: object) -> float | None:
    units = duration_units(gap) if isinstance(gap, str) else []
    if not units or any(unit not in SECONDS for _, unit in units):
        return None
    return sum(number * SECONDS[unit] for number, unit in units)


def session_position(
    rows: pl.LazyFrame,
    by: Columns,
    *,
    order_by: str,
    kinds: Columns = ("position", "since_start", "is_first"),
    gap: Gap | None = None,
    **naming: Unpack[Naming],
) -> pl.LazyFrame:
    """Return the position of a row in its session: ``position_by_session``, ``since_start_by_session``.

    Parameters
    ----------
    rows : LazyFrame
    by : str or list of str
        The key of the session; or, with `gap`, of the user, whose rows are divided into sessions first (names then end
        in ``_by_user_session``). A null key is a session like any other.
    order_by : str
        The time. For a time or date durations are in seconds, for a number in its unit. Rows of equal time are ordered
        by their row key.
    kinds : str or list of str
        "position" (from 0), "since_start", "is_first"; and, using later rows, "from_end" (0 for the last row), "length"
        (in rows), "duration" (from the first to the last row), "is_last".
    gap : str, timedelta or number, optional
        As for `sessions`.
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row, integers in 32 bits; null for a row without a time, which is in no session. Memory can be
        limited by ``@feature(partition_by=…)`` with a key of `by`.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, session_position
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "session": [5, 5, 6], "ts": [10, 40, 50]})
    >>> session_position(rows, "session", order_by="ts", kinds=["position", "length", "since_start"]).sort(
    ...     ROW
    ... ).collect().rows()
    [(0, 0, 2, 0), (1, 1, 2, 30), (2, 0, 1, 0)]
    """
    call = Call.of("session_position", rows, naming)
    groups, time = call.columns(by, name="by"), call.time(order_by)
    kind_names = call.chosen(kinds, POSITIONS, name="kinds")
    ordered = call.ordered(by, time, subtractable(time, call.schema[time]).alias("__time__"))
    if gap is not None:
        is_start = _starts_session(call, time, gap) | (pl.col(GROUP) != pl.col(GROUP).shift(1, fill_value=0))
        with_sessions = ordered.frame.with_columns(is_start.cast(pl.UInt32).cum_sum().alias(GROUP))
        ordered, groups = replace(ordered, frame=with_sessions), [*groups, "session"]
    positions = [_position(ordered, kind, call.schema[time]).alias(call.name(kind, by=groups)) for kind in kind_names]
    return ordered.result(positions)


def _position(ordered: OrderedRows, kind: str, dtype: pl.DataType) -> pl.Expr:
    number = (ordered.running_sum(pl.col(ROW).is_not_null()) - 1).cast(pl.UInt32)
    length = ordered.last(number) + 1
    time = pl.col("__time__")
    expressions = {
        "position": number,
        "is_first": number == 0,
        "from_end": length - 1 - number,
        "is_last": number == length - 1,
        "length": length,
    }
    if kind in expressions:
        return expressions[kind]
    elapsed = (ordered.last(time) if kind == "duration" else time) - ordered.first(time)
    return elapsed.dt.total_microseconds() / 1e6 if isinstance(dtype, TIME_TYPES) else elapsed


def distinct_so_far(
    rows: pl.LazyFrame, by: Columns | None, *, columns: Columns, order_by: Columns, **naming: Unpack[Naming]
) -> pl.LazyFrame:
    """Return the number of distinct values in the group up to and including this row: ``item_distinct_by_session``.

    Parameters
    ----------
    rows : LazyFrame
    by : str, list of str, or None
        The keys of the group; a null key is a group like any other. None: all rows are one group.
    columns : str or list of str
    order_by : str or list of str
        The time. Rows of equal time are ordered by their row key.
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row, 32 bits. Null and NaN are ignored; null for a row without a time.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, distinct_so_far
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "session": [5, 5, 5], "ts": [1, 2, 3], "item": ["x", "x", "y"]})
    >>> distinct_so_far(rows, "session", columns="item", order_by="ts").sort(ROW).collect().rows()
    [(0, 1), (1, 1), (2, 2)]
    """
    call = Call.of("distinct_so_far", rows, naming)
    names, groups = call.columns(columns), [] if by is None else call.columns(by, name="by")
    values = [
        (pl.col(c).fill_nan(None) if call.schema[c].is_float() else pl.col(c)).alias(f"__value_{c}__") for c in names
    ]
    ordered = call.ordered(by, order_by, *values)
    expressions = []
    for column in names:
        value = pl.col(f"__value_{column}__")
        is_new = pl.struct(GROUP, value).is_first_distinct() & value.is_not_null()
        expressions.append(ordered.running_sum(is_new).cast(pl.UInt32).alias(call.name(column, "distinct", by=groups)))
    return ordered.result(expressions)
