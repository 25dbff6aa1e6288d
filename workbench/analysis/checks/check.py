"""All checks of a competition's data, in one go."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Sequence

import numpy as np

from workbench.analysis.checks.adversarial import adversarial, adversarial_findings
from workbench.analysis.checks.counts import (
    count_columns,
    null_findings,
    null_patterns,
    repeat_findings,
    value_findings,
)
from workbench.analysis.checks.data import CheckedData, read_data
from workbench.analysis.checks.drift import drift, drift_findings, goes_by_time
from workbench.analysis.checks.finding import CheckReport, DataFinding, OrderPlot, worst_first
from workbench.analysis.checks.power import alike_findings, id_facts, leak_findings, order, outcome_of
from workbench.analysis.checks.target import by_period, distribution, target_findings, trend_findings
from workbench.features import Blocks

__all__ = ["check_data"]


def check_data(
    blocks: Blocks,
    names: Sequence[str] = (),
    *,
    sample: int | None = None,
    time: str | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> CheckReport:
    """Check a competition's columns for problems that are costly when they are found late.

    Parameters
    ----------
    blocks : Blocks
    names : sequence of str
        Features, as an experiment lists them; by default ``rows``.
    sample : int, optional
        Distributions and models are computed on at most this many rows of train and of test (100,000 by default, fewer
        if the memory limit requires it), chosen by a fixed seed.
    time : str, optional
        The time column of rows.
    report : callable, optional
        Called with a line of text at each step.
    """
    started = clock.perf_counter()
    data = read_data(blocks, names, sample=sample, time=time, report=report)
    report("counting over all rows")
    counted = count_columns(data)
    by_time = goes_by_time(data)
    shares = {c: (a.null_share, b.null_share) for c, (a, b) in counted.items()}
    report("comparing train with test")
    drifts = drift(data, shares, by_time=by_time)
    findings = [*value_findings(data, counted), *alike_findings(data), *drift_findings(data, drifts, by_time=by_time)]
    report("adversarial validation")
    separability = adversarial(data, by_time=by_time)
    findings += adversarial_findings(separability, by_time=by_time, goes_forward=data.goes_forward)
    nulls = null_patterns(data, counted)
    findings += null_findings(nulls)
    report("looking for repeated rows")
    repeats, facts = repeat_findings(data)
    report("comparing single columns with the target")
    target_issues, power, plots = _of_targets(data, by_time=by_time)
    periods = next((p for name in data.target.columns if (p := by_period(data, name)) is not None), None)
    findings += [*repeats, *target_issues, *trend_findings(data, periods)]
    return CheckReport(
        data.competition.slug,
        data.competition.definition.title,
        data.columns,
        data.competition.n_train,
        data.competition.n_test,
        (data.train.height, data.test.height),
        worst_first(_once(findings)),
        (*_time_facts(data, by_time=by_time), *_unit_facts(data), *id_facts(data), *facts, *_train_only(data)),
        data.not_checked,
        drifts,
        separability,
        tuple(power),
        tuple(plots),
        tuple((name, distribution(data, name)) for name in data.target.columns),
        periods,
        nulls,
        round(clock.perf_counter() - started, 2),
    )


def _of_targets(
    data: CheckedData, *, by_time: bool
) -> tuple[list[DataFinding], list[tuple[str, float, str]], list[OrderPlot]]:
    findings: list[DataFinding] = []
    power: list[tuple[str, float, str]] = []
    plots: list[OrderPlot] = []
    for name in data.target.columns:
        findings += target_findings(data, name)
        outcome = outcome_of(data, name)
        if outcome is None:
            continue
        leaks, scores = leak_findings(data, outcome)
        ordered, order_plots = order(data, outcome, by_time=by_time)
        findings += [*leaks, *ordered]
        # The page shows the first target; findings are of all targets.
        power, plots = power or scores, plots or order_plots
    return findings, power, plots


def _once(findings: Sequence[DataFinding]) -> list[DataFinding]:
    """Return each finding once: with several targets, a finding about a column alone is repeated for each."""
    return list({(f.check, f.column, f.text): f for f in findings}.values())


def _time_facts(data: CheckedData, *, by_time: bool) -> list[tuple[str, str]]:
    if data.times is None:
        return []
    position = "after train" if by_time else "in the same time as train"
    ends = [f"{t.min()!s} to {t.max()!s}" for t in data.times if len(t)]
    scheme = data.competition.definition.cv.scheme
    note = "" if by_time == data.goes_forward else f"; but the folds are {scheme!r}"
    return [("time", f"by {data.time}, test lies {position}: {', then '.join(ends)}{note}")]


def _unit_facts(data: CheckedData) -> list[tuple[str, str]]:
    """Return facts about rows that were not treated as independent."""
    units = data.row_units
    if units is None or units.kind != "groups" or not data.test.height:
        return []
    shared = len(np.intersect1d(units.train, units.test))
    lie = "none of which train has" if not shared else f"{shared:,} of which train has, too"
    of = "the folds keep them together" if units.declared else "the folds do not keep them together (cv.group)"
    text = f"{len(np.unique(units.train)):,} in train, {len(np.unique(units.test)):,} in test, {lie}; {of}"
    return [(f"groups ({units.column})", f"{text}. Their rows were judged together")]


def _train_only(data: CheckedData) -> list[tuple[str, str]]:
    return [("in train only", ", ".join(data.extra.columns))] if data.extra.width else []
