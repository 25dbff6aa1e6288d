"""Find features that read the future: computed again on data that ends earlier, a feature must have the same values.

At a few cut times, the rows and the tables with a time column are truncated to the rows before the cut (rows without a
time are kept), the feature is computed on them, and its values are compared with the cached ones, for every row before
the cut. Rows at exactly the cut are dropped and not compared, so rows of equal time are never separated. Results of the
check are not cached.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.analysis.checks.data import is_time, time_column, time_columns
from workbench.core.cache import Store, temporary_file
from workbench.core.errors import ConfigError, FeatureError, NotFoundError, WorkbenchError, did_you_mean
from workbench.core.frames import scan_parquet
from workbench.core.user_code import user_code
from workbench.data.competition import ROW, Competition
from workbench.features import Blocks, Feature, is_built_in
from workbench.features.definition import FoldFeature
from workbench.features.encodings import Split
from workbench.features.evaluate import Evaluation
from workbench.features.groupcodes import group_codes
from workbench.features.partition import key_hash
from workbench.models.folds import load_folds, time_horizon
from workbench.models.folds import time_column as fold_times
from workbench.models.target import TargetColumn, read_target

__all__ = ["Difference", "TimeCheck", "check_time", "leak_error"]

CUT_SHARES = (0.1, 0.5, 0.8)
"""The cuts as shares of the rows: the early one first, as it is the cheapest and shows most leaks."""

PARTS_PER_LIMIT = 24
"""A feature with ``partition_by`` is computed in parts of about 1/24 of the memory limit."""

RELATIVE, RELATIVE_FLOAT32, ABSOLUTE = 1e-7, 1e-5, 1e-9
"""Differences up to these are rounding; the absolute one is a share of the column's largest value."""

N_EXAMPLES = 3


@dataclass(frozen=True)
class Difference:
    """A column whose values differ where the data ends earlier.

    Attributes
    ----------
    feature, where, column : str
    cut : str
        The time at which the data was truncated.
    n_differing, n_compared : int
        Numbers of rows before the cut.
    examples : tuple of (row, with all data, with data up to the cut)
        The row as "train 17".
    """

    feature: str
    where: str
    column: str
    cut: str
    n_differing: int
    n_compared: int
    examples: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class TimeCheck:
    """The result for one feature.

    Attributes
    ----------
    feature : str
    verdict : str
        "passes", "reads the future", "allowed" (it reads the future, which is allowed), or "not checked".
    note : str
        How it was checked, or why not.
    differences : tuple of Difference
    whole : tuple of str
        Tables that it reads but that were not truncated, as they have no time column.
    """

    feature: str
    verdict: str
    note: str = ""
    differences: tuple[Difference, ...] = ()
    whole: tuple[str, ...] = ()


def check_time(
    blocks: Blocks,
    names: Sequence[str] = (),
    *,
    columns: Sequence[str] = (),
    allow: Sequence[str] = (),
    shares: Sequence[float] = CUT_SHARES,
) -> list[TimeCheck]:
    """Compute features again on data that ends earlier and compare.

    Parameters
    ----------
    blocks : Blocks
    names : sequence of str
        Features ("congestion"), or columns of features ("congestion.origin_hour"), of which only these are checked; by
        default all of `features.py`. For ``rows`` nothing is computed, which is reported.
    columns : sequence of str
        The time column of rows, and ``"table.column"`` for a table that has another name for it. By default the column
        of a ``[cv]`` table with scheme "time". A table is truncated by its column of the same name.
    allow : sequence of str
        Features ("congestion") or columns ("congestion.origin_hour") that may read the future, because it is known in
        advance.
    shares : sequence of float
        The cuts, as shares of the rows.

    Raises
    ------
    ConfigError, NotFoundError
        Where there is no time column, or a named one does not exist or is not a time; where a named or allowed feature
        or column does not exist.
    FeatureError
        When a feature fails, on all data or on less.
    """
    times = _find_time_columns(blocks.competition, columns)
    custom_names = [
        n for n, feature in blocks.features.items() if not (isinstance(feature, Feature) and is_built_in(feature))
    ]
    columns_by_feature = _columns_to_check(blocks, names or custom_names)
    _check_allowed(blocks, allow, columns_by_feature)
    cuts = times.cuts(shares)
    return [
        _check_feature(blocks, name, times, cuts, _LeakRule(checked_columns, allow))
        for name, checked_columns in columns_by_feature.items()
    ]


