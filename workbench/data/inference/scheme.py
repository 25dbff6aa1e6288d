"""The folds that imitate how test was cut off: later in time, by groups that never cross, or at random."""

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
"""Folds that go forward in time need some moments to be cut at."""

DAY_S = 86_400
HEAD = 1000
FIRST_LOOK = 10_000
VALUES_AT_A_TIME = 20_000_000
SURE_CROSSINGS = 20
"""A random cut would let so many rows of test meet their group in train; where none does, it was cut by groups."""

FEWEST_DATED = 0.5
"""Of the rows of train and of test: where fewer have a time, it is not what they were cut by."""

BORDER = (0.25, 0.5)
"""Of the rows of train and of test: so many may lie on the day that ends the one and begins the other."""

TIME_WORDS = re.compile(r"(^|_|\b)(year|quarter|month|week|weeks|day|days|date|dt|time|timestamp|period|block)\d*")
MORE_TIME_WORDS = re.compile(
    r"(^|_)(hours?|minutes?|seconds?|secs?|ms|ts|stamp|epoch|unix|utc|created|updated|since|elapsed|seasons?|era|yr|yrs|"
    r"years|mon|months|wk|quarters|t|tick|step|datetime|start|begin|began|end|ended|at|when)\d*(_|$)"
)

AMOUNTS = frozenset(
    """price prices cost costs amount amounts amt value revenue income salary wage sales budget balance area size
    population views count total sum score rating distance weight height""".split()  # noqa: SIM905 a list in two lines
)
NUMBERS = frozenset({"number", "num", "no", "nr", "phone", "code", "key", "zip"})
"""The last word of a name tells what its values are: "start_price" is no start, and "invoice_no" counts."""


@dataclass(frozen=True)
class Scheme:
    """The scheme of ``[cv]`` and why; `column` is the time column, `group` the group's."""

    scheme: str
    column: str | None
    group: str | None
    why: str


def find_scheme(roles: Roles, answer: Answer, task: str) -> Scheme:
    """Find the scheme of the folds."""
    train, test = roles.train, roles.test
    time_column, reasons_against = _time_column(roles, answer)
    if time_column:
        return Scheme("time", time_column.column, None, time_column.why(train, test))
    by_class = task != "regression" and len(answer.targets) == 1
    group = _group_column(roles, answer)
    because = "".join(f"; {reason}" for reason in reasons_against)
    if group:
        why = f"no value of {group} is in both {train.name} and {test.name}{because}"
        return Scheme("stratified_group" if by_class else "group", None, group, why)
    why = f"by no column is all of {test.name} later than {train.name}, and no group keeps to one of them"
    if reasons_against:
        why = f"no group of rows keeps to {train.name} or {test.name}{because}"
    return Scheme("stratified" if by_class else "kfold", None, None, why)


def _shared(roles: Roles, answer: Answer) -> list[str]:
    return [c for c in roles.train.columns if roles.test.has(c) and c not in answer.targets]


# ----------------------------------------------------------------------------------------------------------- by time


@dataclass(frozen=True)
class _Extent:
    """The moments of a column in one table, as numbers: the first and the last, and how many rows have none."""

    low: float
    high: float
    nulls: int


@dataclass(frozen=True)
class _Later:
    """A column by which test is later than train; `border` is True where the day that ends train begins test."""

    column: str
    train: _Extent
    test: _Extent
    border: bool

    def why(self, train: DataTable, test: DataTable) -> str:
        """Say by what test is later, and what becomes of rows without a time."""
        reason = f"all of {test.name} is later than {train.name} by {self.column}"
        if self.border:
            reason = f"{test.name} begins by {self.column} where {train.name} ends, and all else of it is later"
        empty = [
            f"{extent.nulls:,} of {table.rows:,} rows of {table.name}"
            for table, extent in ((train, self.train), (test, self.test))
            if extent.nulls
        ]
        reason += f"; {' and '.join(empty)} have no {self.column}" if empty else ""
        return reason + (": no fold trains on such a row or validates it" if self.train.nulls else "")


def _time_column(roles: Roles, answer: Answer) -> tuple[_Later | None, list[str]]:
    """Return what all of test is later by than all of train, if there is such a column, and what speaks against others.

    Judged by values: a stamp may have a zone in one table and none in the other, and a time may be a number of any
    type. A number that no calendar has may count days, but then its name says so: an id grows as well.
    """
    train, test = roles.train, roles.test
    clocks = _clocks(roles, answer)
    if not clocks:
        return None, []
    ends = [_extents(table, clocks, side) for side, table in enumerate((train, test))]
    later: list[tuple[int, _Later]] = []
    for clock in clocks:
        before, after = ends[0].get(clock.column), ends[1].get(clock.column)
        if before is None or after is None or not before.high > before.low:
            continue
        rank = clock.rank(roles, before, after)
        border = None if rank is None else _border(roles, clock, before, after)
        if rank is not None and border is not None:
            later.append((rank, _Later(clock.column, before, after, border)))
    reasons_against: list[str] = []
    for _, candidate in sorted(later, key=lambda pair: (pair[0], pair[1].train.nulls + pair[1].test.nulls > 0)):
        reason = _unfit(candidate, train, test)
        if reason is None:
            return candidate, reasons_against
        reasons_against.append(reason)
    return None, reasons_against


