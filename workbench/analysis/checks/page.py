"""The page of a report: one file, no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.analysis.checks import plots
from workbench.analysis.checks.finding import SEVERITIES, ColumnDrift, Report
from workbench.core.distribution import install_hint
from workbench.core.html_page import as_html, page

__all__ = ["as_page"]

SHOWN_DRIFTS, SHOWN_LINES = 9, 40

CSS = """
:root { --ink: #1d2733; --quiet: #667; --line: #dde2e8; --back: #fff; --soft: #f5f7f9;
  --serious: #b3261e; --notable: #a05a00; --minor: #4a6a8a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --quiet: #9aa5b1; --line: #39434e; --back: #161b21; --soft: #1f262e;
    --serious: #ff8a80; --notable: #ffb74d; --minor: #90b4d8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 28px 24px 60px; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 24px; margin: 0; } h2 { font-size: 18px; margin: 40px 0 4px; border-top: 1px solid var(--line);
  padding-top: 18px; } p { margin: 4px 0 12px; max-width: 78ch; } .quiet { color: var(--quiet); }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; margin: 18px 0 8px; }
.tile { background: var(--soft); border-radius: 8px; padding: 8px 16px; min-width: 104px; }
.tile b { display: block; font-size: 22px; line-height: 1.25; } .tile span { color: var(--quiet); font-size: 13px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; margin: 8px 0 14px; }
th { text-align: left; color: var(--quiet); font-weight: 600; border-bottom: 1px solid var(--line);
  padding: 5px 12px 5px 0; }
td { border-bottom: 1px solid var(--line); padding: 6px 12px 6px 0; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
code { font: 13px ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: break-word; }
.serious { color: var(--serious); font-weight: 600; } .notable { color: var(--notable); font-weight: 600; }
.minor { color: var(--minor); }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(310px, 1fr)); gap: 12px; align-items: start; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 12px; align-items: start; }
figure { margin: 0; background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: 8px; }
figure svg { display: block; width: 100%; height: auto; }
.two figure { max-width: 520px; } figure.wide { max-width: 960px; }
.two + figure.wide { margin-top: 12px; }
@media print { body { max-width: none; padding: 0; font-size: 12px; } h2 { break-after: avoid; }
  figure, tr { break-inside: avoid; } }
"""


def as_page(report: Report) -> str:
    """Return the page; without matplotlib it has tables only, and says how to get plots."""
    sections = [
        _head(report),
        _findings(report),
        _drift(report),
        _adversarial(report),
        _single(report),
        _target(report),
        _order(report),
        _nulls(report),
        _rest(report),
    ]
    body = "\n".join(s for s in sections if s)
    return page(f"{report.slug}: checks", body, css=CSS)


def _head(report: Report) -> str:
    counts = report.counts()
    tiles = [(f"{counts[s]}", s, s) for s in SEVERITIES]
    tiles += [(f"{report.n_train:,}", "train rows", ""), (f"{report.n_test:,}", "test rows", "")]
    tiles += [(f"{len(report.columns):,}", "columns", "")]
    drawn = "".join(f'<div class="tile"><b class="{c}">{n}</b><span>{what}</span></div>' for n, what, c in tiles)
    notes = [_sample_note(report)]
    if not plots.can_plot():
        notes.append(f"There are no plots: <code>{as_html(install_hint('plots'))}</code> brings them.")
    said = "".join(f'<p class="quiet">{n}</p>' for n in notes)
    return (
        f'<header><h1>{as_html(report.title)}</h1><p class="quiet">What to look at before training: '
        f'<code>wb check -c {as_html(report.slug)}</code></p>\n<div class="tiles">{drawn}</div>{said}</header>'
    )


def _sample_note(report: Report) -> str:
    taken, tested = report.sampled
    if taken < report.n_train or tested < report.n_test:
        return (
            f"Distributions and models are of a sample, chosen by a fixed seed: {taken:,} of {report.n_train:,} train "
            f"rows and {tested:,} of {report.n_test:,} test rows. Nulls, constants, repeated rows and the target by "
            "time are of all rows."
        )
    return "All rows were looked at; adversarial validation takes at most 20,000 of train and of test."


def _table(head: Sequence[str], lines: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Return a table; cells are HTML already."""
    kind = [' class="n"' if i in numbers else "" for i in range(len(head))]
    titles = "".join(f"<th{k}>{h}</th>" for h, k in zip(head, kind, strict=True))
    rows = "\n".join(
        "<tr>" + "".join(f"<td{k}>{c}</td>" for c, k in zip(line, kind, strict=True)) + "</tr>" for line in lines
    )
    return f"<table><thead><tr>{titles}</tr></thead><tbody>\n{rows}\n</tbody></table>"


