"""Folds that go forward in time: chosen by values whatever type holds them, with reasons that are true, and cut right."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.errors import ConfigError, DataError
from workbench.data.competition import Competition, load_competition
from workbench.data.inference import definition_text, infer
from workbench.data.ingest.convert import convert
from workbench.data.workspace import Workspace
from workbench.features import Split
from workbench.models.folds import load_folds, time_column, time_folds
from workbench.platforms.protocol import CompetitionFacts

START = date(2024, 1, 1)
TRAIN, TEST = 300, 100


def stamps(first: int, rows: int, step: timedelta = timedelta(hours=5)) -> pl.Series:
    at = pl.Series([step * i for i in range(first, first + rows)], dtype=pl.Duration("us"))
    return at + pl.Series([START]).cast(pl.Datetime("us"))[0]


def competition(
    root: Path, train: dict[str, Any], test: dict[str, Any], *, suffix: str = "parquet"
) -> tuple[Competition, str]:
    """Infer a competition of these columns, with an id and a target that tell nothing, and return its definition."""
    rng = np.random.default_rng(1)
    folder = root / "competitions" / "c"
    raw = folder / "data" / "raw"
    raw.mkdir(parents=True)
    n, m = len(next(iter(train.values()))), len(next(iter(test.values())))
    order = rng.permutation(n + m)
    both = (
        pl.DataFrame({"id": order[:n], "x": rng.normal(size=n), **train, "y": rng.normal(size=n)}),
        pl.DataFrame({"id": order[n:], "x": rng.normal(size=m), **test}),
    )
    for name, frame in zip(("train", "test"), both, strict=True):
        shuffled = frame.sample(fraction=1, shuffle=True, seed=1)
        shuffled.write_parquet(raw / f"{name}.parquet") if suffix == "parquet" else (
            shuffled.write_ndjson(raw / f"{name}.jsonl")
            if suffix == "jsonl"
            else shuffled.write_csv(raw / f"{name}.csv")
        )
    both[1].select("id", y=pl.lit(0.5)).write_csv(raw / "sample_submission.csv")
    tables = folder / "data" / "tables"
    facts = CompetitionFacts("c", "C", metric="Root Mean Squared Error")
    text = definition_text(infer(convert(raw, tables, "c"), tables, facts, "kaggle"))
    (folder / "competition.toml").write_text(text, encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("scheme"))
    return load_competition(Workspace(root), "c"), line


def with_holes(values: pl.Series, every: int) -> pl.Series:
    return pl.select(pl.when(pl.int_range(values.len()) % every == 3).then(None).otherwise(values)).to_series()


EPOCHS = stamps(0, TRAIN).dt.epoch("s"), stamps(TRAIN, TEST).dt.epoch("s")
KINDS: dict[str, tuple[str, pl.Series, pl.Series]] = {
    "a zone in both": (
        "at",
        stamps(0, TRAIN).dt.replace_time_zone("UTC"),
        stamps(TRAIN, TEST).dt.replace_time_zone("UTC"),
    ),
    "a zone that changes its clocks": (
        "at",
        stamps(0, TRAIN).dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin"),
        stamps(TRAIN, TEST).dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin"),
    ),
    "nanoseconds": ("at", stamps(0, TRAIN).cast(pl.Datetime("ns")), stamps(TRAIN, TEST).cast(pl.Datetime("ns"))),
    "a day in both": ("at", stamps(0, TRAIN).dt.date(), stamps(TRAIN + 5, TEST).dt.date()),
    "one missing in train": ("at", with_holes(stamps(0, TRAIN), 1000), stamps(TRAIN, TEST)),
    "some missing in both": ("at", with_holes(stamps(0, TRAIN), 7), with_holes(stamps(TRAIN, TEST), 9)),
    "float seconds": ("when", EPOCHS[0].cast(pl.Float64) + 0.25, EPOCHS[1].cast(pl.Float64) + 0.5),
    "float seconds with NaN": (
        "ts",
        pl.Series([float("nan"), *EPOCHS[0].cast(pl.Float64)[1:]]),
        EPOCHS[1].cast(pl.Float64),
    ),
    "unsigned seconds": ("clock", EPOCHS[0].cast(pl.UInt32), EPOCHS[1].cast(pl.UInt32)),
    "milliseconds in a column of any name": ("v7", EPOCHS[0] * 1000, EPOCHS[1] * 1000),
    "nanoseconds as numbers": ("v7", EPOCHS[0] * 10**9, EPOCHS[1] * 10**9),
    "seconds since the start": ("TransactionDT", EPOCHS[0] - EPOCHS[0][0], EPOCHS[1] - EPOCHS[0][0]),
    "hours as floats": ("hours", pl.Series(np.arange(300.0)), pl.Series(np.arange(300.0, 400.0))),
    "days of a week number, small and unsigned": (
        "week",
        pl.Series(np.arange(TRAIN) // 10, dtype=pl.UInt8),
        pl.Series(30 + np.arange(TEST) // 10, dtype=pl.UInt8),
    ),
    "a span since the start": ("open", stamps(0, TRAIN) - stamps(0, 1)[0], stamps(TRAIN, TEST) - stamps(0, 1)[0]),
    "a day as one number": (
        "v7",
        stamps(0, TRAIN).dt.strftime("%Y%m%d").cast(pl.Int64),
        stamps(TRAIN + 5, TEST).dt.strftime("%Y%m%d").cast(pl.Int32).cast(pl.Int64),
    ),
    "a month as one number": (
        "v7",
        stamps(0, TRAIN, timedelta(days=3)).dt.strftime("%Y%m").cast(pl.Int64),
        stamps(TRAIN + 15, TEST, timedelta(days=3)).dt.strftime("%Y%m").cast(pl.Int64),
    ),
    "text in ISO 8601": (
        "v7",
        stamps(0, TRAIN).dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        stamps(TRAIN, TEST).dt.to_string("%Y-%m-%d %H:%M"),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_later_test_gives_time_folds_whatever_holds_the_time(tmp_path: Path, kind: str) -> None:
    name, train, test = KINDS[kind]
    c, line = competition(tmp_path, {name: train}, {name: test})
    cv = c.definition.cv
    assert (cv.scheme, cv.column) == ("time", name), line
    assert f"all of test is later than train by {name}" in line
    missing = train.is_null() | (train.is_nan() if train.dtype.is_float() else False)
    assert ("have no" in line) == bool(missing.any())
    split = load_folds(c)
    times = c.train_columns(name)[name]
    has_none = times.is_null() | (times.is_nan() if times.dtype.is_float() else False)
    order = times.rank("dense").cast(pl.Float64)
    for fold in range(split.n_folds):
        before, at = order.gather(split.train_rows(fold)), order.gather(split.valid_rows(fold))
        assert before.max() < at.min()
    outside = split.valid < 0
    outside[has_none.to_numpy()] = False
    has_windows = cv.horizon is not None
    assert has_windows != (name == "open" or "as one number" in kind)
    # The first half of train, or the first of six blocks.
    assert (0.4 if has_windows else 0.1) * TRAIN < outside.sum() < (0.7 if has_windows else 0.25) * TRAIN


def test_a_zone_in_train_and_none_in_test_can_be_compared(tmp_path: Path) -> None:
    train = stamps(0, TRAIN).dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")
    c, line = competition(tmp_path, {"at": train}, {"at": stamps(TRAIN, TEST)})
    assert c.definition.cv.scheme == "time", line
    # One column of rows, in UTC.
    rows = c.rows.scan().collect().sort("at")["at"]
    assert rows.dtype == pl.Datetime("us")
    assert rows.to_list() == stamps(0, TRAIN + TEST).to_list()


def test_days_in_train_and_stamps_in_test_can_be_compared(tmp_path: Path) -> None:
    c, line = competition(tmp_path, {"at": stamps(0, TRAIN).dt.date()}, {"at": stamps(TRAIN + 5, TEST)})
    assert c.definition.cv.scheme == "time", line


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("as_days", [True, False])
def test_the_day_of_the_border_may_be_shared(tmp_path: Path, suffix: str, as_days: bool) -> None:
    """A file cut by its number of rows: the day on which it was cut is in both, in no order."""
    at = stamps(0, TRAIN + TEST)
    swapped = list(range(TRAIN - 1)) + [TRAIN, TRAIN - 1] + list(range(TRAIN + 1, TRAIN + TEST))
    at = at[swapped].dt.date() if as_days else at[swapped]
    assert at[TRAIN - 1 : TRAIN + 1].dt.date().n_unique() == 1
    c, line = competition(tmp_path, {"at": at[:TRAIN]}, {"at": at[TRAIN:]}, suffix=suffix)
    assert c.definition.cv.scheme == "time"
    assert "by at, test begins where train ends" in line


def test_rows_side_by_side_are_no_later_ones(tmp_path: Path) -> None:
    at = stamps(0, TRAIN + TEST).sample(fraction=1, shuffle=True, seed=3)
    c, line = competition(tmp_path, {"at": at[:TRAIN]}, {"at": at[TRAIN:]})
    assert c.definition.cv.scheme == "kfold"
    assert "test is not later than train by any column" in line


def test_the_last_day_alone_is_no_later_one(tmp_path: Path) -> None:
    """All of test on train's last day: the two lie side by side there."""
    day = stamps(0, TRAIN).dt.date()
    c, _ = competition(tmp_path, {"at": day}, {"at": pl.Series([day.max()] * TEST)})
    assert c.definition.cv.scheme == "kfold"


