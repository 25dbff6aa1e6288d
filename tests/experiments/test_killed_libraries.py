"""Runs of each library that are killed in the middle: they go on, and end as one that nobody disturbed."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.commands import forkserver
from tests.small import Small
from workbench.api import library
from workbench.data.workspace import Workspace
from workbench.experiments.run_folder import read_run

N_FOLDS, N_SEEDS = 5, 2
COLUMNS = 'features = ["rows", "te_town"]\nseeds = [1, 2]\n'
NUMBERS = 'features = ["rows.x", "rows.z", "te_town"]\nseeds = [1, 2]\n'
STOPS, ALL_OF_THEM = "early_stopping_rounds = 20\n", "early_stopping_rounds = 0\n"
BOOSTED = {
    "model": "[model]\nlearning_rate = 0.02\nnum_boost_round = 400\n",
    "xgboost": "[xgboost]\neta = 0.02\nnum_boost_round = 400\n",
    "catboost": "[catboost]\nlearning_rate = 0.02\ndepth = 4\nnum_boost_round = 300\n",
}
KINDS = {
    **{f"{kind}, stopped early": COLUMNS + text + STOPS for kind, text in BOOSTED.items()},
    **{f"{kind}, all rounds": COLUMNS + text + ALL_OF_THEM for kind, text in BOOSTED.items()},
    "sklearn": NUMBERS + '[sklearn]\nestimator = "sklearn.ensemble.ExtraTreesClassifier"\nn_estimators = 200\n',
    "python": NUMBERS + '[python]\nfunction = "models.py:fit_predict"\n',
}
MODELS = """
import time

import numpy as np


def fit_predict(X_train, y_train, X_valid, y_valid, X_test, *, seed, **more):
    time.sleep(0.2)
    drawn = np.random.default_rng(seed)
    return [1 / (1 + np.exp(-X["x"].to_numpy())) * 0.9 + 0.01 * drawn.random() for X in (X_valid, X_test)]
"""


def run(root: Path) -> None:
    library.competition("small", where=Workspace(root)).run(1, threads=1)


def kept(made: Small) -> int:
    """Return how many models, or folds of them, a run has kept so far."""
    return len([p for p in made.folder.glob("runs/*/parts/*") if not p.name.startswith(".")])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_and_ends_as_if_nothing_had_been(small: Any, kind: str, tmp_path: Path) -> None:
    made: Small = small()
    (made.folder / "models.py").write_text(MODELS)
    made.experiment(1, KINDS[kind])
    shutil.copytree(made.workspace.root, tmp_path / "undisturbed")
    expected = Small(Workspace(tmp_path / "undisturbed"), "small").open.run(1, threads=1)
    process = forkserver().Process(target=run, args=(made.workspace.root,))
    process.start()
    until = time.monotonic() + 120
    while kept(made) < 3 and process.is_alive() and time.monotonic() < until:
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -9
    before = {p: p.stat().st_mtime_ns for p in made.folder.glob("runs/*/parts/*")}
    assert len(before) >= 3
    trained = []
    outcome = made.open.runs.execute(1, threads=1, done=lambda result, left: trained.append((result.fold, result.seed)))
    assert outcome.how == "resumed"
    assert outcome.run.record.fold_scores == expected.record.fold_scores
    assert outcome.run.submission.read_bytes() == expected.submission.read_bytes()
    for name in ("oof.parquet", "test.parquet"):
        assert pl.read_parquet(outcome.run.folder / name).equals(pl.read_parquet(expected.folder / name))
    models = [read_run(r.folder)[1]["models"] for r in (outcome.run, expected)]
    assert [(m["fold"], m["seed"], m["rounds"]) for m in models[0]] == [
        (m["fold"], m["seed"], m["rounds"]) for m in models[1]
    ]
    # What was kept was not trained again; where folds stop together they are told of when all are trained.
    assert len(trained) <= N_FOLDS * N_SEEDS - (0 if "stopped" in kind else 2)
