"""XGBoost behind the contract of a learner: columns go to it a chunk at a time, and what it gets is quantiles."""

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

from workbench.core.errors import ConfigError, TrainingError, near
from workbench.features import CHUNK_ROWS, missing_share
from workbench.models.column_parameters import by_position
from workbench.models.fold_data import FoldData, FoldTarget
from workbench.models.losses import loss_for, power_for
from workbench.models.memory_estimate import MemoryNeeds, column_counts, foreseen, n_bins
from workbench.models.model_request import ModelRequest
from workbench.models.parameter_problems import Refused, refuse
from workbench.models.records import FoldResult, Problem, TrainingState
from workbench.models.rounds import DEFAULT_PATIENCE, DEFAULT_ROUNDS, StoppingLearner, rounds_limit
from workbench.models.stopping_metrics import native_metric, stops_by

if TYPE_CHECKING:
    import xgboost as xgb

__all__ = ["XGBoostLearner", "XGBoostSpec", "xgboost_spec"]

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
log = logging.getLogger("workbench.models")

# XGBoost's own 0.3 is made for a hundred rounds; with early stopping there is time for smaller steps.
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
    "verbosity": "what it says goes into the run's log",
    "validate_parameters": "they are always checked",
    "disable_default_eval_metric": "the competition's metric is used",
    "enable_categorical": 'put the columns into the experiment: categorical = ["…"]',
    "process_type": "every run starts afresh",
    "missing": "null is what is missing",
    "updater": "tree_method chooses how trees are built",
    "refresh_leaf": "every run starts afresh",
    "debug_synchronize": "one machine trains",
    "max_cached_hist_node": "it changes nothing but the time",
    "sparse_threshold": "it changes nothing but the time",
    "fail_on_invalid_gpu_id": "a device that is not there is always refused",
    "gpu_id": 'device = "cuda:0" says where it trains',
    "predictor": "device says where it trains and predicts",
    "silent": "what it says goes into the run's log",
    "importance_type": "the run's importance has gain and splits",
    "use_label_encoder": "the classes come from the target",
}

# Of the columns, which a try on eight rows does not have.
OF_COLUMNS = ("monotone_constraints", "interaction_constraints")

# Names that XGBoost does not list in its configuration unless they are used.
UNLISTED_PARAMETERS = {"num_boost_round", "early_stopping_rounds", "objective", "booster", *OF_COLUMNS}

# Our metric's name -> XGBoost's, where both compute the same number. Its aucpr interpolates, and
# its mape is infinite where a target is 0; ours do not and is not.
SAME_METRIC = {"auc": "auc", "rmse": "rmse", "mae": "mae", "logloss": "logloss", "mlogloss": "mlogloss"}

CHANGED = re.compile(r"is changed|falling back|fall back|No visible GPU|setting device|will be ignored|ignored", re.I)
"""What XGBoost's warnings say where it takes another value than the one given."""

FITTING = {
    "binary": ("binary:logistic", "reg:logistic"),
    "multiclass": ("multi:softprob",),
    "regression": ("reg:", "count:", "survival:"),
}


@dataclass(frozen=True)
class XGBoostSpec:
    """An XGBoost model to train: its parameters by their primary names, without seed and number of rounds."""

    parameters: dict[str, Any]
    rounds: int
    patience: int
    transform: str
    version: str
    where: str
    per_fold: bool = False
    power: int = 0
    stops_by: str = ""

    def content(self) -> dict[str, Any]:
        """Return what decides the result: the number of threads does not."""
        parameters = {k: v for k, v in self.parameters.items() if k != "nthread"}
        return {
            "xgboost": self.version,
            "parameters": parameters,
            "rounds": self.rounds,
            "patience": self.patience,
            "transform": self.transform,
            **({"rounds_by": "mean"} if self.patience and not self.per_fold else {}),
            **({"stops_by": self.stops_by} if self.stops_by else {}),
            **({"power": self.power} if self.power else {}),
        }

    def needs(self, problem: Problem, seeds: Sequence[int]) -> MemoryNeeds:
        """Foresee what the training takes at its peak."""
        return _needs(problem, self.parameters, seeds)

    def learner(self, problem: Problem, index: int) -> XGBoostLearner:
        """Return what trains the models of target number `index`."""
        return XGBoostLearner(problem, self, index)


