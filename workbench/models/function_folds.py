"""A function of the competition's folder behind the contract of a learner: any library, the same OOF."""

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

from workbench.core.errors import ConfigError, NotFoundError, TrainingError, near
from workbench.core.user_code import user_code
from workbench.data.competition import load_code, own_file
from workbench.features import code_key
from workbench.models.fold_data import FoldData, FoldTarget
from workbench.models.memory_estimate import MemoryNeeds, column_counts, foreseen
from workbench.models.model_request import ModelRequest
from workbench.models.records import FoldResult, Problem

__all__ = ["FunctionLearner", "FunctionSpec", "function_spec"]

Floats = npt.NDArray[np.float64]
log = logging.getLogger("workbench.models")

DATA_ARGUMENTS = ("X_train", "y_train", "X_valid", "y_valid", "X_test")
OFFERED = ("weight", "seed", "fold", "categorical", "threads")
"""Keywords that a function gets if it takes them."""


@dataclass(frozen=True)
class FunctionSpec:
    """A function to call for each fold and seed.

    Attributes
    ----------
    reference : str
        "models.py:fit_predict".
    code : str
        The key of its code and of all that it uses.
    offered : tuple of str
        Which of `OFFERED` it takes.
    power : int
        0: its loss is its own, and the rows' own weights are all that it gets.
    """

    reference: str
    path: Path
    function: Callable[..., Any]
    code: str
    parameters: dict[str, Any]
    offered: tuple[str, ...]
    threads: int
    transform: str
    power: int = 0

    def content(self) -> dict[str, Any]:
        """Return what decides the result: the function with all that it uses, and its parameters."""
        return {
            "function": self.reference,
            "code": self.code,
            "parameters": self.parameters,
            "transform": self.transform,
        }

    def needs(self, problem: Problem, seeds: Sequence[int]) -> MemoryNeeds:
        """Foresee what the training takes at its peak, but for what the function itself takes."""
        return _needs(problem, seeds)

    def learner(self, problem: Problem, index: int) -> FunctionLearner:
        """Return what trains the models of target number `index`."""
        return FunctionLearner(problem, self, index)


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
        raise NotFoundError(f"{path} has no function {name!r}", hint=near(name, functions, kind="function"))
    parameters = {k: v for k, v in request.table.items() if k != "function"}
    offered = _check_call(request, function, parameters)
    key = code_key(path, name)
    return FunctionSpec(reference, path, function, key, parameters, offered, request.n_threads, request.transform)


