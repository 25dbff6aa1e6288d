"""Example records of a ledger: a finished run, and a prepared submission of it."""

from __future__ import annotations

from datetime import UTC, datetime

from workbench.ledger import RunRecord, SubmissionRecord

NOW = datetime(2026, 11, 23, 20, 0, 0, 123456, UTC)

RUN = RunRecord(
    run_id="001-20261123T200000-abcdef01",
    competition="flights",
    exp=1,
    title="baseline",
    kind="model",
    base=None,
    status="finished",
    key="abcdef01",
    metric="auc",
    greater_is_better=True,
    cv_mean=0.74,
    cv_std=0.01,
    cv_folds=2,
    oof_score=0.73,
    fold_scores=(0.75, 0.73),
    seed_scores=((0.75, 0.73), (0.74, 0.72)),
    seeds=(1, 2),
    folds_hash="f",
    n_features=12,
    seconds=1.5,
    peak_rss_mb=300.0,
    created_at=NOW,
    finished_at=NOW,
    git_commit="abc+",
    sample=None,
    changes=("+weather", "num_leaves 31 -> 63"),
    error=None,
    folder="competitions/flights/runs/001",
)

SUBMISSION = SubmissionRecord(
    submission_id="s1",
    competition="flights",
    exp=1,
    run_id=RUN.run_id,
    platform="rehearsal",
    file="submissions/flights/001.csv",
    sha256="0" * 64,
    message="001 baseline",
    cv_mean=0.74,
    created_at=NOW,
    sent_at=None,
    ref=None,
    status="prepared",
    public_score=None,
    private_score=None,
    error=None,
)
