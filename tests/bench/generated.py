"""Large CSV files from a seed: ids, numbers, codes, places, times, words and holes, as event tables have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

__all__ = ["ROWS_PER_GB", "write_csv"]

ROWS_PER_GB = 8_800_000
CHUNK_ROWS = 500_000


def write_csv(path: Path, rows: int, *, first_id: int = 0, target: bool = True) -> None:
    """Write a table of so many rows, about 114 bytes each."""
    rng = np.random.default_rng(20131)
    cities = np.array([f"city {c}" for c in range(500)])
    with path.open("wb") as file:
        for start in range(0, rows, CHUNK_ROWS):
            n = min(CHUNK_ROWS, rows - start)
            columns = {"id": pl.Series(np.arange(first_id + start, first_id + start + n))}
            columns |= {f"x{i}": pl.Series(rng.normal(size=n).round(6)) for i in range(6)}
            columns |= {f"k{i}": pl.Series(rng.integers(0, 10 ** (i + 1), n)) for i in range(4)}
            columns["city"] = pl.Series(cities[rng.integers(0, 500, n)])
            seconds = rng.integers(0, 10**8, n) + 1_577_836_800
            columns["when"] = pl.Series(seconds * 1000).cast(pl.Datetime("ms"))
            columns["flag"] = pl.Series(np.array(["True", "False"])[rng.integers(0, 2, n)])
            some = pl.Series(rng.integers(0, 99, n))
            columns["some"] = some.set(pl.Series(rng.random(n) < 0.2), None)
            if target:
                columns["target"] = pl.Series(rng.integers(0, 2, n))
            frame = pl.DataFrame(columns)
            frame.write_csv(file, include_header=start == 0, datetime_format="%Y-%m-%d %H:%M:%S")
