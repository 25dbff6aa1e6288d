"""Columns that are awkward by their values, their types or their names go through every command and model library."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.commands import forked_wb
from tests.small import Small
from workbench.api import library
from workbench.data.workspace import create_workspace
from workbench.rehearsal import RehearsalSpec, create

MODELS = {
    "lightgbm": "[model]\nnum_iterations = 10",
    "xgboost": "[xgboost]\nnum_boost_round = 10",
    "catboost": "[catboost]\niterations = 10",
    "linear": '[sklearn]\nestimator = "sklearn.linear_model.Ridge"',
    "forest": '[sklearn]\nestimator = "sklearn.ensemble.RandomForestRegressor"\nn_estimators = 10',
    "histogram": '[sklearn]\nestimator = "sklearn.ensemble.HistGradientBoostingRegressor"\nmax_iter = 10',
    "neighbours": '[sklearn]\nestimator = "sklearn.neighbors.KNeighborsRegressor"',
}
NAMES = [
    "__row__", "__order__", "side", "text", "all", "train", "test", "value", "count", "fold", "row", "prediction", "len",
    "n", "key", "index", "literal", "label", "weight", "column", "a[0]", "a<b", "a]", "q:{,}", 'we"ird', "", "0", "ä ö",
]  # fmt: skip


def fetched(root: Path, columns: dict[str, pl.Series], n: int = 240) -> Small:
    """Host and fetch a competition with these columns beside one that tells the target."""
    x = np.random.default_rng(2).normal(size=n)
    workspace = create_workspace(root)
    frame = pl.DataFrame({"id": np.arange(n), "a": x, **columns, "y": x + 0.1 * np.sin(np.arange(n))})
    frame.write_parquet(root / "all.parquet")
    spec = RehearsalSpec(
        train=root / "all.parquet", targets=("y",), metric="rmse", holdout=0.25, after=None, ids=("id",)
    )
    create(workspace.root, "small", spec)
    library.fetch("small", where=workspace)
    return Small(workspace, "small")


def odd_numbers(n: int = 240) -> dict[str, pl.Series]:
    x = np.random.default_rng(5).normal(size=n)
    some = np.arange(n)
    huge = x * 1e300
    huge[:2] = 1.7e308, -1.7e308
    return {
        "low": pl.Series(np.where(some % 5 == 0, -np.inf, x)),
        "high": pl.Series(np.where(some % 7 == 0, np.inf, x)),
        "gaps": pl.Series(np.where(some % 3 == 0, np.nan, np.where(some % 5 == 0, -np.inf, x))),
        "ends": pl.Series(np.where(some % 2 == 0, np.inf, -np.inf)),
        "single": pl.Series(np.where(some % 5 == 0, -np.inf, x).astype(np.float32)),
        "huge": pl.Series(huge),
    }


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return fetched(tmp_path_factory.mktemp("numbers"), odd_numbers())


@pytest.mark.parametrize("features", ["rows", "auto"])
@pytest.mark.parametrize("model", list(MODELS))
def test_every_library_takes_infinite_and_huge_numbers(numbers: Small, model: str, features: str) -> None:
    number = 10 * (1 + list(MODELS).index(model)) + (features == "auto")
    numbers.experiment(number, f'title = "t"\nfeatures = ["{features}"]\nseeds = [1]\n{MODELS[model]}\n')
    run = numbers.open.run(number)
    assert run.oof["prediction" if "prediction" in run.oof.columns else run.oof.columns[-1]].is_finite().all()
    assert run.score < 1.2


def odd_types(n: int = 240) -> dict[str, pl.Series]:
    x = [round(float(v), 2) for v in np.random.default_rng(5).normal(size=n)]
    start = dt.datetime(2024, 1, 1)  # noqa: DTZ001
    return {
        "lists": pl.Series([[v, 1.0] if v > -1 else ([] if v > -2 else None) for v in x]),
        "structs": pl.Series([{"p": v, "q": "x"} for v in x]),
        "bytes": pl.Series([str(v).encode() for v in x]),
        "decimal": pl.Series([Decimal(str(v)) for v in x], dtype=pl.Decimal(12, 2)),
        "span": pl.Series([dt.timedelta(seconds=v) for v in x]),
        "clock": pl.Series([dt.time(int(abs(v) * 5) % 24, 3) for v in x]),
        "nothing": pl.Series([None] * n, dtype=pl.Null),
        "category": pl.Series(["u" if v > 0 else "w" for v in x], dtype=pl.Categorical),
        "enum": pl.Series(["u" if v > 0 else "w" for v in x], dtype=pl.Enum(["u", "w", "z"])),
        "zoned": pl.Series([start + dt.timedelta(hours=v) for v in x]).dt.replace_time_zone("UTC"),
        "array": pl.Series([[1.0, v] for v in x], dtype=pl.Array(pl.Float64, 2)),
        "wide": pl.Series([int(v * 100) for v in x], dtype=pl.Int128),
    }


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["types", "names", "numbers"])
def test_every_command_takes_them(tmp_path: Path, columns: str) -> None:
    rng = np.random.default_rng(1)
    by_name = {
        name: pl.Series(rng.integers(0, 9, 240) if i % 2 else rng.normal(size=240)) for i, name in enumerate(NAMES)
    }
    text = {"t": pl.Series([f"t {i % 7}" for i in range(240)]), "train_": pl.Series(["p", "q", "r"] * 80)}
    small = fetched(tmp_path, {"types": odd_types(), "names": by_name | text, "numbers": odd_numbers()}[columns])
    for arguments in (
        ["run", "--exp", "1"],
        ["check"],
        ["features"],
        ["report"],
        ["report", "1"],
        ["submit", "--exp", "1", "--yes"],
    ):
        ran = forked_wb(*arguments, cwd=small.folder)
        assert (ran.returncode, "Traceback" in ran.stderr) == (0, False), (arguments, ran.stderr[-2000:])


def test_a_column_that_has_the_row_keys_name_gets_another_and_is_said(tmp_path: Path) -> None:
    small = fetched(tmp_path, {"__row__": pl.Series(np.arange(240)[::-1] % 11)})
    info = small.open.tables["train"]
    assert "__row___" in info.collect_schema()
    manifest = (small.folder / "data" / "tables" / "manifest.json").read_text()
    assert "what the file calls '__row__'" in manifest
    assert "__row___" in pl.Series(small.open.rows.collect_schema().names()).to_list()
