"""LightGBM's parameters: checks of names and values, defaults, and settings for reproducible runs."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.core.errors import ConfigError, NotFoundError, did_you_mean
from workbench.core.integers import integer_from
from workbench.core.threads import available_cores, boosting_threads
from workbench.models.column_parameters import PER_COLUMN
from workbench.models.lightgbm.answers import answer_of, storing_answers
from workbench.models.lightgbm.learner import NO_CLASS_WEIGHTS, QUIET, LightGBMSpec
from workbench.models.lightgbm.objectives import (
    RANKING,
    CustomObjective,
    check_objective,
    load_objective,
    objective_for,
    primary_objective,
)
from workbench.models.lightgbm.parameter_rules import (
    NO_EFFECT,
    contradiction,
    first_training,
    objective_notes,
    without_effect,
    without_stderr,
)
from workbench.models.losses import power_for
from workbench.models.parameter_problems import RejectedParameter, reject_parameters
from workbench.models.pseudo_labels import pseudo_label_rule
from workbench.models.rounds import DEFAULT_PATIENCE, DEFAULT_ROUNDS, default_max_rounds
from workbench.models.stopping_metrics import proxy_for_key
from workbench.models.weights import check_class_weight

if TYPE_CHECKING:
    from workbench.data.competition import Competition
    from workbench.metrics import Metric
    from workbench.models.model_request import ModelRequest
    from workbench.models.target import Target

__all__ = [
    "check_combination",
    "check_target",
    "lightgbm_defaults",
    "lightgbm_model",
    "lightgbm_spec",
    "primary_name",
    "probe_error",
    "spec_for_target",
    "with_bagging",
]

# Parameters that users can't set -> the reason.
RESERVED = {
    "metric": "the competition's metric is used",
    "num_class": "the number of classes comes from the target",
    "seed": "put the seeds into the experiment: seeds = [1, 2, 3]",
    "data": "the data comes from features",
    "valid": "the folds come from [cv] in competition.toml",
    "label_column": "the target comes from competition.toml",
    "categorical_feature": 'put the columns into the experiment: categorical = ["…"]',
    "input_model": "every run starts afresh",
    "output_model": "models go into the run folder",
    "task": "the task comes from competition.toml",
    "group_column": "the queries come from competition.toml",
    "weight_column": "the weights come from competition.toml",
    "ignore_column": 'put the columns into the experiment: drop = ["…"]',
    "header": "the data comes from features",
    **NO_EFFECT,
}

OTHER_LIBRARIES_NAMES = {
    "class_weight": 'put it into the experiment: class_weight = "balanced"',
    "eval_metric": RESERVED["metric"],
    "importance_type": NO_EFFECT["saved_feature_importance_type"],
    **dict.fromkeys(("silent", "verbose_eval"), "its messages go into the run's log"),
}
"""Arguments of LightGBM's scikit-learn API, of this version or an earlier one -> the reason to reject them."""

FILE_PARAMETERS = ("forcedsplits_filename", "forcedbins_filename")
"""Parameters that name a file; LightGBM silently ignores a missing one."""

LIST_PARAMETERS = ("cegb_penalty_feature_coupled", "cegb_penalty_feature_lazy", "eval_at", "label_gain")

BOOSTING_TYPES = ("gbdt", "dart", "rf", "goss")


