"""The swap of changed data for the old, which is stored next to it."""

from __future__ import annotations

import shutil
from pathlib import Path

from workbench.core.cache import read_json, write_json
from workbench.core.errors import DamagedError, NotFoundError
from workbench.data.competition import read_manifest


def swap(data: Path) -> Path:
    """Replace the old data, which is kept, by the finished new data; the plan is written first."""
    try:
        old = read_manifest(data / "tables", slug=data.parent.name).content[:12]
    except (NotFoundError, DamagedError):
        # What is there was never converted to the end.
        old = "unused"
    write_json(data / "incoming" / "swap.json", {"earlier": old})
    return finish_swap(data) or data / "earlier" / old


def finish_swap(data: Path) -> Path | None:
    """Carry out a swap that is planned; does nothing where there is none, and resumes where it was interrupted."""
    plan = data / "incoming" / "swap.json"
    if not plan.exists():
        return None
    earlier = data / "earlier" / str(read_json(plan)["earlier"])
    earlier.mkdir(parents=True, exist_ok=True)
    for part in ("raw", "tables"):
        if (data / "incoming" / part).exists():
            if (data / part).exists():
                if (earlier / part).exists():
                    shutil.rmtree(earlier / part)
                (data / part).rename(earlier / part)
            (data / "incoming" / part).rename(data / part)
    plan.unlink()
    return earlier
