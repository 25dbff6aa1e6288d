"""Parts of one table: folders, numbers and Hive folders; types that differ between them; Parquet in bounded memory."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.conversion import ConvertedFiles, conversion_peak_mb, convert_files, parquet_bytes
from workbench.core.errors import DataError
from workbench.data.ingest import parts as parts_module
from workbench.data.ingest.reconciled import common_type, fitted


def parts(
    *frames: pl.DataFrame | dict[str, Any], name: str = "train/part-{}.parquet", **options: Any
) -> ConvertedFiles:
    return convert_files(
        {name.format(i): parquet_bytes(f) for i, f in enumerate(frames)} | {"sample.csv": "id\n1\n"}, **options
    )


# -------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name",
    [
        "train_{}.parquet",
        "train{}.parquet",
        "train/part-{}.parquet",
        "train/{:05}.parquet",
        "train/data_{}.parquet",
        "train/train_{}.parquet",
        "train.parquet/part.{}.parquet",
        "train-{:05}-of-00012.parquet",
        "data/train-{:05}-of-00012.parquet",
        "train/part-{:05}-3f9c1a52-7d1e-4b6a-9a61-0c8d2f4e5b7a-c000.snappy.parquet",
        "train/partition_id={}/part-0.parquet",
        "train.parquet/partition_id={}/3f9c1a52.parquet",
    ],
)
def test_parts_are_one_table_in_natural_order(name: str) -> None:
    files = {name.format(i): parquet_bytes({"i": [10 * i, 10 * i + 1]}) for i in range(12)}
    other = {("data/" if name.startswith("data/") else "") + "sample.csv": "id\n1\n"}
    result = convert_files(files | other)
    assert list(result.frames) == ["sample", "train"]
    assert result.train["i"].to_list() == [10 * i + k for i in range(12) for k in (0, 1)]
    assert result.infos["train"].source.split(", ") == [name.format(i) for i in range(12)]


def test_a_folder_of_parts_that_is_all_there_is_has_its_name() -> None:
    assert list(convert_files({f"train/part-{i}.parquet": parquet_bytes({"i": [i]}) for i in range(3)}).frames) == [
        "train"
    ]


def test_parts_in_an_archive_have_its_name() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for i in range(11):
            archive.writestr(f"part-{i}.parquet", parquet_bytes({"i": [i]}))
    result = convert_files({"train.zip": out.getvalue(), "sample.csv": "id\n1\n"})
    assert list(result.frames) == ["sample", "train"]
    assert result.train["i"].to_list() == list(range(11))


@pytest.mark.parametrize(
    "files",
    [
        {"train_1.parquet": {"a": [1]}, "train_2.parquet": {"b": [1]}},  # only numbers, and other columns
        {"train_1.parquet": {"a": [1]}, "train_2.parquet": {"a": [1]}, "train.parquet": {"a": [1]}},
        {"train.parquet": {"a": [1]}, "test.parquet": {"a": [1]}},
    ],
)
def test_what_stays_apart(files: dict[str, Any]) -> None:
    assert len(convert_files({name: parquet_bytes(f) for name, f in files.items()}).frames) == len(files)


def test_hive_folders_give_columns() -> None:
    keys = [("2022-08-01", "1", "a%20b"), ("2022-08-02", "2", "c"), ("2022-08-10", "__HIVE_DEFAULT_PARTITION__", "7")]
    files = {f"train/date={d}/n={n}/word={w}/x.parquet": parquet_bytes({"i": [int(d[-2:])] * 2}) for d, n, w in keys}
    frame = convert_files(files | {"sample.csv": "id\n1\n"}).train
    assert frame.to_dict(as_series=False) == {
        "i": [1, 1, 2, 2, 10, 10],
        "date": [date(2022, 8, d) for d in (1, 1, 2, 2, 10, 10)],
        "n": [1, 1, 2, 2, None, None],
        "word": ["a b", "a b", "c", "c", "7", "7"],
    }


@pytest.mark.parametrize("others", [{}, {"sample.csv": "id\n1\n"}])
def test_hive_folders_of_two_tables_are_two_tables(others: dict[str, str]) -> None:
    files = {f"data/fold={k}/{n}_{k}.parquet": parquet_bytes({n: [k]}) for k in (0, 1) for n in ("train", "test")}
    frames = convert_files(files | others).frames
    tables = {n.removeprefix("data_"): f.to_dict(as_series=False) for n, f in frames.items() if n != "sample"}
    assert tables == {n: {n: [0, 1], "fold": [0, 1]} for n in ("train", "test")}


def test_names_that_writers_give_do_not_make_tables() -> None:
    names = ["000000_0", "000001_0", "part-0", "3f9c1a52-7d1e-4b6a-9a61-0c8d2f4e5b7a-0", "0d8e61fcb2a94c07"]
    files = {f"train/k={k}/{n}.parquet": parquet_bytes({"a": [1]}) for k in (0, 1) for n in names}
    assert convert_files(files | {"sample.csv": "id\n1\n"}).train.height == 10


def test_hive_folders_that_differ_in_a_sign_are_one_table() -> None:
    files = {f"train/offset={k}/a.parquet": parquet_bytes({"a": [k]}) for k in ("-1", "+1")}
    frame = convert_files(files | {"sample.csv": "id\n1\n"}).train
    assert sorted(frame.rows()) == [("+1", "+1"), ("-1", "-1")]
    with pytest.raises(DataError, match="would all become table 'train_a_1'"):
        convert_files(
            {f"train/a{sign}1.parquet": parquet_bytes({"a": [1]}) for sign in "+-"} | {"sample.csv": "id\n1\n"}
        )


@pytest.mark.parametrize(("fields", "is_one"), [(("id", "b"), False), (("id",), False), (("id", "a", "c"), True)])
def test_numbered_lines_are_one_table_where_most_fields_agree(fields: tuple[str, ...], is_one: bool) -> None:
    first, second = ({"id": 1, "a": 2, "c": 3} if is_one else {"id": 1, "a": 2}), dict.fromkeys(fields, 1)
    frames = convert_files({"t_1.jsonl": json.dumps(first), "t_2.jsonl": json.dumps(second), "s.csv": "id\n1\n"}).frames
    assert ("t" in frames) == is_one


@pytest.mark.parametrize(("ending", "content"), [("csv", "i\n{}\n"), ("jsonl", '{{"i": {}}}\n')])
def test_hive_folders_of_text(ending: str, content: str) -> None:
    files = {f"train/day={d}/part-0.{ending}": content.format(d) for d in range(1, 12)}
    frame = convert_files(files | {"sample.csv": "id\n1\n"}).train
    assert frame.to_dict(as_series=False) == {"i": list(range(1, 12)), "day": list(range(1, 12))}


def test_a_column_of_the_files_goes_before_that_of_the_folders() -> None:
    frame = convert_files(
        {f"train/i={k}/x.parquet": parquet_bytes({"i": [k + 0.5]}) for k in (1, 2)} | {"s.csv": "id\n1\n"}
    ).train
    assert frame.to_dict(as_series=False) == {"i": [1.5, 2.5]}


# -------------------------------------------------------------------------------------------------------------- types

ENUM = pl.Enum(["a", "b"])
OTHER = pl.Enum(["a", "c"])


@pytest.mark.parametrize(
    ("one", "other", "dtype"),
    [
        (pl.Series([1], dtype=pl.Int32), pl.Series([2**40]), pl.Int64),
        (pl.Series([1], dtype=pl.UInt8), pl.Series([-1], dtype=pl.Int8), pl.Int64),
        (pl.Series([1]), pl.Series([2.5]), pl.Float64),
        (pl.Series([1], dtype=pl.Int16), pl.Series([2.5], dtype=pl.Float32), pl.Float64),
        (pl.Series([None], dtype=pl.Null), pl.Series([[1]]), pl.List(pl.Int64)),
        (pl.Series(["a"], dtype=ENUM), pl.Series(["b"], dtype=ENUM), ENUM),
        (pl.Series(["a"], dtype=ENUM), pl.Series(["c"], dtype=OTHER), pl.String),
        (pl.Series(["a"], dtype=pl.Categorical), pl.Series(["c"], dtype=OTHER), pl.String),
        (pl.Series(["a"], dtype=pl.Categorical), pl.Series(["c"], dtype=pl.Categorical), pl.Categorical),
        (pl.Series(["a"], dtype=pl.Categorical), pl.Series(["x"]), pl.String),
        (pl.Series([date(2024, 1, 2)]), pl.Series([datetime(2024, 1, 2, 3)]), pl.Datetime("us")),
        (
            pl.Series([datetime(2024, 1, 2)], dtype=pl.Datetime("ms")),
            pl.Series([datetime(2024, 1, 2)], dtype=pl.Datetime("ns")),
            pl.Datetime("ns"),
        ),
        (pl.Series([[1], []], dtype=pl.List(pl.Int32)), pl.Series([[2**40], None]), pl.List(pl.Int64)),
        (
            pl.Series([{"x": 1}, None]),
            pl.Series([{"x": 0.5, "y": "q"}, None]),
            pl.Struct({"x": pl.Float64, "y": pl.String}),
        ),
        (
            pl.Series([[{"x": 1}], [], None, [{"x": 2}, {"x": 3}]]),
            pl.Series([[{"y": "q", "x": 0.5}], [], None, []]),
            pl.List(pl.Struct({"x": pl.Float64, "y": pl.String})),
        ),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_types_that_differ_are_reconciled(one: pl.Series, other: pl.Series, dtype: Any, turned: bool) -> None:
    first, second = (other, one) if turned else (one, other)
    frame = parts(pl.DataFrame({"v": first}), pl.DataFrame({"v": second})).train
    if not isinstance(dtype, pl.List | pl.Struct) or not turned:  # turned, fields have the other order
        assert frame.schema["v"] == dtype

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in sorted(value.items()) if v is not None}
        if isinstance(value, list):
            return [plain(v) for v in value]
        return datetime(value.year, value.month, value.day) if type(value) is date else value

    assert plain(frame["v"].to_list()) == plain([*first.to_list(), *second.to_list()])


@pytest.mark.parametrize(
    ("one", "other", "examples"),
    [([1], ["x"], ["1", "'x'"]), ([True], [2], ["True", "2"]), (["x"], [date(2024, 1, 2)], ["'x'", "2024, 1, 2"])],
)
def test_types_that_do_not_go_together_are_told_with_files_and_values(
    one: Any, other: Any, examples: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        parts({"k": [1], "v": one}, {"k": [1], "v": one}, {"k": [1], "v": other})
    for said in ("table 'train'", "column 'v'", "part-0.parquet", "part-2.parquet", *examples):
        assert said in caught.value.message
    assert '[types] "train.v" = "String"' in caught.value.hint
    frame = parts({"v": one}, {"v": other}, types={"train.v": "String"}).train
    assert frame.schema["v"] == pl.String
    assert frame["v"].null_count() == 0


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1])
def test_a_whole_number_that_would_lose_digits_is_refused(value: int) -> None:
    with pytest.raises(
        DataError, match=rf"table 'train': a value in .*part-1.parquet.*{value} does not fit Float64 without loss"
    ):
        parts({"v": [0.5]}, {"v": [value]})


@pytest.mark.parametrize(
    ("whole", "fraction"),
    [
        ([2**53 + 1], [0.5]),
        ([[2**53 + 1]], [[0.5]]),
        ({"x": [2**53 + 1]}, {"x": [0.5]}),
        ([{"x": 2**53 + 1}], [{"x": 0.5}]),
    ],
)
def test_digits_are_not_lost_inside_lists_and_structs_either(whole: Any, fraction: Any) -> None:
    with pytest.raises(DataError, match=rf"a value in .*part-1.parquet.*{2**53 + 1} does not fit Float64 without loss"):
        parts({"v": [fraction]}, {"v": [whole]})
    result = convert_files(
        {"train.parquet": parquet_bytes({"v": [whole]}), "test.parquet": parquet_bytes({"v": [fraction]})}
    )
    assert result.train["v"].to_list() == [whole]
    assert any("left as they are" in line for line in result.said)


@pytest.mark.parametrize(
    ("values", "asked", "said"),
    [
        ([1.0, 2.7], "Int64", "'v' has 2.7, not of type Int64"),
        ([0, 2], "Boolean", "'v' has 2, not of type Boolean"),
        ([datetime(2024, 1, 2, 3)], "Date", "'v' has datetime.*, not of type Date"),
        ([[1]], "String", "'v' holds List.Int64., which .types. can't make String"),
    ],
)
def test_a_type_that_is_asked_for_changes_no_value(values: list[Any], asked: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        parts({"v": values}, {"v": values}, types={"v": asked})
    assert parts({"v": [1.0]}, {"v": [None]}, types={"v": "Int64"}).train["v"].to_list() == [1, None]


def test_lists_that_do_not_go_together_are_told_in_one_line_without_a_dead_end() -> None:
    with pytest.raises(
        DataError, match=r"List\(Int64\) in .*, such as \[1\], and List\(String\).*, such as \['x'\]"
    ) as e:
        parts({"v": [[1]]}, {"v": [["x"]]})
    assert "\n" not in e.value.message
    assert "String" not in e.value.hint


def test_an_unsigned_number_beyond_64_bits_is_taken_as_any_that_is() -> None:
    unsigned = pl.DataFrame(
        {"v": pl.Series([2**63], dtype=pl.UInt64), "user_id": pl.Series([2**63 + 1], dtype=pl.UInt64)}
    )
    result = parts({"v": [1], "user_id": [2]}, unsigned).frames["train"]
    assert result["v"].to_list() == [1.0, float(2**63)]
    assert result["user_id"].to_list() == ["2", str(2**63 + 1)]
    within = pl.DataFrame({"v": pl.Series([7], dtype=pl.UInt64)})
    assert parts({"v": [1]}, within).frames["train"].schema["v"] == pl.Int64


def test_a_column_that_parts_lack_is_null_there_and_told() -> None:
    result = parts({"a": [1], "b": ["x"]}, {"a": [2]}, {"a": [3]})
    assert result.train.to_dict(as_series=False) == {"a": [1, 2, 3], "b": ["x", None, None]}
    (said,) = (line for line in result.said if "missing" in line)
    assert "train: column 'b' is missing in" in said
    assert "part-1.parquet and 1 more of 3 parts; it is null there" in said


def test_an_enum_that_changes_is_told() -> None:
    result = parts(
        pl.DataFrame({"v": pl.Series(["a"], dtype=ENUM)}), pl.DataFrame({"v": pl.Series(["c"], dtype=OTHER)})
    )
    assert any("column 'v' is Enum of different categories in its parts; taken as String" in s for s in result.said)


def test_train_and_test_share_what_can_be_shared() -> None:
    def pair(a: pl.Series, b: pl.Series) -> ConvertedFiles:
        return convert_files(
            {
                "train.parquet": parquet_bytes(pl.DataFrame({"v": a})),
                "test.parquet": parquet_bytes(pl.DataFrame({"v": b})),
            }
        )

    result = pair(pl.Series(["a"], dtype=ENUM), pl.Series(["c"], dtype=OTHER))
    assert [f.schema["v"] for f in result.frames.values()] == [pl.String, pl.String]
    assert any("Enum in test, Enum in train; taken as String in all" in s for s in result.said)
    result = pair(pl.Series([1], dtype=pl.Int32), pl.Series([1]))
    assert [f.schema["v"] for f in result.frames.values()] == [pl.Int64, pl.Int64]
    result = pair(pl.Series([1]), pl.Series([0.5]))
    assert [f.schema["v"] for f in result.frames.values()] == [pl.Float64, pl.Int64]
    assert any("left as they are" in s for s in result.said)


def test_what_is_alone_keeps_its_types() -> None:
    frame = pl.DataFrame(
        {"e": pl.Series(["a"], dtype=ENUM), "c": pl.Series(["a"], dtype=pl.Categorical), "l": [[{"x": 1}]]}
    )
    assert_frame_equal(convert_files({"train.parquet": parquet_bytes(frame)}).train, frame)


def test_the_narrowest_type_that_holds_both_is_the_same_either_way() -> None:
    types = [
        pl.Null(),
        pl.Int8(),
        pl.Int64(),
        pl.UInt64(),
        pl.Float32(),
        pl.String(),
        ENUM,
        OTHER,
        pl.Categorical(),
        pl.Boolean(),
        pl.Date(),
        pl.Datetime("ms"),
        pl.Datetime("us", "UTC"),
        pl.List(pl.Int8),
        pl.List(pl.String),
        pl.Decimal(10, 2),
    ]
    for one in types:
        for other in types:
            both = common_type(one, other)
            assert both == common_type(other, one)
            if both is not None:
                assert fitted(pl.DataFrame({"v": pl.Series([None], dtype=one)}), {"v": both}).schema == {"v": both}


# -------------------------------------------------------------------------------------------------------- the reading


@pytest.mark.parametrize("by_column", [False, True])
def test_slices_are_the_file(by_column: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "SLICE_BLOCKS", 1e-4)
    monkeypatch.setattr(parts_module, "LARGE_FILE_BLOCKS", 0 if by_column else 16)
    frame = pl.DataFrame(
        {"i": range(5_000), "t": [f"text {i % 7}" for i in range(5_000)], "l": [[i] * (i % 3) for i in range(5_000)]}
    )
    assert_frame_equal(convert_files({"train.parquet": parquet_bytes(frame, row_group_size=700)}).train, frame)
    assert_frame_equal(convert_files({"train.parquet": parquet_bytes(frame)}).train, frame)


@pytest.mark.parametrize("ending", ["parquet", "parquet.gz"])
def test_a_list_of_structs_is_exploded(ending: str) -> None:
    frame = pl.DataFrame({"s": [1, 2, 3], "events": [[{"a": 1}, {"a": 2}], [], [{"a": 3}]]})
    content = parquet_bytes(frame)
    result = convert_files(
        {f"train.{ending}": gzip.compress(content) if ending.endswith("gz") else content}, read={"explode": "events"}
    )
    assert result.train.to_dict(as_series=False) == {"s": [1, 1, 2, 3], "a": [1, 2, None, 3]}
    assert "train: 1 row has nothing in 'events'; each stays, as one row with nulls there" in result.said


def test_types_of_what_is_exploded_can_be_asked_for() -> None:
    content = parquet_bytes({"s": [1, 2], "events": [[{"ts": 1}, {"ts": 2}], [{"ts": 3}]], "x": [0.0, 1.0]})
    types = {"train.ts": "String", "x": "Int64"}
    frame = convert_files({"train.parquet": content}, read={"explode": "events"}, types=types).train
    assert frame.to_dict(as_series=False) == {"s": [1, 1, 2], "ts": ["1", "2", "3"], "x": [0, 0, 1]}


def test_a_part_that_is_no_parquet_is_named() -> None:
    with pytest.raises(DataError, match=r"part-1.parquet can't be converted to a table"):
        convert_files(
            {
                "train/part-0.parquet": parquet_bytes({"a": [1]}),
                "train/part-1.parquet": b"PAR1 and no more",
                "s.csv": "a\n1\n",
            }
        )


def test_numbered_csv_in_a_folder_keeps_the_order() -> None:
    files = {f"train/part-{i}.csv": f"a\n{i}\n" for i in range(12)}
    assert convert_files(files | {"s.csv": "a\n1\n"}).train["a"].to_list() == list(range(12))


def test_one_line_of_json_is_a_part_too(tmp_path: Path) -> None:
    files = {f"train/part-{i}.jsonl": json.dumps({"a": i}) for i in range(11)}
    assert convert_files(files | {"s.csv": "a\n1\n"}).train["a"].to_list() == list(range(11))


# -------------------------------------------------------------------------------------------------------------- memory


@pytest.mark.slow
def test_one_huge_row_group_is_held_a_column_at_a_time(tmp_path: Path) -> None:
    """What is held beyond a small file's conversion is one packed column and a slice, not the file."""
    rng = np.random.default_rng(1)
    peaks = []
    for rows in (50_000, 3_000_000):
        raw = tmp_path / str(rows)
        raw.mkdir()
        frame = pl.DataFrame({f"x{i}": rng.random(rows) for i in range(12)})
        frame.write_parquet(raw / "train.parquet", row_group_size=rows, compression="lz4")
        peaks.append(conversion_peak_mb(raw, tmp_path / f"{rows} tables"))
    file_mb = (tmp_path / "3000000" / "train.parquet").stat().st_size >> 20
    assert file_mb > 250
    assert peaks[1] < peaks[0] + 0.5 * file_mb, f"{peaks} MB for a file of {file_mb} MB"


def test_a_column_that_only_some_hive_parts_hold_is_filled_from_the_folder() -> None:
    files = {
        "t/d=1/a.parquet": parquet_bytes({"d": [1], "v": [1]}),
        "t/d=2/a.parquet": parquet_bytes({"v": [2]}),
        "sample.csv": "id\n1\n",
    }
    result = convert_files(files)
    assert result.frames["t"].select("d", "v").rows() == [(1, 1), (2, 2)]
    assert not any("null there" in line for line in result.said)
    with pytest.raises(DataError, match=r"t/d=x/a.parquet: the folder says d = 'x', which is not of type Int64"):
        convert_files(files | {"t/d=x/a.parquet": parquet_bytes({"v": [3]})})
