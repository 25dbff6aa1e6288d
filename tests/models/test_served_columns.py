"""Served models: their columns are those of the training whatever the test set holds, or they are refused by name."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest

from tests.kernel_builds import HERE
from tests.needs import needs_namespaces
from tests.small import Small
from workbench.api import library
from workbench.core.context import RunContext, text_listener
from workbench.core.errors import ConfigError, DataError
from workbench.data.competition import ROW
from workbench.data.workspace import create_workspace
from workbench.experiments.ready import ReadyExperiment, ready
from workbench.features import Blocks
from workbench.features.auto import auto_plan
from workbench.features.auto_plan import AutoPlan
from workbench.kernels.hidden_test_sets import emptied_data, hidden_data
from workbench.models.serving import NOTES, LearnedColumns
from workbench.models.serving.predict import predict
from workbench.rehearsal import RehearsalSpec, create

N, N_TRAIN = 900, 600


def rows(n: int = N, seed: int = 3) -> pl.DataFrame:
    """The later rows, which are the test set, have no `b`, no fractions in `f`, and no words in `w`."""
    rng = np.random.default_rng(seed)
    later = np.arange(n) >= N_TRAIN
    a, b, f = rng.normal(size=n), rng.normal(size=n), rng.integers(0, 40, n) / 4
    code, place = rng.integers(0, 90, n) * 10, rng.integers(0, 30, n)
    few = np.array(["red", "green", "blue"])[rng.integers(0, 3, n)]
    y = (
        a
        + 0.5 * np.nan_to_num(b)
        + 0.2 * f
        + 0.01 * code
        + np.sin(place)
        + (few == "red")
        + rng.normal(scale=0.3, size=n)
    )
    return pl.DataFrame(
        {
            "id": np.arange(n) + 5000,
            "day": np.datetime64("2024-01-01") + np.where(later, 200, np.arange(n) % 180).astype("timedelta64[D]"),
            "a": a.round(5),
            "b": pl.Series(b.round(5)).zip_with(pl.Series(~later), pl.Series([None] * n, dtype=pl.Float64)),
            "f": np.where(later, np.floor(f), f),
            "code": code,
            "place": [f"place {p:02}" for p in place],
            "few": few,
            "cabin": [f"{'ABC'[p % 3]}/{p}/{'PS'[p % 2]}" for p in place],
            "sometimes": [None if i % 5 == 0 else int(i % 17) for i in range(n)],
            "gaps": [None if i % 4 == 0 else float(i % 13) for i in range(n)],
            "y": y.round(5),
        }
    )


FEATURES = """
import polars as pl
from workbench.features import ROW, feature


@feature
def alone(rows):
    return [(pl.col("a") * pl.col("f")).alias("product")]


@feature
def crowd(rows):
    return [pl.len().over("place").alias("crowd"), (pl.col("a") - pl.col("a").mean()).alias("centred")]
"""


@pytest.fixture
def made(tmp_path: Path) -> Small:
    return competition_of(tmp_path, rows())


def competition_of(tmp_path: Path, frame: pl.DataFrame) -> Small:
    workspace = create_workspace(tmp_path / "workspace")
    frame.write_csv(tmp_path / "all.csv")
    spec: dict[str, Any] = {"train": tmp_path / "all.csv", "targets": ("y",), "metric": "rmse", "holdout": None}
    create(workspace.root, "served", RehearsalSpec(**spec, after=("day", "2024-07-10")))
    library.fetch("served", where=workspace)
    found = Small(workspace, "served")
    (found.folder / "features.py").write_text(FEATURES)
    text = (found.folder / "competition.toml").read_text()
    (found.folder / "competition.toml").write_text(re.sub(r"(?m)^scheme = .*$", 'scheme = "kfold"', text))
    return found


def trained(made: Small, no_wheels: Path, features: str = '["auto"]', more: str = "") -> tuple[Any, Path]:
    made.experiment(
        1, f"features = {features}\n{more}[model]\nnum_iterations = 15\nlearning_rate = 0.3\nmin_data_in_leaf = 5\n"
    )
    run = made.open.run(1)
    return run, made.open.kernels.build(1, python=HERE, wheels=no_wheels).bundle


def with_test(made: Small, folder: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Path:
    """Lay out the competition's files with another test set, and the sample that goes with it."""
    shutil.copytree(made.folder / "data" / "raw", folder)
    test = change(pl.read_csv(folder / "test.csv"))
    test.write_csv(folder / "test.csv")
    test.select("id", y=pl.lit(0.0)).write_csv(folder / "sample_submission.csv")
    return folder


