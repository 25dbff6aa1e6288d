"""LightGBM's parameters: checked names, defaults by task and metric, and what makes a run repeatable."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.core.errors import ConfigError, NotFoundError, near
from workbench.core.integers import integer_from
from workbench.core.threads import available_cores
from workbench.models.column_parameters import PER_COLUMN
from workbench.models.lightgbm.learner import NO_WEIGHT, QUIET, LightGBMSpec
from workbench.models.lightgbm.objectives import (
    RANKING,
    OwnObjective,
    check_objective,
    objective_for,
    own_objective,
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
from workbench.models.losses import loss_for, power_for
from workbench.models.parameter_problems import Refused, refuse
from workbench.models.pseudo_labels import check_pseudo
from workbench.models.rounds import DEFAULT_PATIENCE, DEFAULT_ROUNDS, rounds_limit
from workbench.models.stopping_metrics import stops_by
from workbench.models.transforms import LOWEST, TRANSFORMS
from workbench.models.weights import check_class_weight

if TYPE_CHECKING:
    from workbench.data.competition import Competition
    from workbench.metrics import Metric
    from workbench.models.model_request import ModelRequest
    from workbench.models.target import Target

__all__ = [
    "check_target",
    "check_together",
    "lightgbm_defaults",
    "lightgbm_for",
    "lightgbm_model",
    "lightgbm_spec",
    "primary_name",
    "probe_error",
    "transform_for",
    "with_bagging",
]

# What the training itself decides; a value of the user's would contradict the competition or the folds.
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

NOT_LIGHTGBMS = {
    "class_weight": 'put it into the experiment: class_weight = "balanced"',
    "eval_metric": RESERVED["metric"],
    "importance_type": NO_EFFECT["saved_feature_importance_type"],
    **dict.fromkeys(("silent", "verbose_eval"), "what it says goes into the run's log"),
}
"""What scikit-learn's form of LightGBM takes, or once took."""

FILE_PARAMETERS = ("forcedsplits_filename", "forcedbins_filename")
"""Parameters that name a file, which LightGBM would go without where it is missing."""

LISTS = ("cegb_penalty_feature_coupled", "cegb_penalty_feature_lazy", "eval_at", "label_gain")

BOOSTING = ("gbdt", "dart", "rf", "goss")


def _no_own(reference: str) -> OwnObjective:
    raise ConfigError(f"objective {reference!r}: there is no competition's folder to look for it")


