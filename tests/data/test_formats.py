"""Files as real competitions have them: what becomes of them is held against what they say, values and types."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.conversion import (
    column_as_csv,
    convert_column,
    convert_files,
    convert_train,
    few_examples,
    random_tables,
    small_reads,
)
from workbench.core.errors import DamagedError, DataError, WorkbenchError
from workbench.data.ingest.archives import unpack, unpack_tar
from workbench.data.ingest.sources import is_table

SMALL = "a,b\n1,x\n2,y\n"
SMALL_FRAME = pl.DataFrame({"a": [1, 2], "b": ["x", "y"]})
DATETIME = pl.Datetime("us")

moment = datetime  # without a zone, as in the files


def zipped(**members: str | bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


# ----------------------------------------------------------------------------------------------------- random tables

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00\ufeff")
anything = st.text(characters | st.sampled_from('",;|\t\n\r '), max_size=12)
on_a_line = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]) | st.sampled_from('",; '), max_size=12)


def as_text(frame: pl.DataFrame, *, separator: str = ",", ending: str = "\n", quote_all: bool = False) -> str:
    """Write a table; Python's own writer leaves a bare return without quotes."""

    def field(value: Any) -> str:
        text = "" if value is None else str(value)
        needed = quote_all or any(c in text for c in (separator, '"', "\r", "\n"))
        return '"' + text.replace('"', '""') + '"' if needed else text

    return "".join(separator.join(map(field, row)) + ending for row in [frame.columns, *frame.iter_rows()])