def served(bundle: Path, data: Path, out: Path) -> tuple[pl.DataFrame, list[str]]:
    said: list[str] = []
    return pl.read_csv(predict(bundle, data, out=out, context=RunContext((text_listener(said.append),)))), said


def filled(test: pl.DataFrame) -> pl.DataFrame:
    """The public rows, and as many that have `b`, fractions, other values and new categories; `gaps` is never missing."""
    more = test.with_columns(
        pl.col("id") + 10_000,
        b=pl.int_range(pl.len()) / 7,
        f=pl.col("f") + 0.5,
        place=pl.lit("never"),
        code=pl.lit(12345),
        gaps=pl.lit(2.0),
        few=pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("violet")).otherwise("few"),
    )
    return pl.concat(
        [test.with_columns(pl.col("b").cast(pl.Float64), pl.col("f").cast(pl.Float64)), more.select(test.columns)],
        how="vertical_relaxed",
    )


def by_hand(run: Any, data: Path) -> np.ndarray:
    """Apply the plan that was kept, and the models, without the serving."""
    models = run.folder / "models"
    plan = AutoPlan.read({p.name: p for p in models.iterdir()})
    categories = json.loads((models / "categories.json").read_text())
    types = {"b": pl.Float64, "f": pl.Float64, "gaps": pl.Float64, "sometimes": pl.Int64, "code": pl.Int64}
    test = pl.read_csv(data / "test.csv", schema_overrides=types, try_parse_dates=True).with_row_index(ROW)
    frame = plan.apply(test.lazy()).collect().sort(ROW).drop(ROW)
    codes = [
        pl.col(c).replace_strict(levels, range(len(levels)), default=None, return_dtype=pl.Float64)
        for c, levels in categories.items()
        if levels
    ]
    values = frame.with_columns(codes).cast(pl.Float32).to_numpy()
    texts = sorted(models.glob("t0-f*-s*.txt"))
    return np.mean([lgb.Booster(model_str=p.read_text()).predict(values) for p in texts], axis=0)


def test_a_hidden_test_set_that_is_filled_where_the_public_one_is_empty(
    made: Small, no_wheels: Path, tmp_path: Path
) -> None:
    run, bundle = trained(made, no_wheels)
    plan = AutoPlan.read({p.name: p for p in (run.folder / "models").iterdir()})
    assert "b" not in plan.types
    assert {"code_count", "place_count", "cabin_part1"} <= {s.name for s in plan.steps}
    data = with_test(made, tmp_path / "hidden", filled)
    found, _ = served(bundle, data, tmp_path / "s.csv")
    own = pl.read_csv(run.submission)
    assert found.height == 2 * own.height
    # Counts do not grow with the test set, categories are not numbered anew: the public rows are what they were.
    assert np.array_equal(found["y"].to_numpy()[: own.height], own["y"].to_numpy())
    assert np.allclose(found["y"].to_numpy(), by_hand(run, data), rtol=1e-6)
    assert not (tmp_path / NOTES).exists()


def test_a_smaller_test_set_that_is_empty_where_the_public_one_is_filled(
    made: Small, no_wheels: Path, tmp_path: Path
) -> None:
    run, bundle = trained(made, no_wheels)
    gone = ("code", "place", "gaps", "few")
    data = with_test(made, tmp_path / "hidden", lambda t: t.head(40).with_columns(pl.lit(None).alias(c) for c in gone))
    found, _ = served(bundle, data, tmp_path / "s.csv")
    assert np.allclose(found["y"].to_numpy(), by_hand(run, data), rtol=1e-6)


