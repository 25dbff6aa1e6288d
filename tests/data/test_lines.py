"""JSON lines: nested records, types over the whole file, faults by line, sessions as events."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.conversion import CONVERT_SCRIPT, ConvertedFiles, conversion_peak_mb, convert_files
from tests.small import make_frame
from workbench.api import library
from workbench.core.cache import remove_leftover_files
from workbench.core.errors import DataError
from workbench.data.competition import read_manifest
from workbench.data.ingest import lines as lines_module
from workbench.data.ingest import writing
from workbench.data.ingest.convert import convert
from workbench.data.ingest.lists_apart import lists_apart
from workbench.data.ingest.shaped import ShapedReader
from workbench.data.ingest.shapes import Shape, add_lines, schema_of
from workbench.rehearsal import RehearsalSpec

EVENT = {"aid": 1, "ts": 10, "type": "clicks"}


def written(records: list[Any]) -> str:
    return "".join(json.dumps(r) + "\n" for r in records)


def lines(records: list[Any] | str, **options: Any) -> ConvertedFiles:
    return convert_files({"train.jsonl": records if isinstance(records, str) else written(records)}, **options)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ConvertedFiles]]:
    """Return `lines` with a head of 100 bytes and blocks of 200."""
    monkeypatch.setattr(lines_module, "HEAD_BYTES", 100)
    monkeypatch.setattr(lines_module, "MIN_HEAD_BYTES", 1)
    monkeypatch.setattr(writing, "BLOCKS_PER_GROUP", writing.BLOCKS_PER_GROUP * (16 << 20) / 200)
    return partial(lines, block_bytes=200)


def session(number: int, events: int) -> dict[str, Any]:
    kinds = ["clicks", "carts", "orders"]
    return {
        "session": number,
        "events": [{"aid": 100 * number + i, "ts": 10**12 + i, "type": kinds[i % 3]} for i in range(events)],
    }


# ---------------------------------------------------------------------------------------------------------- any record

names = st.sampled_from(["a", "b", "id", "ts", "é", 'q"x', "a.b"])
scalars = {
    "whole": st.integers(-(2**63), 2**63 - 1),
    "number": st.floats(allow_nan=False, allow_infinity=False)
    .map(lambda x: x if x % 1 else x + 0.5)
    .filter(lambda x: x % 1),
    "text": st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\x00"), max_size=6)
    | st.sampled_from(["5", "-1.5", "true", "[1]", "},{", '"a":', "null", '{"a": 1}', "x: y", "[]", "a]b["]),
    "flag": st.booleans(),
}


@st.composite
def kinds(draw: st.DrawFn, depth: int = 2) -> Any:
    """Draw what a column holds: a scalar kind, ("list", kind) or ("object", {name: kind})."""
    nested = ["list", "object"] if depth else []
    kind = draw(st.sampled_from([*scalars, *nested]))
    if kind == "list":
        return ("list", draw(kinds(depth - 1)))
    if kind == "object":
        return ("object", draw(st.dictionaries(names, kinds(depth - 1), min_size=1, max_size=3)))
    return kind


def values(kind: Any) -> st.SearchStrategy[Any]:
    if isinstance(kind, str):
        return st.none() | scalars[kind]
    what, inside = kind
    if what == "list":
        return st.none() | st.lists(values(inside), max_size=3)
    # A field may be missing, which is the same as null.
    return st.none() | st.fixed_dictionaries({}, optional={n: values(k) for n, k in inside.items()})


@st.composite
def records(draw: st.DrawFn) -> list[dict[str, Any]]:
    columns = draw(st.dictionaries(names, kinds(), min_size=1, max_size=4))
    row = st.fixed_dictionaries({}, optional={n: values(k) for n, k in columns.items()})
    return draw(st.lists(row, min_size=1, max_size=8))


def shape_of(rows: list[dict[str, Any]]) -> Shape:
    shape = Shape()
    add_lines(shape, written(rows).encode(), (0, 1))
    return shape


def has_hollow(shape: Shape) -> bool:
    """Whether there are objects that never have a field: they become the text "{}", which polars has no word for."""
    inside = [*shape.fields.values(), *([shape.element] if shape.element else [])]
    return shape.is_hollow or any(has_hollow(s) for s in inside)


@pytest.mark.slow
@given(rows=records(), size=st.integers(1, 120))
@settings(max_examples=150)
@example(rows=[{"a": 1}, {"b": 1}], size=1)
@example(rows=[{"a": {"b": 1}}, {"a": None, "b": 1}], size=1)
@example(rows=[{"a": [{"b": 1}]}, {"a": [], "b": 2}, {"a": [{"b": None}]}], size=1)
@example(rows=[{"a": "x"}, {"a": "[1]"}, {"a": "5"}, {"a": None}], size=1)
@example(rows=[{"a": [{"b": "},{"}]}, {"a": [{"b": "]"}]}], size=1)
@example(rows=[{"id": {"ts": None}}, {"ts": None}], size=1)
@example(rows=[{"id": {"ts": 1}}, {"id": {}, "ts": None}], size=1)
@example(rows=[{"id": {"a": {"b": 1}}}, {"id": {"a": None, "b": None}}], size=1)
def test_any_records_are_the_frame_that_polars_makes_of_all_of_them(rows: list[dict[str, Any]], size: int) -> None:
    shape = shape_of(rows)
    assume(shape.fields and not has_hollow(shape))
    schema = schema_of(shape, (), "train", ["x"])
    expected = pl.DataFrame(rows, schema=schema, strict=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "HEAD_BYTES", size)
        patch.setattr(lines_module, "MIN_HEAD_BYTES", 1)
        frame = lines(rows, block_bytes=size).train
    # Which field comes first depends on which line does; that is the same for all sizes.
    assert frame.schema == expected.schema
    assert_frame_equal(frame, expected)


@pytest.mark.slow
@given(rows=records())
@settings(max_examples=150)
def test_a_reader_never_takes_what_its_shape_does_not_hold(rows: list[dict[str, Any]]) -> None:
    """Of the first half's shape, the second is read only if nothing of it is lost."""
    half = len(rows) // 2
    shape = shape_of(rows[:half])
    assume(shape.fields and not has_hollow(shape_of(rows)))
    reader = ShapedReader(shape, schema_of(shape, (), "train", ["x"]), (), None)
    try:
        frame, _ = reader.frame(written(rows[half:]).encode())
    except Exception:  # noqa: BLE001
        return
    expected = pl.DataFrame(rows[half:], schema=schema_of(shape_of(rows), (), "train", ["x"]), strict=True)
    assert_frame_equal(frame, expected.select(frame.columns).cast(dict(frame.schema)))
    assert all(expected[c].null_count() == expected.height for c in expected.columns if c not in frame.columns)


