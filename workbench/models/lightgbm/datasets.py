"""From a feature matrix to LightGBM's binned datasets, without the matrix ever lying in memory as a whole."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import StorageError
from workbench.core.memory import available_bytes, format_bytes, is_in_memory

if TYPE_CHECKING:
    import lightgbm as lgb

    from workbench.features import FeatureMatrix

__all__ = ["add_columns", "bin_all_rows", "bin_frame", "bin_train_rows", "reserve_room"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def bin_frame(frame: pl.DataFrame, parameters: dict[str, Any], **more: Any) -> lgb.Dataset:
    """Return the binned dataset of a frame of numbers, which is released.

    Parameters
    ----------
    frame : DataFrame (n, width)
    parameters : dict
        LightGBM's.
    **more
        What `lightgbm.Dataset` takes beside: label, weight, reference, categorical_feature.
    """
    import lightgbm as lgb

    named: dict[str, Any] = {
        "feature_name": [f"c{i}" for i in range(frame.width)],
        "categorical_feature": [],
        "free_raw_data": True,
    }
    return lgb.Dataset(frame, params=parameters, **(named | more)).construct()


def bin_train_rows(
    matrix: FeatureMatrix, parameters: dict[str, Any], *, order: Ints | None = None, **more: Any
) -> lgb.Dataset:
    """Return the binned dataset of the train rows of a matrix.

    A matrix that is held in memory is taken as it is. Another is read twice in chunks of rows, once for the sample
    that LightGBM finds the bins with and once to be binned, as LightGBM's two-round loading does with text files: what
    is in memory is the binned data, a byte per value, and one chunk.

    Parameters
    ----------
    order : int array (n_train,), optional
        The rows in the order in which the dataset is to have them. What is not held in memory is brought into it on
        disk, in the folder for temporary files.
    """
    categories = [i for i, name in enumerate(matrix.columns) if name in matrix.categories]
    return _binned(matrix, range(matrix.n_train), order, parameters, {"categorical_feature": categories} | more)


def bin_all_rows(
    matrix: FeatureMatrix, parameters: dict[str, Any], train: lgb.Dataset, *, order: Ints | None = None
) -> lgb.Dataset:
    """Return the binned dataset of the train and the test rows, with the bins of the train rows."""
    if order is not None:
        order = np.concatenate([order, np.arange(matrix.n_train, matrix.n_rows)])
    return _binned(matrix, range(matrix.n_rows), order, parameters, {"reference": train})


def _binned(
    matrix: FeatureMatrix, rows: range, order: Ints | None, parameters: dict[str, Any], more: dict[str, Any]
) -> lgb.Dataset:
    import lightgbm as lgb

    if matrix.loaded_frame is not None:
        frame = matrix.loaded_frame.head(len(rows))
        return bin_frame(frame if order is None else frame[order], parameters, **more)
    named: dict[str, Any] = {"feature_name": [f"c{i}" for i in range(matrix.width)], "free_raw_data": True}
    if order is None:
        return lgb.Dataset(_as_sequence(matrix, len(rows)), params=parameters, **(named | more)).construct()
    with tempfile.NamedTemporaryFile() as file:
        values = _ordered_on_disk(matrix, rows, order, file)
        return lgb.Dataset(values, params=parameters, **(named | more)).construct()


def _ordered_on_disk(matrix: FeatureMatrix, rows: range, order: Ints, file: IO[bytes]) -> npt.NDArray[Any]:
    positions = np.argsort(order)
    reserve_room(file, len(rows) * matrix.width * np.dtype(matrix.number_type).itemsize)
    values = np.memmap(file.name, matrix.number_type, "r+", shape=(len(rows), matrix.width))
    for row_slice, frame in matrix.chunks(rows):
        values[positions[row_slice]] = frame.to_numpy()
    return values


def reserve_room(file: IO[bytes], size_bytes: int) -> None:
    """Take the room on disk before it is written to: a page that finds none later ends the process with a bus error.

    Raises
    ------
    StorageError
        Names the folder for temporary files; of one that is held in memory, says so.
    """
    folder = Path(file.name).parent
    hint = "name a folder on a disk that has it: TMPDIR=/path/to/it wb …"
    needed = f"the rows in the order of their queries need {format_bytes(size_bytes)} in the folder for temporary files"
    if is_in_memory(folder) and size_bytes > available_bytes():
        free = format_bytes(available_bytes())
        raise StorageError(f"{needed}, {folder}, which is held in memory, and {free} of that are left", hint=hint)
    try:
        # Asked first: what is taken until there is no more would be missing to everybody until it is given back.
        if shutil.disk_usage(folder).free < size_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size_bytes)
    except OSError as exc:
        file.truncate(0)
        free = format_bytes(shutil.disk_usage(folder).free)
        raise StorageError(f"{needed}, {folder}, which has {free} left: {exc.strerror}", hint=hint) from exc


def _as_sequence(matrix: FeatureMatrix, n_rows: int) -> lgb.Sequence:
    import lightgbm as lgb

    from workbench.features import CHUNK_ROWS

    class Chunks(lgb.Sequence):
        """The first rows, for LightGBM to ask for: single ones, ascending, then all in batches."""

        batch_size = CHUNK_ROWS

        def __init__(self) -> None:
            self._at = -1
            self._values: npt.NDArray[Any] = np.empty((0, matrix.width), matrix.number_type)

        def __len__(self) -> int:
            return n_rows

        def _load(self, at: int) -> npt.NDArray[Any]:
            if at != self._at:
                rows = range(at * CHUNK_ROWS, min((at + 1) * CHUNK_ROWS, n_rows))
                frames = [frame for _, frame in matrix.chunks(rows)]
                number = pl.Float32 if matrix.number_type is np.float32 else pl.Float64
                self._values = pl.concat(frames).cast(number).to_numpy(order="c")
                self._at = at
            return self._values

        def __getitem__(self, index: int | slice) -> npt.NDArray[Any]:  # type: ignore[override]
            if isinstance(index, slice):
                return self._load(index.start // CHUNK_ROWS)
            # LightGBM takes its sample in 64 bits.
            line: Floats = self._load(index // CHUNK_ROWS)[index % CHUNK_ROWS].astype(np.float64)
            return line

    return Chunks()


def add_columns(datasets: list[lgb.Dataset], frames: list[pl.DataFrame], parameters: dict[str, Any]) -> None:
    """Append a fold's own columns, binned on its train rows (the first frame), to the subsets of the shared dataset."""
    import warnings

    first: lgb.Dataset | None = None
    for dataset, frame in zip(datasets, frames, strict=True):
        names = [f"e{i}" for i in range(frame.width)]
        extra = bin_frame(frame, parameters, feature_name=names, reference=first)
        first = first or extra
        with warnings.catch_warnings():
            # It warns that the raw data, which nothing needs any more, is not joined, and that the subset's list of
            # categorical columns, which the binned data keeps, is.
            warnings.simplefilter("ignore", UserWarning)
            dataset.add_features_from(extra)
