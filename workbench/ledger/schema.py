"""The ledger's tables. Times are ISO text in UTC, which sorts; lists are JSON text.

MySQL needs Float(53) for double precision; other databases treat it as Float.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Integer, MetaData, String, Table, Text

__all__ = ["HEAD", "events", "metadata", "runs", "submissions"]

HEAD = "0003"
"""The version of the present schema: the newest file in ``migrations/versions``."""

metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("competition", String(200), nullable=False, index=True),
    Column("exp", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("base", Integer),
    Column("status", String(16), nullable=False),
    Column("key", String(64), nullable=False),
    Column("metric", String(100), nullable=False),
    Column("greater_is_better", Boolean, nullable=False),
    Column("cv_mean", Float(53)),
    Column("cv_std", Float(53)),
    Column("cv_folds", Integer),
    Column("oof_score", Float(53)),
    Column("fold_scores", Text, nullable=False),
    Column("seed_scores", Text, nullable=False),
    Column("seeds", Text, nullable=False),
    Column("folds_hash", String(64), nullable=False),
    Column("n_features", Integer),
    Column("seconds", Float(53)),
    Column("peak_rss_mb", Float(53)),
    Column("created_at", String(40), nullable=False),
    Column("finished_at", String(40)),
    Column("git_commit", String(64)),
    Column("sample", Float(53)),
    Column("changes", Text, nullable=False),
    Column("error", Text),
    Column("folder", Text, nullable=False),
    Column("optimistic", Text),
    Column("cv_windows", Integer),
    Column("workspace", String(64), nullable=False, server_default=""),
)

submissions = Table(
    "submissions",
    metadata,
    Column("submission_id", String(64), primary_key=True),
    Column("competition", String(200), nullable=False, index=True),
    Column("exp", Integer, nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("platform", String(64), nullable=False),
    Column("file", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("message", Text, nullable=False),
    Column("cv_mean", Float(53)),
    Column("created_at", String(40), nullable=False),
    Column("sent_at", String(40)),
    Column("ref", String(200)),
    Column("status", String(16), nullable=False),
    Column("public_score", Float(53)),
    Column("private_score", Float(53)),
    Column("error", Text),
    Column("workspace", String(64), nullable=False, server_default=""),
)

events = Table(
    "submission_events",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("submission_id", String(64), nullable=False, index=True),
    Column("at", String(40), nullable=False),
    Column("status", String(16), nullable=False),
    Column("public_score", Float(53)),
    Column("private_score", Float(53)),
    Column("detail", Text, nullable=False),
)
