"""Models on shuffled data, for column selection: predictions with shuffled columns, gains with a shuffled target."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.models.lightgbm.boosting import lightgbm_errors, train_booster
from workbench.models.lightgbm.fold_datasets import DatasetSplit, FoldDatasets
from workbench.models.lightgbm.learner import LightGBMLearner, LightGBMSpec
from workbench.models.records import Problem

__all__ = ["FoldModels", "shuffled_gains"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
CHUNK_BYTES = 256 * 2**20
"""The most bytes of an array of validation rows; more rows are predicted in chunks."""

FLOAT32_TYPES = (pl.Float32, pl.Int8, pl.Int16, pl.UInt8, pl.UInt16, pl.Boolean)
"""Types whose values 32 bits represent exactly."""


class FoldModels:
    """The models of one fold, to predict its validation rows with the values of some columns shuffled.

    Parameters
    ----------
    problem : Problem
    spec : LightGBMSpec
    fold : int
    models : dict
        (target, seed) -> LightGBM's text, from `FoldResult.model`.
    chunk_bytes : int
        The most bytes of an array of rows.
    """

    def __init__(
        self,
        problem: Problem,
        spec: LightGBMSpec,
        fold: int,
        models: dict[tuple[int, int], str],
        *,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        import lightgbm as lgb

        self.problem = problem
        self.fold = fold
        self.rows = problem.folds.valid_rows(fold)
        self.chunk_bytes = chunk_bytes
        self._learners = [LightGBMLearner(problem, spec, i) for i in range(len(problem.target.columns))]
        with lightgbm_errors(f"fold {fold}"):
            self._boosters = {key: lgb.Booster(model_str=text) for key, text in models.items()}
        valid_frame = problem.matrix.only_train(self.rows).frame
        self._columns: list[dict[str, pl.Series]] = []  # of the validation rows, by target
        for learner in self._learners:
            fold_columns = learner.data.columns.of_fold(fold)
            valid_fold_columns = fold_columns[self.rows] if fold_columns.width else fold_columns
            target_columns = [*valid_frame.get_columns(), *valid_fold_columns.get_columns()]
            self._columns.append({c.name: c for c in target_columns})
        self._latest_chunk: dict[int, tuple[int, npt.NDArray[Any]]] = {}  # by target: its first row and values

    def split_columns(self) -> set[str]:
        """Return the columns that any of the models splits on: shuffling others has no effect."""
        names: set[str] = set()
        for (target, _), booster in self._boosters.items():
            splits = booster.feature_importance("split")
            names |= {name for name, n in zip(self._learners[target].feature_names, splits, strict=True) if n}
        return names

    def values_of(self, column: str) -> pl.Series:
        """Return a column's values in the validation rows, of the first target that has the column."""
        return next(columns[column] for columns in self._columns if column in columns)

    def predict(self, columns: Sequence[str] = (), order: Ints | None = None) -> Floats:
        """Predict the validation rows, the mean over the seeds.

        Parameters
        ----------
        columns : sequence of str
            The columns to shuffle, all in the same order.
        order : int array (n_valid,)
            Row i gets the values of row ``order[i]``; rows may occur more than once.

        Returns
        -------
        float array (n_valid, width)
        """
        target = self.problem.target
        total = np.zeros((len(self.rows), target.width))
        for target_index, target_slice in enumerate(target.slices):
            boosters = [booster for (t, _), booster in self._boosters.items() if t == target_index]
            for start, values in self._chunks(target_index, columns, order):
                for booster in boosters:
                    total[start : start + len(values), target_slice] += self._predict(booster, target_index, values)
            total[:, target_slice] /= len(boosters)
        return total

    def _predict(self, booster: Any, target_index: int, values: npt.NDArray[Any]) -> Floats:
        learner = self._learners[target_index]
        output = np.asarray(booster.predict(values, num_threads=learner.parameters["num_threads"]))
        return learner.output.to_target_scale(output.reshape(-1, learner.target_column.width), self.fold)

    def _chunks(
        self, target_index: int, columns: Sequence[str], order: Ints | None
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield the first row and the values of each chunk, with the columns shuffled; they are restored afterwards."""
        names = list(self._columns[target_index])
        shuffled_positions = [i for i, name in enumerate(names) if name in columns] if order is not None else []
        n_rows = max(1, self.chunk_bytes // (max(1, len(names)) * self._dtype(target_index).itemsize))
        for start in range(0, len(self.rows), n_rows):
            rows = np.arange(start, min(start + n_rows, len(self.rows)))
            values = self._values(target_index, start, rows)
            originals = values[:, shuffled_positions].copy()
            for i in shuffled_positions:
                values[:, i] = self._column_values(target_index, i, order[start : start + n_rows])  # type: ignore[index]
            yield start, values
            values[:, shuffled_positions] = originals

    def _values(self, target_index: int, start: int, rows: Ints) -> npt.NDArray[Any]:
        # The latest chunk of each target is kept: usually there is only one, which is made once.
        cached_start, values = self._latest_chunk.pop(target_index, (-1, None))
        if cached_start != start or values is None:
            values = np.empty((len(rows), len(self._columns[target_index])), self._dtype(target_index))
            for i in range(values.shape[1]):
                values[:, i] = self._column_values(target_index, i, rows)
        self._latest_chunk[target_index] = (start, values)
        return values

    def _column_values(self, target_index: int, position: int, rows: Ints) -> npt.NDArray[Any]:
        series = list(self._columns[target_index].values())[position]
        values: npt.NDArray[Any] = series.gather(rows).cast(pl.Float64).to_numpy()  # null becomes NaN
        return values

    def _dtype(self, target_index: int) -> np.dtype[Any]:
        is_float32 = all(c.dtype in FLOAT32_TYPES for c in self._columns[target_index].values())
        return np.dtype(np.float32 if is_float32 else np.float64)


def shuffled_gains(
    problem: Problem,
    spec: LightGBMSpec,
    jobs: Sequence[tuple[int, int, int]],
    order_of: Callable[[int], Ints],
    *,
    rounds: Callable[[int, int], int],
    on_finished: Callable[[int], None] = lambda _: None,
) -> list[dict[str, float]]:
    """Train with the target shuffled and return each column's gain.

    The columns are binned once, for all folds and shuffles; encodings that depend on the fold are computed again with
    the shuffled target.

    Parameters
    ----------
    jobs : sequence of (shuffle, fold, seed)
        Each job trains a model per target.
    order_of : callable
        Shuffle -> int array (n_train,): row i gets the target of row ``order[i]``.
    rounds : callable
        (target, fold) -> the number of rounds: that of the fold's own model, so that gains can be compared.
    on_finished : callable, optional
        Called after each job with the number of finished jobs.

    Returns
    -------
    list of dict
        For each job, column -> gain, summed over the targets.
    """
    totals: list[dict[str, float]] = [{} for _ in jobs]
    n_targets = len(problem.target.columns)
    n_finished = 0
    for target_index in range(n_targets):
        learner = LightGBMLearner(problem, spec, target_index)
        fold_in_memory, split = -1, None
        for job in sorted(range(len(jobs)), key=lambda i: jobs[i][1]):  # by fold: one train set in memory at a time
            shuffle, fold, seed = jobs[job]
            order = order_of(shuffle)
            with lightgbm_errors(f"fold {fold}, shuffle {shuffle}"):
                if split is None or fold_in_memory != fold or problem.matrix.fold_columns:
                    split = None  # freed first: two of them may not fit into memory
                    fold_in_memory, split = fold, _shuffled_train_set(learner.datasets, fold, order)
                learner.datasets.label_train(split.dataset, fold, split.rows)  # weights are not shuffled
                split.dataset.set_label(learner.data.target.labels(fold, order[split.rows]))
                booster = train_booster(learner.with_seed(seed), split.dataset, rounds(target_index, fold))
            for name, gain in zip(learner.feature_names, booster.feature_importance("gain"), strict=True):
                totals[job][name] = totals[job].get(name, 0.0) + float(gain)
            if target_index == n_targets - 1:
                n_finished += 1
                on_finished(n_finished)
    return totals


def _shuffled_train_set(datasets: FoldDatasets, fold: int, order: Ints) -> DatasetSplit:
    """Return a fold's train set, with encodings of a target in which row i has the value of row ``order[i]``."""
    problem, rows = datasets.data.problem, datasets.train_rows(fold)
    fold_columns = pl.DataFrame()
    if problem.matrix.fold_columns:
        targets = [replace(t, values=t.values[order]) for t in problem.target.columns]
        fold_columns = problem.matrix.learned(targets, datasets.data.target.target_index, problem.split).frame(fold)
    (dataset,) = datasets.without_labels([rows], fold_columns)
    return DatasetSplit(rows, dataset)