class TestRandomTables:
    @pytest.mark.parametrize("ending", ["\n", "\r\n"])
    @given(frame=random_tables(anything), separator=st.sampled_from(",;|\t"), size=st.sampled_from([64, 1 << 20]))
    @few_examples
    def test_text_reads_back(self, ending: str, frame: pl.DataFrame, separator: str, size: int) -> None:
        text = as_text(frame, separator=separator, ending=ending)
        with small_reads(size):
            result = convert_files({"train.csv": text})
        assert_frame_equal(result.train, frame)
        assert result.infos["train"].read == (
            [] if separator == "," else [f'separator = "{separator}"'.replace("\t", "\\t")]
        )

    @given(frame=random_tables(on_a_line), separator=st.sampled_from(",;"), size=st.sampled_from([64, 1 << 20]))
    @few_examples
    def test_text_with_bare_returns_reads_back(self, frame: pl.DataFrame, separator: str, size: int) -> None:
        with small_reads(size):
            assert_frame_equal(convert_train(as_text(frame, separator=separator, ending="\r")), frame)

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
    @given(frame=random_tables(anything))
    @few_examples
    def test_text_in_wide_encodings_reads_back(self, encoding: str, frame: pl.DataFrame) -> None:
        mark = "\ufeff" if encoding == "utf-16-be" else ""
        assert_frame_equal(convert_train((mark + as_text(frame)).encode(encoding)), frame)

    @pytest.mark.parametrize(
        ("encoding", "letters"), [("cp949", "가나다힣abc,"), ("latin-1", "éüñß\xa0abc,"), ("cp1252", "é€–“”abc,")]
    )
    @given(data=st.data())
    @few_examples
    def test_text_in_a_named_encoding_reads_back(self, encoding: str, letters: str, data: st.DataObject) -> None:
        frame = data.draw(random_tables(st.text(letters, max_size=8)))
        text = as_text(frame).encode(encoding)
        assert_frame_equal(convert_train(text, read={"encoding": encoding}), frame)

    @given(
        rows=st.lists(st.tuples(anything, anything), min_size=1, max_size=6),
        quote_all=st.booleans(),
        size=st.integers(1, 40),
    )
    @few_examples
    def test_a_quote_may_cross_the_border_of_blocks(self, rows, quote_all: bool, size: int) -> None:
        frame = pl.DataFrame([(f"x{a}", f"y{b}") for a, b in rows], schema=["a", "b"], orient="row")
        with small_reads(size):
            assert_frame_equal(convert_train(as_text(frame, quote_all=quote_all)), frame)

    @pytest.mark.slow
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
    @example(values=["", "No"], more=["yes"], separator=",", size=8)
    @example(values=["yes"], more=["yes", "yes"], separator=",", size=8)
    @example(values=["99999999999999999999", "1,5"], more=[], separator=",", size=8)
    @settings(max_examples=40)
    def test_types_are_those_of_the_whole_however_little_the_guess_saw(self, values, more, separator, size) -> None:
        files = {
            "train.csv": column_as_csv((*values, *more), separator),
            "test.csv": column_as_csv((*more, *values[:1]) if more else ("2",), separator),
        }
        large = convert_files(files)
        with small_reads(size):
            small = convert_files(files)
        for name in ("train", "test"):
            assert_frame_equal(small.frames[name], large.frames[name])
            assert small.frames[name].schema == large.frames["train"].schema
            assert small.infos[name].spelled == large.infos[name].spelled

    @pytest.mark.parametrize(
        ("values", "dtype", "is_again"),
        [
            (["yes"] * 9, pl.String, False),
            (["yes", "NA", " yes", ""] * 3, pl.String, False),
            (["", "NA"] * 6, pl.String, False),
            (["9" * 20] * 9, pl.Float64, False),
            (["9" * 20] * 9 + ["1.5"], pl.Float64, False),
            (["yes"] * 9 + ["no"], pl.Boolean, True),
            ([""] * 9 + ["1"], pl.Int64, True),
            (["1"] * 9 + ["9" * 20], pl.Float64, True),
            (["9" * 20] * 9 + ["x"], pl.String, True),
        ],
    )
    def test_a_guess_is_counted_again_only_where_another_value_follows(
        self, values, dtype: Any, is_again: bool
    ) -> None:
        with small_reads(12):
            converted = convert_files({"train.csv": column_as_csv(tuple(values), ",")})
        said = "converting train again: a value further down has another type"
        assert (said in converted.said) == is_again
        assert converted.train["v"].dtype == dtype

    @given(frame=random_tables(anything))
    @few_examples
    def test_parquet_and_json_read_back(self, frame: pl.DataFrame) -> None:
        parquet = io.BytesIO()
        frame.write_parquet(parquet)
        plain = frame.select("whole", "flag", "text")
        records = plain.to_dicts()
        index = {c: {str(i): r[c] for i, r in enumerate(records)} for c in plain.columns}
        result = convert_files(
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
    @settings(max_examples=100)
    def test_whatever_comes_is_a_table_or_explained(self, name: str, content: str | bytes) -> None:
        try:
            convert_files({name: content})
        except WorkbenchError as exc:
            said = exc.message
        else:
            return
        assert "/raw" in said
        assert name in said or "no file that can become a table" in said


class TestFiles:
    def test_folders_become_parts_of_the_name_but_not_the_one_around_everything(self) -> None:
        result = convert_files({"comp/train/a b.csv": SMALL, "comp/deep/er/b.csv": SMALL, "comp/c.csv": SMALL})
        assert list(result.frames) == ["c", "deep_er_b", "train_a_b"]
        assert_frame_equal(result.frames["deep_er_b"], SMALL_FRAME)

    def test_numbered_parts_are_one_table_in_the_order_of_their_numbers(self) -> None:
        parts = {f"train_{i}.csv": f"a,b\n{i},x\n" for i in range(1, 13)}
        result = convert_files(parts | {"test.csv": "a\n2.5\n"})
        assert list(result.frames) == ["test", "train"]
        assert result.train["a"].to_list() == [float(i) for i in range(1, 13)]
        assert result.infos["train"].source.split(", ")[-1] == "train_12.csv"

    @pytest.mark.parametrize(
        "files",
        [
            {"train_1.csv.gz": gzip.compress(SMALL.encode()), "train_2.csv": SMALL},
            {"all.zip": zipped(**{"train_part1.csv": SMALL, "train_part2.csv": SMALL})},
            {"train1.csv.zip": zipped(**{"x.csv": SMALL}), "train2.csv": SMALL},
        ],
    )
    def test_parts_may_be_packed_as_they_like(self, files: dict[str, bytes]) -> None:
        assert_frame_equal(convert_files(files).train, pl.concat([SMALL_FRAME, SMALL_FRAME]))

    def test_parts_with_other_columns_are_tables_of_their_own(self) -> None:
        assert list(convert_files({"train_1.csv": SMALL, "train_2.csv": "a,c\n1,2\n"}).frames) == ["train_1", "train_2"]

    def test_a_part_may_be_the_first_that_is_not_utf8(self) -> None:
        result = convert_files({"train_1.csv": SMALL, "train_2.csv": "a,b\n3,é\n".encode("latin-1")})
        assert result.train["b"].to_list() == ["x", "y", "é"]

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("train.csv.zip", zipped(**{"whatever.csv": SMALL})),
            ("train.csv.zip", zipped(**{"train.csv": SMALL, "__MACOSX/._train.csv": "x"})),
            ("data.zip", zipped(**{"train.csv.gz": gzip.compress(SMALL.encode())})),
            ("train.csv.gz", gzip.compress(SMALL[:7].encode()) + gzip.compress(SMALL[7:].encode())),
            ("train.csv.bz2", bz2.compress(SMALL.encode())),
            ("train.csv.xz", lzma.compress(SMALL.encode())),
            ("train.jsonl.gz", gzip.compress(b'{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n')),
            ("train.json.zip", zipped(**{"train.json": '[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]'})),
            ("train.CSV", SMALL),
            ("train.txt", SMALL),
        ],
        ids=lambda value: value if isinstance(value, str) else "",  # packed bytes hold the time of packing
    )
    def test_packed_files(self, name: str, content: str | bytes) -> None:
        assert_frame_equal(convert_files({name: content}).train, SMALL_FRAME)

    def test_zstd_that_this_python_has_not_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def none(name: str) -> Any:
            raise ImportError(name)

        monkeypatch.setattr("workbench.core.packed.import_module", none)
        for name in ("train.csv", "train.csv.zst"):
            with pytest.raises(
                DataError, match=rf"/{name} is packed with zstd, which this Python can't read"
            ) as caught:
                convert_files({name: b"\x28\xb5\x2f\xfd"})
            assert "backports.zstd" in caught.value.hint

    @pytest.mark.parametrize("ending", ["gz", "bz2", "xz"])
    def test_a_cut_file_is_named(self, ending: str) -> None:
        pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[ending]
        for content in (pack(SMALL.encode() * 100)[:-9], SMALL.encode()):
            for kind in ("csv", "jsonl"):
                with pytest.raises(
                    DamagedError, match=rf"train.{kind}.{ending} is not a complete .{ending} file"
                ) as caught:
                    convert_files({f"train.{kind}.{ending}": content})
                assert caught.value.hint == "fetch it again: `wb fetch SLUG --force`"

    def test_a_member_with_a_wrong_checksum_is_named(self) -> None:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
            opened.writestr("train.csv", SMALL)
        broken = archive.getvalue().replace(b"1,x", b"1,z")
        with pytest.raises(DamagedError, match="all.zip: train.csv is not complete"):
            convert_files({"all.zip": broken})

    def test_what_is_no_table_stays_as_it_is(self, tmp_path: Path) -> None:
        others = {
            "img/1.png": b"\x89PNG\r\n",
            "paper.pdf": b"%PDF",
            "readme.txt": b"Hello, you.\nMore\n",
            ".x.csv": b"a",
        }
        assert list(convert_files({"train.csv": SMALL} | others).frames) == ["train"]
        archive = tmp_path / "all.zip"
        archive.write_bytes(zipped(**others, **{"train.csv": SMALL}))
        unpack(archive, tmp_path, wanted=lambda name: not is_table(name))
        assert {n: (tmp_path / n).read_bytes() for n in others} == others
        assert not (tmp_path / "train.csv").exists()

    def test_a_tar_unpacks_only_into_its_folder(self, tmp_path: Path) -> None:
        for name in ("img/1.png", "../evil"):
            with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
                member = tarfile.TarInfo(name)
                member.size = 3
                archive.addfile(member, io.BytesIO(b"png"))
            if name == "../evil":
                with pytest.raises(DataError, match=r"a\.tar\.gz.*evil"):
                    unpack_tar(tmp_path / "a.tar.gz", tmp_path / "out")
                assert not (tmp_path / "evil").exists()
            else:
                unpack_tar(tmp_path / "a.tar.gz", tmp_path / "out")
                assert (tmp_path / "out" / name).read_bytes() == b"png"


