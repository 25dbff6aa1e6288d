"""Choose folds that imitate the split into train and test: by time, by groups, or at random."""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from workbench.core.times import UNITS_PER_SECOND, epoch_unit, has_time_unit, is_iso_text, iso_texts, moments
from workbench.data.competition.row_numbers import sounds_like_id
from workbench.data.inference.answer import Answer
from workbench.data.inference.tables import DataTable, Roles
from workbench.metrics import name_words

__all__ = ["Scheme", "find_scheme"]

MIN_GROUPS = 5
MIN_TIMES = 10
"""Folds forward in time need some distinct times to be cut at."""

DAY_S = 86_400
HEAD_ROWS = 1000
FIRST_VALUES = 10_000
VALUES_PER_PASS = 20_000_000
MIN_CROSSINGS = 20
"""A random split would put at least this many test rows into groups of train: if none is, the split was by groups."""

MIN_DATED_SHARE = 0.5
"""Of the rows of train and of test: where fewer have a time, the split was not by this column."""

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
"""The last word of a name tells what the values are: "start_price" is a price, "invoice_no" a number."""


@dataclass(frozen=True)
class Scheme:
    """The scheme of ``[cv]``, its time column or group column, and the reason."""

    scheme: str
    column: str | None
    group: str | None
    why: str


def find_scheme(roles: Roles, answer: Answer, task: str) -> Scheme:
    """Choose the scheme: by time if test is later than train, by groups if no group is in both, else at random."""
    train, test = roles.train, roles.test
    time_split, reasons_against = _find_time_split(roles, answer)
    if time_split:
        return Scheme("time", time_split.column, None, time_split.why(train, test))
    is_stratified = task != "regression" and len(answer.targets) == 1
    group = _group_column(roles, answer)
    because = "".join(f"; {reason}" for reason in reasons_against)
    if group:
        why = f"no value of {group} is in both {train.name} and {test.name}{because}"
        return Scheme("stratified_group" if is_stratified else "group", None, group, why)
    why = f"by no column is all of {test.name} later than {train.name}, and no group keeps to one of them"
    if reasons_against:
        why = f"no group of rows keeps to {train.name} or {test.name}{because}"
    return Scheme("stratified" if is_stratified else "kfold", None, None, why)


def _shared_columns(roles: Roles, answer: Answer) -> list[str]:
    return [c for c in roles.train.columns if roles.test.has(c) and c not in answer.targets]


# ----------------------------------------------------------------------------------------------------------- by time


@dataclass(frozen=True)
class _TimeRange:
    """The earliest and the latest time of a column in one table, as numbers, and the number of nulls."""

    low: float
    high: float
    nulls: int


@dataclass(frozen=True)
class _TimeSplit:
    """A column by which test is later than train.

    Attributes
    ----------
    column : str
    train, test : _TimeRange
    has_shared_day : bool
        Whether the last day of train is the first day of test.
    """

    column: str
    train: _TimeRange
    test: _TimeRange
    has_shared_day: bool

    def why(self, train: DataTable, test: DataTable) -> str:
        """Return the reason for folds by this column, with the rows that have no time."""
        reason = f"all of {test.name} is later than {train.name} by {self.column}"
        if self.has_shared_day:
            reason = f"{test.name} begins by {self.column} where {train.name} ends, and the rest of it is later"
        undated = [
            f"{times.nulls:,} of {table.rows:,} rows of {table.name}"
            for table, times in ((train, self.train), (test, self.test))
            if times.nulls
        ]
        reason += f"; {' and '.join(undated)} have no {self.column}" if undated else ""
        return reason + (": no fold trains on such a row or validates it" if self.train.nulls else "")


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
    for column in time_columns:
        before, after = train_ranges.get(column.column), test_ranges.get(column.column)
        if before is None or after is None or not before.high > before.low:
            continue
        rank = column.rank(roles, before, after)
        has_shared_day = None if rank is None else _has_shared_day(roles, column, before, after)
        if rank is not None and has_shared_day is not None:
            splits.append((rank, _TimeSplit(column.column, before, after, has_shared_day)))
    reasons_against: list[str] = []
    for _, split in sorted(splits, key=lambda pair: (pair[0], pair[1].train.nulls + pair[1].test.nulls > 0)):
        reason = _reason_against(split, train, test)
        if reason is None:
            return split, reasons_against
        reasons_against.append(reason)
    return None, reasons_against


