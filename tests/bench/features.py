"""Twelve features over a session log: as blocks of the workbench, straight in polars, and in DuckDB.

The log is generated (`session_log`): 100 million events of about 10 million sessions, 1 million items. Each side runs in
a process of its own and writes the same columns, a line per event, to Parquet. polars and DuckDB get the two ways that
people write such a thing: everything in one query, and a query per feature. Memory is the process's peak.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.measured import process, row
from tests.bench.session_log import write_competition

EVENTS = 100_000_000

FEATURES = """
import polars as pl
from workbench.features import ROW, feature


def joined(rows, per_item):
    return rows.select(ROW, "aid").join(per_item, on="aid", how="left").drop("aid")


@feature
def item_count(rows):
    return joined(rows, rows.group_by("aid").agg(item_count=pl.len()))


@feature
def item_carts(rows):
    return joined(rows, rows.group_by("aid").agg(item_carts=(pl.col("type") > 0).mean()))


@feature
def item_first_seen(rows):
    return joined(rows, rows.group_by("aid").agg(item_first=pl.col("ts").min()))


@feature
def item_spread(rows):
    return joined(rows, rows.group_by("aid").agg(item_mean=pl.col("ts").mean(), item_std=pl.col("ts").std()))


@feature
def hour(rows):
    ts = pl.col("ts").cast(pl.Datetime("ms"))
    return [ts.dt.hour().alias("hour"), ts.dt.weekday().alias("weekday")]


@feature
def frequency(rows):
    counts = rows.group_by("type").agg(type_count=pl.len())
    return rows.select(ROW, "type").join(counts, on="type", how="left").drop("type")


@feature(partition_by="session")
def session_length(rows):
    return [pl.len().over("session").alias("session_length")]


@feature(partition_by="session")
def duration(rows):
    return [(pl.col("ts").max() - pl.col("ts").min()).over("session").alias("duration")]


@feature(partition_by="session")
def position(rows):
    return [pl.col("ts").rank("ordinal").over("session").alias("position")]


@feature(partition_by="session")
def since_previous(rows):
    return [(pl.col("ts") - pl.col("ts").shift(1)).over("session", order_by="ts").alias("since_previous")]


@feature(partition_by="session")
def previous_item(rows):
    return [pl.col("aid").shift(1).over("session", order_by="ts").alias("previous_item")]


@feature(partition_by="session")
def carts_so_far(rows):
    return [(pl.col("type") > 0).cum_sum().over("session", order_by="ts").alias("carts_so_far")]
"""

OURS = """
import sys
from pathlib import Path
from workbench.api import library
from workbench.data.workspace import Workspace
opened = library.OpenCompetition(Workspace(Path(sys.argv[1])), "log")
opened.features.summaries(build=True)
"""

STRAIGHT = """
import polars as pl, sys
folder, out, how = sys.argv[1:]
tables = folder + "/competitions/log/data/tables/"
rows = pl.concat([pl.scan_parquet(tables + "train.parquet").drop("y"), pl.scan_parquet(tables + "test.parquet")])
ts = pl.col("ts")
day = ts.cast(pl.Datetime("ms"))
per_item = {
    "item_count": [pl.len().alias("item_count")],
    "item_carts": [(pl.col("type") > 0).mean().alias("item_carts")],
    "item_first_seen": [ts.min().alias("item_first")],
    "item_spread": [ts.mean().alias("item_mean"), ts.std().alias("item_std")],
}
single = {
    "hour": [day.dt.hour().alias("hour"), day.dt.weekday().alias("weekday")],
    "session_length": [pl.len().over("session").alias("session_length")],
    "duration": [(ts.max() - ts.min()).over("session").alias("duration")],
    "position": [ts.rank("ordinal").over("session").alias("position")],
    "since_previous": [(ts - ts.shift(1)).over("session", order_by="ts").alias("since_previous")],
    "previous_item": [pl.col("aid").shift(1).over("session", order_by="ts").alias("previous_item")],
    "carts_so_far": [(pl.col("type") > 0).cum_sum().over("session", order_by="ts").alias("carts_so_far")],
}
types = rows.group_by("type").agg(pl.len().alias("type_count"))
if how == "whole":
    frame = rows.with_columns([e for es in single.values() for e in es])
    frame = frame.join(rows.group_by("aid").agg([e for es in per_item.values() for e in es]), on="aid", how="left")
    frame.join(types, on="type", how="left").drop("session", "aid", "ts", "type").sink_parquet(out + "/all.parquet")
