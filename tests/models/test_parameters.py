"""Parameters of the libraries: each does what it says, or is refused by name before anything is trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.needs import package
from workbench.core.cache import content_key
from workbench.core.context import RunContext, text_listener
from workbench.core.errors import ConfigError, StorageError
from workbench.experiments.kinds import model_spec
from workbench.experiments.ready import ready
from workbench.experiments.run import run
from workbench.experiments.spec import read_spec
from workbench.experiments.tune import TuneRequest, find_study, run_tuned, tune
from workbench.models.lightgbm import answers, parameter_rules
from workbench.models.lightgbm.fold_scorer import Fidelity, FoldScorer
from workbench.models.lightgbm.parameter_rules import first_training, parameter_type, reset_unused
from workbench.models.lightgbm.parameters import RESERVED, lightgbm_defaults, lightgbm_spec
from workbench.models.log_objectives import log_objective
from workbench.models.target import read_target
from workbench.tuning import Space, parse_space

FAILED = optuna.trial.TrialState.FAIL
ROWS = 'features = ["rows.x", "rows.z"]\n'


def spec_of(made: Any, table: str, number: int = 7, **options: Any) -> Any:
    made.experiment(number, ROWS + table)
    definition = made.open.access.competition
    return model_spec(read_spec(definition, number), definition, read_target(definition), **options)


class TestLightGBM:
    @pytest.mark.parametrize(
        ("key", "reason"),
        [
            ("pred_early_stop", "predictions are made with all trees"),
            ("config_file", "parameters are set in the experiment's file"),
            ("save_period", "finished folds are kept"),
            ("silent", "go into the run's log"),
            ("class_weight", "put it into the experiment: class_weight"),
            ("eval_metric", "the competition's metric is used"),
            ("use_two_round_loading", "the data comes from features"),
            ("leaf_index", "predictions are made with all trees"),
            ("nodes", "one machine trains"),
            ("tree_learner", "one machine trains"),
            ("output_freq", "the metric is computed after every round"),
            ("auc_mu_weights", "the competition's metric is used"),
        ],
    )
    def test_what_changes_nothing_is_refused_with_the_reason(self, key: str, reason: str) -> None:
        with pytest.raises(ConfigError, match=f"can't set '{key}': .*{reason}"):
            lightgbm_spec({key: 1}, where="exp.toml")

    @pytest.mark.parametrize(
        ("given", "missing"),
        [
            ({"drop_rate": 0.3}, 'boosting = "dart"'),
            ({"skip_drop": 0.9, "boosting": "gbdt"}, 'boosting = "dart"'),
            ({"top_rate": 0.4}, 'data_sample_strategy = "goss"'),
            ({"subsample": 0.5}, "bagging_freq = 1"),
            ({"linear_lambda": 2.0}, "linear_tree = true"),
            ({"mc_penalty": 2.0}, "monotone_constraints"),
            ({"num_grad_quant_bins": 8}, "use_quantized_grad = true"),
            ({"early_stopping_min_delta": 0.1, "early_stopping_round": 0}, "early stopping"),
            ({"early_stopping_min_delta": 0.1, "boosting": "dart"}, "early stopping"),
            ({"bagging_seed": 7}, "bagging_freq = 1"),
            ({"feature_fraction_seed": 7}, "feature_fraction below 1"),
            ({"gpu_device_id": 1}, 'device_type = "gpu"'),
        ],
    )
    def test_what_does_nothing_without_another_says_so(self, given: dict[str, Any], missing: str) -> None:
        with pytest.raises(ConfigError, match=f"does nothing without {missing}"):
            lightgbm_spec(given, where="exp.toml")

    def test_its_own_value_takes_back_what_a_base_says(self) -> None:
        usual = lightgbm_defaults()
        assert lightgbm_spec({"drop_rate": usual["drop_rate"], "top_rate": usual["top_rate"]}, where="").parameters
        assert lightgbm_spec({"boosting": "dart", "drop_rate": 0.3}, where="").parameters["drop_rate"] == 0.3
        assert lightgbm_spec({"boosting": "goss", "top_rate": 0.3}, where="").parameters["top_rate"] == 0.3

    def test_every_other_parameter_is_read_by_its_type(self) -> None:
        kinds = {name: parameter_type(name) for name in lightgbm_defaults() if name not in RESERVED}
        assert {"skip_drop", "scale_pos_weight", "linear_lambda", "tweedie_variance_power", "cat_smooth"} <= {
            name for name, kind in kinds.items() if kind == "float"
        }
        assert {"num_leaves", "max_depth", "bagging_freq", "max_drop", "max_cat_threshold"} <= {
            name for name, kind in kinds.items() if kind == "int"
        }
        assert {name for name, kind in kinds.items() if kind == "bool"} >= {"extra_trees", "linear_tree", "reg_sqrt"}

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ('objective = "quantile"\nmonotone_constraints = { x = 1 }\n', r"monotone_constraints = .* it: Cannot use"),
            ('objective = "mae"\nmonotone_constraints = { x = -1 }\n', r"monotone_constraints = .* it: Cannot use"),
            (
                "linear_tree = true\nzero_as_missing = true\n",
                "zero_as_missing must be false",
            ),
            ('objective = "quantile"\nalpha = 1.5\n', "alpha = 1.5 .* it needs"),
            ('data_sample_strategy = "goss"\ntop_rate = 0.8\nother_rate = 0.4\n', "top_rate = 0.8, other_rate = 0.4"),
            ('device = "cuda"\n', "device_type = 'cuda'"),
            ("eval_at = [3]\n", "can't set 'eval_at': the competition's metric"),
        ],
    )
    def test_what_it_refuses_only_with_data_is_refused_before(self, small: Any, table: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            spec_of(small(task="regression", metric="rmse"), f"[model]\n{table}")

    def test_values_that_it_replaces_are_said(self, small: Any) -> None:
        made = small(task="regression", metric="rmse")
        assert spec_of(made, "[model]\nnum_leaves = 7\n").notes == ()
        for table, note in (
            ('objective = "huber"\nreg_sqrt = true\n', "LightGBM: Cannot use sqrt transform in huber"),
            ("path_smooth = 1.0\nmin_data_in_leaf = 1\n", "LightGBM: min_data_in_leaf has been increased to 2"),
            ("alpha = 0.3\n", "alpha does nothing with the objective 'regression': it is for huber, quantile"),
        ):
            assert [n for n in spec_of(made, f"[model]\n{table}").notes if n.startswith(note)], table

    def test_a_list_from_a_notebook_is_answered_at_once(self, small: Any) -> None:
        """Whoever brings parameters along learns of all that is in the way, and what is harmless is no obstacle."""
        usual = (
            'objective = "binary"\nboosting_type = "gbdt"\nsubsample_freq = 1\ncolsample_bytree = 0.8\nreg_alpha = 0.1\n'
            'reg_lambda = 1.0\nmin_child_samples = 20\nverbosity = -1\nn_jobs = -1\ndevice_type = "cpu"\n'
            "force_col_wise = true\nfeature_pre_filter = false\nmax_bin = 255\nn_estimators = 500\n"
        )
        made = small()
        taken = spec_of(made, "[model]\nsubsample = 0.8\n" + usual)
        assert taken.parameters["num_threads"] > 0
        with pytest.raises(ConfigError) as caught:
            spec_of(
                made,
                '[model]\nmetric = "auc"\nseed = 42\nrandom_state = 42\nnum_leafs = 7\ndrop_rate = 0.3\nverbose_eval = 9\n'
                + usual,
            )
        for said in (
            "'metric'",
            "'seed'",
            "'random_state'",
            "key 'num_leafs' (did you",
            "drop_rate = 0.3",
            "'verbose_eval'",
        ):
            assert said in caught.value.message, said

    def test_what_is_logged_is_no_part_of_a_key(self, small: Any) -> None:
        made = small()
        plain = spec_of(made, "[model]\nnum_leaves = 7\n")
        assert plain.content()["parameters"]["verbosity"] == -1  # as the keys of finished runs have it
        key = ready(made.workspace, made.open.access.competition, 7).key
        for name, value in (("verbosity", 0), ("verbose", -1)):
            spec = spec_of(made, f"[model]\nnum_leaves = 7\n{name} = {value}\n")
            assert (spec.parameters["verbosity"], spec.content()) == (value, plain.content())
            assert ready(made.workspace, made.open.access.competition, 7).key == key

    @pytest.mark.parametrize("verbosity", [-1, 0])
    def test_what_lightgbm_warns_of_is_in_the_log_where_it_is_asked_for(self, small: Any, verbosity: int) -> None:
        made = small()
        made.experiment(1, ROWS + f"[model]\nnum_iterations = 3\nmin_data_in_leaf = 999\nverbosity = {verbosity}\n")
        folder = run(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1)).run.folder
        assert ("WARNING workbench.models [LightGBM] [Warning]" in (folder / "log.txt").read_text()) == (verbosity == 0)

    def test_questions_to_lightgbm_are_not_seen(self, capfd: pytest.CaptureFixture[str]) -> None:
        """LightGBM writes what it refuses to the terminal, too; of a question about a type that is no news."""
        parameter_type.cache_clear()
        assert parameter_type("num_leaves") == "int"
        assert first_training({"top_rate": 0.8, "other_rate": 0.4, "data_sample_strategy": "goss"}, "binary")[0]
        assert capfd.readouterr() == ("", "")

    def test_accepted_parameters_are_asked_about_once(self, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        made = small()
        made.open.access.competition.paths.parameter_checks.unlink(missing_ok=True)
        trained: list[Any] = []
        real = parameter_rules.train_one_round
        monkeypatch.setattr(parameter_rules, "train_one_round", lambda *a: trained.append(a) or real(*a))
        table = "[model]\nnum_leaves = 7\nmax_depth = 2\n"
        first = spec_of(made, table)
        assert spec_of(made, table) == first
        assert len(trained) == 1
        assert spec_of(made, table.replace("7", "8")).parameters["num_leaves"] == 8
        assert len(trained) == 2

    def test_rejected_parameters_are_asked_about_again(self, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        made, trained = small(), []
        real = parameter_rules.train_one_round
        monkeypatch.setattr(parameter_rules, "train_one_round", lambda *a: trained.append(a) or real(*a))
        messages = []
        for _ in range(2):
            trained.clear()
            with pytest.raises(ConfigError) as caught:
                spec_of(made, "[model]\ndata_sample_strategy = 'goss'\ntop_rate = 0.8\nother_rate = 0.4\n")
            messages.append(str(caught.value))
            assert trained
        assert messages[0] == messages[1]

    @pytest.mark.parametrize(
        "content",
        [
            "",
            "[]",
            '{"installation": 1}',
            '{"installation": null, "answers": {}}',
            "{",
            '{"installation": INSTALLATION, "answers": ["num_leaves"]}',
            '{"installation": INSTALLATION, "answers": "num_leaves"}',
            '{"installation": INSTALLATION, "answers": 7}',
        ],
    )
    def test_stored_answers_that_are_damaged_are_asked_again(self, small: Any, content: str) -> None:
        made = small()
        path, table = made.open.access.competition.paths.parameter_checks, "[model]\nnum_leaves = 7\n"
        first = spec_of(made, table)
        path.write_text(content.replace("INSTALLATION", json.dumps(json.loads(path.read_text())["installation"])))
        assert spec_of(made, table) == first
        assert len(json.loads(path.read_text())["answers"]) > 2

    def test_answers_of_another_installation_do_not_count(self, small: Any) -> None:
        made = small()
        path, table = made.open.access.competition.paths.parameter_checks, "[model]\nnum_leaves = 7\n"
        first = spec_of(made, table)
        stored = json.loads(path.read_text())
        nothing_known = stored | {"installation": ["1.0.0", *stored["installation"][1:]]}
        nothing_known["answers"] = {key: {"num_leaves": "max_bin"} for key in stored["answers"]}
        path.write_text(json.dumps(nothing_known))
        assert spec_of(made, table) == first
        assert json.loads(path.read_text())["installation"] == stored["installation"]

    @pytest.mark.parametrize(("device", "n_trainings"), [("cpu", 1), ("gpu", 2), ("cuda", 2)])
    def test_whether_a_gpu_can_be_used_is_asked_each_time(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, n_trainings: int
    ) -> None:
        trained: list[str] = []
        monkeypatch.setattr(
            parameter_rules, "train_one_round", lambda _, objective: trained.append(objective) or ("", [])
        )
        for _ in range(2):
            with answers.storing_answers(tmp_path / "answers.json"):
                assert parameter_rules.first_training({"device_type": device}, "binary") == ("", [])
        assert len(trained) == n_trainings

    def test_without_space_for_the_answers_all_goes_on(self, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        made = small()

        def is_full(*_: Any) -> None:
            raise StorageError("the disk is full")

        monkeypatch.setattr(answers, "write_json", is_full)
        assert spec_of(made, "[model]\nnum_leaves = 7\n").parameters["num_leaves"] == 7

    def test_a_first_training_leaves_the_logger_as_it_was(self) -> None:
        from lightgbm import basic

        before = basic._LOGGER
        assert first_training({}, "regression") == ("", [])
        assert basic._LOGGER is before

    @pytest.mark.parametrize("name", ["num_threads", "n_jobs", "nthread", "num_thread"])
    def test_threads_of_the_command_go_first_and_no_key_has_them(self, small: Any, name: str) -> None:
        made = small()
        without, keys = spec_of(made, "[model]\nnum_leaves = 7\n"), []
        for n in (1, 2):
            spec = spec_of(made, f"[model]\nnum_leaves = 7\n{name} = {n}\n")
            assert spec.parameters["num_threads"] == n
            assert spec.content() == without.content()
            assert spec_of(made, f"[model]\n{name} = {n}\n", threads=3).parameters["num_threads"] == 3
            made.experiment(7, ROWS + f"[model]\nnum_leaves = 7\n{name} = {n}\n")
            keys.append(ready(made.workspace, made.open.access.competition, 7).key)
        made.experiment(7, ROWS + "[model]\nnum_leaves = 7\n")
        assert {*keys} == {ready(made.workspace, made.open.access.competition, 7).key}


class TestOtherLibraries:
    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ("[xgboost]\nrate_drop = 0.1\n", "'rate_drop' that XGBoost does not know, or does not use"),
            (
                '[xgboost]\nbooster = "gblinear"\nmax_depth = 3\n',
                "'max_depth' that XGBoost does not know, or does not use",
            ),
            ("[xgboost]\nscale_pos_weight = 3\n", "scale_pos_weight is for two classes"),
            ("[xgboost]\nn_jobs = 3\n", "use --threads"),
            (
                "[xgboost]\nseed = 1\nn_jobs = 3\nuse_label_encoder = false\n",
                "3 problems:\n  can't set 'seed'.*\n.* 'n_jobs'.*\n.* 'use_label_encoder'",
            ),
            (
                "[xgboost]\nrate_drop = 0.1\none_drop = 1\n",
                "2 problems:\n  has a key 'rate_drop' .*\n  has a key 'one_drop'",
            ),
            (
                '[xgboost]\ntree_method = "exact"\nmax_bin = 64\n',
                'max_bin = 64 does nothing with tree_method = "exact"',
            ),
            ('[xgboost]\ntree_method = "exact"\nmax_leaves = 9\n', "max_leaves = 9 does nothing"),
            ('[xgboost]\nsampling_method = "gradient_based"\n', "without subsample below 1"),
            ('[xgboost]\nmulti_strategy = "multi_output_tree"\n', "multi_strategy does nothing here"),
            ("[catboost]\nbagging_temperature = 9.0\n", 'does nothing without bootstrap_type = "Bayesian"'),
            ('[catboost]\nbootstrap_type = "Bernoulli"\nmvs_reg = 0.5\n', "mvs_reg|MVS"),
            ("[catboost]\nfold_len_multiplier = 4\n", 'does nothing without boosting_type = "Ordered"'),
            ("[catboost]\nlangevin = false\ndiffusion_temperature = 100\n", "does nothing without langevin = true"),
            ("[catboost]\npenalties_coefficient = 4\n", "does nothing without first_feature_use_penalties"),
            ('[catboost]\nmodel_shrink_mode = "Decreasing"\n', "does nothing without model_shrink_rate"),
            ('[catboost]\nfinal_ctr_computation_mode = "Skip"\n', "can't set 'final_ctr_computation_mode'"),
            (
                "[catboost]\nverbose = 0\nrandom_seed = 1\n",
                "2 problems:\n  can't set 'verbose'.*\n  can't set 'random_seed'",
            ),
            (
                '[sklearn]\nestimator = "sklearn.linear_model.Ridge"\nrandom_state = 1\nalhpa = 2.0\n',
                "2 problems:\n  can't set 'random_state'.*\n  has an unknown key 'alhpa' .did you mean 'alpha'",
            ),
            ('[catboost]\nbootstrap_type = "Bernoulli"\nbagging_temperature = 1.0\n', "bayesian bootstrap only"),
            ('[catboost]\nbootstrap_type = "Bayesian"\nsubsample = 0.5\n', "doesn't support 'subsample'"),
            ("[catboost]\nmax_leaves = 9\n", "works only with lossguide"),
            ("[catboost]\nmin_data_in_leaf = 9\n", "does nothing without grow_policy"),
            ('[catboost]\nauto_class_weights = "Balanced"\n', "class weights takes effect only"),
            ("[catboost]\nused_ram_limit = '3gb'\n", "can't set 'used_ram_limit'"),
            ('[sklearn]\nestimator = "sklearn.linear_model.Lasso"\ncopy_X = true\n', "can't set 'copy_X'"),
            ('[sklearn]\nestimator = "sklearn.ensemble.GradientBoostingRegressor"\nverbose = 1\n', "run's log"),
        ],
    )
    def test_what_does_nothing_or_is_refused_later_is_refused_before(
        self, small: Any, table: str, message: str
    ) -> None:
        package(table[1 : table.index("]")])
        with pytest.raises(ConfigError, match=message):
            spec_of(small(task="regression", metric="rmse"), table)

    @pytest.mark.parametrize(
        ("task", "metric", "table"),
        [
            ("regression", "rmse", "[xgboost]\nscale_pos_weight = 1\n"),
            ("multiclass", "mlogloss", '[xgboost]\nmulti_strategy = "multi_output_tree"\n'),
            ("binary", "auc", '[xgboost]\ntree_method = "exact"\nmax_bin = 256\n'),
            ("multiclass", "mlogloss", "[catboost]\nbagging_temperature = 9.0\n"),
            ("binary", "auc", '[catboost]\nboosting_type = "Ordered"\nfold_len_multiplier = 4\n'),
            ("binary", "auc", '[catboost]\nbootstrap_type = "Bayesian"\nbagging_temperature = 9.0\n'),
            ("binary", "auc", "[catboost]\nsubsample = 0.5\nmvs_reg = 0.5\n"),
            ("binary", "auc", "[catboost]\ndiffusion_temperature = 100\n"),  # which means langevin
        ],
    )
    def test_what_does_something_is_taken(self, small: Any, task: str, metric: str, table: str) -> None:
        package(table[1 : table.index("]")])
        assert spec_of(small(task=task, metric=metric), table).parameters

    @pytest.mark.parametrize(
        "weights", ['auto_class_weights = "Balanced"', "scale_pos_weight = 9.0", "class_weights = [1.0, 9.0]"]
    )
    @pytest.mark.parametrize("metric", ["logloss", "auc"])
    def test_catboost_stops_by_the_metric_without_classes_weights(self, small: Any, weights: str, metric: str) -> None:
        package("catboost")
        made = small(metric=metric)
        plain = spec_of(made, "[catboost]\nlearning_rate = 0.3\n")
        spec = spec_of(made, f"[catboost]\nlearning_rate = 0.3\niterations = 60\n{weights}\n")
        assert "stops_by" not in plain.content()
        assert ("stops_by" in spec.content()) == (metric == "logloss")  # what did not change keeps its key
        problem = ready(made.workspace, made.open.access.competition, 7).problem
        result = spec.learner(problem, 0).fit(0, 1)
        rows = problem.folds.valid_rows(0)
        ours = problem.metric(problem.target.columns[0].values[rows].astype(int), result.oof[:, 0], None)
        best = (max if metric == "auc" else min)(result.curve["valid"])
        assert best == pytest.approx(ours, rel=1e-4)


LOGARITHMS = {
    "poisson": '[model]\nobjective = "poisson"\n',
    "tweedie by an alias": '[model]\napplication = "tweedie"\ntweedie_variance_power = 1.3\n',
    "gamma": '[model]\nloss = "gamma"\n',
    "xgboost": '[xgboost]\nobjective = "count:poisson"\n',
    "xgboost gamma": '[xgboost]\nobjective = "reg:gamma"\n',
    "squared log error": '[xgboost]\nobjective = "reg:squaredlogerror"\n',
    "catboost": '[catboost]\nloss_function = "Poisson"\n',
    "catboost tweedie": '[catboost]\nobjective = "Tweedie:variance_power=1.5"\n',
    "sklearn": '[sklearn]\nestimator = "sklearn.linear_model.PoissonRegressor"\n',
    "histogram": '[sklearn]\nestimator = "sklearn.ensemble.HistGradientBoostingRegressor"\nloss = "gamma"\n',
}


class TestLogarithm:
    @pytest.mark.parametrize(
        ("table", "expected"),
        [
            ({"objective": "poisson"}, "poisson"),
            ({"app": "gamma"}, "gamma"),
            ({"objective": "reg:squaredlogerror"}, "reg:squaredlogerror"),
            ({"loss_function": "Tweedie:variance_power=1.2"}, "Tweedie:variance_power=1.2"),
            ({"objective": "regression"}, None),
            ({"objective": "reg:squarederror"}, None),
            ({"loss_function": "Quantile:alpha=0.5"}, None),
            ({"estimator": "sklearn.linear_model.TweedieRegressor"}, None),
            ({"estimator": "sklearn.linear_model.TweedieRegressor", "power": 1.5}, "TweedieRegressor"),
            ({"estimator": "sklearn.linear_model.TweedieRegressor", "link": "log"}, "TweedieRegressor"),
            ({"estimator": "sklearn.linear_model.Ridge"}, None),
            ({}, None),
        ],
    )
    def test_objectives_of_the_logarithm_are_known_in_every_library(self, table: Any, expected: str | None) -> None:
        assert log_objective(table) == expected

    @pytest.mark.parametrize("table", ["[model]\n", "[model]\nobjective = 'huber'\n", "[xgboost]\n"])
    def test_other_objectives_are_of_the_logarithm_as_the_metric_is(self, small: Any, table: str) -> None:
        assert spec_of(small(task="regression", metric="rmsle"), table).transform == "log1p"

    @pytest.mark.parametrize("name", list(LOGARITHMS))
    def test_the_logarithm_is_taken_once(self, small: Any, name: str) -> None:
        table = LOGARITHMS[name]
        kind = table[1 : table.index("]")]
        package({"model": "lightgbm"}.get(kind, kind))
        made = small(task="regression", metric="rmsle", n_rows=300)
        rounds = "" if kind == "sklearn" else "n_estimators = 40\n"
        spec = spec_of(made, table + rounds)
        assert spec.transform == "none"
        made.experiment(7, 'target_transform = "log1p"\n' + ROWS + table)
        definition = made.open.access.competition
        with pytest.raises(ConfigError, match="take the logarithm twice"):
            model_spec(read_spec(definition, 7), definition, read_target(definition))
        made.experiment(7, ROWS + table + rounds)
        problem = ready(made.workspace, definition, 7).problem
        result = spec.learner(problem, 0).fit(0, 1)
        truth = problem.target.columns[0].values[problem.folds.valid_rows(0)]
        # A model of the logarithm's logarithm predicts amounts that are far too small.
        assert result.oof.mean() == pytest.approx(truth.mean(), rel=0.25)


class TestSpaces:
    @pytest.mark.parametrize(
        "name", ["skip_drop", "scale_pos_weight", "linear_lambda", "tweedie_variance_power", "alpha", "cegb_tradeoff"]
    )
    def test_whole_bounds_of_a_fraction_are_no_whole_numbers(self, name: str) -> None:
        from optuna.distributions import FloatDistribution

        (dimension,) = parse_space({name: {"low": 1, "high": 2}}, where="").dimensions
        assert isinstance(dimension.distribution(), FloatDistribution)

    def test_a_study_of_whole_numbers_is_not_gone_on_with(self) -> None:
        """Once such a range was searched as whole numbers, and Optuna can't hold both in one study."""
        (now,) = parse_space({"scale_pos_weight": {"low": 1, "high": 9}}, where="").dimensions
        before = Space((replace(now, is_integer=True),))
        assert content_key("space", before.content()) != content_key("space", Space((now,)).content())
        (kept,) = parse_space({"lambda_l2": {"low": 1, "high": 9}}, where="").dimensions
        assert repr(kept.content()) == "{'low': 1, 'high': 9}"  # which were fractions all along

    @pytest.mark.parametrize("name", ["max_drop", "max_cat_threshold", "num_leaves", "lambdarank_truncation_level"])
    def test_whole_numbers_stay_whole(self, name: str) -> None:
        from optuna.distributions import IntDistribution

        (dimension,) = parse_space({name: {"low": 2, "high": 4}}, where="").dimensions
        assert isinstance(dimension.distribution(), IntDistribution)
        with pytest.raises(ConfigError, match="is a whole number"):
            parse_space({name: {"low": 2.5, "high": 4}}, where="")

    @pytest.mark.parametrize("name", ["extra_trees", "boosting"])
    def test_what_is_no_number_has_no_range(self, name: str) -> None:
        with pytest.raises(ConfigError, match=f"{name} is .*, got a range"):
            parse_space({name: {"low": 0, "high": 1}}, where="")

    @pytest.mark.parametrize(
        ("space", "message"),
        [
            (
                'data_sample_strategy = ["bagging", "goss"]\nbagging_fraction = { low = 0.5, high = 1.0 }\n',
                "contradicts itself: data_sample_strategy = 'goss' and bagging_fraction = .*: Cannot use bagging in GOSS",
            ),
            (
                "linear_tree = [true, false]\nzero_as_missing = [true, false]\n",
                "contradicts itself: linear_tree = True and zero_as_missing = True",
            ),
            ("drop_rate = { low = 0, high = 1 }\n", "drop_rate = 0 .*does nothing without boosting|drop_rate = 1 "),
        ],
    )
    def test_a_space_that_contradicts_itself_is_refused_before_a_trial(
        self, small: Any, space: str, message: str
    ) -> None:
        made = small()
        made.experiment(1, f"{ROWS}[model]\nnum_iterations = 5\n[tune]\ntrials = 2\n[tune.space]\n{space}")
        with pytest.raises(ConfigError, match=message):
            tune(made.workspace, made.open.access.competition, 1, TuneRequest(), RunContext(threads=1))

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "space",
        [
            'boosting = ["gbdt", "rf"]\nbagging_fraction = { low = 0.4, high = 0.8 }\n',
            'data_sample_strategy = ["bagging", "goss"]\ntop_rate = { low = 0.1, high = 0.4 }\n',
        ],
    )
    def test_a_value_may_need_another_of_the_space(self, small: Any, space: str) -> None:
        made = small()
        made.experiment(1, f"{ROWS}[model]\nnum_iterations = 5\n[tune]\ntrials = 8\n[tune.space]\n{space}")
        outcome = run_tuned(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))
        assert outcome.how == "new"
        assert find_study(made.open.access.competition, 1)[0].get_trials(states=[FAILED]) == []

    def test_what_the_best_does_not_use_is_taken_back(self) -> None:
        usual = lightgbm_defaults()
        searched = {"data_sample_strategy": "bagging", "top_rate": 0.4, "bagging_fraction": 0.5, "bagging_freq": 0}
        assert reset_unused(searched, usual) == {"top_rate": usual["top_rate"], "bagging_fraction": 1}
        assert reset_unused(searched | {"data_sample_strategy": "goss"}, usual, but=["bagging_fraction"]) == {}


