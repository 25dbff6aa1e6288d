"""Any scikit-learn estimator behind the contract of a learner, and what its columns go through before."""

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

from workbench.core.errors import ConfigError, NotFoundError, TrainingError, WorkbenchError, near
from workbench.core.user_code import user_code
from workbench.features import CHUNK_ROWS
from workbench.models.fold_data import FoldData, FoldTarget
from workbench.models.losses import loss_for, power_for
from workbench.models.memory_estimate import MemoryNeeds, column_counts, foreseen
from workbench.models.model_request import ModelRequest
from workbench.models.parameter_problems import Refused, refuse
from workbench.models.records import FoldResult, Problem

__all__ = ["SklearnLearner", "SklearnSpec", "estimator_errors", "sklearn_spec"]

Floats = npt.NDArray[np.float64]
log = logging.getLogger("workbench.models")

LARGEST_SINGLE, LARGEST_SQUARED = 3e38, 1e150
"""Trees of scikit-learn hold 32 bits; scaling takes the sum of squares in 64."""

MAX_ONE_HOT = 50
"""Columns that the codes of one column become at most; the rarest share the last."""

RESERVED = {
    "random_state": "put the seeds into the experiment: seeds = [1, 2, 3]",
    "n_jobs": "use --threads",
    "warm_start": "every run starts afresh",
    "verbose": "what it says goes into the run's log",
    "verbosity": "what it says goes into the run's log",
    "thread_count": "use --threads",
    "nthread": "use --threads",
    "random_seed": "put the seeds into the experiment: seeds = [1, 2, 3]",
    "copy_X": "an estimator gets an array of its own",
    "copy_X_train": "an estimator gets an array of its own",
    "memory": "finished folds are kept in the run folder",
    **dict.fromkeys(
        ("train_dir", "save_snapshot", "snapshot_file", "input_borders", "output_borders", "roc_file"),
        "an estimator has no files of its own",
    ),
}
TREES = ("sklearn.ensemble.", "sklearn.tree.")

BOOSTED = ("GradientBoostingRegressor", "HistGradientBoostingRegressor")
"""Estimators that have a median and a quantile at no more cost than a mean."""


@dataclass(frozen=True)
class SklearnSpec:
    """An estimator to train: its class, by its importable name, and its parameters.

    `takes_missing` says that missing values reach the estimator as NaN, `by_size` that codes stay codes, which trees
    split as numbers; else missing numbers become the median, numbers are scaled and codes become columns of their own.
    """

    estimator: str
    parameters: dict[str, Any]
    threads: int
    key_threads: int
    transform: str
    versions: dict[str, str]
    takes_missing: bool
    by_size: bool
    takes_sparse: bool
    from_zero: bool
    power: int = 0

    @property
    def is_histogram(self) -> bool:
        """Whether it is one of the estimators of histograms, which take numbers of any size."""
        return "HistGradientBoosting" in self.estimator

    def content(self) -> dict[str, Any]:
        """Return what decides the result; the number of threads may: sums are taken thread by thread."""
        return {
            "versions": self.versions,
            "estimator": self.estimator,
            "parameters": self.parameters,
            "threads": self.key_threads,
            "transform": self.transform,
            "prepared": "v1",
            **({"power": self.power} if self.power else {}),
        }

    def needs(self, problem: Problem, seeds: Sequence[int]) -> MemoryNeeds:
        """Foresee what the training takes at its peak, but for what the estimator itself takes."""
        return _needs(problem, self, seeds)

    def learner(self, problem: Problem, index: int) -> SklearnLearner:
        """Return what trains the models of target number `index`."""
        return SklearnLearner(problem, self, index)

    def new_estimator(self, seed: int | None = None) -> Any:
        """Return the estimator, not fitted."""
        module, _, name = self.estimator.rpartition(".")
        cls = getattr(importlib.import_module(module), name)
        fixed = {"random_state": seed, "n_jobs": self.threads}
        taken = set(inspect.signature(cls).parameters)
        return cls(**self.parameters, **{k: v for k, v in fixed.items() if k in taken and v is not None})


# --------------------------------------------------------------------------------------------------------- parameters


