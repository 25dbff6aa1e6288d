"""What `wb submit` finds in a file of lists."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.shop_log import LOG, LOG_OF_KINDS, make_log
from workbench.api import library
from workbench.data.competition import Competition
from workbench.data.workspace import create_workspace
from workbench.rehearsal import LogSpec, create
from workbench.submissions.findings import file_findings


@pytest.fixture
def shop(tmp_path: Path):
    """Return a function that hosts and fetches a shop; and gives the competition and a submission that is in order."""

    def host_shop(log: Any = LOG) -> tuple[Competition, pl.DataFrame]:
        workspace = create_workspace(tmp_path / "workspace")
        train, items = tmp_path / "log.csv", tmp_path / "products.csv"
        make_log().write_csv(train)
        pl.DataFrame({"item": range(7000, 7060), "size": 1}).write_csv(items)
        create(workspace.root, "shop", LogSpec(train, log, "recall@3", tables=(items,)))
        library.fetch("shop", where=workspace)
        competition = library.OpenCompetition(workspace, "shop").access.competition
        sample = competition.table("sample_submission").collect()
        lists = [f"{7000 + i % 40} {7001 + i % 40} {7002 + i % 40}" for i in range(sample.height)]
        return competition, sample.with_columns(items=pl.Series(lists))

    return host_shop


def messages_of_file(competition: Competition, frame: pl.DataFrame, path: Path) -> dict[tuple[str, str], str]:
    frame.write_csv(path / "sent.csv")
    return {(f.level, f.code): f.message for f in file_findings(competition, path / "sent.csv")}


def where(value: str | None, rows: int) -> pl.Expr:
    return pl.when(pl.int_range(pl.len()) < rows).then(pl.lit(value, pl.String)).otherwise("items").alias("items")


@pytest.mark.parametrize("log", [LOG, LOG_OF_KINDS, replace(LOG_OF_KINDS, cut="session")])
def test_a_file_that_is_in_order(shop, tmp_path: Path, log: Any) -> None:
    competition, frame = shop(log)
    assert messages_of_file(competition, frame, tmp_path) == {}


@pytest.mark.parametrize(
    ("spoil", "key", "message"),
    [
        (where(None, 4), ("warning", "empty_lists"), "items: 4 of 60 lists are empty"),
        (where("", 4), ("warning", "empty_lists"), "items: 4 of 60 lists are empty"),
        (where(" ", 4), ("warning", "empty_lists"), "items: 4 of 60 lists are empty"),
        (
            where("7001 7002 7003 7004", 5),
            ("warning", "long_lists"),
            "5 lists have more than 3 items; only the first",
        ),
        (where("7001 7002 7001", 6), ("warning", "repeated_items"), "6 lists repeat an item"),
        (
            where("7001 8000", 1),
            ("warning", "labels"),
            "1 of 179 items are neither in the log nor in a table .* '8000'",
        ),
        (where("8000 8001", 2), ("error", "labels"), "4 of 178 items"),
        (pl.col("items").str.replace_all("7", "07").alias("items"), ("error", "labels"), "180 of 180 items"),
        (pl.lit("7001 7002").alias("items"), ("warning", "constant"), "every prediction is '7001 7002'"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_else(shop, tmp_path: Path, spoil: Any, key: Any, message: str) -> None:
    competition, frame = shop()
    findings = messages_of_file(competition, frame.with_columns(spoil), tmp_path)
    assert list(findings) == [key]
    assert re.search(message, findings[key])


def test_a_file_of_empty_lists_is_not_an_error(shop, tmp_path: Path) -> None:
    competition, frame = shop()
    findings = messages_of_file(competition, frame.with_columns(items=pl.lit(None, pl.String)), tmp_path)
    assert set(findings) == {("warning", "empty_lists")}


def test_items_of_the_table_of_items_are_known(shop, tmp_path: Path) -> None:
    competition, frame = shop()
    assert 7055 not in make_log()["item"]
    assert messages_of_file(competition, frame.with_columns(where("7055 7056", 30)), tmp_path) == {}


def test_lists_are_counted_over_all_slices(shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    competition, frame = shop()
    spoiled = frame.with_columns(where("7001 8000", 30))
    expected = messages_of_file(competition, spoiled, tmp_path)
    monkeypatch.setattr("workbench.submissions.list_findings.CHUNK_ROWS", 7)
    assert messages_of_file(competition, spoiled, tmp_path) == expected
    assert "30 of 150 items" in expected["error", "labels"]


def test_ids_are_compared_with_the_sample(shop, tmp_path: Path) -> None:
    competition, frame = shop(LOG_OF_KINDS)
    assert set(messages_of_file(competition, frame.head(170), tmp_path)) == {
        ("error", "row_count"),
        ("error", "missing_ids"),
    }
