"""The door to the database: its address, one transaction at a time, and what goes wrong put into words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from workbench.core.errors import (
    BusyError,
    DamagedLedgerError,
    LedgerError,
    StorageError,
    WorkbenchError,
    storage_errors,
)

__all__ = ["REBUILD", "Address", "address", "damaged", "engine_for", "transaction"]

BUSY_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10
REBUILD = "`wb ledger rebuild` builds it again from the run folders"

# Any number will do, as long as no other program on the same server uses it.
_WRITER_LOCK = 7_262_114_530

# https://www.sqlite.org/rescode.html, the primary codes
_SQLITE_BUSY = {"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL"}
_SQLITE_STORAGE = {"SQLITE_FULL", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_PERM"}
# A missing table or column is SQLITE_ERROR; text that is not UTF-8 comes without a code.
_SQLITE_DAMAGED = {"SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_FORMAT", "SQLITE_ERROR", ""}
# https://www.postgresql.org/docs/current/errcodes-appendix.html: lock_not_available, deadlock_detected
_POSTGRES_BUSY = {"55P03", "40P01"}
_POSTGRES_STORAGE = {"53100", "25006"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a ledger is.

    Attributes
    ----------
    url : what SQLAlchemy connects to
    path : the SQLite file, or None for a database server
    shown : the same for messages, without passwords
    """

    url: sa.URL
    path: Path | None
    shown: str


def address(where: str | Path) -> Address:
    """Return the address that a path or a SQLAlchemy URL means.

    Raises
    ------
    LedgerError
        When it is no URL, or one of a database in memory, which would forget everything.

    Examples
    --------
    >>> address("postgresql://me:secret@server/wb").shown
    'postgresql://me:***@server/wb'
    """
    if isinstance(where, Path):
        return Address(sa.URL.create("sqlite", database=str(where)), where, str(where))
    try:
        url = sa.make_url(where)
    except (SQLAlchemyError, ValueError):
        # Without its cause, which can quote a part of a password.
        hint = "for example sqlite:////home/me/ledger.db or postgresql://me:password@server/workbench"
        raise LedgerError("WB_LEDGER_URL is not a database URL", hint=hint) from None
    path = None
    if url.get_backend_name() == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise LedgerError(f"the ledger {where} would be in memory and keep nothing", hint="name a file in the URL")
        path = None if str(url.database).startswith("file:") else Path(str(url.database))
    return Address(url, path, _without_passwords(url))


def _without_passwords(url: sa.URL) -> str:
    secret = [k for k in url.query if any(word in k.lower() for word in ("pass", "token", "secret"))]
    return url.update_query_dict(dict.fromkeys(secret, "hidden")).render_as_string(hide_password=True)


def engine_for(at: Address) -> sa.Engine:
    """Return an engine that connects again for each transaction; an SQLite file's folder is made where missing.

    Raises
    ------
    LedgerError
        When the database's driver is not installed.
    StorageError
        When the folder can't be made.
    """
    if at.path is not None:
        _make_folder(at.path.parent)
    try:
        # No pool: a run holds its ledger for hours, and a server drops connections that idle so long.
        engine = sa.create_engine(at.url, connect_args=_connect_args(at.url), poolclass=sa.NullPool)
    except (ImportError, SQLAlchemyError) as exc:
        hint = "install it, for example pip install 'psycopg[binary]'"
        raise LedgerError(f"no driver for {at.shown}: {exc}", hint=hint) from exc
    if at.url.get_backend_name() == "sqlite":
        sa.event.listen(engine, "connect", _set_up)
    return engine


def _make_folder(folder: Path) -> None:
    with storage_errors(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as exc:
            raise StorageError(
                f"can't make the folder {folder}: there is a file of that name", hint="move that file out of the way"
            ) from exc


def _connect_args(url: sa.URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {} if "timeout" in url.query else {"timeout": BUSY_TIMEOUT_S}
    if url.drivername.partition("+")[2] in ("", "psycopg", "psycopg2") and url.get_backend_name() == "postgresql":
        return {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_TIMEOUT_S}
    return {}


def _set_up(connection: Any, _: Any) -> None:
    # The driver's own transactions are switched off: it would not begin one before reading, and commits schema
    # changes one by one. See SQLAlchemy's page on SQLite, "Transactions with SQLite and the sqlite3 driver".
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous=FULL")


@contextmanager
def transaction(engine: sa.Engine, at: Address, *, write: bool = False) -> Iterator[sa.Connection]:
    """Run the body in one transaction: committed as a whole, or rolled back.

    With `write` it begins by taking the one writers' lock, so that two writers wait for each other instead of failing
    when both have read.

    Raises
    ------
    LedgerError, BusyError, StorageError
        What the database's own exceptions mean.
    """
    try:
        while True:
            before = _file_of(at)
            with engine.connect() as connection, connection.begin():
                _begin(connection, write=write)
                # Whoever waited for a rebuild to end may hold the file that was damaged, which has another name by now.
                if not write or _file_of(at) == before:
                    yield connection
                    return
    except (DBAPIError, sqlite3.Error) as exc:
        raise _explained(exc, at) from exc


def _file_of(at: Address) -> tuple[int, int] | None:
    try:
        status = None if at.path is None else at.path.stat()
    except OSError:
        return None
    return None if status is None else (status.st_dev, status.st_ino)


def _begin(connection: sa.Connection, *, write: bool) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
    elif connection.dialect.name == "postgresql" and write:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{int(BUSY_TIMEOUT_S * 1000)}ms'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")


def damaged(at: Address, problem: str) -> DamagedLedgerError:
    """Return the error for a ledger that holds what nobody wrote."""
    return DamagedLedgerError(f"the ledger {at.shown} is damaged: {problem}", hint=REBUILD)


def _explained(exc: DBAPIError | sqlite3.Error, at: Address) -> WorkbenchError:
    cause = exc.orig if isinstance(exc, DBAPIError) else exc
    text = (str(cause).splitlines() or ["no reason given"])[0]
    if isinstance(cause, sqlite3.Error):
        # Extended codes, as SQLITE_IOERR_WRITE, begin with the primary one.
        code = "_".join(getattr(cause, "sqlite_errorname", "").split("_")[:2])
        busy, full, broken = code in _SQLITE_BUSY, code in _SQLITE_STORAGE, code in _SQLITE_DAMAGED
    else:
        code = str(getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or "")
        busy, full, broken = code in _POSTGRES_BUSY, code in _POSTGRES_STORAGE, False
    if busy:
        return BusyError(f"the ledger {at.shown} is locked by another process", hint="try again when it is done")
    if full:
        return StorageError(
            f"can't write the ledger {at.shown}: {text}", hint="see `wb doctor`: disk, memory, permissions"
        )
    if broken:
        return damaged(at, text)
    hint = "" if at.path else "check WB_LEDGER_URL, and whether the server can be reached"
    return LedgerError(f"the ledger {at.shown} can't be used: {text}", hint=hint)
