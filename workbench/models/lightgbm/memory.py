"""The memory that training with LightGBM takes at its peak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.features import CHUNK_ROWS
from workbench.models.memory_estimate import (
    LibraryMemory,
    MemoryEstimate,
    estimate_memory,
    total_bins,
    training_widths,
)

if TYPE_CHECKING:
    from workbench.models.records import Problem

__all__ = ["lightgbm_memory"]

BYTES_PER_ROW = 40
"""Label, weight, the partition of rows into leaves, and gradients in the order of a leaf."""

BYTES_PER_PREDICTION = 24
"""Score in 64 bits, gradient and hessian, and the prediction itself."""

HISTOGRAM_ENTRY_BYTES = 16
"""The sums of gradients and hessians of a bin, in 64 bits each."""

SAMPLED_VALUE_BYTES = 16
"""A value of the sample from which bins are found and its row number, rounded up."""

MAX_BINS_OF_HALF_BYTE = 15
"""Up to this many bins two values share a byte."""


def lightgbm_memory(
    problem: Problem, parameters: dict[str, Any], seeds: Sequence[int], *, with_test: bool = False
) -> MemoryEstimate:
    """Estimate the memory of a training.

    It counts a byte per value for its bin (half a byte with at most 15 bins, two with more than 256), for linear trees
    the numbers themselves, a copy of the rows of the fold that is trained, and other memory per row.

    Parameters
    ----------
    parameters : dict
        LightGBM's, by primary names.
    with_test : bool
        Whether the test rows are binned, too.
    """
    matrix, folds, widths = problem.matrix, problem.folds, training_widths(problem)
    n_train = matrix.n_train
    bin_bytes_per_row = sum(_bin_bytes(parameters, len(c.levels or ())) for c in matrix.encoded)
    raw_bytes = 4 if parameters.get("linear_tree") else 0
    n_binned = matrix.n_rows if with_test else n_train
    binned_bytes = int(n_binned * (bin_bytes_per_row + raw_bytes * matrix.width))
    # The rows of the largest fold, with test rows in proportion.
    n_largest_fold = max(len(folds.train_rows(k)) + len(folds.valid_rows(k)) for k in range(folds.n_folds))
    fold_rows = n_largest_fold * n_binned / n_train
    n_sampled = min(int(parameters.get("bin_construct_sample_cnt", 200_000)), n_train)
    n_leaves, max_bin = int(parameters.get("num_leaves", 31)), int(parameters.get("max_bin", 255))
    # A matrix in memory is not read in chunks; for a ranking target it is copied into another order as a whole.
    reordered_bytes = matrix.size_bytes if problem.target.order is not None else 0
    transient_bytes = (
        CHUNK_ROWS * sum(c.row_bytes for c in matrix.encoded) * 3 if matrix.loaded_frame is None else reordered_bytes
    )
    # The bins of all rows are made while those of the train rows are in memory.
    second_copy_bytes = binned_bytes if with_test else 0
    return estimate_memory(
        problem,
        seeds,
        LibraryMemory(
            binned_bytes=binned_bytes,
            fold_bytes=fold_rows
            * (bin_bytes_per_row + raw_bytes * widths.total + widths.per_fold * _bin_bytes(parameters, 0)),
            temporary_bytes=n_sampled * widths.total * SAMPLED_VALUE_BYTES
            + n_leaves * total_bins(problem, max_bin) * HISTOGRAM_ENTRY_BYTES
            + min(transient_bytes, 3 * matrix.size_bytes)
            + second_copy_bytes,
            bytes_per_row=BYTES_PER_ROW,
            bytes_per_prediction=BYTES_PER_PREDICTION,
            storage="bins",
        ),
    )


def _bin_bytes(parameters: dict[str, Any], n_levels: int) -> float:
    """Return the bytes of a value's bin; `n_levels` is the number of categories of its column, 0 for a numeric one."""
    n_bins = max(int(parameters.get("max_bin", 255)), n_levels)
    return 0.5 if n_bins <= MAX_BINS_OF_HALF_BYTE else 1 if n_bins <= 256 else 2 if n_bins <= 2**16 else 4