def lightgbm_spec(
    parameters: dict[str, Any],
    *,
    where: str,
    threads: int | None = None,
    usual_threads: int | None = None,
    transform: str = "none",
    load_objective: Callable[[str], OwnObjective] = _no_own,
    folder: Path | None = None,
) -> LightGBMSpec:
    """Check the ``[model]`` table of an experiment and complete it.

    Parameters
    ----------
    parameters : dict
        LightGBM's parameters under any of the names that LightGBM has for them.
    where : str
        The file that they come from, for messages.
    threads : int, optional
        What the command says; it goes before `num_threads`.
    usual_threads : int, optional
        Where neither says how many; None for as many as the process may use.
    transform : str
        As `transform_for` gives it.
    load_objective : callable, optional
        Loads the objective that ``objective = "objective.py:focal"`` names.
    folder : Path, optional
        Where the files are that parameters name; None for the working directory.

    Raises
    ------
    ConfigError
        For a name that LightGBM does not know (it would ignore it), one given twice, one that is not the user's, a file
        that is missing, a value that it does not take, and for parameters that contradict each other.
    """
    named, refused = _primary_names(parameters)
    if refused:
        refuse([*refused, *without_effect(_stopping(named), lightgbm_defaults())], where=f"{where}: [model]")
    stopping = named.pop("early_stopping_round", None)
    stops = stopping != 0 and named.get("boosting") != "dart"
    usual = rounds_limit(named.get("learning_rate", 0.1)) if stops else DEFAULT_ROUNDS
    rounds = integer_from(named.pop("num_iterations", usual), f"{where}: [model] num_iterations", 1)
    patience = DEFAULT_PATIENCE
    if stopping is not None:
        patience = integer_from(stopping, f"{where}: [model] early_stopping_round", 0)
    custom_objective, objective = None, named.get("objective")
    if isinstance(objective, str) and ".py:" in objective:
        custom_objective = load_objective(named.pop("objective"))
    elif "objective" in named:
        named["objective"] = primary_objective(objective, where)
    notes: list[str] = []
    # What the command says goes first. LightGBM takes 0 and less for all that there are.
    of_file = integer_from(named.pop("num_threads", 0), f"{where}: [model] num_threads")
    _check_boosting(named, custom_objective, where)
    _try(named, where)
    refuse(
        without_effect(_stopping(named | {"early_stopping_round": patience}), lightgbm_defaults()),
        where=f"{where}: [model]",
    )
    train_curve = bool(named.pop("is_provide_training_metric", False))
    if named.get("boosting") == "dart":
        # A later round changes the trees before it, so that a model cut at its best round is none that was measured:
        # https://github.com/lightgbm-org/LightGBM/issues/4842
        patience = 0
        notes.append(f"boosting = dart: early stopping has no meaning there, all {rounds:,} rounds are used")
    if named.get("linear_tree") and "monotone_constraints" in named:
        notes.append("linear_tree: monotone_constraints hold for the splits, not within the leaves")
    cores = threads or max(0, of_file) or usual_threads or available_cores()
    # `deterministic` is only kept when LightGBM does not choose between rows and columns by timing them. Without
    # `feature_pre_filter` the bins serve every min_data_in_leaf.
    fixed: dict[str, Any] = {**QUIET, "deterministic": True, "num_threads": cores, "feature_pre_filter": False}
    if not named.get("force_row_wise"):
        fixed["force_col_wise"] = True
    return LightGBMSpec(
        fixed | named,
        rounds,
        patience,
        transform,
        where=where,
        custom_objective=custom_objective,
        train_curve=train_curve,
        notes=tuple(notes),
        files=_files(named, folder or Path(), where),
    )


def lightgbm_for(
    competition: Competition,
    target: Target,
    parameters: dict[str, Any],
    *,
    where: str,
    threads: int | None,
    usual_threads: int | None = None,
    transform: str,
    class_weight: Any,
) -> LightGBMSpec:
    """Return what ``[model]`` and ``class_weight`` say, with what they name in the competition's folder.

    The parameters, and what is raised, are those of `lightgbm_spec` and `check_class_weight`.
    """
    spec = lightgbm_spec(
        parameters,
        where=where,
        threads=threads,
        usual_threads=usual_threads,
        transform=transform,
        load_objective=lambda reference: own_objective(competition, reference),
        folder=competition.folder,
    )
    power = (
        0
        if spec.custom_objective is not None or "objective" in spec.parameters
        else power_for(target, competition.metric)
    )
    return replace(
        spec,
        power=power,
        class_weight=check_class_weight(class_weight, target, where=where),
        stops_by=stops_by(competition.metric, target.columns[0].task, spec.patience),
    )


def lightgbm_model(request: ModelRequest) -> LightGBMSpec:
    """Check all that an experiment says of its LightGBM model, together with the target that it is for.

    Raises
    ------
    ConfigError
        As `lightgbm_spec`, `check_class_weight`, `check_pseudo`, `check_target` and `check_together` raise it.
    """
    where, target, metric = str(request.path), request.target, request.metric
    spec = lightgbm_for(
        request.competition,
        target,
        dict(request.table),
        where=where,
        threads=request.threads,
        usual_threads=request.usual_threads,
        transform=request.transform,
        class_weight=request.class_weight,
    )
    spec = replace(spec, pseudo=check_pseudo(request.pseudo, target, where=where), per_fold=request.per_fold)
    check_target(spec, target, metric)
    return check_together(spec, target, metric)


