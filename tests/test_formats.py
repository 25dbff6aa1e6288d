"""Files as real competitions have them: what becomes of them is held against what they say, values and types."""

from __future__ import annotations

import csv
import io
import json
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from workbench.competition import TableInfo
from workbench.errors import WorkbenchError
from workbench.ingest.convert import Options, convert
from workbench.ingest.text import blocks

SMALL = "a,b\n1,x\n2,y\n"
SMALL_FRAME = pl.DataFrame({"a": [1, 2], "b": ["x", "y"]})
DATETIME = pl.Datetime("us")

moment = datetime  # without a zone, as in the files
examples = settings(max_examples=12, deadline=None)


@dataclass
class Made:
    """The tables that files became, and what is noted of them."""

    frames: dict[str, pl.DataFrame]
    infos: dict[str, TableInfo]
    said: list[str]

    @property
    def train(self) -> pl.DataFrame:
        return self.frames["train"]


def made(files: dict[str, str | bytes], *, read: dict[str, Any] | None = None, types: dict[str, str] | None = None):
    """Convert files; `read` are the options of table train."""
    with tempfile.TemporaryDirectory() as folder:
        raw, tables = Path(folder) / "raw", Path(folder) / "tables"
        for name, content in files.items():
            path = raw / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        said: list[str] = []
        options = Options({"train": read} if read else {}, types or {})
        manifest = convert(raw, tables, "x", options=options, report=said.append)
        frames = {name: pl.read_parquet(tables / f"{name}.parquet") for name in manifest.tables}
        for name, frame in frames.items():
            assert manifest.tables[name].rows == frame.height
            assert manifest.tables[name].dtypes == {c: str(t) for c, t in frame.schema.items()}
        return Made(frames, manifest.tables, said)


def train(text: str | bytes, **options: Any) -> pl.DataFrame:
    return made({"train.csv": text}, **options).train


def column(*values: str, separator: str = ",", **options: Any) -> pl.Series:
    """Convert a table of a number and these texts, quoted where they must be, and return the texts' column."""
    return made({"train.csv": written(values, separator)}, **options).train["v"]


def written(values: tuple[str, ...], separator: str = ",") -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator="\n")
    writer.writerows([("k", "v"), *enumerate(values)])
    return out.getvalue()


def zipped(**members: str | bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


@contextmanager
def windows(size: int) -> Iterator[None]:
    """Guess from so few bytes, and read so many at a time."""
    with pytest.MonkeyPatch.context() as patch:
        module = sys.modules["workbench.ingest.convert"]
        patch.setattr(module, "HEAD_BYTES", size)
        patch.setattr(module, "blocks", lambda source, form, **more: blocks(source, form, **{"size": size} | more))
        patch.setattr(sys.modules["workbench.ingest.text"], "BLOCK_BYTES", size)
        yield


# ----------------------------------------------------------------------------------------------------- random tables

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00\ufeff")
anything = st.text(characters | st.sampled_from('",;|\t\n\r '), max_size=12)
on_a_line = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]) | st.sampled_from('",; '), max_size=12)
KINDS: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "whole": (st.integers(-(2**63), 2**63 - 1), pl.Int64()),
    "number": (st.floats(allow_nan=False, allow_infinity=False), pl.Float64()),
    "day": (st.dates(date(1000, 1, 1)), pl.Date()),
    "time": (st.datetimes(moment(1000, 1, 1)).map(lambda t: t.replace(microsecond=0)), DATETIME),
    "flag": (st.booleans(), pl.Boolean()),
}