else:
    for name, es in single.items():
        rows.select("event", *es).sink_parquet(f"{out}/{name}.parquet")
    for name, es in per_item.items():
        made = rows.select("event", "aid").join(rows.group_by("aid").agg(es), on="aid", how="left").drop("aid")
        made.sink_parquet(f"{out}/{name}.parquet")
    rows.select("event", "type").join(types, on="type", how="left").drop("type").sink_parquet(out + "/types.parquet")
"""

DUCK = """
import duckdb, sys
folder, out, how = sys.argv[1:]
tables = folder + "/competitions/log/data/tables/"
con = duckdb.connect()
con.sql(f"SET temp_directory='{out}/spill'")
con.sql("SET preserve_insertion_order=false")
con.sql(f"CREATE VIEW rows AS SELECT event, session, aid, ts, type FROM '{tables}train.parquet' UNION ALL "
        f"SELECT event, session, aid, ts, type FROM '{tables}test.parquet'")
session = "PARTITION BY session"
ordered = "PARTITION BY session ORDER BY ts"
single = {
    "hour": "hour(make_timestamp(ts * 1000)) AS hour, isodow(make_timestamp(ts * 1000)) AS weekday",
    "session_length": f"count(*) OVER ({session}) AS session_length",
    "duration": f"max(ts) OVER ({session}) - min(ts) OVER ({session}) AS duration",
    "position": f"row_number() OVER ({ordered}) AS position",
    "since_previous": f"ts - lag(ts) OVER ({ordered}) AS since_previous",
    "previous_item": f"lag(aid) OVER ({ordered}) AS previous_item",
    "carts_so_far": f"sum((type > 0)::INT) OVER ({ordered} ROWS UNBOUNDED PRECEDING) AS carts_so_far",
}
per_item = {
    "item_count": "count(*) AS item_count",
    "item_carts": "avg((type > 0)::INT) AS item_carts",
    "item_first_seen": "min(ts) AS item_first",
    "item_spread": "avg(ts) AS item_mean, stddev_samp(ts) AS item_std",
}
names = "item_count, item_carts, item_first, item_mean, item_std"
def copy(query, name):
    con.sql(f"COPY ({query}) TO '{out}/{name}.parquet' (FORMAT parquet)")
if how == "whole":
    copy(f"WITH items AS (SELECT aid, {', '.join(per_item.values())} FROM rows GROUP BY aid), "
         "types AS (SELECT type, count(*) AS type_count FROM rows GROUP BY type), "
         f"windows AS (SELECT event, aid, type, {', '.join(single.values())} FROM rows) "
         f"SELECT windows.* EXCLUDE (aid, type), {names}, type_count "
         "FROM windows LEFT JOIN items USING (aid) LEFT JOIN types USING (type)", "all")
else:
    for name, sql in single.items():
        copy(f"SELECT event, {sql} FROM rows", name)
    for name, sql in per_item.items():
        copy(f"WITH items AS (SELECT aid, {sql} FROM rows GROUP BY aid) "
             "SELECT rows.event, items.* EXCLUDE (aid) FROM rows LEFT JOIN items USING (aid)", name)
    copy("WITH types AS (SELECT type, count(*) AS type_count FROM rows GROUP BY type) "
         "SELECT event, type_count FROM rows LEFT JOIN types USING (type)", "types")
"""


def cases(scale: float) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        events = int(EVENTS * scale)
        write_competition(root / "competitions" / "log", events)
        return measured(root, f"12 features, {events:,} events")


def measured(root: Path, case: str) -> list[dict[str, Any]]:
    """Measure in a workspace whose competition "log" is there."""
    (root / "competitions" / "log" / "features.py").write_text(FEATURES)
    seconds, memory = {}, {}
    ours = [sys.executable, "-c", OURS, str(root)]
    cold, peak = process(ours, Path.cwd())
    warm, _ = process(ours, Path.cwd())
    for name, script in (("polars", STRAIGHT), ("DuckDB", DUCK)):
        for how in ("whole", "each"):
            with tempfile.TemporaryDirectory() as out:
                label = f"{name}, {'one query' if how == 'whole' else 'a query each'}"
                try:
                    seconds[label], memory[label] = process(
                        [sys.executable, "-c", script, str(root), out, how], Path.cwd()
                    )
                except SystemExit as exc:  # it ran out of memory: that is a result too
                    print(f"{label} did not finish: {str(exc)[-300:]}", file=sys.stderr)
    return [
        row(case, "time", "s", cold, seconds),
        row(case, "peak memory", "MB", peak, memory),
        row(case, "time, warm cache", "s", warm, seconds),
    ]
