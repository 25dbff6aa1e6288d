"""The schema's version: looked at by a plain select; made new, or migrated by Alembic where it is older."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from workbench.core.errors import LedgerError, storage_errors
from workbench.core.temporary import temporary_file
from workbench.ledger.database import BUSY_TIMEOUT_S, Address, damaged, transaction
from workbench.ledger.schema import HEAD, metadata

__all__ = ["bring_to_head", "keep_copy", "migrate", "version_of"]

MIGRATIONS = Path(__file__).parent / "migrations"


def version_of(connection: sa.Connection) -> str | None:
    """Return the version of the schema, or None where there is none yet."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if version is None else str(version)


def bring_to_head(engine: sa.Engine, at: Address) -> None:
    """Make the schema where there is none; migrate an older one in one transaction, an SQLite file copied first.

    The copy is ``ledger.db.bak-<version>``, beside the file.

    Raises
    ------
    LedgerError
        When the schema is newer than this program, or has a version that there never was.
    """
    with transaction(engine, at) as connection:
        if _is_head(version_of(connection), at):
            return
    with transaction(engine, at, write=True) as connection:
        # Another process may have migrated between the two looks.
        version = version_of(connection)
        if _is_head(version, at):
            return
        if version is None:
            _create(connection)
            return
        if at.path is not None:
            keep_copy(at.path, at.path.with_name(f"{at.path.name}.bak-{version}"))
        migrate(connection)


def _is_head(version: str | None, at: Address) -> bool:
    if version is not None and version > HEAD:
        raise LedgerError(
            f"the ledger {at.shown} has version {version}; this workbench knows versions up to {HEAD}",
            hint="a newer workbench wrote it: upgrade this one, or set WB_LEDGER_URL to another ledger",
        )
    if version is not None and not (version.isdecimal() and version >= "0001"):
        # A file's name is made of it.
        raise damaged(at, f"it has the version {version!r}")
    return version == HEAD


def keep_copy(path: Path, copy: Path) -> None:
    """Copy an SQLite file, which may be open, and locked for writing by this process."""
    # By SQLite itself, not as bytes: closing a file that this process has open as a database drops its locks.
    # https://www.sqlite.org/howtocorrupt.html, 2.2
    with storage_errors(copy), temporary_file(copy) as temporary:
        with (
            closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as source,
            closing(sqlite3.connect(temporary)) as target,
        ):
            source.backup(target)
        temporary.replace(copy)


def _create(connection: sa.Connection) -> None:
    """Make the tables as they are today, without Alembic, which takes longer than all else that a first command does.

    A test holds that the migrations come to the same. See "Building an Up to Date Database from Scratch":
    https://alembic.sqlalchemy.org/en/latest/cookbook.html
    """
    # Tables without a version are not ours to take over: to make them again fails.
    metadata.create_all(connection, checkfirst=False)
    # As Alembic makes it.
    version = sa.Column("version_num", sa.String(32), nullable=False)
    key = sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc")
    table = sa.Table("alembic_version", sa.MetaData(), version, key)
    table.create(connection, checkfirst=False)
    connection.execute(table.insert().values(version_num=HEAD))


def migrate(connection: sa.Connection) -> None:
    """Run the migrations that an older schema, or none, lacks."""
    # Imported here: it takes longer than reading ten thousand runs.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    # The option is interpolated as in an ini file.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")
