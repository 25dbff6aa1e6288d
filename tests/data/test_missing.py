"""What is missing: empty fields however they are quoted, and what `missing` names, in every spelling and format."""

from __future__ import annotations

import csv
import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.conversion import (
    convert_column,
    convert_files,
    convert_train,
    few_examples,
    parquet_bytes,
    random_tables,
    small_reads,
)
from workbench.core.errors import DataError
from workbench.data.competition import read_options
from workbench.rehearsal import RehearsalSpec, create

TRAIN = "id,n,f,t,d,b,y\n1,1,0.5,x,2024-01-31,yes,p\n2,,,,,,\n3,3,1.5,z,2024-02-01,no,q\n"
TEST = "id,n,f,t,d,b\n4,,,,,\n5,5,2.5,w,2024-02-02,yes\n"


def quoted(text: str, ending: str = "\n") -> str:
    """Write every field in quotes, as QUOTE_ALL does."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator=ending).writerows(csv.reader(io.StringIO(text)))
    return out.getvalue()


class TestEmpty:
    @pytest.mark.parametrize("ending", ["\n", "\r\n"])
    @pytest.mark.parametrize("size", [16, 1 << 20])
    def test_quoted_it_is_missing_as_unquoted_in_every_table(self, ending: str, size: int) -> None:
        side = "n,label\n1,\n3,x\n"
        with small_reads(size):
            plain = convert_files({"train.csv": TRAIN, "test.csv": TEST, "side.csv": side})
            mixed = convert_files(
                {"train.csv": quoted(TRAIN, ending), "test.csv": TEST, "side.csv": quoted(side, ending)}
            )
        for name, frame in plain.frames.items():
            assert_frame_equal(mixed.frames[name], frame)
        assert plain.train.null_count().row(0) == (0, 1, 1, 1, 1, 1, 1)
        assert plain.frames["side"]["label"].to_list() == [None, "x"]

    @given(frame=random_tables(st.text("ab ", max_size=3)), data=st.data(), size=st.sampled_from([8, 64, 1 << 20]))
    @few_examples
    def test_any_of_the_empty_fields_may_be_quoted(self, frame: pl.DataFrame, data: st.DataObject, size: int) -> None:
        def field(value: Any) -> str:
            if value is None:
                return data.draw(st.sampled_from(["", '""']))
            return f'"{value}"' if data.draw(st.booleans()) else str(value)

        text = "".join(",".join(map(field, row)) + "\n" for row in [frame.columns, *frame.iter_rows()])
        with small_reads(size):
            assert_frame_equal(convert_train(text), frame)

    def test_it_is_no_class_of_a_target_and_no_id(self, tmp_path: Path) -> None:
        def host(empty: int, **options: Any) -> None:
            (tmp_path / "competitions").mkdir(exist_ok=True)
            rows = [["id", "x", "y"], *([f"r{i}", i % 7, ("no", "yes")[i % 2]] for i in range(300))]
            rows[7][empty] = ""
            with (tmp_path / "all.csv").open("w", newline="") as file:
                csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
            create(tmp_path, "small", RehearsalSpec(tmp_path / "all.csv", ("y",), "auc", holdout=0.3, **options))

        with pytest.raises(DataError, match="has 1 empty values among 300 rows"):
            host(2)
        with pytest.raises(DataError, match="id id of .* is empty in 1 of 300 rows"):
            host(0, ids=("id",))

    def test_spaces_alone_are_a_text_among_texts_only(self) -> None:
        assert convert_column("a", " ", "").to_list() == ["a", " ", None]
        assert convert_column("1", " ", "").to_list() == [1, None, None]
        assert convert_column("a", " ", "", read={"missing": [" "]}).to_list() == ["a", None, None]

    def test_short_records_are_refused_beside_empty_fields_in_quotes(self) -> None:
        with pytest.raises(DataError, match="line 3 has 1 field"):
            convert_train('a,b\n1,""\n2\n3,""\n')


SPELLINGS = ["-999", "-999.0", "-999.00", "-999.", "-9.99e2", "-9.99E+02", " -999", "-999 ", "-999,0"]
OTHERS = ["-9990", "-99.9", "-998.999", "999", "-9.99e3"]


class TestTokens:
    @pytest.mark.parametrize("spelled", SPELLINGS)
    @pytest.mark.parametrize("token", ["-999", "-999.0"])
    @pytest.mark.parametrize("size", [16, 1 << 20])
    def test_a_number_is_missing_in_every_spelling(self, spelled: str, token: str, size: int) -> None:
        with small_reads(size):
            for value, expected in (
                ("1", 1),
                ("1.5", 1.5),
                ("2013-01-31", date(2013, 1, 31)),
                ("True", True),
                ("x", "x"),
            ):
                if spelled == "-999,0" and expected == 1.5:
                    continue  # A comma and a point as decimal marks in one column are no numbers.
                found = convert_column(value, spelled, value, read={"missing": [token]})
                assert found.to_list() == [expected, None, expected], value

    def test_decimal_commas(self) -> None:
        values = ("1,5", "-999,0", "-999", "-999,000", "-9,99e2")
        found = convert_files(
            {"train.csv": "k;v\n" + "".join(f"{i};{v}\n" for i, v in enumerate(values[:4]))}, read={"missing": ["-999"]}
        )
        assert found.train["v"].to_list() == [1.5, None, None, None]

    def test_commas_between_thousands(self) -> None:
        found = convert_column("12,500", "-9,999", "-9999.0", "1,000", read={"missing": ["-9999"]})
        assert found.to_list() == [12500.0, None, None, 1000.0]

    @pytest.mark.parametrize("value", OTHERS)
    def test_another_number_is_not(self, value: str) -> None:
        assert convert_column("1.5", value, read={"missing": ["-999"]}).to_list() == [1.5, float(value)]
        assert convert_column("x", value, read={"missing": ["-999"]}).to_list() == ["x", value]

    def test_a_code_is_no_number(self) -> None:
        assert convert_column("0999", "123", "a", read={"missing": ["999"]}).to_list() == ["0999", "123", "a"]

    def test_far_down(self) -> None:
        with small_reads(60):
            found = convert_column(*["1"] * 50, "-999.0", "7", read={"missing": ["-999"]})
        assert found.to_list() == [1] * 50 + [None, 7]

    def test_beyond_2_to_53_only_the_very_text_is(self) -> None:
        one, other = str(2**53), str(2**53 + 1)
        assert convert_column(other, one, "1", read={"missing": [one]}).to_list() == [2**53 + 1, None, 1]

    @pytest.mark.parametrize("how", ["lines", "json", "parquet"])
    def test_in_every_format(self, how: str) -> None:
        frame = pl.DataFrame(
            {"i": [1, -999, 3], "f": [0.5, -999.0, 2.0], "t": ["x", "-999.0", "?"], "u": ["-999", "unknown", ""]}
        )
        files: dict[str, str | bytes] = {
            "lines": {"train.jsonl": "".join(json.dumps(r) + "\n" for r in frame.to_dicts())},
            "json": {"train.json": json.dumps(frame.to_dicts())},
            "parquet": {"train.parquet": parquet_bytes(frame)},
        }[how]  # type: ignore[assignment]
        result = convert_files(files, read={"missing": ["-999", "unknown"]}).train
        assert result.to_dict(as_series=False) == {
            "i": [1, None, 3],
            "f": [0.5, None, 2.0],
            "t": ["x", None, "?"],
            "u": [None, None, ""],
        }
        assert result.schema == frame.schema

    def test_with_a_type_that_is_asked_for(self) -> None:
        frame = pl.DataFrame({"v": ["1", "-999.0", "n/a"]})
        for files in ({"train.parquet": parquet_bytes(frame)}, {"train.jsonl": frame.write_ndjson()}):
            found = convert_files(files, read={"missing": ["-999", "n/a"]}, types={"v": "Int64"}).train["v"]
            assert found.to_list() == [1, None, None]

    def test_numbers_may_be_written_as_numbers(self, tmp_path: Path) -> None:
        path = tmp_path / "competition.toml"
        path.write_text(
            'slug = "x"\ntask = "binary"\nid = "id"\ntarget = "y"\nmetric = "auc"\n[read.train]\n'
            'missing = [-999, -1.5, "n/a"]\n'
        )
        assert read_options(path)[0] == {"train": {"missing": ["-999", "-1.5", "n/a"]}}


def test_nan_in_parquet_is_missing_as_it_is_in_text() -> None:
    result = convert_files(
        {"train.parquet": parquet_bytes({"a": [1.5, float("nan"), None]}), "test.csv": "a\n1.5\nnan\n\n"}
    )
    assert result.train["a"].to_list() == [1.5, None, None]
    assert result.frames["test"]["a"].null_count() == 2
