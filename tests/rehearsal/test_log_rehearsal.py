"""Hosting of a log of interactions: what is hidden, what is served, and what is scored."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.platform_contract import Hosted, PlatformContract
from tests.shop_log import DAY, LOG, LOG_OF_KINDS, START, make_log
from workbench.core.errors import ConfigError, DamagedError, DataError, NotFoundError, WorkbenchError
from workbench.platforms.interactions import InteractionsSpec
from workbench.rehearsal import LocalPlatform, LogSpec, create

Make = Callable[..., tuple[Path, Path]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Host "shop" in a workspace; return (workspace, rehearsal folder)."""

    def host(
        frame: pl.DataFrame | None = None,
        log: InteractionsSpec = LOG,
        *,
        suffix: str = ".csv",
        force: bool = False,
        **options: Any,
    ) -> tuple[Path, Path]:
        (tmp_path / "competitions").mkdir(exist_ok=True)
        train = tmp_path / f"log{suffix}"
        rows = make_log() if frame is None else frame
        rows.write_parquet(train) if suffix == ".parquet" else rows.write_csv(train)
        spec = LogSpec(**({"train": train, "log": log, "metric": "recall@5"} | options))
        return tmp_path, create(tmp_path, "shop", spec, force=force)

    return host


def served(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_csv(folder / "files" / f"{name}.csv")


def solution(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "solution.parquet")


def send(workspace: Path, frame: pl.DataFrame) -> Any:
    path = workspace / "sent.csv"
    frame.write_csv(path)
    platform = LocalPlatform(workspace)
    platform.submit("shop", path, "m")
    return platform.submissions("shop")[0]


def in_time(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return events in the order of time, equal ones in that of the file."""
    return sorted(frame.rows(named=True), key=lambda e: e["ts"])


def distinct(items: list[int]) -> str:
    return " ".join(str(i) for i in dict.fromkeys(items))


class TestContract(PlatformContract):
    @pytest.fixture
    def hosted(self, make: Make, tmp_path: Path) -> Hosted:
        workspace, folder = make(daily_limit=3)
        good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
        sample = served(folder, "sample_submission")
        sample.write_csv(good)
        sample.head(5).write_csv(bad)
        facts = {
            "metric": "recall@5",
            "greater_is_better": True,
            "task": "recommend",
            "id_columns": ("user",),
            "target_columns": ("items",),
            "interactions": LOG,
        }
        return Hosted(LocalPlatform(workspace), "shop", "shpo", good, bad, facts=facts)


class TestLast:
    def test_the_horizon_is_hidden_and_the_rest_served_as_it_was(self, make: Make) -> None:
        _, folder = make()
        whole = make_log()
        edge = whole["ts"].max() - 7 * DAY
        assert served(folder, "train").equals(whole.filter(pl.col("ts") <= edge))
        assert not (folder / "files" / "test.csv").exists()
        truth = {
            u: distinct([e["item"] for e in in_time(whole) if e["user"] == u and e["ts"] > edge]) for u in whole["user"]
        }
        hidden = solution(folder)
        assert dict(hidden.select("user", "items").iter_rows()) == {str(u): items for u, items in truth.items()}

    def test_the_sample_has_old_users_and_new_ones(self, make: Make) -> None:
        _, folder = make()
        sample, train = served(folder, "sample_submission"), served(folder, "train")
        assert sample["user"].to_list() == sorted(set(make_log()["user"]))
        assert set(train["user"]) < set(sample["user"])
        ranked = train["item"].value_counts().sort(["count", "item"], descending=[True, False])["item"]
        assert set(sample["items"]) == {" ".join(map(str, ranked.head(5)))}

    def test_who_does_nothing_in_the_horizon_is_not_scored(self, make: Make) -> None:
        early = pl.DataFrame({"user": [1, 2], "item": [7001, 7002], "ts": [START, START], "type": ["clicks"] * 2})
        workspace, folder = make(pl.concat([make_log(), early]))
        hidden = solution(folder)
        assert hidden.filter(pl.col("user").is_in(["1", "2"]))["items"].to_list() == ["", ""]
        perfect = hidden.select("user", "items")
        sent = send(workspace, perfect)
        assert (sent.public_score, sent.private_score) == (1.0, 1.0)

    def test_dates_are_whole_days(self, make: Make) -> None:
        """Of 28 days of dates and a horizon of 7, the last seven dates are hidden."""
        days = [date(2020, 9, 1) + timedelta(days=i) for i in range(28)]
        frame = pl.DataFrame({"user": [i % 2 for i in range(28)], "item": range(28), "ts": days})
        for suffix in (".csv", ".parquet"):
            _, folder = make(frame, suffix=suffix, force=True)
            read = pl.read_parquet if suffix == ".parquet" else pl.read_csv
            train = read(folder / "files" / f"train{suffix}")
            assert str(train["ts"].cast(pl.String).max()) == "2020-09-21"
            assert train.height == 21
            if suffix == ".parquet":
                assert train.schema == frame.schema

    @pytest.mark.parametrize(
        "form",
        ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y/%m/%d %H:%M", "%Y-%m-%d %H:%M:%S%.3f", "s", "ms", "us", "ns"],
    )
    def test_times_are_read_in_every_form_and_served_as_they_were(self, make: Make, form: str) -> None:
        whole = make_log()
        edge = whole["ts"].max() - 7 * DAY
        factor = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}.get(form)
        ts = whole["ts"] * factor if factor else pl.from_epoch(whole["ts"]).dt.strftime(form)
        frame = whole.with_columns(ts=ts)
        _, folder = make(frame, replace(LOG, unit=form if factor else "s"))
        assert served(folder, "train").equals(frame.filter(whole["ts"] <= edge))

    def test_zones_are_compared_in_utc(self, make: Make) -> None:
        whole = make_log()
        zoned = whole.with_columns(
            ts=pl.from_epoch("ts").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")
        )
        _, folder = make(zoned, suffix=".parquet")
        kept = whole.filter(pl.col("ts") <= whole["ts"].max() - 7 * DAY)
        assert pl.read_parquet(folder / "files" / "train.parquet")["item"].to_list() == kept["item"].to_list()

    def test_ids_may_be_texts(self, make: Make) -> None:
        frame = make_log().with_columns(user=pl.format("u-{}", "user"), item=pl.format("0{}", "item"))
        workspace, folder = make(frame)
        hidden = solution(folder)
        assert hidden["user"].to_list() == sorted(frame["user"].unique())
        assert send(workspace, hidden.select("user", "items")).private_score == 1.0
        # An id is a text: 7001 is not 07001.
        cut = hidden.select("user", pl.col("items").str.replace_all(r"\b0", ""))
        assert send(workspace, cut).private_score == 0.0


class TestSessions:
    def test_sessions_that_begin_in_the_horizon_go_on(self, make: Make) -> None:
        _, folder = make(log=replace(LOG_OF_KINDS, cut="session", first=("clicks",)))
        whole = make_log().with_row_index("row")
        edge = whole["ts"].max() - 7 * DAY
        assert served(folder, "train").equals(whole.filter(pl.col("ts") <= edge).drop("row"))
        test, hidden = served(folder, "test"), solution(folder)
        begun = whole.group_by("user").agg(pl.col("ts").min(), pl.len())
        fresh = begun.filter((pl.col("ts") > edge) & (pl.col("len") > 1))["user"]
        assert set(test["user"]) == set(fresh)
        assert hidden["user_type"].to_list() == [f"{u}_{k}" for u in sorted(fresh) for k in LOG_OF_KINDS.weights]
        for user in fresh:
            events = in_time(whole.filter(pl.col("user") == user))
            n_shown = test.filter(pl.col("user") == user).height
            assert 1 <= n_shown < len(events)
            shown = sorted(events[:n_shown], key=lambda e: e["row"])
            assert test.filter(pl.col("user") == user).rows() == [
                (e["user"], e["item"], e["ts"], e["type"]) for e in shown
            ]
            rest = events[n_shown:]
            for kind in LOG_OF_KINDS.weights:
                items = [e["item"] for e in rest if e["type"] == kind]
                expected = distinct(items[:1] if kind == "clicks" else items)
                assert hidden.filter(pl.col("user_type") == f"{user}_{kind}")["items"].item() == expected

    def test_cuts_differ_from_user_to_user_and_by_the_seed(self, make: Make) -> None:
        shares = []
        for seed in (1, 1, 2):
            _, folder = make(log=replace(LOG, cut="session"), seed=seed, force=True)
            shares.append(served(folder, "test")["user"].value_counts().sort("user")["count"].to_list())
        assert shares[0] == shares[1]
        assert shares[0] != shares[2]
        assert len(set(shares[0])) > 3

    def test_a_session_of_one_event_is_left_out(self, make: Make) -> None:
        last = make_log()["ts"].max()
        lone = pl.DataFrame({"user": [5], "item": [7000], "ts": [last], "type": ["clicks"]})
        _, folder = make(pl.concat([make_log(), lone]), replace(LOG, cut="session"))
        assert "5" not in solution(folder)["user"]
        assert 5 not in served(folder, "test")["user"]

    def test_without_such_sessions_it_is_said(self, make: Make) -> None:
        frame = make_log().with_columns(user=pl.lit(1))
        with pytest.raises(DataError, match="no session of two events or more begins in the last horizon"):
            make(frame, replace(LOG, cut="session"))


def recall(truth: str, sent: str, k: int) -> tuple[int, int]:
    wanted = set(truth.split())
    return len(wanted & set(sent.split()[:k])), min(k, len(wanted))


class TestScores:
    def test_types_are_weighted_and_parts_made_of_users(self, make: Make) -> None:
        workspace, folder = make(log=LOG_OF_KINDS, metric="micro_recall@4")
        hidden = solution(folder)
        rng = np.random.default_rng(5)
        lists = [" ".join(str(i) for i in rng.permutation(np.arange(7000, 7050))[:9]) for _ in range(hidden.height)]
        sent = send(workspace, hidden.select("user_type", items=pl.Series(lists)))
        users = hidden.with_columns(user=pl.col("user_type").str.split("_").list.first(), sent=pl.Series(lists))
        assert users.group_by("user").agg(pl.col("usage").n_unique())["usage"].unique().to_list() == [1]
        for usage, score in (("public", sent.public_score), ("private", sent.private_score)):
            expected = 0.0
            for kind, weight in LOG_OF_KINDS.weights.items():
                own = users.filter((pl.col("usage") == usage) & pl.col("user_type").str.ends_with(kind))
                pairs = [recall(t, s, 4) for t, s in own.select("items", "sent").iter_rows()]
                expected += weight * sum(h for h, _ in pairs) / sum(n for _, n in pairs)
            assert score == pytest.approx(expected)
            assert 0 < score < 1

    def test_the_public_part_is_a_share_of_those_who_are_scored(self, make: Make) -> None:
        idle = pl.DataFrame({"user": range(1000, 1400), "item": 7001, "ts": START, "type": "clicks"})
        _, folder = make(pl.concat([make_log(), idle.cast(make_log().schema)]), public=0.25)
        scored = solution(folder).filter(pl.col("items") != "")
        assert (scored["usage"] == "public").sum() == round(scored.height * 0.25)

    def test_only_the_first_k_count_once_each(self, make: Make) -> None:
        workspace, folder = make(metric="recall@2")
        truth = solution(folder).select("user", "items")
        late = truth.with_columns(items=pl.format("a b {}", "items"))
        assert send(workspace, late).private_score == 0.0
        first = pl.col("items").str.split(" ").list.first()
        twice = truth.with_columns(items=pl.format("{} {}", first.fill_null(""), first.fill_null("")))
        once = truth.with_columns(items=first.fill_null(""))
        assert send(workspace, twice).private_score == send(workspace, once).private_score > 0.3

    def test_an_empty_list_and_an_unknown_item_are_only_wrong(self, make: Make) -> None:
        workspace, folder = make()
        truth = solution(folder).select("user", "items")
        for value in (None, "", "nothing of that name"):
            sent = send(workspace, truth.with_columns(items=pl.lit(value, pl.String)))
            assert (sent.status, sent.private_score) == ("complete", 0.0)

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda f: f.head(10), "ids are missing, for example"),
            (lambda f: pl.concat([f, f.head(1)]), "2 rows repeat an id, for example 100"),
            (lambda f: f.with_columns(user=pl.col("user") + 1), "1 id is missing, for example 100"),
            (
                lambda f: pl.concat([f, f.head(1).with_columns(user=pl.lit(7, pl.Int64))]),
                "1 id is unknown, for example 7",
            ),
            (lambda f: f.rename({"items": "item"}), "expected the columns user, items"),
            (
                lambda f: f.with_columns(user=pl.when(pl.col("user") > 100).then("user")),
                "column user has 1 empty values",
            ),
        ],
    )
    def test_a_file_that_does_not_fit_is_refused(self, make: Make, spoil: Any, message: str) -> None:
        workspace, folder = make()
        sent = send(workspace, spoil(served(folder, "sample_submission")))
        assert sent.status == "error"
        assert message in sent.error

    def test_the_leaderboard_and_the_deadline_are_those_of_any_rehearsal(self, make: Make, tmp_path: Path) -> None:
        board = tmp_path / "board.csv"
        board.write_text("team,score\na,0.9\nb,0.0001\n")
        workspace, folder = make(leaderboard=board, deadline=datetime(2099, 1, 1, tzinfo=UTC))
        sent = send(workspace, served(folder, "sample_submission"))
        assert sent.private_score is None
        assert LocalPlatform(workspace).leaderboard("shop").public.rank == 2


class TestRefusals:
    def test_a_line_with_too_many_cells_is_named(self, make: Make, tmp_path: Path) -> None:
        make()
        (tmp_path / "log.csv").write_text((tmp_path / "log.csv").read_text() + "1,2,1700000000,clicks,5,6\n")
        spec = LogSpec(tmp_path / "log.csv", LOG, "recall@5")
        with pytest.raises(DataError, match=r"log\.csv can't be read"):
            create(tmp_path, "shop", spec, force=True)

    def spoiled(self, column: str, value: Any) -> pl.DataFrame:
        keep = pl.int_range(pl.len()) != 3
        return make_log().with_columns(pl.when(keep).then(pl.col(column)).otherwise(pl.lit(value)).alias(column))

    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    @pytest.mark.parametrize(
        ("column", "value", "message"),
        [
            ("user", None, "'user' of .* is empty in 1 of 1,500 rows"),
            ("item", None, "'item' of .* is empty in 1 of 1,500 rows"),
            ("type", None, "'type' of .* is empty in 1 of 1,500 rows"),
            ("ts", None, "'ts' of .* is empty in 1 row"),
            ("ts", -5, "'ts' of .* has 1 negative values; expected s since 1970"),
        ],
    )
    def test_events_that_lack_something(self, make: Make, suffix: str, column: str, value: Any, message: str) -> None:
        with pytest.raises(DataError, match=message):
            make(self.spoiled(column, value), LOG_OF_KINDS, suffix=suffix)

    @pytest.mark.parametrize(
        ("frame", "message"),
        [
            (
                lambda f: f.with_columns(ts=pl.col("ts").cast(pl.String).str.replace("^17", "17.")),
                "is empty|are not times",
            ),
            (
                lambda f: f.with_columns(ts=pl.lit("yesterday")),
                "1,500 values that are not times, for example 'yesterday'",
            ),
            (lambda f: f.with_columns(item=pl.format("a {}", "item")), "1,500 values with a space in them"),
            (lambda f: f.head(0), "no rows"),
        ],
    )
    def test_a_log_that_is_none(self, make: Make, frame: Any, message: str) -> None:
        with pytest.raises(DataError, match=message):
            make(frame(make_log()))

    @pytest.mark.parametrize(("factor", "unit"), [(1000, "s"), (10**9, "s"), (10**6, "ms"), (10**9, "us")])
    def test_numbers_of_another_unit(self, make: Make, factor: int, unit: str) -> None:
        with pytest.raises(DataError, match=f"1,500 values beyond the year 2200: --unit {unit} is wrong"):
            make(make_log().with_columns(ts=pl.col("ts") * factor), replace(LOG, unit=unit))

    def test_fractions_are_no_ids_and_no_times(self, make: Make) -> None:
        with pytest.raises(DataError, match="'item' of .* is Float64; ids are whole numbers or texts"):
            make(make_log().with_columns(pl.col("item").cast(pl.Float64)), suffix=".parquet")
        with pytest.raises(DataError, match="'ts' of .* is Float64; expected dates, times or whole numbers"):
            make(make_log().with_columns(pl.col("ts").cast(pl.Float64)), suffix=".parquet")

    @pytest.mark.parametrize(
        ("log", "options", "message"),
        [
            (
                replace(LOG, horizon_s=400 * DAY),
                {},
                "--horizon 400d hides the whole log .* from 2023-11-1.*\n.*check --unit",
            ),
            (replace(LOG, user="usr"), {}, "has no column 'usr'\n.*'user'"),
            (replace(LOG_OF_KINDS, weights={"click": 1.0}), {}, "'type' of .* is never 'click'\n.*'clicks'"),
            (replace(LOG_OF_KINDS, weights={}), {}, "--weights: missing"),
            (replace(LOG, cut="first"), {}, "--cut: 'first' is none of last, session"),
            (LOG, {"metric": "auc"}, "'auc' does not score lists"),
            (LOG, {"metric": "metric.py:own"}, "'metric.py:own' does not score lists"),
            (LOG, {"target": "user"}, "they must differ"),
            (LOG, {"target": "usage"}, "which are columns of the solution"),
            (LOG, {"public": 1.5}, "--public 1.5: expected a share"),
            (LOG, {"daily_limit": 0}, "--daily-limit 0"),
            (LOG, {"train": Path("no.csv")}, "there is no file no.csv"),
        ],
    )
    def test_options_that_can_not_be(self, make: Make, log: InteractionsSpec, options: Any, message: str) -> None:
        with pytest.raises(WorkbenchError, match=f"(?s){message}") as caught:
            make(log=log, **options)
        assert isinstance(caught.value, ConfigError | NotFoundError | DataError)

    def test_one_user_can_not_be_in_both_parts(self, make: Make) -> None:
        last = pl.DataFrame({"user": [5], "item": [7000], "ts": [START + 41 * DAY], "type": ["clicks"]})
        with pytest.raises(DataError, match="1 users have an event to predict in the last horizon"):
            make(pl.concat([make_log(), last]), replace(LOG, horizon_s=60))

    def test_what_failed_leaves_nothing(self, make: Make, tmp_path: Path) -> None:
        rare = make_log().with_columns(type=pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("gift")).otherwise("type"))
        with pytest.raises(DataError, match="no row of the type 'gift' has a true item\nchoose a longer --horizon"):
            make(rare, replace(LOG_OF_KINDS, weights={"gift": 1.0, "clicks": 1.0}))
        assert list((tmp_path / "competitions").iterdir()) == []

    def test_one_that_is_there_is_kept(self, make: Make) -> None:
        make()
        with pytest.raises(ConfigError, match="a local competition 'shop' exists already"):
            make()


class TestHost:
    def test_what_it_says_of_the_log_is_read_back(self, make: Make) -> None:
        log = replace(LOG_OF_KINDS, cut="session", first=("clicks",), unit="s")
        workspace, folder = make(log=log)
        assert LocalPlatform(workspace).facts("shop").interactions == log
        assert tomllib.loads((folder / "host.toml").read_text())["interactions"]["weights"] == LOG_OF_KINDS.weights

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("[interactions]", "[interaction]", "unknown key 'interaction'"),
            ('cut = "last"', 'cut = "lst"', "interactions.cut: 'lst' is none of"),
            ("horizon_s = 604800", 'horizon_s = "7d"', "interactions.horizon_s"),
            ('task = "recommend"', 'task = "binary"', r"\[interactions\] is required for the task recommend"),
        ],
    )
    def test_damage_is_named(self, make: Make, old: str, new: str, message: str) -> None:
        workspace, folder = make()
        host = folder / "host.toml"
        host.write_text(host.read_text().replace(old, new))
        with pytest.raises(DamagedError, match=message):
            LocalPlatform(workspace).facts("shop")

    def test_a_solution_without_types_is_damaged(self, make: Make) -> None:
        workspace, folder = make(log=LOG_OF_KINDS)
        solution(folder).drop("kind").write_parquet(folder / "solution.parquet")
        with pytest.raises(DamagedError, match=r"lacks the columns \['kind'\]"):
            send(workspace, served(folder, "sample_submission"))


def test_the_options_of_the_command_are_those_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from workbench.cli.app import wb

    (tmp_path / "competitions").mkdir()
    make_log().with_columns(ts=pl.col("ts") * 1000).write_csv(tmp_path / "log.csv")
    monkeypatch.chdir(tmp_path)
    columns = "--user user --item item --time ts --kind type --unit ms --horizon 168h --cut session"
    asked = "--weights clicks=0.1,carts=0.3,orders=0.6 --first clicks,carts --id session_type --target labels"
    done = CliRunner().invoke(
        wb, f"rehearse shop --train log.csv --task recommend --metric MRR@7 {columns} {asked}".split()
    )
    assert done.exit_code == 0, done.output
    facts = LocalPlatform(tmp_path).facts("shop")
    assert facts.interactions == replace(LOG_OF_KINDS, unit="ms", cut="session", first=("clicks", "carts"))
    assert (facts.metric, facts.id_columns, facts.target_columns) == ("mrr@7", ("session_type",), ("labels",))
