"""Files as competitions have them: packings, encodings, line ends, spellings; values and types as they were meant."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from importlib import import_module
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from workbench.core.errors import DataError, WorkbenchError
from workbench.data.competition import Manifest, as_written
from workbench.data.ingest.archives import unpack_tar
from workbench.data.ingest.convert import convert
from workbench.data.ingest.sources import ReadOptions

CSV = "id,name,x\n1,a,0.5\n2,b,1.5\n3,,2.5\n"
PLAIN = pl.DataFrame({"id": [1, 2, 3], "name": ["a", "b", None], "x": [0.5, 1.5, 2.5]})


@pytest.fixture
def converted(tmp_path: Path) -> Callable[..., dict[str, pl.DataFrame]]:
    """Return a function that writes files, converts them and returns the tables; `.manifest` has the last manifest."""

    def made(files: dict[str, bytes | str], options: ReadOptions | None = None) -> dict[str, pl.DataFrame]:
        raw, tables = tmp_path / "raw", tmp_path / "tables"
        for name, content in files.items():
            path = raw / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        manifest = convert(raw, tables, "c", **({} if options is None else {"options": options}))
        made.manifest = manifest  # type: ignore[attr-defined]
        return {name: pl.read_parquet(tables / f"{name}.parquet") for name in manifest.tables}

    return made


def _manifest(converted: Callable[..., dict[str, pl.DataFrame]]) -> Manifest:
    return converted.manifest  # type: ignore[attr-defined, no-any-return]


def _zipped(**members: str | bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_csv", ".csv"), content)
    return out.getvalue()


# --------------------------------------------------------------------------------------------------------- packings


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", CSV.encode()),
        ("train.csv.gz", gzip.compress(CSV.encode())),
        ("train.csv.xz", lzma.compress(CSV.encode())),
        ("train.csv.bz2", bz2.compress(CSV.encode())),
        ("train.csv.zip", _zipped(train_csv=CSV)),
        ("all.zip", _zipped(train_csv=CSV)),
        ("all.zip", _zipped(data__train_csv=CSV)),
        ("train.tsv", CSV.replace(",", "\t").encode()),
        ("train.txt", CSV.replace(",", "|").encode()),
        ("train.csv", CSV.replace(",", ";").encode()),
        ("train.csv", CSV.replace(",", "|").encode()),
        ("train.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("train.csv", CSV.encode("utf-16")),
        ("train.csv", CSV.replace("\n", "\r\n").encode()),
        ("train.csv", CSV.replace("\n", "\r").encode()),
        ("train.csv", CSV.rstrip("\n").encode()),
        ("train.csv", (CSV + "\n\n").encode()),
        ("train.json", json.dumps(PLAIN.to_dicts()).encode()),
        ("train.json", json.dumps(PLAIN.to_dict(as_series=False)).encode()),
        ("train.json", json.dumps({c: dict(enumerate(PLAIN[c])) for c in PLAIN.columns}).encode()),
        ("train.jsonl", "\n".join(map(json.dumps, PLAIN.to_dicts())).encode()),
        ("train.jsonl.gz", gzip.compress("\n".join(map(json.dumps, PLAIN.to_dicts())).encode())),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # packed bytes hold the time of packing
)
def test_one_table_however_it_is_packed_and_written(converted, name: str, content: bytes) -> None:
    assert_frame_equal(converted({name: content})["train"], PLAIN)


def test_parquet_is_taken_as_it_is(converted, tmp_path: Path) -> None:
    frame = PLAIN.with_columns(when=pl.lit(datetime(2024, 1, 2)), items=pl.lit([1, 2]))
    frame.write_parquet(tmp_path / "a.parquet")
    assert_frame_equal(converted({"train.parquet": (tmp_path / "a.parquet").read_bytes()})["train"], frame)


def test_lines_of_json_keep_what_is_nested(converted) -> None:
    lines = [{"session": i, "events": [{"aid": k, "ts": 10 * k} for k in range(i % 3)]} for i in range(20)]
    frame = converted({"train.jsonl": "\n".join(map(json.dumps, lines))})["train"]
    assert frame.to_dicts() == lines


def test_folders_parts_and_what_is_no_table(converted, tmp_path: Path) -> None:
    rows = CSV.splitlines(keepends=True)
    parts = {f"train/train_{i}.csv": rows[0] + f"{i},p,{i}.5\n" for i in range(1, 12)}
    tables = converted(parts | {"extra/holidays 2013.csv": CSV, "images/1.png": b"\x89PNG", "README.txt": "no table"})
    (train,) = (frame for name, frame in tables.items() if name.startswith("train"))
    assert train["id"].to_list() == list(range(1, 12))  # by number: the tenth part comes after the ninth
    assert "extra_holidays_2013" in tables
    assert len(tables) == 2
    assert (tmp_path / "raw" / "images" / "1.png").read_bytes() == b"\x89PNG"


def test_a_tar_is_unpacked(converted, tmp_path: Path) -> None:
    out = tmp_path / "all.tar.gz"
    with tarfile.open(out, "w:gz") as archive:
        info = tarfile.TarInfo("data/train.csv")
        info.size = len(CSV)
        archive.addfile(info, io.BytesIO(CSV.encode()))
    (tmp_path / "raw").mkdir()
    unpack_tar(out, tmp_path / "raw")
    assert_frame_equal(converted({})["train"], PLAIN)


# -------------------------------------------------------------------------------------------------------- encodings


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("utf-8", ["é", "日本", "ok"]),
        ("cp949", ["서울특별시", "부산광역시", "대구광역시"]),
        ("latin-1", ["déjà vu", "café", "naïve"]),
        ("cp1252", ["“quoted”", "café – bar", "naïve"]),
    ],
)
def test_the_encoding_is_found(converted, encoding: str, words: list[str]) -> None:
    text = "id,place\n" + "".join(f"{i},{words[i % len(words)]}\n" for i in range(300))
    frame = converted({"train.csv": text.encode(encoding)})["train"]
    assert frame["place"].to_list() == [words[i % len(words)] for i in range(300)]
    said = _manifest(converted).tables["train"].read
    assert any("encoding" in line for line in said) == (encoding != "utf-8")


def test_a_foreign_byte_near_the_end_of_a_large_file_counts(converted) -> None:
    text = "id,place\n" + "".join(f"{i},somewhere plain\n" for i in range(300_000)) + "300000,café\n"
    frame = converted({"train.csv": text.encode("latin-1")})["train"]
    assert frame["place"][-1] == "café"
    assert frame.height == 300_001


def test_an_encoding_that_is_named_is_taken(converted) -> None:
    text = "id,place\n1,Łódź\n2,Kraków\n"
    options = ReadOptions({"train": {"encoding": "iso8859-2"}}, {})
    assert converted({"train.csv": text.encode("iso8859-2")}, options)["train"]["place"].to_list() == ["Łódź", "Kraków"]


# ---------------------------------------------------------------------------------------------------------- records


def test_names_that_lightgbm_would_refuse_stay(converted) -> None:
    names = ["a b", "[x]", "{y}", 'say "so"', "k:v", "a,b", ""]
    header = ",".join('"' + n.replace('"', '""') + '"' for n in names)
    frame = converted({"train.csv": header + "\n" + ",".join("1" * len(names)) + "\n"})["train"]
    assert frame.columns == names


@pytest.mark.parametrize("size", [16, 64, 1 << 20])
@settings(max_examples=40)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(-(2**62), 2**62),
            st.text(st.characters(codec="utf-8", exclude_characters="\r\x00", exclude_categories=("Cs",)), max_size=12),
            st.floats(allow_nan=False, allow_infinity=False, width=32),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_any_text_comes_back_whatever_the_blocks(
    size: int, rows: list[tuple[int, str, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Quoted separators, quotes and line ends, at every border between two blocks."""
    folder = tmp_path_factory.mktemp("any")
    frame = pl.DataFrame([(i, f"t{s}", x) for i, s, x in rows], schema=["i", "s", "x"], orient="row")
    (folder / "raw").mkdir()
    frame.write_csv(folder / "raw" / "train.csv", quote_style="non_numeric")
    options = ReadOptions({}, {"x": "Float64", "s": "String"}, block_bytes=size)
    convert(folder / "raw", folder / "tables", "c", options=options)
    assert_frame_equal(pl.read_parquet(folder / "tables" / "train.parquet"), frame)


