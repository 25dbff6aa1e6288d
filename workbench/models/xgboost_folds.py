"""XGBoost behind the contract of a learner: its quantile datasets are built from the columns chunk by chunk."""

from __future__ import annotations

import json
import logging
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import ConfigError, TrainingError, did_you_mean
from workbench.features import CHUNK_ROWS, missing_share
from workbench.models.column_parameters import resolve_columns
from workbench.models.fold_cache import FoldCache
from workbench.models.fold_data import FoldData, FoldTarget
from workbench.models.losses import loss_for, power_for
from workbench.models.memory_estimate import LibraryMemory, MemoryEstimate, estimate_memory, total_bins, training_widths
from workbench.models.model_request import ModelRequest
from workbench.models.parameter_problems import RejectedParameter, reject_parameters
from workbench.models.records import FoldResult, Problem, TrainingState
from workbench.models.rounds import DEFAULT_PATIENCE, DEFAULT_ROUNDS, EarlyStoppingLearner, default_max_rounds
from workbench.models.stopping_metrics import native_metric, proxy_for_key

if TYPE_CHECKING:
    import xgboost as xgb

__all__ = ["XGBoostLearner", "XGBoostSpec", "xgboost_spec"]

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
log = logging.getLogger("workbench.models")

# XGBoost's default of 0.3 suits its default of few rounds; with early stopping smaller steps are affordable.
DEFAULTS: dict[str, Any] = {"eta": 0.1, "tree_method": "hist"}

ALIASES = {
    "learning_rate": "eta",
    "min_split_loss": "gamma",
    "reg_lambda": "lambda",
    "reg_alpha": "alpha",
    "random_state": "seed",
    "n_jobs": "nthread",
    "n_estimators": "num_boost_round",
    "num_round": "num_boost_round",
    "num_iterations": "num_boost_round",
    "early_stopping_round": "early_stopping_rounds",
    "verbose": "verbosity",
}

RESERVED = {
    "eval_metric": "the competition's metric is used",
    "num_class": "the number of classes comes from the target",
    "num_target": "each target has a model of its own",
    "seed": "put the seeds into the experiment: seeds = [1, 2, 3]",
    "nthread": "use --threads",
    "verbosity": "its messages go into the run's log",
    "validate_parameters": "they are always checked",
    "disable_default_eval_metric": "the competition's metric is used",
    "enable_categorical": 'put the columns into the experiment: categorical = ["…"]',
    "process_type": "every run starts afresh",
    "missing": "missing values are null",
    "updater": "tree_method chooses how trees are built",
    "refresh_leaf": "every run starts afresh",
    "debug_synchronize": "one machine trains",
    "max_cached_hist_node": "it affects the run time only",
    "sparse_threshold": "it affects the run time only",
    "fail_on_invalid_gpu_id": "a device that is not there is always refused",
    "gpu_id": 'device = "cuda:0" selects where it trains',
    "predictor": "device selects where it trains and predicts",
    "silent": "its messages go into the run's log",
    "importance_type": "the run's importance has gain and splits",
    "use_label_encoder": "the classes come from the target",
}

# Left out of the probe, which has other columns.
COLUMN_PARAMETERS = ("monotone_constraints", "interaction_constraints")

# Parameters that XGBoost lists in its configuration only if they are used.
UNLISTED_PARAMETERS = {"num_boost_round", "early_stopping_rounds", "objective", "booster", *COLUMN_PARAMETERS}

# Our metric's name -> XGBoost's, where both compute the same number. Its aucpr interpolates, and its mape is infinite
# where a target is 0, unlike ours.
SAME_METRIC = {"auc": "auc", "rmse": "rmse", "mae": "mae", "logloss": "logloss", "mlogloss": "mlogloss"}

CHANGED_VALUE = re.compile(
    r"is changed|falling back|fall back|No visible GPU|setting device|will be ignored|ignored", re.I
)
"""Matches XGBoost's warnings that it uses another value than the one set."""

OBJECTIVES_BY_TASK = {
    "binary": ("binary:logistic", "reg:logistic"),
    "multiclass": ("multi:softprob",),
    "regression": ("reg:", "count:", "survival:"),
}