def _section(name: str, title: str, *content: str) -> str:
    return f'<section id="{name}"><h2>{title}</h2>\n' + "\n".join(c for c in content if c) + "\n</section>"


def _figures(kind: str, pictures: Sequence[str]) -> str:
    if not pictures:
        return ""
    return f'<div class="{kind}">' + "\n".join(f"<figure>{p}</figure>" for p in pictures) + "</div>"


def _code(name: str) -> str:
    return f"<code>{as_html(name)}</code>" if name else ""


def _findings(report: Report) -> str:
    if not report.findings:
        return _section("findings", "Findings", "<p>Nothing stands out.</p>")
    lines = [
        (
            f'<span class="{as_html(f.severity)}">{as_html(f.severity)}</span>',
            as_html(f.check),
            _code(f.column),
            as_html(f.text),
            as_html(f.todo),
        )
        for f in report.findings
    ]
    intro = '<p class="quiet">The worst first; ranked by the size of the effect, not by its significance.</p>'
    return _section("findings", "Findings", intro, _table(("", "check", "column", "found", "what to do"), lines))


def _drift(report: Report) -> str:
    if not report.drift:
        return _section("drift", "Train against test", "<p>There are no test rows to compare with.</p>")
    intro = (
        '<p class="quiet">The largest difference first. Effect: for numbers the Kolmogorov-Smirnov statistic, for '
        "categories the total variation beyond what chance gives; 0 is alike, 1 is apart. PSI: population stability "
        "index, above 0.25 is usually called a shift. New: test rows whose value train lacks, beyond chance.</p>"
    )
    pictures = [plots.drift_plot(d) for d in report.drift[:SHOWN_DRIFTS] if d.bars] if plots.can_plot() else []
    lines = [_drift_line(d) for d in report.drift[:SHOWN_LINES]]
    head = ("column", "kind", "effect", "PSI", "new", "missing in train", "in test")
    rest = len(report.drift) - SHOWN_LINES
    more = f'<p class="quiet">and {rest:,} more columns that differ less</p>' if rest > 0 else ""
    table = _table(head, lines, range(2, 7))
    return _section("drift", "Train against test", intro, _figures("plots", pictures), table, more)


def _drift_line(d: ColumnDrift) -> tuple[str, ...]:
    unseen = "" if d.unseen is None else f"{d.unseen:.1%}"
    shares = (f"{share:.1%}" if share else "" for share in (d.nulls_train, d.nulls_test))
    return (_code(d.column), as_html(d.kind), f"{d.effect:.3f}", f"{d.psi:.3f}", unseen, *shares)


def _adversarial(report: Report) -> str:
    result = report.adversarial
    if result is None:
        text = "<p>There are too few rows or columns to train a model that tells train from test.</p>"
        return _section("adversarial", "Adversarial validation", text)
    left = f" Left out: {', '.join(_code(c) for c in result.left_out)}." if result.left_out else ""
    whole = f", all rows of a {_code(result.grouped_by)} in one fold" if result.grouped_by else ""
    intro = (
        f'<p class="quiet">LightGBM, out of fold{whole}, on {result.n_rows:,} rows: AUC {result.auc:.3f} (chance alone '
        f"may reach {min(1.0, 0.5 + result.noise):.3f}). At 0.5 a test row "
        f"looks like any train row, and a random split validates well; at 1 they can be told apart.{left}</p>"
    )
    if plots.can_plot():
        pictures = [plots.roc_plot(result), *([plots.gains_plot(result)] if result.gains else [])]
        return _section("adversarial", "Adversarial validation", intro, _figures("two", pictures))
    table = _table(("column", "share of the gain"), [(_code(c), f"{g:.1%}") for c, g in result.gains[:12]], [1])
    return _section("adversarial", "Adversarial validation", intro, table)


