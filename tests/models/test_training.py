"""Training with LightGBM: objectives, constraints, transforms, weights of classes, all rows, queries, pseudo-labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sk
from sklearn.preprocessing import PowerTransformer, QuantileTransformer

from tests.small import make_frame
from workbench import metrics
from workbench.analysis.selection.groups import with_columns
from workbench.core.errors import ConfigError, DataError, NotFoundError, TrainingError
from workbench.experiments.held_out import on_folds
from workbench.experiments.ready import ready
from workbench.experiments.run import run as run_experiment
from workbench.features import ROW
from workbench.models.lightgbm.bins import shared_bins
from workbench.models.lightgbm.boosting import with_feature_names
from workbench.models.lightgbm.learner import LightGBMSpec
from workbench.models.lightgbm.parameters import lightgbm_spec
from workbench.models.records import DerivedData
from workbench.models.scoring import score_column
from workbench.models.target import Target, TargetColumn
from workbench.models.train import train
from workbench.models.transforms import LOWEST, TRANSFORMS, fitted_transform
from workbench.models.weights import without_weights

QUICK = "learning_rate = 0.3\nnum_leaves = 7\nnum_iterations = 20\nmin_data_in_leaf = 5\nearly_stopping_round = 5\n"

PER_FOLD = 'rounds = "per fold"\n'


def experiment(made: Any, model: str = "", head: str = 'features = ["rows.x", "rows.z", "te_town"]\n') -> None:
    made.experiment(1, f"{head}[model]\n{QUICK}{model}")


def run(made: Any, model: str = "", head: str = 'features = ["rows.x", "rows.z", "te_town"]\n') -> Any:
    experiment(made, model, head)
    return made.open.run(1)


def prepared(made: Any) -> Any:
    return ready(made.workspace, made.open.access.competition, 1)


def truth(made: Any, *columns: str) -> pl.DataFrame:
    return made.open.tables["train"].collect().select(columns or ("y",))


def with_source(small: Any, tmp_path: Path, change: Any, **options: Any) -> Any:
    """Return a competition whose file is a changed one."""
    source = tmp_path / "changed.csv"
    change(make_frame(400, task=options.pop("of", "binary"))).write_csv(source)
    return small(train=source, **options)


class TestParameters:
    def given(self, **parameters: Any) -> LightGBMSpec:
        return lightgbm_spec(parameters, where="001.toml")

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"num_leafs": 7}, "unknown key 'num_leafs'.*num_leaves"),
            ({"eta": 0.1, "learning_rate": 0.2}, "sets 'learning_rate' twice, also as 'learning_rate'"),
            ({"objective": "poison"}, "objective = 'poison' is unknown.*poisson"),
            ({"boosting": "darts"}, "boosting = 'darts' is unknown.*dart"),
            ({"boosting": "rf"}, "rf needs trees that differ.*bagging_freq"),
            ({"boosting": "goss", "bagging_freq": 1, "bagging_fraction": 0.5}, "goss samples by itself"),
            ({"is_unbalance": True, "scale_pos_weight": 2.0}, "do the same"),
            ({"bagging_fraction": "half"}, "bagging_fraction = 'half': expected a number"),
            ({"objective": "objective.py:focal"}, "there is no competition with a folder"),
            ({"objective": ["binary"]}, r"objective = \['binary'\] is unknown"),
            ({"objective": ["objective.py:focal"]}, "is unknown"),
            ({"num_leaves": "many"}, "num_leaves = 'many': Parameter num_leaves should be of type int"),
            ({"num_leaves": [7, 15]}, r"num_leaves = \[7, 15\]: expected one value, not a list"),
            ({"num_leaves": []}, r"num_leaves = \[\]: expected one value, not a list"),
            ({"num_leaves": {"low": 7}}, "num_leaves = {'low': 7}: expected one value, not a table"),
            ({"num_leaves": True}, "num_leaves = True: .* of type int"),
            ({"max_depth": 3, "lambda_l2": "much"}, "lambda_l2 = 'much': expected a number$"),
            ({"eta": 0}, "learning_rate = 0: expected a value > 0.0$"),
            ({"early_stopping_min_delta": -1}, "early_stopping_min_delta = -1: expected a value >= 0.0"),
            ({"extra_trees": "perhaps"}, 'extra_trees = .perhaps.: .*"true"'),
            ({"training_metric": "no"}, "is_provide_training_metric = 'no'"),
            ({"device_type": "tpu"}, "device_type = 'tpu': Unknown device type"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, parameters: dict[str, Any], message: str) -> None:
        import re

        with pytest.raises(ConfigError) as caught:
            self.given(**parameters)
        assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)

    def test_what_goes_by_column_or_by_class_is_not_tried(self) -> None:
        by_column = {
            "monotone_constraints": {"x": 1},
            "interaction_constraints": [["x", "z"]],
            "feature_contri": [1, 2],
        }
        given = {"max_bin_by_feature": {"x": 3}, "objective": "multiclass", "label_gain": [0, 1, 3], **by_column}
        assert self.given(**given).parameters.items() >= given.items()

    def test_dart_has_no_early_stopping_and_says_so(self) -> None:
        spec = self.given(boosting="dart", num_iterations=40, early_stopping_round=5)
        assert spec.patience == 0
        assert "all 40 rounds" in spec.notes[0]

    @pytest.mark.parametrize(
        ("task", "model", "message"),
        [
            ("regression", 'objective = "binary"', "does not fit the task 'regression'.*regression, regression_l1"),
            ("binary", 'objective = "regression"', "does not fit the task 'binary'.*binary, cross_entropy"),
            ("multiclass", 'objective = "binary"', "does not fit the task 'multiclass'.*multiclass, multiclassova"),
            (
                "two",
                'objective = "poisson"',
                "needs values of at least 0; target 'y' has .* others among 400 .* in row",
            ),
            ("two", 'objective = "gamma"', "needs values above 0"),
            ("regression", 'objective = "cross_entropy"', "needs values from 0 to 1"),
            ("regression", 'linear_tree = true\nobjective = "mae"', "linear_tree can't be trained by"),
            ("multiclass", "is_unbalance = true", "are for two classes"),
            (
                "binary",
                'is_unbalance = true\nobjective = "cross_entropy"',
                "is_unbalance = True does nothing with the objective 'cross_entropy'.*class_weight",
            ),
            (
                "binary",
                'scale_pos_weight = 3.0\nobjective = "objective.py:logistic"',
                "scale_pos_weight = 3.0 does nothing with the objective 'objective.py:logistic'",
            ),
        ],
    )
    def test_an_objective_that_does_not_fit_names_those_that_do(
        self, small, task: str, model: str, message: str
    ) -> None:
        metric = {"binary": "auc", "multiclass": "mlogloss"}.get(task, "rmse")
        made = small(task=task, metric=metric)
        (made.folder / "objective.py").write_text(TestOwnObjective.CODE)
        experiment(made, model)
        import re

        with pytest.raises(ConfigError) as caught:
            made.open.run(1)
        assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)

    def test_what_does_nothing_anyway_goes_with_every_objective(self, small) -> None:
        made = small()
        assert run(made, 'is_unbalance = false\nscale_pos_weight = 1.0\nobjective = "cross_entropy"\n').score > 0.8

    def test_transformed_values_are_of_either_sign(self, small) -> None:
        made = small(task="regression", metric="rmse")
        head = 'features = ["rows.x"]\ntarget_transform = "boxcox"\n'
        experiment(made, 'objective = "gamma"', head)
        with pytest.raises(ConfigError, match="needs values above 0, and target_transform = 'boxcox' gives others"):
            made.open.run(1)

    @pytest.mark.parametrize(
        "objective",
        [*("poisson", "gamma", "tweedie", "huber", "fair", "quantile", "mape", "l1", "mse")],
    )
    def test_every_objective_for_numbers_learns(self, small, objective: str) -> None:
        made = small(task="regression", metric="mae")
        made_run = run(made, f'objective = "{objective}"\nalpha = 0.5')
        y = truth(made)["y"].to_numpy()
        assert sk.mean_absolute_error(y, made_run.oof_array[:, 0]) < sk.mean_absolute_error(
            y, np.full(len(y), np.median(y))
        )

    @pytest.mark.parametrize(
        ("model", "alpha"),
        [
            ("", 0.8),
            ('objective = "quantile"\n', 0.8),
            ('objective = "quantile"\nalpha = 0.6\n', 0.6),
            ('objective = "huber"\n', None),
            ('objective = "huber"\nalpha = 2.0\n', 2.0),
            ('objective = "objective.py:squares"\n', None),
        ],
    )
    def test_the_metrics_quantile_is_for_that_objective_alone(self, small, model: str, alpha: float | None) -> None:
        made = small(task="regression", metric="pinball@0.8")
        (made.folder / "objective.py").write_text(TestOwnObjective.CODE)
        experiment(made, model)
        found = prepared(made)
        assert found.model.learner(found.problem, 0).parameters.get("alpha") == alpha

    @pytest.mark.parametrize("objective", ["cross_entropy", "cross_entropy_lambda"])
    def test_both_cross_entropies_give_probabilities(self, small, objective: str) -> None:
        made = small(metric="logloss")
        made_run = run(made, f'objective = "{objective}"')
        assert made_run.oof_array.max() < 1
        assert made_run.score < 0.6
        assert made_run.record.oof_score == pytest.approx(sk.log_loss(truth(made)["y"], made_run.oof_array[:, 0]))

    def test_one_against_all_gives_probabilities_that_sum_to_one(self, small) -> None:
        made_run = run(small(task="multiclass", metric="mlogloss"), 'objective = "ova"')
        assert made_run.oof_array.sum(axis=1) == pytest.approx(1)
        assert made_run.score < 1.0

    @pytest.mark.parametrize(
        "model",
        [
            'boosting = "dart"\n',
            'boosting = "goss"\n',
            'boosting = "rf"\nbagging_freq = 1\nbagging_fraction = 0.7\n',
            "extra_trees = true\n",
            "linear_tree = true\n",
        ],
    )
    def test_every_boosting_learns(self, small, model: str) -> None:
        assert run(small(), model).score > 0.8

    def test_dart_uses_all_rounds(self, small) -> None:
        made = small()
        experiment(made, 'boosting = "dart"\n')
        outcome = made.open.runs.execute(1)
        assert any("early stopping has no meaning" in note for note in outcome.notes)
        notes = json.loads((outcome.run.folder / "run.json").read_text())["models"]
        assert {m["rounds"] for m in notes} == {20}

    def test_the_curve_of_the_train_rows_on_demand(self, small) -> None:
        made = small()
        notes = json.loads((run(made, "training_metric = true").folder / "run.json").read_text())["models"]
        assert all(len(m["train_curve"]) == len(m["curve"]) for m in notes)
        assert notes[0]["train_curve"][-1] > notes[0]["curve"][-1]  # auc
        plain = json.loads((run(made).folder / "run.json").read_text())["models"]
        assert "train_curve" not in plain[0]
        assert plain[0]["curve"] == notes[0]["curve"]


class TestFiles:
    """Files that parameters name are of the competition's folder, and what they say decides the run."""

    HEAD = 'features = ["rows.x", "rows.z"]\n'

    def test_splits_that_are_forced(self, small) -> None:
        made = small()
        path = made.folder / "splits.json"
        path.write_text('{"feature": 1, "threshold": 0.0}')
        first = run(made, 'forcedsplits_filename = "splits.json"\n', self.HEAD)
        for text in first.models.values():
            table = lgb.Booster(model_str=text).trees_to_dataframe()
            assert set(table.split_feature[table.node_depth == 1]) == {"z"}
        assert made.open.runs.execute(1).how == "unchanged"
        path.write_text('{"feature": 0, "threshold": 0.0}')
        second = made.open.runs.execute(1)
        assert second.how == "new"
        assert not second.run.oof.equals(first.oof)

    def test_bins_that_are_forced(self, small) -> None:
        made = small()
        (made.folder / "bins.json").write_text('[{"feature": 0, "bin_upper_bound": [-0.512, 0.123, 0.512]}]')
        head = 'features = ["rows.x", "rows.z", "te_town"]\n'
        found = run(made, 'forcedbins_filename = "bins.json"\nmax_bin = 10\n', head)
        trees = [lgb.Booster(model_str=text).trees_to_dataframe() for text in found.models.values()]
        where = [set(t.split_feature[t.threshold.round(9).isin([-0.512, 0.123, 0.512])]) for t in trees]
        assert where == [{"x"}] * 5

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (
                '"split.json"',
                "forcedsplits_filename = 'split.json': .*split.json is missing.*did you mean 'splits.json'",
            ),
            ('"odd.json"', "odd.json is not valid JSON"),
            ('"with space.json"', "LightGBM can't read a path with a space"),
            ("3", "forcedsplits_filename = 3: expected the name of a file"),
        ],
    )
    def test_what_lightgbm_would_pass_over_is_refused(self, small, value: str, message: str) -> None:
        made = small()
        for name, text in (("splits.json", "{}"), ("odd.json", "feature 1"), ("with space.json", "{}")):
            (made.folder / name).write_text(text)
        experiment(made, f"forcedsplits_filename = {value}\n", self.HEAD)
        import re

        with pytest.raises(ConfigError) as caught:
            made.open.run(1)
        assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


