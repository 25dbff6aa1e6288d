"""Choose folds that imitate the split into train and test: by time, by groups, or at random."""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from workbench.core.times import UNITS_PER_SECOND, epoch_unit, has_time_unit, is_iso_text, iso_texts, moments
from workbench.data.competition.row_numbers import sounds_like_id
from workbench.data.inference.answer import Answer
from workbench.data.inference.tables import DataTable, Roles
from workbench.data.inference.windows import TimeRange, TimeWindows, find_windows
from workbench.metrics import name_words

__all__ = ["Scheme", "find_scheme"]

MIN_GROUPS = 5
MIN_TIMES = 10
"""Distinct times in train: folds forward in time can be cut only between two times."""

DAY_S = 86_400
HEAD_ROWS = 1000
"""The first rows of a table that rule out most columns as times."""

FIRST_VALUES = 10_000
"""Distinct values of a column of test that are looked up in train before the groups are counted."""

VALUES_PER_PASS = 20_000_000
MIN_CROSSINGS = 20
"""If a random split would put this many test rows into groups of train, and none is, the split was by groups."""

MIN_DATED_SHARE = 0.5
"""The share of the rows, of train and of test, that must have a time for the split to have been by this column."""

MAX_BORDER_SHARES = (0.25, 0.5)
"""The shares of the rows of train and of test that may lie on the last day of train, which is the first of test."""

TIME_WORDS = re.compile(r"(^|_|\b)(year|quarter|month|week|weeks|day|days|date|dt|time|timestamp|period|block)\d*")
MORE_TIME_WORDS = re.compile(
    r"(^|_)(hours?|minutes?|seconds?|secs?|ms|ts|stamp|epoch|unix|utc|created|updated|since|elapsed|seasons?|era|yr|yrs|"
    r"years|mon|months|wk|quarters|t|tick|step|datetime|start|begin|began|end|ended|at|when)\d*(_|$)"
)

AMOUNT_WORDS = frozenset(
    """price prices cost costs amount amounts amt value revenue income salary wage sales budget balance area size
    population views count total sum score rating distance weight height""".split()  # noqa: SIM905 a list in two lines
)
NUMBER_WORDS = frozenset({"number", "num", "no", "nr", "phone", "code", "key", "zip"})
"""The last word of a name tells what its values are: "start_price" is a price, "invoice_no" a number."""


@dataclass(frozen=True)
class Scheme:
    """The scheme of ``[cv]``, its time column or group column, the reason, and the windows of a scheme by time."""

    scheme: str
    column: str | None
    group: str | None
    why: str
    windows: TimeWindows | None = None


def find_scheme(roles: Roles, answer: Answer, task: str) -> Scheme:
    """Choose the scheme: by time if test is later than train, by groups if no group is in both, else at random."""
    train, test = roles.train, roles.test
    time_split, reasons_against = _find_time_split(roles, answer)
    if time_split:
        return Scheme("time", time_split.column, None, time_split.reason(train, test), time_split.windows(train))
    is_stratified = task != "regression" and len(answer.targets) == 1
    group = _group_column(roles, answer)
    time_note = "".join(f"; {reason}" for reason in reasons_against)
    if group:
        why = f"no value of {group} is in both {train.name} and {test.name}{time_note}"
        return Scheme("stratified_group" if is_stratified else "group", None, group, why)
    why = f"{test.name} is not later than {train.name} by any column, and no groups separate the two"
    if reasons_against:
        why = f"no groups separate {train.name} from {test.name}{time_note}"
    return Scheme("stratified" if is_stratified else "kfold", None, None, why)


def _shared_columns(roles: Roles, answer: Answer) -> list[str]:
    """Return the columns that are in both train and test, without the targets."""
    return [c for c in roles.train.columns if roles.test.has(c) and c not in answer.targets]


# ----------------------------------------------------------------------------------------------------------- by time


@dataclass(frozen=True)
class _TimeSplit:
    """A column by which test is later than train.

    Attributes
    ----------
    column : str
    times : _TimeColumn
        The column's times as numbers.
    train, test : TimeRange
        The column's times in each table.
    has_shared_day : bool
        Whether the last day of train, or its last time, is the first of test.
    """

    column: str
    times: _TimeColumn
    train: TimeRange
    test: TimeRange
    has_shared_day: bool

    def reason(self, train: DataTable, test: DataTable) -> str:
        """Return the reason for folds by this column, with the rows that have no time."""
        reason = f"all of {test.name} is later than {train.name} by {self.column}"
        if self.has_shared_day:
            reason = f"by {self.column}, {test.name} begins where {train.name} ends, and the rest of it is later"
        undated = [
            f"{time_range.n_nulls:,} of {table.n_rows:,} rows of {table.name}"
            for table, time_range in ((train, self.train), (test, self.test))
            if time_range.n_nulls
        ]
        reason += f"; {' and '.join(undated)} have no {self.column}" if undated else ""
        return reason + (": no fold trains or validates on them" if self.train.n_nulls else "")

    def windows(self, train: DataTable) -> TimeWindows | None:
        """Return windows that imitate test; None where the numbers are not proportional to time, or do not suffice."""
        units_per_day = self.times.units_per_day(self.train, self.test)
        is_calendar_number = units_per_day is None and _is_in_range_of_days(self.train.low, self.test.high)
        if is_calendar_number or isinstance(self.times.dtype, pl.Duration):
            return None
        return find_windows(train, self.times.moments[0], self.train, self.test, units_per_day)