class TestSeparators:
    @pytest.mark.parametrize(
        ("name", "text", "noted"),
        [
            ("train.csv", "a,b\n1,x\n2,y\n", []),
            ("train.tsv", "a\tb\n1\tx\n2\ty\n", []),
            ("train.tsv", "a,b\n1,x\n2,y\n", ['separator = ","']),
            ("train.csv", "a;b\n1;x\n2;y\n", ['separator = ";"']),
            ("train.csv", "a\tb\n1\tx\n2\ty\n", ['separator = "\t"']),
            ("train.psv", "a|b\n1|x\n2|y\n", ['separator = "|"']),
            ("train.data", "a|b\n1|x\n2|y\n", ['separator = "|"']),
        ],
    )
    def test_it_is_guessed_and_noted(self, name: str, text: str, noted: list[str]) -> None:
        result = convert_files({name: text})
        assert_frame_equal(result.train, SMALL_FRAME)
        assert [line.replace("\\t", "\t") for line in result.infos["train"].read] == noted

    def test_quoted_line_ends_do_not_hide_it(self) -> None:
        frame = convert_train('a;b\n1;"two,\nlines,,"\n2;"three,,\n\nlines"\n')
        assert frame["b"].to_list() == ["two,\nlines,,", "three,,\n\nlines"]

    @pytest.mark.parametrize("separator", [":", " ", "~", "\x01"])
    def test_any_other_character_may_be_named(self, separator: str) -> None:
        assert_frame_equal(convert_train(SMALL.replace(",", separator), read={"separator": separator}), SMALL_FRAME)

    @pytest.mark.parametrize("separator", ["::", "é", '"', "\n"])
    def test_one_that_can_not_be_is_explained(self, separator: str) -> None:
        with pytest.raises(DataError, match=r"train\.csv can't be split at .* one ASCII character") as caught:
            convert_train(SMALL, read={"separator": separator})
        assert "competition.toml" in caught.value.hint


class TestEncodings:
    @pytest.mark.parametrize(
        ("encoding", "words", "noted"),
        [
            ("utf-8", ("Zürich", "naïve 日本"), []),
            ("utf-8-sig", ("Zürich", "naïve 日本"), []),
            ("utf-16", ("Zürich", "naïve 日本"), ['encoding = "utf-16"']),
            ("cp949", ("홍길동", "김철수와 친구"), ['encoding = "cp949"']),
            ("latin-1", ("José", "Müller"), ['encoding = "latin-1"']),
            ("cp1252", ("José – “x”", "Müller €"), ['encoding = "cp1252"']),
            ("shift_jis", ("こんにちは", "テスト東京"), ['encoding = "shift_jis"']),
            ("cp1251", ("Привет мир", "Мюллер"), ['encoding = "cp1251"']),
        ],
    )
    def test_it_is_guessed_and_noted(self, encoding: str, words: tuple[str, str], noted: list[str]) -> None:
        # The name of a column is text as well.
        result = convert_files({"train.csv": f"a,{words[0]}\n1,{words[0]}\n2,{words[1]}\n".encode(encoding)})
        assert result.train.to_dict(as_series=False) == {"a": [1, 2], words[0]: list(words)}
        assert result.infos["train"].read == noted

    def test_one_odd_byte_near_the_end_counts(self) -> None:
        plain = b"".join(b"%d,abc\n" % i for i in range(1000))
        with small_reads(2000):
            result = convert_files({"train.csv": b"id,v\n" + plain + b"1000,caf\xe9\n", "test.csv": "id,v\n7,x\n"})
        assert result.train["v"].to_list() == ["abc"] * 1000 + ["café"]
        assert result.train["id"].to_list() == list(range(1001))
        assert result.infos["train"].read == ['encoding = "latin-1"']
        assert result.infos["test"].read == []

    @pytest.mark.parametrize(
        ("encoding", "said"), [("utf-8", "competition.toml names"), ("cp949", "not written in cp949")]
    )
    def test_the_named_one_is_not_overruled(self, encoding: str, said: str) -> None:
        with pytest.raises(DataError, match=rf"train\.csv.*{said}") as caught:
            convert_train("a,b\n1,é\n".encode("latin-1"), read={"encoding": encoding})
        assert "[read.TABLE] encoding" in caught.value.hint

    @pytest.mark.parametrize("encoding", ["utf-99", "base64"])
    def test_one_that_is_none_is_explained(self, encoding: str) -> None:
        with pytest.raises(DataError, match=f"train.csv: Python knows no encoding '{encoding}'"):
            convert_train(SMALL, read={"encoding": encoding})


