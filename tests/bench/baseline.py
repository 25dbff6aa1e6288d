"""The score of the baseline that nobody wrote: `wb fetch` and `wb run --exp 1` against models as they come.

Each case is cut at random into train and test; test's target is kept aside, and what is compared is the score on it.
Theirs are scikit-learn's HistGradientBoosting and LightGBM's scikit-learn estimator with their defaults, on the same
columns, texts as ordinal codes, times as seconds (and the logarithm of the target where the metric is rmsle, which ours
finds by itself). Ours sees the files and the platform's words for the metric.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from tests import shapes
from workbench import metrics
from workbench.data.competition import load_competition
from workbench.data.inference import baseline_text, definition_text, infer
from workbench.data.ingest.convert import convert
from workbench.data.workspace import Workspace
from workbench.experiments.run import run
from workbench.platforms.protocol import CompetitionFacts

Floats = npt.NDArray[np.float64]
Edit = Callable[[str], str]


def unchanged(text: str) -> str:
    return text


@dataclass(frozen=True)
class Case:
    """A table whose first rows are train; `words` is the platform's name of the metric."""

    name: str
    frame: pl.DataFrame
    n_train: int
    target: str
    words: str

    @property
    def train(self) -> pl.DataFrame:
        return self.frame.head(self.n_train)

    @property
    def test(self) -> pl.DataFrame:
        return self.frame.slice(self.n_train)


def cases(scale: float) -> list[dict[str, Any]]:
    rows = []
    for case in _cases(scale):
        metric, ours, _ = baseline_score(case)
        theirs = {name: metric(truth(case, metric), p) for name, p in their_predictions(case, metric)}
        sign = 1 if metric.greater_is_better else -1
        ratio = {name: (ours / value) ** sign for name, value in theirs.items()}
        rows.append(
            {"case": case.name, "measure": metric.name, "unit": "", "ours": ours, "theirs": theirs, "ratio": ratio}
        )
    return rows


def _cases(scale: float) -> Iterator[Case]:
    """Give tables of scikit-learn and flights, from 300 to 200,000 train rows."""
    auc, flown = shapes.AUC, shapes.flown_flights()
    names = shapes.nyc_table("airports").select(dest="faa", place=pl.format("{}, {}", "name", "tzone"))
    planes = shapes.nyc_table("planes").select("tailnum", "year", "model", "manufacturer", "seats")
    rich = flown.join(names, on="dest", how="left", maintain_order="left")
    rich = rich.join(planes, on="tailnum", how="left", maintain_order="left", suffix="_built")
    known = ["departs", *shapes.KNOWN, "place", "year_built", "model", "manufacturer", "seats"]
    codes = [
        pl.col(c).rank("dense").cast(pl.Int64).alias(f"code_{c}") for c in ("tailnum", "flight", "dest", "carrier")
    ]

    def drawn(frame: pl.DataFrame, rows: int) -> pl.DataFrame:
        return shapes.some_rows(frame, int(rows * scale))

    yield Case(
        "diabetes", drawn(shapes.diabetes_table(), 442), int(300 * scale), "progression", "Root Mean Squared Error"
    )
    yield Case(
        "breast cancer", drawn(shapes.sklearn_table("breast_cancer", "y"), 569), int(350 * scale), "y", "Log Loss"
    )
    yield Case("digits", drawn(shapes.sklearn_table("digits", "y"), 1797), int(900 * scale), "y", "Multiclass Loss")
    for n, test in ((3_000, 5_000), (30_000, 20_000), (200_000, 60_000)):
        frame = drawn(rich, n + test).select(*known, "late")
        yield Case(f"late flights, {n:,}", frame, int(n * scale), "late", auc)
    delays = drawn(rich.filter(pl.col("dep_delay") > 0), 40_000).select(*known, "dep_delay")
    yield Case("delays, 20,000", delays, int(20_000 * scale), "dep_delay", "Root Mean Squared Logarithmic Error")
    yield Case(
        "air time, 20,000", drawn(rich, 40_000).select(*known, "air_time"), int(20_000 * scale), "air_time", "RMSE"
    )
    yield Case("codes only, 20,000", drawn(rich, 40_000).select(*codes, "late"), int(20_000 * scale), "late", auc)


def truth(case: Case, metric: metrics.Metric) -> npt.NDArray[Any]:
    values = case.test[case.target].to_numpy()
    return values.astype(np.float64) if metric.prediction_type == "value" else values.astype(np.int64)


def baseline_score(
    case: Case, edit_definition: Edit = unchanged, edit_experiment: Edit = unchanged
) -> tuple[metrics.Metric, float, float]:
    """Return the metric, and the score on test and the CV of the first experiment, after edits of its files."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        place = workspace.competitions / "case"
        raw, tables = place / "data" / "raw", place / "data" / "tables"
        raw.mkdir(parents=True)
        (place / "experiments").mkdir()
        ids = pl.int_range(pl.len()).alias("id")
        numbered = case.frame.select(ids, pl.all())
        numbered.head(case.n_train).write_csv(raw / "train.csv")
        numbered.slice(case.n_train).drop(case.target).write_csv(raw / "test.csv")
        facts = CompetitionFacts("case", case.name, metric=case.words)
        inferred = infer(convert(raw, tables, "case"), tables, facts, "kaggle")
        (place / "competition.toml").write_text(edit_definition(definition_text(inferred)), encoding="utf-8")
        (place / "experiments" / "001.toml").write_text(edit_experiment(baseline_text(inferred)), encoding="utf-8")
        competition = load_competition(workspace, "case")
        done = run(workspace, competition, 1).run
        predicted = pl.read_parquet(done.folder / "test.parquet").drop("id").to_numpy()
        metric = competition.metric
        score = metric(truth(case, metric), predicted if predicted.shape[1] > 1 else predicted[:, 0])
        return metric, score, float(done.record.cv_mean or math.nan)


def their_predictions(case: Case, metric: metrics.Metric) -> Iterator[tuple[str, Floats]]:
    from lightgbm import LGBMClassifier, LGBMRegressor
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    train, test = _as_numbers(case)
    y = case.train[case.target].to_numpy()
    amounts, ratios = metric.prediction_type == "value", metric.name == "rmsle"
    models = {
        "HistGradientBoosting": HistGradientBoostingRegressor if amounts else HistGradientBoostingClassifier,
        "LightGBM": LGBMRegressor if amounts else LGBMClassifier,
    }
    for name, model in models.items():
        fitted = model(random_state=0, **({"verbose": -1} if name == "LightGBM" else {})).fit(
            train, np.log1p(y) if ratios else y
        )
        predicted = fitted.predict(test) if amounts else fitted.predict_proba(test)
        predicted = np.expm1(predicted) if ratios else predicted
        yield name, predicted[:, 1] if predicted.ndim == 2 and predicted.shape[1] == 2 else predicted


def _as_numbers(case: Case) -> tuple[Floats, Floats]:
    from sklearn.preprocessing import OrdinalEncoder

    features = case.frame.drop(case.target).with_columns(pl.selectors.temporal().dt.epoch("s"))
    texts = [c for c, dtype in features.schema.items() if dtype == pl.String]
    numbers = features.drop(texts).to_numpy().astype(np.float64)
    if not texts:
        return numbers[: case.n_train], numbers[case.n_train :]
    words = np.array(features.select(pl.col(texts).fill_null("")).rows(), dtype=object)
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(words[: case.n_train])
    both = np.hstack([numbers, encoder.transform(words)])
    return both[: case.n_train], both[case.n_train :]
