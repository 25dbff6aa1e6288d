"""CatBoost behind the contract of a learner: its own treatment of categories, its model as JSON."""

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
from workbench.models.memory_estimate import MemoryNeeds, column_counts, foreseen
from workbench.models.model_request import ModelRequest
from workbench.models.parameter_problems import Refused, refuse
from workbench.models.records import FoldResult, Problem, TrainingState
from workbench.models.rounds import DEFAULT_PATIENCE, DEFAULT_ROUNDS, StoppingLearner, rounds_limit
from workbench.models.stopping_metrics import native_metric, stops_by
from workbench.models.weights import is_decision

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
    "logging_level": "what it says goes into the run's log",
    "metric_period": "every round is watched",
    "use_best_model": "early_stopping_rounds says it: 0 for all rounds",
    "od_type": "early_stopping_rounds stops after so many rounds without a better one",
    "od_pval": "early_stopping_rounds stops after so many rounds without a better one",
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
    "metadata": "the run's record says what it is",
    "detailed_profile": "what it says goes into the run's log",
    "roc_file": "the run's OOF is in its folder",
    "output_borders": "models go into the run folder",
    "input_borders": "border_count and feature_border_type say how borders are made",
    "final_ctr_computation_mode": "predictions need what was learned of the categories",
    "force_unit_auto_pair_weights": "rows have no pairs",
    "bayesian_matrix_reg": "rows have no pairs",
    "used_ram_limit": "the memory limit is the workspace's",
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
OF_TASK = {
    "binary": ("Logloss", "CrossEntropy"),
    "multiclass": ("MultiClass", "MultiClassOneVsAll"),
}
OF_CLASSES = (
    *OF_TASK["binary"],
    *OF_TASK["multiclass"],
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
EXPONENTIAL = ("LogLinQuantile", "Poisson", "Tweedie")
"""With these losses the model is of the logarithm."""


@dataclass(frozen=True)
class CatBoostSpec:
    """A CatBoost model to train: its parameters by their primary names, without seed and number of rounds."""

    parameters: dict[str, Any]
    rounds: int
    patience: int
    transform: str
    version: str
    key_threads: int
    unweighted: bool = False
    per_fold: bool = False
    power: int = 0
    stops_by: str = ""

    def content(self) -> dict[str, Any]:
        """Return what decides the result; the number of threads may: sums are taken thread by thread."""
        return {
            "catboost": self.version,
            "parameters": self.parameters | {"thread_count": self.key_threads},
            "rounds": self.rounds,
            "patience": self.patience,
            "transform": self.transform,
            **({"rounds_by": "mean"} if self.patience and not self.per_fold else {}),
            **({"stops_by": "unweighted"} if self.unweighted else {}),
            **({"stops_by": self.stops_by} if self.stops_by else {}),
            **({"power": self.power} if self.power else {}),
        }

    def needs(self, problem: Problem, seeds: Sequence[int]) -> MemoryNeeds:
        """Foresee what the training takes at its peak."""
        return _needs(problem, seeds)

    def learner(self, problem: Problem, index: int) -> CatBoostLearner:
        """Return what trains the models of target number `index`."""
        return CatBoostLearner(problem, self, index)

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
        For a parameter that CatBoost does not know, one given twice, one that is not the user's, or a loss that does
        not fit the task.
    """
    import inspect

    library = request.library("catboost")
    parameter_names = [
        name for name in inspect.signature(library.CatBoostClassifier.__init__).parameters if name != "self"
    ]
    named = request.named(parameter_names, reserved=RESERVED, aliases=ALIASES)
    # Its usual learning rate depends on the number of rounds.
    max_rounds = rounds_limit(named.get("learning_rate")) if named.get("od_wait") != 0 else DEFAULT_ROUNDS
    rounds = request.integer(named.pop("iterations", max_rounds), "iterations", minimum=1)
    patience = request.integer(named.pop("od_wait", DEFAULT_PATIENCE), "early_stopping_rounds", minimum=0)
    fixed: dict[str, Any] = {"thread_count": request.n_threads, "allow_writing_files": False, "logging_level": "Silent"}
    _check_loss(request, named.get("loss_function"))
    parameters = fixed | {"loss_function": _usual_loss(request)} | named
    if request.task == "multiclass":
        parameters["classes_count"] = request.target.columns[0].width
    _check_effects(request, parameters, _try(request, parameters))
    # Where labels or ranked classes are scored, the weights are there to move the decision. CatBoost's AUC has none but
    # those of the rows.
    is_weighted = request.metric.name in (
        "logloss",
        "mlogloss",
        *(["auc"] if request.target.scoring_weight is not None else []),
    )
    unweighted = _weights_classes(parameters) and is_weighted and not is_decision(request.metric)
    power = 0 if "loss_function" in named else power_for(request.target, request.metric)
    return CatBoostSpec(
        parameters,
        rounds,
        patience,
        request.transform,
        library.__version__,
        request.key_threads,
        unweighted,
        per_fold=request.per_fold,
        power=power,
        stops_by=stops_by(request.metric, request.task, patience),
    )


def _weights_classes(parameters: dict[str, Any]) -> bool:
    """Say whether classes have weights, which CatBoost puts into its metrics, too."""
    weightings = (parameters.get("class_weights"), parameters.get("auto_class_weights", "None") != "None")
    return any(value not in (None, False) for value in weightings) or parameters.get("scale_pos_weight", 1) != 1


# Name -> which other parameters give it a meaning: name and values.
NEEDS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "min_data_in_leaf": ("grow_policy", ("Depthwise", "Lossguide")),
    "bagging_temperature": ("bootstrap_type", ("Bayesian",)),
    "mvs_reg": ("bootstrap_type", ("MVS",)),
    "fold_len_multiplier": ("boosting_type", ("Ordered",)),
    "diffusion_temperature": ("langevin", (True,)),
}
USUAL = {"min_data_in_leaf": 1, "bagging_temperature": 1, "fold_len_multiplier": 2}
"""CatBoost's own values, which take back what a base says."""

PENALTIES = ("first_feature_use_penalties", "per_object_feature_penalties")


def _check_effects(request: ModelRequest, parameters: dict[str, Any], effective: dict[str, Any]) -> None:
    """Refuse parameters that CatBoost accepts but ignores beside the others, by what it reports as `effective`."""
    merged = effective | parameters
    refused = []
    for name, (other, values) in NEEDS.items() if effective else ():  # else a value is refused, which the training says
        if name in parameters and parameters[name] != USUAL.get(name) and merged.get(other) not in values:
            needed = " or ".join(f'"{v}"' if isinstance(v, str) else str(v).lower() for v in values)
            refused.append(Refused(f"{name} does nothing without {other} = {needed}", "add it, or take the other out"))
    if parameters.get("penalties_coefficient", 1) != 1 and not any(parameters.get(name) for name in PENALTIES):
        refused.append(Refused(f"penalties_coefficient does nothing without {' or '.join(PENALTIES)}"))
    if "model_shrink_mode" in parameters and not parameters.get("model_shrink_rate"):
        refused.append(Refused("model_shrink_mode does nothing without model_shrink_rate"))
    refuse(refused, where=request.where)


# Of the columns or the classes, which a try on a few rows does not have.
NOT_TRIED = (
    *("monotone_constraints", "feature_weights", "first_feature_use_penalties", "per_object_feature_penalties"),
    *("per_float_feature_quantization", "input_borders", "class_weights", "ctr_description", "per_feature_ctr"),
)


def _try(request: ModelRequest, parameters: dict[str, Any]) -> dict[str, Any]:
    """Train one round on a few rows, to hear what CatBoost refuses only once there are data.

    Returns
    -------
    dict
        All parameters, with what CatBoost takes of those that are not given; nothing where it can't say.
    """
    import catboost

    n_rows, task = 32, request.task
    rows = np.arange(n_rows)
    label = rows % (3 if task == "multiclass" else 2) if task != "regression" else rows % 2 / 2 + 0.25
    tried = {k: v for k, v in parameters.items() if k not in NOT_TRIED}
    tried |= {"iterations": 1, "thread_count": 1} | ({"classes_count": 3} if task == "multiclass" else {})
    values = np.stack([rows, rows * 7 % 11], axis=1).astype(np.float32)
    try:
        model = catboost.CatBoost(tried).fit(catboost.Pool(values, label), log_cout=_Log(), log_cerr=_Log())
    except (catboost.CatBoostError, TypeError, ValueError) as exc:
        if "Can't parse parameter" in str(exc):  # a single value, which the training names as well
            return {}
        raise ConfigError(f"{request.where}: CatBoost refused it: {_message(exc)}", hint="check its values") from exc
    taken: dict[str, Any] = model.get_all_params()
    return taken


def _check_loss(request: ModelRequest, loss: Any) -> None:
    if loss is None:
        return
    name = loss.partition(":")[0] if isinstance(loss, str) else ""
    fits = name in OF_TASK[request.task] if request.task in OF_TASK else bool(name) and name not in OF_CLASSES
    if not fits:
        fitting = OF_TASK.get(request.task, ("RMSE", "MAE", "Quantile:alpha=0.5", "Huber:delta=1", "Poisson", "…"))
        raise ConfigError(
            f"{request.where} loss_function = {loss!r} does not fit task {request.task!r}",
            hint=f"one of: {', '.join(fitting)}",
        )


def _usual_loss(request: ModelRequest) -> str:
    """Return the default loss of the task: the one that the metric rewards, where CatBoost has it."""
    if request.task in OF_TASK:
        return OF_TASK[request.task][0]
    loss = loss_for(request.metric)
    if loss.kind == "quantile":
        return f"Quantile:alpha={loss.level:g}"
    # Its leaves of a median are those of rows that all weigh the same, where the weights go with the target they are
    # far off; on the scale of the logarithm the mean comes close to it.
    return "RMSE" if loss.kind == "squared" or loss.power else "MAE"


def _native_metric(target: FoldTarget, raw: Metric, loss: str, *, unweighted: bool = False) -> str | None:
    """Return CatBoost's name of the metric to stop by, or None where ours is to be called.

    Where classes have weights, CatBoost's metrics have them, too, unless they have no weights at all.
    """
    name = native_metric(SAME_METRIC, raw, target.column.task, target.transform)
    if loss in EXPONENTIAL or target.transform != "none":
        return None if loss in EXPONENTIAL else name
    if target.column.task == "binary" and name in ("RMSE", "MAE", "R2"):  # of CatBoost's raw values, not probabilities
        return None
    has_weights = target.problem.target.scoring_weight is not None
    if unweighted:
        return None if has_weights or loss == "MultiClassOneVsAll" or name is None else f"{name}:use_weights=false"
    if name == "AUC" and has_weights:
        # CatBoost hears of weights in a metric only where the train rows have some.
        return "AUC:use_weights=true" if target.problem.target.weight is not None else None
    return name if loss != "MultiClassOneVsAll" else None


# ------------------------------------------------------------------------------------------------------------ training


class CatBoostLearner(StoppingLearner[CatBoostSpec]):
    """Trains one target's models, each on the numbers of its own train rows."""

    def __init__(self, problem: Problem, spec: CatBoostSpec, index: int) -> None:
        weighs_classes = _weights_classes(spec.parameters)
        self.data = FoldData(
            FoldTarget(problem, index, spec.transform, power=spec.power, library_weighs_classes=weighs_classes)
        )
        self.index = index
        self.spec = spec
        self.each_round: Callable[[], None] = lambda: None
        self.native = _native_metric(self.data.target, problem.metric, spec.loss, unweighted=spec.unweighted)

    def training(self, fold: int, seed: int, state: TrainingState | None = None) -> CatBoostTraining:
        """Begin a fold's training, or take one up that was kept."""
        return CatBoostTraining(self, fold, seed, state)

    def model_of(self, fold: int, seed: int, rounds: int, enough: Callable[[float], bool]) -> tuple[Any, list[float]]:
        """Train until there are so many rounds, or until `enough`; return the model and its curve."""
        import catboost

        train_rows, valid_rows = self.data.split(fold)
        # Its usual learning rate depends on these, and is that of a model that stops early. No tree is left out.
        stopping: dict[str, Any] = {"iterations": self.spec.rounds, "use_best_model": bool(self.spec.patience)}
        if self.spec.patience:
            stopping |= {"best_model_min_trees": self.spec.rounds}
        # It can call back only where it works on the processor.
        calls = self.spec.parameters.get("task_type", "CPU") == "CPU"
        if not calls and self.spec.patience and rounds == self.spec.rounds:
            stopping |= {"od_type": "Iter", "od_wait": self.spec.patience}
        custom_metric = None if self.native else _OwnMetric(self.data.target, fold, self._as_fitted)
        model = catboost.CatBoost(
            self.spec.parameters | stopping | {"random_seed": seed, "eval_metric": custom_metric or self.native}
        )
        hook = _Rounds(self.each_round, self.native, rounds, enough)
        try:
            model.fit(
                self._pool(fold, train_rows, self.data.target.training_weights(fold, train_rows)),
                eval_set=self._pool(fold, valid_rows, self.data.target.validation_weights(fold, valid_rows)),
                callbacks=[hook] if calls else None,
                log_cout=_Log(),
                log_cerr=_Log(),
            )
        except catboost.CatBoostError:
            if custom_metric is None or custom_metric.raised is None:
                raise
            raise custom_metric.raised from None
        if hook.raised is not None:
            raise hook.raised
        return model, _curve(model, self.native)

    def result_of(self, model: catboost.CatBoost, fold: int, seed: int) -> FoldResult:
        """Return a model with its predictions."""
        text = as_json(model)

        def predict(frame: pl.DataFrame) -> Floats:
            raw = model.predict(
                self._as_pool(frame), prediction_type="RawFormulaVal", thread_count=self.spec.parameters["thread_count"]
            )
            return self._as_fitted(np.asarray(raw).reshape(len(frame), -1))

        return FoldResult(
            target=self.index,
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

    def _as_fitted(self, raw: Floats) -> Floats:
        """Turn CatBoost's raw values (n, width) into what was fitted: probabilities, or numbers."""
        if self.data.target.column.task == "binary" or self.spec.loss == "MultiClassOneVsAll":
            each: Floats = 1 / (1 + np.exp(-np.clip(raw, -700, 700)))
            if each.shape[1] > 1:
                each /= each.sum(axis=1, keepdims=True)
            return each
        if self.data.target.column.task == "multiclass":
            powers: Floats = np.exp(raw - raw.max(axis=1, keepdims=True))
            powers /= powers.sum(axis=1, keepdims=True)
            return powers
        numbers: Floats = np.exp(raw) if self.spec.loss in EXPONENTIAL else raw
        return numbers

    def _importance(self, model: catboost.CatBoost, text: str) -> dict[str, tuple[float, float]]:
        gain = model.get_feature_importance(type="PredictionValuesChange")
        splits = split_counts(json.loads(text), len(self.data.columns.names))
        return {n: (float(g), float(s)) for n, g, s in zip(self.data.columns.names, gain, splits, strict=True)}

    # ------------------------------------------------------------------------------------------------------ values

    def _pool(self, fold: int, rows: npt.NDArray[np.int64], weight: Floats | None) -> catboost.Pool:
        return self._as_pool(self.data.columns.frame(fold, rows), self.data.target.labels(fold, rows), weight)

    def _as_pool(self, frame: pl.DataFrame, label: Floats | None = None, weight: Floats | None = None) -> catboost.Pool:
        """Return a frame as CatBoost takes it: numbers in 32 bits, as it holds them, and -1 for a missing category.

        An infinite number is missing: at -inf CatBoost can't write its model, and of inf it reads back another one.
        """
        import catboost
        import pandas as pd

        codes = self.data.columns.categorical
        numbers = self.data.columns.as_float32(frame.select(pl.exclude(codes) if codes else pl.all()))
        columns = {s.name: _finite(s.to_numpy()) for s in numbers.get_columns()}
        columns |= {name: frame[name].cast(pl.Int64).fill_null(-1).to_numpy() for name in codes}
        columns = {name: columns[name] for name in frame.columns}
        values = pd.DataFrame(columns, copy=False)
        return catboost.Pool(values, label, weight=weight, cat_features=codes, feature_names=self.data.columns.names)


def _finite(values: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    infinite = np.isinf(values)
    return np.where(infinite, np.float32(np.nan), values) if infinite.any() else values


class _OwnMetric:
    """The competition's metric in CatBoost's terms: raw values in, the validated rows' alone looked at.

    What it raises is kept: from CatBoost comes an error that has it somewhere in its text.
    """

    def __init__(self, target: FoldTarget, fold: int, as_fitted: Callable[[Floats], Floats]) -> None:
        rows = target.valid_rows(fold)
        self.n_rows = len(rows)
        self.greater_is_better = target.stopping_metric.greater_is_better
        self.score = target.stopping_score(fold, rows, f"fold {fold}")
        self.as_fitted = as_fitted
        self.raised: BaseException | None = None

    def __deepcopy__(self, _: Any) -> _OwnMetric:
        # CatBoost copies its parameters, this with all the rows behind it; the copy would be the one that raises.
        return self

    def is_max_optimal(self) -> bool:
        return self.greater_is_better

    def get_final_error(self, error: float, weight: float) -> float:  # noqa: ARG002
        return error

    def evaluate(self, approxes: Sequence[Floats], target: Floats, weight: Any) -> tuple[float, float]:  # noqa: ARG002
        # It asks for the train rows too, at every round, for a curve that nobody looks at.
        if len(approxes[0]) != self.n_rows:
            return 0.0, 1.0
        try:
            return self.score(self.as_fitted(np.column_stack(approxes))), 1.0
        except BaseException as exc:
            self.raised = exc
            raise


class _Rounds:
    """Calls back after each round, and keeps what that raises: through CatBoost it would come as another error."""

    def __init__(
        self, each_round: Callable[[], None], native: str | None, rounds: int, enough: Callable[[float], bool]
    ) -> None:
        self.each_round, self.native, self.rounds, self.enough = each_round, native, rounds, enough
        self.raised: BaseException | None = None

    def after_iteration(self, info: Any) -> bool:
        try:
            self.each_round()
            values = _watched(info.metrics.get("validation", {}), self.native)
            return not self.enough(float(values[-1])) and len(values) < self.rounds
        except BaseException as exc:  # noqa: BLE001 raised again when CatBoost has let go
            self.raised = exc
        return False


class CatBoostTraining:
    """The training of one fold's model, which begins again where it has to be continued: CatBoost can't do that."""

    held = False

    def __init__(self, learner: CatBoostLearner, fold: int, seed: int, state: TrainingState | None = None) -> None:
        self.learner, self.fold, self.seed = learner, fold, seed
        self.curves: dict[str, list[float]] = {"valid": []} if state is None else state.curves
        self.seconds = 0.0 if state is None else state.seconds
        self._text = "" if state is None else state.model

    def state(self) -> TrainingState:
        """Return what is kept of it."""
        return TrainingState(self._text, self.curves, self.seconds)

    def release(self) -> None:
        """Do nothing: no rows are held."""

    def go_on(self, rounds: int, enough: Callable[[float], bool]) -> None:
        """Train until there are so many rounds, or until `enough`, called with each new value, says so."""
        started = time.perf_counter()
        with _errors(f"fold {self.fold}, seed {self.seed}"):
            model, curve = self.learner.model_of(self.fold, self.seed, rounds, enough)
            self._text, self.curves = as_json(model), {"valid": curve}
        self.seconds += time.perf_counter() - started

    def second(self, rounds: int, state: TrainingState | None = None) -> CatBoostTraining:  # noqa: ARG002 LightGBM has it
        """Return itself: there is no second model."""
        return self

    def result(self, rounds: int) -> FoldResult:
        """Return the model of so many rounds, with its predictions."""
        started = time.perf_counter()
        with _errors(f"fold {self.fold}, seed {self.seed}"):
            model = from_json(self._text)
            if rounds < model.tree_count_:
                model.shrink(ntree_end=rounds)
            fold_result = self.learner.result_of(model, self.fold, self.seed)
        return replace(fold_result, curve=self.curves, seconds=self.seconds + time.perf_counter() - started)


class _Log:
    """What CatBoost would print goes into the log."""

    def write(self, text: str) -> None:
        if text.strip():
            log.info("%s", text.strip())

    def flush(self) -> None:
        return


def as_json(model: catboost.CatBoost) -> str:
    """Return a model as CatBoost's JSON, without what is none of it: an id, the time, the scores of the training."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        content = json.loads(path.read_text(encoding="utf-8"))
    for key in ("model_guid", "train_finish_time", "training"):
        content.get("model_info", {}).pop(key, None)
    return json.dumps(content, separators=(",", ":"))


def from_json(text: str) -> catboost.CatBoost:
    """Return the model that `as_json` gave."""
    import catboost

    model = catboost.CatBoost()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        path.write_text(text, encoding="utf-8")
        model.load_model(str(path), format="json")
    return model


def _curve(model: catboost.CatBoost, native: str | None) -> list[float]:
    return [float(v) for v in _watched(model.get_evals_result().get("validation", {}), native)]


def _watched(of_valid: Mapping[str, Sequence[float]], native: str | None) -> Sequence[float]:
    watched = native if native in of_valid else next((n for n in of_valid if "OwnMetric" in n), None)
    return [] if watched is None else of_valid[watched]


def split_counts(model: dict[str, Any], n_columns: int) -> list[int]:
    """Count how often a model splits on each column; a combination of categories counts for each of them.

    Parameters
    ----------
    model : dict
        As CatBoost's JSON has it.
    n_columns : int

    Returns
    -------
    list of int (n_columns,)
    """
    info = model["features_info"]
    of_floats = {f["feature_index"]: f["flat_feature_index"] for f in info.get("float_features", [])}
    of_codes = {f["feature_index"]: f["flat_feature_index"] for f in info.get("categorical_features", [])}
    # A split's index counts the borders of all numbers, then the values of categories, then the borders of statistics.
    columns: list[list[int]] = []
    for f in info.get("float_features", []):
        columns += [[f["flat_feature_index"]]] * len(f["borders"] or [])
    for f in info.get("categorical_features", []):
        columns += [[f["flat_feature_index"]]] * len(f.get("values") or [])
    for ctr in info.get("ctrs", []):
        codes = [of_codes[e["cat_feature_index"]] for e in ctr["elements"] if "cat_feature_index" in e]
        floats = [of_floats[e["float_feature_index"]] for e in ctr["elements"] if "float_feature_index" in e]
        columns += [[*codes, *floats]] * len(ctr["borders"])
    counts = [0] * n_columns
    for split in _of_trees(model):
        for column in columns[split["split_index"]]:
            counts[column] += 1
    return counts


def _of_trees(node: Any) -> Iterator[dict[str, Any]]:
    """Give all splits of a model's trees, whatever their shape."""
    if isinstance(node, dict):
        if "split_type" in node:
            yield node
        for key in ("oblivious_trees", "trees", "splits", "split", "left", "right"):
            yield from _of_trees(node.get(key))
    elif isinstance(node, list):
        for item in node:
            yield from _of_trees(item)


def _message(exc: Exception) -> str:
    """Return a message of CatBoost without the place in its source."""
    line = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
    return re.sub(r"^\S+\.(cpp|h):\d+: ", "", line)


@contextmanager
def _errors(where: str) -> Iterator[None]:
    """Turn CatBoost's exceptions into ours, and its warnings into lines of the log, for the length of the block."""
    import catboost

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except catboost.CatBoostError as exc:
            raise TrainingError(
                f"CatBoost refused ({where}): {_message(exc)}", hint="check [catboost] in the experiment's file"
            ) from exc
        finally:
            for warning in caught:
                log.warning("%s: %s", where, str(warning.message).strip())


NUMBER_BYTES, CODE_BYTES = 8, 40
"""Of a value: a number in 32 bits, once read and once handed over; a code in 64 bits, its hash, its place among the
values, and the statistics of its category in each of the orders that rows are taken in."""

STATISTIC_BYTES, LEVEL_BYTES = 48, 600
"""What the statistics of categories take beside that, per row and per category: the hashes of combinations, tables of
the counts, and the model as JSON, which has them."""


def _needs(problem: Problem, seeds: Sequence[int]) -> MemoryNeeds:
    """Foresee what training takes at its peak.

    Counted are the values of the fold's rows, a byte for each bin of the numbers, what is known of each category, and
    per row what boosting in an order takes.
    """
    matrix = problem.matrix
    n_codes = len(matrix.categories)
    n_columns = column_counts(problem).all
    of_row = (n_columns - n_codes) * NUMBER_BYTES + n_codes * CODE_BYTES + STATISTIC_BYTES * bool(n_codes)
    chunk_bytes = 0 if matrix.loaded_frame is not None else min(CHUNK_ROWS, matrix.n_rows) * n_columns * 16
    return foreseen(
        problem,
        seeds,
        of_fold=matrix.n_train * of_row,
        passing=chunk_bytes + LEVEL_BYTES * sum(map(len, matrix.categories.values())),
        row_bytes=64,
        output_bytes=96,
    )
