"""Scikit-learn estimators behind the contract of a learner, and the preprocessing of their columns."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import logging
import os
import pkgutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import ConfigError, NotFoundError, TrainingError, WorkbenchError, did_you_mean
from workbench.core.user_code import user_code
from workbench.features import CHUNK_ROWS
from workbench.models.fold_data import FoldData, FoldTarget
from workbench.models.losses import loss_for, power_for
from workbench.models.memory_estimate import LibraryMemory, MemoryEstimate, estimate_memory, training_widths
from workbench.models.model_request import ModelRequest
from workbench.models.parameter_problems import RejectedParameter, reject_parameters
from workbench.models.records import FoldResult, Problem

__all__ = ["SklearnLearner", "SklearnSpec", "estimator_errors", "sklearn_spec"]

Floats = npt.NDArray[np.float64]
log = logging.getLogger("workbench.models")

MAX_FLOAT32, MAX_SQUARABLE = 3e38, 1e150
"""Numbers are clipped to these: scikit-learn's trees use 32 bits, and scaling sums squares in 64 bits."""

MAX_ONE_HOT = 50
"""The most columns that the one-hot encoding of a column has; the rarest categories share one."""

RESERVED = {
    "random_state": "put the seeds into the experiment: seeds = [1, 2, 3]",
    "n_jobs": "use --threads",
    "warm_start": "every run starts afresh",
    "verbose": "its messages go into the run's log",
    "verbosity": "its messages go into the run's log",
    "thread_count": "use --threads",
    "nthread": "use --threads",
    "random_seed": "put the seeds into the experiment: seeds = [1, 2, 3]",
    "copy_X": "an estimator gets a copy of the data",
    "copy_X_train": "an estimator gets a copy of the data",
    "memory": "finished folds are kept in the run folder",
    **dict.fromkeys(
        ("train_dir", "save_snapshot", "snapshot_file", "input_borders", "output_borders", "roc_file"),
        "an estimator can't write files",
    ),
}
TREE_MODULES = ("sklearn.ensemble.", "sklearn.tree.")

BOOSTING_ESTIMATORS = ("GradientBoostingRegressor", "HistGradientBoostingRegressor")
"""Estimators that train a median or a quantile as fast as a mean."""


@dataclass(frozen=True)
class SklearnSpec:
    """The settings of an estimator.

    Attributes
    ----------
    estimator : str
        The importable name of its class.
    parameters : dict
    threads, key_threads : int
        To train with; in the run's key.
    transform : str
    versions : dict
        Package -> version.
    accepts_nan : bool
        Whether missing values are passed as NaN; else they are replaced by the median.
    keeps_codes : bool
        Whether codes of categories are passed as numbers, as to trees; else they are one-hot encoded, and numbers
        scaled.
    accepts_sparse : bool
    needs_nonnegative : bool
        Whether numbers are scaled to 0 to 1.
    power : int
    """

    estimator: str
    parameters: dict[str, Any]
    threads: int
    key_threads: int
    transform: str
    versions: dict[str, str]
    accepts_nan: bool
    keeps_codes: bool
    accepts_sparse: bool
    needs_nonnegative: bool
    power: int = 0

    @property
    def is_histogram(self) -> bool:
        """Whether it bins numbers into histograms, so that their size does not matter."""
        return "HistGradientBoosting" in self.estimator

    def content(self) -> dict[str, Any]:
        """Return everything that determines the result, for the run's key.

        The number of threads is a part of it: sums over threads depend on it.
        """
        return {
            "versions": self.versions,
            "estimator": self.estimator,
            "parameters": self.parameters,
            "threads": self.key_threads,
            "transform": self.transform,
            "prepared": "v1",
            **({"power": self.power} if self.power else {}),
        }

    def memory_estimate(self, problem: Problem, seeds: Sequence[int]) -> MemoryEstimate:
        """Estimate the memory of the training at its peak, without that of the estimator itself, which is unknown."""
        return _memory_estimate(problem, self, seeds)

    def learner(self, problem: Problem, target_index: int) -> SklearnLearner:
        """Return the learner of target number `target_index`."""
        return SklearnLearner(problem, self, target_index)

    def new_estimator(self, seed: int | None = None) -> Any:
        """Return a new estimator, not fitted."""
        module, _, name = self.estimator.rpartition(".")
        cls = getattr(importlib.import_module(module), name)
        own_settings = {"random_state": seed, "n_jobs": self.threads}
        accepted = set(inspect.signature(cls).parameters)
        return cls(**self.parameters, **{k: v for k, v in own_settings.items() if k in accepted and v is not None})


