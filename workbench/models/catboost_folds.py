"""CatBoost behind the contract of a learner, with its native treatment of categories and models as JSON."""

from __future__ import annotations

import json
import logging
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import ConfigError, TrainingError
from workbench.features import CHUNK_ROWS
from workbench.models.fold_data import FoldData, FoldTarget
from workbench.models.losses import loss_for, power_for
from workbench.models.memory_estimate import LibraryMemory, MemoryEstimate, estimate_memory, training_widths
from workbench.models.model_request import ModelRequest
from workbench.models.parameter_problems import RejectedParameter, reject_parameters
from workbench.models.records import FoldResult, Problem, TrainingState
from workbench.models.rounds import DEFAULT_PATIENCE, DEFAULT_ROUNDS, EarlyStoppingLearner, default_max_rounds
from workbench.models.stopping_metrics import native_metric, proxy_for_key
from workbench.models.weights import uses_hard_labels

if TYPE_CHECKING:
    import catboost

    from workbench.metrics import Metric

__all__ = ["CatBoostLearner", "CatBoostSpec", "catboost_spec", "split_counts"]

Floats = npt.NDArray[np.float64]
log = logging.getLogger("workbench.models")

ALIASES = {
    "eta": "learning_rate",
    "max_bin": "border_count",
    "max_depth": "depth",
    "colsample_bylevel": "rsm",
    "random_state": "random_seed",
    "reg_lambda": "l2_leaf_reg",
    "n_estimators": "iterations",
    "num_boost_round": "iterations",
    "num_trees": "iterations",
    "early_stopping_rounds": "od_wait",
    "custom_loss": "custom_metric",
    "num_leaves": "max_leaves",
    "min_child_samples": "min_data_in_leaf",
    "objective": "loss_function",
    "verbose": "logging_level",
    "silent": "logging_level",
}

RESERVED = {
    "eval_metric": "the competition's metric is used",
    "custom_metric": "the competition's metric is used",
    "random_seed": "put the seeds into the experiment: seeds = [1, 2, 3]",
    "thread_count": "use --threads",
    "logging_level": "its messages go into the run's log",
    "metric_period": "the metric is computed after every round",
    "use_best_model": "set early_stopping_rounds: 0 for all rounds",
    "od_type": "early_stopping_rounds stops after this many rounds without an improvement",
    "od_pval": "early_stopping_rounds stops after this many rounds without an improvement",
    "classes_count": "the number of classes comes from the target",
    "class_names": "the classes come from the target",
    "target_border": "the target comes from competition.toml",
    "cat_features": 'put the columns into the experiment: categorical = ["…"]',
    "text_features": "columns are numbers and codes; make features of texts in features.py",
    "embedding_features": "columns are numbers and codes; make features of embeddings in features.py",
    "ignored_features": 'put the columns into the experiment: drop = ["…"]',
    "eval_fraction": "the folds come from [cv] in competition.toml",
    "allow_writing_files": "models go into the run folder",
    "train_dir": "models go into the run folder",
    "save_snapshot": "finished folds are kept in the run folder",
    "snapshot_file": "finished folds are kept in the run folder",
    "snapshot_interval": "finished folds are kept in the run folder",
    "callback": "functions can't be written in an experiment's file",
    "name": "the experiment has a title",
    "metadata": "the run's record describes the model",
    "detailed_profile": "its messages go into the run's log",
    "roc_file": "the run's OOF is in its folder",
    "output_borders": "models go into the run folder",
    "input_borders": "set border_count and feature_border_type",
    "final_ctr_computation_mode": "predictions need the statistics of the categories",
    "force_unit_auto_pair_weights": "rows have no pairs",
    "bayesian_matrix_reg": "rows have no pairs",
    "used_ram_limit": "the workspace's memory limit is used",
    **dict.fromkeys(
        ("gpu_ram_part", "gpu_cat_features_storage", "pinned_memory_size", "devices"), "use task_type alone"
    ),
    **dict.fromkeys(
        ("text_processing", "tokenizers", "dictionaries", "feature_calcers"),
        "columns are numbers and codes; make features of texts in features.py",
    ),
}