class TestLines:
    @pytest.mark.parametrize("text", ["a,b\r\n1,x\r\n2,y\r\n", "a,b\r1,x\r2,y", "a,b\r\n1,x\n2,y\r\n", "a,b\n1,x\n2,y"])
    def test_line_ends(self, text: str) -> None:
        assert_frame_equal(convert_train(text), SMALL_FRAME)

    @pytest.mark.parametrize(
        "text", ["\n\na,b\n1,x\n2,y\n", "a,b\n\n1,x\n \n2,y\n\n\n", "a,b\r\n\r\n1,x\r\n\r\n2,y\r\n\r\n"]
    )
    @pytest.mark.parametrize("size", [4, 1 << 20])
    def test_blank_lines_are_no_rows(self, text: str, size: int) -> None:
        with small_reads(size):
            assert_frame_equal(convert_train(text), SMALL_FRAME)

    def test_in_a_single_column_they_are_holes(self) -> None:
        assert convert_train("a\n1\n\n3\n")["a"].to_list() == [1, None, 3]

    def test_rows_that_end_without_a_value_are_whole(self) -> None:
        assert convert_train('a,b,c\n1,,\n,"",\n3,,4\n').rows() == [(1, None, None), (None, None, None), (3, None, 4)]

    def test_a_nul_byte_is_a_character(self) -> None:
        assert convert_train("a,b\n1,x\0y\n2,z\n")["b"].to_list() == ["x\0y", "z"]

    @pytest.mark.parametrize("text", ["x^2,1\ny,2\n", "x^,1\r\n", 'x^,1\n"q""",2\n', "x\x01,1\n"])
    def test_text_that_begins_like_a_packed_file(self, text: str) -> None:
        truth = list(csv.reader(io.StringIO(text)))
        assert convert_train("a,b\n" + text).rows() == [(a, int(b)) for a, b in truth]

    @pytest.mark.parametrize(
        ("rows", "fault"),
        [
            ("1,2\n3,4,5\n6,7\n", "line 3 has 3 fields, the header has 2"),
            ("1,2\n3\n6,7\n", "line 3 has 1 field, the header has 2"),
            ("x,y\n\n\nz\n", "line 5 has 1 field, the header has 2"),
            ('1,"two\nlines"\n3,4,5\n', "line 4 has 3 fields, the header has 2"),
            ("1,2,\n3,4,\n", "line 2 has 3 fields, the header has 2"),
            ('1,x\n2,"y\n3,z\n', "line 3 opens a quote that is never closed"),
            ('1,5" pipe\n2,6" pipe\n', "line 2 has a quote inside a field"),
            ('1,"x"y\n2,z\n', "line 2 has a quote inside a field"),
            ("1,x\r2,y\r3,z\n", "line 2 has 4 fields, the header has 2"),
        ],
    )
    @pytest.mark.parametrize("size", [6, 1 << 20])
    def test_a_faulty_one_is_named(self, rows: str, fault: str, size: int) -> None:
        with small_reads(size), pytest.raises(DataError, match=rf"train\.csv can't be .*: {fault}") as caught:
            convert_train("a,b\n" + rows)
        assert "fix that line" in caught.value.hint

    def test_a_faulty_one_in_a_part_in_an_archive_is_named(self) -> None:
        files = {"all.zip": zipped(**{"train_1.csv": SMALL, "train_2.csv": "a,b\n1\n"})}
        with pytest.raises(DataError, match=r"all\.zip: train_2\.csv can't be .* line 2 has 1 field"):
            convert_files(files)


class TestHeaders:
    @pytest.mark.parametrize(
        ("header", "names"),
        [
            ('a b,it\'s,"say ""so""","[]{}"":,","two\nlines"', ["a b", "it's", 'say "so"', '[]{}":,', "two\nlines"]),
            (" a,b ,ü,日本,1", [" a", "b ", "ü", "日本", "1"]),
            ("a,b,a,a,b", ["a", "b", "a_duplicated_0", "a_duplicated_1", "b_duplicated_0"]),
            ("a,a,a_duplicated_0,b,c", ["a", "a_duplicated_1", "a_duplicated_0", "b", "c"]),
            (",b,c,d,", ["", "b", "c", "d", "_duplicated_0"]),
        ],
    )
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_names_are_kept(self, header: str, names: list[str], mark: str) -> None:
        frame = convert_train(f"{mark}{header}\n1,2,3,4,5\n")
        assert frame.columns == names
        assert frame.row(0) == (1, 2, 3, 4, 5)

    @pytest.mark.parametrize("text", ["a,b\n", "a,b", "\ufeffa,b\r\n"])
    def test_a_header_alone_is_a_table_without_rows(self, text: str) -> None:
        assert_frame_equal(convert_train(text), pl.DataFrame(schema={"a": pl.String, "b": pl.String}))

    def test_without_rows_the_types_are_those_of_train(self) -> None:
        assert convert_files({"train.csv": SMALL, "test.csv": "a,b\n"}).frames["test"].schema == SMALL_FRAME.schema

    @pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
    def test_an_empty_file_is_named(self, text: str) -> None:
        with pytest.raises(DataError, match=r"train\.csv has no header"):
            convert_train(text)