def leak_error(checks: Sequence[TimeCheck]) -> FeatureError | None:
    """Return the error for the features that read the future; None where none does."""
    leaking_checks = [check for check in checks if check.verdict == "reads the future"]
    if not leaking_checks:
        return None
    differences = [difference for check in leaking_checks for difference in check.differences]
    worst_difference = max(differences, key=lambda d: d.n_differing / max(1, d.n_compared))
    (row, full_value, truncated_value), *more_examples = worst_difference.examples
    examples = f"{row}: {full_value} with all data, {truncated_value} with data before {worst_difference.cut}"
    examples += "".join(f"; {row}: {full}, {truncated}" for row, full, truncated in more_examples)
    other_columns = [f"{d.feature}.{d.column}" for d in differences if d is not worst_difference]
    others_text = f"; the same with {', '.join(dict.fromkeys(other_columns))}" if other_columns else ""
    return FeatureError(
        f"feature {worst_difference.feature!r} ({worst_difference.where}) reads the future: column "
        f"{worst_difference.column!r} of {worst_difference.n_differing:,} of the {worst_difference.n_compared:,} rows "
        f"before {worst_difference.cut} depends on what comes later "
        f"({examples}){others_text}",
        hint=_advice(worst_difference),
    )


def _advice(difference: Difference) -> str:
    """Return a hint on likely causes of a leak, and on how to allow it."""
    allow_hint = f"where it is known in advance, as a timetable is: --allow {difference.feature}"
    if difference.n_differing > 0.3 * difference.n_compared:
        return (
            "a mean, count or rank over all rows knows later rows, test rows included: take only what came before, "
            'sorted by time, as in (pl.col("x").cum_sum() - pl.col("x")) / pl.int_range(pl.len()); ' + allow_hint
        )
    return "look for shift(-1), a centred window, a backward fill, or a join to a later line; " + allow_hint


# --------------------------------------------------------------------------------------------- time columns


@dataclass(frozen=True)
class _TimeColumns:
    """The time column of the rows, and of tables (table -> column)."""

    competition: Competition
    column: str
    column_of_table: dict[str, str]
    dtype: pl.DataType

    @cached_property
    def n_rows(self) -> int:
        return self.competition.n_train + self.competition.n_test

    def cuts(self, shares: Sequence[float]) -> list[Any]:
        """Return the cut times, ascending: before each lies about one of these shares of the rows."""
        rows = self.competition.rows.scan().select(pl.col(self.column).drop_nulls())
        quantiles = [
            pl.col(self.column).quantile(s, interpolation="lower").cast(self.dtype).alias(str(s)) for s in shares
        ]
        first_and_quantiles = (
            rows.select(pl.col(self.column).min().alias("first"), *quantiles).collect(engine="streaming").row(0)
        )
        return sorted({cut for cut in first_and_quantiles[1:] if cut is not None and cut > first_and_quantiles[0]})

    def before(self, frame: pl.LazyFrame, column: str, cut: Any) -> pl.LazyFrame:
        """Return the rows of a table before the cut, and those without a time."""
        time = pl.col(column)
        return frame.filter((time < pl.lit(cut, self.dtype)) | time.is_null())


def _find_time_columns(competition: Competition, columns: Sequence[str]) -> _TimeColumns:
    """Return the time columns that `columns` names, and those of other tables with the same name."""
    cv = competition.definition.cv
    row_column, table_columns = time_columns(competition, columns)
    column = row_column or (cv.column if cv.scheme == "time" else None)
    if column is None:
        raise ConfigError(
            f"the folds of {competition.slug!r} do not go forward in time, and no time column is named",
            hint="name the time column of rows: wb check --time-column COLUMN",
        )
    dtype = competition.rows.scan().collect_schema()[time_column(competition, column)]
    return _TimeColumns(competition, column, _time_columns_of_tables(competition, column, dtype, table_columns), dtype)