def _find_time_split(roles: Roles, answer: Answer) -> tuple[_TimeSplit | None, list[str]]:
    """Find a column by which all of test is later than all of train; return it and the reasons against others.

    The values decide rather than the types: a time may have a zone in one table only, or be a number of any type. A
    number outside of the calendar counts as a time only if its name says so, because ids grow as well.
    """
    train, test = roles.train, roles.test
    time_columns = _time_columns(roles, answer)
    if not time_columns:
        return None, []
    train_ranges, test_ranges = (_time_ranges(table, time_columns, i) for i, table in enumerate((train, test)))
    splits: list[tuple[int, _TimeSplit]] = []
    for time_column in time_columns:
        train_range, test_range = train_ranges.get(time_column.name), test_ranges.get(time_column.name)
        if train_range is None or test_range is None or not train_range.high > train_range.low:
            continue
        rank = time_column.rank(roles, train_range, test_range)
        has_shared_day = None if rank is None else _has_shared_day(roles, time_column, train_range, test_range)
        if rank is not None and has_shared_day is not None:
            splits.append((rank, _TimeSplit(time_column.name, time_column, train_range, test_range, has_shared_day)))
    reasons_against: list[str] = []
    for _, split in sorted(splits, key=lambda pair: (pair[0], pair[1].train.n_nulls + pair[1].test.n_nulls > 0)):
        reason = _reason_against(split, train, test)
        if reason is None:
            return split, reasons_against
        reasons_against.append(reason)
    return None, reasons_against


def _reason_against(split: _TimeSplit, train: DataTable, test: DataTable) -> str | None:
    """Return why folds can't be cut by a column by which test is later; None where they can."""
    for table, time_range in ((train, split.train), (test, split.test)):
        if time_range.n_nulls > (1 - MIN_DATED_SHARE) * table.n_rows:
            undated = f"{time_range.n_nulls:,} of {table.n_rows:,} rows of {table.name} have no value"
            return f"{test.name} is later than {train.name} by {split.column}, but {undated}"
    n_times = train.n_unique(split.column)
    if n_times < MIN_TIMES:
        return (
            f"{test.name} is later than {train.name} by {split.column}, which has only {n_times} values in "
            f"{train.name}: too few to cut folds at"
        )
    return None


@dataclass(frozen=True)
class _TimeColumn:
    """A column that may hold times.

    Attributes
    ----------
    name : str
    moments : tuple of Expr
        Its times as numbers, in train and in test.
    dtype : DataType
        Its type in train.
    has_time_name : bool
        Whether the name has a word for a time, such as "date" or "created".
    is_id : bool
        Whether it is one of the ids.
    """

    name: str
    moments: tuple[pl.Expr, pl.Expr]
    dtype: pl.DataType
    has_time_name: bool
    is_id: bool

    def rank(self, roles: Roles, train_range: TimeRange, test_range: TimeRange) -> int | None:
        """Return how certain it is that the column holds times: 0 is the most certain; None if it is unlikely."""
        if has_time_unit(self.dtype):
            return 0 if self.dtype != pl.String else 1
        low, high = min(train_range.low, test_range.low), max(train_range.high, test_range.high)
        if self.has_time_name and not self.is_id:
            return 2
        if (self.is_id and not self.has_time_name) or _is_amount_or_number(self.name, train_range, roles.train.n_rows):
            return None
        return 3 if self.is_in_calendar(roles, low, high) else None

    def is_in_calendar(self, roles: Roles, low: float, high: float) -> bool:
        """Tell whether all numbers, from `low` to `high`, are times since 1970, days (20240131) or months (202401)."""
        if epoch_unit(low, high) is not None:
            return True
        if not _is_in_range_of_days(low, high):
            return False
        tables = zip((roles.train, roles.test), self.moments, strict=True)
        return all(bool(t.scan.select(_all_are_days(m)).collect(engine="streaming").item()) for t, m in tables)

    def units_per_day(self, train_range: TimeRange, test_range: TimeRange) -> float | None:
        """Return the length of a day in the unit of the column's numbers; None where the unit is unknown."""
        has_unit = has_time_unit(self.dtype)
        unit = (
            "us"
            if has_unit
            else epoch_unit(min(train_range.low, test_range.low), max(train_range.high, test_range.high))
        )
        return None if unit is None or isinstance(self.dtype, pl.Duration) else float(DAY_S * UNITS_PER_SECOND[unit])