TUNED = ROWS + "[model]\nlearning_rate = 0.2\nnum_leaves = {leaves}\nnum_iterations = 20\nmin_data_in_leaf = {least}\n"
SPACE = "[tune]\ntrials = 4\n[tune.space]\nnum_leaves = { low = 2, high = 31 }\n"


class TestStudies:
    def test_edited_parameters_are_scored_by_a_study_that_goes_on(self, small: Any) -> None:
        made = small()
        for leaves in (4, 9, 17):
            made.experiment(1, TUNED.format(leaves=leaves, least=20) + SPACE)
            outcome = tune(
                made.workspace,
                made.open.access.competition,
                1,
                TuneRequest(trials=6 if leaves == 4 else 1),
                RunContext(threads=1),
            )
            assert outcome.tuned.initial is not None
            assert outcome.tuned.initial.parameters == {"num_leaves": leaves}
        assert outcome.tuned.complete + outcome.tuned.pruned >= 8

    @pytest.mark.slow
    def test_a_run_takes_what_was_edited_though_the_trials_are_spent(self, small: Any) -> None:
        made = small()
        definition = made.open.access.competition
        made.experiment(1, TUNED.format(leaves=4, least=20) + SPACE)
        first = run_tuned(made.workspace, definition, 1, context=RunContext(threads=1))
        assert run_tuned(made.workspace, definition, 1, context=RunContext(threads=1)).how == "unchanged"
        made.experiment(1, TUNED.format(leaves=4, least=40) + SPACE)
        second = run_tuned(made.workspace, definition, 1, context=RunContext(threads=1))
        assert second.how == "new"
        assert second.run.record.key != first.run.record.key
        made.experiment(1, TUNED.format(leaves=13, least=40) + SPACE)
        said: list[str] = []
        run_tuned(made.workspace, definition, 1, context=RunContext((text_listener(said.append),), threads=1))
        assert tune(
            made.workspace, definition, 1, TuneRequest(only_rest=True), RunContext(threads=1)
        ).tuned.initial.parameters == {"num_leaves": 13}

    @pytest.mark.parametrize("delta", [0.0, 0.02, 0.2])
    def test_the_least_gain_counts_as_in_a_run(self, small: Any, delta: float) -> None:
        made = small()
        made.experiment(
            1,
            ROWS + f"[model]\nlearning_rate = 0.2\nnum_iterations = 60\nearly_stopping_round = 4\n"
            f"early_stopping_min_delta = {delta}\n",
        )
        found = ready(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))
        scorer = FoldScorer(found.problem, found.model, max_bytes=2**30)
        for fold in range(3):
            ours = scorer.score({}, fold, 1, Fidelity(None, 60, 4))
            assert ours.rounds == (found.model.learner(found.problem, 0).fit(fold, 1).rounds,)
