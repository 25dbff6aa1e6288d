"""The whole two-stage run at OTTO's size, 204 million events, and at a hundredth of it: what an event costs is the same.

Candidates from the session itself, two co-visit counts and what is popular; three rankers over three folds of users;
lists of all test sessions. Each stage's time and memory is a row.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.measured import process, row
from tests.otto_log import write_sessions

EVENTS = 204_000_000


def cases(scale: float) -> list[dict[str, Any]]:
    rows = []
    for events in (int(EVENTS * scale / 100), int(EVENTS * scale)):
        with tempfile.TemporaryDirectory() as folder:
            rows += _case(Path(folder), events)
    return rows


def _case(here: Path, events: int) -> list[dict[str, Any]]:
    write_sessions(here / "log.parquet", events, weeks=5)
    print(f"{shutil.disk_usage(here).free / 2**30:.0f} GB of disk free", file=sys.stderr)
    command = [sys.executable, "-m", "tests.bench.otto_one", str(here / "log.parquet"), str(here / "told.json")]
    _, peak = process(command, Path(__file__).parents[2])
    told = json.loads((here / "told.json").read_text())
    case = f"{told['events']:,} events"
    rows = [row(case, f"{s['name']} (peak {s['peak_mb']:,.0f} MB)", "s", s["seconds"], {}) for s in told["stages"]]
    return [
        *rows,
        row(case, "all", "s", told["all"], {}),
        row(case, "per million events", "s", told["all"] / told["events"] * 1e6, {}),
        row(case, "peak memory", "MB", peak, {}),
    ]
