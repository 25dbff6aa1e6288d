"""`wb run` against bare `lgb.cv` that also predicts, and against the usual notebook, each in a process of its own.

400,000 train and 100,000 test rows of 80 columns, 5 stratified folds, 100 rounds. All three read the same Parquet
files, train with the same parameters on the same folds, and end with OOF and test predictions.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.bench.measured import process, row
from workbench.api import library
from workbench.data.workspace import create_workspace
from workbench.models.folds import load_folds
from workbench.rehearsal import RehearsalSpec, create

REPEATS = 3
MODEL = {"learning_rate": 0.1, "num_leaves": 63, "num_iterations": 100, "early_stopping_round": 0}


def cases(scale: float) -> list[dict[str, Any]]:
    n_rows = int(500_000 * scale)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        prepare(here, n_rows, MODEL)
        wb = [str(Path(sys.executable).parent / "wb"), "run", "--exp", "1", "--force", "-c", "wide"]
        # -P: a module beside it is named like one of Python's own.
        script = [sys.executable, "-P", str(Path(__file__).with_name("overhead_bare.py"))]
        bare, usual = [*script, "bare"], [*script, "usual"]
        measured: dict[str, list[tuple[float, float]]] = {"ours": [], "lgb.cv": [], "usual notebook": []}
        # One after the other in every round, so that a slow minute of the machine hits all three.
        for _ in range(REPEATS):
            for name, command in (("ours", wb), ("lgb.cv", bare), ("usual notebook", usual)):
                measured[name].append(process(command, here))
        seconds = {k: statistics.median(s for s, _ in v) for k, v in measured.items()}
        memory = {k: statistics.median(m for _, m in v) for k, v in measured.items()}
        case = f"{int(n_rows * 0.8):,} x 80, 5 folds"
        return [
            row(case, "time", "s", seconds.pop("ours"), seconds),
            row(case, "peak memory", "MB", memory.pop("ours"), memory),
        ]


def prepare(here: Path, n_rows: int, model: dict[str, Any]) -> None:
    """Make a competition of 80 columns with an experiment, and leave its folds in ``folds.npy``."""
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {"id": np.arange(n_rows)}
    columns |= {f"n{i}": rng.normal(size=n_rows).astype(np.float32) for i in range(70)}
    columns |= {f"k{i}": rng.integers(0, 50, n_rows).astype(np.int32) for i in range(10)}
    signal = columns["n0"] + columns["n1"] * columns["n2"] + (columns["k0"] % 7) / 3 + rng.normal(size=n_rows)
    columns["y"] = (signal > np.quantile(signal, 0.8)).astype(np.int8)
    pl.DataFrame(columns).write_parquet(here / "all.parquet")
    place = create_workspace(here)
    spec = RehearsalSpec(train=here / "all.parquet", targets=("y",), metric="auc", holdout=0.2)
    create(place.root, "wide", spec)
    library.fetch("wide", where=place)
    folder = place.competitions / "wide"
    settings = "\n".join(f"{k} = {v}" for k, v in model.items())
    (folder / "experiments" / "001.toml").write_text(f'features = ["rows"]\n[model]\n{settings}\n')
    folds = load_folds(library.competition("wide", where=place).access.competition)
    np.save(here / "folds.npy", folds.valid)