def lightgbm_spec(
    parameters: dict[str, Any],
    *,
    where: str,
    threads: int | None = None,
    default_threads: int | None = None,
    transform: str = "none",
    competition: Competition | None = None,
) -> LightGBMSpec:
    """Check the ``[model]`` table of an experiment and complete it.

    Parameters
    ----------
    parameters : dict
        LightGBM's parameters, by any of their aliases.
    where : str
        The experiment's file, for messages.
    threads : int, optional
        The command's number of threads, which has priority over `num_threads`.
    default_threads : int, optional
        The number of threads without either; None for all available cores.
    transform : str
        From `transform_for`.
    competition : Competition, optional
        With the folder of custom objectives and of files that parameters name; None for the working directory, where
        there are no custom objectives.

    Raises
    ------
    ConfigError
        For parameters that are unknown (LightGBM ignores these), duplicates or reserved, invalid values, missing files,
        and parameters that contradict each other.
    """
    table = f"{where}: [model]"
    named, rejected = _primary_names(parameters)
    if rejected:
        reject_parameters([*rejected, *without_effect(_with_patience(named), lightgbm_defaults())], where=table)
    custom_patience = named.pop("early_stopping_round", None)
    stops_early = custom_patience != 0 and named.get("boosting") != "dart"
    default_rounds = default_max_rounds(named.get("learning_rate", 0.1)) if stops_early else DEFAULT_ROUNDS
    rounds = integer_from(named.pop("num_iterations", default_rounds), f"{table} num_iterations", 1)
    patience = DEFAULT_PATIENCE
    if custom_patience is not None:
        patience = integer_from(custom_patience, f"{table} early_stopping_round", 0)
    custom_objective, objective = None, named.get("objective")
    if isinstance(objective, str) and ".py:" in objective:
        if competition is None:
            raise ConfigError(f"objective {objective!r}: there is no competition with a folder for it")
        custom_objective = load_objective(competition, named.pop("objective"))
    elif "objective" in named:
        named["objective"] = primary_objective(objective, where)
    # LightGBM takes 0 and less for all available cores.
    file_threads = integer_from(named.pop("num_threads", 0), f"{table} num_threads")
    _check_boosting(named, custom_objective, where)
    _check_by_binning(named, where)
    reject_parameters(
        without_effect(_with_patience(named | {"early_stopping_round": patience}), lightgbm_defaults()), where=table
    )
    train_curve = bool(named.pop("is_provide_training_metric", False))
    notes: list[str] = []
    if named.get("boosting") == "dart":
        # Later rounds change earlier trees, so that the model up to the best round is not the one that was scored:
        # https://github.com/lightgbm-org/LightGBM/issues/4842
        patience = 0
        notes.append(f"boosting = dart: early stopping has no meaning there, all {rounds:,} rounds are used")
    if named.get("linear_tree") and "monotone_constraints" in named:
        notes.append("linear_tree: monotone_constraints hold for the splits, not within the leaves")
    n_threads = threads or max(0, file_threads) or default_threads or available_cores()
    # `deterministic` has an effect only if LightGBM does not choose between row-wise and col-wise by timing them.
    # Without `feature_pre_filter` the same bins serve every min_data_in_leaf.
    own_settings: dict[str, Any] = {
        **QUIET,
        "deterministic": True,
        "num_threads": n_threads,
        "feature_pre_filter": False,
    }
    if not named.get("force_row_wise"):
        own_settings["force_col_wise"] = True
    return LightGBMSpec(
        own_settings | named,
        rounds,
        patience,
        transform,
        where=where,
        custom_objective=custom_objective,
        train_curve=train_curve,
        notes=tuple(notes),
        files=_files(named, Path() if competition is None else competition.folder, where),
    )


def spec_for_target(spec: LightGBMSpec, target: Target, metric: Metric, *, class_weight: Any) -> LightGBMSpec:
    """Return the spec with the settings that depend on the target and the metric.

    Parameters
    ----------
    class_weight : str, dict or None
        The experiment's, which is checked.

    Raises
    ------
    ConfigError
        As in `check_class_weight`.
    """
    has_objective = spec.custom_objective is not None or "objective" in spec.parameters
    return replace(
        spec,
        power=0 if has_objective else power_for(target, metric),
        class_weight=check_class_weight(class_weight, target, where=spec.where),
        proxy_metric=proxy_for_key(metric, target.columns[0].task, spec.patience),
    )


