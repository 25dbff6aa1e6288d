"""Orders that are none, numbers that 32 bits would merge, fractions of durations, and amounts that look like classes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from workbench.core.errors import FeatureError
from workbench.data.competition import ROW, load_competition
from workbench.data.inference import definition_text, infer
from workbench.data.ingest.convert import convert
from workbench.data.workspace import Workspace
from workbench.experiments.run import run
from workbench.features import (
    differences,
    distinct_so_far,
    expanding,
    group_stats,
    lags,
    rolling,
    session_position,
    sessions,
    since_last,
    until_next,
)
from workbench.features.auto import auto_features
from workbench.features.encoded import as_number, encode_columns, is_unsupported, merged_in_float32
from workbench.platforms.protocol import CompetitionFacts


def rows(order: pl.Series) -> pl.LazyFrame:
    n = len(order)
    return pl.LazyFrame({ROW: range(n), "key": ["a"] * n, "x": range(n), "at": order})


CALLS = {
    "lags": lambda r: lags(r, "key", columns="x", order_by="at"),
    "lags, second": lambda r: lags(r, "key", columns="x", order_by=["x", "at"]),
    "differences": lambda r: differences(r, "key", columns="x", order_by="at"),
    "rolling": lambda r: rolling(r, "key", columns="x", order_by="at", windows=3),
    "expanding": lambda r: expanding(r, None, columns="x", order_by="at"),
    "since_last": lambda r: since_last(r, "key", order_by="at"),
    "until_next": lambda r: until_next(r, "key", order_by="at"),
    "sessions": lambda r: sessions(r, "key", order_by="at", gap=5),
    "session_position": lambda r: session_position(r, "key", order_by="at"),
    "distinct_so_far": lambda r: distinct_so_far(r, "key", columns="x", order_by="at"),
    "group_stats": lambda r: group_stats(r, "key", columns="x", stats="last", order_by="at"),
}


class TestOrder:
    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize(
        "order",
        [
            pl.Series(["10", "9", "8"]),
            pl.Series(["01.02.2024", "02.01.2024", "03.01.2024"]),
            pl.Series(["10", "9", "8"], dtype=pl.Categorical),
            pl.Series([[1], [2], [3]]),
            pl.Series([b"a", b"b", b"c"]),
            pl.Series([None, None, None]),
        ],
        ids=lambda s: str(s.dtype),
    )
    def test_what_has_no_order_of_time_is_refused_by_name(self, call: str, order: pl.Series) -> None:
        with pytest.raises(FeatureError, match="'at'") as caught:
            CALLS[call](rows(order))
        assert '"at" = "Date %d.%m.%Y"' in caught.value.hint

    @pytest.mark.parametrize(
        "order",
        [
            pl.Series([10, 9, 8]),
            pl.Series([10.5, 9.5, 8.5]),
            pl.Series([dt.date(2024, 2, 1), dt.date(2024, 1, 2), dt.date(2024, 1, 1)]),
            pl.Series([dt.time(12), dt.time(11), dt.time(10)]),
            pl.Series([dt.timedelta(3), dt.timedelta(2), dt.timedelta(1)]),
            pl.Series(["last", "middle", "first"], dtype=pl.Enum(["first", "middle", "last"])),
        ],
        ids=lambda s: str(s.dtype),
    )
    def test_what_has_one_is_followed(self, order: pl.Series) -> None:
        made = lags(rows(order), "key", columns="x", order_by="at").sort(ROW).collect()
        assert made["x_lag1_by_key"].to_list() == [1, 2, None]


def encoded(values: Any, n_train: int | None = None) -> Any:
    frame = pl.DataFrame({ROW: range(len(values)), "x": values})
    (column,) = encode_columns(frame.lazy(), ["x"], n_train or len(values), origin="f")
    return column, frame.select(column.expression).to_series()


EPOCH = 1_700_000_000.0


def merged(values: np.ndarray, n_train: int) -> dict[str, float]:
    return merged_in_float32(pl.LazyFrame({"x": values}), ["x"], n_train)


class TestFloat32:
    def test_a_sample_with_enough_values_decides(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Three samples are read only of columns that have few values so far."""
        read: list[list[str]] = []
        collect = pl.LazyFrame.collect

        def counted(frame: pl.LazyFrame, **options: Any) -> pl.DataFrame:
            result = collect(frame, **options)
            read.append(result.columns)
            return result

        rng = np.random.default_rng(0)
        many = np.r_[np.repeat(0.5, 10_000), rng.normal(size=30_000)]  # few in the first sample
        columns = {"normal": rng.normal(size=40_000), "later": many, "at": EPOCH + np.arange(40_000) % 100 / 4}
        monkeypatch.setattr(pl.LazyFrame, "collect", counted)
        assert merged_in_float32(pl.LazyFrame(columns), list(columns), 40_000) == {"at": EPOCH + 12.5}
        assert read == [["normal", "later", "at"], ["later", "at"], ["at"]]

    @pytest.mark.parametrize(
        "values",
        [
            EPOCH + np.arange(500) / 2,
            EPOCH + np.random.default_rng(0).random(500),
            EPOCH + np.random.default_rng(0).random(500) * 86_400,
            -EPOCH * 1000 + np.arange(500) / 4,
            1e12 + np.arange(500) * 0.25,
            np.r_[0.5, EPOCH + np.arange(500) / 2],
            45.0 + np.arange(500) * 1e-7,
        ],
        ids=["halves", "fractions", "a day", "milliseconds", "money", "zero for none", "coordinates"],
    )
    def test_what_would_be_merged_stays_in_64_bits(self, values: np.ndarray) -> None:
        column, made = encoded(values)
        assert made.dtype == pl.Float64
        assert not column.exact_in_float32
        assert made.n_unique() == len(np.unique(values))
        # Less its center, it fits into 32 bits.
        assert (made - column.center).cast(pl.Float32).n_unique() == len(np.unique(values))

    @pytest.mark.parametrize(
        "values",
        [
            np.random.default_rng(0).random(20_000),
            np.random.default_rng(0).normal(size=20_000) * 1e9,
            np.exp(np.random.default_rng(0).normal(size=20_000) * 3),
            np.round(np.random.default_rng(0).random(20_000) * 1e5, 2),
            np.repeat(EPOCH + 0.5, 100),
            np.array([np.nan, np.inf, 0.5, 0.25]),
        ],
        ids=["uniform", "normal", "long tail", "prices", "constant", "odd"],
    )
    def test_other_columns_take_half_the_memory(self, values: np.ndarray) -> None:
        column, made = encoded(values)
        assert (made.dtype, column.exact_in_float32, column.center) == (pl.Float32, True, None)

    def test_degrees_with_six_digits_take_half_the_memory(self) -> None:
        degrees = 40.5 + np.random.default_rng(0).random(30_000).round(6) * 0.4
        frame = pl.DataFrame({"x": degrees}).with_row_index(ROW).lazy()
        (column,) = encode_columns(frame, ["x"], len(degrees), origin="rows")
        assert (column.dtype, column.exact_in_float32) == (pl.Float32, True)

    def test_the_test_rows_decide_nothing(self) -> None:
        near = EPOCH + np.arange(300) / 2
        assert encoded(np.r_[np.linspace(0, 1, 300), near], n_train=300)[1].dtype == pl.Float32
        assert encoded(np.r_[near, np.linspace(0, 1, 300)], n_train=300)[1].dtype == pl.Float64

    @pytest.mark.parametrize("at", ["first", "middle", "last", "nowhere"])
    def test_the_ends_and_the_middle_of_a_long_table_are_looked_at(self, at: str) -> None:
        n = 60_000
        values = np.random.default_rng(0).random(n) * 1e6
        start = {"first": 0, "middle": n // 2 - 5000, "last": n - 10_000, "nowhere": 12_000}[at]
        # Of the 30,000 values that are looked at each third is one of some that 32 bits can't tell apart.
        values[start : start + 10_000] = EPOCH + np.arange(10_000) % 9000 / 64
        values[values < EPOCH] = np.floor(values[values < EPOCH] / 250) * 250 + 0.5
        assert (merged(values, n) == {}) == (at == "nowhere")

    def test_the_center_is_the_median_of_what_has_a_value(self) -> None:
        values = EPOCH + np.r_[np.arange(100), np.nan, np.inf, 1e6, 1e6] / 16
        found = merged(values, len(values))
        assert found == {"x": float(np.sort(values[np.isfinite(values)])[51])}
        assert merged(np.r_[values, np.zeros(500)], len(values)) == found

    def test_a_hundredth_of_the_values_may_merge(self) -> None:
        def some(n_merged: int) -> np.ndarray:
            return np.r_[np.arange(1.0, 1001.0 - n_merged), 1e9 + np.arange(n_merged + 1) / 1e3]

        # Of 1001 values 32 bits hold so many less.
        assert merged(some(10), 1001) == {}
        assert set(merged(some(11), 1001)) == {"x"}
        # Where enough values are left it does not matter.
        for left, expected in ((8191, {"x"}), (8192, set())):
            values = np.r_[np.arange(1.0, left), 1e9 + np.arange(300) / 1e3]
            assert set(merged(values, len(values))) == expected

    @pytest.mark.parametrize("dtype", [pl.Int64, pl.Float64])
    def test_numbers_up_to_what_32_bits_hold_are_not_looked_at(self, dtype: Any) -> None:
        for greatest, exact in ((2**24 - 1, True), (2**24, dtype == pl.Int64), (2**24 + 1, False)):
            for sign in (1, -1):
                column, _ = encoded(pl.Series([0, sign * greatest], dtype=pl.Int64).cast(dtype))
                assert column.exact_in_float32 == exact, (greatest, sign)
                assert column.lowest == min(0, sign * greatest)

    def test_whole_numbers_keep_their_type_and_have_a_center_where_they_merge(self) -> None:
        nanoseconds = 1_700_000_000_000_000_000 + np.arange(500)
        column, made = encoded(nanoseconds)
        assert (made.dtype, column.exact_in_float32) == (pl.Int64, False)
        assert (made - int(column.center)).cast(pl.Float32).n_unique() == 500
        assert encoded(np.arange(500))[0].center is None


class TestFractions:
    @pytest.mark.parametrize("unit", ["ms", "us", "ns"])
    def test_of_seconds(self, unit: str) -> None:
        lasted = pl.Series("d", [250, 1500, 86_400_750, None], dtype=pl.Duration("ms")).cast(pl.Duration(unit))
        at = pl.Series("t", [dt.time(0, 0, 0, 250_000), dt.time(1), None, dt.time(2)])
        frame = pl.DataFrame({ROW: range(4), "d": lasted, "t": at})
        auto = auto_features(frame.lazy(), leave_out=(), n_train=2).sort(ROW).collect()
        plain = frame.select(as_number(c, frame.schema[c]) for c in ("d", "t"))
        for made in (auto, plain):
            assert made["d"].to_list() == [0.25, 1.5, 86_400.75, None]
            assert made["t"].to_list() == [0.25, 3600.0, None, 7200.0]


def test_what_can_not_become_a_number() -> None:
    odd = [pl.List(pl.Int8), pl.Struct({"a": pl.Int8}), pl.Array(pl.Int8, 2), pl.Binary(), pl.Object(), pl.Null()]
    assert all(is_unsupported(dtype) for dtype in odd)
    assert not any(
        is_unsupported(dtype) for dtype in (pl.Int8(), pl.String(), pl.Date(), pl.Boolean(), pl.Decimal(9, 2))
    )


@pytest.mark.parametrize(
    ("column", "hint"),
    [
        (pl.Series([dt.date(2024, 1, 1)]), "make it a number: pl.col('x').dt.epoch()"),
        (pl.Series(["2024-01-01"]).str.to_datetime("%F"), "make it a number: pl.col('x').dt.epoch(\"s\")"),
        (pl.Series([dt.timedelta(1)]), "pl.col('x').dt.total_microseconds() / 1e6"),
        (pl.Series([[1]]), "make it a number or a text"),
        (pl.Series([dt.time(1)]), "make it a number or a text"),
    ],
)
def test_types_that_are_refused(column: pl.Series, hint: str) -> None:
    with pytest.raises(FeatureError, match=r"feature 'f': column 'x' is a .*, which LightGBM can't take") as caught:
        encoded(column)
    assert hint in caught.value.hint


def test_times_of_the_tables_are_seconds_and_decimals_floats() -> None:
    frame = pl.DataFrame(
        {
            "day": [dt.date(1970, 1, 2)],
            "at": pl.Series(["1970-01-01 00:01"]).str.to_datetime("%F %R"),
            "money": pl.Series(["1.25"]).str.to_decimal(scale=2),
            "n": [7],
        }
    )
    made = frame.select(as_number(c, t) for c, t in frame.schema.items())
    assert made.row(0) == (86_400, 60, 1.25, 7)
    assert made.schema["money"] == pl.Float64


@pytest.fixture
def fetched(tmp_path: Path):
    def made(train: dict[str, Any], test: dict[str, Any], sample: dict[str, Any], metric: str | None) -> Any:
        folder = tmp_path / "competitions" / "c"
        raw = folder / "data" / "raw"
        raw.mkdir(parents=True)
        for name, columns in (("train", train), ("test", test), ("sample_submission", sample)):
            pl.DataFrame(columns).write_csv(raw / f"{name}.csv")
        manifest = convert(raw, folder / "data" / "tables", "c")
        inferred = infer(manifest, folder / "data" / "tables", CompetitionFacts("c", "C", metric), "kaggle")
        (folder / "experiments").mkdir()
        (folder / "competition.toml").write_text(definition_text(inferred), encoding="utf-8")
        return load_competition(Workspace(tmp_path), "c")

    return made


class TestTask:
    @pytest.mark.parametrize(
        ("values", "shown", "metric", "expected"),
        [
            ([1, 2, 3, 5, 8], 5.63, None, "regression"),
            ([1, 2, 3, 5, 8], 5.63, "Weird Loss", "regression"),
            ([1, 2, 3, 4, 5], 2.71, None, "regression"),
            ([1, 2, 3, 4, 5], 3, None, "multiclass"),
            ([1, 2, 3, 4, 5], 3, "Root Mean Squared Error", "regression"),
            ([1, 2, 3, 4, 5], 3.1, "Quadratic Weighted Kappa", "multiclass"),
            ([100, 250, 500, 1000], 0, None, "regression"),
            ([0, 1, 2, 4], 0, None, "multiclass"),
            ([0, 1], 0.5, None, "binary"),
            ([0, 1], 0.5, "Root Mean Squared Error", "regression"),
            ([5, 10], 7.25, None, "regression"),
            ([5, 10], 5, None, "binary"),
        ],
    )
    def test_of_few_whole_numbers(
        self, fetched, values: list[int], shown: float, metric: str | None, expected: str
    ) -> None:
        n, rng = 120, np.random.default_rng(0)
        ids = rng.permutation(900)
        train = {"id": ids[:n], "x": rng.normal(size=n), "y": rng.choice(values, n)}
        test = {"id": ids[n : n + 40], "x": rng.normal(size=40)}
        competition = fetched(train, test, {"id": test["id"], "y": [shown] * 40}, metric)
        assert competition.definition.task == expected


@pytest.mark.parametrize("kind", ["model", "xgboost", "catboost"])
def test_a_target_that_depends_on_seconds_is_learned_by_every_library(fetched, kind: str) -> None:
    n, rng = 400, np.random.default_rng(0)
    at = EPOCH + rng.permutation(n + 100) / 8
    late = (at > EPOCH + 30).astype(np.int64)
    train = {"id": rng.permutation(n) * 3, "at": at[:n], "y": late[:n]}
    test = {"id": np.arange(2000, 2100), "at": at[n:]}
    competition = fetched(train, test, {"id": test["id"], "y": [0.5] * 100}, "AUC")
    small = {
        "model": "num_iterations = 20\nlearning_rate = 0.3\nearly_stopping_round = 0",
        "xgboost": "num_boost_round = 20\nearly_stopping_rounds = 0",
        "catboost": "iterations = 20\nearly_stopping_rounds = 0",
    }[kind]
    path = competition.folder / "experiments" / "001.toml"
    path.write_text(f'features = ["rows"]\n[{kind}]\n{small}\n')
    outcome = run(Workspace(competition.folder.parents[1]), competition, 1)
    assert outcome.run.record.cv_mean > 0.99
    sent = pl.read_csv(outcome.run.folder / "submission.csv").sort("id")["y"].to_numpy()
    # A row or two lie between the train rows next to the border.
    assert ((sent > 0.5) == (late[n:] == 1)).mean() >= 0.97
    said = [note for note in outcome.notes if "32 bits" in note]
    assert len(said) == (kind != "model")
