"""The matrix in pieces: what is read a stretch of rows at a time is what would lie in memory, and trains the same model."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.small import make_small
from workbench.core.errors import DamagedError, FeatureError, NotFoundError, WorkbenchError
from workbench.data.competition import ROW
from workbench.experiments.ready import ready
from workbench.experiments.run import run
from workbench.experiments.runner import RunRequest
from workbench.features import (
    Blocks,
    FeatureMatrix,
    FoldColumns,
    MatrixSource,
    Split,
    build_matrix,
    load_features,
    matrix,
    target_mean,
)
from workbench.features.encoded import encode_columns
from workbench.features.matrix import columns_of, missing_share, sparse_codes, unseen_categories
from workbench.models.target import TargetColumn
from workbench.models.training_columns import TrainingColumns


def matrices(made, features: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[FeatureMatrix, FeatureMatrix]:
    """The same matrix held in memory and read in pieces."""
    blocks = Blocks(made.open.access.competition, load_features(made.open.access.competition))
    held = build_matrix(blocks, features)
    monkeypatch.setattr(matrix, "MEMORY_SHARE", 2**60)
    streamed = build_matrix(blocks, features)
    assert held.loaded_frame is not None
    assert streamed.loaded_frame is None
    return held, streamed


@pytest.mark.slow
@pytest.mark.parametrize("many", [False, True])
def test_pieces_are_what_would_be_held(small, many: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if many:  # levels are kept as codes beside the block
        monkeypatch.setattr("workbench.features.encoded.MAX_ENUM_LEVELS", 0)
    held, streamed = matrices(small(), ["rows", "ratio", "town_size"], monkeypatch)
    assert any(c.codes is not None for s in streamed.sources for c in s.columns) == many
    assert streamed.frame.equals(held.frame)
    rng = np.random.default_rng(0)
    for rows in (range(500), range(390, 410), range(0), np.sort(rng.choice(500, 60, replace=False)), np.array([499])):
        for size in (1, 7, 64, 1000):
            for made in (held, streamed):
                pieces = list(made.chunks(rows, size))
                assert [i for where, _ in pieces for i in range(where.start, where.stop)] == list(range(len(rows)))
                assert all(f.height == where.stop - where.start for where, f in pieces)
                if pieces:
                    assert pl.concat([f for _, f in pieces]).equals(held.frame[np.asarray(rows)])


def test_what_rows_leave_out_is_said_where_they_are_asked_for(small) -> None:
    made = small()
    blocks = Blocks(made.open.access.competition, load_features(made.open.access.competition))
    assert set(build_matrix(blocks, ["rows"]).left_out) == {"id"}
    assert build_matrix(blocks, ["ratio"]).left_out == {}


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_a_library_gets_pieces_of_one_length(small, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the matrix is read."""
    made = small()
    made.experiment(1, 'features = ["rows", "te_town"]\n' + KINDS["model"])
    for held_share in (matrix.MEMORY_SHARE, 2**60):
        monkeypatch.setattr(matrix, "MEMORY_SHARE", held_share)
        problem = ready(made.workspace, made.open.access.competition, 1).problem
        rows = problem.folds.train_rows(1)
        pieces = list(TrainingColumns(problem, 0).chunks(1, rows, size))
        lengths = [len(frame) for _, frame in pieces]
        assert lengths == [size] * (len(rows) // size) + [len(rows) % size] * bool(len(rows) % size)
        assert [(w.start, w.stop) for w, _ in pieces] == [
            (at, min(at + size, len(rows))) for at in range(0, len(rows), size)
        ]


def test_the_columns_of_one_fold_at_a_time_stay_in_memory(small) -> None:
    made = small()
    made.experiment(1, 'features = ["rows", "te_town"]\n' + KINDS["model"])
    columns = TrainingColumns(ready(made.workspace, made.open.access.competition, 1).problem, 0)
    first = columns.of_fold(0)
    assert columns.of_fold(0) is first
    columns.of_fold(1)
    again = columns.of_fold(0)
    assert again is not first
    assert again.equals(first)


def test_a_sample_of_the_rows_is_the_same_in_pieces(small, monkeypatch: pytest.MonkeyPatch) -> None:
    held, streamed = matrices(small(), ["rows", "ratio", "te_town"], monkeypatch)
    rows = np.sort(np.random.default_rng(1).choice(400, 90, replace=False))
    assert streamed.only_train(rows).frame.equals(held.only_train(rows).frame)
    again = np.arange(0, 90, 3)
    assert streamed.only_train(rows).only_train(again).frame.equals(held.frame[rows[again]])


def in_pieces(monkeypatch: pytest.MonkeyPatch, n_rows: int) -> None:
    """Let every module that has a name for the length of a piece have this one."""
    monkeypatch.setattr(matrix, "MEMORY_SHARE", 2**60)
    named = [m for n, m in sys.modules.items() if n.startswith("workbench.") and hasattr(m, "CHUNK_ROWS")]
    assert {"workbench.features.matrix", "workbench.models.training_columns"} <= {m.__name__ for m in named}
    for module in named:
        monkeypatch.setattr(module, "CHUNK_ROWS", n_rows)


KINDS = {
    "model": "[model]\nnum_iterations = 20\nbin_construct_sample_cnt = 150\n",
    "xgboost": "[xgboost]\nnum_boost_round = 12\nearly_stopping_rounds = 0\n",
    "catboost": "[catboost]\nnum_boost_round = 12\nearly_stopping_rounds = 0\n",
    "histograms": '[sklearn]\nestimator = "sklearn.ensemble.HistGradientBoostingClassifier"\nmax_iter = 12\n',
    "python": '[python]\nfunction = "models.py:fit_predict"\n',
}
MODELS = """
import numpy as np


def fit_predict(X_train, y_train, X_valid, y_valid, X_test, **more):
    return [X["te_town"].to_numpy() + np.tanh(X["x"].to_numpy()) / 10 for X in (X_valid, X_test)]
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_the_same_in_pieces(small, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns of the fold, beyond the first piece too."""
    made = small()
    (made.folder / "models.py").write_text(MODELS)
    made.experiment(1, 'features = ["rows", "ratio", "town_size", "te_town"]\n' + KINDS[kind])
    definition = made.open.access.competition
    first = run(made.workspace, definition, 1).run
    in_pieces(monkeypatch, 64)
    second = run(made.workspace, definition, 1, RunRequest(force=True)).run
    assert second.folder != first.folder
    for name in ("oof.parquet", "test.parquet"):
        assert pl.read_parquet(second.folder / name).equals(pl.read_parquet(first.folder / name))
    for model in sorted((first.folder / "models").glob("*.txt")):
        assert (second.folder / "models" / model.name).read_text() == model.read_text()


def encoded(frame: pl.DataFrame, n_train: int) -> FeatureMatrix:
    lines = frame.with_row_index(ROW).lazy()
    columns = encode_columns(lines, frame.columns, n_train, origin="f")
    source = MatrixSource("f", lambda a, b: lines.slice(a, b - a), tuple(columns))
    return FeatureMatrix((source,), frame.height, n_train, {})


words = st.lists(st.none() | st.sampled_from(["a", "b", "c", "", "Z"]), min_size=1, max_size=30)


@settings(max_examples=40)
@given(words, st.integers(0, 30), st.sampled_from([pl.String, pl.Categorical]), st.booleans())
def test_codes_are_places_in_the_categories_of_train(values, at: int, dtype: pl.DataType, many: bool) -> None:
    n_train = min(at, len(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workbench.features.encoded.MAX_ENUM_LEVELS", 0 if many else 10)
        made = encoded(pl.DataFrame({"x": pl.Series(values, dtype=dtype)}), n_train)
    levels = sorted({v for v in values[:n_train] if v is not None})
    assert list(made.encoded[0].levels) == levels
    assert made.frame["x"].dtype == pl.Int32
    assert made.frame["x"].to_list() == [levels.index(v) if v in levels else None for v in values]
    unseen = [v for v in values[n_train:] if v is not None and v not in levels]
    assert [(u.values, u.rows) for u in unseen_categories(made)] == (
        [(len(set(unseen)), len(unseen))] if unseen else []
    )


@pytest.mark.parametrize(("n_levels", "exact"), [(3, True), (4, False)])
def test_codes_are_exact_in_32_bits_up_to_the_integers_that_these_hold(
    n_levels: int, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.features.encoded.MAX_EXACT_FLOAT32", 3)
    made = encoded(pl.DataFrame({"x": [str(i) for i in range(n_levels)]}), n_levels)
    assert made.encoded[0].exact_in_float32 == exact


@pytest.mark.parametrize(
    ("values", "dtype", "kept", "exact"),
    [
        ([0.1, 1e30, None], pl.Float64, pl.Float32, True),
        ([float(2**24), None], pl.Float64, pl.Float64, False),
        ([float(2**24) + 0.5, 1.0], pl.Float64, pl.Float32, True),
        ([-(2**24) - 1, 5], pl.Int64, pl.Int64, False),
        ([2**24, 5], pl.Int32, pl.Int32, True),
        ([2**24 + 1, 5], pl.UInt32, pl.UInt32, False),
        ([True, None], pl.Boolean, pl.Int8, True),
        ([1, 100], pl.Int8, pl.Int8, True),
        ([1, 2**40], pl.Int128, pl.Int64, False),
        ([float("nan"), float("inf"), None], pl.Float64, pl.Float64, False),
        ([None, None], pl.Float64, pl.Float32, True),
    ],
)
def test_32_bits_where_they_hold_the_values(values, dtype, kept, exact: bool) -> None:
    made = encoded(pl.DataFrame({"x": pl.Series(values, dtype=dtype)}), 1)
    assert made.encoded[0].dtype == kept
    assert made.frame["x"].dtype == kept
    assert made.encoded[0].exact_in_float32 == exact
    assert made.number_type == (np.float32 if exact else np.float64)
    width = {pl.Float32: 4, pl.Float64: 8, pl.Int64: 8, pl.Int32: 4, pl.UInt32: 4, pl.Int8: 1}[kept]
    assert made.size_bytes == len(values) * width


def test_lines_out_of_order_are_put_right_and_missing_ones_are_told() -> None:
    frame = pl.DataFrame({ROW: [3, 1, 0, 2], "x": [3.0, 1.0, 0.0, 2.0]}, schema_overrides={ROW: pl.UInt32})
    columns = tuple(encode_columns(frame.lazy(), ["x"], 2, origin="f"))
    shuffled = MatrixSource("f", lambda a, b: frame.lazy().filter(pl.col(ROW).is_between(a, b - 1)), columns)
    assert shuffled.read(1, 4)["x"].to_list() == [1.0, 2.0, 3.0]
    lacking = MatrixSource("f", lambda a, b: frame.lazy().filter(pl.col(ROW) != 2), columns)
    with pytest.raises(DamagedError, match="'f'.*lacks or repeats some of the rows 0 to 4"):
        lacking.read(0, 4)


# --------------------------------------------------------------------------------------------- parts of a matrix


def parts_of(frame: pl.DataFrame, n_train: int) -> list[FeatureMatrix]:
    """The same matrix read from its source, and held; with a text that has codes, and the means by a group."""
    read = encoded(frame, n_train)
    te = target_mean("g")
    te.name = "te"
    groups = np.arange(frame.height, dtype=np.int32) % 3
    levels = {c.name: list(c.levels) for c in read.encoded if c.levels is not None}
    read = replace(read, categories=levels, fold_columns=(FoldColumns(te, groups, "te"),))
    return [read, replace(read, loaded_frame=read.frame)]


FRAME = pl.DataFrame(
    {
        "x": [0.5, None, float("nan"), 3.0, None, 5.0],
        "n": [1, None, 3, 4, 5, 6],
        "t": ["b", None, "a", "b", "z", "a"],
    }
)


def test_what_a_matrix_says_of_itself() -> None:
    for made in parts_of(FRAME, 4):
        assert made.columns == ["x", "n", "t"]
        assert (made.width, made.n_rows, made.n_train, made.n_test) == (3, 6, 4, 2)
        assert made.size_bytes == 6 * (4 + 8 + 4)
        assert missing_share(made) == pytest.approx(4 / 12)  # of train alone; NaN too
        assert [(u.column, u.values, u.rows) for u in unseen_categories(made)] == [("t", 1, 1)]
        assert (made.train.height, made.test.height) == (4, 2)
        assert made.test["n"].to_list() == [5, 6]
        assert made.number_type == np.float32
        assert made.centers == {}
    empty = FeatureMatrix((), 6, 4, {})
    assert (missing_share(empty), empty.width, empty.frame.width, empty.number_type) == (0, 0, 0, np.float32)
    whole = encoded(pl.DataFrame({"n": [1, 2, 3]}), 0)
    assert missing_share(whole) == 0


def test_centers_are_of_numbers_alone() -> None:
    made = encoded(pl.DataFrame({"at": 1_700_000_000 + np.arange(40) / 4, "x": np.arange(40) * 1.0}), 40)
    assert set(made.centers) == {"at"}
    assert made.centers["at"] in made.frame["at"]
    assert made.number_type == np.float64
    assert replace(made, categories={"at": []}).centers == {}


def test_some_of_the_columns() -> None:
    for made in parts_of(FRAME, 4):
        for names in (["t", "x"], {"n"}, ["t"], []):
            part = made.only_columns(names)
            kept = [c for c in ("x", "n", "t") if c in names]
            assert part.columns == kept
            assert part.frame.equals(made.frame.select(kept)) or not kept
            assert part.categories == ({"t": ["a", "b"]} if "t" in names else {})
            assert len(part.sources) == bool(kept)
            assert part.fold_columns == made.fold_columns
            assert (part.loaded_frame is None) == (made.loaded_frame is None)


def test_some_of_the_rows() -> None:
    rows, again = np.array([0, 2, 3]), np.array([1, 2])
    for made in parts_of(FRAME, 4):
        train = made.without_test()
        assert (train.n_rows, train.n_train, train.n_test) == (4, 4, 0)
        assert train.frame.equals(made.train)
        assert train.fold_columns[0].groups.tolist() == [0, 1, 2, 0]
        some = made.only_train(rows)
        assert (some.n_rows, some.n_train) == (3, 3)
        assert some.frame.equals(made.frame[rows])
        assert some.fold_columns[0].groups.tolist() == [0, 2, 0]
        assert some.only_train(again).frame.equals(made.frame[rows[again]])
        assert some.only_train(again).fold_columns[0].groups.tolist() == [2, 0]


def test_columns_of_the_fold_have_names_of_their_own() -> None:
    target = TargetColumn("y", "regression", np.arange(4.0))
    for made in parts_of(FRAME, 4):
        found = made.learned([target], 0, Split(np.array([0, 0, 1, 1], np.int16)))
        assert found.names == ("te",)
        frame = found.frame(1)
        assert (frame.columns, frame.height, frame.dtypes) == (["te"], 6, [pl.Float32])
        made.fold_columns[0].feature.name = "x"
        with pytest.raises(FeatureError, match="features 'the columns' and 'x' both give a column 'x'"):
            made.learned([target], 0, Split(np.array([0, 0, 1, 1], np.int16)))
        made.fold_columns[0].feature.name = "te"
    assert parts_of(FRAME, 4)[0].learned([target], 0, Split(np.zeros(4, np.int16))).frame(0).height == 6


# ------------------------------------------------------------------------------------------------ what is asked for

CODE = """
import polars as pl
from workbench.features import ROW, feature, target_mean

@feature
def one(rows):
    return [pl.col("x").alias("a"), (pl.col("x") * 2).alias("b")]

@feature
def two(rows):
    return [pl.col("z").alias("a"), pl.col("z").alias("c")]

@feature
def many(rows):
    return [pl.col("x").alias(c) for c in "abcdefg"]

@feature
def more(rows):
    return [pl.col("x").alias(c) for c in "abcdefg"]

@feature
def kept(rows):
    return rows.select(ROW, "x", "town", late=pl.col("z"))

@feature
def place(rows):
    return [pl.col("x").rank("dense").cast(pl.Int64).alias("wide") * 1_000_000, (pl.col("x") > 0).cast(pl.Int8).alias("few")]

te = target_mean("town")
"""


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Blocks:
    made = make_small(tmp_path_factory.mktemp("matrix") / "workspace", n_rows=120)
    (made.folder / "features.py").write_text(CODE)
    return Blocks(made.open.access.competition, load_features(made.open.access.competition))


@pytest.mark.parametrize(
    ("features", "options", "error", "message", "hint"),
    [
        (["one.q"], {}, NotFoundError, "feature 'one' has no column 'q'", "a"),
        (["rows.q"], {}, NotFoundError, "rows have no column 'q'", ""),
        (["one"], {"drop": ["q"]}, NotFoundError, "drop: no column 'q' in these features", ""),
        (["one"], {"drop": ["x"]}, NotFoundError, "drop: no column 'x' in these features", ""),
        (["te"], {"drop": ["te"]}, NotFoundError, "drop: no column 'te' in these features", ""),
        (["one"], {"categorical": ["x"]}, NotFoundError, "categorical: no column 'x'", ""),
        (["one"], {"drop": ["a", "b"]}, FeatureError, r"no column is left to train on: features = \['one'\], drop = \['a', 'b'\]", ""),
        (["one", "two"], {}, FeatureError, "features 'one' and 'two' both give a column 'a'", 'rename one; drop = ["a"] leaves out both'),
        (["one.a", "one"], {}, FeatureError, "features 'one.a' and 'one' both give a column 'a'", "rename one"),
        (["many", "more"], {}, FeatureError, "both give the columns 'a', 'b', 'c', 'd', 'e', …", 'drop = ["a"]'),
        (["rows", "kept"], {}, FeatureError, "features 'rows' and 'kept' both give the columns 'x', 'town'", 'End kept with .drop("x", "town")'),
        (["rows", "rows.x"], {}, FeatureError, "both give a column 'x'", "remove one of the two from features"),
        (["one", "te", "te"], {}, FeatureError, "features 'te' and 'te' both give a column 'te'", "rename one"),
    ],
)  # fmt: skip
def test_what_can_not_be_built_is_explained(
    blocks: Blocks, features: list[str], options: dict, error: type[WorkbenchError], message: str, hint: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        build_matrix(blocks, features, **options)
    assert hint in caught.value.hint


def test_what_is_asked_for_is_built(blocks: Blocks) -> None:
    def columns(*features: str, **options: list[str]) -> list[str]:
        return build_matrix(blocks, list(features), **options).columns

    assert columns("one", "two.c") == ["a", "b", "c"]
    assert columns("one.b") == ["b"]
    assert columns("one", "two", drop=["a"]) == ["b", "c"]
    assert columns("rows", drop=["x", "town"]) == ["z", "household", "day"]
    assert columns("rows.day", "one.a") == ["day", "a"]
    assert columns("te") == []
    only_folds = build_matrix(blocks, ["te"])
    assert (only_folds.loaded_frame, [c.feature_name for c in only_folds.fold_columns]) == (None, ["te"])
    assert len(build_matrix(blocks, ["one", "te"]).fold_columns) == 1
    for name, expected in (
        ("one", ["a", "b"]), ("one.b", ["b"]), ("rows.x", ["x"]), ("te", []),
        ("rows", ["x", "z", "town", "household", "day"]),
    ):  # fmt: skip
        assert sorted(columns_of(blocks, name)) == sorted(expected)


def test_columns_that_rows_leave_out_are_said_unless_another_feature_has_them(blocks: Blocks) -> None:
    assert build_matrix(blocks, ["rows"]).left_out == {"id": "the id, which only tells rows apart"}
    assert build_matrix(blocks, ["rows.x", "one"]).left_out == {}
    assert build_matrix(blocks, ["rows", "rows.id"]).left_out == {}
    assert "id" in build_matrix(blocks, ["auto"]).left_out


def test_codes_that_get_others(blocks: Blocks) -> None:
    asked = ["wide", "few", "town", "household", "a"]
    assert sparse_codes(blocks, ["place", "rows", "te"], asked) == ["wide"]
    assert sparse_codes(blocks, ["place.few"], asked) == []
    assert sparse_codes(blocks, ["place.wide"], ["few"]) == []
    assert sparse_codes(blocks, ["place.wide", "place"], ["wide"]) == ["wide"]
    assert sparse_codes(blocks, ["rows.x"], ["x"]) == ["x"]
    assert sparse_codes(blocks, ["place", "rows"], []) == []
    made = build_matrix(blocks, ["place", "rows"], categorical=["few", "household", "wide"])
    assert {c: bool(levels) for c, levels in made.categories.items()} == {
        "town": True, "few": False, "household": False, "wide": True,
    }  # fmt: skip


def test_a_matrix_of_an_eighth_of_the_memory_is_held(blocks: Blocks) -> None:
    size = build_matrix(blocks, ["one"]).size_bytes
    competition = blocks.competition
    for limit, is_held in ((8 * size, True), (8 * size - 1, False)):
        made = build_matrix(Blocks(competition, blocks.features, memory_limit=limit), ["one"])
        assert (made.loaded_frame is not None) == is_held


def test_a_matrix_in_memory_has_one_chunk_per_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """LightGBM gets a copy of the whole frame if columns have several chunks, as Parquet files with row groups give."""
    monkeypatch.setattr(matrix, "MAX_BATCH_BYTES", 9 * 8)  # at most two columns of 4 bytes for these rows, or one of 8
    table = pl.DataFrame({"a": np.arange(9.0), "b": np.arange(9.0) / 2, "n": range(9), "c": np.arange(9.0)})
    widths: list[int] = []

    class InTwoChunks(MatrixSource):
        def read(self, start: int, stop: int) -> pl.DataFrame:
            widths.append(len(self.columns))
            lines = super().read(start, stop)
            return pl.concat([lines[:4], lines[4:]], rechunk=False)

    lines = table.lazy().with_row_index(ROW)
    columns = encode_columns(lines, table.columns, 6, origin="f")
    source = InTwoChunks("f", lambda start, stop: lines.slice(start, stop - start), tuple(columns))
    assert min(source.read(0, 9).n_chunks("all")) > 1
    made = FeatureMatrix((source,), 9, 6, {})
    widths.clear()
    frame = made.frame
    assert frame.n_chunks("all") == [1, 1, 1, 1]
    assert frame.cast(pl.Float64).equals(table.cast(pl.Float64))
    assert widths == [2, 1, 1]
    assert FeatureMatrix((source,), 0, 0, {}).frame.schema == frame.schema
