"""The ledger built again from what lies in the workspace, while nobody else writes it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from workbench.core.errors import DamagedLedgerError, LedgerError, storage_errors
from workbench.core.temporary import temporary_file
from workbench.ledger.database import address, engine_for, transaction
from workbench.ledger.records import RunRecord, SubmissionEvent, SubmissionRecord
from workbench.ledger.store import Ledger
from workbench.ledger.versions import keep_copy

__all__ = ["WorkspaceRecords", "rebuild"]


@dataclass(frozen=True)
class WorkspaceRecords:
    """What the folders of a workspace have.

    Attributes
    ----------
    unread : list of str
        The ids of runs and submissions that are there and can't be read: of these the ledger keeps what it has.
    """

    runs: list[RunRecord]
    submissions: list[SubmissionRecord]
    events: list[SubmissionEvent]
    unread: list[str] = field(default_factory=list)


def rebuild(where: str | Path, read: Callable[[], WorkspaceRecords], *, workspace: str) -> tuple[WorkspaceRecords, int]:
    """Replace what a ledger has of a workspace by what its folders have; what is of other workspaces stays.

    The ledger's write lock is held from before the folders are read until all is written: what another process ends
    meanwhile is entered afterwards. An SQLite file is copied to ``ledger.db.bak-<utc>`` before. One that is damaged is
    rebuilt, with what can still be read of other workspaces, and stays as ``ledger.db.damaged-<utc>``: killed at
    any moment, there is the old ledger or the new one.

    Parameters
    ----------
    where : Path or str
        The workspace's own SQLite file as a `Path`, or a SQLAlchemy URL: others may use that, too, and a record that
        does not say whose it is stays, unless one of the same id was found.
    read : callable
        Reads the folders.
    workspace : str
        Its id.

    Returns
    -------
    records : WorkspaceRecords
        What was read.
    kept : int
        The runs and submissions that the ledger has besides.

    Raises
    ------
    LedgerError
        When it is newer than this program, or damaged and not in an SQLite file.
    BusyError
        When another process keeps it locked for 30 s.
    StorageError
        When its folder can't be written; the old ledger is then as it was.
    """
    at, own_ids = address(where), {workspace} - {""} | ({""} if isinstance(where, Path) else set())
    was_there = at.path is not None and at.path.exists()
    try:
        with Ledger.open(where) as ledger:
            ledger.check()
            with ledger.replacing() as replacing:
                if at.path is not None and was_there:
                    keep_copy(at.path, _beside(at.path, "bak"))
                records = read()
                replacing.remove_of(own_ids, but=records.unread)
                return records, replacing.put(records.runs, records.submissions, records.events)
    except DamagedLedgerError:
        if at.path is None:
            raise
    engine = engine_for(at)
    with ExitStack() as held:
        # Where SQLite gives no write lock for a damaged file, nobody can write into it.
        with suppress(DamagedLedgerError):
            held.enter_context(transaction(engine, at, write=True))
        return _written_anew(at.path, read, own_ids)


def _written_anew(path: Path, read: Callable[[], WorkspaceRecords], own_ids: set[str]) -> tuple[WorkspaceRecords, int]:
    readable = _readable(path, own_ids)
    with storage_errors(path), temporary_file(path) as temporary:
        records = read()
        with Ledger.open(temporary) as ledger, ledger.replacing() as replacing:
            replacing.put(readable.runs, readable.submissions, readable.events)
            count = replacing.put(records.runs, records.submissions, records.events)
        _sync(temporary)
        _keep_old(path)
        temporary.replace(path)
        _sync(path.parent)
    return records, count


def _readable(path: Path, own_ids: set[str]) -> WorkspaceRecords:
    """Return what a damaged ledger still has of other workspaces."""
    records, at = WorkspaceRecords([], [], []), address(path)
    with Ledger(engine_for(at), at) as ledger, suppress(LedgerError):
        records.runs.extend(r for r in ledger.runs() if r.workspace not in own_ids)
        records.submissions.extend(s for s in ledger.submissions() if s.workspace not in own_ids)
        for submission in records.submissions:
            records.events.extend(ledger.events(submission.submission_id))
    return records


def _beside(path: Path, label: str) -> Path:
    return path.with_name(f"{path.name}.{label}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")


def _keep_old(path: Path) -> None:
    damaged_path = _beside(path, "damaged")
    if path.exists():
        try:
            # A second name, so that there is no moment without a ledger: one would be made empty then.
            damaged_path.hardlink_to(path)
        except OSError:
            # Some file systems (exFAT, some network drives) have no second names.
            path.replace(damaged_path)
    # A journal that a killed writer left belongs to the old file; the new one must not be rolled back by it.
    journal = path.with_name(f"{path.name}-journal")
    if journal.exists():
        journal.replace(damaged_path.with_name(f"{damaged_path.name}-journal"))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
