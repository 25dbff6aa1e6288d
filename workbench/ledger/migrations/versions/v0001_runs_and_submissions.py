"""Runs, submissions, and what happened to the submissions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(64), primary_key=True),
        sa.Column("competition", sa.String(200), nullable=False),
        sa.Column("exp", sa.Integer, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("base", sa.Integer),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("metric", sa.String(100), nullable=False),
        sa.Column("greater_is_better", sa.Boolean, nullable=False),
        sa.Column("cv_mean", sa.Float(53)),
        sa.Column("cv_std", sa.Float(53)),
        sa.Column("cv_folds", sa.Integer),
        sa.Column("oof_score", sa.Float(53)),
        sa.Column("fold_scores", sa.Text, nullable=False),
        sa.Column("seed_scores", sa.Text, nullable=False),
        sa.Column("seeds", sa.Text, nullable=False),
        sa.Column("folds_hash", sa.String(64), nullable=False),
        sa.Column("n_features", sa.Integer),
        sa.Column("seconds", sa.Float(53)),
        sa.Column("peak_rss_mb", sa.Float(53)),
        sa.Column("created_at", sa.String(40), nullable=False),
        sa.Column("finished_at", sa.String(40)),
        sa.Column("git_commit", sa.String(64)),
        sa.Column("sample", sa.Float(53)),
        sa.Column("changes", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("folder", sa.Text, nullable=False),
    )
    op.create_index("ix_runs_competition", "runs", ["competition"])
    op.create_table(
        "submissions",
        sa.Column("submission_id", sa.String(64), primary_key=True),
        sa.Column("competition", sa.String(200), nullable=False),
        sa.Column("exp", sa.Integer, nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("platform", sa.String(64), nullable=False),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("cv_mean", sa.Float(53)),
        sa.Column("created_at", sa.String(40), nullable=False),
        sa.Column("sent_at", sa.String(40)),
        sa.Column("ref", sa.String(200)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("public_score", sa.Float(53)),
        sa.Column("private_score", sa.Float(53)),
        sa.Column("error", sa.Text),
    )
    op.create_index("ix_submissions_competition", "submissions", ["competition"])
    op.create_table(
        "submission_events",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("submission_id", sa.String(64), nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("public_score", sa.Float(53)),
        sa.Column("private_score", sa.Float(53)),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("ix_submission_events_submission_id", "submission_events", ["submission_id"])
