"""Why a CV is optimistic, where it is; and of how many windows of time it is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; of earlier runs nothing is known."""
    op.add_column("runs", sa.Column("optimistic", sa.Text))
    op.add_column("runs", sa.Column("cv_windows", sa.Integer))