# --------------------------------------------------------------------------------------------------------- parameters


def xgboost_spec(request: ModelRequest) -> XGBoostSpec:
    """Check the ``[xgboost]`` table of an experiment and complete it.

    Raises
    ------
    ConfigError
        For a parameter that XGBoost does not know or use, one given twice, one that is not the user's, a value that it
        can't read, or an objective that does not fit the task.
    """
    library = request.library("xgboost")
    parameters: dict[str, Any] = {"verbosity": 1, "validate_parameters": True, "nthread": request.n_threads}
    named = request.named({*request.table, *RESERVED}, reserved=RESERVED, aliases=ALIASES)
    keeps = _keeps_trees(named)
    stops = keeps and named.get("early_stopping_rounds") != 0
    most = rounds_limit(named.get("eta", DEFAULTS["eta"])) if stops else DEFAULT_ROUNDS
    rounds = request.integer(named.pop("num_boost_round", most), "num_boost_round", minimum=1)
    usual = DEFAULT_PATIENCE if keeps else 0
    patience = request.integer(named.pop("early_stopping_rounds", usual), "early_stopping_rounds", minimum=0)
    if patience and not keeps:
        raise ConfigError(
            f"{request.where} early_stopping_rounds = {patience}: booster = {named['booster']!r} changes what the "
            "rounds before have made, so that there is no going back to the best",
            hint="set num_boost_round alone",
        )
    defaults = {k: v for k, v in DEFAULTS.items() if k != "tree_method" or named.get("booster") != "gblinear"}
    parameters |= defaults | _objective(request, named.get("objective")) | named
    if request.task == "multiclass":
        parameters["num_class"] = request.target.columns[0].width
    refuse(_without_effect(request, named), where=request.where)
    _try(request, parameters)
    power = 0 if "objective" in named else power_for(request.target, request.metric)
    return XGBoostSpec(
        parameters,
        rounds,
        patience,
        request.transform,
        library.__version__,
        request.where,
        per_fold=request.per_fold,
        power=power,
        stops_by=stops_by(request.metric, request.task, patience),
    )


# What the method that looks at every value does not have, with XGBoost's own values.
NOT_EXACT: dict[str, Any] = {"max_bin": 256, "max_leaves": 0, "grow_policy": "depthwise"}


def _without_effect(request: ModelRequest, named: dict[str, Any]) -> list[Refused]:
    """Return what XGBoost takes without a word and does not use beside the other parameters."""
    refused = []
    if named.get("scale_pos_weight", 1) != 1 and request.task != "binary":
        refused.append(Refused(f"scale_pos_weight is for two classes; the task is {request.task!r}"))
    if named.get("tree_method") == "exact":
        refused += [
            Refused(f'{key} = {named[key]!r} does nothing with tree_method = "exact"', 'tree_method = "hist" has it')
            for key, nothing in NOT_EXACT.items()
            if named.get(key, nothing) != nothing
        ]
    if named.get("sampling_method", "uniform") != "uniform" and named.get("subsample", 1) == 1:
        refused.append(Refused("sampling_method does nothing without subsample below 1", "add subsample = 0.5"))
    if named.get("multi_strategy") == "multi_output_tree" and request.task != "multiclass":
        refused.append(Refused(f"multi_strategy does nothing here: the task is {request.task!r}", "take it out"))
    return refused


def _keeps_trees(named: dict[str, Any]) -> bool:
    return bool(named.get("booster", "gbtree") == "gbtree")


