"""Co-visits at OTTO's size: 204 million generated events, 1.8 million items. Ours only: one query of the others does not fit."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tests.bench.covisit import one
from tests.bench.measured import row
from tests.otto_log import write_sessions

EVENTS = 204_000_000


def cases(scale: float) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        events = write_sessions(here / "log.parquet", int(EVENTS * scale))
        seconds, peak = one("ours", here)
        case = f"{events:,} events"
        return [
            *(row(case, stage, "s", value, {}) for stage, value in seconds.items()),
            row(case, "peak memory", "MB", peak, {}),
        ]