# -------------------------------------------------------------------------------------------------------------- types


@pytest.mark.parametrize(
    ("first", "last", "dtype", "value"),
    [
        ({"a": 1}, {"a": 2.5}, pl.Float64(), 2.5),
        ({"a": None}, {"a": [1]}, pl.List(pl.Int64), [1]),
        ({"a": []}, {"a": [{"x": 1}]}, pl.List(pl.Struct({"x": pl.Int64})), [{"x": 1}]),
        ({"a": {"x": 1}}, {"a": {"x": 1, "y": "z"}}, pl.Struct({"x": pl.Int64, "y": pl.String}), {"x": 1, "y": "z"}),
        ({"a": [{"x": 1}]}, {"a": [{"x": 0.5}]}, pl.List(pl.Struct({"x": pl.Float64})), [{"x": 0.5}]),
        ({"a": 1}, {"a": "x7"}, pl.String(), "x7"),
        ({"a": "x7"}, {"a": 12345678901234567}, pl.String(), "12345678901234567"),
        ({"a": 1}, {"a": 2**64}, pl.Float64(), float(2**64)),
        ({"a": 1.5}, {"a": 2**64}, pl.Float64(), float(2**64)),
        ({"a": {}}, {"a": {}}, pl.String(), "{}"),
        ({"a": {}}, {"a": {"x": 1}}, pl.Struct({"x": pl.Int64}), {"x": 1}),
    ],
)
def test_the_last_line_counts(
    small_blocks: Callable[..., ConvertedFiles], first: Any, last: Any, dtype: Any, value: Any
) -> None:
    result = small_blocks([first] * 200 + [last])
    assert result.train.schema == {"a": dtype}
    assert result.train["a"].to_list()[-1] == value
    assert result.train.height == 201
    again = [line for line in result.said if "train again" in line]
    # Once more only where the type is another than the head's.
    assert len(again) == (schema_of(shape_of([first]), (), "train", ["x"]) != {"a": dtype})


