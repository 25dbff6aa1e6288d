"""One contract for all that makes models: LightGBM, XGBoost, CatBoost, scikit-learn's estimators, functions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.commands import forked_wb
from tests.needs import needs_package, package
from tests.small import Small, make_small
from workbench import metrics
from workbench.core.distribution import install_hint
from workbench.core.errors import ConfigError, NotFoundError, TrainingError, WorkbenchError
from workbench.experiments.kinds import model_spec
from workbench.experiments.ready import ready
from workbench.experiments.spec import read_spec
from workbench.features import ROW, FoldFrames
from workbench.metrics import from_function
from workbench.models.folds import Folds
from workbench.models.lightgbm.fold_datasets import FoldDatasets
from workbench.models.records import FoldResult, Problem
from workbench.models.registry import MODEL_KINDS
from workbench.models.scoring import score_column
from workbench.models.target import Target
from workbench.models.train import train
from workbench.models.training_columns import TrainingColumns
from workbench.models.transforms import fitted_transform
from workbench.models.xgboost_folds import XGBoostLearner

ALL = 'features = ["rows", "ratio", "doubled", "town_size", "te_town"]\n'
MODELS = """
import numpy as np
import sklearn.linear_model as lm
from beside import numbers


def fit_predict(X_train, y_train, X_valid, y_valid, X_test, *, weight, seed, fold, categorical, strength=1.0):
    assert categorical == ["town"] and fold in range(5) and seed in (1, 2)
    kept = np.random.permutation(len(y_train))[: int(0.9 * len(y_train))]  # seeded for it
    weight = np.ones(len(y_train)) if weight is None else weight
    model = lm.Ridge(alpha=strength) if y_train.dtype.kind == "f" else lm.LogisticRegression(C=strength)
    model.fit(numbers(X_train)[kept], y_train[kept], sample_weight=weight[kept])
    y_valid[:] = -1  # what it does to its own copy is its own business
    if y_train.dtype.kind == "f":
        return model.predict(numbers(X_valid)), model.predict(numbers(X_test))
    columns = 1 if len(model.classes_) == 2 else slice(None)
    return [model.predict_proba(numbers(X))[:, columns] for X in (X_valid, X_test)]
"""
BESIDE = """
def numbers(X):
    return X.select("x", "z", "size", "^te_town.*$").to_numpy()
"""

BOOSTED = {
    "model": "[model]\nlearning_rate = 0.3\nnum_leaves = 7\nmin_data_in_leaf = 5\nbagging_fraction = 0.8\nbagging_freq = 1\n",
    "xgboost": "[xgboost]\neta = 0.3\nmax_depth = 3\nsubsample = 0.8\n",
    "catboost": "[catboost]\nlearning_rate = 0.3\ndepth = 3\n",
}
TABLES = {
    **{k: v + "num_boost_round = 15\nearly_stopping_rounds = 0\n" for k, v in BOOSTED.items()},
    "linear": '[sklearn]\nestimator = "sklearn.linear_model.LogisticRegression"\nC = 0.5\n',
    "forest": '[sklearn]\nestimator = "sklearn.ensemble.RandomForestClassifier"\nn_estimators = 12\nmin_samples_leaf = 5\n',
    "histogram": '[sklearn]\nestimator = "sklearn.ensemble.HistGradientBoostingClassifier"\nmax_iter = 12\n',
    "python": '[python]\nfunction = "models.py:fit_predict"\nstrength = 0.5\n',
}
KINDS = [
    pytest.param(k, marks=needs_package(p))
    for k, p in {
        "model": "lightgbm",
        "xgboost": "xgboost",
        "catboost": "catboost",
        "linear": "sklearn",
        "forest": "sklearn",
        "histogram": "sklearn",
        "python": "sklearn",
    }.items()
]
ROUNDS = KINDS[:3]

Competitions = Callable[..., Small]


@pytest.fixture(scope="module")
def competitions(tmp_path_factory: pytest.TempPathFactory) -> Competitions:
    """Make each competition once: nothing here changes one."""

    @cache
    def make(task: str = "binary", metric: str = "auc") -> Small:
        made = make_small(tmp_path_factory.mktemp(task) / "workspace", task=task, metric=metric, n_rows=400)
        (made.folder / "models.py").write_text(MODELS)
        (made.folder / "beside.py").write_text(BESIDE)
        return made

    return make


def table(kind: str, task: str) -> str:
    text = TABLES[kind]
    return text if task in ("binary", "multiclass") else as_regression(text)


def as_regression(text: str) -> str:
    return (
        text.replace("LogisticRegression", "Ridge").replace("Classifier", "Regressor").replace("C = 0.5", "alpha = 1")
    )


@cache
def problem_of(made: Small) -> Problem:
    """Return the competition's problem, with three folds that leave out some rows of either side."""
    made.experiment(5, ALL + TABLES["model"])
    found = ready(made.workspace, made.open.access.competition, 5).problem
    rng = np.random.default_rng(3)
    valid = (found.folds.valid % 3).astype(np.int16)
    valid[rng.random(len(valid)) < 0.05] = -1
    masks = np.array([(valid != k) & (rng.random(len(valid)) < 0.9) for k in range(3)])
    return replace(found, folds=Folds(valid, masks), split=replace(found.split, valid=valid, train=masks))


def prepared(made: Small, text: str) -> tuple[Any, Problem]:
    """Return what the table says of the model, and the problem."""
    problem = problem_of(made)
    made.experiment(6, ALL + text)
    competition = made.open.access.competition
    return model_spec(read_spec(competition, 6), competition, problem.target, threads=2), problem