def _unfit(candidate: _Later, train: DataTable, test: DataTable) -> str | None:
    """Say why folds can't be cut by a column by which test is later; None where they can."""
    for table, extent in ((train, candidate.train), (test, candidate.test)):
        if extent.nulls > (1 - FEWEST_DATED) * table.rows:
            some = f"{extent.nulls:,} of {table.rows:,} rows of {table.name} have none"
            return f"{test.name} is later than {train.name} by {candidate.column}, but {some}"
    n_times = train.unique(candidate.column)
    if n_times < MIN_TIMES:
        return (
            f"{test.name} is later than {train.name} by {candidate.column}, which has only {n_times} values in "
            f"{train.name}: too few to cut folds at"
        )
    return None


@dataclass(frozen=True)
class _TimeColumn:
    """A column that may tell the time: its moments in train and in test as numbers, and its type in train.

    `named` is whether its name speaks of time, `is_id` whether it is one of the ids.
    """

    column: str
    moments: tuple[pl.Expr, pl.Expr]
    dtype: pl.DataType
    named: bool
    is_id: bool

    def rank(self, roles: Roles, before: _Extent, after: _Extent) -> int | None:
        """Return how sure it is that the column tells the time, 0 for surest; None: it is rather something else."""
        if has_time_unit(self.dtype):
            return 0 if self.dtype != pl.String else 1
        low, high = min(before.low, after.low), max(before.high, after.high)
        if self.named and not self.is_id:
            return 2
        if (self.is_id and not self.named) or _counts(self.column, before, roles.train.rows):
            return None
        return 3 if self.in_calendar(roles, low, high) else None

    def in_calendar(self, roles: Roles, low: float, high: float) -> bool:
        """Whether all numbers are times since 1970, or days or months as one writes them: 20240131, 202401."""
        if epoch_unit(low, high) is not None:
            return True
        if not _may_be_calendar(low, high):
            return False
        tables = zip((roles.train, roles.test), self.moments, strict=True)
        return all(bool(t.scan.select(_are_days(m)).collect(engine="streaming").item()) for t, m in tables)

    def day(self, before: _Extent, after: _Extent) -> float | None:
        """Return what a day is in the numbers of the moments; None where that is unknown."""
        has_unit = has_time_unit(self.dtype)
        unit = "us" if has_unit else epoch_unit(min(before.low, after.low), max(before.high, after.high))
        return None if unit is None or isinstance(self.dtype, pl.Duration) else float(DAY_S * UNITS_PER_SECOND[unit])


def _clocks(roles: Roles, answer: Answer) -> list[_TimeColumn]:
    """Return the columns that may tell the time; of unnamed numbers and of texts a look at the first rows decides."""
    tables = (roles.train, roles.test)
    schemas = [t.scan.collect_schema() for t in tables]
    shared = _shared(roles, answer)
    heads = [t.scan.select(shared).head(HEAD).collect() for t in tables]
    ids = (*answer.ids, answer.id_in_test)
    ruled_out = _no_iso_texts(shared, heads) | _amounts(
        [c for c in shared if c in ids or not _speaks_of_time(c)], heads
    )
    clocks: list[_TimeColumn] = []
    for column in shared:
        if column in ruled_out:
            continue
        one, other = (s[column] for s in schemas)
        extents = (moments(column, one), moments(column, other))
        if extents[0] is None or extents[1] is None or has_time_unit(one) != has_time_unit(other):
            continue
        if pl.Duration in (one.base_type(), other.base_type()) and one.base_type() != other.base_type():
            continue
        clock = _TimeColumn(column, (extents[0], extents[1]), one, _speaks_of_time(column), column in ids)
        if _may_tell(clock, schemas, tables):
            clocks.append(clock)
    return clocks


def _no_iso_texts(columns: list[str], heads: list[pl.DataFrame]) -> set[str]:
    """Return the columns of texts whose first rows are no dates or times in ISO 8601; one look for all of them."""
    unlike: set[str] = set()
    for head in heads:
        types = head.schema
        texts = [c for c in columns if types[c] == pl.String]
        unlike |= set(texts) - set(iso_texts(head, texts))
    return unlike


def _amounts(columns: list[str], heads: list[pl.DataFrame]) -> set[str]:
    """Return the columns of numbers whose first rows in train are no times; one look for all of them."""
    types = heads[0].schema
    numbers = [c for c in columns if types[c].is_numeric()]
    if not numbers:
        return set()
    value = pl.col(numbers).cast(pl.Float64)
    finite = pl.when(value.is_finite()).then(value)
    low, high = (heads[0].select(end).row(0) for end in (finite.min(), finite.max()))
    ends = zip(numbers, low, high, strict=True)
    return {c for c, a, b in ends if a is not None and epoch_unit(a, b) is None and not _may_be_calendar(a, b)}


