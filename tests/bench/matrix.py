"""From a block on disk to LightGBM's binned dataset: time and peak memory of the whole process.

10 million rows by 50 columns (float32, float64, small integers, a text of 40 categories), as a feature's block lies in the
cache. Theirs are the usual ways: polars' frame given to LightGBM, as a numpy array, and through pandas; text as
categories. The case "against the matrix" has the size of the float32 matrix in place of theirs: a ratio of 0.67 and more is
a peak of at most 1.5 times that.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from tests.bench.measured import process, row

ROWS, COLUMNS = 10_000_000, 50
CHUNK_ROWS = 256 * 1024

PARAMETERS = "parameters = {'verbosity': -1, 'num_threads': 2, 'deterministic': True, 'force_col_wise': True}"

OURS = """
import sys, numpy as np, polars as pl
from workbench.features import FeatureMatrix, MatrixSource
from workbench.features.encoded import encode_columns
from workbench.models.lightgbm.datasets import bin_train_rows
{parameters}
lines = pl.scan_parquet(sys.argv[1], row_index_name="__row__")
n = lines.select(pl.len()).collect().item()
columns = encode_columns(lines, [c for c in lines.collect_schema() if c != "__row__"], n, origin="f")
source = MatrixSource("f", lambda a, b: lines.slice(a, b - a), tuple(columns))
matrix = FeatureMatrix((source,), n, n, {{c.name: list(c.levels) for c in columns if c.levels}})
made = bin_train_rows(matrix, parameters, label=np.zeros(n))
"""

THEIRS = {
    "polars frame": """
import sys, numpy as np, polars as pl, lightgbm as lgb
{parameters}
frame = pl.read_parquet(sys.argv[1])
frame = frame.with_columns(pl.col(pl.String).cast(pl.Categorical).to_physical(), pl.col(pl.Float64).cast(pl.Float32))
lgb.Dataset(frame, label=np.zeros(len(frame)), params=parameters, categorical_feature=["c49"]).construct()
""",
    "numpy array": """
import sys, numpy as np, polars as pl, lightgbm as lgb
{parameters}
frame = pl.read_parquet(sys.argv[1])
frame = frame.with_columns(pl.col(pl.String).cast(pl.Categorical).to_physical()).cast(pl.Float32).to_numpy()
lgb.Dataset(frame, label=np.zeros(len(frame)), params=parameters, categorical_feature=[49]).construct()
""",
    "pandas frame": """
import sys, numpy as np, pandas as pd, lightgbm as lgb
{parameters}
frame = pd.read_parquet(sys.argv[1])
frame["c49"] = frame["c49"].astype("category")
lgb.Dataset(frame, label=np.zeros(len(frame)), params=parameters).construct()
""",
}


def write_block(path: Path, rows: int) -> None:
    """Write the block, from a seed."""
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(COLUMNS)]
    kinds = [pl.Float32] * 30 + [pl.Float64] * 10 + [pl.Int16] * 9 + [pl.String]
    schema = dict(zip(names, kinds, strict=True))

    def chunk(n: int) -> pl.DataFrame:
        columns: dict[str, Any] = {}
        for name, kind in zip(names, kinds, strict=True):
            if kind == pl.Int16:
                columns[name] = rng.integers(0, 100, n)
            elif kind == pl.String:
                columns[name] = pl.Series(rng.integers(0, 40, n)).cast(pl.String)
            else:
                columns[name] = rng.normal(size=n)
        return pl.DataFrame(columns).cast(schema)

    def chunks(with_columns, predicate, n_rows, batch_size):
        for start in range(0, rows, CHUNK_ROWS):
            yield chunk(min(CHUNK_ROWS, rows - start))

    register_io_source(chunks, schema=schema).sink_parquet(path, row_group_size=CHUNK_ROWS, compression="lz4")


def cases(scale: float) -> list[dict[str, Any]]:
    rows = int(ROWS * scale)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "block.parquet"
        write_block(path, rows)

        def measured(script: str) -> tuple[float, float]:
            return process([sys.executable, "-c", script.format(parameters=PARAMETERS), str(path)], Path.cwd())

        seconds, peak = measured(OURS)
        theirs = {name: measured(script) for name, script in THEIRS.items()}
    case = f"{rows:,} x {COLUMNS}"
    return [
        row(case, "time", "s", seconds, {name: s for name, (s, _) in theirs.items()}),
        row(case, "peak memory", "MB", peak, {name: mb for name, (_, mb) in theirs.items()}),
        row(case, "against the matrix", "MB", peak, {"float32 matrix": rows * COLUMNS * 4 / 2**20}),
    ]
