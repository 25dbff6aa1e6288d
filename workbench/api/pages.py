"""Pages that a notebook makes: the report of a run, and the first look at a competition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.api.access import CompetitionAccess
from workbench.core.context import RunContext

__all__ = ["notebook_page"]


def notebook_page(
    access: CompetitionAccess,
    name: str,
    folder: Path,
    source: Path | None,
    parameters: dict[str, Any],
    context: RunContext,
) -> Path:
    """Execute a notebook of the workspace, or the package's own of that name, and return its page in `folder`."""
    from workbench.core.cache import lock
    from workbench.experiments.notebooks import NotebookContext, execute, read_notebook, write_context
    from workbench.review.report import own_notebook

    usual = access.workspace.root / "notebooks" / f"{name}.ipynb"
    path = source or (usual if usual.exists() else own_notebook(name))
    with (
        lock(folder / f".{name}.lock", f"making {folder / name}.html"),
        write_context(NotebookContext.of(access.workspace, access.slug)) as environment,
    ):
        executed = execute(
            read_notebook(path),
            parameters,
            copy=folder / f"{name}.ipynb",
            folder=access.competition.folder,
            environment=environment,
            with_code=False,
            context=context,
        )
    return executed.copy.with_suffix(".html")