def _objective(request: ModelRequest, objective: Any) -> dict[str, Any]:
    """Return the default objective of the task: the one that the metric rewards, where XGBoost has it."""
    if objective is not None:
        if not isinstance(objective, str) or not objective.startswith(FITTING[request.task]):
            fitting = ", ".join(f"{name}…" if name.endswith(":") else name for name in FITTING[request.task])
            raise ConfigError(
                f"{request.where} objective = {objective!r} does not fit task {request.task!r}",
                hint=f"one of: {fitting}",
            )
        return {}
    if request.task != "regression":
        return {"objective": FITTING[request.task][0]}
    loss = loss_for(request.metric)
    if loss.kind == "quantile":
        return {"objective": "reg:quantileerror", "quantile_alpha": loss.level}
    return {"objective": "reg:squarederror" if loss.kind == "squared" else "reg:absoluteerror"}


def _try(request: ModelRequest, parameters: dict[str, Any]) -> None:
    """Train on eight rows, to hear what XGBoost does not know: it would say so in a warning and go on."""
    width = request.target.columns[0].width
    n_rows = max(8, width)
    # Between 0 and 1 there are labels that every objective for numbers takes, whatever it asks of the sign.
    rows = np.arange(n_rows, dtype=np.float64)
    label = rows % width if request.task == "multiclass" else rows % 2 / 2 + 0.25
    values = np.arange(2 * n_rows, dtype=np.float32).reshape(n_rows, 2)
    tried = {k: v for k, v in parameters.items() if k not in OF_COLUMNS} | {"nthread": 1}
    unused, problem = _probe(values, label, tried)
    if unused:
        of_try = {k: v for k, v in tried.items() if k not in unused}
        parameter_names = {*_configured(values, label, of_try), *UNLISTED_PARAMETERS, *ALIASES} - {*RESERVED}
        beside = f"booster = {parameters.get('booster', 'gbtree')!r} and objective = {parameters['objective']!r}"
        refused = [
            Refused(
                f"has a key {key!r} that XGBoost does not know, or does not use with {beside}",
                near(key, parameter_names, kind="key"),
            )
            for key in request.table
            if ALIASES.get(key, key) in unused
        ]
        refuse(refused, where=request.where)
    if problem:
        raise ConfigError(f"{request.where}: XGBoost refused it: {problem}", hint="check its value")


def _probe(values: Singles, label: Floats, parameters: dict[str, Any]) -> tuple[set[str], str]:
    """Return the names that one round of training says it does not use, and what it refuses."""
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
        if CHANGED.search(str(warning.message)):
            problem = problem or _message(warning.message)
    return unused, problem


def _configured(values: Singles, label: Floats, parameters: dict[str, Any]) -> set[str]:
    """Return the parameters that XGBoost has with these settings."""
    import xgboost as xgb

    booster = xgb.train(parameters | {"verbosity": 0}, xgb.DMatrix(values, label, nthread=1), num_boost_round=1)
    return set(_leaves(json.loads(booster.save_config())["learner"]))


def _leaves(config: Any, inside: str = "") -> Iterator[str]:
    for key, value in config.items() if isinstance(config, dict) else ():
        if isinstance(value, dict):
            yield from _leaves(value, key)
        elif inside.endswith("_param") and "model" not in inside:
            yield key


# ------------------------------------------------------------------------------------------------------------ training


