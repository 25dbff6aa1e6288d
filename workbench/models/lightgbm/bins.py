"""The train rows as LightGBM's bins: made once for all targets, folds, seeds and trials, and cached where that pays."""

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

__all__ = ["BinnedRows", "binning_of", "bins_of", "subset_of"]

Ints = npt.NDArray[np.int64]

# What decides the bins, or how they lie in memory; everything else may change from model to model.
BINNING = (
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
KEEP_SECONDS = 3.0
"""Bins that took so long are kept on disk: writing and reading them takes about a fortieth of that."""


def binning_of(parameters: dict[str, Any], columns: slice = slice(None)) -> dict[str, Any]:
    """Return those of LightGBM's parameters that decide the bins.

    Parameters
    ----------
    parameters : dict
        By primary names.
    columns : slice
        Of which columns: those that depend on the fold are binned apart.
    """
    names = [*BINNING, *(["min_data_in_leaf"] if parameters.get("feature_pre_filter", True) else [])]
    binning = {name: parameters[name] for name in names if name in parameters}
    if "max_bin_by_feature" in binning:
        binning["max_bin_by_feature"] = binning["max_bin_by_feature"][columns]
    if columns.start:  # the file counts the columns from the first of all
        binning.pop("forcedbins_filename", None)
    return binning


def subset_of(dataset: lgb.Dataset, rows: Ints) -> lgb.Dataset:
    """Return the dataset of some of the rows, ascending."""
    subset = dataset.subset([])
    # A list of them, which `subset` sorts, takes longer than all the rest.
    subset.used_indices = rows.astype(np.int32)  # type: ignore[assignment]
    return subset.construct()


def bins_of(problem: Problem) -> BinnedRows:
    """Return the columns of a problem that do not depend on the fold in bins, shared by all that is trained on them."""
    order, derived = problem.target.order, problem.derived
    key = "lightgbm" if order is None else content_key("lightgbm", order.tobytes())
    return derived.shared(key, lambda: BinnedRows(problem.matrix, order=order, cache=derived.cache))


class BinnedRows:
    """The rows of a matrix in bins, without their labels.

    One set of bins is held, that of the parameters that were asked for last.

    Parameters
    ----------
    matrix : FeatureMatrix
    order : int array (n_train,), optional
        The train rows in the order in which the datasets have them; None for that of the files.
    cache : MatrixCache, optional
        None where they are not cached on disk.
    """

    def __init__(self, matrix: FeatureMatrix, *, order: Ints | None = None, cache: MatrixCache | None = None) -> None:
        self.matrix = matrix
        self.order = order
        self.cache = cache
        self.place: Ints | None = None if order is None else np.argsort(order)
        self.times_binned = 0
        self._held: tuple[str, lgb.Dataset] | None = None

    @property
    def held(self) -> bool:
        """Whether bins are in memory."""
        return self._held is not None

    def release(self) -> None:
        """Let the bins go; they are made again when they are asked for."""
        self._held = None

    def dataset(self, parameters: dict[str, Any], *, threads: int, with_test: bool = False) -> lgb.Dataset:
        """Return the binned columns of all train rows, and behind them of the test rows where they are asked for.

        Parameters
        ----------
        parameters : dict
            As `binning_of` gives them.
        threads : int
            They change nothing but the time.
        with_test : bool
            The bins are those of the train rows in any case.
        """
        key = content_key("binned-v1", version_of("lightgbm"), parameters, with_test)
        if self._held is None or self._held[0] != key:
            self._held = None  # the one before goes first: two of them may not fit
            self._held = (key, self._loaded_or_binned(key, parameters | QUIET | {"num_threads": threads}, with_test))
        return self._held[1]

    def positions(self, rows: Ints) -> Ints:
        """Return where rows are in the datasets; rows in the datasets' order give ascending positions."""
        if self.place is None:
            return rows
        inside = rows < self.matrix.n_train
        return np.where(inside, self.place[np.where(inside, rows, 0)], rows)

    def in_order(self, rows: Ints) -> Ints:
        """Return rows in the datasets' order."""
        return rows if self.place is None else rows[np.argsort(self.positions(rows))]

    def _loaded_or_binned(self, key: str, parameters: dict[str, Any], with_test: bool) -> lgb.Dataset:
        if self.cache is None or "forcedbins_filename" in parameters:
            return self._bin(parameters, with_test)
        stored = content_key(key, self.cache.content, None if self.order is None else self.order.tobytes())
        file = self.cache.store.get(stored)
        if file is not None:
            return _loaded(str(file.path), parameters)
        started = time.perf_counter()
        bins = self._bin(parameters, with_test)
        seconds = time.perf_counter() - started
        if seconds >= KEEP_SECONDS:
            self._save(bins, stored, seconds)
        return bins

    def _save(self, bins: lgb.Dataset, key: str, seconds: float) -> None:
        store = self.cache.store  # type: ignore[union-attr]
        room = store.max_bytes - sum(s.size_bytes for s in store.stored())
        # The features' blocks, which this training may still read, are never pushed out for bins. A value takes a byte
        # as a rule.
        if room < 2 * bins.num_data() * bins.num_feature():
            return
        note = {"binned": bins.num_data(), "columns": bins.get_feature_name(), "seconds": round(seconds, 2)}
        # Without it the next training bins again: a cache that can't be written is no reason to stop this one.
        with suppress(StorageError), store.writing(key, note, suffix="bin") as path:
            bins.save_binary(path)

    def _bin(self, parameters: dict[str, Any], with_test: bool) -> lgb.Dataset:
        self.times_binned += 1
        bins = bin_train_rows(self.matrix, parameters, order=self.order)
        return bin_all_rows(self.matrix, parameters, bins, order=self.order) if with_test else bins


def _loaded(path: str, parameters: dict[str, Any]) -> lgb.Dataset:
    import lightgbm as lgb

    return lgb.Dataset(path, params=parameters).construct()
