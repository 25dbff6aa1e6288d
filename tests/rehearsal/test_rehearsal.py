from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sk

from tests.platform_contract import Hosted, PlatformContract
from tests.small import make_frame
from workbench.core.errors import (
    ConfigError,
    DamagedError,
    DataError,
    NotFoundError,
    PlatformError,
    WorkbenchError,
)
from workbench.platforms.protocol import medal
from workbench.rehearsal import LocalPlatform, RehearsalSpec, create
from workbench.rehearsal.leaderboard import standing
from workbench.rehearsal.split import rows_after


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Host "small" in a workspace; return (workspace, rehearsal folder)."""

    def host(
        frame: pl.DataFrame | None = None, *, force: bool = False, suffix: str = ".csv", **options: Any
    ) -> tuple[Path, Path]:
        (tmp_path / "competitions").mkdir(exist_ok=True)
        train = tmp_path / f"all{suffix}"
        rows = make_frame(300) if frame is None else frame
        if suffix == ".parquet":
            rows.write_parquet(train)
        else:
            rows.write_csv(train, separator="\t" if suffix == ".tsv" else ",")
        spec: dict[str, Any] = {"train": train, "targets": ("y",), "metric": "auc", "holdout": 0.3}
        if options.get("after"):
            spec["holdout"] = None
        folder = create(tmp_path, "small", RehearsalSpec(**(spec | options)), force=force)
        return tmp_path, folder

    return host


def served(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_csv(folder / "files" / f"{name}.csv")


def solution(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "solution.parquet")


def send(workspace: Path, frame: pl.DataFrame, now: Callable[[], datetime] | None = None) -> Any:
    path = workspace / "sent.csv"
    frame.write_csv(path)
    platform = LocalPlatform(workspace, *([now] if now else []))
    platform.submit("small", path, "m")
    return platform.submissions("small")[0]


class TestRehearsal(PlatformContract):
    @pytest.fixture
    def hosted(self, make: Callable[..., tuple[Path, Path]], tmp_path: Path) -> Hosted:
        workspace, folder = make(daily_limit=3)
        good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
        sample = served(folder, "sample_submission")
        sample.with_columns(y=pl.Series(np.linspace(0, 1, sample.height))).write_csv(good)
        sample.head(5).write_csv(bad)
        facts = {
            "title": "small",
            "metric": "auc",
            "greater_is_better": True,
            "task": "binary",
            "id_columns": ("id",),
            "target_columns": ("y",),
            "weight_column": None,
            "deadline": None,
            "daily_limit": 3,
        }
        return Hosted(LocalPlatform(workspace), "small", "smal", good, bad, facts=facts)


class TestCreate:
    def test_rows_are_split_and_the_solution_is_hidden(self, make: Any) -> None:
        _, folder = make()
        whole = make_frame(300)
        train, test, hidden = served(folder, "train"), served(folder, "test"), solution(folder)
        assert (train.height, test.height) == (210, 90)
        assert sorted([*train["id"], *test["id"]]) == whole["id"].to_list()
        assert "y" not in test.columns
        assert sorted(hidden["id"].cast(pl.Int64)) == sorted(test["id"])
        for path in (folder / "files").iterdir():
            assert path.name in ("train.csv", "test.csv", "sample_submission.csv")
        truth = dict(whole.select("id", "y").iter_rows())
        assert all(truth[int(i)] == int(y) for i, y in hidden.select("id", "y").iter_rows())
        assert hidden["usage"].value_counts().sort("usage")["count"].to_list() == [63, 27]

    def test_what_is_served_holds_no_solution(self, make: Any) -> None:
        marked = make_frame(300).with_columns(
            y=pl.when(pl.col("y") == 1).then(pl.lit("secret-1")).otherwise(pl.lit("0"))
        )
        workspace, folder = make(marked)
        for file in LocalPlatform(workspace).files("small"):
            text = (folder / "files" / file.name).read_text()
            assert ("secret-1" in text) == (file.name == "train.csv")

    def test_sample_and_test_have_the_same_rows_in_the_same_order(self, make: Any) -> None:
        for options in ({"holdout": 0.3}, {"after": ("day", "2024-05-01")}):
            _, folder = make(force=True, **options)
            ids = served(folder, "test")["id"].to_list()
            assert served(folder, "sample_submission")["id"].to_list() == ids
            assert solution(folder)["id"].cast(pl.Int64).to_list() == ids

    def test_the_seed_decides(self, make: Any) -> None:
        seen = []
        for seed in (1, 1, 2):
            _, folder = make(force=True, seed=seed)
            seen.append(((folder / "files" / "test.csv").read_text(), solution(folder)["usage"].to_list()))
        assert seen[0] == seen[1]
        assert seen[0][0] != seen[2][0]
        assert seen[0][1] != seen[2][1]

    def test_parquet_stays_parquet(self, make: Any) -> None:
        frame = make_frame(300)
        _, folder = make(frame, suffix=".parquet")
        train = pl.read_parquet(folder / "files" / "train.parquet")
        test = pl.read_parquet(folder / "files" / "test.parquet")
        assert train.schema == frame.schema
        assert test.drop("id").columns == frame.drop("id", "y").columns
        both = pl.concat([train.drop("y"), test.select(train.drop("y").columns)]).sort("id")
        assert both.equals(frame.select(both.columns).sort("id"))

    def test_tabs_are_read(self, make: Any) -> None:
        _, folder = make(suffix=".tsv")
        assert served(folder, "train").columns == make_frame(300).columns

    def test_quotes_and_empty_cells_survive(self, make: Any) -> None:
        odd = pl.Series(["a,b", 'say "hi"', "", None, "two\nlines", " é "] * 50)
        frame = make_frame(300).with_columns(odd=odd)
        _, folder = make(frame)
        files = [pl.read_csv(folder / "files" / f"{n}.csv", infer_schema=False) for n in ("train", "test")]
        got = dict(pl.concat([f.select("id", "odd") for f in files]).iter_rows())
        assert got == {str(i): v for i, v in frame.select("id", "odd").iter_rows()}

    def test_row_counts_are_noted(self, make: Any) -> None:
        _, folder = make(title='A "small" one')
        host = tomllib.loads((folder / "host.toml").read_text())
        assert (host["rows_train"], host["rows_test"], host["rows_public"]) == (210, 90, 27)
        assert host["title"] == 'A "small" one'

    def test_a_null_id_is_passed_over(self, make: Any) -> None:
        gap = make_frame(300).with_columns(id=pl.when(pl.col("id") == 1005).then(None).otherwise("id"))
        _, folder = make(gap)
        assert served(folder, "sample_submission").columns == ["row_id", "y"]

    def test_the_column_of_after_may_be_dropped(self, make: Any) -> None:
        _, folder = make(after=("day", "2024-05-01"), drop=("day",))
        assert "day" not in served(folder, "train").columns
        assert served(folder, "test").height == (make_frame(300)["day"] >= date(2024, 5, 1)).sum()

    def test_weights_are_hidden_from_test(self, make: Any) -> None:
        frame = make_frame(300, task="regression").with_columns(weight=1 + pl.col("id") % 3)
        _, folder = make(frame, metric="wmae", weight="weight")
        assert "weight" in served(folder, "train").columns
        assert "weight" not in served(folder, "test").columns

    @pytest.mark.parametrize(
        ("frame", "metric", "task"),
        [
            (make_frame(300), "auc", "binary"),
            (make_frame(300), "mlogloss", "multiclass"),
            (make_frame(300), "rmse", "regression"),
            (make_frame(300, task="multiclass"), "accuracy", "multiclass"),
            (make_frame(300).with_columns(y=pl.col("id") % 60), "gini", "regression"),
            (make_frame(300).with_columns(y=pl.col("id") % 60), "accuracy", "multiclass"),
            (make_frame(300).with_columns(y=pl.col("x")), "gini", "regression"),
        ],
    )
    def test_the_task_is_inferred(self, make: Any, frame: pl.DataFrame, metric: str, task: str) -> None:
        workspace, _ = make(frame, metric=metric)
        assert LocalPlatform(workspace).facts("small").task == task

    def test_the_order_does_not_tell(self, make: Any) -> None:
        _, folder = make()
        ids = served(folder, "test")["id"].to_list()
        assert ids != sorted(ids)

    def test_after_a_day(self, make: Any) -> None:
        _, folder = make(after=("day", "2024-05-01"))
        assert served(folder, "train")["day"].max() < "2024-05-01"
        assert served(folder, "test")["day"].min() >= "2024-05-01"
        ids = served(folder, "test")["id"].to_list()
        assert ids == sorted(ids)

    def test_after_a_number_compares_numbers(self, make: Any) -> None:
        _, folder = make(after=("household", "9"))
        assert served(folder, "test")["household"].min() >= 9
        assert served(folder, "train")["household"].max() < 9

    def test_values_are_not_rewritten(self, make: Any) -> None:
        frame = make_frame(300).with_columns(code=pl.lit("007"), price=pl.lit("1.50"))
        workspace, folder = make(frame)
        raw = pl.read_csv(folder / "files" / "train.csv", infer_schema=False)
        assert set(raw["code"]) == {"007"}
        assert set(raw["price"]) == {"1.50"}

    def test_an_id_is_added_where_there_is_none(self, make: Any) -> None:
        _, folder = make(make_frame(300).drop("id"))
        assert served(folder, "test").columns[0] == "row_id"
        assert served(folder, "sample_submission").columns == ["row_id", "y"]

    def test_dropped_columns_are_nowhere(self, make: Any) -> None:
        _, folder = make(drop=("z",))
        assert "z" not in served(folder, "train").columns
        assert "z" not in served(folder, "test").columns

    def test_further_tables_are_served_as_they_are(self, make: Any, tmp_path: Path) -> None:
        table = tmp_path / "towns.csv"
        table.write_text("town,size\na,1\n")
        _, folder = make(tables=(table,))
        assert (folder / "files" / "towns.csv").read_text() == table.read_text()

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"holdout": None}, ConfigError, "give either --holdout"),
            ({"holdout": 1.5}, ConfigError, "--holdout 1.5"),
            ({"public": 0.0}, ConfigError, "--public 0.0"),
            ({"targets": ("t",)}, NotFoundError, "has no column 't'"),
            ({"metric": "aucc"}, NotFoundError, "did you mean 'auc'"),
            ({"metric": "mine.py:score"}, ConfigError, "--greater-is-better or --less-is-better"),
            ({"metric": "wmae"}, ConfigError, "needs --weight"),
            ({"train": Path("nowhere.csv")}, NotFoundError, "there is no file nowhere.csv"),
            ({"ids": ("town",)}, DataError, "id town .* is not unique"),
            ({"after": ("day", "2030-01-01")}, DataError, "0 of 300 rows .* fall on the test side"),
            ({"after": ("dey", "2030-01-01")}, NotFoundError, "did you mean 'day'"),
            ({"after": ("household", "x")}, ConfigError, "can't be compared"),
            ({"after": ("day", "x")}, ConfigError, "can't be compared with '2024-01-0.': the column has dates"),
            ({"after": ("day", "2000-01-01")}, DataError, "300 of 300 rows .* fall on the test side"),
            ({"after": ("day", "2024-05-01"), "holdout": 0.2}, ConfigError, "give either --holdout"),
            ({"targets": ()}, ConfigError, "needs a target"),
            ({"targets": ("y", "y")}, ConfigError, "'y' is named twice"),
            ({"ids": ("idd",)}, NotFoundError, "did you mean 'id'"),
            ({"drop": ("tovn",)}, NotFoundError, "did you mean 'town'"),
            ({"drop": ("y",)}, ConfigError, "--drop y: the competition needs it"),
            ({"weight": "town"}, DataError, "weight 'town' .* has 300 values that are negative or not numbers"),
            ({"daily_limit": 0}, ConfigError, "--daily-limit 0"),
            ({"task": "binry"}, ConfigError, "did you mean 'binary'"),
            ({"task": "multiclass", "metric": "rmse"}, ConfigError, "compares numbers, and the task multiclass"),
            ({"targets": ("town",), "task": "binary"}, DataError, "'town' has 12"),
            ({"targets": ("town",), "metric": "rmse"}, DataError, "not a number everywhere.* 300 values"),
            ({"targets": ("town", "household"), "metric": "mlogloss"}, ConfigError, "needs a column per class"),
            ({"deadline": datetime(2030, 1, 1)}, ConfigError, "has no time zone"),  # noqa: DTZ001
            ({"tables": (Path("nowhere.csv"),)}, NotFoundError, "there is no file nowhere.csv"),
            ({"leaderboard": Path("nowhere.csv")}, NotFoundError, "there is no file nowhere.csv"),
            ({"metric": "nowhere.py:f", "greater_is_better": True}, NotFoundError, "there is no file nowhere.py"),
            ({"metric": f"{__file__}:f", "greater_is_better": True}, NotFoundError, "can't be loaded"),
            ({"public": 0.001}, DataError, "can't score this competition's own sample .* 1 public and 89 private rows"),
        ],
    )
    def test_wrong_options_are_explained_and_leave_nothing(
        self, make: Any, tmp_path: Path, options: dict[str, Any], error: type[WorkbenchError], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            make(**options)
        assert list((tmp_path / "competitions").iterdir()) == []

    @pytest.mark.parametrize("slug", ["", "a/b", "../a", "a b"])
    def test_a_slug_is_a_folder_name(self, tmp_path: Path, slug: str) -> None:
        with pytest.raises(ConfigError, match="is not a valid competition name"):
            create(tmp_path, slug, RehearsalSpec(tmp_path / "all.csv", ("y",), "auc", holdout=0.2))

    @pytest.mark.parametrize("name", ["train.csv", "test.parquet", "sample_submission.csv"])
    def test_a_table_may_not_take_a_served_name(self, make: Any, tmp_path: Path, name: str) -> None:
        (tmp_path / "tables").mkdir()
        table = tmp_path / "tables" / name
        table.write_text("a\n1\n")
        with pytest.raises(ConfigError, match="another data file"):
            make(tables=(table,))

    def test_two_tables_of_one_name_are_refused(self, make: Any, tmp_path: Path) -> None:
        tables = []
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            tables.append(tmp_path / folder / "towns.csv")
            tables[-1].write_text("a\n1\n")
        with pytest.raises(ConfigError, match="towns.csv: another data file"):
            make(tables=tuple(tables))

    def test_a_column_called_usage_is_refused(self, make: Any) -> None:
        with pytest.raises(ConfigError, match="a column called 'usage'"):
            make(make_frame(300).rename({"y": "usage"}), targets=("usage",))

    def test_a_class_called_as_the_id_is_refused(self, make: Any) -> None:
        frame = make_frame(300, task="multiclass").with_columns(pl.col("y").replace("low", "id"))
        with pytest.raises(ConfigError, match="has a class 'id'"):
            make(frame, metric="mlogloss")

    def test_a_null_in_a_named_id_is_counted(self, make: Any) -> None:
        gap = make_frame(300).with_columns(id=pl.when(pl.col("id") < 1003).then(None).otherwise("id"))
        with pytest.raises(DataError, match="id id of .* is empty in 3 of 300 rows"):
            make(gap, ids=("id",))

    def test_a_gap_in_after_is_counted(self, make: Any) -> None:
        gap = make_frame(300).with_columns(x=pl.when(pl.col("id") < 1003).then(None).otherwise("x"))
        with pytest.raises(DataError, match="--after: 'x' has 3 empty values"):
            make(gap, after=("x", "0"))

    @pytest.mark.parametrize(
        ("suffix", "content"), [(".csv", b""), (".csv", b"a,y\n" + b"1,0\n2,1\n" * 20 + b"1,2,3\n"), (".parquet", b"x")]
    )
    def test_a_file_that_can_not_be_read_is_named(self, tmp_path: Path, suffix: str, content: bytes) -> None:
        train = tmp_path / f"odd{suffix}"
        train.write_bytes(content)
        with pytest.raises(DataError, match=f"odd{suffix} can't be read"):
            create(tmp_path, "small", RehearsalSpec(train, ("y",), "auc", holdout=0.2))
        assert not (tmp_path / "competitions").exists() or list((tmp_path / "competitions").iterdir()) == []

    def test_an_empty_target_is_counted(self, make: Any) -> None:
        frame = make_frame(300).with_columns(y=pl.when(pl.col("id") < 1010).then(None).otherwise("y"))
        with pytest.raises(DataError, match="has 10 empty values among 300 rows"):
            make(frame)

    def test_a_line_with_too_many_cells_is_noticed(self, make: Any, tmp_path: Path) -> None:
        make_frame(300).write_csv(tmp_path / "long.csv")
        with (tmp_path / "long.csv").open("a") as file:
            file.write("9999,0,0,town 1,1,2024-07-01,1,surplus\n")
        with pytest.raises(DataError, match=r"long.csv can't be read: line 302 has 8 fields, the header has 7"):
            make(train=tmp_path / "long.csv", drop=("z",))

    def test_a_rehearsal_is_not_overwritten_unasked(self, make: Any) -> None:
        workspace, folder = make()
        send(workspace, served(folder, "sample_submission").with_columns(y=pl.Series(np.linspace(0, 1, 90))))
        with pytest.raises(ConfigError, match="--force replaces it, and keeps its 1 submission"):
            make()
        make(force=True)
        kept = list((workspace / "competitions" / "small").glob("rehearsal-submissions-*/*.json"))
        assert len(kept) == 1
        assert LocalPlatform(workspace).submissions("small") == []
        assert sorted(p.name.partition("-2")[0] for p in folder.parent.iterdir()) == [
            "rehearsal",
            "rehearsal-submissions",
        ]

    def test_a_failure_leaves_the_old_one(self, make: Any) -> None:
        workspace, folder = make()
        before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        with pytest.raises(DataError, match="own sample"):
            make(force=True, public=0.001)
        assert {p: p.read_bytes() for p in folder.parent.rglob("*") if p.is_file()} == before


class TestAfter:
    @pytest.mark.parametrize(
        ("values", "value", "first"),
        [
            ([2, 10, 9], "9", [10, 9]),
            ([2.5, 10.0, 9.0], "2.6", [10.0, 9.0]),
            ([2**60, 2**60 + 1], str(2**60 + 1), [2**60 + 1]),
            (["2", "10", "9"], "9", ["10", "9"]),
            ([str(2**60), str(2**60 + 1)], str(2**60 + 1), [str(2**60 + 1)]),
            (["a", "b", "c"], "b", ["b", "c"]),
            (["2024-01-31", "2024-02-01"], "2024-02-01", ["2024-02-01"]),
            (["2024-02-01 05:00", "2024-02-01 07:00"], "2024-02-01T06:00", ["2024-02-01 07:00"]),
            (["2024-02-01", "2024-01-31"], "2024-02-01 00:00:00", ["2024-02-01"]),
            (["2024-02-01T05:00:00Z", "2024-02-01T07:00:00Z"], "2024-02-01 06:00", ["2024-02-01T07:00:00Z"]),
            ([date(2024, 1, 31), date(2024, 2, 1)], "2024-02-01", [date(2024, 2, 1)]),
            ([datetime(2024, 1, 31, 23), datetime(2024, 2, 1)], "2024-02-01", [datetime(2024, 2, 1)]),  # noqa: DTZ001
        ],
    )
    def test_the_value_is_read_as_the_column_is(self, values: list[Any], value: str, first: list[Any]) -> None:
        series = pl.Series("c", values)
        assert series.filter(rows_after(series, value)).to_list() == first

    def test_a_time_zone_counts(self) -> None:
        hours = pl.Series([datetime(2024, 2, 1, h) for h in range(6)]).dt.replace_time_zone("America/New_York")  # noqa: DTZ001
        assert rows_after(hours, "2024-02-01T03:00").sum() == 3
        assert rows_after(hours, "2024-02-01T06:00+00:00").sum() == 5  # one o'clock in New York

    @pytest.mark.parametrize(
        ("values", "value", "message"),
        [
            (["01/31/2024", "02/01/2024"], "02/01/2024", "not all in ISO form"),
            (["2024-1-31", "2024-02-01"], "2024-02-01", "not all in ISO form"),
            (["2024-01-31", "2024-02-01"], "3", "the column has dates"),
            (["1", "2", "n/a"], "2", "also 1 other values"),
            ([1, 2], "x", "can't be compared with '1'"),
            ([datetime(2024, 1, 31)], "2024-01-01T00:00+00:00", "can't be compared"),  # noqa: DTZ001
            ([timedelta(1)], "2024-01-01", "can't be compared"),
        ],
    )
    def test_what_can_not_be_compared_is_refused(self, values: list[Any], value: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            rows_after(pl.Series("c", values), value)


class TestScores:
    def check(self, workspace: Path, folder: Path, sent: pl.DataFrame, score: Callable[[pl.DataFrame], float]) -> None:
        """Send `sent` and compare both scores with `score` of the joined frame's two parts."""
        got = send(workspace, sent)
        assert got.status == "complete", got.error
        keys = ["id"] if "id" in sent.columns else sent.columns[:2]
        joined = solution(folder).join(
            sent.with_columns(pl.col(k).cast(pl.String) for k in keys), on=keys, suffix="_sent", how="left"
        )
        for usage, value in (("public", got.public_score), ("private", got.private_score)):
            assert value == pytest.approx(score(joined.filter(pl.col("usage") == usage)))

    def noise(self, folder: Path) -> pl.DataFrame:
        sample = served(folder, "sample_submission")
        return sample.with_columns(y=pl.Series(np.random.default_rng(0).random(sample.height)))

    def test_binary_probabilities(self, make: Any) -> None:
        workspace, folder = make()
        sent = self.noise(folder).sample(fraction=1, shuffle=True, seed=1)
        self.check(workspace, folder, sent, lambda f: sk.roc_auc_score(f["y"].cast(int), f["y_sent"]))

    def test_regression_and_its_sample(self, make: Any) -> None:
        workspace, folder = make(make_frame(300, task="regression"), metric="rmse")
        self.check(
            workspace, folder, self.noise(folder), lambda f: sk.root_mean_squared_error(f["y"].cast(float), f["y_sent"])
        )
        assert 'task = "regression"' in (folder / "host.toml").read_text()

    def test_several_targets(self, make: Any) -> None:
        workspace, folder = make(make_frame(300, task="two"), targets=("y", "w"), metric="mae")
        sample = served(folder, "sample_submission")
        assert sample.columns == ["id", "y", "w"]
        sent = sample.with_columns(y=pl.lit(0.5), w=pl.lit(0.1))
        self.check(
            workspace,
            folder,
            sent,
            lambda f: (f["y"].cast(float) - 0.5).abs().mean() / 2 + (f["w"].cast(float) - 0.1).abs().mean() / 2,
        )

    def test_class_probabilities(self, make: Any) -> None:
        workspace, folder = make(make_frame(300, task="multiclass"), metric="mlogloss")
        sample = served(folder, "sample_submission")
        assert sample.columns == ["id", "high", "low", "mid"]
        assert float(sample.select("high", "low", "mid").sum_horizontal()[0]) == pytest.approx(1)
        sent = sample.with_columns(high=pl.lit(0.2), low=pl.lit(0.3), mid=pl.lit(0.5))
        odds = {"high": 0.2, "low": 0.3, "mid": 0.5}
        self.check(workspace, folder, sent, lambda f: -np.mean([np.log(odds[v]) for v in f["y"]]))

    def test_labels_as_text(self, make: Any) -> None:
        workspace, folder = make(make_frame(300, task="multiclass"), metric="macro_f1")
        sample = served(folder, "sample_submission")
        rng = np.random.default_rng(1)
        sent = sample.with_columns(y=pl.Series(rng.choice(["low", "mid", "high"], sample.height)))
        self.check(workspace, folder, sent, lambda f: sk.f1_score(f["y"], f["y_sent"], average="macro"))

    def test_the_three_best_labels(self, make: Any) -> None:
        workspace, folder = make(make_frame(300, task="multiclass"), metric="map@2")
        sample = served(folder, "sample_submission")
        assert len(sample["y"][0].split()) == 2
        sent = sample.with_columns(y=pl.lit("mid low"))
        self.check(workspace, folder, sent, lambda f: ((f["y"] == "mid") + 0.5 * (f["y"] == "low").cast(float)).mean())

    def test_two_id_columns(self, make: Any) -> None:
        frame = make_frame(300).with_columns(store=pl.col("id") // 10, item=pl.col("id") % 10).drop("id")
        workspace, folder = make(frame, ids=("store", "item"))
        self.check(workspace, folder, self.noise(folder), lambda f: sk.roc_auc_score(f["y"].cast(int), f["y_sent"]))

    def test_ids_beyond_what_a_float_holds(self, make: Any) -> None:
        frame = make_frame(300).with_columns(id=pl.col("id") + 2**60)
        workspace, folder = make(frame)
        self.check(workspace, folder, self.noise(folder), lambda f: sk.roc_auc_score(f["y"].cast(int), f["y_sent"]))

    def test_a_metric_of_ones_own(self, make: Any, tmp_path: Path) -> None:
        own = tmp_path / "mine.py"
        own.write_text("def worst(t, p):\n    return abs(t - p).max()\n")
        frame = make_frame(300, task="regression")
        workspace, folder = make(frame, metric=f"{own}:worst", greater_is_better=False, task="regression")
        self.check(workspace, folder, self.noise(folder), lambda f: (f["y"].cast(float) - f["y_sent"]).abs().max())

    def test_binary_labels_of_several_targets(self, make: Any) -> None:
        frame = make_frame(300).with_columns(w=pl.when(pl.col("x") > 0).then(pl.lit("yes")).otherwise(pl.lit("no")))
        workspace, folder = make(frame, targets=("y", "w"), metric="accuracy")
        rng = np.random.default_rng(2)
        sent = served(folder, "sample_submission").with_columns(
            y=pl.Series(rng.integers(0, 2, 90)), w=pl.Series(rng.choice(["yes", "no"], 90))
        )

        def score(f: pl.DataFrame) -> float:
            first = sk.accuracy_score(f["y"].cast(int), f["y_sent"])
            return float(first + sk.accuracy_score(f["w"], f["w_sent"])) / 2

        self.check(workspace, folder, sent, score)

    def test_binary_probabilities_of_several_targets(self, make: Any) -> None:
        frame = make_frame(300).with_columns(w=(pl.col("x") > 0).cast(pl.Int64))
        workspace, folder = make(frame, targets=("y", "w"), metric="auc")
        sent = self.noise(folder).with_columns(w=pl.Series(np.random.default_rng(3).random(90)))

        def score(f: pl.DataFrame) -> float:
            first = sk.roc_auc_score(f["y"].cast(int), f["y_sent"])
            return float(first + sk.roc_auc_score(f["w"].cast(int), f["w_sent"])) / 2

        self.check(workspace, folder, sent, score)

    def test_weights(self, make: Any) -> None:
        frame = make_frame(300, task="regression").with_columns(weight=1 + pl.col("id") % 3)
        workspace, folder = make(frame, metric="wmae", weight="weight")

        def score(f: pl.DataFrame) -> float:
            return float(sk.mean_absolute_error(f["y"].cast(float), f["y_sent"], sample_weight=f["weight"].cast(float)))

        self.check(workspace, folder, self.noise(folder), score)
        assert LocalPlatform(workspace).facts("small").weight_column == "weight"

    def test_map_at_3(self, make: Any) -> None:
        frame = make_frame(300).with_columns(y=pl.col("id") % 7)
        workspace, folder = make(frame, metric="map@3")
        # A label beyond the third, an unknown one and an empty place are wrong answers, no errors.
        sent = served(folder, "sample_submission").with_columns(y=pl.lit("5 nothing  3 1"))
        odds = {"5": 1.0, "3": 1 / 3}
        self.check(workspace, folder, sent, lambda f: np.mean([odds.get(v, 0.0) for v in f["y"]]))

    def test_text_ids(self, make: Any) -> None:
        frame = make_frame(300).with_columns(id=pl.format("row, {}", "id"))
        workspace, folder = make(frame)
        self.check(workspace, folder, self.noise(folder), lambda f: sk.roc_auc_score(f["y"].cast(int), f["y_sent"]))

    def test_ids_with_leading_zeros(self, make: Any) -> None:
        frame = make_frame(300).with_columns(id=pl.format("00{}", "id"))
        workspace, folder = make(frame)
        sample = pl.read_csv(folder / "files" / "sample_submission.csv", infer_schema=False)
        assert sample["id"].str.starts_with("00").all()
        assert send(workspace, sample).status == "complete"
        assert "90 ids are missing" in str(send(workspace, sample.cast({"id": pl.Int64})).error)

    def test_times_as_ids(self, make: Any) -> None:
        hours = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 2, 1), "1h", eager=True)  # noqa: DTZ001
        workspace, folder = make(make_frame(300).with_columns(id=hours.head(300)), suffix=".parquet")
        assert send(workspace, served(folder, "sample_submission")).status == "complete"

    @pytest.mark.parametrize(
        ("labels", "sent"),
        [
            (["0.0", "1.0"], ["0", "1"]),
            (["0", "1"], ["0.0", "1.0"]),
            (["01", "02"], ["1", "2"]),
            (["True", "False"], ["true", "false"]),
            (["1", "01"], ["1", "01"]),
            (["-1", "1"], ["-1", "1"]),
        ],
    )
    def test_a_label_counts_however_it_is_written(self, make: Any, labels: list[str], sent: list[str]) -> None:
        one = pl.col("y") == 1
        written = pl.when(one).then(pl.lit(labels[1])).otherwise(pl.lit(labels[0]))
        workspace, folder = make(make_frame(300).with_columns(y=written), metric="accuracy")
        best = dict(zip(labels, sent, strict=True))
        hidden = solution(folder)
        answer = hidden.select("id", y=pl.col("y").replace_strict(best))
        assert send(workspace, answer).public_score == 1.0

    @pytest.mark.parametrize("kind", [pl.Boolean, pl.Float64, pl.Int8, pl.Categorical])
    def test_labels_of_any_type(self, make: Any, kind: Any) -> None:
        frame = make_frame(300)
        y = frame["y"].cast(pl.String).cast(kind) if kind == pl.Categorical else frame["y"].cast(kind)
        workspace, folder = make(frame.with_columns(y), suffix=".parquet", metric="accuracy")
        assert send(workspace, solution(folder).select("id", "y")).private_score == 1.0

    @pytest.mark.parametrize(
        ("task", "metric", "expected"),
        [
            ("binary", "auc", lambda y: {"y": y.mean()}),
            ("binary", "f1", lambda y: {"y": y.mode()[0]}),
            ("regression", "rmse", lambda y: {"y": y.median()}),
            ("multiclass", "macro_f1", lambda y: {"y": y.mode()[0]}),
            ("multiclass", "mlogloss", lambda y: {c: (y == c).mean() for c in ("high", "low", "mid")}),
            ("multiclass", "map@3", lambda y: {"y": " ".join(y.value_counts(sort=True)["y"])}),
        ],
    )
    def test_the_sample_is_the_best_constant(self, make: Any, task: str, metric: str, expected: Any) -> None:
        _, folder = make(make_frame(300, task=task), metric=metric)
        sample = served(folder, "sample_submission").drop("id")
        assert sample.unique().height == 1
        for name, value in expected(served(folder, "train")["y"]).items():
            assert sample[name][0] == (pytest.approx(value) if isinstance(value, float) else value)

    def test_an_own_metric_that_fails_is_explained(self, make: Any, tmp_path: Path) -> None:
        own = tmp_path / "mine.py"
        own.write_text("def half(t, p):\n    return 1 / (len(set(p)) - 1)\n")
        frame = make_frame(300, task="regression")
        workspace, folder = make(frame, metric=f"{own}:half", greater_is_better=True)
        assert not list((folder / "files").glob("*.py"))
        got = send(workspace, served(folder, "sample_submission"))
        assert got.status == "error"
        assert "metric 'half' failed: ZeroDivisionError" in got.error

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "not a CSV file"),
            (b"\xff\xfe\x00", "expected the columns id, y"),
            (b"id,y\n1,2,3\n", "not a CSV file"),
            (b"PAR1", "not a Parquet file"),
        ],
    )
    def test_any_bytes_are_answered(self, make: Any, tmp_path: Path, content: bytes, message: str) -> None:
        workspace, _ = make()
        (tmp_path / "sent.csv").write_bytes(content)
        LocalPlatform(workspace).submit("small", tmp_path / "sent.csv", "m")
        (got,) = LocalPlatform(workspace).submissions("small")
        assert got.status == "error"
        assert re.search(message, str(got.error)), got.error

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda f: f.rename({"y": "Y"}), "missing ['y'], unknown ['Y']"),
            (lambda f: f.head(80), "10 ids are missing"),
            (lambda f: f.filter(~pl.col("id").is_in([1297, 1082, 1233, 1064])), "4 ids are missing, for example 1297,"),
            (lambda f: f.with_columns(z=1), "unknown ['z']"),
            (lambda f: f.with_columns(y=pl.lit("nan")), "are not finite numbers"),
            (lambda f: pl.concat([f, f.head(2)]), "4 rows repeat an id"),
            (lambda f: f.with_columns(id=pl.col("id") + 1_000_000), "90 ids are missing"),
            (
                lambda f: pl.concat([f, f.head(1).with_columns(id=pl.lit(5, pl.Int64))]),
                "1 id is unknown, for example 5",
            ),
            (lambda f: f.with_columns(y=pl.lit(None)), "90 empty values"),
            # polars writes them in quotes, a missing value without.
            (lambda f: f.with_columns(y=pl.lit("")), "90 empty values"),
            (lambda f: f.with_columns(y=pl.lit("x")), "are not finite numbers, for example 'x'"),
            (lambda f: f.with_columns(y=pl.lit(float("inf"))), "are not finite numbers"),
        ],
    )
    def test_what_can_not_be_scored_is_explained(self, make: Any, spoil: Any, message: str) -> None:
        workspace, folder = make()
        got = send(workspace, spoil(self.noise(folder)))
        assert got.status == "error"
        assert message in got.error
        assert LocalPlatform(workspace).limits("small").remaining_today == 5


