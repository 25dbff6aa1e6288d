"""Rebuild the ledger from the workspace's files, while no other process writes it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from workbench.core.errors import DamagedLedgerError, LedgerError, storage_errors
from workbench.core.operating_system import flush_folder
from workbench.core.temporary import temporary_file
from workbench.ledger.database import engine_for, parse_address, transaction
from workbench.ledger.records import RunRecord, SubmissionEvent, SubmissionRecord
from workbench.ledger.store import Ledger
from workbench.ledger.versions import copy_database

__all__ = ["WorkspaceRecords", "rebuild"]


@dataclass(frozen=True)
class WorkspaceRecords:
    """The records in the folders of a workspace.

    Attributes
    ----------
    runs : list of RunRecord
    submissions : list of SubmissionRecord
    events : list of SubmissionEvent
    unread : list of str
        The ids of runs and submissions whose files can't be read; their records in the ledger are kept.
    """

    runs: list[RunRecord]
    submissions: list[SubmissionRecord]
    events: list[SubmissionEvent]
    unread: list[str] = field(default_factory=list)


def rebuild(
    where: str | Path, read_folders: Callable[[], WorkspaceRecords], *, workspace: str
) -> tuple[WorkspaceRecords, int]:
    """Replace a workspace's records in a ledger by those of its folders; records of other workspaces are kept.

    The ledger's write lock is held from before the folders are read until all is written; processes that finish a run
    meanwhile wait. An SQLite file is first copied to ``ledger.db.bak-<utc>``. A damaged one is replaced by a new file,
    with all readable records of other workspaces, and renamed to ``ledger.db.damaged-<utc>``. After a kill there is
    either the old ledger or the new one.

    Parameters
    ----------
    where : Path or str
        The workspace's own SQLite file as a `Path`, or a SQLAlchemy URL, which several workspaces may use: then records
        without a workspace are kept, unless a folder has one with the same id.
    read_folders : callable
        Reads the folders.
    workspace : str
        The workspace's id.

    Returns
    -------
    records : WorkspaceRecords
        The records of the folders.
    n_others : int
        The number of other runs and submissions in the ledger.

    Raises
    ------
    LedgerError
        When it is newer than this program, or damaged and not in an SQLite file.
    BusyError
        When another process keeps it locked for 30 s.
    StorageError
        When its folder can't be written; the old ledger is then unchanged.
    """
    # In the workspace's own file, records without a workspace (of earlier versions) are its own, too.
    address, workspace_ids = parse_address(where), {workspace} - {""} | ({""} if isinstance(where, Path) else set())
    existed = address.path is not None and address.path.exists()
    try:
        with Ledger.open(where) as ledger:
            ledger.check()
            with ledger.replace_records() as replacer:
                if address.path is not None and existed:
                    copy_database(address.path, _stamped_path(address.path, "bak"))
                records = read_folders()
                replacer.remove_workspaces(workspace_ids, except_ids=records.unread)
                return records, replacer.put(records.runs, records.submissions, records.events)
    except DamagedLedgerError:
        if address.path is None:
            raise
    engine = engine_for(address)
    with ExitStack() as stack:
        # If SQLite can't lock the damaged file, no other process can write it either.
        with suppress(DamagedLedgerError):
            stack.enter_context(transaction(engine, address, write=True))
        return _rebuild_damaged(address.path, read_folders, workspace_ids)


def _rebuild_damaged(
    path: Path, read_folders: Callable[[], WorkspaceRecords], workspace_ids: set[str]
) -> tuple[WorkspaceRecords, int]:
    """Replace a damaged SQLite file, as `rebuild` does; `workspace_ids` are those whose records come from folders."""
    other_records = _read_other_workspaces(path, workspace_ids)
    with storage_errors(path), temporary_file(path) as temporary:
        records = read_folders()
        with Ledger.open(temporary) as ledger, ledger.replace_records() as replacer:
            replacer.put(other_records.runs, other_records.submissions, other_records.events)
            n_others = replacer.put(records.runs, records.submissions, records.events)
        _sync(temporary)
        _rename_damaged(path)
        temporary.replace(path)
        flush_folder(path.parent)
    return records, n_others


def _read_other_workspaces(path: Path, workspace_ids: set[str]) -> WorkspaceRecords:
    """Return the readable records in a damaged ledger whose workspace is not one of `workspace_ids`."""
    records, address = WorkspaceRecords([], [], []), parse_address(path)
    with Ledger(engine_for(address), address) as ledger, suppress(LedgerError):
        records.runs.extend(r for r in ledger.runs() if r.workspace not in workspace_ids)
        records.submissions.extend(s for s in ledger.submissions() if s.workspace not in workspace_ids)
        for submission in records.submissions:
            records.events.extend(ledger.events(submission.submission_id))
    return records


def _stamped_path(path: Path, label: str) -> Path:
    """Return a path next to a file, with a label and the present time in its name."""
    return path.with_name(f"{path.name}.{label}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")


def _rename_damaged(path: Path) -> None:
    """Rename a damaged ledger and its journal."""
    damaged_path = _stamped_path(path, "damaged")
    if path.exists():
        try:
            # A hard link, so that the ledger exists at every moment: another process would create an empty one.
            damaged_path.hardlink_to(path)
        except OSError:
            # Some file systems (exFAT, some network drives) have no hard links.
            path.replace(damaged_path)
    # The journal of a killed writer belongs to the old file; SQLite must not apply it to the new one.
    journal = path.with_name(f"{path.name}-journal")
    if journal.exists():
        journal.replace(damaged_path.with_name(f"{damaged_path.name}-journal"))


def _sync(path: Path) -> None:
    """Flush a file to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
