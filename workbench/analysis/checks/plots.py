"""SVG plots for the page of a report, drawn by matplotlib."""

from __future__ import annotations

import importlib.util
import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from workbench.analysis.checks.data import brief
from workbench.analysis.checks.finding import Adversarial, ColumnDrift, Nulls, OrderPlot, Periods
from workbench.core.plot_style import MUTED, PRIMARY, SECONDARY, plot_style
from workbench.core.printable import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "can_plot",
    "drift_plot",
    "gains_plot",
    "nulls_plot",
    "order_plot",
    "periods_plot",
    "power_plot",
    "roc_plot",
    "target_plot",
]

TRAIN, TEST, QUIET = PRIMARY, SECONDARY, MUTED
MAX_LABEL_LENGTH = 22
SMALL = {
    "font_size": 8,
    "axes_titlesize": 9,
    "axes_titleweight": "bold",
    "axes_titlelocation": "left",
}
"""Styles of these plots, which are only two inches high."""

DRIFT_SIZE, HALF_WIDTH, FULL_WIDTH = (3.5, 2.4), 4.7, 8.6
"""Inches. Plots in one row of the page have the same height, and so have the cards around them."""

MIN_SLOTS = 6
"""A plot of fewer categories leaves space for this many bars, so that the bars do not become too thick."""


def can_plot() -> bool:
    """Return whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def _drawn(name: str, size: tuple[float, float], draw: Callable[[Axes], None]) -> str:
    """Draw one set of axes and return the SVG element, without declarations and metadata."""
    from matplotlib.figure import Figure

    # With a fixed salt the ids within the SVG are reproducible, and differ between the plots of a page.
    with plot_style(**SMALL, svg_hashsalt=name), warnings.catch_warnings():
        # matplotlib warns about characters that its font lacks; the browser has them.
        warnings.simplefilter("ignore")
        figure = Figure(figsize=size, layout="tight")
        draw(figure.subplots())
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    # The ids of groups are the same in every plot, and are not referenced.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    return re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2).replace(
        "<svg", f'<svg role="img" style="max-width: {1.3 * size[0]:.2f}in"', 1
    )


def _short(text: str, max_length: int = MAX_LABEL_LENGTH) -> str:
    """Return a text in one line, truncated to `max_length` characters."""
    text = one_line(text)
    return text if len(text) <= max_length else f"{text[: max_length - 1]}…"


def _percent(axis: Any) -> None:
    """Label an axis of shares in percent."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axis.set_major_locator(MaxNLocator(4))
    axis.set_major_formatter(PercentFormatter(1.0))


def drift_plot(drift: ColumnDrift) -> str:
    """Plot the distributions of a column in train and in test on the same axes; the page has the legend."""
    labels = [label for label, _, _ in drift.bars]
    train_shares, test_shares = ([bar[i] for bar in drift.bars] for i in (1, 2))

    def draw_histograms(ax: Axes) -> None:
        edges = [i - 0.5 for i in range(len(labels) + 1)]
        ax.stairs(train_shares, edges, fill=True, color=TRAIN, alpha=0.55)
        ax.stairs(test_shares, edges, color=TEST, linewidth=1.6)
        n_intervals = 2 if drift.kind == "time" else 4
        ticks = list(range(len(labels)))
        if len(labels) > 6:
            ticks = [round(i * (len(labels) - 1) / n_intervals) for i in range(n_intervals + 1)]
        ax.set_xticks(ticks, [_short(labels[i], 11) for i in ticks])
        _percent(ax.yaxis)

    def draw_categories(ax: Axes) -> None:
        positions = [float(i) for i in range(len(labels))]
        ax.barh([y - 0.2 for y in positions], train_shares, height=0.4, color=TRAIN, alpha=0.8)
        ax.barh([y + 0.2 for y in positions], test_shares, height=0.4, color=TEST, alpha=0.9)
        ax.set_yticks(positions, [_short(label, 16) for label in labels])
        ax.set_ylim(max(len(labels), MIN_SLOTS) - 0.4, -0.6)
        _percent(ax.xaxis)

    draw = draw_categories if drift.kind == "category" else draw_histograms

    def draw_titled(ax: Axes) -> None:
        draw(ax)
        ax.set_title(f"{_short(drift.column, 30)}   {drift.effect:.2f}")

    return _drawn(f"drift {drift.column}", DRIFT_SIZE, draw_titled)


def roc_plot(result: Adversarial) -> str:
    """Draw the ROC curve of the model that tells test from train."""

    def draw(ax: Axes) -> None:
        ax.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle="--")
        ax.plot([x for x, _ in result.roc], [y for _, y in result.roc], color=TEST, linewidth=1.8)
        ax.set(xlabel="share of train taken for test", ylabel="share of test detected", xlim=(0, 1), ylim=(0, 1.01))
        ax.set_title(f"telling test from train: AUC {result.auc:.3f}")

    return _drawn("roc", (HALF_WIDTH, _ranked_height(_shown_gains(result))), draw)


def _ranked_height(bars: Sequence[object]) -> float:
    """Return the height in inches of a plot of ranked bars."""
    return 0.75 + 0.21 * max(8, len(bars))


