"""What a model's columns were: what is kept of them, and which differences are told where it predicts."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from workbench.core.errors import DamagedError, DataError
from workbench.data.competition import Competition, load_competition
from workbench.data.ingest import convert
from workbench.data.workspace import create_workspace
from workbench.features import Blocks, FeatureMatrix, build_matrix, load_features
from workbench.models.serving import LearnedColumns
from workbench.models.serving.learned import types_as_read, with_trained_rows
from workbench.models.target import read_target

FEATURES = """
import polars as pl
from workbench.features import feature, target_mean


@feature
def own(rows):
    return [(pl.col("a") * 2).alias("doubled")]


of_place = target_mean("place")
"""


@pytest.fixture
def competition(tmp_path: Path):
    """Return a function that makes a competition of so many train rows; `b` is empty, `day` and `yes` are spelled."""

    def made(n: int = 30, n_test: int = 6, **columns: Any) -> Competition:
        folder = create_workspace(tmp_path).competitions / "c"
        raw = folder / "data" / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        every = n + n_test
        frame = pl.DataFrame(
            {
                "id": range(every),
                "a": [i / 4 for i in range(every)],
                "code": [i % 7 for i in range(every)],
                "place": [f"place {i % 3}" + "x" * (i % 2 * 200) for i in range(every)],
                "b": [None] * every,
                "day": [f"{1 + i % 28:02}/01/2024" for i in range(every)],
                "yes": ["yes" if i % 3 else "no" for i in range(every)],
                "y": [float(i % 5) for i in range(every)],
            }
        ).with_columns(**columns)
        frame.head(n).write_csv(raw / "train.csv")
        frame.tail(n_test).drop("y").write_csv(raw / "test.csv")
        frame.tail(n_test).select("id", y=pl.lit(0.0)).write_csv(raw / "sample_submission.csv")
        convert(raw, folder / "data" / "tables", "c")
        (folder / "competition.toml").write_text(
            'slug = "c"\ntask = "regression"\nid = "id"\ntarget = "y"\nmetric = "rmse"\n'
        )
        (folder / "features.py").write_text(FEATURES)
        return load_competition(create_workspace(tmp_path), "c")

    return made


def learned(competition: Competition, *features: str) -> tuple[LearnedColumns, Blocks, FeatureMatrix]:
    blocks = Blocks(competition, load_features(competition))
    matrix = build_matrix(blocks, features)
    return LearnedColumns.of(blocks, features, matrix, read_target(competition)), blocks, matrix


@pytest.mark.parametrize(("n", "kept"), [(30, 30), (499, 499), (500, 500), (700, 700), (1001, 1000), (3000, 1000)])
def test_rows_of_both_ends_are_kept(competition, n: int, kept: int) -> None:
    made = competition(n)
    found, _, _ = learned(made, "rows.a")
    a = [i / 4 for i in range(n)]
    assert found.rows_sample["a"].to_list() == (a if n <= 1000 else a[:500] + a[-500:])
    assert found.rows_sample.height == kept
    values = found.sample["a"].to_list()
    assert (values[0], values[-1]) == (a[0], a[-1])
    assert values == sorted(set(values))
    assert (len(values) == n) if n <= 500 else (500 <= len(values) <= 1000)
    assert learned(made, "of_place")[0].sample.width == 0


def test_what_it_is_made_of(competition) -> None:
    found, _, _ = learned(competition(), "rows.a", "rows.place", "own", "of_place")
    assert found.columns == {"a": "number", "place": "category", "doubled": "number"}
    assert found.rows["a"] == "Float64"
    assert list(found.rows) == ["id", "a", "code", "place", "b", "day", "yes"]
    (fold_columns,) = found.fold_columns
    assert len(fold_columns) == 1
    assert "place" in fold_columns[0]
    assert max(map(len, found.rows_sample["place"])) == 100  # of a text the start
    assert found.plan is None
    assert learned(competition(), "auto")[0].plan is not None


@pytest.mark.parametrize("features", [("rows.a", "own"), ("auto",)])
def test_it_comes_back_as_it_was_written(competition, tmp_path: Path, features: tuple[str, ...]) -> None:
    found, _, _ = learned(competition(), *features)
    folder = tmp_path / "models"
    folder.mkdir()
    found.write(folder)
    assert sorted(p.name for p in folder.iterdir()) == sorted(found.files)
    files = {p.name: p for p in folder.iterdir()}
    read = LearnedColumns.read(files)
    assert (read.rows, read.columns, read.fold_columns) == (found.rows, found.columns, found.fold_columns)
    assert read.types_as_read == found.types_as_read
    assert read.sample.equals(found.sample)
    assert read.rows_sample.equals(found.rows_sample)
    assert (read.plan is None) == (found.plan is None) == (features != ("auto",))
    for gone in ("columns.json", "train-sample.parquet", "train-rows.parquet"):
        with pytest.raises(DamagedError, match="the columns of the models were not packed\nrun the experiment again"):
            LearnedColumns.read({name: path for name, path in files.items() if name != gone})


@pytest.mark.parametrize(
    ("features", "column", "was", "refused"),
    [
        (["rows"], "a", "String", True),
        (["rows"], "a", "Int16", False),  # of one kind: the values mean the same
        (["rows"], "a", "Null", False),  # it may hold anything
        (["rows"], "place", "Float64", True),
        (["rows.a"], "a", "String", True),
        (["rows.code"], "a", "String", False),
        (["own"], "code", "String", True),  # a function may read any
        (["of_place"], "a", "String", False),
        (["of_place"], "place", "Float64", True),
        (["auto"], "a", "String", True),
    ],
)
def test_a_column_of_another_kind_is_refused_where_it_is_read(
    competition, features: list[str], column: str, was: str, refused: bool
) -> None:
    found, blocks, _ = learned(competition(), *features)
    found.check_rows(blocks, features)
    other = replace(found, rows={**found.rows, column: was}, rows_sample=found.rows_sample.drop(column))
    if not refused:
        other.check_rows(blocks, features)
        return
    with pytest.raises(
        DataError, match=rf"column '{column}' of the rows is a \w+; it was a {was} when .*\nset its type"
    ):
        other.check_rows(blocks, features)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            pl.when(pl.col("a") == 1).then(2).otherwise("a").alias("a"),
            r"column 'a' .*: a train row has 1.0, which was 2.0",
        ),
        (pl.when(pl.col("a") == 1).then(None).otherwise("a").alias("a"), r"column 'a' .* has 1.0, which was None"),
        (
            pl.when(pl.col("code") > 5).then(0).otherwise("code").alias("code"),
            r"column 'code' .* has 6.0, which was 0.0",
        ),
        (pl.col("a").cast(pl.Float32), None),
        (pl.col("a").cast(pl.String), None),  # of another kind: that is looked at before
        (pl.col("day").cast(pl.Datetime("ms")), None),
        (pl.col("day").dt.offset_by("1d"), r"column 'day' .* has datetime"),
        (pl.col("a").alias("more"), None),
    ],
)
def test_other_values_in_the_same_train_rows_are_refused(competition, change: pl.Expr, said: str | None) -> None:
    found, blocks, _ = learned(competition(), "rows")
    other = replace(found, rows_sample=found.rows_sample.with_columns(change))
    if said is None:
        other.check_rows(blocks, ["rows"])
        return
    with pytest.raises(DataError, match=said):
        other.check_rows(blocks, ["rows"])


def test_the_matrix_has_the_columns_of_the_training_in_their_order(competition) -> None:
    made = competition()
    found, _, matrix = learned(made, "rows.a", "rows.code", "of_place")
    target = read_target(made)
    found.check_matrix(matrix, target)
    ((fold,),) = found.fold_columns
    for change, said in (
        (
            {"columns": {"code": "number", "a": "number"}},
            r"\(2, now 2\): in another order: column 1 was 'code' and is 'a'",
        ),
        ({"columns": {"a": "number"}}, r"\(1, now 2\): 'code' new$"),
        ({"columns": {"a": "number", "code": "number", "z": "number"}}, r"\(3, now 2\): 'z' missing$"),
        ({"columns": {"a": "number", "z": "number"}}, r"\(2, now 2\): 'z' missing; 'code' new$"),
        (
            {"columns": {"a": "number", **dict.fromkeys("uvwxyz", "number")}},
            r"'u', 'v', 'w', 'x', 'y' missing; 'code' new$",
        ),
        ({"columns": {"a": "number", "code": "category"}}, "column 'code' is a number; it was a category when"),
        ({"fold_columns": (("other",),)}, rf"\(1, now 1\): 'other' missing; '{fold}' new$"),
    ):
        with pytest.raises(DataError, match=f"(?m){said}"):
            replace(found, **change).check_matrix(matrix, target)


def test_columns_that_have_other_values_are_named(competition) -> None:
    found, _, matrix = learned(competition(400), "rows.a", "rows.code")
    assert found.changed(matrix) == []
    spread = float(np.std([i / 4 for i in range(400)]))
    a = pl.col("a").cast(pl.Float64)
    for change, changed in (
        (a * (1 + 9e-5), False),
        (a * (1 + 3e-4), True),
        (a + pl.when(a == 0).then(9e-5 * spread).otherwise(0), False),
        (a + pl.when(a == 0).then(1.2e-4 * spread).otherwise(0), True),
        (pl.when(a == 5).then(None).otherwise(a), True),
        (pl.lit(np.nan), True),
    ):
        other = replace(found, sample=found.sample.with_columns(change.alias("a")))
        assert other.changed(matrix) == (["a"] if changed else [])
    assert replace(found, sample=found.sample.head(9)).changed(matrix) == ["a", "code"]


def test_what_was_decided_of_spellings_is_kept(competition) -> None:
    made = competition()
    types = types_as_read(made.manifest)
    assert types["train.place"] == "String"
    assert types["test.day"].startswith("Date ")
    assert "%d/%m/%Y" in types["test.day"]
    assert {name.partition(".")[0] for name in types} <= {"train", "test", "sample_submission"}
    assert not {"train.a", "train.code", "train.y"} & set(types)
    manifest = made.manifest
    tables = {name: replace(info, source=f"{name}.parquet") for name, info in manifest.tables.items()}
    assert types_as_read(replace(manifest, tables=tables)) == {}


@pytest.mark.parametrize(
    "dtype",
    [
        pl.Boolean(), pl.Date(), pl.Time(), pl.String(), pl.Float32(), pl.Float64(), pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(),
        pl.Int128(), pl.UInt8(), pl.UInt16(), pl.UInt32(), pl.UInt64(), pl.Datetime("ms"), pl.Datetime("us"), pl.Datetime("ns", "UTC"),
        pl.Duration("ms"), pl.Duration("us"),
    ],
)  # fmt: skip
def test_a_column_without_values_has_the_type_that_it_had(competition, dtype: pl.DataType) -> None:
    made = competition()
    rows = {name: str(t) for name, t in made.rows.scan().collect_schema().items() if name in ("a", "code", "place")}
    found = with_trained_rows(made, {**rows, "b": str(dtype)})
    schema = found.rows.scan().collect_schema()
    assert schema["b"] == dtype
    assert found.rows.scan().select("b").collect()["b"].null_count() == 36
    assert "day" not in schema  # the training had none


@pytest.mark.parametrize(("was", "now"), [("Decimal(precision=9, scale=2)", pl.Float64), ("Categorical", pl.String)])
def test_a_type_that_no_file_has_is_the_nearest(competition, was: str, now: Any) -> None:
    assert with_trained_rows(competition(), {"a": "Float64", "b": was}).rows.scan().collect_schema()["b"] == now


def test_a_column_with_values_keeps_its_type(competition) -> None:
    made = competition()
    for was in ("String", "Date", "List(Int64)"):
        assert with_trained_rows(made, {"a": was}).rows.scan().collect_schema()["a"] == pl.Float64
    nothing = with_trained_rows(made, {"b": "List(Int64)"}).rows.scan().collect_schema()["b"]
    assert nothing == made.rows.scan().collect_schema()["b"]
    assert date(2024, 1, 5) in made.rows.scan().collect()["day"].cast(pl.Date).to_list()
