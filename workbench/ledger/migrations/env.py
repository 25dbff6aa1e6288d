"""Alembic's entry: runs the migrations on the connection that the ledger opened, inside its transaction."""

from alembic import context

from workbench.ledger.schema import metadata


def _migrate() -> None:
    # Without a context of Alembic's (documentation tools, test collection) there is nothing to do.
    try:
        connection = context.config.attributes["connection"]
    except (NameError, AttributeError):
        return
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
    context.run_migrations()


_migrate()