def _time_columns_of_tables(
    competition: Competition, column: str, dtype: pl.DataType, named_columns: dict[str, str]
) -> dict[str, str]:
    """Return table -> its time column: the one in `named_columns`, else the one called `column` if it is comparable."""
    column_of_table = {}
    for table in competition.manifest.tables:
        schema = competition.rows.feature_table(table).collect_schema()
        name = named_columns.get(table, column)
        if table in named_columns and name not in schema:
            raise NotFoundError(
                f"table {table!r} has no column {name!r}", hint=did_you_mean(name, schema, kind="column")
            )
        if name in schema and _comparable(schema[name], dtype):
            column_of_table[table] = name
        elif table in named_columns:
            raise ConfigError(f"{table}.{name} is a {schema[name]}, which can't be compared with {column!r}, a {dtype}")
    return column_of_table


def _comparable(one: pl.DataType, other: pl.DataType) -> bool:
    return is_time(one) and one.is_numeric() == other.is_numeric()


# ------------------------------------------------------------------------------------------------------------ compare


def _columns_to_check(blocks: Blocks, references: Sequence[str]) -> dict[str, set[str]]:
    """Return feature -> columns to check (empty for all), including the columns that fold features group by.

    Parameters
    ----------
    references : sequence of str
        ``feature`` or ``feature.column``.
    """
    columns_by_feature: dict[str, list[str]] = {}
    for reference in references:
        _check_exists(blocks, reference)
        name, _, column = reference.partition(".")
        feature = None if name == "rows" else blocks.get(name)
        group_columns = feature.columns if isinstance(feature, FoldFeature) else ()
        for group_column in group_columns:
            source, _, source_column = group_column.partition(".")
            if isinstance(blocks.features.get(source), Feature):
                columns_by_feature.setdefault(source, []).append(source_column)
        columns_by_feature.setdefault(name, []).append(column)
    return {name: set() if "" in columns else set(columns) for name, columns in columns_by_feature.items()}


def _check_exists(blocks: Blocks, reference: str, *, option: str = "", columns: bool = True) -> None:
    """Reject an unknown feature or, with `columns`, an unknown column of a feature; `option` precedes the message.

    Raises
    ------
    NotFoundError
        With similar names.
    """
    name, _, column = reference.partition(".")
    if name != "rows" and name not in blocks.features:
        where, available_names = blocks.competition.paths.features, [*blocks.features, "rows"]
        hint = did_you_mean(name, available_names, kind="feature")
        raise NotFoundError(f"{option}no feature is called {name!r} in {where}", hint=hint)
    if not column or not columns:
        return
    if isinstance(blocks.features.get(name), FoldFeature):
        raise NotFoundError(
            f"{option}{name!r} depends on the fold, so that its columns can't be named", hint=f"name it as {name!r}"
        )
    available_names = list(blocks.competition.rows.columns if name == "rows" else blocks.block(name).note["columns"])
    if column not in available_names:
        raise NotFoundError(
            f"{option}{name!r} has no column {column!r}", hint=did_you_mean(column, available_names, kind="column")
        )


def _check_allowed(blocks: Blocks, allow: Sequence[str], requested: Collection[str]) -> None:
    for reference in allow:
        # The columns of a feature that is not checked may be unknown, as it may not be built.
        is_requested = reference.partition(".")[0] in requested
        _check_exists(blocks, reference, option=f"--allow {reference}: ", columns=is_requested)


@dataclass(frozen=True)
class _LeakRule:
    """Which differences of a feature are leaks.

    Attributes
    ----------
    only : collection of str
        The columns to check; empty for all.
    allow : sequence of str
        Features, or "feature.column", that may read the future.
    """

    only: Collection[str]
    allow: Sequence[str]

    def is_checked(self, difference: Difference) -> bool:
        return not self.only or difference.column in self.only

    def is_leak(self, difference: Difference) -> bool:
        return not {difference.feature, f"{difference.feature}.{difference.column}"} & set(self.allow)


