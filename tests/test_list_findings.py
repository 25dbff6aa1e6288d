"""What is said of a file of lists before it is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.test_recommend_runs import KINDS, LOG, Shop, frame
from workbench.submission.findings import file_findings


@pytest.fixture
def found(tmp_path: Path) -> Any:
    s = Shop(tmp_path, LOG, frame())
    sample = s.open.definition.table("sample_submission").collect()

    def of(change: Any) -> list[tuple[str, str, str]]:
        path = tmp_path / "sent.csv"
        good = sample.with_columns(items=pl.lit("1 2 3 4 5"))
        change(good).write_csv(path)
        return [(f.level, f.code, f.message) for f in file_findings(s.open.definition, path)]

    return of


def first(text: str | None) -> Any:
    """Change the first line's list."""
    row = pl.int_range(pl.len())
    return lambda f: f.with_columns(items=pl.when(row == 0).then(pl.lit(text)).otherwise("items"))


def test_good_lists(found: Any) -> None:
    assert [f for f in found(first("5 4 3")) if f[1] != "constant"] == []


@pytest.mark.parametrize(
    ("change", "level", "code", "text"),
    [
        (first("1 2 3 4 5 6"), "warning", "long_lists", "1 of 150 lists have more than 5 items: the first 5 count"),
        (first("1 2 1"), "warning", "repeated_items", "1 of 150 lists have an item more than once"),
        (first(""), "warning", "empty_lists", "1 of 150 lists are empty"),
        (first(None), "warning", "empty_lists", "1 of 150 lists are empty"),
        (
            first("1 2 77777"),
            "warning",
            "labels",
            "1 of 748 items are neither in train nor in test, for example '77777'",
        ),
        (lambda f: f.with_columns(items=pl.lit("a b")), "error", "labels", "300 of 300 items are neither"),
        (lambda f: f.with_columns(items=pl.lit("")), "error", "empty_lists", "150 of 150 lists are empty"),
        (lambda f: f.head(100), "error", "row_count", "100 rows, expected 150"),
        (lambda f: f.rename({"items": "x"}), "error", "columns", "columns are missing: items"),
    ],
)
def test_what_speaks_against_lists(found: Any, change: Any, level: str, code: str, text: str) -> None:
    assert any(text in f[2] for f in found(change) if f[:2] == (level, code))


def test_spaces_too_many_are_none(found: Any) -> None:
    assert [f for f in found(first("  1   2  ")) if f[1] != "constant"] == []


def test_a_line_per_type(tmp_path: Path) -> None:
    s = Shop(tmp_path, KINDS, frame())
    sample = s.open.definition.table("sample_submission").collect()
    path = tmp_path / "sent.csv"
    sample.with_columns(items=pl.lit("1 2")).head(3).write_csv(path)
    codes = {f.code for f in file_findings(s.open.definition, path)}
    assert {"row_count", "missing_ids"} <= codes
