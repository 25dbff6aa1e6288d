"""Judging 50 columns of 100,000 rows: shuffled targets and shuffled columns, ours against the plain recipes.

Both train and predict with the same parameters, rounds, folds and threads. Theirs for the shuffled target: one
`LGBMClassifier` per shuffle on the fold's train rows, as the usual notebook does; for the shuffled columns:
`sklearn.inspection.permutation_importance` on each fold's validated rows, with the fold's own model.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.bench.measured import row
from workbench.analysis.selection import (
    SelectionOptions,
    column_groups,
    importance_by_permutation,
    importance_by_shuffled_target,
)
from workbench.analysis.selection.importance import models_of
from workbench.analysis.selection.orders import shuffled_order
from workbench.api import library
from workbench.core.context import SILENT, RunContext
from workbench.data.workspace import create_workspace
from workbench.experiments.ready import ready
from workbench.rehearsal import RehearsalSpec, create

ROWS, COLUMNS, SIGNAL = 100_000, 50, 10
ROUNDS, FOLDS, SHUFFLES, REPEATS, THREADS = 100, 5, 20, 5, 2
MODEL = f"""features = ["rows"]
[model]
learning_rate = 0.05
num_leaves = 31
num_iterations = {ROUNDS}
early_stopping_round = 0
"""


def cases(scale: float) -> list[dict[str, Any]]:
    folder = Path(tempfile.mkdtemp())
    try:
        return _cases(folder, int(ROWS * scale))
    finally:
        shutil.rmtree(folder)


def _cases(folder: Path, n_rows: int) -> list[dict[str, Any]]:
    experiment = _experiment(folder, n_rows)
    groups = column_groups(experiment)
    models = models_of(experiment)
    X = experiment.problem.matrix.train.to_numpy()
    y = experiment.problem.target.columns[0].values.astype(int)
    rows = []

    started = time.perf_counter()
    options = SelectionOptions("null", shuffles=SHUFFLES)
    judged, _ = importance_by_shuffled_target(experiment, models, groups, options, SILENT)
    ours = time.perf_counter() - started
    started = time.perf_counter()
    _plain_null(experiment, X, y)
    theirs = time.perf_counter() - started
    rows.append(row(f"{SHUFFLES} shuffled targets", "seconds", "s", ours, {"LGBMClassifier": theirs}))
    print(f"# null keeps {sum(j.keep for j in judged)} of {COLUMNS}; {SIGNAL} have signal", flush=True)

    started = time.perf_counter()
    judged, _ = importance_by_permutation(
        experiment, models, groups, SelectionOptions("permutation", repeats=REPEATS), SILENT
    )
    ours = time.perf_counter() - started
    started = time.perf_counter()
    _plain_permutation(experiment, X, y)
    theirs = time.perf_counter() - started
    rows.append(row(f"{REPEATS} repeats, {FOLDS} folds", "seconds", "s", ours, {"scikit-learn": theirs}))
    print(f"# permutation keeps {sum(j.keep for j in judged)} of {COLUMNS}; {SIGNAL} have signal", flush=True)
    return rows


def _experiment(folder: Path, n_rows: int) -> Any:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n_rows, COLUMNS)).astype(np.float32)
    signal = X[:, :SIGNAL] @ np.linspace(0.2, 1, SIGNAL) + X[:, 0] * X[:, 1] + rng.normal(size=n_rows)
    frame = pl.DataFrame({"id": np.arange(n_rows), **{f"x{i}": X[:, i] for i in range(COLUMNS)}})
    source = folder / "all.parquet"
    frame.with_columns(y=pl.Series(signal > 0).cast(pl.Int64)).write_parquet(source)
    workspace = create_workspace(folder / "workspace")
    spec = RehearsalSpec(train=source, targets=("y",), metric="auc", holdout=0.01, after=None)
    create(workspace.root, "bench", spec)
    library.fetch("bench", where=workspace)
    competition = library.OpenCompetition(workspace, "bench").access.competition
    competition.paths.experiment(1).write_text(MODEL)
    return ready(workspace, competition, 1, context=RunContext(threads=THREADS))


def _classifier() -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(
        n_estimators=ROUNDS, learning_rate=0.05, num_leaves=31, n_jobs=THREADS, random_state=1, verbose=-1
    )


def _plain_null(experiment: Any, X: Any, y: Any) -> None:
    order_of, folds = shuffled_order(experiment, 0), experiment.problem.folds
    for i in range(SHUFFLES):
        rows = folds.train_rows(i % FOLDS)
        model = _classifier().set_params(importance_type="gain").fit(X[rows], y[order_of(i)][rows])
        if not model.feature_importances_.any():
            raise SystemExit("no gain")


def _plain_permutation(experiment: Any, X: Any, y: Any) -> None:
    import warnings

    from sklearn.inspection import permutation_importance

    folds = experiment.problem.folds
    for fold in range(FOLDS):
        train, valid = folds.train_rows(fold), folds.valid_rows(fold)
        before = time.perf_counter()
        model = _classifier().fit(X[train], y[train])
        training = time.perf_counter() - before
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about names of columns, once per prediction
            permutation_importance(
                model, X[valid], y[valid], scoring="roc_auc", n_repeats=REPEATS, random_state=0, n_jobs=1
            )
        print(f"# fold {fold}: {training:.1f} s of training, which count for scikit-learn", flush=True)
