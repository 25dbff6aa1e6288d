"""How long one waits for `wb --help` and for `wb table` with 10,000 runs."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.bench.measured import process, row
from tests.example_records import RUN
from workbench.data.workspace import create_workspace
from workbench.ledger import Ledger

REPEATS = 7


def cases(scale: float) -> list[dict[str, Any]]:
    n = int(10_000 * scale)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        _fill_ours(here, n)
        wb = [str(Path(sys.executable).parent / "wb")]
        python = _median([sys.executable, "-c", "pass"], here)
        rows = [row("wb --help", "time", "s", _median([*wb, "--help"], here), {"python -c pass": python})]
        theirs: dict[str, float] = {"python -c pass": python}
        env = _fill_theirs(here, n)
        if env:
            mlflow = [str(Path(sys.executable).parent / "mlflow"), "runs", "list", "--experiment-id", "1"]
            theirs["mlflow runs list"] = _median(mlflow, here, env, repeats=3)
        for name, arguments in (("wb table", ["table"]), ("wb table --json", ["table", "--json"])):
            rows.append(row(f"{name}, {n:,} runs", "time", "s", _median([*wb, *arguments], here), theirs))
        return rows


def _median(command: list[str], cwd: Path, env: dict[str, str] | None = None, repeats: int = REPEATS) -> float:
    return statistics.median(process(command, cwd, env)[0] for _ in range(repeats))


def _fill_ours(here: Path, n: int) -> None:
    place = create_workspace(here)
    folder = place.competitions / "flights"
    folder.mkdir()
    (folder / "competition.toml").write_text("")
    runs = []
    for i in range(n):
        scores = tuple(0.7 + ((i * 37 + f) % 100) / 5000 for f in range(5))
        runs.append(
            replace(
                RUN,
                run_id=f"{i:05d}",
                exp=i,
                base=i - 1 if i else None,
                fold_scores=scores,
                seed_scores=(scores,),
                seeds=(1,),
                cv_mean=sum(scores) / 5,
                cv_folds=5,
                created_at=RUN.created_at + timedelta(seconds=i),
            )
        )
    with Ledger.open(place.ledger) as ledger, ledger.replace_records() as replacer:
        replacer.put(runs, [], [])


def _fill_theirs(here: Path, n: int) -> dict[str, str]:
    """Log as many runs with MLflow's own client, in its own default store (SQLite); {} where it is not installed."""
    try:
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient
    except ImportError:
        return {}
    uri = f"sqlite:///{here}/mlflow.db"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    client = MlflowClient(uri)
    experiment = client.create_experiment("flights")
    for i in range(n):
        run = client.create_run(experiment)
        client.log_batch(run.info.run_id, [Metric("auc", 0.7 + i % 100 / 5000, 0, 0)], [Param("num_leaves", "31")])
    if experiment != "1":
        raise SystemExit(f"MLflow gave the experiment id {experiment}, expected 1")
    return {"MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
