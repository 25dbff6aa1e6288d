"""What a program calls first: a workspace, its competitions, their data.

Heavy modules are imported by the function that needs them: listing runs must not load LightGBM.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.api.access import Report, call_context
from workbench.api.competition import OpenCompetition
from workbench.core.errors import ConfigError, NotFoundError
from workbench.core.events import BytesReceived, DownloadStarted, Event
from workbench.core.memory import parse_bytes
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
    """Return the workspace that a folder is in; WB_WORKSPACE, WB_LEDGER_URL and WB_CACHE_LIMIT are read here.

    Parameters
    ----------
    start : path, optional
        By default the one that WB_WORKSPACE names, else the folder that one stands in.

    Raises
    ------
    ConfigError
        Where there is none, or the one that one stands in is another user's.
    """
    environment = os.environ
    cache = environment.get("WB_CACHE_LIMIT")
    return find_workspace(
        Path("." if start is None else start),
        named=environment.get("WB_WORKSPACE") if start is None else None,
        is_trusted=start is not None,
        ledger_url=environment.get("WB_LEDGER_URL") or None,
        cache_limit=parse_bytes(cache, where="WB_CACHE_LIMIT") if cache else None,
    )


def init(folder: str | Path) -> Workspace:
    """Make an empty workspace; what is already there stays. The same as ``wb init``."""
    return create_workspace(Path(folder))


def rehearse(
    slug: str,
    spec: RehearsalSpec | LogSpec,
    *,
    force: bool = False,
    where: Workspace | None = None,
    report: Report = lambda _: None,
) -> Path:
    """Host a competition in the workspace, from data of one's own. The same as ``wb rehearse``.

    Parameters
    ----------
    slug : str
    spec : RehearsalSpec or LogSpec
    force : bool
        Replace a rehearsal that is there.
    where : Workspace, optional
    report : callable
        Called with what was guessed of how the file is written.

    Returns
    -------
    Path
        The rehearsal's folder.
    """
    from workbench.platforms.protocol import competition_slug
    from workbench.rehearsal import create

    if "/" in slug:
        slug = competition_slug(slug)
    return create((where or workspace()).root, slug, spec, force=force, context=call_context(report=report))


def fetch(  # noqa: PLR0913 what the command may be asked
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
    progress: Callable[[int], None] = lambda _: None,
    total: Callable[[int | None], None] = lambda _: None,
) -> Fetched:
    """Bring a competition's data, and a definition and a baseline where there are none. The same as ``wb fetch``.

    Parameters
    ----------
    platform : str, optional
        The platform's name; None for the one in the definition, else the rehearsal of that name, else Kaggle.
    only : sequence of str
        Only these files.
    approval : Approval, optional
        What may be downloaded without asking, and who is asked for more; by default 10 GB, and nobody:
        ``Approval(given=True)`` of `workbench.data.ingest` downloads whatever there is.
    memory_limit : int, optional
        The bytes of memory that converting may take: with less than 1 GB, less of a file is read at a time.
    listen : callable, optional
        Called with every event; see `workbench.core.events`.
    report, progress, total : callable
        Called with a line of text for each step; with the number of bytes that arrived; with how many will arrive.
    """
    from workbench.data.ingest import Approval
    from workbench.data.ingest import fetch as bring
    from workbench.platforms.protocol import competition_slug, connect

    def pass_on(event: Event) -> None:
        if isinstance(event, BytesReceived):
            progress(event.size_bytes)
        if isinstance(event, DownloadStarted):
            total(event.size_bytes)

    place, slug = where or workspace(), competition_slug(slug)
    return bring(
        replace(place, memory_limit=memory_limit) if memory_limit else place,
        slug,
        connect(platform or _platform_of(place, slug), place.root),
        only=only,
        force=force,
        approval=approval or Approval(),
        context=call_context(listen, report=report).with_listeners(pass_on),
    )


def _platform_of(place: Workspace, slug: str) -> str:
    from workbench.data.competition import load_competition

    if (place.competitions / slug / "competition.toml").exists():
        return load_competition(place, slug).definition.platform
    return "rehearsal" if (place.competitions / slug / "rehearsal").exists() else "kaggle"


def competition(
    slug: str | None = None, *, where: Workspace | None = None, memory_limit: int | None = None
) -> OpenCompetition:
    """Open a competition of the workspace.

    Parameters
    ----------
    slug : str, optional
        Its name, or how that begins where no other's begins so. None for ``WB_COMPETITION``, the one whose folder one
        stands in, or the only one there is.
    memory_limit : int, optional
        The bytes of memory that building features may use; 60% of the machine's by default.

    Raises
    ------
    NotFoundError, ConfigError
        Where there is none of that name, or its definition is wrong.
    """
    place = where or workspace()
    bounded = replace(place, memory_limit=memory_limit) if memory_limit else place
    return OpenCompetition(bounded, choose_slug(place, slug))


def choose_slug(place: Workspace, slug: str | None = None) -> str:
    """Return the whole name of the competition that `competition` opens.

    Raises
    ------
    NotFoundError, ConfigError
        Where none is named, none is called so, or several begin so.
    """
    inside = Path.cwd().resolve()
    name = slug or (None if _stands_in(place, inside) else os.environ.get("WB_COMPETITION"))
    return place.choose(name, inside=inside)


def _stands_in(place: Workspace, folder: Path) -> bool:
    return folder != place.competitions and folder.is_relative_to(place.competitions)


def rebuild_ledger(where: Workspace | None = None) -> dict[str, Any]:
    """Build the ledger again from the run folders and from what lies beside the sent files.

    Returns
    -------
    dict
        "runs" and "submissions": how many were found; "kept": how many the ledger has of other workspaces, which stay;
        "problems": a line for each that could not be read.
    """
    from workbench.experiments.reconcile import recover
    from workbench.ledger import WorkspaceRecords, rebuild
    from workbench.submissions import load_sidecars

    place = where or workspace()
    problems: list[str] = []

    def read() -> WorkspaceRecords:
        runs, unread = recover(place)
        submissions, events, more = load_sidecars(place)
        problems[:] = [*unread.values(), *more.values()]
        return WorkspaceRecords(runs, submissions, events, [*unread, *more])

    records, n_elsewhere = rebuild(place.ledger, read, workspace=place.id)
    counts = {"runs": len(records.runs), "submissions": len(records.submissions), "kept": n_elsewhere}
    return {**counts, "problems": problems}


def doctor(where: Workspace | None = None) -> dict[str, Any]:
    """Look at versions, disk, memory, ledger and data; nothing is changed.

    Returns
    -------
    dict
        "checks": a list of {"name", "level", "ok", "detail"}; the level is "ok", "note" or "bad", and "ok" is False for
        the last alone.
    """
    from workbench.api.health import look

    try:
        return {"checks": look(where or workspace())}
    except ConfigError as exc:
        # To be outside of a workspace is no fault; one that can't be used is.
        return {"checks": look(None, None if isinstance(exc, NotFoundError) else exc)}
