"""Five folds with early stopping: `wb run` against bare `lgb.cv` that also predicts, and against the usual loop.

400,000 train and 100,000 test rows of 80 columns. All three read the same Parquet files, train with the same parameters
on the same folds until the AUC has not risen for 30 rounds, and end with OOF and test predictions. Each is a process of
its own; `lgb.cv` stops all folds at once, the other two each by itself.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.measured import process, row
from tests.bench.overhead import prepare

REPEATS = 3
MODEL = {"learning_rate": 0.1, "num_leaves": 63, "num_iterations": 1000, "early_stopping_round": 30}


def cases(scale: float) -> list[dict[str, Any]]:
    n_rows = int(500_000 * scale)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        prepare(here, n_rows, MODEL)
        wb = [str(Path(sys.executable).parent / "wb"), "run", "--exp", "1", "--force", "-c", "wide"]
        script = str(Path(__file__).with_name("overhead_bare.py"))
        commands = {
            "ours": wb,
            "lgb.cv": [sys.executable, "-P", script, "bare", "stopping"],
            "usual loop": [sys.executable, "-P", script, "usual", "stopping"],
        }
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        # One after the other in every round, so that a slow minute of the machine hits all three.
        for _ in range(REPEATS):
            for name, command in commands.items():
                measured[name].append(process(command, here))
        seconds = {k: statistics.median(s for s, _ in v) for k, v in measured.items()}
        memory = {k: statistics.median(m for _, m in v) for k, v in measured.items()}
        case = f"{int(n_rows * 0.8):,} x 80, stopping"
        return [
            row(case, "time", "s", seconds.pop("ours"), seconds),
            row(case, "peak memory", "MB", memory.pop("ours"), memory),
        ]