@dataclass(frozen=True)
class XGBoostSpec:
    """The settings of an XGBoost model: parameters by their primary names, without seed and number of rounds."""

    parameters: dict[str, Any]
    rounds: int
    patience: int
    transform: str
    version: str
    where: str
    rounds_per_fold: bool = False
    power: int = 0
    proxy_metric: str = ""

    def content(self) -> dict[str, Any]:
        """Return everything that determines the result, for the run's key; the number of threads does not."""
        parameters = {k: v for k, v in self.parameters.items() if k != "nthread"}
        return {
            "xgboost": self.version,
            "parameters": parameters,
            "rounds": self.rounds,
            "patience": self.patience,
            "transform": self.transform,
            **({"rounds_by": "mean"} if self.patience and not self.rounds_per_fold else {}),
            **({"stops_by": self.proxy_metric} if self.proxy_metric else {}),
            **({"power": self.power} if self.power else {}),
        }

    def memory_estimate(self, problem: Problem, seeds: Sequence[int]) -> MemoryEstimate:
        """Estimate the memory of the training at its peak."""
        return _memory_estimate(problem, self.parameters, seeds)

    def learner(self, problem: Problem, target_index: int) -> XGBoostLearner:
        """Return the learner of target number `target_index`."""
        return XGBoostLearner(problem, self, target_index)


# --------------------------------------------------------------------------------------------------------- parameters


def xgboost_spec(request: ModelRequest) -> XGBoostSpec:
    """Check the ``[xgboost]`` table of an experiment and complete it.

    Raises
    ------
    ConfigError
        For parameters that are unknown, unused, duplicates or reserved, invalid values, and an objective that does not
        fit the task.
    """
    library = request.library("xgboost")
    parameters: dict[str, Any] = {"verbosity": 1, "validate_parameters": True, "nthread": request.n_threads}
    named = request.named({*request.table, *RESERVED}, reserved=RESERVED, aliases=ALIASES)
    can_stop_early = _keeps_trees(named)
    stops_early = can_stop_early and named.get("early_stopping_rounds") != 0
    default_rounds = default_max_rounds(named.get("eta", DEFAULTS["eta"])) if stops_early else DEFAULT_ROUNDS
    rounds = request.integer(named.pop("num_boost_round", default_rounds), "num_boost_round", minimum=1)
    default_patience = DEFAULT_PATIENCE if can_stop_early else 0
    patience = request.integer(named.pop("early_stopping_rounds", default_patience), "early_stopping_rounds", minimum=0)
    if patience and not can_stop_early:
        raise ConfigError(
            f"{request.where} early_stopping_rounds = {patience}: booster = {named['booster']!r} changes earlier "
            "rounds, so that the model of the best round is lost",
            hint="set num_boost_round alone",
        )
    defaults = {k: v for k, v in DEFAULTS.items() if k != "tree_method" or named.get("booster") != "gblinear"}
    parameters |= defaults | _objective(request, named.get("objective")) | named
    if request.task == "multiclass":
        parameters["num_class"] = request.target.columns[0].width
    reject_parameters(_without_effect(request, named), where=request.where)
    _check_by_training(request, parameters)
    power = 0 if "objective" in named else power_for(request.target, request.metric)
    return XGBoostSpec(
        parameters,
        rounds,
        patience,
        request.transform,
        library.__version__,
        request.where,
        rounds_per_fold=request.rounds_per_fold,
        power=power,
        proxy_metric=proxy_for_key(request.metric, request.task, patience),
    )


# Parameters without effect with tree_method = "exact" -> XGBoost's default.
UNUSED_BY_EXACT: dict[str, Any] = {"max_bin": 256, "max_leaves": 0, "grow_policy": "depthwise"}


def _without_effect(request: ModelRequest, named: dict[str, Any]) -> list[RejectedParameter]:
    """Return the parameters that XGBoost accepts silently but does not use together with the others."""
    rejected = []
    if named.get("scale_pos_weight", 1) != 1 and request.task != "binary":
        rejected.append(RejectedParameter(f"scale_pos_weight is for two classes; the task is {request.task!r}"))
    if named.get("tree_method") == "exact":
        rejected += [
            RejectedParameter(
                f'{key} = {named[key]!r} does nothing with tree_method = "exact"', 'tree_method = "hist" has it'
            )
            for key, default in UNUSED_BY_EXACT.items()
            if named.get(key, default) != default
        ]
    if named.get("sampling_method", "uniform") != "uniform" and named.get("subsample", 1) == 1:
        rejected.append(
            RejectedParameter("sampling_method does nothing without subsample below 1", "add subsample = 0.5")
        )
    if named.get("multi_strategy") == "multi_output_tree" and request.task != "multiclass":
        rejected.append(
            RejectedParameter(f"multi_strategy does nothing here: the task is {request.task!r}", "remove it")
        )
    return rejected


