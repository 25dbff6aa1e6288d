"""Whose a run or a submission is, in a ledger that several workspaces share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; of earlier records nothing is known."""
    for table in ("runs", "submissions"):
        op.add_column(table, sa.Column("workspace", sa.String(64), nullable=False, server_default=""))
