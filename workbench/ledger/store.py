"""The database of runs and submissions: open, read, write, migrate, rebuild."""

from __future__ import annotations

import json
import math
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, DBAPIError, SQLAlchemyError

from workbench.errors import BusyError, LedgerError, StorageError, WorkbenchError, storage_errors
from workbench.ledger.records import RunRecord, SubmissionEvent, SubmissionRecord
from workbench.ledger.schema import HEAD, events, runs, submissions

__all__ = ["Ledger", "rebuild"]

BUSY_TIMEOUT_S = 30.0
REBUILD = "`wb ledger rebuild` builds it again from the run folders"


class Ledger:
    """The ledger, opened; a context manager.

    Every method is one transaction: it has happened, as a whole, when it returns.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder) / "ledger.db") as ledger:
    ...     ledger.runs("flights")
    []
    """

    def __init__(self, engine: sa.Engine, where: str) -> None:
        self._engine = engine
        self._where = where

    @classmethod
    def open(cls, where: str | Path) -> Self:
        """Open the ledger, make it where there is none, and bring an older schema up to this version's.

        Parameters
        ----------
        where : Path or str
            The path of an SQLite file, or a SQLAlchemy URL.

        Raises
        ------
        LedgerError
            When it is damaged, newer than this program, or can't be reached.
        BusyError
            When another process keeps it locked for 30 s.
        StorageError
            When its folder can't be written.
        """
        path = where if isinstance(where, Path) else None
        if path is not None:
            with storage_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
        engine, shown = _engine(where)
        ledger = cls(engine, shown)
        try:
            ledger._bring_to_head(path)
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

    # ---------------------------------------------------------------------------------------------------- the schema

    def _bring_to_head(self, path: Path | None) -> None:
        with self._connection() as connection:
            version = _version(connection)
        if version == HEAD:
            return
        if version is not None and version > HEAD:
            raise LedgerError(
                f"the ledger {self._where} has version {version}; this workbench knows versions up to {HEAD}",
                hint="a newer workbench wrote it: upgrade this one, or set WB_LEDGER_URL to another ledger",
            )
        if version is not None and path is not None:
            shutil.copy2(path, path.with_name(f"{path.name}.bak-{version}"))
        with self._connection(write=True) as connection:
            # Another process may have migrated between the two looks.
            if _version(connection) != HEAD:
                _migrate(connection)

    def check(self) -> dict[str, Any]:
        """Return the version, the number of records and, for SQLite, whether the file is sound; for ``wb doctor``.

        Raises
        ------
        LedgerError
            When the database finds itself damaged.
        """
        with self._connection() as connection:
            found: dict[str, Any] = {"where": self._where, "version": _version(connection) or ""}
            for table in (runs, submissions, events):
                found[table.name] = connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            if connection.dialect.name == "sqlite":
                verdict = connection.exec_driver_sql("PRAGMA integrity_check").scalar()
                if verdict != "ok":
                    raise LedgerError(f"the ledger {self._where} is damaged: {verdict}", hint=REBUILD)
        return found

    # ---------------------------------------------------------------------------------------------------------- runs

    def put_run(self, record: RunRecord) -> None:
        """Enter a run, or replace what is there under its `run_id`. Infinite and undefined scores become None."""
        with self._connection(write=True) as connection:
            connection.execute(sa.delete(runs).where(runs.c.run_id == record.run_id))
            connection.execute(sa.insert(runs), _row(record))

    def run(self, run_id: str) -> RunRecord | None:
        """Return a run, or None."""
        found = self._runs(sa.select(*_RUN_COLUMNS).where(runs.c.run_id == run_id))
        return found[0] if found else None

    def runs(self, competition: str | None = None, exp: int | None = None) -> list[RunRecord]:
        """Return runs, oldest first; of one competition or experiment where given."""
        query = sa.select(*_RUN_COLUMNS).order_by(runs.c.created_at, runs.c.run_id)
        if competition is not None:
            query = query.where(runs.c.competition == competition)
        if exp is not None:
            query = query.where(runs.c.exp == exp)
        return self._runs(query)

    def _runs(self, query: sa.Select[Any]) -> list[RunRecord]:
        with self._connection() as connection:
            rows = connection.execute(query).fetchall()
        return _run_records(rows)

    # --------------------------------------------------------------------------------------------------- submissions

    def put_submission(self, record: SubmissionRecord, detail: str = "") -> None:
        """Enter or replace a submission; where its state changed, an event is added in the same transaction."""
        with self._connection(write=True) as connection:
            same = submissions.c.submission_id == record.submission_id
            state = sa.select(submissions.c.status, submissions.c.public_score, submissions.c.private_score).where(same)
            before = connection.execute(state).fetchone()
            connection.execute(sa.delete(submissions).where(same))
            connection.execute(sa.insert(submissions), _row(record))
            after = (record.status, record.public_score, record.private_score)
            if before is None or tuple(before) != after:
                event = SubmissionEvent(record.submission_id, datetime.now(UTC), *after, detail=detail)
                connection.execute(sa.insert(events), _row(event))

    def submissions(self, competition: str | None = None) -> list[SubmissionRecord]:
        """Return submissions, oldest first."""
        query = sa.select(*(submissions.c[f.name] for f in fields(SubmissionRecord)))
        if competition is not None:
            query = query.where(submissions.c.competition == competition)
        with self._connection() as connection:
            rows = connection.execute(query.order_by(submissions.c.created_at)).fetchall()
        return [SubmissionRecord(*row[:9], *map(_time, row[9:11]), *row[11:]) for row in rows]

    def events(self, submission_id: str) -> list[SubmissionEvent]:
        """Return what happened to a submission, oldest first."""
        columns = [events.c[f.name] for f in fields(SubmissionEvent)]
        query = sa.select(*columns).where(events.c.submission_id == submission_id).order_by(events.c.number)
        with self._connection() as connection:
            rows = connection.execute(query).fetchall()
        return [SubmissionEvent(row[0], datetime.fromisoformat(row[1]), *row[2:]) for row in rows]

    def replace(
        self,
        all_runs: Iterable[RunRecord],
        all_submissions: Iterable[SubmissionRecord],
        all_events: Iterable[SubmissionEvent],
    ) -> None:
        """Replace everything, in one transaction."""
        with self._connection(write=True) as connection:
            for table, records in ((runs, all_runs), (submissions, all_submissions), (events, all_events)):
                connection.execute(sa.delete(table))
                rows = [_row(r) for r in records]
                if rows:
                    connection.execute(sa.insert(table), rows)

    @contextmanager
    def _connection(self, *, write: bool = False) -> Iterator[sa.Connection]:
        """One transaction: commit, roll back, translate what goes wrong."""
        try:
            with self._engine.connect() as connection, connection.begin():
                if write and connection.dialect.name == "sqlite":
                    # Taking the write lock at once makes two writers wait for each other instead of failing when
                    # both have read.
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                elif connection.dialect.name == "sqlite":
                    connection.exec_driver_sql("BEGIN")
                yield connection
        except (SQLAlchemyError, UnicodeDecodeError, json.JSONDecodeError) as exc:
            raise _explained(exc, self._where) from exc


