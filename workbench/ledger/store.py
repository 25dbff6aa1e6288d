"""The database of runs and submissions: open, read, write."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, Self, TypeVar

import sqlalchemy as sa

from workbench.core.garbage import no_collection
from workbench.ledger.database import Address, damaged_error, engine_for, parse_address, transaction
from workbench.ledger.records import RunRecord, SubmissionEvent, SubmissionRecord
from workbench.ledger.rows import records_from, row_from
from workbench.ledger.schema import events, runs, submissions
from workbench.ledger.versions import bring_to_head, version_of

__all__ = ["Ledger", "RecordReplacer"]

R = TypeVar("R", RunRecord, SubmissionRecord, SubmissionEvent)

MAX_VALUES = 900
"""All builds of SQLite allow 999 values in a statement: https://www.sqlite.org/limits.html, 9."""


class Ledger:
    """An open ledger; a context manager.

    Each method is one transaction, which is committed as a whole when it returns. The class has more than 15 methods
    because the tables are connected: a submission and its events are written in one transaction.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder) / "ledger.db") as ledger:
    ...     ledger.runs("flights")
    []
    """

    def __init__(self, engine: sa.Engine, address: Address) -> None:
        self._engine = engine
        self._address = address

    @classmethod
    def open(cls, where: str | Path) -> Self:
        """Open the ledger, created where there is none; migrate an older schema.

        Before an older schema is changed, an SQLite file is copied to ``ledger.db.bak-<version>``.

        Parameters
        ----------
        where : Path or str
            The path of an SQLite file as a `Path`, or a SQLAlchemy URL as text.

        Raises
        ------
        LedgerError
            When it is damaged, newer than this program, or can't be reached.
        BusyError
            When another process locks it for more than 30 s.
        StorageError
            When its folder can't be written.
        """
        address = parse_address(where)
        ledger = cls(engine_for(address), address)
        try:
            bring_to_head(ledger._engine, address)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _transaction(self, *, write: bool = False) -> AbstractContextManager[sa.Connection]:
        return transaction(self._engine, self._address, write=write)

    def _read(self, cls: type[R], query: sa.Select[Any]) -> list[R]:
        """Return the records of a query that selects the columns of `cls`."""
        try:
            # Ten thousand runs are a million objects; garbage collection took 40% of the time.
            with no_collection(), self._transaction() as connection:
                return records_from(cls, connection.execute(query).fetchall())
        except (ValueError, TypeError, RecursionError) as exc:
            raise damaged_error(self._address, f"a {cls.__name__} has invalid values ({exc})") from exc

    def check(self) -> dict[str, Any]:
        """Return the version, the numbers of records and, for SQLite, the result of its integrity check.

        Returns
        -------
        dict
            "where", "version", the number of "runs", "submissions" and "submission_events", and "integrity": "ok", or
            "not checked" for a database server.

        Raises
        ------
        LedgerError
            When the integrity check fails, or a record can't be read.
        """
        with self._transaction() as connection:
            summary: dict[str, Any] = {"where": self._address.shown, "version": version_of(connection) or ""}
            for table in (runs, submissions, events):
                summary[table.name] = connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            verdict = "not checked"
            if connection.dialect.name == "sqlite":
                verdict = str(connection.exec_driver_sql("PRAGMA integrity_check").scalar())
                if verdict != "ok":
                    raise damaged_error(self._address, verdict)
        self.runs()
        self.submissions()
        return summary | {"integrity": verdict}

    def put_run(self, record: RunRecord) -> None:
        """Insert a run, or replace the one with its `run_id`. Infinite and undefined scores become None."""
        with self._transaction(write=True) as connection:
            connection.execute(sa.delete(runs).where(runs.c.run_id == record.run_id))
            connection.execute(sa.insert(runs), row_from(record))

    def run(self, run_id: str) -> RunRecord | None:
        """Return the run with an id; None if there is none."""
        records = self._read(RunRecord, sa.select(*_RUN_COLUMNS).where(runs.c.run_id == run_id))
        return records[0] if records else None

    def runs(self, competition: str | None = None, exp: int | None = None) -> list[RunRecord]:
        """Return runs, oldest first, optionally of one competition or experiment."""
        query = sa.select(*_RUN_COLUMNS)
        if competition is not None:
            query = query.where(runs.c.competition == competition)
        if exp is not None:
            query = query.where(runs.c.exp == exp)
        # Sorted in Python, which is as fast, since databases order letters differently.
        return sorted(self._read(RunRecord, query), key=attrgetter("created_at", "run_id"))

    def largest_experiment(self, competition: str) -> int:
        """Return the largest experiment number of the runs and submissions; 0 without any."""
        with self._transaction() as connection:
            largest_numbers = [
                connection.scalar(sa.select(sa.func.max(t.c.exp)).where(t.c.competition == competition))
                for t in (runs, submissions)
            ]
        return max(n or 0 for n in largest_numbers)

    def put_submission(self, record: SubmissionRecord, detail: str = "") -> None:
        """Insert or replace a submission; add an event if its status or one of its scores changed.

        Parameters
        ----------
        record : SubmissionRecord
        detail : str
            Text for the event.
        """
        row = row_from(record)
        with self._transaction(write=True) as connection:
            has_id = submissions.c.submission_id == record.submission_id
            state_before = connection.execute(
                sa.select(*(submissions.c[k] for k in _STATE_FIELDS)).where(has_id)
            ).fetchone()
            connection.execute(sa.delete(submissions).where(has_id))
            connection.execute(sa.insert(submissions), row)
            state = {k: row[k] for k in _STATE_FIELDS}
            if state_before is None or tuple(state_before) != tuple(state.values()):
                event = SubmissionEvent(record.submission_id, datetime.now(UTC), **state, detail=detail)
                connection.execute(sa.insert(events), row_from(event))

    def submissions(self, competition: str | None = None) -> list[SubmissionRecord]:
        """Return submissions, oldest first."""
        query = sa.select(*_SUBMISSION_COLUMNS)
        if competition is not None:
            query = query.where(submissions.c.competition == competition)
        return sorted(self._read(SubmissionRecord, query), key=attrgetter("created_at", "submission_id"))

    def events(self, submission_id: str) -> list[SubmissionEvent]:
        """Return the events of a submission, oldest first."""
        query = sa.select(*_EVENT_COLUMNS).where(events.c.submission_id == submission_id)
        return self._read(SubmissionEvent, query.order_by(events.c.number))

    @contextmanager
    def replace_records(self) -> Iterator[RecordReplacer]:
        """Yield a `RecordReplacer` within one transaction, while no other process can write."""
        with self._transaction(write=True) as connection:
            yield RecordReplacer(connection)