def lightgbm_model(request: ModelRequest) -> LightGBMSpec:
    """Check an experiment's table and options for LightGBM, together with its target.

    Raises
    ------
    ConfigError
        As in `lightgbm_spec`, `check_class_weight`, `pseudo_label_rule`, `check_target` and `check_combination`.
    """
    where, target, metric = str(request.path), request.target, request.metric
    with storing_answers(request.competition.paths.parameter_checks):
        spec = lightgbm_spec(
            dict(request.table),
            where=where,
            threads=request.threads,
            default_threads=boosting_threads(*request.table_shape),
            transform=request.transform,
            competition=request.competition,
        )
        spec = spec_for_target(spec, target, metric, class_weight=request.class_weight)
        spec = replace(
            spec, pseudo=pseudo_label_rule(request.pseudo, target, where=where), rounds_per_fold=request.rounds_per_fold
        )
        check_target(spec, target, metric)
        return check_combination(spec, target, metric)


def _check_by_binning(named: dict[str, Any], where: str) -> None:
    """Bin a few rows with the parameters, and reject values that LightGBM can't parse or does not allow.

    Parameters that have a value per column or class, file names and the objective are left out.
    """
    omitted = {*PER_COLUMN, *FILE_PARAMETERS, "interaction_constraints", "auc_mu_weights", "objective"}
    for key, value in named.items():
        if isinstance(value, list) and key not in (*omitted, *LIST_PARAMETERS):
            raise ConfigError(f"{where}: [model] {key} = {value!r}: expected one value, not a list")
    probed = {k: v for k, v in named.items() if k not in omitted}
    error = probe_error(probed)
    if not error:
        return
    # Some messages do not name the parameter: then each is probed by itself.
    names_in_message = (name for name in probed if f"({name})" in error or f" {name} " in error)
    invalid = next(names_in_message, "") or next((k for k, v in probed.items() if probe_error({k: v})), "")
    if not invalid:
        raise ConfigError(f"{where}: [model]: LightGBM rejected it: {error}", hint="check its values")
    message = re.sub(r"^Check failed: \(\w+\) (\S+) \((\S+)\) at .*", r"expected a value \1 \2", error)
    message = re.sub(r"^(Unknown token .*|stod|stoi|stof)$", "expected a number", message)
    message = re.sub(r"^Unknown type of parameter.*", "expected one value, not a table", message)
    raise ConfigError(f"{where}: [model] {invalid} = {named[invalid]!r}: {message}")


def probe_error(parameters: Mapping[str, Any]) -> str:
    """Return LightGBM's message about parameters that it rejects when it bins data; empty if it accepts them."""
    probed = {**parameters, **QUIET, "num_threads": 1}

    def error_of_binning() -> str:
        import lightgbm as lgb

        try:
            with without_stderr():
                lgb.Dataset(np.arange(4.0)[:, None], params=probed).construct()
        except (lgb.basic.LightGBMError, TypeError, ValueError) as exc:
            return str(exc).strip()
        return ""

    return answer_of("binning-v1", probed, ask=error_of_binning, is_valid=lambda error: not error)


def _files(named: dict[str, Any], folder: Path, where: str) -> dict[str, Path]:
    """Return the files that parameters name, checked: LightGBM silently ignores most problems with them."""
    files: dict[str, Path] = {}
    for key in FILE_PARAMETERS:
        file_name = named.get(key, "")
        if file_name == "":
            continue
        if not isinstance(file_name, str):
            raise ConfigError(f"{where}: [model] {key} = {file_name!r}: expected the name of a file")
        path = files[key] = folder / file_name
        if not path.is_file():
            names = [p.name for p in folder.glob("*.json")]
            raise NotFoundError(
                f"{where}: [model] {key} = {file_name!r}: {path} is missing", hint=did_you_mean(file_name, names)
            )
        if any(c.isspace() or c == "=" for c in str(path)):
            # LightGBM gets its parameters as one text of "key=value" pairs, and ignores what it can't parse.
            raise ConfigError(
                f"{where}: [model] {key} = {file_name!r}: LightGBM can't read a path with a space or a =: "
                f"{str(path)!r}",
                hint="use the absolute path of a file elsewhere",
            )
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as exc:
            raise ConfigError(f"{where}: [model] {key}: {path} is not valid JSON: {exc}", hint="fix it") from exc
    return files


