"""Which of LightGBM's parameters do anything here, of what type they are, and which contradict each other."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from workbench.models.column_parameters import PER_COLUMN
from workbench.models.parameter_problems import Refused

__all__ = [
    "NO_EFFECT",
    "contradiction",
    "first_training",
    "objective_notes",
    "parameter_type",
    "plain_message",
    "taken_back",
    "without_effect",
    "without_stderr",
]

Parameters = Mapping[str, Any]

_FILE = "the data comes from features, not from files"
_PREDICTION = "predictions are made with all trees, as raw numbers or probabilities"
_CLUSTER = "one machine trains"
_METRIC = "the competition's metric is used"

NO_EFFECT: dict[str, str] = {
    "config": "parameters stand in the experiment's file",
    "metric_freq": "every round is watched",
    "first_metric_only": _METRIC,
    "multi_error_top_k": _METRIC,
    "auc_mu_weights": _METRIC,
    **dict.fromkeys(("two_round", "pre_partition", "precise_float_parser", "parser_config_file"), _FILE),
    "save_binary": "bins are kept in the competition's cache",
    "snapshot_freq": "finished folds are kept in the run folder",
    "saved_feature_importance_type": "the run's importance has gain and splits",
    "output_result": "predictions go into the run folder",
    "convert_model": "models go into the run folder",
    "convert_model_language": "models go into the run folder",
    "refit_decay_rate": "every run starts afresh",
    **dict.fromkeys(("pred_early_stop", "pred_early_stop_freq", "pred_early_stop_margin"), _PREDICTION),
    **dict.fromkeys(("predict_raw_score", "predict_leaf_index", "predict_contrib"), _PREDICTION),
    **dict.fromkeys(("start_iteration_predict", "num_iteration_predict", "predict_disable_shape_check"), _PREDICTION),
    **dict.fromkeys(("num_machines", "machines", "machine_list_filename", "local_listen_port", "time_out"), _CLUSTER),
    **dict.fromkeys(("tree_learner", "top_k"), _CLUSTER),
    "lambdarank_position_bias_regularization": "the positions at which rows were shown are not known",
}
"""Parameters that LightGBM takes and that change nothing here, with the reason."""


def _has(*names: str) -> Callable[[Parameters], bool]:
    return lambda p: any(bool(p.get(name)) for name in names)


def _is_dart(p: Parameters) -> bool:
    return p.get("boosting") == "dart"


def _is_goss(p: Parameters) -> bool:
    return "goss" in (p.get("boosting"), p.get("data_sample_strategy"))


Need = tuple[Callable[[Parameters], bool], str]
_DART: Need = (_is_dart, 'boosting = "dart"')
_GOSS: Need = (_is_goss, 'data_sample_strategy = "goss"')
_SAMPLES: Need = (lambda p: _is_goss(p) or bool(p.get("bagging_freq")), "bagging_freq = 1")
_ON_GPU: Need = (lambda p: p.get("device_type", "cpu") != "cpu", 'device_type = "gpu"')
_COLUMNS: Need = (
    lambda p: any(p.get(name, 1.0) != 1.0 for name in ("feature_fraction", "feature_fraction_bynode")),
    "feature_fraction below 1",
)
_BAGS: Need = (_has("bagging_freq"), "bagging_freq = 1")
_MONOTONE: Need = (_has("monotone_constraints"), "monotone_constraints")
_QUANTIZED: Need = (_has("use_quantized_grad"), "use_quantized_grad = true")

NEEDS: dict[str, Need] = {
    **dict.fromkeys(("drop_rate", "max_drop", "skip_drop", "uniform_drop", "xgboost_dart_mode", "drop_seed"), _DART),
    **dict.fromkeys(("top_rate", "other_rate"), _GOSS),
    **dict.fromkeys(("bagging_fraction", "pos_bagging_fraction", "neg_bagging_fraction"), _BAGS),
    **dict.fromkeys(("monotone_penalty", "monotone_constraints_method"), _MONOTONE),
    **dict.fromkeys(("num_grad_quant_bins", "quant_train_renew_leaf", "stochastic_rounding"), _QUANTIZED),
    **dict.fromkeys(("gpu_platform_id", "gpu_device_id", "gpu_use_dp", "num_gpu"), _ON_GPU),
    "bagging_seed": _SAMPLES,
    "feature_fraction_seed": _COLUMNS,
    "linear_lambda": (_has("linear_tree"), "linear_tree = true"),
    "extra_seed": (_has("extra_trees"), "extra_trees = true"),
    "early_stopping_min_delta": (lambda p: p.get("early_stopping_round") != 0, "early stopping"),
}
"""Parameters that do nothing without another: what says whether it is there, and its words."""

_OF_OBJECTIVE: dict[str, tuple[str, ...]] = {
    "alpha": ("huber", "quantile"),
    "fair_c": ("fair",),
    "poisson_max_delta_step": ("poisson",),
    "tweedie_variance_power": ("tweedie",),
    "sigmoid": ("binary", "multiclassova", "lambdarank"),
    "objective_seed": ("rank_xendcg",),
    "lambdarank_truncation_level": ("lambdarank",),
    "lambdarank_norm": ("lambdarank",),
    "label_gain": ("lambdarank",),
    "bagging_by_query": ("lambdarank", "rank_xendcg"),
    "pos_bagging_fraction": ("binary",),
    "neg_bagging_fraction": ("binary",),
}

_CHANGED = re.compile(
    r"has been increased|auto set|Will set|will be ignored|will be overridden|auto disable|Setting |Falling back|"
    r"Switch to|will switch|Will disable"
)
"""What LightGBM's warnings say where it takes another value than the one given."""