def _keeps_trees(named: dict[str, Any]) -> bool:
    """Return whether later rounds leave earlier trees unchanged, as early stopping requires."""
    return bool(named.get("booster", "gbtree") == "gbtree")


def _objective(request: ModelRequest, objective: Any) -> dict[str, Any]:
    """Check the objective, or return the default one for the task and the metric as parameters."""
    if objective is not None:
        if not isinstance(objective, str) or not objective.startswith(OBJECTIVES_BY_TASK[request.task]):
            valid = ", ".join(f"{name}…" if name.endswith(":") else name for name in OBJECTIVES_BY_TASK[request.task])
            raise ConfigError(
                f"{request.where} objective = {objective!r} does not fit task {request.task!r}",
                hint=f"one of: {valid}",
            )
        return {}
    if request.task != "regression":
        return {"objective": OBJECTIVES_BY_TASK[request.task][0]}
    loss = loss_for(request.metric)
    if loss.kind == "quantile":
        return {"objective": "reg:quantileerror", "quantile_alpha": loss.level}
    return {"objective": "reg:squarederror" if loss.kind == "squared" else "reg:absoluteerror"}


def _check_by_training(request: ModelRequest, parameters: dict[str, Any]) -> None:
    """Train a round on a few rows and reject unknown parameters, of which XGBoost only warns, and invalid values."""
    width = request.target.columns[0].width
    n_rows = max(8, width)
    # Every objective for numbers accepts labels between 0 and 1, whatever sign it requires.
    rows = np.arange(n_rows, dtype=np.float64)
    label = rows % width if request.task == "multiclass" else rows % 2 / 2 + 0.25
    values = np.arange(2 * n_rows, dtype=np.float32).reshape(n_rows, 2)
    probed = {k: v for k, v in parameters.items() if k not in COLUMN_PARAMETERS} | {"nthread": 1}
    unused, problem = _probe(values, label, probed)
    if unused:
        used = {k: v for k, v in probed.items() if k not in unused}
        parameter_names = {*_configured(values, label, used), *UNLISTED_PARAMETERS, *ALIASES} - {*RESERVED}
        settings = f"booster = {parameters.get('booster', 'gbtree')!r} and objective = {parameters['objective']!r}"
        rejected = [
            RejectedParameter(
                f"has a key {key!r} that XGBoost does not know, or does not use with {settings}",
                did_you_mean(key, parameter_names, kind="key"),
            )
            for key in request.table
            if ALIASES.get(key, key) in unused
        ]
        reject_parameters(rejected, where=request.where)
    if problem:
        raise ConfigError(f"{request.where}: XGBoost rejected it: {problem}", hint="check its value")


def _probe(values: Singles, label: Floats, parameters: dict[str, Any]) -> tuple[set[str], str]:
    """Train one round; return the parameters that it reports as unused, and its error or warning, else ""."""
    import xgboost as xgb

    problem = ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            xgb.train(parameters, xgb.DMatrix(values, label, nthread=1), num_boost_round=1)
        except (xgb.core.XGBoostError, TypeError, ValueError) as exc:
            problem = _message(exc)
    unused: set[str] = set()
    for warning in caught:
        match = re.search(r"Parameters: \{ (.*?) \} are not used", str(warning.message))
        unused |= set(re.findall(r'"([^"]+)"', match[1])) if match else set()
        if CHANGED_VALUE.search(str(warning.message)):
            problem = problem or _message(warning.message)
    return unused, problem


def _configured(values: Singles, label: Floats, parameters: dict[str, Any]) -> set[str]:
    """Return the parameters that XGBoost has with these settings, used or not."""
    import xgboost as xgb

    booster = xgb.train(parameters | {"verbosity": 0}, xgb.DMatrix(values, label, nthread=1), num_boost_round=1)
    return set(_parameter_names(json.loads(booster.save_config())["learner"]))


