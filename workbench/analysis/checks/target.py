"""Checks of the target: its distribution, and its trend over time."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from workbench.analysis.checks.data import CheckedData, Floats, as_number, brief, kind_of
from workbench.analysis.checks.finding import DataFinding, Periods
from workbench.core.intervals import two_sided_p

__all__ = ["by_period", "distribution", "target_findings", "trend_findings", "trend_p", "weighted_correlation"]

SERIOUS_CLASS_SHARE, NOTABLE_CLASS_SHARE = 0.001, 0.02
"""Shares of the rarest class below which it is reported."""

PERIODS = (("1h", "hour"), ("1d", "day"), ("1w", "week"), ("1mo", "month"), ("1q", "quarter"), ("1y", "year"))
SECONDS = {"1h": 3600, "1d": 86400, "1w": 7 * 86400, "1mo": 30 * 86400, "1q": 91 * 86400, "1y": 365 * 86400}
MAX_PERIODS, MIN_PERIODS = 60, 5
MIN_TREND_CORRELATION, MAX_TREND_P = 0.7, 0.005
BARS = 30


def distribution(data: CheckedData, name: str) -> tuple[tuple[str, int], ...]:
    """Return (label, count) of the classes, or of the bars of a histogram, in the sampled train rows."""
    series = data.target[name].drop_nulls()
    if series.n_unique() <= BARS or kind_of(series.dtype) == "category":
        counts = series.alias("v").value_counts(name="n").sort("n", "v", descending=[True, False]).head(BARS)
        return tuple((str(v), int(n)) for v, n in counts.rows())
    values = as_number(series)
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [0.002, 0.998])
    if low == high:
        low, high = values.min(), values.max()
    heights, edges = np.histogram(np.clip(values, low, high), BARS)
    return tuple((brief(e), int(n)) for e, n in zip(edges, heights, strict=False))


def target_findings(data: CheckedData, name: str) -> list[DataFinding]:
    """Return findings of a target: missing or infinite values, rare classes, outliers, a dominant value."""
    series = data.target[name]
    findings = []
    values = as_number(series) if kind_of(series.dtype) in ("number", "time") else np.zeros(0)
    n_missing = series.null_count() + int(np.isnan(values).sum()) - (series.null_count() if len(values) else 0)
    n_infinite = int(np.isinf(values).sum())
    if n_missing or n_infinite:
        share = (n_missing + n_infinite) / max(1, len(series))
        text = f"{n_missing:,} missing and {n_infinite:,} infinite targets among {len(series):,} rows"
        findings.append(DataFinding("serious", "target", name, text, "remove these rows from train", share))
    if data.competition.definition.task in ("binary", "multiclass"):
        return findings + _rare_class_findings(series, name)
    values = values[np.isfinite(values)]
    return findings + (_distribution_findings(values, name) if len(values) > 50 else [])


def _rare_class_findings(series: pl.Series, name: str) -> list[DataFinding]:
    """Return a finding if the rarest class of the target `name` has few rows."""
    counts = series.drop_nulls().alias("v").value_counts(name="n").sort("n", "v")
    if not counts.height:
        return []  # only nulls, which are reported already
    share = int(counts["n"][0]) / max(1, len(series))
    if share >= NOTABLE_CLASS_SHARE:
        return []
    text = f"class {counts['v'][0]!r} has {share:.3%} of the rows ({int(counts['n'][0]):,} of {len(series):,})"
    todo = 'split by the target ([cv] scheme = "stratified"); few rows decide the score'
    return [DataFinding("serious" if share < SERIOUS_CLASS_SHARE else "notable", "target", name, text, todo, 1 - share)]


def _distribution_findings(values: Floats, name: str) -> list[DataFinding]:
    """Return findings of outliers, skewness and a dominant value among the finite values of the target `name`."""
    findings = []
    q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75])
    is_outlier = np.abs(values - median) > 10 * max(q3 - q1, 1e-12)
    if q3 > q1 and is_outlier.any():
        furthest = values[np.abs(values - median).argmax()]
        text = (
            f"{int(is_outlier.sum()):,} of {len(values):,} targets lie more than 10 interquartile ranges from the "
            f"median ({median:.4g}), the furthest at {furthest:.6g}"
        )
        todo = "are they errors? They dominate a squared loss: try the logarithm, or an absolute loss"
        findings.append(
            DataFinding(
                "notable", "target", name, text, todo, float(is_outlier.mean()), {"wild": int(is_outlier.sum())}
            )
        )
    elif values.min() >= 0 and q3 > q1 and _skewness(values) > 2:
        text = f"is skewed to the right (skewness {_skewness(values):.1f})"
        findings.append(DataFinding("minor", "target", name, text, 'try target_transform = "log1p"', 0.2))
    distinct_values, counts = np.unique(values, return_counts=True)
    top_index = counts.argmax()
    if counts[top_index] >= 0.5 * len(values) and len(distinct_values) > 20:
        text = f"is {distinct_values[top_index]:g} in {counts[top_index] / len(values):.0%} of the rows"
        findings.append(
            DataFinding("minor", "target", name, text, "model in two steps: whether it is that, then how much", 0.3)
        )
    return findings


def _skewness(values: Floats) -> float:
    return float((((values - values.mean()) / max(1e-12, values.std())) ** 3).mean())


# -------------------------------------------------------------------------------------------------------------- time


def by_period(data: CheckedData, name: str) -> Periods | None:
    """Return the target's median, or a class's share, by period over all train rows; None without a time or target.

    The median, because a single outlier can move a period's mean more than years of trend.
    """
    competition = data.competition
    if data.time is None or data.time not in competition.rows.columns or not data.target[name].count():
        return None
    train = competition.table(competition.definition.tables.train)
    dtype = train.collect_schema()[data.time]
    if dtype not in (pl.Date, pl.Datetime) and not dtype.is_numeric():
        return None
    target_value, statistic = _statistic(data, name)
    period, period_name = _period(train, data.time, dtype)
    period_values = (
        train.select(period.alias("p"), target_value.alias("y"))
        .drop_nulls()
        .group_by("p")
        .agg(pl.len(), pl.col("y").mean() if statistic.startswith("share") else pl.col("y").median())
        .collect(engine="streaming")
        .sort("p")
    )
    if period_values.height < 2:
        return None
    period_labels = [_period_text(p, period_name) for p in period_values["p"]]
    return Periods(
        data.time,
        name,
        statistic,
        period_name,
        tuple(zip(period_labels, period_values["len"].to_list(), period_values["y"].to_list(), strict=True)),
    )


def _statistic(data: CheckedData, name: str) -> tuple[pl.Expr, str]:
    """Return an expression of the target's value, or of whether it is the class to count, and the statistic's name."""
    series = data.target[name]
    if data.competition.definition.task in ("binary", "multiclass") or kind_of(series.dtype) == "category":
        levels = series.drop_nulls().unique().sort()
        counted_class = levels[-1] if len(levels) <= 2 else series.drop_nulls().mode().sort()[0]
        is_counted = (pl.col(name) == pl.lit(counted_class, series.dtype)).cast(pl.Float64)
        return is_counted, f"share of {name} = {counted_class}"
    return pl.col(name).cast(pl.Float64), f"median of {name}"


def _period(train: pl.LazyFrame, time: str, dtype: pl.DataType) -> tuple[pl.Expr, str]:
    """Return an expression of the start of each row's period, and the name of the periods."""
    column = pl.col(time)
    low, high = train.select(column.min().alias("low"), column.max().alias("high")).collect(engine="streaming").row(0)
    if dtype.is_numeric():
        width = (high - low) / 20 or 1
        return ((column - low) / width).floor().clip(0, 19) * width + low, "20th of the range"
    span = (high - low).total_seconds()
    for every, name in PERIODS:
        if span / SECONDS[every] <= MAX_PERIODS and not (every == "1h" and dtype == pl.Date):
            return column.dt.truncate(every), name
    return column.dt.truncate("1y"), "year"


