"""What `wb fetch` makes of recommender competitions: those of a host that says all, and Kaggle's, by their files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.shop_log import DAY, LOG, LOG_OF_KINDS, START, make_log
from workbench.api import library
from workbench.data.competition import Definition
from workbench.data.competition.definition import read_definition, read_options
from workbench.data.inference import Inferred, baseline_text, definition_text, infer
from workbench.data.ingest.convert import convert
from workbench.data.ingest.sources import ReadOptions
from workbench.data.workspace import create_workspace
from workbench.platforms.interactions import InteractionsSpec
from workbench.platforms.protocol import CompetitionFacts
from workbench.rehearsal import LogSpec, create

BASELINE = {"title": "items of the user's history", "recommend": {"history": {}}}


class TestHosted:
    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    @pytest.mark.parametrize("cut", ["last", "session"])
    def test_what_the_host_says_is_written(self, tmp_path: Path, cut: str, suffix: str) -> None:
        workspace = create_workspace(tmp_path)
        log = replace(LOG_OF_KINDS, cut=cut, first=("clicks",), horizon_s=8 * DAY, unit="ms")
        frame = make_log().with_columns(ts=pl.col("ts") * 1000)
        train = tmp_path / f"log{suffix}"
        frame.write_parquet(train) if suffix == ".parquet" else frame.write_csv(train)
        for name, column in (("people", "user"), ("articles", "item")):
            frame.select(pl.col(column).unique().sort(), size=1).write_csv(tmp_path / f"{name}.csv")
        frame.select("user", "item").head(9).write_csv(tmp_path / "ratings.csv")
        tables = tuple(tmp_path / f"{n}.csv" for n in ("people", "articles", "ratings"))
        create(tmp_path, "shop", LogSpec(train, log, "recall@5", target="lists", tables=tables, title="A shop"))
        fetched = library.fetch("shop", where=workspace)
        d = library.OpenCompetition(workspace, "shop").access.competition.definition
        assert d.interactions == replace(log, users="people", items="articles")
        assert (d.task, d.id_columns, d.targets, d.metric) == ("recommend", ("user_type",), ("lists",), "recall@5")
        assert (d.tables.train, d.tables.sample_submission, d.title) == ("train", "sample_submission", "A shop")
        assert ("test" in fetched.manifest.tables) == (cut == "session")
        text = (workspace.competitions / "shop" / "competition.toml").read_text()
        assert ('test = "test"' in text) == (cut == "session")
        assert 'horizon = "8d"' in text
        import tomllib

        assert tomllib.loads((workspace.competitions / "shop" / "experiments" / "001.toml").read_text()) == BASELINE


def guessed(folder: Path, metric: str | None = None) -> tuple[Any, Definition | None]:
    """Return what is inferred of the files in a folder, and the definition that is read back from its text."""
    facts = CompetitionFacts("shape", "A shape", metric=metric)
    inferred = infer(convert(folder, folder / "tables", "shape"), folder / "tables", facts, "kaggle")
    path = folder / "competition.toml"
    path.write_text(definition_text(inferred), encoding="utf-8")
    return inferred, read_definition(path, "shape")


def fashion(folder: Path) -> None:
    """Write files as those of H&M: no test, items with a leading zero, days."""
    days = pl.date(2020, 8, 1) + pl.duration(days=(pl.col("ts") - START) // DAY)
    customer, article = pl.format("c{}", "user"), pl.format("0{}", "item")
    log = make_log().select(days.alias("t_dat"), customer.alias("customer_id"), article.alias("article_id"), price=0.5)
    log.write_csv(folder / "transactions_train.csv")
    log.select(pl.col("article_id").unique().sort(), colour=1).write_csv(folder / "articles.csv")
    log.select(pl.col("customer_id").unique().sort(), age=30).write_csv(folder / "customers.csv")
    best = " ".join(log["article_id"].unique().sort()[:12])
    log.select(pl.col("customer_id").unique().sort(), prediction=pl.lit(best)).write_csv(
        folder / "sample_submission.csv"
    )


def sessions(folder: Path, *, nested: bool = False, factor: int = 1000) -> None:
    """Write files as those of OTTO: sessions of events, some of them to go on, and a line per session and type."""
    log = make_log().select(session="user", aid="item", ts=pl.col("ts") * factor, type="type").sort("session", "ts")
    for name, part in (("train", pl.col("session") < 140), ("test", pl.col("session") >= 140)):
        rows = log.filter(part)
        if nested:
            records = rows.group_by("session", maintain_order=True).agg(events=pl.struct("aid", "ts", "type"))
            (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(r) for r in records.to_dicts()))
        else:
            rows.write_csv(folder / f"{name}.csv")
    asked = log.filter(pl.col("session") >= 140).select("session").unique(maintain_order=True)
    asked = asked.join(pl.DataFrame({"type": ["clicks", "carts", "orders"]}), how="cross")
    best = " ".join(map(str, range(7000, 7020)))
    sample = asked.select(pl.format("{}_{}", "session", "type").alias("session_type"), labels=pl.lit(best))
    sample.write_csv(folder / "sample_submission.csv")


class TestGuessed:
    def test_a_log_of_purchases(self, tmp_path: Path) -> None:
        fashion(tmp_path)
        inferred, d = guessed(tmp_path, "MAP@{K}")
        assert (d.task, d.id_columns, d.targets, d.metric) == ("recommend", ("customer_id",), ("prediction",), "map@12")
        assert d.tables.train == "transactions_train"
        expected = InteractionsSpec("customer_id", "article_id", "t_dat", 7 * DAY, users="customers", items="articles")
        assert d.interactions == expected
        assert "a guess: the competition's page" in (tmp_path / "competition.toml").read_text()
        assert baseline_text(inferred).startswith('title = "items of the user')

    @pytest.mark.parametrize(("factor", "unit"), [(1, "s"), (1000, "ms"), (10**6, "us"), (10**9, "ns")])
    def test_a_log_of_sessions(self, tmp_path: Path, factor: int, unit: str) -> None:
        sessions(tmp_path, factor=factor)
        _, d = guessed(tmp_path, "OTTO's own")
        assert (d.task, d.id_columns, d.targets) == ("recommend", ("session_type",), ("labels",))
        assert (d.metric, d.metric_of_platform) == ("micro_recall@20", "OTTO's own")
        log = d.interactions
        assert (log.user, log.item, log.time, log.kind, log.unit) == ("session", "aid", "ts", "type", unit)
        assert (log.cut, log.id, set(log.weights)) == ("session", "{user}_{kind}", {"clicks", "carts", "orders"})
        assert (d.tables.train, d.tables.test) == ("train", "test")

    def test_lists_of_events_are_to_be_taken_apart(self, tmp_path: Path) -> None:
        sessions(tmp_path, nested=True)
        inferred, d = guessed(tmp_path)
        assert d.interactions.item == "aid"
        options = ReadOptions(*read_options(tmp_path / "competition.toml"))
        assert options.read == {"train": {"explode": "events"}, "test": {"explode": "events"}}
        shutil.rmtree(tmp_path / "tables")
        again = convert(tmp_path, tmp_path / "tables", "shape", options=options)
        assert list(again.tables["train"].dtypes) == ["session", "aid", "ts", "type"]
        assert inferred.explode == {"train": "events", "test": "events"}

    def test_what_can_not_be_guessed_is_as_before(self, tmp_path: Path) -> None:
        """Lists of labels of a target that train has are classes, whatever else train has."""
        log = make_log().with_row_index("id")
        train = log.select("id", "user", "item", "ts", y="type")
        train.head(1000).write_csv(tmp_path / "train.csv")
        train.tail(500).drop("y").write_csv(tmp_path / "test.csv")
        train.tail(500).select("id", y=pl.lit("clicks carts")).write_csv(tmp_path / "sample_submission.csv")
        inferred, d = guessed(tmp_path, "MAP@{K}")
        assert isinstance(inferred, Inferred)
        assert (d.task, d.metric) == ("multiclass", "map@2")

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda f: f.rename({"t_dat": "x"}),
            lambda f: f.rename({"article_id": "x"}),
            lambda f: f.with_columns(customer_id=pl.lit("nobody")),
            lambda f: f.with_columns(article_id=pl.lit("nothing")),
        ],
    )
    def test_a_log_that_does_not_fit_the_sample_is_none(self, tmp_path: Path, spoil: Any) -> None:
        from workbench.core.errors import DataError

        fashion(tmp_path)
        path = tmp_path / "transactions_train.csv"
        spoil(pl.read_csv(path, infer_schema=False)).write_csv(path)
        with pytest.raises(DataError, match="can't infer the definition"):
            guessed(tmp_path)


def test_the_names_of_log_columns_are_used_as_they_are(tmp_path: Path) -> None:
    assert LOG.columns == ("user", "item", "ts")