# Our metric's name -> CatBoost's, where both compute the same number.
SAME_METRIC = {
    "auc": "AUC",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R2",
    "logloss": "Logloss",
    "mlogloss": "MultiClass",
}
LOSSES_BY_TASK = {
    "binary": ("Logloss", "CrossEntropy"),
    "multiclass": ("MultiClass", "MultiClassOneVsAll"),
}
CLASSIFICATION_LOSSES = (
    *LOSSES_BY_TASK["binary"],
    *LOSSES_BY_TASK["multiclass"],
    "Focal",
    "MultiLogloss",
    "MultiCrossEntropy",
    "PairLogit",
    "YetiRank",
    "QueryRMSE",
    "QuerySoftMax",
    "StochasticRank",
    "LambdaMart",
)
LOG_LOSSES = ("LogLinQuantile", "Poisson", "Tweedie")
"""With these losses the raw prediction is the logarithm of the value."""


@dataclass(frozen=True)
class CatBoostSpec:
    """The settings of a CatBoost model: parameters by their primary names, without seed and number of rounds.

    `unweighted` is whether the metric to stop by ignores weights, because CatBoost would multiply them by the weights
    of the classes.
    """

    parameters: dict[str, Any]
    rounds: int
    patience: int
    transform: str
    version: str
    key_threads: int
    unweighted: bool = False
    rounds_per_fold: bool = False
    power: int = 0
    proxy_metric: str = ""

    def content(self) -> dict[str, Any]:
        """Return everything that determines the result, for the run's key.

        The number of threads is a part of it: sums over threads depend on it.
        """
        return {
            "catboost": self.version,
            "parameters": self.parameters | {"thread_count": self.key_threads},
            "rounds": self.rounds,
            "patience": self.patience,
            "transform": self.transform,
            **({"rounds_by": "mean"} if self.patience and not self.rounds_per_fold else {}),
            **({"stops_by": "unweighted"} if self.unweighted else {}),
            **({"stops_by": self.proxy_metric} if self.proxy_metric else {}),
            **({"power": self.power} if self.power else {}),
        }

    def memory_estimate(self, problem: Problem, seeds: Sequence[int]) -> MemoryEstimate:
        """Estimate the memory of the training at its peak."""
        return _memory_estimate(problem, seeds)

    def learner(self, problem: Problem, target_index: int) -> CatBoostLearner:
        """Return the learner of target number `target_index`."""
        return CatBoostLearner(problem, self, target_index)

    @property
    def loss(self) -> str:
        """The loss, without its own parameters."""
        return str(self.parameters["loss_function"]).partition(":")[0]


# --------------------------------------------------------------------------------------------------------- parameters