def _period_text(period: object, unit: str) -> str:
    """Return the start of a period of length `unit` as a short text: "2024-03" for a month."""
    text = str(period)
    if unit == "hour":
        return text[:13]
    if unit in ("month", "quarter"):
        return text[:7]
    if unit == "year":
        return text[:4]
    return text[:10] if unit in ("day", "week") else f"{float(text):.6g}"


def trend_findings(data: CheckedData, periods: Periods | None) -> list[DataFinding]:
    """Return a finding if the target rises or falls with time, beyond chance and by enough to matter."""
    if periods is None or len(periods.lines) < MIN_PERIODS:
        return []
    weights = np.array([n for _, n, _ in periods.lines], float)
    means = np.array([m for _, _, m in periods.lines])
    period_numbers = np.arange(len(means), dtype=float)
    correlation = weighted_correlation(period_numbers, means, weights)
    if trend_p(means, weights, correlation) > MAX_TREND_P:
        return []
    n_in_third = max(1, len(means) // 3)
    first_level = np.average(means[:n_in_third], weights=weights[:n_in_third])
    last_level = np.average(means[-n_in_third:], weights=weights[-n_in_third:])
    spread = _spread(data, periods, float(np.average(means, weights=weights)))
    chance_change = 4 * spread * math.sqrt(1 / weights[:n_in_third].sum() + 1 / weights[-n_in_third:].sum())
    change = abs(last_level - first_level)
    if abs(correlation) < MIN_TREND_CORRELATION or change < max(chance_change, 0.1 * spread):
        return []
    compared_periods = f"first to last third, by {periods.every} of {periods.column}"
    text = f"the {periods.what} goes from {first_level:.4g} to {last_level:.4g} ({compared_periods})"
    advice = "predict a ratio to, or a difference from, the recent level"
    advice = advice if data.goes_forward else f"validate forward in time; {advice}"
    figures = {"first": float(first_level), "last": float(last_level), "correlation": correlation}
    return [DataFinding("notable", "time", periods.target, text, advice, min(1.0, change / spread), figures)]


def trend_p(means: Floats, weights: Floats, correlation: float) -> float:
    """Return the p-value of a linear trend over periods, each of which is one observation.

    If the residuals have an autocorrelation a, the effective number of periods is n (1 - a) / (1 + a) (Bayley and
    Hammersley 1946).
    """
    n_periods, period_numbers = len(means), np.arange(len(means), dtype=float)
    slope, intercept = np.polyfit(period_numbers, means, 1, w=np.sqrt(weights))
    residuals = means - slope * period_numbers - intercept
    total_squares = float((residuals**2).sum())
    autocorrelation = (
        min(0.99, max(0.0, float((residuals[1:] * residuals[:-1]).sum()) / total_squares)) if total_squares > 0 else 0.0
    )
    degrees_of_freedom = n_periods * (1 - autocorrelation) / (1 + autocorrelation) - 2
    if degrees_of_freedom <= 0:
        return 1.0
    return two_sided_p(
        correlation * math.sqrt(degrees_of_freedom / max(1e-12, 1 - correlation * correlation)), degrees_of_freedom
    )


def _spread(data: CheckedData, periods: Periods, mean: float) -> float:
    """Return the standard deviation of the target in single rows; for a class, from its share `mean`."""
    if periods.what.startswith("share"):
        return max(1e-9, math.sqrt(mean * (1 - mean)))
    values = as_number(data.target[periods.target])
    values = values[np.isfinite(values)]
    # The standard deviation of a normal distribution with these quartiles; the plain one where they are equal.
    quartiles = np.quantile(values, [0.25, 0.75])
    return max(1e-12, float(quartiles[1] - quartiles[0]) / 1.349 or float(values.std()))


def weighted_correlation(x: Floats, y: Floats, weights: Floats) -> float:
    """Return the correlation of two columns (n,) by weight; 0 where one of them is constant."""
    x, y = x - np.average(x, weights=weights), y - np.average(y, weights=weights)
    scale = math.sqrt(float((weights * x * x).sum() * (weights * y * y).sum()))
    return float((weights * x * y).sum() / scale) if scale > 0 else 0.0
