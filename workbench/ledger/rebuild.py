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

__all__ = ["Found", "rebuild"]


@dataclass(frozen=True)
class Found:
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


def rebuild(where: str | Path, read: Callable[[], Found], *, workspace: str) -> tuple[Found, int]:
    """Replace what a ledger has of a workspace by what its folders have; what is of other workspaces stays.

    The ledger's write lock is held from before the folders are read until all is written: what another process ends
    meanwhile is entered afterwards. An SQLite file is copied to ``ledger.db.bak-<utc>`` before. One that is damaged is
    written anew, with what can still be read of other workspaces, and stays as ``ledger.db.damaged-<utc>``: killed at
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
    found : Found
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
    at, own = address(where), {workspace} - {""} | ({""} if isinstance(where, Path) else set())
    was_there = at.path is not None and at.path.exists()
    try:
        with Ledger.open(where) as ledger:
            ledger.check()
            with ledger.replacing() as replacing:
                if at.path is not None and was_there:
                    keep_copy(at.path, _beside(at.path, "bak"))
                found = read()
                replacing.remove_of(own, but=found.unread)
                return found, replacing.put(found.runs, found.submissions, found.events)
    except DamagedLedgerError:
        if at.path is None:
            raise
    engine = engine_for(at)
    with ExitStack() as held:
        # Where SQLite gives no write lock for a damaged file, nobody can write into it.
        with suppress(DamagedLedgerError):
            held.enter_context(transaction(engine, at, write=True))
        return _written_anew(at.path, read, own)


def _written_anew(path: Path, read: Callable[[], Found], own: set[str]) -> tuple[Found, int]:
    others = _readable(path, own)
    with storage_errors(path), temporary_file(path) as temporary:
        found = read()
        with Ledger.open(temporary) as ledger, ledger.replacing() as replacing:
            replacing.put(others.runs, others.submissions, others.events)
            kept = replacing.put(found.runs, found.submissions, found.events)
        _sync(temporary)
        _keep_old(path)
        temporary.replace(path)
        _sync(path.parent)
    return found, kept


def _readable(path: Path, own: set[str]) -> Found:
    """Return what a damaged ledger still has of other workspaces."""
    found, at = Found([], [], []), address(path)
    with Ledger(engine_for(at), at) as ledger, suppress(LedgerError):
        found.runs.extend(r for r in ledger.runs() if r.workspace not in own)
        found.submissions.extend(s for s in ledger.submissions() if s.workspace not in own)
        for record in found.submissions:
            found.events.extend(ledger.events(record.submission_id))
    return found


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.name}.{what}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")


def _keep_old(path: Path) -> None:
    kept = _beside(path, "damaged")
    if path.exists():
        try:
            # A second name, so that there is no moment without a ledger: one would be made empty then.
            kept.hardlink_to(path)
        except OSError:
            # Some file systems (exFAT, some network drives) have no second names.
            path.replace(kept)
    # A journal that a killed writer left belongs to the old file; the new one must not be rolled back by it.
    journal = path.with_name(f"{path.name}-journal")
    if journal.exists():
        journal.replace(kept.with_name(f"{kept.name}-journal"))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
