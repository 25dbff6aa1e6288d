"""A 1 GB CSV to Parquet, and one of 5 GB: ours, with types decided over the whole file, against polars and DuckDB.

Ours also hashes source and result, checks every value against its type and writes the manifest. Polars guesses types
from the first rows (`infer_schema_length`), DuckDB from a sample. Each is a process of its own; all write lz4.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.generated import ROWS_PER_GB, write_csv
from tests.bench.measured import process, row

REPEATS = 5
ROOT = Path(__file__).parents[2]

OURS = """
import sys
from pathlib import Path
from workbench.ingest.convert import convert
convert(Path(sys.argv[1]).parent, Path(sys.argv[2]), "bench", force=True)
"""
POLARS = """
import sys
import polars as pl
pl.scan_csv(sys.argv[1], try_parse_dates=True).sink_parquet(sys.argv[2] + "/polars.parquet", compression="lz4")
"""
DUCKDB = """
import sys
import duckdb
duckdb.sql(f"COPY (SELECT * FROM read_csv('{sys.argv[1]}')) TO '{sys.argv[2]}/duckdb.parquet' (FORMAT parquet, COMPRESSION lz4)")
"""
WAYS = {"ours": OURS, "polars": POLARS, "duckdb": DUCKDB}


def cases(scale: float) -> list[dict[str, Any]]:
    return [*_case("1 GB", int(ROWS_PER_GB * scale), REPEATS), *_case("5 GB", int(5 * ROWS_PER_GB * scale), 1)]


def _case(name: str, rows: int, repeats: int) -> list[dict[str, Any]]:
    measured: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        raw, out = Path(folder, "raw"), Path(folder, "out")
        raw.mkdir()
        out.mkdir()
        write_csv(raw / "train.csv", rows)
        # One after the other in every round, so that a slow minute of the machine hits all three.
        for _ in range(repeats):
            for way, code in WAYS.items():
                command = [sys.executable, "-c", code, str(raw / "train.csv"), str(out)]
                measured[way].append(process(command, ROOT))
    seconds, megabytes = (
        {way: statistics.median(m[i] for m in found) for way, found in measured.items()} for i in (0, 1)
    )
    return [
        row(f"{name} of CSV", measure, unit, values.pop("ours"), values)
        for measure, unit, values in (("time", "s", seconds), ("peak memory", "MB", megabytes))
    ]
