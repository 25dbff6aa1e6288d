"""Make LightGBM's binned datasets from a feature matrix, without loading the whole matrix into memory."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
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

__all__ = ["add_columns", "bin_all_rows", "bin_frame", "bin_train_rows", "reserve_disk_space"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def bin_frame(frame: pl.DataFrame, parameters: dict[str, Any], **options: Any) -> lgb.Dataset:
    """Return the binned dataset of a frame of numbers; the dataset does not keep the frame.

    Parameters
    ----------
    frame : DataFrame (n, width)
    parameters : dict
        LightGBM's.
    **options
        Further arguments of `lightgbm.Dataset`: label, weight, reference, categorical_feature.
    """
    import lightgbm as lgb

    defaults: dict[str, Any] = {
        "feature_name": [f"c{i}" for i in range(frame.width)],
        "categorical_feature": [],
        "free_raw_data": True,
    }
    return lgb.Dataset(frame, params=parameters, **(defaults | options)).construct()


def bin_train_rows(
    matrix: FeatureMatrix, parameters: dict[str, Any], *, order: Ints | None = None, **options: Any
) -> lgb.Dataset:
    """Return the binned dataset of the train rows of a matrix.

    A matrix that is not in memory is read twice in chunks of rows, once for the sample in which LightGBM finds the bins
    and once to bin the rows, as in LightGBM's two-round loading of text files: only the binned data, a byte per value,
    and a chunk are in memory.

    Parameters
    ----------
    order : int array (n_train,), optional
        The rows in the order of the dataset. A matrix that is not in memory is reordered on disk, in the folder for
        temporary files.
    """
    categories = [i for i, name in enumerate(matrix.columns) if name in matrix.categories]
    return _binned(matrix, range(matrix.n_train), order, parameters, {"categorical_feature": categories} | options)


def bin_all_rows(
    matrix: FeatureMatrix, parameters: dict[str, Any], train: lgb.Dataset, *, order: Ints | None = None
) -> lgb.Dataset:
    """Return the binned dataset of the train and the test rows, with the bins of the train rows."""
    if order is not None:
        order = np.concatenate([order, np.arange(matrix.n_train, matrix.n_rows)])
    return _binned(matrix, range(matrix.n_rows), order, parameters, {"reference": train})


def _binned(
    matrix: FeatureMatrix, rows: range, order: Ints | None, parameters: dict[str, Any], options: dict[str, Any]
) -> lgb.Dataset:
    import lightgbm as lgb

    if matrix.loaded_frame is not None:
        frame = matrix.loaded_frame.head(len(rows))
        return bin_frame(frame if order is None else frame[order], parameters, **options)
    if order is None:
        return _binned_in_chunks(matrix, len(rows), parameters, options)
    defaults: dict[str, Any] = {"feature_name": [f"c{i}" for i in range(matrix.width)], "free_raw_data": True}
    with tempfile.NamedTemporaryFile() as file:
        values = _reordered_on_disk(matrix, rows, order, file)
        return lgb.Dataset(values, params=parameters, **(defaults | options)).construct()


def _reordered_on_disk(matrix: FeatureMatrix, rows: range, order: Ints, file: IO[bytes]) -> npt.NDArray[Any]:
    positions = np.argsort(order)
    reserve_disk_space(file, len(rows) * matrix.width * np.dtype(matrix.number_type).itemsize)
    values = np.memmap(file.name, matrix.number_type, "r+", shape=(len(rows), matrix.width))
    for row_slice, frame in matrix.chunks(rows):
        values[positions[row_slice]] = frame.to_numpy()
    return values


def reserve_disk_space(file: IO[bytes], size_bytes: int) -> None:
    """Allocate disk space for a memory map: writing a page without space left ends the process with a bus error.

    Raises
    ------
    StorageError
        With the folder for temporary files, and whether it is in memory.
    """
    folder = Path(file.name).parent
    hint = "set TMPDIR to a folder on a disk with enough space: TMPDIR=/path/to/it wb …"
    needed = f"the rows in the order of their queries need {format_bytes(size_bytes)} in the folder for temporary files"
    if is_in_memory(folder) and size_bytes > available_bytes():
        free = format_bytes(available_bytes())
        raise StorageError(f"{needed}, {folder}, which is in memory, where {free} are left", hint=hint)
    try:
        # Checked first: allocating until the disk is full would affect other processes.
        if shutil.disk_usage(folder).free < size_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size_bytes)
    except OSError as exc:
        file.truncate(0)
        free = format_bytes(shutil.disk_usage(folder).free)
        raise StorageError(f"{needed}, {folder}, which has {free} left: {exc.strerror}", hint=hint) from exc


def _binned_in_chunks(
    matrix: FeatureMatrix, n_rows: int, parameters: dict[str, Any], options: dict[str, Any]
) -> lgb.Dataset:
    """Return the binned dataset of the first rows, which are read in chunks."""
    import lightgbm as lgb
    from lightgbm.basic import ZERO_THRESHOLD

    from workbench.features import CHUNK_ROWS

    dtype = pl.Float32() if matrix.number_type is np.float32 else pl.Float64()

    class ChunkSequence(lgb.Sequence):
        """The first rows, read in batches after the sample."""

        batch_size = CHUNK_ROWS

        def __init__(self) -> None:
            self._chunk_number = -1
            self._values: npt.NDArray[Any] = np.empty((0, matrix.width), matrix.number_type)

        def __len__(self) -> int:
            return n_rows

        def _load(self, chunk_number: int) -> npt.NDArray[Any]:
            if chunk_number != self._chunk_number:
                start = chunk_number * CHUNK_ROWS
                rows = range(start, min(start + CHUNK_ROWS, n_rows))
                frames = [frame for _, frame in matrix.chunks(rows)]
                self._values = pl.concat(frames).cast(dtype).to_numpy(order="c")
                self._chunk_number = chunk_number
            return self._values

        def __getitem__(self, index: int | slice) -> npt.NDArray[Any]:  # type: ignore[override]
            if isinstance(index, slice):
                return self._load(index.start // CHUNK_ROWS)
            # LightGBM needs the rows of its sample in 64 bits.
            row: Floats = self._load(index // CHUNK_ROWS)[index % CHUNK_ROWS].astype(np.float64)
            return row

        def columns(self, rows: Ints) -> Iterator[Floats]:
            """Yield the columns of some rows, ascending, in 64 bits."""
            sample = pl.concat(frame for _, frame in matrix.chunks(rows))
            for column in sample.iter_columns():
                yield column.cast(dtype).cast(pl.Float64).to_numpy()  # null becomes NaN

    class ChunkDataset(lgb.Dataset):
        """A dataset of a sequence, whose bins are found in a sample that is read column by column.

        LightGBM has the sample (200,000 rows of 64 bits by default) in memory as a list of rows, as a matrix and as
        columns, and calls Python for each row. Where a version names this method otherwise, it does so again.
        """

        def _Dataset__sample(  # noqa: N802 the mangled name of LightGBM's method
            self, *, seqs: list[Any], total_nrow: int
        ) -> tuple[list[Floats], list[npt.NDArray[np.int32]]]:
            values, positions = [], []
            for column in seqs[0].columns(self._create_sample_indices(total_nrow=total_nrow).astype(np.int64)):
                is_stored = (np.abs(column) > ZERO_THRESHOLD) | np.isnan(column)
                values.append(column[is_stored])
                positions.append(np.flatnonzero(is_stored).astype(np.int32))
            return values, positions

    defaults: dict[str, Any] = {"feature_name": [f"c{i}" for i in range(matrix.width)], "free_raw_data": True}
    return ChunkDataset(ChunkSequence(), params=parameters, **(defaults | options)).construct()


def add_columns(datasets: list[lgb.Dataset], frames: list[pl.DataFrame], parameters: dict[str, Any]) -> None:
    """Append the columns that depend on the fold to datasets of its rows; they are binned on the first frame."""
    import warnings

    reference: lgb.Dataset | None = None
    for dataset, frame in zip(datasets, frames, strict=True):
        names = [f"e{i}" for i in range(frame.width)]
        extra = bin_frame(frame, parameters, feature_name=names, reference=reference)
        reference = reference or extra
        with warnings.catch_warnings():
            # It warns about raw data and the list of categorical columns, neither of which is used any more.
            warnings.simplefilter("ignore", UserWarning)
            dataset.add_features_from(extra)
