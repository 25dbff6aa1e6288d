"""From a feature matrix to LightGBM's binned datasets, without the matrix ever lying in memory as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

if TYPE_CHECKING:
    import lightgbm as lgb

    from workbench.features import FeatureMatrix

__all__ = ["add_columns", "bin_frame", "bin_train_rows"]

Floats = npt.NDArray[np.float64]


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


def bin_train_rows(matrix: FeatureMatrix, parameters: dict[str, Any], **more: Any) -> lgb.Dataset:
    """Return the binned dataset of the train rows of a matrix.

    A matrix that is held in memory is taken as it is. Another is read twice in stretches of rows, once for the sample
    that LightGBM finds the bins with and once to be binned, as LightGBM's two-round loading does with text files: what
    is in memory is the binned data, a byte per value, and one stretch.
    """
    import lightgbm as lgb

    categories = [i for i, name in enumerate(matrix.columns) if name in matrix.categories]
    more = {"categorical_feature": categories} | more
    if matrix.held is not None:
        return bin_frame(matrix.train, parameters, **more)
    named: dict[str, Any] = {"feature_name": [f"c{i}" for i in range(matrix.width)], "free_raw_data": True}
    return lgb.Dataset(_as_sequence(matrix), params=parameters, **(named | more)).construct()


def _as_sequence(matrix: FeatureMatrix) -> lgb.Sequence:
    import lightgbm as lgb

    from workbench.features import CHUNK_ROWS

    class Stretches(lgb.Sequence):
        """The train rows, for LightGBM to ask for: single ones, ascending, then all in batches."""

        batch_size = CHUNK_ROWS

        def __init__(self) -> None:
            self._at = -1
            self._values: npt.NDArray[Any] = np.empty((0, matrix.width), matrix.number_type)

        def __len__(self) -> int:
            return matrix.n_train

        def _load(self, at: int) -> npt.NDArray[Any]:
            if at != self._at:
                rows = range(at * CHUNK_ROWS, min((at + 1) * CHUNK_ROWS, matrix.n_train))
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

    return Stretches()


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
