"""Counts over all rows, in one pass per frame: nulls, infinite values, minima and maxima; and duplicate rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from workbench.analysis.checks.data import SEED, CheckedData, as_number, kind_of
from workbench.analysis.checks.finding import DataFinding, Nulls
from workbench.data.competition import ROW

__all__ = ["ColumnCounts", "count_columns", "null_findings", "null_patterns", "repeat_findings", "value_findings"]

NEARLY_CONSTANT = 0.999
BYTES_PER_ROW = 64
"""Memory of a row while duplicates are counted: its hash and number, the target, and their copies in a group-by."""


@dataclass(frozen=True)
class ColumnCounts:
    """Counts of a column over all rows of train or test: rows, nulls (with NaN), infinite values, minimum, maximum."""

    rows: int
    nulls: int
    infinite: int
    low: Any
    high: Any

    @property
    def null_share(self) -> float:
        """The share of nulls."""
        return self.nulls / max(1, self.rows)

    @property
    def is_constant(self) -> bool:
        """Whether all rows have the same value, or all are null."""
        return self.nulls == self.rows or (self.nulls == 0 and self.low == self.high)


def count_columns(data: CheckedData) -> dict[str, tuple[ColumnCounts, ColumnCounts]]:
    """Count every column over all rows of train and of test."""
    counts: dict[str, tuple[ColumnCounts, ColumnCounts]] = {}
    for frame, names in data.frames:
        schema = frame.collect_schema()
        aggregates = [e for name in names.values() for e in _aggregates(name, schema[name])]
        is_train_row = (pl.col(ROW) < data.competition.n_train).alias("train")
        totals = frame.group_by(is_train_row).agg(pl.len().alias("rows"), *aggregates).collect(engine="streaming")
        totals_by_side = {bool(row["train"]): row for row in totals.to_dicts()}
        for column, name in names.items():
            train, test = (_column_counts(totals_by_side.get(is_train), name) for is_train in (True, False))
            counts[column] = (train, test)
    return counts


def _aggregates(name: str, dtype: pl.DataType) -> list[pl.Expr]:
    """Return expressions of the statistics of a column, called "NAME nulls", "NAME low" and so on."""
    column = pl.col(name)
    null_count = column.null_count()
    infinite_count = pl.lit(0)
    if dtype.is_float():
        null_count, infinite_count = null_count + column.is_nan().sum(), column.is_infinite().sum()
        column = column.fill_nan(None)
    if kind_of(dtype) == "category":
        column = column.cast(pl.String)
    statistics = {"nulls": null_count, "infinite": infinite_count, "low": column.min(), "high": column.max()}
    return [e.alias(f"{name} {statistic}") for statistic, e in statistics.items()]


def _column_counts(totals: dict[str, Any] | None, name: str) -> ColumnCounts:
    """Return the counts of a column from a row of `_aggregates`; None stands for no rows."""
    if totals is None:
        return ColumnCounts(0, 0, 0, None, None)
    return ColumnCounts(
        totals["rows"], *(totals[f"{name} {statistic}"] for statistic in ("nulls", "infinite", "low", "high"))
    )


def value_findings(data: CheckedData, counts: dict[str, tuple[ColumnCounts, ColumnCounts]]) -> list[DataFinding]:
    """Return findings of constant, nearly constant, empty and infinite columns."""
    findings = []
    for column, (train, test) in counts.items():
        if train.infinite or test.infinite:
            text = f"{train.infinite:,} infinite values in train, {test.infinite:,} in test"
            share = (train.infinite + test.infinite) / max(1, train.rows + test.rows)
            findings.append(DataFinding("notable", "columns", column, text, "look for a division by 0", share))
        if train.is_constant:
            findings.append(_constant_finding(column, train, test))
        elif (top_share := _top_share(data.train[column])) >= NEARLY_CONSTANT:
            text = f"has the same value in {top_share:.2%} of the train rows"
            findings.append(
                DataFinding("minor", "columns", column, text, "it can hardly help: leave it out", top_share)
            )
    return findings


def _constant_finding(column: str, train: ColumnCounts, test: ColumnCounts) -> DataFinding:
    """Return the finding that a column has one value in train; its severity depends on test."""
    content = "is empty" if train.nulls == train.rows else f"is {train.low!r} in every row"
    is_same_in_test = test.rows == 0 or (
        test.is_constant and test.low == train.low and test.nulls == test.rows * (train.nulls > 0)
    )
    severity, where = ("minor", "throughout") if is_same_in_test else ("notable", "in train, but not in test")
    todo = "leave it out" if is_same_in_test else "leave it out: nothing can be learned from it, and test differs"
    return DataFinding(severity, "columns", column, f"{content}, {where}", todo, 0.5, {"constant": True})


def _top_share(column: pl.Series) -> float:
    """Return the share of rows with the most frequent value."""
    if not len(column):
        return 0.0
    return int(column.alias("v").value_counts(name="n")["n"].max()) / len(column)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------- nulls


def null_patterns(data: CheckedData, counts: dict[str, tuple[ColumnCounts, ColumnCounts]]) -> Nulls:
    """Return the shares of nulls over all rows and, in the sample, columns that are null together and row patterns."""
    shares = {column: (train.null_share, test.null_share) for column, (train, test) in counts.items()}
    columns_with_nulls = [
        column for column, (train, test) in counts.items() if 0 < train.nulls + test.nulls < train.rows + test.rows
    ]
    if not columns_with_nulls:
        return Nulls(shares, (), ())
    stacked = pl.concat([data.train.select(columns_with_nulls), data.test.select(columns_with_nulls)])
    masks = stacked.select([_is_missing(stacked[c]).alias(c) for c in columns_with_nulls])
    columns_by_mask: dict[bytes, list[str]] = {}
    for c in columns_with_nulls:
        columns_by_mask.setdefault(np.packbits(masks[c].to_numpy()).tobytes(), []).append(c)
    groups = tuple(tuple(g) for g in columns_by_mask.values() if len(g) > 1 and masks[g[0]].sum() >= 10)
    # The count is named ROW, which is never the name of a column.
    patterns = masks.group_by(columns_with_nulls).agg(pl.len().alias(ROW))
    patterns = patterns.sort(ROW, *columns_with_nulls, descending=[True, *[False] * len(columns_with_nulls)]).head(12)
    shares_of_patterns = tuple(
        (tuple(c for c in columns_with_nulls if row[c]), row[ROW] / stacked.height) for row in patterns.to_dicts()
    )
    return Nulls(shares, groups, shares_of_patterns)


def _is_missing(column: pl.Series) -> pl.Series:
    return column.is_null() | column.is_nan() if column.dtype.is_float() else column.is_null()


def null_findings(nulls: Nulls) -> list[DataFinding]:
    """Return findings of columns that are mostly missing, or missing in the same rows."""
    findings = []
    for column, (train, test) in nulls.shares.items():
        if 0.9 <= train < 1 and test < 1:
            text = f"missing in {train:.1%} of train and {test:.1%} of test"
            findings.append(DataFinding("minor", "nulls", column, text, "see whether it helps at all", train))
    for group in nulls.groups:
        text = f"{', '.join(group)} are missing in the same rows"
        todo = "a single column that tells whether they are missing is enough"
        findings.append(
            DataFinding("minor", "nulls", group[0], text, todo, nulls.shares[group[0]][0], {"columns": list(group)})
        )
    return findings


# ----------------------------------------------------------------------------------------------------------- repeats


def repeat_findings(data: CheckedData) -> tuple[list[DataFinding], list[tuple[str, str]]]:
    """Find test rows that are also train rows, and duplicate train rows with different targets.

    Rows are compared by a 64-bit hash over all shared columns but ids. If the hashes of all rows would exceed a quarter
    of the memory limit, only hashes that are 0 modulo k are compared, in train and in test: as equal rows have equal
    hashes, the shares estimate those of all rows.

    Returns
    -------
    findings, facts
    """
    competition = data.competition
    columns = [n for n in competition.rows.columns if n not in data.ids]
    n_rows = competition.n_train + competition.n_test
    modulus = max(1, -(-n_rows * BYTES_PER_ROW * 4 // data.limit_bytes))
    if not columns:
        return [], []
    hashes = _hashes(competition.rows.scan(), columns, modulus)
    train = hashes.filter(pl.col(ROW) < competition.n_train).join(_target_hashes(data, modulus), on=ROW, how="left")
    test = hashes.filter(pl.col(ROW) >= competition.n_train)
    train_contents = train.group_by("content_hash").agg(
        pl.len(), pl.col("target_hash").n_unique().alias("n_targets"), pl.col(ROW).sort().head(2).alias("first_rows")
    )
    repeated_contents = train_contents.filter(pl.col("len") > 1)
    test_copies = test.join(train_contents.select("content_hash", "first_rows"), on="content_hash").sort(ROW)
    conflicting_contents = repeated_contents.filter(pl.col("n_targets") > 1)
    shares = _RepeatShares(
        in_train=float(repeated_contents["len"].sum()) / max(1, train.height),
        in_test=test_copies.height / max(1, test.height),
        conflicting=float(conflicting_contents["len"].sum()) / max(1, train.height),
    )
    sampling_note = "" if modulus == 1 else f" (one row in {modulus}, chosen by content)"
    text = f"{shares.in_train:.2%} of train repeat, {shares.in_test:.2%} of test are in train{sampling_note}"
    findings = [_test_copies_finding(test_copies, shares, competition.n_train)] if test_copies.height else []
    findings += [_conflict_finding(conflicting_contents, train, shares)] if conflicting_contents.height else []
    if shares.in_train >= 0.01 and not conflicting_contents.height:
        findings.append(
            DataFinding(
                "minor",
                "repeats",
                "",
                f"{shares.in_train:.1%} of the train rows repeat others, target and all",
                "keep copies in one fold (cv.group), or keep one",
                shares.in_train,
            )
        )
    return findings, [("repeated rows", text)]


class _RepeatShares(NamedTuple):
    """Shares of rows: train rows with a copy in train, test rows with one, train rows with a copy of another target."""

    in_train: float
    in_test: float
    conflicting: float


def _hashes(rows: pl.LazyFrame, columns: list[str], modulus: int) -> pl.DataFrame:
    """Return ROW and a hash of the columns, of rows whose hash is divisible by `modulus`."""
    hashed = rows.select(pl.col(ROW).cast(pl.Int64), pl.struct(columns).hash(seed=SEED).alias("content_hash"))
    return hashed.filter(pl.col("content_hash") % modulus == 0).collect(engine="streaming")


def _target_hashes(data: CheckedData, modulus: int) -> pl.DataFrame:
    """Return ROW and a hash of the targets, of train rows whose content hash is divisible by `modulus`."""
    competition = data.competition
    columns = [n for n in competition.rows.columns if n not in data.ids]
    train = competition.table(competition.definition.tables.train).with_row_index(ROW)
    targets = pl.struct(competition.definition.targets).hash(seed=SEED).alias("target_hash")
    if modulus == 1:
        return train.select(pl.col(ROW).cast(pl.Int64), targets).collect(engine="streaming")
    is_sampled = pl.struct(columns).hash(seed=SEED) % modulus == 0
    return train.filter(is_sampled).select(pl.col(ROW).cast(pl.Int64), targets).collect(engine="streaming")


def _test_copies_finding(test_copies: pl.DataFrame, shares: _RepeatShares, n_train: int) -> DataFinding:
    """Return the finding that test rows are also train rows."""
    row = test_copies.row(0, named=True)
    in_train, in_test, _ = shares
    example = f"test {row[ROW] - n_train} is train {row['first_rows'][0]}"
    text = f"{in_test:.1%} of the test rows are train rows ({example})"
    if in_train >= 0.5 * in_test:
        # With few columns of few values rows repeat by chance, as often within train as between train and test.
        return DataFinding(
            "minor",
            "repeats",
            "",
            f"{text}; train repeats itself as often ({in_train:.1%})",
            "these rows are indistinguishable: the mean of their targets is the best prediction",
            in_test,
        )
    severity = "serious" if in_test >= 0.01 else "notable"
    todo = "their labels are known: compare a submission with and without; keep copies in one fold"
    return DataFinding(severity, "repeats", "", text, todo, in_test, {"share": in_test, "example": example})


def _conflict_finding(conflicting_contents: pl.DataFrame, train: pl.DataFrame, shares: _RepeatShares) -> DataFinding:
    """Return the finding that copies of train rows have different targets."""
    # The example: of the content that conflicts first, the first row and the first one with another target.
    copies = train.filter(pl.col("content_hash") == conflicting_contents.sort("first_rows")["content_hash"][0]).sort(
        ROW
    )
    rows = copies.unique("target_hash", keep="first", maintain_order=True)[ROW].head(2).to_list()
    share = shares.conflicting
    text = f"{share:.1%} of the train rows have a copy with another target ({' and '.join(f'train {r}' for r in rows)})"
    severity = "notable" if share >= 0.01 and shares.in_train < 0.5 else "minor"
    todo = "no model can tell them apart: look for a missing column or wrong labels"
    return DataFinding(severity, "repeats", "", text, todo, share, {"share": share, "rows": rows})


def numeric_part(column: pl.Series) -> pl.Series:
    """Return the number in an id ("ISIC_0015719" -> 15719); null where there is none."""
    if kind_of(column.dtype) != "category":
        return pl.Series(column.name, as_number(column)).fill_nan(None)
    return column.cast(pl.String).str.extract(r"(\d{1,15})\D*$").cast(pl.Float64)