def _check_boosting(named: dict[str, Any], custom_objective: CustomObjective | None, where: str) -> None:
    """Reject settings that LightGBM rejects only after it has loaded the data, and with obscure messages."""
    boosting = named.get("boosting", "gbdt")
    has_bagging = _number(named, "bagging_fraction", 1.0, where) < 1 and _number(named, "bagging_freq", 0, where) > 0
    if boosting not in BOOSTING_TYPES:
        hint = did_you_mean(str(boosting), BOOSTING_TYPES, kind="boosting")
        raise ConfigError(f"{where}: [model] boosting = {boosting!r} is unknown", hint=hint)
    if boosting == "rf" and custom_objective is not None:
        raise ConfigError(
            f"{where}: [model] boosting = rf can't be trained with a custom objective ({custom_objective.reference})"
        )
    if boosting == "rf" and not has_bagging and _number(named, "feature_fraction", 1.0, where) >= 1:
        raise ConfigError(
            f"{where}: [model] boosting = rf needs trees that differ",
            hint="bagging_freq = 1 and bagging_fraction = 0.7, or feature_fraction = 0.7",
        )
    if has_bagging and "goss" in (boosting, named.get("data_sample_strategy")):
        raise ConfigError(f"{where}: [model] goss samples by itself, without bagging", hint="remove bagging_freq")
    if named.get("is_unbalance") and _number(named, "scale_pos_weight", 1.0, where) != 1:
        raise ConfigError(f"{where}: [model] is_unbalance and scale_pos_weight do the same", hint="keep one of them")


def _number(named: dict[str, Any], key: str, default: float, where: str) -> float:
    value = named.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{where}: [model] {key} = {value!r}: expected a number")
    return value


def check_target(spec: LightGBMSpec, target: Target, metric: Metric) -> None:
    """Reject an objective, the experiment's or the default, that does not fit the target.

    Raises
    ------
    ConfigError
        With the objectives that fit.
    """
    for column in target.columns:
        objective = spec.parameters.get("objective") or str(objective_for(column.task, metric)["objective"])
        if spec.custom_objective is None:
            check_objective(objective, column, spec.transform, where=spec.where)
        elif column.task == "ranking":
            raise ConfigError(
                f"{spec.where}: [model] objective = {spec.custom_objective.reference!r}: a function gets single "
                "rows, not queries",
                hint=f"for ranking: {', '.join(RANKING)}",
            )
        if spec.custom_objective is None and objective == "regression_l1" and spec.parameters.get("linear_tree"):
            raise ConfigError(
                f"{spec.where}: [model] linear_tree can't be trained by the objective 'regression_l1'",
                hint='objective = "huber", "fair" or "quantile" (its alpha is 0.9: set alpha = 0.5)',
            )
        if column.task != "binary" and any(k in spec.parameters for k in ("is_unbalance", "scale_pos_weight")):
            raise ConfigError(
                f"{spec.where}: [model] is_unbalance and scale_pos_weight are for two classes; the task is "
                f"{column.task!r}",
                hint='class_weight = "balanced" is for more classes' if column.task == "multiclass" else "",
            )
        unused = [k for k, default in NO_CLASS_WEIGHTS.items() if spec.parameters.get(k, default) != default]
        if unused and (spec.custom_objective is not None or objective != "binary"):
            objective_name = objective if spec.custom_objective is None else spec.custom_objective.reference
            raise ConfigError(
                f"{spec.where}: [model] {unused[0]} = {spec.parameters[unused[0]]!r} does nothing with the objective "
                f"{objective_name!r}",
                hint='class_weight = "balanced" weights the rows, whatever the objective',
            )