def _parameter_names(config: Any, section: str = "") -> Iterator[str]:
    """Yield the keys of the sections of parameters in XGBoost's nested configuration."""
    for key, value in config.items() if isinstance(config, dict) else ():
        if isinstance(value, dict):
            yield from _parameter_names(value, key)
        elif section.endswith("_param") and "model" not in section:
            yield key


# ------------------------------------------------------------------------------------------------------------ training


class XGBoostLearner(EarlyStoppingLearner[XGBoostSpec]):
    """Trains one target's models, each on quantiles of the fold's train rows."""

    def __init__(self, problem: Problem, spec: XGBoostSpec, target_index: int) -> None:
        weights_classes = spec.parameters.get("scale_pos_weight", 1) != 1
        self.data = FoldData(
            FoldTarget(problem, target_index, spec.transform, power=spec.power, library_weights_classes=weights_classes)
        )
        self.target_index = target_index
        self.spec = spec
        self.each_round: Callable[[], None] = lambda: None
        self.native_metric = native_metric(SAME_METRIC, problem.metric, self.data.target.column.task, spec.transform)
        self.safe_names = _safe_names(self.data.columns.names)
        self._datasets_by_fold: FoldCache[tuple[xgb.DMatrix, xgb.DMatrix]] = FoldCache(problem.folds.n_folds)
        self.parameters = spec.parameters | self._constraints()
        if self.native_metric:
            self.parameters["eval_metric"] = self.native_metric
        else:
            self.parameters["disable_default_eval_metric"] = True

    def _constraints(self) -> dict[str, Any]:
        """Return the constraints by column position, in XGBoost's formats."""
        constraints = {key: self.spec.parameters[key] for key in COLUMN_PARAMETERS if key in self.spec.parameters}
        by_index = resolve_columns(
            constraints,
            self.data.columns.names,
            self.data.columns.categorical,
            where=self.spec.where,
            group_unlisted=False,
        )
        if "monotone_constraints" in by_index:
            by_index["monotone_constraints"] = tuple(int(value) for value in by_index["monotone_constraints"])
        if "interaction_constraints" in by_index:
            by_index["interaction_constraints"] = json.dumps(by_index["interaction_constraints"])
        return by_index

    def training(self, fold: int, seed: int, state: TrainingState | None = None) -> XGBoostTraining:
        """Return a fold's training, new or from a saved state."""
        return XGBoostTraining(self, fold, seed, state)

    def datasets(self, fold: int) -> tuple[xgb.DMatrix, xgb.DMatrix]:
        """Return the datasets of a fold's train rows and of its validation rows."""
        if self.data.keeps_datasets:
            return self._datasets_by_fold.get(fold, lambda: self._make_datasets(fold))
        return self._make_datasets(fold)

    def _make_datasets(self, fold: int) -> tuple[xgb.DMatrix, xgb.DMatrix]:
        train_rows, valid_rows = self.data.split(fold)
        train_codes = self._train_codes(fold, train_rows)
        train_set = self._dataset(fold, train_rows, train_codes, self.data.target.training_weights(fold, train_rows))
        return train_set, self._dataset(
            fold, valid_rows, train_codes, self.data.target.validation_weights(fold, valid_rows), train_set
        )

    def custom_metric(self, fold: int) -> Callable[[npt.NDArray[Any]], float] | None:
        """Return a function that scores predictions of the validation rows; None where XGBoost has the metric."""
        if self.native_metric:
            return None
        rows = self.data.target.valid_rows(fold)
        score = self.data.target.stopping_score(fold, rows, f"fold {fold}")
        return lambda predictions: score(np.asarray(predictions, np.float64).reshape(len(rows), -1))

    def result_of(self, booster: xgb.Booster, fold: int, seed: int, rounds: int) -> FoldResult:
        """Return the model of this many rounds with its predictions."""
        train_rows, valid_rows = self.data.split(fold)
        train_codes = self._train_codes(fold, train_rows)
        if self.spec.patience:
            booster = booster[:rounds]
        booster.set_param({"nthread": self.parameters["nthread"]})

        def predict(frame: pl.DataFrame) -> npt.NDArray[Any]:
            return self._predict(booster, self._values(frame, train_codes))

        return FoldResult(
            target=self.target_index,
            fold=fold,
            seed=seed,
            oof=self.data.predictions(fold, valid_rows, predict),
            test=self.data.predictions(fold, self.data.test_rows, predict),
            model=bytes(booster.save_raw("json")).decode(),
            rounds=rounds,
            seconds=0.0,
            importance=self._importance(booster),
            suffix="json",
            notes=self.data.target.notes(fold),
        )

    def _importance(self, booster: xgb.Booster) -> dict[str, tuple[float, float]]:
        if self.parameters.get("booster") == "gblinear":
            return {}
        gain: dict[str, Any] = booster.get_score(importance_type="total_gain")
        splits: dict[str, Any] = booster.get_score(importance_type="weight")
        pairs = zip(self.data.columns.names, self.safe_names, strict=True)
        return {name: (float(gain.get(safe, 0.0)), float(splits.get(safe, 0.0))) for name, safe in pairs}

    # ------------------------------------------------------------------------------------------------------ values

    def _dataset(
        self,
        fold: int,
        rows: npt.NDArray[np.int64],
        train_codes: dict[str, pl.Series],
        weight: Floats | None,
        reference: xgb.DMatrix | None = None,
    ) -> xgb.DMatrix:
        """Return a dataset of some rows: quantiles, built chunk by chunk, where the tree method can use them."""
        import xgboost as xgb

        column_options: dict[str, Any] = {"feature_names": self.safe_names, "feature_types": self._types()}
        threads = self.parameters["nthread"]
        label = self.data.target.labels(fold, rows)
        if self.parameters.get("tree_method") not in ("hist", "auto"):
            values = self._values(self.data.columns.frame(fold, rows), train_codes)
            return xgb.DMatrix(values, label, weight=weight, nthread=threads, enable_categorical=True, **column_options)
        learner = self

        class ChunkIterator(xgb.DataIter):
            """Passes the columns, labels and weights to XGBoost chunk by chunk."""

            def __init__(self) -> None:
                super().__init__()
                self.chunks = learner.data.columns.chunks(fold, rows)

            def next(self, input_data: Callable[..., Any]) -> bool:
                row_slice, frame = next(self.chunks, (None, None))
                if row_slice is None or frame is None:
                    return False
                chunk_weight = None if weight is None else weight[row_slice]
                values = learner._values(frame, train_codes)
                input_data(data=values, label=label[row_slice], weight=chunk_weight, **column_options)
                return True

            def reset(self) -> None:
                self.chunks = learner.data.columns.chunks(fold, rows)

        max_bin = self.parameters.get("max_bin", 256)
        return xgb.QuantileDMatrix(
            ChunkIterator(), max_bin=max_bin, ref=reference, nthread=threads, enable_categorical=True
        )

    def _types(self) -> list[str]:
        return ["c" if name in self.data.columns.categorical else "q" for name in self.data.columns.names]

    def _train_codes(self, fold: int, train_rows: npt.NDArray[np.int64]) -> dict[str, pl.Series]:
        """Return the codes that occur in the fold's train rows, by column.

        XGBoost 3.2 treats a code that train rows lack as the next one in validation data that is binned by them, but as
        missing in predictions. Here such codes are set to missing everywhere.
        """
        codes_by_column: dict[str, pl.Series] = {}
        for _, frame in self.data.columns.chunks(fold, train_rows) if self.data.columns.categorical else ():
            for name in self.data.columns.categorical:
                chunk_codes = frame[name].unique().drop_nulls()
                codes_by_column[name] = (
                    pl.concat([codes_by_column[name], chunk_codes]).unique() if name in codes_by_column else chunk_codes
                )
        return {name: codes.sort() for name, codes in codes_by_column.items()}

    def _values(self, frame: pl.DataFrame, train_codes: dict[str, pl.Series]) -> Singles:
        masked = [
            pl.when(pl.col(n).is_in(codes.implode())).then(pl.col(n)).alias(n) for n, codes in train_codes.items()
        ]
        values: Singles = self.data.columns.as_float32(frame.with_columns(masked)).to_numpy(order="c", writable=True)
        values[np.isinf(values)] = np.nan  # XGBoost rejects infinite values
        return values

    def _predict(self, booster: xgb.Booster, values: Singles) -> npt.NDArray[Any]:
        import xgboost as xgb

        if self.parameters.get("booster") == "gblinear":  # it can't predict from an array
            names, types = self.safe_names, self._types()
            predictions: npt.NDArray[Any] = booster.predict(
                xgb.DMatrix(values, feature_names=names, feature_types=types, enable_categorical=True)
            )
            return predictions
        inplace_predictions: npt.NDArray[Any] = booster.inplace_predict(values)
        return inplace_predictions