def sklearn_spec(request: ModelRequest) -> SklearnSpec:
    """Check the ``[sklearn]`` table of an experiment.

    Raises
    ------
    ConfigError
        For an estimator that there is none of, that does not fit the task, gives no probabilities or takes no weights
        where they are needed; for a parameter that it does not know, or a value that it refuses.
    """
    library = request.library("sklearn")
    name = request.text("estimator", "sklearn.linear_model.LogisticRegression")
    cls = _class(request, name)
    parameters = {k: v for k, v in request.table.items() if k != "estimator"}
    parameter_names = set(inspect.signature(cls).parameters)
    refused = [
        Refused(f"can't set {key!r}: {RESERVED[key]}")
        if key in RESERVED
        else Refused(f"has an unknown key {key!r}", near(key, parameter_names - {*RESERVED}, kind="key"))
        for key in parameters
        if key in RESERVED or key not in parameter_names
    ]
    refuse(refused, where=request.where)
    power = _power(request, cls, parameters)
    parameters = _usual_loss(request, cls, parameters) | parameters
    estimator = _constructed(request, cls, parameters)
    tags = _tags(estimator)
    _check_fits(request, name, estimator, tags)
    package = name.partition(".")[0]
    versions = {"sklearn": library.__version__, package: getattr(importlib.import_module(package), "__version__", "")}
    inputs = getattr(tags, "input_tags", None)
    takes_missing = bool(getattr(inputs, "allow_nan", False))
    return SklearnSpec(
        estimator=name,
        parameters=parameters,
        threads=request.n_threads,
        key_threads=request.key_threads,
        transform=request.transform,
        versions=versions,
        takes_missing=takes_missing,
        by_size=takes_missing or name.startswith(TREES),
        takes_sparse=bool(getattr(inputs, "sparse", False)),
        from_zero=bool(getattr(inputs, "positive_only", False)),
        power=power,
    )


def _power(request: ModelRequest, cls: type, parameters: dict[str, Any]) -> int:
    """Return the power of the rows' weights, where the estimator takes weights and no other loss is asked for."""
    takes = "sample_weight" in inspect.signature(cls.fit).parameters  # type: ignore[attr-defined]
    return power_for(request.target, request.metric) if takes and not {"loss", "criterion"} & {*parameters} else 0


