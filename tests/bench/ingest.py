"""CSV of 1, 5 and 20 GB, 1 GB of JSON lines, and a hundred Parquet parts to one Parquet file: against polars and DuckDB.

The CSV of 1 GB is also read packed by gzip, which the others unpack themselves, and as the member of a zip archive, which
they can't read: they unpack it first. Of 2,000 small CSV files each becomes a table, and the others read and write each.

Ours also hashes source and result, checks every value against its type and writes the manifest. Polars guesses types
from the first rows (`infer_schema_length`), DuckDB from a sample. Each is a process of its own; all write lz4. The 20 GB
are left out where the disk has less than 60 GB free, and the time is that of one run; so it is for the lines and parts.
"""

from __future__ import annotations

import gzip
import shutil
import statistics
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.generated import (
    ROWS_PER_GB,
    SESSIONS_PER_GB,
    write_csv,
    write_parts,
    write_sessions,
    write_small_files,
)
from tests.bench.measured import process, row

REPEATS = 5
ROOT = Path(__file__).parents[2]

OURS = """
import sys
from pathlib import Path
from workbench.data.ingest.convert import convert
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
CSV = {"ours": OURS, "polars": POLARS, "duckdb": DUCKDB}

OURS_EXPLODED = """
import sys
from pathlib import Path
from workbench.data.ingest.convert import convert
from workbench.data.ingest.sources import ReadOptions
options = ReadOptions({"train": {"explode": "events"}}, {})
convert(Path(sys.argv[1]).parent, Path(sys.argv[2]), "bench", force=True, options=options)
"""
POLARS_LINES = """
import sys
import polars as pl
pl.scan_ndjson(sys.argv[1]).sink_parquet(sys.argv[2] + "/polars.parquet", compression="lz4")
"""
POLARS_EXPLODED = """
import sys
import polars as pl
events = pl.scan_ndjson(sys.argv[1]).explode("events").unnest("events")
events.sink_parquet(sys.argv[2] + "/polars.parquet", compression="lz4")
"""
DUCKDB_LINES = """
import sys
import duckdb
lines = f"read_json('{sys.argv[1]}', format='newline_delimited')"
duckdb.sql(f"COPY (SELECT * FROM {lines}) TO '{sys.argv[2]}/duckdb.parquet' (FORMAT parquet, COMPRESSION lz4)")
"""
DUCKDB_EXPLODED = """
import sys
import duckdb
lines = f"read_json('{sys.argv[1]}', format='newline_delimited')"
events = f"SELECT session, e.aid, e.ts, e.type FROM (SELECT session, unnest(events) AS e FROM {lines})"
duckdb.sql(f"COPY ({events}) TO '{sys.argv[2]}/duckdb.parquet' (FORMAT parquet, COMPRESSION lz4)")
"""
POLARS_PARTS = """
import sys
import polars as pl
pl.scan_parquet(sys.argv[1] + "/*.parquet").sink_parquet(sys.argv[2] + "/polars.parquet", compression="lz4")
"""
DUCKDB_PARTS = """
import sys
import duckdb
parts = f"read_parquet('{sys.argv[1]}/*.parquet')"
duckdb.sql(f"COPY (SELECT * FROM {parts}) TO '{sys.argv[2]}/duckdb.parquet' (FORMAT parquet, COMPRESSION lz4)")
"""
LINES = {"ours": OURS, "polars": POLARS_LINES, "duckdb": DUCKDB_LINES}
EXPLODED = {"ours": OURS_EXPLODED, "polars": POLARS_EXPLODED, "duckdb": DUCKDB_EXPLODED}
PARTS = {"ours": OURS, "polars": POLARS_PARTS, "duckdb": DUCKDB_PARTS}
ZIPPED = """
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as archive:
    sys.argv[1] = archive.extract("train.csv", sys.argv[2])
"""
UNZIPPED = {"ours": OURS, "zipfile, polars": ZIPPED + POLARS, "zipfile, duckdb": ZIPPED + DUCKDB}
POLARS_SMALL = """
import sys
from pathlib import Path
import polars as pl
for path in Path(sys.argv[1]).parent.glob("*.csv"):
    pl.scan_csv(path, try_parse_dates=True).sink_parquet(f"{sys.argv[2]}/{path.stem}.parquet", compression="lz4")
"""
DUCKDB_SMALL = """
import sys
from pathlib import Path
import duckdb
for path in Path(sys.argv[1]).parent.glob("*.csv"):
    target = f"{sys.argv[2]}/{path.stem}.parquet"
    duckdb.sql(f"COPY (SELECT * FROM read_csv('{path}')) TO '{target}' (FORMAT parquet, COMPRESSION lz4)")
