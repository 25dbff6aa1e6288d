"""LightGBM's datasets of each fold: rows of the shared bins with the fold's own columns, labels and weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.models.fold_data import FoldData
from workbench.models.lightgbm.bins import BinnedRows, binning_of, subset_of
from workbench.models.lightgbm.datasets import add_columns, bin_frame
from workbench.models.pseudo_labels import Pseudo

if TYPE_CHECKING:
    import lightgbm as lgb

__all__ = ["DatasetSplit", "FoldDatasets", "PseudoLabels"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
PseudoLabels = tuple[Ints, Ints]
"""Test rows, and their classes."""


@dataclass(frozen=True)
class DatasetSplit:
    """Rows in the order of their dataset."""

    rows: Ints
    dataset: lgb.Dataset


class FoldDatasets:
    """Makes the datasets of one target's models.

    Parameters
    ----------
    data : FoldData
    parameters : dict
        LightGBM's, by primary names.
    bins : BinnedRows
    pseudo : Pseudo, optional
        Where test rows are trained on: they are binned, too.
    """

    def __init__(
        self, data: FoldData, parameters: dict[str, Any], bins: BinnedRows, pseudo: Pseudo | None = None
    ) -> None:
        self.data, self.parameters, self.bins, self.pseudo = data, parameters, bins, pseudo

    def train_rows(self, fold: int) -> Ints:
        """Return the rows that a fold trains on in the order of their dataset; `ALL_ROWS` is a fold, too."""
        return self.bins.in_order(self.data.target.train_rows(fold))

    def split(self, fold: int, chosen: Ints | None = None) -> tuple[DatasetSplit, DatasetSplit]:
        """Return the train and the validation rows of a fold; of its train rows only the `chosen` ones, if given."""
        train = self.train_rows(fold) if chosen is None else self.bins.in_order(chosen)
        valid = self.bins.in_order(self.data.target.valid_rows(fold))
        train_set, valid_set = self.without_labels([train, valid], self.data.columns.of_fold(fold))
        self.label_train(train_set, fold, train)
        self.label_valid(valid_set, fold, valid)
        return DatasetSplit(train, train_set), DatasetSplit(valid, valid_set)

    def train_set(self, fold: int) -> DatasetSplit:
        """Return the rows that a fold trains on."""
        rows = self.train_rows(fold)
        (dataset,) = self.without_labels([rows], self.data.columns.of_fold(fold))
        self.label_train(dataset, fold, rows)
        return DatasetSplit(rows, dataset)

    def with_pseudo_labels(self, fold: int, labels: PseudoLabels, valid: Ints) -> list[DatasetSplit]:
        """Return a fold's train rows with test rows behind them, and its validation rows, if there are any."""
        (test, classes), train, target = labels, self.train_rows(fold), self.data.target
        joined = np.concatenate([train, test])
        splits = [joined, valid] if len(valid) else [joined]
        datasets = self.without_labels(splits, self.data.columns.of_fold(fold))
        weights, by_class = target.training_weights(fold, train), target.class_weights(fold)
        of_test = self.pseudo.weight * np.ones(len(test))  # type: ignore[union-attr]
        if self.data.problem.target.weight is not None:
            of_test *= self.data.problem.target.weight[train].mean()
        if by_class is not None:
            of_test *= by_class[classes]
        datasets[0].set_label(np.concatenate([target.labels(fold, train), classes.astype(np.float64)]))
        datasets[0].set_weight(np.concatenate([np.ones(len(train)) if weights is None else weights, of_test]))
        for dataset in datasets[1:]:
            self.label_valid(dataset, fold, valid)
        return [DatasetSplit(rows, dataset) for rows, dataset in zip(splits, datasets, strict=True)]

    def without_labels(self, row_sets: Sequence[Ints], fold_columns: pl.DataFrame) -> list[lgb.Dataset]:
        """Return datasets of rows, without labels; the fold's own columns get the bins of the first."""
        matrix, threads = self.data.problem.matrix, {"num_threads": self.parameters["num_threads"]}
        binning = binning_of(self.parameters, slice(matrix.width, None)) | {"verbosity": -1} | threads
        if not matrix.width:
            first = bin_frame(fold_columns[row_sets[0]], binning)
            return [first, *(bin_frame(fold_columns[rows], binning, reference=first) for rows in row_sets[1:])]
        shared = self.bins.dataset(
            binning_of(self.parameters, slice(0, matrix.width)),
            threads=self.parameters["num_threads"],
            with_test=self.pseudo is not None and matrix.n_test > 0,
        )
        datasets = [subset_of(shared, self.bins.positions(rows)) for rows in row_sets]
        if fold_columns.width:
            add_columns(datasets, [fold_columns[rows] for rows in row_sets], binning)
        return datasets

    def label_train(self, dataset: lgb.Dataset, fold: int, rows: Ints) -> None:
        """Give a dataset of train rows its labels, weights and queries."""
        self._label(dataset, fold, rows, self.data.target.training_weights(fold, rows))

    def label_valid(self, dataset: lgb.Dataset, fold: int, rows: Ints) -> None:
        """Give a dataset of validation rows its labels, weights and queries."""
        self._label(dataset, fold, rows, self.data.target.validation_weights(fold, rows))

    def _label(self, dataset: lgb.Dataset, fold: int, rows: Ints, weights: Floats | None) -> None:
        dataset.set_label(self.data.target.labels(fold, rows))
        dataset.set_weight(weights)
        query = self.data.problem.target.query
        if query is not None:
            edges = np.flatnonzero(np.diff(query[rows], prepend=-1))
            dataset.set_group(np.diff(edges, append=len(rows)))
