"""The HTML page of a report: a single file without scripts or external resources, from ``page.html.jinja``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.analysis.checks import plots
from workbench.analysis.checks.finding import SEVERITIES, CheckReport
from workbench.core.distribution import install_hint
from workbench.core.html_page import page, rendered

__all__ = ["as_page"]

SHOWN_DRIFTS, SHOWN_ROWS = 9, 40
TEMPLATE = Path(__file__).with_name("page.html.jinja")
CSS = Path(__file__).with_name("page.css")


def as_page(report: CheckReport) -> str:
    """Return the page; without matplotlib it has tables only, and a note on how to install it."""
    can_plot = plots.can_plot()
    values = _texts(report) | {"can_plot": can_plot, "install_hint": install_hint("plots")}
    body = rendered(TEMPLATE, values, pictures=_pictures(report) if can_plot else {})
    return page(f"{report.slug}: checks", body, css=CSS.read_text(encoding="utf-8"))


def _texts(report: CheckReport) -> dict[str, Any]:
    """Return the values of the template, except the plots."""
    counts, result, periods = report.counts(), report.adversarial, report.periods
    sizes = (report.n_train, report.n_test)
    tile_rows = [(f"{counts[s]}", s, s) for s in SEVERITIES]
    tile_rows += [(f"{report.n_train:,}", "train rows", ""), (f"{report.n_test:,}", "test rows", "")]
    null_shares = sorted(((c, s) for c, s in report.nulls.shares.items() if max(s) > 0), key=lambda item: -max(item[1]))
    return {
        "report": report,
        "tiles": [*tile_rows, (f"{len(report.columns):,}", "columns", "")],
        "sample": {
            side: f"{taken:,} of {n_rows:,}"
            for side, taken, n_rows in zip(("train", "test"), report.sampled, sizes, strict=True)
        }
        if report.sampled != sizes
        else {},
        "findings": report.findings,
        "drift_rows": [
            (
                *(d.column, d.kind, f"{d.effect:.3f}", f"{d.psi:.3f}", "" if d.unseen is None else f"{d.unseen:.1%}"),
                *(f"{share:.1%}" if share else "" for share in (d.nulls_train, d.nulls_test)),
            )
            for d in report.drift[:SHOWN_ROWS]
        ],
        "drift_left": len(report.drift) - SHOWN_ROWS,
        "chance": 0.5 if result is None else min(1.0, 0.5 + result.noise),
        "gain_rows": [] if result is None else [(column, f"{gain:.1%}") for column, gain in result.gains[:12]],
        "power_rows": [(column, f"{score:.3f}") for column, score, _ in report.power[:SHOWN_ROWS]],
        "target_rows": [(name, [(value, f"{n:,}") for value, n in bars]) for name, bars in report.target],
        "period_rows": [(p, f"{n:,}", f"{mean:.4g}") for p, n, mean in (periods.lines if periods else ())],
        "order_rows": [(o.column, f"{o.measure} {o.score:.3f}") for o in report.order],
        "null_rows": [(column, f"{a:.2%}", f"{b:.2%}") for column, (a, b) in null_shares[:SHOWN_ROWS]],
    }


def _pictures(report: CheckReport) -> dict[str, str | list[str]]:
    """Return the SVG plots of the template, by name; "" or [] for those without data."""
    result, periods = report.adversarial, report.periods
    target = report.target[0][0] if report.target else ""
    adversarial_plots = [] if result is None else [plots.roc_plot(result)]
    if result is not None and result.gains:
        adversarial_plots.append(plots.gains_plot(result))
    has_nulls = any(max(shares) > 0 for shares in report.nulls.shares.values())
    return {
        "drift_plots": [plots.drift_plot(d) for d in report.drift[:SHOWN_DRIFTS] if d.bars],
        "adversarial_plots": adversarial_plots,
        "power_plots": [plots.power_plot(report.power, target)] if report.power else [],
        "target_plots": [plots.target_plot(name, bars) for name, bars in report.target if bars],
        "periods_plot": plots.periods_plot(periods) if periods else "",
        "order_plots": [plots.order_plot(o, target) for o in report.order if o.means],
        "nulls_plot": plots.nulls_plot(report.nulls) if has_nulls and report.nulls.patterns else "",
    }