"""
SMALL = {"ours": OURS, "polars": POLARS_SMALL, "duckdb": DUCKDB_SMALL}
UNPACK = """
import sys, tempfile, zipfile
folder = tempfile.mkdtemp(dir=sys.argv[2] + "/..")
with zipfile.ZipFile(sys.argv[1]) as archive:
    archive.extractall(folder)
sys.argv[1] = folder + "/train.csv"
"""
SMALL_PACKED = {"ours": OURS, "zipfile, polars": UNPACK + POLARS_SMALL, "zipfile, duckdb": UNPACK + DUCKDB_SMALL}
FREE_GB = 60


def cases(scale: float) -> list[dict[str, Any]]:
    return [
        *csv_case("1 GB of CSV", int(ROWS_PER_GB * scale), REPEATS),
        *csv_case("5 GB of CSV", int(5 * ROWS_PER_GB * scale), 1),
        *packed_cases(scale),
        *small_files_cases(scale),
        *lines_cases(scale),
        *parts_case(scale),
        *largest_case(scale),
    ]


def csv_case(name: str, rows: int, repeats: int) -> list[dict[str, Any]]:
    with _folders() as (raw, out):
        write_csv(raw / "train.csv", rows)
        return _measured(name, CSV, raw / "train.csv", out, repeats)


def packed_cases(scale: float) -> list[dict[str, Any]]:
    rows = []
    with _folders() as (raw, out):
        plain = raw / "train.csv"
        write_csv(plain, int(ROWS_PER_GB * scale))
        packed = raw / "train.csv.gz"
        with plain.open("rb") as source, gzip.open(packed, "wb", compresslevel=1) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        with zipfile.ZipFile(raw / "all.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.write(plain, "train.csv")
        plain.unlink()
        (raw / "all.zip").rename(out.with_name("all.zip"))
        rows += _measured("1 GB of CSV, gzip", CSV, packed, out, 1)
        packed.unlink()
        out.with_name("all.zip").rename(raw / "all.zip")
        rows += _measured("1 GB of CSV, zip", UNZIPPED, raw / "all.zip", out, 1)
    return rows


def small_files_cases(scale: float) -> list[dict[str, Any]]:
    number = max(2, int(2000 * scale))
    with _folders() as (raw, out):
        write_small_files(raw, number)
        rows = _measured("2,000 small files", SMALL, raw / "train.csv", out, 1)
        with zipfile.ZipFile(out.with_name("all.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
            for path in raw.iterdir():
                archive.write(path, path.name)
                path.unlink()
        out.with_name("all.zip").rename(raw / "all.zip")
        return rows + _measured("the same in one archive", SMALL_PACKED, raw / "all.zip", out, 1)


def lines_cases(scale: float) -> list[dict[str, Any]]:
    with _folders() as (raw, out):
        write_sessions(raw / "train.jsonl", int(SESSIONS_PER_GB * scale))
        return [
            *_measured("1 GB of JSON lines", LINES, raw / "train.jsonl", out, 1),
            *_measured("1 GB of lines, exploded", EXPLODED, raw / "train.jsonl", out, 1),
        ]


def parts_case(scale: float) -> list[dict[str, Any]]:
    with _folders() as (raw, out):
        (raw / "train").mkdir()
        write_parts(raw / "train", max(2, int(100 * scale)))
        return _measured("100 Parquet parts", PARTS, raw / "train", out, 1)


def largest_case(scale: float) -> list[dict[str, Any]]:
    free_gb = shutil.disk_usage(tempfile.gettempdir()).free / 2**30
    if free_gb < FREE_GB * scale:
        sys.stderr.write(f"20 GB of CSV: left out, the disk has {free_gb:.0f} GB free and {FREE_GB} are needed\n")
        return []
    return csv_case("20 GB of CSV", int(20 * ROWS_PER_GB * scale), 1)


@contextmanager
def _folders() -> Iterator[tuple[Path, Path]]:
    with tempfile.TemporaryDirectory() as folder:
        raw, out = Path(folder, "raw"), Path(folder, "out")
        raw.mkdir()
        out.mkdir()
        yield raw, out


def _measured(name: str, ways: dict[str, str], source: Path, out: Path, repeats: int) -> list[dict[str, Any]]:
    measured: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    # One after the other in every round, so that a slow minute of the machine hits all three.
    for _ in range(repeats):
        for way, code in ways.items():
            measured[way].append(process([sys.executable, "-c", code, str(source), str(out)], ROOT))
            for path in out.iterdir():
                path.unlink()
    seconds, megabytes = (
        {way: statistics.median(m[i] for m in found) for way, found in measured.items()} for i in (0, 1)
    )
    return [
        row(name, measure, unit, values.pop("ours"), values)
        for measure, unit, values in (("time", "s", seconds), ("peak memory", "MB", megabytes))
    ]