def catboost_spec(request: ModelRequest) -> CatBoostSpec:
    """Check the ``[catboost]`` table of an experiment and complete it.

    Raises
    ------
    ConfigError
        For parameters that are unknown, duplicates or reserved, and a loss that does not fit the task.
    """
    import inspect

    library = request.library("catboost")
    parameter_names = [
        name for name in inspect.signature(library.CatBoostClassifier.__init__).parameters if name != "self"
    ]
    named = request.named(parameter_names, reserved=RESERVED, aliases=ALIASES)
    # CatBoost's default learning rate depends on the number of rounds.
    max_rounds = default_max_rounds(named.get("learning_rate")) if named.get("od_wait") != 0 else DEFAULT_ROUNDS
    rounds = request.integer(named.pop("iterations", max_rounds), "iterations", minimum=1)
    patience = request.integer(named.pop("od_wait", DEFAULT_PATIENCE), "early_stopping_rounds", minimum=0)
    own_settings: dict[str, Any] = {
        "thread_count": request.n_threads,
        "allow_writing_files": False,
        "logging_level": "Silent",
    }
    _check_loss(request, named.get("loss_function"))
    parameters = own_settings | {"loss_function": _default_loss(request)} | named
    if request.task == "multiclass":
        parameters["classes_count"] = request.target.columns[0].width
    _check_effects(request, parameters, _probe(request, parameters))
    # For metrics of labels the weights are meant to shift the decision. CatBoost's AUC uses row weights only.
    metric_uses_weights = request.metric.name in (
        "logloss",
        "mlogloss",
        *(["auc"] if request.target.scoring_weight is not None else []),
    )
    unweighted = _weights_classes(parameters) and metric_uses_weights and not uses_hard_labels(request.metric)
    power = 0 if "loss_function" in named else power_for(request.target, request.metric)
    return CatBoostSpec(
        parameters,
        rounds,
        patience,
        request.transform,
        library.__version__,
        request.key_threads,
        unweighted,
        rounds_per_fold=request.rounds_per_fold,
        power=power,
        proxy_metric=proxy_for_key(request.metric, request.task, patience),
    )


def _weights_classes(parameters: dict[str, Any]) -> bool:
    """Return whether classes have weights, which CatBoost also uses in its metrics."""
    settings = (parameters.get("class_weights"), parameters.get("auto_class_weights", "None") != "None")
    return any(value not in (None, False) for value in settings) or parameters.get("scale_pos_weight", 1) != 1


# Parameter -> the other parameter that it depends on, and the values with which it has an effect.
DEPENDS_ON: dict[str, tuple[str, tuple[Any, ...]]] = {
    "min_data_in_leaf": ("grow_policy", ("Depthwise", "Lossguide")),
    "bagging_temperature": ("bootstrap_type", ("Bayesian",)),
    "mvs_reg": ("bootstrap_type", ("MVS",)),
    "fold_len_multiplier": ("boosting_type", ("Ordered",)),
    "diffusion_temperature": ("langevin", (True,)),
}
DEFAULTS = {"min_data_in_leaf": 1, "bagging_temperature": 1, "fold_len_multiplier": 2}
"""CatBoost's defaults, which are allowed in any case: with them an experiment resets a value of its base."""

PENALTIES = ("first_feature_use_penalties", "per_object_feature_penalties")


def _check_effects(request: ModelRequest, parameters: dict[str, Any], effective: dict[str, Any]) -> None:
    """Reject parameters that CatBoost accepts but ignores together with the others.

    Parameters
    ----------
    effective : dict
        All parameters as CatBoost reports them; empty if it rejected a value, which the training then reports.
    """
    merged = effective | parameters
    rejected = []
    for name, (other, values) in DEPENDS_ON.items() if effective else ():
        if name in parameters and parameters[name] != DEFAULTS.get(name) and merged.get(other) not in values:
            required = " or ".join(f'"{v}"' if isinstance(v, str) else str(v).lower() for v in values)
            rejected.append(
                RejectedParameter(f"{name} does nothing without {other} = {required}", "add it, or remove the other")
            )
    if parameters.get("penalties_coefficient", 1) != 1 and not any(parameters.get(name) for name in PENALTIES):
        rejected.append(RejectedParameter(f"penalties_coefficient does nothing without {' or '.join(PENALTIES)}"))
    if "model_shrink_mode" in parameters and not parameters.get("model_shrink_rate"):
        rejected.append(RejectedParameter("model_shrink_mode does nothing without model_shrink_rate"))
    reject_parameters(rejected, where=request.where)


# Left out of the probe, which has other columns and classes.
NOT_PROBED = (
    *("monotone_constraints", "feature_weights", "first_feature_use_penalties", "per_object_feature_penalties"),
    *("per_float_feature_quantization", "input_borders", "class_weights", "ctr_description", "per_feature_ctr"),
)