# ------------------------------------------------------------------------------------------------------------ types


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["2024-03-05", "2024-12-31"], [date(2024, 3, 5), date(2024, 12, 31)]),
        (["2024/03/05", "2024/12/31"], [date(2024, 3, 5), date(2024, 12, 31)]),
        (["5/3/2024", "31/12/2024"], [date(2024, 3, 5), date(2024, 12, 31)]),
        (["05.03.2024", "31.12.2024"], [date(2024, 3, 5), date(2024, 12, 31)]),
        (["03/05/2024", "12/31/2024"], [date(2024, 3, 5), date(2024, 12, 31)]),
        (["05/03/2024", "31/12/2024"], [date(2024, 3, 5), date(2024, 12, 31)]),
        (["5-Mar-2024", "31-Dec-2024"], [date(2024, 3, 5), date(2024, 12, 31)]),
        (["March 5, 2024", "December 31, 2024"], [date(2024, 3, 5), date(2024, 12, 31)]),
        (
            ["2024-03-05 06:07:08", "2024-12-31 23:59:59"],
            [datetime(2024, 3, 5, 6, 7, 8), datetime(2024, 12, 31, 23, 59, 59)],
        ),
        (
            ["2024-03-05T06:07:08Z", "2024-12-31T23:59:59Z"],
            [datetime(2024, 3, 5, 6, 7, 8), datetime(2024, 12, 31, 23, 59, 59)],
        ),
        (
            ["2024-03-05 06:07:08.5", "2024-12-31 23:59:59.25"],
            [datetime(2024, 3, 5, 6, 7, 8, 500000), datetime(2024, 12, 31, 23, 59, 59, 250000)],
        ),
        (
            ["03/05/2024 06:07:08 PM", "12/31/2024 01:00:00 AM"],
            [datetime(2024, 3, 5, 18, 7, 8), datetime(2024, 12, 31, 1)],
        ),
        (["True", "False"], [True, False]),
        (["yes", "no"], [True, False]),
        (["Y", "N"], [True, False]),
        (["t", "f"], [True, False]),
        (["4294967296", "-9007199254740993"], [4294967296, -9007199254740993]),
        (["18446744073709551615", "10000000000000000001"], [18446744073709551615.0, 10000000000000000001.0]),
        (["007", "012"], ["007", "012"]),
        (["-5", "+7"], [-5, 7]),
        (["-05", "07"], ["-05", "07"]),
        (["1e-3", "2.5"], [0.001, 2.5]),
        (["0", "0.5"], [0.0, 0.5]),
    ],
)
def test_spellings(converted, written: list[str], expected: list[object]) -> None:
    text = "id;v\n" + "".join(f"{i};{written[i % 2]}\n" for i in range(60))
    frame = converted({"train.csv": text})["train"]
    assert frame["v"].to_list() == [expected[i % 2] for i in range(60)]


