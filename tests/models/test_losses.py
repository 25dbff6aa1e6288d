"""A metric of numbers is trained by its own loss, in every library: on noise, models come to the best constant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.needs import needs_package
from tests.small import Small, make_small
from workbench import metrics
from workbench.core.errors import DataError
from workbench.experiments.compose import compose
from workbench.experiments.kinds import model_spec
from workbench.experiments.ready import ready
from workbench.experiments.spec import read_spec
from workbench.models.losses import Loss, loss_for, power_for, relative_weights, training_weights
from workbench.models.records import Problem
from workbench.models.target import Target, TargetColumn
from workbench.models.train import train

COLUMNS = 'features = ["rows.x", "rows.z"]\n'
LIGHTGBM = "[model]\nlearning_rate = 0.1\nnum_leaves = 3\nmin_data_in_leaf = 100\nnum_boost_round = 8\n"
TABLES = {
    "lightgbm": LIGHTGBM + "early_stopping_rounds = 0\n",
    "xgboost": "[xgboost]\neta = 0.1\nmax_depth = 1\nnum_boost_round = 8\nearly_stopping_rounds = 0\n",
    "catboost": "[catboost]\nlearning_rate = 0.1\ndepth = 1\nnum_boost_round = 8\nearly_stopping_rounds = 0\n",
    "sklearn": '[sklearn]\nestimator = "sklearn.ensemble.HistGradientBoostingRegressor"\nmax_iter = 8\n'
    "max_leaf_nodes = 2\nmin_samples_leaf = 100\n",
}
LIBRARIES = [pytest.param(k, marks=needs_package(k)) for k in TABLES]

Prepared = Callable[[str, str, np.ndarray[Any, Any]], tuple[Any, Problem]]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Return what trains a table for a metric on a target of one's own, in a competition of 1,200 train rows."""

    @cache
    def competition(metric: str) -> tuple[Small, Problem]:
        root = tmp_path_factory.mktemp("losses") / "workspace"
        made = make_small(root, task="regression", metric=metric, n_rows=1500)
        made.experiment(1, COLUMNS + TABLES["lightgbm"])
        return made, ready(made.workspace, made.open.access.competition, 1).problem

    def prepare(text: str, metric: str, values: np.ndarray[Any, Any]) -> tuple[Any, Problem]:
        made, problem = competition(metric)
        values = np.resize(values, problem.target.n_rows)
        target = replace(problem.target, columns=(replace(problem.target.columns[0], values=values),))
        made.experiment(2, COLUMNS + text)
        spec = model_spec(read_spec(made.open.access.competition, 2), made.open.access.competition, target, threads=1)
        return spec, replace(problem, target=target)

    return prepare


def noise(sigma: float, middle: float = 3.0) -> np.ndarray[Any, Any]:
    return np.exp(middle + sigma * np.random.default_rng(7).standard_normal(1200))


def best_constant(metric: str, values: np.ndarray[Any, Any]) -> float:
    score = metrics.get(metric)
    return min(score(values, np.full(len(values), c)) for c in np.quantile(values, np.linspace(0.001, 0.999, 500)))


# ---------------------------------------------------------------------------------------------------- without models


def test_the_loss_of_each_metric() -> None:
    log = {"rmsle": 0, "rmspe": 2, "smape": 0, "mape": 1}
    for name in metrics.names():
        metric = metrics.get(name.replace("@K", "@5").replace("@Q", "@0.3").replace("@R", "@0.8"))
        loss = loss_for(metric)
        absolute = name in ("mae", "medae", "wmae", "smape", "mape")
        assert loss.kind == ("quantile" if name == "pinball@Q" else "absolute" if absolute else "squared"), name
        assert (loss.transform, loss.power) == (("log1p", log[name]) if name in log else ("none", 0)), name
        assert loss.level == (0.3 if name == "pinball@Q" else 0.5), name


@pytest.mark.parametrize(
    ("metric", "least", "is_included"),
    [("rmsle", -1, False), ("rmspe", 0, True), ("smape", 0, True), ("mape", 0, True), ("rmse", 0, True)],
)
def test_the_lowest_target_that_goes_through_the_transform(metric: str, least: float, is_included: bool) -> None:
    loss = loss_for(metrics.get(metric))
    assert loss.allows(least) == is_included
    assert loss.allows(least + 1e-9)
    assert not loss.allows(least - 1e-9)
    assert loss.allows(7)