def _check_feature(blocks: Blocks, name: str, times: _TimeColumns, cuts: Sequence[Any], rule: _LeakRule) -> TimeCheck:
    """Compute a feature again before each cut, until a leak is found."""
    if name == "rows":
        return TimeCheck(name, "not checked", "the columns of the tables themselves: nothing is computed")
    feature = blocks.get(name)
    if isinstance(feature, FoldFeature):
        return _check_fold_feature(blocks, feature, times)
    if not cuts:
        return TimeCheck(name, "not checked", f"all rows have the same {times.column}")
    blocks.context.stage(f"checking {name}")
    differences: dict[str, Difference] = {}
    for cut in cuts:
        for difference in filter(rule.is_checked, _Truncated(blocks, times, cut).differences(feature)):
            differences.setdefault(difference.column, difference)
        if any(map(rule.is_leak, differences.values())):
            # A leak shows at every cut, and later cuts take longer.
            break
    untruncated_tables = tuple(sorted(_tables(blocks, feature) - set(times.column_of_table)))
    leaks = tuple(filter(rule.is_leak, differences.values()))
    cut_times = ", ".join(_formatted(c) for c in cuts)
    verdict = "reads the future" if leaks else "allowed" if differences else "passes"
    return TimeCheck(
        name, verdict, f"computed again before {cut_times}", leaks or tuple(differences.values()), untruncated_tables
    )


def _tables(blocks: Blocks, feature: Feature) -> set[str]:
    """Return the tables that a feature reads, also through other features."""
    tables: set[str] = set()
    for name in feature.inputs:
        if name in blocks.features and name != feature.name:
            source = blocks.features[name]
            tables |= _tables(blocks, source) if isinstance(source, Feature) else set()
        elif name != "rows":
            tables.add(name)
    return tables


