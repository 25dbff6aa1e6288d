"""`[recommend]` experiments, from a hosted log to a scored submission; what is said of wrong ones; killed and gone on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.commands import forked_wb
from tests.habit_log import make_habit_log
from workbench.api import library
from workbench.core.errors import ConfigError, DataError, WorkbenchError
from workbench.data.workspace import Workspace, create_workspace
from workbench.ledger import Ledger
from workbench.platforms.interactions import InteractionsSpec
from workbench.recommender.windows import history_frame
from workbench.rehearsal import LogSpec, create
from workbench.review.table import change_against

DAY = 86_400
LOG = InteractionsSpec("user", "item", "time", 7 * DAY)
KINDS = replace(LOG, kind="kind", id="{user}_{kind}", weights={"carts": 0.3, "clicks": 0.1, "orders": 0.6})
RANKER = "[recommend.ranker]\nmodel = { num_iterations = 15, num_leaves = 7, min_data_in_leaf = 20 }\n"
TWO_STAGES = f"""
[recommend]
candidates = 40
[recommend.history]
recent = {{ decay = "14d" }}
[recommend.covisit]
counts = {{ window = "5d", top = 10 }}
[recommend.popular]
top = 10
{RANKER}"""


class Shop:
    """A hosted and fetched log."""

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace(folder.resolve())
        self.open = library.OpenCompetition(self.workspace, "shop")
        self.folder = self.workspace.competitions / "shop"

    @staticmethod
    def host(folder: Path, log: InteractionsSpec, frame: pl.DataFrame, **options: Any) -> Shop:
        frame.write_parquet(folder / "log.parquet")
        workspace = create_workspace(folder)
        create(folder, "shop", LogSpec(folder / "log.parquet", log, **({"metric": "recall@5"} | options)))
        library.fetch("shop", where=workspace)
        return Shop(folder)

    def write(self, number: int, text: str) -> None:
        (self.folder / "experiments" / f"{number:03d}.toml").write_text(text)

    def run(self, number: int, text: str | None = None, **options: Any) -> Any:
        if text is not None:
            self.write(number, text)
        return self.open.runs.execute(number, **options)

    def define(self, old: str, new: str) -> None:
        path = self.folder / "competition.toml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


def frame() -> pl.DataFrame:
    return history_frame(make_habit_log(150, 80)).sort("time", "user", "item")


@pytest.fixture(scope="module")
def usual_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a shop as most tests want it, which is copied."""
    folder = tmp_path_factory.mktemp("shop")
    Shop.host(folder, LOG, frame())
    return folder


@pytest.fixture
def shop(tmp_path: Path, usual_shop: Path) -> Any:
    def make(log: InteractionsSpec = LOG, rows: pl.DataFrame | None = None, **options: Any) -> Shop:
        if log == LOG and rows is None and not options:
            shutil.copytree(usual_shop, tmp_path, dirs_exist_ok=True)
            return Shop(tmp_path)
        return Shop.host(tmp_path, log, frame() if rows is None else rows, **options)

    return make


def scored(shop: Shop, prepared: Any) -> float:
    """Send, and return the public score."""
    sent = shop.open.submissions.send(prepared)
    return float(sent.public_score or shop.open.submissions.wait_for_score(sent).public_score or 0.0)