def test_weights_by_the_inverse_of_the_target_make_errors_relative() -> None:
    assert not Loss("squared", transform="log1p", power=1).allows(-0.5)
    assert Loss("squared", transform="log1p", power=0).allows(-0.5)


def test_rows_weigh_by_their_target_in_regression_alone() -> None:
    def target(*tasks: str) -> Target:
        return Target(tuple(TargetColumn("y", task, np.zeros(2)) for task in tasks))

    for name, power in (("rmspe", 2), ("mape", 1), ("smape", 0), ("rmse", 0)):
        assert power_for(target("regression"), metrics.get(name)) == power
        assert power_for(target("regression", "regression"), metrics.get(name)) == power
        for tasks in (("binary",), ("regression", "binary"), ("ranking",)):
            assert power_for(target(*tasks), metrics.get(name)) == 0


def test_weights_of_rows_are_their_own_times_those_of_the_loss() -> None:
    values, own = np.array([9.0, 1.0, 2.0, 0.0]), np.array([9.0, 1.0, 3.0, 2.0])
    rows = np.array([1, 2, 3])
    relative = [2.4, 0.6, 0.0]
    assert relative_weights(values[rows], 2) == pytest.approx(relative)
    assert relative_weights(-values[rows], 1) == pytest.approx([2.0, 1.0, 0.0])
    assert relative_weights(values, 0) is None
    assert relative_weights(np.zeros(3), 2) is None
    assert training_weights(None, values, rows, 0) is None
    assert training_weights(None, values, rows, 2) == pytest.approx(relative)
    assert training_weights(own, values, rows, 0).tolist() == [1, 3, 2]
    assert training_weights(own, values, rows, 2) == pytest.approx([2.4, 1.8, 0])
    assert training_weights(own, np.zeros(4), rows, 2).tolist() == [1, 3, 2]
    assert Loss() == Loss("squared", "none", 0, 0.5)


# ------------------------------------------------------------------------------------------------------ on noise


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("metric", "values", "most"),
    [
        ("rmspe", noise(0.5), 1.05),  # 1.31 where the mean of the logarithm is predicted
        ("rmspe", noise(0.5, -4.0), 1.05),
        ("smape", noise(1.0), 1.02),  # 1.09 where the mean is
        ("mape", noise(1.0), 1.04),  # 1.18 where the median is
        ("mape", noise(1.0, -4.0), 1.04),
        ("mae", noise(1.0), 1.02),
        ("pinball@0.9", noise(1.0), 1.03),
    ],
)
def test_noise_is_predicted_by_its_best_constant(
    prepared: Prepared, library: str, metric: str, values: np.ndarray[Any, Any], most: float
) -> None:
    if library == "catboost" and metric == "mape" and values.max() < 1:
        most = 1.12  # a mean with the weights, as its medians have none; 1.55 for the median
    spec, problem = prepared(TABLES[library], metric, values)
    result = train(problem, spec, (1,))
    truth = problem.target.columns[0].values
    assert metrics.get(metric)(truth, result.oof[:, 0]) < most * best_constant(metric, truth)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_loss_of_ones_own_keeps_the_rows_weights(prepared: Prepared, library: str) -> None:
    given = {
        "lightgbm": 'objective = "regression"\n',
        "xgboost": 'objective = "reg:squarederror"\n',
        "catboost": 'loss_function = "RMSE"\n',
        "sklearn": 'loss = "squared_error"\n',
    }
    weighted, _ = prepared(TABLES[library], "rmspe", noise(0.5))
    plain, _ = prepared(TABLES[library] + given[library], "rmspe", noise(0.5))
    assert (weighted.power, plain.power) == (2, 0)
    assert weighted.content() != plain.content()
    assert "power" not in plain.content()