@pytest.mark.parametrize("text", ["1", "[1]", "null", '"x"'])
def test_a_line_that_is_no_object_is_explained(text: str) -> None:
    with pytest.raises(DataError, match="is not a JSON object"):
        lines(f"{text}\n")


def test_a_field_that_comes_late_is_a_column(small_blocks: Callable[..., ConvertedFiles]) -> None:
    result = small_blocks([{"a": i} for i in range(300)] + [{"b": "x"}, {"a": 301, "b": None}])
    assert result.train["b"].to_list() == [None] * 300 + ["x", None]
    assert result.train["a"].to_list()[-3:] == [299, None, 301]


def test_what_fits_is_read_once(small_blocks: Callable[..., ConvertedFiles]) -> None:
    said = small_blocks([session(i, 1 + i % 4) for i in range(200)]).said
    assert not any("again" in line for line in said)


@pytest.mark.parametrize(
    ("one", "other"),
    [("x", 1.5), (1, True), (1, [1]), ({"x": 1}, 1), ([1], {"x": 1}), ("x", False), ("x", [1])],
)
def test_a_column_of_no_one_type_is_told_with_two_lines(
    small_blocks: Callable[..., ConvertedFiles], one: Any, other: Any
) -> None:
    rows: list[Any] = [{"k": 1, "a": one}] * 200
    with pytest.raises(DataError) as caught:
        small_blocks([*rows, {"k": 2, "a": other}])
    said = caught.value.message
    assert "table 'train': column 'a'" in said
    assert "line 1 of " in said
    assert json.dumps(one) in said
    assert "line 201 of " in said or "line 201 has" in said
    assert json.dumps(other) in said
    assert "[types]" in caught.value.hint


def test_it_is_told_where_inside_a_list_too() -> None:
    with pytest.raises(
        DataError, match=r"column 'events' \(at events\[\]\.aid\).*: line 1 .* has 1, line 2 .* has true\b"
    ):
        lines([{"events": [{"aid": 1}]}, {"events": [{"aid": True}]}])


def test_types_that_are_asked_for() -> None:
    rows = [
        {"a": "x", "n": "1.5", "day": "01.02.2024"},
        {"a": 1.5, "n": None, "day": "03.04.2024"},
        {"a": True, "n": "NA"},
    ]
    frame = lines(rows, types={"a": "String", "n": "Float64", "train.day": "Date %d.%m.%Y"}).train
    assert frame.schema == {"a": pl.String, "n": pl.Float64, "day": pl.Date}
    assert frame["a"].to_list() == ["x", "1.5", "true"]
    assert frame["n"].to_list() == [1.5, None, None]
    with pytest.raises(DataError, match="column 'n' has 'many', which is not of type Float64"):
        lines([{"n": "1"}, {"n": "many"}], types={"n": "Float64"})