def _reason_against(split: _TimeSplit, train: DataTable, test: DataTable) -> str | None:
    """Return why folds can't be cut by a column although test is later by it; None where they can."""
    for table, times in ((train, split.train), (test, split.test)):
        if times.nulls > (1 - MIN_DATED_SHARE) * table.rows:
            undated = f"{times.nulls:,} of {table.rows:,} rows of {table.name} have none"
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
    column : str
    moments : tuple of Expr
        Its times as numbers, in train and in test.
    dtype : DataType
        In train.
    has_time_name : bool
    is_id : bool
        Whether it is one of the ids.
    """

    column: str
    moments: tuple[pl.Expr, pl.Expr]
    dtype: pl.DataType
    has_time_name: bool
    is_id: bool

    def rank(self, roles: Roles, before: _TimeRange, after: _TimeRange) -> int | None:
        """Return how certain it is that the column holds times, 0 for the most certain; None where it is unlikely."""
        if has_time_unit(self.dtype):
            return 0 if self.dtype != pl.String else 1
        low, high = min(before.low, after.low), max(before.high, after.high)
        if self.has_time_name and not self.is_id:
            return 2
        if (self.is_id and not self.has_time_name) or _is_amount_or_number(self.column, before, roles.train.rows):
            return None
        return 3 if self.is_in_calendar(roles, low, high) else None

    def is_in_calendar(self, roles: Roles, low: float, high: float) -> bool:
        """Tell whether all numbers are times since 1970, or days or months written as 20240131 or 202401."""
        if epoch_unit(low, high) is not None:
            return True
        if not _is_in_range_of_days(low, high):
            return False
        tables = zip((roles.train, roles.test), self.moments, strict=True)
        return all(bool(t.scan.select(_are_days(m)).collect(engine="streaming").item()) for t, m in tables)

    def units_per_day(self, before: _TimeRange, after: _TimeRange) -> float | None:
        """Return the difference between the numbers of two days; None where the unit is unknown."""
        has_unit = has_time_unit(self.dtype)
        unit = "us" if has_unit else epoch_unit(min(before.low, after.low), max(before.high, after.high))
        return None if unit is None or isinstance(self.dtype, pl.Duration) else float(DAY_S * UNITS_PER_SECOND[unit])


def _time_columns(roles: Roles, answer: Answer) -> list[_TimeColumn]:
    """Return the shared columns that may hold times; texts, and numbers without a telling name, by their first rows."""
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
        one, other = (s[column] for s in schemas)
        expressions = (moments(column, one), moments(column, other))
        if expressions[0] is None or expressions[1] is None or has_time_unit(one) != has_time_unit(other):
            continue
        if pl.Duration in (one.base_type(), other.base_type()) and one.base_type() != other.base_type():
            continue
        # The first rows of a text do not suffice.
        text_tables = [t for t, s in zip(tables, schemas, strict=True) if s[column] == pl.String]
        if all(is_iso_text(t.scan, column) for t in text_tables):
            times = (expressions[0], expressions[1])
            time_columns.append(_TimeColumn(column, times, one, _is_time_name(column), column in ids))
    return time_columns


def _texts_without_times(columns: list[str], heads: list[pl.DataFrame]) -> set[str]:
    """Return the columns of texts whose first rows are not all dates or times in ISO 8601."""
    without_times: set[str] = set()
    for head in heads:
        types = head.schema
        texts = [c for c in columns if types[c] == pl.String]
        without_times |= set(texts) - set(iso_texts(head, texts))
    return without_times


def _numbers_without_times(columns: list[str], train_head: pl.DataFrame) -> set[str]:
    """Return the columns of numbers whose first rows in train are neither times since 1970 nor days like 20240131."""
    types = train_head.schema
    numbers = [c for c in columns if types[c].is_numeric()]
    if not numbers:
        return set()
    value = pl.col(numbers).cast(pl.Float64)
    finite = pl.when(value.is_finite()).then(value)
    minima, maxima = (train_head.select(extreme).row(0) for extreme in (finite.min(), finite.max()))
    return {
        column
        for column, low, high in zip(numbers, minima, maxima, strict=True)
        if low is not None and epoch_unit(low, high) is None and not _is_in_range_of_days(low, high)
    }


def _last_word(column: str) -> str:
    words = name_words(column)
    return words[-1].rstrip("0123456789") if words else ""


def _is_amount_or_number(column: str, times: _TimeRange, n_rows: int) -> bool:
    """Tell whether a column without a time's name holds amounts, or serial numbers such as 1000000001."""
    is_consecutive = times.high - times.low + 1 == n_rows - times.nulls
    return is_consecutive or sounds_like_id(column) or _last_word(column) in AMOUNT_WORDS | NUMBER_WORDS