# --------------------------------------------------------------------------------------------------------- parameters


def sklearn_spec(request: ModelRequest) -> SklearnSpec:
    """Check the ``[sklearn]`` table of an experiment.

    Raises
    ------
    ConfigError
        For an estimator that does not exist, does not fit the task, or lacks required probabilities or weights; for
        parameters that it does not have, and values that it rejects.
    """
    library = request.library("sklearn")
    name = request.text("estimator", "sklearn.linear_model.LogisticRegression")
    cls = _class(request, name)
    parameters = {k: v for k, v in request.table.items() if k != "estimator"}
    parameter_names = set(inspect.signature(cls).parameters)
    rejected = [
        RejectedParameter(f"can't set {key!r}: {RESERVED[key]}")
        if key in RESERVED
        else RejectedParameter(
            f"has an unknown key {key!r}", did_you_mean(key, parameter_names - {*RESERVED}, kind="key")
        )
        for key in parameters
        if key in RESERVED or key not in parameter_names
    ]
    reject_parameters(rejected, where=request.where)
    power = _power(request, cls, parameters)
    parameters = _default_loss(request, cls, parameters) | parameters
    estimator = _new_estimator(request, cls, parameters)
    tags = _tags(estimator)
    _check_estimator(request, name, estimator, tags)
    package = name.partition(".")[0]
    versions = {"sklearn": library.__version__, package: getattr(importlib.import_module(package), "__version__", "")}
    inputs = getattr(tags, "input_tags", None)
    accepts_nan = bool(getattr(inputs, "allow_nan", False))
    return SklearnSpec(
        estimator=name,
        parameters=parameters,
        threads=request.n_threads,
        key_threads=request.key_threads,
        transform=request.transform,
        versions=versions,
        accepts_nan=accepts_nan,
        keeps_codes=accepts_nan or name.startswith(TREE_MODULES),
        accepts_sparse=bool(getattr(inputs, "sparse", False)),
        needs_nonnegative=bool(getattr(inputs, "positive_only", False)),
        power=power,
    )


def _power(request: ModelRequest, cls: type, parameters: dict[str, Any]) -> int:
    """Return the power of the row weights in the metric's loss; 0 for an estimator without weights or with a loss."""
    accepts_weights = "sample_weight" in inspect.signature(cls.fit).parameters  # type: ignore[attr-defined]
    has_loss = bool({"loss", "criterion"} & {*parameters})
    return power_for(request.target, request.metric) if accepts_weights and not has_loss else 0