def test_eight_digits_are_dates_where_the_name_says_so(converted) -> None:
    frame = converted({"train.csv": "id,date,code\n1,20240305,20240305\n2,20241231,20241231\n"})["train"]
    assert frame["date"].to_list() == [date(2024, 3, 5), date(2024, 12, 31)]
    assert frame["code"].to_list() == [20240305, 20241231]


@pytest.mark.parametrize(
    ("separator", "written"), [(";", "1.234,5"), ("\t", "1234,5"), (",", '"1,234.5"'), (",", '"1234,5"')]
)
def test_marks_in_numbers(converted, separator: str, written: str) -> None:
    text = "".join(f"{separator.join(row)}\n" for row in [("id", "v"), *((str(i), written) for i in range(30))])
    assert converted({"train.csv": text})["train"]["v"].to_list() == [1234.5] * 30


def test_na_is_missing_among_numbers_and_a_value_among_words(converted) -> None:
    text = "id,quality,area\n1,NA,NA\n2,Good,10\n3,Fair,20\n"
    frame = converted({"train.csv": text})["train"]
    assert frame["quality"].to_list() == ["NA", "Good", "Fair"]
    assert frame["area"].to_list() == [None, 10, 20]
    taken = converted({"train.csv": text}, ReadOptions({"train": {"missing": ["NA"]}}, {}))["train"]
    assert taken["quality"].to_list() == [None, "Good", "Fair"]