def test_one_day_of_stamps_is_judged_by_its_moments(tmp_path: Path) -> None:
    at = stamps(0, TRAIN + TEST, timedelta(seconds=7))
    c, _ = competition(tmp_path / "later", {"at": at[:TRAIN]}, {"at": at[TRAIN:]})
    assert c.definition.cv.scheme == "time"
    mixed = at.sample(fraction=1, shuffle=True, seed=3)
    c, _ = competition(tmp_path / "mixed", {"at": mixed[:TRAIN]}, {"at": mixed[TRAIN:]})
    assert c.definition.cv.scheme == "kfold"


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (pl.Series(range(1000, 1300)), pl.Series(range(1300, 1400))),  # a counter
        (pl.Series(np.arange(300.0)), pl.Series(np.arange(300.0, 400.0))),
        (pl.Series(range(200000, 200300)), pl.Series(range(200300, 200400))),  # one that looks like months at first
        (pl.Series([f"{i:04}" for i in range(300)]), pl.Series([f"{i:04}" for i in range(300, 400)])),
    ],
)
def test_a_counter_tells_no_time(tmp_path: Path, train: pl.Series, test: pl.Series) -> None:
    c, _ = competition(tmp_path, {"v7": train}, {"v7": test})
    assert c.definition.cv.scheme == "kfold"