def _check_call(request: ModelRequest, function: Callable[..., Any], parameters: dict[str, Any]) -> tuple[str, ...]:
    """Return which of the offered keywords the function takes; refuse what it can't be called with."""
    signature = inspect.signature(function)
    by_name = [p.name for p in signature.parameters.values() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes_all = any(p.kind == p.VAR_KEYWORD for p in signature.parameters.values())
    offered = tuple(k for k in OFFERED if takes_all or k in by_name)
    for key in parameters:
        if key in (*DATA_ARGUMENTS, *OFFERED):
            raise ConfigError(f"{request.where} can't set {key!r}: the function gets it from the training")
        if key not in by_name and not takes_all:
            raise request.unknown(key, {*by_name} - {*DATA_ARGUMENTS, *OFFERED})
    try:
        signature.bind(*DATA_ARGUMENTS, **dict.fromkeys(offered), **parameters)
    except TypeError as exc:
        raise ConfigError(
            f"{request.where} function = {request.table['function']!r} can't be called with "
            f"({', '.join([*DATA_ARGUMENTS, '*', *offered, *parameters])}): {exc}",
            hint=f"def fit_predict({', '.join(DATA_ARGUMENTS)}, *, weight, seed, fold, categorical)",
        ) from exc
    return offered


# ------------------------------------------------------------------------------------------------------------ training


class FunctionLearner:
    """Calls the function for each fold and seed, and checks what it gives."""

    def __init__(self, problem: Problem, spec: FunctionSpec, index: int) -> None:
        self.data = FoldData(FoldTarget(problem, index, spec.transform, library_weighs_classes=True))
        self.index = index
        self.spec = spec
        self.each_round: Callable[[], None] = lambda: None

    def fit(self, fold: int, seed: int) -> FoldResult:
        """Call the function for one fold with one seed."""
        started = time.perf_counter()
        where = f"{self.spec.reference} (fold {fold}, seed {seed})"
        train_rows, valid_rows = self.data.split(fold)
        valid = self.data.columns.frame(fold, valid_rows)
        test = self.data.columns.frame(fold, self.data.test_rows)
        n_test = len(test)
        with _errors(where, self.spec.path), _seeded(seed):
            result = self.spec.function(
                self.data.columns.frame(fold, train_rows),
                self._label(fold, train_rows),
                valid,
                self._label(fold, valid_rows),
                # A subsample run has no test rows, which many a library refuses to predict.
                test if n_test else valid.head(1),
                **self._offered(fold, seed, train_rows),
                **self.spec.parameters,
            )
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise TrainingError(
                f"{where}: expected two arrays, (valid_predictions, test_predictions), got {_described(result)}"
            )
        return FoldResult(
            target=self.index,
            fold=fold,
            seed=seed,
            oof=self._checked(result[0], fold, len(valid_rows), f"{where}, valid_predictions"),
            test=self._checked(result[1], fold, n_test, f"{where}, test_predictions")
            if n_test
            else np.empty((0, self.data.target.column.width)),
            model="",
            rounds=0,
            seconds=time.perf_counter() - started,
            importance={},
            notes=self.data.target.notes(fold),
        )

    def _label(self, fold: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        label = self.data.target.labels(fold, rows)  # a copy: what the function does to it stays with it
        return label if self.data.target.column.task == "regression" else label.astype(np.int64)

    def _offered(self, fold: int, seed: int, train_rows: npt.NDArray[np.int64]) -> dict[str, Any]:
        values = {
            "weight": self.data.target.training_weights(fold, train_rows),
            "seed": seed,
            "fold": fold,
            "categorical": list(self.data.columns.categorical),
            "threads": self.spec.threads,
        }
        return {k: values[k] for k in self.spec.offered}

    def _checked(self, values: Any, fold: int, n_rows: int, where: str) -> Floats:
        """Return predictions as (n_rows, width) floats on the target's own scale.

        Raises
        ------
        TrainingError
            When they are no numbers, not so many, not finite, or no probabilities.
        """
        if isinstance(values, pl.Series | pl.DataFrame):
            values = values.to_numpy()
        try:
            array = np.asarray(values)
        except ValueError:  # rows of different lengths
            array = np.asarray(None)
        if array.dtype.kind not in "fiub":
            raise TrainingError(f"{where}: expected an array of numbers, got {_described(values)}")
        if array.shape == (n_rows, 2) and self.data.target.column.task == "binary":
            raise TrainingError(
                f"{where}: expected the probability of the second class, ({n_rows:,},), got ({n_rows:,}, 2)",
                hint="of predict_proba return [:, 1]",
            )
        if array.shape == (n_rows,) or array.ndim == 2:
            array = array.reshape(n_rows, -1) if array.size and len(array) == n_rows else array
        return self.data.checked(self.data.shaped(array.astype(np.float64), n_rows, where), fold, where)


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}, {value.shape}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None: does it return?" if value is None else f"a {type(value).__name__}"


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the generators that functions use without saying so, and put them back."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


@contextlib.contextmanager
def _errors(where: str, path: Path) -> Iterator[None]:
    """Turn what the function raises into an error that names its line; its warnings go into the log."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hint = "mend it; the run's log.txt has all of it"
        try:
            with user_code(f"{where} failed", TrainingError, folder=path.parent, hint=hint, log=log):
                yield
        finally:
            for warning in caught:
                log.warning("%s: %s", where, str(warning.message).strip())


def _needs(problem: Problem, seeds: Sequence[int]) -> MemoryNeeds:
    """Foresee what the columns and predictions take: what the function takes beside is not known."""
    all_rows = sum(c.row_bytes for c in problem.matrix.encoded) + 4 * column_counts(problem).per_fold
    of_all = problem.matrix.n_rows * all_rows
    return foreseen(problem, seeds, of_fold=of_all, passing=of_all, row_bytes=32, output_bytes=16)
