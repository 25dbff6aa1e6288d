"""The entry points of the library: workspaces, competitions and their data.

Heavy modules are imported by the functions that need them: listing runs must not load LightGBM.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.api.access import Report, call_context
from workbench.api.competition import OpenCompetition
from workbench.core.errors import ConfigError, NotFoundError
from workbench.core.memory import parse_bytes
from workbench.core.operating_system import require_posix
from workbench.data.workspace import Workspace, create_workspace, find_workspace

if TYPE_CHECKING:
    from workbench.core.events import Listener
    from workbench.data.ingest import Approval, Fetched
    from workbench.rehearsal import LogSpec, RehearsalSpec

__all__ = [
    "OpenCompetition",
    "choose_slug",
    "competition",
    "doctor",
    "fetch",
    "init",
    "rebuild_ledger",
    "rehearse",
    "workspace",
]


def workspace(start: str | Path | None = None) -> Workspace:
    """Return the workspace that contains a folder, with the settings WB_LEDGER_URL and WB_CACHE_LIMIT.

    Parameters
    ----------
    start : path, optional
        By default WB_WORKSPACE, else the current folder.

    Raises
    ------
    ConfigError
        If there is none, or the current folder's workspace belongs to another user.
    """
    environment = os.environ
    cache_limit = environment.get("WB_CACHE_LIMIT")
    return find_workspace(
        Path("." if start is None else start),
        wb_workspace=environment.get("WB_WORKSPACE") if start is None else None,
        is_trusted=start is not None,
        ledger_url=environment.get("WB_LEDGER_URL") or None,
        cache_limit=parse_bytes(cache_limit, where="WB_CACHE_LIMIT") if cache_limit else None,
    )


def init(folder: str | Path) -> Workspace:
    """Create an empty workspace, as ``wb init`` does; existing files are kept."""
    return create_workspace(Path(folder))


def rehearse(
    slug: str,
    spec: RehearsalSpec | LogSpec,
    *,
    force: bool = False,
    where: Workspace | None = None,
    report: Report = lambda _: None,
) -> Path:
    """Create a local competition from your own data, as ``wb rehearse`` does.

    Parameters
    ----------
    slug : str
    spec : RehearsalSpec or LogSpec
    force : bool
        Replace an existing local competition.
    where : Workspace, optional
    report : callable, optional
        Called with the text of each guess about the file's format.

    Returns
    -------
    Path
        The folder of the local competition.
    """
    from workbench.platforms.protocol import competition_slug
    from workbench.rehearsal import create

    if "/" in slug:
        slug = competition_slug(slug)
    return create((where or workspace()).root, slug, spec, force=force, context=call_context(report=report))


def fetch(  # noqa: PLR0913 the options of the command
    slug: str,
    *,
    platform: str | None = None,
    only: Sequence[str] = (),
    force: bool = False,
    approval: Approval | None = None,
    memory_limit: int | None = None,
    where: Workspace | None = None,
    listen: Listener | None = None,
    report: Report | None = None,
) -> Fetched:
    """Download a competition's data, and write a missing definition and baseline, as ``wb fetch`` does.

    Parameters
    ----------
    slug : str
    platform : str, optional
        By default the one in the definition, else the local competition of that name, else Kaggle.
    only : sequence of str
        Download only these files.
    force : bool
        Download and convert again.
    approval : Approval, optional
        What may be downloaded without asking, and a function that asks for more; by default 10 GB and none:
        ``Approval(given=True)`` of `workbench.data.ingest` downloads any size.
    memory_limit : int, optional
        The bytes of memory that converting may use; below 1 GB, files are read in smaller chunks.
    where : Workspace, optional
    listen : callable, optional
        Called with each event, those of received bytes included; see `workbench.core.events`.
    report : callable, optional
        Called with the text of each step.
    """
    from workbench.data.ingest import FetchOptions
    from workbench.data.ingest import fetch as fetch_data
    from workbench.platforms.protocol import competition_slug, connect

    opened_workspace, slug = where or workspace(), competition_slug(slug)
    return fetch_data(
        replace(opened_workspace, memory_limit=memory_limit) if memory_limit else opened_workspace,
        slug,
        connect(platform or _platform_of(opened_workspace, slug), opened_workspace.root),
        options=FetchOptions(only, force) if approval is None else FetchOptions(only, force, approval),
        context=call_context(listen, report=report),
    )


def _platform_of(opened_workspace: Workspace, slug: str) -> str:
    from workbench.data.competition import load_competition

    if (opened_workspace.competitions / slug / "competition.toml").exists():
        return load_competition(opened_workspace, slug).definition.platform
    return "rehearsal" if (opened_workspace.competitions / slug / "rehearsal").exists() else "kaggle"


def competition(
    slug: str | None = None, *, where: Workspace | None = None, memory_limit: int | None = None
) -> OpenCompetition:
    """Return the handle of a competition.

    Parameters
    ----------
    slug : str, optional
        Its name, or an unambiguous prefix. By default ``WB_COMPETITION``, the competition of the current folder, or the
        only one of the workspace.
    where : Workspace, optional
    memory_limit : int, optional
        The bytes of memory that building features may use; 60% of the machine's by default.

    Raises
    ------
    NotFoundError, ConfigError
        For an unknown name, or an invalid definition.
    """
    opened_workspace = where or workspace()
    limited_workspace = replace(opened_workspace, memory_limit=memory_limit) if memory_limit else opened_workspace
    return OpenCompetition(limited_workspace, choose_slug(opened_workspace, slug))


def choose_slug(opened_workspace: Workspace, slug: str | None = None) -> str:
    """Return the full name of the competition that `competition` opens.

    Raises
    ------
    NotFoundError, ConfigError
        If no name is given and there is no default, the name is unknown, or the prefix is ambiguous.
    """
    folder = Path.cwd().resolve()
    is_in_competition = folder != opened_workspace.competitions and folder.is_relative_to(opened_workspace.competitions)
    name = slug or (None if is_in_competition else os.environ.get("WB_COMPETITION"))
    return opened_workspace.choose(name, inside=folder)


def rebuild_ledger(where: Workspace | None = None) -> dict[str, Any]:
    """Rebuild the ledger from the run folders and the files of submissions.

    Returns
    -------
    dict
        "runs" and "submissions": their numbers; "kept": the number of records of other workspaces, which are kept;
        "problems": a text for each file that could not be read.
    """
    from workbench.experiments.reconcile import recover
    from workbench.ledger import WorkspaceRecords, rebuild
    from workbench.submissions import load_sidecars

    require_posix("rebuilding the ledger")
    opened_workspace = where or workspace()
    problems: list[str] = []

    def read() -> WorkspaceRecords:
        runs, unread_runs = recover(opened_workspace)
        submissions, events, unread_submissions = load_sidecars(opened_workspace)
        problems[:] = [*unread_runs.values(), *unread_submissions.values()]
        return WorkspaceRecords(runs, submissions, events, [*unread_runs, *unread_submissions])

    records, n_elsewhere = rebuild(opened_workspace.ledger, read, workspace=opened_workspace.id)
    counts = {"runs": len(records.runs), "submissions": len(records.submissions), "kept": n_elsewhere}
    return {**counts, "problems": problems}


def doctor(where: Workspace | None = None) -> dict[str, Any]:
    """Check versions, disk, memory, ledger and data; nothing is changed.

    Returns
    -------
    dict
        "checks": a list of {"name", "level", "ok", "detail"}; see `workbench.api.health.run_checks`.
    """
    from workbench.api.health import run_checks

    try:
        return {"checks": run_checks(where or workspace())}
    except ConfigError as exc:
        # To be outside of a workspace is not an error, but a workspace that can't be used is.
        return {"checks": run_checks(None, None if isinstance(exc, NotFoundError) else exc)}
