"""The ledger's schema, version by version; run by `workbench.ledger.store` through Alembic."""
