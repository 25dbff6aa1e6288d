"""Whole numbers beyond 64 bits: amounts are numbers in every format, keys keep their digits, targets are amounts."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.conversion import ConvertedFiles, convert_files, parquet_bytes, small_reads
from workbench.core.errors import DataError
from workbench.data.ingest.large import narrowed_types
from workbench.features.auto import auto_features
from workbench.features.unused_columns import excluded_column_lines, unused_by_auto
from workbench.models.target import target_column

LARGE = [10**21 + 7, -5, 3 * 10**24, None, 2**64]
SMALL = [1, None, -3, 4, 5]


def csv_of(name: str, values: list[int | None], **more: list[Any]) -> str:
    rows = zip(range(len(values)), values, *more.values(), strict=True)
    lines = [",".join("" if v is None else str(v) for v in row) for row in rows]
    return "\n".join([",".join(["k", name, *more]), *lines, ""])


def lines_of(name: str, values: list[int | None]) -> str:
    return "".join(json.dumps({"k": i, name: v}) + "\n" for i, v in enumerate(values))


def floats(values: list[int | None]) -> list[float | None]:
    return [None if v is None else float(v) for v in values]


def wide(values: list[int | None], dtype: pl.DataType) -> pl.Series:
    texts = pl.Series([None if v is None else str(v) for v in values], dtype=pl.String)
    return texts.cast(pl.Int128).cast(dtype)


def both(name: str, train: list[int | None], test: list[int | None], how: str) -> ConvertedFiles:
    if how == "csv":
        return convert_files({"train.csv": csv_of(name, train), "test.csv": csv_of(name, test)})
    if how == "lines":
        return convert_files({"train.jsonl": lines_of(name, train), "test.jsonl": lines_of(name, test)})
    dtype: pl.DataType = pl.Int128() if how == "int128" else pl.Decimal(38, 0)
    return convert_files(
        {f"{n}.parquet": parquet_bytes({name: wide(v, dtype)}) for n, v in (("train", train), ("test", test))}
    )


class TestAmounts:
    @pytest.mark.parametrize("how", ["csv", "lines", "int128", "decimal"])
    @pytest.mark.parametrize("only_in", ["train", "test", "both"])
    def test_they_are_numbers_and_it_is_said(self, how: str, only_in: str) -> None:
        train, test = LARGE if only_in != "test" else SMALL, LARGE if only_in != "train" else SMALL
        result = both("wei", train, test, how)
        assert result.train["wei"].cast(pl.Float64).to_list() == floats(train)
        assert result.frames["test"]["wei"].cast(pl.Float64).to_list() == floats(test)
        assert any("'wei' has whole numbers beyond 64 bits; taken as Float64" in said for said in result.said)
        large = result.infos["train" if only_in != "test" else "test"]
        assert large.beyond_64_bits == ["wei"]

    def test_far_down_and_beside_fractions(self) -> None:
        with small_reads(60):
            result = convert_files({"train.csv": csv_of("wei", [*range(50), 10**30])})
            assert result.train["wei"].to_list() == [*map(float, range(50)), 1e30]
            assert convert_files({"train.csv": csv_of("wei", [10**30, "1e25", "2.5"])}).train["wei"].to_list() == [
                1e30,
                1e25,
                2.5,
            ]  # type: ignore[list-item]

    def test_a_document(self) -> None:
        records = [{"k": i, "wei": v, "user_id": v} for i, v in enumerate(LARGE)]
        result = convert_files({"train.json": json.dumps(records)})
        assert result.train["wei"].to_list() == floats(LARGE)
        assert result.train["user_id"].to_list() == [None if v is None else str(v) for v in LARGE]

    @pytest.mark.parametrize("dtype", [pl.Int128(), pl.Decimal(38, 0)])
    def test_what_fits_64_bits_is_whole(self, dtype: pl.DataType) -> None:
        values = [2**63 - 1, -(2**63), None]
        result = convert_files({"train.parquet": parquet_bytes({"n": wide(values, dtype)})})
        assert result.train["n"].to_list() == values
        assert result.train.schema == {"n": pl.Int64}

    def test_a_text_among_them_makes_texts(self) -> None:
        result = convert_files({"train.csv": csv_of("v", [10**20, "x"])})  # type: ignore[list-item]
        assert result.train["v"].to_list() == [str(10**20), "x"]

    def test_a_type_that_is_named_goes_first(self) -> None:
        result = convert_files({"train.csv": csv_of("wei", LARGE)}, types={"wei": "String"})
        assert result.train["wei"].to_list() == [None if v is None else str(v) for v in LARGE]


class TestKeys:
    @pytest.mark.parametrize("how", ["csv", "lines", "int128", "decimal"])
    def test_they_keep_every_digit(self, how: str) -> None:
        ids = [10**21 + 7, 10**21 + 8, 12]
        result = both("user_id", ids, ids, how)
        for frame in result.frames.values():
            assert frame["user_id"].to_list() == list(map(str, ids))

    def test_the_ids_of_the_sample(self) -> None:
        ids = [10**21 + i for i in range(5)]
        files = {n: csv_of("tx", ids) for n in ("train.csv", "test.csv")}
        result = convert_files(files | {"sample_submission.csv": "tx,y\n" + "".join(f"{i},0\n" for i in ids)})
        for frame in result.frames.values():
            assert frame["tx"].to_list() == list(map(str, ids))

    def test_what_each_becomes(self) -> None:
        frame = pl.DataFrame({"a": wide([2**70], pl.Int128()), "b": wide([2**70], pl.Int128()), "c": [1]})
        types = narrowed_types([(frame.schema, frame.lazy())], lambda c: c == "b", ())
        assert {c: t.dtype for c, t in types.items()} == {"a": pl.Float64, "b": pl.String}


class TestTarget:
    def test_texts_of_numbers_are_numbers_where_amounts_are_scored(self) -> None:
        column = target_column(pl.Series("y", ["12345678901234567890123", " -5", "1e25"]), "regression", "train")
        assert column.values.tolist() == [12345678901234567890123.0, -5.0, 1e25]
        with pytest.raises(DataError, match=r"needs a number, and 'x' in row 1 is not one"):
            target_column(pl.Series("y", ["1", "x"]), "regression", "train")

    @pytest.mark.parametrize("as_text", [False, True])
    def test_few_large_values_are_no_classes(self, tmp_path: Path, as_text: bool) -> None:
        rng = random.Random(1)
        values = [rng.choice([10**20, 3 * 10**20, 7 * 10**21]) for _ in range(60)]
        train = pl.DataFrame({"id": range(60), "x": range(60), "wei": pl.Series(map(str, values))})
        typed = train if as_text else train.with_columns(pl.col("wei").cast(pl.Int128))
        definition = inferred(tmp_path, typed, metric="rmse")
        assert definition["task"] == "regression"
        assert definition["metric"] == "rmse"


def inferred(tmp_path: Path, train: pl.DataFrame, metric: str) -> dict[str, Any]:
    """Convert train and a test without the target, and return what the definition would be."""
    import tomllib

    from workbench.data.inference import definition_text, infer
    from workbench.data.ingest.convert import convert
    from workbench.platforms.protocol import CompetitionFacts

    raw = tmp_path / "raw"
    raw.mkdir()
    train.write_parquet(raw / "train.parquet")
    test = train.head(10).drop("wei").with_columns(id=pl.int_range(100, 110))
    test.write_parquet(raw / "test.parquet")
    test.select("id", wei=pl.lit(0)).write_parquet(raw / "sample_submission.parquet")
    manifest = convert(raw, tmp_path / "tables", "x")
    facts = CompetitionFacts(slug="x", title="x", kind="file", metric=metric)
    return tomllib.loads(definition_text(infer(manifest, tmp_path / "tables", facts, "rehearsal")))


class TestLeftOut:
    def rows(self) -> pl.LazyFrame:
        n = 40
        return pl.LazyFrame(
            {
                "__row__": pl.Series(range(n), dtype=pl.UInt32),
                "id": range(n),
                "x": [i % 7 for i in range(n)],
                "c": [1] * n,
                "e": [None] * 30 + [1] * 10,
                "name": [f"{chr(97 + i % 26)}{chr(97 + i // 26)}q" for i in range(n)],
                "blob": [b"a"] * n,
                "hash": [str(10**20 + 17 * i) for i in range(n)],
            }
        )

    def test_each_column_is_named_with_the_reason(self) -> None:
        rows = self.rows()
        columns = auto_features(rows, leave_out=("id",), n_train=30).collect_schema().names()
        reasons = unused_by_auto(rows, columns, ids=("id",), n_train=30)
        assert reasons == {
            "id": "the id, which only tells rows apart",
            "blob": "Binary, neither a number nor a text",
            "c": "one value throughout",
            "e": "empty in train",
            "name": "texts that hardly repeat and have no form in common",
        }
        assert excluded_column_lines(reasons)[2] == "left out: c (one value throughout)"

    def test_texts_of_long_digits_are_numbers(self) -> None:
        frame = auto_features(self.rows(), leave_out=("id",), n_train=30).collect()
        assert frame["hash_number"].to_list() == [float(10**20 + 17 * i) for i in range(40)]

    def test_a_run_says_it(self, small: Any) -> None:
        competition = small()
        competition.experiment(1, 'features = ["auto"]\n[model]\nnum_iterations = 5\nearly_stopping_round = 0\n')
        outcome = competition.open.run(1)
        details = json.loads((competition.workspace.root / outcome.folder / "run.json").read_text())
        assert details["left_out"]["id"] == "the id, which only tells rows apart"
        summary = next(f for f in competition.open.features.summaries() if f.name == "auto")
        assert summary.left_out == details["left_out"]
