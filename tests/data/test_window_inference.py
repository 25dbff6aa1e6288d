"""Windows in competition.toml: as long as test, as far away, where train has the time and the rows for them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from workbench.data.competition import load_competition
from workbench.data.inference import baseline_text, definition_text, infer
from workbench.data.ingest.convert import convert
from workbench.data.workspace import Workspace
from workbench.models.folds import load_folds
from workbench.platforms.protocol import CompetitionFacts

FIRST = date(2021, 3, 1)
START = datetime(2023, 1, 1)  # noqa: DTZ001 a time without a zone, as in most files


def days(first: int, n: int, every: int = 1, rows_per_day: int = 12) -> pl.Series:
    """Return the days `first`, `first` + `every`, …, n of them, each for several rows."""
    return pl.Series([FIRST + timedelta(days=first + i * every) for i in range(n)]).repeat_by(rows_per_day).explode()


def hours(first: int, n: int) -> pl.Series:
    return pl.Series([START + timedelta(hours=first + i) for i in range(n)])


def months(first: int, n: int) -> pl.Series:
    values = [date(2015 + (first + i) // 12, (first + i) % 12 + 1, 1) for i in range(n)]
    return pl.Series(values).repeat_by(30).explode()


def inferred_texts(root: Path, train_times: pl.Series, test_times: pl.Series) -> tuple[dict[str, Any], str]:
    """Return the ``[cv]`` table of a competition with these times, after its folds were made, and its baseline."""
    rng = np.random.default_rng(1)
    folder = root / "competitions" / "c"
    raw, tables = folder / "data" / "raw", folder / "data" / "tables"
    raw.mkdir(parents=True)
    n, m = len(train_times), len(test_times)
    ids = rng.permutation(n + m)
    train = pl.DataFrame({"id": ids[:n], "at": train_times, "x": rng.normal(size=n), "y": rng.normal(size=n)})
    train.write_parquet(raw / "train.parquet")
    pl.DataFrame({"id": ids[n:], "at": test_times, "x": rng.normal(size=m)}).write_parquet(raw / "test.parquet")
    inferred = infer(convert(raw, tables, "c"), tables, CompetitionFacts("c", "C", metric="RMSE"), "kaggle")
    (folder / "competition.toml").write_text(definition_text(inferred), encoding="utf-8")
    competition = load_competition(Workspace(root), "c")
    cv = competition.definition.cv
    assert (cv.scheme, cv.column) == ("time", "at")
    assert load_folds(competition).n_folds == cv.folds + (cv.season is not None)
    return {name: getattr(cv, name) for name in ("folds", "horizon", "gap", "season")}, baseline_text(inferred)


CASES: dict[str, tuple[pl.Series, pl.Series, dict[str, Any]]] = {
    "four weeks of days": (
        days(0, 800, rows_per_day=30),
        days(800, 28),
        {"folds": 3, "horizon": "28d", "gap": 0, "season": "364d"},
    ),
    "one day": (
        days(0, 800, rows_per_day=800),
        days(800, 1),
        {"folds": 3, "horizon": "1d", "gap": 0, "season": "364d"},
    ),
    "few rows a day give more windows": (
        days(0, 800, rows_per_day=3),
        days(800, 28, rows_per_day=3),
        {"folds": 5, "horizon": "28d", "gap": 0, "season": "364d"},
    ),
    "less than a year": (days(0, 300, rows_per_day=60), days(300, 14), {"folds": 3, "horizon": "14d", "season": None}),
    "test begins two weeks later": (
        days(0, 300, rows_per_day=60),
        days(314, 14),
        {"folds": 3, "horizon": "14d", "gap": "15d"},
    ),
    "weeks": (
        days(0, 160, every=7, rows_per_day=100),
        days(1120, 8, every=7),
        {"folds": 3, "horizon": "56d", "gap": 0},
    ),
    "a quarter of a year": (
        days(0, 1200, rows_per_day=3),
        days(1200, 90),
        {"folds": 4, "horizon": "90d", "season": "364d"},
    ),
    "months": (months(0, 72), months(72, 3), {"folds": 4, "horizon": "90d", "gap": 0, "season": "364d"}),
    "hours": (hours(0, 9000), hours(9000, 48), {"folds": 5, "horizon": "2d", "gap": 0}),
    "minutes of a day": (
        hours(0, 9000).repeat_by(5).explode().dt.offset_by("7m"),
        pl.Series([START + timedelta(days=375, hours=5), START + timedelta(days=375, hours=16.9)]),
        {"horizon": "13h"},
    ),
    "continuous times, and a month without any": (
        pl.Series([START + timedelta(seconds=977.7 * i) for i in range(9000)]),
        pl.Series([START + timedelta(seconds=977.7 * i + 977.7 * 9000 + 30 * 86_400) for i in range(600)]),
        {"horizon": "7d", "gap": "30d"},
    ),
    "continuous times without a gap": (
        pl.Series([START + timedelta(seconds=977.7 * i) for i in range(9000)]),
        pl.Series([START + timedelta(seconds=977.7 * i + 977.7 * 9000 + 20_000) for i in range(600)]),
        {"horizon": "7d", "gap": 0},
    ),
    "test is longer than half of train": (
        days(0, 100, rows_per_day=30),
        days(100, 80),
        {"folds": 3, "horizon": "16d", "gap": 0, "season": None},
    ),
    "numbers of weeks": (
        pl.Series(range(150)).repeat_by(40).explode(),
        pl.Series(range(150, 158)).repeat_by(40).explode(),
        {"folds": 5, "horizon": 8, "gap": 0, "season": None},
    ),
    "days as numbers such as 20210301": (
        days(0, 300).dt.strftime("%Y%m%d").cast(pl.Int64),
        days(300, 14).dt.strftime("%Y%m%d").cast(pl.Int64),
        {"folds": 5, "horizon": None},
    ),
    "too few rows for a window": (days(0, 300, rows_per_day=1), days(300, 2), {"folds": 5, "horizon": None}),
}


@pytest.mark.parametrize("case", CASES)
def test_windows_imitate_test(tmp_path: Path, case: str) -> None:
    train, test, expected = CASES[case]
    cv, baseline = inferred_texts(tmp_path, train, test)
    assert cv | expected == cv
    assert "refit = true" in baseline


def test_the_lines_say_why(tmp_path: Path) -> None:
    inferred_texts(tmp_path, *CASES["test begins two weeks later"][:2])
    text = (tmp_path / "competitions" / "c" / "competition.toml").read_text(encoding="utf-8")
    assert 'horizon = "14d"  # of each fold, as long as test\n' in text
    assert 'gap = "15d"  # test begins this long after the end of train\n' in text
