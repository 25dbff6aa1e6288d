"""Recipes for dates and times: their parts, and distances to given dates."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable
from typing import Unpack

import polars as pl

from workbench.features.recipes.arguments import TIME_TYPES, Call, Columns, Naming

__all__ = ["cyclic_dates", "date_parts", "holiday_distances"]

PARTS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "year": lambda time: time.dt.year(),
    "quarter": lambda time: time.dt.quarter(),
    "month": lambda time: time.dt.month(),
    "week": lambda time: time.dt.week(),
    "day": lambda time: time.dt.day(),
    "day_of_year": lambda time: time.dt.ordinal_day(),
    "weekday": lambda time: time.dt.weekday(),
    "is_weekend": lambda time: time.dt.weekday() >= 6,
    "is_month_start": lambda time: time.dt.day() == 1,
    "is_month_end": lambda time: time.dt.date().dt.month_end() == time.dt.date(),
    "days": lambda time: time.dt.date().cast(pl.Int32),
    "hour": lambda time: time.dt.hour(),
    "minute": lambda time: time.dt.minute(),
    "second": lambda time: time.dt.second(),
    "minute_of_day": lambda time: time.dt.hour().cast(pl.Int16) * 60 + time.dt.minute(),
}
TIME_PARTS = ("hour", "minute", "second", "minute_of_day")

CYCLES: dict[str, tuple[Callable[[pl.Expr], pl.Expr], int]] = {
    "minute_of_day": (PARTS["minute_of_day"], 1440),
    "hour": (PARTS["hour"], 24),
    "weekday": (lambda time: time.dt.weekday() - 1, 7),
    "day": (lambda time: time.dt.day() - 1, 31),
    "month": (lambda time: time.dt.month() - 1, 12),
    "day_of_year": (lambda time: time.dt.ordinal_day() - 1, 366),
}

DISTANCES = ("nearest", "since", "until")


def date_parts(rows: pl.LazyFrame, columns: Columns, *, parts: Columns = (), **naming: Unpack[Naming]) -> list[pl.Expr]:
    """Return the parts of dates and times, as expressions over the rows: ``departs_hour``, ``departs_weekday``.

    Parameters
    ----------
    rows : LazyFrame
    columns : str or list of str
        Dates or times; for a time with a time zone, the parts are in local time.
    parts : str or list of str
        Any of "year", "quarter", "month", "week" (ISO), "day", "day_of_year", "weekday" (1 for Monday), "is_weekend",
        "is_month_start", "is_month_end", "days" (since 1970), and, of times, "hour", "minute", "second",
        "minute_of_day". By default year, month, day, weekday, and for times the hour.
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    list of Expr
        Small integers and booleans; null for null.

    Examples
    --------
    >>> import datetime as dt
    >>> import polars as pl
    >>> from workbench.features import ROW, date_parts
    >>> rows = pl.LazyFrame({ROW: [0], "at": [dt.datetime(2024, 2, 29, 18, 5)]})
    >>> rows.select(date_parts(rows, "at", parts=["weekday", "is_month_end", "minute_of_day"])).collect().rows()
    [(4, True, 1085)]
    """
    call = Call.of("date_parts", rows, naming)
    expressions = []
    for column in call.columns(columns):
        has_time = _check_date(call, column)
        choices = [p for p in PARTS if has_time or p not in TIME_PARTS]
        default_parts = ["year", "month", "day", "weekday", *(["hour"] if has_time else [])]
        for part in call.chosen(parts or default_parts, choices, name="parts"):
            expressions.append(PARTS[part](pl.col(column)).alias(call.name(column, part)))
    return expressions


def _check_date(call: Call, column: str) -> bool:
    """Raise FeatureError unless a column is a date or time; return whether it has a time of day."""
    dtype = call.schema[column]
    if not isinstance(dtype, TIME_TYPES):
        raise call.error(
            f"{column!r} is a {dtype}, expected a Date or Datetime",
            "convert it first: .str.to_date(), .str.to_datetime(), pl.from_epoch(…)",
        )
    return isinstance(dtype, pl.Datetime)


def cyclic_dates(
    rows: pl.LazyFrame, columns: Columns, *, parts: Columns = (), **naming: Unpack[Naming]
) -> list[pl.Expr]:
    """Return parts of dates as sine and cosine, so that 23 h is next to 0 h: ``departs_hour_sin``, ``…_cos``.

    Parameters
    ----------
    rows : LazyFrame
    columns : str or list of str
        Dates or times.
    parts : str or list of str
        Any of "weekday", "day" (period 31), "month", "day_of_year" (period 366), and, for times, "hour",
        "minute_of_day". By default weekday, month, day of the year, and for times the hour. Each starts at angle 0.
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    list of Expr
        Float32; null for null.

    Examples
    --------
    >>> import datetime as dt
    >>> import polars as pl
    >>> from workbench.features import ROW, cyclic_dates
    >>> rows = pl.LazyFrame({ROW: [0], "at": [dt.datetime(2024, 1, 1, 6)]})
    >>> rows.select(cyclic_dates(rows, "at", parts="hour")).collect().select(pl.all().round(6)).to_dicts()
    [{'at_hour_sin': 1.0, 'at_hour_cos': 0.0}]
    """
    call = Call.of("cyclic_dates", rows, naming)
    expressions = []
    for column in call.columns(columns):
        has_time = _check_date(call, column)
        choices = [p for p in CYCLES if has_time or p not in TIME_PARTS]
        default_parts = ["weekday", "month", "day_of_year", *(["hour"] if has_time else [])]
        for part in call.chosen(parts or default_parts, choices, name="parts"):
            value, period = CYCLES[part]
            angle = value(pl.col(column)).cast(pl.Float64) * (2 * math.pi / period)
            expressions.append(angle.sin().cast(pl.Float32).alias(call.name(column, part, "sin")))
            expressions.append(angle.cos().cast(pl.Float32).alias(call.name(column, part, "cos")))
    return expressions


def holiday_distances(
    rows: pl.LazyFrame,
    column: str,
    *,
    dates: Iterable[dt.date],
    kinds: Columns = ("nearest", "since", "until"),
    **naming: Unpack[Naming],
) -> list[pl.Expr]:
    """Return the days between a date and the given dates: ``departs_nearest_holiday``, ``departs_since_holiday``.

    Parameters
    ----------
    rows : LazyFrame
    column : str
        A date, or a time, of which only the day counts.
    dates : iterable of date
        In any order. The package `holidays` has the public holidays of countries:
        ``dates=holidays.country_holidays("US", years=range(2013, 2015))``.
    kinds : str or list of str
        "nearest" (before or after), "since" (the last date; 0 on the day itself), "until" (the next date; 0 on the
        day).
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    list of Expr
        Int32; null for null, and if there is no date on that side.

    Examples
    --------
    >>> import datetime as dt
    >>> import polars as pl
    >>> from workbench.features import ROW, holiday_distances
    >>> rows = pl.LazyFrame({ROW: [0, 1], "day": [dt.date(2024, 12, 23), dt.date(2024, 12, 30)]})
    >>> feasts = [dt.date(2024, 12, 25), dt.date(2025, 1, 1)]
    >>> rows.select(holiday_distances(rows, "day", dates=feasts)).collect().rows()
    [(2, None, 2), (2, 5, 2)]
    """
    call = Call.of("holiday_distances", rows, naming)
    if not isinstance(column, str):
        raise call.error(f"column={column!r} must be one column's name", "call it once for each column")
    _check_date(call, call.columns(column, name="column")[0])
    date_list = list(dates)
    invalid = [d for d in date_list if not isinstance(d, dt.date)]
    if invalid or not date_list:
        actual = repr(invalid[0]) if invalid else "none"
        raise call.error(f"dates: expected dates, got {actual}", "write dates=[dt.date(2024, 12, 25), …]")
    days = [d.date() if isinstance(d, dt.datetime) else d for d in date_list]
    holidays = pl.Series(days, dtype=pl.Date).cast(pl.Int32).unique().sort()
    day = pl.col(column).dt.date().cast(pl.Int32)
    return [
        day.map_batches(_distance(holidays, kind), return_dtype=pl.Int32, is_elementwise=True).alias(
            call.name(column, kind, "holiday")
        )
        for kind in call.chosen(kinds, DISTANCES, name="kinds")
    ]


def _distance(holidays: pl.Series, kind: str) -> Callable[[pl.Series], pl.Series]:
    """Return a function from dates to the number of days "since" or "until" a holiday, or to the "nearest" one.

    Dates are integers, days since 1970; `holidays` are sorted.
    """

    def days_to_holiday(dates: pl.Series) -> pl.Series:
        filled_dates = dates.fill_null(0)
        previous = holidays.search_sorted(filled_dates, side="right").cast(pl.Int64) - 1
        following = holidays.search_sorted(filled_dates, side="left").cast(pl.Int64)
        since = dates - holidays.gather(previous.clip(0)).set(previous < 0, None)
        until = holidays.gather(following.clip(0, len(holidays) - 1)).set(following >= len(holidays), None) - dates
        if kind == "nearest":
            nearest = pl.select(pl.min_horizontal(since, until)).to_series()
            return nearest.cast(pl.Int32)
        return (since if kind == "since" else until).cast(pl.Int32)

    return days_to_holiday
