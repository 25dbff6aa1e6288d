"""Replace a competition's data by a new version; the old version goes to ``data/earlier/``."""

from __future__ import annotations

import shutil
from pathlib import Path

from workbench.core.cache import read_json, write_json
from workbench.core.errors import DamagedError, NotFoundError
from workbench.data.competition import read_manifest


def swap(data: Path) -> Path:
    """Replace the data by the complete new version in ``data/incoming``; return the folder of the old version.

    A plan is written first, so that `finish_swap` can complete an interrupted swap.
    """
    try:
        folder_name = read_manifest(data / "tables", slug=data.parent.name).content[:12]
    except (NotFoundError, DamagedError):
        # The old data was never converted completely.
        folder_name = "unused"
    write_json(data / "incoming" / "swap.json", {"earlier": folder_name})
    return finish_swap(data) or data / "earlier" / folder_name


def finish_swap(data: Path) -> Path | None:
    """Complete a planned swap and return the folder of the old version; None where none is planned."""
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
