"""Access to the ledger's database: its address, transactions, and its exceptions as errors of this package."""

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

__all__ = ["REBUILD", "Address", "damaged_error", "engine_for", "parse_address", "transaction"]

BUSY_TIMEOUT_S = 30.0
"""How long a transaction waits for another process's lock."""

CONNECT_TIMEOUT_S = 10
REBUILD = "`wb ledger rebuild` builds it again from the run folders"

# The key of PostgreSQL's advisory lock for writers: arbitrary, but no other program on the server may use it.
_WRITER_LOCK = 7_262_114_530

# https://www.sqlite.org/rescode.html, the primary codes
_SQLITE_BUSY = {"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL"}
_SQLITE_STORAGE = {"SQLITE_FULL", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_PERM"}
# A missing table or column is SQLITE_ERROR; the error for text that is not UTF-8 has no code.
_SQLITE_DAMAGED = {"SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_FORMAT", "SQLITE_ERROR", ""}
# https://www.postgresql.org/docs/current/errcodes-appendix.html: lock_not_available, deadlock_detected
_POSTGRES_BUSY = {"55P03", "40P01"}
_POSTGRES_STORAGE = {"53100", "25006"}


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a ledger.

    Attributes
    ----------
    url : sqlalchemy.URL
    path : Path, or None
        The SQLite file; None for a database server.
    shown : str
        The path or URL for messages, without passwords.
    """

    url: sa.URL
    path: Path | None
    shown: str


def parse_address(where: str | Path) -> Address:
    """Return the address of a path or a SQLAlchemy URL.

    Raises
    ------
    LedgerError
        When it is not a URL, or a database in memory, which would keep nothing.

    Examples
    --------
    >>> parse_address("postgresql://me:secret@server/wb").shown
    'postgresql://me:***@server/wb'
    """
    if isinstance(where, Path):
        return Address(sa.URL.create("sqlite", database=str(where)), where, str(where))
    try:
        url = sa.make_url(where)
    except (SQLAlchemyError, ValueError):
        # Without the cause, which may quote parts of a password.
        hint = "for example sqlite:////home/me/ledger.db or postgresql://me:password@server/workbench"
        raise LedgerError("WB_LEDGER_URL is not a database URL", hint=hint) from None
    path = None
    if url.get_backend_name() == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise LedgerError(f"the ledger {where} would be in memory and keep nothing", hint="name a file in the URL")
        path = None if str(url.database).startswith("file:") else Path(str(url.database))
    return Address(url, path, _without_passwords(url))


def _without_passwords(url: sa.URL) -> str:
    secret_keys = [k for k in url.query if any(word in k.lower() for word in ("pass", "token", "secret"))]
    return url.update_query_dict(dict.fromkeys(secret_keys, "hidden")).render_as_string(hide_password=True)


def engine_for(address: Address) -> sa.Engine:
    """Return an engine that connects anew for each transaction; create the folder of an SQLite file.

    Raises
    ------
    LedgerError
        When the database's driver is not installed.
    StorageError
        When the folder can't be created.
    """
    if address.path is not None:
        _make_folder(address.path.parent)
    try:
        # No pool: a run keeps its ledger open for hours, and servers drop connections that are idle for that long.
        engine = sa.create_engine(address.url, connect_args=_connect_args(address.url), poolclass=sa.NullPool)
    except (ImportError, SQLAlchemyError) as exc:
        hint = "install it, for example pip install 'psycopg[binary]'"
        raise LedgerError(f"no driver for {address.shown}: {exc}", hint=hint) from exc
    if address.url.get_backend_name() == "sqlite":
        sa.event.listen(engine, "connect", _configure_sqlite)
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
    """Return the driver's arguments that limit waiting, unless the URL sets them."""
    if url.get_backend_name() == "sqlite":
        return {} if "timeout" in url.query else {"timeout": BUSY_TIMEOUT_S}
    if url.drivername.partition("+")[2] in ("", "psycopg", "psycopg2") and url.get_backend_name() == "postgresql":
        return {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_TIMEOUT_S}
    return {}


def _configure_sqlite(connection: Any, _: Any) -> None:
    # Without the driver's own transactions: it begins none for reading, and commits each schema change. See
    # "Transactions with SQLite and the sqlite3 driver" in SQLAlchemy's page on SQLite.
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous=FULL")


@contextmanager
def transaction(engine: sa.Engine, address: Address, *, write: bool = False) -> Iterator[sa.Connection]:
    """Run the block in one transaction, which is committed as a whole or rolled back.

    With `write` it first takes the lock for writers, so that two of them wait for each other instead of failing after
    both have read.

    Raises
    ------
    LedgerError, BusyError, StorageError
        In place of the database's own exceptions.
    """
    try:
        while True:
            file_before = _file_id(address)
            with engine.connect() as connection, connection.begin():
                _begin(connection, write=write)
                # After waiting for a rebuild, the connection may be to the damaged file, which was renamed meanwhile.
                if not write or _file_id(address) == file_before:
                    yield connection
                    return
    except (DBAPIError, sqlite3.Error) as exc:
        raise _ledger_error(exc, address) from exc


def _file_id(address: Address) -> tuple[int, int] | None:
    """Return the device and inode of an SQLite file; None for another database or a missing file."""
    try:
        status = None if address.path is None else address.path.stat()
    except OSError:
        return None
    return None if status is None else (status.st_dev, status.st_ino)


def _begin(connection: sa.Connection, *, write: bool) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
    elif connection.dialect.name == "postgresql" and write:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{int(BUSY_TIMEOUT_S * 1000)}ms'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")


def damaged_error(address: Address, problem: str) -> DamagedLedgerError:
    """Return the error for a ledger with invalid content; `problem` completes "the ledger is damaged: "."""
    return DamagedLedgerError(f"the ledger {address.shown} is damaged: {problem}", hint=REBUILD)


def _ledger_error(exc: DBAPIError | sqlite3.Error, address: Address) -> WorkbenchError:
    """Return the error of this package for an exception of the database."""
    cause = exc.orig if isinstance(exc, DBAPIError) else exc
    text = (str(cause).splitlines() or ["no reason given"])[0]
    if isinstance(cause, sqlite3.Error):
        # Extended codes, such as SQLITE_IOERR_WRITE, begin with the primary one.
        code = "_".join(getattr(cause, "sqlite_errorname", "").split("_")[:2])
        is_busy, is_storage, is_damaged = code in _SQLITE_BUSY, code in _SQLITE_STORAGE, code in _SQLITE_DAMAGED
    else:
        code = str(getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or "")
        is_busy, is_storage, is_damaged = code in _POSTGRES_BUSY, code in _POSTGRES_STORAGE, False
    if is_busy:
        return BusyError(f"the ledger {address.shown} is locked by another process", hint="try again when it is done")
    if is_storage:
        return StorageError(
            f"can't write the ledger {address.shown}: {text}", hint="see `wb doctor`: disk, memory, permissions"
        )
    if is_damaged:
        return damaged_error(address, text)
    hint = "" if address.path else "check WB_LEDGER_URL, and whether the server can be reached"
    return LedgerError(f"the ledger {address.shown} can't be used: {text}", hint=hint)