class TestNumbers:
    @pytest.mark.parametrize(
        ("values", "dtype", "expected"),
        [
            (["4294967296", "-2147483649"], pl.Int64, [4294967296, -2147483649]),
            (["9223372036854775807", "-9223372036854775808"], pl.Int64, [2**63 - 1, -(2**63)]),
            (["9007199254740993", "NA"], pl.Int64, [9007199254740993, None]),
            (["9223372036854775808", "1"], pl.Float64, [9223372036854775808.0, 1.0]),
            (["123456789012345678901", "-5"], pl.Float64, [123456789012345678901.0, -5.0]),
            (["+5", "-0"], pl.Int64, [5, 0]),
            (["007", "8"], pl.String, None),
            (["00", "0"], pl.String, None),
            (["NA", "07"], pl.String, None),
            (["0.10", "-.5", "1."], pl.Float64, [0.1, -0.5, 1.0]),
            (["1E-3", "5e-324", "1.7976931348623157e308"], pl.Float64, [0.001, 5e-324, 1.7976931348623157e308]),
            (["inf", "-Infinity", "1.5"], pl.Float64, [float("inf"), float("-inf"), 1.5]),
            ([" 1", "2 "], pl.Int64, [1, 2]),
            ([" 1.5", "NA ", "2"], pl.Float64, [1.5, None, 2.0]),
            (["12%", "$5", "0x10", "1_000", "½"], pl.String, None),
            (["1,234", "5"], pl.Float64, [1234.0, 5.0]),
            (["1,234,567.5", "-2"], pl.Float64, [1234567.5, -2.0]),
            (["1,5", "-2,75", "3"], pl.Float64, [1.5, -2.75, 3.0]),
            (["0,5", "1,234"], pl.Float64, [0.5, 1.234]),
            (["1.234,5", "2"], pl.Float64, [1234.5, 2.0]),
            (["1,5", "1.5"], pl.String, None),
            (["1,23,456", "1"], pl.String, None),
        ],
    )
    def test_beside_commas(self, values: list[str], dtype: Any, expected: list[Any] | None) -> None:
        found = convert_column(*values)
        assert found.dtype == dtype
        assert found.to_list() == (values if expected is None else expected)

    @pytest.mark.parametrize(
        ("values", "decimal", "expected"),
        [
            (["1,5", "2,75"], None, [1.5, 2.75]),
            (["1,234", "5"], None, [1234.0, 5.0]),
            (["567", "1,234", "12,500"], None, [567.0, 1234.0, 12500.0]),
            (["1,234", "2,345"], None, ["1,234", "2,345"]),
            (["1,234", "2,345", "1500"], None, [1.234, 2.345, 1500.0]),
            (["1,5E-05", "2,5", "-3,1e2", ",5"], None, [1.5e-05, 2.5, -310.0, 0.5]),
            (["1.234.567,5", "2"], None, [1234567.5, 2.0]),
            (["1,234,567", "2"], None, [1234567.0, 2.0]),
            (["1,234", "5"], ".", [1234.0, 5.0]),
            (["1.234", "2.345"], ",", [1234.0, 2345.0]),
            (["1.234", "2.345"], None, [1.234, 2.345]),
            (["1,5", "2"], ".", ["1,5", "2"]),
        ],
    )
    def test_beside_semicolons(self, values: list[str], decimal: str | None, expected: list[Any]) -> None:
        found = convert_column(*values, separator=";", read={"decimal": decimal} if decimal else None)
        assert found.to_list() == expected

    @pytest.mark.parametrize(
        ("first", "last", "dtype"),
        [
            ("1", "x", pl.String),
            ("1", "2.5", pl.Float64),
            ("1", "NA", pl.Int64),
            ("1", "007", pl.String),
            ("1.5", "007", pl.String),
            ("1", "9223372036854775808", pl.Float64),
            ("1.5", "1,5", pl.String),
            ("1,234", "1,5", pl.Float64),
            ("NA", "7", pl.Int64),
            ("", "x", pl.String),
            ("2013-01-31", "x", pl.String),
            ("2013-01-31", "31-01-2013", pl.String),
            ("True", "maybe", pl.String),
            ("True", "TRUE", pl.Boolean),
        ],
    )
    def test_the_last_line_of_a_large_file_counts(self, first: str, last: str, dtype: Any) -> None:
        with small_reads(400):
            found = convert_column(*[first] * 300, last)
        assert found.dtype == dtype
        assert found.len() == 301
        if dtype == pl.String:
            assert found.to_list() == [first or None] * 300 + [last]

    @pytest.mark.slow
    def test_the_last_line_behind_the_real_window_counts(self) -> None:
        rows = "".join(f"{i},{i}\n" for i in range(1_200_000))
        frame = convert_train("k,v\n" + rows + "1200000,x\n")
        assert frame.schema == {"k": pl.Int64, "v": pl.String}
        assert frame["v"][-2:].to_list() == ["1199999", "x"]

    def test_codes_far_down_in_a_column_with_holes_keep_their_zeros(self) -> None:
        with small_reads(100):
            assert convert_column("NA", *["1"] * 100, "007")[-1] == "007"

    def test_test_alone_would_say_otherwise(self) -> None:
        result = convert_files(
            {
                "train.csv": "i,f,s,d,b,n\n1,1.5,007,31/01/2013,yes,\n2,2.5,x,01/02/2013,no,\n",
                "test.csv": "i,f,s,d,b,n\n,2,8,03/04/2013,yes,3\n",
                "other.csv": "i,f\n1.5,x\n",
            }
        )
        assert result.frames["test"].schema == result.train.schema
        assert result.frames["test"].row(0) == (None, 2.0, "8", date(2013, 4, 3), True, 3)
        assert result.train.schema.dtypes() == [pl.Int64, pl.Float64, pl.String, pl.Date, pl.Boolean, pl.Int64]
        # Another table has types of its own.
        assert result.frames["other"].schema == {"i": pl.Float64, "f": pl.String}


