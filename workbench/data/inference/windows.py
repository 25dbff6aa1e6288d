"""Choose validation windows that imitate test: as long, as far from the rows that are trained on, and as late."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from workbench.data.inference.tables import DataTable
from workbench.platforms.interactions import duration_text

__all__ = ["TimeRange", "TimeWindows", "find_windows"]

USUAL_WINDOWS, MAX_WINDOWS = 3, 5
"""The number of windows; more only where these validate fewer than `ENOUGH_ROWS`."""

ENOUGH_ROWS, MIN_WINDOW_ROWS = 2_000, 20

MIN_TRAIN_SHARE = 0.5
"""The share of train's time before the first window: a model of much less is unlike the one that predicts test."""

MIN_SEASON_SHARE = 0.2
"""The share of train's rows before the window of the year before. A season says something about the same weeks of test
that the last windows can't, so less is asked for."""

SEASON_DAYS = 364
"""52 weeks: a year earlier on the same day of the week."""

GAP_STEPS = 2
"""A gap is written if it is longer than this many steps between times: weekends and holidays are none."""

CONTINUOUS_STEP = 0.01
"""The step that counts for a gap where numbers are continuous and of an unknown unit, as a share of train's time."""

MAX_DISTINCT_NUMBERS = 100_000
"""Numbers with more distinct values are taken to be continuous."""


@dataclass(frozen=True)
class TimeRange:
    """The earliest and the latest time of a column in one table, as numbers, and its number of nulls."""

    low: float
    high: float
    n_nulls: int


@dataclass(frozen=True)
class TimeWindows:
    """Windows as options of ``[cv]``: durations such as "28d", or numbers where the column's unit is unknown.

    Attributes
    ----------
    folds : int
        The number of windows, without that of `season`.
    horizon : str or float
    season : str, optional
    gap : str or float, optional
    is_shortened : bool
        Whether the windows are shorter than test, as train is not long enough.
    """

    folds: int
    horizon: str | float
    season: str | None
    gap: str | float | None
    is_shortened: bool


def find_windows(
    train: DataTable, times: pl.Expr, before: TimeRange, after: TimeRange, units_per_day: float | None
) -> TimeWindows | None:
    """Return windows for rows of train before a later test; None if its times do not suffice.

    Parameters
    ----------
    train : DataTable
    times : Expr
        The times of train's rows as numbers.
    before, after : TimeRange
        Of train and of test.
    units_per_day : float, optional
        The difference between the numbers of two days, if the unit is known.
    """
    step = _step(train, times, before.low, units_per_day)
    span = before.high - before.low
    gap = after.low - before.high
    # Where times are continuous, nights and quiet hours are no gap, either.
    min_gap = GAP_STEPS * (step or units_per_day or CONTINUOUS_STEP * span)
    gap = _rounded(gap, units_per_day, down=True) if gap > min_gap else 0.0
    horizon = _rounded(after.high - after.low + step, units_per_day)
    max_windows = int(((1 - MIN_TRAIN_SHARE) * span - gap) / horizon) if horizon > 0 else 0
    is_shortened = max_windows < 2
    if is_shortened:
        horizon = _rounded(((1 - MIN_TRAIN_SHARE) * span - gap) / USUAL_WINDOWS, units_per_day, down=True)
        max_windows = USUAL_WINDOWS
    if horizon <= 0 or horizon < step:
        return None
    max_windows = min(max_windows, MAX_WINDOWS)
    season = None if units_per_day is None else SEASON_DAYS * units_per_day
    n_rows, n_season_rows, n_before_season = _row_counts(train, times, before.high, horizon, max_windows, season)
    folds = _n_windows(n_rows)
    if folds is None:
        return None
    has_season = (
        season is not None
        and season >= 2 * horizon
        and n_season_rows >= MIN_WINDOW_ROWS
        and n_before_season >= MIN_SEASON_SHARE * train.n_rows
    )
    if season is not None and has_season:
        folds = min(folds, int(season // horizon))
    return TimeWindows(
        folds,
        _as_option(horizon, units_per_day),
        f"{SEASON_DAYS}d" if has_season else None,
        _as_option(gap, units_per_day) if gap else None,
        is_shortened,
    )


def _step(train: DataTable, times: pl.Expr, low: float, units_per_day: float | None) -> float:
    """Return the usual distance between two consecutive times; 0 if they are continuous."""
    if units_per_day is None:
        if train.scan.select(times.approx_n_unique()).collect(engine="streaming").item() > MAX_DISTINCT_NUMBERS:
            return 0.0
        return _median_difference(train, times)
    for unit in (units_per_day, units_per_day / 24):
        is_aligned = ((times - low) % unit == 0).all()
        if train.scan.select(is_aligned).collect(engine="streaming").item():
            return unit * _median_difference(train, (times - low) // unit)
    return 0.0


def _median_difference(train: DataTable, times: pl.Expr) -> float:
    distinct = train.scan.select(times.drop_nulls().unique().alias("t")).collect(engine="streaming")["t"].sort()
    return float(np.median(np.diff(distinct.to_numpy()))) if len(distinct) > 1 else 0.0


def _rounded(length: float, units_per_day: float | None, *, down: bool = False) -> float:
    """Round a length to whole days, if shorter to hours, minutes or seconds; of an unknown unit to whole numbers."""
    steps = [1.0] if units_per_day is None else [units_per_day / n for n in (1, 24, 1440, 86_400)]
    step = next((s for s in steps if length >= s), None)
    if step is None:
        return length if units_per_day is None else 0.0
    return step * (math.floor(length / step) if down else math.ceil(length / step))


def _row_counts(
    train: DataTable, times: pl.Expr, latest: float, horizon: float, n_windows: int, season: float | None
) -> tuple[list[int], int, int]:
    """Return the number of rows of each window, the latest first, of that of the season, and before the latter."""
    counts = {
        f"{i}": ((times > latest - (i + 1) * horizon) & (times <= latest - i * horizon)).sum() for i in range(n_windows)
    }
    if season is not None:
        end = latest - season
        counts |= {"season": ((times > end - horizon) & (times <= end)).sum(), "before": (times <= end - horizon).sum()}
    row = train.scan.select(**counts).collect(engine="streaming").row(0, named=True)
    return [row[f"{i}"] for i in range(n_windows)], row.get("season", 0), row.get("before", 0)


def _n_windows(n_rows: list[int]) -> int | None:
    """Return the number of windows, by the rows of each, the latest first; None if fewer than two have enough rows."""
    n_usable = next((i for i, n in enumerate(n_rows) if n < MIN_WINDOW_ROWS), len(n_rows))
    if n_usable < 2:
        return None
    enough = next((i for i in range(USUAL_WINDOWS, n_usable) if sum(n_rows[:i]) >= ENOUGH_ROWS), n_usable)
    return min(n_usable, enough)


def _as_option(length: float, units_per_day: float | None) -> str | float:
    """Return a length as ``[cv]`` has it."""
    if units_per_day is not None:
        return duration_text(round(length / units_per_day * 86_400))
    return int(length) if length == int(length) else length
