"""LightGBM's datasets of each fold: rows of the shared bins with the fold's columns, labels and weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.models.fold_cache import FoldCache
from workbench.models.fold_data import FoldData
from workbench.models.lightgbm.bins import BinnedRows, bin_parameters, dataset_subset
from workbench.models.lightgbm.datasets import add_columns, bin_frame
from workbench.models.pseudo_labels import PseudoLabelRule

if TYPE_CHECKING:
    import lightgbm as lgb

__all__ = ["DatasetSplit", "FoldDatasets", "PseudoLabels"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class PseudoLabels(NamedTuple):
    """Test rows with a pseudo-label, and their classes."""

    rows: Ints
    classes: Ints


@dataclass(frozen=True)
class DatasetSplit:
    """A dataset, and its rows in their order."""

    rows: Ints
    dataset: lgb.Dataset


class FoldDatasets:
    """Makes the datasets for one target's models.

    Parameters
    ----------
    data : FoldData
    parameters : dict
        LightGBM's, by primary names.
    bins : BinnedRows
    pseudo : PseudoLabelRule, optional
        Given if test rows are trained on: then they are binned, too.
    """

    def __init__(
        self, data: FoldData, parameters: dict[str, Any], bins: BinnedRows, pseudo: PseudoLabelRule | None = None
    ) -> None:
        self.data, self.parameters, self.bins, self.pseudo = data, parameters, bins, pseudo
        self._splits: FoldCache[tuple[DatasetSplit, DatasetSplit]] = FoldCache(data.problem.folds.n_folds)

    def train_rows(self, fold: int) -> Ints:
        """Return the train rows of a fold, or of `FULL_DATA`, in the order of their dataset."""
        return self.bins.in_order(self.data.target.train_rows(fold))

    def split(self, fold: int, train_rows: Ints | None = None) -> tuple[DatasetSplit, DatasetSplit]:
        """Return the train and the validation set of a fold; the train set has `train_rows`, by default all."""
        if train_rows is None and self.data.keeps_datasets and self.pseudo is None:
            return self._splits.get(fold, lambda: self._make_split(fold, None))
        return self._make_split(fold, train_rows)

    def _make_split(self, fold: int, train_rows: Ints | None) -> tuple[DatasetSplit, DatasetSplit]:
        train = self.train_rows(fold) if train_rows is None else self.bins.in_order(train_rows)
        valid = self.bins.in_order(self.data.target.valid_rows(fold))
        train_set, valid_set = self.without_labels([train, valid], self.data.columns.of_fold(fold))
        self.label_train(train_set, fold, train)
        self.label_valid(valid_set, fold, valid)
        return DatasetSplit(train, train_set), DatasetSplit(valid, valid_set)

    def train_set(self, fold: int) -> DatasetSplit:
        """Return the train set of a fold."""
        rows = self.train_rows(fold)
        (dataset,) = self.without_labels([rows], self.data.columns.of_fold(fold))
        self.label_train(dataset, fold, rows)
        return DatasetSplit(rows, dataset)

    def with_pseudo_labels(self, fold: int, labels: PseudoLabels, valid: Ints) -> list[DatasetSplit]:
        """Return a fold's train set followed by pseudo-labelled test rows, and its validation set if it has rows."""
        (test, classes), train, target = labels, self.train_rows(fold), self.data.target
        train_and_test = np.concatenate([train, test])
        row_sets = [train_and_test, valid] if len(valid) else [train_and_test]
        datasets = self.without_labels(row_sets, self.data.columns.of_fold(fold))
        train_weights, class_weights = target.training_weights(fold, train), target.class_weights(fold)
        test_weights = self.pseudo.weight * np.ones(len(test))  # type: ignore[union-attr]
        if self.data.problem.target.weight is not None:
            test_weights *= self.data.problem.target.weight[train].mean()
        if class_weights is not None:
            test_weights *= class_weights[classes]
        datasets[0].set_label(np.concatenate([target.labels(fold, train), classes.astype(np.float64)]))
        train_weights = np.ones(len(train)) if train_weights is None else train_weights
        datasets[0].set_weight(np.concatenate([train_weights, test_weights]))
        for dataset in datasets[1:]:
            self.label_valid(dataset, fold, valid)
        return [DatasetSplit(rows, dataset) for rows, dataset in zip(row_sets, datasets, strict=True)]

    def without_labels(self, row_sets: Sequence[Ints], fold_columns: pl.DataFrame) -> list[lgb.Dataset]:
        """Return a dataset of each set of rows, without labels; `fold_columns` is binned on the first set."""
        matrix, n_threads = self.data.problem.matrix, self.parameters["num_threads"]
        fold_bin_settings = bin_parameters(self.parameters, slice(matrix.width, None))
        fold_bin_settings |= {"verbosity": -1, "num_threads": n_threads}
        if not matrix.width:
            first = bin_frame(fold_columns[row_sets[0]], fold_bin_settings)
            later_sets = [bin_frame(fold_columns[rows], fold_bin_settings, reference=first) for rows in row_sets[1:]]
            return [first, *later_sets]
        shared = self.bins.dataset(
            bin_parameters(self.parameters, slice(0, matrix.width)),
            threads=n_threads,
            with_test=self.pseudo is not None and matrix.n_test > 0,
        )
        datasets = [dataset_subset(shared, self.bins.positions(rows)) for rows in row_sets]
        if fold_columns.width:
            add_columns(datasets, [fold_columns[rows] for rows in row_sets], fold_bin_settings)
        return datasets

    def label_train(self, dataset: lgb.Dataset, fold: int, rows: Ints) -> None:
        """Set the labels, training weights and queries of a dataset."""
        self._label(dataset, fold, rows, self.data.target.training_weights(fold, rows))

    def label_valid(self, dataset: lgb.Dataset, fold: int, rows: Ints) -> None:
        """Set the labels, validation weights and queries of a dataset."""
        self._label(dataset, fold, rows, self.data.target.validation_weights(fold, rows))

    def _label(self, dataset: lgb.Dataset, fold: int, rows: Ints, weights: Floats | None) -> None:
        dataset.set_label(self.data.target.labels(fold, rows))
        dataset.set_weight(weights)
        query = self.data.problem.target.query
        if query is not None:
            query_starts = np.flatnonzero(np.diff(query[rows], prepend=-1))
            dataset.set_group(np.diff(query_starts, append=len(rows)))
