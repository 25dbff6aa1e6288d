"""Inference of a built kernel over a hidden test set of 1 million rows, against a bare script with the same models.

200,000 train rows, from CSV files. Both read the files, compute 24 features over train and test, predict with the five
models of the run, and write the submission; the submissions must be equal. Ours is `predict` of the built
bundle, with all of its checks. Theirs knows everything beforehand: types, categories, columns. "start" is the same with
1,000 rows and small models: what does not depend on the number of rows. Each is a process of its own.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.bench.measured import process, row
from workbench.api import library
from workbench.data.workspace import create_workspace
from workbench.rehearsal import RehearsalSpec, create

TRAIN_ROWS, PUBLIC_ROWS, HIDDEN_ROWS = 200_000, 20_000, 1_000_000
SMALL_ROWS = 1_000
NUMBERS, ROUNDS, REPEATS = 20, 100, 3
SLUG = "shop"

FEATURES = """
import polars as pl

from workbench.features import ROW, feature


@feature
def differences(rows):
    return [(pl.col(f"x{i}") - pl.col(f"x{i + 1}")).alias(f"d{i}") for i in range(12)]


@feature
def per_shop(rows):
    means = [pl.col(f"x{i}").mean().alias(f"mean{i}") for i in range(5)]
    spreads = [pl.col(f"x{i}").std().alias(f"std{i}") for i in range(5)]
    found = rows.group_by("shop").agg(*means, *spreads)
    return rows.select(ROW, "shop").join(found, on="shop", how="left").drop("shop")


@feature
def counts(rows):
    return [pl.len().over(name).alias(f"n_{name}") for name in ("city", "kind")]
"""

EXPERIMENT = """features = ["rows", "differences", "per_shop", "counts"]
[model]
learning_rate = 0.05
num_leaves = 63
num_iterations = {rounds}
early_stopping_round = 0
"""

OURS = """
import sys
from workbench.models.serving import predict
predict(sys.argv[1], sys.argv[2], out="ours.csv")
"""

BARE = """
import sys
from pathlib import Path
import lightgbm as lgb
import numpy as np
import polars as pl

bundle, data = map(Path, sys.argv[1:])
train, test = pl.scan_csv(data / "train.csv"), pl.scan_csv(data / "test.csv")
rows = pl.concat([train.drop("y"), test]).with_row_index("row")
means = [pl.col(f"x{i}").mean().alias(f"mean{i}") for i in range(5)]
spreads = [pl.col(f"x{i}").std().alias(f"std{i}") for i in range(5)]
n_train = train.select(pl.len()).collect().item()
texts = ["city", "kind"]
levels = {name: train.select(pl.col(name).unique().sort()).collect()[name] for name in texts}
names = test.collect_schema().names()[1:]
rows = (
    rows.with_columns((pl.col(f"x{i}") - pl.col(f"x{i + 1}")).alias(f"d{i}") for i in range(12))
    .with_columns(pl.len().over(name).alias(f"n_{name}") for name in texts)
    .join(rows.group_by("shop").agg(*means, *spreads), on="shop", how="left", maintain_order="left")
    .filter(pl.col("row") >= n_train)
    .with_columns(pl.col(name).cast(pl.Enum(levels[name]), strict=False).to_physical().cast(pl.Int32) for name in texts)
)
columns = [*names, *(f"d{i}" for i in range(12)), *(e.meta.output_name() for e in (*means, *spreads)), "n_city", "n_kind"]
frame = rows.select("id", *columns).with_columns(pl.col(pl.Float64).cast(pl.Float32)).collect()
X, ids = frame.select(columns), frame["id"]
predicted, models = np.zeros(len(X)), sorted((bundle / "models").glob("t0-f*.txt"))
for path in models:
    predicted += lgb.Booster(model_file=path).predict(X)