class XGBoostTraining:
    """The training of one fold's model, which can be continued as long as its datasets are in memory."""

    def __init__(self, learner: XGBoostLearner, fold: int, seed: int, state: TrainingState | None = None) -> None:
        self.learner, self.fold, self.seed = learner, fold, seed
        self.curves: dict[str, list[float]] = {"valid": []} if state is None else state.curves
        self.seconds = 0.0 if state is None else state.seconds
        self._text = "" if state is None else state.model
        self._booster: xgb.Booster | None = None
        self._datasets: tuple[xgb.DMatrix, xgb.DMatrix] | None = None
        self._metric: Callable[[npt.NDArray[Any]], float] | None = None

    @property
    def can_continue(self) -> bool:
        """Whether it continues from its last round; else it starts again."""
        return self._booster is not None or not self.curves["valid"]

    def state(self) -> TrainingState:
        """Return the state to save."""
        return TrainingState(self._as_text(), self.curves, self.seconds)

    def release(self) -> None:
        """Free the datasets, and keep the trees."""
        self._text = self._as_text()
        self._booster = self._datasets = self._metric = None

    def _as_text(self) -> str:
        return self._text if self._booster is None else bytes(self._booster.save_raw("json")).decode()

    def train_to(self, rounds: int, should_stop: Callable[[float], bool]) -> None:
        """Train up to this many rounds, or until `should_stop` returns True for the metric of a new round."""
        started_at = time.perf_counter()
        with _errors(f"fold {self.fold}, seed {self.seed}"):
            booster, (train_set, valid_set) = self._start()
            curve = self.curves["valid"]
            while len(curve) < rounds:
                booster.update(train_set, len(curve))
                curve.append(self._evaluate(booster, valid_set))
                self.learner.each_round()
                if should_stop(curve[-1]):
                    break
        self.seconds += time.perf_counter() - started_at

    def _evaluate(self, booster: xgb.Booster, valid_set: xgb.DMatrix) -> float:
        if self._metric is None:
            evaluation = booster.eval_set([(valid_set, "valid")], len(self.curves["valid"]))
            return float(evaluation.split()[1].rpartition(":")[2])
        # `eval_set` would pass raw scores, and round the metric to six digits.
        return self._metric(booster.predict(valid_set, training=False))

    def _start(self) -> tuple[xgb.Booster, tuple[xgb.DMatrix, xgb.DMatrix]]:
        """Return the booster and its datasets, made on the first call and after `release`."""
        import xgboost as xgb

        if self._booster is None or self._datasets is None:
            self.curves = {"valid": []}
            self._datasets, self._metric = self.learner.datasets(self.fold), self.learner.custom_metric(self.fold)
            seed_parameters: dict[str, Any] = {"seed": self.seed}
            if self.learner.shared_stopping is not None:
                # Boosters share one random generator: folds trained in turn would change each other's samples.
                seed_parameters["seed_per_iteration"] = True
            self._booster = xgb.Booster(self.learner.parameters | seed_parameters, list(self._datasets))
        return self._booster, self._datasets

    def second_stage(self, rounds: int, state: TrainingState | None = None) -> XGBoostTraining:  # noqa: ARG002 part of the protocol
        """Return itself: there is no second model."""
        return self

    def result(self, rounds: int) -> FoldResult:
        """Return the model of this many rounds, with its predictions."""
        import xgboost as xgb

        started_at = time.perf_counter()
        with _errors(f"fold {self.fold}, seed {self.seed}"):
            booster = xgb.Booster(model_file=bytearray(self._as_text().encode()))
            fold_result = self.learner.result_of(booster, self.fold, self.seed, rounds)
        return replace(fold_result, curve=self.curves, seconds=self.seconds + time.perf_counter() - started_at)