@pytest.mark.parametrize("token", ["NA", "N/A", "nan", "NaN", "NULL", "null", "None", "?", "-", ""])
def test_what_stands_for_a_missing_number(converted, token: str) -> None:
    text = "id,v\n" + "".join(f"{i},{token if i % 3 == 0 else i / 4}\n" for i in range(30))
    assert converted({"train.csv": text})["train"]["v"].to_list() == [None if i % 3 == 0 else i / 4 for i in range(30)]


@pytest.mark.parametrize(
    ("last", "dtype"), [("x", pl.String), ("0.5", pl.Float64), ("007", pl.String), ("NA", pl.Int64)]
)
def test_the_last_line_of_a_large_file_counts(converted, monkeypatch, last: str, dtype: pl.DataType) -> None:
    monkeypatch.setattr(import_module("workbench.data.ingest.delimited"), "HEAD_BYTES", 2_000)
    text = "id,v\n" + "".join(f"{i},{i % 50}\n" for i in range(5_000)) + f"5000,{last}\n"
    frame = converted({"train.csv": text, "test.csv": "id,v\n1,2\n"})
    assert frame["train"].schema["v"] == frame["test"].schema["v"] == dtype
    assert frame["train"].height == 5_001


def test_types_are_those_that_are_named(converted) -> None:
    text = "id,zip,day\n1,80331,1.2.2024\n2,10115,3.4.2024\n"
    frame = converted({"train.csv": text}, ReadOptions({}, {"zip": "String", "train.day": "Date %d.%m.%Y"}))["train"]
    assert frame["zip"].to_list() == ["80331", "10115"]
    assert frame["day"].to_list() == [date(2024, 2, 1), date(2024, 4, 3)]


def test_how_the_file_spells_is_kept(converted) -> None:
    text = "id,day,ok\n" + "".join(f"{i},{1 + i % 28:02}/03/2024,{'Yes' if i % 2 else 'No'}\n" for i in range(60))
    converted({"train.csv": text})
    assert _manifest(converted).tables["train"].spelled == {"day": "%d/%m/%Y", "ok": "No/Yes"}


# -------------------------------------------------------------------------------------------------------- bad files


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"train.csv": b""}, "train.csv"),
        ({"train.csv": b"id,v\n1,2\n1,2,3,4\n"}, "train.csv"),
        ({"train.csv": b'id,v\n1,"never closed\n'}, "train.csv"),
        ({"train.csv.gz": gzip.compress(CSV.encode() * 500)[:-20]}, "train.csv"),
        ({"train.csv.xz": lzma.compress(CSV.encode() * 500)[:-20]}, "train.csv"),
        ({"train.json": b'{"a": [1, 2'}, "train.json"),
        ({"train.json": b'"only a text"'}, "train.json"),
        ({"train.jsonl": b'{"a": 1}\n{"a": \n'}, "train.jsonl"),
        ({"train.parquet": b"PAR1 is not enough"}, "train.parquet"),
        ({"train.csv": CSV.encode(), "train.tsv": CSV.encode()}, "train"),
    ],
)
def test_a_bad_file_is_named_in_a_sentence(converted, files: dict[str, bytes], said: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        converted(files)
    assert said in caught.value.message
    assert "\n" not in caught.value.message


def test_a_header_alone_is_an_empty_table(converted) -> None:
    frame = converted({"train.csv": "id,v\n"})["train"]
    assert (frame.height, frame.columns) == (0, ["id", "v"])


def test_dates_without_leading_zeros_are_written_so_again(converted) -> None:
    text = "id,day,at\n" + "".join(
        f"{i},{1 + i % 12}/{1 + i % 28}/2024,{1 + i % 12}/{1 + i % 28}/24 {i % 24}:05\n" for i in range(60)
    )
    tables = converted({"sample_submission.csv": text})
    spelled = _manifest(converted).tables["sample_submission"].spelled
    again = as_written(tables["sample_submission"], spelled)
    assert again.write_csv() == text


def test_an_unknown_type_is_explained(converted) -> None:
    with pytest.raises(DataError, match=r"\[types\]: zip = 'Strin' is not a type"):
        converted({"train.csv": "id,zip\n1,2\n"}, ReadOptions({}, {"zip": "Strin"}))