def _time_columns(roles: Roles, answer: Answer) -> list[_TimeColumn]:
    """Return the shared columns that may hold times.

    Texts, and numbers whose name has no word for a time, are first checked by the first rows, which is fast.
    """
    tables = (roles.train, roles.test)
    schemas = [t.scan.collect_schema() for t in tables]
    shared = _shared_columns(roles, answer)
    heads = [t.scan.select(shared).head(HEAD_ROWS).collect() for t in tables]
    ids = (*answer.ids, answer.id_in_test)
    without_time_name = [c for c in shared if c in ids or not _is_time_name(c)]
    ruled_out = _texts_without_times(shared, heads) | _numbers_without_times(without_time_name, heads[0])
    time_columns: list[_TimeColumn] = []
    for column in shared:
        if column in ruled_out:
            continue
        train_type, test_type = (s[column] for s in schemas)
        train_moments, test_moments = moments(column, train_type), moments(column, test_type)
        if train_moments is None or test_moments is None or has_time_unit(train_type) != has_time_unit(test_type):
            continue
        base_types = (train_type.base_type(), test_type.base_type())
        if pl.Duration in base_types and base_types[0] != base_types[1]:
            continue
        # For texts, all rows are checked: the first ones do not suffice.
        text_tables = [t for t, s in zip(tables, schemas, strict=True) if s[column] == pl.String]
        if all(is_iso_text(t.scan, column) for t in text_tables):
            column_moments = (train_moments, test_moments)
            time_columns.append(
                _TimeColumn(column, column_moments, train_type, _is_time_name(column), is_id=column in ids)
            )
    return time_columns


def _texts_without_times(columns: list[str], heads: list[pl.DataFrame]) -> set[str]:
    """Return the text columns whose first rows, in any of the frames, are not all dates or times in ISO 8601."""
    without_times: set[str] = set()
    for head in heads:
        text_columns = [c for c in columns if head.schema[c] == pl.String]
        without_times |= set(text_columns) - set(iso_texts(head, text_columns))
    return without_times


def _numbers_without_times(columns: list[str], train_head: pl.DataFrame) -> set[str]:
    """Return the numeric columns whose first rows in train are neither times since 1970 nor days like 20240131."""
    types = train_head.schema
    numeric_columns = [c for c in columns if types[c].is_numeric()]
    if not numeric_columns:
        return set()
    values = pl.col(numeric_columns).cast(pl.Float64)
    finite_values = pl.when(values.is_finite()).then(values)
    minima, maxima = (train_head.select(extreme).row(0) for extreme in (finite_values.min(), finite_values.max()))
    return {
        column
        for column, low, high in zip(numeric_columns, minima, maxima, strict=True)
        if low is not None and epoch_unit(low, high) is None and not _is_in_range_of_days(low, high)
    }


def _last_word(column: str) -> str:
    """Return the last word of a column's name, in lower case and without digits at its end."""
    words = name_words(column)
    return words[-1].rstrip("0123456789") if words else ""


def _is_amount_or_number(column: str, train_range: TimeRange, n_rows: int) -> bool:
    """Tell whether a column without a time's name holds amounts, or serial numbers such as 1000000001.

    `train_range` is the range of its numbers in train, which has `n_rows` rows.
    """
    is_consecutive = train_range.high - train_range.low + 1 == n_rows - train_range.n_nulls
    return is_consecutive or sounds_like_id(column) or _last_word(column) in AMOUNT_WORDS | NUMBER_WORDS