def test_amounts_on_both_sides_of_zero_stay_on_their_scale(prepared: Prepared) -> None:
    values = noise(0.5) * np.resize([1, -0.01], 1200)
    assert [prepared(LIGHTGBM, m, values)[0].transform for m in ("rmspe", "mape", "smape", "rmsle")] == [
        *["none"] * 3,
        "log1p",
    ]


def test_own_weights_of_rows_are_multiplied(prepared: Prepared) -> None:
    spec, problem = prepared(LIGHTGBM, "rmspe", np.array([1.0, 2.0, 0.0]))
    own = np.resize([1.0, 1.0, 1.0, 3.0], problem.target.n_rows)
    learner = spec.learner(replace(problem, target=replace(problem.target, weight=own)), 0)
    rows = np.arange(12)
    assert learner.data.target.training_weights(0, rows) == pytest.approx(own[rows] * np.resize([2.4, 0.6, 0.0], 12))


@pytest.mark.parametrize("power", [1, 2])
def test_the_weights_of_any_sizes_are_finite(power: int) -> None:
    weights = relative_weights(np.array([5e-324, 1e-200, 0.0, -1.0, 1e300]), power)
    assert weights is not None
    assert np.isfinite(weights).all()
    assert weights.mean() == pytest.approx(1)
    assert weights[2] == 0
    assert relative_weights(np.zeros(3), power) is None


def test_every_metric_of_numbers_has_a_loss() -> None:
    kinds = {
        name: loss_for(metrics.get(name.replace("@Q", "@0.9").replace("@R", "@0.8"))).kind
        for name in metrics.names()
        if "@K" not in name
    }
    assert {name for name, kind in kinds.items() if kind != "squared"} == {
        *("mae", "medae", "wmae", "smape", "mape", "pinball@Q")
    }


def test_a_quantile_loss_without_a_level_is_that_of_the_median() -> None:
    assert loss_for(metrics.get("pinball")) == loss_for(metrics.get("pinball@0.5"))


