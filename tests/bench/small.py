"""What a run of a small experiment takes beyond LightGBM itself: 1,500 x 80, 5 folds, in one process.

Ours is the library's call, from the feature matrix to the record. Theirs is bare LightGBM on arrays that are there:
the same bins, folds and parameters, OOF and test predictions and nothing else. What counts is the difference.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.bench.measured import median_seconds, row
from tests.bench.overhead import prepare
from workbench.api import library

REPEATS = 9
MODEL = {"learning_rate": 0.1, "num_leaves": 15, "num_iterations": 200, "early_stopping_round": 30}


def cases(scale: float) -> list[dict[str, Any]]:
    n_rows = int(1_875 * scale)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        prepare(here, n_rows, MODEL)
        competition = library.competition("wide", where=library.workspace(here))
        bare = _bare(here)
        ours_all, theirs_all = [], []
        for _ in range(REPEATS):  # in turn, so that a slow moment of the machine hits both
            ours_all.append(median_seconds(lambda: competition.run(1, force=True), 1))
            theirs_all.append(median_seconds(bare, 1))
        ours, theirs = statistics.median(ours_all), statistics.median(theirs_all)
        beyond = statistics.median(a - b for a, b in zip(ours_all, theirs_all, strict=True))
        case = f"{int(n_rows * 0.8):,} x 80, 5 folds"
        return [
            row(case, "time", "s", ours, {"LightGBM": theirs}),
            row(case, "beyond LightGBM", "s", beyond, {}),
        ]


def _bare(here: Path) -> Any:
    import lightgbm as lgb

    tables = here / "competitions/wide/data/tables"
    train, test = pl.read_parquet(tables / "train.parquet"), pl.read_parquet(tables / "test.parquet")
    columns = [c for c in train.columns if c not in ("id", "y")]
    x, x_test = (t.select(columns).cast(pl.Float32).to_numpy() for t in (train, test))
    y, folds = train["y"].to_numpy(), np.load(here / "folds.npy")
    parameters: dict[str, Any] = {"objective": "binary", "metric": "auc", "verbosity": -1, "feature_pre_filter": False}
    parameters |= {k: MODEL[k] for k in ("learning_rate", "num_leaves")}
    parameters |= {"deterministic": True, "force_col_wise": True, "seed": 1}

    def run() -> None:
        data = lgb.Dataset(x, y, params=parameters).construct()
        oof, predicted = np.zeros(len(x)), np.zeros(len(x_test))
        for k in range(5):
            fit, valid = np.flatnonzero(folds != k), np.flatnonzero(folds == k)
            booster = lgb.train(
                parameters,
                data.subset(fit),
                MODEL["num_iterations"],  # type: ignore[arg-type]
                valid_sets=[data.subset(valid)],
                callbacks=[lgb.early_stopping(MODEL["early_stopping_round"], verbose=False)],  # type: ignore[arg-type]
            )
            oof[valid] = booster.predict(x[valid])
            predicted += booster.predict(x_test) / 5

    return run
