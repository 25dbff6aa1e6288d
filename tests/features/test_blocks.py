"""How blocks are built: in row order, in parts, within the memory limit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from workbench.cli.app import wb
from workbench.core import memory
from workbench.core.context import RunContext, text_listener
from workbench.core.errors import ConfigError, FeatureError, MemoryLimitError, NotFoundError
from workbench.features import ROW, Blocks, build_matrix, load_features, ordering, partition
from workbench.features.ordering import Buckets, RowOrderError, in_row_order, row_problem

HEAD = "import polars as pl\nfrom workbench.features import ROW, feature\n\n"


@pytest.fixture
def small_buckets(monkeypatch):
    monkeypatch.setattr(ordering, "ROWS_PER_BUCKET", 7)
    monkeypatch.setattr(partition, "ROWS_PER_BUCKET", 7)


@st.composite
def pieces(draw: Any) -> tuple[list[np.ndarray], int]:
    n = draw(st.integers(1, 60))
    kind = draw(st.sampled_from(["sorted", "shuffled", "nearly"]))
    keys = np.arange(n)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    if kind == "shuffled":
        keys = rng.permutation(n)
    if kind == "nearly":
        keys = np.argsort(keys + rng.uniform(0, 5, n))
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=8)))
    return np.split(keys, cuts), n


class TestRowOrder:
    @given(case=pieces(), budget=st.sampled_from([1, 200, 10**9]), chunked=st.booleans(), text=st.booleans())
    @settings(max_examples=120)
    def test_every_order_comes_out_in_row_order(
        self, tmp_path_factory, case, budget: int, chunked: bool, text: bool
    ) -> None:
        """Numbers without gaps go another way than text and nulls."""
        folder = tmp_path_factory.mktemp("runs")
        frames = [
            pl.DataFrame({ROW: p.astype(np.uint32), "x": p * 3, "h": (p / 2).astype(np.float32)}).with_columns(
                pl.Series("s", [f"v{i}" if i % 3 else None for i in p], dtype=pl.String)
                if text
                else pl.lit(7).alias("s")
            )
            for p in case[0]
        ]
        if chunked:
            frames = [pl.concat(frames[i : i + 3], rechunk=False) for i in range(0, len(frames), 3)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ordering, "ROWS_PER_BUCKET", 7)
            buckets = Buckets(folder, budget)
            out = pl.concat(list(in_row_order(frames, case[1], buckets)))
            buckets.close()
        assert out[ROW].to_list() == list(range(case[1]))
        assert out["x"].to_list() == [3 * i for i in range(case[1])]
        assert out["h"].to_list() == [i / 2 for i in range(case[1])]
        assert out["s"].to_list() == [(f"v{i}" if i % 3 else None) if text else 7 for i in range(case[1])]
        assert out.schema == frames[0].schema
        assert list(folder.iterdir()) == []

    @given(case=pieces(), at=st.integers(0, 59), how=st.sampled_from(["drop", "repeat", "beyond", "null", "float"]))
    @settings(max_examples=80)
    def test_no_wrong_line_gets_through(self, tmp_path_factory, case, at: int, how: str) -> None:
        keys = np.concatenate(case[0])
        n, at = case[1], at % case[1]
        wrong = {
            "drop": np.delete(keys, at),
            "repeat": np.insert(keys, at, keys[n // 2]),
            "beyond": np.append(keys, n),
            "null": keys,
            "float": keys,
        }[how]
        series = pl.Series(ROW, wrong.astype(np.float64 if how == "float" else np.uint32))
        if how == "null":
            series = series.scatter(at, None)
        frames = list(series.to_frame().with_columns(x=1).iter_slices(5))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ordering, "ROWS_PER_BUCKET", 7)
            with pytest.raises(RowOrderError):
                list(in_row_order(frames, n, Buckets(tmp_path_factory.mktemp("runs"), 100)))
        said = row_problem([f[ROW] for f in frames], n, n_train=n // 2)
        words = {
            "drop": "1 row is missing",
            "repeat": "1 line repeats",
            "beyond": "out of range",
            "null": "no row key",
            "float": "a row key that is a Float64",
        }
        assert words[how] in said
        if how == "drop":
            row = int(keys[at])
            assert (f"train {row}" if row < n // 2 else f"test {row - n // 2}") in said

    @pytest.mark.parametrize("keys", [[2, 3, 4], [0, 5]])
    def test_lines_without_end_are_refused_as_soon_as_they_exceed_the_rows(
        self, tmp_path, monkeypatch, keys: list[int]
    ) -> None:
        """Whether they wait for an earlier bucket or arrive in one that is complete."""
        monkeypatch.setattr(ordering, "ROWS_PER_BUCKET", 2)
        frame, taken = pl.DataFrame({ROW: keys}, schema={ROW: pl.UInt32}), []

        def frames() -> Iterator[pl.DataFrame]:
            while len(taken) < 100:
                taken.append(1)
                yield frame

        buckets = Buckets(tmp_path, 1)
        with pytest.raises(RowOrderError):
            list(in_row_order(frames(), 9, buckets))
        buckets.close()
        assert len(taken) <= 9 // len(keys) + 1

    def test_lines_without_end_are_not_counted_to_the_end(self) -> None:
        taken = []

        def keys() -> Iterator[pl.Series]:
            while len(taken) < 100:
                taken.append(1)
                yield pl.Series(ROW, [1, 1, 1, 1], dtype=pl.UInt32)

        said = row_problem(keys(), 4, n_train=3)
        assert said == "gives more than 68 lines for 4 rows: many lines repeat a row (train 1)"
        assert len(taken) == 17


CODE = """
@feature(partition_by=KEY)
def per_key(rows, towns, ratio):
    joined = rows.join(towns, on="town", how="left").join(ratio, on=ROW, how="left")
    return joined.select(
        ROW,
        total=pl.col("x").sum().over(KEY),
        number=pl.len().over(KEY),
        rank=pl.col("x").rank("ordinal").over(KEY),
        size=pl.col("size").max().over(KEY),
        mean_ratio=pl.col("ratio").mean().over(KEY),
    )


