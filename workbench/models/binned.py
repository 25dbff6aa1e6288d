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
from workbench.models.datasets import bin_all_rows, bin_train_rows
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
    found = {name: parameters[name] for name in names if name in parameters}
    if "max_bin_by_feature" in found:
        found["max_bin_by_feature"] = found["max_bin_by_feature"][columns]
    if columns.start:  # the file counts the columns from the first of all
        found.pop("forcedbins_filename", None)
    return found


def subset_of(dataset: lgb.Dataset, rows: Ints) -> lgb.Dataset:
    """Return the dataset of some of the rows, ascending."""
    made = dataset.subset([])
    # A list of them, which `subset` sorts, takes longer than all the rest.
    made.used_indices = rows.astype(np.int32)  # type: ignore[assignment]
    return made.construct()


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
            self._held = (key, self._found_or_made(key, parameters | QUIET | {"num_threads": threads}, with_test))
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

    def _found_or_made(self, key: str, parameters: dict[str, Any], with_test: bool) -> lgb.Dataset:
        if self.cache is None or "forcedbins_filename" in parameters:
            return self._made(parameters, with_test)
        stored = content_key(key, self.cache.content, None if self.order is None else self.order.tobytes())
        found = self.cache.store.get(stored)
        if found is not None:
            return _loaded(str(found.path), parameters)
        started = time.perf_counter()
        made = self._made(parameters, with_test)
        seconds = time.perf_counter() - started
        if seconds >= KEEP_SECONDS:
            self._keep(made, stored, seconds)
        return made

    def _keep(self, made: lgb.Dataset, key: str, seconds: float) -> None:
        store = self.cache.store  # type: ignore[union-attr]
        room = store.max_bytes - sum(s.size_bytes for s in store.stored())
        # The features' blocks, which this training may still read, are never pushed out for bins. A value takes a byte
        # as a rule.
        if room < 2 * made.num_data() * made.num_feature():
            return
        note = {"binned": made.num_data(), "columns": made.get_feature_name(), "seconds": round(seconds, 2)}
        # Without it the next training bins again: a cache that can't be written is no reason to stop this one.
        with suppress(StorageError), store.writing(key, note, suffix="bin") as path:
            made.save_binary(path)

    def _made(self, parameters: dict[str, Any], with_test: bool) -> lgb.Dataset:
        self.times_binned += 1
        made = bin_train_rows(self.matrix, parameters, order=self.order)
        return bin_all_rows(self.matrix, parameters, made, order=self.order) if with_test else made


def _loaded(path: str, parameters: dict[str, Any]) -> lgb.Dataset:
    import lightgbm as lgb

    return lgb.Dataset(path, params=parameters).construct()