def without_effect(parameters: Parameters, defaults: Parameters) -> list[Refused]:
    """Return the parameters that do nothing beside the others; LightGBM's own value, which takes a base's back, stays.

    Parameters
    ----------
    parameters : mapping
        By primary names.
    defaults : mapping
        LightGBM's own values.
    """
    return [
        Refused(f"{name} = {parameters[name]!r} does nothing without {words}", f"add {words}, or take it out")
        for name, (is_there, words) in NEEDS.items()
        if name in parameters and parameters[name] != defaults.get(name) and not is_there(parameters)
    ]


def taken_back(parameters: Parameters, defaults: Parameters, *, but: Iterable[str] = ()) -> dict[str, Any]:
    """Return LightGBM's own values of those parameters that do nothing beside the others, except of some.

    A search over `boosting` or `data_sample_strategy` has parameters that only some of its values use.
    """
    return {
        name: defaults[name]
        for name, (is_there, _) in NEEDS.items()
        if name in parameters and name in defaults and name not in {*but} and not is_there(parameters)
    }


def objective_notes(parameters: Parameters, objective: str) -> list[str]:
    """Return a line for each parameter of other objectives than this one."""
    return [
        f"{name} does nothing with the objective {objective!r}: it is for {', '.join(of)}"
        for name, of in _OF_OBJECTIVE.items()
        if name in parameters and objective not in of
    ]


@functools.cache
def parameter_type(name: str) -> str:
    """Return what LightGBM reads a parameter as: "int", "float", "bool" or "text" (lists and names, too)."""
    from workbench.models.lightgbm.parameters import probe_error

    fraction_error, text_error = probe_error({name: 0.5}), probe_error({name: "x"})
    if "of type int" in fraction_error:
        return "int"
    if '"true"' in fraction_error:
        return "bool"
    is_number = "Unknown token" in text_error or "type double" in text_error
    return "float" if is_number else "text"


@contextmanager
def without_stderr() -> Iterator[None]:
    """Drop what is written to the process's standard error meanwhile: LightGBM says there what it also raises."""
    sys.stderr.flush()
    try:
        before = os.dup(2)
    except OSError:  # there is none
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nothing)


class _Log:
    """Keeps LightGBM's warnings."""

    def __init__(self) -> None:
        self.warnings: dict[str, None] = {}

    def info(self, text: str) -> None:
        if "[Warning]" in text:
            self.warnings[text.partition("[Warning]")[2].strip()] = None

    warning = info


def first_training(parameters: Parameters, objective: str) -> tuple[str, list[str]]:
    """Train one round on a few rows of two columns, to hear what LightGBM refuses and what it changes.

    What goes by column is left out, but that there are constraints; files are, too.

    Returns
    -------
    problem : str
        Empty where there is none.
    changed : list of str
        LightGBM's warnings of values that it replaces.
    """
    import lightgbm as lgb

    n_rows = 64
    rng = np.random.default_rng(0)
    label: Any = np.arange(n_rows) % (3 if objective.startswith("multiclass") else 2)
    if objective not in ("binary", "lambdarank", "rank_xendcg", "multiclass", "multiclassova"):
        label = 0.25 + label / 2  # which every objective for numbers takes, whatever it asks of the sign
    left_out = {*PER_COLUMN, "interaction_constraints", "forcedsplits_filename", "forcedbins_filename"}
    tried = {k: v for k, v in parameters.items() if k not in left_out and not k.startswith("cegb_penalty_feature")}
    if _constrains(parameters.get("monotone_constraints")):
        tried["monotone_constraints"] = [1, 0]
    if objective.startswith("multiclass"):
        tried["num_class"] = 3
    tried |= {"objective": objective, "verbosity": 0, "num_threads": 1, "metric": "None"}
    query = [n_rows // 2] * 2 if objective in ("lambdarank", "rank_xendcg") else None
    log, before = _Log(), lgb.basic._LOGGER
    names = (lgb.basic._INFO_METHOD_NAME, lgb.basic._WARNING_METHOD_NAME)
    lgb.register_logger(log)
    try:
        with without_stderr():
            data = lgb.Dataset(rng.random((n_rows, 2)), label, group=query, params=tried)
            lgb.Booster(tried, data).update()
    except (lgb.basic.LightGBMError, TypeError, ValueError) as exc:
        return plain_message(str(exc)), []
    finally:
        lgb.register_logger(before, info_method_name=names[0], warning_method_name=names[1])
    return "", [text for text in log.warnings if _CHANGED.search(text)]


def _constrains(constraints: Any) -> bool:
    values: Iterable[Any] = (
        constraints.values()
        if isinstance(constraints, Mapping)
        else constraints
        if isinstance(constraints, list)
        else ()
    )
    return any(values)


def plain_message(text: str) -> str:
    """Return the first line of a message of LightGBM, without the place in its source."""
    line = (text.strip().splitlines() or [""])[0]
    return re.sub(r"^Check failed: (.*) at \S+, line \d+ \.?", r"it needs \1", line).strip()


def contradiction(parameters: Parameters, objective: str) -> tuple[list[str], str]:
    """Return which parameters LightGBM refuses together, and what it says; nothing where it takes them."""
    problem, _ = first_training(parameters, objective)
    if not problem:
        return [], ""
    needed = [
        k for k in parameters if not first_training({n: v for n, v in parameters.items() if n != k}, objective)[0]
    ]
    return needed, problem
