"""Drift: how the columns of test differ from those of train.

Columns are ranked by the size of the effect. On large data everything is significant, so significance is only a
threshold: differences that may be due to chance are not reported.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from workbench.analysis.checks.data import CheckedData, Floats, Ints, as_codes, as_number, brief
from workbench.analysis.checks.finding import ColumnDrift, DataFinding
from workbench.data.competition import ROW

__all__ = ["drift", "drift_findings", "ks_statistic", "psi", "tells_time", "total_variation"]

SERIOUS, NOTABLE = 0.3, 0.1
UNSEEN_SERIOUS, UNSEEN_NOTABLE = 0.3, 0.05
NULLS_SERIOUS, NULLS_NOTABLE = 0.3, 0.05

Z_SCORE = 3.9
"""Standard errors that chance exceeds in one of ten thousand columns."""

BINS, SHOWN_CATEGORIES = 30, 12


def ks_statistic(one: Floats, other: Floats) -> float:
    """Return the Kolmogorov-Smirnov statistic: the largest distance between two distribution functions.

    Examples
    --------
    >>> ks_statistic(np.array([1.0, 2.0]), np.array([1.0, 2.0])), ks_statistic(np.array([1.0]), np.array([2.0]))
    (0.0, 1.0)
    """
    if not len(one) or not len(other):
        return 0.0
    a, b = np.sort(one), np.sort(other)
    points = np.concatenate([a, b])
    gaps = np.searchsorted(a, points, side="right") / len(a) - np.searchsorted(b, points, side="right") / len(b)
    return float(np.abs(gaps).max())


def psi(one: Floats, other: Floats) -> float:
    """Return the population stability index of two lists of shares: the sum of (p - q) ln(p / q).

    Empty cells count as 0.00005, as is common. Interpretation (Siddiqi 2006): below 0.1 stable, above 0.25 shifted.
    """
    p, q = np.maximum(one, 5e-5), np.maximum(other, 5e-5)
    return float(((p - q) * np.log(p / q)).sum())


def total_variation(one: Ints, other: Ints, effective_rows: tuple[float, float] | None = None) -> float:
    """Return the total variation distance of two distributions, minus its expectation without drift.

    For a category of share p, counted in n and m rows, the expected difference is sqrt(2 p (1/n + 1/m) / pi), and
    never above 2p. Over many rare categories these differences add up without any drift.

    Parameters
    ----------
    one, other : int arrays
        Counts by category.
    effective_rows : tuple of float, optional
        The effective numbers of independent rows; by default the numbers of rows.
    """
    n, m = max(1, int(one.sum())), max(1, int(other.sum()))
    share = (one + other) / (n + m)
    n_effective = (float(n), float(m)) if effective_rows is None else effective_rows
    variance = sum(1 / max(1.0, size) for size in n_effective)
    by_chance = np.minimum(np.sqrt(2 / np.pi * share * variance), 2 * share)
    return max(0.0, float((np.abs(one / n - other / m) - by_chance).sum() / 2))


def drift(data: CheckedData, nulls: dict[str, tuple[float, float]]) -> tuple[ColumnDrift, ...]:
    """Measure every column but ids, the largest difference first.

    Parameters
    ----------
    nulls : dict
        The shares of nulls in train and test, by column.
    """
    if not data.test.height:
        return ()
    drifts = [
        _category(data, c, nulls[c]) if data.kind(c) == "category" else _number(data, c, nulls[c]) for c in data.content
    ]
    return tuple(sorted(drifts, key=lambda d: -_largest(d)))


def tells_time(data: CheckedData, column: str) -> bool:
    """Return whether a column is a date, a time, or the numeric time column."""
    return column == data.time or data.kind(column) == "time"


def _is_group(data: CheckedData, column: str) -> bool:
    """Return whether a column is the group column of the folds, whose values may all differ in test."""
    return data.row_units is not None and data.row_units.is_by_group and data.row_units.column == column


def _largest(column_drift: ColumnDrift) -> float:
    return max(column_drift.effect, column_drift.unseen or 0.0, abs(column_drift.nulls_train - column_drift.nulls_test))


def _number(data: CheckedData, column: str, nulls: tuple[float, float]) -> ColumnDrift:
    train, test = (as_number(f[column]) for f in (data.train, data.test))
    train, test = train[np.isfinite(train)], test[np.isfinite(test)]
    effect = ks_statistic(train, test)
    tenths = np.unique(np.quantile(train, np.arange(1, 10) / 10)) if len(train) else np.zeros(0)
    index = psi(_shares(train, tenths), _shares(test, tenths)) if len(train) and len(test) else 0.0
    bars = _histogram(data, column, train, test)
    return ColumnDrift(column, data.kind(column), effect, index, None, *nulls, bars)


def _shares(values: Floats, cuts: Floats) -> Floats:
    counts = np.bincount(np.searchsorted(cuts, values, side="left"), minlength=len(cuts) + 1)
    return np.asarray(counts / max(1, len(values)))


def _histogram(data: CheckedData, column: str, train: Floats, test: Floats) -> tuple[tuple[str, float, float], ...]:
    """Return the bars of a histogram: label, share of train, share of test."""
    values_of_both = np.concatenate([train, test])
    if not len(values_of_both):
        return ()
    # With a few outliers all other values would share a bar: the outermost half percent is in the end bars.
    low, high = np.quantile(values_of_both, [0.005, 0.995])
    values = np.unique(values_of_both[:100_000])
    if len(values) <= BINS and (data.kind(column) != "time"):
        edges = np.append((values[1:] + values[:-1]) / 2, np.inf)
        labels = [brief(v) for v in values]
    else:
        edges = np.append(np.linspace(low, high, BINS + 1)[1:-1], np.inf)
        starts = np.linspace(low, high, BINS + 1)[:-1]
        labels = _times(starts) if data.train[column].dtype in (pl.Date, pl.Datetime) else [brief(v) for v in starts]
    shares = [_shares(v, edges[:-1]) for v in (train, test)]
    return tuple(zip(labels, *[s.tolist() for s in shares], strict=True))


def _times(seconds: Floats) -> list[str]:
    stamps = pl.Series(seconds.astype(np.int64) * 1_000_000).cast(pl.Datetime("us"))
    span = float(seconds[-1] - seconds[0]) if len(seconds) else 0.0
    return stamps.dt.strftime("%Y-%m-%d" if span > 5 * 86400 else "%m-%d %H:%M").to_list()


def _category(data: CheckedData, column: str, nulls: tuple[float, float]) -> ColumnDrift:
    train, test = data.train[column].cast(pl.String), data.test[column].cast(pl.String)
    codes = as_codes(train, test)
    filled = [c[c >= 0] for c in codes]
    size = max((int(c.max()) + 1 for c in filled if len(c)), default=1)
    counts = [np.bincount(c, minlength=size) for c in filled]
    shares = [c / max(1, c.sum()) for c in counts]
    # Rare categories are merged into one for the index.
    rare = np.maximum(*shares) < 0.005
    grouped = [np.append(s[~rare], s[rare].sum()) for s in shares]
    return ColumnDrift(
        column,
        "category",
        total_variation(counts[0], counts[1], data.effective_rows(column)),
        psi(*grouped),
        _unseen(data, column, codes, counts, test),
        *nulls,
        _top(train, test),
    )


def _top(train: pl.Series, test: pl.Series) -> tuple[tuple[str, float, float], ...]:
    frames = [s.drop_nulls().alias("v").value_counts(name=f"n{i}").lazy() for i, s in enumerate((train, test))]
    joined = frames[0].join(frames[1], on="v", how="full", coalesce=True).fill_null(0)
    totals = [max(1, len(s.drop_nulls())) for s in (train, test)]
    shares = joined.select("v", pl.col("n0") / totals[0], pl.col("n1") / totals[1])
    top = shares.sort(pl.max_horizontal("n0", "n1"), "v", descending=[True, False]).head(SHOWN_CATEGORIES).collect()
    return tuple((str(v), float(a), float(b)) for v, a, b in top.rows())


def _unseen(data: CheckedData, column: str, codes: Sequence[Ints], counts: Sequence[Ints], test: pl.Series) -> float:
    """Return the share of test rows with a value that train lacks, minus the share expected by chance.

    By Good (1953), the probability that the next row has a new value is the share of train rows whose value occurs
    once; with units of rows, in one unit.
    """
    in_train, in_test = counts
    n_test = max(1, int(in_test.sum()))
    new = float(in_test[in_train == 0].sum()) / n_test
    by_chance = _unique_share(data, column, codes[0], in_train)
    if new <= by_chance or not data.is_sampled:
        return max(0.0, new - by_chance)
    values = pl.LazyFrame({column: test.unique().drop_nulls()})
    of_train = data.scan(column).filter(pl.col(ROW) < data.competition.n_train).select(pl.col(column).cast(pl.String))
    values_of_train = of_train.join(values, on=column, how="semi").unique().collect(engine="streaming")[column]
    exact = float((~test.drop_nulls().is_in(values_of_train.implode())).sum()) / n_test
    return max(0.0, min(exact, new - by_chance))


def _unique_share(data: CheckedData, column: str, codes: Ints, counts: Ints) -> float:
    """Return the share of train rows whose value occurs in no other row, or no other unit."""
    units, filled = data.row_units, codes >= 0
    # New values of groups that the folds do not keep together are a finding, whatever the units.
    if units is None or (units.column == column and not units.declared):
        return float((counts == 1).sum()) / max(1, int(counts.sum()))
    pairs = np.unique(np.stack([codes[filled], units.train[filled]]), axis=1)
    n_units = np.bincount(pairs[0], minlength=len(counts))
    return float(counts[n_units == 1].sum()) / max(1, int(counts.sum()))


def drift_findings(data: CheckedData, drifts: Sequence[ColumnDrift], *, by_time: bool) -> list[DataFinding]:
    """Return findings about columns whose distributions differ between train and test by more than chance."""
    findings = []
    for column_drift in drifts:
        if (by_time and tells_time(data, column_drift.column)) or _is_group(data, column_drift.column):
            continue
        n_train, n_test = data.effective_rows(column_drift.column)
        chance = Z_SCORE * np.sqrt(1 / max(1, n_train) + 1 / max(1, n_test)) / 2
        if column_drift.effect >= NOTABLE and column_drift.effect > chance:
            findings.append(_distribution(column_drift))
        if column_drift.unseen is not None and column_drift.unseen >= UNSEEN_NOTABLE and column_drift.unseen > chance:
            findings.append(_new_values(column_drift))
        if (
            abs(column_drift.nulls_train - column_drift.nulls_test) >= NULLS_NOTABLE
            and abs(column_drift.nulls_train - column_drift.nulls_test) > chance
        ):
            findings.append(_null_shift(column_drift))
    return findings


def _distribution(column_drift: ColumnDrift) -> DataFinding:
    name = "total variation" if column_drift.kind == "category" else "KS"
    return DataFinding(
        "serious" if column_drift.effect >= SERIOUS else "notable",
        "drift",
        column_drift.column,
        f"differs between train and test: {name} {column_drift.effect:.2f}, PSI {column_drift.psi:.2f}",
        "try without it; take ranks, ratios or differences that mean the same in both",
        column_drift.effect,
        {"effect": column_drift.effect, "measure": name, "psi": column_drift.psi},
    )


def _new_values(column_drift: ColumnDrift) -> DataFinding:
    unseen = column_drift.unseen or 0.0
    return DataFinding(
        "serious" if unseen >= UNSEEN_SERIOUS else "notable",
        "drift",
        column_drift.column,
        f"{unseen:.0%} of the test rows have a value that train lacks, beyond chance",
        "group by it for validation (cv.group), or use properties that the values share",
        unseen,
        {"unseen": unseen},
    )


def _null_shift(column_drift: ColumnDrift) -> DataFinding:
    gap = abs(column_drift.nulls_train - column_drift.nulls_test)
    return DataFinding(
        "serious" if gap >= NULLS_SERIOUS else "notable",
        "drift",
        column_drift.column,
        f"missing in {column_drift.nulls_train:.1%} of train and {column_drift.nulls_test:.1%} of test",
        "find out why; don't let the model read whether it is missing",
        gap,
        {"nulls_train": column_drift.nulls_train, "nulls_test": column_drift.nulls_test},
    )
