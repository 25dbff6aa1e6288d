"""`wb rehearse --train`: files are read there as `wb fetch` reads them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from workbench.core.context import RunContext, text_listener
from workbench.core.errors import DataError
from workbench.data.ingest.text import HEAD_BYTES
from workbench.platforms.interactions import InteractionsSpec
from workbench.rehearsal import LogSpec, RehearsalSpec, create

KOREAN = ["서울", "부산", "대구", "인천", "광주", "대전"]
JAPANESE = ["東京都", "大阪府", "京都", "北海道の町", "神奈川", "ナゴヤ", "さくら"]
CHINESE = ["北京市", "上海市", "广州", "深圳大学", "杭州", "成都的人"]
FRENCH = ["Évry", "Besançon", "Nîmes", "Orléans", "Béziers"]


def rows(words: list[str], n: int = 120) -> list[list[str]]:
    return [["id", words[0], "y"], *([str(i), words[i % len(words)], f"{i * 7 % 50}.25"] for i in range(n))]


def text(words: list[str], separator: str = ",", end: str = "\n") -> str:
    return "".join(separator.join(row) + end for row in rows(words))


def zipped(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, content)
    return out.getvalue()


FILES: dict[str, tuple[str, bytes, list[str]]] = {
    "cp949": ("a.csv", text(KOREAN).encode("cp949"), KOREAN),
    "Shift-JIS": ("a.csv", text(JAPANESE).encode("cp932"), JAPANESE),
    "GB18030": ("a.csv", text(CHINESE).encode("gb18030"), CHINESE),
    "cp1252": ("a.csv", text(FRENCH).encode("cp1252"), FRENCH),
    "UTF-8 with a mark": ("a.csv", text(KOREAN).encode("utf-8-sig"), KOREAN),
    "UTF-16": ("a.csv", text(KOREAN).encode("utf-16"), KOREAN),
    "UTF-16 LE without a mark": ("a.csv", text(KOREAN).encode("utf-16-le"), KOREAN),
    "UTF-16 BE without a mark": ("a.csv", text(FRENCH).encode("utf-16-be"), FRENCH),
    "UTF-32": ("a.csv", text(KOREAN).encode("utf-32"), KOREAN),
    "semicolons": ("a.csv", text(FRENCH, ";").encode("cp1252"), FRENCH),
    "tabs in .txt": ("a.txt", text(KOREAN, "\t").encode("cp949"), KOREAN),
    "lines that end in CR": ("a.csv", text(KOREAN, end="\r").encode("cp949"), KOREAN),
    "lines that end in CRLF": ("a.csv", text(KOREAN, end="\r\n").encode("cp949"), KOREAN),
    "gz": ("a.csv.gz", gzip.compress(text(KOREAN).encode("cp949")), KOREAN),
    "bz2": ("a.csv.bz2", bz2.compress(text(KOREAN).encode()), KOREAN),
    "xz": ("a.tsv.xz", lzma.compress(text(KOREAN, "\t").encode("euc_kr")), KOREAN),
    "zip": ("a.csv.zip", zipped("b.csv", text(JAPANESE).encode("cp932")), JAPANESE),
}


@pytest.fixture
def rehearse(tmp_path: Path) -> Callable[..., tuple[Path, list[str]]]:
    def host(name: str, content: bytes, **options: Any) -> tuple[Path, list[str]]:
        path, said = tmp_path / name, []
        path.write_bytes(content)
        spec: dict[str, Any] = {"targets": ("y",), "metric": "rmse", "after": ("id", "90")}
        return create(
            tmp_path,
            "c",
            RehearsalSpec(path, **(spec | options)),
            force=True,
            context=RunContext((text_listener(said.append),)),
        ), said

    return host


@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_served_in_utf_8_with_its_values(kind: str, rehearse: Callable[..., Any]) -> None:
    name, content, words = FILES[kind]
    folder, said = rehearse(name, content)
    served = pl.concat(
        [pl.read_csv(folder / "files" / f"{n}.csv", infer_schema=False) for n in ("train", "test")], how="diagonal"
    )
    assert served.columns == ["id", words[0], "y"]
    assert served.select("id", words[0]).rows() == [tuple(row[:2]) for row in rows(words)[1:]]
    solution = pl.read_parquet(folder / "solution.parquet")
    assert solution["y"].to_list() == [row[2] for row in rows(words)[91:]]
    is_utf8 = kind in ("UTF-8 with a mark", "bz2")
    assert any("not written in UTF-8" in line for line in said) != is_utf8


def test_an_encoding_that_shows_only_further_down_is_seen(rehearse: Callable[..., Any]) -> None:
    plain = [f"{i},ascii,{i}\n" for i in range(HEAD_BYTES // 14)]
    content = "id,city,y\n" + "".join(plain) + "".join(f"{len(plain) + i},서울특별시,1\n" for i in range(50))
    folder, said = rehearse("a.csv", content.encode("cp949"), after=("id", str(len(plain))))
    assert set(pl.read_csv(folder / "files" / "test.csv")["city"]) == {"서울특별시"}
    assert said == ["a.csv: not written in UTF-8, read as cp949"]


def test_the_encoding_may_be_named(rehearse: Callable[..., Any]) -> None:
    content = "id,city,y\n" + "".join(f"{i},{'šž'[i % 2]},{i}\n" for i in range(100))
    folder, _ = rehearse("a.csv", content.encode("cp1250"), encoding="cp1250")
    assert set(pl.read_csv(folder / "files" / "train.csv")["city"]) == {"\u0161", "\u017e"}
    with pytest.raises(DataError, match=r"(?s)not all of it is written in ascii.*--encoding"):
        rehearse("b.csv", content.encode("cp1250"), encoding="ascii")


def test_numbers_with_a_decimal_comma_are_scored(rehearse: Callable[..., Any]) -> None:
    lines = ["id;x;y", *(f"{i};{i},5;{i * 7 % 50},25" for i in range(120))]
    folder, _ = rehearse("a.csv", "\n".join(lines).encode())
    assert pl.read_parquet(folder / "solution.parquet")["y"].to_list() == [f"{i * 7 % 50}.25" for i in range(90, 120)]
    assert pl.read_csv(folder / "files" / "train.csv", infer_schema=False)["y"][0] == "0,25"


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_json_is_served_as_parquet(name: str, rehearse: Callable[..., Any], tmp_path: Path) -> None:
    records = [{"id": i, "city": w, "y": float(y)} for i, w, y in ((int(a), b, c) for a, b, c in rows(KOREAN)[1:])]
    content = "\n".join(map(json.dumps, records)) if name == "a.jsonl" else json.dumps(records)
    folder, _ = rehearse(name, content.encode())
    train = pl.read_parquet(folder / "files" / "train.parquet")
    assert train["city"].to_list() == [r["city"] for r in records[:90]]
    assert [p.name for p in (tmp_path / "competitions").iterdir()] == ["c"]  # nothing is left of the conversion


def test_a_fault_names_the_line(rehearse: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=r"a\.csv can't be read: line 4 has 4 fields, the header has 3"):
        rehearse("a.csv", "id,도시,y\n1,a,2\n2,b,3\n3,서울,4,5\n".encode("cp949"))
    with pytest.raises(DataError, match=r"2 files that are tables, expected one: b\.csv, c\.csv"):
        both = io.BytesIO()
        with zipfile.ZipFile(both, "w") as archive:
            archive.writestr("b.csv", "a,b\n1,2\n")
            archive.writestr("c.csv", "a,b\n1,2\n")
        rehearse("a.zip", both.getvalue())


def test_a_log_is_read_so_too(tmp_path: Path) -> None:
    lines = ["사용자,item,ts"]
    lines += [f"{KOREAN[n % 6]},{n % 9},{1_700_000_000 + 3600 * n}" for n in range(400)]
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode("cp949")))
    log = InteractionsSpec(user="사용자", item="item", time="ts", horizon_s=86400, unit="s")
    folder = create(tmp_path, "shop", LogSpec(path, log, "recall@5"))
    train = pl.read_csv(folder / "files" / "train.csv")
    assert set(train["사용자"]) == set(KOREAN)
    assert set(pl.read_parquet(folder / "solution.parquet")["사용자"]) == set(KOREAN)
