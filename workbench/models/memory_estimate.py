"""Estimate the memory that a training takes before it starts, and say what would fit where that is too much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from workbench.core.errors import MemoryLimitError
from workbench.core.memory import format_bytes, used_bytes

if TYPE_CHECKING:
    from workbench.models.records import Problem

__all__ = [
    "LibraryMemory",
    "MemoryEstimate",
    "MemoryPlan",
    "TrainingWidths",
    "check_memory",
    "estimate_memory",
    "plan_memory",
    "total_bins",
    "training_widths",
]

FLOAT64_BYTES, FLOAT32_BYTES = 8, 4


@dataclass(frozen=True)
class MemoryEstimate:
    """Memory that a training takes on top of what the process uses already, in bytes.

    Attributes
    ----------
    binned_bytes : int
        The binned columns of all train rows, shared by all folds and seeds.
    fold_bytes : int
        The data of one fold: the shared columns of its rows, and the columns that depend on the fold.
    encoded_bytes : int
        The columns that depend on the fold, for all rows, as numbers.
    row_bytes : int
        Labels, scores, gradients and predictions.
    temporary_bytes : int
        Freed before the end: the sample from which bins are found, chunks of rows, histograms.
    n_train, n_columns : int
    storage : str
        What the library stores of the columns: "bins", of which there could be fewer, or "numbers".
    """

    binned_bytes: int
    fold_bytes: int
    encoded_bytes: int
    row_bytes: int
    temporary_bytes: int
    n_train: int
    n_columns: int
    storage: str

    @property
    def total_bytes(self) -> int:
        """The sum of all parts."""
        return self.scaling_bytes + self.temporary_bytes

    @property
    def scaling_bytes(self) -> int:
        """The part that grows with the number of rows."""
        return self.binned_bytes + self.fold_bytes + self.encoded_bytes + self.row_bytes

    def max_folds(self, spare_bytes: int) -> int:
        """Return how many folds fit into memory at once, with `spare_bytes` free besides one of them."""
        # Of the columns that depend on the fold, the frame of all rows stays in memory, without the copy.
        bytes_per_fold = self.fold_bytes + self.row_bytes + self.encoded_bytes // 2
        return 1 + int(max(0, spare_bytes) / max(1, bytes_per_fold))

    def with_bins_loaded(self) -> MemoryEstimate:
        """Return the estimate where the bins of all train rows are in memory already."""
        return replace(self, binned_bytes=0)

    def with_few_bins(self) -> MemoryEstimate:
        """Return the estimate with ``max_bin = 15``: two values share a byte."""
        return replace(self, binned_bytes=self.binned_bytes // 2, fold_bytes=self.fold_bytes // 2)


class MemoryPlan(NamedTuple):
    """The memory that a training may use.

    Attributes
    ----------
    message : str
        The estimate, for the user.
    peak_bytes : int
        What the process will use at the peak, including what it uses now.
    spare_bytes : int
        What remains of the limit at the peak.
    max_folds : int
        How many folds may be in memory at once.
    """

    message: str
    peak_bytes: int
    spare_bytes: int
    max_folds: int


class TrainingWidths(NamedTuple):
    """Numbers of columns of a training.

    Attributes
    ----------
    predictions : int
        Prediction columns of the widest target.
    per_fold : int
        Columns that depend on the fold.
    total : int
        All columns that models train on.
    """

    predictions: int
    per_fold: int
    total: int


class LibraryMemory(NamedTuple):
    """Memory that one library takes for a training, as `estimate_memory` needs it.

    Attributes
    ----------
    fold_bytes, temporary_bytes, binned_bytes, storage
        As in `MemoryEstimate`.
    bytes_per_row : int
        For each train row, whatever the columns.
    bytes_per_prediction : int
        For each train row and prediction column.
    """

    fold_bytes: float
    temporary_bytes: float
    bytes_per_row: int
    bytes_per_prediction: int
    binned_bytes: int = 0
    storage: str = "numbers"


def training_widths(problem: Problem) -> TrainingWidths:
    """Count the columns that models are trained on and predict."""
    targets = problem.target.columns
    per_fold = sum(max(len(c.names(targets, i)) for i in range(len(targets))) for c in problem.matrix.fold_columns)
    return TrainingWidths(max(c.width for c in targets), per_fold, problem.matrix.width + per_fold)


def estimate_memory(problem: Problem, seeds: Sequence[int], library: LibraryMemory) -> MemoryEstimate:
    """Estimate what a training takes: the library's part, and what is the same for all libraries."""
    matrix, widths = problem.matrix, training_widths(problem)
    # Predictions of every model are held to the end. Of the OOF there are those of each seed, the array of all seeds
    # and their mean; of the test rows those of each fold and seed, their sum and their mean.
    prediction_bytes, n_seeds = FLOAT64_BYTES * problem.target.width, len(seeds)
    bytes_per_train_row = (
        library.bytes_per_row + widths.predictions * library.bytes_per_prediction + prediction_bytes * (2 * n_seeds + 1)
    )
    bytes_per_test_row = prediction_bytes * (n_seeds * problem.folds.n_folds + 2)
    return MemoryEstimate(
        binned_bytes=library.binned_bytes,
        fold_bytes=int(library.fold_bytes),
        # The frame of all rows, and a copy of the rows that the fold trains on.
        encoded_bytes=2 * matrix.n_rows * widths.per_fold * FLOAT32_BYTES,
        row_bytes=matrix.n_train * bytes_per_train_row + matrix.n_test * bytes_per_test_row,
        temporary_bytes=int(library.temporary_bytes),
        n_train=matrix.n_train,
        n_columns=widths.total,
        storage=library.storage,
    )