def test_a_value_that_was_never_seen_counts_as_one(made: Small, no_wheels: Path) -> None:
    run, _ = trained(made, no_wheels)
    plan = AutoPlan.read({p.name: p for p in (run.folder / "models").iterdir()})
    data = made.open.access.competition.rows.scan()
    every = plan.apply(data).collect().sort(ROW)
    codes = data.collect().sort(ROW)["code"]
    counts = codes.value_counts()
    assert every["code_count"].to_list() == codes.replace_strict(counts["code"], counts["count"]).to_list()
    other = data.with_columns(code=pl.when(pl.col(ROW) < 3).then(pl.lit(777)).otherwise("code"))
    assert plan.apply(other).collect().sort(ROW)["code_count"].to_list()[:4] == [1, 1, 1, every["code_count"][3]]


SPELLED = """
import polars as pl
from workbench.features import feature


@feature
def of_spellings(rows):
    when, code = pl.col("when"), pl.col("code").cast(pl.String)
    return [when.dt.month().alias("when_month"), code.str.len_chars().alias("n"), (pl.col("yes") == "yes").alias("is")]
"""


def spelled(n: int = N) -> pl.DataFrame:
    """What tells how `when`, `code` and `yes` are to be read lies in the later rows alone, which are the test set."""
    rng = np.random.default_rng(5)
    later, month = np.arange(n) >= N_TRAIN, rng.integers(1, 13, n)
    day = np.where(later, rng.integers(1, 29, n), rng.integers(1, 13, n))
    code, yes = rng.integers(100, 190, n), np.array(["yes", "no"])[rng.integers(0, 2, n)]
    return pl.DataFrame(
        {
            "id": np.arange(n) + 5000,
            "day": np.datetime64("2024-01-01") + np.where(later, 200, np.arange(n) % 180).astype("timedelta64[D]"),
            "when": [f"{d:02}/{m:02}/2023" for d, m in zip(day, month, strict=True)],
            "other": [f"2023-{m:02}-{d:02}" for d, m in zip(day, month, strict=True)],
            "code": [f"{c:05}" if late and c % 2 else str(c) for c, late in zip(code, later, strict=True)],
            "yes": np.where(later & (np.arange(n) % 10 == 0), "maybe", yes),
            "late": [i / 4 if late else None for i, late in enumerate(later)],
            "nothing": pl.Series([None] * n, dtype=pl.String),
            "y": (0.3 * month + 0.02 * code + rng.normal(scale=0.1, size=n)).round(4),
        }
    )


@pytest.mark.parametrize("features", ['["auto"]', '["of_spellings"]'])
@pytest.mark.parametrize(
    ("column", "shown"),
    [
        ("when", pl.col("when").str.slice(0, 2) <= "12"),
        ("code", ~pl.col("code").str.starts_with("0")),
        ("yes", pl.col("yes") != "maybe"),
    ],
)
def test_files_are_read_as_in_the_training(
    no_wheels: Path, tmp_path: Path, column: str, shown: pl.Expr, features
) -> None:
    """How they are spelled is not decided again: the month would come first, codes would be numbers."""
    made = competition_of(tmp_path, spelled())
    (made.folder / "features.py").write_text(SPELLED)
    run, bundle = trained(made, no_wheels, features)

    def change(test: pl.DataFrame) -> pl.DataFrame:
        texts = pl.read_csv(made.folder / "data" / "raw" / "test.csv", infer_schema=False)
        return texts.filter(shown)

    found, said = served(bundle, with_test(made, tmp_path / "hidden", change), tmp_path / "s.csv")
    own = pl.read_csv(run.submission).join(found.select("id"), on="id", how="semi")
    assert 50 < found.height < 300
    assert found["y"].to_list() == own["y"].to_list()
    assert not [s for s in said if "depend on" in s]


