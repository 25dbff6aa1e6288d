"""A function from the competition's folder as a model, behind the contract of a learner."""

from __future__ import annotations

import contextlib
import inspect
import logging
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import ConfigError, NotFoundError, TrainingError, did_you_mean
from workbench.core.user_code import user_code
from workbench.data.competition import load_code, own_file
from workbench.features import code_key
from workbench.models.fold_data import FoldData, FoldTarget
from workbench.models.memory_estimate import LibraryMemory, MemoryEstimate, estimate_memory, training_widths
from workbench.models.model_request import ModelRequest
from workbench.models.records import FoldResult, Problem

__all__ = ["FunctionLearner", "FunctionSpec", "function_spec"]

Floats = npt.NDArray[np.float64]
log = logging.getLogger("workbench.models")

DATA_ARGUMENTS = ("X_train", "y_train", "X_valid", "y_valid", "X_test")
OPTIONAL_ARGUMENTS = ("weight", "seed", "fold", "categorical", "threads")
"""Keyword arguments that a function gets if its signature has them."""


@dataclass(frozen=True)
class FunctionSpec:
    """A function to call for each fold and seed.

    Attributes
    ----------
    reference : str
        "models.py:fit_predict".
    code : str
        The key of its code and of everything that the code uses.
    optional_arguments : tuple of str
        Those of `OPTIONAL_ARGUMENTS` that it takes.
    power : int
        Always 0: the function chooses its own loss, so it gets the row weights alone.
    """

    reference: str
    path: Path
    function: Callable[..., Any]
    code: str
    parameters: dict[str, Any]
    optional_arguments: tuple[str, ...]
    threads: int
    transform: str
    power: int = 0

    def content(self) -> dict[str, Any]:
        """Return everything that determines the result, for the run's key: the code and the parameters."""
        return {
            "function": self.reference,
            "code": self.code,
            "parameters": self.parameters,
            "transform": self.transform,
        }

    def memory_estimate(self, problem: Problem, seeds: Sequence[int]) -> MemoryEstimate:
        """Estimate the memory of the training at its peak, without that of the function itself, which is unknown."""
        matrix = problem.matrix
        bytes_per_row = sum(c.row_bytes for c in matrix.encoded) + 4 * training_widths(problem).per_fold
        data_bytes = matrix.n_rows * bytes_per_row
        # The data of the fold, and its chunks before they are concatenated.
        library = LibraryMemory(data_bytes, data_bytes, bytes_per_row=32, bytes_per_prediction=16)
        return estimate_memory(problem, seeds, library)

    def learner(self, problem: Problem, target_index: int) -> FunctionLearner:
        """Return the learner of target number `target_index`."""
        return FunctionLearner(problem, self, target_index)


def function_spec(request: ModelRequest) -> FunctionSpec:
    """Check the ``[python]`` table of an experiment and load its function.

    Raises
    ------
    ConfigError
        When the file or the function is missing or raises, or can't be called with these parameters.
    """
    reference = request.text("function", "models.py:fit_predict")
    file, colon, name = reference.partition(":")
    if not colon or not name or not file.endswith(".py"):
        raise ConfigError(
            f'{request.where} function = "{reference}": expected a file and a function of it',
            hint='for example function = "models.py:fit_predict"',
        )
    path = own_file(request.competition.folder, file, where=f"{request.where} function = {reference!r}")
    module = load_code(path)
    function = getattr(module, name, None)
    if not callable(function):
        functions = [n for n, v in vars(module).items() if inspect.isfunction(v)]
        raise NotFoundError(f"{path} has no function {name!r}", hint=did_you_mean(name, functions, kind="function"))
    parameters = {k: v for k, v in request.table.items() if k != "function"}
    optional_arguments = _check_call(request, function, parameters)
    return FunctionSpec(
        reference,
        path,
        function,
        code_key(path, name),
        parameters,
        optional_arguments,
        request.n_threads,
        request.transform,
    )