@pytest.mark.parametrize("column", ["num", "row_num", "invoice_number", "customer_id", "account_no", "place"])
@pytest.mark.parametrize("first", [0, 1_000_000_000])
def test_what_numbers_rows_or_things_tells_no_time(tmp_path: Path, column: str, first: int) -> None:
    rows = pl.int_range(first, first + TRAIN + TEST, eager=True)
    c, _ = competition(tmp_path, {column: rows[:TRAIN]}, {column: rows[TRAIN:]})
    assert c.definition.cv.scheme == "kfold"


@pytest.mark.parametrize(("column", "scheme"), [("start_price", "kfold"), ("revenue", "kfold"), ("sales_date", "time")])
def test_an_amount_tells_no_time(tmp_path: Path, column: str, scheme: str) -> None:
    amounts = pl.int_range(1_000_000_000, 2_000_000_000, 2_000_003, eager=True)
    c, _ = competition(tmp_path, {column: amounts[:TRAIN]}, {column: amounts[TRAIN : TRAIN + TEST]})
    assert c.definition.cv.scheme == scheme


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (pl.Series(np.arange(TRAIN) % 3 + 2020), pl.Series([2023] * TEST), "has only 3 values in train"),
        (
            pl.select(pl.when(pl.int_range(TRAIN) % 3 == 0).then(stamps(0, TRAIN))).to_series(),
            stamps(TRAIN, TEST),
            "200 of 300 rows of train have no value",
        ),
    ],
)
def test_what_speaks_against_a_later_column_is_said(
    tmp_path: Path, train: pl.Series, test: pl.Series, said: str
) -> None:
    c, line = competition(tmp_path, {"year": train}, {"year": test})
    assert c.definition.cv.scheme == "kfold"
    assert "test is later than train by year" in line
    assert said in line


def test_a_gap_may_be_a_duration_where_numbers_are_times(tmp_path: Path) -> None:
    c, _ = competition(tmp_path, {"ts": EPOCHS[0].cast(pl.UInt32)}, {"ts": EPOCHS[1].cast(pl.UInt32)})
    path = c.folder / "competition.toml"
    plain = path.read_text(encoding="utf-8")
    days: dict[str, list[int]] = {}
    for gap in ('"3d"', "259200"):
        path.write_text(re.sub(r"(folds = \d)", rf"\1\ngap = {gap}", plain), encoding="utf-8")
        c = load_competition(Workspace(tmp_path), "c")
        split, seconds = load_folds(c), time_column(c)[0]
        for fold in range(split.n_folds):
            lead = int(seconds[split.valid_rows(fold)].min()) - int(seconds[split.train_rows(fold)].max())
            assert 3 * 86400 <= lead < 4 * 86400
        days[gap] = split.valid.tolist()
    assert days['"3d"'] == days["259200"]