@dataclass
class _Truncated:
    """The data before a cut, and the features computed on it."""

    blocks: Blocks
    times: _TimeColumns
    cut: Any
    _computed_features: dict[str, pl.LazyFrame] = field(default_factory=dict)

    def differences(self, feature: Feature) -> list[Difference]:
        """Return the columns of a feature that have other values on the truncated data."""
        store = self.blocks.store
        full = self.blocks.lines(feature.name)
        with (
            _scratch(store) as new_path,
            user_code(
                f"feature {feature.name!r} ({feature.where}) failed on the data before {_formatted(self.cut)}",
                FeatureError,
                folder=feature.path.parent,
                hint="a feature must work on any first part of the data, or it can't be checked",
            ),
        ):
            truncated = self._compute(feature, new_path)
            return self._compare(feature, full, truncated)

    def _compute(self, feature: Feature, new_path: Callable[[], Path]) -> pl.LazyFrame:
        """Compute a feature on the data before the cut, in a temporary file."""
        if feature.name in self._computed_features:
            return self._computed_features[feature.name]
        inputs = {name: self._input(feature, name, new_path) for name in feature.inputs}
        rows = self._rows()
        competition = self.blocks.competition
        evaluation = Evaluation(
            feature, lambda name, _: inputs[name], None, competition.definition.targets, 0, competition.n_train
        )
        chunks = []
        for part in self._parts(feature):
            part_rows = rows if part is None else rows.filter(part)
            part_inputs = {n: self._part(f, part_rows, feature, part) for n, f in inputs.items()}
            path = new_path()
            evaluation.result(part_inputs, part_rows).sink_parquet(path, compression="lz4")
            chunks.append(scan_parquet(path))
        self._computed_features[feature.name] = pl.concat(chunks, how="diagonal_relaxed")
        return self._computed_features[feature.name]

    def _rows(self) -> pl.LazyFrame:
        return self.times.before(self.blocks.competition.rows.scan(), self.times.column, self.cut)

    def _input(self, reader: Feature, name: str, new_path: Callable[[], Path]) -> pl.LazyFrame:
        """Return an input of a feature on the data before the cut: the rows, a table, or another feature."""
        kind = self.blocks.keys.input_kind(reader, name)
        if kind == "rows":
            return self._rows()
        if kind == "table":
            table = self.blocks.competition.rows.feature_table(name)
            column = self.times.column_of_table.get(name)
            return table if column is None else self.times.before(table, column, self.cut)
        source = self.blocks.get(name)
        if not isinstance(source, Feature):
            raise FeatureError(f"feature {reader.name!r} reads {name!r}, which depends on the fold")
        return self._compute(source, new_path)

    def _parts(self, feature: Feature) -> list[pl.Expr | None]:
        """Return conditions that partition the rows by the feature's `partition_by`; [None] for all rows at once."""
        if feature.partition_by is None:
            return [None]
        competition, names = self.blocks.competition, self.blocks.competition.definition.tables
        stored_bytes = sum(
            competition.manifest.table(n, slug=competition.slug).size_bytes for n in (names.train, names.test)
        )
        # Data takes about four times as much in memory as in Parquet.
        n_parts = math.ceil(4 * stored_bytes * PARTS_PER_LIMIT / self.blocks.limit_bytes)
        part_number = (
            key_hash(feature.partition_by, competition.rows.scan().collect_schema()[feature.partition_by]) % n_parts
        )
        return [part_number == i for i in range(n_parts)] if n_parts > 1 else [None]

    @staticmethod
    def _part(frame: pl.LazyFrame, rows: pl.LazyFrame, feature: Feature, part: pl.Expr | None) -> pl.LazyFrame:
        """Return the part of an input that belongs to a part of the rows: all of it for tables without a key."""
        columns = frame.collect_schema()
        if part is None:
            return frame
        if feature.partition_by in columns:
            return frame.filter(part)
        return frame.join(rows.select(ROW), on=ROW, how="semi") if ROW in columns else frame

    def _compare(self, feature: Feature, full: pl.LazyFrame, truncated: pl.LazyFrame) -> list[Difference]:
        """Return the columns that differ in any row before the cut."""
        schema, truncated_schema = full.collect_schema(), truncated.collect_schema()
        columns = [c for c in schema if c != ROW]
        time = pl.col(self.times.column)
        rows = self.blocks.competition.rows.scan().filter(time < pl.lit(self.cut, self.times.dtype)).select(ROW)
        missing_columns = [pl.lit(None, schema[c]).alias(c) for c in columns if c not in truncated_schema]
        # The joined columns are named by position, as names could clash with other columns.
        all_data = full.select(ROW, *[pl.col(c).alias(f"{i} all") for i, c in enumerate(columns)])
        truncated_data = truncated.with_columns(missing_columns).select(
            ROW, *[pl.col(c).alias(f"{i} less") for i, c in enumerate(columns)]
        )
        pairs = rows.join(all_data, on=ROW, how="left").join(truncated_data, on=ROW, how="left")
        largest_by_column = self._largest(full, columns, schema)
        differs_expressions = [
            _differs(i, schema[c], truncated_schema.get(c, schema[c]), largest_by_column.get(c, 0.0))
            for i, c in enumerate(columns)
        ]
        differing_counts = [expression.sum().alias(str(i)) for i, expression in enumerate(differs_expressions)]
        n_compared, *counts = pairs.select(pl.len().alias(ROW), *differing_counts).collect(engine="streaming").row(0)
        return [
            self._difference(
                feature, c, (n, n_compared), pairs.filter(differs_expressions[i]).select(ROW, f"{i} all", f"{i} less")
            )
            for i, (c, n) in enumerate(zip(columns, counts, strict=True))
            if n
        ]

    @staticmethod
    def _largest(full: pl.LazyFrame, columns: Sequence[str], schema: pl.Schema) -> dict[str, float]:
        """Return the largest absolute value of each column of floats."""
        floats = [c for c in columns if schema[c].is_float()]
        if not floats:
            return {}
        finite = [pl.when(pl.col(c).is_finite()).then(pl.col(c).abs()).max().alias(c) for c in floats]
        largest_values = full.select(finite).collect(engine="streaming").row(0, named=True)
        return {c: float(v or 0.0) for c, v in largest_values.items()}

    def _difference(
        self, feature: Feature, column: str, counts: tuple[int, int], differing_rows: pl.LazyFrame
    ) -> Difference:
        """Return a differing column with examples; `counts` are the differing and the compared rows."""
        examples = differing_rows.bottom_k(N_EXAMPLES, by=ROW).collect(engine="streaming").sort(ROW).rows()
        n_train = self.blocks.competition.n_train
        return Difference(
            feature.name,
            feature.where,
            column,
            _formatted(self.cut),
            *counts,
            tuple((_row_name(row, n_train), _formatted(a), _formatted(b)) for row, a, b in examples),
        )