def _engine(where: str | Path) -> tuple[sa.Engine, str]:
    if isinstance(where, Path):
        url = sa.URL.create("sqlite", database=str(where))
    else:
        try:
            url = sa.engine.make_url(where)
        except SQLAlchemyError as exc:
            raise LedgerError(
                "WB_LEDGER_URL is not a database URL", hint="for example sqlite:////home/me/ledger.db"
            ) from exc
    shown = str(where) if isinstance(where, Path) else url.render_as_string(hide_password=True)
    try:
        if url.get_backend_name() != "sqlite":
            return sa.create_engine(url), shown
        engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, poolclass=sa.NullPool)
    except (ImportError, SQLAlchemyError) as exc:
        raise LedgerError(f"no driver for {shown}: {exc}", hint="install it, for example pip install psycopg") from exc
    sa.event.listen(engine, "connect", _set_up)
    return engine, shown


def _set_up(connection: Any, _: Any) -> None:
    # The driver's own transactions are switched off: it would not begin one before reading, and commits schema
    # changes one by one. See SQLAlchemy's page on SQLite, "Transactions with SQLite and the sqlite3 driver".
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous=FULL")


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else str(found)


def _migrate(connection: sa.Connection) -> None:
    # Imported here: it takes longer than reading ten thousand runs.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    command.upgrade(config, "head")


