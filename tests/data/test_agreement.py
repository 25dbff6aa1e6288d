"""What JSON says in one file and not in another: types of train and test, objects of rows and objects of columns."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from tests.conversion import ConvertedFiles, convert_files, parquet_bytes


def both(train: list[Any], test: list[Any], ending: str = "jsonl", **options: Any) -> ConvertedFiles:
    def text(values: list[Any]) -> str:
        records = [{"id": i, "a": v} for i, v in enumerate(values)]
        return json.dumps(records) if ending == "json" else "".join(json.dumps(r) + "\n" for r in records)

    return convert_files({f"train.{ending}": text(train), f"test.{ending}": text(test)}, **options)


@pytest.mark.parametrize("ending", ["jsonl", "json"])
@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1.5, 2.5], pl.Float64()),
        ([1, 2], pl.Int64()),
        ([True, False], pl.Boolean()),
        (["x", "1.5"], pl.String()),
        ([[1], [2, 3]], pl.List(pl.Int64())),
        ([{"b": 1}, {"b": 2}], pl.Struct({"b": pl.Int64()})),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_what_is_null_in_one_has_the_type_of_the_other(ending: str, values: Any, dtype: Any, turned: bool) -> None:
    sides = ([None, None], values) if turned else (values, [None, None])
    result = both(*sides, ending)
    train, test = result.frames["train"], result.frames["test"]
    assert train.schema["a"] == test.schema["a"] == dtype
    assert (test if turned else train)["a"].to_list() == values
    assert (train if turned else test)["a"].to_list() == [None, None]
    assert pl.concat([train, test])["a"].dtype == dtype
    if dtype != pl.String() or ending == "json":
        assert any("column 'a' is" in s and "empty" in s and "in all" in s for s in result.said)


def test_whole_numbers_and_fractions_share_a_type_where_no_digit_is_lost() -> None:
    result = both([1.5, 2], [3, 4])
    assert result.frames["test"]["a"].to_list() == [3.0, 4.0]
    assert any("taken as Float64 in all" in s for s in result.said)
    result = both([1.5], [2**53 + 1])
    assert result.frames["test"]["a"].to_list() == [2**53 + 1]
    assert any(s.endswith("left as they are") for s in result.said)


@pytest.mark.parametrize(("one", "other"), [([True], ["x"]), ([1.5], ["1.5"]), ([1], ["007"])])
def test_what_has_no_common_type_is_left_and_told(one: list[Any], other: list[Any]) -> None:
    result = both(one, other)
    assert (result.frames["train"]["a"].to_list(), result.frames["test"]["a"].to_list()) == (one, other)
    assert any("column 'a' is" in s and s.endswith("left as they are") for s in result.said)


def test_a_type_that_is_asked_for_stays() -> None:
    assert both([1.5], [None], types={"test.a": "String"}).frames["test"].schema["a"] == pl.String


@pytest.mark.parametrize(("value", "agrees"), [(7, True), (2**63, False)])
def test_unsigned_numbers_agree_with_signed_ones_that_hold_them(value: int, agrees: bool) -> None:
    large = parquet_bytes(pl.DataFrame({"id": [1], "a": pl.Series([value], dtype=pl.UInt64)}))
    result = convert_files({"train.parquet": large, "test.csv": "id,a\n2,-1\n"})
    assert result.frames["train"]["a"].to_list() == [value]
    assert result.frames["train"].schema["a"] == (pl.Int64 if agrees else pl.UInt64)
    assert any("column 'a' is" in s and ("in all" if agrees else "left as they are") in s for s in result.said)


def test_files_of_two_formats_agree() -> None:
    files = {"train.parquet": parquet_bytes({"id": [1], "a": [1.5]}), "test.csv": "id,a\n2,\n"}
    assert convert_files(files).frames["test"].schema["a"] == pl.Float64


# -------------------------------------------------------------------------------------------------- objects of objects


@pytest.mark.parametrize(
    ("document", "columns"),
    [
        ({"u1": {"a": 1, "b": "x"}, "u2": {"a": 2, "b": "y"}}, {"id": ["u1", "u2"], "a": [1, 2], "b": ["x", "y"]}),
        ({"u1": {"a": 1}, "u2": {"b": "y"}}, {"id": ["u1", "u2"], "a": [1, None], "b": [None, "y"]}),
        ({"7": {"a": 1.5, "b": 2}, "9": {"a": 3, "b": 4}}, {"id": [7, 9], "a": [1.5, 3.0], "b": [2, 4]}),
        ({"007": {"a": 1}, "8": {"a": 3}}, {"id": ["007", "8"], "a": [1, 3]}),
        (
            {"x": {"id": "x", "a": 1}, "y": {"id": "y", "a": 2}, "z": {"id": "z", "a": 3}},
            {"id": ["x", "y", "z"], "a": [1, 2, 3]},
        ),
        ({"r": {"a": 1}, "s": {"a": 2}, "t": {"a": 3}}, {"id": ["r", "s", "t"], "a": [1, 2, 3]}),
        ({"a": {"0": 1, "1": 2}, "b": {"1": "y", "0": "x"}}, {"a": [1, 2], "b": ["x", "y"]}),
        ({"a": {"r": 1, "s": 2}, "b": {"r": "x", "s": "y"}}, {"id": ["r", "s"], "a": [1, 2], "b": ["x", "y"]}),
        ({"a": {"5": 1, "9": 2}, "b": {"5": 3, "9": 4}}, {"id": [5, 9], "a": [1, 2], "b": [3, 4]}),
        ({"a": [1, 2], "b": ["x", "y"]}, {"a": [1, 2], "b": ["x", "y"]}),
        ({"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]}, {"a": [1, 2], "b": ["x", "y"]}),
        ({"columns": ["a"], "index": ["r", "s"], "data": [[1], [2]]}, {"id": ["r", "s"], "a": [1, 2]}),
        ({"columns": ["a"], "index": [0, 1], "data": [[1], [2]]}, {"a": [1, 2]}),
        ({"data": [{"a": 1}, {"a": 2.5}]}, {"a": [1.0, 2.5]}),
        ({"schema": {"fields": []}, "data": [{"a": 1}]}, {"a": [1]}),
    ],
)
def test_the_ways_in_which_an_object_is_a_table(document: Any, columns: dict[str, list[Any]]) -> None:
    result = convert_files({"train.json": json.dumps(document)})
    assert result.train.to_dict(as_series=False) == columns


def test_how_an_object_is_meant_is_told_and_can_be_said() -> None:
    document = json.dumps({"a": {"p": 1, "q": 2}, "b": {"p": 3, "q": 4}, "c": {"p": 5, "q": 6}})
    result = convert_files({"train.json": document})
    assert result.train.to_dict(as_series=False) == {"id": ["a", "b", "c"], "p": [1, 3, 5], "q": [2, 4, 6]}
    assert any(
        'each of its objects is taken for a row; if not: [read.train] orient = "columns"' in s for s in result.said
    )
    other = convert_files({"train.json": document}, read={"orient": "columns"}).train
    assert other.to_dict(as_series=False) == {"id": ["p", "q"], "a": [1, 2], "b": [3, 4], "c": [5, 6]}


def test_objects_of_objects_are_meant_alike_in_train_and_test() -> None:
    """Two rows of three numbers may be three rows of two: train says which."""
    train = {f"u{i}": {"a": 1, "b": 2, "c": 3, "y": i} for i in range(20)}
    test = {f"v{i}": {"a": i, "b": 2, "c": 3} for i in range(2)}
    result = convert_files({"train.json": json.dumps(train), "test.json": json.dumps(test)})
    assert result.frames["test"].rows() == [("v0", 0, 2, 3), ("v1", 1, 2, 3)]
    assert result.train.columns == ["id", "a", "b", "c", "y"]
    assert any(line.startswith("test: each of its objects is taken for a row") for line in result.said)