def _default_loss(request: ModelRequest, cls: type, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return parameters with the loss of the metric; empty to keep the estimator's default."""
    if request.task != "regression" or cls.__name__ not in BOOSTING_ESTIMATORS or "loss" in parameters:
        return {}
    loss = loss_for(request.metric)
    if loss.kind != "quantile":
        return {} if loss.kind == "squared" else {"loss": "absolute_error"}
    level_name = "quantile" if cls.__name__.startswith("Hist") else "alpha"
    return {"loss": "quantile", level_name: loss.level}


def _class(request: ModelRequest, name: str) -> type:
    """Import the class of an estimator.

    Raises
    ------
    NotFoundError
        With similar names.
    """
    module_name, _, cls_name = name.rpartition(".")
    hint = 'write its full name: "sklearn.linear_model.LogisticRegression"'
    if module_name.partition(".")[0] in sys.stdlib_module_names:
        # Some of these modules have side effects when they are imported.
        raise NotFoundError(
            f"{request.where} estimator = {name!r}: Python's standard library has no estimators", hint=hint
        )
    try:
        with user_code(
            f"{request.where} estimator = {name!r} can't be imported",
            ConfigError,
            pass_through=(ImportError, ValueError),
        ):
            module = importlib.import_module(module_name)
    except WorkbenchError:
        raise
    except (ImportError, ValueError) as exc:
        parent = module_name.rpartition(".")[0]
        if parent == "sklearn":
            names = [m.name for m in pkgutil.iter_modules(importlib.import_module("sklearn").__path__)]
            hint = did_you_mean(
                module_name.rpartition(".")[2], [n for n in names if not n.startswith("_")], kind="module"
            )
        raise NotFoundError(f"{request.where} estimator = {name!r}: {exc or 'no module'}", hint=hint) from exc
    cls = getattr(module, cls_name, None)
    if not isinstance(cls, type) or not all(hasattr(cls, m) for m in ("fit", "predict", "get_params")):
        names = [n for n, v in vars(module).items() if isinstance(v, type) and hasattr(v, "fit")]
        raise NotFoundError(
            f"{request.where} estimator = {name!r}: {module_name} has no estimator {cls_name!r}",
            hint=did_you_mean(cls_name, names, kind="estimator") if names else hint,
        )
    return cls


def _new_estimator(request: ModelRequest, cls: type, parameters: dict[str, Any]) -> Any:
    """Construct an estimator and check its parameters."""
    failure = f"{request.where}: {cls.__name__} can't be constructed"
    try:
        with user_code(failure, ConfigError, hint="check its parameters", pass_through=(TypeError, ValueError)):
            estimator = cls(**parameters)
            # scikit-learn checks parameters in `fit`; this checks them before.
            if hasattr(estimator, "_validate_params"):
                estimator._validate_params()
    except WorkbenchError:
        raise
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"{request.where}: {cls.__name__} rejected it: {exc}", hint="check its parameters") from exc
    return estimator


def _tags(estimator: Any) -> Any:
    from sklearn.utils import get_tags

    try:
        return get_tags(estimator)
    except (AttributeError, TypeError):  # written for scikit-learn before 1.6
        return None


def _check_estimator(request: ModelRequest, name: str, estimator: Any, tags: Any) -> None:
    from sklearn.utils.validation import has_fit_parameter

    required_kind = "regressor" if request.task == "regression" else "classifier"
    kind = getattr(tags, "estimator_type", None) or required_kind
    if kind != required_kind:
        raise ConfigError(
            f"{request.where} estimator = {name!r} is a {kind}; task {request.task!r} needs a {required_kind}"
        )
    if required_kind == "classifier" and not hasattr(estimator, "predict_proba"):
        raise ConfigError(
            f"{request.where} estimator = {name!r} gives no probabilities with these parameters",
            hint="choose one with predict_proba, or calibrate it in a function: [python]",
        )
    if request.target.weight is not None and not has_fit_parameter(estimator, "sample_weight"):
        raise ConfigError(
            f"{request.where} estimator = {name!r} takes no weights, but competition.toml has weight = …",
            hint="choose another estimator, write a function: [python], or use weights in the metric alone: "
            "weight = { metric = … }",
        )


# ------------------------------------------------------------------------------------------------------------ training