def _ranked(name: str, title: str, bars: Sequence[tuple[str, float]], label: str, low: float = 0.0) -> str:
    """Draw horizontal bars (name, value) from `low` on, in their order from the top."""

    def draw(ax: Axes) -> None:
        ax.barh(
            range(len(bars)),
            [max(0.0, value - low) for _, value in bars],
            left=low,
            height=0.7,
            color=TRAIN,
            alpha=0.85,
        )
        ax.set_yticks(range(len(bars)), [_short(column) for column, _ in bars])
        ax.set_ylim(max(len(bars), MIN_SLOTS) - 0.5, -0.5)
        for i, (_, value) in enumerate(bars):
            ax.text(max(value, low), i, f" {max(value, low):.2f}", va="center", fontsize=7.5, color="#444")
        ax.set(xlabel=label)
        ax.margins(x=0.14)
        ax.set_xlim(left=low)
        ax.set_title(title)

    return _drawn(name, (HALF_WIDTH, _ranked_height(bars)), draw)


def _shown_gains(result: Adversarial) -> Sequence[tuple[str, float]]:
    """Return the columns with the largest shares of the gain."""
    return result.gains[:12]


def gains_plot(result: Adversarial) -> str:
    """Draw the columns by which the model tells train from test."""
    return _ranked("gains", "by these columns", _shown_gains(result), "share of the gain")


def power_plot(power: Sequence[tuple[str, float, str]], target: str) -> str:
    """Draw how well each column alone predicts the target."""
    measure = power[0][2]
    bars = [(column, score) for column, score, _ in power[:15]]
    low = 0.5 if measure == "AUC" else 0.0
    return _ranked("power", f"how each column alone predicts {_short(target)}", bars, f"out-of-fold {measure}", low)


def target_plot(name: str, bars: Sequence[tuple[str, int]]) -> str:
    """Draw the distribution of a target."""

    def draw(ax: Axes) -> None:
        ax.bar(range(len(bars)), [n for _, n in bars], width=0.9, color=TRAIN, alpha=0.85)
        step = max(1, -(-len(bars) // 6))
        shown = list(range(0, len(bars), step))
        ax.set_xticks(shown, [_short(bars[i][0], 10) for i in shown])
        ax.yaxis.set_major_formatter(lambda v, _: brief(v))
        ax.set(ylabel="sampled train rows")
        ax.set_title(_short(name, 30))

    return _drawn(f"target {name}", (HALF_WIDTH, 2.6), draw)


def periods_plot(periods: Periods) -> str:
    """Draw the target by period, over bars of the number of rows."""
    labels = [label for label, _, _ in periods.lines]
    positions = range(len(labels))

    def draw(ax: Axes) -> None:
        counts_axes = ax.twinx()
        counts_axes.bar(positions, [n for _, n, _ in periods.lines], color=QUIET, alpha=0.25, width=0.9)
        counts_axes.set_ylabel("train rows", color=QUIET)
        counts_axes.spines["right"].set_visible(True)
        ax.plot(positions, [m for _, _, m in periods.lines], color=TRAIN, linewidth=1.6, marker="o", markersize=2.5)
        ax.yaxis.set_major_formatter(lambda v, _: brief(v))
        ax.set_zorder(counts_axes.get_zorder() + 1)
        ax.patch.set_visible(False)
        step = max(1, -(-len(labels) // 8))
        shown = list(range(0, len(labels), step))
        ax.set_xticks(shown, [_short(labels[i], 13) for i in shown])
        ax.set(xlabel=f"{periods.every} of {_short(periods.column)}", ylabel=_short(periods.what, 30))
        ax.set_title(f"{_short(periods.what, 40)} by {periods.every}")

    return _drawn("periods", (FULL_WIDTH, 2.9), draw)


def order_plot(order: OrderPlot, target: str) -> str:
    """Draw the target by row number or id."""

    def draw(ax: Axes) -> None:
        percentages = [100 * (i + 0.5) / len(order.means) for i in range(len(order.means))]
        ax.plot(percentages, order.means, color=TRAIN, linewidth=1.5, marker="o", markersize=2.5)
        spread = max(order.means) - min(order.means)
        if spread < 0.05:
            middle = sum(order.means) / len(order.means)
            ax.set_ylim(middle - 0.05, middle + 0.05)
        ax.set(
            xlabel=f"percent of the train rows, by {_short(order.column)}",
            ylabel=_short(f"mean rank of {target}" if order.measure == "R2" else target, 26),
        )
        ax.set_title(f"by {_short(order.column)}: {order.measure} {order.score:.3f}")

    return _drawn(f"order {order.column}", (HALF_WIDTH, 2.5), draw)


def nulls_plot(nulls: Nulls) -> str:
    """Draw the patterns of missing values: a row per pattern, dark where the column is missing."""
    columns_with_nulls = [c for c in nulls.shares if any(c in pattern for pattern, _ in nulls.patterns)]
    columns = sorted(columns_with_nulls, key=lambda c: -max(nulls.shares[c]))[:24]
    patterns = [(pattern, share) for pattern, share in nulls.patterns if not pattern or set(pattern) & set(columns)]

    def draw(ax: Axes) -> None:
        for i, (pattern, _) in enumerate(patterns):
            for j, column in enumerate(columns):
                color, alpha = (TEST, 0.9) if column in pattern else (TRAIN, 0.18)
                ax.barh(i, 0.9, left=j - 0.45, height=0.82, color=color, alpha=alpha)
        ax.set_yticks(range(len(patterns)), [f"{share:.2%} of rows" for _, share in patterns])
        ax.set_xticks(range(len(columns)), [_short(c, 18) for c in columns], rotation=40, ha="right")
        ax.invert_yaxis()
        ax.tick_params(length=0)
        for side in ax.spines.values():
            side.set_visible(False)
        ax.set_title("patterns of missing values (orange: missing)")

    width = min(FULL_WIDTH, max(HALF_WIDTH, 2.0 + 0.42 * len(columns)))
    return _drawn("nulls", (width, 1.3 + 0.22 * len(patterns)), draw)