class TestConstraints:
    def rising(self, text: str, column: int, width: int) -> bool:
        grid = np.zeros((60, width))
        grid[:, column] = np.linspace(-3, 3, 60)
        steps = np.diff(lgb.Booster(model_str=text).predict(grid))
        return bool((steps >= -1e-12).all())

    def test_by_name_and_with_the_columns_of_a_fold(self, small) -> None:
        made = small(task="two", metric="rmse")
        plain = run(made, "", 'features = ["rows.x", "rows.z"]\n')
        assert not all(self.rising(t, 0, 2) for t in plain.models.values())
        held = run(made, "monotone_constraints = { x = 1, te_town = 1 }\n")
        assert all(self.rising(t, 0, 3) and self.rising(t, 2, 3) for t in held.models.values())

    def test_columns_in_no_set_are_one_of_their_own(self, small) -> None:
        made = small(task="regression", metric="rmse")
        head = 'features = ["rows.x", "rows.z", "ratio", "doubled"]\n'
        made_run = run(made, 'interaction_constraints = [["x", "ratio"]]\n', head)
        used: set[frozenset[int]] = set()

        def walk(node: dict[str, Any], seen: frozenset[int]) -> None:
            if "split_feature" in node:
                seen = seen | {node["split_feature"]}
                used.add(seen)
                walk(node["left_child"], seen)
                walk(node["right_child"], seen)

        for text in made_run.models.values():
            for tree in lgb.Booster(model_str=text).dump_model()["tree_info"]:
                walk(tree["tree_structure"], frozenset())
        assert all(s <= {0, 2} or s <= {1, 3} for s in used)
        assert frozenset({1}) in used

    @pytest.mark.parametrize(
        ("model", "error", "message"),
        [
            ("monotone_constraints = { xx = 1 }", NotFoundError, "no column 'xx' among the 3.*did you mean 'x'"),
            ("monotone_constraints = { x = 2 }", ConfigError, "x = 2; expected 1"),
            ("monotone_constraints = [1]", ConfigError, "a value for each of the 3 columns, got 1 value"),
            ("monotone_constraints = { town = 1 }", ConfigError, "'town' is a column of categories"),
            ('interaction_constraints = [["x", "q"]]', NotFoundError, "no column 'q'"),
            ('interaction_constraints = "x"', ConfigError, "expected a list of lists"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, small, model: str, error: type[Exception], message: str) -> None:
        made = small()
        experiment(made, model, 'features = ["rows.x", "rows.town", "te_town"]\n')
        import re

        with pytest.raises(error) as caught:
            made.open.run(1)
        assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)

    def test_bins_by_column(self, small) -> None:
        made_run = run(small(), "max_bin_by_feature = { x = 3, te_town = 2 }\n")
        thresholds: dict[int, set[float]] = {0: set(), 1: set(), 2: set()}
        for text in made_run.models.values():
            table = lgb.Booster(model_str=text).trees_to_dataframe().dropna(subset=["split_feature"])
            names = ["x", "z", "te_town"]
            for name, value in zip(table["split_feature"], table["threshold"], strict=True):
                thresholds[names.index(name)].add(value)
        assert len(thresholds[0]) <= 2
        assert len(thresholds[1]) > 5


class TestOwnObjective:
    CODE = """
import numpy as np

def logistic(predictions, labels, weights):
    p = 1 / (1 + np.exp(-predictions))
    w = 1 if weights is None else weights
    return (p - labels) * w, p * (1 - p) * w

def softmax(predictions, labels, weights):
    e = np.exp(predictions - predictions.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return p - (labels[:, None] == np.arange(p.shape[1])), 2 * p * (1 - p)

def squares(predictions, labels, weights):
    return predictions - labels, np.ones_like(labels)

def short(predictions, labels, weights):
    return (predictions - labels)[:3], np.ones_like(labels)

def odd(predictions, labels, weights):
    return (predictions - labels) * np.nan, np.ones_like(labels)

def raises(predictions, labels, weights):
    raise KeyError("gamma")
"""

    def made(self, small: Any, **options: Any) -> Any:
        made = small(**options)
        (made.folder / "objective.py").write_text(self.CODE)
        return made

    def test_of_two_classes_is_the_builtin_one(self, small) -> None:
        made = self.made(small, metric="logloss")
        own = run(made, 'objective = "objective.py:logistic"\n')
        builtin = run(made, "boost_from_average = false\n")
        assert own.oof_array == pytest.approx(builtin.oof_array, abs=1e-5)
        assert own.score == pytest.approx(builtin.score, abs=1e-5)
        x = made.open.rows.collect().sort(ROW)
        # Whoever loads the model gets probabilities.
        head = 'features = ["rows.x", "rows.z"]\n'
        own = run(made, 'objective = "objective.py:logistic"\n', head)
        frame = x.select("x", "z").cast(pl.Float32).head(400).to_numpy()
        for name, text in own.models.items():
            mask = own.oof["fold"].to_numpy() == int(name.split("-")[1][1:])
            assert lgb.Booster(model_str=text).predict(frame[mask]) == pytest.approx(own.oof_array[mask, 0], abs=1e-12)

    def test_of_several_classes_and_numbers(self, small) -> None:
        made = self.made(small, task="multiclass", metric="accuracy")
        made_run = run(made, 'objective = "objective.py:softmax"\n')
        assert made_run.oof_array.sum(axis=1) == pytest.approx(1)
        assert made_run.score > 0.5
        made = self.made(small, task="regression", metric="rmse", slug="numbers")
        assert run(made, 'objective = "objective.py:squares"\n').score < truth(made)["y"].std()

    def test_its_code_decides_the_run(self, small) -> None:
        made = self.made(small)
        run(made, 'objective = "objective.py:logistic"\n')
        assert made.open.runs.execute(1).how == "unchanged"
        (made.folder / "objective.py").write_text(self.CODE.replace("p * (1 - p) * w", "p * (1 - p) * w * 1.1"))
        assert made.open.runs.execute(1).how == "new"

    def test_what_its_code_imports_decides_the_run(self, small) -> None:
        made = small()
        (made.folder / "objective.py").write_text(
            "import losses\n\ndef focal(p, y, w):\n    return losses.logistic(p, y, w)\n"
        )
        (made.folder / "losses.py").write_text(self.CODE)
        first = run(made, 'objective = "objective.py:focal"\n')
        (made.folder / "losses.py").write_text(self.CODE + "\n# a comment\n")
        assert made.open.runs.execute(1).how == "unchanged"
        (made.folder / "losses.py").write_text(self.CODE.replace("p * (1 - p) * w", "p * (1 - p) * w * 1.1"))
        second = made.open.runs.execute(1)
        assert second.how == "new"
        assert not second.run.oof.equals(first.oof)

    @pytest.mark.parametrize(
        ("name", "error", "message"),
        [
            ("short", TrainingError, r"expected the gradient as \(320,\), got \(3,\)"),
            ("odd", TrainingError, "320 of 320 values of the gradient are infinite or NaN"),
            ("raises", TrainingError, "failed: KeyError: 'gamma'"),
            ("fokal", NotFoundError, "has no function 'fokal'"),
        ],
    )
    def test_what_is_wrong_with_it_is_said(self, small, name: str, error: type[Exception], message: str) -> None:
        made = self.made(small, task="regression", metric="rmse")
        experiment(made, f'objective = "objective.py:{name}"\n')
        with pytest.raises(error, match=message):
            made.open.run(1)


class TestTransforms:
    @pytest.mark.parametrize("name", TRANSFORMS)
    def test_the_inverse_is_exact_on_what_was_learned_from(self, name: str) -> None:
        rng = np.random.default_rng(3)
        for values in (rng.lognormal(2, 1, 900), rng.integers(1, 9, 700).astype(float), rng.normal(size=300)):
            if values.min() > LOWEST[name]:
                made = fitted_transform(name, values)
                assert made.inverse(made.forward(values)) == pytest.approx(values, rel=1e-7)

    def test_they_are_scikit_learns(self) -> None:
        values = np.random.default_rng(4).lognormal(1, 1, 800)
        for name, theirs in (
            ("boxcox", PowerTransformer("box-cox", standardize=False)),
            ("yeojohnson", PowerTransformer("yeo-johnson", standardize=False)),
            ("quantile", QuantileTransformer(n_quantiles=800, output_distribution="normal")),
        ):
            expected = theirs.fit_transform(values[:, None])[:, 0]
            assert fitted_transform(name, values).forward(values) == pytest.approx(expected, abs=1e-6)

    def test_predictions_go_back_no_further_than_the_values(self) -> None:
        values = np.random.default_rng(5).lognormal(1, 1, 200)
        for name in ("boxcox", "yeojohnson", "quantile"):
            made = fitted_transform(name, values)
            back = made.inverse(np.array([-1e9, 1e9]))
            assert back == pytest.approx([values.min(), values.max()])

    @pytest.mark.parametrize("name", ["log1p", "boxcox", "yeojohnson", "quantile"])
    def test_oof_and_score_are_on_the_targets_scale(self, small, name: str) -> None:
        made = small(task="regression", metric="mae")
        head = f'features = ["rows.x", "rows.z", "te_town"]\ntarget_transform = "{name}"\n'
        made_run = run(made, "", head)
        y = truth(made)["y"].to_numpy()
        assert made_run.record.oof_score == pytest.approx(sk.mean_absolute_error(y, made_run.oof_array[:, 0]))
        assert made_run.score < sk.mean_absolute_error(y, np.full(len(y), np.median(y)))
        details = json.loads((made_run.folder / "run.json").read_text())
        assert details["target_transform"] == name
        # Early stopping watches the metric of what is sent.
        for model in details["models"]:
            score = made_run.record.fold_scores[model["fold"]]
            assert model["curve"][model["rounds"] - 1] == pytest.approx(score, abs=1e-6)
        learned = [m["notes"]["transform"] for m in details["models"]] if name != "log1p" else []
        if name == "boxcox":  # each fold learns from its own rows
            folds = made_run.oof["fold"].to_numpy()
            for model, found in zip(details["models"], learned, strict=True):
                assert found["lowest"] == y[folds != model["fold"]].min()
            assert len({found["lambda"] for found in learned}) == 5

    @pytest.mark.parametrize(
        ("task", "name", "message"),
        [
            ("two", "boxcox", "needs a target above 0, but its lowest value is -.*none, yeojohnson, quantile"),
            ("binary", "quantile", "is for numbers, but the task is 'binary'"),
            ("regression", "log2", "'log2' is unknown.*log1p"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, small, task: str, name: str, message: str) -> None:
        made = small(task=task, metric="auc" if task == "binary" else "rmse")
        experiment(made, "", f'features = ["rows.x"]\ntarget_transform = "{name}"\n')
        import re

        with pytest.raises(ConfigError) as caught:
            made.open.run(1)
        assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


class TestClassWeights:
    HEAD = 'features = ["rows.x", "rows.z", "te_town"]\n'

    def test_probabilities_are_what_they_would_be_without(self) -> None:
        rng = np.random.default_rng(0)
        p = rng.dirichlet([1, 2, 3], 50)
        w = np.array([5.0, 1.0, 0.2])
        fitted = p * w / (p * w).sum(axis=1, keepdims=True)
        assert without_weights(fitted, w) == pytest.approx(p)

    def test_the_mean_probability_stays_the_share_of_the_class(self, small) -> None:
        made = small(metric="logloss")
        plain, weighted = (
            run(made),
            run(made, "", 'features = ["rows.x", "rows.z", "te_town"]\nclass_weight = { 1 = 3 }\n'),
        )
        share = truth(made)["y"].mean()
        assert weighted.oof_array.mean() == pytest.approx(share, abs=0.05)
        assert weighted.score == pytest.approx(plain.score, abs=0.05)
        assert not np.allclose(weighted.oof_array, plain.oof_array)
        details = json.loads((weighted.folder / "run.json").read_text())
        for model in details["models"]:  # what stops early is the corrected log loss
            score = weighted.record.fold_scores[model["fold"]]
            assert model["curve"][model["rounds"] - 1] == pytest.approx(score, abs=1e-6)

    def test_labels_follow_the_weights(self, small, tmp_path: Path) -> None:
        def rare(frame: pl.DataFrame) -> pl.DataFrame:
            return frame.filter((pl.col("y") == 0) | (pl.int_range(pl.len()) % 5 == 0))

        made = with_source(small, tmp_path, rare, metric="balanced_accuracy")
        plain = run(made)
        balanced = run(made, "", 'features = ["rows.x", "rows.z", "te_town"]\nclass_weight = "balanced"\n')
        assert balanced.score > plain.score + 0.02

    def test_values_of_probabilities_are_corrected_too(self, small) -> None:
        """A function of one's own that does not say that it takes probabilities gets the same ones."""
        made = small()
        made.definition('metric = "auc"', 'metric = "metric.py:brier"\ngreater_is_better = false')
        (made.folder / "metric.py").write_text("def brier(t, p):\n    return ((t - p) ** 2).mean()\n")
        assert made.open.access.competition.metric.prediction_type == "value"
        weighted = run(made, "", self.HEAD + "class_weight = { 1 = 3 }\n")
        assert weighted.oof_array.mean() == pytest.approx(truth(made)["y"].mean(), abs=0.05)
        self.stopped_at_its_score(weighted)

    def test_rmse_of_probabilities_stops_by_the_corrected_ones(self, small) -> None:
        made = small()
        made.definition('metric = "auc"', 'metric = "rmse"')
        self.stopped_at_its_score(run(made, "", self.HEAD + "class_weight = { 1 = 3 }\n"))

    def stopped_at_its_score(self, made_run: Any) -> None:
        for model in json.loads((made_run.folder / "run.json").read_text())["models"]:
            score = made_run.record.fold_scores[model["fold"]]
            assert model["curve"][model["rounds"] - 1] == pytest.approx(score, abs=1e-6)

    @pytest.mark.parametrize("objective", ["binary", "cross_entropy", "objective.py:logistic"])
    def test_the_log_loss_that_stands_in_for_labels_is_weighted_whoever_computes_it(
        self, small, objective: str
    ) -> None:
        made = small(metric="f1")
        (made.folder / "objective.py").write_text(TestOwnObjective.CODE)
        found = run(made, f'objective = "{objective}"\n', self.HEAD + "class_weight = { 1 = 5 }\n")
        y, fold = truth(made)["y"].to_numpy(), found.oof["fold"].to_numpy()
        for model in json.loads((found.folder / "run.json").read_text())["models"]:
            rows = fold == model["fold"]
            expected = sk.log_loss(y[rows], found.oof_array[rows, 0], sample_weight=np.where(y[rows] == 1, 5, 1))
            assert model["curve"][model["rounds"] - 1] == pytest.approx(expected, abs=1e-6)

    def test_rankings_of_classes_stop_by_the_weighted_log_loss(self, small) -> None:
        made = small(task="multiclass", metric="map@2")
        found = run(made, "", self.HEAD + "class_weight = { high = 5 }\n")
        y, fold = truth(made)["y"].to_numpy(), found.oof["fold"].to_numpy()
        for model in json.loads((found.folder / "run.json").read_text())["models"]:
            rows = fold == model["fold"]
            weight = np.where(y[rows] == "high", 5, 1)
            expected = sk.log_loss(y[rows], found.oof_array[rows], sample_weight=weight)
            assert model["curve"][model["rounds"] - 1] == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize(
        ("task", "line", "message"),
        [
            ("regression", 'class_weight = "balanced"', "class_weight is for classes; the task is 'regression'"),
            ("multiclass", "class_weight = { hihg = 2 }", "'hihg' is not a class of 'y'.*did you mean 'high'"),
            ("multiclass", "class_weight = { high = -2 }", "high = -2; expected a number above 0"),
            ("multiclass", 'class_weight = "equal"', 'expected "balanced" or a weight by class'),
        ],
    )
    def test_what_does_not_fit_is_refused(self, small, task: str, line: str, message: str) -> None:
        made = small(task=task, metric="rmse" if task == "regression" else "mlogloss")
        experiment(made, "", f'features = ["rows.x"]\n{line}\n')
        import re

        with pytest.raises(ConfigError) as caught:
            made.open.run(1)
        assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


class TestRefit:
    def test_the_test_predictions_are_those_of_models_of_all_rows(self, small) -> None:
        made = small()
        head = 'features = ["rows.x", "rows.z"]\nseeds = [1, 2]\n'
        bags = "bagging_fraction = 0.5\nbagging_freq = 1\n"
        folds = run(made, bags, head)
        whole = run(made, bags, head + "refit = true\n")
        assert whole.oof.equals(folds.oof)
        assert list(whole.models) == list(folds.models)
        assert list(whole.whole_models) == ["t0-all-s1", "t0-all-s2"]
        details = json.loads((whole.folder / "run.json").read_text())
        rounds = [m["rounds"] for m in details["models"] if m["fold"] >= 0]
        made_rounds = {m["rounds"] for m in details["models"] if m["fold"] < 0}
        assert made_rounds == {round(np.mean(rounds) * (400 / 320) ** 0.5)}
        # By LightGBM alone, on all rows.
        rows = made.open.rows.collect().sort(ROW).select("x", "z").cast(pl.Float32).to_numpy()
        parameters = {"learning_rate": 0.3, "num_leaves": 7, "min_data_in_leaf": 5, "objective": "binary"}
        parameters |= {"bagging_fraction": 0.5, "bagging_freq": 1, "verbosity": -1, "deterministic": True}
        parameters |= {"force_col_wise": True, "feature_pre_filter": False}
        data = lgb.Dataset(rows[:400], truth(made)["y"].to_numpy(), params=parameters)
        theirs = [
            lgb.train(
                parameters | {"seed": s}, data, made_rounds.pop() if s == 1 else round(np.mean(rounds) * 1.25**0.5)
            )
            for s in (1, 2)
        ]
        expected = np.mean([m.predict(rows[400:]) for m in theirs], axis=0)
        assert whole.test["pred_y"].to_numpy() == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize(
        "model",
        [
            "early_stopping_round = 0\n",
            'boosting = "dart"\n',
            'boosting = "rf"\nbagging_freq = 1\nbagging_fraction = 0.7\n',
        ],
    )
    def test_rounds_that_are_fixed_are_not_scaled(self, small, model: str) -> None:
        made = small()
        quick = QUICK.replace("early_stopping_round = 5\n", "") if "early_stopping" in model else QUICK
        made.experiment(1, f'features = ["rows.x", "rows.z"]\nrefit = true\n[model]\n{quick}{model}')
        whole = json.loads((made.open.run(1).folder / "run.json").read_text())["models"][-1]
        assert (whole["fold"], whole["rounds"]) == (-1, 20)

    def test_encodings_of_the_test_rows_come_from_all_train_rows(self, small) -> None:
        made = small(task="regression", metric="rmse")
        experiment(made, "", 'features = ["rows.x", "te_town"]\n')
        found = prepared(made)
        learner = found.model.learner(found.problem, 0)
        frame = learner.data.columns.of_fold(-1)
        train = truth(made, "town", "y")
        means = train.group_by("town").agg(n=pl.len(), m=pl.col("y").mean())
        expected = means.with_columns(v=(pl.col("m") * pl.col("n") + 5 * train["y"].mean()) / (pl.col("n") + 5))
        towns = made.open.rows.collect().sort(ROW)["town"].slice(400)
        wanted = pl.DataFrame({"town": towns}).join(expected, on="town", how="left", maintain_order="left")["v"]
        assert frame["te_town"].slice(400).to_numpy() == pytest.approx(wanted.to_numpy(), rel=1e-5)
        # A train row does not see its own label.
        own = pl.DataFrame({"town": train["town"]}).join(expected, on="town", how="left", maintain_order="left")["v"]
        assert not np.isclose(frame["te_town"].head(400).to_numpy(), own.to_numpy(), rtol=1e-6).any()

    def test_forward_in_time(self, small) -> None:
        made = small(after=("day", "2024-06-01"), holdout=None)
        whole = run(made, "", 'features = ["rows.x", "rows.z", "te_town"]\nrefit = true\n')
        assert whole.test["pred_y"].is_between(0, 1).all()
        assert len(whole.whole_models) == 1


class TestPseudo:
    HEAD = 'features = ["rows.x", "rows.z", "te_town"]\n'

    def test_a_fold_learns_from_what_its_own_first_model_is_sure_of(self, small) -> None:
        made = small()
        plain = run(made, "", self.HEAD + PER_FOLD)
        experiment(made, "", self.HEAD + "[pseudo]\nthreshold = 0.8\nweight = 0.5\n")
        found = prepared(made)
        learner = found.model.learner(found.problem, 0)
        sides: list[Any] = []
        sure: list[Any] = []
        datasets, candidates = learner.datasets, learner.pseudo_label_candidates
        split, with_pseudo_labels = datasets.split, datasets.with_pseudo_labels
        datasets.split = lambda fold: sides.append(split(fold)) or sides[-1]
        datasets.with_pseudo_labels = lambda *given: sides.append(with_pseudo_labels(*given)) or sides[-1]
        learner.pseudo_label_candidates = lambda *given: sure.append((*given, candidates(*given))) or sure[-1][-1]
        result = learner.fit(2, 1)
        (first, _), _, (second, valid) = sides
        booster, rounds, _, (rows, classes) = sure[0]
        # The first model is the plain experiment's; its rows are those that the fold trains on.
        text = plain.models["t0-f2-s1"]
        assert with_feature_names(booster.model_to_string(num_iteration=rounds), learner.feature_names) == text
        folds = found.problem.folds
        assert np.array_equal(first.rows, folds.train_rows(2))
        assert np.array_equal(second.rows, np.concatenate([first.rows, rows]))
        assert not np.isin(valid.rows, second.rows).any()
        assert rows.min() >= 400
        weight, label = second.dataset.get_weight(), second.dataset.get_label()
        assert set(weight[len(first.rows) :]) == {0.5}
        assert np.array_equal(label[len(first.rows) :], classes)
        predicted = learner.predicted_by(text, 2)[:, 0]
        assert np.array_equal(rows - 400, np.flatnonzero((predicted >= 0.8) | (predicted <= 0.2)))
        assert result.notes["labelled"] == {"0": int((classes == 0).sum()), "1": int((classes == 1).sum())}
        assert not np.allclose(result.oof[:, 0], plain.oof_array[folds.valid_rows(2), 0])

    def test_the_hidden_labels_of_validated_rows_change_nothing(self, small) -> None:
        """With other labels of the rows that a fold validates, its second model is the same (all rounds, no stopping)."""
        from dataclasses import replace

        made = small()
        experiment(made, "", 'features = ["rows.x", "rows.z", "te_town"]\n[pseudo]\nthreshold = 0.8\n')
        found = prepared(made)
        spec = replace(found.model, patience=0)
        column = found.problem.target.columns[0]
        changed = column.values.copy()
        rows = found.problem.folds.valid_rows(1)
        changed[rows] = 1 - changed[rows]
        other = replace(found.problem, target=Target((replace(column, values=changed),)))
        assert spec.learner(found.problem, 0).fit(1, 1).model == spec.learner(other, 0).fit(1, 1).model

    def test_with_classes_weights_all_rows_and_the_record(self, small) -> None:
        made = small(task="multiclass", metric="mlogloss")
        head = self.HEAD + 'refit = true\nclass_weight = "balanced"\n[pseudo]\nthreshold = 0.6\n'
        made_run = run(made, "", head)
        models = json.loads((made_run.folder / "run.json").read_text())["models"]
        assert len(models) == 6
        assert all(sum(m["notes"]["labelled"].values()) > 5 for m in models)
        assert made_run.test.select("^pred.*$").sum_horizontal().to_numpy() == pytest.approx(1)

    def test_nothing_sure_is_the_first_model(self, small) -> None:
        made = small()
        plain = run(made, "", self.HEAD)
        sure = run(made, "", self.HEAD + "[pseudo]\nthreshold = 1.0\n")
        assert sure.models == plain.models

    @pytest.mark.parametrize(
        ("task", "line", "message"),
        [
            ("regression", "threshold = 0.9", "needs classes with probabilities; the task is 'regression'"),
            ("binary", "treshold = 0.9", "unknown key 'treshold'.*threshold"),
            ("binary", "threshold = 1.5", "threshold = 1.5: expected a number above 0 and up to 1"),
            ("binary", "weight = 0", "weight = 0: expected a number above 0"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, small, task: str, line: str, message: str) -> None:
        made = small(task=task, metric="auc" if task == "binary" else "rmse")
        experiment(made, "", f'features = ["rows.x"]\n[pseudo]\n{line}\n')
        import re

        with pytest.raises(ConfigError) as caught:
            made.open.run(1)
        assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


class TestBins:
    def test_one_set_serves_targets_folds_seeds_and_trials(self, small) -> None:
        made = small(task="two", metric="rmse")
        experiment(made, "", 'features = ["rows.x", "rows.z", "te_town"]\n')
        found = prepared(made)
        for parameters in ({}, {"num_leaves": 4, "min_data_in_leaf": 50}, {"learning_rate": 0.1, "objective": "huber"}):
            spec = lightgbm_spec({"num_iterations": 2, **parameters}, where="trial")
            for index in range(2):
                for fold in range(2):
                    spec.learner(found.problem, index).fit(fold, 1)
        assert shared_bins(found.problem).n_binnings == 1
        lightgbm_spec({"num_iterations": 2, "max_bin": 15}, where="trial").learner(found.problem, 0).fit(0, 1)
        assert shared_bins(found.problem).n_binnings == 2

    def test_a_trial_gives_what_it_gives_alone(self, small) -> None:
        made = small()
        experiment(made)
        found, alone = prepared(made), prepared(made)
        for max_bin in (63, 7, 63):
            spec = lightgbm_spec({"num_iterations": 5, "max_bin": max_bin, "min_data_in_leaf": max_bin}, where="trial")
            result = spec.learner(found.problem, 0).fit(1, 3)
        expected = spec.learner(alone.problem, 0).fit(1, 3)
        assert np.array_equal(result.oof, expected.oof)
        assert result.model == expected.model

    def test_they_are_kept_on_disk_where_that_pays(self, small, monkeypatch) -> None:
        made = small()
        monkeypatch.setattr("workbench.models.lightgbm.bins.MIN_SECONDS_TO_CACHE", 0.0)
        first = run(made, "linear_tree = true\n")
        stored = [b for b in made.open.features.cached() if b.what == "LightGBM's bins"]
        assert len(stored) == 1
        assert stored[0].current
        assert stored[0].columns == 2
        again = prepared(made)
        assert train(again.problem, again.model, (1,)).parts[0].model == first.models["t0-f0-s1"]
        assert shared_bins(again.problem).n_binnings == 0
        # A damaged file is none.
        (path,) = (made.folder / "cache").glob("*.bin")
        path.write_bytes(b"x" + path.read_bytes()[1:])
        damaged = prepared(made)
        assert train(damaged.problem, damaged.model, (1,)).parts[0].model == first.models["t0-f0-s1"]
        assert shared_bins(damaged.problem).n_binnings == 1

    def test_other_folds_have_the_same_and_other_columns_their_own(self, small, monkeypatch) -> None:
        from dataclasses import replace

        made = small()
        monkeypatch.setattr("workbench.models.lightgbm.bins.MIN_SECONDS_TO_CACHE", 0.0)
        run(made)  # its bins are on disk
        found = prepared(made)
        folds = on_folds(found.problem, found.problem.folds.take(np.arange(400)[::-1]))
        assert shared_bins(folds) is shared_bins(found.problem)
        fewer = with_columns(found.problem, ["z"])
        assert shared_bins(fewer) is not shared_bins(found.problem)
        without_cache = replace(fewer, derived=DerivedData(fewer.matrix))
        texts = [found.model.learner(p, 0).fit(0, 1).model for p in (fewer, without_cache)]
        assert texts[0] == texts[1]
        assert "feature_names=z" in texts[0]

    @pytest.mark.parametrize("case", ["ranking", "pseudo", "linear"])
    def test_a_matrix_that_is_read_in_pieces_gives_the_same(self, small, tmp_path: Path, case: str) -> None:
        from dataclasses import replace

        made = TestRanking().made(small, tmp_path) if case == "ranking" else small()
        head = 'features = ["rows.x", "rows.z", "te_town"]\n' + "[pseudo]\nthreshold = 0.8\n" * (case == "pseudo")
        experiment(made, "linear_tree = true\n" * (case == "linear"), head)
        found = prepared(made)
        assert found.problem.matrix.loaded_frame is not None
        pieces = replace(found.problem, matrix=replace(found.problem.matrix, loaded_frame=None))
        in_pieces, whole = (found.model.learner(problem, 0) for problem in (pieces, found.problem))
        assert in_pieces.fit(0, 1).model == whole.fit(0, 1).model
        assert in_pieces.fit_full_data(1, 4).test.tolist() == whole.fit_full_data(1, 4).test.tolist()

    def test_quick_ones_are_not_kept(self, small) -> None:
        made = small()
        run(made)
        assert list((made.folder / "cache").glob("*.bin")) == []


class TestRanking:
    """The households of the small competition are queries: their rows do not lie together."""

    HEAD = 'features = ["rows.x", "rows.z", "te_town"]\n'

    def made(self, small: Any, tmp_path: Path, metric: str = "ndcg@3", **options: Any) -> Any:
        def graded(frame: pl.DataFrame) -> pl.DataFrame:
            return frame.with_columns(y=(pl.col("y").rank() / pl.len() * 3.999).floor().cast(pl.Int64))

        made = with_source(small, tmp_path, graded, of="regression", metric="rmse", **options)
        made.definition('task = "regression"', 'task = "ranking"\nquery = "household"')
        made.definition('metric = "rmse"', f'metric = "{metric}"')
        text = (made.folder / "competition.toml").read_text()
        import re

        (made.folder / "competition.toml").write_text(re.sub(r'scheme = "\w+"', 'scheme = "group"', text))
        return made

    @pytest.mark.parametrize("metric", ["ndcg@3", "map@2", "recall@1"])
    def test_rows_are_ranked_within_queries(self, small, tmp_path: Path, metric: str) -> None:
        made = self.made(small, tmp_path, metric)
        made_run = run(made, "", self.HEAD)
        train = truth(made, "y", "household").with_columns(p=made_run.oof_array[:, 0], fold=made_run.oof["fold"])
        if metric == "ndcg@3":
            for fold, score in enumerate(made_run.record.fold_scores):
                assert score == pytest.approx(self.ndcg(train.filter(fold=fold)))
        chance = train.with_columns(p=pl.Series(np.random.default_rng(0).random(train.height)))
        if metric == "ndcg@3":
            assert made_run.score > self.ndcg(chance) + 0.05
        sent = pl.read_csv(made_run.submission)
        assert sent["y"].n_unique() > 10
        assert np.isfinite(made_run.oof_array).all()

    def ndcg(self, frame: pl.DataFrame) -> float:
        scores = []
        for (_,), rows in frame.group_by("household"):
            y, p = rows["y"].to_numpy(), rows["p"].to_numpy()
            # scikit-learn refuses lists of one: they are in order, if there is anything to find.
            scores.append(float(y[0] > 0) if len(y) == 1 else sk.ndcg_score([y], [p], k=3))
        return float(np.mean(scores))

    def test_the_model_is_that_of_rows_that_lie_together(self, small, tmp_path: Path) -> None:
        """Sorted by hand and given to LightGBM, the rows give the same predictions."""
        made = self.made(small, tmp_path)
        made_run = run(made, "", 'features = ["rows.x", "rows.z"]\n')
        train = truth(made, "y", "household", "x", "z").with_row_index("row").with_columns(fold=made_run.oof["fold"])
        ordered = train.sort("household", maintain_order=True)
        fit = ordered.filter(pl.col("fold") != 0)
        parameters = {"learning_rate": 0.3, "num_leaves": 7, "min_data_in_leaf": 5, "objective": "lambdarank"}
        parameters |= {"label_gain": [0, 1, 2, 3], "verbosity": -1, "deterministic": True, "force_col_wise": True}
        every = lgb.Dataset(
            ordered.select("x", "z").cast(pl.Float32).to_numpy(), params={"feature_pre_filter": False, "verbosity": -1}
        )
        sizes = fit.group_by("household", maintain_order=True).len()["len"].to_numpy()
        data = lgb.Dataset(
            fit.select("x", "z").cast(pl.Float32).to_numpy(), fit["y"].to_numpy(), group=sizes, reference=every
        )
        rounds = json.loads((made_run.folder / "run.json").read_text())["models"][0]["rounds"]
        theirs = lgb.train(parameters | {"seed": 1, "feature_pre_filter": False}, data, rounds)
        valid = train.filter(fold=0).sort("row")
        expected = theirs.predict(valid.select("x", "z").cast(pl.Float32).to_numpy())
        mask = made_run.oof["fold"].to_numpy() == 0
        assert made_run.oof_array[mask, 0] == pytest.approx(expected, abs=1e-9)

    @pytest.mark.parametrize("objective", ["rank_xendcg", "regression"])
    def test_other_objectives(self, small, tmp_path: Path, objective: str) -> None:
        assert run(self.made(small, tmp_path), f'objective = "{objective}"\n', self.HEAD).score > 0.6

    @pytest.mark.parametrize("kind", ["xgboost", "catboost", "sklearn", "python"])
    def test_other_kinds_of_model_know_no_queries(self, small, tmp_path: Path, kind: str) -> None:
        made = self.made(small, tmp_path)
        made.experiment(1, f"{self.HEAD}[{kind}]\n")
        with pytest.raises(ConfigError, match=rf"task 'ranking' goes with \[model\].* and this is a \[{kind}\]"):
            made.open.run(1)

    def test_a_query_in_two_folds_is_refused(self, small, tmp_path: Path) -> None:
        made = self.made(small, tmp_path)
        made.definition('scheme = "group"', 'scheme = "kfold"')
        experiment(made)
        with pytest.raises(TrainingError, match="fold 0 trains on rows of .* queries that it validates") as caught:
            made.open.run(1)
        assert 'scheme = "group"' in caught.value.hint

    def test_the_definition_says_what_is_missing(self, small, tmp_path: Path) -> None:
        made = self.made(small, tmp_path)
        made.definition('query = "household"', "")
        with pytest.raises(ConfigError, match="needs the column whose rows are ranked"):
            experiment(made)
            made.open.run(1)

    def test_relevance_is_whole_for_lambdarank(self, small, tmp_path: Path) -> None:
        made = self.made(small, tmp_path)
        source = made.folder / "rehearsal" / "files" / "train.csv"
        frame = pl.read_csv(source).with_columns(y=pl.col("y") + 0.5)
        frame.write_csv(source)
        from workbench.api import library

        library.fetch("small", where=made.workspace)
        experiment(made)
        with pytest.raises(
            ConfigError, match="'lambdarank' needs values that are whole numbers of at least 0"
        ) as caught:
            made.open.run(1)
        assert "regression" in caught.value.hint


class TestTold:
    """What is wrong with the data or the metric names the fold, the rows, the value."""

    def test_a_metric_that_gives_nan(self, small) -> None:
        made = small(task="regression", metric="rmse")
        made.definition('metric = "rmse"', 'metric = "metric.py:odd"\ngreater_is_better = false')
        (made.folder / "metric.py").write_text("def odd(t, p):\n    return float('nan')\n")
        experiment(made)
        with pytest.raises(TrainingError, match="fold 0, seed 1: metric 'odd' returned nan"):
            made.open.run(1)

    def test_infinite_targets(self, small) -> None:
        column = TargetColumn("y", "regression", np.array([1.0, 2.0]))
        assert Target((column,)).width == 1
        from workbench.models.target import target_column

        with pytest.raises(DataError, match=r"2 infinite values among 4 \(inf in row 1, -inf in row 3\)"):
            target_column(pl.Series("y", [1.0, float("inf"), 2.0, float("-inf")]), "regression", "train")

    def test_a_class_that_a_fold_does_not_train_on(self, small, tmp_path: Path) -> None:
        def odd(frame: pl.DataFrame) -> pl.DataFrame:
            one = pl.int_range(pl.len()) == 7
            return frame.with_columns(y=pl.when(one).then(pl.lit("zebra")).otherwise("y"))

        made = with_source(small, tmp_path, odd, of="multiclass", metric="accuracy", holdout=0.02, seed=5)
        if "zebra" not in truth(made)["y"].to_list():
            pytest.skip("not a case: the row went to test")
        experiment(made)
        notes = made.open.runs.execute(1).notes
        assert any("validates 1 row with y = 'zebra', and trains on none" in note for note in notes), notes


class TestGrades:
    @pytest.mark.parametrize("classes", [(1, 2, 9), ("1", "2", "9"), (2, 9, 1), (1.0, 2.0, 9.0)])
    @pytest.mark.parametrize("metric", ["qwk", "linear_kappa"])
    def test_lie_as_far_apart_as_their_numbers(self, classes: tuple[Any, ...], metric: str) -> None:
        """As in Kaggle's kappas, whatever place a class has among the columns of probabilities."""
        rng = np.random.default_rng(0)
        codes, p = rng.integers(0, 3, 200), rng.dirichlet(np.ones(3), 200)
        p[np.arange(200), codes] += 1.5
        p /= p.sum(axis=1, keepdims=True)
        column = TargetColumn("y", "multiclass", codes.astype(float), classes)
        found = score_column(Target((column,)), column, np.arange(200), p, metrics.get(metric))
        numbers = np.array([int(float(c)) for c in classes])
        # The grade that costs least by the probabilities.
        power = 2 if metric == "qwk" else 1
        costs = p @ np.abs(numbers[:, None] - (numbers[None, :])) ** power
        costs = np.abs((p @ numbers)[:, None] - numbers) if metric == "qwk" else costs
        given = numbers[costs.argmin(axis=1)]
        weights = "quadratic" if metric == "qwk" else "linear"
        expected = sk.cohen_kappa_score(numbers[codes], given, weights=weights, labels=range(1, 10))
        assert found == pytest.approx(expected, abs=1e-12)

    def test_that_follow_one_another_are_as_before(self) -> None:
        assert metrics.grades_of(metrics.get("qwk"), (3, 4, 5)) is None
        assert metrics.grades_of(metrics.get("qwk"), ("low", "mid", "high")) is None
        assert metrics.grades_of(metrics.get("accuracy"), (1, 2, 9)) is None

    def test_an_order_that_is_not_known_is_said(self, small) -> None:
        made = small(task="multiclass", metric="mlogloss")
        made.definition('metric = "mlogloss"', 'metric = "qwk"')
        experiment(made, "", 'features = ["rows.x"]\n')
        notes = " ".join(run_experiment(made.workspace, made.open.access.competition, 1).notes)
        assert "qwk takes the classes of y for grades in the order of the alphabet ('high', 'low', 'mid')" in notes
