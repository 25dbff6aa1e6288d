"""The train rows in LightGBM's bins, made once for all targets, folds, seeds and trials, and cached on disk."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench.core.cache import content_key
from workbench.core.distribution import version_of
from workbench.core.errors import StorageError
from workbench.models.lightgbm.datasets import bin_all_rows, bin_train_rows
from workbench.models.records import MatrixCache, Problem

if TYPE_CHECKING:
    import lightgbm as lgb

    from workbench.features import FeatureMatrix

__all__ = ["BinnedRows", "bin_parameters", "dataset_subset", "shared_bins"]

Ints = npt.NDArray[np.int64]

# Parameters that determine the bins or their layout in memory; all others may differ between models on the same bins.
BIN_PARAMETERS = (
    "bin_construct_sample_cnt",
    "data_random_seed",
    "device_type",
    "enable_bundle",
    "feature_pre_filter",
    "forcedbins_filename",
    "is_enable_sparse",
    "linear_tree",
    "max_bin",
    "max_bin_by_feature",
    "min_data_in_bin",
    "use_missing",
    "zero_as_missing",
)
QUIET = {"verbosity": -1}
MIN_SECONDS_TO_CACHE = 3.0
"""Bins that took at least this long are cached: writing and reading them takes about a fortieth of that time."""


def bin_parameters(parameters: dict[str, Any], columns: slice = slice(None)) -> dict[str, Any]:
    """Return those of LightGBM's parameters that determine the bins.

    Parameters
    ----------
    parameters : dict
        By primary names.
    columns : slice
        The columns to bin: the shared ones, or those that depend on the fold, which are binned separately.
    """
    names = [*BIN_PARAMETERS, *(["min_data_in_leaf"] if parameters.get("feature_pre_filter", True) else [])]
    bin_settings = {name: parameters[name] for name in names if name in parameters}
    if "max_bin_by_feature" in bin_settings:
        bin_settings["max_bin_by_feature"] = bin_settings["max_bin_by_feature"][columns]
    if columns.start:  # the file has positions among all columns
        bin_settings.pop("forcedbins_filename", None)
    return bin_settings


def dataset_subset(dataset: lgb.Dataset, rows: Ints) -> lgb.Dataset:
    """Return the dataset of some of the rows, ascending."""
    subset = dataset.subset([])
    # Passing the rows to `subset` is slow: it sorts them as a list.
    subset.used_indices = rows.astype(np.int32)  # type: ignore[assignment]
    return subset.construct()


def shared_bins(problem: Problem) -> BinnedRows:
    """Return the binned shared columns of a problem, made by the first call."""
    order, derived = problem.target.order, problem.derived
    key = "lightgbm" if order is None else content_key("lightgbm", order.tobytes())
    return derived.shared(key, lambda: BinnedRows(problem.matrix, order=order, cache=derived.cache))


class BinnedRows:
    """The binned rows of a matrix, without labels.

    The bins of the latest parameters are kept in memory.

    Parameters
    ----------
    matrix : FeatureMatrix
    order : int array (n_train,), optional
        The train rows in the order of the datasets; None for the order of the files.
    cache : MatrixCache, optional
        None to cache nothing on disk.
    """

    def __init__(self, matrix: FeatureMatrix, *, order: Ints | None = None, cache: MatrixCache | None = None) -> None:
        self.matrix = matrix
        self.order = order
        self.cache = cache
        self._position_of_row: Ints | None = None if order is None else np.argsort(order)
        self.n_binnings = 0
        self._keyed_bins: tuple[str, lgb.Dataset] | None = None

    @property
    def is_in_memory(self) -> bool:
        """Whether bins are in memory."""
        return self._keyed_bins is not None

    def release(self) -> None:
        """Free the bins; the next call of `dataset` makes them again."""
        self._keyed_bins = None

    def dataset(self, parameters: dict[str, Any], *, threads: int, with_test: bool = False) -> lgb.Dataset:
        """Return the binned columns of all train rows, followed by those of the test rows if `with_test`.

        Parameters
        ----------
        parameters : dict
            From `bin_parameters`.
        threads : int
            Affects the run time only.
        with_test : bool
            The bins are found on the train rows in any case.
        """
        key = content_key("binned-v1", version_of("lightgbm"), parameters, with_test)
        if self._keyed_bins is None or self._keyed_bins[0] != key:
            self._keyed_bins = None  # freed first: two of them may not fit into memory
            self._keyed_bins = (key, self._load_or_bin(key, parameters | QUIET | {"num_threads": threads}, with_test))
        return self._keyed_bins[1]

    def positions(self, rows: Ints) -> Ints:
        """Return the positions of rows in the datasets."""
        if self._position_of_row is None:
            return rows
        is_train = rows < self.matrix.n_train
        return np.where(is_train, self._position_of_row[np.where(is_train, rows, 0)], rows)

    def in_order(self, rows: Ints) -> Ints:
        """Sort rows by their positions in the datasets."""
        return rows if self._position_of_row is None else rows[np.argsort(self.positions(rows))]

    def _load_or_bin(self, key: str, parameters: dict[str, Any], with_test: bool) -> lgb.Dataset:
        if self.cache is None or "forcedbins_filename" in parameters:
            return self._bin(parameters, with_test)
        cache_key = content_key(key, self.cache.content, None if self.order is None else self.order.tobytes())
        cached = self.cache.store.get(cache_key)
        if cached is not None:
            return _load(str(cached.path), parameters)
        started_at = time.perf_counter()
        bins = self._bin(parameters, with_test)
        seconds = time.perf_counter() - started_at
        if seconds >= MIN_SECONDS_TO_CACHE:
            self._save(bins, cache_key, seconds)
        return bins

    def _save(self, bins: lgb.Dataset, key: str, seconds: float) -> None:
        store = self.cache.store  # type: ignore[union-attr]
        free_bytes = store.max_bytes - sum(entry.size_bytes for entry in store.stored())
        # Bins never evict the blocks of features, which this training may still read. A bin usually takes a byte.
        if free_bytes < 2 * bins.num_data() * bins.num_feature():
            return
        note = {"binned": bins.num_data(), "columns": bins.get_feature_name(), "seconds": round(seconds, 2)}
        # If the cache can't be written, the next training bins again.
        with suppress(StorageError), store.writing(key, note, suffix="bin") as path:
            bins.save_binary(path)

    def _bin(self, parameters: dict[str, Any], with_test: bool) -> lgb.Dataset:
        self.n_binnings += 1
        bins = bin_train_rows(self.matrix, parameters, order=self.order)
        return bin_all_rows(self.matrix, parameters, bins, order=self.order) if with_test else bins


def _load(path: str, parameters: dict[str, Any]) -> lgb.Dataset:
    import lightgbm as lgb

    return lgb.Dataset(path, params=parameters).construct()