@st.composite
def tables(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> pl.DataFrame:
    """Draw a table of each kind of column, with holes; its texts are read as nothing but texts."""
    rows = draw(st.integers(1, 8))
    kinds = KINDS | {"text": (texts.map(lambda t: f"x{t}"), pl.String())}
    columns = {}
    for kind, (values, dtype) in kinds.items():
        drawn = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        # Where nothing is seen, there is no type to tell.
        columns[kind] = pl.Series(drawn, dtype=dtype if any(v is not None for v in drawn) else pl.String())
    return pl.DataFrame(columns)


def as_text(frame: pl.DataFrame, *, separator: str = ",", ending: str = "\n", quote_all: bool = False) -> str:
    """Write a table; Python's own writer leaves a bare return without quotes."""

    def field(value: Any) -> str:
        text = "" if value is None else str(value)
        needed = quote_all or any(c in text for c in (separator, '"', "\r", "\n"))
        return '"' + text.replace('"', '""') + '"' if needed else text

    return "".join(separator.join(map(field, row)) + ending for row in [frame.columns, *frame.iter_rows()])


class TestRandomTables:
    @pytest.mark.parametrize("ending", ["\n", "\r\n"])
    @given(frame=tables(anything), separator=st.sampled_from(",;|\t"), size=st.sampled_from([64, 1 << 20]))
    @examples
    def test_text_reads_back(self, ending: str, frame: pl.DataFrame, separator: str, size: int) -> None:
        text = as_text(frame, separator=separator, ending=ending)
        with windows(size):
            result = made({"train.csv": text})
        assert_frame_equal(result.train, frame)
        assert result.infos["train"].read == (
            [] if separator == "," else [f'separator = "{separator}"'.replace("\t", "\\t")]
        )

    @given(frame=tables(on_a_line), separator=st.sampled_from(",;"), size=st.sampled_from([64, 1 << 20]))
    @examples
    def test_text_with_bare_returns_reads_back(self, frame: pl.DataFrame, separator: str, size: int) -> None:
        with windows(size):
            assert_frame_equal(train(as_text(frame, separator=separator, ending="\r")), frame)

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
    @given(frame=tables(anything))
    @examples
    def test_text_in_wide_encodings_reads_back(self, encoding: str, frame: pl.DataFrame) -> None:
        mark = "\ufeff" if encoding == "utf-16-be" else ""
        assert_frame_equal(train((mark + as_text(frame)).encode(encoding)), frame)

    @pytest.mark.parametrize(
        ("encoding", "letters"), [("cp949", "가나다힣abc,"), ("latin-1", "éüñß\xa0abc,"), ("cp1252", "é€–“”abc,")]
    )
    @given(data=st.data())
    @examples
    def test_text_in_a_named_encoding_reads_back(self, encoding: str, letters: str, data: st.DataObject) -> None:
        frame = data.draw(tables(st.text(letters, max_size=8)))
        text = as_text(frame).encode(encoding)
        assert_frame_equal(train(text, read={"encoding": encoding}), frame)

    @given(
        rows=st.lists(st.tuples(anything, anything), min_size=1, max_size=6),
        quote_all=st.booleans(),
        size=st.integers(1, 40),
    )
    @examples
    def test_a_quote_may_cross_the_border_of_blocks(self, rows, quote_all: bool, size: int) -> None:
        frame = pl.DataFrame([(f"x{a}", f"y{b}") for a, b in rows], schema=["a", "b"], orient="row")
        with windows(size):
            assert_frame_equal(train(as_text(frame, quote_all=quote_all)), frame)

    @given(
        values=st.lists(
            st.sampled_from(
                [
                    "1",
                    "-2",
                    "1.5",
                    "007",
                    "NA",
                    "",
                    "-",
                    "True",
                    "false",
                    "yes",
                    "No",
                    "x",
                    " 3",
                    "1,5",
                    "1,234",
                    "1.234,5",
                ]
                + ["2013-01-31", "31/01/2013", "01/02/2013", "01/02/13", "2013-01-31 05:06:07", "99999999999999999999"]
            ),
            min_size=1,
            max_size=6,
        ),
        more=st.lists(st.sampled_from(["1", "2.5", "x", "007", "01/31/2013", "yes", "1,5"]), max_size=2),
        separator=st.sampled_from(",;"),
        size=st.integers(8, 30),
    )
    @settings(max_examples=60, deadline=None)
    def test_types_are_those_of_the_whole_however_little_the_guess_saw(self, values, more, separator, size) -> None:
        files = {
            "train.csv": written((*values, *more), separator),
            "test.csv": written((*more, *values[:1]) if more else ("2",), separator),
        }
        large = made(files)
        with windows(size):
            small = made(files)
        for name in ("train", "test"):
            assert_frame_equal(small.frames[name], large.frames[name])
            assert small.frames[name].schema == large.frames["train"].schema
            assert small.infos[name].spelled == large.infos[name].spelled

    @given(frame=tables(anything))
    @examples
    def test_parquet_and_json_read_back(self, frame: pl.DataFrame) -> None:
        parquet = io.BytesIO()
        frame.write_parquet(parquet)
        plain = frame.select("whole", "flag", "text")
        records = plain.to_dicts()
        index = {c: {str(i): r[c] for i, r in enumerate(records)} for c in plain.columns}
        result = made(
            {
                "a.parquet": parquet.getvalue(),
                "b.jsonl": "".join(json.dumps(r) + "\n" for r in records),
                "c.json": json.dumps(records),
                "d.json": json.dumps(records, indent=1),
                "e.json": json.dumps(index),
                "f.json": json.dumps({c: list(v.values()) for c, v in index.items()}),
            }
        )
        assert_frame_equal(result.frames["a"], frame)
        for name in "bcdef":
            got = result.frames[name]
            # A column of nothing but null has no type to tell in JSON.
            seen = [c for c in plain.columns if plain[c].null_count() < plain.height]
            assert_frame_equal(got.select(seen), plain.select(seen))
            assert got.columns == plain.columns

    @given(
        name=st.sampled_from(["train.csv", "train.json", "train.jsonl", "train.parquet", "train.csv.gz", "train.zip"]),
        content=st.binary(max_size=200) | st.text(st.sampled_from('a1,;"\n\r\t \x00é{}[]:'), max_size=60),
    )
    @settings(max_examples=100, deadline=None)
    def test_whatever_comes_is_a_table_or_explained(self, name: str, content: str | bytes) -> None:
        try:
            made({name: content})
        except WorkbenchError as exc:
            said = exc.message
        else:
            return
        assert "/raw" in said
        assert name in said or "no file that can become a table" in said
