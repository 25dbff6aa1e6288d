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
    expected_differences = np.minimum(np.sqrt(2 / np.pi * share * variance), 2 * share)
    return max(0.0, float((np.abs(one / n - other / m) - expected_differences).sum() / 2))


def drift(data: CheckedData, null_shares: dict[str, tuple[float, float]]) -> tuple[ColumnDrift, ...]:
    """Measure every column but ids, the largest difference first.

    Parameters
    ----------
    null_shares : dict
        The shares of nulls in train and test, by column.
    """
    if not data.test.height:
        return ()
    drifts = [
        _category_drift(data, c, null_shares[c])
        if data.kind(c) == "category"
        else _number_drift(data, c, null_shares[c])
        for c in data.content
    ]
    return tuple(sorted(drifts, key=lambda d: -_largest_difference(d)))


def tells_time(data: CheckedData, column: str) -> bool:
    """Return whether a column is a date, a time, or the numeric time column."""
    return column == data.time or data.kind(column) == "time"


def _is_group(data: CheckedData, column: str) -> bool:
    """Return whether a column is the group column of the folds, whose values may all differ in test."""
    return data.row_units is not None and data.row_units.is_by_group and data.row_units.column == column


def _largest_difference(column_drift: ColumnDrift) -> float:
    return max(column_drift.effect, column_drift.unseen or 0.0, abs(column_drift.nulls_train - column_drift.nulls_test))


def _number_drift(data: CheckedData, column: str, null_shares: tuple[float, float]) -> ColumnDrift:
    """Compare a column of numbers or times; `null_shares` are those of train and test."""
    train, test = (as_number(f[column]) for f in (data.train, data.test))
    train, test = train[np.isfinite(train)], test[np.isfinite(test)]
    effect = ks_statistic(train, test)
    decile_edges = np.unique(np.quantile(train, np.arange(1, 10) / 10)) if len(train) else np.zeros(0)
    stability_index = (
        psi(_shares(train, decile_edges), _shares(test, decile_edges)) if len(train) and len(test) else 0.0
    )
    bars = _histogram(data, column, train, test)
    return ColumnDrift(column, data.kind(column), effect, stability_index, None, *null_shares, bars)


def _shares(values: Floats, edges: Floats) -> Floats:
    """Return the share of the values in each bin between the edges, below the first and above the last."""
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
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
        labels = (
            _time_labels(starts) if data.train[column].dtype in (pl.Date, pl.Datetime) else [brief(v) for v in starts]
        )
    shares = [_shares(v, edges[:-1]) for v in (train, test)]
    return tuple(zip(labels, *[s.tolist() for s in shares], strict=True))


def _time_labels(seconds: Floats) -> list[str]:
    """Format times in seconds since 1970, as dates if they span more than five days."""
    stamps = pl.Series(seconds.astype(np.int64) * 1_000_000).cast(pl.Datetime("us"))
    span = float(seconds[-1] - seconds[0]) if len(seconds) else 0.0
    return stamps.dt.strftime("%Y-%m-%d" if span > 5 * 86400 else "%m-%d %H:%M").to_list()


def _category_drift(data: CheckedData, column: str, null_shares: tuple[float, float]) -> ColumnDrift:
    """Compare a column of categories; `null_shares` are those of train and test."""
    train, test = data.train[column].cast(pl.String), data.test[column].cast(pl.String)
    codes = as_codes(train, test)
    non_null_codes = [c[c >= 0] for c in codes]
    n_categories = max((int(c.max()) + 1 for c in non_null_codes if len(c)), default=1)
    counts = [np.bincount(c, minlength=n_categories) for c in non_null_codes]
    shares = [c / max(1, c.sum()) for c in counts]
    # Rare categories are merged into one for the index.
    is_rare = np.maximum(*shares) < 0.005
    merged_shares = [np.append(s[~is_rare], s[is_rare].sum()) for s in shares]
    return ColumnDrift(
        column,
        "category",
        total_variation(counts[0], counts[1], data.effective_rows(column)),
        psi(*merged_shares),
        _unseen_share(data, column, codes, counts, test),
        *null_shares,
        _top_categories(train, test),
    )


def _top_categories(train: pl.Series, test: pl.Series) -> tuple[tuple[str, float, float], ...]:
    """Return the most frequent categories: value, share of train, share of test."""
    frames = [s.drop_nulls().alias("v").value_counts(name=f"n{i}").lazy() for i, s in enumerate((train, test))]
    joined = frames[0].join(frames[1], on="v", how="full", coalesce=True).fill_null(0)
    totals = [max(1, len(s.drop_nulls())) for s in (train, test)]
    shares = joined.select("v", pl.col("n0") / totals[0], pl.col("n1") / totals[1])
    top = shares.sort(pl.max_horizontal("n0", "n1"), "v", descending=[True, False]).head(SHOWN_CATEGORIES).collect()
    return tuple((str(v), float(a), float(b)) for v, a, b in top.rows())


