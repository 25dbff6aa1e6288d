"""The data to check: the columns that train and test share, or those of features, on a seeded sample of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.analysis.checks.row_units import RowUnits, by_group, by_time, disjoint_groups
from workbench.core.context import SILENT, RunContext
from workbench.core.errors import ConfigError, NotFoundError, did_you_mean
from workbench.data.competition import ROW, Competition
from workbench.features import Blocks, Feature

__all__ = [
    "CheckedData",
    "as_codes",
    "as_number",
    "brief",
    "is_time",
    "kind_of",
    "read_data",
    "time_column",
    "time_columns",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SAMPLE_ROWS = 100_000
"""Rows of train and of test by default: the standard error of a share is then below 0.2 points."""

BYTES_PER_VALUE = 64
"""Memory of a value of the sample: itself, its copies as number and code, and intermediate results."""

SEED = 42


@dataclass(frozen=True)
class CheckedData:
    """The columns under check.

    Attributes
    ----------
    competition : Competition
    train, test : DataFrame
        The sampled rows, in row order, with the row key.
    target : DataFrame
        The targets of the sampled train rows.
    extra : DataFrame
        The columns that only train has, of the same rows.
    columns : tuple of str
        The columns to check: those of the tables' rows, and "feature.column" of features.
    ids : tuple of str
        Columns that only identify rows.
    time : str or None
        The time column of rows.
    times : tuple of Series, or None
        The times of the sampled rows of train and of test.
    frames : tuple of (LazyFrame, dict)
        The sources of the columns over all rows: a frame, and column to check -> column of the frame.
    not_checked : tuple of str
        Requested columns that can't be checked, with the reason.
    limit_bytes : int
        The memory limit.
    """

    competition: Competition
    train: pl.DataFrame
    test: pl.DataFrame
    target: pl.DataFrame
    extra: pl.DataFrame
    columns: tuple[str, ...]
    ids: tuple[str, ...]
    time: str | None
    times: tuple[pl.Series, pl.Series] | None
    frames: tuple[tuple[pl.LazyFrame, dict[str, str]], ...]
    not_checked: tuple[str, ...]
    limit_bytes: int

    @property
    def goes_forward(self) -> bool:
        """Whether the competition's folds go forward in time."""
        return self.competition.definition.cv.scheme == "time"

    @property
    def is_sampled(self) -> bool:
        """Whether the rows are a sample."""
        return self.train.height < self.competition.n_train or self.test.height < self.competition.n_test

    @property
    def content(self) -> tuple[str, ...]:
        """The columns that are not ids."""
        return tuple(c for c in self.columns if c not in self.ids)

    @cached_property
    def test_is_later(self) -> bool:
        """Whether test is later than train."""
        if self.times is None or not self.test.height:
            return False
        train, test = (as_number(t) for t in self.times)
        if np.isnan(train).all() or np.isnan(test).all():
            return False
        return bool(np.nanquantile(test, 0.01) >= np.nanquantile(train, 0.99))

    @cached_property
    def row_units(self) -> RowUnits | None:
        """Units of dependent rows: groups of the folds, time blocks if test is later, or groups on one side only."""
        cv, competition = self.competition.definition.cv, self.competition
        if cv.scheme in ("group", "stratified_group") and cv.group is not None and cv.group in competition.rows.columns:
            frames = [(competition.rows.scan(), {cv.group: cv.group})]
            return by_group(
                cv.group, *(_select_rows(frames, side[ROW].to_numpy())[cv.group] for side in (self.train, self.test))
            )
        if self.test_is_later and self.time is not None and self.times is not None:
            return by_time(self.time, *(as_number(t) for t in self.times))
        return disjoint_groups(self.train, self.test, self.columns) if self.test.height else None

    def effective_rows(self, column: str) -> tuple[float, float]:
        """Return the effective numbers of independent rows of train and of test, for the values of a column."""
        if self.row_units is None:
            return float(self.train.height), float(self.test.height)
        return self.row_units.effective(*as_codes(self.train[column], self.test[column]))

    def kind(self, column: str) -> str:
        """Return "number", "time" or "category"."""
        return kind_of(self.train[column].dtype)

    def scan(self, column: str) -> pl.LazyFrame:
        """Return a column for all rows, lazily, with the row key."""
        for frame, names in self.frames:
            if column in names:
                return frame.select(ROW, pl.col(names[column]).alias(column))
        raise NotFoundError(
            f"no column {column!r} is under check", hint=did_you_mean(column, self.columns, kind="column")
        )


def kind_of(dtype: pl.DataType) -> str:
    """Return "number", "time", "category", or "other" for types such as lists."""
    if dtype.is_numeric() or dtype == pl.Boolean:
        return "number"
    if dtype.is_temporal():
        return "time"
    return "category" if dtype in (pl.String, pl.Categorical, pl.Enum) else "other"


def as_number(column: pl.Series) -> Floats:
    """Return a number or a time as floats, (n,); null is NaN, a time is in seconds."""
    if column.dtype in (pl.Date, pl.Datetime):
        column = column.dt.epoch("s")
    elif column.dtype.is_temporal():
        column = column.to_physical()
    return column.cast(pl.Float64).to_numpy().astype(np.float64)


