"""Large files from a seed: CSV and Parquet as event tables have them, JSON lines as a log of sessions has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

__all__ = [
    "PART_ROWS",
    "ROWS_PER_GB",
    "SESSIONS_PER_GB",
    "write_csv",
    "write_parts",
    "write_sessions",
    "write_small_files",
]

ROWS_PER_GB = 8_800_000
SESSIONS_PER_GB = 1_250_000
PART_ROWS = 300_000
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


def write_sessions(path: Path, sessions: int) -> None:
    """Write JSON lines of OTTO's shape: a session and its list of events, 17 on average, 500 at most; 860 bytes each."""
    rng = np.random.default_rng(20221)
    kinds = np.array(["clicks", "carts", "orders"])
    with path.open("w") as file:
        for start in range(0, sessions, 20_000):
            lengths = np.minimum(np.ceil(rng.pareto(1.1, min(20_000, sessions - start)) * 4 + 1), 500).astype(int)
            n = int(lengths.sum())
            aids = (1_000_000 * rng.random(n) ** 3).astype(int).tolist()
            times = (1_659_304_800_000 + rng.integers(0, 2_419_200_000, n)).tolist()
            types = kinds[np.searchsorted([0.9, 0.975], rng.random(n))].tolist()
            events = [f'{{"aid":{a},"ts":{t},"type":"{k}"}}' for a, t, k in zip(aids, times, types, strict=True)]
            ends = np.cumsum(lengths).tolist()
            for number, (first, last) in enumerate(zip([0, *ends], ends, strict=False), start):
                file.write(f'{{"session":{number},"events":[{",".join(events[first:last])}]}}\n')


def write_parts(folder: Path, parts: int) -> None:
    """Write Parquet parts of one table, about 20 MB each, every one a single row group."""
    rng = np.random.default_rng(20222)
    for part in range(parts):
        columns = {"id": np.arange(part * PART_ROWS, (part + 1) * PART_ROWS)}
        columns |= {f"x{i}": rng.normal(size=PART_ROWS) for i in range(6)}
        columns |= {f"k{i}": rng.integers(0, 10 ** (i + 1), PART_ROWS).astype(np.int32) for i in range(4)}
        frame = pl.DataFrame(columns).with_columns(city=pl.format("city {}", pl.col("k2") % 500))
        frame.write_parquet(folder / f"part-{part}.parquet", compression="lz4", row_group_size=PART_ROWS)


def write_small_files(folder: Path, files: int) -> None:
    """Write train and side tables of 50 rows whose names and columns have nothing in common but an id."""
    rng = np.random.default_rng(20223)
    letters = np.array(list("abcd"))
    for file in range(files):
        # Without numbers, by which they would be parts of one table.
        word = "".join(chr(97 + file // 26**i % 26) for i in range(3))
        name = word if file else "train"
        columns = {"id": np.arange(50), f"x_{word}": rng.normal(size=50).round(4), "k": rng.integers(0, 9, 50)}
        pl.DataFrame(columns | {"c": letters[rng.integers(0, 4, 50)]}).write_csv(folder / f"{name}.csv")
