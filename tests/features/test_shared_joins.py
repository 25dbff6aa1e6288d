"""Features that join statistics share their group-bys, joins and passes over the rows."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from workbench.core.context import RunContext, text_listener
from workbench.core.errors import FeatureError, StorageError
from workbench.features import ROW, Blocks, block_builder, load_features
from workbench.features.block_builder import BlockBuilder
from workbench.features.shared_joins import (
    AGGREGATE_BYTES,
    MAX_PLAN_BYTES,
    GroupBy,
    GroupBySize,
    RecordedFrame,
    RowColumns,
    SharedJoins,
)

CODE = """
import polars as pl
from workbench.features import ROW, feature

CALLS = []


def joined(rows, groups):
    return rows.select(ROW, "town").join(groups, on="town", how="left").drop("town")


@feature
def town_count(rows):
    CALLS.append("town_count")
    return joined(rows, rows.group_by("town").agg(town_count=pl.len()))


@feature
def town_x(rows):
    CALLS.append("town_x")
    return joined(rows, rows.group_by("town").agg(pl.col("x").max().alias("town_max"), town_min=pl.col("x").min()))


@feature
def town_share(rows):
    per_town = rows.group_by("town").agg(town_count=pl.len(), positive=(pl.col("x") > 0).sum())
    both = rows.join(per_town, on="town", how="left")
    return both.select(ROW, share=pl.col("positive") / pl.col("town_count"), above=pl.col("x") > pl.col("positive"))


@feature
def household_count(rows):
    groups = rows.group_by(pl.col("household")).agg(household_count=pl.len())
    return rows.join(groups, on="household", how="left").select(ROW, "household_count")


@feature
def ratio(rows):
    return [(pl.col("x") / (pl.col("z").abs() + 1)).alias("ratio")]


@feature
def rounded(rows):
    return rows.with_columns(rounded=pl.col("x").round(1)).select(ROW, "rounded")


@feature
def ranked(rows):
    return [pl.col("x").rank("ordinal").alias("ranked")]


@feature
def renamed(rows):
    groups = rows.group_by("town").agg(x=pl.col("x").max())
    return rows.join(groups, on="town", how="left").select(ROW, renamed="x_right")
