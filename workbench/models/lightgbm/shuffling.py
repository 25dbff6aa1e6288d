"""What models make of shuffled data: predictions with shuffled columns, gains with a shuffled target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.models.lightgbm.boosting import boosted, lightgbm_errors
from workbench.models.lightgbm.fold_datasets import DatasetSplit, FoldDatasets
from workbench.models.lightgbm.learner import LightGBMLearner, LightGBMSpec
from workbench.models.records import Problem

__all__ = ["FoldModels", "shuffled_gains"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
CHUNK_BYTES = 256 * 2**20
"""What the validated rows of a fold may take as one array; more of them are predicted in chunks."""

SMALL = (pl.Float32, pl.Int8, pl.Int16, pl.UInt8, pl.UInt16, pl.Boolean)


class FoldModels:
    """The models of one fold, over its validated rows, to predict with some columns' values in another order.

    Parameters
    ----------
    problem : Problem
    spec : LightGBMSpec
    fold : int
    models : dict
        (target, seed) -> LightGBM's text, as `FoldResult.model` has it.
    chunk_bytes : int
        What the rows may take as one array; a chunk of that size is held where there are more.
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
        self._trainers = [LightGBMLearner(problem, spec, i) for i in range(len(problem.target.columns))]
        with lightgbm_errors(f"fold {fold}"):
            self._boosters = {at: lgb.Booster(model_str=text) for at, text in models.items()}
        # All columns, but only for the rows that the fold validates: they are shuffled among each other.
        validated = problem.matrix.only_train(self.rows).frame
        self._columns: list[dict[str, pl.Series]] = []
        for trainer in self._trainers:
            extra = trainer.data.columns.of_fold(fold)
            beside = extra[self.rows] if extra.width else extra
            target_columns = [*validated.get_columns(), *beside.get_columns()]
            self._columns.append({c.name: c for c in target_columns})
        self._held: dict[int, tuple[int, npt.NDArray[Any]]] = {}

    def used(self) -> set[str]:
        """Return the columns that any of the models splits on: the order of all others makes no difference."""
        names: set[str] = set()
        for (target, _), booster in self._boosters.items():
            splits = booster.feature_importance("split")
            names |= {name for name, n in zip(self._trainers[target].names, splits, strict=True) if n}
        return names

    def values_of(self, column: str) -> pl.Series:
        """Return a column's values in the validated rows, of the first target that has it."""
        return next(columns[column] for columns in self._columns if column in columns)

    def predict(self, columns: Sequence[str] = (), order: Ints | None = None) -> Floats:
        """Predict the validated rows, the mean over the seeds.

        Parameters
        ----------
        columns : sequence of str
            Whose values are taken in another order; all of them in the same.
        order : int array (n_valid,)
            Row i gets the values of row ``order[i]``; a row may give its values more than once.

        Returns
        -------
        float array (n_valid, width)
        """
        target = self.problem.target
        total = np.zeros((len(self.rows), target.width))
        seeds = [0] * len(target.columns)
        for index, where in enumerate(target.slices):
            boosters = [b for (t, _), b in self._boosters.items() if t == index]
            seeds[index] = len(boosters)
            for start, values in self._chunks(index, columns, order):
                for booster in boosters:
                    total[start : start + len(values), where] += self._predicted(booster, index, values)
        for index, where in enumerate(target.slices):
            total[:, where] /= seeds[index]
        return total

    def _predicted(self, booster: Any, index: int, values: npt.NDArray[Any]) -> Floats:
        trainer = self._trainers[index]
        threads = {"num_threads": trainer.parameters["num_threads"]}
        predicted = np.asarray(booster.predict(values, **threads)).reshape(-1, trainer.column.width)
        return trainer.to_target_scale(predicted, self.fold)

    def _chunks(self, index: int, columns: Sequence[str], order: Ints | None) -> Any:
        """Yield the values chunk by chunk, with the columns shuffled; they are restored after each chunk."""
        series = self._columns[index]
        places = [i for i, name in enumerate(series) if name in columns] if order is not None else []
        size = max(1, self.chunk_bytes // (max(1, len(series)) * self._dtype(index).itemsize))
        for start in range(0, len(self.rows), size):
            rows = np.arange(start, min(start + size, len(self.rows)))
            values = self._values(index, start, rows)
            originals = values[:, places].copy()
            for i in places:
                values[:, i] = self._filled(index, i, order[start : start + size])  # type: ignore[index]
            yield start, values
            values[:, places] = originals

    def _values(self, index: int, start: int, rows: Ints) -> npt.NDArray[Any]:
        # One chunk stays: where the rows are one chunk, which is the usual case, they are laid out once per target.
        cached_start, values = self._held.pop(index, (-1, None))
        if cached_start != start or values is None:
            values = np.empty((len(rows), len(self._columns[index])), self._dtype(index))
            for i in range(values.shape[1]):
                values[:, i] = self._filled(index, i, rows)
        self._held[index] = (start, values)
        return values

    def _filled(self, index: int, place: int, rows: Ints) -> npt.NDArray[Any]:
        series = list(self._columns[index].values())[place]
        values: npt.NDArray[Any] = series.gather(rows).cast(pl.Float64).to_numpy()  # null becomes NaN
        return values

    def _dtype(self, index: int) -> np.dtype[Any]:
        small = all(c.dtype in SMALL for c in self._columns[index].values())
        return np.dtype(np.float32 if small else np.float64)


def shuffled_gains(
    problem: Problem,
    spec: LightGBMSpec,
    jobs: Sequence[tuple[int, int, int]],
    order_of: Callable[[int], Ints],
    *,
    rounds: Callable[[int, int], int],
    done: Callable[[int], None] = lambda _: None,
) -> list[dict[str, float]]:
    """Train with the target shuffled and return each column's gain.

    The columns are binned once, for all folds and shuffles; what the folds' own encodings make of the shuffled target
    is computed anew.

    Parameters
    ----------
    jobs : sequence of (shuffle, fold, seed)
        One model per target each.
    order_of : callable
        Shuffle -> int array (n_train,): row i gets the target of row ``order[i]``.
    rounds : callable
        (target, fold) -> how many rounds: those that the fold's own model has, so that the gains can be compared.
    done : callable, optional
        Called after each job with the number of jobs that are done.

    Returns
    -------
    list of dict
        For each job, column -> gain, summed over the targets.
    """
    totals: list[dict[str, float]] = [{} for _ in jobs]
    n_targets = len(problem.target.columns)
    finished = 0
    for index in range(n_targets):
        trainer = LightGBMLearner(problem, spec, index)
        held: tuple[int, Any] | None = None
        for at in sorted(range(len(jobs)), key=lambda i: jobs[i][1]):  # fold by fold: one subset is held at a time
            shuffle, fold, seed = jobs[at]
            order = order_of(shuffle)
            with lightgbm_errors(f"fold {fold}, shuffle {shuffle}"):
                if held is None or held[0] != fold or problem.matrix.fold_columns:
                    held = None
                    held = (fold, _shuffled_train_set(trainer.datasets, fold, order))
                target, split = trainer.data.target, held[1]
                trainer.datasets.label_train(split.dataset, fold, split.rows)  # the weights stay with the rows
                split.dataset.set_label(target.labels(fold, order[split.rows]))
                booster = boosted(trainer.with_seed(seed), split.dataset, rounds(index, fold))
            for name, gain in zip(trainer.names, booster.feature_importance("gain"), strict=True):
                totals[at][name] = totals[at].get(name, 0.0) + float(gain)
            if index == n_targets - 1:
                finished += 1
                done(finished)
    return totals


def _shuffled_train_set(datasets: FoldDatasets, fold: int, order: Ints) -> DatasetSplit:
    """Return a fold's train rows with what its own columns learn where row i has the target of row ``order[i]``."""
    problem, rows = datasets.data.problem, datasets.train_rows(fold)
    fold_columns = pl.DataFrame()
    if problem.matrix.fold_columns:
        targets = [replace(t, values=t.values[order]) for t in problem.target.columns]
        fold_columns = problem.matrix.learned(targets, datasets.data.target.index, problem.split).frame(fold)
    (dataset,) = datasets.without_labels([rows], fold_columns)
    return DatasetSplit(rows, dataset)
