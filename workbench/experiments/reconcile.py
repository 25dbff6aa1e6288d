"""What a killed process left behind: runs that nobody holds any more, and folders that the ledger never heard of.

A run's folder is what counts; the ledger catches up with it. Only the workspace that a run belongs to settles it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from workbench.core.cache import is_locked, lock
from workbench.core.errors import BusyError, DamagedError, LedgerError, NewerError, StorageError
from workbench.data.competition import Competition
from workbench.data.workspace import Workspace
from workbench.experiments.run_folder import RUN_FILE, end_run, list_run_folders, read_run
from workbench.ledger import Ledger, RunRecord

__all__ = ["is_own", "lock_path", "reconcile", "reconcile_locked", "recover"]


def lock_path(runs: Path, exp: int) -> Path:
    """Return the file that whoever runs an experiment holds the lock on."""
    return runs / f".{exp:03d}.lock"


def is_own(workspace: Workspace, record: RunRecord) -> bool:
    """Say whether a run of a ledger, which several workspaces may share, belongs to this one."""
    if record.workspace:
        return record.workspace == workspace.id
    # Of an earlier version's record that is not known; what is here has its folder here.
    return (workspace.root / record.folder / RUN_FILE).exists()


def reconcile(workspace: Workspace, ledger: Ledger, slug: str) -> None:
    """Have the ledger say of a competition's runs what their folders say, and end those that no process holds any more.

    A run that was killed, or whose ledger was locked, after its folder was complete is entered as finished. What can't
    be settled now, as another process is at work on the experiment or nothing can be written, is left as it is.
    """
    runs = ledger.runs(slug)
    open_ones = [r for r in runs if r.status == "running" and is_own(workspace, r)]
    unheard = _unheard(workspace.competitions / slug / "runs", {r.run_id for r in runs})
    for folder, record in [*((workspace.root / r.folder, r) for r in open_ones), *((f, None) for f in unheard)]:
        with suppress(BusyError, LedgerError, StorageError):
            exp = int(folder.name.partition("-")[0]) if record is None else record.exp
            with lock(lock_path(folder.parent, exp), f"experiment {exp} of {slug!r}"):
                _settle(workspace, folder, record, ledger)


def reconcile_locked(workspace: Workspace, competition: Competition, number: int, ledger: Ledger) -> list[str]:
    """Do the same for one experiment whose lock this process holds.

    Returns
    -------
    list of str
        A line for each folder that has no record, or another run's, and is left as it is.
    """
    runs = {r.run_id: r for r in ledger.runs(competition.slug, number)}
    for record in runs.values():
        if record.status == "running" and is_own(workspace, record):
            _settle(workspace, workspace.root / record.folder, record, ledger)
    folders = list_run_folders(competition.paths.runs, number)
    damaged = [_settle(workspace, folder, None, ledger) for folder in _unheard(competition.paths.runs, runs, number)]
    return [f"{why}; it counts as no run" for why in damaged if why] + [
        f"{folder} has no {RUN_FILE}: it counts as no run and is left as it is; remove it if nothing is still copying "
        "it there"
        for folder in folders
        if not (folder / RUN_FILE).exists()
    ]


def _unheard(runs: Path, run_ids: Iterable[str], exp: int | None = None) -> list[Path]:
    """Return the folders of runs that the ledger does not know; without a record they are none yet."""
    run_ids = set(run_ids)
    return [
        folder
        for folder in list_run_folders(runs, exp)
        if folder.name not in run_ids and folder.name.partition("-")[0].isdecimal() and (folder / RUN_FILE).exists()
    ]


def _settle(workspace: Workspace, folder: Path, record: RunRecord | None, ledger: Ledger) -> str:
    """Enter what a run's folder says, for a run that nobody holds; the caller has the experiment's lock.

    Returns
    -------
    str
        What is wrong with the folder's record; "" for nothing.
    """
    try:
        on_disk, _ = read_run(folder)
        if on_disk.status == "running" and is_own(workspace, on_disk):
            on_disk = end_run(folder, replace(on_disk, status="interrupted"))
    except NewerError:
        return ""
    except DamagedError as exc:
        if record is not None:
            ledger.put_run(replace(record, status="interrupted", error=exc.message))
        return exc.message
    if on_disk != record and on_disk.status != "running":
        ledger.put_run(on_disk)
    return ""


def recover(workspace: Workspace) -> tuple[list[RunRecord], dict[str, str]]:
    """Read the records of all run folders of a workspace, for `wb ledger rebuild`.

    Returns
    -------
    records : list of RunRecord
    problems : dict of str
        A line for each folder that could not be read, by its name.
    """
    records, problems = [], {}
    for slug in workspace.slugs():
        for folder in list_run_folders(workspace.competitions / slug / "runs"):
            try:
                record, _ = read_run(folder)
            except (DamagedError, NewerError) as exc:
                problems[folder.name] = exc.message
                continue
            is_dead = record.status == "running" and not is_locked(lock_path(folder.parent, record.exp))
            records.append(replace(record, status="interrupted") if is_dead and is_own(workspace, record) else record)
    return records, problems