def _is_time_name(column: str) -> bool:
    """Tell whether a column's name has a word for a time and is not that of an amount."""
    if _last_word(column) in AMOUNT_WORDS:
        return False
    snake_case = re.sub(r"\W+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column)).lower()
    usual_match = TIME_WORDS.search(column.lower()) or TIME_WORDS.search(snake_case)
    return bool(usual_match or MORE_TIME_WORDS.search(snake_case))


def _is_in_range_of_days(low: float, high: float) -> bool:
    """Tell whether numbers lie among the days (20240131) or months (202401) of 1990 to 2069."""
    return 19900101 <= low <= high <= 20691231 or 199001 <= low <= high <= 206912


def _all_are_days(numbers: pl.Expr) -> pl.Expr:
    """Return an expression that tells whether all numbers are valid days (20240131) or months (202401)."""
    text = numbers.drop_nulls().cast(pl.Int64).cast(pl.String)
    text = pl.when(text.str.len_chars() == 6).then(text + "01").otherwise(text)
    return text.str.strptime(pl.Date(), "%Y%m%d", strict=False).is_not_null().all()


def _time_ranges(table: DataTable, time_columns: list[_TimeColumn], table_index: int) -> dict[str, TimeRange]:
    """Return the ranges of times by column, without empty columns; `table_index` is 0 for train and 1 for test."""
    statistics: list[pl.Expr] = []
    for i, time_column in enumerate(time_columns):
        times = time_column.moments[table_index]
        statistics += [
            times.min().alias(f"low{i}"),
            times.max().alias(f"high{i}"),
            times.null_count().alias(f"null{i}"),
        ]
    row = table.scan.select(statistics).collect(engine="streaming").row(0, named=True)
    return {
        time_column.name: TimeRange(row[f"low{i}"], row[f"high{i}"], row[f"null{i}"])
        for i, time_column in enumerate(time_columns)
        if row[f"low{i}"] is not None
    }


def _has_shared_day(
    roles: Roles, time_column: _TimeColumn, train_range: TimeRange, test_range: TimeRange
) -> bool | None:
    """Tell whether test begins on the day, or at the time, at which train ends.

    False if all of test is later than train; None if test is not later, which includes tables with more than a small
    share of their rows in the common range.
    """
    if test_range.low > train_range.high:
        return False
    day_length = time_column.units_per_day(train_range, test_range)
    is_same_day = day_length is not None and test_range.low // day_length == train_range.high // day_length
    if test_range.low < train_range.high and not is_same_day:
        return None
    in_common_range = (time_column.moments[0] >= test_range.low, time_column.moments[1] <= train_range.high)
    shares = [
        float(table.scan.select(mask.mean()).collect(engine="streaming").item() or 0.0)
        for table, mask in zip((roles.train, roles.test), in_common_range, strict=True)
    ]
    return True if all(share <= limit for share, limit in zip(shares, MAX_BORDER_SHARES, strict=True)) else None


# ---------------------------------------------------------------------------------------------------------- by group


def _group_column(roles: Roles, answer: Answer) -> str | None:
    """Return the column that has no value in both train and test, although a random split would share some; or None."""
    train, test = roles.train, roles.test
    id_columns = (*answer.ids, answer.id_in_test)
    candidates = [
        c
        for c in _shared_columns(roles, answer)
        if c not in id_columns
        and train.dtype(c).startswith(("Int", "UInt", "String"))
        and test.dtype(c) == train.dtype(c)
        and not train.null_counts[c]
        and not test.null_counts[c]
    ]
    n_groups_by_column: dict[str, int] = {}
    for column in _without_common_values(train, test, candidates):
        group_sizes = train.scan.group_by(column).len().collect(engine="streaming")
        n_test_groups = test.n_unique(column)
        if group_sizes.height < MIN_GROUPS or n_test_groups < 2 or n_test_groups > 0.5 * test.n_rows:
            continue
        share_in_groups = group_sizes.filter(pl.col("len") > 1)["len"].sum() / train.n_rows
        n_test_rows_in_train_groups = test.select([column]).join(group_sizes, on=column, how="semi").height
        n_expected = share_in_groups * test.n_rows
        if not n_test_rows_in_train_groups and share_in_groups >= 0.3 and n_expected >= MIN_CROSSINGS:
            n_groups_by_column[column] = group_sizes.height
    # Where groups are nested, as towns in states, the split was by the larger ones, of which there are fewer.
    return min(n_groups_by_column, key=lambda c: n_groups_by_column[c], default=None)


def _without_common_values(train: DataTable, test: DataTable, columns: list[str]) -> list[str]:
    """Return the columns whose first distinct values in test do not occur in train, which are few of all columns.

    Each pass over the tables reads as many columns as have `VALUES_PER_PASS` values together.
    """
    columns_per_pass = max(1, VALUES_PER_PASS // max(1, train.n_rows, test.n_rows))
    without_common: list[str] = []
    for start in range(0, len(columns), columns_per_pass):
        batch = columns[start : start + columns_per_pass]
        test_values = test.scan.select(pl.col(batch).unique().head(FIRST_VALUES).implode()).collect()
        any_is_common = (pl.col(c).is_in(v).any() for c, v in zip(batch, test_values.get_columns(), strict=True))
        has_common_by_column = train.scan.select(any_is_common).collect(engine="streaming").row(0, named=True)
        without_common += [c for c in batch if not has_common_by_column[c]]
    return without_common