def check_combination(spec: LightGBMSpec, target: Target, metric: Metric) -> LightGBMSpec:
    """Train on a few rows, and return the spec with notes on parameters that LightGBM replaces or ignores.

    Raises
    ------
    ConfigError
        For parameters that LightGBM rejects together.
    """
    notes = list(spec.notes)
    if "eval_at" in spec.parameters:
        raise ConfigError(f"{spec.where}: [model] can't set 'eval_at': the competition's metric is used")
    for column in target.columns[:1]:
        objective = "regression"
        if spec.custom_objective is None:
            objective = str(spec.parameters.get("objective") or objective_for(column.task, metric)["objective"])
            notes += objective_notes(spec.parameters, objective)
        error, warnings = first_training(spec.parameters, objective)
        if error:
            names = contradiction(spec.parameters, objective)[0]
            shown = ", ".join(f"{k} = {spec.parameters[k]!r}" for k in names)
            raise ConfigError(
                f"{spec.where}: [model] {shown or 'its parameters'} with the objective {objective!r}: LightGBM rejects "
                f"it: {error}",
                hint="remove one of them" if len(names) > 1 else "",
            )
        notes += [f"LightGBM: {text}" for text in warnings]
    return replace(spec, notes=tuple(notes))


def primary_name(key: str, *, where: str) -> str:
    """Return the primary name of one of LightGBM's parameters.

    Raises
    ------
    ConfigError
        For an unknown name, or one that users can't set.
    """
    name = _primary_or_rejected(key)
    if isinstance(name, RejectedParameter):
        raise ConfigError(f"{where} {name.reason}", hint=name.hint)
    return name


def _primary_or_rejected(key: str) -> str | RejectedParameter:
    """Return the primary name of a parameter, or why it can't be set."""
    primary_names = answer_of("names-v1", ask=_all_names)
    name = primary_names.get(key, key)
    reason = RESERVED.get(name) or (OTHER_LIBRARIES_NAMES.get(key) if key not in primary_names else None)
    if reason is not None:
        return RejectedParameter(f"can't set {key!r}: {reason}")
    if key in primary_names:
        return name
    return RejectedParameter(f"has an unknown key {key!r}", did_you_mean(key, primary_names, kind="key"))


@functools.cache
def _all_names() -> dict[str, str]:
    """Return the primary name of each of LightGBM's names of parameters."""
    from lightgbm.basic import _ConfigAliases

    aliases: dict[str, list[str]] = _ConfigAliases._get_all_param_aliases()
    return {alias: name for name, synonyms in aliases.items() for alias in (name, *synonyms)}


def lightgbm_defaults() -> dict[str, Any]:
    """Return LightGBM's defaults by primary name: numbers (true is 1), or texts."""
    return answer_of("defaults-v1", ask=_defaults)


@functools.cache
def _defaults() -> dict[str, Any]:
    import lightgbm as lgb

    quiet = {"verbosity": -1}
    # A model's text has all parameters of its training.
    model = lgb.Booster(quiet, lgb.Dataset(np.zeros((8, 1)), np.zeros(8), params=quiet))
    text = model.model_to_string().partition("\nparameters:")[2]
    return {name: _number_or_text(value) for name, value in re.findall(r"(?m)^\[(\w+): (.*)\]$", text)}


def _number_or_text(value: str) -> float | str:
    for parse in (int, float):
        with suppress(ValueError):
            return parse(value)
    return value


def with_bagging(searched: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the searched parameters with a bagging frequency, without which a fraction of rows has no effect.

    Parameters
    ----------
    searched, fixed : mapping
        The parameters of a trial, and those of the experiment, by primary names.
    """
    has_fraction = searched.get("bagging_fraction", 1.0) < 1
    has_frequency = "bagging_freq" in searched or fixed.get("bagging_freq")
    return {**searched, **({"bagging_freq": 1} if has_fraction and not has_frequency else {})}


def _with_patience(named: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with the effective patience."""
    patience = named.get("early_stopping_round", DEFAULT_PATIENCE)
    return named | {"early_stopping_round": 0 if named.get("boosting") == "dart" else patience}


def _primary_names(parameters: dict[str, Any]) -> tuple[dict[str, Any], list[RejectedParameter]]:
    """Return the parameters by their primary names, and the rejected ones."""
    named: dict[str, Any] = {}
    rejected: list[RejectedParameter] = []
    for key, value in parameters.items():
        name = _primary_or_rejected(key)
        if isinstance(name, RejectedParameter):
            rejected.append(name)
        elif name in named:
            rejected.append(RejectedParameter(f"sets {name!r} twice, also as {key!r}", "keep one of them"))
        else:
            named[name] = value
    return named, rejected