def test_another_reading_of_the_train_rows_is_refused(no_wheels: Path, tmp_path: Path) -> None:
    """Where a new spelling in one column makes that all is decided again, the others are looked at."""
    made = competition_of(tmp_path, spelled())
    (made.folder / "features.py").write_text(SPELLED)
    _, bundle = trained(made, no_wheels, '["of_spellings"]')

    def change(test: pl.DataFrame) -> pl.DataFrame:
        texts = pl.read_csv(made.folder / "data" / "raw" / "test.csv", infer_schema=False)
        return texts.filter(pl.col("when").str.slice(0, 2) <= "12").with_columns(other=pl.lit("soon"))

    with pytest.raises(DataError, match="column '(when|code|other)' "):
        served(bundle, with_test(made, tmp_path / "hidden", change), tmp_path / "s.csv")


@pytest.mark.parametrize("features", ['["auto"]', '["rows.code", "late"]'])
def test_columns_of_nothing_keep_their_types(no_wheels: Path, tmp_path: Path, features: str) -> None:
    """Filled in the public test set alone, or nowhere: with or without values they are no reason to stop."""
    made = competition_of(tmp_path, spelled())
    (made.folder / "features.py").write_text(
        "import polars as pl\nfrom workbench.features import feature\n\n\n@feature\ndef late(rows):\n"
        '    return [(pl.col("late") * 2).alias("late2"), pl.col("nothing").str.len_chars().alias("n"), pl.col("yes")]\n'
    )
    run, bundle = trained(made, no_wheels, features)
    test = pl.read_csv(made.folder / "data" / "raw" / "test.csv", infer_schema=False)
    for i, (late, nothing) in enumerate([(None, None), ("1.5", "7"), (None, "word")]):
        change = {"late": pl.lit(late, dtype=pl.String), "nothing": pl.lit(nothing, dtype=pl.String)}
        hidden = test.with_columns(**change)
        data = with_test(made, tmp_path / f"hidden-{i}", lambda _, hidden=hidden: hidden)
        found, _ = served(bundle, data, tmp_path / "s.csv")
        # The models saw nothing of them.
        assert found["y"].to_list() == pl.read_csv(run.submission)["y"].to_list()


def test_a_column_that_no_feature_reads_may_hold_anything(made: Small, no_wheels: Path, tmp_path: Path) -> None:
    run, bundle = trained(made, no_wheels, '["rows.a", "rows.f"]')
    data = with_test(made, tmp_path / "hidden", lambda t: t.with_columns(code=pl.lit("soon")))
    found, _ = served(bundle, data, tmp_path / "s.csv")
    assert found["y"].to_list() == pl.read_csv(run.submission)["y"].to_list()


def test_a_plan_is_decided_once(made: Small) -> None:
    """To decide it takes several passes over the rows: it is kept beside the blocks."""
    competition = made.open.access.competition
    plan = Blocks(competition, {}).auto_plan()
    other = Blocks(competition, {})
    assert other.auto_plan().content == plan.content
    with other.store.writing(other.keys.plan_key, {}, suffix="bin") as path:
        AutoPlan(plan.types, plan.steps[:2]).pack(path)
    assert [s.name for s in Blocks(competition, {}).auto_plan().steps] == [s.name for s in plan.steps[:2]]
    # A plan that is given has blocks of its own.
    keys = {Blocks(competition, {}, plan=p).key("auto") for p in (None, plan, AutoPlan(plan.types, plan.steps[:2]))}
    assert len(keys) == 3