pl.DataFrame({"id": ids, "y": predicted / len(models)}).write_csv("bare.csv")
"""


def cases(scale: float) -> list[dict[str, Any]]:
    rows = []
    n_train, n_hidden = int(TRAIN_ROWS * scale), int(HIDDEN_ROWS * scale)
    sizes = [(f"{n_hidden:,} rows", n_train, int(PUBLIC_ROWS * scale), n_hidden, ROUNDS)]
    sizes += [("start", SMALL_ROWS, SMALL_ROWS, SMALL_ROWS, 5)]
    for case, n_train, n_public, n_hidden, rounds in sizes:
        with tempfile.TemporaryDirectory() as folder:
            bundle, hidden = prepare(Path(folder), (n_train, n_public, n_hidden), rounds)
            rows += measured(Path(folder), bundle, hidden, case)
    return rows


def measured(here: Path, bundle: Path, hidden: Path, case: str) -> list[dict[str, Any]]:
    """Measure both sides in turn, and compare what they wrote."""
    results: dict[str, list[tuple[float, float]]] = {"ours": [], "bare script": []}
    for _ in range(REPEATS):
        for name, script in zip(results, (OURS, BARE), strict=True):
            results[name].append(process([sys.executable, "-c", script, str(bundle), str(hidden)], here))
    ours, bare = (pl.read_csv(here / f"{name}.csv") for name in ("ours", "bare"))
    if not ours.equals(bare):
        raise SystemExit(f"{case}: the two submissions differ")
    rows = []
    for index, (measure, unit) in enumerate((("time", "s"), ("peak memory", "MB"))):
        medians = {name: statistics.median(result[index] for result in found) for name, found in results.items()}
        rows.append(row(case, measure, unit, medians.pop("ours"), medians))
    return rows


def prepare(here: Path, sizes: tuple[int, int, int], rounds: int) -> tuple[Path, Path]:
    """Run an experiment, build its kernel, and write a hidden test set; return the folders of the last two."""
    n_train, n_public, n_hidden = sizes
    rng = np.random.default_rng(0)
    path = here / "all.csv"
    table(rng, 0, n_train + n_public).write_csv(path)
    place = create_workspace(here)
    holdout = n_public / (n_train + n_public)
    create(place.root, SLUG, RehearsalSpec(train=path, targets=("y",), metric="auc", holdout=holdout))
    library.fetch(SLUG, where=place)
    folder = place.competitions / SLUG
    (folder / "features.py").write_text(FEATURES)
    (folder / "experiments" / "001.toml").write_text(EXPERIMENT.format(rounds=rounds))
    opened = library.competition(SLUG, where=place)
    opened.run(1)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    bundle = opened.kernels.build(1, python=python, wheels=no_wheels(here)).bundle
    hidden, raw = here / "hidden", folder / "data" / "raw"
    hidden.mkdir()
    (hidden / "train.csv").write_bytes((raw / "train.csv").read_bytes())
    test = table(rng, n_train + n_public, n_hidden)
    test.drop("y").write_csv(hidden / "test.csv")
    test.select("id", y=pl.lit(0.5)).write_csv(hidden / "sample_submission.csv")
    return bundle, hidden


def table(rng: np.random.Generator, first_id: int, n_rows: int) -> pl.DataFrame:
    """Make rows with their target."""
    columns: dict[str, Any] = {"id": np.arange(first_id, first_id + n_rows)}
    columns |= {f"x{i}": rng.normal(size=n_rows).round(5) for i in range(NUMBERS)}
    columns["shop"] = rng.integers(0, 2_000, n_rows)
    columns["city"] = pl.Series(rng.integers(0, 300, n_rows)).cast(pl.String) + " city"
    columns["kind"] = pl.Series(rng.integers(0, 12, n_rows)).cast(pl.String) + " kind"
    signal = columns["x0"] + columns["x1"] * columns["x2"] + columns["shop"] % 7 / 4 + rng.normal(size=n_rows)
    columns["y"] = (signal > 1.5).astype(np.int8)
    return pl.DataFrame(columns)


def no_wheels(here: Path) -> Path:
    """Make a folder with an empty wheel, as the packages of this Python are used."""
    folder = here / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "nothing-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("nothing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: nothing\nVersion: 1.0\n")
    return folder
