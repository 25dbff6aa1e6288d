"""What a run of a small experiment takes beyond LightGBM itself: 1,500 x 80, 5 folds, in one process.

Ours is the library's call, from the feature matrix to the record. Theirs is bare LightGBM on arrays that are there:
the same bins, folds and parameters, OOF and test predictions and nothing else. What counts is the difference. `lgb.cv`
stops all folds at the best round of their mean curve, as ours; the bare loop stops each by itself, which takes other
numbers of rounds and gives optimistic OOF.

Then as whole processes, start and imports included, for 1,000, 5,000 and 20,000 train rows: `wb run --force` against
scripts with the same two (`python -m tests.bench.small`), and `wb run` of the experiment that has not changed.
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
            "lgb.cv": [sys.executable, "-m", "tests.bench.small", folder, "cv"],
            "bare loop": [sys.executable, "-m", "tests.bench.small", folder, "loop"],
        }
        measured: dict[str, list[float]] = {name: [] for name in commands}
        process(wb, here)  # what is stored at the first run is there, as from the second experiment on
        for _ in range(PROCESS_REPEATS):  # in turn, so that a slow moment of the machine hits all
            for name, command in commands.items():
                measured[name].append(process(command, here if "run" in command else Path.cwd())[0])
        return [
            *_rows(f"{n_train:,} x 80, processes", measured),
            row(f"{n_train:,} x 80, processes", "unchanged", "s", statistics.median(measured["unchanged"]), {}),
        ]


def _rows(case: str, measured: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Return the medians of the times, and of the differences of ours to theirs in each repeat."""
    ours, theirs = measured["ours"], {name: measured[name] for name in ("lgb.cv", "bare loop")}
    rows = [row(case, "time", "s", statistics.median(ours), {n: statistics.median(t) for n, t in theirs.items()})]
    for name, times in theirs.items():
        beyond = statistics.median(a - b for a, b in zip(ours, times, strict=True))
        rows.append(row(case, f"beyond {name}", "s", beyond, {}))
    return rows


def _in_one_process(scale: float) -> list[dict[str, Any]]:
    from tests.bench.overhead import prepare
    from workbench.api import library

    n_rows = int(1_875 * scale)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        prepare(here, n_rows, MODEL)
        competition = library.competition("wide", where=library.workspace(here))
        scripts = {"lgb.cv": _bare(here, "cv"), "bare loop": _bare(here, "loop")}
        scripts |= {"ours": lambda: competition.run(1, force=True)}
        measured: dict[str, list[float]] = {name: [] for name in scripts}
        for _ in range(REPEATS):  # in turn, so that a slow moment of the machine hits all
            for name, function in scripts.items():
                measured[name].append(median_seconds(function, 1))
        return _rows(f"{int(n_rows * 0.8):,} x 80, 5 folds", measured)


def _bare(here: Path, how: str) -> Any:
    """Return a function that trains the folds by `lgb.cv` ("cv") or one after the other ("loop"), and predicts."""
    import lightgbm as lgb

    tables = here / "competitions/wide/data/tables"
    train, test = pl.read_parquet(tables / "train.parquet"), pl.read_parquet(tables / "test.parquet")
    columns = [c for c in train.columns if c not in ("id", "y")]
    x, x_test = (t.select(columns).cast(pl.Float32).to_numpy() for t in (train, test))
    y, folds = train["y"].to_numpy(), np.load(here / "folds.npy")
    parameters: dict[str, Any] = {"objective": "binary", "metric": "auc", "verbosity": -1, "feature_pre_filter": False}
    parameters |= {k: MODEL[k] for k in ("learning_rate", "num_leaves")}
    parameters |= {"deterministic": True, "force_col_wise": True, "seed": 1}

    pairs = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(5)]
    rounds: Any = MODEL["num_iterations"]

    def stop() -> list[Any]:
        return [lgb.early_stopping(MODEL["early_stopping_round"], verbose=False)]  # type: ignore[arg-type]

    def boosters() -> list[Any]:
        data = lgb.Dataset(x, y, params=parameters).construct()
        if how == "cv":
            result = lgb.cv(parameters, data, rounds, folds=pairs, return_cvbooster=True, callbacks=stop())
            return list(result["cvbooster"].boosters)
        return [
            lgb.train(parameters, data.subset(fit), rounds, valid_sets=[data.subset(valid)], callbacks=stop())
            for fit, valid in pairs
        ]

    def run() -> None:
        oof, predicted = np.zeros(len(x)), np.zeros(len(x_test))
        for booster, (_, valid) in zip(boosters(), pairs, strict=True):
            oof[valid] = booster.predict(x[valid])
            predicted += booster.predict(x_test) / 5

    return run


if __name__ == "__main__":
    _bare(Path(sys.argv[1]), sys.argv[2])()