def test_a_plan_is_applied_to_narrower_types() -> None:
    """Parquet has many: where the test set of the training alone had large numbers, or hours."""
    n = 300
    values = [i % 60 for i in range(n)]
    rows = pl.DataFrame({ROW: range(n), "k": [v + 40_000 * (i > 200) for i, v in enumerate(values)]}).with_columns(
        at=pl.datetime(2024, 1, 1) + pl.duration(hours=pl.col(ROW))
    )
    plan = auto_plan(rows.lazy(), leave_out=(), n_train=200)
    narrow = rows.head(200).with_columns(pl.col("k").cast(pl.Int16), pl.col("at").cast(pl.Date))
    found = plan.apply(narrow.lazy()).collect().sort(ROW)
    assert found.height == 200
    assert found["k_count"].to_list() == plan.apply(rows.lazy()).collect().sort(ROW)["k_count"].to_list()[:200]
    assert set(found["at_hour"]) == {0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop("gaps"), r"table 'test' has no column 'gaps', which it had when the model was trained"),
        (
            lambda t: t.with_columns(a=pl.col("a").cast(pl.String) + " m"),
            "column 'a' of the rows is a String; it was a Float64",
        ),
    ],
)
@pytest.mark.parametrize("features", ['["auto"]', '["rows", "alone"]'])
def test_other_columns_are_refused_by_name(
    made: Small, no_wheels: Path, tmp_path: Path, change, message, features
) -> None:
    _, bundle = trained(made, no_wheels, features, 'drop = ["day"]\n' if "rows" in features else "")
    with pytest.raises(DataError, match=message):
        served(bundle, with_test(made, tmp_path / "hidden", change), tmp_path / "s.csv")


def test_what_only_the_hidden_test_set_has_is_not_looked_at(made: Small, no_wheels: Path, tmp_path: Path) -> None:
    """And the columns may lie in another order: they are taken by name."""
    run, bundle = trained(made, no_wheels, '["rows", "alone"]')
    data = with_test(
        made, tmp_path / "hidden", lambda t: t.with_columns(more=pl.lit(1)).select("more", *reversed(t.columns))
    )
    found, _ = served(bundle, data, tmp_path / "s.csv")
    assert found["y"].to_list() == pl.read_csv(run.submission)["y"].to_list()


def test_features_that_depend_on_the_test_rows_are_named(made: Small, no_wheels: Path, tmp_path: Path) -> None:
    run, bundle = trained(made, no_wheels, '["auto", "alone", "crowd"]')
    _, said = served(bundle, made.folder / "data" / "raw", tmp_path / "s.csv")
    assert not [s for s in said if "depend on" in s]
    _, said = served(bundle, with_test(made, tmp_path / "hidden", lambda t: t.head(5)), tmp_path / "s.csv")
    (named,) = [s for s in said if "depend on" in s]
    assert named.endswith(": crowd (crowd, centred)")
    assert json.loads((tmp_path / NOTES).read_text()) == [named]


def test_columns_are_compared_by_name_before_a_model_predicts(made: Small, no_wheels: Path, tmp_path: Path) -> None:
    """LightGBM compares only how many there are."""
    _, bundle = trained(made, no_wheels, '["rows.a", "rows.f", "alone"]')
    raw = made.folder / "data" / "raw"
    manifest = json.loads((bundle / "wb-manifest.json").read_text())

    def features(names: list[str]) -> None:
        manifest["spec"]["features"] = names
        (bundle / "wb-manifest.json").write_text(json.dumps(manifest))

    features(["rows.f", "rows.a", "alone"])
    with pytest.raises(DataError, match="in another order: column 1 was 'a' and is 'f'"):
        served(bundle, raw, tmp_path / "s.csv")
    features(["rows.a", "rows.gaps", "alone"])
    with pytest.raises(DataError, match=r"trained on \(3, now 3\): 'f' missing; 'gaps' new"):
        served(bundle, raw, tmp_path / "s.csv")


def learned_of(made: Small, features: str) -> tuple[LearnedColumns, ReadyExperiment]:
    made.experiment(1, f"features = {features}\n[model]\n")
    experiment = ready(made.workspace, made.open.access.competition, 1)
    problem = experiment.problem
    return LearnedColumns.of(experiment.blocks, experiment.spec.features, problem.matrix, problem.target), experiment


def test_a_category_where_a_number_was_trained_on_is_refused(made: Small) -> None:
    learned, experiment = learned_of(made, '["rows.a", "rows.place"]')
    problem = experiment.problem
    assert learned.columns == {"a": "number", "place": "category"}
    learned.check_matrix(problem.matrix, problem.target)
    for name, is_now, was in (("place", "category", "number"), ("a", "number", "category")):
        other = replace(learned, columns={**learned.columns, name: was})
        with pytest.raises(DataError, match=f"column '{name}' is a {is_now}; it was a {was} when"):
            other.check_matrix(problem.matrix, problem.target)