def _try(named: dict[str, Any], where: str) -> None:
    """Bin four rows with the parameters, to hear of values that LightGBM can't read or does not allow.

    What goes by column or by class is left out, files and the objective, too: the try has none of them.
    """
    left_out = {*PER_COLUMN, *FILE_PARAMETERS, "interaction_constraints", "auc_mu_weights", "objective"}
    for key, value in named.items():
        if isinstance(value, list) and key not in (*left_out, *LISTS):
            raise ConfigError(f"{where}: [model] {key} = {value!r}: expected one value, not a list")
    tried = {k: v for k, v in named.items() if k not in left_out}
    problem = probe_error(tried)
    if not problem:
        return
    # Some of the messages do not say of which parameter they are.
    named_in_it = (k for k in tried if f"({k})" in problem or f" {k} " in problem)
    odd = next(named_in_it, "") or next((k for k, v in tried.items() if probe_error({k: v})), "")
    if not odd:
        raise ConfigError(f"{where}: [model]: LightGBM refused it: {problem}", hint="check its values")
    message = re.sub(r"^Check failed: \(\w+\) (\S+) \((\S+)\) at .*", r"expected a value \1 \2", problem)
    message = re.sub(r"^(Unknown token .*|stod|stoi|stof)$", "expected a number", message)
    message = re.sub(r"^Unknown type of parameter.*", "expected one value, not a table", message)
    raise ConfigError(f"{where}: [model] {odd} = {named[odd]!r}: {message}")


def probe_error(parameters: Mapping[str, Any]) -> str:
    """Return what LightGBM says of parameters that it refuses."""
    import lightgbm as lgb

    tried = {**parameters, **QUIET, "num_threads": 1}
    try:
        with without_stderr():
            lgb.Dataset(np.arange(4.0)[:, None], params=tried).construct()
    except (lgb.basic.LightGBMError, TypeError, ValueError) as exc:
        return str(exc).strip()
    return ""


def _files(named: dict[str, Any], folder: Path, where: str) -> dict[str, Path]:
    """Return the files that parameters name, which LightGBM reads without a word where there is something wrong."""
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
                f"{where}: [model] {key} = {file_name!r}: {path} is missing", hint=near(file_name, names)
            )
        if any(c.isspace() or c == "=" for c in str(path)):
            # It reads its parameters from one text, and what it can't make out of that it leaves out.
            raise ConfigError(
                f"{where}: [model] {key} = {file_name!r}: LightGBM takes no path with a space or a = in it, as "
                f"{str(path)!r} has",
                hint="name a file elsewhere, from the root of the disk on",
            )
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as exc:
            raise ConfigError(f"{where}: [model] {key}: {path} is not valid JSON: {exc}", hint="fix it") from exc
    return files


def _check_boosting(named: dict[str, Any], custom_objective: OwnObjective | None, where: str) -> None:
    """Refuse what LightGBM refuses only after the data is there, with an error that speaks of its source code."""
    boosting = named.get("boosting", "gbdt")
    bags = _number(named, "bagging_fraction", 1.0, where) < 1 and _number(named, "bagging_freq", 0, where) > 0
    if boosting not in BOOSTING:
        hint = near(str(boosting), BOOSTING, kind="boosting")
        raise ConfigError(f"{where}: [model] boosting = {boosting!r} is unknown", hint=hint)
    if boosting == "rf" and custom_objective is not None:
        raise ConfigError(
            f"{where}: [model] boosting = rf can't train by an objective of one's own ({custom_objective.reference})"
        )
    if boosting == "rf" and not bags and _number(named, "feature_fraction", 1.0, where) >= 1:
        raise ConfigError(
            f"{where}: [model] boosting = rf needs trees that differ",
            hint="bagging_freq = 1 and bagging_fraction = 0.7, or feature_fraction = 0.7",
        )
    if bags and "goss" in (boosting, named.get("data_sample_strategy")):
        raise ConfigError(f"{where}: [model] goss samples by itself, without bagging", hint="take bagging_freq out")
    if named.get("is_unbalance") and _number(named, "scale_pos_weight", 1.0, where) != 1:
        raise ConfigError(f"{where}: [model] is_unbalance and scale_pos_weight do the same", hint="keep one of them")