def _safe_names(names: Sequence[str]) -> list[str]:
    """Return unique names without the characters that XGBoost rejects."""
    safe = [re.sub(r"[\[\]<]", "_", name) for name in names]
    return [f"{name}_{i}" for i, name in enumerate(safe)] if len(set(safe)) < len(safe) else safe


def _message(exc: Exception | Warning | str) -> str:
    """Return the first line of a message of XGBoost, without time and source location."""
    text = str(exc).partition("\nStack trace")[0]
    line = (
        re.sub(r"^\[[\d:]+\] (WARNING: )?\S+:\d+: ", "", text.strip()).strip().splitlines() or [type(exc).__name__]
    )[0]
    return line.strip()


@contextmanager
def _errors(where: str) -> Iterator[None]:
    """Turn XGBoost's exceptions into TrainingErrors, and log its warnings."""
    import xgboost as xgb

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except xgb.core.XGBoostError as exc:
            raise TrainingError(
                f"XGBoost failed ({where}): {_message(exc)}", hint="check [xgboost] in the experiment's file"
            ) from exc
        finally:
            for warning in caught:
                log.warning("%s: %s", where, str(warning.message).strip())


HISTOGRAM_ENTRY_BYTES = 16
"""The sums of gradients and hessians of a bin."""

CATEGORY_BYTES = 600
"""What a category takes besides, as measured: the sets in which categories are collected, and the model's."""