"""
NAMES = ["town_count", "town_x", "town_share", "household_count", "ratio", "rounded", "ranked", "renamed"]
TOGETHER = {
    "town_count": ["town_count", "town_x", "town_share"],
    "town_x": ["town_count", "town_x", "town_share"],
    "town_share": ["town_count", "town_x", "town_share"],
    "ratio": ["ratio", "rounded"],
    "rounded": ["ratio", "rounded"],
}


def opened(made: Any, code: str = CODE, report: Callable[[str], None] = lambda _: None, **limits: int) -> Blocks:
    (made.folder / "features.py").write_text(code)
    competition = made.open.access.competition
    return Blocks(competition, load_features(competition), RunContext((text_listener(report),)), **limits)


def together(blocks: Blocks) -> dict[str, list[str]]:
    notes = {name: blocks.block(name).note for name in NAMES}
    return {name: note["together"] for name, note in notes.items() if "together" in note}


class TestSharing:
    def test_each_group_by_and_join_is_done_once_with_the_values_of_each_alone(self, small) -> None:
        made = small()
        alone = opened(made)
        frames = {name: alone.lines(name).collect() for name in NAMES}
        assert together(alone) == {}
        alone.store.clear()
        said: list[str] = []
        at_once = opened(made, report=said.append)
        at_once.build(NAMES)
        assert together(at_once) == TOGETHER
        assert "features town_count, town_x, town_share" in said
        for name in NAMES:
            assert_frame_equal(at_once.lines(name).collect(), frames[name], check_exact=True)

    def test_a_pass_has_one_group_by_and_one_join(self, small) -> None:
        blocks = opened(small())
        joins = SharedJoins(10**9)
        for name in TOGETHER["town_count"]:
            columns = blocks.inputs.evaluation(blocks.get(name))[0].call().row_columns  # type: ignore[arg-type]
            assert columns is not None
            assert joins.add(columns)
        plan = joins.frame(blocks.competition.rows.scan()).explain()
        assert plan.count("AGGREGATE") == 1
        assert plan.count("LEFT JOIN:") == 1
        assert joins.width == 5

    def test_a_function_is_called_once_for_each_block(self, small) -> None:
        blocks = opened(small())
        calls = blocks.get("town_count").function.__globals__["CALLS"]  # type: ignore[union-attr]
        blocks.build(NAMES)
        assert calls == ["town_count", "town_x"]

    @pytest.mark.parametrize(
        "result", ["doubled.collect()", "rows.join(doubled, on=ROW, how='left').select(ROW, 'd')", "doubled"]
    )
    def test_what_a_function_does_itself_counts_and_is_announced_before(self, small, result: str) -> None:
        code = (
            "import time\nimport numpy as np\nSAID = []\n"
            + CODE
            + (
                "\n\n@feature\ndef eager(rows):\n    SAID.append('called')\n    time.sleep(0.3)\n    np.ones(2**27)\n"
                f"    doubled = rows.select(ROW, d=pl.col('x') * 2)\n    return {result}\n"
            )
        )
        said: list[str] = []
        blocks = opened(small(), code, said.append, memory_limit=2**29)
        blocks.get("eager").function.__globals__["SAID"] = said  # type: ignore[union-attr]
        blocks.build(["town_count", "eager"])
        note = blocks.block("eager").note
        assert note["seconds"] > 0.3
        assert note["peak_rss_mb"] > 1024
        assert said[:3] == ["feature town_count", "feature eager", "called"]
        assert any(line.startswith("feature eager took ") for line in said)

    def test_groups_that_may_exceed_the_limit_are_not_gathered(self, small) -> None:
        blocks = opened(small(), memory_limit=10_000)
        blocks.build(NAMES)
        assert set(together(blocks)) == {"ratio", "rounded"}

    def test_a_pass_has_a_bounded_number_of_columns(self, small, monkeypatch) -> None:
        monkeypatch.setattr(block_builder, "MAX_JOINT_COLUMNS", 4)
        blocks = opened(small())
        blocks.build(NAMES)
        assert together(blocks)["town_count"] == ["town_count", "town_x"]

    @pytest.mark.parametrize(
        "other",
        [
            "rows.group_by('town').agg(town_count=pl.col('x').count())",
            "rows.filter(pl.col('x') > 0).group_by('town').agg(n=pl.len())",
            "rows.group_by('town', maintain_order=True).agg(n=pl.len())",
            "rows.group_by('town').agg(pl.len(), pl.col('x', 'z').max()).select('town', n='x')",
            "rows.group_by('town').agg(n=pl.len()).with_columns(pl.col('n') + 1)",
            "rows.group_by('town').len().rename({'len': 'n'})",
            "rows.group_by('town').having(pl.col('x').max() > 2.5).agg(n=pl.len())",
        ],
    )
    def test_other_groups_are_kept_apart(self, small, other: str) -> None:
        column = "town_count" if "town_count" in other else "n"
        code = CODE + f"\n\n@feature\ndef other(rows):\n    return joined(rows, {other}).select(ROW, o='{column}')\n"
        made = small()
        alone = opened(made, code)
        expected = alone.lines("other").collect()
        alone.store.clear()
        blocks = opened(made, code)
        blocks.build(["town_count", "other", "town_x"])
        assert "together" not in blocks.block("other").note
        assert_frame_equal(blocks.lines("other").collect(), expected, check_exact=True)

    @pytest.mark.parametrize(
        "join",
        [
            "rows.join(g, on='town', how='inner')",
            "rows.join(g, left_on='town', right_on='town', how='left')",
            "rows.join(g, on='town', how='left', nulls_equal=True)",
            "rows.filter(pl.col('x') > 0).join(g, on='town', how='left')",
            "rows.head(3).join(g, on='town', how='left')",
            "rows.join(g, on=pl.col('town').str.slice(0), how='left')",
            "rows.join(g, on=pl.col('other').alias('town'), how='left')",
            "rows.with_columns(town=pl.col('town') + '!').join(g, on='town', how='left')",
        ],
    )
    def test_other_joins_are_not_recorded(self, join: str) -> None:
        rows = RecordedFrame.of_rows(pl.LazyFrame({ROW: [0, 1], "town": ["a", None], "other": ["a", "b"], "x": [1, 2]}))
        g = rows.group_by("town").agg(n=pl.len())
        frame = eval(join, {"rows": rows, "g": g, "pl": pl}).select(ROW, "n")
        assert not frame.columns_of_rows or not frame.columns_of_rows.group_bys

    def test_null_keys_match_nothing(self) -> None:
        rows = RecordedFrame.of_rows(pl.LazyFrame({ROW: [0, 1, 2], "town": ["a", None, "a"]}))
        result = rows.join(rows.group_by("town").agg(n=pl.len()), on="town", how="left").select(ROW, "n")
        joins = SharedJoins(10**6)
        assert isinstance(result, RecordedFrame)
        assert isinstance(result.columns_of_rows, RowColumns)
        assert joins.add(result.columns_of_rows)
        shared = joins.frame(rows).sort(ROW).collect()
        assert_frame_equal(shared, result.sort(ROW).collect())
        assert shared["n"].to_list() == [2, None, 2]

    def test_expressions_that_need_other_rows_are_not_recorded(self) -> None:
        rows = RecordedFrame.of_rows(pl.LazyFrame({ROW: [0, 1], "x": [1, 2]}))
        x = pl.col("x")
        for expression in (
            x.shift(1),
            x.sum(),
            x.cum_sum(),
            x.sum().over("x"),
            x - x.shift(1),
            x / pl.len(),
            x.fill_null(x.mean()),
            pl.when(x > 1).then(x.rank()),
            x + pl.lit(pl.Series([1, 2])),
            x.drop_nulls(),
            x.is_in(x.filter(x > 1).implode()),
            pl.struct("x").struct.field("x", "y"),
            pl.struct("x").struct.unnest(),
        ):
            assert not rows.select(ROW, expression.alias("y")).columns_of_rows  # type: ignore[attr-defined]

    def test_expressions_of_single_rows_are_recorded(self) -> None:
        rows = RecordedFrame.of_rows(pl.LazyFrame({ROW: [0, 1], "x": [1, 2], "t": ["a", "b"]}))
        x = pl.col("x")
        for expression in (
            x.is_in([1, 2]),
            x.replace({1: 2}),
            pl.when(x > 1).then(1).otherwise(x),
            x.clip(0, 1).cast(pl.Int8),
            pl.format("{} {}", "x", "t"),
            pl.struct("x", "t"),
            pl.lit(1),
        ):
            assert rows.select(ROW, expression.alias("y")).columns_of_rows  # type: ignore[attr-defined]

    @pytest.mark.parametrize("key", ["pl.lit(499, pl.UInt32) - pl.col(ROW)", "pl.lit(3, pl.UInt32)"])
    def test_rows_with_another_key_are_kept_apart(self, small, key: str) -> None:
        code = CODE + f"\n\n@feature\ndef other(rows):\n    return rows.select(({key}).alias(ROW), o='x')\n"
        made = small()
        blocks = opened(made, code)
        if "499" not in key:
            with pytest.raises(FeatureError, match="feature 'other' .* repeat a row"):
                blocks.build(["ratio", "other"])
            return
        blocks.build(["ratio", "other"])
        values = blocks.competition.rows.scan().sort(ROW).select(o="x").collect()
        assert_frame_equal(blocks.lines("other").select("o").collect(), values.reverse())

    def test_groups_are_counted_once_and_only_to_be_shared(self, small, monkeypatch) -> None:
        counted: list[str] = []
        size = GroupBy.size

        def count(group_by: GroupBy) -> GroupBySize:
            counted.append(group_by.key)
            return size(group_by)

        monkeypatch.setattr(GroupBy, "size", count)
        opened(small(), memory_limit=10_000).build(NAMES)
        assert counted == ["town"]

    @pytest.mark.parametrize(
        ("aggregate", "n_values"),
        [
            (pl.len(), 1),
            (pl.col("x").sum(), 1),
            ((pl.col("x") + pl.col("y")).mean().alias("m"), 1),
            (pl.col("x").sum() / pl.len(), 1),
            (pl.col("x").max() - pl.col("x").min(), 1),
            (pl.col("x").median(), 500),
            (pl.col("x").n_unique(), 500),
            (pl.col("x"), 500),
            (pl.col("x").n_unique() / pl.len(), 500),
            (pl.col("x").sort().first(), 500),
            (pl.col("x").quantile(0.9), 500),
        ],
        ids=str,
    )
    def test_an_aggregate_that_keeps_all_values_counts_for_each_line(self, aggregate: pl.Expr, n_values: int) -> None:
        frame = pl.LazyFrame({"town": [1, 2] * 250, "x": [1.0] * 500, "y": [1.0] * 500})
        group_by = GroupBy(frame, b"", "town", {"a": aggregate})
        size = group_by.size()
        assert size == (500, 3)  # one group may be of nulls
        n_expected = 3 + (3 if n_values == 1 else n_values)
        assert group_by.memory_bytes(size) == n_expected * AGGREGATE_BYTES

    def test_a_query_that_contains_much_data_is_not_recorded(self) -> None:
        def recorded(n: int) -> bool:
            rows = RecordedFrame.of_rows(pl.LazyFrame({ROW: range(n), "x": [1] * n}))
            result = rows.join(rows.group_by("x").agg(n=pl.len()), on="x", how="left").select(ROW, "n")
            assert isinstance(result, RecordedFrame)
            return result.columns_of_rows is not None and bool(result.columns_of_rows.group_bys)

        assert recorded(10)
        assert not recorded(MAX_PLAN_BYTES // 8)

    def test_a_recorded_frame_is_a_lazy_frame_for_others(self) -> None:
        rows = RecordedFrame.of_rows(pl.LazyFrame({ROW: [0, 1], "x": [1, 2]}))
        assert isinstance(rows, pl.LazyFrame)
        assert type(rows).__name__ == "LazyFrame"
        loaded = pickle.loads(pickle.dumps(rows))
        assert type(loaded) is pl.LazyFrame
        assert_frame_equal(loaded.collect(), rows.collect())


class TestFailures:
    def test_one_that_fails_is_named_and_those_before_it_are_kept(self, small) -> None:
        code = CODE + "\n\n@feature\ndef wrong(rows):\n    raise KeyError('no')\n"
        blocks = opened(small(), code)
        with pytest.raises(FeatureError, match="feature 'wrong' .*KeyError"):
            blocks.build(["town_count", "town_x", "wrong", "ratio"])
        assert [n for n in NAMES if blocks.store.peek(blocks.key(n))] == ["town_count", "town_x"]

    @pytest.mark.parametrize(
        ("groups", "missing"),
        [
            ("rows.filter(pl.col('nope') > 0).group_by('town')", "nope"),
            ("towns.filter(pl.col('nope') > 0).group_by('town')", "nope"),
            ("towns.rename({'town': 'place'}).group_by('town')", "town"),
        ],
    )
    def test_groups_that_fail_are_named_and_the_features_before_are_kept(
        self, small, groups: str, missing: str
    ) -> None:
        code = CODE + f"\n\n@feature\ndef wrong(rows, towns):\n    return joined(rows, {groups}.agg(n=pl.len()))\n"
        code += f"\n\n@feature\ndef again(rows, towns):\n    return joined(rows, {groups}.agg(m=pl.len()))\n"
        blocks = opened(small(), code)
        with pytest.raises(FeatureError, match=f"feature 'wrong' .*no column '{missing}'"):
            blocks.build(["town_count", "town_x", "wrong", "again"])
        assert [n for n in NAMES if blocks.store.peek(blocks.key(n))] == ["town_count", "town_x"]

    def test_one_that_fails_within_the_pass_is_named_and_the_others_are_kept(self, small) -> None:
        wrong = "rows.group_by('town').agg(bad=pl.col('town').str.to_integer().sum())"
        code = CODE + f"\n\n@feature\ndef wrong(rows):\n    return joined(rows, {wrong})\n"
        said: list[str] = []
        blocks = opened(small(), code, said.append)
        with pytest.raises(FeatureError, match="feature 'wrong' .*failed"):
            blocks.build(["town_count", "town_x", "wrong"])
        assert any("town_count, town_x, wrong one by one" in line for line in said)
        assert [n for n in NAMES if blocks.store.peek(blocks.key(n))] == ["town_count", "town_x"]

    def test_the_first_of_several_that_fail_is_named_and_those_before_it_are_kept(self, small) -> None:
        bad = "rows.group_by('town').agg(bad=pl.col('town').str.to_integer().sum())"
        code = CODE + f"\n\n@feature\ndef bad(rows):\n    return joined(rows, {bad})\n"
        code += "\n\n@feature\ndef wrong(rows):\n    raise KeyError('no')\n"
        blocks = opened(small(), code)
        with pytest.raises(FeatureError, match="feature 'bad' "):
            blocks.build(["town_count", "bad", "town_x", "wrong", "ratio"])
        assert [n for n in NAMES if blocks.store.peek(blocks.key(n))] == ["town_count"]
        with pytest.raises(FeatureError, match="feature 'wrong' "):
            blocks.build(["town_count", "town_x", "wrong", "ratio"])
        assert [n for n in NAMES if blocks.store.peek(blocks.key(n))] == ["town_count", "town_x"]

    def test_those_before_one_whose_input_fails_are_kept(self, small) -> None:
        code = CODE + "\n\n@feature\ndef wrong(rows):\n    raise KeyError('no')\n"
        code += "\n\n@feature\ndef halved(rows, ratio):\n    return ratio.select(ROW, halved=pl.col('ratio') / 2)\n"
        code += "\n\n@feature\ndef reader(rows, wrong):\n    return wrong.select(ROW, copied='x')\n"
        blocks = opened(small(), code)
        with pytest.raises(FeatureError, match="feature 'wrong' "):
            blocks.build(["halved", "reader"])
        assert blocks.store.peek(blocks.key("halved"))

    def test_one_that_returns_the_target_is_refused(self, small) -> None:
        code = CODE + "\n\n@feature\ndef leak(rows):\n    return joined(rows, rows.group_by('town').agg(y=pl.len()))\n"
        with pytest.raises(FeatureError, match="feature 'leak' .* returns the target 'y'"):
            opened(small(), code).build(["town_count", "leak"])

    def test_a_full_disk_in_the_middle_of_a_pass_leaves_nothing(self, small, monkeypatch) -> None:
        blocks = opened(small())

        def full(*_: Any) -> None:
            raise StorageError("no space left on device")

        monkeypatch.setattr(block_builder, "write_blocks", full)
        with pytest.raises(StorageError, match="no space left"):
            blocks.build(["town_count", "town_x"])
        assert blocks.store.stored() == []
        assert not [p for p in blocks.store.folder.iterdir() if not p.name.endswith(".lock")]

    @pytest.mark.parametrize("order", [1, -1])
    def test_two_builders_of_overlapping_lists_wait_for_each_other_and_finish(self, small, order: int) -> None:
        made = small()
        first, second = opened(made), opened(made)
        failures: list[BaseException] = []

        def build(blocks: Blocks, names: list[str]) -> None:
            try:
                blocks.build(names)
            except BaseException as exc:  # noqa: BLE001
                failures.append(exc)

        threads = [
            threading.Thread(target=build, args=(first, NAMES)),
            threading.Thread(target=build, args=(second, NAMES[1:][::order])),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failures == []
        assert all(first.store.peek(first.key(n)) for n in NAMES)

    def test_what_another_process_computes_is_left_to_it(self, small) -> None:
        blocks = opened(small())
        released = threading.Event()

        def hold() -> None:
            with blocks.store.lock(blocks.key("town_x")):
                held.set()
                released.wait(30)

        held = threading.Event()
        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(30)
        features = [blocks.get(n) for n in ("town_count", "town_x", "town_share")]
        builder = BlockBuilder(blocks.keys, blocks.inputs, blocks.store, blocks.block, blocks.context)
        builder.build_shared(features)  # type: ignore[arg-type]
        released.set()
        holder.join()
        assert blocks.store.peek(blocks.key("town_x")) is None
        assert blocks.block("town_count").note["together"] == ["town_count", "town_share"]
