"""A table of 20,000 columns to Parquet: the conversion of `wb fetch`, which decides types, against polars and DuckDB.

Train and test have 750 and 250 rows, of fractions, whole numbers, texts and gaps in turn. The others read and write each
file; they decide no types over both, look for no keys and infer no definition, and `wb fetch` itself does that, too.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.bench.measured import process, row

REPEATS = 3
ROOT = Path(__file__).parents[2]

OURS = """
import sys
from pathlib import Path
from workbench.data.ingest import convert
convert(Path(sys.argv[1]), Path(sys.argv[2]), "columns", force=True)
"""
POLARS = """
import sys
from pathlib import Path
import polars as pl
for path in Path(sys.argv[1]).iterdir():
    frame = pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)
    frame.write_parquet(Path(sys.argv[2], path.stem + ".parquet"), compression="lz4")
"""
DUCKDB = """
import sys
from pathlib import Path
import duckdb
for path in Path(sys.argv[1]).iterdir():
    duckdb.sql(f"COPY (SELECT * FROM '{path}') TO '{sys.argv[2]}/{path.stem}.parquet' (FORMAT parquet, COMPRESSION lz4)")
"""


def cases(scale: float) -> list[dict[str, Any]]:
    ways = {"ours": OURS, "polars": POLARS}
    ways |= {"DuckDB": DUCKDB} if importlib.util.find_spec("duckdb") else {}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for form in ("csv", "parquet"):
            raw, out = Path(folder, form), Path(folder, "out")
            _write(raw, int(20_000 * scale), form)
            out.mkdir(exist_ok=True)
            measured: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
            for _ in range(REPEATS):
                for way, code in ways.items():
                    command = [sys.executable, "-c", code, str(raw), str(out)]
                    measured[way].append(process(command, ROOT))
            for i, (measure, unit) in enumerate((("time", "s"), ("peak memory", "MB"))):
                values = {way: statistics.median(m[i] for m in found) for way, found in measured.items()}
                rows.append(row(f"{int(20_000 * scale):,} columns, {form}", measure, unit, values.pop("ours"), values))
    return rows


def _write(folder: Path, columns: int, form: str) -> None:
    folder.mkdir()
    rng, n = np.random.default_rng(7), 1000
    values: dict[str, Any] = {"id": np.arange(n)}
    for i in range(columns):
        number = rng.normal(size=n).round(3)
        kinds = (number, rng.integers(0, 9, n), np.where(number > 0, "red", "blue"))
        values[f"g{i}"] = pl.Series(kinds[i % 4] if i % 4 < 3 else pl.Series(number).set(pl.Series(number > 1), None))
    frame = pl.DataFrame(values).with_columns(y=pl.Series(rng.normal(size=n)))
    for name, part in (("train", frame.head(750)), ("test", frame.tail(250).drop("y"))):
        path = folder / f"{name}.{form}"
        part.write_csv(path) if form == "csv" else part.write_parquet(path)
