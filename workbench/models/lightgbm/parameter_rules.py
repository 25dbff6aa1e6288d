"""Rules for LightGBM's parameters: which have an effect here, their types, and which contradict each other."""

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
from workbench.models.lightgbm.answers import answer_of
from workbench.models.parameter_problems import RejectedParameter

__all__ = [
    "NO_EFFECT",
    "contradiction",
    "first_training",
    "objective_notes",
    "parameter_type",
    "plain_message",
    "reset_unused",
    "train_one_round",
    "without_effect",
    "without_stderr",
]

Parameters = Mapping[str, Any]

_NO_FILES = "the data comes from features, not from files"
_ALL_TREES = "predictions are made with all trees, as raw numbers or probabilities"
_ONE_MACHINE = "one machine trains"
_OWN_METRIC = "the competition's metric is used"

NO_EFFECT: dict[str, str] = {
    "config": "parameters are set in the experiment's file",
    "metric_freq": "the metric is computed after every round",
    "first_metric_only": _OWN_METRIC,
    "multi_error_top_k": _OWN_METRIC,
    "auc_mu_weights": _OWN_METRIC,
    **dict.fromkeys(("two_round", "pre_partition", "precise_float_parser", "parser_config_file"), _NO_FILES),
    "save_binary": "bins are kept in the competition's cache",
    "snapshot_freq": "finished folds are kept in the run folder",
    "saved_feature_importance_type": "the run's importance has gain and splits",
    "output_result": "predictions go into the run folder",
    "convert_model": "models go into the run folder",
    "convert_model_language": "models go into the run folder",
    "refit_decay_rate": "every run starts afresh",
    **dict.fromkeys(("pred_early_stop", "pred_early_stop_freq", "pred_early_stop_margin"), _ALL_TREES),
    **dict.fromkeys(("predict_raw_score", "predict_leaf_index", "predict_contrib"), _ALL_TREES),
    **dict.fromkeys(("start_iteration_predict", "num_iteration_predict", "predict_disable_shape_check"), _ALL_TREES),
    **dict.fromkeys(
        ("num_machines", "machines", "machine_list_filename", "local_listen_port", "time_out"), _ONE_MACHINE
    ),
    **dict.fromkeys(("tree_learner", "top_k"), _ONE_MACHINE),
    "lambdarank_position_bias_regularization": "the positions at which rows were shown are not known",
}
"""Parameters that LightGBM accepts but that have no effect here -> the reason."""


def _is_set(name: str) -> Callable[[Parameters], bool]:
    return lambda parameters: bool(parameters.get(name))


def _is_dart(parameters: Parameters) -> bool:
    return parameters.get("boosting") == "dart"


def _is_goss(parameters: Parameters) -> bool:
    return "goss" in (parameters.get("boosting"), parameters.get("data_sample_strategy"))


def _samples_rows(parameters: Parameters) -> bool:
    return _is_goss(parameters) or bool(parameters.get("bagging_freq"))


def _needs_gpu(parameters: Parameters) -> bool:
    return bool(parameters.get("device_type", "cpu") != "cpu")


def _samples_columns(parameters: Parameters) -> bool:
    return any(parameters.get(name, 1.0) != 1.0 for name in ("feature_fraction", "feature_fraction_bynode"))


Requirement = tuple[Callable[[Parameters], bool], str]
"""A test of the other parameters, and how to meet it, for messages."""

_DART: Requirement = (_is_dart, 'boosting = "dart"')
_GOSS: Requirement = (_is_goss, 'data_sample_strategy = "goss"')
_ROW_SAMPLES: Requirement = (_samples_rows, "bagging_freq = 1")
_COLUMN_SAMPLES: Requirement = (_samples_columns, "feature_fraction below 1")
_GPU: Requirement = (_needs_gpu, 'device_type = "gpu"')
_BAGGING: Requirement = (_is_set("bagging_freq"), "bagging_freq = 1")
_MONOTONE: Requirement = (_is_set("monotone_constraints"), "monotone_constraints")
_QUANTIZED: Requirement = (_is_set("use_quantized_grad"), "use_quantized_grad = true")

REQUIREMENTS: dict[str, Requirement] = {
    **dict.fromkeys(("drop_rate", "max_drop", "skip_drop", "uniform_drop", "xgboost_dart_mode", "drop_seed"), _DART),
    **dict.fromkeys(("top_rate", "other_rate"), _GOSS),
    **dict.fromkeys(("bagging_fraction", "pos_bagging_fraction", "neg_bagging_fraction"), _BAGGING),
    **dict.fromkeys(("monotone_penalty", "monotone_constraints_method"), _MONOTONE),
    **dict.fromkeys(("num_grad_quant_bins", "quant_train_renew_leaf", "stochastic_rounding"), _QUANTIZED),
    **dict.fromkeys(("gpu_platform_id", "gpu_device_id", "gpu_use_dp", "num_gpu"), _GPU),
    "bagging_seed": _ROW_SAMPLES,
    "feature_fraction_seed": _COLUMN_SAMPLES,
    "linear_lambda": (_is_set("linear_tree"), "linear_tree = true"),
    "extra_seed": (_is_set("extra_trees"), "extra_trees = true"),
    "early_stopping_min_delta": (
        lambda parameters: parameters.get("early_stopping_round") != 0,
        "early stopping",
    ),
}
"""Parameters that have no effect without another."""