@feature
def ratio(rows):
    return rows.select(ROW, ratio=pl.col("x") / (pl.col("z").abs() + 1))
"""


def opened(made: Any, code: str, limit: int | None = None, report: Callable[[str], None] = lambda _: None) -> Blocks:
    (made.folder / "features.py").write_text(HEAD + code)
    competition = made.open.access.competition
    limits = {} if limit is None else {"memory_limit": limit}
    context = RunContext((text_listener(report),))
    return Blocks(competition, load_features(competition), context, **limits)


class TestParts:
    @pytest.mark.parametrize("key", ["household", "town", "day", "x"])
    @pytest.mark.parametrize("limit", [400_000, 100_000, 5_000])
    def test_parts_give_what_the_whole_gives(self, small, small_buckets, key: str, limit: int) -> None:
        made, code = small(), CODE.replace("KEY", repr(key))
        whole = pl.read_parquet(opened(made, code).block("per_key").path)
        cut = opened(made, code, limit)
        cut.store.clear()
        block = cut.block("per_key")
        assert block.note["parts"] > 1
        assert_frame_equal(pl.read_parquet(block.path), whole, rel_tol=1e-12)
        assert not list(made.folder.rglob("*.tmp"))

    def test_rows_that_lie_by_key_are_read_by_ranges_and_others_from_a_copy(self, small, small_buckets) -> None:
        made = small()
        rows = made.open.rows
        by_day = partition.plan_parts(rows, "day", 500, 200_000)
        assert isinstance(by_day, partition.RangeParts)
        assert len(list(by_day)) > 3
        assert isinstance(partition.plan_parts(rows, "household", 500, 200_000), partition.HashParts)
        assert isinstance(partition.plan_parts(rows, "town", 500, 200_000), partition.HashParts)
        assert partition.plan_parts(rows, "town", 500, 10**9) is None

    def test_many_rows_that_lie_by_key_are_taken_in_parts_whatever_the_memory(self, small, monkeypatch) -> None:
        rows = small().open.rows
        monkeypatch.setattr(partition, "PART_ROWS", 100)
        monkeypatch.setattr(partition, "ROWS_PER_BUCKET", 7)
        assert len(list(partition.plan_parts(rows, "day", 500, 10**9) or ())) == 5
        assert partition.plan_parts(rows, "household", 500, 10**9) is None

    @given(
        keys=st.lists(st.one_of(st.none(), st.integers(-3, 40)), min_size=1, max_size=80),
        ordered=st.booleans(),
        limit=st.integers(100, 20_000),
    )
    @settings(max_examples=60)
    def test_each_line_is_in_one_part_with_all_of_its_key(self, keys: list, ordered: bool, limit: int) -> None:
        keys = sorted(keys, key=lambda k: (k is None, k or 0)) if ordered else keys
        frame = pl.DataFrame({"k": keys}, schema={"k": pl.Int32}).with_row_index(ROW)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(partition, "ROWS_PER_BUCKET", 7)
            parts = partition.plan_parts(frame.lazy(), "k", len(keys), limit)
        if parts is None:
            return
        if isinstance(parts, partition.HashParts):
            frame = frame.with_columns(parts.line_part.alias(partition.PART))
        found = [frame.filter(part.lines) for part in parts]
        assert sorted(pl.concat(found)[ROW]) == list(range(len(keys)))
        groups = [set(f["k"]) for f in found]
        assert sum(map(len, groups)) == len(set(keys))
        for part, lines in zip(parts, found, strict=True):
            if part.last_row is not None and lines.height:
                assert lines[ROW].min() >= part.first_row
                assert lines[ROW].max() <= part.last_row

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            (
                "@feature(partition_by='househould')\ndef f(rows):\n    return [pl.col('x')]\n",
                "is not a column of rows",
            ),
            (
                "@feature(partition_by='household')\ndef f(rows):\n    return rows.select(ROW, a='x').head(3)\n",
                r"rows are missing \(train",
            ),
            (
                "@feature(partition_by='household')\ndef f(rows, g):\n    return g.select(ROW, b='a')\n\n"
                "@feature\ndef g(rows):\n    return rows.select(ROW, a='x')\n",
                None,
            ),
            (
                "@feature(partition_by='day')\ndef f(rows):\n"
                "    seen = rows.select('day').unique().sort('day').collect()['day']\n"
                "    return rows.select(ROW, *[(pl.col('day') == t).alias(f'on {t}') for t in seen])\n",
                "other columns in part",
            ),
            (
                "CALLS = []\n@feature(partition_by='day')\ndef f(rows):\n    CALLS.append(1)\n"
                "    return rows.select(ROW, a=pl.lit(1).cast(pl.Int8 if len(CALLS) > 1 else pl.Int64))\n",
                "'a' is Int64 in the first part of the rows and Int8 in part 2",
            ),
        ],
        ids=["no_such_column", "loses_rows", "reads_a_feature", "pivot", "type"],
    )
    def test_what_goes_wrong_in_a_part_is_explained(self, small, small_buckets, code: str, message: str | None) -> None:
        made = small()
        blocks = opened(made, code, 100_000)
        if message is None:
            assert blocks.block("f").note["parts"] > 1
            return
        with pytest.raises(FeatureError, match=message):
            blocks.block("f")
        notes = [json.loads(p.read_text()) for p in (made.folder / "cache").glob("*.json")]
        assert not any(n.get("feature") == "f" for n in notes)
        assert not list(made.folder.rglob("*.tmp"))

    def test_feature_without_a_function_is_explained(self, small) -> None:
        with pytest.raises(ConfigError, match="expected a function"):
            opened(small(), "@feature('town')\ndef f(rows):\n    return [pl.col('x')]\n")


TOGETHER = """
@feature(partition_by=KEY)
def size(rows):
    return [pl.len().over(KEY).alias("size")]