def test_values_are_the_same_where_they_differ_by_rounding_only(made: Small) -> None:
    """By what they are themselves, and near 0 by the spread of their column."""
    learned, experiment = learned_of(made, '["rows.gaps"]')
    gaps = pl.col("gaps").cast(pl.Float64)
    assert learned.sample["gaps"].null_count() + learned.sample["gaps"].is_nan().sum() > 0
    spread = float(np.nanstd(learned.sample["gaps"].cast(pl.Float64).to_numpy()))
    for change, changed in (
        (gaps * (1 + 5e-5), []),
        (gaps * (1 + 1e-3), ["gaps"]),
        (pl.when(gaps == 0).then(5e-5 * spread).otherwise(gaps), []),
        (pl.when(gaps == 0).then(3e-4 * spread).otherwise(gaps), ["gaps"]),
        (gaps.fill_nan(None).fill_null(1), ["gaps"]),
    ):
        other = replace(learned, sample=learned.sample.with_columns(change.alias("gaps")))
        assert other.changed(experiment.problem.matrix) == changed


def test_a_run_that_kept_no_columns_is_not_built(made: Small, no_wheels: Path) -> None:
    run, _ = trained(made, no_wheels)
    (run.folder / "models" / "columns.json").unlink()
    record = json.loads((run.folder / "run.json").read_text())
    record["files"] = (
        [f for f in record["files"] if "columns.json" not in f]
        if isinstance(record["files"], list)
        else {k: v for k, v in record["files"].items() if "columns.json" not in k}
    )
    (run.folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="was made by an older version, which did not store its models' columns"):
        made.open.kernels.build(1, python=HERE, wheels=no_wheels)


def test_test_sets_to_rehearse_with(made: Small, tmp_path: Path) -> None:
    raw, competition = made.folder / "data" / "raw", made.open.access.competition
    changes: list[str] = []
    assert hidden_data(competition, raw, tmp_path / "hidden", changes) == 450
    public, hidden = pl.read_csv(raw / "test.csv"), pl.read_csv(tmp_path / "hidden" / "test.csv")
    assert hidden.head(300).select("id", "a", "place").equals(public.select("id", "a", "place"))
    assert hidden["b"].null_count() == 300
    assert not (hidden["f"] == hidden["f"].floor()).all()
    assert any("filled, where the public test set is empty: b" in c for c in changes)
    assert any("unseen categories: place, few, cabin" in c for c in changes)
    changes = []
    assert emptied_data(competition, raw, tmp_path / "emptied", changes) == 150
    emptied = pl.read_csv(tmp_path / "emptied" / "test.csv")
    gone = [c for c in emptied.columns if emptied[c].null_count() == 150 and c != "b"]
    assert len(gone) >= 4
    assert changes == ["150 rows", f"empty: {', '.join(gone)}"]


@pytest.mark.slow
@needs_namespaces
def test_a_rehearsal_meets_them(made: Small, no_wheels: Path) -> None:
    trained(made, no_wheels, '["alone", "crowd"]')
    kernel = made.open.kernels.build(1, python=HERE, wheels=no_wheels)
    found = made.open.kernels.rehearse(1, kernel)
    assert (found.n_differing, found.n_rows) == (0, (300, 450))
    assert found.n_changed_by_hidden > 0
    assert pl.read_csv(found.emptied_submission).height == 150
    notes = "\n".join(found.notes)
    assert "depend on which rows the test set has, or on chance: crowd" in notes
    assert "hidden test set: filled, where the public test set is empty: b" in notes
    trained(made, no_wheels)
    found = made.open.kernels.rehearse(1, made.open.kernels.build(1, python=HERE, wheels=no_wheels))
    assert found.n_changed_by_hidden == 0
