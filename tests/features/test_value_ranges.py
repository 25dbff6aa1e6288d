"""Ranges of columns are found while a block is written, and read from its note afterwards."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.cache import write_json
from workbench.features import Blocks, build_matrix, encoded, load_features
from workbench.features.value_ranges import RangeCollector, ranges_of_note, value_ranges

SCHEMA = pl.Schema({"f": pl.Float64, "i": pl.Int64, "u": pl.UInt8, "g": pl.Float32, "s": pl.String})
LINES = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(), st.integers(-9, 9).map(float)),
        st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        st.one_of(st.none(), st.integers(0, 255)),
        st.none(),
        st.none(),
    ),
    max_size=30,
)


@given(lines=LINES, size=st.integers(1, 7))
@settings(max_examples=150)
def test_batches_give_the_ranges_of_the_whole_through_json(lines: list[Any], size: int) -> None:
    frame = pl.DataFrame(lines, schema=SCHEMA, orient="row")
    collector = RangeCollector(SCHEMA)
    for batch in frame.iter_slices(size):
        collector.add(batch)
    note = json.loads(json.dumps({"ranges": collector.note(SCHEMA)}, allow_nan=False))
    assert ranges_of_note(note) == value_ranges(frame.lazy(), ["f", "i", "u"], SCHEMA)


def test_a_note_of_an_earlier_version_has_no_ranges() -> None:
    assert ranges_of_note({"columns": {"a": "Int64"}}) == {}


CODE = """
import polars as pl
from workbench.features import ROW, feature


@feature
def numbers(rows):
    return [pl.col("x"), (pl.col("x") / 0).alias("infinite"), pl.lit(2**40).alias("large"), pl.col("town")]
"""


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_matrix_reads_no_block_for_ranges_that_its_note_has(small, monkeypatch, has_ranges: bool) -> None:
    made = small()
    (made.folder / "features.py").write_text(CODE)
    competition = made.open.access.competition
    blocks = Blocks(competition, load_features(competition))
    note_path = blocks.block("numbers").path.with_suffix(".json")
    note = json.loads(note_path.read_text())
    assert note["ranges"]["infinite"] == ["-inf", "inf", True]
    if not has_ranges:
        del note["ranges"]
        write_json(note_path, note)
    read: list[str] = []

    def recorded(frame: pl.LazyFrame, columns: list[str], schema: pl.Schema) -> Any:
        read.extend(columns)
        return value_ranges(frame, columns, schema)

    monkeypatch.setattr(encoded, "value_ranges", recorded)
    matrix = build_matrix(blocks, ["numbers"])
    assert read == ([] if has_ranges else ["x", "infinite", "large"])
    assert [c.dtype for c in matrix.encoded] == [pl.Float32, pl.Float64, pl.Int64, pl.Int32]
    assert [c.exact_in_float32 for c in matrix.encoded] == [True, False, False, True]