# ------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"a": 1,}', "line 1,234, column 9: "),
        ('{"a": nul}', "line 1,234, column 7: "),
        ("[1]", "line 1,234 is not a JSON object: [1]"),
        ('{"a": NaN}', "line 1,234: NaN is not JSON; a missing value is null"),
        ('{"a": 1e400}', "line 1,234: 1e400 is too large for a number"),
        ('{"a": 1} {"a": 2}', "line 1,234, column 10: "),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_a_faulty_line_is_told_by_its_number(
    small_blocks: Callable[..., ConvertedFiles], line: str, said: str, late: bool
) -> None:
    convert_lines = small_blocks if late else lines
    with pytest.raises(DataError) as caught:
        convert_lines('{"a": 1}\n' * 1233 + line + "\n" + '{"a": 2}\n' * 10)
    assert said in caught.value.message
    assert "train.jsonl can't be converted to a table" in caught.value.message


@pytest.mark.parametrize(
    "line",
    [
        '{"session": 1, "events": [{"aid": 1}[}',
        '{"session": 1, "events": ]{"aid": 1}[}',
        '{"session": 1, "events": [{"aid": 1}\n{"aid": 1}]}',
        '{"session": 1, "events": [{"aid": 1},\n{"aid": 1}]}',
    ],
)
def test_brackets_that_are_damaged_further_down_are_told(
    small_blocks: Callable[..., ConvertedFiles], line: str
) -> None:
    text = '{"session": 1, "events": [{"aid": 1}]}\n'
    with pytest.raises(DataError, match=r"train.jsonl can't be converted to a table: line 101, column"):
        small_blocks(text * 100 + line + "\n" + text * 10)


@pytest.mark.parametrize("space", ["", " ", "  ", "\t ", " \t  "])
def test_a_late_key_is_seen_whatever_stands_before_its_colon(
    small_blocks: Callable[..., ConvertedFiles], space: str
) -> None:
    text = '{"a": 1, "b": 2}\n{"a": null, "b": 2}\n' * 50
    frame = small_blocks(text + f'{{"a": null, "b": 2, "new"{space}: 5}}\n').train
    assert frame.columns == ["a", "b", "new"]
    assert frame["new"].to_list() == [None] * 100 + [5]


def test_no_line_and_no_field() -> None:
    with pytest.raises(DataError, match="it is empty"):
        lines("\n\n")
    with pytest.raises(DataError, match="its lines have no fields"):
        lines("{}\n{}\n")


# ------------------------------------------------------------------------------------------------------------ packing


def zipped(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, content)
    return out.getvalue()


SESSIONS = [session(i, i % 4) for i in range(50)]


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("train.jsonl", bytes),
        ("train.ndjson", bytes),
        ("train.json", bytes),
        ("train.jsonl.gz", gzip.compress),
        ("train.json.xz", lzma.compress),
        ("train.jsonl.bz2", bz2.compress),
        ("all.zip", lambda b: zipped("train.jsonl", b)),
        ("train.jsonl", lambda b: b"\xef\xbb\xbf" + b.replace(b"\n", b"\r\n")),
        ("train.jsonl", lambda b: b.replace(b": ", b" : ").replace(b", ", b" , ")),
        ("train.jsonl", lambda b: b.replace(b": ", b":").replace(b", ", b",")),
    ],
)
def test_however_they_are_packed(name: str, pack: Callable[[bytes], bytes]) -> None:
    assert convert_files({name: pack(written(SESSIONS).encode())}).train.to_dicts() == SESSIONS


def test_numbered_parts_of_lines_are_one_table() -> None:
    parts = {f"train/part-{i}.jsonl": written([{"a": i}, {"a": i + 0.5}]) for i in range(1, 12)}
    result = convert_files(parts | {"test.csv": "a\n1\n"})
    assert list(result.frames) == ["test", "train"]
    assert result.train["a"].to_list() == [x for i in range(1, 12) for x in (i, i + 0.5)]