class SklearnLearner:
    """Trains one target's models, each on a copy of the fold's train rows."""

    def __init__(self, problem: Problem, spec: SklearnSpec, target_index: int) -> None:
        weights_classes = spec.parameters.get("class_weight") is not None
        self.data = FoldData(
            FoldTarget(problem, target_index, spec.transform, power=spec.power, library_weights_classes=weights_classes)
        )
        self.target_index = target_index
        self.spec = spec
        self.each_round: Callable[[], None] = lambda: None
        is_float32 = problem.matrix.number_type is np.float32
        self.dtype: type[pl.DataType] = pl.Float32 if spec.keeps_codes and is_float32 else pl.Float64
        names = self.data.columns.names
        self.code_positions = [i for i, name in enumerate(names) if name in self.data.columns.categorical]
        self.number_positions = [i for i, name in enumerate(names) if name not in self.data.columns.categorical]

    def fit(self, fold: int, seed: int) -> FoldResult:
        """Train and predict one fold with one seed."""
        from threadpoolctl import threadpool_limits

        where = f"fold {fold}, seed {seed}"
        with estimator_errors(self.spec.estimator, where), threadpool_limits(self.spec.threads):
            return self._fit(fold, seed)

    def _fit(self, fold: int, seed: int) -> FoldResult:
        started_at = time.perf_counter()
        train_rows, valid_rows = self.data.split(fold)
        values = self._values(self.data.columns.frame(fold, train_rows))
        is_empty = np.isnan(values).all(axis=0) if self.spec.accepts_nan else np.zeros(values.shape[1], np.bool_)
        values[:, is_empty] = 0  # some estimators fail on a column without any value
        estimator, preprocessor = self._estimator(values, seed), self._preprocessor()
        if preprocessor is not None:
            values = preprocessor.fit_transform(values)
        label: npt.NDArray[Any] = self.data.target.labels(fold, train_rows)
        weight = self.data.target.training_weights(fold, train_rows)
        if self.data.target.column.task != "regression":
            label = label.astype(np.int64)
        estimator.fit(values, label, **({} if weight is None else {"sample_weight": weight}))
        importance = self._importance(estimator, preprocessor, values)
        del values
        if type(estimator).__module__ == "sklearn.ensemble._forest":
            # With several threads the trees' predictions are summed in varying order.
            estimator.set_params(n_jobs=1)

        def predict(frame: pl.DataFrame) -> npt.NDArray[Any]:
            inputs = self._values(frame)
            inputs[:, is_empty] = 0
            return self._predict(estimator, inputs if preprocessor is None else preprocessor.transform(inputs))

        return FoldResult(
            target=self.target_index,
            fold=fold,
            seed=seed,
            oof=self.data.predictions(fold, valid_rows, predict),
            test=self.data.predictions(fold, self.data.test_rows, predict),
            model="",
            rounds=0,
            seconds=time.perf_counter() - started_at,
            importance=importance,
            notes=self.data.target.notes(fold),
        )

    def _values(self, frame: pl.DataFrame) -> npt.NDArray[Any]:
        """Return a frame as an array, clipped to the numbers that the estimator can compute with.

        Missing and infinite values are NaN; missing codes are -1 for estimators that do not accept NaN.
        """
        values: npt.NDArray[Any] = frame.cast(self.dtype).to_numpy(order="c", writable=True)
        values[np.isinf(values)] = np.nan
        if values.dtype == np.float64 and not self.spec.is_histogram:
            limit = MAX_FLOAT32 if self.spec.keeps_codes else MAX_SQUARABLE
            np.clip(values, -limit, limit, out=values)
        if not self.spec.accepts_nan:
            for i in self.code_positions:
                values[np.isnan(values[:, i]), i] = -1
        return values

    def _estimator(self, values: npt.NDArray[Any], seed: int) -> Any:
        """Return a new estimator; one with native categories gets the columns with few enough of them."""
        estimator = self.spec.new_estimator(seed)
        if "categorical_features" in estimator.get_params() and "categorical_features" not in self.spec.parameters:
            max_categories = estimator.get_params().get("max_bins", 255)
            categorical = [i for i in self.code_positions if len(np.unique(values[:, i])) <= max_categories]
            estimator.set_params(categorical_features=categorical or None)
        return estimator

    def _preprocessor(self) -> Any:
        """Return the transformer of the columns before the estimator; None if it takes them as they are."""
        if self.spec.accepts_nan:
            return None
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

        imputer = SimpleImputer(strategy="median", keep_empty_features=True)
        if self.spec.keeps_codes:
            return ColumnTransformer(
                [("numbers", imputer, self.number_positions), ("codes", "passthrough", self.code_positions)]
            )
        scaler = MinMaxScaler(clip=True) if self.spec.needs_nonnegative else StandardScaler()
        encoder = OneHotEncoder(max_categories=MAX_ONE_HOT, handle_unknown="infrequent_if_exist")
        parts = [
            ("numbers", make_pipeline(imputer, scaler), self.number_positions),
            ("codes", encoder, self.code_positions),
        ]
        return ColumnTransformer(parts, sparse_threshold=0.3 if self.spec.accepts_sparse else 0)

    def _predict(self, estimator: Any, values: Any) -> npt.NDArray[Any]:
        """Return numbers, or probabilities of all classes of the target."""
        if self.data.target.column.task == "regression":
            return np.asarray(estimator.predict(values))
        trained_probabilities = np.asarray(estimator.predict_proba(values))
        width = max(2, self.data.target.column.width)
        # Classes that the fold's train rows lack have no column in the output, and get the probability 0.
        probabilities = np.zeros((len(trained_probabilities), width))
        probabilities[:, np.asarray(estimator.classes_, np.int64)] = trained_probabilities
        return probabilities[:, 1] if self.data.target.column.width == 1 else probabilities

    def _importance(self, estimator: Any, preprocessor: Any, values: Any) -> dict[str, tuple[float, float]]:
        """Return each column's importance, summed over the outputs of the preprocessor.

        For a linear model it is the standard deviation of the column's term in the sum, the mean over the classes: that
        of a scaled number is its coefficient, and it is also defined for a one-hot encoded column.
        """
        names = self.data.columns.names
        outputs_by_column: list[list[int]] = [[i] for i in range(len(names))]
        if preprocessor is not None:
            outputs_by_column = [[] for _ in names]
            # Names such as "codes__c3_1.0" and "numbers__c5".
            output_names = preprocessor.get_feature_names_out([f"c{i}" for i in range(len(names))])
            for output, name in enumerate(output_names):
                outputs_by_column[int(name.partition("__")[2].partition("_")[0][1:])].append(output)
        importances = getattr(estimator, "feature_importances_", None)
        coefficients = getattr(estimator, "coef_", None)
        if importances is not None:
            totals = [float(np.sum(importances[outputs])) for outputs in outputs_by_column]
        elif coefficients is not None:
            per_class = np.atleast_2d(np.asarray(coefficients, np.float64))
            totals = [
                float(np.std(values[:, outputs] @ per_class[:, outputs].T, axis=0).mean()) if outputs else 0.0
                for outputs in outputs_by_column
            ]
        else:
            return {}
        return {name: (total, 0.0) for name, total in zip(names, totals, strict=True)}


