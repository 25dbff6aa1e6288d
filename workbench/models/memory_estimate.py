"""What a training will take of memory, told before it begins, and what to do where that is too much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.core.errors import MemoryLimitError
from workbench.core.memory import format_bytes, used_bytes
from workbench.features import CHUNK_ROWS

if TYPE_CHECKING:
    from workbench.models.records import Problem

__all__ = [
    "Granted",
    "MemoryNeeds",
    "ask_memory",
    "check_memory",
    "column_counts",
    "foreseen",
    "lightgbm_needs",
    "n_bins",
]

ROW_BYTES = 40
"""Per row that is trained on, whatever the columns: LightGBM's label, weight, partition of rows and their gradients in
the order of a leaf."""

OUTPUT_BYTES = 24
"""Per row and prediction column: LightGBM's score in 64 bits, gradient and hessian, and the prediction itself."""

FEW_BINS = 15
"""With so many bins two values share a byte."""


@dataclass(frozen=True)
class MemoryNeeds:
    """What a training will take, beyond what the process has taken already.

    Attributes
    ----------
    binned : int
        Bytes of the binned columns of all train rows, shared by all folds and seeds.
    of_fold : int
        Bytes of one fold's own binned data: the shared columns of its rows and the columns that depend on the fold.
    encoded : int
        Bytes of the columns that depend on the fold, for all rows, as numbers.
    per_row : int
        Bytes for labels, scores, gradients and predictions.
    passing : int
        Bytes that are taken for a while: the sample that bins are found with, chunks of rows, histograms.
    n_train, n_columns : int
    numbers : str
        What the columns are held as: "bins", which could be fewer, or "numbers".
    """

    binned: int
    of_fold: int
    encoded: int
    per_row: int
    passing: int
    n_train: int
    n_columns: int
    numbers: str

    @property
    def total(self) -> int:
        """All of it, in bytes."""
        return self.binned + self.of_fold + self.encoded + self.per_row + self.passing

    @property
    def with_rows(self) -> int:
        """The part that grows with the rows."""
        return self.total - self.passing

    def folds_within(self, room: int) -> int:
        """Return how many folds can be held at a time where so many bytes are left beside one of them."""
        return 1 + int(max(0, room) / max(1, self.of_fold + self.per_row))

    def beside_bins(self) -> MemoryNeeds:
        """Return the needs where the binned columns of all train rows are there already."""
        return replace(self, binned=0)

    def few_bins(self) -> MemoryNeeds:
        """Return the needs with ``max_bin = 15``."""
        return replace(self, binned=self.binned // 2, of_fold=self.of_fold // 2)


class Granted(NamedTuple):
    """What a training that asked for its memory may go by.

    Attributes
    ----------
    message : str
        What it will take, for people.
    foreseen_bytes : int
        What the process will have taken at the peak, with what it has now.
    spare_bytes : int
        What is left of the limit beside that.
    held : int
        How many folds can be held at a time.
    """

    message: str
    foreseen_bytes: int
    spare_bytes: int
    held: int


class ColumnCounts(NamedTuple):
    """How many columns a training has.

    Attributes
    ----------
    width : int
        Prediction columns of the widest target.
    per_fold : int
        Columns that depend on the fold.
    all : int
        Those and the shared ones.
    """

    width: int
    per_fold: int
    all: int


def column_counts(problem: Problem) -> ColumnCounts:
    """Count the columns that a training has."""
    targets = problem.target.columns
    per_fold = sum(max(len(c.names(targets, i)) for i in range(len(targets))) for c in problem.matrix.fold_columns)
    return ColumnCounts(max(c.width for c in targets), per_fold, problem.matrix.width + per_fold)


def foreseen(
    problem: Problem,
    seeds: Sequence[int],
    *,
    of_fold: float,
    passing: float,
    row_bytes: int,
    output_bytes: int,
    binned: int = 0,
    numbers: str = "numbers",
) -> MemoryNeeds:
    """Return what a training will take, with what is the same for all libraries.

    Parameters
    ----------
    of_fold, passing, binned, numbers
        As `MemoryNeeds` has them.
    row_bytes : int
        Per row that is trained on, whatever the columns.
    output_bytes : int
        Per such row and prediction column.
    """
    matrix, counts = problem.matrix, column_counts(problem)
    # Every model's predictions are held to the end. Of the OOF there are those of each seed, the same put together, and
    # their mean; of the test rows those of each fold and seed, their sum and their mean.
    held, n_seeds = 8 * problem.target.width, len(seeds)
    per_row = row_bytes + counts.width * output_bytes + held * (2 * n_seeds + 1)
    per_test_row = held * (n_seeds * problem.folds.n_folds + 2)
    return MemoryNeeds(
        binned=binned,
        of_fold=int(of_fold),
        # The frame itself, and the rows of it that a fold trains on.
        encoded=2 * matrix.n_rows * counts.per_fold * 4,
        per_row=matrix.n_train * per_row + matrix.n_test * per_test_row,
        passing=int(passing),
        n_train=matrix.n_train,
        n_columns=counts.all,
        numbers=numbers,
    )


def n_bins(problem: Problem, most: int) -> int:
    """Return how many bins all columns have together: a category is one, whatever the limit for numbers is.

    A histogram has as many entries, and one is held for each leaf.
    """
    categories, counts = problem.matrix.categories, column_counts(problem)
    return most * counts.all + sum(max(0, len(levels) - most) for levels in categories.values())


def lightgbm_needs(
    problem: Problem, parameters: dict[str, Any], seeds: Sequence[int], *, with_test: bool = False
) -> MemoryNeeds:
    """Foresee what training with LightGBM will take at its peak.

    Counted is what LightGBM is known to keep: a byte per value and bin index (half of one with at most 15 bins, two
    with more than 256; the numbers themselves for linear trees), a copy of the rows of the fold that is trained, and
    what there is per row.

    Parameters
    ----------
    with_test : bool
        Whether the test rows are binned, too.
    """
    matrix, folds, p = problem.matrix, problem.folds, parameters
    n_train, counts = matrix.n_train, column_counts(problem)
    per_value = [_bin_bytes(p, len(c.levels or ())) for c in matrix.encoded]
    raw = 4 if p.get("linear_tree") else 0
    n_binned = matrix.n_rows if with_test else n_train
    binned = int(n_binned * (sum(per_value) + raw * matrix.width))
    share = max(len(folds.train_rows(k)) + len(folds.valid_rows(k)) for k in range(folds.n_folds)) / n_train
    share *= n_binned / n_train
    sample = min(int(p.get("bin_construct_sample_cnt", 200_000)), n_train)
    leaves, bins = int(p.get("num_leaves", 31)), int(p.get("max_bin", 255))
    # Of what is held in memory no chunks are read; it is brought into another order at once.
    in_order = matrix.size_bytes if problem.target.order is not None else 0
    chunk_bytes = (
        in_order if matrix.loaded_frame is not None else CHUNK_ROWS * sum(c.row_bytes for c in matrix.encoded) * 3
    )
    twice = binned if with_test else 0  # the bins of all rows are made beside those of the train rows
    return foreseen(
        problem,
        seeds,
        binned=binned,
        of_fold=share * n_train * (sum(per_value) + raw * counts.all + counts.per_fold * _bin_bytes(p, 0)),
        passing=(sample * counts.all + leaves * n_bins(problem, bins)) * 16
        + min(chunk_bytes, 3 * matrix.size_bytes)
        + twice,
        row_bytes=ROW_BYTES,
        output_bytes=OUTPUT_BYTES,
        numbers="bins",
    )


def _bin_bytes(parameters: dict[str, Any], n_levels: int) -> float:
    bins = max(int(parameters.get("max_bin", 255)), n_levels)
    return 0.5 if bins <= FEW_BINS else 1 if bins <= 256 else 2 if bins <= 2**16 else 4


def check_memory(needs: MemoryNeeds, used: int, limit: int) -> str:
    """Say what a training will take; refuse it where that is over the limit, with what would fit.

    Parameters
    ----------
    needs : MemoryNeeds
    used : int
        The bytes that the process has taken already.
    limit : int
        The bytes to stay within.

    Raises
    ------
    MemoryLimitError
        The hint says how far each way out goes.
    """
    total = used + needs.total
    message = f"training will need about {format_bytes(total)} of the memory limit of {format_bytes(limit)}"
    if total <= limit:
        return message
    room = limit - used - needs.passing
    ways = [f"--memory-limit {format_bytes(total * 1.1).replace(' ', '')}, where the machine has it"]
    if room > 0:
        share = room / needs.with_rows
        ways.append(f"--sample {_down(share)} for a subsample run on part of the rows")
        by_column = (needs.binned + needs.of_fold + needs.encoded) / max(1, needs.n_columns)
        columns = int((room - needs.per_row) / by_column) if room > needs.per_row else 0
        if columns >= 1:
            ways.append(f"{columns} of the {needs.n_columns} columns: `wb select` finds those to keep")
        if needs.numbers == "bins" and used + needs.few_bins().total <= limit:
            ways.append("max_bin = 15 under [model], which halves the binned data")
    raise MemoryLimitError(
        f"training would need about {format_bytes(total)}, more than the memory limit of {format_bytes(limit)}: "
        f"{format_bytes(needs.binned)} for {needs.n_train:,} train rows x {needs.n_columns} columns as "
        f"{needs.numbers}, "
        f"{format_bytes(needs.of_fold + needs.encoded)} for the fold that is trained, "
        f"{format_bytes(needs.per_row)} for labels, scores and predictions, {format_bytes(used)} taken already",
        hint="what would fit: " + "; or ".join(reversed(ways)),
    )


def ask_memory(needs: MemoryNeeds, limit: int) -> Granted:
    """Ask for what a training will take, before it begins; every training does, on whatever way it came.

    Parameters
    ----------
    needs : MemoryNeeds
    limit : int
        The bytes that the process is to stay within.

    Raises
    ------
    MemoryLimitError
        As `check_memory` raises it.
    """
    used = used_bytes()
    message = check_memory(needs, used, limit)
    spare = limit - used - needs.total
    return Granted(message, used + needs.total, spare, needs.folds_within(spare))


def _down(share: float) -> str:
    return f"{max(0.01, int(share * 100) / 100):.2f}"