def _usual_loss(request: ModelRequest, cls: type, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the loss that the metric rewards as parameters of the estimator; nothing where it keeps its own."""
    if request.task != "regression" or cls.__name__ not in BOOSTED or "loss" in parameters:
        return {}
    loss = loss_for(request.metric)
    if loss.kind != "quantile":
        return {} if loss.kind == "squared" else {"loss": "absolute_error"}
    level = "quantile" if cls.__name__.startswith("Hist") else "alpha"
    return {"loss": "quantile", level: loss.level}


def _class(request: ModelRequest, name: str) -> type:
    module_name, _, cls_name = name.rpartition(".")
    hint = 'write where it is imported from: "sklearn.linear_model.LogisticRegression"'
    if module_name.partition(".")[0] in sys.stdlib_module_names:
        # An import runs a module, and of these some do something: none of them has an estimator.
        raise NotFoundError(f"{request.where} estimator = {name!r}: Python's own library has no estimators", hint=hint)
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
            hint = near(module_name.rpartition(".")[2], [n for n in names if not n.startswith("_")], kind="module")
        raise NotFoundError(f"{request.where} estimator = {name!r}: {exc or 'no module'}", hint=hint) from exc
    cls = getattr(module, cls_name, None)
    if not isinstance(cls, type) or not all(hasattr(cls, m) for m in ("fit", "predict", "get_params")):
        names = [n for n, v in vars(module).items() if isinstance(v, type) and hasattr(v, "fit")]
        raise NotFoundError(
            f"{request.where} estimator = {name!r}: {module_name} has no estimator {cls_name!r}",
            hint=near(cls_name, names, kind="estimator") if names else hint,
        )
    return cls


def _constructed(request: ModelRequest, cls: type, parameters: dict[str, Any]) -> Any:
    failure = f"{request.where}: {cls.__name__} can't be made"
    try:
        with user_code(failure, ConfigError, hint="check its parameters", pass_through=(TypeError, ValueError)):
            estimator = cls(**parameters)
            # scikit-learn's own rules, which it otherwise applies when it fits
            if hasattr(estimator, "_validate_params"):
                estimator._validate_params()
    except WorkbenchError:
        raise
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"{request.where}: {cls.__name__} refused it: {exc}", hint="check its parameters") from exc
    return estimator


def _tags(estimator: Any) -> Any:
    from sklearn.utils import get_tags

    try:
        return get_tags(estimator)
    except (AttributeError, TypeError):  # made for a scikit-learn before 1.6
        return None


def _check_fits(request: ModelRequest, name: str, estimator: Any, tags: Any) -> None:
    from sklearn.utils.validation import has_fit_parameter

    wanted = "regressor" if request.task == "regression" else "classifier"
    kind = getattr(tags, "estimator_type", None) or wanted
    if kind != wanted:
        raise ConfigError(f"{request.where} estimator = {name!r} is a {kind}; task {request.task!r} needs a {wanted}")
    if wanted == "classifier" and not hasattr(estimator, "predict_proba"):
        raise ConfigError(
            f"{request.where} estimator = {name!r} gives no probabilities with these parameters",
            hint="choose one that has predict_proba, or calibrate it in a function: [python]",
        )
    if request.target.weight is not None and not has_fit_parameter(estimator, "sample_weight"):
        raise ConfigError(
            f"{request.where} estimator = {name!r} takes no weights, and competition.toml has weight = …",
            hint="choose another estimator, write a function: [python], or have weights in the metric alone: "
            "weight = { metric = … }",
        )


# ------------------------------------------------------------------------------------------------------------ training


class SklearnLearner:
    """Trains one target's models, each on a copy of its own train rows."""

    def __init__(self, problem: Problem, spec: SklearnSpec, index: int) -> None:
        weighs_classes = spec.parameters.get("class_weight") is not None
        self.data = FoldData(
            FoldTarget(problem, index, spec.transform, power=spec.power, library_weighs_classes=weighs_classes)
        )
        self.index = index
        self.spec = spec
        self.each_round: Callable[[], None] = lambda: None
        exact = problem.matrix.number_type is np.float32
        self.number: type[pl.DataType] = pl.Float32 if spec.by_size and exact else pl.Float64
        names = self.data.columns.names
        self.codes = [i for i, name in enumerate(names) if name in self.data.columns.categorical]
        self.numbers = [i for i, name in enumerate(names) if name not in self.data.columns.categorical]

    def fit(self, fold: int, seed: int) -> FoldResult:
        """Train and predict one fold with one seed."""
        from threadpoolctl import threadpool_limits

        where = f"fold {fold}, seed {seed}"
        with estimator_errors(self.spec.estimator, where), threadpool_limits(self.spec.threads):
            return self._fit(fold, seed)

    def _fit(self, fold: int, seed: int) -> FoldResult:
        started = time.perf_counter()
        train_rows, valid_rows = self.data.split(fold)
        values = self._values(self.data.columns.frame(fold, train_rows))
        empty = np.isnan(values).all(axis=0) if self.spec.takes_missing else np.zeros(values.shape[1], np.bool_)
        values[:, empty] = 0  # a column without a value is too little for some
        estimator, before = self._estimator(values, seed), self._before()
        if before is not None:
            values = before.fit_transform(values)
        label: npt.NDArray[Any] = self.data.target.labels(fold, train_rows)
        weight = self.data.target.training_weights(fold, train_rows)
        if self.data.target.column.task != "regression":
            label = label.astype(np.int64)
        estimator.fit(values, label, **({} if weight is None else {"sample_weight": weight}))
        importance = self._importance(estimator, before, values)
        del values
        if type(estimator).__module__ == "sklearn.ensemble._forest":
            estimator.set_params(n_jobs=1)  # its threads would add the trees' answers up in the order they end in

        def predict(frame: pl.DataFrame) -> npt.NDArray[Any]:
            inputs = self._values(frame)
            inputs[:, empty] = 0
            return self._predicted(estimator, inputs if before is None else before.transform(inputs))

        return FoldResult(
            target=self.index,
            fold=fold,
            seed=seed,
            oof=self.data.predictions(fold, valid_rows, predict),
            test=self.data.predictions(fold, self.data.test_rows, predict),
            model="",
            rounds=0,
            seconds=time.perf_counter() - started,
            importance=importance,
            notes=self.data.target.notes(fold),
        )

    def _values(self, frame: pl.DataFrame) -> npt.NDArray[Any]:
        """Return a frame as an array; NaN for what is missing or infinite, but -1 for a code where NaN is not taken.

        Numbers that are too large for the estimator are the largest that it can compute with.
        """
        values: npt.NDArray[Any] = frame.cast(self.number).to_numpy(order="c", writable=True)
        values[np.isinf(values)] = np.nan
        if values.dtype == np.float64 and not self.spec.is_histogram:
            largest = LARGEST_SINGLE if self.spec.by_size else LARGEST_SQUARED
            np.clip(values, -largest, largest, out=values)
        if not self.spec.takes_missing:
            for i in self.codes:
                values[np.isnan(values[:, i]), i] = -1
        return values

    def _estimator(self, values: npt.NDArray[Any], seed: int) -> Any:
        estimator = self.spec.new_estimator(seed)
        if "categorical_features" in estimator.get_params() and "categorical_features" not in self.spec.parameters:
            limit = estimator.get_params().get("max_bins", 255)
            few = [i for i in self.codes if len(np.unique(values[:, i])) <= limit]
            estimator.set_params(categorical_features=few or None)
        return estimator

    def _before(self) -> Any:
        """Return what the columns go through before the estimator sees them; None for nothing."""
        if self.spec.takes_missing:
            return None
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

        fill = SimpleImputer(strategy="median", keep_empty_features=True)
        if self.spec.by_size:
            return ColumnTransformer([("numbers", fill, self.numbers), ("codes", "passthrough", self.codes)])
        scale = MinMaxScaler(clip=True) if self.spec.from_zero else StandardScaler()
        columns = OneHotEncoder(max_categories=MAX_ONE_HOT, handle_unknown="infrequent_if_exist")
        parts = [("numbers", make_pipeline(fill, scale), self.numbers), ("codes", columns, self.codes)]
        return ColumnTransformer(parts, sparse_threshold=0.3 if self.spec.takes_sparse else 0)

    def _predicted(self, estimator: Any, values: Any) -> npt.NDArray[Any]:
        if self.data.target.column.task == "regression":
            return np.asarray(estimator.predict(values))
        fitted_classes = np.asarray(estimator.predict_proba(values))
        width = max(2, self.data.target.column.width)
        probabilities = np.zeros((len(fitted_classes), width))  # a class that the fold's train rows lack has no column
        probabilities[:, np.asarray(estimator.classes_, np.int64)] = fitted_classes
        return probabilities[:, 1] if self.data.target.column.width == 1 else probabilities

    def _importance(self, estimator: Any, before: Any, values: Any) -> dict[str, tuple[float, float]]:
        """Return each column's importance; of a linear model, how far what it adds differs from row to row.

        That is the standard deviation of the column's part of the sum, the mean over the classes: the coefficient, if
        the column is a scaled number, and the same measure for one that has become several.
        """
        names = self.data.columns.names
        places: list[list[int]] = [[i] for i in range(len(names))]
        if before is not None:
            places = [[] for _ in names]
            # "codes__c3_1.0", "numbers__c5"
            output_names = before.get_feature_names_out([f"c{i}" for i in range(len(names))])
            for place, name in enumerate(output_names):
                places[int(name.partition("__")[2].partition("_")[0][1:])].append(place)
        importances = getattr(estimator, "feature_importances_", None)
        coefficients = getattr(estimator, "coef_", None)
        if importances is not None:
            totals = [float(np.sum(importances[of_column])) for of_column in places]
        elif coefficients is not None:
            per_class = np.atleast_2d(np.asarray(coefficients, np.float64))
            totals = [float(np.std(values[:, p] @ per_class[:, p].T, axis=0).mean()) if p else 0.0 for p in places]
        else:
            return {}
        return {name: (total, 0.0) for name, total in zip(names, totals, strict=True)}


@contextmanager
def _safe_processes() -> Iterator[None]:
    """Let Python processes that the block starts, as joblib does, import nothing of the folder one stands in."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


@contextmanager
def estimator_errors(estimator: str, where: str) -> Iterator[None]:
    """Turn an estimator's exceptions into ours, and its warnings into lines of the log, for the length of the block."""
    with warnings.catch_warnings(record=True) as caught, _safe_processes():
        warnings.simplefilter("always")
        hint = "check [sklearn] in the experiment's file; the run's log.txt has all of it"
        try:
            with user_code(f"{estimator} failed ({where})", TrainingError, hint=hint, log=log):
                yield
        finally:
            for warning in caught:
                log.warning("%s: %s", where, str(warning.message).strip())


def _needs(problem: Problem, spec: SklearnSpec, seeds: Sequence[int]) -> MemoryNeeds:
    """Foresee what training takes at its peak: the fold's rows as a frame, as an array, and as they are prepared."""
    matrix, n_columns = problem.matrix, column_counts(problem).all
    of_codes = [min(MAX_ONE_HOT, len(levels) or MAX_ONE_HOT) for levels in matrix.categories.values()]
    n_prepared = 0 if spec.takes_missing else n_columns
    if not spec.by_size:
        n_prepared = n_columns - len(of_codes) + sum(of_codes)
    size = 4 if spec.by_size and matrix.number_type is np.float32 else 8
    n_fold = max(len(problem.folds.train_rows(k)) for k in range(problem.folds.n_folds))
    return foreseen(
        problem,
        seeds,
        # Estimators that take NaN make a copy in 64 bits of their own.
        of_fold=n_fold * (n_columns * (4 + 2 * size + 8 * spec.takes_missing) + n_prepared * 2 * size),
        passing=min(CHUNK_ROWS, matrix.n_rows) * (n_columns + n_prepared) * size * 2,
        row_bytes=32,
        output_bytes=16,
    )
