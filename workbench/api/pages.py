"""HTML pages of executed notebooks: the report of a run, and the exploration of a competition."""

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
    """Execute a notebook and return the path of its HTML page in `folder`.

    Parameters
    ----------
    access : CompetitionAccess
    name : str
        Of the page; the default notebook of that name is the workspace's, else the package's own.
    folder : Path
    source : Path, or None
        Another notebook than the default one.
    parameters : dict
        Of the notebook.
    context : RunContext
    """
    from workbench.core.cache import lock
    from workbench.experiments.notebooks import NotebookContext, execute, read_notebook, write_context
    from workbench.review.report import own_notebook

    workspace_notebook = access.workspace.root / "notebooks" / f"{name}.ipynb"
    path = source or (workspace_notebook if workspace_notebook.exists() else own_notebook(name))
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