class TestMissing:
    @pytest.mark.parametrize(
        "token", ["", "NA", "N/A", "#N/A", "<NA>", "nan", "NaN", "NULL", "null", "None", "NaT", "?", "-", "  ", " NA "]
    )
    def test_it_is_a_hole_among_numbers_and_dates_and_words(self, token: str) -> None:
        for present, expected in (
            ("1", 1),
            ("1.5", 1.5),
            ("1,5", 1.5),
            ("2013-01-31", date(2013, 1, 31)),
            ("True", True),
        ):
            assert convert_column(present, token).to_list() == [expected, None]

    @pytest.mark.parametrize("token", ["NA", "nan", "NULL", "-", "None", "?"])
    def test_it_is_a_value_in_a_text_as_in_house_prices(self, token: str) -> None:
        assert convert_column("TA", token, "").to_list() == ["TA", token, None]

    @pytest.mark.parametrize("token", ["", "NA", "-", " "])
    def test_a_column_of_nothing_else_is_text(self, token: str) -> None:
        found = convert_column(token, token)
        assert found.dtype == pl.String
        assert found.to_list() == [token or None] * 2

    def test_nan_is_missing_among_floats(self) -> None:
        found = convert_column("nan", "1.5", "NaN")
        assert (found.null_count(), found.is_nan().sum()) == (2, 0)

    @pytest.mark.parametrize(
        ("values", "missing", "expected"),
        [
            (["-999", "1"], "-999", [None, 1]),
            (["-999", "1.5"], "-999", [None, 1.5]),
            ([" -999", "1.5"], "-999", [None, 1.5]),
            (["1900-01-01", "2013-01-31"], "1900-01-01", [None, date(2013, 1, 31)]),
            (["n/a", "True", "False"], "n/a", [None, True, False]),
            (["unknown", "x", "NA"], "unknown", [None, "x", "NA"]),
            (["NA", "x"], "NA", [None, "x"]),
        ],
    )
    def test_more_may_be_named(self, values: list[str], missing: str, expected: list[Any]) -> None:
        assert convert_column(*values, read={"missing": [missing]}).to_list() == expected