class XGBoostLearner(StoppingLearner[XGBoostSpec]):
    """Trains one target's models, each on quantiles of its own train rows."""

    def __init__(self, problem: Problem, spec: XGBoostSpec, index: int) -> None:
        weighs_classes = spec.parameters.get("scale_pos_weight", 1) != 1
        self.data = FoldData(
            FoldTarget(problem, index, spec.transform, power=spec.power, library_weighs_classes=weighs_classes)
        )
        self.index = index
        self.spec = spec
        self.each_round: Callable[[], None] = lambda: None
        self.native = native_metric(SAME_METRIC, problem.metric, self.data.target.column.task, spec.transform)
        self.names = _safe(self.data.columns.names)
        self.parameters = spec.parameters | self._of_columns()
        if self.native:
            self.parameters["eval_metric"] = self.native
        else:
            self.parameters["disable_default_eval_metric"] = True

    def _of_columns(self) -> dict[str, Any]:
        """Return the constraints, by place as XGBoost takes them."""
        constraints = {key: self.spec.parameters[key] for key in OF_COLUMNS if key in self.spec.parameters}
        by_index = by_position(
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
        """Begin a fold's training, or take one up that was kept."""
        return XGBoostTraining(self, fold, seed, state)

    def sets(self, fold: int) -> tuple[xgb.DMatrix, xgb.DMatrix]:
        """Return the rows that a fold trains on and those that it validates."""
        train_rows, valid_rows = self.data.split(fold)
        train_codes = self._train_codes(fold, train_rows)
        train_set = self._dataset(fold, train_rows, train_codes, self.data.target.training_weights(fold, train_rows))
        return train_set, self._dataset(
            fold, valid_rows, train_codes, self.data.target.validation_weights(fold, valid_rows), train_set
        )

    def own_metric_of(self, fold: int) -> Callable[[npt.NDArray[Any]], float] | None:
        """Return what scores XGBoost's predictions of the validated rows; None where it has the metric itself."""
        if self.native:
            return None
        rows = self.data.target.valid_rows(fold)
        score = self.data.target.stopping_score(fold, rows, f"fold {fold}")
        return lambda predictions: score(np.asarray(predictions, np.float64).reshape(len(rows), -1))

    def result_of(self, booster: xgb.Booster, fold: int, seed: int, rounds: int) -> FoldResult:
        """Return a model of so many rounds with its predictions."""
        train_rows, valid_rows = self.data.split(fold)
        train_codes = self._train_codes(fold, train_rows)
        if self.spec.patience:
            booster = booster[:rounds]
        booster.set_param({"nthread": self.parameters["nthread"]})

        def predict(frame: pl.DataFrame) -> npt.NDArray[Any]:
            return self._predict(booster, self._values(frame, train_codes))

        return FoldResult(
            target=self.index,
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
        pairs = zip(self.data.columns.names, self.names, strict=True)
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
        """Return some rows as XGBoost takes them: as quantiles, found a chunk at a time, where its method can."""
        import xgboost as xgb

        more: dict[str, Any] = {"feature_names": self.names, "feature_types": self._types()}
        threads = self.parameters["nthread"]
        label = self.data.target.labels(fold, rows)
        if self.parameters.get("tree_method") not in ("hist", "auto"):
            values = self._values(self.data.columns.frame(fold, rows), train_codes)
            return xgb.DMatrix(values, label, weight=weight, nthread=threads, enable_categorical=True, **more)
        learner = self

        class Chunks(xgb.DataIter):
            def __init__(self) -> None:
                super().__init__()
                self.chunks = learner.data.columns.chunks(fold, rows)

            def next(self, input_data: Callable[..., Any]) -> bool:
                where, frame = next(self.chunks, (None, None))
                if where is None or frame is None:
                    return False
                w = None if weight is None else weight[where]
                input_data(data=learner._values(frame, train_codes), label=label[where], weight=w, **more)
                return True

            def reset(self) -> None:
                self.chunks = learner.data.columns.chunks(fold, rows)

        bins = self.parameters.get("max_bin", 256)
        return xgb.QuantileDMatrix(Chunks(), max_bin=bins, ref=reference, nthread=threads, enable_categorical=True)

    def _types(self) -> list[str]:
        return ["c" if name in self.data.columns.categorical else "q" for name in self.data.columns.names]

    def _train_codes(self, fold: int, train_rows: npt.NDArray[np.int64]) -> dict[str, pl.Series]:
        """Return the codes that the fold's train rows have, by column.

        A code that the quantiles of the train rows lack is put to the next one when others are made after them (as of
        3.2), while a prediction takes it as missing: so it is made missing everywhere.
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
        values[np.isinf(values)] = np.nan  # which XGBoost refuses
        return values

    def _predict(self, booster: xgb.Booster, values: Singles) -> npt.NDArray[Any]:
        import xgboost as xgb

        if self.parameters.get("booster") == "gblinear":  # which can't predict from a plain array
            names, types = self.names, self._types()
            predictions: npt.NDArray[Any] = booster.predict(
                xgb.DMatrix(values, feature_names=names, feature_types=types, enable_categorical=True)
            )
            return predictions
        inplace_predictions: npt.NDArray[Any] = booster.inplace_predict(values)
        return inplace_predictions


class XGBoostTraining:
    """The training of one fold's model, which can be continued as long as its quantiles are held."""

    def __init__(self, learner: XGBoostLearner, fold: int, seed: int, state: TrainingState | None = None) -> None:
        self.learner, self.fold, self.seed = learner, fold, seed
        self.curves: dict[str, list[float]] = {"valid": []} if state is None else state.curves
        self.seconds = 0.0 if state is None else state.seconds
        self._text = "" if state is None else state.model
        self._booster: xgb.Booster | None = None
        self._sets: tuple[xgb.DMatrix, xgb.DMatrix] | None = None
        self._metric: Callable[[npt.NDArray[Any]], float] | None = None

    @property
    def held(self) -> bool:
        """Whether it goes on from the round it is at."""
        return self._booster is not None or not self.curves["valid"]

    def state(self) -> TrainingState:
        """Return what is kept of it."""
        return TrainingState(self._as_text(), self.curves, self.seconds)

    def release(self) -> None:
        """Let go of the rows, and keep the trees."""
        self._text = self._as_text()
        self._booster = self._sets = self._metric = None

    def _as_text(self) -> str:
        return self._text if self._booster is None else bytes(self._booster.save_raw("json")).decode()

    def go_on(self, rounds: int, enough: Callable[[float], bool]) -> None:
        """Train until there are so many rounds, or until `enough`, called with each new value, says so."""
        started = time.perf_counter()
        with _errors(f"fold {self.fold}, seed {self.seed}"):
            booster, (train_set, valid_set) = self._begun()
            values = self.curves["valid"]
            while len(values) < rounds:
                booster.update(train_set, len(values))
                values.append(self._evaluated(booster, valid_set))
                self.learner.each_round()
                if enough(values[-1]):
                    break
        self.seconds += time.perf_counter() - started

    def _evaluated(self, booster: xgb.Booster, valid_set: xgb.DMatrix) -> float:
        if self._metric is None:
            evaluation = booster.eval_set([(valid_set, "valid")], len(self.curves["valid"]))
            return float(evaluation.split()[1].rpartition(":")[2])
        # Through `eval_set` it would get raw values, and what it says would be cut to six places.
        return self._metric(booster.predict(valid_set, training=False))

    def _begun(self) -> tuple[xgb.Booster, tuple[xgb.DMatrix, xgb.DMatrix]]:
        import xgboost as xgb

        if self._booster is None or self._sets is None:
            self.curves = {"valid": []}
            self._sets, self._metric = self.learner.sets(self.fold), self.learner.own_metric_of(self.fold)
            seed_parameters: dict[str, Any] = {"seed": self.seed}
            if self.learner.shared_stopping is not None:
                # Its boosters draw from one generator: folds that take turns would change each other's samples.
                seed_parameters["seed_per_iteration"] = True
            self._booster = xgb.Booster(self.learner.parameters | seed_parameters, list(self._sets))
        return self._booster, self._sets

    def second(self, rounds: int, state: TrainingState | None = None) -> XGBoostTraining:  # noqa: ARG002 LightGBM has it
        """Return itself: there is no second model."""
        return self

    def result(self, rounds: int) -> FoldResult:
        """Return the model of so many rounds, with its predictions."""
        import xgboost as xgb

        started = time.perf_counter()
        with _errors(f"fold {self.fold}, seed {self.seed}"):
            booster = xgb.Booster(model_file=bytearray(self._as_text().encode()))
            fold_result = self.learner.result_of(booster, self.fold, self.seed, rounds)
        return replace(fold_result, curve=self.curves, seconds=self.seconds + time.perf_counter() - started)


def _safe(names: Sequence[str]) -> list[str]:
    """Return names that XGBoost takes: without brackets, and none twice."""
    safe = [re.sub(r"[\[\]<]", "_", name) for name in names]
    return [f"{name}_{i}" for i, name in enumerate(safe)] if len(set(safe)) < len(safe) else safe


def _message(exc: Exception | Warning | str) -> str:
    """Return the first line of a message of XGBoost, without the time and the place in its source."""
    text = str(exc).partition("\nStack trace")[0]
    line = (
        re.sub(r"^\[[\d:]+\] (WARNING: )?\S+:\d+: ", "", text.strip()).strip().splitlines() or [type(exc).__name__]
    )[0]
    return line.strip()


@contextmanager
def _errors(where: str) -> Iterator[None]:
    """Turn XGBoost's exceptions into ours, and its warnings into lines of the log, for the length of the block."""
    import xgboost as xgb

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except xgb.core.XGBoostError as exc:
            raise TrainingError(
                f"XGBoost refused ({where}): {_message(exc)}", hint="check [xgboost] in the experiment's file"
            ) from exc
        finally:
            for warning in caught:
                log.warning("%s: %s", where, str(warning.message).strip())


def _needs(problem: Problem, parameters: dict[str, Any], seeds: Sequence[int]) -> MemoryNeeds:
    """Foresee what training takes at its peak.

    Counted is each value's bin twice, by row and by column; with another method than ``hist`` the numbers themselves.
    Where any value is missing, XGBoost keeps the bins by row as if they were sparse: in 32 bits, those that are there.
    A histogram is kept for every node of a tree, and each thread has its own of the nodes that it works on.
    """
    folds, n_columns = problem.folds, column_counts(problem).all
    n_train, n_valid = (
        max(len(side(k)) for k in range(folds.n_folds)) for side in (folds.train_rows, folds.valid_rows)
    )
    binned = parameters.get("tree_method") in ("hist", "auto")
    bins = int(parameters.get("max_bin", 256))
    most = max([bins, *map(len, problem.matrix.categories.values())])
    by_column = 1 if most <= 256 else 2 if most <= 2**16 else 4
    missing = missing_share(problem.matrix) if binned else 0.0
    by_row = 4 * (1 - missing) + 1 / 8 if missing else by_column
    per_value = by_row + by_column if binned else 8
    return foreseen(
        problem,
        seeds,
        of_fold=(n_train + n_valid) * n_columns * per_value,
        passing=min(CHUNK_ROWS, n_train) * n_columns * 16
        + _nodes(parameters, n_train) * n_bins(problem, bins) * HISTOGRAM_BYTES
        + LEVEL_BYTES * sum(map(len, problem.matrix.categories.values())),
        row_bytes=40,
        output_bytes=24,
        numbers="bins" if binned else "numbers",
    )


HISTOGRAM_BYTES, LEVEL_BYTES = 16, 600
"""Of a bin in a histogram: the sums of gradients and hessians. And what a category takes beside that, as measured: the
sets that they are found with, and the model's."""


LEAST_OF_NODE = 8
"""Rows of a node that is split, on average, where nothing limits the tree."""


def _nodes(parameters: dict[str, Any], n_train: int) -> int:
    """Return of how many nodes histograms are held at a time, those of each thread included."""
    depth, leaves = int(parameters.get("max_depth", 6)), int(parameters.get("max_leaves", 0))
    most = max(1, min(2**depth if depth else n_train, leaves or n_train, n_train // LEAST_OF_NODE))
    # Of two siblings one is built; the other is what the parent has more.
    return most + int(parameters["nthread"]) * (most // 4)
