"""LightGBM behind the contract of a learner: one binned dataset for all folds and seeds, one model at a time."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.errors import TrainingError
from workbench.features import CHUNK_ROWS
from workbench.training.datasets import add_columns, bin_frame, bin_train_rows
from workbench.training.parameters import LightGBMSpec, lightgbm_metric, objective_for
from workbench.training.records import FoldResult, Problem
from workbench.training.scoring import as_metric_input
from workbench.training.target import TargetColumn

if TYPE_CHECKING:
    import lightgbm as lgb

    from workbench.features import FoldFrames

__all__ = ["LightGBMLearner", "lightgbm_errors"]

Floats = npt.NDArray[np.float64]
log = logging.getLogger("workbench.training")


class LightGBMLearner:
    """Trains one target's models. The shared columns are binned once, when the first model needs them."""

    def __init__(self, problem: Problem, spec: LightGBMSpec, index: int) -> None:
        self.problem = problem
        self.index = index
        self.column: TargetColumn = problem.target.columns[index]
        self.spec = spec
        self.metric_name = lightgbm_metric(problem.metric, self.column.task, spec.transform)
        self.parameters = self._parameters()
        self.each_round: Callable[[], None] = lambda: None
        self._shared: lgb.Dataset | None = None
        self._learned: FoldFrames | None = None
        self._encoded: dict[int, pl.DataFrame] = {}

    def _parameters(self) -> dict[str, Any]:
        defaults = objective_for(self.column.task, self.problem.metric)
        extra: dict[str, Any] = {"num_class": self.column.width} if self.column.width > 1 else {}
        return {**defaults, **self.spec.parameters, **extra, "metric": self.metric_name or "None"}

    # --------------------------------------------------------------------------------------------------- datasets

    @property
    def label(self) -> Floats:
        """What is fitted: the target, transformed."""
        return np.log1p(self.column.values) if self.spec.transform == "log1p" else self.column.values

    def back(self, fitted: Floats) -> Floats:
        """Undo the transform."""
        return np.expm1(fitted) if self.spec.transform == "log1p" else fitted

    def shared(self) -> lgb.Dataset:
        """Return the binned columns that do not depend on the fold, for all train rows."""
        if self._shared is None:
            more = {"label": self.label, "weight": self.problem.target.weight}
            self._shared = bin_train_rows(self.problem.matrix, self.parameters, **more)
        return self._shared

    def fold_frame(self, fold: int) -> pl.DataFrame:
        """Return the fold-dependent columns of the train and test rows of one fold; kept for the next seed."""
        if self._learned is None:
            self._learned = self.problem.matrix.learned(self.problem.target.columns, self.index, self.problem.split)
        if fold not in self._encoded:
            self._encoded.clear()  # the fold before goes first: two of them may not fit
            self._encoded[fold] = self._learned.frame(fold)
        return self._encoded[fold]

    def datasets(self, fold: int, train_rows: npt.NDArray[np.int64] | None = None) -> tuple[lgb.Dataset, lgb.Dataset]:
        """Return the train and the validation dataset of a fold, or of some of its train rows."""
        folds, extra = self.problem.folds, self.fold_frame(fold)
        sides = (folds.train_rows(fold) if train_rows is None else train_rows, folds.valid_rows(fold))
        if not self.problem.matrix.width:
            train = bin_frame(extra[sides[0]], self.parameters, label=self.label[sides[0]], **self._weights(sides[0]))
            more = {"label": self.label[sides[1]], "reference": train, **self._weights(sides[1])}
            return train, bin_frame(extra[sides[1]], self.parameters, **more)
        both = [self.shared().subset(rows.tolist()).construct() for rows in sides]
        if extra.width:
            add_columns(both, [extra[rows] for rows in sides], self.parameters)
        return both[0], both[1]

    def train_set(self, fold: int, order: npt.NDArray[np.int64]) -> lgb.Dataset:
        """Return the train dataset of a fold whose row i has the target of row ``order[i]``, without its label."""
        matrix, rows = self.problem.matrix, self.problem.folds.train_rows(fold)
        extra = pl.DataFrame()
        if matrix.fold_columns:
            targets = [replace(t, values=t.values[order]) for t in self.problem.target.columns]
            extra = matrix.learned(targets, self.index, self.problem.split).frame(fold)
        if not matrix.width:
            return bin_frame(extra[rows], self.parameters, label=self.label[order[rows]], **self._weights(rows))
        made = self.shared().subset(rows.tolist()).construct()
        if extra.width:
            add_columns([made], [extra[rows]], self.parameters)
        return made

    def boosted(self, train_set: lgb.Dataset, seed: int, rounds: int) -> lgb.Booster:
        """Train so many rounds, without validation."""
        import lightgbm as lgb

        return lgb.train(self.parameters | {"seed": seed}, train_set, num_boost_round=rounds)

    def _weights(self, rows: npt.NDArray[np.int64]) -> dict[str, Any]:
        weight = self.problem.target.weight
        return {} if weight is None else {"weight": weight[rows]}

    @property
    def names(self) -> list[str]:
        """The columns in the order of the datasets: the shared ones, then the fold's own."""
        matrix, columns = self.problem.matrix, self.problem.target.columns
        return [*matrix.columns, *(n for c in matrix.fold_columns for n in c.names(columns, self.index))]

    # ---------------------------------------------------------------------------------------------------- one model

    def fit(self, fold: int, seed: int) -> FoldResult:
        """Train and predict one fold with one seed."""
        with lightgbm_errors(f"fold {fold}, seed {seed}"):
            return self._fit(fold, seed)

    def _fit(self, fold: int, seed: int) -> FoldResult:
        import lightgbm as lgb

        started = time.perf_counter()
        train_set, valid_set = self.datasets(fold)
        curve: dict[str, Any] = {}
        callbacks: list[Any] = [lgb.record_evaluation(curve), lambda _: self.each_round()]
        if self.spec.patience:
            callbacks.append(lgb.early_stopping(self.spec.patience, first_metric_only=True, verbose=False))
        booster = lgb.train(
            self.parameters | {"seed": seed},
            train_set,
            num_boost_round=self.spec.rounds,
            valid_sets=[valid_set],
            valid_names=["valid"],
            feval=None if self.metric_name else self.own_metric,
            callbacks=callbacks,
        )
        rounds = booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration()
        matrix, extra = self.problem.matrix, self.fold_frame(fold)
        valid = self.problem.folds.valid_rows(fold)
        return FoldResult(
            target=self.index,
            fold=fold,
            seed=seed,
            oof=self._predict(booster, rounds, valid, extra),
            test=self._predict(booster, rounds, range(matrix.n_train, matrix.n_rows), extra),
            model=_renamed(booster.model_to_string(num_iteration=rounds), self.names),
            rounds=rounds,
            seconds=time.perf_counter() - started,
            importance=self._importance(booster, rounds),
            curve={"valid": next(iter(curve.get("valid", {}).values()), [])},
        )

    def _predict(
        self, booster: lgb.Booster, rounds: int, rows: range | npt.NDArray[np.int64], extra: pl.DataFrame
    ) -> Floats:
        """Return the predictions of some rows, (n, width); `extra` has the fold-dependent columns of all rows."""
        threads = {"num_threads": self.parameters["num_threads"]}
        predicted = np.empty((len(rows), self.column.width))
        for where, frame in self._pieces(rows):
            beside = _beside(frame, extra[np.asarray(rows[where])] if extra.width else extra)
            made = np.asarray(booster.predict(beside, num_iteration=rounds, **threads))
            predicted[where] = made.reshape(-1, self.column.width)
        return self.back(predicted)

    def _pieces(self, rows: range | npt.NDArray[np.int64]) -> Iterator[tuple[slice, pl.DataFrame]]:
        if self.problem.matrix.width:
            yield from self.problem.matrix.chunks(rows)
        else:
            yield from ((slice(at, at + CHUNK_ROWS), pl.DataFrame()) for at in range(0, len(rows), CHUNK_ROWS))

    def own_metric(self, predictions: Floats, data: lgb.Dataset) -> tuple[str, float, bool]:
        """Compute the competition's metric the way LightGBM asks for it: its name, the value, its direction."""
        metric = self.problem.metric
        shaped = self.back(predictions if self.column.width > 1 else predictions.reshape(-1, 1))
        truth = self.back(np.asarray(data.get_label()))
        if self.column.task != "regression" or metric.needs == "label":
            truth = truth.astype(np.int64)
        value = metric(truth, as_metric_input(shaped, self.column, metric), data.get_weight())
        return metric.name, value, metric.greater_is_better

    def _importance(self, booster: lgb.Booster, rounds: int) -> dict[str, tuple[float, float]]:
        gain = booster.feature_importance("gain", iteration=rounds)
        splits = booster.feature_importance("split", iteration=rounds)
        return {n: (float(g), float(s)) for n, g, s in zip(self.names, gain, splits, strict=True)}


def _beside(frame: pl.DataFrame, extra: pl.DataFrame) -> pl.DataFrame:
    if not extra.width:
        return frame
    return frame.hstack(extra) if frame.width else extra


def _renamed(model: str, names: list[str]) -> str:
    """Put the columns' own names into a model's text, in the form that LightGBM's text can hold.

    Training uses c0, c1, … because LightGBM refuses names with JSON's characters and changes spaces.
    """
    safe = [re.sub(r'[\s\[\]{}":,]', "_", name) for name in names]
    if len(set(safe)) < len(safe):
        safe = [f"{name}_{i}" for i, name in enumerate(safe)]
    return re.sub(r"(?m)^feature_names=.*$", lambda _: "feature_names=" + " ".join(safe), model, count=1)


@contextmanager
def lightgbm_errors(where: str) -> Iterator[None]:
    """Turn LightGBM's exceptions into ours, and its log into Python's, for the length of the block."""
    import lightgbm as lgb

    lgb.register_logger(log, info_method_name="debug", warning_method_name="warning")
    try:
        yield
    except lgb.basic.LightGBMError as exc:
        raise TrainingError(
            f"LightGBM refused ({where}): {exc}", hint="check [model] in the experiment's file"
        ) from exc