def _number(named: dict[str, Any], key: str, default: float, where: str) -> float:
    value = named.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{where}: [model] {key} = {value!r}: expected a number")
    return value


def check_target(spec: LightGBMSpec, target: Target, metric: Metric) -> None:
    """Refuse an objective, given or usual, that does not fit the target.

    Raises
    ------
    ConfigError
        Says which objectives fit.
    """
    for column in target.columns:
        objective = spec.parameters.get("objective") or str(objective_for(column.task, metric)["objective"])
        if spec.custom_objective is None:
            check_objective(objective, column, spec.transform, where=spec.where)
        elif column.task == "ranking":
            raise ConfigError(
                f"{spec.where}: [model] objective = {spec.custom_objective.reference!r}: a function sees single "
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
                hint='class_weight = "balanced" is for more of them' if column.task == "multiclass" else "",
            )
        unused = [k for k, nothing in NO_WEIGHT.items() if spec.parameters.get(k, nothing) != nothing]
        if unused and (spec.custom_objective is not None or objective != "binary"):
            by = objective if spec.custom_objective is None else spec.custom_objective.reference
            raise ConfigError(
                f"{spec.where}: [model] {unused[0]} = {spec.parameters[unused[0]]!r} does nothing with the objective "
                f"{by!r}",
                hint='class_weight = "balanced" weights the rows, whatever the objective',
            )


def check_together(spec: LightGBMSpec, target: Target, metric: Metric) -> LightGBMSpec:
    """Return the model with notes of what LightGBM does not take as it is; its parameters are tried on a few rows.

    Raises
    ------
    ConfigError
        For parameters that it refuses together, which it says only once there are data.
    """
    notes = list(spec.notes)
    if "eval_at" in spec.parameters:
        raise ConfigError(f"{spec.where}: [model] can't set 'eval_at': the competition's metric is used")
    for column in target.columns[:1]:
        objective = "regression"
        if spec.custom_objective is None:
            objective = str(spec.parameters.get("objective") or objective_for(column.task, metric)["objective"])
            notes += objective_notes(spec.parameters, objective)
        problem, changed = first_training(spec.parameters, objective)
        if problem:
            names = contradiction(spec.parameters, objective)[0]
            shown = ", ".join(f"{k} = {spec.parameters[k]!r}" for k in names)
            raise ConfigError(
                f"{spec.where}: [model] {shown or 'its parameters'} with the objective {objective!r}: LightGBM refuses "
                f"it: {problem}",
                hint="take one of them out" if len(names) > 1 else "",
            )
        notes += [f"LightGBM: {text}" for text in changed]
    return replace(spec, notes=tuple(notes))


def primary_name(key: str, *, where: str) -> str:
    """Return the primary name of one of LightGBM's parameters.

    Raises
    ------
    ConfigError
        For a name that LightGBM does not know, or one that is not the user's to set.
    """
    name = _named_or_refused(key)
    if isinstance(name, Refused):
        raise ConfigError(f"{where} {name.why}", hint=name.hint)
    return name


def _named_or_refused(key: str) -> str | Refused:
    from lightgbm.basic import _ConfigAliases

    aliases: dict[str, list[str]] = _ConfigAliases._get_all_param_aliases()
    primary = {alias: name for name, synonyms in aliases.items() for alias in (name, *synonyms)}
    name = primary.get(key, key)
    reason = RESERVED.get(name) or (NOT_LIGHTGBMS.get(key) if key not in primary else None)
    if reason is not None:
        return Refused(f"can't set {key!r}: {reason}")
    return name if key in primary else Refused(f"has an unknown key {key!r}", near(key, primary, kind="key"))