def _differs(position: int, dtype: pl.DataType, truncated_dtype: pl.DataType, largest_value: float) -> pl.Expr:
    """Return an expression of whether column number `position` differs in a row by more than rounding.

    The types are those on all data and on the truncated data; `largest_value` is the column's largest absolute value.
    """
    full, truncated = pl.col(f"{position} all"), pl.col(f"{position} less")
    if dtype != truncated_dtype and not (dtype.is_numeric() and truncated_dtype.is_numeric()):
        full, truncated = full.cast(pl.String), truncated.cast(pl.String)
    if not (dtype.is_float() and truncated_dtype.is_numeric()):
        return full.ne_missing(truncated)
    relative = RELATIVE_FLOAT32 if pl.Float32 in (dtype, truncated_dtype) else RELATIVE
    full, truncated = full.cast(pl.Float64), truncated.cast(pl.Float64)
    tolerance = relative * pl.max_horizontal(full.abs(), truncated.abs()) + ABSOLUTE * largest_value
    is_close = ((full - truncated).abs() <= tolerance).fill_null(value=False) & full.is_finite()
    return full.ne_missing(truncated) & ~is_close.fill_null(value=False)


def _row_name(row: int, n_train: int) -> str:
    return f"train {row}" if row < n_train else f"test {row - n_train}"


def _formatted(value: Any) -> str:
    """Return a value as the report of the check writes it."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:.7g}" if value != int(value) or abs(value) > 1e6 else f"{value:.1f}"
    if isinstance(value, dt.datetime):
        at_midnight = value.time() == dt.time(0)
        return value.date().isoformat() if at_midnight else value.isoformat(sep=" ", timespec="auto")
    return str(value)


@contextmanager
def _scratch(store: Store) -> Iterator[Callable[[], Path]]:
    """Yield a function that returns paths of new temporary files in the cache's folder; they are removed at the end."""
    with ExitStack() as files:
        yield lambda: files.enter_context(temporary_file(store.folder / "check"))


# ------------------------------------------------------------------------------------------------------ fold features


def _check_fold_feature(blocks: Blocks, feature: FoldFeature, times: _TimeColumns) -> TimeCheck:
    """Change all labels from a cut time on, and check that the encodings of earlier rows stay the same."""
    competition = blocks.competition
    feature.check_columns(competition.rows.columns, blocks.features, competition.paths.features)
    cv = competition.definition.cv
    if cv.scheme != "time" or cv.column != times.column:
        note = f"it learns from the rows that a fold trains on, and the folds do not go by {times.column}"
        return TimeCheck(feature.name, "not checked", note)
    try:
        target = read_target(competition).columns
    except WorkbenchError as exc:
        return TimeCheck(feature.name, "not checked", exc.message)
    folds, time = load_folds(competition), fold_times(competition)[0]
    fold = folds.n_folds - 1
    split = Split(folds.valid, folds.train, time, horizon=time_horizon(competition))
    is_train_row = split.in_training(fold)
    cut = np.quantile(time[is_train_row], 0.5, method="lower")
    is_later = time >= cut
    changed_target = [replace(t, values=np.where(is_later, t.values.max() - t.values, t.values)) for t in target]
    earlier_rows = np.flatnonzero(time < cut)
    encoders_and_codes = [(one, group_codes(blocks.columns(one.columns))) for one in feature.each()]

    def encoded(targets: Sequence[TargetColumn]) -> npt.NDArray[np.float64]:
        learned = (one.learn(codes, targets, 0, split).columns(fold) for one, codes in encoders_and_codes)
        return np.column_stack([column[earlier_rows] for columns in learned for column in columns])

    original, changed = encoded(target), encoded(changed_target)
    differs = ~np.isclose(original, changed, rtol=1e-4, atol=1e-6, equal_nan=True).reshape(len(earlier_rows), -1).all(
        axis=1
    )
    note = "labels from some time on were changed, and earlier rows encoded again"
    if not differs.any():
        return TimeCheck(feature.name, "passes", note)
    rows = np.flatnonzero(differs)[:N_EXAMPLES]
    examples = tuple(
        (
            _row_name(int(earlier_rows[r]), competition.n_train),
            _formatted(float(original[r].flat[0])),
            _formatted(float(changed[r].flat[0])),
        )
        for r in rows
    )
    where = competition.paths.features.name
    cut_text = _formatted(competition.train_columns(times.column)[times.column].filter(pl.Series(time == cut))[0])
    difference = Difference(
        feature.name, where, feature.name, cut_text, int(differs.sum()), len(earlier_rows), examples
    )
    return TimeCheck(feature.name, "reads the future", note, (difference,))