def _probe(request: ModelRequest, parameters: dict[str, Any]) -> dict[str, Any]:
    """Train one round on a few rows: CatBoost checks some parameters only with data.

    Returns
    -------
    dict
        All parameters, with CatBoost's defaults of those that are not set; empty if it can't parse a value.

    Raises
    ------
    ConfigError
        For parameters that CatBoost rejects.
    """
    import catboost

    n_rows, task = 32, request.task
    rows = np.arange(n_rows)
    label = rows % (3 if task == "multiclass" else 2) if task != "regression" else rows % 2 / 2 + 0.25
    probed = {k: v for k, v in parameters.items() if k not in NOT_PROBED}
    probed |= {"iterations": 1, "thread_count": 1} | ({"classes_count": 3} if task == "multiclass" else {})
    values = np.stack([rows, rows * 7 % 11], axis=1).astype(np.float32)
    try:
        model = catboost.CatBoost(probed).fit(
            catboost.Pool(values, label), log_cout=_LogStream(), log_cerr=_LogStream()
        )
    except (catboost.CatBoostError, TypeError, ValueError) as exc:
        if "Can't parse parameter" in str(exc):  # the training reports it, too
            return {}
        raise ConfigError(f"{request.where}: CatBoost rejected it: {_message(exc)}", hint="check its values") from exc
    effective: dict[str, Any] = model.get_all_params()
    return effective


def _check_loss(request: ModelRequest, loss: Any) -> None:
    if loss is None:
        return
    name = loss.partition(":")[0] if isinstance(loss, str) else ""
    fits = (
        name in LOSSES_BY_TASK[request.task]
        if request.task in LOSSES_BY_TASK
        else bool(name) and name not in CLASSIFICATION_LOSSES
    )
    if not fits:
        valid = LOSSES_BY_TASK.get(request.task, ("RMSE", "MAE", "Quantile:alpha=0.5", "Huber:delta=1", "Poisson", "…"))
        raise ConfigError(
            f"{request.where} loss_function = {loss!r} does not fit task {request.task!r}",
            hint=f"one of: {', '.join(valid)}",
        )


def _default_loss(request: ModelRequest) -> str:
    """Return the default loss for the task and the metric."""
    if request.task in LOSSES_BY_TASK:
        return LOSSES_BY_TASK[request.task][0]
    loss = loss_for(request.metric)
    if loss.kind == "quantile":
        return f"Quantile:alpha={loss.level:g}"
    # CatBoost's leaf values for MAE ignore row weights, which is far off if the weights depend on the target; on the
    # log scale the mean is close to the median.
    return "RMSE" if loss.kind == "squared" or loss.power else "MAE"


def _native_metric(target: FoldTarget, metric: Metric, loss: str, *, unweighted: bool = False) -> str | None:
    """Return CatBoost's name of the metric to stop by, or None where ours has to be called.

    CatBoost's metrics use class weights, too; the only way to avoid that is to use no weights at all, `unweighted`.
    """
    name = native_metric(SAME_METRIC, metric, target.column.task, target.transform)
    if loss in LOG_LOSSES or target.transform != "none":
        return None if loss in LOG_LOSSES else name
    if target.column.task == "binary" and name in ("RMSE", "MAE", "R2"):  # computed from raw values, not probabilities
        return None
    has_weights = target.problem.target.scoring_weight is not None
    if unweighted:
        return None if has_weights or loss == "MultiClassOneVsAll" or name is None else f"{name}:use_weights=false"
    if name == "AUC" and has_weights:
        # CatBoost uses weights in a metric only if the train rows have weights, too.
        return "AUC:use_weights=true" if target.problem.target.weight is not None else None
    return name if loss != "MultiClassOneVsAll" else None


# ------------------------------------------------------------------------------------------------------------ training


