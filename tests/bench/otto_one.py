"""A whole two-stage run on a log in OTTO's shape, in a process of its own: `python -m tests.bench.otto_one LOG OUT`.

Sessions that begin in the last week are the test's; OUT gets what each stage took, and the scores of validation.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from tests.otto_log import KINDS
from workbench import metrics
from workbench.core.context import RunContext, text_listener
from workbench.core.memory import measured_peak
from workbench.recommender import (
    Columns,
    Covisit,
    CovisitSource,
    HistorySource,
    PopularSource,
    RankerSpec,
    RecommenderProblem,
    RecommenderSpec,
    TaskSpec,
    read_interactions,
    recommend,
)

WEEK = 7 * 24 * 3600
KIND_WEIGHTS = {"0": 1.0, "1": 3.0, "2": 6.0}

SPEC = RecommenderSpec(
    sources={
        "history": HistorySource(top=30),
        "covisit": CovisitSource(top=40, counts=Covisit(window_s=24 * 3600, weights=KIND_WEIGHTS)),
        "buys": CovisitSource(top=20, counts=Covisit(window_s=14 * 24 * 3600, kinds=("1", "2"))),
        "popular": PopularSource(top=20, window_s=3 * 24 * 3600),
    },
    candidates=80,
    ranker=RankerSpec(negatives=0.1, users=200_000, model={"num_iterations": 100, "num_leaves": 31}),
    validation_users=500_000,
)


def main() -> None:
    log_path, out = Path(sys.argv[1]), Path(sys.argv[2])

    def report(stage: str) -> None:
        print(f"{time.perf_counter() - began:8.1f} s  {stage}", file=sys.stderr, flush=True)

    began = time.perf_counter()
    with measured_peak() as peak:
        log = read_interactions(pl.scan_parquet(log_path), Columns("session", "aid", "ts", "type", unit="ms"))
        moment = int(log.times.max()) + 1 - WEEK
        tested = np.flatnonzero(log.times[log.starts[:-1]] >= moment).astype(np.int32)
    reading = {"name": "reading", "seconds": time.perf_counter() - began, "peak_mb": peak.mb}
    kinds = tuple(str(kind) for kind in range(len(KINDS)))
    asked = TaskSpec("session", WEEK, 20, kinds, first=("0",))
    problem = RecommenderProblem(log, tested, asked, metrics.get("micro_recall@20"), (0.1, 0.3, 0.6), folds=3)
    made = recommend(problem, SPEC, context=RunContext((text_listener(report),)))
    told = made.details()
    told["stages"].insert(0, reading)
    told |= {
        "all": time.perf_counter() - began,
        "events": len(log),
        "items": log.n_items,
        "test_sessions": len(tested),
        "fold_scores": made.fold_scores,
    }
    out.write_text(json.dumps(told))


if __name__ == "__main__":
    main()