def brief(value: float) -> str:
    """Format a number for an axis.

    Examples
    --------
    >>> brief(147_700.0), brief(2.5e6), brief(0.123456), brief(2013)
    ('148k', '2.5M', '0.1235', '2013')
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size <= abs(value) < 1e13:
            return f"{value / (1e3 if unit == 'k' else size):.3g}{unit}"
    return f"{value:.4g}"


def as_codes(*columns: pl.Series) -> list[Ints]:
    """Return columns as codes from 0 up in the order of the values, the same in all columns; -1 for null."""
    joined = pl.concat([c.cast(pl.String) if kind_of(c.dtype) == "category" else c for c in columns])
    ranks = (joined.rank("dense").cast(pl.Int64) - 1).fill_null(-1).to_numpy()
    return list(np.split(ranks, np.cumsum([len(c) for c in columns])[:-1]))


def read_data(
    blocks: Blocks,
    names: Sequence[str] = (),
    *,
    sample: int | None = None,
    time: str | None = None,
    context: RunContext = SILENT,
) -> CheckedData:
    """Read the data to check.

    Parameters
    ----------
    blocks : Blocks
    names : sequence of str
        Features, as an experiment names them ("calendar", "calendar.hour", "rows", "rows.dest"); none for ``rows``.
    sample : int, optional
        The most rows of train and of test; fewer if the memory limit requires it.
    time : str, optional
        The time column; by default that of a "time" scheme, else the first date or timestamp.

    Raises
    ------
    ConfigError, NotFoundError
        Where a name does not exist, or `time` is not a time.
    """
    competition = blocks.competition
    ids, time_name = (
        competition.ids.key_columns,
        _time_of(competition) if time is None else time_column(competition, time),
    )
    frames, not_checked = _frames(blocks, names or ("rows",))
    columns = tuple(name for _, names_of_frame in frames for name in names_of_frame)
    n_columns = len(columns) + len(competition.definition.targets)
    max_rows = max(1_000, blocks.limit_bytes // (4 * BYTES_PER_VALUE * max(1, n_columns)))
    sample_size = min(sample or SAMPLE_ROWS, max_rows)
    train_rows, test_rows = (
        _sample_rows(competition.n_train, sample_size),
        _sample_rows(competition.n_test, sample_size) + competition.n_train,
    )
    context.stage("reading a sample of the rows" if len(train_rows) < competition.n_train else "reading the rows")
    train_only_columns = [
        n
        for n in _train_columns(competition)
        if n not in competition.rows.columns and n not in competition.definition.targets
    ]
    return CheckedData(
        competition,
        _select_rows(frames, train_rows),
        _select_rows(frames, test_rows),
        _train_rows_of(competition, competition.definition.targets, train_rows),
        _train_rows_of(
            competition, [n for n in train_only_columns if n not in competition.weights.columns], train_rows
        ),
        columns,
        ids,
        time_name,
        None if time_name is None else tuple(_times(competition, time_name, rows) for rows in (train_rows, test_rows)),  # type: ignore[arg-type]
        tuple(frames),
        tuple(not_checked),
        blocks.limit_bytes,
    )


def _frames(blocks: Blocks, names: Sequence[str]) -> tuple[list[tuple[pl.LazyFrame, dict[str, str]]], list[str]]:
    """Return each frame with its columns to check, by their names in the report; and what can't be checked."""
    frames: list[tuple[pl.LazyFrame, dict[str, str]]] = []
    not_checked: dict[str, None] = {}
    feature_of_label: dict[str, str] = {}  # column in the report -> feature
    for reference in dict.fromkeys(names):
        name, _, column = reference.partition(".")
        if name == "rows":
            frame, prefix = blocks.competition.rows.scan(), ""
        elif not isinstance(blocks.get(name), Feature):
            not_checked[f"{name}: it depends on the fold"] = None
            continue
        else:
            frame, prefix = blocks.lines(name), f"{name}."
        schema = frame.collect_schema()
        available_columns = [n for n in schema if n != ROW]
        if column and column not in available_columns:
            raise NotFoundError(
                f"{name!r} has no column {column!r}", hint=did_you_mean(column, available_columns, kind="column")
            )
        requested_columns = [column] if column else available_columns
        column_by_label = {f"{prefix}{n}": n for n in requested_columns if kind_of(schema[n]) != "other"}
        not_checked |= {
            f"{prefix}{n}: a {schema[n]}": None for n in requested_columns if f"{prefix}{n}" not in column_by_label
        }
        # "rows" and "rows.x" list a column twice; a column of the rows may also be named like that of a feature.
        clashing_labels = [label for label in column_by_label if feature_of_label.get(label, name) != name]
        not_checked |= {
            f"{label} of {name}: {feature_of_label[label]} has a column of this name, too": None
            for label in clashing_labels
        }
        added_columns = {label: n for label, n in column_by_label.items() if label not in feature_of_label}
        feature_of_label |= dict.fromkeys(added_columns, name)
        if added_columns:
            frames.append((frame, added_columns))
    return frames, list(not_checked)


