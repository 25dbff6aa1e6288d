"""The schema's version: read by a plain select, so that Alembic is only loaded to migrate an older schema."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from workbench.core.errors import LedgerError, storage_errors
from workbench.core.temporary import temporary_file
from workbench.ledger.database import BUSY_TIMEOUT_S, Address, damaged_error, transaction
from workbench.ledger.schema import HEAD, metadata

__all__ = ["bring_to_head", "copy_database", "migrate", "version_of"]

MIGRATIONS = Path(__file__).parent / "migrations"


def version_of(connection: sa.Connection) -> str | None:
    """Return the version of the schema, or None where there is none yet."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if version is None else str(version)


def bring_to_head(engine: sa.Engine, address: Address) -> None:
    """Create the schema, or migrate an older one in one transaction.

    Before a migration, an SQLite file is copied to ``ledger.db.bak-<version>`` in its folder.

    Raises
    ------
    LedgerError
        When the schema is newer than this program, or has an invalid version.
    """
    with transaction(engine, address) as connection:
        if _is_head(version_of(connection), address):
            return
    with transaction(engine, address, write=True) as connection:
        # Another process may have migrated it in between.
        version = version_of(connection)
        if _is_head(version, address):
            return
        if version is None:
            _create(connection)
            return
        if address.path is not None:
            copy_database(address.path, address.path.with_name(f"{address.path.name}.bak-{version}"))
        migrate(connection)


def _is_head(version: str | None, address: Address) -> bool:
    """Tell whether a schema's version is the present one; raise if it is newer or invalid."""
    if version is not None and version > HEAD:
        raise LedgerError(
            f"the ledger {address.shown} has version {version}; this workbench supports versions up to {HEAD}",
            hint="a newer workbench wrote it: upgrade this one, or set WB_LEDGER_URL to another ledger",
        )
    if version is not None and not (version.isdecimal() and version >= "0001"):
        # The name of the copied file contains it.
        raise damaged_error(address, f"it has the version {version!r}")
    return version == HEAD


def copy_database(path: Path, copy: Path) -> None:
    """Copy an SQLite file, which this process may have open and locked for writing."""
    # By SQLite itself: reading and closing the file would drop the locks that this process has on it.
    # https://www.sqlite.org/howtocorrupt.html, 2.2
    with storage_errors(copy), temporary_file(copy) as temporary:
        with (
            closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as source,
            closing(sqlite3.connect(temporary)) as target,
        ):
            source.backup(target)
        temporary.replace(copy)


def _create(connection: sa.Connection) -> None:
    """Create the tables of the present schema without Alembic, whose import takes longer than the rest of a command.

    A test checks that the migrations result in the same schema. See "Building an Up to Date Database from Scratch":
    https://alembic.sqlalchemy.org/en/latest/cookbook.html
    """
    # Existing tables without a version are not a ledger's; with checkfirst=False this fails.
    metadata.create_all(connection, checkfirst=False)
    # The table as Alembic creates it.
    version_column = sa.Column("version_num", sa.String(32), nullable=False)
    primary_key = sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc")
    table = sa.Table("alembic_version", sa.MetaData(), version_column, primary_key)
    table.create(connection, checkfirst=False)
    connection.execute(table.insert().values(version_num=HEAD))


def migrate(connection: sa.Connection) -> None:
    """Migrate an older schema, or none, to the present one."""
    # The import takes longer than reading ten thousand runs.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    # "%" would be interpolated, as in an ini file.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")