def _check_call(request: ModelRequest, function: Callable[..., Any], parameters: dict[str, Any]) -> tuple[str, ...]:
    """Return the optional arguments that the function takes; reject parameters that it can't be called with."""
    signature = inspect.signature(function)
    names = [p.name for p in signature.parameters.values() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes_any_keyword = any(p.kind == p.VAR_KEYWORD for p in signature.parameters.values())
    optional_arguments = tuple(k for k in OPTIONAL_ARGUMENTS if takes_any_keyword or k in names)
    for key in parameters:
        if key in (*DATA_ARGUMENTS, *OPTIONAL_ARGUMENTS):
            raise ConfigError(f"{request.where} can't set {key!r}: the function gets it from the training")
        if key not in names and not takes_any_keyword:
            raise request.unknown(key, {*names} - {*DATA_ARGUMENTS, *OPTIONAL_ARGUMENTS})
    try:
        signature.bind(*DATA_ARGUMENTS, **dict.fromkeys(optional_arguments), **parameters)
    except TypeError as exc:
        raise ConfigError(
            f"{request.where} function = {request.table['function']!r} can't be called with "
            f"({', '.join([*DATA_ARGUMENTS, '*', *optional_arguments, *parameters])}): {exc}",
            hint=f"def fit_predict({', '.join(DATA_ARGUMENTS)}, *, weight, seed, fold, categorical)",
        ) from exc
    return optional_arguments


# ------------------------------------------------------------------------------------------------------------ training


class FunctionLearner:
    """Calls the function for each fold and seed, and checks the predictions that it returns."""

    def __init__(self, problem: Problem, spec: FunctionSpec, target_index: int) -> None:
        self.data = FoldData(FoldTarget(problem, target_index, spec.transform, library_weights_classes=True))
        self.target_index = target_index
        self.spec = spec
        self.each_round: Callable[[], None] = lambda: None

    def fit(self, fold: int, seed: int) -> FoldResult:
        """Call the function for one fold and seed."""
        started_at = time.perf_counter()
        where = f"{self.spec.reference} (fold {fold}, seed {seed})"
        train_rows, valid_rows = self.data.split(fold)
        valid = self.data.columns.frame(fold, valid_rows)
        test = self.data.columns.frame(fold, self.data.test_rows)
        n_test = len(test)
        with _errors(where, self.spec.path), _seeded(seed):
            result = self.spec.function(
                self.data.columns.frame(fold, train_rows),
                self._labels(fold, train_rows),
                valid,
                self._labels(fold, valid_rows),
                # A subsample run has no test rows, and many libraries can't predict none.
                test if n_test else valid.head(1),
                **self._optional_arguments(fold, seed, train_rows),
                **self.spec.parameters,
            )
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise TrainingError(
                f"{where}: expected two arrays, (valid_predictions, test_predictions), got {_described(result)}"
            )
        return FoldResult(
            target=self.target_index,
            fold=fold,
            seed=seed,
            oof=self._checked(result[0], fold, len(valid_rows), f"{where}, valid_predictions"),
            test=self._checked(result[1], fold, n_test, f"{where}, test_predictions")
            if n_test
            else np.empty((0, self.data.target.column.width)),
            model="",
            rounds=0,
            seconds=time.perf_counter() - started_at,
            importance={},
            notes=self.data.target.notes(fold),
        )

    def _labels(self, fold: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return the labels as a copy, which the function may modify."""
        labels = self.data.target.labels(fold, rows)
        return labels if self.data.target.column.task == "regression" else labels.astype(np.int64)

    def _optional_arguments(self, fold: int, seed: int, train_rows: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Return the optional arguments that the function has, with their values for one fold and seed."""
        values = {
            "weight": self.data.target.training_weights(fold, train_rows),
            "seed": seed,
            "fold": fold,
            "categorical": list(self.data.columns.categorical),
            "threads": self.spec.threads,
        }
        return {k: values[k] for k in self.spec.optional_arguments}

    def _checked(self, values: Any, fold: int, n_rows: int, where: str) -> Floats:
        """Return predictions as (n_rows, width) floats on the target's scale.

        Raises
        ------
        TrainingError
            When they are not numbers, have another shape, are not finite or are not probabilities.
        """
        if isinstance(values, pl.Series | pl.DataFrame):
            values = values.to_numpy()
        try:
            array = np.asarray(values)
        except ValueError:  # rows of different lengths
            array = np.asarray(None)  # not an array of numbers, which is reported below
        if array.dtype.kind not in "fiub":
            raise TrainingError(f"{where}: expected an array of numbers, got {_described(values)}")
        if array.shape == (n_rows, 2) and self.data.target.column.task == "binary":
            raise TrainingError(
                f"{where}: expected the probability of the second class, ({n_rows:,},), got ({n_rows:,}, 2)",
                hint="return predict_proba(…)[:, 1]",
            )
        if array.shape == (n_rows,) or array.ndim == 2:
            array = array.reshape(n_rows, -1) if array.size and len(array) == n_rows else array
        return self.data.checked(self.data.shaped(array.astype(np.float64), n_rows, where), fold, where)


def _described(value: Any) -> str:
    """Return the type and size of a value, for messages."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}, {value.shape}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None: does it return?" if value is None else f"a {type(value).__name__}"


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python and NumPy, and restore their states afterwards."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


@contextlib.contextmanager
def _errors(where: str, path: Path) -> Iterator[None]:
    """Turn exceptions of the function into a TrainingError with its line, and log its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hint = "fix it; the run's log.txt has the whole traceback"
        try:
            with user_code(f"{where} failed", TrainingError, folder=path.parent, hint=hint, log=log):
                yield
        finally:
            for warning in caught:
                log.warning("%s: %s", where, str(warning.message).strip())