class TestFromLogToScore:
    @pytest.mark.parametrize("log", [LOG, replace(KINDS, cut="session", first=("clicks",))], ids=["last", "session"])
    def test_the_whole_way(self, shop: Any, log: InteractionsSpec) -> None:
        rows = frame()
        if log.cut == "session":  # many short sessions, of the users' weeks
            rows = rows.with_columns(user=pl.col("user") * 100 + pl.col("time") // (7 * DAY))
        s = shop(log, rows)
        baseline = s.run(1).run  # what `wb fetch` wrote
        ranked = s.run(2, TWO_STAGES).run
        assert baseline.score > 0
        assert ranked.score > 0
        assert ranked.record.cv_folds == 5 * (ranked.record.cv_windows or 1)
        assert ranked.record.cv_windows is not None or ranked.record.optimistic
        sample = s.open.access.competition.table("sample_submission").collect()
        sent = pl.read_csv(ranked.submission, infer_schema=False)
        assert sent.columns == sample.columns
        assert sent.to_series(0).to_list() == sample.to_series(0).cast(pl.String).to_list()
        words = sent.to_series(1).str.split(" ")
        assert (words.list.n_unique() == words.list.len()).all()
        assert set(words.explode()) <= set(map(str, rows["item"]))
        prepared = s.open.submissions.prepare(2)
        assert [f.code for f in prepared.findings if f.level == "error"] == []
        assert scored(s, prepared) > 0
        again = s.run(2)
        assert again.how == "unchanged"

    def test_cv_tells_what_the_platform_will_say(self, shop: Any) -> None:
        s = shop(public=0.9)
        run = s.run(2, TWO_STAGES).run
        assert scored(s, s.open.submissions.prepare(2)) == pytest.approx(run.score, abs=0.08)

    def test_what_a_run_keeps(self, shop: Any) -> None:
        s = shop(KINDS)
        run = s.run(2, TWO_STAGES).run
        told = run.recommender
        assert list(told["recall"]) == ["carts", "clicks", "orders"]
        assert [r["name"] for r in told["recall"]["orders"]] == ["history", "covisit", "popular", "together"]
        assert {stage["name"] for stage in told["stages"]} >= {"training, all", "lists of test", "source covisit, test"}
        assert run.importance["column"].n_unique() == run.record.n_features
        assert run.importance["gain"].is_sorted(descending=True)
        for lists in (run.oof, run.test):
            for kind in ("carts", "clicks", "orders"):
                assert (lists[kind].list.len() == lists[f"{kind}_score"].list.len()).all()
        windows = run.record.cv_windows
        assert set(run.oof["window"]) == set(range(windows))
        assert set(run.oof["fold"]) == set(range(5 * windows))
        assert (run.oof["fold"] // 5 == run.oof["window"]).all()
        assert told["validation"]["scheme"] == "windows"
        assert told["list_scores"]["orders"] <= told["list_ceilings"]["orders"] <= 1
        models = {p.name for p in (run.folder / "models").glob("*.txt")}
        assert models == {
            f"{k}-{f}.txt"
            for k in ("carts", "clicks", "orders")
            for f in (*(f"w{n}" for n in range(windows)), "rounds", "all")
        }
        assert not (run.folder / "parts").exists()

    def test_a_base_is_built_on(self, shop: Any) -> None:
        s = shop()
        s.write(2, TWO_STAGES)
        changed = "base = 2\n[recommend]\npopular = false\n[recommend.covisit]\ncounts = { top = 4 }\n"
        run = s.run(3, changed).run
        assert run.record.changes == ("-popular", "covisit.counts.top 10 -> 4")
        more = s.run(4, "base = 3\n[recommend]\ncandidates = 30\n[recommend.cosine]\ntop = 5\n").run
        assert more.record.changes == ("+cosine", "candidates 40 -> 30")
        assert [r["name"] for r in run.recommender["recall"]["items"]] == ["history", "covisit", "together"]

    def test_several_of_a_kind_and_a_function_of_ones_own(self, shop: Any) -> None:
        s = shop()
        (s.folder / "sources.py").write_text(
            "import polars as pl\n\n\ndef first(history, users, now):\n"
            "    return history.group_by('user').agg(pl.col('item').first()).select('user', 'item', score=pl.lit(1.0))\n"
        )
        text = (
            "[recommend.covisit.near]\ntop = 9\n[recommend.covisit.wide]\ncounts = { window = false }\n"
            '[recommend.own]\nfunction = "sources.py:first"\n[recommend.cosine]\n[recommend.embeddings]\n'
            "model = { epochs = 1, size = 8 }\n[recommend.factors]\nmodel = { factors = 4, iterations = 3 }\n"
        )
        run = s.run(2, text + RANKER).run
        names = [r["name"] for r in run.recommender["recall"]["items"]]
        assert names == ["covisit", "near", "wide", "own", "cosine", "embeddings", "factors", "together"] or names == [
            "near", "wide", "own", "cosine", "embeddings", "factors", "together"
        ]  # fmt: skip
        (s.folder / "sources.py").write_text((s.folder / "sources.py").read_text().replace("first()", "last()"))
        assert s.run(2).how == "new"

    def test_attributes_and_segments(self, tmp_path: Path) -> None:
        rows = frame()
        pl.DataFrame({"item": range(80), "shelf": [f"s{i % 7}" for i in range(80)], "price": range(80)}).write_csv(
            tmp_path / "things.csv"
        )
        pl.DataFrame({"user": range(150), "town": [f"t{i % 3}" for i in range(150)]}).write_csv(tmp_path / "people.csv")
        s = Shop.host(tmp_path, LOG, rows, tables=(tmp_path / "things.csv", tmp_path / "people.csv"))
        text = (
            '[recommend.history]\n[recommend.attribute]\ncolumn = "shelf"\n[recommend.popular]\nby = "town"\n' + RANKER
        )
        run = s.run(2, text).run
        assert {"same_shelf", "items_price", "more_price", "users_town"} <= set(run.importance["column"])

    def test_tables_that_have_next_to_nothing_of_the_log(self, tmp_path: Path) -> None:
        """Or repeat what they have: said; a table of other spellings is no table of these items."""
        rows = frame().with_columns(item=pl.format("{}", "item").str.zfill(5))
        things = pl.DataFrame({"item": [f"{i:05d}" for i in range(30)] + ["00003"] * 2}).with_columns(price=pl.lit(1.5))
        things.write_csv(tmp_path / "things.csv")
        s = Shop.host(tmp_path, LOG, rows, tables=(tmp_path / "things.csv",))
        s.define('id = "{user}"', 'id = "{user}"\nitems = "things"')
        s.open = library.OpenCompetition(s.workspace, "shop")
        outcome = s.run(2, "[recommend.history]\n")
        assert "table 'things' has 30 of the 80 values of 'item'; columns of the others are null" in outcome.notes
        assert "table 'things' repeats values of 'item' in 2 rows: only the first row of each is used" in outcome.notes
        path = s.workspace.root / "competitions" / "shop" / "rehearsal" / "files" / "things.csv"
        things.with_columns(pl.col("item").cast(pl.Int64)).write_csv(path)
        library.fetch("shop", where=s.workspace, force=True)
        s.open = library.OpenCompetition(s.workspace, "shop")
        with pytest.raises(
            DataError, match=r"none of the log's 80 values of 'item', such as '000\d\d', is in table 'things', .* '0'"
        ):
            s.run(2)

    def test_a_quick_try_can_not_be_sent(self, shop: Any) -> None:
        s = shop()
        run = s.run(2, TWO_STAGES, sample=0.4).run
        assert run.submission is None
        assert run.oof.height == pytest.approx(0.4 * s.run(1).run.oof.height, abs=4)

    def test_ids_that_are_texts(self, shop: Any) -> None:
        rows = frame().with_columns(
            user=pl.format("u-{}", "user"), item=pl.format("0{}", "item"), time=pl.from_epoch("time", "s")
        )
        s = shop(LOG, rows)
        run = s.run(2, TWO_STAGES).run
        words = pl.read_csv(run.submission, infer_schema=False).to_series(1).str.split(" ").explode()
        assert words.str.starts_with("0").all()

    @pytest.mark.parametrize(
        ("form", "kinds"), [("{user}_{kind}", ("to_cart", "cart")), ("{kind}_{user}", ("cart", "cart_add"))]
    )
    def test_a_type_that_is_part_of_another(self, shop: Any, form: str, kinds: tuple[str, str]) -> None:
        """The user of "u5_to_cart" is u5, and not one called u5_to of whom nothing is known."""
        named = pl.when(pl.col("kind") == "carts").then(pl.lit(kinds[0])).otherwise(pl.lit(kinds[1]))
        rows = frame().with_columns(user=pl.format("u{}", "user"), kind=named)
        s = shop(replace(LOG, kind="kind", id=form, weights=dict.fromkeys(kinds, 0.5)), rows)
        run = s.run(2, "[recommend.history]\n").run
        assert set(run.test["user"]) == set(rows["user"])
        lists = dict(pl.read_csv(run.submission, infer_schema=False).iter_rows())
        of = {row["user"]: row for row in run.test.iter_rows(named=True)}
        for kind in kinds:
            told = lists[form.replace("{user}", "u5").replace("{kind}", kind)]
            assert told.split(" ") == list(map(str, of["u5"][kind]))

    def test_events_that_weigh_more(self, shop: Any) -> None:
        s = shop(replace(LOG, weight="stars"), frame().with_columns(stars=pl.col("item") % 5))
        run = s.run(1).run
        # What weighs nothing is not recommended, and the more the first.
        firsts = [row[0] for row in run.test["items"] if row is not None and len(row)]
        assert np.mean([i % 5 for i in firsts]) > 3
        assert all(i % 5 for row in run.test["items"] if row is not None for i in row)

    def test_sessions_of_which_nothing_is_known(self, tmp_path: Path) -> None:
        """As `wb fetch` leaves them of JSON lines with an empty list; and items that only the test's events have."""
        rows = frame().with_columns(user=pl.col("user") * 100 + pl.col("time") // (7 * DAY))
        s = Shop.host(tmp_path, replace(LOG, cut="session"), rows)
        test = s.open.access.competition.table("test").collect()
        chosen = test["user"][0]
        empty = (
            test.filter(pl.col("user") == chosen)
            .head(1)
            .with_columns(pl.lit(None, pl.Int64).alias(c) for c in ("item", "time"))
        )
        strange = test.filter(pl.col("user") != chosen).with_columns(
            item=pl.when(pl.col("user") == pl.col("user").max()).then(4_711).otherwise("item")
        )
        path = s.workspace.root / "competitions" / "shop" / "rehearsal" / "files" / "test.parquet"
        pl.concat([empty, strange.cast(empty.schema)]).write_parquet(path)
        library.fetch("shop", where=s.workspace, force=True)
        s.open = library.OpenCompetition(s.workspace, "shop")
        run = s.run(2, TWO_STAGES).run
        sent = pl.read_csv(run.submission, schema_overrides={"items": pl.String}).sort("user")
        of = dict(zip(sent["user"], sent["items"].str.split(" "), strict=True))
        assert len(of[chosen]) == 5
        assert "4711" in of[strange["user"].max()]

    def test_users_that_only_the_sample_knows(self, shop: Any) -> None:
        new = pl.DataFrame({"user": [900, 901], "item": [1, 2], "time": [8 * 7 * DAY - 5, 8 * 7 * DAY - 4]})
        s = shop(LOG, pl.concat([frame().drop("kind"), new]))
        sample = s.open.access.competition.table("sample_submission").collect()
        assert set(sample["user"]) - set(s.open.access.competition.table("train").collect()["user"])
        sent = pl.read_csv(s.run(2, TWO_STAGES).run.submission)
        assert sent.height == sample.height
        assert sent.to_series(1).null_count() == 0


class TestHowItIsScored:
    def test_users_held_out_are_marked_and_older_folds_are_others(self, shop: Any) -> None:
        s = shop()
        s.run(1)
        by_windows = s.run(2, TWO_STAGES).run
        assert by_windows.record.optimistic is None
        s.define("folds = 5", 'scheme = "users"\nfolds = 5')
        row = next(r for r in s.open.table() if r.run.exp == 2)
        assert row.outdated == ("folds",)
        s.open = library.OpenCompetition(s.workspace, "shop")
        outcome = s.run(2)
        held = outcome.run.record
        assert (outcome.how, held.cv_windows, held.cv_folds) == ("new", None, 5)
        assert held.optimistic == "ranker knew the window"
        assert any("users held out of the last window (as [cv] says): optimistic" in note for note in outcome.notes)
        assert s.run(1).run.record.optimistic is None
        assert held.folds_hash != by_windows.record.folds_hash

    def test_some_users_are_the_same_ones_whatever_the_seed(self, shop: Any) -> None:
        """Fewer are others, and such runs are not compared as if they were scored on the same ones."""
        s = shop()
        text = "[recommend]\nvalidation_users = 40\n[recommend.history]\n"
        first = s.run(2, text).run
        again, fewer = (
            s.run(3, "base = 2\nseeds = [7]\n").run,
            s.run(4, "base = 2\n[recommend]\nvalidation_users = 30\n").run,
        )
        windows = first.record.cv_windows
        assert first.oof.height == 40 * windows
        assert fewer.oof.height == 30 * windows
        assert again.oof.select("window", "user", "fold").equals(first.oof.select("window", "user", "fold"))
        assert change_against(again.record, first.record) is not None
        assert change_against(fewer.record, first.record) is None

    def test_a_log_with_a_doubtful_end_is_told_of(self, shop: Any) -> None:
        s = shop()
        path = s.workspace.root / "competitions" / "shop" / "rehearsal" / "files" / "train.parquet"
        rows = pl.read_parquet(path)
        odd = rows.head(1).with_columns(time=pl.lit(rows["time"].max() + 365 * DAY, rows.schema["time"]))
        pl.concat([rows, odd]).write_parquet(path)
        library.fetch("shop", where=s.workspace, force=True)
        s.open = library.OpenCompetition(s.workspace, "shop")
        outcome = s.run(2, "[recommend.history]\n")
        assert "users in the last window: 1, in the one before it: 0" in outcome.notes[0]

    def test_a_run_of_an_earlier_version_is_shown_as_one(self, shop: Any) -> None:
        s = shop()
        run = s.run(2, TWO_STAGES).run
        path = run.folder / "run.json"
        details = json.loads(path.read_text())
        for name in ("validation", "ceiling", "list_ceilings", "window_scores", "stopping"):
            del details["recommend"][name]
        details["record"] |= {"cv_windows": None}
        path.write_text(json.dumps(details))
        with Ledger.open(s.workspace.ledger) as ledger:
            ledger.put_run(replace(run.record, cv_windows=None))
        row = next(r for r in s.open.table() if r.run.exp == 2)
        assert row.outdated == ("folds",)
        from workbench.cli.table import validation_lines

        told = s.open.runs[2].recommender
        assert "rule of earlier versions" in validation_lines(told)[0][1]


class TestWrong:
    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("    return history.nothing", "sources.py:mine failed: AttributeError: .*nothing.*line 2"),
            ("    exit(0)", r"sources.py:mine failed: SystemExit: 0 \(sources.py, line 2\)"),
            ("    return None", "sources.py:mine returned NoneType; expected a frame"),
            (
                "    return history.head(0).select('user', 'item', score='kind')",
                "scores of the type String; expected numbers",
            ),
        ],
    )
    def test_what_is_wrong_with_a_function_of_ones_own_is_said(self, shop: Any, body: str, message: str) -> None:
        s = shop()
        (s.folder / "sources.py").write_text(f"def mine(history, users, now):\n{body}\n")
        with pytest.raises(WorkbenchError, match=message):
            s.run(2, '[recommend.history]\n[recommend.own]\nfunction = "sources.py:mine"\n')

    def test_the_words_of_earlier_versions_are_the_same_experiment(self, shop: Any) -> None:
        s = shop()
        # Names of one's own may be any word.
        names = '[recommend.popular.own]\nwindow = "20d"\n[recommend.popular.recent]\nwindow = "2d"\n'
        run = s.run(2, "[recommend]\nagain = false\n[recommend.history]\nrecent = { last = 7 }\n" + names)
        assert run.how == "new"
        today = "[recommend]\nallow_repeats = false\n[recommend.history]\nweighting = { last = 7 }\n" + names
        same = s.run(2, today)
        assert (same.how, same.run.record.run_id) == ("unchanged", run.run.record.run_id)
        other = s.run(3, today.replace("= false", "= true"))
        assert other.how == "new"
        assert other.run.submission.read_bytes() != run.run.submission.read_bytes()

    def test_the_order_of_sources_is_part_of_what_is_done(self, shop: Any) -> None:
        s = shop()
        first = s.run(2, "[recommend.history]\n[recommend.popular]\n").run
        second = s.run(2, "[recommend.popular]\n[recommend.history]\n")
        assert second.how == "new"
        assert second.run.submission.read_bytes() != first.submission.read_bytes()

    def test_without_the_compiler(self, shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        s = shop()
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ConfigError, match="recommenders need numba, which is not installed"):
            s.run(1)
        assert not (s.folder / "runs").exists() or not list((s.folder / "runs").glob("001-*"))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[recommend]\n", "no source of candidates"),
            ("[recommend.histroy]\n", "unknown key 'histroy'.*"),
            ("[recommend.history]\ntopp = 3\n", "history has an unknown key 'topp'"),
            ("[recommend.history]\ntop = 0\n", "history: top = 0: expected 1 or more"),
            ("[recommend.history]\ntop = 2.5\n", "top = 2.5: expected a whole number"),
            (
                '[recommend.covisit]\ncounts = { window = "1 fortnight" }\n',
                "window = '1 fortnight': expected a duration",
            ),
            ('[recommend.covisit]\ncounts = { direction = "up" }\n', "direction = 'up': expected one of both"),
            ("[recommend]\nhistory = 3\n", "history = 3: expected a table, or false"),
            ("[recommend.custom]\ntop = 3\n", "custom needs function"),
            ('[recommend.custom]\nfunction = "sources.py:x"\n', "sources.py is missing"),
            ("[recommend.own]\ntop = 3\n", "own needs function"),
            ("[recommend.history]\ntop = 3\nrecnt = { last = 3 }\n", "unknown key 'recnt'"),
            (
                "[recommend.history]\nrecent = { last = 3 }\nweighting = { last = 4 }\n",
                "recent and weighting, which mean the same",
            ),
            (
                "[recommend]\nagain = true\nallow_repeats = true\n[recommend.history]\n",
                "again and allow_repeats, which mean",
            ),
            ("[recommend]\nallow_repeats = 3\n[recommend.history]\n", "allow_repeats = 3: expected true or false"),
            ("[recommend.history]\n[recommend.ranker]\nmodel = { num_leafs = 3 }\n", "unknown key 'num_leafs'"),
            (
                "[recommend]\ncandidates = 0\n[recommend.history]\n",
                "candidates = 0: expected a whole number of at least 1",
            ),
            ("[recommend]\ncandidates = 20000\n[recommend.history]\n", "LightGBM ranks at most 10,000 candidates"),
            ("[recommend]\nagain = 3\n[recommend.history]\n", "again = 3: expected true or false"),
            ("seeds = [1, 2]\n[recommend.history]\n", "has one seed"),
            ('features = ["rows"]\n[recommend.history]\n', "features is not supported in"),
            ('features = ["rows"]\n[model]\n', "is a .model. experiment, and the competition's task is 'recommend'"),
        ],
    )
    def test_what_is_wrong_with_an_experiment_is_said(self, shop: Any, text: str, message: str) -> None:
        s = shop()
        with pytest.raises(WorkbenchError, match=message):
            s.run(2, text)
        assert not list((s.folder / "runs").glob("002-*/oof.parquet"))

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ('user = "user"', 'user = "usr"', "names 'usr', and table 'train' has no such column"),
            ('id = "{user}"', 'id = "u{user}"', "ids of 'sample_submission' do not have the form 'u{user}', such as"),
            ('horizon = "7d"', 'horizon = "900d"', "there is no history before it"),
        ],
    )
    def test_what_is_wrong_with_the_definition_is_said(self, shop: Any, old: str, new: str, message: str) -> None:
        s = shop()
        s.define(old, new)
        with pytest.raises((ConfigError, DataError), match=message):
            s.run(1)
        assert s.open.table()[0].run.status == "failed"

    def test_other_commands_say_what_it_is(self, shop: Any) -> None:
        s = shop()
        s.run(1)
        for ask in (lambda: s.open.studies.tune(1), lambda: s.open.kernels.build(1), lambda: s.open.runs.report(1)):
            with pytest.raises(WorkbenchError, match=r"\[recommend\]"):
                ask()

    def test_what_looks_at_rows_says_that_there_are_none(self, shop: Any) -> None:
        s = shop()
        for ask in (
            s.open.data.check,
            s.open.data.check_time,
            s.open.features.summaries,
            s.open.data.explore,
            lambda: s.open.feature("x"),
        ):
            with pytest.raises(
                ConfigError, match="needs train and test rows, but competition 'shop' has an interaction log"
            ):
                ask()
        assert not list(s.folder.glob("eda*")) + list(s.folder.glob("log.txt"))

    def test_the_next_experiment(self, shop: Any) -> None:
        s = shop()
        s.open.experiments.new(title="next")
        assert s.run(2).run.record.base == 1
        for number in (1, 2):
            s.open.access.competition.paths.experiment(number).unlink()
        assert "[recommend.history]" in s.open.experiments.new().read_text()

    def test_an_experiment_of_lists_in_a_competition_of_rows(self, small: Any) -> None:
        s = small()
        s.experiment(1, "[recommend.history]\n")
        with pytest.raises(ConfigError, match="is a .recommend. experiment, and the competition's task is 'binary'"):
            s.open.run(1)


