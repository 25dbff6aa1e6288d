"""Figures of a run and of a competition, one per function."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from workbench.core.distribution import install_hint
from workbench.core.errors import ConfigError
from workbench.core.plot_style import MUTED, PRIMARY, SECONDARY, style
from workbench.features.encoded import as_seconds, is_unsupported
from workbench.review.report.overview import Overview
from workbench.review.report.view import RunView

__all__ = [
    "calibration",
    "columns",
    "confusion",
    "curves",
    "distribution",
    "importance",
    "residuals",
    "scores",
    "target",
]

RUN_COLOR, BASE_COLOR, QUIET_COLOR = PRIMARY, SECONDARY, MUTED

MAX_CLASSES = 30
"""A confusion matrix of more classes is not legible."""

MAX_POINTS = 20_000
"""The number of residuals that are drawn; of more, evenly spaced ones."""


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as exc:
        raise ConfigError("the report needs matplotlib", hint=install_hint("notebooks")) from exc
    # For the whole process, as a notebook renders figures after the function has returned.
    plt.rcParams.update(style())
    return plt


def _axes(width: float = 7.0, height: float = 3.2) -> tuple[Any, Any]:
    figure, axes = _pyplot().subplots(figsize=(width, height), layout="constrained")
    return figure, axes


def _bins(values: Any, tail_share: float, n_edges: int) -> Any:
    """Return `n_edges` edges of bins; the share `tail_share` of the values is cut off at each end."""
    low, high = np.quantile(values, [tail_share, 1 - tail_share])
    return np.linspace(low, high if high > low else low + 1, n_edges)


def scores(view: RunView) -> Any:
    """Draw the scores of the folds, with those of the base."""
    frame, metric = view.scores(), view.run.record.metric
    figure, axes = _axes()
    axes.plot(frame["fold"], frame[metric], "o-", color=RUN_COLOR, label=f"experiment {view.run.record.exp}")
    if "base" in frame.columns and view.base is not None:
        axes.plot(frame["fold"], frame["base"], "o--", color=BASE_COLOR, label=f"experiment {view.base.record.exp}")
    axes.axhline(view.run.record.cv_mean, color=RUN_COLOR, lw=0.8, alpha=0.5)
    axes.set(xlabel="fold", ylabel=metric, xticks=frame["fold"].to_list())
    if view.run.record.optimistic:
        axes.set_title(f"optimistic: {view.run.record.optimistic}", fontsize="medium")
    axes.legend(frameon=False)
    return figure


def distribution(view: RunView) -> Any:
    """Draw the distribution of OOF and test predictions (first column); OOF by class for binary targets."""
    figure, axes = _axes()
    column = view.target.columns[0]
    oof_predictions, test_predictions = view.oof[view.rows, 0], view.test[:, 0]
    bins = _bins(np.concatenate([oof_predictions, test_predictions]), 0.001, 60)
    if column.task == "binary":
        truth = column.values[view.rows]
        for value, color in ((0, QUIET_COLOR), (1, RUN_COLOR)):
            label = f"OOF, {column.name} = {(column.classes or (0, 1))[value]}"
            axes.hist(oof_predictions[truth == value], bins, density=True, alpha=0.6, color=color, label=label)
    else:
        axes.hist(oof_predictions, bins, density=True, alpha=0.6, color=RUN_COLOR, label="OOF")
    axes.hist(test_predictions, bins, density=True, histtype="step", color=BASE_COLOR, lw=1.5, label="test")
    axes.set(xlabel=f"prediction of {view.target.labels[0]}", ylabel="density")
    axes.legend(frameon=False)
    return figure


def calibration(view: RunView) -> Any:
    """Draw the share of positives over the prediction, in bins of equal size."""
    frame = view.calibration()
    figure, axes = _axes(4.6, 4.2)
    upper = 1.05 * float(frame.select("predicted", "true").to_numpy().max()) or 1.0
    axes.plot([0, upper], [0, upper], color=QUIET_COLOR, lw=1)
    axes.plot(frame["predicted"], frame["true"], "o-", color=RUN_COLOR)
    axes.set(xlabel="predicted", ylabel="share of positives", xlim=(0, upper), ylim=(0, upper))
    return figure


def confusion(view: RunView) -> Any:
    """Draw the share of each class's rows by predicted class; None if there are too many classes."""
    frame = view.confusion()
    if frame.height > MAX_CLASSES:
        return None
    counts = frame.drop("true").to_numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = max(3.2, 0.5 * frame.height)
    figure, axes = _axes(size + 1, size)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = frame["true"].to_list()
    axes.set(xlabel="predicted", ylabel="true", xticks=range(len(names)), yticks=range(len(names)))
    axes.set_xticklabels(names, rotation=60)
    axes.set_yticklabels(names)
    for (i, k), share in np.ndenumerate(shares):
        if share >= 0.005:
            axes.text(
                k, i, f"{share:.0%}", ha="center", va="center", fontsize=8, color="white" if share > 0.5 else "black"
            )
    return figure


