"""All checks of a competition's data."""

from __future__ import annotations

import time as clock
from collections.abc import Sequence

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
from workbench.analysis.checks.drift import drift, drift_findings
from workbench.analysis.checks.finding import CheckReport, DataFinding, OrderPlot, worst_first
from workbench.analysis.checks.power import alike_findings, id_facts, leak_findings, order, outcome_of
from workbench.analysis.checks.target import by_period, distribution, target_findings, trend_findings
from workbench.core.context import SILENT, RunContext
from workbench.features import Blocks

__all__ = ["check_data"]


def check_data(
    blocks: Blocks,
    names: Sequence[str] = (),
    *,
    sample: int | None = None,
    time: str | None = None,
    context: RunContext = SILENT,
) -> CheckReport:
    """Check a competition's columns for problems that are costly when they are found late.

    Parameters
    ----------
    blocks : Blocks
    names : sequence of str
        Features, as in an experiment; by default ``rows``.
    sample : int, optional
        The most rows of train and of test on which distributions and models are computed (100,000 by default, fewer if
        the memory limit requires it), sampled with a fixed seed.
    time : str, optional
        The time column of the rows.
    context : RunContext
        Receives the stages.
    """
    started_at = clock.perf_counter()
    data = read_data(blocks, names, sample=sample, time=time, context=context)
    context.stage("counting over all rows")
    counts = count_columns(data)
    test_is_later = data.test_is_later
    null_shares = {column: (train.null_share, test.null_share) for column, (train, test) in counts.items()}
    context.stage("comparing train with test")
    drifts = drift(data, null_shares)
    findings = [
        *value_findings(data, counts),
        *alike_findings(data),
        *drift_findings(data, drifts, test_is_later=test_is_later),
    ]
    context.stage("adversarial validation")
    adversarial_result = adversarial(data, test_is_later=test_is_later)
    findings += adversarial_findings(adversarial_result, test_is_later=test_is_later, goes_forward=data.goes_forward)
    nulls = null_patterns(data, counts)
    findings += null_findings(nulls)
    context.stage("looking for repeated rows")
    repeat_issues, repeat_facts = repeat_findings(data)
    context.stage("comparing single columns with the target")
    target_issues, column_scores, order_plots = _target_issues(data, test_is_later=test_is_later)
    periods_by_target = (by_period(data, name) for name in data.target.columns)
    periods = next((p for p in periods_by_target if p is not None), None)
    findings += [*repeat_issues, *target_issues, *trend_findings(data, periods)]
    return CheckReport(
        slug=data.competition.slug,
        title=data.competition.definition.title,
        columns=data.columns,
        n_train=data.competition.n_train,
        n_test=data.competition.n_test,
        sampled=(data.train.height, data.test.height),
        findings=worst_first(_without_duplicates(findings)),
        facts=(
            *_time_facts(data, test_is_later=test_is_later),
            *_unit_facts(data),
            *id_facts(data),
            *repeat_facts,
            *_train_only_facts(data),
        ),
        not_checked=data.not_checked,
        drift=drifts,
        adversarial=adversarial_result,
        power=tuple(column_scores),
        order=tuple(order_plots),
        target=tuple((name, distribution(data, name)) for name in data.target.columns),
        periods=periods,
        nulls=nulls,
        seconds=round(clock.perf_counter() - started_at, 2),
    )


def _target_issues(
    data: CheckedData, *, test_is_later: bool
) -> tuple[list[DataFinding], list[tuple[str, float, str]], list[OrderPlot]]:
    """Return the findings about all targets, and the scores of single columns and order plots of the first target."""
    findings: list[DataFinding] = []
    first_scores: list[tuple[str, float, str]] = []
    first_plots: list[OrderPlot] = []
    for name in data.target.columns:
        findings += target_findings(data, name)
        outcome = outcome_of(data, name)
        if outcome is None:
            continue
        leak_issues, scores = leak_findings(data, outcome)
        order_issues, order_plots = order(data, outcome, test_is_later=test_is_later)
        findings += [*leak_issues, *order_issues]
        # The page shows the first target with scores; findings are about all targets.
        first_scores, first_plots = first_scores or scores, first_plots or order_plots
    return findings, first_scores, first_plots


def _without_duplicates(findings: Sequence[DataFinding]) -> list[DataFinding]:
    """Return each finding once: with several targets, findings about a column alone are repeated."""
    return list({(f.check, f.column, f.text): f for f in findings}.values())


def _time_facts(data: CheckedData, *, test_is_later: bool) -> list[tuple[str, str]]:
    """Return a fact on how test lies in time relative to train; `test_is_later` is that of `data`."""
    if data.times is None:
        return []
    position = "after train" if test_is_later else "in the same time as train"
    ranges = [f"{t.min()!s} to {t.max()!s}" for t in data.times if len(t)]
    scheme = data.competition.definition.cv.scheme
    note = "" if test_is_later == data.goes_forward else f"; but the folds are {scheme!r}"
    return [("time", f"by {data.time}, test lies {position}: {', then '.join(ranges)}{note}")]


def _unit_facts(data: CheckedData) -> list[tuple[str, str]]:
    """Return facts about rows that were not treated as independent."""
    units = data.row_units
    if units is None or units.kind != "groups" or not data.test.height:
        return []
    n_shared = len(np.intersect1d(units.train, units.test))
    overlap = "none of which train has" if not n_shared else f"{n_shared:,} of which train also has"
    split = "the folds keep them together" if units.declared else "the folds do not keep them together (cv.group)"
    n_train, n_test = len(np.unique(units.train)), len(np.unique(units.test))
    text = f"{n_train:,} in train, {n_test:,} in test, {overlap}; {split}"
    return [(f"groups ({units.column})", f"{text}. Their rows are not counted as independent")]


def _train_only_facts(data: CheckedData) -> list[tuple[str, str]]:
    return [("in train only", ", ".join(data.extra.columns))] if data.extra.width else []
