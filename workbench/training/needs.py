"""What a training will take of memory, told before it begins, and what to do where that is too much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.errors import MemoryLimitError
from workbench.features import CHUNK_ROWS
from workbench.memory import shown_bytes

if TYPE_CHECKING:
    from workbench.features import FoldColumns
    from workbench.training.records import Problem

__all__ = ["MemoryNeeds", "check_memory", "lightgbm_needs"]

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
        Bytes that are taken for a while: the sample that bins are found with, stretches of rows, histograms.
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
    numbers: str = "bins"

    @property
    def total(self) -> int:
        """All of it, in bytes."""
        return self.binned + self.of_fold + self.encoded + self.per_row + self.passing

    @property
    def with_rows(self) -> int:
        """The part that grows with the rows."""
        return self.total - self.passing

    def few_bins(self) -> MemoryNeeds:
        """Return the needs with ``max_bin = 15``."""
        return replace(self, binned=self.binned // 2, of_fold=self.of_fold // 2)


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
    width = max(c.width for c in problem.target.columns)
    n_train, n_fold_columns = matrix.n_train, sum(len(_names(problem, c)) for c in matrix.fold_columns)
    per_value = [_bin_bytes(p, len(c.levels or ())) for c in matrix.encoded]
    raw = 4 if p.get("linear_tree") else 0
    n_binned = matrix.n_rows if with_test else n_train
    binned = int(n_binned * (sum(per_value) + raw * matrix.width))
    share = max(len(folds.train_rows(k)) + len(folds.valid_rows(k)) for k in range(folds.n_folds)) / n_train
    share *= n_binned / n_train
    sample = min(int(p.get("bin_construct_sample_cnt", 200_000)), n_train)
    leaves, bins = int(p.get("num_leaves", 31)), int(p.get("max_bin", 255))
    stretch = CHUNK_ROWS * sum(c.row_bytes for c in matrix.encoded) * 3
    n_columns = matrix.width + n_fold_columns
    twice = binned if with_test else 0  # the bins of all rows are made beside those of the train rows
    return MemoryNeeds(
        binned=binned,
        of_fold=int(share * n_train * (sum(per_value) + raw * n_columns + n_fold_columns * _bin_bytes(p, 0))),
        # The frame itself, and the rows of it that a fold trains on.
        encoded=2 * matrix.n_rows * n_fold_columns * 4,
        per_row=n_train * (ROW_BYTES + width * (OUTPUT_BYTES + 8 * (len(seeds) + 1))) + matrix.n_test * width * 16,
        passing=sample * n_columns * 16 + min(stretch, 3 * matrix.size_bytes) + leaves * bins * n_columns * 16 + twice,
        n_train=n_train,
        n_columns=n_columns,
    )


def _names(problem: Problem, fold_column: FoldColumns) -> list[str]:
    targets = problem.target.columns
    return max((fold_column.names(targets, own) for own in range(len(targets))), key=len)


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
    said = f"training will need about {shown_bytes(total)} of the memory limit of {shown_bytes(limit)}"
    if total <= limit:
        return said
    room = limit - used - needs.passing
    ways = [f"--memory-limit {shown_bytes(total * 1.1).replace(' ', '')}, where the machine has it"]
    if room > 0:
        share = room / needs.with_rows
        ways.append(f"--sample {_down(share)} for a quick try on part of the rows")
        by_column = (needs.binned + needs.of_fold + needs.encoded) / max(1, needs.n_columns)
        columns = int((room - needs.per_row) / by_column) if room > needs.per_row else 0
        if columns >= 1:
            ways.append(f"{columns} of the {needs.n_columns} columns: `wb select` finds those to keep")
        if needs.numbers == "bins" and used + needs.few_bins().total <= limit:
            ways.append("max_bin = 15 under [model], which halves the binned data")
    raise MemoryLimitError(
        f"training would need about {shown_bytes(total)}, more than the memory limit of {shown_bytes(limit)}: "
        f"{shown_bytes(needs.binned)} for {needs.n_train:,} train rows x {needs.n_columns} columns as {needs.numbers}, "
        f"{shown_bytes(needs.of_fold + needs.encoded)} for the fold that is trained, "
        f"{shown_bytes(needs.per_row)} for labels, scores and predictions, {shown_bytes(used)} taken already",
        hint="what would fit: " + "; or ".join(reversed(ways)),
    )


def _down(share: float) -> str:
    return f"{max(0.01, int(share * 100) / 100):.2f}"