def _single(report: Report) -> str:
    if not report.power:
        return _section("columns", "Single columns", "<p>There is no target to hold columns against.</p>")
    measure, target = as_html(report.power[0][2]), report.target[0][0]
    intro = (
        f'<p class="quiet">What each column alone says of <code>{as_html(target)}</code>: out-of-fold {measure} of the '
        "target's mean by value, or by 1/200 of the range. Near 1 is too good to be true.</p>"
    )
    table = _table(("column", measure), [(_code(c), f"{s:.3f}") for c, s, _ in report.power[:SHOWN_LINES]], [1])
    picture = _figures("two", [plots.power_plot(report.power, target)]) if plots.can_plot() else ""
    shown = picture if picture and len(report.power) <= 15 else picture + table
    return _section("columns", "Single columns", intro, shown)


def _target(report: Report) -> str:
    periods = report.periods
    if not plots.can_plot():
        tables = [
            _table((as_html(n), "rows"), [(as_html(v), f"{k:,}") for v, k in bars], [1]) for n, bars in report.target
        ]
        if periods:
            lines = [(as_html(p), f"{n:,}", f"{m:.4g}") for p, n, m in periods.lines]
            tables.append(_table((as_html(periods.every), "rows", as_html(periods.what)), lines, [1, 2]))
        return _section("target", "Target", *tables)
    pictures = [plots.target_plot(name, bars) for name, bars in report.target if bars]
    over = f'<figure class="wide">{plots.periods_plot(periods)}</figure>' if periods else ""
    none = "" if periods else '<p class="quiet">There is no column that tells the time.</p>'
    return _section("target", "Target", _figures("two", pictures), over, none)


def _order(report: Report) -> str:
    intro = (
        '<p class="quiet">The mean of the target in equal groups of train rows, by their place in the file and by the '
        "id (ranks of the target, for numbers). A flat line is what a shuffled file gives.</p>"
    )
    target = report.target[0][0] if report.target else ""
    if plots.can_plot():
        pictures = [plots.order_plot(o, target) for o in report.order if o.means]
        return _section("order", "Order and ids", intro, _figures("two", pictures))
    lines = [(_code(o.column), f"{as_html(o.measure)} {o.score:.3f}") for o in report.order]
    return _section("order", "Order and ids", intro, _table(("by", "predicts the target"), lines, [1]))


def _nulls(report: Report) -> str:
    holes = {c: s for c, s in report.nulls.shares.items() if max(s) > 0}
    if not holes:
        return _section("nulls", "Missing values", "<p>None.</p>")
    picture = ""
    if plots.can_plot() and report.nulls.patterns:
        picture = f'<figure class="wide">{plots.nulls_plot(report.nulls)}</figure>'
    ranked = sorted(holes.items(), key=lambda item: -max(item[1]))[:SHOWN_LINES]
    lines = [(_code(c), f"{a:.2%}", f"{b:.2%}") for c, (a, b) in ranked]
    together = [f"<p>Missing in the same rows: {', '.join(_code(c) for c in g)}.</p>" for g in report.nulls.groups[:10]]
    table = _table(("column", "missing in train", "in test"), lines, [1, 2])
    return _section("nulls", "Missing values", *together, picture, table)


def _rest(report: Report) -> str:
    lines = [(as_html(what), as_html(text)) for what, text in report.facts]
    left = [f"<p>Not looked at: {as_html(n)}.</p>" for n in report.not_checked]
    return _section("facts", "Also worth knowing", _table(("", ""), lines) if lines else "", *left)