class CatBoostLearner(EarlyStoppingLearner[CatBoostSpec]):
    """Trains one target's models."""

    def __init__(self, problem: Problem, spec: CatBoostSpec, target_index: int) -> None:
        weights_classes = _weights_classes(spec.parameters)
        self.data = FoldData(
            FoldTarget(problem, target_index, spec.transform, power=spec.power, library_weights_classes=weights_classes)
        )
        self.target_index = target_index
        self.spec = spec
        self.each_round: Callable[[], None] = lambda: None
        self.native_metric = _native_metric(self.data.target, problem.metric, spec.loss, unweighted=spec.unweighted)

    def training(self, fold: int, seed: int, state: TrainingState | None = None) -> CatBoostTraining:
        """Return a fold's training, new or from a saved state."""
        return CatBoostTraining(self, fold, seed, state)

    def train_model(
        self, fold: int, seed: int, rounds: int, should_stop: Callable[[float], bool]
    ) -> tuple[Any, list[float]]:
        """Train up to this many rounds, or until `should_stop`; return the model and its curve."""
        import catboost

        train_rows, valid_rows = self.data.split(fold)
        # CatBoost's default learning rate depends on these settings: it should be that of a model with early stopping,
        # although all trees are kept.
        stopping: dict[str, Any] = {"iterations": self.spec.rounds, "use_best_model": bool(self.spec.patience)}
        if self.spec.patience:
            stopping |= {"best_model_min_trees": self.spec.rounds}
        # Callbacks are supported on the CPU only.
        has_callbacks = self.spec.parameters.get("task_type", "CPU") == "CPU"
        if not has_callbacks and self.spec.patience and rounds == self.spec.rounds:
            stopping |= {"od_type": "Iter", "od_wait": self.spec.patience}
        custom_metric = None if self.native_metric else _CustomMetric(self.data.target, fold, self._to_label_scale)
        model = catboost.CatBoost(
            self.spec.parameters | stopping | {"random_seed": seed, "eval_metric": custom_metric or self.native_metric}
        )
        callback = _RoundCallback(self.each_round, self.native_metric, rounds, should_stop)
        try:
            model.fit(
                self._pool(fold, train_rows, self.data.target.training_weights(fold, train_rows)),
                eval_set=self._pool(fold, valid_rows, self.data.target.validation_weights(fold, valid_rows)),
                callbacks=[callback] if has_callbacks else None,
                log_cout=_LogStream(),
                log_cerr=_LogStream(),
            )
        except catboost.CatBoostError:
            if custom_metric is None or custom_metric.raised is None:
                raise
            raise custom_metric.raised from None
        if callback.raised is not None:
            raise callback.raised
        return model, _curve(model, self.native_metric)

    def result_of(self, model: catboost.CatBoost, fold: int, seed: int) -> FoldResult:
        """Return the result of a trained model: its text, importance and predictions."""
        text = model_to_json(model)

        def predict(frame: pl.DataFrame) -> Floats:
            raw = model.predict(
                self._as_pool(frame), prediction_type="RawFormulaVal", thread_count=self.spec.parameters["thread_count"]
            )
            return self._to_label_scale(np.asarray(raw).reshape(len(frame), -1))

        return FoldResult(
            target=self.target_index,
            fold=fold,
            seed=seed,
            oof=self.data.predictions(fold, self.data.split(fold)[1], predict),
            test=self.data.predictions(fold, self.data.test_rows, predict),
            model=text,
            rounds=int(model.tree_count_),
            seconds=0.0,
            importance=self._importance(model, text),
            suffix="json",
            notes=self.data.target.notes(fold),
        )

    def _to_label_scale(self, raw: Floats) -> Floats:
        """Convert CatBoost's raw values (n, width) to probabilities, or to numbers on the scale of the labels."""
        if self.data.target.column.task == "binary" or self.spec.loss == "MultiClassOneVsAll":
            sigmoids: Floats = 1 / (1 + np.exp(-np.clip(raw, -700, 700)))  # exp(710) overflows
            if sigmoids.shape[1] > 1:
                sigmoids /= sigmoids.sum(axis=1, keepdims=True)
            return sigmoids
        if self.data.target.column.task == "multiclass":
            softmax: Floats = np.exp(raw - raw.max(axis=1, keepdims=True))
            softmax /= softmax.sum(axis=1, keepdims=True)
            return softmax
        numbers: Floats = np.exp(raw) if self.spec.loss in LOG_LOSSES else raw
        return numbers

    def _importance(self, model: catboost.CatBoost, text: str) -> dict[str, tuple[float, float]]:
        gain = model.get_feature_importance(type="PredictionValuesChange")
        splits = split_counts(json.loads(text), len(self.data.columns.names))
        columns = zip(self.data.columns.names, gain, splits, strict=True)
        return {name: (float(column_gain), float(n_splits)) for name, column_gain, n_splits in columns}

    # ------------------------------------------------------------------------------------------------------ values

    def _pool(self, fold: int, rows: npt.NDArray[np.int64], weight: Floats | None) -> catboost.Pool:
        return self._as_pool(self.data.columns.frame(fold, rows), self.data.target.labels(fold, rows), weight)

    def _as_pool(self, frame: pl.DataFrame, label: Floats | None = None, weight: Floats | None = None) -> catboost.Pool:
        """Return a frame as a pool: numbers in 32 bits, as CatBoost stores them, and -1 for a missing category.

        Infinite numbers are set to missing: with -inf CatBoost can't write its model, and inf changes when it is read.
        """
        import catboost
        import pandas as pd

        categorical = self.data.columns.categorical
        numbers = self.data.columns.as_float32(frame.select(pl.exclude(categorical) if categorical else pl.all()))
        columns = {s.name: _without_infinite(s.to_numpy()) for s in numbers.get_columns()}
        columns |= {name: frame[name].cast(pl.Int64).fill_null(-1).to_numpy() for name in categorical}
        columns = {name: columns[name] for name in frame.columns}
        values = pd.DataFrame(columns, copy=False)
        return catboost.Pool(
            values, label, weight=weight, cat_features=categorical, feature_names=self.data.columns.names
        )


