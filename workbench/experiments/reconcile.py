"""Reconcile the ledger with run folders after a process was killed: dead runs, and folders that the ledger lacks.

The run's folder is authoritative; the ledger is updated from it. Only the workspace that a run belongs to does this.
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
    """Return the path of the lock that a process holds while it runs an experiment."""
    return runs / f".{exp:03d}.lock"


def is_own(workspace: Workspace, record: RunRecord) -> bool:
    """Return whether a run belongs to this workspace; several workspaces may share a ledger."""
    if record.workspace:
        return record.workspace == workspace.id
    # Records of earlier versions have no workspace; the run's folder tells.
    return (workspace.root / record.folder / RUN_FILE).exists()


def reconcile(workspace: Workspace, ledger: Ledger, slug: str) -> None:
    """Update the ledger from the run folders of a competition, and mark dead runs as interrupted.

    A run that was killed after its folder was complete is added as finished. Runs of experiments that another process
    is running, or that can't be written now, are left unchanged.
    """
    runs = ledger.runs(slug)
    running = [r for r in runs if r.status == "running" and is_own(workspace, r)]
    unknown = _unknown_folders(workspace.competitions / slug / "runs", {r.run_id for r in runs})
    for folder, record in [*((workspace.root / r.folder, r) for r in running), *((f, None) for f in unknown)]:
        with suppress(BusyError, LedgerError, StorageError):
            exp = int(folder.name.partition("-")[0]) if record is None else record.exp
            with lock(lock_path(folder.parent, exp), f"experiment {exp} of {slug!r}"):
                _update(workspace, folder, record, ledger)


def reconcile_locked(workspace: Workspace, competition: Competition, number: int, ledger: Ledger) -> list[str]:
    """Reconcile one experiment, whose lock this process holds; see `reconcile`.

    Returns
    -------
    list of str
        A note for each folder that has no record, or that of another run, and is ignored.
    """
    runs = {r.run_id: r for r in ledger.runs(competition.slug, number)}
    for record in runs.values():
        if record.status == "running" and is_own(workspace, record):
            _update(workspace, workspace.root / record.folder, record, ledger)
    folders = list_run_folders(competition.paths.runs, number)
    unknown = _unknown_folders(competition.paths.runs, runs, number)
    problems = [_update(workspace, folder, None, ledger) for folder in unknown]
    return [f"{problem}; it is ignored" for problem in problems if problem] + [
        f"{folder} has no {RUN_FILE} and is ignored; remove it if nothing is still copying it there"
        for folder in folders
        if not (folder / RUN_FILE).exists()
    ]


def _unknown_folders(runs: Path, run_ids: Iterable[str], exp: int | None = None) -> list[Path]:
    """Return the folders with a record of runs that are not in the ledger."""
    run_ids = set(run_ids)
    return [
        folder
        for folder in list_run_folders(runs, exp)
        if folder.name not in run_ids and folder.name.partition("-")[0].isdecimal() and (folder / RUN_FILE).exists()
    ]


def _update(workspace: Workspace, folder: Path, record: RunRecord | None, ledger: Ledger) -> str:
    """Update the ledger from the folder of a run that no process is running; the caller holds the experiment's lock.

    Parameters
    ----------
    workspace : Workspace
    folder : Path
    record : RunRecord, or None
        The run's record in the ledger.
    ledger : Ledger

    Returns
    -------
    str
        The problem of the folder's record; "" for none.
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

    A run of this workspace that is "running", though no process has the lock of its experiment, is returned as
    "interrupted".

    Returns
    -------
    records : list of RunRecord
    problems : dict of str
        Folder name -> why it could not be read.
    """
    records, problems = [], {}
    for slug in workspace.slugs():
        for folder in list_run_folders(workspace.competitions / slug / "runs"):
            try:
                record, _ = read_run(folder)
            except (DamagedError, NewerError) as exc:
                problems[folder.name] = exc.message
                continue
            has_no_process = record.status == "running" and not is_locked(lock_path(folder.parent, record.exp))
            records.append(
                replace(record, status="interrupted") if has_no_process and is_own(workspace, record) else record
            )
    return records, problems
