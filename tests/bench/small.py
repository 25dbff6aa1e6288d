"""What a run of a small experiment takes beyond LightGBM itself: 1,500 x 80, 5 folds, in one process.

Ours is the library's call, from the feature matrix to the record. Theirs is bare LightGBM on arrays that are there:
the same bins, folds and parameters, OOF and test predictions and nothing else. What counts is the difference.

Then as whole processes, start and imports included, for 1,000, 5,000 and 20,000 train rows: `wb run --force` against a
script with the same loop (`python -m tests.bench.small`), and `wb run` of the experiment that has not changed.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.bench.measured import median_seconds, process, row

REPEATS = 9
PROCESS_REPEATS = 3
PROCESS_ROWS = (1_000, 5_000, 20_000)
MODEL = {"learning_rate": 0.1, "num_leaves": 15, "num_iterations": 200, "early_stopping_round": 30}


def cases(scale: float) -> list[dict[str, Any]]:
    return [*_in_one_process(scale), *(r for n in PROCESS_ROWS for r in _as_processes(int(n * scale)))]


def _as_processes(n_train: int) -> list[dict[str, Any]]:
    from tests.bench.overhead import prepare

    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        prepare(here, int(n_train * 1.25), MODEL)
        wb = [str(Path(sys.executable).parent / "wb"), "run", "--exp", "1", "-c", "wide"]
        commands = {
            "ours": [*wb, "--force"],
            "unchanged": wb,
            "bare loop": [sys.executable, "-m", "tests.bench.small", folder],
        }
        measured: dict[str, list[float]] = {name: [] for name in commands}
        process(wb, here)  # what is stored at the first run is there, as from the second experiment on
        for _ in range(PROCESS_REPEATS):  # in turn, so that a slow moment of the machine hits all
            for name, command in commands.items():
                measured[name].append(process(command, Path.cwd() if name == "bare loop" else here)[0])
        ours, unchanged, theirs = (statistics.median(times) for times in measured.values())
        beyond = statistics.median(a - b for a, b in zip(measured["ours"], measured["bare loop"], strict=True))
        case = f"{n_train:,} x 80, processes"
        return [
            row(case, "time", "s", ours, {"bare loop": theirs}),
            row(case, "beyond the bare loop", "s", beyond, {}),
            row(case, "unchanged", "s", unchanged, {}),
        ]


def _in_one_process(scale: float) -> list[dict[str, Any]]:
    from tests.bench.overhead import prepare
    from workbench.api import library

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


if __name__ == "__main__":
    _bare(Path(sys.argv[1]))()
