"""How well a single column predicts the target: a leak if it does so too well."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from workbench.analysis.checks.counts import numeric_part
from workbench.analysis.checks.data import SEED, CheckedData, Floats, Ints, as_codes, as_number, kind_of
from workbench.analysis.checks.finding import DataFinding, OrderPlot
from workbench.data.competition import ROW
from workbench.metrics import get
from workbench.metrics.dependence import effective_units
from workbench.models.folds import Folds, group_folds, kfold

__all__ = ["Outcome", "alike_findings", "leak_findings", "order", "outcome_of", "power"]

MAX_BINS, ROWS_PER_BIN, FOLDS, SMOOTHING = 200, 25, 4, 1.0

SERIOUS_SCORE, NOTABLE_SCORE = 0.97, 0.9
"""Scores of a column alone from which on it is reported as a leak."""

ORDER_AUC, ORDER_R2 = 0.6, 0.1
"""Scores of the order of rows from which on it is reported."""

NULLS_R2, NULLS_AUC_EXCESS = 0.05, 0.1
"""R2, or AUC above 0.5, from which on it is reported that missing values predict the target."""

MIN_CORRELATION = 0.95
"""The rank correlation with the row number from which on a column is reported."""

MAX_CLASSES = 5


@dataclass(frozen=True)
class Outcome:
    """A target to compare single columns with: 0 and 1 for classes, ranks from 0 to 1 for numbers.

    Attributes
    ----------
    name : str
    values : float array (n, width)
        Of a multiclass target a column for each of the five most frequent classes.
    codes : int array (n,)
        One number per distinct value.
    rows : int array (n,)
        The sampled train rows that have a target.
    is_number : bool
    unit_codes : int array (n,), or None
        The code of each row's unit: the group of dependent rows, such as those of a user.
    """

    name: str
    values: Floats
    codes: Ints
    rows: Ints
    is_number: bool
    unit_codes: Ints | None = None

    @cached_property
    def folds(self) -> Folds:
        """The folds for scoring single columns; they do not split units."""
        n_rows = len(self.values)
        if self.unit_codes is None or len(np.unique(self.unit_codes)) < FOLDS:
            return kfold(n_rows, FOLDS, SEED)
        return group_folds(self.unit_codes, FOLDS, SEED)

    @cached_property
    def _independent_share(self) -> float:
        """The effective number of independent rows as a share of all: the target is similar within units."""
        return (
            1.0 if self.unit_codes is None else effective_units(self.codes, self.unit_codes) / max(1, len(self.codes))
        )

    @property
    def measure(self) -> str:
        """The name of the score: "AUC", or "R2" of the ranks."""
        return "R2" if self.is_number else "AUC"

    def score(self, predictions: Floats) -> float:
        """Score predictions (n, width) by the mean AUC over the classes, or R2 of the ranks."""
        if self.is_number:
            residual = ((self.values - predictions) ** 2).sum()
            return float(1 - residual / max(1e-12, ((self.values - self.values.mean()) ** 2).sum()))
        pairs = zip(self.values.T, predictions.T, strict=True)
        return float(np.mean([get("auc").compute(y, p, None) for y, p in pairs]))

    @property
    def noise(self) -> float:
        """How far a score may exceed that of no relation by chance: four standard errors."""
        if self.is_number:
            return float(4 / np.sqrt(max(1.0, len(self.values) * self._independent_share)))
        rarest_count = np.minimum(self.values.sum(axis=0), (1 - self.values).sum(axis=0)).min()
        return float(4 * np.sqrt(1 / (12 * max(1.0, float(rarest_count) * self._independent_share))))


def outcome_of(data: CheckedData, name: str) -> Outcome | None:
    """Return a target as `Outcome`; None if it is constant in the sampled rows, or of an unsupported type."""
    series = data.target[name]
    if series.dtype.is_float():
        series = series.fill_nan(None)
    if kind_of(series.dtype) == "other" or series.drop_nulls().n_unique() < 2:
        return None
    rows = np.flatnonzero(series.is_not_null().to_numpy())
    codes = as_codes(series)[0][rows]
    unit_codes = None if data.row_units is None else data.row_units.train[rows]
    is_number = data.competition.definition.task not in ("binary", "multiclass") and kind_of(series.dtype) != "category"
    if is_number and codes.max() > 1:
        ranks = pl.Series(codes).rank().to_numpy()
        return Outcome(name, (ranks / len(ranks))[:, None], codes, rows, is_number=True, unit_codes=unit_codes)
    counts = np.bincount(codes)
    classes = np.argsort(-counts, kind="stable")[:MAX_CLASSES] if len(counts) > 2 else np.array([1])
    values = (codes[:, None] == classes).astype(np.float64)
    return Outcome(name, values, codes, rows, is_number=False, unit_codes=unit_codes)


def power(column: pl.Series, outcome: Outcome) -> float:
    """Return the out-of-fold score of a column alone: predictions are means of the target by value, or by quantile.

    Examples
    --------
    >>> y = np.arange(1000.0)[:, None] / 1000
    >>> outcome = Outcome("y", y, np.arange(1000), np.arange(1000), is_number=True)
    >>> round(power(pl.Series(np.arange(1000) ** 2), outcome), 2)
    1.0
    """
    cells = _cells(column)[outcome.rows]
    n_cells = int(cells.max(initial=0)) + 1
    predictions = np.empty_like(outcome.values)
    for fold in range(FOLDS):
        train, valid = outcome.folds.train_rows(fold), outcome.folds.valid_rows(fold)
        counts = np.bincount(cells[train], minlength=n_cells)
        for j, y in enumerate(outcome.values.T):
            prior = y[train].mean()
            sums = np.bincount(cells[train], weights=y[train], minlength=n_cells)
            predictions[valid, j] = ((sums + SMOOTHING * prior) / (counts + SMOOTHING))[cells[valid]]
    return outcome.score(predictions)


def _cells(column: pl.Series) -> Ints:
    """Return the number of the value or bin of each row; 0 for missing values."""
    if kind_of(column.dtype) == "category":
        return as_codes(column)[0] + 1
    values = as_number(column)
    is_finite = np.isfinite(values)
    if not is_finite.any():
        return np.zeros(len(values), np.int64)
    # A bin for each value if they are few, else bins of equal numbers of rows.
    edges = np.unique(values[is_finite])
    max_bins = max(2, min(MAX_BINS, len(values) // ROWS_PER_BIN))
    if len(edges) > max_bins:
        edges = np.unique(np.quantile(values[is_finite], np.linspace(0, 1, max_bins + 1)[1:-1]))
    return np.where(is_finite, np.searchsorted(edges, values, side="left") + 1, 0).astype(np.int64)


def leak_findings(data: CheckedData, outcome: Outcome) -> tuple[list[DataFinding], list[tuple[str, float, str]]]:
    """Return findings of columns that alone predict the target too well, and (column, score, measure) of all."""
    findings, scores = [], []
    for column in data.content:
        score = power(data.train[column], outcome)
        scores.append((column, score, outcome.measure))
        if score >= NOTABLE_SCORE:
            findings.append(_leak_finding(data.train[column], outcome, score))
        elif (finding := _null_finding(data.train[column], outcome)) is not None:
            findings.append(finding)
    for train_only_column in data.extra.get_columns():
        if kind_of(train_only_column.dtype) != "other":
            findings += _train_only_findings(train_only_column, power(train_only_column, outcome), outcome)
    return findings, sorted(scores, key=lambda s: -s[1])


def _leak_finding(column: pl.Series, outcome: Outcome, score: float) -> DataFinding:
    """Return the finding that a column alone predicts the target with a high score."""
    figures = {"score": score, "measure": outcome.measure, "target": outcome.name}
    if _is_renamed_target(column, outcome):
        text = f"is the target {outcome.name!r} under another name: each of its values has one of the target's"
        return DataFinding(
            "serious", "leak", column.name, text, "leave it out, unless test has it for certain", 1.0, figures
        )
    text = f"alone predicts {outcome.name!r} with {outcome.measure} {score:.3f}: too good to be true?"
    todo = "find out whether it was known before the target; check that it is filled in the same way in test"
    return DataFinding(
        "serious" if score >= SERIOUS_SCORE else "notable", "leak", column.name, text, todo, score, figures
    )


def _is_renamed_target(column: pl.Series, outcome: Outcome) -> bool:
    """Return whether the values of the column and of the target correspond one to one."""
    codes = as_codes(column)[0][outcome.rows]
    n_pairs = len(np.unique(np.stack([codes, outcome.codes]), axis=1).T)
    return bool(n_pairs == len(np.unique(codes)) == len(np.unique(outcome.codes)))


def _null_finding(column: pl.Series, outcome: Outcome) -> DataFinding | None:
    """Return a finding if whether the column is missing predicts the target."""
    is_missing = column.is_null() | column.is_nan() if column.dtype.is_float() else column.is_null()
    if not is_missing.any() or is_missing.all():
        return None
    score = power(is_missing.cast(pl.Int8), outcome)
    score_excess = score if outcome.is_number else score - 0.5
    threshold = NULLS_R2 if outcome.is_number else NULLS_AUC_EXCESS
    if score_excess < max(threshold, outcome.noise):
        return None
    text = f"whether it is missing predicts {outcome.name!r} with {outcome.measure} {score:.3f}"
    todo = "find out whether it was filled in after the target was known"
    return DataFinding(
        "notable", "nulls", column.name, text, todo, score_excess, {"score": score, "measure": outcome.measure}
    )


def _train_only_findings(column: pl.Series, score: float, outcome: Outcome) -> list[DataFinding]:
    """Return a finding if a column that only train has predicts the target with a high score."""
    if score < NOTABLE_SCORE:
        return []
    text = f"is in train only and predicts {outcome.name!r} ({outcome.measure} {score:.3f})"
    todo = "features never see it; don't merge it in by hand. It may help as a second target"
    return [DataFinding("minor", "leak", column.name, text, todo, score, {"score": score, "train_only": True})]


# ------------------------------------------------------------------------------------------------------ equal columns


def alike_findings(data: CheckedData) -> list[DataFinding]:
    """Return findings of columns with the same content: equal, of the same order of rows, or with renamed values."""
    findings: list[DataFinding] = []
    reported_columns: set[str] = set()
    for template, content_key in (
        ("has the same content as {}", _equal_key),
        ("orders the rows exactly as {} does: trees can't tell them apart", _order_key),
        ("has the values of {} under other names", _renamed_key),
    ):
        columns_by_key: dict[bytes, list[str]] = {}
        for column in data.content:
            key = content_key(data.train[column]) if column not in reported_columns else b""
            if key:
                columns_by_key.setdefault(key, []).append(column)
        for first_column, *duplicates in columns_by_key.values():
            reported_columns |= set(duplicates)
            findings += [
                DataFinding(
                    "minor",
                    "columns",
                    c,
                    template.format(first_column),
                    "leave one of them out",
                    0.9,
                    {"same_as": first_column},
                )
                for c in duplicates
            ]
    return findings


def _varies(column: pl.Series) -> bool:
    """Return whether enough rows differ from the most frequent value: nearly constant columns are equal by chance."""
    counts = column.alias("v").value_counts(name="n")["n"].to_list()
    return len(column) - max(counts, default=0) >= 10


def _equal_key(column: pl.Series) -> bytes:
    """Return a key that equal columns share; empty for columns that are not compared, as in the next functions."""
    if not _varies(column):
        return b""
    if kind_of(column.dtype) == "category":
        return b"text" + column.cast(pl.String).hash(seed=SEED).to_numpy().tobytes()
    return b"number" + (as_number(column) + 0.0).tobytes()


def _order_key(column: pl.Series) -> bytes:
    """Return a key that columns with the same or the reverse order of rows share."""
    if kind_of(column.dtype) == "category" or not _varies(column):
        return b""
    codes = as_codes(column)[0]
    reversed_codes = np.where(codes >= 0, codes.max() - codes, -1)
    return min(codes.tobytes(), reversed_codes.tobytes())


def _renamed_key(column: pl.Series) -> bytes:
    """Return a key that columns share whose values correspond one to one."""
    # Columns whose values nearly all occur once would all have the same key.
    if not _varies(column) or column.n_unique() > len(column) / 2:
        return b""
    _, first, codes = np.unique(as_codes(column)[0], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[codes].tobytes()


# ------------------------------------------------------------------------------------------------------------- order


def order(data: CheckedData, outcome: Outcome, *, test_is_later: bool) -> tuple[list[DataFinding], list[OrderPlot]]:
    """Check whether the target, or a column, depends on the row number or an id."""
    if data.row_units is not None and not data.row_units.is_by_group:
        # Neighbouring rows of these units may be in train and in test, so that folds may split them here.
        outcome = replace(outcome, unit_codes=None)
    rows = data.train[ROW]
    plots, findings = [_plot("row number", rows, outcome)], []
    in_time_order = data.times is not None and _rank_correlation(rows, data.times[0]) > 0.99
    if _predicts(plots[0], outcome) and not (test_is_later and in_time_order):
        findings.append(_order_finding(plots[0], outcome, in_time_order=in_time_order))
    for name in (n for n in data.ids if n in data.columns):
        number = numeric_part(data.train[name])
        if number.null_count() > len(number) / 2:
            continue
        plots.append(_plot(name, number, outcome))
        if _predicts(plots[-1], outcome) and abs(_rank_correlation(rows, number)) < 0.99:
            findings.append(_order_finding(plots[-1], outcome, in_time_order=False))
    for column in data.content:
        if (
            data.kind(column) == "number"
            and column != data.time
            and (abs(correlation := _rank_correlation(rows, data.train[column])) >= MIN_CORRELATION)
        ):
            text = f"goes with the row number (rank correlation {correlation:+.3f}): a counter, or a hidden time"
            todo = "check how it continues in test; a model learns the position in the file from it"
            findings.append(
                DataFinding("minor" if in_time_order else "notable", "order", column, text, todo, abs(correlation))
            )
    return findings, plots


def _predicts(plot: OrderPlot, outcome: Outcome) -> bool:
    """Return whether the order predicts the target, well enough to matter and beyond chance."""
    baseline_score = 0.0 if outcome.is_number else 0.5
    return plot.score >= (ORDER_R2 if outcome.is_number else ORDER_AUC) and plot.score - baseline_score > outcome.noise


def _plot(name: str, positions: pl.Series, outcome: Outcome) -> OrderPlot:
    """Return the means of the (first) outcome by position, and how well the position predicts it."""
    values = as_number(positions)[outcome.rows]
    row_order = np.argsort(values, kind="stable")
    target_values = outcome.values[row_order, 0]
    n_groups = int(min(40, max(1, len(target_values) // 20)))
    means = [float(part.mean()) for part in np.array_split(target_values, n_groups)]
    return OrderPlot(name, tuple(means), power(positions, outcome), outcome.measure)


def _order_finding(plot: OrderPlot, outcome: Outcome, *, in_time_order: bool) -> DataFinding:
    """Return the finding that the order of the rows predicts the target."""
    position = "the place of a row in the train file" if plot.column == "row number" else "the number in the id"
    if in_time_order:
        todo = "the file is in time order: validate forward in time, and check that test is not in between"
    else:
        todo = "the order leaks: don't use it if test is shuffled; if test is not, neighbours reveal the label"
    text = f"{position} predicts {outcome.name!r} with {plot.measure} {plot.score:.3f}"
    column = "" if plot.column == "row number" else plot.column
    return DataFinding(
        "notable", "order", column, text, todo, plot.score, {"score": plot.score, "measure": plot.measure}
    )


def _rank_correlation(one: pl.Series, other: pl.Series) -> float:
    """Return the rank correlation of the finite values of two columns; 0 for fewer than 10 rows or a constant."""
    a, b = as_number(one), as_number(other)
    is_finite = np.isfinite(a) & np.isfinite(b)
    if is_finite.sum() < 10:
        return 0.0
    ranks = [pl.Series(v[is_finite]).rank().to_numpy() for v in (a, b)]
    if min(r.std() for r in ranks) == 0:
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def id_facts(data: CheckedData) -> list[tuple[str, str]]:
    """Return facts on whether the ids of train and test overlap."""
    facts = []
    for name in (n for n in data.ids if n in data.columns and data.test.height):
        train, test = (numeric_part(f[name]).drop_nulls().to_numpy() for f in (data.train, data.test))
        if not len(train) or not len(test):
            continue
        inside_share = float(((test >= train.min()) & (test <= train.max())).mean())
        position = "mixed with" if inside_share > 0.05 else "above" if test.min() > train.max() else "apart from"
        facts.append(
            (f"ids ({name})", f"test's are {position} train's: {inside_share:.0%} lie between train's first and last")
        )
    return facts
