"""A wide table in many blocks: 300 features with 2,000 columns, from the cache to a trained experiment.

200,000 train and 50,000 test rows. The blocks are built before; `wb run` assembles them, bins, trains and predicts.
Theirs is bare LightGBM on one matrix from one Parquet file with the same columns: as a polars frame (Arrow) and as
numpy's float32, the same parameters and folds, OOF and test predictions. The columns are of three types, as the results
of polars' expressions are: Float64, Float32 and Int16. Each is a process of its own.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.bench.measured import process, row
from workbench.api import library
from workbench.data.competition import ROW
from workbench.data.workspace import create_workspace
from workbench.models.folds import load_folds
from workbench.rehearsal import RehearsalSpec, create

ROWS, COLUMNS, BLOCKS, BASE_COLUMNS = 250_000, 2_000, 300, 20
FOLDS, ROUNDS, REPEATS = 5, 20, 3
SLUG = "wide"

EXPERIMENT = f"""features = [{{features}}]
[model]
learning_rate = 0.1
num_leaves = 31
num_iterations = {ROUNDS}
early_stopping_round = 0
"""

ASSEMBLED = """
from pathlib import Path
from workbench.api import library
from workbench.data.workspace import Workspace
from workbench.experiments.ready import ready
from workbench.models.lightgbm.bins import shared_bins

opened = library.OpenCompetition(Workspace(Path.cwd()), "wide")
prepared = ready(opened.access.workspace, opened.access.competition, 1)
shared_bins(prepared.problem).dataset({"feature_pre_filter": False}, threads=2)
"""

BARE = f"""
import sys
import lightgbm as lgb
import numpy as np
import polars as pl

kind, how = sys.argv[1:]
y, folds = np.load("y.npy"), np.load("folds.npy")
train = pl.read_parquet("one.parquet", n_rows=len(y))
X = train if kind == "polars" else train.cast(pl.Float32).to_numpy()
del train
parameters = {{"verbosity": -1, "objective": "binary", "metric": "auc", "learning_rate": 0.1, "num_leaves": 31}}
parameters |= {{"deterministic": True, "force_col_wise": True, "num_threads": 2, "feature_pre_filter": False}}
data = lgb.Dataset(X, label=y, params=parameters, free_raw_data=how == "assembled").construct()
if how == "assembled":
    sys.exit()
pairs = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range({FOLDS})]
result = lgb.cv(parameters, data, num_boost_round={ROUNDS}, folds=pairs, return_cvbooster=True)
del data
oof, boosters = np.zeros(len(y)), result["cvbooster"].boosters
for booster, (_, valid) in zip(boosters, pairs, strict=True):
    oof[valid] = booster.predict(X[valid])
del X
test = pl.scan_parquet("one.parquet").slice(len(y)).collect()
T = test if kind == "polars" else test.cast(pl.Float32).to_numpy()
predicted = sum(booster.predict(T) for booster in boosters) / {FOLDS}
np.save("oof.npy", oof)
pl.DataFrame({{"id": np.arange(len(predicted)), "y": predicted}}).write_csv("bare.csv")
"""


def features_file(columns: int, blocks: int) -> str:
    """Write the code of the features: 6 or 7 columns each, of three types in turn."""
    code = ["import polars as pl", "from workbench.features import feature", ""]
    edges = np.linspace(0, columns, blocks + 1).astype(int)
    kinds = ["{}", "{}.cast(pl.Float32)", "({} * 50).cast(pl.Int16)"]
    for block, (first, last) in enumerate(itertools.pairwise(edges)):
        expressions = []
        for number in range(first, last):
            one, other = number % BASE_COLUMNS, (number // BASE_COLUMNS) % BASE_COLUMNS
            value = f'(pl.col("x{one}") * {1 + number / 7:.4f} + pl.col("x{other}")).sin()'
            expressions.append(f'    {kinds[number % 3].format(value)}.alias("c{number}"),')
        code += ["", "@feature", f"def block_{block}(rows):", "    return [", *expressions, "    ]", ""]
    return "\n".join(code)


def prepare(here: Path, n_rows: int, columns: int, blocks: int) -> None:
    """Make the competition, build the blocks, and write the same columns as one file, with labels and folds."""
    rng = np.random.default_rng(0)
    table: dict[str, Any] = {"id": np.arange(n_rows)}
    table |= {f"x{i}": rng.normal(size=n_rows) for i in range(BASE_COLUMNS)}
    signal = np.sin(table["x0"] * 3) + table["x1"] * table["x2"] + rng.normal(size=n_rows)
    table["y"] = (signal > np.quantile(signal, 0.8)).astype(np.int8)
    pl.DataFrame(table).write_parquet(here / "all.parquet")
    place = create_workspace(here)
    create(place.root, SLUG, RehearsalSpec(train=here / "all.parquet", targets=("y",), metric="auc", holdout=0.2))
    library.fetch(SLUG, where=place)
    folder = place.competitions / SLUG
    (folder / "features.py").write_text(features_file(columns, blocks))
    names = ", ".join(f'"block_{i}"' for i in range(blocks))
    (folder / "experiments" / "001.toml").write_text(EXPERIMENT.format(features=names))
    opened = library.competition(SLUG, where=place)
    opened.features.summaries(build=True)
    competition = opened.access.competition
    np.save(here / "folds.npy", load_folds(competition).valid)
    cached = opened.access.blocks()
    lines = [cached.lines(f"block_{i}").drop(ROW) for i in range(blocks)]
    whole = pl.concat([frame.collect() for frame in lines], how="horizontal")
    whole.write_parquet(here / "one.parquet", compression="lz4", row_group_size=256 * 1024)
    np.save(here / "y.npy", competition.table("train").select("y").collect()["y"].to_numpy())


def cases(scale: float) -> list[dict[str, Any]]:
    n_rows = int(ROWS * scale)
    columns, blocks = (COLUMNS, BLOCKS) if scale >= 0.1 else (int(COLUMNS * scale), int(BLOCKS * scale))
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        prepare(here, n_rows, columns, blocks)
        case = f"{int(n_rows * 0.8):,} x {columns:,}, {blocks} blocks"
        wb = [str(Path(sys.executable).parent / "wb"), "run", "--exp", "1", "--force", "-c", SLUG]
        assembled = _measured(here, [sys.executable, "-c", ASSEMBLED], "assembled")
        trained = _measured(here, wb, "trained")
    return [*_rows(f"{case}: bins", assembled), *_rows(f"{case}: run", trained)]


def _measured(here: Path, ours: list[str], how: str) -> dict[str, list[tuple[float, float]]]:
    bare = [sys.executable, "-c", BARE]
    commands = {"ours": ours, "polars": [*bare, "polars", how], "numpy": [*bare, "numpy", how]}
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(REPEATS):
        for name, command in commands.items():
            # Without the bins of the run before: bare LightGBM bins each time.
            for path in (here / "competitions" / SLUG / "cache").glob("*.bin"):
                path.unlink()
            measured[name].append(process(command, here))
    return measured


def _rows(case: str, measured: dict[str, list[tuple[float, float]]]) -> list[dict[str, Any]]:
    rows = []
    for index, (measure, unit) in enumerate((("time", "s"), ("peak memory", "MB"))):
        medians = {name: statistics.median(values[index] for values in v) for name, v in measured.items()}
        rows.append(row(case, measure, unit, medians.pop("ours"), medians))
    return rows