def _explained(exc: Exception, where: str) -> WorkbenchError:
    text = str(exc.orig if isinstance(exc, DBAPIError) else exc).splitlines()[0]
    if "locked" in text or "busy" in text:
        return BusyError(f"the ledger {where} is locked by another process", hint="try again when it is done")
    if "full" in text or "readonly" in text or "unable to open" in text or "disk I/O" in text:
        return StorageError(f"can't write the ledger {where}: {text}", hint="see `wb doctor`: disk, memory, rights")
    if where.startswith(("sqlite", "/")) or not isinstance(exc, DatabaseError):
        return LedgerError(f"the ledger {where} is damaged: {text}", hint=REBUILD)
    return LedgerError(f"the ledger {where} can't be used: {text}", hint="check WB_LEDGER_URL and the server")


# -------------------------------------------------------------------------------------------------- rows and records

ONE_SEED = "1"
"""Stands in the column `seed_scores` for "those of `fold_scores`, once"."""

# Read as an integer: SQLAlchemy's Boolean converts cell by cell.
_RUN_COLUMNS = [
    sa.type_coerce(runs.c[f.name], sa.Integer) if f.name == "greater_is_better" else runs.c[f.name]
    for f in fields(RunRecord)
]


def _row(record: RunRecord | SubmissionRecord | SubmissionEvent) -> dict[str, Any]:
    row = {f.name: _cell(v) for f, v in zip(fields(record), astuple(record), strict=True)}
    if isinstance(record, RunRecord) and record.seed_scores == (record.fold_scores,):
        # With one seed the two are the same numbers; parsing them is what listing runs spends most of its time on.
        row["seed_scores"] = ONE_SEED
    return row


def _cell(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat("T", "microseconds")
    if isinstance(value, tuple):
        return json.dumps(_finite(value))
    return value


def _finite(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


_JSON_COLUMNS = [i for i, f in enumerate(fields(RunRecord)) if str(f.type).startswith("tuple")]
_PLACE = {f.name: i for i, f in enumerate(fields(RunRecord))}
_TIME_COLUMNS = [i for i, f in enumerate(fields(RunRecord)) if str(f.type).startswith("datetime")]


def _run_records(rows: Any) -> list[RunRecord]:
    """Make records of rows whose columns are in the order of the record's fields.

    Column by column, because ten thousand runs are read at a time: one JSON document per column is parsed five times
    as fast as one per cell.
    """
    if not rows:
        return []
    columns: list[Any] = list(zip(*rows, strict=True))
    for i in _JSON_COLUMNS:
        columns[i] = json.loads(f"[{','.join(columns[i])}]")
    for name in ("fold_scores", "seeds", "changes"):
        columns[_PLACE[name]] = list(map(tuple, columns[_PLACE[name]]))
    places = _PLACE["seed_scores"], _PLACE["fold_scores"]
    per_seed = zip(columns[places[0]], columns[places[1]], strict=True)
    columns[places[0]] = [(folds,) if cell == 1 else tuple(map(tuple, cell)) for cell, folds in per_seed]
    columns[_PLACE["greater_is_better"]] = list(map(bool, columns[_PLACE["greater_is_better"]]))
    for i in _TIME_COLUMNS:
        columns[i] = list(map(_time, columns[i]))
    return list(map(RunRecord, *columns))


# ----------------------------------------------------------------------------------------------------------- rebuild


def rebuild(
    path: Path,
    all_runs: Iterable[RunRecord],
    all_submissions: Iterable[SubmissionRecord],
    all_events: Iterable[SubmissionEvent],
) -> None:
    """Write an SQLite ledger anew beside the old one and put it in its place; the old one is kept.

    The old file becomes ``ledger.db.old-<time>``.

    Raises
    ------
    StorageError
        When the folder can't be written; the old ledger is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    with storage_errors(path):
        try:
            with Ledger.open(temporary) as ledger:
                ledger.replace(all_runs, all_submissions, all_events)
            if path.exists():
                stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
                path.replace(path.with_name(f"{path.name}.old-{stamp}"))
            # A journal that a killed writer left belongs to the old file; the new one must not be rolled back by it.
            path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
