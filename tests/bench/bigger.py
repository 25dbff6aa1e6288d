"""Twelve features over data of three times the memory that the process may take, against the same straight in polars.

The limit is held by the system (a control group, else ulimit): a process that takes more is killed. The data are the
session log of `features`; their size is that of the columns in memory. The workbench is told nothing: it sees the
group's limit and stays within 60% of it. polars gets the two ways that people write such a thing, and the budget that
lets it write to disk.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.features import FEATURES, STRAIGHT
from tests.bench.limited import limit_name, limited
from tests.bench.measured import row
from tests.bench.session_log import SCHEMA, write_competition

LIMIT_BYTES = 1 << 30
TIMES = 3
EVENT_BYTES = sum(int(dtype.__name__[3:]) // 8 for dtype in SCHEMA.values())


def cases(scale: float) -> list[dict[str, Any]]:
    limit = int(LIMIT_BYTES * scale)
    events = TIMES * limit // EVENT_BYTES
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_competition(root / "competitions" / "log", events)
        (root / "competitions" / "log" / "features.py").write_text(FEATURES)
        return measured(root, limit, f"{events:,} events, {limit >> 20:,} MB by {limit_name()}")


def measured(root: Path, limit: int, case: str) -> list[dict[str, Any]]:
    """Measure in a workspace whose competition "log" is there."""
    ways = {"ours": ["-m", "workbench", "features", "--build", "-c", "log"]}
    for how in ("whole", "each"):
        label = f"polars, {'one query' if how == 'whole' else 'a query each'}"
        ways[label] = ["-c", SPILLING.format(budget=limit >> 21) + STRAIGHT, str(root), "OUT", how]
    seconds, memory, finished = {}, {}, {}
    for name, arguments in ways.items():
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, *(out if a == "OUT" else a for a in arguments)]
            seconds[name], memory[name], fault = limited(command, root, limit)
            finished[name] = float(not fault)
            if fault:
                print(f"{name} did not finish: {fault[:300]}", file=sys.stderr)
    rows = [
        row(case, measure, unit, values["ours"], {k: v for k, v in values.items() if k != "ours" and finished[k]})
        for measure, unit, values in (("time", "s", seconds), ("peak memory", "MB", memory))
    ]
    others = {k: v for k, v in finished.items() if k != "ours"}
    ratio = {k: finished["ours"] / v if v else None for k, v in others.items()}
    return [*rows, row(case, "finished", "of 1", finished["ours"], others) | {"ratio": ratio}]


SPILLING = """
import os
os.environ["POLARS_OOC_MEMORY_BUDGET_MB"] = "{budget}"
"""
