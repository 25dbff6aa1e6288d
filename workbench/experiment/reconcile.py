"""What a killed process left behind: runs that nobody holds any more, and folders that the ledger never heard of."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from workbench.cache import is_locked
from workbench.competition import Competition
from workbench.errors import DamagedError, StorageError
from workbench.experiment.run_folder import list_run_folders, read_run, write_run
from workbench.ledger import Ledger, RunRecord
from workbench.workspace import Workspace

__all__ = ["lock_path", "reconcile", "reconcile_locked", "recover"]


def lock_path(runs: Path, exp: int) -> Path:
    """Return the file that whoever runs an experiment holds the lock on."""
    return runs / f".{exp:03d}.lock"


def reconcile(workspace: Workspace, ledger: Ledger, slug: str | None = None) -> None:
    """Mark runs as interrupted that the ledger has as running though no process holds them.

    A run that was killed after its folder was complete, but before the ledger heard of it, is entered as finished.
    """
    for record in ledger.runs(slug):
        if record.status == "running" and not is_locked(lock_path((workspace.root / record.folder).parent, record.exp)):
            _settle(workspace, record, ledger)


def reconcile_locked(workspace: Workspace, competition: Competition, number: int, ledger: Ledger) -> None:
    """Do the same for one experiment whose lock this process holds; and for folders that the ledger never heard of."""
    known = {r.run_id: r for r in ledger.runs(competition.slug, number)}
    for record in known.values():
        if record.status == "running":
            _settle(workspace, record, ledger)
    for folder in list_run_folders(competition.runs_folder, number):
        if folder.name not in known:
            if not (folder / "run.json").exists():
                shutil.rmtree(folder)  # killed before its first line was written: nothing is in it
                continue
            record, _ = read_run(folder)
            ledger.put_run(record if record.status != "running" else replace(record, status="interrupted"))


def _settle(workspace: Workspace, record: RunRecord, ledger: Ledger) -> None:
    folder = workspace.root / record.folder
    try:
        on_disk, details = read_run(folder)
    except DamagedError as exc:
        ledger.put_run(replace(record, status="interrupted", error=exc.message))
        return
    if on_disk.status == "running":
        on_disk = replace(on_disk, status="interrupted")
        try:
            write_run(folder, on_disk, details)
        except StorageError:  # a workspace that can only be read still has a table
            return
    ledger.put_run(on_disk)


def recover(workspace: Workspace) -> tuple[list[RunRecord], list[str]]:
    """Read the records of all run folders of a workspace, for `wb ledger rebuild`.

    Returns
    -------
    records : list of RunRecord
    problems : list of str
        One line per folder that could not be read.
    """
    records, problems = [], []
    for slug in workspace.slugs():
        for folder in list_run_folders(workspace.competitions / slug / "runs"):
            try:
                record, _ = read_run(folder)
            except DamagedError as exc:
                problems.append(exc.message)
                continue
            held = is_locked(lock_path(folder.parent, record.exp))
            records.append(replace(record, status="interrupted") if record.status == "running" and not held else record)
    return records, problems