def test_a_loop_is_written_out_only_where_it_says_all(tmp_path: Any) -> None:
    texts = {}
    for metric in ("rmse", "rmspe"):
        made = make_small(tmp_path / metric, task="regression", metric=metric, n_rows=100)
        made.experiment(1, COLUMNS + LIGHTGBM)
        texts[metric] = str(compose(made.open.access.competition, 1, 2))
    assert "lgb.train(" in texts["rmse"]
    assert "lgb.train(" not in texts["rmspe"]
    assert "nb.fit(1" in texts["rmspe"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_for_a_balanced_metric_classes_are_of_one_size(tmp_path: Any, library: str) -> None:
    """On noise all classes are as likely as each other, however rare one is: log(2) is the best that there is."""
    made = make_small(tmp_path / "workspace", metric="balanced_logloss", n_rows=1500)
    text = COLUMNS + TABLES[library].replace("Regressor", "Classifier")
    if library == "catboost":  # it begins at one half
        text = text.replace("num_boost_round = 8", "num_boost_round = 80")
    made.experiment(1, COLUMNS + TABLES["lightgbm"])
    problem = ready(made.workspace, made.open.access.competition, 1).problem
    values = (np.random.default_rng(3).random(problem.target.n_rows) < 0.1).astype(float)
    target = replace(problem.target, columns=(replace(problem.target.columns[0], values=values),))
    made.experiment(2, text)
    spec = model_spec(read_spec(made.open.access.competition, 2), made.open.access.competition, target, threads=1)
    result = train(replace(problem, target=target), spec, (1,))
    assert metrics.get("balanced_logloss")(values, result.oof[:, 0]) == pytest.approx(np.log(2), abs=0.02)


def balanced(tmp_path: Any, text: str, *, weight: float = 1.0) -> tuple[Any, Any, Any]:
    """Return classes of noise, one in ten of them 1, their rows' weights, and OOF of a model for `balanced_logloss`."""
    made = make_small(tmp_path / "workspace", metric="balanced_logloss", n_rows=1500)
    made.experiment(1, COLUMNS + TABLES["lightgbm"])
    problem = ready(made.workspace, made.open.access.competition, 1).problem
    values = (np.random.default_rng(3).random(problem.target.n_rows) < 0.1).astype(float)
    weights = np.where(values == 1, weight, 1.0)
    column = replace(problem.target.columns[0], values=values)
    target = replace(problem.target, columns=(column,), weight=None if weight == 1 else weights)
    made.experiment(2, text)
    spec = model_spec(read_spec(made.open.access.competition, 2), made.open.access.competition, target, threads=1)
    result = train(replace(problem, target=target), spec, (1,))
    return values, weights, result.oof[:, 0]


@pytest.mark.parametrize("library", LIBRARIES)
def test_for_a_balanced_metric_the_weights_of_rows_are_no_part_of_a_class(tmp_path: Any, library: str) -> None:
    """Rows of the rare class that weigh five times as much are not also taken for as rare as they are by number."""
    text = COLUMNS + TABLES[library].replace("Regressor", "Classifier")
    if library == "catboost":
        text = text.replace("num_boost_round = 8", "num_boost_round = 80")
    values, weights, oof = balanced(tmp_path, text, weight=5.0)
    assert metrics.get("balanced_logloss")(values, oof, weights) == pytest.approx(np.log(2), abs=0.03)


@pytest.mark.parametrize("line", ["is_unbalance = true", "scale_pos_weight = 9"])
def test_for_a_balanced_metric_classes_that_lightgbm_weighs_are_not_made_of_one_size_twice(
    tmp_path: Any, line: str
) -> None:
    # It begins at the classes' shares without the weights, and has to be trained for a while.
    text = COLUMNS + TABLES["lightgbm"].replace("num_boost_round = 8", f"num_boost_round = 80\n{line}")
    values, _, oof = balanced(tmp_path, text)
    assert metrics.get("balanced_logloss")(values, oof) < 0.8  # 1.1 if they were twice


def test_with_row_weights_a_balanced_class_weight_is_of_the_rows_that_count(tmp_path: Any) -> None:
    values, weights, oof = balanced(tmp_path, COLUMNS + 'class_weight = "balanced"\n' + TABLES["lightgbm"], weight=5.0)
    assert metrics.get("balanced_logloss")(values, oof, weights) == pytest.approx(np.log(2), abs=0.03)


@pytest.mark.parametrize("library", [p for p in LIBRARIES if p.values[0] != "sklearn"])
def test_grades_that_are_numbers_stop_by_the_rmse(tmp_path: Any, library: str) -> None:
    """Rounded predictions are all the same for more rounds than the patience has: the first was the best of them."""
    made = make_small(tmp_path / "workspace", task="regression", metric="rmse", n_rows=500)
    made.experiment(1, COLUMNS + TABLES["lightgbm"])
    problem = ready(made.workspace, made.open.access.competition, 1).problem
    grades = np.digitize(problem.matrix.train["x"].to_numpy(), [-1.5, 1.5]).astype(float)
    target = replace(problem.target, columns=(replace(problem.target.columns[0], values=grades),))
    made.definition('metric = "rmse"', 'metric = "qwk"')
    table = TABLES[library].replace("0.1", "0.003").replace("num_boost_round = 8", "num_boost_round = 150")
    made.experiment(2, COLUMNS + table.replace("early_stopping_rounds = 0", "early_stopping_rounds = 30"))
    spec = model_spec(read_spec(made.open.access.competition, 2), made.open.access.competition, target, threads=1)
    result = train(replace(problem, target=target, metric=metrics.get("qwk")), spec, (1,))
    assert {part.rounds for part in result.parts} == {150}
    assert spec.content()["stops_by"] == "rmse"


@pytest.mark.parametrize("metric", ["qwk", "accuracy"])
def test_amounts_are_not_cut_off_to_labels(tmp_path: Any, metric: str) -> None:
    made = make_small(tmp_path / "workspace", task="regression", metric="rmse", n_rows=100)
    definition = made.folder / "competition.toml"
    definition.write_text(definition.read_text().replace('metric = "rmse"', f'metric = "{metric}"'))
    made.experiment(1, COLUMNS + TABLES["lightgbm"])
    with pytest.raises(DataError, match=r"scores labels, whole numbers: target 'y' of table 'train' has"):
        ready(made.workspace, made.open.access.competition, 1)
