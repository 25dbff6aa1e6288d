"""LightGBM's datasets of a matrix that is read in chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest

from workbench.data.competition import ROW
from workbench.features import FeatureMatrix, MatrixSource
from workbench.features.encoded import encode_columns
from workbench.models.lightgbm.datasets import bin_train_rows

N_ROWS, N_TRAIN = 900, 700
QUIET = {"verbosity": -1, "num_threads": 1}


def matrix_in_chunks() -> FeatureMatrix:
    rng = np.random.default_rng(1)
    x = rng.normal(size=N_ROWS)
    columns = {
        "x": pl.Series(x).set(pl.Series(x > 1.5), None),
        "with_nan": pl.Series(np.where(x < -1, np.nan, x)),
        "mostly_zero": pl.Series(np.where(x > 1, x, 0.0)).cast(pl.Float32),
        "whole": pl.Series(rng.integers(-3, 9, N_ROWS)).set(pl.Series(x > 2), None),
        "text": pl.Series(rng.choice(["a", "b", "c"], N_ROWS)),
    }
    lines = pl.DataFrame(columns).lazy().with_row_index(ROW)
    encoded = encode_columns(lines, list(columns), N_TRAIN, origin="f")
    source = MatrixSource("f", lambda start, stop: lines.slice(start, stop - start), tuple(encoded))
    levels = {c.name: list(c.levels) for c in encoded if c.levels is not None}
    return FeatureMatrix((source,), N_ROWS, N_TRAIN, levels)


def bytes_of(dataset: lgb.Dataset, path: Path) -> bytes:
    path.unlink(missing_ok=True)
    dataset.save_binary(path)
    return path.read_bytes()


@pytest.mark.parametrize("more", [{}, {"bin_construct_sample_cnt": 60}, {"use_missing": False}])
def test_bins_are_those_of_a_sample_that_lightgbm_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    """Byte for byte; and no row of the sample is asked for by itself, which takes twice the time and memory."""
    matrix, n_row_reads = matrix_in_chunks(), 0
    monkeypatch.setattr("workbench.features.matrix.CHUNK_ROWS", 128)
    monkeypatch.setattr("workbench.features.CHUNK_ROWS", 128)
    values = matrix.train.cast(pl.Float32).to_numpy()

    class Rows(lgb.Sequence):
        batch_size = 128

        def __len__(self) -> int:
            return N_TRAIN

        def __getitem__(self, index: Any) -> Any:
            nonlocal n_row_reads
            n_row_reads += not isinstance(index, slice)
            return values[index] if isinstance(index, slice) else values[index].astype(np.float64)

    parameters = QUIET | more
    options: dict[str, Any] = {"feature_name": [f"c{i}" for i in range(5)], "categorical_feature": [4]}
    expected = lgb.Dataset(Rows(), params=parameters, **options).construct()
    assert n_row_reads == min(N_TRAIN, more.get("bin_construct_sample_cnt", N_TRAIN))

    def one_row_after_the_other(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(lgb.Dataset, "_yield_row_from_seqlist", one_row_after_the_other)
    binned = bin_train_rows(matrix, parameters)
    assert bytes_of(binned, tmp_path / "ours.bin") == bytes_of(expected, tmp_path / "theirs.bin")