def _is_time_name(column: str) -> bool:
    if _last_word(column) in AMOUNT_WORDS:
        return False
    snake_case = re.sub(r"\W+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column)).lower()
    is_usual = TIME_WORDS.search(column.lower()) or TIME_WORDS.search(snake_case)
    return bool(is_usual or MORE_TIME_WORDS.search(snake_case))


def _is_in_range_of_days(low: float, high: float) -> bool:
    """Tell whether numbers lie among the days (20240131) or months (202401) of 1990 to 2069."""
    return 19900101 <= low <= high <= 20691231 or 199001 <= low <= high <= 206912


def _are_days(numbers: pl.Expr) -> pl.Expr:
    text = numbers.drop_nulls().cast(pl.Int64).cast(pl.String)
    text = pl.when(text.str.len_chars() == 6).then(text + "01").otherwise(text)
    return text.str.strptime(pl.Date(), "%Y%m%d", strict=False).is_not_null().all()


def _time_ranges(table: DataTable, time_columns: list[_TimeColumn], side: int) -> dict[str, _TimeRange]:
    """Return the ranges of times by column, without empty columns; `side` is 0 for train and 1 for test."""
    statistics: list[pl.Expr] = []
    for i, column in enumerate(time_columns):
        times = column.moments[side]
        statistics += [
            times.min().alias(f"low{i}"),
            times.max().alias(f"high{i}"),
            times.null_count().alias(f"null{i}"),
        ]
    row = table.scan.select(statistics).collect(engine="streaming").row(0, named=True)
    return {
        column.column: _TimeRange(row[f"low{i}"], row[f"high{i}"], row[f"null{i}"])
        for i, column in enumerate(time_columns)
        if row[f"low{i}"] is not None
    }


def _has_shared_day(roles: Roles, column: _TimeColumn, before: _TimeRange, after: _TimeRange) -> bool | None:
    """Tell whether train ends on the day, or at the time, where test begins; None where test is not later at all.

    Only a small share of either table may lie in the common range: otherwise the tables cover the same time.
    """
    if after.low > before.high:
        return False
    day = column.units_per_day(before, after)
    is_same_day = day is not None and after.low // day == before.high // day
    if after.low < before.high and not is_same_day:
        return None
    in_common_range = (column.moments[0] >= after.low, column.moments[1] <= before.high)
    shares = [
        float(table.scan.select(mask.mean()).collect(engine="streaming").item() or 0.0)
        for table, mask in zip((roles.train, roles.test), in_common_range, strict=True)
    ]
    return True if all(s <= m for s, m in zip(shares, MAX_BORDER_SHARES, strict=True)) else None


# ---------------------------------------------------------------------------------------------------------- by group


def _group_column(roles: Roles, answer: Answer) -> str | None:
    """Return the column of which no value is in both train and test, although a random split would share some."""
    train, test = roles.train, roles.test
    id_columns = (*answer.ids, answer.id_in_test)
    possible = [
        c
        for c in _shared_columns(roles, answer)
        if c not in id_columns
        and train.dtype(c).startswith(("Int", "UInt", "String"))
        and test.dtype(c) == train.dtype(c)
        and not train.nulls[c]
        and not test.nulls[c]
    ]
    n_groups_by_column: dict[str, int] = {}
    for column in _without_common_values(train, test, possible):
        group_sizes = train.scan.group_by(column).len().collect(engine="streaming")
        n_test_groups = test.n_unique(column)
        if group_sizes.height < MIN_GROUPS or n_test_groups < 2 or n_test_groups > 0.5 * test.rows:
            continue
        share_in_groups = group_sizes.filter(pl.col("len") > 1)["len"].sum() / train.rows
        n_crossing = test.select([column]).join(group_sizes, on=column, how="semi").height
        if not n_crossing and share_in_groups >= 0.3 and share_in_groups * test.rows >= MIN_CROSSINGS:
            n_groups_by_column[column] = group_sizes.height
    # Of nested groups, the split was by the larger ones.
    return min(n_groups_by_column, key=lambda c: n_groups_by_column[c], default=None)


def _without_common_values(train: DataTable, test: DataTable, columns: list[str]) -> list[str]:
    """Return the columns of which train has none of the first values of test; this rules out nearly all columns.

    Each pass over the tables reads as many columns as have `VALUES_PER_PASS` values.
    """
    columns_per_pass = max(1, VALUES_PER_PASS // max(1, train.rows, test.rows))
    without_common: list[str] = []
    for start in range(0, len(columns), columns_per_pass):
        names = columns[start : start + columns_per_pass]
        test_values = test.scan.select(pl.col(names).unique().head(FIRST_VALUES).implode()).collect()
        is_common = (pl.col(c).is_in(v).any() for c, v in zip(names, test_values.get_columns(), strict=True))
        flags = train.scan.select(is_common).collect(engine="streaming").row(0)
        without_common += [c for c, flag in zip(names, flags, strict=True) if not flag]
    return without_common