def _may_tell(clock: _TimeColumn, schemas: list[pl.Schema], tables: tuple[DataTable, DataTable]) -> bool:
    """Whether all of a column tells the time, as its first rows do."""
    of_text = [t for t, s in zip(tables, schemas, strict=True) if s[clock.column] == pl.String]
    return all(is_iso_text(t.scan, clock.column) for t in of_text)


def _last_word(column: str) -> str:
    words = name_words(column)
    return words[-1].rstrip("0123456789") if words else ""


def _counts(column: str, extent: _Extent, n_rows: int) -> bool:
    """Say whether numbers of a name without a time are rather amounts, or number things, as 1000000001 does."""
    consecutive = extent.high - extent.low + 1 == n_rows - extent.nulls
    return consecutive or sounds_like_id(column) or _last_word(column) in AMOUNTS | NUMBERS


def _speaks_of_time(column: str) -> bool:
    if _last_word(column) in AMOUNTS:
        return False
    apart = re.sub(r"\W+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column)).lower()
    return bool(TIME_WORDS.search(column.lower()) or TIME_WORDS.search(apart) or MORE_TIME_WORDS.search(apart))


def _may_be_calendar(low: float, high: float) -> bool:
    return 19900101 <= low <= high <= 20691231 or 199001 <= low <= high <= 206912


def _are_days(numbers: pl.Expr) -> pl.Expr:
    text = numbers.drop_nulls().cast(pl.Int64).cast(pl.String)
    text = pl.when(text.str.len_chars() == 6).then(text + "01").otherwise(text)
    return text.str.strptime(pl.Date(), "%Y%m%d", strict=False).is_not_null().all()


def _extents(table: DataTable, clocks: list[_TimeColumn], side: int) -> dict[str, _Extent]:
    wanted: list[pl.Expr] = []
    for i, clock in enumerate(clocks):
        values = clock.moments[side]
        wanted += [values.min().alias(f"low{i}"), values.max().alias(f"high{i}"), values.null_count().alias(f"null{i}")]
    row = table.scan.select(wanted).collect(engine="streaming").row(0, named=True)
    return {
        clock.column: _Extent(row[f"low{i}"], row[f"high{i}"], row[f"null{i}"])
        for i, clock in enumerate(clocks)
        if row[f"low{i}"] is not None
    }


def _border(roles: Roles, clock: _TimeColumn, before: _Extent, after: _Extent) -> bool | None:
    """Return False where all of test is later, True where they share the moment or the day of the border, else None."""
    if after.low > before.high:
        return False
    day = clock.day(before, after)
    same_day = day is not None and after.low // day == before.high // day
    if after.low < before.high and not same_day:
        return None
    # On one day only, and with little of either: else the rows lie side by side.
    masks = (clock.moments[0] >= after.low, clock.moments[1] <= before.high)
    shares = [
        float(table.scan.select(mask.mean()).collect(engine="streaming").item() or 0.0)
        for table, mask in zip((roles.train, roles.test), masks, strict=True)
    ]
    return True if shares[0] <= BORDER[0] and shares[1] <= BORDER[1] else None


# ---------------------------------------------------------------------------------------------------------- by group


def _group_column(roles: Roles, answer: Answer) -> str | None:
    """Return the column whose values never cross from train to test though a random cut would let them."""
    train, test = roles.train, roles.test
    id_columns = (*answer.ids, answer.id_in_test)
    possible = [
        c
        for c in _shared(roles, answer)
        if c not in id_columns
        and train.dtype(c).startswith(("Int", "UInt", "String"))
        and test.dtype(c) == train.dtype(c)
        and not train.nulls[c]
        and not test.nulls[c]
    ]
    groups: dict[str, int] = {}
    for column in _never_met(train, test, possible):
        counts = train.scan.group_by(column).len().collect(engine="streaming")
        n_test = test.unique(column)
        if counts.height < MIN_GROUPS or n_test < 2 or n_test > 0.5 * test.rows:
            continue
        shared = counts.filter(pl.col("len") > 1)["len"].sum() / train.rows
        crossing = test.select([column]).join(counts, on=column, how="semi").height
        if not crossing and shared >= 0.3 and shared * test.rows >= SURE_CROSSINGS:
            groups[column] = counts.height
    # Where a group lies in another, the larger one is what was cut by.
    return min(groups, key=lambda c: groups[c], default=None)


def _never_met(train: DataTable, test: DataTable, columns: list[str]) -> list[str]:
    """Return the columns of which train has none of the first few values of test, which rules out nearly all.

    Few passes: of so many columns at a time as hold `VALUES_AT_A_TIME` values.
    """
    at_a_time = max(1, VALUES_AT_A_TIME // max(1, train.rows, test.rows))
    unmet: list[str] = []
    for start in range(0, len(columns), at_a_time):
        names = columns[start : start + at_a_time]
        some = test.scan.select(pl.col(names).unique().head(FIRST_LOOK).implode()).collect()
        looks = (pl.col(c).is_in(values).any() for c, values in zip(names, some.get_columns(), strict=True))
        met = train.scan.select(looks).collect(engine="streaming").row(0)
        unmet += [c for c, is_met in zip(names, met, strict=True) if not is_met]
    return unmet