def _unseen_share(
    data: CheckedData, column: str, codes: Sequence[Ints], counts: Sequence[Ints], test: pl.Series
) -> float:
    """Return the share of test rows with a value that train lacks, minus the share expected by chance.

    By Good (1953), the probability that the next row has a new value is the share of train rows whose value occurs
    once; with units of rows, in one unit.
    """
    train_counts, test_counts = counts
    n_test = max(1, int(test_counts.sum()))
    new_share = float(test_counts[train_counts == 0].sum()) / n_test
    chance_share = _unique_share(data, column, codes[0], train_counts)
    if new_share <= chance_share or not data.is_sampled:
        return max(0.0, new_share - chance_share)
    values = pl.LazyFrame({column: test.unique().drop_nulls()})
    train_column = (
        data.scan(column).filter(pl.col(ROW) < data.competition.n_train).select(pl.col(column).cast(pl.String))
    )
    values_of_train = train_column.join(values, on=column, how="semi").unique().collect(engine="streaming")[column]
    exact_share = float((~test.drop_nulls().is_in(values_of_train.implode())).sum()) / n_test
    return max(0.0, min(exact_share, new_share - chance_share))


def _unique_share(data: CheckedData, column: str, codes: Ints, counts: Ints) -> float:
    """Return the share of train rows whose value occurs in no other row, or no other unit."""
    units, has_value = data.row_units, codes >= 0
    # New values of groups that the folds do not keep together are a finding, whatever the units.
    if units is None or (units.column == column and not units.declared):
        return float((counts == 1).sum()) / max(1, int(counts.sum()))
    pairs = np.unique(np.stack([codes[has_value], units.train[has_value]]), axis=1)
    n_units = np.bincount(pairs[0], minlength=len(counts))
    return float(counts[n_units == 1].sum()) / max(1, int(counts.sum()))


def drift_findings(data: CheckedData, drifts: Sequence[ColumnDrift], *, test_is_later: bool) -> list[DataFinding]:
    """Return findings about columns whose distributions differ between train and test by more than chance."""
    findings = []
    for column_drift in drifts:
        if (test_is_later and tells_time(data, column_drift.column)) or _is_group(data, column_drift.column):
            continue
        n_train, n_test = data.effective_rows(column_drift.column)
        chance = Z_SCORE * np.sqrt(1 / max(1, n_train) + 1 / max(1, n_test)) / 2
        if column_drift.effect >= NOTABLE and column_drift.effect > chance:
            findings.append(_distribution_finding(column_drift))
        if column_drift.unseen is not None and column_drift.unseen >= UNSEEN_NOTABLE and column_drift.unseen > chance:
            findings.append(_unseen_values_finding(column_drift))
        if (
            abs(column_drift.nulls_train - column_drift.nulls_test) >= NULLS_NOTABLE
            and abs(column_drift.nulls_train - column_drift.nulls_test) > chance
        ):
            findings.append(_null_shift_finding(column_drift))
    return findings


def _distribution_finding(column_drift: ColumnDrift) -> DataFinding:
    measure = "total variation" if column_drift.kind == "category" else "KS"
    return DataFinding(
        "serious" if column_drift.effect >= SERIOUS else "notable",
        "drift",
        column_drift.column,
        f"differs between train and test: {measure} {column_drift.effect:.2f}, PSI {column_drift.psi:.2f}",
        "try without it; take ranks, ratios or differences that mean the same in both",
        column_drift.effect,
        {"effect": column_drift.effect, "measure": measure, "psi": column_drift.psi},
    )


def _unseen_values_finding(column_drift: ColumnDrift) -> DataFinding:
    unseen_share = column_drift.unseen or 0.0
    return DataFinding(
        "serious" if unseen_share >= UNSEEN_SERIOUS else "notable",
        "drift",
        column_drift.column,
        f"{unseen_share:.0%} of the test rows have a value that train lacks, beyond chance",
        "group by it for validation (cv.group), or use properties that the values share",
        unseen_share,
        {"unseen": unseen_share},
    )


def _null_shift_finding(column_drift: ColumnDrift) -> DataFinding:
    gap = abs(column_drift.nulls_train - column_drift.nulls_test)
    return DataFinding(
        "serious" if gap >= NULLS_SERIOUS else "notable",
        "drift",
        column_drift.column,
        f"missing in {column_drift.nulls_train:.1%} of train and {column_drift.nulls_test:.1%} of test",
        "find out why; don't use whether the value is missing as a feature",
        gap,
        {"nulls_train": column_drift.nulls_train, "nulls_test": column_drift.nulls_test},
    )