def residuals(view: RunView) -> Any:
    """Draw the residuals over the predictions, with their median in bins of equal size."""
    frame = view.residuals()
    figure, axes = _axes()
    drawn_rows = frame.gather_every(max(1, frame.height // MAX_POINTS))
    axes.scatter(drawn_rows["predicted"], drawn_rows["residual"], s=4, alpha=0.25, color=QUIET_COLOR, linewidths=0)
    predicted, residual = frame["predicted"].to_numpy(), frame["residual"].to_numpy()
    row_bins = np.array_split(np.argsort(predicted, kind="stable"), min(20, frame.height))
    medians = [(float(np.median(predicted[b])), float(np.median(residual[b]))) for b in row_bins if len(b)]
    axes.plot(*zip(*medians, strict=True), "o-", color=RUN_COLOR, label="median")
    low, high = np.quantile(residual, [0.002, 0.998])
    axes.axhline(0, color="black", lw=0.8)
    axes.set(xlabel="predicted", ylabel="true minus predicted", ylim=(low, high) if high > low else None)
    axes.legend(frameon=False)
    return figure


def importance(view: RunView, n: int = 25) -> Any:
    """Draw the columns with the largest gain; None if the run has no importances."""
    frame = view.importance(n).reverse()
    if not frame.height:
        return None
    figure, axes = _axes(7, 0.6 + 0.24 * frame.height)
    axes.barh(frame["column"], frame["share"], color=RUN_COLOR)
    axes.set(xlabel="share of the gain")
    return figure


def curves(view: RunView) -> Any:
    """Draw the early-stopping metric of the first seed by round, a line per fold; None if it was not recorded."""
    frame = view.curves()
    if not frame.height:
        return None
    frame = frame.filter(pl.col("seed") == frame["seed"][0])
    figure, axes = _axes()
    for (row_kind, fold), curve in frame.group_by(["of", "fold"], maintain_order=True):
        color = RUN_COLOR if row_kind == "validated" else BASE_COLOR
        axes.plot(curve["round"], curve["value"], color=color, lw=1, alpha=0.8, label=row_kind if fold == 0 else None)
    values = frame["value"].to_numpy()
    # Without the first rounds, which are far from the others.
    low, high = np.quantile(values, [0.0, 0.97]) if values[-1] < values[0] else np.quantile(values, [0.03, 1.0])
    axes.set(xlabel="round", ylabel="stopping metric", ylim=(low, high) if high > low else None)
    axes.legend(frameon=False)
    return figure


def target(overview: Overview) -> Any:
    """Draw the distribution of the target."""
    column = overview.target.columns[0]
    figure, axes = _axes()
    if column.classes is not None:
        frame = overview.target_summary().head(MAX_CLASSES)
        axes.bar(frame[column.name], frame["rows"], color=RUN_COLOR)
        axes.tick_params(axis="x", rotation=60 if frame.height > 6 else 0)
        axes.set(ylabel="rows")
    else:
        axes.hist(column.values, _bins(column.values, 0.002, 60), color=RUN_COLOR)
        axes.set(xlabel=column.name, ylabel="rows")
    return figure


MAX_DRAWN = 1e150
"""The density of values near the square root of the largest float or above would overflow."""


def columns(overview: Overview, n: int = 12) -> Any:
    """Draw the first `n` columns of train and test: numbers as densities, categories as shares."""
    types = overview.side("train").collect_schema()
    names = [c for c in overview.columns if not is_unsupported(types[c])][:n]
    if not names:
        return None
    plt = _pyplot()
    n_across = min(3, len(names))
    n_down = -(-len(names) // n_across)
    figure, grid = plt.subplots(
        n_down, n_across, figsize=(3.6 * n_across, 2.4 * n_down), layout="constrained", squeeze=False
    )
    for index, axes in enumerate(grid.flat):
        if index >= len(names):
            axes.set_visible(False)
            continue
        _draw_column(axes, names[index], overview)
    return figure


def _draw_column(axes: Any, name: str, overview: Overview) -> None:
    """Draw the distribution of a column in train and test."""
    values_by_side = {side: frame[name].drop_nulls() for side, frame in overview.sample.items()}
    axes.set_title(name, fontsize=10)
    dtype = overview.sample["train"][name].dtype
    if dtype in (pl.Duration, pl.Time):
        values_by_side = {
            side: s.to_frame().select(as_seconds(pl.col(name), s.dtype)).to_series()
            for side, s in values_by_side.items()
        }
    elif dtype.is_temporal():
        # Matplotlib counts dates in days since 1970.
        values_by_side = {
            side: values.cast(pl.Datetime("us")).dt.epoch("s") / 86_400 for side, values in values_by_side.items()
        }
        axes.xaxis_date()
        axes.tick_params(axis="x", labelsize=7, rotation=30)
    values_by_side = {
        side: s.cast(pl.Float64) if s.dtype.is_numeric() else s.cast(pl.String) for side, s in values_by_side.items()
    }
    if all(s.dtype == pl.Float64 for s in values_by_side.values()):
        # Infinite values can't be drawn, nor the density of values whose squares overflow.
        values_by_side = {side: s.filter(s.is_finite() & (s.abs() < MAX_DRAWN)) for side, s in values_by_side.items()}
    else:
        values_by_side = {side: s.cast(pl.String) for side, s in values_by_side.items()}
    all_values = pl.concat(values_by_side.values())
    if not len(all_values):
        return
    if all_values.dtype == pl.Float64:
        low, high = all_values.quantile(0.005), all_values.quantile(0.995)
        bins = np.linspace(low, high if high > low else low + 1, 40)  # type: ignore[operator, arg-type]
        for (side, values), color in zip(values_by_side.items(), (RUN_COLOR, BASE_COLOR), strict=True):
            style = "stepfilled" if side == "train" else "step"
            axes.hist(values.to_numpy(), bins, density=True, histtype=style, alpha=0.7, color=color, label=side)
    else:
        top_values = all_values.value_counts(sort=True)[name].head(8).to_list()
        for shift, ((side, values), color) in enumerate(
            zip(values_by_side.items(), (RUN_COLOR, BASE_COLOR), strict=True)
        ):
            texts = values.cast(pl.String)
            shares = [float((texts == value).sum()) / max(1, len(texts)) for value in top_values]
            axes.barh([i + 0.4 * shift for i in range(len(top_values))], shares, 0.38, color=color, label=side)
        axes.set_yticks([i + 0.2 for i in range(len(top_values))], [str(t)[:14] for t in top_values], fontsize=7)
        axes.invert_yaxis()
    axes.legend(frameon=False, fontsize=7)