def weighing(target: Target, which: bool | str) -> Target:
    """Return the target with weights: the same in training and in the metric (True), of one of them, or of both."""
    a, b = np.random.default_rng(0).integers(1, 4, (2, target.n_rows)).astype(float)
    apart = {"metric": (None, a), "train": (a, None), "both": (a, b)}
    weight, scoring = apart.get(str(which), (a if which else None, "same"))
    return replace(target, weight=weight, metric_weight=scoring)


def same(a: FoldResult, b: FoldResult) -> bool:
    return np.array_equal(a.oof, b.oof) and np.array_equal(a.test, b.test) and a.model == b.model


def with_values(problem: Problem, index: int, values: np.ndarray[Any, Any]) -> Problem:
    columns = list(problem.target.columns)
    columns[index] = replace(columns[index], values=values)
    return replace(problem, target=Target(tuple(columns), problem.target.weight))


def test_each_kind_of_model_is_here() -> None:
    assert {text.partition("]")[0][1:] for text in TABLES.values()} == set(MODEL_KINDS)


@pytest.mark.parametrize("kind", KINDS)
class TestContract:
    @pytest.mark.parametrize(
        ("task", "metric"), [("binary", "auc"), ("regression", "rmsle"), ("multiclass", "mlogloss"), ("two", "mae")]
    )
    def test_every_task_is_learned(self, competitions: Competitions, kind: str, task: str, metric: str) -> None:
        spec, problem = prepared(competitions(task, metric), table(kind, task))
        result = train(problem, spec, (1,))
        covered = problem.folds.valid >= 0
        assert np.isfinite(result.oof[covered]).all()
        assert np.isnan(result.oof[~covered]).all()
        assert np.isfinite(result.test).all()
        assert result.test.shape == (80, problem.target.width)
        if task == "multiclass":
            for made in (result.oof[covered], result.test):
                assert made.sum(axis=1) == pytest.approx(1, abs=1e-12)
                assert made.min() >= 0
        rows = np.flatnonzero(covered)
        for column, where in zip(problem.target.columns, problem.target.slices, strict=True):
            usual = column.one_hot().mean(axis=0) if task != "regression" else np.median(column.values)
            constant = np.broadcast_to(usual, (len(rows), column.width)) + np.linspace(0, 1e-9, len(rows))[:, None]
            ours, plain = (
                score_column(problem.target, column, rows, p, problem.metric)
                for p in (result.oof[rows][:, where], constant)
            )
            assert ours > plain + 0.2 if problem.metric.greater_is_better else ours < 0.9 * plain

    def test_what_the_fold_does_not_train_on_is_not_learned(self, competitions: Competitions, kind: str) -> None:
        """Labels of the validated rows, and of rows of neither side, make no difference."""
        spec, problem = prepared(competitions(), table(kind, "binary"))
        other = problem.target.columns[0].values.copy()
        hidden = np.setdiff1d(np.arange(len(other)), problem.folds.train_rows(0))
        other[hidden] = 1 - other[hidden]
        before = spec.learner(problem, 0).fit(0, 1)
        after = spec.learner(with_values(problem, 0, other), 0).fit(0, 1)
        assert same(before, after)
        other[problem.folds.train_rows(0)[:50]] = 1
        changed = spec.learner(with_values(problem, 0, other), 0).fit(0, 1)
        assert not np.array_equal(before.oof, changed.oof)

    @pytest.mark.parametrize("name", ["boxcox", "quantile"])
    def test_a_transform_is_a_model_of_transformed_targets(
        self, competitions: Competitions, kind: str, name: str
    ) -> None:
        """It learns from the rows that the fold trains on, and takes the predictions back."""
        spec, problem = prepared(competitions("regression", "mae"), table(kind, "regression"))
        problem = replace(problem, matrix=replace(problem.matrix, fold_columns=()))  # they learn from the target, too
        values = problem.target.columns[0].values
        fitted = fitted_transform(name, values[problem.folds.train_rows(0)])
        made = replace(spec, transform=name).learner(problem, 0).fit(0, 1)
        plain = spec.learner(with_values(problem, 0, fitted.forward(values)), 0).fit(0, 1)
        assert made.oof == pytest.approx(fitted.inverse(plain.oof), abs=1e-9)
        assert made.test == pytest.approx(fitted.inverse(plain.test), abs=1e-9)
        assert made.notes["transform"] == fitted.parameters

    def test_the_order_of_trainings_makes_no_difference(self, competitions: Competitions, kind: str) -> None:
        spec, problem = prepared(competitions("regression", "rmse"), table(kind, "regression"))
        first, second = spec.learner(problem, 0), spec.learner(problem, 0)
        forth = [first.fit(*at) for at in ((0, 1), (1, 1), (1, 2))]
        np.random.random()
        back = [second.fit(*at) for at in ((1, 2), (1, 1), (0, 1))]
        for a, b in zip(forth, reversed(back), strict=True):
            assert same(a, b)
        assert np.array_equal(forth[1].oof, forth[2].oof) == (kind in ("linear", "histogram"))

    @pytest.mark.parametrize("stopping", [False, True])
    @pytest.mark.parametrize("max_folds", [None, 1, 2])
    def test_seeds_share_what_depends_on_the_fold(
        self,
        competitions: Competitions,
        kind: str,
        stopping: bool,
        max_folds: int | None,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        if stopping and kind not in BOOSTED:
            pytest.skip("not a case: a model without rounds")
        text = table(kind, "binary").replace("early_stopping_rounds = 0", f"early_stopping_rounds = {5 * stopping}")
        spec, problem = prepared(competitions(), text)
        assert problem.matrix.fold_columns
        alone = [train(problem, spec, (seed,), max_in_memory=1).parts for seed in (1, 2)]
        made: dict[str, int] = {"encodings": 0, "datasets": 0}

        def counting(owner: Any, method: str, name: str) -> None:
            real = getattr(owner, method)

            def counted(*arguments: Any) -> Any:
                made[name] += 1
                return real(*arguments)

            monkeypatch.setattr(owner, method, counted)

        counting(FoldFrames, "frame", "encodings")
        counting(FoldDatasets, "without_labels", "datasets")
        counting(XGBoostLearner, "_make_datasets", "datasets")
        both = train(problem, spec, (1, 2), max_in_memory=max_folds)
        for a, b in zip([*alone[0], *alone[1]], both.parts, strict=True):
            assert (a.fold, a.seed, a.curve, a.importance) == (b.fold, b.seed, b.curve, b.importance)
            assert same(a, b)
        if max_folds is None:
            assert made["encodings"] == 3
            assert made["datasets"] == (3 if kind in ("model", "xgboost") else 0)

    def test_weights_of_the_metric_train_nothing(self, competitions: Competitions, kind: str) -> None:
        spec, problem = prepared(competitions(), table(kind, "binary"))
        models = {which: spec.learner(replace(problem, target=weighing(problem.target, which)), 0).fit(0, 1)
                  for which in (False, "metric", True, "both", "train")}  # fmt: skip
        # CatBoost's text has the metric in it, which may be ours for one and its own for the other.
        alike = [(False, "metric"), (True, "train"), (True, "both")]
        assert all(np.array_equal(models[a].oof, models[b].oof) for a, b in alike)
        assert all(np.array_equal(models[a].test, models[b].test) for a, b in alike)
        assert not np.array_equal(models[False].oof, models[True].oof)

    def test_weights_weigh(self, competitions: Competitions, kind: str) -> None:
        spec, problem = prepared(competitions(), table(kind, "binary"))
        weight = np.where(problem.target.columns[0].values > 0, 5.0, 1.0)
        weighted = replace(problem, target=replace(problem.target, weight=weight))
        plain, more = (spec.learner(p, 0).fit(0, 1) for p in (problem, weighted))
        assert more.oof.mean() > plain.oof.mean() + 0.03

    def test_a_matrix_that_is_not_held_gives_the_same(
        self, competitions: Competitions, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec, problem = prepared(competitions(), table(kind, "binary"))
        monkeypatch.setattr("workbench.models.training_columns.CHUNK_ROWS", 64)
        monkeypatch.setattr("workbench.features.matrix.CHUNK_ROWS", 50)
        held = spec.learner(problem, 0).fit(0, 1)
        assert problem.matrix.loaded_frame is not None
        apart = replace(problem, matrix=replace(problem.matrix, loaded_frame=None))
        assert same(held, spec.learner(apart, 0).fit(0, 1))
        sizes = [len(frame) for _, frame in TrainingColumns(apart, 0).chunks(0, problem.folds.train_rows(0))]
        assert sizes[:-1] == [64] * (len(sizes) - 1)

    def test_memory_is_foreseen(self, competitions: Competitions, kind: str) -> None:
        spec, problem = prepared(competitions(), table(kind, "binary"))
        needs = spec.memory_estimate(problem, (1, 2))
        assert needs.n_columns == len(problem.matrix.columns) + 1
        assert needs.fold_bytes + needs.binned_bytes >= problem.matrix.n_train * needs.n_columns * 0.8
        assert needs.total_bytes < 50 * 2**20

    def test_it_goes_on_where_it_was_killed(self, competitions: Competitions, kind: str) -> None:
        made = competitions()
        number = 20 + list(TABLES).index(kind)
        made.experiment(number, ALL + table(kind, "binary"))

        def end(_result: FoldResult, left: int) -> None:
            if left == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            made.open.run(number, done=end)
        outcome = made.open.runs.execute(number)
        assert outcome.how == "resumed"
        whole = made.open.run(number, force=True)
        assert whole.folder != outcome.run.folder
        for name in ("oof", "test", "importance", "models"):
            a, b = getattr(outcome.run, name), getattr(whole, name)
            assert a == b if isinstance(a, dict) else a.equals(b)
        assert made.open.runs.execute(number).how == "unchanged"
        # What a run leaves, whatever its kind.
        assert whole.record.kind == {"linear": "sklearn", "forest": "sklearn", "histogram": "sklearn"}.get(kind, kind)
        assert pl.read_csv(whole.submission)["id"].to_list() == whole.test["id"].to_list()
        assert len(whole.models) == (5 if kind in BOOSTED else 0)
        assert whole.oof[ROW].to_list() == list(range(320))
        note = json.loads((whole.folder / "run.json").read_text())
        assert note["memory"]["foreseen_mb"] > 0
        library = {"model": "lightgbm", "catboost": "catboost", "xgboost": "xgboost"}.get(kind, "scikit-learn")
        assert any(name.startswith(library) for name in note["versions"])
        if kind not in ("histogram", "python"):
            assert set(whole.importance["column"]) == {
                "x",
                "z",
                "town",
                "household",
                "day",
                "ratio",
                "x2",
                "size",
                "te_town",
            }
            assert whole.importance.filter(pl.col("column").is_in(["x", "z", "ratio", "x2"]))["gain"].sum() > (
                0.5 * whole.importance["gain"].sum()
            )

    def test_a_quick_try_has_no_test_rows(self, competitions: Competitions, kind: str) -> None:
        if kind in ("histogram", "forest"):
            pytest.skip("not a case: as the linear model")
        made = competitions("regression", "mae")
        made.experiment(40, ALL + table(kind, "regression"))
        run = made.open.run(40, sample=0.5)
        assert (run.record.sample, run.submission, run.oof.height) == (0.5, None, 160)

    def test_odd_names_and_values(self, competitions: Competitions, kind: str) -> None:
        """Names with brackets, infinite values, a column that is empty, one that does not differ."""
        made = competitions()
        path = made.folder / "features.py"
        odd = """

@feature
def odd(rows):
    x = pl.col("x")
    return [x.alias('a [b]: {c}, "d"'), (x / 0).alias("é"), pl.lit(None, pl.Float64).alias("empty"), pl.lit(1).alias("<1>")]
"""
        if "def odd" not in path.read_text():
            path.write_text(path.read_text() + odd)
        text = table(kind, "binary").replace("models.py:fit_predict", "models.py:constant")
        if "def constant" not in (made.folder / "models.py").read_text():
            more = "\n\ndef constant(X_train, y_train, X_valid, y_valid, X_test, strength):\n    return [X['x'].rank().to_numpy() / len(X) for X in (X_valid, X_test)]\n"
            (made.folder / "models.py").write_text(MODELS + more)
        made.experiment(41, 'features = ["odd", "rows.x", "rows.town"]\n' + text)
        assert made.open.run(41).score > 0.7


@pytest.mark.parametrize("kind", ROUNDS)
class TestEarlyStopping:
    @pytest.mark.parametrize(
        ("task", "metric", "weighted", "transform"),
        [
            ("binary", "auc", False, None),
            ("binary", "auc", True, None),
            ("binary", "gini", False, None),
            ("binary", "f1", True, None),
            ("regression", "rmse", True, None),
            ("regression", "rmsle", False, None),
            ("regression", "smape", True, None),
            ("regression", "mape", False, None),
            ("regression", "pinball@0.8", False, None),
            ("regression", "mae", False, "boxcox"),
            ("multiclass", "mlogloss", True, None),
            ("binary", "auc", "metric", None),
            ("binary", "f1", "metric", None),
            ("regression", "rmse", "metric", None),
            ("regression", "wmae", "metric", None),
            ("regression", "mae", "train", None),
            ("regression", "r2", "both", None),
            ("multiclass", "mlogloss", "both", None),
        ],
    )
    def test_by_the_metric_of_the_competition(
        self, competitions: Competitions, kind: str, task: str, metric: str, weighted: bool | str, transform: str | None
    ) -> None:
        """What the library watched is what our metric says of the predictions that it stopped at."""
        spec, problem = prepared(
            competitions(task, "mae" if metric == "wmae" else metric),
            BOOSTED[kind] + "num_boost_round = 60\nearly_stopping_rounds = 4\n",
        )
        spec = replace(spec, transform=transform or spec.transform)
        problem = replace(problem, metric=metrics.get(metric), target=weighing(problem.target, weighted))
        learner = spec.learner(problem, 0)
        rounds: list[int] = []
        learner.each_round = lambda: rounds.append(1)
        result = learner.fit(0, 1)
        curve = result.curve["valid"]
        assert len(rounds) in (len(curve), len(curve) - 1)
        assert result.rounds <= len(curve) < 60
        stop_by = learner.data.target.stopping_metric
        best = max(curve) if stop_by.greater_is_better else min(curve)
        assert curve[result.rounds - 1] == best
        rows = problem.folds.valid_rows(0)
        column = problem.target.columns[0]
        ours = score_column(problem.target, column, rows, result.oof, stop_by)
        assert best == pytest.approx(ours, rel=2e-5)

    def test_what_a_round_raises_ends_it(self, competitions: Competitions, kind: str) -> None:
        spec, problem = prepared(competitions(), TABLES[kind])
        learner = spec.learner(problem, 0)

        def interrupt() -> None:
            raise KeyboardInterrupt

        learner.each_round = interrupt
        with pytest.raises(KeyboardInterrupt):
            learner.fit(0, 1)

    def test_a_metric_that_gives_no_number_is_named(self, competitions: Competitions, kind: str) -> None:
        spec, problem = prepared(competitions("regression", "rmse"), table(kind, "regression"))
        metric = from_function(lambda _t, _p: float("nan"), "mine", greater_is_better=False)
        with pytest.raises(TrainingError, match="^fold 0.*: metric 'mine' returned nan, expected a finite number"):
            spec.learner(replace(problem, metric=metric), 0).fit(0, 1)

    def test_codes_that_the_fold_has_not_seen(self, competitions: Competitions, kind: str) -> None:
        """What only the validated rows have is missing, in the curve as in the predictions."""
        made = competitions()
        path = made.folder / "features.py"
        if "def place" not in path.read_text():
            more = "    return [(pl.col('x').rank('dense') // 20).cast(pl.Int32).alias('place')]\n"
            path.write_text(path.read_text() + "\n\n@feature\ndef place(rows):\n" + more)
        made.experiment(5, 'features = ["place", "rows.z"]\ncategorical = ["place"]\n' + TABLES[kind])
        found = ready(made.workspace, made.open.access.competition, 5)
        place = found.problem.matrix.train["place"].to_numpy()
        beyond = np.where((place >= 16) | (np.arange(len(place)) % 3 == 0), 0, 1).astype(np.int16)
        problem = replace(found.problem, folds=Folds(beyond))
        result = found.model.learner(problem, 0).fit(0, 1)
        rows = problem.folds.valid_rows(0)
        ours = score_column(problem.target, problem.target.columns[0], rows, result.oof, problem.metric)
        assert result.curve["valid"][-1] == pytest.approx(ours, rel=1e-5)


# ------------------------------------------------------------------------------------------------------- saved models


def test_saved_models_give_the_predictions_of_the_record(competitions: Competitions) -> None:
    """Each library reads its own model back from the run folder."""
    xgb, catboost = (
        package("xgboost"),
        package("catboost"),
    )
    made = competitions()
    rows = made.open.rows.collect().sort(ROW).head(320).select("x", "z").cast(pl.Float32).to_numpy()
    for number, kind in ((50, "xgboost"), (51, "catboost")):
        made.experiment(number, 'features = ["rows.x", "rows.z"]\n' + BOOSTED[kind] + "num_boost_round = 40\n")
        run = made.open.run(number)
        for path in sorted((run.folder / "models").glob("t0-*.json")):
            mask = run.oof["fold"].to_numpy() == int(path.stem[4])
            if kind == "xgboost":
                booster = xgb.Booster(model_file=path)
                assert booster.feature_names == ["x", "z"]
                again = booster.inplace_predict(rows[mask])
            else:
                model = catboost.CatBoost().load_model(str(path), format="json")
                again = model.predict(rows[mask], prediction_type="Probability")[:, 1]
            assert run.oof_array[mask, 0] == pytest.approx(again, abs=1e-7)


def test_splits_of_a_column_are_counted(competitions: Competitions) -> None:
    """CatBoost's own list of splits says the same, for numbers and for categories of either treatment."""
    catboost = package("catboost")
    from workbench.models.catboost_folds import split_counts

    rng = np.random.default_rng(0)
    import pandas as pd

    frame = pd.DataFrame({"few": rng.integers(0, 2, 900), "x": rng.normal(size=900), "many": rng.integers(0, 30, 900)})
    y = (frame.x + frame.few + (frame.many % 3) > 1.5).astype(int)
    pool = catboost.Pool(frame, y, cat_features=["few", "many"])
    for more in ({}, {"grow_policy": "Lossguide"}):
        model = catboost.CatBoost(
            {
                "loss_function": "Logloss",
                "iterations": 12,
                "depth": 3,
                "logging_level": "Silent",
                "allow_writing_files": False,
                **more,
            }
        ).fit(pool)
        from workbench.models.catboost_folds import model_to_json

        counts = split_counts(json.loads(model_to_json(model)), 3)
        assert all(counts)
        if not more:
            trees = [model._get_tree_splits(i, pool) for i in range(model.tree_count_)]
            assert sum(counts) >= sum(len(t) for t in trees)
            assert counts[1] == sum(t.split(",")[0].startswith("x") for tree in trees for t in tree)


@dataclass(frozen=True)
class Fitted:
    """What an estimator was trained on, and with which parameters."""

    values: Any
    parameters: dict[str, Any]


class TestSklearnColumns:
    def learner(self, competitions: Competitions, estimator: str, more: str = "") -> Any:
        text = f'[sklearn]\nestimator = "sklearn.{estimator}"\n{more}'
        spec, problem = prepared(competitions(), text)
        return spec.learner(problem, 0), problem

    def fitted(self, learner: Any, monkeypatch: pytest.MonkeyPatch) -> Fitted:
        """Train a fold, whose first train row has no value in any column; return what reached the estimator."""
        from sklearn.base import BaseEstimator

        whole = TrainingColumns.frame

        def frame(rows: TrainingColumns, fold: int, chosen: Any) -> pl.DataFrame:
            found = whole(rows, fold, chosen)
            first = pl.int_range(pl.len()) == 0
            return found.with_columns(pl.when(~first).then(pl.col(n)).alias(n) for n in found.columns)

        seen: list[Fitted] = []
        made = learner.spec.new_estimator(1)
        assert isinstance(made, BaseEstimator)
        fit = type(made).fit

        def watched(self: Any, values: Any, *rest: Any, **more: Any) -> Any:
            seen.append(Fitted(np.array(values), self.get_params()))
            return fit(self, values, *rest, **more)

        with monkeypatch.context() as patch:
            patch.setattr(TrainingColumns, "frame", frame)
            patch.setattr(type(made), "fit", watched)
            result = learner.fit(0, 1)
        assert np.isfinite(result.oof).all()
        return seen[0]

    def test_linear_models_get_scaled_numbers_and_columns_of_codes(
        self, competitions: Competitions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        learner, problem = self.learner(competitions, "linear_model.LogisticRegression")
        made = self.fitted(learner, monkeypatch).values
        # Ten columns, one of them a town of twelve, or of none.
        assert made.shape == (len(problem.folds.train_rows(0)), 9 - 1 + 1 + 12)
        assert np.isfinite(made).all()
        assert made[:, :8].mean(axis=0) == pytest.approx(np.zeros(8), abs=1e-9)
        assert made[:, 8:].sum(axis=1) == pytest.approx(1)

    def test_trees_get_codes_and_what_is_missing_as_it_is(
        self, competitions: Competitions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        learner, problem = self.learner(competitions, "ensemble.RandomForestClassifier")
        values = self.fitted(learner, monkeypatch).values
        assert values.shape == (len(problem.folds.train_rows(0)), len(learner.data.columns.names))
        assert np.isnan(values[0]).all()
        assert not np.isnan(values[1:]).any()
        assert set(values[1:, learner.code_positions].ravel()) == set(range(12))

    def test_trees_that_take_no_nan_get_a_code_for_missing(
        self, competitions: Competitions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        learner, _ = self.learner(competitions, "ensemble.AdaBoostClassifier", "n_estimators = 5\n")
        values = self.fitted(learner, monkeypatch).values
        assert np.isfinite(values).all()
        # Codes come last.
        assert values[0, -len(learner.code_positions) :].tolist() == [-1]
        assert set(values[1:, -len(learner.code_positions) :].ravel()) == set(range(12))

    def test_histograms_know_which_columns_are_categories(
        self, competitions: Competitions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        learner, _ = self.learner(competitions, "ensemble.HistGradientBoostingClassifier")
        assert self.fitted(learner, monkeypatch).parameters["categorical_features"] == learner.code_positions
        learner, _ = self.learner(competitions, "ensemble.HistGradientBoostingClassifier", "max_bins = 5\n")
        assert self.fitted(learner, monkeypatch).parameters["categorical_features"] is None

    def test_models_of_counts_get_nothing_below_zero(self, competitions: Competitions) -> None:
        learner, _ = self.learner(competitions, "naive_bayes.ComplementNB")
        assert np.isfinite(learner.fit(0, 1).oof).all()


def test_xgboost_takes_constraints_by_the_columns_names(competitions: Competitions) -> None:
    package("xgboost")
    text = (
        TABLES["xgboost"] + 'monotone_constraints = { "x" = -1 }\ninteraction_constraints = [["x", "z"], ["te_town"]]\n'
    )
    spec, problem = prepared(competitions(), text)
    learner = spec.learner(problem, 0)
    assert learner.data.columns.names[:2] == ["x", "z"]
    assert learner.parameters["interaction_constraints"] == f"[[0, 1], [{learner.data.columns.names.index('te_town')}]]"
    falling = learner.fit(0, 1).importance["x"][0]
    spec, problem = prepared(competitions(), TABLES["xgboost"])
    assert falling < 0.2 * spec.learner(problem, 0).fit(0, 1).importance["x"][0]  # it rises with y
    with pytest.raises(ConfigError, match="monotone_constraints: no column 'xx'"):
        spec, problem = prepared(competitions(), TABLES["xgboost"] + "monotone_constraints = { xx = 1 }\n")
        spec.learner(problem, 0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("monotone_constraints = [1]", r"\[xgboost\] monotone_constraints: expected a value for each of the 9 columns, got 1"),
        ('monotone_constraints = "(1, 0)"', r"expected a value for each of the 9 columns, got '\(1, 0\)'"),
        ("monotone_constraints = { x = 2 }", "x = 2; expected 1"),
        ('monotone_constraints = { x = "up" }', "x = 'up'; expected 1"),
        ("monotone_constraints = { town = 1 }", "'town' is a column of categories"),
        ('interaction_constraints = ["x", "z"]', "expected a list of lists of columns"),
        ("interaction_constraints = 3", "expected a list of lists of columns"),
        ('interaction_constraints = [["xx"]]', "no column 'xx'.*did you mean 'x'"),
    ],
)  # fmt: skip
def test_odd_constraints_of_xgboost_are_explained(competitions: Competitions, line: str, message: str) -> None:
    package("xgboost")
    import re

    spec, problem = prepared(competitions(), f"[xgboost]\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        spec.learner(problem, 0)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


def test_constraints_of_xgboost_as_a_list(competitions: Competitions) -> None:
    package("xgboost")
    text = TABLES["xgboost"] + "monotone_constraints = [-1, 0, 0, 0, 0, 0, 0, 0, 0]\n"
    spec, problem = prepared(competitions(), text)
    by_name, _ = prepared(competitions(), TABLES["xgboost"] + "monotone_constraints = { x = -1 }\n")
    assert same(spec.learner(problem, 0).fit(0, 1), by_name.learner(problem, 0).fit(0, 1))


def test_other_boosters_of_xgboost(competitions: Competitions) -> None:
    package("xgboost")
    for more in ('booster = "dart"\nrate_drop = 0.2\n', 'booster = "gblinear"\n', 'tree_method = "approx"\n'):
        table_ = "[xgboost]\nnum_boost_round = 15\n" + more
        made = competitions()
        made.experiment(7, 'features = ["rows.x", "rows.z", "ratio"]\n' + table_)
        assert made.open.run(7).score > 0.75


@pytest.mark.parametrize(
    "objective",
    [
        *("squarederror", "squaredlogerror", "pseudohubererror", "absoluteerror", "gamma", "tweedie", "logistic"),
        *("quantileerror", "count:poisson", "survival:cox"),
    ],
)
def test_every_objective_of_xgboost_passes_the_try(competitions: Competitions, objective: str) -> None:
    package("xgboost")
    name = objective if ":" in objective else f"reg:{objective}"
    level = "quantile_alpha = 0.5\n" if objective == "quantileerror" else ""
    spec, _ = prepared(competitions("regression", "rmse"), f'[xgboost]\nobjective = "{name}"\n{level}')
    assert spec.parameters["objective"] == name


@pytest.mark.slow
def test_losses_of_catboost_on_another_scale(competitions: Competitions) -> None:
    package("catboost")
    made = competitions("regression", "rmse")
    for loss in ("Poisson", "Tweedie:variance_power=1.5", "LogLinQuantile:alpha=0.5"):
        made.experiment(8, ALL + BOOSTED["catboost"] + f'num_boost_round = 60\nloss_function = "{loss}"\n')
        assert made.open.run(8).score < 0.45
    multi = competitions("multiclass", "mlogloss")
    multi.experiment(8, ALL + TABLES["catboost"] + 'loss_function = "MultiClassOneVsAll"\n')
    run = multi.open.run(8)
    assert run.score < 0.85
    assert run.oof_array.sum(axis=1) == pytest.approx(1)


# ---------------------------------------------------------------------------------------------------------- bad input


def refused(made: Small, text: str, error: type[WorkbenchError]) -> str:
    made.experiment(9, 'features = ["rows", "te_town"]\n' + text)
    with pytest.raises(error) as caught:
        made.open.run(9)
    return str(caught.value)


BAD = [
    ("xgboost", "[xgboost]\nlerning_rate = 0.1\n", ConfigError, "[xgboost] has a key 'lerning_rate' that XGBoost does not know.*'learning_rate'"),
    ("xgboost", '[xgboost]\nbooster = "gblinear"\nmax_depth = 3\n', ConfigError, "'max_depth' that XGBoost does not know, or does not use with booster = 'gblinear'"),
    ("xgboost", "[xgboost]\neta = 0.1\nlearning_rate = 0.1\n", ConfigError, "sets 'eta' twice, also as 'learning_rate'"),
    ("xgboost", '[xgboost]\nmax_depth = "deep"\n', ConfigError, "XGBoost rejected it: Invalid Parameter format for max_depth expect int"),
    ("xgboost", '[xgboost]\nobjective = "reg:squarederror"\n', ConfigError, "does not fit task 'binary'.*binary:logistic"),
    ("xgboost", '[xgboost]\nobjective = 3\n', ConfigError, "does not fit task 'binary'"),
    ("xgboost", '[xgboost]\nbooster = "dart"\nearly_stopping_rounds = 5\n', ConfigError, "the model of the best round is lost"),
    ("xgboost", '[xgboost]\neval_metric = "auc"\n', ConfigError, "can't set 'eval_metric': the competition's metric"),
    ("xgboost", "[xgboost]\nn_estimators = 0\n", ConfigError, "num_boost_round = 0: expected a whole number of at least 1"),
    ("xgboost", "[xgboost]\neta = 2024-01-01\n", ConfigError, r"\[xgboost\] eta = 2024-01-01: expected a text, a number"),
    ("catboost", "[catboost]\nlerning_rate = 0.1\n", ConfigError, "unknown key 'lerning_rate'.*did you mean 'learning_rate'"),
    ("catboost", "[catboost]\ndepth = 3\nmax_depth = 4\n", ConfigError, "sets 'depth' twice, also as 'max_depth'"),
    ("catboost", "[catboost]\nrandom_state = 3\n", ConfigError, "can't set 'random_state': put the seeds"),
    ("catboost", '[catboost]\nloss_function = "RMSE"\n', ConfigError, "does not fit task 'binary'.*Logloss"),
    ("catboost", '[catboost]\ndepth = "deep"\n', TrainingError, r"CatBoost failed \(fold 0, seed 1\): Can't parse parameter \"depth\""),
    ("sklearn", "[sklearn]\nC = 1\n", ConfigError, "needs estimator, a text: it is missing"),
    ("sklearn", '[sklearn]\nestimator = "sklearn.linear_model.LogisticRegresion"\n', NotFoundError, "no estimator 'LogisticRegresion'.*did you mean 'LogisticRegression'"),
    ("sklearn", '[sklearn]\nestimator = "sklearn.linear_modle.Ridge"\n', NotFoundError, "did you mean 'linear_model'"),
    ("sklearn", '[sklearn]\nestimator = "Ridge"\n', NotFoundError, "write its full name"),
    ("sklearn", '[sklearn]\nestimator = "sklearn.linear_model.Ridge"\n', ConfigError, "is a regressor; task 'binary' needs a classifier"),
    ("sklearn", '[sklearn]\nestimator = "sklearn.linear_model.RidgeClassifier"\n', ConfigError, "gives no probabilities"),
    ("sklearn", '[sklearn]\nestimator = "sklearn.linear_model.LogisticRegression"\nc = 1\n', ConfigError, "unknown key 'c'"),
    ("sklearn", '[sklearn]\nestimator = "sklearn.linear_model.LogisticRegression"\nmax_itre = 1\n', ConfigError, "did you mean 'max_iter'"),
    ("sklearn", '[sklearn]\nestimator = "sklearn.linear_model.LogisticRegression"\nC = "much"\n', ConfigError, "LogisticRegression rejected it: The 'C' parameter"),
    ("sklearn", '[sklearn]\nestimator = "sklearn.linear_model.LogisticRegression"\nn_jobs = 2\n', ConfigError, "can't set 'n_jobs': use --threads"),
    ("sklearn", '[sklearn]\nestimator = "sklearn.linear_model.LogisticRegression"\nsolver = "liblinear"\nl1_ratio = 0.5\n', TrainingError, r"LogisticRegression failed \(fold 0, seed 1\): ValueError"),
    ("numpy", "[python]\nfunction = 'models.py'\n", ConfigError, "expected a file and a function of it"),
    ("numpy", "[python]\nfunction = 'model.py:f'\n", NotFoundError, "model.py is missing.*did you mean 'models.py'"),
    ("numpy", "[python]\nfunction = 'models.py:fit_predct'\n", NotFoundError, "did you mean 'fit_predict'"),
    ("numpy", "[python]\nfunction = 'models.py:fit_predict'\nstrenght = 2\n", ConfigError, "unknown key 'strenght'.*did you mean 'strength'"),
    ("numpy", "[python]\nfunction = 'models.py:fit_predict'\nseed = 2\n", ConfigError, "can't set 'seed'"),
    ("numpy", "[xgboost]\n[model]\n", ConfigError, r"has the tables \[model\] and \[xgboost\]: an experiment has one kind"),
    ("numpy", "[xgbost]\n", ConfigError, "did you mean 'xgboost'"),
]  # fmt: skip


@pytest.mark.parametrize(("needs", "text", "error", "message"), BAD)
def test_a_wrong_table_is_explained(
    competitions: Competitions, needs: str, text: str, error: type[WorkbenchError], message: str
) -> None:
    package(needs)
    import re

    said = refused(competitions(), text, error)
    found = message.replace("[xgboost] has", r"\[xgboost\] has")
    assert re.search(found, said, re.DOTALL), said


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return np.zeros(3), np.zeros(len(X_test))", r"valid_predictions: expected predictions of the shape \(64, 1\) .*got \(3,\)"),
        ("return np.zeros(len(X_valid)), None", "test_predictions: expected an array of numbers, got None"),
        ("return [str(v) for v in y_valid], y_valid", "valid_predictions: expected an array of numbers, got a list of 64"),
        ("return np.zeros(len(X_valid))", "expected two arrays, .valid_predictions, test_predictions., got an array of float64"),
        ("pass", "got None: does it return"),
        ("return np.full(len(X_valid), np.nan), np.zeros(len(X_test))", "64 of 64 predictions of 'y' are infinite or NaN"),
        ("return np.full(len(X_valid), 3.0), np.zeros(len(X_test))", "must be probabilities, but 3 is outside 0 to 1"),
        ("return np.zeros((len(X_valid), 2)), np.zeros(len(X_test))", r"expected the probability of the second class.*\[:, 1\]"),
        ("return X_train['nothing']", r"failed: ColumnNotFoundError: .*\(wrong.py, line 5\)"),
        ("raise SystemExit(3)", r"failed: SystemExit: 3 \(wrong.py, line 5\)"),
    ],
)  # fmt: skip
def test_a_wrong_function_is_explained(competitions: Competitions, body: str, message: str) -> None:
    import re

    made = competitions()
    head = "import numpy as np\n\n\ndef wrong(X_train, y_train, X_valid, y_valid, X_test):\n    "
    (made.folder / "wrong.py").write_text(head + body + "\n")
    said = refused(made, "[python]\nfunction = 'wrong.py:wrong'\n", TrainingError)
    assert re.search(message, said, re.DOTALL), said
    assert "wrong.py:wrong (fold 0, seed 1)" in said


def test_a_function_that_takes_too_little_is_explained(competitions: Competitions) -> None:
    made = competitions()
    (made.folder / "wrong.py").write_text("def wrong(X_train, y_train, *, depth):\n    return 1\n")
    said = refused(made, "[python]\nfunction = 'wrong.py:wrong'\n", ConfigError)
    assert "can't be called with (X_train, y_train, X_valid, y_valid, X_test, *)" in said
    assert "def fit_predict(X_train, y_train" in said


def test_a_function_that_changes_is_run_again(competitions: Competitions) -> None:
    """What the function uses counts too, in the files beside; a comment does not."""
    made = competitions()
    made.experiment(60, ALL + TABLES["python"])
    first = made.open.runs.execute(60)
    (made.folder / "beside.py").write_text("# a comment\n" + BESIDE)
    assert made.open.runs.execute(60).how == "unchanged"
    (made.folder / "beside.py").write_text(BESIDE.replace('"x", "z"', '"z"'))
    second = made.open.runs.execute(60)
    (made.folder / "beside.py").write_text(BESIDE)
    assert second.run.folder != first.run.folder
    assert second.run.score < first.run.score


def test_weights_that_an_estimator_does_not_take(competitions: Competitions, small: Any) -> None:
    made = small(n_rows=200)
    made.definition('target = "y"', 'target = "y"\nweight = "household"')
    said = refused(made, '[sklearn]\nestimator = "sklearn.neighbors.KNeighborsClassifier"\n', ConfigError)
    assert "takes no weights" in said


def test_a_package_that_is_missing_is_named(competitions: Competitions, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("xgboost", "catboost", "sklearn"):
        monkeypatch.setitem(sys.modules, name, None)
        said = refused(competitions(), f'[{name}]\nestimator = "x.y"\n', ConfigError)
        assert f"needs the package '{name}', which is not installed\n{install_hint(name)}" in said


def test_the_kind_of_a_base_is_replaced(competitions: Competitions) -> None:
    package("xgboost")
    made = competitions()
    made.experiment(70, ALL + TABLES["model"])
    made.experiment(71, "base = 70\n" + TABLES["xgboost"])
    made.experiment(72, "base = 71\n[xgboost]\neta = 0.2\n")
    made.experiment(73, "base = 72\nseeds = [2]\n")
    runs = [made.open.run(n).record for n in (71, 72, 73)]
    assert [r.kind for r in runs] == ["xgboost"] * 3
    assert runs[0].changes[0] == "model -> xgboost"
    assert "eta default -> 0.3" in runs[0].changes
    assert runs[1].changes == ("eta 0.3 -> 0.2",)
    assert runs[2].changes == ("seeds [1] -> [2]",)


def test_the_command(competitions: Competitions, tmp_path: Path) -> None:
    """What the commands do with another kind than LightGBM."""
    package("xgboost")
    made = make_small(tmp_path / "workspace", n_rows=200)
    made.experiment(1, 'title = "other trees"\n' + ALL + TABLES["xgboost"])
    done = forked_wb("run", "--exp", "1", cwd=made.workspace.root)
    assert done.returncode == 0, done.stderr
    (row,) = made.open.table()
    assert (row.run.kind, row.run.status) == ("xgboost", "finished")
    assert made.open.submissions.send(made.open.submissions.prepare(1)).exp == 1
    with pytest.raises(ConfigError, match=r"judged by LightGBM's trees, and this is a \[xgboost\] experiment"):
        made.open.features.select(1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('class_weight = "balanced"', r"class_weight goes with \[model\] \(LightGBM\), and this is a \[python\]"),
        ("refit = true", "refit goes with"),
        ("[pseudo]\nthreshold = 0.9", "pseudo goes with"),
        ("[tune]\ntrials = 3", "tune goes with"),
    ],
)
def test_what_is_lightgbms_alone_is_refused(small: Any, line: str, message: str) -> None:
    made = small(task="regression", metric="rmse")
    (made.folder / "models.py").write_text("def fit(X_train, y_train, X_valid, y_valid, X_test):\n    return 0, 0\n")
    top, table = (line, "") if line[0] != "[" else ("", line)
    made.experiment(1, f'features = ["rows"]\n{top}\n[python]\nfunction = "models.py:fit"\n{table}\n')
    with pytest.raises(ConfigError, match=message):
        made.open.run(1)