def test_a_fault_names_the_part() -> None:
    with pytest.raises(DataError, match=r"part-2.jsonl can't be converted to a table: line 2, column"):
        convert_files({"train/part-1.jsonl": '{"a": 1}\n', "train/part-2.jsonl": '{"a": 1}\n{"a"\n'})


def test_the_row_groups_of_long_lines_are_small(
    small_blocks: Callable[..., ConvertedFiles], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sizes: list[int] = []
    written_frames = writing.write_frames
    monkeypatch.setattr(writing, "BLOCKS_PER_GROUP", 5_000 / (16 << 20))
    monkeypatch.setattr(
        lines_module, "write_frames", lambda t, p, f, s, rows: (sizes.append(rows), written_frames(t, p, f, s, rows))[1]
    )
    rows = [session(i, 2 if i < 100 else 400) for i in range(120)]
    result = lines(rows)
    assert result.train.to_dicts() == rows
    monkeypatch.setattr(writing, "BLOCKS_PER_GROUP", 5_000 / 200)
    result = small_blocks(rows)
    assert result.train.to_dicts() == rows
    # Two events take about a hundred bytes, four hundred a row group each.
    assert sizes[0] < 100
    assert sizes[-1] == 1
    assert any("get longer" in line for line in result.said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1}\n{"a": ' + "[" * 100_000 + "]" * 100_000 + "}\n", r"line 2: lists or objects are nested too deeply"),
        ('{"a": 1, "\\ud800": 2}\n', r"field called '\\ud800'"),
        ('{"a": [{"\\ud800": 2}]}\n', r"field called '\\ud800'"),
    ],
)
def test_what_python_can_not_hold_is_told(text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        lines(text)


def test_the_parts_share_what_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    look = add_lines
    monkeypatch.setattr(
        lines_module,
        "add_lines",
        lambda shape, block, place: (looked.append(len(block)), look(shape, block, place)),
    )
    monkeypatch.setattr(lines_module, "HEAD_BYTES", 40_000)
    monkeypatch.setattr(lines_module, "MIN_HEAD_BYTES", 1_000)
    records = written([{"a": i} for i in range(10_000)])
    result = convert_files({f"train/part-{i}.jsonl": records for i in range(8)} | {"sample.csv": "id\n1\n"})
    assert result.train.height == 80_000
    assert len(looked) == 8
    assert sum(looked) < 50_000


# ------------------------------------------------------------------------------------------------------------ explode


def test_explode_is_offered_only_where_it_can_be() -> None:
    rows = [{"id": 1, "events": [{"aid": 1}], "copies": [{"id": 2}]}]
    assert lines(rows).infos["train"].lists_of_records == ["events"]


def events(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in row.items() if k != "events"} | event
        for row in rows
        for event in (row["events"] or [dict.fromkeys(EVENT)])
    ]


@pytest.mark.parametrize("blocks", ["small", "large"])
def test_a_session_becomes_a_row_for_each_event(small_blocks: Callable[..., ConvertedFiles], blocks: str) -> None:
    rows = [session(i, 1 + i % 5) for i in range(100)]
    result = (small_blocks if blocks == "small" else lines)(rows, read={"explode": "events"})
    assert result.train.columns == ["session", "aid", "ts", "type"]
    assert result.train.to_dicts() == events(rows)
    assert not any("nothing in" in line for line in result.said)


def test_sessions_without_events_stay_as_one_row_and_are_counted() -> None:
    rows = [*SESSIONS, {"session": 99, "events": None}]
    result = lines(rows, read={"explode": "events"})
    assert result.train.to_dicts() == events(rows)
    assert "train: 14 rows have nothing in 'events'; each stays, as one row with nulls there" in result.said


def test_items_that_are_no_records_are_exploded_too() -> None:
    frame = lines([{"s": 1, "items": [3, 4]}, {"s": 2, "items": [5]}], read={"explode": "items"}).train
    assert frame.to_dict(as_series=False) == {"s": [1, 1, 2], "items": [3, 4, 5]}