def _train_columns(competition: Competition) -> list[str]:
    return list(competition.manifest.table(competition.definition.tables.train, slug=competition.slug).dtypes)


def _time_of(competition: Competition) -> str | None:
    """Return the time column of the rows: that of a "time" scheme, else the first date or timestamp; None without."""
    cv, schema = competition.definition.cv, competition.rows.scan().collect_schema()
    # The time column of the folds may be in train only.
    fold_time_columns = (
        [cv.column]
        if cv.scheme == "time" and cv.column in competition.rows.columns and is_time(schema[cv.column])
        else []
    )
    times = [*fold_time_columns, *(n for n in competition.rows.columns if schema[n] in (pl.Date, pl.Datetime))]
    return times[0] if times else None


def is_time(dtype: pl.DataType) -> bool:
    """Return whether a column can be a time column: a date, a timestamp or a number."""
    return dtype.is_numeric() or dtype in (pl.Date, pl.Datetime)


def time_column(competition: Competition, column: str) -> str:
    """Check that a column of rows can be the time column, and return it.

    Raises
    ------
    NotFoundError
        Where rows have no such column.
    ConfigError
        Where it is of another type.
    """
    if column not in competition.rows.columns:
        raise NotFoundError(
            f"rows have no column {column!r} for the time", hint=did_you_mean(column, competition.rows.columns)
        )
    dtype = competition.rows.scan().collect_schema()[column]
    if not is_time(dtype):
        raise ConfigError(f"column {column!r} is a {dtype}; a time column is a date, a timestamp or a number")
    return column


def time_columns(competition: Competition, names: Sequence[str]) -> tuple[str | None, dict[str, str]]:
    """Parse time columns "COLUMN" and "TABLE.COLUMN"; return that of the rows, and table -> column.

    A name that is a column of the rows is taken as such, even with a dot.

    Raises
    ------
    ConfigError
        For two columns of the rows, or of the same table.
    NotFoundError
        For an unknown table.
    """
    row_columns: list[str] = []
    table_columns: dict[str, str] = {}
    for name in dict.fromkeys(names):
        table, dot, column = name.partition(".")
        if not dot or name in competition.rows.columns:
            row_columns.append(name)
        elif table not in competition.manifest.tables:
            raise NotFoundError(
                f"--time-column {name}: rows have no such column, and there is no table {table!r}",
                hint=did_you_mean(table, competition.manifest.tables, kind="table"),
            )
        elif table in table_columns:
            raise ConfigError(f"--time-column names two columns of {table}: {table_columns[table]!r} and {column!r}")
        else:
            table_columns[table] = column
    if len(row_columns) > 1:
        column_list = " and ".join(repr(n) for n in row_columns)
        raise ConfigError(f"--time-column names more than one column of rows: {column_list}", hint="name one")
    return row_columns[0] if row_columns else None, table_columns


def _times(competition: Competition, column: str, rows: Ints) -> pl.Series:
    """Return the values of the time column in the rows with these numbers."""
    return _select_rows([(competition.rows.scan(), {column: column})], rows)[column]


def _sample_rows(n_rows: int, sample_size: int) -> Ints:
    """Return the numbers of a seeded sample of `n_rows` rows, ascending; all if there are no more than the sample."""
    if sample_size >= n_rows:
        return np.arange(n_rows, dtype=np.int64)
    chosen_rows = np.random.default_rng(SEED).choice(n_rows, sample_size, replace=False, shuffle=False)
    return np.sort(chosen_rows).astype(np.int64)


def _select_rows(frames: Sequence[tuple[pl.LazyFrame, dict[str, str]]], rows: Ints) -> pl.DataFrame:
    """Return ROW and the columns of all frames, by their names in the report, for the rows with these numbers."""
    keys = pl.LazyFrame({ROW: rows})
    parts = [pl.DataFrame({ROW: rows})]
    for frame, names in frames:
        first, last = (int(rows[0]), int(rows[-1])) if len(rows) else (0, -1)
        selected = frame.filter(pl.col(ROW).is_between(first, last))
        selected = selected.select(pl.col(ROW).cast(pl.Int64), *[pl.col(n).alias(label) for label, n in names.items()])
        parts.append(selected.join(keys, on=ROW, how="semi").collect(engine="streaming").sort(ROW).drop(ROW))
    return pl.concat(parts, how="horizontal")


def _train_rows_of(competition: Competition, columns: Sequence[str], rows: Ints) -> pl.DataFrame:
    """Return columns of the train table for the train rows with these numbers."""
    if not columns:
        return pl.DataFrame()
    frame = competition.table(competition.definition.tables.train).select(columns).with_row_index(ROW)
    keys = pl.LazyFrame({ROW: rows})
    selected = frame.with_columns(pl.col(ROW).cast(pl.Int64)).join(keys, on=ROW, how="semi")
    return selected.collect(engine="streaming").sort(ROW).drop(ROW)