_OBJECTIVES_OF: dict[str, tuple[str, ...]] = {
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

_REPLACED_VALUE = re.compile(
    r"has been increased|auto set|Will set|will be ignored|will be overridden|auto disable|Setting |Falling back|"
    r"Switch to|will switch|Will disable"
)
"""Matches LightGBM's warnings that it uses another value than the one set."""


def without_effect(parameters: Parameters, defaults: Parameters) -> list[RejectedParameter]:
    """Return the parameters that have no effect together with the others.

    LightGBM's defaults are allowed in any case: with them an experiment resets a value of its base.

    Parameters
    ----------
    parameters : mapping
        By primary names.
    defaults : mapping
        LightGBM's.
    """
    return [
        RejectedParameter(
            f"{name} = {parameters[name]!r} does nothing without {required}", f"add {required}, or remove it"
        )
        for name, (is_met, required) in REQUIREMENTS.items()
        if name in parameters and parameters[name] != defaults.get(name) and not is_met(parameters)
    ]


def reset_unused(parameters: Parameters, defaults: Parameters, *, but: Iterable[str] = ()) -> dict[str, Any]:
    """Return LightGBM's defaults for the parameters that have no effect together with the others, except `but`.

    In a search over `boosting` or `data_sample_strategy`, some parameters are used with some of its values only.
    """
    return {
        name: defaults[name]
        for name, (is_met, _) in REQUIREMENTS.items()
        if name in parameters and name in defaults and name not in {*but} and not is_met(parameters)
    }


def objective_notes(parameters: Parameters, objective: str) -> list[str]:
    """Return a note for each parameter that applies to other objectives only."""
    return [
        f"{name} does nothing with the objective {objective!r}: it is for {', '.join(objectives)}"
        for name, objectives in _OBJECTIVES_OF.items()
        if name in parameters and objective not in objectives
    ]


@functools.cache
def parameter_type(name: str) -> str:
    """Return the type of a parameter: "int", "float", "bool" or "text", which includes names and lists."""
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
    """Discard output to the process's standard error: LightGBM also writes the messages of its exceptions there."""
    sys.stderr.flush()
    try:
        original = os.dup(2)
    except OSError:  # the process has no standard error
        yield
        return
    null_device = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null_device, 2)
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)
        os.close(null_device)


class _WarningCollector:
    """A logger for LightGBM that collects its warnings."""

    def __init__(self) -> None:
        self.warnings: dict[str, None] = {}

    def info(self, text: str) -> None:
        if "[Warning]" in text:
            self.warnings[text.partition("[Warning]")[2].strip()] = None

    warning = info


def first_training(parameters: Parameters, objective: str) -> tuple[str, list[str]]:
    """Train one round on a few rows of two columns, to find parameters that LightGBM rejects or replaces.

    Parameters with a value for each column are left out, and files; monotone constraints are replaced by others.

    Returns
    -------
    error : str
        LightGBM's message; empty if it accepts the parameters.
    warnings : list of str
        Its warnings about values that it replaces.
    """
    omitted = {*PER_COLUMN, "interaction_constraints", "forcedsplits_filename", "forcedbins_filename"}
    probed = {k: v for k, v in parameters.items() if k not in omitted and not k.startswith("cegb_penalty_feature")}
    if _constrains(parameters.get("monotone_constraints")):
        probed["monotone_constraints"] = [1, 0]
    if objective.startswith("multiclass"):
        probed["num_class"] = 3
    probed |= {"objective": objective, "verbosity": 0, "num_threads": 1, "metric": "None"}
    error, warnings = answer_of(
        "training-v1",
        probed,
        ask=lambda: train_one_round(probed, objective),
        is_valid=lambda answer: not answer[0] and not _needs_gpu(probed),
    )
    return error, list(warnings)


def train_one_round(probed: dict[str, Any], objective: str) -> tuple[str, list[str]]:
    """Train one round on 64 made-up rows; return LightGBM's error, empty if there is none, and its warnings."""
    import lightgbm as lgb

    n_rows = 64
    rng = np.random.default_rng(0)
    label: Any = np.arange(n_rows) % (3 if objective.startswith("multiclass") else 2)
    if objective not in ("binary", "lambdarank", "rank_xendcg", "multiclass", "multiclassova"):
        label = 0.25 + label / 2  # every objective for numbers accepts these, whatever sign it requires
    query = [n_rows // 2] * 2 if objective in ("lambdarank", "rank_xendcg") else None
    collector, original = _WarningCollector(), lgb.basic._LOGGER
    method_names = (lgb.basic._INFO_METHOD_NAME, lgb.basic._WARNING_METHOD_NAME)
    lgb.register_logger(collector)
    try:
        with without_stderr():
            data = lgb.Dataset(rng.random((n_rows, 2)), label, group=query, params=probed)
            lgb.Booster(probed, data).update()
    except (lgb.basic.LightGBMError, TypeError, ValueError) as exc:
        return plain_message(str(exc)), []
    finally:
        lgb.register_logger(original, info_method_name=method_names[0], warning_method_name=method_names[1])
    return "", [text for text in collector.warnings if _REPLACED_VALUE.search(text)]


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
    """Return the first line of a message of LightGBM, without source location."""
    line = (text.strip().splitlines() or [""])[0]
    return re.sub(r"^Check failed: (.*) at \S+, line \d+ \.?", r"it needs \1", line).strip()


def contradiction(parameters: Parameters, objective: str) -> tuple[list[str], str]:
    """Return the parameters that LightGBM rejects together, and its message; empty if it accepts them."""
    error, _ = first_training(parameters, objective)
    if not error:
        return [], ""
    # Parameters each of which, if it is removed, removes the error.
    names = [
        name
        for name in parameters
        if not first_training({k: v for k, v in parameters.items() if k != name}, objective)[0]
    ]
    return names, error