class TestTimes:
    @pytest.mark.parametrize(
        ("text", "spelled"),
        [
            ("2013-01-31", "%Y-%m-%d"),
            ("2013/01/31", "%Y/%m/%d"),
            ("31.01.2013", "%d.%m.%Y"),
            ("31.1.2013", "%-d.%-m.%Y"),
            ("01/31/2013", "%m/%d/%Y"),
            ("1/31/2013", "%-m/%-d/%Y"),
            ("31/01/2013", "%d/%m/%Y"),
            ("31-01-2013", "%d-%m-%Y"),
            ("01-31-2013", "%m-%d-%Y"),
            ("31-Jan-2013", "%d-%b-%Y"),
            ("31-JAN-2013", "%d-%b-%Y"),
            ("31-Jan-13", "%d-%b-%y"),
            ("31 January 2013", "%d %B %Y"),
            ("January 31, 2013", "%B %d, %Y"),
            ("Jan 31, 2013", "%b %d, %Y"),
            ("01/31/13", "%m/%d/%y"),
            ("31/01/13", "%d/%m/%y"),
            ("31.01.13", "%d.%m.%y"),
            (" 2013-01-31 ", "%Y-%m-%d"),
        ],
    )
    def test_days(self, text: str, spelled: str) -> None:
        result = convert_files({"train.csv": column_as_csv((text, "", "NA"))})
        assert result.train["v"].to_list() == [date(2013, 1, 31), None, None]
        assert result.train["v"].dtype == pl.Date
        assert result.infos["train"].spelled == {"v": spelled}

    @pytest.mark.parametrize(
        ("text", "clock"),
        [
            ("2013-01-31 17:06", (17, 6)),
            ("2013-01-31 17:06:07", (17, 6, 7)),
            ("2013-01-31T17:06", (17, 6)),
            ("2013-01-31T17:06:07", (17, 6, 7)),
            ("2013-01-31T17:06:07Z", (17, 6, 7)),
            ("2013-01-31 17:06:07 UTC", (17, 6, 7)),
            ("2013-01-31 17:06:07.123456", (17, 6, 7, 123456)),
            ("2013-01-31T17:06:07.5", (17, 6, 7, 500000)),
            ("2013-01-31T17:06:07.123Z", (17, 6, 7, 123000)),
            ("31.01.2013 17:06", (17, 6)),
            ("01/31/2013 05:06:07 PM", (17, 6, 7)),
            ("1/31/2013 5:06 PM", (17, 6)),
            ("1/31/2013 12:06 AM", (0, 6)),
            ("31/01/2013 17:06:07", (17, 6, 7)),
            ("31/01/13 17:06", (17, 6)),
            ("01/31/13 17:06:07.1234", (17, 6, 7, 123400)),
            ("2013-01-31 00:00:00", (0, 0)),
        ],
    )
    def test_times(self, text: str, clock: tuple[int, ...]) -> None:
        result = convert_files({"train.csv": column_as_csv((text, ""))})
        assert result.train["v"].to_list() == [moment(2013, 1, 31, *clock), None]
        assert result.train["v"].dtype == DATETIME
        noted = result.infos["train"].spelled["v"]
        assert pl.Series([text]).str.strptime(DATETIME, noted).to_list() == [moment(2013, 1, 31, *clock)]
        assert noted.endswith(("Z", "UTC", "%p")) == text.endswith(("Z", "UTC", "PM", "AM"))

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            (["01/02/2013", "03/13/2013"], [date(2013, 1, 2), date(2013, 3, 13)]),
            (["01/02/2013", "13/03/2013"], [date(2013, 2, 1), date(2013, 3, 13)]),
            (["01/02/2013", "03/04/2013"], [date(2013, 1, 2), date(2013, 3, 4)]),
            (["13/03/2013", "03/13/2013"], ["13/03/2013", "03/13/2013"]),
            (["01/02/13", "01/02/2013"], ["01/02/13", "01/02/2013"]),
            (["2013-02-30", "2013-02-01"], ["2013-02-30", "2013-02-01"]),
            (["9999-12-31", "0001-01-01"], [date(9999, 12, 31), date(1, 1, 1)]),
            (["1359608767", "1359608768"], [1359608767, 1359608768]),
        ],
    )
    @pytest.mark.parametrize("size", [10, 1 << 20])
    def test_the_values_decide(self, values: list[str], expected: list[Any], size: int) -> None:
        with small_reads(size):
            assert convert_column(*values).to_list() == expected

    def test_eight_digits_are_a_day_where_the_name_says_so(self) -> None:
        frame = convert_train("order_date,v,date\n20130131,20130131,20130131\n20130201,20130201,20139999\n")
        assert frame.schema == {"order_date": pl.Date, "v": pl.Int64, "date": pl.Int64}
        assert frame["order_date"][0] == date(2013, 1, 31)


class TestWords:
    @pytest.mark.parametrize(
        "words",
        ["False/True", "false/true", "FALSE/TRUE", "no/yes", "No/Yes", "NO/YES", "N/Y", "n/y", "f/t", "F/T"],
    )
    def test_they_become_booleans_and_their_spelling_is_kept(self, words: str) -> None:
        false, true = words.split("/")
        result = convert_files({"train.csv": column_as_csv((true, false, "", f" {true}"))})
        assert result.train["v"].to_list() == [True, False, None, True]
        assert result.infos["train"].spelled == {"v": words}

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            (["True", "true", "FALSE"], [True, True, False]),
            (["True", "true"], [True, True]),
            (["True"], [True]),
            (["yes"], ["yes"]),
            (["Y", "NA"], ["Y", "NA"]),
            (["t", "f", "T"], ["t", "f", "T"]),
            (["True", "False", "maybe"], ["True", "False", "maybe"]),
            (["0", "1"], [0, 1]),
        ],
    )
    def test_others_do_not(self, values: list[str], expected: list[Any]) -> None:
        assert convert_column(*values).to_list() == expected


class TestNamedTypes:
    @pytest.mark.parametrize(
        ("values", "asked", "expected"),
        [
            (["1", "2"], "String", ["1", "2"]),
            (["1", "NA"], "Float64", [1.0, None]),
            (["007", "1"], "Int64", [7, 1]),
            (["1,5", "1"], "Float64 ,", [1.5, 1.0]),
            (["0", "1"], "Boolean 0/1", [False, True]),
            (["ja", "nein"], "Boolean nein/ja", [True, False]),
            (["01/02/2013"], "Date %d/%m/%Y", [date(2013, 2, 1)]),
            (["20130201 0506"], "Datetime %Y%m%d %H%M", [moment(2013, 2, 1, 5, 6)]),
        ],
    )
    def test_they_go_before_what_the_values_say(self, values: list[str], asked: str, expected: list[Any]) -> None:
        for key in ("v", "train.v"):
            assert convert_column(*values, types={key: asked}).to_list() == expected

    def test_one_of_a_table_leaves_the_others(self) -> None:
        result = convert_files({"train.csv": "v\n1\n", "test.csv": "v\n2\n"}, types={"train.v": "Float64"})
        assert (result.train["v"].dtype, result.frames["test"]["v"].dtype) == (pl.Float64, pl.Int64)

    @pytest.mark.parametrize(
        ("values", "asked", "said"),
        [
            (["1", "x"], "Int64", "column 'v' has 'x', which is not of type Int64"),
            (["1.5", "NA", "?!"], "Float64", "column 'v' has '\\?!', which is not of type Float64"),
            (
                ["01/02/2013", "03/24/2013"],
                "Date %d/%m/%Y",
                "column 'v' has '03/24/2013', which is not of type Date '%d/%m/%Y'",
            ),
            (["01/02/13"], "Date %d/%m/%Y", "column 'v' has '01/02/13', which is not of type Date"),
            (["yes", "perhaps"], "Boolean no/yes", "column 'v' has 'perhaps', which is not of type Boolean"),
        ],
    )
    def test_a_value_that_does_not_fit_is_named(self, values: list[str], asked: str, said: str) -> None:
        with pytest.raises(DataError, match=rf"train\.csv: {said}") as caught:
            convert_column(*values, types={"v": asked})
        assert "competition.toml" in caught.value.hint

    def test_one_that_is_none_is_explained(self) -> None:
        with pytest.raises(DataError, match=r"v = 'Int32' is not a type") as caught:
            convert_column("1", types={"v": "Int32"})
        assert "Int64" in caught.value.hint


