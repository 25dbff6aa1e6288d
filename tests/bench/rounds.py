"""What one number of rounds for all folds brings and costs, against each fold's own best (`rounds = "per fold"`).

- Sixteen tables, real ones and seeded ones. A third of the rows is hidden; compared is the score of the test predictions
  on them, the mean over three draws; above 1 the one number is better.
- Pure noise: the CV that each way shows where the truth is an AUC of 0.5, the mean over forty draws.
- `refit`: the score on the hidden rows of models of all train rows, whose rounds are the folds' times the ratio of the rows
  to a power, as the mean loss in per cent against the folds' rounds as they are (the power 0). Of five folds and of two,
  whose ratios are 1.25 and 2.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.bench import tune_tables
from tests.bench.measured import row
from workbench import metrics
from workbench.api import library
from workbench.data.workspace import create_workspace
from workbench.experiments.ready import ready
from workbench.models.scoring import fold_scores
from workbench.models.train import train
from workbench.rehearsal import RehearsalSpec, create

MOST_ROWS, DRAWS, NOISE_DRAWS = 12_000, 3, 40
POWERS, FOLDS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5), (5, 2)
MODEL = "[model]\nlearning_rate = 0.05\nnum_leaves = 15\nmin_data_in_leaf = 10\n"
EXPERIMENTS = ('features = ["rows"]\n', 'features = ["rows"]\nrounds = "per fold"\n')


def cases(scale: float) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    losses: dict[tuple[int, float], list[float]] = {(k, p): [] for k in FOLDS for p in POWERS}
    for name, task, metric, make in _tables():
        draws = [_compared(make(draw), task, metric, draw) for draw in range(max(1, round(DRAWS * scale)))]
        ours, theirs = np.mean([d[0] for d in draws], axis=0)
        greater = metrics.get(metric).greater_is_better
        rows.append(
            {
                "case": f"{name}, {metric}, hidden rows",
                "measure": "score",
                "unit": "",
                "ours": float(ours),
                "theirs": {"per fold": float(theirs)},
                "ratio": {"per fold": float(ours / theirs if greater else theirs / ours)},
            }
        )
        for _, refitted in draws:
            sign = 1 if greater else -1
            for (k, power), value in refitted.items():
                plain = refitted[k, 0.0]
                losses[k, power].append(100 * sign * (plain - value) / abs(plain))
        print(f"# {rows[-1]}", flush=True)
    for (k, power), values in losses.items():
        error = float(np.std(values) / np.sqrt(len(values)))
        told = f"# refit, {k} folds, the ratio of the rows to {power:g}"
        print(f"{told}: {np.mean(values):+.3f} % worse, median {np.median(values):+.3f}, SE {error:.3f}", flush=True)
        if power == 1.0:
            theirs_ = {"as they are": 1.0 - float(np.mean(values)) / 100}
            rows.append(row(f"refit of {k} folds, rounds with the rows", "loss", "%", 1.0, theirs_))
    one, own = _noise(max(2, round(NOISE_DRAWS * scale)))
    rows.append(row("noise, 180 rows validated: AUC", "CV", "", one, {"per fold": own}))
    return rows


def _compared(
    frame: pl.DataFrame, task: str, metric: str, draw: int
) -> tuple[tuple[float, float], dict[tuple[int, float], float]]:
    """Return the hidden scores of both ways, and those of models of all rows by the folds and the power."""
    with tempfile.TemporaryDirectory() as folder:
        found = [_ready(Path(folder), frame, task, metric, text, i, draw) for i, text in enumerate(EXPERIMENTS)]
        truth = _truth(frame, found[0])
        results = [train(f.problem, f.model, (1,)) for f in found]
        scores = [_score(found[0], truth, r.test) for r in results]
        refitted = {}
        for k in FOLDS:
            ready_, result = found[0], results[0]
            if k != 5:
                path = Path(folder, "competitions", "t", "competition.toml")
                path.write_text(path.read_text().replace("folds = 5", f"folds = {k}"))
                ready_ = _ready(Path(folder), frame, task, metric, EXPERIMENTS[0], 2, draw)
                result = train(ready_.problem, ready_.model, (1,))
            learner: Any = ready_.model.learner(ready_.problem, 0)
            rounds, ratio = result.parts[0].rounds, k / (k - 1)
            for power in POWERS:
                more = max(1, round(ratio**power * rounds))
                refitted[k, power] = _score(ready_, truth, learner.fit_full_data(1, more).test)
    return (scores[0], scores[1]), refitted


def _ready(here: Path, frame: pl.DataFrame, task: str, metric: str, text: str, number: int, draw: int) -> Any:
    place = create_workspace(here)
    if number == 0:
        frame.with_row_index("id").write_parquet(here / "all.parquet")
        create(place.root, "t", RehearsalSpec(here / "all.parquet", ("y",), metric, 1 / 3, task=task, seed=draw))
        library.fetch("t", where=place)
    (place.competitions / "t" / "experiments" / f"{number + 1:03d}.toml").write_text(text + MODEL)
    return ready(place, library.OpenCompetition(place, "t").access.competition, number + 1)


def _truth(frame: pl.DataFrame, found: Any) -> pl.Series:
    return (
        found.competition.ids.test_frame()
        .select("id")
        .join(
            frame.with_row_index("id").select("id", "y").cast({"id": pl.Int64}),
            on="id",
            how="left",
            maintain_order="left",
        )["y"]
    )


def _score(found: Any, truth: pl.Series, predictions: Any) -> float:
    column, metric = found.problem.target.columns[0], found.problem.metric
    if column.classes is not None:
        values = np.searchsorted(np.array(column.classes), truth.to_numpy())
    else:
        values = truth.to_numpy().astype(float)
    return float(metric(values, predictions if column.width > 1 else predictions[:, 0], None))


def _noise(draws: int) -> tuple[float, float]:
    """Return the mean CV of both ways on noise."""
    scores = []
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        # A third is hidden by the rehearsal: of 1,350 rows 900 are left, 180 of them in each of five folds.
        frame = pl.DataFrame(rng.normal(size=(1_350, 10)).astype(np.float32), [f"x{i}" for i in range(10)])
        frame = frame.with_columns(y=pl.Series(rng.permutation(np.arange(1_350) % 2)))
        with tempfile.TemporaryDirectory() as folder:
            of_ways = []
            for i, text in enumerate(EXPERIMENTS):
                found = _ready(Path(folder), frame, "binary", "auc", text, i, draw)
                result = train(found.problem, found.model, (1,))
                of_ways.append(
                    np.mean(fold_scores(found.problem.target, found.problem.folds, result.oof, found.problem.metric))
                )
        scores.append(of_ways)
    one, own = np.mean(scores, axis=0)
    return float(one), float(own)


# ----------------------------------------------------------------------------------------------------------- the tables

Made = tuple[str, str, str, Callable[[int], pl.DataFrame]]


def _tables() -> Iterator[Made]:
    for of_tuning in (
        tune_tables.flights,
        tune_tables.adult,
        tune_tables.telescope,
        tune_tables.digits,
        tune_tables.baskets,
    ):
        table = of_tuning()
        whole = pl.concat([table.train, table.holdout]).rename({table.target: "y"})
        yield table.name, table.task, table.metric, lambda draw, whole=whole: _some(whole, draw)
    for name, task, metric in (
        ("breast_cancer", "binary", "auc"),
        ("diabetes", "regression", "rmse"),
        ("wine", "multiclass", "mlogloss"),
        ("iris", "multiclass", "mlogloss"),
    ):
        yield name, task, metric, lambda draw, name=name: _some(_of_sklearn(name), draw)
    yield "flights, 1,500 rows", "binary", "auc", lambda draw: _some(_flights(), draw, 1_500)
    yield "friedman1", "regression", "rmse", lambda draw: _made("friedman1", draw, n_samples=1_500, noise=3.0)
    yield "friedman2", "regression", "mae", lambda draw: _made("friedman2", draw, n_samples=3_000, noise=200.0)
    yield "hastie", "binary", "logloss", lambda draw: _made("hastie_10_2", draw, n_samples=3_000)
    yield "weak signal", "binary", "auc", lambda draw: _weak(draw, 900, 0.25)
    yield "rare class", "binary", "average_precision", lambda draw: _weak(draw, 6_000, 0.7, share=0.03)
    yield "five classes", "multiclass", "mlogloss", lambda draw: _classes(draw)


def _some(frame: pl.DataFrame, draw: int, most: int = MOST_ROWS) -> pl.DataFrame:
    return frame.sample(min(most, len(frame)), seed=draw, shuffle=True)


def _flights() -> pl.DataFrame:
    table = tune_tables.flights()
    return table.train.rename({table.target: "y"})


def _of_sklearn(name: str) -> pl.DataFrame:
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    return _frame(found.data, found.target)


def _made(name: str, draw: int, **given: Any) -> pl.DataFrame:
    from sklearn import datasets

    X, y = getattr(datasets, f"make_{name}")(random_state=draw, **given)
    return _frame(X, (y > 0).astype(int) if name == "hastie_10_2" else y)


def _weak(draw: int, n_rows: int, strength: float, share: float = 0.5) -> pl.DataFrame:
    rng = np.random.default_rng(draw)
    X = rng.normal(size=(n_rows, 20))
    signal = strength * (X[:, 0] + X[:, 1] * X[:, 2]) + rng.normal(size=n_rows)
    return _frame(X, (signal > np.quantile(signal, 1 - share)).astype(int))


def _classes(draw: int) -> pl.DataFrame:
    from sklearn.datasets import make_classification

    return _frame(*make_classification(3_000, 25, n_informative=8, n_classes=5, flip_y=0.2, random_state=draw))


def _frame(X: Any, y: Any) -> pl.DataFrame:
    frame = pl.DataFrame(np.asarray(X, np.float32), [f"x{i}" for i in range(X.shape[1])])
    return frame.with_columns(y=pl.Series(np.asarray(y)))
