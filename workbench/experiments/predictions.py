"""The predictions of a run, of any kind of experiment: their scores and files."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.cache import atomic, file_sha256
from workbench.data.competition import ROW
from workbench.experiments.plan import Plan, sampled_rows
from workbench.ledger import RunRecord
from workbench.models.folds import Folds
from workbench.models.scoring import fold_scores, oof_score
from workbench.models.serving.submission_file import write_submission
from workbench.models.target import Target

__all__ = ["Predictions", "with_scores", "write_predictions"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """Predictions of the train and the test rows, with details for the run's record.

    Attributes
    ----------
    target, folds
        Of all train rows, or those of a subsample run.
    oof : float array (n_train, width), or None
        NaN in rows that no fold validates; None for a run that only writes a submission.
    test : float array (n_test, width)
    seed_oof : float array (n_seeds, n_train, width)
    n_features : int, or None
        None where it is unknown.
    importance : dict
        Column -> (gain, splits); empty where it is unknown.
    files : tuple of str
        Names of further files in the run's folder.
    details : dict
        For `run.json`.
    notes : tuple of str
        Messages for the user.
    peak_mb : float
        The peak memory of other processes than this one.
    cv : float, or None
        A CV that a notebook without OOF states.
    """

    target: Target
    folds: Folds
    oof: Floats | None
    test: Floats
    seed_oof: Floats
    n_features: int | None
    importance: dict[str, tuple[float, float]] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    peak_mb: float = 0.0
    cv: float | None = None


def with_scores(record: RunRecord, plan: Plan, predictions: Predictions) -> RunRecord:
    """Return the record with the scores of the predictions."""
    metric = plan.competition.metric
    if predictions.oof is None:
        return replace(record, cv_mean=predictions.cv, n_features=predictions.n_features)
    scores = fold_scores(predictions.target, predictions.folds, predictions.oof, metric)
    seed_scores: tuple[tuple[float, ...], ...] = (scores,)
    if len(predictions.seed_oof) > 1:
        seed_scores = tuple(
            fold_scores(predictions.target, predictions.folds, oof, metric) for oof in predictions.seed_oof
        )
    return replace(
        record,
        cv_mean=float(np.mean(scores)),
        cv_std=float(np.std(scores)),
        cv_folds=len(scores),
        oof_score=oof_score(predictions.target, predictions.folds, predictions.oof, metric),
        fold_scores=scores,
        seed_scores=seed_scores,
        n_features=predictions.n_features,
    )


def write_predictions(plan: Plan, folder: Path, predictions: Predictions) -> dict[str, str]:
    """Write OOF, test predictions, importances and the submission; return the SHA-256 of all files of the run."""
    frames = {
        "importance.parquet": pl.DataFrame(
            {
                "column": list(predictions.importance),
                "gain": [g for g, _ in predictions.importance.values()],
                "splits": [s for _, s in predictions.importance.values()],
            },
            schema={"column": pl.String, "gain": pl.Float64, "splits": pl.Float64},
        )
    }
    prediction_names = [f"pred_{name}" for name in predictions.target.labels]
    if predictions.oof is not None:
        oof = pl.DataFrame(predictions.oof, schema=prediction_names, orient="row")
        rows = np.arange(len(oof)) if plan.sample is None else sampled_rows(plan)
        keys = pl.DataFrame({ROW: rows.astype(np.uint32), "fold": predictions.folds.valid})
        frames["oof.parquet"] = keys.hstack(oof)
    if predictions.oof is not None and plan.sample is None:
        test = pl.DataFrame(predictions.test, schema=prediction_names, orient="row")
        frames["test.parquet"] = plan.competition.ids.test_frame().hstack(test)
    for name, frame in frames.items():
        with atomic(folder / name) as temporary:
            frame.write_parquet(temporary)
    file_names = list(frames)
    if plan.sample is None:
        if predictions.oof is not None:  # otherwise the notebook wrote it
            write_submission(
                plan.competition, plan.submission_form, plan.target, predictions.test, folder / "submission.csv"
            )
        file_names.append("submission.csv")
    return {name: file_sha256(folder / name) for name in (*file_names, *predictions.files)}
