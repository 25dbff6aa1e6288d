"""Windows of a fixed length in time: their rows, what is trained on before them, and what is refused."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plain_rows import competition_of, with_cv
from workbench.core.errors import ConfigError, DataError
from workbench.models.folds import load_folds, make_folds, window_folds

DAYS = pl.date_range(date(2022, 1, 1), date(2024, 3, 31), eager=True)
CV = 'scheme = "time"\ncolumn = "t"\n'


@settings(deadline=None)
@given(
    times=st.lists(st.integers(0, 200), min_size=30, max_size=200),
    windows=st.integers(1, 4),
    horizon=st.sampled_from([1, 2.5, 7, 30]),
    gap=st.sampled_from([0, 1, 4.5, 20]),
    season=st.sampled_from([None, 60, 120.5]),
    holes=st.booleans(),
)
def test_each_window_trains_on_earlier_rows_alone(
    times: list[int], windows: int, horizon: float, gap: float, season: float | None, holes: bool
) -> None:
    time = np.array(times, np.float64)
    if holes:
        time[::7] = np.nan
    latest = np.nanmax(time)
    try:
        split = window_folds(time, windows, horizon, season=season, gap=gap)
    except DataError:
        ends = [latest - i * horizon for i in range(windows)]
        ends += [latest - season] if season is not None else []
        has_empty = any(not ((time > end - horizon) & (time <= end)).any() for end in ends)
        assert has_empty or (season is not None and season < windows * horizon)
        return
    n_season = int(season is not None)
    assert split.n_folds == windows + n_season
    for fold in range(split.n_folds):
        end = latest - (windows + n_season - 1 - fold) * horizon
        if fold < n_season and season is not None:
            end = latest - season
        valid = split.valid_rows(fold)
        assert valid.tolist() == np.flatnonzero((time > end - horizon) & (time <= end)).tolist()
        start, trained = time[valid].min(), time[split.train_rows(fold)]
        assert (trained < start).all()
        assert (trained + gap <= start).all()
        # No row that may be trained on is left out, in a window or not.
        assert len(trained) == ((time + gap <= start) if gap else (time < start)).sum()
    assert not split.covered[np.isnan(time)].any()


def test_a_shift_moves_all_windows_by_a_share_of_their_length() -> None:
    time = np.arange(100)
    split = window_folds(time, 2, 10, season=40, shift=0.5)
    assert [split.valid_rows(k)[[0, -1]].tolist() for k in range(3)] == [[45, 54], [75, 84], [85, 94]]


@pytest.mark.parametrize(
    ("dtype", "scale"), [(np.uint8, 1), (np.int16, 1), (np.int64, 10**12), (np.float32, 1), (np.float64, 0.125)]
)
def test_any_type_of_number_gives_the_same_windows(dtype: Any, scale: float) -> None:
    split = window_folds((np.arange(50) * scale).astype(dtype), 3, 7 * scale, season=40 * scale, gap=2 * scale)
    expected = window_folds(np.arange(50), 3, 7, season=40, gap=2)
    assert split.valid.tolist() == expected.valid.tolist()
    assert (split.train == expected.train).all()


def test_windows_of_a_competition_are_cut_in_days(tmp_path: Path) -> None:
    competition = competition_of(
        tmp_path,
        {"y": np.arange(float(len(DAYS))), "t": DAYS},
        CV + 'folds = 3\nhorizon = "28d"\nseason = "364d"\ngap = "3d"',
    )
    split = load_folds(competition)
    spans = [(DAYS[int(rows[0])], DAYS[int(rows[-1])]) for rows in map(split.valid_rows, range(split.n_folds))]
    last = DAYS[-1]
    ends = [last - timedelta(days=d) for d in (364, 56, 28, 0)]
    assert spans == [(end - timedelta(days=27), end) for end in ends]
    for fold, (start, _) in enumerate(spans):
        assert DAYS[int(split.train_rows(fold)[-1])] == start - timedelta(days=3)
    assert load_folds(competition).content == split.content
    earlier = make_folds(competition, shift=0.5)
    assert DAYS[int(earlier.valid_rows(3)[-1])] == last - timedelta(days=14)


def test_folds_saved_without_windows_keep_their_file(tmp_path: Path) -> None:
    """The name has a hash of [cv]: options that a file does not have must not enter it."""
    competition = competition_of(tmp_path, {"y": np.arange(float(len(DAYS))), "t": DAYS}, CV + "folds = 3")
    load_folds(competition)
    assert [p.stem for p in competition.paths.folds.glob("*.parquet")] == ["time-bb670fa42c63"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            'horizon = "28d"\nseason = "30d"',
            DataError,
            "cv.season lies .* before the last of 3 windows .*: they overlap",
        ),
        ('horizon = "0d"', ConfigError, r"cv\.horizon = '0d': expected more than 0"),
        ('horizon = "28d"\nseason = "-3d"', ConfigError, r"cv\.season = '-3d': expected a duration"),
        ('horizon = "soon"', ConfigError, r"cv\.horizon = 'soon': expected a duration such as"),
        ("horizon = 28", ConfigError, r"cv\.horizon = 28: the time column is a date or time"),
        ('season = "364d"', ConfigError, r"cv\.season = '364d' needs cv\.horizon"),
        ('horizon = "900d"', DataError, "fold 0 of 3 has no rows"),
        ('horizon = "28d"\nseason = "3640d"', DataError, "fold 0 of 4 has no rows: .* none in its window"),
        ('horizon = "270d"\ngap = "90d"', DataError, "fold 0 has no rows to train on"),
    ],
)
def test_wrong_windows_are_explained(tmp_path: Path, options: str, error: type[Exception], message: str) -> None:
    competition = competition_of(tmp_path, {"y": np.arange(float(len(DAYS))), "t": DAYS}, CV)
    with pytest.raises(error, match=message):
        make_folds(with_cv(competition, f"{CV}folds = 3\n{options}"))


def test_windows_are_of_folds_in_time_alone(tmp_path: Path) -> None:
    competition = competition_of(tmp_path, {"y": np.arange(40.0)}, 'scheme = "kfold"')
    with pytest.raises(ConfigError, match=r"cv\.horizon is an option of the scheme 'time', and cv\.scheme = 'kfold'"):
        with_cv(competition, 'scheme = "kfold"\nhorizon = 3')
