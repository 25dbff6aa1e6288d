"""What a ``[notebook]`` run takes beyond the same code as a plain script.

Ours is `wb run` on the notebook, to the executed copy, its page and the record. Theirs is `python SCRIPT` on the same
cells, which shows the score and keeps nothing. Both read the features from the cache.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat

from tests.bench.measured import row
from tests.bench.overhead import prepare

REPEATS = 5
CELLS = (
    "rounds = 100",
    """from workbench import nb
import lightgbm as lgb
import numpy as np

X, X_test = nb.features()
y = nb.target""",
    """oof, test = np.full(len(y), np.nan), np.zeros(len(X_test))
for fold in nb.folds:
    fit = lgb.Dataset(X[fold.train], label=y[fold.train])
    model = lgb.train({"objective": "binary", "verbosity": -1}, fit, num_boost_round=rounds)
    oof[fold.valid] = model.predict(X[fold.valid])
    test += model.predict(X_test) / len(nb.folds)""",
    "nb.record(oof=oof, test=test)",
)


def cases(scale: float) -> list[dict[str, Any]]:
    n_rows = int(25_000 * scale)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        prepare(here, n_rows, {})
        competition = here / "competitions/wide"
        node = nbformat.v4.new_notebook()
        node.cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
        node.cells[0].metadata["tags"] = ["parameters"]
        node.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        (here / "notebooks").mkdir(exist_ok=True)
        nbformat.write(node, here / "notebooks" / "model.ipynb")
        (competition / "experiments" / "002.toml").write_text('[notebook]\nfile = "model.ipynb"\n')
        script = here / "script.py"
        script.write_text("\n\n".join(CELLS))
        ours, theirs = [], []
        for _ in range(REPEATS):  # in turn, so that a slow moment of the machine hits both
            ours.append(_seconds([sys.executable, "-m", "workbench", "run", "--exp", "2", "--force"], competition))
            theirs.append(_seconds([sys.executable, str(script)], competition))
        beyond = statistics.median(a - b for a, b in zip(ours, theirs, strict=True))
        case = f"{int(n_rows * 0.8):,} x 80, 5 folds"
        return [
            row(case, "time", "s", statistics.median(ours), {"script": statistics.median(theirs)}),
            row(case, "beyond the script", "s", beyond, {}),
        ]


def _seconds(command: list[str], folder: Path) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - started
