"""A run's results as frames: fold scores, worst rows, calibration, residuals, confusion, drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.analysis.checks.drift import ks_statistic
from workbench.core.errors import NotFoundError
from workbench.data.competition import ROW, Competition
from workbench.experiments.run_folder import FinishedRun, read_run
from workbench.models.folds import Folds, load_folds
from workbench.models.target import Target, read_target
from workbench.review.table import Change, change_against

__all__ = ["RunView"]

Floats = npt.NDArray[np.float64]
MIN_PROBABILITY = 1e-15
"""Smaller probabilities are raised to this one, so that their logarithm is finite."""


@dataclass(frozen=True)
class RunView:
    """The results of a finished run as frames.

    It has a method for each section of the report: notebooks, also those of users, call them by name.

    Attributes
    ----------
    competition : Competition
    run : FinishedRun
    base : FinishedRun, or None
        The finished run of the experiment that it is based on, to compare with.
    """

    competition: Competition
    run: FinishedRun
    base: FinishedRun | None = None

    def __post_init__(self) -> None:
        if self.run.record.sample is not None:
            raise NotFoundError(
                f"run {self.run.record.run_id} is a subsample run, which has no report",
                hint=f"`wb run {self.run.record.exp}` runs it on all rows",
            )

    @cached_property
    def target(self) -> Target:
        """The truth of the train rows."""
        return read_target(self.competition)

    @cached_property
    def folds(self) -> Folds:
        """The folds that the run was scored on."""
        return load_folds(self.competition)

    @cached_property
    def oof(self) -> Floats:
        """The OOF predictions (n_train, width)."""
        return self.run.oof_array

    @cached_property
    def test(self) -> Floats:
        """The test predictions (n_test, width)."""
        frame = self.run.test
        return frame.select([c for c in frame.columns if c.startswith("pred_")]).to_numpy()

    @cached_property
    def details(self) -> dict[str, Any]:
        """The content of `run.json` except the record."""
        return read_run(self.run.folder)[1]

    @property
    def task(self) -> str:
        """The task of the first target column."""
        return self.target.columns[0].task

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """The train rows that are validated in some fold, ascending."""
        return np.flatnonzero(self.folds.covered)

    @property
    def change(self) -> Change | None:
        """The change against the base; positive is better."""
        if self.base is None:
            return None
        return change_against(self.run.record, self.base.record, self.folds.size_ratio)

    def _first_target(self, values: Floats) -> Floats:
        """Return the prediction columns of the first target."""
        return values[:, self.target.slices[0]]

    # ------------------------------------------------------------------------------------------------------- frames

    def scores(self) -> pl.DataFrame:
        """Return a row per fold: numbers of rows, score, mean of the best rounds, the base's score, the improvement."""
        record = self.run.record
        frame = pl.DataFrame(
            {
                "fold": range(len(record.fold_scores)),
                "trained on": [len(self.folds.train_rows(k)) for k in range(self.folds.n_folds)],
                "validated": [len(self.folds.valid_rows(k)) for k in range(self.folds.n_folds)],
                record.metric: record.fold_scores,
            }
        )
        rounds = _mean_by(self.details.get("models", ()), "fold", "rounds")
        if any(rounds.values()):
            frame = frame.with_columns(rounds=pl.Series([rounds.get(k) for k in range(len(frame))]))
        if self.base is not None and self.base.record.folds_hash == record.folds_hash:
            sign = 1 if record.greater_is_better else -1
            base_scores = pl.Series("base", self.base.record.fold_scores)
            frame = frame.with_columns(base_scores).with_columns(better=sign * (pl.col(record.metric) - pl.col("base")))
        return frame

    def losses(self) -> Floats:
        """Return the loss of each validated row: the log loss for classes, else the absolute error."""
        column, rows = self.target.columns[0], self.rows
        predicted, truth = self._first_target(self.oof)[rows], column.values[rows]
        if column.task == "binary":
            truth_probability = np.where(truth == 1, predicted[:, 0], 1 - predicted[:, 0])
        elif column.task == "multiclass":
            truth_probability = predicted[np.arange(len(rows)), truth.astype(np.int64)]
        else:
            return np.asarray(np.abs(predicted[:, 0] - truth))
        return np.asarray(-np.log(np.clip(truth_probability, MIN_PROBABILITY, 1.0)))

    def worst(self, n: int = 15) -> pl.DataFrame:
        """Return the `n` rows with the largest losses, with their columns of the train table."""
        rows, losses, column = self.rows, self.losses(), self.target.columns[0]
        order = np.argsort(-losses, kind="stable")[:n]
        worst_rows = rows[order]
        predicted = self._first_target(self.oof)[worst_rows]
        predictions = predicted[:, 0] if column.width == 1 else [column.labels[k] for k in predicted.argmax(axis=1)]
        frame = pl.DataFrame(
            {
                ROW: worst_rows.astype(np.uint32),
                "fold": self.folds.valid[worst_rows],
                "loss": losses[order],
                "predicted": predictions,
            }
        )
        table = self.competition.table(self.competition.definition.tables.train).with_row_index(ROW)
        train_rows = table.filter(pl.col(ROW).is_in(worst_rows.tolist())).collect()
        return frame.join(train_rows, on=ROW, how="left", maintain_order="left").drop(ROW)

    def calibration(self, bins: int = 10) -> pl.DataFrame:
        """Return for bins of equal size the mean prediction, the share of positives and the number of rows."""
        rows = self.rows
        predicted, truth = self._first_target(self.oof)[rows, 0], self.target.columns[0].values[rows]
        order = np.argsort(predicted, kind="stable")
        row_bins = [rows_of_bin for rows_of_bin in np.array_split(order, min(bins, len(order))) if len(rows_of_bin)]
        return pl.DataFrame(
            {
                "predicted": [predicted[b].mean() for b in row_bins],
                "true": [truth[b].mean() for b in row_bins],
                "rows": [len(b) for b in row_bins],
            }
        )

    def confusion(self) -> pl.DataFrame:
        """Return the number of rows by true class and most likely class."""
        column, rows = self.target.columns[0], self.rows
        predicted, truth = self._first_target(self.oof)[rows], column.values[rows].astype(np.int64)
        predicted_class = predicted.argmax(axis=1) if column.width > 1 else (predicted[:, 0] >= 0.5).astype(np.int64)
        names = [str(c) for c in column.classes or ()]
        n_classes = len(names)
        counts = np.bincount(truth * n_classes + predicted_class, minlength=n_classes**2).reshape(n_classes, n_classes)
        return pl.DataFrame({"true": names, **{name: counts[:, k] for k, name in enumerate(names)}})

    def residuals(self) -> pl.DataFrame:
        """Return truth, prediction and residual of each validated row."""
        rows = self.rows
        predicted, truth = self._first_target(self.oof)[rows, 0], self.target.columns[0].values[rows]
        return pl.DataFrame({"true": truth, "predicted": predicted, "residual": truth - predicted})

    def importance(self, n: int = 25) -> pl.DataFrame:
        """Return the `n` columns with the largest gain and their shares of it; empty if the run has no importances."""
        frame = self.run.importance
        total_gain = float(frame["gain"].sum() or 0.0)
        if not total_gain:
            return frame.head(0).with_columns(share=pl.lit(0.0))
        return frame.with_columns(share=pl.col("gain") / total_gain).sort("gain", descending=True).head(n)

    def curves(self) -> pl.DataFrame:
        """Return the stopping metric by fold, seed and round, of validated rows and, if recorded, of train rows."""
        frames = [
            pl.DataFrame({"round": range(1, len(model[key]) + 1), "value": model[key]}).with_columns(
                fold=pl.lit(model["fold"]), seed=pl.lit(model["seed"]), of=pl.lit(row_kind)
            )
            for model in self.details.get("models", ())
            for key, row_kind in (("curve", "validated"), ("train_curve", "train"))
            if model.get(key) and model["target"] == 0
        ]
        schema = {"round": pl.Int64, "value": pl.Float64, "fold": pl.Int32, "seed": pl.Int32, "of": pl.String}
        return pl.concat(frames) if frames else pl.DataFrame(schema=schema)

    def drift(self) -> pl.DataFrame:
        """Return quantiles of OOF and test predictions by prediction column, and their KS distance."""
        levels = (0.01, 0.25, 0.5, 0.75, 0.99)
        rows = []
        for i, name in enumerate(self.target.labels):
            predictions = {"OOF": self.oof[self.rows, i], "test": self.test[:, i]}
            distance = ks_statistic(predictions["OOF"], predictions["test"])
            rows += [
                {
                    "column": name,
                    "of": source,
                    **{f"{q:.0%}": float(np.quantile(values, q)) for q in levels},
                    "KS": distance,
                }
                for source, values in predictions.items()
            ]
        return pl.DataFrame(rows)

    def against_base(self) -> pl.DataFrame | None:
        """Return the share and mean change of rows with a better, equal or worse loss than the base, if any."""
        if self.base is None or self.base.record.folds_hash != self.run.record.folds_hash:
            return None
        improvement = RunView(self.competition, self.base).losses() - self.losses()
        names = ("better", "alike", "worse")
        masks = (improvement > 0, improvement == 0, improvement < 0)
        return pl.DataFrame(
            {
                "rows": names,
                "share": [float(mask.mean()) for mask in masks],
                "mean change of the loss": [float(-improvement[mask].mean()) if mask.any() else 0.0 for mask in masks],
            }
        )


def _mean_by(models: Sequence[Mapping[str, Any]], key: str, value_key: str) -> dict[int, float]:
    """Return the mean of an entry of models by the entry `key`, without negative keys (models of all rows)."""
    values_by_key: dict[int, list[float]] = {}
    for model in models:
        values_by_key.setdefault(model[key], []).append(model[value_key])
    return {k: float(np.mean(values)) for k, values in values_by_key.items() if k >= 0}