class RecordReplacer:
    """Removes and inserts records within one transaction; see `Ledger.replace_records`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def remove_workspaces(self, workspaces: Collection[str], *, except_ids: Collection[str] = ()) -> None:
        """Remove the records of some workspaces, except those with the given ids."""
        for table, key in ((runs, runs.c.run_id), (submissions, submissions.c.submission_id)):
            ids = self._connection.scalars(sa.select(key).where(table.c.workspace.in_(workspaces))).all()
            _delete(self._connection, table, [k for k in ids if k not in except_ids])

    def put(
        self,
        all_runs: Sequence[RunRecord],
        all_submissions: Sequence[SubmissionRecord],
        all_events: Sequence[SubmissionEvent],
    ) -> int:
        """Insert records, or replace those with the same ids; return the number of other runs and submissions."""
        _delete(self._connection, runs, [r.run_id for r in all_runs])
        _delete(self._connection, submissions, [s.submission_id for s in all_submissions])
        for table, records in ((runs, all_runs), (submissions, all_submissions), (events, all_events)):
            rows = [row_from(r) for r in records]
            if rows:
                self._connection.execute(sa.insert(table), rows)
        n_total = sum(
            self._connection.scalar(sa.select(sa.func.count()).select_from(t)) or 0 for t in (runs, submissions)
        )
        return n_total - len(all_runs) - len(all_submissions)


def _delete(connection: sa.Connection, table: sa.Table, keys: Sequence[str]) -> None:
    """Delete records by their ids; a submission is deleted with its events."""
    for start in range(0, len(keys), MAX_VALUES):
        chunk = keys[start : start + MAX_VALUES]
        if table is submissions:
            connection.execute(sa.delete(events).where(events.c.submission_id.in_(chunk)))
        column = runs.c.run_id if table is runs else submissions.c.submission_id
        connection.execute(sa.delete(table).where(column.in_(chunk)))


_STATE_FIELDS = ("status", "public_score", "private_score")
"""A change of any of these adds an event to a submission."""

_RUN_COLUMNS = [runs.c[f.name] for f in fields(RunRecord)]
_SUBMISSION_COLUMNS = [submissions.c[f.name] for f in fields(SubmissionRecord)]
_EVENT_COLUMNS = [events.c[f.name] for f in fields(SubmissionEvent)]
