"""The target: its distribution, and its trend over time."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from workbench.analysis.checks.data import CheckedData, Floats, as_number, brief, kind_of
from workbench.analysis.checks.finding import DataFinding, Periods
from workbench.core.intervals import two_sided_p

__all__ = ["by_period", "distribution", "target_findings", "trend_findings", "trend_p", "weighted_correlation"]

RARE_SERIOUS, RARE_NOTABLE = 0.001, 0.02
PERIODS = (("1h", "hour"), ("1d", "day"), ("1w", "week"), ("1mo", "month"), ("1q", "quarter"), ("1y", "year"))
SECONDS = {"1h": 3600, "1d": 86400, "1w": 7 * 86400, "1mo": 30 * 86400, "1q": 91 * 86400, "1y": 365 * 86400}
MOST_PERIODS, FEWEST = 60, 5
TREND, CERTAIN = 0.7, 0.005
BARS = 30


def distribution(data: CheckedData, name: str) -> tuple[tuple[str, int], ...]:
    """Return the classes with their counts, or a histogram of a number, of the sampled train rows."""
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
    """Return findings about a target: missing or infinite values, rare classes, outliers, one dominant value."""
    series = data.target[name]
    findings = []
    values = as_number(series) if kind_of(series.dtype) in ("number", "time") else np.zeros(0)
    missing = series.null_count() + int(np.isnan(values).sum()) - (series.null_count() if len(values) else 0)
    infinite = int(np.isinf(values).sum())
    if missing or infinite:
        share = (missing + infinite) / max(1, len(series))
        text = f"{missing:,} missing and {infinite:,} infinite targets among {len(series):,} rows"
        findings.append(DataFinding("serious", "target", name, text, "take these rows out of train", share))
    if data.competition.definition.task in ("binary", "multiclass"):
        return findings + _rare_classes(series, name)
    values = values[np.isfinite(values)]
    return findings + (_shape(values, name) if len(values) > 50 else [])


def _rare_classes(series: pl.Series, name: str) -> list[DataFinding]:
    counts = series.drop_nulls().alias("v").value_counts(name="n").sort("n", "v")
    if not counts.height:
        return []  # only nulls, which are reported already
    share = int(counts["n"][0]) / max(1, len(series))
    if share >= RARE_NOTABLE:
        return []
    text = f"class {counts['v'][0]!r} has {share:.3%} of the rows ({int(counts['n'][0]):,} of {len(series):,})"
    todo = 'split by the target ([cv] scheme = "stratified"); few rows decide the score'
    return [DataFinding("serious" if share < RARE_SERIOUS else "notable", "target", name, text, todo, 1 - share)]


def _shape(values: Floats, name: str) -> list[DataFinding]:
    findings = []
    q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75])
    outliers = np.abs(values - median) > 10 * max(q3 - q1, 1e-12)
    if q3 > q1 and outliers.any():
        furthest = values[np.abs(values - median).argmax()]
        text = (
            f"{int(outliers.sum()):,} of {len(values):,} targets lie more than 10 interquartile ranges from the median "
            f"({median:.4g}), the furthest at {furthest:.6g}"
        )
        todo = "are they errors? They dominate a squared loss: try the logarithm, or an absolute loss"
        findings.append(
            DataFinding("notable", "target", name, text, todo, float(outliers.mean()), {"wild": int(outliers.sum())})
        )
    elif values.min() >= 0 and q3 > q1 and _skewness(values) > 2:
        text = f"is skewed to the right (skewness {_skewness(values):.1f})"
        findings.append(DataFinding("minor", "target", name, text, 'try target_transform = "log1p"', 0.2))
    unique, counts = np.unique(values, return_counts=True)
    top = counts.argmax()
    if counts[top] >= 0.5 * len(values) and len(unique) > 20:
        text = f"is {unique[top]:g} in {counts[top] / len(values):.0%} of the rows"
        findings.append(
            DataFinding("minor", "target", name, text, "model in two steps: whether it is that, then how much", 0.3)
        )
    return findings


def _skewness(values: Floats) -> float:
    return float((((values - values.mean()) / max(1e-12, values.std())) ** 3).mean())


# -------------------------------------------------------------------------------------------------------------- time


def by_period(data: CheckedData, name: str) -> Periods | None:
    """Return the target's median, or a class's share, by period, over all train rows; None without a time or target.

    The median, as a single outlier would move a period's mean more than years of trend.
    """
    c = data.competition
    if data.time is None or data.time not in c.rows.columns or not data.target[name].count():
        return None
    train = c.table(c.definition.tables.train)
    dtype = train.collect_schema()[data.time]
    if dtype not in (pl.Date, pl.Datetime) and not dtype.is_numeric():
        return None
    value, measure = _measured(data, name)
    period, period_name = _period(train, data.time, dtype)
    values = (
        train.select(period.alias("p"), value.alias("y"))
        .drop_nulls()
        .group_by("p")
        .agg(pl.len(), pl.col("y").mean() if measure.startswith("share") else pl.col("y").median())
        .collect(engine="streaming")
        .sort("p")
    )
    if values.height < 2:
        return None
    shown = [_period_name(p, period_name) for p in values["p"]]
    return Periods(
        data.time,
        name,
        measure,
        period_name,
        tuple(zip(shown, values["len"].to_list(), values["y"].to_list(), strict=True)),
    )


def _measured(data: CheckedData, name: str) -> tuple[pl.Expr, str]:
    series = data.target[name]
    if data.competition.definition.task in ("binary", "multiclass") or kind_of(series.dtype) == "category":
        levels = series.drop_nulls().unique().sort()
        chosen = levels[-1] if len(levels) <= 2 else series.drop_nulls().mode().sort()[0]
        return (pl.col(name) == pl.lit(chosen, series.dtype)).cast(pl.Float64), f"share of {name} = {chosen}"
    return pl.col(name).cast(pl.Float64), f"median of {name}"


def _period(train: pl.LazyFrame, time: str, dtype: pl.DataType) -> tuple[pl.Expr, str]:
    column = pl.col(time)
    low, high = train.select(column.min().alias("low"), column.max().alias("high")).collect(engine="streaming").row(0)
    if dtype.is_numeric():
        width = (high - low) / 20 or 1
        return ((column - low) / width).floor().clip(0, 19) * width + low, "20th of the range"
    span = (high - low).total_seconds()
    for every, name in PERIODS:
        if span / SECONDS[every] <= MOST_PERIODS and not (every == "1h" and dtype == pl.Date):
            return column.dt.truncate(every), name
    return column.dt.truncate("1y"), "year"


def _period_name(period: object, period_name: str) -> str:
    text = str(period)
    if period_name in ("hour",):
        return text[:13]
    if period_name in ("month", "quarter"):
        return text[:7]
    if period_name == "year":
        return text[:4]
    return text[:10] if period_name in ("day", "week") else f"{float(text):.6g}"


def trend_findings(data: CheckedData, periods: Periods | None) -> list[DataFinding]:
    """Return the finding where the target rises or falls with time, by more than chance and by enough to matter."""
    if periods is None or len(periods.lines) < FEWEST:
        return []
    weights = np.array([n for _, n, _ in periods.lines], float)
    means = np.array([m for _, _, m in periods.lines])
    at = np.arange(len(means), dtype=float)
    r = weighted_correlation(at, means, weights)
    if trend_p(means, weights, r) > CERTAIN:
        return []
    third = max(1, len(means) // 3)
    first, last = (np.average(means[s], weights=weights[s]) for s in (slice(None, third), slice(-third, None)))
    spread = _spread(data, periods, float(np.average(means, weights=weights)))
    chance = 4 * spread * math.sqrt(1 / weights[:third].sum() + 1 / weights[-third:].sum())
    change = abs(last - first)
    if abs(r) < TREND or change < max(chance, 0.1 * spread):
        return []
    thirds = f"first to last third, by {periods.every} of {periods.column}"
    text = f"the {periods.what} goes from {first:.4g} to {last:.4g} ({thirds})"
    todo = "predict a ratio to, or a difference from, the recent level"
    todo = todo if data.goes_forward else f"validate forward in time; {todo}"
    figures = {"first": float(first), "last": float(last), "correlation": r}
    return [DataFinding("notable", "time", periods.target, text, todo, min(1.0, change / spread), figures)]


def trend_p(means: Floats, weights: Floats, r: float) -> float:
    """Return the p-value of a trend over periods, each a single observation however many rows it has.

    Of a linear regression on time. Where the residuals are autocorrelated, the effective number of periods is
    n (1 - a) / (1 + a), with a their autocorrelation (Bayley and Hammersley 1946).
    """
    n, at = len(means), np.arange(len(means), dtype=float)
    slope, start = np.polyfit(at, means, 1, w=np.sqrt(weights))
    residuals = means - slope * at - start
    total = float((residuals**2).sum())
    autocorrelation = min(0.99, max(0.0, float((residuals[1:] * residuals[:-1]).sum()) / total)) if total > 0 else 0.0
    degrees = n * (1 - autocorrelation) / (1 + autocorrelation) - 2
    if degrees <= 0:
        return 1.0
    return two_sided_p(r * math.sqrt(degrees / max(1e-12, 1 - r * r)), degrees)


def _spread(data: CheckedData, periods: Periods, mean: float) -> float:
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