def test_a_duration_beside_plain_numbers_is_explained(tmp_path: Path) -> None:
    c, _ = competition(tmp_path, {"week": pl.Series(range(TRAIN))}, {"week": pl.Series(range(TRAIN, TRAIN + TEST))})
    path = c.folder / "competition.toml"
    path.write_text(re.sub(r"(folds = \d)", '\\1\ngap = "3d"', path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"cv\.gap = '3d': expected a number"):
        load_folds(load_competition(Workspace(tmp_path), "c"))


def test_a_time_column_without_times_is_explained(tmp_path: Path) -> None:
    c, _ = competition(tmp_path, {"ts": pl.Series([None] * TRAIN, dtype=pl.Int64)}, {"ts": EPOCHS[1]})
    path = c.folder / "competition.toml"
    text = path.read_text(encoding="utf-8").replace('scheme = "kfold"', 'scheme = "time"\ncolumn = "ts" ')
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"cv\.column 'ts' has no value in the 300 rows of train"):
        load_folds(load_competition(Workspace(tmp_path), "c"))


# ------------------------------------------------------------------------------------------------------------- the laws


NUMBERS = [np.int8, np.uint8, np.int64, np.uint64, np.float32, np.float64]


@settings(deadline=None)
@given(data=st.data(), folds=st.integers(2, 4), gap=st.integers(0, 9), dtype=st.sampled_from(NUMBERS))
def test_rows_without_a_time_are_in_no_fold_and_the_others_look_only_back(data, folds: int, gap: int, dtype) -> None:
    whole = data.draw(st.lists(st.integers(0, 120), min_size=40, max_size=150))
    times = np.array(whole, dtype)
    unknown = np.zeros(len(times), np.bool_)
    if np.issubdtype(dtype, np.floating):
        unknown[data.draw(st.lists(st.integers(0, len(times) - 1), max_size=10))] = True
        times[unknown] = np.nan
    try:
        split = time_folds(times, folds, gap=gap)
    except DataError:
        return
    exact = [int(t) for t, u in zip(whole, unknown, strict=True) if not u]
    assert (split.valid[unknown] == -1).all()
    assert split.train is not None
    assert not split.train[:, unknown].any()
    known = time_folds(np.array(exact), folds, gap=gap)
    assert known.valid.tolist() == split.valid[~unknown].tolist()
    assert known.train is not None
    assert (known.train == split.train[:, ~unknown]).all()


@settings(deadline=None)
@given(
    times=st.lists(st.none() | st.integers(0, 30), min_size=2, max_size=40), horizon=st.sampled_from([0.0, 1.0, 4.0])
)
def test_nothing_learns_from_a_row_whose_time_is_unknown(times: list[int | None], horizon: float) -> None:
    time = np.array([np.nan if t is None else t for t in times], np.float64)
    split = Split(np.full(len(times), -1, np.int16), None, time, horizon=horizon)
    rank, first_unseen = split.ranks
    for i, t in enumerate(times):
        for j, other in enumerate(times):
            learns = rank[j] < first_unseen[i]
            if other is None:
                assert not learns
            elif t is not None:
                assert learns == (other + horizon <= t if horizon else other < t)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(2, 5))
def test_each_block_begins_at_the_time_nearest_to_its_share_of_the_rows(sizes: list[int], folds: int) -> None:
    """Of two as near it is the later; and the first time of all is only trained on."""
    before = np.cumsum([0, *sizes[:-1]])
    shares = [Fraction(sum(sizes) * k, folds + 1) for k in range(1, folds + 1)]
    nearest = [min(range(len(sizes)), key=lambda i, share=share: (abs(before[i] - share), -i)) for share in shares]
    starts = sorted({max(1, i) for i in nearest})
    times = np.repeat(np.arange(len(sizes)), sizes)
    if len(sizes) < 2 or len(starts) < folds:
        with pytest.raises(DataError, match=f"need at least {folds + 1} well-spread times; .* has {len(sizes)} values"):
            time_folds(times, folds)
    else:
        expected = [sum(start <= time for start in starts) - 1 for time in times]
        assert time_folds(times, folds).valid.tolist() == expected


def test_offsets_and_zones_name_the_same_moments() -> None:
    from workbench.core.times import moments

    tokyo = timezone(timedelta(hours=9))
    at = datetime(2024, 1, 1, 9, tzinfo=tokyo)
    frame = pl.DataFrame({"zoned": [at], "text": ["2024-01-01T09:00:00+09:00"], "day": [date(2024, 1, 1)]})
    row = frame.select(moments(c, t) for c, t in frame.schema.items()).row(0)
    assert len(set(row)) == 1