def total_bins(problem: Problem, max_bin: int) -> int:
    """Return the bins of all columns together: a category has a bin of its own, whatever the limit for numbers.

    A histogram has an entry for each of them.
    """
    categories, widths = problem.matrix.categories, training_widths(problem)
    return max_bin * widths.total + sum(max(0, len(levels) - max_bin) for levels in categories.values())


def check_memory(estimate: MemoryEstimate, in_use: int, limit: int) -> str:
    """Return a message with the estimate.

    Parameters
    ----------
    estimate : MemoryEstimate
    in_use : int
        Bytes that the process uses already.
    limit : int
        The memory limit in bytes.

    Raises
    ------
    MemoryLimitError
        Where the estimate exceeds the limit; the hint lists changes that would fit.
    """
    total = in_use + estimate.total_bytes
    message = f"training will need about {format_bytes(total)} of the memory limit of {format_bytes(limit)}"
    if total <= limit:
        return message
    available = limit - in_use - estimate.temporary_bytes
    options = [f"--memory-limit {format_bytes(total * 1.1).replace(' ', '')}, where the machine has it"]
    if available > 0:
        share = available / estimate.scaling_bytes
        options.append(f"--sample {_rounded_down(share)} for a subsample run on part of the rows")
        bytes_per_column = (estimate.binned_bytes + estimate.fold_bytes + estimate.encoded_bytes) / max(
            1, estimate.n_columns
        )
        column_space = available - estimate.row_bytes
        n_columns = int(column_space / bytes_per_column) if column_space > 0 else 0
        if n_columns >= 1:
            options.append(f"{n_columns} of the {estimate.n_columns} columns: `wb select` finds those to keep")
        if estimate.storage == "bins" and in_use + estimate.with_few_bins().total_bytes <= limit:
            options.append("max_bin = 15 under [model], which halves the binned data")
    raise MemoryLimitError(
        f"training would need about {format_bytes(total)}, more than the memory limit of {format_bytes(limit)}: "
        f"{format_bytes(estimate.binned_bytes)} for {estimate.n_train:,} train rows x {estimate.n_columns} columns as "
        f"{estimate.storage}, "
        f"{format_bytes(estimate.fold_bytes + estimate.encoded_bytes)} for the fold that is trained, "
        f"{format_bytes(estimate.row_bytes)} for labels, scores and predictions, {format_bytes(in_use)} already in use",
        hint="what would fit: " + "; or ".join(reversed(options)),
    )


def plan_memory(estimate: MemoryEstimate, limit: int) -> MemoryPlan:
    """Compare an estimate with the memory limit before training, given what the process uses now.

    Raises
    ------
    MemoryLimitError
        As `check_memory`.
    """
    in_use = used_bytes()
    message = check_memory(estimate, in_use, limit)
    peak = in_use + estimate.total_bytes
    return MemoryPlan(message, peak, limit - peak, estimate.max_folds(limit - peak))


def _rounded_down(share: float) -> str:
    return f"{max(0.01, int(share * 100) / 100):.2f}"