class TestJson:
    @pytest.mark.parametrize(
        "document",
        [
            [{"a": 1, "b": "x"}, {"b": "y", "a": 2}],
            {"a": {"0": 1, "1": 2}, "b": {"1": "y", "0": "x"}},
            {"a": [1, 2], "b": ["x", "y"]},
            {"columns": ["a", "b"], "index": [0, 1], "data": [[1, "x"], [2, "y"]]},
        ],
    )
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_records_and_columns(self, document: Any, mark: str) -> None:
        assert_frame_equal(convert_files({"train.json": mark + json.dumps(document)}).train, SMALL_FRAME)

    @pytest.mark.parametrize("name", ["train.json", "train.jsonl", "train.ndjson"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_lines(self, name: str, mark: str) -> None:
        text = mark + '{"a": 1, "b": "x"}\r\n\r\n{"a": 2, "b": "y"}'
        assert_frame_equal(convert_files({name: text}).train, SMALL_FRAME)

    def test_lists_and_structs_stay(self) -> None:
        rows = [{"l": [1, 2], "s": {"x": 1, "y": [{"z": "q"}]}}, {"l": [], "s": {"x": None, "y": []}}]
        frame = convert_files({"train.jsonl": "".join(json.dumps(r) + "\n" for r in rows)}).train
        assert frame.schema == {
            "l": pl.List(pl.Int64),
            "s": pl.Struct({"x": pl.Int64, "y": pl.List(pl.Struct({"z": pl.String}))}),
        }
        assert frame.to_dicts() == rows

    @pytest.mark.parametrize("name", ["train.json", "train.jsonl"])
    def test_the_last_record_counts(self, name: str) -> None:
        rows = [{"a": 1}] * 3000 + [{"a": 2.5, "b": 2**53 + 1}]
        text = json.dumps(rows) if name == "train.json" else "\n".join(map(json.dumps, rows))
        frame = convert_files({name: text}).train
        assert frame.schema == {"a": pl.Float64, "b": pl.Int64}
        assert frame.row(-1) == (2.5, 2**53 + 1)

    @pytest.mark.parametrize(
        "document", [{"0": "cat", "1": "dog"}, {"info": {}, "images": [1, 2], "marks": [3]}, [1, 2], [[1], [2]], [], {}]
    )
    def test_what_is_no_table_stays_as_it_is(self, document: Any) -> None:
        result = convert_files({"train.csv": SMALL, "map.json": json.dumps(document)})
        assert list(result.frames) == ["train"]
        assert [line for line in result.said if "map.json is JSON, but neither records nor columns" in line]
        with pytest.raises(DataError, match=r"no file that can become a table: .*map\.json"):
            convert_files({"map.json": json.dumps(document)})

    @pytest.mark.parametrize(
        ("name", "text", "fault"),
        [
            ("train.json", '[{"a": 1},', "line 1, column 11: "),
            ("train.json", '[\n{"a": 1},\n{"a": }\n]', "line 3, column 7: "),
            ("train.json", '{"a": 1,', "line 1, column 9: "),
            ("train.json", "", "it is empty"),
            ("train.json", '[{"a": NaN}]', "NaN is not JSON"),
            ("train.json", "3", "line 1 is not a JSON object"),
            ("train.json", b'[\n{"a": "\xe9"}]', "line 2 is not written in UTF-8"),
            ("train.jsonl", "", "it is empty"),
            ("train.jsonl", '{"a": 1}\n{"a":\n', "line 2, column 6: "),
            ("train.jsonl", '{"a": 1}\n[1]\n', "line 2 is not a JSON object"),
            ("train.jsonl", '{"a": 1.5}\n{"a": NaN}\n', "line 2: NaN is not JSON"),
            ("train.jsonl", b'{"a": "x"}\n{"a": "\xe9"}\n', "line 2 is not written in UTF-8"),
            ("train.parquet", "PAR1 and no more", ""),
        ],
    )
    def test_a_faulty_file_is_named(self, name: str, text: str | bytes, fault: str) -> None:
        with pytest.raises(DataError, match=rf"{name} can't be converted to a table: {fault}") as caught:
            convert_files({name: text})
        assert caught.value.hint
