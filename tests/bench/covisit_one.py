"""One way to count co-visits, in a process of its own: `python -m tests.bench.covisit_one WAY LOG OUT`.

Seconds are taken from before the file is opened until the result is there, without the import of the packages; what is
compiled was compiled before, for a log of a few lines. OUT gets the result, and OUT.json the seconds by stage.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

from workbench.recommender import Covisit

SPEC = Covisit(last=30, window_s=24 * 3600, top=20)

DUCKDB = """
with codes as (
    select aid, row_number() over (order by n desc, aid) - 1 as code
    from (select aid, count(*) as n from log group by aid)
),
kept as (
    select session, ts // 1000 as second, code
    from (
        select session, aid, ts, row_number() over (partition by session order by ts // 1000 desc, line desc) as later
        from (select *, file_row_number as line from log)
    )
    join codes using (aid)
    where later <= {last}
),
pairs as (
    select distinct a.session, a.code as code, b.code as other
    from kept a join kept b using (session)
    where a.code <> b.code and abs(a.second - b.second) <= {window}
),
counted as (select code, other, count(*) as weight from pairs group by code, other),
ranked as (
    select *, row_number() over (partition by code order by weight desc, other) as rank from counted
    qualify rank <= {top}
)
select i.aid as item, n.aid as neighbour, weight::double as weight, rank::bigint as rank
from ranked join codes i using (code) join codes n on n.code = other order by ranked.code, rank
"""


def ours(log: Path) -> tuple[pl.DataFrame, dict[str, float]]:
    from workbench.recommender import Columns, count_covisits, read_interactions

    columns = Columns("session", "aid", "ts", "type", unit="ms")
    tiny = pl.DataFrame({"session": [1, 1], "aid": [1, 2], "ts": [0, 1], "type": [0, 1]})
    few = tiny.cast(pl.read_parquet_schema(log))
    count_covisits(read_interactions(few.lazy(), columns), SPEC)
    began = time.perf_counter()
    read = read_interactions(pl.scan_parquet(log), columns)
    was_read = time.perf_counter()
    found = count_covisits(read, SPEC)
    counted = time.perf_counter()
    frame = found.frame(read)
    ended = time.perf_counter()
    stages = {"reading": was_read - began, "counting": counted - was_read, "to a frame": ended - counted}
    return frame, {"all": ended - began, **stages}


def polars(log: Path) -> tuple[pl.DataFrame, dict[str, float]]:
    from tests.covisit_reference import polars_covisits

    began = time.perf_counter()
    events = pl.scan_parquet(log).select(
        user="session", item="aid", time=pl.col("ts") // 1000, kind=pl.col("type").cast(pl.String)
    )
    frame = polars_covisits(events, SPEC).collect(engine="streaming")
    return frame, {"all": time.perf_counter() - began}


def duckdb(log: Path) -> tuple[pl.DataFrame, dict[str, float]]:
    import duckdb as engine

    base = engine.connect()
    base.execute(f"set threads = {len(os.sched_getaffinity(0))}")
    began = time.perf_counter()
    query = DUCKDB.format(last=SPEC.last, window=SPEC.window_s, top=SPEC.top)
    base.execute(f"create view log as select * from read_parquet('{log}', file_row_number = true)")
    frame = pl.DataFrame(base.execute(query).to_arrow_table())
    return frame, {"all": time.perf_counter() - began}


WAYS: dict[str, Callable[[Path], tuple[pl.DataFrame, dict[str, float]]]] = {
    "ours": ours,
    "polars": polars,
    "duckdb": duckdb,
}


def main() -> None:
    way, log, out = sys.argv[1:]
    frame, seconds = WAYS[way](Path(log))
    frame.cast({"weight": pl.Float64, "rank": pl.Int64}).write_parquet(out)
    Path(f"{out}.json").write_text(json.dumps(seconds))


if __name__ == "__main__":
    main()