@functools.cache
def lightgbm_defaults() -> dict[str, Any]:
    """Return LightGBM's own values of its parameters, by primary name: numbers (true is 1), or texts."""
    import lightgbm as lgb

    quiet = {"verbosity": -1}
    # A model's text ends with all parameters that it was trained with.
    model = lgb.Booster(quiet, lgb.Dataset(np.zeros((8, 1)), np.zeros(8), params=quiet))
    text = model.model_to_string().partition("\nparameters:")[2]
    return {name: _number_or_text(value) for name, value in re.findall(r"(?m)^\[(\w+): (.*)\]$", text)}


def _number_or_text(value: str) -> float | str:
    for read in (int, float):
        with suppress(ValueError):
            return read(value)
    return value


def with_bagging(searched: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Return searched parameters so that a fraction of the rows has an effect: LightGBM needs a frequency for that.

    Parameters
    ----------
    searched, fixed : mapping
        By primary names.
    """
    bags = searched.get("bagging_fraction", 1.0) < 1
    has_frequency = "bagging_freq" in searched or fixed.get("bagging_freq")
    return {**searched, **({"bagging_freq": 1} if bags and not has_frequency else {})}


def _stopping(named: dict[str, Any]) -> dict[str, Any]:
    """Return parameters with the patience that they come to."""
    stopping = named.get("early_stopping_round", DEFAULT_PATIENCE)
    return named | {"early_stopping_round": 0 if named.get("boosting") == "dart" else stopping}


def _primary_names(parameters: dict[str, Any]) -> tuple[dict[str, Any], list[Refused]]:
    """Return the parameters by their primary names, and those that can't be the user's, with the reasons."""
    named: dict[str, Any] = {}
    refused: list[Refused] = []
    for key, value in parameters.items():
        name = _named_or_refused(key)
        if isinstance(name, Refused):
            refused.append(name)
        elif name in named:
            refused.append(Refused(f"sets {name!r} twice, also as {key!r}", "keep one of them"))
        else:
            named[name] = value
    return named, refused


def transform_for(
    transform: str | None, target: Target, metric: Metric, *, where: str, log_objective: str | None = None
) -> str:
    """Return the target's transform: the experiment's, else the one that the metric rewards and the values allow.

    Parameters
    ----------
    log_objective : str, optional
        The model's objective where it takes a logarithm itself, as `log_objective` finds it: by default the target
        then stays as it is.

    Raises
    ------
    ConfigError
        For an unknown one, one that the target's values do not allow, or a logarithm that would be taken twice.
    """
    regression = all(c.task == "regression" for c in target.columns)
    lowest = min(float(c.values.min()) for c in target.columns)
    if transform == "log1p" and log_objective is not None:
        raise ConfigError(
            f"{where}: target_transform = 'log1p' and the objective {log_objective!r} take the logarithm twice",
            hint='target_transform = "none", which is the default with this objective',
        )
    if transform is None and log_objective is not None:
        return "none"
    if transform is None:
        loss = loss_for(metric)
        return loss.transform if regression and loss.allows(lowest) else "none"
    if transform not in TRANSFORMS:
        raise ConfigError(
            f"{where}: target_transform = {transform!r} is unknown", hint=near(transform, TRANSFORMS, kind="transform")
        )
    if transform == "none":
        return transform
    if not regression:
        raise ConfigError(
            f"{where}: target_transform = {transform!r} is for numbers, but the task is {target.columns[0].task!r}",
            hint='take it out, or target_transform = "none"',
        )
    above = LOWEST[transform]
    if not lowest > above:
        raise ConfigError(
            f"{where}: target_transform = {transform!r} needs a target above {above:g}, but its lowest value is "
            f"{lowest:g}",
            hint=f"these fit: {', '.join(t for t in TRANSFORMS if lowest > LOWEST[t])}",
        )
    return transform
