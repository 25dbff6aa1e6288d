from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sk

from tests.platform_contract import Hosted, PlatformContract
from tests.small import make_frame
from workbench.errors import ConfigError, DamagedError, DataError, NotFoundError, PlatformError, WorkbenchError
from workbench.rehearsal import Rehearsal, RehearsalSpec, create, medal


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Host "small" in a workspace; return (workspace, rehearsal folder)."""

    def host(frame: pl.DataFrame | None = None, *, force: bool = False, **options: Any) -> tuple[Path, Path]:
        (tmp_path / "competitions").mkdir(exist_ok=True)
        train = tmp_path / "all.csv"
        (make_frame(300) if frame is None else frame).write_csv(train)
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
    platform = Rehearsal(workspace, *([now] if now else []))
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
        return Hosted(Rehearsal(workspace), "small", "smal", good, bad)


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
            ({"holdout": None}, ConfigError, "give one of them"),
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
        ],
    )
    def test_wrong_options_are_explained_and_leave_nothing(
        self, make: Any, tmp_path: Path, options: dict[str, Any], error: type[WorkbenchError], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            make(**options)
        assert list((tmp_path / "competitions").glob("*/*")) == []

    def test_an_empty_target_is_counted(self, make: Any) -> None:
        frame = make_frame(300).with_columns(y=pl.when(pl.col("id") < 1010).then(None).otherwise("y"))
        with pytest.raises(DataError, match="has 10 empty values among 300 rows"):
            make(frame)

    def test_a_rehearsal_is_not_overwritten_unasked(self, make: Any) -> None:
        workspace, folder = make()
        send(workspace, served(folder, "sample_submission").with_columns(y=pl.Series(np.linspace(0, 1, 90))))
        with pytest.raises(ConfigError, match="--force replaces it"):
            make()
        make(force=True)
        kept = list((workspace / "competitions" / "small").glob("rehearsal-submissions-*/*.json"))
        assert len(kept) == 1


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

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda f: f.rename({"y": "Y"}), "missing ['y'], unknown ['Y']"),
            (lambda f: f.head(80), "10 ids are missing"),
            (lambda f: pl.concat([f, f.head(2)]), "4 lines repeat an id"),
            (lambda f: f.with_columns(id=pl.col("id") + 1_000_000), "90 ids are missing"),
            (
                lambda f: pl.concat([f, f.head(1).with_columns(id=pl.lit(5, pl.Int64))]),
                "1 ids are unknown, for example 5",
            ),
            (lambda f: f.with_columns(y=pl.lit(None)), "90 empty values"),
            (lambda f: f.with_columns(y=pl.lit("x")), "are not finite numbers, for example 'x'"),
            (lambda f: f.with_columns(y=pl.lit(float("inf"))), "are not finite numbers"),
        ],
    )
    def test_what_can_not_be_scored_is_explained(self, make: Any, spoil: Any, message: str) -> None:
        workspace, folder = make()
        got = send(workspace, spoil(self.noise(folder)))
        assert got.status == "error"
        assert message in got.error
        assert Rehearsal(workspace).limits("small").remaining_today == 5


class TestTime:
    END = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)

    def test_private_scores_are_hidden_until_the_deadline(self, make: Any) -> None:
        workspace, folder = make(deadline=self.END)
        sent = TestScores().noise(folder)
        before, after = self.END - timedelta(days=1), self.END + timedelta(days=1)
        got = send(workspace, sent, now=lambda: before)
        assert got.public_score is not None
        assert got.private_score is None
        (later,) = Rehearsal(workspace, lambda: after).submissions("small")
        assert later.private_score is not None

    def test_a_closed_competition_refuses(self, make: Any) -> None:
        workspace, folder = make(deadline=self.END)
        host = folder / "host.toml"
        host.write_text(host.read_text().replace("late_submissions = true", "late_submissions = false"))
        platform = Rehearsal(workspace, lambda: self.END + timedelta(days=1))
        assert not platform.facts("small").accepts_submissions
        with pytest.raises(PlatformError, match="closed on 2026-12-31 23:59 UTC"):
            platform.submit("small", folder / "files" / "sample_submission.csv", "m")

    def test_a_new_day_brings_new_submissions(self, make: Any) -> None:
        workspace, folder = make(daily_limit=1)
        sent = TestScores().noise(folder)
        noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
        send(workspace, sent, now=lambda: noon)
        with pytest.raises(PlatformError, match="today's 1 submissions"):
            send(workspace, sent, now=lambda: noon + timedelta(hours=11))
        assert send(workspace, sent, now=lambda: noon + timedelta(hours=13)).status == "complete"


SUBMITTER = """
import sys, pathlib
from workbench.errors import PlatformError
from workbench.rehearsal import Rehearsal
platform, ok = Rehearsal(pathlib.Path(sys.argv[1])), 0
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
        board = Rehearsal(workspace).leaderboard("small")
        assert len(board.entries) == 99
        assert board.public is not None
        assert board.private is not None
        better = sum(0.999 - i / 100 > got.public_score for i in range(99))
        assert (board.public.rank, board.public.teams) == (better + 1, 100)
        assert board.public.medal == medal(better + 1, 100)

    def test_a_wrong_one_is_explained(self, make: Any, tmp_path: Path) -> None:
        (tmp_path / "board.csv").write_text("a,b\n1,2\n")
        workspace, _ = make(leaderboard=tmp_path / "board.csv")
        with pytest.raises(DamagedError, match="expected a team"):
            Rehearsal(workspace).leaderboard("small")

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
def test_damage_is_named(make: Any, name: str) -> None:
    workspace, folder = make()
    sent = TestScores().noise(folder)
    (folder / name).write_bytes(b"damaged")
    with pytest.raises(DamagedError, match=name):
        send(workspace, sent)