@pytest.mark.slow
def test_a_killed_run_goes_on(shop: Any) -> None:
    """Killed in the middle of training, it takes the models that were finished, and ends with the same lists."""
    s = shop(KINDS)
    s.write(2, TWO_STAGES.replace("num_iterations = 15", "num_iterations = 200"))
    whole = s.run(2).run
    expected = whole.submission.read_bytes()
    command = [sys.executable, "-m", "workbench", "run", "--exp", "2", "--force", "-c", "shop"]
    root = str(Path(library.__file__).parents[1])
    child = subprocess.Popen(
        command, cwd=s.workspace.root, env=os.environ | {"PYTHONPATH": root}, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(s.folder.glob("runs/*/parts/*.json"))) < 3:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = {p.name: p.stat().st_mtime_ns for p in s.folder.glob("runs/*/models/*.txt") if p.parents[1] != whole.folder}
    assert len(kept) >= 3
    is_finished = len([r for r in s.open.table() if r.run.exp == 2 and r.run.status == "finished"]) > 1
    again = s.run(2)
    assert again.how == ("unchanged" if is_finished else "resumed")
    folders = [p for p in (s.folder / "runs").glob("002-*") if p != whole.folder]
    if again.run.folder in folders:
        same = [n for n, t in kept.items() if (again.run.folder / "models" / n).stat().st_mtime_ns == t]
        assert len(same) >= 3
    assert again.run.submission.read_bytes() == expected


def test_the_command(shop: Any) -> None:
    s = shop(KINDS)
    s.write(2, TWO_STAGES)

    def wb(*words: str) -> str:
        done = forked_wb(*words, "-c", "shop", cwd=s.workspace.root)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    shown = wb("run", "--exp", "2")
    assert "the recall of " in shown
    text = wb("show", "2")
    assert "recall of" in text
    assert "windows at the end of the log: " in text
    assert "(a perfect ranker of its candidates: " in text
    assert "only this" in text
    assert "lists of test" in text
    assert "recommend" in wb("table", "--json")


def test_batches_of_users_bound_nothing_but_memory(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.recommender import candidates

    s = shop()
    first = s.run(2, TWO_STAGES).run.submission.read_bytes()
    monkeypatch.setattr(candidates, "BATCH_USERS", 11)
    assert s.run(2, force=True).run.submission.read_bytes() == first
    assert np.isfinite(s.run(2).run.score)