def _without_infinite(values: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    is_infinite = np.isinf(values)
    return np.where(is_infinite, np.float32(np.nan), values) if is_infinite.any() else values


class _CustomMetric:
    """The metric to stop by as a metric object of CatBoost, computed on the validation rows.

    Exceptions are stored in `raised`: CatBoost replaces them by errors of its own.
    """

    def __init__(self, target: FoldTarget, fold: int, to_label_scale: Callable[[Floats], Floats]) -> None:
        rows = target.valid_rows(fold)
        self.n_rows = len(rows)
        self.greater_is_better = target.stopping_metric.greater_is_better
        self.score = target.stopping_score(fold, rows, f"fold {fold}")
        self.to_label_scale = to_label_scale
        self.raised: BaseException | None = None

    def __deepcopy__(self, _: Any) -> _CustomMetric:
        # CatBoost copies its parameters: a copy would hold all rows again, and store the exceptions.
        return self

    def is_max_optimal(self) -> bool:
        return self.greater_is_better

    def get_final_error(self, error: float, weight: float) -> float:  # noqa: ARG002
        return error

    def evaluate(self, approxes: Sequence[Floats], target: Floats, weight: Any) -> tuple[float, float]:  # noqa: ARG002
        # CatBoost also evaluates the train rows in every round, for a curve that is not used.
        if len(approxes[0]) != self.n_rows:
            return 0.0, 1.0
        try:
            return self.score(self.to_label_scale(np.column_stack(approxes))), 1.0
        except BaseException as exc:
            self.raised = exc
            raise


class _RoundCallback:
    """CatBoost's callback after each round; exceptions are stored in `raised`, as CatBoost would replace them."""

    def __init__(
        self,
        each_round: Callable[[], None],
        native_metric: str | None,
        rounds: int,
        should_stop: Callable[[float], bool],
    ) -> None:
        self.each_round, self.native_metric = each_round, native_metric
        self.rounds, self.should_stop = rounds, should_stop
        self.raised: BaseException | None = None

    def after_iteration(self, info: Any) -> bool:
        try:
            self.each_round()
            values = _stopping_curve(info.metrics.get("validation", {}), self.native_metric)
            return not self.should_stop(float(values[-1])) and len(values) < self.rounds
        except BaseException as exc:  # noqa: BLE001 raised again after CatBoost has returned
            self.raised = exc
        return False


class CatBoostTraining:
    """The training of one fold's model; CatBoost can't continue one, so that it starts again each time."""

    can_continue = False

    def __init__(self, learner: CatBoostLearner, fold: int, seed: int, state: TrainingState | None = None) -> None:
        self.learner, self.fold, self.seed = learner, fold, seed
        self.curves: dict[str, list[float]] = {"valid": []} if state is None else state.curves
        self.seconds = 0.0 if state is None else state.seconds
        self._text = "" if state is None else state.model

    def state(self) -> TrainingState:
        """Return the state to save."""
        return TrainingState(self._text, self.curves, self.seconds)

    def release(self) -> None:
        """Do nothing: no data is kept between rounds."""

    def train_to(self, rounds: int, should_stop: Callable[[float], bool]) -> None:
        """Train up to this many rounds, or until `should_stop` returns True for the metric of a new round."""
        started_at = time.perf_counter()
        with _errors(f"fold {self.fold}, seed {self.seed}"):
            model, curve = self.learner.train_model(self.fold, self.seed, rounds, should_stop)
            self._text, self.curves = model_to_json(model), {"valid": curve}
        self.seconds += time.perf_counter() - started_at

    def second_stage(self, rounds: int, state: TrainingState | None = None) -> CatBoostTraining:  # noqa: ARG002 part of the protocol
        """Return itself: there is no second model."""
        return self

    def result(self, rounds: int) -> FoldResult:
        """Return the model of this many rounds, with its predictions."""
        started_at = time.perf_counter()
        with _errors(f"fold {self.fold}, seed {self.seed}"):
            model = model_from_json(self._text)
            if rounds < model.tree_count_:
                model.shrink(ntree_end=rounds)
            fold_result = self.learner.result_of(model, self.fold, self.seed)
        return replace(fold_result, curve=self.curves, seconds=self.seconds + time.perf_counter() - started_at)


class _LogStream:
    """A stream that writes CatBoost's output into the log."""

    def write(self, text: str) -> None:
        if text.strip():
            log.info("%s", text.strip())

    def flush(self) -> None:
        return


def model_to_json(model: catboost.CatBoost) -> str:
    """Return a model as CatBoost's JSON, without what differs between equal models: its id, the time, the scores."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        content = json.loads(path.read_text(encoding="utf-8"))
    for key in ("model_guid", "train_finish_time", "training"):
        content.get("model_info", {}).pop(key, None)
    return json.dumps(content, separators=(",", ":"))


def model_from_json(text: str) -> catboost.CatBoost:
    """Return the model of a text by `model_to_json`."""
    import catboost

    model = catboost.CatBoost()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        path.write_text(text, encoding="utf-8")
        model.load_model(str(path), format="json")
    return model


def _curve(model: catboost.CatBoost, native_metric: str | None) -> list[float]:
    metrics = model.get_evals_result().get("validation", {})
    return [float(v) for v in _stopping_curve(metrics, native_metric)]


def _stopping_curve(values_by_metric: Mapping[str, Sequence[float]], native_metric: str | None) -> Sequence[float]:
    """Return the values of the metric to stop by: CatBoost's, or those of `_CustomMetric`."""
    name = native_metric
    if native_metric not in values_by_metric:
        name = next((n for n in values_by_metric if "CustomMetric" in n), None)
    return [] if name is None else values_by_metric[name]


def split_counts(model: dict[str, Any], n_columns: int) -> list[int]:
    """Count the splits of a model on each column; a split on a combination of categories counts for each of them.

    Parameters
    ----------
    model : dict
        CatBoost's JSON, parsed.
    n_columns : int

    Returns
    -------
    list of int (n_columns,)
    """
    info = model["features_info"]
    numbers, categories = info.get("float_features", []), info.get("categorical_features", [])
    column_of_number = {f["feature_index"]: f["flat_feature_index"] for f in numbers}
    column_of_category = {f["feature_index"]: f["flat_feature_index"] for f in categories}
    # A split's index counts the borders of numbers, then the values of categories, then the borders of statistics
    # (ctrs).
    columns_by_split: list[list[int]] = []
    for feature in numbers:
        columns_by_split += [[feature["flat_feature_index"]]] * len(feature["borders"] or [])
    for feature in categories:
        columns_by_split += [[feature["flat_feature_index"]]] * len(feature.get("values") or [])
    for ctr in info.get("ctrs", []):
        elements = ctr["elements"]
        columns = [column_of_category[e["cat_feature_index"]] for e in elements if "cat_feature_index" in e]
        columns += [column_of_number[e["float_feature_index"]] for e in elements if "float_feature_index" in e]
        columns_by_split += [columns] * len(ctr["borders"])
    counts = [0] * n_columns
    for split in _splits(model):
        for column in columns_by_split[split["split_index"]]:
            counts[column] += 1
    return counts


def _splits(node: Any) -> Iterator[dict[str, Any]]:
    """Yield all splits of a model's trees, symmetric or not."""
    if isinstance(node, dict):
        if "split_type" in node:
            yield node
        for key in ("oblivious_trees", "trees", "splits", "split", "left", "right"):
            yield from _splits(node.get(key))
    elif isinstance(node, list):
        for item in node:
            yield from _splits(item)


def _message(exc: Exception) -> str:
    """Return the first line of a message of CatBoost, without source location."""
    line = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
    return re.sub(r"^\S+\.(cpp|h):\d+: ", "", line)


@contextmanager
def _errors(where: str) -> Iterator[None]:
    """Turn CatBoost's exceptions into TrainingErrors, and log its warnings."""
    import catboost

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except catboost.CatBoostError as exc:
            raise TrainingError(
                f"CatBoost failed ({where}): {_message(exc)}", hint="check [catboost] in the experiment's file"
            ) from exc
        finally:
            for warning in caught:
                log.warning("%s: %s", where, str(warning.message).strip())


NUMBER_BYTES, CODE_BYTES = 8, 40
"""Of a number: in 32 bits, in the frame and in the pool. Of a code: in 64 bits, its hash, its index among the values,
and the statistics of its category in each of the permutations of the rows."""

STATISTIC_BYTES, CATEGORY_BYTES = 48, 600
"""What the statistics of categories take besides, per row and per category: the hashes of combinations, tables of
counts, and the model as JSON, which contains them."""


def _memory_estimate(problem: Problem, seeds: Sequence[int]) -> MemoryEstimate:
    """Estimate the memory of the training at its peak: values, bins, and the statistics of categories."""
    matrix = problem.matrix
    n_categorical = len(matrix.categories)
    n_columns = training_widths(problem).total
    bytes_per_row = (n_columns - n_categorical) * NUMBER_BYTES + n_categorical * CODE_BYTES
    bytes_per_row += STATISTIC_BYTES * bool(n_categorical)
    chunk_bytes = 0 if matrix.loaded_frame is not None else min(CHUNK_ROWS, matrix.n_rows) * n_columns * 16
    n_categories = sum(map(len, matrix.categories.values()))
    library = LibraryMemory(
        fold_bytes=matrix.n_train * bytes_per_row,
        temporary_bytes=chunk_bytes + CATEGORY_BYTES * n_categories,
        bytes_per_row=64,
        bytes_per_prediction=96,
    )
    return estimate_memory(problem, seeds, library)