MIN_ROWS_OF_NODE = 8
"""Rows of a node that is split, on average, where nothing limits the tree."""


def _memory_estimate(problem: Problem, parameters: dict[str, Any], seeds: Sequence[int]) -> MemoryEstimate:
    """Estimate the memory of the training at its peak.

    Counted is each value's bin twice, by row and by column; without ``hist`` the numbers themselves. If any value is
    missing, XGBoost stores the bins by row as a sparse matrix: in 32 bits, without the missing ones. A histogram is
    kept for every node of a tree, and each thread has its own for the nodes that it works on.
    """
    folds, n_columns = problem.folds, training_widths(problem).total
    n_train = max(len(folds.train_rows(k)) for k in range(folds.n_folds))
    n_valid = max(len(folds.valid_rows(k)) for k in range(folds.n_folds))
    is_binned = parameters.get("tree_method") in ("hist", "auto")
    max_bin = int(parameters.get("max_bin", 256))
    most_bins = max([max_bin, *map(len, problem.matrix.categories.values())])
    dense_bytes = 1 if most_bins <= 256 else 2 if most_bins <= 2**16 else 4
    share_missing = missing_share(problem.matrix) if is_binned else 0.0
    row_index_bytes = 4 * (1 - share_missing) + 1 / 8 if share_missing else dense_bytes
    bytes_per_value = row_index_bytes + dense_bytes if is_binned else 8
    n_categories = sum(map(len, problem.matrix.categories.values()))
    histogram_bytes = _max_histograms(parameters, n_train) * total_bins(problem, max_bin) * HISTOGRAM_ENTRY_BYTES
    return estimate_memory(
        problem,
        seeds,
        LibraryMemory(
            fold_bytes=(n_train + n_valid) * n_columns * bytes_per_value,
            temporary_bytes=min(CHUNK_ROWS, n_train) * n_columns * 16 + histogram_bytes + CATEGORY_BYTES * n_categories,
            bytes_per_row=40,
            bytes_per_prediction=24,
            storage="bins" if is_binned else "numbers",
        ),
    )


def _max_histograms(parameters: dict[str, Any], n_train: int) -> int:
    """Return the number of histograms in memory at once, those of each thread included."""
    max_depth, max_leaves = int(parameters.get("max_depth", 6)), int(parameters.get("max_leaves", 0))
    n_nodes = max(1, min(2**max_depth if max_depth else n_train, max_leaves or n_train, n_train // MIN_ROWS_OF_NODE))
    # Of two siblings one histogram is built; the other is the difference from the parent's.
    return n_nodes + int(parameters["nthread"]) * (n_nodes // 4)
