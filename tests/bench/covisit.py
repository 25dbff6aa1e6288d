"""Co-visits of 20 million generated events, by ours, by one polars query and by one DuckDB query: the same result.

Last 30 events of a session, pairs within 24 hours, each once a session, the 20 strongest of every item.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal

from tests.bench.measured import process, row
from tests.otto_log import write_sessions

EVENTS = 20_000_000
REPEATS = {"ours": 3, "polars": 1, "duckdb": 1}
"""Ours takes seconds, so that its median is known; the others take a minute."""


def cases(scale: float) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        events = write_sessions(here / "log.parquet", int(EVENTS * scale))
        seconds: dict[str, float] = {}
        memory: dict[str, float] = {}
        for way, repeats in REPEATS.items():
            told = [one(way, here) for _ in range(repeats)]
            seconds[way] = statistics.median(s["all"] for s, _ in told)
            memory[way] = statistics.median(m for _, m in told)
        first = pl.read_parquet(here / "ours.parquet")
        for way in ("polars", "duckdb"):
            assert_frame_equal(first, pl.read_parquet(here / f"{way}.parquet"), check_dtypes=False)
        case = f"{events:,} events, {first.height:,} pairs"
        return [
            row(case, "time", "s", seconds.pop("ours"), seconds),
            row(case, "peak memory", "MB", memory.pop("ours"), memory),
        ]


def one(way: str, here: Path, log: str = "log.parquet") -> tuple[dict[str, float], float]:
    """Run a way in a process; return its seconds by stage and its peak memory in MB."""
    out = here / f"{way}.parquet"
    command = [sys.executable, "-m", "tests.bench.covisit_one", way, str(here / log), str(out)]
    _, peak = process(command, Path(__file__).parents[2])
    return json.loads(Path(f"{out}.json").read_text()), peak