@feature(partition_by=KEY)
def total(rows):
    return [pl.col("x").sum().over(KEY).alias("total"), pl.col("z").max().over(KEY).alias("most")]


@feature(partition_by=KEY)
def framed(rows):
    return rows.select(ROW, framed=pl.col("x").min().over(KEY))


@feature(partition_by=KEY)
def of_ratio(rows, ratio):
    return rows.join(ratio, on=ROW, how="left").select(ROW, mean_ratio=pl.col("ratio").mean().over(KEY))


@feature
def ratio(rows):
    return [(pl.col("x") / (pl.col("z").abs() + 1)).alias("ratio")]
"""
NAMES = ["size", "total", "framed", "of_ratio", "ratio"]


class TestKeyTypes:
    """The table's key is of another type than the rows': the values depend neither on that nor on the limit."""

    @pytest.mark.parametrize(
        ("key", "dtype", "limit"),
        [
            ("town", pl.Categorical(), 40_000),
            ("town", pl.Enum([f"town {t}" for t in range(12)]), 40_000),
            ("household", pl.Float64(), 40_000),
            ("household", pl.UInt8(), 40_000),
            ("x", pl.Float32(), 40_000),
        ],
    )
    @pytest.mark.parametrize("ordered", [True, False])
    def test_a_part_has_the_lines_of_its_rows(self, small, monkeypatch, key: str, dtype, limit: int, ordered) -> None:
        made = small()
        keys = made.open.access.competition.rows.scan().select(key).unique().collect()[key].cast(dtype)
        table = pl.DataFrame({key: keys}).with_columns(pl.int_range(pl.len()).cast(pl.Float64).alias("size"))
        monkeypatch.setattr(type(made.open.access.competition.rows), "feature_table", lambda _self, _name: table.lazy())
        if not ordered:
            monkeypatch.setattr(partition, "range_parts", lambda *_: None)
        code = (
            f"@feature(partition_by='{key}')\ndef f(rows, towns):\n    to = rows.collect_schema()['{key}']\n"
            f"    sizes = towns.with_columns(pl.col('{key}').cast(to))\n"
            f"    return rows.select(ROW, '{key}').join(sizes, on='{key}', how='left').drop('{key}')\n"
        )
        whole = pl.read_parquet(opened(made, code).block("f").path)
        parted = opened(made, code, limit)
        parted.store.clear()
        assert len(list(parted.inputs.evaluation(parted.get("f"))[0].parts)) > 1
        assert_frame_equal(pl.read_parquet(parted.block("f").path), whole)
        if dtype != pl.Float32():
            assert whole["size"].null_count() == 0

    def test_a_key_of_another_kind_is_refused(self, small, monkeypatch) -> None:
        made = small()
        table = pl.LazyFrame({"household": ["1", "2"], "size": [1, 2]})
        monkeypatch.setattr(type(made.open.access.competition.rows), "feature_table", lambda _self, _name: table)
        code = "@feature(partition_by='household')\ndef f(rows, towns):\n    return rows.select(ROW, a='x')\n"
        with pytest.raises(FeatureError, match="is a Int64 in rows and a String in table 'towns'") as caught:
            opened(made, code).block("f")
        assert "[types]" in str(caught.value.hint)


class TestTogether:
    """Features of one partition column that are lists of expressions are computed in one pass."""

    @pytest.mark.parametrize("key", ["household", "day"])
    @pytest.mark.parametrize("limit", [None, 50_000])
    def test_it_gives_what_each_gives_alone(self, small, small_buckets, key: str, limit: int | None) -> None:
        made, code = small(), TOGETHER.replace("KEY", repr(key))
        alone = opened(made, code)
        frames = {n: alone.lines(n).collect() for n in NAMES}
        alone.store.clear()
        said: list[str] = []
        at_once = opened(made, code, limit, said.append)
        at_once.build(NAMES)
        assert "features size, total" in said
        for name in NAMES:
            assert_frame_equal(at_once.lines(name).collect(), frames[name], rel_tol=1e-12)
        notes = {name: at_once.block(name).note for name in NAMES}
        assert [n for n in NAMES if "together" in notes[n]] == ["size", "total"]
        assert list(notes["total"]["columns"]) == ["total", "most"]
        assert (notes["size"]["parts"] > 1) == (limit is not None)
        assert not list(made.folder.rglob("*.tmp"))

    def test_what_is_there_is_not_built_again(self, small) -> None:
        made, code = small(), TOGETHER.replace("KEY", "'town'")
        opened(made, code).block("size")
        said: list[str] = []
        blocks = opened(made, code, report=said.append)
        blocks.build(NAMES)
        assert not any("size" in line for line in said)
        said.clear()
        blocks.build(NAMES)
        assert said == []

    def test_one_that_fails_is_named_and_keeps_none_from_being_built(self, small) -> None:
        code = TOGETHER + (
            "\n\n@feature(partition_by=KEY)\ndef wrong(rows):\n"
            "    return [pl.col('town').str.to_integer().over(KEY).alias('wrong')]\n"
        )
        blocks = opened(small(), code.replace("KEY", "'town'"))
        with pytest.raises(FeatureError, match="feature 'wrong' .* failed"):
            blocks.build(["size", "wrong", "total"])
        assert blocks.store.peek(blocks.key("size")) is not None
        blocks.build(["size", "total"])

    def test_one_that_returns_the_target_is_refused(self, small) -> None:
        code = TOGETHER + "\n\n@feature(partition_by=KEY)\ndef leak(rows):\n    return [pl.lit(1).alias('y')]\n"
        blocks = opened(small(), code.replace("KEY", "'town'"))
        with pytest.raises(FeatureError, match="feature 'leak' .* returns the target 'y'"):
            blocks.build(["size", "leak"])

    def test_columns_of_one_name_stay_apart(self, small) -> None:
        code = (
            "@feature(partition_by='town')\ndef f(rows):\n    return [pl.len().over('town').alias('n')]\n\n"
            "@feature(partition_by='town')\ndef g(rows):\n    return [pl.col('x').sum().over('town').alias('n')]\n"
        )
        made = small()
        blocks = opened(made, code)
        blocks.build(["f", "g"])
        rows = made.open.rows.sort(ROW)
        expected = rows.select(f=pl.len().over("town"), g=pl.col("x").sum().over("town")).collect()
        for name in "fg":
            found = blocks.lines(name).collect()["n"]
            assert found.to_list() == pytest.approx(expected[name].to_list())

    def test_a_cache_that_can_not_hold_the_blocks_of_an_experiment_is_explained(self, small) -> None:
        blocks = opened(small(), TOGETHER.replace("KEY", "'town'"))
        blocks.store.max_bytes = 1
        with pytest.raises(
            FeatureError, match="may hold 1 B, less than the 5 blocks that are read together take: .* made room"
        ) as caught:
            build_matrix(blocks, NAMES)
        assert "WB_CACHE_LIMIT" in str(caught.value.hint)

    def test_what_a_matrix_reads_makes_room_for_nobody(self, small) -> None:
        made, code = small(), TOGETHER.replace("KEY", "'town'")
        blocks = opened(made, code, 1_000)
        matrix = build_matrix(blocks, ["size"])
        assert matrix.loaded_frame is None
        other = opened(made, code)
        other.store.max_bytes = 1
        other.block("total")
        assert [f.height for _, f in matrix.chunks(range(matrix.n_rows))] == [500]
        del matrix
        other.store.prune()
        assert other.store.stored() == []

    def test_a_column_that_rows_lack_is_said_before_anything_is_built(self, small) -> None:
        blocks = opened(small(), TOGETHER.replace("KEY", "'town'"))
        with pytest.raises(NotFoundError, match="rows have no column 'towm'"):
            build_matrix(blocks, ["size", "rows.towm"])
        assert blocks.store.stored() == []


class TestMixedTypes:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (
                "pl.Object",
                r"column 'a' is a Object: values of mixed types \((int|str) .* in train 0, (int|str) .* in train",
            ),
            ("pl.Int64", r"column 'a' has values of mixed types: .* found value of type String: \"big\""),
        ],
    )
    def test_the_column_and_values_are_shown(self, small, given: str, said: str) -> None:
        code = (
            "@feature\ndef f(rows):\n    mixed = pl.col('x').map_elements(lambda v: 'big' if v > 0.5 else 1, "
            f"return_dtype={given})\n    return [pl.col('x').alias('fine'), mixed.alias('a')]\n"
        )
        with pytest.raises(FeatureError, match=f"feature 'f' .*{said}") as caught:
            opened(small(), code).block("f")
        assert "one type" in str(caught.value.hint)


class TestMemory:
    def test_sizes_are_read_in_every_spelling(self) -> None:
        assert memory.parse_bytes("8 GB", where="x") == 8 * 2**30
        assert memory.parse_bytes("500m", where="x") == 500 * 2**20
        assert memory.parse_bytes("1.5GiB", where="x") == int(1.5 * 2**30)
        assert memory.parse_bytes("50%", where="x") == pytest.approx(memory.machine_bytes() / 2, rel=1e-6)
        for text in ("", "much", "-1GB", "0", "8 GHz"):
            with pytest.raises(ConfigError, match="not an amount of memory"):
                memory.parse_bytes(text, where="--memory-limit")

    def test_the_peak_of_a_block_within_a_block_counts_for_both(self) -> None:
        with memory.measured_peak() as outer:
            with memory.measured_peak() as inner:
                held = np.ones(30_000_000)
                del held
            with memory.measured_peak() as later:
                pass
        assert inner.mb > later.mb + 100
        assert outer.mb >= inner.mb

    def test_a_block_says_what_it_took(self, small) -> None:
        note = opened(small(), CODE.replace("KEY", "'town'")).block("per_key").note
        # Of the whole process, which has hardly grown since.
        assert memory.used_bytes() / 2**21 < note["peak_rss_mb"] < memory.used_bytes() / 2**20 + 1000
        assert note["reads"] == ["rows", "towns", "ratio"]

    def test_more_than_the_limit_is_said(self, small) -> None:
        said: list[str] = []
        code = "@feature\ndef f(rows):\n    return [pl.col('x').alias('a')]\n"
        blocks = opened(small(), code, 10 * 2**20, said.append)
        blocks.block("f")
        assert any("more than the memory limit of 10.0 MB, @feature(partition_by" in line for line in said)


class TestLimit:
    CODE = "@feature(partition_by='household')\ndef f(rows):\n    return [pl.len().over('household').alias('n')]\n"

    @pytest.mark.parametrize("how", ["option", "environment"])
    def test_wb_run_builds_features_within_the_limit(self, small, small_buckets, monkeypatch, how: str) -> None:
        """So little that rows of a few kilobytes are taken in parts; then there is none left to train."""
        made = small()
        (made.folder / "features.py").write_text(HEAD + self.CODE)
        (made.folder / "experiments" / "001.toml").write_text('features = ["f"]\n[model]\nnum_iterations = 3\n')
        monkeypatch.chdir(made.folder)
        monkeypatch.setenv(memory.POLARS_BUDGET, "1000")
        if how == "environment":
            monkeypatch.setenv("WB_MEMORY_LIMIT", "100KB")
        given = ["--memory-limit", "100KB"] if how == "option" else []
        with pytest.raises(MemoryLimitError, match=r"more than the memory limit of 100\.0 KB"):
            wb.main(["run", "--exp", "1", *given], standalone_mode=False)
        notes = [json.loads(p.read_text()) for p in made.open.access.competition.paths.cache.glob("*.json")]
        assert next(n["parts"] for n in notes if n.get("feature") == "f") > 1

    def test_polars_is_told_half_of_it_unless_it_was_told_before(self, monkeypatch) -> None:
        monkeypatch.setenv(memory.POLARS_BUDGET, "7")
        memory.limit_polars_memory(2**33)
        assert os.environ[memory.POLARS_BUDGET] == "7"
        monkeypatch.delenv(memory.POLARS_BUDGET)
        memory.limit_polars_memory(2**33)
        assert os.environ[memory.POLARS_BUDGET] == "4096"
        monkeypatch.delenv(memory.POLARS_BUDGET)

    @pytest.mark.parametrize("how", ["--memory-limit", "WB_MEMORY_LIMIT"])
    def test_no_amount_is_explained(self, small, monkeypatch, how: str) -> None:
        monkeypatch.chdir(small().folder)
        given = ["--memory-limit", "plenty"] if how == "--memory-limit" else []
        if not given:
            monkeypatch.setenv(how, "plenty")
        with pytest.raises(ConfigError, match=f"{how}: 'plenty' is not an amount of memory"):
            wb.main(["run", "--exp", "1", *given], standalone_mode=False)
