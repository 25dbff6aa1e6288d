"""What whoever runs a notebook tells it: the competition, the columns, where to record."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench.data.workspace import Workspace

__all__ = ["VARIABLE", "Told", "tell", "told"]

VARIABLE = "WB_NOTEBOOK"
"""The environment variable with the path of what is told."""


@dataclass(frozen=True)
class Told:
    """What a notebook is told; all of it is empty in one that somebody opened by hand.

    Attributes
    ----------
    workspace, ledger, memory_limit
        As in `Workspace`.
    competition : str, or None
    features, drop, categorical, seeds
        As in the experiment's file.
    record : str, or None
        The file that takes what is recorded.
    """

    workspace: str | None = None
    ledger: str | None = None
    memory_limit: int | None = None
    competition: str | None = None
    features: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (1,)
    record: str | None = None

    @classmethod
    def of(cls, workspace: Workspace, competition: str, **more: object) -> Told:
        """Return what is to be told of a competition of a workspace."""
        root, limit = str(workspace.root), workspace.memory_limit
        return cls(root, workspace.ledger_url, limit, competition, **more)  # type: ignore[arg-type]


@contextmanager
def tell(what: Told) -> Iterator[dict[str, str]]:
    """Give the environment variables by which a notebook hears of it, for the length of the block."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "told.json"
        path.write_text(json.dumps(asdict(what)), encoding="utf-8")
        yield {VARIABLE: str(path)}


def told() -> Told:
    """Return what this process was told."""
    path = os.environ.get(VARIABLE)
    if not path:
        return Told()
    given: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    lists: dict[str, Any] = {k: tuple(v) for k, v in given.items() if isinstance(v, list)}
    return Told(**(given | lists))
