"""The columns that one target's models train on: the shared columns, followed by those that depend on the fold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.features import CHUNK_ROWS
from workbench.models.fold_cache import FoldCache
from workbench.models.records import FULL_DATA, Problem

if TYPE_CHECKING:
    from workbench.features import FoldFrames

__all__ = ["Rows", "TrainingColumns"]

Rows = range | npt.NDArray[np.int64]


class TrainingColumns:
    """The columns of one target's models, for any rows and fold.

    Parameters
    ----------
    problem : Problem
    target_index : int
        Of the target.

    Attributes
    ----------
    by_fold : FoldCache
        The columns that depend on the fold, of one fold unless it is told to keep more.
    """

    def __init__(self, problem: Problem, target_index: int) -> None:
        self.problem = problem
        self.target_index = target_index
        self._fold_frames: FoldFrames | None = None
        self.by_fold: FoldCache[pl.DataFrame] = FoldCache()

    @cached_property
    def names(self) -> list[str]:
        """The names of all columns, made unique: the shared ones, then those that depend on the fold."""
        matrix, targets = self.problem.matrix, self.problem.target.columns
        names: dict[str, None] = dict.fromkeys(matrix.columns)
        for columns in matrix.fold_columns:
            for name in columns.names(targets, self.target_index):
                names[name if name not in names else f"{name}_{len(names)}"] = None
        return list(names)

    @cached_property
    def categorical(self) -> list[str]:
        """The categorical columns: codes from 0 up, null for categories that train lacks."""
        return [name for name in self.problem.matrix.columns if name in self.problem.matrix.categories]

    def as_float32(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return columns in 32 bits; their center is subtracted where rounding would merge distinct values."""
        centered = []
        for name, center in self.problem.matrix.centers.items():
            if name in frame.columns:
                fits_int64 = frame.schema[name].is_integer() and frame.schema[name] != pl.UInt64
                value = pl.col(name).cast(pl.Int64 if fits_int64 else pl.Float64)
                centered.append(value - (int(center) if fits_int64 else center))
        return frame.with_columns(centered).cast(pl.Float32)

    def of_fold(self, fold: int) -> pl.DataFrame:
        """Return the columns that depend on the fold, for all rows; the fold may be `FULL_DATA`."""
        return self.by_fold.get(fold, lambda: self._compute(fold))

    def _compute(self, fold: int) -> pl.DataFrame:
        # The encodings number the fold of all rows after the others.
        frame = self._frames(fold).frame(self.problem.folds.n_folds if fold == FULL_DATA else fold)
        frame.columns = self.names[self.problem.matrix.width :]
        return frame

    def _frames(self, fold: int) -> FoldFrames:
        matrix, targets, split = self.problem.matrix, self.problem.target.columns, self.problem.split
        if fold == FULL_DATA:
            return matrix.learned(targets, self.target_index, split.with_full_fold())
        if self._fold_frames is None:
            self._fold_frames = matrix.learned(targets, self.target_index, split)
        return self._fold_frames

    def chunks(self, fold: int, rows: Rows, size: int | None = None) -> Iterator[tuple[slice, pl.DataFrame]]:
        """Yield all columns of ascending rows in chunks of `size` rows, by default `CHUNK_ROWS`.

        The boundaries are the same whether the matrix is in memory or read from its blocks, as results may depend on
        them: XGBoost merges the quantiles of chunks.
        """
        fold_columns, start = self.of_fold(fold), 0
        for frame in _rechunked(self._shared(rows), size or CHUNK_ROWS):
            row_slice = slice(start, start + len(frame))
            start = row_slice.stop
            yield row_slice, frame.hstack(_take(fold_columns, rows[row_slice])) if fold_columns.width else frame

    def _shared(self, rows: Rows) -> Iterator[pl.DataFrame]:
        if self.problem.matrix.width:
            yield from (frame for _, frame in self.problem.matrix.chunks(rows))
        else:
            yield pl.DataFrame(height=len(rows))

    def frame(self, fold: int, rows: Rows) -> pl.DataFrame:
        """Return all columns of ascending rows as one frame."""
        frames = [frame for _, frame in self.chunks(fold, rows)]
        return pl.concat(frames) if frames else self.frame(fold, range(1)).clear()


def _take(frame: pl.DataFrame, rows: Rows) -> pl.DataFrame:
    return frame.slice(rows.start, len(rows)) if isinstance(rows, range) else frame[rows]


def _rechunked(frames: Iterable[pl.DataFrame], size: int) -> Iterator[pl.DataFrame]:
    """Yield the same rows in frames of `size` rows, the last with the remainder."""
    pending: list[pl.DataFrame] = []
    n_pending = 0
    for frame in frames:
        pending.append(frame)
        n_pending += len(frame)
        while n_pending >= size:
            joined = pl.concat(pending)
            yield joined.head(size)
            pending, n_pending = [joined.slice(size)], n_pending - size
    if n_pending:
        yield pl.concat(pending)
