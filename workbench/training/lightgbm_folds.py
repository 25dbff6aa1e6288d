"""The training itself: one binned dataset for all folds and seeds, one model at a time."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.errors import TrainingError
from workbench.training.parameters import ModelSpec, lightgbm_metric, objective_for
from workbench.training.records import FoldResult, Parts, Problem, TrainResult
from workbench.training.scoring import as_metric_input
from workbench.training.target import TargetColumn

if TYPE_CHECKING:
    import lightgbm as lgb

    from workbench.features import FoldFrames

__all__ = ["train"]

Floats = npt.NDArray[np.float64]
PREDICT_ROWS = 500_000
"""Rows predicted at a time: bounds what LightGBM copies."""

log = logging.getLogger("workbench.training")


def train(
    problem: Problem,
    spec: ModelSpec,
    seeds: tuple[int, ...],
    *,
    parts: Parts | None = None,
    done: Callable[[FoldResult, int], None] = lambda _result, _left: None,
) -> TrainResult:
    """Train one model per target, fold and seed.

    Parameters
    ----------
    problem : Problem
    spec : ModelSpec
    seeds : tuple of int
    parts : Parts, optional
        Finished folds are taken from there and kept there.
    done : callable, optional
        Called after each model that is trained, with it and the number of models still to come.

    Raises
    ------
    TrainingError
        When a fold can't be trained (one class only), or LightGBM refuses the parameters.
    """
    _check_classes(problem)
    results: list[FoldResult] = []
    total = len(problem.target.columns) * len(seeds) * problem.folds.n_folds
    for index in range(len(problem.target.columns)):
        trainer = _Trainer(problem, spec, index)
        for seed in seeds:
            for fold in range(problem.folds.n_folds):
                result = parts.load(index, fold, seed) if parts else None
                if result is None:
                    with lightgbm_errors(f"fold {fold}, seed {seed}"):
                        result = trainer.fit(fold, seed)
                    if parts:
                        parts.save(result)
                    results.append(result)
                    done(result, total - len(results))
                else:
                    results.append(result)
    return _assembled(problem, seeds, tuple(results))


def _check_classes(problem: Problem) -> None:
    """Refuse folds that lack a class, before the first minute is spent."""
    for column in problem.target.columns:
        if column.classes is None:
            continue
        for fold in range(problem.folds.n_folds):
            for side, rows in (
                ("trains", problem.folds.train_rows(fold)),
                ("validates", problem.folds.valid_rows(fold)),
            ):
                present = np.unique(column.values[rows])
                # A multiclass fold may lack a rare class; a binary one without positives can't be scored.
                if len(present) < 2:
                    only = column.classes[int(present[0])] if len(present) else "nothing"
                    raise TrainingError(
                        f"fold {fold} {side} on {len(rows):,} rows that all have {column.name} = {only!r}",
                        hint='fewer folds, or scheme = "stratified" under [cv] in competition.toml',
                    )


class _Trainer:
    """Trains one target's models. The shared columns are binned once, when the first model needs them."""

    def __init__(self, problem: Problem, spec: ModelSpec, index: int) -> None:
        self.problem = problem
        self.index = index
        self.column: TargetColumn = problem.target.columns[index]
        self.spec = spec
        self.metric_name = lightgbm_metric(problem.metric, self.column.task, spec.transform)
        self.parameters = self._parameters()
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

    def _back(self, fitted: Floats) -> Floats:
        """Undo the transform."""
        return np.expm1(fitted) if self.spec.transform == "log1p" else fitted

    def shared(self) -> lgb.Dataset:
        """Return the binned columns that do not depend on the fold, for all train rows."""
        if self._shared is None:
            self._shared = self._dataset(self.problem.matrix.train, label=self.label, weight=self.problem.target.weight)
        return self._shared

    def _dataset(self, frame: pl.DataFrame, **more: Any) -> lgb.Dataset:
        import lightgbm as lgb

        categories = [i for i, c in enumerate(frame.columns) if c in self.problem.matrix.categories]
        made = lgb.Dataset(
            frame,
            feature_name=[f"c{i}" for i in range(frame.width)],
            categorical_feature=categories,
            params=self.parameters,
            free_raw_data=True,
            **more,
        )
        return made.construct()

    def fold_frame(self, fold: int) -> pl.DataFrame:
        """Return the fold-dependent columns of the train and test rows of one fold; kept for the next seed."""
        if self._learned is None:
            self._learned = self.problem.matrix.learned(self.problem.target.columns, self.index, self.problem.split)
        if fold not in self._encoded:
            self._encoded.clear()  # the fold before goes first: two of them may not fit
            self._encoded[fold] = self._learned.frame(fold)
        return self._encoded[fold]

    def datasets(self, fold: int) -> tuple[lgb.Dataset, lgb.Dataset]:
        """Return the train and the validation dataset of a fold."""
        folds, extra = self.problem.folds, self.fold_frame(fold)
        sides = (folds.train_rows(fold), folds.valid_rows(fold))
        if not self.problem.matrix.frame.width:
            train = self._dataset(extra[sides[0]], label=self.label[sides[0]], **self._weights(sides[0]))
            return train, self._dataset(
                extra[sides[1]], label=self.label[sides[1]], reference=train, **self._weights(sides[1])
            )
        both = [self.shared().subset(rows.tolist()).construct() for rows in sides]
        if extra.width:
            _add_columns(both, [extra[rows] for rows in sides], self.parameters)
        return both[0], both[1]

    def _weights(self, rows: npt.NDArray[np.int64]) -> dict[str, Any]:
        weight = self.problem.target.weight
        return {} if weight is None else {"weight": weight[rows]}

    @property
    def names(self) -> list[str]:
        matrix, columns = self.problem.matrix, self.problem.target.columns
        return [*matrix.frame.columns, *(n for c in matrix.fold_columns for n in c.names(columns, self.index))]

    # ---------------------------------------------------------------------------------------------------- one model

    def fit(self, fold: int, seed: int) -> FoldResult:
        """Train and predict one fold with one seed."""
        import lightgbm as lgb

        started = time.perf_counter()
        train_set, valid_set = self.datasets(fold)
        curve: dict[str, Any] = {}
        callbacks = [lgb.record_evaluation(curve)]
        if self.spec.patience:
            callbacks.append(lgb.early_stopping(self.spec.patience, first_metric_only=True, verbose=False))
        booster = lgb.train(
            self.parameters | {"seed": seed},
            train_set,
            num_boost_round=self.spec.rounds,
            valid_sets=[valid_set],
            valid_names=["valid"],
            feval=None if self.metric_name else self._own_metric,
            callbacks=callbacks,
        )
        rounds = booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration()
        matrix, extra = self.problem.matrix, self.fold_frame(fold)
        valid = self.problem.folds.valid_rows(fold)
        return FoldResult(
            target=self.index,
            fold=fold,
            seed=seed,
            oof=self._predict(booster, rounds, _beside(matrix.train[valid], extra[valid] if extra.width else extra)),
            test=self._predict(booster, rounds, _beside(matrix.test, extra.slice(matrix.n_train))),
            model=_renamed(booster.model_to_string(num_iteration=rounds), self.names),
            rounds=rounds,
            seconds=time.perf_counter() - started,
            importance=self._importance(booster, rounds),
            curve={"valid": next(iter(curve.get("valid", {}).values()), [])},
        )

    def _predict(self, booster: lgb.Booster, rounds: int, frame: pl.DataFrame) -> Floats:
        threads = {"num_threads": self.parameters["num_threads"]}
        chunks = [
            np.asarray(booster.predict(chunk, num_iteration=rounds, **threads)).reshape(-1, self.column.width)
            for chunk in frame.iter_slices(PREDICT_ROWS)
        ]
        return self._back(np.concatenate(chunks)) if chunks else np.empty((0, self.column.width))

    def _own_metric(self, predictions: Floats, data: lgb.Dataset) -> tuple[str, float, bool]:
        metric = self.problem.metric
        shaped = self._back(predictions if self.column.width > 1 else predictions.reshape(-1, 1))
        truth = self._back(np.asarray(data.get_label()))
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


