"""A run's results as frames: scores by fold, worst rows, calibration, residuals, confusion, drift."""

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
LEAST = 1e-15
"""A probability is no closer to 0 or 1 than this, so that its logarithm is a number."""


@dataclass(frozen=True)
class RunView:
    """The results of a finished run as frames.

    Attributes
    ----------
    competition : Competition
    run : FinishedRun
    base : FinishedRun, or None
        The finished run of the experiment that it is based on.
    """

    competition: Competition
    run: FinishedRun
    base: FinishedRun | None = None

    def __post_init__(self) -> None:
        if self.run.record.sample is not None:
            raise NotFoundError(
                f"run {self.run.record.run_id} is a subsample run: there is no report of it",
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
        """OOF predictions (n_train, width)."""
        return self.run.oof_array

    @cached_property
    def test(self) -> Floats:
        """Test predictions (n_test, width)."""
        frame = self.run.test
        return frame.select([c for c in frame.columns if c.startswith("pred_")]).to_numpy()

    @cached_property
    def details(self) -> dict[str, Any]:
        """The content of `run.json` besides the record."""
        return read_run(self.run.folder)[1]

    @property
    def task(self) -> str:
        """The task of the first target column."""
        return self.target.columns[0].task

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """The train rows that are validated in a fold, ascending."""
        return np.flatnonzero(self.folds.covered)

    @property
    def change(self) -> Change | None:
        """The change against the base; positive is better."""
        if self.base is None:
            return None
        return change_against(self.run.record, self.base.record, self.folds.size_ratio)

    def _first(self, values: Floats) -> Floats:
        return values[:, self.target.slices[0]]

    # ------------------------------------------------------------------------------------------------------- frames

    def scores(self) -> pl.DataFrame:
        """Return a row per fold: numbers of rows, score, best rounds, and the base's score with the change."""
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
            base = pl.Series("base", self.base.record.fold_scores)
            frame = frame.with_columns(base).with_columns(better=sign * (pl.col(record.metric) - pl.col("base")))
        return frame

    def losses(self) -> Floats:
        """Return each validated row's loss: the log loss for classes, else the absolute error."""
        column, rows = self.target.columns[0], self.rows
        predicted, truth = self._first(self.oof)[rows], column.values[rows]
        if column.task == "binary":
            truth_probability = np.where(truth == 1, predicted[:, 0], 1 - predicted[:, 0])
        elif column.task == "multiclass":
            truth_probability = predicted[np.arange(len(rows)), truth.astype(np.int64)]
        else:
            return np.asarray(np.abs(predicted[:, 0] - truth))
        return np.asarray(-np.log(np.clip(truth_probability, LEAST, 1.0)))

    def worst(self, n: int = 15) -> pl.DataFrame:
        """Return the rows with the greatest losses, with their columns of the train table."""
        rows, losses, column = self.rows, self.losses(), self.target.columns[0]
        order = np.argsort(-losses, kind="stable")[:n]
        chosen = rows[order]
        predicted = self._first(self.oof)[chosen]
        shown = predicted[:, 0] if column.width == 1 else [column.labels[k] for k in predicted.argmax(axis=1)]
        head = pl.DataFrame(
            {
                ROW: chosen.astype(np.uint32),
                "fold": self.folds.valid[chosen],
                "loss": losses[order],
                "predicted": shown,
            }
        )
        table = self.competition.table(self.competition.definition.tables.train).with_row_index(ROW)
        train_rows = table.filter(pl.col(ROW).is_in(chosen.tolist())).collect()
        return head.join(train_rows, on=ROW, how="left", maintain_order="left").drop(ROW)

    def calibration(self, bins: int = 10) -> pl.DataFrame:
        """Return a row per bin of equally many rows: the mean prediction, the share of positives, the rows."""
        rows = self.rows
        predicted, truth = self._first(self.oof)[rows, 0], self.target.columns[0].values[rows]
        order = np.argsort(predicted, kind="stable")
        parts = [p for p in np.array_split(order, min(bins, len(order))) if len(p)]
        return pl.DataFrame(
            {
                "predicted": [predicted[p].mean() for p in parts],
                "true": [truth[p].mean() for p in parts],
                "rows": [len(p) for p in parts],
            }
        )

    def confusion(self) -> pl.DataFrame:
        """Return the number of rows of each class by predicted class, the likeliest."""
        column, rows = self.target.columns[0], self.rows
        predicted, truth = self._first(self.oof)[rows], column.values[rows].astype(np.int64)
        predicted_class = predicted.argmax(axis=1) if column.width > 1 else (predicted[:, 0] >= 0.5).astype(np.int64)
        names = [str(c) for c in column.classes or ()]
        n = len(names)
        counts = np.bincount(truth * n + predicted_class, minlength=n * n).reshape(n, n)
        return pl.DataFrame({"true": names, **{name: counts[:, k] for k, name in enumerate(names)}})

    def residuals(self) -> pl.DataFrame:
        """Return truth, prediction and residual of each validated row."""
        rows = self.rows
        predicted, truth = self._first(self.oof)[rows, 0], self.target.columns[0].values[rows]
        return pl.DataFrame({"true": truth, "predicted": predicted, "residual": truth - predicted})

    def importance(self, n: int = 25) -> pl.DataFrame:
        """Return the columns with the most gain, as shares of the total; empty where the run has no importances."""
        frame = self.run.importance
        total = float(frame["gain"].sum() or 0.0)
        if not total:
            return frame.head(0).with_columns(share=pl.lit(0.0))
        return frame.with_columns(share=pl.col("gain") / total).sort("gain", descending=True).head(n)

    def curves(self) -> pl.DataFrame:
        """Return the stopping metric by fold, seed and round, of validated rows and, where recorded, of train rows."""
        frames = [
            pl.DataFrame({"round": range(1, len(model[key]) + 1), "value": model[key]}).with_columns(
                fold=pl.lit(model["fold"]), seed=pl.lit(model["seed"]), of=pl.lit(of)
            )
            for model in self.details.get("models", ())
            for key, of in (("curve", "validated"), ("train_curve", "train"))
            if model.get(key) and model["target"] == 0
        ]
        schema = {"round": pl.Int64, "value": pl.Float64, "fold": pl.Int32, "seed": pl.Int32, "of": pl.String}
        return pl.concat(frames) if frames else pl.DataFrame(schema=schema)

    def drift(self) -> pl.DataFrame:
        """Return quantiles of OOF and test predictions by prediction column, and their KS distance."""
        levels = (0.01, 0.25, 0.5, 0.75, 0.99)
        rows = []
        for k, name in enumerate(self.target.labels):
            of = {"OOF": self.oof[self.rows, k], "test": self.test[:, k]}
            distance = ks_statistic(of["OOF"], of["test"])
            rows += [
                {
                    "column": name,
                    "of": side,
                    **{f"{q:.0%}": float(np.quantile(values, q)) for q in levels},
                    "KS": distance,
                }
                for side, values in of.items()
            ]
        return pl.DataFrame(rows)

    def against_base(self) -> pl.DataFrame | None:
        """Return the share of rows whose loss is better or worse than the base's, and by how much; None without one."""
        if self.base is None or self.base.record.folds_hash != self.run.record.folds_hash:
            return None
        other = RunView(self.competition, self.base)
        gain = other.losses() - self.losses()
        names = ("better", "alike", "worse")
        parts = (gain > 0, gain == 0, gain < 0)
        return pl.DataFrame(
            {
                "rows": names,
                "share": [float(p.mean()) for p in parts],
                "mean change of the loss": [float(-gain[p].mean()) if p.any() else 0.0 for p in parts],
            }
        )


def _mean_by(models: Sequence[Mapping[str, Any]], key: str, value: str) -> dict[int, float]:
    grouped: dict[int, list[float]] = {}
    for model in models:
        grouped.setdefault(model[key], []).append(model[value])
    return {k: float(np.mean(v)) for k, v in grouped.items() if k >= 0}