class TestTime:
    END = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)

    def test_private_scores_are_hidden_until_the_deadline(self, make: Any) -> None:
        workspace, folder = make(deadline=self.END)
        sent = TestScores().noise(folder)
        before, after = self.END - timedelta(days=1), self.END + timedelta(days=1)
        got = send(workspace, sent, now=lambda: before)
        assert got.public_score is not None
        assert got.private_score is None
        (later,) = LocalPlatform(workspace, lambda: after).submissions("small")
        assert later.private_score is not None

    def test_a_closed_competition_refuses(self, make: Any) -> None:
        workspace, folder = make(deadline=self.END)
        host = folder / "host.toml"
        host.write_text(host.read_text().replace("late_submissions = true", "late_submissions = false"))
        platform = LocalPlatform(workspace, lambda: self.END + timedelta(days=1))
        assert not platform.facts("small").accepts_submissions
        with pytest.raises(PlatformError, match="closed on 2026-12-31 23:59 UTC"):
            platform.submit("small", folder / "files" / "sample_submission.csv", "m")

    def test_one_without_a_deadline_never_closes_by_itself(self, make: Any) -> None:
        workspace, folder = make()
        host = folder / "host.toml"
        host.write_text(host.read_text().replace("late_submissions = true", "late_submissions = false"))
        got = send(workspace, TestScores().noise(folder))
        assert got.private_score is not None

    def test_late_submissions_show_both_scores(self, make: Any) -> None:
        workspace, folder = make(deadline=self.END)
        got = send(workspace, TestScores().noise(folder), now=lambda: self.END + timedelta(days=1))
        assert got.public_score is not None
        assert got.private_score is not None

    def test_a_host_can_close_it(self, make: Any) -> None:
        workspace, folder = make(deadline=self.END)
        host = folder / "host.toml"
        host.write_text(host.read_text().replace("closed = false", "closed = true"))
        platform = LocalPlatform(workspace, lambda: self.END - timedelta(days=1))
        assert not platform.facts("small").accepts_submissions
        with pytest.raises(PlatformError, match="'small' is closed"):
            platform.submit("small", folder / "files" / "sample_submission.csv", "m")
        assert platform.submissions("small") == []

    @pytest.mark.parametrize("text", ['"2026-12-31T23:59:00"', "2026-12-31T23:59:00Z", "2026-12-31T23:59:00"])
    def test_a_deadline_written_by_hand_is_utc(self, make: Any, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        workspace, folder = make()
        host = folder / "host.toml"
        host.write_text(host.read_text().replace('deadline = ""', f"deadline = {text}"))
        monkeypatch.setenv("TZ", "America/New_York")
        time.tzset()
        try:
            assert LocalPlatform(workspace).facts("small").deadline == self.END
        finally:
            monkeypatch.undo()
            time.tzset()

    def test_a_clock_of_another_zone_counts_utc_days(self, make: Any) -> None:
        workspace, folder = make(daily_limit=1)
        east = timezone(timedelta(hours=9))
        got = send(workspace, TestScores().noise(folder), now=lambda: datetime(2026, 11, 24, 8, 30, tzinfo=east))
        assert got.submitted_at.isoformat() == "2026-11-23T23:30:00+00:00"
        later = LocalPlatform(workspace, lambda: datetime(2026, 11, 24, 9, 30, tzinfo=east))
        assert later.limits("small").remaining_today == 1

    def test_at_the_same_moment_the_later_record_is_newer(self, make: Any) -> None:
        workspace, folder = make()
        platform = LocalPlatform(workspace, lambda: self.END)
        sample = folder / "files" / "sample_submission.csv"
        sent = [platform.submit("small", sample, str(i)) for i in range(5)]
        assert [s.ref for s in platform.submissions("small")] == sent[::-1]

    def test_a_new_day_brings_new_submissions(self, make: Any) -> None:
        workspace, folder = make(daily_limit=1)
        sent = TestScores().noise(folder)
        noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
        send(workspace, sent, now=lambda: noon)
        with pytest.raises(PlatformError, match="today's 1 submission"):
            send(workspace, sent, now=lambda: noon + timedelta(hours=11))
        assert send(workspace, sent, now=lambda: noon + timedelta(hours=13)).status == "complete"


SUBMITTER = """
import sys, pathlib
from workbench.core.errors import PlatformError
from workbench.rehearsal import LocalPlatform
platform, ok = LocalPlatform(pathlib.Path(sys.argv[1])), 0
for _ in range(4):
    try:
        platform.submit("small", pathlib.Path(sys.argv[2]), "m"); ok += 1
    except PlatformError:
        pass
print(ok)
"""


def test_two_processes_do_not_exceed_the_limit(make: Any) -> None:
    workspace, folder = make(daily_limit=5)
    sent = workspace / "sent.csv"
    TestScores().noise(folder).write_csv(sent)
    command = [sys.executable, "-c", SUBMITTER, str(workspace), str(sent)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sum(int(p.communicate(timeout=60)[0]) for p in both) == 5


class TestLeaderboard:
    BOARD = "Rank,TeamId,TeamName,LastSubmissionDate,Score,SubmissionCount\n" + "".join(
        f"{i + 1},{i},team {i},2024-01-01,{0.999 - i / 100},1\n" for i in range(99)
    )

    def test_a_given_one_ranks_the_best_score(self, make: Any, tmp_path: Path) -> None:
        (tmp_path / "board.csv").write_text(self.BOARD)
        workspace, folder = make(leaderboard=tmp_path / "board.csv")
        got = send(workspace, TestScores().noise(folder))
        board = LocalPlatform(workspace).leaderboard("small")
        assert len(board.entries) == 99
        assert board.public is not None
        assert board.private is not None
        better = sum(0.999 - i / 100 > got.public_score for i in range(99))
        assert (board.public.rank, board.public.teams) == (better + 1, 100)
        assert board.public.medal == medal(better + 1, 100)

    def test_a_wrong_one_is_explained(self, make: Any, tmp_path: Path) -> None:
        (tmp_path / "board.csv").write_text("a,b\n1,2\n")
        with pytest.raises(DamagedError, match="expected a team"):
            make(leaderboard=tmp_path / "board.csv")
        workspace, folder = make()
        (folder / "leaderboard.csv").write_text("a,b\n1,2\n")
        with pytest.raises(DamagedError, match="leaderboard.csv .* expected a team"):
            LocalPlatform(workspace).leaderboard("small")

    def test_without_one_ones_own_submissions_are_listed(self, make: Any) -> None:
        workspace, folder = make(make_frame(300, task="regression"), metric="rmse")
        platform = LocalPlatform(workspace)
        for level in (9.0, 1.0, 5.0):
            served(folder, "sample_submission").with_columns(y=level).write_csv(workspace / "sent.csv")
            platform.submit("small", workspace / "sent.csv", f"all {level:g}")
        board = platform.leaderboard("small")
        assert [team for team, _ in board.entries] == ["all 1", "all 5", "all 9"]
        assert (board.public, board.private) == (None, None)

    def test_the_private_standing_waits_for_the_deadline(self, make: Any, tmp_path: Path) -> None:
        (tmp_path / "board.csv").write_text("team,score\na,0.9\nb,0.1\nc,\nd,nan\n")
        end = TestTime.END
        workspace, folder = make(leaderboard=tmp_path / "board.csv", deadline=end)
        send(workspace, TestScores().noise(folder), now=lambda: end)
        before = LocalPlatform(workspace, lambda: end).leaderboard("small")
        assert before.entries == (("a", 0.9), ("b", 0.1))
        assert before.public is not None
        assert before.private is None
        assert LocalPlatform(workspace, lambda: end + timedelta(1)).leaderboard("small").private is not None

    @pytest.mark.parametrize(("score", "rank"), [(0.9, 1), (0.8, 1), (0.7, 2), (0.5, 2), (0.4, 4), (0.1, 4)])
    def test_equal_scores_do_not_push_back(self, score: float, rank: int) -> None:
        up = standing(score, [0.8, 0.5, 0.5], greater_is_better=True)
        down = standing(-score, [-0.8, -0.5, -0.5], greater_is_better=False)
        assert up == down
        assert (up.rank, up.teams, up.percentile) == (rank, 4, 25.0 * rank)

    @pytest.mark.parametrize(
        ("teams", "gold", "silver", "bronze"),
        [(10, 1, 2, 4), (99, 9, 19, 39), (100, 10, 20, 40), (249, 10, 49, 99), (250, 10, 50, 100), (999, 11, 50, 100)]
        + [(1000, 12, 50, 100), (2000, 14, 100, 200), (5000, 20, 250, 500)],
    )
    def test_medals(self, teams: int, gold: int, silver: int, bronze: int) -> None:
        found = [medal(rank, teams) for rank in range(1, teams + 1)]
        counts = [found.count("gold"), found.count("silver") + gold, found.count("bronze") + silver]
        assert counts == [gold, silver, bronze]
        order = {"gold": 0, "silver": 1, "bronze": 2, None: 3}
        assert found == sorted(found, key=lambda m: order[m])


@pytest.mark.parametrize("name", ["host.toml", "solution.parquet"])
@pytest.mark.parametrize("harm", ["changed", "gone", "half"])
def test_damage_is_named(make: Any, name: str, harm: str) -> None:
    workspace, folder = make()
    sent = TestScores().noise(folder)
    path = folder / name
    whole = path.read_bytes()
    path.unlink()
    if harm != "gone":
        path.write_bytes(b"damaged" if harm == "changed" else whole[: len(whole) // 2])
    with pytest.raises(DamagedError, match=name):
        send(workspace, sent)
    assert list((folder / "submissions").iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("daily_limit = 5", 'daily_limit = "5"', "daily_limit: Input should be a valid integer"),
        ("daily_limit = 5", "", "daily_limit: "),
        ("daily_limit", "daily_limt", "unknown key 'daily_limt'; did you mean 'daily_limit'"),
        ('deadline = ""', 'deadline = "soon"', "soon"),
    ],
)
def test_a_wrong_key_of_the_host_is_named(make: Any, old: str, new: str, message: str) -> None:
    workspace, folder = make()
    host = folder / "host.toml"
    host.write_text(host.read_text().replace(old, new))
    with pytest.raises(DamagedError, match=f"host.toml is damaged: .*{message}"):
        LocalPlatform(workspace).facts("small")


def test_a_host_of_the_first_version_is_read(make: Any) -> None:
    workspace, folder = make()
    host = folder / "host.toml"
    lines = host.read_text().replace('[["0", "1"]]', '["0", "1"]').splitlines()
    host.write_text("\n".join(line for line in lines if not line.startswith(("closed", "rows_"))))
    assert send(workspace, TestScores().noise(folder)).status == "complete"


@pytest.mark.parametrize("change", [lambda f: f.drop("y"), lambda f: f.head(50)])
def test_another_solution_is_not_graded_with(make: Any, change: Any) -> None:
    workspace, folder = make()
    change(solution(folder)).write_parquet(folder / "solution.parquet")
    with pytest.raises(DamagedError, match="solution.parquet"):
        send(workspace, TestScores().noise(folder))


def test_a_damaged_record_is_named(make: Any) -> None:
    workspace, folder = make()
    send(workspace, TestScores().noise(folder))
    (record,) = (folder / "submissions").glob("*.json")
    record.write_text("{}")
    with pytest.raises(DamagedError, match=record.name):
        LocalPlatform(workspace).submissions("small")


def test_a_file_that_changes_while_it_is_copied_is_noticed(make: Any, tmp_path: Path) -> None:
    workspace, folder = make()
    path = folder / "files" / "train.csv"
    platform = LocalPlatform(workspace)
    stat = path.stat()
    platform.files("small")
    path.write_bytes(path.read_bytes()[:-2] + b"9\n")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(PlatformError, match="changed while it was copied"):
        platform.download("small", "train.csv", tmp_path / "got" / "train.csv")
    assert list((tmp_path / "got").iterdir()) == []


def test_a_file_that_was_replaced_is_hashed_again(make: Any) -> None:
    workspace, folder = make()
    platform = LocalPlatform(workspace)
    before = {f.name: f.sha256 for f in platform.files("small")}
    (folder / "files" / "train.csv").write_text("new\n")
    assert {f.name: f.sha256 for f in platform.files("small")}["train.csv"] != before["train.csv"]


def test_the_solution_can_not_be_downloaded(make: Any, tmp_path: Path) -> None:
    workspace, _ = make()
    for name in ("solution.parquet", "../solution.parquet", "files/../../solution.parquet"):
        with pytest.raises(NotFoundError, match="has no file"):
            LocalPlatform(workspace).download("small", name, tmp_path / "got")