def test_nested_events_are_exploded_too() -> None:
    rows = [{"s": 1, "events": [{"a": [1, 2], "o": {"x": 1}}, {"a": [], "o": {"x": None}}]}]
    assert lines(rows, read={"explode": "events"}).train.to_dicts() == [{"s": 1} | e for e in rows[0]["events"]]


@pytest.mark.parametrize(
    ("rows", "column", "said", "hint"),
    [
        (
            [{"ts": 1, "events": [EVENT]}],
            "events",
            "would be called 'ts'.*'ts' of the lines.*field 'ts' of 'events'",
            "rename",
        ),
        (
            [{"events": [EVENT], "ts": 1}],
            "events",
            "would be called 'ts'.*'ts' of the lines.*field 'ts' of 'events'",
            "rename",
        ),
        ([{"s": 1, "events": [EVENT]}], "event", "no column 'event'", "did you mean 'events'"),
        (
            [{"s": 1, "events": [EVENT]}],
            "s",
            "'s' of table 'train' holds Int64, no lists",
            "columns with lists: events",
        ),
    ],
)
def test_what_can_not_be_exploded_is_told(rows: list[Any], column: str, said: str, hint: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        lines(rows, read={"explode": column})
    assert hint in caught.value.hint


def test_a_json_document_is_exploded_and_delimited_text_is_not() -> None:
    result = convert_files({"train.json": json.dumps(SESSIONS)}, read={"explode": "events"})
    assert result.train.to_dicts() == events(SESSIONS)
    assert any("train: 13 rows have nothing in 'events'" in line for line in result.said)
    with pytest.raises(DataError, match=r"\[read.train\] explode .*train.csv is delimited text, which has no lists"):
        convert_files({"train.csv": "a,b\n1,2\n"}, read={"explode": "a"})


def test_types_of_the_events_can_be_asked_for() -> None:
    frame = lines(SESSIONS[1:4], read={"explode": "events"}, types={"type": "String", "train.aid": "String"}).train
    assert frame.schema["aid"] == pl.String
    assert frame["aid"].to_list() == [str(e["aid"]) for e in events(SESSIONS[1:4])]


# -------------------------------------------------------------------------------------------------------------- fetch


def test_fetch_says_how_to_explode_and_does_no_other_table_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_frame(60).write_csv(tmp_path / "all.csv")
    (tmp_path / "sessions.jsonl").write_text(written(SESSIONS))
    place = library.init(tmp_path / "ws")
    spec = RehearsalSpec(
        train=tmp_path / "all.csv", targets=("y",), metric="auc", holdout=0.3, tables=(tmp_path / "sessions.jsonl",)
    )
    library.rehearse("shop", spec, where=place)
    said: list[str] = []
    library.fetch("shop", where=place, report=said.append)
    assert any("sessions: a row has a list of records in 'events'" in line and "explode" in line for line in said)
    definition = place.competitions / "shop" / "competition.toml"
    text = definition.read_text()
    assert '# [read.sessions]\n# explode = "events"  # a row for each record in these lists\n' in text
    definition.write_text(text.replace("# [read.sessions]\n# explode", "[read.sessions]\nexplode"))
    said.clear()
    sizes: list[int] = []
    convert_lines = lines_module.lines_table
    monkeypatch.setattr(
        lines_module,
        "lines_table",
        lambda table, job: sizes.append(job.options.block_bytes) or convert_lines(table, job),
    )
    fetched = library.fetch("shop", where=place, report=said.append, memory_limit=128 << 20)
    assert list(fetched.manifest.tables["sessions"].dtypes) == ["session", "aid", "ts", "type"]
    assert next(line for line in said if line.startswith("converting")) == "converting sessions"
    assert not any("train" in line for line in said)
    assert sizes == [2 << 20]


# -------------------------------------------------------------------------------------------------------------- memory


@pytest.mark.slow
@pytest.mark.parametrize("how", ["", "explode"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, how: str) -> None:
    for name, copies in (("small", 4), ("large", 24)):
        piece = written([session(i, i % 30) for i in range(7_000)])
        (tmp_path / name).mkdir()
        with (tmp_path / name / "train.jsonl").open("w") as file:
            for _ in range(copies):
                file.write(piece)
    size_mb = (tmp_path / "large" / "train.jsonl").stat().st_size >> 20
    assert size_mb > 100
    small, large = (
        conversion_peak_mb(tmp_path / name, tmp_path / f"{name} tables", how) for name in ("small", "large")
    )
    assert large < small + 80, f"{small} MB for a sixth of {size_mb} MB, {large} MB for all of it"


@pytest.mark.slow
def test_a_death_in_the_middle_leaves_the_table_that_was_there(tmp_path: Path) -> None:
    raw, tables = tmp_path / "raw", tmp_path / "tables"
    raw.mkdir()
    (raw / "train.jsonl").write_text(written(SESSIONS))
    before = convert(raw, tables, "x")
    content = (tables / "train.parquet").read_bytes()
    (raw / "train.jsonl").write_text(written(SESSIONS) * 20_000)
    process = subprocess.Popen([sys.executable, "-c", CONVERT_SCRIPT, str(raw), str(tables), ""])
    deadline = time.monotonic() + 30
    while not any(p.stat().st_size for p in tables.glob(".train.parquet.*.tmp")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert list(tables.glob("*.tmp")) or list(tables.glob(".*.tmp"))
    assert (tables / "train.parquet").read_bytes() == content
    assert read_manifest(tables, slug="x") == before
    remove_leftover_files(tables)
    (raw / "train.jsonl").write_text(written(SESSIONS * 2))
    after = convert(raw, tables, "x")
    assert after.tables["train"].rows == 2 * len(SESSIONS)
    assert sorted(p.name for p in tables.iterdir()) == ["manifest.json", "train.parquet"]


class TestListsApart:
    @pytest.mark.parametrize(
        ("lists", "counts"),
        [
            ('[{"a":1},{"a":2}]', [2]),
            ('[{"a":1}, {"a":2}, {"a":3}]', [3]),
            ("[]", [0]),
            ('[ {"a":1} ]', [1]),
        ],
    )
    def test_each_record_is_on_a_line_of_its_own(self, lists: str, counts: list[int]) -> None:
        apart = lists_apart(f'{{"s":1,"e":{lists}}}\n{{"s":2,"e":[{{"a":9}}]}}\n'.encode())
        assert apart is not None
        assert [json.loads(line) for line in apart.lines.splitlines()] == [{"s": 1, "e": 0}, {"s": 2, "e": 1}]
        assert apart.counts.tolist() == [*counts, 1]
        assert len([line for line in apart.items.splitlines() if line.strip()]) == sum(counts) + 1

    @pytest.mark.parametrize(
        "block",
        [b'{"e":[[1]]}\n', b'{"e":]1[}\n', b'{"e":[1}\n', b'{"e":[{"a":\n1}]}\n', b'{"e":"]"}\n', b'{"e":["["]}\n'],
    )
    def test_brackets_that_are_not_pairs_on_a_line_are_not_split(self, block: bytes) -> None:
        assert lists_apart(block) is None

    def test_lines_without_lists_stay(self) -> None:
        apart = lists_apart(b'{"a":1}\n')
        assert apart is not None
        assert (apart.lines, apart.items, apart.counts.tolist()) == (b'{"a":1}\n', b"", [])

    @pytest.mark.parametrize("block", [b"{", b"{ ", b" {", b"{{", b"{,", b""])
    def test_the_start_of_a_line_that_was_cut_off_stays(self, block: bytes) -> None:
        apart = lists_apart(block)
        assert apart is not None
        assert (apart.lines, apart.items, apart.counts.tolist()) == (block, b"", [])