@contextmanager
def _safe_processes() -> Iterator[None]:
    """Prevent Python processes that joblib starts from importing modules of the working directory."""
    original = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if original is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = original


@contextmanager
def estimator_errors(estimator: str, where: str) -> Iterator[None]:
    """Turn an estimator's exceptions into TrainingErrors, and log its warnings."""
    with warnings.catch_warnings(record=True) as caught, _safe_processes():
        warnings.simplefilter("always")
        hint = "check [sklearn] in the experiment's file; the run's log.txt has the whole traceback"
        try:
            with user_code(f"{estimator} failed ({where})", TrainingError, hint=hint, log=log):
                yield
        finally:
            for warning in caught:
                log.warning("%s: %s", where, str(warning.message).strip())


def _memory_estimate(problem: Problem, spec: SklearnSpec, seeds: Sequence[int]) -> MemoryEstimate:
    """Estimate the memory of the training at its peak: the fold's rows as a frame, as an array, and preprocessed."""
    matrix, n_columns = problem.matrix, training_widths(problem).total
    one_hot_widths = [min(MAX_ONE_HOT, len(levels) or MAX_ONE_HOT) for levels in matrix.categories.values()]
    n_preprocessed = 0 if spec.accepts_nan else n_columns
    if not spec.keeps_codes:
        n_preprocessed = n_columns - len(one_hot_widths) + sum(one_hot_widths)
    value_bytes = 4 if spec.keeps_codes and matrix.number_type is np.float32 else 8
    n_train_rows = max(len(problem.folds.train_rows(k)) for k in range(problem.folds.n_folds))
    # Estimators that accept NaN copy the array in 64 bits.
    bytes_per_train_row = n_columns * (4 + 2 * value_bytes + 8 * spec.accepts_nan) + n_preprocessed * 2 * value_bytes
    library = LibraryMemory(
        fold_bytes=n_train_rows * bytes_per_train_row,
        temporary_bytes=min(CHUNK_ROWS, matrix.n_rows) * (n_columns + n_preprocessed) * value_bytes * 2,
        bytes_per_row=32,
        bytes_per_prediction=16,
    )
    return estimate_memory(problem, seeds, library)