def _add_columns(datasets: list[lgb.Dataset], frames: list[pl.DataFrame], parameters: dict[str, Any]) -> None:
    """Append the fold's own columns, binned on its train rows, to the subsets of the shared dataset."""
    import warnings

    import lightgbm as lgb

    first: lgb.Dataset | None = None
    for dataset, frame in zip(datasets, frames, strict=True):
        names = [f"e{i}" for i in range(frame.width)]
        extra = lgb.Dataset(
            frame, feature_name=names, categorical_feature=[], params=parameters, reference=first
        ).construct()
        first = first or extra
        with warnings.catch_warnings():
            # It warns that the raw data, which nothing needs any more, is not joined, and that the subset's list of
            # categorical columns, which the binned data keeps, is.
            warnings.simplefilter("ignore", UserWarning)
            dataset.add_features_from(extra)


def _renamed(model: str, names: list[str]) -> str:
    """Put the columns' own names into a model's text, in the form that LightGBM's text can hold.

    Training uses c0, c1, … because LightGBM refuses names with JSON's characters and changes spaces.
    """
    safe = [re.sub(r'[\s\[\]{}":,]', "_", name) for name in names]
    if len(set(safe)) < len(safe):
        safe = [f"{name}_{i}" for i, name in enumerate(safe)]
    return re.sub(r"(?m)^feature_names=.*$", lambda _: "feature_names=" + " ".join(safe), model, count=1)


def _assembled(problem: Problem, seeds: tuple[int, ...], results: tuple[FoldResult, ...]) -> TrainResult:
    n_rows, width = problem.target.n_rows, problem.target.width
    n_test = problem.matrix.n_test
    seed_oof = np.full((len(seeds), n_rows, width), np.nan)
    test = np.zeros((n_test, width))
    for result in results:
        where = problem.target.slices[result.target]
        seed_oof[seeds.index(result.seed), problem.folds.valid_rows(result.fold), where] = result.oof
        test[:, where] += result.test
    return TrainResult(seed_oof.mean(axis=0), test / (len(seeds) * problem.folds.n_folds), seed_oof, results)


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
