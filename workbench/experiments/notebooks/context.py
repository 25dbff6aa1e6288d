"""The context of an executed notebook: competition, columns, and the file for its predictions."""

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

__all__ = ["CONTEXT_VARIABLE", "NotebookContext", "read_context", "write_context"]

CONTEXT_VARIABLE = "WB_NOTEBOOK"
"""The environment variable with the path of the context file."""


@dataclass(frozen=True)
class NotebookContext:
    """The context of a notebook; empty in a notebook that a user opened.

    Attributes
    ----------
    workspace, ledger, memory_limit
        As in `Workspace`.
    competition : str, or None
    features, drop, categorical, seeds
        As in the experiment's file.
    record : str, or None
        The path of the file for the recorded predictions.
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
    def of(cls, workspace: Workspace, competition: str, **fields: object) -> NotebookContext:
        """Return the context for a competition of a workspace."""
        root, limit = str(workspace.root), workspace.memory_limit
        return cls(root, workspace.ledger_url, limit, competition, **fields)  # type: ignore[arg-type]


@contextmanager
def write_context(context: NotebookContext) -> Iterator[dict[str, str]]:
    """Write the context to a file that exists until the end of the block; yield environment variables with its path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "context.json"
        path.write_text(json.dumps(asdict(context)), encoding="utf-8")
        yield {CONTEXT_VARIABLE: str(path)}


def read_context() -> NotebookContext:
    """Return the context of this process; without one, an empty context."""
    path = os.environ.get(CONTEXT_VARIABLE)
    if not path:
        return NotebookContext()
    values: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    tuples: dict[str, Any] = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
    return NotebookContext(**(values | tuples))
